import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Store, startStore, until } from './harness.ts';
import { type Paying, payingAt } from './payments-rig.ts';

let store: Store;
let shop: Paying;
beforeAll(async () => {
  store = await startStore();
  shop = payingAt(store);
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

describe('a payment shows, wherever it is read', () => {
  const everywhere = async (orderId: string, paymentId: string) => [
    await shop.paymentOf(paymentId),
    (await shop.orderOf(orderId)).payment,
    (await store.send('GET', '/v1/orders?limit=1')).body.data[0].payment,
    (await store.send('POST', '/v1/payments', { orderId })).body,
  ];

  test('how much was refunded', async () => {
    const { order, payment } = await paid('PART-BACK');
    for (const shown of await everywhere(order.id, payment.id)) {
      expect(shown).toMatchObject({ amount: 29, amountRefunded: 0, dispute: null });
    }
    await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 5.5 });
    for (const shown of await everywhere(order.id, payment.id)) expect(shown).toMatchObject({ amountRefunded: 5.5 });
    await shop.quiet();
    await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 0.25 });
    await shop.quiet();
    for (const shown of await everywhere(order.id, payment.id)) {
      expect(shown).toMatchObject({ status: 'succeeded', amountRefunded: 5.75 });
    }
  });

  test('a dispute, and how it ended', async () => {
    const { order, payment, intent } = await paid('CHARGED-BACK', 'pm_card_createDispute');
    await until(async () => (await shop.paymentOf(payment.id)).dispute === 'open');
    for (const shown of await everywhere(order.id, payment.id)) expect(shown).toMatchObject({ dispute: 'open' });
    const dispute = (await shop.state()).disputes.find((of) => of.payment_intent === intent);
    await shop.emulator('POST', `disputes/${dispute?.id}/close`, { status: 'lost' });
    await until(async () => (await shop.paymentOf(payment.id)).dispute === 'lost');
    for (const shown of await everywhere(order.id, payment.id)) {
      expect(shown).toMatchObject({ status: 'succeeded', amountRefunded: 0, dispute: 'lost' });
    }
  });
});
