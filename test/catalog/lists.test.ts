import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { GroupRow, ListedPage, ProductFilter, ProductRow } from '../../src/db/catalog/queries.ts';
import { createDatabase, type Database } from '../support/harness.ts';
import { createRandom } from '../support/replay.ts';

/**
 * 1,800 products, two thirds of them of `default`, the others of `acme`: few different prices and names, so that many are
 * equal; three currencies, one of them without decimals; groups of up to twelve; two collections in each tenant, one of
 * them with few products. One product in six is archived, one in four is sold out.
 */
const rows = `
insert into catalog.product_groups (id, tenant_id, name, options, created_at, updated_at)
select md5(t || ' group ' || n)::uuid, t, 'Group ' || n, '{Size,Colour}', now(), now()
from unnest(array['default', 'acme']) t, generate_series(0, 99) n;
insert into catalog.collections (id, tenant_id, name, slug, created_at, updated_at)
select md5(t || ' ' || slug)::uuid, t, slug, slug, now(), now()
from unnest(array['default', 'acme']) t, unnest(array['large', 'small']) slug;
insert into catalog.products (id, sku, name, description, price, currency, tenant_id, status, group_id, options, images)
select overlay(md5('id' || n)::uuid::text placing lpad(to_hex(n / 3), 8, '0') from 1 for 8), 'SKU-' || n,
  (array['red', 'Red', 'blue', 'Émile', 'Zebra', '10 % off', 'a_b'])[1 + hash % 7] || ' ' || (array['lamp', 'Lamp', 'sofa'])[1 + hash / 7 % 3],
  case when n % 97 = 0 then 'rare' end, case when currency = 'JPY' then hash / 11 % 12 * 100 else hash / 11 % 12 * 2.5 end, currency, tenant, status,
  case when n % 3 > 0 then md5(tenant || ' group ' || n / 12 % 100)::uuid end,
  case when n % 3 > 0 then jsonb_build_object('Size', (array['S', 'M', 'L'])[1 + hash % 3], 'Colour', 'Nr. ' || n) else '{}' end,
  case when n % 5 = 0 then jsonb_build_array(jsonb_build_object('id', md5('image' || n)::uuid, 'path', '/media/' || n, 'alt', null,
    'width', 1, 'height', 1)) else '[]' end
from (
  select n, ('x' || substr(md5(n::text), 1, 7))::bit(28)::int as hash, case when n % 3 = 2 then 'acme' else 'default' end as tenant,
    case when n % 6 = 1 then 'archived' else 'active' end as status,
    case when n % 10 = 0 then 'JPY' when n % 7 = 0 then 'USD' else 'EUR' end as currency
  from generate_series(1, 1800) n
) numbered;
insert into inventory.inventory (sku, tenant_id, quantity)
select sku, tenant_id, case when substr(sku, 5)::int % 4 = 0 then 0 else 5 end from catalog.products where sku not like '%9';
insert into catalog.collection_products (tenant_id, collection_id, product_id, status, currency, price, name, group_id)
select p.tenant_id, c.id, p.id, p.status, p.currency, p.price, p.name, p.group_id
from catalog.products p join catalog.collections c on c.tenant_id = p.tenant_id
where case c.slug when 'large' then substr(p.sku, 5)::int % 5 < 3 else substr(p.sku, 5)::int % 40 = 7 end`;

type Stored = ProductRow & { tenant: string; inCollections: string[] };

let database: Database;
let client: pg.Client;
let stored: Stored[];

/** Reads a page as the Worker does after it has authenticated a key of the tenant. */
async function list(tenant: string, filter: ProductFilter, after: string[] | null, limit: number): Promise<ListedPage> {
  await client.query(`begin; select set_config('app.tenant_id', '${tenant}', true), set_config('app.proof',
    '${tenant} catalog:read ' || platform.sign('${tenant}', 'catalog:read'), true); set local role fusion_reader`);
  const input = { status: 'active', view: 'products', sort: 'newest', ...filter, after, limit };
  try {
    const { rows: found } = await client.query('select catalog.list_products($1) as page', [JSON.stringify(input)]);
    return found[0].page;
  } finally {
    await client.query('rollback');
  }
}

/** Reads all pages, and how many of them were not full although they were not the last. `between`: after each page. */
async function readPages(
  tenant: string,
  filter: ProductFilter,
  limit: number,
  between: () => Promise<unknown> = async () => undefined,
) {
  const listed: ListedPage['rows'] = [];
  let short = 0;
  for (let after: string[] | null = null; ; ) {
    const page = await list(tenant, filter, after, limit);
    expect(page.rows.length).toBeLessThanOrEqual(limit);
    listed.push(...page.rows);
    if (page.next === null) return { listed, short };
    if (page.rows.length < limit) short++;
    after = page.next;
    await between();
  }
}

const lower = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));
const ascending = {
  newest: (a: Stored, b: Stored) => byBytes(a.id, b.id),
  price: (a: Stored, b: Stored) => byBytes(a.currency, b.currency) || a.price - b.price || byBytes(a.id, b.id),
  name: (a: Stored, b: Stored) => byBytes(lower(a.name), lower(b.name)) || byBytes(a.id, b.id),
};
const orders = {
  newest: (a: Stored, b: Stored) => ascending.newest(b, a),
  price: ascending.price,
  '-price': (a: Stored, b: Stored) => ascending.price(b, a),
  name: ascending.name,
};

const matchesWords = ({ name, sku, description }: Stored, q: string) =>
  [name, sku, description ?? ''].some((text) => text.toLowerCase().includes(q.toLowerCase()));

/** What the list must be, by comparing every product. */
function findAll(tenant: string, filter: ProductFilter): Stored[] {
  const { q, collection, status = 'active', inStock, minPrice, maxPrice, currency, ids, sort = 'newest' } = filter;
  return stored
    .filter(
      (each) =>
        each.tenant === tenant &&
        (status === 'all' || each.status === status) &&
        (q === undefined || matchesWords(each, q)) &&
        (collection === undefined || each.inCollections.includes(collection)) &&
        (inStock === undefined || each.inventory > 0 === inStock) &&
        (minPrice === undefined || each.price >= minPrice) &&
        (maxPrice === undefined || each.price <= maxPrice) &&
        (currency === undefined || each.currency === currency) &&
        (ids === undefined || ids.includes(each.id)),
    )
    .sort(orders[sort]);
}

/** The list folded into groups: what each row must say. */
function foldAll(all: Stored[]) {
  const groups = Map.groupBy(all, (each) => each.groupId ?? each.id);
  return [...groups.values()].map(([first, ...others]) => {
    if (first === undefined) throw new Error('a group is empty');
    const variants = [first, ...others];
    const prices = variants.filter((each) => each.currency === first.currency).map((each) => each.price);
    return {
      id: first.id,
      group: first.groupId,
      variants: variants.length,
      prices: [Math.min(...prices), Math.max(...prices)],
      inStock: variants.some((each) => each.inventory > 0),
    };
  });
}

const shown = ({ product, group, variants, minPrice, maxPrice, inStock }: GroupRow) => ({
  id: product.id,
  group: group?.id ?? null,
  variants,
  prices: [minPrice, maxPrice],
  inStock,
});

beforeAll(async () => {
  database = await createDatabase();
  client = new pg.Client(database.url);
  await client.connect();
  await client.query(rows);
  await client.query('analyze');
  stored = (
    await client.query(
      `select catalog.product_json(p, i.quantity) || jsonb_build_object('tenant', p.tenant_id, 'inCollections', array(
         select x from catalog.collection_products m join catalog.collections c on c.id = m.collection_id,
           unnest(array[c.id, c.slug]) x where m.product_id = p.id)) as product
       from catalog.products p left join inventory.inventory i on i.tenant_id = p.tenant_id and i.sku = p.sku`,
    )
  ).rows.map(({ product }) => product);
}, 120_000);
afterAll(async () => {
  await client.end();
  await database.drop();
});

const random = createRandom(13);
const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;

function randomFilter(): ProductFilter {
  const filter: ProductFilter = { sort: pick(['newest', 'price', '-price', 'name'] as const) };
  if (random(3) === 0) filter.collection = pick(['large', 'small']);
  if (random(4) === 0) filter.status = pick(['archived', 'all'] as const);
  if (random(3) === 0) filter.inStock = random(3) > 0;
  if (random(3) === 0) filter.minPrice = random(12) * 2.5;
  if (random(3) === 0) filter.maxPrice = (filter.minPrice ?? 0) + random(8) * 2.5;
  if (random(3) === 0) filter.currency = pick(['EUR', 'USD', 'JPY', 'GBP']);
  if (random(4) === 0) filter.q = pick(['sofa', 'Lamp', 'zebra', 'rare', 'SKU-17', 'nothing']);
  if (random(8) === 0) filter.ids = Array.from({ length: 60 }, () => pick(stored).id);
  return filter;
}

async function compare(bound: number): Promise<number> {
  await client.query(
    `create or replace function catalog.list_bound() returns integer language sql immutable as $$ select ${bound} $$`,
  );
  let shortPages = 0;
  for (let turn = 0; turn < 60; turn++) {
    const filter = randomFilter();
    const tenant = pick(['default', 'default', 'acme']);
    const limit = 8 + random(93);
    const all = findAll(tenant, filter);
    const { listed, short } = await readPages(tenant, filter, limit);
    expect(
      listed.map((row) => (row as ProductRow).id),
      JSON.stringify([tenant, limit, filter]),
    ).toEqual(all.map(({ id }) => id));
    const folded = await readPages(tenant, { ...filter, view: 'groups' }, limit);
    expect(
      folded.listed.map((row) => shown(row as GroupRow)),
      JSON.stringify([tenant, limit, filter]),
    ).toEqual(foldAll(all));
    shortPages += short + folded.short;
  }
  return shortPages;
}

describe('the pages of any list', () => {
  test('have every product and every group that matches once, in the order of the list', async () => {
    expect(await compare(5000)).toBe(0);
  }, 300_000);

  test('have them also if they read a few products each, and are not full then', async () => {
    expect(await compare(150)).toBeGreaterThan(0);
  }, 300_000);

  test.each(['newest', 'price', '-price', 'name'] as const)(
    'have each product once while others are added: sorted by %s',
    async (sort) => {
      const add = () =>
        database.query(
          `insert into catalog.products (id, sku, name, price, currency, tenant_id)
           select gen_random_uuid(), gen_random_uuid(), name, price, currency, tenant_id from catalog.products
           where sku in ('SKU-3', 'SKU-600', 'SKU-1200')`,
        );
      const { listed } = await readPages('default', { sort }, 90, add);
      const known = new Set(stored.map(({ id }) => id));
      const ids = (listed as ProductRow[]).map(({ id }) => id);
      expect(new Set(ids).size).toBe(ids.length);
      expect(ids.filter((id) => known.has(id))).toEqual(findAll('default', { sort }).map(({ id }) => id));
      expect(ids.length).toBeGreaterThan(known.size / 3);
    },
  );
});
