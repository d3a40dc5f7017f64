create table orders.orders (
  id varchar primary key,
  customer_id varchar not null,
  items jsonb not null,
  total decimal(10,2) not null constraint orders_total_not_negative check (total >= 0),
  currency varchar(3) not null,
  status varchar not null constraint orders_status
    check (status in ('created', 'confirmed', 'shipped', 'delivered', 'failed', 'cancelled', 'refunded')),
  created_at timestamptz not null default now(),
  tenant_id varchar not null default 'default',
  organization_id varchar,
  purchase_order_number varchar,
  shipping_address jsonb,
  campaign_id varchar,
  failure_reason varchar,
  updated_at timestamptz not null default now()
);
create index idx_orders_tenant_id on orders.orders (tenant_id, id desc);
create index idx_orders_organization_id on orders.orders (organization_id, tenant_id, id desc)
  where organization_id is not null;
create index idx_orders_customer_id on orders.orders (tenant_id, customer_id, id desc);
create index idx_orders_status on orders.orders (tenant_id, status, id desc);

alter table orders.orders enable row level security;
alter table orders.orders force row level security;
create policy tenant on orders.orders
  using (tenant_id = current_setting('app.tenant_id', true))
  with check (tenant_id = current_setting('app.tenant_id', true));

-- The cron of inventory asks, over all tenants, whose orders still wait.
create policy every_tenant on orders.orders for select to fusion_inventory
  using (current_setting('app.tenant_id', true) = '*');

grant select, insert, update on orders.orders to fusion_orders;
grant select on orders.orders to fusion_reader, fusion_inventory, fusion_payments, fusion_shipping;
