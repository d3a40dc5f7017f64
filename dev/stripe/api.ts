import type { IncomingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Account, type Accounts, API_VERSION, type Call, type Route } from './account.ts';
import { chargeRoutes } from './charges.ts';
import { accountInvalid, accountRoutes } from './connect.ts';
import { customerRoutes } from './customers.ts';
import { disputeRoutes } from './disputes.ts';
import { eventRoutes } from './events.ts';
import { faultEffects, faultError, type RequestFault, type RequestFaults, takesEffect } from './faults.ts';
import { claimKey, finishClaim } from './idempotency.ts';
import { intentRoutes } from './intents.ts';
import { expand, readExpand } from './lists.ts';
import { methodRoutes } from './methods.ts';
import { linkRoutes } from './onboarding.ts';
import { refundRoutes } from './refunds.ts';
import { setupRoutes } from './setup.ts';
import { randomCharacters } from './store.ts';
import { taxRoutes } from './tax.ts';
import { type Form, Params, parseForm, StripeFailure } from './wire.ts';

export type ApiRequest = { method: string; path: string; query: string; headers: IncomingHttpHeaders; body: string };
export type Reply = { status: number; headers: Record<string, string>; body: string };
/** How a request ends: with a reply, with no reply for `hang` milliseconds, or with a closed connection. */
export type Outcome = { reply: Reply } | { hang: number } | { drop: true };

export type Keys = { secret: string; publishable: string };

const ROUTES = [
  ...[...intentRoutes, ...setupRoutes, ...refundRoutes, ...chargeRoutes, ...disputeRoutes],
  ...[...customerRoutes, ...methodRoutes, ...eventRoutes, ...accountRoutes, ...linkRoutes],
  ...taxRoutes,
].map((route) => ({ ...route, pattern: new RegExp(`^${route.path.replace(/:id/, '([^/]+)')}$`) }));

// Parameters that Stripe.js sends and Stripe's reference does not list.
const BROWSER_PARAMS = new Set(
  `client_attribution_metadata expected_payment_method_type guid muid sid pasted_fields payment_user_agent radar_options
  referrer time_on_page _stripe_account _stripe_version`.split(/\s+/),
);
// The fields of an intent that a publishable key can read.
const BUYER_FIELDS = new Set(
  `id object amount amount_details automatic_payment_methods canceled_at cancellation_reason capture_method client_secret
  confirmation_method created currency description last_payment_error last_setup_error livemode next_action
  payment_method payment_method_configuration_details payment_method_types processing receipt_email
  setup_future_usage shipping source status usage`.split(/\s+/),
);

/** An error that occurs before the endpoint runs. The idempotency key does not keep it. */
function unsavedError(status: number, message: string, code?: string): StripeFailure {
  const body = { type: 'invalid_request_error' as const, message, ...(code === undefined ? {} : { code }) };
  return new StripeFailure(status, body, { saved: false });
}

/** Reads the API key from `Authorization` (bearer token or basic user name) or from the form, as Stripe.js sends it. */
function readKey(headers: IncomingHttpHeaders, form: Form): string | undefined {
  const [scheme, value] = (headers.authorization ?? '').split(' ');
  if (scheme === 'Bearer') return value;
  if (scheme === 'Basic')
    return Buffer.from(value ?? '', 'base64')
      .toString()
      .split(':')[0];
  return typeof form.key === 'string' ? form.key : undefined;
}

/** Hides most of a key, as Stripe's errors do. */
function maskKey(key: string): string {
  return `${key.slice(0, 8)}${'*'.repeat(8)}${key.slice(-4)}`;
}

function authenticate(keys: Keys, key: string | undefined): 'publishable' | 'secret' {
  if (key === keys.secret) return 'secret';
  if (key === keys.publishable) return 'publishable';
  if (!key) {
    const how = "in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')";
    throw unsavedError(401, `You did not provide an API key. You need to provide your API key ${how}.`);
  }
  throw unsavedError(401, `Invalid API Key provided: ${maskKey(key)}`);
}

/**
 * The connected account that the request names in `Stripe-Account` or, as Stripe.js does, in `_stripe_account`.
 * Undefined if it names none.
 */
function readAccountId(headers: IncomingHttpHeaders, form: Form, role: 'publishable' | 'secret'): string | undefined {
  const header = headers['stripe-account'];
  if (typeof header === 'string' && header !== '') return header;
  const { _stripe_account: parameter } = form;
  return role === 'publishable' && typeof parameter === 'string' && parameter !== '' ? parameter : undefined;
}

/** Serializes the parameters in sorted order, so that equal requests have equal texts. */
function serializeSorted(form: Form): string {
  const sorted = Object.entries(form).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(
    sorted.map(([name, value]) => [name, typeof value === 'string' ? value : serializeSorted(value)]),
  );
}

function isObject(value: unknown): value is { id: string } {
  return typeof value === 'object' && value !== null && 'id' in value && typeof value.id === 'string';
}

function buyerView(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('object' in value)) return value;
  if (value.object !== 'payment_intent' && value.object !== 'setup_intent') return value;
  return Object.fromEntries(Object.entries(value).filter(([name]) => BUYER_FIELDS.has(name)));
}

/** Emulates Stripe's HTTP API: API keys, connected accounts, idempotency, injected faults and the endpoints. */
export class Api {
  readonly #accounts: Accounts;
  readonly #keys: Keys;
  readonly #faults: RequestFaults;
  readonly #log: (line: string) => void;

  constructor(accounts: Accounts, keys: Keys, faults: RequestFaults, log: (line: string) => void) {
    this.#accounts = accounts;
    this.#keys = keys;
    this.#faults = faults;
    this.#log = log;
  }

  /** Handles one request. Commits its changes before it resolves with the outcome. */
  async handle(request: ApiRequest): Promise<Outcome> {
    const requestId = `req_${randomCharacters(14)}`;
    const fault = this.#faults.take(request.method, request.path);
    if (fault?.action === 'hang' && !takesEffect(fault)) return { hang: fault.ms ?? Number.POSITIVE_INFINITY };
    let reply: Reply;
    try {
      reply = await this.#dispatch(request, requestId, fault);
    } catch (error) {
      reply = this.#errorReply(error, requestId);
    }
    if (fault?.action === 'drop') return { drop: true };
    if (fault?.action === 'hang') return { hang: fault.ms ?? Number.POSITIVE_INFINITY };
    const key = request.headers['idempotency-key'];
    if (typeof key === 'string') reply.headers['Idempotency-Key'] = key;
    const connected = request.headers['stripe-account'];
    if (typeof connected === 'string') reply.headers['Stripe-Account'] = connected;
    reply.headers['Request-Id'] = requestId;
    reply.headers['Stripe-Version'] = String(request.headers['stripe-version'] ?? API_VERSION);
    return { reply };
  }

  async #dispatch(request: ApiRequest, requestId: string, fault: RequestFault | null): Promise<Reply> {
    const { method, path, headers } = request;
    const isJson = method === 'POST' && (headers['content-type'] ?? '').includes('json');
    const form = parseForm(method === 'POST' ? request.body : request.query);
    const apiKey = readKey(headers, form);
    const role = authenticate(this.#keys, apiKey);
    const maskedKey = maskKey(apiKey ?? '');
    const account = this.#findAccount(readAccountId(headers, form, role), maskedKey);
    const route = ROUTES.find((route) => route.method === method && route.pattern.test(path));
    if (route === undefined) {
      throw unsavedError(404, `Unrecognized request URL (${method}: ${path}). Please see https://stripe.com/docs.`);
    }
    const endpoint = `${method} ${route.path}`;
    this.#accounts.requests.set(endpoint, (this.#accounts.requests.get(endpoint) ?? 0) + 1);
    if (route.platformOnly && account.connectedId !== null) {
      throw unsavedError(
        403,
        'Only Stripe Connect platforms can work with other accounts.',
        'platform_account_required',
      );
    }
    if (role === 'publishable' && route.publishable === undefined) {
      const message = 'This API call cannot be made with a publishable API key. Please use a secret API key.';
      throw unsavedError(403, message, 'secret_key_required');
    }
    if (isJson) {
      throw unsavedError(
        400,
        'Invalid request (check that your POST content type is application/x-www-form-urlencoded).',
      );
    }
    const injectedError = faultError(fault);
    if (injectedError !== null && !injectedError.saved && !takesEffect(fault)) {
      if (fault?.ms !== undefined) await sleep(fault.ms);
      throw injectedError;
    }
    delete form.key;
    if (role === 'publishable') for (const name of BROWSER_PARAMS) delete form[name];
    const key = method === 'POST' && typeof headers['idempotency-key'] === 'string' ? headers['idempotency-key'] : null;
    const saved = key === null ? null : claimKey(account, key, method, path, serializeSorted(form));
    if (saved !== null) {
      const replayHeaders = { 'Idempotent-Replayed': 'true', 'Original-Request': saved.requestId };
      return { status: saved.status, headers: replayHeaders, body: saved.body };
    }
    if (fault?.action === 'delay') await sleep(fault.ms ?? 0);
    const id = decodeURIComponent(route.pattern.exec(path)?.[1] ?? '');
    const call: Call = { account, params: new Params(form), id, byBuyer: role === 'publishable', maskedKey };
    return this.#runEndpoint(route, call, { requestId, key }, injectedError, fault);
  }

  /** @throws StripeFailure if the platform has no access to the account */
  #findAccount(id: string | undefined, maskedKey: string): Account {
    if (id === undefined) return this.#accounts.platform;
    const account = this.#accounts.find(id);
    if (account?.hasAccess !== true) throw accountInvalid(id, maskedKey);
    return account;
  }

  /** Runs the endpoint synchronously, so that no other request sees a partial change. Then saves the response. */
  #runEndpoint(
    route: Route,
    call: Call,
    cause: { requestId: string; key: string | null },
    injectedError: StripeFailure | null,
    fault: RequestFault | null,
  ): Reply {
    const { account } = call;
    const { accounts } = account;
    const acts = takesEffect(fault);
    accounts.effects = faultEffects(fault);
    accounts.cause = { id: cause.requestId, idempotency_key: cause.key };
    let reply: Reply;
    // If the endpoint does not run, there is no response that a retry could receive.
    let saved = acts || injectedError !== null;
    try {
      const paths = readExpand(call.params);
      const result = acts ? route.handle(call) : null;
      if (injectedError?.saved && isObject(result)) this.#faults.hidden.push(result.id);
      if (injectedError !== null) throw injectedError;
      const visible = call.byBuyer ? buyerView(result) : expand(account.store, result, paths);
      reply = { status: 200, headers: {}, body: JSON.stringify(visible, null, 2) };
    } catch (thrown) {
      const error = injectedError ?? thrown;
      // A declined intent exists too, so the injected error also hides it.
      const declined = thrown instanceof StripeFailure ? thrown.body.payment_intent : undefined;
      if (injectedError?.saved && isObject(declined)) this.#faults.hidden.push(declined.id);
      saved = error instanceof StripeFailure ? error.saved : true;
      reply = this.#errorReply(error, cause.requestId, call.byBuyer);
    }
    accounts.effects = {};
    if (cause.key !== null) {
      const answer = { status: reply.status, body: reply.body, requestId: cause.requestId };
      finishClaim(account, cause.key, saved ? answer : null);
    }
    accounts.state.commit();
    accounts.webhooks.wake();
    return reply;
  }

  #errorReply(error: unknown, requestId: string, byBuyer = false): Reply {
    if (!(error instanceof StripeFailure)) {
      this.#log(`internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      const body = { error: { type: 'api_error', message: 'An unknown error occurred in the emulator.' } };
      return { status: 500, headers: {}, body: JSON.stringify(body) };
    }
    const { code } = error.body;
    const fields = Object.entries(error.body).map(([name, value]) => [name, byBuyer ? buyerView(value) : value]);
    const body = {
      error: {
        ...(code === undefined ? {} : { doc_url: `https://stripe.com/docs/error-codes/${code.replaceAll('_', '-')}` }),
        ...Object.fromEntries(fields),
        request_log_url: `https://dashboard.stripe.com/test/logs/${requestId}`,
      },
    };
    return { status: error.status, headers: { ...error.headers }, body: JSON.stringify(body, null, 2) };
  }
}
