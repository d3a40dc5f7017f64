import Stripe from 'stripe';
import type { Context } from '../context.ts';
import {
  callStripe,
  excludedMethods,
  type IntentTask,
  idOf,
  intentUpdate,
  lookUpIntent,
  minorOf,
  openStripe,
  type StripeAccount,
  StripeCallError,
  type StripeSettings,
  type StripeUpdate,
  setupUpdate,
  taxHook,
} from './client.ts';
import { cellMetadata, metadataOf } from './metadata.ts';

/** A campaign payment that is captured or charged once the campaign has succeeded. */
export type ChargeTask = IntentTask & {
  /** The PaymentIntent that counts for this payment. */
  intentId: string | null;
  setupId: string | null;
  customerId: string | null;
  methodId: string | null;
};

/**
 * Starts saving a card for a place: creates a Stripe customer for this payment and the SetupIntent that the buyer
 * confirms. Repeated calls return the same objects, because the idempotency keys are made from the payment's row.
 * @throws StripeCallError
 */
export async function createSetup(context: Context, task: IntentTask) {
  const stripe = openStripe(context.settings, task.account);
  const customer = await callStripe(
    stripe.customers.create(
      { metadata: { tenant: task.tenant, userId: task.userId ?? '', ...cellMetadata(context.db.cell) } },
      { idempotencyKey: `customer-${task.id}-${task.attempt}` },
    ),
  );
  const setup = await callStripe(
    stripe.setupIntents.create(
      {
        customer: customer.id,
        usage: 'off_session',
        automatic_payment_methods: { enabled: true },
        ...excludedMethods(task),
        metadata: metadataOf(context, task),
      },
      { idempotencyKey: `setup-${task.id}-${task.attempt}` },
    ),
  );
  return { setup, customerId: customer.id };
}

/** Reads the state of a SetupIntent. @throws StripeCallError */
export const lookUpSetup = async (
  settings: StripeSettings,
  account: StripeAccount,
  setupId: string,
): Promise<StripeUpdate> =>
  setupUpdate(account, await callStripe(openStripe(settings, account).setupIntents.retrieve(setupId)));

/**
 * Cancels a SetupIntent that nobody may confirm any more. If it has saved a card, detaches the card.
 * @throws StripeCallError
 */
export async function closeSetup(
  settings: StripeSettings,
  account: StripeAccount,
  setupId: string,
): Promise<StripeUpdate> {
  const stripe = openStripe(settings, account);
  const setup = await callStripe(stripe.setupIntents.retrieve(setupId));
  const methodId = idOf(setup.payment_method);
  if (setup.status === 'succeeded') {
    if (methodId !== undefined) {
      // An earlier try may have detached it already.
      await callStripe(stripe.paymentMethods.detach(methodId)).catch((error: unknown) => {
        if (!(error instanceof StripeCallError && error.permanent)) throw error;
      });
    }
    return setupUpdate(account, setup);
  }
  if (setup.status === 'canceled') return setupUpdate(account, setup);
  return setupUpdate(account, await callStripe(stripe.setupIntents.cancel(setupId)));
}

/**
 * Captures the amount of a place from its authorization, which may be higher: Stripe releases the rest. The amount is
 * part of the idempotency key. If it can no longer be captured, for example because the response to an earlier capture
 * was lost, returns its current state.
 * @throws StripeCallError
 */
export async function captureHold(settings: StripeSettings, task: ChargeTask): Promise<StripeUpdate> {
  if (task.intentId === null) throw new Error(`the payment ${task.id} cannot be captured: it has no PaymentIntent`);
  const amount = minorOf(task);
  const key = { idempotencyKey: `capture-${task.id}-${amount}-${task.attempt}` };
  const params = { amount_to_capture: amount, ...(typeof task.authorized === 'string' ? taxHook(task) : {}) };
  try {
    const captured = openStripe(settings, task.account).paymentIntents.capture(task.intentId, params, key);
    return intentUpdate(task.account, await captured);
  } catch (error) {
    const { StripeCardError, StripeInvalidRequestError } = Stripe.errors;
    if (error instanceof StripeCardError || error instanceof StripeInvalidRequestError)
      return lookUpIntent(settings, task.account, task.intentId);
    return callStripe(Promise.reject(error));
  }
}

/** Every PaymentIntent of a payment's customer. The customer belongs to this payment alone. @throws StripeCallError */
export async function listCharges(settings: StripeSettings, { account, customerId }: ChargeTask) {
  if (customerId === null) return [];
  const list = openStripe(settings, account).paymentIntents.list({ customer: customerId, limit: 100 });
  return callStripe(list.autoPagingToArray({ limit: 1_000 }));
}

/** Whether our code made this PaymentIntent for the payment. Another may have been made in the dashboard. */
export const isOwnCharge = (task: ChargeTask) => (intent: Stripe.PaymentIntent) =>
  intent.metadata?.paymentId === task.id;

/** Whether the charge was created but never attempted, because the request was interrupted. */
const isUnattempted = (intent: Stripe.PaymentIntent): boolean =>
  intent.status === 'requires_confirmation' ||
  (intent.status === 'requires_payment_method' && intent.last_payment_error === null);

/** Turns a decline into an update of the declined PaymentIntent. @throws StripeCallError for any other error */
async function updateOnDecline(account: StripeAccount, request: Promise<Stripe.PaymentIntent>): Promise<StripeUpdate> {
  try {
    return intentUpdate(account, await request);
  } catch (error) {
    if (!(error instanceof Stripe.errors.StripeCardError && error.payment_intent))
      return callStripe(Promise.reject(error));
    const update = intentUpdate(account, error.payment_intent);
    const failure = error.decline_code ?? error.code ?? 'card_declined';
    return { ...update, ...(update.intent ? { intent: { ...update.intent, failure } } : {}) };
  }
}

/** The charges of this payment that Stripe has attempted, and the first one that was never attempted. */
async function findCharges(settings: StripeSettings, task: ChargeTask) {
  const found = (await listCharges(settings, task)).filter(isOwnCharge(task));
  return { attempted: found.filter((intent) => !isUnattempted(intent)), unattempted: found.find(isUnattempted) };
}

/**
 * Charges a saved payment method once, without the buyer. With `mayExist` an earlier request may have made the charge:
 * then it looks for that charge first and reports its state, whatever it is. The idempotency key alone is not enough,
 * since Stripe forgets it after 24 hours and a debit takes days. It looks again if Stripe rejects the request, because
 * another request may have made or confirmed the charge since then (`payment_intent_unexpected_state`).
 * @throws StripeCallError
 */
export async function* chargeSaved(
  context: Context,
  task: ChargeTask,
  mayExist: boolean,
): AsyncGenerator<StripeUpdate> {
  const earlier = mayExist ? await findCharges(context.settings, task) : { attempted: [], unattempted: undefined };
  for (const intent of earlier.attempted) yield intentUpdate(task.account, intent);
  if (earlier.attempted.length > 0) return;
  try {
    yield await updateOnDecline(task.account, requestCharge(context, task, earlier.unattempted));
  } catch (error) {
    if (!(error instanceof StripeCallError && error.permanent)) throw error;
    const { attempted } = await findCharges(context.settings, task);
    const made = attempted.filter(({ status }) => status !== 'canceled');
    if (made.length === 0) throw error;
    for (const intent of made) yield intentUpdate(task.account, intent);
  }
}

/** Confirms a charge that was created but never attempted, or creates and confirms one. */
function requestCharge(context: Context, task: ChargeTask, unattempted: Stripe.PaymentIntent | undefined) {
  const stripe = openStripe(context.settings, task.account);
  const method = task.methodId === null ? {} : { payment_method: task.methodId };
  if (unattempted !== undefined) {
    const key = { idempotencyKey: `confirm-${task.id}-${task.attempt}` };
    return stripe.paymentIntents.confirm(unattempted.id, { ...method, off_session: true }, key);
  }
  return stripe.paymentIntents.create(
    {
      amount: minorOf(task),
      currency: task.currency.toLowerCase(),
      ...(task.customerId === null ? {} : { customer: task.customerId }),
      ...method,
      automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
      confirm: true,
      off_session: true,
      ...taxHook(task),
      metadata: metadataOf(context, task),
    },
    { idempotencyKey: `charge-${task.id}-${task.attempt}` },
  );
}
