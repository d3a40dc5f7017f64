import { expect, test } from 'vitest';
import { cacheControl } from '../../../src/http/cache-control.ts';
import { appWith } from '../../support/middleware.ts';

const cachingOf = async (scope: string | undefined, headers: Record<string, string>) => {
  const operation = scope === undefined ? {} : { scope };
  const { request } = appWith([cacheControl], async (c) => c.text('done', 200, headers), { operation });
  return (await request('/')).headers.get('cache-control');
};

test('a browser may keep what buyers see, and must ask again with its ETag', async () => {
  expect(await cachingOf('catalog:read', { ETag: '"1"' })).toBe('private, no-cache');
});

test('nobody keeps what only a tenant sees, or a response without an ETag', async () => {
  expect(await cachingOf('orders:read', { ETag: '"1"' })).toBe('no-store');
  expect(await cachingOf('catalog:read', {})).toBe('no-store');
  expect(await cachingOf(undefined, {})).toBe('no-store');
});

test("an operation's own Cache-Control stays", async () => {
  expect(await cachingOf('orders:read', { 'Cache-Control': 'private' })).toBe('private');
});
