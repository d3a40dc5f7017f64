import { join } from 'node:path';
import { KafkaError } from './error.ts';
import { PartitionLog } from './log.ts';

export interface TopicOptions {
  name: string;
  partitions: number;
  /** How long a record is kept, in milliseconds. Negative: forever. */
  retentionMs: number;
}

export interface TopicsOptions {
  dir: string;
  topics: readonly TopicOptions[];
  /** Create unknown topics, like Kafka's `auto.create.topics.enable`. Default: reject the request. */
  autoCreate?: boolean;
  now: () => number;
  segmentBytes?: number;
}

const TOPIC_NAME = /^(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}$/;
const AUTO_CREATED = { partitions: 1, retentionMs: 7 * 24 * 3600 * 1000 };

/** The topics with the logs of their partitions. Also wakes the consumers that wait for new records. */
export class Topics {
  readonly #options: TopicsOptions;
  readonly #logs = new Map<string, PartitionLog[]>();
  readonly #nextTurn = new Map<string, number>();
  readonly #waiting = new Set<() => void>();

  constructor(options: TopicsOptions) {
    this.#options = options;
    for (const topic of options.topics) this.#open(topic);
  }

  /** The logs of a topic, by partition. 404 for an unknown topic. */
  logsOf(topic: string): readonly PartitionLog[] {
    const logs = this.#logs.get(topic);
    if (logs !== undefined) return logs;
    if (this.#options.autoCreate === true) return this.#open({ name: topic, ...AUTO_CREATED });
    throw new KafkaError(404, `Topic '${topic}' does not exist`);
  }

  /** The log of one partition. 404 for an unknown topic, 400 for an unknown partition. */
  logOf(topic: string, partition: number): PartitionLog {
    const logs = this.logsOf(topic);
    const log = logs[partition];
    if (log !== undefined) return log;
    throw new KafkaError(
      400,
      `Topic '${topic}' has no partition ${partition}. It has the partitions 0 to ${logs.length - 1}`,
    );
  }

  /** The number of partitions of each topic. */
  list(): Record<string, number> {
    return Object.fromEntries([...this.#logs].map(([topic, logs]) => [topic, logs.length]));
  }

  /** The next partition for records without a key: the partitions take turns. */
  nextPartition(topic: string): number {
    const turn = this.#nextTurn.get(topic) ?? 0;
    this.#nextTurn.set(topic, turn + 1);
    return turn % this.logsOf(topic).length;
  }

  /** Waits until `wake` is called, `ms` have passed, or the signal aborts. */
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

  /** Ends every `wait`, because there may be new records. */
  wake(): void {
    for (const done of [...this.#waiting]) done();
  }

  /** Removes the expired records of every topic. */
  expire(): void {
    for (const logs of this.#logs.values()) for (const log of logs) log.expire();
  }

  close(): void {
    for (const logs of this.#logs.values()) for (const log of logs) log.close();
  }

  #open(topic: TopicOptions): readonly PartitionLog[] {
    if (!TOPIC_NAME.test(topic.name)) throw new KafkaError(400, `'${topic.name}' is not a valid topic name`);
    const { now, segmentBytes } = this.#options;
    const logs = Array.from({ length: topic.partitions }, (_, partition) => {
      const dir = join(this.#options.dir, topic.name, String(partition));
      const segmentOptions = segmentBytes === undefined ? {} : { segmentBytes };
      return new PartitionLog({
        dir,
        topic: topic.name,
        partition,
        retentionMs: topic.retentionMs,
        now,
        ...segmentOptions,
      });
    });
    this.#logs.set(topic.name, logs);
    return logs;
  }
}
