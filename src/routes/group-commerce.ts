import * as z from 'zod';
import { id, page } from '../base/fields.ts';
import {
  campaign,
  campaignStatus,
  cancelCampaign,
  createCampaign,
  joinCampaign,
  joining,
  leaveCampaign,
  leaving,
  listCampaigns,
  listParticipants,
  newCampaign,
  participant,
  readCampaign,
} from '../domain/group-commerce.ts';
import { liveToken, makeLiveToken, watchCampaign } from '../domain/live.ts';
import { invalidateProducts } from '../http/edge-cache.ts';
import { byId, pageOf, positionOf } from '../http/paging.ts';
import { route } from '../http/route.ts';
import { listOf, sampleCampaign, sampleParticipant, sampleProduct } from './examples.ts';

const params = z.object({ id });
const tag = 'Group commerce';

export const groupCommerceRoutes = [
  route({
    id: 'createCampaign',
    method: 'post',
    path: '/v1/campaigns',
    tag,
    summary: 'Start a campaign',
    description:
      'It succeeds the moment `minParticipants` places are taken; places stay open until `endTime` or `maxParticipants`. ' +
      'With `successOn: "secured"` a place counts once its money is secured.',
    scope: 'campaigns:write',
    idempotency: 'taken',
    body: newCampaign,
    example: {
      productId: sampleProduct.id,
      minParticipants: 50,
      maxParticipants: 200,
      price: 19.99,
      startTime: sampleCampaign.startTime,
      endTime: sampleCampaign.endTime,
    },
    answers: { 201: { description: 'The campaign', schema: campaign, example: sampleCampaign } },
    errors: [],
    async run({ body, context }) {
      const { campaign: made, tenant, replayed } = await createCampaign(context, body);
      const headers = { Location: `/v1/campaigns/${made.id}` };
      return { status: 201, body: made, resource: true, tenant, replayed, headers };
    },
  }),
  route({
    id: 'listCampaigns',
    method: 'get',
    path: '/v1/campaigns',
    tag,
    summary: 'List campaigns, newest first',
    scope: 'campaigns:read',
    query: z.object({ ...page, status: campaignStatus.optional() }),
    answers: { 200: { description: 'A page', schema: listOf(campaign) } },
    errors: ['invalid_cursor'],
    async run({ query: { limit, cursor, status }, context, http }) {
      const rows = await listCampaigns(context, status, positionOf(http, cursor, byId), limit + 1);
      return pageOf(http, rows, limit, (row) => row.id);
    },
  }),
  route({
    id: 'getCampaign',
    method: 'get',
    path: '/v1/campaigns/{id}',
    tag,
    summary: 'Read a campaign',
    scope: 'campaigns:read',
    params,
    answers: { 200: { description: 'The campaign', schema: campaign, example: sampleCampaign } },
    errors: ['not_found'],
    async run({ params: { id: of }, context }) {
      const { campaign: found, tenant } = await readCampaign(context, of);
      return { status: 200, body: found, resource: true, tenant };
    },
  }),
  route({
    id: 'joinCampaign',
    method: 'post',
    path: '/v1/campaigns/{id}/join',
    tag,
    summary: 'Take a place in a campaign',
    description:
      'Takes one place and one unit of stock, or neither. Joining twice gives the same participation.\n\n' +
      'To pay, send `{"orderId": …}` of the answer to `POST /v1/payments` right away: it answers with the `clientSecret`. ' +
      'The buyer confirms that by `secureBy`: a hold (`pi_…`, `confirmPayment`), or a card to save (`seti_…`, ' +
      '`confirmSetup`) if the campaign ends too late for a hold. The money is taken when the campaign succeeds. The order ' +
      'exists from then on; before, `GET /v1/orders/{id}` answers 404.',
    scope: 'campaigns:write',
    idempotency: 'required',
    params,
    body: joining,
    example: { userId: 'user-1' },
    answers: { 201: { description: 'The participation', schema: participant, example: sampleParticipant } },
    errors: ['not_found', 'campaign_full', 'campaign_not_open', 'insufficient_inventory'],
    async run({ params: { id: of }, body, context }) {
      const { participant: joined, skus, tenant, replayed } = await joinCampaign(context, of, body);
      await invalidateProducts(tenant, skus);
      return { status: 201, body: joined, tenant, replayed };
    },
  }),
  route({
    id: 'leaveCampaign',
    method: 'post',
    path: '/v1/campaigns/{id}/leave',
    tag,
    summary: 'Give a place back, before the campaign has succeeded',
    description: 'Its unit is free at once, its money is released a moment later. Leaving again gives the same answer.',
    scope: 'campaigns:write',
    idempotency: 'taken',
    params,
    body: leaving,
    example: { userId: 'user-1' },
    answers: { 200: { description: 'The participation, released', schema: participant } },
    errors: ['not_found', 'campaign_not_open'],
    async run({ params: { id: of }, body, context }) {
      const { participant: left, skus, tenant, replayed } = await leaveCampaign(context, of, body.userId);
      await invalidateProducts(tenant, skus);
      return { status: 200, body: left, tenant, replayed };
    },
  }),
  route({
    id: 'cancelCampaign',
    method: 'post',
    path: '/v1/campaigns/{id}/cancel',
    tag,
    summary: 'Cancel a campaign that has not succeeded',
    description:
      'It ends as `failed`, and every hold on money and stock is released. Cancelling again: the same answer.',
    scope: 'campaigns:write',
    idempotency: 'taken',
    params,
    answers: { 200: { description: 'The campaign', schema: campaign } },
    errors: ['not_found', 'conflict'],
    async run({ params: { id: of }, context }) {
      const { campaign: cancelled, tenant, replayed } = await cancelCampaign(context, of);
      return { status: 200, body: cancelled, resource: true, tenant, replayed };
    },
  }),
  route({
    id: 'listParticipants',
    method: 'get',
    path: '/v1/campaigns/{id}/participants',
    tag,
    summary: "List a campaign's places, newest first, with the state of each",
    scope: 'campaigns:write',
    params,
    query: z.object(page),
    answers: { 200: { description: 'A page', schema: listOf(participant) } },
    errors: ['not_found', 'invalid_cursor'],
    async run({ params: { id: of }, query: { limit, cursor }, context, http }) {
      const rows = await listParticipants(context, of, positionOf(http, cursor, byId), limit + 1);
      return pageOf(http, rows, limit, (row) => row.id);
    },
  }),
  route({
    id: 'createLiveToken',
    method: 'post',
    path: '/v1/campaigns/{id}/live-token',
    tag,
    summary: "Get a token for a campaign's live events",
    description:
      'For `EventSource`, which cannot send a key: `new EventSource("…/live?token=" + token)`. It is good for this ' +
      'campaign’s `/live` alone, for 15 minutes, and ends with its key. When it has ended, `EventSource` gets 401 and gives ' +
      'up: get another token and open it anew. A publishable key may ask for one.',
    scope: 'campaigns:read',
    idempotency: 'taken',
    params,
    answers: {
      201: {
        description: 'The token',
        schema: liveToken,
        example: {
          token: `lt_${sampleCampaign.id}_1769861700_${'0123456789abcdef'.repeat(4)}`,
          expiresAt: '2026-01-31T12:15:00.000Z',
        },
      },
    },
    errors: ['not_found'],
    async run({ params: { id: of }, context }) {
      const { token, tenant, replayed } = await makeLiveToken(context, of);
      return { status: 201, body: token, tenant, replayed };
    },
  }),
  route({
    id: 'watchCampaign',
    method: 'get',
    path: '/v1/campaigns/{id}/live',
    tag,
    summary: 'Watch a campaign: its count, status and time left',
    description:
      'Server-sent events named `campaign`: the state at once, then one for each change and one when `endTime` passes. ' +
      '`Last-Event-ID` leaves out the state that its event had. A connection ends after about 50 s, or with the campaign; ' +
      'its last event is named `end`, and `{"reason", "reconnect"}` says whether to connect again. A publishable key may watch, ' +
      'and a token from `live-token` instead of a key.\n\nIn a page: `const source = new EventSource(api + ' +
      '"/v1/campaigns/" + id + "/live?token=" + token)`, then `source.addEventListener("campaign", (event) => ' +
      'show(JSON.parse(event.data)))`. On `end` with `"reconnect": false`, call `source.close()`.',
    scope: 'campaigns:read',
    takesLiveToken: true,
    params,
    query: z.object({
      token: z.string().max(200).optional().meta({ description: 'From `POST …/live-token`, in place of a key' }),
    }),
    answers: {
      200: {
        description: 'The events',
        type: 'text/event-stream',
        example: `id: 38\nevent: campaign\ndata: ${JSON.stringify({ status: 'active', actualParticipants: 37, secondsLeft: 3600 })}\n\nevent: end\ndata: ${JSON.stringify({ reason: 'time_limit', reconnect: true })}\n\n`,
      },
      204: { description: 'The campaign is over, as `Last-Event-ID` shows that the client knows' },
    },
    errors: ['not_found'],
    async run({ params: { id: of }, context, http }) {
      const watched = await watchCampaign(context, of, http.req.header('last-event-id'));
      if (!watched) return { status: 204 };
      const headers = { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' };
      return { status: 200, body: new Response(watched.stream, { headers }), tenant: watched.tenant };
    },
  }),
];
