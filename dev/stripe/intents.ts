import type { Account, Call, Route } from './account.ts';
import { unexpectedState } from './attempt.ts';
import { loadCharge } from './charges.ts';
import { checkMethod, checkReturnUrl, confirmIntent, readConfirm } from './confirm.ts';
import { requireCharges } from './connect.ts';
import { checkAmount, formatAmount, readCurrency } from './currencies.ts';
import { loadCustomer } from './customers.ts';
import { CAPTURE_METHODS, draftIntent, readTaxHook, rejectPaymentMethodTypes, setFields } from './intent-draft.ts';
import { listPage } from './lists.ts';
import { factsOf, readMethod } from './methods.ts';
import { releaseRest } from './refunds.ts';
import type { Intent, Method } from './store.ts';
import { badRequest, invalid, missing, Params } from './wire.ts';

const FIELDS = [
  ...['description', 'metadata', 'receipt_email', 'setup_future_usage', 'shipping', 'statement_descriptor'],
  ...['statement_descriptor_suffix', 'transfer_group', 'payment_method', 'payment_method_data'],
];
const CONFIRM = ['off_session', 'error_on_requires_action', 'return_url', 'use_stripe_sdk', 'mandate_data'];
const CREATE = [
  ...[...FIELDS, ...CONFIRM, 'amount', 'automatic_payment_methods', 'capture_method', 'confirm', 'currency'],
  ...['customer', 'allowed_payment_method_types', 'excluded_payment_method_types', 'hooks', 'payment_method_types'],
];
const CANCEL_REASONS = ['duplicate', 'fraudulent', 'requested_by_customer', 'abandoned'] as const;

/** Loads the intent that the path names. A buyer must also send its `client_secret`. */
export function loadIntent({ account, params, id, byBuyer }: Call): Intent {
  const intent = account.store.get('payment_intent', id);
  if (intent === undefined) throw missing('payment_intent', id, 'intent', 404);
  const secret = byBuyer ? params.required('client_secret') : params.optional('client_secret');
  if (secret !== undefined && secret !== intent.client_secret) {
    throw badRequest('The client_secret provided does not match the client_secret associated with the PaymentIntent.', {
      param: 'client_secret',
    });
  }
  return intent;
}

export function createIntent(call: Call): Intent {
  const { account, params } = call;
  params.allowOnly(CREATE);
  const confirm = params.flag('confirm') ?? false;
  const options = readConfirm(params);
  const confirmOnly = ['off_session', 'return_url', 'error_on_requires_action'].find((name) => params.has(name));
  if (!confirm && confirmOnly !== undefined) {
    const message = `You cannot pass \`${confirmOnly}\` when creating a PaymentIntent unless \`confirm\` is true.`;
    throw invalid(message, confirmOnly);
  }
  const intent = draftIntent(account, params);
  requireCharges(account);
  if (confirm) checkReturnUrl(call, intent.automatic_payment_methods?.allow_redirects, options);
  const method = readMethod(call);
  if (method !== undefined) chooseMethod(account, intent, method);
  account.store.put('payment_intent', intent);
  account.emit('payment_intent.created', intent);
  return confirm ? confirmIntent(call, intent, options, method) : intent;
}

function chooseMethod(account: Account, intent: Intent, method: Method): void {
  checkMethod(account, intent, method);
  intent.payment_method = method.id;
  intent.status = 'requires_confirmation';
  intent.next_action = null;
}

const OPEN = ['requires_payment_method', 'requires_confirmation', 'requires_action'];
/** Fields that can change in every status. */
const ALWAYS_UPDATABLE = ['description', 'metadata', 'receipt_email', 'transfer_group'];

export function updateIntent(call: Call): Intent {
  const { account, params } = call;
  rejectPaymentMethodTypes(params);
  params.allowOnly([...FIELDS, 'amount', 'currency', 'customer']);
  const intent = loadIntent(call);
  const lockedField = Object.keys(params.form).find((name) => name !== 'expand' && !ALWAYS_UPDATABLE.includes(name));
  if (!OPEN.includes(intent.status) && lockedField !== undefined) {
    throw unexpectedState(
      intent,
      `This PaymentIntent's ${lockedField} could not be updated because it has a status of ${intent.status}. You may ` +
        `only update the ${lockedField} of a PaymentIntent with one of the following statuses: ${OPEN.join(', ')}.`,
    );
  }
  const amount = params.integer('amount', 1) ?? intent.amount;
  const currency = readCurrency(params.optional('currency') ?? intent.currency);
  checkAmount(amount, currency);
  const customer = params.optional('customer');
  const owner = customer === undefined ? intent.customer : loadCustomer(account, customer).id;
  if (intent.customer !== null && owner !== intent.customer) {
    throw badRequest('You cannot modify `customer` on a PaymentIntent once it already has been set.', {
      param: 'customer',
    });
  }
  const method = readMethod(call);
  if (method !== undefined) checkMethod(account, { ...intent, customer: owner }, method);
  setFields(intent, params);
  Object.assign(intent, { amount, currency, customer: owner });
  if (method !== undefined) chooseMethod(account, intent, method);
  else if (lockedField !== undefined && intent.status === 'requires_action') {
    intent.status = 'requires_confirmation';
    intent.next_action = null;
  }
  return account.store.put('payment_intent', intent);
}

function confirm(call: Call): Intent {
  const { params } = call;
  rejectPaymentMethodTypes(params);
  params.allowOnly([...FIELDS, ...CONFIRM, ...(call.byBuyer ? ['client_secret'] : ['capture_method'])]);
  const intent = loadIntent(call);
  requireCharges(call.account);
  const options = readConfirm(params);
  checkReturnUrl(call, intent.automatic_payment_methods?.allow_redirects, options);
  if (OPEN.includes(intent.status)) {
    setFields(intent, params);
    intent.capture_method = params.choice('capture_method', CAPTURE_METHODS) ?? intent.capture_method;
  }
  return confirmIntent(call, intent, options);
}

/** Pays the intent without its client secret and without a browser: nothing can redirect the buyer. */
export function confirmByHand(account: Account, intent: Intent, method: string): Intent {
  requireCharges(account);
  const params = new Params({ payment_method: method });
  const options = { offSession: false, failOnAction: false, returnUrl: null, useSdk: false };
  return confirmIntent({ account, id: intent.id, byBuyer: false, maskedKey: '', params }, intent, options);
}

export function captureIntent(call: Call): Intent {
  const { account, params } = call;
  params.allowOnly(['amount_to_capture', 'final_capture', 'hooks', 'metadata']);
  const requested = params.integer('amount_to_capture', 1);
  if (params.flag('final_capture') === false)
    throw invalid('The emulator supports a single capture only.', 'final_capture');
  const intent = loadIntent(call);
  if (intent.status === 'succeeded') {
    throw unexpectedState(intent, 'This PaymentIntent could not be captured because it has already been captured.');
  }
  if (intent.status !== 'requires_capture' || intent.latest_charge === null) {
    throw unexpectedState(
      intent,
      `This PaymentIntent could not be captured because it has a status of ${intent.status}. Only a PaymentIntent with one ` +
        'of the following statuses may be captured: requires_capture.',
    );
  }
  const amount = requested ?? intent.amount_capturable;
  if (amount > intent.amount_capturable) {
    const maximum = formatAmount(intent.amount_capturable, intent.currency);
    const code = 'amount_too_large';
    throw badRequest(`The amount_to_capture must be at most ${maximum}.`, { code, param: 'amount_to_capture' });
  }
  const hooks = readTaxHook(account, params, amount);
  const charge = loadCharge(account, intent.latest_charge, 'charge');
  Object.assign(intent, hooks);
  intent.metadata = params.metadata(intent.metadata);
  intent.status = 'succeeded';
  intent.amount_received = amount;
  intent.amount_capturable = 0;
  charge.captured = true;
  charge.amount_captured = amount;
  account.store.put('payment_intent', intent);
  account.store.put('charge', charge);
  releaseRest(account, charge);
  account.emit('charge.captured', charge);
  account.emit('payment_intent.succeeded', intent);
  const method = account.store.get('payment_method', charge.payment_method ?? '');
  if (method !== undefined && factsOf(account, method).test.dispute !== null) {
    account.schedule('dispute_opens', charge.id, account.asyncMs);
  }
  return intent;
}

/** Cancels the intent and releases its authorization, if it has one. */
function cancelAndRelease(account: Account, intent: Intent, reason: Intent['cancellation_reason']): Intent {
  const charge = intent.latest_charge === null ? undefined : account.store.get('charge', intent.latest_charge);
  const wasProcessing = intent.status === 'processing';
  intent.status = 'canceled';
  intent.canceled_at = account.seconds();
  intent.cancellation_reason = reason;
  intent.amount_capturable = 0;
  intent.next_action = null;
  account.store.put('payment_intent', intent);
  if (wasProcessing && charge !== undefined) {
    Object.assign(charge, { status: 'failed', captured: false, amount_captured: 0 });
    account.store.put('charge', charge);
  }
  // Since 2025-03-31.basil, releasing an authorization creates no refund, neither here nor after a partial capture.
  if (reason === 'expired' && charge !== undefined) account.emit('charge.expired', charge);
  account.emit('payment_intent.canceled', intent);
  return intent;
}

const CANCELABLE = [...OPEN, 'requires_capture', 'processing'];

export function cancelIntent(call: Call): Intent {
  const { account, params } = call;
  params.allowOnly(['cancellation_reason']);
  const reason = params.choice('cancellation_reason', CANCEL_REASONS) ?? null;
  const intent = loadIntent(call);
  if (CANCELABLE.includes(intent.status)) return cancelAndRelease(account, intent, reason);
  throw unexpectedState(
    intent,
    `You cannot cancel this PaymentIntent because it has a status of ${intent.status}. Only a PaymentIntent with one of the ` +
      'following statuses may be canceled: requires_payment_method, requires_capture, requires_confirmation, ' +
      'requires_action, processing.',
  );
}

/** Cancels an intent that was not captured within seven days. */
export function expireAuthorization(account: Account, id: string): void {
  const intent = account.store.get('payment_intent', id);
  if (intent?.status === 'requires_capture') cancelAndRelease(account, intent, 'expired');
}

export const intentRoutes: Route[] = [
  { method: 'POST', path: '/v1/payment_intents', handle: createIntent },
  {
    method: 'GET',
    path: '/v1/payment_intents/:id',
    publishable: true,
    handle: (call) => {
      call.params.allowOnly(['client_secret']);
      return loadIntent(call);
    },
  },
  { method: 'POST', path: '/v1/payment_intents/:id', handle: updateIntent },
  { method: 'POST', path: '/v1/payment_intents/:id/confirm', publishable: true, handle: confirm },
  { method: 'POST', path: '/v1/payment_intents/:id/capture', handle: captureIntent },
  { method: 'POST', path: '/v1/payment_intents/:id/cancel', handle: cancelIntent },
  {
    method: 'GET',
    path: '/v1/payment_intents',
    handle: ({ account, params }) =>
      listPage(params, '/v1/payment_intents', 'payment_intent', account.store.all('payment_intent'), {
        customer: (intent, value) => intent.customer === value,
      }),
  },
];
