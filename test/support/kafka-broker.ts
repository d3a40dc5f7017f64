import { randomUUID } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { createTopics, nativeKafka } from '../../dev/kafka-broker/topics.ts';
import { type Database, until } from './harness.ts';

const given = (name: string): string => {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is missing: run npm run test:kafka`);
  return value;
};

export const restUrl = given('KAFKA_TEST_REST_URL');
export const brokers = given('KAFKA_TEST_BROKERS').split(',');
export const native = nativeKafka(brokers);

/** Ends or starts the broker; only where it is ours to do so. */
export const control =
  process.env.KAFKA_TEST_CONTROL_URL === undefined
    ? undefined
    : async (what: 'stop' | 'start') => {
        const response = await fetch(`${process.env.KAFKA_TEST_CONTROL_URL}/${what}`);
        if (!response.ok) throw new Error(await response.text());
      };

/** A Worker's variables for this Kafka. */
export const variables = { KAFKA_REST_URL: restUrl, KAFKA_REST_DIALECT: 'rest-v2', KAFKA_REST_HEADERS: 'true' };

/** A topic of its own, of four partitions; gone when the test has finished. */
export async function freshTopic(numPartitions = 4): Promise<string> {
  const topic = `test.${randomUUID()}`;
  const admin = native.admin();
  await admin.connect();
  await createTopics(admin, [{ topic, numPartitions, replicationFactor: 1 }]);
  onTestFinished(async () => {
    await admin.deleteTopics({ topics: [topic] });
    await admin.disconnect();
  });
  return topic;
}

export type Placed = { partition: number; offset: number; key: string; value: string; headers: Record<string, string> };

/** Every record of a topic by the native client, in the order of each partition. */
export async function readTopic(topic: string): Promise<Placed[]> {
  const admin = native.admin();
  await admin.connect();
  const groupId = `test-${randomUUID()}`;
  const consumer = native.consumer({ groupId });
  try {
    const ends = (await admin.fetchTopicOffsets(topic)).filter(({ low, high }) => low !== high);
    const left = new Map(ends.map(({ partition, high }) => [partition, Number(high)]));
    const records: Placed[] = [];
    if (left.size === 0) return records;
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        records.push({
          partition,
          offset: Number(message.offset),
          key: String(message.key),
          value: String(message.value),
          headers: Object.fromEntries(
            Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)]),
          ),
        });
        if (Number(message.offset) + 1 >= (left.get(partition) ?? 0)) left.delete(partition);
      },
    });
    await until(() => left.size === 0);
    return records;
  } finally {
    await consumer.disconnect();
    await admin.deleteGroups([groupId]).catch(() => undefined);
    await admin.disconnect();
  }
}

/** Ids of a key's records, each at its first delivery, in Kafka's order. */
export const firstIds = (records: Placed[], key: string): string[] => [
  ...new Set(records.filter((record) => record.key === key).map(({ headers }) => headers.ce_id ?? '')),
];

/** Ids of a key's events in the order in which they happened. */
export async function eventIds(database: Database, key: string): Promise<string[]> {
  const rows = await database.query<{ id: string }>('select id from platform.events where key = $1 order by seq', [
    key,
  ]);
  return rows.map(({ id }) => id);
}

/** Fires the cron until Kafka has all that the outbox held for it. */
export async function delivered(database: Database, cron: () => Promise<void>): Promise<void> {
  await until(async () => {
    const [row] = await database.query<{ n: number }>(
      `select count(*)::int as n from platform.outbox where sink = 'kafka'`,
    );
    if (row?.n === 0) return true;
    await cron();
    return false;
  });
}
