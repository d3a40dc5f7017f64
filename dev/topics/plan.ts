import type { Topic } from '../../src/events/topics.ts';

const dayMs = 86_400_000;

/** A topic as the registry (src/events/topics.ts) defines it. */
export type RegistryTopic = { name: string; partitions: number; retentionMs: number };
/** A topic at the broker. A value that its interface does not show is undefined. Retention −1: forever. */
export type BrokerTopic = { partitions?: number | undefined; retentionMs?: number | undefined };

export type Step = { kind: 'create' | 'partitions' | 'retention'; topic: RegistryTopic; from?: number };
export type Plan = {
  steps: Step[];
  /** Differences that stay: the broker has more than the registry requires. */
  larger: string[];
  /** Values that this interface does not show. */
  notVisible: string[];
  /** The number of topics that need no change. */
  upToDate: number;
};

/** The registry's topics. */
export const registryTopics = (topics: Record<string, Topic>): RegistryTopic[] =>
  Object.entries(topics).map(([name, { partitions, retentionDays }]) => ({
    name,
    partitions,
    retentionMs: retentionDays * dayMs,
  }));

/** Formats a retention in days, as the registry defines it. */
export function formatRetention(ms: number): string {
  if (ms < 0) return 'forever';
  return Number.isInteger(ms / dayMs) ? `${ms / dayMs} d` : `${ms} ms`;
}

/**
 * Plans the steps that make the broker's topics match the registry. Nothing shrinks: records would be lost, or keys
 * move.
 */
export function planTopics(required: RegistryTopic[], found: Map<string, BrokerTopic>): Plan {
  const plan: Plan = { steps: [], larger: [], notVisible: [], upToDate: 0 };
  for (const topic of required) {
    const existing = found.get(topic.name);
    if (!existing) {
      plan.steps.push({ kind: 'create', topic });
      continue;
    }
    const stepsBefore = plan.steps.length;
    const { partitions, retentionMs } = existing;
    if (partitions === undefined) plan.notVisible.push(`${topic.name}: partitions`);
    else if (partitions < topic.partitions) plan.steps.push({ kind: 'partitions', topic, from: partitions });
    else if (partitions > topic.partitions) {
      plan.larger.push(`${topic.name} has ${partitions} partitions, the registry requires ${topic.partitions}`);
    }
    if (retentionMs === undefined) plan.notVisible.push(`${topic.name}: retention`);
    else if (retentionMs >= 0 && retentionMs < topic.retentionMs) {
      plan.steps.push({ kind: 'retention', topic, from: retentionMs });
    } else if (retentionMs !== topic.retentionMs) {
      const requiredRetention = formatRetention(topic.retentionMs);
      plan.larger.push(
        `${topic.name} is kept ${formatRetention(retentionMs)}, the registry requires ${requiredRetention}`,
      );
    }
    if (plan.steps.length === stepsBefore) plan.upToDate++;
  }
  return plan;
}

/** Formats a step as a line of the plan. */
export function describeStep({ kind, topic, from = 0 }: Step): string {
  const { name, partitions, retentionMs } = topic;
  if (kind === 'create') return `+ ${name}: ${partitions} partitions, kept ${formatRetention(retentionMs)}`;
  if (kind === 'retention') return `~ ${name}: kept ${formatRetention(from)} → ${formatRetention(retentionMs)}`;
  return `~ ${name}: ${from} → ${partitions} partitions (keys move to other partitions; only later events of a key are in order)`;
}

/** The commands that do a step by hand, with Kafka's tools and with Redpanda's. */
export function commandsFor({ kind, topic, from = 0 }: Step): { kafka: string; rpk: string } {
  const { name, partitions, retentionMs } = topic;
  const server = '--bootstrap-server "$BOOTSTRAP"';
  if (kind === 'create') {
    const config = `retention.ms=${retentionMs}`;
    return {
      kafka: `kafka-topics.sh ${server} --create --if-not-exists --topic ${name} --partitions ${partitions} --config ${config}`,
      rpk: `rpk topic create ${name} -p ${partitions} -c ${config}`,
    };
  }
  if (kind === 'partitions') {
    return {
      kafka: `kafka-topics.sh ${server} --alter --topic ${name} --partitions ${partitions}`,
      rpk: `rpk topic add-partitions ${name} --num ${partitions - from}`,
    };
  }
  return {
    kafka: `kafka-configs.sh ${server} --alter --entity-type topics --entity-name ${name} --add-config retention.ms=${retentionMs}`,
    rpk: `rpk topic alter-config ${name} --set retention.ms=${retentionMs}`,
  };
}
