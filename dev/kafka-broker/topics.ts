import { setTimeout as sleep } from 'node:timers/promises';
import { type Admin, type ITopicConfig, Kafka, logLevel } from 'kafkajs';
import { topics } from '../../src/events/topics.ts';

/** Kafka's native client. It connects to the broker directly, without the HTTP interfaces under test. */
export const nativeKafka = (brokers: string[]) =>
  new Kafka({ clientId: 'fusioncommerce-tests', brokers, logLevel: logLevel.NOTHING, retry: { retries: 8 } });

/** Creates topics and waits until each partition has a leader: the broker responds before it can accept records. */
export async function createTopics(admin: Admin, topics: ITopicConfig[]): Promise<void> {
  await admin.createTopics({ topics, waitForLeaders: false });
  const names = topics.map(({ topic }) => topic);
  for (const end = Date.now() + 60_000; names.length > 0; await sleep(100)) {
    const found = await admin.fetchTopicMetadata({ topics: names }).catch(() => ({ topics: [] }));
    const ready = found.topics.filter(({ partitions }) => partitions.every(({ leader }) => leader >= 0));
    if (ready.length === names.length) return;
    if (Date.now() > end)
      throw new Error(`These topics have partitions without a leader after 60 s: ${names.join(', ')}`);
  }
}

/** Creates the missing topics of the registry. Does not change existing topics. */
export async function createMissingTopics(brokers: string[]): Promise<void> {
  const admin = nativeKafka(brokers).admin();
  await admin.connect();
  try {
    const existing = new Set(await admin.listTopics());
    const missing = Object.entries(topics).filter(([name]) => !existing.has(name));
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
