import type { Budget } from '../../base/budget.ts';
import type { Context } from '../../context.ts';
import { noLimit, runBatches, runUntilNone } from './batches.ts';
import { releaseBatch, settleBatch } from './settlement.ts';

/** Teams whose events arrived together. Empty (from the cron): any teams that have ended and have work left. */
type TeamFilter = { tenant?: string; teamIds?: string[] };
/** One campaign. Empty (from the cron): any cancelled campaign that has work left. */
type CampaignFilter = { tenant?: string; campaignId?: string };

/** How many teams end in one transaction. */
const endBatch = 500;
/** The cron leaves a team to the queue for this time. */
const idleSeconds = 60;
/** After this time no request is still opening a team in a campaign that was cancelled. */
const settleSeconds = 60;

/** Expires or merges the teams whose time is over, whatever their number. @returns how many */
export const endTeams = (context: Context, budget: Budget) =>
  runUntilNone(context, 'group_commerce.end_teams', 'ended', endBatch, budget);

/** Ends the campaigns with teams whose time is over and which have no forming team. @returns how many */
export const endCampaignsOfTeams = (context: Context, budget: Budget) =>
  runUntilNone(context, 'group_commerce.end_campaigns_of_teams', 'ended', 100, budget);

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
