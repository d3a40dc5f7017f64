import type { Budget } from '../../base/budget.ts';
import type { Context } from '../../context.ts';
import type { Event } from '../events.ts';
import { type ChangedStock, noLimit, runBatches, runUntilNone, type SqlFunction } from './batches.ts';

/** One campaign. Empty (from the cron): any campaign that has work left. */
type CampaignFilter = { tenant?: string; campaignId?: string };

export const releaseBatch = 200;
export const settleBatch = 100;
/** How many campaigns end in one transaction. */
const endBatch = 100;
/** After this time the queue has delivered or lost the message. */
const lostAfterSeconds = 300;

/**
 * Makes the orders of campaigns that have succeeded, 100 participants a transaction. Each participant's state records
 * the progress, so an interrupted run can be resumed and two runs at once do nothing twice.
 * @returns the number of orders made
 */
export async function settleCampaigns(
  context: Context,
  filter: CampaignFilter = {},
  budget = noLimit,
): Promise<number> {
  const input = { ...filter, limit: settleBatch, graceSeconds: context.settings.CAMPAIGN_GRACE_SECONDS };
  return (await runBatches(context, 'group_commerce.settle_batch', input, budget)).total;
}

/**
 * Releases the payments and stock of campaigns that have expired or were cancelled, 200 participants a transaction. It
 * can be resumed like `settleCampaigns`.
 * @returns the number of places released, and the SKUs by tenant whose stock has changed
 */
export async function releaseCampaigns(context: Context, filter: CampaignFilter = {}, budget = noLimit) {
  const input = { ...filter, limit: releaseBatch };
  const { total, changed } = await runBatches(context, 'group_commerce.release_batch', input, budget);
  return { released: total, changed };
}

/** Expires the pools that have passed their end without success. @returns how many */
export const expireCampaigns = (context: Context, budget: Budget) =>
  runUntilNone(context, 'group_commerce.expire_campaigns', 'expired', endBatch, budget);

/** Fixes the price of successful campaigns with tiers that have ended, so that they settle. @returns how many */
export const priceCampaigns = (context: Context, budget: Budget) =>
  runUntilNone(context, 'group_commerce.price_campaigns', 'priced', endBatch, budget);

/** Frees the places of active campaigns whose payment was not authorized, or whose card was not saved, in time. */
export const freeUnsecured = (context: Context, budget: Budget) =>
  freeAll(context, 'group_commerce.free_unsecured', {}, budget);

/** Frees places whose order ended a while ago and whose message was lost. The message would have freed them. */
export const freeLostPlaces = (context: Context, budget: Budget) =>
  freeAll(context, 'group_commerce.free_lost_places', { idleSeconds: lostAfterSeconds }, budget);

async function freeAll(context: Context, name: SqlFunction, input: Record<string, number>, budget: Budget) {
  let total = 0;
  const changed: ChangedStock = [];
  while (budget.spend()) {
    const { freed, tenants } = await context.db.run<{ freed: number; tenants: ChangedStock }>(name, context.call, {
      ...input,
      limit: releaseBatch,
    });
    total += freed;
    changed.push(...tenants);
    if (freed === 0) break;
  }
  return { freed: total, changed };
}

/** Frees the places of orders that have failed or were cancelled, once for each event. */
export async function freePlacesOfEndedOrders(
  context: Context,
  tenant: string,
  topic: string,
  ended: Event[],
): Promise<void> {
  const messages = ended.map((event) => ({
    eventId: event.id,
    orderId: event.subject,
    reason: reasonOf(event) ?? topic.replace('.', '_'),
    traceparent: event.traceparent,
  }));
  await context.db.run('group_commerce.lose_orders', context.call, { tenant, messages });
}

function reasonOf({ type, data }: Event): string | undefined {
  // The reason of a cancellation is the client's free text. The reason of a failure is one of our codes.
  if (type !== 'order.failed' || typeof data !== 'object' || data === null || !('reason' in data)) return undefined;
  return String(data.reason);
}
