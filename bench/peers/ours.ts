import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Fixture } from '../fixture/fixture.ts';
import { HttpClient, Refused } from './http.ts';
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
 * Stands between Stripe's emulator and our webhook, so that a buyer hears when their order is confirmed instead of asking
 * again and again. Passes on what docs/deploy.md subscribes to, as it came, signature and all; swallows the rest, as
 * Stripe would not send it.
 */
async function startForwarder(api: HttpClient) {
  const waiting = new Map<string, (status: number) => void>();
  const early = new Map<string, number>();
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
    const tell = waiting.get(data.object.id);
    waiting.delete(data.object.id);
    if (tell) tell(status);
    else early.set(data.object.id, status);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    /** Resolves with what our webhook answered to the event that this intent has succeeded. */
    succeeded: (intent: string): Promise<number> =>
      new Promise((resolve) => {
        const status = early.get(intent);
        early.delete(intent);
        if (status === undefined) waiting.set(intent, resolve);
        else resolve(status);
      }),
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

type Placed = { id: string; code?: string };
type Opened = { stripePaymentIntentId: string; clientSecret: string; code?: string };

/** Fills our shop on a fixture that runs with products: the same as the peers have. */
export async function openOurs(fixture: Fixture, version: string): Promise<System> {
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
  if (!imported.text.includes(`"created":${products}`)) throw new Error(`the import said ${imported.text}`);
  const forwarder = await startForwarder(http);
  await stripe.send(
    'POST',
    '/_emulator/webhooks',
    { 'content-type': 'application/json' },
    JSON.stringify({ url: forwarder.url }),
  );
  await fixture.settled();
  let buyers = 0;
  const waited: Record<string, number> = { order: 0, payment: 0, card: 0, webhook: 0 };

  async function timed<T>(step: string, work: Promise<T>): Promise<T> {
    const start = performance.now();
    const result = await work;
    waited[step] = (waited[step] ?? 0) + performance.now() - start;
    return result;
  }

  async function post<T extends { code?: string }>(step: string, path: string, body: unknown): Promise<T> {
    const headers = { ...json, 'idempotency-key': randomUUID() };
    const answer = await timed(step, http.send('POST', path, headers, JSON.stringify(body)));
    const reply = JSON.parse(answer.text) as T;
    if (answer.status > 299) throw new Refused(step, `${answer.status} ${reply.code}`);
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
    waits: () => ({ ...waited }),
    settle: fixture.settled,
    async checkout(product) {
      const order = await post<Placed>('order', '/v1/orders', {
        customerId: `buyer-${++buyers}`,
        items: [{ sku: skuOf(product), quantity: 1 }],
        shippingAddress,
      });
      const payment = await post<Opened>('payment', '/v1/payments', { orderId: order.id });
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
      if (confirmed.status !== 200) throw new Refused('card', `${confirmed.status} ${confirmed.text.slice(0, 80)}`);
      const status = await timed('webhook', paid);
      if (status !== 200) throw new Refused('webhook', String(status));
    },
    async stock(units) {
      const path = `/v1/inventory/${skuOf(products)}`;
      const answer = await http.send('PUT', path, json, JSON.stringify({ quantity: units }));
      if (answer.status !== 200) throw new Error(`PUT ${path} answered ${answer.status} ${answer.text}`);
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
