import type { Context } from '../context.ts';
import type { Event } from '../domain/events.ts';
import { applyExternalTracking } from '../domain/external-events.ts';
import { deleteLabels, makeLabels } from '../domain/labels.ts';
import { PartlyApplied } from './partly-applied.ts';

/**
 * order.confirmed, shipping.label.requested: makes the label. customer.erased: deletes the stored labels.
 * shipping.tracking.updated (external): updates the parcel's status.
 */
export async function consumeForShipping(context: Context, tenant: string, topic: string, events: Event[]) {
  if (topic === 'shipping.tracking.updated') {
    const failures = await applyExternalTracking(context, tenant, events);
    if (failures.size > 0) throw new PartlyApplied(failures);
    return;
  }
  if (topic === 'customer.erased') {
    await deleteLabels(
      context,
      tenant,
      events.flatMap((event) => event.subject ?? []),
    );
    return;
  }
  if (!['order.confirmed', 'shipping.label.requested'].includes(topic)) {
    throw new Error(`shipping does not consume ${topic}`);
  }
  const failures = await makeLabels(context, tenant, events);
  if (failures.size > 0) throw new PartlyApplied(failures);
}
