import { NeonDbError } from '@neondatabase/serverless';
import { DrizzleQueryError } from 'drizzle-orm/errors';
import { expect, test, vi } from 'vitest';
import { ApiError } from '../../src/base/errors.ts';
import { describeError, log } from '../../src/base/log.ts';

const secret = 'hunter2';
const neon = (fields: Partial<NeonDbError>) => Object.assign(new NeonDbError(`failed with ${secret}`), fields);
const query = (cause: Error) => new DrizzleQueryError(`select ${secret}`, [secret], cause);

test.each([
  ['of the database', neon({ code: '23505', constraint: 'products_sku_unique', detail: `Key (sku)=(${secret})` })],
  ['of a lost connection', neon({ sourceError: new TypeError(`fetch failed for ${secret}`) })],
  ['wrapped by Drizzle', query(neon({ code: '22P02' }))],
  ['of another kind, wrapped by Drizzle', query(new SyntaxError(`Unexpected token in "${secret}"`))],
  ['of Drizzle alone', query(undefined as unknown as Error)],
  ['of JSON', new SyntaxError(`Unexpected token 'h', "${secret}" is not valid JSON`)],
  ['reported to the client as unavailable', Object.assign(new ApiError('unavailable'), { cause: neon({}) })],
  ['that is not an Error', secret],
])('an error %s is logged without its content', (_, error) => {
  const facts = describeError(error);
  expect(facts.error).toMatch(/^\w+$/);
  expect(JSON.stringify(facts)).not.toContain(secret);
});

test('names and codes are logged, and the message of our own errors', () => {
  expect(describeError(query(neon({ code: '23505', constraint: 'products_sku_unique' })))).toMatchObject({
    error: 'NeonDbError',
    code: '23505',
    constraint: 'products_sku_unique',
  });
  const timeout = Object.assign(new Error('timed out'), { name: 'TimeoutError' });
  expect(describeError(neon({ sourceError: timeout }))).toMatchObject({ error: 'NeonDbError', broken: 'TimeoutError' });
  expect(describeError(new Error('orders.place_order returned no row'))).toMatchObject({
    error: 'Error',
    message: 'orders.place_order returned no row',
  });
});

test('a log entry is one line of JSON', () => {
  const write = vi.spyOn(console, 'log').mockImplementation(() => undefined);
  log({ kind: 'request', id: 'a\nb', tenant: null, outcome: 'ok', durationMs: 1, dbCalls: 0 });
  expect(write).toHaveBeenCalledTimes(1);
  const line = String(write.mock.calls[0]?.[0]);
  write.mockRestore();
  expect(line).not.toContain('\n');
  expect(JSON.parse(line)).toMatchObject({ kind: 'request', id: 'a\nb' });
});
