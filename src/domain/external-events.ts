import { maxUnits } from '../base/fields.ts';
import type { Context } from '../context.ts';
import type { Event } from './events.ts';
import { ageFault } from './inbox-age.ts';
import type { Failure } from './labels.ts';

const reasons: Record<string, string> = {
  unknown_sku: 'There is no such SKU.',
  insufficient_inventory: 'There is less stock than was to be taken out.',
  too_many: `The count, with the units that orders hold, must not exceed ${maxUnits}.`,
};

/** Events that have waited in a queue until the inbox may have forgotten their first delivery. */
function tooOld(context: Context, events: Event[]): Map<string, Failure> {
  const failures = new Map<string, Failure>();
  for (const { id, time } of events) {
    const reason = ageFault(time, context.now());
    if (reason !== undefined) failures.set(id, { reason, permanent: true });
  }
  return failures;
}

/**
 * Adds to the stock, or takes from it, what others say has come or gone: once for each event id, all of a tenant's in one
 * call. An adjustment that does not fit is left out.
 * @returns the SKUs whose stock has changed, and by event id what was left out
 */
export async function applyExternalAdjustments(context: Context, tenant: string, adjusted: Event[]) {
  const failures = tooOld(context, adjusted);
  const messages = adjusted
    .filter(({ id }) => !failures.has(id))
    .map(({ id, data, traceparent }) => ({ ...(data as object), eventId: id, traceparent }));
  const { skus, refused } = await context.db.run<{ skus: string[]; refused: { eventId: string; reason: string }[] }>(
    'inventory.apply_adjustments',
    context.call,
    { tenant, messages },
  );
  for (const { eventId, reason } of refused) {
    failures.set(eventId, { reason: reasons[reason] ?? reason, permanent: true });
  }
  return { skus, failures };
}

/**
 * Where others say that a tenant's parcels are: once for each event id, whatever the order of arrival.
 * @returns by event id what could not be applied: the tenant has no such parcel
 */
export async function applyExternalTracking(context: Context, tenant: string, updated: Event[]) {
  const failures = tooOld(context, updated);
  for (const { id, data, traceparent } of updated) {
    if (failures.has(id)) continue;
    const { provider, ...tracking } = data as { provider: string };
    const call = traceparent === undefined ? context.call : { ...context.call, traceparent };
    const input = { ...tracking, carrier: provider, eventId: id, tenant };
    const { outcome } = await context.db.run<{ outcome: string }>('shipping.apply_tracking', call, input);
    if (outcome === 'unknown') failures.set(id, { reason: 'No parcel has this number.', permanent: true });
  }
  return failures;
}
