import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCart, openSession } from '../support/carts.ts';
import { addProduct, type Store, startStore } from '../support/harness.ts';

let store: Store;
let publishable: string;
beforeAll(async () => {
  store = await startStore();
  publishable = await store.database.key({ kind: 'publishable' });
});
afterAll(() => store.close());

const newSku = async (inventory = 10, price = 10, more: Record<string, unknown> = {}) => {
  const sku = `C-${randomUUID().slice(0, 8)}`;
  await addProduct(store, sku, inventory, price, more);
  return sku;
};
const codes = (body: { messages: { code: string; pointer: string }[] }) =>
  body.messages.map(({ code, pointer }) => `${code} ${pointer}`);

test('a browser makes, reads and changes a cart, each with one database call', async () => {
  const sku = await newSku(10, 10, { compareAtPrice: 12 });
  const made = await store.send(
    'POST',
    '/v1/carts',
    { currency: 'USD', items: [{ sku, quantity: 2 }] },
    { key: publishable },
  );
  expect(made.status, JSON.stringify(made.body)).toBe(201);
  expect(made.body.token).toMatch(/^ct_[A-Za-z0-9]{32}$/);
  const headers = { 'cart-token': made.body.token };
  const read = await store.send('GET', `/v1/carts/${made.body.id}`, undefined, { key: publishable, headers });
  expect(read.status).toBe(200);
  expect(read.body).toMatchObject({
    ...{ status: 'open', currency: 'USD', customerId: null, email: null, orderId: null },
    items: [
      {
        sku,
        name: `Product ${sku}`,
        quantity: 2,
        price: 10,
        compareAtPrice: 12,
        subtotal: 20,
        total: 20,
        available: 10,
      },
    ],
    totals: { subtotal: 20, discount: 0, shipping: 0, tax: 0, total: 20 },
    ...{ taxLines: [], taxIncluded: false, discounts: [], shippingOptions: [] },
    messages: [{ type: 'error', severity: 'requires_buyer_input', code: 'missing', pointer: '/email' }],
  });
  const patched = await store.send(
    'PATCH',
    `/v1/carts/${made.body.id}`,
    { email: 'ada@example.com', metadata: { gift: 'yes' }, purchaseOrderNumber: 'PO-1' },
    { key: publishable, headers: { ...headers, 'if-match': read.headers.get('etag') ?? '' } },
  );
  expect(patched.status, JSON.stringify(patched.body)).toBe(200);
  expect(patched.body).toMatchObject({ email: 'ada@example.com', messages: [], metadata: { gift: 'yes' } });
  for (const reply of [made, read, patched]) expect(reply.headers.get('server-timing')).toContain('1 calls');
  const stale = await store.send(
    'PATCH',
    `/v1/carts/${made.body.id}`,
    { email: null },
    {
      ...{ key: publishable, headers: { ...headers, 'if-match': read.headers.get('etag') ?? '' } },
    },
  );
  expect([stale.status, stale.body.code]).toEqual([412, 'version_mismatch']);
  const cleared = await store.send(
    'PATCH',
    `/v1/carts/${made.body.id}`,
    { email: null, metadata: null, purchaseOrderNumber: null },
    {
      ...{ key: publishable, headers },
    },
  );
  expect(cleared.body).toMatchObject({ email: null, metadata: {}, purchaseOrderNumber: null });
});

test('a line keeps its id while its SKU stays, and lines of one SKU are merged', async () => {
  const [first, second] = [await newSku(), await newSku()];
  const cart = await openCart(
    store,
    {
      items: [
        { sku: first, quantity: 1 },
        { sku: first, quantity: 2 },
      ],
    },
    publishable,
  );
  const [line] = (await cart.send('GET', '')).body.items;
  expect(line.quantity).toBe(3);
  const replaced = await cart.send('PATCH', '', {
    items: [
      { sku: second, quantity: 1 },
      { sku: first, quantity: 4 },
    ],
  });
  expect(replaced.body.items).toMatchObject([{ sku: second }, { id: line.id, sku: first, quantity: 4 }]);
  const set = await cart.send('PUT', `/items/${first}`, { quantity: 5 });
  expect(set.body.items).toMatchObject([{ sku: second }, { id: line.id, quantity: 5 }]);
  const removed = await cart.send('PUT', `/items/${second}`, { quantity: 0 });
  expect(removed.body.items).toMatchObject([{ id: line.id, sku: first }]);
  const emptied = await cart.send('DELETE', `/items/${first}`);
  expect([emptied.status, emptied.body.items, emptied.body.totals.total]).toEqual([200, [], 0]);
  expect(codes(emptied.body)).toEqual(['cart_empty /items', 'missing /email']);
  const again = await cart.send('DELETE', `/items/${first}`);
  expect(again.status).toBe(200);
});

test('a cart of 200 lines is read in one call, and a 201st line is rejected', async () => {
  const skus = Array.from({ length: 201 }, (_, n) => `L-${n}-${randomUUID().slice(0, 8)}`);
  await store.database.query(
    `insert into catalog.products (id, sku, name, price, currency, tenant_id, status, created_at, updated_at)
     select gen_random_uuid()::text, s, s, 1, 'USD', 'default', 'active', now(), now() from unnest($1::text[]) s`,
    [skus],
  );
  await store.database.query(
    `insert into inventory.inventory (sku, tenant_id, quantity, updated_at) select s, 'default', 9, now() from unnest($1::text[]) s`,
    [skus],
  );
  const items = skus.slice(0, 200).map((sku) => ({ sku, quantity: 1 }));
  const cart = await openCart(store, { items, email: 'ada@example.com' }, publishable);
  const read = await cart.send('GET', '');
  expect([read.body.items.length, read.body.totals.total, read.body.messages]).toEqual([200, 200, []]);
  const refused = await cart.send('PUT', `/items/${skus[200]}`, { quantity: 1 });
  expect([refused.status, refused.body.errors]).toMatchObject([422, [{ pointer: '/items' }]]);
  const placed = await cart.checkout();
  expect(placed.status, JSON.stringify(placed.body)).toBe(201);
  expect(placed.body.order.items).toHaveLength(200);
});

test('a missing or wrong token, and the token of another tenant, are 404', async () => {
  const cart = await openCart(store, {}, publishable);
  const path = `/v1/carts/${cart.id}`;
  const other = await store.database.key({ kind: 'publishable', tenant: 'acme' });
  const otherSecret = await store.database.key({ tenant: 'acme' });
  const wrong = { 'cart-token': `ct_${'x'.repeat(32)}` };
  const right = { 'cart-token': cart.token };
  const replies = await Promise.all([
    store.send('GET', path, undefined, { key: publishable }),
    store.send('GET', path, undefined, { key: publishable, headers: wrong }),
    store.send('GET', path, undefined, { key: other, headers: right }),
    store.send('GET', path, undefined, { key: otherSecret, headers: right }),
    store.send('PATCH', path, { email: 'eve@example.com' }, { key: publishable, headers: wrong }),
    store.send('PUT', `${path}/items/A`, { quantity: 1 }, { key: publishable, headers: wrong }),
    store.send('DELETE', `${path}/items/A`, undefined, { key: publishable, headers: wrong }),
    store.send('POST', `${path}/checkout`, { expectedTotal: 1 }, { key: publishable, headers: wrong }),
    store.send('POST', `${path}/reopen`, undefined, { key: publishable, headers: wrong }),
    store.send('POST', `${path}/cancel`, undefined, { key: other, headers: right }),
  ]);
  expect(replies.map(({ status, body }) => [status, body.code])).toEqual(replies.map(() => [404, 'not_found']));
  expect((await store.send('GET', path)).status).toBe(200); // a secret key reaches every cart of its tenant
});

test('only a secret key names a customer or an organization', async () => {
  for (const field of [{ customerId: 'customer-1' }, { organizationId: 'org-1' }]) {
    const reply = await store.send('POST', '/v1/carts', { currency: 'USD', ...field }, { key: publishable });
    expect([reply.status, reply.body.code]).toEqual([403, 'forbidden']);
  }
  const fields = { customerId: 'customer-1', organizationId: 'org-1', source: { channel: 'agent', id: '7' } };
  const made = await store.send('POST', '/v1/carts', { currency: 'USD', ...fields });
  expect([made.status, made.body]).toMatchObject([201, fields]);
});

test('without a currency a cart has that of the shop, and otherwise that of its first product', async () => {
  const sku = await newSku();
  const refused = await store.send('POST', '/v1/carts', {}, { key: publishable });
  expect([refused.status, refused.body.errors]).toMatchObject([422, [{ pointer: '/currency' }]]);
  const made = await store.send('POST', '/v1/carts', { items: [{ sku, quantity: 1 }] }, { key: publishable });
  expect(made.body.currency).toBe('USD');
  await store.database.query(`update platform.tenants set currency = 'EUR' where id = 'default'`);
  const ofShop = await store.send('POST', '/v1/carts', { items: [{ sku, quantity: 1 }] }, { key: publishable });
  await store.database.query(`update platform.tenants set currency = null where id = 'default'`);
  expect([ofShop.body.currency, codes(ofShop.body)[0]]).toEqual(['EUR', 'currency_mismatch /items/0/sku']);
  expect(ofShop.body.items).toMatchObject([{ price: null, subtotal: null, total: null }]);
});

test('the token is not stored, and a repeated request does not return it', async () => {
  const options = { idempotencyKey: randomUUID() };
  const made = await store.send('POST', '/v1/carts', { currency: 'USD' }, options);
  const repeated = await store.send('POST', '/v1/carts', { currency: 'USD' }, options);
  expect([repeated.status, repeated.headers.get('idempotent-replayed'), repeated.body.id]).toEqual([
    201,
    'true',
    made.body.id,
  ]);
  expect([typeof made.body.token, repeated.body.token]).toEqual(['string', null]);
  const [found] = await store.database.query<{ n: number }>(
    `select (select count(*) from platform.idempotency where answer::text like '%' || $1 || '%' or key like '%' || $1 || '%')
       + (select count(*) from orders.carts c where c::text like '%' || $1 || '%') as n`,
    [made.body.token],
  );
  expect(Number(found?.n)).toBe(0);
});

test('two shoppers who use one Idempotency-Key with a publishable key have two carts', async () => {
  const options = { key: publishable, idempotencyKey: 'the-same' };
  const [one, two] = [
    await store.send('POST', '/v1/carts', { currency: 'USD' }, options),
    await store.send('POST', '/v1/carts', { currency: 'USD' }, options),
  ];
  expect([one.status, two.status]).toEqual([201, 201]);
  expect(one.body.id).not.toBe(two.body.id);
  expect(two.body.token).toMatch(/^ct_/);
});

test("a session's cart is its customer's, and a session claims the cart of its token with its next write", async () => {
  const { body: customer } = await store.send('POST', '/v1/customers', { email: `${randomUUID()}@example.com` });
  const session = await openSession(store, customer.id);
  const own = await store.send('POST', '/v1/carts', { currency: 'USD' }, { key: session });
  expect([own.status, own.body]).toMatchObject([201, { customerId: customer.id, email: customer.email }]);
  expect((await store.send('GET', `/v1/carts/${own.body.id}`, undefined, { key: session })).status).toBe(200);

  const guest = await openCart(store, {}, publishable);
  const path = `/v1/carts/${guest.id}`;
  expect((await store.send('GET', path, undefined, { key: session })).status).toBe(404);
  const read = await guest.send('GET', '', undefined, { key: session });
  expect([read.status, read.body.customerId]).toEqual([200, null]);
  const claimed = await guest.send('PATCH', '', { phone: '1' }, { key: session });
  expect(claimed.body).toMatchObject({ customerId: customer.id, email: customer.email, phone: '1' });
  expect((await store.send('GET', path, undefined, { key: session })).status).toBe(200);

  const { body: second } = await store.send('POST', '/v1/customers', { email: `${randomUUID()}@example.com` });
  const thief = await openSession(store, second.id);
  expect((await store.send('PATCH', path, { phone: '2' }, { key: thief })).status).toBe(404);
  const shared = await guest.send('PATCH', '', { phone: '3' }, { key: thief });
  expect(shared.body.customerId).toBe(customer.id); // a cart that has a customer is claimed by no other
});

test('a cart that is ordered or has ended cannot be changed', async () => {
  const sku = await newSku();
  const cart = await openCart(store, { items: [{ sku, quantity: 1 }], email: 'ada@example.com' }, publishable);
  const placed = await cart.checkout();
  const replies = await Promise.all([
    cart.send('PATCH', '', { phone: '1' }),
    cart.send('PUT', `/items/${sku}`, { quantity: 2 }),
    cart.send('DELETE', `/items/${sku}`),
    cart.send('POST', '/cancel'),
    cart.checkout(10),
  ]);
  expect(replies.map(({ status, body }) => [status, body.code, body.orderId])).toEqual(
    replies.map(() => [409, 'cart_not_open', placed.body.order.id]),
  );
  const other = await openCart(store, {}, publishable);
  for (let turn = 0; turn < 2; turn++) {
    const cancelled = await other.send('POST', '/cancel');
    expect([cancelled.status, cancelled.body.status]).toEqual([200, 'cancelled']);
  }
  expect((await other.send('PATCH', '', { phone: '1' })).body.code).toBe('cart_not_open');
  expect((await other.send('POST', '/reopen')).body.code).toBe('cart_not_open');
});
