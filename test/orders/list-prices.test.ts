import { createHash, randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Reply, type Store, startStore } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const outcome = (reply: Reply) => [reply.status, reply.body.code];
type Price = { sku: string; minQuantity?: number; price: number | null };

const putPrices = async (id: string, prices: Price[]) => {
  const reply = await store.send('PUT', `/v1/price-lists/${id}/prices`, { prices });
  if (reply.status !== 200) throw new Error(JSON.stringify(reply.body));
};
/** Creates a list with these prices and returns its id. */
async function addList(audience: unknown, prices: Price[], more: Record<string, unknown> = {}): Promise<string> {
  const { body } = await store.send('POST', '/v1/price-lists', { name: 'L', currency: 'USD', audience, ...more });
  if (prices.length > 0) await putPrices(body.id, prices);
  return body.id;
}
const addCustomer = async (group?: string): Promise<string> =>
  (await store.send('POST', '/v1/customers', { email: `${randomUUID()}@example.com`, ...(group ? { group } : {}) }))
    .body.id;
type Line = { sku: string; quantity: number; price?: number };
const order = (items: Line[], more: Record<string, unknown> = {}, headers = {}) =>
  store.send('POST', '/v1/orders', { customerId: 'nobody', items, ...more }, { headers });
/** The price of each line of an order, and its total. */
const priced = async (items: Line[], more: Record<string, unknown> = {}) => {
  const { status, body } = await order(items, more);
  if (status !== 201) throw new Error(JSON.stringify(body));
  return [...body.items.map((line: { price: number }) => line.price), body.total];
};
const show = (productId: string, query: Record<string, string | number> = {}, key?: string) =>
  store.send(
    'GET',
    `/v1/products/${productId}/price?${new URLSearchParams(Object.entries(query).map(([k, v]) => [k, String(v)]))}`,
    undefined,
    key ? { key } : {},
  );

describe('the price of a line', () => {
  test("is that of an organization's list before a group's before everyone's before the catalog's", async () => {
    const { id } = await addProduct(store, 'LEVELS', 1_000, 10);
    const customerId = await addCustomer('level-group');
    const organizationId = 'level-org';
    const item = [{ sku: 'LEVELS', quantity: 1 }];
    expect(await priced(item, { customerId, organizationId })).toEqual([10, 10]);
    // Each price is higher than the one before: the level decides, not the price.
    const expected: [unknown, number, string][] = [
      ['all', 11, 'all'],
      [{ customerGroup: 'level-group' }, 12, 'group'],
      [{ organizationId }, 13, 'organization'],
    ];
    for (const [audience, price, level] of expected) {
      const list = await addList(audience, [{ sku: 'LEVELS', price }]);
      expect(await priced(item, { customerId, organizationId })).toEqual([price, price]);
      const { body } = await show(id, { customerId, organizationId });
      expect([body.price, body.source]).toEqual([price, { level, list: { id: list, name: 'L' } }]);
    }
    expect(await priced(item, { customerId })).toEqual([12, 12]);
    expect(await priced(item)).toEqual([11, 11]);
    expect(await priced(item, { customerId: await addCustomer('other-group') })).toEqual([11, 11]);
    expect(await priced(item, { organizationId: 'other-org' })).toEqual([11, 11]);
  });

  test('is the lower one of two lists of one level', async () => {
    await addProduct(store, 'TWO', 1_000, 10);
    const organizationId = 'two-org';
    await addList({ organizationId }, [{ sku: 'TWO', price: 9 }]);
    await addList({ organizationId }, [
      { sku: 'TWO', price: 8 },
      { sku: 'TWO', minQuantity: 10, price: 7.5 },
    ]);
    await addList({ organizationId }, [{ sku: 'TWO', minQuantity: 5, price: 7 }]);
    for (const [quantity, price] of [
      [1, 8],
      [4, 8],
      [5, 7],
      [10, 7],
    ] as const)
      expect(await priced([{ sku: 'TWO', quantity }], { organizationId })).toEqual([price, price * quantity]);
  });

  test('follows the quantity up and down, counted over all lines of the SKU', async () => {
    const { id } = await addProduct(store, 'TIERS', 1_000, 10);
    await addProduct(store, 'BESIDE', 1_000, 10);
    const organizationId = 'tiers-org';
    await addList({ organizationId }, [
      { sku: 'TIERS', price: 9 },
      { sku: 'TIERS', minQuantity: 10, price: 8 },
      { sku: 'TIERS', minQuantity: 100, price: 6.5 },
    ]);
    for (const [quantity, price] of [
      [10, 8],
      [9, 9],
      [99, 8],
      [100, 6.5],
      [1, 9],
    ] as const)
      expect(await priced([{ sku: 'TIERS', quantity }], { organizationId })).toEqual([price, price * quantity]);
    const split = [
      { sku: 'TIERS', quantity: 4 },
      { sku: 'BESIDE', quantity: 6 },
      { sku: 'TIERS', quantity: 6 },
    ];
    expect(await priced(split, { organizationId })).toEqual([8, 10, 140]);
    const { body } = await show(id, { organizationId, quantity: 12 });
    expect(body).toMatchObject({
      quantity: 12,
      price: 8,
      minQuantity: 10,
      nextBreak: { minQuantity: 100, price: 6.5 },
    });
    expect(body.breaks).toEqual([
      { minQuantity: 1, price: 9 },
      { minQuantity: 10, price: 8 },
      { minQuantity: 100, price: 6.5 },
    ]);
  });

  test('is not that of a list whose smallest quantity is not reached: the next level applies', async () => {
    const { id } = await addProduct(store, 'REACH', 1_000, 10);
    const organizationId = 'reach-org';
    await addList({ organizationId }, [{ sku: 'REACH', minQuantity: 50, price: 5 }]);
    await addList('all', [{ sku: 'REACH', minQuantity: 5, price: 9 }]);
    for (const [quantity, price] of [
      [1, 10],
      [5, 9],
      [49, 9],
      [50, 5],
    ] as const)
      expect(await priced([{ sku: 'REACH', quantity }], { organizationId })).toEqual([price, price * quantity]);
    expect((await show(id, { organizationId })).body).toMatchObject({
      source: { level: 'catalog', list: null },
      nextBreak: { minQuantity: 5, price: 9 },
      breaks: [
        { minQuantity: 1, price: 10 },
        { minQuantity: 5, price: 9 },
        { minQuantity: 50, price: 5 },
      ],
    });
  });

  test('is that of the lists which apply at the time of the order, to the millisecond', async () => {
    await addProduct(store, 'TIME', 1_000, 10);
    const [startsAt, endsAt] = ['2030-01-01T00:00:00.000Z', '2030-02-01T00:00:00.000Z'];
    await addList('all', [{ sku: 'TIME', price: 6 }], { startsAt, endsAt });
    await addList('all', [{ sku: 'TIME', price: 5 }], { endsAt: '2020-01-01T00:00:00Z' });
    const client = new pg.Client(store.database.workerUrl);
    await client.connect();
    const keyHash = createHash('sha256').update(store.key).digest('hex');
    const priceAt = async (now: string) => {
      const input = { id: randomUUID(), customerId: 'c', items: [{ sku: 'TIME', quantity: 1 }] };
      const { rows } = await client.query('select orders.place_order($1, $2) as result', [
        { keyHash, now, idempotencyKey: randomUUID(), requestHash: 'x' },
        { ...input, holdSeconds: 900, async: false },
      ]);
      return rows[0].result.answer.total;
    };
    try {
      expect(await priceAt('2029-12-31T23:59:59.999Z')).toBe(10);
      expect(await priceAt(startsAt)).toBe(6);
      expect(await priceAt('2030-01-31T23:59:59.999Z')).toBe(6);
      expect(await priceAt(endsAt)).toBe(10);
      expect(await priceAt('2019-12-31T23:59:59.999Z')).toBe(5);
    } finally {
      await client.end();
    }
  });

  test('changes at once with its list, its prices and the customer, although products are cached', async () => {
    const { id } = await addProduct(store, 'AT-ONCE', 1_000, 10);
    const customerId = await addCustomer();
    const see = async () => {
      const reply = await show(id, { customerId });
      expect(reply.headers.get('cache-control')).toBe('no-store');
      expect(reply.headers.get('server-timing')).toContain('1 calls');
      expect(await priced([{ sku: 'AT-ONCE', quantity: 1 }], { customerId })).toEqual([
        reply.body.price,
        reply.body.price,
      ]);
      return reply.body.price;
    };
    await store.send('GET', `/v1/products/${id}`);
    expect(await see()).toBe(10);
    const list = await addList('all', [{ sku: 'AT-ONCE', price: 9 }]);
    expect(await see()).toBe(9);
    await putPrices(list, [{ sku: 'AT-ONCE', price: 8 }]);
    expect(await see()).toBe(8);
    await store.send('PATCH', `/v1/price-lists/${list}`, { audience: { customerGroup: 'soon' } });
    expect(await see()).toBe(10);
    await store.send('PATCH', `/v1/customers/${customerId}`, { group: 'soon' });
    expect(await see()).toBe(8);
    await store.send('PATCH', `/v1/price-lists/${list}`, { endsAt: '2020-01-01T00:00:00Z' });
    expect(await see()).toBe(10);
    await store.send('PATCH', `/v1/price-lists/${list}`, { endsAt: null });
    await putPrices(list, [{ sku: 'AT-ONCE', price: null }]);
    expect(await see()).toBe(10);
    await putPrices(list, [{ sku: 'AT-ONCE', price: 3 }]);
    expect(await see()).toBe(3);
    await store.send('DELETE', `/v1/price-lists/${list}`);
    expect(await see()).toBe(10);
  });

  test("is never that of another tenant's list", async () => {
    const key = await store.database.key({ tenant: 'acme' });
    const send = (method: string, path: string, body: unknown) => store.send(method, path, body, { key });
    const product = { sku: 'TENANTS', name: 'n', price: 20, currency: 'USD', inventory: 9 };
    await send('POST', '/v1/products', product);
    await addProduct(store, 'TENANTS', 9, 10);
    const { body: list } = await send('POST', '/v1/price-lists', { name: 'A', currency: 'USD', audience: 'all' });
    await send('PUT', `/v1/price-lists/${list.id}/prices`, { prices: [{ sku: 'TENANTS', price: 1 }] });
    const { body: theirs } = await send('POST', '/v1/customers', { email: 'x@example.com', group: 'shared' });
    await addList({ customerGroup: 'shared' }, [{ sku: 'TENANTS', price: 4 }]);
    const item = [{ sku: 'TENANTS', quantity: 1 }];
    expect(await priced(item)).toEqual([10, 10]);
    expect(await priced(item, { customerId: theirs.id })).toEqual([10, 10]);
    expect((await send('POST', '/v1/orders', { customerId: theirs.id, items: item })).body.total).toBe(1);
  });
});

describe('an order', () => {
  test('with a stated price that a list has changed is rejected with the right price', async () => {
    await addProduct(store, 'STATED', 100, 10);
    await addProduct(store, 'PLAIN', 100, 10);
    await addList('all', [
      { sku: 'STATED', price: 9 },
      { sku: 'STATED', minQuantity: 10, price: 8 },
    ]);
    const reply = await order([
      { sku: 'PLAIN', quantity: 1, price: 10 },
      { sku: 'STATED', quantity: 10, price: 9 },
    ]);
    expect(outcome(reply)).toEqual([409, 'price_changed']);
    expect(reply.body.errors).toEqual([{ pointer: '/items/1/price', detail: 'The price of "STATED" is 8.00, not 9.' }]);
    expect(outcome(await order([{ sku: 'STATED', quantity: 1, price: 10 }]))).toEqual([409, 'price_changed']);
    expect(await priced([{ sku: 'STATED', quantity: 10, price: 8 }])).toEqual([8, 80]);
  });

  test('with quoted prices keeps them; a line without one gets the price of the lists', async () => {
    await addProduct(store, 'QUOTED', 100, 10);
    await addProduct(store, 'UNSTATED', 100, 10);
    await addList('all', [
      { sku: 'QUOTED', price: 9 },
      { sku: 'UNSTATED', price: 7 },
    ]);
    const items = [
      { sku: 'QUOTED', quantity: 2, price: 3 },
      { sku: 'UNSTATED', quantity: 1 },
    ];
    expect(await priced(items, { pricing: 'quoted' })).toEqual([3, 7, 13]);
    expect(await priced([{ sku: 'QUOTED', quantity: 2, price: 3 }], { pricing: 'quoted' })).toEqual([3, 6]);
  });

  test('in another currency gets the prices of its lists, and needs one for every SKU', async () => {
    const { id } = await addProduct(store, 'EURO', 100, 10);
    await addProduct(store, 'DOLLAR', 100, 10);
    await addList(
      'all',
      [
        { sku: 'EURO', price: 9.2 },
        { sku: 'EURO', minQuantity: 5, price: 8.4 },
      ],
      { currency: 'EUR' },
    );
    await addList('all', [{ sku: 'EURO', price: 1_500 }], { currency: 'JPY' });
    expect(await priced([{ sku: 'EURO', quantity: 5 }], { currency: 'EUR' })).toEqual([8.4, 42]);
    expect(await priced([{ sku: 'EURO', quantity: 2 }], { currency: 'JPY' })).toEqual([1_500, 3_000]);
    expect(await priced([{ sku: 'EURO', quantity: 2 }])).toEqual([10, 20]);
    const both = [
      { sku: 'EURO', quantity: 1 },
      { sku: 'DOLLAR', quantity: 1 },
    ];
    expect(outcome(await order(both, { currency: 'EUR' }))).toEqual([422, 'currency_mismatch']);
    expect(outcome(await order(both, { currency: 'GBP' }))).toEqual([422, 'currency_mismatch']);
    expect((await show(id, { currency: 'EUR', quantity: 7 })).body).toMatchObject({ currency: 'EUR', price: 8.4 });
    expect((await show(id, { currency: 'JPY' })).body.price).toBe(1_500);
    expect(outcome(await show(id, { currency: 'GBP' }))).toEqual([422, 'currency_mismatch']);
  });

  test('of an archived product is rejected, although a list has a price for it', async () => {
    const { id } = await addProduct(store, 'ARCHIVED', 100, 10);
    await addList('all', [{ sku: 'ARCHIVED', price: 9 }]);
    await store.send('DELETE', `/v1/products/${id}`);
    expect(outcome(await order([{ sku: 'ARCHIVED', quantity: 1 }]))).toEqual([422, 'unknown_sku']);
    expect(outcome(await show(id))).toEqual([404, 'not_found']);
  });

  test('that the queue decides, or that opens its payment, has the same prices', async () => {
    await addProduct(store, 'ASYNC', 100, 10);
    await addList('all', [{ sku: 'ASYNC', price: 6 }]);
    const accepted = await order([{ sku: 'ASYNC', quantity: 2 }], {}, { prefer: 'respond-async' });
    expect([accepted.status, accepted.body.total]).toEqual([202, 12]);
    const { body } = await order([{ sku: 'ASYNC', quantity: 3 }], { expand: ['payment'] });
    expect([body.total, body.payment.amount]).toEqual([18, 18]);
  });

  test('placed while its list changes has the prices of one state, and a total that adds up', async () => {
    for (const sku of ['SWING-A', 'SWING-B']) await addProduct(store, sku, 10_000, 10);
    const states = [
      [2, 20],
      [3, 30],
    ] as const;
    const write = (state: number) =>
      putPrices(list, [
        { sku: 'SWING-A', price: states[state]?.[0] ?? 0 },
        { sku: 'SWING-B', price: states[state]?.[1] ?? 0 },
      ]);
    const list = await addList('all', []);
    await write(0);
    let isDone = false;
    const changing = (async () => {
      for (let n = 1; !isDone; n++) await write(n % 2);
    })();
    const orders: unknown[][] = [];
    for (let round = 0; round < 15; round++) {
      const placed = Array.from({ length: 4 }, () =>
        priced([
          { sku: 'SWING-A', quantity: 2 },
          { sku: 'SWING-B', quantity: 1 },
        ]),
      );
      orders.push(...(await Promise.all(placed)));
    }
    isDone = true;
    await changing;
    const allowed = states.map(([a, b]) => JSON.stringify([a, b, a * 2 + b]));
    expect(orders.filter((found) => !allowed.includes(JSON.stringify(found)))).toEqual([]);
    expect(new Set(orders.map((found) => JSON.stringify(found))).size).toBe(2);
  });
});

describe('a publishable key', () => {
  test("sees the prices for everyone, and no customer's or organization's", async () => {
    const { id } = await addProduct(store, 'PUBLIC', 100, 10);
    const customerId = await addCustomer('secret-group');
    await addList('all', [{ sku: 'PUBLIC', price: 9 }]);
    await addList({ customerGroup: 'secret-group' }, [{ sku: 'PUBLIC', price: 8 }]);
    await addList({ organizationId: 'secret-org' }, [{ sku: 'PUBLIC', price: 7 }]);
    const key = await store.database.key({ kind: 'publishable' });
    const { body } = await show(id, { quantity: 3 }, key);
    expect(body).toMatchObject({ price: 9, source: { level: 'all' }, breaks: [{ minQuantity: 1, price: 9 }] });
    expect(outcome(await show(id, { customerId }, key))).toEqual([403, 'forbidden']);
    expect(outcome(await show(id, { organizationId: 'secret-org' }, key))).toEqual([403, 'forbidden']);
    expect((await show(id, { customerId })).body.price).toBe(8);
  });
});
