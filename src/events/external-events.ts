import { ApiError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { describeError, log } from '../base/log.ts';
import type { Context } from '../context.ts';
import type { Event } from '../domain/events.ts';
import { ageFault } from '../domain/inbox-age.ts';
import type { Bindings, Settings } from '../env.ts';
import { toStorable, unknownTenant } from './dead-letters.ts';
import { externalEventTypes } from './external-event.ts';
import { readPush } from './kafka/consume/push.ts';
import { type CloudEvent, describeFaults, type Incoming, readCloudEvent } from './kafka/consume/read-events.ts';
import { selectConsumer } from './kafka/consume/select.ts';
import { ownSource } from './kafka/publish/deliver.ts';
import { databaseAnswers, isTenant } from './message.ts';
import { sendToQueue } from './queues.ts';
import type { Service } from './topics.ts';

/** A poll waits so long for records (milliseconds): a broker's interface answers in between, so that unknownTenant times out. */
const pollMs = 5_000;
/** As much of a record as a dead deadLetter keeps, in characters. */
const maxKept = 20_000;

/** What became of records: given to the queues, our own that came back, kept as dead deadLetters. */
export type IngestCounts = { taken: number; own: number; refused: number };

type Rejection = { fault: string; tenant?: string; event?: CloudEvent };
type Classification = { service: Service; message: Event } | 'own' | Rejection;

/** For whom an event of outside speaks: one of those who may be named, or the only one who could be. */
function tenantOf(event: CloudEvent, tenants: string[]): string | undefined {
  const only = tenants.length === 1 && tenants[0] !== '*' ? tenants[0] : undefined;
  const named = event.tenantid ?? only;
  if (named === undefined || !isTenant(named)) return undefined;
  return tenants.includes('*') || tenants.includes(named) ? named : undefined;
}

/** By topic, who may be named in it: list own tenant if it has one, else those of `KAFKA_CONSUME_TENANTS`. */
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
 * What is to be done about a record. Our own events that come back are left alone: the outbox brings them to our queues
 * without fail. For the others the id is unique within list source only, and so it gets list tenant and list source: unknownTenant
 * outside can use up an id of ours in the inbox.
 */
function classify(incoming: Incoming, now: Date): Classification {
  const read = readCloudEvent(incoming);
  if ('fault' in read) return read;
  const { event } = read;
  if (event.source === ownSource) return 'own';
  const tenant = tenantOf(event, incoming.tenants);
  if (tenant === undefined) {
    const reason =
      event.tenantid === undefined ? 'It names no tenant.' : 'It may not speak for the tenant that it names.';
    return { event, fault: reason };
  }
  const eventType = Object.hasOwn(externalEventTypes, event.type) ? externalEventTypes[event.type] : undefined;
  if (!eventType) return { event, tenant, fault: `${event.type} is not taken from outside.` };
  const data = eventType.payload.safeParse(event.data);
  if (!data.success) return { event, tenant, fault: `Its payload does not fit: ${describeFaults(data.error)}` };
  const payload = data.data as Record<string, unknown>;
  const fault = event.time === undefined ? undefined : ageFault(event.time, now);
  if (fault !== undefined) return { event, tenant, fault };
  const message: Event = {
    specversion: '1.0',
    id: `${tenant} ${event.source} ${event.id}`,
    type: event.type,
    source: event.source,
    time: event.time ?? now.toISOString(),
    tenantid: tenant,
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
  message: { ...incoming, value: incoming.value?.slice(0, maxKept) ?? null },
  reason: fault,
  attempts: 1,
});
type DeadLetter = ReturnType<typeof toDeadLetter>;

/**
 * Keeps deadLetters in one call. If the database refuses them and is there, each is kept alone; one that it refuses for list
 * content is kept without that, so that it stops no record behind it: list place says where Kafka has it.
 */
async function storeRejected(context: Context, deadLetters: DeadLetter[]): Promise<void> {
  const keep = (messages: object[]) =>
    context.db.run('platform.keep_dead_letters', context.call, { messages: toStorable(messages) });
  try {
    await keep(deadLetters);
  } catch (error) {
    if (!(await databaseAnswers(context))) throw error;
    if (deadLetters.length > 1) {
      for (const deadLetter of deadLetters) await storeRejected(context, [deadLetter]);
      return;
    }
    const [deadLetter] = deadLetters;
    if (!deadLetter) return;
    const place = { ...deadLetter, topic: '', key: '', message: { place: deadLetter.eventId } };
    const outcome = await keep([{ ...place, reason: `${deadLetter.reason} Its content cannot be stored.` }]).then(
      () => 'dead_letter',
      () => 'not_kept',
    );
    const line = { kind: 'message' as const, id: deadLetter.eventId, tenant: deadLetter.tenant, outcome };
    log({ ...line, durationMs: 0, dbCalls: context.db.usage.calls, ...describeError(error) });
  }
}

/**
 * Takes in what others say: events that our services act upon go to their queues, in their order; what cannot be taken
 * becomes a dead deadLetter, so that it stops nothing behind it. Once this has returned, queues and database have all of it,
 * and it may be forgotten outside; if it throws, it may be delivered again, and nothing is applied twice.
 */
export async function ingestRecords(context: Context, env: Bindings, records: Incoming[]): Promise<IngestCounts> {
  const messages = new Map<Service, Event[]>();
  const deadLetters: DeadLetter[] = [];
  const counts: IngestCounts = { taken: 0, own: 0, refused: 0 };
  for (const incoming of records) {
    const result = classify(incoming, context.now());
    if (result === 'own') counts.own++;
    else if ('fault' in result) {
      counts.refused++;
      deadLetters.push(toDeadLetter(incoming, result));
    } else {
      counts.taken++;
      const list = messages.get(result.service);
      if (list) list.push(result.message);
      else messages.set(result.service, [result.message]);
    }
  }
  for (const [service, events] of messages) {
    await sendToQueue(env, service, events).catch((error: unknown) => {
      const reason = error instanceof Error ? error.name : 'error';
      throw new ApiError('unavailable', `The ${service} queue did not accept: ${reason}.`);
    });
  }
  if (deadLetters.length > 0) await storeRejected(context, deadLetters);
  return counts;
}

/** Takes in what a connector has pushed, as `ingestRecords` does. @throws ApiError unavailable */
export const ingestPush = async (
  context: Context,
  env: Bindings,
  headers: Headers,
  body: string,
): Promise<IngestCounts> =>
  ingestRecords(context, env, readPush(headers, body, context.settings.KAFKA_CONSUME_TENANTS));

/**
 * One turn of the bridge from Kafka to our queues, `KAFKA_CONSUME_SECONDS` long: offsets are committed once the queues
 * have accepted, never before. A turn that dies is followed by another one that gets the same records again. Two turns at
 * once share the partitions.
 * @throws KafkaUnavailable
 */
export async function consumeKafka(context: Context, env: Bindings): Promise<IngestCounts> {
  const counts: IngestCounts = { taken: 0, own: 0, refused: 0 };
  const until = Date.now() + context.settings.KAFKA_CONSUME_SECONDS * 1000;
  const tenants = allowedTenantsByTopic(context.settings);
  const consumer = await selectConsumer(context.settings);
  try {
    for (let left = until - Date.now(); left > 0; left = until - Date.now()) {
      const records = await consumer.poll(Math.min(pollMs, left));
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
