import { describe, expect, test } from 'vitest';
import { asBuyer, callControl, eventTypes, failure, pay, startFixture } from '../support/stripe.ts';

const NO_REDIRECT = { automatic_payment_methods: { enabled: true, allow_redirects: 'never' } } as const;

/** Creates a customer and saves the card with a setup intent. */
async function saveCard(fixture: Awaited<ReturnType<typeof startFixture>>, method: string) {
  const { stripe, emulator } = fixture;
  const customer = await stripe.customers.create({ email: 'buyer@example.com' });
  const setup = await stripe.setupIntents.create({
    customer: customer.id,
    payment_method: method,
    confirm: true,
    ...NO_REDIRECT,
  });
  if (setup.status === 'requires_action') {
    await callControl(emulator, 'POST', `setup_intents/${setup.id}/authenticate`, { outcome: 'succeed' });
  }
  const done = await stripe.setupIntents.retrieve(setup.id);
  return { customer: customer.id, method: String(done.payment_method), setup: done };
}

describe('a saved card', () => {
  test('is charged later, off-session, more than once', async () => {
    const fixture = await startFixture();
    const { customer, method, setup } = await saveCard(fixture, 'pm_card_visa');
    expect(setup).toMatchObject({ status: 'succeeded', usage: 'off_session' });
    const saved = await fixture.stripe.paymentMethods.retrieve(method);
    expect(saved).toMatchObject({ customer, card: { brand: 'visa', last4: '4242' } });
    for (let times = 0; times < 2; times += 1) {
      expect((await pay(fixture.stripe, method, { customer, off_session: true })).status).toBe('succeeded');
    }
    expect((await fixture.stripe.customers.listPaymentMethods(customer)).data.map((one) => one.id)).toEqual([method]);
    expect(await eventTypes(fixture.stripe)).toEqual(
      expect.arrayContaining([
        'customer.created',
        'setup_intent.created',
        'payment_method.attached',
        'setup_intent.succeeded',
      ]),
    );
  });

  test.each([
    ['pm_card_authenticationRequired', 'authentication_required'],
    ['pm_card_authenticationRequiredOnSetup', null],
    ['pm_card_authenticationRequiredSetupForOffSession', null],
  ])('%s was set up: an off-session charge ends with error %s', async (method, code) => {
    const fixture = await startFixture();
    const saved = await saveCard(fixture, method);
    const charge = pay(fixture.stripe, saved.method, { customer: saved.customer, off_session: true });
    if (code === null) {
      expect((await charge).status).toBe('succeeded');
      return;
    }
    const error = await failure(charge);
    expect(error).toMatchObject({ statusCode: 402, type: 'StripeCardError', code, decline_code: code });
    expect(error.payment_intent?.status).toBe('requires_payment_method');
  });

  test('requires authentication off-session if it was not set up', async () => {
    const { stripe } = await startFixture();
    const error = await failure(pay(stripe, 'pm_card_authenticationRequiredOnSetup', { off_session: true }));
    expect(error.code).toBe('authentication_required');
  });

  test('can be saved by a payment', async () => {
    const { stripe } = await startFixture();
    const customer = await stripe.customers.create({});
    const paid = await pay(stripe, 'pm_card_visa', { customer: customer.id, setup_future_usage: 'off_session' });
    const again = await pay(stripe, String(paid.payment_method), { customer: customer.id, off_session: true });
    expect(again.status).toBe('succeeded');
  });

  test('can be attached and then fail when it is charged', async () => {
    const { stripe } = await startFixture();
    const customer = await stripe.customers.create({});
    const method = await stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer: customer.id });
    const error = await failure(pay(stripe, method.id, { customer: customer.id, off_session: true }));
    expect(error).toMatchObject({ statusCode: 402, decline_code: 'generic_decline' });
  });

  test('of another customer is rejected', async () => {
    const fixture = await startFixture();
    const { method } = await saveCard(fixture, 'pm_card_visa');
    const other = await fixture.stripe.customers.create({});
    expect(await failure(pay(fixture.stripe, method, { customer: other.id }))).toMatchObject({ statusCode: 400 });
    expect(await failure(pay(fixture.stripe, method))).toMatchObject({ statusCode: 400, param: 'payment_method' });
  });

  test('that was used without a customer cannot be used again', async () => {
    const { stripe } = await startFixture();
    const paid = await pay(stripe, 'pm_card_visa');
    expect((await failure(pay(stripe, String(paid.payment_method)))).message).toContain('may not be used again');
  });
});

describe('a setup intent', () => {
  test('fails with a declined card and can be retried', async () => {
    const { stripe } = await startFixture();
    const customer = await stripe.customers.create({});
    const setup = await stripe.setupIntents.create({ customer: customer.id, ...NO_REDIRECT });
    const error = await failure(stripe.setupIntents.confirm(setup.id, { payment_method: 'pm_card_chargeDeclined' }));
    expect(error).toMatchObject({ statusCode: 402, code: 'card_declined' });
    expect(error.setup_intent).toMatchObject({ status: 'requires_payment_method' });
    expect(
      await failure(stripe.paymentMethods.attach('pm_card_chargeDeclined', { customer: customer.id })),
    ).toMatchObject({
      statusCode: 402,
    });
    const done = await stripe.setupIntents.confirm(setup.id, { payment_method: 'pm_card_visa' });
    expect(done.status).toBe('succeeded');
    expect(await eventTypes(stripe)).toContain('setup_intent.setup_failed');
  });

  test('can be confirmed by the buyer, and fails if the challenge fails', async () => {
    const { stripe, emulator } = await startFixture();
    const setup = await stripe.setupIntents.create({});
    const form = { client_secret: setup.client_secret ?? '', payment_method: 'pm_card_authenticationRequired' };
    const confirmed = await asBuyer(emulator, `setup_intents/${setup.id}/confirm`, form);
    expect(confirmed.body).toMatchObject({ status: 'requires_action', next_action: { type: 'use_stripe_sdk' } });
    await callControl(emulator, 'POST', `setup_intents/${setup.id}/authenticate`, { outcome: 'fail' });
    expect(await stripe.setupIntents.retrieve(setup.id)).toMatchObject({
      status: 'requires_payment_method',
      last_setup_error: { code: 'setup_intent_authentication_failure' },
    });
  });

  test('can be canceled while it is open and not after it has succeeded', async () => {
    const fixture = await startFixture();
    const open = await fixture.stripe.setupIntents.create({});
    expect((await fixture.stripe.setupIntents.cancel(open.id)).status).toBe('canceled');
    const { setup } = await saveCard(fixture, 'pm_card_visa');
    expect(await failure(fixture.stripe.setupIntents.cancel(setup.id))).toMatchObject({
      code: 'setup_intent_unexpected_state',
    });
    expect(await eventTypes(fixture.stripe)).toContain('setup_intent.canceled');
  });
});
