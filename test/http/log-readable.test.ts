import { expect, test } from 'vitest';
import { readableLine } from '../../dev/platform/log-lines.ts';

const time = new Date(2026, 10, 29, 14, 3, 5).toISOString();
const request = {
  time,
  kind: 'request',
  id: '1',
  tenant: 'default',
  operation: 'placeOrder',
  method: 'POST',
  path: '/v1/orders',
  status: 201,
  outcome: 'ok',
  durationMs: 23,
  dbCalls: 1,
  dbMs: 20,
};
const read = (line: object) => readableLine(JSON.stringify(line));

test('a request is one line with time, method, path, status and duration, and the reason of an error', () => {
  expect(read(request)).toBe('14:03:05 POST /v1/orders 201 23 ms  default');
  const rejected = { ...request, status: 404, outcome: 'not_found', reason: 'There is nothing here.', tenant: null };
  expect(read(rejected)).toBe('14:03:05 POST /v1/orders 404 23 ms  not_found: There is nothing here.');
  const failed = {
    ...request,
    status: 500,
    outcome: 'internal',
    reason: 'Something went wrong.',
    error: 'NeonDbError',
  };
  expect(read(failed)).toBe(
    '14:03:05 POST /v1/orders 500 23 ms  default  internal: Something went wrong. error=NeonDbError',
  );
});

test('wrangler’s lines about requests and queue messages are left out, and its other lines are kept', () => {
  expect(readableLine('[wrangler:info] POST /v1/orders 201 Created (23ms)')).toBeUndefined();
  expect(readableLine('[wrangler:info] QUEUE fusioncommerce-payments 1/1 (345ms)')).toBeUndefined();
  for (const line of ['⎔ Reloading local server...', '{"a":', '{}', '[ERROR] Build failed']) {
    expect(readableLine(line)).toBe(line);
  }
});

test('a message is one line, and a job or a relay run is shown only if it did something or failed', () => {
  const job = {
    time,
    kind: 'job',
    id: 'expire-holds 2026-11-29T14:03:00.000Z',
    tenant: null,
    durationMs: 4,
    dbCalls: 1,
  };
  expect(read({ ...job, outcome: 'ok', expired: 0 })).toBeUndefined();
  expect(read({ ...job, outcome: 'ok', expired: 2 })).toBe('14:03:05 expire-holds ok 4 ms expired=2');
  expect(read({ ...job, outcome: 'failed', error: 'Error' })).toBe('14:03:05 expire-holds failed 4 ms error=Error');
  const relay = { time, kind: 'relay', id: '1', tenant: null, durationMs: 4, dbCalls: 1, sink: 'kafka', delivered: 3 };
  expect(read({ ...relay, outcome: 'ok' })).toBeUndefined();
  expect(read({ ...relay, outcome: 'paused', reason: '503' })).toContain('relay paused 4 ms sink=kafka');
  const message = { ...job, kind: 'message', outcome: 'ok', service: 'payments', topic: 'order.created', messages: 3 };
  expect(read(message)).toBe('14:03:05 payments took order.created ×3 4 ms');
});
