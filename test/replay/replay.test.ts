import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { NeonBridgeOptions } from '../../dev/neon/bridge.ts';
import { addProduct, cronUntil, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { createRandom, createReplayFixture, type Fixture } from '../support/replay.ts';

let store: Store;
let fixture: Fixture;
let fault: NonNullable<NeonBridgeOptions['fault']> | undefined;

beforeAll(async () => {
  store = await startStore({ neonFault: (call) => fault?.(call) });
  fixture = await createReplayFixture(store);
});
afterEach(() => {
  fault = undefined;
});
afterAll(async () => {
  await fixture.close();
  await store.close();
});

const header = 'InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country';
const day = '2010-12-01 08:26:00';

/** Every kind of row in the real file, with SKUs that begin with `p`. It sells 8 lines in 4 orders. */
const oddities = (p: string): string => `${header}
536365,${p}85123A,"WHITE ""HANGING"" HEART, T-LIGHT",6,${day},2.55,17850.0,United Kingdom
536365,${p}71053,,6,${day},3.39,17850.0,United Kingdom
536365,${p}85123A,WHITE HANGING HEART,2,${day},2.95,17850.0,United Kingdom
536365,${p}85123A,WHITE HANGING HEART,6,${day},2.55,17850.0,United Kingdom
536366,${p}POST,POSTAGE,1,${day},18.0,,France
536367,${p}FREE,,40,${day},0.0,,United Kingdom
C536379,${p}71053,,-2,${day},3.39,14527.0,United Kingdom
C536379,${p}NEVER SOLD/1,Discount,-1,${day},27.5,14527.0,United Kingdom
C536379,${p}71053,,-2,${day},3.39,14527.0,United Kingdom
536368,${p}71053,check,-10,${day},0.0,,United Kingdom
536369,${p}85123a,white hanging heart,3,${day},0.1,13047.0,United Kingdom
536369,${p}71053,,0,${day},3.39,13047.0,United Kingdom
536369,${p}71053,,1,${day},0.001,13047.0,United Kingdom
536369,${p}71053,,1,${day},-3.39,13047.0,United Kingdom
536365,${p}71053,,1,${day},3.39,17850.0,United Kingdom
A563185,B,Adjust bad debt,1,${day},11062.06,,United Kingdom
`;

/** Invoices of five lines on twenty SKUs. Every tenth one is a cancellation. */
function many(prefix: string, invoices: number): string {
  const random = createRandom(42);
  const rows = [header];
  for (let i = 0; i < invoices; i++) {
    const kind = i % 10 === 9 ? 'C' : '';
    for (let line = 0; line < 5; line++) {
      const sku = `${prefix}-${random(20)}`;
      const quantity = (kind ? -1 : 1) * (1 + random(50));
      rows.push(`${kind}${600_000 + i},${sku},Thing ${sku},${quantity},${day},${random(2000) / 100},${random(9)},UK`);
    }
  }
  return `${rows.join('\n')}\n`;
}

/**
 * Two variants and a SKU without variants. Three of the four invoices have the prices that most invoices with the same
 * quantity have: 2.55, and 2.10 from 12 units on.
 */
const variants = (stem: string): string => `${header}
700001,${stem}A,White heart,2,${day},2.55,17850.0,UK
700001,${stem}b,Red heart,1,${day},3.39,17850.0,UK
700002,${stem}A,White heart,4,${day},2.10,17850.0,UK
700002,${stem}A,White heart,8,${day},2.10,17850.0,UK
700003,${stem}A,White heart,2,${day},2.55,17850.0,UK
700003,${stem},Box,2,${day},5,17850.0,UK
700004,${stem}A,White heart,2,${day},1.99,17850.0,UK
`;

/** 600 SKUs that cost 1.00, 0.90 from 2 units on, and 0.80 from 3 units on: 1,200 prices, more than a request may have. */
function manyPrices(prefix: string): string {
  const invoices: [quantity: number, price: string][] = [
    [1, '1.00'],
    [1, '1.00'],
    [2, '0.90'],
    [3, '0.80'],
  ];
  const rows = invoices.flatMap(([quantity, price], invoice) =>
    Array.from({ length: 600 }, (_, i) => `${800_001 + invoice},${prefix}-${i},Thing,${quantity},${day},${price},,UK`),
  );
  return `${header}\n${rows.join('\n')}\n`;
}

const fingerprint = async (): Promise<unknown> => {
  const tables = ['orders.orders', 'inventory.inventory', 'inventory.reservations', 'inventory.adjustments'];
  const catalogTables = ['catalog.products', 'catalog.product_groups', 'catalog.price_lists', 'catalog.prices'];
  const sums = [...tables, ...catalogTables, 'platform.events'].map(
    (table) => `(select md5(coalesce(string_agg(x::text, '' order by x::text), '')) from ${table} x)`,
  );
  return store.database.query(`select ${sums.map((sum, i) => `${sum} as s${i}`).join(', ')}`);
};

const stockOf = async (sku: string) => {
  const { body } = await store.send('GET', `/v1/inventory/${encodeURIComponent(sku)}`);
  return [body.quantity, body.reserved];
};

const callsFunction = (call: { statements: readonly { query: string }[] }, name: string): boolean =>
  call.statements.some(({ query }) => query.includes(name));

test('everything that a file sells is in the store once, and every other row is counted by reason', async () => {
  const { code, text } = await fixture.run(await fixture.write(oddities('a-')));
  expect(text).toContain('Everything is there exactly once.');
  expect(code).toBe(0);
  expect(text.replaceAll(/ +/g, ' ')).toContain(`
 8 lines of 4 orders, 78.53 GBP
 3 lines of cancellations
 1 rejected: accounting adjustment, not a sale (invoice A…, or bad debt)
 1 rejected: quantity of zero
 1 rejected: negative quantity outside a cancellation (written off)
 1 rejected: negative price
 1 rejected: price with more than two decimals
 16 in total
`);
  const { body } = await store.send('GET', '/v1/orders?customerId=17850');
  expect(body.data).toMatchObject([
    {
      purchaseOrderNumber: '536365',
      organizationId: expect.stringMatching(/^replay-[0-9a-f]{16}$/),
      total: 60.23,
      currency: 'GBP',
      items: [
        { sku: 'a-85123A', quantity: 12, price: 2.55 },
        { sku: 'a-71053', quantity: 7, price: 3.39 },
        { sku: 'a-85123A', quantity: 2, price: 2.95 },
      ],
    },
  ]);
  expect((await store.send('GET', '/v1/products/by-sku/a-85123A')).body).toMatchObject({
    name: 'WHITE "HANGING" HEART, T-LIGHT',
    price: 2.55,
    inventory: 0,
  });
  expect((await store.send('GET', '/v1/products/by-sku/a-71053')).body).toMatchObject({ name: 'check', price: 3.39 });
  expect(await stockOf('a-71053')).toEqual([4, 7]);
  expect(await stockOf('a-NEVER SOLD/1')).toEqual([1, 0]);
});

test('SKUs that share a stem are sold as variants of one product group', async () => {
  const { code, text } = await fixture.run(await fixture.write(variants('30001')));
  expect(text.replaceAll(/ +/g, ' ')).toContain('variants in their groups 2 2 ok');
  expect(code).toBe(0);
  const { body } = await store.send('GET', '/v1/product-groups/by-slug/30001');
  expect(body).toMatchObject({ name: 'White heart', slug: '30001', options: ['Variant'] });
  expect(body.products).toHaveLength(2);
  expect(body.products).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ sku: '30001A', name: 'White heart', options: { Variant: 'A' } }),
      expect.objectContaining({ sku: '30001b', name: 'Red heart', options: { Variant: 'b' } }),
    ]),
  );
  expect((await store.send('GET', '/v1/products/by-sku/30001')).body).toMatchObject({ name: 'Box', groupId: null });
});

test('the historical prices of a SKU are a price list of the orders of the replay, and of nobody else', async () => {
  const { code, text } = await fixture.run(await fixture.write(variants('40001')));
  expect(text).toContain(
    '3 at the prices of the price list and the catalog, as the platform calculates them, 1 at quoted',
  );
  expect(code).toBe(0);
  const organizationId = /organizationId (replay-[0-9a-f]{16})/.exec(text)?.[1];
  const lists = (await store.send('GET', '/v1/price-lists?limit=100')).body.data;
  expect(lists).toContainEqual(
    expect.objectContaining({
      name: `Historical prices (${organizationId})`,
      audience: { organizationId },
      currency: 'GBP',
      priceCount: 1,
    }),
  );
  const product = (await store.send('GET', '/v1/products/by-sku/40001A')).body;
  const priceOf = async (query: string) =>
    (await store.send('GET', `/v1/products/${product.id}/price?${query}`)).body.price;
  expect(await priceOf(`quantity=11&organizationId=${organizationId}`)).toBe(2.55);
  expect(await priceOf(`quantity=12&organizationId=${organizationId}`)).toBe(2.1);
  expect(await priceOf('quantity=12')).toBe(2.55);
});

test('an order whose price the platform calculates differently fails, and so does the replay', async () => {
  const file = await fixture.write(variants('50001'));
  expect((await fixture.run(file, { limit: 1 })).code).toBe(0);
  await store.database.query(`update catalog.prices set price = 2.09 where sku = '50001A'`);
  const { code, text } = await fixture.run(file);
  expect(text).toContain('700002: price_changed');
  expect(text).toContain('50001A from 12: 2.09 instead of 2.10');
  expect(code).toBe(1);
});

test('orders of SKUs that have another price in the catalog, or a price in a list of others, are quoted', async () => {
  await addProduct(store, '60001A', 30, 7, { currency: 'GBP' });
  await addProduct(store, '60001', 30, 5, { currency: 'GBP' });
  const list = { name: 'For all', currency: 'GBP', audience: 'all' };
  const { id } = (await store.send('POST', '/v1/price-lists', list)).body;
  const prices = { prices: [{ sku: '60001', price: 4 }] };
  expect((await store.send('PUT', `/v1/price-lists/${id}/prices`, prices)).status).toBe(200);
  const file = await fixture.write(`${variants('60001')}700005,60001b,Red heart,2,${day},3.39,17850.0,UK\n`);
  const { code, text } = await fixture.run(file);
  expect(text).toContain(
    '1 at the prices of the price list and the catalog, as the platform calculates them, 4 at quoted',
  );
  expect(code).toBe(0);
});

test('a replay that is killed while it sets prices continues in the next run, with one price list', async () => {
  const file = await fixture.write(manyPrices('p'));
  const released = Promise.withResolvers<undefined>();
  for (const [name, nth] of [
    ['create_price_list', 1],
    ['set_prices', 2],
  ] as const) {
    const { child, outcome } = fixture.start(file);
    let calls = 0;
    // The client dies after the database has changed the list, before it gets the response.
    fault = (call) =>
      callsFunction(call, name) && ++calls === nth ? { kind: 'hold-response', until: released.promise } : undefined;
    await until(() => calls === nth);
    child.kill('SIGKILL');
    await outcome;
  }
  fault = undefined;
  released.resolve(undefined);
  const { code, text } = await fixture.run(file);
  expect(text).toMatch(/ prices set, 1,[02]00 already there/);
  expect(text).toContain('4 at the prices of the price list and the catalog');
  expect(code).toBe(0);
});

test('a second run changes nothing, even if every idempotency key is forgotten', async () => {
  const file = await fixture.write(oddities('b-') + variants('20001').slice(header.length + 1));
  expect((await fixture.run(file)).code).toBe(0);
  await store.settled();
  const before = await fingerprint();
  expect((await fixture.run(file)).code).toBe(0);
  await store.database.query('delete from platform.idempotency');
  expect((await fixture.run(file)).code).toBe(0);
  expect(await fingerprint()).toEqual(before);
});

test('the audit passes before, while and after the holds expire', async () => {
  const file = await fixture.write(oddities('c-'));
  const runOut = () =>
    cronUntil(store, new Date(Date.now() + 16 * 60_000), async () => {
      const held = await store.database.query(`select from inventory.reservations where status = 'held'`);
      return held.length === 0;
    });
  expect((await fixture.run(file, { limit: 2 })).code).toBe(0);
  await runOut();
  const { code, text } = await fixture.run(file);
  expect(text).toMatch(/Reservations: (1 committed, )?\d held, 2 released/);
  expect(code).toBe(0);
  await runOut();
  expect((await fixture.run(file)).code).toBe(0);
  expect(await stockOf('c-71053')).toEqual([11, 0]);
});

test('orders of others for the same SKUs and with the same numbers are ignored', async () => {
  await addProduct(store, 'd-71053', 30, 7, { currency: 'GBP', name: 'Of another' });
  const order = { currency: 'GBP', purchaseOrderNumber: '536365' };
  expect((await store.send('POST', '/v1/orders', oneLine('d-71053', 5, order))).status).toBe(201);
  const file = await fixture.write(oddities('d-'));
  const { code, text } = await fixture.run(file);
  expect(text).toContain('1 SKUs were in the catalog before');
  expect(code).toBe(0);
  expect(await stockOf('d-71053')).toEqual([29, 12]);
  expect((await store.send('GET', '/v1/products/by-sku/d-71053')).body).toMatchObject({ name: 'Of another', price: 7 });
  // A longer file is a different file: all its rows are sold, and its SKUs are already in the catalog.
  const longer = await fixture.write(`${oddities('d-')}536370,d-71053,,5,${day},3.39,13047.0,UK\n`);
  expect((await fixture.run(longer)).code).toBe(0);
  expect((await fixture.run(longer)).code).toBe(0);
  expect((await fixture.run(file)).code).toBe(0);
  expect(await stockOf('d-71053')).toEqual([33, 24]);
});

test('a SKU that cannot be ordered in GBP stops the replay before any order', async () => {
  await addProduct(store, 'e-71053', 30);
  await expect(fixture.run(await fixture.write(oddities('e-')))).rejects.toThrow(
    'e-71053 is sold in USD. Nothing was ordered.',
  );
  expect((await store.send('GET', '/v1/products/by-sku/e-POST')).status).toBe(404);
});

test('a replay that is killed while ordering continues in the next run, and nothing is duplicated', async () => {
  const file = await fixture.write(many('k', 40));
  const { child, outcome } = fixture.start(file, '--concurrency', '3');
  let placed = 0;
  const released = Promise.withResolvers<undefined>();
  // The client dies after the database has placed orders whose responses it did not receive.
  fault = (call) =>
    callsFunction(call, 'place_order') && ++placed > 12
      ? { kind: 'hold-response', until: released.promise }
      : undefined;
  await until(() => placed >= 15);
  child.kill('SIGKILL');
  expect((await outcome).code).toBeNull();
  fault = undefined;
  released.resolve(undefined);

  const { code, text } = await fixture.run(file);
  expect(text).toMatch(/[12]\d orders, 1\d already there/);
  expect(code).toBe(0);
});

test('an import that is killed is completed by the next run, and no stock is set again below an order', async () => {
  const rows = Array.from({ length: 700 }, (_, i) => `${700_000 + (i % 7)},i-${i},Thing,${1 + (i % 9)},${day},1.5,,UK`);
  const file = await fixture.write(`${header}\n${rows.join('\n')}\n`);
  const { child, outcome } = fixture.start(file);
  let batches = 0;
  const released = Promise.withResolvers<undefined>();
  fault = async (call) => {
    if (callsFunction(call, 'import_products') && ++batches === 2) await released.promise;
    return undefined;
  };
  await until(() => batches === 2);
  child.kill('SIGKILL');
  await outcome;
  // The next run begins while the batch of the first one is still in progress.
  const second = fixture.run(file);
  fault = undefined;
  setTimeout(() => released.resolve(undefined), 500);
  expect((await second).code).toBe(0);
  expect(await stockOf('i-8')).toEqual([0, 9]);
});

test('Ctrl-C finishes the requests in progress, says that the same command continues, and it does', async () => {
  const file = await fixture.write(many('s', 40));
  const { child, outcome } = fixture.start(file, '--concurrency', '2');
  let placed = 0;
  const released = Promise.withResolvers<undefined>();
  fault = async (call) => {
    if (callsFunction(call, 'place_order') && ++placed > 5) await released.promise;
    return undefined;
  };
  await until(() => placed >= 7);
  child.kill('SIGINT');
  await Promise.race([once(child.stderr ?? child, 'data'), once(child, 'close')]);
  released.resolve(undefined);
  const stopped = await outcome;
  expect(stopped.text).toContain('7 orders');
  expect(stopped.text).toContain('run the same command again to continue');
  expect(stopped.code).toBe(130);
  fault = undefined;
  const { code, text } = await fixture.run(file);
  expect(text).toContain('29 orders, 7 already there');
  expect(code).toBe(0);
});

test('lost responses and a database that is briefly unavailable only cost time', async () => {
  let calls = 0;
  fault = (call) => {
    if (!callsFunction(call, 'place_order') && !callsFunction(call, 'adjust_stock')) return undefined;
    calls++;
    // Nine failures in a row exceed the Worker’s own retries, so the client gets 503.
    if (calls % 40 > 30) return { kind: 'status', status: 500 };
    return calls % 3 === 0 ? { kind: 'lose-response' } : undefined;
  };
  const { code } = await fixture.run(await fixture.write(many('f', 30)));
  fault = undefined;
  expect(code).toBe(0);
  expect(store.logs().some((line) => line.operation === 'placeOrder' && line.status === 503)).toBe(true);
});
