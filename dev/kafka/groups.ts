import { performance } from 'node:perf_hooks';
import { KafkaError } from './error.ts';
import type { PartitionLog } from './log.ts';
import type { CommittedOffsets } from './offsets.ts';
import type { Topics } from './topics.ts';

/** Kafka's `max.poll.records` and `max.partition.fetch.bytes`, by their defaults. */
export const POLL_RECORDS = 500;
export const PARTITION_BYTES = 1024 * 1024;

/** What an instance is made with; later requests of the same instance do not change it. */
export interface InstanceOptions {
  autoCommit: boolean;
  autoCommitIntervalMs: number;
  offsetReset: 'earliest' | 'latest' | 'none';
  sessionTimeoutMs: number;
}

interface Instance extends InstanceOptions {
  name: string;
  topics: ReadonlySet<string>;
  /** The partitions that are its own, each with the next offset to read; unknown until it first reads there. */
  positions: Map<PartitionLog, number | undefined>;
  seenAt: number;
  committedAt: number;
  /** Requests of it that wait for records; it is alive while there is one. */
  waiting: number;
}

export interface ConsumeRequest extends InstanceOptions {
  group: string;
  instance: string;
  topics: ReadonlySet<string>;
  /** How long to wait for a first record, in milliseconds. */
  timeoutMs: number;
}

type Group = Map<string, Instance>;

/**
 * Consumer groups as Kafka's: each partition of a topic is read by one instance of a group, shared anew whenever an
 * instance comes, goes, or is not heard of for its session timeout. Auto-commit is Kafka's too: when a poll finds the
 * interval over, it commits what was returned before; so does losing a partition, and leaving.
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

  /** The next records of the instance's partitions, as JSON objects; makes the instance if need be. */
  async consume(request: ConsumeRequest, signal: AbortSignal): Promise<Buffer[]> {
    this.dropSilent();
    const deadline = performance.now() + request.timeoutMs;
    const instance = this.#join(request);
    instance.waiting += 1;
    try {
      while (!signal.aborted && this.#groups.get(request.group)?.get(request.instance) === instance) {
        const found = this.#poll(request.group, instance);
        const left = deadline - performance.now();
        if (found.length > 0 || left <= 0) return found;
        await this.#topics.wait(left, signal);
      }
      return [];
    } finally {
      instance.waiting -= 1;
      instance.seenAt = this.#now();
    }
  }

  /** Commits the offsets, or all that the instance has read. 404 for an instance that is not there. */
  commit(group: string, name: string, offsets: readonly (readonly [PartitionLog, number])[]): void {
    const instance = this.#instance(group, name);
    instance.seenAt = this.#now();
    if (offsets.length > 0) this.#offsets.commit(group, offsets);
    else this.#commitPositions(group, instance);
  }

  /** The offset that the group has committed in a partition; -1, Kafka's sign for none. */
  committed(group: string, log: PartitionLog): number {
    return this.#offsets.get(group, log) ?? -1;
  }

  /** Every instance of every group with the partitions that it reads. */
  list(): { name: string; instances: { name: string; topics: { topic: string; partitions: number[] }[] }[] }[] {
    this.dropSilent();
    return [...this.#groups].map(([name, group]) => ({
      name,
      instances: [...group.values()].map((instance) => ({ name: instance.name, topics: topicsOf(instance) })),
    }));
  }

  /** Stops an instance; its partitions go to the others. 404 for one that is not there. */
  remove(group: string, name: string): void {
    this.#leave(group, this.#instance(group, name));
  }

  /** Removes the instances that were not heard of for their session timeout. */
  dropSilent(): void {
    const now = this.#now();
    for (const [name, group] of this.#groups) {
      for (const instance of [...group.values()]) {
        if (instance.waiting === 0 && now - instance.seenAt >= instance.sessionTimeoutMs) this.#leave(name, instance);
      }
    }
  }

  /** Commits what auto-commit would have committed later. */
  close(): void {
    for (const [name, group] of this.#groups) {
      for (const instance of group.values()) if (instance.autoCommit) this.#commitPositions(name, instance);
    }
    this.#groups.clear();
  }

  #instance(group: string, name: string): Instance {
    this.dropSilent();
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
      throw new KafkaError(400, `Group '${request.group}' has ${limit} instances, as many as there are partitions`);
    }
    const { instance: name, topics, autoCommit, autoCommitIntervalMs, offsetReset, sessionTimeoutMs } = request;
    const made = { name, topics, autoCommit, autoCommitIntervalMs, offsetReset, sessionTimeoutMs };
    const now = this.#now();
    const instance: Instance = { ...made, positions: new Map(), seenAt: now, committedAt: now, waiting: 0 };
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

  /** Kafka's range assignment. An instance keeps its position in a partition that it keeps. */
  #rebalance(name: string, group: Group): void {
    const shares = assignRanges([...group.values()], this.#topics);
    for (const [instance, logs] of shares) {
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
    let room = POLL_RECORDS;
    for (const log of [...instance.positions.keys()]) {
      const position = this.#position(group, instance, log);
      const { json, next } = log.read(position, room, PARTITION_BYTES);
      if (next > position) {
        found.push(json);
        room -= next - position;
        // To the end of the row, so that a busy partition does not keep the others waiting.
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
  const shares = new Map<Instance, PartitionLog[]>(members.map((instance) => [instance, []]));
  for (const topic of new Set(members.flatMap((instance) => [...instance.topics]))) {
    const readers = members.filter((instance) => instance.topics.has(topic));
    const logs = topics.logsOf(topic);
    const from = (reader: number) =>
      reader * Math.floor(logs.length / readers.length) + Math.min(reader, logs.length % readers.length);
    readers.forEach((reader, i) => {
      shares.get(reader)?.push(...logs.slice(from(i), from(i + 1)));
    });
  }
  return shares;
}

function topicsOf(instance: Instance): { topic: string; partitions: number[] }[] {
  const byTopic = Map.groupBy(instance.positions.keys(), (log) => log.topic);
  return [...byTopic].map(([topic, logs]) => ({
    topic,
    partitions: logs.map((log) => log.partition).toSorted((a, b) => a - b),
  }));
}
