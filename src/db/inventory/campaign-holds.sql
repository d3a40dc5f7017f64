-- requires: inventory/reservations.sql
-- Stock of places in campaigns. A place holds its unit under the id that its order will have.

-- Holds the units of a place in a campaign, under the id that its order will have. Returns null if they are held, or
-- the shortages; then the caller undoes everything. Emits no event: the join reports it. For group commerce.
create or replace function inventory.hold_units(order_id varchar, sku varchar, units integer, until timestamptz)
returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
begin
  with taken as (
    update inventory.inventory i
    set quantity = i.quantity - units, reserved = i.reserved + units, version = platform.next_version(i.version),
        updated_at = now_at
    where i.tenant_id = tenant and i.sku = hold_units.sku and i.quantity >= units
    returning i.sku
  )
  insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
  select hold_units.order_id, tenant, array[t.sku], array[units], 'held', until, now_at from taken t;
  if found then
    return null;
  end if;
  -- Units that came back since are locked now, so the second attempt takes them.
  return coalesce(inventory.find_shortages(array[sku], array[units]), inventory.hold_units(order_id, sku, units, until));
end
$$;

-- Sets the time until which these orders' units are held. Locks their reservations by order id, like every other
-- function. For group commerce and payments.
create or replace function inventory.keep_until(order_ids text[], until timestamptz) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  -- The status is read after the lock, not part of the search: with it, Postgres may read all holds of the tenant.
  with locked as materialized (
    select v.order_id, v.status from inventory.reservations v
    where v.order_id = any(order_ids) order by v.order_id for update
  )
  update inventory.reservations r set expires_at = until
  where r.order_id = any(array(select l.order_id from locked l where l.status = 'held'))
$$;

-- Emits inventory.reserved for new orders whose stock was held before they existed. For group commerce.
create or replace function inventory.emit_reserved(order_ids text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select platform.emit('inventory.reserved', o, jsonb_build_object('orderId', o, 'status', 'reserved'), false)
  from unnest(order_ids) o order by o
$$;

call platform.set_owner('inventory', 'fusion_inventory');

grant execute on function inventory.hold_units, inventory.keep_until, inventory.emit_reserved, inventory.release
  to fusion_group_commerce;
grant execute on function inventory.keep_until to fusion_payments;
