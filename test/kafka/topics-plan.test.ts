import { describe, expect, test } from 'vitest';
import {
  type BrokerTopic,
  commandsFor,
  describeStep,
  planTopics,
  type RegistryTopic,
  registryTopics,
} from '../../dev/topics/plan.ts';
import { topics } from '../../src/events/topics.ts';

const day = 86_400_000;
const wanted: RegistryTopic = { name: 'order.created', partitions: 12, retentionMs: 7 * day };
const planFor = (found?: BrokerTopic) => planTopics([wanted], new Map(found ? [[wanted.name, found]] : []));
const kinds = (found?: BrokerTopic) => planFor(found).steps.map(({ kind }) => kind);

test('the plan asks for the registry’s partitions and retention', () => {
  const all = registryTopics(topics);
  expect(all).toHaveLength(Object.keys(topics).length);
  expect(all).toContainEqual(wanted);
  expect(all.find(({ name }) => name === 'payment.succeeded')?.retentionMs).toBe(90 * day);
});

describe('a topic', () => {
  test('that is missing is created', () => expect(kinds()).toEqual(['create']));

  test('that matches the registry is not changed', () => {
    expect(planFor({ partitions: 12, retentionMs: 7 * day })).toEqual({
      steps: [],
      larger: [],
      notVisible: [],
      upToDate: 1,
    });
  });

  test('with fewer partitions or a shorter retention is extended', () => {
    expect(kinds({ partitions: 6, retentionMs: day })).toEqual(['partitions', 'retention']);
    expect(kinds({ partitions: 6, retentionMs: 7 * day })).toEqual(['partitions']);
    expect(kinds({ partitions: 12, retentionMs: 7 * day - 1 })).toEqual(['retention']);
    expect(kinds({ partitions: 12, retentionMs: 0 })).toEqual(['retention']);
  });

  test('with more partitions or a longer retention is kept, reported, and not a difference', () => {
    const plan = planFor({ partitions: 24, retentionMs: -1 });
    expect(plan.steps).toEqual([]);
    expect(plan.larger).toEqual([
      'order.created has 24 partitions, the registry requires 12',
      'order.created is kept forever, the registry requires 7 d',
    ]);
    expect(kinds({ partitions: 12, retentionMs: 8 * day })).toEqual([]);
  });

  test('whose settings are unknown is reported and not changed', () => {
    expect(planFor({})).toMatchObject({
      steps: [],
      notVisible: ['order.created: partitions', 'order.created: retention'],
    });
    expect(kinds({ partitions: 6 })).toEqual(['partitions']);
  });
});

test('a step has a description, and a command for Kafka’s and Redpanda’s tools', () => {
  const [create] = planFor().steps;
  const [grow, keep] = planFor({ partitions: 6, retentionMs: day }).steps;
  expect(create && describeStep(create)).toBe('+ order.created: 12 partitions, kept 7 d');
  expect(grow && describeStep(grow)).toContain('6 → 12 partitions (keys move');
  expect(keep && describeStep(keep)).toBe('~ order.created: kept 1 d → 7 d');
  expect(create && commandsFor(create)).toEqual({
    kafka:
      'kafka-topics.sh --bootstrap-server "$BOOTSTRAP" --create --if-not-exists --topic order.created --partitions 12 --config retention.ms=604800000',
    rpk: 'rpk topic create order.created -p 12 -c retention.ms=604800000',
  });
  expect(grow && commandsFor(grow)).toEqual({
    kafka: 'kafka-topics.sh --bootstrap-server "$BOOTSTRAP" --alter --topic order.created --partitions 12',
    rpk: 'rpk topic add-partitions order.created --num 6',
  });
  expect(keep && commandsFor(keep)).toEqual({
    kafka:
      'kafka-configs.sh --bootstrap-server "$BOOTSTRAP" --alter --entity-type topics --entity-name order.created --add-config retention.ms=604800000',
    rpk: 'rpk topic alter-config order.created --set retention.ms=604800000',
  });
});
