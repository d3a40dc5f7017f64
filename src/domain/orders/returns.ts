import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import { id, text, time, whole } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import { type ReturnRow, returnById, returnsOf } from '../../db/orders/returns.ts';
import { refund, toRefund } from '../payments.ts';
import { runWrite } from '../refusals.ts';
import { lineUnits, namesLinesOnce, shippingPart } from './refunds.ts';

export const orderReturn = z
  .object({
    id,
    orderId: id,
    status: z.enum(['requested', 'received', 'refunded', 'cancelled']).meta({
      description: '`received`: its refund is not made yet or has failed. `refunded`: the money was refunded',
    }),
    items: z.array(
      z.object({
        lineId: z.string(),
        quantity: whole.meta({ description: 'The units that were requested' }),
        receivedQuantity: whole.nullable().meta({ description: 'The units that came. null until it is received' }),
        restock: z.boolean().meta({ description: 'Whether the units go back into stock when they come' }),
      }),
    ),
    reason: z.string().nullable(),
    refund: refund.nullable(),
    createdAt: time,
    receivedAt: time.nullable(),
    updatedAt: time,
  })
  .meta({ id: 'Return' });

const restock = z.boolean().optional();

export const newReturn = z.strictObject({
  items: z
    .array(lineUnits.extend({ restock: restock.meta({ description: 'Default: true' }) }))
    .min(1)
    .max(1_200)
    .refine(namesLinesOnce.check, { error: namesLinesOnce.error }),
  reason: text(255).optional(),
  shipping: shippingPart,
});

export const receipt = z.strictObject({
  items: z
    .array(lineUnits.extend({ restock: restock.meta({ description: 'Default: as it was requested' }) }))
    .min(1)
    .max(1_200)
    .refine(namesLinesOnce.check, { error: namesLinesOnce.error })
    .optional()
    .meta({ description: 'The units that came. Default: all' }),
  refund: z.boolean().optional().meta({
    description: 'false: nothing is refunded, because the money went back in another way. Default: true',
  }),
});

const toReturn = (row: ReturnRow): z.infer<typeof orderReturn> => ({
  id: row.id,
  orderId: row.orderId,
  status: row.status,
  items: row.items.map(({ lineId, quantity, received, restock: goesBack }) => ({
    ...{ lineId, quantity, receivedQuantity: received, restock: goesBack },
  })),
  reason: row.reason,
  refund: row.refund && toRefund(row.refund),
  createdAt: row.createdAt,
  receivedAt: row.receivedAt,
  updatedAt: row.updatedAt,
});

/**
 * Requests a return of units of an order, and reserves them for it.
 * @throws ApiError not_found, conflict (the order is not paid, or has ended), refund_exceeds_payment, validation_failed
 */
export async function requestReturn(context: Context, orderId: string, input: z.infer<typeof newReturn>) {
  const { answer, replayed } = await runWrite<ReturnRow>(context, 'orders.request_return', {
    ...{ ...input, id: orderId, returnId: newId(context.now()) },
  });
  return { made: toReturn(answer), replayed };
}

/**
 * Receives a return: its units go back into stock and are refunded, in one call.
 * @throws ApiError not_found, conflict (cancelled, or received already), refund_exceeds_payment, validation_failed
 */
export async function receiveReturn(context: Context, returnId: string, input: z.infer<typeof receipt>) {
  const { tenant, answer, replayed } = await runWrite<ReturnRow & { freed: string[] }>(
    context,
    'orders.receive_return',
    { ...input, id: returnId, refundId: newId(context.now()) },
    input.items?.length,
  );
  return { received: toReturn(answer), skus: answer.freed, tenant, replayed };
}

/** @throws ApiError not_found, conflict (it was received) */
export async function cancelReturn(context: Context, returnId: string) {
  const { answer, replayed } = await runWrite<ReturnRow>(context, 'orders.cancel_return', { id: returnId });
  return { cancelled: toReturn(answer), replayed };
}

/** @throws ApiError not_found */
export async function readReturn(context: Context, returnId: string) {
  const { rows } = await context.db.read(context.call, 'orders:read', (db) => returnById(db, returnId));
  if (!rows[0]) throw new ApiError('not_found');
  return toReturn(rows[0].found);
}

/** All returns of an order, newest first. @throws ApiError not_found */
export async function listReturns(context: Context, orderId: string) {
  const { rows } = await context.db.read(context.call, 'orders:read', (db) => returnsOf(db, orderId));
  if (rows.length === 0) throw new ApiError('not_found');
  return rows.flatMap(({ found }) => (found ? [toReturn(found)] : []));
}
