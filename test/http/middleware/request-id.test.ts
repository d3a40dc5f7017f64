import { expect, test } from 'vitest';
import { requestId } from '../../../src/http/request-id.ts';
import { appWith } from '../../support/middleware.ts';

const { request } = appWith([requestId], async (c) => c.text(c.var.requestId));
const idFor = async (given?: string) => {
  const response = await request('/', given === undefined ? {} : { headers: { 'x-request-id': given } });
  expect(response.headers.get('x-request-id')).toBe(await response.clone().text());
  return response.text();
};

test('a request id of printable ASCII is kept and returned', async () => {
  for (const id of ['a', 'order:17/retry.2', 'x'.repeat(255)]) expect(await idFor(id)).toBe(id);
});

test('a missing or unusable request id is replaced by a UUIDv7', async () => {
  const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-/;
  for (const id of [undefined, '', 'with space', 'x'.repeat(256)]) expect(await idFor(id)).toMatch(uuid);
});
