create table inventory.inventory (
  sku varchar not null,
  tenant_id varchar not null default 'default',
  quantity integer not null constraint inventory_quantity_not_negative check (quantity >= 0),
  version integer not null default 0,
  reserved integer not null default 0 constraint inventory_reserved_not_negative check (reserved >= 0),
  updated_at timestamptz not null default now(),
  primary key (sku, tenant_id)
) with (fillfactor = 70); -- room for HOT updates: a hot SKU's row changes with each order
create index idx_inventory_tenant_id on inventory.inventory (tenant_id, sku);

-- An order's hold on stock: one row an order, whatever the number of its lines. `pending` waits for the queue to decide;
-- `refused` remembers that there was not enough, so that a second delivery of the same order decides nothing anew.
create table inventory.reservations (
  order_id varchar primary key,
  tenant_id varchar not null,
  skus text[] not null,
  quantities integer[] not null,
  status varchar not null
    constraint reservations_status check (status in ('pending', 'held', 'committed', 'released', 'refused')),
  expires_at timestamptz,
  created_at timestamptz not null,
  constraint reservations_lines_match check (cardinality(skus) = cardinality(quantities)),
  constraint reservations_hold_ends check (status <> 'held' or expires_at is not null)
);
create index idx_reservations_due on inventory.reservations (expires_at) where status = 'held';
-- What a lost message would leave behind, for the cron.
create index idx_reservations_open on inventory.reservations (created_at) where status in ('pending', 'refused');
create index idx_reservations_tenant_id on inventory.reservations (tenant_id, order_id);

-- Why stock came in or went out other than by an order: the ledger that an audit adds up.
create table inventory.adjustments (
  id uuid primary key default gen_random_uuid(),
  tenant_id varchar not null,
  sku varchar not null,
  delta integer not null,
  reason varchar not null,
  created_at timestamptz not null
);
create index idx_adjustments_tenant_id on inventory.adjustments (tenant_id, sku);

do $$
declare
  name text;
begin
  foreach name in array array['inventory', 'reservations', 'adjustments'] loop
    execute format('alter table inventory.%I enable row level security', name);
    execute format('alter table inventory.%I force row level security', name);
    execute format($p$create policy tenant on inventory.%I
      using (tenant_id = current_setting('app.tenant_id', true))
      with check (tenant_id = current_setting('app.tenant_id', true))$p$, name);
  end loop;
end
$$;
-- The cron looks for holds that have run out in every tenant; what it then changes, it changes as that tenant.
create policy every_tenant on inventory.reservations for select to fusion_inventory
  using (current_setting('app.tenant_id', true) = '*');

grant select, insert, update on inventory.inventory, inventory.reservations to fusion_inventory;
grant select, insert on inventory.adjustments to fusion_inventory;
grant select on inventory.inventory to fusion_reader, fusion_catalog;
grant select on inventory.reservations to fusion_reader, fusion_orders;
