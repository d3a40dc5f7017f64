import { maxUnits } from '../base/fields.ts';
import type { Context } from '../context.ts';
import type { Event } from './events.ts';
import { ageFault } from './inbox-age.ts';
import type { Failure } from './labels.ts';

const reasons: Record<string, string> = {
  unknown_sku: 'There is no such SKU.',
  insufficient_inventory: 'There is less stock than the adjustment removes.',
  too_many: `The count, with the units that orders hold, must not exceed ${maxUnits}.`,
};

/** Rejects events that are so old that the inbox may have forgotten an earlier delivery. */
function rejectByAge(context: Context, events: Event[]): Map<string, Failure> {
  const failures = new Map<string, Failure>();
  for (const { id, time } of events) {
    const reason = ageFault(time, context.now());
    if (reason !== undefined) failures.set(id, { reason, permanent: true });
  }
  return failures;
}

/**
 * Applies the stock adjustments that external systems reported, all of a tenant's in one call, once for each event id.
 * An adjustment that is invalid is skipped.
 * @returns the SKUs whose stock has changed, and the skipped adjustments by event id
 */
export async function applyExternalAdjustments(context: Context, tenant: string, events: Event[]) {
  const failures = rejectByAge(context, events);
  const messages = events
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
 * Applies the tracking updates that external systems reported, once for each event id, in any order of arrival.
 * @returns by event id the updates that were skipped, because the tenant has no such parcel
 */
export async function applyExternalTracking(context: Context, tenant: string, events: Event[]) {
  const failures = rejectByAge(context, events);
  for (const { id, data, traceparent } of events) {
    if (failures.has(id)) continue;
    const { provider, ...tracking } = data as { provider: string };
    const call = traceparent === undefined ? context.call : { ...context.call, traceparent };
    const input = { ...tracking, carrier: provider, eventId: id, tenant };
    const { outcome } = await context.db.run<{ outcome: string }>('shipping.apply_tracking', call, input);
    if (outcome === 'unknown') failures.set(id, { reason: 'No parcel has this number.', permanent: true });
  }
  return failures;
}
