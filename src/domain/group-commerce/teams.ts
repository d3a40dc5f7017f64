import * as z from 'zod';
import { id, time } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import { makeTeamCode } from '../../base/team-codes.ts';
import type { Context } from '../../context.ts';
import type { WriteResult } from '../../db/client.ts';
import type { ParticipantRow, TeamRow } from '../../db/group-commerce/queries.ts';
import { readAsShopper } from '../customers/shoppers.ts';
import { type ErrorResult, runWrite, toApiError } from '../refusals.ts';
import { runWithTax } from '../tax/provider.ts';
import { type joiningTeam, type openingTeam, participant, placeTerms, requireUser, toParticipant } from './places.ts';

export const teamStatus = z.enum(['forming', 'successful', 'expired', 'merged', 'cancelled']);

export const team = z
  .object({
    id,
    campaignId: id,
    code: z.string().nullable().meta({
      description:
        'For the share link. Whoever has it can join the team. null for callers from a browser that have not joined',
    }),
    leader: z.string().nullable().meta({
      description: 'The user of the earliest place. null for callers from a browser, except for the leader',
    }),
    size: z.number().int().meta({ description: 'The places of the team' }),
    joined: z.number().int().meta({ description: 'Places taken' }),
    secured: z.number().int().meta({ description: 'Taken places whose payment is authorized or whose card is saved' }),
    status: teamStatus,
    listed: z.boolean().meta({ description: 'Whether the campaign’s list of teams shows it' }),
    mergedInto: id.nullable().meta({ description: 'The team that its members moved into' }),
    endTime: time.meta({ description: 'When the time of the team ends' }),
    createdAt: time,
  })
  .meta({ id: 'Team' });

export type Team = z.infer<typeof team>;

/** A team when it is read. */
export const readableTeam = team
  .safeExtend({
    secondsLeft: z.number().int().meta({ description: 'Until `endTime`. 0: the team takes no more places' }),
  })
  .meta({ id: 'TeamWithTimeLeft' });

export const teamPlace = z.object({ team, participant }).meta({ id: 'TeamPlace' });

export const toTeam = (row: TeamRow): Team => ({
  id: row.id,
  campaignId: row.campaignId,
  code: row.code,
  leader: row.leader,
  size: row.size,
  joined: row.joined,
  secured: row.secured,
  status: row.status,
  listed: row.listed,
  mergedInto: row.mergedInto,
  endTime: row.endTime,
  createdAt: row.createdAt,
});

/** What opening, joining and leaving a team return. */
type PlaceRow = { team: TeamRow; participant: ParticipantRow; changedSkus?: string[] };

function toTeamPlace({ tenant, answer, replayed }: WriteResult<PlaceRow | ErrorResult>) {
  if ('error' in answer) throw toApiError(answer, replayed);
  const place = { team: toTeam(answer.team), participant: toParticipant(answer.participant) };
  return { place, skus: answer.changedSkus ?? [], tenant, replayed };
}

/** A team by its id, or by the code of its share link. */
export type TeamReference = { teamId: string } | { code: string };

/**
 * Opens a team with the place of its leader and the units of stock in one call, or nothing.
 * @throws ApiError not_found, conflict (the campaign has no teams), campaign_not_open, insufficient_inventory,
 * limit_per_customer, forbidden (a session names another user), validation_failed and unavailable as in `joinCampaign`
 */
export async function openTeam(context: Context, campaignId: string, leader: z.infer<typeof openingTeam>) {
  requireUser(context, leader.userId);
  const input = {
    ...leader,
    campaignId,
    teamId: newId(context.now()),
    code: makeTeamCode(context.db.cell),
    ...placeTerms(context),
  };
  return toTeamPlace(await runWithTax(context, 'group_commerce.open_team', input));
}

/**
 * Takes one place of a team and its units of stock in one call, or nothing. The place that fills the team decides its
 * success in the same statement. If the user has a place in the team, returns it.
 * @throws ApiError not_found, team_full, team_not_open, customer_not_eligible, and as in `openTeam`
 */
export async function joinTeam(context: Context, reference: TeamReference, joiner: z.infer<typeof joiningTeam>) {
  requireUser(context, joiner.userId);
  const input = { ...joiner, ...reference, ...placeTerms(context) };
  return toTeamPlace(await runWithTax(context, 'group_commerce.join_team', input));
}

/**
 * Gives up a place while the team is forming. If the leader leaves, the earliest member leads; the time of the team does
 * not change. If the user has left before, returns the same result.
 * @throws ApiError not_found, team_not_open, forbidden (a session names another user), validation_failed (no user)
 */
export async function leaveTeam(context: Context, teamId: string, userId: string | undefined) {
  requireUser(context, userId);
  return toTeamPlace(await context.db.run('group_commerce.leave_team', context.call, { teamId, userId }));
}

function withTimeLeft(row: TeamRow, now: Date): z.infer<typeof readableTeam> {
  const isForming = row.status === 'forming';
  const secondsLeft = isForming ? Math.max(0, Math.ceil((Date.parse(row.endTime) - now.getTime()) / 1_000)) : 0;
  return { ...toTeam(row), secondsLeft };
}

/**
 * Reads a team. A key without the scope `campaigns:write` sees neither `leader` nor `code`, except the code by which it
 * reads the team. A session also sees the code of a team in which its customer has a place. @throws ApiError not_found
 */
export async function readTeam(context: Context, reference: TeamReference) {
  const row = await readAsShopper<TeamRow>(context, 'group_commerce.show_team', reference);
  return withTimeLeft(row, context.now());
}

/** Which teams of a campaign a list shows. */
export type TeamFilter = { campaignId: string; status?: z.infer<typeof teamStatus> | undefined };

/**
 * The teams of a campaign, newest first: the listed ones, or all with the scope `campaigns:write`.
 * @throws ApiError not_found (no such campaign)
 */
export async function listTeams(context: Context, filter: TeamFilter, before: string | undefined, limit: number) {
  const rows = await readAsShopper<TeamRow[]>(context, 'group_commerce.show_teams', { ...filter, before, limit });
  return rows.map((row) => withTimeLeft(row, context.now()));
}

/**
 * Ends a forming team. The queue releases its places. If it is cancelled already, returns the same result.
 * @throws ApiError not_found, conflict (it has succeeded, expired or was merged)
 */
export async function cancelTeam(context: Context, teamId: string) {
  const { tenant, answer, replayed } = await runWrite<TeamRow>(context, 'group_commerce.cancel_team', { id: teamId });
  return { team: toTeam(answer), tenant, replayed };
}
