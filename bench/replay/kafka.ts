import { reasonOf } from './client.ts';
import { ReplayError } from './file.ts';

/** A record as Kafka has it. */
export type KafkaRecord = { topic: string; key: string; value: string; headers: Record<string, string> };

export type Kafka = {
  /** How many partitions each topic has. */
  topics: () => Promise<Record<string, number>>;
  /** Every record of a topic that was there when the reading began and that retention has left. */
  read: (topic: string, partitions: number) => AsyncGenerator<KafkaRecord>;
};

type Position = { topic: string; partition: number; offset: number };
type Message = Position & { key: string; value: string; headers: { key: string; value: string }[] };

const deadlineMs = 30_000;

/**
 * Reads Kafka by Upstash's REST protocol, of which `fetch` names its own offsets: no consumer group is left behind.
 * @throws ReplayError it is away or refuses
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
      throw new ReplayError(`no Kafka at ${options.url} (${reasonOf(error)}): name it with --kafka-url`);
    }
    if (!response.ok) {
      throw new ReplayError(`Kafka at ${options.url} answers /${path} with ${response.status}: ${text.slice(0, 200)}`);
    }
    return JSON.parse(text) as T;
  }

  return {
    topics: () => call<Record<string, number>>('topics'),
    async *read(topic, partitions) {
      if (partitions === 0) return;
      const all = Array.from({ length: partitions }, (_, partition) => ({ topic, partition }));
      const ends = await call<Position[]>('offsets/latest', all);
      const starts = await call<Position[]>('offsets/earliest', all);
      const end = new Map(ends.map(({ partition, offset }) => [partition, offset]));
      const next = new Map(starts.map(({ partition, offset }) => [partition, offset]));
      for (;;) {
        const open = [...next].filter(([partition, offset]) => offset < (end.get(partition) ?? 0));
        if (open.length === 0) return;
        const topicPartitionOffsets = open.map(([partition, offset]) => ({ topic, partition, offset }));
        const messages = await call<Message[]>('fetch', { topicPartitionOffsets, timeout: 5_000 });
        if (messages.length === 0) throw new ReplayError(`Kafka at ${options.url} gives no more of ${topic}`);
        for (const { partition, offset, key, value, headers } of messages) {
          next.set(partition, Math.max(next.get(partition) ?? 0, offset + 1));
          if (offset >= (end.get(partition) ?? 0)) continue;
          yield { topic, key, value, headers: Object.fromEntries(headers.map((header) => [header.key, header.value])) };
        }
      }
    },
  };
}
