import type { Context } from '../context.ts';
import { openDatabase } from '../db/client.ts';
import type { Event } from '../domain/events.ts';
import type { Settings } from '../env.ts';

/** A message that carries an event. */
export type Delivery = Message<unknown> & { body: Event };

const tenantFormat = /^[a-z0-9][a-z0-9_-]{0,62}$/;

/** Whether a text has the format of a tenant's id. */
export const isTenant = (text: string): boolean => tenantFormat.test(text);

/** Whether a message's body is an event of a tenant, as the relay sends it. */
export const isEvent = (body: unknown): body is Event =>
  typeof body === 'object' &&
  body !== null &&
  (['id', 'type', 'subject', 'tenantid'] as const).every(
    (name) => name in body && typeof Reflect.get(body, name) === 'string',
  ) &&
  isTenant(Reflect.get(body, 'tenantid'));

/** The growing delay between deliveries: 2, 4, 8 s, up to `max`. */
export const delaySeconds = (attempts: number, max = 300) => Math.min(2 ** attempts, max);

/** The context of a consumer. Events that it emits inherit this event's traceparent. */
export function contextFor(settings: Settings, event: Pick<Event, 'traceparent'> = {}): Context {
  const call = event.traceparent === undefined ? {} : { traceparent: event.traceparent };
  return { db: openDatabase(settings), settings, call, now: () => new Date() };
}

/** Whether the database is available. If it is, the message itself is the cause of a failure. */
export const isDatabaseAvailable = (context: Context): Promise<boolean> =>
  context.db.health().then(
    () => true,
    () => false,
  );
