import { Hono } from 'hono';
import * as z from 'zod';
import { id, page } from '../../base/fields.ts';
import { openingTeam } from '../../domain/group-commerce/places.ts';
import { listTeams, openTeam, readableTeam, teamPlace, teamStatus } from '../../domain/group-commerce/teams.ts';
import { listWaiting, waitingPlace } from '../../domain/group-commerce/waiting.ts';
import type { AppEnv } from '../../http/app-env.ts';
import { invalidateProducts } from '../../http/edge-cache.ts';
import { operation } from '../../http/operation.ts';
import { byId, positionOf, showPage } from '../../http/paging.ts';
import { showResult } from '../../http/result.ts';
import { listOf } from '../examples.ts';
import { sampleTeamPlace } from './team-examples.ts';

const params = z.object({ id });
const tag = 'Group commerce';

/** The teams and the waiting list of a campaign: `/v1/campaigns/{id}/teams` and `/waiting`. */
export const campaignTeams = new Hono<AppEnv>();

campaignTeams.post(
  '/:id/teams',
  operation({
    id: 'openTeam',
    tag,
    summary: 'Open a team, with the place of its leader',
    description:
      'Opens the team and takes the leader’s place and units of stock, or nothing. Put `team.code` into the ' +
      'share link: others join with it, or with `team.id`. The time of the team ends after the campaign’s `teamSeconds`, at ' +
      'its `endTime` at the latest. The leader pays as after `POST /v1/campaigns/{id}/join`.',
    scope: 'campaigns:write',
    shoppers: ['session'],
    idempotency: 'required',
    params,
    body: openingTeam,
    example: { userId: 'user-1', merge: true, listed: true },
    responses: { 201: { description: 'The team and the place', schema: teamPlace, example: sampleTeamPlace } },
    errors: ['not_found', 'conflict', 'campaign_not_open', 'insufficient_inventory', 'limit_per_customer'],
  }),
  async (c) => {
    const { id: campaignId } = c.req.valid('param');
    const opened = await openTeam(c.var.context, campaignId, c.req.valid('json'));
    c.header('Location', `/v1/teams/${opened.place.team.id}`);
    await invalidateProducts(c.var.context, opened.tenant, opened.skus);
    return showResult(c, opened.place, { status: 201, replayed: opened.replayed });
  },
);

campaignTeams.get(
  '/:id/teams',
  operation({
    id: 'listTeams',
    tag,
    summary: "List a campaign's teams, newest first",
    description:
      'With a publishable key or a customer session: the teams that were opened with `listed: true`, without `leader` and ' +
      '`code`. Join one by its id. A secret key with the scope `campaigns:write` gets all teams.',
    scope: 'campaigns:read',
    params,
    query: z.object({ ...page, status: teamStatus.optional() }),
    responses: { 200: { description: 'One page', schema: listOf(readableTeam) } },
    errors: ['not_found', 'invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor, status } = c.req.valid('query');
    const filter = { campaignId: c.req.valid('param').id, status };
    const rows = await listTeams(c.var.context, filter, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);

campaignTeams.get(
  '/:id/waiting',
  operation({
    id: 'listWaiting',
    tag,
    summary: "List a campaign's waiting list, the first in line first",
    description: 'Users who wait and users with an offer. A customer’s session lists the entry of that customer only.',
    scope: 'campaigns:write',
    shoppers: ['session'],
    params,
    query: z.object(page),
    responses: { 200: { description: 'One page', schema: listOf(waitingPlace) } },
    errors: ['not_found', 'invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const { id: campaignId } = c.req.valid('param');
    const rows = await listWaiting(c.var.context, campaignId, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);
