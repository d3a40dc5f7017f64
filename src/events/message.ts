import type { Context } from '../context.ts';
import { openDatabase } from '../db/client.ts';
import type { Event } from '../domain/events.ts';
import type { Settings } from '../env.ts';

/** A message that carries an event. */
export type Delivery = Message<unknown> & { body: Event };

const tenantForm = /^[a-z0-9][a-z0-9_-]{0,62}$/;

/** Whether a text has the form of a tenant's id. */
export const isTenant = (text: string): boolean => tenantForm.test(text);

/** Whether a message's body is an event of some tenant, as the relay sends it. */
export const isEvent = (body: unknown): body is Event =>
  typeof body === 'object' &&
  body !== null &&
  (['id', 'type', 'subject', 'tenantid'] as const).every(
    (name) => name in body && typeof Reflect.get(body, name) === 'string',
  ) &&
  isTenant(Reflect.get(body, 'tenantid'));

/** Growing waits between deliveries: 2, 4, 8 s … `most`. */
export const delaySeconds = (attempts: number, most = 300) => Math.min(2 ** attempts, most);

/** What a consumer is given; its events have this one's traceparent unless it says otherwise. */
export function contextFor(settings: Settings, event: Pick<Event, 'traceparent'> = {}): Context {
  const call = event.traceparent === undefined ? {} : { traceparent: event.traceparent };
  return { db: openDatabase(settings), settings, call, now: () => new Date() };
}

/** Whether the database answers at all; what failed is else not the message's fault. */
export const databaseAnswers = (context: Context): Promise<boolean> =>
  context.db.health().then(
    () => true,
    () => false,
  );
