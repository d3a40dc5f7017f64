import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Reply, type Store, startStore } from '../support/harness.ts';

let store: Store;
const products: [sku: string, name: string, description?: string][] = [
  ['MUG-01', 'Stoneware mug', 'Holds 0.3 l and forgives the dishwasher.'],
  ['POT-02', 'Glass teapot', 'With a strainer of steel.'],
  ['SHOE-RED-42', 'Red running shoes', 'For wet roads; washes by hand.'],
  ['SHOE-BLUE-42', 'Blue walking shoes'],
  ['TEE-BLACK-M', 'Black T-shirt, M'],
  ['BOOK-7', 'Book of tea'],
  ['BOOT-7', 'Rubber boot'],
  ['COT-100', 'Cotton 100% pure'],
  ['UNDER_1', 'Under_score'],
  ['BACK-1', 'Back\\slash'],
  ['CLOCK-1', "Five o'clock"],
  ['INCH-7', 'Screen 7" wide'],
  ['a/b+c?d', 'Odd & ends (all) <of> them! | more: *'],
  ['CAFE-1', 'Café au lait'],
  ['JP-1', '日本 シャツ'],
  ['HAT-RU', 'ШАПКА ЗИМНЯЯ', 'ТЁПЛАЯ и мягкая'],
  ['SLEEVE-DE', 'ÄRMEL lang'],
  ['Ω-LAMP', 'ΛΑΜΠΑ'],
];

beforeAll(async () => {
  store = await startStore();
  for (const [sku, name, description] of products) {
    await addProduct(store, sku, 1, 10, { name, ...(description ? { description } : {}) });
  }
});
afterAll(() => store.close());

const search = (q: string, parameters = '') =>
  store.send('GET', `/v1/products?q=${encodeURIComponent(q)}${parameters}`);
const skusOf = (reply: Reply): string[] => reply.body.data.map((row: { sku: string }) => row.sku);
const searchSkus = async (q: string, parameters = '') => skusOf(await search(q, parameters));

describe('a product search', () => {
  test.each([
    ['shoe', ['SHOE-BLUE-42', 'SHOE-RED-42']],
    ['SHOES', ['SHOE-BLUE-42', 'SHOE-RED-42']],
    ['run', ['SHOE-RED-42']],
    ['walks shoe', ['SHOE-BLUE-42']],
    ['dishwashers', ['MUG-01']],
    ['washing', ['SHOE-RED-42']],
    ['steel strainer', ['POT-02']],
    ['tea', ['BOOK-7', 'POT-02']],
    ['Café', ['CAFE-1']],
    ['日本', ['JP-1']],
    ['シャツ', ['JP-1']],
  ])('for %s finds words of the name and description in other grammatical forms', async (q, skus) => {
    expect(await searchSkus(q)).toEqual(skus);
  });

  test.each([
    ['шапка', 'as a word of a name', ['HAT-RU']],
    ['тёплая', 'as a word of a description', ['HAT-RU']],
    ['зимняя', 'as a word of a name', ['HAT-RU']],
    ['ärmel', 'as a word of a name', ['SLEEVE-DE']],
    ['λαμπα', 'as a word of a name', ['Ω-LAMP']],
    ['апк', 'as a part of a name', ['HAT-RU']],
    ['rme', 'as a part of a name', ['SLEEVE-DE']],
    ['ärm', 'as a part of a name', ['SLEEVE-DE']],
    ['ω-l', 'as a part of a SKU', ['Ω-LAMP']],
    ['шапкка', 'with a wrong letter', ['HAT-RU']],
    ['ärmmel', 'with a wrong letter', ['SLEEVE-DE']],
  ])('for %s ignores the case of letters beyond ASCII, %s', async (q, _, skus) => {
    expect(await searchSkus(q)).toEqual(skus);
  });

  test.each([
    ['TEE-BLACK-M', ['TEE-BLACK-M']],
    ['tee-bl', ['TEE-BLACK-M']],
    ['-42', ['SHOE-BLUE-42', 'SHOE-RED-42']],
    ['lack-', ['TEE-BLACK-M']],
    ['eapo', ['POT-02']],
    ['neware m', ['MUG-01']],
    [' glass  ', ['POT-02']],
    ['a/b', ['a/b+c?d']],
  ])('for %s finds a part of a SKU or name', async (q, skus) => {
    expect(await searchSkus(q)).toEqual(skus);
  });

  test.each([
    ['stonewear', ['MUG-01']],
    ['stonware', ['MUG-01']],
    ['teepot', ['POT-02']],
    ['tepot', ['POT-02']],
    ['runing', ['SHOE-RED-42']],
    ['cotten', ['COT-100']],
    ['cafe', ['CAFE-1']],
    ['glas teapott', ['POT-02']],
  ])('for %s, which is misspelled, finds the intended products', async (q, skus) => {
    expect(await searchSkus(q)).toEqual(skus);
  });

  test('does not correct spelling if a word matches exactly, is quoted or has operators, or if nothing is similar', async () => {
    expect(await searchSkus('boot')).toEqual(['BOOT-7']);
    expect(await searchSkus('"teepot"')).toEqual([]);
    expect(await searchSkus('teepot -steel')).toEqual([]);
    expect(await searchSkus('xylophone')).toEqual([]);
  });

  test.each([
    ['"running shoes"', ['SHOE-RED-42']],
    ['"shoes running"', []],
    ['shoes -red', ['SHOE-BLUE-42']],
    ['teapot or boot', ['BOOT-7', 'POT-02']],
  ])('for %s applies the search operators', async (q, skus) => {
    expect(await searchSkus(q)).toEqual(skus);
  });

  test.each([
    ['%', ['COT-100']],
    ['100%', ['COT-100']],
    ['0% p', ['COT-100']],
    ['_', ['UNDER_1']],
    ['r_s', ['UNDER_1']],
    ['\\', ['BACK-1']],
    ['k\\s', ['BACK-1']],
    ["o'clock", ['CLOCK-1']],
    ["'", ['CLOCK-1']],
    ['7"', ['INCH-7']],
    ['(all)', ['a/b+c?d']],
    ['<of', ['a/b+c?d', 'BOOK-7']],
    ['& e', ['a/b+c?d']],
    ['!', ['a/b+c?d']],
    ['%%', []],
    ['%oo%', []],
    ['B__K', []],
    ['\\\\', []],
    ['   ', []],
    ['&|!:*<->()', []],
    ["'; drop table catalog.products; --", []],
    ['$x', []],
    ['""', []],
    ['--', []],
    ['-M', ['TEE-BLACK-M']],
  ])('for %s treats every character literally', async (q, skus) => {
    const reply = await search(q);
    expect(reply.status).toBe(200);
    expect(skusOf(reply)).toEqual(skus);
  });

  test('accepts 1 to 200 characters', async () => {
    expect((await search('a'.repeat(200))).status).toBe(200);
    for (const q of ['', 'a'.repeat(201), 'a\u0000b', '\ud800'.toWellFormed().repeat(201)]) {
      const reply = await search(q);
      expect([reply.status, reply.body.code]).toEqual([422, 'validation_failed']);
    }
  });

  test('returns products in the same form as other reads, and only while they are for sale', async () => {
    const { id } = await addProduct(store, 'ARCHIVE', 3, 5, { name: 'Ephemeral' });
    const { body } = await search('ephemeral');
    expect(body).toEqual({ data: [(await store.send('GET', `/v1/products/${id}`)).body], nextCursor: null });
    await store.send('PATCH', `/v1/products/${id}`, { name: 'Perpetual' });
    expect([await searchSkus('ephemeral'), await searchSkus('perpetual')]).toEqual([[], ['ARCHIVE']]);
    await store.send('DELETE', `/v1/products/${id}`);
    expect([await searchSkus('perpetual'), await searchSkus('perpetaul'), await searchSkus('ARCHIVE')]).toEqual([
      [],
      [],
      [],
    ]);
  });

  test('finds nothing of another tenant, even with corrected spelling', async () => {
    const key = await store.database.key({ tenant: 'acme' });
    for (const q of ['shoe', 'stonewear', 'MUG-01', '%']) {
      expect(
        (await store.send('GET', `/v1/products?q=${encodeURIComponent(q)}`, undefined, { key })).body.data,
      ).toEqual([]);
    }
  });

  test('filters by currency, and pages newest first with one database call per page', async () => {
    const rows = Array.from({ length: 60 }, (_, n) =>
      JSON.stringify({
        sku: `PAGED-${n}`,
        name: `Paged thing ${n}`,
        price: 1,
        currency: n % 3 ? 'USD' : 'EUR',
        inventory: 1,
      }),
    );
    const headers = { 'content-type': 'application/x-ndjson' };
    await store.send('POST', '/v1/products/import', rows.join('\n'), { headers });
    for (const q of ['paged thing', 'paged-', 'pagedd thingg']) {
      const seen: string[] = [];
      for (let cursor = ''; ; ) {
        const reply = await search(q, `&currency=EUR&limit=6${cursor}`);
        expect(reply.headers.get('server-timing')).toContain('"1 calls"');
        seen.push(...skusOf(reply));
        if (reply.body.nextCursor === null) break;
        cursor = `&cursor=${reply.body.nextCursor}`;
      }
      expect(new Set(seen)).toEqual(new Set(Array.from({ length: 20 }, (_, n) => `PAGED-${n * 3}`)));
      const ids = await store.database.query<{ sku: string }>(
        `select sku from catalog.products where sku = any($1) order by id desc`,
        [seen],
      );
      expect(seen).toEqual(ids.map((row) => row.sku));
    }
    expect(await searchSkus('paged', '&currency=GBP')).toEqual([]);
  });
});

describe('a search in 10,000 products among 20,000 of other tenants', () => {
  let client: pg.Client;
  let plans: Plan[] = [];
  type Plan = {
    'Node Type': string;
    'Relation Name'?: string;
    'Index Name'?: string;
    'Actual Rows': number;
    'Actual Loops': number;
    'Rows Removed by Filter'?: number;
    'Rows Removed by Index Recheck'?: number;
    Plans?: Plan[];
  };

  beforeAll(async () => {
    client = new pg.Client(store.database.url);
    await client.connect();
    // It takes a tenth of the time to insert the rows with SQL and to create the indexes afterwards.
    await client.query(`
      create temporary table saved_indexes as select indexdef from pg_indexes where tablename = 'products' and indexdef ~ 'gin';
      drop index catalog.idx_products_search_newest;
      insert into catalog.products (id, sku, name, description, price, currency, tenant_id)
      select left(h, 8) || '-' || right(h, 4) || substr(platform.uuid7()::text, 14), 'BULK-' || lpad(n::text, 6, '0'),
        (array['Red','Blue','Green','White','Pink'])[1 + n % 5] || ' ' || (array['lamp','table','chair','bottle'])[1 + n % 4]
          || case when n % 7919 = 5 then ' zanzibar' when n % 2 = 0 and n < 15000 then ' vintage' else '' end,
        case when n = 76 then 'Made of unobtainium' end, 1, 'USD', case n % 3 when 1 then 'default' else 'other-' || n % 7 end
      from generate_series(1, 30000) n,
        lateral (select lpad(to_hex(1700000000000 + n * 60000::bigint), 12, '0') as h) minute;
      do $$ declare d text; begin for d in select indexdef from saved_indexes loop execute d; end loop; end $$;
      analyze catalog.products;
      load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;
      set auto_explain.log_analyze = on; set auto_explain.log_timing = off; set auto_explain.log_format = json;
      set client_min_messages = log`);
    client.on('notice', ({ message = '' }) => {
      const json = /plan:\s*(\{.*\})/s.exec(message)?.[1];
      if (json) plans.push(JSON.parse(json).Plan);
    });
  }, 120_000);
  afterAll(() => client.end());

  /** The work of one search: the product rows that it read, and the indexes that it used. */
  async function measure(q: string, before: string | null = null, currency: string | null = null) {
    plans = [];
    // The settings that platform.authenticate leaves for a valid key. Only a superuser may sign without one.
    await client.query(`begin; select set_config('app.tenant_id', 'default', true), set_config('app.proof',
      'default catalog:read ' || platform.sign('default', 'catalog:read'), true); set local role fusion_reader`);
    const { rows } = await client.query('select catalog.search_products($1, $2, $3, 21) as id', [q, currency, before]);
    await client.query('rollback');
    const nodes: Plan[] = [];
    const addNodes = (plan: Plan): void => {
      nodes.push(plan);
      plan.Plans?.forEach(addNodes);
    };
    plans.forEach(addNodes);
    const scans = nodes.filter((node) => node['Relation Name'] === 'products');
    const rowsRead = scans.reduce(
      (sum, node) =>
        sum +
        (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0) + (node['Rows Removed by Index Recheck'] ?? 0)) *
          node['Actual Loops'],
      0,
    );
    const indexes = new Set(nodes.flatMap((node) => node['Index Name'] ?? []));
    return { found: rows.length, rowsRead, indexes, scanned: scans.some((node) => node['Node Type'] === 'Seq Scan') };
  }

  test.each([
    ['a rare word', 'zanzibar', 1, 'idx_products_search_newest'],
    ['a rare word of a description', 'unobtainium', 1, 'idx_products_search_newest'],
    ['a part of a name', 'anziba', 1, 'idx_products_search_newest'],
    ['a word in another case, beyond ASCII', 'шапка', 1, 'idx_products_search_newest'],
    ['a part in another case, beyond ASCII', 'имня', 1, 'idx_products_search_newest'],
    ['one SKU', 'BULK-000301', 1, 'idx_products_search_newest'],
    ['a misspelt word', 'zanzibr', 1, 'idx_products_search_newest'],
    ['a word that no product has', 'xylophone', 0, 'idx_products_search_newest'],
    ['a common word', 'lamps', 21, 'idx_products_tenant_id'],
    ['two common words', 'red lamp', 21, 'idx_products_tenant_id'],
    ['a part of many SKUs', 'bulk-0', 21, 'idx_products_tenant_id'],
  ])('for %s uses an index, and reads few rows that do not match', async (_, q, rows, index) => {
    const { found: n, rowsRead, indexes, scanned } = await measure(q);
    expect([n, scanned]).toEqual([rows, false]);
    expect(indexes).toContain(index);
    // It reads the newest 250 products for exact words and for similar ones, and then what the index has found.
    expect(rowsRead).toBeLessThan(1_000);
  });

  test('for a word that only old products have reads only some of them', async () => {
    for (const currency of [null, 'USD']) {
      const { found: n, rowsRead, indexes, scanned } = await measure('vintage', null, currency);
      expect([n, scanned]).toEqual([21, false]);
      expect(indexes).toContain('idx_products_search_newest');
      expect(rowsRead).toBeLessThan(1_500); // of 2,500 that have it
    }
  });

  test('does not start to correct spelling on the page after the last match', async () => {
    const [boot] = await store.database.query<{ id: string }>(`select id from catalog.products where sku = 'BOOT-7'`);
    expect((await measure('boot')).found).toBe(1);
    expect((await measure('boot', boot?.id)).found).toBe(0);
    expect((await measure('book', boot?.id)).found).toBe(1); // the older "Book of tea", found by corrected spelling
  });

  test('reads as few rows for a late page as for the first one', async () => {
    const [row] = await store.database.query<{ id: string }>(
      `select id from catalog.products where sku = 'BULK-000100'`,
    );
    const { found: n, rowsRead } = await measure('lamp', row?.id);
    expect(n).toBeGreaterThan(0);
    expect(rowsRead).toBeLessThan(1_000);
  });
});
