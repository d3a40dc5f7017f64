import { Hono } from 'hono';
import * as z from 'zod';
import { id, page } from '../../base/fields.ts';
import {
  campaign,
  campaignStatus,
  cancelCampaign,
  createCampaign,
  listCampaigns,
  newCampaign,
  readCampaign,
} from '../../domain/group-commerce/campaigns.ts';
import { listParticipants } from '../../domain/group-commerce/participants.ts';
import { joinCampaign, joining, leaveCampaign, leaving, participant } from '../../domain/group-commerce/places.ts';
import { waitingPlace } from '../../domain/group-commerce/waiting.ts';
import type { AppEnv } from '../../http/app-env.ts';
import { invalidateProducts } from '../../http/edge-cache.ts';
import { showResource } from '../../http/etag.ts';
import { operation } from '../../http/operation.ts';
import { byId, positionOf, showPage } from '../../http/paging.ts';
import { showResult } from '../../http/result.ts';
import { listOf, sampleProduct } from '../examples.ts';
import { sampleCampaign, sampleParticipant, sampleWaitingPlace } from './campaign-examples.ts';

const params = z.object({ id });
const tag = 'Group commerce';

/** Group buying: `/v1/campaigns`. */
export const campaigns = new Hono<AppEnv>();

campaigns.post(
  '/',
  operation({
    id: 'createCampaign',
    tag,
    summary: 'Start a campaign',
    description:
      'A pool succeeds as soon as `minParticipants` places are taken. Buyers can join until `endTime` or until ' +
      '`maxParticipants` places are taken. With `mode: "teams"`, buyers open and join teams of `teamSize`, and each team ' +
      'succeeds when it is full. With `successOn: "secured"`, a place counts once its payment is secured.',
    scope: 'campaigns:write',
    idempotency: 'optional',
    body: newCampaign,
    example: {
      productId: sampleProduct.id,
      minParticipants: 50,
      maxParticipants: 200,
      price: 19.99,
      startTime: sampleCampaign.startTime,
      endTime: sampleCampaign.endTime,
    },
    responses: { 201: { description: 'The campaign', schema: campaign, example: sampleCampaign } },
    errors: [],
  }),
  async (c) => {
    const { campaign: created, replayed } = await createCampaign(c.var.context, c.req.valid('json'));
    c.header('Location', `/v1/campaigns/${created.id}`);
    return showResource(c, created, { status: 201, replayed });
  },
);

campaigns.get(
  '/',
  operation({
    id: 'listCampaigns',
    tag,
    summary: 'List campaigns, newest first',
    scope: 'campaigns:read',
    query: z.object({ ...page, status: campaignStatus.optional() }),
    responses: { 200: { description: 'One page', schema: listOf(campaign) } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor, status } = c.req.valid('query');
    const rows = await listCampaigns(c.var.context, status, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);

campaigns.get(
  '/:id',
  operation({
    id: 'getCampaign',
    tag,
    summary: 'Read a campaign',
    scope: 'campaigns:read',
    params,
    responses: { 200: { description: 'The campaign', schema: campaign, example: sampleCampaign } },
    errors: ['not_found'],
  }),
  async (c) => {
    const { campaign: found } = await readCampaign(c.var.context, c.req.valid('param').id);
    return showResource(c, found);
  },
);

campaigns.post(
  '/:id/join',
  operation({
    id: 'joinCampaign',
    tag,
    summary: 'Take a place in a campaign',
    description:
      'Takes one place and its units of stock, or nothing. Joining twice returns the same participation, also if the ' +
      'second request names another `quantity`.\n\n' +
      'The buyer pays the campaign’s price, with the tax for the address and the price of the shipping option, but ' +
      'without discounts. These amounts are fixed when the place is taken. From a browser, a customer’s session joins as ' +
      'its customer.\n\n' +
      'To pay, send `{"orderId": …}` from the response to `POST /v1/payments` right away. It returns the `clientSecret`. ' +
      'The buyer confirms it by `secureBy`: an authorization (`pi_…`, `confirmPayment`), or a saved card (`seti_…`, ' +
      '`confirmSetup`) if the campaign ends too late for an authorization. The buyer is charged when the campaign ' +
      'succeeds. The order exists from then on. Before that, `GET /v1/orders/{id}` returns 404.\n\n' +
      'With `waitlist: true` a full campaign returns 202 and the user’s entry in the waiting list. Nothing is paid and no ' +
      'stock is held. A place that becomes free is kept for the first in line for ten minutes: the event ' +
      '`group-commerce.place.offered` says until when. The user takes it by joining again, with another Idempotency-Key. ' +
      'Otherwise it passes to the next in line.',
    scope: 'campaigns:write',
    shoppers: ['session'],
    idempotency: 'required',
    params,
    body: joining,
    example: { userId: 'user-1' },
    responses: {
      201: { description: 'The participation', schema: participant, example: sampleParticipant },
      202: {
        description: 'The campaign is full, and the user waits for a place',
        schema: waitingPlace,
        example: sampleWaitingPlace,
      },
    },
    errors: [
      'not_found',
      'campaign_full',
      'campaign_not_open',
      'conflict',
      'insufficient_inventory',
      'limit_per_customer',
      'customer_not_eligible',
    ],
  }),
  async (c) => {
    const { id: campaignId } = c.req.valid('param');
    const joined = await joinCampaign(c.var.context, campaignId, c.req.valid('json'));
    await invalidateProducts(c.var.context, joined.tenant, joined.skus);
    if ('waiting' in joined) return showResult(c, joined.waiting, { status: 202, replayed: joined.replayed });
    return showResult(c, joined.participant, { status: 201, replayed: joined.replayed });
  },
);

campaigns.post(
  '/:id/leave',
  operation({
    id: 'leaveCampaign',
    tag,
    summary: 'Leave a campaign that has not succeeded yet',
    description:
      'The unit of stock is free at once. The payment is released a moment later. A user who waits for a place leaves the ' +
      'waiting list. Leaving again returns the same response.',
    scope: 'campaigns:write',
    shoppers: ['session'],
    idempotency: 'optional',
    params,
    body: leaving,
    example: { userId: 'user-1' },
    responses: {
      200: {
        description: 'The participation, released, or the entry in the waiting list',
        schema: z.union([participant, waitingPlace]),
      },
    },
    errors: ['not_found', 'campaign_not_open', 'conflict'],
  }),
  async (c) => {
    const { id: campaignId } = c.req.valid('param');
    const left = await leaveCampaign(c.var.context, campaignId, c.req.valid('json').userId);
    await invalidateProducts(c.var.context, left.tenant, left.skus);
    return showResult(c, 'waiting' in left ? left.waiting : left.participant, { replayed: left.replayed });
  },
);

campaigns.post(
  '/:id/cancel',
  operation({
    id: 'cancelCampaign',
    tag,
    summary: 'Cancel a campaign that has not succeeded',
    description:
      'The campaign ends as `failed`. Its authorizations and held units are released. Its forming teams are cancelled, and ' +
      'teams that have succeeded keep their places. Cancelling again returns the same response.',
    scope: 'campaigns:write',
    idempotency: 'optional',
    params,
    responses: { 200: { description: 'The campaign', schema: campaign } },
    errors: ['not_found', 'conflict'],
  }),
  async (c) => {
    const { campaign: cancelled, replayed } = await cancelCampaign(c.var.context, c.req.valid('param').id);
    return showResource(c, cancelled, { replayed });
  },
);

campaigns.get(
  '/:id/participants',
  operation({
    id: 'listParticipants',
    tag,
    summary: "List a campaign's participants, newest first",
    description: 'A customer’s session lists the places of that customer only.',
    scope: 'campaigns:write',
    shoppers: ['session'],
    params,
    query: z.object({ ...page, teamId: id.optional().meta({ description: 'Only the places of this team' }) }),
    responses: { 200: { description: 'One page', schema: listOf(participant) } },
    errors: ['not_found', 'invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor, teamId } = c.req.valid('query');
    const { id: campaignId } = c.req.valid('param');
    const filter = { campaignId, teamId };
    const rows = await listParticipants(c.var.context, filter, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);
