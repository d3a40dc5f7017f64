import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';
import { type PaymentFixture, paymentFixture } from '../support/payments.ts';

let store: Store;
let shop: PaymentFixture;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore();
  shop = paymentFixture(store);
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

/** An action of the merchant in Stripe’s dashboard. */
const dashboard = (action: string, intent: string, more: object = {}) =>
  shop.emulator('POST', `dashboard/${action}`, { payment_intent: intent, ...more });

type Place = { user: string; orderId: string; paymentId: string; intent: string };

/** Joins the campaign and has the payment authorized. */
async function secure(campaignId: string, user: string): Promise<Place> {
  const { status, body: place } = await fixture.join(campaignId, user);
  expect(status).toBe(201);
  const payment = await fixture.confirm(place.orderId);
  await until(async () => (await fixture.statesOf(campaignId))[user] !== 'joined');
  return { user, orderId: place.orderId, paymentId: payment.id, intent: payment.stripePaymentIntentId };
}

const charged = (campaignId: string, users: string[]) =>
  until(async () => {
    const states = await fixture.statesOf(campaignId);
    return users.every((user) => states[user] === 'charged');
  });

const eventsOf = async (key: string) =>
  (
    await store.database.query<{ topic: string }>('select topic from platform.events where key = $1 order by seq', [
      key,
    ])
  ).map(({ topic }) => topic);

/** The invariants after every action: counts, units, payments, holds and events agree once all work is done. */
async function audit(campaign: { id: string; sku: string }, stock: number) {
  await shop.quiet();
  const { status, actualParticipants, securedParticipants } = await fixture.read(campaign.id);
  const places = await store.database.query<{ order_id: string; state: string; payment_id: string; secured: boolean }>(
    `select order_id, state, payment_id, secured_at is not null as secured from group_commerce.participants
     where campaign_id = $1`,
    [campaign.id],
  );
  const live = places.filter(({ state }) => state !== 'released');
  if (['active', 'successful'].includes(status)) {
    expect(actualParticipants).toBe(live.length);
    expect(securedParticipants).toBe(live.filter(({ secured }) => secured).length);
  }
  const sold = live.filter(({ state }) => state === 'charged').length;
  expect(await shop.stockOf(campaign.sku)).toEqual({ quantity: stock - live.length, reserved: live.length - sold });
  const { intents } = await shop.state();
  for (const place of places) {
    const [order] = await store.database.query<{ status: string }>('select status from orders.orders where id = $1', [
      place.order_id,
    ]);
    const [hold] = await store.database.query<{ status: string }>(
      'select status from inventory.reservations where order_id = $1',
      [place.order_id],
    );
    const topics = await eventsOf(place.order_id);
    if (order === undefined) expect(topics.filter((topic) => topic.startsWith('order.'))).toEqual([]);
    expect(topics.length).toBe(new Set(topics).size);
    expect(hold?.status).toBe(
      place.state === 'released' ? 'released' : place.state === 'charged' ? 'committed' : 'held',
    );
    if (place.state === 'charged') expect(order?.status).toBe('confirmed');
    const kept = intents
      .filter(({ metadata }) => metadata.orderId === place.order_id)
      .reduce((sum, { captured, refunded }) => sum + captured - refunded, 0);
    if (place.state === 'released') expect(kept).toBe(0);
    if (place.state === 'charged') expect(kept).toBeGreaterThan(0);
  }
  return live.map(({ state }) => state);
}

describe('an authorization that is captured in the dashboard before its campaign succeeds,', () => {
  test('completely, pays the place, which counts and gets its order when the campaign succeeds', async () => {
    const campaign = await fixture.start('WHOLE', 5);
    const ada = await secure(campaign.id, 'ada');
    await dashboard('capture', ada.intent);
    await until(async () => (await shop.paymentOf(ada.paymentId)).status === 'succeeded');
    expect(await audit(campaign, 5)).toEqual(['secured']);
    expect(await store.send('POST', '/v1/payments', { orderId: ada.orderId })).toMatchObject({
      status: 201,
      body: { status: 'succeeded', amountRefunded: 0 },
    });
    await secure(campaign.id, 'ben');
    await charged(campaign.id, ['ada', 'ben']);
    await audit(campaign, 5);
    expect(await eventsOf(ada.orderId)).toContain('order.confirmed');
    expect((await eventsOf(ada.paymentId)).filter((topic) => topic === 'payment.succeeded')).toHaveLength(1);
  });

  test('completely, is refunded when the campaign is cancelled', async () => {
    const campaign = await fixture.start('WHOLE-LOST', 5);
    const ada = await secure(campaign.id, 'ada');
    await dashboard('capture', ada.intent);
    await until(async () => (await shop.paymentOf(ada.paymentId)).status === 'succeeded');
    await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
    await until(async () => (await shop.paymentOf(ada.paymentId)).status === 'refunded');
    expect(await audit(campaign, 5)).toEqual([]);
  });

  test('completely, is refunded when the buyer leaves', async () => {
    const campaign = await fixture.start('WHOLE-LEFT', 5);
    const ada = await secure(campaign.id, 'ada');
    await dashboard('capture', ada.intent);
    await until(async () => (await shop.paymentOf(ada.paymentId)).status === 'succeeded');
    await fixture.leave(campaign.id, 'ada');
    await until(async () => (await shop.paymentOf(ada.paymentId)).status === 'refunded');
    expect(await audit(campaign, 5)).toEqual([]);
  });

  test('partially, releases the place, is refunded, and leaves the campaign one participant short', async () => {
    const campaign = await fixture.start('REST', 5);
    const ada = await secure(campaign.id, 'ada');
    await dashboard('capture', ada.intent, { amount: 500 });
    await until(async () => (await fixture.statesOf(campaign.id)).ada === 'released');
    expect(await audit(campaign, 5)).toEqual([]);
    await secure(campaign.id, 'ben');
    expect((await fixture.read(campaign.id)).status).toBe('active');
    await secure(campaign.id, 'ada');
    await charged(campaign.id, ['ada', 'ben']);
    await audit(campaign, 5);
  });

  test('in another currency, in a campaign that ends without an order, is reported to the merchant', async () => {
    const campaign = await fixture.start('EURO', 5);
    const { body: place } = await fixture.join(campaign.id, 'ada');
    const { body: payment } = await store.send('POST', '/v1/payments', { orderId: place.orderId });
    const intent = payment.stripePaymentIntentId;
    await dashboard('change', intent, { currency: 'eur' });
    await fixture.confirm(place.orderId);
    await dashboard('capture', intent);
    await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
    await shop.quiet();
    expect((await fixture.statesOf(campaign.id)).ada).toBe('released');
    const [letter] = await store.database.query(
      `select sink, key, topic, reason, message from platform.dead_letters where event_id = $1 and replayed_at is null`,
      [intent],
    );
    expect(letter).toMatchObject({
      ...{ sink: 'stripe', key: payment.id, topic: 'payment_intent.succeeded' },
      ...{ reason: expect.stringMatching(/^currency_differs/), message: { received: 20, currency: 'EUR' } },
    });
  });

  test.each(['whole', 'part'])(
    'in %s and then refunded there releases the place, without any order event',
    async (how) => {
      const campaign = await fixture.start(`REFUNDED-${how}`, 5);
      const ada = await secure(campaign.id, 'ada');
      await dashboard('capture', ada.intent, how === 'part' ? { amount: 500 } : {});
      if (how === 'whole') await dashboard('refund', ada.intent);
      await until(async () => (await fixture.statesOf(campaign.id)).ada === 'released');
      expect(await audit(campaign, 5)).toEqual([]);
      expect((await store.send('GET', `/v1/orders/${ada.orderId}`)).status).toBe(404);
      await secure(campaign.id, 'ben');
      expect((await fixture.read(campaign.id)).status).toBe('active');
    },
  );
});

describe('an intent that is cancelled in the dashboard', () => {
  test('releases a place that is joined or secured, and lowers the count', async () => {
    const campaign = await fixture.start('CANCELLED', 5, { successOn: 'secured' });
    const { body: place } = await fixture.join(campaign.id, 'ada');
    const { body: payment } = await store.send('POST', '/v1/payments', { orderId: place.orderId });
    await dashboard('cancel', payment.stripePaymentIntentId);
    await until(async () => (await fixture.statesOf(campaign.id)).ada === 'released');
    const ben = await secure(campaign.id, 'ben');
    await dashboard('cancel', ben.intent);
    await until(async () => (await fixture.statesOf(campaign.id)).ben === 'released');
    expect(await audit(campaign, 5)).toEqual([]);
  });

  test('releases a place whose order waits for the payment, and fails the order', async () => {
    const campaign = await fixture.start('CANCELLED-LATE', 5, { minParticipants: 1 });
    const { body: place } = await fixture.join(campaign.id, 'ada');
    await until(async () => (await fixture.statesOf(campaign.id)).ada === 'ordered');
    const { body: payment } = await store.send('POST', '/v1/payments', { orderId: place.orderId });
    await dashboard('cancel', payment.stripePaymentIntentId);
    await until(async () => (await fixture.statesOf(campaign.id)).ada === 'released');
    expect(await shop.orderOf(place.orderId)).toMatchObject({ status: 'failed' });
    expect(await audit(campaign, 5)).toEqual([]);
  });

  test('of an ordinary order lets the buyer pay again until the hold expires', async () => {
    await store.send('POST', '/v1/products', { sku: 'PLAIN', name: 'Plain', price: 9, currency: 'USD', inventory: 1 });
    const { order, payment, intent } = await shop.checkout('PLAIN');
    await dashboard('cancel', intent);
    await until(async () => (await shop.paymentOf(payment.id)).status === 'cancelled');
    const { body: again } = await store.send('POST', '/v1/payments', { orderId: order.id });
    await shop.pay(again.stripePaymentIntentId);
    await until(async () => (await shop.orderOf(order.id)).status === 'confirmed');
  });
});

describe('an authorization that is captured partially while its order is being charged', () => {
  test('fails the order, is refunded, and releases the place', async () => {
    const campaign = await fixture.start('PART-ORDERED', 5);
    const ada = await secure(campaign.id, 'ada');
    // Our own capture is delayed, so that the merchant’s is first.
    await shop.fault({
      times: 1_000,
      path: `/v1/payment_intents/${ada.intent}/capture`,
      action: 'status',
      status: 503,
    });
    await secure(campaign.id, 'ben');
    await until(async () => (await fixture.statesOf(campaign.id)).ada === 'ordered');
    await dashboard('capture', ada.intent, { amount: 500 });
    await shop.clearFaults();
    await until(async () => (await fixture.statesOf(campaign.id)).ada === 'released');
    expect(await shop.orderOf(ada.orderId)).toMatchObject({ status: 'failed' });
    await charged(campaign.id, ['ben']);
    await audit(campaign, 5);
  });
});

describe('a charged place that is refunded in the dashboard', () => {
  test('completely releases its unit and its place for another buyer', async () => {
    const campaign = await fixture.start('CHARGED-BACK', 2, { maxParticipants: 2 });
    const ada = await secure(campaign.id, 'ada');
    await secure(campaign.id, 'ben');
    await charged(campaign.id, ['ada', 'ben']);
    await shop.quiet();
    await dashboard('refund', ada.intent);
    await until(async () => (await fixture.statesOf(campaign.id)).ada === 'released');
    expect(await shop.orderOf(ada.orderId)).toMatchObject({ status: 'refunded', payment: { amountRefunded: 20 } });
    await audit(campaign, 2);
    await secure(campaign.id, 'cyd');
    await charged(campaign.id, ['ben', 'cyd']);
    await audit(campaign, 2);
  });

  test('partially keeps its place', async () => {
    const campaign = await fixture.start('CHARGED-PART', 2);
    const ada = await secure(campaign.id, 'ada');
    await secure(campaign.id, 'ben');
    await charged(campaign.id, ['ada', 'ben']);
    await shop.quiet();
    await dashboard('refund', ada.intent, { amount: 750 });
    await until(async () => (await shop.paymentOf(ada.paymentId)).amountRefunded === 7.5);
    await audit(campaign, 2);
    expect(await fixture.statesOf(campaign.id)).toEqual({ ada: 'charged', ben: 'charged' });
  });
});

test('a partial refund in the dashboard lets the rest of a released place’s payment be refunded', async () => {
  const campaign = await fixture.start('REMAINDER', 5);
  const ada = await secure(campaign.id, 'ada');
  await dashboard('capture', ada.intent);
  await until(async () => (await shop.paymentOf(ada.paymentId)).status === 'succeeded');
  await shop.fault({ times: 1_000, path: '/v1/refunds', action: 'status', status: 503 });
  await fixture.leave(campaign.id, 'ada');
  await dashboard('refund', ada.intent, { amount: 299 });
  await shop.clearFaults();
  await until(async () => {
    await store.cron('* * * * *', new Date(Date.now() + 600_000));
    return (await shop.paymentOf(ada.paymentId)).status === 'refunded';
  });
  expect(await audit(campaign, 5)).toEqual([]);
});

test('an authorization that is captured in the dashboard after its place was released is refunded', async () => {
  const campaign = await fixture.start('RELEASED', 5);
  const ada = await secure(campaign.id, 'ada');
  await shop.fault({ times: 1_000, path: `/v1/payment_intents/${ada.intent}/cancel`, action: 'status', status: 503 });
  await fixture.leave(campaign.id, 'ada');
  await dashboard('capture', ada.intent);
  await shop.clearFaults();
  await until(async () => (await shop.paymentOf(ada.paymentId)).status === 'refunded');
  expect(await audit(campaign, 5)).toEqual([]);
});
