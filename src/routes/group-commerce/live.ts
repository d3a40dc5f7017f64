import { Hono } from 'hono';
import * as z from 'zod';
import { id } from '../../base/fields.ts';
import { liveToken, makeLiveToken } from '../../domain/group-commerce/live.ts';
import { watchCampaign, watchTeam } from '../../domain/group-commerce/watched.ts';
import type { AppEnv, HttpContext } from '../../http/app-env.ts';
import { operation } from '../../http/operation.ts';
import { showResult } from '../../http/result.ts';
import { sampleCampaign } from './campaign-examples.ts';
import { sampleTeam } from './team-examples.ts';

const params = z.object({ id });
const tag = 'Group commerce';
const liveQuery = z.object({
  token: z.string().max(200).optional().meta({ description: 'A token from `POST …/live-token`, instead of a key' }),
});
const ending = 'Its last event is named `end`, and its `{"reason", "reconnect"}` says whether to connect again.';
const tokenResponse = {
  description: 'The token',
  schema: liveToken,
  example: {
    token: `lt_${sampleCampaign.id}_1769861700_${'0123456789abcdef'.repeat(4)}`,
    expiresAt: '2026-01-31T12:15:00.000Z',
  },
};

const eventsOf = (name: string, data: object): string =>
  `id: 6b86b273ff34fce1\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n` +
  `event: end\ndata: ${JSON.stringify({ reason: 'time_limit', reconnect: true })}\n\n`;

function showEvents(c: HttpContext, watched: Awaited<ReturnType<typeof watchCampaign>>): Response {
  if (!watched) return c.body(null, 204);
  c.set('tenant', watched.tenant);
  return c.body(watched.stream, 200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
}

/** The live events of campaigns: `/v1/campaigns/{id}/live`. */
export const campaignLive = new Hono<AppEnv>();

campaignLive.post(
  '/:id/live-token',
  operation({
    id: 'createLiveToken',
    tag,
    summary: "Get a token for a campaign's live events",
    description:
      'For `EventSource`, which cannot send a key: `new EventSource("…/live?token=" + token)`. The token opens only this ' +
      'campaign’s `/live`, for 15 minutes, and ends with its key. `EventSource` then gets 401 and stops: get another ' +
      'token and open it again. A publishable key may get a token.',
    scope: 'campaigns:read',
    idempotency: 'optional',
    params,
    responses: { 201: tokenResponse },
    errors: ['not_found'],
  }),
  async (c) => {
    const { token, replayed } = await makeLiveToken(c.var.context, { campaignId: c.req.valid('param').id });
    return showResult(c, token, { status: 201, replayed });
  },
);

campaignLive.get(
  '/:id/live',
  operation({
    id: 'watchCampaign',
    tag,
    summary: 'Watch a campaign: participants, status and time left',
    description:
      'Server-sent events named `campaign`: the present state at once, one for each change, and one when `endTime` ' +
      'passes. A campaign with teams shows `formingTeams` and `successfulTeams` too, and one with tiers `currentPrice`, ' +
      '`nextTier` with the number `missing`, and `settledPrice`. `Last-Event-ID` skips the state of that event. A ' +
      'connection ends after about 50 s, or with the campaign; with tiers, once the price is fixed. ' +
      `${ending} Use a publishable key, or a token from \`live-token\` instead of a key.\n\nIn a page: ` +
      '`const source = new EventSource(api + "/v1/campaigns/" + id + "/live?token=" + token)`, then ' +
      '`source.addEventListener("campaign", (event) => show(JSON.parse(event.data)))`. On `end` with ' +
      '`"reconnect": false`, call `source.close()`.',
    scope: 'campaigns:read',
    takesLiveToken: true,
    params,
    query: liveQuery,
    responses: {
      200: {
        description: 'The events',
        type: 'text/event-stream',
        example: eventsOf('campaign', { status: 'active', actualParticipants: 37, secondsLeft: 3600 }),
      },
      204: { description: 'The campaign is over, and `Last-Event-ID` shows that the client knows it' },
    },
    errors: ['not_found'],
  }),
  async (c) => {
    const { id: campaignId } = c.req.valid('param');
    return showEvents(c, await watchCampaign(c.var.context, campaignId, c.req.header('last-event-id')));
  },
);

/** The live events of teams: `/v1/teams/{id}/live`. */
export const teamLive = new Hono<AppEnv>();

teamLive.post(
  '/:id/live-token',
  operation({
    id: 'createTeamLiveToken',
    tag,
    summary: "Get a token for a team's live events",
    description:
      'As `POST /v1/campaigns/{id}/live-token`. The token opens only this team’s `/live`. A publishable key may get one.',
    scope: 'campaigns:read',
    idempotency: 'optional',
    params,
    responses: { 201: tokenResponse },
    errors: ['not_found'],
  }),
  async (c) => {
    const { token, replayed } = await makeLiveToken(c.var.context, { teamId: c.req.valid('param').id });
    return showResult(c, token, { status: 201, replayed });
  },
);

teamLive.get(
  '/:id/live',
  operation({
    id: 'watchTeam',
    tag,
    summary: 'Watch a team: places taken, status and time left',
    description:
      'Server-sent events named `team`, as `GET /v1/campaigns/{id}/live`: `{id, status, size, joined, secured, mergedInto, ' +
      'endTime, secondsLeft}`, without anybody’s id. A connection ends after about 50 s, or when the team is no longer ' +
      `\`forming\` (\`team_over\`). ${ending} If the last \`team\` event has \`mergedInto\`, watch that team.`,
    scope: 'campaigns:read',
    takesLiveToken: true,
    params,
    query: liveQuery,
    responses: {
      200: {
        description: 'The events',
        type: 'text/event-stream',
        example: eventsOf('team', {
          ...{ id: sampleTeam.id, status: 'forming', size: 3, joined: 1, secured: 0, mergedInto: null },
          ...{ endTime: sampleTeam.endTime, secondsLeft: 3600 },
        }),
      },
      204: { description: 'The team is over, and `Last-Event-ID` shows that the client knows it' },
    },
    errors: ['not_found'],
  }),
  async (c) => {
    const { id: teamId } = c.req.valid('param');
    return showEvents(c, await watchTeam(c.var.context, teamId, c.req.header('last-event-id')));
  },
);
