import { reasonOf } from './client.ts';
import { ReplayError } from './file.ts';

/** A record of a Kafka topic. */
export type KafkaRecord = { topic: string; key: string; value: string; headers: Record<string, string> };

export type Kafka = {
  /** The number of partitions of each topic. */
  topics: () => Promise<Record<string, number>>;
  /** Every record of a topic that existed when the reading began and that retention has not deleted. */
  read: (topic: string, partitions: number) => AsyncGenerator<KafkaRecord>;
};

type Position = { topic: string; partition: number; offset: number };
type Message = Position & { key: string; value: string; headers: { key: string; value: string }[] };

const deadlineMs = 30_000;

/**
 * Reads Kafka by Upstash's REST protocol. `fetch` requests take explicit offsets, so no consumer group is created.
 * @throws ReplayError if Kafka is unavailable or rejects a request
 */
export function connectKafka(options: { url: string; username: string; password: string }): Kafka {
  const authorization = `Basic ${Buffer.from(`${options.username}:${options.password}`).toString('base64')}`;

  async function call<T>(path: string, body?: unknown): Promise<T> {
    let response: Response;
    let text: string;
    try {
      response = await fetch(`${options.url}/${path}`, {
        method: body === undefined ? 'GET' : 'POST',
        headers: { authorization, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(deadlineMs),
      });
      text = await response.text();
    } catch (error) {
      throw new ReplayError(`no Kafka at ${options.url} (${reasonOf(error)}): give its address with --kafka-url`);
    }
    if (!response.ok) {
      throw new ReplayError(`Kafka at ${options.url} returned ${response.status} for /${path}: ${text.slice(0, 200)}`);
    }
    return JSON.parse(text) as T;
  }

  return {
    topics: () => call<Record<string, number>>('topics'),
    async *read(topic, partitions) {
      if (partitions === 0) return;
      const allPartitions = Array.from({ length: partitions }, (_, partition) => ({ topic, partition }));
      const ends = await call<Position[]>('offsets/latest', allPartitions);
      const starts = await call<Position[]>('offsets/earliest', allPartitions);
      const end = new Map(ends.map(({ partition, offset }) => [partition, offset]));
      const next = new Map(starts.map(({ partition, offset }) => [partition, offset]));
      for (;;) {
        const open = [...next].filter(([partition, offset]) => offset < (end.get(partition) ?? 0));
        if (open.length === 0) return;
        const topicPartitionOffsets = open.map(([partition, offset]) => ({ topic, partition, offset }));
        const messages = await call<Message[]>('fetch', { topicPartitionOffsets, timeout: 5_000 });
        if (messages.length === 0)
          throw new ReplayError(
            `Kafka at ${options.url} returned no more records of ${topic} before the end of the topic`,
          );
        for (const { partition, offset, key, value, headers } of messages) {
          next.set(partition, Math.max(next.get(partition) ?? 0, offset + 1));
          if (offset >= (end.get(partition) ?? 0)) continue;
          yield { topic, key, value, headers: Object.fromEntries(headers.map((header) => [header.key, header.value])) };
        }
      }
    },
  };
}
