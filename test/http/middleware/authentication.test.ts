import { expect, test } from 'vitest';
import { ApiError } from '../../../src/base/errors.ts';
import { authentication, readCredentials } from '../../../src/http/authentication.ts';
import { appWith, countingDatabase } from '../../support/middleware.ts';

const authorization = 'Bearer sk_dev_default';
const appFor = (scope: string, thrown?: Error, authenticate?: () => Promise<void>) => {
  const db = countingDatabase(authenticate);
  const handler = async (c: { text: (text: string) => Response }) => {
    if (thrown) throw thrown;
    return c.text('done');
  };
  return appWith([readCredentials, authentication], handler, { db, operation: { scope } });
};

test('a request without a key, or with a key of another form, never reaches the database', async () => {
  const { request, db } = appFor('orders:write');
  for (const headers of [{}, { authorization: 'Basic abc' }, { authorization: 'Bearer token' }]) {
    expect((await request('/', { method: 'POST', headers })).status).toBe(401);
  }
  expect(db.authenticate).not.toHaveBeenCalled();
});

test('a request with a valid key makes no extra call: the operation’s own call checks the key', async () => {
  const { request, db } = appFor('orders:write');
  expect((await request('/', { method: 'POST', headers: { authorization } })).status).toBe(200);
  expect(db.authenticate).not.toHaveBeenCalled();
});

test('an invalid key is reported before an invalid request', async () => {
  const invalid = new ApiError('validation_failed');
  const statusFor = async (authenticate?: () => Promise<void>) =>
    (await appFor('orders:write', invalid, authenticate).request('/', { headers: { authorization } })).status;
  expect(await statusFor()).toBe(422);
  expect(
    await statusFor(async () => {
      throw new ApiError('unauthenticated');
    }),
  ).toBe(401);
});

test('the error for a publishable key names the key that a write needs', async () => {
  const { request } = appFor('orders:write', undefined, async () => {
    throw new ApiError('forbidden');
  });
  const response = await request('/', { method: 'POST', headers: { authorization: 'Bearer pk_dev_default' } });
  const { detail } = (await response.json()) as { detail: string };
  expect([response.status, detail]).toEqual([403, 'Publishable keys change carts only: use a secret key.']);
});
