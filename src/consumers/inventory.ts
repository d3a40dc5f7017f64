import type { Context } from '../context.ts';
import { reserveOrders } from '../domain/inventory.ts';
import { forgetStock } from '../edge.ts';
import type { Event } from '../events.ts';

/** order.created of `Prefer: respond-async` → the hold on its stock. */
export async function consumeForInventory(context: Context, tenant: string, topic: string, events: Event[]) {
  if (topic !== 'order.created') throw new Error(`inventory consumes no ${topic}`);
  await forgetStock(tenant, await reserveOrders(context, tenant, events));
}
