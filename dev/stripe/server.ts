import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Account, API_VERSION } from './account.ts';
import { Api, type Outcome, type Reply } from './api.ts';
import { answerSwitch } from './emulator.ts';
import { RequestFaults } from './faults.ts';
import { runDueJobs, startJobs } from './jobs.ts';
import { Store } from './store.ts';
import { type WebhookFaults, Webhooks } from './webhooks.ts';

export type StripeOptions = {
  /** 0 takes any free port. */
  port: number;
  /** Where the state is kept; without it, in memory. */
  dir?: string;
  secretKey: string;
  /** By default the secret key with `sk_` made `pk_`. */
  publishableKey?: string;
  /** Where events are sent; without it they are only recorded. Can be changed while running. */
  webhookUrl?: string;
  /** Several while one is being rolled: each signs. */
  webhookSecret: string | string[];
  /** Milliseconds; for idempotency keys, holds and `created`. `POST /_emulator/clock` moves it ahead. */
  now?: () => number;
  /** Of the draws for webhook faults. */
  seed?: number;
  webhookFaults?: Partial<Omit<WebhookFaults, 'seed'>>;
  /** The pause before the first repeated delivery; it doubles each time. 500 ms. */
  retryBaseMs?: number;
  /** How long a receiver may take. 10 s. */
  webhookTimeoutMs?: number;
  /** How long pending refunds, late failures of refunds and disputes take. 1 s. */
  asyncMs?: number;
  /** How long a bank debit takes; really four days and more. By default as `asyncMs`. */
  debitMs?: number;
  log?: (line: string) => void;
};

export type StripeEmulator = {
  url: string;
  port: number;
  /** The publishable key that it takes. */
  publishableKey: string;
  /** The seed of the webhook faults. */
  seed: number;
  close(): Promise<void>;
};

const LONGEST_BODY = 1024 * 1024;

const ABOUT = `A Stripe emulator: the local platform's stand-in for api.stripe.com. It is not Stripe, and no money moves.

It speaks API version ${API_VERSION}: payment_intents, setup_intents, refunds, charges, disputes, customers,
payment_methods, events, with the test payment methods of docs.stripe.com/testing, idempotency keys and signed webhooks.

Its own switches, which Stripe has not:
  GET  /_emulator/state                                   everything, for an audit; hidden: made by a request that a kept 500 answered
  GET  /_emulator/recent                                  the newest 200 intents, refunds and disputes
  GET  /_emulator/processing                              the intents that a bank has to decide
  GET  /_emulator/requests                                how many requests each endpoint has had
  POST /_emulator/intents    {intents: [{id, amount, currency, metadata}]}   many unpaid ones at once, without events
  POST /_emulator/webhooks   {url, delayMs, duplicate, reorder, reorderMs, lose, seed}
  POST /_emulator/faults     {times, method, path, action: status|hang|drop|delay, status, acts, saved, ms, loseEvents,
                              decides: succeed|decline, decideMs}
                              loseEvents: webhooks of this request are never delivered
                              decides: its charge stays processing and ends so decideMs later
  GET  /_emulator/clock
  POST /_emulator/clock      {advanceSeconds}              debits, holds, webhook retries, keys and events follow it
  POST /_emulator/payment_intents/{id}/authenticate   {"outcome": "succeed" | "fail"}
  POST /_emulator/setup_intents/{id}/authenticate     {"outcome": "succeed" | "fail"}
  POST /_emulator/payment_intents/{id}/settle         {"outcome": "succeed" | "fail"}   the bank decides a debit now
  POST /_emulator/disputes/{id}/close                 {"status": "won" | "lost"}

What a merchant does in Stripe's dashboard, with the events that Stripe sends; amounts are minor units:
  POST /_emulator/dashboard/capture       {payment_intent, amount}      the whole by default; the rest is let go
  POST /_emulator/dashboard/cancel        {payment_intent, cancellation_reason}
  POST /_emulator/dashboard/change        {payment_intent, amount, currency}            before it is paid
  POST /_emulator/dashboard/refund        {payment_intent, amount, failsAfterSeconds}   the whole rest by default
  POST /_emulator/dashboard/fail_refund   {refund}                      the bank sends it back now
  POST /_emulator/dashboard/dispute       {payment_intent, reason: fraudulent|product_not_received, inquiry}
  POST /_emulator/dashboard/close_dispute {payment_intent, status: won|lost}
`;

/** The body as text, or null where it is too long. */
async function readText(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length <= LONGEST_BODY) chunks.push(chunk);
  }
  return length > LONGEST_BODY ? null : Buffer.concat(chunks).toString('utf8');
}

function send(response: ServerResponse, reply: Reply): void {
  const length = String(Buffer.byteLength(reply.body));
  const headers = { 'Content-Type': 'application/json', 'Content-Length': length, ...reply.headers };
  response.writeHead(reply.status, headers).end(reply.body);
}

/** Gives the outcome to the client, who hears nothing of a request that was dropped or hangs. */
function conclude(response: ServerResponse, outcome: Outcome): void {
  if ('reply' in outcome) {
    // A buyer's page calls Stripe from the browser, so Stripe allows every origin.
    send(response, { ...outcome.reply, headers: { 'Access-Control-Allow-Origin': '*', ...outcome.reply.headers } });
  }
  if ('drop' in outcome) response.destroy();
  if ('hang' in outcome && outcome.hang < Number.POSITIVE_INFINITY) {
    const timer = setTimeout(() => response.destroy(), outcome.hang);
    response.on('close', () => clearTimeout(timer));
  }
}

/**
 * Starts the local platform's Stripe on 127.0.0.1. Stripe's SDK talks to it unchanged (`host`, `port`, `protocol`).
 * Rejects if the port is taken (`EADDRINUSE`). With `dir`, the next start finds the state and goes on delivering.
 */
export async function startStripe(options: StripeOptions): Promise<StripeEmulator> {
  const log = options.log ?? (() => {});
  const seed = options.seed ?? 1;
  const publishableKey = options.publishableKey ?? options.secretKey.replace(/^sk_/, 'pk_');
  // The port comes first: whoever holds it also holds the journal, which a second start must not touch.
  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      log(`a request failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      response.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  let store: Store;
  try {
    store = new Store(options.dir);
  } catch (error) {
    server.close();
    throw error;
  }
  const webhooks = new Webhooks(store, {
    url: options.webhookUrl ?? null,
    secrets: [options.webhookSecret].flat(),
    retryBaseMs: options.retryBaseMs ?? 500,
    timeoutMs: options.webhookTimeoutMs ?? 10_000,
    faults: { delayMs: 0, duplicate: 0, reorder: 0, reorderMs: 1000, lose: 0, ...options.webhookFaults, seed },
    log,
  });
  const asyncMs = options.asyncMs ?? 1000;
  const account = new Account(store, webhooks, options.now ?? Date.now, {
    asyncMs,
    debitMs: options.debitMs ?? asyncMs,
  });
  const faults = new RequestFaults();
  const api = new Api(account, { secret: options.secretKey, publishable: publishableKey }, faults, log);

  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const { pathname: path, search } = new URL(request.url ?? '/', 'http://emulator');
    const method = request.method ?? 'GET';
    const text = await readText(request);
    if (text === null) return send(response, { status: 413, headers: {}, body: '{}' });
    if (method === 'OPTIONS' && path.startsWith('/v1/')) {
      const origin = { 'Access-Control-Allow-Origin': '*' };
      const allow = {
        ...origin,
        'Access-Control-Allow-Methods': 'GET, POST, DELETE',
        'Access-Control-Allow-Headers': '*',
      };
      return send(response, { status: 204, headers: allow, body: '' });
    }
    if (path === '/') return send(response, { status: 200, headers: { 'Content-Type': 'text/plain' }, body: ABOUT });
    runDueJobs(account);
    if (path.startsWith('/_emulator/')) {
      const contentType = request.headers['content-type'] ?? '';
      send(response, answerSwitch(account, faults, { method, path, contentType, text }));
    } else {
      const asked = { method, path, query: search.slice(1), headers: request.headers, body: text };
      conclude(response, await api.answer(asked));
    }
    jobs.wake();
  };

  account.url = url;
  const jobs = startJobs(account);
  webhooks.wake();

  return {
    url,
    port,
    publishableKey,
    seed,
    async close() {
      jobs.close();
      webhooks.close();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
      store.close();
    },
  };
}
