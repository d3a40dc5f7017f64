import { and, asc, desc, eq, lt, type SQL, sql } from 'drizzle-orm';
import { jsonb, numeric, pgSchema, timestamp, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';
import { reservations } from '../inventory/queries.ts';
import type { PaymentRow, RefundRow } from '../payments/queries.ts';
import type { ShipmentRow } from '../shipping/queries.ts';

export type Line = { sku: string; quantity: number; price: number };

/** The orders table. The functions in orders.sql, states.sql and confirm.sql write it. */
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

/** An order as `orders.order_json` returns it. Extra fields that an operation adds, such as `freed`, are not shown. */
/** The amounts that a line froze when its order was placed. */
type FrozenLine = { id: string; name: string | null; subtotal: number; discount: number; tax: number; total: number };

/** The fields of an order that a plain order does not have. */
type OrderDetails = {
  cartId: string | null;
  source: { channel: string; id?: string } | null;
  email: string | null;
  metadata: Record<string, string> | null;
  billingAddress: Record<string, string> | null;
  subtotal: number | null;
  discountTotal: number | null;
  shippingTotal: number | null;
  shippingTax: number | null;
  taxTotal: number | null;
  taxIncluded: boolean | null;
  taxLines: { name: string; rate: number; taxable: number; amount: number }[] | null;
  discounts:
    | { id: string; code?: string; name: string; amount: number; allocations: { lineId: string; amount: number }[] }[]
    | null;
  shippingOption: { id: string; name: string } | null;
  lines: FrozenLine[] | null;
  refundedQuantities: number[] | null;
  fulfilledQuantities: number[] | null;
};

export type OrderRow = Partial<OrderDetails> & {
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
  shipment: ShipmentRow | null;
  /** Absent if it has just been placed. */
  shipments?: ShipmentRow[];
  /** Absent if there are none. */
  refunds?: RefundRow[];
  createdAt: string;
  updatedAt: string;
};

/** Orders as a read shows them. Holds, payments, shipments and refunds are looked up only for the chosen orders. */
function selectOrders(db: Reader, where: SQL | undefined, limit: number) {
  const chosen = db
    .select({ id: orders.id, row: sql`"orders"`.as('row') })
    .from(orders)
    .where(where)
    // Also sorted by tenant, although all rows have the same one. Otherwise the planner would walk the primary key and
    // read the orders of all tenants.
    .orderBy(asc(orders.tenantId), desc(orders.id))
    .limit(limit)
    .as('chosen');
  const order = sql<OrderRow>`orders.order_json(${chosen.row}, orders.hold_json("reservations"), "payment",
     "shipment".latest) || jsonb_build_object('shipments', "shipment".every) || coalesce("refunds", '{}')`;
  return db
    .select({ order })
    .from(chosen)
    .leftJoin(reservations, eq(reservations.orderId, chosen.id))
    .leftJoinLateral(sql`orders.payment_of(${chosen.id}) as "payment"`, sql`true`)
    .leftJoinLateral(sql`orders.shipments_of(${chosen.id}) as "shipment"`, sql`true`)
    .leftJoinLateral(sql`orders.refunds_of(${chosen.id}) as "refunds"`, sql`true`)
    .orderBy(desc(chosen.id));
}

export const orderById = (db: Reader, id: string) => selectOrders(db, eq(orders.id, id), 1);

export type OrderFilter = {
  customerId?: string | undefined;
  status?: string | undefined;
  organizationId?: string | undefined;
};

/** A page of orders, newest first: `limit` rows below the id `before`. */
export function orderPage(db: Reader, filter: OrderFilter, before: string | undefined, limit: number) {
  const where = and(
    filter.customerId === undefined ? undefined : eq(orders.customerId, filter.customerId),
    filter.status === undefined ? undefined : eq(orders.status, filter.status),
    filter.organizationId === undefined ? undefined : eq(orders.organizationId, filter.organizationId),
    before === undefined ? undefined : lt(orders.id, before),
  );
  return selectOrders(db, where, limit);
}
