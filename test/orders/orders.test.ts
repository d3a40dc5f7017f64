import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { startQueues, stopQueues } from '../support/outbox.ts';
import { jobSecret } from '../support/secrets.ts';

let store: Store;
beforeAll(async () => {
  // Hundreds of concurrent orders may wait longer on a slow machine, and a 503 would count as a failure here.
  // Stripe is queried about every payment before its hold expires. These tests leave hundreds, so there is no rate
  // limit.
  store = await startStore({ variables: { STRIPE_REQUESTS_PER_SECOND: '1000', DATABASE_DEADLINE_MS: '60000' } });
});
afterAll(() => store.close());

const stockOf = async (sku: string, tenant = 'default') => {
  const [row] = await store.database.query<{ quantity: number; reserved: number }>(
    'select quantity, reserved from inventory.inventory where sku = $1 and tenant_id = $2',
    [sku, tenant],
  );
  return row;
};

const topicsOf = async (orderId: string) =>
  (
    await store.database.query<{ topic: string }>('select topic from platform.events where key = $1 order by seq', [
      orderId,
    ])
  ).map((row) => row.topic);

describe('placing an order', () => {
  test('reserves its stock, stores it with its price, and emits both events, in one database call', async () => {
    await addProduct(store, 'ORDER-1', 10, 29.99);
    const before = store.bridge.calls;
    const placed = await store.send('POST', '/v1/orders', oneLine('ORDER-1', 2));
    expect(placed.status).toBe(201);
    expect(placed.headers.get('server-timing')).toMatch(/^db;desc="1 calls";dur=\d+$/);
    await store.settled();
    expect(placed.body).toMatchObject({
      customerId: 'customer-1',
      items: [{ sku: 'ORDER-1', quantity: 2, price: 29.99 }],
      total: 59.98,
      currency: 'USD',
      status: 'created',
      failureReason: null,
      reservation: { status: 'held' },
      payment: null,
      shipment: null,
    });
    expect(before).toBeGreaterThan(0);
    expect(await stockOf('ORDER-1')).toEqual({ quantity: 8, reserved: 2 });
    expect(await topicsOf(placed.body.id)).toEqual(['order.created', 'inventory.reserved']);
  });

  test('makes one call to the database for 1 line and for 1,200', async () => {
    const skus = Array.from({ length: 1_200 }, (_, index) => `WIDE-${index}`);
    const lines = skus.map((sku) => JSON.stringify({ sku, name: sku, price: 1.25, currency: 'USD', inventory: 3 }));
    const imported = await store.send('POST', '/v1/products/import', lines.join('\n'), {
      headers: { 'content-type': 'application/x-ndjson' },
    });
    expect(imported.body).toEqual({ created: 1_200, updated: 0, rejected: [] });
    await store.settled();
    await until(async () => {
      const calls = store.bridge.calls;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return calls === store.bridge.calls;
    });
    for (const count of [1, 1_200]) {
      const items = skus.slice(0, count).map((sku) => ({ sku, quantity: 1 }));
      const placed = await store.send('POST', '/v1/orders', { customerId: 'wide', items });
      expect(placed.status).toBe(201);
      expect(placed.headers.get('server-timing')).toContain('"1 calls"');
      expect(placed.body.total).toBe(1.25 * count);
      expect(placed.body.items).toHaveLength(count);
      await store.settled();
    }
    expect(await stockOf('WIDE-0')).toEqual({ quantity: 1, reserved: 2 });
    expect(await stockOf('WIDE-1199')).toEqual({ quantity: 2, reserved: 1 });
  });

  test('merges lines with the same SKU and price, and reserves their sum', async () => {
    await addProduct(store, 'MERGE', 10, 2);
    const items = [
      { sku: 'MERGE', quantity: 1 },
      { sku: 'MERGE', quantity: 2, price: 2 },
    ];
    const placed = await store.send('POST', '/v1/orders', { customerId: 'c', items });
    expect(placed.body.items).toMatchObject([{ sku: 'MERGE', quantity: 3, price: 2 }]);
    const quoted = await store.send('POST', '/v1/orders', {
      customerId: 'c',
      pricing: 'quoted',
      items: [...items, { sku: 'MERGE', quantity: 1, price: 1.5 }],
    });
    expect(quoted.body.items).toMatchObject([
      { sku: 'MERGE', quantity: 3, price: 2 },
      { sku: 'MERGE', quantity: 1, price: 1.5 },
    ]);
    expect(quoted.body.total).toBe(7.5);
    expect(await stockOf('MERGE')).toEqual({ quantity: 3, reserved: 7 });
  });

  test('rejects a price that differs from the catalog, unless it is quoted', async () => {
    await addProduct(store, 'PRICED', 10, 12.5);
    const line = { sku: 'PRICED', quantity: 1, price: 9 };
    const refused = await store.send('POST', '/v1/orders', { customerId: 'c', items: [line] });
    expect(refused.status).toBe(409);
    expect(refused.body).toMatchObject({ code: 'price_changed', errors: [{ pointer: '/items/0/price' }] });
    expect(await stockOf('PRICED')).toEqual({ quantity: 10, reserved: 0 });
    const quoted = await store.send('POST', '/v1/orders', { customerId: 'c', items: [line], pricing: 'quoted' });
    expect(quoted.status).toBe(201);
    expect(quoted.body.total).toBe(9);
  });

  test('rejects unknown and archived SKUs, mixed currencies and totals out of range, and changes nothing', async () => {
    await addProduct(store, 'IN-USD', 10, 5);
    await addProduct(store, 'IN-JPY', 10, 500, { currency: 'JPY' });
    await addProduct(store, 'DEAR', 2_000_000, 99_999_999.99);
    const gone = await addProduct(store, 'GONE', 10, 5);
    expect((await store.send('DELETE', `/v1/products/${gone.id}`)).status).toBe(204);
    const orders = async () => (await store.database.query('select 1 from orders.orders')).length;
    const before = await orders();
    const place = (items: unknown[], more = {}) =>
      store.send('POST', '/v1/orders', { customerId: 'c', items, ...more });

    const unknown = await place([
      { sku: 'IN-USD', quantity: 1 },
      { sku: 'NOWHERE', quantity: 1 },
    ]);
    expect([unknown.status, unknown.body.code]).toEqual([422, 'unknown_sku']);
    expect(unknown.body.errors).toEqual([{ pointer: '/items/1/sku', detail: expect.stringContaining('NOWHERE') }]);
    expect((await place([{ sku: 'GONE', quantity: 1 }])).body.code).toBe('unknown_sku');
    expect(
      (
        await place([
          { sku: 'IN-USD', quantity: 1 },
          { sku: 'IN-JPY', quantity: 1 },
        ])
      ).body.code,
    ).toBe('currency_mismatch');
    expect((await place([{ sku: 'IN-USD', quantity: 1 }], { currency: 'EUR' })).body.code).toBe('currency_mismatch');
    const yen = await place([{ sku: 'IN-JPY', quantity: 1, price: 10.5 }], { pricing: 'quoted' });
    expect([yen.status, yen.body.code]).toEqual([422, 'validation_failed']);
    expect((await place([{ sku: 'DEAR', quantity: 2 }])).body.code).toBe('validation_failed');
    expect(await orders()).toBe(before);
    expect(await stockOf('IN-USD')).toEqual({ quantity: 10, reserved: 0 });
  });

  test('stores an order without enough stock as failed, and reserves nothing', async () => {
    await addProduct(store, 'SHORT-A', 5);
    await addProduct(store, 'SHORT-B', 1);
    const items = [
      { sku: 'SHORT-A', quantity: 2 },
      { sku: 'SHORT-B', quantity: 2 },
    ];
    const refused = await store.send('POST', '/v1/orders', { customerId: 'c', items }, { idempotencyKey: 'short-1' });
    expect(refused.status).toBe(409);
    expect(refused.body).toMatchObject({
      code: 'insufficient_inventory',
      shortages: [{ sku: 'SHORT-B', requested: 2, available: 1 }],
    });
    const kept = await store.send('GET', `/v1/orders/${refused.body.orderId}`);
    expect(kept.body).toMatchObject({ status: 'failed', failureReason: 'insufficient_inventory', reservation: null });
    expect(await stockOf('SHORT-A')).toEqual({ quantity: 5, reserved: 0 });
    expect(await topicsOf(refused.body.orderId)).toEqual(['order.created', 'inventory.insufficient', 'order.failed']);
    const again = await store.send('POST', '/v1/orders', { customerId: 'c', items }, { idempotencyKey: 'short-1' });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(again.body.orderId).toBe(refused.body.orderId);
  });
});

describe('concurrent orders', () => {
  for (const mode of ['in line', 'respond-async']) {
    test(`of 500 buyers for 100 units: exactly 100 orders get units, ${mode}`, async () => {
      const sku = `HOT-${mode.replace(' ', '-')}`;
      await addProduct(store, sku, 100);
      const headers: Record<string, string> = mode === 'in line' ? {} : { prefer: 'respond-async' };
      const buyers = Array.from({ length: 500 }, (_, index) =>
        store.send('POST', '/v1/orders', { customerId: `${sku}-${index}`, items: [{ sku, quantity: 1 }] }, { headers }),
      );
      const answers = await Promise.all(buyers);
      const statuses = new Set(answers.map((answer) => answer.status));
      if (mode === 'in line') {
        expect(answers.filter((answer) => answer.status === 201)).toHaveLength(100);
        expect(answers.filter((answer) => answer.body.code === 'insufficient_inventory')).toHaveLength(400);
      } else {
        expect([...statuses]).toEqual([202]);
        expect(answers[0]?.headers.get('preference-applied')).toBe('respond-async');
        await until(async () => {
          const [row] = await store.database.query<{ n: number }>(
            `select count(*)::int as n from orders.orders where customer_id like $1 and status = 'failed'`,
            [`${sku}-%`],
          );
          return row?.n === 400;
        });
      }
      const [counts] = await store.database.query<{ created: number; failed: number; held: number }>(
        `select count(*) filter (where o.status = 'created')::int as created,
                count(*) filter (where o.status = 'failed')::int as failed,
                count(*) filter (where r.status = 'held')::int as held
         from orders.orders o left join inventory.reservations r on r.order_id = o.id where o.customer_id like $1`,
        [`${sku}-%`],
      );
      expect(counts).toEqual({ created: 100, failed: 400, held: 100 });
      expect(await stockOf(sku)).toEqual({ quantity: 0, reserved: 100 });
    });
  }

  test('with the same SKUs in different order never return a deadlock, and the stock balances', async () => {
    const skus = ['CROSS-A', 'CROSS-B', 'CROSS-C', 'CROSS-D'];
    for (const sku of skus) await addProduct(store, sku, 100);
    const carts = Array.from({ length: 120 }, (_, index) => {
      const turned = [...skus.slice(index % 4), ...skus.slice(0, index % 4)];
      const items = (index % 2 === 0 ? turned : turned.reverse()).map((sku) => ({ sku, quantity: 1 }));
      return store.send('POST', '/v1/orders', { customerId: `cross-${index}`, items });
    });
    const answers = await Promise.all(carts);
    expect(answers.filter((answer) => answer.status === 201)).toHaveLength(100);
    expect(answers.filter((answer) => answer.body.code === 'insufficient_inventory')).toHaveLength(20);
    for (const sku of skus) expect(await stockOf(sku)).toEqual({ quantity: 0, reserved: 100 });
  });

  test('with the same Idempotency-Key create one order', async () => {
    await addProduct(store, 'ONCE', 50);
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => store.send('POST', '/v1/orders', oneLine('ONCE'), { idempotencyKey: 'once' })),
    );
    const ids = new Set(answers.filter((answer) => answer.status === 201).map((answer) => answer.body.id));
    expect(ids.size).toBe(1);
    for (const answer of answers.filter((each) => each.status !== 201)) {
      expect(answer.body.code).toBe('idempotency_in_progress');
    }
    expect(await stockOf('ONCE')).toEqual({ quantity: 49, reserved: 1 });
  });
});

describe('after an order was placed', () => {
  test('cancelling returns its stock at once, and cancelling again returns the same response', async () => {
    await addProduct(store, 'CANCEL', 5);
    const { body: placed } = await store.send('POST', '/v1/orders', oneLine('CANCEL', 3));
    const cancelled = await store.send('POST', `/v1/orders/${placed.id}/cancel`, { reason: 'too slow' });
    expect(cancelled.status).toBe(200);
    expect(cancelled.body).toMatchObject({ status: 'cancelled', reservation: { status: 'released', expiresAt: null } });
    const again = await store.send('POST', `/v1/orders/${placed.id}/cancel`);
    // The queue cancels its payment later.
    const { payment: _payment, ...order } = cancelled.body;
    expect(again.body).toMatchObject(order);
    expect(await stockOf('CANCEL')).toEqual({ quantity: 5, reserved: 0 });
    expect(await topicsOf(placed.id)).toEqual([
      'order.created',
      'inventory.reserved',
      'order.cancelled',
      'inventory.released',
    ]);
    const read = await store.send('GET', `/v1/orders/${placed.id}`);
    expect(read.body).toMatchObject(order);
  });

  test('cancelling before the queue reserves its units leaves it without units', async () => {
    await addProduct(store, 'EARLY', 5);
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const headers = { prefer: 'respond-async' };
        const { body } = await store.send('POST', '/v1/orders', oneLine('EARLY'), { headers });
        return store.send('POST', `/v1/orders/${body.id}/cancel`);
      }),
    );
    await store.settled();
    expect(answers.map((answer) => answer.body.status)).toEqual(Array(20).fill('cancelled'));
    await until(async () => (await stockOf('EARLY'))?.reserved === 0);
    expect(await stockOf('EARLY')).toEqual({ quantity: 5, reserved: 0 });
  });

  test('a failed order cannot be cancelled', async () => {
    await addProduct(store, 'FAILED', 0);
    const { body } = await store.send('POST', '/v1/orders', oneLine('FAILED'));
    const refused = await store.send('POST', `/v1/orders/${body.orderId}/cancel`);
    expect([refused.status, refused.body.code]).toEqual([409, 'order_not_cancellable']);
  });

  test('the cron releases an expired hold: the stock is returned, and the order fails', async () => {
    await addProduct(store, 'EXPIRE', 7);
    const { body: placed } = await store.send('POST', '/v1/orders', oneLine('EXPIRE', 4));
    const end = new Date(placed.reservation.expiresAt);
    expect(end.getTime() - new Date(placed.createdAt).getTime()).toBe(900_000);
    await store.cron('* * * * *', new Date(end.getTime() - 1));
    expect((await store.send('GET', `/v1/orders/${placed.id}`)).body.status).toBe('created');
    // A turn queries Stripe about a limited number of payments, and earlier tests left hundreds. A later turn does the
    // rest.
    await until(async () => {
      await Promise.all([store.cron('* * * * *', end), store.cron('* * * * *', end)]);
      return (await store.send('GET', `/v1/orders/${placed.id}`)).body.status !== 'created';
    });
    const read = await store.send('GET', `/v1/orders/${placed.id}`);
    expect(read.body).toMatchObject({
      status: 'failed',
      failureReason: 'reservation_expired',
      reservation: { status: 'released', expiresAt: null },
    });
    expect(await stockOf('EXPIRE')).toEqual({ quantity: 7, reserved: 0 });
    const history = await store.send('GET', `/v1/orders/${placed.id}/events`);
    // The events of the payment are between these, see payments.test.ts.
    const saga = history.body.data.filter((event: { type: string }) => !event.type.startsWith('payment.'));
    expect(saga.map((event: { type: string }) => event.type)).toEqual([
      'order.created',
      'inventory.reserved',
      'order.failed',
      'inventory.released',
    ]);
    expect(saga[3].data).toEqual({ orderId: placed.id, status: 'released', reason: 'expired' });
  });
});

describe('reading orders', () => {
  test('every read is one database call, and POST, GET and the list return the same order', async () => {
    await addProduct(store, 'READ', 9);
    const { body: placed } = await store.send('POST', '/v1/orders', {
      ...oneLine('READ'),
      customerId: 'reader',
      organizationId: 'acme-gmbh',
      purchaseOrderNumber: 'PO-7',
      shippingAddress: { name: 'Zoë Müller', line1: 'Hauptstraße 1', city: 'Köln', postalCode: '50667', country: 'DE' },
    });
    for (const path of [
      `/v1/orders/${placed.id}`,
      '/v1/orders?organizationId=acme-gmbh',
      `/v1/orders/${placed.id}/events`,
    ]) {
      const read = await store.send('GET', path);
      expect(read.status).toBe(200);
      expect(read.headers.get('server-timing')).toContain('"1 calls"');
    }
    // The consumer adds the payment at any time.
    const asPlaced = { ...placed, payment: expect.toSatisfy((it) => it === null || it.orderId === placed.id) };
    expect((await store.send('GET', `/v1/orders/${placed.id}`)).body).toEqual(asPlaced);
    expect((await store.send('GET', '/v1/orders?customerId=reader&status=created')).body).toEqual({
      data: [asPlaced],
      nextCursor: null,
    });
    expect((await store.send('GET', '/v1/orders?customerId=reader&status=failed')).body.data).toEqual([]);
  });

  test('pages contain every order once, newest first, and a cursor works only for its own list', async () => {
    await addProduct(store, 'PAGE', 100);
    const ids: string[] = [];
    for (let index = 0; index < 7; index++) {
      ids.push((await store.send('POST', '/v1/orders', { ...oneLine('PAGE'), customerId: 'pager' })).body.id);
    }
    const seen: string[] = [];
    let path: string | null = '/v1/orders?customerId=pager&limit=3';
    let cursor = '';
    while (path !== null) {
      const page = await store.send('GET', path);
      seen.push(...page.body.data.map((order: { id: string }) => order.id));
      const next = /<([^>]+)>; rel="next"/.exec(page.headers.get('link') ?? '')?.[1];
      expect(next === undefined).toBe(page.body.nextCursor === null);
      cursor = page.body.nextCursor ?? cursor;
      path = next ?? null;
    }
    expect(seen).toEqual([...ids].sort().reverse());
    const invalid = cursor.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'));
    for (const wrong of [
      `customerId=pager&cursor=${invalid}`,
      `customerId=other&cursor=${cursor}`,
      'cursor=nonsense',
    ]) {
      const refused = await store.send('GET', `/v1/orders?${wrong}`);
      expect([refused.status, refused.body.code]).toEqual([400, 'invalid_cursor']);
    }
  });

  test('another tenant’s order is not found', async () => {
    await addProduct(store, 'MINE', 9);
    const { body: placed } = await store.send('POST', '/v1/orders', oneLine('MINE'));
    const key = await store.database.key({ tenant: 'acme' });
    for (const [method, path] of [
      ['GET', `/v1/orders/${placed.id}`],
      ['GET', `/v1/orders/${placed.id}/events`],
      ['POST', `/v1/orders/${placed.id}/cancel`],
    ] as const) {
      const reply = await store.send(method, path, undefined, { key });
      expect([reply.status, reply.body.code]).toEqual([404, 'not_found']);
    }
    expect((await store.send('GET', '/v1/orders', undefined, { key })).body.data).toEqual([]);
  });
});

test('the cron decides orders whose message was lost, and fails those without stock', async () => {
  await addProduct(store, 'LOST', 1);
  // The rows as they are when the queue has lost the message.
  await store.database.query(
    `insert into orders.orders (id, customer_id, items, total, currency, status)
     select 'lost-' || n, 'lost', '[{"sku": "LOST", "quantity": 1, "price": 10}]', 10, 'USD', 'created' from generate_series(1, 2) n`,
  );
  await store.database.query(
    `insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, created_at)
     select 'lost-' || n, 'default', '{LOST}', '{1}', 'pending', now() from generate_series(1, 2) n`,
  );
  const statuses = async () =>
    store.database.query(
      `select o.status, r.status as hold from orders.orders o join inventory.reservations r on r.order_id = o.id
       where o.customer_id = 'lost' order by o.id`,
    );
  await store.cron('* * * * *', new Date(Date.now() + 60_000));
  expect(await statuses()).toEqual([
    { status: 'created', hold: 'pending' },
    { status: 'created', hold: 'pending' },
  ]);
  await store.cron('* * * * *', new Date(Date.now() + 130_000));
  await store.cron('* * * * *', new Date(Date.now() + 260_000));
  expect(await statuses()).toEqual([
    { status: 'created', hold: 'held' },
    { status: 'failed', hold: 'refused' },
  ]);
  expect(await stockOf('LOST')).toEqual({ quantity: 0, reserved: 1 });
});

test('an order whose rejection was never delivered is failed by the cron, at any age', async () => {
  await addProduct(store, 'UNHEARD', 0);
  await stopQueues(store.database);
  const { body: order } = await store.send('POST', '/v1/orders', oneLine('UNHEARD'), {
    headers: { prefer: 'respond-async' },
  });
  const messages = [{ eventId: 'unheard-1', orderId: order.id }];
  await store.database.query('select inventory.reserve_orders($1, $2)', [
    { jobSecret },
    { tenant: 'default', holdSeconds: 900, messages },
  ]);
  await store.database.query(`delete from platform.outbox where sink = 'queue' and key = $1`, [order.id]);
  await store.database.query(
    `update inventory.reservations set created_at = created_at - interval '40 days' where order_id = $1`,
    [order.id],
  );
  await startQueues(store.database);
  await store.cron();
  const { body: told } = await store.send('GET', `/v1/orders/${order.id}`);
  expect(told).toMatchObject({ status: 'failed', failureReason: 'insufficient_inventory' });
  expect(await store.database.query('select order_id from inventory.reservations where unheard')).toEqual([]);
});

test('the traceparent of a request is in every event that it causes, also through the queues', async () => {
  await addProduct(store, 'TRACED', 1);
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  const place = () =>
    store.send('POST', '/v1/orders', oneLine('TRACED'), { headers: { prefer: 'respond-async', traceparent } });
  const orders = await Promise.all([place(), place(), place()]);
  const ids = orders.map((order) => order.body.id);
  await until(async () => {
    const rows = await store.database.query(
      `select 1 from platform.events where key = any($1) and topic in ('inventory.reserved', 'order.failed')`,
      [ids],
    );
    return rows.length === 3;
  });
  const events = await store.database.query<{ topic: string; traceparent: string }>(
    'select topic, traceparent from platform.events where key = any($1)',
    [ids],
  );
  expect(events.length).toBeGreaterThanOrEqual(8);
  for (const event of events) expect(event).toEqual({ topic: event.topic, traceparent });
});
