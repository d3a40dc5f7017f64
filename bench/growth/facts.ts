import { connectTo } from '../../dev/postgres/connection.ts';
import type { Size } from './fill.ts';

/** Ids and words for the arguments of the cases, spread evenly over the rows of a database. */
export type Facts = {
  /** Orders of `default`, of every age, and their payments. */
  orders: string[];
  payments: string[];
  /** The number of orders before `deepOrder` in the list: a thousand pages, or fewer if there are fewer orders. */
  depth: number;
  deepOrder: string;
  /** SKUs of `default` for sale, and words that occur in one product each. */
  skus: string[];
  words: string[];
  /** The active campaign. */
  campaign: string;
  /** The active campaign with teams, and teams of it that have room. */
  teamCampaign: string;
  teams: string[];
  /** The collection with one product in ten. */
  collection: string;
  /** Payments of the unpaid orders that `addNeeds` has added. */
  unpaid: string[];
};

const deepest = 20_000;

/** Reads the facts as the superuser. They are the same in every run. */
export async function readFacts(adminUrl: string, size: Size): Promise<Facts> {
  const client = await connectTo(adminUrl);
  const column = async (text: string, values: unknown[] = []): Promise<string[]> =>
    (await client.query<{ v: string }>(text, values)).rows.map(({ v }) => v);
  try {
    const [orderCount = '0'] = await column(
      `select count(*)::text as v from orders.orders where tenant_id = 'default'`,
    );
    const depth = Math.min(deepest, Math.floor(Number(orderCount) * 0.9));
    // Every twentieth number from 7 on is a product for sale of `default`, and an order outside of campaigns.
    const sample = 'select g * ($1::bigint - 20) / 1000 / 20 * 20 + 7 as n from generate_series(0, 999) g';
    const orders = await column(`select growth.id('order', n) as v from (${sample}) s`, [size.orders]);
    return {
      orders,
      payments: await column(`select payment_id as v from payments.payments where order_id = any($1) order by 1`, [
        orders,
      ]),
      depth,
      deepOrder:
        (
          await column(
            `select id as v from orders.orders where tenant_id = 'default' order by id desc offset $1 limit 1`,
            [depth],
          )
        )[0] ?? '',
      skus: await column(
        `select sku as v from catalog.products where tenant_id = 'default' and status = 'active'
           and sku = any(array(select 'SKU-' || n from (${sample}) s)) order by md5(sku)`,
        [size.products],
      ),
      words: await column(`select 'M' || to_hex(n * 7919) as v from (${sample}) s`, [size.products]),
      campaign: (await column(`select growth.id('campaign', -1) as v`))[0] ?? '',
      teamCampaign: (await column(`select growth.id('campaign', -2) as v`))[0] ?? '',
      teams: await column(
        `select id as v from group_commerce.teams where status = 'forming' order by md5(id) limit 1000`,
      ),
      collection: (await column(`select growth.id('collection', 1) as v`))[0] ?? '',
      unpaid: [],
    };
  } finally {
    await client.end();
  }
}

/** Adds unpaid orders of `default` that hold stock for $2 seconds. */
const newOrders = `
with made as materialized (
  select platform.uuid7() as id, platform.uuid7() as payment_id, 'SKU-' || (g % 400) * 20 + 1 as sku
  from generate_series(1, $1::int) g
), new_orders as (
  insert into orders.orders (id, customer_id, items, total, currency, status, created_at, tenant_id, updated_at)
  select id, 'late', jsonb_build_array(jsonb_build_object('sku', sku, 'price', 6.99, 'quantity', 1)), 6.99, 'EUR', 'created', now(),
    'default', now() from made
), new_holds as (
  insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
  select id, 'default', array[sku], array[1], 'held', now() + interval '1 second' * $2::int, now() from made
), reserved_stock as (
  update inventory.inventory s set quantity = s.quantity - m.n, reserved = s.reserved + m.n
  from (select sku, count(*)::int as n from made group by sku) m where s.tenant_id = 'default' and s.sku = m.sku
)
insert into payments.payments (payment_id, order_id, amount, currency, status, created_at, tenant_id, checked_at)
select payment_id, id, 6.99, 'EUR', 'pending', now(), 'default', '2100-01-01' from made
returning payment_id as v`;

/** Adds the rows that a case needs. Resolves with the payments of the orders that it adds. */
export async function addNeeds(adminUrl: string, needs: string, count: number): Promise<string[]> {
  const client = await connectTo(adminUrl);
  try {
    if (needs === 'holds' || needs === 'unpaid') {
      const { rows } = await client.query<{ v: string }>(newOrders, [count, needs === 'holds' ? -1 : 3_600]);
      return rows.map(({ v }) => v);
    }
    if (needs === 'backlog') {
      await client.query(
        `insert into platform.outbox (sink, seq, tenant_id, key, due_at)
         select 'kafka', e.seq, e.tenant_id, e.key, now() - interval '1 minute'
         from platform.tenants t, platform.events e
         where e.tenant_id = t.id
           and e.seq > (select last_value from platform.events_seq_seq) - $1
         on conflict do nothing`,
        [count],
      );
      await client.query('analyze platform.outbox');
    } else {
      await client.query(
        `insert into platform.idempotency (tenant_id, operation, key, request_hash, answer, created_at)
         select 'default', 'orders.place', 'stale-' || gen_random_uuid(), 'x', '{}', now() - interval '25 hours' - g * interval '10 ms'
         from generate_series(1, $1::int) g`,
        [count],
      );
    }
    return [];
  } finally {
    await client.end();
  }
}

/** Removes rows that a case has left, so that the next case finds the database unchanged. */
export async function clearNeeds(adminUrl: string, needs: string): Promise<void> {
  const client = await connectTo(adminUrl);
  try {
    if (needs === 'backlog') {
      await client.query('truncate platform.outbox'); // a delete would leave empty blocks, which readiness would read
      await client.query('analyze platform.outbox');
    }
    if (needs === 'stale') await client.query(`delete from platform.idempotency where key like 'stale-%'`);
  } finally {
    await client.end();
  }
}
