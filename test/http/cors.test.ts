import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { publishableScopes } from '../../dev/keys/api-keys.ts';
import { routes } from '../../dev/openapi/routes.ts';
import { isForPages, pageScopes } from '../../src/http/cors.ts';
import { addProduct, type Reply, type Store, startStore } from '../support/harness.ts';

const shop = 'https://shop.example';
let store: Store;
/** Calls to the database, without those of the relay. */
let calls = 0;
let anywhere: string;
let bound: string;
let product: { id: string };
beforeAll(async () => {
  store = await startStore({
    neonFault({ statements }) {
      if (!statements.some(({ query }) => query.includes('relay'))) calls++;
      return undefined;
    },
  });
  anywhere = await store.database.key({ kind: 'publishable' });
  bound = await store.database.key({ kind: 'publishable', origins: [shop, 'http://localhost:3000'] });
  product = await addProduct(store, 'SHOWN', 5);
});
afterAll(() => store.close());

const get = (path: string, key: string | null, origin?: string, more: Record<string, string> = {}) =>
  store.send('GET', path, undefined, { key, headers: { ...(origin === undefined ? {} : { origin }), ...more } });
const allowedOrigin = (reply: Reply) => reply.headers.get('access-control-allow-origin');
const preflight = (path: string, method = 'GET', origin = shop) =>
  fetch(store.url + path, {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': method, 'access-control-request-headers': 'authorization' },
  });
const pathOf = (path: string) => path.replaceAll(/\{\w+\}/g, 'x');

describe('a CORS preflight', () => {
  test('allows what a publishable key may read and nothing else, without a call to the database', async () => {
    expect(pageScopes).toEqual(publishableScopes);
    const before = calls;
    const open = new Set(routes.filter(isForPages).map((route) => route.path));
    expect(open.size).toBeGreaterThan(5);
    for (const { path } of routes) {
      const { status, headers } = await preflight(pathOf(path));
      const allowed = headers.get('access-control-allow-origin') !== null;
      // One path may match another one’s pattern, as a word matches `{id}`.
      const may = [...open].some((one) => new RegExp(`^${one.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(pathOf(path)));
      expect([path, allowed, status]).toEqual([path, may, 204]);
      expect(headers.get('access-control-allow-credentials')).toBeNull();
    }
    expect(calls).toBe(before);
  });

  test('lists the methods and headers that reads need, and may be cached', async () => {
    const { headers } = await preflight('/v1/products', 'POST');
    expect(headers.get('access-control-allow-methods')).toBe('GET, HEAD, POST');
    const allowed = headers.get('access-control-allow-headers')?.split(', ');
    expect(allowed).toEqual(
      expect.arrayContaining(['Authorization', 'If-None-Match', 'Last-Event-ID', 'X-Request-Id']),
    );
    expect(headers.get('access-control-max-age')).toBe('7200');
  });
});

describe('a publishable key', () => {
  test('without origins can be used from every page, and its responses are readable for that page', async () => {
    for (const path of ['/v1/products', `/v1/products/${product.id}`, '/v1/campaigns']) {
      const reply = await get(path, anywhere, shop);
      expect([path, reply.status, allowedOrigin(reply), reply.headers.get('vary')]).toEqual([
        path,
        200,
        shop,
        'Origin',
      ]);
      const exposed = reply.headers.get('access-control-expose-headers')?.split(', ');
      expect(exposed).toEqual(
        expect.arrayContaining(['ETag', 'X-Request-Id', 'Idempotent-Replayed', 'Retry-After', 'RateLimit', 'Link']),
      );
    }
  });

  test('with origins is rejected on every other page, without an additional call to the database', async () => {
    expect(allowedOrigin(await get('/v1/products', bound, 'http://localhost:3000'))).toBe('http://localhost:3000');
    for (const origin of ['https://evil.example', 'https://shop.example.evil.example', 'http://shop.example', 'null']) {
      const reply = await get('/v1/products', bound, origin);
      expect([origin, reply.status, reply.body.code, allowedOrigin(reply)]).toEqual([origin, 403, 'forbidden', null]);
      expect(reply.headers.get('server-timing')).toContain('1 calls');
    }
    // A client that is not a browser sends no Origin.
    expect((await get('/v1/products', bound)).status).toBe(200);
  });

  test('is restricted to its origins also when the edge cache responds', async () => {
    const path = `/v1/products/${product.id}`;
    for (let n = 0; n < 3; n++) expect((await get(path, bound, shop)).status).toBe(200);
    expect((await get(path, bound, 'https://evil.example')).status).toBe(403);
    expect((await get(path, bound, shop)).status).toBe(200);
  });

  test('lets its page read errors and 304 responses', async () => {
    const missing = await get('/v1/products/by-sku/NONE', bound, shop);
    expect([missing.status, allowedOrigin(missing)]).toEqual([404, shop]);
    const badCursor = await get('/v1/products?cursor=x', bound, shop);
    expect([badCursor.status, allowedOrigin(badCursor)]).toEqual([400, shop]);
    const unknown = await get('/v1/products', 'pk_live_unknown', shop);
    expect([unknown.status, allowedOrigin(unknown)]).toEqual([401, shop]);
    const { headers } = await get(`/v1/products/${product.id}`, bound, shop);
    const again = await get(`/v1/products/${product.id}`, bound, shop, { 'if-none-match': headers.get('etag') ?? '' });
    expect([again.status, allowedOrigin(again)]).toEqual([304, shop]);
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
    const stop = new AbortController();
    const live = await fetch(`${store.url}/v1/campaigns/${campaign.id}/live`, {
      headers: { authorization: `Bearer ${bound}`, origin: shop },
      signal: stop.signal,
    });
    expect([live.status, live.headers.get('access-control-allow-origin')]).toEqual([200, shop]);
    const reader = live.body?.pipeThrough(new TextDecoderStream()).getReader();
    let received = '';
    while (!received.includes('event: campaign')) received += (await reader?.read())?.value ?? '';
    stop.abort();
  });
});

test('a response to a secret key is readable for no page', async () => {
  for (const route of routes.filter((one) => one.method === 'get' && one.scope !== undefined)) {
    if (route.id === 'watchCampaign') continue;
    const reply = await get(pathOf(route.path), store.key, shop);
    expect([route.id, allowedOrigin(reply)]).toEqual([route.id, null]);
  }
  const unknown = await get('/v1/products', 'sk_live_unknown', shop);
  expect([unknown.status, allowedOrigin(unknown)]).toEqual([401, null]);
});

test('a public response is readable for every page', async () => {
  for (const path of ['/healthz', '/readyz']) expect(allowedOrigin(await get(path, null, shop))).toBe('*');
});
