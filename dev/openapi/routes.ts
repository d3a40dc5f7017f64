import { app } from '../../src/app.ts';
import type { Route } from '../../src/http/declaration.ts';
import { routesOf } from '../../src/http/operation.ts';
import { staticRoutes } from '../../src/routes/operations.ts';

/** Every operation of the API, in the order of the routers in `src/app.ts`, with the static documents at the end. */
export const routes: Route[] = [...routesOf(app), ...staticRoutes];
