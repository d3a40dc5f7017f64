import type { Account } from './account.ts';
import { AUTHENTICATION_REQUIRED, type Decline } from './cards.ts';
import { AUTHORIZATION_MS, loadCharge, makeCharge } from './charges.ts';
import { attachMethod, factsOf } from './methods.ts';
import { type Intent, type Method, randomCharacters } from './store.ts';
import { badRequest, StripeFailure } from './wire.ts';

export type ConfirmOptions = {
  offSession: boolean;
  failOnAction: boolean;
  returnUrl: string | null;
  useSdk: boolean;
};

/** The decline of a delayed charge whose test method has no decline. */
const LATE_DECLINE: Decline = {
  code: 'card_declined',
  decline_code: 'generic_decline',
  message: 'Your card was declined.',
};

/** Stripe's `payment_intent_unexpected_state` error, which includes the intent. */
export function unexpectedState(intent: Intent, message: string): StripeFailure {
  return badRequest(message, { code: 'payment_intent_unexpected_state', payment_intent: structuredClone(intent) });
}

/** Returns the `next_action` of an intent: one for Stripe.js, or a redirect to the emulator's 3-D Secure page. */
export function nextAction(account: Account, path: string, options: { returnUrl: string | null; useSdk: boolean }) {
  const url = `${account.url}/_emulator/${path}/authenticate`;
  if (options.useSdk || options.returnUrl === null) {
    const source = `src_${randomCharacters(24)}`;
    return { type: 'use_stripe_sdk', use_stripe_sdk: { type: 'three_d_secure_redirect', stripe_js: url, source } };
  }
  return { type: 'redirect_to_url', redirect_to_url: { return_url: options.returnUrl, url } };
}

function docUrl(code: string): string {
  return `https://stripe.com/docs/error-codes/${code.replaceAll('_', '-')}`;
}

function failAttempt(account: Account, intent: Intent, method: Method, decline: Decline, charge?: string) {
  const failed =
    charge === undefined
      ? makeCharge(account, intent, method, { status: 'failed', captured: false, decline })
      : Object.assign(loadCharge(account, charge, 'charge'), {
          status: 'failed' as const,
          captured: false,
          amount_captured: 0,
          failure_code: decline.code,
          failure_message: decline.message,
        });
  account.store.put('charge', failed);
  account.emit('charge.failed', failed);
  const { code, decline_code, message, param } = decline;
  const error = {
    type: 'card_error' as const,
    charge: failed.id,
    code,
    ...(decline_code === null ? {} : { decline_code }),
    doc_url: docUrl(code),
    message,
    ...(param === undefined ? {} : { param }),
    payment_method: structuredClone(method),
  };
  intent.latest_charge = failed.id;
  requireNewMethod(account, intent, error);
  return new StripeFailure(402, { ...error, payment_intent: structuredClone(intent) });
}

/** Ends a failed attempt. The intent then waits for another payment method. */
function requireNewMethod(account: Account, intent: Intent, error: NonNullable<Intent['last_payment_error']>): void {
  intent.last_payment_error = error;
  intent.status = 'requires_payment_method';
  intent.payment_method = null;
  intent.next_action = null;
  intent.processing = null;
  account.store.put('payment_intent', intent);
  account.emit('payment_intent.payment_failed', intent);
}

function recordMethodUse(account: Account, intent: Intent, method: Method): void {
  const { facts } = factsOf(account, method);
  const saved = intent.setup_future_usage !== null;
  account.store.put('facts', { ...facts, spent: true, setUp: facts.setUp || saved });
  if (saved && intent.customer !== null) attachMethod(account, method, intent.customer);
}

/** Completes the attempt with a new charge, or with the pending charge `pendingId`. */
function succeed(account: Account, intent: Intent, method: Method, pendingId?: string): void {
  const uncaptured = intent.capture_method === 'manual';
  const charge =
    pendingId === undefined
      ? makeCharge(account, intent, method, { status: 'succeeded', captured: !uncaptured })
      : Object.assign(loadCharge(account, pendingId, 'charge'), {
          status: 'succeeded' as const,
          paid: true,
          captured: !uncaptured,
          amount_captured: uncaptured ? 0 : intent.amount,
        });
  account.store.put('charge', charge);
  intent.latest_charge = charge.id;
  intent.last_payment_error = null;
  intent.next_action = null;
  intent.status = uncaptured ? 'requires_capture' : 'succeeded';
  intent.amount_capturable = uncaptured ? intent.amount : 0;
  intent.amount_received = uncaptured ? 0 : intent.amount;
  account.store.put('payment_intent', intent);
  account.emit('charge.succeeded', charge);
  account.emit(uncaptured ? 'payment_intent.amount_capturable_updated' : 'payment_intent.succeeded', intent);
  recordMethodUse(account, intent, method);
  if (uncaptured) account.schedule('hold_expires', intent.id, AUTHORIZATION_MS);
  else if (factsOf(account, method).test.dispute !== null)
    account.schedule('dispute_opens', charge.id, account.asyncMs);
}

/** Makes a pending charge. The intent is `processing` until the bank decides. */
function startProcessing(account: Account, intent: Intent, method: Method): void {
  const charge = makeCharge(account, intent, method, { status: 'pending', captured: true });
  intent.latest_charge = charge.id;
  intent.last_payment_error = null;
  intent.status = 'processing';
  account.store.put('payment_intent', intent);
  account.emit('charge.pending', charge);
  account.emit('payment_intent.processing', intent);
  recordMethodUse(account, intent, method);
}

function startDebit(account: Account, intent: Intent, method: Method): void {
  startProcessing(account, intent, method);
  if (!factsOf(account, method).test.neverSettles)
    account.schedule('debit_settles', intent.latest_charge ?? '', account.debitMs);
}

/**
 * Decides a pending charge: with `outcome`, or as its test method says. Does nothing if the intent was meanwhile
 * decided, canceled or retried.
 */
export function settleCharge(account: Account, id: string, outcome?: 'decline' | 'succeed'): void {
  const charge = loadCharge(account, id, 'charge');
  const intent = account.store.get('payment_intent', charge.payment_intent);
  const method = account.store.get('payment_method', intent?.payment_method ?? '');
  if (intent?.status !== 'processing' || intent.latest_charge !== id || method === undefined) return;
  const { declines } = factsOf(account, method).test;
  const fails = outcome === undefined ? declines !== null : outcome === 'decline';
  if (fails) failAttempt(account, intent, method, declines ?? LATE_DECLINE, id);
  else succeed(account, intent, method, id);
}

/** Attempts to pay with the method. On a decline, updates the intent and then throws Stripe's 402. */
export function attemptPayment(account: Account, intent: Intent, method: Method, options: ConfirmOptions): void {
  const { facts, test } = factsOf(account, method);
  const exempt = options.offSession && (test.authentication === 'on_session' || facts.setUp);
  const needsAuthentication = test.authentication === 'always' || (test.authentication !== 'none' && !exempt);
  if (needsAuthentication && (options.offSession || options.failOnAction)) {
    throw failAttempt(account, intent, method, AUTHENTICATION_REQUIRED);
  }
  if (needsAuthentication) {
    intent.status = 'requires_action';
    intent.next_action = nextAction(account, `payment_intents/${intent.id}`, options);
    account.store.put('payment_intent', intent);
    account.emit('payment_intent.requires_action', intent);
    return;
  }
  const decision = account.effects.decides;
  if (decision !== undefined) {
    startProcessing(account, intent, method);
    account.schedule(
      decision.outcome === 'succeed' ? 'attempt_succeeds' : 'attempt_fails',
      intent.latest_charge ?? '',
      decision.ms,
    );
  } else if (test.type !== 'card') startDebit(account, intent, method);
  else if (test.declines !== null) throw failAttempt(account, intent, method, test.declines);
  else succeed(account, intent, method);
}

/** Applies the buyer's response to the 3-D Secure challenge. With Stripe, a page of the bank does this. */
export function authenticateIntent(account: Account, intent: Intent, outcome: 'fail' | 'succeed'): Intent {
  const method = account.store.get('payment_method', intent.payment_method ?? '');
  if (intent.status !== 'requires_action' || method === undefined) {
    throw unexpectedState(
      intent,
      `This PaymentIntent has a status of ${intent.status}: there is nothing to authenticate.`,
    );
  }
  if (outcome === 'succeed') {
    const { declinesAfterAuthentication } = factsOf(account, method).test;
    if (declinesAfterAuthentication !== null) failAttempt(account, intent, method, declinesAfterAuthentication);
    else succeed(account, intent, method);
    return intent;
  }
  const code = 'payment_intent_authentication_failure';
  requireNewMethod(account, intent, {
    type: 'invalid_request_error',
    code,
    doc_url: docUrl(code),
    message:
      'The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new PaymentMethod to ' +
      'attempt to fulfill this PaymentIntent again.',
    payment_method: structuredClone(method),
  });
  return intent;
}
