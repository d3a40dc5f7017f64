import { Hono } from 'hono';
import { expect, test } from 'vitest';
import type { AppEnv } from '../../../src/http/app-env.ts';
import type { Route } from '../../../src/http/declaration.ts';
import { findByPath, notFound, respondToOptions } from '../../../src/http/not-found.ts';
import { exampleOperation } from '../../support/middleware.ts';

const routes: Route[] = [
  { ...exampleOperation, method: 'get', path: '/v1/things/{id}', scope: 'catalog:read' },
  { ...exampleOperation, method: 'delete', path: '/v1/things/{id}', scope: 'catalog:write' },
  { ...exampleOperation, method: 'post', path: '/v1/orders', scope: 'orders:write' },
];
const find = findByPath(() => routes);
const app = new Hono<AppEnv>();
app.use(respondToOptions(find));
app.notFound(notFound(find));
const send = async (method: string, path: string) => {
  const response = await app.request(path, { method });
  const body = await response.text();
  return { status: response.status, allow: response.headers.get('allow'), headers: response.headers, body };
};

test('a method that a path does not have is 405 with the methods that it has', async () => {
  const { status, allow, body } = await send('PUT', '/v1/things/7');
  expect([status, allow]).toEqual([405, 'DELETE, GET, HEAD, OPTIONS']);
  expect(JSON.parse(body).code).toBe('method_not_allowed');
});

test('an unknown path is 404, and the error explains a trailing slash', async () => {
  expect(JSON.parse((await send('GET', '/v1/nothing')).body).code).toBe('not_found');
  expect(JSON.parse((await send('GET', '/v1/things/7/')).body).detail).toContain('slash at its end');
});

test('OPTIONS lists the methods of a path, and allows pages to call what a publishable key may read', async () => {
  expect(await send('OPTIONS', '/v1/orders')).toMatchObject({ status: 204, allow: 'OPTIONS, POST' });
  const preflight = await send('OPTIONS', '/v1/things/7');
  expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([204, '*']);
  expect((await send('OPTIONS', '/v1/nothing')).status).toBe(404);
});
