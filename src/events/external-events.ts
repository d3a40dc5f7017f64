import { cellAttribute, defaultCell } from '../base/cells.ts';
import { ApiError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { describeError, log } from '../base/log.ts';
import { type Context, inCell } from '../context.ts';
import type { Cells } from '../db/cells.ts';
import { ageFault } from '../domain/inbox-age.ts';
import type { Bindings, Settings } from '../env.ts';
import { toStorable, unknownTenant } from './dead-letters.ts';
import { externalEventTypes } from './external-event.ts';
import { readPush } from './kafka/consume/push.ts';
import { type CloudEvent, describeFaults, type Incoming, readCloudEvent } from './kafka/consume/read-events.ts';
import { selectConsumer } from './kafka/consume/select.ts';
import { ownSource } from './kafka/publish/deliver.ts';
import { isDatabaseAvailable, isTenant, type QueueEvent } from './message.ts';
import { sendToQueue } from './queues.ts';
import type { Service } from './topics.ts';

/** How long a poll waits for records, in milliseconds. Short enough that the broker's interface does not time out. */
const pollMs = 5_000;
/** How much of a record a dead letter stores, in characters. */
const maxStoredCharacters = 20_000;

/** How many records were sent to the queues (`taken`), were our own (`own`) or became dead letters (`refused`). */
export type IngestCounts = { taken: number; own: number; refused: number };

type Rejection = { fault: string; tenant?: string; cell?: string; event?: CloudEvent };
type Classification = { service: Service; message: QueueEvent } | 'own' | Rejection;

/** Splits `tenant` or `tenant@cell`. */
function parseTenant(text: string): { tenant: string; cell: string } {
  const [tenant = '', cell = defaultCell] = text.split('@');
  return { tenant, cell };
}

/**
 * The tenant of an external event and its cell: the tenant that the event names, if that is allowed, or the only
 * allowed tenant. An event without a `cell` may mean a tenant of any cell, if only one of them is allowed.
 */
function ownerOf(event: CloudEvent, allowed: string[], cells: Cells): { tenant: string; cell: string } | undefined {
  const tenants = allowed.filter((entry) => entry !== '*').map(parseTenant);
  const isAnyAllowed = tenants.length < allowed.length;
  const [only, ...others] = isAnyAllowed ? [] : tenants;
  const { tenantid, cell } = event;
  if (tenantid === undefined) return others.length === 0 && only && isTenant(only.tenant) ? only : undefined;
  const named = tenants.filter((each) => each.tenant === tenantid && (cell === undefined || each.cell === cell));
  const owner = (named.length === 1 && named[0]) || { tenant: tenantid, cell: cell ?? defaultCell };
  if (!isTenant(tenantid) || !cells.has(owner.cell)) return undefined;
  return isAnyAllowed || named.some((each) => each.cell === owner.cell) ? owner : undefined;
}

/** The tenants that events of each topic may name: the topic's own, or those of `KAFKA_CONSUME_TENANTS`. */
function allowedTenantsByTopic({
  KAFKA_CONSUME: entries,
  KAFKA_CONSUME_TENANTS: all,
}: Settings): Map<string, string[]> {
  return new Map(
    entries.map((entry) => {
      const [topic = entry, tenant] = entry.split('=');
      return [topic, tenant === undefined ? all : [tenant]];
    }),
  );
}

/**
 * Decides what to do with a record. Our own events are ignored, because the outbox delivers them to our queues. The id
 * of an external event is unique only within its source, so it is prefixed with its tenant and source: no external
 * event can use up one of our ids in the inbox.
 */
function classify(incoming: Incoming, cells: Cells, now: Date): Classification {
  const read = readCloudEvent(incoming);
  if ('fault' in read) return read;
  const { event } = read;
  if (event.source === ownSource) return 'own';
  const owner = ownerOf(event, incoming.tenants, cells);
  if (owner === undefined) {
    const reason =
      event.tenantid === undefined ? 'It names no tenant.' : 'It may not be sent for the tenant that it names.';
    return { event, fault: reason };
  }
  const { tenant, cell } = owner;
  const eventType = Object.hasOwn(externalEventTypes, event.type) ? externalEventTypes[event.type] : undefined;
  if (!eventType) return { event, ...owner, fault: `${event.type} is not an external event type.` };
  const data = eventType.payload.safeParse(event.data);
  if (!data.success) return { event, ...owner, fault: `Its payload is invalid: ${describeFaults(data.error)}` };
  const payload = data.data as Record<string, unknown>;
  const fault = event.time === undefined ? undefined : ageFault(event.time, now);
  if (fault !== undefined) return { event, ...owner, fault };
  const message: QueueEvent = {
    specversion: '1.0',
    id: `${tenant} ${event.source} ${event.id}`,
    type: event.type,
    source: event.source,
    time: event.time ?? now.toISOString(),
    tenantid: tenant,
    cell: cellAttribute(cell),
    subject: String(payload[eventType.key]),
    sequence: '',
    ...(event.traceparent === undefined ? {} : { traceparent: event.traceparent }),
    data: event.time === undefined ? { ...payload, undated: true } : payload,
  };
  return { service: eventType.consumer, message };
}

const toDeadLetter = ({ tenants: _trusted, ...incoming }: Incoming, { fault, tenant, event }: Rejection) => ({
  id: newId(new Date()),
  tenant: tenant ?? unknownTenant,
  sink: 'outside',
  eventId: incoming.place,
  topic: event?.type ?? '',
  key: event?.subject ?? '',
  seq: null,
  message: { ...incoming, value: incoming.value?.slice(0, maxStoredCharacters) ?? null },
  reason: fault,
  attempts: 1,
});
type DeadLetter = ReturnType<typeof toDeadLetter>;

/**
 * Stores dead letters in one call. If the database is available and rejects them, each is stored alone. One whose
 * content cannot be stored is stored without it and blocks no later record: `place` says where Kafka has it.
 */
async function storeRejected(context: Context, deadLetters: DeadLetter[]): Promise<void> {
  const store = (messages: object[]) =>
    context.db.run('platform.keep_dead_letters', context.call, { messages: toStorable(messages) });
  try {
    await store(deadLetters);
  } catch (error) {
    if (!(await isDatabaseAvailable(context))) throw error;
    if (deadLetters.length > 1) {
      for (const deadLetter of deadLetters) await storeRejected(context, [deadLetter]);
      return;
    }
    const [deadLetter] = deadLetters;
    if (!deadLetter) return;
    const withoutContent = { ...deadLetter, topic: '', key: '', message: { place: deadLetter.eventId } };
    const outcome = await store([
      { ...withoutContent, reason: `${deadLetter.reason} Its content cannot be stored.` },
    ]).then(
      () => 'dead_letter',
      () => 'not_kept',
    );
    const line = { kind: 'message' as const, id: deadLetter.eventId, tenant: deadLetter.tenant, outcome };
    log({ ...line, durationMs: 0, dbCalls: context.db.usage.calls, ...describeError(error) });
  }
}

/**
 * Stores dead letters in the cell of their tenants. If its database is unavailable, stores them in the default cell
 * without a tenant, so that one cell's database does not stop the reading of a topic for all cells.
 */
async function storeInCell(context: Context, cell: string, deadLetters: DeadLetter[]): Promise<void> {
  if (cell === defaultCell) return storeRejected(inCell(context, cell), deadLetters);
  try {
    await storeRejected(inCell(context, cell), deadLetters);
  } catch (error) {
    if (!(error instanceof ApiError && error.code === 'unavailable')) throw error;
    const withoutTenant = deadLetters.map(({ tenant, reason, ...rest }) => ({
      ...{ ...rest, tenant: unknownTenant },
      reason: `${reason} Its tenant is ${tenant} in the cell ${cell}, whose database is unavailable.`,
    }));
    await storeRejected(inCell(context, defaultCell), withoutTenant);
  }
}

/**
 * Ingests external records: events that our services consume go to their queues, in order, and the others become dead
 * letters. When this returns, the queues and the database have all of them, and the sender may forget them. If it
 * throws, the records may be sent again, and nothing is applied twice.
 * @throws ApiError unavailable
 */
export async function ingestRecords(context: Context, env: Bindings, records: Incoming[]): Promise<IngestCounts> {
  const messages = new Map<Service, QueueEvent[]>();
  const rejected = new Map<string, DeadLetter[]>();
  const counts: IngestCounts = { taken: 0, own: 0, refused: 0 };
  for (const incoming of records) {
    const result = classify(incoming, context.settings.cells, context.now());
    if (result === 'own') counts.own++;
    else if ('fault' in result) {
      counts.refused++;
      const cell = result.cell ?? defaultCell;
      rejected.set(cell, [...(rejected.get(cell) ?? []), toDeadLetter(incoming, result)]);
    } else {
      counts.taken++;
      const serviceMessages = messages.get(result.service);
      if (serviceMessages) serviceMessages.push(result.message);
      else messages.set(result.service, [result.message]);
    }
  }
  for (const [service, events] of messages) {
    await sendToQueue(env, service, events).catch((error: unknown) => {
      const reason = error instanceof Error ? error.name : 'error';
      throw new ApiError('unavailable', `The ${service} queue did not accept the events: ${reason}.`);
    });
  }
  for (const [cell, deadLetters] of rejected) await storeInCell(context, cell, deadLetters);
  return counts;
}

/** Ingests what a connector has pushed, like `ingestRecords`. @throws ApiError unavailable */
export const ingestPush = async (
  context: Context,
  env: Bindings,
  headers: Headers,
  body: string,
): Promise<IngestCounts> =>
  ingestRecords(context, env, readPush(headers, body, context.settings.KAFKA_CONSUME_TENANTS));

/**
 * Reads from Kafka for `KAFKA_CONSUME_SECONDS` and sends the events to our queues. Offsets are committed only after the
 * queues have accepted the events. If a run dies, the next one gets the same records. Two runs at once share the
 * partitions.
 * @throws KafkaUnavailable
 */
export async function consumeKafka(context: Context, env: Bindings): Promise<IngestCounts> {
  const counts: IngestCounts = { taken: 0, own: 0, refused: 0 };
  const until = Date.now() + context.settings.KAFKA_CONSUME_SECONDS * 1000;
  const tenants = allowedTenantsByTopic(context.settings);
  const consumer = await selectConsumer(context.settings);
  try {
    for (let msLeft = until - Date.now(); msLeft > 0; msLeft = until - Date.now()) {
      const records = await consumer.poll(Math.min(pollMs, msLeft));
      if (records.length === 0) continue;
      const incoming = records.map(({ topic, partition, offset, value, headers }) => ({
        place: `${topic}/${partition}/${offset}`,
        value,
        headers,
        tenants: tenants.get(topic) ?? [],
      }));
      const { taken, own, refused } = await ingestRecords(context, env, incoming);
      await consumer.commit();
      counts.taken += taken;
      counts.own += own;
      counts.refused += refused;
    }
  } finally {
    await consumer.close();
  }
  return counts;
}
