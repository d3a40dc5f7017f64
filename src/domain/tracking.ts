import * as z from 'zod';
import { defaultCell } from '../base/cells.ts';
import { ApiError } from '../base/errors.ts';
import { decodeText } from '../base/json.ts';
import type { LazyBody } from '../base/signature.ts';
import { type Carrier, CarrierError, type Tracking } from '../carriers/carrier.ts';
import { selectCarrier } from '../carriers/select.ts';
import { type Context, inCell } from '../context.ts';
import { openWebhooks } from './carrier-accounts.ts';
import { applyInItsCell } from './cells.ts';
import { ageFault } from './inbox-age.ts';

/** The carriers that have a webhook path. */
export const carrierName = z.enum(['manual', 'shippo', 'easypost']);

type CarrierName = z.infer<typeof carrierName>;
type Message = { headers: Headers; body: LazyBody; query: URLSearchParams };
type Input = Tracking & { carrier: CarrierName };

/** A carrier that this deployment is configured for. @throws ApiError not_found */
function carrierOf({ settings }: Context, name: CarrierName): Carrier {
  try {
    return selectCarrier(name, settings);
  } catch {
    throw new ApiError('not_found');
  }
}

/**
 * Verifies a carrier's webhook and applies its tracking update, once for each event id, in any order of arrival.
 * @throws ApiError invalid_signature, malformed_json (not UTF-8), validation_failed (not the format that the carrier
 * documents, or older than the inbox remembers)
 */
async function takeUpdate(
  context: Context,
  carrier: Carrier,
  message: Message,
  apply: (input: Input) => Promise<Context>,
): Promise<Context> {
  const genuine = await carrier.verifyWebhook(message.headers, message.body, context.now(), message.query);
  if (!genuine) throw new ApiError('invalid_signature');
  try {
    const tracking = carrier.parseWebhook(decodeText(await message.body()));
    if (!tracking) return context;
    const fault = ageFault(tracking.occurredAt, context.now());
    if (fault !== undefined) {
      throw new ApiError('validation_failed', undefined, { faults: [{ pointer: '/occurredAt', detail: fault }] });
    }
    return await apply({ ...tracking, carrier: carrierName.parse(carrier.name) });
  } catch (error) {
    if (!(error instanceof CarrierError)) throw error;
    throw new ApiError('validation_failed', undefined, { faults: [{ pointer: '', detail: error.message }] });
  }
}

const applyIn = (
  { db, call }: Context,
  input: Input & { tenant?: string },
): Promise<{ outcome: string; tenant?: string }> => db.run('shipping.apply_tracking', call, input);

/**
 * Takes a webhook of the operator's account at a carrier. Its update is applied in the named cell, or else in the cell
 * that has the parcel. A tracking number that is unknown, or of a tenant's own account, changes nothing.
 * @returns the context of the parcel's cell
 * @throws ApiError not_found (the carrier is not configured), and as `takeUpdate`
 */
export function receiveTracking(context: Context, name: CarrierName, message: Message, cell?: string) {
  return takeUpdate(context, carrierOf(context, name), message, async (input) => {
    if (cell === undefined) return (await applyInItsCell(context, undefined, (place) => applyIn(place, input))).context;
    const inside = inCell(context, cell);
    await applyIn(inside, input);
    return inside;
  });
}

/**
 * Takes a webhook of a tenant's own account at a carrier, and applies its update to that tenant's shipments only: a
 * call that finds the tenant's secret, and one that applies the update. `place`: `tenant`, `tenant@cell`, or the name
 * of a cell for a webhook of the operator (see `receiveTracking`).
 * @throws ApiError invalid_signature, also if there is no such tenant or it has no secret; the others of `takeUpdate`
 */
export async function receiveTrackingAt(context: Context, name: CarrierName, message: Message, place: string) {
  const { cells } = context.settings;
  if (cells.has(place)) return receiveTracking(context, name, message, place);
  const [tenant = '', cell = defaultCell] = place.split('@');
  if (!cells.has(cell)) throw new ApiError('invalid_signature');
  const inside = inCell(context, cell);
  const { db, call } = inside;
  const { secret } = await db.run<{ secret: string | null }>('shipping.find_webhook_secret', call, {
    tenant,
    carrier: name,
  });
  context.leasedCalls = db.usage.calls; // it has emitted nothing, so a rejected webhook starts no relay
  const carrier = await openWebhooks(context.settings, tenant, name, secret);
  return takeUpdate(inside, carrier, message, async (input) => {
    await applyIn(inside, { ...input, tenant });
    return inside;
  });
}
