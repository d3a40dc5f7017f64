import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ChooseFault } from '../../dev/kafka/faults.ts';
import type { Message } from '../../dev/kafka/log.ts';
import { partitionForKey } from '../../dev/kafka/murmur2.ts';
import type { NeonBridgeOptions } from '../../dev/neon/bridge.ts';
import { topics } from '../../src/events/topics.ts';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { emit } from '../support/outbox.ts';

const calm = {
  kafka: (() => undefined) as ChooseFault,
  neon: (() => undefined) as NonNullable<NeonBridgeOptions['fault']>,
};
let fault = { ...calm };
let store: Store;
beforeAll(async () => {
  store = await startStore({ kafkaFault: (request) => fault.kafka(request), neonFault: (call) => fault.neon(call) });
});
afterEach(() => {
  fault = { ...calm };
});
afterAll(() => store.close());

const async_ = { headers: { prefer: 'respond-async' } };
const keysOf = (records: readonly unknown[] = []) => records.map((record) => (record as { key: string }).key);
const header = (record: Message, name: string) => record.headers.find(({ key }) => key === name)?.value;

/** What Kafka has of a key, topic by topic. */
const inKafka = (key: string) =>
  Object.keys(topics).flatMap((topic) => [...store.kafka.read(topic)].filter((record) => record.key === key));

const statusOf = async (id: string) => (await store.send('GET', `/v1/orders/${id}`)).body;

const eventsOf = (key: string) =>
  store.database.query<{ id: string; topic: string; payload: unknown; tenant_id: string; time: Date }>(
    'select id::text, topic, payload, tenant_id, time from platform.events where key = $1 order by seq',
    [key],
  );

/** Fires the cron until nothing waits to be delivered. */
const drain = () =>
  until(async () => {
    await store.cron();
    const [left] = await store.database.query<{ n: number }>('select count(*)::int as n from platform.outbox');
    return left?.n === 0;
  });

/** Ends leases and pauses, as a minute does. */
const aMinuteLater = async () => {
  await store.database.query('update platform.outbox set due_at = now()');
  await store.database.query(`update platform.sinks set paused_until = '-infinity'`);
};

describe('a record in Kafka', () => {
  test('is the payload alone, with the event around it in its headers, in the partition of its key', async () => {
    await addProduct(store, 'RECORD', 5, 12.5);
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const { body } = await store.send('POST', '/v1/orders', oneLine('RECORD'), { headers: { traceparent } });
    await store.settled();
    const events = await eventsOf(body.id);
    expect(events.map(({ topic }) => topic)).toEqual(['order.created', 'inventory.reserved']);
    for (const event of events) {
      const [record, ...more] = [...store.kafka.read(event.topic)].filter(({ key }) => key === body.id);
      expect(more).toEqual([]);
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
    expect(JSON.parse(inKafka(body.id)[0]?.value ?? '')).toEqual({
      orderId: body.id,
      customerId: 'customer-1',
      total: 12.5,
      currency: 'USD',
      items: [{ sku: 'RECORD', quantity: 1, price: 12.5 }],
    });
  });

  test('has no ce_traceparent when the request had none, and the tenant of its key', async () => {
    const key = await store.database.key({ tenant: 'acme' });
    const product = { sku: 'ACME-1', name: 'A', price: 1, currency: 'USD', inventory: 1 };
    const { body } = await store.send('POST', '/v1/products', product, { key });
    await store.settled();
    const [record] = inKafka(body.id);
    expect(record && header(record, 'ce_tenantid')).toBe('acme');
    expect(record && header(record, 'ce_traceparent')).toBeUndefined();
  });
});

describe('while Kafka is away', () => {
  test('orders are taken and decided, and when it is back nothing is lost and each key is in order', async () => {
    await addProduct(store, 'AWAY', 8);
    await store.settled();
    let away = true;
    const arrived: (string | undefined)[] = [];
    fault.kafka = ({ records = [] }) => {
      if (away) return { reject: { status: 503, error: 'away' } };
      arrived.push(...records.map((record) => header(record as Message, 'ce_id')));
      return undefined;
    };
    const placed = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        store.send('POST', '/v1/orders', oneLine('AWAY'), index % 2 === 0 ? async_ : {}),
      ),
    );
    const ids = placed.map(({ body }) => body.id ?? body.orderId);
    await until(async () => {
      const orders = await Promise.all(ids.map(statusOf));
      return orders.every(({ reservation, status }) => reservation !== null || status === 'failed');
    });
    const held = (await Promise.all(ids.map(statusOf))).filter(({ reservation }) => reservation !== null);
    expect(held).toHaveLength(8);
    for (const { id } of held.slice(0, 3)) {
      expect((await store.send('POST', `/v1/orders/${id}/cancel`)).body.status).toBe('cancelled');
    }
    expect(ids.flatMap(inKafka)).toEqual([]);
    const ready = await store.send('GET', '/readyz');
    expect(ready.body.outboxCount).toBeGreaterThan(40);
    expect(store.logs()).toContainEqual(
      expect.objectContaining({ kind: 'relay', sink: 'kafka', outcome: 'paused', reason: '503: away' }),
    );
    away = false;
    await drain();
    for (const id of ids) {
      const its = (await eventsOf(id)).map((event) => event.id);
      expect(arrived.filter((eventId) => its.includes(eventId ?? ''))).toEqual(its);
      expect(inKafka(id)).toHaveLength(its.length);
    }
  });

  test('a hanging connection to it holds up nothing but its own relay', async () => {
    await addProduct(store, 'HANGING', 9);
    await store.settled();
    let open = () => {};
    const gate = new Promise<undefined>((resolve) => {
      open = () => resolve(undefined);
    });
    let asked = 0;
    fault.kafka = () => {
      asked++;
      return gate;
    };
    const givenUp = store.logs().filter(({ outcome }) => outcome === 'paused').length;
    for (let round = 0; round < 3; round++) {
      const { body } = await store.send('POST', '/v1/orders', oneLine('HANGING'), async_);
      await until(async () => (await statusOf(body.id)).reservation?.status === 'held');
    }
    // Still the first request, which nobody has answered and nobody has given up.
    expect(asked).toBe(1);
    expect(store.logs().filter(({ outcome }) => outcome === 'paused')).toHaveLength(givenUp);
    fault = { ...calm };
    open();
    await drain();
  });

  test('a pause grows with each try in vain, and what goes to the queues does not end it', async () => {
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
    fault = { ...calm };
    await aMinuteLater();
    await drain();
    expect(await failures()).toBe(0);
  });
});

describe('when Kafka refuses one record of a batch', () => {
  test('for now, its key waits with all that follows, every other key goes on, and order holds', async () => {
    const keys = Array.from({ length: 6 }, () => randomUUID());
    const [unlucky = ''] = keys;
    for (let round = 0; round < 4; round++) for (const key of keys) await emit(store.database, key);
    let refusing = true;
    const requests: string[][] = [];
    fault.kafka = ({ records }) => {
      const its = keysOf(records);
      requests.push(its);
      return refusing
        ? { rejectRecords: its.flatMap((key, index) => (key === unlucky ? [{ index, status: 503 }] : [])) }
        : undefined;
    };
    await store.cron();
    for (const key of keys) expect(inKafka(key)).toHaveLength(key === unlucky ? 0 : 4);
    // One request holds one record of a key at most, and after the refusal none of this key at all.
    for (const request of requests) expect(new Set(request).size).toBe(request.length);
    expect(requests.flat().filter((key) => key === unlucky)).toHaveLength(1);
    await emit(store.database, unlucky);
    refusing = false;
    await drain();
    const events = await eventsOf(unlucky);
    expect(inKafka(unlucky).map((record) => header(record, 'ce_id'))).toEqual(events.map(({ id }) => id));
  });

  test('for good, it becomes a dead letter, and its key goes on without it', async () => {
    const key = randomUUID();
    await emit(store.database, key, { payload: { orderId: key, text: 'x'.repeat(1_100_000) } });
    await emit(store.database, key, { count: 2 });
    await store.cron();
    const [large, ...others] = await eventsOf(key);
    expect(inKafka(key).map((record) => header(record, 'ce_id'))).toEqual(others.map(({ id }) => id));
    const { body } = await store.send('GET', '/v1/dead-letters');
    const letter = body.data.find((each: { eventId: string }) => each.eventId === large?.id);
    expect(letter).toMatchObject({ sink: 'kafka', topic: 'order.confirmed', key, attempts: 1, replayedAt: null });
    expect(letter.reason).toMatch(/^order\.confirmed: .*bytes/);
    const ready = await store.send('GET', '/readyz');
    expect(ready.body.deadLetters).toBe(1);
  });
});

describe('a relay that dies between delivering and settling', () => {
  /** The database never hears of these deliveries, however often it is told. */
  const loseSettling = (sink: string) => {
    let lost = 0;
    fault.neon = ({ statements: [statement] }) => {
      const input = statement?.params.find((param) => param?.includes('"delivered":['));
      if (!input) return undefined;
      const turn = JSON.parse(input);
      if (turn.sink !== sink || turn.delivered.length === 0) return undefined;
      lost++;
      return { kind: 'lose-request' };
    };
    return () => lost;
  };

  test('has Kafka get its records again, with the same ce_id, after those that were before them', async () => {
    const key = randomUUID();
    const lost = loseSettling('kafka');
    await emit(store.database, key, { count: 3 });
    await store.cron();
    expect(lost()).toBeGreaterThan(0);
    const ids = (await eventsOf(key)).map(({ id }) => id);
    const sent = () => inKafka(key).map((record) => header(record, 'ce_id'));
    expect(sent()).toEqual(ids);
    fault = { ...calm };
    await store.cron();
    // Its lease still runs: nobody else touches its rows.
    expect(sent()).toEqual(ids);
    await aMinuteLater();
    await drain();
    expect(sent()).toEqual([...ids, ...ids]);
  });

  test('has our consumers get their messages again, and each takes effect once', async () => {
    await addProduct(store, 'TWICE', 10);
    await store.settled();
    const failures = () => store.logs().filter(({ kind, outcome }) => kind === 'relay' && outcome === 'failed').length;
    const failed = failures();
    const lost = loseSettling('queue');
    const placed = await Promise.all(
      Array.from({ length: 5 }, () => store.send('POST', '/v1/orders', oneLine('TWICE', 1), async_)),
    );
    const ids = placed.map(({ body }) => body.id);
    await until(async () => (await Promise.all(ids.map(statusOf))).every(({ reservation }) => reservation !== null));
    expect(lost()).toBeGreaterThan(0);
    // Not before the relay has given up: one of its attempts could still be heard.
    await until(() => failures() > failed);
    const applied = () =>
      store.logs().filter(({ service, topic }) => service === 'inventory' && topic === 'order.created');
    const before = applied().reduce((sum, { messages }) => sum + Number(messages), 0);
    fault = { ...calm };
    await aMinuteLater();
    await drain();
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

test('a backlog larger than a turn is delivered to its end in one run', async () => {
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
