import { afterAll, beforeAll, expect, test } from 'vitest';
import { workerRoutes as routes } from '../../dev/openapi/routes.ts';
import { addProduct, oneLine, type Store, startStore } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const strict = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

test('every response, including errors, has the security headers', async () => {
  for (const key of [store.key, null]) {
    for (const { id, method, path } of [...routes, { id: 'nothing', method: 'get', path: '/nothing' }]) {
      if (['watchCampaign', 'watchTeam'].includes(id)) continue;
      const { headers } = await store.send(method.toUpperCase(), path.replaceAll(/\{\w+\}/g, 'x'), undefined, { key });
      const policy = headers.get('content-security-policy');
      expect([id, headers.get('x-content-type-options'), headers.get('referrer-policy')]).toEqual([
        id,
        'nosniff',
        'no-referrer',
      ]);
      expect([id, policy]).toEqual([id, strict]);
      expect([id, headers.get('cache-control')]).toEqual([
        id,
        expect.stringMatching(/^(no-store|(private, )?no-cache)$/),
      ]);
    }
  }
});

test('a tenant’s data is never cached, and buyers’ data only by their browser, which must revalidate it', async () => {
  const { id } = await addProduct(store, 'KEPT', 5);
  const { body: order } = await store.send('POST', '/v1/orders', oneLine('KEPT'));
  const caching = async (path: string) => (await store.send('GET', path)).headers.get('cache-control');
  expect(await caching(`/v1/products/${id}`)).toBe('private, no-cache');
  expect(await caching(`/v1/products/${id}`)).toBe('private, no-cache'); // from the edge cache
  for (const path of ['/v1/products', `/v1/orders/${order.id}`, '/v1/inventory/KEPT', '/v1/orders', '/readyz']) {
    expect([path, await caching(path)]).toEqual([path, 'no-store']);
  }
});

test('only over TLS is a browser told to use TLS in future', async () => {
  const over = async (url: string) => {
    const response = await store.miniflare.dispatchFetch(url);
    await response.arrayBuffer();
    return response.headers.get('strict-transport-security');
  };
  expect(await over('https://api.shop.example/healthz')).toBe('max-age=31536000');
  expect(await over('http://api.shop.example/healthz')).toBeNull();
});
