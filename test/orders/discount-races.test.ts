import { createHash, randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';
import { openPool } from '../support/pools.ts';
import { jobSecret } from '../support/secrets.ts';

/** Orders, cancellations, expiries and late money over a few discounts and SKUs, at once, on real PostgreSQL. */
let database: Database;
let pool: pg.Pool;
let keyHash: string;
const threads = 12;

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

let random = 1;
/** A random integer from 0 to `limit` - 1. The seed is fixed (mulberry32). */
const randomBelow = (limit: number) => {
  random = (random + 0x6d2b79f5) | 0;
  let t = Math.imul(random ^ (random >>> 15), 1 | random);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % limit;
};
const oneOf = <T>(all: T[]): T => all[randomBelow(all.length)] as T;
const someOf = <T>(all: T[]): T[] =>
  all
    .map((value) => ({ value, place: randomBelow(1_000) }))
    .sort((a, b) => a.place - b.place)
    .slice(0, 1 + randomBelow(all.length))
    .map(({ value }) => value);
const asUser = () => ({ keyHash, idempotencyKey: randomUUID(), requestHash: 'x' });
const asJob = (fields: object = {}) => ({ jobSecret, ...fields });

type Outcome = { result?: { answer?: Record<string, unknown> }; code?: string; message?: string | undefined };
/** The codes of errors that a caller may see: one of the API, and one after which the Worker repeats the call. */
const expectedCodes = new Set(['FC000', '40001']);

/**
 * Runs a function. The Worker repeats a call after a serialization failure, and so does this. PostgreSQL reports a
 * failure before it releases the locks, so the idempotency key of the first attempt may still be in use.
 */
async function run(name: string, caller: object, input: object): Promise<Outcome> {
  for (let tries = 1; ; tries++) {
    try {
      const { rows } = await pool.query(`select ${name}($1, $2) as result`, [caller, input]);
      return { result: rows[0].result };
    } catch (error) {
      if (!(error instanceof pg.DatabaseError) || !expectedCodes.has(error.code ?? '')) throw error;
      const isOwnAttempt = tries > 1 && error.message === 'idempotency_in_progress';
      if (error.code === 'FC000' && !isOwnAttempt) return { code: error.message, message: error.detail };
    }
  }
}
const answerOf = ({ result }: Outcome) => result?.answer;
/** What became of an order: its status, or the error. */
const outcomeOf = (outcome: Outcome) => outcome.code ?? answerOf(outcome)?.error ?? answerOf(outcome)?.status;

const addProduct = (sku: string, inventory: number, price = 10) =>
  run('catalog.create_product', asUser(), {
    ...{ id: randomUUID(), sku, name: sku, description: null, price, currency: 'USD', inventory },
  });
async function addDiscount(fields: object): Promise<string> {
  const made = await run('orders.create_discount', asUser(), {
    ...{ id: randomUUID(), name: 'D', type: 'percentage', value: 10, combinable: true, ...fields },
  });
  return String(answerOf(made)?.id);
}
const place = (skus: string[], fields: object = {}) =>
  run('orders.place_order', asUser(), {
    ...{ id: randomUUID(), customerId: 'c', async: false, holdSeconds: 900 },
    items: skus.map((sku) => ({ sku, quantity: 1 })),
    ...fields,
  });
const idsOf = async (text: string): Promise<string[]> => (await pool.query(text)).rows.map((row) => row.id);

/** Counters that differ from their rows in discount_uses, and uses that do not follow from the state of their order. */
const findFaults = async (): Promise<object[]> => [
  ...(await database.query(
    `select d.code, d.usage_limit, c.used, (select count(*)::int from orders.discount_uses u
       where u.discount_id = d.id and u.is_taken) as taken
     from orders.discounts d left join orders.discount_counters c on c.discount_id = d.id
     where (d.usage_limit is null) <> (c.used is null) or c.used <> (select count(*) from orders.discount_uses u
       where u.discount_id = d.id and u.is_taken)`,
  )),
  ...(await database.query(
    `select d.code, d.per_customer_limit, u.customer_key, u.taken, c.used
     from orders.discounts d
     join (select discount_id, customer_key, count(*) filter (where is_taken) as taken from orders.discount_uses
       group by 1, 2) u on u.discount_id = d.id
     left join orders.discount_customers c on c.discount_id = u.discount_id and c.customer_key = u.customer_key
     where case when d.per_customer_limit is null then c.used is not null else c.used is distinct from u.taken end`,
  )),
  ...(await database.query(
    `select o.id, o.status, u.discount_id, u.is_taken from orders.discount_uses u join orders.orders o on o.id = u.order_id
     where u.is_taken = (o.status in ('failed', 'cancelled'))`,
  )),
];
const countDeadlocks = async () =>
  (
    await database.query<{ n: number }>(
      'select deadlocks::int as n from pg_stat_database where datname = current_database()',
    )
  )[0]?.n;

describe('the last uses of a discount', () => {
  test.each([
    ['usageLimit', { usageLimit: 10 }, 'has been used up.'],
    ['perCustomerLimit', { perCustomerLimit: 10 }, 'You have used the discount'],
  ])('100 buyers at once of 10 uses (%s) get exactly 10', async (name, limit, sentence) => {
    const code = `hundred-${name}`;
    await addDiscount({ code, ...limit });
    await addProduct(code, 1_000);
    const outcomes = await Promise.all(
      Array.from({ length: 100 }, () => place([code], { email: 'ada@example.com', discountCodes: [code] })),
    );
    expect(outcomes.filter((outcome) => outcomeOf(outcome) === 'created')).toHaveLength(10);
    expect(outcomes.filter((outcome) => outcomeOf(outcome) === 'discount_invalid')).toHaveLength(90);
    for (const outcome of outcomes)
      if (outcomeOf(outcome) !== 'created')
        expect(outcome.message ?? JSON.stringify(answerOf(outcome))).toContain(sentence);
    expect(await findFaults()).toEqual([]);
    const [stock] = await database.query<{ quantity: number }>(
      'select quantity from inventory.inventory where sku = $1',
      [code],
    );
    expect(stock?.quantity).toBe(990);
  });

  test('one customer who orders 20 times at once, in any case of the e-mail, uses a code for one order once', async () => {
    await addDiscount({ code: 'once', perCustomerLimit: 1 });
    await addProduct('once', 1_000);
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        place(['once'], { email: n % 2 ? 'Ada@Example.com' : 'ada@example.com', discountCodes: ['ONCE'] }),
      ),
    );
    expect(outcomes.map(outcomeOf).sort()).toEqual(['created', ...Array(19).fill('discount_invalid')]);
    expect(await findFaults()).toEqual([]);
  });

  test('of a discount without a code: 30 buyers all get their order, and 10 of them get it cheaper', async () => {
    const id = await addDiscount({ usageLimit: 10, skus: ['by-itself'] });
    await addProduct('by-itself', 1_000);
    const outcomes = await Promise.all(Array.from({ length: 30 }, () => place(['by-itself'])));
    const totals = outcomes.map((outcome) => Number(answerOf(outcome)?.total)).sort();
    expect(totals).toEqual([...Array(20).fill(10), ...Array(10).fill(9)]);
    expect(await findFaults()).toEqual([]);
    await run('orders.delete_discount', asUser(), { id });
  });
});

describe('a discount without limits', () => {
  test('writes no row that orders share, so two orders with it do not wait for each other', async () => {
    const id = await addDiscount({ code: 'free for all' });
    await addProduct('apart-1', 10);
    await addProduct('apart-2', 10);
    const [first, second] = [await pool.connect(), await pool.connect()];
    try {
      for (const [client, sku] of [
        [first, 'apart-1'],
        [second, 'apart-2'],
      ] as const) {
        await client.query(`begin; set local lock_timeout = '1ms'`);
        const order = { id: randomUUID(), customerId: 'c', email: 'a@example.com', discountCodes: ['Free for ALL'] };
        const { rows } = await client.query('select orders.place_order($1, $2) as result', [
          asUser(),
          { ...order, items: [{ sku, quantity: 1 }], async: false, holdSeconds: 900 },
        ]);
        expect(rows[0].result.answer.total).toBe(9);
      }
      await Promise.all([first.query('commit'), second.query('commit')]);
    } finally {
      first.release();
      second.release();
    }
    for (const table of ['discount_counters', 'discount_customers', 'discount_uses'])
      expect(await database.query(`select 1 from orders.${table} where discount_id = $1`, [id])).toEqual([]);
    // Not even a lock on the discount: it would write the discount's row.
    expect(await database.query(`select xmax::text from orders.discounts where id = $1`, [id])).toEqual([
      { xmax: '0' },
    ]);
  });
});

const skus = ['X', 'Y', 'Z'];
const codes = ['all', 'customer', 'both', 'amount', 'free'];
const discountIds: string[] = [];
const openOrder = async () =>
  (await idsOf(`select id from orders.orders where status = 'created' order by random() limit 1`))[0] ?? 'none';
const message = (orderId: string) => ({ eventId: randomUUID(), orderId, id: randomUUID() });

const actions: Record<string, () => Promise<unknown>> = {
  place: () =>
    place(someOf(skus), {
      ...{ email: `user-${randomBelow(5)}@example.com`, discountCodes: someOf(codes) },
      ...{ async: randomBelow(4) === 0, paymentId: randomUUID() },
    }),
  'place again': () => actions.place?.() ?? Promise.resolve(),
  cancel: async () => run('orders.cancel_order', asUser(), { id: await openOrder() }),
  expire: () =>
    run('orders.expire_holds', asJob({ now: new Date(Date.now() + 3_600_000).toISOString() }), {
      limit: 1 + randomBelow(5),
    }),
  'decide deferred': async () => {
    const waiting = await idsOf(`select r.order_id as id from inventory.reservations r where r.status = 'pending'
      order by random() limit 4`);
    return run('inventory.reserve_orders', asJob(), {
      ...{ tenant: 'default', holdSeconds: 900, messages: waiting.map(message) },
    });
  },
  'fail short': async () => {
    const short = await idsOf(`select o.id from orders.orders o join inventory.reservations r on r.order_id = o.id
      where o.status = 'created' and r.status not in ('pending', 'held', 'committed') order by random() limit 4`);
    return run('orders.fail_short_orders', asJob(), { tenant: 'default', messages: short.map(message) });
  },
  'confirm free ones': async () => {
    const free = await idsOf(`select o.id from orders.orders o join inventory.reservations r on r.order_id = o.id
      where o.total = 0 and r.status = 'held' order by random() limit 4`);
    return run('payments.open_payments', asJob(), { tenant: 'default', messages: free.map(message) });
  },
  refuse: async () => {
    const pending = await idsOf(`select payment_id as id from payments.payments where status = 'pending'
      order by random() limit 3`);
    return run('payments.record_intents', asJob(), {
      ...{ tenant: 'default', intents: [], again: [] },
      refused: pending.map((id) => ({ id, reason: 'refused', intentId: null })),
    });
  },
  pay: async () => {
    // Also payments that have ended with their order: their money is late.
    const [payment] = await database.query<{ id: string; order_id: string; amount: number }>(
      `select payment_id as id, order_id, amount from payments.payments where status in ('pending', 'failed')
       order by random() limit 1`,
    );
    if (payment === undefined) return undefined;
    const amount = Number(payment.amount);
    const madeFor = { paymentId: payment.id, orderId: payment.order_id, tenant: 'default' };
    return run('payments.apply_stripe', asJob(), {
      ...{ eventId: randomUUID(), paymentId: payment.id, intentId: `pi_${payment.id}`, terms: { account: null } },
      intent: { status: 'succeeded', received: amount, amount: String(amount), currency: 'USD', madeFor },
    });
  },
  'change limits': () =>
    run('orders.update_discount', asUser(), {
      id: oneOf(discountIds),
      change: {
        usageLimit: [null, 3, 8, 20][randomBelow(4)],
        perCustomerLimit: [null, 1, 2, 5][randomBelow(4)],
      },
    }),
};

describe('placing, cancelling, expiring and paying late', () => {
  beforeEach(async () => {
    for (const sku of skus) await addProduct(sku, 40);
    discountIds.push(
      await addDiscount({ code: 'all', usageLimit: 8 }),
      await addDiscount({ code: 'customer', perCustomerLimit: 2 }),
      await addDiscount({ code: 'both', usageLimit: 20, perCustomerLimit: 5, value: 5 }),
      await addDiscount({ code: 'amount', usageLimit: 20, type: 'amount', value: 1, currency: 'USD' }),
      await addDiscount({ code: 'free', usageLimit: 5, perCustomerLimit: 1, value: 100 }),
      await addDiscount({ usageLimit: 10, value: 1 }),
    );
  });

  test('over several discounts and SKUs never deadlock, and no counter and no use is wrong', async () => {
    const names = Object.keys(actions);
    for (let turn = 0; turn < 120; turn++) {
      // More orders than anything else, and changes of limits in some turns only.
      const chosen = Array.from({ length: threads }, (_, n) => (n < 4 ? 'place' : oneOf(names)));
      await Promise.all(chosen.map((name) => actions[name]?.()));
      if (turn % 10 === 9) expect(await findFaults()).toEqual([]);
      if (turn % 30 === 29)
        for (const sku of skus)
          await database.query('update inventory.inventory set quantity = 40 where sku = $1', [sku]);
    }
    expect(await findFaults()).toEqual([]);
    const statuses = await database.query<{ status: string }>(
      'select distinct o.status from orders.orders o join orders.discount_uses u on u.order_id = o.id order by 1',
    );
    expect(statuses.map((row) => row.status)).toEqual(expect.arrayContaining(['cancelled', 'confirmed', 'failed']));
    const [late] = await database.query<{ taken: number; refunded: number }>(
      `select count(*) filter (where o.status = 'confirmed')::int as taken,
         count(*) filter (where o.status = 'failed' and p.captured > 0)::int as refunded
       from payments.payments p join orders.orders o on o.id = p.order_id
       where exists (select from platform.events e where e.key = o.id and e.topic = 'order.failed')`,
    );
    expect(late?.taken).toBeGreaterThan(0);
    expect(late?.refunded).toBeGreaterThan(0);
    // All uses come back with the orders.
    for (const id of await idsOf(`select id from orders.orders where status in ('created', 'confirmed')`))
      await run('orders.cancel_order', asUser(), { id });
    expect(await findFaults()).toEqual([]);
    expect(
      await database.query(
        `select o.status from orders.discount_uses u join orders.orders o on o.id = u.order_id where u.is_taken`,
      ),
    ).toEqual([]);
    expect(await countDeadlocks()).toBe(0);
  }, 300_000);
});
