import { ApiError } from '../base/errors.ts';
import type { Route } from './route.ts';

/** Whether others call it with bodies that they sign. */
export const isWebhook = (route: Pick<Route, 'scope' | 'stream'>): boolean =>
  route.scope === undefined && route.stream !== undefined;

/** A pattern that the paths of a declaration's path match. */
const patternOf = (path: string): RegExp =>
  new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}$`);

/** The methods that are declared for a path, in the form of an `Allow` header; undefined, if nothing is at this path. */
export type Allowed = (path: string) => string | undefined;

export function allowedIn(routes: Route[]): Allowed {
  const patterns = routes.map((route) => ({ pattern: patternOf(route.path), method: route.method.toUpperCase() }));
  return (path) => {
    const methods = new Set(patterns.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method));
    if (methods.size === 0) return undefined;
    if (methods.has('GET')) methods.add('HEAD');
    return [...methods.add('OPTIONS')].sort().join(', ');
  };
}

/** Why no operation answers a request: the wrong method, a slash too many, or nothing is there. */
export function missing(path: string, allowed: Allowed): ApiError {
  const methods = allowed(path);
  if (methods !== undefined) return new ApiError('method_not_allowed', undefined, { headers: { Allow: methods } });
  if (path.endsWith('/') && allowed(path.slice(0, -1)) !== undefined) {
    return new ApiError('not_found', 'There is nothing at this path. Remove the slash at its end.');
  }
  return new ApiError('not_found');
}
