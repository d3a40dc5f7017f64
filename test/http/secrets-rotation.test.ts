import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';
import { home, shop, sign } from '../support/shipping.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore({
    variables: {
      STRIPE_WEBHOOK_SECRET: 'whsec_dev, whsec_next',
      SHIPPING_WEBHOOK_SECRET: 'shipping_old,shipping_new',
    },
  });
});
afterAll(() => store.close());

test('while Stripe’s webhook secret is rotated, events signed with the old or the new secret are accepted, and no others', async () => {
  const payments = paymentFixture(store);
  const payload = JSON.stringify({ id: 'evt_x', object: 'event', type: 'nothing.known', data: { object: {} } });
  const statusFor = async (secret: string) => (await payments.deliver(payload, { secret })).status;
  expect([await statusFor('whsec_dev'), await statusFor('whsec_next')]).toEqual([200, 200]);
  for (const secret of ['whsec_gone', 'whsec_dev, whsec_next', ' whsec_next']) {
    expect([secret, await statusFor(secret)]).toEqual([secret, 400]);
  }
});

test('while a carrier’s webhook secret is rotated, updates signed with the old or the new secret are accepted', async () => {
  const { free, shipped } = shop(() => store);
  await addProduct(store, 'GIFT', 10, 0);
  const { trackingNumber, id } = await shipped(await free(home));
  const update = (status: string, secret: string) => {
    const body = JSON.stringify({ eventId: status, trackingNumber, status, occurredAt: new Date().toISOString() });
    const headers = { 'x-signature': sign(body, secret) };
    return store.send('POST', '/webhooks/shipping/manual', body, { key: null, headers });
  };
  expect((await update('in_transit', 'shipping_old')).status).toBe(200);
  expect((await update('delivered', 'shipping_gone')).status).toBe(400);
  expect((await update('delivered', 'shipping_old,shipping_new')).status).toBe(400);
  expect((await update('delivered', 'shipping_new')).status).toBe(200);
  expect((await store.send('GET', `/v1/shipments/${id}`)).body.status).toBe('delivered');
});

test('a tenant’s key is rotated without a rejected request, because the old key works until it is revoked', async () => {
  const [oldKey, newKey] = [await store.database.key(), await store.database.key()];
  await addProduct(store, 'KEYED', 50);
  const statuses = new Set<number>();
  let selling = true;
  let key = oldKey;
  const client = (async () => {
    while (selling) statuses.add((await store.send('POST', '/v1/orders', oneLine('KEYED'), { key })).status);
  })();
  const countOrders = async () => {
    const [row] = await store.database.query<{ n: number }>('select count(*)::int as n from orders.orders');
    return row?.n ?? 0;
  };
  const untilOrdersAdded = async (count: number) => {
    const before = await countOrders();
    await until(async () => (await countOrders()) >= before + count);
  };
  await untilOrdersAdded(3);
  key = newKey;
  await untilOrdersAdded(3); // by then, requests with the old key have ended
  await store.database.query('update platform.api_keys set revoked_at = now() where key_hash = $1', [
    createHash('sha256').update(oldKey).digest('hex'),
  ]);
  await untilOrdersAdded(3);
  selling = false;
  await client;
  expect([...statuses]).toEqual([201]);
  expect((await store.send('GET', '/v1/orders', undefined, { key: oldKey })).status).toBe(401);
});
