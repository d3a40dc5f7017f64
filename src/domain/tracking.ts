import * as z from 'zod';
import { ApiError } from '../base/errors.ts';
import { decodeText } from '../base/json.ts';
import type { LazyBody } from '../base/signature.ts';
import { CarrierError } from '../carriers/carrier.ts';
import { selectCarrier } from '../carriers/select.ts';
import type { Context } from '../context.ts';
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
 * Verifies a carrier's webhook and applies its tracking update, in one database call, once for each event id, in any
 * order of arrival. An unknown tracking number changes nothing.
 * @returns the parcel's tenant
 * @throws ApiError not_found, invalid_signature, malformed_json (not UTF-8), validation_failed (not the format that the
 * carrier documents, or older than the inbox remembers)
 */
export async function receiveTracking(
  context: Context,
  name: z.infer<typeof carrierName>,
  message: { headers: Headers; body: LazyBody; query: URLSearchParams },
): Promise<{ tenant?: string }> {
  const carrier = carrierOf(context, name);
  const genuine = await carrier.verifyWebhook(message.headers, message.body, context.now(), message.query);
  if (!genuine) throw new ApiError('invalid_signature');
  try {
    const tracking = carrier.parseWebhook(decodeText(await message.body()));
    if (!tracking) return {};
    const fault = ageFault(tracking.occurredAt, context.now());
    if (fault !== undefined) {
      throw new ApiError('validation_failed', undefined, { faults: [{ pointer: '/occurredAt', detail: fault }] });
    }
    const input = { ...tracking, carrier: name };
    return await context.db.run<{ outcome: string; tenant?: string }>('shipping.apply_tracking', context.call, input);
  } catch (error) {
    if (!(error instanceof CarrierError)) throw error;
    throw new ApiError('validation_failed', undefined, { faults: [{ pointer: '', detail: error.message }] });
  }
}
