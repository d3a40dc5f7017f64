import { createMiddleware } from 'hono/factory';
import type { AppEnv, Http } from './app-env.ts';
import { isForPages } from './cors.ts';

/**
 * A browser may keep what buyers see, and asks again with its ETag. Nobody keeps what only a tenant sees. An operation's
 * own `Cache-Control` stays.
 */
export const cacheControl = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  if (!c.res.headers.has('Cache-Control')) c.header('Cache-Control', cachingOf(c));
});

function cachingOf(c: Http): string {
  const { operation } = c.var;
  if (!operation || !c.res.headers.has('ETag')) return 'no-store';
  return isForPages(operation) ? 'private, no-cache' : 'no-store';
}
