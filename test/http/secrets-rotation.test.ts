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
  const buyers = paymentFixture(store);
  const payload = JSON.stringify({ id: 'evt_x', object: 'event', type: 'nothing.known', data: { object: {} } });
  const status = async (secret: string) => (await buyers.deliver(payload, { secret })).status;
  expect([await status('whsec_dev'), await status('whsec_next')]).toEqual([200, 200]);
  for (const secret of ['whsec_gone', 'whsec_dev, whsec_next', ' whsec_next']) {
    expect([secret, await status(secret)]).toEqual([secret, 400]);
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
  const [old, next] = [await store.database.key(), await store.database.key()];
  await addProduct(store, 'KEYED', 50);
  const statuses = new Set<number>();
  let selling = true;
  let key = old;
  const client = (async () => {
    while (selling) statuses.add((await store.send('POST', '/v1/orders', oneLine('KEYED'), { key })).status);
  })();
  const sold = async () => {
    const [row] = await store.database.query<{ n: number }>('select count(*)::int as n from orders.orders');
    return row?.n ?? 0;
  };
  const after = async (more: number) => {
    const before = await sold();
    await until(async () => (await sold()) >= before + more);
  };
  await after(3);
  key = next;
  await after(3); // requests with the old key have ended
  await store.database.query('update platform.api_keys set revoked_at = now() where key_hash = $1', [
    createHash('sha256').update(old).digest('hex'),
  ]);
  await after(3);
  selling = false;
  await client;
  expect([...statuses]).toEqual([201]);
  expect((await store.send('GET', '/v1/orders', undefined, { key: old })).status).toBe(401);
});
