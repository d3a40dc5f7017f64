import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { ChooseFault } from '../../dev/kafka/faults.ts';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';

type SentEvent = { topic: string; key: string; id: string };

let fault: ChooseFault = () => undefined;
/** The records that Kafka accepted, in order of arrival, over all topics. */
let accepted: SentEvent[] = [];

const sentEventOf = (record: unknown): SentEvent => {
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
        const rejected = new Set(chosen?.rejectRecords?.map(({ index }) => index));
        accepted.push(...(request.records ?? []).filter((_record, index) => !rejected.has(index)).map(sentEventOf));
      }
      return chosen;
    },
  });
  // A second Worker on the same database and the same Kafka.
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

/** Random numbers from 0 to below 1, determined by the seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const byKey = (events: SentEvent[]) => {
  const keys = new Map<string, string[]>();
  for (const { key, topic, id } of events) keys.set(key, [...(keys.get(key) ?? []), `${topic} ${id}`]);
  return keys;
};

/** Places synchronous and asynchronous orders through both Workers, and cancels some of them, all concurrently. */
async function placeOrdersConcurrently(prefix: string, random: () => number, count: number): Promise<void> {
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

/** Runs both Workers’ crons until every event is delivered and no reservation is pending. */
async function relayAll(): Promise<void> {
  await until(async () => {
    await Promise.all([first.cron(), second.cron()]);
    // Rejected events wait for a retry. This test does not wait.
    await first.database.query('update platform.outbox set due_at = now() where lease is null');
    const [left] = await first.database.query<{ n: number }>(
      `select (select count(*) from platform.outbox)::int
         + (select count(*) from inventory.reservations where status = 'pending')::int as n`,
    );
    return left?.n === 0;
  });
}

/** Runs both relays until every event since `since` is in Kafka, and returns those events. */
async function publishedSince(since: string): Promise<SentEvent[]> {
  await relayAll();
  const events = await first.database.query<SentEvent>(
    'select topic, key, id::text from platform.events where seq > $1 order by seq',
    [since],
  );
  await until(async () => {
    await relayAll();
    const known = new Set(accepted.map(({ id }) => id));
    return events.every(({ id }) => known.has(id));
  });
  // Consumers may emit further events meanwhile. They are not compared.
  const emitted = new Set(events.map(({ id }) => id));
  accepted = accepted.filter(({ id }) => emitted.has(id));
  return events;
}

const lastSeq = async () => {
  const [row] = await first.database.query<{ seq: string }>('select coalesce(max(seq), 0) as seq from platform.events');
  return row?.seq ?? '0';
};

for (const seed of [1, 2, Math.floor(Math.random() * 1e9)]) {
  test(`two concurrent relays publish every event once, in order per key, even when Kafka rejects records (seed ${seed})`, async () => {
    const since = await lastSeq();
    const random = randomFrom(seed);
    accepted = [];
    fault = ({ records = [] }) => ({
      delayMs: Math.floor(random() * 30),
      rejectRecords: records.flatMap((_record, index) => (random() < 0.1 ? [{ index, status: 503 }] : [])),
    });
    await placeOrdersConcurrently(`REFUSED-${seed}`, random, 120);
    const events = await publishedSince(since);
    expect(events.length).toBeGreaterThan(240);
    expect(accepted.map(({ id }) => id).sort()).toEqual(events.map(({ id }) => id).sort());
    expect(byKey(accepted)).toEqual(byKey(events));
    // Kafka has stored the same records, topic by topic.
    const ids = new Set(events.map(({ id }) => id));
    for (const topic of new Set(events.map((event) => event.topic))) {
      const stored = [...first.kafka.read(topic)].map(sentEventOf).filter(({ id }) => ids.has(id));
      expect(byKey(stored)).toEqual(byKey(events.filter((event) => event.topic === topic)));
    }
  });
}

test('the relays of two Workers, which meet at the same key, deliver everything without the cron (seed 20261201)', async () => {
  await relayAll();
  const random = randomFrom(20_261_201);
  fault = () => ({ delayMs: Math.floor(random() * 10) });
  accepted = [];
  const { id } = await addProduct(first, 'MEETING', 1);
  await first.settled();
  const left = () => first.database.query('select from platform.outbox where key = $1', [id]);
  for (let round = 0; round < 60; round++) {
    await Promise.all(
      [first, second, first, second].map(async (store, line) => {
        await sleep(Math.floor(random() * 40));
        await store.send('PATCH', `/v1/products/${id}`, { name: `Name ${round} ${line}` }, { key: first.key });
      }),
    );
    await until(async () => (await left()).length === 0);
  }
  const events = await first.database.query<SentEvent>(
    'select topic, key, id::text from platform.events where key = $1 order by seq',
    [id],
  );
  expect(events).toHaveLength(241);
  expect(accepted.filter(({ key }) => key === id)).toEqual(events);
});

const dropSeed = Math.floor(Math.random() * 1e9);
test(`records whose response was lost are sent again, and the first arrivals of each key are in order (seed ${dropSeed})`, async () => {
  const since = await lastSeq();
  const random = randomFrom(dropSeed);
  accepted = [];
  fault = () => (random() < 0.2 ? { drop: random() < 0.5 ? 'after' : 'before' } : undefined);
  await placeOrdersConcurrently('DROPPED', random, 100);
  const events = await publishedSince(since);
  const seen = new Set<string>();
  const firstDeliveries = accepted.filter(({ id }) => !seen.has(id) && seen.add(id));
  expect(byKey(firstDeliveries)).toEqual(byKey(events));
});

test('an order cancelled during its reservation has its events in the order in which they happened', async () => {
  fault = () => undefined;
  await addProduct(first, 'RACE', 5);
  await first.settled();
  const client = new pg.Client(first.database.url);
  await client.connect();
  onTestFinished(() => client.end());
  // The test locks the row of stock. The queue’s consumer waits for that row to reserve units, and the cancellation
  // waits for the consumer.
  await client.query('begin');
  await client.query(`select 1 from inventory.inventory where sku = 'RACE' for update`);
  const { body } = await first.send('POST', '/v1/orders', oneLine('RACE'), { headers: { prefer: 'respond-async' } });
  const areWaitingForLock = async (count: number) => {
    const rows = await client.query(
      `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    );
    return rows.rows.length === count;
  };
  await until(() => areWaitingForLock(1));
  const cancellation = first.send('POST', `/v1/orders/${body.id}/cancel`);
  await until(() => areWaitingForLock(2));
  await client.query('commit');
  expect((await cancellation).body.status).toBe('cancelled');
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
