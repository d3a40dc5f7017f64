import type { Topic } from '../../src/events/topics.ts';

const dayMs = 86_400_000;

export type Wanted = { name: string; partitions: number; retentionMs: number };
/** A topic at the broker, as far as its interface shows it. Retention −1: for ever. */
export type Found = { partitions?: number | undefined; retentionMs?: number | undefined };

export type Step = { kind: 'create' | 'partitions' | 'retention'; topic: Wanted; from?: number };
export type Plan = {
  steps: Step[];
  /** What the broker has more of than the registry asks for: it stays. */
  kept: string[];
  /** What cannot be seen over this interface. */
  unseen: string[];
  /** How many topics are as the registry wants them, or better. */
  fine: number;
};

/** The registry's topics. */
export const wantedTopics = (topics: Record<string, Topic>): Wanted[] =>
  Object.entries(topics).map(([name, { partitions, retentionDays }]) => ({
    name,
    partitions,
    retentionMs: retentionDays * dayMs,
  }));

/** A time as the registry says it. */
export function inDays(ms: number): string {
  if (ms < 0) return 'for ever';
  return Number.isInteger(ms / dayMs) ? `${ms / dayMs} d` : `${ms} ms`;
}

/** What makes the broker's topics as the registry wants them. Nothing ever shrinks: records would be lost, or keys move. */
export function planTopics(wanted: Wanted[], found: Map<string, Found>): Plan {
  const plan: Plan = { steps: [], kept: [], unseen: [], fine: 0 };
  for (const topic of wanted) {
    const there = found.get(topic.name);
    if (!there) {
      plan.steps.push({ kind: 'create', topic });
      continue;
    }
    const before = plan.steps.length;
    const { partitions, retentionMs } = there;
    if (partitions === undefined) plan.unseen.push(`${topic.name}: partitions`);
    else if (partitions < topic.partitions) plan.steps.push({ kind: 'partitions', topic, from: partitions });
    else if (partitions > topic.partitions) {
      plan.kept.push(`${topic.name} has ${partitions} partitions, the registry asks for ${topic.partitions}`);
    }
    if (retentionMs === undefined) plan.unseen.push(`${topic.name}: retention`);
    else if (retentionMs >= 0 && retentionMs < topic.retentionMs) {
      plan.steps.push({ kind: 'retention', topic, from: retentionMs });
    } else if (retentionMs !== topic.retentionMs) {
      const asked = inDays(topic.retentionMs);
      plan.kept.push(`${topic.name} is kept ${inDays(retentionMs)}, the registry asks for ${asked}`);
    }
    if (plan.steps.length === before) plan.fine++;
  }
  return plan;
}

/** A step as a line of the plan. */
export function describeStep({ kind, topic, from = 0 }: Step): string {
  const { name, partitions, retentionMs } = topic;
  if (kind === 'create') return `+ ${name}: ${partitions} partitions, kept ${inDays(retentionMs)}`;
  if (kind === 'retention') return `~ ${name}: kept ${inDays(from)} → ${inDays(retentionMs)}`;
  return `~ ${name}: ${from} → ${partitions} partitions (keys move: order within a key holds again from then on)`;
}

/** The commands that do a step by hand, for Kafka's own tools and for Redpanda's. */
export function commandsFor({ kind, topic, from = 0 }: Step): { kafka: string; rpk: string } {
  const { name, partitions, retentionMs } = topic;
  const at = '--bootstrap-server "$BOOTSTRAP"';
  if (kind === 'create') {
    const config = `retention.ms=${retentionMs}`;
    return {
      kafka: `kafka-topics.sh ${at} --create --if-not-exists --topic ${name} --partitions ${partitions} --config ${config}`,
      rpk: `rpk topic create ${name} -p ${partitions} -c ${config}`,
    };
  }
  if (kind === 'partitions') {
    return {
      kafka: `kafka-topics.sh ${at} --alter --topic ${name} --partitions ${partitions}`,
      rpk: `rpk topic add-partitions ${name} --num ${partitions - from}`,
    };
  }
  return {
    kafka: `kafka-configs.sh ${at} --alter --entity-type topics --entity-name ${name} --add-config retention.ms=${retentionMs}`,
    rpk: `rpk topic alter-config ${name} --set retention.ms=${retentionMs}`,
  };
}
