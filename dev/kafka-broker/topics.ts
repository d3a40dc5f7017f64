import { setTimeout as sleep } from 'node:timers/promises';
import { type Admin, type ITopicConfig, Kafka, logLevel } from 'kafkajs';
import { topics } from '../../src/events/topics.ts';

/** Kafka's native client: none of our code, and none of the HTTP interfaces, is between it and the broker. */
export const nativeKafka = (brokers: string[]) =>
  new Kafka({ clientId: 'fusioncommerce-tests', brokers, logLevel: logLevel.NOTHING, retry: { retries: 8 } });

/** Makes topics, and waits until each partition can be written: a broker answers before it knows of them itself. */
export async function createTopics(admin: Admin, topics: ITopicConfig[]): Promise<void> {
  await admin.createTopics({ topics, waitForLeaders: false });
  const names = topics.map(({ topic }) => topic);
  for (const end = Date.now() + 60_000; names.length > 0; await sleep(100)) {
    const found = await admin.fetchTopicMetadata({ topics: names }).catch(() => ({ topics: [] }));
    const led = found.topics.filter(({ partitions }) => partitions.every(({ leader }) => leader >= 0));
    if (led.length === names.length) return;
    if (Date.now() > end) throw new Error(`Kafka does not lead these topics: ${names.join(', ')}`);
  }
}

/** Makes the registry's topics where they are missing; those that are there stay as they are. */
export async function makeTopics(brokers: string[]): Promise<void> {
  const admin = nativeKafka(brokers).admin();
  await admin.connect();
  try {
    const there = new Set(await admin.listTopics());
    const missing = Object.entries(topics).filter(([name]) => !there.has(name));
    await createTopics(
      admin,
      missing.map(([topic, { partitions, retentionDays }]) => ({
        topic,
        numPartitions: partitions,
        replicationFactor: 1,
        configEntries: [{ name: 'retention.ms', value: String(retentionDays * 86_400_000) }],
      })),
    );
  } finally {
    await admin.disconnect();
  }
}
