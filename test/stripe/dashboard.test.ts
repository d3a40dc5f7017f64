import type Stripe from 'stripe';
import { expect, test } from 'vitest';
import { callControl, eventTypes, failure, pay, startFixture } from '../support/stripe.ts';

type Fixture = Awaited<ReturnType<typeof startFixture>>;
const MANUAL = { capture_method: 'manual' } as const;

async function act<T>(fixture: Fixture, action: string, body: Record<string, unknown>): Promise<T> {
  return (await callControl(fixture.emulator, 'POST', `dashboard/${action}`, body)) as T;
}

/** The event types after the last event of `type`, oldest first. */
async function after(fixture: Fixture, type: string): Promise<string[]> {
  const types = await eventTypes(fixture.stripe);
  return types.slice(types.lastIndexOf(type) + 1);
}

test.each([
  [undefined, 1000],
  [400, 400],
])('the dashboard captures an authorization: %s of 1000', async (amount, received) => {
  const fixture = await startFixture();
  const { id } = await pay(fixture.stripe, 'pm_card_visa', MANUAL);
  const intent = await act<Stripe.PaymentIntent>(fixture, 'capture', { payment_intent: id, amount });
  expect(intent).toMatchObject({ status: 'succeeded', amount_received: received, amount_capturable: 0 });
  expect(await after(fixture, 'payment_intent.amount_capturable_updated')).toEqual([
    ...(amount === undefined ? [] : ['refund.created']), // Stripe lists the rest, which it releases, as a refund
    'charge.captured',
    'payment_intent.succeeded',
  ]);
  await expect(act(fixture, 'capture', { payment_intent: id })).rejects.toThrow('already been captured');
  await expect(act(fixture, 'cancel', { payment_intent: id })).rejects.toThrow('cannot cancel');
});

test('the dashboard cancels an authorization', async () => {
  const fixture = await startFixture();
  const { id } = await pay(fixture.stripe, 'pm_card_visa', MANUAL);
  await act(fixture, 'cancel', { payment_intent: id, cancellation_reason: 'fraudulent' });
  expect(await fixture.stripe.paymentIntents.retrieve(id)).toMatchObject({
    status: 'canceled',
    cancellation_reason: 'fraudulent',
  });
  expect(await after(fixture, 'payment_intent.amount_capturable_updated')).toEqual(['payment_intent.canceled']);
});

test('the dashboard refunds a payment in parts, and never more than was paid', async () => {
  const fixture = await startFixture();
  const { id } = await pay(fixture.stripe, 'pm_card_visa');
  await act(fixture, 'refund', { payment_intent: id, amount: 300 });
  await act(fixture, 'refund', { payment_intent: id });
  expect(await after(fixture, 'payment_intent.succeeded')).toEqual([
    'refund.created',
    'charge.refunded',
    'refund.created',
    'charge.refunded',
  ]);
  expect((await fixture.stripe.refunds.list({ payment_intent: id })).data.map(({ amount }) => amount)).toEqual([
    700, 300,
  ]);
  await expect(act(fixture, 'refund', { payment_intent: id })).rejects.toThrow('already been refunded');
});

test('a full refund succeeds and fails at the bank days later', async () => {
  const fixture = await startFixture();
  const { id, latest_charge } = await pay(fixture.stripe, 'pm_card_visa');
  const first = await act<Stripe.Refund>(fixture, 'refund', { payment_intent: id, failsAfterSeconds: 3 * 24 * 3600 });
  const otherPayment = await pay(fixture.stripe, 'pm_card_visa');
  const second = await fixture.stripe.refunds.create({ payment_intent: otherPayment.id });
  await callControl(fixture.emulator, 'POST', 'clock', { advanceSeconds: 2 * 24 * 3600 });
  expect((await fixture.stripe.refunds.retrieve(first.id)).status).toBe('succeeded');
  await callControl(fixture.emulator, 'POST', 'clock', { advanceSeconds: 24 * 3600 });
  await act(fixture, 'fail_refund', { refund: second.id });
  for (const refund of [first, second])
    expect((await fixture.stripe.refunds.retrieve(refund.id)).status).toBe('failed');
  expect(await fixture.stripe.charges.retrieve(String(latest_charge))).toMatchObject({
    refunded: false,
    amount_refunded: 0,
  });
  expect((await eventTypes(fixture.stripe)).filter((type) => type === 'refund.failed')).toHaveLength(2);
});

test('the amount and currency of an intent can change before payment and not after it', async () => {
  const fixture = await startFixture();
  const { id } = await fixture.stripe.paymentIntents.create({ amount: 5000, currency: 'eur' });
  await act(fixture, 'change', { payment_intent: id, amount: 100, currency: 'usd' });
  const paid = await fixture.stripe.paymentIntents.confirm(id, {
    payment_method: 'pm_card_visa',
    return_url: 'https://shop.test',
  });
  expect(paid).toMatchObject({ status: 'succeeded', amount_received: 100, currency: 'usd' });
  await expect(act(fixture, 'change', { payment_intent: id, amount: 200 })).rejects.toThrow('could not be updated');
});

test.each([
  ['won', ['charge.dispute.closed', 'charge.dispute.funds_reinstated']],
  ['lost', ['charge.dispute.closed']],
] as const)('a payment is disputed and the dispute is %s', async (status, events) => {
  const fixture = await startFixture();
  const { id } = await pay(fixture.stripe, 'pm_card_visa');
  const dispute = await act<Stripe.Dispute>(fixture, 'dispute', { payment_intent: id, reason: 'product_not_received' });
  expect(dispute).toMatchObject({ status: 'needs_response', amount: 1000, reason: 'product_not_received' });
  expect((await failure(fixture.stripe.refunds.create({ payment_intent: id }))).code).toBe('charge_disputed');
  await act(fixture, 'close_dispute', { payment_intent: id, status });
  expect((await fixture.stripe.disputes.retrieve(dispute.id)).status).toBe(status);
  expect(await after(fixture, 'payment_intent.succeeded')).toEqual([
    'charge.dispute.created',
    'charge.dispute.funds_withdrawn',
    ...events,
  ]);
});

test('an action on an unknown object, or with an unknown field, is rejected', async () => {
  const fixture = await startFixture();
  await expect(act(fixture, 'capture', { payment_intent: 'pi_none' })).rejects.toThrow('No such payment_intent');
  await expect(act(fixture, 'refund', { payment_intent: 'pi_none', sum: 1 })).rejects.toThrow('sum');
  await expect(act(fixture, 'fail_refund', { refund: 're_none' })).rejects.toThrow('No such refund');
  const { id } = await fixture.stripe.paymentIntents.create({ amount: 1000, currency: 'usd' });
  await expect(act(fixture, 'dispute', { payment_intent: id })).rejects.toThrow('captured');
});

test('unpaid intents can be added in bulk with given ids and then paid, and requests are counted', async () => {
  const fixture = await startFixture();
  const intents = ['pi_a_1', 'pi_a_2'].map((id) => ({ id, amount: 1000, currency: 'usd', metadata: { orderId: id } }));
  expect(await callControl(fixture.emulator, 'POST', 'intents', { intents })).toEqual({ added: 2 });
  const options = { payment_method: 'pm_card_visa', return_url: 'https://shop.test' };
  expect(await fixture.stripe.paymentIntents.confirm('pi_a_1', options)).toMatchObject({
    status: 'succeeded',
    metadata: { orderId: 'pi_a_1' },
  });
  expect((await fixture.stripe.paymentIntents.retrieve('pi_a_2')).status).toBe('requires_payment_method');
  await expect(
    callControl(fixture.emulator, 'POST', 'intents', { intents: [{ id: 'x', amount: 0 }] }),
  ).rejects.toThrow();
  expect(await callControl(fixture.emulator, 'GET', 'requests')).toEqual({
    requests: { 'POST /v1/payment_intents/:id/confirm': 1, 'GET /v1/payment_intents/:id': 1 },
  });
});
