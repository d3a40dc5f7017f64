import type { Context } from '../context.ts';
import type { Event } from '../domain/events.ts';
import { toMessage } from '../domain/events.ts';
import { failShortOrders } from '../domain/orders/orders.ts';

/** inventory.insufficient (from the queue's decision): fails the order. */
export async function consumeForOrders(context: Context, tenant: string, topic: string, events: Event[]) {
  if (topic !== 'inventory.insufficient') throw new Error(`orders does not consume ${topic}`);
  await failShortOrders(context, tenant, events.map(toMessage));
}
