import type { Context as HonoContext, MiddlewareHandler } from 'hono';
import { ApiError } from '../base/errors.ts';
import type { AppEnv } from './app-env.ts';
import { isForPages, preflightHeaders } from './cors.ts';
import type { Route } from './declaration.ts';
import { problemDetails } from './problem-details.ts';

/** The operations at a path, by the patterns of their routes. */
type FindOperations = (path: string) => Route[];

/** A pattern that the paths of a route match. */
const patternOf = (path: string): RegExp =>
  new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}$`);

/** Finds the operations at a path. `routes` is called once, when the first request needs it. */
export function findByPath(routes: () => Route[]): FindOperations {
  let patterns: { pattern: RegExp; route: Route }[] | undefined;
  return (path) => {
    patterns ??= routes().map((route) => ({ pattern: patternOf(route.path), route }));
    return patterns.filter(({ pattern }) => pattern.test(path)).map(({ route }) => route);
  };
}

/** The value of `Allow` for the operations of a path. */
function allowHeader(found: Route[]): string {
  const methods = new Set(found.map(({ method }) => method.toUpperCase()));
  if (methods.has('GET')) methods.add('HEAD');
  return [...methods.add('OPTIONS')].sort().join(', ');
}

/** Responds to OPTIONS with the path's allowed methods, and to a page's preflight where pages may call. */
export const respondToOptions =
  (find: FindOperations): MiddlewareHandler<AppEnv> =>
  async (c, next) => {
    if (c.req.method !== 'OPTIONS') return next();
    const found = find(new URL(c.req.url).pathname);
    if (found.length === 0) return next();
    const cors = found.some(isForPages) ? preflightHeaders : {};
    return c.body(null, 204, { Allow: allowHeader(found), ...cors });
  };

/** The error for a request that no operation handles: a wrong method, a slash at the end, or an unknown path. */
function errorAt(path: string, find: FindOperations): ApiError {
  const found = find(path);
  if (found.length > 0)
    return new ApiError('method_not_allowed', undefined, { headers: { Allow: allowHeader(found) } });
  if (path.endsWith('/') && find(path.slice(0, -1)).length > 0) {
    return new ApiError('not_found', 'There is nothing at this path. Remove the slash at its end.');
  }
  return new ApiError('not_found');
}

/** The response where no route matches. */
export const notFound = (find: FindOperations) => (c: HonoContext<AppEnv>) => {
  c.error = errorAt(new URL(c.req.url).pathname, find);
  return problemDetails(c.error, c);
};
