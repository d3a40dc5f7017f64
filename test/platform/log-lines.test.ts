import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ChooseFault } from '../../dev/kafka/faults.ts';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';

let store: Store;
let fault: ChooseFault = () => undefined;
beforeAll(async () => {
  store = await startStore({ kafkaFault: (request) => fault(request) });
});
afterAll(() => store.close());

type Line = Record<string, unknown>;

const since = (count: number) => store.logs().slice(count);
const lineOf = async (count: number, matches: (line: Line) => boolean): Promise<Line> => {
  await until(() => since(count).some(matches));
  return since(count).find(matches) ?? {};
};

const common = {
  time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
  id: expect.any(String),
  outcome: 'ok',
  durationMs: expect.any(Number),
  dbCalls: expect.any(Number),
};

test('each request, relay, consumed message and cron job writes one log line', async () => {
  await addProduct(store, 'LOGGED', 5);
  await store.settled();
  const count = store.logs().length;
  const id = `request ${randomUUID()}`.replace(' ', '-');
  const headers = { 'x-request-id': id, prefer: 'respond-async' };
  const { body } = await store.send('POST', '/v1/orders', oneLine('LOGGED'), { headers });
  await store.settled();

  const requests = since(count).filter((line) => line.kind === 'request' && line.id === id);
  expect(requests).toEqual([
    {
      ...common,
      kind: 'request',
      id,
      tenant: 'default',
      operation: 'placeOrder',
      method: 'POST',
      path: '/v1/orders',
      status: 202,
      dbCalls: 1,
      dbMs: expect.any(Number),
    },
  ]);
  const event = (await store.send('GET', `/v1/events?key=${body.id}&topic=order.created`)).body.data[0];
  const message = await lineOf(count, (line) => line.kind === 'message' && line.topic === 'order.created');
  expect(message).toEqual({
    ...common,
    kind: 'message',
    id: event.id,
    tenant: 'default',
    service: 'inventory',
    topic: 'order.created',
    messages: 1,
    dbCalls: 1,
  });
  for (const sink of ['kafka', 'queue']) {
    const relay = await lineOf(count, (line) => line.kind === 'relay' && line.sink === sink);
    expect(relay).toEqual({ ...common, kind: 'relay', tenant: null, sink, delivered: expect.any(Number), failed: 0 });
  }
  const before = store.logs().length;
  await store.cron('* * * * *', new Date('2026-11-22T12:00:00Z'));
  const jobs = since(before).filter((line) => line.kind === 'job');
  expect(jobs.map((job) => job.id)).toEqual(
    expect.arrayContaining(['expire-holds 2026-11-22T12:00:00.000Z', 'relay 2026-11-22T12:00:00.000Z']),
  );
  for (const job of jobs) expect(job).toMatchObject({ ...common, tenant: null });
});

test('a failure is logged with names and codes, and no line contains SQL, row values or secrets', async () => {
  await addProduct(store, 'TELLING', 5);
  await store.settled();
  const count = store.logs().length;
  fault = () => ({ reject: { status: 503, error: 'Kafka says why' } });
  await store.send('POST', '/v1/orders', oneLine('TELLING', 1, { customerId: 'a very private customer' }));
  const paused = await lineOf(count, (line) => line.outcome === 'paused');
  expect(paused).toMatchObject({ kind: 'relay', sink: 'kafka', reason: '503: Kafka says why', delivered: 0 });
  await store.database.query('alter table orders.orders rename to hidden');
  const opaque = await store.send(
    'POST',
    '/v1/orders',
    oneLine('TELLING', 1, { customerId: 'a very private customer' }),
  );
  await store.database.query('alter table orders.hidden rename to orders');
  expect([opaque.status, opaque.body.code]).toEqual([500, 'internal']);
  const failed = await lineOf(count, (line) => line.outcome === 'internal');
  expect(failed).toMatchObject({
    kind: 'request',
    status: 500,
    error: 'NeonDbError',
    code: expect.stringMatching(/^42/),
  });
  await store.bridge.refuse();
  await store.send('POST', '/v1/orders', oneLine('TELLING'));
  await store.bridge.accept();
  await lineOf(count, (line) => line.kind === 'request' && line.outcome === 'unavailable');
  fault = () => undefined;
  const all = JSON.stringify(since(count));
  for (const secret of ['private customer', 'insert into', 'select ', store.key, 'Bearer', 'worker:', 'TELLING']) {
    expect(all).not.toContain(secret);
  }
});

test('a rejected request is logged with tenant, path and reason, without its values or its query', async () => {
  const count = store.logs().length;
  const missing = `/v1/orders/${randomUUID()}`;
  const reader = await store.database.key({ scopes: ['orders:read'] });
  const revoked = await store.database.key({ tenant: 'acme', revokedAt: new Date(0) });
  await store.send('GET', missing);
  await store.send('GET', `${missing}?token=secret-token`);
  await store.send('POST', `${missing}/cancel`);
  await store.send('POST', '/v1/orders', { customerId: 'a', items: [{ sku: 'X', quantity: -7654321 }], 'made up': 1 });
  await store.send('POST', '/v1/orders', oneLine('X'), { key: reader });
  await store.send('GET', missing, undefined, { key: revoked });
  await store.send('GET', `/v1/${store.key}/ada@example.com/x`);
  await until(() => since(count).filter((line) => line.kind === 'request').length === 7);
  const rejected = since(count).filter((line) => line.kind === 'request');
  expect(rejected).toMatchObject([
    { path: missing, outcome: 'not_found', tenant: 'default', reason: expect.any(String) },
    { path: missing, outcome: 'validation_failed', tenant: 'default', reason: 'Not valid: an unknown parameter' },
    { path: `${missing}/cancel`, outcome: 'not_found', tenant: 'default' },
    {
      path: '/v1/orders',
      outcome: 'validation_failed',
      tenant: 'default',
      reason: expect.stringContaining('/quantity'),
    },
    { path: '/v1/orders', outcome: 'forbidden', tenant: 'default', reason: expect.stringContaining('orders:write') },
    { path: missing, outcome: 'unauthenticated', tenant: 'acme' },
    { path: '/v1/…/…/x', outcome: 'not_found', tenant: null },
  ]);
  const all = JSON.stringify(rejected);
  for (const value of ['secret-token', 'made up', '7654321', store.key, 'example.com'])
    expect(all).not.toContain(value);
});
