import { Hono } from 'hono';
import { expect, test } from 'vitest';
import * as z from 'zod';
import type { Context } from '../../../src/context.ts';
import type { AppEnv } from '../../../src/http/app-env.ts';
import { findOperation, operation, routesOf } from '../../../src/http/operation.ts';
import { problemDetails } from '../../../src/http/problem-details.ts';
import { exampleOperation } from '../../support/middleware.ts';

const call: Context['call'] = {};
const things = new Hono<AppEnv>();
things.post(
  '/:id',
  operation({
    ...exampleOperation,
    idempotency: 'required',
    params: z.object({ id: z.string().regex(/^\d+$/).transform(Number) }),
    query: z.strictObject({ dry: z.stringbool().default(false) }),
    body: z.strictObject({ name: z.string().min(1) }),
  }),
  (c) => c.json([c.req.valid('param').id, c.req.valid('query').dry, c.req.valid('json').name, c.var.operation?.id]),
);
const app = new Hono<AppEnv>();
app.onError(problemDetails);
app.use(findOperation);
app.use(async (c, next) => {
  c.set('context', { call } as Context);
  await next();
});
app.route('/v1/things', things);

const post = async (path: string, body: unknown, headers: Record<string, string> = {}) => {
  const type = { 'content-type': 'application/json', 'idempotency-key': 'key-1' };
  const init = { method: 'POST', headers: { ...type, ...headers }, body: JSON.stringify(body) };
  const response = await app.request(path, init);
  const parsed = (await response.json()) as { code?: string; errors?: { pointer: string }[] };
  return { status: response.status, body: parsed };
};

test('a handler gets the validated path, query and body, and every middleware gets the operation', async () => {
  expect(await post('/v1/things/7?dry=true', { name: 'A' })).toEqual({ status: 200, body: [7, true, 'A', 'doThing'] });
});

test('every invalid value is reported with its field or parameter', async () => {
  const pointersOf = async (path: string, body: unknown) =>
    (await post(path, body)).body.errors?.map((error) => error.pointer);
  expect(await pointersOf('/v1/things/7', { name: '', color: 'red' })).toEqual(['/name', '/color']);
  expect(await pointersOf('/v1/things/7?dry=1&dry=2&wet=1', { name: 'A' })).toEqual(['dry', 'wet']);
});

test('path, query, Idempotency-Key and body are checked in this order', async () => {
  const codeOf = async (path: string, key: string) =>
    (await post(path, { name: '' }, { 'idempotency-key': key })).body.code;
  expect(await codeOf('/v1/things/x?wet=1', '')).toBe('not_found');
  expect(await codeOf('/v1/things/7?wet=1', '')).toBe('validation_failed');
  expect(await codeOf('/v1/things/7', '')).toBe('idempotency_key_required');
  expect(await codeOf('/v1/things/7', 'key')).toBe('validation_failed');
});

test('the Idempotency-Key and a hash of the request are passed to the database call', async () => {
  await post('/v1/things/7', { name: 'A' });
  expect(call.idempotencyKey).toBe('key-1');
  const first = call.requestHash;
  await post('/v1/things/7', { name: 'B' });
  expect(first).toMatch(/^[0-9a-f]{64}$/);
  expect(call.requestHash).not.toBe(first);
});

test('the routes of an app are listed from their declarations', () => {
  expect(routesOf(app)).toMatchObject([{ id: 'doThing', method: 'post', path: '/v1/things/{id}' }]);
});
