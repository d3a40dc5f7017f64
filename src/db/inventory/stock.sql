-- requires: platform/access.sql, platform/events.sql
-- Stock and the locks on holds. Lock order everywhere: order, reservation, then stock by SKU.

create or replace function inventory.stock_json(i inventory.inventory) returns jsonb
language sql stable as $$
  select jsonb_build_object('sku', i.sku, 'quantity', i.quantity, 'reserved', i.reserved, 'version', i.version,
    'lowStockThreshold', i.low_threshold, 'updatedAt', platform.iso(i.updated_at))
$$;

-- The largest count of one SKU, held units included, that a count, an adjustment or an import may set. It is far below
-- the largest integer, so that sold units fit when their orders are cancelled.
create or replace function inventory.max_units() returns integer
language sql immutable as $$ select 1000000000 $$;

-- Whether stock may become `new_count`. A lower count is always allowed, whatever orders hold.
create or replace function inventory.is_count_allowed(new_count bigint, current_count integer, reserved integer)
  returns boolean
language sql immutable as $$
  select new_count <= coalesce(current_count, 0) or new_count + coalesce(reserved, 0) <= inventory.max_units()
$$;

-- Sets the stock of SKUs (sorted, each once) and creates missing rows. Locks existing rows by SKU. For the catalog.
create or replace function inventory.upsert_stock(skus text[], quantities integer[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform 1 from inventory.inventory i where i.tenant_id = platform.tenant() and i.sku = any(skus)
    order by i.sku for update;
  insert into inventory.adjustments (tenant_id, sku, delta, quantity, reason, created_at)
  select platform.tenant(), w.sku, w.quantity - coalesce(i.quantity, 0), w.quantity, 'opening', platform.clock()
  from unnest(skus, quantities) w(sku, quantity)
  left join inventory.inventory i on i.tenant_id = platform.tenant() and i.sku = any(skus) and i.sku = w.sku
  where w.quantity <> coalesce(i.quantity, 0);
  insert into inventory.inventory as i (sku, tenant_id, quantity, updated_at)
  select w.sku, platform.tenant(), w.quantity, platform.clock() from unnest(skus, quantities) w(sku, quantity)
  order by w.sku
  on conflict (sku, tenant_id) do update
    set quantity = excluded.quantity, version = platform.next_version(i.version), updated_at = excluded.updated_at
    where i.quantity <> excluded.quantity;
end
$$;

-- The error for a count above inventory.max_units().
create or replace function inventory.too_many_units_error(pointer text) returns jsonb
language sql stable as $$
  select jsonb_build_object('error', 'validation_failed',
    'errors', jsonb_build_array(jsonb_build_object('pointer', pointer,
    'detail', format('The count, with the units that orders hold, must not exceed %s.', inventory.max_units()))))
$$;

-- `input`: {sku, quantity?, lowStockThreshold?, ifMatch?: [version]}. What is left out stays; a threshold of null ends
-- it. Raises not_found, version_mismatch. Returns the error validation_failed above inventory.max_units(). Locks the
-- stock for the version check.
create or replace function inventory.set_stock(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'inventory:write', 'inventory.set');
  stock inventory.inventory;
  old_quantity integer;
begin
  if replay is not null then
    return replay;
  end if;
  select * into stock from inventory.inventory s
    where s.tenant_id = platform.tenant() and s.sku = input->>'sku' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not input->'ifMatch' @> to_jsonb(stock.version) then
    perform platform.fail('version_mismatch');
  end if;
  if not inventory.is_count_allowed((input->>'quantity')::bigint, stock.quantity, stock.reserved) then
    return platform.leave(call, 'inventory.set', inventory.too_many_units_error('/quantity'));
  end if;
  old_quantity := stock.quantity;
  update inventory.inventory s
  set quantity = coalesce((input->>'quantity')::int, s.quantity), version = platform.next_version(s.version),
      low_threshold = case when input ? 'lowStockThreshold' then (input->>'lowStockThreshold')::int
        else s.low_threshold end, updated_at = platform.clock()
  where s.tenant_id = stock.tenant_id and s.sku = stock.sku
  returning * into stock;
  insert into inventory.adjustments (tenant_id, sku, delta, quantity, reason, created_at)
  select stock.tenant_id, stock.sku, stock.quantity - old_quantity, stock.quantity, 'count', platform.clock()
    where stock.quantity <> old_quantity;
  return platform.leave(call, 'inventory.set', inventory.stock_json(stock));
end
$$;

-- `input`: {sku, delta, reason}. Raises not_found. Returns the errors insufficient_inventory below zero (as the
-- constraint inventory_quantity_not_negative) and validation_failed above inventory.max_units().
create or replace function inventory.adjust_stock(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'inventory:write', 'inventory.adjust');
  change integer := (input->>'delta')::int;
  stock inventory.inventory;
begin
  if replay is not null then
    return replay;
  end if;
  update inventory.inventory s
  set quantity = s.quantity + change, version = platform.next_version(s.version), updated_at = platform.clock()
  where s.tenant_id = platform.tenant() and s.sku = input->>'sku'
    and s.quantity::bigint + change >= 0 and inventory.is_count_allowed(s.quantity::bigint + change, s.quantity,
      s.reserved)
  returning * into stock;
  if not found then
    select * into stock from inventory.inventory s where s.tenant_id = platform.tenant() and s.sku = input->>'sku';
    if not found then
      perform platform.fail('not_found');
    end if;
    return platform.leave(call, 'inventory.adjust', case when change < 0
      then jsonb_build_object('error', 'insufficient_inventory', 'shortages', jsonb_build_array(
        jsonb_build_object('sku', stock.sku, 'requested', -change, 'available', stock.quantity)))
      else inventory.too_many_units_error('/delta') end);
  end if;
  insert into inventory.adjustments (tenant_id, sku, delta, quantity, reason, created_at)
  values (stock.tenant_id, stock.sku, change, stock.quantity, input->>'reason', platform.clock());
  return platform.leave(call, 'inventory.adjust', inventory.stock_json(stock));
end
$$;

-- Locks an order's reservation and so waits for a decision that is in progress. Without the lock, the caller's events
-- could come before that decision's events, in `seq` and in time. The caller has locked the order. For orders.
create or replace function inventory.lock_hold(order_id varchar) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select 1 from inventory.reservations r
  where r.order_id = lock_hold.order_id for update
$$;

-- Locks the reservations of several orders by id, then their stock by SKU. A function that ends several orders one by
-- one calls this first. Otherwise it would lock the stock of one order before the reservation of the next, and could
-- deadlock. The caller has locked the orders.
create or replace function inventory.lock_holds(order_ids text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if cardinality(order_ids) = 0 then
    return;
  end if;
  perform 1 from inventory.reservations r
    where r.order_id = any(order_ids) order by r.order_id for update;
  perform 1 from inventory.inventory i
    where i.tenant_id = platform.tenant() and i.sku = any(array(
      select distinct s from inventory.reservations r, unnest(r.skus) s
      where r.order_id = any(order_ids)))
    order by i.sku for update;
end
$$;

call platform.set_owner('inventory', 'fusion_inventory');

grant execute on function inventory.upsert_stock, inventory.is_count_allowed, inventory.max_units to fusion_catalog;
grant execute on function inventory.lock_hold to fusion_orders;
grant execute on function inventory.lock_holds to fusion_payments, fusion_group_commerce;
grant execute on function inventory.set_stock, inventory.adjust_stock to fusion_worker;
grant execute on function inventory.stock_json to fusion_reader;
