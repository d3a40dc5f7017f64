import { expect, test } from 'vitest';
import type { Context } from '../../src/context.ts';
import type { Event } from '../../src/domain/events.ts';
import type { Bindings, Settings } from '../../src/env.ts';
import { consumeKafka } from '../../src/events/external-events.ts';
import { startKafkaFixture } from '../support/kafka.ts';

const topic = 'cities';
const adjusted = (id: number, sku: string, more: object = {}, of = topic) => ({
  topic: of,
  key: sku,
  value: JSON.stringify({
    specversion: '1.0',
    id: String(id),
    source: '/warehouse',
    type: 'inventory.adjusted',
    data: { sku, delta: 1, reason: 'received' },
    ...more,
  }),
});

/** Consumes from the local Kafka into a fake queue and a fake database that fail while a flag is set. */
async function startConsumer() {
  const kafka = await startKafkaFixture();
  const state = { queueRefuses: false, databaseRefuses: false, deadLetters: 0 };
  const accepted: Event[] = [];
  const queue = {
    async sendBatch(messages: { body: Event }[]) {
      if (state.queueRefuses) throw new Error('queue away');
      accepted.push(...messages.map(({ body }) => body));
    },
  };
  const run = async (_name: string, _call: unknown, { messages }: { messages: unknown[] }) => {
    if (state.databaseRefuses) throw new Error('database away');
    state.deadLetters += messages.length;
  };
  const health = async () => {
    if (state.databaseRefuses) throw new Error('database away');
  };
  const settings = {
    KAFKA_REST_DIALECT: 'upstash',
    KAFKA_REST_URL: kafka.server.url,
    KAFKA_REST_USERNAME: 'dev',
    KAFKA_REST_PASSWORD: 'dev',
    KAFKA_CONSUME: [`${topic}=default`, 'greetings'],
    KAFKA_CONSUME_TENANTS: ['acme', 'other'],
    KAFKA_CONSUME_SECONDS: 1,
  } as unknown as Settings;
  const context = { db: { run, health }, settings, call: {}, now: () => new Date() } as unknown as Context;
  const env = { INVENTORY_QUEUE: queue } as unknown as Bindings;
  const committed = async () => {
    const partitions = Array.from({ length: 4 }, (_, partition) => ({ topic, partition }));
    const { body } = await kafka.post('/committed/fusioncommerce/any', partitions);
    return (body as { offset: number }[]).reduce((sum, { offset }) => sum + Math.max(0, offset), 0);
  };
  return { kafka, state, accepted, turn: () => consumeKafka(context, env), committed };
}

const keys = ['A', 'B', 'C', 'D', 'E'];

test('offsets are committed only after the queue accepted the events; what it rejected is delivered again, in order', async () => {
  const { kafka, state, accepted, turn, committed } = await startConsumer();
  const records = Array.from({ length: 60 }, (_, id) => adjusted(id, keys[id % 5] ?? ''));
  await kafka.producer.produceMany(records);
  state.queueRefuses = true;
  await expect(turn()).rejects.toMatchObject({ code: 'unavailable' });
  expect([accepted.length, await committed()]).toEqual([0, 0]);
  state.queueRefuses = false;
  expect(await turn()).toEqual({ taken: 60, own: 0, refused: 0 });
  expect(await committed()).toBe(60);
  for (const key of keys) {
    const ids = accepted.filter(({ subject }) => subject === key).map(({ id }) => id);
    expect(ids).toEqual(records.flatMap((record, id) => (record.key === key ? [`default /warehouse ${id}`] : [])));
  }
  expect(await turn()).toEqual({ taken: 0, own: 0, refused: 0 });
});

test('a record that is not an event stays in Kafka until it is a dead letter, and then no longer blocks its partition', async () => {
  const { kafka, state, accepted, turn, committed } = await startConsumer();
  await kafka.producer.produceMany([{ topic, key: 'A', value: 'nothing' }, adjusted(1, 'A')]);
  state.databaseRefuses = true;
  await expect(turn()).rejects.toThrow('database away');
  expect(await committed()).toBe(0);
  state.databaseRefuses = false;
  expect(await turn()).toEqual({ taken: 1, own: 0, refused: 1 });
  // Both turns have sent the event to the queue. The inbox will recognize it by its id.
  expect(new Set(accepted.map(({ id }) => id))).toEqual(new Set(['default /warehouse 1']));
  expect([state.deadLetters, await committed()]).toEqual([1, 2]);
});

test('in a topic of one tenant events of other tenants are rejected; in a shared topic an event must name a tenant', async () => {
  const { kafka, state, accepted, turn } = await startConsumer();
  await kafka.producer.produceMany([
    adjusted(1, 'A'),
    adjusted(2, 'A', { tenantid: 'acme' }),
    adjusted(3, 'A', { tenantid: 'default' }),
    adjusted(4, 'A', {}, 'greetings'),
    adjusted(5, 'A', { tenantid: 'acme' }, 'greetings'),
    adjusted(6, 'A', { tenantid: 'default' }, 'greetings'),
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
