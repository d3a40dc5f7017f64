import type Stripe from 'stripe';
import { describe, expect, test } from 'vitest';
import {
  callControl,
  eventually,
  failure,
  SECRET_KEY,
  sdkFor,
  startFixture,
  startReceiver,
} from '../support/stripe.ts';

const RETURN = 'https://shop.example/admin/stripe';
const REFRESH = 'https://shop.example/admin/stripe/again';
const link = { type: 'account_onboarding', refresh_url: REFRESH, return_url: RETURN } as const;
const params = { amount: 1000, currency: 'usd' };

const open = (url: string) => fetch(url, { redirect: 'manual' });
const send = (url: string, outcome?: 'finish' | 'leave') =>
  fetch(url, {
    method: 'POST',
    redirect: 'manual',
    ...(outcome === undefined ? {} : { body: new URLSearchParams({ outcome }) }),
  });

describe('a new account', () => {
  test.each([
    ['the type standard', { type: 'standard' }],
    ['no type', {}],
    [
      'the controller of a Standard account',
      {
        controller: {
          fees: { payer: 'account' },
          losses: { payments: 'stripe' },
          requirement_collection: 'stripe',
          stripe_dashboard: { type: 'full' },
        },
      },
    ],
  ] as const)('with %s cannot take payments yet', async (_, kind) => {
    const { emulator, stripe } = await startFixture();
    const made = await stripe.accounts.create({ ...kind, country: 'DE', metadata: { tenant: 'acme' } });
    expect(made).toMatchObject({
      object: 'account',
      type: 'standard',
      country: 'DE',
      charges_enabled: false,
      details_submitted: false,
      payouts_enabled: false,
      metadata: { tenant: 'acme' },
      requirements: { disabled_reason: 'requirements.past_due' },
    });
    expect(made.id).toMatch(/^acct_1[0-9A-Za-z]{15}$/);
    expect(await stripe.accounts.retrieve(made.id)).toMatchObject({ id: made.id, charges_enabled: false });
    const itself = sdkFor(emulator.port, SECRET_KEY, { stripeAccount: made.id });
    expect((await itself.accounts.retrieveCurrent()).id).toBe(made.id);
    expect(await failure(itself.paymentIntents.create(params))).toMatchObject({
      statusCode: 400,
      code: 'testmode_charges_only',
    });
  });

  test('is made once for one idempotency key', async () => {
    const { stripe } = await startFixture();
    const make = () => stripe.accounts.create({ type: 'standard' }, { idempotencyKey: 'k-1' });
    expect((await make()).id).toBe((await make()).id);
    expect((await stripe.accounts.list()).data).toHaveLength(1);
  });

  test('keeps the metadata and the e-mail of an update', async () => {
    const { stripe } = await startFixture();
    const { id } = await stripe.accounts.create({ type: 'standard', metadata: { tenant: 'acme' } });
    const updated = await stripe.accounts.update(id, { email: 'owner@example.com', metadata: { cell: 'c2' } });
    expect(updated).toMatchObject({ email: 'owner@example.com', metadata: { tenant: 'acme', cell: 'c2' } });
    expect(await stripe.accounts.retrieve(id)).toMatchObject({ email: 'owner@example.com' });
  });

  test('cannot make or see other accounts, and the platform sees its own', async () => {
    const { emulator, stripe } = await startFixture();
    const { id } = await stripe.accounts.create({ type: 'standard' });
    const other = await stripe.accounts.create({ type: 'standard' });
    const itself = sdkFor(emulator.port, SECRET_KEY, { stripeAccount: id });
    const rejected = [itself.accounts.create({}), itself.accountLinks.create({ ...link, account: id })];
    for (const call of rejected) {
      expect(await failure(call)).toMatchObject({ statusCode: 403, code: 'platform_account_required' });
    }
    expect(await failure(itself.accounts.retrieve(other.id))).toMatchObject({ code: 'account_invalid' });
    expect(await stripe.accounts.retrieveCurrent()).toMatchObject({ id: 'acct_platform', charges_enabled: true });
  });

  test('of another kind is rejected', async () => {
    const { stripe } = await startFixture();
    expect(await failure(stripe.accounts.create({ type: 'express' }))).toMatchObject({ param: 'type' });
    const both = { type: 'standard', controller: { stripe_dashboard: { type: 'full' } } } as const;
    expect(await failure(stripe.accounts.create(both))).toMatchObject({ param: 'controller' });
  });
});

describe('an account link', () => {
  /** A new account with a link to its onboarding, and the webhooks that Connect sends. */
  async function startOnboarding(options: Parameters<typeof startFixture>[0] = {}) {
    const { url, received } = await startReceiver();
    const { emulator, stripe } = await startFixture({ webhookUrl: url, ...options });
    const { id } = await stripe.accounts.create({ type: 'standard' });
    const made = await stripe.accountLinks.create({ ...link, account: id });
    return { emulator, stripe, id, made, received };
  }

  test('leads to a page that says what it is, and whose button finishes onboarding', async () => {
    const { emulator, stripe, id, made, received } = await startOnboarding();
    expect(made).toMatchObject({ object: 'account_link', expires_at: made.created + 300 });
    const page = await open(made.url);
    expect(page.headers.get('content-type')).toContain('text/html');
    expect(await page.text()).toContain('It is not Stripe');
    expect((await stripe.accounts.retrieve(id)).details_submitted).toBe(false);
    const sent = await send(made.url, 'finish');
    expect([sent.status, sent.headers.get('location')]).toEqual([303, RETURN]);
    const ready = { charges_enabled: true, details_submitted: true, payouts_enabled: true };
    expect(await stripe.accounts.retrieve(id)).toMatchObject({
      ...ready,
      requirements: { currently_due: [], disabled_reason: null },
      capabilities: { card_payments: 'active' },
    });
    const event = await eventually(() => received.find((one) => one.event.type === 'account.updated')?.event);
    expect(event).toMatchObject({
      account: id,
      data: { object: { id, ...ready }, previous_attributes: { charges_enabled: false, details_submitted: false } },
    });
    const itself = sdkFor(emulator.port, SECRET_KEY, { stripeAccount: id });
    expect((await itself.paymentIntents.create(params)).amount).toBe(1000);
  });

  test('can be finished by a script with one request', async () => {
    const { stripe, id, made } = await startOnboarding();
    expect((await send(made.url)).headers.get('location')).toBe(RETURN);
    expect((await stripe.accounts.retrieve(id)).charges_enabled).toBe(true);
  });

  test('also returns to the platform if onboarding is not finished', async () => {
    const { stripe, id, made } = await startOnboarding();
    await open(made.url);
    expect((await send(made.url, 'leave')).headers.get('location')).toBe(RETURN);
    expect(await stripe.accounts.retrieve(id)).toMatchObject({ details_submitted: false, charges_enabled: false });
  });

  test('opens once, and then redirects to its refresh URL', async () => {
    const { made } = await startOnboarding();
    await open(made.url);
    const again = await open(made.url);
    expect([again.status, again.headers.get('location')]).toEqual([303, REFRESH]);
    await send(made.url, 'finish');
    expect((await send(made.url, 'finish')).headers.get('location')).toBe(REFRESH);
  });

  test('expires after five minutes, and then redirects to its refresh URL', async () => {
    const { emulator, stripe, id, made } = await startOnboarding();
    await callControl(emulator, 'POST', 'clock', { advanceSeconds: 301 });
    expect((await open(made.url)).headers.get('location')).toBe(REFRESH);
    expect((await send(made.url, 'finish')).headers.get('location')).toBe(REFRESH);
    expect((await stripe.accounts.retrieve(id)).charges_enabled).toBe(false);
    const fresh = await stripe.accountLinks.create({ ...link, account: id });
    expect((await open(fresh.url)).status).toBe(200);
  });

  test('does not open after the account has revoked the access', async () => {
    const { emulator, id, made } = await startOnboarding();
    await callControl(emulator, 'POST', `accounts/${id}/deauthorize`);
    expect((await open(made.url)).headers.get('location')).toBe(REFRESH);
  });

  test('needs a connected account, two URLs and a known type', async () => {
    const { stripe, id } = await startOnboarding();
    const make = (change: Partial<Stripe.AccountLinkCreateParams>) =>
      failure(stripe.accountLinks.create({ ...link, account: id, ...change }));
    const unknown = await make({ account: 'acct_unknown' });
    expect(unknown).toMatchObject({ statusCode: 400, type: 'StripeInvalidRequestError' });
    expect(unknown.message).toContain('not connected to your platform');
    expect(await make({ return_url: 'not a URL' })).toMatchObject({ code: 'url_invalid', param: 'return_url' });
    expect(await make({ type: 'account_update' })).toMatchObject({ statusCode: 400, param: 'type' });
    expect(await make({ type: 'other' })).toMatchObject({ statusCode: 400, param: 'type' });
  });
});
