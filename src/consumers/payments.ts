import type { Context } from '../context.ts';
import type { Event } from '../domain/events.ts';
import { openPayments, openPlaces } from '../domain/payments.ts';
import { capturePayments, settlePayments } from '../domain/reconcile.ts';
import { invalidateProducts } from '../http/edge-cache.ts';

/** The events of a new place in a team. */
const teamTopics = ['group-commerce.team.created', 'group-commerce.team.joined'];

/**
 * inventory.reserved, campaign.joined, team.created, team.joined: makes the payment and its PaymentIntent. payment.capture.requested:
 * captures or charges a place. payment.failed, .cancelled, .refund.requested: cancels or refunds at Stripe.
 */
export async function consumeForPayments(context: Context, tenant: string, topic: string, events: Event[]) {
  if (topic === 'inventory.reserved') {
    await openPayments(context, tenant, events);
    return;
  }
  if (topic === 'group-commerce.campaign.joined' || teamTopics.includes(topic)) {
    await openPlaces(context, tenant, events);
    return;
  }
  const paymentIds = [...new Set(events.map((event) => event.subject))];
  if (topic === 'payment.capture.requested') {
    await capturePayments(context, tenant, paymentIds);
    return;
  }
  if (!['payment.failed', 'payment.cancelled', 'payment.refund.requested'].includes(topic)) {
    throw new Error(`payments does not consume ${topic}`);
  }
  const changed = await settlePayments(context, tenant, paymentIds);
  for (const { skus } of changed) await invalidateProducts(context, tenant, skus);
}
