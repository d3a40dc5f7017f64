import { asc, desc, eq, lt, sql } from 'drizzle-orm';
import { integer, pgSchema, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';

/** The shipping options. The functions in shipping-options.sql write them. */
export const shippingOptions = pgSchema('orders').table('shipping_options', {
  id: varchar('id').primaryKey(),
  tenantId: varchar('tenant_id').notNull(),
  version: integer('version').notNull(),
});

/** A shipping option as `orders.shipping_option_json` returns it. */
export type ShippingOptionRow = {
  id: string;
  name: string;
  countries: string[];
  currency: string;
  price: number;
  freeFrom: number | null;
  minWeight: number | null;
  maxWeight: number | null;
  minDays: number | null;
  maxDays: number | null;
  taxCategory: string | null;
  createdAt: string;
  updatedAt: string;
};

const row = {
  option: sql<ShippingOptionRow>`orders.shipping_option_json("shipping_options")`,
  version: shippingOptions.version,
};

export const shippingOptionById = (db: Reader, id: string) =>
  db.select(row).from(shippingOptions).where(eq(shippingOptions.id, id));

/** A page of options, newest first: `limit` rows below the id `before`. Also sorted by tenant: see `selectOrders`. */
export const shippingOptionPage = (db: Reader, before: string | undefined, limit: number) =>
  db
    .select(row)
    .from(shippingOptions)
    .where(before === undefined ? undefined : lt(shippingOptions.id, before))
    .orderBy(asc(shippingOptions.tenantId), desc(shippingOptions.id))
    .limit(limit);
