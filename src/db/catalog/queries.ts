import { and, eq, sql } from 'drizzle-orm';
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

/** What a list of products shows, and in which order. */
export type ProductFilter = {
  q?: string | undefined;
  /** The id or the slug of a collection. */
  collection?: string | undefined;
  status?: 'active' | 'archived' | 'all' | undefined;
  inStock?: boolean | undefined;
  minPrice?: number | undefined;
  maxPrice?: number | undefined;
  currency?: string | undefined;
  ids?: string[] | undefined;
  view?: 'products' | 'groups' | undefined;
  sort?: 'newest' | 'price' | '-price' | 'name' | undefined;
  facets?: ('options' | 'price')[] | undefined;
};

/** A row of `view: 'groups'`: a group with its first product, or a product without a group. */
export type GroupRow = {
  group: { id: string; name: string; slug: string | null; options: string[] } | null;
  product: ProductRow;
  variants: number;
  minPrice: number;
  maxPrice: number;
  currency: string;
  inStock: boolean;
  images: ProductRow['images'];
};

type PriceFacet = {
  currency: string;
  min: number;
  max: number;
  count: number;
  ranges: { from: number; to: number; count: number }[];
};

export type FacetsRow = {
  complete: boolean;
  options?: Record<string, { value: string; count: number }[]>;
  price?: PriceFacet[];
};

/** `next`: the key to continue after. A page may have fewer rows than `limit`, and still a next one. */
export type ListedPage = { rows: (ProductRow | GroupRow)[]; next: string[] | null; facets: FacetsRow | null };

/** A page of products after the key `after`. See src/db/catalog/lists.sql. */
export function productPage(db: Reader, filter: ProductFilter, after: string[] | undefined, limit: number) {
  const input = JSON.stringify({ status: 'active', view: 'products', sort: 'newest', ...filter, after, limit });
  return db.select({ page: sql<ListedPage>`"page"` }).from(sql`catalog.list_products(${input}::jsonb) as "page"`);
}
