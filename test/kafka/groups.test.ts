import { describe, expect, test } from 'vitest';
import { manualClock, startKafkaFixture } from '../support/kafka/kafka.ts';

const EARLIEST = 'earliest' as const;
const GROUP = { consumerGroupId: 'group', topics: ['cities'], autoOffsetReset: EARLIEST, timeout: 0 };

/** Two records in each of the four partitions of `cities`. */
const RECORDS = [0, 1, 2, 3, 0, 1, 2, 3].map((partition, n) => ({ topic: 'cities', partition, value: `${n}` }));

const sorted = (values: (string | number)[]) => values.toSorted();

describe('partition assignment', () => {
  test('two instances share the partitions, and each record goes to one of them', async () => {
    const { producer, consumer, admin } = await startKafkaFixture();
    await consumer.consume({ ...GROUP, instanceId: 'one' });
    await consumer.consume({ ...GROUP, instanceId: 'two' });
    await producer.produceMany(RECORDS);

    const one = await consumer.consume({ ...GROUP, instanceId: 'one' });
    const two = await consumer.consume({ ...GROUP, instanceId: 'two' });

    expect(sorted([...new Set(one.map((m) => m.partition))])).toEqual([0, 1]);
    expect(sorted([...new Set(two.map((m) => m.partition))])).toEqual([2, 3]);
    expect(sorted([...one, ...two].map((m) => m.value))).toEqual(RECORDS.map((record) => record.value));
    const instances = ['one', 'two'].map((name, i) => {
      return { name, topics: [{ topic: 'cities', partitions: [2 * i, 2 * i + 1] }] };
    });
    expect(await admin.consumers()).toEqual([{ name: 'group', instances }]);
  });

  test('the other instances take over the partitions and position of a removed instance', async () => {
    const { producer, consumer, admin } = await startKafkaFixture();
    await consumer.consume({ ...GROUP, instanceId: 'one' });
    await consumer.consume({ ...GROUP, instanceId: 'two' });
    await producer.produceMany(RECORDS);
    const read = await consumer.consume({ ...GROUP, instanceId: 'two' });
    await admin.removeConsumerInstance('group', 'two');

    const rest = await consumer.consume({ ...GROUP, instanceId: 'one' });
    expect(read).toHaveLength(4);
    expect(rest).toHaveLength(4);
    await producer.produceMany(RECORDS);
    expect(await consumer.consume({ ...GROUP, instanceId: 'one' })).toHaveLength(8);
  });

  test('an instance without requests loses its partitions after its session timeout', async () => {
    const clock = manualClock();
    const { producer, consumer, admin, post } = await startKafkaFixture({ now: clock.now });
    await consumer.consume({ ...GROUP, instanceId: 'one' });
    await post('/consume/group/two', { topic: 'cities', timeout: 0 }, { 'Kafka-Session-Timeout-Ms': '6000' });
    clock.move(5999);
    expect((await admin.consumers())[0]?.instances).toHaveLength(2);
    clock.move(1);
    await producer.produceMany(RECORDS);
    expect(await consumer.consume({ ...GROUP, instanceId: 'one' })).toHaveLength(8);
  });

  test('a new instance does not receive records that another has read and auto-commits', async () => {
    const { producer, consumer } = await startKafkaFixture();
    await producer.produceMany(RECORDS);
    expect(await consumer.consume({ ...GROUP, instanceId: 'one' })).toHaveLength(8);
    expect(await consumer.consume({ ...GROUP, instanceId: 'two' })).toEqual([]);
  });

  test('an instance does not reread a partition that it keeps', async () => {
    const { producer, consumer } = await startKafkaFixture();
    await producer.produceMany(RECORDS);
    const manual = { ...GROUP, autoCommit: false };
    expect(await consumer.consume({ ...manual, instanceId: 'one' })).toHaveLength(8);
    expect(await consumer.consume({ ...manual, instanceId: 'two' })).toHaveLength(4);
    expect(await consumer.consume({ ...manual, instanceId: 'one' })).toEqual([]);
  });

  test('an instance whose request waits longer than its session timeout is kept', async () => {
    const clock = manualClock();
    const { producer, consumer, admin } = await startKafkaFixture({ now: clock.now });
    const waiting = consumer.consume({ ...GROUP, instanceId: 'one', timeout: 20_000 });
    await expect.poll(async () => (await admin.consumers()).length).toBe(1);
    clock.move(120_000);
    expect(await admin.consumers()).toHaveLength(1);
    await producer.produce('cities', 'late');
    expect((await waiting).map((m) => m.value)).toEqual(['late']);
  });

  test('a waiting instance receives the records of a partition that another instance loses', async () => {
    const { producer, consumer, admin } = await startKafkaFixture();
    const options = { ...GROUP, topics: ['greetings', 'cities'], autoCommit: false };
    await consumer.consume({ ...options, topics: ['greetings'], instanceId: 'a' });
    await producer.produce('greetings', 'held');
    const waiting = consumer.consume({ ...options, instanceId: 'b', timeout: 20_000 });
    await expect.poll(async () => (await admin.consumers())[0]?.instances.length).toBe(2);
    await admin.removeConsumerInstance('group', 'a');
    expect((await waiting).map((m) => m.value)).toEqual(['held']);
  });

  test('a group has at most one instance per partition', async () => {
    const { call } = await startKafkaFixture({ topics: [{ name: 'greetings', partitions: 1, retentionMs: -1 }] });
    expect((await call('/consume/group/one/greetings?timeout=0')).status).toBe(200);
    expect((await call('/consume/group/two/greetings?timeout=0')).status).toBe(400);
    expect((await call('/consume/other/two/greetings?timeout=0')).status).toBe(200);
  });
});

describe('a new group', () => {
  test('starts at the end by default, and at the beginning with the offset reset earliest', async () => {
    const { producer, call, consumer } = await startKafkaFixture();
    await producer.produce('greetings', 'before');
    expect((await call('/consume/late/one/greetings?timeout=0')).body).toEqual([]);
    await producer.produce('greetings', 'after');
    expect((await call('/consume/late/one/greetings')).body).toMatchObject([{ value: 'after' }]);
    const early = await consumer.consume({ ...GROUP, topics: ['greetings'], instanceId: 'one' });
    expect(early.map((m) => m.value)).toEqual(['before', 'after']);
  });

  test('fails with the offset reset none, because it has no committed offset', async () => {
    const { call } = await startKafkaFixture();
    const headers = { 'Kafka-Auto-Offset-Reset': 'none' };
    const { status, body } = await call('/consume/group/one/greetings', { headers });
    expect({ status, body }).toMatchObject({ status: 400, body: { error: expect.stringContaining('greetings-0') } });
  });

  test('is rejected if a header has an invalid value', async () => {
    const { call } = await startKafkaFixture();
    const headers = { 'Kafka-Enable-Auto-Commit': 'maybe' };
    expect((await call('/consume/group/one/greetings', { headers })).status).toBe(400);
  });
});

describe('commits', () => {
  const committedIn = async (
    { consumer }: Pick<Awaited<ReturnType<typeof startKafkaFixture>>, 'consumer'>,
    partitions: number[],
  ) => {
    const topicPartitions = partitions.map((partition) => ({ topic: 'cities', partition }));
    const found = await consumer.committed({ consumerGroupId: 'group', instanceId: 'one', topicPartitions });
    return found.map(({ offset }) => offset);
  };

  test('without auto-commit, a new instance rereads uncommitted records', async () => {
    const kafka = await startKafkaFixture();
    const { producer, consumer, admin } = kafka;
    const manual = { ...GROUP, instanceId: 'one', autoCommit: false };
    await producer.produceMany(RECORDS);
    expect(await consumer.consume(manual)).toHaveLength(8);
    expect(await committedIn(kafka, [0, 1])).toEqual([-1, -1]);
    await consumer.commit({ ...manual, offset: { topic: 'cities', partition: 0, offset: 1 } });
    await consumer.commit({ ...manual, offset: [{ topic: 'cities', partition: 1, offset: 2 }] });
    expect(await committedIn(kafka, [0, 1])).toEqual([1, 2]);
    await admin.removeConsumerInstance('group', 'one');
    const again = await consumer.consume(manual);
    expect(sorted(again.map((m) => m.value))).toEqual(['2', '3', '4', '6', '7']);
  });

  test('a commit without offsets commits everything that was read', async () => {
    const kafka = await startKafkaFixture();
    const manual = { ...GROUP, instanceId: 'one', autoCommit: false };
    await kafka.producer.produceMany(RECORDS);
    await kafka.consumer.consume(manual);
    await kafka.consumer.commit(manual);
    expect(await committedIn(kafka, [0, 1, 2, 3])).toEqual([2, 2, 2, 2]);
    const topicPartition = { topic: 'cities', partition: 3 };
    expect(await kafka.admin.committedOffsets({ ...manual, topicPartition })).toEqual([
      { ...topicPartition, offset: 2 },
    ]);
  });

  test('auto-commit commits the records of earlier polls after its interval', async () => {
    const clock = manualClock();
    const kafka = await startKafkaFixture({ now: clock.now });
    const auto = { ...GROUP, instanceId: 'one', autoCommit: true, autoCommitInterval: 3000 };
    await kafka.producer.produceMany(RECORDS);
    await kafka.consumer.consume(auto);
    clock.move(2999);
    await kafka.consumer.consume(auto);
    expect(await committedIn(kafka, [0])).toEqual([-1]);
    clock.move(1);
    await kafka.producer.produceMany(RECORDS);
    expect(await kafka.consumer.consume(auto)).toHaveLength(8);
    expect(await committedIn(kafka, [0, 1, 2, 3])).toEqual([2, 2, 2, 2]);
  });

  test('committed offsets survive a restart, and auto-commit commits when the server stops', async () => {
    const first = await startKafkaFixture();
    await first.producer.produceMany(RECORDS);
    await first.consumer.consume({ ...GROUP, instanceId: 'one' });
    const manual = { ...GROUP, consumerGroupId: 'manual', instanceId: 'one', autoCommit: false };
    await first.consumer.consume(manual);
    await first.consumer.commit({ ...manual, offset: { topic: 'cities', partition: 2, offset: 1 } });
    await first.server.close();

    const second = await startKafkaFixture({ dir: first.dir });
    expect(await committedIn(second, [0, 1, 2, 3])).toEqual([2, 2, 2, 2]);
    expect(await second.consumer.consume({ ...GROUP, instanceId: 'one' })).toEqual([]);
    expect(await second.consumer.consume(manual)).toHaveLength(7);
  });
});

test('a long backlog is read completely, in order per key, and each record once', async () => {
  const { producer, consumer } = await startKafkaFixture();
  const total = 2600;
  const backlog = Array.from({ length: total }, (_, n) => ({ topic: 'cities', key: `k${n % 50}`, value: `${n}` }));
  await producer.produceMany(backlog);
  const last = new Map<string, number>();
  let count = 0;
  for (let found = -1; found !== 0; count += Math.max(found, 0)) {
    const messages = await consumer.consume({ ...GROUP, instanceId: 'one' });
    found = messages.length;
    expect(found).toBeLessThanOrEqual(500);
    for (const { key, value } of messages) {
      expect(Number(value)).toBeGreaterThan(last.get(key) ?? -1);
      last.set(key, Number(value));
    }
  }
  expect(count).toBe(total);
});

test('a partition with a long backlog does not delay the others', async () => {
  const { producer, consumer } = await startKafkaFixture();
  await producer.produceMany(Array.from({ length: 1200 }, () => ({ topic: 'cities', partition: 0, value: 'many' })));
  await producer.produce('cities', 'one', { partition: 3 });
  await consumer.consume({ ...GROUP, instanceId: 'one' });
  const second = await consumer.consume({ ...GROUP, instanceId: 'one' });
  expect(second.map((m) => m.value)).toContain('one');
});
