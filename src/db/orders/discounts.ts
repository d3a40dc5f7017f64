import { and, asc, desc, eq, isNull, lt, sql } from 'drizzle-orm';
import { integer, pgSchema, timestamp, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';

const schema = pgSchema('orders');

/** The discounts and the counters of their uses. The functions in discounts.sql and discount-uses.sql write them. */
export const discounts = schema.table('discounts', {
  id: varchar('id').primaryKey(),
  tenantId: varchar('tenant_id').notNull(),
  codeKey: varchar('code_key'),
  deletedAt: timestamp('deleted_at', { withTimezone: true }),
  version: integer('version').notNull(),
});

const discountCounters = schema.table('discount_counters', {
  discountId: varchar('discount_id').primaryKey(),
  used: integer('used').notNull(),
});

export type DiscountType = 'percentage' | 'amount' | 'free_shipping';

/** A discount as `orders.discount_json` returns it. */
export type DiscountRow = {
  id: string;
  code: string | null;
  name: string;
  type: DiscountType;
  value: number;
  currency: string | null;
  startsAt: string | null;
  endsAt: string | null;
  usageLimit: number | null;
  used: number | null;
  perCustomerLimit: number | null;
  minSubtotal: number | null;
  skus: string[] | null;
  collections: string[] | null;
  combinable: boolean;
  createdAt: string;
  updatedAt: string;
};

const selectDiscounts = (db: Reader) =>
  db
    .select({
      discount: sql<DiscountRow>`orders.discount_json("discounts", ${discountCounters.used})`,
      version: discounts.version,
    })
    .from(discounts)
    .leftJoin(discountCounters, eq(discountCounters.discountId, discounts.id));

export const discountById = (db: Reader, id: string) =>
  selectDiscounts(db).where(and(eq(discounts.id, id), isNull(discounts.deletedAt)));

export type DiscountFilter = { code?: string | undefined };

/** A page of discounts, newest first: `limit` rows below the id `before`. Also sorted by tenant: see `selectOrders`. */
export const discountPage = (db: Reader, filter: DiscountFilter, before: string | undefined, limit: number) =>
  selectDiscounts(db)
    .where(
      and(
        isNull(discounts.deletedAt),
        filter.code === undefined ? undefined : eq(discounts.codeKey, sql`upper(${filter.code})`),
        before === undefined ? undefined : lt(discounts.id, before),
      ),
    )
    .orderBy(asc(discounts.tenantId), desc(discounts.id))
    .limit(limit);
