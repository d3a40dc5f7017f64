import { afterAll, beforeAll, expect, test } from 'vitest';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';

let store: Store;
let shop: ReturnType<typeof paymentFixture>;
beforeAll(async () => {
  store = await startStore();
  shop = paymentFixture(store);
});
afterAll(() => store.close());

type PaidOrder = { orderId: string; intent: string };

/** Inserts `count` waiting payments of a tenant and their orders of one unit. */
async function fillWaiting(tenant: string, count: number, ends: Date): Promise<void> {
  await store.database.query(`insert into platform.tenants (id, name) values ($1, $1) on conflict do nothing`, [
    tenant,
  ]);
  await store.database.query(
    `insert into inventory.inventory (sku, tenant_id, quantity, reserved) values ('CROWD', $1, 0, $2)`,
    [tenant, count],
  );
  await store.database.query(
    `with made as (
       insert into orders.orders (id, tenant_id, customer_id, items, total, currency, status, created_at, updated_at)
       select $1 || '-' || n, $1, 'c', '[{"sku":"CROWD","quantity":1,"price":10}]', 10, 'USD', 'created', now(), now()
       from generate_series(1, $2::int) n returning id
     ), held as (
       insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
       select id, $1, array['CROWD'], array[1], 'held', $3, now() from made
     )
     insert into payments.payments (payment_id, order_id, amount, currency, status, tenant_id, stripe_payment_intent_id,
       intent_open, created_at, updated_at, checked_at)
     select 'p-' || id, id, 10, 'USD', 'pending', $1, 'pi_' || id, true, now(), now(), now() from made`,
    [tenant, count, ends],
  );
}

/** Places an order of a tenant and pays for it. The caller has made the emulator lose its webhooks. */
async function payWithoutWebhook(tenant: string): Promise<PaidOrder> {
  const key = await store.database.key({ tenant });
  const body = { sku: 'ONE', name: 'One', price: 10, currency: 'USD', inventory: 1 };
  expect((await store.send('POST', '/v1/products', body, { key })).status).toBe(201);
  const order = (await store.send('POST', '/v1/orders', oneLine('ONE'), { key })).body;
  const payment = (await store.send('POST', '/v1/payments', { orderId: order.id }, { key })).body;
  await shop.pay(payment.stripePaymentIntentId);
  return { orderId: order.id, intent: payment.stripePaymentIntentId };
}

const statusOf = async (id: string) => (await shop.rowsOfOrder(id)).order?.status;
const jobsOf = (name: string) => store.logs().filter((line) => String(line.id).startsWith(name));

test('with 1,000 waiting payments, 90 % of one tenant, one turn repairs a lost webhook of any tenant', async () => {
  const tenants = ['crowd', 'one', 'two', 'three'];
  const ends = new Date(Date.now() + 900_000);
  await fillWaiting('crowd', 900, ends);
  for (const tenant of tenants.slice(1)) await fillWaiting(tenant, 33, ends);
  await shop.webhooks({ lose: 1 });
  const paid = await Promise.all(tenants.map(payWithoutWebhook));
  await store.cron();
  for (const { orderId } of paid) expect(await statusOf(orderId)).toBe('confirmed');
  const [turn] = jobsOf('hear-stripe').slice(-1);
  expect(turn).toMatchObject({ outcome: 'ok', applied: tenants.length, failed: 0 });
  // The calls of a turn depend on the number of changes, not on the number of waiting payments.
  expect(Number(turn?.dbCalls)).toBeLessThan(3 + 2 * tenants.length + 5);
  await shop.webhooks({ lose: 0 });
  await store.database.query(`update inventory.reservations set status = 'released' where skus = '{CROWD}'`);
  await store.database.query(
    `update payments.payments set status = 'cancelled', intent_open = false where payment_id like 'p-%'`,
  );
});

test('while Stripe is unavailable, an expired hold waits if its payment has an intent, and is released if it has none', async () => {
  await Promise.all([addProduct(store, 'WAITS', 1), addProduct(store, 'ENDS', 1)]);
  const paid = await shop.checkout('WAITS');
  await shop.quiet();
  await shop.webhooks({ lose: 1 });
  await shop.pay(paid.intent);
  await shop.fault({ times: 1000, path: '/v1/', action: 'status', status: 503, saved: false });
  const unpaid = (await store.send('POST', '/v1/orders', oneLine('ENDS'))).body;
  await until(async () => (await shop.orderOf(unpaid.id)).payment !== null);
  const end = new Date(Date.parse(unpaid.reservation.expiresAt) + 60_000);
  await store.cron('* * * * *', end).catch(() => undefined); // the job that reads Stripe's events fails and is reported
  expect(await statusOf(unpaid.id)).toBe('failed');
  expect(await statusOf(paid.order.id)).toBe('created');
  expect(await shop.stockOf('WAITS')).toEqual({ quantity: 0, reserved: 1 });
  await shop.clearFaults();
  await store.cron('* * * * *', new Date(end.getTime() + 600_000));
  expect(await statusOf(paid.order.id)).toBe('confirmed');
  await shop.webhooks({ lose: 0 });
});

test('before an expired hold is released its payment is checked at Stripe; if it is paid, the order is confirmed', async () => {
  await addProduct(store, 'ASKED', 1);
  const paid = await shop.checkout('ASKED');
  await shop.quiet();
  await shop.webhooks({ lose: 1 });
  await shop.pay(paid.intent);
  await shop.fault({ times: 1000, path: '/v1/events', action: 'status', status: 503, saved: false });
  await store.cron('* * * * *', new Date(paid.order.reservation.expiresAt)).catch(() => undefined);
  expect(await statusOf(paid.order.id)).toBe('confirmed');
  await shop.clearFaults();
  await shop.webhooks({ lose: 0 });
});

test('an event that cannot be applied is set aside, blocks no other event, keeps its hold, and is applied later', async () => {
  await addProduct(store, 'SPOILT', 1);
  await addProduct(store, 'SOUND', 1);
  const [bad, good] = [await shop.checkout('SPOILT'), await shop.checkout('SOUND')];
  await shop.quiet();
  await shop.webhooks({ lose: 1 });
  await shop.pay(bad.intent);
  await shop.pay(good.intent);
  await store.database.query(
    `alter table payments.payments add constraint payments_spoilt check (payment_id <> '${bad.payment.id}' or status <> 'succeeded') not valid`,
  );
  await store.cron();
  expect(await statusOf(good.order.id)).toBe('confirmed');
  const openDeadLetters = async () =>
    (await store.send('GET', '/v1/dead-letters')).body.data.filter(
      (deadLetter: { key: string; replayedAt: string | null }) =>
        deadLetter.key === bad.payment.id && deadLetter.replayedAt === null,
    );
  expect(await openDeadLetters()).toMatchObject([
    { sink: 'hear-stripe', reason: expect.stringContaining('payments_spoilt') },
  ]);
  // Even if Stripe no longer returns that event, other lost webhooks are repaired.
  await addProduct(store, 'BEHIND', 1);
  const behind = await shop.checkout('BEHIND');
  await shop.quiet();
  await shop.pay(behind.intent);
  await shop.fault({ times: 1_000, method: 'GET', path: '/v1/events/', action: 'status', status: 500 });
  await store.cron('* * * * *', new Date(Date.now() + 120_000));
  expect(await statusOf(behind.order.id)).toBe('confirmed');
  await shop.clearFaults();
  // The hold is not released while it is unknown whether the order is paid.
  await store.cron('* * * * *', new Date(Date.parse(bad.order.reservation.expiresAt) + 120_000));
  expect(await statusOf(bad.order.id)).toBe('created');
  await store.database.query('alter table payments.payments drop constraint payments_spoilt');
  await store.cron('* * * * *', new Date(Date.parse(bad.order.reservation.expiresAt) + 3_600_000));
  expect(await statusOf(bad.order.id)).toBe('confirmed');
  expect(await openDeadLetters()).toEqual([]);
  await shop.webhooks({ lose: 0 });
});

test('an event that was set aside is resolved when a webhook delivers it later', async () => {
  await addProduct(store, 'LATER', 1);
  const bad = await shop.checkout('LATER');
  await shop.quiet();
  await shop.webhooks({ lose: 1 });
  await shop.pay(bad.intent);
  await store.database.query(
    `alter table payments.payments add constraint payments_spoilt check (payment_id <> '${bad.payment.id}' or status <> 'succeeded') not valid`,
  );
  await store.cron();
  const openDeadLetters = () =>
    store.database.query<{ event_id: string }>(
      `select event_id from platform.dead_letters where sink = 'hear-stripe' and replayed_at is null`,
    );
  const [deadLetter] = await openDeadLetters();
  await store.database.query('alter table payments.payments drop constraint payments_spoilt');
  await shop.deliver(JSON.stringify(await shop.stripe.events.retrieve(deadLetter?.event_id ?? '')));
  expect(await statusOf(bad.order.id)).toBe('confirmed');
  await store.cron('* * * * *', new Date(Date.now() + 120_000));
  expect(await openDeadLetters()).toEqual([]);
  await shop.webhooks({ lose: 0 });
});

test('expired holds are released in bulk once Stripe’s events are read past their end, without a request for each', async () => {
  const ends = new Date(Date.now() - 300_000);
  await fillWaiting('bulk', 450, ends);
  await store.cron();
  await store.cron();
  const rows = await store.database.query(
    `select status, count(*)::int as n from orders.orders where tenant_id = 'bulk' group by 1`,
  );
  expect(rows).toEqual([{ status: 'failed', n: 450 }]);
  const [stock] = await store.database.query(
    `select quantity, reserved from inventory.inventory where tenant_id = 'bulk'`,
  );
  expect(stock).toEqual({ quantity: 450, reserved: 0 });
  const [turn] = jobsOf('reconcile-payments').slice(-1);
  expect(Number(turn?.looked)).toBeLessThanOrEqual(200);
});
