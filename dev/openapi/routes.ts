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

/** The operations of the Worker, in the order of the routers in `src/app.ts`. */
export const workerRoutes: Route[] = routesOf(app);

/** Every operation of the API: those of the Worker, then the static files. */
export const routes: Route[] = [...workerRoutes, ...staticRoutes];
