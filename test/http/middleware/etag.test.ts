import { expect, test } from 'vitest';
import { showResource, versionsIn } from '../../../src/http/etag.ts';
import { appWith } from '../../support/middleware.ts';

const { request } = appWith([], (c) => showResource(c, { id: 1 }, { version: 3 }));

test('a resource has an ETag that begins with its version', async () => {
  expect((await request('/')).headers.get('etag')).toMatch(/^"3-[0-9a-f]{24}"$/);
});

test('a read that names the ETag gets 304 without a body, and a write gets its body', async () => {
  const etag = (await request('/')).headers.get('etag') ?? '';
  const headers = { 'if-none-match': `"other", W/${etag}` };
  const read = await request('/', { headers });
  expect([read.status, await read.text()]).toEqual([304, '']);
  expect((await request('/', { method: 'POST', headers })).status).toBe(200);
});

test('If-Match allows the versions of strong ETags, every version by *, and none by other tags', () => {
  const hash = '0'.repeat(24);
  expect(versionsIn(undefined)).toBeUndefined();
  expect(versionsIn('*')).toBeUndefined();
  expect(versionsIn(`"3-${hash}", "4-${hash}"`)).toEqual([3, 4]);
  expect(versionsIn(`W/"3-${hash}"`)).toEqual([]);
});
