import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Store, startStore } from '../support/harness.ts';
import { createReplayFixture, type Fixture } from '../support/replay.ts';

let store: Store;
let fixture: Fixture;
let file: string;

const day = '2010-12-01 08:26:00';
const content = `InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,MUG,Mug,6,${day},2.55,17850.0,UK
536365,POT,Pot,1,${day},3.39,17850.0,UK
536366,MUG,Mug,4,${day},2.95,,UK
536367,85123A,Heart,3,${day},2.55,13047.0,UK
536367,85123B,Star,3,${day},2.55,13047.0,UK
C536379,POT,Pot,-2,${day},3.39,14527.0,UK
`;

const tables = [
  'catalog.price_lists',
  'catalog.prices',
  'orders.orders',
  'inventory.inventory',
  'inventory.reservations',
  'inventory.adjustments',
  'platform.events',
];
const savedOf = (table: string) => `saved_${table.replace('.', '_')}`;

beforeAll(async () => {
  store = await startStore();
  fixture = await createReplayFixture(store);
  file = await fixture.write(content);
  const { code, text } = await fixture.run(file);
  expect(text).toContain('Everything is there exactly once.');
  expect(code).toBe(0);
  await store.settled();
  for (const table of [...tables, 'catalog.products'])
    await store.database.query(`create table ${savedOf(table)} as select * from ${table}`);
});
afterEach(async () => {
  for (const table of tables.toReversed()) await store.database.query(`delete from ${table}`);
  for (const table of tables) {
    await store.database.query(`insert into ${table} overriding system value select * from ${savedOf(table)}`);
  }
  // The products are not deleted, because other rows refer to them.
  await store.database.query(
    `update catalog.products p set group_id = s.group_id, options = s.options
     from ${savedOf('catalog.products')} s where s.id = p.id`,
  );
});
afterAll(async () => {
  await fixture.close();
  await store.close();
});

const order = `(select id from orders.orders where purchase_order_number = '536365')`;
const ofOrder = (column: string) => `where ${column} = ${order}`;

test.each([
  [
    `update orders.orders set total = total + 0.01 ${ofOrder('id')}`,
    'revenue in GBP:\n    536365: 18.70 instead of 18.69',
  ],
  [
    `update orders.orders set items = jsonb_set(items, '{0,quantity}', '7') ${ofOrder('id')}`,
    'lines, one per SKU and price:\n    536365: 7 of MUG at 2.55 instead of 6',
  ],
  [
    `update orders.orders set items = jsonb_set(items, '{0,price}', '2.54') ${ofOrder('id')}`,
    '536365: 0 of MUG at 2.55 instead of 6',
  ],
  [`update orders.orders set customer_id = 'eve' ${ofOrder('id')}`, '536365: customer eve instead of 17850'],
  [`update orders.orders set currency = 'EUR' ${ofOrder('id')}`, '536365: currency EUR instead of GBP'],
  [
    `update orders.orders set status = 'failed' ${ofOrder('id')}`,
    '536365: the reservation is held, but the order is failed',
  ],
  [`delete from orders.orders ${ofOrder('id')}`, 'orders, one per invoice:\n    536365: the order is missing'],
  [
    `insert into orders.orders (id, customer_id, items, total, currency, status, organization_id, purchase_order_number)
     select 'again', customer_id, items, total, currency, status, organization_id, purchase_order_number
     from orders.orders ${ofOrder('id')}`,
    '536365: placed again as again',
  ],
  [
    `insert into orders.orders (id, customer_id, items, total, currency, status, organization_id, purchase_order_number)
     select 'strange', customer_id, items, total, currency, status, organization_id, '999999'
     from orders.orders ${ofOrder('id')}`,
    '999999: the file has no such order',
  ],
  [`delete from inventory.reservations ${ofOrder('order_id')}`, 'one per order:\n    536365: no reservation'],
  [
    `update inventory.reservations set quantities = '{5,1}' ${ofOrder('order_id')}`,
    'reservations, one per order:\n    536365: 5 of MUG instead of 6',
  ],
  [
    `update inventory.reservations set status = 'released', expires_at = null ${ofOrder('order_id')}`,
    '536365: the reservation is released, but the order is created',
  ],
  [
    `update inventory.inventory set quantity = quantity + 1 where sku = 'MUG'`,
    'MUG: 10 added, but 1 free + 10 held + 0 committed = 11',
  ],
  [
    `update inventory.inventory set reserved = reserved - 1 where sku = 'MUG'`,
    'MUG: 9 reserved, but reservations hold 10',
  ],
  [
    // Stock that was set again below existing orders, as a second import of the same file would do.
    `with again as (update inventory.inventory set quantity = 10 where sku = 'MUG')
     insert into inventory.adjustments (tenant_id, sku, delta, reason, created_at)
     values ('default', 'MUG', 10, 'opening', now())`,
    'units of opening stock:\n    MUG: 20 instead of 10',
  ],
  [`delete from inventory.adjustments where delta = 2`, 'cancelled units:\n    C536379, row 6 (2 of POT) is missing'],
  [
    `insert into inventory.adjustments (tenant_id, sku, delta, reason, created_at)
     select tenant_id, sku, delta, reason, created_at from inventory.adjustments where delta = 2`,
    'C536379, row 6 (2 of POT) was returned 2 times',
  ],
  [
    `insert into inventory.adjustments (tenant_id, sku, delta, reason, created_at)
     select tenant_id, sku, delta, replace(reason, 'row 6', 'row 7'), created_at from inventory.adjustments where delta = 2`,
    'C536379, row 7 (POT): not in the file',
  ],
  [
    `delete from platform.events ${ofOrder('key')} and topic = 'order.created'`,
    '536365: found 0 order.created events instead of 1',
  ],
  [
    `insert into platform.events (tenant_id, topic, key, payload, time)
     select tenant_id, topic, key, payload, time from platform.events ${ofOrder('key')} and topic = 'order.created'`,
    '536365: found 2 order.created events instead of 1',
  ],
  [
    `update platform.events set payload = jsonb_set(payload, '{total}', '1') ${ofOrder('key')} and topic = 'order.created'`,
    'order.created does not match the order',
  ],
  [`delete from platform.events ${ofOrder('key')} and topic = 'inventory.reserved'`, 'Kafka: inventory.reserved:'],
  [
    `insert into platform.events (tenant_id, topic, key, payload, time)
     select tenant_id, topic, key, payload, time from platform.events ${ofOrder('key')} and topic = 'inventory.reserved'`,
    'Kafka: inventory.reserved:',
  ],
  [
    `update platform.events set payload = jsonb_set(payload, '{status}', '"x"') ${ofOrder('key')} and topic = 'inventory.reserved'`,
    'has another payload',
  ],
  [
    `update catalog.products set options = '{"Variant": "C"}' where sku = '85123A'`,
    'variants in their groups:\n    85123A: {"Variant":"C"} instead of {"Variant":"A"}',
  ],
  [
    `update catalog.products set group_id = null, options = '{}' where sku = '85123B'`,
    'variants in their groups:\n    85123B: in no group instead of 85123',
  ],
  [
    'update catalog.prices set price = 2.96 where min_quantity = 4',
    'prices in the price list:\n    MUG from 4: 2.96 instead of 2.95',
  ],
  [
    `insert into catalog.prices (tenant_id, list_id, sku, min_quantity, price)
     select tenant_id, list_id, sku, 5, 1 from catalog.prices where min_quantity = 4`,
    'MUG from 5: 1.00, which the file does not give',
  ],
  [
    `update catalog.price_lists set audience = 'all', audience_id = null`,
    'prices in the price list:\n    it is for all instead of replay-',
  ],
  [`update catalog.price_lists set currency = 'EUR'`, 'its currency is EUR instead of GBP'],
  [`update catalog.price_lists set ends_at = now()`, 'it has a start or an end'],
  [`update catalog.price_lists set price_count = 3`, 'it counts 3 prices, but has 2'],
  [
    `insert into catalog.price_lists (id, tenant_id, name, currency, audience, audience_id, created_at, updated_at)
     select 'again', tenant_id, name, currency, audience, audience_id, created_at, updated_at from catalog.price_lists`,
    'prices in the price list:\n    found 2 price lists named Historical prices (replay-',
  ],
  ["delete from platform.events where topic = 'price-list.updated'", 'its events count 0 changed prices instead of 2'],
])('the audit fails and names the row after: %s', async (statement, expected) => {
  await store.database.query(statement);
  const { code, text } = await fixture.run(file);
  expect(text).toContain(expected);
  expect(text).toMatch(/The audit found [1-9]/);
  expect(code).toBe(1);
});

test('the audit passes again once the rows are restored', async () => {
  expect((await fixture.run(file)).code).toBe(0);
});

test('a SKU that is missing from the catalog fails the audit', async () => {
  const rename = (from: string, to: string) =>
    store.database.query('update catalog.products set sku = $2 where sku = $1', [from, to]);
  await rename('POT', 'PAN');
  // The SKU is not imported again, because the import has the same idempotency key as the first run.
  const { code, text } = await fixture.run(file);
  await rename('PAN', 'POT');
  expect(text).toContain('SKUs in the catalog:\n    POT is missing');
  expect(code).toBe(1);
});

test('the audit accepts a duplicate record in Kafka, and rejects a record without an event', async () => {
  const [record] = [...store.kafka.read('order.created')].filter((candidate) => candidate.value.includes('17850'));
  const produce = (headers: { key: string; value: string }[]) =>
    fetch(`${store.kafka.url}/produce`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa('dev:dev')}` },
      body: JSON.stringify({ topic: 'order.created', key: record?.key, value: record?.value, headers }),
    });
  expect((await produce(record?.headers.slice() ?? [])).status).toBe(200);
  const twice = await fixture.run(file);
  expect(twice.text).toContain('Kafka has 1 duplicate records with the same ce_id');
  expect(twice.code).toBe(0);

  const id = randomUUID();
  expect((await produce([{ key: 'ce_id', value: id }])).status).toBe(200);
  const { code, text } = await fixture.run(file);
  expect(text).toContain(`${id} of ${record?.key} is not an event in the database`);
  expect(code).toBe(1);
});

test('an unusable address, key or login is reported before anything is ordered', async () => {
  const other = await fixture.write(content.replaceAll('MUG', 'CUP'));
  const orders = await store.database.query('select id from orders.orders');
  const cases: [Parameters<Fixture['run']>[1], string][] = [
    [{ url: 'http://127.0.0.1:9' }, 'no platform at http://127.0.0.1:9'],
    [{ kafka: { url: 'http://127.0.0.1:9', username: 'dev', password: 'dev' } }, 'no Kafka at http://127.0.0.1:9'],
    [{ kafka: { url: store.kafka.url, username: 'dev', password: 'no' } }, '401'],
    [{ databaseUrl: 'postgres://me@127.0.0.1:9/none' }, 'cannot connect to 127.0.0.1:9/none'],
    [{ databaseUrl: store.database.workerUrl }, 'may not read all tables'],
    [{ key: 'sk_unknown' }, 'the API key (--key) is not in this database'],
    [{ key: await store.database.key({ scopes: ['catalog:read'] }) }, 'rejects the API key (--key): forbidden'],
  ];
  for (const [options, message] of cases) await expect(fixture.run(other, options)).rejects.toThrow(message);
  expect(await store.database.query('select id from orders.orders')).toEqual(orders);

  const { code, text } = await fixture.start('no-such-file.csv').outcome;
  expect([code, text]).toEqual([1, '\ncannot read no-such-file.csv: there is no such file\n']);
  const help = await fixture.start('--help').outcome;
  expect([help.code, help.text]).toEqual([0, expect.stringContaining('Running it again')]);
});

test('a price that was deleted is set again, and the audit says that it was set twice', async () => {
  await store.database.query('delete from catalog.prices where min_quantity = 4');
  const { code, text } = await fixture.run(file);
  expect(text).toContain('1 prices set, 1 already there');
  expect(text).toContain('its events count 3 changed prices instead of 2');
  expect(code).toBe(1);
});
