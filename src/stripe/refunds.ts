import type Stripe from 'stripe';
import { fromMinor } from '../base/money.ts';
import type { Context } from '../context.ts';
import {
  callStripe,
  idOf,
  minorOf,
  openStripe,
  type RefundUpdate,
  type StripeAccount,
  StripeCallError,
  type StripeSettings,
  type StripeUpdate,
} from './client.ts';
import { cellIn, cellMetadata } from './metadata.ts';

export type RefundTask = {
  id: string;
  paymentId: string;
  account: StripeAccount;
  amount: string;
  currency: string;
  attempt: number;
  intentId: string;
  stripeRefundId: string | null;
  /** An earlier try may have made the refund, so look for it first. */
  mayExist: boolean;
};

const refundStatus = (status: string | null): RefundUpdate['status'] =>
  status === 'succeeded' ? 'succeeded' : status === 'failed' || status === 'canceled' ? 'failed' : 'pending';

export function refundUpdate(account: StripeAccount, refund: Stripe.Refund): StripeUpdate | undefined {
  const intentId = idOf(refund.payment_intent);
  if (intentId === undefined) return undefined;
  return {
    cell: cellIn(refund.metadata),
    account,
    intentId,
    refund: {
      id: refund.metadata?.refundId ?? null,
      stripeId: refund.id,
      status: refundStatus(refund.status),
      amount: fromMinor(refund.amount, refund.currency),
      failure: refund.failure_reason ?? null,
      released: refund.status === 'succeeded' && refund.balance_transaction === null,
    },
  };
}

/** Every refund of a PaymentIntent, including refunds made in the dashboard. @throws StripeCallError */
export async function listRefunds(
  settings: StripeSettings,
  account: StripeAccount,
  intentId: string,
): Promise<StripeUpdate[]> {
  const list = openStripe(settings, account).refunds.list({ payment_intent: intentId, limit: 100 });
  const { data } = await callStripe(list);
  return data.map((refund) => refundUpdate(account, refund)).filter((update) => update !== undefined);
}

/**
 * Makes the refund of a row, once. The idempotency key is made from the row. Looks for a refund with our id in its
 * metadata if an earlier try may have made it: before, and if Stripe then rejects the refund because of that one.
 * @throws StripeCallError
 */
export async function makeRefund({ settings, db }: Context, task: RefundTask): Promise<StripeUpdate> {
  const { id, account, intentId, paymentId } = task;
  const stripe = openStripe(settings, account);
  if (task.stripeRefundId !== null) {
    const update = refundUpdate(account, await callStripe(stripe.refunds.retrieve(task.stripeRefundId)));
    if (update) return update;
  }
  const findExisting = async () =>
    (await listRefunds(settings, account, intentId)).find(({ refund }) => refund?.id === id);
  const existing = task.mayExist ? await findExisting() : undefined;
  if (existing) return existing;
  const metadata = { refundId: id, paymentId, ...cellMetadata(db.cell) };
  const key = { idempotencyKey: `refund-${id}-${task.attempt}` };
  try {
    const request = stripe.refunds.create({ payment_intent: intentId, amount: minorOf(task), metadata }, key);
    return refundUpdate(account, await callStripe(request)) ?? { cell: db.cell, account, intentId };
  } catch (error) {
    const made = error instanceof StripeCallError && error.permanent ? await findExisting() : undefined;
    if (made) return made;
    throw error;
  }
}
