import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';
import { createRandom } from '../support/replay.ts';

/**
 * 20,000 products of `default` and 40 of `acme`, by number: a year with few products, an import of 9,000 products within
 * two minutes, and another year. `retro` and `Widget` are in old products only, `fresh` in new ones, `sparse` in one of
 * 150; one in seven is sold in USD, one in nine is archived.
 */
const products = `
insert into catalog.products (id, sku, name, description, price, currency, tenant_id, status)
select overlay(overlay(md5('id' || n)::uuid::text placing '7' from 15 for 1) placing
    left(lpad(to_hex(at), 12, '0'), 8) || '-' || right(to_hex(at), 4) from 1 for 13),
  case when n % 11 = 0 then 'Ω-' else 'SKU-' end || lpad((n * 7919 % 1000000)::text, 6, '0'),
  (array['Red', 'Blue', 'Green', 'Чёрная'])[1 + n % 4] || ' ' || (array['lamp', 'table', 'шапка', 'bottle', 'sofa'])[1 + n / 3 % 5]
    || case when n between 300 and 2900 or n between 6000 and 6800 then ' retro' else '' end
    || case when n % 150 = 7 then ' sparse' else '' end || case when n > 16000 and n % 30 = 4 then ' fresh' else '' end
    || case when n = 4321 then ' unique' else '' end,
  case when n < 9000 and n % 5 = 0 then 'Widget of steel' end, 1, case when n % 7 = 3 then 'USD' else 'EUR' end,
  case when n % 500 = 13 then 'acme' else 'default' end, case when n % 9 = 2 then 'archived' else 'active' end
from (select n, 1700000000000 + case when n <= 6000 then n * 5256000::bigint
    when n <= 15000 then 6000 * 5256000::bigint + (n - 6000) * 13 else 6001 * 5256000::bigint + (n - 15000) * 6307200::bigint end as at
  from generate_series(1, 20040) n) numbered`;

let database: Database;
let client: pg.Client;

beforeAll(async () => {
  database = await createDatabase();
  client = new pg.Client(database.url);
  await client.connect();
  await client.query(products);
  await client.query('analyze catalog.products');
}, 120_000);
afterAll(async () => {
  await client.end();
  await database.drop();
});

/** Runs the function as the Worker does after it has authenticated a key of the tenant. */
async function search(tenant: string, q: string, currency: string | null, before: string | null, most: number) {
  await client.query(`begin; select set_config('app.tenant_id', '${tenant}', true), set_config('app.proof',
    '${tenant} catalog:read ' || platform.sign('${tenant}', 'catalog:read'), true); set local role fusion_reader`);
  const { rows } = await client.query('select catalog.search_products($1, $2, $3, $4) as id', [
    q,
    currency,
    before,
    most,
  ]);
  await client.query('rollback');
  return rows.map(({ id }: { id: string }) => id);
}

async function readPages(tenant: string, q: string, currency: string | null, most: number, from: string | null) {
  const ids: string[] = [];
  let before = from;
  for (;;) {
    const page = await search(tenant, q, currency, before, most);
    ids.push(...page);
    if (page.length < most) return ids;
    before = page.at(-1) ?? null;
  }
}

/** All matches, newest first, by comparing every product of the tenant. */
async function findAll(tenant: string, q: string, currency: string | null): Promise<string[]> {
  const select = async (condition: string) => {
    const { rows } = await client.query<{ id: string }>(
      `select p.id from catalog.products p where p.tenant_id || '' = $1 and p.status = 'active'
         and ($3::text is null or p.currency = $3) and (${condition}) order by p.id desc`,
      [tenant, q, currency],
    );
    return rows.map(({ id }) => id);
  };
  const exact = await select(`p.search @@ (websearch_to_tsquery('english', $2) || websearch_to_tsquery('simple', $2))
    or p.name ilike '%' || $2 || '%' or p.sku ilike '%' || $2 || '%'`);
  const isPlain = !/"|(^|\s)-\S|\bor\b/i.test(q);
  return exact.length > 0 || !isPlain
    ? exact
    : select(`word_similarity($2, p.name) >= case when $2 ~ '\\s' then 0.6 else 0.4 end`);
}

const random = createRandom(20);
const queries = [
  ...[
    'red',
    'retro',
    'Widget',
    'fresh',
    'sparse',
    'unique',
    'steel',
    'nothing',
    'etr',
    'pars',
    'red lamp',
    'retro sofa',
  ],
  ...[
    'retro -red',
    '"blue table"',
    'fresh or unique',
    'SKU-0',
    'SKU-00',

    'шапка',
    'ёрна',
    'retroo',
    'sparze lamp',
  ],
  ...Array.from({ length: 8 }, () => `SKU-${String(random(1_000_000)).padStart(6, '0')}`.slice(0, 7 + random(4))),
];

test.each(queries)('the pages of a search for %s are all of its matches, newest first', async (q) => {
  for (const [tenant, currency] of [
    ['default', null],
    ['default', 'USD'],
    ['acme', null],
  ] as const) {
    const all = await findAll(tenant, q, currency);
    // Pages of random size from the start, and from up to three products in the middle.
    const starts = [null, ...[0.2, 0.6, 0.95].map((share) => all[Math.floor(all.length * share)] ?? null)];
    for (const start of new Set(starts)) {
      const most = start === null ? Math.max(20 + random(200), Math.ceil(all.length / 40)) : 1 + random(100);
      const expected = start === null ? all : all.slice(all.indexOf(start) + 1);
      const pages =
        start === null ? readPages(tenant, q, currency, most, null) : search(tenant, q, currency, start, most);
      expect(await pages, `${tenant} ${currency} ${start}`).toEqual(
        start === null ? expected : expected.slice(0, most),
      );
    }
  }
});
