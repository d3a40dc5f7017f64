import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { inCell, kill, revive } from '../support/cells.ts';
import { addProduct, cronUntil, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { deliver, eventOf } from '../support/outbox.ts';
import { paymentFixture } from '../support/payments.ts';

let store: Store;
let c2: Store;
/** While set, the database of c2 does not respond. */
let hanging: { until: Promise<void>; end: () => void } | undefined;
let callsToC2 = 0;
beforeAll(async () => {
  store = await startStore({
    cells: ['c2'],
    variables: { DATABASE_DEADLINE_MS: '3000' },
    neonFault: ({ connectionString }) => {
      if (new URL(connectionString).pathname !== new URL(c2.database.workerUrl).pathname) return undefined;
      callsToC2++;
      return hanging && { kind: 'hold-response', until: hanging.until };
    },
  });
  c2 = inCell(store, 'c2');
  for (const of of [store, c2]) await addProduct(of, 'SOLD', 1_000);
});
afterAll(() => store.close());
afterEach(async () => {
  hanging?.end();
  hanging = undefined;
  await revive(c2.database);
});

const hang = () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  hanging = { until: promise, end: resolve };
};
const placeAsync = (of: Store) =>
  of.send('POST', '/v1/orders', oneLine('SOLD'), { headers: { prefer: 'respond-async' } });
const holdOf = async (of: Store, id: string) => {
  const [row] = await of.database.query<{ status: string }>(
    'select status from inventory.reservations where order_id = $1',
    [id],
  );
  return row?.status;
};
/** An order that only the test's own messages decide. */
async function undecided(of: Store) {
  await of.database.query(`update platform.sinks set paused_until = 'infinity' where sink = 'queue'`);
  const { body } = await placeAsync(of);
  return { id: body.id as string, event: await eventOf(of.database, body.id, 'order.created') };
}
const resumeQueues = (of: Store) =>
  of.database.query(`update platform.sinks set paused_until = '-infinity' where sink = 'queue'`);

describe('while the database of one cell is killed', () => {
  test('its requests get 503 unavailable, the other cell’s orders are placed, and /readyz names the cell', async () => {
    await kill(c2.database);
    const idempotencyKey = randomUUID();
    const refused = await c2.send('POST', '/v1/orders', oneLine('SOLD'), { idempotencyKey });
    expect([refused.status, refused.body.code]).toEqual([503, 'unavailable']);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    const placed = await Promise.all(
      Array.from({ length: 10 }, () => store.send('POST', '/v1/orders', oneLine('SOLD'))),
    );
    expect(placed.map(({ status }) => status)).toEqual(Array(10).fill(201));
    const ready = await store.send('GET', '/readyz', undefined, { key: null });
    expect([ready.status, ready.body.status]).toEqual([200, 'degraded']);
    expect(ready.body.cells).toEqual([
      { cell: 'default', status: 'ok' },
      { cell: 'c2', status: 'unavailable' },
    ]);
    expect(ready.body.problems).toEqual([
      { code: 'cell_unavailable', cell: 'c2', detail: expect.stringContaining('c2') },
    ]);
    await revive(c2.database);
    const repeated = await c2.send('POST', '/v1/orders', oneLine('SOLD'), { idempotencyKey });
    expect([repeated.status, repeated.headers.get('idempotent-replayed')]).toEqual([201, null]);
  });

  test('the other cell’s messages are applied, and its own wait in the queue until it is back', async () => {
    const [here, there] = [await undecided(store), await undecided(c2)];
    const batch = [
      { id: 'there', body: { ...there.event, cell: 'c2' } },
      { id: 'here', body: here.event },
    ];
    await kill(c2.database);
    const result = await deliver(store, 'fusioncommerce-inventory', batch);
    expect(result).toMatchObject({ outcome: 'ok', acknowledged: ['here'], retried: { there: 2 } });
    expect(await holdOf(store, here.id)).toBe('held');
    const buried = await deliver(store, 'fusioncommerce-inventory-dlq', batch.slice(0, 1));
    expect(buried).toMatchObject({ acknowledged: [], retried: { there: 2 } });
    await revive(c2.database);
    expect((await deliver(store, 'fusioncommerce-inventory', batch)).acknowledged).toEqual(['here', 'there']);
    expect(await holdOf(c2, there.id)).toBe('held');
    for (const of of [store, c2]) await resumeQueues(of);
  });

  test('the other cell’s crons and relay go on, and its waiting events are delivered when it is back', async () => {
    const waiting = await undecided(c2);
    await c2.database.query(`update platform.sinks set paused_until = 'infinity'`);
    const { body: late } = await c2.send('POST', '/v1/orders', oneLine('SOLD'));
    const { body: expiring } = await store.send('POST', '/v1/orders', oneLine('SOLD'));
    await kill(c2.database);
    const failedCron = async () => {
      await store.cron('* * * * *', new Date(Date.now() + 3_600_000)).catch(() => undefined);
    };
    await until(async () => {
      await failedCron();
      return (await store.send('GET', `/v1/orders/${expiring.id}`)).body.status === 'failed';
    });
    const published = (topic: string, key: string) => [...store.kafka.read(topic)].some((record) => record.key === key);
    await until(() => published('order.failed', expiring.id));
    expect(store.logs().some((line) => line.kind === 'job' && line.cell === 'c2' && line.outcome === 'failed')).toBe(
      true,
    );
    expect(published('order.created', late.id)).toBe(false);
    await revive(c2.database);
    await c2.database.query(`update platform.sinks set paused_until = '-infinity'`);
    await cronUntil(store, new Date(), async () => published('order.created', late.id));
    await until(async () => (await holdOf(c2, waiting.id)) === 'held');
  });

  test('Stripe’s webhooks for the other cell are applied, and Stripe repeats those for this cell', async () => {
    const [here, there] = [paymentFixture(store), paymentFixture(c2)];
    const [ours, theirs] = [await here.checkout('SOLD'), await there.checkout('SOLD')];
    await kill(c2.database);
    await here.pay(ours.intent);
    await there.pay(theirs.intent);
    await until(async () => (await here.orderOf(ours.order.id)).status === 'confirmed');
    await here.stripe.refunds.create({ payment_intent: ours.intent, amount: 100 }); // names no cell
    await until(
      async () => (await store.send('GET', `/v1/payments/${ours.payment.id}/refunds`)).body.data.length === 1,
    );
    await revive(c2.database);
    await until(async () => (await there.orderOf(theirs.order.id)).status === 'confirmed');
  });
});

describe('while the database of one cell does not respond', () => {
  test('the other cell’s messages are applied before that cell’s deadline, and its next messages wait untried', async () => {
    const [here, there] = [await undecided(store), await undecided(c2)];
    const message = { id: 'there', body: { ...there.event, cell: 'c2' } };
    hang();
    let isDone = false;
    const delivery = deliver(store, 'fusioncommerce-inventory', [message, { id: 'here', body: here.event }]).then(
      (result) => {
        isDone = true;
        return result;
      },
    );
    await until(async () => (await holdOf(store, here.id)) === 'held');
    expect(isDone).toBe(false);
    expect(await delivery).toMatchObject({ acknowledged: ['here'], retried: { there: 2 } });
    callsToC2 = 0;
    const again = await deliver(store, 'fusioncommerce-inventory', [message]);
    expect(again).toMatchObject({ acknowledged: [], retried: { there: 2 } });
    expect(callsToC2).toBe(0);
    hanging?.end();
    hanging = undefined;
    await until(async () => (await deliver(store, 'fusioncommerce-inventory', [message])).acknowledged.length === 1);
    expect(await holdOf(c2, there.id)).toBe('held');
    for (const of of [store, c2]) await resumeQueues(of);
  });

  test('/readyz responds, and names the cell', async () => {
    hang();
    const { status, body } = await store.send('GET', '/readyz', undefined, { key: null });
    expect([status, body.cells]).toEqual([
      200,
      [
        { cell: 'default', status: 'ok' },
        { cell: 'c2', status: 'unavailable' },
      ],
    ]);
  });
});

test('a message of a cell that this Worker does not know waits, and is never applied in another cell', async () => {
  const { id, event } = await undecided(store);
  const result = await deliver(store, 'fusioncommerce-inventory', [{ id: 'm', body: { ...event, cell: 'us1' } }]);
  expect(result).toMatchObject({ acknowledged: [], retried: { m: 2 } });
  expect(await holdOf(store, id)).toBe('pending');
  const isLogged = ({ cell, reason }: Record<string, unknown>) =>
    cell === 'us1' && reason === 'The cell us1 is not configured.';
  expect(store.logs().some(isLogged)).toBe(true);
  await resumeQueues(store);
});
