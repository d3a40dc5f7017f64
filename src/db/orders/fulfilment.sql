-- requires: platform/access.sql, shipping/shipments.sql, orders/refund-amounts.sql
-- The units of an order that go into parcels. orders.fulfilled_quantities counts those in parcels that are requested or
-- made and not cancelled. Units are given to parcels only here, and only under the order's lock.

-- The sum of two counts for each line; null: zeros.
create or replace function orders.add_unit_lists(a integer[], b integer[]) returns integer[]
language sql immutable as $$
  select array(select coalesce(x, 0) + coalesce(y, 0) from unnest(a, b) with ordinality u(x, y, n) order by n)
$$;

-- The units of each line that are in no parcel and not refunded. A refund takes units that were not sent first.
-- `returned_quantities` counts refunded units that had been sent.
create or replace function orders.units_left(o orders.orders) returns integer[]
language sql immutable as $$
  select array(
    select greatest((i->>'quantity')::int - coalesce(o.refunded_quantities[n::int], 0)
      + coalesce(o.returned_quantities[n::int], 0) - coalesce(o.fulfilled_quantities[n::int], 0), 0)
    from jsonb_array_elements(o.items) with ordinality e(i, n) order by n)
$$;

-- The units that `items` name, [{lineId, quantity}], for each line of the order. The caller has checked the line ids.
create or replace function orders.units_of(o orders.orders, items jsonb) returns integer[]
language sql immutable as $$
  select array(
    select coalesce((select sum((i->>'quantity')::int)::int from jsonb_array_elements(items) i where i->>'lineId' = n::text), 0)
    from generate_series(1, jsonb_array_length(o.items)) n order by n)
$$;

-- Gives units to a parcel. `wanted`: the units of each line; null: all that are left. `former`: units that this parcel
-- had before and gives back. Returns the units that the parcel has now; null if a line has too few left (nothing is
-- changed then) or if none are left. The condition keeps sent + refunded units within the ordered ones. The caller has
-- locked the order. For shipping.
create or replace function orders.fulfil(order_id varchar, wanted integer[], former integer[] default null)
  returns integer[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  o orders.orders;
  taken integer[];
begin
  select * into o from orders.orders x where x.id = order_id;
  o.fulfilled_quantities := orders.add_unit_lists(o.fulfilled_quantities, array(select -u from unnest(former) u));
  taken := coalesce(wanted, orders.units_left(o));
  if exists (select from unnest(taken, orders.units_left(o)) u(asked, free) where asked > coalesce(free, 0)) then
    return null;
  end if;
  update orders.orders x set fulfilled_quantities = orders.add_unit_lists(o.fulfilled_quantities, taken)
  where x.id = order_id and (former is null and 0 < any (taken) or taken <> former);
  return case when 0 < any (taken) then taken end;
end
$$;

-- Takes units that were refunded in the meantime out of a parcel without a label. `held`: the parcel's units. Returns
-- the units that it has now; null if none are left. The caller has locked the order. For shipping.
create or replace function orders.drop_refunded(order_id varchar, held integer[]) returns integer[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  o orders.orders;
  kept integer[];
begin
  select * into o from orders.orders x where x.id = order_id;
  o.fulfilled_quantities := orders.add_unit_lists(o.fulfilled_quantities, array(select -u from unnest(held) u));
  kept := array(select least(h, free) from unnest(held, orders.units_left(o)) with ordinality u(h, free, n) order by n);
  update orders.orders x set fulfilled_quantities = orders.add_unit_lists(o.fulfilled_quantities, kept)
  where x.id = order_id and kept <> held;
  return case when 0 < any (kept) then kept end;
end
$$;

-- Why fulfil gave no units to a parcel, for the merchant: the first line that has too few.
create or replace function orders.shortage_of(o orders.orders, wanted integer[]) returns text
language sql stable as $$
  select format('Line %s has %s %s left to ship, not %s. The others are in a parcel or were refunded.', n, free,
    case free when 1 then 'unit' else 'units' end, asked)
  from unnest(orders.units_left(o), wanted) with ordinality u(free, asked, n) where asked > free order by n limit 1
$$;

-- Takes units out of a parcel that is cancelled or failed. `units`: null takes all units of the order out of parcels.
-- The caller has locked the order. For shipping.
create or replace function orders.unfulfil(order_id varchar, units integer[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update orders.orders o set fulfilled_quantities = case when units is not null
    then orders.add_unit_lists(o.fulfilled_quantities, array(select -u from unnest(units) u)) end
  where o.id = order_id and o.fulfilled_quantities is not null
$$;

-- The status that the parcels of a paid order give it: `shipped` when every unit is refunded or in a parcel that has
-- moved, `delivered` when all of those parcels are; until then `confirmed`.
create or replace function orders.shipping_status(o orders.orders) returns varchar
language sql stable as $$
  with parcel as (
    select s.status, s.quantities from shipping.shipments s
    where s.order_id = o.id and s.status in ('in_transit', 'delivered')
  )
  select case when count(*) = 0 or exists (
      select from jsonb_array_elements(o.items) with ordinality e(i, n)
      where (i->>'quantity')::int > coalesce(o.refunded_quantities[n::int], 0) - coalesce(o.returned_quantities[n::int], 0)
        + (select coalesce(sum(coalesce(p.quantities[n::int], (i->>'quantity')::int)), 0) from parcel p)
    ) then 'confirmed' when bool_and(parcel.status = 'delivered') then 'delivered' else 'shipped' end
  from parcel
$$;

-- A parcel has moved or units were refunded: the order becomes `shipped` or `delivered` if that was the rest. The
-- status never goes back; a cancelled or refunded order keeps its status. Parcels that have not moved end with the
-- change to `shipped`, because their units are refunded or on their way in another parcel, and once every unit is
-- refunded. Returns whether the status changed. The caller has locked the order. For shipping, and for refunds of
-- units. Emits shipping.cancelled.
create or replace function orders.complete_shipping(order_id varchar) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  o orders.orders;
  reached varchar;
begin
  select * into o from orders.orders x where x.id = order_id;
  reached := orders.shipping_status(o);
  update orders.orders x set status = reached, updated_at = platform.clock()
  where x.id = order_id and reached <> 'confirmed'
    and (x.status = 'confirmed' or (x.status = 'shipped' and reached = 'delivered'));
  if found then
    if o.status = 'confirmed' then
      perform shipping.end_shipment(order_id);
    end if;
    return true;
  end if;
  if o.status = 'confirmed' and o.refunded_quantities = orders.quantities_of(o.items) then
    perform shipping.end_shipment(order_id); -- the buyer has paid for the shipping alone
  end if;
  return false;
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.units_left, orders.units_of, orders.shortage_of, orders.fulfil,
  orders.unfulfil, orders.drop_refunded, orders.complete_shipping to fusion_shipping;
grant execute on function orders.complete_shipping to fusion_payments;
