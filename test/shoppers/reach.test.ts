import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCart } from '../support/carts.ts';
import { addProduct, type Store, startStore } from '../support/harness.ts';
import { home } from '../support/shipping.ts';
import { addShopper } from '../support/shoppers.ts';

let store: Store;
let publishable: string;
beforeAll(async () => {
  store = await startStore();
  publishable = await store.database.key({ kind: 'publishable' });
  await addProduct(store, 'MUG', 1_000);
});
afterAll(() => store.close());

test('a cart does not tell how many units there are of a product that is not for sale', async () => {
  const hidden = await addProduct(store, 'HIDDEN', 57);
  await store.send('DELETE', `/v1/products/${hidden.id}`);
  const cart = await openCart(store, { items: [{ sku: 'HIDDEN', quantity: 1 }] }, publishable);
  expect((await cart.send('GET', '')).body.items).toMatchObject([{ sku: 'HIDDEN', name: null, available: 0 }]);
});

test('an erased customer’s cart whose order has ended takes no more personal data', async () => {
  const { id, session } = await addShopper(store.database);
  const cart = await openCart(store, { items: [{ sku: 'MUG', quantity: 1 }] }, session);
  const { body } = await cart.checkout();
  await store.send('POST', `/v1/orders/${body.order.id}/cancel`, {});
  expect((await store.send('DELETE', `/v1/customers/${id}`)).status).toBe(204);
  const late = await cart.send('PATCH', '', { email: 'late@example.com' }, { key: publishable });
  expect([late.status, late.body.code]).toEqual([409, 'cart_not_open']);
});

test('a cart cannot be used to store large texts', async () => {
  const cart = await openCart(store, {}, publishable);
  const extra = Object.fromEntries(Array.from({ length: 1_000 }, (_, n) => [`field ${n}`, 'x'.repeat(500)]));
  for (const field of ['shippingAddress', 'billingAddress']) {
    const { status, body } = await cart.send('PATCH', '', { [field]: { ...home, ...extra } });
    expect([field, status, body.errors?.[0].pointer]).toEqual([field, 422, `/${field}`]);
    const name = await cart.send('PATCH', '', { [field]: { ...home, ['x'.repeat(100_000)]: 'y' } });
    expect([field, name.status]).toEqual([field, 422]);
  }
  expect((await cart.send('PATCH', '', { shippingAddress: home })).status).toBe(200);
});
