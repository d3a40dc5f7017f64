import * as z from 'zod';
import { docsPage, policy } from '../docs.ts';
import { readHealth, readiness } from '../domain/health.ts';
import { openApiDocument } from '../openapi.ts';
import { type Route, route } from './route.ts';

/** The operations that need no key. `all` is every operation, these among them. */
export function operationRoutes(all: () => Route[]): Route[] {
  let document: object | undefined;
  const described = () => {
    document ??= openApiDocument(all());
    return document;
  };
  let page: string | undefined;
  return [
    route({
      id: 'getHealth',
      method: 'get',
      path: '/healthz',
      tag: 'Operations',
      summary: 'Whether the Worker runs; asks nothing else',
      answers: { 200: { description: 'It runs', schema: z.object({ status: z.literal('ok') }) } },
      errors: [],
      run: () => ({ status: 200, body: { status: 'ok' } }),
    }),
    route({
      id: 'getReadiness',
      method: 'get',
      path: '/readyz',
      counted: 'all',
      tag: 'Operations',
      summary: 'Whether the database answers, and how far behind the outbox is',
      description: '`degraded` still answers 200: orders are taken while Kafka is away, and their events wait.',
      answers: { 200: { description: 'The database answers', schema: readiness } },
      errors: ['unavailable'],
      run: async ({ context }) => ({ status: 200, body: await readHealth(context) }),
    }),
    route({
      id: 'getOpenApi',
      method: 'get',
      path: '/openapi.json',
      tag: 'Operations',
      summary: 'This API as an OpenAPI 3.1 document',
      answers: { 200: { description: 'The document', type: 'application/json' } },
      errors: [],
      run: () => ({ status: 200, body: described(), resource: true }),
    }),
    route({
      id: 'getDocs',
      method: 'get',
      path: '/docs',
      tag: 'Operations',
      summary: 'This API as a page to read',
      answers: { 200: { description: 'The page', type: 'text/html' } },
      errors: [],
      run() {
        page ??= docsPage(described());
        const headers = {
          'Content-Type': 'text/html; charset=utf-8',
          'Content-Security-Policy': `${policy}; frame-ancestors 'none'`,
          'Cache-Control': 'no-cache',
        };
        return { status: 200, body: new Response(page, { headers }) };
      },
    }),
  ];
}
