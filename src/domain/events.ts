import * as z from 'zod';
import { id, time } from '../base/fields.ts';
import type { Context } from '../context.ts';
import {
  type DeadLetterRow,
  deadLetterPage,
  type EventFilter,
  type EventRow,
  eventPage,
} from '../db/platform/events.ts';

/** An event as a queue delivers it to a consumer: CloudEvents 1.0, structured mode. `subject` is the record's key. */
export type Event = Omit<EventRow, 'data'> & { data?: unknown; dataref?: string };

export const event = z
  .object({
    specversion: z.literal('1.0'),
    id,
    type: z.string().meta({ description: 'The topic' }),
    source: z.string(),
    time,
    tenantid: z.string(),
    subject: z.string().meta({ description: "The record's key" }),
    sequence: z.string(),
    traceparent: z.string().optional(),
    data: z.unknown(),
  })
  .meta({ id: 'Event', description: 'CloudEvents 1.0' });

export const deadLetter = z
  .object({
    id,
    sink: z
      .string()
      .meta({ description: '`kafka`, the consuming service, or `outside` for an event that an external system sent' }),
    eventId: z.string(),
    topic: z.string(),
    key: z.string(),
    message: z.record(z.string(), z.unknown()),
    reason: z.string(),
    attempts: z.number().int(),
    createdAt: time,
    replayedAt: time.nullable(),
  })
  .meta({ id: 'DeadLetter' });

/** The input that a consumer's SQL function takes for an event about an order. */
export const toMessage = (event: Event) => ({
  eventId: event.id,
  orderId: event.subject,
  traceparent: event.traceparent,
});

/** Puts the fields in the order of the CloudEvents specification's examples. jsonb has its own order. */
export const toEvent = (row: EventRow): z.infer<typeof event> => ({
  specversion: row.specversion,
  id: row.id,
  type: row.type,
  source: row.source,
  time: row.time,
  tenantid: row.tenantid,
  subject: row.subject,
  sequence: row.sequence,
  ...(row.traceparent === undefined ? {} : { traceparent: row.traceparent }),
  data: row.data,
});

export const toDeadLetter = (row: DeadLetterRow): z.infer<typeof deadLetter> => ({
  id: row.id,
  sink: row.sink,
  eventId: row.eventId,
  topic: row.topic,
  key: row.key,
  message: row.message,
  reason: row.reason,
  attempts: row.attempts,
  createdAt: row.createdAt,
  replayedAt: row.replayedAt,
});

/** Events of the caller's tenant, newest first. */
export async function listEvents(context: Context, filter: EventFilter, before: number | undefined, limit: number) {
  const { rows } = await context.db.read(context.call, 'events:read', (db) => eventPage(db, filter, before, limit));
  return rows.map((row) => ({ event: toEvent(row.event), seq: row.seq }));
}

/** Dead letters, newest first. `open`: only those that were not replayed. */
export async function listDeadLetters(context: Context, open: boolean, before: string | undefined, limit: number) {
  const { rows } = await context.db.read(context.call, 'events:read', (db) => deadLetterPage(db, open, before, limit));
  return rows.map((row) => toDeadLetter(row.deadLetter));
}

/**
 * Delivers a dead letter again through the outbox. Its consumer applies it once, because its inbox has not recorded it.
 * @throws ApiError not_found, conflict (the message is not an event of this system)
 */
export async function replayDeadLetter(context: Context, deadLetterId: string) {
  const { answer, tenant, replayed } = await context.db.run<{
    tenant: string;
    answer: DeadLetterRow;
    replayed: boolean;
  }>('platform.replay_dead_letter', context.call, { id: deadLetterId });
  return { deadLetter: toDeadLetter(answer), tenant, replayed };
}
