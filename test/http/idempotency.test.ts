import { createHash, randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { workerRoutes as routes } from '../../dev/openapi/routes.ts';
import { addProduct, oneLine, type Reply, type Store, startStore, until } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const outcome = (reply: Reply) => [reply.status, reply.body.code];
const replayed = (reply: Reply) => reply.headers.get('idempotent-replayed');
const adjust = (sku: string, delta: number, idempotencyKey: string | null = randomUUID(), key?: string) =>
  store.send(
    'POST',
    `/v1/inventory/${sku}/adjustments`,
    { delta, reason: 'counted' },
    { idempotencyKey, ...(key ? { key } : {}) },
  );
const quantityOf = async (sku: string, key?: string) =>
  (await store.send('GET', `/v1/inventory/${sku}`, undefined, key ? { key } : {})).body.quantity;

describe('an Idempotency-Key', () => {
  test('is accepted by every POST of a tenant, and required where money, stock or a place is at stake', async () => {
    const posts = routes.filter((route) => route.method === 'post' && route.scope !== undefined);
    expect(posts.filter((route) => route.idempotency === undefined).map((route) => route.path)).toEqual([]);
    const required = posts.filter((route) => route.idempotency === 'required').map((route) => route.path);
    const promised = [
      '/v1/orders',
      '/v1/payments',
      '/v1/payments/{id}/refunds',
      '/v1/orders/{id}/refunds',
      '/v1/returns/{id}/receive',
      '/v1/campaigns/{id}/join',
      '/v1/campaigns/{id}/teams',
      '/v1/teams/{id}/join',
      '/v1/teams/by-code/{code}/join',
      '/v1/inventory/{sku}/adjustments',
    ].filter((path) => posts.some((route) => route.path === path));
    expect(promised.length).toBeGreaterThanOrEqual(4);
    expect(required).toEqual(expect.arrayContaining(promised));
    for (const path of required) {
      const named = path.replace('{sku}', 'SKU').replace('{id}', randomUUID()).replace('{code}', 'k3v9x0m2p7q4r8t1');
      const reply = await store.send('POST', named, {}, { idempotencyKey: null });
      expect([path, ...outcome(reply)]).toEqual([path, 400, 'idempotency_key_required']);
      const empty = await store.send('POST', named, {}, { idempotencyKey: null, headers: { 'idempotency-key': '' } });
      expect(outcome(empty)).toEqual([400, 'idempotency_key_required']);
    }
  });

  test('has 1 to 255 characters', async () => {
    await addProduct(store, 'LENGTH', 5);
    expect((await adjust('LENGTH', 1, 'k')).status).toBe(201);
    expect((await adjust('LENGTH', 1, 'k'.repeat(255))).status).toBe(201);
    for (const key of ['k'.repeat(256), 'k'.repeat(5_000), 'ké', 'a\tb']) {
      expect(outcome(await adjust('LENGTH', 1, key))).toEqual([422, 'validation_failed']);
    }
    expect(await quantityOf('LENGTH')).toBe(7);
  });

  test('returns the first response again, with its status, headers and body, and acts once', async () => {
    const body = { sku: 'AGAIN', name: 'Again', price: 5, currency: 'USD', inventory: 9 };
    const create = () => store.send('POST', '/v1/products', body, { idempotencyKey: 'create' });
    const order = () => store.send('POST', '/v1/orders', oneLine('AGAIN', 2), { idempotencyKey: 'order' });
    for (const [act, status] of [
      [create, 201],
      [() => adjust('AGAIN', 3, 'adjust'), 201],
      [order, 201],
    ] as const) {
      const first = await act();
      expect([first.status, replayed(first)]).toEqual([status, null]);
      for (let n = 0; n < 3; n++) {
        const again = await act();
        expect([again.status, replayed(again), again.body]).toEqual([status, 'true', first.body]);
        for (const name of ['etag', 'location']) expect(again.headers.get(name)).toBe(first.headers.get(name));
      }
    }
    expect((await store.send('GET', '/v1/inventory/AGAIN')).body).toMatchObject({ quantity: 10, reserved: 2 });
    const { id } = (await order()).body;
    const cancel = () => store.send('POST', `/v1/orders/${id}/cancel`, {}, { idempotencyKey: 'cancel' });
    const cancelled = await cancel();
    const again = await cancel();
    expect([again.status, replayed(again), again.body]).toEqual([200, 'true', cancelled.body]);
    expect(await quantityOf('AGAIN')).toBe(12);
  });

  test('returns the first status of an order, whatever the retry prefers', async () => {
    await addProduct(store, 'PREFERS', 9);
    const place = (idempotencyKey: string, prefer: string) =>
      store.send('POST', '/v1/orders', oneLine('PREFERS'), { idempotencyKey, headers: { prefer } });
    for (const [first, again, status] of [
      ['respond-async', 'handling=strict', 202],
      ['handling=strict', 'respond-async', 201],
    ] as const) {
      const answer = await place(first, first);
      await store.settled();
      const repeated = await place(first, again);
      expect([answer.status, repeated.status, replayed(repeated)]).toEqual([status, status, 'true']);
      expect(repeated.body).toEqual(answer.body);
      expect(repeated.headers.get('preference-applied')).toBe(answer.headers.get('preference-applied'));
    }
  });

  test('returns an error again, even if the request would now succeed', async () => {
    await addProduct(store, 'REFUSED', 1);
    const twice = () =>
      store.send(
        'POST',
        '/v1/products',
        { sku: 'REFUSED', name: 'n', price: 1, currency: 'USD', inventory: 0 },
        { idempotencyKey: 'twice' },
      );
    const short = () => adjust('REFUSED', -5, 'short');
    const order = () => store.send('POST', '/v1/orders', oneLine('REFUSED', 3), { idempotencyKey: 'refused-order' });
    const firsts = [await twice(), await short(), await order()];
    expect(firsts.map(outcome)).toEqual([
      [409, 'sku_taken'],
      [409, 'insufficient_inventory'],
      [409, 'insufficient_inventory'],
    ]);
    await adjust('REFUSED', 100);
    for (const [at, act] of [twice, short, order].entries()) {
      const again = await act();
      const { requestId: _first, ...first } = firsts[at]?.body ?? {};
      const { requestId: _again, ...repeated } = again.body;
      expect([again.status, replayed(again), repeated]).toEqual([409, 'true', first]);
    }
    expect(await quantityOf('REFUSED')).toBe(101);
  });

  test('with another body, or for another resource of the same operation, is rejected', async () => {
    await addProduct(store, 'BODY-A', 5);
    await addProduct(store, 'BODY-B', 5);
    await adjust('BODY-A', 1, 'body');
    expect(outcome(await adjust('BODY-A', 2, 'body'))).toEqual([422, 'idempotency_key_reused']);
    expect(outcome(await adjust('BODY-B', 1, 'body'))).toEqual([422, 'idempotency_key_reused']);
    expect([await quantityOf('BODY-A'), await quantityOf('BODY-B')]).toEqual([6, 5]);
    // The same request in another notation counts as the same request.
    const same = await store.send('POST', '/v1/inventory/BODY-A/adjustments', '{ "reason":"counted",\n"delta":1.0 }', {
      idempotencyKey: 'body',
    });
    expect([same.status, replayed(same)]).toEqual([201, 'true']);
  });

  test('is separate for each tenant and operation', async () => {
    const acme = await store.database.key({ tenant: 'acme' });
    const body = { sku: 'SCOPE', name: 'n', price: 1, currency: 'USD', inventory: 5 };
    for (const key of [store.key, acme]) {
      const made = await store.send('POST', '/v1/products', body, { key, idempotencyKey: 'scope' });
      expect([made.status, replayed(made)]).toEqual([201, null]);
      const changed = await adjust('SCOPE', 1, 'scope', key);
      expect([changed.status, replayed(changed)]).toEqual([201, null]);
      const ordered = await store.send('POST', '/v1/orders', oneLine('SCOPE'), { key, idempotencyKey: 'scope' });
      expect([ordered.status, replayed(ordered)]).toEqual([201, null]);
    }
    expect([await quantityOf('SCOPE'), await quantityOf('SCOPE', acme)]).toEqual([5, 5]);
  });

  test('belongs to the tenant: another key of the tenant gets the same response', async () => {
    await addProduct(store, 'SECOND', 5);
    const first = await adjust('SECOND', 1, 'second');
    const again = await adjust('SECOND', 1, 'second', await store.database.key());
    expect([again.status, replayed(again), again.body]).toEqual([201, 'true', first.body]);
  });

  test('can be used again after a malformed or invalid request, or one that was not found', async () => {
    const send = (path: string, body: unknown) => store.send('POST', path, body, { idempotencyKey: 'free' });
    const path = '/v1/inventory/FREE/adjustments';
    expect(outcome(await send(path, '{'))).toEqual([400, 'malformed_json']);
    expect(outcome(await send(path, { delta: 0 }))).toEqual([422, 'validation_failed']);
    expect(outcome(await send(path, { delta: 1, reason: 'r' }))).toEqual([404, 'not_found']);
    await addProduct(store, 'FREE', 1);
    const reply = await send(path, { delta: 1, reason: 'r' });
    expect([reply.status, reply.body.quantity, replayed(reply)]).toEqual([201, 2, null]);
  });

  test('of a running request returns 409, and the response once the request is done', async () => {
    await addProduct(store, 'RUNNING', 5);
    const other = new pg.Client(store.database.url);
    await other.connect();
    await other.query(`begin; select from inventory.inventory where sku = 'RUNNING' for update`);
    const running = adjust('RUNNING', 1, 'running');
    await until(async () => {
      const [waiting] = await store.database.query<{ n: number }>(
        `select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      );
      return waiting?.n === 1;
    });
    const second = await adjust('RUNNING', 1, 'running');
    expect(outcome(second)).toEqual([409, 'idempotency_in_progress']);
    expect(second.headers.get('retry-after')).toBe('1');
    await other.query('commit');
    await other.end();
    expect((await running).body.quantity).toBe(6);
    const third = await adjust('RUNNING', 1, 'running');
    expect([third.status, replayed(third), third.body.quantity]).toEqual([201, 'true', 6]);
  });

  test('sent many times at once acts once, and all requests get its response in the end', async () => {
    await addProduct(store, 'RACED', 5);
    const answers = await Promise.all(
      Array.from({ length: 30 }, async () => {
        for (;;) {
          const reply = await adjust('RACED', 1, 'raced');
          if (reply.status !== 409) return reply;
          expect(reply.body.code).toBe('idempotency_in_progress');
        }
      }),
    );
    expect(new Set(answers.map((reply) => reply.body.quantity))).toEqual(new Set([6]));
    expect(answers.filter((reply) => replayed(reply) === null)).toHaveLength(1);
    expect(await quantityOf('RACED')).toBe(6);
  });
});

describe('a stored response', () => {
  const requestHash = 'a'.repeat(64);
  /** Calls the SQL function as the Worker does, at another time. */
  async function at(now: Date, key: string, hash = requestHash) {
    const worker = new pg.Client(store.database.workerUrl);
    await worker.connect();
    try {
      const keyHash = createHash('sha256').update(store.key).digest('hex');
      const call = { keyHash, idempotencyKey: key, requestHash: hash, now: now.toISOString() };
      const input = { sku: 'AGED', delta: 1, reason: 'r' };
      const { rows } = await worker.query('select inventory.adjust_stock($1, $2) as result', [call, input]);
      return rows[0].result;
    } finally {
      await worker.end();
    }
  }
  const began = new Date('2026-01-31T12:00:00.000Z');
  const after = (milliseconds: number) => new Date(began.getTime() + milliseconds);
  const day = 86_400_000;

  test('is kept for exactly 24 hours', async () => {
    await addProduct(store, 'AGED', 0);
    expect(await at(began, 'aged')).toMatchObject({ replayed: false, answer: { quantity: 1 } });
    expect(await at(after(day - 1), 'aged')).toMatchObject({ replayed: true, answer: { quantity: 1 } });
    await expect(at(after(day - 1), 'aged', 'b'.repeat(64))).rejects.toMatchObject({
      code: 'FC000',
      message: 'idempotency_key_reused',
    });
    expect(await at(after(day), 'aged', 'b'.repeat(64))).toMatchObject({ replayed: false, answer: { quantity: 2 } });
    expect(await at(after(2 * day - 1), 'aged', 'b'.repeat(64))).toMatchObject({ replayed: true });
  });

  test('is purged by the cron when it is old, and not before', async () => {
    await at(began, 'old');
    await at(after(day), 'young');
    await store.cron('17 * * * *', after(day));
    const kept = await store.database.query(
      `select key from platform.idempotency where key in ('old', 'young') order by key`,
    );
    expect(kept).toEqual([{ key: 'young' }]);
  });
});
