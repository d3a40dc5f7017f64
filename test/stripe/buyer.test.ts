import { describe, expect, test } from 'vitest';
import { asBuyer, callControl, eventTypes, failure, pay, sdkFor, startFixture } from '../support/stripe.ts';

describe('3-D Secure', () => {
  test.each([
    'pm_card_authenticationRequired',
    'pm_card_threeDSecure2Required',
    'pm_card_authenticationRequiredOnSetup',
  ])('a payment with %s succeeds after the buyer has authenticated', async (method) => {
    const { stripe, emulator } = await startFixture();
    const intent = await pay(stripe, method, { return_url: 'https://shop.example/done' });
    expect(intent).toMatchObject({
      status: 'requires_action',
      next_action: { type: 'redirect_to_url', redirect_to_url: { return_url: 'https://shop.example/done' } },
    });
    await callControl(emulator, 'POST', `payment_intents/${intent.id}/authenticate`, { outcome: 'succeed' });
    expect((await stripe.paymentIntents.retrieve(intent.id)).status).toBe('succeeded');
    expect(await eventTypes(stripe)).toContain('payment_intent.requires_action');
  });

  test('a failed challenge leaves the intent open for another card', async () => {
    const { stripe, emulator } = await startFixture();
    const intent = await pay(stripe, 'pm_card_authenticationRequired');
    await callControl(emulator, 'POST', `payment_intents/${intent.id}/authenticate`, { outcome: 'fail' });
    const after = await stripe.paymentIntents.retrieve(intent.id);
    expect(after).toMatchObject({
      status: 'requires_payment_method',
      last_payment_error: { code: 'payment_intent_authentication_failure' },
    });
    expect((await stripe.paymentIntents.confirm(intent.id, { payment_method: 'pm_card_visa' })).status).toBe(
      'succeeded',
    );
  });

  test('a card can be declined after a successful challenge', async () => {
    const { stripe, emulator } = await startFixture();
    const intent = await pay(stripe, 'pm_card_authenticationRequiredChargeDeclinedInsufficientFunds');
    await callControl(emulator, 'POST', `payment_intents/${intent.id}/authenticate`, { outcome: 'succeed' });
    const after = await stripe.paymentIntents.retrieve(intent.id);
    expect(after.last_payment_error).toMatchObject({ decline_code: 'insufficient_funds' });
  });

  test('the challenge page redirects the browser back to the shop', async () => {
    const { stripe } = await startFixture();
    const intent = await pay(stripe, 'pm_card_authenticationRequired', { return_url: 'https://shop.example/done' });
    const page = intent.next_action?.redirect_to_url?.url ?? '';
    expect(await (await fetch(page)).text()).toContain('$10.00');
    const response = await fetch(page, {
      method: 'POST',
      body: new URLSearchParams({ outcome: 'succeed' }),
      redirect: 'manual',
    });
    expect(response.headers.get('location')).toBe(`https://shop.example/done?payment_intent=${intent.id}`);
    expect((await stripe.paymentIntents.retrieve(intent.id)).status).toBe('succeeded');
  });
});

describe('the buyer’s browser', () => {
  test('confirms with the publishable key and the client secret, and does not see the metadata', async () => {
    const { stripe, emulator } = await startFixture();
    const intent = await stripe.paymentIntents.create({ amount: 1000, currency: 'usd', metadata: { inner: 'yes' } });
    const confirm = `payment_intents/${intent.id}/confirm`;
    const wrong = await asBuyer(emulator, confirm, {
      payment_method: 'pm_card_visa',
      client_secret: `${intent.id}_secret_x`,
    });
    expect(wrong.status).toBe(400);
    const form = {
      client_secret: intent.client_secret ?? '',
      use_stripe_sdk: 'true',
      expected_payment_method_type: 'card',
    };
    const declined = await asBuyer(emulator, confirm, { ...form, payment_method: 'pm_card_chargeDeclined' });
    expect(declined.status).toBe(402);
    expect(declined.body.error?.payment_intent).not.toHaveProperty('metadata');
    const paid = await asBuyer(emulator, confirm, {
      ...form,
      'payment_method_data[type]': 'card',
      'payment_method_data[card][number]': '4242 4242 4242 4242',
      'payment_method_data[card][exp_month]': '12',
      'payment_method_data[card][exp_year]': '34',
      'payment_method_data[card][cvc]': '123',
    });
    expect(paid.body).toMatchObject({ id: intent.id, status: 'succeeded' });
    expect(paid.body).not.toHaveProperty('metadata');
  });

  test('cannot refund with the publishable key, or read an intent without its secret', async () => {
    const { stripe, emulator } = await startFixture();
    const paid = await pay(stripe, 'pm_card_visa');
    const buyer = sdkFor(emulator.port, emulator.publishableKey);
    expect(await failure(buyer.refunds.create({ payment_intent: paid.id }))).toMatchObject({
      statusCode: 403,
      code: 'secret_key_required',
    });
    expect(await failure(buyer.paymentIntents.retrieve(paid.id))).toMatchObject({ param: 'client_secret' });
    const seen = await buyer.paymentIntents.retrieve(paid.id, { client_secret: paid.client_secret ?? '' });
    expect(seen.status).toBe('succeeded');
  });
});
