import type Stripe from 'stripe';
import { expect, test } from 'vitest';
import { eventTypes, failure, flip, pay, startRig } from '../support/stripe.ts';

type Rig = Awaited<ReturnType<typeof startRig>>;
const HELD = { capture_method: 'manual' } as const;

async function act<T>(rig: Rig, action: string, body: Record<string, unknown>): Promise<T> {
  return (await flip(rig.emulator, 'POST', `dashboard/${action}`, body)) as T;
}

/** The events since the charge, oldest first. */
async function after(rig: Rig, type: string): Promise<string[]> {
  const types = await eventTypes(rig.stripe);
  return types.slice(types.lastIndexOf(type) + 1);
}

test.each([
  [undefined, 1000],
  [400, 400],
])('a hold is captured in the dashboard: %s of 1000', async (amount, received) => {
  const rig = await startRig();
  const { id } = await pay(rig.stripe, 'pm_card_visa', HELD);
  const intent = await act<Stripe.PaymentIntent>(rig, 'capture', { payment_intent: id, amount });
  expect(intent).toMatchObject({ status: 'succeeded', amount_received: received, amount_capturable: 0 });
  expect(await after(rig, 'payment_intent.amount_capturable_updated')).toEqual([
    'charge.captured',
    'payment_intent.succeeded',
  ]);
  await expect(act(rig, 'capture', { payment_intent: id })).rejects.toThrow('already been captured');
  await expect(act(rig, 'cancel', { payment_intent: id })).rejects.toThrow('cannot cancel');
});

test('a hold is cancelled in the dashboard', async () => {
  const rig = await startRig();
  const { id } = await pay(rig.stripe, 'pm_card_visa', HELD);
  await act(rig, 'cancel', { payment_intent: id, cancellation_reason: 'fraudulent' });
  expect(await rig.stripe.paymentIntents.retrieve(id)).toMatchObject({
    status: 'canceled',
    cancellation_reason: 'fraudulent',
  });
  expect(await after(rig, 'payment_intent.amount_capturable_updated')).toEqual(['payment_intent.canceled']);
});

test('a payment is refunded in the dashboard, in parts and never beyond what was paid', async () => {
  const rig = await startRig();
  const { id } = await pay(rig.stripe, 'pm_card_visa');
  await act(rig, 'refund', { payment_intent: id, amount: 300 });
  await act(rig, 'refund', { payment_intent: id });
  expect(await after(rig, 'payment_intent.succeeded')).toEqual([
    'refund.created',
    'charge.refunded',
    'refund.created',
    'charge.refunded',
  ]);
  expect((await rig.stripe.refunds.list({ payment_intent: id })).data.map(({ amount }) => amount)).toEqual([700, 300]);
  await expect(act(rig, 'refund', { payment_intent: id })).rejects.toThrow('already been refunded');
});

test('a full refund succeeds and fails at the bank days later', async () => {
  const rig = await startRig();
  const { id, latest_charge } = await pay(rig.stripe, 'pm_card_visa');
  const made = await act<Stripe.Refund>(rig, 'refund', { payment_intent: id, failsAfterSeconds: 3 * 24 * 3600 });
  const ours = await pay(rig.stripe, 'pm_card_visa');
  const other = await rig.stripe.refunds.create({ payment_intent: ours.id });
  await flip(rig.emulator, 'POST', 'clock', { advanceSeconds: 2 * 24 * 3600 });
  expect((await rig.stripe.refunds.retrieve(made.id)).status).toBe('succeeded');
  await flip(rig.emulator, 'POST', 'clock', { advanceSeconds: 24 * 3600 });
  await act(rig, 'fail_refund', { refund: other.id });
  for (const refund of [made, other]) expect((await rig.stripe.refunds.retrieve(refund.id)).status).toBe('failed');
  expect(await rig.stripe.charges.retrieve(String(latest_charge))).toMatchObject({
    refunded: false,
    amount_refunded: 0,
  });
  expect((await eventTypes(rig.stripe)).filter((type) => type === 'refund.failed')).toHaveLength(2);
});

test('the amount and the currency of an intent change before it is paid, and never after', async () => {
  const rig = await startRig();
  const { id } = await rig.stripe.paymentIntents.create({ amount: 5000, currency: 'eur' });
  await act(rig, 'change', { payment_intent: id, amount: 100, currency: 'usd' });
  const paid = await rig.stripe.paymentIntents.confirm(id, {
    payment_method: 'pm_card_visa',
    return_url: 'https://shop.test',
  });
  expect(paid).toMatchObject({ status: 'succeeded', amount_received: 100, currency: 'usd' });
  await expect(act(rig, 'change', { payment_intent: id, amount: 200 })).rejects.toThrow('could not be updated');
});

test.each([
  ['won', ['charge.dispute.closed', 'charge.dispute.funds_reinstated']],
  ['lost', ['charge.dispute.closed']],
] as const)('a payment is disputed and the dispute is %s', async (status, events) => {
  const rig = await startRig();
  const { id } = await pay(rig.stripe, 'pm_card_visa');
  const dispute = await act<Stripe.Dispute>(rig, 'dispute', { payment_intent: id, reason: 'product_not_received' });
  expect(dispute).toMatchObject({ status: 'needs_response', amount: 1000, reason: 'product_not_received' });
  expect((await failure(rig.stripe.refunds.create({ payment_intent: id }))).code).toBe('charge_disputed');
  await act(rig, 'close_dispute', { payment_intent: id, status });
  expect((await rig.stripe.disputes.retrieve(dispute.id)).status).toBe(status);
  expect(await after(rig, 'payment_intent.succeeded')).toEqual([
    'charge.dispute.created',
    'charge.dispute.funds_withdrawn',
    ...events,
  ]);
});

test('an action on nothing, or with an unknown field, is refused', async () => {
  const rig = await startRig();
  await expect(act(rig, 'capture', { payment_intent: 'pi_none' })).rejects.toThrow('No such payment_intent');
  await expect(act(rig, 'refund', { payment_intent: 'pi_none', sum: 1 })).rejects.toThrow('sum');
  await expect(act(rig, 'fail_refund', { refund: 're_none' })).rejects.toThrow('No such refund');
  const { id } = await rig.stripe.paymentIntents.create({ amount: 1000, currency: 'usd' });
  await expect(act(rig, 'dispute', { payment_intent: id })).rejects.toThrow('captured');
});

test('many unpaid intents are added at once with ids of the caller, can be paid, and requests are counted', async () => {
  const rig = await startRig();
  const intents = ['pi_a_1', 'pi_a_2'].map((id) => ({ id, amount: 1000, currency: 'usd', metadata: { orderId: id } }));
  expect(await flip(rig.emulator, 'POST', 'intents', { intents })).toEqual({ added: 2 });
  const options = { payment_method: 'pm_card_visa', return_url: 'https://shop.test' };
  expect(await rig.stripe.paymentIntents.confirm('pi_a_1', options)).toMatchObject({
    status: 'succeeded',
    metadata: { orderId: 'pi_a_1' },
  });
  expect((await rig.stripe.paymentIntents.retrieve('pi_a_2')).status).toBe('requires_payment_method');
  await expect(flip(rig.emulator, 'POST', 'intents', { intents: [{ id: 'x', amount: 0 }] })).rejects.toThrow();
  expect(await flip(rig.emulator, 'GET', 'requests')).toEqual({
    requests: { 'POST /v1/payment_intents/:id/confirm': 1, 'GET /v1/payment_intents/:id': 1 },
  });
});
