import * as z from 'zod';
import { money, text, whole, word } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import type { RefundRow } from '../../db/payments/queries.ts';
import { toRefund } from '../payments.ts';
import { runWrite } from '../refusals.ts';
import { restock } from './order.ts';

/** Units of a line of an order. */
export const lineUnits = z.strictObject({
  lineId: word(64).meta({ description: 'The `id` of a line of the order', examples: ['1'] }),
  quantity: whole.min(1).max(1_000_000),
});

/** Lists of lines name each line once. */
export const namesLinesOnce = {
  check: (lines: { lineId: string }[]) => new Set(lines.map(({ lineId }) => lineId)).size === lines.length,
  error: 'must name each line once',
};

/** How much of the shipping to refund. */
export const shippingPart = z.union([z.boolean(), money], { error: 'must be true or an amount' }).optional().meta({
  description: 'true: all that is left of the shipping, with its tax. Or an amount. Default: nothing',
});

export const newLineRefund = z
  .strictObject({
    items: z.array(lineUnits).max(1_200).refine(namesLinesOnce.check, { error: namesLinesOnce.error }).default([]),
    shipping: shippingPart,
    reason: text(255).optional(),
    restock: restock.meta({
      description: 'Whether the units go back into stock, at once. Default: true until the label is made, then false.',
    }),
  })
  .refine(({ items, shipping }) => items.length > 0 || (shipping ?? false) !== false, {
    path: ['items'],
    error: 'must name the units to refund, unless `shipping` is refunded',
  });

/**
 * Refunds units of an order, and shipping. The first k of a line's n units are worth their share of what was paid for
 * it, rounded half up, and a refund is the difference of two such sums: whatever the split, all units together are
 * worth exactly what was paid. The consumer of payment.refund.requested makes the refund at Stripe.
 * @throws ApiError not_found, refund_exceeds_payment, validation_failed
 */
export async function refundOrder(context: Context, orderId: string, input: z.infer<typeof newLineRefund>) {
  const { tenant, answer, replayed } = await runWrite<RefundRow & { freed: string[] }>(
    context,
    'orders.refund_order',
    { ...input, id: orderId, refundId: newId(context.now()) },
    input.items.length,
  );
  return { refund: toRefund(answer), skus: answer.freed, tenant, replayed };
}
