import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';
import { secret, shop, sign } from '../support/shipping.ts';

let store: Store;
const { shipped, reaches } = shop(() => store);
beforeAll(async () => {
  store = await startStore({ variables: { SHIPPING_WEBHOOK_SECRET: secret } });
  await addProduct(store, 'GIFT', 100, 0);
  await addProduct(store, 'TEE', 100, 10);
});
afterAll(() => store.close());

const home = { name: 'Zenobia Quibblethwaite', line1: '77 Xylophone Crescent', city: 'Vlorptown', country: 'GB' };
const personal = ['Zenobia', 'Quibblethwaite', 'Xylophone', 'Vlorptown'];
const addCustomer = async (email: string) =>
  (
    await store.send('POST', '/v1/customers', {
      ...{ email, name: home.name, phone: '+44 20 7946 0000', addresses: [home], metadata: { nickname: 'Zenobia' } },
    })
  ).body.id as string;
const remove = (id: string) => store.send('DELETE', `/v1/customers/${id}`);

/** Every row of every table, and every stored label, that holds one of these texts. */
async function findTexts(texts: string[]): Promise<string[]> {
  const tables = await store.database.query<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables
     where schemaname not in ('pg_catalog', 'information_schema')`,
  );
  const found: string[] = [];
  for (const { name } of tables) {
    const rows = await store.database.query<{ text: string }>(
      `select t::text as text from ${name} t where ${texts.map((_, i) => `t::text ilike '%' || $${i + 1} || '%'`).join(' or ')}`,
      texts,
    );
    found.push(...rows.map(({ text }) => `${name}: ${text}`));
  }
  return found;
}

test('after a customer is erased, no table, event or log entry holds the e-mail, name or address', async () => {
  const email = 'zenobia.quibblethwaite@example.com';
  const customerId = await addCustomer(email);
  const order = {
    ...{ customerId, items: [{ sku: 'GIFT', quantity: 1 }], shippingAddress: home, billingAddress: home, email },
    ...{ metadata: { note: 'for Zenobia' } },
  };
  const { body: placed } = await store.send('POST', '/v1/orders', order);
  await reaches(placed.id, 'confirmed');
  const { id: shipmentId, trackingNumber } = await shipped(placed.id);
  await store.send('GET', `/v1/shipments/${shipmentId}/label`);

  const early = await remove(customerId);
  expect([early.status, early.body.code, early.body.detail]).toEqual([
    409,
    'conflict',
    `The order ${placed.id} is not finished. Ship or cancel it first.`,
  ]);
  expect((await store.send('GET', `/v1/customers/${customerId}`)).status).toBe(200);

  const occurredAt = new Date().toISOString();
  const update = JSON.stringify({ eventId: 'a', trackingNumber, status: 'delivered', occurredAt });
  const headers = { 'x-signature': sign(update) };
  await store.send('POST', '/webhooks/shipping/manual', update, { key: null, idempotencyKey: null, headers });
  const cart = randomUUID();
  await store.database.query(
    `insert into orders.carts (id, tenant_id, token_hash, status, currency, customer_id, email, shipping_address,
       expires_at, created_at, updated_at)
     values ($1, 'default', repeat('a', 64), 'open', 'USD', $2, $3, $4, now(), now(), now())`,
    [cart, customerId, email, home],
  );
  await store.database.query(
    `insert into platform.customer_sessions values (repeat('b', 64), 'default', $1, now(), now() + interval '1 hour')`,
    [customerId],
  );
  const file = await store.send('GET', `/v1/customers/${customerId}/export`);
  expect(file.headers.get('content-disposition')).toBe(`attachment; filename="customer-${customerId}.json"`);
  expect(file.body).toMatchObject({
    customer: { id: customerId, email, name: home.name },
    carts: [{ id: cart, email, shippingAddress: home }],
    places: [],
    orders: [{ id: placed.id, email, shippingAddress: home }],
  });

  await until(async () => (await store.send('GET', `/v1/orders/${placed.id}`)).body.status !== 'confirmed');
  expect((await findTexts(personal)).length).toBeGreaterThan(4);
  const erased = await remove(customerId);
  expect(erased.status).toBe(204);
  await store.settled();
  expect(await findTexts([...personal, email])).toEqual([]);
  expect(JSON.stringify(store.logs())).not.toMatch(new RegExp([...personal, email].join('|'), 'i'));
  const events = await store.database.query("select payload from platform.events where topic = 'customer.erased'");
  expect(events).toEqual([{ payload: { customerId } }]);
  expect(await store.database.query('select from platform.customer_sessions')).toEqual([]);

  // Ids and amounts stay; the label cannot be made again, and a repeated request does nothing.
  expect((await store.send('GET', `/v1/orders/${placed.id}`)).body).toMatchObject({ customerId, email: null });
  expect((await store.send('GET', `/v1/shipments/${shipmentId}/label`)).body.code).toBe('conflict');
  expect((await remove(customerId)).status).toBe(404);
  expect((await addCustomer(email)).length).toBe(36);
});

test('a repeated request whose stored response was erased is not applied again', async () => {
  const customerId = await addCustomer('twice@example.com');
  const body = { customerId, items: [{ sku: 'TEE', quantity: 1 }], shippingAddress: home };
  const idempotencyKey = randomUUID();
  const { body: placed } = await store.send('POST', '/v1/orders', body, { idempotencyKey });
  await store.send('POST', `/v1/orders/${placed.id}/cancel`, {});
  expect((await remove(customerId)).status).toBe(204);
  const again = await store.send('POST', '/v1/orders', body, { idempotencyKey });
  expect([again.status, again.body.code, again.body.detail]).toEqual([404, 'not_found', 'The customer was erased.']);
});

test('a customer with an open place in a campaign is not erased', async () => {
  const customerId = await addCustomer('place@example.com');
  const { body: product } = await store.send('GET', '/v1/products/by-sku/TEE');
  const day = 86_400_000;
  const { body: campaign } = await store.send('POST', '/v1/campaigns', {
    ...{ productId: product.id, minParticipants: 2, maxParticipants: 5, price: 5 },
    startTime: new Date(Date.now() - day).toISOString(),
    endTime: new Date(Date.now() + day).toISOString(),
  });
  const joined = await store.send('POST', `/v1/campaigns/${campaign.id}/join`, {
    userId: customerId,
    shippingAddress: home,
  });
  expect(joined.status).toBe(201);
  expect((await remove(customerId)).body.code).toBe('conflict');
  await store.send('POST', `/v1/campaigns/${campaign.id}/leave`, { userId: customerId });
  expect((await remove(customerId)).status).toBe(204);
  expect(await findTexts(['place@example.com'])).toEqual([]);
});
