import Stripe from 'stripe';
import { fromMinor, toMinor } from '../base/money.ts';
import type { Context } from '../context.ts';
import type { Settings } from '../env.ts';
import { cellIn, type MadeFor, madeFor, metadataOf } from './metadata.ts';

const deadlineMs = 8_000;

export type StripeSettings = Pick<Settings, 'STRIPE_SECRET_KEY' | 'STRIPE_WEBHOOK_SECRET' | 'STRIPE_API_URL'>;

/**
 * A call to Stripe failed. `permanent`: the same call can never succeed (the amount is below the minimum). `noAccess`:
 * the tenant has withdrawn our access to its account, so its other calls would fail too. `keyUsed`: Stripe has stored
 * this failure for the idempotency key, so the next try needs another key. `unavailable`: Stripe cannot be reached or
 * rejects our API key, so other calls would fail too. Without any of these, the error concerns this payment alone.
 */
export class StripeCallError extends Error {
  readonly permanent: boolean;
  readonly keyUsed: boolean;
  readonly unavailable: boolean;
  readonly noAccess: boolean;
  readonly code: string;

  constructor(
    code: string,
    kind: { permanent?: boolean; keyUsed?: boolean; unavailable?: boolean; noAccess?: boolean },
  ) {
    super(`Stripe: ${code}`);
    this.name = 'StripeCallError';
    this.code = code;
    this.permanent = kind.permanent ?? false;
    this.keyUsed = kind.keyUsed ?? false;
    this.unavailable = kind.unavailable ?? false;
    this.noAccess = kind.noAccess ?? false;
  }
}

/** The tenant's own account at Stripe, on which its objects are; null: the platform's own. */
export type StripeAccount = string | null;

/** The state of a PaymentIntent as `payments.apply_stripe` takes it. */
export type IntentUpdate = {
  status: string;
  received: string;
  amount: string;
  currency: string;
  madeFor: MadeFor;
  clientSecret: string | null;
  failure: string | null;
};
/** The state of a SetupIntent as `payments.apply_stripe` takes it. */
export type SetupUpdate = { status: string; madeFor: MadeFor; methodId: string | null; failure: string | null };
export type RefundUpdate = {
  id: string | null;
  stripeId: string;
  status: 'pending' | 'succeeded' | 'failed';
  amount: string;
  failure: string | null;
  /** No money has moved. Stripe lists the part of an authorization that was not captured as such a refund. */
  released: boolean;
};
export type StripeUpdate = {
  /** The cell that the object names. Undefined: any cell may have its payment. */
  cell: string | undefined;
  account: StripeAccount;
  eventId?: string;
  paymentId?: string;
  intentId?: string;
  setupId?: string;
  intent?: IntentUpdate;
  setup?: SetupUpdate;
  refund?: RefundUpdate;
  charge?: { refunded: string };
  dispute?: { status: 'open' | 'won' | 'lost' };
};

export type IntentTask = {
  id: string;
  tenant: string;
  account: StripeAccount;
  orderId: string;
  /** What the payment takes. */
  amount: string;
  /** The amount of the PaymentIntent, if less may be captured. */
  authorized?: string | null;
  currency: string;
  attempt: number;
  /**
   * `order`: charged when the buyer confirms. `hold`: authorized when the buyer confirms, captured when the campaign
   * succeeds. `card`: the card is saved when the buyer confirms, and charged when the campaign succeeds.
   */
  mode: 'order' | 'hold' | 'card';
  userId: string | null;
  /** Whether the tenant accepts payment methods that settle later. */
  delayed: boolean;
  /** The calculation of Stripe Tax whose tax the payment contains. Stripe reports it when the payment succeeds. */
  taxCalculation?: string | null;
};
/** A client of Stripe's API, or of STRIPE_API_URL, for one account. It retries a failed request once. */
export function openStripe(settings: StripeSettings, account: StripeAccount): Stripe {
  const api = settings.STRIPE_API_URL === undefined ? undefined : new URL(settings.STRIPE_API_URL);
  return new Stripe(settings.STRIPE_SECRET_KEY, {
    httpClient: Stripe.createFetchHttpClient(),
    timeout: deadlineMs,
    maxNetworkRetries: 1,
    telemetry: false,
    ...(account === null ? {} : { stripeAccount: account }),
    ...(api === undefined
      ? {}
      : { protocol: api.protocol === 'http:' ? 'http' : 'https', host: api.hostname, port: api.port || '443' }),
  });
}

/** Whether Stripe has stored this response for the idempotency key: it is a replay, or a retry is pointless. */
const isStoredForKey = (headers: Record<string, string> | undefined): boolean =>
  headers?.['idempotent-replayed'] === 'true' || headers?.['stripe-should-retry'] === 'false';

/** Classifies an error of Stripe's client. */
function toCallError(error: unknown): unknown {
  if (!(error instanceof Stripe.errors.StripeError)) return error;
  const code = error.code ?? error.type;
  // An older release used the key with other parameters, so this key can never succeed.
  if (error instanceof Stripe.errors.StripeIdempotencyError && error.statusCode === 400) {
    return new StripeCallError(code, { keyUsed: true });
  }
  if (error instanceof Stripe.errors.StripeInvalidRequestError) return new StripeCallError(code, { permanent: true });
  const status = error.statusCode ?? 0;
  // A 5xx that Stripe has not stored may come from a proxy. A new key could then make a second PaymentIntent while
  // another request succeeds with this key.
  if (status >= 500)
    return new StripeCallError(code, { keyUsed: isStoredForKey(error.headers), unavailable: status > 500 });
  // No status: Stripe was not reached. 402, 403, 409 and 429 (also a lock on one object) concern this call alone, or
  // the calls of one account.
  const noAccess = status === 403 && code === 'account_invalid';
  return new StripeCallError(code, { unavailable: status === 0 || status === 401, noAccess });
}

/** Awaits a call to Stripe. @throws StripeCallError */
export const callStripe = async <T>(work: Promise<T>): Promise<T> => {
  try {
    return await work;
  } catch (error) {
    throw toCallError(error);
  }
};

/** The amount in Stripe's minor units. @throws StripeCallError (permanent) if the currency has fewer decimals */
export function minorOf({ amount, currency }: { amount: string; currency: string }): number {
  try {
    return toMinor(amount, currency);
  } catch (error) {
    if (error instanceof RangeError) throw new StripeCallError('invalid_amount', { permanent: true });
    throw error;
  }
}

export const idOf = (expandable: string | { id: string } | null | undefined): string | undefined =>
  typeof expandable === 'string' ? expandable : expandable?.id;

export const intentUpdate = (account: StripeAccount, intent: Stripe.PaymentIntent): StripeUpdate => ({
  cell: cellIn(intent.metadata),
  account,
  intentId: intent.id,
  ...(intent.metadata?.paymentId === undefined ? {} : { paymentId: intent.metadata.paymentId }),
  intent: {
    status: intent.status,
    received: fromMinor(intent.amount_received, intent.currency),
    amount: fromMinor(intent.amount, intent.currency),
    currency: intent.currency.toUpperCase(),
    madeFor: madeFor(intent.metadata),
    clientSecret: intent.client_secret,
    failure: intent.last_payment_error?.decline_code ?? intent.last_payment_error?.code ?? null,
  },
});

export const setupUpdate = (account: StripeAccount, setup: Stripe.SetupIntent): StripeUpdate => ({
  cell: cellIn(setup.metadata),
  account,
  setupId: setup.id,
  ...(setup.metadata?.paymentId === undefined ? {} : { paymentId: setup.metadata.paymentId }),
  setup: {
    status: setup.status,
    madeFor: madeFor(setup.metadata),
    methodId: idOf(setup.payment_method) ?? null,
    failure: setup.last_setup_error?.decline_code ?? setup.last_setup_error?.code ?? null,
  },
});

/**
 * Payment methods that report success hours or days after the buyer has confirmed: debits, transfers and vouchers.
 * Source: docs.stripe.com/payments/payment-methods ("Delayed notification", 2026-11).
 */
const delayedMethods = [
  ...[
    'acss_debit',
    'au_becs_debit',
    'bacs_debit',
    'nz_bank_account',
    'payto',
    'sepa_debit',
    'sofort',
    'us_bank_account',
  ],
  ...['boleto', 'customer_balance', 'konbini', 'multibanco', 'oxxo'],
];

/** The request parameter that excludes delayed methods, for a tenant that does not accept them. */
export const excludedMethods = ({ delayed }: IntentTask) =>
  delayed ? {} : { excluded_payment_method_types: delayedMethods };

/** The request parameter that names the calculation of Stripe Tax, so that Stripe records the tax of the payment. */
export const taxHook = ({ taxCalculation }: IntentTask) =>
  taxCalculation ? { hooks: { inputs: { tax: { calculation: taxCalculation } } } } : {};

/**
 * Creates the PaymentIntent of a payment. Repeated calls return the same one, because the idempotency key is made from
 * the payment's row. Nothing is charged before the buyer confirms. With mode `hold` the confirmation only
 * authorizes the amount; the capture charges it. If the price can still fall, the PaymentIntent is for the entry price
 * and names no calculation of Stripe Tax: the capture names it, if the price has not fallen.
 *
 * If Stripe has stored an error for the key, the next key may make a second PaymentIntent. The first cannot be found
 * (it has no customer, and search by metadata lags), but nobody has its client secret. If it is paid anyway, its event
 * names the payment.
 * @throws StripeCallError
 */
export async function createIntent(context: Context, task: IntentTask): Promise<Stripe.PaymentIntent> {
  return callStripe(
    openStripe(context.settings, task.account).paymentIntents.create(
      {
        amount: minorOf({ ...task, amount: task.authorized ?? task.amount }),
        currency: task.currency.toLowerCase(),
        automatic_payment_methods: { enabled: true },
        ...excludedMethods(task),
        ...(task.mode === 'hold' ? { capture_method: 'manual' as const } : {}),
        ...(typeof task.authorized === 'string' ? {} : taxHook(task)),
        metadata: metadataOf(context, task),
      },
      { idempotencyKey: `payment-${task.id}-${task.attempt}` },
    ),
  );
}

/** Reads the state of a PaymentIntent. @throws StripeCallError */
export const lookUpIntent = async (
  settings: StripeSettings,
  account: StripeAccount,
  intentId: string,
): Promise<StripeUpdate> =>
  intentUpdate(account, await callStripe(openStripe(settings, account).paymentIntents.retrieve(intentId)));

/**
 * Cancels a PaymentIntent that nobody may pay any more. If it has ended already, returns how it ended (paid, for
 * example).
 * @throws StripeCallError
 */
export async function closeIntent(
  settings: StripeSettings,
  account: StripeAccount,
  intentId: string,
): Promise<StripeUpdate> {
  try {
    return intentUpdate(account, await openStripe(settings, account).paymentIntents.cancel(intentId));
  } catch (error) {
    if (error instanceof Stripe.errors.StripeInvalidRequestError) return lookUpIntent(settings, account, intentId);
    throw toCallError(error);
  }
}
