import * as z from 'zod';
import { ApiError } from '../base/errors.ts';
import { address, id, instant, money, reference, sku, time, whole } from '../base/fields.ts';
import { newId } from '../base/ids.ts';
import type { Context } from '../context.ts';
import {
  type CampaignRow,
  campaignById,
  campaignPage,
  type ParticipantRow,
  participantPage,
} from '../db/group-commerce/queries.ts';
import { holdWithinSeconds } from './card-holds.ts';
import { type ErrorResult, toApiError } from './refusals.ts';

export const campaignStatus = z.enum(['active', 'successful', 'failed', 'expired']);

const places = whole.min(1).max(1_000_000);
const successOn = z.enum(['joined', 'secured']).meta({
  description: '`secured`: a place counts towards success once its money is secured. Default: `joined`.',
});

export const campaign = z
  .object({
    id,
    productId: id,
    sku,
    minParticipants: places,
    maxParticipants: places,
    actualParticipants: z.number().int().meta({ description: 'Places taken; of an ended campaign, at its end' }),
    securedParticipants: z.number().int().meta({ description: 'Those of them whose money is secured' }),
    successOn,
    price: money,
    originalPrice: money,
    currency: z.string(),
    startTime: time,
    endTime: time,
    status: campaignStatus,
    createdAt: time,
  })
  .meta({ id: 'Campaign' });

export type Campaign = z.infer<typeof campaign>;

export const newCampaign = z
  .strictObject({
    productId: id,
    minParticipants: places,
    maxParticipants: places,
    price: money,
    originalPrice: money.optional().meta({ description: "Default: the product's price" }),
    startTime: instant,
    endTime: instant,
    successOn: successOn.optional(),
  })
  .refine((wanted) => wanted.minParticipants <= wanted.maxParticipants, {
    path: ['maxParticipants'],
    error: 'must not be below minParticipants',
  })
  .refine((wanted) => Date.parse(wanted.startTime) < Date.parse(wanted.endTime), {
    path: ['endTime'],
    error: 'must be after startTime',
  });

export const participant = z
  .object({
    id,
    campaignId: id,
    userId: z.string(),
    orderId: id.meta({
      description:
        'Send it to `POST /v1/payments` at once to get the `clientSecret`; the order itself exists once the campaign succeeds',
    }),
    paymentId: id.nullable().meta({ description: 'null where there is nothing to pay' }),
    shippingAddress: address.nullable(),
    state: z.enum(['joined', 'secured', 'ordered', 'charged', 'released']),
    reason: z.string().nullable().meta({ description: 'Why the place was released' }),
    secureBy: time
      .nullable()
      .meta({ description: 'Until when the buyer must confirm, while that is still to be done' }),
    joinedAt: time,
    updatedAt: time,
  })
  .meta({ id: 'Participant' });

export type Participant = z.infer<typeof participant>;

export const joining = z.strictObject({ userId: reference, shippingAddress: address.optional() });
export const leaving = z.strictObject({ userId: reference });

const toCampaign = (row: CampaignRow): Campaign => ({
  id: row.id,
  productId: row.productId,
  sku: row.sku,
  minParticipants: row.minParticipants,
  maxParticipants: row.maxParticipants,
  actualParticipants: row.actualParticipants,
  securedParticipants: row.securedParticipants,
  successOn: row.successOn,
  price: row.price,
  originalPrice: row.originalPrice,
  currency: row.currency,
  startTime: row.startTime,
  endTime: row.endTime,
  status: row.status,
  createdAt: row.createdAt,
});

const toParticipant = (row: ParticipantRow): Participant => ({
  id: row.id,
  campaignId: row.campaignId,
  userId: row.userId,
  orderId: row.orderId,
  paymentId: row.paymentId,
  shippingAddress: row.shippingAddress as Participant['shippingAddress'],
  state: row.state,
  reason: row.reason,
  secureBy: row.secureBy,
  joinedAt: row.joinedAt,
  updatedAt: row.updatedAt,
});

type Answer<T> = { tenant: string; answer: T | ErrorResult; replayed: boolean };

/** @throws ApiError validation_failed (product not for sale, price above the original one or not chargeable, decimals) */
export async function createCampaign(context: Context, wanted: z.infer<typeof newCampaign>) {
  const input = { successOn: 'joined', ...wanted, id: newId(context.now()) };
  const { tenant, answer, replayed } = await context.db.run<Answer<CampaignRow>>(
    'group_commerce.create_campaign',
    context.call,
    input,
  );
  if ('error' in answer) throw toApiError(answer, replayed);
  return { campaign: toCampaign(answer), tenant, replayed };
}

/** The campaign with its version, which changes with every change. @throws ApiError not_found */
export async function readCampaign(context: Context, campaignId: string) {
  const { rows, tenant } = await context.db.read(context.call, 'campaigns:read', (db) => campaignById(db, campaignId));
  if (!rows[0]) throw new ApiError('not_found');
  return { campaign: toCampaign(rows[0].campaign), version: rows[0].version, tenant };
}

/** Campaigns, newest first; one more than `most` tells that there is a next page. */
export async function listCampaigns(
  context: Context,
  status: string | undefined,
  before: string | undefined,
  most: number,
) {
  const { rows } = await context.db.read(context.call, 'campaigns:read', (db) =>
    campaignPage(db, status, before, most),
  );
  return rows.map((row) => toCampaign(row.campaign));
}

/** A campaign's places, newest first, released ones too. @throws ApiError not_found */
export async function listParticipants(context: Context, campaignId: string, before: string | undefined, most: number) {
  // Who has joined is nothing for a publishable key, which may read campaigns: hence the other scope.
  const { rows } = await context.db.read(context.call, 'campaigns:write', (db) =>
    participantPage(db, campaignId, before, most),
  );
  if (rows.length === 0) throw new ApiError('not_found');
  return rows.flatMap((row) => (row.participant ? [toParticipant(row.participant)] : []));
}

/**
 * Takes one place and one unit of stock in one call, or nothing: the campaign's row decides, under its lock, and the same
 * statement decides success when this join reaches the minimum. Twice by one user: the same participation again.
 * @throws ApiError not_found, campaign_full, campaign_not_open, insufficient_inventory
 */
export async function joinCampaign(context: Context, campaignId: string, joiner: z.infer<typeof joining>) {
  const { settings } = context;
  const { tenant, answer, replayed } = await context.db.run<Answer<ParticipantRow>>(
    'group_commerce.join_campaign',
    context.call,
    {
      ...joiner,
      campaignId,
      participantId: newId(context.now()),
      orderId: newId(context.now()),
      paymentId: newId(context.now()),
      secureSeconds: settings.JOIN_SECURE_SECONDS,
      graceSeconds: settings.CAMPAIGN_GRACE_SECONDS,
      holdWithinSeconds,
    },
  );
  if ('error' in answer) throw toApiError(answer, replayed);
  return { participant: toParticipant(answer), skus: answer.sku === undefined ? [] : [answer.sku], tenant, replayed };
}

/**
 * Gives a place back before the campaign has succeeded: its unit is free in the same transaction, its money is released by
 * the queue. Left already: the same answer again.
 * @throws ApiError not_found, campaign_not_open
 */
export async function leaveCampaign(context: Context, campaignId: string, userId: string) {
  const { tenant, answer, replayed } = await context.db.run<Answer<ParticipantRow>>(
    'group_commerce.leave_campaign',
    context.call,
    { campaignId, userId },
  );
  if ('error' in answer) throw toApiError(answer, replayed);
  return { participant: toParticipant(answer), skus: answer.sku === undefined ? [] : [answer.sku], tenant, replayed };
}

/**
 * Ends an active campaign as `failed`; its places are released by the queue. Cancelled already: the same answer again.
 * @throws ApiError not_found, conflict (it has succeeded or expired)
 */
export async function cancelCampaign(context: Context, campaignId: string) {
  const { tenant, answer, replayed } = await context.db.run<Answer<CampaignRow>>(
    'group_commerce.cancel_campaign',
    context.call,
    { id: campaignId },
  );
  if ('error' in answer) throw toApiError(answer, replayed);
  return { campaign: toCampaign(answer), tenant, replayed };
}
