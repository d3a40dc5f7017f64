import { ApiError } from '../base/errors.ts';
import { type Context, runLast } from '../context.ts';
import type { Job } from '../db/client.ts';
import type { MadeIntent, PaymentRow } from '../db/payments/queries.ts';
import { createSetup } from '../stripe/campaign-charges.ts';
import { createIntent, type IntentTask, StripeCallError } from '../stripe/client.ts';

/** A payment or refund, and the attempt whose idempotency key is used up. The next attempt uses another key. */
export type UsedKey = { id: string; attempt: number };
export const usedKey = ({ id, attempt }: UsedKey): UsedKey => ({ id, attempt });

/**
 * Creates the PaymentIntent or SetupIntent that the buyer confirms. Returns the input of `record_intent`.
 * @throws StripeCallError
 */
export async function createAtStripe(context: Context, task: IntentTask): Promise<MadeIntent> {
  if (task.mode === 'card') {
    const { setup, customerId } = await createSetup(context, task);
    const { client_secret: clientSecret, status } = setup;
    return { id: task.id, account: task.account, setupId: setup.id, customerId, clientSecret, status };
  }
  const intent = await createIntent(context, task);
  return {
    id: task.id,
    account: task.account,
    intentId: intent.id,
    clientSecret: intent.client_secret,
    status: intent.status,
  };
}

/** The call as the tenant, without the client's key. */
function asTenant({ call }: Context) {
  const { keyHash: _keyHash, idempotencyKey: _idempotencyKey, requestHash: _requestHash, ...rest } = call;
  return rest;
}

/** A request that Stripe rejected, and the objects that its payment had then: see `payments.is_rejection_current`. */
export type Rejection = { id: string; reason: string; intentId: string | null; setupId: string | null };

/** The rejection of a request that should have made the payment's first PaymentIntent or SetupIntent. */
const creationRejection = ({ id }: IntentTask, { code }: StripeCallError): Rejection => ({
  ...{ id, reason: code },
  ...{ intentId: null, setupId: null },
});

/**
 * Records why Stripe made no intent, if a later request must know it.
 * @returns the error for the client, or undefined if the payment has the intent of another request
 */
export async function recordFailure(
  context: Context,
  tenant: string,
  task: IntentTask,
  error: unknown,
): Promise<unknown> {
  if (!(error instanceof StripeCallError)) return error;
  const rejected = error.permanent ? [creationRejection(task, error)] : [];
  const usedKeys = error.keyUsed ? [usedKey(task)] : [];
  if (rejected.length + usedKeys.length > 0) {
    const input = { tenant, intents: [], refused: rejected, again: usedKeys };
    const { kept } = await context.db.run<{ kept: string[] }>('payments.record_intents', asTenant(context), input);
    if (kept.includes(task.id)) return undefined;
  }
  if (error.permanent) return new ApiError('order_not_payable', `Stripe rejects this payment: ${error.code}.`);
  if (error.noAccess) {
    const detail = `The shop’s Stripe account ${task.account} gives no access any more. Once it does, the order can be paid.`;
    return new ApiError('order_not_payable', detail);
  }
  return new ApiError(
    'unavailable',
    'Stripe did not complete the request. Repeat with the same Idempotency-Key: nobody pays twice.',
  );
}

/** A payment that was opened with its order, as `orders.checkout_cart` and `orders.place_order` return it. */
export type OpenedPayment = PaymentRow & { delayed?: boolean; taxCalculation?: string | null };
type FoundIntent = {
  intentId: string | null;
  clientSecret: string | null;
  task: IntentTask | null;
  reason: string | null;
};

/**
 * Makes the PaymentIntent of a payment that was opened with its order. It is not recorded in a call of its own: the
 * relay records it with the call that it makes after the response. If that does not happen, the cron finds a payment
 * without an intent, and the payment's idempotency key returns this intent. `replayed`: the order was placed by an
 * earlier request, whose intent is returned again.
 * @throws ApiError order_not_payable, unavailable (Stripe is unavailable: repeat with the same Idempotency-Key)
 */
export async function makeIntent(
  context: Context,
  tenant: string,
  payment: OpenedPayment,
  replayed: boolean,
): Promise<PaymentRow> {
  const found: FoundIntent = replayed
    ? await context.db.run('payments.find_intent', asTenant(context), { tenant, id: payment.id })
    : { intentId: null, clientSecret: null, task: firstTask(tenant, payment), reason: null };
  const { task, intentId, clientSecret, reason } = found;
  if (!task && intentId === null) throw new ApiError('order_not_payable', `The payment has ended: ${reason}.`);
  if (!task) return { ...payment, stripePaymentIntentId: intentId, clientSecret };
  try {
    const intent = await createAtStripe(context, task);
    context.madeIntents = [...(context.madeIntents ?? []), { tenant, intent }];
    return { ...payment, stripePaymentIntentId: intent.intentId ?? null, clientSecret: intent.clientSecret };
  } catch (error) {
    const failure = await recordFailure(context, tenant, task, error);
    if (failure !== undefined) throw failure;
    return makeIntent(context, tenant, payment, true);
  }
}

function firstTask(tenant: string, payment: OpenedPayment): IntentTask {
  const { id, orderId, amount, currency, delayed = false, stripeAccount: account = null } = payment;
  const { taxCalculation = null } = payment;
  return {
    ...{ id, tenant, account, orderId, amount: String(amount), currency, delayed },
    ...{ attempt: 1, mode: 'order', userId: null, taxCalculation },
  };
}

/** The job that records these PaymentIntents. It waits for no other call: see `payments.attach_intents`. */
export const recordMadeIntents = (tenant: string, intents: MadeIntent[]): Job => ({
  name: 'payments.record_intents',
  call: {},
  input: { tenant, intents, refused: [], again: [], skipLocked: true },
});

const lacksAccess = (error: unknown): boolean => error instanceof StripeCallError && error.noAccess;

/**
 * For the queue: creates the PaymentIntents of payments that have none. Those of a tenant that gives no access to its
 * account wait for the cron, which asks again while they are pending.
 * @throws the first temporary failure
 */
export async function makeIntentsOfMessages(context: Context, tenant: string, tasks: IntentTask[]): Promise<void> {
  try {
    await makeIntents(context, tenant, tasks);
  } catch (error) {
    if (!lacksAccess(error)) throw error;
  }
}

/**
 * Creates the PaymentIntents of payments that have none, five at a time, and records the results in one call.
 * @returns what was created at Stripe
 * @throws the first temporary failure, of an account without access only if there is no other
 */
export async function makeIntents(context: Context, tenant: string, tasks: IntentTask[]) {
  if (tasks.length === 0) return [];
  const intents: MadeIntent[] = [];
  const rejected: Rejection[] = [];
  const usedKeys: UsedKey[] = [];
  const failures: unknown[] = [];
  const waiting = [...tasks];
  const worker = async () => {
    for (let task = waiting.shift(); task; task = waiting.shift()) {
      try {
        intents.push(await createAtStripe(context, task));
      } catch (error) {
        if (!(error instanceof StripeCallError)) throw error;
        if (error.permanent) rejected.push(creationRejection(task, error));
        else failures.push(error);
        if (error.keyUsed) usedKeys.push(usedKey(task));
      }
    }
  };
  await Promise.all(Array.from({ length: 5 }, worker));
  await runLast(context, 'payments.record_intents', context.call, {
    tenant,
    intents,
    refused: rejected,
    again: usedKeys,
  });
  if (failures.length > 0) throw failures.find((failure) => !lacksAccess(failure)) ?? failures[0];
  return intents;
}
