-- requires: platform/access.sql, platform/events.sql, inventory/reservations.sql
-- Units of paid orders that go back into stock: of some lines, or of a whole order. A reservation counts them for each
-- SKU in `restocked`, so that none goes back twice. Lock order: order, reservation, stock by SKU.

-- Adds units to the stock of SKUs (sorted, each once). Ending an order must never fail, so units above the largest
-- count are written off in the ledger. Locks the stock by SKU.
create or replace function inventory.put_back(of_skus text[], units integer[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform 1 from inventory.inventory i where i.tenant_id = platform.tenant() and i.sku = any(of_skus)
    order by i.sku for update;
  insert into inventory.adjustments (tenant_id, sku, delta, quantity, reason, created_at)
  select i.tenant_id, i.sku, (2147483647 - i.reserved - i.quantity::bigint - w.n)::int, 2147483647 - i.reserved,
    'returned above the largest count', platform.clock()
  from unnest(of_skus, units) w(sku, n)
  join inventory.inventory i on i.tenant_id = platform.tenant() and i.sku = any(of_skus) and i.sku = w.sku
  where i.quantity::bigint + i.reserved + w.n > 2147483647;
  update inventory.inventory i
  set quantity = least(i.quantity::bigint + w.n, 2147483647 - i.reserved),
      version = platform.next_version(i.version), updated_at = platform.clock()
  from unnest(of_skus, units) w(sku, n)
  where i.tenant_id = platform.tenant() and i.sku = any(of_skus) and i.sku = w.sku and w.n > 0;
end
$$;

-- `counts` with the units of these SKUs added to it; `counts` belongs to `all_skus`, and null stands for zeros.
create or replace function inventory.add_units(counts integer[], all_skus text[], of_skus text[], units integer[])
returns integer[]
language sql immutable as $$
  select array_agg(coalesce(counts[a.n], 0) + coalesce(w.units, 0) order by a.n)
  from unnest(all_skus) with ordinality a(sku, n) left join unnest(of_skus, units) w(sku, units) on w.sku = a.sku
$$;

-- Puts units of a paid order back into stock, for a refund of some of its lines or a return, and returns their SKUs.
-- `of_skus`: each once. reservations_restocked_within keeps a unit from going back twice. Does nothing if the order has
-- ended: then its units are back already. Locks the reservation, then stock by SKU. The caller has locked the order.
-- For orders.
create or replace function inventory.restock_units(order_id varchar, of_skus text[], units integer[]) returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update inventory.reservations v
  set restocked = inventory.add_units(v.restocked, v.skus, of_skus, units)
  where v.order_id = restock_units.order_id and v.status = 'committed' and cardinality(of_skus) > 0;
  if not found then
    return '{}';
  end if;
  perform inventory.put_back(of_skus, units);
  return of_skus;
end
$$;

-- Takes units that restock_units has put back out of the stock again, all or nothing: false if too few are in stock.
-- Does nothing and returns true if the order has ended. Locks the reservation, then stock by SKU. The caller has locked
-- the order. For orders.
create or replace function inventory.take_restocked(order_id varchar, of_skus text[], units integer[]) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  reservation inventory.reservations;
begin
  select * into reservation from inventory.reservations v where v.order_id = take_restocked.order_id for update;
  if reservation.status is distinct from 'committed' or cardinality(of_skus) = 0 then
    return true;
  end if;
  if inventory.find_shortages(of_skus, units) is not null then
    return false;
  end if;
  update inventory.inventory i
  set quantity = i.quantity - w.n, version = platform.next_version(i.version), updated_at = platform.clock()
  from unnest(of_skus, units) w(sku, n)
  where i.tenant_id = platform.tenant() and i.sku = any(of_skus) and i.sku = w.sku;
  update inventory.reservations v
  set restocked = inventory.add_units(v.restocked, v.skus, of_skus, array(select -u.n from unnest(units) with ordinality u(n, ord) order by u.ord))
  where v.order_id = reservation.order_id;
  return true;
end
$$;

-- Puts the remaining committed units of an order back into stock. Returns the SKUs of all units that have gone back.
-- `kept_units` of `kept_skus` (each once) stay out: they were refunded without going back. Locks the reservation,
-- then stock by SKU. For orders. Emits inventory.released.
create or replace function inventory.restock_rest(order_id varchar, reason text, kept_skus text[] default '{}',
  kept_units integer[] default '{}') returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  reservation inventory.reservations;
  wanted integer[];
begin
  select * into reservation from inventory.reservations v
    where v.order_id = restock_rest.order_id and v.status = 'committed' for update;
  if not found then
    return '{}';
  end if;
  wanted := inventory.add_units(reservation.quantities, reservation.skus, kept_skus,
    array(select -u.n from unnest(kept_units) with ordinality u(n, ord) order by u.ord));
  update inventory.reservations v set status = 'released', restocked = wanted where v.order_id = reservation.order_id;
  perform inventory.put_back(reservation.skus, array(
    select w.n - coalesce(reservation.restocked[w.place], 0) from unnest(wanted) with ordinality w(n, place) order by w.place));
  perform platform.emit('inventory.released', reservation.order_id,
    jsonb_build_object('orderId', reservation.order_id, 'status', 'released', 'reason', reason), false);
  return array(select w.sku from unnest(reservation.skus, wanted) w(sku, n) where w.n > 0);
end
$$;

-- Commits the units that restock_rest has put back again, all or nothing: false if too few are in stock. `back_units`
-- of `back_skus` (each once) stay in stock: another refund has put them back. Locks the reservation, then stock by SKU.
-- The caller has locked the order. For orders. Emits inventory.reserved.
create or replace function inventory.recommit(order_id varchar, back_skus text[], back_units integer[]) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  reservation inventory.reservations;
  missing integer[];
begin
  select * into reservation from inventory.reservations v where v.order_id = recommit.order_id for update;
  if reservation.status is distinct from 'released' then
    return coalesce(reservation.status = 'committed', false);
  end if;
  reservation.restocked := coalesce(reservation.restocked, reservation.quantities);
  missing := inventory.add_units(reservation.restocked, reservation.skus, back_skus,
    array(select -u.n from unnest(back_units) with ordinality u(n, ord) order by u.ord));
  if inventory.find_shortages(reservation.skus, missing) is not null then
    return false;
  end if;
  update inventory.inventory i
  set quantity = i.quantity - w.n, version = platform.next_version(i.version), updated_at = platform.clock()
  from unnest(reservation.skus, missing) w(sku, n)
  where i.tenant_id = platform.tenant() and i.sku = any(reservation.skus) and i.sku = w.sku and w.n > 0;
  update inventory.reservations v
  set status = 'committed', expires_at = null,
      restocked = nullif(inventory.add_units(null, v.skus, back_skus, back_units), array_fill(0, array[cardinality(v.skus)]))
  where v.order_id = reservation.order_id;
  perform platform.emit('inventory.reserved', reservation.order_id, inventory.reserved_json(reservation.order_id), false);
  return true;
end
$$;

-- Whether every count is from 0 to its limit (reservations_restocked_within).
create or replace function inventory.units_within(counts integer[], limits integer[]) returns boolean
language plpgsql immutable as $$
begin
  return cardinality(counts) = cardinality(limits)
    and not exists (select from unnest(counts, limits) u(n, most) where (u.n between 0 and u.most) is not true);
end
$$;

do $$
begin
  if not exists (select from pg_constraint c where c.conname = 'reservations_restocked_within') then
    alter table inventory.reservations add constraint reservations_restocked_within
      check (restocked is null or inventory.units_within(restocked, quantities));
  end if;
end
$$;

call platform.set_owner('inventory', 'fusion_inventory');

grant execute on function inventory.restock_units, inventory.take_restocked, inventory.restock_rest, inventory.recommit
  to fusion_orders;
