import { Hono } from 'hono';
import * as z from 'zod';
import { readHealth, readiness } from '../domain/health.ts';
import type { AppEnv } from '../http/app-env.ts';
import { operation } from '../http/operation.ts';

/** The health of the service. No key is needed. */
export const operations = new Hono<AppEnv>();

operations.get('/', (c) => c.redirect('/docs'));

operations.get(
  '/healthz',
  operation({
    id: 'getHealth',
    tag: 'Operations',
    summary: 'Check that the Worker runs',
    responses: { 200: { description: 'The Worker runs', schema: z.object({ status: z.literal('ok') }) } },
    errors: [],
  }),
  (c) => c.json({ status: 'ok' }),
);

operations.get(
  '/readyz',
  operation({
    id: 'getReadiness',
    counted: 'all',
    tag: 'Operations',
    summary: 'Check the databases and the age of the outbox',
    description:
      '`degraded` is still 200: orders are accepted while Kafka is unavailable, and their events wait in the outbox. If ' +
      'there are several cells (databases), the response is 503 only if none of them responds. So alert on `problems` too.',
    responses: { 200: { description: 'At least one database responds', schema: readiness } },
    errors: ['unavailable'],
  }),
  async (c) => c.json(await readHealth(c.var.context)),
);
