import { app } from '../../src/app.ts';
import type { Route } from '../../src/http/declaration.ts';
import { routesOf } from '../../src/http/operation.ts';

/** Static files of the API. Cloudflare serves them from the asset folder, without the Worker. */
const staticRoutes: Route[] = [
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

/** Every operation of the API, in the order of the routers in `src/app.ts`, with the static files at the end. */
export const routes: Route[] = [...routesOf(app), ...staticRoutes];
