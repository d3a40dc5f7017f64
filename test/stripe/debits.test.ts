import { expect, test } from 'vitest';
import { asBuyer, callControl, eventTypes, failure, pay, startFixture, startReceiver } from '../support/stripe.ts';

const DAY = 24 * 3600;
const slow = { asyncMs: DAY * 1000, debitMs: 4 * DAY * 1000 };
const NO_REDIRECT = { automatic_payment_methods: { enabled: true, allow_redirects: 'never' } } as const;

function advance(fixture: Awaited<ReturnType<typeof startFixture>>, seconds: number) {
  return callControl(fixture.emulator, 'POST', 'clock', { advanceSeconds: seconds });
}

test.each([
  ['pm_usBankAccount_success', 'usd', 'succeeded'],
  ['pm_usBankAccount_accountClosed', 'usd', 'requires_payment_method'],
  ['pm_success_de', 'eur', 'succeeded'],
  ['pm_failedDelayed_fr', 'eur', 'requires_payment_method'],
])('a debit with %s in %s stays processing for four days and then becomes %s', async (method, currency, status) => {
  const fixture = await startFixture(slow);
  const { id, created } = await pay(fixture.stripe, method, { currency });
  await advance(fixture, 4 * DAY - 10);
  expect(await fixture.stripe.paymentIntents.retrieve(id)).toMatchObject({ status: 'processing', amount_received: 0 });
  await advance(fixture, 10 * DAY);
  const ended = await fixture.stripe.paymentIntents.retrieve(id);
  expect(ended).toMatchObject({ status, amount_received: status === 'succeeded' ? 1000 : 0 });
  const last = status === 'succeeded' ? 'payment_intent.succeeded' : 'payment_intent.payment_failed';
  expect((await eventTypes(fixture.stripe)).filter((type) => type.startsWith('payment_intent.'))).toEqual([
    'payment_intent.created',
    'payment_intent.processing',
    last,
  ]);
  const [event] = (await fixture.stripe.events.list({ type: last })).data;
  expect((event?.created ?? 0) - created).toBeLessThan(4 * DAY + 60);
});

test('a bank account can be saved with a setup intent and charged off-session', async () => {
  const fixture = await startFixture(slow);
  const customer = (await fixture.stripe.customers.create({})).id;
  const setup = await fixture.stripe.setupIntents.create({
    customer,
    payment_method: 'pm_usBankAccount_success',
    confirm: true,
    ...NO_REDIRECT,
  });
  expect(setup.status).toBe('succeeded');
  const saved = String(setup.payment_method);
  const { id, status } = await pay(fixture.stripe, saved, { customer, off_session: true });
  expect(status).toBe('processing');
  await advance(fixture, 4 * DAY);
  expect((await fixture.stripe.paymentIntents.retrieve(id)).status).toBe('succeeded');
});

test('a debit that stays processing is decided by the settle endpoint', async () => {
  const fixture = await startFixture(slow);
  for (const [outcome, status] of [
    ['succeed', 'succeeded'],
    ['fail', 'requires_payment_method'],
  ]) {
    const { id } = await pay(fixture.stripe, 'pm_usBankAccount_processing');
    await advance(fixture, 30 * DAY);
    await callControl(fixture.emulator, 'POST', `payment_intents/${id}/settle`, { outcome });
    expect((await fixture.stripe.paymentIntents.retrieve(id)).status).toBe(status);
    await expect(callControl(fixture.emulator, 'POST', `payment_intents/${id}/settle`, { outcome })).rejects.toThrow(
      'status of',
    );
  }
});

test('a debit that was decided early does not affect the next attempt', async () => {
  const fixture = await startFixture(slow);
  const { id } = await pay(fixture.stripe, 'pm_usBankAccount_success');
  await callControl(fixture.emulator, 'POST', `payment_intents/${id}/settle`, { outcome: 'fail' });
  await advance(fixture, 3 * DAY);
  await fixture.stripe.paymentIntents.confirm(id, {
    payment_method: 'pm_usBankAccount_success',
    return_url: 'https://shop.test',
  });
  await advance(fixture, 2 * DAY);
  expect((await fixture.stripe.paymentIntents.retrieve(id)).status).toBe('processing');
  await advance(fixture, 2 * DAY);
  expect((await fixture.stripe.paymentIntents.retrieve(id)).status).toBe('succeeded');
});

test('a debit is not offered with manual capture, in another currency or when it is excluded', async () => {
  const { stripe } = await startFixture();
  const held = await stripe.paymentIntents.create({ amount: 1000, currency: 'usd', capture_method: 'manual' });
  const euro = await stripe.paymentIntents.create({ amount: 1000, currency: 'eur' });
  const without = await stripe.paymentIntents.create({
    amount: 1000,
    currency: 'usd',
    excluded_payment_method_types: ['us_bank_account', 'sepa_debit'],
  });
  expect(held.payment_method_types).toEqual(['card']);
  expect(euro.payment_method_types).toEqual(['card', 'sepa_debit']);
  expect(without.payment_method_types).toEqual(['card']);
  const confirm = { payment_method: 'pm_usBankAccount_success', return_url: 'https://shop.test' };
  for (const { id } of [held, euro, without]) {
    expect((await failure(stripe.paymentIntents.confirm(id, confirm))).message).toContain('is not allowed');
  }
  const setup = await stripe.setupIntents.create({ excluded_payment_method_types: ['us_bank_account'] });
  expect((await failure(stripe.setupIntents.confirm(setup.id, confirm))).message).toContain('is not allowed');
});

test('the clock drives authorizations, idempotency keys, the list of events, webhook retries and `created`', async () => {
  const statuses = [500, 500, 500];
  const { url, received } = await startReceiver(() => statuses.shift() ?? 200);
  const fixture = await startFixture({ webhookUrl: url, retryBaseMs: 3600_000 });
  const body = { amount: 1000, currency: 'usd' };
  const first = await fixture.stripe.paymentIntents.create(body, { idempotencyKey: 'one' });
  const count = async () => {
    await new Promise((resolve) => setTimeout(resolve, 100));
    return received.length;
  };
  expect(await count()).toBe(1);
  for (const tries of [2, 3, 4]) {
    await advance(fixture, 4 * 3600);
    expect(await count()).toBe(tries);
  }
  expect((await fixture.stripe.paymentIntents.create(body, { idempotencyKey: 'one' })).id).toBe(first.id);
  await advance(fixture, 12 * 3600 + 1);
  const second = await fixture.stripe.paymentIntents.create(body, { idempotencyKey: 'one' });
  expect(second.id).not.toBe(first.id);
  expect(second.created - first.created).toBeGreaterThanOrEqual(DAY);
  const held = await pay(fixture.stripe, 'pm_card_visa', { capture_method: 'manual' });
  await advance(fixture, 7 * DAY);
  expect(await fixture.stripe.paymentIntents.retrieve(held.id)).toMatchObject({
    status: 'canceled',
    cancellation_reason: 'expired',
  });
  await advance(fixture, 29 * DAY);
  expect(await eventTypes(fixture.stripe)).toEqual(['charge.expired', 'payment_intent.canceled']);
});

test('the clock keeps its lead after a restart and never moves back', async () => {
  const { mkdtemp } = await import('node:fs/promises');
  const dir = await mkdtemp('/tmp/stripe-clock-');
  const first = await startFixture({ dir });
  await advance(first, 5 * DAY);
  await expect(advance(first, -1)).rejects.toThrow('advanceSeconds');
  await first.emulator.close();
  const { stripe } = await startFixture({ dir });
  const { created } = await stripe.customers.create({});
  expect(created - Math.floor(Date.now() / 1000)).toBeGreaterThan(5 * DAY - 5);
});

test('a saved 500 is replayed for its key while the charge that it hides is decided later', async () => {
  for (const [decides, status] of [
    ['succeed', 'succeeded'],
    ['decline', 'requires_payment_method'],
  ]) {
    const fixture = await startFixture();
    const fault = { action: 'status', status: 500, acts: true, saved: true, path: '/v1/payment_intents' };
    await callControl(fixture.emulator, 'POST', 'faults', { ...fault, decides, decideMs: 3600_000 });
    const charge = () =>
      fixture.stripe.paymentIntents.create(
        { amount: 1000, currency: 'usd', payment_method: 'pm_card_visa', confirm: true, ...NO_REDIRECT },
        { idempotencyKey: 'charge' },
      );
    const hidden = await failure(charge());
    expect(hidden.statusCode).toBe(500);
    const replayed = await failure(charge());
    expect(replayed).toMatchObject({ statusCode: 500, headers: { 'idempotent-replayed': 'true' } });
    const [intent] = (await fixture.stripe.paymentIntents.list()).data;
    expect(intent?.status).toBe('processing');
    await advance(fixture, 3600);
    expect((await fixture.stripe.paymentIntents.retrieve(intent?.id ?? '')).status).toBe(status);
    expect((await failure(charge())).statusCode).toBe(500);
  }
});

test('a 500 after the request took effect hides the decline of the charge', async () => {
  const fixture = await startFixture();
  await callControl(fixture.emulator, 'POST', 'faults', { action: 'status', status: 500, acts: true, saved: true });
  expect((await failure(pay(fixture.stripe, 'pm_card_chargeCustomerFail'))).statusCode).toBe(500);
  const [intent] = (await fixture.stripe.paymentIntents.list()).data;
  expect(intent).toMatchObject({ status: 'requires_payment_method', last_payment_error: { code: 'card_declined' } });
});

test('a response can be lost together with the webhooks of its request', async () => {
  const { url, received } = await startReceiver();
  const fixture = await startFixture({ webhookUrl: url });
  // The SDK retries a closed connection once: with two faults, the application sees one failure.
  await callControl(fixture.emulator, 'POST', 'faults', { times: 2, action: 'drop', acts: true, loseEvents: true });
  const charge = { amount: 1000, currency: 'usd', payment_method: 'pm_card_visa', confirm: true, ...NO_REDIRECT };
  await failure(fixture.stripe.paymentIntents.create(charge, { idempotencyKey: 'charge' }));
  await fixture.stripe.customers.create({});
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(received.map(({ event }) => event.type)).toEqual(['customer.created']);
  expect((await fixture.stripe.paymentIntents.list()).data).toMatchObject([{ status: 'succeeded' }]);
  expect(await eventTypes(fixture.stripe)).toContain('payment_intent.succeeded');
});

test('a buyer can confirm a debit in the browser', async () => {
  const { emulator, stripe } = await startFixture(slow);
  const { id, client_secret } = await stripe.paymentIntents.create({ amount: 1000, currency: 'usd' });
  const form = { client_secret: client_secret ?? '', payment_method: 'pm_usBankAccount_processing' };
  expect((await asBuyer(emulator, `payment_intents/${id}/confirm`, form)).body).toMatchObject({
    status: 'processing',
  });
});
