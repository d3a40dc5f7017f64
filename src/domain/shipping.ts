import * as z from 'zod';
import { ApiError } from '../base/errors.ts';
import { address, id, time } from '../base/fields.ts';
import { newId } from '../base/ids.ts';
import { CarrierError } from '../carriers/carrier.ts';
import type { Context } from '../context.ts';
import { type ShipmentRow, shipmentById } from '../db/shipping/queries.ts';
import { attemptLabel, labelTerms, recordLabels, type Task } from './labels.ts';
import { type ErrorResult, notFoundAsFieldError, toApiError } from './refusals.ts';

export const shipment = z
  .object({
    id,
    orderId: id,
    trackingNumber: z.string(),
    carrier: z.string().meta({ description: 'Who carries the parcel' }),
    labelUrl: z.string().meta({ description: 'The printable label (PDF), for the same key' }),
    status: z.enum(['created', 'in_transit', 'delivered', 'cancelled']).meta({
      description: '`cancelled`: its order was cancelled or refunded before the parcel moved; the label is void',
    }),
    createdAt: time,
  })
  .meta({ id: 'Shipment' });

export type Shipment = z.infer<typeof shipment>;

export const newShipment = z.strictObject({ orderId: id, address });

const toShipment = (row: ShipmentRow): Shipment => ({
  id: row.id,
  orderId: row.orderId,
  trackingNumber: row.trackingNumber,
  carrier: row.carrier,
  labelUrl: row.labelUrl,
  status: row.status,
  createdAt: row.createdAt,
});

/** What the client is told of a label that was not made: a bad address by its field, anything else as 503. */
function refusalOf(error: unknown): unknown {
  if (!(error instanceof CarrierError)) return error;
  const reason = error.message.slice(error.carrier.length + 2);
  if (!error.permanent) {
    const detail = 'The carrier did not make the label. It stays asked for, and is made once: repeat this or wait.';
    return new ApiError('unavailable', detail);
  }
  if (reason.startsWith('from.')) return new ApiError('unavailable', 'The sender’s address needs the operator’s care.');
  const [, field, told = reason] = /^to\.(\w+): (.*)/.exec(reason) ?? [];
  const pointer = field === undefined ? '/address' : `/address/${field === 'region' ? 'state' : field}`;
  return new ApiError('validation_failed', undefined, { faults: [{ pointer, detail: told }] });
}

type Written<T> = { tenant: string; answer: T; replayed: boolean };
type Opened = ShipmentRow | ErrorResult | { busy: true } | { task: Task; remind: boolean };

/** How often to look again for a label that somebody else is making, the waits doubling from 100 ms to 3 s in all. */
const maxTurns = 6;

/**
 * The order's shipment, its label made on the spot for this address; the same one however often and by however many it
 * is asked for. A carrier that is away loses nothing: the request stays, and the queue makes the label later.
 * @throws ApiError conflict (the order is not confirmed, or has a label for another address),
 *   validation_failed (no such order, or the carrier never takes this address), unavailable (it is away)
 */
export async function requestShipment(context: Context, wanted: z.infer<typeof newShipment>) {
  const input = { ...wanted, shipmentId: newId(context.now()), ...labelTerms(context.settings) };
  for (let turn = 0; turn < maxTurns; turn++) {
    if (turn > 0) await new Promise((resolve) => setTimeout(resolve, 50 * 2 ** turn));
    const { answer, tenant, replayed } = await context.db
      .run<Written<Opened>>('shipping.open_shipment', context.call, input)
      .catch(notFoundAsFieldError('/orderId', 'There is no such order.'));
    if ('error' in answer) throw toApiError(answer, replayed);
    if ('task' in answer) return { ...(await finishShipment(context, tenant, answer)), tenant };
    if (!('busy' in answer)) return { shipment: toShipment(answer), tenant, replayed };
  }
  throw new ApiError('unavailable', 'Its label is being made just now. Repeat this in a moment.');
}

async function finishShipment(context: Context, tenant: string, { task, remind }: { task: Task; remind: boolean }) {
  const attempt = await attemptLabel(context, task);
  if (!attempt.made) {
    await recordLabels(context, tenant, [{ ...attempt, failed: { ...attempt.failed, remind } }]);
    throw refusalOf(attempt.error);
  }
  const { answer, replayed } = await context.db.run<Written<ShipmentRow | ErrorResult>>(
    'shipping.record_shipment',
    context.call,
    attempt.made,
  );
  if ('error' in answer) throw toApiError(answer, replayed);
  await attempt.keep(tenant);
  return { shipment: toShipment(answer), replayed };
}

/** @throws ApiError not_found */
export async function readShipment(context: Context, shipmentId: string): Promise<Shipment> {
  const { rows } = await context.db.read(context.call, 'shipping:read', (db) => shipmentById(db, shipmentId));
  if (!rows[0]) throw new ApiError('not_found');
  return toShipment(rows[0].shipment);
}
