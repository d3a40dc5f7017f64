import type { MiddlewareHandler } from 'hono';
import { createMiddleware } from 'hono/factory';
import { matchedRoutes } from 'hono/route';
import type { RouterRoute } from 'hono/types';
import type * as z from 'zod';
import type { AppEnv, HttpContext } from './app-env.ts';
import type { Operation, Route } from './declaration.ts';
import { addIdempotencyKey, readIdempotencyKey } from './idempotency.ts';
import { validBody, validParams, validQuery } from './validation.ts';

const operations = new WeakMap<object, Operation>();

type Validated<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType> = {
  in: object;
  out: { param: z.output<P>; query: z.output<Q>; json: z.output<B> };
};

/**
 * Declares the operation of a route and validates its requests: path, query, Idempotency-Key, then body. The handler
 * reads the results with `c.req.valid('param' | 'query' | 'json')`. Hono's validators stop at the first fault of a
 * part; this one reports every fault and where it is. The OpenAPI document is made from the same declaration.
 * @throws ApiError not_found, validation_failed, idempotency_key_required, malformed_json, unsupported_media_type,
 * body_too_large
 */
export function operation<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType>(
  declared: Operation<P, Q, B>,
): MiddlewareHandler<AppEnv, string, Validated<P, Q, B>> {
  const middleware = createMiddleware<AppEnv, string, Validated<P, Q, B>>(async (c, next) => {
    const { call } = c.get('context');
    if (declared.takesLiveToken && call.liveToken !== undefined) call.campaign = c.req.param('id') ?? '';
    if (declared.params) c.req.addValidatedData('param', validParams(declared.params, c.req.param()));
    c.req.addValidatedData('query', validQuery(declared, c.req.url));
    const key = readIdempotencyKey(declared.idempotency, c.req.header('idempotency-key'));
    const body = declared.body && (await validBody(declared.body, c.req.raw));
    if (body) c.req.addValidatedData('json', body);
    if (key !== undefined) addIdempotencyKey(call, key, c.req.method, c.req.path, body);
    await next();
  });
  operations.set(middleware, declared as unknown as Operation);
  return middleware;
}

/** Finds the declared operation for a request. Runs before the middleware that depend on it. */
export const findOperation = createMiddleware<AppEnv>(async (c, next) => {
  c.set('operation', operationOf(c));
  await next();
});

function operationOf(c: HttpContext): Operation | undefined {
  for (const { handler } of matchedRoutes(c)) {
    const found = operations.get(handler);
    if (found) return found;
  }
  return undefined;
}

/** Every declared operation of an app, in the order in which its routes were added. */
export function routesOf(app: { routes: RouterRoute[] }): Route[] {
  return app.routes.flatMap(({ method, path, handler }) => {
    const declared = operations.get(handler);
    const openApiPath = path.replaceAll(/:(\w+)/g, '{$1}');
    return declared ? [{ ...declared, method: method.toLowerCase() as Route['method'], path: openApiPath }] : [];
  });
}
