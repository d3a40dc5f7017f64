import * as z from 'zod';
import { readHealth, readiness } from '../domain/health.ts';
import type { Settings } from '../env.ts';
import { openApiDocument } from '../http/openapi/document.ts';
import { type Route, route } from '../http/route.ts';
import type { Shell } from './docs/examples.ts';
import { docsPage, policy, withShell } from './docs/page.ts';

/**
 * What the examples on the page are run with: the local platform's own address and its well-known secrets, else names for
 * the reader's own. No secret of a deployed Worker is shown, and no Host header is believed except this machine's.
 */
function shellFor(settings: Settings, { origin, hostname }: URL): Shell {
  const { STRIPE_SECRET_KEY: stripeKey, STRIPE_API_URL: stripe = 'https://api.stripe.com', PUBLIC_URL } = settings;
  if (/^(localhost|127\.0\.0\.1|\[::1\])$/.test(hostname) && stripeKey === 'sk_test_dev') {
    const secrets = {
      stripeWebhookSecret: 'whsec_dev',
      shippingWebhookSecret: 'whsec_dev',
      kafkaWebhookSecret: 'whsec_dev',
    };
    return { api: origin, key: 'sk_dev_default', stripe, stripeKey, ...secrets };
  }
  return {
    api: PUBLIC_URL?.replace(/\/$/, '') ?? 'https://YOUR_API',
    key: 'YOUR_SECRET_KEY',
    stripe: 'https://api.stripe.com',
    stripeKey: 'YOUR_STRIPE_TEST_KEY',
    stripeWebhookSecret: 'YOUR_STRIPE_WEBHOOK_SECRET',
    shippingWebhookSecret: 'YOUR_SHIPPING_WEBHOOK_SECRET',
    kafkaWebhookSecret: 'YOUR_KAFKA_WEBHOOK_SECRET',
  };
}

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
      run({ context, http }) {
        page ??= docsPage(described());
        const headers = {
          'Content-Type': 'text/html; charset=utf-8',
          'Content-Security-Policy': `${policy}; frame-ancestors 'none'`,
          'Cache-Control': 'no-cache',
        };
        const shown = withShell(page, shellFor(context.settings, new URL(http.req.url)));
        return { status: 200, body: new Response(shown, { headers }) };
      },
    }),
  ];
}
