import { expect, test } from 'vitest';
import { serverTiming } from '../../../src/http/server-timing.ts';
import { appWith, countingDatabase } from '../../support/middleware.ts';

const timingAfter = async (calls: number) => {
  const db = countingDatabase();
  const handler = async (c: { text: (text: string) => Response }) => {
    Object.assign(db.usage, { calls, ms: 12 });
    return c.text('done');
  };
  const { request } = appWith([serverTiming], handler, { db, operation: {} });
  return (await request('/')).headers.get('server-timing');
};

test('a response reports the number and the duration of its database calls', async () => {
  expect(await timingAfter(3)).toBe('db;desc="3 calls";dur=12');
});

test('a response without a database call has no Server-Timing', async () => {
  expect(await timingAfter(0)).toBeNull();
});
