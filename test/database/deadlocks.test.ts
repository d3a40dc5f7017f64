import { createHash, randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';
import { openPool } from '../support/pools.ts';
import { jobSecret } from '../support/secrets.ts';

/** Runs every statement that locks several rows against every other one, over the same few rows, on real PostgreSQL. */
let database: Database;
let pool: pg.Pool;
const threads = 8;
const turns = 25;

beforeAll(async () => {
  database = await createDatabase();
  pool = openPool(database.url, threads);
  await database.key();
  // PostgreSQL reports a deadlock at once, so that a lock which is released in time cannot hide one.
  await database.query(
    `do $$ begin execute format('alter database %I set deadlock_timeout = ''5ms''', current_database()); end $$`,
  );
  await pool.query('select 1');
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

const skus = ['A', 'B', 'C'];
/** The ids of the products are in another order than their SKUs. */
const idOf = (sku: string) => `p-${skus.length - skus.indexOf(sku)}`;
const campaigns = ['camp-1', 'camp-2', 'camp-3', 'full'];
const groups = ['group-1', 'group-2'];
const collections = ['coll-1', 'coll-2', 'coll-3'];
const discounts = ['code-1', 'code-2', 'code-3'];
let random = 1;
/** A random integer from 0 to `limit` - 1. The seed is fixed (mulberry32). */
const randomBelow = (limit: number) => {
  random = (random + 0x6d2b79f5) | 0;
  let t = Math.imul(random ^ (random >>> 15), 1 | random);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % limit;
};
const oneOf = <T>(all: T[]): T => all[randomBelow(all.length)] as T;
const someOf = <T>(all: T[], most = 4): T[] => all.toSorted(() => randomBelow(3) - 1).slice(0, 1 + randomBelow(most));

let keyHash: string;
const call = () => ({ keyHash, idempotencyKey: randomUUID(), requestHash: 'x' });
const job = (fields: object = {}) => ({ jobSecret, ...fields });
const inOneHour = () => new Date(Date.now() + 3_600_000).toISOString();

/**
 * The deadlocks that were found. An error with our SQLSTATE FC000 is a valid outcome, and so is 40001 for a user who
 * joins twice or a product that changes its group at once, which the Worker repeats. Any other error fails the test.
 */
const deadlocks: string[] = [];
async function run(name: string, caller: object, input: object): Promise<unknown> {
  try {
    const { rows } = await pool.query(`select ${name}($1, $2) as result`, [caller, input]);
    return rows[0].result;
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    if (error.code === '40P01') deadlocks.push(`${name}: ${error.detail}\n${error.where}`);
    else if (error.code !== 'FC000' && error.code !== '40001') throw error;
    return null;
  }
}

const selectIds = async (text: string): Promise<string[]> => (await pool.query(text)).rows.map((row) => row.id);
const openOrders = () => selectIds(`select id from orders.orders where status = 'created' order by random() limit 6`);
const paidOrders = () =>
  selectIds(`select id from orders.orders where status = 'confirmed' and total > 0 order by random() limit 1`);
const someLines = () => someOf(['1', '2', '3'], 3).map((lineId) => ({ lineId, quantity: 1 }));
const pendingPaymentIds = () =>
  selectIds(`select payment_id as id from payments.payments where status = 'pending' order by random() limit 6`);
const createdKeys = () =>
  selectIds(
    `select id from platform.api_keys where prefix = 'sk_test' and revoked_at is null order by random() limit 1`,
  );
const messages = (orders: string[]) =>
  orders.map((orderId) => ({ eventId: randomUUID(), orderId, id: randomUUID(), reason: 'x' }));

const makeGroup = (id: string) => run('catalog.create_product_group', call(), { id, name: 'g', options: ['Size'] });
const makeCollection = (id: string) => run('catalog.create_collection', call(), { id, name: 'c' });

const statements: Record<string, () => Promise<unknown>> = {
  'create key': () =>
    run('platform.create_key', call(), {
      ...{ id: randomUUID(), kind: 'secret', prefix: 'sk_test', scopes: ['keys:write'] },
      keyHash: createHash('sha256').update(randomUUID()).digest('hex'),
    }),
  'revoke key': async () => run('platform.revoke_key', call(), { id: (await createdKeys())[0] ?? 'none' }),
  join: () =>
    run('group_commerce.join_campaign', call(), {
      ...{
        campaignId: oneOf(campaigns),
        userId: `u-${randomBelow(60)}`,
        participantId: randomUUID(),
        orderId: randomUUID(),
      },
      ...{ paymentId: randomUUID(), secureSeconds: 0, graceSeconds: 60, holdWithinSeconds: 600_000, waitlist: true },
    }),
  'update waiting': () => run('group_commerce.update_waiting', job({ now: inOneHour() }), { limit: 20 }),
  leave: () =>
    run('group_commerce.leave_campaign', call(), { campaignId: oneOf(campaigns), userId: `u-${randomBelow(60)}` }),
  'free unsecured': () => run('group_commerce.free_unsecured', job({ now: inOneHour() }), { limit: 20 }),
  'free lost': () => run('group_commerce.free_lost_places', job({ now: inOneHour() }), { idleSeconds: 0, limit: 20 }),
  settle: () => run('group_commerce.settle_batch', job(), { limit: 3, graceSeconds: 60 }),
  release: () => run('group_commerce.release_batch', job(), { limit: 3 }),
  place: () =>
    run('orders.place_order', call(), {
      ...{ id: randomUUID(), customerId: 'c', async: randomBelow(3) === 0, holdSeconds: 900 },
      items: someOf([...skus, 'FREE']).map((sku) => ({ sku, quantity: 1 })),
      ...(randomBelow(2) ? { discountCodes: someOf(discounts), email: `u-${randomBelow(3)}@example.com` } : {}),
    }),
  'change limits': () =>
    run('orders.update_discount', call(), {
      id: oneOf(discounts),
      change: { usageLimit: oneOf([null, 900_000]), perCustomerLimit: oneOf([null, 900_000]) },
    }),
  cancel: async () => {
    const [id] = await (randomBelow(2) ? openOrders() : paidOrders());
    await run('orders.cancel_order', call(), { id: id ?? 'none', restock: randomBelow(2) === 0 });
  },
  'expire holds': () => run('orders.expire_holds', job({ now: inOneHour() }), { limit: 5 }),
  reserve: async () =>
    run('inventory.reserve_orders', job(), {
      tenant: 'default',
      holdSeconds: 900,
      messages: messages(await openOrders()),
    }),
  'decide forgotten': () =>
    run('inventory.decide_forgotten', job({ now: inOneHour() }), { idleSeconds: 1, holdSeconds: 900, limit: 9 }),
  'fail short': async () =>
    run('orders.fail_short_orders', job(), { tenant: 'default', messages: messages((await openOrders()).slice(0, 2)) }),
  'lose orders': async () =>
    run('group_commerce.lose_orders', job(), {
      tenant: 'default',
      messages: messages(
        await selectIds(
          `select id from orders.orders where campaign_id is not null and status in ('failed', 'cancelled') order by random() limit 5`,
        ),
      ),
    }),
  'open payments': async () =>
    run('payments.open_payments', job(), { tenant: 'default', messages: messages(await openOrders()) }),
  'record intents': async () => {
    const pendingPayments = (await pendingPaymentIds()).map((id) => ({
      id,
      reason: 'refused',
      intentId: `pi_${id}`,
      attempt: 1,
      status: 'new',
    }));
    return run('payments.record_intents', job(), {
      tenant: 'default',
      refused: pendingPayments.slice(0, 3),
      intents: pendingPayments.slice(2),
      again: pendingPayments,
    });
  },
  'note checked': async () =>
    run('payments.note_checked', job(), {
      tenant: 'default',
      payments: someOf(await pendingPaymentIds(), 6),
      listed: someOf(await pendingPaymentIds(), 6),
      refunds: [],
      again: [],
    }),
  'hear stripe': async () => {
    const paymentId = (await pendingPaymentIds())[0] ?? 'none';
    const status = oneOf(['succeeded', 'requires_capture', 'canceled']);
    return run('payments.apply_stripe', job(), {
      eventId: randomUUID(),
      paymentId,
      intentId: `pi_${paymentId}`,
      intent: { status, received: 10, amount: 10, currency: 'USD' },
    });
  },
  'refund units or take a return': async () => {
    const [id = 'none'] = await paidOrders();
    const [returnId, refundId] = [randomUUID(), randomUUID()];
    if (randomBelow(2) === 0) {
      await run('orders.refund_order', call(), { id, refundId, items: someLines(), restock: randomBelow(3) > 0 });
      return;
    }
    await run('orders.request_return', call(), { id, returnId, items: someLines() });
    if (randomBelow(4) === 0) await run('orders.cancel_return', call(), { id: returnId });
    else await run('orders.receive_return', call(), { id: returnId, refundId });
  },
  'end refund': async () => {
    const [refund] = await database.query<{ id: string; payment: string; amount: string }>(
      `select r.id, r.payment_id as payment, r.amount::text from payments.refunds r
       where r.items is not null and r.status <> 'failed' order by random() limit 1`,
    );
    if (!refund) return;
    await run('payments.apply_stripe', job(), {
      ...{ eventId: randomUUID(), paymentId: refund.payment, intentId: `pi_${refund.payment}` },
      refund: {
        ...{ id: refund.id, stripeId: `re_${refund.id}`, amount: refund.amount },
        status: oneOf(['succeeded', 'failed']),
      },
    });
  },
  adjust: () =>
    run('inventory.apply_adjustments', job(), {
      tenant: 'default',
      messages: someOf([...Array(9).keys()], 6).map((n) => ({
        eventId: `shared-${n % 5}-${randomBelow(4)}`,
        sku: skus[n % 3],
        delta: 1 + (n % 2),
        reason: 'in',
      })),
    }),
  'move variant': () =>
    run('catalog.update_product', call(), {
      id: idOf(oneOf(skus)),
      change: randomBelow(2)
        ? { groupId: oneOf(groups), options: { Size: oneOf(['S', 'M', 'L']) }, price: 10 }
        : { groupId: null },
    }),
  'add variant': async () => {
    const id = randomUUID();
    await run('catalog.create_product', call(), {
      ...{ id, sku: id, name: 'x', description: null, price: 10, currency: 'USD', inventory: 5 },
      ...{ groupId: oneOf(groups), options: { Size: id } },
    });
    // A group with products for sale cannot be deleted.
    await run('catalog.update_product', call(), { id, change: { status: 'archived' } });
  },
  'remake group': async () => {
    const id = oneOf(groups);
    if ((await run('catalog.delete_product_group', call(), { id })) !== null) await makeGroup(id);
  },
  'archive and restore': async () => {
    const id = idOf(oneOf(skus));
    for (const status of ['archived', 'active'])
      await run('catalog.update_product', call(), { id, change: { status } });
  },
  'set collection': () =>
    run('catalog.set_collection_product', call(), {
      ...{ collectionId: oneOf(collections), productId: idOf(oneOf(skus)), isMember: randomBelow(2) === 0 },
    }),
  'move collection': () =>
    run('catalog.update_collection', call(), { id: oneOf(collections), change: { parentId: oneOf(collections) } }),
  'remake collection': async () => {
    const id = oneOf(collections);
    if ((await run('catalog.delete_collection', call(), { id })) !== null) await makeCollection(id);
  },
  'fetched images': () =>
    run('catalog.add_fetched_images', job(), {
      tenant: 'default',
      images: someOf(skus).map((sku) => ({
        ...{ eventId: randomUUID(), productId: idOf(sku), url: randomUUID() },
        image: { id: randomUUID(), path: '/media/x.png', alt: null, width: 1, height: 1 },
      })),
    }),
  'set prices': () =>
    run('catalog.set_prices', call(), {
      id: `list-${randomBelow(2)}`,
      prices: [...someOf(skus), 'FREE', `NEW-${randomBelow(6)}`]
        .filter((sku, index, all) => all.indexOf(sku) === index)
        .map((sku) => ({ sku, minQuantity: 1 + randomBelow(3), price: [null, 5, 10][randomBelow(3)] })),
    }),
  import: () =>
    run('catalog.import_products', call(), {
      rows: [...someOf(skus), `NEW-${randomBelow(6)}`, `NEW-${randomBelow(6)}`]
        .filter((sku, index, all) => all.indexOf(sku) === index)
        .map((sku) => ({
          id: randomUUID(),
          sku,
          name: sku,
          description: null,
          price: 10,
          currency: 'USD',
          inventory: 50_000 + randomBelow(9),
          ...(randomBelow(2) === 0
            ? { group: oneOf([...groups, 'group-new']), options: { Size: sku }, optionNames: ['Size'] }
            : { collections: someOf([...collections, 'coll-new']) }),
        })),
    }),
};

test('no two statements that lock several rows can deadlock', async () => {
  keyHash = createHash('sha256')
    .update(await database.key())
    .digest('hex');
  for (const sku of [...skus, 'FREE']) {
    await run('catalog.create_product', call(), {
      id: idOf(sku),
      sku,
      name: sku,
      description: null,
      price: sku === 'FREE' ? 0 : 10,
      currency: 'USD',
      inventory: 50_000,
    });
  }
  for (const id of ['list-0', 'list-1'])
    await run('catalog.create_price_list', call(), { id, name: id, currency: 'USD', audience: 'all' });
  for (const id of discounts)
    await run('orders.create_discount', call(), {
      ...{ id, code: id, name: id, type: 'percentage', value: 1, combinable: true },
      ...{ usageLimit: 900_000, perCustomerLimit: 900_000 },
    });
  for (const [index, id] of campaigns.entries()) {
    await run('group_commerce.create_campaign', call(), {
      ...{
        id,
        productId: idOf('A'),
        minParticipants: index === 2 ? 4 : id === 'full' ? 5 : 400,
        maxParticipants: id === 'full' ? 5 : 500,
        price: 5,
        successOn: 'joined',
      },
      ...{
        startTime: new Date(Date.now() - 60_000).toISOString(),
        endTime: new Date(Date.now() + 86_400_000).toISOString(),
      },
    });
  }
  for (const id of groups) await makeGroup(id);
  for (const id of collections) await makeCollection(id);
  const names = Object.keys(statements);
  const runStatement = async (name: string) => statements[name]?.();
  for (const name of ['join', 'place']) for (let n = 0; n < 20; n++) await runStatement(name);
  for (const [index, first] of names.entries()) {
    for (const second of names.slice(index)) {
      // Both statements need rows to work on, and the previous pair may have used them all.
      await Promise.all(['join', 'join', 'join', 'place', 'place', 'join', 'join', 'open payments'].map(runStatement));
      const concurrentNames = Array.from({ length: threads }, (_, n) => (n % 2 ? first : second));
      for (let turn = 0; turn < Math.ceil(turns / threads); turn++)
        await Promise.all(concurrentNames.map(runStatement));
    }
  }
  // Places that are taken, left and freed, all on the stock of one product.
  const placeChanges = ['join', 'join', 'free unsecured', 'join', 'leave', 'join', 'free unsecured', 'join'];
  for (let turn = 0; turn < turns * 8; turn++) await Promise.all(placeChanges.map(runStatement));
  // Then all statements at once.
  for (let turn = 0; turn < turns * 4; turn++)
    await Promise.all(Array.from({ length: threads }, () => runStatement(oneOf(names))));
  expect(deadlocks).toEqual([]);
  const [counted] = await database.query<{ n: number }>(
    'select deadlocks::int as n from pg_stat_database where datname = current_database()',
  );
  expect(counted?.n).toBe(0);
}, 600_000);
