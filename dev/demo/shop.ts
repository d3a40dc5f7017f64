import { createHmac, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { connectTo } from '../postgres/connection.ts';

export type ShopOptions = { url: string; key: string; stripeUrl: string; databaseUrl: string; shippingSecret: string };

export type Payment = { id: string; status: string; stripePaymentIntentId: string | null; clientSecret: string | null };
export type Shipment = { id: string; trackingNumber: string; carrier: string; status: string };
export type Order = {
  id: string;
  status: string;
  total: number;
  currency: string;
  failureReason: string | null;
  reservation: { status: string; expiresAt: string | null } | null;
  payment: Payment | null;
  shipment: Shipment | null;
};
export type Refund = { id: string; amount: number; status: string };

export type Answer = { status: number; body: unknown };

/** What the emulator says of an intent's money, in minor units. */
export type Books = { id: string; status: string; captured: number; refunded: number };
type Switches = { lose: number; duplicate: number; reorder: number; reorderMs: number; delayMs: number; seed: number };
export type Deliveries = { faults: Switches; pending: number; lost: string[]; duplicated: number; reordered: number };

/** The running platform as merchant, buyer, carrier, clock and auditor see it. */
export type Shop = Awaited<ReturnType<typeof enterShop>>;

async function reach(url: string, what: string): Promise<void> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
  await answer?.body?.cancel();
  if (answer?.ok) return;
  throw new Error(
    `${what}: no answer at ${url}. Start the platform with "npm start" in another terminal, or say where it is (--help).`,
  );
}

/** @throws Error with what to do when the platform, its Stripe stand-in or its database does not answer */
export async function enterShop({ url, key, stripeUrl, databaseUrl, shippingSecret }: ShopOptions) {
  await reach(`${url}/healthz`, 'The API');
  await reach(`${stripeUrl}/_emulator/webhooks`, 'The Stripe stand-in');
  const database: pg.Client = await connectTo(databaseUrl);
  await database.query(`select set_config('app.tenant_id', 'default', false)`);

  /** Asks the API; what is away for a moment (503, 429) is asked again with the same Idempotency-Key. */
  async function ask(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const sent = {
      authorization: `Bearer ${key}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(method === 'POST' ? { 'idempotency-key': randomUUID() } : {}),
      ...headers,
    };
    for (let attempt = 1; ; attempt++) {
      const response = await fetch(url + path, {
        method,
        headers: sent,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      const away = response.status === 503 || response.status === 429;
      if (away && attempt < 6) await sleep(100 * 2 ** attempt);
      else return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
    }
  }

  async function expectOk<T>(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<T> {
    const answer = await ask(method, path, body, headers);
    if (answer.status < 300) return answer.body as T;
    throw new Error(`${method} ${path} answered ${answer.status}: ${JSON.stringify(answer.body)}`);
  }

  async function flip<T>(path: string, body?: unknown): Promise<T> {
    const response = await fetch(`${stripeUrl}/_emulator/${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer = (await response.json()) as T;
    if (!response.ok) throw new Error(`the Stripe stand-in refused ${path}: ${JSON.stringify(answer)}`);
    return answer;
  }

  const readOrder = (id: string) => expectOk<Order>('GET', `/v1/orders/${id}`);

  return {
    ask,
    expectOk,
    flip,
    readOrder,
    query: async <T extends pg.QueryResultRow>(text: string, values: unknown[] = []) =>
      (await database.query<T>(text, values)).rows,

    refundsOf: async (paymentId: string) =>
      (await expectOk<{ data: Refund[] }>('GET', `/v1/payments/${paymentId}/refunds`)).data,

    deliveries: () => flip<Deliveries>('webhooks'),
    books: async () => (await flip<{ intents: Books[] }>('state')).intents,

    /** The buyer's browser gives Stripe a card. Resolves with the intent's status, or why the card was declined. */
    async confirm(payment: Payment, card: string): Promise<string> {
      const response = await fetch(`${stripeUrl}/v1/payment_intents/${payment.stripePaymentIntentId}/confirm`, {
        method: 'POST',
        body: new URLSearchParams({
          key: 'pk_test_dev',
          client_secret: payment.clientSecret ?? '',
          payment_method: card,
          return_url: 'https://shop.example/thanks',
        }),
      });
      const answer = (await response.json()) as {
        status?: string;
        error?: { code?: string; decline_code?: string; message: string };
      };
      return answer.error
        ? (answer.error.decline_code ?? answer.error.code ?? answer.error.message)
        : String(answer.status);
    },

    /** The buyer answers the bank's question. */
    answerBank: (payment: Payment, outcome: 'succeed' | 'fail') =>
      flip(`payment_intents/${payment.stripePaymentIntentId}/authenticate`, { outcome }),

    /** Fires a cron of the Worker as if it were so many minutes later. */
    async fireCron(minutesAhead: number): Promise<void> {
      const query = new URLSearchParams({ cron: '* * * * *', time: String(Date.now() + minutesAhead * 60_000) });
      const response = await fetch(`${url}/cdn-cgi/handler/scheduled?${query}`);
      const text = await response.text();
      if (!response.ok || text !== 'ok')
        throw new Error(`the cron ended with ${response.status} ${text.slice(0, 100)}`);
    },

    /** The carrier reports, signed. Resolves with the HTTP status. */
    async track(update: {
      eventId: string;
      trackingNumber: string;
      status: string;
      occurredAt: string;
    }): Promise<number> {
      const body = JSON.stringify(update);
      const seconds = Math.floor(Date.now() / 1000);
      const mac = createHmac('sha256', shippingSecret).update(`${seconds}.${body}`).digest('hex');
      const response = await fetch(`${url}/webhooks/shipping/manual`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-signature': `t=${seconds},v1=${mac}` },
        body,
      });
      await response.body?.cancel();
      return response.status;
    },

    leave: () => database.end(),
  };
}

/** Looks until it is so, for at most so many seconds; says whether it is. */
export async function comesTrue(what: () => Promise<boolean>, seconds: number): Promise<boolean> {
  for (const end = Date.now() + seconds * 1000; ; await sleep(100)) {
    if (await what()) return true;
    if (Date.now() > end) return false;
  }
}
