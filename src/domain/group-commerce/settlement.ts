import type { Budget } from '../../base/budget.ts';
import type { Context } from '../../context.ts';
import type { Event } from '../events.ts';

export type ChangedStock = { tenant: string; skus: string[] }[];

type Batch = { done: number; more: boolean; tenant?: string; skus?: string[] };

/** One campaign. Empty (from the cron): any campaign that has work left. */
type CampaignFilter = { tenant?: string; campaignId?: string };

export const releaseBatch = 200;
export const settleBatch = 100;
/** Consecutive batches without progress before it stops: the remaining places are locked or set aside. */
export const maxIdleBatches = 10;
/** A consumer works on one campaign until it is finished. */
export const noLimit: Pick<Budget, 'spend'> = { spend: () => true };
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
  let total = 0;
  for (let idle = 0; idle < maxIdleBatches && budget.spend(); ) {
    const { done, more } = await context.db.run<Batch>('group_commerce.settle_batch', context.call, {
      ...filter,
      limit: settleBatch,
      graceSeconds: context.settings.CAMPAIGN_GRACE_SECONDS,
    });
    total += done;
    idle = done === 0 ? idle + 1 : 0;
    if (!more) break;
  }
  return total;
}

/**
 * Releases the payments and stock of campaigns that have expired or were cancelled, 200 participants a transaction. It
 * can be resumed like `settleCampaigns`.
 * @returns the number of places released, and the SKUs by tenant whose stock has changed
 */
export async function releaseCampaigns(context: Context, filter: CampaignFilter = {}, budget = noLimit) {
  let released = 0;
  const changed: ChangedStock = [];
  for (let idle = 0; idle < maxIdleBatches && budget.spend(); ) {
    const batch = await context.db.run<Batch>('group_commerce.release_batch', context.call, {
      ...filter,
      limit: releaseBatch,
    });
    released += batch.done;
    if (batch.tenant !== undefined && batch.skus !== undefined) {
      changed.push({ tenant: batch.tenant, skus: batch.skus });
    }
    idle = batch.done === 0 ? idle + 1 : 0;
    if (!batch.more) break;
  }
  return { released, changed };
}

/** Expires the campaigns that have passed their end without success. @returns how many */
export async function expireCampaigns(context: Context, budget: Budget): Promise<number> {
  let total = 0;
  while (budget.spend()) {
    const { expired } = await context.db.run<{ expired: number }>('group_commerce.expire_campaigns', context.call, {
      limit: 100,
    });
    total += expired;
    if (expired === 0) break;
  }
  return total;
}

/** Fixes the price of successful campaigns with tiers that have ended, so that they settle. @returns how many */
export async function priceCampaigns(context: Context, budget: Budget): Promise<number> {
  let total = 0;
  while (budget.spend()) {
    const { priced } = await context.db.run<{ priced: number }>('group_commerce.price_campaigns', context.call, {
      limit: 100,
    });
    total += priced;
    if (priced === 0) break;
  }
  return total;
}

/** Frees the places of active campaigns whose payment was not authorized, or whose card was not saved, in time. */
export const freeUnsecured = (context: Context, budget: Budget) =>
  freeAll(context, 'group_commerce.free_unsecured', {}, budget);

/** Frees places whose order ended a while ago and whose message was lost. The message would have freed them. */
export const freeLostPlaces = (context: Context, budget: Budget) =>
  freeAll(context, 'group_commerce.free_lost_places', { idleSeconds: lostAfterSeconds }, budget);

async function freeAll(context: Context, name: `${string}.${string}`, input: Record<string, number>, budget: Budget) {
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
