import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type MoveOptions, MoveStopped, moveTenant, undoMove } from '../../dev/cells/move.ts';
import { readPlace } from '../../dev/cells/places.ts';
import { purgeTenant } from '../../dev/cells/purge.ts';
import { connectTo } from '../../dev/postgres/connection.ts';
import {
  addTenant,
  callIn,
  callLikeWorker,
  createCells,
  hashOf,
  orderOf,
  quietSteps,
  startRelays,
  type TestCell,
} from '../support/moves.ts';

type Order = { id: string };

let cells: TestCell[];
let old: TestCell;
let eu1: TestCell;
let eu2: TestCell;
let close: () => Promise<void>;
const steps = quietSteps;

beforeAll(async () => {
  ({ cells, close } = await createCells('default', 'eu1', 'eu2'));
  [old, eu1, eu2] = cells as [TestCell, TestCell, TestCell];
});
afterAll(() => close());
/** The tenant that moves. Each test has its own. */
let tenant = '';
let tests = 0;
beforeEach(() => {
  tenant = `mover-${++tests}`;
});

/** A seeded number from 0 to 1 (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Another connection to each cell, as its owner. */
const connectAgain = () =>
  Promise.all(cells.map(async ({ name, ownerUrl }) => ({ name, client: await connectTo(ownerUrl) })));

/** Moves while the events of all cells are delivered. */
async function move(to: string, more: Partial<MoveOptions> = {}) {
  const relays = startRelays(cells);
  try {
    await moveTenant(cells, tenant, to, { steps, ...more });
  } finally {
    await relays.stop();
  }
}

const placeIn = async (cell: TestCell) => (await readPlace(cell, tenant)).state;
const places = () => Promise.all(cells.map((cell) => placeIn(cell)));
const placeOrder = (key: string, order = orderOf('A'), idempotencyKey = randomUUID()) =>
  callLikeWorker<Order>(cells, 'orders.place_order', key, order, idempotencyKey);
const ordersIn = async (cell: TestCell) =>
  (await cell.database.query<Order>('select id from orders.orders where tenant_id = $1 order by id', [tenant])).map(
    ({ id }) => id,
  );
const stockIn = async (cell: TestCell) => {
  const statement = 'select sku, quantity, reserved from inventory.inventory where tenant_id = $1 order by sku';
  return cell.database.query<{ sku: string; quantity: number; reserved: number }>(statement, [tenant]);
};
/** Everything that a cell stores of a tenant, apart from what is kept of each move. */
const rowsIn = async (cell: TestCell) => {
  const tables = [
    'orders.orders',
    'inventory.inventory',
    'inventory.reservations',
    'platform.events',
    'platform.inbox',
  ];
  return Promise.all(
    [...tables, 'platform.idempotency', 'catalog.products', 'platform.api_keys'].map(
      async (table) =>
        (await cell.database.query(`select to_jsonb(t) as row from ${table} t where tenant_id = $1 order by t::text`, [
          tenant,
        ])) as unknown[],
    ),
  );
};

describe('moving a tenant', () => {
  test.each([1, 2])(
    'while two tenants sell loses and doubles no order, and does not affect the other tenant (seed %i)',
    async (seed) => {
      const random = randomFrom(seed);
      const key = await addTenant(old, tenant, { A: 1000, B: 1000 });
      const others = [
        await addTenant(old, `stays-${seed}`, { A: 1000 }),
        await addTenant(eu1, `local-${seed}`, { A: 1000 }),
      ];
      const relays = startRelays(cells);
      let selling = true;
      const placed: string[] = [];
      const cellsOfOrders = new Set<string>();
      const buyer = async (): Promise<void> => {
        while (selling) {
          const order = orderOf(random() < 0.5 ? 'A' : 'B', 1 + Math.floor(random() * 2));
          const idempotencyKey = randomUUID();
          const { answer, cell } = await placeOrder(key, order, idempotencyKey);
          placed.push(answer.id);
          cellsOfOrders.add(cell);
          // A client that lost the response sends the same request again.
          if (random() < 0.3) expect((await placeOrder(key, order, idempotencyKey)).answer.id).toBe(answer.id);
        }
      };
      const otherAttempts: number[] = [];
      const otherBuyer = async (from: TestCell, otherKey: string): Promise<void> => {
        while (selling) {
          const reply = await callLikeWorker<Order>([from, ...cells], 'orders.place_order', otherKey, orderOf('A'));
          expect(reply.cell).toBe(from.name);
          otherAttempts.push(reply.attempts);
        }
      };
      const buyers = [
        ...Array.from({ length: 4 }, buyer),
        ...Array.from({ length: 2 }, () => otherBuyer(old, others[0] as string)),
        otherBuyer(eu1, others[1] as string),
      ];
      await sleep(200 + random() * 200);
      await moveTenant(cells, tenant, 'eu1', { steps });
      await sleep(200);
      selling = false;
      await Promise.all(buyers);
      const delivered = await relays.stop();

      expect([...cellsOfOrders].sort()).toEqual(['default', 'eu1']);
      expect(await ordersIn(eu1)).toEqual([...placed].sort());
      expect(new Set(placed).size).toBe(placed.length);
      const [sum] = await eu1.database.query<{ units: number; total: string }>(
        `select sum((items->0->>'quantity')::int)::int as units, sum(total)::text as total
       from orders.orders where tenant_id = '${tenant}'`,
      );
      const stock = await stockIn(eu1);
      expect(stock.reduce((all, { quantity, reserved }) => all + quantity + reserved, 0)).toBe(2000);
      expect(stock.reduce((all, { reserved }) => all + reserved, 0)).toBe(sum?.units);
      expect(sum?.total).toBe(`${(sum?.units ?? 0) * 10}.00`);
      // The other tenants were never asked to repeat a call.
      expect(new Set(otherAttempts)).toEqual(new Set([1]));

      const events = delivered.filter((event) => event.tenant === tenant);
      expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
      const stored = await eu1.database.query<{ id: string }>(
        `select id from platform.events where tenant_id = '${tenant}'`,
      );
      expect(events.map(({ id }) => id).sort()).toEqual(stored.map(({ id }) => id).sort());
      for (const ofKey of Map.groupBy(events, (event) => event.key).values()) {
        const seqs = ofKey.map(({ seq }) => seq);
        expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
      }
      expect(await places()).toEqual(['moved', 'here', 'unknown']);
    },
  );

  test('ends the same after a crash at any step, and in between no two cells serve the tenant', async () => {
    const key = await addTenant(old, tenant, { A: 100 });
    for (let n = 0; n < 5; n++) await placeOrder(key);
    const before = await rowsIn(old);
    // The steps of a first move are the places to crash at. Of the copied tables, three are enough.
    const reached: string[] = [];
    await move('eu2', { after: (step) => void reached.push(step) });
    await move('default');
    expect(await rowsIn(old)).toEqual(before);
    const copied = ['copy audit.log', 'copy orders.orders', 'copy shipping.shipments'];
    const crashes = [...new Set(reached)].filter((step) => !step.startsWith('copy ') || copied.includes(step));
    expect(crashes).toEqual(
      expect.arrayContaining(['pause', 'wait', 'prepare', ...copied, 'check', 'close', 'switch']),
    );

    let there = 'default';
    for (const crash of crashes) {
      const to = there === 'default' ? 'eu1' : 'default';
      const after = (step: string) => {
        if (step === crash) throw new Error(`crash at ${step}`);
      };
      await expect(move(to, { after }), crash).rejects.toThrow(`crash at ${crash}`);
      const states = await places();
      expect(states.filter((state) => state === 'here').length, `${crash}: ${states}`).toBeLessThanOrEqual(1);
      await move(to);
      there = to;
      const target = cells.find(({ name }) => name === to) as TestCell;
      expect(await rowsIn(target), crash).toEqual(before);
    }
    expect((await placeOrder(key)).cell).toBe(there);
  });

  test('sends each event once and in order after a crash in the middle', async () => {
    const key = await addTenant(old, tenant, { A: 100 });
    const order = (await placeOrder(key)).answer.id;
    const relays = startRelays(cells);
    const after = (step: string) => {
      if (step === 'switch') throw new Error('crash');
    };
    await expect(moveTenant(cells, tenant, 'eu1', { steps, after })).rejects.toThrow('crash');
    await expect(callIn(old, 'orders.cancel_order', { keyHash: hashOf(key) }, { id: order })).rejects.toThrow(
      'unavailable',
    );
    await moveTenant(cells, tenant, 'eu1', { steps });
    await callLikeWorker(cells, 'orders.cancel_order', key, { id: order });
    const events = (await relays.stop()).filter((event) => event.key === order);
    expect(new Set(events.map(({ cell }) => cell))).toEqual(new Set(['default', 'eu1']));
    const seqs = events.map(({ seq }) => seq);
    expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
  });

  test.each([
    [
      'a row is missing',
      'delete from inventory.reservations where tenant_id = $1 and expires_at = (select max(expires_at) from inventory.reservations where tenant_id = $1)',
      'inventory.reservations: rows 3 in the old cell, 2 in the new cell',
    ],
    [
      'an amount differs',
      `update orders.orders set total = total + 0.01 where tenant_id = $1`,
      'orders.orders: sum of total 30.00 in the old cell, 30.03 in the new cell',
    ],
    [
      'units differ',
      `update inventory.inventory set quantity = quantity + 1 where tenant_id = $1`,
      'inventory.inventory: sum of quantity 97 in the old cell, 98 in the new cell',
    ],
    [
      'a text differs',
      `update catalog.products set name = 'B' where tenant_id = $1`,
      'catalog.products: a row differs, although counts and sums are equal',
    ],
  ])('stops if %s in one cell, and allows writes again when it is undone', async (_title, change, message) => {
    const key = await addTenant(old, tenant, { A: 100 });
    for (let n = 0; n < 3; n++) await placeOrder(key);
    const before = await rowsIn(old);
    const stop = (step: string) => {
      if (step === 'number') throw new Error('stop');
    };
    await expect(move('eu1', { after: stop })).rejects.toThrow('stop');
    await eu1.database.query(change, [tenant]);
    const stopped = move('eu1');
    await expect(stopped).rejects.toThrow(message);
    await expect(stopped).rejects.toBeInstanceOf(MoveStopped);
    await expect(callIn(old, 'orders.place_order', { keyHash: hashOf(key) }, orderOf('A'))).rejects.toThrow(
      'unavailable',
    );
    await undoMove(cells, tenant, { steps });
    expect(await places()).toEqual(['here', 'unknown', 'unknown']);
    expect(await rowsIn(old)).toEqual(before);
    expect((await placeOrder(key)).cell).toBe('default');
    await move('eu1');
    expect(await ordersIn(eu1)).toHaveLength(4);
  });

  test('moves back, on to a third cell and home again, with the keys of each cell', async () => {
    const firstKey = await addTenant(old, tenant, { A: 100 });
    await placeOrder(firstKey);
    await move('eu1');
    const secondKey = await eu1.database.key({ tenant });
    await placeOrder(firstKey);
    expect((await callLikeWorker<Order>([eu1, old], 'orders.place_order', secondKey, orderOf('A'))).cell).toBe('eu1');
    await move('eu2');
    expect((await readPlace(old, tenant)).move).toMatchObject({ state: 'moved', cell: 'eu2' });
    expect((await placeOrder(firstKey)).cell).toBe('eu2');
    expect((await callLikeWorker<Order>([eu1, eu2], 'orders.place_order', secondKey, orderOf('A'))).cell).toBe('eu2');
    await move('default');
    expect(await places()).toEqual(['here', 'moved', 'moved']);
    expect((await placeOrder(firstKey)).cell).toBe('default');
    expect((await callLikeWorker<Order>([eu2, old], 'orders.place_order', secondKey, orderOf('A'))).cell).toBe(
      'default',
    );
    expect((await callLikeWorker<Order>([eu1, old], 'orders.place_order', secondKey, orderOf('A'))).cell).toBe(
      'default',
    );
    expect(await stockIn(old)).toEqual([{ sku: 'A', quantity: 92, reserved: 8 }]);
  });

  test('keeps the answer to an idempotency key', async () => {
    const key = await addTenant(old, tenant, { A: 100 });
    const order = orderOf('A');
    const idempotencyKey = randomUUID();
    const first = await placeOrder(key, order, idempotencyKey);
    await move('eu1');
    const again = await placeOrder(key, { ...order, id: randomUUID() }, idempotencyKey);
    expect(again).toMatchObject({ cell: 'eu1', answer: first.answer });
    expect(await ordersIn(eu1)).toHaveLength(1);
  });

  test('waits for a transaction that had begun before it', async () => {
    const key = await addTenant(old, tenant, { A: 100 });
    const slow = await old.worker.connect();
    await slow.query('begin');
    // The transaction knows its tenant and has written nothing yet.
    await slow.query(`select platform.authenticate($1, 'orders:write')`, [{ keyHash: hashOf(key) }]);
    let moved = false;
    const moving = move('eu1').then(() => {
      moved = true;
    });
    while ((await placeIn(old)) !== 'moving') await sleep(5);
    await sleep(300);
    expect(moved).toBe(false);
    expect(await placeIn(eu1)).toBe('unknown');
    await slow.query('commit');
    slow.release();
    await moving;
    expect(await placeIn(eu1)).toBe('here');
  });

  test('ends by itself and allows writes again, if a transaction or a delivery does not end', async () => {
    const key = await addTenant(old, tenant, { A: 100 });
    const slow = await old.worker.connect();
    await slow.query('begin');
    await slow.query('select 1');
    await expect(move('eu1', { waitMs: 300 })).rejects.toThrow(
      /transaction of fusion_worker \(process \d+\) does not end/,
    );
    expect(await places()).toEqual(['here', 'unknown', 'unknown']);
    await slow.query('commit');
    slow.release();
    await placeOrder(key);
    await expect(moveTenant(cells, tenant, 'eu1', { steps, waitMs: 300 })).rejects.toThrow(
      /events of the tenant are not delivered yet/,
    );
    expect(await places()).toEqual(['here', 'unknown', 'unknown']);
    expect((await placeOrder(key)).cell).toBe('default');
  });

  test('does not begin if the new cell has a tenant with this id, or another schema', async () => {
    await addTenant(old, tenant, { A: 1 });
    await eu1.database.query(`insert into platform.tenants (id, name) values ('${tenant}', 'Another')`);
    await expect(move('eu1')).rejects.toThrow('name the one with --from');
    await expect(moveTenant(cells, tenant, 'eu1', { steps, from: 'default' })).rejects.toThrow(
      `the cell eu1 has a tenant ${tenant} of its own`,
    );
    const rename = (from: string, to: string) =>
      eu2.database.query('update platform.migrations set name = replace(name, $1, $2)', [from, to]);
    await rename('create_orders', 'made_orders');
    await expect(moveTenant(cells, tenant, 'eu2', { steps, from: 'default' })).rejects.toThrow(
      /default and eu2 differ in \d+_create_orders.sql/,
    );
    await rename('made_orders', 'create_orders');
    await expect(move('mars')).rejects.toThrow('set DATABASE_URL_MARS');
    await expect(moveTenant(cells, 'nobody', 'eu1', { steps })).rejects.toThrow('no cell serves a tenant nobody');
    expect(await placeIn(old)).toBe('here');
  });

  test('cannot be undone once the new cell serves the tenant', async () => {
    const key = await addTenant(old, tenant, { A: 100 });
    const after = (step: string) => {
      if (step === 'switch') throw new Error('crash');
    };
    await expect(move('eu1', { after })).rejects.toThrow('crash');
    await expect(undoMove(cells, tenant, { steps })).rejects.toThrow(`eu1 serves ${tenant} already`);
    await move('eu1');
    expect((await placeOrder(key)).cell).toBe('eu1');
  });

  test('a move that was undone meanwhile cannot copy or switch', async () => {
    await addTenant(old, tenant, { A: 100 });
    for (const step of ['copy orders.orders', 'check', 'close']) {
      const stopping = move('eu1', {
        after(reached) {
          if (reached === step) throw new Error('stop');
        },
      });
      await expect(stopping).rejects.toThrow('stop');
      // Both connections of a cell are one session each, as of two operators.
      const others = await connectAgain();
      const outcomes = await Promise.allSettled([move('eu1'), undoMove(others, tenant, { steps })]);
      for (const { client } of others) await client.end();
      const states = await places();
      expect(
        states.filter((state) => state === 'here'),
        `${step}: ${JSON.stringify(outcomes)}`,
      ).toHaveLength(1);
      if (states[0] !== 'here') await move('default');
      const leftovers = await eu1.database.query(`select from orders.orders where tenant_id = '${tenant}'`);
      if (states[1] === 'unknown') expect(leftovers).toEqual([]);
    }
  });

  test('the rows that it left behind are deleted after a week, and the keys still lead to the new cell', async () => {
    const key = await addTenant(old, tenant, { A: 100 });
    await placeOrder(key);
    await expect(purgeTenant(cells, tenant, { steps })).rejects.toThrow('left no rows behind');
    await move('eu1');
    const moved = await rowsIn(eu1);
    await expect(purgeTenant(cells, tenant, { steps })).rejects.toThrow('less than 7 days ago');
    expect(await ordersIn(old)).toHaveLength(1);
    const weekAgo = `update platform.tenant_moves set moved_at = now() - interval '8 days' where id = $1`;
    await old.database.query(weekAgo, [tenant]);
    await purgeTenant(cells, tenant, { steps });
    expect(await ordersIn(old)).toEqual([]);
    expect(await rowsIn(eu1)).toEqual(moved);
    expect((await placeOrder(key)).cell).toBe('eu1');
    await move('default');
    expect((await placeOrder(key)).cell).toBe('default');
    expect(await ordersIn(old)).toHaveLength(3);
  });
});
