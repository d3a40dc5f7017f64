import { randomUUID } from 'node:crypto';
import { type Admin, Kafka as Client, type EachBatchPayload, type IHeaders, logLevel } from 'kafkajs';
import { reasonOf } from './client.ts';
import { ReplayError } from './file.ts';
import type { Kafka, KafkaRecord } from './kafka.ts';

/** No record for so long is no Kafka, in milliseconds. */
const silenceMs = 60_000;

const textOf = (value: IHeaders[string]): string => String(Array.isArray(value) ? value[0] : (value ?? ''));

/** The event in a record: as it stands, or, where whoever wrote it could write no headers, out of its structured value. */
function recordOf(topic: string, message: EachBatchPayload['batch']['messages'][number]): KafkaRecord {
  const headers = Object.fromEntries(Object.entries(message.headers ?? {}).map(([key, value]) => [key, textOf(value)]));
  const record = { topic, key: String(message.key ?? ''), value: String(message.value ?? ''), headers };
  if ('ce_id' in headers || !record.value.includes('"specversion"')) return record;
  const { data, id } = JSON.parse(record.value) as { data?: unknown; id?: string };
  return { ...record, value: JSON.stringify(data), headers: { ...headers, ce_id: id ?? '' } };
}

type Part = { partition: number; last: number; records: KafkaRecord[] };

/** What a consumer is pushed, to be pulled: whoever pushes waits until it was taken. */
class Handover {
  #part: Part | undefined;
  #failure: unknown;
  #change = Promise.withResolvers<void>();

  #signal(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers<void>();
  }

  fail(error: unknown): void {
    this.#failure ??= error;
    this.#signal();
  }

  async give(part: Part): Promise<void> {
    while (this.#part !== undefined && this.#failure === undefined) await this.#change.promise;
    this.#part = part;
    this.#signal();
  }

  async take(): Promise<Part> {
    const timer = setTimeout(() => this.fail(new Error('it gives no more records')), silenceMs);
    try {
      while (this.#part === undefined) {
        if (this.#failure !== undefined) throw this.#failure;
        await this.#change.promise;
      }
      return this.#part;
    } finally {
      clearTimeout(timer);
      this.#part = undefined;
      this.#signal();
    }
  }
}

/**
 * Reads Kafka itself, from its brokers' own port and by a client that shares no code with what wrote the records. Its
 * consumer groups are deleted when they have read.
 * @throws ReplayError they are away or refuse
 */
export function connectBrokers(brokers: string[]): Kafka {
  const client = new Client({ clientId: 'replay-audit', brokers, logLevel: logLevel.NOTHING, retry: { retries: 5 } });
  const fault = (error: unknown) =>
    error instanceof ReplayError ? error : new ReplayError(`no Kafka at ${brokers.join(', ')} (${reasonOf(error)})`);

  async function asAdmin<T>(work: (admin: Admin) => Promise<T>): Promise<T> {
    const admin = client.admin();
    try {
      await admin.connect();
      return await work(admin);
    } catch (error) {
      throw fault(error);
    } finally {
      await admin.disconnect().catch(() => undefined);
    }
  }

  return {
    topics: () =>
      asAdmin(async (admin) => {
        const { topics } = await admin.fetchTopicMetadata();
        return Object.fromEntries(topics.map(({ name, partitions }) => [name, partitions.length]));
      }),
    async *read(topic, partitions) {
      if (partitions === 0) return;
      const offsets = await asAdmin((admin) => admin.fetchTopicOffsets(topic));
      const ends = new Map(
        offsets.filter(({ low, high }) => low !== high).map(({ partition, high }) => [partition, Number(high)]),
      );
      const open = new Map(ends);
      if (open.size === 0) return;
      const groupId = `replay-audit-${randomUUID()}`;
      const consumer = client.consumer({ groupId, retry: { retries: 5 } });
      const handover = new Handover();
      consumer.on(consumer.events.CRASH, ({ payload }) => handover.fail(payload.error));
      try {
        await consumer.connect();
        await consumer.subscribe({ topic, fromBeginning: true });
        await consumer.run({
          autoCommit: false,
          eachBatch: async ({ batch }) => {
            const { partition } = batch;
            const records = batch.messages.filter(({ offset }) => Number(offset) < (ends.get(partition) ?? 0));
            const last = Number(batch.lastOffset());
            await handover.give({ partition, last, records: records.map((message) => recordOf(topic, message)) });
          },
        });
        while (open.size > 0) {
          const { partition, last, records } = await handover.take();
          if (last >= (open.get(partition) ?? 0) - 1) open.delete(partition);
          yield* records;
        }
      } catch (error) {
        throw fault(error);
      } finally {
        handover.fail(new Error('it has ended'));
        await consumer.disconnect().catch(() => undefined);
        await asAdmin((admin) => admin.deleteGroups([groupId])).catch(() => undefined);
      }
    },
  };
}
