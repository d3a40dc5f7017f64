import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectTo } from '../../dev/postgres/connection.ts';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';

let store: Store;
let owner: pg.Client;
const warnings: string[] = [];
beforeAll(async () => {
  store = await startStore();
  const url = new URL(store.database.url);
  url.username = 'fusion_owner';
  url.password = 'owner';
  owner = await connectTo(url.href);
  owner.on('notice', ({ severity, message }) => severity === 'WARNING' && warnings.push(message ?? ''));
});
afterAll(async () => {
  await owner.end();
  await store.close();
});

const migration = join(import.meta.dirname, '../../migrations/20261129071200_compose_skus.sql');
const compose = async () => {
  warnings.length = 0;
  await owner.query(await readFile(migration, 'utf8'));
};
const bySku = (sku: string, key = store.key) =>
  store.send('GET', `/v1/products/by-sku/${encodeURIComponent(sku)}`, undefined, { key });

/** Stores a SKU in the decomposed form that an earlier release accepted. */
async function decompose(sku: string, stored: string, tenant = 'default') {
  for (const table of ['catalog.products', 'inventory.inventory', 'inventory.adjustments'])
    await store.database.query(`update ${table} set sku = $2 where sku = $1 and tenant_id = $3`, [sku, stored, tenant]);
  await store.database.query(
    'update inventory.reservations set skus = array_replace(skus, $1, $2) where tenant_id = $3',
    [sku, stored, tenant],
  );
  await store.database.query(
    'update group_commerce.group_commerce_campaigns set sku = $2 where sku = $1 and tenant_id = $3',
    [sku, stored, tenant],
  );
}

test('a SKU that an earlier release stored decomposed becomes reachable, with its stock, holds and campaign', async () => {
  const sku = 'Café-1';
  const { id: productId } = await addProduct(store, sku, 10, 5);
  await addProduct(store, 'PLAIN', 10, 5);
  const { body: order } = await store.send('POST', '/v1/orders', {
    customerId: 'buyer',
    items: [
      { sku: 'PLAIN', quantity: 1 },
      { sku, quantity: 3 },
    ],
  });
  const { body: campaign } = await store.send('POST', '/v1/campaigns', {
    ...{ productId, minParticipants: 2, maxParticipants: 5, price: 4 },
    startTime: new Date(Date.now() - 60_000).toISOString(),
    endTime: new Date(Date.now() + 3_600_000).toISOString(),
  });
  await decompose(sku, sku.normalize('NFD'));
  expect((await bySku(sku)).status).toBe(404);
  await compose();
  expect(warnings).toEqual([]);
  expect((await bySku(sku.normalize('NFD'))).body).toMatchObject({ id: productId, sku, inventory: 7 });
  expect((await store.send('POST', '/v1/orders', oneLine(sku, 8))).body.code).toBe('insufficient_inventory');
  expect((await store.send('POST', `/v1/campaigns/${campaign.id}/join`, { userId: 'u' })).status).toBe(201);
  await store.send('POST', `/v1/orders/${order.id}/cancel`);
  await until(async () => (await bySku(sku)).body.inventory === 9);
  expect((await bySku('PLAIN')).body.inventory).toBe(10);
  expect((await store.database.query('select from inventory.adjustments where sku = $1', [sku])).length).toBe(1);
  await compose();
  expect((await bySku(sku)).body.inventory).toBe(9);
});

test('a SKU whose composed form is taken stays unchanged and is named in a warning; other tenants’ SKUs do not matter', async () => {
  const [twin, two, only] = ['Käse', 'ệ', 'Brötchen'] as const;
  const acme = await store.database.key({ tenant: 'acme' });
  for (const sku of [twin, 'twin', two, only]) await addProduct(store, sku, 1);
  const foreign = { name: 'Another', price: 1, currency: 'USD', inventory: 4 };
  for (const sku of [only, twin]) await store.send('POST', '/v1/products', { ...foreign, sku }, { key: acme });
  await addProduct(store, 'two', 1);
  await decompose('twin', twin.normalize('NFD'));
  // Both spellings of one letter are stored, and neither is composed.
  await decompose(two, two.normalize('NFD'));
  await decompose('two', 'e\u0302\u0323');
  await decompose(only, only.normalize('NFD'));
  await decompose(twin, twin.normalize('NFD'), 'acme');
  await compose();
  expect(warnings).toHaveLength(3);
  for (const warning of warnings)
    expect(warning).toMatch(/^tenant default: the SKU "(Ka\u0308se|e\u0302\u0323|e\u0323\u0302)" cannot be/);
  expect((await bySku(twin)).body.inventory).toBe(1);
  expect((await bySku(twin, acme)).body.inventory).toBe(4);
  for (const key of [store.key, acme]) expect((await bySku(only, key)).status).toBe(200);
  const left = await store.database.query(
    'select sku from catalog.products where sku is not nfc normalized order by sku collate "C"',
  );
  expect(left).toHaveLength(3);
});
