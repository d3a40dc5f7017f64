import { expect, test } from 'vitest';
import { type Bindings, settingsOf } from '../../src/env.ts';
import { type KafkaSettings, selectPublisher } from '../../src/events/kafka/publish/select.ts';
import { record, startFakeRest } from '../support/kafka-publisher.ts';
import { jobSecret } from '../support/secrets.ts';

const settings = (more: Partial<KafkaSettings>): KafkaSettings => ({
  KAFKA_REST_DIALECT: 'rest-v2',
  KAFKA_REST_URL: 'http://127.0.0.1:9',
  KAFKA_REST_HEADERS: false,
  ...more,
});

test('a variable that the dialect needs is named, and no value', () => {
  const basic = { KAFKA_REST_USERNAME: 'user', KAFKA_REST_PASSWORD: 'sesame' };
  for (const [given, missing] of [
    [{ KAFKA_REST_DIALECT: 'upstash' }, 'KAFKA_REST_USERNAME'],
    [{ KAFKA_REST_DIALECT: 'upstash', KAFKA_REST_USERNAME: 'user' }, 'KAFKA_REST_PASSWORD'],
    [{ KAFKA_REST_DIALECT: 'confluent', ...basic }, 'KAFKA_REST_CLUSTER_ID'],
    [{ KAFKA_REST_DIALECT: 'rest-v2', KAFKA_REST_USERNAME: 'user' }, 'KAFKA_REST_PASSWORD'],
  ] as [Partial<KafkaSettings>, string][]) {
    const dialect = given.KAFKA_REST_DIALECT;
    const message = `KAFKA_REST_DIALECT is ${dialect}, which needs the variable ${missing}`;
    expect(() => selectPublisher(settings(given))).toThrow(new Error(message));
  }
});

test('the dialect decides where records go, and whether they have headers', async () => {
  const { url, requests } = await startFakeRest(() => ({ status: 503 }));
  const send = (more: Partial<KafkaSettings>) =>
    selectPublisher(settings({ KAFKA_REST_URL: url, KAFKA_REST_USERNAME: 'u', KAFKA_REST_PASSWORD: 'p', ...more }))
      .publish([record('Oslo')])
      .catch(() => undefined);
  await send({ KAFKA_REST_DIALECT: 'upstash' });
  await send({ KAFKA_REST_DIALECT: 'confluent', KAFKA_REST_CLUSTER_ID: 'lkc-1' });
  await send({});
  await send({ KAFKA_REST_HEADERS: true, KAFKA_REST_TOKEN: 't' });
  expect(requests.map(({ path }) => path)).toEqual([
    '/produce',
    '/v3/clusters/lkc-1/topics/cities/records',
    '/topics/cities',
    '/topics/cities',
  ]);
  expect(requests.map(({ body }) => /"headers"/.test(body))).toEqual([true, true, false, true]);
  expect(requests.map(({ headers }) => String(headers.authorization).split(' ')[0])).toEqual([
    'Basic',
    'Basic',
    'Basic',
    'Bearer',
  ]);
});

test('the Worker does not start with a dialect that lacks something', () => {
  const env = (more: Record<string, string>) =>
    ({
      DATABASE_URL: 'postgres://x',
      DATABASE_JOB_SECRET: jobSecret,
      KAFKA_REST_URL: 'https://kafka.example',
      STRIPE_SECRET_KEY: 'x',
      STRIPE_WEBHOOK_SECRET: 'x',
      ...more,
    }) as unknown as Bindings;
  expect(settingsOf(env({ KAFKA_REST_DIALECT: 'rest-v2', KAFKA_REST_HEADERS: 'true' })).KAFKA_REST_HEADERS).toBe(true);
  expect(settingsOf(env({ KAFKA_REST_DIALECT: 'rest-v2' })).KAFKA_REST_HEADERS).toBe(false);
  expect(() => settingsOf(env({ KAFKA_REST_DIALECT: 'confluent' }))).toThrow('KAFKA_REST_CLUSTER_ID');
  expect(() => settingsOf(env({ KAFKA_REST_DIALECT: 'rest-v3' }))).toThrow('KAFKA_REST_DIALECT');
  expect(() => settingsOf(env({ KAFKA_REST_DIALECT: 'rest-v2', KAFKA_REST_HEADERS: 'perhaps' }))).toThrow(
    'KAFKA_REST_HEADERS',
  );
});
