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
/** Long enough for a Kafka that was away: a relay that is told to wait comes back within a minute or two. */
const patienceMs = 180_000;

/** Waits until none of the events is in the outbox any more, or until there is no progress for three minutes. */
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
  let fewest = Number.POSITIVE_INFINITY;
  let since = performance.now();
  for (;;) {
    if (signal.aborted) throw new Stopped();
    // All of the tenant's between our first and last: a few of others cost a little patience, not a lookup for each.
    const found = await client.query<{ left: number }>(
      `select count(*)::int as left from platform.outbox
       where sink = 'kafka' and tenant_id = $1 and seq between $2 and $3`,
      [tenant, first ?? 0, last ?? 0],
    );
    const left = found.rows[0]?.left ?? 0;
    if (left < fewest) {
      fewest = left;
      since = performance.now();
    }
    if (left === 0 || performance.now() - since > patienceMs) return left;
    progress.show(() => `${grouped(left)} events still to be delivered`);
    await sleep(pollMs, undefined, { signal }).catch(() => undefined);
  }
}

/** What Kafka must still have: what is older than its topic keeps, with an hour to spare, need not be there. */
function isKept({ topic, time }: AuditedEvent): boolean {
  const days = registry[topic]?.retentionDays ?? 0;
  return time > Date.now() - days * dayMs + 3_600_000;
}

/** Ids of events that were added after `events` was read: a hold that ran out while Kafka was being read. */
async function findLater({ client, tenant }: Database, ids: string[]): Promise<Set<string>> {
  const { rows } = await client.query<{ id: string }>(
    'select id from platform.events where tenant_id = $1 and id = any($2::uuid[])',
    [tenant, ids],
  );
  return new Set(rows.map((row) => row.id));
}

/**
 * Compares Kafka with the events of the orders and products: each is there, under its key, with its payload, and nothing
 * else is there for those keys. A record that was delivered twice has one ce_id, which is no difference.
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
  let again = 0;
  let gone = 0;

  const take = (record: KafkaRecord, seen: Map<string, number>, strange: Map<string, string>, check: Check): void => {
    if (!keys.has(record.key)) return;
    const id = record.headers.ce_id ?? '';
    const event = events.get(id);
    seen.set(id, (seen.get(id) ?? 0) + 1);
    if (!event) strange.set(id, record.key);
    else if (event.topic !== record.topic || event.key !== record.key)
      check.differ(`${id} is ${event.topic} of ${event.key}`);
    else if (event.digest !== digestOf(JSON.parse(record.value))) check.differ(`${id} has another payload`);
  };

  // Where there must be none, too: an order's or a product's record that no event stands for.
  const topics = Object.keys(registry).filter(
    (topic) => byTopic.has(topic) || /^(order|inventory|product)\./.test(topic),
  );
  for (const topic of topics) {
    const wanted = byTopic.get(topic) ?? [];
    const check = findings.check(`Kafka: ${topic}`);
    const seen = new Map<string, number>();
    const strange = new Map<string, string>();
    let read = 0;
    for await (const record of kafka.read(topic, partitions[topic] ?? 0)) {
      read++;
      take(record, seen, strange, check);
      progress.show(() => `${topic}: ${grouped(read)} records`);
    }
    let found = 0;
    for (const [id, event] of wanted) {
      const times = seen.get(id) ?? 0;
      if (times > 1) again += times - 1;
      if (times > 0) found++;
      else if (isKept(event)) check.differ(`${id} of ${event.key} is missing`);
      else gone++;
    }
    const later = strange.size > 0 ? await findLater(database, [...strange.keys()].filter(isUuid)) : new Set();
    for (const [id, key] of strange)
      if (!later.has(id)) check.differ(`${id || 'a record without ce_id'} of ${key} is no event`);
    const asked = wanted.filter(([id, event]) => seen.has(id) || isKept(event)).length;
    check.close(grouped(asked), grouped(found));
  }
  if (again > 0)
    findings.note(`Kafka has ${grouped(again)} records twice, with the same ce_id: at least once, as promised.`);
  if (gone > 0) findings.note(`${grouped(gone)} events are older than their topics keep records.`);
}

const isUuid = (id: string): boolean => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id);
