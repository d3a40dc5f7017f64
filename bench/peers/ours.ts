import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Fixture } from '../fixture/fixture.ts';
import { CheckoutRejected, HttpClient } from './http.ts';
import { products, type System } from './system.ts';

const skuOf = (product: number): string => `SKU-${product}`;

const shippingAddress = {
  name: 'Ada Buyer',
  line1: '1 Main St',
  city: 'X',
  state: 'NY',
  postalCode: '10001',
  country: 'US',
};

async function readBody(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/**
 * A proxy between the Stripe emulator and our webhook. It notifies the benchmark when an order is confirmed, so that the
 * benchmark need not poll. It forwards the events that docs/deploy.md subscribes to, unchanged and with their signature.
 * It drops all other events, since Stripe would not send them.
 */
async function startForwarder(api: HttpClient) {
  const waiting = new Map<string, (status: number) => void>();
  const earlyStatuses = new Map<string, number>();
  const server = createServer(async (incoming, outgoing) => {
    const body = await readBody(incoming);
    const { type, data } = JSON.parse(body.toString()) as { type: string; data: { object: { id: string } } };
    if (!type.startsWith('payment_intent.')) {
      outgoing.end();
      return;
    }
    const { status } = await api.send(
      'POST',
      '/webhooks/stripe',
      { 'content-type': 'application/json', 'stripe-signature': String(incoming.headers['stripe-signature']) },
      body,
    );
    outgoing.writeHead(status).end();
    if (type !== 'payment_intent.succeeded') return;
    const notify = waiting.get(data.object.id);
    waiting.delete(data.object.id);
    if (notify) notify(status);
    else earlyStatuses.set(data.object.id, status);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    /** Resolves with the status that our webhook returned for the `payment_intent.succeeded` of this intent. */
    succeeded: (intent: string): Promise<number> =>
      new Promise((resolve) => {
        const status = earlyStatuses.get(intent);
        earlyStatuses.delete(intent);
        if (status === undefined) waiting.set(intent, resolve);
        else resolve(status);
      }),
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

type OrderReply = { payment: { stripePaymentIntentId: string; clientSecret: string }; code?: string };

/** Imports the same products as in the peers' shops into a running fixture. */
export async function openOurShop(fixture: Fixture, version: string): Promise<System> {
  const http = new HttpClient(fixture.api);
  const stripe = new HttpClient(fixture.stripeUrl ?? '');
  const bearer = { authorization: `Bearer ${fixture.secretKey}` };
  const json = { ...bearer, 'content-type': 'application/json' };
  const lines = Array.from({ length: products }, (_, index) => {
    const number = index + 1;
    const [sku, name] = [skuOf(number), `Product ${number}`];
    return JSON.stringify({ sku, name, price: 10 + (number % 90), currency: 'USD', inventory: 1_000_000_000 });
  });
  const imported = await http.send(
    'POST',
    '/v1/products/import',
    { ...bearer, 'content-type': 'application/x-ndjson', 'idempotency-key': randomUUID() },
    `${lines.join('\n')}\n`,
  );
  if (!imported.text.includes(`"created":${products}`))
    throw new Error(`the import did not create ${products} products: ${imported.text}`);
  const forwarder = await startForwarder(http);
  await stripe.send(
    'POST',
    '/_emulator/webhooks',
    { 'content-type': 'application/json' },
    JSON.stringify({ url: forwarder.url }),
  );
  await fixture.settled();
  let buyers = 0;
  const waitedMs: Record<string, number> = { order: 0, card: 0, webhook: 0 };

  async function timed<T>(step: string, work: Promise<T>): Promise<T> {
    const start = performance.now();
    const result = await work;
    waitedMs[step] = (waitedMs[step] ?? 0) + performance.now() - start;
    return result;
  }

  async function post<T extends { code?: string }>(step: string, path: string, body: unknown): Promise<T> {
    const headers = { ...json, 'idempotency-key': randomUUID() };
    const response = await timed(step, http.send('POST', path, headers, JSON.stringify(body)));
    const reply = JSON.parse(response.text) as T;
    if (response.status > 299) throw new CheckoutRejected(step, `${response.status} ${reply.code}`);
    return reply;
  }

  return {
    name: 'FusionCommerce',
    version,
    database: new URL(fixture.databaseUrl).pathname.slice(1),
    requests: () => http.requests,
    async cpu() {
      const { worker, bridge } = await fixture.cpu();
      return worker + bridge;
    },
    async parts() {
      const { user, system } = process.cpuUsage();
      return { ...(await fixture.cpu()), loadGenerator: (user + system) / 1000 };
    },
    waits: () => ({ ...waitedMs }),
    settle: fixture.settled,
    async checkout(product) {
      const { payment } = await post<OrderReply>('order', '/v1/orders', {
        customerId: `buyer-${++buyers}`,
        items: [{ sku: skuOf(product), quantity: 1 }],
        shippingAddress,
        expand: ['payment'],
      });
      const intent = payment.stripePaymentIntentId;
      const paid = forwarder.succeeded(intent);
      const card = new URLSearchParams({
        key: 'pk_test_dev',
        client_secret: payment.clientSecret,
        payment_method: 'pm_card_visa',
        return_url: 'https://shop.example/thanks',
      });
      const form = { 'content-type': 'application/x-www-form-urlencoded' };
      const path = `/v1/payment_intents/${intent}/confirm`;
      const confirmed = await timed('card', stripe.send('POST', path, form, card.toString()));
      if (confirmed.status !== 200)
        throw new CheckoutRejected('card', `${confirmed.status} ${confirmed.text.slice(0, 80)}`);
      const status = await timed('webhook', paid);
      if (status !== 200) throw new CheckoutRejected('webhook', String(status));
    },
    async stock(units) {
      const path = `/v1/inventory/${skuOf(products)}`;
      const response = await http.send('PUT', path, json, JSON.stringify({ quantity: units }));
      if (response.status !== 200) throw new Error(`PUT ${path} returned ${response.status}: ${response.text}`);
    },
    async sold() {
      const { rows } = await fixture.pool.query<{ n: number }>(
        `select coalesce(sum((i->>'quantity')::int), 0)::int as n
         from orders.orders o, jsonb_array_elements(o.items) i
         where o.status in ('confirmed', 'shipped', 'delivered') and i->>'sku' = $1`,
        [skuOf(products)],
      );
      return rows[0]?.n ?? 0;
    },
    async stop() {
      http.close();
      stripe.close();
      await forwarder.close();
    },
  };
}
