import Stripe from 'stripe';
import {
  callStripe,
  connect,
  type IntentTask,
  idOf,
  intentUpdate,
  lookUpIntent,
  methodsOf,
  minorOf,
  StripeCallError,
  type StripeSettings,
  type StripeUpdate,
  setupUpdate,
} from './client.ts';

/** What is taken for a place once its campaign has succeeded. */
export type ChargeTask = IntentTask & {
  /** The intent that counts. */
  intentId: string | null;
  setupId: string | null;
  customerId: string | null;
  methodId: string | null;
};

const metadataOf = (task: IntentTask) => ({ paymentId: task.id, orderId: task.orderId, tenant: task.tenant });

/**
 * Has a card saved for a place: a customer of its own, and the SetupIntent that the buyer confirms. Both are the same
 * however often they are callStripe for, since their idempotency keys are made from our row.
 * @throws StripeCallError
 */
export async function createSetup(settings: StripeSettings, task: IntentTask) {
  const stripe = connect(settings);
  const customer = await callStripe(
    stripe.customers.create(
      { metadata: { tenant: task.tenant, userId: task.userId ?? '' } },
      { idempotencyKey: `customer-${task.id}-${task.attempt}` },
    ),
  );
  const setup = await callStripe(
    stripe.setupIntents.create(
      {
        customer: customer.id,
        usage: 'off_session',
        automatic_payment_methods: { enabled: true },
        ...methodsOf(task),
        metadata: metadataOf(task),
      },
      { idempotencyKey: `setup-${task.id}-${task.attempt}` },
    ),
  );
  return { setup, customerId: customer.id };
}

/** What has become of a card that was to be saved. @throws StripeCallError */
export const lookUpSetup = async (settings: StripeSettings, setupId: string): Promise<StripeUpdate> =>
  setupUpdate(await callStripe(connect(settings).setupIntents.retrieve(setupId)));

/** Closes a SetupIntent that nobody shall confirm any more; a card that was saved by it is forgotten. @throws StripeCallError */
export async function closeSetup(settings: StripeSettings, setupId: string): Promise<StripeUpdate> {
  const stripe = connect(settings);
  const setup = await callStripe(stripe.setupIntents.retrieve(setupId));
  const methodId = idOf(setup.payment_method);
  if (setup.status === 'succeeded') {
    if (methodId !== undefined) {
      // Detached already, by an earlier try, is as good.
      await callStripe(stripe.paymentMethods.detach(methodId)).catch((error: unknown) => {
        if (!(error instanceof StripeCallError && error.permanent)) throw error;
      });
    }
    return setupUpdate(setup);
  }
  if (setup.status === 'canceled') return setupUpdate(setup);
  return setupUpdate(await callStripe(stripe.setupIntents.cancel(setupId)));
}

/**
 * Captures the hold of a place. A hold that has lapsed is told as it is.
 * @throws StripeCallError
 */
export async function captureHold(settings: StripeSettings, task: ChargeTask): Promise<StripeUpdate> {
  if (task.intentId === null) throw new Error(`the payment ${task.id} is to be captured and has no intent`);
  const key = { idempotencyKey: `capture-${task.id}-${task.attempt}` };
  try {
    return intentUpdate(await connect(settings).paymentIntents.capture(task.intentId, {}, key));
  } catch (error) {
    const { StripeCardError, StripeInvalidRequestError } = Stripe.errors;
    if (error instanceof StripeCardError || error instanceof StripeInvalidRequestError)
      return lookUpIntent(settings, task.intentId);
    return callStripe(Promise.reject(error));
  }
}

/** Every intent of a payment's customer, who belongs to this payment alone. @throws StripeCallError */
export async function listCharges(settings: StripeSettings, { customerId }: ChargeTask) {
  if (customerId === null) return [];
  const list = connect(settings).paymentIntents.list({ customer: customerId, limit: 100 });
  return callStripe(list.autoPagingToArray({ limit: 1_000 }));
}

/** Whether this intent is the charge that we callStripe for; another may have been made by hand. */
export const isChargeOf = (task: ChargeTask) => (intent: Stripe.PaymentIntent) =>
  intent.metadata?.paymentId === task.id;

/** Whether the charge was made and never attempted: Stripe broke off in between. */
const isUnattempted = (intent: Stripe.PaymentIntent): boolean =>
  intent.status === 'requires_confirmation' ||
  (intent.status === 'requires_payment_method' && intent.last_payment_error === null);

/** What a decline says of the intent that was declined. @throws StripeCallError of any other error */
async function declined(work: Promise<Stripe.PaymentIntent>): Promise<StripeUpdate> {
  try {
    return intentUpdate(await work);
  } catch (error) {
    if (!(error instanceof Stripe.errors.StripeCardError && error.payment_intent))
      return callStripe(Promise.reject(error));
    const update = intentUpdate(error.payment_intent);
    const failure = error.decline_code ?? error.code ?? 'card_declined';
    return { ...update, ...(update.intent ? { intent: { ...update.intent, failure } } : {}) };
  }
}

/**
 * Charges a saved method without the buyer, once. If an earlier request may have made a charge (`again`), that one is
 * taken as it is, whatever became of it: Stripe forgets an idempotency key after 24 hours, and a debit takes days.
 * @throws StripeCallError
 */
export async function* chargeSaved(
  settings: StripeSettings,
  task: ChargeTask,
  again: boolean,
): AsyncGenerator<StripeUpdate> {
  const stripe = connect(settings);
  const method = task.methodId === null ? {} : { payment_method: task.methodId };
  if (again) {
    const found = (await listCharges(settings, task)).filter(isChargeOf(task));
    const attempted = found.filter((intent) => !isUnattempted(intent));
    for (const intent of attempted) yield intentUpdate(intent);
    if (attempted.length > 0) return;
    const [unattempted] = found;
    if (unattempted !== undefined) {
      const key = { idempotencyKey: `confirm-${task.id}-${task.attempt}` };
      yield await declined(stripe.paymentIntents.confirm(unattempted.id, { ...method, off_session: true }, key));
      return;
    }
  }
  yield await declined(
    stripe.paymentIntents.create(
      {
        amount: minorOf(task),
        currency: task.currency.toLowerCase(),
        ...(task.customerId === null ? {} : { customer: task.customerId }),
        ...method,
        automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
        confirm: true,
        off_session: true,
        metadata: metadataOf(task),
      },
      { idempotencyKey: `charge-${task.id}-${task.attempt}` },
    ),
  );
}
