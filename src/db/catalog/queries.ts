import { and, asc, desc, eq, lt, sql } from 'drizzle-orm';
import { customType, integer, jsonb, numeric, pgSchema, text, timestamp, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';
import { inventory } from '../inventory/queries.ts';

const tsvector = customType<{ data: string }>({ dataType: () => 'tsvector' });

/** The products table. The functions in products.sql write it. */
export const products = pgSchema('catalog').table('products', {
  id: varchar('id').primaryKey(),
  sku: varchar('sku').notNull(),
  name: varchar('name').notNull(),
  description: text('description'),
  price: numeric('price', { precision: 10, scale: 2 }).notNull(),
  currency: varchar('currency', { length: 3 }).notNull(),
  tenantId: varchar('tenant_id').notNull().default('default'),
  status: varchar('status').notNull().default('active'),
  version: integer('version').notNull().default(1),
  createdAt: timestamp('created_at', { withTimezone: true }).notNull().defaultNow(),
  updatedAt: timestamp('updated_at', { withTimezone: true }).notNull().defaultNow(),
  groupId: varchar('group_id'),
  options: jsonb('options').notNull().default({}),
  slug: varchar('slug'),
  images: jsonb('images').notNull().default([]),
  weight: integer('weight'),
  taxCategory: varchar('tax_category'),
  compareAtPrice: numeric('compare_at_price', { precision: 10, scale: 2 }),
  collections: varchar('collections').array().notNull().default([]),
  metadata: jsonb('metadata').notNull().default({}),
  search: tsvector('search'),
});

/** A product as `catalog.product_json` returns it. */
export type ProductRow = {
  id: string;
  sku: string;
  name: string;
  description: string | null;
  price: number;
  currency: string;
  inventory: number;
  status: 'active' | 'archived';
  groupId: string | null;
  options: Record<string, string>;
  slug: string | null;
  images: { id: string; path: string; alt: string | null; width: number; height: number }[];
  weight: number | null;
  taxCategory: string | null;
  compareAtPrice: number | null;
  collections: string[];
  metadata: Record<string, string>;
  createdAt: string;
  updatedAt: string;
};

const row = {
  product: sql<ProductRow>`catalog.product_json("products", ${inventory.quantity})`,
  version: products.version,
};

const selectProducts = (db: Reader) =>
  db
    .select(row)
    .from(products)
    .leftJoin(inventory, and(eq(inventory.tenantId, products.tenantId), eq(inventory.sku, products.sku)));

export const productById = (db: Reader, id: string) => selectProducts(db).where(eq(products.id, id));

export const productBySku = (db: Reader, sku: string) => selectProducts(db).where(eq(products.sku, sku));

export type ProductFilter = { q?: string | undefined; currency?: string | undefined };

/** A page of products for sale, newest first: `limit` rows below the id `before`. Also sorted by tenant: see `selectOrders`. */
export function productPage(db: Reader, filter: ProductFilter, before: string | undefined, limit: number) {
  if (filter.q !== undefined) {
    // An array, so that each id is looked up. A subquery would be joined by walking all newer products.
    const found = sql`array(select catalog.search_products(${filter.q}, ${filter.currency ?? null}, ${before ?? null}, ${limit}))`;
    return selectProducts(db).where(sql`${products.id} = any(${found})`).orderBy(desc(products.id)).limit(limit);
  }
  const conditions = [
    eq(products.status, 'active'),
    filter.currency === undefined ? undefined : eq(products.currency, filter.currency),
    before === undefined ? undefined : lt(products.id, before),
  ];
  return selectProducts(db)
    .where(and(...conditions))
    .orderBy(asc(products.tenantId), desc(products.id))
    .limit(limit);
}
