import { describe, expect, test } from 'vitest';
import { partitionForKey } from '../../dev/kafka/murmur2.ts';
import { type KafkaRecord, KafkaUnavailable } from '../../src/events/kafka/publish/publisher.ts';
import { restV2Publisher } from '../../src/events/kafka/publish/rest-v2.ts';
import { type FakeResponse, type ReceivedRequest, record, startFakeRest, utf8 } from '../support/kafka/publisher.ts';

type Sent = { key: string; value: string; headers?: { key: string; value: string }[] };

const sentIn = ({ body }: ReceivedRequest): Sent[] => JSON.parse(body).records;
/** The city of a record, in binary or structured CloudEvents mode. */
const cityOf = ({ value }: Sent): string => {
  const parsed = JSON.parse(utf8(value));
  return parsed.city ?? parsed.data.city;
};
const topicOf = ({ path }: ReceivedRequest): string => path.split('/').at(-1) ?? '';
const topics: FakeResponse = { body: ['cities', 'villages', '__consumer_offsets'] };

/** The error of a bridge's producer after `max.block.ms` (Kafka, KafkaProducer.waitOnMetadata). */
const notInMetadata = 'Topic lost not present in metadata after 60000 ms.';
/** Kafka, KafkaProducer.ensureValidRecordSize. */
const tooLarge =
  'The message is 1100099 bytes when serialized which is larger than 1048576, which is the value of the max.request.size configuration.';

/** `fault` returns the error code and message of a record, by its city and topic. Without them it gets an offset. */
type Options = { fault?: (city: string, topic: string) => [number, string] | undefined; list?: FakeResponse };

/** github.com/strimzi/strimzi-kafka-bridge, HttpSourceBridgeEndpoint: 200, with one item per record. */
async function onStrimzi({ fault = () => undefined, list = topics }: Options = {}) {
  const { url, requests } = await startFakeRest((one) => {
    if (one.path === '/') return { body: { bridge_version: '0.33.1' } };
    if (one.method === 'GET') return list;
    const offsets = sentIn(one).map((sent, offset) => {
      const [code, message] = fault(cityOf(sent), topicOf(one)) ?? [];
      return code === undefined ? { partition: 2, offset } : { error_code: code, message };
    });
    return { body: { offsets } };
  });
  return { publisher: restV2Publisher({ url, headers: true, deadlineMs: 500 }), url, requests };
}

/**
 * github.com/Aiven-Open/karapace, kafka_rest_apis: 422 if any record failed, 404 for an unknown topic. It rejects
 * unknown fields. Until 6.2.3, headers were unknown (github.com/Aiven-Open/karapace/pull/1360).
 */
async function onKarapace({ fault = () => undefined, list = topics }: Options = {}, headers = false) {
  const { url, requests } = await startFakeRest((one) => {
    if (one.method === 'GET') return one.path === '/topics' ? list : { status: 404 };
    if (!(list.body as string[]).includes(topicOf(one))) {
      return { status: 404, body: { error_code: 40401, message: `Topic ${topicOf(one)} not found` } };
    }
    if (!headers && sentIn(one).some((sent) => sent.headers)) {
      return { status: 422, body: { error_code: 422, message: 'Invalid request format' } };
    }
    const offsets = sentIn(one).map((sent, offset) => {
      const [code, error] = fault(cityOf(sent), topicOf(one)) ?? [];
      return code === undefined ? { offset, partition: 0 } : { error_code: code, error };
    });
    const status = offsets.some((item) => 'error' in item) ? 422 : 200;
    return { status, body: { key_schema_id: null, value_schema_id: null, offsets } };
  });
  return { publisher: restV2Publisher({ url, headers, deadlineMs: 500 }), url, requests };
}

/** github.com/redpanda-data/redpanda, kafka/client: one item per partition, in any order, with Kafka's error codes. */
async function onRedpanda(failing: { partition: number; code: number } | undefined, partitions = 6) {
  const taken: string[] = [];
  const { url, requests } = await startFakeRest((one) => {
    if (one.method === 'GET') return one.path === '/topics' ? topics : { status: 404 };
    if (topicOf(one) === 'lost') return { body: { offsets: [{ partition: 0, error_code: 3, offset: -1 }] } };
    const used = new Map<number, Sent[]>();
    for (const sent of sentIn(one)) {
      const partition = partitionForKey(utf8(sent.key), partitions);
      used.set(partition, [...(used.get(partition) ?? []), sent]);
    }
    const offsets = [...used].reverse().map(([partition, records]) => {
      if (partition === failing?.partition) return { partition, error_code: failing.code, offset: -1 };
      taken.push(...records.map(cityOf));
      return { partition, offset: 10 };
    });
    return { body: { offsets } };
  });
  return { publisher: restV2Publisher({ url, headers: false, deadlineMs: 5_000 }), requests, taken };
}

test('keys are stored unchanged, so that they have the same hash as with other producers', async () => {
  const { publisher, requests } = await onStrimzi();
  const key = 'Zürich "1"';
  expect(await publisher.publish([record('Zürich', { key })])).toEqual([{ ok: true }]);
  expect(requests.map(({ method, path }) => `${method} ${path}`)).toEqual(['POST /topics/cities']);
  expect(requests[0]?.headers['content-type']).toBe('application/vnd.kafka.binary.v2+json');
  expect(requests[0]?.headers.authorization).toBeUndefined();
  expect(utf8(sentIn(requests[0] as ReceivedRequest)[0]?.key ?? '')).toBe(key);
});

test('if records have headers, the value is only the payload', async () => {
  const { publisher, requests } = await onStrimzi();
  const one = record('Zürich');
  await publisher.publish([one]);
  const [sent] = sentIn(requests[0] as ReceivedRequest);
  expect(utf8(sent?.value ?? '')).toBe(one.value);
  expect(sent?.headers?.map(({ key, value }) => [key, utf8(value)])).toEqual(Object.entries(one.headers));
});

test('if records have no headers, the value is a CloudEvent in structured mode', async () => {
  const { publisher, requests } = await onKarapace();
  const headers = {
    ce_specversion: '1.0',
    ce_id: 'a1',
    ce_type: 'cities',
    ce_source: '/fusioncommerce',
    ce_time: '2026-01-31T12:00:00.000Z',
    ce_tenantid: 'default',
    ce_traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    'content-type': 'application/json',
  };
  await publisher.publish([record('Zürich', { headers, value: '{"city":"Zürich","price":29.90}' })]);
  const [sent] = sentIn(requests[0] as ReceivedRequest);
  expect(Object.keys(sent ?? {})).toEqual(['key', 'value']);
  expect(JSON.parse(utf8(sent?.value ?? ''))).toEqual({
    specversion: '1.0',
    id: 'a1',
    type: 'cities',
    source: '/fusioncommerce',
    time: '2026-01-31T12:00:00.000Z',
    tenantid: 'default',
    traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    datacontenttype: 'application/json',
    data: { city: 'Zürich', price: 29.9 },
  });
  expect(utf8(sent?.value ?? '')).toContain('"price":29.90');
});

describe('a rejected record', () => {
  test('at Strimzi, which returns 200, does not affect the others, and none is sent again', async () => {
    const { publisher, requests } = await onStrimzi({
      fault: (city) => (city === 'Rome' ? [500, 'a broker is unavailable'] : undefined),
    });
    expect(await publisher.publish([record('Oslo'), record('Rome'), record('Bern')])).toEqual([
      { ok: true },
      { ok: false, permanent: false, reason: 'cities: 500: a broker is unavailable' },
      { ok: true },
    ]);
    expect(requests).toHaveLength(1);
  });

  test('at Karapace, which returns 422 for all records, does not affect the others', async () => {
    const { publisher } = await onKarapace({
      fault: (city) => (city === 'Rome' ? [2, 'NotLeaderForPartitionError'] : undefined),
    });
    expect(await publisher.publish([record('Oslo'), record('Rome'), record('Bern')])).toEqual([
      { ok: true },
      { ok: false, permanent: false, reason: 'cities: 2: NotLeaderForPartitionError' },
      { ok: true },
    ]);
  });

  test('at a Karapace with headers is found without sending the others again', async () => {
    const { publisher, requests } = await onKarapace(
      { fault: (city) => (city === 'Rome' ? [2, 'no'] : undefined) },
      true,
    );
    const results = await publisher.publish([record('Oslo'), record('Rome'), record('Bern')]);
    expect(results.map(({ ok }) => ok)).toEqual([true, false, true]);
    expect(requests).toHaveLength(1);
  });

  test('at Redpanda, which reports partitions in any order, is found', async () => {
    const failing = 3;
    const { publisher, taken } = await onRedpanda({ partition: failing, code: 6 });
    const records = Array.from({ length: 60 }, (_, index) => record(`city ${index}`));
    const results = await publisher.publish(records);
    const rejected = records.filter(({ key }) => partitionForKey(key, 6) === failing);
    expect(rejected.length).toBeGreaterThan(3);
    expect(records.filter((_, index) => !results[index]?.ok)).toEqual(rejected);
    expect(new Set(taken).size).toBe(records.length - rejected.length);
    const reason = 'cities: 6: it was not accepted';
    expect(results.find(({ ok }) => !ok)).toEqual({ ok: false, permanent: false, reason });
  });

  test('costs no extra request at Redpanda if there is none, however many partitions there are', async () => {
    const { publisher, requests } = await onRedpanda(undefined);
    const results = await publisher.publish(Array.from({ length: 60 }, (_, index) => record(`city ${index}`)));
    expect(results).toEqual(Array.from({ length: 60 }, () => ({ ok: true })));
    expect(requests).toHaveLength(1);
  });

  const large = record('large');
  for (const [name, start] of [
    ['Strimzi', () => onStrimzi({ fault: (city) => (city === 'large' ? [500, tooLarge] : undefined) })],
    ['Karapace', () => onKarapace({ fault: (city) => (city === 'large' ? [1, 'Message too large'] : undefined) })],
    ['Redpanda', () => onRedpanda({ partition: partitionForKey(large.key, 6), code: 10 })],
  ] as const) {
    test(`at ${name} is rejected permanently if it is too large`, async () => {
      const { publisher } = await start();
      const other = record('Rome');
      expect(await publisher.publish([large, other])).toEqual([
        { ok: false, permanent: true, reason: expect.stringMatching(/^cities: .*large/) },
        { ok: true },
      ]);
    });
  }
});

describe('a missing topic is named', () => {
  const lost = record('Rome', { topic: 'lost' });
  const named = [{ ok: true }, { ok: false, permanent: true, reason: 'lost: there is no such topic' }];
  const code = (status: number) => (_: string, topic: string) =>
    topic === 'lost' ? ([status, notInMetadata] as [number, string]) : undefined;
  for (const [name, start] of [
    ['Strimzi, as not found', () => onStrimzi({ fault: code(404) })],
    ['Strimzi, as an internal error', () => onStrimzi({ fault: code(500) })],
    ['Karapace', () => onKarapace()],
    ['Redpanda', () => onRedpanda(undefined)],
  ] as const) {
    test(`by ${name}`, async () => {
      const { publisher } = await start();
      expect(await publisher.publish([record('Oslo'), lost])).toEqual(named);
    });
  }

  test('by a bridge that does not respond while its producer looks for the topic', async () => {
    const { url } = await startFakeRest((one) => {
      if (one.method === 'GET') return topics;
      return topicOf(one) === 'lost' ? 'silence' : { body: { offsets: [{ partition: 0, offset: 1 }] } };
    });
    const publisher = restV2Publisher({ url, headers: true, deadlineMs: 200 });
    expect(await publisher.publish([record('Oslo'), lost])).toEqual(named);
  });
});

describe('Kafka counts as unavailable, and no record as rejected,', () => {
  test('when a bridge finds no topic because it finds no broker', async () => {
    const { publisher } = await onStrimzi({ fault: () => [404, notInMetadata], list: { status: 500 } });
    await expect(publisher.publish([record('Oslo'), record('Rome')])).rejects.toThrow('500 for the list of topics');
  });

  test('when every record fails with an error of Kafka', async () => {
    const { publisher } = await onStrimzi({ fault: () => [500, 'Expiring 1 record(s) for cities-0:30001 ms'] });
    await expect(publisher.publish([record('Oslo'), record('Rome')])).rejects.toThrow(/^500: Expiring/);
  });

  for (const status of [401, 403, 408, 429, 500, 502, 503]) {
    test(`when it responds with ${status}, without a retry`, async () => {
      const { url, requests } = await startFakeRest(() => ({
        status,
        body: { error_code: status, message: 'not now' },
      }));
      const publisher = restV2Publisher({ url, headers: true });
      await expect(publisher.publish([record('Oslo'), record('Rome')])).rejects.toThrow(`${status}: not now`);
      expect(requests).toHaveLength(1);
    });
  }

  test('when KAFKA_REST_HEADERS is true and the server does not support headers', async () => {
    const { url, requests } = await onKarapace();
    const publisher = restV2Publisher({ url, headers: true });
    const many = Array.from({ length: 100 }, (_, index) => record(`${index}`));
    await expect(publisher.publish(many)).rejects.toThrow('KAFKA_REST_HEADERS');
    await expect(publisher.publish([record('Oslo')])).rejects.toThrow(KafkaUnavailable);
    expect(requests.length).toBeLessThan(10);
  });

  test('when the URL is not a Kafka REST API', async () => {
    for (const [status, body] of [
      [200, '<html>Welcome</html>'],
      [200, '{}'],
      [200, '[]'],
      [200, 'null'],
      [200, '{"offsets":[]}'],
      [404, '<html>Not found</html>'],
      [405, '{}'],
      [422, '<html>'],
    ] as const) {
      for (const headers of [true, false]) {
        const { url } = await startFakeRest(() => ({ status, body }));
        const anything = restV2Publisher({ url, headers });
        await expect(anything.publish([record('Oslo'), record('Rome')]), `${status} ${body}`).rejects.toThrow(
          KafkaUnavailable,
        );
      }
    }
  });
});

test('a record that a server cannot read fails alone, and permanently only if the server is healthy', async () => {
  const startRejecting = (list: FakeResponse, about: FakeResponse) =>
    startFakeRest((one) => {
      if (one.method === 'GET') return one.path === '/' ? about : list;
      const records = sentIn(one);
      if (records.some((sent) => cityOf(sent) === 'poison')) {
        return { status: 400, body: { error_code: 400, message: 'Validation error' } };
      }
      return { body: { offsets: records.map((_, offset) => ({ partition: 0, offset })) } };
    });
  const strimzi = { body: { bridge_version: '0.33.1' } };
  const poisonAt = (position: number): KafkaRecord[] =>
    Array.from({ length: 5 }, (_, index) => record(index === position ? 'poison' : `${index}`));
  for (const about of [strimzi, { body: {} }]) {
    for (const position of [0, 2, 4]) {
      const healthy = restV2Publisher({ url: (await startRejecting(topics, about)).url, headers: true });
      const results = await healthy.publish(poisonAt(position));
      expect(results.map(({ ok }) => ok)).toEqual(poisonAt(position).map(({ value }) => !value.includes('poison')));
      expect(results[position]).toEqual({ ok: false, permanent: true, reason: 'cities: 400: Validation error' });
    }
  }
  const unhealthy = restV2Publisher({ url: (await startRejecting({ status: 503 }, strimzi)).url, headers: true });
  expect((await unhealthy.publish(poisonAt(1)))[1]).toMatchObject({ ok: false, permanent: false });
});
