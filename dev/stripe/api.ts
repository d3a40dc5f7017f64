import type { IncomingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Account, API_VERSION, type Call, type Route } from './account.ts';
import { chargeRoutes } from './charges.ts';
import { customerRoutes } from './customers.ts';
import { disputeRoutes } from './disputes.ts';
import { eventRoutes } from './events.ts';
import { faultActs, faultAnswer, faultFate, type RequestFault, type RequestFaults } from './faults.ts';
import { claimKey, settleKey } from './idempotency.ts';
import { intentRoutes } from './intents.ts';
import { expand, readExpand } from './lists.ts';
import { methodRoutes } from './methods.ts';
import { refundRoutes } from './refunds.ts';
import { setupRoutes } from './setup.ts';
import { letters } from './store.ts';
import { type Form, Params, parseForm, StripeFailure } from './wire.ts';

export type ApiRequest = { method: string; path: string; query: string; headers: IncomingHttpHeaders; body: string };
export type Reply = { status: number; headers: Record<string, string>; body: string };
/** What becomes of a request; without a reply the client never hears of it. */
export type Outcome = { reply: Reply } | { hang: number } | { drop: true };

export type Keys = { secret: string; publishable: string };

const ROUTES = [
  ...[...intentRoutes, ...setupRoutes, ...refundRoutes, ...chargeRoutes, ...disputeRoutes],
  ...[...customerRoutes, ...methodRoutes, ...eventRoutes],
].map((route) => ({ ...route, pattern: new RegExp(`^${route.path.replace(/:id/, '([^/]+)')}$`) }));

// What Stripe.js sends beside the documented parameters.
const BROWSER = new Set(
  `client_attribution_metadata expected_payment_method_type guid muid sid pasted_fields payment_user_agent radar_options
  referrer time_on_page _stripe_account _stripe_version`.split(/\s+/),
);
// What a publishable key is shown of an intent.
const BUYER_VIEW = new Set(
  `id object amount amount_details automatic_payment_methods canceled_at cancellation_reason capture_method client_secret
  confirmation_method created currency description last_payment_error last_setup_error livemode next_action
  payment_method payment_method_configuration_details payment_method_types processing receipt_email
  setup_future_usage shipping source status usage`.split(/\s+/),
);

function turnedAway(status: number, message: string, code?: string): StripeFailure {
  const body = { type: 'invalid_request_error' as const, message, ...(code === undefined ? {} : { code }) };
  return new StripeFailure(status, body, { saved: false });
}

/** The key of `Authorization` (bearer, or the user name of basic), or the form's, as Stripe.js sends it. */
function readKey(headers: IncomingHttpHeaders, form: Form): string | undefined {
  const [scheme, value] = (headers.authorization ?? '').split(' ');
  if (scheme === 'Bearer') return value;
  if (scheme === 'Basic')
    return Buffer.from(value ?? '', 'base64')
      .toString()
      .split(':')[0];
  return typeof form.key === 'string' ? form.key : undefined;
}

function authenticate(keys: Keys, key: string | undefined): 'publishable' | 'secret' {
  if (key === keys.secret) return 'secret';
  if (key === keys.publishable) return 'publishable';
  if (!key) {
    const how = "in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')";
    throw turnedAway(401, `You did not provide an API key. You need to provide your API key ${how}.`);
  }
  throw turnedAway(401, `Invalid API Key provided: ${key.slice(0, 8)}${'*'.repeat(8)}${key.slice(-4)}`);
}

/** The parameters in one order, so that two requests that ask the same compare equal. */
function canonical(form: Form): string {
  const sorted = Object.entries(form).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(sorted.map(([name, value]) => [name, typeof value === 'string' ? value : canonical(value)]));
}

function isObject(value: unknown): value is { id: string } {
  return typeof value === 'object' && value !== null && 'id' in value && typeof value.id === 'string';
}

function buyerView(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('object' in value)) return value;
  if (value.object !== 'payment_intent' && value.object !== 'setup_intent') return value;
  return Object.fromEntries(Object.entries(value).filter(([name]) => BUYER_VIEW.has(name)));
}

/** Stripe's HTTP API over one account: keys, idempotency, faults, and the endpoint itself. */
export class Api {
  readonly #account: Account;
  readonly #keys: Keys;
  readonly #faults: RequestFaults;
  readonly #log: (line: string) => void;

  constructor(account: Account, keys: Keys, faults: RequestFaults, log: (line: string) => void) {
    this.#account = account;
    this.#keys = keys;
    this.#faults = faults;
    this.#log = log;
  }

  /** Answers one request. Its change is committed before the outcome is known to anyone. */
  async answer(request: ApiRequest): Promise<Outcome> {
    const requestId = `req_${letters(14)}`;
    const fault = this.#faults.take(request.method, request.path);
    if (fault?.action === 'hang' && !faultActs(fault)) return { hang: fault.ms ?? Number.POSITIVE_INFINITY };
    let reply: Reply;
    try {
      reply = await this.#admit(request, requestId, fault);
    } catch (error) {
      reply = this.#errorReply(error, requestId);
    }
    if (fault?.action === 'drop') return { drop: true };
    if (fault?.action === 'hang') return { hang: fault.ms ?? Number.POSITIVE_INFINITY };
    const key = request.headers['idempotency-key'];
    if (typeof key === 'string') reply.headers['Idempotency-Key'] = key;
    reply.headers['Request-Id'] = requestId;
    reply.headers['Stripe-Version'] = String(request.headers['stripe-version'] ?? API_VERSION);
    return { reply };
  }

  async #admit(request: ApiRequest, requestId: string, fault: RequestFault | null): Promise<Reply> {
    const { method, path, headers } = request;
    const json = method === 'POST' && (headers['content-type'] ?? '').includes('json');
    const form = parseForm(method === 'POST' ? request.body : request.query);
    const role = authenticate(this.#keys, readKey(headers, form));
    const found = ROUTES.find((route) => route.method === method && route.pattern.test(path));
    if (found === undefined) {
      throw turnedAway(404, `Unrecognized request URL (${method}: ${path}). Please see https://stripe.com/docs.`);
    }
    const endpoint = `${method} ${found.path}`;
    this.#account.requests.set(endpoint, (this.#account.requests.get(endpoint) ?? 0) + 1);
    if (role === 'publishable' && found.publishable === undefined) {
      const message = 'This API call cannot be made with a publishable API key. Please use a secret API key.';
      throw turnedAway(403, message, 'secret_key_required');
    }
    if (json) {
      throw turnedAway(
        400,
        'Invalid request (check that your POST content type is application/x-www-form-urlencoded).',
      );
    }
    const injected = faultAnswer(fault);
    if (injected !== null && !injected.saved && !faultActs(fault)) throw injected;
    delete form.key;
    if (role === 'publishable') for (const name of BROWSER) delete form[name];
    const key = method === 'POST' && typeof headers['idempotency-key'] === 'string' ? headers['idempotency-key'] : null;
    const saved = key === null ? null : claimKey(this.#account, key, method, path, canonical(form));
    if (saved !== null) {
      const marks = { 'Idempotent-Replayed': 'true', 'Original-Request': saved.requestId };
      return { status: saved.status, headers: marks, body: saved.body };
    }
    if (fault?.action === 'delay') await sleep(fault.ms ?? 0);
    const id = decodeURIComponent(found.pattern.exec(path)?.[1] ?? '');
    const call: Call = { account: this.#account, params: new Params(form), id, byBuyer: role === 'publishable' };
    return this.#work(found, call, { requestId, key }, injected, fault);
  }

  /** Runs the endpoint without a pause in between, so no other request sees half of it; then saves the answer. */
  #work(
    route: Route,
    call: Call,
    cause: { requestId: string; key: string | null },
    injected: StripeFailure | null,
    fault: RequestFault | null,
  ): Reply {
    const account = this.#account;
    const acts = faultActs(fault);
    account.fate = faultFate(fault);
    account.cause = { id: cause.requestId, idempotency_key: cause.key };
    let reply: Reply;
    // A request that goes wrong before it acts has no answer that a second one could be given.
    let saved = acts || injected !== null;
    try {
      const paths = readExpand(call.params);
      const answer = acts ? route.answer(call) : null;
      if (injected?.saved && isObject(answer)) this.#faults.hidden.push(answer.id);
      if (injected !== null) throw injected;
      const shown = call.byBuyer ? buyerView(answer) : expand(account.store, answer, paths);
      reply = { status: 200, headers: {}, body: JSON.stringify(shown, null, 2) };
    } catch (thrown) {
      const error = injected ?? thrown;
      // A decline, too, is hidden: its intent is there.
      const declined = thrown instanceof StripeFailure ? thrown.body.payment_intent : undefined;
      if (injected?.saved && isObject(declined)) this.#faults.hidden.push(declined.id);
      saved = error instanceof StripeFailure ? error.saved : true;
      reply = this.#errorReply(error, cause.requestId, call.byBuyer);
    }
    account.fate = {};
    if (cause.key !== null) {
      const answer = { status: reply.status, body: reply.body, requestId: cause.requestId };
      settleKey(account, cause.key, saved ? answer : null);
    }
    account.store.commit();
    account.webhooks.wake();
    return reply;
  }

  #errorReply(error: unknown, requestId: string, byBuyer = false): Reply {
    if (!(error instanceof StripeFailure)) {
      this.#log(`internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      const body = { error: { type: 'api_error', message: 'An unknown error occurred in the emulator.' } };
      return { status: 500, headers: {}, body: JSON.stringify(body) };
    }
    const { code } = error.body;
    const shown = Object.entries(error.body).map(([name, value]) => [name, byBuyer ? buyerView(value) : value]);
    const body = {
      error: {
        ...(code === undefined ? {} : { doc_url: `https://stripe.com/docs/error-codes/${code.replaceAll('_', '-')}` }),
        ...Object.fromEntries(shown),
        request_log_url: `https://dashboard.stripe.com/test/logs/${requestId}`,
      },
    };
    return { status: error.status, headers: { ...error.headers }, body: JSON.stringify(body, null, 2) };
  }
}
