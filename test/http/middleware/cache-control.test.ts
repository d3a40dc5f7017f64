import { expect, test } from 'vitest';
import { cacheControl } from '../../../src/http/cache-control.ts';
import { appWith } from '../../support/middleware.ts';

const cachingOf = async (scope: string | undefined, headers: Record<string, string>) => {
  const operation = scope === undefined ? {} : { scope };
  const { request } = appWith([cacheControl], async (c) => c.text('done', 200, headers), { operation });
  return (await request('/')).headers.get('cache-control');
};

test('a browser may cache what a publishable key may read, and must revalidate it with its ETag', async () => {
  expect(await cachingOf('catalog:read', { ETag: '"1"' })).toBe('private, no-cache');
});

test('tenant data and responses without an ETag are not cached', async () => {
  expect(await cachingOf('orders:read', { ETag: '"1"' })).toBe('no-store');
  expect(await cachingOf('catalog:read', {})).toBe('no-store');
  expect(await cachingOf(undefined, {})).toBe('no-store');
});

test('the Cache-Control of an operation is not overwritten', async () => {
  expect(await cachingOf('orders:read', { 'Cache-Control': 'private' })).toBe('private');
});
