import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import {
  address,
  email,
  id,
  instant,
  metadata,
  money,
  newAddress,
  reference,
  sku,
  time,
  whole,
} from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import { type CampaignRow, campaignById, campaignPage, type ParticipantRow } from '../../db/group-commerce/queries.ts';
import { taxLine } from '../orders/order.ts';
import { type ErrorResult, toApiError } from '../refusals.ts';
import { runWithTax } from '../tax/provider.ts';
import { holdWithinSeconds } from './card-holds.ts';

export const campaignStatus = z.enum(['active', 'successful', 'failed', 'expired']);

const places = whole.min(1).max(1_000_000);
const successOn = z.enum(['joined', 'secured']).meta({
  description:
    '`joined`: every place counts towards the minimum. `secured`: only places whose payment is authorized or whose card is saved. Default: `joined`.',
});

export const campaign = z
  .object({
    id,
    productId: id,
    sku,
    minParticipants: places,
    maxParticipants: places,
    actualParticipants: z
      .number()
      .int()
      .meta({ description: 'Places taken. For an ended campaign: the number at its end' }),
    securedParticipants: z
      .number()
      .int()
      .meta({ description: 'Taken places whose payment is authorized or whose card is saved' }),
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
  .refine((input) => input.minParticipants <= input.maxParticipants, {
    path: ['maxParticipants'],
    error: 'must not be below minParticipants',
  })
  .refine((input) => Date.parse(input.startTime) < Date.parse(input.endTime), {
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
        'Send it to `POST /v1/payments` to get the `clientSecret`. The order itself exists once the campaign has succeeded',
    }),
    paymentId: id.nullable().meta({ description: 'null if there is nothing to pay' }),
    shippingAddress: address.nullable(),
    state: z.enum(['joined', 'secured', 'ordered', 'charged', 'released']),
    reason: z.string().nullable().meta({ description: 'Why the place was released' }),
    secureBy: time.nullable().meta({ description: 'The deadline for the buyer to confirm. null once that is done' }),
    subtotal: money.meta({ description: "The campaign's price" }),
    shippingTotal: money,
    shippingTax: money,
    taxTotal: money.meta({ description: 'The tax of the place and of shipping' }),
    taxIncluded: z.boolean().meta({
      description:
        'Whether the amounts contain the tax. `total` = `subtotal` + `shippingTotal`, + `taxTotal` if not. They do not ' +
        'change any more: the payment and the order have the same',
    }),
    taxLines: z.array(taxLine),
    shippingOption: z.object({ id, name: z.string() }).nullable(),
    total: money.meta({ description: 'What the buyer pays' }),
    currency: z.string(),
    email: z.string().nullable(),
    billingAddress: address.nullable(),
    metadata,
    joinedAt: time,
    updatedAt: time,
  })
  .meta({ id: 'Participant' });

export type Participant = z.infer<typeof participant>;

const userId = reference.optional().meta({
  description: "Required with a secret key. Leave it out with a customer's session: the user is then its customer",
});

export const joining = z.strictObject({
  userId,
  shippingAddress: newAddress.optional(),
  billingAddress: newAddress.optional(),
  email: email.optional().meta({ description: "Default, with a customer's session: the customer's" }),
  metadata: metadata.optional(),
  shippingOptionId: id.optional().meta({ description: 'Adds the price of this shipping option' }),
});
export const leaving = z.strictObject({ userId });

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

/** What a place costs. Without frozen amounts that is the campaign's price. */
const toAmounts = ({ amounts, price, currency }: ParticipantRow) => ({
  subtotal: (amounts?.subtotal ?? price) as number,
  shippingTotal: amounts?.shipping ?? 0,
  shippingTax: amounts?.shippingTax ?? 0,
  taxTotal: amounts?.tax ?? 0,
  taxIncluded: amounts?.taxIncluded ?? false,
  taxLines: amounts?.taxLines ?? [],
  shippingOption: amounts?.shippingOption ?? null,
  total: (amounts?.total ?? price) as number, // undefined only in a response that an earlier release stored
  currency: currency as string,
});

export const toParticipant = (row: ParticipantRow): Participant => ({
  id: row.id,
  campaignId: row.campaignId,
  userId: row.userId,
  orderId: row.orderId,
  paymentId: row.paymentId,
  shippingAddress: row.shippingAddress as Participant['shippingAddress'],
  state: row.state,
  reason: row.reason,
  secureBy: row.secureBy,
  ...toAmounts(row),
  email: row.email ?? null,
  billingAddress: (row.billingAddress ?? null) as Participant['billingAddress'],
  metadata: row.metadata ?? {},
  joinedAt: row.joinedAt,
  updatedAt: row.updatedAt,
});

type WriteResult<T> = { tenant: string; answer: T | ErrorResult; replayed: boolean };

/**
 * @throws ApiError validation_failed (product not for sale, price above `originalPrice`, not chargeable, or with too
 * many decimals)
 */
export async function createCampaign(context: Context, input: z.infer<typeof newCampaign>) {
  const row = { successOn: 'joined', ...input, id: newId(context.now()) };
  const { tenant, answer, replayed } = await context.db.run<WriteResult<CampaignRow>>(
    'group_commerce.create_campaign',
    context.call,
    row,
  );
  if ('error' in answer) throw toApiError(answer, replayed);
  return { campaign: toCampaign(answer), tenant, replayed };
}

/** Reads a campaign and its version, which every change increments. @throws ApiError not_found */
export async function readCampaign(context: Context, campaignId: string) {
  const { rows, tenant } = await context.db.read(context.call, 'campaigns:read', (db) => campaignById(db, campaignId));
  if (!rows[0]) throw new ApiError('not_found');
  return { campaign: toCampaign(rows[0].campaign), version: rows[0].version, tenant };
}

/** Campaigns, newest first. */
export async function listCampaigns(
  context: Context,
  status: string | undefined,
  before: string | undefined,
  limit: number,
) {
  const { rows } = await context.db.read(context.call, 'campaigns:read', (db) =>
    campaignPage(db, status, before, limit),
  );
  return rows.map((row) => toCampaign(row.campaign));
}

/** A session names its user. @throws ApiError validation_failed if a request without a session names no user */
function requireUser({ call }: Context, user: string | undefined) {
  if (user === undefined && !call.session)
    throw new ApiError('validation_failed', undefined, { faults: [{ pointer: '/userId', detail: 'is required' }] });
}

/**
 * Takes one place and one unit of stock in one call, or neither. The campaign's row is locked, and the same statement
 * decides success if this join reaches the minimum. If the user has joined before, returns that participation. With a
 * tax provider there are two calls, and the provider is asked between them.
 * @throws ApiError not_found, campaign_full, campaign_not_open, insufficient_inventory, forbidden (a session names
 * another user), validation_failed (no user, an option that is not offered, a total that cannot be charged, no tax for
 * this address), unavailable (the tax provider does not answer)
 */
export async function joinCampaign(context: Context, campaignId: string, joiner: z.infer<typeof joining>) {
  const { settings } = context;
  requireUser(context, joiner.userId);
  const { tenant, answer, replayed } = await runWithTax<WriteResult<ParticipantRow>>(
    context,
    'group_commerce.join_campaign',
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
 * Gives up a place before the campaign has succeeded. The unit is released in the same transaction, the payment by the
 * queue. If the user has left before, returns the same result.
 * @throws ApiError not_found, campaign_not_open, forbidden (a session names another user), validation_failed (no user)
 */
export async function leaveCampaign(context: Context, campaignId: string, userId: string | undefined) {
  requireUser(context, userId);
  const { tenant, answer, replayed } = await context.db.run<WriteResult<ParticipantRow>>(
    'group_commerce.leave_campaign',
    context.call,
    { campaignId, userId },
  );
  if ('error' in answer) throw toApiError(answer, replayed);
  return { participant: toParticipant(answer), skus: answer.sku === undefined ? [] : [answer.sku], tenant, replayed };
}

/**
 * Ends an active campaign as `failed`. The queue releases its places. If it is cancelled already, returns the same
 * result.
 * @throws ApiError not_found, conflict (it has succeeded or expired)
 */
export async function cancelCampaign(context: Context, campaignId: string) {
  const { tenant, answer, replayed } = await context.db.run<WriteResult<CampaignRow>>(
    'group_commerce.cancel_campaign',
    context.call,
    { id: campaignId },
  );
  if ('error' in answer) throw toApiError(answer, replayed);
  return { campaign: toCampaign(answer), tenant, replayed };
}
