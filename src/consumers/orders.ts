import type { Context } from '../context.ts';
import type { Event } from '../domain/events.ts';
import { toMessage } from '../domain/events.ts';
import { failShortOrders } from '../domain/orders/orders.ts';
import { checkVatNumbers } from '../domain/tax/vat-checks.ts';
import { PartlyApplied } from './partly-applied.ts';

/**
 * inventory.insufficient (from the queue's decision): fails the order. customer.vat.requested: asks VIES about the
 * customer's VAT number.
 */
export async function consumeForOrders(context: Context, tenant: string, topic: string, events: Event[]) {
  if (topic === 'customer.vat.requested') {
    const failures = await checkVatNumbers(context, tenant, events);
    if (failures.size > 0) throw new PartlyApplied(failures);
    return;
  }
  if (topic !== 'inventory.insufficient') throw new Error(`orders does not consume ${topic}`);
  await failShortOrders(context, tenant, events.map(toMessage));
}
