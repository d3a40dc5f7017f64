import { createHash, randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';
import { jobSecret } from '../support/secrets.ts';

/** Counts the SQL statements of a write: the call itself, and each statement inside its functions. */
let database: Database;
let worker: pg.Client;
let keyHash: string;
beforeAll(async () => {
  database = await createDatabase();
  await database.query('create extension pg_stat_statements');
  await database.query(
    `do $$ begin execute format('alter database %I set pg_stat_statements.track = ''all''', current_database()); end $$`,
  );
  worker = new pg.Client(database.workerUrl);
  await worker.connect();
  keyHash = createHash('sha256')
    .update(await database.key())
    .digest('hex');
});
afterAll(async () => {
  await worker.end();
  await database.drop();
});

// biome-ignore lint/suspicious/noExplicitAny: a test reads any shape of result
const run = async (name: string, input: object, caller: object = call()): Promise<any> =>
  (await worker.query(`select ${name}($1, $2) as result`, [caller, input])).rows[0].result;
const call = () => ({ keyHash, idempotencyKey: randomUUID(), requestHash: 'x' });
const job = () => ({ jobSecret });

const turns = 5;
/** The most statements of one of several equal writes. The first one is not counted: it plans, which calls functions. */
async function countStatements(write: () => Promise<unknown>): Promise<number> {
  const counts: number[] = [];
  for (let turn = 0; turn < turns; turn++) {
    await database.query(
      'select pg_stat_statements_reset(0, oid, 0) from pg_database where datname = current_database()',
    );
    await write();
    const [row] = await database.query<{ statements: number }>(
      `select coalesce(sum(s.calls), 0)::int as statements from pg_stat_statements s
         join pg_database d on d.oid = s.dbid join pg_roles r on r.oid = s.userid
       where d.datname = current_database() and not r.rolsuper`,
    );
    if (turn > 0) counts.push(row?.statements ?? 0);
  }
  return Math.max(...counts);
}

const createProduct = (sku: string) =>
  run('catalog.create_product', {
    ...{ id: `product-${sku}`, sku, name: sku, description: null, price: 10, currency: 'USD', inventory: 10_000 },
  });
const shippingAddress = { name: 'Ada', street1: '1 Main St', city: 'Springfield', zip: '62701', country: 'US' };
const placeOrder = (sku: string, id: string = randomUUID()) =>
  run('orders.place_order', {
    ...{ id, customerId: 'c', items: [{ sku, quantity: 1 }], async: false, holdSeconds: 900, shippingAddress },
  });

/** Places an order with a PaymentIntent. Returns Stripe's update that it was paid. */
async function placeWithIntent(sku: string) {
  const orderId = randomUUID();
  await placeOrder(sku, orderId);
  const paymentId = randomUUID();
  const messages = [{ eventId: randomUUID(), orderId, id: paymentId }];
  await run('payments.open_payments', { tenant: 'default', messages }, job());
  const intentId = `pi_${paymentId}`;
  const intents = [{ id: paymentId, intentId, attempt: 1, status: 'requires_payment_method', clientSecret: 'secret' }];
  await run('payments.record_intents', { tenant: 'default', refused: [], intents, again: [] }, job());
  const madeFor = { paymentId, orderId, tenant: 'default' };
  const amounts = { received: '10.00', amount: '10.00', currency: 'USD' };
  return {
    ...{ eventId: randomUUID(), paymentId, intentId },
    intent: { status: 'succeeded', ...amounts, madeFor, clientSecret: null, failure: null },
    terms: { holdSeconds: 900, secureSeconds: 600, graceSeconds: 900 },
  };
}

test('an order of one line takes at most 8 statements', async () => {
  await createProduct('ORDER');
  expect(await countStatements(() => placeOrder('ORDER'))).toBeLessThanOrEqual(8);
});

const cartTurns = { cartSeconds: 900, holdSeconds: 900 };
/** Makes a cart of these SKUs that can be checked out. `change`: what else the shopper has entered. */
async function makeCart(
  skus: string[],
  change: object,
  caller: object = call(),
): Promise<{ id: string; expectedTotal: number }> {
  const id = randomUUID();
  const items = skus.map((sku) => ({ sku, quantity: 1 }));
  const fields = { items, currency: 'USD', email: 'ada@example.com', tokenHash: '0'.repeat(64) };
  await run('orders.create_cart', { id, ...fields, ...cartTurns }, caller);
  const { answer } = await run('orders.update_cart', { id, change, ...cartTurns }, caller);
  return { id, expectedTotal: answer.totals.total };
}

const checkOut = async (cart: object | undefined, caller: object = call()) => {
  const ids = { orderId: randomUUID(), paymentId: randomUUID() };
  const { answer } = await run('orders.checkout_cart', { ...cart, ...ids, ...cartTurns }, caller);
  expect(answer).toMatchObject({ status: 'created', payment: { status: 'pending' } });
};

test('a checkout of a cart of one line takes at most 17 statements', async () => {
  await createProduct('CART');
  const carts: object[] = [];
  for (let n = 0; n < turns; n++) carts.push(await makeCart(['CART'], {}));
  expect(await countStatements(() => checkOut(carts.pop()))).toBeLessThanOrEqual(17);
});

test('a checkout of three lines with tax, shipping and a code takes at most 22 statements, a read 15', async () => {
  const caller = {
    keyHash: createHash('sha256')
      .update(await database.key({ tenant: 'acme' }))
      .digest('hex'),
  };
  const skus = ['CART-1', 'CART-2', 'CART-3'];
  for (const sku of skus) {
    await run(
      'catalog.create_product',
      { id: sku, sku, name: sku, price: 10, currency: 'USD', inventory: 1000 },
      caller,
    );
  }
  await run('orders.create_tax_rate', { id: 'rate', name: 'Tax', country: 'US', rate: 8 }, caller);
  await run(
    'orders.create_shipping_option',
    { id: 'post', name: 'Post', countries: ['US'], currency: 'USD', price: 5 },
    caller,
  );
  await run(
    'orders.create_discount',
    { id: 'code', code: 'SAVE10', name: '10 %', type: 'percentage', value: 10, combinable: true },
    caller,
  );
  const change = { shippingAddress, shippingOptionId: 'post', discountCodes: ['SAVE10'] };
  const carts: { id: string; expectedTotal: number }[] = [];
  for (let n = 0; n < turns; n++) carts.push(await makeCart(skus, change, caller));
  const [cart] = carts;
  expect(cart?.expectedTotal).toBe(34.56); // (30 − 3 + 5) × 1.08
  expect(await countStatements(() => run('orders.read_cart', { id: cart?.id }, caller))).toBeLessThanOrEqual(15);
  expect(await countStatements(() => checkOut(carts.pop(), caller))).toBeLessThanOrEqual(22);
});

const times = () => ({
  startTime: new Date(Date.now() - 60_000).toISOString(),
  endTime: new Date(Date.now() + 86_400_000).toISOString(),
});
const newPlace = () => ({
  ...{ userId: randomUUID(), participantId: randomUUID(), orderId: randomUUID(), paymentId: randomUUID() },
  ...{ secureSeconds: 600, graceSeconds: 900, holdWithinSeconds: 600_000 },
});

test('a join of a campaign takes at most 10 statements', async () => {
  await createProduct('JOIN');
  const campaign = { id: 'campaign', productId: 'product-JOIN', minParticipants: 50, maxParticipants: 90, price: 5 };
  await run('group_commerce.create_campaign', { ...campaign, ...times(), successOn: 'joined' });
  const join = () => run('group_commerce.join_campaign', { campaignId: 'campaign', ...newPlace() });
  expect(await countStatements(join)).toBeLessThanOrEqual(10);
});

test('opening and joining a team take at most 10 statements, one more with a limit, reading it 3', async () => {
  await createProduct('TEAM');
  for (const maxPerCustomer of [null, 5]) {
    const id = randomUUID();
    const most = maxPerCustomer === null ? 10 : 11;
    const terms = {
      mode: 'teams',
      teamSize: 90,
      teamSeconds: 3_600,
      onShort: 'release',
      joiners: 'all',
      maxPerCustomer,
    };
    const campaign = { id, productId: 'product-TEAM', minParticipants: 90, maxParticipants: 90, price: 5 };
    await run('group_commerce.create_campaign', { ...campaign, ...terms, ...times(), successOn: 'joined' });
    const open = (teamId: string = randomUUID()) =>
      run('group_commerce.open_team', { campaignId: id, teamId, code: randomUUID(), ...newPlace() });
    expect(await countStatements(() => open())).toBeLessThanOrEqual(most);
    const teamId = randomUUID();
    await open(teamId);
    const join = async () => {
      const { answer } = await run('group_commerce.join_team', { teamId, ...newPlace() });
      expect(answer).toMatchObject({ team: { status: 'forming' } });
    };
    expect(await countStatements(join)).toBeLessThanOrEqual(most);
    expect(await countStatements(() => run('group_commerce.show_team', { teamId }))).toBeLessThanOrEqual(3);
  }
});

test('a webhook that confirms an order with its label request takes at most 14 statements', async () => {
  await createProduct('WEBHOOK');
  const updates: object[] = [];
  for (let n = 0; n < turns; n++) updates.push(await placeWithIntent('WEBHOOK'));
  const confirm = async () => {
    const { outcome } = await run('payments.apply_stripe', updates.pop() ?? {}, job());
    expect(outcome).toBe('applied');
  };
  expect(await countStatements(confirm)).toBeLessThanOrEqual(14);
  const statuses = await database.query(
    `select distinct o.status from orders.orders o where o.items->0->>'sku' = 'WEBHOOK'`,
  );
  expect(statuses).toEqual([{ status: 'confirmed' }]);
});

test('deciding 100 holds takes no more statements than deciding 2', async () => {
  await createProduct('DECIDE');
  const countFor = async (size: number) => {
    const batches: string[][] = [];
    for (let turn = 0; turn < turns; turn++) {
      const rows = await database.query<{ id: string }>(
        `insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, created_at)
         select gen_random_uuid(), 'default', array['DECIDE'], array[1], 'pending', now() from generate_series(1, $1)
         returning order_id as id`,
        [size],
      );
      batches.push(rows.map(({ id }) => id));
    }
    return countStatements(async () => {
      const messages = batches.pop()?.map((orderId) => ({ eventId: orderId, orderId }));
      const input = { tenant: 'default', holdSeconds: 900, messages };
      expect(await run('inventory.reserve_orders', input, job())).toEqual({ decided: size, skus: ['DECIDE'] });
    });
  };
  const [few, many] = [await countFor(2), await countFor(100)];
  expect(few).toBeGreaterThan(1);
  expect(many).toBeLessThanOrEqual(few);
});
