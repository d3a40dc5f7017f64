import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { priceList as priceListSchema } from '../../src/domain/catalog/price-lists.ts';
import { addProduct, type Reply, type Store, startStore, until } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const outcome = (reply: Reply) => [reply.status, reply.body.code];
const pointers = (reply: Reply) => reply.body.errors?.map((error: { pointer: string }) => error.pointer);
const list = (more: Record<string, unknown> = {}) => ({ name: 'Summer', currency: 'USD', audience: 'all', ...more });
const post = (body: unknown) => store.send('POST', '/v1/price-lists', body);
const read = (id: string, key?: string) => store.send('GET', `/v1/price-lists/${id}`, undefined, key ? { key } : {});
const patch = (id: string, body: unknown, headers: Record<string, string> = {}) =>
  store.send('PATCH', `/v1/price-lists/${id}`, body, { headers });
const remove = (id: string, headers: Record<string, string> = {}) =>
  store.send('DELETE', `/v1/price-lists/${id}`, undefined, { headers });
const put = (id: string, prices: unknown[], headers: Record<string, string> = {}) =>
  store.send('PUT', `/v1/price-lists/${id}/prices`, { prices }, { headers });
const pricesOf = async (id: string, query = '') =>
  (await store.send('GET', `/v1/price-lists/${id}/prices${query}`)).body.data;
const eventsOf = (id: string) =>
  store.database.query<{ payload: Record<string, unknown> }>(
    `select payload from platform.events where topic = 'price-list.updated' and key = $1 order by seq`,
    [id],
  );
const add = async (more: Record<string, unknown> = {}): Promise<string> => (await post(list(more))).body.id;

describe('a price list', () => {
  test('is returned as every read shows it, with its Location', async () => {
    const made = await post(list({ startsAt: '2026-01-31T13:00:00+01:00' }));
    expect(made.status).toBe(201);
    expect(Object.keys(made.body)).toEqual(Object.keys(priceListSchema.shape));
    expect(made.body).toMatchObject({ ...list(), startsAt: '2026-01-31T12:00:00.000Z', endsAt: null, priceCount: 0 });
    expect(made.headers.get('location')).toBe(`/v1/price-lists/${made.body.id}`);
    const got = await read(made.body.id);
    expect(got.body).toEqual(made.body);
    expect(got.headers.get('etag')).toBe(made.headers.get('etag'));
    expect((await store.send('GET', '/v1/price-lists?limit=1')).body.data).toEqual([made.body]);
  });

  test.each([
    ['a currency in lower case', { currency: 'usd' }, ['/currency']],
    ['an audience of two kinds', { audience: { customerGroup: 'a', organizationId: 'b' } }, ['/audience']],
    ['an unknown audience', { audience: 'everyone' }, ['/audience']],
    ['an end before its start', { startsAt: '2026-02-01T00:00:00Z', endsAt: '2026-02-01T00:00:00Z' }, ['/endsAt']],
  ])('with %s is rejected', async (_, fields, expected) => {
    const reply = await post(list(fields));
    expect([outcome(reply), pointers(reply)]).toEqual([[422, 'validation_failed'], expected]);
  });

  test('changes only the fields of the request, and only in the version that If-Match names', async () => {
    const made = await post(list({ audience: { customerGroup: 'vip' }, endsAt: '2036-01-01T00:00:00Z' }));
    const etag = made.headers.get('etag') ?? '';
    const { id } = made.body;
    const renamed = await patch(id, { name: 'Winter' }, { 'if-match': etag });
    expect(renamed.body).toEqual({ ...made.body, name: 'Winter', updatedAt: renamed.body.updatedAt });
    expect(outcome(await patch(id, { name: 'Spring' }, { 'if-match': etag }))).toEqual([412, 'version_mismatch']);
    expect(outcome(await put(id, [{ sku: 'NONE', price: 1 }], { 'if-match': etag }))).toEqual([
      412,
      'version_mismatch',
    ]);
    expect(outcome(await remove(id, { 'if-match': etag }))).toEqual([412, 'version_mismatch']);
    expect((await patch(id, { audience: 'all', endsAt: null })).body).toMatchObject({ audience: 'all', endsAt: null });
    expect((await patch(id, { audience: { organizationId: 'org-1' } })).body.audience).toEqual({
      organizationId: 'org-1',
    });
    expect(pointers(await patch(id, { name: 'Euro', currency: 'EUR' }))).toEqual(['/currency']);
    expect(outcome(await patch(id, {}))).toEqual([422, 'validation_failed']);
  });

  test('cannot end before it starts, whichever of the two is changed', async () => {
    const id = await add({ startsAt: '2026-02-01T00:00:00Z', endsAt: '2026-03-01T00:00:00Z' });
    for (const change of [{ endsAt: '2026-01-01T00:00:00Z' }, { startsAt: '2026-03-01T00:00:00Z' }]) {
      const reply = await patch(id, change);
      expect([outcome(reply), pointers(reply)]).toEqual([[422, 'validation_failed'], ['/endsAt']]);
    }
  });

  test('is deleted with all its prices', async () => {
    await addProduct(store, 'GONE', 1);
    const id = await add();
    await put(id, [{ sku: 'GONE', price: 1 }]);
    expect((await remove(id)).status).toBe(204);
    expect(outcome(await read(id))).toEqual([404, 'not_found']);
    expect(outcome(await store.send('GET', `/v1/price-lists/${id}/prices`))).toEqual([404, 'not_found']);
    expect(outcome(await remove(id))).toEqual([404, 'not_found']);
    expect(await store.database.query('select 1 from catalog.prices where list_id = $1', [id])).toEqual([]);
  });

  test('with 100,000 prices is full, and is still deleted in one call', async () => {
    await addProduct(store, 'FULL', 1);
    const id = await add();
    await store.database.query(
      `insert into catalog.prices (tenant_id, list_id, sku, min_quantity, price)
       select 'default', $1, 'FULL', n, 5 from generate_series(1, 100000) n`,
      [id],
    );
    await store.database.query('update catalog.price_lists set price_count = 100000 where id = $1', [id]);
    const reply = await put(id, [{ sku: 'FULL', minQuantity: 100_001, price: 4 }]);
    expect([outcome(reply), pointers(reply)]).toEqual([[422, 'validation_failed'], ['/prices']]);
    const replaced = [
      { sku: 'FULL', minQuantity: 100_001, price: 4 },
      { sku: 'FULL', minQuantity: 1, price: null },
    ];
    expect((await put(id, replaced)).body.priceCount).toBe(100_000);
    const deleted = await remove(id);
    expect(deleted.status).toBe(204);
    expect(deleted.headers.get('server-timing')).toContain('1 calls');
  });

  test('is hidden from other tenants and from publishable keys, with its prices', async () => {
    await addProduct(store, 'HIDDEN', 1);
    const id = await add({ audience: { organizationId: 'org-9' } });
    await put(id, [{ sku: 'HIDDEN', price: 1 }]);
    const other = await store.database.key({ tenant: 'acme' });
    const pages = await store.database.key({ kind: 'publishable' });
    const paths = [`/v1/price-lists/${id}`, `/v1/price-lists/${id}/prices`];
    for (const path of paths) {
      expect(outcome(await store.send('GET', path, undefined, { key: other }))).toEqual([404, 'not_found']);
      expect(outcome(await store.send('GET', path, undefined, { key: pages }))).toEqual([403, 'forbidden']);
    }
    expect((await store.send('GET', '/v1/price-lists', undefined, { key: other })).body.data).toEqual([]);
    expect(outcome(await store.send('GET', '/v1/price-lists', undefined, { key: pages }))).toEqual([403, 'forbidden']);
  });

  test('emits price-list.updated with each change, and with how many prices changed', async () => {
    await addProduct(store, 'NEWS', 1);
    const id = await add();
    await put(id, [
      { sku: 'NEWS', price: 5 },
      { sku: 'NEWS', minQuantity: 10, price: 4 },
    ]);
    await put(id, [{ sku: 'NEWS', price: 5 }]); // changes nothing
    await patch(id, { name: 'Renamed' });
    const shown = (await read(id)).body;
    await remove(id);
    const payloads = (await eventsOf(id)).map(({ payload }) => payload);
    expect(
      payloads.map(({ change, changedPrices, name, priceCount }) => [change, changedPrices, name, priceCount]),
    ).toEqual([
      ['created', 0, 'Summer', 0],
      ['prices', 2, 'Summer', 2],
      ['changed', 0, 'Renamed', 2],
      ['deleted', 2, 'Renamed', 2],
    ]);
    expect(payloads[2]).toEqual({ ...shown, change: 'changed', changedPrices: 0 });
  });
});

describe('the prices of a list', () => {
  test('are merged: those that a request does not name stay, and null removes one', async () => {
    for (const sku of ['M-A', 'M-B']) await addProduct(store, sku, 1);
    const id = await add();
    const first = await put(id, [
      { sku: 'M-B', price: 7 },
      { sku: 'M-A', price: 9.5 },
      { sku: 'M-A', minQuantity: 10, price: 8 },
    ]);
    expect([first.status, first.body.priceCount]).toEqual([200, 3]);
    const second = await put(id, [
      { sku: 'M-A', minQuantity: 10, price: 7.25 },
      { sku: 'M-B', price: null },
      { sku: 'NEVER', price: null },
    ]);
    expect(second.body.priceCount).toBe(2);
    expect(await pricesOf(id)).toEqual([
      { sku: 'M-A', minQuantity: 1, price: 9.5 },
      { sku: 'M-A', minQuantity: 10, price: 7.25 },
    ]);
  });

  test('that a request does not change leave the version as it is', async () => {
    await addProduct(store, 'SAME', 1);
    const id = await add();
    const first = await put(id, [{ sku: 'SAME', price: 5 }]);
    const again = await put(id, [
      { sku: 'SAME', price: 5 },
      { sku: 'SAME', minQuantity: 2, price: null },
    ]);
    expect([again.body, again.headers.get('etag')]).toEqual([first.body, first.headers.get('etag')]);
  });

  test('are set all or none: every unknown SKU and every price with too many decimals is named', async () => {
    await addProduct(store, 'YEN', 1);
    const id = await add({ currency: 'JPY' });
    const unknown = await put(id, [
      { sku: 'YEN', price: 100 },
      { sku: 'NOWHERE', price: 1 },
      { sku: 'YEN', minQuantity: 3, price: 90 },
      { sku: 'NOR-HERE', price: 1 },
    ]);
    expect([outcome(unknown), pointers(unknown)]).toEqual([
      [422, 'unknown_sku'],
      ['/prices/1/sku', '/prices/3/sku'],
    ]);
    const decimals = await put(id, [
      { sku: 'YEN', price: 100 },
      { sku: 'YEN', minQuantity: 2, price: 99.5 },
    ]);
    expect([outcome(decimals), pointers(decimals)]).toEqual([[422, 'validation_failed'], ['/prices/1/price']]);
    expect(await pricesOf(id)).toEqual([]);
  });

  test.each([
    [
      'the same SKU and quantity twice',
      [
        { sku: 'X', price: 1 },
        { sku: 'X', minQuantity: 1, price: 2 },
      ],
      '/prices/1',
    ],
    ['a quantity of 0', [{ sku: 'X', minQuantity: 0, price: 1 }], '/prices/0/minQuantity'],
    ['no price', [{ sku: 'X' }], '/prices/0/price'],
    ['1,001 entries', Array.from({ length: 1_001 }, (_, n) => ({ sku: `X${n}`, price: 1 })), '/prices'],
    ['no entry', [], '/prices'],
  ])('with %s are rejected', async (_, prices, pointer) => {
    const reply = await put(await add(), prices);
    expect([outcome(reply), pointers(reply)]).toEqual([[422, 'validation_failed'], [pointer]]);
  });

  test('are paged by SKU and minQuantity, each once, and a cursor is valid for its list only', async () => {
    await Promise.all(['P 1', 'P-2', 'P-3'].map((sku) => addProduct(store, sku, 1)));
    const [id, otherId] = [await add(), await add()];
    const all = ['P 1', 'P-2', 'P-3'].flatMap((sku) =>
      [1, 2, 10].map((minQuantity) => ({ sku, minQuantity, price: 3 })),
    );
    await put(id, all.toReversed());
    const found: unknown[] = [];
    let cursor = '';
    for (let page = 0; page < 5; page++) {
      const { body } = await store.send('GET', `/v1/price-lists/${id}/prices?limit=2${cursor}`);
      found.push(...body.data);
      cursor = `&cursor=${body.nextCursor}`;
      if (page === 0) {
        const foreign = await store.send('GET', `/v1/price-lists/${otherId}/prices?limit=2${cursor}`);
        expect(outcome(foreign)).toEqual([400, 'invalid_cursor']);
      }
    }
    expect([found, cursor]).toEqual([all, '&cursor=null']);
    expect(await pricesOf(id, '?sku=P-2')).toEqual(all.filter(({ sku }) => sku === 'P-2'));
  });

  test('that ten requests set at once are all there, and counted', async () => {
    await addProduct(store, 'AT-ONCE', 1);
    const id = await add();
    const replies = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        put(id, [
          { sku: 'AT-ONCE', minQuantity: 100 - n, price: 1 },
          { sku: 'AT-ONCE', minQuantity: 1, price: n + 1 },
        ]),
      ),
    );
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
    expect(await pricesOf(id)).toHaveLength(11);
    expect((await read(id)).body.priceCount).toBe(11);
    expect(await eventsOf(id)).toHaveLength(11);
  });

  test('of several products are set without a deadlock, if an import locks the same products by id', async () => {
    for (const sku of ['LOCK-B', 'LOCK-A']) await addProduct(store, sku, 1); // the ids in the opposite order of the SKUs
    const id = await add();
    const lock = 'select from catalog.products where sku = $1 for update';
    const holder = new pg.Client(store.database.url);
    await holder.connect();
    try {
      await holder.query('begin');
      await holder.query(lock, ['LOCK-B']);
      const reply = put(id, [
        { sku: 'LOCK-A', price: 1 },
        { sku: 'LOCK-B', price: 1 },
      ]);
      await until(async () => {
        const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
        return (await store.database.query(waiting)).length === 1;
      });
      await holder.query(`set local lock_timeout = '100ms'`);
      await holder.query(lock, ['LOCK-A']);
      await holder.query('commit');
      expect((await reply).status).toBe(200);
    } finally {
      await holder.end();
    }
  });
});
