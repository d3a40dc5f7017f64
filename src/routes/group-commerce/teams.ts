import { Hono } from 'hono';
import * as z from 'zod';
import { id } from '../../base/fields.ts';
import { joiningTeam, leaving } from '../../domain/group-commerce/places.ts';
import {
  cancelTeam,
  joinTeam,
  leaveTeam,
  readableTeam,
  readTeam,
  team,
  teamPlace,
} from '../../domain/group-commerce/teams.ts';
import type { AppEnv } from '../../http/app-env.ts';
import { invalidateProducts } from '../../http/edge-cache.ts';
import { showResource } from '../../http/etag.ts';
import { operation } from '../../http/operation.ts';
import { showResult } from '../../http/result.ts';
import { sampleReadableTeam, sampleTeam, sampleTeamPlace } from './team-examples.ts';

const params = z.object({ id });
const codeParams = z.object({
  code: z
    .string()
    .min(16)
    .max(40)
    .meta({ examples: [sampleTeam.code] }),
});
const tag = 'Group commerce';
const joinErrors = [
  'not_found',
  'team_full',
  'team_not_open',
  'campaign_not_open',
  'insufficient_inventory',
  'limit_per_customer',
  'customer_not_eligible',
] as const;

/** Teams of campaigns: `/v1/teams`. */
export const teams = new Hono<AppEnv>();

teams.get(
  '/by-code/:code',
  operation({
    id: 'getTeamByCode',
    tag,
    summary: 'Read the team of a share link',
    description:
      'As `GET /v1/teams/{id}`, but `code` is never null. If the team was merged into another one, its code leads to that ' +
      'team.',
    scope: 'campaigns:read',
    params: codeParams,
    responses: { 200: { description: 'The team', schema: readableTeam, example: sampleReadableTeam } },
    errors: ['not_found'],
  }),
  async (c) => showResource(c, await readTeam(c.var.context, c.req.valid('param'))),
);

teams.get(
  '/:id',
  operation({
    id: 'getTeam',
    tag,
    summary: 'Read a team: its size, its places and the time left',
    description:
      'With a publishable key or a customer session, `leader` is null for everybody but the leader, and `code` is null unless ' +
      'the customer has a place in the team. A secret key with the scope `campaigns:write` sees all fields.',
    scope: 'campaigns:read',
    params,
    responses: { 200: { description: 'The team', schema: readableTeam, example: sampleReadableTeam } },
    errors: ['not_found'],
  }),
  async (c) => showResource(c, await readTeam(c.var.context, { teamId: c.req.valid('param').id })),
);

teams.post(
  '/by-code/:code/join',
  operation({
    id: 'joinTeamByCode',
    tag,
    summary: 'Take a place in the team of a share link',
    description: 'As `POST /v1/teams/{id}/join`. If the team was merged into another one, its code leads to that team.',
    scope: 'campaigns:write',
    shoppers: ['session'],
    idempotency: 'required',
    params: codeParams,
    body: joiningTeam,
    example: { userId: 'user-2', merge: true },
    responses: { 201: { description: 'The team and the place', schema: teamPlace, example: sampleTeamPlace } },
    errors: [...joinErrors],
  }),
  async (c) => {
    const joined = await joinTeam(c.var.context, c.req.valid('param'), c.req.valid('json'));
    await invalidateProducts(c.var.context, joined.tenant, joined.skus);
    return showResult(c, joined.place, { status: 201, replayed: joined.replayed });
  },
);

teams.post(
  '/:id/join',
  operation({
    id: 'joinTeam',
    tag,
    summary: 'Take a place in a team',
    description:
      'Takes one place and its units of stock, or nothing. Joining twice returns the same place. The place that fills the ' +
      'team makes it `successful`. The buyer pays as after `POST /v1/campaigns/{id}/join`.',
    scope: 'campaigns:write',
    shoppers: ['session'],
    idempotency: 'required',
    params,
    body: joiningTeam,
    example: { userId: 'user-2', merge: true },
    responses: { 201: { description: 'The team and the place', schema: teamPlace, example: sampleTeamPlace } },
    errors: [...joinErrors],
  }),
  async (c) => {
    const { id: teamId } = c.req.valid('param');
    const joined = await joinTeam(c.var.context, { teamId }, c.req.valid('json'));
    await invalidateProducts(c.var.context, joined.tenant, joined.skus);
    return showResult(c, joined.place, { status: 201, replayed: joined.replayed });
  },
);

teams.post(
  '/:id/leave',
  operation({
    id: 'leaveTeam',
    tag,
    summary: 'Leave a team that is forming',
    description:
      'The units of stock are free at once. The payment is released a moment later. If the leader leaves, the earliest ' +
      'member leads; the time of the team does not change. The last member who leaves ends the team. Leaving again ' +
      'returns the same response.',
    scope: 'campaigns:write',
    shoppers: ['session'],
    idempotency: 'optional',
    params,
    body: leaving,
    example: { userId: 'user-2' },
    responses: { 200: { description: 'The team and the place, released', schema: teamPlace } },
    errors: ['not_found', 'team_not_open'],
  }),
  async (c) => {
    const { id: teamId } = c.req.valid('param');
    const left = await leaveTeam(c.var.context, teamId, c.req.valid('json').userId);
    await invalidateProducts(c.var.context, left.tenant, left.skus);
    return showResult(c, left.place, { replayed: left.replayed });
  },
);

teams.post(
  '/:id/cancel',
  operation({
    id: 'cancelTeam',
    tag,
    summary: 'Cancel a team that is forming',
    description:
      'The team ends as `cancelled`. Its authorizations and held units are released a moment later. Cancelling again ' +
      'returns the same response.',
    scope: 'campaigns:write',
    idempotency: 'optional',
    params,
    responses: {
      200: { description: 'The team', schema: team, example: { ...sampleTeam, status: 'cancelled' } },
    },
    errors: ['not_found', 'conflict'],
  }),
  async (c) => {
    const { team: cancelled, replayed } = await cancelTeam(c.var.context, c.req.valid('param').id);
    return showResource(c, cancelled, { replayed });
  },
);
