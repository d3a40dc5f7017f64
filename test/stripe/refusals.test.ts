import Stripe from 'stripe';
import { describe, expect, test } from 'vitest';
import { callControl, failure, pay, SECRET_KEY, sdkFor, startFixture } from '../support/stripe.ts';

describe('the emulator rejects, as Stripe does,', () => {
  test('a wrong API key and a missing one', async () => {
    const { emulator } = await startFixture();
    const error = await failure(sdkFor(emulator.port, 'sk_test_wrong').paymentIntents.list());
    expect(error).toMatchObject({ statusCode: 401, type: 'StripeAuthenticationError' });
    expect(error.message).not.toContain('sk_test_wrong');
    expect((await fetch(`${emulator.url}/v1/payment_intents`)).status).toBe(401);
  });

  test.each([
    ['no amount', { currency: 'usd' }, 'parameter_missing'],
    ['an amount of zero', { amount: 0, currency: 'usd' }, 'parameter_invalid_integer'],
    ['a negative amount', { amount: -5, currency: 'usd' }, 'parameter_invalid_integer'],
    ['a fraction of a cent', { amount: 10.5, currency: 'usd' }, 'parameter_invalid_integer'],
    ['49 cents', { amount: 49, currency: 'usd' }, 'amount_too_small'],
    ['29 pence', { amount: 29, currency: 'gbp' }, 'amount_too_small'],
    ['49 yen', { amount: 49, currency: 'jpy' }, 'amount_too_small'],
    ['nine digits', { amount: 100_000_000, currency: 'usd' }, 'amount_too_large'],
    ['a fraction of a króna', { amount: 550, currency: 'isk' }, undefined],
    ['an unknown currency', { amount: 1000, currency: 'xyz' }, undefined],
    ['an unknown parameter', { amount: 1000, currency: 'usd', colour: 'red' }, 'parameter_unknown'],
    [
      'payment_method_types',
      { amount: 1000, currency: 'usd', payment_method_types: ['card'] },
      'payment_method_types_no_longer_supported',
    ],
    ['an unknown customer', { amount: 1000, currency: 'usd', customer: 'cus_nobody' }, 'resource_missing'],
    ['an unknown card', { amount: 1000, currency: 'usd', payment_method: 'pm_card_none' }, 'resource_missing'],
    ['an unknown capture method', { amount: 1000, currency: 'usd', capture_method: 'later' }, undefined],
  ])('%s', async (_, params, code) => {
    const { stripe, emulator } = await startFixture();
    const error = await failure(stripe.rawRequest('POST', '/v1/payment_intents', params));
    expect(error).toMatchObject({ statusCode: 400, type: 'StripeInvalidRequestError', code });
    expect(await callControl(emulator, 'GET', 'state')).toMatchObject({ intents: [] });
  });

  test.each(['usd', 'jpy', 'isk', 'kwd'])('but accepts 5,000 minor units of %s', async (currency) => {
    const { stripe } = await startFixture();
    expect((await pay(stripe, 'pm_card_visa', { amount: 5000, currency })).amount_received).toBe(5000);
  });

  test('a confirmation that may redirect without a return_url', async () => {
    const { stripe } = await startFixture();
    const intent = await stripe.paymentIntents.create({ amount: 1000, currency: 'usd' });
    const error = await failure(stripe.paymentIntents.confirm(intent.id, { payment_method: 'pm_card_visa' }));
    expect(error).toMatchObject({ statusCode: 400, param: 'return_url' });
    const cardsOnly = await stripe.paymentIntents.create({
      amount: 1000,
      currency: 'eur',
      allowed_payment_method_types: ['card', 'affirm'],
    });
    expect(cardsOnly.payment_method_types).toEqual(['card']);
    expect((await stripe.paymentIntents.confirm(cardsOnly.id, { payment_method: 'pm_card_visa' })).status).toBe(
      'succeeded',
    );
  });

  test('a confirmation without a payment method and a capture without an authorization', async () => {
    const { stripe } = await startFixture();
    const intent = await stripe.paymentIntents.create({ amount: 1000, currency: 'usd' });
    const confirm = await failure(stripe.paymentIntents.confirm(intent.id, { return_url: 'https://shop.example' }));
    expect(confirm).toMatchObject({ code: 'payment_intent_unexpected_state' });
    expect(confirm.message).toContain('missing a payment method');
    const capture = await failure(stripe.paymentIntents.capture(intent.id));
    expect(capture.payment_intent?.status).toBe('requires_payment_method');
  });

  test('an unknown id and an unknown path', async () => {
    const { stripe } = await startFixture();
    expect(await failure(stripe.paymentIntents.retrieve('pi_nobody'))).toMatchObject({
      statusCode: 404,
      code: 'resource_missing',
      message: "No such payment_intent: 'pi_nobody'",
    });
    const path = await failure(stripe.rawRequest('GET', '/v1/nothing'));
    expect(path).toMatchObject({ statusCode: 404 });
    expect(path.message).toContain('Unrecognized request URL (GET: /v1/nothing)');
  });
});

describe('a list', () => {
  test('has pages, newest first, with each object once', async () => {
    const { stripe } = await startFixture();
    const made: string[] = [];
    for (let count = 0; count < 5; count += 1) {
      made.unshift((await stripe.paymentIntents.create({ amount: 1000 + count, currency: 'usd' })).id);
    }
    const first = await stripe.paymentIntents.list({ limit: 2 });
    expect(first).toMatchObject({ object: 'list', has_more: true, url: '/v1/payment_intents' });
    const seen: string[] = [];
    for await (const intent of stripe.paymentIntents.list({ limit: 2 })) seen.push(intent.id);
    expect(seen).toEqual(made);
    expect(await failure(stripe.paymentIntents.list({ limit: 101 }))).toMatchObject({ param: 'limit' });
  });
});

describe('an idempotency key', () => {
  const params = { amount: 1000, currency: 'usd', metadata: { a: '1', b: '2' } };

  test('replays the first response and creates one intent', async () => {
    const { stripe } = await startFixture();
    const first = await stripe.paymentIntents.create(params, { idempotencyKey: 'k-1' });
    const again = await stripe.paymentIntents.create(
      { ...params, metadata: { b: '2', a: '1' } },
      { idempotencyKey: 'k-1' },
    );
    expect(again).toEqual(first);
    expect(first.lastResponse.headers['idempotent-replayed']).toBeUndefined();
    expect(again.lastResponse.headers['idempotent-replayed']).toBe('true');
    expect(again.lastResponse.headers['original-request']).toBe(first.lastResponse.requestId);
    expect((await stripe.paymentIntents.list()).data).toHaveLength(1);
  });

  test('of a declined payment replays the decline without a second charge', async () => {
    const { stripe } = await startFixture();
    const decline = () =>
      stripe.paymentIntents.create(
        { ...params, payment_method: 'pm_card_chargeDeclined', confirm: true, return_url: 'https://shop.example' },
        { idempotencyKey: 'k-1' },
      );
    const [first, again] = [await failure(decline()), await failure(decline())];
    expect(again.payment_intent?.id).toBe(first.payment_intent?.id);
    expect((await stripe.charges.list()).data).toHaveLength(1);
  });

  test('cannot be used with another endpoint or other parameters', async () => {
    const { stripe } = await startFixture();
    const { id } = await stripe.paymentIntents.create(params, { idempotencyKey: 'k-1' });
    const other = await failure(stripe.paymentIntents.create({ ...params, amount: 1001 }, { idempotencyKey: 'k-1' }));
    expect(other).toMatchObject({ statusCode: 400, type: 'StripeIdempotencyError' });
    const otherEndpoint = await failure(stripe.paymentIntents.cancel(id, {}, { idempotencyKey: 'k-1' }));
    expect(otherEndpoint).toMatchObject({ statusCode: 400, type: 'StripeIdempotencyError' });
  });

  test('can be used again after a request with invalid parameters', async () => {
    const { stripe } = await startFixture();
    await failure(stripe.paymentIntents.create({ ...params, amount: 1 }, { idempotencyKey: 'k-1' }));
    expect((await stripe.paymentIntents.create(params, { idempotencyKey: 'k-1' })).amount).toBe(1000);
  });

  test('is kept for 24 hours and then deleted', async () => {
    let now = Date.now();
    const { stripe } = await startFixture({ now: () => now });
    const first = await stripe.paymentIntents.create(params, { idempotencyKey: 'k-1' });
    now += 24 * 3600_000 - 1;
    expect((await stripe.paymentIntents.create(params, { idempotencyKey: 'k-1' })).id).toBe(first.id);
    now += 1;
    expect((await stripe.paymentIntents.create(params, { idempotencyKey: 'k-1' })).id).not.toBe(first.id);
  });

  test('conflicts while its first request runs', async () => {
    const { emulator } = await startFixture();
    await callControl(emulator, 'POST', 'faults', { action: 'delay', ms: 200 });
    const send = () =>
      fetch(`${emulator.url}/v1/payment_intents`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${SECRET_KEY}`, 'Idempotency-Key': 'k-1' },
        body: new URLSearchParams({ amount: '1000', currency: 'usd' }),
      });
    const statuses = (await Promise.all([send(), send()])).map((response) => response.status);
    expect(statuses.sort()).toEqual([200, 409]);
    expect((await send()).headers.get('idempotent-replayed')).toBe('true');
  });
});

describe('a request fault', () => {
  const params = { amount: 1000, currency: 'usd' };

  test.each([
    [429, Stripe.errors.StripeRateLimitError],
    [503, Stripe.errors.StripeAPIError],
  ])('returns %s for its path only, as often as requested', async (status, type) => {
    const { stripe, emulator } = await startFixture();
    await callControl(emulator, 'POST', 'faults', {
      times: 2,
      path: '/v1/refunds',
      action: 'status',
      status,
      saved: false,
    });
    await stripe.paymentIntents.create(params);
    const refund = () => failure(stripe.refunds.create({ payment_intent: 'pi_x' }, { idempotencyKey: 'k-1' }));
    expect(await refund()).toBeInstanceOf(type);
    expect(await refund()).toMatchObject({ statusCode: status });
    expect(await refund()).toMatchObject({ statusCode: 400 });
  });

  test('of 500 is saved for its key, as with Stripe, and a request with another key succeeds', async () => {
    const { stripe, emulator } = await startFixture();
    await callControl(emulator, 'POST', 'faults', { action: 'status', status: 500 });
    const make = (idempotencyKey: string) => stripe.paymentIntents.create(params, { idempotencyKey });
    expect(await failure(make('k-1'))).toMatchObject({ statusCode: 500, type: 'StripeAPIError' });
    expect(await failure(make('k-1'))).toMatchObject({ statusCode: 500 });
    expect((await make('k-2')).amount).toBe(1000);
    expect((await stripe.paymentIntents.list()).data).toHaveLength(1);
  });

  test('of 400 is a permanent rejection, which its key does not keep', async () => {
    const { stripe, emulator } = await startFixture();
    await callControl(emulator, 'POST', 'faults', { action: 'status', status: 400, ms: 1 });
    const make = () => stripe.paymentIntents.create(params, { idempotencyKey: 'k-1' });
    expect(await failure(make())).toBeInstanceOf(Stripe.errors.StripeInvalidRequestError);
    expect((await make()).amount).toBe(1000);
  });

  test('can return 500 although the request took effect', async () => {
    const { stripe, emulator } = await startFixture();
    await callControl(emulator, 'POST', 'faults', { action: 'status', status: 500, acts: true });
    await failure(stripe.paymentIntents.create(params));
    expect((await stripe.paymentIntents.list()).data).toHaveLength(1);
  });

  test('can time out before the request takes effect', async () => {
    const { emulator, stripe } = await startFixture();
    await callControl(emulator, 'POST', 'faults', { action: 'hang' });
    const client = sdkFor(emulator.port, SECRET_KEY, { timeout: 50 });
    expect(await failure(client.paymentIntents.create(params))).toMatchObject({ type: 'StripeConnectionError' });
    expect((await stripe.paymentIntents.list()).data).toHaveLength(0);
  });

  test('can drop the connection after the request took effect, and a retry with the same key replays it', async () => {
    const { stripe, emulator } = await startFixture();
    // The SDK retries a closed connection once: with two drops, the application sees one failure.
    await callControl(emulator, 'POST', 'faults', { times: 2, action: 'drop' });
    const make = () => stripe.paymentIntents.create(params, { idempotencyKey: 'k-1' });
    expect(await failure(make())).toMatchObject({ type: 'StripeConnectionError' });
    const found = await make();
    expect(found.lastResponse.headers['idempotent-replayed']).toBe('true');
    expect((await stripe.paymentIntents.list()).data.map((intent) => intent.id)).toEqual([found.id]);
  });
});
