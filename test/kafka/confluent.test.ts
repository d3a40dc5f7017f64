import { describe, expect, test } from 'vitest';
import { splitJsonObjects } from '../../src/events/kafka/json-texts.ts';
import { confluentPublisher } from '../../src/events/kafka/publish/confluent.ts';
import { KafkaUnavailable } from '../../src/events/kafka/publish/publisher.ts';
import { type FakeResponse, type ReceivedRequest, record, startFakeRest, utf8 } from '../support/kafka/publisher.ts';

type Sent = {
  headers: { name: string; value: string }[];
  key: { type: string; data: string };
  value: { type: string; data: string };
};

const sentIn = ({ body }: ReceivedRequest): Sent[] => splitJsonObjects(body) as Sent[];
const cityOf = (sent: Sent): string => JSON.parse(utf8(sent.value.data)).city;

/** A record report as in docs.confluent.io/cloud/current/api.html#tag/Records-(v3)/operation/produceRecord. */
const report = (offset: number) => ({
  error_code: 200,
  cluster_id: 'lkc-abc123',
  topic_name: 'cities',
  partition_id: 1,
  offset,
  timestamp: '2021-02-05T19:14:42Z',
  key: { type: 'STRING', size: 7 },
  value: { type: 'BINARY', size: 16 },
});
/** From kafka-rest (Errors.java) and rest-utils (KafkaExceptionMapper.java). */
const noTopic = { error_code: 40403, message: 'This server does not host this topic-partition.' };
/** The error of REST Proxy after 60 s (github.com/confluentinc/rest-utils/pull/310). */
const notInMetadata = { error_code: 40401, message: 'Topic cities not present in metadata after 60000 ms.' };
/** The error of older versions (github.com/confluentinc/kafka-rest/issues/133). */
const noMetadata = { error_code: 50003, message: 'Failed to update metadata after 28 ms.' };

const listOf = (...names: string[]): FakeResponse => ({
  body: {
    kind: 'KafkaTopicList',
    metadata: {
      self: 'https://pkc-00000.region.provider.confluent.cloud/kafka/v3/clusters/lkc-abc123/topics',
      next: null,
    },
    data: names.map((name) => ({ kind: 'KafkaTopic', topic_name: name, partitions_count: 6, replication_factor: 3 })),
  },
});

/** Starts a fake Confluent cluster with the topic `cities`. `reportOf` returns the report of a record, by its city. */
async function onConfluent(
  reportOf: (city: string, topic: string) => object = () => report(1),
  {
    list = listOf('cities', 'villages'),
    request,
  }: { list?: FakeResponse; request?: (received: ReceivedRequest) => FakeResponse | undefined } = {},
) {
  const { url, requests } = await startFakeRest((one) => {
    if (one.method === 'GET') return list;
    const rejection = request?.(one);
    if (rejection) return rejection;
    const topic = one.path.split('/').at(-2) ?? '';
    return {
      body: sentIn(one)
        .map((sent) => JSON.stringify(reportOf(cityOf(sent), topic)))
        .join('\r\n'),
    };
  });
  const settings = {
    url: `${url}/kafka/`,
    username: 'key',
    password: 'sécret',
    clusterId: 'lkc-abc123',
    deadlineMs: 30_000,
  };
  const produced = () => requests.filter(({ method }) => method === 'POST');
  return { publisher: confluentPublisher(settings), settings, requests, produced };
}

test('records are sent as concatenated JSON: keys as text, values byte for byte, with headers', async () => {
  const { publisher, requests } = await onConfluent();
  const records = [record('München "}{" 🏙'), record('Oslo')];
  expect(await publisher.publish(records)).toEqual([{ ok: true }, { ok: true }]);
  expect(requests).toHaveLength(1);
  const [{ method, path, headers }] = requests as [ReceivedRequest];
  expect(`${method} ${path}`).toBe('POST /kafka/v3/clusters/lkc-abc123/topics/cities/records');
  expect(headers.authorization).toBe(`Basic ${Buffer.from('key:sécret').toString('base64')}`);
  expect(headers['content-type']).toBe('application/json');
  const sent = sentIn(requests[0] as ReceivedRequest);
  expect(sent.map(({ key }) => key)).toEqual(records.map(({ key }) => ({ type: 'STRING', data: key })));
  expect(sent.map(({ value }) => utf8(value.data))).toEqual(records.map(({ value }) => value));
  expect(sent[0]?.headers.map(({ name, value }) => [name, utf8(value)])).toEqual(
    Object.entries(records[0]?.headers ?? {}),
  );
});

test('a token is sent as a Bearer token', async () => {
  const { settings, requests } = await onConfluent();
  await confluentPublisher({ ...settings, token: 'abc' }).publish([record('Oslo')]);
  expect(requests[0]?.headers.authorization).toBe('Bearer abc');
});

describe('a rejected record', () => {
  test('does not affect the others, and says whether a retry can help', async () => {
    const codes = [400, 40002, 413, 42206, 40301, 401, 42901, 500, 50003];
    const { publisher, produced } = await onConfluent((city) =>
      city === 'fine' ? report(7) : { error_code: Number(city), message: 'no' },
    );
    const results = await publisher.publish(['fine', ...codes, 'fine'].map((city) => record(String(city))));
    expect([results[0], results.at(-1)]).toEqual([{ ok: true }, { ok: true }]);
    const permanent = codes.filter((_, index) => JSON.stringify(results[index + 1]).includes('"permanent":true'));
    expect(permanent).toEqual([400, 40002, 413, 42206]);
    expect(results[1]).toEqual({ ok: false, permanent: true, reason: 'cities: 400: no' });
    expect(produced()).toHaveLength(1);
  });

  for (const error of [noTopic, notInMetadata, noMetadata]) {
    test(`names its topic if the topic does not exist (${error.error_code})`, async () => {
      const { publisher } = await onConfluent((_, topic) => (topic === 'lost' ? error : report(1)));
      expect(await publisher.publish([record('Oslo'), record('Rome', { topic: 'lost' })])).toEqual([
        { ok: true },
        { ok: false, permanent: true, reason: 'lost: there is no such topic' },
      ]);
    });

    test(`can be retried if its topic exists (${error.error_code})`, async () => {
      const { publisher } = await onConfluent((city) => (city === 'Rome' ? error : report(1)));
      expect(await publisher.publish([record('Oslo'), record('Rome')])).toEqual([
        { ok: true },
        { ok: false, permanent: false, reason: `cities: ${error.error_code}: ${error.message}` },
      ]);
    });
  }

  test('that makes its whole request fail is found, and the others are stored', async () => {
    const taken: string[] = [];
    const { publisher, produced } = await onConfluent(undefined, {
      request: (received) => {
        const cities = sentIn(received).map(cityOf);
        if (cities.includes('poison')) return { status: 413, body: { error_code: 413, message: 'Request too large' } };
        taken.push(...cities);
        return undefined;
      },
    });
    const cities = Array.from({ length: 64 }, (_, index) => (index === 37 ? 'poison' : `city ${index}`));
    const results = await publisher.publish(cities.map((city) => record(city)));
    expect(results.flatMap((result, index) => (result.ok ? [] : [index]))).toEqual([37]);
    expect(results[37]).toEqual({ ok: false, permanent: true, reason: 'cities: 413: Request too large' });
    expect(taken.sort()).toEqual(cities.filter((city) => city !== 'poison').sort());
    expect(produced().length).toBeLessThan(20);
  });
});

describe('an incomplete response', () => {
  test('counts up to where it ends: reported records are accepted, the others can be retried', async () => {
    const { url } = await startFakeRest((_, response) => {
      const [first, second] = [JSON.stringify(report(1)), JSON.stringify({ ...report(2), note: 'é"}' })];
      response.writeHead(200, { 'content-type': 'application/json' });
      const bytes = Buffer.from(`${first}\r\n${second}\r\n{"error_code":200,"off`);
      response.write(bytes.subarray(0, 30));
      response.write(bytes.subarray(30), () => response.destroy());
      return undefined;
    });
    const publisher = confluentPublisher({ url, clusterId: 'c' });
    expect(await publisher.publish([record('Oslo'), record('Rome'), record('Bern')])).toEqual([
      { ok: true },
      { ok: true },
      { ok: false, permanent: false, reason: 'cities: no report of this record' },
    ]);
  });

  test('also counts when the deadline ends it', async () => {
    const { url } = await startFakeRest((_, response) => {
      response.writeHead(200).write(JSON.stringify(report(1)));
      return 'silence';
    });
    const publisher = confluentPublisher({ url, clusterId: 'c', deadlineMs: 300 });
    const results = await publisher.publish([record('Oslo'), record('Rome')]);
    expect(results).toEqual([{ ok: true }, expect.objectContaining({ ok: false, permanent: false })]);
  });
});

describe('Kafka counts as unavailable, and no record as rejected,', () => {
  for (const status of [401, 402, 403, 408, 425, 429, 500, 502, 503, 504, 302]) {
    test(`when it responds with ${status}, without a retry`, async () => {
      const { publisher, produced } = await onConfluent(undefined, {
        request: () => ({ status, body: { error_code: status, message: 'not now' } }),
      });
      await expect(publisher.publish([record('Oslo'), record('Rome')])).rejects.toThrow(new RegExp(`^${status}: `));
      expect(produced()).toHaveLength(1);
    });
  }

  test('when it redirects, and the other server does not get the credentials', async () => {
    const otherServer = await startFakeRest(() => ({ body: report(1) }));
    const { url } = await startFakeRest((one, response) => {
      response.writeHead(307, { location: otherServer.url + one.path }).end();
      return undefined;
    });
    const publisher = confluentPublisher({ url, clusterId: 'c', token: 'sesame' });
    await expect(publisher.publish([record('Oslo')])).rejects.toThrow('307: a redirect');
    expect(otherServer.requests).toEqual([]);
  });

  test('when every record fails with an error of Kafka', async () => {
    const { publisher } = await onConfluent(() => ({ error_code: 50003, message: 'broker away' }));
    await expect(publisher.publish([record('Oslo'), record('Rome')])).rejects.toThrow(KafkaUnavailable);
  });

  test('when it finds no topic and cannot list the topics', async () => {
    const { publisher } = await onConfluent(() => notInMetadata, { list: { status: 500 } });
    await expect(publisher.publish([record('Oslo')])).rejects.toThrow('500 for the list of topics');
  });

  test('when it does not respond, unless the topic is missing from the list of topics', async () => {
    const { url } = await startFakeRest(({ method }) => (method === 'GET' ? listOf('cities') : 'silence'));
    const publisher = confluentPublisher({ url, clusterId: 'c', deadlineMs: 200 });
    await expect(publisher.publish([record('Oslo')])).rejects.toThrow('no response in 200 ms');
    expect(await publisher.publish([record('Oslo', { topic: 'lost' })])).toEqual([
      { ok: false, permanent: true, reason: 'lost: there is no such topic' },
    ]);
  });

  test('when nothing listens on the port, or the cluster does not exist', async () => {
    const nobody = confluentPublisher({ url: 'http://127.0.0.1:9', clusterId: 'c' });
    await expect(nobody.publish([record('Oslo')])).rejects.toThrow('no connection');
    const body = { error_code: 404, message: 'Cluster c cannot be found.' };
    const { url } = await startFakeRest(() => ({ status: 404, body }));
    const other = confluentPublisher({ url, clusterId: 'c' });
    await expect(other.publish([record('Oslo'), record('Rome')])).rejects.toThrow(KafkaUnavailable);
  });

  test('when the URL is not a Kafka REST API', async () => {
    for (const [status, body] of [
      [200, '<html>Welcome</html>'],
      [200, ''],
      [200, '[]'],
      [200, 'null'],
      [404, '<html>Not found</html>'],
      [405, '{}'],
      [400, '{"message": "what?"}'],
      [422, '{}'],
    ] as const) {
      const { url } = await startFakeRest(() => ({ status, body }));
      const anything = confluentPublisher({ url, clusterId: 'c' });
      await expect(anything.publish([record('Oslo'), record('Rome')]), `${status} ${body}`).rejects.toThrow(
        KafkaUnavailable,
      );
    }
  });
});

describe('a request', () => {
  test('contains one topic’s records, and an unavailable topic does not delay the others', async () => {
    const { publisher, produced } = await onConfluent(undefined, {
      request: ({ path }) => (path.includes('villages') ? { status: 503, body: 'not now' } : undefined),
    });
    const records = [record('Oslo'), record('Lom', { topic: 'villages' }), record('Rome')];
    expect(await publisher.publish(records)).toEqual([
      { ok: true },
      { ok: false, permanent: false, reason: 'villages: 503: not now' },
      { ok: true },
    ]);
    expect(produced()).toHaveLength(2);
  });

  test('has at most 500 records and a million bytes, and a larger record is sent alone', async () => {
    const { publisher, produced } = await onConfluent();
    expect(await publisher.publish(Array.from({ length: 1_201 }, (_, index) => record(`${index}`)))).toHaveLength(
      1_201,
    );
    expect(produced().map((one) => sentIn(one).length)).toEqual([500, 500, 201]);
    const large = [400_000, 300_000, 300_000, 900_000, 10].map((length) =>
      record('x'.repeat(length), { key: 'k', headers: {} }),
    );
    await publisher.publish(large);
    const sizes = produced().slice(3);
    expect(sizes.map((one) => sentIn(one).length).sort()).toEqual([1, 1, 1, 2]);
    expect(sizes.filter(({ body }) => body.length > 1_000_000).map((one) => sentIn(one).length)).toEqual([1]);
  });
});

test('concatenated JSON objects are split, whatever they contain', () => {
  const objects = [{ a: '}{' }, { b: '\\"{' }, { c: { d: [{}] } }, {}];
  const texts = objects.map((object) => JSON.stringify(object));
  for (const between of ['', '\n', ' \r\n']) expect(splitJsonObjects(texts.join(between))).toEqual(objects);
  expect(splitJsonObjects(`${texts.join('')}{"e":"`)).toEqual(objects);
  for (const wrong of ['[]', 'null', '<html></html>', '{} x', 'x {}', '{]}']) {
    expect(() => splitJsonObjects(wrong), wrong).toThrow(SyntaxError);
  }
});
