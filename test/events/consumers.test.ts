import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { deliver, eventOf, startQueues, stopQueues } from '../support/outbox.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
  // Reserving units for an order in this table always fails.
  await store.database.query(`create table public.poisoned (order_id varchar primary key)`);
  await store.database.query(`create function public.refuse_poison() returns trigger language plpgsql security definer as $$
    begin
      if exists (select from public.poisoned p where p.order_id = new.order_id) then
        raise exception using errcode = '23514', constraint = 'reservations_poison', message = 'secret of a row';
      end if;
      return new;
    end $$`);
  await store.database.query(
    `create trigger poison before update on inventory.reservations for each row execute function public.refuse_poison()`,
  );
});
beforeEach(() => startQueues(store.database));
afterAll(() => store.close());

const inventory = 'fusioncommerce-inventory';

/** Places orders whose units are not reserved yet. Returns the events that the queue would deliver for them. */
async function placeUndecided(sku: string, count: number) {
  await stopQueues(store.database);
  const placed = await Promise.all(
    Array.from({ length: count }, () =>
      store.send('POST', '/v1/orders', oneLine(sku), { headers: { prefer: 'respond-async' } }),
    ),
  );
  const ids = placed.map(({ body }) => body.id as string);
  return { ids, events: await Promise.all(ids.map((id) => eventOf(store.database, id, 'order.created'))) };
}

const stockOf = async (sku: string) => {
  const [row] = await store.database.query(`select quantity, reserved from inventory.inventory where sku = $1`, [sku]);
  return row;
};

const reservationOf = async (id: string) => (await store.send('GET', `/v1/orders/${id}`)).body.reservation;

const countDecisions = async (id: string) => {
  const rows = await store.database.query(`select 1 from platform.events where key = $1 and topic like 'inventory.%'`, [
    id,
  ]);
  return rows.length;
};

const deadLettersOf = async (ids: string[]) => {
  const { body } = await store.send('GET', '/v1/dead-letters?limit=100');
  return body.data.filter((deadLetter: { eventId: string }) => ids.includes(deadLetter.eventId));
};

describe('a message that is delivered twice', () => {
  test('takes effect once, whether the deliveries are concurrent or not', async () => {
    await addProduct(store, 'AGAIN', 5);
    const { ids, events } = await placeUndecided('AGAIN', 1);
    const [body] = events;
    for (let round = 0; round < 2; round++) {
      const results = await Promise.all([1, 2, 3].map((n) => deliver(store, inventory, [{ id: `m${n}`, body }])));
      expect(results.map(({ acknowledged }) => acknowledged)).toEqual([['m1'], ['m2'], ['m3']]);
    }
    expect(await stockOf('AGAIN')).toEqual({ quantity: 4, reserved: 1 });
    expect(await countDecisions(ids[0] ?? '')).toBe(1);
  });

  test('in one batch takes effect once, and both copies are acknowledged', async () => {
    await addProduct(store, 'BOTH', 5);
    const { ids, events } = await placeUndecided('BOTH', 2);
    const [first, second] = events;
    const result = await deliver(store, inventory, [
      { id: 'a', body: first },
      { id: 'b', body: second },
      { id: 'c', body: first },
    ]);
    expect(result.acknowledged).toEqual(['a', 'b', 'c']);
    expect(await stockOf('BOTH')).toEqual({ quantity: 3, reserved: 2 });
    for (const id of ids) expect(await countDecisions(id)).toBe(1);
  });

  test('reports a failed order once', async () => {
    await addProduct(store, 'NONE', 0);
    const { ids, events } = await placeUndecided('NONE', 1);
    await deliver(store, inventory, [{ id: 'a', body: events[0] }]);
    const body = await eventOf(store.database, ids[0] ?? '', 'inventory.insufficient');
    for (let round = 0; round < 2; round++) {
      const result = await deliver(store, 'fusioncommerce-orders', [
        { id: 'a', body },
        { id: 'b', body },
      ]);
      expect(result.acknowledged).toEqual(['a', 'b']);
    }
    const failed = await store.database.query(
      `select 1 from platform.events where key = $1 and topic = 'order.failed'`,
      [ids[0]],
    );
    expect(failed).toHaveLength(1);
  });
});

describe('a message that cannot be applied', () => {
  test('is retried alone, with growing delays, and becomes a dead letter with its reason; other messages are applied', async () => {
    await addProduct(store, 'POISON', 9);
    const { ids, events } = await placeUndecided('POISON', 5);
    const [, , poison = ''] = ids;
    const poisonId = events[2]?.id ?? '';
    await store.database.query('insert into public.poisoned values ($1)', [poison]);
    const batch = events.map((body, index) => ({ id: `m${index}`, body }));
    expect(await deliver(store, inventory, batch)).toEqual({
      outcome: 'ok',
      acknowledged: ['m0', 'm1', 'm3', 'm4'],
      retried: { m2: 2 },
    });
    expect(await stockOf('POISON')).toEqual({ quantity: 5, reserved: 4 });
    expect(await reservationOf(poison)).toBeNull();

    const waits: (number | undefined)[] = [];
    for (let attempts = 2; attempts < 10; attempts++) {
      const { retried } = await deliver(store, inventory, [{ id: 'm2', body: events[2], attempts }]);
      waits.push(retried.m2);
    }
    expect(waits).toEqual([4, 8, 16, 32, 64, 128, 256, 300]);
    expect(await deadLettersOf([poisonId])).toEqual([]);
    const last = await deliver(store, inventory, [{ id: 'm2', body: events[2], attempts: 10 }]);
    expect(last).toEqual({ outcome: 'ok', acknowledged: ['m2'], retried: {} });

    const deadLetters = await deadLettersOf([poisonId]);
    expect(deadLetters).toEqual([
      expect.objectContaining({
        sink: 'inventory',
        topic: 'order.created',
        key: poison,
        attempts: 10,
        reason: 'Not applied after 10 deliveries from the queue: NeonDbError 23514 reservations_poison',
        message: events[2],
        replayedAt: null,
      }),
    ]);

    // The order is repaired. The replayed message takes effect once.
    await store.database.query('delete from public.poisoned');
    await startQueues(store.database);
    const replay = await store.send('POST', `/v1/dead-letters/${deadLetters[0].id}/replay`, {});
    expect(replay.status).toBe(202);
    await until(async () => (await reservationOf(poison))?.status === 'held');
    expect(await stockOf('POISON')).toEqual({ quantity: 4, reserved: 5 });
    expect(await deadLettersOf([poisonId])).toEqual([]);
  });

  test('because another service consumes its topic is retried, not applied', async () => {
    await addProduct(store, 'ASTRAY', 5);
    const { events } = await placeUndecided('ASTRAY', 1);
    const misrouted = { ...events[0], type: 'product.created' };
    const result = await deliver(store, inventory, [
      { id: 'right', body: events[0] },
      { id: 'misrouted', body: misrouted, attempts: 3 },
    ]);
    expect(result).toEqual({ outcome: 'ok', acknowledged: ['right'], retried: { misrouted: 8 } });
  });
});

test('a message that is not an event becomes a dead letter at once, whatever it contains; other messages are applied', async () => {
  await addProduct(store, 'STRANGE', 5);
  const { events } = await placeUndecided('STRANGE', 1);
  const notEvents: unknown[] = [
    'hello',
    42,
    null,
    { orderId: 'x' },
    { ...events[0], tenantid: '*' },
    { ...events[0], tenantid: undefined },
    { 'a\0b': 'NUL \0 and half \ud83d of a pair', 'c\\u0000': '\\u0000 is text' },
    ['x'.repeat(50_000)],
  ];
  const batch = [
    ...notEvents.map((body, index) => ({ id: `strange-${index}`, body })),
    { id: 'event', body: events[0] },
  ];
  const result = await deliver(store, inventory, batch);
  expect(result).toEqual({ outcome: 'ok', acknowledged: batch.map(({ id }) => id).sort(), retried: {} });
  expect(await stockOf('STRANGE')).toEqual({ quantity: 4, reserved: 1 });
  const stored = await store.database.query<{
    event_id: string;
    message: { body: unknown };
    reason: string;
    tenant_id: string;
  }>(
    `select event_id, message, reason, tenant_id from platform.dead_letters where event_id like 'strange-%' order by event_id`,
  );
  expect(stored.map((deadLetter) => deadLetter.message.body)).toEqual([
    ...notEvents.slice(0, 4),
    notEvents[4],
    JSON.parse(JSON.stringify(notEvents[5])),
    { 'a\ufffdb': 'NUL \ufffd and half \ufffd of a pair', 'c\\u0000': '\\u0000 is text' },
    notEvents[7],
  ]);
  expect(new Set(stored.map((deadLetter) => `${deadLetter.reason} ${deadLetter.tenant_id}`))).toEqual(
    new Set(['The message is not an event. unknown']),
  );
  // A dead letter without a tenant is visible to no key.
  expect(await deadLettersOf(stored.map((deadLetter) => deadLetter.event_id))).toEqual([]);
});

describe('while the database is unavailable', () => {
  test('messages are retried together, even after many deliveries; none becomes a dead letter, and all are applied later', async () => {
    await addProduct(store, 'DARK', 50);
    const { events } = await placeUndecided('DARK', 12);
    const batch = events.map((body, index) => ({ id: `m${index}`, body, attempts: 25 }));
    await store.bridge.refuse();
    const logged = store.logs().length;
    const whileUnavailable = await deliver(store, inventory, [
      ...batch,
      { id: 'strange', body: 'no event', attempts: 3 },
    ]);
    await store.bridge.accept();
    expect(whileUnavailable.acknowledged).toEqual([]);
    expect(whileUnavailable.retried).toEqual({ ...Object.fromEntries(batch.map(({ id }) => [id, 300])), strange: 8 });
    const lines = store.logs().slice(logged);
    expect(lines.filter(({ topic }) => topic === 'order.created')).toEqual([
      expect.objectContaining({ kind: 'message', outcome: 'retry', messages: 12 }),
    ]);
    expect(await deadLettersOf(events.map(({ id }) => id))).toEqual([]);
    const afterwards = await deliver(store, inventory, batch);
    expect(afterwards.acknowledged).toEqual(batch.map(({ id }) => id).sort());
    expect(await stockOf('DARK')).toEqual({ quantity: 38, reserved: 12 });
  });

  test('a dead letter is retried, and stored once the database is available again', async () => {
    await addProduct(store, 'DARK-DLQ', 5);
    const { events } = await placeUndecided('DARK-DLQ', 1);
    const batch = [{ id: 'a', body: events[0], attempts: 12 }];
    await store.bridge.refuse();
    const whileUnavailable = await deliver(store, `${inventory}-dlq`, batch);
    await store.bridge.accept();
    expect(whileUnavailable).toEqual({ outcome: 'ok', acknowledged: [], retried: { a: 3_600 } });
    const afterwards = await deliver(store, `${inventory}-dlq`, batch);
    expect(afterwards.acknowledged).toEqual(['a']);
    expect(await deadLettersOf(events.map(({ id }) => id))).toHaveLength(1);
  });
});

test('an order of 1,200 lines with long SKUs is too large for a message, but its units are reserved', async () => {
  const skus = Array.from({ length: 1_200 }, (_, index) => `${index}-`.padEnd(64, '長'));
  const lines = skus.map((sku) => JSON.stringify({ sku, name: 'Long', price: 1.25, currency: 'USD', inventory: 2 }));
  const imported = await store.send('POST', '/v1/products/import', lines.join('\n'), {
    headers: { 'content-type': 'application/x-ndjson' },
  });
  expect(imported.body.created).toBe(1_200);
  const items = skus.map((sku) => ({ sku, quantity: 1 }));
  const order = { customerId: 'large', items };
  const { body, status } = await store.send('POST', '/v1/orders', order, { headers: { prefer: 'respond-async' } });
  expect(status).toBe(202);
  const event = await eventOf(store.database, body.id, 'order.created');
  expect(Buffer.byteLength(JSON.stringify(event))).toBeGreaterThan(200_000);
  await until(async () => (await reservationOf(body.id))?.status === 'held');
  expect(await stockOf(skus[1_199] ?? '')).toEqual({ quantity: 1, reserved: 1 });
  const records = () => [...store.kafka.read('order.created')].filter(({ key }) => key === body.id);
  await until(() => records().length > 0);
  expect(records().map(({ value }) => JSON.parse(value))).toEqual([event.data]);
});
