import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Case, casesOf } from '../../bench/growth/cases.ts';
import { addNeeds, type Facts, readFacts } from '../../bench/growth/facts.ts';
import { grow, prepare } from '../../bench/growth/fill.ts';
import type { CallPlan } from '../../bench/growth/plan.ts';
import { pastOf } from '../../bench/growth/rows.ts';
import { openSession, type Session, type Statement } from '../../bench/growth/session.ts';
import { Progress } from '../../bench/replay/progress.ts';
import { createDatabase, type Database } from '../support/harness.ts';

const size = { orders: 10_000, products: 5_000 };
let database: Database;
let session: Session;
let facts: Facts;
let cases: Case[];

beforeAll(async () => {
  database = await createDatabase();
  const nobody = new Progress(() => undefined, false);
  await prepare(database.url, pastOf(size.orders, new Date()));
  // In two steps: the second begins where the first has ended.
  await grow(database.url, { orders: 0, products: 0 }, { orders: 6_000, products: 3_000 }, nobody);
  await grow(database.url, { orders: 6_000, products: 3_000 }, size, nobody);
  const keys = { default: await database.key(), corner: await database.key({ tenant: 'corner' }) };
  facts = await readFacts(database.url, size);
  cases = casesOf(facts, keys);
  session = await openSession(database.url);
}, 300_000);
afterAll(async () => {
  await session.close();
  await database.drop();
});

async function touched(name: string): Promise<CallPlan> {
  const found = cases.find((each) => each.name.includes(name));
  if (!found) throw new Error(`no case ${name}`);
  // A new connection also reads what its functions are; and their plans settle after five calls.
  for (let i = 0; i < 7; i++) await session.run(found.statement(1, undefined));
  return session.explain(found.statement(1, undefined));
}
const scansOf = (plan: CallPlan): string[] => plan.lines.flatMap((line) => line.scans);
/** How many rows its scans have looked at. The job secrets are a row or two and do not count. */
const rowsOf = (plan: CallPlan): number =>
  scansOf(plan)
    .filter((scan) => !/ job_secrets/.test(scan))
    .flatMap((scan) => (scan.split(': ').at(-1) ?? '').match(/\d+/g) ?? [])
    .reduce((sum, count) => sum + Number(count), 0);

test.each([
  [
    'there are as many as asked for',
    `select 1 from (select count(*) as n from orders.orders) x where n <> ${size.orders}`,
  ],
  [
    'every order has its lines’ total',
    `select id from orders.orders where total <> (items->0->>'price')::numeric * (items->0->>'quantity')::int`,
  ],
  [
    'every order has its hold',
    'select o.id from orders.orders o left join inventory.reservations r on r.order_id = o.id where r.order_id is null or r.tenant_id <> o.tenant_id',
  ],
  [
    'a parcel is on its way where the order is',
    `select o.id from orders.orders o left join shipping.shipments s on s.order_id = o.id where (o.status in ('shipped', 'delivered')) <> (s.id is not null)`,
  ],
  [
    'money was taken where the order was confirmed',
    `select o.id from orders.orders o left join payments.payments p on p.order_id = o.id where (o.status in ('confirmed', 'shipped', 'delivered')) <> coalesce(p.status = 'succeeded', false)`,
  ],
  [
    'stock counts what is held',
    `select sku from inventory.inventory i where reserved <> (select coalesce(sum(r.quantities[1]), 0) from inventory.reservations r where r.tenant_id = i.tenant_id and r.skus[1] = i.sku and r.status = 'held')`,
  ],
  [
    'the campaign that runs counts its places',
    `select c.id from group_commerce.group_commerce_campaigns c where c.status = 'active' and actual_participants <> (select count(*) from group_commerce.participants p where p.campaign_id = c.id)`,
  ],
  [
    'every order was told of',
    `select o.id from orders.orders o where not exists (select from platform.events e where e.tenant_id = o.tenant_id and e.key = o.id and e.topic = 'order.created')`,
  ],
  ['nothing waits to be delivered', 'select seq from platform.outbox'],
])('of what is filled in, %s', async (_, wrong) => {
  expect(await database.query(wrong)).toEqual([]);
});

test('a list of a tenant whose orders are old reads its own orders alone', async () => {
  const { blocks, lines } = await touched('200 old orders');
  expect(lines[0]?.scans[0]).toMatch(/idx_orders_tenant_id on orders: 21$/);
  expect(blocks).toBeLessThan(400);
});

test('a product page reads its own tenant’s products alone', async () => {
  expect(scansOf(await touched('product page')).join()).toContain('idx_products_tenant_id');
});

test.each(['("retro")', '("limited")', 'its own word', 'in none'])(
  'a search for what is %s looks up what it has found, and no more',
  async (name) => {
    const all = scansOf(await touched(name));
    expect(all.filter((scan) => scan.includes('products_pkey') && scan.includes('removed'))).toEqual([]);
  },
);

test('the cron that looks for refusals of the last hour reads no older ones', async () => {
  const { blocks } = await touched('holds that nobody decided');
  // 200 old refusals and 43 tenants are there. The job secret, the rows set aside and the tenants with work are looked up.
  expect(blocks).toBeLessThan(60);
});

test('what one payment has to be asked of Stripe is found without looking at the others that wait', async () => {
  const plan = await touched('Stripe of 1 payment');
  // 250 payments wait. Catalogs that the planner reads are among the blocks.
  expect([plan.blocks < 40, rowsOf(plan)]).toEqual([true, 1]);
});

test('a webhook looks up its payment, its intents and its order', async () => {
  facts.unpaid = await addNeeds(database.url, 'unpaid', 20);
  const statement = (i: number) => cases.find((each) => each.needs === 'unpaid')?.statement(i, undefined);
  for (let i = 0; i < 8; i++) await session.run(statement(i) as Statement);
  const plan = await session.explain(statement(8) as Statement);
  expect(scansOf(plan).length).toBeGreaterThan(0);
  expect(rowsOf(plan)).toBeLessThan(50);
});

test('a page of a campaign’s places reads no more than its places', async () => {
  const plan = await touched('participants of a campaign');
  expect(scansOf(plan)).toContainEqual('Index Scan idx_participants_tenant_id on participants: 21');
});

test.each([
  ['places not secured', 40],
  ['places whose order is gone', 40],
  ['holds that run out, while none does', 60], // also looks up what is set aside, and how far Stripe's events have been read
  ['what to ask Stripe', 100], // the same, and which payments and refunds are due
])('the cron of %s looks at what is due, not at every place, hold, payment and tenant', async (name, most) => {
  expect((await touched(name)).blocks).toBeLessThan(most); // 475 places, 250 holds and payments, 43 tenants
});

test('a purge that finds nothing old reads nothing', async () => {
  const plan = await touched('purge');
  // The job secrets are a row or two.
  expect(scansOf(plan).filter((scan) => /removed/.test(scan) && !/ job_secrets:/.test(scan))).toEqual([]);
  expect(plan.blocks).toBeLessThan(15);
});

test('an order is looked up by its id alone, also where statistics know no order of its status yet', async () => {
  // Planned while next to no order is new, and kept by the connection.
  await touched('hold expiry');
  await addNeeds(database.url, 'holds', 1_200);
  const plan = await touched('hold expiry');
  expect(scansOf(plan).filter((scan) => / on orders: .*removed/.test(scan))).toEqual([]);
});
