import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Stripe from 'stripe';
import { onTestFinished } from 'vitest';
import { type StripeEmulator, type StripeOptions, startStripe } from '../../dev/stripe/server.ts';

export const SECRET_KEY = 'sk_test_dev';
export const WEBHOOK_SECRET = 'whsec_dev';
export const CONNECT_WEBHOOK_SECRET = 'whsec_dev_connect';

/** Stripe's SDK with the application's settings, connected to an emulator. */
export function sdkFor(port: number, key = SECRET_KEY, options: Stripe.StripeConfig = {}): Stripe {
  const server = { host: '127.0.0.1', port, protocol: 'http' } as const;
  return new Stripe(key, { ...server, maxNetworkRetries: 0, telemetry: false, ...options });
}

/** Starts an emulator and an SDK for one test, and stops it after the test. Asynchronous steps take 5 ms. */
export async function startFixture(options: Partial<StripeOptions> = {}) {
  const emulator = await startStripe({
    port: 0,
    secretKey: SECRET_KEY,
    webhookSecret: WEBHOOK_SECRET,
    connectWebhookSecret: CONNECT_WEBHOOK_SECRET,
    asyncMs: 5,
    retryBaseMs: 10,
    ...options,
  });
  onTestFinished(() => emulator.close());
  return { emulator, stripe: sdkFor(emulator.port) };
}

/** Calls an endpoint under `/_emulator/` and returns its JSON. */
export async function callControl(emulator: StripeEmulator, method: string, path: string, body?: unknown) {
  const response = await fetch(`${emulator.url}/_emulator/${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const result: unknown = await response.json();
  if (!response.ok) throw new Error(JSON.stringify(result));
  return result;
}

/** Sends a request as the buyer's browser does: form-encoded, with the publishable key. */
export async function asBuyer(emulator: StripeEmulator, path: string, form: Record<string, string>) {
  const response = await fetch(`${emulator.url}/v1/${path}`, {
    method: 'POST',
    body: new URLSearchParams({ key: emulator.publishableKey, ...form }),
  });
  const body = (await response.json()) as Record<string, unknown> & { error?: Record<string, unknown> };
  return { status: response.status, body };
}

/** Creates a payment that the server confirms in the same request. */
export function pay(stripe: Stripe, method: string, overrides: Partial<Stripe.PaymentIntentCreateParams> = {}) {
  return stripe.paymentIntents.create({
    amount: 1000,
    currency: 'usd',
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    payment_method: method,
    confirm: true,
    ...overrides,
  });
}

/** Returns the error that Stripe's SDK throws. Fails if it throws none. */
export async function failure(promise: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  const thrown = await promise.then(
    () => null,
    (error: unknown) => error,
  );
  if (thrown instanceof Stripe.errors.StripeError) return thrown;
  throw new Error(`expected a StripeError, got ${String(thrown)}`);
}

/** Polls until `read` returns a value. Throws after five seconds. */
export async function eventually<T>(read: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 500; tries += 1) {
    const found = await read();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('no value within five seconds');
}

/** The types of all events, oldest first. */
export async function eventTypes(stripe: Stripe): Promise<string[]> {
  const { data } = await stripe.events.list({ limit: 100 });
  return data.map((event) => event.type).reverse();
}

export type Received = { body: string; signature: string; event: Stripe.Event };

/** Starts a webhook receiver that records each webhook and responds with `status`. */
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
