import { neon } from '@neondatabase/serverless';
import { drizzle } from 'drizzle-orm/neon-http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openSession, type Session } from '../../bench/growth/session.ts';
import { sha256 } from '../../src/base/sha256.ts';
import { type ProductFilter, productPage } from '../../src/db/catalog/queries.ts';
import type { Reader } from '../../src/db/client.ts';
import { createDatabase, type Database } from '../support/harness.ts';

/** How many products the tenant has before and after it has grown. One in ten is in the collection. */
const [few, many] = [3_000, 15_000];
/** A search of a larger index reads some blocks more. A plan that reads the list would read thousands. */
const slack = (blocks: number) => blocks * 1.3 + 400;
/** A list that reads up to 5,000 products, because few of those at its beginning match: at most 12 blocks for each. */
const atMost = 60_000;

const db: Reader = drizzle(neon('postgres://u:p@localhost/d'));
let database: Database;
let session: Session;
let call: string;

/** Products of `default`: 100 prices, groups of five, one in three sold out, one in eight archived. */
async function addProducts(first: number, last: number): Promise<void> {
  await database.query(
    `insert into catalog.product_groups (id, tenant_id, name, options, created_at, updated_at)
     select md5('group' || n)::uuid, 'default', 'Group ' || n, '{}', now(), now() from generate_series($1::int / 10, $2::int / 10) n
     on conflict do nothing`,
    [first, last],
  );
  await database.query(
    `insert into catalog.products (id, sku, name, price, currency, tenant_id, status, group_id, options)
     select overlay(md5(n::text)::uuid::text placing lpad(to_hex(n), 8, '0') from 1 for 8), 'SKU-' || n,
       (array['red', 'blue', 'green'])[1 + n % 3] || ' lamp ' || n % 50, n * 7919 % 100, 'EUR', 'default',
       case when n % 8 = 0 then 'archived' else 'active' end, case when n % 10 > 4 then md5('group' || n / 10)::uuid end,
       jsonb_build_object('Size', n % 10)
     from generate_series($1::int, $2::int) n`,
    [first, last],
  );
  await database.query(
    `insert into inventory.inventory (sku, tenant_id, quantity)
     select 'SKU-' || n, 'default', case when n % 3 = 0 then 0 else 9 end from generate_series($1::int, $2::int) n`,
    [first, last],
  );
  await database.query(
    `insert into catalog.collection_products (tenant_id, collection_id, product_id, status, currency, price, name, group_id)
     select p.tenant_id, $3, p.id, p.status, p.currency, p.price, p.name, p.group_id
     from generate_series($1::int, $2::int) n join catalog.products p on p.sku = 'SKU-' || n
     where n % 20 in (3, 7)`,
    [first, last, collection],
  );
}

const collection = '00000000-0000-7000-8000-000000000001';
const lists: Record<string, ProductFilter> = {};
for (const sort of ['newest', '-price', 'name'] as const) {
  for (const view of ['products', 'groups'] as const) {
    lists[`${sort}, ${view}`] = { sort, view };
    lists[`${sort}, ${view}, of a collection`] = { sort, view, collection, inStock: true };
    lists[`${sort}, ${view}, of some prices`] = { sort, view, collection, minPrice: 20, maxPrice: 60 };
  }
  lists[`${sort}, of two prices`] = { sort, minPrice: 41, maxPrice: 42, currency: 'EUR' };
  lists[`${sort}, with words`] = { sort, collection, q: 'blue' };
  lists[`${sort}, sold out`] = { sort, status: 'all', inStock: false };
}
/** These read the products that match and sort them, or read past those that do not match. */
const areBounded = [
  ...['newest, of two prices', 'name, of two prices', 'name, sold out'],
  ...['name, products, of some prices', 'name, groups, of some prices'],
];

const statementOf = (filter: ProductFilter, after?: string[]) => {
  const { sql: text, params: values } = productPage(db, filter, after, 20).toSQL();
  return {
    text: text.replace('select "page"', 'select "page" as result'),
    values,
    read: { call, scope: 'catalog:read' },
  };
};

/** Where the list continues after about half of its products. */
async function middleOf({ sort }: ProductFilter): Promise<string[]> {
  const [middle] = await database.query<{ id: string; name: string }>(
    `select id, name from catalog.products where tenant_id = 'default' order by
       ${sort === 'name' ? 'name collate "C"' : 'id'} offset (select count(*) / 4 from catalog.products) limit 1`,
  );
  const id = middle?.id ?? '';
  if (sort === 'newest') return [id];
  return sort === 'name' ? [middle?.name ?? '', id] : ['EUR', '50.00', id];
}

type Counted = Record<string, { blocks: number; scans: string[] }>;

/** The blocks that each list touches: the larger number of its first page and of one in the middle. */
async function countBlocks(): Promise<Counted> {
  const counted: Counted = {};
  for (const [name, filter] of Object.entries(lists)) {
    for (const after of [undefined, await middleOf(filter)]) {
      const statement = statementOf(filter, after);
      await session.run(statement);
      const { blocks, lines } = await session.explain(statement);
      if (blocks > (counted[name]?.blocks ?? 0)) counted[name] = { blocks, scans: lines.flatMap(({ scans }) => scans) };
    }
  }
  return counted;
}

const findGrown = (before: Counted, after: Counted) =>
  Object.entries(after).filter(
    ([name, { blocks }]) => blocks > (areBounded.includes(name) ? atMost : slack(before[name]?.blocks ?? 0)),
  );

let before: Counted;

beforeAll(async () => {
  database = await createDatabase();
  session = await openSession(database.url);
  call = JSON.stringify({ keyHash: sha256(await database.key()) });
  // Only this test decides when the tables are analyzed.
  for (const table of ['catalog.products', 'catalog.collection_products', 'inventory.inventory'])
    await database.query(`alter table ${table} set (autovacuum_enabled = off)`);
  await database.query(
    `insert into catalog.collections (id, tenant_id, name, created_at, updated_at) values ($1, 'default', 'x', now(), now())`,
    [collection],
  );
  await addProducts(1, few);
  await database.query('analyze');
  before = await countBlocks();
  await addProducts(few + 1, many);
}, 300_000);
afterAll(async () => {
  await session.close();
  await database.drop();
});

test('no page reads more once the catalog has grown', async () => {
  expect(findGrown(before, await countBlocks())).toEqual([]);
}, 120_000);

test('no page reads more after the tables are analyzed', async () => {
  await database.query('analyze');
  expect(findGrown(before, await countBlocks())).toEqual([]);
}, 120_000);
