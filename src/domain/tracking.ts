import * as z from 'zod';
import { ApiError } from '../base/errors.ts';
import { decodeText } from '../base/json.ts';
import type { LazyBody } from '../base/signature.ts';
import { CarrierError } from '../carriers/carrier.ts';
import { selectCarrier } from '../carriers/select.ts';
import { type Context, inCell } from '../context.ts';
import { applyInItsCell } from './cells.ts';
import { ageFault } from './inbox-age.ts';

/** The carriers that have a webhook path. */
export const carrierName = z.enum(['manual', 'shippo', 'easypost']);

/** A carrier that this deployment is configured for. @throws ApiError not_found */
function carrierOf({ settings }: Context, name: z.infer<typeof carrierName>) {
  try {
    return selectCarrier(name, settings);
  } catch {
    throw new ApiError('not_found');
  }
}

/**
 * Verifies a carrier's webhook and applies its tracking update, once for each event id, in any order of arrival: in the
 * named cell, or else in the cell that has the parcel. An unknown tracking number changes nothing.
 * @returns the context of the parcel's cell
 * @throws ApiError not_found, invalid_signature, malformed_json (not UTF-8), validation_failed (not the format that the
 * carrier documents, or older than the inbox remembers)
 */
export async function receiveTracking(
  context: Context,
  name: z.infer<typeof carrierName>,
  cell: string | undefined,
  message: { headers: Headers; body: LazyBody; query: URLSearchParams },
): Promise<Context> {
  if (cell !== undefined && !context.settings.cells.has(cell)) throw new ApiError('not_found');
  const carrier = carrierOf(context, name);
  const genuine = await carrier.verifyWebhook(message.headers, message.body, context.now(), message.query);
  if (!genuine) throw new ApiError('invalid_signature');
  try {
    const tracking = carrier.parseWebhook(decodeText(await message.body()));
    if (!tracking) return context;
    const fault = ageFault(tracking.occurredAt, context.now());
    if (fault !== undefined) {
      throw new ApiError('validation_failed', undefined, { faults: [{ pointer: '/occurredAt', detail: fault }] });
    }
    const input = { ...tracking, carrier: name };
    const apply = ({ db, call }: Context) =>
      db.run<{ outcome: string; tenant?: string }>('shipping.apply_tracking', call, input);
    if (cell === undefined) return (await applyInItsCell(context, undefined, apply)).context;
    const inside = inCell(context, cell);
    await apply(inside);
    return inside;
  } catch (error) {
    if (!(error instanceof CarrierError)) throw error;
    throw new ApiError('validation_failed', undefined, { faults: [{ pointer: '', detail: error.message }] });
  }
}
