import { and, asc, desc, eq, lt, sql } from 'drizzle-orm';
import { jsonb, numeric, pgSchema, timestamp, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from './client.ts';
import { reservations } from './inventory.ts';
import type { PaymentRow } from './payments.ts';

export type Line = { sku: string; quantity: number; price: number };

/** The orders' table; its writes are the functions in orders.sql. */
export const orders = pgSchema('orders').table('orders', {
  id: varchar('id').primaryKey(),
  customerId: varchar('customer_id').notNull(),
  items: jsonb('items').$type<Line[]>().notNull(),
  total: numeric('total', { precision: 10, scale: 2 }).notNull(),
  currency: varchar('currency', { length: 3 }).notNull(),
  status: varchar('status').notNull(),
  createdAt: timestamp('created_at', { withTimezone: true }).notNull().defaultNow(),
  tenantId: varchar('tenant_id').notNull().default('default'),
  organizationId: varchar('organization_id'),
  purchaseOrderNumber: varchar('purchase_order_number'),
  shippingAddress: jsonb('shipping_address'),
  campaignId: varchar('campaign_id'),
  failureReason: varchar('failure_reason'),
  updatedAt: timestamp('updated_at', { withTimezone: true }).notNull().defaultNow(),
});

/** An order as `orders.order_json` gives it; `freed` and the like are the operation's own and are not shown. */
export type OrderRow = {
  id: string;
  customerId: string;
  items: Line[];
  total: number;
  currency: string;
  status: 'created' | 'confirmed' | 'shipped' | 'delivered' | 'failed' | 'cancelled' | 'refunded';
  failureReason: string | null;
  organizationId: string | null;
  purchaseOrderNumber: string | null;
  shippingAddress: Record<string, string> | null;
  campaignId: string | null;
  reservation: { status: 'held' | 'committed' | 'released'; expiresAt: string | null } | null;
  payment: PaymentRow | null;
  shipment: Record<string, unknown> | null;
  createdAt: string;
  updatedAt: string;
};

const row = { order: sql<OrderRow>`orders.full_order_json("orders", "reservations")` };

const selectOrders = (db: Reader) =>
  db.select(row).from(orders).leftJoin(reservations, eq(reservations.orderId, orders.id));

export const orderById = (db: Reader, id: string) => selectOrders(db).where(eq(orders.id, id));

export type OrderFilter = {
  customerId?: string | undefined;
  status?: string | undefined;
  organizationId?: string | undefined;
};

/**
 * A page of orders, newest first: `most` rows below the id `before`. Sorted by the tenant too, of which there is one: the
 * primary key cannot serve that, and a walk by it would read all tenants' orders.
 */
export function orderPage(db: Reader, filter: OrderFilter, before: string | undefined, most: number) {
  return selectOrders(db)
    .where(
      and(
        filter.customerId === undefined ? undefined : eq(orders.customerId, filter.customerId),
        filter.status === undefined ? undefined : eq(orders.status, filter.status),
        filter.organizationId === undefined ? undefined : eq(orders.organizationId, filter.organizationId),
        before === undefined ? undefined : lt(orders.id, before),
      ),
    )
    .orderBy(asc(orders.tenantId), desc(orders.id))
    .limit(most);
}
