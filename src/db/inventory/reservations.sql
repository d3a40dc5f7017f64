-- requires: platform/access.sql, platform/events.sql, inventory/stock.sql
-- Holds of orders on stock: made, released and committed. Lock order: order, reservation, stock by SKU.

-- The SKUs (sorted, each once) without enough stock, [{sku, requested, available}]; null if there is none. Locks all of
-- them in SKU order, so that carts that cross queue up instead of deadlocking, and a later update never takes a part.
create or replace function inventory.find_shortages(skus text[], quantities integer[]) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  shortages jsonb;
begin
  with locked as (
    select i.sku, i.quantity from inventory.inventory i
    where i.tenant_id = platform.tenant() and i.sku = any(skus) order by i.sku for update
  )
  select jsonb_agg(jsonb_build_object('sku', w.sku, 'requested', w.n, 'available', coalesce(l.quantity, 0))
    order by w.sku)
  into shortages
  from unnest(skus, quantities) w(sku, n) left join locked l on l.sku = w.sku
  where coalesce(l.quantity, 0) < w.n;
  return shortages;
end
$$;

-- Takes the stock of an order's SKUs (sorted, each once), all or nothing. Returns null if it was taken, or the
-- shortages. One SKU needs only the conditional update. Several are locked first.
create or replace function inventory.take(skus text[], quantities integer[]) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  shortages jsonb := case when cardinality(skus) > 1 then inventory.find_shortages(skus, quantities) end;
begin
  if shortages is null then
    update inventory.inventory i
    set quantity = i.quantity - w.n, reserved = i.reserved + w.n, version = platform.next_version(i.version),
        updated_at = platform.clock()
    from unnest(skus, quantities) w(sku, n)
    where i.tenant_id = platform.tenant() and i.sku = any(skus) and i.sku = w.sku and i.quantity >= w.n;
    if found then
      return null;
    end if;
    -- Units that came back since are locked now, so the second attempt takes them.
    return coalesce(inventory.find_shortages(skus, quantities), inventory.take(skus, quantities));
  end if;
  return shortages;
end
$$;

-- The payload of inventory.reserved.
create or replace function inventory.reserved_json(order_id varchar) returns jsonb
language sql stable as $$
  select jsonb_build_object('orderId', order_id, 'status', 'reserved')
$$;

-- The payload of inventory.insufficient, which names one SKU: a shortage as in inventory.find_shortages.
create or replace function inventory.insufficient_json(order_id varchar, shortage jsonb) returns jsonb
language sql stable as $$
  select jsonb_build_object('orderId', order_id, 'status', 'insufficient', 'sku', shortage->'sku',
    'quantity', shortage->'requested')
$$;

-- Decides an order's hold at once. Returns null if it is held, or the shortages. An order has one decision (the primary
-- key of reservations). `needs_payment`: the consumer of inventory.reserved has to open the payment. Emits
-- inventory.reserved or inventory.insufficient. For orders.
-- If every SKU has enough units, one statement takes them (the condition on quantity decides) and writes the hold and
-- its event. Several SKUs are locked first, in SKU order: see inventory.take.
-- `any(skus)` makes the SKU an index condition also in a plan that was made for a tenant with almost no products.
create or replace function inventory.reserve(order_id varchar, skus text[], quantities integer[], held_until timestamptz,
  needs_payment boolean)
returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  shortages jsonb := case when cardinality(skus) > 1 then inventory.find_shortages(skus, quantities) end;
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
begin
  if shortages is null then
    with taken as (
      update inventory.inventory i
      set quantity = i.quantity - w.n, reserved = i.reserved + w.n, version = platform.next_version(i.version),
          updated_at = now_at
      from unnest(skus, quantities) w(sku, n)
      where i.tenant_id = tenant and i.sku = any(skus) and i.sku = w.sku and i.quantity >= w.n
      returning i.sku
    ), hold as (
      insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
      select reserve.order_id, tenant, reserve.skus, reserve.quantities, 'held', held_until, now_at from taken limit 1
    ), event as (
      insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
      select tenant, 'inventory.reserved', reserve.order_id, inventory.reserved_json(reserve.order_id), platform.trace(),
        now_at
      from taken limit 1
      returning seq
    )
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, reserve.order_id, platform.due_now() from event e, unnest(platform.sinks_of(needs_payment)) s;
    if found then
      return null;
    end if;
    shortages := inventory.find_shortages(skus, quantities);
    if shortages is null then -- units came back since, and are locked now
      return inventory.reserve(order_id, skus, quantities, held_until, needs_payment);
    end if;
  end if;
  insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, created_at)
  values (reserve.order_id, tenant, reserve.skus, reserve.quantities, 'refused', now_at);
  perform platform.emit('inventory.insufficient', order_id, inventory.insufficient_json(order_id, shortages->0), false);
  return shortages;
end
$$;

-- Adds a pending reservation, which the consumer of order.created decides. For orders.
create or replace function inventory.add_pending_hold(order_id varchar, skus text[], quantities integer[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, created_at)
  values (order_id, platform.tenant(), skus, quantities, 'pending', platform.clock())
$$;

-- Releases the holds of these orders, emits inventory.released for each and returns their SKUs. A pending reservation
-- ends too, so the queue finds nothing to decide later. Committed units are never touched. Lock order: reservations by
-- order id, then stock by SKU. For orders.
create or replace function inventory.release(order_ids text[], reason text) returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  skus text[];
  ended_ids text[];
  released_ids text[];
begin
  -- The status is read after the lock, not part of the search: with it, Postgres may read all holds of the tenant.
  with locked as materialized (
    select r.order_id, r.skus, r.status from inventory.reservations r
    where r.order_id = any(order_ids) order by r.order_id for update
  )
  select coalesce(array_agg(l.order_id) filter (where l.status in ('pending', 'held')), '{}'),
    coalesce(array_agg(l.order_id) filter (where l.status = 'held'), '{}'),
    array(select distinct s from locked h, unnest(h.skus) s where h.status = 'held')
  into ended_ids, released_ids, skus from locked l;
  update inventory.reservations r set status = 'released', expires_at = null where r.order_id = any(ended_ids);
  if cardinality(released_ids) = 0 then
    return skus;
  end if;
  perform 1 from inventory.inventory i where i.tenant_id = platform.tenant() and i.sku = any(skus)
    order by i.sku for update;
  update inventory.inventory i
  set quantity = i.quantity + w.n, reserved = i.reserved - w.n, version = platform.next_version(i.version),
      updated_at = platform.clock()
  from (
    select s.sku, sum(s.n)::int as n from inventory.reservations r, unnest(r.skus, r.quantities) s(sku, n)
    where r.order_id = any(released_ids) group by s.sku
  ) w
  where i.tenant_id = platform.tenant() and i.sku = any(skus) and i.sku = w.sku;
  perform platform.emit('inventory.released', o,
    jsonb_build_object('orderId', o, 'status', 'released', 'reason', reason),
    false) from unnest(released_ids) o order by o;
  return skus;
end
$$;

-- Whether an order's stock is held. For payments. `(select 'held')` keeps Postgres off the index of all held rows, whose
-- condition is this status: while few rows are held, it would seem cheaper than the look-up by id. The same in `commit`.
create or replace function inventory.is_held(order_id varchar) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select from inventory.reservations r
    where r.order_id = is_held.order_id and r.status = (select 'held'))
$$;

-- Commits an order's hold: its units leave the stock for good. A hold that was released is taken again first if the
-- stock is there (inventory.reserved is emitted again). Returns false if it is not. Locks the reservation, then stock
-- by SKU. The caller has locked the order. For orders.
create or replace function inventory.commit(order_id varchar) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
  reservation inventory.reservations;
begin
  with hold as (
    update inventory.reservations v set status = 'committed', expires_at = null
    where v.order_id = commit.order_id and v.status = (select 'held')
    returning v.skus, v.quantities
  ), locked as ( -- several SKUs are locked in their order, before the first of them is updated
    select from inventory.inventory i
    where i.tenant_id = tenant and i.sku = any((select h.skus from hold h where cardinality(h.skus) > 1)::text[])
    order by i.sku for update
  )
  -- No join, so that each SKU is looked up in the index, whatever row count the planner expects.
  update inventory.inventory i
  set reserved = i.reserved - (select h.quantities[array_position(h.skus, i.sku::text)] from hold h),
      version = platform.next_version(i.version), updated_at = now_at
  where i.tenant_id = tenant and i.sku = any((select h.skus from hold h)::text[]) and (select count(*) from locked) >= 0;
  if found then
    return true;
  end if;
  select * into reservation from inventory.reservations v
    where v.order_id = commit.order_id for update;
  if not found or reservation.status in ('pending', 'refused') then
    return false;
  end if;
  if reservation.status = 'committed' then
    return true;
  end if;
  if reservation.status = 'released' then
    if inventory.take(reservation.skus, reservation.quantities) is not null then
      return false;
    end if;
    update inventory.reservations v set status = 'held', expires_at = now_at where v.order_id = reservation.order_id;
    perform platform.emit('inventory.reserved', reservation.order_id, inventory.reserved_json(reservation.order_id), false);
  end if;
  return inventory.commit(order_id); -- it is held now, and locked
end
$$;

call platform.set_owner('inventory', 'fusion_inventory');

grant execute on function inventory.reserve(varchar, text[], integer[], timestamptz, boolean),
  inventory.add_pending_hold, inventory.release, inventory.commit
  to fusion_orders;
grant execute on function inventory.is_held to fusion_payments;
