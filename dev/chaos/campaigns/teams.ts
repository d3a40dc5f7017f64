import { type ClientResponse, member, textOf } from '../journal.ts';
import { shippingAddress } from '../orders.ts';
import type { Story } from '../shop.ts';
import { termsOfJoin } from '../terms.ts';
import { createGoods, type GroupTerms, pickPlace, pickTerms, pickUser } from './goods.ts';
import { cancelOrder, payForPlace } from './pools.ts';

type Team = { id: string; code: string };
/** `members`: users who have a place or had one. `regular`: a user who joins several teams, some at the same time. */
type Campaign = { id: string; teamSize: number; terms: GroupTerms; members: string[]; regular: string };

/** Creates what a campaign sells and the campaign with teams. Undefined if the API rejects one of them. */
async function createCampaign(story: Story): Promise<Campaign | undefined> {
  const { random } = story;
  const goods = await createGoods(story, 'teams', () => random.int(5, 20));
  if (!goods) return undefined;
  const { terms, fields } = pickTerms(story, goods);
  const teamSize = random.int(2, 3);
  const end = random.pickWeighted({ soon: 50, later: 20, far: 30 });
  // Cards are saved, not held, for a team that could still be merged when a hold has lapsed.
  const lastsSeconds = { soon: random.int(8, 18), later: 86_400, far: 8 * 86_400 }[end];
  const now = Date.now();
  const response = await story.request('campaigns.create', 'POST', '/v1/campaigns', {
    key: story.unique('campaign'),
    body: {
      productId: goods.productId,
      mode: 'teams',
      teamSize,
      teamSeconds: random.chance(0.7) ? random.int(3, 12) : 86_400,
      onShort: random.chance(0.75) ? 'merge' : 'release',
      price: random.chance(0.08) ? 0 : 20,
      startTime: new Date(now - 60_000).toISOString(),
      endTime: new Date(now + lastsSeconds * 1000).toISOString(),
      successOn: random.pick(['joined', 'secured'] as const),
      ...fields,
    },
  });
  if (response?.status !== 201) return undefined;
  return { id: textOf(response.body, 'id'), teamSize, terms, members: [], regular: story.unique('regular') };
}

const bodyOf = (story: Story, { terms, members }: Campaign, userId: string) => ({
  userId,
  merge: story.random.chance(0.9),
  ...termsOfJoin(story, shippingAddress),
  ...pickPlace(story, terms, userId, members),
});

async function join(story: Story, campaign: Campaign, team: Team, userId: string) {
  const path = story.random.chance(0.6) ? `/v1/teams/by-code/${team.code}/join` : `/v1/teams/${team.id}/join`;
  const body = bodyOf(story, campaign, userId);
  const joined = await story.request('teams.join', 'POST', path, { key: story.unique('join'), body });
  if (joined?.status === 201) campaign.members.push(userId);
  return joined;
}

/** Pays for the place of this response or not, and sometimes leaves the team. */
async function keepPlace(story: Story, userId: string, entered: ClientResponse | undefined): Promise<void> {
  if (entered?.status !== 201) return;
  const { random } = story;
  const place = member(entered.body, 'participant');
  const leave = () =>
    story.request('teams.leave', 'POST', `/v1/teams/${textOf(place, 'teamId')}/leave`, {
      key: story.unique('leave'),
      body: { userId },
    });
  const plan = random.pickWeighted({ pay: 76, idle: 10, leave: 8, leaveLater: 6 });
  if (plan === 'leave') await leave();
  if (plan === 'idle' || plan === 'leave') return;
  const orderId = textOf(place, 'orderId');
  await payForPlace(story, orderId);
  if (plan !== 'leaveLater') return;
  if (random.chance(0.6)) await leave();
  else await cancelOrder(story, orderId);
}

/** A leader opens a team, and the members join it by its code or id at the same time. */
async function fillTeam(story: Story, campaign: Campaign, teams: Team[]): Promise<void> {
  const { random } = story;
  await story.pause(0, 2_000);
  const leader = random.chance(0.15) ? campaign.regular : story.unique('leader');
  const opened = await story.request('teams.open', 'POST', `/v1/campaigns/${campaign.id}/teams`, {
    key: story.unique('team'),
    body: { ...bodyOf(story, campaign, leader), listed: random.chance(0.5) },
  });
  const found = member(opened?.body, 'team');
  const team = { id: textOf(found, 'id'), code: textOf(found, 'code') };
  if (opened?.status !== 201) return;
  teams.push(team);
  campaign.members.push(leader);
  // Too few, as many as the team has places, or more: then they race for the last place.
  const members = Array.from({ length: random.chance(0.5) ? random.int(0, 1) : campaign.teamSize }, async () => {
    await story.pause(0, 1_500);
    const userId = random.chance(0.12) ? campaign.regular : pickUser(story, campaign.terms, 'member');
    await keepPlace(story, userId, await join(story, campaign, team, userId));
    const other = random.pick(teams);
    if (random.chance(0.15) && other.id !== team.id)
      await keepPlace(story, userId, await join(story, campaign, other, userId));
  });
  await Promise.all([keepPlace(story, leader, opened), ...members]);
}

/**
 * Runs a campaign with teams: some fill, some stay short and are merged or expire, and members leave. Sometimes the
 * merchant cancels the campaign meanwhile.
 */
export async function runTeams(story: Story): Promise<void> {
  const { random } = story;
  const campaign = await createCampaign(story);
  if (!campaign) return;
  const teams: Team[] = [];
  const cancel = async () => {
    await story.pause(500, 4_000);
    await story.request('campaigns.cancel', 'POST', `/v1/campaigns/${campaign.id}/cancel`, {
      key: story.unique('cancel-campaign'),
    });
  };
  const joinAll = async () => {
    await story.pause(1_500, 3_500);
    const { regular } = campaign;
    await Promise.all(teams.map(async (team) => keepPlace(story, regular, await join(story, campaign, team, regular))));
  };
  const filled = Array.from({ length: random.int(3, 5) }, () => fillTeam(story, campaign, teams));
  await Promise.all([
    ...filled,
    ...(random.chance(0.5) ? [joinAll()] : []),
    ...(random.chance(0.15) ? [cancel()] : []),
  ]);
}
