import { expect, test } from 'vitest';
import { ApiError } from '../../../src/base/errors.ts';
import { addressLimit } from '../../../src/http/limits.ts';
import { rateLimit } from '../../../src/http/rate-limit.ts';
import { appWith } from '../../support/middleware.ts';

const env = { ADDRESS_LIMIT: { limit: async () => ({ success: true }) } };
const from = (address: string) => ({ headers: { 'cf-connecting-ip': address } });

test('rejected webhooks of an address are limited, and accepted ones are not', async () => {
  const rejecting = appWith(
    [rateLimit],
    async () => {
      throw new ApiError('invalid_signature');
    },
    { operation: { counted: 'rejected' } },
  );
  const accepting = appWith([rateLimit], undefined, { operation: { counted: 'rejected' } });
  for (let sent = 0; sent < 2 * addressLimit.requests; sent++) {
    expect((await accepting.request('/', from('192.0.2.1'), env)).status).toBe(200);
  }
  const statuses: number[] = [];
  for (let sent = 0; sent < 2 * addressLimit.requests; sent++) {
    statuses.push((await rejecting.request('/', from('192.0.2.2'), env)).status);
  }
  expect(statuses[0]).toBe(400);
  expect(statuses.at(-1)).toBe(429);
});

test('an operation without a limit is never limited', async () => {
  const { request } = appWith([rateLimit], undefined, { operation: {} });
  for (let sent = 0; sent < 2 * addressLimit.requests; sent++) {
    expect((await request('/', from('192.0.2.3'), env)).status).toBe(200);
  }
});
