import type pg from 'pg';

/** Tables for the limits: the rows of an order and nothing more. No row-level security, no history, no idempotency. */
const tables = `
  create schema bench;
  create table bench.inventory (
    tenant_id text not null, sku text not null, quantity int not null check (quantity >= 0),
    version int not null default 0, primary key (tenant_id, sku)
  ) with (fillfactor = 70);
  create table bench.orders (
    id uuid primary key, tenant_id text not null, customer_id text not null, items jsonb not null, total bigint not null,
    currency char(3) not null, status text not null, created_at timestamptz not null default now()
  );
  create index on bench.orders (tenant_id, created_at desc, id desc);
  create table bench.outbox (
    id bigint generated always as identity primary key, tenant_id text not null, type text not null,
    payload jsonb not null, created_at timestamptz not null default now(), dispatched_at timestamptz
  );
  create table bench.rows (
    id bigint generated always as identity primary key, tenant_id text not null, name text not null, price numeric not null,
    created_at timestamptz not null default now()
  );
  insert into bench.inventory select 't1', 's' || g, 1000000000, 0 from generate_series(1, 10000) g;
  insert into bench.rows (tenant_id, name, price) select 't1', 'row ' || g, 10 from generate_series(1, 10000) g;
  grant usage on schema bench to fusion_worker;
  grant select, insert on bench.rows to fusion_worker;`;

export const limitSkus = 10_000;

/**
 * The least work that an order needs: stock, order and two outbox rows in one statement. $1 is the SKU, $2 the
 * customer.
 */
export const limitStatement = `
  with stock as (
    update bench.inventory set quantity = quantity - 1, version = version + 1
    where tenant_id = 't1' and sku = $1 and quantity >= 1 returning sku, quantity
  ), new_order as (
    insert into bench.orders (id, tenant_id, customer_id, items, total, currency, status)
    select gen_random_uuid(), 't1', $2, jsonb_build_array(jsonb_build_object('sku', stock.sku, 'quantity', 1,
      'unitPrice', 1999)), 1999, 'USD', 'created' from stock
    returning id, tenant_id, items
  ), new_events as (
    insert into bench.outbox (tenant_id, type, payload)
    select o.tenant_id, e.type, jsonb_build_object('orderId', o.id, 'items', o.items)
    from new_order o, (values ('order.created'), ('inventory.reserved')) e(type) returning 1
  )
  select id from new_order`;

export async function makeLimitTables(pool: pg.Pool): Promise<void> {
  await pool.query(tables);
  for (const table of ['inventory', 'rows']) await pool.query(`vacuum analyze bench.${table}`);
}
