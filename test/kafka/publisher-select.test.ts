import { expect, test } from 'vitest';
import { type Bindings, settingsOf } from '../../src/env.ts';
import { type KafkaSettings, selectPublisher } from '../../src/events/kafka/publish/select.ts';
import { record, startFakeRest } from '../support/kafka/publisher.ts';
import { jobSecret } from '../support/secrets.ts';

const settings = (overrides: Partial<KafkaSettings>): KafkaSettings => ({
  KAFKA_REST_DIALECT: 'rest-v2',
  KAFKA_REST_URL: 'http://127.0.0.1:9',
  KAFKA_REST_HEADERS: false,
  ...overrides,
});

test('the error for a missing variable names the variable and shows no value', () => {
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

test('the dialect decides the path of a request and whether records have headers', async () => {
  const { url, requests } = await startFakeRest(() => ({ status: 503 }));
  const send = (overrides: Partial<KafkaSettings>) =>
    selectPublisher(settings({ KAFKA_REST_URL: url, KAFKA_REST_USERNAME: 'u', KAFKA_REST_PASSWORD: 'p', ...overrides }))
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

test('the Worker does not start if a variable of the dialect is missing or invalid', () => {
  const env = (overrides: Record<string, string>) =>
    ({
      DATABASE_URL: 'postgres://x',
      DATABASE_JOB_SECRET: jobSecret,
      KAFKA_REST_URL: 'https://kafka.example',
      STRIPE_SECRET_KEY: 'x',
      STRIPE_WEBHOOK_SECRET: 'x',
      ...overrides,
    }) as unknown as Bindings;
  expect(settingsOf(env({ KAFKA_REST_DIALECT: 'rest-v2', KAFKA_REST_HEADERS: 'true' })).KAFKA_REST_HEADERS).toBe(true);
  expect(settingsOf(env({ KAFKA_REST_DIALECT: 'rest-v2' })).KAFKA_REST_HEADERS).toBe(false);
  expect(() => settingsOf(env({ KAFKA_REST_DIALECT: 'confluent' }))).toThrow('KAFKA_REST_CLUSTER_ID');
  expect(() => settingsOf(env({ KAFKA_REST_DIALECT: 'rest-v3' }))).toThrow('KAFKA_REST_DIALECT');
  expect(() => settingsOf(env({ KAFKA_REST_DIALECT: 'rest-v2', KAFKA_REST_HEADERS: 'perhaps' }))).toThrow(
    'KAFKA_REST_HEADERS',
  );
});
