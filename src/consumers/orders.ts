import type { Context } from '../context.ts';
import type { Event } from '../domain/events.ts';
import { toMessage } from '../domain/events.ts';
import { failShortOrders } from '../domain/orders.ts';

/** inventory.insufficient, decided by the queue → the order fails. */
export async function consumeForOrders(context: Context, tenant: string, topic: string, events: Event[]) {
  if (topic !== 'inventory.insufficient') throw new Error(`orders consumes no ${topic}`);
  await failShortOrders(context, tenant, events.map(toMessage));
}
