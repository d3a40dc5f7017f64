import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { addDiscount, addShippingOption, addTaxRate, clearTerms, openCart, type Shopper } from '../support/carts.ts';
import { addProduct, type Reply, type Store, startStore } from '../support/harness.ts';
import { type PaymentFixture, paymentFixture } from '../support/payments.ts';

const account = 'acct_1StripeTax';
const germany = { name: 'Ada', line1: 'Speicherstadt 4', city: 'Hamburg', postalCode: '20457', country: 'DE' };
const france = { name: 'Ada', line1: 'Rue 1', city: 'Paris', postalCode: '75001', country: 'FR' };

let store: Store;
let shop: PaymentFixture;
let publishable: string;
beforeAll(async () => {
  store = await startStore({ stripe: { connectedAccounts: [account] } });
  shop = paymentFixture(store);
  publishable = await store.database.key({ kind: 'publishable' });
  await addProduct(store, 'TEA', 100_000, 10);
  await addProduct(store, 'ODD', 100_000, 3.33);
  await addProduct(store, 'ODD-2', 100_000, 3.33);
  await addProduct(store, 'ODD-3', 100_000, 3.33);
  await addProduct(store, 'BOOK', 100_000, 10, { taxCategory: 'txcd_35010000' });
  await addProduct(store, 'POT', 100_000, 10, { taxCategory: 'pots' });
  await addProduct(store, 'YEN', 100_000, 105, { currency: 'JPY' });
});
afterEach(async () => {
  await shop.clearFaults();
  await clearTerms(store);
  await setTenant({ taxProvider: 'table', pricesIncludeTax: false });
  await store.database.query('update platform.tenants set stripe_account = null');
});
afterAll(() => store.close());

async function setTenant(change: Record<string, unknown>): Promise<void> {
  const { status, body } = await store.send('PATCH', '/v1/tenant', change);
  if (status !== 200) throw new Error(JSON.stringify(body));
}
const useStripe = (pricesIncludeTax = false) => setTenant({ taxProvider: 'stripe', pricesIncludeTax });
const fill = (skus: string[], more: Record<string, unknown> = {}) =>
  openCart(
    store,
    { items: skus.map((sku) => ({ sku, quantity: 1 })), email: `${randomUUID()}@example.com`, ...more },
    publishable,
  );
const asked = async (): Promise<number> =>
  ((await shop.emulator('GET', 'requests')) as { requests: Record<string, number> }).requests[
    'POST /v1/tax/calculations'
  ] ?? 0;
const callsOf = ({ headers }: Reply) => headers.get('server-timing')?.match(/(\d+) calls?/)?.[1];
const codes = ({ body }: Reply) => body.messages.map(({ code }: { code: string }) => code);
const cents = (amount: number) => Math.round(amount * 100);

/** Every sum of a cart or an order agrees to the cent. */
function expectSums(body: Reply['body']): void {
  const totals = body.totals ?? {
    ...body,
    shipping: body.shippingTotal,
    discount: body.discountTotal,
    tax: body.taxTotal,
  };
  const sum = (amounts: number[]) => amounts.reduce((total, amount) => total + cents(amount), 0);
  const added = body.taxIncluded ? 0 : cents(totals.tax);
  expect(cents(totals.total)).toBe(cents(totals.subtotal) - cents(totals.discount) + cents(totals.shipping) + added);
  expect(sum(body.taxLines.map((line: { amount: number }) => line.amount))).toBe(cents(totals.tax));
  const ofLines = sum(body.items.map((item: { tax: number }) => item.tax));
  if (body.shippingTax === undefined) expect(ofLines).toBeLessThanOrEqual(cents(totals.tax));
  else expect(ofLines + cents(body.shippingTax)).toBe(cents(totals.tax));
}

/** Reads in one database call and without Stripe while nothing changes, then orders the cart as it is shown. */
async function order(cart: Shopper, shown: Reply): Promise<Reply['body']> {
  const before = await asked();
  const read = await cart.send('GET', '');
  expect([callsOf(read), read.body.totals]).toEqual(['1', shown.body.totals]);
  const { status, body, headers } = await cart.checkout(shown.body.totals.total);
  expect(status, JSON.stringify(body)).toBe(201);
  expect(headers.get('server-timing')).toContain('1 calls');
  expect(await asked()).toBe(before);
  expectSums(body.order);
  return body.order;
}

/** The calculation that a payment names, so that Stripe reports its tax. */
async function calculationOf({ stripePaymentIntentId }: { stripePaymentIntentId: string }) {
  const { hooks } = await shop.stripe.paymentIntents.retrieve(stripePaymentIntentId);
  const id = hooks?.inputs?.tax?.calculation;
  return id && (await shop.stripe.tax.calculations.retrieve(id));
}

describe('a cart of a tenant with Stripe Tax', () => {
  test('has the tax that Stripe adds, for lines after discounts and shipping, and its order freezes it', async () => {
    await useStripe();
    const shippingOptionId = await addShippingOption(store, 'DE', 5);
    await addDiscount(store, 'SPRING', 10);
    const cart = await fill(['TEA', 'BOOK', 'POT']);
    const bare = await cart.send('GET', '');
    expect([bare.body.totals.tax, codes(bare)]).toEqual([null, expect.arrayContaining(['tax_unknown'])]);
    const change = { shippingAddress: germany, shippingOptionId, discountCodes: ['spring'] };
    const shown = await cart.send('PATCH', '', change);
    expect(callsOf(shown)).toBe('2');
    expect(shown.body).toMatchObject({
      totals: { subtotal: 30, discount: 3, shipping: 5, tax: 5, total: 37 },
      items: [
        { sku: 'TEA', tax: 1.71, total: 10.71 },
        { sku: 'BOOK', tax: 0.63, total: 9.63 },
        { sku: 'POT', tax: 1.71, total: 10.71 },
      ],
      taxLines: [
        { name: 'VAT DE', rate: 19, taxable: 23, amount: 4.37 },
        { name: 'VAT DE', rate: 7, taxable: 9, amount: 0.63 },
      ],
      messages: [],
    });
    const placed = await order(cart, shown);
    expect(placed).toMatchObject({ taxTotal: 5, shippingTax: 0.95, total: 37, taxIncluded: false });
    expect(await calculationOf(placed.payment)).toMatchObject({ amount_total: 3700, tax_amount_exclusive: 500 });
  });

  test('has the tax that prices include: the buyer pays the listed prices', async () => {
    await useStripe(true);
    const cart = await fill(['TEA', 'BOOK']);
    const shown = await cart.send('PATCH', '', { shippingAddress: germany });
    expect(shown.body).toMatchObject({
      totals: { subtotal: 20, tax: 2.25, total: 20 },
      items: [
        { tax: 1.6, total: 10 },
        { tax: 0.65, total: 10 },
      ],
      taxLines: [
        { rate: 19, taxable: 8.4, amount: 1.6 },
        { rate: 7, taxable: 9.35, amount: 0.65 },
      ],
    });
    expect(await order(cart, shown)).toMatchObject({ taxTotal: 2.25, total: 20, taxIncluded: true });
  });

  test('has a tax in whole units in a currency without decimals', async () => {
    await useStripe();
    const cart = await fill(['YEN'], { currency: 'JPY' });
    const shippingAddress = { name: 'Ada', line1: '1-1', city: 'Tokyo', postalCode: '100-0001', country: 'JP' };
    const shown = await cart.send('PATCH', '', { shippingAddress });
    expect(shown.body).toMatchObject({
      totals: { subtotal: 105, tax: 11, total: 116 },
      taxLines: [{ name: 'JCT JP', rate: 10, taxable: 105, amount: 11 }],
    });
    await order(cart, shown);
  });

  test('keeps every sum to the cent where the taxes of lines do not add up to Stripe’s total', async () => {
    await useStripe();
    const cart = await fill(['ODD', 'ODD-2', 'ODD-3']);
    const shown = await cart.send('PATCH', '', { shippingAddress: germany });
    // Stripe rounds 19 % of 9.99 to 1.90, and 19 % of each 3.33 to 0.63.
    expect(shown.body).toMatchObject({
      totals: { subtotal: 9.99, tax: 1.89, total: 11.88 },
      taxLines: [{ taxable: 9.99, amount: 1.89 }],
    });
    expect(store.logs()).toContainEqual(expect.objectContaining({ outcome: 'sums_differ', lines: 189, total: 190 }));
    const placed = await order(cart, shown);
    expect(await calculationOf(placed.payment)).toBeUndefined();
  });

  test('of 200 lines has the tax of each, though Stripe shows ten at a time', async () => {
    await useStripe();
    const skus = Array.from({ length: 200 }, (_, n) => `MANY-${n}`);
    await store.database.query(
      `insert into catalog.products (id, tenant_id, sku, name, price, currency, created_at, updated_at)
       select gen_random_uuid(), 'default', s, s, 1, 'USD', now(), now() from unnest($1::text[]) s`,
      [skus],
    );
    const cart = await fill(skus);
    const shown = await cart.send('PATCH', '', { shippingAddress: germany });
    expect(shown.body.totals).toMatchObject({ subtotal: 200, tax: 38, total: 238 });
    expect(shown.body.items.every(({ tax }: { tax: number }) => tax === 0.19)).toBe(true);
  });

  test('that costs nothing does not ask Stripe', async () => {
    await useStripe();
    await addDiscount(store, null, 100);
    const before = await asked();
    const cart = await fill(['TEA']);
    const shown = await cart.send('PATCH', '', { shippingAddress: germany });
    expect(shown.body.totals).toMatchObject({ discount: 10, tax: 0, total: 0 });
    expect(await asked()).toBe(before);
  });

  test('asks the tenant’s own account at Stripe', async () => {
    await useStripe();
    await store.database.query(`update platform.tenants set stripe_account = $1 where id = 'default'`, [account]);
    const cart = await fill(['TEA']);
    const shown = await cart.send('PATCH', '', { shippingAddress: germany });
    expect(shown.body.totals.tax).toBe(1.9);
    const [row] = await store.database.query<{ id: string }>(
      `select tax_quote->>'calculationId' as id from orders.carts where id = $1`,
      [cart.id],
    );
    const connected = paymentFixture(store, account);
    expect((await connected.stripe.tax.calculations.retrieve(row?.id ?? '')).tax_amount_exclusive).toBe(190);
  });

  test('of a business whose number is valid has no tax, as Stripe says', async () => {
    await useStripe();
    const made = await store.send('POST', '/v1/customers', { email: `${randomUUID()}@example.com` });
    await store.database.query(
      `update orders.customers set vat_number = 'DE136695976', vat_status = 'valid' where id = $1`,
      [made.body.id],
    );
    const { body } = await store.send('POST', '/v1/carts', {
      ...{ currency: 'USD', items: [{ sku: 'TEA', quantity: 1 }], customerId: made.body.id },
    });
    const shown = await store.send('PATCH', `/v1/carts/${body.id}`, { shippingAddress: germany });
    expect(shown.body).toMatchObject({
      totals: { tax: 0, total: 10 },
      taxLines: [{ name: 'Reverse charge', rate: 0, taxable: 10, amount: 0 }],
    });
  });
});

describe('the tax of a cart is asked for again', () => {
  const changes: [what: string, change: (option: string) => Record<string, unknown>, tax: number][] = [
    ['the quantity', () => ({ items: [{ sku: 'TEA', quantity: 2 }] }), 4.75],
    ['the code', () => ({ discountCodes: ['SPRING'] }), 2.66],
    ['the address', () => ({ shippingAddress: france }), 3],
    ['the shipping option', (shippingOptionId) => ({ shippingOptionId }), 3.8],
  ];
  test.each(changes)('when %s changes, and then kept again', async (_what, change, tax) => {
    await useStripe();
    const [cheap, fast] = [await addShippingOption(store, 'DE', 5), await addShippingOption(store, 'DE', 10)];
    await store.database.query(`update orders.shipping_options set countries = array['DE', 'FR']`);
    await addDiscount(store, 'SPRING', 10);
    const cart = await fill(['TEA']);
    const first = await cart.send('PATCH', '', { shippingAddress: germany, shippingOptionId: cheap });
    expect(first.body.totals.tax).toBe(2.85);
    const before = await asked();
    const shown = await cart.send('PATCH', '', change(fast));
    expect([shown.body.totals.tax, callsOf(shown), await asked()]).toEqual([tax, '2', before + 1]);
    await order(cart, shown);
  });

  test('when a price changes: the checkout asks, and the buyer sees the new total before it is ordered', async () => {
    await useStripe();
    const { id, sku } = await addProduct(store, `P-${randomUUID().slice(0, 8)}`, 10, 10);
    const cart = await fill([sku]);
    await cart.send('PATCH', '', { shippingAddress: germany });
    await store.send('PATCH', `/v1/products/${id}`, { price: 20 });
    const changed = await cart.checkout(11.9);
    expect([changed.status, changed.body.code]).toEqual([409, 'price_changed']);
    expect(changed.body.cart.totals).toMatchObject({ subtotal: 20, tax: 3.8, total: 23.8 });
    expect(changed.body).not.toHaveProperty('taxQuestion');
    const placed = await cart.checkout(23.8);
    expect([placed.status, callsOf(placed)]).toEqual([201, '1']);
  });

  test('when the answer has expired: the checkout asks between two database calls', async () => {
    await useStripe();
    const cart = await fill(['TEA']);
    await cart.send('PATCH', '', { shippingAddress: germany });
    await store.database.query(
      `update orders.carts set tax_quote = tax_quote || '{"expiresAt": "2020-01-01T00:00:00Z"}' where id = $1`,
      [cart.id],
    );
    const before = await asked();
    const placed = await cart.checkout(11.9, randomUUID());
    expect([placed.status, callsOf(placed), await asked()]).toEqual([201, '2', before + 1]);
    expectSums(placed.body.order);
  });

  test('while the tenant moves to another cell, and is shown but not stored', async () => {
    await useStripe();
    const cart = await fill(['TEA']);
    await cart.send('PATCH', '', { shippingAddress: germany });
    await store.database.query('update orders.carts set tax_quote = null where id = $1', [cart.id]);
    await store.database.query(`update platform.api_keys set away = true where tenant_id = 'default'`);
    await store.database.query(
      `insert into platform.tenant_moves (id, cell, state, move_id) values ('default', 'b', 'moving', gen_random_uuid())`,
    );
    const read = await cart.send('GET', '');
    await store.database.query('delete from platform.tenant_moves');
    await store.database.query(`update platform.api_keys set away = false where tenant_id = 'default'`);
    expect([read.status, read.body.totals.tax]).toEqual([200, 1.9]);
    const [row] = await store.database.query('select tax_quote from orders.carts where id = $1', [cart.id]);
    expect(row).toEqual({ tax_quote: null });
  });

  test('and an answer is not stored if the cart has changed in the meantime', async () => {
    await useStripe();
    const cart = await fill(['TEA']);
    await shop.fault({ times: 1, path: '/v1/tax', action: 'delay', ms: 800 });
    const slow = cart.send('PATCH', '', { shippingAddress: germany });
    await new Promise((resolve) => setTimeout(resolve, 300));
    const fast = await cart.send('PATCH', '', { items: [{ sku: 'TEA', quantity: 3 }] });
    expect(fast.body.totals.tax).toBe(5.7);
    expect((await slow).body.totals).toMatchObject({ subtotal: 30, tax: 5.7 });
    expect((await cart.send('GET', '')).body.totals.tax).toBe(5.7);
  });
});

describe('a cart that is opened again', () => {
  test('has a calculation of its own for its next order', async () => {
    await useStripe();
    const cart = await fill(['TEA']);
    await cart.send('PATCH', '', { shippingAddress: germany });
    const first = await cart.checkout(11.9);
    const reopened = await cart.send('POST', '/reopen', {});
    expect([reopened.status, reopened.body.totals.tax, reopened.body.status]).toEqual([200, 1.9, 'open']);
    const second = await cart.checkout(11.9);
    const ids = [await calculationOf(first.body.payment), await calculationOf(second.body.payment)].map((each) =>
      each ? each.id : null,
    );
    expect(ids).toEqual([expect.stringMatching(/^taxcalc_/), expect.stringMatching(/^taxcalc_/)]);
    expect(ids[0]).not.toBe(ids[1]);
  });
});

describe('while Stripe Tax does not answer', () => {
  const goDown = () => shop.fault({ times: 20, path: '/v1/tax', action: 'status', status: 503 });

  test('a cart is shown without its tax and says so, and a later read has it', async () => {
    await useStripe();
    await goDown();
    const cart = await fill(['TEA']);
    const shown = await cart.send('PATCH', '', { shippingAddress: germany });
    expect([shown.status, shown.body.totals, codes(shown)]).toEqual([
      200,
      { subtotal: 10, discount: 0, shipping: 0, tax: null, total: null },
      ['tax_not_calculated'],
    ]);
    await shop.clearFaults();
    const read = await cart.send('GET', '');
    expect([read.body.totals.tax, codes(read)]).toEqual([1.9, []]);
  });

  test('a checkout is 503 and orders nothing, and the same key may try again', async () => {
    await useStripe(true);
    await goDown();
    const cart = await fill(['TEA']);
    await cart.send('PATCH', '', { shippingAddress: germany });
    const key = randomUUID();
    const refused = await cart.checkout(10, key);
    expect([refused.status, refused.body.code]).toEqual([503, 'unavailable']);
    expect(await store.database.query('select from orders.orders where cart_id = $1', [cart.id])).toEqual([]);
    await shop.clearFaults();
    expect((await cart.checkout(10, key)).status).toBe(201);
  });

  test('because of the address, the checkout says so', async () => {
    await useStripe();
    const cart = await fill(['TEA']);
    const shippingAddress = { name: 'Ada', line1: '1 Main St', city: 'Seattle', state: 'WA', country: 'US' };
    const shown = await cart.send('PATCH', '', { shippingAddress });
    expect([shown.status, codes(shown)]).toEqual([200, ['tax_not_calculated']]);
    const refused = await cart.checkout(10);
    expect([refused.status, refused.body.errors]).toEqual([
      422,
      [{ pointer: '/shippingAddress', detail: expect.stringContaining('customer_tax_location_invalid') }],
    ]);
    const corrected = await cart.send('PATCH', '', { shippingAddress: { ...shippingAddress, postalCode: '98104' } });
    expect(corrected.body.taxLines).toEqual([{ name: 'Sales tax US-WA', rate: 10.25, taxable: 10, amount: 1.03 }]);
  });
});

describe('an order of a tenant with Stripe Tax', () => {
  const input = { customerId: 'customer-1', items: [{ sku: 'TEA', quantity: 2 }], shippingAddress: germany };

  test('has the tax, in two database calls with Stripe between them', async () => {
    await useStripe();
    const placed = await store.send('POST', '/v1/orders', input);
    expect(placed.status, JSON.stringify(placed.body)).toBe(201);
    expect(callsOf(placed)).toBe('2');
    expect(placed.body).toMatchObject({ subtotal: 20, taxTotal: 3.8, total: 23.8, items: [{ tax: 3.8, total: 23.8 }] });
    expectSums(placed.body);
  });

  test('is 503 while Stripe does not answer, and the same key orders it once', async () => {
    await useStripe();
    await shop.fault({ times: 20, path: '/v1/tax', action: 'status', status: 503 });
    const idempotencyKey = randomUUID();
    const refused = await store.send('POST', '/v1/orders', input, { idempotencyKey });
    expect([refused.status, refused.body.code]).toEqual([503, 'unavailable']);
    await shop.clearFaults();
    const placed = await store.send('POST', '/v1/orders', input, { idempotencyKey });
    const repeated = await store.send('POST', '/v1/orders', input, { idempotencyKey });
    expect([placed.status, repeated.body]).toEqual([201, placed.body]);
  });

  test('is paid with a payment that names its calculation, also if Stripe was down when it was opened', async () => {
    await useStripe();
    const { body: placed } = await store.send('POST', '/v1/orders', input);
    await shop.fault({ times: 20, path: '/v1/payment_intents', action: 'status', status: 503, saved: false });
    expect((await store.send('POST', '/v1/payments', { orderId: placed.id })).status).toBe(503);
    await shop.clearFaults();
    const { body: payment } = await store.send('POST', '/v1/payments', { orderId: placed.id });
    expect(await calculationOf(payment)).toMatchObject({ amount_total: 2380 });
    const { body: opened } = await store.send('POST', '/v1/orders', { ...input, expand: ['payment'] });
    expect(await calculationOf(opened.payment)).toMatchObject({ amount_total: 2380 });
  });

  test('is not taxed at the tenant’s own rates, which apply again once the tenant chooses them again', async () => {
    await addTaxRate(store, 'DE', 50);
    await useStripe();
    expect((await store.send('POST', '/v1/orders', input)).body.taxTotal).toBe(3.8);
    await setTenant({ taxProvider: 'table' });
    const before = await asked();
    const placed = await store.send('POST', '/v1/orders', input);
    expect([placed.body.taxTotal, callsOf(placed), await asked()]).toEqual([10, '1', before]);
  });
});
