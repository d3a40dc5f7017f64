import { createMiddleware } from 'hono/factory';
import type { AppEnv, HttpContext } from './app-env.ts';
import { pageScopes } from './cors.ts';

/**
 * Sets `Cache-Control`. A browser may store what every buyer can see, and revalidates it by ETag. No other response may
 * be stored, least of all a shopper's own rows. A header that the operation has set stays.
 */
export const cacheControl = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  if (!c.res.headers.has('Cache-Control')) c.res.headers.set('Cache-Control', cachingOf(c));
});

function cachingOf(c: HttpContext): string {
  const operation = c.get('operation');
  if (!operation || !c.res.headers.has('ETag')) return 'no-store';
  return pageScopes.includes(operation.scope ?? '') ? 'private, no-cache' : 'no-store';
}
