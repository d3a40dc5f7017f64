import { randomUUID } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { createTopics, nativeKafka } from '../../../dev/kafka-broker/topics.ts';
import { type Database, until } from '../harness.ts';

const requireVariable = (name: string): string => {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: run these tests with npm run test:kafka`);
  return value;
};

export const restUrl = requireVariable('KAFKA_TEST_REST_URL');
export const brokers = requireVariable('KAFKA_TEST_BROKERS').split(',');
export const native = nativeKafka(brokers);

/** Stops or starts the broker. Undefined if the tests did not start the broker. */
export const control =
  process.env.KAFKA_TEST_CONTROL_URL === undefined
    ? undefined
    : async (action: 'stop' | 'start') => {
        const response = await fetch(`${process.env.KAFKA_TEST_CONTROL_URL}/${action}`);
        if (!response.ok) throw new Error(await response.text());
      };

/** The Worker's variables for this Kafka. */
export const variables = { KAFKA_REST_URL: restUrl, KAFKA_REST_DIALECT: 'rest-v2', KAFKA_REST_HEADERS: 'true' };

/** Creates a topic for one test and deletes it after the test. */
export async function createTestTopic(numPartitions = 4): Promise<string> {
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

export type StoredRecord = {
  partition: number;
  offset: number;
  key: string;
  value: string;
  headers: Record<string, string>;
};

/** Reads every record of a topic with the native client, in order per partition. */
export async function readTopic(topic: string): Promise<StoredRecord[]> {
  const admin = native.admin();
  await admin.connect();
  const groupId = `test-${randomUUID()}`;
  const consumer = native.consumer({ groupId });
  try {
    const ends = (await admin.fetchTopicOffsets(topic)).filter(({ low, high }) => low !== high);
    const unread = new Map(ends.map(({ partition, high }) => [partition, Number(high)]));
    const records: StoredRecord[] = [];
    if (unread.size === 0) return records;
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
        if (Number(message.offset) + 1 >= (unread.get(partition) ?? 0)) unread.delete(partition);
      },
    });
    await until(() => unread.size === 0);
    return records;
  } finally {
    await consumer.disconnect();
    await admin.deleteGroups([groupId]).catch(() => undefined);
    await admin.disconnect();
  }
}

/** The event ids of a key in Kafka's order, without later duplicates. */
export const firstIds = (records: StoredRecord[], key: string): string[] => [
  ...new Set(records.filter((record) => record.key === key).map(({ headers }) => headers.ce_id ?? '')),
];

/** The event ids of a key in the order of the events. */
export async function eventIds(database: Database, key: string): Promise<string[]> {
  const rows = await database.query<{ id: string }>('select id from platform.events where key = $1 order by seq', [
    key,
  ]);
  return rows.map(({ id }) => id);
}

/** Runs the cron until the outbox has delivered all events for Kafka. */
export async function deliverAll(database: Database, cron: () => Promise<void>): Promise<void> {
  await until(async () => {
    const [row] = await database.query<{ n: number }>(
      `select count(*)::int as n from platform.outbox where sink = 'kafka'`,
    );
    if (row?.n === 0) return true;
    await cron();
    return false;
  });
}
