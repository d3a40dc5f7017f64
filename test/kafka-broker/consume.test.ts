import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { restV2Consumer } from '../../src/events/kafka/consume/rest-v2.ts';
import { addProduct, oneLine, startStore, until } from '../support/harness.ts';
import { createTestTopic, deliverAll, native, restUrl, variables } from '../support/kafka/broker.ts';

const adjusted = (sku: string, delta: number) => ({
  specversion: '1.0',
  id: randomUUID(),
  source: '/warehouse',
  type: 'inventory.adjusted',
  data: { sku, delta, reason: 'received' },
});

type Sent = { key: string; value: string; headers?: Record<string, string> };

async function produce(topic: string, messages: Sent[]): Promise<void> {
  const producer = native.producer();
  await producer.connect();
  await producer.send({ topic, messages });
  await producer.disconnect();
}

/** The number of records of a topic that a group has not committed. */
async function lagOf(groupId: string, topic: string): Promise<number> {
  const admin = native.admin();
  await admin.connect();
  try {
    const ends = await admin.fetchTopicOffsets(topic);
    const [committed] = await admin.fetchOffsets({ groupId, topics: [topic] });
    const at = new Map(committed?.partitions.map(({ partition, offset }) => [partition, Math.max(0, Number(offset))]));
    return ends.reduce((sum, { partition, high }) => sum + Number(high) - (at.get(partition) ?? 0), 0);
  } finally {
    await admin.disconnect();
  }
}

test('uncommitted records are read again, in order, and committed records are not', async () => {
  const topic = await createTestTopic(2);
  const group = `test-${randomUUID()}`;
  const messages = Array.from({ length: 100 }, (_, index) => ({ key: `key ${index % 7}`, value: `${index} ä` }));
  await produce(topic, messages);
  const member = () => restV2Consumer({ url: restUrl, group, topics: [topic] });
  const readAll = async (consumer: Awaited<ReturnType<typeof member>>) => {
    const read: { key: string | null; value: string | null }[] = [];
    for (const end = Date.now() + 60_000; read.length < messages.length && Date.now() < end; ) {
      read.push(...(await consumer.poll(1_000)).map(({ key, value }) => ({ key, value })));
    }
    return read;
  };
  for (const commits of [false, true]) {
    const consumer = await member();
    const read = await readAll(consumer);
    for (const { key } of messages) {
      const of = (all: typeof read) => all.filter((record) => record.key === key).map(({ value }) => value);
      expect(of(read)).toEqual(of(messages));
    }
    expect(await lagOf(group, topic)).toBe(messages.length);
    if (commits) await consumer.commit();
    await consumer.close();
  }
  expect(await lagOf(group, topic)).toBe(0);
});

test('external events from a native client change the stock once, and other records are skipped', async () => {
  const topic = await createTestTopic();
  const store = await startStore({
    variables: { ...variables, KAFKA_CONSUME: topic, KAFKA_CONSUME_TENANTS: 'default', KAFKA_CONSUME_SECONDS: '5' },
  });
  try {
    await addProduct(store, 'MUG', 10);
    const events = Array.from({ length: 50 }, () => adjusted('MUG', 1));
    const structured = events.map((event) => ({ key: event.data.sku, value: JSON.stringify(event) }));
    const binary = events.map(({ data, ...attributes }) => ({
      key: data.sku,
      value: JSON.stringify(data),
      headers: Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`ce_${name}`, value])),
    }));
    await produce(topic, [...structured, { key: 'x', value: 'no JSON' }, ...binary]);
    await until(async () => {
      await store.cron();
      return (await lagOf('fusioncommerce', topic)) === 0;
    });
    const stock = async () => (await store.send('GET', '/v1/inventory/MUG')).body.quantity;
    await until(async () => (await stock()) >= 60);
    await produce(topic, [{ key: 'MUG', value: JSON.stringify(adjusted('MUG', 100)) }]);
    await until(async () => {
      await store.cron();
      return (await stock()) >= 160;
    });
    expect(await stock()).toBe(160);
    const deadLetters = await store.database.query('select sink, event_id, reason from platform.dead_letters');
    expect(deadLetters).toEqual([
      { sink: 'outside', event_id: expect.stringContaining(`${topic}/`), reason: 'Its value is not JSON.' },
    ]);
  } finally {
    await store.close();
  }
});

test('our own events that are read back from Kafka have no effect', async () => {
  const topic = 'order.created';
  const store = await startStore({
    variables: { ...variables, KAFKA_CONSUME: topic, KAFKA_CONSUME_TENANTS: '*', KAFKA_CONSUME_SECONDS: '5' },
  });
  try {
    await addProduct(store, 'MUG', 10);
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('MUG', 3));
    await deliverAll(store.database, store.cron);
    await until(async () => {
      await store.cron();
      return (await lagOf('fusioncommerce', topic)) === 0;
    });
    const turns = store.logs().filter((line) => String(line.id).startsWith('consume-kafka'));
    expect(turns.reduce((sum, { own }) => sum + Number(own), 0)).toBeGreaterThan(0);
    expect(turns.reduce((sum, { taken, refused }) => sum + Number(taken) + Number(refused), 0)).toBe(0);
    expect((await store.send('GET', '/v1/inventory/MUG')).body).toMatchObject({ quantity: 7, reserved: 3 });
    expect((await store.send('GET', `/v1/orders/${order.id}`)).body.reservation.status).toBe('held');
  } finally {
    await store.close();
  }
});
