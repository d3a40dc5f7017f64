import * as z from 'zod';
import type { Account } from './account.ts';
import type { Reply } from './api.ts';
import { authenticateIntent, settleCharge } from './attempt.ts';
import { addIntents, bulkIntents } from './bulk.ts';
import { chargeAmounts } from './charges.ts';
import { formatAmount } from './currencies.ts';
import { dashboard } from './dashboard.ts';
import { closeDispute } from './disputes.ts';
import type { RequestFaults } from './faults.ts';
import { advanceClock } from './jobs.ts';
import { authenticateSetup } from './setup.ts';
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
const disputeEnd = z.strictObject({ status: z.enum(['won', 'lost']) });

type ControlResult = { json: unknown } | { html: string } | { location: string };
type ControlCall = {
  account: Account;
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

/** The whole state, for an audit. `intents` has the captured and refunded amount of each intent, in minor units. */
function readState(account: Account, faults: RequestFaults) {
  const { store, webhooks } = account;
  const charges = store.all('charge');
  const intents = store.all('payment_intent').map((intent) => {
    const amounts = charges.filter((charge) => charge.payment_intent === intent.id).map(chargeAmounts);
    const sum = (part: 'captured' | 'refunded') => amounts.reduce((total, amount) => total + amount[part], 0);
    const { id, amount, currency, status, metadata } = intent;
    return { id, amount, currency, status, metadata, captured: sum('captured'), refunded: sum('refunded') };
  });
  return {
    intents,
    payment_intents: store.all('payment_intent'),
    charges,
    refunds: store.all('refund'),
    setup_intents: store.all('setup_intent'),
    disputes: store.all('dispute'),
    clock: account.seconds(),
    hidden: faults.hidden,
    webhooks: webhooks.report(),
  };
}

function authenticateAny(
  kind: 'payment_intents' | 'setup_intents',
  { account, id, body, fromPage }: ControlCall,
): ControlResult {
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
function settleIntent({ account, id, body }: ControlCall): ControlResult {
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
function readRecent({ store }: Account) {
  const newest = <T>(all: T[]): T[] => all.slice(-200).reverse();
  return {
    payment_intents: newest(store.all('payment_intent')),
    refunds: newest(store.all('refund')),
    disputes: newest(store.all('dispute')),
  };
}

function readClock(account: Account) {
  return { now: new Date(account.now()).toISOString(), seconds: account.seconds() };
}

/** The page that emulates the bank's 3-D Secure challenge. `next_action` sends the browser to it. */
function challengePage({ account, id }: ControlCall): ControlResult {
  const intent = account.store.get('payment_intent', id);
  if (intent === undefined && account.store.get('setup_intent', id) === undefined)
    throw missing('intent', id, 'id', 404);
  const purpose =
    intent === undefined ? 'saving of your card' : `payment of ${formatAmount(intent.amount, intent.currency)}`;
  const button = (outcome: string, label: string) => `<button name="outcome" value="${outcome}">${label}</button>`;
  return {
    html: `<h1>3-D Secure (emulated)</h1><p>Your bank asks: do you agree to this ${purpose}?</p>
<form method="post">${button('succeed', 'Complete')} ${button('fail', 'Fail')}</form>`,
  };
}

const CONTROLS: Record<string, (call: ControlCall) => ControlResult> = {
  'GET state': ({ account, faults }) => ({ json: readState(account, faults) }),
  'GET recent': ({ account }) => ({ json: readRecent(account) }),
  'GET processing': ({ account }) => ({
    json: { payment_intents: account.store.all('payment_intent').filter(({ status }) => status === 'processing') },
  }),
  'GET requests': ({ account }) => ({ json: { requests: Object.fromEntries(account.requests) } }),
  'POST intents': ({ account, body }) => ({ json: addIntents(account, readControlBody(bulkIntents, body)) }),
  'GET webhooks': ({ account }) => ({ json: account.webhooks.report() }),
  'POST webhooks': ({ account, body }) => {
    account.webhooks.configure(omitUndefined(readControlBody(webhookChange, body)));
    return { json: account.webhooks.report() };
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
  'POST payment_intents/:id/settle': settleIntent,
  'GET clock': ({ account }) => ({ json: readClock(account) }),
  'POST clock': ({ account, body }) => {
    advanceClock(account, readControlBody(clockMove, body).advanceSeconds * 1000);
    return { json: readClock(account) };
  },
  ...Object.fromEntries(
    Object.entries(dashboard).map(([name, act]): [string, (call: ControlCall) => ControlResult] => [
      `POST dashboard/${name}`,
      ({ account, body }) => ({ json: act(account, body) }),
    ]),
  ),
  'POST disputes/:id/close': ({ account, id, body }) => ({
    json: closeDispute(account, id, readControlBody(disputeEnd, body).status),
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
  account: Account,
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
    account.cause = { id: null, idempotency_key: null };
    const result = control({ account, faults, id, body: readBody(request.contentType, request.text), fromPage });
    if ('json' in result) return json(200, result.json);
    if ('location' in result) return { status: 303, headers: { Location: result.location }, body: '' };
    return { status: 200, headers: { 'Content-Type': 'text/html; charset=utf-8' }, body: result.html };
  } catch (error) {
    if (error instanceof StripeFailure) return json(error.status, { error: error.body });
    throw error;
  } finally {
    account.store.commit();
    account.webhooks.wake();
  }
}
