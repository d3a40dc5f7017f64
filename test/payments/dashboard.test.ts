import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';
import { type Paying, payingAt } from '../support/payments.ts';

let store: Store;
let shop: Paying;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore();
  shop = payingAt(store);
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

/** What a merchant does by hand in Stripe's dashboard. */
const dashboard = (action: string, intent: string, more: object = {}) =>
  shop.emulator('POST', `dashboard/${action}`, { payment_intent: intent, ...more });

type Place = { user: string; orderId: string; paymentId: string; intent: string };

/** Joins and has the money held. */
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

/** What must hold after every action: counts, units, money, holds and events fit together, once all is quiet. */
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

describe('a hold that is captured in the dashboard before its campaign has succeeded', () => {
  test('in whole: the place is paid, counts, and gets its order when the campaign succeeds', async () => {
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

  test('in whole, and the campaign is cancelled: the money goes back', async () => {
    const campaign = await fixture.start('WHOLE-LOST', 5);
    const ada = await secure(campaign.id, 'ada');
    await dashboard('capture', ada.intent);
    await until(async () => (await shop.paymentOf(ada.paymentId)).status === 'succeeded');
    await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
    await until(async () => (await shop.paymentOf(ada.paymentId)).status === 'refunded');
    expect(await audit(campaign, 5)).toEqual([]);
  });

  test('in whole, and the buyer leaves: the money goes back', async () => {
    const campaign = await fixture.start('WHOLE-LEFT', 5);
    const ada = await secure(campaign.id, 'ada');
    await dashboard('capture', ada.intent);
    await until(async () => (await shop.paymentOf(ada.paymentId)).status === 'succeeded');
    await fixture.leave(campaign.id, 'ada');
    await until(async () => (await shop.paymentOf(ada.paymentId)).status === 'refunded');
    expect(await audit(campaign, 5)).toEqual([]);
  });

  test('in part: the place is lost, the part goes back, and the campaign needs another buyer', async () => {
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

  test('in another currency, and the campaign ends without an order: the merchant is told what to look at', async () => {
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
    'in %s and refunded there: the place is lost, and no order is spoken of',
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
  test('loses a place that is joined or secured, and its count', async () => {
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

  test('loses a place whose order waits for the money, with the order', async () => {
    const campaign = await fixture.start('CANCELLED-LATE', 5, { minParticipants: 1 });
    const { body: place } = await fixture.join(campaign.id, 'ada');
    await until(async () => (await fixture.statesOf(campaign.id)).ada === 'ordered');
    const { body: payment } = await store.send('POST', '/v1/payments', { orderId: place.orderId });
    await dashboard('cancel', payment.stripePaymentIntentId);
    await until(async () => (await fixture.statesOf(campaign.id)).ada === 'released');
    expect(await shop.orderOf(place.orderId)).toMatchObject({ status: 'failed' });
    expect(await audit(campaign, 5)).toEqual([]);
  });

  test('of an ordinary order leaves the buyer the rest of the hold to pay anew', async () => {
    await store.send('POST', '/v1/products', { sku: 'PLAIN', name: 'Plain', price: 9, currency: 'USD', inventory: 1 });
    const { order, payment, intent } = await shop.checkout('PLAIN');
    await dashboard('cancel', intent);
    await until(async () => (await shop.paymentOf(payment.id)).status === 'cancelled');
    const { body: again } = await store.send('POST', '/v1/payments', { orderId: order.id });
    await shop.pay(again.stripePaymentIntentId);
    await until(async () => (await shop.orderOf(order.id)).status === 'confirmed');
  });
});

describe('a hold that is captured in part while its order is being charged', () => {
  test('pays for nothing: the order fails, the part goes back, and the place is lost', async () => {
    const campaign = await fixture.start('PART-ORDERED', 5);
    const ada = await secure(campaign.id, 'ada');
    // Our own capture is delayed until the merchant's has come first.
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

describe('a place that is charged and refunded in the dashboard', () => {
  test('in whole goes with its unit, and another buyer can have it', async () => {
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

  test('in part keeps its place', async () => {
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

test('a part that is refunded by hand leaves the rest of a released place’s money to go back', async () => {
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

test('a hold of a released place that is captured by hand before it is closed goes back', async () => {
  const campaign = await fixture.start('RELEASED', 5);
  const ada = await secure(campaign.id, 'ada');
  await shop.fault({ times: 1_000, path: `/v1/payment_intents/${ada.intent}/cancel`, action: 'status', status: 503 });
  await fixture.leave(campaign.id, 'ada');
  await dashboard('capture', ada.intent);
  await shop.clearFaults();
  await until(async () => (await shop.paymentOf(ada.paymentId)).status === 'refunded');
  expect(await audit(campaign, 5)).toEqual([]);
});
