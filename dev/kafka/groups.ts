import { performance } from 'node:perf_hooks';
import { KafkaError } from './error.ts';
import type { PartitionLog } from './log.ts';
import type { CommittedOffsets } from './offsets.ts';
import type { Topics } from './topics.ts';

/** The defaults of Kafka's `max.poll.records` and `max.partition.fetch.bytes`. */
export const POLL_RECORDS = 500;
export const PARTITION_BYTES = 1024 * 1024;

/** Set by the request that creates the instance. Later requests of the instance do not change them. */
export interface InstanceOptions {
  autoCommit: boolean;
  autoCommitIntervalMs: number;
  offsetReset: 'earliest' | 'latest' | 'none';
  sessionTimeoutMs: number;
}

interface Instance extends InstanceOptions {
  name: string;
  topics: ReadonlySet<string>;
  /** The assigned partitions, each with the next offset to read. Undefined until the first read. */
  positions: Map<PartitionLog, number | undefined>;
  lastSeenAt: number;
  committedAt: number;
  /** Number of its requests that wait for records. The instance does not time out while there is one. */
  pendingPolls: number;
}

export interface ConsumeRequest extends InstanceOptions {
  group: string;
  instance: string;
  topics: ReadonlySet<string>;
  /** How long to wait for a record if there is none, in milliseconds. */
  timeoutMs: number;
}

type Group = Map<string, Instance>;

/**
 * Consumer groups like Kafka's: one instance of a group reads each partition of a topic. Partitions are reassigned when
 * an instance joins, leaves or exceeds its session timeout. Auto-commit commits the records of earlier polls: at a poll
 * after the interval, when an instance loses a partition, and when it leaves.
 */
export class Groups {
  readonly #topics: Topics;
  readonly #offsets: CommittedOffsets;
  readonly #now: () => number;
  readonly #groups = new Map<string, Group>();

  constructor(topics: Topics, offsets: CommittedOffsets, now: () => number) {
    this.#topics = topics;
    this.#offsets = offsets;
    this.#now = now;
  }

  /** Returns the next records of the instance's partitions, as JSON objects. Creates the instance if needed. */
  async consume(request: ConsumeRequest, signal: AbortSignal): Promise<Buffer[]> {
    this.removeTimedOut();
    const deadline = performance.now() + request.timeoutMs;
    const instance = this.#join(request);
    instance.pendingPolls += 1;
    try {
      while (!signal.aborted && this.#groups.get(request.group)?.get(request.instance) === instance) {
        const found = this.#poll(request.group, instance);
        const remainingMs = deadline - performance.now();
        if (found.length > 0 || remainingMs <= 0) return found;
        await this.#topics.wait(remainingMs, signal);
      }
      return [];
    } finally {
      instance.pendingPolls -= 1;
      instance.lastSeenAt = this.#now();
    }
  }

  /** Commits the offsets, or all that the instance has read if none are given. 404 if there is no such instance. */
  commit(group: string, name: string, offsets: readonly (readonly [PartitionLog, number])[]): void {
    const instance = this.#instance(group, name);
    instance.lastSeenAt = this.#now();
    if (offsets.length > 0) this.#offsets.commit(group, offsets);
    else this.#commitPositions(group, instance);
  }

  /** The offset that the group has committed in a partition, or -1 for none, as in Kafka. */
  committed(group: string, log: PartitionLog): number {
    return this.#offsets.get(group, log) ?? -1;
  }

  /** Lists the instances of every group with their assigned partitions. */
  list(): { name: string; instances: { name: string; topics: { topic: string; partitions: number[] }[] }[] }[] {
    this.removeTimedOut();
    return [...this.#groups].map(([name, group]) => ({
      name,
      instances: [...group.values()].map((instance) => ({ name: instance.name, topics: topicsOf(instance) })),
    }));
  }

  /** Removes an instance and reassigns its partitions. 404 if there is no such instance. */
  remove(group: string, name: string): void {
    this.#leave(group, this.#instance(group, name));
  }

  /** Removes the instances that exceeded their session timeout. */
  removeTimedOut(): void {
    const now = this.#now();
    for (const [name, group] of this.#groups) {
      for (const instance of [...group.values()]) {
        if (instance.pendingPolls === 0 && now - instance.lastSeenAt >= instance.sessionTimeoutMs)
          this.#leave(name, instance);
      }
    }
  }

  /** Commits what auto-commit has not committed yet, and removes all groups. */
  close(): void {
    for (const [name, group] of this.#groups) {
      for (const instance of group.values()) if (instance.autoCommit) this.#commitPositions(name, instance);
    }
    this.#groups.clear();
  }

  #instance(group: string, name: string): Instance {
    this.removeTimedOut();
    const instance = this.#groups.get(group)?.get(name);
    if (instance === undefined) throw new KafkaError(404, `Consumer instance '${name}' of group '${group}' not found`);
    return instance;
  }

  #join(request: ConsumeRequest): Instance {
    const group = this.#groups.get(request.group) ?? new Map<string, Instance>();
    const known = group.get(request.instance);
    if (known !== undefined) {
      const same =
        known.topics.size === request.topics.size && [...known.topics].every((topic) => request.topics.has(topic));
      known.topics = request.topics;
      if (!same) this.#rebalance(request.group, group);
      return known;
    }
    const limit = Object.values(this.#topics.list()).reduce((sum, partitions) => sum + partitions, 0);
    if (group.size >= limit) {
      throw new KafkaError(400, `Group '${request.group}' already has ${limit} instances, one per partition`);
    }
    const { instance: name, topics, autoCommit, autoCommitIntervalMs, offsetReset, sessionTimeoutMs } = request;
    const fields = { name, topics, autoCommit, autoCommitIntervalMs, offsetReset, sessionTimeoutMs };
    const now = this.#now();
    const instance: Instance = { ...fields, positions: new Map(), lastSeenAt: now, committedAt: now, pendingPolls: 0 };
    this.#groups.set(request.group, group.set(instance.name, instance));
    this.#rebalance(request.group, group);
    return instance;
  }

  #leave(name: string, instance: Instance): void {
    const group = this.#groups.get(name);
    if (group === undefined) return;
    if (instance.autoCommit) this.#commitPositions(name, instance);
    group.delete(instance.name);
    if (group.size === 0) this.#groups.delete(name);
    this.#rebalance(name, group);
  }

  /** Assigns partitions with Kafka's range assignor. An instance keeps its position in a partition that it keeps. */
  #rebalance(name: string, group: Group): void {
    const assignments = assignRanges([...group.values()], this.#topics);
    for (const [instance, logs] of assignments) {
      const kept = new Map([...instance.positions].filter(([log]) => logs.includes(log)));
      if (instance.autoCommit && kept.size < instance.positions.size) this.#commitPositions(name, instance);
      instance.positions = new Map(logs.map((log) => [log, kept.get(log)]));
    }
    this.#topics.wake();
  }

  #poll(group: string, instance: Instance): Buffer[] {
    if (instance.autoCommit && this.#now() - instance.committedAt >= instance.autoCommitIntervalMs) {
      this.#commitPositions(group, instance);
    }
    const found: Buffer[] = [];
    let capacity = POLL_RECORDS;
    for (const log of [...instance.positions.keys()]) {
      const position = this.#position(group, instance, log);
      const { json, next } = log.read(position, capacity, PARTITION_BYTES);
      if (next > position) {
        found.push(json);
        capacity -= next - position;
        // Re-inserted last, so that a busy partition does not delay the others.
        instance.positions.delete(log);
      }
      instance.positions.set(log, next);
    }
    return found;
  }

  #position(group: string, instance: Instance, log: PartitionLog): number {
    log.expire();
    const position = instance.positions.get(log) ?? this.#offsets.get(group, log);
    if (position !== undefined && position >= log.start && position <= log.end) return position;
    if (instance.offsetReset === 'earliest') return log.start;
    if (instance.offsetReset === 'latest') return log.end;
    throw new KafkaError(400, `No valid offset in ${log.topic}-${log.partition} and Kafka-Auto-Offset-Reset is none`);
  }

  #commitPositions(group: string, instance: Instance): void {
    instance.committedAt = this.#now();
    const known = [...instance.positions].filter((entry): entry is [PartitionLog, number] => entry[1] !== undefined);
    this.#offsets.commit(group, known);
  }
}

function assignRanges(instances: readonly Instance[], topics: Topics): Map<Instance, PartitionLog[]> {
  const members = instances.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const assignments = new Map<Instance, PartitionLog[]>(members.map((instance) => [instance, []]));
  for (const topic of new Set(members.flatMap((instance) => [...instance.topics]))) {
    const readers = members.filter((instance) => instance.topics.has(topic));
    const logs = topics.logsOf(topic);
    const startOf = (reader: number) =>
      reader * Math.floor(logs.length / readers.length) + Math.min(reader, logs.length % readers.length);
    readers.forEach((reader, i) => {
      assignments.get(reader)?.push(...logs.slice(startOf(i), startOf(i + 1)));
    });
  }
  return assignments;
}

function topicsOf(instance: Instance): { topic: string; partitions: number[] }[] {
  const byTopic = Map.groupBy(instance.positions.keys(), (log) => log.topic);
  return [...byTopic].map(([topic, logs]) => ({
    topic,
    partitions: logs.map((log) => log.partition).toSorted((a, b) => a - b),
  }));
}
