import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { inCell } from '../support/cells.ts';
import { addProduct, cronUntil, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { type PaymentFixture, paymentFixture } from '../support/payments.ts';
import { home, secret, sign } from '../support/shipping.ts';

let store: Store;
let c2: Store;
let payments: PaymentFixture;
beforeAll(async () => {
  store = await startStore({
    cells: ['c2'],
    variables: {
      SHIPPING_WEBHOOK_SECRET: secret,
      KAFKA_WEBHOOK_SECRET: 'pushed',
      KAFKA_CONSUME_TENANTS: 'default, acme, acme@c2',
    },
  });
  c2 = inCell(store, 'c2');
  payments = paymentFixture(c2);
});
afterAll(() => store.close());

const statusOf = async (of: Store, id: string) => (await of.send('GET', `/v1/orders/${id}`)).body.status;
const both = () => [store, c2];

describe('two tenants with one id in two cells', () => {
  test('have their own products, orders and idempotency keys', async () => {
    for (const [price, of] of [[10, store] as const, [20, c2] as const]) await addProduct(of, 'SAME', 5, price);
    const orders = await Promise.all(
      both().map((of) => of.send('POST', '/v1/orders', oneLine('SAME'), { idempotencyKey: 'same' })),
    );
    expect(orders.map(({ status, body }) => [status, body.total])).toEqual([
      [201, 10],
      [201, 20],
    ]);
    const [id, id2] = orders.map(({ body }) => body.id as string);
    expect((await store.send('GET', `/v1/orders/${id2}`)).status).toBe(404);
    expect((await c2.send('GET', `/v1/orders/${id}`)).status).toBe(404);
  });

  test('never see each other’s products in the edge cache', async () => {
    for (const [name, of] of [['One', store] as const, ['Two', c2] as const]) {
      await of.send('POST', '/v1/products', { sku: 'CACHED', name, price: 1, currency: 'USD', inventory: 1 });
    }
    const names = async () =>
      Promise.all(both().map(async (of) => (await of.send('GET', '/v1/products/by-sku/CACHED')).body.name));
    for (let round = 0; round < 3; round++) expect(await names()).toEqual(['One', 'Two']);
    const { body } = await c2.send('GET', '/v1/products/by-sku/CACHED');
    await c2.send('PATCH', `/v1/products/${body.id}`, { name: 'Changed' });
    expect(await names()).toEqual(['One', 'Changed']);
  });
});

test('a key is known only in the cell that it names', async () => {
  const read = async (key: string) => (await store.send('GET', '/v1/orders', undefined, { key })).status;
  expect(await read(c2.key)).toBe(200);
  expect(await read(c2.key.replace('_c2_', '_'))).toBe(401);
  expect(await read(c2.key.replace('_c2_', '_c3_'))).toBe(401);
  expect(await read(store.key.replace('sk_test_', 'sk_test_c2_'))).toBe(401);
});

test('a request to a cell makes one call, and its log line names the cell', async () => {
  const before = store.bridge.calls;
  await c2.send('GET', '/v1/orders?limit=1');
  expect(store.bridge.calls - before).toBe(1);
  await store.send('GET', '/v1/orders?limit=2');
  await until(() => store.logs().some((line) => line.operation === 'listOrders' && line.cell === 'c2'));
  const lines = store.logs().filter(({ operation, status }) => operation === 'listOrders' && status === 200);
  expect(lines.at(-1)).toMatchObject({ tenant: 'default' });
  expect(lines.at(-1)).not.toHaveProperty('cell');
});

test('a live token opens its campaign in its cell', async () => {
  const product = await addProduct(c2, 'LIVE', 5, 30);
  const { body: campaign } = await c2.send('POST', '/v1/campaigns', {
    ...{ productId: product.id, minParticipants: 2, maxParticipants: 5, price: 20 },
    startTime: new Date(Date.now() - 60_000).toISOString(),
    endTime: new Date(Date.now() + 3_600_000).toISOString(),
  });
  const { body } = await c2.send('POST', `/v1/campaigns/${campaign.id}/live-token`);
  expect(body.token).toMatch(/^lt_c2_/);
  const watch = (token: string) => fetch(`${store.url}/v1/campaigns/${campaign.id}/live?token=${token}`);
  const opened = await watch(body.token);
  expect(opened.status).toBe(200);
  await opened.body?.cancel();
  expect((await watch(body.token.replace('lt_c2_', 'lt_'))).status).toBe(401);
});

test('the card of a team is read from the cell that its code names, without a key', async () => {
  const codes: string[] = [];
  for (const [name, of] of [['Here', store] as const, ['There', c2] as const]) {
    const product = await addProduct(of, 'CARD', 5, 10, { name });
    const { body: campaign } = await of.send('POST', '/v1/campaigns', {
      ...{ productId: product.id, mode: 'teams', teamSize: 2, teamSeconds: 3_600, price: 9 },
      startTime: new Date(Date.now() - 60_000).toISOString(),
      endTime: new Date(Date.now() + 3_600_000).toISOString(),
    });
    const { body } = await of.send('POST', `/v1/campaigns/${campaign.id}/teams`, { userId: 'u' });
    codes.push(body.team.code);
  }
  const [code = '', code2 = ''] = codes;
  expect(code2).toMatch(/^c2-[0-9a-z]{16}$/);
  const read = (of: string) => store.send('GET', `/v1/teams/by-code/${of}/card`, undefined, { key: null });
  for (let n = 0; n < 2; n++) {
    expect((await read(code)).body).toMatchObject({ title: 'Here', missing: 1 });
    expect((await read(code2)).body).toMatchObject({ title: 'There', missing: 1 });
  }
  // Neither cell knows the codes of the other.
  for (const wrong of [`c2-${code}`, code2.replace('c2-', ''), code2.replace('c2-', 'c3-')]) {
    expect([wrong, (await read(wrong)).status]).toEqual([wrong, 404]);
  }
});

describe('the events of a cell', () => {
  test('carry its name to Kafka and to the queues, and are applied there', async () => {
    for (const of of both()) await addProduct(of, 'ASYNC', 3);
    const placed = await Promise.all(
      both().map((of) => of.send('POST', '/v1/orders', oneLine('ASYNC', 2), { headers: { prefer: 'respond-async' } })),
    );
    const ids = placed.map(({ body }) => body.id as string);
    for (const of of both()) await of.settled();
    for (const [index, of] of both().entries()) {
      const [row] = await of.database.query('select status from inventory.reservations where order_id = $1', [
        ids[index],
      ]);
      expect(row).toEqual({ status: 'held' });
    }
    const recordOf = (id?: string) => [...store.kafka.read('order.created')].find(({ key }) => key === id);
    await until(() => ids.every((id) => recordOf(id) !== undefined));
    const headersOf = (id?: string) =>
      Object.fromEntries((recordOf(id)?.headers ?? []).map(({ key, value }) => [key, value]));
    expect(headersOf(ids[1])).toMatchObject({ ce_cell: 'c2', ce_tenantid: 'default' });
    expect(headersOf(ids[0])).not.toHaveProperty('ce_cell');
  });
});

describe('crons', () => {
  test('run every job in every cell', async () => {
    for (const of of both()) await addProduct(of, 'EXPIRES', 1);
    const ids: string[] = [];
    for (const of of both()) ids.push((await of.send('POST', '/v1/orders', oneLine('EXPIRES'))).body.id);
    const later = new Date(Date.now() + 3_600_000);
    await cronUntil(store, later, async () => {
      const statuses = await Promise.all(both().map((of, index) => statusOf(of, ids[index] ?? '')));
      return statuses.every((status) => status === 'failed');
    });
    const jobs = (cell: string | undefined) =>
      new Set(
        store
          .logs()
          .filter((line) => line.kind === 'job' && line.cell === cell)
          .map(({ id }) => String(id).split(' ')[0]),
      );
    expect(jobs('c2').size).toBeGreaterThan(5);
    // What reads from Kafka reads for all cells, so it is done once.
    expect(new Set([...jobs('c2'), 'consume-kafka'])).toEqual(jobs(undefined));
  });
});

describe('Stripe', () => {
  test('is told the cell of each payment, and its webhooks are applied there', async () => {
    await addProduct(c2, 'PAID', 5);
    const { order, intent } = await payments.checkout('PAID');
    expect((await payments.stripe.paymentIntents.retrieve(intent)).metadata).toMatchObject({ cell: 'c2' });
    await payments.pay(intent);
    await until(async () => (await statusOf(c2, order.id)) === 'confirmed');
    await addProduct(store, 'PAID', 5);
    const own = paymentFixture(store);
    const { intent: other } = await own.checkout('PAID');
    expect((await own.stripe.paymentIntents.retrieve(other)).metadata).not.toHaveProperty('cell');
  });

  test('an object that names no cell is applied in the cell that knows its payment', async () => {
    await addProduct(c2, 'REFUNDED', 5);
    const { order, payment, intent } = await payments.checkout('REFUNDED');
    await payments.pay(intent);
    await until(async () => (await statusOf(c2, order.id)) === 'confirmed');
    // Made in the dashboard, so without our metadata.
    await payments.stripe.refunds.create({ payment_intent: intent, amount: 400 });
    await until(async () => {
      const { body } = await c2.send('GET', `/v1/payments/${payment.id}/refunds`);
      return body.data.some((refund: { amount: number; status: string }) => refund.amount === 4);
    });
  });

  test('an event that no webhook delivers is found by the cron of its own cell', async () => {
    await addProduct(c2, 'UNHEARD', 5);
    const { order, intent } = await payments.checkout('UNHEARD');
    await payments.webhooks({ url: 'http://127.0.0.1:9/nowhere' });
    await payments.pay(intent);
    await cronUntil(store, new Date(), async () => (await statusOf(c2, order.id)) === 'confirmed');
    await payments.webhooks({ url: `${store.url}/webhooks/stripe` });
  });

  test('an event about an unknown payment changes nothing and is accepted', async () => {
    const payload = JSON.stringify({
      ...{ id: 'evt_foreign', object: 'event', type: 'charge.dispute.created' },
      data: { object: { id: 'dp_1', object: 'dispute', status: 'needs_response', payment_intent: 'pi_foreign' } },
    });
    expect((await payments.deliver(payload)).status).toBe(200);
  });
});

describe('a tracking update', () => {
  const parcel = async (of: Store) => {
    await of.send('POST', '/v1/products', { sku: 'GIFT', name: 'Gift', price: 0, currency: 'USD', inventory: 100 });
    const { body } = await of.send('POST', '/v1/orders', oneLine('GIFT', 1, { shippingAddress: home }));
    await until(async () => (await of.send('GET', `/v1/orders/${body.id}`)).body.shipment !== null);
    const { shipment } = (await of.send('GET', `/v1/orders/${body.id}`)).body;
    return { id: shipment.id as string, trackingNumber: shipment.trackingNumber as string };
  };
  const track = (path: string, trackingNumber: string, eventId: string) => {
    const occurredAt = new Date().toISOString();
    const body = JSON.stringify({ eventId, trackingNumber, status: 'in_transit', occurredAt });
    return store.send('POST', `/webhooks/shipping/manual${path}`, body, {
      key: null,
      idempotencyKey: null,
      headers: { 'x-signature': sign(body) },
    });
  };
  const shipmentStatus = async (of: Store, id: string) => (await of.send('GET', `/v1/shipments/${id}`)).body.status;

  test('is applied in the cell that has the parcel', async () => {
    for (const of of both()) {
      const { id, trackingNumber } = await parcel(of);
      expect((await track('', trackingNumber, 'a')).status).toBe(200);
      expect(await shipmentStatus(of, id)).toBe('in_transit');
    }
  });

  test('that names a cell is applied there and nowhere else', async () => {
    const { id, trackingNumber } = await parcel(c2);
    expect((await track('/default', trackingNumber, 'b')).status).toBe(200);
    expect(await shipmentStatus(c2, id)).toBe('created');
    expect((await track('/c2', trackingNumber, 'b')).status).toBe(200);
    expect(await shipmentStatus(c2, id)).toBe('in_transit');
    expect((await track('/c3', trackingNumber, 'b')).body.code).toBe('invalid_signature');
  });
});

describe('an external event', () => {
  const push = (event: object) => {
    const body = JSON.stringify({ specversion: '1.0', source: '/erp', type: 'inventory.adjusted', ...event });
    const at = Math.floor(Date.now() / 1000);
    const signature = `t=${at},v1=${createHmac('sha256', 'pushed').update(`${at}.${body}`).digest('hex')}`;
    return store.send('POST', '/webhooks/kafka', body, {
      key: null,
      idempotencyKey: null,
      headers: { 'content-type': 'application/cloudevents+json', 'x-signature': signature },
    });
  };
  const stockOf = async (of: Store, tenant: string) => {
    const rows = await of.database.query<{ quantity: number }>(
      `select quantity from inventory.inventory where sku = 'MOVED' and tenant_id = $1`,
      [tenant],
    );
    return rows[0]?.quantity;
  };
  const adjust = (id: string, more: object, delta = 5) =>
    push({ id, ...more, data: { sku: 'MOVED', delta, reason: 'count' } });
  const fill = async (of: Store, tenant: string) => {
    const key = await of.database.key({ tenant });
    const body = { sku: 'MOVED', name: 'Moved', price: 1, currency: 'USD', inventory: 10 };
    expect((await of.send('POST', '/v1/products', body, { key })).status).toBe(201);
  };

  test('is applied in the cell that it names, if its tenant is allowed there', async () => {
    for (const of of both()) await fill(of, 'acme');
    expect((await adjust('1', { tenantid: 'acme', cell: 'c2' })).body).toMatchObject({ taken: 1 });
    await until(async () => (await stockOf(c2, 'acme')) === 15);
    expect(await stockOf(store, 'acme')).toBe(10);
    // Two cells have an allowed tenant of this name, so an event without a cell means the default cell.
    expect((await adjust('1', { tenantid: 'acme' }, 1)).body).toMatchObject({ taken: 1 });
    await until(async () => (await stockOf(store, 'acme')) === 11);
    expect(await stockOf(c2, 'acme')).toBe(15);
    for (const owner of [
      { tenantid: 'default', cell: 'c2' },
      { tenantid: 'acme', cell: 'c3' },
    ]) {
      expect((await adjust('2', owner)).body).toMatchObject({ taken: 0, refused: 1 });
    }
  });

  test('that is rejected becomes a dead letter in the cell of its tenant', async () => {
    await push({ id: 'bad', type: 'nothing.known', tenantid: 'acme', cell: 'c2', data: {} });
    const letters = await c2.database.query(`select from platform.dead_letters where topic = 'nothing.known'`);
    expect(letters).toHaveLength(1);
  });
});
