import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { mulberry32 } from '../../dev/stripe/webhooks.ts';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';
import { eventsOf, type PaymentFixture, paymentFixture } from '../support/payments.ts';

// Which PaymentIntents can pay a payment, and what happens to the money of the others.

let store: Store;
let shop: PaymentFixture;
beforeAll(async () => {
  store = await startStore();
  shop = paymentFixture(store);
});
afterEach(async () => {
  await shop.clearFaults();
  await shop.webhooks({ lose: 0 });
});
afterAll(() => store.close());

const seed = Number(process.env.SEED ?? 20261129);
const minutes = (count: number) => new Date(Date.now() + count * 60_000);

async function checkout(stock = 5) {
  const sku = `INTENT-${randomUUID()}`;
  await addProduct(store, sku, stock, 30);
  return { sku, ...(await shop.checkout(sku)) };
}
type Made = Awaited<ReturnType<typeof checkout>>;

const namesOf = ({ order, payment }: Made) => ({ paymentId: payment.id, orderId: order.id, tenant: 'default' });

/** A second intent for the same payment, as an earlier request leaves one if its response was an error. */
const second = (of: Made, change: Record<string, unknown> = {}) =>
  shop.stripe.paymentIntents.create({
    amount: 3000,
    currency: 'usd',
    automatic_payment_methods: { enabled: true },
    metadata: namesOf(of),
    ...change,
  });

const atStripe = async (id: string) => (await shop.state()).intents.find((intent) => intent.id === id);
const deadLettersOf = async (intent: string) =>
  (await store.send('GET', '/v1/dead-letters?limit=100')).body.data.filter(
    (deadLetter: { eventId: string }) => deadLetter.eventId === intent,
  );
const expectUnpaid = async ({ order, payment }: Made) => {
  expect((await shop.orderOf(order.id)).status).toBe('created');
  expect((await shop.paymentOf(payment.id)).status).toBe('pending');
};

describe('two intents of one payment', () => {
  test('the one that is paid first confirms the order, even if the buyer was given the other one', async () => {
    const made = await checkout();
    const other = await second(made);
    await shop.pay(other.id);
    await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
    expect((await shop.paymentOf(made.payment.id)).stripePaymentIntentId).toBe(other.id);
    // The intent of the buyer can no longer be paid.
    await store.cron('* * * * *', minutes(6));
    expect((await atStripe(made.intent))?.status).toBe('canceled');
    await shop.quiet();
    await shop.audit();
  });

  test('an unpaid second intent is cancelled at Stripe once it is known', async () => {
    const made = await checkout();
    const other = await second(made);
    await shop.pay(other.id, 'pm_card_visa_chargeDeclined');
    await until(
      async () =>
        (await store.database.query('select from payments.intents where stripe_id = $1', [other.id])).length > 0,
    );
    await store.cron('* * * * *', minutes(6));
    expect((await atStripe(other.id))?.status).toBe('canceled');
    await expectUnpaid(made);
    await shop.pay(made.intent);
    await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
  });

  for (const turn of ['the buyer’s first', 'the other first', 'both at once']) {
    test(`both paid, ${turn}: one of them is refunded, once (seed ${seed})`, async () => {
      const random = mulberry32(seed);
      const all = await Promise.all(Array.from({ length: turn === 'both at once' ? 6 : 1 }, () => checkout()));
      await Promise.all(
        all.map(async (made) => {
          const other = await second(made);
          await shop.webhooks({ reorder: 0.5, duplicate: 0.5, seed: Math.floor(random() * 1e9) });
          if (turn === 'both at once') await Promise.all([shop.pay(made.intent), shop.pay(other.id)]);
          else
            for (const id of turn === 'the other first' ? [other.id, made.intent] : [made.intent, other.id]) {
              await shop.pay(id);
              await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
            }
          await until(
            async () =>
              (await atStripe(made.intent))?.refunded === 3000 || (await atStripe(other.id))?.refunded === 3000,
          );
          await shop.quiet();
          const both = await Promise.all([atStripe(made.intent), atStripe(other.id)]);
          expect(both.map((intent) => intent?.captured)).toEqual([3000, 3000]);
          expect(both.map((intent) => intent?.refunded).sort()).toEqual([0, 3000]);
          const paying = (await shop.paymentOf(made.payment.id)).stripePaymentIntentId;
          expect(both.find((intent) => intent?.id === paying)?.refunded).toBe(0);
          expect(await shop.orderOf(made.order.id)).toMatchObject({
            status: 'confirmed',
            payment: { status: 'succeeded' },
          });
          const { body } = await store.send('GET', `/v1/payments/${made.payment.id}/refunds`);
          expect(body.data).toMatchObject([{ amount: 30, status: 'succeeded', reason: 'paid_twice' }]);
          // The remaining payment can still be refunded, but no more than that.
          const more = await store.send('POST', `/v1/payments/${made.payment.id}/refunds`, { amount: 30.01 });
          expect(more.body.code).toBe('refund_exceeds_payment');
        }),
      );
      await shop.webhooks({ reorder: 0, duplicate: 0 });
      await shop.audit();
    });
  }

  test('both paid and the order cancelled: both are refunded', async () => {
    const made = await checkout();
    const other = await second(made);
    await Promise.all([
      shop.pay(made.intent),
      shop.pay(other.id),
      store.send('POST', `/v1/orders/${made.order.id}/cancel`),
    ]);
    await until(async () =>
      (await Promise.all([atStripe(made.intent), atStripe(other.id)])).every(
        (of) => of?.captured === of?.refunded && !['requires_payment_method', 'processing'].includes(of?.status ?? ''),
      ),
    );
    await shop.quiet();
    expect((await shop.orderOf(made.order.id)).status).toBe('cancelled');
    await shop.audit();
  });

  test('of a cancelled payment and its successor, only one pays the order', async () => {
    for (const firstPays of [true, false]) {
      const made = await checkout();
      const other = await second(made);
      await shop.emulator('POST', 'dashboard/cancel', { payment_intent: made.intent });
      await until(async () => (await shop.paymentOf(made.payment.id)).status === 'cancelled');
      const { body: next } = await store.send('POST', '/v1/payments', { orderId: made.order.id });
      expect(next.id).not.toBe(made.payment.id);
      const [first, then] = firstPays ? [other.id, next.stripePaymentIntentId] : [next.stripePaymentIntentId, other.id];
      await shop.pay(first);
      await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
      await shop.pay(then);
      await until(async () => {
        const late = await atStripe(then);
        return late?.status === 'canceled' || late?.refunded === 3000;
      });
      await shop.quiet();
      expect(await shop.orderOf(made.order.id)).toMatchObject({
        status: 'confirmed',
        payment: { status: 'succeeded' },
      });
      expect((await atStripe(first))?.refunded).toBe(0);
    }
    await shop.audit();
  });

  test('a payment of a cancelled intent after its successor was refunded is refunded, and the order stays refunded', async () => {
    const made = await checkout();
    const other = await second(made);
    await shop.emulator('POST', 'dashboard/cancel', { payment_intent: made.intent });
    await until(async () => (await shop.paymentOf(made.payment.id)).status === 'cancelled');
    const { body: next } = await store.send('POST', '/v1/payments', { orderId: made.order.id });
    await shop.pay(next.stripePaymentIntentId);
    await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
    await store.send('POST', `/v1/payments/${next.id}/refunds`, {});
    await until(async () => (await shop.orderOf(made.order.id)).status === 'refunded');
    await shop.pay(other.id);
    await until(async () =>
      (await shop.rowsOfOrder(made.order.id)).payments.every(({ captured }) => captured === '30.00'),
    );
    await shop.quiet();
    expect((await shop.orderOf(made.order.id)).status).toBe('refunded');
    expect((await atStripe(other.id))?.refunded).toBe(3000);
    expect(await shop.stockOf(made.sku)).toEqual({ quantity: 5, reserved: 0 });
    await shop.audit();
  });

  test('a partial refund in the dashboard of a cancelled payment that was paid after its successor: only the rest is refunded', async () => {
    const made = await checkout();
    const other = await second(made);
    await shop.emulator('POST', 'dashboard/cancel', { payment_intent: made.intent });
    await until(async () => (await shop.paymentOf(made.payment.id)).status === 'cancelled');
    const { body: next } = await store.send('POST', '/v1/payments', { orderId: made.order.id });
    await shop.pay(next.stripePaymentIntentId);
    await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
    await shop.webhooks({ lose: 1 });
    await shop.pay(other.id);
    await shop.webhooks({ lose: 0 });
    await shop.stripe.refunds.create({ payment_intent: other.id, amount: 1000 });
    await until(async () => (await atStripe(other.id))?.refunded === 3000);
    await shop.quiet();
    expect((await shop.orderOf(made.order.id)).status).toBe('confirmed');
    expect((await atStripe(next.stripePaymentIntentId))?.refunded).toBe(0);
    await shop.audit();
  });

  test('a partial refund in the dashboard of the second intent: only the rest is refunded', async () => {
    const made = await checkout();
    const other = await second(made);
    await shop.pay(made.intent);
    await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
    await shop.webhooks({ lose: 1 });
    await shop.pay(other.id);
    await shop.webhooks({ lose: 0 });
    const byHand = await shop.stripe.refunds.create({ payment_intent: other.id, amount: 1000 });
    await until(async () => (await atStripe(other.id))?.refunded === 3000);
    await shop.quiet();
    const refunds = (await shop.state()).refunds.filter((refund) => refund.payment_intent === other.id);
    expect(refunds.map((refund) => [refund.amount, refund.id === byHand.id])).toEqual(
      expect.arrayContaining([
        [1000, true],
        [2000, false],
      ]),
    );
    await shop.audit();
  });
});

describe('an intent that does not match its payment never confirms it:', () => {
  const change = async (intent: string, to: Record<string, unknown>) =>
    shop.emulator('POST', 'dashboard/change', { payment_intent: intent, ...to });

  test.each([
    ['amount_differs', 'of a lower amount', { amount: 100 }],
    ['amount_differs', 'of a higher amount', { amount: 9900 }],
    ['currency_differs', 'in another currency', { currency: 'eur' }],
  ])('%s: its own intent, changed at Stripe to one %s', async (reason, _what, to) => {
    const made = await checkout();
    await change(made.intent, to);
    await shop.pay(made.intent);
    await until(async () => (await deadLettersOf(made.intent)).length > 0);
    await shop.quiet();
    await expectUnpaid(made);
    const [deadLetter] = await deadLettersOf(made.intent);
    expect(deadLetter).toMatchObject({ sink: 'stripe', key: made.payment.id, topic: 'payment_intent.succeeded' });
    expect(deadLetter.reason).toContain(reason);
    expect(store.logs()).toContainEqual(
      expect.objectContaining({ outcome: 'set_aside', id: made.intent, reason, tenant: 'default' }),
    );
    // The lookup of the cron does not confirm it either. It is reported once.
    await store.cron('* * * * *', minutes(6));
    await expectUnpaid(made);
    expect(await deadLettersOf(made.intent)).toHaveLength(1);
    await store.cron('* * * * *', new Date(made.order.reservation.expiresAt));
    expect(await shop.orderOf(made.order.id)).toMatchObject({ status: 'failed', payment: { status: 'failed' } });
    expect(await shop.stockOf(made.sku)).toEqual({ quantity: 5, reserved: 0 });
  });

  test('a matching second intent pays the order, although the first one was changed and paid', async () => {
    const made = await checkout();
    const other = await second(made);
    await change(made.intent, { amount: 100 });
    await shop.pay(made.intent);
    await until(async () => (await deadLettersOf(made.intent)).length > 0);
    await shop.pay(other.id);
    await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
    expect((await shop.rowsOfOrder(made.order.id)).payments).toMatchObject([
      { status: 'succeeded', captured: '30.00' },
    ]);
  });

  test('an intent that was changed and changed back can be paid', async () => {
    const made = await checkout();
    await change(made.intent, { amount: 100 });
    await store.cron('* * * * *', minutes(6));
    expect(await deadLettersOf(made.intent)).toHaveLength(1);
    await change(made.intent, { amount: 3000 });
    await shop.pay(made.intent);
    await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
  });

  const foreignMetadata: Record<string, (of: Made) => Record<string, string>> = {
    'of another tenant': (of) => ({ ...namesOf(of), tenant: 'acme' }),
    'of no tenant': ({ payment, order }) => ({ paymentId: payment.id, orderId: order.id }),
    'of no order': ({ payment }) => ({ paymentId: payment.id, tenant: 'default' }),
    'of another order': (of) => ({ ...namesOf(of), orderId: '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f' }),
  };
  for (const [what, names] of Object.entries(foreignMetadata)) {
    for (const known of [true, false]) {
      test(`one ${what} that names this payment, ${known ? 'after' : 'before'} its own intent is known`, async () => {
        const made = await checkout();
        if (!known) {
          // As if Stripe’s response with the payment’s own intent had not arrived yet.
          await store.database.query(
            `update payments.payments set stripe_payment_intent_id = null, client_secret = null where payment_id = $1`,
            [made.payment.id],
          );
          await store.database.query('delete from payments.intents where payment_id = $1', [made.payment.id]);
        }
        const foreign = await second(made, { metadata: names(made) });
        await shop.pay(foreign.id);
        await until(async () => (await deadLettersOf(foreign.id)).length > 0);
        expect((await deadLettersOf(foreign.id))[0].reason).toContain('made_for_another');
        await expectUnpaid(made);
        const { body } = await store.send('POST', '/v1/payments', { orderId: made.order.id });
        expect(body.stripePaymentIntentId).toBe(made.intent);
        await shop.pay(made.intent);
        await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
        expect((await atStripe(foreign.id))?.refunded).toBe(0);
      });
    }
  }

  test('its own intent, whose metadata was changed to name another payment', async () => {
    const [made, other] = [await checkout(), await checkout()];
    await shop.stripe.paymentIntents.update(made.intent, { metadata: namesOf(other) });
    await shop.pay(made.intent);
    await until(async () => (await deadLettersOf(made.intent)).length > 0);
    await expectUnpaid(made);
    await expectUnpaid(other);
  });

  test('its own intent without metadata still confirms it', async () => {
    const made = await checkout();
    await shop.stripe.paymentIntents.update(made.intent, { metadata: { paymentId: '', orderId: '', tenant: '' } });
    await shop.pay(made.intent);
    await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
  });
});

describe('lost webhooks of a second intent are read from Stripe’s list:', () => {
  const refundsOf = async (made: Made) =>
    (await store.send('GET', `/v1/payments/${made.payment.id}/refunds`)).body.data;

  test('a refund and a dispute of a known intent that does not pay the order', async () => {
    const made = await checkout();
    const other = await second(made);
    await shop.pay(made.intent);
    await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
    await store.cron('* * * * *', minutes(6));
    await shop.webhooks({ lose: 1 });
    await shop.pay(other.id);
    await store.cron();
    await shop.quiet();
    const before = await refundsOf(made);
    await shop.emulator('POST', 'dashboard/dispute', { payment_intent: other.id });
    await store.cron();
    expect((await shop.paymentOf(made.payment.id)).dispute).toBe('open');
    expect(before).toMatchObject([{ amount: 30, reason: 'paid_twice' }]);
    expect((await atStripe(other.id))?.refunded).toBe(3000);
  });

  for (const known of [true, false]) {
    test(`a partial refund in the dashboard and a dispute, all events lost, of an intent that is ${known ? 'known' : 'not known yet'}`, async () => {
      const made = await checkout();
      const other = await second(made);
      if (known) {
        await shop.pay(other.id, 'pm_card_visa_chargeDeclined');
        await until(
          async () =>
            (await store.database.query('select from payments.intents where stripe_id = $1', [other.id])).length > 0,
        );
      }
      await shop.webhooks({ lose: 1 });
      await shop.pay(other.id);
      await shop.stripe.refunds.create({ payment_intent: other.id, amount: 500 });
      await shop.emulator('POST', 'dashboard/dispute', { payment_intent: other.id });
      // Only one turn, because the next one would read only the last minute again.
      await store.cron();
      expect(await shop.orderOf(made.order.id)).toMatchObject({ status: 'confirmed' });
      expect(await shop.paymentOf(made.payment.id)).toMatchObject({ stripePaymentIntentId: other.id, dispute: 'open' });
      expect(await refundsOf(made)).toMatchObject([{ amount: 5 }]);
    });
  }
});

describe('events that arrive before their intent is known', () => {
  test('a refund and a dispute of an intent whose own events were lost are applied', async () => {
    const made = await checkout();
    const other = await second(made);
    await shop.webhooks({ lose: 1 });
    await shop.pay(other.id);
    await shop.webhooks({ lose: 0 });
    await shop.emulator('POST', 'dashboard/dispute', { payment_intent: other.id });
    await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
    await until(async () => (await shop.paymentOf(made.payment.id)).dispute === 'open');
    expect((await shop.paymentOf(made.payment.id)).stripePaymentIntentId).toBe(other.id);
  });

  test('events in any order end in the same state', async () => {
    const made = await checkout();
    const payloads = eventsOf(made.payment.id, 'pi_second', 3000, { orderId: made.order.id, tenant: 'default' });
    const own = eventsOf(made.payment.id, made.intent, 3000);
    for (const event of [
      payloads.processing(),
      own.failed(),
      payloads.succeeded(),
      payloads.processing(),
      own.succeeded(),
    ]) {
      expect((await shop.deliver(event)).status).toBe(200);
    }
    const [paid] = (await shop.rowsOfOrder(made.order.id)).payments;
    expect(paid).toMatchObject({ status: 'succeeded', captured: '30.00', refunded: '0.00' });
    const rows = await store.database.query(
      `select r.stripe_intent_id, r.amount from payments.refunds r where r.payment_id = $1`,
      [made.payment.id],
    );
    expect(rows).toEqual([{ stripe_intent_id: made.intent, amount: '30.00' }]);
  });
});
