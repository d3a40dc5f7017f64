import { createHash, randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { mulberry32 } from '../../dev/stripe/webhooks.ts';
import { createDatabase, type Database } from '../support/harness.ts';
import { openPool } from '../support/pools.ts';
import { jobSecret } from '../support/secrets.ts';

/** Runs every statement about a cart against every other one, over a few rows that cross, on real PostgreSQL. */
let database: Database;
let pool: pg.Pool;
let keyHash: string;
const threads = 8;
const seed = Number(process.env.SEED ?? 20261205);
const random = mulberry32(seed);

beforeAll(async () => {
  database = await createDatabase();
  pool = openPool(database.url, threads);
  keyHash = createHash('sha256')
    .update(await database.key())
    .digest('hex');
  // PostgreSQL reports a deadlock at once, so that a lock which is released in time cannot hide one.
  await database.query(
    `do $$ begin execute format('alter database %I set deadlock_timeout = ''5ms''', current_database()); end $$`,
  );
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

const skus = ['A', 'B', 'C'];
const carts = ['cart-1', 'cart-2', 'cart-3', 'cart-4'];
const codes = ['CODE-1', 'CODE-2', 'CODE-3'];
const randomBelow = (limit: number) => Math.floor(random() * limit);
const oneOf = <T>(all: T[]): T => all[randomBelow(all.length)] as T;
const someOf = <T>(all: T[]): T[] => all.toSorted(() => randomBelow(3) - 1).slice(0, 1 + randomBelow(all.length));
const inHours = (count: number) => new Date(Date.now() + count * 3_600_000).toISOString();
const call = () => ({ keyHash, idempotencyKey: randomUUID(), requestHash: 'x' });
const job = (fields: object = {}) => ({ jobSecret, ...fields });

/** The deadlocks that were found. An error with our SQLSTATE FC000 is a valid outcome; any other fails the test. */
const deadlocks: string[] = [];
// biome-ignore lint/suspicious/noExplicitAny: a test reads any shape of result
async function run(name: string, caller: object, input: object): Promise<any> {
  try {
    return (await pool.query(`select ${name}($1, $2) as result`, [caller, input])).rows[0].result;
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    if (error.code === '40P01') deadlocks.push(`${name}: ${error.detail}\n${error.where}`);
    else if (error.code !== 'FC000') throw error;
    return null;
  }
}

const makeCart = (id: string) =>
  pool.query(
    `insert into orders.carts (id, tenant_id, token_hash, status, currency, expires_at, created_at, updated_at)
     values ($1, 'default', repeat('0', 64), 'open', 'USD', now(), now(), now()) on conflict do nothing`,
    [id],
  );
const openOrder = async (): Promise<string> =>
  (await pool.query(`select id from orders.orders where status = 'created' order by random() limit 1`)).rows[0]?.id ??
  '-';
const failedPayment = async () =>
  (
    await pool.query(
      `select p.payment_id as id, p.order_id as "orderId" from payments.payments p
       where p.status in ('pending', 'failed') order by random() limit 1`,
    )
  ).rows[0] ?? { id: 'none', orderId: 'none' };

const statements: Record<string, () => Promise<unknown>> = {
  'change a cart': () =>
    run('orders.update_cart', call(), {
      ...{ id: oneOf(carts), cartSeconds: 900 },
      change: {
        items: someOf(skus).map((sku) => ({ sku, quantity: 1 })),
        discountCodes: someOf(codes),
        email: `u-${randomBelow(3)}@example.com`,
      },
    }),
  async 'check out'() {
    const id = oneOf(carts);
    const shown = await run('orders.read_cart', call(), { id });
    return run('orders.checkout_cart', call(), {
      ...{ id, expectedTotal: shown?.answer.totals.total ?? 0, orderId: randomUUID(), paymentId: randomUUID() },
      ...{ holdSeconds: 900, cartSeconds: 900 },
    });
  },
  reopen: () => run('orders.reopen_cart', call(), { id: oneOf(carts), cartSeconds: 900 }),
  'cancel and make a cart': async () => {
    const id = oneOf(carts);
    await run('orders.cancel_cart', call(), { id, cartSeconds: 900 });
    await run('orders.purge_carts', job({ now: inHours(9_000) }), { limit: 5 });
    await makeCart(id);
  },
  async 'expire carts'() {
    await run('orders.expire_carts', job({ now: inHours(1) }), { limit: 5 });
    await run('orders.purge_carts', job({ now: inHours(9_000) }), { limit: 5 });
    for (const id of carts) await makeCart(id);
  },
  'expire holds': () => run('orders.expire_holds', job({ now: inHours(1) }), { limit: 5 }),
  'cancel an order': async () => run('orders.cancel_order', call(), { id: await openOrder() }),
  'place an order': () =>
    run('orders.place_order', call(), {
      ...{ id: randomUUID(), customerId: 'c', async: false, holdSeconds: 900, email: 'u-1@example.com' },
      ...{ items: someOf(skus).map((sku) => ({ sku, quantity: 1 })), discountCodes: [oneOf(codes)] },
    }),
  async 'be paid, perhaps late'() {
    const { id, orderId } = await failedPayment();
    return run('payments.apply_stripe', job(), {
      ...{ eventId: randomUUID(), paymentId: id, intentId: `pi_${id}` },
      intent: {
        ...{
          status: 'succeeded',
          received: '10.00',
          amount: '10.00',
          currency: 'USD',
          clientSecret: null,
          failure: null,
        },
        madeFor: { paymentId: id, orderId, tenant: 'default' },
      },
      terms: { holdSeconds: 900, secureSeconds: 600, graceSeconds: 900 },
    });
  },
};

test(`no two changes of carts and orders deadlock, and every use of a discount is counted (seed ${seed})`, async () => {
  for (const sku of skus) {
    await run('catalog.create_product', call(), {
      ...{ id: randomUUID(), sku, name: sku, description: null, price: 10, currency: 'USD', inventory: 50_000 },
    });
  }
  // They have few uses, so that orders compete for the last one.
  for (const code of codes) {
    await pool.query(
      `insert into orders.discounts (id, tenant_id, code, name, type, value, usage_limit, per_customer_limit, combinable,
         created_at, updated_at)
       values ($1, 'default', $1, 'Sale', 'percentage', 10, 4, 3, true, now(), now())`,
      [code],
    );
    await pool.query(`insert into orders.discount_counters values ($1, 'default', 0)`, [code]);
  }
  for (const id of carts) await makeCart(id);
  const names = Object.keys(statements);
  const runAll = (chosen: string[]) => Promise.all(chosen.map((name) => statements[name]?.()));
  for (const [index, first] of names.entries()) {
    for (const second of names.slice(index)) {
      await runAll(['reopen', 'expire holds', 'change a cart', 'change a cart', 'change a cart', 'check out']);
      for (let turn = 0; turn < 3; turn++)
        await runAll(Array.from({ length: threads }, (_, n) => (n % 2 ? first : second)));
    }
  }
  for (let turn = 0; turn < 60; turn++) await runAll(Array.from({ length: threads }, () => oneOf(names)));
  expect(deadlocks).toEqual([]);
  const [counts] = await database.query<{ ordered: number; miscounted: number }>(
    `select (select count(*)::int from orders.orders where cart_id is not null) as ordered,
       (select count(*)::int from orders.discount_counters c
        where c.used <> (select count(*) from orders.discount_uses u where u.discount_id = c.discount_id and u.is_taken))
       + (select count(*)::int from orders.discount_customers c
        where c.used <> (select count(*) from orders.discount_uses u where u.discount_id = c.discount_id
          and u.customer_key = c.customer_key and u.is_taken)) as miscounted`,
  );
  expect(counts?.miscounted).toBe(0);
  expect(counts?.ordered).toBeGreaterThan(20);
}, 300_000);
