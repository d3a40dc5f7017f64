import { asc, desc, eq, sql } from 'drizzle-orm';
import { pgSchema, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';
import type { RefundRow } from '../payments/queries.ts';
import { orders } from './queries.ts';

/** The returns. The functions in returns.sql write them. */
const returns = pgSchema('orders').table('returns', {
  id: varchar('id').primaryKey(),
  tenantId: varchar('tenant_id').notNull(),
  orderId: varchar('order_id').notNull(),
});

/** A return as `orders.return_json` returns it. */
export type ReturnRow = {
  id: string;
  orderId: string;
  status: 'requested' | 'received' | 'refunded' | 'cancelled';
  items: { lineId: string; quantity: number; restock: boolean; received: number | null }[];
  reason: string | null;
  refund: RefundRow | null;
  createdAt: string;
  receivedAt: string | null;
  updatedAt: string;
};

const refund = sql`orders.refund_of_return("returns") as "refund"`;

export const returnById = (db: Reader, id: string) =>
  db
    .select({ found: sql<ReturnRow>`orders.return_json("returns", "refund")` })
    .from(returns)
    .leftJoinLateral(refund, sql`true`)
    .where(eq(returns.id, id));

/** All returns of an order, newest first; they are few. An order without returns gives one row with `found` null. */
export const returnsOf = (db: Reader, orderId: string) =>
  db
    .select({
      found: sql<ReturnRow | null>`case when ${returns.id} is not null then orders.return_json("returns", "refund") end`,
    })
    .from(orders)
    .leftJoin(returns, eq(returns.orderId, orders.id))
    .leftJoinLateral(refund, sql`true`)
    .where(eq(orders.id, orderId))
    .orderBy(asc(orders.tenantId), desc(returns.id));
