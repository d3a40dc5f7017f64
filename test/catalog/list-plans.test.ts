import { neon } from '@neondatabase/serverless';
import { drizzle } from 'drizzle-orm/neon-http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openSession, type Session } from '../../bench/growth/session.ts';
import { sha256 } from '../../src/base/sha256.ts';
import { type ListedPage, type ProductFilter, productPage } from '../../src/db/catalog/queries.ts';
import type { Reader } from '../../src/db/client.ts';
import { createDatabase, type Database } from '../support/harness.ts';

/** How many products the tenant has before and after it has grown. One in ten is in the collection. */
const [few, many] = [3_000, Number(process.env['LIST_PRODUCTS'] ?? 48_000)];
/** A search of a larger index reads some blocks more. A plan that reads the list would read thousands. */
const slack = (blocks: number) => blocks * 1.3 + 60;

const db: Reader = drizzle(neon('postgres://u:p@localhost/d'));
let database: Database;
let session: Session;
let call: string;

/** Products of `default`, and as many of `acme`: 100 prices, groups of five, one in four sold out. */
const addProducts = async (first: number, last: number) => {
  for (const tenant of ['default']) {
    const values = [first, last, tenant];
    await database.query(
      `insert into catalog.product_groups (id, tenant_id, name, options, created_at, updated_at)
       select md5($3 || 'group' || n)::uuid, $3, 'Group ' || n, '{}', now(), now() from generate_series($1::int / 10, $2::int / 10) n
       on conflict do nothing`,
      values,
    );
    await database.query(
      `insert into catalog.products (id, sku, name, price, currency, tenant_id, status, group_id, options)
       select overlay(md5($3 || n)::uuid::text placing lpad(to_hex(n), 8, '0') from 1 for 8), 'SKU-' || n,
         (array['red', 'blue', 'green'])[1 + n % 3] || ' lamp ' || n % 50, n * 7919 % 100, 'EUR', $3,
         case when n % 8 = 0 then 'archived' else 'active' end, case when n % 10 > 4 then md5($3 || 'group' || n / 10)::uuid end,
         jsonb_build_object('Size', n % 10)
       from generate_series($1::int, $2::int) n`,
      values,
    );
    await database.query(
      `insert into inventory.inventory (sku, tenant_id, quantity)
       select 'SKU-' || n, $3, case when n % 3 = 0 then 0 else 9 end from generate_series($1::int, $2::int) n`,
      values,
    );
  }
  await database.query(
    `insert into catalog.collection_products (tenant_id, collection_id, product_id, status, currency, price, name, group_id)
     select p.tenant_id, c.id, p.id, p.status, p.currency, p.price, p.name, p.group_id
     from catalog.products p join catalog.collections c using (tenant_id)
     where substr(p.sku, 5)::int between $1 and $2 and substr(p.sku, 5)::int % 10 in (3, 7) and substr(p.sku, 5)::int % 20 < 10`,
    [first, last],
  );
};

const collection = '00000000-0000-7000-8000-000000000001';
const lists: Record<string, ProductFilter> = {};
for (const sort of ['newest', 'price', '-price', 'name'] as const) {
  for (const view of ['products', 'groups'] as const) {
    lists[`${sort}, ${view}`] = { sort, view };
    lists[`${sort}, ${view}, of a collection`] = { sort, view, collection, inStock: true };
    lists[`${sort}, ${view}, of a collection by price`] = { sort, view, collection, inStock: true, minPrice: 20, maxPrice: 60 };
    lists[`${sort}, ${view}, of two prices`] = { sort, view, minPrice: 41, maxPrice: 42, currency: 'EUR' };
  }
  lists[`${sort}, of a collection, with words`] = { sort, collection, q: 'blue' };
  lists[`${sort}, all`] = { sort, status: 'all', inStock: false };
}

const statementOf = (filter: ProductFilter, after?: string[]) => {
  const { sql: text, params: values } = productPage(db, filter, after, 20).toSQL();
  return { text: text.replace('select "page"', 'select "page" as result'), values, read: { call, scope: 'catalog:read' } };
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

async function countBlocks(): Promise<Record<string, string>> {
  const counted: Record<string, string> = {};
  for (const [name, filter] of Object.entries(lists)) {
    for (const after of [undefined, await middleOf(filter)]) {
      const statement = statementOf(filter, after);
      const started = performance.now();
      const page = (await session.run(statement)).result as ListedPage;
      const ms = performance.now() - started;
      const { blocks, lines } = await session.explain(statement);
      counted[`${name}${after ? ', deep' : ''}`] = `${blocks} ${page.rows.length} ${Math.round(ms)}ms ${
        process.env['LIST_PLANS'] === name ? JSON.stringify(lines, null, 1) : ''
      }`;
    }
  }
  return counted;
}

beforeAll(async () => {
  database = await createDatabase();
  session = await openSession(database.url);
  call = JSON.stringify({ keyHash: sha256(await database.key()) });
  await database.query(`insert into catalog.collections (id, tenant_id, name, created_at, updated_at)
    values ($1, 'default', 'x', now(), now()), ('00000000-0000-7000-8000-000000000002', 'acme', 'x', now(), now())`, [collection]);
}, 120_000);
afterAll(async () => {
  await session.close();
  await database.drop();
});

test('x', async () => {
  await addProducts(1, few);
  await database.query('vacuum analyze');
  const before = await countBlocks();
  await addProducts(few + 1, many);
  await database.query('vacuum');
  const stale = await countBlocks();
  await database.query('vacuum analyze');
  const after = await countBlocks();
  for (const name of Object.keys(before)) console.log(name.padEnd(60), before[name], '|', stale[name], '|', after[name]);
}, 600_000);
