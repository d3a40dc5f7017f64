import { setTimeout as sleep } from 'node:timers/promises';
import Stripe from 'stripe';
import type { Fixture } from '../fixture/fixture.ts';

export const kinds = ['order', 'payment', 'webhook', 'refund'] as const;
export type Kind = (typeof kinds)[number];
/** Milliseconds by kind; `failed` are sales that did not end. */
export type Times = Record<Kind, number[]> & { failed: string[] };

/** How often the watcher asks the database, so no time is more exact than that. */
const watchMs = 10;
const longestMs = 30_000;

/** A request of a tenant. @throws Error for any answer that is no success */
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

type Wanted = { id: string; status: string; resolve: () => void };

/** Asks the database for all sales at once when they reach a status: polls of the API would be a load of their own. */
class Watcher {
  readonly #fixture: Fixture;
  readonly #wanted = new Set<Wanted>();
  #stopped = false;

  constructor(fixture: Fixture) {
    this.#fixture = fixture;
    void this.#watch();
  }

  reach(id: string, status: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const wanted = { id, status, resolve };
      this.#wanted.add(wanted);
      const late = (): void => {
        if (this.#wanted.delete(wanted)) reject(new Error(`${id} is not ${status} after ${longestMs} ms`));
      };
      setTimeout(late, longestMs).unref();
    });
  }

  stop(): void {
    this.#stopped = true;
  }

  async #watch(): Promise<void> {
    const query = `select id, status from orders.orders where tenant_id = 'calm' and id = any($1)
      union all select payment_id, status from payments.payments where tenant_id = 'calm' and payment_id = any($1)`;
    while (!this.#stopped) {
      const ids = [...this.#wanted].map(({ id }) => id);
      const found = ids.length > 0 ? await this.#fixture.pool.query(query, [ids]).catch(() => undefined) : undefined;
      const status = new Map(found?.rows.map((row) => [row.id, row.status]));
      for (const wanted of this.#wanted) {
        if (status.get(wanted.id) !== wanted.status) continue;
        this.#wanted.delete(wanted);
        wanted.resolve();
      }
      await sleep(watchMs);
    }
  }
}

/** Each step of a sale has a key of its own, as of three servers, so that no limit of a key bounds the sales. */
export type Seller = { fixture: Fixture; keys: Record<'order' | 'payment' | 'refund', string>; rate: number };

/** One sale of the calm tenant: ordered, paid, confirmed by a webhook, refunded. Adds the milliseconds of each. */
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
    await watcher.reach(order.id, 'confirmed');
  });
  await timed('refund', async () => {
    await send(fixture, keys.refund, 'POST', `/v1/payments/${payment.id}/refunds`, {});
    await watcher.reach(payment.id, 'refunded');
  });
}

/** Sells at a constant rate, whatever the answers take, and runs the crons every 10 s. Waits for every sale to end. */
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
