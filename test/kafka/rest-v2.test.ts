import { describe, expect, test } from 'vitest';
import { partitionForKey } from '../../dev/kafka/murmur2.ts';
import { type KafkaRecord, KafkaUnavailable } from '../../src/events/kafka/publish/publisher.ts';
import { restV2Publisher } from '../../src/events/kafka/publish/rest-v2.ts';
import { type FakeResponse, type ReceivedRequest, record, startFakeRest, utf8 } from '../support/kafka-publisher.ts';

type Sent = { key: string; value: string; headers?: { key: string; value: string }[] };

const sentIn = ({ body }: ReceivedRequest): Sent[] => JSON.parse(body).records;
/** The city of a record, in either mode. */
const cityOf = ({ value }: Sent): string => {
  const parsed = JSON.parse(utf8(value));
  return parsed.city ?? parsed.data.city;
};
const topicOf = ({ path }: ReceivedRequest): string => path.split('/').at(-1) ?? '';
const topics: FakeResponse = { body: ['cities', 'villages', '__consumer_offsets'] };

/** What the producer inside a bridge says after `max.block.ms` (Kafka, KafkaProducer.waitOnMetadata). */
const notInMetadata = 'Topic lost not present in metadata after 60000 ms.';
/** Kafka, KafkaProducer.ensureValidRecordSize. */
const tooLarge =
  'The message is 1100099 bytes when serialized which is larger than 1048576, which is the value of the max.request.size configuration.';

/** `fault`: the code and text that come of a record instead of an offset, by its city and topic. */
type Options = { fault?: (city: string, topic: string) => [number, string] | undefined; list?: FakeResponse };

/** github.com/strimzi/strimzi-kafka-bridge, HttpSourceBridgeEndpoint: 200, one item a record, `error_code` and `message`. */
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
 * github.com/Aiven-Open/karapace, kafka_rest_apis: 422 if any failed; 404 for a topic; unknown members are refused, and
 * until 6.2.3 headers were such (github.com/Aiven-Open/karapace/pull/1360).
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

/** github.com/redpanda-data/redpanda, kafka/client: one item a partition, in any order; Kafka's own error codes. */
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

test('keys are stored as they are, so that they hash as every other producer’s', async () => {
  const { publisher, requests } = await onStrimzi();
  const key = 'Zürich "1"';
  expect(await publisher.publish([record('Zürich', { key })])).toEqual([{ ok: true }]);
  expect(requests.map(({ method, path }) => `${method} ${path}`)).toEqual(['POST /topics/cities']);
  expect(requests[0]?.headers['content-type']).toBe('application/vnd.kafka.binary.v2+json');
  expect(requests[0]?.headers.authorization).toBeUndefined();
  expect(utf8(sentIn(requests[0] as ReceivedRequest)[0]?.key ?? '')).toBe(key);
});

test('where records have headers, the value is the payload alone', async () => {
  const { publisher, requests } = await onStrimzi();
  const one = record('Zürich');
  await publisher.publish([one]);
  const [sent] = sentIn(requests[0] as ReceivedRequest);
  expect(utf8(sent?.value ?? '')).toBe(one.value);
  expect(sent?.headers?.map(({ key, value }) => [key, utf8(value)])).toEqual(Object.entries(one.headers));
});

test('where they have none, the value is a CloudEvent in structured mode', async () => {
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

describe('a record that is refused', () => {
  test('by Strimzi, which answers 200, stops no other, and none is sent again', async () => {
    const { publisher, requests } = await onStrimzi({
      fault: (city) => (city === 'Rome' ? [500, 'a broker is away'] : undefined),
    });
    expect(await publisher.publish([record('Oslo'), record('Rome'), record('Bern')])).toEqual([
      { ok: true },
      { ok: false, permanent: false, reason: 'cities: 500: a broker is away' },
      { ok: true },
    ]);
    expect(requests).toHaveLength(1);
  });

  test('by Karapace, which answers 422 for all, stops no other', async () => {
    const { publisher } = await onKarapace({
      fault: (city) => (city === 'Rome' ? [2, 'NotLeaderForPartitionError'] : undefined),
    });
    expect(await publisher.publish([record('Oslo'), record('Rome'), record('Bern')])).toEqual([
      { ok: true },
      { ok: false, permanent: false, reason: 'cities: 2: NotLeaderForPartitionError' },
      { ok: true },
    ]);
  });

  test('by a Karapace that takes headers is found without sending any other again', async () => {
    const { publisher, requests } = await onKarapace(
      { fault: (city) => (city === 'Rome' ? [2, 'no'] : undefined) },
      true,
    );
    const answers = await publisher.publish([record('Oslo'), record('Rome'), record('Bern')]);
    expect(answers.map(({ ok }) => ok)).toEqual([true, false, true]);
    expect(requests).toHaveLength(1);
  });

  test('by Redpanda, which tells of partitions and in any order, is found', async () => {
    const failing = 3;
    const { publisher, taken } = await onRedpanda({ partition: failing, code: 6 });
    const records = Array.from({ length: 60 }, (_, index) => record(`city ${index}`));
    const answers = await publisher.publish(records);
    const refused = records.filter(({ key }) => partitionForKey(key, 6) === failing);
    expect(refused.length).toBeGreaterThan(3);
    expect(records.filter((_, index) => !answers[index]?.ok)).toEqual(refused);
    expect(new Set(taken).size).toBe(records.length - refused.length);
    const reason = 'cities: 6: it was not accepted';
    expect(answers.find(({ ok }) => !ok)).toEqual({ ok: false, permanent: false, reason });
  });

  test('by nobody takes one request at Redpanda, however many partitions there are', async () => {
    const { publisher, requests } = await onRedpanda(undefined);
    const answers = await publisher.publish(Array.from({ length: 60 }, (_, index) => record(`city ${index}`)));
    expect(answers).toEqual(Array.from({ length: 60 }, () => ({ ok: true })));
    expect(requests).toHaveLength(1);
  });

  const large = record('large');
  for (const [name, start] of [
    ['Strimzi', () => onStrimzi({ fault: (city) => (city === 'large' ? [500, tooLarge] : undefined) })],
    ['Karapace', () => onKarapace({ fault: (city) => (city === 'large' ? [1, 'Message too large'] : undefined) })],
    ['Redpanda', () => onRedpanda({ partition: partitionForKey(large.key, 6), code: 10 })],
  ] as const) {
    test(`by ${name} because it is too large is refused for good`, async () => {
      const { publisher } = await start();
      const other = record('Rome');
      expect(await publisher.publish([large, other])).toEqual([
        { ok: false, permanent: true, reason: expect.stringMatching(/^cities: .*large/) },
        { ok: true },
      ]);
    });
  }
});

describe('a topic that is missing is named', () => {
  const lost = record('Rome', { topic: 'lost' });
  const named = [{ ok: true }, { ok: false, permanent: true, reason: 'lost: there is no such topic' }];
  const code = (status: number) => (_: string, topic: string) =>
    topic === 'lost' ? ([status, notInMetadata] as [number, string]) : undefined;
  for (const [name, start] of [
    ['Strimzi, as not found', () => onStrimzi({ fault: code(404) })],
    ['Strimzi, as an error of its own', () => onStrimzi({ fault: code(500) })],
    ['Karapace', () => onKarapace()],
    ['Redpanda', () => onRedpanda(undefined)],
  ] as const) {
    test(`by ${name}`, async () => {
      const { publisher } = await start();
      expect(await publisher.publish([record('Oslo'), lost])).toEqual(named);
    });
  }

  test('by a bridge that is silent for as long as its producer looks for it', async () => {
    const { url } = await startFakeRest((one) => {
      if (one.method === 'GET') return topics;
      return topicOf(one) === 'lost' ? 'silence' : { body: { offsets: [{ partition: 0, offset: 1 }] } };
    });
    const publisher = restV2Publisher({ url, headers: true, deadlineMs: 200 });
    expect(await publisher.publish([record('Oslo'), lost])).toEqual(named);
  });
});

describe('Kafka is away, and nothing is known of the records,', () => {
  test('when a bridge finds no topic because it finds no broker', async () => {
    const { publisher } = await onStrimzi({ fault: () => [404, notInMetadata], list: { status: 500 } });
    await expect(publisher.publish([record('Oslo'), record('Rome')])).rejects.toThrow('500 for the list of topics');
  });

  test('when every record fails by its fault', async () => {
    const { publisher } = await onStrimzi({ fault: () => [500, 'Expiring 1 record(s) for cities-0:30001 ms'] });
    await expect(publisher.publish([record('Oslo'), record('Rome')])).rejects.toThrow(/^500: Expiring/);
  });

  for (const status of [401, 403, 408, 429, 500, 502, 503]) {
    test(`when it answers ${status}; it is asked once`, async () => {
      const { url, requests } = await startFakeRest(() => ({
        status,
        body: { error_code: status, message: 'not now' },
      }));
      const publisher = restV2Publisher({ url, headers: true });
      await expect(publisher.publish([record('Oslo'), record('Rome')])).rejects.toThrow(`${status}: not now`);
      expect(requests).toHaveLength(1);
    });
  }

  test('when it takes no headers and gets some: no record dies of a variable', async () => {
    const { url, requests } = await onKarapace();
    const publisher = restV2Publisher({ url, headers: true });
    const many = Array.from({ length: 100 }, (_, index) => record(`${index}`));
    await expect(publisher.publish(many)).rejects.toThrow('KAFKA_REST_HEADERS');
    await expect(publisher.publish([record('Oslo')])).rejects.toThrow(KafkaUnavailable);
    expect(requests.length).toBeLessThan(10);
  });

  test('when the address leads to something else', async () => {
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

test('a record that a server cannot read dies alone, and only at a server that is in its senses', async () => {
  const refusing = (list: FakeResponse, about: FakeResponse) =>
    startFakeRest((one) => {
      if (one.method === 'GET') return one.path === '/' ? about : list;
      const records = sentIn(one);
      if (records.some((sent) => cityOf(sent) === 'poison')) {
        return { status: 400, body: { error_code: 400, message: 'Validation error' } };
      }
      return { body: { offsets: records.map((_, offset) => ({ partition: 0, offset })) } };
    });
  const strimzi = { body: { bridge_version: '0.33.1' } };
  const poisonAt = (place: number): KafkaRecord[] =>
    Array.from({ length: 5 }, (_, index) => record(index === place ? 'poison' : `${index}`));
  for (const about of [strimzi, { body: {} }]) {
    for (const place of [0, 2, 4]) {
      const sane = restV2Publisher({ url: (await refusing(topics, about)).url, headers: true });
      const answers = await sane.publish(poisonAt(place));
      expect(answers.map(({ ok }) => ok)).toEqual(poisonAt(place).map(({ value }) => !value.includes('poison')));
      expect(answers[place]).toEqual({ ok: false, permanent: true, reason: 'cities: 400: Validation error' });
    }
  }
  const ill = restV2Publisher({ url: (await refusing({ status: 503 }, strimzi)).url, headers: true });
  expect((await ill.publish(poisonAt(1)))[1]).toMatchObject({ ok: false, permanent: false });
});
