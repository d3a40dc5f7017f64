import { ApiError } from '../../base/errors.ts';
import type { Context } from '../../context.ts';
import { teamProgress } from '../../db/group-commerce/live-queries.ts';
import { type Campaign, readCampaign } from './campaigns.ts';
import { type Watchable, watch } from './live.ts';

/** The data of a campaign's event. Fields of teams and of tiers are left out if the campaign has none. */
function showCampaign(campaign: Campaign) {
  const { id, status, actualParticipants, securedParticipants, minParticipants, maxParticipants, endTime } = campaign;
  const { formingTeams, successfulTeams, currentPrice, nextTier, settledPrice } = campaign;
  return {
    ...{ id, status, actualParticipants, securedParticipants, minParticipants, maxParticipants },
    ...(campaign.mode === 'teams' ? { formingTeams, successfulTeams } : {}),
    ...(campaign.tiers.length > 0 ? { currentPrice, nextTier, settledPrice } : {}),
    endTime,
  };
}

/** The stream of a successful pool with tiers continues until its price is fixed, which can be after its end. */
function endOf({ status, tiers, settledPrice }: Campaign) {
  if (status === 'failed' || status === 'expired') return 'over';
  return status === 'successful' && (tiers.length === 0 || settledPrice !== null) ? 'at_end_time' : 'open';
}

const campaigns: Watchable = {
  name: 'campaign',
  async read(context, campaignId) {
    const { campaign, tenant } = await readCampaign(context, campaignId);
    return { state: { shown: showCampaign(campaign), end: endOf(campaign) }, tenant };
  },
};

const teams: Watchable = {
  name: 'team',
  async read({ db, call }, teamId) {
    const { rows, tenant } = await db.read(call, 'campaigns:read', (reader) => teamProgress(reader, teamId));
    const [team] = rows;
    if (!team) throw new ApiError('not_found');
    return { state: { shown: team, end: team.status === 'forming' ? 'open' : 'over' }, tenant };
  },
};

/** Watches a campaign until it is over: see `watch`. @throws ApiError not_found */
export const watchCampaign = (context: Context, campaignId: string, lastEventId: string | undefined) =>
  watch(context, campaigns, campaignId, lastEventId);

/**
 * Watches a team while it is forming: see `watch`. The last event of a team that was merged names the team to watch
 * next. @throws ApiError not_found
 */
export const watchTeam = (context: Context, teamId: string, lastEventId: string | undefined) =>
  watch(context, teams, teamId, lastEventId);
