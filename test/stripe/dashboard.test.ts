import type Stripe from 'stripe';
import { expect, test } from 'vitest';
import { eventTypes, failure, flip, pay, startFixture } from '../support/stripe.ts';

type Fixture = Awaited<ReturnType<typeof startFixture>>;
const HELD = { capture_method: 'manual' } as const;

async function act<T>(fixture: Fixture, action: string, body: Record<string, unknown>): Promise<T> {
  return (await flip(fixture.emulator, 'POST', `dashboard/${action}`, body)) as T;
}

/** The events since the charge, oldest first. */
async function after(fixture: Fixture, type: string): Promise<string[]> {
  const types = await eventTypes(fixture.stripe);
  return types.slice(types.lastIndexOf(type) + 1);
}

test.each([
  [undefined, 1000],
  [400, 400],
])('a hold is captured in the dashboard: %s of 1000', async (amount, received) => {
  const fixture = await startFixture();
  const { id } = await pay(fixture.stripe, 'pm_card_visa', HELD);
  const intent = await act<Stripe.PaymentIntent>(fixture, 'capture', { payment_intent: id, amount });
  expect(intent).toMatchObject({ status: 'succeeded', amount_received: received, amount_capturable: 0 });
  expect(await after(fixture, 'payment_intent.amount_capturable_updated')).toEqual([
    'charge.captured',
    'payment_intent.succeeded',
  ]);
  await expect(act(fixture, 'capture', { payment_intent: id })).rejects.toThrow('already been captured');
  await expect(act(fixture, 'cancel', { payment_intent: id })).rejects.toThrow('cannot cancel');
});

test('a hold is cancelled in the dashboard', async () => {
  const fixture = await startFixture();
  const { id } = await pay(fixture.stripe, 'pm_card_visa', HELD);
  await act(fixture, 'cancel', { payment_intent: id, cancellation_reason: 'fraudulent' });
  expect(await fixture.stripe.paymentIntents.retrieve(id)).toMatchObject({
    status: 'canceled',
    cancellation_reason: 'fraudulent',
  });
  expect(await after(fixture, 'payment_intent.amount_capturable_updated')).toEqual(['payment_intent.canceled']);
});

test('a payment is refunded in the dashboard, in parts and never beyond what was paid', async () => {
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
  const made = await act<Stripe.Refund>(fixture, 'refund', { payment_intent: id, failsAfterSeconds: 3 * 24 * 3600 });
  const ours = await pay(fixture.stripe, 'pm_card_visa');
  const other = await fixture.stripe.refunds.create({ payment_intent: ours.id });
  await flip(fixture.emulator, 'POST', 'clock', { advanceSeconds: 2 * 24 * 3600 });
  expect((await fixture.stripe.refunds.retrieve(made.id)).status).toBe('succeeded');
  await flip(fixture.emulator, 'POST', 'clock', { advanceSeconds: 24 * 3600 });
  await act(fixture, 'fail_refund', { refund: other.id });
  for (const refund of [made, other]) expect((await fixture.stripe.refunds.retrieve(refund.id)).status).toBe('failed');
  expect(await fixture.stripe.charges.retrieve(String(latest_charge))).toMatchObject({
    refunded: false,
    amount_refunded: 0,
  });
  expect((await eventTypes(fixture.stripe)).filter((type) => type === 'refund.failed')).toHaveLength(2);
});

test('the amount and the currency of an intent change before it is paid, and never after', async () => {
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

test('an action on nothing, or with an unknown field, is refused', async () => {
  const fixture = await startFixture();
  await expect(act(fixture, 'capture', { payment_intent: 'pi_none' })).rejects.toThrow('No such payment_intent');
  await expect(act(fixture, 'refund', { payment_intent: 'pi_none', sum: 1 })).rejects.toThrow('sum');
  await expect(act(fixture, 'fail_refund', { refund: 're_none' })).rejects.toThrow('No such refund');
  const { id } = await fixture.stripe.paymentIntents.create({ amount: 1000, currency: 'usd' });
  await expect(act(fixture, 'dispute', { payment_intent: id })).rejects.toThrow('captured');
});

test('many unpaid intents are added at once with ids of the caller, can be paid, and requests are counted', async () => {
  const fixture = await startFixture();
  const intents = ['pi_a_1', 'pi_a_2'].map((id) => ({ id, amount: 1000, currency: 'usd', metadata: { orderId: id } }));
  expect(await flip(fixture.emulator, 'POST', 'intents', { intents })).toEqual({ added: 2 });
  const options = { payment_method: 'pm_card_visa', return_url: 'https://shop.test' };
  expect(await fixture.stripe.paymentIntents.confirm('pi_a_1', options)).toMatchObject({
    status: 'succeeded',
    metadata: { orderId: 'pi_a_1' },
  });
  expect((await fixture.stripe.paymentIntents.retrieve('pi_a_2')).status).toBe('requires_payment_method');
  await expect(flip(fixture.emulator, 'POST', 'intents', { intents: [{ id: 'x', amount: 0 }] })).rejects.toThrow();
  expect(await flip(fixture.emulator, 'GET', 'requests')).toEqual({
    requests: { 'POST /v1/payment_intents/:id/confirm': 1, 'GET /v1/payment_intents/:id': 1 },
  });
});
