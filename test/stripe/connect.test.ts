import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Stripe from 'stripe';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startStripe } from '../../dev/stripe/server.ts';
import {
  asBuyer,
  CONNECT_WEBHOOK_SECRET,
  callControl,
  eventTypes,
  eventually,
  failure,
  pay,
  SECRET_KEY,
  sdkFor,
  startFixture,
  startReceiver,
  WEBHOOK_SECRET,
} from '../support/stripe.ts';

const ACME = 'acct_dev_acme';
const OTHER = 'acct_dev_other';
const params = { amount: 1000, currency: 'usd' };

/** An emulator with two connected accounts, and an SDK that acts for each. */
async function startConnected(options: Parameters<typeof startFixture>[0] = {}) {
  const { emulator, stripe } = await startFixture({ connectedAccounts: [ACME, OTHER], ...options });
  const sdkOf = (stripeAccount: string) => sdkFor(emulator.port, SECRET_KEY, { stripeAccount });
  return { emulator, stripe, acme: sdkOf(ACME), other: sdkOf(OTHER), sdkOf };
}

/** Waits until no webhook is pending. */
async function waitUntilDelivered({ emulator }: Pick<Awaited<ReturnType<typeof startFixture>>, 'emulator'>) {
  await eventually(async () => {
    const { pending } = (await callControl(emulator, 'GET', 'webhooks')) as { pending: number };
    return pending === 0 ? true : undefined;
  });
}

describe('the objects of an account', () => {
  test('do not exist for the platform or for another account', async () => {
    const { stripe, acme, other } = await startConnected();
    const customer = await acme.customers.create({});
    const intent = await pay(acme, 'pm_card_visa', { customer: customer.id, setup_future_usage: 'off_session' });
    const setup = await acme.setupIntents.create({});
    const refund = await acme.refunds.create({ payment_intent: intent.id, amount: 100 });
    const [event] = (await acme.events.list()).data;
    expect(intent).toMatchObject({ status: 'succeeded', application: 'ca_emulator' });
    for (const stranger of [stripe, other]) {
      const reads = [
        stranger.paymentIntents.retrieve(intent.id),
        stranger.paymentIntents.capture(intent.id),
        stranger.paymentIntents.cancel(intent.id),
        stranger.charges.retrieve(String(intent.latest_charge)),
        stranger.paymentMethods.retrieve(String(intent.payment_method)),
        stranger.customers.retrieve(customer.id),
        stranger.setupIntents.retrieve(setup.id),
        stranger.refunds.retrieve(refund.id),
        stranger.events.retrieve(event?.id ?? ''),
      ];
      for (const read of reads) {
        expect(await failure(read)).toMatchObject({ statusCode: 404, code: 'resource_missing' });
      }
      const uses = [
        stranger.refunds.create({ payment_intent: intent.id }),
        stranger.paymentIntents.create({ ...params, customer: customer.id }),
        pay(stranger, String(intent.payment_method)),
      ];
      for (const use of uses) expect(await failure(use)).toMatchObject({ statusCode: 400, code: 'resource_missing' });
    }
    expect((await acme.paymentIntents.retrieve(intent.id, { expand: ['latest_charge'] })).latest_charge).toMatchObject({
      amount_refunded: 100,
    });
  });

  test('are listed for this account only, and so are its events', async () => {
    const { stripe, acme, other } = await startConnected();
    const own = await pay(stripe, 'pm_card_visa');
    const theirs = await pay(acme, 'pm_card_visa');
    const idsOf = async (sdk: Stripe) => (await sdk.paymentIntents.list()).data.map(({ id }) => id);
    expect([await idsOf(stripe), await idsOf(acme), await idsOf(other)]).toEqual([[own.id], [theirs.id], []]);
    expect(await eventTypes(acme)).toEqual(['payment_intent.created', 'charge.succeeded', 'payment_intent.succeeded']);
    expect((await acme.events.list()).data.map(({ account }) => account)).toEqual([ACME, ACME, ACME]);
    expect((await stripe.events.list()).data.every((event) => !('account' in event))).toBe(true);
    expect(await eventTypes(other)).toEqual([]);
  });

  test('have idempotency keys of their own', async () => {
    const { stripe, acme, other } = await startConnected();
    const make = (sdk: Stripe, amount = 1000) =>
      sdk.paymentIntents.create({ ...params, amount }, { idempotencyKey: 'k-1' });
    const ids = [await make(stripe), await make(acme), await make(other, 2000)].map(({ id }) => id);
    expect(new Set(ids).size).toBe(3);
    expect((await make(acme)).id).toBe(ids[1]);
    expect(await failure(make(acme, 2000))).toMatchObject({ type: 'StripeIdempotencyError' });
  });

  test('are found by the controls of the emulator, which do not name the account', async () => {
    const { emulator, acme } = await startConnected();
    const intent = await pay(acme, 'pm_card_authenticationRequired', { return_url: 'https://shop.example/done' });
    await callControl(emulator, 'POST', `payment_intents/${intent.id}/authenticate`, { outcome: 'succeed' });
    await callControl(emulator, 'POST', 'dashboard/refund', { payment_intent: intent.id, amount: 300 });
    const { intents } = (await callControl(emulator, 'GET', 'state')) as { intents: unknown[] };
    expect(intents).toMatchObject([{ id: intent.id, account: ACME, captured: 1000, refunded: 300 }]);
  });
});

describe('a buyer', () => {
  test.each(['parameter', 'header'])('names the account of the intent by %s, as Stripe.js does', async (how) => {
    const { emulator, acme } = await startConnected();
    const intent = await acme.paymentIntents.create(params);
    const confirm = `payment_intents/${intent.id}/confirm`;
    const form = { client_secret: intent.client_secret ?? '', payment_method: 'pm_card_visa' };
    expect((await asBuyer(emulator, confirm, form)).body.error).toMatchObject({ code: 'resource_missing' });
    if (how === 'parameter') {
      expect((await asBuyer(emulator, confirm, { ...form, _stripe_account: ACME })).body).toMatchObject({
        status: 'succeeded',
      });
    } else {
      const buyer = sdkFor(emulator.port, emulator.publishableKey, { stripeAccount: ACME });
      expect((await buyer.paymentIntents.confirm(intent.id, form)).status).toBe('succeeded');
    }
  });
});

describe('a job of a connected account', () => {
  test('runs on the same clock and changes this account', async () => {
    const { emulator, acme } = await startConnected({ debitMs: 3600_000 });
    const debit = await pay(acme, 'pm_sepaDebit_success_de', { currency: 'eur' });
    const hold = await pay(acme, 'pm_card_visa', { capture_method: 'manual' });
    await callControl(emulator, 'POST', 'clock', { advanceSeconds: 8 * 24 * 3600 });
    expect((await acme.paymentIntents.retrieve(debit.id)).status).toBe('succeeded');
    expect((await acme.paymentIntents.retrieve(hold.id)).status).toBe('canceled');
  });
});

describe('a webhook of a connected account', () => {
  test('names the account and is signed with the secret of Connect, and the platform’s own is not', async () => {
    const { url, received } = await startReceiver();
    const fixture = await startConnected({ webhookUrl: url });
    const { stripe, acme } = fixture;
    const theirs = await acme.paymentIntents.create(params);
    const own = await stripe.paymentIntents.create(params);
    await waitUntilDelivered(fixture);
    expect(received).toHaveLength(2);
    for (const { body, signature, event } of received) {
      const isTheirs = (event.data.object as Stripe.PaymentIntent).id === theirs.id;
      const [right, wrong] = isTheirs
        ? [CONNECT_WEBHOOK_SECRET, WEBHOOK_SECRET]
        : [WEBHOOK_SECRET, CONNECT_WEBHOOK_SECRET];
      const read = await stripe.webhooks.constructEventAsync(body, signature, right);
      expect(read.account).toBe(isTheirs ? ACME : undefined);
      expect((read.data.object as Stripe.PaymentIntent).id).toBe(isTheirs ? theirs.id : own.id);
      await expect(stripe.webhooks.constructEventAsync(body, signature, wrong)).rejects.toThrow();
    }
    expect((await acme.events.list()).data).toMatchObject([{ pending_webhooks: 0 }]);
  });

  test('is signed with the platform’s secret if Connect has none of its own', async () => {
    const { url, received } = await startReceiver();
    const emulator = await startStripe({
      port: 0,
      secretKey: SECRET_KEY,
      webhookSecret: WEBHOOK_SECRET,
      webhookUrl: url,
      connectedAccounts: [ACME],
    });
    onTestFinished(() => emulator.close());
    const stripe = sdkFor(emulator.port);
    await stripe.customers.create({}, { stripeAccount: ACME });
    await waitUntilDelivered({ emulator });
    const [one] = received;
    const event = await stripe.webhooks.constructEventAsync(one?.body ?? '', one?.signature ?? '', WEBHOOK_SECRET);
    expect(event).toMatchObject({ type: 'customer.created', account: ACME });
  });
});

describe('access to an account', () => {
  const denied = { statusCode: 403, code: 'account_invalid', rawType: 'invalid_request_error' };

  test('is denied if the account does not exist', async () => {
    const { emulator, stripe, sdkOf } = await startConnected();
    const error = await failure(sdkOf('acct_unknown').paymentIntents.create(params, { idempotencyKey: 'k-1' }));
    expect(error).toBeInstanceOf(Stripe.errors.StripePermissionError);
    expect(error).toMatchObject(denied);
    expect(error.message).toBe(
      "The provided key 'sk_test_********_dev' does not have access to account 'acct_unknown' (or that account does " +
        'not exist). Application access may have been revoked.',
    );
    expect(await failure(stripe.accounts.retrieve('acct_unknown'))).toMatchObject(denied);
    // The key of the rejected request is free.
    await callControl(emulator, 'POST', 'accounts', { id: 'acct_unknown' });
    const made = await sdkOf('acct_unknown').paymentIntents.create(params, { idempotencyKey: 'k-1' });
    expect(made.lastResponse.headers['idempotent-replayed']).toBeUndefined();
  });

  test('ends when its owner revokes it, with one last event, and returns with what was there', async () => {
    const { url, received } = await startReceiver();
    const fixture = await startConnected({ webhookUrl: url });
    const { emulator, stripe, acme, other } = fixture;
    const intent = await acme.paymentIntents.create(params);
    await callControl(emulator, 'POST', `accounts/${ACME}/deauthorize`);
    await callControl(emulator, 'POST', `accounts/${ACME}/deauthorize`);
    const calls = [
      acme.paymentIntents.retrieve(intent.id),
      acme.paymentIntents.create(params),
      acme.refunds.create({ payment_intent: intent.id }),
      acme.events.list(),
      stripe.accounts.retrieve(ACME),
      sdkFor(emulator.port, emulator.publishableKey, { stripeAccount: ACME }).paymentIntents.retrieve(intent.id, {
        client_secret: intent.client_secret ?? '',
      }),
    ];
    for (const call of calls) expect(await failure(call)).toMatchObject(denied);
    expect((await stripe.accounts.list()).data.map(({ id }) => id)).toEqual([OTHER]);
    await other.customers.create({});
    // The owner goes on without the platform, which learns nothing of it.
    await callControl(emulator, 'POST', 'dashboard/pay', { payment_intent: intent.id });
    await waitUntilDelivered(fixture);
    const seen = () => received.map(({ event }) => `${event.account} ${event.type}`).sort();
    expect(seen()).toEqual([
      `${ACME} account.application.deauthorized`,
      `${ACME} payment_intent.created`,
      `${OTHER} customer.created`,
    ]);
    expect(
      received.find(({ event }) => event.type === 'account.application.deauthorized')?.event.data.object,
    ).toMatchObject({ object: 'application', id: 'ca_emulator' });

    await callControl(emulator, 'POST', `accounts/${ACME}/authorize`);
    expect((await acme.paymentIntents.retrieve(intent.id)).status).toBe('succeeded');
    await waitUntilDelivered(fixture);
    expect(seen()).toContain(`${ACME} account.application.authorized`);
  });
});

describe('an account without charges', () => {
  test('cannot make or confirm intents until its charges are enabled again', async () => {
    const { url, received } = await startReceiver();
    const fixture = await startConnected({ webhookUrl: url });
    const { emulator, acme, stripe } = fixture;
    const open = await acme.paymentIntents.create(params);
    await callControl(emulator, 'POST', `accounts/${ACME}/change`, { charges_enabled: false });
    const confirm = { payment_method: 'pm_card_visa', return_url: 'https://shop.example' };
    const calls = [
      acme.paymentIntents.create(params),
      acme.setupIntents.create({}),
      acme.paymentIntents.confirm(open.id, confirm),
    ];
    for (const call of calls) {
      const error = await failure(call);
      expect(error).toBeInstanceOf(Stripe.errors.StripeInvalidRequestError);
      expect(error).toMatchObject({ statusCode: 400, code: 'testmode_charges_only' });
      expect(error.message).toContain('cannot currently make live charges');
    }
    expect((await acme.paymentIntents.retrieve(open.id)).status).toBe('requires_payment_method');
    expect(await stripe.accounts.retrieve(ACME)).toMatchObject({
      charges_enabled: false,
      requirements: { disabled_reason: 'under_review' },
      capabilities: { card_payments: 'inactive' },
    });
    await callControl(emulator, 'POST', `accounts/${ACME}/change`, { charges_enabled: true });
    expect((await acme.paymentIntents.confirm(open.id, confirm)).status).toBe('succeeded');
    await waitUntilDelivered(fixture);
    const updates = received.filter(({ event }) => event.type === 'account.updated');
    expect(updates.map(({ event }) => (event.data.previous_attributes as Stripe.Account).charges_enabled)).toEqual(
      expect.arrayContaining([true, false]),
    );
  });
});

test('the dashboard of an account makes a payment with any metadata and amount, and pays it', async () => {
  const { emulator, acme } = await startConnected();
  const create = { account: ACME, amount: 777, currency: 'eur', metadata: { paymentId: 'someone-elses' } };
  const made = (await callControl(emulator, 'POST', 'dashboard/create', create)) as Stripe.PaymentIntent;
  expect(made).toMatchObject({ amount: 777, status: 'requires_payment_method' });
  const paid = await callControl(emulator, 'POST', 'dashboard/pay', { payment_intent: made.id });
  expect(paid).toMatchObject({ id: made.id, status: 'succeeded', metadata: create.metadata });
  const atOnce = await callControl(emulator, 'POST', 'dashboard/create', { ...create, payment_method: 'pm_card_visa' });
  expect(atOnce).toMatchObject({ status: 'succeeded' });
  expect((await acme.paymentIntents.list()).data).toHaveLength(2);
});

describe('the next start', () => {
  const options = { port: 0, secretKey: SECRET_KEY, webhookSecret: WEBHOOK_SECRET, asyncMs: 5 };

  async function makeDir(): Promise<string> {
    const dir = await mkdtemp(join(tmpdir(), 'stripe-connect-'));
    onTestFinished(() => rm(dir, { recursive: true, force: true }));
    return dir;
  }

  test('restores connected accounts with their objects, keys and access', async () => {
    const dir = await makeDir();
    const before = await startStripe({ ...options, dir, connectedAccounts: [ACME, OTHER] });
    const acmeBefore = sdkFor(before.port, SECRET_KEY, { stripeAccount: ACME });
    const paid = await pay(acmeBefore, 'pm_card_visa');
    const made = await acmeBefore.paymentIntents.create(params, { idempotencyKey: 'k-1' });
    await callControl(before, 'POST', `accounts/${OTHER}/deauthorize`);
    await before.close();

    const { stripe, acme, other } = await startConnected({ dir });
    expect(await acme.paymentIntents.retrieve(paid.id)).toEqual(paid);
    expect((await acme.paymentIntents.create(params, { idempotencyKey: 'k-1' })).id).toBe(made.id);
    expect((await stripe.paymentIntents.list()).data).toEqual([]);
    expect(await failure(other.customers.list())).toMatchObject({ statusCode: 403 });
  });

  test('reads the journal of an emulator that had no connected accounts', async () => {
    const dir = await makeDir();
    const customer = { id: 'cus_old', object: 'customer', created: 1, metadata: {}, email: 'old@example.com' };
    const lines = [
      { put: [['customer', customer]], drop: [] },
      { put: [['customer', { ...customer, id: 'cus_gone' }]], drop: [] },
      { put: [], drop: [['customer', 'cus_gone']] },
    ];
    await writeFile(join(dir, 'journal.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    const { stripe, acme } = await startConnected({ dir });
    expect((await stripe.customers.list()).data).toMatchObject([{ id: 'cus_old', email: 'old@example.com' }]);
    expect((await acme.customers.list()).data).toEqual([]);
  });
});
