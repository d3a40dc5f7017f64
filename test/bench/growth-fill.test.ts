import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Case } from '../../bench/growth/case.ts';
import { casesOf } from '../../bench/growth/cases.ts';
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
  const silent = new Progress(() => undefined, false);
  await prepare(database.url, pastOf(size.orders, new Date()));
  // In two steps: the second continues where the first ended.
  await grow(database.url, { orders: 0, products: 0 }, { orders: 6_000, products: 3_000 }, silent);
  await grow(database.url, { orders: 6_000, products: 3_000 }, size, silent);
  const keys = {
    default: await database.key(),
    corner: await database.key({ tenant: 'corner' }),
    trade: await database.key({ tenant: 'trade' }),
  };
  facts = await readFacts(database.url, size);
  cases = casesOf(facts, keys);
  session = await openSession(database.url);
}, 300_000);
afterAll(async () => {
  await session.close();
  await database.drop();
});

async function planOf(name: string): Promise<CallPlan> {
  const found = cases.find((candidate) => candidate.name.includes(name));
  if (!found) throw new Error(`there is no case named ${name}`);
  // A new connection first reads the functions, and PostgreSQL settles on a plan after five calls.
  for (let i = 0; i < 7; i++) await session.run(found.statement(1, undefined));
  return session.explain(found.statement(1, undefined));
}
const scansOf = (plan: CallPlan): string[] => plan.lines.flatMap((line) => line.scans);
/** The number of rows that the scans have read. The one or two rows of job secrets do not count. */
const rowsOf = (plan: CallPlan): number =>
  scansOf(plan)
    .filter((scan) => !/ job_secrets/.test(scan))
    .flatMap((scan) => (scan.split(': ').at(-1) ?? '').match(/\d+/g) ?? [])
    .reduce((sum, count) => sum + Number(count), 0);

test.each([
  [
    'there are as many orders as requested',
    `select 1 from (select count(*) as n from orders.orders) x where n <> ${size.orders}`,
  ],
  [
    'every order has the total of its lines',
    `select id from orders.orders where total <> (items->0->>'price')::numeric * (items->0->>'quantity')::int`,
  ],
  [
    'every order has its hold',
    'select o.id from orders.orders o left join inventory.reservations r on r.order_id = o.id where r.order_id is null or r.tenant_id <> o.tenant_id',
  ],
  [
    'exactly the shipped and delivered orders have a shipment',
    `select o.id from orders.orders o left join shipping.shipments s on s.order_id = o.id where (o.status in ('shipped', 'delivered')) <> (s.id is not null)`,
  ],
  [
    'exactly the confirmed orders have a succeeded payment',
    `select o.id from orders.orders o left join payments.payments p on p.order_id = o.id where (o.status in ('confirmed', 'shipped', 'delivered')) <> coalesce(p.status = 'succeeded', false)`,
  ],
  [
    'the reserved stock is the sum of the holds',
    `select sku from inventory.inventory i where reserved <> (select coalesce(sum(r.quantities[1]), 0) from inventory.reservations r where r.tenant_id = i.tenant_id and r.skus[1] = i.sku and r.status = 'held')`,
  ],
  [
    'the active campaign counts its places',
    `select c.id from group_commerce.group_commerce_campaigns c where c.status = 'active' and c.mode = 'pool' and actual_participants <> (select count(*) from group_commerce.participants p where p.campaign_id = c.id)`,
  ],
  [
    'every order has its order.created event',
    `select o.id from orders.orders o where not exists (select from platform.events e where e.tenant_id = o.tenant_id and e.key = o.id and e.topic = 'order.created')`,
  ],
  ['the outbox is empty', 'select seq from platform.outbox'],
])('in the generated data %s', async (_, wrong) => {
  expect(await database.query(wrong)).toEqual([]);
});

test('an order list of a tenant with only old orders reads only the orders of that tenant', async () => {
  const { blocks, lines } = await planOf('200 old orders');
  expect(lines[0]?.scans[0]).toMatch(/idx_orders_tenant_id on orders: 21$/);
  expect(blocks).toBeLessThan(400);
});

test('an order of 25 lines looks each price up in each of 50 lists, and reads no other prices', async () => {
  const plan = await planOf('25 lines with 50 price lists');
  const prices = scansOf(plan).filter((scan) => / on prices/.test(scan));
  expect(prices).toEqual(['Index Scan prices_once on prices: 1250']);
});

test('a product page reads only the products of its tenant', async () => {
  expect(scansOf(await planOf('product page')).join()).toContain('idx_products_newest on products: 21');
});

test('a filtered and sorted page of a collection reads only what it shows', async () => {
  const plan = await planOf('of a collection');
  expect(scansOf(plan).join()).toContain('idx_collection_products_price on collection_products: 21');
  expect(plan.blocks).toBeLessThan(1_000);
});

test.each(['("retro")', '("limited")', 'a unique word', 'no product matches'])(
  'the product search "%s" reads only the products that it has found',
  async (name) => {
    const all = scansOf(await planOf(name));
    expect(all.filter((scan) => scan.includes('products_pkey') && scan.includes('removed'))).toEqual([]);
  },
);

test('the cron that decides forgotten reservations reads no refusal older than an hour', async () => {
  const { blocks } = await planOf('undecided reservations');
  // There are 200 old refusals and 43 tenants. The job secret, the rows set aside and the tenants with work are read.
  expect(blocks).toBeLessThan(60);
});

test('finding out whether one payment must be checked at Stripe reads no other waiting payment', async () => {
  const plan = await planOf('1 payment to check');
  // 250 payments wait. The blocks include system catalogs that the planner reads.
  expect([plan.blocks < 40, rowsOf(plan)]).toEqual([true, 1]);
});

test('a webhook reads only its payment, its intents and its order', async () => {
  facts.unpaid = await addNeeds(database.url, 'unpaid', 20);
  const statement = (i: number) => cases.find((candidate) => candidate.needs === 'unpaid')?.statement(i, undefined);
  for (let i = 0; i < 8; i++) await session.run(statement(i) as Statement);
  const plan = await session.explain(statement(8) as Statement);
  expect(scansOf(plan).length).toBeGreaterThan(0);
  expect(rowsOf(plan)).toBeLessThan(50);
});

test('a page of participants reads only the places of its campaign', async () => {
  const plan = await planOf('participants of a campaign');
  expect(scansOf(plan)).toContainEqual('Index Scan idx_participants_tenant_id on participants: 21');
});

test.each(['open a team', 'join a team'])('the case "%s" reads no other team and no other place', async (name) => {
  const plan = await planOf(name);
  const scans = scansOf(plan).filter((scan) => / on (teams|participants|campaign_customers)/.test(scan));
  expect(scans.filter((scan) => /Seq Scan|removed/.test(scan))).toEqual([]);
  expect(plan.blocks).toBeLessThan(300); // 167 teams and their places
});

test.each([
  ['teams whose time is over', 60],
  ['teams to settle', 60],
  ['teams to release', 60],
  ['unsecured places', 40],
  ['places whose order has ended', 40],
  ['expired holds, none found', 60], // also reads the rows set aside, and how far Stripe's events have been read
  ['payments to check at Stripe', 100], // the same, and the payments and refunds that are due
])('the cron for %s reads only rows that are due, not every place, hold, payment and tenant', async (name, most) => {
  expect((await planOf(name)).blocks).toBeLessThan(most); // 475 places, 250 holds and payments, 43 tenants
});

test('a purge without old rows reads no rows', async () => {
  const plan = await planOf('purge');
  // There are one or two job secrets.
  expect(scansOf(plan).filter((scan) => /removed/.test(scan) && !/ job_secrets:/.test(scan))).toEqual([]);
  expect(plan.blocks).toBeLessThan(30); // the upper blocks of the indexes
});

test('an order is looked up by its id, even if the statistics have no order with its status yet', async () => {
  // The connection plans this while there is almost no new order, and keeps the plan.
  await planOf('hold expiry');
  await addNeeds(database.url, 'holds', 1_200);
  const plan = await planOf('hold expiry');
  expect(scansOf(plan).filter((scan) => / on orders: .*removed/.test(scan))).toEqual([]);
});
