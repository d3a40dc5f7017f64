import { isForPages } from './cors.ts';
import type { Route } from './route.ts';

const nothing = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/**
 * What tells a browser to make nothing more of an answer than it is. An operation's own Content-Security-Policy and
 * Cache-Control stand. HSTS goes over TLS alone (RFC 6797, 7.2), and says nothing of the operator's other hosts.
 */
export function secure(headers: Headers, route: Route | undefined, url: string): void {
  headers.set('X-Content-Type-Options', 'nosniff');
  headers.set('Referrer-Policy', 'no-referrer');
  if (!headers.has('Content-Security-Policy')) headers.set('Content-Security-Policy', nothing);
  if (url.startsWith('https:')) headers.set('Strict-Transport-Security', 'max-age=31536000');
  if (!headers.has('Cache-Control')) headers.set('Cache-Control', cachingOf(headers, route));
}

/** What buyers see may be kept by their browser, to be asked for again by its ETag; what a tenant sees by nobody. */
function cachingOf(headers: Headers, route: Route | undefined): string {
  if (!route || !headers.has('ETag')) return 'no-store';
  if (route.scope === undefined) return 'no-cache';
  return isForPages(route) ? 'private, no-cache' : 'no-store';
}
