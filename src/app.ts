import { Hono } from 'hono';
import { accessLog } from './http/access-log.ts';
import type { AppEnv } from './http/app-env.ts';
import { authentication, readCredentials } from './http/authentication.ts';
import { cacheControl } from './http/cache-control.ts';
import { cors } from './http/cors.ts';
import { findByPath, notFound, respondToOptions } from './http/not-found.ts';
import { openContext } from './http/open-context.ts';
import { findOperation, routesOf } from './http/operation.ts';
import { problemDetails } from './http/problem-details.ts';
import { publishEvents } from './http/publish-events.ts';
import { rateLimit } from './http/rate-limit.ts';
import { requestId } from './http/request-id.ts';
import { securityHeaders } from './http/security-headers.ts';
import { serverTiming } from './http/server-timing.ts';
import { campaigns } from './routes/campaigns.ts';
import { collections } from './routes/collections.ts';
import { deadLetters } from './routes/dead-letters.ts';
import { events } from './routes/events.ts';
import { inventory } from './routes/inventory.ts';
import { keys } from './routes/keys.ts';
import { operations } from './routes/operations.ts';
import { orders } from './routes/orders.ts';
import { payments } from './routes/payments.ts';
import { productGroups } from './routes/product-groups.ts';
import { products } from './routes/products.ts';
import { shipments } from './routes/shipments.ts';
import { storefront } from './routes/storefront.ts';
import { tenant } from './routes/tenant.ts';
import { webhooks } from './routes/webhooks.ts';

/** The HTTP API. A request passes the middleware from top to bottom, then its router, and back up. */
export const app = new Hono<AppEnv>();

const operationsAt = findByPath(() => routesOf(app));

app.use(requestId);
app.use(findOperation);
app.use(accessLog);
app.use(securityHeaders);
app.use(cacheControl);
app.use(respondToOptions(operationsAt));
app.use(cors);
app.use(publishEvents);
app.use(serverTiming);
app.use(openContext);
app.use(readCredentials);
app.use(rateLimit);
app.use(authentication);

app.route('/v1/products', products);
app.route('/v1/product-groups', productGroups);
app.route('/v1/collections', collections);
app.route('/v1/inventory', inventory);
app.route('/v1/orders', orders);
app.route('/v1/campaigns', campaigns);
app.route('/v1/payments', payments);
app.route('/v1/shipments', shipments);
app.route('/v1/storefront', storefront);
app.route('/v1/tenant', tenant);
app.route('/v1/keys', keys);
app.route('/v1/events', events);
app.route('/v1/dead-letters', deadLetters);
app.route('/webhooks', webhooks);
app.route('/', operations);

app.onError(problemDetails);
app.notFound(notFound(operationsAt));
