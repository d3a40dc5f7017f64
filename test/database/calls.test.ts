import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Fault, NeonBridgeOptions } from '../../dev/neon/bridge.ts';
import { addProduct, oneLine, type Reply, type Store, startStore, until } from '../support/harness.ts';

let store: Store;
let fault: NonNullable<NeonBridgeOptions['fault']> | undefined;
const deadlineMs = 2_000;

beforeAll(async () => {
  store = await startStore({
    neonFault: (call) => fault?.(call),
    variables: { DATABASE_DEADLINE_MS: String(deadlineMs) },
  });
});
afterEach(() => {
  fault = undefined;
});
afterAll(() => store.close());

/** Applies the fault to the first `times` calls that contain this text. `calls` counts all calls that contain it. */
function failing(text: string, chosen: Fault | undefined, times = 1) {
  const seen = { calls: 0 };
  fault = ({ statements }) => {
    if (!statements.some(({ query }) => query.includes(text))) return undefined;
    seen.calls++;
    return seen.calls <= times ? chosen : undefined;
  };
  return seen;
}

const outcome = (reply: Reply) => [reply.status, reply.body.code];
const reportedCalls = (reply: Reply) =>
  Number(/^db;desc="(\d+) calls";dur=\d+$/.exec(reply.headers.get('server-timing') ?? '')?.[1]);
const quantityOf = async (sku: string) =>
  (
    await store.database.query<{ quantity: number }>('select quantity from inventory.inventory where sku = $1', [sku])
  )[0]?.quantity;
const adjust = (sku: string, idempotencyKey: string = randomUUID()) =>
  store.send('POST', `/v1/inventory/${sku}/adjustments`, { delta: 1, reason: 'counted' }, { idempotencyKey });
const count = (sku: string, quantity: number) => store.send('PUT', `/v1/inventory/${sku}`, { quantity });

/** The fault of one call, and whether the database had already done the work. */
const faults: [string, Fault, boolean][] = [
  ['lost before', { kind: 'lose-request' }, false],
  ['lost after', { kind: 'lose-response' }, true],
  ['cut off after', { kind: 'cut-response' }, true],
  ['met by a 500 before', { kind: 'status', status: 500 }, false],
  ['met by a 503 before', { kind: 'status', status: 503 }, false],
  ['met by a 429 before', { kind: 'status', status: 429 }, false],
];

describe('a database call', () => {
  test.each(faults)(
    'that is %s the work was done is retried with its Idempotency-Key, and acts once',
    async (name, chosen) => {
      const sku = `KEYED ${name}`;
      await addProduct(store, sku, 5);
      const seen = failing('adjust_stock', chosen);
      const reply = await adjust(encodeURIComponent(sku));
      expect([reply.status, reply.body.quantity, reply.headers.get('idempotent-replayed')]).toEqual([201, 6, null]);
      expect([seen.calls, reportedCalls(reply)]).toEqual([2, 2]);
      expect(await quantityOf(sku)).toBe(6);
    },
  );

  test.each(faults)(
    'that is %s the work was done is not retried without a key: 503, with advice to the client',
    async (name, chosen, done) => {
      const sku = `PLAIN ${name}`;
      await addProduct(store, sku, 5);
      const seen = failing('set_stock', chosen);
      const reply = await count(encodeURIComponent(sku), 9);
      expect(outcome(reply)).toEqual([503, 'unavailable']);
      expect(reply.body.detail).toContain('Retry');
      expect(reply.headers.get('retry-after')).toBe('1');
      expect([seen.calls, reportedCalls(reply)]).toEqual([1, 1]);
      expect(await quantityOf(sku)).toBe(done ? 9 : 5);
    },
  );

  test.each(faults)('that only reads is retried when it is %s it was done', async (name, chosen) => {
    await addProduct(store, `READ ${name}`, 5);
    const seen = failing('inventory.stock_json', chosen, 2);
    const reply = await store.send('GET', `/v1/inventory/${encodeURIComponent(`READ ${name}`)}`);
    expect([reply.status, reply.body.quantity]).toEqual([200, 5]);
    expect([seen.calls, reportedCalls(reply)]).toEqual([3, 3]);
  });

  test('that fails three times returns 503, and the same key can be retried', async () => {
    await addProduct(store, 'GIVEN-UP', 5);
    const seen = failing('adjust_stock', { kind: 'lose-response' }, 3);
    const reply = await adjust('GIVEN-UP', 'given-up');
    expect([...outcome(reply), seen.calls]).toEqual([503, 'unavailable', 3]);
    expect(reply.headers.get('idempotent-replayed')).toBeNull();
    const again = await adjust('GIVEN-UP', 'given-up');
    expect([again.status, again.body.quantity, again.headers.get('idempotent-replayed')]).toEqual([201, 6, 'true']);
    expect(await quantityOf('GIVEN-UP')).toBe(6);
  });

  test('that meets a deadlock or a serialization failure is retried, with or without a key, and no client notices', async () => {
    await addProduct(store, 'CONFLICT', 5);
    await conflictTimes(3, '40P01');
    const adjusted = await adjust('CONFLICT');
    expect([adjusted.status, adjusted.body.quantity, reportedCalls(adjusted)]).toEqual([201, 6, 4]);
    await conflictTimes(2, '40001');
    const counted = await count('CONFLICT', 9);
    expect([counted.status, counted.body.quantity, reportedCalls(counted)]).toEqual([200, 9, 3]);
    await conflictTimes(1_000, '40P01');
    const never = await count('CONFLICT', 1);
    expect([...outcome(never), reportedCalls(never)]).toEqual([503, 'unavailable', 5]);
    await conflictTimes(0, '40P01');
    expect(await quantityOf('CONFLICT')).toBe(9);
  });

  test('that exceeds the deadline returns 503, and its work is not done twice', async () => {
    await addProduct(store, 'HELD', 5);
    let release: (value?: unknown) => void = () => undefined;
    const until = new Promise((resolve) => {
      release = resolve;
    });
    const seen = failing('adjust_stock', { kind: 'hold-response', until }, 1_000);
    const reply = await adjust('HELD', 'held');
    release();
    expect([...outcome(reply), seen.calls]).toEqual([503, 'unavailable', 1]);
    fault = undefined;
    const again = await adjust('HELD', 'held');
    expect([again.status, again.body.quantity, again.headers.get('idempotent-replayed')]).toEqual([201, 6, 'true']);
    expect(await quantityOf('HELD')).toBe(6);
  });

  test('without a reachable database returns 503, except where no database is needed, and recovers afterwards', async () => {
    await store.settled();
    await store.bridge.refuse();
    const places = ['/v1/orders', '/v1/products', '/v1/inventory', `/v1/orders/${randomUUID()}`, '/readyz'];
    const replies = await Promise.all(places.map((path) => store.send('GET', path)));
    const healthy = await store.send('GET', '/healthz');
    await store.bridge.accept();
    expect(replies.map(outcome)).toEqual(places.map(() => [503, 'unavailable']));
    expect(healthy.status).toBe(200);
    for (const path of ['/v1/orders', '/readyz']) expect((await store.send('GET', path)).status).toBe(200);
  });

  /** The next `times` updates of the SKU CONFLICT fail as if another transaction were in the way. */
  async function conflictTimes(times: number, code: string): Promise<void> {
    await store.database.query(`
      drop table if exists public.conflict cascade; drop sequence if exists public.conflicts cascade;
      create sequence public.conflicts;
      create or replace function public.conflict() returns trigger language plpgsql security definer as $$
      begin
        if nextval('public.conflicts') <= ${times} then raise exception using errcode = '${code}'; end if;
        return new;
      end $$;
      create or replace trigger conflict before update on inventory.inventory
        for each row when (new.sku = 'CONFLICT') execute function public.conflict()`);
  }
});

describe('Server-Timing', () => {
  test('reports one call for every read, list and write, and counts what the bridge counts', async () => {
    const { id } = await addProduct(store, 'TIMED', 50);
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('TIMED'));
    const seen = failing('', undefined);
    const writes = [
      ['PATCH', `/v1/products/${id}`, { price: 11 }],
      ['PUT', '/v1/inventory/TIMED', { quantity: 40 }],
      ['POST', '/v1/inventory/TIMED/adjustments', { delta: 1, reason: 'r' }],
      ['POST', `/v1/orders/${order.id}/cancel`, {}],
      ['DELETE', `/v1/products/${id}`],
      ['PATCH', '/v1/tenant', { holdSeconds: 900 }],
      ['POST', '/v1/keys', { kind: 'secret' }],
    ] as const;
    for (const [method, path, body] of writes) {
      expect([path, reportedCalls(await store.send(method, path, body))]).toEqual([path, 1]);
    }
    await quiet(seen);
    const reads = [
      `/v1/products/${id}`,
      '/v1/products?q=timed',
      '/v1/products',
      '/v1/inventory/TIMED',
      '/v1/inventory',
      `/v1/orders/${order.id}`,
      '/v1/orders?status=cancelled',
      `/v1/orders/${order.id}/events`,
      '/v1/events',
      '/v1/dead-letters',
      '/v1/tenant',
      '/v1/storefront',
      '/v1/keys',
      '/v1/orders/none',
      '/readyz',
    ];
    for (const path of reads) {
      const before = seen.calls;
      expect([path, reportedCalls(await store.send('GET', path))]).toEqual([path, 1]);
      expect([path, seen.calls - before]).toEqual([path, 1]);
    }
    expect((await store.send('GET', '/healthz')).headers.get('server-timing')).toBeNull();
  });

  /** Waits until no relay, consumer or job calls the database any more. */
  async function quiet(seen: { calls: number }): Promise<void> {
    await store.settled();
    await until(async () => {
      const before = seen.calls;
      await new Promise((resolve) => setTimeout(resolve, 300));
      return seen.calls === before;
    });
  }
});

describe('an internal error', () => {
  /** Runs with a database function replaced by one that fails, and restores the function afterwards. */
  async function withBrokenFunction<T>(name: string, raise: string, run: () => Promise<T>): Promise<T> {
    const [made] = await store.database.query<{ text: string; arguments: string }>(
      `select pg_get_functiondef(oid) as text, pg_get_function_arguments(oid) as arguments from pg_proc
       where oid = $1::regproc`,
      [name],
    );
    const [head = ''] = made?.text.split(/\n AS |\nAS /) ?? [];
    const plpgsql = head.replace('LANGUAGE sql', 'LANGUAGE plpgsql').replace(/^ (STABLE|IMMUTABLE)\s*/m, ' ');
    await store.database.query(`${plpgsql}\nAS $broken$ begin ${raise} end $broken$`);
    try {
      return await run();
    } finally {
      await store.database.query(made?.text ?? '');
    }
  }

  const secret = 'hunter2 of row (42, secret@example.com)';
  const reason = 'a reason that is nobody else’s business';
  const traces =
    /hunter2|secret@|nobody else|select |inventory\.|adjust_stock|stock_json|\$1|PL\/pgSQL|Neon|drizzle|\.ts:|node_modules/i;

  test.each([
    ['an exception', `raise exception '${secret}' using detail = '${secret}', hint = '${secret}';`],
    ['a missing function', `perform length(42, '${secret}');`],
    ['a constraint', `insert into platform.tenants values ('default', '${secret}');`],
    ['a missing table', `perform * from platform."${secret.slice(0, 20)}";`],
    ['an unknown SQLSTATE', `raise exception using errcode = 'FC000', message = '${secret}';`],
  ])('(%s) is an opaque 500, and the log contains only names and codes', async (_, raise) => {
    await addProduct(store, `BROKEN ${_}`, 1);
    const path = `/v1/inventory/${encodeURIComponent(`BROKEN ${_}`)}`;
    const at = store.logs().length;
    const written = await withBrokenFunction('inventory.adjust_stock', raise, () =>
      store.send('POST', `${path}/adjustments`, { delta: 1, reason }),
    );
    const read = await withBrokenFunction('inventory.stock_json', raise, () => store.send('GET', path));
    for (const reply of [written, read]) {
      expect(reply.body).toEqual({
        type: '/docs#internal',
        title: 'Internal error',
        status: 500,
        detail: expect.stringContaining('requestId'),
        instance: expect.stringContaining(path),
        code: 'internal',
        requestId: reply.headers.get('x-request-id'),
      });
      expect(JSON.stringify({ ...reply.body, instance: '' })).not.toMatch(traces);
    }
    const lines = store
      .logs()
      .slice(at)
      .filter((line) => line.outcome === 'internal');
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      expect(line).toMatchObject({ kind: 'request', status: 500, code: expect.stringMatching(/^[0-9A-Z]{5}$/) });
      expect(JSON.stringify({ ...line, error: '' })).not.toMatch(traces);
    }
    expect((await store.send('GET', path)).body.quantity).toBe(1);
  });

  test('(a value that PostgreSQL cannot store) is a 422 without any detail of the database', async () => {
    await addProduct(store, 'UNFIT', 1);
    const at = store.logs().length;
    const reply = await withBrokenFunction('inventory.adjust_stock', `perform '${secret}'::int;`, () =>
      store.send('POST', '/v1/inventory/UNFIT/adjustments', { delta: 1, reason }),
    );
    expect(outcome(reply)).toEqual([422, 'validation_failed']);
    expect(JSON.stringify({ ...reply.body, instance: '' })).not.toMatch(traces);
    const lines = store
      .logs()
      .slice(at)
      .filter((line) => line.gap === 'validation');
    expect(lines).toHaveLength(1);
    expect(JSON.stringify({ ...lines[0], error: '' })).not.toMatch(traces);
  });

  test.each([...faults, ['answered with half a JSON', { kind: 'cut-response' }, true]] as typeof faults)(
    '(the call was %s) leaves no statement and no parameter in the log',
    async (name, chosen) => {
      await addProduct(store, `LOGGED ${name}`, 1);
      const path = `/v1/inventory/${encodeURIComponent(`LOGGED ${name}`)}`;
      const at = store.logs().length;
      failing('inventory.', chosen, 1_000);
      const written = await store.send('POST', `${path}/adjustments`, { delta: 1, reason });
      const read = await store.send('GET', path);
      fault = undefined;
      expect([outcome(written), outcome(read)]).toEqual([
        [503, 'unavailable'],
        [503, 'unavailable'],
      ]);
      const lines = store
        .logs()
        .slice(at)
        .filter((line) => line.outcome === 'unavailable');
      expect(lines).toHaveLength(2);
      for (const line of lines) expect(JSON.stringify({ ...line, error: '' })).not.toMatch(traces);
    },
  );
});
