import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { addDiscount, clearTerms, openCart } from '../support/carts.ts';
import { addProduct, cronUntil, type Store, startStore } from '../support/harness.ts';
import { eventsOf, type PaymentFixture, paymentFixture } from '../support/payments.ts';

let store: Store;
let shop: PaymentFixture;
let publishable: string;
beforeAll(async () => {
  store = await startStore();
  shop = paymentFixture(store);
  publishable = await store.database.key({ kind: 'publishable' });
});
afterEach(() => clearTerms(store));
afterAll(() => store.close());

const inMinutes = (count: number) => new Date(Date.now() + count * 60_000);
const newProduct = (inventory = 10, price = 10) => addProduct(store, `X-${randomUUID().slice(0, 8)}`, inventory, price);
const fill = (sku: string, quantity = 1, more: Record<string, unknown> = {}) =>
  openCart(store, { items: [{ sku, quantity }], email: `${randomUUID()}@example.com`, ...more }, publishable);
test('a cart whose subtotal is too large for an order has a message, whatever its discounts', async () => {
  const { sku } = await newProduct(1_000_000, 1_000);
  await addDiscount(store, 'GIFT', 100);
  const cart = await fill(sku, 100_000);
  const { body } = await cart.send('PATCH', '', { discountCodes: ['GIFT'] });
  const detail = 'The subtotal of 100000000.00 USD is too much: it must be below 100000000.';
  expect(body).toMatchObject({ totals: { total: 0 }, messages: [{ code: 'total_not_chargeable', detail }] });
  expect((await cart.checkout(0)).body.code).toBe('cart_incomplete');
  const order = (quantity: number) =>
    store.send('POST', '/v1/orders', { customerId: 'c', items: [{ sku, quantity }], discountCodes: ['gift'] });
  expect((await order(100_000)).body.errors).toEqual([{ pointer: '/items', detail }]);
  expect((await order(99_999)).body).toMatchObject({ subtotal: 99_999_000, discountTotal: 99_999_000, total: 0 });
});

test('a cart that was changed after its order failed shows the order, once that is paid late', async () => {
  const { sku } = await newProduct();
  const { sku: other } = await newProduct(10, 7);
  const cart = await fill(sku);
  const { order, payment } = (await cart.checkout()).body;
  await cronUntil(store, inMinutes(20), async () => (await cart.send('GET', '')).body.status === 'open');
  await cart.send('PATCH', '', {
    items: [
      { sku: other, quantity: 3 },
      { sku, quantity: 2 },
    ],
  });
  const event = eventsOf(payment.id, payment.stripePaymentIntentId, 1000, {
    orderId: order.id,
    tenant: 'default',
  }).succeeded();
  expect((await shop.deliver(event)).status).toBe(200);
  expect((await cart.send('GET', '')).body).toMatchObject({
    ...{ status: 'completed', orderId: order.id, totals: { subtotal: 10, total: 10 } },
    items: [{ sku, quantity: 1, price: 10, total: 10 }],
  });
});
