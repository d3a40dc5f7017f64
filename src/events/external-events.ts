import { ApiError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { describe, log } from '../base/log.ts';
import type { Context } from '../context.ts';
import type { Event } from '../domain/events.ts';
import { ageFault } from '../domain/inbox-age.ts';
import type { Bindings, Settings } from '../env.ts';
import { nobody, storable } from './dead-letters.ts';
import { inbound } from './external-event.ts';
import { readPush } from './kafka/consume/push.ts';
import { type CloudEvent, describeFaults, type Incoming, readCloudEvent } from './kafka/consume/read-events.ts';
import { selectConsumer } from './kafka/consume/select.ts';
import { ownSource } from './kafka/publish/deliver.ts';
import { databaseAnswers, isTenant } from './message.ts';
import { sendToQueue } from './queues.ts';
import type { Service } from './topics.ts';

/** A poll waits so long for records (milliseconds): a broker's interface answers in between, so that nobody times out. */
const pollMs = 5_000;
/** As much of a record as a dead letter keeps, in characters. */
const mostKept = 20_000;

/** What became of records: given to the queues, our own that came back, kept as dead letters. */
export type Taken = { taken: number; own: number; refused: number };

type Fault = { fault: string; tenant?: string; event?: CloudEvent };
type Verdict = { service: Service; message: Event } | 'own' | Fault;

/** For whom an event of outside speaks: one of those who may be named, or the only one who could be. */
function tenantOf(event: CloudEvent, tenants: string[]): string | undefined {
  const only = tenants.length === 1 && tenants[0] !== '*' ? tenants[0] : undefined;
  const named = event.tenantid ?? only;
  if (named === undefined || !isTenant(named)) return undefined;
  return tenants.includes('*') || tenants.includes(named) ? named : undefined;
}

/** By topic, who may be named in it: its own tenant if it has one, else those of `KAFKA_CONSUME_TENANTS`. */
function tenantsByTopic({ KAFKA_CONSUME: entries, KAFKA_CONSUME_TENANTS: all }: Settings): Map<string, string[]> {
  return new Map(
    entries.map((entry) => {
      const [topic = entry, tenant] = entry.split('=');
      return [topic, tenant === undefined ? all : [tenant]];
    }),
  );
}

/**
 * What is to be done about a record. Our own events that come back are left alone: the outbox brings them to our queues
 * without fail. For the others the id is unique within its source only, and so it gets its tenant and its source: nobody
 * outside can use up an id of ours in the inbox.
 */
function judge(incoming: Incoming, now: Date): Verdict {
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
  const known = Object.hasOwn(inbound, event.type) ? inbound[event.type] : undefined;
  if (!known) return { event, tenant, fault: `${event.type} is not taken from outside.` };
  const data = known.payload.safeParse(event.data);
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
    subject: String(payload[known.key]),
    sequence: '',
    ...(event.traceparent === undefined ? {} : { traceparent: event.traceparent }),
    data: event.time === undefined ? { ...payload, undated: true } : payload,
  };
  return { service: known.consumer, message };
}

const letterOf = ({ tenants: _trusted, ...incoming }: Incoming, { fault, tenant, event }: Fault) => ({
  id: newId(new Date()),
  tenant: tenant ?? nobody,
  sink: 'outside',
  eventId: incoming.place,
  topic: event?.type ?? '',
  key: event?.subject ?? '',
  seq: null,
  message: { ...incoming, value: incoming.value?.slice(0, mostKept) ?? null },
  reason: fault,
  attempts: 1,
});
type Letter = ReturnType<typeof letterOf>;

/**
 * Keeps letters in one call. If the database refuses them and is there, each is kept alone; one that it refuses for its
 * content is kept without that, so that it stops no record behind it: its place says where Kafka has it.
 */
async function keepLetters(context: Context, letters: Letter[]): Promise<void> {
  const keep = (messages: object[]) =>
    context.db.run('platform.keep_dead_letters', context.call, { messages: storable(messages) });
  try {
    await keep(letters);
  } catch (error) {
    if (!(await databaseAnswers(context))) throw error;
    if (letters.length > 1) {
      for (const letter of letters) await keepLetters(context, [letter]);
      return;
    }
    const [letter] = letters;
    if (!letter) return;
    const place = { ...letter, topic: '', key: '', message: { place: letter.eventId } };
    const outcome = await keep([{ ...place, reason: `${letter.reason} Its content cannot be stored.` }]).then(
      () => 'dead_letter',
      () => 'not_kept',
    );
    const line = { kind: 'message' as const, id: letter.eventId, tenant: letter.tenant, outcome };
    log({ ...line, durationMs: 0, dbCalls: context.db.usage.calls, ...describe(error) });
  }
}

/**
 * Takes in what others say: events that our services act upon go to their queues, in their order; what cannot be taken
 * becomes a dead letter, so that it stops nothing behind it. Once this has returned, queues and database have all of it,
 * and it may be forgotten outside; if it throws, it may be delivered again, and nothing is applied twice.
 */
export async function takeIn(context: Context, env: Bindings, records: Incoming[]): Promise<Taken> {
  const messages = new Map<Service, Event[]>();
  const letters: Letter[] = [];
  const counts: Taken = { taken: 0, own: 0, refused: 0 };
  for (const incoming of records) {
    const verdict = judge(incoming, context.now());
    if (verdict === 'own') counts.own++;
    else if ('fault' in verdict) {
      counts.refused++;
      letters.push(letterOf(incoming, verdict));
    } else {
      counts.taken++;
      const its = messages.get(verdict.service);
      if (its) its.push(verdict.message);
      else messages.set(verdict.service, [verdict.message]);
    }
  }
  for (const [service, events] of messages) {
    await sendToQueue(env, service, events).catch((error: unknown) => {
      const reason = error instanceof Error ? error.name : 'error';
      throw new ApiError('unavailable', `The ${service} queue did not accept: ${reason}.`);
    });
  }
  if (letters.length > 0) await keepLetters(context, letters);
  return counts;
}

/** Takes in what a connector has pushed, as `takeIn` does. @throws ApiError unavailable */
export const takePush = async (context: Context, env: Bindings, headers: Headers, body: string): Promise<Taken> =>
  takeIn(context, env, readPush(headers, body, context.settings.KAFKA_CONSUME_TENANTS));

/**
 * One turn of the bridge from Kafka to our queues, `KAFKA_CONSUME_SECONDS` long: offsets are committed once the queues
 * have accepted, never before. A turn that dies is followed by another one that gets the same records again. Two turns at
 * once share the partitions.
 * @throws KafkaUnavailable
 */
export async function consumeKafka(context: Context, env: Bindings): Promise<Taken> {
  const counts: Taken = { taken: 0, own: 0, refused: 0 };
  const until = Date.now() + context.settings.KAFKA_CONSUME_SECONDS * 1000;
  const tenants = tenantsByTopic(context.settings);
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
      const { taken, own, refused } = await takeIn(context, env, incoming);
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
