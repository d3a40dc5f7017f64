import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';
import { sendTogether } from '../support/locks.ts';

// The price of a pool with tiers is fixed once, by the secured places: at its end, or when it is full.

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000' } });
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

const tiers = [
  { participants: 3, price: 18 },
  { participants: 4, price: 15 },
];
const start = (sku: string, more: Record<string, unknown> = {}) => fixture.start(sku, 20, { tiers, ...more });
const join = async (campaignId: string, user: string, more: Record<string, unknown> = {}) => {
  const { status, body } = await fixture.join(campaignId, user, more);
  expect([status, body.code]).toEqual([201, undefined]);
  return body as { orderId: string; state: string; total: number; paymentId: string };
};
const secured = (campaignId: string, count: number) =>
  until(async () => (await fixture.read(campaignId)).securedParticipants === count);
/** Joins and secures the places of these users. */
async function secure(campaignId: string, ...users: string[]) {
  const before = (await fixture.read(campaignId)).securedParticipants;
  const places = [];
  for (const user of users) places.push(await join(campaignId, user));
  await Promise.all(places.map((place) => fixture.confirm(place.orderId)));
  await secured(campaignId, before + users.length);
  return places;
}
/** The campaign ends now, and the cron runs. */
async function end(campaignId: string) {
  await endNow(campaignId);
  await store.cron();
}
const endNow = (campaignId: string) =>
  store.database.query(
    `update group_commerce.group_commerce_campaigns set end_time = now() - interval '1 second' where id = $1`,
    [campaignId],
  );
const charged = (campaignId: string, ...users: string[]) =>
  until(async () => {
    const states = await fixture.statesOf(campaignId);
    return users.every((user) => states[user] === 'charged');
  });
const paidFor = async (campaignId: string) =>
  (
    await store.database.query<{ user_id: string; total: string; amount: string; captured: string }>(
      `select p.user_id, o.total, x.amount, x.captured from group_commerce.participants p
       join orders.orders o on o.id = p.order_id join payments.payments x on x.order_id = p.order_id
       where p.campaign_id = $1 and p.state = 'charged' order by p.user_id`,
      [campaignId],
    )
  ).map(({ user_id, total, amount, captured }) => [user_id, Number(total), Number(amount), Number(captured)]);
const pricedEvents = async (campaignId: string) =>
  (await fixture.eventsOf(campaignId)).filter((topic) => topic === 'priced').length;

describe('a campaign with tiers', () => {
  test('succeeds at its minimum, and makes orders at its end, at the price that the secured places have reached', async () => {
    const campaign = await start('TIER-END');
    await secure(campaign.id, 'a', 'b', 'c');
    const late = await join(campaign.id, 'd');
    expect(late.state).toBe('joined');
    await store.settled();
    await store.cron();
    expect(await fixture.read(campaign.id)).toMatchObject({
      ...{ status: 'successful', settledPrice: null, currentPrice: 18 },
      nextTier: { participants: 4, price: 15, missing: 1 },
    });
    expect(await fixture.statesOf(campaign.id)).toEqual({ a: 'secured', b: 'secured', c: 'secured', d: 'joined' });
    await end(campaign.id);
    await charged(campaign.id, 'a', 'b', 'c');
    expect(await fixture.read(campaign.id)).toMatchObject({ settledPrice: 18, currentPrice: 18, nextTier: null });
    // A place that was not secured has the usual time to pay, at the same price. It changes nobody's price.
    await until(async () => (await fixture.statesOf(campaign.id)).d === 'ordered');
    expect((await fixture.confirm(late.orderId)).amount).toBe(18);
    await charged(campaign.id, 'd');
    expect(await paidFor(campaign.id)).toEqual(['a', 'b', 'c', 'd'].map((user) => [user, 18, 18, 18]));
    expect((await fixture.read(campaign.id)).settledPrice).toBe(18);
    expect(await fixture.eventsOf(campaign.id)).toEqual([
      ...['created', 'joined', 'joined', 'successful', 'joined', 'joined', 'priced'],
    ]);
    await store.settled();
    await fixture.audit(campaign, 20);
  });

  test('that is full settles with the place that makes all places secured', async () => {
    const campaign = await start('TIER-FULL', { maxParticipants: 4 });
    await secure(campaign.id, 'a', 'b', 'c');
    const last = await join(campaign.id, 'd');
    await store.settled();
    expect((await fixture.read(campaign.id)).settledPrice).toBe(null);
    await fixture.confirm(last.orderId);
    await charged(campaign.id, 'a', 'b', 'c', 'd');
    expect(await paidFor(campaign.id)).toEqual(['a', 'b', 'c', 'd'].map((user) => [user, 15, 15, 15]));
    expect((await fixture.leave(campaign.id, 'a')).body.code).toBe('campaign_not_open');
    expect((await fixture.join(campaign.id, 'e')).body.code).toBe('campaign_not_open');
    await store.settled();
    await fixture.audit(campaign, 20);
  });

  test('with successOn: secured succeeds and settles in one step if its minimum is all places', async () => {
    const campaign = await start('TIER-ONCE', {
      minParticipants: 3,
      maxParticipants: 3,
      successOn: 'secured',
      tiers: tiers.slice(0, 1),
    });
    await secure(campaign.id, 'a', 'b', 'c');
    await charged(campaign.id, 'a', 'b', 'c');
    const events = await fixture.eventsOf(campaign.id);
    expect(events.slice(-2)).toEqual(['successful', 'priced']);
    expect((await paidFor(campaign.id)).map(([, total]) => total)).toEqual([18, 18, 18]);
  });

  test('can be left until it settles, also below its minimum, and stays successful', async () => {
    const campaign = await start('TIER-LEAVE');
    const [place] = await secure(campaign.id, 'a', 'b', 'c');
    for (const user of ['b', 'c']) expect((await fixture.leave(campaign.id, user)).body.state).toBe('released');
    expect(await fixture.read(campaign.id)).toMatchObject({
      ...{ status: 'successful', actualParticipants: 1, securedParticipants: 1, currentPrice: 20 },
    });
    await end(campaign.id);
    await charged(campaign.id, 'a');
    expect(await paidFor(campaign.id)).toEqual([['a', 20, 20, 20]]);
    expect((await store.send('GET', `/v1/orders/${place?.orderId}`)).body.total).toBe(20);
    await store.settled();
    await fixture.audit(campaign, 20);
  });

  test('frees a place that is not secured in time, also after its success', async () => {
    const campaign = await start('TIER-UNSECURED');
    await secure(campaign.id, 'a', 'b');
    await join(campaign.id, 'c');
    await until(async () => {
      // Repeated, because a place waits while the intent of its payment is being made.
      await store.cron('* * * * *', new Date(Date.now() + 700_000));
      return (await fixture.statesOf(campaign.id)).c === 'released';
    });
    expect(await fixture.read(campaign.id)).toMatchObject({ status: 'successful', actualParticipants: 2 });
  });

  test('counts units if its tiers do', async () => {
    const campaign = await start('TIER-UNITS', { tiers: [{ units: 5, price: 12.5 }] });
    for (const [user, quantity] of [
      ['a', 2],
      ['b', 3],
    ] as const) {
      const place = await join(campaign.id, user, { quantity });
      expect(place.total).toBe(20 * quantity);
      await fixture.confirm(place.orderId);
    }
    await secured(campaign.id, 2);
    await end(campaign.id);
    await charged(campaign.id, 'a', 'b');
    expect(await paidFor(campaign.id)).toEqual([
      ['a', 25, 25, 25],
      ['b', 37.5, 37.5, 37.5],
    ]);
  });

  test('rejects a tier that Stripe cannot charge', async () => {
    const product = await fixture.start('TIER-LEAST', 1);
    const reply = await store.send('POST', '/v1/campaigns', {
      ...{ productId: product.productId, minParticipants: 1, maxParticipants: 9, price: 1 },
      startTime: new Date().toISOString(),
      endTime: product.endTime,
      tiers: [
        { participants: 2, price: 0.9 },
        { participants: 3, price: 0.2 },
      ],
    });
    expect(reply).toMatchObject({ status: 422, body: { errors: [{ pointer: '/tiers/1/price' }] } });
  });

  test('keeps its price if a charge fails after it was fixed', async () => {
    const campaign = await start('TIER-FAILS', {
      endTime: new Date(Date.now() + 20 * 86_400_000).toISOString(), // saves the cards
    });
    const places = [];
    for (const user of ['a', 'b', 'c', 'd']) places.push(await join(campaign.id, user));
    for (const [index, place] of places.entries())
      await fixture.confirm(place.orderId, index < 2 ? 'pm_card_chargeCustomerFail' : 'pm_card_visa');
    await secured(campaign.id, 4);
    await end(campaign.id);
    await charged(campaign.id, 'c', 'd');
    await until(async () => (await fixture.statesOf(campaign.id)).b === 'released');
    await until(async () => (await fixture.statesOf(campaign.id)).a === 'released');
    expect(await fixture.read(campaign.id)).toMatchObject({ securedParticipants: 2, settledPrice: 15 });
    expect(await paidFor(campaign.id)).toEqual([
      ['c', 15, 15, 15],
      ['d', 15, 15, 15],
    ]);
    await store.settled();
    await fixture.audit(campaign, 20);
  });
});

describe('the price is fixed once', () => {
  test('by two crons at once', async () => {
    const campaigns = [];
    for (let n = 0; n < 5; n++) {
      const campaign = await start(`TIER-CRONS-${n}`);
      await secure(campaign.id, 'a', 'b', 'c');
      campaigns.push(campaign);
    }
    for (const campaign of campaigns) await endNow(campaign.id);
    await Promise.all([store.cron(), store.cron(), store.cron()]);
    for (const campaign of campaigns) {
      await charged(campaign.id, 'a', 'b', 'c');
      expect(await pricedEvents(campaign.id)).toBe(1);
      expect((await paidFor(campaign.id)).map(([, , , captured]) => captured)).toEqual([18, 18, 18]);
    }
  });

  test.each([1, 2, 3])('by the cron or by the webhook that secures the last place (%s)', async (round) => {
    const campaign = await start(`TIER-RACE-${round}`, { maxParticipants: 4 });
    await secure(campaign.id, 'a', 'b', 'c');
    const last = await join(campaign.id, 'd');
    await endNow(campaign.id);
    const cron = async () => {
      await store.cron();
      return { status: 200, headers: new Headers(), body: null };
    };
    const confirm = async () => {
      await fixture.confirm(last.orderId);
      return { status: 200, headers: new Headers(), body: null };
    };
    await Promise.all(round === 2 ? [confirm(), cron(), cron()] : [cron(), confirm(), cron()]);
    await charged(campaign.id, 'a', 'b', 'c', 'd');
    const { settledPrice } = await fixture.read(campaign.id);
    expect([18, 15]).toContain(settledPrice);
    expect(await pricedEvents(campaign.id)).toBe(1);
    expect(await paidFor(campaign.id)).toEqual(
      ['a', 'b', 'c', 'd'].map((user) => [user, settledPrice, settledPrice, settledPrice]),
    );
    await store.settled();
    await fixture.audit(campaign, 20);
  });

  test('while two places of a full campaign are secured at the same moment', async () => {
    const campaign = await start('TIER-LAST-TWO', { maxParticipants: 4 });
    await secure(campaign.id, 'a', 'b');
    const places = [await join(campaign.id, 'c'), await join(campaign.id, 'd')];
    // Both webhooks wait for the campaign's row, and go on together.
    const events = await Promise.all(
      places.map(async ({ orderId }) => (await store.send('POST', '/v1/payments', { orderId })).body),
    );
    await sendTogether(
      store,
      'select 1 from group_commerce.group_commerce_campaigns where id = any($1) for update',
      [campaign.id],
      places.map((place, index) => async () => {
        await fixture.confirmSecret(events[index].clientSecret, 'pm_card_visa');
        return store.send('GET', `/v1/payments/${place.paymentId}`);
      }),
    );
    await charged(campaign.id, 'a', 'b', 'c', 'd');
    expect(await pricedEvents(campaign.id)).toBe(1);
    expect((await fixture.read(campaign.id)).settledPrice).toBe(15);
  });
});

describe('group_commerce.tier_price', () => {
  const count = fc.integer({ min: 1, max: 60 });
  const case_ = fc.record({
    counts: fc.uniqueArray(count, { maxLength: 6 }).map((list) => list.sort((a, b) => a - b)),
    isUnits: fc.boolean(),
    participants: fc.integer({ min: 0, max: 70 }),
    units: fc.integer({ min: 0, max: 70 }),
  });

  test('is the price of the last tier that is reached', async () => {
    const cases = fc.sample(case_, { numRuns: 300, seed: 20261201 });
    const entry = 100;
    const written = cases.map(({ counts, isUnits, participants, units }) => ({
      tiers: counts.map((n, index) => ({ [isUnits ? 'units' : 'participants']: n, price: entry - 1 - index })),
      ...{ participants, units },
    }));
    const prices = await store.database.query<{ price: string }>(
      `select group_commerce.tier_price(c->'tiers', ${entry}, (c->>'participants')::int, (c->>'units')::int) as price
       from jsonb_array_elements($1::jsonb) with ordinality e(c, n) order by n`,
      [JSON.stringify(written)],
    );
    const expected = cases.map(({ counts, isUnits, participants, units }) => {
      const reached = counts.filter((n) => n <= (isUnits ? units : participants)).length;
      return entry - reached;
    });
    expect(prices.map(({ price }) => Number(price))).toEqual(expected);
  });

  test('is the entry price without tiers', async () => {
    const [row] = await store.database.query<{ price: string }>(
      `select group_commerce.tier_price(null, 7, 5, 5) as price`,
    );
    expect(Number(row?.price)).toBe(7);
  });
});
