import { createMiddleware } from 'hono/factory';
import { defaultCell } from '../base/cells.ts';
import type { Context } from '../context.ts';
import { openDatabase } from '../db/client.ts';
import { settingsOf } from '../env.ts';
import { leaseWithLastJob } from '../events/relay.ts';
import type { AppEnv } from './app-env.ts';
import { isWebhook } from './declaration.ts';

const traceparentFormat = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/**
 * Gives an operation its database, settings and clock. Events that the request causes carry its `traceparent`. The
 * database is that of the default cell until the key names another one (`authentication.ts`).
 */
export const openContext = createMiddleware<AppEnv>(async (c, next) => {
  const operation = c.get('operation');
  if (operation) {
    const settings = settingsOf(c.env);
    const traceparent = c.req.header('traceparent');
    const call = traceparent !== undefined && traceparentFormat.test(traceparent) ? { traceparent } : {};
    const context: Context = { db: openDatabase(settings.cells, defaultCell), settings, call, now: () => new Date() };
    if (isWebhook(operation)) {
      leaseWithLastJob(context, c.env, c.get('requestId'), (task) => c.executionCtx.waitUntil(task));
    }
    c.set('context', context);
  }
  await next();
});
