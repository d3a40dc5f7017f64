import { once } from 'node:events';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { Kafka, UpstashError } from '@upstash/kafka';
import { describe, expect, test, vi } from 'vitest';
import { startKafka } from '../../dev/kafka/server.ts';
import { basic, manualClock, startKafkaFixture, TOPICS } from '../support/kafka.ts';

describe('by its own client', () => {
  test('a record is fetched as it was produced: key, value, headers in order, timestamp', async () => {
    const { producer, consumer } = await startKafkaFixture({ now: manualClock(5000).now });
    const headers = ['b', 'a', 'b'].map((key, i) => ({ key, value: `${i}` }));

    const metadata = await producer.produce('cities', { name: 'İstanbul' }, { key: 'tr', headers, timestamp: 4000 });

    expect(metadata).toEqual({ topic: 'cities', partition: expect.any(Number), offset: 0, timestamp: 4000 });
    const { partition } = metadata;
    const value = '{"name":"İstanbul"}';
    expect(await consumer.fetch({ topic: 'cities', partition, offset: 0 })).toEqual([
      { topic: 'cities', partition, offset: 0, timestamp: 4000, key: 'tr', value, headers },
    ]);
  });

  test('many records are answered in their order, across topics, and offsets have no gap', async () => {
    const { producer } = await startKafkaFixture({ now: manualClock(5000).now });
    const results = await producer.produceMany([
      { topic: 'greetings', value: 'hello' },
      { topic: 'cities', value: 'Rome', partition: 2 },
      { topic: 'greetings', value: 'hi' },
    ]);
    const timestamp = 5000;
    expect(results).toEqual([
      { topic: 'greetings', partition: 0, offset: 0, timestamp },
      { topic: 'cities', partition: 2, offset: 0, timestamp },
      { topic: 'greetings', partition: 0, offset: 1, timestamp },
    ]);
  });

  test('a fetch from several partitions returns the records of each, from its offset on', async () => {
    const { producer, consumer } = await startKafkaFixture();
    for (const value of ['a', 'b', 'c']) {
      await producer.produceMany([0, 3].map((partition) => ({ topic: 'cities', partition, value })));
    }
    const topicPartitionOffsets = [
      { topic: 'cities', partition: 0, offset: 2 },
      { topic: 'cities', partition: 3, offset: 1 },
    ];
    for (const parallel of [true, false]) {
      const found = await consumer.fetch({ topicPartitionOffsets, timeout: 0 }, { parallel });
      expect(found.map(({ partition, value }) => `${partition}${value}`)).toEqual(['0c', '3b', '3c']);
    }
  });

  test('a fetch waits for a record that is not there yet, and ends empty when none comes', async () => {
    const { producer, consumer } = await startKafkaFixture();
    const waiting = consumer.fetch({ topic: 'greetings', partition: 0, offset: 0, timeout: 20_000 });
    await producer.produce('greetings', 'late');
    expect((await waiting).map((message) => message.value)).toEqual(['late']);
    expect(await consumer.fetch({ topic: 'greetings', partition: 0, offset: 1, timeout: 10 })).toEqual([]);
  });

  test('topics are listed with their partitions', async () => {
    const { admin } = await startKafkaFixture();
    expect(await admin.topics()).toEqual({ cities: 4, greetings: 1 });
  });

  test('offsets are found by timestamp, and the first and the next one', async () => {
    const { producer, admin } = await startKafkaFixture({ now: () => 10_000 });
    await producer.produceMany([1000, 3000, 2000].map((timestamp) => ({ topic: 'greetings', value: 'x', timestamp })));
    const topicPartition = { topic: 'greetings', partition: 0 };
    const offsetAt = async (timestamp: number | 'earliest' | 'latest') =>
      (await admin.topicPartitionOffsets({ timestamp, topicPartition }))[0]?.offset;

    expect(await offsetAt(1000)).toBe(0);
    expect(await offsetAt(1001)).toBe(1);
    expect(await offsetAt(3000)).toBe(1);
    expect(await offsetAt(3001)).toBe(-1);
    expect(await offsetAt('earliest')).toBe(0);
    expect(await offsetAt('latest')).toBe(3);
  });

  test('a wrong password is refused with an error of the client', async () => {
    const { server } = await startKafkaFixture();
    const restoreTimers = withoutBackOff();
    const stranger = new Kafka({ url: server.url, username: 'dev', password: 'wrong' });
    const refused = await stranger
      .admin()
      .topics()
      .catch((error: unknown) => error);
    restoreTimers();
    expect(refused).toBeInstanceOf(UpstashError);
    expect(refused).toMatchObject({ status: 401, error: expect.stringContaining('Unauthorized') });
  });
});

describe('by its paths', () => {
  test('a record is produced by the path alone, with a key in the query', async () => {
    const { call, server } = await startKafkaFixture();
    const { status, body } = await call('/produce/cities/New%20York%2FNY?key=us+east');
    expect(status).toBe(200);
    expect(body).toMatchObject({ topic: 'cities', offset: 0 });
    expect([...server.read('cities')]).toMatchObject([{ key: 'us east', value: 'New York/NY', headers: [] }]);
  });

  test('a body at the path of a topic is a message or an array, answered by an array', async () => {
    const { post, server } = await startKafkaFixture();
    expect((await post('/produce/greetings', { value: 'one' })).body).toMatchObject([{ offset: 0 }]);
    const many = await post('/produce/greetings', [{ value: 'two' }, { value: 'three', key: 'k' }]);
    expect(many.body).toMatchObject([{ offset: 1 }, { offset: 2 }]);
    expect([...server.read('greetings')].map((record) => record.value)).toEqual(['one', 'two', 'three']);
  });

  test('a GET may have a body, as the documentation has it', async () => {
    const { server } = await startKafkaFixture();
    const body = JSON.stringify({ topic: 'greetings', value: 'got' });
    const headers = { authorization: basic('dev', 'dev'), 'content-length': body.length };
    const sent = request(`${server.url}/produce`, { method: 'GET', headers }).end(body);
    const [response] = await once(sent, 'response');
    expect(JSON.parse(await text(response))).toMatchObject([{ topic: 'greetings', offset: 0 }]);
  });

  test('a webhook stores its body and the headers that are its own, with credentials in the query too', async () => {
    const { server } = await startKafkaFixture();
    const send = (query: string) =>
      fetch(`${server.url}/webhook?topic=greetings&${query}`, {
        method: 'POST',
        body: 'some event',
        headers: { 'event-origin': 'my-app' },
      });
    expect((await send('user=dev&pass=wrong')).status).toBe(401);
    expect((await send('user=dev&pass=dev')).status).toBe(200);
    const headers = [{ key: 'event-origin', value: 'my-app' }];
    expect([...server.read('greetings')]).toMatchObject([{ value: 'some event', headers }]);
  });

  test('credentials in the query open nothing but the webhook', async () => {
    const { server } = await startKafkaFixture();
    expect((await fetch(`${server.url}/topics?user=dev&pass=dev`)).status).toBe(401);
    expect((await fetch(`${server.url}/topics`)).status).toBe(401);
  });

  test('it says what it is, without credentials', async () => {
    const { server } = await startKafkaFixture();
    expect(await (await fetch(server.url)).text()).toContain('local emulator of the Upstash Kafka REST protocol');
  });

  test.each([
    ['GET', '/nothing', 404, 'no API'],
    ['GET', '/consume/group', 404, 'no API'],
    ['DELETE', '/topics', 405, 'GET'],
    ['GET', '/produce/villages/x', 404, "'villages'"],
    ['GET', '/consume/group/instance/villages', 404, "'villages'"],
    ['GET', '/offsets/yesterday', 400, "'yesterday'"],
    ['GET', '/produce/%zz/x', 400, '%zz'],
    ['POST', '/commit/group/nobody', 404, "'nobody'"],
    ['DELETE', '/delete-consumer/group/nobody', 404, "'nobody'"],
  ])('%s %s is refused with %i and a text that names %s', async (method, path, status, named) => {
    const { call } = await startKafkaFixture();
    const { status: answered, body } = await call(path, { method });
    expect(answered).toBe(status);
    expect(body).toEqual({ status, error: expect.stringContaining(named) });
  });
});

describe('partitions', () => {
  test('records of one key stay in one partition, and records without a key take turns', async () => {
    const { producer } = await startKafkaFixture();
    const keyed = await producer.produceMany([1, 2, 3].map((n) => ({ topic: 'cities', key: 'foobar', value: n })));
    // murmur2('foobar') is -790332482 in Kafka's own tests: 1357151166 made positive, 2 modulo 4.
    expect(keyed.map((result) => result.partition)).toEqual([2, 2, 2]);
    const turns = new Set<number>();
    for (let i = 0; i < 4; i += 1) turns.add((await producer.produce('cities', 'keyless')).partition);
    expect(turns.size).toBe(4);
  });
});

describe('refusals', () => {
  test('a record that cannot be taken is refused in its place and the others are kept', async () => {
    const { post, server } = await startKafkaFixture();
    const { status, body } = await post('/produce', [
      { topic: 'greetings', value: 'kept' },
      { topic: 'villages', value: 'no such topic' },
      { topic: 'cities', partition: 4, value: 'no such partition' },
      { topic: 'greetings', value: 'ü'.repeat(524_289) },
      { topic: 'greetings' },
      { topic: 'greetings', value: 'v', headers: [{ key: 'k' }] },
      { topic: 'greetings', value: 'kept too' },
    ]);
    expect(status).toBe(200);
    const refused = (status: number, text: string) => ({ status, error: expect.stringContaining(text) });
    expect(body).toEqual([
      expect.objectContaining({ offset: 0 }),
      refused(404, "'villages'"),
      refused(400, 'no partition 4'),
      refused(413, '1048578 bytes'),
      refused(400, 'value'),
      refused(400, 'header'),
      expect.objectContaining({ offset: 1 }),
    ]);
    expect([...server.read('greetings')].map((record) => record.value)).toEqual(['kept', 'kept too']);
  });

  test('one message alone is refused with its status', async () => {
    const { post } = await startKafkaFixture();
    const { status, body } = await post('/produce', { topic: 'villages', value: 'x' });
    expect({ status, body }).toEqual({ status: 404, body: { status: 404, error: "Topic 'villages' does not exist" } });
  });

  test('a record of exactly the limit is taken', async () => {
    const { producer } = await startKafkaFixture();
    expect(await producer.produce('greetings', 'x'.repeat(1024 * 1024))).toMatchObject({ offset: 0 });
  });

  test('an offset beyond the end is refused with the range that there is', async () => {
    const { post, producer } = await startKafkaFixture();
    await producer.produce('greetings', 'only');
    const { status, body } = await post('/fetch', { topic: 'greetings', partition: 0, offset: 2 });
    expect(status).toBe(400);
    expect(body).toMatchObject({ error: expect.stringContaining('0..1') });
  });

  test('an unknown topic is made when that is asked for', async () => {
    const { producer, admin } = await startKafkaFixture({ autoCreate: true });
    expect(await producer.produce('villages', 'x')).toMatchObject({ topic: 'villages', partition: 0, offset: 0 });
    expect(await admin.topics()).toHaveProperty('villages', 1);
  });

  test('a taken port rejects the start with EADDRINUSE', async () => {
    const { server, dir } = await startKafkaFixture();
    const options = { port: server.port, dir, username: 'dev', password: 'dev', topics: TOPICS };
    await expect(startKafka(options)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});

/** The client tries six times and waits between, for 15 s altogether; this lets it wait for nothing. */
function withoutBackOff(): () => void {
  const backOff = new Set([1, 2, 3, 4, 5].map((attempt) => 2 ** attempt * 250));
  const wait = globalThis.setTimeout;
  const skip = (callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) =>
    wait(callback, args.length === 0 && backOff.has(ms ?? 0) ? 0 : ms, ...args);
  vi.stubGlobal('setTimeout', skip);
  return () => vi.unstubAllGlobals();
}
