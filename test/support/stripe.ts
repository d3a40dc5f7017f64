import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Stripe from 'stripe';
import { onTestFinished } from 'vitest';
import { type StripeEmulator, type StripeOptions, startStripe } from '../../dev/stripe/server.ts';

export const SECRET_KEY = 'sk_test_dev';
export const WEBHOOK_SECRET = 'whsec_dev';

/** The SDK as the application uses it, pointed at an emulator. */
export function sdkFor(port: number, key = SECRET_KEY, more: { timeout?: number } = {}): Stripe {
  const where = { host: '127.0.0.1', port, protocol: 'http' } as const;
  return new Stripe(key, { ...where, maxNetworkRetries: 0, telemetry: false, ...more });
}

/** An emulator of this test's own, with the SDK on it; it ends with the test. Asynchronous things take 5 ms. */
export async function startFixture(options: Partial<StripeOptions> = {}) {
  const emulator = await startStripe({
    port: 0,
    secretKey: SECRET_KEY,
    webhookSecret: WEBHOOK_SECRET,
    asyncMs: 5,
    retryBaseMs: 10,
    ...options,
  });
  onTestFinished(() => emulator.close());
  return { emulator, stripe: sdkFor(emulator.port) };
}

/** Uses one of the emulator's own switches and gives its JSON. */
export async function flip(emulator: StripeEmulator, method: string, path: string, body?: unknown) {
  const response = await fetch(`${emulator.url}/_emulator/${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer: unknown = await response.json();
  if (!response.ok) throw new Error(JSON.stringify(answer));
  return answer;
}

/** What the buyer's browser sends: form-encoded, with the publishable key and the intent's secret. */
export async function asBuyer(emulator: StripeEmulator, path: string, form: Record<string, string>) {
  const response = await fetch(`${emulator.url}/v1/${path}`, {
    method: 'POST',
    body: new URLSearchParams({ key: emulator.publishableKey, ...form }),
  });
  const answer = (await response.json()) as Record<string, unknown> & { error?: Record<string, unknown> };
  return { status: response.status, answer };
}

/** A payment that the server confirms by itself. */
export function pay(stripe: Stripe, method: string, more: Partial<Stripe.PaymentIntentCreateParams> = {}) {
  return stripe.paymentIntents.create({
    amount: 1000,
    currency: 'usd',
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    payment_method: method,
    confirm: true,
    ...more,
  });
}

/** The error that Stripe's SDK throws; fails if it throws none. */
export async function failure(promise: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  const thrown = await promise.then(
    () => null,
    (error: unknown) => error,
  );
  if (thrown instanceof Stripe.errors.StripeError) return thrown;
  throw new Error(`expected an error of Stripe's, got ${String(thrown)}`);
}

/** Waits until it gives something; throws after five seconds. */
export async function eventually<T>(look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 500; tries += 1) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('it never came');
}

/** The types of all events so far, oldest first. */
export async function eventTypes(stripe: Stripe): Promise<string[]> {
  const { data } = await stripe.events.list({ limit: 100 });
  return data.map((event) => event.type).reverse();
}

export type Received = { body: string; signature: string; event: Stripe.Event };

/** A webhook receiver: keeps what arrives, answers what `status` says. */
export async function startReceiver(status: (received: Received[]) => number = () => 200) {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      received.push({ body, signature: String(request.headers['stripe-signature']), event: JSON.parse(body) });
      response.writeHead(status(received)).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/webhooks/stripe`, received };
}
