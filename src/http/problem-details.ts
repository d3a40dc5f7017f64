import type { ErrorHandler } from 'hono';
import { ClientGone } from '../base/errors.ts';
import type { AppEnv } from './app-env.ts';
import { errorOf, problemOf } from './problem.ts';

/** Turns every error into an RFC 9457 problem document with the headers that belong to its code. */
export const problemDetails: ErrorHandler<AppEnv> = (thrown, c) => {
  // Hono merges the headers of an earlier response into a new one. An error's response starts without them.
  if (c.finalized) c.res = undefined;
  // The client has gone, and nobody reads this. The status is nginx's, for the log.
  if (thrown instanceof ClientGone) return new Response(null, { status: 499 });
  const error = errorOf(thrown);
  const problem = problemOf(error, new URL(c.req.url).pathname, c.get('requestId'));
  const headers = new Headers({ 'Content-Type': 'application/problem+json' });
  if (error.code === 'unauthenticated') headers.set('WWW-Authenticate', 'Bearer');
  if (error.code === 'unavailable' || error.code === 'idempotency_in_progress') headers.set('Retry-After', '1');
  if (error.replayed) headers.set('Idempotent-Replayed', 'true');
  for (const [name, value] of Object.entries(error.headers)) headers.set(name, value);
  return new Response(JSON.stringify(problem), { status: problem.status, headers });
};
