import { setTimeout as sleep } from 'node:timers/promises';
import { topics as registry } from '../../../src/events/topics.ts';
import { Stopped } from '../client.ts';
import type { Database } from '../database.ts';
import type { Kafka, KafkaRecord } from '../kafka.ts';
import { grouped, type Progress } from '../progress.ts';
import { digestOf } from './compare.ts';
import type { Check, Findings } from './findings.ts';
import type { AuditedEvent } from './orders.ts';

const dayMs = 24 * 3600 * 1000;
const pollMs = 500;
/** Long enough for a Kafka that was unavailable: a paused relay retries within one or two minutes. */
const maxStallMs = 180_000;

/**
 * Waits until the outbox has none of the events, or until nothing was delivered for three minutes. Resolves with the
 * rest.
 */
export async function awaitOutbox(
  { client, tenant }: Database,
  events: Map<string, AuditedEvent>,
  progress: Progress,
  signal: AbortSignal,
): Promise<number> {
  const { rows } = await client.query<{ first: string; last: string }>(
    'select min(seq) as first, max(seq) as last from platform.events where tenant_id = $1 and id = any($2::uuid[])',
    [tenant, [...events.keys()]],
  );
  const { first, last } = rows[0] ?? {};
  let fewestLeft = Number.POSITIVE_INFINITY;
  let lastProgress = performance.now();
  for (;;) {
    if (signal.aborted) throw new Stopped();
    // Counts all events of the tenant between the first and the last of ours, which is faster than a lookup of each.
    const found = await client.query<{ left: number }>(
      `select count(*)::int as left from platform.outbox
       where sink = 'kafka' and tenant_id = $1 and seq between $2 and $3`,
      [tenant, first ?? 0, last ?? 0],
    );
    const left = found.rows[0]?.left ?? 0;
    if (left < fewestLeft) {
      fewestLeft = left;
      lastProgress = performance.now();
    }
    if (left === 0 || performance.now() - lastProgress > maxStallMs) return left;
    progress.show(() => `${grouped(left)} events still to be delivered`);
    await sleep(pollMs, undefined, { signal }).catch(() => undefined);
  }
}

/** Whether Kafka must still have the event: it is at least an hour younger than the retention of its topic. */
function isKept({ topic, time }: AuditedEvent): boolean {
  const days = registry[topic]?.retentionDays ?? 0;
  return time > Date.now() - days * dayMs + 3_600_000;
}

/** Ids that are events in the database now. Events are added during the audit, for example when a hold expires. */
async function findLater({ client, tenant }: Database, ids: string[]): Promise<Set<string>> {
  const { rows } = await client.query<{ id: string }>(
    'select id from platform.events where tenant_id = $1 and id = any($2::uuid[])',
    [tenant, ids],
  );
  return new Set(rows.map((row) => row.id));
}

/**
 * Compares Kafka with the events of the orders and products. Each event must be in its topic with its key and payload,
 * and these keys must have no other records. Duplicates with the same ce_id are allowed, since delivery is at least
 * once.
 */
export async function auditKafka(
  database: Database,
  kafka: Kafka,
  events: Map<string, AuditedEvent>,
  findings: Findings,
  progress: Progress,
): Promise<void> {
  const keys = new Set([...events.values()].map((event) => event.key));
  const byTopic = Map.groupBy(events, ([, event]) => event.topic);
  const partitions = await kafka.topics();
  let duplicates = 0;
  let expired = 0;

  const compareRecord = (
    record: KafkaRecord,
    seen: Map<string, number>,
    unknown: Map<string, string>,
    check: Check,
  ): void => {
    if (!keys.has(record.key)) return;
    const id = record.headers.ce_id ?? '';
    const event = events.get(id);
    seen.set(id, (seen.get(id) ?? 0) + 1);
    if (!event) unknown.set(id, record.key);
    else if (event.topic !== record.topic || event.key !== record.key)
      check.differ(`${id} is an event of ${event.topic} with the key ${event.key}`);
    else if (event.digest !== digestOf(JSON.parse(record.value))) check.differ(`${id} has another payload`);
  };

  // Also reads topics without expected events, to find records of these orders and products that are no events.
  const topics = Object.keys(registry).filter(
    (topic) => byTopic.has(topic) || /^(order|inventory|product)\./.test(topic),
  );
  for (const topic of topics) {
    const wanted = byTopic.get(topic) ?? [];
    const check = findings.check(`Kafka: ${topic}`);
    const seen = new Map<string, number>();
    const unknown = new Map<string, string>();
    let read = 0;
    for await (const record of kafka.read(topic, partitions[topic] ?? 0)) {
      read++;
      compareRecord(record, seen, unknown, check);
      progress.show(() => `${topic}: ${grouped(read)} records`);
    }
    let found = 0;
    for (const [id, event] of wanted) {
      const times = seen.get(id) ?? 0;
      if (times > 1) duplicates += times - 1;
      if (times > 0) found++;
      else if (isKept(event)) check.differ(`${id} of ${event.key} is missing`);
      else expired++;
    }
    const later = unknown.size > 0 ? await findLater(database, [...unknown.keys()].filter(isUuid)) : new Set();
    for (const [id, key] of unknown)
      if (!later.has(id)) check.differ(`${id || 'a record without ce_id'} of ${key} is not an event in the database`);
    const expected = wanted.filter(([id, event]) => seen.has(id) || isKept(event)).length;
    check.close(grouped(expected), grouped(found));
  }
  if (duplicates > 0)
    findings.note(
      `Kafka has ${grouped(duplicates)} duplicate records with the same ce_id, as at-least-once delivery allows.`,
    );
  if (expired > 0) findings.note(`${grouped(expired)} events are older than the retention of their topics.`);
}

const isUuid = (id: string): boolean => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id);
