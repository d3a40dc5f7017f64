import { createServer } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { lookUpIntent, StripeCallError } from '../../src/stripe/client.ts';

let answer: { status: number; body: unknown } = { status: 200, body: {} };
const server = createServer((_request, response) => {
  response.writeHead(answer.status, { 'content-type': 'application/json', 'stripe-should-retry': 'false' });
  response.end(JSON.stringify(answer.body));
});
let url: string;
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
});
afterAll(() => new Promise((resolve) => server.close(resolve)));

const ask = (at = url): Promise<unknown> =>
  lookUpIntent(
    { STRIPE_SECRET_KEY: 'sk_test_dev', STRIPE_WEBHOOK_SECRET: 'whsec_dev', STRIPE_API_URL: at },
    null,
    'pi_1',
  ).catch((error: unknown) => error);

test.each([
  [402, { type: 'card_error', code: 'card_declined' }],
  [403, { type: 'invalid_request_error', code: 'account_invalid' }],
  [409, { type: 'idempotency_error', code: 'idempotency_key_in_use' }],
  [429, { type: 'invalid_request_error', code: 'lock_timeout' }],
  [429, { type: 'invalid_request_error', code: 'rate_limit' }],
])('%i with %j affects one payment and does not stop the work on others', async (status, error) => {
  answer = { status, body: { error: { ...error, message: 'no' } } };
  const refusal = await ask();
  expect(refusal).toBeInstanceOf(StripeCallError);
  expect(refusal).toMatchObject({ unavailable: false, permanent: false, keyUsed: false, code: error.code });
});

test.each([
  [401, { type: 'invalid_request_error' }],
  [502, { type: 'api_error' }],
  [503, { type: 'api_error' }],
])('%i means that Stripe is unavailable for all requests', async (status, error) => {
  answer = { status, body: { error: { ...error, message: 'no' } } };
  expect(await ask()).toMatchObject({ unavailable: true, permanent: false });
});

test('an unreachable server means that Stripe is unavailable for all requests', async () => {
  expect(await ask('http://127.0.0.1:1')).toMatchObject({ unavailable: true });
});

test('an error that Stripe stores for the idempotency key affects one payment, which needs another key', async () => {
  answer = { status: 500, body: { error: { type: 'api_error', message: 'no' } } };
  expect(await ask()).toMatchObject({ unavailable: false, keyUsed: true });
});
