import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
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

/** A confirmed order of one unit at 29 USD. */
async function paid(sku: string, card = 'pm_card_visa', stock = 5) {
  await addProduct(store, sku, stock, 29);
  const made = await shop.checkout(sku);
  await shop.pay(made.intent, card);
  await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
  return made;
}

describe('every read of a payment shows', () => {
  const allReads = async (orderId: string, paymentId: string) => [
    await shop.paymentOf(paymentId),
    (await shop.orderOf(orderId)).payment,
    (await store.send('GET', '/v1/orders?limit=1')).body.data[0].payment,
    (await store.send('POST', '/v1/payments', { orderId })).body,
  ];

  test('the refunded amount', async () => {
    const { order, payment } = await paid('PART-BACK');
    for (const shown of await allReads(order.id, payment.id)) {
      expect(shown).toMatchObject({ amount: 29, amountRefunded: 0, dispute: null });
    }
    await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 5.5 });
    for (const shown of await allReads(order.id, payment.id)) expect(shown).toMatchObject({ amountRefunded: 5.5 });
    await shop.quiet();
    await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 0.25 });
    await shop.quiet();
    for (const shown of await allReads(order.id, payment.id)) {
      expect(shown).toMatchObject({ status: 'succeeded', amountRefunded: 5.75 });
    }
  });

  test('a dispute and its outcome', async () => {
    const { order, payment, intent } = await paid('CHARGED-BACK', 'pm_card_createDispute');
    await until(async () => (await shop.paymentOf(payment.id)).dispute === 'open');
    for (const shown of await allReads(order.id, payment.id)) expect(shown).toMatchObject({ dispute: 'open' });
    const dispute = (await shop.state()).disputes.find((of) => of.payment_intent === intent);
    await shop.emulator('POST', `disputes/${dispute?.id}/close`, { status: 'lost' });
    await until(async () => (await shop.paymentOf(payment.id)).dispute === 'lost');
    for (const shown of await allReads(order.id, payment.id)) {
      expect(shown).toMatchObject({ status: 'succeeded', amountRefunded: 0, dispute: 'lost' });
    }
  });
});

describe('a full refund that a bank returns', () => {
  /** A completed refund. `bounce` makes the bank return it. */
  async function refunded(sku: string, made: Awaited<ReturnType<typeof paid>>) {
    await store.send('POST', `/v1/payments/${made.payment.id}/refunds`, {});
    await until(async () => (await shop.orderOf(made.order.id)).status === 'refunded');
    await shop.quiet();
    const refund = (await shop.state()).refunds.find((of) => of.payment_intent === made.intent);
    const bounce = async () => {
      await shop.emulator('POST', 'dashboard/fail_refund', { refund: refund?.id });
      await until(async () => (await shop.orderOf(made.order.id)).status !== 'refunded');
    };
    return { bounce, before: await shop.stockOf(sku) };
  }

  test('restores the order with its units, and notifies the merchant', async () => {
    const made = await paid('BOUNCED-FULL', 'pm_card_visa', 5);
    const { bounce, before } = await refunded('BOUNCED-FULL', made);
    expect(before).toEqual({ quantity: 5, reserved: 0 });
    await bounce();
    expect(await shop.orderOf(made.order.id)).toMatchObject({
      status: 'confirmed',
      reservation: { status: 'committed' },
      payment: { status: 'succeeded', amountRefunded: 0 },
    });
    expect(await shop.stockOf('BOUNCED-FULL')).toEqual({ quantity: 4, reserved: 0 });
    const history = await shop.historyOf(made.order.id);
    expect(history.filter((topic) => topic === 'payment.refund.failed')).toHaveLength(1);
    expect(history.at(-1)).toBe('order.refund.failed');
    // The merchant can refund it again, once.
    await store.send('POST', `/v1/payments/${made.payment.id}/refunds`, {});
    await until(async () => (await shop.orderOf(made.order.id)).status === 'refunded');
    expect(await shop.stockOf('BOUNCED-FULL')).toEqual({ quantity: 5, reserved: 0 });
    await shop.quiet();
    await shop.audit();
  });

  test('cancels the order if its units were sold meanwhile, and no unit is sold twice', async () => {
    const made = await paid('BOUNCED-SOLD', 'pm_card_visa', 1);
    const { bounce } = await refunded('BOUNCED-SOLD', made);
    const other = await shop.checkout('BOUNCED-SOLD');
    await shop.pay(other.intent);
    await until(async () => (await shop.orderOf(other.order.id)).status === 'confirmed');
    await bounce();
    expect(await shop.orderOf(made.order.id)).toMatchObject({
      status: 'cancelled',
      failureReason: 'refund_failed',
    });
    const history = await shop.historyOf(made.order.id);
    expect(history.indexOf('order.cancelled')).toBe(history.indexOf('payment.refund.failed') + 1);
    // The buyer must still get the money: it is refunded again, automatically or by the merchant.
    await store.send('POST', `/v1/payments/${made.payment.id}/refunds`, {});
    await until(async () => (await shop.paymentOf(made.payment.id)).status === 'refunded');
    expect(await shop.orderOf(made.order.id)).toMatchObject({ status: 'cancelled', payment: { amountRefunded: 29 } });
    expect(await shop.stockOf('BOUNCED-SOLD')).toEqual({ quantity: 0, reserved: 0 });
  });

  test('concurrent with a buyer of the last unit gives the unit to one of them', async () => {
    for (let round = 0; round < 5; round++) {
      const sku = `BOUNCED-RACE-${round}`;
      const made = await paid(sku, 'pm_card_visa', 1);
      const { bounce } = await refunded(sku, made);
      const [, rival] = await Promise.all([bounce(), store.send('POST', '/v1/orders', oneLine(sku))]);
      const { status } = await shop.orderOf(made.order.id);
      expect([status, rival.status]).toEqual(status === 'confirmed' ? ['confirmed', 409] : ['cancelled', 201]);
      const stock = await shop.stockOf(sku);
      expect(stock).toEqual({ quantity: 0, reserved: rival.status === 201 ? 1 : 0 });
    }
  });

  test('of a shipped order does not change its units, because they were never returned to the stock', async () => {
    const made = await paid('BOUNCED-SENT', 'pm_card_visa', 3);
    await store.database.query(`update orders.orders set status = 'delivered' where id = $1`, [made.order.id]);
    await store.database.query(
      `insert into shipping.shipments (id, order_id, tracking_number, carrier, label_url, status, tenant_id)
       values ($1, $1, $1, 'manual', '/', 'delivered', 'default')`,
      [made.order.id],
    );
    const { bounce, before } = await refunded('BOUNCED-SENT', made);
    expect(before).toEqual({ quantity: 2, reserved: 0 });
    await bounce();
    expect((await shop.orderOf(made.order.id)).status).toBe('delivered');
    expect(await shop.stockOf('BOUNCED-SENT')).toEqual({ quantity: 2, reserved: 0 });
    expect((await shop.historyOf(made.order.id)).at(-1)).toBe('order.refund.failed');
  });

  test('in one of two parts leaves the order partially refunded', async () => {
    const made = await paid('BOUNCED-PART', 'pm_card_visa', 3);
    for (const amount of [10, 19]) {
      await store.send('POST', `/v1/payments/${made.payment.id}/refunds`, { amount });
      await shop.quiet();
    }
    await until(async () => (await shop.orderOf(made.order.id)).status === 'refunded');
    const refund = (await shop.state()).refunds.find((of) => of.payment_intent === made.intent && of.amount === 1900);
    await shop.emulator('POST', 'dashboard/fail_refund', { refund: refund?.id });
    await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
    expect(await shop.paymentOf(made.payment.id)).toMatchObject({ status: 'succeeded', amountRefunded: 10 });
    expect(await shop.stockOf('BOUNCED-PART')).toEqual({ quantity: 2, reserved: 0 });
  });

  test('of a place in a campaign, which is already released, leaves a cancelled order', async () => {
    const campaign = await fixture.start('BOUNCED-PLACE', 5);
    const orders: string[] = [];
    for (const user of ['ada', 'ben']) {
      const { body: place } = await fixture.join(campaign.id, user);
      await fixture.confirm(place.orderId);
      orders.push(place.orderId);
    }
    await until(async () => Object.values(await fixture.statesOf(campaign.id)).every((state) => state === 'charged'));
    const [order = ''] = orders;
    const { payment } = await shop.orderOf(order);
    const { bounce } = await refunded('BOUNCED-PLACE', {
      order: { id: order },
      payment,
      intent: payment.stripePaymentIntentId,
    });
    expect(await fixture.statesOf(campaign.id)).toEqual({ ada: 'released', ben: 'charged' });
    await bounce();
    expect(await shop.orderOf(order)).toMatchObject({ status: 'cancelled', failureReason: 'refund_failed' });
    expect((await fixture.read(campaign.id)).actualParticipants).toBe(1);
    expect(await shop.stockOf('BOUNCED-PLACE')).toEqual({ quantity: 4, reserved: 0 });
  });
});
