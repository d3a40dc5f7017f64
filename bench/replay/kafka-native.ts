import { randomUUID } from 'node:crypto';
import { type Admin, Kafka as Client, type EachBatchPayload, type IHeaders, logLevel } from 'kafkajs';
import { reasonOf } from './client.ts';
import { ReplayError } from './file.ts';
import type { Kafka, KafkaRecord } from './kafka.ts';

/** Kafka counts as unavailable if no record arrives for this time. */
const timeoutMs = 60_000;

const textOf = (value: IHeaders[string]): string => String(Array.isArray(value) ? value[0] : (value ?? ''));

/**
 * The event of a record. A writer without headers sends structured CloudEvents, which are unwrapped into value and
 * ce_id.
 */
function recordOf(topic: string, message: EachBatchPayload['batch']['messages'][number]): KafkaRecord {
  const headers = Object.fromEntries(Object.entries(message.headers ?? {}).map(([key, value]) => [key, textOf(value)]));
  const record = { topic, key: String(message.key ?? ''), value: String(message.value ?? ''), headers };
  if ('ce_id' in headers || !record.value.includes('"specversion"')) return record;
  const { data, id } = JSON.parse(record.value) as { data?: unknown; id?: string };
  return { ...record, value: JSON.stringify(data), headers: { ...headers, ce_id: id ?? '' } };
}

type Batch = { partition: number; last: number; records: KafkaRecord[] };

/**
 * Hands batches from a consumer, which pushes, to a generator, which pulls. `give` waits until the last batch was
 * taken.
 */
class BatchHandover {
  #batch: Batch | undefined;
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

  async give(batch: Batch): Promise<void> {
    while (this.#batch !== undefined && this.#failure === undefined) await this.#change.promise;
    this.#batch = batch;
    this.#signal();
  }

  async take(): Promise<Batch> {
    const timer = setTimeout(() => this.fail(new Error(`no record for ${timeoutMs / 1000} s`)), timeoutMs);
    try {
      while (this.#batch === undefined) {
        if (this.#failure !== undefined) throw this.#failure;
        await this.#change.promise;
      }
      return this.#batch;
    } finally {
      clearTimeout(timer);
      this.#batch = undefined;
      this.#signal();
    }
  }
}

/**
 * Reads Kafka from its brokers with kafkajs, a client that shares no code with the Worker's. Its consumer groups are
 * deleted after reading.
 * @throws ReplayError if the brokers are unavailable or reject a request
 */
export function connectBrokers(brokers: string[]): Kafka {
  const client = new Client({ clientId: 'replay-audit', brokers, logLevel: logLevel.NOTHING, retry: { retries: 5 } });
  const toReplayError = (error: unknown) =>
    error instanceof ReplayError ? error : new ReplayError(`no Kafka at ${brokers.join(', ')} (${reasonOf(error)})`);

  async function withAdmin<T>(work: (admin: Admin) => Promise<T>): Promise<T> {
    const admin = client.admin();
    try {
      await admin.connect();
      return await work(admin);
    } catch (error) {
      throw toReplayError(error);
    } finally {
      await admin.disconnect().catch(() => undefined);
    }
  }

  return {
    topics: () =>
      withAdmin(async (admin) => {
        const { topics } = await admin.fetchTopicMetadata();
        return Object.fromEntries(topics.map(({ name, partitions }) => [name, partitions.length]));
      }),
    async *read(topic, partitions) {
      if (partitions === 0) return;
      const offsets = await withAdmin((admin) => admin.fetchTopicOffsets(topic));
      const ends = new Map(
        offsets.filter(({ low, high }) => low !== high).map(({ partition, high }) => [partition, Number(high)]),
      );
      const open = new Map(ends);
      if (open.size === 0) return;
      const groupId = `replay-audit-${randomUUID()}`;
      const consumer = client.consumer({ groupId, retry: { retries: 5 } });
      const handover = new BatchHandover();
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
        throw toReplayError(error);
      } finally {
        handover.fail(new Error('the reader has stopped'));
        await consumer.disconnect().catch(() => undefined);
        await withAdmin((admin) => admin.deleteGroups([groupId])).catch(() => undefined);
      }
    },
  };
}
