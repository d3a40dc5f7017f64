import * as z from 'zod';
import type { Account } from './account.ts';
import type { Reply } from './api.ts';
import { authenticateIntent, settleCharge } from './attempt.ts';
import { addIntents, bulkIntents } from './bulk.ts';
import { moneyOf } from './charges.ts';
import { writeAmount } from './currencies.ts';
import { dashboard } from './dashboard.ts';
import { closeDispute } from './disputes.ts';
import type { RequestFaults } from './faults.ts';
import { advanceClock } from './jobs.ts';
import { authenticateSetup } from './setup.ts';
import { missing, parseForm, readSwitch, refuse, StripeFailure } from './wire.ts';

// Everything under /_emulator is the emulator's own: Stripe has none of it.

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
  status: z.union([z.literal(429), z.literal(500), z.literal(503)]).optional(),
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

type Answer = { json: unknown } | { html: string } | { location: string };
type Switch = {
  account: Account;
  faults: RequestFaults;
  /** The id in the path, or `''`. */
  id: string;
  body: unknown;
  /** From the page's form rather than from a script. */
  fromPage: boolean;
};

/** Drops the keys that say nothing, as `exactOptionalPropertyTypes` wants it. */
function said<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

/** Everything an audit needs: `intents` sums up the money of each, in minor units. */
function readState(account: Account, faults: RequestFaults) {
  const { store, webhooks } = account;
  const charges = store.all('charge');
  const intents = store.all('payment_intent').map((intent) => {
    const money = charges.filter((charge) => charge.payment_intent === intent.id).map(moneyOf);
    const sum = (part: 'captured' | 'refunded') => money.reduce((total, one) => total + one[part], 0);
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

function authenticateAny(kind: 'payment_intents' | 'setup_intents', { account, id, body, fromPage }: Switch): Answer {
  const { outcome } = readSwitch(authentication, body);
  const intent = account.store.get('payment_intent', id);
  const setup = account.store.get('setup_intent', id);
  const target = kind === 'payment_intents' ? intent : setup;
  const back = target?.next_action?.redirect_to_url?.return_url;
  let json: unknown;
  if (kind === 'payment_intents' && intent !== undefined) json = authenticateIntent(account, intent, outcome);
  else if (kind === 'setup_intents' && setup !== undefined) json = authenticateSetup(account, setup, outcome);
  else throw missing(kind, id, 'intent', 404);
  if (!fromPage) return { json };
  if (!back || !/^https?:/.test(back)) return { html: '<p>Done. You can close this page.</p>' };
  const location = new URL(back);
  location.searchParams.set(kind === 'payment_intents' ? 'payment_intent' : 'setup_intent', id);
  return { location: location.href };
}

/** A bank debit, or a charge that a fault keeps waiting, is decided now. */
function settleNow({ account, id, body }: Switch): Answer {
  const { outcome } = readSwitch(authentication, body);
  const intent = account.store.get('payment_intent', id);
  if (intent === undefined) throw missing('payment_intent', id, 'intent', 404);
  if (intent.status !== 'processing' || intent.latest_charge === null) {
    throw refuse(`This PaymentIntent has a status of ${intent.status}: no bank has anything to decide.`);
  }
  settleCharge(account, intent.latest_charge, outcome === 'succeed' ? 'succeed' : 'decline');
  return { json: intent };
}

/** The newest objects, for whoever acts on some of them. */
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

/** The page that stands for the bank's 3-D Secure challenge, where `next_action` leads a browser. */
function challengePage({ account, id }: Switch): Answer {
  const intent = account.store.get('payment_intent', id);
  if (intent === undefined && account.store.get('setup_intent', id) === undefined)
    throw missing('intent', id, 'id', 404);
  const what =
    intent === undefined ? 'saving of your card' : `payment of ${writeAmount(intent.amount, intent.currency)}`;
  const button = (outcome: string, label: string) => `<button name="outcome" value="${outcome}">${label}</button>`;
  return {
    html: `<h1>3-D Secure (emulated)</h1><p>Your bank asks: do you agree to this ${what}?</p>
<form method="post">${button('succeed', 'Complete')} ${button('fail', 'Fail')}</form>`,
  };
}

const SWITCHES: Record<string, (given: Switch) => Answer> = {
  'GET state': ({ account, faults }) => ({ json: readState(account, faults) }),
  'GET recent': ({ account }) => ({ json: readRecent(account) }),
  'GET processing': ({ account }) => ({
    json: { payment_intents: account.store.all('payment_intent').filter(({ status }) => status === 'processing') },
  }),
  'GET requests': ({ account }) => ({ json: { requests: Object.fromEntries(account.requests) } }),
  'POST intents': ({ account, body }) => ({ json: addIntents(account, readSwitch(bulkIntents, body)) }),
  'GET webhooks': ({ account }) => ({ json: account.webhooks.report() }),
  'POST webhooks': ({ account, body }) => {
    account.webhooks.configure(said(readSwitch(webhookChange, body)));
    return { json: account.webhooks.report() };
  },
  'GET faults': ({ faults }) => ({ json: faults.list() }),
  'POST faults': ({ faults, body }) => {
    faults.add(said(readSwitch(faultRequest, body)));
    return { json: faults.list() };
  },
  'DELETE faults': ({ faults }) => {
    faults.clear();
    return { json: [] };
  },
  'GET payment_intents/:id/authenticate': challengePage,
  'POST payment_intents/:id/authenticate': (given) => authenticateAny('payment_intents', given),
  'GET setup_intents/:id/authenticate': challengePage,
  'POST setup_intents/:id/authenticate': (given) => authenticateAny('setup_intents', given),
  'POST payment_intents/:id/settle': settleNow,
  'GET clock': ({ account }) => ({ json: readClock(account) }),
  'POST clock': ({ account, body }) => {
    advanceClock(account, readSwitch(clockMove, body).advanceSeconds * 1000);
    return { json: readClock(account) };
  },
  ...Object.fromEntries(
    Object.entries(dashboard).map(([name, act]): [string, (given: Switch) => Answer] => [
      `POST dashboard/${name}`,
      ({ account, body }) => ({ json: act(account, body) }),
    ]),
  ),
  'POST disputes/:id/close': ({ account, id, body }) => ({
    json: closeDispute(account, id, readSwitch(disputeEnd, body).status),
  }),
};

function readBody(contentType: string, text: string): unknown {
  if (contentType.includes('x-www-form-urlencoded')) return { ...parseForm(text) };
  try {
    return text === '' ? {} : JSON.parse(text);
  } catch {
    throw refuse('The body is not JSON.');
  }
}

/** Answers a request under `/_emulator/`. No key is asked for: it listens on this machine alone. */
export function answerSwitch(
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
    const answer = SWITCHES[`${request.method} ${name}`];
    if (answer === undefined)
      throw new StripeFailure(404, { type: 'invalid_request_error', message: 'No such switch.' });
    const fromPage = request.contentType.includes('x-www-form-urlencoded');
    account.cause = { id: null, idempotency_key: null };
    const result = answer({ account, faults, id, body: readBody(request.contentType, request.text), fromPage });
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
