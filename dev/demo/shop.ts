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

export type ApiResponse = { status: number; body: unknown };

/** A PaymentIntent's money at the Stripe emulator, in minor units. */
export type IntentTotals = { id: string; status: string; captured: number; refunded: number };
type WebhookFaults = {
  lose: number;
  duplicate: number;
  reorder: number;
  reorderMs: number;
  delayMs: number;
  seed: number;
};
export type WebhookReport = {
  faults: WebhookFaults;
  pending: number;
  lost: string[];
  duplicated: number;
  reordered: number;
};

/** What the demo does with the running platform, as its merchant, buyers, carrier, clock and auditor. */
export type Shop = Awaited<ReturnType<typeof connectToShop>>;

/** Throws with a remedy if nothing responds at this URL. */
async function checkReachable(url: string, name: string): Promise<void> {
  const response = await fetch(url, { signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
  await response?.body?.cancel();
  if (response?.ok) return;
  throw new Error(
    `${name} is unavailable at ${url}. Start the platform with "npm start" in another terminal, or name its address (--help).`,
  );
}

/**
 * Connects to the platform. Throws an error with a remedy if the API, the Stripe emulator or the database is
 * unavailable.
 */
export async function connectToShop({ url, key, stripeUrl, databaseUrl, shippingSecret }: ShopOptions) {
  await checkReachable(`${url}/healthz`, 'The API');
  await checkReachable(`${stripeUrl}/_emulator/webhooks`, 'The Stripe emulator');
  const database: pg.Client = await connectTo(databaseUrl);
  await database.query(`select set_config('app.tenant_id', 'default', false)`);
  let lastQuery: Promise<unknown> = Promise.resolve();
  /** Queries the database. A connection runs one query at a time, so each waits for the one before. */
  function query<T extends pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<T[]> {
    const rows = lastQuery.catch(() => undefined).then(async () => (await database.query<T>(text, values)).rows);
    lastQuery = rows;
    return rows;
  }

  /** Sends a request to the API. Retries 503 and 429 with the same Idempotency-Key. */
  async function request(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<ApiResponse> {
    const requestHeaders = {
      authorization: `Bearer ${key}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(method === 'POST' ? { 'idempotency-key': randomUUID() } : {}),
      ...headers,
    };
    for (let attempt = 1; ; attempt++) {
      const response = await fetch(url + path, {
        method,
        headers: requestHeaders,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      const retryable = response.status === 503 || response.status === 429;
      if (retryable && attempt < 6) await sleep(100 * 2 ** attempt);
      else return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
    }
  }

  async function expectOk<T>(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<T> {
    const response = await request(method, path, body, headers);
    if (response.status < 300) return response.body as T;
    throw new Error(`${method} ${path} returned ${response.status}: ${JSON.stringify(response.body)}`);
  }

  /** Reads or changes the state of the Stripe emulator. */
  async function callEmulator<T>(path: string, body?: unknown): Promise<T> {
    const response = await fetch(`${stripeUrl}/_emulator/${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const result = (await response.json()) as T;
    if (!response.ok) throw new Error(`the Stripe emulator rejected ${path}: ${JSON.stringify(result)}`);
    return result;
  }

  const readOrder = (id: string) => expectOk<Order>('GET', `/v1/orders/${id}`);

  return {
    request,
    expectOk,
    callEmulator,
    readOrder,
    query,

    refundsOf: async (paymentId: string) =>
      (await expectOk<{ data: Refund[] }>('GET', `/v1/payments/${paymentId}/refunds`)).data,

    readWebhooks: () => callEmulator<WebhookReport>('webhooks'),
    readIntents: async () => (await callEmulator<{ intents: IntentTotals[] }>('state')).intents,

    /** Confirms a payment as the buyer's browser does. Resolves with the intent's status or the code of the decline. */
    async confirm(payment: Payment, card: string): Promise<string> {
      const [intent] = await query<{ account: string | null }>(
        'select stripe_account as account from payments.intents where stripe_id = $1',
        [payment.stripePaymentIntentId],
      );
      const response = await fetch(`${stripeUrl}/v1/payment_intents/${payment.stripePaymentIntentId}/confirm`, {
        method: 'POST',
        body: new URLSearchParams({
          key: 'pk_test_dev',
          ...(intent?.account ? { _stripe_account: intent.account } : {}),
          client_secret: payment.clientSecret ?? '',
          payment_method: card,
          return_url: 'https://shop.example/thanks',
        }),
      });
      const result = (await response.json()) as {
        status?: string;
        error?: { code?: string; decline_code?: string; message: string };
      };
      return result.error
        ? (result.error.decline_code ?? result.error.code ?? result.error.message)
        : String(result.status);
    },

    /** Completes 3-D Secure as the buyer does. */
    completeAuthentication: (payment: Payment, outcome: 'succeed' | 'fail') =>
      callEmulator(`payment_intents/${payment.stripePaymentIntentId}/authenticate`, { outcome }),

    /** Fires the Worker's cron with a time that many minutes ahead. */
    async fireCron(minutesAhead: number): Promise<void> {
      const query = new URLSearchParams({ cron: '* * * * *', time: String(Date.now() + minutesAhead * 60_000) });
      const response = await fetch(`${url}/cdn-cgi/handler/scheduled?${query}`);
      const text = await response.text();
      if (!response.ok || text !== 'ok')
        throw new Error(`the cron failed: status ${response.status}, ${text.slice(0, 100)}`);
    },

    /** Sends a signed tracking update as the carrier. Resolves with the HTTP status. */
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

    close: () => database.end(),
  };
}

/** Waits until the condition is true. Resolves with false if it is not within this time. */
export async function waitUntil(condition: () => Promise<boolean>, seconds: number): Promise<boolean> {
  for (const end = Date.now() + seconds * 1000; ; await sleep(100)) {
    if (await condition()) return true;
    if (Date.now() > end) return false;
  }
}
