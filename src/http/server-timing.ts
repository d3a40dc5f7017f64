import { createMiddleware } from 'hono/factory';
import type { AppEnv } from './app-env.ts';

/**
 * Reports how many database calls a request made and how long they took. Hono's timing middleware writes the same
 * header with its parts in another order than the API documents.
 */
export const serverTiming = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  const usage = c.get('context')?.db.usage;
  if (usage && usage.calls > 0) c.res.headers.set('Server-Timing', `db;desc="${usage.calls} calls";dur=${usage.ms}`);
});
