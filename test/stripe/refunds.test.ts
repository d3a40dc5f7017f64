import { describe, expect, test } from 'vitest';
import { callControl, eventTypes, eventually, failure, pay, startFixture } from '../support/stripe.ts';

describe('a refund', () => {
  test('can be partial, and never exceeds the captured amount', async () => {
    const { stripe, emulator } = await startFixture();
    const paid = await pay(stripe, 'pm_card_visa');
    const first = await stripe.refunds.create({
      payment_intent: paid.id,
      amount: 400,
      reason: 'requested_by_customer',
      metadata: { refundId: 'r-1' },
    });
    expect(first).toMatchObject({ status: 'succeeded', amount: 400, metadata: { refundId: 'r-1' } });
    const tooMuch = await failure(stripe.refunds.create({ payment_intent: paid.id, amount: 601 }));
    expect(tooMuch).toMatchObject({
      statusCode: 400,
      param: 'amount',
      message: 'Refund amount ($6.01) is greater than unrefunded amount on charge ($6.00)',
    });
    await stripe.refunds.create({ charge: String(paid.latest_charge) });
    const charge = await stripe.charges.retrieve(String(paid.latest_charge));
    expect(charge).toMatchObject({ amount_refunded: 1000, refunded: true });
    expect(await failure(stripe.refunds.create({ payment_intent: paid.id }))).toMatchObject({
      statusCode: 400,
      code: 'charge_already_refunded',
    });
    const listed = await stripe.refunds.list({ payment_intent: paid.id });
    expect(listed.data.map((refund) => refund.amount)).toEqual([600, 400]);
    expect((await stripe.refunds.retrieve(first.id)).id).toBe(first.id);
    expect((await eventTypes(stripe)).slice(3)).toEqual([
      'refund.created',
      'charge.refunded',
      'refund.created',
      'charge.refunded',
    ]);
    expect(await callControl(emulator, 'GET', 'state')).toMatchObject({
      intents: [{ captured: 1000, refunded: 1000 }],
    });
  });

  test('that is requested eight times at once succeeds once', async () => {
    const { stripe } = await startFixture();
    const paid = await pay(stripe, 'pm_card_visa');
    const requests = Array.from({ length: 8 }, () => stripe.refunds.create({ payment_intent: paid.id, amount: 700 }));
    const succeeded = (await Promise.allSettled(requests)).filter(({ status }) => status === 'fulfilled');
    expect(succeeded).toHaveLength(1);
  });

  test('never exceeds a partial capture', async () => {
    const { stripe } = await startFixture();
    const held = await pay(stripe, 'pm_card_visa', { capture_method: 'manual' });
    expect((await failure(stripe.refunds.create({ payment_intent: held.id }))).message).toContain(
      'cancel the PaymentIntent',
    );
    await stripe.paymentIntents.capture(held.id, { amount_to_capture: 700 });
    expect(await failure(stripe.refunds.create({ payment_intent: held.id, amount: 701 }))).toMatchObject({
      param: 'amount',
    });
    expect((await stripe.refunds.create({ payment_intent: held.id })).amount).toBe(700);
    expect((await stripe.charges.retrieve(String(held.latest_charge))).refunded).toBe(true);
  });

  test('with pm_card_pendingRefund is pending and then succeeds', async () => {
    const { stripe } = await startFixture();
    const paid = await pay(stripe, 'pm_card_pendingRefund');
    const refund = await stripe.refunds.create({ payment_intent: paid.id });
    expect(refund.status).toBe('pending');
    const settled = await eventually(async () => {
      const now = await stripe.refunds.retrieve(refund.id);
      return now.status === 'pending' ? undefined : now;
    });
    expect(settled.status).toBe('succeeded');
    const [event] = (await stripe.events.list({ type: 'refund.updated' })).data;
    expect(event?.data.previous_attributes).toEqual({ status: 'pending' });
  });

  test('with pm_card_refundFail succeeds, fails later, and can be repeated', async () => {
    const { stripe } = await startFixture();
    const paid = await pay(stripe, 'pm_card_refundFail');
    const refund = await stripe.refunds.create({ payment_intent: paid.id });
    expect(refund.status).toBe('succeeded');
    await eventually(async () => ((await eventTypes(stripe)).includes('refund.failed') ? true : undefined));
    expect(await stripe.refunds.retrieve(refund.id)).toMatchObject({
      status: 'failed',
      failure_reason: 'expired_or_canceled_card',
    });
    expect(await stripe.charges.retrieve(String(paid.latest_charge))).toMatchObject({
      amount_refunded: 0,
      refunded: false,
    });
    expect((await stripe.refunds.create({ payment_intent: paid.id })).amount).toBe(1000);
  });

  test('of an unpaid intent is rejected', async () => {
    const { stripe } = await startFixture();
    const open = await stripe.paymentIntents.create({ amount: 1000, currency: 'usd' });
    const error = await failure(stripe.refunds.create({ payment_intent: open.id }));
    expect(error.message).toBe(`This PaymentIntent (${open.id}) does not have a successful charge to refund.`);
    expect(await failure(stripe.refunds.create({}))).toMatchObject({ code: 'parameter_missing' });
    expect(await failure(stripe.refunds.create({ payment_intent: 'pi_nobody' }))).toMatchObject({
      statusCode: 400,
      code: 'resource_missing',
    });
  });
});

describe('a dispute', () => {
  test('opens after a payment with pm_card_createDispute, blocks refunds, and can be closed once', async () => {
    const { stripe, emulator } = await startFixture();
    const paid = await pay(stripe, 'pm_card_createDispute');
    expect(paid.status).toBe('succeeded');
    const find = async () => (await stripe.disputes.list({ payment_intent: paid.id })).data[0];
    const dispute = await eventually(find);
    expect(dispute).toMatchObject({ amount: 1000, reason: 'fraudulent', status: 'needs_response' });
    expect(await failure(stripe.refunds.create({ payment_intent: paid.id }))).toMatchObject({
      code: 'charge_disputed',
    });
    await callControl(emulator, 'POST', `disputes/${dispute.id}/close`, { status: 'lost' });
    expect((await stripe.disputes.retrieve(dispute.id)).status).toBe('lost');
    const types = await eventTypes(stripe);
    expect(types).toEqual(expect.arrayContaining(['charge.dispute.created', 'charge.dispute.closed']));
    await expect(callControl(emulator, 'POST', `disputes/${dispute.id}/close`, { status: 'won' })).rejects.toThrow(
      'already closed',
    );
  });

  test('is won with the documented evidence', async () => {
    const { stripe } = await startFixture();
    await pay(stripe, 'pm_card_createDisputeProductNotReceived');
    const dispute = await eventually(async () => (await stripe.disputes.list()).data[0]);
    const won = await stripe.disputes.update(dispute.id, { evidence: { uncategorized_text: 'winning_evidence' } });
    expect(won).toMatchObject({ status: 'won', reason: 'product_not_received' });
  });
});
