import { once } from 'node:events';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { Kafka, UpstashError } from '@upstash/kafka';
import { describe, expect, test, vi } from 'vitest';
import { startKafka } from '../../dev/kafka/server.ts';
import { basic, manualClock, startKafkaFixture, TOPICS } from '../support/kafka/kafka.ts';

describe('with the Upstash client,', () => {
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

  test('the results of many records are in order, across topics, and offsets have no gap', async () => {
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

  test('a fetch from several partitions returns the records of each partition from its offset on', async () => {
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

  test('a fetch waits for a new record, and returns nothing if none arrives', async () => {
    const { producer, consumer } = await startKafkaFixture();
    const waiting = consumer.fetch({ topic: 'greetings', partition: 0, offset: 0, timeout: 20_000 });
    await producer.produce('greetings', 'late');
    expect((await waiting).map((message) => message.value)).toEqual(['late']);
    expect(await consumer.fetch({ topic: 'greetings', partition: 0, offset: 1, timeout: 10 })).toEqual([]);
  });

  test('topics are listed with their number of partitions', async () => {
    const { admin } = await startKafkaFixture();
    expect(await admin.topics()).toEqual({ cities: 4, greetings: 1 });
  });

  test('offsets are found by timestamp, earliest and latest', async () => {
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

  test('a wrong password is rejected with an error of the client', async () => {
    const { server } = await startKafkaFixture();
    const restoreTimers = withoutBackOff();
    const client = new Kafka({ url: server.url, username: 'dev', password: 'wrong' });
    const error = await client
      .admin()
      .topics()
      .catch((thrown: unknown) => thrown);
    restoreTimers();
    expect(error).toBeInstanceOf(UpstashError);
    expect(error).toMatchObject({ status: 401, error: expect.stringContaining('Unauthorized') });
  });
});

describe('over plain HTTP,', () => {
  test('a record can be produced with the path alone, and a key in the query', async () => {
    const { call, server } = await startKafkaFixture();
    const { status, body } = await call('/produce/cities/New%20York%2FNY?key=us+east');
    expect(status).toBe(200);
    expect(body).toMatchObject({ topic: 'cities', offset: 0 });
    expect([...server.read('cities')]).toMatchObject([{ key: 'us east', value: 'New York/NY', headers: [] }]);
  });

  test('the path of a topic accepts a message or an array, and responds with an array', async () => {
    const { post, server } = await startKafkaFixture();
    expect((await post('/produce/greetings', { value: 'one' })).body).toMatchObject([{ offset: 0 }]);
    const many = await post('/produce/greetings', [{ value: 'two' }, { value: 'three', key: 'k' }]);
    expect(many.body).toMatchObject([{ offset: 1 }, { offset: 2 }]);
    expect([...server.read('greetings')].map((record) => record.value)).toEqual(['one', 'two', 'three']);
  });

  test('a GET can have a body, as documented', async () => {
    const { server } = await startKafkaFixture();
    const body = JSON.stringify({ topic: 'greetings', value: 'got' });
    const headers = { authorization: basic('dev', 'dev'), 'content-length': body.length };
    const sent = request(`${server.url}/produce`, { method: 'GET', headers }).end(body);
    const [response] = await once(sent, 'response');
    expect(JSON.parse(await text(response))).toMatchObject([{ topic: 'greetings', offset: 0 }]);
  });

  test('a webhook stores its body and its own headers, and can have its credentials in the query', async () => {
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

  test('credentials in the query work for webhooks only', async () => {
    const { server } = await startKafkaFixture();
    expect((await fetch(`${server.url}/topics?user=dev&pass=dev`)).status).toBe(401);
    expect((await fetch(`${server.url}/topics`)).status).toBe(401);
  });

  test('GET / describes the emulator, without credentials', async () => {
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
  ])('%s %s is rejected with %i and an error that contains %s', async (method, path, status, named) => {
    const { call } = await startKafkaFixture();
    const { status: actual, body } = await call(path, { method });
    expect(actual).toBe(status);
    expect(body).toEqual({ status, error: expect.stringContaining(named) });
  });
});

describe('partitions', () => {
  test('records with the same key share a partition, and keyless records rotate over all partitions', async () => {
    const { producer } = await startKafkaFixture();
    const keyed = await producer.produceMany([1, 2, 3].map((n) => ({ topic: 'cities', key: 'foobar', value: n })));
    // murmur2('foobar') is -790332482 in Kafka's own tests: 1357151166 made positive, 2 modulo 4.
    expect(keyed.map((result) => result.partition)).toEqual([2, 2, 2]);
    const turns = new Set<number>();
    for (let i = 0; i < 4; i += 1) turns.add((await producer.produce('cities', 'keyless')).partition);
    expect(turns.size).toBe(4);
  });
});

describe('errors', () => {
  test('an invalid record has its error at its index, and the others are stored', async () => {
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
    const rejected = (status: number, text: string) => ({ status, error: expect.stringContaining(text) });
    expect(body).toEqual([
      expect.objectContaining({ offset: 0 }),
      rejected(404, "'villages'"),
      rejected(400, 'no partition 4'),
      rejected(413, '1048578 bytes'),
      rejected(400, 'value'),
      rejected(400, 'header'),
      expect.objectContaining({ offset: 1 }),
    ]);
    expect([...server.read('greetings')].map((record) => record.value)).toEqual(['kept', 'kept too']);
  });

  test('a single invalid message sets the status of the response', async () => {
    const { post } = await startKafkaFixture();
    const { status, body } = await post('/produce', { topic: 'villages', value: 'x' });
    expect({ status, body }).toEqual({ status: 404, body: { status: 404, error: "Topic 'villages' does not exist" } });
  });

  test('a record of exactly the size limit is accepted', async () => {
    const { producer } = await startKafkaFixture();
    expect(await producer.produce('greetings', 'x'.repeat(1024 * 1024))).toMatchObject({ offset: 0 });
  });

  test('an offset beyond the end is rejected, and the error shows the valid range', async () => {
    const { post, producer } = await startKafkaFixture();
    await producer.produce('greetings', 'only');
    const { status, body } = await post('/fetch', { topic: 'greetings', partition: 0, offset: 2 });
    expect(status).toBe(400);
    expect(body).toMatchObject({ error: expect.stringContaining('0..1') });
  });

  test('an unknown topic is created with autoCreate', async () => {
    const { producer, admin } = await startKafkaFixture({ autoCreate: true });
    expect(await producer.produce('villages', 'x')).toMatchObject({ topic: 'villages', partition: 0, offset: 0 });
    expect(await admin.topics()).toHaveProperty('villages', 1);
  });

  test('the start rejects with EADDRINUSE if the port is in use', async () => {
    const { server, dir } = await startKafkaFixture();
    const options = { port: server.port, dir, username: 'dev', password: 'dev', topics: TOPICS };
    await expect(startKafka(options)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});

/** The client tries six times, with 15 s of pauses in total. This removes the pauses. */
function withoutBackOff(): () => void {
  const backOff = new Set([1, 2, 3, 4, 5].map((attempt) => 2 ** attempt * 250));
  const wait = globalThis.setTimeout;
  const skip = (callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) =>
    wait(callback, args.length === 0 && backOff.has(ms ?? 0) ? 0 : ms, ...args);
  vi.stubGlobal('setTimeout', skip);
  return () => vi.unstubAllGlobals();
}
