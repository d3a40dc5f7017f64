import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { cronUntil, type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';

// A saved card is charged without its buyer, and the bank asks for the buyer. The place waits until the buyer confirms
// the charge, or its time is over.

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
let shop: ReturnType<typeof paymentFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000' } });
  fixture = campaignFixture(store);
  shop = paymentFixture(store);
});
afterAll(() => store.close());

const hour = 3_600_000;
const inHours = (hours: number) => new Date(Date.now() + hours * hour);

/** A place whose saved card is charged when the campaign succeeds, and whose bank then asks for the buyer. */
async function start(sku: string, { more = {}, loseEvents = false, cards = ['pm_card_authenticationRequired'] } = {}) {
  const campaign = await fixture.start(sku, 5, {
    ...{ endTime: inHours(30 * 24).toISOString(), minParticipants: cards.length + 1, ...more },
  });
  const places = [];
  for (const [index, card] of cards.entries()) {
    const { body: place } = await fixture.join(campaign.id, `user-${index}`);
    const payment = await fixture.confirm(place.orderId, card);
    const setup = payment.clientSecret.split('_secret_')[0];
    const { status } = await fixture.stripe.setupIntents.retrieve(setup);
    if (status === 'requires_action')
      await shop.emulator('POST', `setup_intents/${setup}/authenticate`, { outcome: 'succeed' });
    places.push({ ...place, setupSecret: payment.clientSecret as string });
  }
  await until(async () => (await fixture.read(campaign.id)).securedParticipants === cards.length);
  await store.settled();
  if (loseEvents) await shop.webhooks({ lose: 1 });
  await fixture.join(campaign.id, 'last');
  for (const place of places)
    await until(async () => {
      const events = await fixture.eventsOf(place.paymentId);
      return events.includes('payment.action.required') || events.includes('payment.succeeded');
    });
  await store.settled();
  return { campaign, places, place: places[0] };
}
type Started = Awaited<ReturnType<typeof start>>;
const paymentOf = async ({ place }: Started) => (await store.send('GET', `/v1/payments/${place.paymentId}`)).body;
const orderOf = async ({ place }: Started) => (await store.send('GET', `/v1/orders/${place.orderId}`)).body;
const holdEndOf = async (orderId: string) =>
  Number(
    (
      await store.database.query<{ hours: number }>(
        `select extract(epoch from expires_at - now()) / 3600 as hours from inventory.reservations where order_id = $1`,
        [orderId],
      )
    )[0]?.hours,
  );
const intentsOf = async (orderId: string) =>
  (await shop.state()).intents
    .filter((intent) => intent.metadata.orderId === orderId)
    .map(({ status, captured, refunded }) => ({ status, captured, refunded }));
const asked = async (paymentId: string) =>
  (await fixture.eventsOf(paymentId)).filter((topic) => topic === 'payment.action.required').length;
/** The buyer confirms the charge in the browser, and the bank’s page answers. */
async function confirm(started: Started, card: string | undefined, outcome?: 'fail' | 'succeed') {
  const { clientSecret } = await paymentOf(started);
  await fixture.confirmSecret(clientSecret, card ?? 'pm_card_visa');
  const id = clientSecret.split('_secret_')[0];
  if (outcome) await shop.emulator('POST', `payment_intents/${id}/authenticate`, { outcome });
}

describe('a saved card whose bank asks for the buyer', () => {
  test.each([
    ['its webhook arrives', false],
    ['its webhook is lost', true],
  ])('waits for the buyer for 24 hours, with the secret of the charge (%s)', async (how, loseEvents) => {
    const started = await start(`ASK-${loseEvents}`, { loseEvents });
    const { place, campaign } = started;
    await shop.webhooks({ lose: 0 });
    const payment = await paymentOf(started);
    expect(payment, how).toMatchObject({ status: 'pending', failureReason: 'authentication_required', amount: 20 });
    expect(payment.clientSecret).toMatch(/^pi_/);
    expect(payment.clientSecret).not.toBe(place.setupSecret);
    const again = await store.send('POST', '/v1/payments', { orderId: place.orderId });
    expect(again.body).toMatchObject({ id: place.paymentId, clientSecret: payment.clientSecret });
    expect((await orderOf(started)).status).toBe('created');
    expect((await fixture.statesOf(campaign.id))['user-0']).toBe('ordered');
    expect(await holdEndOf(place.orderId)).toBeCloseTo(24, 1);
    // Looking it up again changes nothing.
    await store.cron('* * * * *', inHours(23));
    await store.cron('* * * * *', inHours(23.5));
    expect(await asked(place.paymentId)).toBe(1);
    expect(await intentsOf(place.orderId)).toEqual([{ status: 'requires_payment_method', captured: 0, refunded: 0 }]);
    expect((await orderOf(started)).status).toBe('created');

    await confirm(started, 'pm_card_authenticationRequired', 'succeed');
    await until(async () => (await orderOf(started)).status === 'confirmed');
    expect((await fixture.statesOf(campaign.id))['user-0']).toBe('charged');
    expect(await intentsOf(place.orderId)).toEqual([{ status: 'succeeded', captured: 2000, refunded: 0 }]);
    expect((await fixture.eventsOf(place.paymentId)).filter((topic) => topic === 'payment.succeeded')).toHaveLength(1);
    await store.cron('* * * * *', inHours(30));
    await store.settled();
    expect((await orderOf(started)).status).toBe('confirmed');
    await shop.quiet();
    await shop.audit();
  });

  test('loses its place when the time is over, and Stripe takes no money after that', async () => {
    const started = await start('ASK-OVER');
    const { place, campaign } = started;
    const { clientSecret } = await paymentOf(started);
    await cronUntil(store, inHours(24.5), async () => (await orderOf(started)).status === 'failed');
    await until(async () => (await fixture.statesOf(campaign.id))['user-0'] === 'released');
    await shop.quiet();
    expect(await paymentOf(started)).toMatchObject({ status: 'failed', clientSecret: null });
    await fixture.confirmSecret(clientSecret, 'pm_card_visa');
    expect(await intentsOf(place.orderId)).toEqual([{ status: 'canceled', captured: 0, refunded: 0 }]);
    await until(async () => (await fixture.stockOf(campaign.sku))?.reserved === 0);
    await shop.quiet();
    await shop.audit();
  });

  test('may be replaced by another card in that time: a decline is not the end', async () => {
    const started = await start('ASK-OTHER');
    await confirm(started, 'pm_card_authenticationRequired', 'fail');
    await confirm(started, 'pm_card_chargeDeclined');
    await until(async () => (await paymentOf(started)).failureReason === 'generic_decline');
    expect(await paymentOf(started)).toMatchObject({ status: 'pending' });
    expect((await orderOf(started)).status).toBe('created');
    expect(await asked(started.place.paymentId)).toBe(1);
    await confirm(started, 'pm_card_visa');
    await until(async () => (await orderOf(started)).status === 'confirmed');
    await until(async () => (await fixture.statesOf(started.campaign.id))['user-0'] === 'charged');
  });

  test('waits as long as the tenant’s graceSeconds says', async () => {
    const set = (graceSeconds: number | null) => store.send('PATCH', '/v1/tenant', { graceSeconds });
    expect((await set(7_200)).status).toBe(200);
    const started = await start('ASK-GRACE');
    expect(await holdEndOf(started.place.orderId)).toBeCloseTo(2, 1);
    await set(null);
    await cronUntil(store, inHours(2.1), async () => (await orderOf(started)).status === 'failed');
    await until(async () => (await fixture.statesOf(started.campaign.id))['user-0'] === 'released');
  });

  test('and whose place is cancelled by the merchant meanwhile takes no money', async () => {
    const started = await start('ASK-CANCEL');
    const { clientSecret } = await paymentOf(started);
    await store.send('POST', `/v1/orders/${started.place.orderId}/cancel`);
    await until(async () => (await fixture.statesOf(started.campaign.id))['user-0'] === 'released');
    await shop.quiet();
    await fixture.confirmSecret(clientSecret, 'pm_card_visa');
    expect(await intentsOf(started.place.orderId)).toEqual([{ status: 'canceled', captured: 0, refunded: 0 }]);
  });

  test('does not keep others from being charged', async () => {
    const { campaign, places } = await start('ASK-OTHERS', {
      cards: ['pm_card_authenticationRequired', 'pm_card_visa'],
    });
    await until(async () => (await fixture.statesOf(campaign.id))['user-1'] === 'charged');
    expect(await asked(places[1].paymentId)).toBe(0);
    expect((await fixture.statesOf(campaign.id))['user-0']).toBe('ordered');
  });

  test('is charged the final price of a campaign with tiers', async () => {
    const campaign = await fixture.start('ASK-TIER', 5, {
      ...{ endTime: inHours(30 * 24).toISOString(), minParticipants: 1, maxParticipants: 1 },
      tiers: [{ participants: 1, price: 15 }],
    });
    const { body: place } = await fixture.join(campaign.id, 'ada');
    const { clientSecret } = await fixture.confirm(place.orderId, 'pm_card_authenticationRequired');
    const setup = clientSecret.split('_secret_')[0];
    await shop.emulator('POST', `setup_intents/${setup}/authenticate`, { outcome: 'succeed' });
    await until(async () => (await asked(place.paymentId)) === 1);
    const started = { campaign, places: [place], place };
    await confirm(started, 'pm_card_authenticationRequired', 'succeed');
    await until(async () => (await orderOf(started)).status === 'confirmed');
    expect(await intentsOf(place.orderId)).toEqual([{ status: 'succeeded', captured: 1500, refunded: 0 }]);
    expect((await orderOf(started)).total).toBe(15);
  });
});

describe('the deadline of a charge for which the bank asks', () => {
  /** The deadline, moved to a whole millisecond: crons have no finer times. */
  async function deadlineOf({ place }: Started): Promise<Date> {
    const [row] = await store.database.query<{ action_by: Date }>(
      `with hold as (
         update inventory.reservations set expires_at = date_trunc('milliseconds', expires_at) where order_id = $1
       )
       update payments.payments set action_by = date_trunc('milliseconds', action_by) where order_id = $1
       returning action_by`,
      [place.orderId],
    );
    if (!row) throw new Error('there is no payment');
    return row.action_by;
  }
  const after = (time: Date, milliseconds: number) => new Date(time.getTime() + milliseconds);

  test('is the first moment at which the cron gives the place up', async () => {
    const started = await start('END-EXACT');
    const deadline = await deadlineOf(started);
    for (let turn = 0; turn < 3; turn++) await store.cron('* * * * *', after(deadline, -1));
    await store.settled();
    expect((await orderOf(started)).status).toBe('created');
    expect(await holdEndOf(started.place.orderId)).toBeCloseTo(24, 1);
    await cronUntil(store, deadline, async () => (await orderOf(started)).status === 'failed');
    await until(async () => (await fixture.statesOf(started.campaign.id))['user-0'] === 'released');
    await shop.quiet();
    expect(await intentsOf(started.place.orderId)).toEqual([{ status: 'canceled', captured: 0, refunded: 0 }]);
    await shop.audit();
  });

  test.each([-1, 0, 1])(
    'does not end a charge that the buyer has confirmed, if the webhook is lost (a cron %i ms after the deadline)',
    async (offset) => {
      const started = await start(`END-LOST${offset}`);
      const deadline = await deadlineOf(started);
      await shop.webhooks({ lose: 1 });
      await confirm(started, 'pm_card_authenticationRequired', 'succeed');
      await shop.webhooks({ lose: 0 });
      await cronUntil(store, after(deadline, offset), async () => (await orderOf(started)).status !== 'created');
      expect((await orderOf(started)).status).toBe('confirmed');
      await until(async () => (await fixture.statesOf(started.campaign.id))['user-0'] === 'charged');
      await shop.quiet();
      expect(await intentsOf(started.place.orderId)).toEqual([{ status: 'succeeded', captured: 2000, refunded: 0 }]);
      await shop.audit();
    },
  );

  // The later the confirmation begins, the further the cron has come.
  test.each([0, 20, 80, 160, 320])(
    'gives the buyer a place or takes no money, if the buyer confirms %i ms after the cron begins to give it up',
    async (delay) => {
      const started = await start(`END-RACE-${delay}`);
      const deadline = await deadlineOf(started);
      const giveUp = async () => {
        for (let turn = 0; turn < 3; turn++) await store.cron('* * * * *', deadline);
      };
      const { clientSecret } = await paymentOf(started);
      const pay = async () => {
        await sleep(delay);
        await fixture.confirmSecret(clientSecret, 'pm_card_visa');
      };
      await Promise.all([giveUp(), pay()]);
      await cronUntil(store, after(deadline, 60_000), async () => (await orderOf(started)).status !== 'created');
      const { status } = await orderOf(started);
      const isKept = status === 'confirmed';
      await until(
        async () => (await fixture.statesOf(started.campaign.id))['user-0'] === (isKept ? 'charged' : 'released'),
      );
      await shop.quiet();
      const [intent] = await intentsOf(started.place.orderId);
      const kept = { captured: intent?.captured, refunded: intent?.refunded };
      if (isKept) expect(kept).toEqual({ captured: 2000, refunded: 0 });
      else expect([status, kept.refunded]).toEqual(['failed', kept.captured]);
      // The other place of the campaign was never paid.
      const left = { quantity: isKept ? 4 : 5, reserved: 0 };
      await until(async () => (await fixture.stockOf(started.campaign.sku))?.reserved === 0);
      expect(await fixture.stockOf(started.campaign.sku)).toEqual(left);
      await shop.audit();
    },
  );
});
