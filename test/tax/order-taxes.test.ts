import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
  await addProduct(store, 'PLAIN', 100_000, 10);
  await addProduct(store, 'BOOK', 100_000, 10, { taxCategory: 'books' });
  await addProduct(store, 'FOOD', 100_000, 10, { taxCategory: 'food' });
  await addProduct(store, 'ODD', 100_000, 3.33);
});
afterAll(() => store.close());

type Rate = { name: string; rate: number; country?: string; region?: string; category?: string };

async function setRates(...rates: Rate[]): Promise<void> {
  const { body } = await store.send('GET', '/v1/tax-rates?limit=100');
  for (const { id } of body.data) await store.send('DELETE', `/v1/tax-rates/${id}`);
  for (const rate of rates) {
    const { status, body: made } = await store.send('POST', '/v1/tax-rates', { country: 'US', ...rate });
    if (status !== 201) throw new Error(JSON.stringify(made));
  }
}

const setTenant = async (change: Record<string, unknown>) => {
  const { status, body } = await store.send('PATCH', '/v1/tenant', change);
  if (status !== 200) throw new Error(JSON.stringify(body));
};

const at = (country: string, more: Record<string, unknown> = {}) => ({
  ...{ name: 'Ada', line1: '1 Main St', city: 'Springfield', country },
  ...more,
});

const line = (sku: string, quantity = 1) => ({ sku, quantity });

async function place(items: object[], shippingAddress: object | undefined, more: Record<string, unknown> = {}) {
  const input = { customerId: 'customer-1', items, ...(shippingAddress ? { shippingAddress } : {}), ...more };
  const { status, body, headers } = await store.send('POST', '/v1/orders', input);
  if (status !== 201) throw new Error(JSON.stringify(body));
  expect(headers.get('server-timing')).toContain('1 calls');
  expectSums(body);
  const read = await store.send('GET', `/v1/orders/${body.id}`);
  for (const name of ['items', 'taxLines', 'taxTotal', 'shippingTax', 'total'])
    expect([name, read.body[name]]).toEqual([name, body[name]]);
  return body;
}

const cents = (amount: number) => Math.round(amount * 100);
const sum = (amounts: number[]) => amounts.reduce((total, amount) => total + cents(amount), 0);

type Order = {
  items: { price: number; quantity: number; discount: number; tax: number; total: number }[];
  taxLines: { taxable: number; amount: number }[];
} & Record<'subtotal' | 'discountTotal' | 'shippingTotal' | 'shippingTax' | 'taxTotal' | 'total', number> & {
    taxIncluded: boolean;
  };

/** Every sum of an order agrees to the cent. */
function expectSums(order: Order): void {
  const added = order.taxIncluded ? 0 : cents(order.taxTotal);
  expect(cents(order.total)).toBe(
    cents(order.subtotal) - cents(order.discountTotal) + cents(order.shippingTotal) + added,
  );
  expect(sum(order.items.map(({ tax }) => tax)) + cents(order.shippingTax)).toBe(cents(order.taxTotal));
  expect(sum(order.taxLines.map(({ amount }) => amount))).toBe(cents(order.taxTotal));
  const ofShipping = cents(order.shippingTotal) + (order.taxIncluded ? 0 : cents(order.shippingTax));
  expect(sum(order.items.map(({ total }) => total)) + ofShipping).toBe(cents(order.total));
}

const addOption = async (country: string, price: number, taxCategory: string | null): Promise<string> => {
  const id = randomUUID();
  await store.database.query(
    `insert into orders.shipping_options (id, tenant_id, name, countries, currency, price, tax_category, created_at, updated_at)
     values ($1, 'default', 'Post', array[$2], 'USD', $3, $4, now(), now())`,
    [id, country, price, taxCategory],
  );
  return id;
};

beforeEach(() => setTenant({ country: 'US', pricesIncludeTax: false }));

describe('the tax of an order', () => {
  test('is that of the most specific rate: region and category, region, category, country', async () => {
    await setRates(
      { name: 'country', rate: 1 },
      { name: 'category', rate: 2, category: 'books' },
      { name: 'region', rate: 3, region: 'CA' },
      { name: 'both', rate: 4, region: 'CA', category: 'food' },
    );
    const items = [line('PLAIN'), line('BOOK'), line('FOOD')];
    const inCalifornia = await place(items, at('US', { state: 'CA' }));
    expect(inCalifornia.items.map(({ tax }: { tax: number }) => tax)).toEqual([0.3, 0.3, 0.4]);
    expect(inCalifornia.taxLines).toEqual([
      { name: 'both', rate: 4, taxable: 10, amount: 0.4 },
      { name: 'region', rate: 3, taxable: 20, amount: 0.6 },
    ]);
    const elsewhere = await place(items, at('US', { state: 'NY' }));
    expect(elsewhere.items.map(({ tax }: { tax: number }) => tax)).toEqual([0.1, 0.2, 0.1]);
    const named = await place([line('FOOD')], at('US', { state: 'California' }));
    expect(named.taxLines).toMatchObject([{ name: 'country' }]);
    const abroad = await place(items, at('CA', { state: 'CA' }));
    expect(abroad).toMatchObject({ taxTotal: 0, taxLines: [], total: 30 });
  });

  test.each(['CA', 'ca', 'US-CA', 'us-ca'])(
    'has the rate of the region that an address writes as %s',
    async (state) => {
      await setRates({ name: 'country', rate: 1 }, { name: 'region', rate: 7.25, region: 'US-CA' });
      const order = await place([line('PLAIN')], at('US', { state }));
      expect(order.taxLines).toEqual([{ name: 'region', rate: 7.25, taxable: 10, amount: 0.73 }]);
    },
  );

  test('is computed once on the sum of all lines of a rate, whatever their category, and split to the cent', async () => {
    await setRates({ name: 'VAT', rate: 10 });
    const order = await place([line('ODD'), line('BOOK'), line('FOOD')], at('US'));
    expect(order.taxLines).toEqual([{ name: 'VAT', rate: 10, taxable: 23.33, amount: 2.33 }]);
    expect(order.items.map(({ tax }: { tax: number }) => tax)).toEqual([0.33, 1, 1]);
    expect(order.total).toBe(25.66);
  });

  test('is part of prices that include it: the buyer pays the listed prices', async () => {
    await setTenant({ pricesIncludeTax: true });
    await setRates(
      { name: 'US', rate: 20 },
      { name: 'DE', country: 'DE', rate: 19 },
      { name: 'DE books', country: 'DE', category: 'books', rate: 7 },
    );
    const items = [line('PLAIN', 3), line('BOOK')];
    const american = await place(items, at('US'));
    expect(american).toMatchObject({ subtotal: 40, taxTotal: 6.67, taxIncluded: true, total: 40 });
    expect(american.taxLines).toEqual([{ name: 'US', rate: 20, taxable: 33.33, amount: 6.67 }]);
    const german = await place(items, at('DE'));
    expect(german).toMatchObject({ subtotal: 40, taxTotal: 5.44, taxIncluded: true, total: 40 });
    expect(german.items.map(({ tax, total }: { tax: number; total: number }) => [tax, total])).toEqual([
      [4.79, 30],
      [0.65, 10],
    ]);
    const untaxed = await place(items, at('JP'));
    expect(untaxed).toMatchObject({ subtotal: 40, taxTotal: 0, taxLines: [], total: 40 });
  });

  test.each([
    { included: false, shippingTax: 0.35, taxTotal: 2.35, total: 17.35 },
    { included: true, shippingTax: 0.33, taxTotal: 2, total: 15 },
  ])('has the rate of the shipping option for shipping (included: $included)', async ({ included, ...amounts }) => {
    await setTenant({ pricesIncludeTax: included });
    await setRates({ name: 'VAT', rate: 20 }, { name: 'Post', rate: 7, category: 'post' });
    const order = await place([line('PLAIN')], at('US'), { shippingOptionId: await addOption('US', 5, 'post') });
    expect(order).toMatchObject({ shippingTotal: 5, ...amounts });
    expect(order.taxLines.map(({ name }: { name: string }) => name)).toEqual(['Post', 'VAT']);
    const plain = await place([line('PLAIN')], at('US'), { shippingOptionId: await addOption('US', 5, null) });
    expect(plain.taxLines).toHaveLength(1);
    await store.database.query('delete from orders.shipping_options');
  });

  test("follows the billing address without a shipping address, and the tenant's country without both", async () => {
    await setRates({ name: 'US', rate: 10 }, { name: 'DE', country: 'DE', rate: 19 });
    const names = async (...arguments_: Parameters<typeof place>) => (await place(...arguments_)).taxLines[0].name;
    expect(await names([line('PLAIN')], undefined)).toBe('US');
    expect(await names([line('PLAIN')], undefined, { billingAddress: at('DE') })).toBe('DE');
    expect(await names([line('PLAIN')], at('US'), { billingAddress: at('DE') })).toBe('US');
  });

  test('stays when its rate is changed or deleted', async () => {
    await setRates({ name: 'US', rate: 10 });
    const order = await place([line('PLAIN')], at('US'));
    await setRates();
    const { body } = await store.send('GET', `/v1/orders/${order.id}`);
    expect(body).toMatchObject({ taxTotal: 1, total: 11, taxLines: order.taxLines });
  });

  test('is added to quoted prices, which have no discount', async () => {
    await setRates({ name: 'US', rate: 10 });
    await store.database.query(
      `insert into orders.discounts (id, tenant_id, name, type, value, combinable, created_at, updated_at)
       values ('auto', 'default', 'Sale', 'percentage', 50, true, now(), now())`,
    );
    const quoted = await place([{ sku: 'PLAIN', quantity: 2, price: 7 }], at('US'), { pricing: 'quoted' });
    expect(quoted).toMatchObject({ subtotal: 14, discountTotal: 0, discounts: [], taxTotal: 1.4, total: 15.4 });
    const listed = await place([line('PLAIN', 2)], at('US'));
    expect(listed).toMatchObject({ subtotal: 20, discountTotal: 10, taxTotal: 1, total: 11 });
    await store.database.query('delete from orders.discounts');
  });

  test('is none without rates: such an order stores no amounts but its total', async () => {
    await setRates();
    const order = await place([line('PLAIN', 2)], at('US', { state: 'CA' }));
    expect(order).toMatchObject({ subtotal: 20, taxTotal: 0, taxLines: [], taxIncluded: false, total: 20 });
    const [row] = await store.database.query('select lines, subtotal, tax_total from orders.orders where id = $1', [
      order.id,
    ]);
    expect(row).toEqual({ lines: null, subtotal: null, tax_total: null });
  });

  test("is not that of another tenant's rates", async () => {
    await setRates();
    const key = await store.database.key({ tenant: 'acme' });
    await store.send('POST', '/v1/tax-rates', { name: 'US', country: 'US', rate: 10 }, { key });
    expect(await place([line('PLAIN')], at('US'))).toMatchObject({ taxTotal: 0, total: 10 });
  });
});

describe('a business in another EU country', () => {
  const german = 'DE136695976';
  const items = [line('PLAIN', 3), line('BOOK'), line('ODD')];

  async function customerWith(vatNumber: string | null, answer?: string): Promise<string> {
    if (vatNumber !== null && answer !== undefined) store.vies.answers.set(vatNumber, answer);
    const { status, body } = await store.send('POST', '/v1/customers', {
      email: `${randomUUID()}@example.com`,
      vatNumber,
    });
    if (status !== 201) throw new Error(JSON.stringify(body));
    const expected = answer === undefined ? 'valid' : answer === 'INVALID' ? 'invalid' : 'pending';
    if (vatNumber !== null) await until(async () => (await statusOf(body.id)) === expected);
    return body.id;
  }
  const statusOf = async (id: string) => (await store.send('GET', `/v1/customers/${id}`)).body.vatStatus;

  beforeEach(async () => {
    store.vies.answers.clear();
    await setTenant({ country: 'FR' });
    await setRates(
      { name: 'TVA', country: 'FR', rate: 20 },
      { name: 'MwSt', country: 'DE', rate: 19 },
      { name: 'MwSt 7', country: 'DE', category: 'books', rate: 7 },
      { name: 'FPA', country: 'GR', rate: 24 },
      { name: 'UK VAT', country: 'GB', rate: 20 },
    );
  });

  test.each([
    ['Germany', german, at('DE')],
    ['Greece, whose numbers begin with EL', 'EL094259216', at('GR')],
    ['Northern Ireland, by its postcode', 'XI434031494', at('GB', { postalCode: 'bt1 5GS' })],
    ['Northern Ireland, by its region', 'XI434031494', at('GB', { state: 'GB-NIR' })],
    ['Germany, with the number of a third country', 'EL094259216', at('DE')],
  ])('pays no tax in %s', async (_, number, address) => {
    const order = await place(items, address, { customerId: await customerWith(number) });
    expect(order).toMatchObject({ subtotal: 43.33, taxTotal: 0, taxIncluded: false, total: 43.33 });
    expect(order.taxLines).toEqual([{ name: 'Reverse charge', rate: 0, taxable: 43.33, amount: 0 }]);
  });

  test('pays the prices without their tax, if they include it, and the lines keep the listed price', async () => {
    await setTenant({ pricesIncludeTax: true });
    const customerId = await customerWith(german);
    const order = await place(items, at('DE'), { customerId });
    // 33.33 with 19 % is 28.01, and 10 with 7 % is 9.35.
    expect(order).toMatchObject({ subtotal: 37.36, taxTotal: 0, taxIncluded: false, total: 37.36 });
    expect(order.items.map(({ price, total }: { price: number; total: number }) => [price, total])).toEqual([
      [10, 25.21],
      [10, 9.35],
      [3.33, 2.8],
    ]);
    expect(order.taxLines).toEqual([{ name: 'Reverse charge', rate: 0, taxable: 37.36, amount: 0 }]);
    const shippingOptionId = await addOption('DE', 5, null);
    const shipped = await place(items, at('DE'), { customerId, shippingOptionId });
    expect(shipped).toMatchObject({ shippingTotal: 4.2, shippingTax: 0, total: 41.56 });
    await store.database.query('delete from orders.shipping_options');
  });

  test.each([
    ['in the country of the seller', 'FR40303265045', undefined, at('FR'), 'TVA'],
    ['that sends it to the country of the seller', german, undefined, at('FR'), 'TVA'],
    ['abroad, with a number of the country of the seller', 'FR40303265045', undefined, at('DE'), 'MwSt'],
    ['outside the EU', german, undefined, at('GB', { postalCode: 'SW1A 1AA' }), 'UK VAT'],
    ['in Britain, with a number of Northern Ireland', 'XI434031494', undefined, at('GB'), 'UK VAT'],
    ['whose number VIES does not know', german, 'INVALID', at('DE'), 'MwSt'],
    ['whose number VIES could not check yet', german, 'MS_UNAVAILABLE', at('DE'), 'MwSt'],
    ['without a number', null, undefined, at('DE'), 'MwSt'],
  ])('is taxed like everyone: a business %s', async (_, number, answer, address, tax) => {
    const customerId = await customerWith(number, answer);
    for (const included of [false, true]) {
      await setTenant({ pricesIncludeTax: included });
      const order = await place([line('PLAIN')], address, { customerId });
      expect(order.taxLines).toMatchObject([{ name: tax }]);
      expect(order.taxTotal).toBeGreaterThan(1.5);
    }
  });

  test('is taxed by a seller outside the EU', async () => {
    await setTenant({ country: 'CH' });
    const order = await place([line('PLAIN')], at('DE'), { customerId: await customerWith(german) });
    expect(order.taxLines).toMatchObject([{ name: 'MwSt', amount: 1.9 }]);
  });
});
