import type { Account, Call, Route } from './account.ts';
import { nextAction } from './attempt.ts';
import { checkReturnUrl, readConfirm } from './confirm.ts';
import { requireCharges } from './connect.ts';
import { loadCustomer } from './customers.ts';
import { readTypes } from './intent-draft.ts';
import { listPage } from './lists.ts';
import { attachMethod, checkOwner, factsOf, readMethod } from './methods.ts';
import { type Method, newId, randomCharacters, type SetupIntent } from './store.ts';
import { badRequest, missing, StripeFailure } from './wire.ts';

const OPEN = ['requires_payment_method', 'requires_confirmation', 'requires_action'];
const CONFIRM = ['payment_method', 'payment_method_data', 'return_url', 'use_stripe_sdk', 'mandate_data'];
const CREATE = [
  ...[...CONFIRM, 'automatic_payment_methods', 'confirm', 'customer', 'description', 'metadata'],
  ...['allowed_payment_method_types', 'excluded_payment_method_types', 'payment_method_types', 'usage'],
];

/** Loads the setup intent that the path names. A buyer must also send its `client_secret`. */
export function loadSetup({ account, params, id, byBuyer }: Call): SetupIntent {
  const setup = account.store.get('setup_intent', id);
  if (setup === undefined) throw missing('setupintent', id, 'intent', 404);
  const secret = byBuyer ? params.required('client_secret') : params.optional('client_secret');
  if (secret === undefined || secret === setup.client_secret) return setup;
  throw badRequest('The client_secret provided does not match the client_secret associated with the SetupIntent.', {
    param: 'client_secret',
  });
}

function unexpectedState(setup: SetupIntent, message: string): StripeFailure {
  return badRequest(message, { code: 'setup_intent_unexpected_state', setup_intent: structuredClone(setup) });
}

function createSetup(call: Call): SetupIntent {
  const { account, params } = call;
  params.allowOnly(CREATE);
  requireCharges(account);
  const types = readTypes(params, ['card', 'sepa_debit', 'us_bank_account']);
  const customer = params.optional('customer');
  const confirm = params.flag('confirm') ?? false;
  const id = newId('seti');
  const setup: SetupIntent = {
    id,
    object: 'setup_intent',
    allowed_payment_method_types: null,
    application: account.application,
    cancellation_reason: null,
    client_secret: `${id}_secret_${randomCharacters(25)}`,
    created: account.seconds(),
    customer: customer === undefined ? null : loadCustomer(account, customer).id,
    customer_account: null,
    description: params.optional('description') ?? null,
    flow_directions: null,
    last_setup_error: null,
    latest_attempt: null,
    livemode: false,
    mandate: null,
    metadata: params.metadata(),
    next_action: null,
    on_behalf_of: null,
    payment_method: null,
    payment_method_configuration_details: null,
    payment_method_options: {},
    ...types,
    single_use_mandate: null,
    status: 'requires_payment_method',
    usage: params.choice('usage', ['off_session', 'on_session']) ?? 'off_session',
  };
  if (confirm) checkReturnUrl(call, setup.automatic_payment_methods?.allow_redirects, readConfirm(params));
  const method = readMethod(call);
  if (method !== undefined) {
    checkOwner(account, method, setup.customer);
    setup.payment_method = method.id;
    setup.status = 'requires_confirmation';
  }
  account.store.put('setup_intent', setup);
  account.emit('setup_intent.created', setup);
  return confirm ? confirmSetup(call, setup, method) : setup;
}

function fail(account: Account, setup: SetupIntent, error: NonNullable<SetupIntent['last_setup_error']>): void {
  setup.last_setup_error = error;
  setup.status = 'requires_payment_method';
  setup.payment_method = null;
  setup.next_action = null;
  account.store.put('setup_intent', setup);
  account.emit('setup_intent.setup_failed', setup);
}

function succeed(account: Account, setup: SetupIntent, method: Method): SetupIntent {
  setup.status = 'succeeded';
  setup.last_setup_error = null;
  setup.next_action = null;
  const { facts } = factsOf(account, method);
  account.store.put('facts', { ...facts, setUp: true });
  if (setup.customer !== null) attachMethod(account, method, setup.customer);
  account.store.put('setup_intent', setup);
  account.emit('setup_intent.succeeded', setup);
  return setup;
}

function confirmSetup(call: Call, setup: SetupIntent, chosenMethod?: Method): SetupIntent {
  const { account, params } = call;
  requireCharges(account);
  if (!OPEN.includes(setup.status)) {
    throw unexpectedState(setup, `You cannot confirm this SetupIntent because it has a status of ${setup.status}.`);
  }
  const method = chosenMethod ?? readMethod(call) ?? account.store.get('payment_method', setup.payment_method ?? '');
  if (method === undefined) {
    throw unexpectedState(
      setup,
      "You cannot confirm this SetupIntent because it's missing a payment method. You can either update the SetupIntent " +
        'with a payment method and then confirm it again, or confirm it again directly with a payment method or ' +
        'ConfirmationToken.',
    );
  }
  if (!setup.payment_method_types.includes(method.type)) {
    const types = setup.payment_method_types.join(', ');
    throw badRequest(
      `The PaymentMethod provided (${method.type}) is not allowed for this SetupIntent. Please attach a PaymentMethod of ` +
        `one of the following types: ${types}.`,
      { code: 'setup_intent_invalid_parameter', param: 'payment_method' },
    );
  }
  checkOwner(account, method, setup.customer);
  const { test } = factsOf(account, method);
  if (!test.attachable && test.declines !== null) {
    const { code, decline_code, message } = test.declines;
    const declined = decline_code === null ? {} : { decline_code };
    const error = { type: 'card_error' as const, code, ...declined, message, payment_method: structuredClone(method) };
    fail(account, setup, error);
    throw new StripeFailure(402, { ...error, setup_intent: structuredClone(setup) });
  }
  setup.payment_method = method.id;
  if (test.authentication === 'none' || test.authentication === 'on_session') return succeed(account, setup, method);
  setup.status = 'requires_action';
  setup.next_action = nextAction(account, `setup_intents/${setup.id}`, readConfirm(params));
  account.store.put('setup_intent', setup);
  account.emit('setup_intent.requires_action', setup);
  return setup;
}

/** Applies the buyer's response to the 3-D Secure challenge, as `authenticateIntent` does for payment intents. */
export function authenticateSetup(account: Account, setup: SetupIntent, outcome: 'fail' | 'succeed'): SetupIntent {
  const method = account.store.get('payment_method', setup.payment_method ?? '');
  if (setup.status !== 'requires_action' || method === undefined) {
    throw unexpectedState(setup, `This SetupIntent has a status of ${setup.status}: there is nothing to authenticate.`);
  }
  if (outcome === 'succeed') return succeed(account, setup, method);
  fail(account, setup, {
    type: 'invalid_request_error',
    code: 'setup_intent_authentication_failure',
    message: 'The latest attempt to set up the payment method has failed because authentication failed.',
    payment_method: structuredClone(method),
  });
  return setup;
}

function cancel(call: Call): SetupIntent {
  const { account, params } = call;
  params.allowOnly(['cancellation_reason']);
  const reason = params.choice('cancellation_reason', ['abandoned', 'duplicate', 'requested_by_customer']) ?? null;
  const setup = loadSetup(call);
  if (!OPEN.includes(setup.status)) {
    throw unexpectedState(
      setup,
      `You cannot cancel this SetupIntent because it has a status of ${setup.status}. Only a SetupIntent with one of the ` +
        `following statuses may be canceled: ${OPEN.join(', ')}.`,
    );
  }
  setup.status = 'canceled';
  setup.cancellation_reason = reason;
  setup.next_action = null;
  account.store.put('setup_intent', setup);
  account.emit('setup_intent.canceled', setup);
  return setup;
}

export const setupRoutes: Route[] = [
  { method: 'POST', path: '/v1/setup_intents', handle: createSetup },
  {
    method: 'GET',
    path: '/v1/setup_intents/:id',
    publishable: true,
    handle: (call) => {
      call.params.allowOnly(['client_secret']);
      return loadSetup(call);
    },
  },
  {
    method: 'POST',
    path: '/v1/setup_intents/:id/confirm',
    publishable: true,
    handle: (call) => {
      call.params.allowOnly([...CONFIRM, ...(call.byBuyer ? ['client_secret'] : [])]);
      const setup = loadSetup(call);
      checkReturnUrl(call, setup.automatic_payment_methods?.allow_redirects, readConfirm(call.params));
      return confirmSetup(call, setup);
    },
  },
  { method: 'POST', path: '/v1/setup_intents/:id/cancel', handle: cancel },
  {
    method: 'GET',
    path: '/v1/setup_intents',
    handle: ({ account, params }) =>
      listPage(params, '/v1/setup_intents', 'setupintent', account.store.all('setup_intent'), {
        customer: (setup, value) => setup.customer === value,
        payment_method: (setup, value) => setup.payment_method === value,
      }),
  },
];
