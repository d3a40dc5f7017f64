import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { product as productSchema } from '../../src/domain/catalog/products.ts';
import { addProduct, oneLine, type Reply, type Store, startStore } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const outcome = (reply: Reply) => [reply.status, reply.body.code];
const input = (sku: string, more: Record<string, unknown> = {}) => ({
  sku,
  name: `Product ${sku}`,
  price: 29.99,
  currency: 'USD',
  inventory: 7,
  ...more,
});
const post = (body: unknown) => store.send('POST', '/v1/products', body);
const read = (id: string) => store.send('GET', `/v1/products/${id}`);
const patch = (id: string, change: unknown, headers: Record<string, string> = {}) =>
  store.send('PATCH', `/v1/products/${id}`, change, { headers });

describe('creating a product', () => {
  test('returns it with its Location, the same as every read, and opens its stock', async () => {
    const made = await post(input('NEW', { description: 'Fine' }));
    expect(made.status).toBe(201);
    expect(Object.keys(made.body)).toEqual(Object.keys(productSchema.shape));
    expect(made.body).toMatchObject({ ...input('NEW'), description: 'Fine', status: 'active' });
    expect(made.body.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
    expect(made.body.createdAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(made.body.updatedAt).toBe(made.body.createdAt);
    expect(made.headers.get('location')).toBe(`/v1/products/${made.body.id}`);
    for (const path of [`/v1/products/${made.body.id}`, '/v1/products/by-sku/NEW']) {
      const got = await store.send('GET', path);
      expect(got.body).toEqual(made.body);
      expect(got.headers.get('etag')).toBe(made.headers.get('etag'));
    }
    expect((await store.send('GET', '/v1/products?limit=1')).body.data).toEqual([made.body]);
    expect((await store.send('GET', '/v1/inventory/NEW')).body).toMatchObject({ quantity: 7, reserved: 0 });
    const ledger = await store.database.query(`select delta, reason from inventory.adjustments where sku = 'NEW'`);
    expect(ledger).toEqual([{ delta: 7, reason: 'opening' }]);
  });

  test('emits product.created with the product as payload and its id as key', async () => {
    const { body } = await post(input('EMITS', { description: null }));
    const events = await store.database.query('select topic, key, payload from platform.events where key = $1', [
      body.id,
    ]);
    expect(events).toEqual([{ topic: 'product.created', key: body.id, payload: body }]);
    const listed = await store.send('GET', `/v1/events?topic=product.created&key=${body.id}`);
    expect(listed.body.data).toMatchObject([{ type: 'product.created', subject: body.id, data: body }]);
  });

  test('with a taken SKU is rejected, changes nothing and emits nothing', async () => {
    const first = await post(input('TAKEN'));
    const second = await post(input('TAKEN', { inventory: 99, price: 1 }));
    expect(outcome(second)).toEqual([409, 'sku_taken']);
    expect((await read(first.body.id)).body).toEqual(first.body);
    const events = await store.database.query(
      `select 1 from platform.events where topic = 'product.created' and payload->>'sku' = 'TAKEN'`,
    );
    expect(events).toHaveLength(1);
    expect((await post(input('taken'))).status).toBe(201);
  });

  test('twenty times at once with one SKU creates one product', async () => {
    const replies = await Promise.all(Array.from({ length: 20 }, (_, n) => post(input('RACE', { inventory: n + 1 }))));
    const made = replies.filter((reply) => reply.status === 201);
    expect(made).toHaveLength(1);
    expect(replies.filter((reply) => reply.body.code === 'sku_taken')).toHaveLength(19);
    expect((await store.send('GET', '/v1/inventory/RACE')).body.quantity).toBe(made[0]?.body.inventory);
    const ledger = await store.database.query(`select 1 from inventory.adjustments where sku = 'RACE'`);
    expect(ledger).toHaveLength(1);
  });

  test('does not conflict with the SKUs of other tenants', async () => {
    const key = await store.database.key({ tenant: 'acme' });
    const ours = await post(input('BOTH'));
    const theirs = await store.send('POST', '/v1/products', input('BOTH', { price: 1 }), { key });
    expect(theirs.status).toBe(201);
    expect(theirs.body.id).not.toBe(ours.body.id);
    expect((await store.send('GET', '/v1/products/by-sku/BOTH', undefined, { key })).body.price).toBe(1);
    expect((await store.send('GET', '/v1/products/by-sku/BOTH')).body.price).toBe(29.99);
  });
});

describe('changing a product', () => {
  test('changes only the given fields', async () => {
    const { body: made } = await post(input('CHANGE', { description: 'Old' }));
    const changed = await patch(made.id, { price: 5 });
    expect(changed.status).toBe(200);
    expect(changed.body).toEqual({ ...made, price: 5, updatedAt: changed.body.updatedAt });
    expect(changed.body.updatedAt >= made.updatedAt).toBe(true);
    expect((await patch(made.id, { description: null, name: 'New' })).body).toMatchObject({
      description: null,
      name: 'New',
      price: 5,
    });
    expect((await patch(made.id, { price: 100, currency: 'JPY' })).body).toMatchObject({ price: 100, currency: 'JPY' });
    expect((await read(made.id)).body).toMatchObject({ price: 100, currency: 'JPY', name: 'New', inventory: 7 });
  });

  test('rejects unknown and read-only fields, invalid values and an empty change', async () => {
    const { body: made } = await post(input('FIXED'));
    for (const change of [{ sku: 'X' }, { inventory: 1 }, { id: made.id }, { createdAt: made.createdAt }, {}]) {
      expect(outcome(await patch(made.id, change))).toEqual([422, 'validation_failed']);
    }
    for (const change of [{ name: null }, { name: '' }, { status: 'gone' }, { price: null }]) {
      expect(outcome(await patch(made.id, change))).toEqual([422, 'validation_failed']);
    }
    expect((await read(made.id)).body).toEqual(made);
  });

  test('with If-Match is rejected if the product has changed since it was read', async () => {
    const made = await post(input('MATCH'));
    const { id } = made.body;
    const etag = made.headers.get('etag') ?? '';
    const first = await patch(id, { price: 1 }, { 'if-match': etag });
    expect(first.status).toBe(200);
    const next = first.headers.get('etag') ?? '';
    expect(next).not.toBe(etag);
    for (const stale of [
      etag,
      `W/${next}`,
      '"nonsense"',
      'nonsense',
      '""',
      `${etag}, W/${next}`,
      '"*"',
      next.replace('-', '9-'),
      next.replace('"', '"0'),
      next.replace('"', '"+'),
    ]) {
      const refused = await patch(id, { price: 2 }, { 'if-match': stale });
      expect([stale, ...outcome(refused)]).toEqual([stale, 412, 'version_mismatch']);
      const kept = await store.send('DELETE', `/v1/products/${id}`, undefined, { headers: { 'if-match': stale } });
      expect([stale, ...outcome(kept)]).toEqual([stale, 412, 'version_mismatch']);
    }
    expect((await read(id)).body).toMatchObject({ price: 1, status: 'active' });
    const listed = await patch(id, { price: 3 }, { 'if-match': `${etag}, "x" , ${next}` });
    expect(listed.body.price).toBe(3);
    expect((await patch(id, { price: 4 }, { 'if-match': '*' })).body.price).toBe(4);
    expect((await patch(id, { price: 5 })).body.price).toBe(5);
  });

  test('twenty times at once with one ETag succeeds once', async () => {
    const made = await post(input('PATCHED'));
    const headers = { 'if-match': made.headers.get('etag') ?? '' };
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, n) => patch(made.body.id, { price: n + 1 }, headers)),
    );
    const won = replies.filter((reply) => reply.status === 200);
    expect(won).toHaveLength(1);
    expect(replies.filter((reply) => reply.body.code === 'version_mismatch')).toHaveLength(19);
    expect((await read(made.body.id)).body.price).toBe(won[0]?.body.price);
  });
});

describe('archiving a product', () => {
  test('takes it off sale, but keeps it and its SKU until it is activated again', async () => {
    const { body: made } = await post(input('ARCHIVED'));
    for (let n = 0; n < 2; n++) {
      const gone = await store.send('DELETE', `/v1/products/${made.id}`);
      expect([gone.status, gone.body]).toEqual([204, '']);
    }
    expect((await read(made.id)).body).toMatchObject({ ...made, status: 'archived', updatedAt: expect.any(String) });
    expect((await store.send('GET', '/v1/products/by-sku/ARCHIVED')).body.status).toBe('archived');
    expect((await store.send('POST', '/v1/orders', oneLine('ARCHIVED'))).body.code).toBe('unknown_sku');
    const listed = await store.send('GET', '/v1/products?limit=100');
    expect(listed.body.data.map((row: { sku: string }) => row.sku)).not.toContain('ARCHIVED');
    expect(outcome(await post(input('ARCHIVED')))).toEqual([409, 'sku_taken']);
    expect((await patch(made.id, { status: 'active' })).body.status).toBe('active');
    expect((await store.send('POST', '/v1/orders', oneLine('ARCHIVED'))).status).toBe(201);
  });

  test('returns 404 for an unknown product', async () => {
    const id = '019ab3f0-5c1e-7d2a-9f10-3b1c5a7e9d21';
    expect(outcome(await store.send('DELETE', `/v1/products/${id}`))).toEqual([404, 'not_found']);
    expect(outcome(await patch(id, { price: 1 }))).toEqual([404, 'not_found']);
    expect(outcome(await read(id))).toEqual([404, 'not_found']);
  });
});

describe('an ETag', () => {
  test('is on every response with one resource, and If-None-Match with it returns 304', async () => {
    const { id } = await addProduct(store, 'TAGGED', 9);
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('TAGGED'));
    await store.settled();
    for (const path of [
      `/v1/products/${id}`,
      '/v1/products/by-sku/TAGGED',
      '/v1/inventory/TAGGED',
      `/v1/orders/${order.id}`,
    ]) {
      const got = await store.send('GET', path);
      const etag = got.headers.get('etag') ?? '';
      expect(etag).toMatch(/^"[\w-]+"$/);
      for (const known of [etag, `W/${etag}`, '*', `"other", ${etag}`, `W/"other",W/${etag}`]) {
        const same = await fetch(store.url + path, {
          headers: { authorization: `Bearer ${store.key}`, 'if-none-match': known },
        });
        expect([path, known, same.status, await same.text()]).toEqual([path, known, 304, '']);
        expect(same.headers.get('etag')).toBe(etag);
        expect(same.headers.get('x-request-id')).toBeTruthy();
      }
      for (const other of ['"other"', etag.slice(1, -1), `"x${etag.slice(1)}`]) {
        const full = await store.send('GET', path, undefined, { headers: { 'if-none-match': other } });
        expect([path, other, full.status]).toEqual([path, other, 200]);
      }
    }
  });

  test('changes with everything that the resource shows, including its stock', async () => {
    const { id } = await addProduct(store, 'SHOWN', 9);
    const before = (await read(id)).headers.get('etag');
    await store.send('POST', '/v1/orders', oneLine('SHOWN'));
    const after = await read(id);
    expect(after.body.inventory).toBe(8);
    expect(after.headers.get('etag')).not.toBe(before);
    // Stock is not part of the product’s version: a sale does not make If-Match fail for a change of the product.
    expect((await patch(id, { price: 1 }, { 'if-match': before ?? '' })).status).toBe(200);
  });
});
