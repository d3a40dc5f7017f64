import { createMiddleware } from 'hono/factory';
import { publishableScopes } from '../base/api-keys.ts';
import { ApiError } from '../base/errors.ts';
import type { AppEnv, HttpContext } from './app-env.ts';
import { shopperOf } from './credentials.ts';
import type { Operation } from './declaration.ts';

/** The reason that `platform.identify` gives. The calling page may read any other `forbidden`. */
const originRefused = 'This key does not allow requests from this origin.';

/** The scopes of publishable keys, and therefore of pages of other origins: they read what buyers may see. */
export const pageScopes = publishableScopes;

/** Whether a page may call the operation from the buyer's browser, with a publishable key or a customer's session. */
export const isForPages = ({ scope, shoppers }: Pick<Operation, 'scope' | 'shoppers'>): boolean =>
  scope !== undefined && (pageScopes.includes(scope) || shoppers !== undefined);

/**
 * The headers that answer a preflight request. A preflight has no key, so the key's origins are checked in the request
 * itself.
 */
export const preflightHeaders = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Methods': 'GET, HEAD, POST, PUT, PATCH, DELETE',
  'Access-Control-Allow-Headers':
    'Authorization, Cache-Control, Cart-Token, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, ' +
    'X-Request-Id, traceparent, tracestate',
  'Access-Control-Max-Age': '7200',
};

const exposedHeaders =
  'ETag, Idempotent-Replayed, Link, Location, RateLimit, RateLimit-Policy, Retry-After, Server-Timing, X-Request-Id';

/** The calling page's origin, for the database to compare with the key's origins. An invalid one becomes `null`. */
export function originOf(operation: Operation, header: string | undefined): string | undefined {
  if (header === undefined || !isForPages(operation)) return undefined;
  return /^[\x21-\x7e]{1,300}$/.test(header) ? header : 'null';
}

/**
 * Whether the calling page may read the response: its request had no key, a customer's session, or a publishable key
 * that allows the page.
 */
function mayRead(c: HttpContext): boolean {
  if (c.error instanceof ApiError && c.error.code === 'forbidden') {
    if (!c.get('operation')?.shoppers || c.error.detail === originRefused) return false;
  }
  const authorization = c.req.header('authorization');
  return authorization === undefined || shopperOf(authorization) !== undefined;
}

/**
 * Lets pages of other origins read the responses that are meant for them. No page can read a response to a secret key,
 * which must not be used in a page. Hono's CORS middleware decides before the operation runs; this one needs its
 * outcome.
 */
export const cors = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  const operation = c.get('operation');
  if (!operation) return;
  const isRead = c.req.method === 'GET' || c.req.method === 'HEAD';
  if (isRead && operation.scope === undefined) c.res.headers.set('Access-Control-Allow-Origin', '*');
  if (!isForPages(operation)) return;
  c.res.headers.append('Vary', 'Origin');
  const origin = c.req.header('origin');
  if (origin === undefined || !mayRead(c)) return;
  c.res.headers.set('Access-Control-Allow-Origin', origin);
  c.res.headers.set('Access-Control-Expose-Headers', exposedHeaders);
});
