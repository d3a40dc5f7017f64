import { createMiddleware } from 'hono/factory';
import { openDatabase } from '../db/client.ts';
import { settingsOf } from '../env.ts';
import type { AppEnv } from './app-env.ts';

const traceparentFormat = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** Gives an operation its database, settings and clock. Events that the request causes carry its `traceparent`. */
export const openContext = createMiddleware<AppEnv>(async (c, next) => {
  if (c.get('operation')) {
    const settings = settingsOf(c.env);
    const traceparent = c.req.header('traceparent');
    const call = traceparent !== undefined && traceparentFormat.test(traceparent) ? { traceparent } : {};
    c.set('context', { db: openDatabase(settings), settings, call, now: () => new Date() });
  }
  await next();
});
