import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';
import { openPool } from '../support/pools.ts';
import { jobSecret } from '../support/secrets.ts';

/** Decides holds as the consumer of order.created does: whole batches, on real PostgreSQL. */
let database: Database;
let pool: pg.Pool;
let keyHash: string;
beforeAll(async () => {
  database = await createDatabase();
  pool = openPool(database.workerUrl, 12);
  keyHash = createHash('sha256')
    .update(await database.key())
    .digest('hex');
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

let state = 1;
/** A random integer from 0 to `limit` - 1. The seed is fixed. */
const randomBelow = (limit: number) => {
  state = (state + 0x6d2b79f5) | 0;
  const mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
};

// biome-ignore lint/suspicious/noExplicitAny: a test reads any shape of result
const run = async (name: string, caller: object, input: object): Promise<any> =>
  (await pool.query(`select ${name}($1, $2) as result`, [caller, input])).rows[0].result;
const call = () => ({ keyHash, idempotencyKey: randomUUID(), requestHash: 'x' });

type Line = { sku: string; quantity: number };
type Order = { id: string; items: Line[] };

const createProduct = (sku: string, inventory: number) =>
  run('catalog.create_product', call(), {
    ...{ id: `product-${sku}`, sku, name: sku, description: null, price: 10, currency: 'USD', inventory },
  });
const place = ({ id, items }: Order, async: boolean) =>
  run('orders.place_order', call(), { id, items, async, customerId: 'c', holdSeconds: 900 });
const placePending = (orders: Order[]) => Promise.all(orders.map((order) => place(order, true)));
const ordersOf = (count: number, items: () => Line[]): Order[] =>
  Array.from({ length: count }, () => ({ id: randomUUID(), items: items() })).sort((a, b) => (a.id < b.id ? -1 : 1));
const decide = (ids: string[]) =>
  run(
    'inventory.reserve_orders',
    { jobSecret },
    {
      tenant: 'default',
      holdSeconds: 900,
      messages: ids.map((orderId) => ({ eventId: `created-${orderId}`, orderId })),
    },
  );
const stockOf = async (sku: string) =>
  (await database.query('select quantity, reserved, version from inventory.inventory where sku = $1', [sku]))[0];

/** What the events say about an order's hold. */
const decisionsOf = async (ids: string[]) =>
  new Map(
    (
      await database.query<{ key: string; decision: string; count: number }>(
        `select key, min(payload->>'status' || coalesce(' ' || (payload->>'sku') || ' ' || (payload->>'quantity'), ''))
           as decision, count(*)::int as count
         from platform.events where key = any($1) and topic in ('inventory.reserved', 'inventory.insufficient')
         group by key`,
        [ids],
      )
    ).map(({ key, decision, count }) => [key, `${decision} ${count}`]),
  );

test('a batch is decided like its orders one after another, each completely or not at all', async () => {
  for (let round = 0; round < 25; round++) {
    const left = new Map<string, number>();
    for (const letter of ['A', 'B', 'C', 'D']) {
      const sku = `R${round}-${letter}`;
      left.set(sku, randomBelow(12));
      await createProduct(sku, left.get(sku) ?? 0);
    }
    const skus = [...left.keys()];
    const orders = ordersOf(12, () => {
      const first = randomBelow(4);
      return skus
        .filter((_, index) => (index - first + 4) % 4 <= randomBelow(3))
        .concat(skus[first] as string)
        .filter((sku, index, all) => all.indexOf(sku) === index)
        .map((sku) => ({ sku, quantity: 1 + randomBelow(3) }));
    });
    await placePending(orders);
    const expected = orders.map(({ id, items }) => {
      const short = items
        .filter(({ sku, quantity }) => (left.get(sku) ?? 0) < quantity)
        .sort((a, b) => (a.sku < b.sku ? -1 : 1))[0];
      if (short) return [id, `insufficient ${short.sku} ${short.quantity} 1`];
      for (const { sku, quantity } of items) left.set(sku, (left.get(sku) ?? 0) - quantity);
      return [id, 'reserved 1'];
    });
    const before = new Map(await Promise.all(skus.map(async (sku) => [sku, await stockOf(sku)] as const)));
    const { decided, skus: changed } = await decide(orders.map(({ id }) => id).toSorted(() => randomBelow(3) - 1));
    expect(decided).toBe(12);
    expect(await decisionsOf(orders.map(({ id }) => id))).toEqual(new Map(expected as [string, string][]));
    for (const sku of skus) {
      const [was, is] = [before.get(sku), await stockOf(sku)];
      expect(is).toMatchObject({ quantity: left.get(sku), reserved: (was?.quantity ?? 0) - (left.get(sku) ?? 0) });
      // The row of a popular SKU is written once for the batch, not once for each order.
      const isChanged = is?.quantity !== was?.quantity;
      expect(is?.version).toBe(was?.version + (isChanged ? 1 : 0));
      expect(changed.includes(sku)).toBe(isChanged);
    }
  }
});

test('a repeated message, and another message about a decided order, decide nothing', async () => {
  await createProduct('REPEAT', 5);
  const ids = ordersOf(3, () => [{ sku: 'REPEAT', quantity: 1 }]).map(({ id }) => id);
  await placePending(ids.map((id) => ({ id, items: [{ sku: 'REPEAT', quantity: 1 }] })));
  expect(await decide(ids)).toEqual({ decided: 3, skus: ['REPEAT'] });
  expect(await decide(ids)).toEqual({ decided: 0, skus: [] });
  const input = { tenant: 'default', holdSeconds: 900, messages: [{ eventId: 'another', orderId: ids[0] }] };
  expect(await run('inventory.reserve_orders', { jobSecret }, input)).toEqual({ decided: 0, skus: [] });
  expect(await stockOf('REPEAT')).toEqual({ quantity: 2, reserved: 3, version: 1 });
});

test('batches, direct orders and cancellations at once never sell a unit twice, and the sums agree', async () => {
  const [units, skus] = [150, ['RACE-A', 'RACE-B', 'RACE-C']];
  for (const sku of skus) await createProduct(sku, units);
  const items = () =>
    skus.filter((_, index) => index === 0 || randomBelow(3) === 0).map((sku) => ({ sku, quantity: 1 }));
  const pending = ordersOf(300, items);
  await placePending(pending);
  const direct = ordersOf(150, items);
  const all = [...pending, ...direct].map(({ id }) => id);
  const batches = Array.from({ length: 10 }, (_, index) => pending.slice(index * 30, index * 30 + 30));
  let isOver = false;
  const cancelled: string[] = [];
  const cancelSome = async () => {
    while (!isOver) {
      const id = all[randomBelow(all.length)] as string;
      const result = await run('orders.cancel_order', call(), { id }).catch((error: pg.DatabaseError) => {
        if (error.message !== 'not_found') throw error;
        return undefined;
      });
      if (result?.answer?.status === 'cancelled') cancelled.push(id);
      await sleep(1);
    }
  };
  const work = Promise.all([
    // Each batch arrives twice, as a queue may deliver it.
    ...[...batches, ...batches].map((batch) => decide(batch.map(({ id }) => id))),
    ...direct.map((order) => place(order, false)),
  ]).finally(() => {
    isOver = true;
  });
  await Promise.all([work, cancelSome(), cancelSome()]);
  expect(cancelled.length).toBeGreaterThan(0);
  const rows = await database.query<{ sku: string; quantity: number; reserved: number; held: number }>(
    `select i.sku, i.quantity, i.reserved, (select coalesce(sum(l.units), 0)::int
       from inventory.reservations r, unnest(r.skus, r.quantities) l(sku, units)
       where r.status = 'held' and l.sku = i.sku) as held
     from inventory.inventory i where i.sku = any($1) order by i.sku`,
    [skus],
  );
  for (const { quantity, reserved, held } of rows) {
    expect(quantity).toBeGreaterThanOrEqual(0);
    expect([quantity + reserved, held]).toEqual([units, reserved]);
  }
  // Each order was decided once, unless it was cancelled before.
  const decisions = await decisionsOf(all);
  for (const decision of decisions.values()) expect(decision).toMatch(/ 1$/);
  const undecided = all.filter((id) => !decisions.has(id));
  expect(undecided.filter((id) => !cancelled.includes(id))).toEqual([]);
});

describe('among 5,000 other holds', () => {
  const ids = Array.from({ length: 100 }, (_, index) => `flood-${index + 1}`);
  const messages = ids.map((orderId) => ({ eventId: orderId, orderId }));
  const soon = "now() + interval '1 minute'";

  /** Gives every hold this state. */
  const becomes = (fields: string) => database.query(`update inventory.reservations set ${fields}`);

  /** The rows of reservations that a statement reads. Its changes are rolled back. */
  async function countReads(role: string, statement: string, values: unknown[]): Promise<number> {
    const client = new pg.Client(database.url);
    await client.connect();
    try {
      await client.query('begin');
      await client.query(`set local role ${role}`);
      await client.query(`select set_config('app.tenant_id', 'default', true)`);
      await client.query(`select ${statement}`, values);
      await client.query('reset role');
      const { rows } = await client.query(
        `select (idx_tup_fetch + seq_tup_read)::int as read from pg_stat_xact_all_tables
         where schemaname = 'inventory' and relname = 'reservations'`,
      );
      return rows[0].read;
    } finally {
      await client.end();
    }
  }

  beforeAll(async () => {
    await createProduct('FLOOD', 10_000);
    await database.query(`update inventory.inventory set reserved = 10000 where sku = 'FLOOD'`);
    await database.query(
      `insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, created_at)
       select 'flood-' || g, 'default', array['FLOOD'], array[1], 'pending', now() from generate_series(1, 5000) g`,
    );
  });

  test('deciding a batch reads its own holds only', async () => {
    const input = { tenant: 'default', holdSeconds: 900, messages };
    expect(await countReads('fusion_worker', 'inventory.reserve_orders($1, $2)', [{ jobSecret }, input])).toBeLessThan(
      500,
    );
  });

  const ofOrders: [statement: string, fields: string][] = [
    ['inventory.release($1, $$cancelled$$)', `status = 'pending'`],
    ['inventory.release($1, $$cancelled$$)', `status = 'held', expires_at = ${soon}`],
    [`inventory.keep_until($1, ${soon})`, `status = 'held', expires_at = ${soon}`],
    ['inventory.lock_due_holds($1)', `status = 'held', expires_at = now() - interval '1 minute'`],
    ['inventory.mark_orders_informed($1)', `status = 'refused', unheard = true`],
  ];
  test.each(ofOrders)('%s reads the holds of its orders only, with %s', async (statement, fields) => {
    await becomes(fields);
    expect(await countReads('fusion_inventory', statement, [ids])).toBeLessThan(500);
  });
});
