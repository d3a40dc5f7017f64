import type { Budget } from '../base/budget.ts';
import type { Context } from '../context.ts';
import type { Event } from './events.ts';

export type ChangedStock = { tenant: string; skus: string[] }[];

type Batch = { done: number; more: boolean; tenant?: string; sku?: string };

/** One campaign, or (the cron) any that has work left. */
type Which = { tenant?: string; campaignId?: string };

const releaseBatch = 200;
const settleBatch = 100;
/** Calls in a row that processed nothing: the places that are left are locked or set aside. */
const maxIdle = 10;
/** A consumer is called for one campaign, and goes on until it is done. */
const unbounded: Pick<Budget, 'spend'> = { spend: () => true };
/** The queue has had its time by then. */
const idleSeconds = 300;

/**
 * Makes the orders of campaigns that have succeeded, 100 participants a transaction. What is left to do stands in the
 * participants' state, so a run that was stopped, or a second one beside it, does nothing twice.
 * @returns how many orders were made
 */
export async function settleCampaigns(context: Context, which: Which = {}, budget = unbounded): Promise<number> {
  let total = 0;
  for (let idle = 0; idle < maxIdle && budget.spend(); ) {
    const { done, more } = await context.db.run<Batch>('group_commerce.settle_batch', context.call, {
      ...which,
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
 * Releases the money and the units of campaigns that have expired or were cancelled, 200 participants a transaction, as
 * resumable as settling.
 * @returns how many places were released, and the SKUs by tenant whose stock has changed
 */
export async function releaseCampaigns(context: Context, which: Which = {}, budget = unbounded) {
  let released = 0;
  const changed: ChangedStock = [];
  for (let idle = 0; idle < maxIdle && budget.spend(); ) {
    const batch = await context.db.run<Batch>('group_commerce.release_batch', context.call, {
      ...which,
      limit: releaseBatch,
    });
    released += batch.done;
    if (batch.tenant !== undefined && batch.sku !== undefined) {
      changed.push({ tenant: batch.tenant, skus: [batch.sku] });
    }
    idle = batch.done === 0 ? idle + 1 : 0;
    if (!batch.more) break;
  }
  return { released, changed };
}

/** Ends the campaigns whose time is over without success. @returns how many */
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

/** Frees the places of active campaigns whose money was not secured in time. */
export const freeUnsecured = (context: Context, budget: Budget) =>
  freeAll(context, 'group_commerce.free_unsecured', {}, budget);

/** Frees the places whose order ended a while ago and whose message, that would have freed them, was lost. */
export const freeLostPlaces = (context: Context, budget: Budget) =>
  freeAll(context, 'group_commerce.free_lost_places', { idleSeconds }, budget);

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

/** Frees the places whose orders have failed or were cancelled, once for each event. */
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
  // The reason of a cancellation is what a client wrote; that of a failure is a word of ours.
  if (type !== 'order.failed' || typeof data !== 'object' || data === null || !('reason' in data)) return undefined;
  return String(data.reason);
}
