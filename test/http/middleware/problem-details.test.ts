import { expect, test } from 'vitest';
import { ApiError, ClientGone } from '../../../src/base/errors.ts';
import { appWith } from '../../support/middleware.ts';

const responseTo = (thrown: Error) =>
  appWith([], async () => {
    throw thrown;
  }).request('/v1/things?q=1');

test('an error becomes a problem document with its status, code and request id', async () => {
  const response = await responseTo(new ApiError('sku_taken', 'SKU A exists.', { members: { sku: 'A' } }));
  expect([response.status, response.headers.get('content-type')]).toEqual([409, 'application/problem+json']);
  expect(await response.json()).toEqual({
    ...{ type: '/docs#sku_taken', title: 'SKU taken', status: 409, detail: 'SKU A exists.', code: 'sku_taken' },
    ...{ instance: '/v1/things', requestId: 'request-1', sku: 'A' },
  });
});

test('an error has the headers that belong to its code', async () => {
  const headersOf = async (error: ApiError) => Object.fromEntries((await responseTo(error)).headers);
  expect(await headersOf(new ApiError('unauthenticated'))).toMatchObject({ 'www-authenticate': 'Bearer' });
  expect(await headersOf(new ApiError('unavailable'))).toMatchObject({ 'retry-after': '1' });
  const replayed = new ApiError('conflict', undefined, { replayed: true, headers: { 'x-more': 'yes' } });
  expect(await headersOf(replayed)).toMatchObject({ 'idempotent-replayed': 'true', 'x-more': 'yes' });
});

test('an unknown error is an opaque 500, and a value that PostgreSQL cannot store is a validation error', async () => {
  const opaque = await responseTo(new Error('select secret from keys'));
  expect(opaque.status).toBe(500);
  expect(await opaque.text()).not.toContain('secret');
  expect((await responseTo(Object.assign(new Error('bad'), { code: '22021' }))).status).toBe(422);
});

test('an error response has no header of the response that it replaces', async () => {
  const { request } = appWith(
    [
      async (c, next) => {
        await next();
        if (c.error) throw new ApiError('forbidden');
      },
    ],
    async () => {
      throw new ApiError('rate_limited', undefined, { headers: { 'Retry-After': '9' } });
    },
  );
  const response = await request('/');
  expect([response.status, response.headers.get('retry-after')]).toEqual([403, null]);
});

test('a disconnected client gets no document', async () => {
  const response = await responseTo(new ClientGone());
  expect([response.status, await response.text()]).toEqual([499, '']);
});
