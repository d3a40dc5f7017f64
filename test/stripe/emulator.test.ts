import { describe, expect, test } from 'vitest';
import { callControl, eventTypes, eventually, failure, pay, startFixture } from '../support/stripe.ts';

describe('a payment', () => {
  test('succeeds with a valid card and is charged once', async () => {
    const { stripe } = await startFixture();
    const intent = await pay(stripe, 'pm_card_visa', { metadata: { orderId: 'o-1' }, expand: ['latest_charge'] });
    expect(intent).toMatchObject({
      status: 'succeeded',
      amount_received: 1000,
      livemode: false,
      metadata: { orderId: 'o-1' },
    });
    expect(intent.latest_charge).toMatchObject({
      amount_captured: 1000,
      captured: true,
      refunded: false,
      status: 'succeeded',
    });
    expect(intent.payment_method).toMatch(/^pm_[0-9A-Za-z]{24}$/);
    expect(intent.lastResponse.requestId).toMatch(/^req_/);
    const charges = await stripe.charges.list({ payment_intent: intent.id });
    expect(charges.data.map((charge) => charge.amount)).toEqual([1000]);
    expect(await eventTypes(stripe)).toEqual([
      'payment_intent.created',
      'charge.succeeded',
      'payment_intent.succeeded',
    ]);
  });

  test.each(['pm_card_mastercard', 'pm_card_amex', 'pm_card_gb'])('succeeds with %s', async (method) => {
    const { stripe } = await startFixture();
    expect((await pay(stripe, method)).status).toBe('succeeded');
  });

  test.each([
    ['pm_card_chargeDeclined', 'card_declined', 'generic_decline'],
    ['pm_card_visa_chargeDeclined', 'card_declined', 'generic_decline'],
    ['pm_card_chargeDeclinedInsufficientFunds', 'card_declined', 'insufficient_funds'],
    ['pm_card_chargeDeclinedLostCard', 'card_declined', 'lost_card'],
    ['pm_card_chargeDeclinedStolenCard', 'card_declined', 'stolen_card'],
    ['pm_card_chargeDeclinedExpiredCard', 'expired_card', ''],
    ['pm_card_chargeDeclinedIncorrectCvc', 'incorrect_cvc', ''],
    ['pm_card_chargeDeclinedProcessingError', 'processing_error', ''],
    ['pm_card_visa_chargeDeclinedVelocityLimitExceeded', 'card_declined', 'card_velocity_exceeded'],
    ['pm_card_chargeCustomerFail', 'card_declined', 'generic_decline'],
  ])('is declined with %s', async (method, code, declineCode) => {
    const { stripe } = await startFixture();
    const error = await failure(pay(stripe, method));
    expect(error).toMatchObject({ type: 'StripeCardError', statusCode: 402, code, decline_code: declineCode });
    expect(error.payment_intent).toMatchObject({ status: 'requires_payment_method', payment_method: null });
    expect(error.payment_intent?.last_payment_error).toMatchObject({ code, charge: error.charge });
    expect(await eventTypes(stripe)).toEqual([
      'payment_intent.created',
      'charge.failed',
      'payment_intent.payment_failed',
    ]);
  });

  test('can be paid with another card after a decline', async () => {
    const { stripe } = await startFixture();
    const error = await failure(pay(stripe, 'pm_card_chargeDeclined'));
    const paid = await stripe.paymentIntents.confirm(error.payment_intent?.id ?? '', {
      payment_method: 'pm_card_visa',
    });
    expect(paid).toMatchObject({ status: 'succeeded', last_payment_error: null });
    const charges = await stripe.charges.list({ payment_intent: paid.id });
    expect(charges.data.map((charge) => charge.status)).toEqual(['succeeded', 'failed']);
  });

  test('requires a payment method and then a confirmation', async () => {
    const { stripe } = await startFixture();
    const intent = await stripe.paymentIntents.create({ amount: 5000, currency: 'jpy' });
    expect(intent).toMatchObject({ status: 'requires_payment_method', capture_method: 'automatic_async' });
    expect(intent.client_secret).toMatch(new RegExp(`^${intent.id}_secret_`));
    const chosen = await stripe.paymentIntents.update(intent.id, { payment_method: 'pm_card_visa', amount: 6000 });
    expect(chosen).toMatchObject({ status: 'requires_confirmation', amount: 6000 });
    const done = await stripe.paymentIntents.confirm(intent.id, { return_url: 'https://shop.example/done' });
    expect(done).toMatchObject({ status: 'succeeded', amount_received: 6000, currency: 'jpy' });
    expect((await stripe.paymentIntents.list({ limit: 1 })).data[0]?.id).toBe(intent.id);
  });

  test('by bank debit stays processing until the bank decides', async () => {
    const { stripe } = await startFixture();
    const debit = { currency: 'eur' };
    const good = await pay(stripe, 'pm_sepaDebit_success_de', debit);
    const bad = await pay(stripe, 'pm_sepaDebit_failed_de', debit);
    expect([good.status, bad.status]).toEqual(['processing', 'processing']);
    const ended = async (id: string) => {
      const { status } = await stripe.paymentIntents.retrieve(id);
      return status === 'processing' ? undefined : status;
    };
    expect(await eventually(() => ended(good.id))).toBe('succeeded');
    expect(await eventually(() => ended(bad.id))).toBe('requires_payment_method');
    expect(await eventTypes(stripe)).toContain('payment_intent.processing');
  });

  test('can be canceled before it succeeds and not after', async () => {
    const { stripe } = await startFixture();
    const open = await stripe.paymentIntents.create({ amount: 1000, currency: 'usd' });
    const ended = await stripe.paymentIntents.cancel(open.id, { cancellation_reason: 'abandoned' });
    expect(ended).toMatchObject({ status: 'canceled', cancellation_reason: 'abandoned' });
    const confirm = await failure(
      stripe.paymentIntents.confirm(open.id, { payment_method: 'pm_card_visa', return_url: 'https://x.example' }),
    );
    expect(confirm).toMatchObject({ statusCode: 400, code: 'payment_intent_unexpected_state' });
    const paid = await pay(stripe, 'pm_card_visa');
    const cancel = await failure(stripe.paymentIntents.cancel(paid.id));
    expect(cancel).toMatchObject({ type: 'StripeInvalidRequestError', code: 'payment_intent_unexpected_state' });
    expect(cancel.payment_intent?.status).toBe('succeeded');
  });
});

describe('an authorization', () => {
  test('may name a calculation of Stripe Tax when it is captured, for the captured amount', async () => {
    const { stripe } = await startFixture();
    const calculation = await stripe.tax.calculations.create({
      currency: 'usd',
      line_items: [{ amount: 700, reference: '1' }],
      customer_details: { address: { country: 'DE', postal_code: '20457' }, address_source: 'shipping' },
    });
    const hooks = { inputs: { tax: { calculation: calculation.id ?? '' } } };
    const held = await pay(stripe, 'pm_card_visa', { capture_method: 'manual' });
    const amount = calculation.amount_total;
    const other = stripe.paymentIntents.capture(held.id, { amount_to_capture: amount - 1, hooks });
    expect(await failure(other)).toMatchObject({ statusCode: 400, param: 'hooks[inputs][tax][calculation]' });
    const captured = await stripe.paymentIntents.capture(held.id, { amount_to_capture: amount, hooks });
    expect(captured).toMatchObject({ status: 'succeeded', amount: 1000, amount_received: amount, hooks });
  });

  test('is captured once, in whole or in part, and the rest is released', async () => {
    const { stripe, emulator } = await startFixture();
    const held = await pay(stripe, 'pm_card_visa', { capture_method: 'manual' });
    expect(held).toMatchObject({ status: 'requires_capture', amount_capturable: 1000, amount_received: 0 });
    expect(await failure(stripe.paymentIntents.capture(held.id, { amount_to_capture: 1001 }))).toMatchObject({
      statusCode: 400,
      param: 'amount_to_capture',
    });
    const captured = await stripe.paymentIntents.capture(held.id, {
      amount_to_capture: 700,
      expand: ['latest_charge.refunds'],
    });
    expect(captured).toMatchObject({ status: 'succeeded', amount_capturable: 0, amount_received: 700 });
    expect(captured.latest_charge).toMatchObject({
      amount: 1000,
      amount_captured: 700,
      amount_refunded: 300,
      refunded: false,
      refunds: { data: [{ amount: 300, status: 'succeeded', balance_transaction: null }] },
    });
    expect(await failure(stripe.paymentIntents.capture(held.id))).toMatchObject({
      code: 'payment_intent_unexpected_state',
    });
    const types = await eventTypes(stripe);
    expect(types).toContain('payment_intent.amount_capturable_updated');
    expect(types).toContain('charge.captured');
    const state = await callControl(emulator, 'GET', 'state');
    expect(state).toMatchObject({ intents: [{ captured: 700, refunded: 0 }] });
  });

  test('takes no money if it is canceled', async () => {
    const { stripe, emulator } = await startFixture();
    const held = await pay(stripe, 'pm_card_visa', { capture_method: 'manual' });
    await stripe.paymentIntents.cancel(held.id);
    const charge = await stripe.charges.retrieve(String(held.latest_charge));
    expect(charge).toMatchObject({ captured: false, refunded: false, amount_captured: 0 });
    expect((await eventTypes(stripe)).slice(-1)).toEqual(['payment_intent.canceled']);
    expect(await eventTypes(stripe)).not.toContain('charge.refunded');
    expect(await failure(stripe.refunds.create({ payment_intent: held.id }))).toMatchObject({ statusCode: 400 });
    expect(await callControl(emulator, 'GET', 'state')).toMatchObject({ intents: [{ captured: 0, refunded: 0 }] });
  });

  test('expires after seven days without a capture', async () => {
    let now = Date.now();
    const { stripe } = await startFixture({ now: () => now });
    const held = await pay(stripe, 'pm_card_visa', { capture_method: 'manual' });
    now += 7 * 24 * 3600_000 - 1000;
    expect((await stripe.paymentIntents.retrieve(held.id)).status).toBe('requires_capture');
    now += 1000;
    const expired = await stripe.paymentIntents.retrieve(held.id);
    expect(expired).toMatchObject({ status: 'canceled', cancellation_reason: 'expired' });
  });
});
