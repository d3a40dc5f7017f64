import { createMiddleware } from 'hono/factory';
import { cellAttribute, defaultCell } from '../base/cells.ts';
import { ApiError, ClientGone } from '../base/errors.ts';
import { describeError, log, pathForLog } from '../base/log.ts';
import type { AppEnv, HttpContext } from './app-env.ts';
import { errorOf, reasonOf } from './problem.ts';

/** The log fields for a failed request. Only our own errors are described in detail. */
function describeFailure(thrown: Error): Record<string, unknown> & { outcome: string } {
  const error = errorOf(thrown);
  const line = { outcome: error.code as string, reason: reasonOf(error) };
  if (thrown instanceof ClientGone) return { ...line, outcome: 'client_closed' };
  if (thrown === error && error.code !== 'internal' && error.code !== 'unavailable') return line;
  // PostgreSQL rejected a value that the request's schema had accepted. `gap` marks the missing validation.
  return { ...line, ...describeError(thrown), ...(error.code === 'validation_failed' ? { gap: 'validation' } : {}) };
}

function tenantOf(c: HttpContext): string | null {
  if (c.error instanceof ApiError && c.error.tenant !== undefined) return c.error.tenant;
  return c.get('tenant') ?? c.get('context')?.db.tenant ?? null;
}

/**
 * Writes one JSON line for each request. Hono's logger writes text and knows neither tenant, operation nor error code.
 */
export const accessLog = createMiddleware<AppEnv>(async (c, next) => {
  const started = Date.now();
  await next();
  const usage = c.get('context')?.db.usage ?? { calls: 0, ms: 0 };
  const { outcome, ...failure } = c.error ? describeFailure(c.error) : { outcome: 'ok' };
  log({
    kind: 'request',
    id: c.get('requestId'),
    tenant: tenantOf(c),
    cell: cellAttribute(c.get('context')?.db.cell ?? defaultCell),
    operation: c.get('operation')?.id ?? null,
    method: c.req.method,
    path: pathForLog(c.req.path),
    status: c.res.status,
    outcome,
    durationMs: Date.now() - started,
    dbCalls: usage.calls,
    dbMs: usage.ms,
    ...failure,
  });
});
