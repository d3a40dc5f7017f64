import { and, asc, desc, eq, lt, sql } from 'drizzle-orm';
import { boolean, integer, jsonb, numeric, pgSchema, timestamp, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';

const schema = pgSchema('group_commerce');
const time = (name: string) => timestamp(name, { withTimezone: true });

/** The campaigns table. The functions in the .sql files of this folder write it. */
export const campaigns = schema.table('group_commerce_campaigns', {
  id: varchar('id').primaryKey(),
  productId: varchar('product_id').notNull(),
  sku: varchar('sku').notNull(),
  currency: varchar('currency', { length: 3 }).notNull(),
  minParticipants: integer('min_participants').notNull(),
  maxParticipants: integer('max_participants').notNull(),
  actualParticipants: integer('actual_participants').notNull().default(0),
  securedParticipants: integer('secured_participants').notNull().default(0),
  successOn: varchar('success_on').notNull().default('joined'),
  price: numeric('price', { precision: 10, scale: 2 }).notNull(),
  originalPrice: numeric('original_price', { precision: 10, scale: 2 }).notNull(),
  startTime: time('start_time').notNull(),
  endTime: time('end_time').notNull(),
  status: varchar('status').notNull(),
  version: integer('version').notNull().default(1),
  settledAt: time('settled_at'),
  tenantId: varchar('tenant_id').notNull().default('default'),
  mode: varchar('mode').notNull().default('pool'),
  teamSize: integer('team_size'),
  teamSeconds: integer('team_seconds'),
  onShort: varchar('on_short'),
  tiers: jsonb('tiers'),
  settledPrice: numeric('settled_price', { precision: 10, scale: 2 }),
  skus: varchar('skus').array(),
  maxPerCustomer: integer('max_per_customer'),
  joiners: varchar('joiners').notNull().default('all'),
  securedUnits: integer('secured_units').notNull().default(0),
  offeredPlaces: integer('offered_places').notNull().default(0),
  createdAt: time('created_at').notNull().defaultNow(),
  updatedAt: time('updated_at').notNull().defaultNow(),
});

/** Participants: the places in campaigns. */
export const participants = schema.table('participants', {
  id: varchar('id').primaryKey(),
  tenantId: varchar('tenant_id').notNull(),
  campaignId: varchar('campaign_id').notNull(),
  userId: varchar('user_id').notNull(),
  orderId: varchar('order_id').notNull(),
  paymentId: varchar('payment_id'),
  shippingAddress: jsonb('shipping_address'),
  state: varchar('state').notNull(),
  reason: varchar('reason'),
  joinedAt: time('joined_at').notNull(),
  secureBy: time('secure_by'),
  securedAt: time('secured_at'),
  updatedAt: time('updated_at').notNull(),
  email: varchar('email'),
  billingAddress: jsonb('billing_address'),
  metadata: jsonb('metadata'),
  amounts: jsonb('amounts'),
  teamId: varchar('team_id'),
  sku: varchar('sku'),
  quantity: integer('quantity').notNull().default(1),
  merge: boolean('merge').notNull().default(false),
  invitedBy: varchar('invited_by'),
  refunded: boolean('refunded').notNull().default(false),
});

/** Teams of campaigns. */
export const teams = schema.table('teams', {
  id: varchar('id').primaryKey(),
  tenantId: varchar('tenant_id').notNull(),
  campaignId: varchar('campaign_id').notNull(),
  code: varchar('code').notNull(),
  leader: varchar('leader').notNull(),
  size: integer('size').notNull(),
  joined: integer('joined').notNull().default(0),
  secured: integer('secured').notNull().default(0),
  status: varchar('status').notNull(),
  listed: boolean('listed').notNull().default(false),
  mergeRefusals: integer('merge_refusals').notNull().default(0),
  endTime: time('end_time').notNull(),
  mergedInto: varchar('merged_into'),
  settledAt: time('settled_at'),
  version: integer('version').notNull().default(1),
  createdAt: time('created_at').notNull(),
  updatedAt: time('updated_at').notNull(),
});

/** A campaign as `group_commerce.campaign_json` returns it. */
export type CampaignRow = {
  id: string;
  productId: string;
  sku: string;
  minParticipants: number;
  maxParticipants: number;
  actualParticipants: number;
  securedParticipants: number;
  successOn: 'joined' | 'secured';
  price: number;
  originalPrice: number;
  currency: string;
  startTime: string;
  endTime: string;
  status: 'active' | 'successful' | 'failed' | 'expired';
  createdAt: string;
  skus: string[];
  mode: 'pool' | 'teams';
  securedUnits: number;
  maxPerCustomer: number | null;
  joiners: 'all' | 'new_customers';
  tiers: TierRow[];
  settledPrice: number | null;
  currentPrice: number;
  nextTier: (TierRow & { missing: number }) | null;
  teamSize: number | null;
  teamSeconds: number | null;
  onShort: 'release' | 'merge' | null;
  formingTeams: number | null;
  successfulTeams: number | null;
};

/** A tier has `participants` or `units`. */
export type TierRow = { participants?: number; units?: number; price: number };

/** A team as `group_commerce.team_json` returns it. `code` and `leader` are null if the caller may not see them. */
export type TeamRow = {
  id: string;
  campaignId: string;
  code: string | null;
  leader: string | null;
  size: number;
  joined: number;
  secured: number;
  status: 'forming' | 'successful' | 'expired' | 'merged' | 'cancelled';
  listed: boolean;
  mergedInto: string | null;
  endTime: string;
  createdAt: string;
};

/** The amounts of a place with tax or shipping, as `orders.settle_place` returns them. */
export type PlaceAmounts = {
  subtotal: number;
  shipping: number;
  shippingTax: number;
  tax: number;
  total: number;
  taxIncluded: boolean;
  taxLines: { name: string; rate: number; taxable: number; amount: number }[];
  shippingOption: { id: string; name: string } | null;
};

/**
 * A place as `group_commerce.participant_json` returns it, with the campaign's price and currency. A write adds the SKUs
 * whose stock it changed. Answers that an earlier release stored end with `updatedAt`, and have the campaign's `sku`.
 */
export type ParticipantRow = {
  id: string;
  campaignId: string;
  userId: string;
  orderId: string;
  paymentId: string | null;
  shippingAddress: Record<string, string> | null;
  state: 'joined' | 'secured' | 'ordered' | 'charged' | 'released';
  reason: string | null;
  secureBy: string | null;
  joinedAt: string;
  updatedAt: string;
  email?: string | null;
  billingAddress?: Record<string, string> | null;
  metadata?: Record<string, string> | null;
  amounts?: PlaceAmounts | null;
  price?: number;
  currency?: string;
  sku?: string | null;
  campaignSku?: string;
  teamId?: string | null;
  quantity?: number;
  merge?: boolean;
  invitedBy?: string | null;
  changedSkus?: string[];
};

/** An entry of a waiting list as `group_commerce.waiting_json` returns it. */
export type WaitingRow = {
  id: string;
  campaignId: string;
  userId: string;
  state: 'waiting' | 'offered' | 'taken' | 'lapsed' | 'left' | 'ended';
  position: number | null;
  offeredUntil: string | null;
  createdAt: string;
  updatedAt: string;
};

const row = {
  campaign: sql<CampaignRow>`group_commerce.campaign_json("group_commerce_campaigns")`,
  version: campaigns.version,
};

export const campaignById = (db: Reader, id: string) => db.select(row).from(campaigns).where(eq(campaigns.id, id));

/** A page of campaigns, newest first: `limit` rows below the id `before`. Also sorted by tenant: see `selectOrders`. */
export const campaignPage = (db: Reader, status: string | undefined, before: string | undefined, limit: number) =>
  db
    .select(row)
    .from(campaigns)
    .where(
      and(
        status === undefined ? undefined : eq(campaigns.status, status),
        before === undefined ? undefined : lt(campaigns.id, before),
      ),
    )
    .orderBy(asc(campaigns.tenantId), desc(campaigns.id))
    .limit(limit);

/** Which places of a campaign a list shows: all of them, or those of a team. */
export type PlaceFilter = { campaignId: string; teamId?: string | undefined };

/** A page of a campaign's places, newest first. If the page is empty, one row with `participant` null. */
export function participantPage(
  db: Reader,
  { campaignId, teamId }: PlaceFilter,
  before: string | undefined,
  limit: number,
) {
  // Sorted and limited inside the join. Outside of it, the planner would read and sort all places of the campaign.
  const places = db
    .select({
      participant: sql<ParticipantRow>`group_commerce.participant_json("participants")`.as('participant'),
      id: participants.id,
    })
    .from(participants)
    .where(
      and(
        eq(participants.campaignId, campaignId),
        teamId === undefined ? undefined : eq(participants.teamId, teamId),
        before === undefined ? undefined : lt(participants.id, before),
      ),
    )
    .orderBy(asc(participants.tenantId), desc(participants.id))
    .limit(limit)
    .as('places');
  return db
    .select({
      participant: sql<ParticipantRow | null>`${places.participant} || group_commerce.place_terms("group_commerce_campaigns")`,
    })
    .from(campaigns)
    .leftJoinLateral(places, sql`true`)
    .where(eq(campaigns.id, campaignId))
    .orderBy(desc(places.id));
}
