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

/** A payment's row, as far as it says what is to be asked of Stripe. */
export type PaymentTask = ChargeTask & {
  status: string;
  /** Its money is to be taken: the campaign has succeeded. */
  capture: boolean;
  /** Stripe may still take money for it. */
  intentOpen: boolean;
  /** Intents that do not count and must be cancelled. */
  strays: string[];
  /** It has ended, and Stripe may have made a charge that we never heard of. */
  chargesUnseen: boolean;
  refundsUnseen: boolean;
};

/**
 * What Stripe says of a payment, once it has done there what its row asks for. Apply each update before the next
 * is asked for. Nothing comes of a payment that has no intent yet, or that is over at Stripe too.
 * @throws StripeCallError
 */
export async function* syncPayment(context: Context, task: PaymentTask): AsyncGenerator<StripeUpdate> {
  const { settings } = context;
  for (const stray of task.strays) yield await closeIntent(settings, stray);
  if (task.status === 'pending') {
    if (task.capture) yield* takeMoney(context, task);
    else if (task.intentId !== null) yield await lookUpIntent(settings, task.intentId);
    else if (task.setupId !== null) yield await lookUpSetup(settings, task.setupId);
    return;
  }
  if (!task.intentOpen || task.status === 'succeeded' || task.status === 'refunded') return;
  if (task.chargesUnseen) yield* findCharges(context, task);
  if (task.intentId !== null) yield await closeIntent(settings, task.intentId);
  if (task.setupId !== null) yield await closeSetup(settings, task.setupId);
}

/**
 * Takes the money of a place, once: captures its hold, or charges its saved method without the buyer. A charge that is
 * known is looked up and never made again, however long it takes. That a charge is asked for is noted before Stripe is.
 */
async function* takeMoney({ db, call, settings }: Context, task: PaymentTask): AsyncGenerator<StripeUpdate> {
  if (task.mode !== 'card') yield await captureHold(settings, task);
  else if (task.intentId !== null) yield await lookUpIntent(settings, task.intentId);
  else {
    const input = { tenant: task.tenant, id: task.id };
    const asked = await db.run<{ ended: true } | { task: PaymentTask; again: boolean }>(
      'payments.ask_charge',
      call,
      input,
    );
    if ('ended' in asked) return;
    if (asked.task.intentId !== null) yield await lookUpIntent(settings, asked.task.intentId);
    else yield* chargeSaved(settings, asked.task, asked.again);
  }
}

/** Looks for charges of a payment that has ended: money goes back once we know of it, and what is open is cancelled. */
async function* findCharges({ db, call, settings }: Context, task: PaymentTask): AsyncGenerator<StripeUpdate> {
  for (const intent of await listCharges(settings, task)) {
    yield intentUpdate(intent);
    const open = intent.status !== 'succeeded' && intent.status !== 'canceled';
    if (open && isOwnCharge(task)(intent)) yield await closeIntent(settings, intent.id);
  }
  await db.run('payments.note_charges', call, { tenant: task.tenant, payments: [task.id] });
}
