import { and, asc, desc, eq, lt, sql } from 'drizzle-orm';
import { integer, pgSchema, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';

/** The customers. The functions in customers.sql write them. */
export const customers = pgSchema('orders').table('customers', {
  id: varchar('id').primaryKey(),
  tenantId: varchar('tenant_id').notNull(),
  emailKey: varchar('email_key').notNull(),
  version: integer('version').notNull(),
});

/** A customer as `orders.customer_json` returns it. */
export type CustomerRow = {
  id: string;
  email: string;
  name: string | null;
  phone: string | null;
  addresses: ({ id: string } & Record<string, string>)[];
  group: string | null;
  metadata: Record<string, string>;
  vatNumber: string | null;
  vatStatus: 'pending' | 'valid' | 'invalid' | null;
  createdAt: string;
  updatedAt: string;
};

const row = { customer: sql<CustomerRow>`orders.customer_json("customers")`, version: customers.version };

export const customerById = (db: Reader, id: string) => db.select(row).from(customers).where(eq(customers.id, id));

export type CustomerFilter = { email?: string | undefined };

/** A page of customers, newest first: `limit` rows below the id `before`. Also sorted by tenant: see `selectOrders`. */
export const customerPage = (db: Reader, filter: CustomerFilter, before: string | undefined, limit: number) =>
  db
    .select(row)
    .from(customers)
    .where(
      and(
        filter.email === undefined ? undefined : eq(customers.emailKey, sql`lower(${filter.email})`),
        before === undefined ? undefined : lt(customers.id, before),
      ),
    )
    .orderBy(asc(customers.tenantId), desc(customers.id))
    .limit(limit);
