import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import { address, email, id, metadata, money, newAddress, reference, sku, time, whole } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import type { WriteResult } from '../../db/client.ts';
import type { ParticipantRow } from '../../db/group-commerce/queries.ts';
import { taxLine } from '../orders/order.ts';
import { type ErrorResult, toApiError } from '../refusals.ts';
import { runWithTax } from '../tax/provider.ts';
import { holdWithinSeconds } from './card-holds.ts';
import { toWaitingPlace, type WaitingAnswer } from './waiting.ts';

export const participant = z
  .object({
    id,
    campaignId: id,
    teamId: id.nullable().meta({ description: 'null: a place in a pool' }),
    userId: z.string(),
    sku,
    quantity: z.number().int(),
    orderId: id.meta({
      description:
        'Send it to `POST /v1/payments` to get the `clientSecret`. The order itself exists once the campaign has succeeded',
    }),
    paymentId: id.nullable().meta({ description: 'null if there is nothing to pay' }),
    shippingAddress: address.nullable(),
    state: z.enum(['joined', 'secured', 'ordered', 'charged', 'released']),
    reason: z.string().nullable().meta({ description: 'Why the place was released' }),
    secureBy: time.nullable().meta({ description: 'The deadline for the buyer to confirm. null once that is done' }),
    subtotal: money.meta({ description: "The campaign's price of all units" }),
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
    merge: z.boolean().meta({ description: 'Whether the team may be merged into another one if it stays short' }),
    invitedBy: z.string().nullable().meta({ description: 'The user who brought this one' }),
    joinedAt: time,
    updatedAt: time,
  })
  .meta({ id: 'Participant' });

export type Participant = z.infer<typeof participant>;

const userId = reference.optional().meta({
  description: "Required with a secret key. Leave it out with a customer's session: the user is then its customer",
});

/** The fields of a new place in a pool or a team. */
const place = {
  userId,
  sku: sku.optional().meta({ description: 'Which of the campaign’s `skus`. Required if there are several' }),
  quantity: whole.min(1).max(1_000_000).optional().meta({ description: 'Units. Default: 1' }),
  invitedBy: reference
    .optional()
    .meta({ description: 'The user who brought this one: another user with a place in this campaign, now or before' }),
  shippingAddress: newAddress.optional(),
  billingAddress: newAddress.optional(),
  email: email.optional().meta({ description: "Default, with a customer's session: the customer's" }),
  metadata: metadata.optional(),
  shippingOptionId: id.optional().meta({ description: 'Adds the price of this shipping option' }),
};

export const joining = z.strictObject({
  ...place,
  waitlist: z.boolean().optional().meta({
    description:
      'If the campaign is full: wait in line for a place instead of the error `campaign_full`. Default: false',
  }),
});
export const joiningTeam = z.strictObject({
  ...place,
  merge: z
    .boolean()
    .optional()
    .meta({
      description:
        'Whether the team may move into another one, in a campaign with `onShort: "merge"`, if its time ends before it is ' +
        'full. Default: false',
    }),
});
export const openingTeam = joiningTeam.safeExtend({
  listed: z.boolean().optional().meta({ description: 'Whether the campaign’s list of teams shows it. Default: false' }),
});
export const leaving = z.strictObject({ userId });

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
  teamId: row.teamId ?? null,
  userId: row.userId,
  sku: (row.sku ?? row.campaignSku) as string, // a place of an earlier release has the campaign's
  quantity: row.quantity ?? 1,
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
  merge: row.merge ?? false,
  invitedBy: row.invitedBy ?? null,
  joinedAt: row.joinedAt,
  updatedAt: row.updatedAt,
});

/** A session names its user. @throws ApiError validation_failed if a request without a session names no user */
export function requireUser({ call }: Context, user: string | undefined) {
  if (user === undefined && !call.session)
    throw new ApiError('validation_failed', undefined, { faults: [{ pointer: '/userId', detail: 'is required' }] });
}

/** The ids and time limits of a new place. */
export const placeTerms = ({ now, settings }: Context) => ({
  participantId: newId(now()),
  orderId: newId(now()),
  paymentId: newId(now()),
  secureSeconds: settings.JOIN_SECURE_SECONDS,
  graceSeconds: settings.CAMPAIGN_GRACE_SECONDS,
  holdWithinSeconds,
});

function toPlaceResult(tenant: string, answer: ParticipantRow | WaitingAnswer | ErrorResult, replayed: boolean) {
  if ('error' in answer) throw toApiError(answer, replayed);
  if ('waiting' in answer) return { waiting: toWaitingPlace(answer.waiting), skus: [], tenant, replayed };
  return { participant: toParticipant(answer), skus: answer.changedSkus ?? [], tenant, replayed };
}

/**
 * Takes one place and its units of stock in one call, or nothing. The campaign's row is locked, and the same statement
 * decides success if this join reaches the minimum. If the user has joined before, returns that participation. With
 * `waitlist`, a full campaign is no error: returns the user's entry in the waiting list. With a tax provider there are two
 * calls, and the provider is asked between them.
 * @throws ApiError not_found, campaign_full, campaign_not_open, conflict (the campaign has teams), customer_not_eligible,
 * insufficient_inventory, limit_per_customer, forbidden (a session names another user), validation_failed (no user, a
 * SKU or an option that is not offered, a total that cannot be charged, no tax for this address), unavailable (the tax
 * provider does not answer)
 */
export async function joinCampaign(context: Context, campaignId: string, joiner: z.infer<typeof joining>) {
  requireUser(context, joiner.userId);
  const { tenant, answer, replayed } = await runWithTax<WriteResult<ParticipantRow | WaitingAnswer | ErrorResult>>(
    context,
    'group_commerce.join_campaign',
    {
      ...joiner,
      campaignId,
      ...placeTerms(context),
    },
  );
  return toPlaceResult(tenant, answer, replayed);
}

/**
 * Gives up a place before the campaign has succeeded. The unit is released in the same transaction, the payment by the
 * queue. A user who waits for a place leaves the waiting list. If the user has left before, returns the same result.
 * @throws ApiError not_found, campaign_not_open, conflict (the campaign has teams), forbidden (a session names another
 * user), validation_failed (no user)
 */
export async function leaveCampaign(context: Context, campaignId: string, userId: string | undefined) {
  requireUser(context, userId);
  const { tenant, answer, replayed } = await context.db.run<WriteResult<ParticipantRow | WaitingAnswer | ErrorResult>>(
    'group_commerce.leave_campaign',
    context.call,
    { campaignId, userId },
  );
  return toPlaceResult(tenant, answer, replayed);
}
