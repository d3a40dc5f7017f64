import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type FakeShippo, startFakeShippo } from '../support/carrier.ts';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';
import { jobSecret } from '../support/secrets.ts';
import { home, shop } from '../support/shipping.ts';

let store: Store;
let shippo: FakeShippo;
let paying: ReturnType<typeof paymentFixture>;
const { orderOf, free, shipped, historyOf } = shop(() => store);

beforeAll(async () => {
  shippo = await startFakeShippo();
  store = await startStore({
    variables: {
      ...{ CARRIER: 'shippo', SHIPPO_API_KEY: 'shippo_test_1', SHIPPO_WEBHOOK_SECRET: 'told' },
      ...{ SHIPPO_API_URL: shippo.url, SHIP_FROM: JSON.stringify({ ...home, name: 'Shop' }) },
    },
  });
  paying = paymentFixture(store);
  await addProduct(store, 'GIFT', 1_000, 0);
  await addProduct(store, 'BOUGHT', 1_000, 10);
});
beforeEach(() => {
  shippo.purchaseOutcome = () => 'sell';
  shippo.voidOutcome = 'void';
});
afterAll(async () => {
  await store.close();
  await shippo.close();
});

const later = (minutes: number) => store.cron('* * * * *', new Date(Date.now() + minutes * 60_000));
const cancel = (id: string, body: object = {}) => store.send('POST', `/v1/orders/${id}/cancel`, body);
const quantity = async (sku = 'GIFT') => (await paying.stockOf(sku))?.quantity;
const labelOf = (shipment: { id: string }) => store.send('GET', `/v1/shipments/${shipment.id}/label`);
const voidOf = async (order: string) =>
  (await store.database.query('select status, last_error from shipping.label_voids where order_id = $1', [order]))[0];
const statusesOf = async (order: string): Promise<string[]> =>
  (await store.send('GET', `/v1/events?topic=shipping.status.changed&key=${order}`)).body.data
    .map((event: { data: { status: string } }) => event.data.status)
    .reverse();

async function bought() {
  const { body: order } = await store.send('POST', '/v1/orders', {
    ...{ customerId: 'buyer', items: [{ sku: 'BOUGHT', quantity: 1 }], shippingAddress: home },
  });
  const { body: payment } = await store.send('POST', '/v1/payments', { orderId: order.id });
  await paying.pay(payment.stripePaymentIntentId);
  await shipped(order.id);
  return { order, payment };
}

describe('an order with a label', () => {
  test('that is cancelled has its shipment cancelled and its label voided once, and keeps its units out of the stock', async () => {
    const id = await free(home);
    const shipment = await shipped(id);
    const before = (await quantity()) ?? 0;
    expect((await cancel(id)).body).toMatchObject({ status: 'cancelled', shipment: { status: 'cancelled' } });
    expect(await labelOf(shipment)).toMatchObject({ status: 409, body: { code: 'conflict' } });
    expect((await store.send('POST', '/v1/shipments', { orderId: id, address: home })).status).toBe(409);
    await later(1);
    await later(600);
    expect(shippo.voided.filter((each) => each === shipment.id)).toEqual([shipment.id]);
    expect(await voidOf(id)).toMatchObject({ status: 'done' });
    expect((await historyOf(id)).filter((topic) => topic === 'shipping.cancelled')).toHaveLength(1);
    expect(await quantity()).toBe(before);
    expect(await historyOf(id)).not.toContain('inventory.released');

    // The merchant still has the parcel: its unit is returned to the stock, once.
    for (let n = 0; n < 2; n++) expect((await cancel(id, { restock: true })).status).toBe(200);
    expect(await quantity()).toBe(before + 1);
  });

  test('that is fully refunded ends the same way, and returns its units only if the refund says so', async () => {
    const cases = [
      { restock: undefined, back: 0 },
      { restock: true, back: 1 },
    ];
    for (const { restock, back } of cases) {
      const { order, payment } = await bought();
      const before = (await quantity('BOUGHT')) ?? 0;
      await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 4 });
      await paying.quiet();
      expect((await orderOf(order.id)).shipment.status).toBe('created');
      await store.send('POST', `/v1/payments/${payment.id}/refunds`, { restock });
      await until(async () => (await orderOf(order.id)).status === 'refunded');
      const { shipment } = await orderOf(order.id);
      expect(shipment.status).toBe('cancelled');
      expect((await labelOf(shipment)).status).toBe(409);
      expect(await quantity('BOUGHT')).toBe(before + back);
      await later(1);
      expect(shippo.voided).toContain(shipment.id);
    }
    await paying.quiet();
    await paying.audit();
  });

  test('whose parcel is shipped anyway stays cancelled, and the parcel’s status is recorded and emitted', async () => {
    const id = await free(home);
    const { trackingNumber, id: shipmentId } = await shipped(id);
    await cancel(id);
    const move = (status: string) =>
      store.database.query('select shipping.apply_tracking($1, $2)', [
        { jobSecret },
        { carrier: 'shippo', eventId: status, trackingNumber, status, occurredAt: new Date().toISOString() },
      ]);
    await move('created');
    expect((await orderOf(id)).shipment.status).toBe('cancelled');
    await move('in_transit');
    await move('delivered');
    expect(await orderOf(id)).toMatchObject({ status: 'cancelled', shipment: { status: 'delivered' } });
    expect(await statusesOf(id)).toEqual(['in_transit', 'delivered']);
    expect((await labelOf({ id: shipmentId })).status).toBe(409);
  });
});

describe('an order whose full refund failed at the bank', () => {
  async function bounce({ order, payment }: Awaited<ReturnType<typeof bought>>) {
    await store.send('POST', `/v1/payments/${payment.id}/refunds`, {});
    await until(async () => (await orderOf(order.id)).status === 'refunded');
    await paying.quiet();
    const refunds = (await paying.state()).refunds;
    const refund = refunds.find(
      (each) => each.payment_intent === payment.stripePaymentIntentId && each.status === 'succeeded',
    );
    await paying.emulator('POST', 'dashboard/fail_refund', { refund: refund?.id });
    await until(async () => (await orderOf(order.id)).status === 'confirmed');
  }
  const ship = (orderId: string, address: object = home, key?: string) =>
    store.send('POST', '/v1/shipments', { orderId, address }, key === undefined ? {} : { idempotencyKey: key });
  const move = (trackingNumber: string, status: string) =>
    store.database.query('select shipping.apply_tracking($1, $2)', [
      { jobSecret },
      {
        ...{ carrier: 'shippo', eventId: `${trackingNumber} ${status}`, trackingNumber, status },
        occurredAt: new Date().toISOString(),
      },
    ]);

  test('can be shipped with a second label, bought once, while the first one is voided and stays unavailable', async () => {
    const made = await bought();
    const { id } = made.order;
    const first = (await orderOf(id)).shipment;
    await bounce(made);
    await store.settled();
    // Nothing is shipped automatically.
    expect((await orderOf(id)).shipment).toMatchObject({ id: first.id, status: 'cancelled' });
    const replies = await Promise.all([ship(id, home, 'again'), ship(id), ship(id), ship(id, home, 'again')]);
    for (const { status, body } of replies) {
      if (status === 409) expect(body.code).toBe('idempotency_in_progress');
      else expect([status, body.status]).toEqual([201, 'created']);
    }
    const second = (await ship(id)).body;
    expect(second.id).not.toBe(first.id);
    expect(second.trackingNumber).not.toBe(first.trackingNumber);
    expect((await orderOf(id)).shipment.id).toBe(second.id);
    expect((await ship(id, { ...home, line1: 'Elsewhere 1' })).body.code).toBe('conflict');
    expect([(await labelOf(first)).status, (await store.send('GET', `/v1/shipments/${first.id}`)).status]).toEqual([
      409, 200,
    ]);
    await later(1);
    expect(shippo.sold.filter((each) => [first.id, second.id].includes(each))).toEqual([first.id, second.id]);
    expect(shippo.voided.filter((each) => [first.id, second.id].includes(each))).toEqual([first.id]);
    await move(second.trackingNumber, 'in_transit');
    expect(await orderOf(id)).toMatchObject({ status: 'shipped', shipment: { id: second.id, status: 'in_transit' } });
  });

  test('and that is refunded again has its second label voided, too', async () => {
    const made = await bought();
    const first = (await orderOf(made.order.id)).shipment;
    await bounce(made);
    const { body: second } = await ship(made.order.id);
    await bounce(made);
    const { body: third } = await ship(made.order.id);
    await later(1);
    for (const each of [first, second]) expect(shippo.voided).toContain(each.id);
    expect(shippo.voided).not.toContain(third.id);
    expect((await orderOf(made.order.id)).shipment).toMatchObject({ id: third.id, status: 'created' });
  });

  test('sends no second parcel if the first one is shipped anyway', async () => {
    const made = await bought();
    const { id } = made.order;
    const first = (await orderOf(id)).shipment;
    await bounce(made);
    const { body: second } = await ship(id);
    await move(first.trackingNumber, 'in_transit');
    expect(await orderOf(id)).toMatchObject({ status: 'shipped', shipment: { id: first.id, status: 'in_transit' } });
    expect((await store.send('GET', `/v1/shipments/${second.id}`)).body.status).toBe('cancelled');
    expect((await ship(id)).status).toBe(409);
    await later(1);
    expect(shippo.voided).toContain(second.id);
  });

  test('keeps no label that was requested before its refund, however late the label arrives', async () => {
    shippo.purchaseOutcome = () => 'unavailable';
    const { body: order } = await store.send('POST', '/v1/orders', {
      ...{ customerId: 'buyer', items: [{ sku: 'BOUGHT', quantity: 1 }], shippingAddress: home },
    });
    const { body: payment } = await store.send('POST', '/v1/payments', { orderId: order.id });
    await paying.pay(payment.stripePaymentIntentId);
    const request = async () =>
      (
        await store.database.query<{ id: string; failed: boolean }>(
          'select shipment_id as id, last_error is not null as failed from shipping.label_requests where order_id = $1',
          [order.id],
        )
      )[0];
    await until(async () => (await request())?.failed === true);
    const old = (await request())?.id;
    await bounce({ order, payment });
    await store.settled();
    expect((await orderOf(order.id)).shipment).toBeNull();
    shippo.purchaseOutcome = () => 'sell';
    await store.database.query('update shipping.label_requests set leased_until = now() where order_id = $1', [
      order.id,
    ]);
    const { status, body } = await ship(order.id);
    expect([status, body.id === old]).toEqual([201, false]);
    const late = {
      ...{ orderId: order.id, shipmentId: old, trackingNumber: 'LATE', carrier: 'usps', provider: 'shippo' },
      ...{ externalId: 'late', labelUrl: '/' },
    };
    await store.database.query('select shipping.record_labels($1, $2)', [
      { jobSecret },
      { tenant: 'default', results: [late] },
    ]);
    expect((await orderOf(order.id)).shipment).toMatchObject({ id: body.id, status: 'created' });
    const voids = await store.database.query(
      'select shipment_id, tracking_number from shipping.label_voids where order_id = $1',
      [order.id],
    );
    expect(voids).toEqual([{ shipment_id: old, tracking_number: 'LATE' }]);
  });
});

test('an order that ends before its label returns its units, unless the cancellation forbids it', async () => {
  const before = (await quantity()) ?? 0;
  const orders = [await free(), await free()];
  await Promise.all(orders.map((id) => until(async () => (await orderOf(id)).status === 'confirmed')));
  await cancel(orders[0] ?? '');
  await cancel(orders[1] ?? '', { restock: false });
  expect(await quantity()).toBe(before - 1);
});

describe('every label of a cancelled order is voided:', () => {
  test('a label that a Worker bought before it died', async () => {
    shippo.purchaseOutcome = () => 'unavailable';
    const id = await free(home);
    const requestOf = async () =>
      (
        await store.database.query<{ shipment_id: string; last_error: string | null; attempts: number }>(
          'select shipment_id, last_error, attempts from shipping.label_requests where order_id = $1',
          [id],
        )
      )[0];
    await until(async () => (await requestOf())?.last_error?.includes('503') ?? false);
    const { shipment_id: shipmentId = '' } = (await requestOf()) ?? {};
    await cancel(id);
    // The purchase whose response was lost.
    shippo.purchaseOutcome = () => 'sell';
    await fetch(`${shippo.url}/transactions`, {
      method: 'POST',
      headers: { authorization: 'ShippoToken shippo_test_1' },
      body: JSON.stringify({ metadata: shipmentId }),
    });
    await later(0);
    expect(shippo.voided).not.toContain(shipmentId);
    await later(3);
    expect(shippo.voided).toContain(shipmentId);
  });

  test('an unavailable carrier is called again, and a rejection is reported on the shipment', async () => {
    const id = await free(home);
    const shipment = await shipped(id);
    await cancel(id);
    shippo.voidOutcome = 'unavailable';
    await later(1);
    expect(await voidOf(id)).toMatchObject({ status: 'open', last_error: expect.stringContaining('503') });
    shippo.voidOutcome = 'reject';
    await later(10);
    expect(await voidOf(id)).toMatchObject({ status: 'refused' });
    expect(await statusesOf(id)).toEqual(['exception']);
    const [row] = await store.database.query('select exception from shipping.shipments where id = $1', [shipment.id]);
    expect(row?.exception).toMatch(/^The carrier did not void the label: shippo: /);
  });

  test('labels that are bought while their orders are cancelled', async () => {
    const orders = await Promise.all(Array.from({ length: 12 }, () => free(home)));
    await Promise.all(orders.map((id) => cancel(id)));
    await store.settled();
    await later(5);
    await later(6); // one run voids 10 labels at most
    const [left] = await store.database.query<{ n: number }>(
      `select count(*)::int as n from shipping.label_requests r join orders.orders o on o.id = r.order_id
       where o.id = any($1) and (r.status in ('open', 'refused') or o.status <> 'cancelled')`,
      [orders],
    );
    expect(left?.n).toBe(0);
    const ours = await store.database.query<{ id: string }>(
      'select shipment_id as id from shipping.label_requests where order_id = any($1)',
      [orders],
    );
    const sold = ours.filter(({ id }) => shippo.sold.includes(id)).map(({ id }) => id);
    expect(sold.filter((id) => !shippo.voided.includes(id))).toEqual([]);
  });
});

test('many labels to void for one tenant do not delay another tenant’s', async () => {
  // Labels that other tests left to void are not due in this one. All of these are: the clock has whole milliseconds.
  await store.database.query(`update shipping.label_voids set due_at = now() + interval '1 day' where status = 'open'`);
  await store.database.query(
    `insert into shipping.label_voids (shipment_id, tenant_id, order_id, status, due_at, created_at)
     select 'backlog-' || n, 'default', 'backlog-' || n, 'open', now() - interval '1 day', now() from generate_series(1, 40) n
     union all select 'other', 'acme', 'other', 'open', now() - interval '1 second', now()`,
  );
  await store.database.query(`select shipping.lease_voids($1, '{"limit": 10, "seconds": 60}')`, [{ jobSecret }]);
  const leased = await store.database.query<{ tenant: string; n: number }>(
    `select tenant_id as tenant, count(*)::int as n from shipping.label_voids
     where order_id in ('other') or order_id like 'backlog-%' group by tenant_id, attempts having attempts = 1 order by 1`,
  );
  expect(leased).toEqual([
    { tenant: 'acme', n: 1 },
    { tenant: 'default', n: 9 },
  ]);
});
