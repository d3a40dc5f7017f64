import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { NeonBridgeOptions } from '../../dev/neon/bridge.ts';
import { addProduct, cronUntil, oneLine, type Reply, type Store, startStore, until } from '../support/harness.ts';

const isHit = (reply: Reply) => reply.headers.get('cache-status') === 'fusioncommerce; hit';

describe('a cached product', () => {
  let store: Store;
  let fault: NonNullable<NeonBridgeOptions['fault']> | undefined;
  beforeAll(async () => {
    store = await startStore({ neonFault: (call) => fault?.(call) });
  });
  afterEach(() => {
    fault = undefined;
  });
  afterAll(() => store.close());

  const pathsOf = ({ id, sku }: { id: string; sku: string }) => [`/v1/products/${id}`, `/v1/products/by-sku/${sku}`];
  /** Reads until the response comes from the edge cache. */
  async function warm(path: string, key = store.key): Promise<Reply> {
    let reply: Reply | undefined;
    await until(async () => {
      reply = await store.send('GET', path, undefined, { key });
      return isHit(reply);
    });
    if (!reply) throw new Error('unreachable');
    return reply;
  }

  test('is returned without a call to the database, with the same body and ETag', async () => {
    const added = await addProduct(store, 'KEPT', 5);
    for (const path of pathsOf(added)) {
      const first = await store.send('GET', path);
      const cached = await warm(path);
      expect(cached.body).toEqual(first.body);
      expect(cached.headers.get('etag')).toBe(first.headers.get('etag'));
      expect(cached.headers.get('server-timing')).toBeNull();
      let calls = 0;
      fault = ({ statements }) => {
        if (statements.some(({ query }) => query.includes('product_json'))) calls++;
        return undefined;
      };
      const again = await store.send('GET', path);
      expect([isHit(again), calls]).toEqual([true, 0]);
      const headers = { authorization: `Bearer ${store.key}`, 'if-none-match': first.headers.get('etag') ?? '' };
      const same = await fetch(store.url + path, { headers });
      expect([same.status, same.headers.get('cache-status'), calls]).toEqual([304, 'fusioncommerce; hit', 0]);
    }
  });

  const price = { price: 77 };
  const changes: [string, (of: { id: string; sku: string }) => Promise<unknown>, Record<string, unknown>][] = [
    ['PATCH', ({ id }) => store.send('PATCH', `/v1/products/${id}`, price), price],
    ['DELETE', ({ id }) => store.send('DELETE', `/v1/products/${id}`), { status: 'archived' }],
    ['a count', ({ sku }) => store.send('PUT', `/v1/inventory/${sku}`, { quantity: 1 }), { inventory: 1 }],
    [
      'an adjustment',
      ({ sku }) => store.send('POST', `/v1/inventory/${sku}/adjustments`, { delta: 3, reason: 'r' }),
      { inventory: 13 },
    ],
    ['an order', ({ sku }) => store.send('POST', '/v1/orders', oneLine(sku, 4)), { inventory: 6 }],
    [
      'an import',
      ({ sku }) =>
        store.send('POST', '/v1/products/import', JSON.stringify({ sku, price: 8, inventory: 2 }), {
          headers: { 'content-type': 'application/x-ndjson' },
        }),
      { price: 8, inventory: 2 },
    ],
    [
      'an import of many',
      ({ sku }) =>
        store.send(
          'POST',
          '/v1/products/import',
          [
            { sku, price: 9 },
            ...Array.from({ length: 99 }, (_, n) => ({ sku: `MANY-${n}`, name: 'n', price: 1, currency: 'USD' })),
          ]
            .map((row) => JSON.stringify(row))
            .join('\n'),
          { headers: { 'content-type': 'application/x-ndjson' } },
        ),
      { price: 9 },
    ],
    [
      'a group',
      async ({ id }) => {
        const { body } = await store.send('POST', '/v1/product-groups', { name: 'G', options: ['Size'] });
        await store.send('PATCH', `/v1/products/${id}`, { groupId: body.id, options: { Size: 'M' } });
      },
      { options: { Size: 'M' } },
    ],
  ];

  /** Reads the product by id from the cache, and then finds it changed. */
  async function expectFresh({ id, sku }: { id: string; sku: string }, change: () => Promise<Reply>, shown: object) {
    for (const path of pathsOf({ id, sku })) await warm(path);
    expect((await change()).status).toBe(204);
    for (const path of pathsOf({ id, sku })) expect((await store.send('GET', path)).body).toMatchObject(shown);
  }

  test('is never stale after it joined or left a collection, or its collection or group was deleted', async () => {
    const added = await addProduct(store, 'GROUPED', 10);
    const ids: string[] = [];
    for (let n = 0; n < 2; n++) ids.push((await store.send('POST', '/v1/collections', { name: 'C' })).body.id);
    const [first, second] = ids;
    const member = (id: string | undefined) => `/v1/collections/${id}/products/${added.id}`;
    await expectFresh(added, () => store.send('PUT', member(first)), { collections: [first] });
    await expectFresh(added, () => store.send('PUT', member(second)), { collections: [first, second] });
    await expectFresh(added, () => store.send('DELETE', member(first)), { collections: [second] });
    await expectFresh(added, () => store.send('DELETE', `/v1/collections/${second}`), { collections: [] });
    const { body: group } = await store.send('POST', '/v1/product-groups', { name: 'G', options: ['Size'] });
    await store.send('PATCH', `/v1/products/${added.id}`, {
      ...{ status: 'archived', groupId: group.id, options: { Size: 'M' } },
    });
    await expectFresh(added, () => store.send('DELETE', `/v1/product-groups/${group.id}`), { groupId: null });
  });

  test.each(changes)(
    'is never stale after %s, by id or by SKU, and is cached again afterwards',
    async (what, change, shown) => {
      const added = await addProduct(store, `FRESH-${what.replaceAll(' ', '-')}`, 10);
      for (const path of pathsOf(added)) await warm(path);
      await change(added);
      for (const path of pathsOf(added)) {
        const reply = await store.send('GET', path);
        expect(reply.body).toMatchObject(shown);
        expect((await warm(path)).body).toEqual(reply.body);
      }
    },
  );

  test('is never stale after an order was cancelled, expired, or got its units from the queue', async () => {
    const added = await addProduct(store, 'ENDS', 10);
    const [path = ''] = pathsOf(added);
    const { body: first } = await store.send('POST', '/v1/orders', oneLine('ENDS', 4));
    expect((await warm(path)).body.inventory).toBe(6);
    await store.send('POST', `/v1/orders/${first.id}/cancel`);
    expect((await store.send('GET', path)).body.inventory).toBe(10);

    const { body: second } = await store.send('POST', '/v1/orders', oneLine('ENDS', 3));
    expect((await warm(path)).body.inventory).toBe(7);
    const failed = async () => (await store.send('GET', `/v1/orders/${second.id}`)).body.status === 'failed';
    await cronUntil(store, new Date(second.reservation.expiresAt), failed);
    expect((await store.send('GET', path)).body.inventory).toBe(10);

    await warm(path);
    await store.send('POST', '/v1/orders', oneLine('ENDS', 2), { headers: { prefer: 'respond-async' } });
    // The queue consumer runs separately. The new stock shows as soon as it is done, long before the 30 s of the cache.
    await until(async () => (await store.send('GET', path)).body.inventory === 8);
  });

  test('is separate for each tenant', async () => {
    const acme = await store.database.key({ tenant: 'acme' });
    const ours = await addProduct(store, 'SAME', 5, 10);
    const body = { sku: 'SAME', name: 'Theirs', price: 20, currency: 'USD', inventory: 1 };
    const { body: theirs } = await store.send('POST', '/v1/products', body, { key: acme });
    const path = '/v1/products/by-sku/SAME';
    expect((await warm(path)).body.price).toBe(10);
    expect((await warm(path, acme)).body.price).toBe(20);
    await warm(`/v1/products/${ours.id}`);
    const foreign = await store.send('GET', `/v1/products/${ours.id}`, undefined, { key: acme });
    expect([foreign.status, foreign.body.code]).toEqual([404, 'not_found']);
    await store.send('PATCH', `/v1/products/${theirs.id}`, { price: 21 }, { key: acme });
    expect((await store.send('GET', path, undefined, { key: acme })).body.price).toBe(21);
    expect(isHit(await store.send('GET', path))).toBe(true);
  });

  test('is returned only to keys that may read the catalog', async () => {
    const added = await addProduct(store, 'GUARDED', 5);
    const [path = ''] = pathsOf(added);
    await warm(path);
    const orders = await store.database.key({ scopes: ['orders:read'] });
    expect((await store.send('GET', path, undefined, { key: orders })).status).toBe(403);
    expect((await store.send('GET', path, undefined, { key: 'sk_unknown_key' })).status).toBe(401);
    expect((await store.send('GET', path, undefined, { key: null })).status).toBe(401);
  });

  test('is not stored if the product changed while it was being read', async () => {
    const added = await addProduct(store, 'OVERTAKEN', 5);
    const [path = ''] = pathsOf(added);
    let release: (value?: unknown) => void = () => undefined;
    const held = new Promise((resolve) => {
      release = resolve;
    });
    let reads = 0;
    fault = ({ statements }) => {
      const slow = statements.some(({ query }) => query.includes('product_json')) && reads++ === 0;
      return slow ? { kind: 'hold-response', until: held } : undefined;
    };
    const slow = store.send('GET', path);
    await until(() => reads === 1);
    await store.send('PATCH', `/v1/products/${added.id}`, { price: 55 });
    release();
    await slow;
    for (let n = 0; n < 20; n++) expect((await store.send('GET', path)).body.price).toBe(55);
  });
});
