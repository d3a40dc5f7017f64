import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, oneLine, type Reply, type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
  await addProduct(store, 'CUP', 100_000, 10);
  await addProduct(store, 'POT', 100_000, 30);
});
afterAll(() => store.close());

type Fields = Record<string, unknown>;
let made = 0;
/** Creates a discount of 10 % with a code of its own, and returns it. */
async function addDiscount(fields: Fields = {}) {
  const reply = await store.send('POST', '/v1/discounts', {
    ...{ code: `Code-${++made}`, name: `Discount ${made}`, type: 'percentage', value: 10 },
    ...fields,
  });
  if (reply.status !== 201) throw new Error(JSON.stringify(reply.body));
  return reply.body as { id: string; code: string };
}
const order = (codes: string[], fields: Fields = {}, headers: Record<string, string> = {}) =>
  store.send('POST', '/v1/orders', oneLine('CUP', 1, { discountCodes: codes, ...fields }), { headers });
const cups = (quantity: number) => ({ items: [{ sku: 'CUP', quantity }] });
const cupAndPot = {
  items: [
    { sku: 'CUP', quantity: 1 },
    { sku: 'POT', quantity: 1 },
  ],
};
const outcome = (reply: Reply) => [reply.status, reply.body.code];
const cancel = (id: string) => store.send('POST', `/v1/orders/${id}/cancel`, {});
const usedOf = async (id: string) => (await store.send('GET', `/v1/discounts/${id}`)).body.used;
const statusOf = async (id: string) => (await store.send('GET', `/v1/orders/${id}`)).body.status;
const day = 86_400_000;
const inDays = (days: number) => new Date(Date.now() + days * day).toISOString();

describe('a code', () => {
  test.each<[string, Fields, (code: string) => string, Fields?]>([
    ['has not started', { startsAt: inDays(1) }, (code) => `The discount "${code}" has not started yet.`],
    ['has ended', { endsAt: inDays(-1) }, (code) => `The discount "${code}" has ended.`],
    [
      'is in another currency',
      { type: 'amount', value: 5, currency: 'EUR' },
      (code) => `The discount "${code}" is for orders in EUR.`,
    ],
    [
      'needs a higher subtotal',
      { minSubtotal: 10.5, currency: 'USD' },
      (code) => `The discount "${code}" needs items for 10.50 USD or more.`,
    ],
    ['is for other SKUs', { skus: ['POT'] }, (code) => `The discount "${code}" applies to none of these items.`],
  ])('that %s is rejected, and says so', async (_, fields, sentence) => {
    const { code } = await addDiscount(fields);
    const reply = await order(['unknown', code.toUpperCase()]);
    expect([outcome(reply), reply.body.errors]).toEqual([
      [422, 'discount_invalid'],
      [
        { pointer: '/discountCodes/0', detail: 'There is no discount with the code "unknown".' },
        { pointer: '/discountCodes/1', detail: sentence(code.toUpperCase()) },
      ],
    ]);
    expect(reply.body.detail).toBe('There is no discount with the code "unknown".');
  });

  test('ignores case, and counts once if it is given twice', async () => {
    const { id, code } = await addDiscount({ code: 'Frühling', combinable: true, usageLimit: 5 });
    const reply = await order(['FRÜHLING', 'frühling', code]);
    expect(reply.body.discounts).toMatchObject([{ id, code: 'Frühling', amount: 1 }]);
    expect(reply.body.total).toBe(9);
    expect(await usedOf(id)).toBe(1);
  });

  test('is not taken with quoted prices', async () => {
    const { code } = await addDiscount();
    const reply = await order([code], { pricing: 'quoted', items: [{ sku: 'CUP', quantity: 1, price: 8 }] });
    expect([outcome(reply), reply.body.detail]).toEqual([[422, 'discount_invalid'], 'Quoted prices take no discount.']);
  });

  test('is used by 10 orders of 10, and the 11th is rejected', async () => {
    const { id, code } = await addDiscount({ usageLimit: 10 });
    for (let n = 1; n <= 10; n++) {
      expect((await order([code])).status).toBe(201);
      expect(await usedOf(id)).toBe(n);
    }
    const reply = await order([code]);
    expect([outcome(reply), reply.body.detail]).toEqual([
      [422, 'discount_invalid'],
      `The discount "${code}" has been used up.`,
    ]);
  });

  test('counts a customer by the e-mail, in any case, and without one by customerId', async () => {
    const { code } = await addDiscount({ perCustomerLimit: 1 });
    expect((await order([code], { email: 'ada@example.com', customerId: 'one' })).status).toBe(201);
    const again = await order([code], { email: 'ADA@Example.com', customerId: 'two' });
    expect([outcome(again), again.body.detail]).toEqual([
      [422, 'discount_invalid'],
      `You have used the discount "${code}" already.`,
    ]);
    expect((await order([code], { customerId: 'one' })).status).toBe(201);
    expect(outcome(await order([code], { customerId: 'one' }))).toEqual([422, 'discount_invalid']);
    const { body: customer } = await store.send('POST', '/v1/customers', { email: 'Ada@Example.Com' });
    expect(outcome(await order([code], { customerId: customer.id }))).toEqual([422, 'discount_invalid']);
    const stored = await store.database.query<{ customer_key: string }>(
      'select customer_key from orders.discount_customers',
    );
    for (const row of stored) expect(row.customer_key).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe('a discount', () => {
  test('without a code applies by itself, but not to quoted prices, and if it does not apply, the order is placed without it', async () => {
    const { id } = await addDiscount({ code: null, name: 'For everyone', skus: ['POT'], combinable: true });
    const ended = await addDiscount({ code: null, endsAt: inDays(-1) });
    const { body } = await store.send('POST', '/v1/orders', { customerId: 'c', ...cupAndPot });
    expect(body.discounts).toEqual([
      { id, code: null, name: 'For everyone', amount: 3, allocations: [{ lineId: '2', amount: 3 }] },
    ]);
    expect([body.total, body.items.map((line: { discount: number }) => line.discount)]).toEqual([37, [0, 3]]);
    expect((await store.send('POST', '/v1/orders', oneLine('CUP'))).body).toMatchObject({ discounts: [], total: 10 });
    const quoted = { customerId: 'c', pricing: 'quoted', items: [{ sku: 'POT', quantity: 1, price: 20 }] };
    expect((await store.send('POST', '/v1/orders', quoted)).body).toMatchObject({ discounts: [], total: 20 });
    for (const each of [id, ended.id]) await store.send('DELETE', `/v1/discounts/${each}`);
  });

  test('takes only from the SKUs and collections that it names', async () => {
    const { body: collection } = await store.send('POST', '/v1/collections', { name: 'Pots' });
    const { body: product } = await store.send('GET', '/v1/products/by-sku/POT');
    await store.send('PUT', `/v1/collections/${collection.id}/products/${product.id}`);
    const bySku = await addDiscount({ skus: ['CUP'] });
    const byCollection = await addDiscount({ collections: [collection.id] });
    const either = await addDiscount({ skus: ['CUP'], collections: [collection.id] });
    const totalWith = async (code: string) => (await order([code], cupAndPot)).body.total;
    expect(await totalWith(bySku.code)).toBe(39);
    expect(await totalWith(byCollection.code)).toBe(37);
    expect(await totalWith(either.code)).toBe(36);
    expect(outcome(await order([byCollection.code]))).toEqual([422, 'discount_invalid']);
  });

  test('that may be combined applies with others that may, percentages before amounts', async () => {
    const amount = await addDiscount({ type: 'amount', value: 5, currency: 'USD', combinable: true });
    const percentage = await addDiscount({ value: 50, combinable: true });
    const { body } = await order([amount.code, percentage.code], cups(4));
    expect(body.discounts.map((each: { id: string; amount: number }) => [each.id, each.amount])).toEqual([
      [percentage.id, 20],
      [amount.id, 5],
    ]);
    expect(body.total).toBe(15);
  });

  test('that cannot be combined applies alone if it saves most, and only then has a use', async () => {
    const small = await addDiscount({ type: 'amount', value: 2, currency: 'USD', combinable: true, usageLimit: 9 });
    const alone = await addDiscount({ value: 10, usageLimit: 9 });
    const both = [small.code, alone.code];
    const cheap = await order(both);
    expect([cheap.body.total, cheap.body.discounts.map((each: { id: string }) => each.id)]).toEqual([8, [small.id]]);
    const dear = await order(both, cups(3));
    expect([dear.body.total, dear.body.discounts.map((each: { id: string }) => each.id)]).toEqual([27, [alone.id]]);
    expect([await usedOf(small.id), await usedOf(alone.id)]).toEqual([1, 1]);
  });

  test('that leaves less than Stripe charges is rejected, and of 100 % needs no payment', async () => {
    const nearly = await addDiscount({ type: 'amount', value: 9.6, currency: 'USD' });
    const reply = await order([nearly.code]);
    expect([outcome(reply), reply.body.errors]).toEqual([
      [422, 'validation_failed'],
      [{ pointer: '/items', detail: '0.40 USD is too little: Stripe charges 0.50 USD or more.' }],
    ]);
    const whole = await addDiscount({ value: 100, usageLimit: 1 });
    const { body } = await order([whole.code]);
    expect([body.total, body.discountTotal]).toEqual([0, 10]);
    await until(async () => (await statusOf(body.id)) === 'confirmed');
    expect(await usedOf(whole.id)).toBe(1);
    expect((await store.send('POST', '/v1/payments', { orderId: body.id })).status).toBe(409);
  });

  test('of free shipping takes the price of the shipping option', async () => {
    const { body: option } = await store.send('POST', '/v1/shipping-options', {
      ...{ name: 'Post', countries: ['FR'], currency: 'USD', price: 5 },
    });
    const free = await addDiscount({ type: 'free_shipping', value: 0 });
    const address = { name: 'Ada', line1: 'Rue 1', city: 'Paris', postalCode: '75001', country: 'FR' };
    const { body } = await order([free.code], { shippingAddress: address, shippingOptionId: option.id });
    expect([body.total, body.shippingTotal]).toEqual([10, 0]);
    expect(body.discounts[0].allocations).toEqual([{ lineId: 'shipping', amount: 5 }]);
    await store.send('DELETE', `/v1/shipping-options/${option.id}`);
  });

  test('of a product is not taken from its places in a campaign', async () => {
    const { sku, id } = await addProduct(store, 'GROUP', 100, 20);
    const automatic = await addDiscount({ code: null, skus: [sku], value: 50 });
    const { body: campaign } = await store.send('POST', '/v1/campaigns', {
      ...{ productId: id, minParticipants: 1, maxParticipants: 5, price: 15 },
      ...{ startTime: inDays(-1), endTime: inDays(1) },
    });
    const joined = await store.send('POST', `/v1/campaigns/${campaign.id}/join`, { userId: 'u' });
    expect(joined.status, JSON.stringify(joined.body)).toBe(201);
    const { body: orders } = await store.send('POST', '/v1/orders', oneLine(sku));
    expect(orders.total).toBe(10);
    await until(async () => (await store.send('GET', `/v1/orders/${joined.body.orderId}`)).status === 200);
    const { body: placed } = await store.send('GET', `/v1/orders/${joined.body.orderId}`);
    expect([placed.total, placed.discounts]).toEqual([15, []]);
    await store.send('DELETE', `/v1/discounts/${automatic.id}`);
  });
});

describe('a use comes back', () => {
  test('when the order is cancelled, and once only', async () => {
    const { id, code } = await addDiscount({ usageLimit: 1 });
    const { body } = await order([code]);
    expect(outcome(await order([code]))).toEqual([422, 'discount_invalid']);
    await Promise.all([cancel(body.id), cancel(body.id), cancel(body.id)]);
    expect(await usedOf(id)).toBe(0);
    expect((await order([code])).status).toBe(201);
  });

  test('when there is not enough stock, at once and with Prefer: respond-async', async () => {
    const { id, code } = await addDiscount({ usageLimit: 1, perCustomerLimit: 1 });
    await addProduct(store, 'ONE', 1, 10);
    const two = { items: [{ sku: 'ONE', quantity: 2 }] };
    expect(outcome(await order([code], two))).toEqual([409, 'insufficient_inventory']);
    expect(await usedOf(id)).toBe(0);
    const later = await order([code], two, { prefer: 'respond-async' });
    expect([later.status, later.body.total]).toEqual([202, 18]);
    await until(async () => (await statusOf(later.body.id)) === 'failed');
    expect(await usedOf(id)).toBe(0);
    const one = await order([code], { items: [{ sku: 'ONE', quantity: 1 }] }, { prefer: 'respond-async' });
    await store.settled();
    const { body } = await store.send('GET', `/v1/orders/${one.body.id}`);
    expect([body.status, body.reservation.status, body.total]).toEqual(['created', 'held', 9]);
    expect(await usedOf(id)).toBe(1);
  });

  /** An order whose hold has ended, and how its buyer pays after that. The use is back when this resolves. */
  async function endUnpaid(code: string) {
    const payments = paymentFixture(store);
    const { body: placed } = await order([code]);
    const { body: payment } = await store.send('POST', '/v1/payments', { orderId: placed.id });
    const intent: string = payment.stripePaymentIntentId;
    await payments.webhooks({ lose: 1 });
    const path = `/v1/payment_intents/${intent}/cancel`;
    await payments.fault({ times: 1_000, method: 'POST', path, action: 'drop', acts: false });
    await store.database.query(
      `update inventory.reservations set expires_at = now() - interval '1 second' where order_id = $1`,
      [placed.id],
    );
    await store.cron('* * * * *', new Date());
    await until(async () => (await statusOf(placed.id)) === 'failed');
    const payLate = async () => {
      await payments.pay(intent);
      await payments.clearFaults();
      await payments.webhooks({ lose: 0 });
    };
    return { placed, payment, payments, payLate };
  }

  test('when the hold ends, and late money takes it again', async () => {
    const { id, code } = await addDiscount({ usageLimit: 1, perCustomerLimit: 1 });
    const { placed, payLate } = await endUnpaid(code);
    expect(await usedOf(id)).toBe(0);
    // A discount that has ended meanwhile is still what the buyer was promised.
    await store.send('DELETE', `/v1/discounts/${id}`);
    await payLate();
    await until(async () => (await statusOf(placed.id)) === 'confirmed');
    const counters = await store.database.query(
      `select c.used as all, p.used as customer from orders.discount_counters c
       join orders.discount_customers p using (discount_id) where c.discount_id = $1`,
      [id],
    );
    expect(counters).toEqual([{ all: 1, customer: 1 }]);
  });

  test('when the hold ends, and late money is refunded if another order has taken it', async () => {
    const { id, code } = await addDiscount({ usageLimit: 1 });
    const { placed, payment, payments, payLate } = await endUnpaid(code);
    expect((await order([code], { customerId: 'another' })).status).toBe(201);
    await payLate();
    await until(async () => (await payments.paymentOf(payment.id)).status === 'refunded');
    expect([await statusOf(placed.id), await usedOf(id)]).toEqual(['failed', 1]);
    const [stock] = await store.database.query<{ held: string }>(
      'select status as held from inventory.reservations where order_id = $1',
      [placed.id],
    );
    expect(stock?.held).toBe('released');
  });

  // The last test, because it changes what the database lets through.
  test('when the payment can never succeed', async () => {
    const { id, code } = await addDiscount({ usageLimit: 1, type: 'amount', value: 9.9, currency: 'USD' });
    await paymentFixture(store).removeChargeLimits();
    const { body } = await order([code]);
    expect(body.total).toBe(0.1);
    await until(async () => (await statusOf(body.id)) === 'failed');
    expect(await usedOf(id)).toBe(0);
  });
});
