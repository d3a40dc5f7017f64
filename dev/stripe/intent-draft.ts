import type { Account } from './account.ts';
import { checkAmount, readCurrency } from './currencies.ts';
import { loadCustomer } from './customers.ts';
import { type Intent, newId, randomCharacters } from './store.ts';
import { badRequest, invalid, missing, type Params } from './wire.ts';

export const CAPTURE_METHODS = ['automatic', 'automatic_async', 'manual'] as const;
const DEBIT_CURRENCY: Record<string, string> = { sepa_debit: 'eur', us_bank_account: 'usd' };

/**
 * Reads the payment method types of an intent. Default: all types of the Dashboard except
 * `excluded_payment_method_types`. Ignores entries of `allowed_payment_method_types` that are not possible, as Stripe
 * does. Since 2026-09-30.endive, `payment_method_types` is read-only.
 */
export function readTypes(params: Params, offered: string[]) {
  rejectPaymentMethodTypes(params);
  const excluded = params.list('excluded_payment_method_types') ?? null;
  const possible = offered.filter((type) => !excluded?.includes(type));
  if (possible.length === 0) {
    throw badRequest('All payment method types are excluded.', { param: 'excluded_payment_method_types' });
  }
  return { excluded_payment_method_types: excluded, ...chooseTypes(params, possible) };
}

function chooseTypes(params: Params, possible: string[]) {
  const automatic = params.child('automatic_payment_methods');
  automatic?.allowOnly(['enabled', 'allow_redirects']);
  const allowed = params.list('allowed_payment_method_types');
  if (allowed !== undefined && automatic !== undefined) {
    throw badRequest('You may only specify one of these: allowed_payment_method_types, automatic_payment_methods.');
  }
  if (allowed !== undefined) {
    const payment_method_types = possible.filter((type) => allowed.includes(type));
    if (payment_method_types.length > 0) return { automatic_payment_methods: null, payment_method_types };
    throw badRequest('None of the allowed payment method types can be used here.', {
      param: 'allowed_payment_method_types',
    });
  }
  if (automatic?.flag('enabled') === false) return { automatic_payment_methods: null, payment_method_types: ['card'] };
  const allow_redirects = automatic?.choice('allow_redirects', ['always', 'never']) ?? 'always';
  return { automatic_payment_methods: { enabled: true, allow_redirects }, payment_method_types: possible };
}

/** Throws for `payment_method_types`, which the pinned API version no longer accepts. */
export function rejectPaymentMethodTypes(params: Params): void {
  if (!params.has('payment_method_types')) return;
  throw invalid(
    'The payment_method_types parameter is no longer supported. Use allowed_payment_method_types, or manage payment ' +
      'methods in the Dashboard.',
    'payment_method_types',
    'payment_method_types_no_longer_supported',
  );
}

function readShipping(shipping: Params): NonNullable<Intent['shipping']> {
  shipping.allowOnly(['address', 'carrier', 'name', 'phone', 'tracking_number']);
  const address = shipping.child('address');
  const textOf = (params: Params | undefined, name: string) => params?.text(name) || null;
  return {
    address: {
      city: textOf(address, 'city'),
      country: textOf(address, 'country'),
      line1: textOf(address, 'line1'),
      line2: textOf(address, 'line2'),
      postal_code: textOf(address, 'postal_code'),
      state: textOf(address, 'state'),
    },
    carrier: textOf(shipping, 'carrier'),
    name: shipping.required('name'),
    phone: textOf(shipping, 'phone'),
    tracking_number: textOf(shipping, 'tracking_number'),
  };
}

/** Sets the fields that create, update and confirm share. */
export function setFields(intent: Intent, params: Params): void {
  const text = (name: string, current: string | null) => {
    const value = params.text(name);
    return value === undefined ? current : value || null;
  };
  const usage = params.choice('setup_future_usage', ['off_session', 'on_session', '']);
  const shipping = params.child('shipping');
  const metadata = params.metadata(intent.metadata);
  if (usage !== undefined) intent.setup_future_usage = usage === '' ? null : usage;
  if (shipping !== undefined) intent.shipping = readShipping(shipping);
  intent.metadata = metadata;
  intent.description = text('description', intent.description);
  intent.receipt_email = text('receipt_email', intent.receipt_email);
  intent.statement_descriptor = text('statement_descriptor', intent.statement_descriptor);
  intent.statement_descriptor_suffix = text('statement_descriptor_suffix', intent.statement_descriptor_suffix);
  intent.transfer_group = text('transfer_group', intent.transfer_group);
}

/** The calculation whose tax the payment contains. Stripe reports the tax when the payment succeeds. */
export function readTaxHook(account: Account, params: Params, amount: number): Pick<Intent, 'hooks'> {
  const calculation = params.child('hooks')?.child('inputs')?.child('tax')?.required('calculation');
  if (calculation === undefined) return {};
  const name = 'hooks[inputs][tax][calculation]';
  const found = account.store.get('tax_calculation', calculation);
  if (found === undefined) throw missing('tax calculation', calculation, name);
  if (found.amount_total !== amount) throw badRequest('The amount differs from the tax calculation.', { param: name });
  return { hooks: { inputs: { tax: { calculation } } } };
}

/** Builds an intent from the parameters of `create` without storing it. Amounts are minor units. */
export function draftIntent(account: Account, params: Params): Intent {
  const amount = params.requiredInteger('amount', 1);
  const currency = readCurrency(params.required('currency'));
  checkAmount(amount, currency);
  const customer = params.optional('customer');
  const debits = Object.keys(DEBIT_CURRENCY).filter((type) => DEBIT_CURRENCY[type] === currency);
  const capture = params.choice('capture_method', CAPTURE_METHODS) ?? 'automatic_async';
  const manual = capture === 'manual';
  const id = newId('pi');
  const intent: Intent = {
    id,
    object: 'payment_intent',
    allowed_payment_method_types: null,
    amount,
    amount_capturable: 0,
    amount_details: { tip: {} },
    amount_received: 0,
    application: account.application,
    application_fee_amount: null,
    canceled_at: null,
    cancellation_reason: null,
    capture_method: capture,
    client_secret: `${id}_secret_${randomCharacters(25)}`,
    confirmation_method: 'automatic',
    created: account.seconds(),
    currency,
    customer: customer === undefined ? null : loadCustomer(account, customer).id,
    customer_account: null,
    description: null,
    ...readTaxHook(account, params, amount),
    last_payment_error: null,
    latest_charge: null,
    livemode: false,
    managed_payments: null,
    metadata: {},
    next_action: null,
    on_behalf_of: null,
    payment_method: null,
    payment_method_configuration_details: null,
    payment_method_options: {},
    payment_record: null,
    processing: null,
    receipt_email: null,
    review: null,
    setup_future_usage: null,
    shipping: null,
    source: null,
    statement_descriptor: null,
    statement_descriptor_suffix: null,
    status: 'requires_payment_method',
    transfer_group: null,
    // A bank debit has no authorization, so Stripe does not offer it with manual capture.
    ...readTypes(params, manual ? ['card'] : ['card', ...debits]),
  };
  setFields(intent, params);
  return intent;
}
