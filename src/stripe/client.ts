import Stripe from 'stripe';
import { fromMinor, toMinor } from '../base/money.ts';
import type { Settings } from '../env.ts';

const deadlineMs = 8_000;

export type StripeSettings = Pick<Settings, 'STRIPE_SECRET_KEY' | 'STRIPE_WEBHOOK_SECRET' | 'STRIPE_API_URL'>;

/**
 * Why Stripe did not do what it was callStripe. `permanent`: it never will (the amount is below its minimum). `keyUsed`: it has
 * isStoredForKey this failure for the idempotency key, so nobody can succeed with that one and the next try needs another. `unavailable`:
 * Stripe is unavailable or refuses our key, so nothing else would be answered either. Any other refusal concerns the
 * payment that was callStripe about, and the others go on.
 */
export class StripeCallError extends Error {
  readonly permanent: boolean;
  readonly keyUsed: boolean;
  readonly unavailable: boolean;
  readonly code: string;

  constructor(code: string, kind: { permanent?: boolean; keyUsed?: boolean; unavailable?: boolean }) {
    super(`Stripe: ${code}`);
    this.name = 'StripeCallError';
    this.code = code;
    this.permanent = kind.permanent ?? false;
    this.keyUsed = kind.keyUsed ?? false;
    this.unavailable = kind.unavailable ?? false;
  }
}

/** Which payment the metadata of something at Stripe names. */
export type MadeFor = { paymentId: string | null; orderId: string | null; tenant: string | null };

/** What Stripe tells of an intent, in our own words: what `payments.apply_stripe` takes. */
export type IntentUpdate = {
  status: string;
  received: string;
  amount: string;
  currency: string;
  madeFor: MadeFor;
  clientSecret: string | null;
  failure: string | null;
};
/** What Stripe tells of a card that is to be saved. */
export type SetupUpdate = { status: string; madeFor: MadeFor; methodId: string | null; failure: string | null };
export type RefundUpdate = {
  id: string | null;
  stripeId: string;
  status: 'pending' | 'succeeded' | 'failed';
  amount: string;
  failure: string | null;
};
export type StripeUpdate = {
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
  orderId: string;
  amount: string;
  currency: string;
  attempt: number;
  /** Charged when the buyer confirms; held until the campaign has succeeded; or a card saved for then. */
  mode: 'order' | 'hold' | 'card';
  userId: string | null;
  /** Whether the tenant takes payment methods that settle later. */
  delayed: boolean;
};
export type RefundTask = {
  id: string;
  paymentId: string;
  amount: string;
  currency: string;
  attempt: number;
  intentId: string;
  stripeRefundId: string | null;
  /** An earlier try may have made it: it is looked for before it is made. */
  mayExist: boolean;
};

export function connect(settings: StripeSettings): Stripe {
  const api = settings.STRIPE_API_URL === undefined ? undefined : new URL(settings.STRIPE_API_URL);
  return new Stripe(settings.STRIPE_SECRET_KEY, {
    httpClient: Stripe.createFetchHttpClient(),
    timeout: deadlineMs,
    maxNetworkRetries: 1,
    telemetry: false,
    ...(api === undefined
      ? {}
      : { protocol: api.protocol === 'http:' ? 'http' : 'https', host: api.hostname, port: api.port || '443' }),
  });
}

/** Whether Stripe keeps this answer for the idempotency key: it was given from there, or is not to be callStripe for again. */
const isStoredForKey = (headers: Record<string, string> | undefined): boolean =>
  headers?.['idempotent-replayed'] === 'true' || headers?.['stripe-should-retry'] === 'false';

/** Stripe's error in the kinds that we treat differently. */
function toCallError(error: unknown): unknown {
  if (!(error instanceof Stripe.errors.StripeError)) return error;
  const code = error.code ?? error.type;
  // The key was used with other parameters (by an older release): it will never do again.
  if (error instanceof Stripe.errors.StripeIdempotencyError && error.statusCode === 400) {
    return new StripeCallError(code, { keyUsed: true });
  }
  if (error instanceof Stripe.errors.StripeInvalidRequestError) return new StripeCallError(code, { permanent: true });
  const status = error.statusCode ?? 0;
  // A 5xx that Stripe does not say it has isStoredForKey may come from a proxy: another key then could make a second intent, while
  // someone else succeeds with this one.
  if (status >= 500)
    return new StripeCallError(code, { keyUsed: isStoredForKey(error.headers), unavailable: status > 500 });
  // Without a status Stripe was not reached. 402, 403, 409 and 429 (also a lock on one object) concern this request.
  return new StripeCallError(code, { unavailable: status === 0 || status === 401 });
}

/** Waits for Stripe. @throws StripeCallError */
export const callStripe = async <T>(work: Promise<T>): Promise<T> => {
  try {
    return await work;
  } catch (error) {
    throw toCallError(error);
  }
};

/** @throws StripeCallError of an amount that Stripe cannot express: it has no hundredths of an ariary */
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

const madeFor = (metadata: Stripe.Metadata | null): MadeFor => ({
  paymentId: metadata?.paymentId ?? null,
  orderId: metadata?.orderId ?? null,
  tenant: metadata?.tenant ?? null,
});

export const intentUpdate = (intent: Stripe.PaymentIntent): StripeUpdate => ({
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

export const setupUpdate = (setup: Stripe.SetupIntent): StripeUpdate => ({
  setupId: setup.id,
  ...(setup.metadata?.paymentId === undefined ? {} : { paymentId: setup.metadata.paymentId }),
  setup: {
    status: setup.status,
    madeFor: madeFor(setup.metadata),
    methodId: idOf(setup.payment_method) ?? null,
    failure: setup.last_setup_error?.decline_code ?? setup.last_setup_error?.code ?? null,
  },
});

const refundStatus = (status: string | null): RefundUpdate['status'] =>
  status === 'succeeded' ? 'succeeded' : status === 'failed' || status === 'canceled' ? 'failed' : 'pending';

export function refundUpdate(refund: Stripe.Refund): StripeUpdate | undefined {
  const intentId = idOf(refund.payment_intent);
  if (intentId === undefined) return undefined;
  return {
    intentId,
    refund: {
      id: refund.metadata?.refundId ?? null,
      stripeId: refund.id,
      status: refundStatus(refund.status),
      amount: fromMinor(refund.amount, refund.currency),
      failure: refund.failure_reason ?? null,
    },
  };
}

/**
 * Payment methods that report success hours to days after the buyer has confirmed: debits, transfers and vouchers.
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

/** What to leave out for a tenant that takes only methods that settle at once. */
export const methodsOf = ({ delayed }: IntentTask) =>
  delayed ? {} : { excluded_payment_method_types: delayedMethods };

/**
 * The intent of a payment: the same one however often it is callStripe for, since Stripe's idempotency key is made from our
 * row. Nothing is charged by it until the buyer confirms; with mode `hold` it is held then, and charged when captured.
 * When Stripe keeps an error for the key, the next key can make a second intent. The first cannot be searched for (there
 * is no customer, and a search by metadata lags), but nobody has its client secret; if it is paid all the same, its
 * event names the payment.
 * @throws StripeCallError
 */
export async function createIntent(settings: StripeSettings, task: IntentTask): Promise<Stripe.PaymentIntent> {
  return callStripe(
    connect(settings).paymentIntents.create(
      {
        amount: minorOf(task),
        currency: task.currency.toLowerCase(),
        automatic_payment_methods: { enabled: true },
        ...methodsOf(task),
        ...(task.mode === 'hold' ? { capture_method: 'manual' as const } : {}),
        metadata: { paymentId: task.id, orderId: task.orderId, tenant: task.tenant },
      },
      { idempotencyKey: `payment-${task.id}-${task.attempt}` },
    ),
  );
}

/** What has become of an intent. @throws StripeCallError */
export const lookUpIntent = async (settings: StripeSettings, intentId: string): Promise<StripeUpdate> =>
  intentUpdate(await callStripe(connect(settings).paymentIntents.retrieve(intentId)));

/** Every refund of an intent, ours and those that were made by hand. @throws StripeCallError */
export async function listRefunds(settings: StripeSettings, intentId: string): Promise<StripeUpdate[]> {
  const { data } = await callStripe(connect(settings).refunds.list({ payment_intent: intentId, limit: 100 }));
  return data.map(refundUpdate).filter((update) => update !== undefined);
}

/**
 * Closes an intent that nobody shall pay any more. One that has ended already is told as it ended: paid, for example.
 * @throws StripeCallError
 */
export async function closeIntent(settings: StripeSettings, intentId: string): Promise<StripeUpdate> {
  const stripe = connect(settings);
  try {
    return intentUpdate(await stripe.paymentIntents.cancel(intentId));
  } catch (error) {
    if (error instanceof Stripe.errors.StripeInvalidRequestError) return lookUpIntent(settings, intentId);
    throw toCallError(error);
  }
}

/**
 * Makes a refund that our row promises, once: by an idempotency key made from the row, and by looking among the intent's
 * refunds for one that carries our id when an earlier try may have been lost.
 * @throws StripeCallError
 */
export async function makeRefund(settings: StripeSettings, task: RefundTask): Promise<StripeUpdate> {
  const stripe = connect(settings);
  if (task.stripeRefundId !== null) {
    const update = refundUpdate(await callStripe(stripe.refunds.retrieve(task.stripeRefundId)));
    if (update) return update;
  }
  if (task.mayExist) {
    const made = (await listRefunds(settings, task.intentId)).find(({ refund }) => refund?.id === task.id);
    if (made) return made;
  }
  const refund = await callStripe(
    stripe.refunds.create(
      {
        payment_intent: task.intentId,
        amount: minorOf(task),
        metadata: { refundId: task.id, paymentId: task.paymentId },
      },
      { idempotencyKey: `refund-${task.id}-${task.attempt}` },
    ),
  );
  return refundUpdate(refund) ?? { intentId: task.intentId };
}
