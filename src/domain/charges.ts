import type { Context } from '../context.ts';
import {
  type ChargeTask,
  captureHold,
  chargeSaved,
  closeSetup,
  isOwnCharge,
  listCharges,
  lookUpSetup,
} from '../stripe/campaign-charges.ts';
import { closeIntent, intentUpdate, lookUpIntent, type StripeUpdate } from '../stripe/client.ts';

/** The part of a payment's row that decides what to do at Stripe. */
export type PaymentTask = ChargeTask & {
  status: string;
  /** The campaign has succeeded, so the payment is to be captured or charged. */
  capture: boolean;
  /** Stripe may still take money for this payment. */
  intentOpen: boolean;
  /** Extra PaymentIntents that do not count and must be cancelled. */
  strays: string[];
  /** The payment has ended, and Stripe may have made a charge that we have not recorded. */
  chargesUnseen: boolean;
  refundsUnseen: boolean;
};

/**
 * Makes the changes at Stripe that the payment's row needs, and yields the resulting updates. The caller applies each
 * update before it requests the next. Yields nothing for a payment without a PaymentIntent, or one that is finished at
 * Stripe too.
 * @throws StripeCallError
 */
export async function* syncPayment(context: Context, task: PaymentTask): AsyncGenerator<StripeUpdate> {
  const { settings } = context;
  const { account } = task;
  for (const extraIntent of task.strays) yield await closeIntent(settings, account, extraIntent);
  if (task.status === 'pending') {
    if (task.capture) yield* captureOrCharge(context, task);
    else if (task.intentId !== null) yield await lookUpIntent(settings, account, task.intentId);
    else if (task.setupId !== null) yield await lookUpSetup(settings, account, task.setupId);
    return;
  }
  if (!task.intentOpen || task.status === 'succeeded' || task.status === 'refunded') return;
  if (task.chargesUnseen) yield* findUnrecordedCharges(context, task);
  if (task.intentId !== null) yield await closeIntent(settings, account, task.intentId);
  if (task.setupId !== null) yield await closeSetup(settings, account, task.setupId);
}

/**
 * Captures the authorization of a place, or charges the saved method without the buyer, once. A known
 * charge is looked up and never repeated. The database records the attempt before Stripe is called.
 */
async function* captureOrCharge(context: Context, task: PaymentTask): AsyncGenerator<StripeUpdate> {
  const { db, call, settings } = context;
  if (task.mode !== 'card') yield await captureHold(settings, task);
  else if (task.intentId !== null) yield await lookUpIntent(settings, task.account, task.intentId);
  else {
    const input = { tenant: task.tenant, id: task.id };
    const claim = await db.run<{ ended: true } | { task: PaymentTask; again: boolean }>(
      'payments.ask_charge',
      call,
      input,
    );
    if ('ended' in claim) return;
    if (claim.task.intentId !== null) yield await lookUpIntent(settings, task.account, claim.task.intentId);
    else yield* chargeSaved(context, claim.task, claim.again);
  }
}

/**
 * Looks for charges of a payment that has ended. A found charge is refunded once it is applied; an open one is
 * cancelled.
 */
async function* findUnrecordedCharges(
  { db, call, settings }: Context,
  task: PaymentTask,
): AsyncGenerator<StripeUpdate> {
  for (const intent of await listCharges(settings, task)) {
    yield intentUpdate(task.account, intent);
    const open = intent.status !== 'succeeded' && intent.status !== 'canceled';
    if (open && isOwnCharge(task)(intent)) yield await closeIntent(settings, task.account, intent.id);
  }
  await db.run('payments.note_charges', call, { tenant: task.tenant, payments: [task.id] });
}
