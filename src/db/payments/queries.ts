import { desc, eq, sql } from 'drizzle-orm';
import { boolean, integer, numeric, pgSchema, text, timestamp, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';

const schema = pgSchema('payments');
const money = (name: string) => numeric(name, { precision: 10, scale: 2 }).notNull();
const time = (name: string) => timestamp(name, { withTimezone: true });

/** Payments. The .sql files of this folder write them. */
export const payments = schema.table('payments', {
  paymentId: varchar('payment_id').primaryKey(),
  orderId: varchar('order_id').notNull(),
  amount: money('amount'),
  currency: varchar('currency', { length: 3 }).notNull(),
  status: varchar('status').notNull(),
  stripePaymentIntentId: varchar('stripe_payment_intent_id'),
  failureReason: text('failure_reason'),
  createdAt: time('created_at').defaultNow(),
  tenantId: varchar('tenant_id').notNull().default('default'),
  updatedAt: time('updated_at').notNull().defaultNow(),
  clientSecret: varchar('client_secret'),
  captured: money('captured').default('0'),
  refunded: money('refunded').default('0'),
  refundDone: money('refund_done').default('0'),
  refundsTold: money('refunds_told').default('0'),
  stripeStatus: varchar('stripe_status'),
  attempt: integer('attempt').notNull().default(1),
  intentOpen: boolean('intent_open').notNull().default(false),
  checkedAt: time('checked_at').notNull().defaultNow(),
  dispute: varchar('dispute'),
  stripeAccount: varchar('stripe_account'),
});

/** Refunds, full or partial. */
export const refunds = schema.table('refunds', {
  id: varchar('id').primaryKey(),
  tenantId: varchar('tenant_id').notNull(),
  paymentId: varchar('payment_id').notNull(),
  amount: money('amount'),
  currency: varchar('currency', { length: 3 }).notNull(),
  status: varchar('status').notNull(),
  reason: varchar('reason'),
  failureReason: varchar('failure_reason'),
  stripeRefundId: varchar('stripe_refund_id'),
  attempt: integer('attempt').notNull().default(1),
  checkedAt: time('checked_at').notNull(),
  createdAt: time('created_at').notNull(),
});

/** A payment as `payments.payment_json` returns it. */
export type PaymentRow = {
  id: string;
  orderId: string;
  amount: number;
  currency: string;
  status: 'pending' | 'succeeded' | 'failed' | 'cancelled' | 'refunded';
  /** Missing in answers that an earlier release stored under an Idempotency-Key. */
  amountRefunded?: number;
  dispute?: 'open' | 'won' | 'lost' | null;
  stripePaymentIntentId: string | null;
  clientSecret: string | null;
  stripeAccount?: string | null;
  failureReason: string | null;
  createdAt: string;
};

/** A PaymentIntent or SetupIntent that was made for the payment `id`, as `payments.record_intents` takes it. */
export type MadeIntent = {
  id: string;
  /** The account at Stripe that has it; null: the platform's own. */
  account: string | null;
  intentId?: string;
  setupId?: string;
  customerId?: string;
  clientSecret: string | null;
  status: string;
};

/** A refund as `payments.refund_json` returns it. */
export type RefundRow = {
  id: string;
  paymentId: string;
  amount: number;
  currency: string;
  status: 'pending' | 'succeeded' | 'failed';
  reason: string | null;
  failureReason: string | null;
  /** Missing in answers that an earlier release stored, like the next one. */
  items?: { lineId: string; quantity: number; amount: number }[];
  shipping?: number;
  createdAt: string;
};

export const paymentById = (db: Reader, id: string) =>
  db
    .select({ payment: sql<PaymentRow>`payments.payment_json("payments")` })
    .from(payments)
    .where(eq(payments.paymentId, id));

/** All refunds of a payment, newest first; they are few. A payment without refunds gives one row with `refund` null. */
export const refundsOf = (db: Reader, paymentId: string) =>
  db
    .select({
      refund: sql<RefundRow | null>`case when ${refunds.id} is not null then payments.refund_json("refunds") end`,
    })
    .from(payments)
    .leftJoin(refunds, eq(refunds.paymentId, payments.paymentId))
    .where(eq(payments.paymentId, paymentId))
    .orderBy(desc(refunds.id));
