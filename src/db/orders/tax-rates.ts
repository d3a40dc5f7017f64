import { and, asc, desc, eq, lt, sql } from 'drizzle-orm';
import { integer, pgSchema, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';

/** The tax rates. The functions in tax-rates.sql write them. */
export const taxRates = pgSchema('orders').table('tax_rates', {
  id: varchar('id').primaryKey(),
  tenantId: varchar('tenant_id').notNull(),
  country: varchar('country').notNull(),
  version: integer('version').notNull(),
});

/** A tax rate as `orders.tax_rate_json` returns it. */
export type TaxRateRow = {
  id: string;
  name: string;
  country: string;
  region: string | null;
  category: string | null;
  rate: number;
  createdAt: string;
  updatedAt: string;
};

const row = { taxRate: sql<TaxRateRow>`orders.tax_rate_json("tax_rates")`, version: taxRates.version };

export const taxRateById = (db: Reader, id: string) => db.select(row).from(taxRates).where(eq(taxRates.id, id));

export type TaxRateFilter = { country?: string | undefined };

/** A page of tax rates, newest first: `limit` rows below the id `before`. Also sorted by tenant: see `selectOrders`. */
export const taxRatePage = (db: Reader, filter: TaxRateFilter, before: string | undefined, limit: number) =>
  db
    .select(row)
    .from(taxRates)
    .where(
      and(
        filter.country === undefined ? undefined : eq(taxRates.country, filter.country),
        before === undefined ? undefined : lt(taxRates.id, before),
      ),
    )
    .orderBy(asc(taxRates.tenantId), desc(taxRates.id))
    .limit(limit);
