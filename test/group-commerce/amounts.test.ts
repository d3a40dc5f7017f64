import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Reply, type Store, startStore, until } from '../support/harness.ts';
import { startQueues, stopQueues } from '../support/outbox.ts';
import { home } from '../support/shipping.ts';

// A place costs the campaign's price, the tax for its address and its shipping option. The amounts are fixed at the
// join.

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000' } });
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

const setTenant = (country: string, includesTax: boolean) =>
  store.database.query(`update platform.tenants set country = $1, prices_include_tax = $2 where id = 'default'`, [
    country,
    includesTax,
  ]);
const addRate = (rate: number, fields: { country?: string; category?: string; name?: string } = {}) =>
  store.database.query(
    `insert into orders.tax_rates (id, tenant_id, name, country, category, rate, created_at, updated_at)
     values ($1, 'default', $2, $3, $4, $5, now(), now())`,
    [randomUUID(), fields.name ?? 'VAT', fields.country ?? 'DE', fields.category ?? null, rate],
  );
async function addOption(price: number, fields: { countries?: string[]; maxWeight?: number } = {}): Promise<string> {
  const id = randomUUID();
  await store.database.query(
    `insert into orders.shipping_options (id, tenant_id, name, countries, currency, price, max_weight, created_at, updated_at)
     values ($1, 'default', 'Parcel', $2, 'USD', $3, $4, now(), now())`,
    [id, fields.countries ?? ['DE'], price, fields.maxWeight ?? null],
  );
  return id;
}
beforeEach(() => setTenant('DE', false));
afterEach(async () => {
  await store.database.query('delete from orders.tax_rates');
  await store.database.query('delete from orders.shipping_options');
});

const shippingAddress = { ...home, country: 'DE' };
const join = (...of: Parameters<typeof fixture.join>) => fixture.join(...of);
const orderOf = async (id: string) => (await store.send('GET', `/v1/orders/${id}`)).body;
const reached = (campaignId: string, ...states: string[]) =>
  until(async () => (await fixture.participants(campaignId)).every((place) => states.includes(place.state)));
const secured = (campaignId: string, count: number) =>
  until(async () => (await fixture.read(campaignId)).securedParticipants === count);
/** What the payment of an order is for, and what Stripe has received for it. */
async function moneyOf(orderId: string) {
  const [row] = await store.database.query<{ amount: string; captured: string; refunded: string; status: string }>(
    'select amount, captured, refunded, status from payments.payments where order_id = $1',
    [orderId],
  );
  return row;
}
const amountsOf = ({
  subtotal,
  shippingTotal,
  shippingTax,
  taxTotal,
  taxIncluded,
  taxLines,
  total,
}: Reply['body']) => ({
  ...{ subtotal, shippingTotal, shippingTax, taxTotal, taxIncluded, taxLines, total },
});

const added = {
  ...{ subtotal: 20, shippingTotal: 4.99, shippingTax: 0.95, taxTotal: 4.75, taxIncluded: false, total: 29.74 },
  taxLines: [{ name: 'VAT', rate: 19, taxable: 24.99, amount: 4.75 }],
};
const included = {
  ...{ subtotal: 20, shippingTotal: 4.99, shippingTax: 0.8, taxTotal: 3.99, taxIncluded: true, total: 24.99 },
  taxLines: [{ name: 'VAT', rate: 19, taxable: 21, amount: 3.99 }],
};

describe('the amounts of a place', () => {
  test.each([
    ['added', false, 'hold', added],
    ['included', true, 'hold', included],
    ['added', false, 'card', added],
  ])(
    'with tax %s and shipping are those of its payment, its charge and its order',
    async (name, inPrice, mode, sums) => {
      await setTenant('DE', inPrice);
      await addRate(19);
      const shippingOptionId = await addOption(4.99);
      const endTime = new Date(Date.now() + (mode === 'card' ? 7 : 1) * 86_400_000).toISOString();
      const campaign = await fixture.start(`TAX-${name}-${mode}`, 5, { endTime });
      const extra = { billingAddress: home, email: 'ada@example.com', metadata: { ref: '7' } };
      const { status, body: place } = await join(campaign.id, 'a', { shippingAddress, shippingOptionId, ...extra });
      expect(status).toBe(201);
      expect(amountsOf(place)).toEqual(sums);
      expect(place).toMatchObject({
        currency: 'USD',
        shippingOption: { id: shippingOptionId, name: 'Parcel' },
        ...extra,
      });
      expect(Number((await moneyOf(place.orderId))?.amount)).toBe(sums.total);
      const payment = await fixture.confirm(place.orderId);
      expect(payment.amount).toBe(sums.total);
      await secured(campaign.id, 1);
      const { body: second } = await join(campaign.id, 'b', { shippingAddress, shippingOptionId });
      await until(async () => (await fixture.statesOf(campaign.id)).b === 'ordered');
      await fixture.confirm(second.orderId);
      await reached(campaign.id, 'charged');
      await store.settled();
      const { orders, taken } = await fixture.audit(campaign, 5);
      expect(orders.map((order) => [order.status, Number(order.total)])).toEqual(
        Array(2).fill(['confirmed', sums.total]),
      );
      expect(taken.map((intent) => intent.amount_received)).toEqual(Array(2).fill(Math.round(sums.total * 100)));
      const order = await orderOf(place.orderId);
      expect(amountsOf(order)).toEqual(sums);
      expect(order).toMatchObject({
        ...{ discounts: [], discountTotal: 0, shippingOption: { id: shippingOptionId, name: 'Parcel' }, ...extra },
        items: [{ id: '1', sku: campaign.sku, name: `Product ${campaign.sku}`, quantity: 1, price: 20, discount: 0 }],
        payment: { amount: sums.total, status: 'succeeded' },
      });
      const { data: listed } = (await store.send('GET', `/v1/campaigns/${campaign.id}/participants`)).body;
      expect(listed.map(amountsOf)).toEqual([sums, sums]);
    },
  );

  test('stay when the rates, the options and the country of the tenant change, and in a repeated join', async () => {
    await addRate(19);
    const shippingOptionId = await addOption(4.99);
    const campaign = await fixture.start('FROZEN', 5);
    const { body: place } = await join(campaign.id, 'a', { shippingAddress, shippingOptionId });
    await store.database.query('update orders.tax_rates set rate = 7');
    await store.database.query('delete from orders.shipping_options');
    await setTenant('FR', true);
    const again = await join(campaign.id, 'a', { shippingAddress: { ...shippingAddress, country: 'FR' } });
    expect([again.status, again.body]).toEqual([201, place]);
    const { body: other } = await join(campaign.id, 'b', { shippingAddress });
    expect(amountsOf(other)).toMatchObject({ taxTotal: 1.31, taxIncluded: true, total: 20 });
    await reached(campaign.id, 'ordered');
    expect(amountsOf(await orderOf(place.orderId))).toEqual(added);
    expect((await orderOf(other.orderId)).total).toBe(20);
  });

  test('are the price alone without tax rates and an option, and the order has no other amounts', async () => {
    const campaign = await fixture.start('PLAIN', 5, { minParticipants: 1 });
    const { body: place } = await join(campaign.id, 'a', { shippingAddress });
    expect(amountsOf(place)).toEqual({
      ...{ subtotal: 20, shippingTotal: 0, shippingTax: 0, taxTotal: 0, taxIncluded: false, taxLines: [], total: 20 },
    });
    expect(place).toMatchObject({ email: null, billingAddress: null, metadata: {}, shippingOption: null });
    const [row] = await store.database.query('select amounts from group_commerce.participants where id = $1', [
      place.id,
    ]);
    expect(row).toEqual({ amounts: null });
    await reached(campaign.id, 'ordered');
    const stored = await store.database.query('select subtotal, lines from orders.orders where id = $1', [
      place.orderId,
    ]);
    expect(stored).toEqual([{ subtotal: null, lines: null }]);
  });

  test('take no discount, even one that applies to every order by itself', async () => {
    await store.database.query(
      `insert into orders.discounts (id, tenant_id, name, type, value, combinable, created_at, updated_at)
       values ($1, 'default', 'Sale', 'percentage', 50, true, now(), now())`,
      [randomUUID()],
    );
    await addRate(19);
    const campaign = await fixture.start('UNDISCOUNTED', 5, { minParticipants: 1 });
    const { body: place } = await join(campaign.id, 'a', { shippingAddress });
    expect(place.total).toBe(23.8);
    await store.database.query('delete from orders.discounts');
  });

  test('have the tax of the product’s category, of the billing address, or of the tenant’s country without one', async () => {
    await addRate(19);
    await addRate(7, { category: 'books', name: 'Reduced' });
    await addRate(20, { country: 'FR' });
    const campaign = await fixture.start('WHERE', 9, { minParticipants: 9 });
    const taxOf = async (user: string, more: Record<string, unknown>) =>
      (await join(campaign.id, user, more)).body.taxTotal;
    expect(await taxOf('a', {})).toBe(3.8);
    expect(await taxOf('b', { billingAddress: { ...home, country: 'FR' } })).toBe(4);
    expect(await taxOf('c', { shippingAddress, billingAddress: { ...home, country: 'FR' } })).toBe(3.8);
    expect(await taxOf('d', { shippingAddress: { ...home, country: 'US' } })).toBe(0);
    await store.send('PATCH', `/v1/products/${campaign.productId}`, { taxCategory: 'books' });
    expect(await taxOf('e', { shippingAddress })).toBe(1.4);
  });

  test('make a place free if there is nothing to pay, and not if its shipping costs something', async () => {
    await addRate(19);
    const shippingOptionId = await addOption(5);
    const campaign = await fixture.start('GIFT', 5, { price: 0, minParticipants: 2, successOn: 'secured' });
    const { body: shipped } = await join(campaign.id, 'shipped', { shippingAddress, shippingOptionId });
    expect(shipped).toMatchObject({ subtotal: 0, total: 5.95, state: 'joined' });
    const { body: free } = await join(campaign.id, 'free', { shippingAddress });
    expect(free).toMatchObject({ total: 0, state: 'secured', paymentId: null });
    expect((await fixture.read(campaign.id)).status).toBe('active');
    await fixture.confirm(shipped.orderId);
    await reached(campaign.id, 'charged');
    expect((await orderOf(free.orderId)).status).toBe('confirmed');
    const { body: late } = await join(campaign.id, 'late', { shippingAddress, shippingOptionId });
    expect(late.state).toBe('ordered');
    const { body: lateFree } = await join(campaign.id, 'late-free');
    expect(lateFree.state).toBe('charged');
    await fixture.confirm(late.orderId);
    await reached(campaign.id, 'charged');
    await store.settled();
    const orders = await store.database.query<{ status: string; total: string }>(
      'select status, total from orders.orders where campaign_id = $1 order by total, id',
      [campaign.id],
    );
    expect(orders).toEqual(['0.00', '0.00', '5.95', '5.95'].map((total) => ({ status: 'confirmed', total })));
    expect((await fixture.intentsOf([shipped.orderId, late.orderId])).map((intent) => intent.amount_received)).toEqual([
      595, 595,
    ]);
    expect(await fixture.stockOf('GIFT')).toEqual({ quantity: 1, reserved: 0 });
  });
});

describe('a join is rejected with 422, and takes no place, unit or money', () => {
  const rejected = async (
    campaign: { id: string; sku: string },
    more: Record<string, unknown>,
    pointer: string,
    detail: RegExp,
  ) => {
    const { status, body } = await join(campaign.id, 'a', more);
    expect([status, body.code]).toEqual([422, 'validation_failed']);
    expect(body.errors).toEqual([{ pointer, detail: expect.stringMatching(detail) }]);
    expect(await fixture.participants(campaign.id)).toEqual([]);
    expect(await fixture.stockOf(campaign.sku)).toEqual({ quantity: 5, reserved: 0 });
    expect(await store.database.query('select from payments.payments where campaign_id = $1', [campaign.id])).toEqual(
      [],
    );
  };

  test('if the shipping option is not offered', async () => {
    const campaign = await fixture.start('NOOPTION', 5);
    const elsewhere = await addOption(5, { countries: ['FR'] });
    const light = await addOption(5, { maxWeight: 10 });
    await store.send('PATCH', `/v1/products/${campaign.productId}`, { weight: 11 });
    for (const shippingOptionId of [elsewhere, light, randomUUID()]) {
      await rejected(campaign, { shippingAddress, shippingOptionId }, '/shippingOptionId', /not offered/);
    }
  });

  test('if Stripe cannot charge the total', async () => {
    const campaign = await fixture.start('DEAR', 5);
    const shippingOptionId = await addOption(999_990);
    await rejected(campaign, { shippingAddress, shippingOptionId }, '/shippingOptionId', /1000010\.00 USD is too much/);
    await store.send('PATCH', `/v1/products/${campaign.productId}`, { price: 999_999 });
    const { body } = await store.send('POST', '/v1/campaigns', {
      ...{ productId: campaign.productId, minParticipants: 2, maxParticipants: 9, price: 999_999 },
      ...{ startTime: new Date(Date.now() - 60_000).toISOString(), endTime: campaign.endTime },
    });
    await addRate(19);
    await rejected(body, { shippingAddress }, '/shippingAddress', /too much/);
    await rejected(body, { billingAddress: shippingAddress }, '/billingAddress', /too much/);
    await rejected(body, {}, '', /too much/);
  });

  test('if a field is not valid or unknown', async () => {
    const campaign = await fixture.start('FIELDS', 5);
    await rejected(campaign, { email: 'ada' }, '/email', /e-mail/);
    await rejected(campaign, { shippingOptionId: 'x' }, '/shippingOptionId', /id/);
    await rejected(campaign, { discountCodes: ['A'] }, '/discountCodes', /Unknown/);
    await rejected(campaign, { userId: undefined }, '/userId', /is required/);
  });
});

describe('a place with tax and shipping', () => {
  const start = async (sku: string, more: Record<string, unknown> = {}) => {
    await addRate(19);
    const shippingOptionId = await addOption(4.99);
    const campaign = await fixture.start(sku, 5, more);
    const { body: place } = await join(campaign.id, 'a', { shippingAddress, shippingOptionId });
    expect(place.total).toBe(29.74);
    return { campaign, place };
  };
  const end = (campaignId: string) =>
    store.database.query(`update group_commerce.group_commerce_campaigns set end_time = now() where id = $1`, [
      campaignId,
    ]);

  test.each(['left', 'cancelled', 'expired'])('gives its money and its unit back if it is %s', async (how) => {
    const { campaign, place } = await start(`BACK-${how}`);
    const { stripePaymentIntentId } = await fixture.confirm(place.orderId);
    await secured(campaign.id, 1);
    if (how === 'left') await fixture.leave(campaign.id, 'a');
    else if (how === 'cancelled') await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
    else await end(campaign.id);
    await until(async () => {
      if (how === 'expired') await store.cron();
      return (await fixture.statesOf(campaign.id)).a === 'released';
    });
    await until(
      async () => (await fixture.stripe.paymentIntents.retrieve(stripePaymentIntentId)).status === 'canceled',
    );
    expect((await moneyOf(place.orderId))?.status).toBe('cancelled');
    await fixture.audit(campaign, 5);
  });

  test('that is captured after it was left is refunded in full', async () => {
    const { campaign, place } = await start('LATE');
    const { stripePaymentIntentId: intent } = await fixture.confirm(place.orderId);
    await secured(campaign.id, 1);
    await store.settled();
    await stopQueues(store.database); // so that the cancellation does not reach Stripe
    await fixture.leave(campaign.id, 'a');
    await fixture.stripe.paymentIntents.capture(intent);
    await until(async () => (await moneyOf(place.orderId))?.captured === '29.74');
    await startQueues(store.database);
    await until(async () => (await moneyOf(place.orderId))?.refunded === '29.74');
    expect(await fixture.stockOf('LATE')).toEqual({ quantity: 5, reserved: 0 });
  });

  test('that is captured before the campaign succeeds is paid in full, and only a part is not enough', async () => {
    const { campaign, place } = await start('EARLY', { minParticipants: 3 });
    const whole = await fixture.confirm(place.orderId);
    const { body: other } = await join(campaign.id, 'b', { shippingAddress });
    const part = await fixture.confirm(other.orderId);
    await secured(campaign.id, 2);
    await fixture.stripe.paymentIntents.capture(whole.stripePaymentIntentId);
    // The campaign's price, without the tax.
    await fixture.stripe.paymentIntents.capture(part.stripePaymentIntentId, { amount_to_capture: 2000 });
    await until(async () => (await fixture.statesOf(campaign.id)).b === 'released');
    await until(async () => (await moneyOf(other.orderId))?.refunded === '20.00');
    await until(async () => (await moneyOf(place.orderId))?.status === 'succeeded');
    expect(await moneyOf(place.orderId)).toMatchObject({ captured: '29.74', status: 'succeeded' });
    await join(campaign.id, 'c');
    await join(campaign.id, 'd');
    await until(async () => (await fixture.statesOf(campaign.id)).a === 'charged');
    expect(await orderOf(place.orderId)).toMatchObject({ status: 'confirmed', total: 29.74 });
  });

  test('is refunded in full with its order, which frees the place', async () => {
    const { campaign, place } = await start('REFUND', { minParticipants: 1 });
    await fixture.confirm(place.orderId);
    await reached(campaign.id, 'charged');
    const refund = await store.send('POST', `/v1/payments/${place.paymentId}/refunds`, { restock: true });
    expect([refund.status, refund.body.amount]).toEqual([201, 29.74]);
    await until(async () => (await orderOf(place.orderId)).status === 'refunded');
    await reached(campaign.id, 'released');
    await store.settled();
    expect((await moneyOf(place.orderId))?.refunded).toBe('29.74');
  });
});
