import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ChooseFault } from '../../dev/kafka/faults.ts';
import type { Message } from '../../dev/kafka/log.ts';
import { partitionForKey } from '../../dev/kafka/murmur2.ts';
import type { NeonBridgeOptions } from '../../dev/neon/bridge.ts';
import { topics } from '../../src/events/topics.ts';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { emit } from '../support/outbox.ts';

const noFaults = {
  kafka: (() => undefined) as ChooseFault,
  neon: (() => undefined) as NonNullable<NeonBridgeOptions['fault']>,
};
let fault = { ...noFaults };
let store: Store;
beforeAll(async () => {
  store = await startStore({ kafkaFault: (request) => fault.kafka(request), neonFault: (call) => fault.neon(call) });
});
afterEach(() => {
  fault = { ...noFaults };
});
afterAll(() => store.close());

const asyncOptions = { headers: { prefer: 'respond-async' } };
const keysOf = (records: readonly unknown[] = []) => records.map((record) => (record as { key: string }).key);
const header = (record: Message, name: string) => record.headers.find(({ key }) => key === name)?.value;

/** The records of a key in Kafka, topic by topic. */
const recordsOf = (key: string) =>
  Object.keys(topics).flatMap((topic) => [...store.kafka.read(topic)].filter((record) => record.key === key));

const readOrder = async (id: string) => (await store.send('GET', `/v1/orders/${id}`)).body;

const eventsOf = (key: string) =>
  store.database.query<{ id: string; topic: string; payload: unknown; tenant_id: string; time: Date }>(
    'select id::text, topic, payload, tenant_id, time from platform.events where key = $1 order by seq',
    [key],
  );

/** Runs the cron until the outbox is empty. */
const relayAll = () =>
  until(async () => {
    await store.cron();
    const [left] = await store.database.query<{ n: number }>('select count(*)::int as n from platform.outbox');
    return left?.n === 0;
  });

/** Ends leases and pauses, as if a minute had passed. */
const endLeasesAndPauses = async () => {
  await store.database.query('update platform.outbox set due_at = now()');
  await store.database.query(`update platform.sinks set paused_until = '-infinity'`);
};

describe('a Kafka record', () => {
  test('has the payload as its value and the event attributes as headers, and is in the partition of its key', async () => {
    await addProduct(store, 'RECORD', 5, 12.5);
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const { body } = await store.send('POST', '/v1/orders', oneLine('RECORD'), { headers: { traceparent } });
    await store.settled();
    const events = await eventsOf(body.id);
    expect(events.map(({ topic }) => topic)).toEqual(['order.created', 'inventory.reserved']);
    for (const event of events) {
      const [record, ...furtherRecords] = [...store.kafka.read(event.topic)].filter(({ key }) => key === body.id);
      expect(furtherRecords).toEqual([]);
      expect(JSON.parse(record?.value ?? '')).toEqual(event.payload);
      expect(record?.partition).toBe(partitionForKey(body.id, topics[event.topic]?.partitions ?? 0));
      expect(Object.fromEntries(record?.headers.map(({ key, value }) => [key, value]) ?? [])).toEqual({
        ce_specversion: '1.0',
        ce_id: event.id,
        ce_type: event.topic,
        ce_source: '/fusioncommerce',
        ce_time: event.time.toISOString(),
        ce_tenantid: 'default',
        ce_traceparent: traceparent,
        'content-type': 'application/json',
      });
    }
    expect(JSON.parse(recordsOf(body.id)[0]?.value ?? '')).toEqual({
      orderId: body.id,
      customerId: 'customer-1',
      total: 12.5,
      currency: 'USD',
      items: [{ sku: 'RECORD', quantity: 1, price: 12.5 }],
    });
  });

  test('has no ce_traceparent if the request had none, and has the tenant of the API key', async () => {
    const key = await store.database.key({ tenant: 'acme' });
    const product = { sku: 'ACME-1', name: 'A', price: 1, currency: 'USD', inventory: 1 };
    const { body } = await store.send('POST', '/v1/products', product, { key });
    await store.settled();
    const [record] = recordsOf(body.id);
    expect(record && header(record, 'ce_tenantid')).toBe('acme');
    expect(record && header(record, 'ce_traceparent')).toBeUndefined();
  });
});

describe('while Kafka is unavailable', () => {
  test('orders are placed and decided, and afterwards every event arrives, in order per key', async () => {
    await addProduct(store, 'AWAY', 8);
    await store.settled();
    let unavailable = true;
    const arrived: (string | undefined)[] = [];
    fault.kafka = ({ records = [] }) => {
      if (unavailable) return { reject: { status: 503, error: 'away' } };
      arrived.push(...records.map((record) => header(record as Message, 'ce_id')));
      return undefined;
    };
    const placed = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        store.send('POST', '/v1/orders', oneLine('AWAY'), index % 2 === 0 ? asyncOptions : {}),
      ),
    );
    const ids = placed.map(({ body }) => body.id ?? body.orderId);
    await until(async () => {
      const orders = await Promise.all(ids.map(readOrder));
      return orders.every(({ reservation, status }) => reservation !== null || status === 'failed');
    });
    const held = (await Promise.all(ids.map(readOrder))).filter(({ reservation }) => reservation !== null);
    expect(held).toHaveLength(8);
    for (const { id } of held.slice(0, 3)) {
      expect((await store.send('POST', `/v1/orders/${id}/cancel`)).body.status).toBe('cancelled');
    }
    expect(ids.flatMap(recordsOf)).toEqual([]);
    const ready = await store.send('GET', '/readyz');
    expect(ready.body.outboxCount).toBeGreaterThan(40);
    expect(store.logs()).toContainEqual(
      expect.objectContaining({ kind: 'relay', sink: 'kafka', outcome: 'paused', reason: '503: away' }),
    );
    unavailable = false;
    await relayAll();
    for (const id of ids) {
      const eventIds = (await eventsOf(id)).map((event) => event.id);
      expect(arrived.filter((eventId) => eventIds.includes(eventId ?? ''))).toEqual(eventIds);
      expect(recordsOf(id)).toHaveLength(eventIds.length);
    }
  });

  test('a hanging connection to Kafka delays only the Kafka relay', async () => {
    await addProduct(store, 'HANGING', 9);
    await store.settled();
    let releaseRequests = () => {};
    const gate = new Promise<undefined>((resolve) => {
      releaseRequests = () => resolve(undefined);
    });
    let requests = 0;
    fault.kafka = () => {
      requests++;
      return gate;
    };
    const pausesBefore = store.logs().filter(({ outcome }) => outcome === 'paused').length;
    for (let round = 0; round < 3; round++) {
      const { body } = await store.send('POST', '/v1/orders', oneLine('HANGING'), asyncOptions);
      await until(async () => (await readOrder(body.id)).reservation?.status === 'held');
    }
    // The first request still waits: it has neither a response nor a timeout.
    expect(requests).toBe(1);
    expect(store.logs().filter(({ outcome }) => outcome === 'paused')).toHaveLength(pausesBefore);
    fault = { ...noFaults };
    releaseRequests();
    await relayAll();
  });

  test('the pause grows with each failed attempt, and deliveries to the queues do not end it', async () => {
    await store.settled();
    fault.kafka = () => ({ reject: { status: 500 } });
    const failures = async () => {
      const [row] = await store.database.query<{ failures: number }>(
        `select failures from platform.sinks where sink = 'kafka'`,
      );
      return row?.failures;
    };
    const before = (await failures()) ?? 0;
    expect(before).toBe(0);
    for (let round = 1; round <= 4; round++) {
      await emit(store.database, randomUUID(), { topic: 'order.created', queue: true });
      await store.database.query(`update platform.sinks set paused_until = '-infinity' where sink = 'kafka'`);
      await store.cron();
      expect(await failures()).toBe(round);
    }
    fault = { ...noFaults };
    await endLeasesAndPauses();
    await relayAll();
    expect(await failures()).toBe(0);
  });
});

describe('when Kafka rejects one record of a batch', () => {
  test('temporarily, later records of its key wait, other keys continue, and the order per key holds', async () => {
    const keys = Array.from({ length: 6 }, () => randomUUID());
    const [rejected = ''] = keys;
    for (let round = 0; round < 4; round++) for (const key of keys) await emit(store.database, key);
    let rejecting = true;
    const requests: string[][] = [];
    fault.kafka = ({ records }) => {
      const requestKeys = keysOf(records);
      requests.push(requestKeys);
      return rejecting
        ? { rejectRecords: requestKeys.flatMap((key, index) => (key === rejected ? [{ index, status: 503 }] : [])) }
        : undefined;
    };
    await store.cron();
    for (const key of keys) expect(recordsOf(key)).toHaveLength(key === rejected ? 0 : 4);
    // A request has at most one record per key, and no further record of this key after the rejection.
    for (const request of requests) expect(new Set(request).size).toBe(request.length);
    expect(requests.flat().filter((key) => key === rejected)).toHaveLength(1);
    await emit(store.database, rejected);
    rejecting = false;
    await relayAll();
    const events = await eventsOf(rejected);
    expect(recordsOf(rejected).map((record) => header(record, 'ce_id'))).toEqual(events.map(({ id }) => id));
  });

  test('permanently, it becomes a dead letter, and later records of its key are sent', async () => {
    const key = randomUUID();
    await emit(store.database, key, { payload: { orderId: key, text: 'x'.repeat(1_100_000) } });
    await emit(store.database, key, { count: 2 });
    await store.cron();
    const [large, ...laterEvents] = await eventsOf(key);
    expect(recordsOf(key).map((record) => header(record, 'ce_id'))).toEqual(laterEvents.map(({ id }) => id));
    const { body } = await store.send('GET', '/v1/dead-letters');
    const deadLetter = body.data.find((each: { eventId: string }) => each.eventId === large?.id);
    expect(deadLetter).toMatchObject({ sink: 'kafka', topic: 'order.confirmed', key, attempts: 1, replayedAt: null });
    expect(deadLetter.reason).toMatch(/^order\.confirmed: .*bytes/);
    const ready = await store.send('GET', '/readyz');
    expect(ready.body.deadLetters).toBe(1);
  });
});

describe('a relay that dies after delivering and before settling', () => {
  /** Loses every call that settles deliveries to this sink, retries included. Returns a function that counts them. */
  const loseSettling = (sink: string) => {
    let lost = 0;
    fault.neon = ({ statements: [statement] }) => {
      const input = statement?.params.find((param) => param?.includes('"delivered":['));
      if (!input) return undefined;
      const turns: { sink: string; delivered: number[] }[] = JSON.parse(input).sinks;
      if (!turns.some((turn) => turn.sink === sink && turn.delivered.length > 0)) return undefined;
      lost++;
      return { kind: 'lose-request' };
    };
    return () => lost;
  };

  test('sends its Kafka records again, with the same ce_id, in the same order', async () => {
    const key = randomUUID();
    const lost = loseSettling('kafka');
    await emit(store.database, key, { count: 3 });
    await store.cron();
    expect(lost()).toBeGreaterThan(0);
    const ids = (await eventsOf(key)).map(({ id }) => id);
    const sent = () => recordsOf(key).map((record) => header(record, 'ce_id'));
    expect(sent()).toEqual(ids);
    fault = { ...noFaults };
    await store.cron();
    // Its lease has not expired, so no other relay touches its rows.
    expect(sent()).toEqual(ids);
    await endLeasesAndPauses();
    await relayAll();
    expect(sent()).toEqual([...ids, ...ids]);
  });

  test('sends its queue messages again, and each takes effect once', async () => {
    await addProduct(store, 'TWICE', 10);
    await store.settled();
    const failures = () => store.logs().filter(({ kind, outcome }) => kind === 'relay' && outcome === 'failed').length;
    const failed = failures();
    const lost = loseSettling('queue');
    const placed = await Promise.all(
      Array.from({ length: 5 }, () => store.send('POST', '/v1/orders', oneLine('TWICE', 1), asyncOptions)),
    );
    const ids = placed.map(({ body }) => body.id);
    await until(async () => (await Promise.all(ids.map(readOrder))).every(({ reservation }) => reservation !== null));
    expect(lost()).toBeGreaterThan(0);
    // Wait until the relay has given up, because one of its retries could still reach the database.
    await until(() => failures() > failed);
    const applied = () =>
      store.logs().filter(({ service, topic }) => service === 'inventory' && topic === 'order.created');
    const before = applied().reduce((sum, { messages }) => sum + Number(messages), 0);
    fault = { ...noFaults };
    await endLeasesAndPauses();
    await relayAll();
    await until(() => applied().reduce((sum, { messages }) => sum + Number(messages), 0) > before);
    const [stock] = await store.database.query(
      `select quantity, reserved from inventory.inventory where sku = 'TWICE'`,
    );
    expect(stock).toEqual({ quantity: 5, reserved: 5 });
    for (const id of ids) {
      const reserved = (await eventsOf(id)).filter(({ topic }) => topic === 'inventory.reserved');
      expect(reserved).toHaveLength(1);
    }
  });
});

describe('the relay after a response', () => {
  test('takes two calls for both sinks: one leases the events, one records that they were delivered', async () => {
    await addProduct(store, 'BOTH', 5);
    await store.settled();
    const turns: { sink: string; delivered: number[] }[][] = [];
    fault.neon = ({ statements: [statement] }) => {
      if (statement?.query.includes('platform.relay')) turns.push(JSON.parse(statement.params.at(-1) ?? '').sinks);
      return undefined;
    };
    await emit(store.database, randomUUID(), { topic: 'order.created', queue: true });
    await store.send('PUT', '/v1/inventory/BOTH', { quantity: 9 });
    await store.settled();
    const counts = turns.map((turn) => turn.map(({ sink, delivered }) => [sink, delivered.length]));
    // The consumer of order.created finds no such order. The relay after it has nothing to deliver.
    expect(counts.slice(0, 2)).toEqual([
      [
        ['kafka', 0],
        ['queue', 0],
      ],
      [
        ['kafka', 1],
        ['queue', 1],
      ],
    ]);
  });

  test('reports a fast sink without waiting for a slow one, whose events are reported later', async () => {
    await store.settled();
    let release = () => {};
    const gate = new Promise<undefined>((resolve) => {
      release = () => resolve(undefined);
    });
    fault.kafka = () => gate;
    const key = randomUUID();
    await emit(store.database, key, { topic: 'order.confirmed', queue: true });
    const cron = store.cron();
    const waiting = async () =>
      (await store.database.query<{ sink: string }>('select sink from platform.outbox where key = $1', [key])).map(
        ({ sink }) => sink,
      );
    await until(async () => (await waiting()).length === 1);
    expect(await waiting()).toEqual(['kafka']);
    release();
    await cron;
    expect(await waiting()).toEqual([]);
  });
});

test('an event that waits for another relay is delivered soon after that relay’s own, without the cron', async () => {
  const { id: key } = await addProduct(store, 'HELD', 5);
  await store.settled();
  const left = async () =>
    (await store.database.query('select from platform.outbox where key = $1 and sink = $2', [key, 'kafka'])).length;
  // Another relay has leased an earlier event of the product, and delivers it now.
  const [leased] = await emit(store.database, key, { topic: 'product.updated' });
  await store.database.query(
    `update platform.outbox set lease = 'another', due_at = now() + interval '1 minute' where seq = $1`,
    [leased],
  );
  expect((await store.send('PATCH', `/v1/products/${key}`, { name: 'Held' })).status).toBe(200);
  await sleep(1_000);
  expect(await left()).toBe(2);
  await store.database.query('delete from platform.outbox where seq = $1', [leased]);
  await until(async () => (await left()) === 0);
});

test('a backlog larger than one turn is delivered completely in one run', async () => {
  const key = randomUUID();
  for (let index = 0; index < 4; index++) await emit(store.database, `${key} ${index}`, { count: 3 });
  await store.database.query(
    `with entered as materialized (select platform.act_as('default'))
     select platform.emit('order.confirmed', '${key} n' || i, '{}', false) from entered, generate_series(1, 1500) i`,
  );
  await store.cron();
  const [left] = await store.database.query<{ n: number }>('select count(*)::int as n from platform.outbox');
  expect(left?.n).toBe(0);
  expect([...store.kafka.read('order.confirmed')].filter((record) => record.key.startsWith(key))).toHaveLength(1512);
});
