import { createMiddleware } from 'hono/factory';
import { ApiError } from '../base/errors.ts';
import type { AppEnv, HttpContext } from './app-env.ts';
import { isSession, shopperOf } from './credentials.ts';
import type { Operation } from './declaration.ts';
import { limitKey, type Outcome, type Report, takeTrial } from './limits.ts';

/** The request's outcome for its limit. A database call checks the key first, so any later error means a good key. */
function outcomeOf(c: HttpContext): Outcome {
  const { db } = c.get('context');
  const { error } = c;
  if (c.get('isKeyChecked')) return 'good';
  const isKeyless = c.get('operation')?.scope === undefined;
  if (isKeyless && c.get('isWrongGuess')) return 'bad';
  if (!error) return isKeyless || db.usage.calls > 0 ? 'good' : 'undecided';
  if (!(error instanceof ApiError)) return 'undecided';
  if (error.code === 'unauthenticated' || error.code === 'invalid_signature') return 'bad';
  return db.usage.calls > 0 && error.code !== 'unavailable' && error.code !== 'internal' ? 'good' : 'undecided';
}

/**
 * Whether the database has accepted the key, and what the request states beside it (an ID token, a discount code) is
 * not valid.
 */
const isAttemptBad = (c: HttpContext): boolean =>
  c.get('isWrongGuess') || (c.get('isKeyChecked') && c.error instanceof ApiError && c.error.code === 'unauthenticated');

/** Starts to count a request. Returns a function that reports its outcome. */
async function startCounting(c: HttpContext, operation: Operation): Promise<Report> {
  const address = c.req.header('cf-connecting-ip');
  if (operation.scope !== undefined) {
    const reportAttempt = operation.counted === undefined ? undefined : takeTrial(c.env, address, true);
    const authorization = c.req.header('authorization');
    const { keyHash = '', cartHash } = c.get('context').call;
    const shopper = cartHash ?? (isSession(authorization) ? keyHash : undefined);
    const isBrowser = shopperOf(authorization) !== undefined;
    const { isKnown, report } = await limitKey(c.env, { keyHash, address, isBrowser, shopper });
    c.set('isKeyKnown', isKnown);
    if (!reportAttempt) return report;
    return async (outcome) => {
      await Promise.all([report(outcome), reportAttempt(isAttemptBad(c) ? 'bad' : 'good')]);
    };
  }
  if (operation.counted === undefined) return () => undefined;
  const report = takeTrial(c.env, address, operation.counted === 'rejected');
  return (outcome) => report(operation.counted === 'all' ? 'bad' : outcome);
}

/**
 * Limits the requests of a key, and the rejected ones of an address, before they cost anything (`limits.ts`).
 * @throws ApiError rate_limited, with `Retry-After`; unauthenticated, for a key that was rejected a moment ago
 */
export const rateLimit = createMiddleware<AppEnv>(async (c, next) => {
  const operation = c.get('operation');
  if (!operation) return next();
  const report = await startCounting(c, operation);
  await next();
  const counting = report(outcomeOf(c));
  if (counting) c.executionCtx.waitUntil(counting);
});
