import { asc, desc, eq, lt, sql } from 'drizzle-orm';
import { integer, pgSchema, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';
import type { ProductRow } from './queries.ts';

/** The columns that reads name. The functions in product-groups.sql write the table. */
const productGroups = pgSchema('catalog').table('product_groups', {
  id: varchar('id').primaryKey(),
  tenantId: varchar('tenant_id').notNull(),
  slug: varchar('slug'),
  version: integer('version').notNull(),
});

/** A product group as `catalog.product_group_json` returns it. */
export type ProductGroupRow = {
  id: string;
  name: string;
  description: string | null;
  slug: string | null;
  options: string[];
  metadata: Record<string, string>;
  createdAt: string;
  updatedAt: string;
};

const group = sql<ProductGroupRow>`catalog.product_group_json("product_groups")`;

const selectGroups = (db: Reader) =>
  db
    .select({
      group,
      products: sql<ProductRow[]>`catalog.products_of_group(${productGroups.id})`,
      version: productGroups.version,
    })
    .from(productGroups);

export const productGroupById = (db: Reader, id: string) => selectGroups(db).where(eq(productGroups.id, id));

export const productGroupBySlug = (db: Reader, slug: string) => selectGroups(db).where(eq(productGroups.slug, slug));

/** A page of groups without their products, newest first. Also sorted by tenant: see `selectOrders`. */
export const productGroupPage = (db: Reader, before: string | undefined, limit: number) =>
  db
    .select({ group })
    .from(productGroups)
    .where(before === undefined ? undefined : lt(productGroups.id, before))
    .orderBy(asc(productGroups.tenantId), desc(productGroups.id))
    .limit(limit);
