import { Hono } from 'hono';
import * as z from 'zod';
import { readHealth, readiness } from '../domain/health.ts';
import type { AppEnv } from '../http/app-env.ts';
import type { Route } from '../http/declaration.ts';
import { operation } from '../http/operation.ts';

/** How the service is. No key is needed. */
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
    summary: 'Check the database and the age of the outbox',
    description:
      '`degraded` is still 200: orders are accepted while Kafka is unavailable, and their events wait in the outbox.',
    responses: { 200: { description: 'The database answers', schema: readiness } },
    errors: ['unavailable'],
  }),
  async (c) => c.json(await readHealth(c.var.context)),
);

/** The static assets that belong to the API: built ahead, served before the Worker is asked. For the documentation. */
export const staticRoutes: Route[] = [
  {
    id: 'getOpenApi',
    method: 'get',
    path: '/openapi.json',
    tag: 'Operations',
    summary: 'Get this API as an OpenAPI 3.1 document',
    responses: { 200: { description: 'The document', type: 'application/json' } },
    errors: [],
  },
  {
    id: 'getDocs',
    method: 'get',
    path: '/docs',
    tag: 'Operations',
    summary: 'Read this reference',
    responses: { 200: { description: 'The page', type: 'text/html' } },
    errors: [],
  },
];
