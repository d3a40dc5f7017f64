import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

/** A session that locks a row of stock and leaves its transaction open. */
async function lockStock(sku: string) {
  const client = new pg.Client(store.database.url);
  await client.connect();
  await client.query('begin');
  await client.query('select 1 from inventory.inventory where sku = $1 for update', [sku]);
  return client;
}

test('a stuck transaction delays only the requests that need its row: they get 503, and all others succeed', async () => {
  await Promise.all([addProduct(store, 'STUCK', 50), addProduct(store, 'FREE', 50)]);
  const stuck = await lockStock('STUCK');
  const waiting = Array.from({ length: 8 }, () => store.send('POST', '/v1/orders', oneLine('STUCK')));
  for (let placed = 0; placed < 10; placed++) {
    expect((await store.send('POST', '/v1/orders', oneLine('FREE'))).status).toBe(201);
  }
  for (const { status, headers, body } of await Promise.all(waiting)) {
    expect([status, body.code, headers.get('retry-after')]).toEqual([503, 'unavailable', '1']);
  }
  // No connection of the pool still waits for the row.
  const waitsForLock = `select 1 from pg_stat_activity
    where usename = 'fusion_worker' and datname = current_database() and wait_event_type = 'Lock'`;
  await until(async () => (await store.database.query(waitsForLock)).length === 0);
  await stuck.end();
  expect((await store.send('POST', '/v1/orders', oneLine('STUCK'))).status).toBe(201);
});

test('a lock that is released within 4 s delays an order without failing it', async () => {
  await addProduct(store, 'SLOW', 5);
  const held = await lockStock('SLOW');
  const order = store.send('POST', '/v1/orders', oneLine('SLOW'));
  await held.query('select pg_sleep(1)');
  await held.end();
  expect((await order).status).toBe(201);
});

test('16 orders of 1,200 lines on the same SKUs wait for a lock of 12 s, and all are placed', async () => {
  const skus = Array.from({ length: 1_200 }, (_, index) => `WIDE-${index}`);
  const lines = skus.map((sku) => JSON.stringify({ sku, name: sku, price: 1, currency: 'USD', inventory: 40 }));
  const imported = await store.send('POST', '/v1/products/import', lines.join('\n'), {
    headers: { 'content-type': 'application/x-ndjson' },
  });
  expect(imported.body.created).toBe(1_200);
  const held = await lockStock('WIDE-0');
  const items = skus.map((sku) => ({ sku, quantity: 2 }));
  const orders = Array.from({ length: 16 }, (_, buyer) =>
    store.send('POST', '/v1/orders', { customerId: `buyer-${buyer}`, items }),
  );
  // 12 s is longer than the timeout for one lock, and longer than the deadline of other requests.
  await held.query('select pg_sleep(12)');
  await held.end();
  expect((await Promise.all(orders)).map(({ status }) => status)).toEqual(Array(16).fill(201));
  const stock = await store.database.query(
    `select quantity, reserved, count(*)::int as skus from inventory.inventory where sku like 'WIDE-%' group by 1, 2`,
  );
  expect(stock).toEqual([{ quantity: 8, reserved: 32, skus: 1_200 }]);
});

test('the database ends every statement of the Worker before the Worker stops waiting for it', async () => {
  const client = new pg.Client(store.database.workerUrl);
  await client.connect();
  const { rows } = await client.query('show statement_timeout');
  await client.end();
  expect(rows).toEqual([{ statement_timeout: '9s' }]);
});
