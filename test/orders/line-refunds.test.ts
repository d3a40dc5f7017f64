import { afterAll, beforeAll, expect, test } from 'vitest';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';
import { sendTogether } from '../support/locks.ts';
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

const one = (lineId = '1', quantity = 1) => ({ items: [{ lineId, quantity }] });
const outcome = (reply: { status: number; body: { code?: string } }) => [reply.status, reply.body.code];
const failAtBank = async (refundId: string) => {
  const [row] = await store.database.query<{ stripe: string }>(
    'select stripe_refund_id as stripe from payments.refunds where id = $1',
    [refundId],
  );
  await shop.emulator('POST', 'dashboard/fail_refund', { refund: row?.stripe });
  await until(async () => {
    const [now] = await store.database.query<{ status: string }>('select status from payments.refunds where id = $1', [
      refundId,
    ]);
    return now?.status === 'failed';
  });
  await shop.quiet();
};
const quantityOf = async (sku: string) => (await shop.stockOf(sku))?.quantity;

test('a refund of lines does not exceed what refunds of amounts and refunds at Stripe have left', async () => {
  await addProduct(store, 'LEFT', 10, 10);
  const { order, payment, intent } = await buy([{ sku: 'LEFT', quantity: 3 }]);
  expect((await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 5 })).status).toBe(201);
  await shop.stripe.refunds.create({ payment_intent: intent, amount: 700 });
  await shop.quiet();
  const tooMuch = await refund(order.id, one('1', 2));
  expect(outcome(tooMuch)).toEqual([422, 'refund_exceeds_payment']);
  expect(tooMuch.body.detail).toBe('This refund is worth 20.00 USD, and at most 18.00 can still be refunded.');
  expect((await refund(order.id, one())).body.amount).toBe(10);
  expect(outcome(await refund(order.id, one()))).toEqual([422, 'refund_exceeds_payment']);
  await shop.quiet();
  expect(await shop.orderOf(order.id)).toMatchObject({
    ...{ status: 'confirmed', items: [{ refundedQuantity: 1 }], payment: { amountRefunded: 22 } },
    refunds: [
      { amount: 5, items: [] },
      { amount: 7 },
      { amount: 10, items: [{ lineId: '1', quantity: 1, amount: 10 }] },
    ],
  });
  await shop.audit();
});

test('a refund names lines of a paid order and something to pay back', async () => {
  const free = await addProduct(store, 'GIFT', 10, 0);
  await addProduct(store, 'PAID', 10, 10);
  const { order } = await buy([
    { sku: 'PAID', quantity: 1 },
    { sku: 'GIFT', quantity: 1 },
  ]);
  const unknown = await refund(order.id, one('3'));
  expect([unknown.status, unknown.body.errors]).toEqual([
    422,
    [{ pointer: '/items/0/lineId', detail: 'The order has no such line.' }],
  ]);
  for (const body of [{}, { items: [] }, { items: [one().items[0], one().items[0]] }, one('1', 0), { shipping: 'x' }]) {
    expect(outcome(await refund(order.id, body))).toEqual([422, 'validation_failed']);
  }
  expect(outcome(await refund(order.id, one('2')))).toEqual([422, 'validation_failed']);
  expect(outcome(await refund(order.id, { ...one(), shipping: 1 }))).toEqual([422, 'refund_exceeds_payment']);
  const { body: nothing } = await store.send('POST', '/v1/orders', {
    ...{ customerId: 'c', items: [{ sku: free.sku, quantity: 1 }] },
  });
  await until(async () => (await shop.orderOf(nothing.id)).status === 'confirmed');
  const ofNothing = await refund(nothing.id, one());
  expect([...outcome(ofNothing), ofNothing.body.detail]).toEqual([
    ...[422, 'refund_exceeds_payment', 'Nothing was paid for this order. Cancel it instead.'],
  ]);
  const { body: unpaid } = await store.send('POST', '/v1/orders', {
    ...{ customerId: 'c', items: [{ sku: 'PAID', quantity: 1 }] },
  });
  expect(outcome(await refund(unpaid.id, one()))).toEqual([422, 'refund_exceeds_payment']);
  expect((await store.send('GET', `/v1/orders/${order.id}`)).body.refunds).toEqual([]);
});

test('a unit goes back into stock once, however its order ends', async () => {
  for (const end of ['cancel', 'refund', 'lines']) {
    const sku = `ONCE-${end}`;
    await addProduct(store, sku, 10, 10);
    const { order, payment } = await buy([{ sku, quantity: 4 }]);
    await refund(order.id, { ...one(), restock: true });
    await refund(order.id, { ...one(), restock: false }); // a torn unit
    expect(await quantityOf(sku)).toBe(7);
    if (end === 'cancel') {
      for (const restock of [undefined, true]) {
        const cancelled = await store.send('POST', `/v1/orders/${order.id}/cancel`, { restock });
        expect(cancelled.status).toBe(200);
      }
    }
    if (end === 'refund') await store.send('POST', `/v1/payments/${payment.id}/refunds`, {});
    if (end === 'lines') await refund(order.id, one('1', 2));
    await shop.quiet();
    expect([end, await quantityOf(sku)]).toEqual([end, 9]);
    expect((await shop.orderOf(order.id)).payment).toMatchObject({ amountRefunded: 40, status: 'refunded' });
    await shop.audit();
  }
});

test('a refund of lines that fails at the bank leaves its units refundable, and takes them from the stock again', async () => {
  await addProduct(store, 'BANK', 10, 10);
  const { order } = await buy([{ sku: 'BANK', quantity: 2 }]);
  const first = await refund(order.id, one());
  await shop.quiet();
  await failAtBank(first.body.id);
  expect(await shop.orderOf(order.id)).toMatchObject({
    ...{ status: 'confirmed', items: [{ refundedQuantity: 0 }], payment: { amountRefunded: 0 } },
    refunds: [{ status: 'failed', items: [{ quantity: 1 }] }],
  });
  expect(await quantityOf('BANK')).toBe(8);
  await shop.audit();

  const both = await refund(order.id, one('1', 2));
  expect([both.status, both.body.amount]).toEqual([201, 20]);
  await shop.quiet();
  expect((await shop.orderOf(order.id)).status).toBe('refunded');
  await failAtBank(both.body.id);
  expect(await shop.orderOf(order.id)).toMatchObject({ status: 'confirmed', items: [{ refundedQuantity: 0 }] });
  expect(await quantityOf('BANK')).toBe(8);
  await shop.audit();
});

test('units of a failed refund that were sold meanwhile stay off the order, and their money can still be refunded', async () => {
  await addProduct(store, 'SOLD', 2, 10);
  const { order, payment } = await buy([{ sku: 'SOLD', quantity: 2 }]);
  const first = await refund(order.id, one());
  await shop.quiet();
  await buy([{ sku: 'SOLD', quantity: 1 }]);
  await failAtBank(first.body.id);
  expect(await shop.orderOf(order.id)).toMatchObject({
    ...{ status: 'confirmed', items: [{ refundedQuantity: 1 }], payment: { amountRefunded: 0 } },
  });
  expect(await quantityOf('SOLD')).toBe(0);
  expect((await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 10 })).status).toBe(201);
  expect((await refund(order.id, one())).status).toBe(201);
  await shop.quiet();
  expect((await shop.orderOf(order.id)).status).toBe('refunded');
  await shop.audit();
});

test('shipping is refunded once, with its tax', async () => {
  await addProduct(store, 'POSTED', 10, 10);
  const optionId = '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f';
  await store.database.query(
    `insert into orders.shipping_options (id, tenant_id, name, countries, currency, price, created_at, updated_at)
     values ($1, 'default', 'Post', '{FR}', 'USD', 5, now(), now())`,
    [optionId],
  );
  await store.database.query(
    `insert into orders.tax_rates (id, tenant_id, name, country, rate, created_at, updated_at)
     values ('rate', 'default', 'TVA', 'FR', 20, now(), now())`,
  );
  const { order } = await buy([{ sku: 'POSTED', quantity: 1 }], {
    shippingOptionId: optionId,
    billingAddress: { line1: 'Rue 1', city: 'Paris', country: 'FR' },
  });
  expect([order.total, order.shippingTotal, order.shippingTax]).toEqual([18, 5, 1]);
  expect((await refund(order.id, { shipping: 2.5 })).body).toMatchObject({ amount: 2.5, shipping: 2.5, items: [] });
  expect((await refund(order.id, { ...one(), shipping: true })).body).toMatchObject({ amount: 15.5, shipping: 3.5 });
  expect(outcome(await refund(order.id, { shipping: 0.01 }))).toEqual([422, 'refund_exceeds_payment']);
  await shop.quiet();
  expect((await shop.orderOf(order.id)).status).toBe('refunded');
  await store.database.query('delete from orders.tax_rates');
});

const returnOf = (orderId: string, body: object) => store.send('POST', `/v1/orders/${orderId}/returns`, body);

test('a return is requested, received and refunded, and only its restocked units go back into stock', async () => {
  await addProduct(store, 'BOOT', 10, 50);
  await addProduct(store, 'LACE', 10, 3);
  const { order } = await buy([
    { sku: 'BOOT', quantity: 2 },
    { sku: 'LACE', quantity: 2 },
  ]);
  const requested = await returnOf(order.id, {
    items: [
      { lineId: '1', quantity: 2 },
      { lineId: '2', quantity: 1, restock: false },
    ],
    reason: 'too small',
  });
  expect(requested.status, JSON.stringify(requested.body)).toBe(201);
  expect(requested.body).toMatchObject({ status: 'requested', orderId: order.id, refund: null });
  // Its units are reserved.
  expect(outcome(await returnOf(order.id, one()))).toEqual([422, 'refund_exceeds_payment']);
  expect(outcome(await refund(order.id, one()))).toEqual([422, 'refund_exceeds_payment']);
  expect((await refund(order.id, one('2'))).status).toBe(201);

  const path = `/v1/returns/${requested.body.id}`;
  const excess = await store.send('POST', `${path}/receive`, one('1', 3));
  expect([excess.status, excess.body.errors]).toEqual([
    422,
    [{ pointer: '/items/0/quantity', detail: 'At most 2 of this line were requested.' }],
  ]);
  const received = await store.send('POST', `${path}/receive`, {
    items: [
      { lineId: '1', quantity: 1 },
      { lineId: '2', quantity: 1 },
    ],
  });
  expect(received.status, JSON.stringify(received.body)).toBe(200);
  expect(received.headers.get('server-timing')).toContain('1 calls');
  expect(received.body).toMatchObject({
    status: 'received',
    items: [
      { lineId: '1', quantity: 2, receivedQuantity: 1, restock: true },
      { lineId: '2', quantity: 1, receivedQuantity: 1, restock: false },
    ],
    refund: { amount: 53, status: 'pending', reason: 'too small' },
  });
  expect([await quantityOf('BOOT'), await quantityOf('LACE')]).toEqual([9, 9]);
  await shop.quiet();
  expect((await store.send('GET', path)).body).toMatchObject({ status: 'refunded', refund: { status: 'succeeded' } });
  expect((await store.send('GET', `/v1/orders/${order.id}/returns`)).body.data).toMatchObject([{ status: 'refunded' }]);
  expect(outcome(await store.send('POST', `${path}/receive`, {}))).toEqual([409, 'conflict']);
  expect(outcome(await store.send('POST', `${path}/cancel`))).toEqual([409, 'conflict']);
  // The unit that did not come is free again.
  const second = await returnOf(order.id, one());
  expect(second.status).toBe(201);
  for (let n = 0; n < 2; n++) {
    const cancelled = await store.send('POST', `/v1/returns/${second.body.id}/cancel`);
    expect([cancelled.status, cancelled.body.status]).toEqual([200, 'cancelled']);
  }
  expect(outcome(await store.send('POST', `/v1/returns/${second.body.id}/receive`, {}))).toEqual([409, 'conflict']);
  expect((await shop.historyOf(order.id)).filter((topic) => topic.startsWith('return.'))).toEqual([
    ...['return.requested', 'return.received', 'return.requested', 'return.cancelled'],
  ]);
  await shop.audit();
});

test('a return whose refund failed is refunded again, and its units stay in stock', async () => {
  await addProduct(store, 'AGAIN', 10, 10);
  const { order } = await buy([{ sku: 'AGAIN', quantity: 2 }]);
  const { body } = await returnOf(order.id, one());
  const first = await store.send('POST', `/v1/returns/${body.id}/receive`, {});
  await shop.quiet();
  await failAtBank(first.body.refund.id);
  expect((await store.send('GET', `/v1/returns/${body.id}`)).body).toMatchObject({
    ...{ status: 'received', refund: { status: 'failed' } },
  });
  const again = await store.send('POST', `/v1/returns/${body.id}/receive`, {});
  expect([again.status, again.body.refund.amount]).toEqual([200, 10]);
  await shop.quiet();
  expect((await store.send('GET', `/v1/returns/${body.id}`)).body.status).toBe('refunded');
  expect(await quantityOf('AGAIN')).toBe(9);
  expect((await shop.orderOf(order.id)).items[0].refundedQuantity).toBe(1);
  await shop.audit();
});

test('a return of an order whose money and units went back already is received without a refund', async () => {
  await addProduct(store, 'BYHAND', 10, 10);
  const { order, payment } = await buy([{ sku: 'BYHAND', quantity: 2 }]);
  const { body } = await returnOf(order.id, one('1', 2));
  await store.send('POST', `/v1/payments/${payment.id}/refunds`, {});
  await shop.quiet();
  expect(outcome(await store.send('POST', `/v1/returns/${body.id}/receive`, {}))).toEqual([
    ...[422, 'refund_exceeds_payment'],
  ]);
  const received = await store.send('POST', `/v1/returns/${body.id}/receive`, { refund: false });
  expect(received.body).toMatchObject({ status: 'refunded', refund: null });
  expect(await quantityOf('BYHAND')).toBe(10);
  expect(outcome(await returnOf(order.id, one()))).toEqual([409, 'conflict']);
});

/** Holds the order's row until both requests wait for it. */
const race = (orderId: string, requests: (() => Promise<Awaited<ReturnType<Store['send']>>>)[]) =>
  sendTogether(store, 'select 1 from orders.orders where id = any($1) for update', [orderId], requests);

test('of two concurrent refunds of the same units, one is rejected', async () => {
  await addProduct(store, 'TWICE', 10, 10);
  const { order } = await buy([{ sku: 'TWICE', quantity: 2 }]);
  const replies = await race(order.id, [() => refund(order.id, one('1', 2)), () => refund(order.id, one('1', 2))]);
  expect(replies.map(({ status }) => status).sort()).toEqual([201, 422]);
  await shop.quiet();
  expect(await quantityOf('TWICE')).toBe(10);
  await shop.audit();
});

test('a concurrent refund of units and a cancellation refund each unit and put it back once', async () => {
  await addProduct(store, 'ENDED', 10, 10);
  const { order } = await buy([{ sku: 'ENDED', quantity: 2 }]);
  const [refunded, cancelled] = await race(order.id, [
    () => refund(order.id, one()),
    () => store.send('POST', `/v1/orders/${order.id}/cancel`, {}),
  ]);
  expect(cancelled?.status).toBe(200);
  expect([201, 422]).toContain(refunded?.status);
  await shop.quiet();
  expect((await shop.orderOf(order.id)).payment.amountRefunded).toBe(20);
  expect(await quantityOf('ENDED')).toBe(10);
  await shop.audit();
});

test('of two returns of the same units, and of two receipts of one return, one is rejected', async () => {
  await addProduct(store, 'BACK', 10, 10);
  const { order, payment } = await buy([{ sku: 'BACK', quantity: 2 }]);
  const made = await race(order.id, [() => returnOf(order.id, one('1', 2)), () => returnOf(order.id, one('1', 2))]);
  expect(made.map(({ status }) => status).sort()).toEqual([201, 422]);
  const { id } = made.find(({ status }) => status === 201)?.body ?? {};
  const receive = () => store.send('POST', `/v1/returns/${id}/receive`, {});
  const received = await race(order.id, [receive, receive]);
  expect(received.map(({ status }) => status).sort()).toEqual([200, 409]);
  await shop.quiet();
  expect((await shop.paymentOf(payment.id)).amountRefunded).toBe(20);
  expect(await quantityOf('BACK')).toBe(10);
  await shop.audit();
});

test('a concurrent refund of the amount and receipt of a return never pay more than was paid', async () => {
  await addProduct(store, 'BOTH', 10, 10);
  const { order, payment } = await buy([{ sku: 'BOTH', quantity: 2 }]);
  const { body } = await returnOf(order.id, one('1', 2));
  const replies = await sendTogether(
    store,
    'select 1 from payments.payments where payment_id = any($1) for update',
    [payment.id],
    [
      () => store.send('POST', `/v1/payments/${payment.id}/refunds`, {}),
      () => store.send('POST', `/v1/returns/${body.id}/receive`, {}),
    ],
  );
  expect(replies.filter(({ status }) => status === 422)).toHaveLength(1);
  await shop.quiet();
  expect((await shop.paymentOf(payment.id)).amountRefunded).toBe(20);
  await shop.audit();
});
