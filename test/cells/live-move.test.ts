import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { moveTenant } from '../../dev/cells/move.ts';
import type { Cell } from '../../dev/cells/session.ts';
import { inCell } from '../support/cells.ts';
import { type Database, oneLine, type Reply, type Store, startStore, until } from '../support/harness.ts';
import { quietSteps } from '../support/moves.ts';
import { paymentFixture } from '../support/payments.ts';

// A tenant moves while the Worker serves it.

let store: Store;
let shop: Store;
let cells: (Cell & { database: Database })[];
beforeAll(async () => {
  store = await startStore({ cells: ['c2'] });
  const there = inCell(store, 'c2');
  cells = await Promise.all(
    [store, there].map(async ({ database }, index) => {
      const owner = new URL(database.url);
      owner.username = 'fusion_owner';
      owner.password = 'owner';
      const client = new pg.Client(owner.href);
      await client.connect();
      return { name: index === 0 ? 'default' : 'c2', client, database };
    }),
  );
  await store.database.query(`insert into platform.tenants (id, name) values ('shop', 'Shop')`);
  const key = await store.database.key({ tenant: 'shop' });
  shop = { ...store, key, send: (method, path, body, more = {}) => store.send(method, path, body, { key, ...more }) };
  const product = { sku: 'SOLD', name: 'Sold', price: 10, currency: 'USD', inventory: 1_000 };
  expect((await shop.send('POST', '/v1/products', product)).status).toBe(201);
});
afterAll(async () => {
  for (const { client } of cells) await client.end();
  await store.close();
});

const statusOf = async (id: string) => (await shop.send('GET', `/v1/orders/${id}`)).body.status;

test('a tenant moves while it sells: its key goes on, each order exists once, and a payment from before is confirmed', async () => {
  const payments = paymentFixture(shop);
  const before = await payments.checkout('SOLD');
  let isMoved = false;
  const replies: Reply[] = [];
  const sell = async (buyer: number) => {
    for (let n = 0; !isMoved || n < 5; n++) {
      const idempotencyKey = `${buyer}-${n}`;
      let reply = await shop.send('POST', '/v1/orders', oneLine('SOLD'), { idempotencyKey });
      while (reply.status === 503) reply = await shop.send('POST', '/v1/orders', oneLine('SOLD'), { idempotencyKey });
      replies.push(reply);
    }
  };
  const selling = Promise.all([0, 1, 2].map(sell));
  await moveTenant(cells, 'shop', 'c2', { steps: quietSteps });
  isMoved = true;
  await selling;

  expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([201]));
  const ids = replies.map(({ body }) => body.id as string);
  expect(new Set(ids).size).toBe(ids.length);
  const moved = inCell(store, 'c2').database;
  const rows = await moved.query<{ id: string }>(`select id from orders.orders where tenant_id = 'shop'`);
  expect(rows.map(({ id }) => id).sort()).toEqual([...ids, before.order.id].sort());
  const [stock] = await moved.query('select quantity, reserved from inventory.inventory where tenant_id = $1', [
    'shop',
  ]);
  expect(stock).toEqual({ quantity: 1_000 - ids.length - 1, reserved: ids.length + 1 });

  // The metadata of this payment names the old cell, whose database passes the webhook on.
  await payments.pay(before.intent);
  await until(async () => (await statusOf(before.order.id)) === 'confirmed');
  // So does a refund that names no cell at all.
  await payments.stripe.refunds.create({ payment_intent: before.intent, amount: 100 });
  await until(async () => (await shop.send('GET', `/v1/payments/${before.payment.id}/refunds`)).body.data.length === 1);
  const { body: placed } = await shop.send('POST', '/v1/orders', oneLine('SOLD'), {
    headers: { prefer: 'respond-async' },
  });
  await until(async () => (await shop.send('GET', `/v1/orders/${placed.id}`)).body.reservation?.status === 'held');
}, 120_000);
