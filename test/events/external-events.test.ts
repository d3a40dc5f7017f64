import { expect, test } from 'vitest';
import type { Context } from '../../src/context.ts';
import type { Event } from '../../src/domain/events.ts';
import type { Bindings, Settings } from '../../src/env.ts';
import { consumeKafka } from '../../src/events/external-events.ts';
import { startKafkaFixture } from '../support/kafka/kafka.ts';

const topic = 'cities';
const adjustment = (id: number, sku: string, attributes: object = {}, inTopic = topic) => ({
  topic: inTopic,
  key: sku,
  value: JSON.stringify({
    specversion: '1.0',
    id: String(id),
    source: '/warehouse',
    type: 'inventory.adjusted',
    data: { sku, delta: 1, reason: 'received' },
    ...attributes,
  }),
});

/** Consumes from the local Kafka into a fake queue and a fake database. Each fails while its flag in `state` is set. */
async function startConsumer() {
  const kafka = await startKafkaFixture();
  const state = { queueFails: false, databaseFails: false, deadLetters: 0 };
  const accepted: Event[] = [];
  const queue = {
    async sendBatch(messages: { body: Event }[]) {
      if (state.queueFails) throw new Error('queue unavailable');
      accepted.push(...messages.map(({ body }) => body));
    },
  };
  const run = async (_name: string, _call: unknown, { messages }: { messages: unknown[] }) => {
    if (state.databaseFails) throw new Error('database unavailable');
    state.deadLetters += messages.length;
  };
  const health = async () => {
    if (state.databaseFails) throw new Error('database unavailable');
  };
  const settings = {
    KAFKA_REST_DIALECT: 'upstash',
    KAFKA_REST_URL: kafka.server.url,
    KAFKA_REST_USERNAME: 'dev',
    KAFKA_REST_PASSWORD: 'dev',
    KAFKA_CONSUME: [`${topic}=default`, 'greetings'],
    KAFKA_CONSUME_TENANTS: ['acme', 'other'],
    KAFKA_CONSUME_SECONDS: 1,
    cells: new Map([['default', {}]]),
  } as unknown as Settings;
  const context = {
    db: { run, health, cell: 'default' },
    settings,
    call: {},
    now: () => new Date(),
  } as unknown as Context;
  const env = { INVENTORY_QUEUE: queue } as unknown as Bindings;
  const committed = async () => {
    const partitions = Array.from({ length: 4 }, (_, partition) => ({ topic, partition }));
    const { body } = await kafka.post('/committed/fusioncommerce/any', partitions);
    return (body as { offset: number }[]).reduce((sum, { offset }) => sum + Math.max(0, offset), 0);
  };
  return { kafka, state, accepted, turn: () => consumeKafka(context, env), committed };
}

const keys = ['A', 'B', 'C', 'D', 'E'];

test('offsets are committed only after the queue accepted the events; rejected events are delivered again, in order', async () => {
  const { kafka, state, accepted, turn, committed } = await startConsumer();
  const records = Array.from({ length: 60 }, (_, id) => adjustment(id, keys[id % 5] ?? ''));
  await kafka.producer.produceMany(records);
  state.queueFails = true;
  await expect(turn()).rejects.toMatchObject({ code: 'unavailable' });
  expect([accepted.length, await committed()]).toEqual([0, 0]);
  state.queueFails = false;
  expect(await turn()).toEqual({ taken: 60, own: 0, refused: 0 });
  expect(await committed()).toBe(60);
  for (const key of keys) {
    const ids = accepted.filter(({ subject }) => subject === key).map(({ id }) => id);
    expect(ids).toEqual(records.flatMap((record, id) => (record.key === key ? [`default /warehouse ${id}`] : [])));
  }
  expect(await turn()).toEqual({ taken: 0, own: 0, refused: 0 });
});

test('the offset of a record that is not an event is committed only after it was stored as a dead letter', async () => {
  const { kafka, state, accepted, turn, committed } = await startConsumer();
  await kafka.producer.produceMany([{ topic, key: 'A', value: 'nothing' }, adjustment(1, 'A')]);
  state.databaseFails = true;
  await expect(turn()).rejects.toThrow('database unavailable');
  expect(await committed()).toBe(0);
  state.databaseFails = false;
  expect(await turn()).toEqual({ taken: 1, own: 0, refused: 1 });
  // Both turns have sent the event to the queue. The inbox will recognize it by its id.
  expect(new Set(accepted.map(({ id }) => id))).toEqual(new Set(['default /warehouse 1']));
  expect([state.deadLetters, await committed()]).toEqual([1, 2]);
});

test('a topic of one tenant rejects events of other tenants; in a shared topic an event must name an allowed tenant', async () => {
  const { kafka, state, accepted, turn } = await startConsumer();
  await kafka.producer.produceMany([
    adjustment(1, 'A'),
    adjustment(2, 'A', { tenantid: 'acme' }),
    adjustment(3, 'A', { tenantid: 'default' }),
    adjustment(4, 'A', {}, 'greetings'),
    adjustment(5, 'A', { tenantid: 'acme' }, 'greetings'),
    adjustment(6, 'A', { tenantid: 'default' }, 'greetings'),
  ]);
  expect(await turn()).toEqual({ taken: 3, own: 0, refused: 3 });
  expect(accepted.map(({ id, tenantid }) => [id, tenantid]).sort()).toEqual([
    ['acme /warehouse 5', 'acme'],
    ['default /warehouse 1', 'default'],
    ['default /warehouse 3', 'default'],
  ]);
  expect(state.deadLetters).toBe(3);
});

test('a turn fails while Kafka is unavailable, and the next one finds all records', async () => {
  const { kafka, turn } = await startConsumer();
  await kafka.server.close();
  await expect(turn()).rejects.toMatchObject({ name: 'KafkaUnavailable' });
});
