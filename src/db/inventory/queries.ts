import { and, asc, eq, gt, sql } from 'drizzle-orm';
import { integer, pgSchema, primaryKey, text, timestamp, uuid, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';

const schema = pgSchema('inventory');

/** Stock by SKU. The .sql files of this folder write it. `quantity` can be sold, `reserved` is held for orders. */
export const inventory = schema.table(
  'inventory',
  {
    sku: varchar('sku').notNull(),
    tenantId: varchar('tenant_id').notNull().default('default'),
    quantity: integer('quantity').notNull(),
    version: integer('version').notNull().default(0),
    reserved: integer('reserved').notNull().default(0),
    lowThreshold: integer('low_threshold'),
    updatedAt: timestamp('updated_at', { withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.sku, table.tenantId] })],
);

/** Holds: one row for each order. */
export const reservations = schema.table('reservations', {
  orderId: varchar('order_id').primaryKey(),
  tenantId: varchar('tenant_id').notNull(),
  skus: text('skus').array().notNull(),
  quantities: integer('quantities').array().notNull(),
  status: varchar('status').notNull(),
  expiresAt: timestamp('expires_at', { withTimezone: true }),
  createdAt: timestamp('created_at', { withTimezone: true }).notNull(),
});

/** The ledger: stock changes other than by orders, with their reasons. */
export const adjustments = schema.table('adjustments', {
  id: uuid('id').primaryKey().defaultRandom(),
  tenantId: varchar('tenant_id').notNull(),
  sku: varchar('sku').notNull(),
  delta: integer('delta').notNull(),
  reason: varchar('reason').notNull(),
  createdAt: timestamp('created_at', { withTimezone: true }).notNull(),
});

/** Stock as `inventory.stock_json` returns it. */
export type StockRow = {
  sku: string;
  quantity: number;
  reserved: number;
  version: number;
  lowStockThreshold: number | null;
  updatedAt: string;
};

const row = { stock: sql<StockRow>`inventory.stock_json("inventory")` };

export const stockBySku = (db: Reader, sku: string) => db.select(row).from(inventory).where(eq(inventory.sku, sku));

/** A page of stock, sorted by SKU: `limit` rows after the SKU `after`. (Not by age, because every sale changes a row.) */
export const stockPage = (db: Reader, after: string | undefined, limit: number) =>
  db
    .select(row)
    .from(inventory)
    .where(and(after === undefined ? undefined : gt(inventory.sku, after)))
    .orderBy(asc(inventory.tenantId), asc(inventory.sku))
    .limit(limit);
