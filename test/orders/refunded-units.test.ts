import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type FakeShippo, startFakeShippo } from '../support/carrier.ts';
import { addShippingOption, clearTerms } from '../support/carts.ts';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';
import { type PaymentFixture, paymentFixture } from '../support/payments.ts';
import { jobSecret } from '../support/secrets.ts';
import { home, secret } from '../support/shipping.ts';

let store: Store;
let shop: PaymentFixture;
let shippo: FakeShippo;
beforeAll(async () => {
  shippo = await startFakeShippo();
  store = await startStore({
    variables: {
      ...{ CARRIER: 'shippo', SHIPPO_API_KEY: 'shippo_test', SHIPPO_API_URL: shippo.url },
      SHIPPO_WEBHOOK_SECRET: secret,
      SHIP_FROM: JSON.stringify({ ...home, name: 'Warehouse 2' }),
    },
  });
  shop = paymentFixture(store);
});
beforeEach(() => {
  shippo.purchaseOutcome = () => 'sell';
});
afterAll(async () => {
  await store.close();
  await shippo.close();
});

/** A paid order of some units of one product, without an address. */
async function buy(quantity: number): Promise<string> {
  const { sku } = await addProduct(store, `U-${randomUUID().slice(0, 8)}`, quantity, 10);
  const items = [{ sku, quantity }];
  const { body } = await store.send('POST', '/v1/orders', { customerId: 'c', items, expand: ['payment'] });
  await shop.pay(body.payment.stripePaymentIntentId);
  await until(async () => (await shop.orderOf(body.id)).status === 'confirmed');
  await store.settled();
  return body.id;
}
const units = (quantity: number) => ({ items: [{ lineId: '1', quantity }] });
const send = (orderId: string, more: object = {}) =>
  store.send('POST', '/v1/shipments', { orderId, address: home, ...more });
const refund = (orderId: string, quantity: number) =>
  store.send('POST', `/v1/orders/${orderId}/refunds`, units(quantity));
const move = ({ trackingNumber }: { trackingNumber: string }, status: string) =>
  store.database.query('select shipping.apply_tracking($1, $2)', [
    { jobSecret },
    { ...{ carrier: 'shippo', eventId: randomUUID(), trackingNumber, status }, occurredAt: new Date().toISOString() },
  ]);
const itemsSent = async (orderId: string): Promise<object[]> =>
  (await shop.orderOf(orderId)).shipments.map((each: { items: object[] }) => each.items);

describe('a refund of units', () => {
  test('that were not sent completes an order whose other parcels have arrived', async () => {
    const id = await buy(2);
    await move((await send(id, units(1))).body, 'delivered');
    expect((await shop.orderOf(id)).status).toBe('confirmed');
    expect((await refund(id, 1)).status).toBe(201);
    expect((await shop.orderOf(id)).status).toBe('delivered');
  });

  test('takes them out of a parcel whose label is not made yet', async () => {
    const id = await buy(3);
    shippo.purchaseOutcome = () => 'unavailable';
    expect((await send(id, units(2))).status).toBe(503);
    expect((await refund(id, 2)).status).toBe(201);
    shippo.purchaseOutcome = () => 'sell';
    await until(async () => (await shop.orderOf(id)).shipments.length === 1);
    expect(await itemsSent(id)).toEqual([[{ lineId: '1', quantity: 1 }]]);
    expect((await send(id)).status).toBe(409);
  });

  test('does not make the repetition of the request for their parcel another one', async () => {
    const id = await buy(3);
    shippo.purchaseOutcome = () => 'unavailable';
    const key = randomUUID();
    const again = () =>
      store.send('POST', '/v1/shipments', { orderId: id, address: home, ...units(3) }, { idempotencyKey: key });
    expect((await again()).status).toBe(503);
    expect((await refund(id, 2)).status).toBe(201);
    shippo.purchaseOutcome = () => 'sell';
    await until(async () => (await shop.orderOf(id)).shipments.length === 1);
    const repeated = await again();
    expect([repeated.status, repeated.body]).toMatchObject([201, units(1)]);
  });

  test('takes them out of a parcel whose label is being made', async () => {
    const id = await buy(2);
    shippo.purchaseOutcome = async () => {
      expect((await refund(id, 1)).status).toBe(201);
      return 'sell' as const;
    };
    expect((await send(id)).body).toMatchObject(units(1));
    expect(await itemsSent(id)).toEqual([[{ lineId: '1', quantity: 1 }]]);
  });
});

test('a refund of all units, but not of the shipping, cancels the parcel that has not left', async () => {
  const { sku } = await addProduct(store, `U-${randomUUID().slice(0, 8)}`, 1, 10);
  const shippingOptionId = await addShippingOption(store, 'US', 5);
  const { body } = await store.send('POST', '/v1/orders', {
    ...{ customerId: 'c', items: [{ sku, quantity: 1 }], shippingAddress: home, shippingOptionId, expand: ['payment'] },
  });
  await shop.pay(body.payment.stripePaymentIntentId);
  await until(async () => (await shop.orderOf(body.id)).shipments.length === 1);
  expect((await refund(body.id, 1)).body).toMatchObject({ amount: 10 });
  expect(await shop.orderOf(body.id)).toMatchObject({ status: 'confirmed', shipments: [{ status: 'cancelled' }] });
  expect((await store.send('POST', `/v1/orders/${body.id}/cancel`, {})).body.status).toBe('cancelled');
  await shop.quiet();
  expect((await shop.orderOf(body.id)).payment).toMatchObject({ status: 'refunded', amountRefunded: 15 });
  await clearTerms(store);
});

test('a refund that has completed an order and fails at the bank leaves its units to be sent again', async () => {
  const id = await buy(2);
  await move((await send(id, units(1))).body, 'in_transit');
  const { body } = await refund(id, 1);
  await shop.quiet();
  expect((await shop.orderOf(id)).status).toBe('shipped');
  const [row] = await store.database.query<{ stripe: string }>(
    'select stripe_refund_id as stripe from payments.refunds where id = $1',
    [body.id],
  );
  await shop.emulator('POST', 'dashboard/fail_refund', { refund: row?.stripe });
  await until(async () => (await shop.orderOf(id)).status === 'confirmed');
  const rest = await send(id);
  expect(rest.body).toMatchObject(units(1));
  await move(rest.body, 'in_transit');
  expect((await shop.orderOf(id)).status).toBe('shipped');
});

describe('a return', () => {
  test('of units that were never sent leaves the others to be sent, and no more', async () => {
    const id = await buy(2);
    const { body } = await store.send('POST', `/v1/orders/${id}/returns`, units(1));
    expect((await store.send('POST', `/v1/returns/${body.id}/receive`, {})).status).toBe(200);
    const parcel = await send(id);
    expect(parcel.body).toMatchObject(units(1));
    await move(parcel.body, 'in_transit');
    expect((await shop.orderOf(id)).status).toBe('shipped');
  });
});
