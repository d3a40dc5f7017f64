import { defaultCell, isCellName } from '../base/cells.ts';
import type { Context } from '../context.ts';
import { isCellPaused } from '../db/cells.ts';
import { openDatabase } from '../db/client.ts';
import type { Event } from '../domain/events.ts';
import type { Settings } from '../env.ts';

/** An event as a queue has it. `cell`: where its tenant is; undefined in the default cell. */
export type QueueEvent = Event & { cell: string | undefined };

/** A message that carries an event. */
export type Delivery = Message<unknown> & { body: QueueEvent };

const tenantFormat = /^[a-z0-9][a-z0-9_-]{0,62}$/;

/** Whether a text has the format of a tenant's id. */
export const isTenant = (text: string): boolean => tenantFormat.test(text);

const isCellOrNone = (cell: unknown) => cell === undefined || (typeof cell === 'string' && isCellName(cell));

/** Whether a message's body is an event of a tenant, as the relay sends it. */
export const isEvent = (body: unknown): body is QueueEvent =>
  typeof body === 'object' &&
  body !== null &&
  (['id', 'type', 'subject', 'tenantid'] as const).every(
    (name) => name in body && typeof Reflect.get(body, name) === 'string',
  ) &&
  isTenant(Reflect.get(body, 'tenantid')) &&
  isCellOrNone(Reflect.get(body, 'cell'));

/**
 * Whether a message waits in its queue without being tried, because its cell's database did not respond a moment ago.
 */
export const isPaused = ({ body }: Pick<Message<unknown>, 'body'>): boolean => isCellPaused(cellOf(body));

/** The cell of a message's event. Everything else belongs to the default cell. */
export const cellOf = (body: unknown): string => (isEvent(body) ? (body.cell ?? defaultCell) : defaultCell);

/** The growing delay between deliveries: 2, 4, 8 s, up to `max`. */
export const delaySeconds = (attempts: number, max = 300) => Math.min(2 ** attempts, max);

/** The context of a consumer in one cell. Events that it emits inherit this event's traceparent. */
export function contextFor(settings: Settings, cell: string, event: Pick<Event, 'traceparent'> = {}): Context {
  const call = event.traceparent === undefined ? {} : { traceparent: event.traceparent };
  return { db: openDatabase(settings.cells, cell), settings, call, now: () => new Date() };
}

/** Whether the database is available. If it is, the message itself is the cause of a failure. */
export const isDatabaseAvailable = (context: Context): Promise<boolean> =>
  context.db.health().then(
    () => true,
    () => false,
  );
