-- Found by filling in millions of orders: what read more, the more there was.

-- A refusal stays for ever: the cron that looks for recent ones read all of them.
drop index inventory.idx_reservations_open;
create index idx_reservations_open on inventory.reservations (status, created_at) where status in ('pending', 'refused');

-- Lists are sorted by id under its own collation. Else Postgres may as well walk all tenants' rows by the primary key, and
-- would for a tenant with a fair share of them, none of which are new.
drop index orders.idx_orders_tenant_id, orders.idx_orders_organization_id, orders.idx_orders_customer_id, orders.idx_orders_status;
create index idx_orders_tenant_id on orders.orders (tenant_id, (id collate "C") desc);
create index idx_orders_organization_id on orders.orders (organization_id, tenant_id, (id collate "C") desc)
  where organization_id is not null;
create index idx_orders_customer_id on orders.orders (tenant_id, customer_id, (id collate "C") desc);
create index idx_orders_status on orders.orders (tenant_id, status, (id collate "C") desc);
