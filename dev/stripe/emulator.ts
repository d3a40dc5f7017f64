import * as z from 'zod';
import type { Accounts } from './account.ts';
import type { Reply } from './api.ts';
import { authenticateIntent, settleCharge } from './attempt.ts';
import { addIntents, bulkIntents } from './bulk.ts';
import { chargeAmounts } from './charges.ts';
import { addReadyAccount, changeAccount, setAccess } from './connect.ts';
import { formatAmount } from './currencies.ts';
import { dashboard } from './dashboard.ts';
import { closeDispute } from './disputes.ts';
import type { RequestFaults } from './faults.ts';
import { advanceClock } from './jobs.ts';
import { openLink, useLink } from './onboarding.ts';
import { authenticateSetup } from './setup.ts';
import type { Kind, Tables } from './store.ts';
import { badRequest, missing, parseForm, readControlBody, StripeFailure } from './wire.ts';

// Endpoints under /_emulator control the emulator. Stripe does not have them.

const chance = z.number().min(0).max(1);
const milliseconds = z
  .number()
  .int()
  .min(0)
  .max(24 * 3600_000);

const webhookChange = z.strictObject({
  url: z.url().nullable().optional(),
  delayMs: milliseconds.optional(),
  duplicate: chance.optional(),
  reorder: chance.optional(),
  reorderMs: milliseconds.optional(),
  lose: chance.optional(),
  seed: z.number().int().optional(),
});
const faultRequest = z.strictObject({
  times: z.number().int().min(1).default(1),
  method: z.enum(['GET', 'POST', 'DELETE']).optional(),
  path: z.string().optional(),
  action: z.enum(['status', 'hang', 'drop', 'delay']),
  status: z.literal([400, 429, 500, 503]).optional(),
  acts: z.boolean().optional(),
  saved: z.boolean().optional(),
  ms: milliseconds.optional(),
  loseEvents: z.boolean().optional(),
  decides: z.enum(['decline', 'succeed']).optional(),
  decideMs: z.number().int().min(0).optional(),
});
const clockMove = z.strictObject({
  advanceSeconds: z
    .number()
    .min(0)
    .max(10 * 366 * 24 * 3600),
});
const authentication = z.strictObject({ outcome: z.enum(['succeed', 'fail']) });
const readyAccount = z.strictObject({
  id: z.string().regex(/^acct_\w+$/),
  metadata: z.record(z.string(), z.string()).optional(),
});
const accountChange = z.strictObject({
  charges_enabled: z.boolean().optional(),
  details_submitted: z.boolean().optional(),
  payouts_enabled: z.boolean().optional(),
});
const onboardingEnd = z.strictObject({ outcome: z.enum(['finish', 'leave']).default('finish') });
const disputeEnd = z.strictObject({ status: z.enum(['won', 'lost']) });

type ControlResult = { json: unknown } | { html: string } | { location: string };
type ControlCall = {
  accounts: Accounts;
  faults: RequestFaults;
  /** The id in the path, or `''` if the path has none. */
  id: string;
  body: unknown;
  /** The request came from the form of the 3-D Secure page and not from a script. */
  fromPage: boolean;
};

/** Removes undefined properties, as `exactOptionalPropertyTypes` requires. */
function omitUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

/** The objects of a kind of every account, those of the platform first. */
function allOf<K extends Kind>(accounts: Accounts, kind: K): Tables[K][] {
  return accounts.all().flatMap((account) => account.store.all(kind));
}

/**
 * The whole state of every account, for an audit. `intents` has the captured and refunded amount of each intent, in
 * minor units, and its connected account.
 */
function readState(accounts: Accounts, faults: RequestFaults) {
  const intents = accounts.all().flatMap(({ store, connectedId }) => {
    const charges = store.all('charge');
    return store.all('payment_intent').map((intent) => {
      const amounts = charges.filter((charge) => charge.payment_intent === intent.id).map(chargeAmounts);
      const sum = (part: 'captured' | 'refunded') => amounts.reduce((total, amount) => total + amount[part], 0);
      const { id, amount, currency, status, metadata } = intent;
      const [captured, refunded] = [sum('captured'), sum('refunded')];
      return { id, account: connectedId, amount, currency, status, metadata, captured, refunded };
    });
  });
  return {
    intents,
    accounts: allOf(accounts, 'account'),
    payment_intents: allOf(accounts, 'payment_intent'),
    charges: allOf(accounts, 'charge'),
    refunds: allOf(accounts, 'refund'),
    setup_intents: allOf(accounts, 'setup_intent'),
    disputes: allOf(accounts, 'dispute'),
    clock: accounts.seconds(),
    hidden: faults.hidden,
    webhooks: accounts.webhooks.report(),
  };
}

function authenticateAny(
  kind: 'payment_intents' | 'setup_intents',
  { accounts, id, body, fromPage }: ControlCall,
): ControlResult {
  const account = accounts.ownerOf(id);
  const { outcome } = readControlBody(authentication, body);
  const intent = account.store.get('payment_intent', id);
  const setup = account.store.get('setup_intent', id);
  const target = kind === 'payment_intents' ? intent : setup;
  const returnUrl = target?.next_action?.redirect_to_url?.return_url;
  let json: unknown;
  if (kind === 'payment_intents' && intent !== undefined) json = authenticateIntent(account, intent, outcome);
  else if (kind === 'setup_intents' && setup !== undefined) json = authenticateSetup(account, setup, outcome);
  else throw missing(kind, id, 'intent', 404);
  if (!fromPage) return { json };
  if (!returnUrl || !/^https?:/.test(returnUrl)) return { html: '<p>Done. You can close this page.</p>' };
  const location = new URL(returnUrl);
  location.searchParams.set(kind === 'payment_intents' ? 'payment_intent' : 'setup_intent', id);
  return { location: location.href };
}

/** Decides a pending charge now: a bank debit, or a charge that a fault delays. */
function settleIntent({ accounts, id, body }: ControlCall): ControlResult {
  const account = accounts.ownerOf(id);
  const { outcome } = readControlBody(authentication, body);
  const intent = account.store.get('payment_intent', id);
  if (intent === undefined) throw missing('payment_intent', id, 'intent', 404);
  if (intent.status !== 'processing' || intent.latest_charge === null) {
    throw badRequest(`This PaymentIntent has a status of ${intent.status}: it has no pending charge to decide.`);
  }
  settleCharge(account, intent.latest_charge, outcome === 'succeed' ? 'succeed' : 'decline');
  return { json: intent };
}

/** The newest 200 objects of each kind, for scripts that act on some of them. */
function readRecent(accounts: Accounts) {
  const newest = (kind: 'dispute' | 'payment_intent' | 'refund') => {
    const sorted = allOf(accounts, kind).sort((a, b) => a.created - b.created);
    return sorted.slice(-200).reverse();
  };
  return { payment_intents: newest('payment_intent'), refunds: newest('refund'), disputes: newest('dispute') };
}

function readClock(accounts: Accounts) {
  return { now: new Date(accounts.now()).toISOString(), seconds: accounts.seconds() };
}

/** The page that emulates the bank's 3-D Secure challenge. `next_action` sends the browser to it. */
function challengePage({ accounts, id }: ControlCall): ControlResult {
  const { store } = accounts.ownerOf(id);
  const intent = store.get('payment_intent', id);
  if (intent === undefined && store.get('setup_intent', id) === undefined) throw missing('intent', id, 'id', 404);
  const purpose =
    intent === undefined ? 'saving of your card' : `payment of ${formatAmount(intent.amount, intent.currency)}`;
  const button = (outcome: string, label: string) => `<button name="outcome" value="${outcome}">${label}</button>`;
  return {
    html: `<h1>3-D Secure (emulated)</h1><p>Your bank asks: do you agree to this ${purpose}?</p>
<form method="post">${button('succeed', 'Complete')} ${button('fail', 'Fail')}</form>`,
  };
}

const CONTROLS: Record<string, (call: ControlCall) => ControlResult> = {
  'GET state': ({ accounts, faults }) => ({ json: readState(accounts, faults) }),
  'GET recent': ({ accounts }) => ({ json: readRecent(accounts) }),
  'GET processing': ({ accounts }) => ({
    json: { payment_intents: allOf(accounts, 'payment_intent').filter(({ status }) => status === 'processing') },
  }),
  'GET requests': ({ accounts }) => ({ json: { requests: Object.fromEntries(accounts.requests) } }),
  'POST intents': ({ accounts, body }) => ({ json: addIntents(accounts, readControlBody(bulkIntents, body)) }),
  'GET webhooks': ({ accounts }) => ({ json: accounts.webhooks.report() }),
  'POST webhooks': ({ accounts, body }) => {
    accounts.webhooks.configure(omitUndefined(readControlBody(webhookChange, body)));
    return { json: accounts.webhooks.report() };
  },
  'GET faults': ({ faults }) => ({ json: faults.list() }),
  'POST faults': ({ faults, body }) => {
    faults.add(omitUndefined(readControlBody(faultRequest, body)));
    return { json: faults.list() };
  },
  'DELETE faults': ({ faults }) => {
    faults.clear();
    return { json: [] };
  },
  'GET payment_intents/:id/authenticate': challengePage,
  'POST payment_intents/:id/authenticate': (call) => authenticateAny('payment_intents', call),
  'GET setup_intents/:id/authenticate': challengePage,
  'POST setup_intents/:id/authenticate': (call) => authenticateAny('setup_intents', call),
  'POST accounts': ({ accounts, body }) => {
    const { id, metadata } = readControlBody(readyAccount, body);
    return { json: addReadyAccount(accounts, id, metadata) };
  },
  'POST accounts/:id/change': ({ accounts, id, body }) => ({
    json: changeAccount(accounts, id, omitUndefined(readControlBody(accountChange, body))),
  }),
  'POST accounts/:id/authorize': ({ accounts, id }) => ({ json: setAccess(accounts, id, true) }),
  'POST accounts/:id/deauthorize': ({ accounts, id }) => ({ json: setAccess(accounts, id, false) }),
  'GET account_links/:id/onboard': ({ accounts, id }) => openLink(accounts, id),
  'POST account_links/:id/onboard': ({ accounts, id, body }) =>
    useLink(accounts, id, readControlBody(onboardingEnd, body).outcome),
  'POST payment_intents/:id/settle': settleIntent,
  'GET clock': ({ accounts }) => ({ json: readClock(accounts) }),
  'POST clock': ({ accounts, body }) => {
    advanceClock(accounts, readControlBody(clockMove, body).advanceSeconds * 1000);
    return { json: readClock(accounts) };
  },
  ...Object.fromEntries(
    Object.entries(dashboard).map(([name, act]): [string, (call: ControlCall) => ControlResult] => [
      `POST dashboard/${name}`,
      ({ accounts, body }) => ({ json: act(accounts, body) }),
    ]),
  ),
  'POST disputes/:id/close': ({ accounts, id, body }) => ({
    json: closeDispute(accounts.ownerOf(id), id, readControlBody(disputeEnd, body).status),
  }),
};

function readBody(contentType: string, text: string): unknown {
  if (contentType.includes('x-www-form-urlencoded')) return { ...parseForm(text) };
  try {
    return text === '' ? {} : JSON.parse(text);
  } catch {
    throw badRequest('The body is not JSON.');
  }
}

/** Handles a request under `/_emulator/`. It needs no API key: the emulator listens on this machine only. */
export function handleControl(
  accounts: Accounts,
  faults: RequestFaults,
  request: { method: string; path: string; contentType: string; text: string },
): Reply {
  const json = (status: number, value: unknown): Reply => ({
    status,
    headers: {},
    body: `${JSON.stringify(value, null, 2)}\n`,
  });
  try {
    const [, id = ''] = /^\/_emulator\/\w+\/([^/]+)\/\w+$/.exec(request.path) ?? [];
    const name = request.path.slice('/_emulator/'.length).replace(`/${id}/`, id === '' ? '//' : '/:id/');
    const control = CONTROLS[`${request.method} ${name}`];
    if (control === undefined)
      throw new StripeFailure(404, { type: 'invalid_request_error', message: 'No such endpoint. GET / lists them.' });
    const fromPage = request.contentType.includes('x-www-form-urlencoded');
    accounts.cause = { id: null, idempotency_key: null };
    const result = control({ accounts, faults, id, body: readBody(request.contentType, request.text), fromPage });
    if ('json' in result) return json(200, result.json);
    if ('location' in result) return { status: 303, headers: { Location: result.location }, body: '' };
    return { status: 200, headers: { 'Content-Type': 'text/html; charset=utf-8' }, body: result.html };
  } catch (error) {
    if (error instanceof StripeFailure) return json(error.status, { error: error.body });
    throw error;
  } finally {
    accounts.state.commit();
    accounts.webhooks.wake();
  }
}
