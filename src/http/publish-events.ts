import { createMiddleware } from 'hono/factory';
import { hasUnleasedEvents, relaySoon } from '../events/relay.ts';
import type { AppEnv } from './app-env.ts';

/**
 * Publishes the events of a write after its response is sent, and records the PaymentIntents that it has made. The cron
 * does what this misses.
 */
export const publishEvents = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  const isRead = c.req.method === 'GET' || c.req.method === 'HEAD';
  const context = c.get('context');
  if (!isRead && context && hasUnleasedEvents(context))
    c.executionCtx.waitUntil(relaySoon(c.env, context.db.cell, c.get('requestId'), context.madeIntents));
});
