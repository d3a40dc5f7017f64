import { createMiddleware } from 'hono/factory';
import { newId } from '../base/ids.ts';
import type { AppEnv } from './app-env.ts';

const printableAscii = /^[\x21-\x7e]{1,255}$/;

/**
 * Takes the client's `X-Request-Id`, or makes one, and returns it with the response. Hono's own middleware replaces ids
 * that have characters such as `:` or `/`; the contract keeps any printable ASCII.
 */
export const requestId = createMiddleware<AppEnv>(async (c, next) => {
  const given = c.req.header('x-request-id');
  c.set('requestId', given !== undefined && printableAscii.test(given) ? given : newId(new Date()));
  await next();
  c.res.headers.set('X-Request-Id', c.get('requestId'));
});
