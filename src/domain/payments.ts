import * as z from 'zod';
import { ApiError } from '../base/errors.ts';
import { id, money, text, time, whole } from '../base/fields.ts';
import { newId } from '../base/ids.ts';
import type { Context } from '../context.ts';
import { type PaymentRow, paymentById, type RefundRow, refundsOf } from '../db/payments/queries.ts';
import type { IntentTask } from '../stripe/client.ts';
import { readAsShopper } from './customers/shoppers.ts';
import type { Event } from './events.ts';
import { toMessage } from './events.ts';
import { createAtStripe, makeIntentsOfMessages, recordFailure } from './intents.ts';
import { type ErrorResult, notFoundAsFieldError, toApiError } from './refusals.ts';

export const payment = z
  .object({
    id,
    orderId: id,
    amount: money,
    currency: z.string(),
    status: z.enum(['pending', 'succeeded', 'failed', 'cancelled', 'refunded']),
    amountRefunded: money.meta({
      description:
        'The sum of its refunds, including those that Stripe is still processing. A failed refund does not count.',
    }),
    dispute: z.enum(['open', 'won', 'lost']).nullable().meta({
      description: 'The dispute of the charge, if the buyer’s bank opened one. `won`: the merchant keeps the money.',
    }),
    stripePaymentIntentId: z.string().nullable(),
    clientSecret: z.string().nullable().meta({
      description:
        'For Stripe.js, while the payment is pending. null until the payment exists at Stripe: `POST /v1/payments` creates it there at once',
    }),
    stripeAccount: z.string().nullable().meta({
      description:
        'The shop’s own account at Stripe on which the payment was opened: Stripe.js needs it as `stripeAccount`. null: the platform’s account',
    }),
    failureReason: z
      .string()
      .nullable()
      .meta({ description: 'Why the last attempt was declined, or why the payment ended' }),
    createdAt: time,
  })
  .meta({ id: 'Payment' });

export type Payment = z.infer<typeof payment>;

export const refund = z
  .object({
    id,
    paymentId: id,
    amount: money,
    currency: z.string(),
    status: z.enum(['pending', 'succeeded', 'failed']),
    reason: z.string().nullable(),
    failureReason: z.string().nullable(),
    items: z
      .array(z.object({ lineId: z.string(), quantity: whole, amount: money }))
      .meta({ description: 'The units that were refunded. Empty: a refund of an amount' }),
    shipping: money.meta({ description: 'The part of `amount` that is shipping' }),
    createdAt: time,
  })
  .meta({ id: 'Refund' });

export const newPayment = z.strictObject({ orderId: id });

export const newRefund = z.strictObject({
  amount: money.gt(0).optional().meta({ description: 'Default: the whole remaining amount' }),
  reason: text(255).optional(),
  restock: z.boolean().optional().meta({
    description:
      'Whether the units go back into stock once the whole payment is refunded. Default: true until the label is made, then false.',
  }),
});

export const toPayment = (row: PaymentRow): Payment => ({
  id: row.id,
  orderId: row.orderId,
  amount: row.amount,
  currency: row.currency,
  status: row.status,
  amountRefunded: row.amountRefunded ?? 0,
  dispute: row.dispute ?? null,
  stripePaymentIntentId: row.stripePaymentIntentId,
  clientSecret: row.clientSecret,
  stripeAccount: row.stripeAccount ?? null,
  failureReason: row.failureReason,
  createdAt: row.createdAt,
});

export const toRefund = (row: RefundRow): z.infer<typeof refund> => ({
  id: row.id,
  paymentId: row.paymentId,
  amount: row.amount,
  currency: row.currency,
  status: row.status,
  reason: row.reason,
  failureReason: row.failureReason,
  items: (row.items ?? []).map(({ lineId, quantity, amount }) => ({ lineId, quantity, amount })),
  shipping: row.shipping ?? 0,
  createdAt: row.createdAt,
});

type OpenResult = {
  tenant: string;
  answer: (PaymentRow & { task?: IntentTask }) | ErrorResult;
  replayed: boolean;
};

/**
 * Returns the order's payment with the client secret for the buyer's browser. The consumer of inventory.reserved may
 * have made it; otherwise it is made now. Repeated or parallel requests get the same payment.
 * @throws ApiError not_found, order_not_payable, unavailable (Stripe is unavailable: repeat with the same
 * Idempotency-Key)
 */
export async function openPayment(
  context: Context,
  orderId: string,
): Promise<{ payment: Payment; tenant: string; replayed: boolean }> {
  const opened = await context.db
    .run<OpenResult>('payments.open_payment', context.call, { orderId, id: newId(context.now()) })
    .catch(notFoundAsFieldError('/orderId', 'There is no such order.'));
  const { answer, tenant, replayed } = opened;
  if ('error' in answer) throw toApiError(answer, replayed);
  if (!answer.task) return { payment: toPayment(answer), tenant, replayed };
  const { task } = answer;
  try {
    const recorded = await context.db.run<OpenResult>(
      'payments.record_intent',
      { ...context.call, vouched: true },
      await createAtStripe(context, task),
    );
    if ('error' in recorded.answer) throw toApiError(recorded.answer);
    return { payment: toPayment(recorded.answer), tenant, replayed: false };
  } catch (error) {
    const failure = await recordFailure(context, tenant, task, error);
    if (failure !== undefined) throw failure;
    return openPayment(context, orderId);
  }
}

/** @throws ApiError not_found */
export async function readPayment(context: Context, paymentId: string): Promise<Payment> {
  if (context.call.shopper)
    return toPayment(await readAsShopper<PaymentRow>(context, 'payments.show_payment', { id: paymentId }));
  const { rows } = await context.db.read(context.call, 'payments:read', (db) => paymentById(db, paymentId));
  if (!rows[0]) throw new ApiError('not_found');
  return toPayment(rows[0].payment);
}

/**
 * Records a refund in one call. The consumer of payment.refund.requested makes it at Stripe. Two refunds at once never
 * exceed the captured amount, because the payment's row is locked.
 * @throws ApiError not_found, refund_exceeds_payment, validation_failed
 */
export async function requestRefund(context: Context, paymentId: string, input: z.infer<typeof newRefund>) {
  const { tenant, answer, replayed } = await context.db.run<{
    tenant: string;
    answer: RefundRow | ErrorResult;
    replayed: boolean;
  }>('payments.request_refund', context.call, { ...input, id: paymentId, refundId: newId(context.now()) });
  if ('error' in answer) throw toApiError(answer, replayed);
  return { refund: toRefund(answer), tenant, replayed };
}

/** Every refund of a payment, newest first, including refunds made in Stripe's dashboard. @throws ApiError not_found */
export async function listRefunds(context: Context, paymentId: string) {
  const { rows } = await context.db.read(context.call, 'payments:read', (db) => refundsOf(db, paymentId));
  if (rows.length === 0) throw new ApiError('not_found');
  return rows.flatMap(({ refund: row }) => (row === null ? [] : [toRefund(row)]));
}

/**
 * Makes the payments of orders whose stock is held, and their PaymentIntents. An order with a total of 0 is confirmed.
 * @throws the first temporary failure, so that the queue redelivers these orders
 */
export async function openPayments(context: Context, tenant: string, reserved: Event[]): Promise<void> {
  const messages = reserved.map((event) => ({ ...toMessage(event), id: newId(context.now()) }));
  const { tasks } = await context.db.run<{ tasks: IntentTask[] }>('payments.open_payments', context.call, {
    tenant,
    messages,
  });
  await makeIntentsOfMessages(context, tenant, tasks);
}

/** Makes the payments of campaign places, from campaign.joined. There the payment exists before the order. */
export async function openPlaces(context: Context, tenant: string, joined: Event[]): Promise<void> {
  const joins = joined.map(({ subject, data }) => {
    const { team, userId } = joinedEvent.parse(data);
    return { campaignId: team?.campaignId ?? subject, userId };
  });
  const { tasks } = await context.db.run<{ tasks: IntentTask[] }>('payments.open_places', context.call, {
    tenant,
    joins,
  });
  await makeIntentsOfMessages(context, tenant, tasks);
}

const joinedEvent = z.object({ userId: z.string(), team: z.object({ campaignId: z.string() }).optional() });
