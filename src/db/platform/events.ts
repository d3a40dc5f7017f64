import { and, asc, desc, eq, gt, inArray, isNull, lt, sql } from 'drizzle-orm';
import { bigint, integer, jsonb, pgSchema, text, timestamp, uuid, varchar } from 'drizzle-orm/pg-core';
import type { Reader } from '../client.ts';

const platform = pgSchema('platform');

/** Every event ever published; written by `platform.emit` alone. */
export const events = platform.table('events', {
  tenantId: varchar('tenant_id').notNull(),
  seq: bigint('seq', { mode: 'number' }).notNull().generatedAlwaysAsIdentity(),
  id: uuid('id').notNull().defaultRandom(),
  topic: varchar('topic').notNull(),
  key: varchar('key').notNull(),
  payload: jsonb('payload').notNull(),
  traceparent: varchar('traceparent'),
  time: timestamp('time', { withTimezone: true }).notNull(),
});

/** Messages that could not be delivered or applied, and rows that a job has set aside. */
export const deadLetters = platform.table('dead_letters', {
  id: varchar('id').primaryKey(),
  tenantId: varchar('tenant_id').notNull(),
  sink: varchar('sink').notNull(),
  eventId: varchar('event_id').notNull(),
  topic: varchar('topic').notNull(),
  key: varchar('key').notNull(),
  seq: bigint('seq', { mode: 'number' }),
  message: jsonb('message').notNull(),
  reason: text('reason').notNull(),
  attempts: integer('attempts').notNull(),
  createdAt: timestamp('created_at', { withTimezone: true }).notNull(),
  replayedAt: timestamp('replayed_at', { withTimezone: true }),
});

/** An event as `platform.envelope` returns it: CloudEvents 1.0, structured. */
export type EventRow = {
  specversion: '1.0';
  id: string;
  type: string;
  source: string;
  time: string;
  tenantid: string;
  subject: string;
  sequence: string;
  traceparent?: string;
  data: unknown;
};

export type DeadLetterRow = {
  id: string;
  sink: string;
  eventId: string;
  topic: string;
  key: string;
  message: Record<string, unknown>;
  reason: string;
  attempts: number;
  createdAt: string;
  replayedAt: string | null;
};

const row = { event: sql<EventRow>`platform.envelope("events")`, seq: events.seq };

export type EventFilter = { topic?: string | undefined; key?: string | undefined };

/** A page of events, newest first: `limit` rows below the sequence number `before`. */
export const eventPage = (db: Reader, filter: EventFilter, before: number | undefined, limit: number) =>
  db
    .select(row)
    .from(events)
    .where(
      and(
        filter.topic === undefined ? undefined : eq(events.topic, filter.topic),
        filter.key === undefined ? undefined : eq(events.key, filter.key),
        before === undefined ? undefined : lt(events.seq, before),
      ),
    )
    .orderBy(desc(events.tenantId), desc(events.seq))
    .limit(limit);

/**
 * An order's history, oldest first: the events under its own key and its payments' keys, after the sequence number
 * `after`. Every order has an order.created event, so an empty first page means that there is no such order.
 */
export const orderHistory = (db: Reader, orderId: string, after: number | undefined, limit: number) =>
  db
    .select(row)
    .from(events)
    .where(
      and(
        inArray(
          events.key,
          sql`(select ${orderId} union all select payment_id from payments.payments where order_id = ${orderId})`,
        ),
        after === undefined ? undefined : gt(events.seq, after),
      ),
    )
    .orderBy(asc(events.tenantId), asc(events.seq))
    .limit(limit);

/** A page of dead letters, newest first; `open` leaves out replayed ones. */
export const deadLetterPage = (db: Reader, open: boolean, before: string | undefined, limit: number) =>
  db
    .select({ deadLetter: sql<DeadLetterRow>`platform.letter_json("dead_letters")` })
    .from(deadLetters)
    .where(
      and(
        open ? isNull(deadLetters.replayedAt) : undefined,
        before === undefined ? undefined : lt(deadLetters.id, before),
      ),
    )
    .orderBy(desc(deadLetters.tenantId), desc(deadLetters.id))
    .limit(limit);
