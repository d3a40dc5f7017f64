import { setTimeout as sleep } from 'node:timers/promises';
import Stripe from 'stripe';
import type { Fixture } from '../fixture/fixture.ts';

export const kinds = ['order', 'payment', 'webhook', 'refund'] as const;
export type Kind = (typeof kinds)[number];
/** Times in ms, by kind. `failed`: the errors of failed sales. */
export type Times = Record<Kind, number[]> & { failed: string[] };

/** The interval in which the watcher queries the database. It limits the precision of the times. */
const watchMs = 10;
const timeoutMs = 30_000;

/** Sends a request of a tenant. @throws Error for any status other than 2xx */
export async function send(fixture: Fixture, key: string, method: string, path: string, body?: object) {
  const response = await fetch(fixture.api + path, {
    method,
    headers: {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      'cf-connecting-ip': '198.51.100.1',
      ...(method === 'POST' && { 'idempotency-key': crypto.randomUUID() }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 200)}`);
  return JSON.parse(text);
}

type Expectation = { id: string; status: string; resolve: () => void };

/** Watches the status of all open sales with one query. Polling the API for each sale would add load. */
class Watcher {
  readonly #fixture: Fixture;
  readonly #expectations = new Set<Expectation>();
  #stopped = false;

  constructor(fixture: Fixture) {
    this.#fixture = fixture;
    void this.#watch();
  }

  /** Resolves when the order or payment has the status. */
  waitFor(id: string, status: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const expectation = { id, status, resolve };
      this.#expectations.add(expectation);
      const giveUp = (): void => {
        if (this.#expectations.delete(expectation)) reject(new Error(`${id} is not ${status} after ${timeoutMs} ms`));
      };
      setTimeout(giveUp, timeoutMs).unref();
    });
  }

  stop(): void {
    this.#stopped = true;
  }

  async #watch(): Promise<void> {
    const query = `select id, status from orders.orders where tenant_id = 'calm' and id = any($1)
      union all select payment_id, status from payments.payments where tenant_id = 'calm' and payment_id = any($1)`;
    while (!this.#stopped) {
      const ids = [...this.#expectations].map(({ id }) => id);
      const found = ids.length > 0 ? await this.#fixture.pool.query(query, [ids]).catch(() => undefined) : undefined;
      const statuses = new Map(found?.rows.map((row) => [row.id, row.status]));
      for (const expectation of this.#expectations) {
        if (statuses.get(expectation.id) !== expectation.status) continue;
        this.#expectations.delete(expectation);
        expectation.resolve();
      }
      await sleep(watchMs);
    }
  }
}

/** Each step of a sale has its own API key, so that the limit per key does not limit the sales. */
export type Seller = { fixture: Fixture; keys: Record<'order' | 'payment' | 'refund', string>; rate: number };

/** Makes one sale of the calm tenant: order, payment, webhook, refund. Adds the time of each step to `times`. */
async function sell({ fixture, keys }: Seller, stripe: Stripe, watcher: Watcher, times: Times): Promise<void> {
  const timed = async <T>(kind: Kind, work: () => Promise<T>): Promise<T> => {
    const start = performance.now();
    const result = await work();
    times[kind].push(performance.now() - start);
    return result;
  };
  const items = [{ sku: 'CALM', quantity: 1 }];
  const order = await timed('order', () =>
    send(fixture, keys.order, 'POST', '/v1/orders', { customerId: 'calm', items }),
  );
  const payment = await timed('payment', () =>
    send(fixture, keys.payment, 'POST', '/v1/payments', { orderId: order.id }),
  );
  const options = { payment_method: 'pm_card_visa', return_url: 'https://shop.test' };
  await timed('webhook', async () => {
    await stripe.paymentIntents.confirm(payment.stripePaymentIntentId, options);
    await watcher.waitFor(order.id, 'confirmed');
  });
  await timed('refund', async () => {
    await send(fixture, keys.refund, 'POST', `/v1/payments/${payment.id}/refunds`, {});
    await watcher.waitFor(payment.id, 'refunded');
  });
}

/**
 * Sells at a constant rate, independent of response times, and runs the crons every 10 s. Waits for every sale to end.
 */
export async function sellFor(seller: Seller, seconds: number): Promise<Times> {
  const times: Times = { order: [], payment: [], webhook: [], refund: [], failed: [] };
  const { hostname, port } = new URL(seller.fixture.stripeUrl ?? '');
  const stripe = new Stripe('sk_test_dev', { host: hostname, port, protocol: 'http', maxNetworkRetries: 2 });
  const watcher = new Watcher(seller.fixture);
  const sales: Promise<void>[] = [];
  const start = Date.now();
  let crons: Promise<unknown> = Promise.resolve();
  let cronAt = start;
  for (let n = 0; n < seconds * seller.rate; n++) {
    await sleep(Math.max(start + (n * 1000) / seller.rate - Date.now(), 0));
    if (Date.now() >= cronAt) {
      cronAt += 10_000;
      crons = Promise.all([crons, seller.fixture.cron().catch(() => undefined)]);
    }
    const sale = sell(seller, stripe, watcher, times).catch((error: Error) => void times.failed.push(error.message));
    sales.push(sale);
  }
  await Promise.all(sales);
  watcher.stop();
  return times;
}
