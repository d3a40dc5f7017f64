import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';
import { startQueues, stopQueues } from '../support/outbox.ts';
import { paymentFixture } from '../support/payments.ts';
import { home } from '../support/shipping.ts';

// A hold authorizes the entry price. The final total is captured once, and never more than was authorized.

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
let shop: ReturnType<typeof paymentFixture>;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000' } });
  fixture = campaignFixture(store);
  shop = paymentFixture(store);
});
afterEach(async () => {
  await shop.clearFaults();
  await shop.webhooks({ lose: 0 });
  await setTax({});
  await store.database.query('delete from orders.tax_rates');
});
afterAll(() => store.close());

const day = 86_400_000;
const tiers = [{ participants: 2, price: 15 }];
const shippingAddress = { ...home, country: 'DE' };

const setTax = ({ includesTax = false, provider = 'table' }) =>
  store.database.query(
    `update platform.tenants set country = 'DE', prices_include_tax = $1, tax_provider = $2 where id = 'default'`,
    [includesTax, provider],
  );
const addRate = (rate: number) =>
  store.database.query(
    `insert into orders.tax_rates (id, tenant_id, name, country, rate, created_at, updated_at)
     values ($1, 'default', 'VAT', 'DE', $2, now(), now())`,
    [randomUUID(), rate],
  );
async function addOption(price: number, freeFrom: number | null = null): Promise<string> {
  const id = randomUUID();
  await store.database.query(
    `insert into orders.shipping_options (id, tenant_id, name, countries, currency, price, free_from, created_at,
       updated_at)
     values ($1, 'default', 'Parcel', '{DE}', 'USD', $2, $3, now(), now())`,
    [id, price, freeFrom],
  );
  return id;
}

let campaigns = 0;
/** A campaign with two secured places. `more`: fields of the campaign; `place`: fields of the places. */
async function start({
  place = {},
  cards = ['pm_card_visa', 'pm_card_visa'],
  ...more
}: Record<string, unknown> & {
  place?: Record<string, unknown>;
  cards?: string[];
} = {}) {
  const campaign = await fixture.start(`CAPTURE-${++campaigns}`, 20, { tiers, ...more });
  const places = [];
  for (const [index, card] of cards.entries()) {
    const { status, body } = await fixture.join(campaign.id, `user-${index}`, place);
    expect([status, body.errors]).toEqual([201, undefined]);
    const payment = await fixture.confirm(body.orderId, card);
    places.push({ ...body, intentId: payment.stripePaymentIntentId as string });
  }
  await until(async () => (await fixture.read(campaign.id)).securedParticipants === cards.length);
  await store.settled();
  return { campaign, places };
}
async function end(campaignId: string) {
  await store.database.query(
    `update group_commerce.group_commerce_campaigns set end_time = now() - interval '1 second' where id = $1`,
    [campaignId],
  );
  await store.cron();
}
async function resumeQueues() {
  await startQueues(store.database);
  await store.cron(); // delivers what waits
}
const allCharged = (campaignId: string) =>
  until(async () => Object.values(await fixture.statesOf(campaignId)).every((state) => state === 'charged'));
const orderOf = async (id: string) => (await store.send('GET', `/v1/orders/${id}`)).body;
const rowOf = async (orderId: string) =>
  (
    await store.database.query<Record<string, unknown>>(
      `select amount::float, authorized::float, captured::float, refunded::float, refund_done::float, status, capture_asked
       from payments.payments where order_id = $1`,
      [orderId],
    )
  )[0];
const intentsOf = async (orderId: string) =>
  (await shop.state()).intents
    .filter((intent) => intent.metadata.orderId === orderId)
    .map(({ status, captured, refunded }) => ({ status, captured, refunded }));
const successOf = async (paymentId: string) =>
  (
    await store.database.query<{ payload: unknown }>(
      `select payload from platform.events where key = $1 and topic = 'payment.succeeded'`,
      [paymentId],
    )
  ).map(({ payload }) => payload);
const amountsOf = ({ subtotal, shippingTotal, shippingTax, taxTotal, total, taxLines }: Record<string, unknown>) => ({
  ...{ subtotal, shippingTotal, shippingTax, taxTotal, total, taxLines },
});

describe('the final total of a place', () => {
  test.each([
    [
      'added tax',
      false,
      'hold',
      2975,
      { subtotal: 15, shippingTotal: 5, shippingTax: 0.95, taxTotal: 3.8, total: 23.8 },
    ],
    [
      'included tax',
      true,
      'hold',
      2500,
      { subtotal: 15, shippingTotal: 5, shippingTax: 0.8, taxTotal: 3.19, total: 20 },
    ],
    [
      'added tax',
      false,
      'card',
      2975,
      { subtotal: 15, shippingTotal: 5, shippingTax: 0.95, taxTotal: 3.8, total: 23.8 },
    ],
  ] as const)(
    'with %s and shipping is what is captured, of its payment and of its order (%s, %s)',
    async (_how, includesTax, mode, authorized, sums) => {
      await setTax({ includesTax });
      await addRate(19);
      const shippingOptionId = await addOption(5, mode === 'card' ? 20 : null);
      const isFree = mode === 'card'; // free from 20.00, which the final price does not reach: the place keeps it
      const place = { shippingAddress, shippingOptionId };
      const { campaign, places } = await start({
        place,
        endTime: new Date(Date.now() + (mode === 'card' ? 20 : 1) * day).toISOString(),
      });
      const [first] = places;
      // The rates of later do not count.
      await store.database.query('update orders.tax_rates set rate = 25');
      await end(campaign.id);
      await allCharged(campaign.id);
      const expected = isFree ? { subtotal: 15, shippingTotal: 0, shippingTax: 0, taxTotal: 2.85, total: 17.85 } : sums;
      const order = await orderOf(first.orderId);
      expect(order).toMatchObject({ ...expected, status: 'confirmed', items: [{ price: 15, quantity: 1 }] });
      expect(order.taxLines).toMatchObject([{ name: 'VAT', rate: 19, amount: expected.taxTotal }]);
      const { body: payment } = await store.send('GET', `/v1/payments/${first.paymentId}`);
      expect(payment).toMatchObject({ amount: expected.total, amountRefunded: 0, status: 'succeeded' });
      expect(await rowOf(first.orderId)).toMatchObject({
        ...{ amount: expected.total, captured: expected.total, authorized: mode === 'hold' ? authorized / 100 : null },
      });
      const [intent] = await fixture.intentsOf([first.orderId]);
      expect(intent).toMatchObject({
        ...{ status: 'succeeded', amount_capturable: 0, amount_received: Math.round(expected.total * 100) },
        amount: mode === 'hold' ? authorized : Math.round(expected.total * 100),
      });
      expect(await successOf(first.paymentId)).toEqual([
        { paymentId: first.paymentId, orderId: first.orderId, amount: expected.total, currency: 'USD' },
      ]);
      const { data } = (await store.send('GET', `/v1/campaigns/${campaign.id}/participants`)).body;
      expect(data.map(amountsOf)).toMatchObject([expected, expected]);
      const refund = (amount: number) => store.send('POST', `/v1/payments/${first.paymentId}/refunds`, { amount });
      expect((await refund(Number((expected.total + 0.01).toFixed(2)))).body.code).toBe('refund_exceeds_payment');
      expect((await refund(expected.total)).status).toBe(201);
      await until(async () => (await orderOf(first.orderId)).status === 'refunded');
      await shop.quiet();
      await shop.audit();
    },
  );

  test('is the entry total if no tier is reached: nothing changes', async () => {
    await addRate(19);
    const { campaign, places } = await start({ tiers: [{ participants: 3, price: 15 }], place: { shippingAddress } });
    await end(campaign.id);
    await allCharged(campaign.id);
    expect(await rowOf(places[0].orderId)).toMatchObject({ amount: 23.8, captured: 23.8 });
    expect(await orderOf(places[0].orderId)).toMatchObject({ total: 23.8, taxTotal: 3.8, subtotal: 20 });
    await store.settled();
    await fixture.audit(campaign, 20);
  });

  test.each([
    ['hold', 1],
    ['card', 20],
  ] as const)(
    'applies the rates of Stripe Tax and names no calculation of the entry price (%s)',
    async (_mode, days) => {
      await setTax({ provider: 'stripe' });
      const { campaign, places } = await start({
        place: { shippingAddress },
        endTime: new Date(Date.now() + days * day).toISOString(),
      });
      expect(places[0]).toMatchObject({ total: 23.8, taxTotal: 3.8 });
      await end(campaign.id);
      await allCharged(campaign.id);
      const order = await orderOf(places[0].orderId);
      expect(order).toMatchObject({
        ...{ subtotal: 15, taxTotal: 2.85, total: 17.85, status: 'confirmed' },
        taxLines: [{ rate: 19, taxable: 15, amount: 2.85 }],
      });
      const [intent] = await fixture.intentsOf([places[0].orderId]);
      const { hooks, amount_received } = await fixture.stripe.paymentIntents.retrieve(intent?.id ?? '');
      expect([hooks?.inputs?.tax?.calculation, amount_received]).toEqual([undefined, 1785]);
      await shop.quiet();
      await shop.audit();
    },
  );

  test.each([
    ['hold', 1],
    ['card', 20],
  ] as const)('names the calculation of Stripe Tax if the price did not fall (%s)', async (_mode, days) => {
    await setTax({ provider: 'stripe' });
    const { campaign, places } = await start({
      ...{ tiers: [{ participants: 9, price: 15 }], place: { shippingAddress } },
      endTime: new Date(Date.now() + days * day).toISOString(),
    });
    await end(campaign.id);
    await allCharged(campaign.id);
    const [intent] = await fixture.intentsOf([places[0].orderId]);
    const { hooks, amount_received } = await fixture.stripe.paymentIntents.retrieve(intent?.id ?? '');
    expect(hooks?.inputs?.tax?.calculation).toMatch(/^taxcalc_/);
    expect(amount_received).toBe(2380);
  });
});

describe('a capture of less than was authorized', () => {
  const paths = (intentId: string) => `/v1/payment_intents/${intentId}/capture`;
  const isCapturedOnce = async (place: { orderId: string; paymentId: string }) => {
    await until(async () => (await orderOf(place.orderId)).status === 'confirmed');
    expect(await intentsOf(place.orderId)).toEqual([{ status: 'succeeded', captured: 1500, refunded: 0 }]);
    expect(await rowOf(place.orderId)).toMatchObject({ amount: 15, captured: 15, authorized: 20, refunded: 0 });
    expect(await successOf(place.paymentId)).toHaveLength(1);
  };

  test.each([
    ['and its events are lost', true],
    ['and its events arrive', false],
  ])('whose response is lost is looked up (%s)', async (_how, loseEvents) => {
    const { campaign, places } = await start();
    const [place] = places;
    // The client's own retry is lost too.
    await shop.fault({ times: 2, method: 'POST', path: paths(place.intentId), action: 'drop', acts: true, loseEvents });
    await end(campaign.id);
    await until(async () => {
      await store.cron('* * * * *', new Date(Date.now() + 600_000));
      return (await orderOf(place.orderId)).status === 'confirmed';
    });
    await isCapturedOnce(place);
    await shop.quiet();
    await shop.audit();
  });

  test('whose response is a stored error is not repeated', async () => {
    const { campaign, places } = await start();
    const [place] = places;
    const stored = { action: 'status', status: 500, saved: true, acts: true, loseEvents: true };
    await shop.fault({ times: 1, method: 'POST', path: paths(place.intentId), ...stored });
    await end(campaign.id);
    await until(async () => {
      await store.cron('* * * * *', new Date(Date.now() + 600_000));
      return (await orderOf(place.orderId)).status === 'confirmed';
    });
    await isCapturedOnce(place);
  });

  test('keeps its amount once it is requested', async () => {
    const { campaign, places } = await start();
    const [place] = places;
    await store.settled();
    await stopQueues(store.database);
    await end(campaign.id);
    expect(await rowOf(place.orderId)).toMatchObject({ amount: 15, capture_asked: true, captured: 0 });
    const lower = (amount: number) =>
      store.database.query(
        `select set_config('app.tenant_id', 'default', true),
           payments.lower_amounts(jsonb_build_array(jsonb_build_object('orderId', $1::text, 'amount', $2::numeric)))`,
        [place.orderId, amount],
      );
    await expect(lower(14)).rejects.toThrow(/its amount may only fall, before its capture is requested/);
    await expect(lower(20)).rejects.toThrow(/its amount may only fall/);
    await lower(15);
    await resumeQueues();
    await isCapturedOnce(place);
  });

  test('is made once by messages and crons at the same time', async () => {
    const { campaign, places } = await start();
    await stopQueues(store.database);
    await end(campaign.id);
    const later = () => store.cron('* * * * *', new Date(Date.now() + 600_000));
    await Promise.all([later(), later(), resumeQueues(), later()]);
    for (const place of places) await isCapturedOnce(place);
  });

  test.each([false, true])(
    'of an authorization that has ended releases the place, and the price stays (events lost: %s)',
    async (isLost) => {
      const { campaign, places } = await start();
      const [place, other] = places;
      await stopQueues(store.database);
      await end(campaign.id);
      if (isLost) await shop.webhooks({ lose: 1 });
      await fixture.stripe.paymentIntents.cancel(place.intentId);
      await shop.webhooks({ lose: 0 });
      await resumeQueues();
      await until(async () => {
        await store.cron('* * * * *', new Date(Date.now() + 600_000));
        return (await fixture.statesOf(campaign.id))['user-0'] === 'released';
      });
      await isCapturedOnce(other);
      expect(await rowOf(place.orderId)).toMatchObject({ status: 'failed', captured: 0 });
      expect(await fixture.read(campaign.id)).toMatchObject({ settledPrice: 15, securedParticipants: 1 });
      expect(await fixture.stockOf(campaign.sku)).toEqual({ quantity: 19, reserved: 0 });
      await shop.quiet();
      await shop.audit();
    },
  );

  test('is no refund, although Stripe lists the rest as one', async () => {
    const { campaign, places } = await start({ tiers: [{ participants: 2, price: 8 }] }); // more is released than captured
    const [place, other] = places;
    await end(campaign.id);
    await allCharged(campaign.id);
    await store.settled();
    await store.cron('* * * * *', new Date(Date.now() + 600_000));
    expect(await rowOf(place.orderId)).toMatchObject({ status: 'succeeded', captured: 8, refunded: 0, refund_done: 0 });
    // A refund by hand counts, and no more than it.
    await fixture.stripe.refunds.create({ payment_intent: place.intentId, amount: 300 });
    await until(async () => (await rowOf(place.orderId))?.refund_done === 3);
    await store.cron('* * * * *', new Date(Date.now() + 600_000));
    expect(await rowOf(place.orderId)).toMatchObject({ status: 'succeeded', captured: 8, refunded: 3, refund_done: 3 });
    expect(await orderOf(place.orderId)).toMatchObject({ status: 'confirmed', total: 8 });
    const { body } = await store.send('POST', `/v1/payments/${other.paymentId}/refunds`, {});
    expect(body.amount).toBe(8);
    await until(async () => (await orderOf(other.orderId)).status === 'refunded');
    await shop.quiet();
    await shop.audit();
  });

  test('asks Stripe for no second amount, even if it is asked again', async () => {
    const { campaign, places } = await start();
    await end(campaign.id);
    await allCharged(campaign.id);
    const [place] = places;
    await expect(fixture.stripe.paymentIntents.capture(place.intentId, { amount_to_capture: 1800 })).rejects.toThrow(
      /already been captured/,
    );
    expect(await intentsOf(place.orderId)).toEqual([{ status: 'succeeded', captured: 1500, refunded: 0 }]);
  });
});

describe('a whole authorization that is captured in the dashboard', () => {
  const isRefundedDown = async (place: { orderId: string; paymentId: string }) => {
    await until(async () => (await rowOf(place.orderId))?.refund_done === 5);
    expect(await orderOf(place.orderId)).toMatchObject({ status: 'confirmed', total: 15 });
    expect(await intentsOf(place.orderId)).toEqual([{ status: 'succeeded', captured: 2000, refunded: 500 }]);
    expect((await store.send('GET', `/v1/payments/${place.paymentId}`)).body).toMatchObject({
      ...{ amount: 20, amountRefunded: 5, status: 'succeeded' },
    });
    expect(await successOf(place.paymentId)).toMatchObject([{ amount: 20 }]);
    const { body } = await store.send('POST', `/v1/payments/${place.paymentId}/refunds`, {});
    expect(body.amount).toBe(15); // what is left
    await until(async () => (await orderOf(place.orderId)).status === 'refunded');
    await shop.quiet();
    await shop.audit();
  };

  test('before the price is fixed is refunded down to the final total', async () => {
    const { campaign, places } = await start();
    const [place, other] = places;
    await fixture.stripe.paymentIntents.capture(place.intentId);
    await until(async () => (await rowOf(place.orderId))?.status === 'succeeded');
    await end(campaign.id);
    await allCharged(campaign.id);
    expect(await rowOf(other.orderId)).toMatchObject({ captured: 15, refunded: 0 });
    await isRefundedDown(place);
  });

  test('after the price was fixed and before our capture is refunded down to the final total', async () => {
    const { campaign, places } = await start();
    const [place] = places;
    await stopQueues(store.database);
    await end(campaign.id);
    expect(await rowOf(place.orderId)).toMatchObject({ amount: 15, authorized: 20, capture_asked: true });
    await fixture.stripe.paymentIntents.capture(place.intentId);
    await until(async () => (await rowOf(place.orderId))?.status === 'succeeded');
    await resumeQueues();
    await allCharged(campaign.id);
    await isRefundedDown(place);
  });

  test('and refunded in part by hand is refunded down to the final total, also if that refund fails later', async () => {
    const { campaign, places } = await start();
    const [place] = places;
    await fixture.stripe.paymentIntents.capture(place.intentId);
    const byHand = await fixture.stripe.refunds.create({ payment_intent: place.intentId, amount: 300 });
    await until(async () => (await rowOf(place.orderId))?.refund_done === 3);
    await end(campaign.id);
    await allCharged(campaign.id);
    await until(async () => (await rowOf(place.orderId))?.refund_done === 5);
    await shop.emulator('POST', 'dashboard/fail_refund', { refund: byHand.id });
    await until(async () => (await intentsOf(place.orderId))[0]?.refunded === 500);
    await until(async () => (await rowOf(place.orderId))?.refund_done === 5);
    expect(await rowOf(place.orderId)).toMatchObject({ status: 'succeeded', captured: 20, refunded: 5 });
    expect(await orderOf(place.orderId)).toMatchObject({ status: 'confirmed', total: 15 });
    await shop.quiet();
    await shop.audit();
  });

  test('in part, below the final total, ends the place', async () => {
    const { campaign, places } = await start();
    const [place] = places;
    await stopQueues(store.database);
    await end(campaign.id);
    await fixture.stripe.paymentIntents.capture(place.intentId, { amount_to_capture: 1400 });
    await resumeQueues();
    await until(async () => (await rowOf(place.orderId))?.refund_done === 14);
    expect(await orderOf(place.orderId)).toMatchObject({ status: 'failed' });
    await until(async () => (await fixture.statesOf(campaign.id))['user-0'] === 'released');
  });
});
