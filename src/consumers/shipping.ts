import type { Context } from '../context.ts';
import type { Event } from '../domain/events.ts';
import { applyExternalTracking } from '../domain/external-events.ts';
import { makeLabels } from '../domain/labels.ts';
import { PartlyApplied } from './partly-applied.ts';

/** order.confirmed, or a label that is still asked for → the label. shipping.tracking.updated, of outside → where it is. */
export async function consumeForShipping(context: Context, tenant: string, topic: string, events: Event[]) {
  if (topic === 'shipping.tracking.updated') {
    const failures = await applyExternalTracking(context, tenant, events);
    if (failures.size > 0) throw new PartlyApplied(failures);
    return;
  }
  if (!['order.confirmed', 'shipping.label.requested'].includes(topic)) {
    throw new Error(`shipping consumes no ${topic}`);
  }
  const failures = await makeLabels(context, tenant, events);
  if (failures.size > 0) throw new PartlyApplied(failures);
}
