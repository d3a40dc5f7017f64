import type { Context } from '../context.ts';
import { openPayments } from '../domain/payments.ts';
import { settlePayments } from '../domain/reconcile.ts';
import { forgetStock } from '../edge.ts';
import type { Event } from '../events.ts';

/** inventory.reserved → the payment and its intent. An end or a refund that was promised → Stripe does it. */
export async function consumeForPayments(context: Context, tenant: string, topic: string, events: Event[]) {
  if (topic === 'inventory.reserved') {
    await openPayments(context, tenant, events);
    return;
  }
  if (!['payment.failed', 'payment.cancelled', 'payment.refund.requested'].includes(topic)) {
    throw new Error(`payments consumes no ${topic}`);
  }
  const changed = await settlePayments(context, tenant, [...new Set(events.map((event) => event.subject))]);
  for (const { skus } of changed) await forgetStock(tenant, skus);
}
