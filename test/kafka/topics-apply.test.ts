import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openAdmin } from '../../dev/topics/admin.ts';
import { topicsCommand } from '../../dev/topics/command.ts';
import { type BrokerTopic, registryTopics } from '../../dev/topics/plan.ts';
import { runTopics } from '../../dev/topics/run.ts';
import type { KafkaSettings } from '../../src/events/kafka/publish/select.ts';
import { topics } from '../../src/events/topics.ts';
import { startKafkaFixture } from '../support/kafka/kafka.ts';
import { type FakeResponse, type ReceivedRequest, startFakeRest } from '../support/kafka/publisher.ts';

type Topic = Required<{ [member in keyof BrokerTopic]: number }>;
const day = 86_400_000;
const wanted = registryTopics(topics);
/** The broker's default retention. */
const defaultRetentionMs = 7 * day;
const complete = () => new Map(wanted.map(({ name, partitions, retentionMs }) => [name, { partitions, retentionMs }]));

async function run(overrides: Partial<KafkaSettings>, apply: boolean, replicas?: number) {
  const base = { KAFKA_REST_USERNAME: 'dev', KAFKA_REST_PASSWORD: 'dev', KAFKA_REST_HEADERS: false };
  const admin = await openAdmin({ KAFKA_REST_DIALECT: 'upstash', KAFKA_REST_URL: '', ...base, ...overrides }, replicas);
  const lines: string[] = [];
  const code = await runTopics(admin, topics, { apply, host: 'host' }, (line) => lines.push(line));
  return { code, lines, text: lines.join('\n') };
}

const writes = (requests: ReceivedRequest[]) => requests.filter(({ method }) => method !== 'GET');

/** Response formats: docs.confluent.io/cloud/current/api.html, Topic (v3) and Configs (v3). */
async function onConfluent(existing: Map<string, Topic>) {
  const base = '/kafka/v3/clusters/lkc-1/topics';
  const { url, requests } = await startFakeRest(({ method, path, body }): FakeResponse => {
    if (!path.startsWith(base)) return { status: 404, body: { error_code: 404, message: 'HTTP 404 Not Found' } };
    const [name = '', , config] = path
      .slice(base.length + 1)
      .split('/')
      .map(decodeURIComponent);
    const topic = existing.get(name);
    const requestBody = body === '' ? {} : JSON.parse(body);
    if (method === 'GET' && name === '') {
      const data = [...existing].map(([topic_name, { partitions }]) => ({ topic_name, partitions_count: partitions }));
      return { body: { kind: 'KafkaTopicList', metadata: { self: '', next: null }, data } };
    }
    if (method === 'POST') {
      if (existing.has(requestBody.topic_name))
        return { status: 400, body: { error_code: 40002, message: 'already exists' } };
      const retentionMs = Number(requestBody.configs[0].value);
      existing.set(requestBody.topic_name, { partitions: requestBody.partitions_count, retentionMs });
      return { status: 201, body: { kind: 'KafkaTopic' } };
    }
    if (!topic)
      return { status: 404, body: { error_code: 40403, message: 'This server does not host this topic-partition.' } };
    if (method === 'PATCH') topic.partitions = requestBody.partitions_count;
    else if (method === 'PUT') topic.retentionMs = Number(requestBody.value);
    else
      return { body: { kind: 'KafkaTopicConfig', name: config, value: String(topic.retentionMs), is_default: false } };
    return { status: method === 'PUT' ? 204 : 200, body: '' };
  });
  const settings = {
    KAFKA_REST_DIALECT: 'confluent',
    KAFKA_REST_URL: `${url}/kafka`,
    KAFKA_REST_CLUSTER_ID: 'lkc-1',
  } as const;
  return { settings, requests };
}

/** Response formats: strimzi.io/docs/bridge/latest, createTopic (since 0.31.0), getTopic, listTopics. */
async function onStrimzi(existing: Map<string, Topic>, version = '0.33.1') {
  const { url, requests } = await startFakeRest(({ method, path, body }): FakeResponse => {
    if (path === '/') return { body: { bridge_version: version } };
    if (path === '/topics') return { body: [...existing.keys()] };
    if (method === 'POST' && path === '/admin/topics') {
      const { topic_name: name, partitions_count: partitions } = JSON.parse(body);
      existing.set(name, { partitions, retentionMs: defaultRetentionMs });
      return { status: 201, body: '' };
    }
    const name = decodeURIComponent(path.slice('/topics/'.length));
    const topic = existing.get(name);
    if (!topic) return { status: 404, body: { error_code: 404, message: 'no such topic' } };
    const partitions = Array.from({ length: topic.partitions }, (_, partition) => ({
      partition,
      leader: 1,
      replicas: [],
    }));
    return { body: { name, configs: { 'retention.ms': String(topic.retentionMs) }, partitions } };
  });
  return { settings: { KAFKA_REST_DIALECT: 'rest-v2', KAFKA_REST_URL: url } as const, requests };
}

describe('with Confluent,', () => {
  test('diff shows the differences and writes nothing, apply removes them, and a second apply writes nothing', async () => {
    const existing = complete();
    existing.delete('order.created');
    existing.set('payment.created', { partitions: 6, retentionMs: day });
    existing.set('order.failed', { partitions: 24, retentionMs: -1 });
    existing.set('of.others', { partitions: 1, retentionMs: 1 });
    const { settings, requests } = await onConfluent(existing);

    const diff = await run(settings, false);
    expect(diff.code).toBe(2);
    expect(diff.lines.filter((line) => /^[+~=]/.test(line)).map((line) => line.replace(/ \(.*/, ''))).toEqual([
      '= order.failed has 24 partitions, the registry requires 12; left unchanged, since nothing shrinks',
      '= order.failed is kept forever, the registry requires 7 d; left unchanged, since nothing shrinks',
      '+ order.created: 12 partitions, kept 7 d',
      '~ payment.created: 6 → 12 partitions',
      '~ payment.created: kept 1 d → 90 d',
    ]);
    expect(writes(requests)).toEqual([]);

    const applied = await run(settings, true, 3);
    expect(applied).toMatchObject({ code: 0, text: expect.stringContaining('3 of 3 steps are done.') });
    expect(
      writes(requests).map(({ method, path, body }) => [method, path.replace(/.*lkc-1/, ''), JSON.parse(body)]),
    ).toEqual([
      [
        'POST',
        '/topics',
        {
          topic_name: 'order.created',
          partitions_count: 12,
          replication_factor: 3,
          configs: [{ name: 'retention.ms', value: '604800000' }],
        },
      ],
      ['PATCH', '/topics/payment.created', { partitions_count: 12 }],
      ['PUT', '/topics/payment.created/configs/retention.ms', { value: '7776000000' }],
    ]);
    expect(existing.get('order.failed')).toEqual({ partitions: 24, retentionMs: -1 });
    expect(existing.get('of.others')).toEqual({ partitions: 1, retentionMs: 1 });

    const again = await run(settings, true);
    expect(again).toMatchObject({ code: 0, text: expect.stringContaining('No differences.') });
    expect(writes(requests)).toHaveLength(3);
  });

  test('an authorization error and an unknown cluster are reported', async () => {
    const { settings } = await onConfluent(new Map());
    const wrong = { ...settings, KAFKA_REST_CLUSTER_ID: 'lkc-2' };
    await expect(run(wrong, false)).rejects.toThrow('there is no cluster lkc-2');
    const { url } = await startFakeRest(({ method }) =>
      method === 'GET'
        ? { body: { data: [] } }
        : { status: 403, body: { error_code: 40301, message: 'Cluster authorization failed.' } },
    );
    await expect(run({ ...settings, KAFKA_REST_URL: url }, true)).rejects.toThrow('Cluster authorization failed');
  });
});

describe('with Strimzi’s bridge,', () => {
  test('topics are created, and a retention that the bridge cannot set is printed as a command', async () => {
    const existing = complete();
    existing.delete('order.created');
    existing.delete('payment.created');
    const { settings, requests } = await onStrimzi(existing);
    expect((await run(settings, false)).code).toBe(2);
    expect(writes(requests)).toEqual([]);
    const applied = await run(settings, true);
    expect(applied.code).toBe(2);
    expect(writes(requests).map(({ path, body }) => [path, JSON.parse(body)])).toEqual([
      ['/admin/topics', { topic_name: 'order.created', partitions_count: 12 }],
      ['/admin/topics', { topic_name: 'payment.created', partitions_count: 12 }],
    ]);
    expect(applied.text).toContain('--entity-name payment.created --add-config retention.ms=7776000000');
    expect(applied.text).not.toContain('--entity-name order.created'); // the broker's default is long enough
    existing.set('payment.created', { partitions: 12, retentionMs: 90 * day });
    expect((await run(settings, false)).code).toBe(0);
  });

  test('before 0.31 the commands are printed and nothing is written', async () => {
    const { settings, requests } = await onStrimzi(new Map(), '0.30.0');
    const applied = await run(settings, true);
    expect(applied.code).toBe(2);
    expect(writes(requests)).toEqual([]);
    expect(applied.lines.filter((line) => line.includes('--create'))).toHaveLength(wanted.length);
  });
});

test('with Redpanda, which only lists names, the commands are printed and unknown settings are reported', async () => {
  const existing = complete();
  existing.delete('order.created');
  const { url, requests } = await startFakeRest(({ path }) =>
    path === '/topics' ? { body: [...existing.keys()] } : { status: 404, body: { code: 404, message: 'Not found' } },
  );
  const applied = await run({ KAFKA_REST_DIALECT: 'rest-v2', KAFKA_REST_URL: url }, true);
  expect(applied.code).toBe(2);
  expect(applied.text).toContain('rpk topic create order.created -p 12 -c retention.ms=604800000');
  const otherCount = wanted.length - 1;
  expect(applied.text).toContain(`the partitions of ${otherCount} topics, the retention of ${otherCount} topics`);
  expect(writes(requests)).toEqual([]);
});

test('on the local platform, every topic exists', async () => {
  const local = wanted.map(({ name, partitions, retentionMs }) => ({ name, partitions, retentionMs }));
  const { server } = await startKafkaFixture({ topics: local });
  const diff = await run({ KAFKA_REST_URL: server.url }, false);
  expect(diff).toMatchObject({ code: 0, text: expect.stringContaining('No differences.') });
  const { server: incomplete } = await startKafkaFixture({ topics: local.slice(1) });
  const applied = await run({ KAFKA_REST_URL: incomplete.url }, true);
  expect(applied.code).toBe(2);
  expect(applied.text).toContain(`kafka-topics.sh --bootstrap-server "$BOOTSTRAP" --create`);
});

describe('the command', () => {
  const command = async (args: string[], environment: Record<string, string> = {}) => {
    const lines: string[] = [];
    const code = await topicsCommand(args, environment, (line) => lines.push(line));
    return { code, output: lines.join('\n') };
  };

  test('has an exit code for differences, for none, and for an error', async () => {
    const { settings } = await onConfluent(complete());
    const missing = await onConfluent(new Map());
    const env = (given: typeof settings) => ({ ...given, KAFKA_REST_USERNAME: 'k', KAFKA_REST_PASSWORD: 'sesame' });
    expect(await command(['diff'], env(settings))).toMatchObject({ code: 0 });
    expect(await command(['diff'], env(missing.settings))).toMatchObject({ code: 2 });
    const unreachable = await command(['diff'], { ...env(settings), KAFKA_REST_URL: 'http://127.0.0.1:9' });
    expect(unreachable).toEqual({ code: 1, output: 'The broker is unavailable: no connection. Check KAFKA_REST_URL.' });
    const lacking = await command(['diff'], { KAFKA_REST_URL: 'http://127.0.0.1:9', KAFKA_REST_DIALECT: 'confluent' });
    expect(lacking).toMatchObject({ code: 1, output: expect.stringContaining('KAFKA_REST_CLUSTER_ID') });
    const file = resolve(import.meta.dirname, '../../dev/topics/main.ts');
    const code = await new Promise((done) => {
      const environment = { ...process.env, ...env(missing.settings) };
      execFile(process.execPath, [file, 'diff'], { env: environment }, (error) => done(error?.code));
    });
    expect(code).toBe(2);
  });

  test('rejects unknown arguments', async () => {
    expect(await command(['--help'])).toMatchObject({ code: 0, output: expect.stringContaining('Exit code') });
    for (const args of [
      [],
      ['destroy'],
      ['apply', 'all'],
      ['diff', '--replication-factor', '0'],
      ['diff', '--force'],
    ]) {
      expect((await command(args)).code, args.join(' ')).toBe(1);
    }
  });
});
