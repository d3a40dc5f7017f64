import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { workerRoutes as routes } from '../../dev/openapi/routes.ts';
import { publishableScopes } from '../../src/base/api-keys.ts';
import { isForPages, pageScopes } from '../../src/http/cors.ts';
import { addProduct, type Reply, type Store, startStore } from '../support/harness.ts';

const shopOrigin = 'https://shop.example';
let store: Store;
/** Calls to the database, without those of the relay. */
let calls = 0;
let unrestrictedKey: string;
let restrictedKey: string;
let product: { id: string };
beforeAll(async () => {
  store = await startStore({
    neonFault({ statements }) {
      if (!statements.some(({ query }) => query.includes('relay'))) calls++;
      return undefined;
    },
  });
  unrestrictedKey = await store.database.key({ kind: 'publishable' });
  restrictedKey = await store.database.key({ kind: 'publishable', origins: [shopOrigin, 'http://localhost:3000'] });
  product = await addProduct(store, 'SHOWN', 5);
});
afterAll(() => store.close());

const get = (path: string, key: string | null, origin?: string, headers: Record<string, string> = {}) =>
  store.send('GET', path, undefined, { key, headers: { ...(origin === undefined ? {} : { origin }), ...headers } });
const allowedOrigin = (reply: Reply) => reply.headers.get('access-control-allow-origin');
const preflight = (path: string, method = 'GET', origin = shopOrigin) =>
  fetch(store.url + path, {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': method, 'access-control-request-headers': 'authorization' },
  });
const pathOf = (path: string) => path.replaceAll(/\{\w+\}/g, 'x');

describe('a CORS preflight', () => {
  test('allows only what shoppers may do, without a call to the database', async () => {
    expect(pageScopes).toEqual(publishableScopes);
    const before = calls;
    const allowedPaths = new Set(routes.filter(isForPages).map((route) => route.path));
    expect(allowedPaths.size).toBeGreaterThan(5);
    for (const { path } of routes) {
      const { status, headers } = await preflight(pathOf(path));
      const allowed = headers.get('access-control-allow-origin') !== null;
      // A path can also match the pattern of another path, because `{id}` matches any word.
      const expected = [...allowedPaths].some((pattern) =>
        new RegExp(`^${pattern.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(pathOf(path)),
      );
      expect([path, allowed, status]).toEqual([path, expected, 204]);
      expect(headers.get('access-control-allow-credentials')).toBeNull();
    }
    expect(calls).toBe(before);
  });

  test('lists the methods and headers that shoppers need, and may be cached', async () => {
    const { headers } = await preflight('/v1/products', 'POST');
    expect(headers.get('access-control-allow-methods')).toBe('GET, HEAD, POST, PUT, PATCH, DELETE');
    const allowed = headers.get('access-control-allow-headers')?.split(', ');
    expect(allowed).toEqual(
      expect.arrayContaining([
        ...['Authorization', 'If-None-Match', 'Last-Event-ID', 'X-Request-Id'],
        ...['Cart-Token', 'Content-Type', 'Idempotency-Key', 'If-Match'],
      ]),
    );
    expect(headers.get('access-control-max-age')).toBe('7200');
  });
});

describe('a publishable key', () => {
  test('without origins can be used from every page, and the page can read the responses', async () => {
    for (const path of ['/v1/products', `/v1/products/${product.id}`, '/v1/campaigns']) {
      const reply = await get(path, unrestrictedKey, shopOrigin);
      expect([path, reply.status, allowedOrigin(reply), reply.headers.get('vary')]).toEqual([
        path,
        200,
        shopOrigin,
        'Origin',
      ]);
      const exposed = reply.headers.get('access-control-expose-headers')?.split(', ');
      expect(exposed).toEqual(
        expect.arrayContaining(['ETag', 'X-Request-Id', 'Idempotent-Replayed', 'Retry-After', 'RateLimit', 'Link']),
      );
    }
  });

  test('with origins is rejected on pages of other origins, without an additional call to the database', async () => {
    expect(allowedOrigin(await get('/v1/products', restrictedKey, 'http://localhost:3000'))).toBe(
      'http://localhost:3000',
    );
    for (const origin of ['https://evil.example', 'https://shop.example.evil.example', 'http://shop.example', 'null']) {
      const reply = await get('/v1/products', restrictedKey, origin);
      expect([origin, reply.status, reply.body.code, allowedOrigin(reply)]).toEqual([origin, 403, 'forbidden', null]);
      expect(reply.headers.get('server-timing')).toContain('1 calls');
    }
    // A client that is not a browser sends no Origin.
    expect((await get('/v1/products', restrictedKey)).status).toBe(200);
  });

  test('is restricted to its origins even if the response is in the edge cache', async () => {
    const path = `/v1/products/${product.id}`;
    for (let n = 0; n < 3; n++) expect((await get(path, restrictedKey, shopOrigin)).status).toBe(200);
    expect((await get(path, restrictedKey, 'https://evil.example')).status).toBe(403);
    expect((await get(path, restrictedKey, shopOrigin)).status).toBe(200);
  });

  test('lets its page read errors and 304 responses', async () => {
    const missing = await get('/v1/products/by-sku/NONE', restrictedKey, shopOrigin);
    expect([missing.status, allowedOrigin(missing)]).toEqual([404, shopOrigin]);
    const badCursor = await get('/v1/products?cursor=x', restrictedKey, shopOrigin);
    expect([badCursor.status, allowedOrigin(badCursor)]).toEqual([400, shopOrigin]);
    const unknown = await get('/v1/products', 'pk_live_unknown', shopOrigin);
    expect([unknown.status, allowedOrigin(unknown)]).toEqual([401, shopOrigin]);
    const { headers } = await get(`/v1/products/${product.id}`, restrictedKey, shopOrigin);
    const again = await get(`/v1/products/${product.id}`, restrictedKey, shopOrigin, {
      'if-none-match': headers.get('etag') ?? '',
    });
    expect([again.status, allowedOrigin(again)]).toEqual([304, shopOrigin]);
  });

  test('can watch a campaign from another origin', async () => {
    const body = {
      productId: product.id,
      minParticipants: 2,
      maxParticipants: 5,
      price: 9,
      startTime: new Date(Date.now() - 60_000).toISOString(),
      endTime: new Date(Date.now() + 3_600_000).toISOString(),
    };
    const { body: campaign } = await store.send('POST', '/v1/campaigns', body);
    const controller = new AbortController();
    const live = await fetch(`${store.url}/v1/campaigns/${campaign.id}/live`, {
      headers: { authorization: `Bearer ${restrictedKey}`, origin: shopOrigin },
      signal: controller.signal,
    });
    expect([live.status, live.headers.get('access-control-allow-origin')]).toEqual([200, shopOrigin]);
    const reader = live.body?.pipeThrough(new TextDecoderStream()).getReader();
    let received = '';
    while (!received.includes('event: campaign')) received += (await reader?.read())?.value ?? '';
    controller.abort();
  });
});

test('no page can read a response to a secret key', async () => {
  for (const route of routes.filter(({ method, scope }) => method === 'get' && scope !== undefined)) {
    if (['watchCampaign', 'watchTeam'].includes(route.id)) continue;
    const reply = await get(pathOf(route.path), store.key, shopOrigin);
    expect([route.id, allowedOrigin(reply)]).toEqual([route.id, null]);
  }
  const unknown = await get('/v1/products', 'sk_live_unknown', shopOrigin);
  expect([unknown.status, allowedOrigin(unknown)]).toEqual([401, null]);
});

test('every page can read a public response', async () => {
  for (const path of ['/healthz', '/readyz']) expect(allowedOrigin(await get(path, null, shopOrigin))).toBe('*');
});
