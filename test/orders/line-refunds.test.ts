import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';

let store: Store;
let shop: ReturnType<typeof paymentFixture>;
beforeAll(async () => {
  store = await startStore();
  shop = paymentFixture(store);
});
afterAll(() => store.close());

/** Places an order, pays for it and waits until it is confirmed. */
async function buy(items: { sku: string; quantity: number }[], fields: object = {}) {
  const placed = await store.send('POST', '/v1/orders', {
    ...{ customerId: 'c', items, expand: ['payment'], ...fields },
  });
  expect(placed.status, JSON.stringify(placed.body)).toBe(201);
  await shop.pay(placed.body.payment.stripePaymentIntentId);
  await until(async () => (await shop.orderOf(placed.body.id)).status === 'confirmed');
  return { order: placed.body, payment: placed.body.payment, intent: placed.body.payment.stripePaymentIntentId };
}
const refund = (orderId: string, body: object) => store.send('POST', `/v1/orders/${orderId}/refunds`, body);

test('a refund of units is worth their share of what was paid for the line, and puts them back into stock', async () => {
  await addProduct(store, 'SHIRT', 10, 9.99);
  await addProduct(store, 'SOCKS', 10, 5);
  const { order } = await buy([
    { sku: 'SHIRT', quantity: 3 },
    { sku: 'SOCKS', quantity: 1 },
  ]);
  const reply = await refund(order.id, { items: [{ lineId: '1', quantity: 2 }], reason: 'torn' });
  if (reply.status === 500) console.log(JSON.stringify(store.logs().slice(-3)));
  expect(reply.status, JSON.stringify(reply.body)).toBe(201);
  expect(reply.body).toMatchObject({
    ...{ amount: 19.98, currency: 'USD', status: 'pending', reason: 'torn', shipping: 0 },
    items: [{ lineId: '1', quantity: 2, amount: 19.98 }],
  });
  expect(reply.headers.get('server-timing')).toContain('1 calls');
  expect((await shop.stockOf('SHIRT'))?.quantity).toBe(9);
  await shop.quiet();
  const read = await shop.orderOf(order.id);
  expect(read).toMatchObject({
    status: 'confirmed',
    items: [{ refundedQuantity: 2 }, { refundedQuantity: 0 }],
    refunds: [{ ...reply.body, status: 'succeeded' }],
  });
  const tooMany = await refund(order.id, { items: [{ lineId: '1', quantity: 2 }] });
  expect([tooMany.status, tooMany.body.code, tooMany.body.errors]).toEqual([
    422,
    'refund_exceeds_payment',
    [{ pointer: '/items/0/quantity', detail: 'At most 1 of this line can still be refunded.' }],
  ]);
  const rest = await refund(order.id, {
    items: [
      { lineId: '1', quantity: 1 },
      { lineId: '2', quantity: 1 },
    ],
  });
  expect(rest.body.amount).toBe(14.99);
  await shop.quiet();
  expect(await shop.orderOf(order.id)).toMatchObject({ status: 'refunded', payment: { status: 'refunded' } });
  expect([await shop.stockOf('SHIRT'), await shop.stockOf('SOCKS')]).toMatchObject([
    { quantity: 10 },
    { quantity: 10 },
  ]);
  await shop.audit();
});
