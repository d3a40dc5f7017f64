import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Store, startStore } from '../support/harness.ts';
import { home } from '../support/shipping.ts';
import {
  addCartOf,
  addCustomer,
  addSession,
  addShopper,
  type Customer,
  makeCartToken,
  placeOrderOf,
  withCart,
} from '../support/shoppers.ts';

const sku = 'MUG';
let store: Store;
let publishable: string;
let ada: Customer;
let bob: Customer;
let product: { id: string };
beforeAll(async () => {
  store = await startStore();
  publishable = await store.database.key({ kind: 'publishable' });
  product = await addProduct(store, sku, 1_000);
  ada = await addShopper(store.database);
  bob = await addShopper(store.database);
});
afterAll(() => store.close());

const outcomeOf = ({ status, body }: { status: number; body: { code?: string } }) => [status, body.code];
const read = (path: string, key: string, headers: Record<string, string> = {}) =>
  store.send('GET', path, undefined, { key, headers });

describe('a session', () => {
  test('lists its own orders page by page, newest first, and no others', async () => {
    const shopper = await addShopper(store.database);
    const placed: string[] = [];
    for (let n = 0; n < 5; n++) {
      placed.unshift((await placeOrderOf(store, shopper.id, sku)).id);
      await placeOrderOf(store, bob.id, sku);
    }
    const listed: string[] = [];
    for (let path = '/v1/orders?limit=2'; path !== ''; ) {
      const { body, headers } = await read(path, shopper.session);
      expect(headers.get('server-timing')).toContain('1 calls');
      for (const order of body.data) listed.push(order.id);
      path = body.nextCursor === null ? '' : `/v1/orders?limit=2&cursor=${body.nextCursor}`;
    }
    expect(listed).toEqual(placed);
    const filtered = await read(`/v1/orders?customerId=${shopper.id}&status=cancelled`, shopper.session);
    expect(filtered.body.data).toEqual([]);
    const { body } = await read(`/v1/orders?customerId=${bob.id}`, shopper.session);
    expect(body).toMatchObject({ code: 'forbidden', detail: expect.stringContaining('its own customer') });
  });

  test('sees an order, its payment and its history as a secret key does, with one database call', async () => {
    const { id } = await placeOrderOf(store, ada.id, sku, { expand: ['payment'], shippingAddress: home });
    const { body: order } = await read(`/v1/orders/${id}`, store.key);
    const paths = [`/v1/orders/${id}`, `/v1/orders/${id}/events`, `/v1/payments/${order.payment.id}`];
    for (const path of [...paths, `/v1/orders/${id}/events?limit=1`]) {
      const own = await read(path, ada.session);
      expect([own.status, own.headers.get('server-timing')]).toEqual([200, expect.stringContaining('1 calls')]);
      expect(own.body).toEqual((await read(path, store.key)).body);
      expect(outcomeOf(await read(path, bob.session))).toEqual([404, 'not_found']);
    }
    const tag = (await read(`/v1/orders/${id}`, ada.session)).headers.get('etag') ?? '';
    expect((await read(`/v1/orders/${id}`, ada.session, { 'if-none-match': tag })).status).toBe(304);
    expect((await read(`/v1/orders/${id}`, bob.session, { 'if-none-match': tag })).status).toBe(404);
  });

  test('cancels its order while it is created, not once it is confirmed, and never with restock', async () => {
    const cancel = (id: string, body: object = {}, key = ada.session) =>
      store.send('POST', `/v1/orders/${id}/cancel`, body, { key });
    const { id } = await placeOrderOf(store, ada.id, sku);
    expect(outcomeOf(await cancel(id, {}, bob.session))).toEqual([404, 'not_found']);
    expect(outcomeOf(await cancel(id, { restock: true }))).toEqual([403, 'forbidden']);
    expect((await cancel(id, { reason: 'changed my mind' })).body.status).toBe('cancelled');
    expect((await cancel(id)).body.status).toBe('cancelled');
    const paid = await placeOrderOf(store, ada.id, sku);
    await store.database.query(`update orders.orders set status = 'confirmed' where id = $1`, [paid.id]);
    const { status, body } = await cancel(paid.id);
    expect([status, body.code, body.detail]).toEqual([
      409,
      'order_not_cancellable',
      expect.stringContaining('confirmed'),
    ]);
    expect((await cancel(paid.id, {}, store.key)).body.status).toBe('cancelled');
  });

  test('pays its order, and two shoppers with one Idempotency-Key and one body get their own answers', async () => {
    const { id } = await placeOrderOf(store, ada.id, sku);
    const pay = (key: string) =>
      store.send('POST', '/v1/payments', { orderId: id }, { key, idempotencyKey: 'one key' });
    expect(outcomeOf(await pay(bob.session))).toEqual([422, 'validation_failed']);
    const first = await pay(ada.session);
    expect([first.status, first.body.clientSecret]).toEqual([201, expect.stringMatching(/_secret_/)]);
    expect((await pay(ada.session)).headers.get('idempotent-replayed')).toBe('true');
    expect(outcomeOf(await pay(bob.session))).toEqual([422, 'validation_failed']);
    expect((await pay(store.key)).body.id).toBe(first.body.id);
    expect(outcomeOf(await pay(publishable))).toEqual([422, 'validation_failed']);
  });

  test('reads its customer without metadata, and changes name, phone and addresses only', async () => {
    const shopper = await addShopper(store.database);
    const change = (body: object, key = shopper.session, headers = {}) =>
      store.send('PATCH', `/v1/customers/${shopper.id}`, body, { key, headers });
    await change({ metadata: { note: 'pays late' }, group: 'vip' }, store.key);
    const { body, headers } = await read(`/v1/customers/${shopper.id}`, shopper.session);
    expect(body).toMatchObject({ id: shopper.id, metadata: {}, group: 'vip' });
    for (const forbidden of [
      { group: 'staff' },
      { metadata: {} },
      { email: 'x@example.com' },
      { name: 'A', group: null },
    ])
      expect([forbidden, ...outcomeOf(await change(forbidden))]).toEqual([forbidden, 403, 'forbidden']);
    const changed = await change({ name: 'Ada', phone: '1', addresses: [home] }, shopper.session, {
      'if-match': headers.get('etag') ?? '',
    });
    expect(changed.body).toMatchObject({ name: 'Ada', phone: '1', metadata: {}, group: 'vip' });
    expect((await read(`/v1/customers/${shopper.id}`, store.key)).body.metadata).toEqual({ note: 'pays late' });
    expect(outcomeOf(await change({ name: 'Bob' }, bob.session))).toEqual([404, 'not_found']);
    expect(outcomeOf(await change({ group: 'x' }, bob.session))).toEqual([403, 'forbidden']);
  });

  test('gets the prices of its customer, which nothing stores and nobody else gets', async () => {
    const vip = await addShopper(store.database);
    await store.send('PATCH', `/v1/customers/${vip.id}`, { group: 'vip' });
    const { body: list } = await store.send('POST', '/v1/price-lists', {
      ...{ name: 'VIP', currency: 'USD', audience: { customerGroup: 'vip' } },
    });
    await store.send('PUT', `/v1/price-lists/${list.id}/prices`, { prices: [{ sku, price: 7.5 }] });
    const priceOf = async (key: string, query = '') => {
      const reply = await read(`/v1/products/${product.id}/price${query}`, key);
      expect(reply.headers.get('cache-control')).toBe('no-store');
      return reply.body.price ?? reply.body.code;
    };
    for (let n = 0; n < 3; n++) {
      expect([await priceOf(vip.session), await priceOf(bob.session), await priceOf(publishable)]).toEqual([
        7.5, 10, 10,
      ]);
    }
    expect(await priceOf(vip.session, `?customerId=${vip.id}`)).toBe(7.5);
    expect(await priceOf(bob.session, `?customerId=${vip.id}`)).toBe('forbidden');
    expect(await priceOf(vip.session, '?organizationId=o-1')).toBe('forbidden');
    // A product that is cached shows the same to everybody.
    for (const key of [vip.session, bob.session, publishable, vip.session]) {
      expect((await read(`/v1/products/${product.id}`, key)).body.price).toBe(10);
    }
  });

  test('lists active products only', async () => {
    expect(outcomeOf(await read('/v1/products?status=archived', ada.session))).toEqual([403, 'forbidden']);
    expect((await read('/v1/products', ada.session)).status).toBe(200);
  });

  test('of another tenant finds nothing here, and one of a deleted customer is rejected', async () => {
    const { id } = await placeOrderOf(store, ada.id, sku);
    const customer = await addCustomer(store.database, 'acme');
    // An id is unique in a database, but a customer of one tenant could claim another's as text.
    await store.database.query('update orders.orders set customer_id = $1 where id = $2', [customer.id, id]);
    const session = await addSession(store.database, customer.id, 'acme');
    expect(outcomeOf(await read(`/v1/orders/${id}`, session))).toEqual([404, 'not_found']);
    expect((await read('/v1/orders', session)).body.data).toEqual([]);
    await store.database.query('delete from orders.customers where id = $1', [customer.id]);
    expect(outcomeOf(await read(`/v1/orders/${id}`, session))).toEqual([401, 'unauthenticated']);
  });
});

describe('a cart’s token', () => {
  test('reaches the order of its cart with a publishable key of the tenant only', async () => {
    const { id } = await placeOrderOf(store, 'guest', sku);
    const { id: foreign } = await placeOrderOf(store, 'guest', sku);
    const token = await addCartOf(store.database, id);
    await addCartOf(store.database, foreign);
    const acme = await store.database.key({ tenant: 'acme', kind: 'publishable' });
    const get = (orderId: string, key: string, cart: string) =>
      store.send('GET', `/v1/orders/${orderId}`, undefined, withCart(key, cart));
    expect((await get(id, publishable, token)).body.id).toBe(id);
    for (const [orderId, key, cart] of [
      [foreign, publishable, token],
      [id, publishable, makeCartToken()],
      [id, publishable, ''],
      [id, acme, token],
    ] as const)
      expect(outcomeOf(await get(orderId, key, cart))).toEqual([404, 'not_found']);
    expect(outcomeOf(await read(`/v1/orders/${id}`, publishable))).toEqual([404, 'not_found']);
    const pay = (orderId: string) => store.send('POST', '/v1/payments', { orderId }, withCart(publishable, token));
    expect((await pay(id)).status).toBe(201);
    expect(outcomeOf(await pay(foreign))).toEqual([422, 'validation_failed']);
    expect(outcomeOf(await store.send('POST', `/v1/orders/${id}/cancel`, {}, withCart(publishable, token)))).toEqual([
      ...[403, 'forbidden'],
    ]);
  });

  test('does not matter with a secret key', async () => {
    const { id } = await placeOrderOf(store, 'guest', sku);
    expect((await store.send('GET', `/v1/orders/${id}`, undefined, withCart(store.key, makeCartToken()))).status).toBe(
      200,
    );
  });
});

describe('a page', () => {
  const origin = 'https://shop.example';

  test('can read the answers to a session and to a Cart-Token, errors included, from the key’s origins only', async () => {
    const bound = await store.database.key({ kind: 'publishable', origins: [origin] });
    const { id } = await placeOrderOf(store, ada.id, sku);
    const token = await addCartOf(store.database, id);
    const allowed = async (path: string, key: string, from: string, cart = token) =>
      (await read(path, key, { origin: from, 'cart-token': cart })).headers.get('access-control-allow-origin');
    expect(await allowed(`/v1/orders/${id}`, bound, origin)).toBe(origin);
    expect(await allowed(`/v1/orders/${id}`, bound, origin, 'x')).toBe(origin); // 404
    expect(await allowed(`/v1/orders/${id}`, bound, 'https://evil.example')).toBeNull();
    expect(await allowed(`/v1/orders/${id}`, ada.session, origin)).toBe(origin);
    expect(await allowed(`/v1/orders?customerId=${bob.id}`, ada.session, origin)).toBe(origin); // 403
    expect(await allowed(`/v1/orders/${id}`, store.key, origin)).toBeNull();
  });
});
