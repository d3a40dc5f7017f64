import type { Context } from '../context.ts';
import type { Event } from '../events.ts';

/** order.confirmed → the label. */
export async function consumeForShipping(_context: Context, _tenant: string, topic: string, _events: Event[]) {
  if (topic !== 'order.confirmed') throw new Error(`shipping consumes no ${topic}`);
}
