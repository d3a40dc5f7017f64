import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { workerRoutes as routes } from '../../dev/openapi/routes.ts';
import { addProduct, oneLine, type Reply, type Store, startStore } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const outcome = (reply: Reply) => [reply.status, reply.body.code];
const guarded = routes.filter((route) => route.scope !== undefined);
const pathOf = (path: string) => path.replace('{sku}', 'SKU').replaceAll(/\{\w+\}/g, randomUUID());

/** The responses of all operations to this key. The requests are invalid, so that they change nothing. */
async function sendToAll(key: string | null, headers: Record<string, string> = {}) {
  const answers: Record<string, Reply> = {};
  for (const route of guarded) {
    const body = route.method === 'get' || route.method === 'delete' ? undefined : '{"not": "known';
    answers[route.id] = await store.send(route.method.toUpperCase(), pathOf(route.path), body, { key, headers });
  }
  return answers;
}

describe('an API key', () => {
  test('that is missing, unknown, revoked or expired gets 401 everywhere, whatever else is wrong with the request', async () => {
    expect(guarded.length).toBeGreaterThan(15);
    const past = new Date(Date.now() - 1000);
    const keys = {
      missing: null,
      unknown: 'sk_live_unknown',
      revoked: await store.database.key({ revokedAt: past }),
      expired: await store.database.key({ expiresAt: past }),
    };
    for (const [what, key] of Object.entries(keys)) {
      for (const [operation, reply] of Object.entries(await sendToAll(key))) {
        expect([what, operation, ...outcome(reply)]).toEqual([what, operation, 401, 'unauthenticated']);
        expect(reply.headers.get('www-authenticate')).toBe('Bearer');
        // A request without a key makes no call to the database.
        if (key === null) expect(reply.headers.get('server-timing')).toBeNull();
      }
    }
  });

  test('must be sent as a Bearer token in our format', async () => {
    for (const authorization of ['', 'Bearer', 'Bearer ', store.key, `Basic ${store.key}`, `Bearer ${store.key} x`]) {
      const reply = await store.send('GET', '/v1/products', undefined, { key: null, headers: { authorization } });
      expect([authorization, ...outcome(reply)]).toEqual([authorization, 401, 'unauthenticated']);
    }
    const headers = { authorization: `bearer  ${store.key}` };
    expect((await store.send('GET', '/v1/products', undefined, { key: null, headers })).status).toBe(200);
  });

  test('becomes invalid at once when it expires or is revoked, and not before', async () => {
    const key = await store.database.key({ expiresAt: new Date(Date.now() + 3_600_000) });
    expect((await store.send('GET', '/v1/orders', undefined, { key })).status).toBe(200);
    await store.database.query('update platform.api_keys set revoked_at = now() where prefix = $1', [key.slice(0, 12)]);
    expect(outcome(await store.send('GET', '/v1/orders', undefined, { key }))).toEqual([401, 'unauthenticated']);
  });

  test('that is publishable can only read the catalog and campaigns, and what shoppers may do', async () => {
    const answers = await sendToAll(await store.database.key({ kind: 'publishable' }));
    for (const route of guarded) {
      // Decided by scope alone: the request for a live token is a POST, but changes nothing.
      const open =
        route.scope === 'catalog:read' || route.scope === 'campaigns:read' || !!route.shoppers?.includes('publishable');
      const reply = answers[route.id];
      expect([route.id, reply?.body.code === 'forbidden', reply?.status === 403]).toEqual([route.id, !open, !open]);
    }
  });

  test('can do what its scopes allow and nothing else', async () => {
    for (const scope of new Set(guarded.map((route) => route.scope ?? ''))) {
      const answers = await sendToAll(await store.database.key({ scopes: [scope] }));
      for (const route of guarded) {
        const refused = answers[route.id]?.body.code === 'forbidden';
        expect([scope, route.id, refused]).toEqual([scope, route.id, route.scope !== scope]);
      }
    }
  });

  test('never occurs in the log', async () => {
    await store.send('GET', '/v1/products');
    const log = JSON.stringify(store.logs());
    expect(log).toContain('listProducts');
    expect(log).not.toContain(store.key.slice(8));
  });
});

describe('a tenant', () => {
  test('is determined by the key, whatever the request says', async () => {
    const acme = await store.database.key({ tenant: 'acme' });
    await addProduct(store, 'OURS', 5);
    const headers = { 'x-tenant-id': 'default', tenant: 'default', host: 'default.example.com' };
    for (const query of ['', '?tenant=default', '?tenantId=default', '?tenant_id=default']) {
      const listed = await store.send('GET', `/v1/products${query}`, undefined, { key: acme, headers });
      if (query === '') expect(listed.body).toEqual({ data: [], nextCursor: null });
      else expect([listed.status, listed.body.errors.length]).toEqual([422, 1]);
    }
    const body = { sku: 'OURS', name: 'n', price: 1, currency: 'USD', inventory: 1, tenantId: 'default' };
    expect((await store.send('POST', '/v1/products', body, { key: acme })).status).toBe(422);
  });

  test('gets 404 for everything of another tenant, as for something that does not exist', async () => {
    const acme = await store.database.key({ tenant: 'acme' });
    const { id } = await addProduct(store, 'THEIRS', 5);
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('THEIRS'));
    const deadLetter = randomUUID();
    await store.database.query(
      `insert into platform.dead_letters (id, tenant_id, sink, event_id, topic, key, message, reason, attempts, created_at)
       values ($1, 'default', 'kafka', 'e', 't', 'k', '{}', 'r', 1, now())`,
      [deadLetter],
    );
    for (const [method, path, sent] of [
      ['GET', `/v1/products/${id}`],
      ['GET', '/v1/products/by-sku/THEIRS'],
      ['PATCH', `/v1/products/${id}`, { price: 1 }],
      ['DELETE', `/v1/products/${id}`],
      ['GET', '/v1/inventory/THEIRS'],
      ['PUT', '/v1/inventory/THEIRS', { quantity: 0 }],
      ['POST', '/v1/inventory/THEIRS/adjustments', { delta: -1, reason: 'r' }],
      ['GET', `/v1/orders/${order.id}`],
      ['POST', `/v1/orders/${order.id}/cancel`, {}],
      ['POST', `/v1/dead-letters/${deadLetter}/replay`, {}],
    ] as const) {
      const reply = await store.send(method, path, sent, { key: acme });
      expect([path, ...outcome(reply)]).toEqual([path, 404, 'not_found']);
    }
    for (const path of ['/v1/products', '/v1/products?q=THEIRS', '/v1/inventory', '/v1/orders', '/v1/dead-letters']) {
      const listed = await store.send('GET', path, undefined, { key: acme });
      expect([path, listed.body.data]).toEqual([path, []]);
    }
    expect((await store.send('POST', '/v1/orders', oneLine('THEIRS'), { key: acme })).body.code).toBe('unknown_sku');
    const stock = await store.send('GET', '/v1/inventory/THEIRS');
    expect(stock.body).toMatchObject({ quantity: 4, reserved: 1 });
  });
});

describe('too many requests with one key', () => {
  let limited: Store;
  beforeAll(async () => {
    limited = await startStore({ keyLimit: 5 });
  });
  afterAll(() => limited.close());

  test('are rejected with the time to wait, without a call to the database, and other keys are not affected', async () => {
    const replies: Reply[] = [];
    for (let n = 0; n < 7; n++) replies.push(await limited.send('GET', '/v1/orders'));
    expect(replies.map((reply) => reply.status)).toEqual([200, 200, 200, 200, 200, 429, 429]);
    const before = limited.bridge.calls;
    for (const [method, path, body] of [
      ['GET', '/v1/orders'],
      ['GET', '/v1/products/none'],
      ['POST', '/v1/orders', '{'],
    ] as const) {
      const reply = await limited.send(method, path, body);
      expect(outcome(reply)).toEqual([429, 'rate_limited']);
      expect(reply.headers.get('retry-after')).toBe('10');
      expect(reply.headers.get('ratelimit')).toMatch(/^"\w+";r=0;t=10$/);
      expect(reply.headers.get('ratelimit-policy')).toMatch(/^"\w+";q=\d+;w=10$/);
      expect(reply.headers.get('server-timing')).toBeNull();
    }
    expect(limited.bridge.calls).toBe(before);
    const key = await limited.database.key();
    expect((await limited.send('GET', '/v1/orders', undefined, { key })).status).toBe(200);
    expect((await limited.send('GET', '/healthz')).status).toBe(200);
  });
});
