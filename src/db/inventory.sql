-- requires: platform.sql, events.sql
-- Stock and the holds on it. Lock order everywhere: order, reservation, then inventory rows by SKU.

create or replace function inventory.stock_json(i inventory.inventory) returns jsonb
language sql stable as $$
  select jsonb_build_object('sku', i.sku, 'quantity', i.quantity, 'reserved', i.reserved, 'version', i.version,
    'updatedAt', platform.iso(i.updated_at))
$$;

-- Sets the stock of SKUs (sorted, each once), making their rows if need be. For the catalog.
create or replace function inventory.open_stock(skus text[], quantities integer[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform 1 from inventory.inventory i where i.tenant_id = platform.tenant() and i.sku = any(skus)
    order by i.sku for update;
  insert into inventory.adjustments (tenant_id, sku, delta, quantity, reason, created_at)
  select platform.tenant(), w.sku, w.quantity - coalesce(i.quantity, 0), w.quantity, 'opening', platform.clock()
  from unnest(skus, quantities) w(sku, quantity)
  left join inventory.inventory i on i.tenant_id = platform.tenant() and i.sku = w.sku
  where w.quantity <> coalesce(i.quantity, 0);
  insert into inventory.inventory as i (sku, tenant_id, quantity, updated_at)
  select w.sku, platform.tenant(), w.quantity, platform.clock() from unnest(skus, quantities) w(sku, quantity)
  order by w.sku
  on conflict (sku, tenant_id) do update
    set quantity = excluded.quantity, version = i.version + 1, updated_at = excluded.updated_at
    where i.quantity <> excluded.quantity;
end
$$;

-- The answer to a count that would not fit into one integer together with what orders hold (inventory_units_fit).
create or replace function inventory.too_many(pointer text) returns jsonb
language sql stable as $$
  select jsonb_build_object('error', 'validation_failed', 'errors', jsonb_build_array(jsonb_build_object('pointer', pointer,
    'detail', 'The count would exceed 2147483647, together with what orders hold.')))
$$;

-- `input`: {sku, quantity, ifMatch?: [version]}. Raises not_found, version_mismatch. Refuses: validation_failed above
-- what a count can hold.
create or replace function inventory.set_stock(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'inventory:write', 'inventory.set');
  i inventory.inventory;
  before integer;
begin
  if replay is not null then
    return replay;
  end if;
  select * into i from inventory.inventory s
    where s.tenant_id = platform.tenant() and s.sku = input->>'sku' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not input->'ifMatch' @> to_jsonb(i.version) then
    perform platform.fail('version_mismatch');
  end if;
  if (input->>'quantity')::bigint + i.reserved > 2147483647 then
    return platform.leave(call, 'inventory.set', inventory.too_many('/quantity'));
  end if;
  before := i.quantity;
  update inventory.inventory s
  set quantity = (input->>'quantity')::int, version = s.version + 1, updated_at = platform.clock()
  where s.tenant_id = i.tenant_id and s.sku = i.sku
  returning * into i;
  insert into inventory.adjustments (tenant_id, sku, delta, quantity, reason, created_at)
  select i.tenant_id, i.sku, i.quantity - before, i.quantity, 'count', platform.clock() where i.quantity <> before;
  return platform.leave(call, 'inventory.set', inventory.stock_json(i));
end
$$;

-- `input`: {sku, delta, reason}. Raises not_found. Refuses: insufficient_inventory below zero (the same condition
-- stands in inventory_quantity_not_negative), validation_failed above what a count can hold.
create or replace function inventory.adjust_stock(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'inventory:write', 'inventory.adjust');
  change integer := (input->>'delta')::int;
  i inventory.inventory;
begin
  if replay is not null then
    return replay;
  end if;
  update inventory.inventory s
  set quantity = s.quantity + change, version = s.version + 1, updated_at = platform.clock()
  where s.tenant_id = platform.tenant() and s.sku = input->>'sku'
    and s.quantity::bigint + change between 0 and 2147483647 - s.reserved
  returning * into i;
  if not found then
    select * into i from inventory.inventory s where s.tenant_id = platform.tenant() and s.sku = input->>'sku';
    if not found then
      perform platform.fail('not_found');
    end if;
    return platform.leave(call, 'inventory.adjust', case when change < 0
      then jsonb_build_object('error', 'insufficient_inventory', 'shortages', jsonb_build_array(
        jsonb_build_object('sku', i.sku, 'requested', -change, 'available', i.quantity)))
      else inventory.too_many('/delta') end);
  end if;
  insert into inventory.adjustments (tenant_id, sku, delta, quantity, reason, created_at)
  values (i.tenant_id, i.sku, change, i.quantity, input->>'reason', platform.clock());
  return platform.leave(call, 'inventory.adjust', inventory.stock_json(i));
end
$$;

-- Locks an order's hold, waiting for whoever is just deciding it: only so do the events that the caller emits for the
-- order come after that one's, in `seq` as in time. The caller has locked the order. For orders.
create or replace function inventory.lock_hold(order_id varchar) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select 1 from inventory.reservations r
  where r.tenant_id = platform.tenant() and r.order_id = lock_hold.order_id for update
$$;

call platform.hand_over('inventory', 'fusion_inventory');

grant execute on function inventory.open_stock to fusion_catalog;
grant execute on function inventory.lock_hold to fusion_orders;
grant execute on function inventory.set_stock, inventory.adjust_stock to fusion_worker;
grant execute on function inventory.stock_json to fusion_reader;
