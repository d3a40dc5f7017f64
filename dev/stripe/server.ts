import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Accounts, API_VERSION } from './account.ts';
import { Api, type Outcome, type Reply } from './api.ts';
import { addReadyAccount } from './connect.ts';
import { handleControl } from './emulator.ts';
import { RequestFaults } from './faults.ts';
import { runDueJobs, startJobs } from './jobs.ts';
import { State } from './state.ts';
import { type WebhookFaults, Webhooks } from './webhooks.ts';

export type StripeOptions = {
  /** 0 uses any free port. */
  port: number;
  /** The folder for the state. Without it, the state is only in memory. */
  dir?: string;
  secretKey: string;
  /** Default: the secret key with `pk_` instead of `sk_`. */
  publishableKey?: string;
  /** Where events are sent. Without it they are only recorded. `POST /_emulator/webhooks` can change it. */
  webhookUrl?: string;
  /** One secret, or several during a rotation. Each webhook is signed with all of them. */
  webhookSecret: string | string[];
  /** Signs the webhooks of connected accounts, as Stripe's endpoint for them does. Default: `webhookSecret`. */
  connectWebhookSecret?: string | string[];
  /** Connected accounts that exist from the start and can take payments. */
  connectedAccounts?: string[];
  /** The clock, in milliseconds, for keys, authorizations and `created`. `POST /_emulator/clock` moves it forward. */
  now?: () => number;
  /** The seed of the webhook faults. */
  seed?: number;
  webhookFaults?: Partial<Omit<WebhookFaults, 'seed'>>;
  /** The pause before the first retry of a webhook. It doubles each time. Default: 500 ms. */
  retryBaseMs?: number;
  /** How long a webhook receiver may take. Default: 10 s. */
  webhookTimeoutMs?: number;
  /** How long it takes until a pending refund settles, a refund fails or a dispute opens. Default: 1 s. */
  asyncMs?: number;
  /** How long a bank debit takes. With Stripe it takes four days or more. Default: `asyncMs`. */
  debitMs?: number;
  log?: (line: string) => void;
};

export type StripeEmulator = {
  url: string;
  port: number;
  /** The publishable key that the emulator accepts. */
  publishableKey: string;
  /** The seed of the webhook faults. */
  seed: number;
  close(): Promise<void>;
};

const MAX_BODY_BYTES = 1024 * 1024;

const ABOUT = `A local emulator of api.stripe.com. It is not Stripe, and no money moves.

It implements API version ${API_VERSION}: payment_intents, setup_intents, refunds, charges, disputes, customers,
payment_methods, events, accounts, account_links, tax calculations, with the test payment methods of docs.stripe.com/testing, idempotency keys and signed webhooks.
Stripe-Account (or _stripe_account with the publishable key) names a connected account, to which all objects of the
request belong. Its events have the field account, and a webhook secret of their own.

Endpoints that control the emulator. Stripe does not have them:
  GET  /_emulator/state                                   the whole state, for an audit
                              hidden: ids of objects that exist although their request got an injected error
  GET  /_emulator/recent                                  the newest 200 intents, refunds and disputes
  GET  /_emulator/processing                              the intents whose charge is pending
  GET  /_emulator/requests                                the number of requests per endpoint
  POST /_emulator/intents    {account, intents: [{id, amount, currency, metadata}]}   adds unpaid intents, without events
  POST /_emulator/webhooks   {url, delayMs, duplicate, reorder, reorderMs, lose, seed}
  POST /_emulator/faults     {times, method, path, action: status|hang|drop|delay, status, acts, saved, ms, loseEvents,
                              decides: succeed|decline, decideMs}
                              loseEvents: webhooks of this request are never delivered
                              decides: its charge stays processing and gets this outcome after decideMs
  GET  /_emulator/clock
  POST /_emulator/clock      {advanceSeconds}              also for debits, authorizations, webhook retries, keys, events
  POST /_emulator/payment_intents/{id}/authenticate   {"outcome": "succeed" | "fail"}
  POST /_emulator/setup_intents/{id}/authenticate     {"outcome": "succeed" | "fail"}
  POST /_emulator/payment_intents/{id}/settle         {"outcome": "succeed" | "fail"}   decides a pending charge now
  POST /_emulator/disputes/{id}/close                 {"status": "won" | "lost"}

Connected accounts:
  POST /_emulator/accounts                     {id, metadata}   adds an account that can take payments, without events
  POST /_emulator/accounts/{id}/change         {charges_enabled, payouts_enabled, details_submitted}
  POST /_emulator/accounts/{id}/deauthorize    its owner revokes the access: every call with it is a 403
  POST /_emulator/accounts/{id}/authorize      its owner gives the access back
  POST /_emulator/account_links/{id}/onboard   {"outcome": "finish" | "leave"}   the form of an account link's page

Actions of a merchant in Stripe's dashboard, with the events that Stripe sends. Amounts are minor units. The
account is the one that the object belongs to:
  POST /_emulator/dashboard/create        {account, amount, currency, metadata, payment_method}   paid if it has a method
  POST /_emulator/dashboard/pay           {payment_intent, payment_method}      default: pm_card_visa
  POST /_emulator/dashboard/capture       {payment_intent, amount}      default: all of it; the rest is released
  POST /_emulator/dashboard/cancel        {payment_intent, cancellation_reason}
  POST /_emulator/dashboard/change        {payment_intent, amount, currency}            before payment
  POST /_emulator/dashboard/refund        {payment_intent, amount, failsAfterSeconds}   default: all that remains
  POST /_emulator/dashboard/fail_refund   {refund}                      the refund fails now
  POST /_emulator/dashboard/dispute       {payment_intent, reason: fraudulent|product_not_received, inquiry}
  POST /_emulator/dashboard/close_dispute {payment_intent, status: won|lost}
`;

/** Reads the body as text, or returns null if it is too long. */
async function readText(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length <= MAX_BODY_BYTES) chunks.push(chunk);
  }
  return length > MAX_BODY_BYTES ? null : Buffer.concat(chunks).toString('utf8');
}

function send(response: ServerResponse, reply: Reply): void {
  const length = String(Buffer.byteLength(reply.body));
  const headers = { 'Content-Type': 'application/json', 'Content-Length': length, ...reply.headers };
  response.writeHead(reply.status, headers).end(reply.body);
}

/** Sends the outcome to the client. A dropped or hanging request gets no response. */
function sendOutcome(response: ServerResponse, outcome: Outcome): void {
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
 * Starts the Stripe emulator on 127.0.0.1. Stripe's SDK reaches it with the options `host`, `port` and `protocol`.
 * Rejects with `EADDRINUSE` if the port is in use. With `dir`, the next start restores the state and pending webhooks.
 */
export async function startStripe(options: StripeOptions): Promise<StripeEmulator> {
  const log = options.log ?? (() => {});
  const seed = options.seed ?? 1;
  const publishableKey = options.publishableKey ?? options.secretKey.replace(/^sk_/, 'pk_');
  // Open the port before the journal: a second start fails here and does not touch the journal of the first.
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
  let state: State;
  try {
    state = new State(options.dir);
  } catch (error) {
    server.close();
    throw error;
  }
  const webhooks = new Webhooks(state, {
    url: options.webhookUrl ?? null,
    secrets: [options.webhookSecret].flat(),
    connectSecrets: [options.connectWebhookSecret ?? options.webhookSecret].flat(),
    retryBaseMs: options.retryBaseMs ?? 500,
    timeoutMs: options.webhookTimeoutMs ?? 10_000,
    faults: { delayMs: 0, duplicate: 0, reorder: 0, reorderMs: 1000, lose: 0, ...options.webhookFaults, seed },
    log,
  });
  const asyncMs = options.asyncMs ?? 1000;
  const accounts = new Accounts(state, webhooks, options.now ?? Date.now, {
    asyncMs,
    debitMs: options.debitMs ?? asyncMs,
  });
  const faults = new RequestFaults();
  const api = new Api(accounts, { secret: options.secretKey, publishable: publishableKey }, faults, log);

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
    runDueJobs(accounts);
    if (path.startsWith('/_emulator/')) {
      const contentType = request.headers['content-type'] ?? '';
      send(response, handleControl(accounts, faults, { method, path, contentType, text }));
    } else {
      const apiRequest = { method, path, query: search.slice(1), headers: request.headers, body: text };
      sendOutcome(response, await api.handle(apiRequest));
    }
    jobs.wake();
  };

  accounts.url = url;
  for (const id of options.connectedAccounts ?? []) addReadyAccount(accounts, id);
  state.commit();
  const jobs = startJobs(accounts);
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
      state.close();
    },
  };
}
