import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import { id, instant, money, sku, time, whole } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import { type CampaignRow, campaignById, campaignPage } from '../../db/group-commerce/queries.ts';
import { type ErrorResult, toApiError } from '../refusals.ts';

export const campaignStatus = z.enum(['active', 'successful', 'failed', 'expired']);

const places = whole.min(1).max(1_000_000);
const successOn = z.enum(['joined', 'secured']).meta({
  description:
    '`joined`: every place counts towards the minimum. `secured`: only places whose payment is authorized or whose card is saved. Default: `joined`.',
});

const joiners = z.enum(['all', 'new_customers']).meta({
  description:
    'Who may join: everybody, or only customers without a paid order in this shop. An order that was cancelled or refunded ' +
    'in full does not count, nor do orders of guests. Anybody may open a team. Default: `all`',
});

const tier = z
  .strictObject({
    participants: places.optional(),
    units: places.optional(),
    price: money,
  })
  .meta({
    id: 'Tier',
    description: 'The price from this number of secured places (`participants`) or of their `units`',
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
    mode: z.enum(['pool', 'teams']).meta({
      description:
        '`pool`: one group of `minParticipants` to `maxParticipants` buyers. `teams`: buyers form teams of `teamSize`. The ' +
        'counts are then those of all teams that are forming or have succeeded',
    }),
    skus: z.array(sku).meta({ description: 'What can be bought in this campaign: `sku`, or variants of one group' }),
    securedUnits: z.number().int().meta({ description: 'Units of the secured places of a pool' }),
    maxPerCustomer: z
      .number()
      .int()
      .nullable()
      .meta({ description: 'Units that one customer may have. null: no limit' }),
    joiners,
    tiers: z.array(tier),
    settledPrice: money
      .nullable()
      .meta({ description: 'The price of the tier that was reached. null until it is fixed' }),
    currentPrice: money.meta({ description: 'The price that the secured places have reached so far' }),
    nextTier: tier.safeExtend({ missing: z.number().int() }).nullable(),
    teamSize: z.number().int().nullable(),
    teamSeconds: z.number().int().nullable(),
    onShort: z.enum(['release', 'merge']).nullable(),
    formingTeams: z.number().int().nullable(),
    successfulTeams: z.number().int().nullable(),
  })
  .meta({ id: 'Campaign' });

export type Campaign = z.infer<typeof campaign>;

export const newCampaign = z
  .strictObject({
    productId: id,
    mode: z.enum(['pool', 'teams']).optional().meta({ description: 'Default: `pool`' }),
    minParticipants: places
      .optional()
      .meta({ description: 'Required for a pool. In a campaign with teams: `teamSize`' }),
    maxParticipants: places
      .optional()
      .meta({ description: 'Required for a pool. In a campaign with teams: `teamSize`' }),
    price: money.meta({ description: 'The price of a unit. With `tiers`: the entry price, which can fall' }),
    originalPrice: money.optional().meta({
      description:
        "What `price` is compared with, and must not be above. Default: the product's price; `price` must then not be " +
        'above the price of any of `skus`',
    }),
    startTime: instant,
    endTime: instant,
    successOn: successOn.optional(),
    teamSize: whole
      .min(2)
      .max(1_000)
      .optional()
      .meta({ description: 'Places of a team. Required for `mode: "teams"`' }),
    teamSeconds: whole.min(1).max(2_592_000).optional().meta({
      description:
        'The time in which a team must fill. Required for `mode: "teams"`. Every team ends at `endTime` at the latest',
    }),
    onShort: z
      .enum(['release', 'merge'])
      .optional()
      .meta({
        description:
          'What happens to a team that is not full when its time ends. `release`: its places are released. `merge`: if all ' +
          'its members agree, they move into another team first. Default: `release`',
      }),
    tiers: z
      .array(tier)
      .min(1)
      .max(20)
      .optional()
      .meta({
        description:
          'Lower prices for more secured places. Everybody pays the price of the last tier that is reached when the campaign ' +
          'settles, at its end or when it is full. For pools',
      }),
    skus: z
      .array(sku)
      .min(1)
      .max(100)
      .optional()
      .meta({
        description:
          'What buyers choose from, all at the same `price`: variants of one product group that are for sale in the same ' +
          'currency, the product among them. Default: the product',
      }),
    maxPerCustomer: places.optional().meta({ description: 'Units that one customer may have, in all teams together' }),
    joiners: joiners.optional(),
  })
  .superRefine(checkMode)
  .superRefine(checkTiers)
  .superRefine(checkSkus)
  .refine((input) => Date.parse(input.startTime) < Date.parse(input.endTime), {
    path: ['endTime'],
    error: 'must be after startTime',
  });

type CampaignFields = {
  mode?: 'pool' | 'teams' | undefined;
  minParticipants?: number | undefined;
  maxParticipants?: number | undefined;
  teamSize?: number | undefined;
  teamSeconds?: number | undefined;
  onShort?: string | undefined;
  price: number;
  skus?: string[] | undefined;
  tiers?: { participants?: number | undefined; units?: number | undefined; price: number }[] | undefined;
};

/** Each mode has its own fields. */
function checkMode(input: CampaignFields, check: z.RefinementCtx): void {
  const fault = (field: string, message: string) => check.addIssue({ code: 'custom', path: [field], message });
  if (input.mode === 'teams') {
    if (input.teamSize === undefined) fault('teamSize', 'is required in a campaign with teams');
    if (input.teamSeconds === undefined) fault('teamSeconds', 'is required in a campaign with teams');
    if ((input.minParticipants ?? input.teamSize) !== input.teamSize) fault('minParticipants', 'must equal teamSize');
    if ((input.maxParticipants ?? input.teamSize) !== input.teamSize) fault('maxParticipants', 'must equal teamSize');
    if (input.tiers !== undefined) fault('tiers', 'are for campaigns with `mode: "pool"`');
    return;
  }
  if (input.minParticipants === undefined) fault('minParticipants', 'is required');
  if (input.maxParticipants === undefined) fault('maxParticipants', 'is required');
  if ((input.minParticipants ?? 0) > (input.maxParticipants ?? Number.POSITIVE_INFINITY))
    fault('maxParticipants', 'must not be below minParticipants');
  for (const field of ['teamSize', 'teamSeconds', 'onShort'] as const)
    if (input[field] !== undefined) fault(field, 'is for campaigns with `mode: "teams"`');
}

/** All tiers count participants, or all count units. The counts rise and the prices fall. */
function checkTiers({ tiers = [], price, maxParticipants }: CampaignFields, check: z.RefinementCtx): void {
  let before = { count: 0, price };
  const unit = tiers[0]?.units === undefined ? 'participants' : 'units';
  for (const [index, step] of tiers.entries()) {
    const fault = (field: string, message: string) =>
      check.addIssue({ code: 'custom', path: ['tiers', index, field], message });
    const counts = step[unit];
    if (counts === undefined || (step.participants !== undefined && step.units !== undefined)) {
      fault(unit, 'every tier has `participants`, or every tier has `units`');
      return;
    }
    if (counts <= before.count) fault(unit, 'must be above that of the tier before');
    else if (unit === 'participants' && counts > (maxParticipants ?? counts))
      fault(unit, 'must not be above maxParticipants');
    if (step.price === 0) fault('price', 'must be above 0');
    else if (step.price >= before.price) fault('price', 'must be below the price before');
    before = { count: counts, price: step.price };
  }
}

function checkSkus({ skus = [] }: CampaignFields, check: z.RefinementCtx): void {
  for (const [index, each] of skus.entries())
    if (skus.indexOf(each) < index)
      check.addIssue({ code: 'custom', path: ['skus', index], message: 'is in the list already' });
}

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
  mode: row.mode ?? 'pool', // an answer or an event of an earlier release has only the fields above
  skus: row.skus ?? [row.sku],
  securedUnits: row.securedUnits ?? row.securedParticipants,
  maxPerCustomer: row.maxPerCustomer ?? null,
  joiners: row.joiners ?? 'all',
  tiers: row.tiers ?? [],
  settledPrice: row.settledPrice ?? null,
  currentPrice: row.currentPrice ?? row.price,
  nextTier: row.nextTier ?? null,
  teamSize: row.teamSize ?? null,
  teamSeconds: row.teamSeconds ?? null,
  onShort: row.onShort ?? null,
  formingTeams: row.formingTeams ?? null,
  successfulTeams: row.successfulTeams ?? null,
});

type WriteResult<T> = { tenant: string; answer: T | ErrorResult; replayed: boolean };

/**
 * @throws ApiError validation_failed (a product not for sale, of another group or currency, a price above `originalPrice`,
 * not chargeable, or with too many decimals)
 */
export async function createCampaign(context: Context, input: z.infer<typeof newCampaign>) {
  const { teamSize } = input;
  const row = {
    ...{ successOn: 'joined', mode: 'pool', joiners: 'all' },
    ...(teamSize === undefined ? {} : { minParticipants: teamSize, maxParticipants: teamSize, onShort: 'release' }),
    ...input,
    id: newId(context.now()),
  };
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
