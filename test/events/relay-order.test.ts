import pg from 'pg';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { ChooseFault } from '../../dev/kafka/faults.ts';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';

type Sent = { topic: string; key: string; id: string };

let fault: ChooseFault = () => undefined;
/** What Kafka took, in the order in which it came, over all topics. */
let taken: Sent[] = [];

const sentOf = (record: unknown): Sent => {
  const { topic, key, headers } = record as { topic: string; key: string; headers: { key: string; value: string }[] };
  return { topic, key, id: headers.find((header) => header.key === 'ce_id')?.value ?? '' };
};

let first: Store;
let second: Store;
beforeAll(async () => {
  first = await startStore({
    kafkaFault: async (request) => {
      const chosen = await fault(request);
      if (chosen?.reject === undefined && chosen?.drop !== 'before') {
        const refused = new Set(chosen?.rejectRecords?.map(({ index }) => index));
        taken.push(...(request.records ?? []).filter((_record, index) => !refused.has(index)).map(sentOf));
      }
      return chosen;
    },
  });
  // A second Worker of the same database and the same Kafka.
  second = await startStore({
    variables: {
      DATABASE_URL: first.database.workerUrl,
      NEON_HTTP_URL: first.bridge.url,
      KAFKA_REST_URL: first.kafka.url,
    },
  });
});
afterAll(async () => {
  await second?.close();
  await first?.close();
});

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const byKey = (events: Sent[]) => {
  const keys = new Map<string, string[]>();
  for (const { key, topic, id } of events) keys.set(key, [...(keys.get(key) ?? []), `${topic} ${id}`]);
  return keys;
};

/** Sends orders through both Workers, in line and for the queue, and cancels a third of them, all at once. */
async function buyAtOnce(prefix: string, random: () => number, count: number): Promise<void> {
  const skus = [1, 2, 3].map((number) => `${prefix}-${number}`);
  for (const sku of skus) await addProduct(first, sku, Math.floor(count / 2));
  await Promise.all(
    Array.from({ length: count }, async () => {
      const [store = first, other = second] = random() < 0.5 ? [first, second] : [second, first];
      const headers: Record<string, string> = random() < 0.6 ? { prefer: 'respond-async' } : {};
      const cancelled = random() < 0.4;
      const order = oneLine(skus[Math.floor(random() * skus.length)] ?? '');
      const { body } = await store.send('POST', '/v1/orders', order, { headers, key: first.key });
      if (cancelled && body.id) await other.send('POST', `/v1/orders/${body.id}/cancel`, {}, { key: first.key });
    }),
  );
}

/** Lets both Workers' crons relay until nothing is left to deliver and nothing is left to decide. */
async function drain(): Promise<void> {
  await until(async () => {
    await Promise.all([first.cron(), second.cron()]);
    // What was refused waits a while; here it need not.
    await first.database.query('update platform.outbox set due_at = now() where lease is null');
    const [left] = await first.database.query<{ n: number }>(
      `select (select count(*) from platform.outbox)::int
         + (select count(*) from inventory.reservations where status = 'pending')::int as n`,
    );
    return left?.n === 0;
  });
}

/** Lets both Workers relay until every event since this one is in Kafka, and answers those events. */
async function emitted(since: string): Promise<Sent[]> {
  await drain();
  const events = await first.database.query<Sent>(
    'select topic, key, id::text from platform.events where seq > $1 order by seq',
    [since],
  );
  await until(async () => {
    await drain();
    const known = new Set(taken.map(({ id }) => id));
    return events.every(({ id }) => known.has(id));
  });
  // Consumers go on meanwhile: what they emit after the question is not compared.
  const asked = new Set(events.map(({ id }) => id));
  taken = taken.filter(({ id }) => asked.has(id));
  return events;
}

const lastSeq = async () => {
  const [row] = await first.database.query<{ seq: string }>('select coalesce(max(seq), 0) as seq from platform.events');
  return row?.seq ?? '0';
};

for (const seed of [1, 2, Math.floor(Math.random() * 1e9)]) {
  test(`two relays at once publish every event once and in order for each key, whatever Kafka refuses (seed ${seed})`, async () => {
    const since = await lastSeq();
    const random = randomFrom(seed);
    taken = [];
    fault = ({ records = [] }) => ({
      delayMs: Math.floor(random() * 30),
      rejectRecords: records.flatMap((_record, index) => (random() < 0.1 ? [{ index, status: 503 }] : [])),
    });
    await buyAtOnce(`REFUSED-${seed}`, random, 120);
    const events = await emitted(since);
    expect(events.length).toBeGreaterThan(240);
    expect(taken.map(({ id }) => id).sort()).toEqual(events.map(({ id }) => id).sort());
    expect(byKey(taken)).toEqual(byKey(events));
    // The same as Kafka has kept it, topic by topic.
    const ids = new Set(events.map(({ id }) => id));
    for (const topic of new Set(events.map((event) => event.topic))) {
      const kept = [...first.kafka.read(topic)].map(sentOf).filter(({ id }) => ids.has(id));
      expect(byKey(kept)).toEqual(byKey(events.filter((event) => event.topic === topic)));
    }
  });
}

const seedOfDrops = Math.floor(Math.random() * 1e9);
test(`what Kafka took without an answer comes again, and each key’s events still come first in their order (seed ${seedOfDrops})`, async () => {
  const since = await lastSeq();
  const random = randomFrom(seedOfDrops);
  taken = [];
  fault = () => (random() < 0.2 ? { drop: random() < 0.5 ? 'after' : 'before' } : undefined);
  await buyAtOnce('DROPPED', random, 100);
  const events = await emitted(since);
  const seen = new Set<string>();
  const firsts = taken.filter(({ id }) => !seen.has(id) && seen.add(id));
  expect(byKey(firsts)).toEqual(byKey(events));
});

test('an order that is cancelled while its stock is being taken has its events in the order of what happened', async () => {
  fault = () => undefined;
  await addProduct(first, 'RACE', 5);
  await first.settled();
  const client = new pg.Client(first.database.url);
  await client.connect();
  onTestFinished(() => client.end());
  // Somebody holds the stock's row: the queue's reservation has begun and waits for it, the cancellation for that one.
  await client.query('begin');
  await client.query(`select 1 from inventory.inventory where sku = 'RACE' for update`);
  const { body } = await first.send('POST', '/v1/orders', oneLine('RACE'), { headers: { prefer: 'respond-async' } });
  const waiting = async (count: number) => {
    const rows = await client.query(
      `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    );
    return rows.rows.length === count;
  };
  await until(() => waiting(1));
  const cancelling = first.send('POST', `/v1/orders/${body.id}/cancel`);
  await until(() => waiting(2));
  await client.query('commit');
  expect((await cancelling).body.status).toBe('cancelled');
  const topics = await first.database.query<{ topic: string }>(
    'select topic from platform.events where key = $1 order by seq',
    [body.id],
  );
  expect(topics.map(({ topic }) => topic)).toEqual([
    'order.created',
    'inventory.reserved',
    'order.cancelled',
    'inventory.released',
  ]);
});
