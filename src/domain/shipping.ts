import * as z from 'zod';
import { ApiError } from '../base/errors.ts';
import { address, id, text, time, whole } from '../base/fields.ts';
import { newId } from '../base/ids.ts';
import { CarrierError } from '../carriers/carrier.ts';
import type { Context } from '../context.ts';
import { type ShipmentRow, shipmentById } from '../db/shipping/queries.ts';
import { isAboutCredentials } from './carrier-accounts.ts';
import { readAsShopper } from './customers/shoppers.ts';
import { attemptLabel, labelSettings, recordLabels, type Task } from './labels.ts';
import { type ErrorResult, notFoundAsFieldError, toApiError } from './refusals.ts';

const parcelItem = z.object({
  lineId: text(16).meta({ description: 'The id of a line of the order' }),
  quantity: whole.min(1).max(1_000_000),
});

export const shipment = z
  .object({
    id,
    orderId: id,
    trackingNumber: z.string(),
    carrier: z.string().meta({ description: 'The carrier that transports the parcel' }),
    labelUrl: z.string().meta({ description: 'The printable label (PDF). Read it with the same key' }),
    status: z.enum(['created', 'in_transit', 'delivered', 'cancelled']).meta({
      description:
        '`cancelled`: the order was cancelled or refunded before the parcel was shipped, so the label is void',
    }),
    items: z.array(parcelItem).meta({ description: 'The units in the parcel' }),
    createdAt: time,
  })
  .meta({ id: 'Shipment' });

export type Shipment = z.infer<typeof shipment>;

export const newShipment = z.strictObject({
  orderId: id,
  items: z.array(z.strictObject(parcelItem.shape)).min(1).max(1_200).optional().meta({
    description: 'The units of the parcel. Default: all units that are in no parcel and not refunded',
  }),
  address: address.optional().meta({ description: 'Default: the shipping address of the order' }),
});

export const toShipment = (row: ShipmentRow): Shipment => ({
  id: row.id,
  orderId: row.orderId,
  trackingNumber: row.trackingNumber,
  carrier: row.carrier,
  labelUrl: row.labelUrl,
  status: row.status,
  items: row.items ?? [],
  createdAt: row.createdAt,
});

/** Turns a carrier's error into the client's: a bad address names its field, anything else is 503. */
function toClientError(error: unknown): unknown {
  if (!(error instanceof CarrierError)) return error;
  if (isAboutCredentials(error)) return new ApiError('unavailable', error.message);
  const reason = error.message.slice(error.carrier.length + 2);
  if (!error.permanent) {
    const text =
      'The carrier is unavailable. The label is still requested and will be made once. Repeat this request or wait.';
    return new ApiError('unavailable', text);
  }
  if (reason.startsWith('from.'))
    return new ApiError(
      'unavailable',
      'The carrier rejects the sender’s address. Correct `shipFrom` of the tenant, or the operator’s SHIP_FROM.',
    );
  const [, field, detail = reason] = /^to\.(\w+): (.*)/.exec(reason) ?? [];
  const pointer = field === undefined ? '/address' : `/address/${field === 'region' ? 'state' : field}`;
  return new ApiError('validation_failed', undefined, { faults: [{ pointer, detail }] });
}

type WriteResult<T> = { tenant: string; answer: T; replayed: boolean };
type OpenedShipment = ShipmentRow | ErrorResult | { busy: true } | { task: Task; remind: boolean };

/** How often to check for a label that another request is making. The delays double from 100 ms, about 3 s in all. */
const maxChecks = 6;

/**
 * Returns a shipment of the order and makes its label at once. Without `items` it has all units that are left, and
 * repeated or parallel requests get the same shipment. With `items` it is another parcel, and a request with the
 * same idempotency key gets the same one. If the carrier is unavailable, the request is kept and the queue makes the
 * label later.
 * @throws ApiError conflict (the order is not confirmed, has a label for another address, or has too few units left),
 * validation_failed (no such order or line, no address, or the carrier rejects it), unavailable (the carrier is
 * unavailable)
 */
export async function requestShipment(context: Context, input: z.infer<typeof newShipment>) {
  const request = { ...input, shipmentId: newId(context.now()), ...labelSettings(context.settings) };
  for (let check = 0; check < maxChecks; check++) {
    if (check > 0) await new Promise((resolve) => setTimeout(resolve, 50 * 2 ** check));
    const { answer, tenant, replayed } = await context.db
      .run<WriteResult<OpenedShipment>>('shipping.open_shipment', context.call, request)
      .catch(notFoundAsFieldError('/orderId', 'There is no such order.'));
    if ('error' in answer) throw toApiError(answer, replayed);
    if ('task' in answer) return { ...(await finishShipment(context, tenant, answer)), tenant };
    if (!('busy' in answer)) return { shipment: toShipment(answer), tenant, replayed };
  }
  throw new ApiError('unavailable', 'The label is being made by another request. Repeat this request in a moment.');
}

async function finishShipment(context: Context, tenant: string, { task, remind }: { task: Task; remind: boolean }) {
  const attempt = await attemptLabel(context, tenant, task);
  if (!attempt.made) {
    await recordLabels(context, tenant, [{ ...attempt, failed: { ...attempt.failed, remind } }]);
    throw toClientError(attempt.error);
  }
  const { answer, replayed } = await context.db.run<WriteResult<ShipmentRow | ErrorResult>>(
    'shipping.record_shipment',
    context.call,
    attempt.made,
  );
  if ('error' in answer) throw toApiError(answer, replayed);
  await attempt.storePdf();
  return { shipment: toShipment(answer), replayed };
}

/** @throws ApiError not_found */
export async function readShipment(context: Context, shipmentId: string): Promise<Shipment> {
  if (context.call.shopper)
    return toShipment(await readAsShopper<ShipmentRow>(context, 'shipping.show_shipment', { id: shipmentId }));
  const { rows } = await context.db.read(context.call, 'shipping:read', (db) => shipmentById(db, shipmentId));
  if (!rows[0]) throw new ApiError('not_found');
  return toShipment(rows[0].shipment);
}
