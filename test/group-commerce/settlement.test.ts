import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Fault, NeonBridgeOptions } from '../../dev/neon/bridge.ts';
import { campaignFixture } from '../support/campaigns.ts';
import { cronUntil, type Store, startStore, until } from '../support/harness.ts';
import { startQueues, stopQueues } from '../support/outbox.ts';
import { paymentFixture } from '../support/payments.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
let fault: NonNullable<NeonBridgeOptions['fault']> | undefined;
beforeAll(async () => {
  store = await startStore({
    variables: { STRIPE_REQUESTS_PER_SECOND: '1000' },
    neonFault: (call) => fault?.(call),
  });
  fixture = campaignFixture(store);
});
afterEach(() => {
  fault = undefined;
});
afterAll(() => store.close());

const week = 7 * 86_400_000;
/** An end too late for an authorization, so that the card is saved at the join. */
const endsLate = () => ({ endTime: new Date(Date.now() + week).toISOString() });

const paymentOf = async (orderId: string) =>
  (
    await store.database.query<{ mode: string; status: string; failure_reason: string | null; capture_asked: boolean }>(
      'select mode, status, failure_reason, capture_asked from payments.payments where order_id = $1',
      [orderId],
    )
  )[0];
const orderOf = async (id: string) => (await store.send('GET', `/v1/orders/${id}`)).body;
const secured = (campaignId: string, count: number) =>
  until(async () => (await fixture.read(campaignId)).securedParticipants === count);
/** Waits until every participant is in one of these states. */
const reached = (campaignId: string, ...states: string[]) =>
  until(async () => (await fixture.participants(campaignId)).every((place) => states.includes(place.state)));

describe('the payment of a place', () => {
  test('is an authorization, not a capture, if the campaign ends within the card network’s window', async () => {
    const campaign = await fixture.start('HOLD', 5);
    const { body: place } = await fixture.join(campaign.id, 'user-1');
    const payment = await fixture.confirm(place.orderId);
    await secured(campaign.id, 1);
    expect((await paymentOf(place.orderId))?.mode).toBe('hold');
    const intent = await fixture.stripe.paymentIntents.retrieve(payment.stripePaymentIntentId);
    expect([intent.status, intent.amount_received, intent.amount_capturable]).toEqual(['requires_capture', 0, 2000]);
    expect((await store.send('GET', `/v1/payments/${payment.id}`)).body.status).toBe('pending');
  });

  test('is a saved card if the campaign ends later', async () => {
    const campaign = await fixture.start('CARD', 5, endsLate());
    const { body: place } = await fixture.join(campaign.id, 'user-1');
    const payment = await fixture.confirm(place.orderId);
    expect([payment.stripePaymentIntentId, payment.clientSecret.slice(0, 5)]).toEqual([null, 'seti_']);
    await secured(campaign.id, 1);
    expect((await paymentOf(place.orderId))?.mode).toBe('card');
    expect(await fixture.intentsOf([place.orderId])).toEqual([]);
  });

  test('has its saved card deleted at Stripe when the place is released', async () => {
    const campaign = await fixture.start('FORGET', 5, endsLate());
    const { body: place } = await fixture.join(campaign.id, 'user-1');
    await fixture.confirm(place.orderId);
    await secured(campaign.id, 1);
    const [row] = await store.database.query<{ customer_id: string }>(
      'select customer_id from payments.payments where order_id = $1',
      [place.orderId],
    );
    await fixture.leave(campaign.id, 'user-1');
    await until(async () => {
      const { data } = await fixture.stripe.customers.listPaymentMethods(row?.customer_id ?? '');
      return data.length === 0;
    });
  });

  test('has one intent, however many requests ask for the client secret', async () => {
    const campaign = await fixture.start('ONEINTENT', 5);
    const { body: place } = await fixture.join(campaign.id, 'user-1');
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => store.send('POST', '/v1/payments', { orderId: place.orderId })),
    );
    await store.settled();
    expect(new Set(answers.map((answer) => answer.body.clientSecret)).size).toBe(1);
    expect(await fixture.intentsOf([place.orderId])).toHaveLength(1);
  });

  test('that Stripe rejects as too small releases the place', async () => {
    await paymentFixture(store).removeChargeLimits();
    const campaign = await fixture.start('PENNY', 5, { price: 0.1 });
    await fixture.join(campaign.id, 'user-1');
    await reached(campaign.id, 'released');
    expect((await fixture.participants(campaign.id))[0]?.reason).toBe('amount_too_small');
    expect(await fixture.stockOf('PENNY')).toEqual({ quantity: 5, reserved: 0 });
  });

  test('must be secured before the place counts, if successOn is "secured"', async () => {
    const campaign = await fixture.start('SECURED', 5, { successOn: 'secured', maxParticipants: 3 });
    const places = await Promise.all(['a', 'b', 'c'].map(async (user) => (await fixture.join(campaign.id, user)).body));
    expect((await fixture.join(campaign.id, 'd')).body.code).toBe('campaign_full');
    expect((await fixture.read(campaign.id)).status).toBe('active');
    await fixture.confirm(places[0].orderId);
    await secured(campaign.id, 1);
    expect((await fixture.read(campaign.id)).status).toBe('active');
    await fixture.confirm(places[1].orderId);
    await until(async () => (await fixture.read(campaign.id)).status === 'successful');
    await until(async () => (await fixture.statesOf(campaign.id)).b === 'charged');
    await until(async () => (await fixture.statesOf(campaign.id)).c === 'ordered');
    await store.settled();
    expect(await fixture.statesOf(campaign.id)).toEqual({ a: 'charged', b: 'charged', c: 'ordered' });
    await fixture.audit(campaign, 5);
  });
});

describe('a successful campaign', () => {
  test.each(['hold', 'card'])('creates one order and one charge for each participant (%s)', async (mode) => {
    const campaign = await fixture.start(`ALL-${mode}`, 10, {
      minParticipants: 4,
      ...(mode === 'card' ? endsLate() : {}),
    });
    const join = (user: string) => fixture.join(campaign.id, user).then((answer) => answer.body);
    const places = await Promise.all(['a', 'b', 'c'].map(join));
    await Promise.all(places.map((place) => fixture.confirm(place.orderId)));
    await secured(campaign.id, 3);
    const last = await join('d');
    await until(async () => (await fixture.statesOf(campaign.id)).d === 'ordered');
    await fixture.confirm(last.orderId);
    await reached(campaign.id, 'charged');
    await store.settled();
    const { orders, taken } = await fixture.audit(campaign, 10);
    expect(orders.map((order) => [order.status, order.total])).toEqual(Array(4).fill(['confirmed', '20.00']));
    expect(taken.map((intent) => intent.amount_received)).toEqual(Array(4).fill(2000));
    expect(await orderOf(last.orderId)).toMatchObject({
      campaignId: campaign.id,
      customerId: 'd',
      items: [{ sku: campaign.sku, quantity: 1, price: 20 }],
      reservation: { status: 'committed' },
      payment: { status: 'succeeded' },
    });
    const history = await fixture.eventsOf(last.orderId);
    expect(history).toEqual(['order.created', 'inventory.reserved', 'order.confirmed']);
    // Repeating the cron and the messages changes nothing.
    await store.cron();
    await store.settled();
    await fixture.audit(campaign, 10);
  });

  test('releases only the place whose card fails', async () => {
    const campaign = await fixture.start('FAILING', 10, { minParticipants: 3, ...endsLate() });
    const cards = { good: 'pm_card_visa', bad: 'pm_card_chargeCustomerFail', fine: 'pm_card_mastercard' };
    const users = Object.keys(cards).slice(0, 2);
    const places = await Promise.all(users.map(async (user) => (await fixture.join(campaign.id, user)).body));
    await Promise.all(places.map((place, n) => fixture.confirm(place.orderId, Object.values(cards)[n])));
    await secured(campaign.id, 2);
    const { body: fine } = await fixture.join(campaign.id, 'fine');
    await fixture.confirm(fine.orderId, cards.fine);
    await reached(campaign.id, 'charged', 'released');
    expect(await fixture.statesOf(campaign.id)).toEqual({ good: 'charged', bad: 'released', fine: 'charged' });
    const bad = places[1];
    expect(await orderOf(bad.orderId)).toMatchObject({ status: 'failed', payment: { status: 'failed' } });
    await store.settled();
    await fixture.audit(campaign, 10);
    expect(await fixture.read(campaign.id)).toMatchObject({ status: 'successful', actualParticipants: 2 });
    // The user can join again with another card.
    const { body: again } = await fixture.join(campaign.id, 'bad');
    expect(again.state).toBe('ordered');
    await fixture.confirm(again.orderId);
    await until(async () => (await fixture.statesOf(campaign.id)).bad === 'charged');
    await fixture.audit(campaign, 10);
  });

  test('orders and charges later joins at once, until all places are taken', async () => {
    const campaign = await fixture.start('AFTER', 10, { minParticipants: 1, maxParticipants: 2 });
    await fixture.join(campaign.id, 'first');
    const { body: place } = await fixture.join(campaign.id, 'second');
    expect(place.state).toBe('ordered');
    expect(await orderOf(place.orderId)).toMatchObject({ status: 'created', total: 20, campaignId: campaign.id });
    await fixture.confirm(place.orderId);
    await until(async () => (await orderOf(place.orderId)).status === 'confirmed');
    expect((await fixture.statesOf(campaign.id)).second).toBe('charged');
    expect((await fixture.join(campaign.id, 'third')).body.code).toBe('campaign_full');
  });

  test('fails an order that is not paid within its grace period, and releases its unit and its place', async () => {
    const campaign = await fixture.start('GRACE', 10, { minParticipants: 2 });
    const places = await Promise.all(['a', 'b'].map(async (user) => (await fixture.join(campaign.id, user)).body));
    await until(async () => (await fixture.participants(campaign.id)).every((place) => place.state === 'ordered'));
    await fixture.confirm(places[0].orderId);
    await until(async () => (await fixture.statesOf(campaign.id)).a === 'charged');
    const { reservation } = await orderOf(places[1].orderId);
    const failed = async () => (await orderOf(places[1].orderId)).status === 'failed';
    await cronUntil(store, new Date(reservation.expiresAt), failed);
    expect(await orderOf(places[1].orderId)).toMatchObject({
      status: 'failed',
      failureReason: 'reservation_expired',
      payment: { status: 'failed' },
    });
    await until(async () => (await fixture.statesOf(campaign.id)).b === 'released');
    await store.settled();
    await fixture.audit(campaign, 10);
    expect(await fixture.stockOf('GRACE')).toEqual({ quantity: 9, reserved: 0 });
  });

  test('without a price needs no payment and confirms its orders', async () => {
    const campaign = await fixture.start('GRATIS', 5, { price: 0, successOn: 'secured' });
    for (const user of ['a', 'b', 'c']) await fixture.join(campaign.id, user);
    await reached(campaign.id, 'charged');
    expect(await fixture.stockOf('GRATIS')).toEqual({ quantity: 2, reserved: 0 });
  });

  test('releases the place of an order that is cancelled later, and refunds it', async () => {
    const campaign = await fixture.start('UNDO', 5, { minParticipants: 1 });
    const { body: place } = await fixture.join(campaign.id, 'a');
    await fixture.confirm(place.orderId);
    await reached(campaign.id, 'charged');
    await store.send('POST', `/v1/orders/${place.orderId}/cancel`);
    await reached(campaign.id, 'released');
    await until(async () => (await orderOf(place.orderId)).payment.status === 'refunded');
    expect(await fixture.stockOf('UNDO')).toEqual({ quantity: 5, reserved: 0 });
    expect((await fixture.read(campaign.id)).actualParticipants).toBe(0);
  });

  test('releases the place of an ended order by cron, at any age, even if the message was lost', async () => {
    const campaign = await fixture.start('LOST', 5, { minParticipants: 1 });
    const { body: place } = await fixture.join(campaign.id, 'a');
    await fixture.confirm(place.orderId);
    await reached(campaign.id, 'charged');
    await store.settled();
    await stopQueues(store.database);
    await store.send('POST', `/v1/orders/${place.orderId}/cancel`);
    await store.database.query(`delete from platform.outbox where sink = 'queue' and key = $1`, [place.orderId]);
    await startQueues(store.database);
    const later = (seconds: number) => store.cron('* * * * *', new Date(Date.now() + seconds * 1000));
    await later(240); // the queue still has its time
    expect(await fixture.participants(campaign.id)).toMatchObject([{ state: 'charged' }]);
    await store.database.query(`update orders.orders set updated_at = updated_at - interval '40 days' where id = $1`, [
      place.orderId,
    ]);
    await later(301);
    expect(await fixture.participants(campaign.id)).toMatchObject([{ state: 'released', reason: 'order_cancelled' }]);
    expect(await store.database.query('select id from orders.orders where place_open')).toEqual([]);
    expect((await fixture.read(campaign.id)).actualParticipants).toBe(0);
    expect((await fixture.eventsOf(campaign.id)).at(-1)).toBe('left');
  });
});

/** Inserts places by SQL as joins would, because these tests are about what follows. */
const fill = (campaignId: string, count: number) =>
  store.database.query(
    `with c as (
       update group_commerce.group_commerce_campaigns set actual_participants = $2 where id = $1 returning *
     ), p as (
       insert into group_commerce.participants (id, tenant_id, campaign_id, user_id, order_id, state, joined_at, updated_at)
       select platform.uuid7(), c.tenant_id, c.id, 'user-' || n, platform.uuid7(), 'joined', now(), now()
       from c, generate_series(1, $2::int) n returning *
     ), r as (
       insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
       select p.order_id, p.tenant_id, array[c.sku], array[1], 'held', 'infinity', now() from p, c
     )
     update inventory.inventory i set quantity = quantity - $2, reserved = reserved + $2 from c where i.sku = c.sku`,
    [campaignId, count],
  );

test('releasing many participants continues after each interruption', async () => {
  const campaign = await fixture.start('MANY', 2_000, { minParticipants: 1_500, maxParticipants: 2_000 });
  await fill(campaign.id, 1_000);
  let calls = 0;
  const stopAfter = (batches: number, how: Fault) => {
    calls = 0;
    fault = ({ statements }) =>
      statements.some(({ query }) => query.includes('release_batch')) && ++calls > batches ? how : undefined;
  };
  stopAfter(1, { kind: 'status', status: 500 });
  await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
  await until(() => calls > 1);
  expect(await fixture.stockOf('MANY')).toEqual({ quantity: 1_200, reserved: 800 });
  // The batch is committed, but its response is lost.
  stopAfter(1, { kind: 'cut-response' });
  await expect(store.cron()).rejects.toThrow();
  expect((await fixture.stockOf('MANY'))?.reserved).toBeLessThan(800);
  fault = undefined;
  await store.cron();
  expect(await fixture.stockOf('MANY')).toEqual({ quantity: 2_000, reserved: 0 });
  await fixture.audit(campaign, 2_000);
  const released = await store.database.query(
    `select key from platform.events where topic = 'inventory.released'
     and key in (select order_id from group_commerce.participants where campaign_id = $1)`,
    [campaign.id],
  );
  expect(released).toHaveLength(1_000);
});
