import type { Code } from '../base/errors.ts';
import { isPublishable } from './credentials.ts';
import type { Route } from './route.ts';

/** What a publishable key may do, and so what pages of other origins may: read what buyers see. */
export const pageScopes = ['catalog:read', 'campaigns:read'];

/** Whether a page may ask for it from the buyer's browser, with a publishable key. */
export const isForPages = (route: Route): boolean => route.scope !== undefined && pageScopes.includes(route.scope);

/** The answer to a browser that asks whether it may ask. It sees no key, so the key's origins are looked at later. */
export const preflight = (): Response =>
  new Response(null, {
    status: 204,
    headers: {
      'Access-Control-Allow-Origin': '*',
      'Access-Control-Allow-Methods': 'GET, HEAD, POST',
      'Access-Control-Allow-Headers':
        'Authorization, Cache-Control, If-None-Match, Last-Event-ID, X-Request-Id, traceparent, tracestate',
      'Access-Control-Max-Age': '7200',
    },
  });

const exposed =
  'ETag, Idempotent-Replayed, Link, Location, RateLimit, RateLimit-Policy, Retry-After, Server-Timing, X-Request-Id';

/** The page that asks, for the database to hold against the key's origins. What is no origin is that of nobody. */
export function originOf(route: Route, header: string | undefined): string | undefined {
  if (header === undefined || !isForPages(route)) return undefined;
  return /^[\x21-\x7e]{1,300}$/.test(header) ? header : 'null';
}

/**
 * Lets the page that asked read the answer: one to a publishable key, whose origins the database has checked by then, or
 * to no key at all. Never one to a secret key: that has no place in a page.
 */
export function shareWithPage(
  headers: Headers,
  route: Route | undefined,
  asked: { origin: string | undefined; authorization: string | undefined },
  refused: Code | undefined,
): void {
  if (route?.method === 'get' && route.scope === undefined) headers.set('Access-Control-Allow-Origin', '*');
  if (!route || !isForPages(route)) return;
  headers.append('Vary', 'Origin');
  const { origin, authorization } = asked;
  if (origin === undefined || refused === 'forbidden') return;
  if (authorization !== undefined && !isPublishable(authorization)) return;
  headers.set('Access-Control-Allow-Origin', origin);
  headers.set('Access-Control-Expose-Headers', exposed);
}
