import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  addDiscount,
  address,
  addShippingOption,
  addTaxRate,
  clearTerms,
  openCart,
  openSession,
} from '../support/carts.ts';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';
import { type PaymentFixture, paymentFixture } from '../support/payments.ts';

let store: Store;
let shop: PaymentFixture;
let publishable: string;
beforeAll(async () => {
  store = await startStore();
  shop = paymentFixture(store);
  publishable = await store.database.key({ kind: 'publishable' });
});
afterEach(async () => {
  await shop.clearFaults();
  await clearTerms(store);
});
afterAll(() => store.close());

const newProduct = (inventory = 10, price = 10) => addProduct(store, `B-${randomUUID().slice(0, 8)}`, inventory, price);
const fill = (sku: string, quantity = 1, more: Record<string, unknown> = {}) =>
  openCart(store, { items: [{ sku, quantity }], email: `${randomUUID()}@example.com`, ...more }, publishable);
const codes = (body: { messages: { code: string; pointer: string }[] }) =>
  body.messages.map(({ code, pointer }) => `${code} ${pointer}`);
const ordersOf = (cartId: string) =>
  store.database.query<{ id: string; status: string }>(
    'select id, status from orders.orders where cart_id = $1 order by id',
    [cartId],
  );

describe('checkout', () => {
  test('makes the order of a cart with its payment, in one database call, and the buyer pays it', async () => {
    const { sku } = await newProduct();
    await addTaxRate(store, 'FR', 20);
    const optionId = await addShippingOption(store, 'FR', 5);
    await addDiscount(store, 'SPRING', 10);
    const cart = await fill(sku, 3, { source: { channel: 'web' } });
    const bare = await cart.send('GET', '');
    expect(bare.body).toMatchObject({
      totals: { subtotal: 30, discount: 0, shipping: null, tax: null, total: null },
      taxLines: null,
    });
    expect(codes(bare.body)).toEqual([
      'missing /shippingAddress',
      'missing /shippingOptionId',
      'tax_unknown /shippingAddress',
    ]);
    const incomplete = await cart.checkout(30);
    expect([incomplete.status, incomplete.body.code]).toEqual([422, 'cart_incomplete']);
    expect(incomplete.body.messages).toEqual(bare.body.messages);
    const change = { shippingAddress: address, shippingOptionId: optionId, discountCodes: ['spring'], phone: '+33 1' };
    const filled = await cart.send('PATCH', '', change);
    const [line] = filled.body.items;
    expect(filled.body).toMatchObject({
      totals: { subtotal: 30, discount: 3, shipping: 5, tax: 6.4, total: 38.4 },
      items: [{ discount: 3, tax: 5.4, total: 32.4 }],
      discounts: [{ code: 'SPRING', amount: 3, allocations: [{ lineId: line.id, amount: 3 }] }],
      taxLines: [{ name: 'VAT', rate: 20, taxable: 32, amount: 6.4 }],
      shippingOptions: [{ id: optionId, name: 'Post', price: 5, minDays: null, maxDays: null }],
      messages: [],
    });
    await store.settled();
    const placed = await cart.checkout(38.4);
    expect(placed.status, JSON.stringify(placed.body)).toBe(201);
    expect(placed.headers.get('server-timing')).toContain('1 calls');
    const { order, payment } = placed.body;
    expect(order).toMatchObject({
      ...{ cartId: cart.id, customerId: cart.id, source: { channel: 'web' }, status: 'created', currency: 'USD' },
      ...{ subtotal: 30, discountTotal: 3, shippingTotal: 5, shippingTax: 1, taxTotal: 6.4, total: 38.4 },
      items: [{ id: '1', sku, name: `Product ${sku}`, quantity: 3, price: 10, discount: 3, tax: 5.4, total: 32.4 }],
      shippingAddress: { ...address, phone: '+33 1' },
      ...{ shippingOption: { id: optionId, name: 'Post' }, reservation: { status: 'held' }, payment },
    });
    expect(payment).toMatchObject({ orderId: order.id, amount: 38.4, status: 'pending' });
    expect(payment.clientSecret).toMatch(/^pi_\w+_secret_/);
    const ordered = await cart.send('GET', '');
    expect(ordered.body).toMatchObject({
      status: 'ordered',
      orderId: order.id,
      totals: filled.body.totals,
      messages: [],
    });
    await shop.pay(payment.stripePaymentIntentId);
    await until(async () => (await cart.send('GET', '')).body.status === 'completed');
    await shop.quiet();
    await shop.audit();
    expect((await shop.historyOf(order.id)).slice(0, 3)).toEqual([
      'order.created',
      'inventory.reserved',
      'payment.created',
    ]);
  });

  test('of a cart that costs nothing has no payment, and the order is confirmed', async () => {
    const { sku } = await newProduct(5, 0);
    const cart = await fill(sku);
    const placed = await cart.checkout(0);
    expect([placed.status, placed.body.payment]).toEqual([201, null]);
    await until(async () => (await cart.send('GET', '')).body.status === 'completed');
  });

  test("takes the prices of the customer's lists, and makes the order the customer's", async () => {
    const { sku } = await newProduct();
    const { body: customer } = await store.send('POST', '/v1/customers', {
      email: `${randomUUID()}@example.com`,
      group: 'vip',
    });
    const { body: list } = await store.send('POST', '/v1/price-lists', {
      ...{ name: 'VIP', currency: 'USD', audience: { customerGroup: 'vip' } },
    });
    await store.send('PUT', `/v1/price-lists/${list.id}/prices`, { prices: [{ sku, minQuantity: 2, price: 7 }] });
    const session = await openSession(store, customer.id);
    const cart = await openCart(store, { items: [{ sku, quantity: 1 }] }, session);
    expect((await cart.send('GET', '')).body.items).toMatchObject([{ price: 10 }]);
    expect((await cart.send('PUT', `/items/${sku}`, { quantity: 2 })).body.items).toMatchObject([{ price: 7 }]);
    const placed = await cart.checkout(14);
    expect(placed.body.order).toMatchObject({ customerId: customer.id, total: 14, email: customer.email });
  });

  test('twice with one key is one order', async () => {
    const { sku } = await newProduct();
    const cart = await fill(sku);
    const key = randomUUID();
    const first = await cart.checkout(10, key);
    const second = await cart.checkout(10, key);
    expect([second.status, second.headers.get('idempotent-replayed'), second.body]).toEqual([201, 'true', first.body]);
    expect(await ordersOf(cart.id)).toHaveLength(1);
    const [stored] = await store.database.query<{ answer: string }>(
      'select answer::text from platform.idempotency where key = $1',
      [key],
    );
    expect(stored?.answer).not.toContain(first.body.payment.clientSecret);
    expect(stored?.answer).not.toContain(cart.token);
  });

  test('needs an Idempotency-Key', async () => {
    const cart = await fill((await newProduct()).sku);
    const reply = await cart.send('POST', '/checkout', { expectedTotal: 10 }, { key: store.key, idempotencyKey: null });
    expect([reply.status, reply.body.code]).toEqual([400, 'idempotency_key_required']);
  });

  test('while Stripe is unavailable is 503, and the same key continues with the order that was made', async () => {
    const { sku } = await newProduct();
    const cart = await fill(sku);
    await shop.fault({
      times: 1000,
      method: 'POST',
      path: '/v1/payment_intents',
      action: 'status',
      status: 503,
      saved: false,
    });
    const key = randomUUID();
    const away = await cart.checkout(10, key);
    expect([away.status, away.body.code]).toEqual([503, 'unavailable']);
    const [order] = await ordersOf(cart.id);
    expect((await cart.send('GET', '')).body).toMatchObject({ status: 'ordered', orderId: order?.id });
    await shop.clearFaults();
    const back = await cart.checkout(10, key);
    expect([back.status, back.body.order.id]).toEqual([201, order?.id]);
    expect(back.body.payment.clientSecret).toMatch(/^pi_\w+_secret_/);
    expect(await ordersOf(cart.id)).toHaveLength(1);
    expect(await shop.stockOf(sku)).toEqual({ quantity: 9, reserved: 1 });
  });

  test('without enough stock keeps no order, takes no use of a discount, and the same key may try again', async () => {
    const [plenty, scarce] = [await newProduct(), await newProduct(1)];
    await addDiscount(store, 'ONCE', 10, { usageLimit: 1 });
    const items = [plenty, scarce].map(({ sku }) => ({ sku, quantity: 2 }));
    const cart = await fill(plenty.sku, 1, { items });
    const changed = await cart.send('PATCH', '', { discountCodes: ['ONCE'] });
    expect(codes(changed.body)).toEqual(['insufficient_inventory /items/1/quantity']);
    const key = randomUUID();
    const short = await cart.checkout(36, key);
    expect([short.status, short.body.code, short.body.shortages]).toEqual([
      ...[409, 'insufficient_inventory', [{ sku: scarce.sku, requested: 2, available: 1 }]],
    ]);
    expect(short.body.orderId).toBeUndefined();
    expect(await ordersOf(cart.id)).toEqual([]);
    expect(await shop.stockOf(plenty.sku)).toEqual({ quantity: 10, reserved: 0 });
    await store.send('POST', `/v1/inventory/${scarce.sku}/adjustments`, { delta: 1, reason: 'in' });
    const placed = await cart.checkout(36, key);
    expect(placed.status, JSON.stringify(placed.body)).toBe(201);
  });
});

describe('what changes between the read and the checkout is found by the checkout', () => {
  const changes: Record<string, { change: (product: { id: string; sku: string }) => Promise<unknown>; total: number }> =
    {
      'a price': { change: ({ id }) => store.send('PATCH', `/v1/products/${id}`, { price: 11 }), total: 21 },
      'a tax rate': { change: () => store.database.query('update orders.tax_rates set rate = 10'), total: 20.9 },
      'a discount': { change: () => store.database.query('update orders.discounts set value = 50'), total: 10 },
      'a discount that has ended': {
        change: () => store.database.query(`update orders.discounts set ends_at = now() - interval '1 minute'`),
        total: 20,
      },
    };
  for (const [what, { change, total }] of Object.entries(changes)) {
    test(`${what}: price_changed has the new cart, and its total can be ordered`, async () => {
      const product = await newProduct();
      await addTaxRate(store, 'FR', 0);
      await addDiscount(store, 'CODE', what === 'a price' ? 4.5454 : 5);
      const cart = await fill(product.sku, 2);
      const { body: seen } = await cart.send('PATCH', '', { shippingAddress: address, discountCodes: ['CODE'] });
      await change(product);
      const refused = await cart.checkout(seen.totals.total);
      expect([refused.status, refused.body.code]).toEqual([409, 'price_changed']);
      const { body: now } = await cart.send('GET', '');
      expect(refused.body.cart).toEqual(now);
      expect(now.totals.total).toBe(total);
      expect(await ordersOf(cart.id)).toEqual([]);
      const placed = await cart.checkout(now.totals.total);
      expect([placed.status, placed.body.order.total]).toEqual([201, total]);
    });
  }

  test('an archived product: the cart is incomplete', async () => {
    const product = await newProduct();
    const cart = await fill(product.sku);
    await store.send('DELETE', `/v1/products/${product.id}`);
    const refused = await cart.checkout(10);
    expect([refused.status, codes(refused.body)]).toEqual([422, ['unknown_sku /items/0/sku']]);
    expect((await cart.send('GET', '')).body.items).toMatchObject([{ price: null, total: null }]);
  });
});

describe('messages', () => {
  test('an invalid code is a warning and stays, and a code that another one beats is named', async () => {
    const { sku } = await newProduct();
    await addDiscount(store, 'SMALL', 5);
    await addDiscount(store, 'LARGE', 20);
    const cart = await fill(sku);
    const { body } = await cart.send('PATCH', '', { discountCodes: ['nothing', 'small', 'LARGE'] });
    expect(codes(body)).toEqual(['discount_invalid /discountCodes/0', 'discount_not_used /discountCodes/1']);
    expect(body.messages.map(({ type }: { type: string }) => type)).toEqual(['warning', 'info']);
    expect(body).toMatchObject({ discountCodes: ['nothing', 'small', 'LARGE'], totals: { total: 8 } });
    expect((await cart.checkout(8)).status).toBe(201);
  });

  test('an option of another country, and a total that Stripe cannot charge, are errors', async () => {
    const { sku } = await newProduct(10, 0.1);
    const [french, german] = [await addShippingOption(store, 'FR', 0), await addShippingOption(store, 'DE', 5)];
    const cart = await fill(sku);
    const wrong = await cart.send('PATCH', '', { shippingAddress: address, shippingOptionId: german });
    expect(codes(wrong.body)).toEqual(['shipping_option_not_offered /shippingOptionId']);
    const small = await cart.send('PATCH', '', { shippingOptionId: french });
    expect(codes(small.body)).toEqual(['total_not_chargeable /items']);
    const nowhere = await cart.send('PATCH', '', { shippingAddress: { ...address, country: 'JP' } });
    expect(codes(nowhere.body)).toEqual(['shipping_option_not_offered /shippingAddress']);
    expect((await cart.checkout(0.1)).body.code).toBe('cart_incomplete');
  });
});

describe('reopen', () => {
  test('cancels the unpaid order, gives its stock back and opens the cart, any number of times', async () => {
    const { sku } = await newProduct();
    await addDiscount(store, 'ONCE', 10, { usageLimit: 1 });
    const cart = await fill(sku, 2);
    await cart.send('PATCH', '', { discountCodes: ['ONCE'] });
    const first = await cart.checkout(18);
    expect(first.status, JSON.stringify(first.body)).toBe(201);
    for (let turn = 0; turn < 2; turn++) {
      const reopened = await cart.send('POST', '/reopen');
      expect([reopened.status, reopened.body.status]).toEqual([200, 'open']);
    }
    expect((await shop.orderOf(first.body.order.id)).status).toBe('cancelled');
    expect(await shop.stockOf(sku)).toEqual({ quantity: 10, reserved: 0 });
    const second = await cart.checkout(18);
    expect(second.status, JSON.stringify(second.body)).toBe(201);
    await shop.pay(second.body.payment.stripePaymentIntentId);
    await until(async () => (await cart.send('GET', '')).body.status === 'completed');
    const paid = await cart.send('POST', '/reopen');
    expect([paid.status, paid.body.code, paid.body.orderId]).toEqual([409, 'cart_not_open', second.body.order.id]);
    await shop.quiet();
    await shop.audit();
  });
});
