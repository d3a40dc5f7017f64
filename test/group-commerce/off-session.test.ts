import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';
import { jobSecret } from '../support/secrets.ts';

// A campaign charges a saved card without the buyer. Whatever responses or webhooks are lost, Stripe charges once or
// refunds.

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
let shop: ReturnType<typeof paymentFixture>;
/** How far Stripe’s clock and the crons are ahead, in milliseconds. */
let ahead = 0;
beforeAll(async () => {
  store = await startStore({
    variables: { STRIPE_REQUESTS_PER_SECOND: '1000' },
    stripe: { now: () => Date.now() + ahead },
  });
  fixture = campaignFixture(store);
  shop = paymentFixture(store);
});
afterEach(async () => {
  await shop.clearFaults();
  await shop.webhooks({ lose: 0 });
});
afterAll(() => store.close());

const hour = 3_600_000;

/**
 * Advances the clocks of Stripe and of the cron, which runs every five hours. A cron fails while Stripe is unavailable.
 */
async function advance(hours: number, { unavailable = false } = {}) {
  for (let passed = 0; passed < hours; passed += 5) {
    ahead += Math.min(5, hours - passed) * hour;
    const cron = store.cron('* * * * *', new Date(Date.now() + ahead));
    if (unavailable) await Promise.allSettled([cron]);
    else await cron;
    await store.settled();
  }
}

const charges = async (orderId: string) =>
  (await shop.state()).intents.filter((intent) => intent.metadata.orderId === orderId);
const paymentOf = async (orderId: string) =>
  (
    await store.database.query<{ payment_id: string; status: string; captured: string; intent_open: boolean }>(
      'select payment_id, status, captured, intent_open from payments.payments where order_id = $1',
      [orderId],
    )
  )[0];
const orderOf = async (id: string) => (await store.send('GET', `/v1/orders/${id}`)).body;

/** A place with a saved card, in a campaign that succeeds with the next join. `fault` affects the charge. */
async function placeWithSavedCard(fault: Record<string, unknown>, card = 'pm_card_visa') {
  const campaign = await fixture.start(`OFF-${randomUUID()}`, 5, {
    endTime: new Date(Date.now() + ahead + 30 * 24 * hour).toISOString(),
    startTime: new Date(Date.now() - hour).toISOString(),
  });
  const { body: place } = await fixture.join(campaign.id, 'a');
  await fixture.confirm(place.orderId, card);
  await until(async () => (await fixture.read(campaign.id)).securedParticipants === 1);
  await store.settled();
  await shop.fault({ times: 1, method: 'POST', path: '/v1/payment_intents', ...fault });
  return { campaign, orderId: place.orderId as string };
}

/** Makes the campaign succeed, so that the saved card is charged. */
async function succeed({ campaign, orderId }: Awaited<ReturnType<typeof placeWithSavedCard>>) {
  await fixture.join(campaign.id, 'b');
  await until(async () => (await charges(orderId)).length > 0);
  await store.settled();
}

const released = async (campaignId: string) => (await fixture.statesOf(campaignId)).a === 'released';

describe('a charge that stays processing for days', () => {
  for (const [outcome, hours] of [
    ['succeed', 25],
    ['succeed', 50],
    ['succeed', 80],
    ['decline', 80],
  ] as const) {
    test(`is never repeated, and ends with the bank’s decision (${outcome} after ${hours} hours)`, async () => {
      const made = await placeWithSavedCard({ action: 'delay', ms: 0, decides: outcome, decideMs: hours * hour });
      await succeed(made);
      await advance(hours - 1);
      expect(await charges(made.orderId)).toMatchObject([{ status: 'processing' }]);
      expect(await paymentOf(made.orderId)).toMatchObject({ status: 'pending' });
      await advance(6);
      if (outcome === 'succeed') {
        await until(async () => (await orderOf(made.orderId)).status === 'confirmed');
        expect(await charges(made.orderId)).toMatchObject([{ status: 'succeeded', captured: 2000, refunded: 0 }]);
      } else {
        await until(() => released(made.campaign.id));
        expect((await orderOf(made.orderId)).status).toBe('failed');
        expect((await charges(made.orderId)).map((intent) => intent.captured)).toEqual([0]);
      }
    });
  }

  test('and whose webhooks are lost is found by the cron', async () => {
    const made = await placeWithSavedCard({
      action: 'drop',
      acts: true,
      loseEvents: true,
      decides: 'succeed',
      decideMs: 60 * hour,
    });
    await succeed(made);
    await advance(70);
    await until(async () => (await orderOf(made.orderId)).status === 'confirmed');
    expect(await charges(made.orderId)).toMatchObject([{ status: 'succeeded', refunded: 0 }]);
  });
});

describe('when Stripe stores a 500 response for its idempotency key, although it has made the charge,', () => {
  const storedError = { action: 'status', status: 500, saved: true, acts: true };

  test.each([
    ['the events arrive', false],
    ['the events are lost', true],
  ])('a successful charge is found and not repeated (%s)', async (_what, loseEvents) => {
    const made = await placeWithSavedCard({ ...storedError, loseEvents });
    await succeed(made);
    await advance(1);
    await until(async () => (await orderOf(made.orderId)).status === 'confirmed');
    await advance(50);
    expect(await charges(made.orderId)).toMatchObject([{ status: 'succeeded', captured: 2000, refunded: 0 }]);
    expect((await fixture.statesOf(made.campaign.id)).a).toBe('charged');
  });

  test.each([
    ['the events arrive', false],
    ['the events are lost', true],
  ])('a declined charge releases the place and is not repeated (%s)', async (_what, loseEvents) => {
    const made = await placeWithSavedCard({ ...storedError, loseEvents }, 'pm_card_chargeCustomerFail');
    await succeed(made);
    await advance(1);
    await until(() => released(made.campaign.id));
    await advance(50);
    expect(await charges(made.orderId)).toMatchObject([{ captured: 0 }]);
    expect(await orderOf(made.orderId)).toMatchObject({ status: 'failed', payment: { status: 'failed' } });
  });

  test.each(['succeed', 'decline'] as const)(
    'a processing charge is found and not repeated, whatever the bank decides days later (%s)',
    async (outcome) => {
      const made = await placeWithSavedCard({
        ...storedError,
        loseEvents: true,
        decides: outcome,
        decideMs: 40 * hour,
      });
      await succeed(made);
      await advance(50);
      const status = outcome === 'succeed' ? 'confirmed' : 'failed';
      await until(async () => (await orderOf(made.orderId)).status === status);
      expect(await charges(made.orderId)).toMatchObject([{ captured: outcome === 'succeed' ? 2000 : 0 }]);
    },
  );
});

describe('a charge whose response and webhooks are lost, and whose order is then cancelled,', () => {
  const lost = { times: 2, action: 'drop', acts: true, loseEvents: true };
  /** Stripe becomes unavailable after the charge, so that the charge is still unknown when the order is cancelled. */
  async function cancelled(fault: Record<string, unknown> = {}) {
    const made = await placeWithSavedCard({ ...lost, ...fault });
    await shop.fault({ times: 1_000, path: '/v1/', action: 'drop', acts: false });
    await fixture.join(made.campaign.id, 'b');
    await until(async () => (await charges(made.orderId)).length > 0);
    await store.send('POST', `/v1/orders/${made.orderId}/cancel`);
    await until(() => released(made.campaign.id));
    return made;
  }
  const untilRefunded = (orderId: string) =>
    until(async () => {
      await advance(1);
      return (await charges(orderId)).every((intent) => intent.captured === intent.refunded);
    });

  test('is refunded once Stripe is available again', async () => {
    const made = await cancelled();
    expect(await charges(made.orderId)).toMatchObject([{ captured: 2000, refunded: 0 }]);
    await shop.clearFaults();
    await advance(6);
    await untilRefunded(made.orderId);
    await advance(50);
    expect(await charges(made.orderId)).toMatchObject([{ captured: 2000, refunded: 2000 }]);
    expect(await orderOf(made.orderId)).toMatchObject({ status: 'cancelled', payment: { status: 'refunded' } });
  });

  test('is refunded even if Stripe is available again only days later', async () => {
    const made = await cancelled();
    await advance(5 * 24, { unavailable: true });
    await shop.clearFaults();
    await advance(6);
    await untilRefunded(made.orderId);
    expect(await charges(made.orderId)).toMatchObject([{ captured: 2000, refunded: 2000 }]);
  });

  test('is cancelled at Stripe while it is processing, or refunded when it succeeds', async () => {
    const made = await cancelled({ decides: 'succeed', decideMs: 60 * hour });
    await shop.clearFaults();
    await advance(80);
    await untilRefunded(made.orderId);
    const [charge] = await charges(made.orderId);
    expect(charge?.captured).toBe(charge?.refunded);
    expect(await paymentOf(made.orderId)).toMatchObject({ intent_open: false });
  });

  test('is found even if the first search happens before Stripe has made it', async () => {
    const made = await placeWithSavedCard({ action: 'drop', acts: false, times: 1_000 });
    await fixture.join(made.campaign.id, 'b');
    await until(async () => (await fixture.statesOf(made.campaign.id)).a === 'ordered');
    const startedCharges = () =>
      store.database.query('select from payments.payments where order_id = $1 and charge_asked_at is not null', [
        made.orderId,
      ]);
    await until(async () => (await startedCharges()).length > 0);
    await store.send('POST', `/v1/orders/${made.orderId}/cancel`);
    await shop.clearFaults();
    await until(() => released(made.campaign.id));
    await store.settled();
    // The request that was already on its way to Stripe when the order was cancelled.
    const [row] = await store.database.query<{ payment_id: string; customer_id: string }>(
      'select payment_id, customer_id from payments.payments where order_id = $1',
      [made.orderId],
    );
    await shop.webhooks({ lose: 1 });
    const late = await shop.stripe.paymentIntents.create({
      amount: 2000,
      currency: 'usd',
      customer: row?.customer_id ?? '',
      payment_method: 'pm_card_visa',
      automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
      confirm: true,
      metadata: { paymentId: row?.payment_id ?? '', orderId: made.orderId, tenant: 'default' },
    });
    await advance(1);
    await untilRefunded(made.orderId);
    expect((await charges(made.orderId)).find((intent) => intent.id === late.id)).toMatchObject({ captured: 2000 });
  });
});

/** An earlier request asked Stripe for the charge and was interrupted. Returns what Stripe was asked for. */
async function interrupted(orderId: string) {
  const [row] = await store.database.query<{ payment_id: string; customer_id: string; payment_method_id: string }>(
    `update payments.payments set charge_asked_at = now() where order_id = $1
     returning payment_id, customer_id, payment_method_id`,
    [orderId],
  );
  const { payment_id = '', customer_id = '', payment_method_id = '' } = row ?? {};
  const charge = {
    amount: 2000,
    currency: 'usd',
    customer: customer_id,
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' as const },
    metadata: { paymentId: payment_id, orderId, tenant: 'default' },
  };
  return { paymentId: payment_id, method: payment_method_id, charge };
}

test('an intent that was created but never confirmed is confirmed, and no second one is created', async () => {
  const made = await placeWithSavedCard({ action: 'delay', ms: 0, method: 'DELETE' });
  const { charge } = await interrupted(made.orderId);
  const { metadata: _metadata, automatic_payment_methods: _methods, ...byHand } = charge;
  await shop.stripe.paymentIntents.create(byHand);
  await shop.stripe.paymentIntents.create(charge);
  await fixture.join(made.campaign.id, 'b');
  await until(async () => (await orderOf(made.orderId)).status === 'confirmed');
  expect(await charges(made.orderId)).toMatchObject([{ status: 'succeeded', captured: 2000 }]);
});

describe('a charge that another request has made, while Stripe rejects ours,', () => {
  /** Runs `other` while Stripe has our request, which `fault` delays. */
  async function overtake(campaignId: string, fault: Record<string, unknown>, other: () => Promise<unknown>) {
    await shop.webhooks({ lose: 1 });
    await shop.clearFaults();
    await shop.fault({ times: 1, method: 'POST', ms: 1_500, ...fault });
    await fixture.join(campaignId, 'b');
    await until(async () => ((await shop.emulator('GET', 'faults')) as unknown[]).length === 0);
    await other();
    await store.settled();
  }
  const isPaidOnce = async ({ orderId, campaign }: Awaited<ReturnType<typeof placeWithSavedCard>>) => {
    await until(async () => (await orderOf(orderId)).status === 'confirmed');
    expect(await charges(orderId)).toMatchObject([{ status: 'succeeded', captured: 2000, refunded: 0 }]);
    expect((await fixture.statesOf(campaign.id)).a).toBe('charged');
  };

  test.each([
    ['has succeeded', {}],
    ['is processing', { decides: 'succeed', decideMs: 30 * hour }],
  ])('is kept if that request has confirmed it first and it %s', async (_what, decision) => {
    const made = await placeWithSavedCard({ action: 'delay', ms: 0, method: 'DELETE' });
    const { charge, method } = await interrupted(made.orderId);
    const { id } = await shop.stripe.paymentIntents.create(charge);
    const path = `/v1/payment_intents/${id}/confirm`;
    await overtake(made.campaign.id, { path, action: 'delay' }, async () => {
      await shop.fault({ times: 1, method: 'POST', path, action: 'delay', ms: 0, ...decision });
      await shop.stripe.paymentIntents.confirm(id, { payment_method: method, off_session: true });
    });
    if ('decides' in decision) await advance(40);
    await isPaidOnce(made);
  });

  test('is kept if that request has made it after we looked for it', async () => {
    const made = await placeWithSavedCard({ action: 'delay', ms: 0, method: 'DELETE' });
    const { charge, method } = await interrupted(made.orderId);
    await overtake(made.campaign.id, { path: '/v1/payment_intents', action: 'status', status: 400 }, () =>
      shop.stripe.paymentIntents.create({ ...charge, payment_method: method, confirm: true, off_session: true }),
    );
    await isPaidOnce(made);
  });

  test('is kept if it was recorded before the rejection', async () => {
    const made = await placeWithSavedCard({
      ...{ action: 'delay', ms: 0, decides: 'succeed', decideMs: 30 * hour },
    });
    await succeed(made);
    const [payment] = await store.database.query<{ id: string; setup: string }>(
      `select payment_id as id, setup_intent_id as setup from payments.payments
       where order_id = $1 and stripe_payment_intent_id is not null`,
      [made.orderId],
    );
    const refused = [{ id: payment?.id, reason: 'amount_too_large', intentId: null, setupId: payment?.setup }];
    await store.database.query('select payments.record_intents($1, $2)', [
      { jobSecret },
      { tenant: 'default', intents: [], refused, again: [] },
    ]);
    await advance(40);
    await isPaidOnce(made);
  });

  test('does not exist if only an unconfirmed intent does: the rejection releases the place', async () => {
    const made = await placeWithSavedCard({ action: 'delay', ms: 0, method: 'DELETE' });
    const { charge } = await interrupted(made.orderId);
    const { id } = await shop.stripe.paymentIntents.create(charge);
    const path = `/v1/payment_intents/${id}/confirm`;
    await overtake(made.campaign.id, { path, action: 'status', status: 400 }, async () => undefined);
    await until(() => released(made.campaign.id));
    expect(await orderOf(made.orderId)).toMatchObject({
      status: 'failed',
      payment: { failureReason: 'amount_too_large' },
    });
  });
});
