import type { Budget } from '../../base/budget.ts';
import type { Context } from '../../context.ts';
import { type ChangedStock, maxIdleBatches, noLimit, releaseBatch, settleBatch } from './settlement.ts';

/** Teams whose events arrived together. Empty (from the cron): any teams that have ended and have work left. */
type TeamFilter = { tenant?: string; teamIds?: string[] };
/** One campaign. Empty (from the cron): any cancelled campaign that has work left. */
type CampaignFilter = { tenant?: string; campaignId?: string };

type Batch = { done: number; more: boolean; tenant?: string; skus?: string[] };

/** How many teams end in one transaction. */
const endBatch = 500;
/** The cron leaves a team to the queue for this time. */
const idleSeconds = 60;
/** After this time no request is still opening a team in a campaign that was cancelled. */
const settleSeconds = 60;

/** Runs a function until it has no more work or makes no progress: the remaining rows are locked or set aside. */
async function runBatches(
  context: Context,
  name: `${string}.${string}`,
  input: Record<string, unknown>,
  budget: Pick<Budget, 'spend'>,
) {
  let total = 0;
  const changed: ChangedStock = [];
  for (let idle = 0; idle < maxIdleBatches && budget.spend(); ) {
    const { done, more, tenant, skus = [] } = await context.db.run<Batch>(name, context.call, input);
    total += done;
    if (tenant !== undefined && skus.length > 0) changed.push({ tenant, skus });
    idle = done === 0 ? idle + 1 : 0;
    if (!more) break;
  }
  return { total, changed };
}

/** Expires or merges the teams whose time is over, whatever their number. @returns how many */
export const endTeams = (context: Context, budget: Budget) =>
  endAll(context, 'group_commerce.end_teams', endBatch, budget);

/** Ends the campaigns with teams whose time is over and which have no forming team. @returns how many */
export const endCampaignsOfTeams = (context: Context, budget: Budget) =>
  endAll(context, 'group_commerce.end_campaigns_of_teams', 100, budget);

async function endAll(context: Context, name: `${string}.${string}`, limit: number, budget: Budget): Promise<number> {
  let total = 0;
  while (budget.spend()) {
    const { ended } = await context.db.run<{ ended: number }>(name, context.call, { limit });
    total += ended;
    if (ended === 0) break;
  }
  return total;
}

/**
 * Makes the orders of teams that have succeeded, 100 places a transaction. Each place's state records the progress, so
 * an interrupted run can be resumed and two runs at once do nothing twice.
 * @returns how many places and teams were settled
 */
export async function settleTeams(context: Context, filter: TeamFilter = {}, budget = noLimit): Promise<number> {
  const graceSeconds = context.settings.CAMPAIGN_GRACE_SECONDS;
  const input = { ...filter, idleSeconds, limit: settleBatch, graceSeconds };
  return (await runBatches(context, 'group_commerce.settle_teams', input, budget)).total;
}

/**
 * Releases the payments and stock of teams that have expired or were cancelled, 200 places of any number of teams a
 * transaction. It can be resumed like `settleTeams`.
 * @returns how many places and teams were released, and the SKUs by tenant whose stock has changed
 */
export async function releaseTeams(context: Context, filter: TeamFilter = {}, budget = noLimit) {
  const input = { ...filter, idleSeconds, limit: releaseBatch };
  const { total, changed } = await runBatches(context, 'group_commerce.release_teams', input, budget);
  return { released: total, changed };
}

/** Cancels the forming teams of cancelled campaigns, 500 a transaction. @returns how many */
export async function cancelTeams(context: Context, filter: CampaignFilter = {}, budget = noLimit): Promise<number> {
  const input = { ...filter, limit: endBatch, settleSeconds };
  return (await runBatches(context, 'group_commerce.cancel_teams', input, budget)).total;
}
