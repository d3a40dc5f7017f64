import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NeonDbError, neon, neonConfig } from '@neondatabase/serverless';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Fault, type NeonBridge, type NeonBridgeOptions, startNeonBridge } from '../../dev/neon/bridge.ts';
import { type Postgres, startPostgres } from '../../dev/postgres/server.ts';

let postgres: Postgres;
let bridge: NeonBridge;
let fault: NonNullable<NeonBridgeOptions['fault']> | undefined;

beforeAll(async () => {
  const dir = await mkdtemp(join(tmpdir(), 'fusion-bridge-'));
  postgres = await startPostgres({ dir, port: 0, durable: false });
  bridge = await startNeonBridge({ port: 0, poolSize: 1, fault: (call) => fault?.(call) });
});

beforeEach(async () => {
  neonConfig.fetchEndpoint = bridge.url;
  fault = undefined;
  await sql().transaction((tx) => [
    tx`drop table if exists stock`,
    tx`create table stock (sku text primary key, quantity int not null constraint stock_not_negative check (quantity >= 0))`,
    tx`insert into stock values ('A', 5)`,
  ]);
});

afterEach(() => {
  fault = undefined;
});

afterAll(async () => {
  await bridge.close();
  await postgres.remove();
});

const sql = (database = 'postgres') => neon(postgres.url(database));

const quantity = async (): Promise<unknown> => (await sql()`select quantity from stock where sku = 'A'`)[0]?.quantity;

/** Applies one fault to the next call only. */
const failOnce = (chosen: Fault): void => {
  fault = () => {
    fault = undefined;
    return chosen;
  };
};

const failureOf = async (promise: Promise<unknown>): Promise<NeonDbError> => {
  const failure = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(NeonDbError);
  return failure as NeonDbError;
};

test('values of every type arrive as the driver expects them', async () => {
  const at = new Date('2026-01-31T12:00:00.000Z');
  const query = sql().query(
    `select $1::text as text, $2::int as int, $3::bigint as big, $4::numeric(10,2) as money, $5::boolean as yes,
       $6::timestamptz as at, $7::jsonb as json, $8::text[] as list, $9::bytea as bytes, null as nothing`,
    ['ä"\\', 7, '9007199254740993', '29.90', true, at, { a: [1, 'é'] }, ['x,"\\', null, 'y'], Buffer.from([0, 255])],
  );
  expect(await query).toEqual([
    {
      text: 'ä"\\',
      int: 7,
      big: '9007199254740993',
      money: '29.90',
      yes: true,
      at,
      json: { a: [1, 'é'] },
      list: ['x,"\\', null, 'y'],
      bytes: Buffer.from([0, 255]),
      nothing: null,
    },
  ]);
});

test('full results contain the command, its row count and its columns', async () => {
  const full = await sql().query(`update stock set quantity = 4 returning sku`, [], { fullResults: true });
  expect(full).toMatchObject({ command: 'UPDATE', rowCount: 1, rows: [{ sku: 'A' }] });
  expect(full.fields).toMatchObject([{ name: 'sku', dataTypeID: 25, format: 'text' }]);
  const insert = await sql().query(`insert into stock values ('B', 1), ('C', 1)`, [], { fullResults: true });
  expect(insert).toMatchObject({ command: 'INSERT', rowCount: 2, rows: [], fields: [] });
  const ddl = await sql().query('create temporary table t ()', [], { fullResults: true });
  expect(ddl).toMatchObject({ command: 'CREATE', rowCount: null });
  expect(await sql().query('')).toEqual([]);
});

test('a batch returns the result of each statement and counts as one call', async () => {
  const before = { calls: bridge.calls, statements: bridge.statements };
  const [first, second, third] = await sql().transaction((tx) => [
    tx`select 1 as one`,
    tx`update stock set quantity = quantity - 1`,
    tx`select quantity from stock`,
  ]);
  expect([first, second, third]).toEqual([[{ one: 1 }], [], [{ quantity: 4 }]]);
  expect({ calls: bridge.calls, statements: bridge.statements }).toEqual({
    calls: before.calls + 1,
    statements: before.statements + 3,
  });
});

test('an error in a batch rolls all of it back and has the fields of the PostgreSQL error', async () => {
  const failure = await failureOf(
    sql().transaction((tx) => [
      tx`insert into stock values ('B', 1)`,
      tx`update stock set quantity = quantity - 6 where sku = 'A'`,
      tx`insert into stock values ('C', 1)`,
    ]),
  );
  expect(failure).toMatchObject({
    code: '23514',
    severity: 'ERROR',
    schema: 'public',
    table: 'stock',
    constraint: 'stock_not_negative',
  });
  expect(failure.message).toContain('violates check constraint');
  expect(failure.detail).toContain('(A, -1)');
  expect(await sql()`select sku, quantity from stock`).toEqual([{ sku: 'A', quantity: 5 }]);
});

test('a constraint that fails at the commit is an error', async () => {
  await sql()`create table promise (id int, constraint promise_once unique (id) deferrable initially deferred)`;
  const failure = await failureOf(
    sql().transaction((tx) => [tx`insert into promise values (1)`, tx`insert into promise values (1)`]),
  );
  expect(failure).toMatchObject({ code: '23505', constraint: 'promise_once' });
  expect(await sql()`select * from promise`).toEqual([]);
  await sql()`drop table promise`;
});

test('isolation level, read-only and deferrable are passed to PostgreSQL', async () => {
  const settings = ['transaction_isolation', 'transaction_read_only', 'transaction_deferrable'];
  const read = async (options?: Parameters<ReturnType<typeof sql>['transaction']>[1]): Promise<unknown[]> => {
    const results = await sql().transaction((tx) => settings.map((name) => tx.query(`show ${name}`)), options);
    return results.map((rows) => Object.values((rows as Record<string, unknown>[])[0] ?? {})[0]);
  };
  expect(await read()).toEqual(['read committed', 'off', 'off']);
  expect(await read({ isolationLevel: 'RepeatableRead' })).toEqual(['repeatable read', 'off', 'off']);
  expect(await read({ isolationLevel: 'Serializable', readOnly: true, deferrable: true })).toEqual([
    'serializable',
    'on',
    'on',
  ]);
});

test('a setting that is local to a batch ends with it', async () => {
  await sql().transaction((tx) => [tx`select set_config('app.tenant_id', 'acme', true)`]);
  expect(await sql()`select current_setting('app.tenant_id', true) as tenant`).not.toEqual([{ tenant: 'acme' }]);
});

test('a transaction that a call leaves open is never given to the next call', async () => {
  await sql()`begin`;
  await sql()`update stock set quantity = 1`; // committed at once, because it is in no transaction
  await bridge.close();
  bridge = await startNeonBridge({ port: 0, poolSize: 1, fault: (call) => fault?.(call) });
  neonConfig.fetchEndpoint = bridge.url;
  expect(await quantity()).toBe(1);
});

test('a query that reads from the client is rejected and blocks no other call', async () => {
  await failureOf(sql()`copy stock from stdin`);
  await failureOf(sql().transaction((tx) => [tx`copy stock from stdin`, tx`select 1`]));
  expect(await quantity()).toBe(5);
});

test('two statements in one text are rejected', async () => {
  expect(await failureOf(sql().query('select 1; select 2'))).toMatchObject({ code: '42601' });
});

test('a wrong password or database name is reported with its SQLSTATE', async () => {
  const stranger = neon(postgres.url('postgres').replace(/:[0-9a-f]+@/, ':wrong@'));
  expect(await failureOf(stranger`select 1`)).toMatchObject({ code: '28P01' });
  expect(await failureOf(sql('nowhere')`select 1`)).toMatchObject({ code: '3D000' });
});

test('an unreachable server is reported with status 500', async () => {
  const nobody = neon(postgres.url('postgres').replace(`:${postgres.port}/`, ':1/'));
  expect((await failureOf(nobody`select 1`)).message).toContain('HTTP status 500');
});

test('a request outside the protocol is rejected with a reason', async () => {
  const post = async (headers: Record<string, string>, body: string): Promise<unknown> => {
    const response = await fetch(bridge.url, { method: 'POST', headers, body });
    return [response.status, await response.json()];
  };
  const headers = { 'neon-connection-string': postgres.url('postgres'), 'neon-raw-text-output': 'true' };
  expect(await post({}, '{}')).toEqual([400, { message: 'missing header Neon-Connection-String' }]);
  expect(await post(headers, '{')).toEqual([400, { message: 'the body is not JSON' }]);
  expect(await post(headers, '{}')).toEqual([400, { message: 'a query is missing its text' }]);
  expect(await post({ ...headers, 'neon-batch-isolation-level': 'Snapshot' }, '{"queries":[]}')).toEqual([
    400,
    { message: 'invalid isolation level' },
  ]);
  expect(await post(headers, '{"query":"select 1 as one"}')).toMatchObject([200, { rows: [{ one: '1' }] }]);
});

test('thirty megabytes are sent and received; more than 64 are rejected', async () => {
  const big = 'x'.repeat(30_000_000);
  expect(await sql()`select ${big}::text as big`).toEqual([{ big }]);
  const failure = await failureOf(sql()`select repeat('x', 1000000) as x from generate_series(1, 80)`);
  expect(failure.message).toContain('HTTP status 507');
  expect(await quantity()).toBe(5);
});

test('a request that was lost has no effect', async () => {
  failOnce({ kind: 'lose-request' });
  const failure = await failureOf(sql()`update stock set quantity = 1`);
  expect(failure.code).toBeUndefined();
  expect(await quantity()).toBe(5);
});

test.each<Fault>([{ kind: 'lose-response' }, { kind: 'cut-response' }])(
  'after $kind the work is done',
  async (chosen) => {
    failOnce(chosen);
    await expect(sql().transaction((tx) => [tx`update stock set quantity = 1`])).rejects.toThrow();
    fault = undefined;
    for (let attempt = 0; (await quantity()) !== 1 && attempt < 100; attempt++) await sleep(10);
    expect(await quantity()).toBe(1);
  },
);

test('an error of a broken proxy has no effect', async () => {
  failOnce({ kind: 'status', status: 503 });
  expect((await failureOf(sql()`update stock set quantity = 1`)).message).toContain('HTTP status 503');
  expect(await quantity()).toBe(5);
});

test('a fault sees the statements, and can delay a call or its response', async () => {
  const seen: string[] = [];
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  fault = async (call) => {
    seen.push(...call.statements.map(({ query }) => query));
    if (!call.statements.some(({ query }) => query.includes('quantity = 3'))) return undefined;
    await gate.promise;
    return { kind: 'hold-response', until: answer.promise };
  };
  const held = sql()`update stock set quantity = 3`.then(() => order.push('answered'));
  expect(await quantity()).toBe(5);
  gate.resolve();
  while ((await quantity()) !== 3) await sleep(5);
  order.push('done');
  answer.resolve();
  await held;
  expect(order).toEqual(['done', 'answered']);
  expect(seen).toContain('update stock set quantity = 3');
});

test('refused connections fail until the bridge accepts them again', async () => {
  await bridge.refuse();
  await failureOf(sql()`update stock set quantity = 1`);
  await bridge.accept();
  expect(await quantity()).toBe(5);
});

test('a caller that disconnects cancels its running statement', async () => {
  const observer = new pg.Client(postgres.url('postgres'));
  await observer.connect();
  const active = `select from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active'`;
  const untilRunning = async (count: number): Promise<void> => {
    while ((await observer.query(active)).rowCount !== count) await sleep(10);
  };
  const patience = new AbortController();
  const call = failureOf(sql().query('select pg_sleep(600)', [], { fetchOptions: { signal: patience.signal } }));
  await untilRunning(1);
  patience.abort();
  await call;
  await untilRunning(0);
  await observer.end();
  expect(await quantity()).toBe(5); // the only connection of the pool was replaced
});

test('when PostgreSQL restarts, calls fail with an error and then work again', async () => {
  const running = failureOf(sql()`select pg_sleep(600)`);
  const { dir, port } = postgres;
  const oldUrl = postgres.url('postgres');
  await postgres.stop();
  await running;
  expect((await failureOf(neon(oldUrl)`select 1`)).message).toContain('HTTP status 500');
  postgres = await startPostgres({ dir, port, durable: false });
  expect(postgres.url('postgres')).toBe(oldUrl);
  expect(await quantity()).toBe(5);
});
