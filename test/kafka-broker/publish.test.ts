import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { restV2Publisher } from '../../src/events/kafka/publish/rest-v2.ts';
import { addProduct, oneLine, type Store, startStore } from '../support/harness.ts';
import {
  control,
  createTestTopic,
  deliverAll,
  eventIds,
  firstIds,
  native,
  readTopic,
  restUrl,
  variables,
} from '../support/kafka/broker.ts';
import { emit } from '../support/outbox.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore({ variables });
  await addProduct(store, 'MUG', 1_000);
});
afterAll(() => store.close());

const wanted = Array.from({ length: 200 }, (_, index) =>
  index % 2 ? randomUUID() : `Schlüssel ${index} 鍵 ${'x'.repeat(index)}`,
);

describe('a record', () => {
  test('is stored in the partition that a native producer chooses for its key', async () => {
    const topic = await createTestTopic(12);
    const producer = native.producer();
    await producer.connect();
    await producer.send({ topic, messages: wanted.map((key) => ({ key, value: 'native' })) });
    await producer.disconnect();
    const ours = wanted.map((key) => ({ topic, key, value: '"ours"', headers: { ce_id: key } }));
    const publisher = restV2Publisher({ url: restUrl, headers: true });
    expect(await publisher.publish(ours)).toEqual(wanted.map(() => ({ ok: true })));
    const records = await readTopic(topic);
    const partitionsOf = (value: string) =>
      Object.fromEntries(
        records.filter((record) => record.value === value).map(({ key, partition }) => [key, partition]),
      );
    expect(Object.keys(partitionsOf('"ours"'))).toHaveLength(wanted.length);
    expect(partitionsOf('"ours"')).toEqual(partitionsOf('native'));
    expect(new Set(Object.values(partitionsOf('native'))).size).toBe(12);
  });

  test('is a CloudEvent in binary mode: the payload is the value, the attributes are headers', async () => {
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('MUG', 2));
    await deliverAll(store.database, store.cron);
    const record = (await readTopic('order.created')).find(({ key }) => key === order.id);
    const [id] = await eventIds(store.database, order.id);
    expect(record?.headers).toEqual({
      ce_specversion: '1.0',
      ce_id: id,
      ce_type: 'order.created',
      ce_source: '/fusioncommerce',
      ce_time: order.createdAt,
      ce_tenantid: 'default',
      'content-type': 'application/json',
    });
    expect(JSON.parse(record?.value ?? '')).toMatchObject({ orderId: order.id, total: 20, currency: 'USD' });
  });

  test('is a CloudEvent in structured mode if headers are off', async () => {
    const topic = await createTestTopic();
    const headers = { ce_specversion: '1.0', ce_id: 'a', ce_type: topic, ce_source: '/x', ce_tenantid: 'default' };
    await restV2Publisher({ url: restUrl, headers: false }).publish([{ topic, key: 'k', value: '{"n":1}', headers }]);
    const [record] = await readTopic(topic);
    expect(record?.headers).toEqual({});
    expect(JSON.parse(record?.value ?? '')).toMatchObject({
      specversion: '1.0',
      id: 'a',
      tenantid: 'default',
      data: { n: 1 },
    });
  });
});

test('the records of each key are in the order of its events', async () => {
  const keys = Array.from({ length: 20 }, () => randomUUID());
  for (let round = 0; round < 5; round++) {
    for (const key of keys) await emit(store.database, key, { count: 4, topic: 'order.refunded' });
  }
  await deliverAll(store.database, store.cron);
  const records = await readTopic('order.refunded');
  for (const key of keys) {
    const ids = await eventIds(store.database, key);
    expect(ids).toHaveLength(20);
    expect(firstIds(records, key)).toEqual(ids);
  }
});

test('an event of a missing topic becomes a dead letter that names the topic, and does not delay other events', async () => {
  const [lost, other] = [randomUUID(), randomUUID()];
  await emit(store.database, lost, { topic: 'order.imaginary' });
  await emit(store.database, other, { topic: 'order.refunded' });
  await deliverAll(store.database, store.cron);
  const deadLetters = await store.database.query(
    'select sink, topic, reason from platform.dead_letters where key = $1',
    [lost],
  );
  expect(deadLetters).toEqual([
    { sink: 'kafka', topic: 'order.imaginary', reason: expect.stringContaining('order.imaginary') },
  ]);
  expect(firstIds(await readTopic('order.refunded'), other)).toHaveLength(1);
});

if (control) {
  const broker = control;
  test('no event is lost or reordered when the broker stops and starts again', async () => {
    const order = async () => {
      const { status, body } = await store.send('POST', '/v1/orders', oneLine('MUG'));
      expect(status).toBe(201);
      return body.id as string;
    };
    const before = await order();
    await broker('stop');
    const during: string[] = [];
    try {
      for (let count = 0; count < 5; count++) during.push(await order());
      for (const id of [before, ...during])
        expect((await store.send('POST', `/v1/orders/${id}/cancel`)).status).toBe(200);
      await store.cron();
      const [waiting] = await store.database.query<{ n: number }>(
        `select count(distinct key)::int as n from platform.outbox where sink = 'kafka' and key = any($1)`,
        [during],
      );
      expect(waiting?.n).toBe(during.length);
    } finally {
      await broker('start');
    }
    await deliverAll(store.database, store.cron);
    for (const topic of ['order.created', 'inventory.reserved', 'order.cancelled', 'inventory.released']) {
      const records = await readTopic(topic);
      for (const id of [before, ...during]) {
        const events = await store.database.query<{ id: string }>(
          'select id from platform.events where key = $1 and topic = $2 order by seq',
          [id, topic],
        );
        expect(firstIds(records, id)).toEqual(events.map((event) => event.id));
        expect(events).toHaveLength(1);
      }
    }
    const deadLetters = await store.database.query(`select from platform.dead_letters where key = any($1)`, [during]);
    expect(deadLetters).toEqual([]);
  });
}
