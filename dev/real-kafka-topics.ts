import { Kafka, logLevel } from 'kafkajs';
import { topics } from '../src/events.ts';

/** Kafka's native client: none of our code, and none of the HTTP interfaces, is between it and the broker. */
export const nativeKafka = (brokers: string[]) =>
  new Kafka({ clientId: 'fusioncommerce-tests', brokers, logLevel: logLevel.NOTHING, retry: { retries: 8 } });

/** Makes the registry's topics where they are missing; those that are there stay as they are. */
export async function makeTopics(brokers: string[]): Promise<void> {
  const admin = nativeKafka(brokers).admin();
  await admin.connect();
  try {
    const there = new Set(await admin.listTopics());
    const missing = Object.entries(topics).filter(([name]) => !there.has(name));
    await admin.createTopics({
      topics: missing.map(([topic, { partitions, retentionDays }]) => ({
        topic,
        numPartitions: partitions,
        replicationFactor: 1,
        configEntries: [{ name: 'retention.ms', value: String(retentionDays * 86_400_000) }],
      })),
      waitForLeaders: true,
    });
  } finally {
    await admin.disconnect();
  }
}
