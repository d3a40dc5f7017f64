import { expect, test } from 'vitest';
import type { AppEnv } from '../../../src/http/app-env.ts';
import { openContext } from '../../../src/http/open-context.ts';
import { appWith } from '../../support/middleware.ts';

const env = {
  DATABASE_URL: 'postgres://worker:password@127.0.0.1/fusion',
  DATABASE_JOB_SECRET: 'x'.repeat(32),
  KAFKA_REST_URL: 'http://127.0.0.1:1',
  KAFKA_REST_USERNAME: 'dev',
  KAFKA_REST_PASSWORD: 'dev',
  STRIPE_SECRET_KEY: 'sk_test',
  STRIPE_WEBHOOK_SECRET: 'whsec',
} as unknown as AppEnv['Bindings'];
const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
const { request } = appWith([openContext], async (c) => c.json(c.var.context.call), { operation: {} });

test('a valid traceparent is passed to every database call of the request', async () => {
  expect(await (await request('/', { headers: { traceparent } }, env)).json()).toEqual({ traceparent });
});

test('an invalid traceparent is ignored', async () => {
  const zeros = traceparent.replace(/-[0-9a-f]{32}/, `-${'0'.repeat(32)}`);
  for (const wrong of ['yes', zeros, traceparent.toUpperCase()]) {
    expect(await (await request('/', { headers: { traceparent: wrong } }, env)).json()).toEqual({});
  }
});

test('a Worker with invalid variables returns an opaque 500', async () => {
  expect((await request('/', {}, { ...env, KAFKA_REST_URL: 'no URL' })).status).toBe(500);
});
