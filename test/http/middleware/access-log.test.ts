import { afterEach, beforeEach, expect, type MockInstance, test, vi } from 'vitest';
import { ApiError, ClientGone } from '../../../src/base/errors.ts';
import { accessLog } from '../../../src/http/access-log.ts';
import { appWith, countingDatabase } from '../../support/middleware.ts';

let printed: MockInstance;
beforeEach(() => {
  printed = vi.spyOn(console, 'log').mockImplementation(() => undefined);
});
afterEach(() => printed.mockRestore());

const lineAfter = async (thrown?: Error) => {
  const db = countingDatabase();
  const { request } = appWith(
    [accessLog],
    async (c) => {
      db.usage.calls = 2;
      db.usage.ms = 7;
      if (thrown) throw thrown;
      return c.text('done', 201);
    },
    { db, operation: { scope: 'things:write' } },
  );
  await request('/v1/things/sk_live_secret?token=secret', { method: 'POST' });
  expect(printed).toHaveBeenCalledTimes(1);
  return JSON.parse(String(printed.mock.calls[0]?.[0]));
};

test('each request is one line with its tenant, operation, outcome and database usage, and no secret', async () => {
  expect(await lineAfter()).toMatchObject({
    ...{ kind: 'request', id: 'request-1', tenant: 'acme', operation: 'doThing', method: 'POST' },
    ...{ path: '/v1/things/…', status: 201, outcome: 'ok', dbCalls: 2, dbMs: 7 },
  });
});

test('a rejected request is logged with its code and reason, and the tenant that the error names', async () => {
  const line = await lineAfter(new ApiError('sku_taken', 'SKU A exists.', { tenant: 'other' }));
  expect(line).toMatchObject({ outcome: 'sku_taken', reason: 'SKU A exists.', status: 409, tenant: 'other' });
  expect(line.error).toBeUndefined();
});

test('an internal error is described, and a disconnected client is not logged as an internal error', async () => {
  expect(await lineAfter(new TypeError('no such thing'))).toMatchObject({
    ...{ outcome: 'internal', status: 500, error: 'TypeError', message: 'no such thing' },
  });
  printed.mockClear();
  expect(await lineAfter(new ClientGone())).toMatchObject({ outcome: 'client_closed', status: 499 });
});
