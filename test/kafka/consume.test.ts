import { createHmac, randomUUID } from 'node:crypto';
import { Kafka } from '@upstash/kafka';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { eventOf } from '../support/outbox.ts';
import { jobSecret } from '../support/secrets.ts';
import { home, shop } from '../support/shipping.ts';

const secret = 'kafka_new';
const topic = 'order.refunded'; // a topic of the local Kafka that these tests do not publish to

let store: Store;
const { orderOf, free, shipped } = shop(() => store);
beforeAll(async () => {
  store = await startStore({
    variables: {
      KAFKA_CONSUME: topic,
      KAFKA_CONSUME_TENANTS: 'default',
      KAFKA_CONSUME_SECONDS: '2',
      KAFKA_WEBHOOK_SECRET: `kafka_old, ${secret}`,
    },
  });
  await addProduct(store, 'GIFT', 1_000, 0);
  await addProduct(store, 'BOOK', 100);
});
afterAll(() => store.close());

const adjustment = (sku: string, delta: number, overrides: Record<string, unknown> = {}) => ({
  specversion: '1.0',
  id: randomUUID(),
  source: '/warehouse',
  type: 'inventory.adjusted',
  data: { sku, delta, reason: 'counted' },
  ...overrides,
});

const push = (body: unknown, headers: Record<string, string> = { authorization: `Bearer ${secret}` }) =>
  store.send('POST', '/webhooks/kafka', typeof body === 'string' ? body : JSON.stringify(body), {
    key: null,
    idempotencyKey: null,
    headers: { 'content-type': 'application/json', ...headers },
  });

const stockOf = async (sku: string) => (await store.send('GET', `/v1/inventory/${sku}`)).body.quantity;
const untilStockIs = (sku: string, quantity: number) => until(async () => (await stockOf(sku)) === quantity);
/** Returns the stock after a later adjustment was applied: by then, earlier events were handled too. */
async function stockAfterLaterEvent(sku: string) {
  const before = await stockOf('GIFT');
  await push([adjustment('GIFT', 1)]);
  await untilStockIs('GIFT', before + 1);
  return stockOf(sku);
}

type DeadLetter = { tenant_id: string; sink: string; event_id: string; topic: string; reason: string };
const deadLettersWith = (text: string) =>
  store.database.query<DeadLetter>(
    'select tenant_id, sink, event_id, topic, reason from platform.dead_letters where message::text like $1 order by id',
    [`%${text}%`],
  );

describe('a pushed external event', () => {
  test('changes the stock once, even if it is delivered several times and in different formats', async () => {
    await addProduct(store, 'FORMS', 10);
    const event = adjustment('FORMS', 5);
    const { data, ...attributes } = event;
    const headers = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`ce_${name}`, value]));
    const httpHeaders = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`ce-${name}`, value]));
    const oneTaken = { taken: 1, own: 0, refused: 0 };
    const cloudEvents = { authorization: `Bearer ${secret}`, 'content-type': 'application/cloudevents+json' };
    expect((await push(event, cloudEvents)).body).toEqual(oneTaken);
    await untilStockIs('FORMS', 15);
    expect((await push([event, event])).body).toEqual({ ...oneTaken, taken: 2 });
    expect((await push(data, { authorization: `Bearer ${secret}`, ...httpHeaders })).body).toEqual(oneTaken);
    expect((await push([{ value: JSON.stringify(data), headers }])).body).toEqual(oneTaken);
    const pairs = Object.entries(headers).map(([key, value]) => ({ key, value }));
    expect((await push({ topic: 'x', value: data, headers: pairs })).body).toEqual(oneTaken);
    expect((await push([{ value: event }])).body).toEqual(oneTaken);
    expect(await stockAfterLaterEvent('FORMS')).toBe(15);
    const ledger = await store.database.query(`select delta, reason from inventory.adjustments where sku = 'FORMS'`);
    expect(ledger).toContainEqual({ delta: 5, reason: 'counted' });
    expect(ledger).toHaveLength(2);
  });

  test('is a different event if another source sends the same id', async () => {
    await addProduct(store, 'SOURCES', 0);
    const event = adjustment('SOURCES', 1);
    await push([event, { ...event, source: '/erp' }]);
    await untilStockIs('SOURCES', 2);
  });

  test('updates a shipment of its tenant, and not of another tenant', async () => {
    const order = await free(home);
    const { trackingNumber } = await shipped(order);
    const data = { trackingNumber, status: 'delivered', occurredAt: new Date().toISOString() };
    const update = { ...adjustment('', 0), type: 'shipping.tracking.updated', data };
    const [asAcme] = await store.database.query<{ outcome: object }>(
      'select shipping.apply_tracking($1, $2) as outcome',
      [{ jobSecret }, { ...data, carrier: 'manual', eventId: 'x', tenant: 'acme' }],
    );
    expect(asAcme?.outcome).toEqual({ outcome: 'unknown' });
    await push(update);
    await until(async () => (await orderOf(order)).status === 'delivered');
    const unknown = { ...update, id: randomUUID(), data: { ...data, trackingNumber: 'NOWHERE-1' } };
    await push(unknown);
    await until(async () => (await deadLettersWith('NOWHERE-1')).length === 1);
    expect(await deadLettersWith('NOWHERE-1')).toMatchObject([
      { sink: 'shipping', reason: 'No parcel has this number.' },
    ]);
  });

  test('that the stock does not allow becomes a dead letter with its reason, and does not stop its batch', async () => {
    await addProduct(store, 'SHORT', 3);
    const short = adjustment('SHORT', -4);
    const unknown = adjustment('NO-SUCH-SKU', 1);
    await push([short, unknown, adjustment('SHORT', -1)]);
    await untilStockIs('SHORT', 2);
    await until(
      async () => (await deadLettersWith(short.id)).length === 1 && (await deadLettersWith(unknown.id)).length === 1,
    );
    expect((await deadLettersWith(short.id))[0]?.reason).toContain('less stock');
    expect((await deadLettersWith(unknown.id))[0]?.reason).toContain('no such SKU');
    // The event can be sent again and is applied once there is enough stock.
    await push([adjustment('SHORT', 10)]);
    await untilStockIs('SHORT', 12);
    await push([short]);
    await untilStockIs('SHORT', 8);
  });

  test('that is rejected becomes a dead letter with its reason, and the connector gets a 200', async () => {
    const forged = adjustment('BOOK', 1, { type: 'payment.succeeded', data: { paymentId: 'p', orderId: 'o' } });
    const foreign = adjustment('BOOK', 1, { tenantid: 'acme' });
    const invalid = adjustment('BOOK', 1, { data: { sku: 'BOOK', delta: '1', reason: 'x' } });
    const plain = { hello: randomUUID() };
    const old = adjustment('BOOK', 1, { specversion: '0.3' });
    const response = await push([forged, foreign, invalid, plain, old, adjustment('BOOK', 7)]);
    expect([response.status, response.body]).toEqual([200, { taken: 1, own: 0, refused: 5 }]);
    await untilStockIs('BOOK', 107);
    const reasons = [
      [forged.id, 'payment.succeeded is not an external event type.'],
      [foreign.id, 'It may not be sent for the tenant that it names.'],
      [invalid.id, 'delta'],
      [plain.hello, 'It is not a CloudEvent'],
      [old.id, 'specversion'],
    ] as const;
    for (const [id, reason] of reasons) expect((await deadLettersWith(id))[0]?.reason).toContain(reason);
    expect((await deadLettersWith(foreign.id))[0]?.tenant_id).toBe('unknown');
    const garbage = `{"broken ${randomUUID()}`;
    expect((await push(garbage)).body).toEqual({ taken: 0, own: 0, refused: 1 });
    expect((await push(garbage)).status).toBe(200);
    expect(await deadLettersWith(garbage.slice(2))).toHaveLength(1);
    const { body } = await store.send('GET', '/v1/dead-letters?limit=100');
    const externalDeadLetters = body.data.filter(({ sink }: { sink: string }) => sink === 'outside');
    expect(externalDeadLetters.map(({ topic: type }: { topic: string }) => type).sort()).toEqual([
      'inventory.adjusted',
      'payment.succeeded',
    ]);
  });

  test('needs one of the two secrets, as Bearer token, in Basic authentication or as a signature of the body', async () => {
    const body = JSON.stringify([]);
    const seconds = Math.floor(Date.now() / 1000);
    const sign = (key: string, time = seconds) =>
      `t=${time},v1=${createHmac('sha256', key).update(`${time}.${body}`).digest('hex')}`;
    const good = [
      { authorization: 'Bearer kafka_old' },
      { authorization: `Basic ${btoa(`connector:${secret}`)}` },
      { 'x-signature': sign(secret) },
    ];
    for (const headers of good) expect((await push(body, headers)).status).toBe(200);
    const bad = [
      { authorization: 'Bearer kafka' },
      { authorization: 'Bearer ' },
      { authorization: 'Bearer kafka_old, kafka_new' },
      { authorization: `Basic ${btoa(`${secret}:`)}` },
      { 'x-signature': sign('kafka') },
      { 'x-signature': sign(secret, seconds - 400) },
      { 'x-signature': sign(secret).slice(0, -2), authorization: `Bearer ${secret}` },
      {},
    ] as Record<string, string>[];
    for (const headers of bad) expect((await push(body, headers)).body.code).toBe('invalid_signature');
  });
});

describe('our own event that is pushed back', () => {
  test('has no effect, before and after its queue delivers it', async () => {
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('BOOK', 2), {
      headers: { prefer: 'respond-async' },
    });
    const event = await eventOf(store.database, order.id, 'order.created');
    expect((await push([event, event])).body).toEqual({ taken: 0, own: 2, refused: 0 });
    await until(async () => (await orderOf(order.id)).reservation?.status === 'held');
    const before = await stockOf('BOOK');
    expect((await push([event])).body.own).toBe(1);
    expect(await stockAfterLaterEvent('BOOK')).toBe(before);
    const holds = await store.database.query('select from inventory.reservations where order_id = $1', [order.id]);
    expect(holds).toHaveLength(1);
  });
});

describe('the cron job that consumes from Kafka', () => {
  const kafka = () => new Kafka({ url: store.kafka.url, username: 'dev', password: 'dev' });
  const produce = (...values: unknown[]) =>
    kafka()
      .producer()
      .produceMany(
        values.map((value) => ({ topic, key: 'k', value: typeof value === 'string' ? value : JSON.stringify(value) })),
      );

  test('applies each event once, and skips records that are not events', async () => {
    await addProduct(store, 'BRIDGE', 0);
    const event = adjustment('BRIDGE', 1);
    const broken = `broken ${randomUUID()}`;
    await produce(event, broken, event, adjustment('BRIDGE', 10));
    await store.cron();
    await untilStockIs('BRIDGE', 11);
    expect(await deadLettersWith(broken)).toMatchObject([
      { sink: 'outside', event_id: expect.stringMatching(/^order\.refunded\/\d+\/\d+$/) },
    ]);
    await produce(adjustment('BRIDGE', 100));
    await store.cron();
    await untilStockIs('BRIDGE', 111);
    const turns = store.logs().filter((line) => String(line.id).startsWith('consume-kafka'));
    expect(turns.map(({ taken, refused }) => [taken, refused])).toEqual([
      [3, 1],
      [1, 0],
    ]);
  });

  test.each([
    ['because of its content', `new.message::text like '%POISON%'`, 1],
    ['even without its content', `new.event_id like 'order.refunded/%' and new.message::text !~ 'harmless'`, 0],
  ])(
    'a record that the database rejects (%s) does not stop the records after it',
    async (_, condition, storedCount) => {
      const sku = `POISON-${storedCount}`;
      await addProduct(store, sku, 0);
      await store.database.query(`create function public.refuse() returns trigger language plpgsql as $$
      begin raise exception using errcode = '23514', constraint = 'refused_letter', message = 'refused'; end $$`);
      await store.database.query(
        `create trigger refuse before insert on platform.dead_letters for each row when (${condition}) execute function public.refuse()`,
      );
      const harmless = `harmless ${randomUUID()}`;
      await produce(`POISON ${randomUUID()}`, harmless, adjustment(sku, 1));
      await store.cron();
      await untilStockIs(sku, 1);
      expect(await deadLettersWith(harmless)).toHaveLength(1);
      const deadLetters = await store.database.query(
        `select reason from platform.dead_letters where sink = 'outside' and reason like '%cannot be stored%'`,
      );
      expect(deadLetters).toHaveLength(1);
      const lines = store.logs().filter(({ constraint }) => constraint === 'refused_letter');
      expect(lines.at(-1)).toMatchObject({ outcome: storedCount === 1 ? 'dead_letter' : 'not_kept' });
      await store.database.query('drop function public.refuse cascade');
    },
  );
});

test('an event older than the inbox’s retention becomes a dead letter, and an event without a time stays in the inbox forever', async () => {
  const before = await stockOf('BOOK');
  const daysAgo = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString();
  const [old, early, recent, undated] = [
    adjustment('BOOK', 1, { time: daysAgo(29) }),
    adjustment('BOOK', 1, { time: daysAgo(-3) }),
    adjustment('BOOK', 1, { time: daysAgo(27) }),
    adjustment('BOOK', 1),
  ];
  expect((await push([old, early, recent, undated])).body).toEqual({ taken: 2, own: 0, refused: 2 });
  await untilStockIs('BOOK', before + 2);
  const deadLetters = (await store.send('GET', '/v1/dead-letters?limit=100')).body.data.map(
    (deadLetter: { reason: string }) => deadLetter.reason,
  );
  expect(deadLetters).toContain('It is older than 28 days: it may have been applied before.');
  expect(deadLetters).toContain('Its time is more than a day ahead.');

  // 31 days later, the purge has deleted the dated event from the inbox. By then that event is too old to be accepted.
  await store.cron('17 * * * *', new Date(Date.now() + 31 * 86_400_000));
  const [inboxRows] = await store.database.query<{ n: number }>(
    `select count(*)::int as n from platform.inbox where event_id like '%' || $1`,
    [undated?.id],
  );
  expect(inboxRows?.n).toBe(1);
  expect((await push(undated)).body.taken).toBe(1);
  expect((await push(adjustment('GIFT', 1))).body.taken).toBe(1);
  await store.settled();
  expect(await stockOf('BOOK')).toBe(before + 2);
});

test('the webhook returns 404 without a secret, and fails without KAFKA_CONSUME_TENANTS', async () => {
  const closed = await startStore();
  const open = await startStore({ variables: { KAFKA_WEBHOOK_SECRET: secret } });
  try {
    const pushTo = (target: Store) =>
      target.send('POST', '/webhooks/kafka', '[]', { headers: { authorization: `Bearer ${secret}` } });
    expect((await pushTo(closed)).status).toBe(404);
    expect((await pushTo(open)).status).toBe(500);
    expect(JSON.stringify(open.logs())).toContain('KAFKA_CONSUME_TENANTS');
  } finally {
    await closed.close();
    await open.close();
  }
});
