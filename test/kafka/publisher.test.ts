import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { ChooseFault, FaultyRequest } from '../../dev/kafka/faults.ts';
import { partitionForKey } from '../../dev/kafka/murmur2.ts';
import { type KafkaRecord, KafkaUnavailable } from '../../src/events/kafka/publish/publisher.ts';
import { upstashPublisher } from '../../src/events/kafka/publish/upstash.ts';
import { startKafkaFixture } from '../support/kafka/kafka.ts';
import { startFakeRest } from '../support/kafka/publisher.ts';

const record = (value: string, more: Partial<KafkaRecord> = {}): KafkaRecord => ({
  topic: 'cities',
  key: `key of ${value}`,
  value,
  headers: { ce_id: `id of ${value}`, ce_type: 'cities' },
  ...more,
});

/** Creates a publisher for the Kafka emulator and records its requests. */
async function onKafka(
  fault: ChooseFault = () => undefined,
  settings: { path?: string; password?: string; deadlineMs?: number } = {},
) {
  const requests: FaultyRequest[] = [];
  const { server } = await startKafkaFixture({
    fault: (request) => {
      requests.push(request);
      return fault(request);
    },
  });
  const publisher = upstashPublisher({
    url: server.url + (settings.path ?? ''),
    username: 'dev',
    password: settings.password ?? 'dev',
    deadlineMs: settings.deadlineMs ?? 30_000,
  });
  const values = () => [...server.read('cities')].map(({ value }) => value).sort();
  return { publisher, requests, server, values };
}

/** Creates a publisher for an HTTP server that is not Kafka and always sends the same response. */
async function onAnything(status: number, body: string) {
  const server = createServer((_request, response) => response.writeHead(status).end(body));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return upstashPublisher({ url: `http://127.0.0.1:${port}`, username: 'dev', password: 'dev' });
}

test('records are stored unchanged: the value, the headers, and the partition of the key', async () => {
  const { publisher, requests, server } = await onKafka();
  const records = Array.from({ length: 40 }, (_, index) => record(`{"city":"München ${index}"}`));
  expect(await publisher.publish(records)).toEqual(records.map(() => ({ ok: true })));
  expect(requests).toHaveLength(1);
  const kept = [...server.read('cities')];
  expect(new Set(kept.map(({ partition }) => partition)).size).toBe(4);
  for (const { key, value, headers } of records) {
    expect(kept.filter((each) => each.key === key)).toEqual([
      expect.objectContaining({
        value,
        partition: partitionForKey(key, 4),
        headers: Object.entries(headers).map(([name, text]) => ({ key: name, value: text })),
      }),
    ]);
  }
});

describe('Kafka counts as unavailable, and no record as rejected,', () => {
  for (const status of [401, 402, 403, 408, 425, 429, 500, 502, 503, 504]) {
    test(`when it responds with ${status}, without a retry`, async () => {
      const { publisher, requests } = await onKafka(() => ({ reject: { status, error: 'not now' } }));
      await expect(publisher.publish([record('Oslo'), record('Rome')])).rejects.toThrow(`${status}: not now`);
      await expect(publisher.publish([record('Oslo')])).rejects.toThrow(KafkaUnavailable);
      expect(requests).toHaveLength(2);
    });
  }

  test('when the password is wrong', async () => {
    const { publisher, values } = await onKafka(undefined, { password: 'forgotten' });
    await expect(publisher.publish([record('Oslo')])).rejects.toThrow(/^401: /);
    expect(values()).toEqual([]);
  });

  test('when it does not respond before the deadline, without a retry', async () => {
    let release = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { publisher, requests } = await onKafka(() => gate.then(() => undefined), { deadlineMs: 500 });
    await expect(publisher.publish([record('Oslo')])).rejects.toThrow('no response in 500 ms');
    expect(requests).toHaveLength(1);
    release();
  });

  test('when the connection closes, even after the records were stored, without a retry', async () => {
    const { publisher, requests, values } = await onKafka(() => ({ drop: 'after' }));
    await expect(publisher.publish([record('Oslo')])).rejects.toThrow(KafkaUnavailable);
    expect(requests).toHaveLength(1);
    expect(values()).toEqual(['Oslo']);
  });

  test('when nothing listens on the port', async () => {
    const publisher = upstashPublisher({ url: 'http://127.0.0.1:9', username: 'dev', password: 'dev' });
    await expect(publisher.publish([record('Oslo')])).rejects.toThrow(KafkaUnavailable);
  });

  test('when the URL is not a Kafka REST API', async () => {
    const { publisher } = await onKafka(undefined, { path: '/elsewhere' });
    await expect(publisher.publish([record('Oslo'), record('Rome')])).rejects.toThrow('no Kafka REST API');
    await expect(publisher.publish([record('Oslo')])).rejects.toThrow('no Kafka REST API');
    for (const [status, body] of [
      [200, '<html>Welcome</html>'],
      [404, '<html>Not found</html>'],
      [404, '{}'],
      [400, '{"message": "what?"}'],
      [200, '{"result": "Success"}'],
      [200, '[]'],
      [200, 'null'],
    ] as const) {
      const anything = await onAnything(status, body);
      await expect(anything.publish([record('Oslo')]), `${status} ${body}`).rejects.toThrow(KafkaUnavailable);
    }
  });
});

describe('a rejected record', () => {
  test('does not affect the others, and says whether a retry can help', async () => {
    const statuses = [400, 404, 413, 422, 401, 403, 408, 429, 500, 503];
    const { publisher, values } = await onKafka(() => ({
      rejectRecords: statuses.map((status, index) => ({ index: index + 1, status, error: 'no' })),
    }));
    const names = ['first', ...statuses.map(String), 'last'];
    const results = await publisher.publish(names.map((name) => record(name)));
    expect(results[0]).toEqual({ ok: true });
    expect(results.at(-1)).toEqual({ ok: true });
    expect(statuses.filter((_, index) => JSON.stringify(results[index + 1]).includes('"permanent":true'))).toEqual([
      400, 404, 413, 422,
    ]);
    expect(results[1]).toEqual({ ok: false, permanent: true, reason: 'cities: no' });
    expect(values()).toEqual(['first', 'last']);
  });

  test('names its topic if the topic does not exist', async () => {
    const { publisher } = await onKafka();
    const results = await publisher.publish([record('Oslo'), record('Rome', { topic: 'villages' })]);
    expect(results).toEqual([
      { ok: true },
      { ok: false, permanent: true, reason: "villages: Topic 'villages' does not exist" },
    ]);
  });

  test('is rejected permanently if it is too large', async () => {
    const { publisher, values } = await onKafka();
    const results = await publisher.publish([record('x'.repeat(1_100_000)), record('Rome')]);
    expect(results).toEqual([expect.objectContaining({ ok: false, permanent: true }), { ok: true }]);
    expect(values()).toEqual(['Rome']);
  });

  for (const status of [400, 404, 413]) {
    test(`that makes its whole request fail (${status}) is found, and the others are stored once`, async () => {
      const { publisher, requests, values } = await onKafka(({ records = [] }) =>
        JSON.stringify(records).includes('poison') ? { reject: { status, error: 'bad request' } } : undefined,
      );
      const names = Array.from({ length: 64 }, (_, index) => (index === 37 ? 'poison' : `city ${index}`));
      const results = await publisher.publish(names.map((name) => record(name)));
      expect(results.flatMap((result, index) => (result.ok ? [] : [index]))).toEqual([37]);
      expect(results[37]).toMatchObject({ ok: false, permanent: true, reason: 'cities: bad request' });
      expect(values()).toEqual(names.filter((name) => name !== 'poison').sort());
      expect(requests.length).toBeLessThan(20);
    });
  }
});

test('a rejected batch is split until one deadline, and records that were not sent by then can be retried', async () => {
  const { url, requests } = await startFakeRest((_request, response) => {
    setTimeout(() => response.writeHead(400).end('{"error": "too large", "status": 400}'), 100);
    return undefined;
  });
  const publisher = upstashPublisher({ url, username: 'dev', password: 'dev', deadlineMs: 450 });
  const results = await publisher.publish(Array.from({ length: 64 }, (_, index) => record(`city ${index}`)));
  expect(requests.length).toBeLessThan(20); // splitting down to single records would take 127
  expect(results).toHaveLength(64);
  for (const result of results.slice(1)) expect(result).toMatchObject({ ok: false, permanent: false });
});
