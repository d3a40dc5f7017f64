import type { Context } from '../context.ts';
import type { Event } from '../domain/events.ts';
import { applyExternalAdjustments } from '../domain/external-events.ts';
import { reserveOrders } from '../domain/inventory.ts';
import { invalidateProducts } from '../http/edge-cache.ts';
import { PartlyApplied } from './partly-applied.ts';

/**
 * order.created (placed with `Prefer: respond-async`): holds the stock. inventory.adjusted (external): adjusts the
 * stock.
 */
export async function consumeForInventory(context: Context, tenant: string, topic: string, events: Event[]) {
  if (topic === 'inventory.adjusted') {
    const { skus, failures } = await applyExternalAdjustments(context, tenant, events);
    await invalidateProducts(context, tenant, skus);
    if (failures.size > 0) throw new PartlyApplied(failures);
    return;
  }
  if (topic !== 'order.created') throw new Error(`inventory does not consume ${topic}`);
  await invalidateProducts(context, tenant, await reserveOrders(context, tenant, events));
}
