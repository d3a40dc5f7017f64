import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { openCart } from '../support/carts.ts';
import { addProduct, type Store, startStore } from '../support/harness.ts';
import { home } from '../support/shipping.ts';
import { addShopper, placeOrderOf } from '../support/shoppers.ts';

let store: Store;
let publishable: string;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000' } });
  publishable = await store.database.key({ kind: 'publishable' });
  await addProduct(store, 'MUG', 1_000);
});
afterAll(() => store.close());

test('a cart does not reveal the stock of a product that is not for sale', async () => {
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

test('a shopper never waits for a lock on another shopper’s row, so response times reveal nothing about it', async () => {
  const [ada, eve] = [await addShopper(store.database), await addShopper(store.database)];
  const { id } = await placeOrderOf(store, ada.id, 'MUG');
  const client = new pg.Client(store.database.url);
  await client.connect();
  await client.query('begin');
  await client.query('select from orders.orders where id = $1 for update', [id]);
  const started = Date.now();
  const cancelled = await store.send('POST', `/v1/orders/${id}/cancel`, {}, { key: eve.session });
  const paid = await store.send('POST', '/v1/payments', { orderId: id }, { key: publishable });
  const waitedMs = Date.now() - started;
  await client.query('rollback');
  await client.end();
  expect([cancelled.body.code, paid.body.code, waitedMs < 3_000]).toEqual(['not_found', 'validation_failed', true]);
});

test('a customer who joins a campaign is not erased until the place is stored, and then has it', async () => {
  const fixture = campaignFixture(store);
  const campaign = await fixture.start('RACE', 5, { minParticipants: 4 });
  const ada = await addShopper(store.database);
  const client = new pg.Client(store.database.url);
  await client.connect();
  await client.query('begin');
  await client.query('select from group_commerce.group_commerce_campaigns where id = $1 for update', [campaign.id]);
  const joining = store.send(
    'POST',
    `/v1/campaigns/${campaign.id}/join`,
    { shippingAddress: home },
    { key: ada.session },
  );
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const erasing = store.send('DELETE', `/v1/customers/${ada.id}`);
  await new Promise((resolve) => setTimeout(resolve, 500));
  await client.query('commit');
  await client.end();
  const [joined, erased] = await Promise.all([joining, erasing]);
  expect([joined.status, erased.status, erased.body.code]).toEqual([201, 409, 'conflict']);
});
