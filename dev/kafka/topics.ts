import { join } from 'node:path';
import { KafkaError } from './error.ts';
import { PartitionLog } from './log.ts';

export interface TopicOptions {
  name: string;
  partitions: number;
  /** How long a record is kept, in milliseconds; negative: for ever. */
  retentionMs: number;
}

export interface TopicsOptions {
  dir: string;
  topics: readonly TopicOptions[];
  /** Make an unknown topic when it is first named, as Kafka's `auto.create.topics.enable` does. Default: refuse it. */
  autoCreate?: boolean;
  now: () => number;
  segmentBytes?: number;
}

const TOPIC_NAME = /^(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}$/;
const CREATED = { partitions: 1, retentionMs: 7 * 24 * 3600 * 1000 };

/** The topics, their partitions' logs, and the waiting of consumers for something new in them. */
export class Topics {
  readonly #options: TopicsOptions;
  readonly #logs = new Map<string, PartitionLog[]>();
  readonly #turns = new Map<string, number>();
  readonly #waiting = new Set<() => void>();

  constructor(options: TopicsOptions) {
    this.#options = options;
    for (const topic of options.topics) this.#open(topic);
  }

  /** The logs of a topic, by partition. 404 for a topic that does not exist. */
  logsOf(topic: string): readonly PartitionLog[] {
    const logs = this.#logs.get(topic);
    if (logs !== undefined) return logs;
    if (this.#options.autoCreate === true) return this.#open({ name: topic, ...CREATED });
    throw new KafkaError(404, `Topic '${topic}' does not exist`);
  }

  /** The log of one partition. 404 for a topic that does not exist, 400 for a partition that it does not have. */
  logOf(topic: string, partition: number): PartitionLog {
    const logs = this.logsOf(topic);
    const log = logs[partition];
    if (log !== undefined) return log;
    throw new KafkaError(400, `Topic '${topic}' has no partition ${partition}, only 0 to ${logs.length - 1}`);
  }

  /** The number of partitions of each topic. */
  list(): Record<string, number> {
    return Object.fromEntries([...this.#logs].map(([topic, logs]) => [topic, logs.length]));
  }

  /** The partition that is next in turn for records without a key. */
  nextPartition(topic: string): number {
    const turn = this.#turns.get(topic) ?? 0;
    this.#turns.set(topic, turn + 1);
    return turn % this.logsOf(topic).length;
  }

  /** Waits for `wake`, for at most `ms`; ends early when the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener('abort', done);
      this.#waiting.add(done);
    });
  }

  /** Lets everyone who waits look again. */
  wake(): void {
    for (const done of [...this.#waiting]) done();
  }

  /** Applies the retention of every topic. */
  expire(): void {
    for (const logs of this.#logs.values()) for (const log of logs) log.expire();
  }

  close(): void {
    for (const logs of this.#logs.values()) for (const log of logs) log.close();
  }

  #open(topic: TopicOptions): readonly PartitionLog[] {
    if (!TOPIC_NAME.test(topic.name)) throw new KafkaError(400, `'${topic.name}' is not a legal name for a topic`);
    const { now, segmentBytes } = this.#options;
    const logs = Array.from({ length: topic.partitions }, (_, partition) => {
      const dir = join(this.#options.dir, topic.name, String(partition));
      const sized = segmentBytes === undefined ? {} : { segmentBytes };
      return new PartitionLog({ dir, topic: topic.name, partition, retentionMs: topic.retentionMs, now, ...sized });
    });
    this.#logs.set(topic.name, logs);
    return logs;
  }
}
