-- requires: platform/access.sql, platform/events.sql, platform/set-aside.sql, inventory/reservations.sql
-- Holds that the queue decides, for orders placed with `Prefer: respond-async`.

-- Locks the stock of these SKUs (sorted, each once) and divides it among the orders of a batch, first come first served
-- and all or nothing for each order. `needed`: what the orders need of each SKU. Returns what they get, in `units`, and
-- the orders that are refused, with the first SKU that is short: {order: {sku, requested, available}}. The caller has
-- locked the reservations.
create or replace function inventory.divide_stock(order_ids text[], skus text[], needed bigint[], out units bigint[],
  out refused jsonb)
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  available bigint[];
  reservation record;
  place integer;
  shortage jsonb;
begin
  with locked as materialized (
    select i.sku, i.quantity from inventory.inventory i
    where i.tenant_id = platform.tenant() and i.sku = any(divide_stock.skus) order by i.sku for update
  )
  select array_agg(coalesce(l.quantity, 0) order by s.place) into available
  from unnest(divide_stock.skus) with ordinality s(sku, place) left join locked l on l.sku = s.sku;
  units := needed;
  refused := '{}';
  if (select bool_and(n.needed <= n.available) from unnest(needed, available) n(needed, available)) then
    return;
  end if;
  -- Some order is short. A refused order takes nothing, so that a smaller one after it may get the units.
  units := array_fill(0::bigint, array[cardinality(skus)]);
  for reservation in
    select v.order_id, v.skus, v.quantities from inventory.reservations v
    where v.order_id = any(order_ids) order by v.order_id
  loop
    shortage := null;
    for line in 1..cardinality(reservation.skus) loop
      place := array_position(skus, reservation.skus[line]);
      if available[place] < reservation.quantities[line] then
        shortage := jsonb_build_object('sku', reservation.skus[line], 'requested', reservation.quantities[line],
          'available', available[place]);
        exit;
      end if;
    end loop;
    if shortage is not null then
      refused := refused || jsonb_build_object(reservation.order_id, shortage);
      continue;
    end if;
    for line in 1..cardinality(reservation.skus) loop
      place := array_position(skus, reservation.skus[line]);
      available[place] := available[place] - reservation.quantities[line];
      units[place] := units[place] + reservation.quantities[line];
    end loop;
  end loop;
end
$$;

-- Decides the pending holds of these orders (of the current tenant), in the order of their ids, which is the order in
-- which they were placed. Each order gets all of its units or none. `traces`: traceparent by order. `hold_seconds`: how
-- long a hold lasts if the tenant has not set it. Returns {decided, skus}: the SKUs whose stock changed. The whole
-- batch changes the row of a popular SKU once and writes its events in one statement. Emits inventory.reserved or
-- inventory.insufficient for each order. Generic plans without sequential scans: a plan that was made for an empty
-- table must be good for a full one.
create or replace function inventory.decide_holds(order_ids text[], traces jsonb, hold_seconds integer) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  pending_ids text[];
  skus text[];
  units bigint[]; -- by SKU: what the batch needs, then what it gets
  refused jsonb; -- by order: the first SKU that is short
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
begin
  -- Lock order, as everywhere: reservations by order, then all stock of the batch by SKU.
  -- The status is read after the lock, not part of the search: with it, Postgres may read all pending holds.
  with locked as materialized (
    select v.order_id, v.skus, v.quantities, v.status from inventory.reservations v
    where v.order_id = any(order_ids) order by v.order_id for update
  ), pending as (
    select l.* from locked l where l.status = 'pending'
  ), needed as (
    select n.sku, sum(n.units) as units from pending p, unnest(p.skus, p.quantities) n(sku, units) group by n.sku
  )
  select array(select p.order_id from pending p order by p.order_id), array_agg(n.sku order by n.sku),
    array_agg(n.units order by n.sku)
  into pending_ids, skus, units from needed n;
  if cardinality(pending_ids) = 0 then
    return jsonb_build_object('decided', 0, 'skus', '[]'::jsonb);
  end if;

  select d.units, d.refused into units, refused from inventory.divide_stock(pending_ids, skus, units) d;
  update inventory.inventory i
  set quantity = i.quantity - t.units::int, reserved = i.reserved + t.units::int,
      version = platform.next_version(i.version), updated_at = now_at
  from unnest(skus, units) t(sku, units)
  where i.tenant_id = tenant and i.sku = any(skus) and i.sku = t.sku and t.units > 0;

  with decided as (
    update inventory.reservations v
    set status = case when refused ? v.order_id then 'refused' else 'held' end, unheard = refused ? v.order_id,
        expires_at = case when not refused ? v.order_id then now_at + make_interval(secs => coalesce(
          (select t.hold_seconds from platform.tenants t where t.id = tenant), decide_holds.hold_seconds)) end
    where v.order_id = any(pending_ids)
    returning v.order_id, refused->v.order_id as shortage
  ), new_events as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, case when d.shortage is null then 'inventory.reserved' else 'inventory.insufficient' end, d.order_id,
      case when d.shortage is null then inventory.reserved_json(d.order_id)
        else inventory.insufficient_json(d.order_id, d.shortage) end,
      traces->>d.order_id, now_at
    from decided d order by d.order_id
    returning seq, key
  )
  insert into platform.outbox (tenant_id, sink, seq, key, due_at)
  select tenant, s, e.seq, e.key, platform.due_now() from new_events e, unnest(platform.sinks_of(true)) s;
  return jsonb_build_object('decided', cardinality(pending_ids), 'skus',
    to_jsonb(array(select t.sku from unnest(skus, units) t(sku, units) where t.units > 0)));
end
$$;

-- The consumer of order.created: decides a whole queue batch in one call. `input`: {tenant, holdSeconds, messages:
-- [{eventId, orderId, traceparent}]}. Orders that were decided or cancelled before stay as they are.
create or replace function inventory.reserve_orders(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  new_event_ids text[];
  ids text[];
  traces jsonb;
begin
  perform platform.enter_as(call, input->>'tenant');
  new_event_ids := platform.claim_new_events('inventory',
    array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  select coalesce(array_agg(m->>'orderId'), '{}'), coalesce(jsonb_object_agg(m->>'orderId', m->>'traceparent'), '{}')
  into ids, traces
  from jsonb_array_elements(input->'messages') m where m->>'eventId' = any(new_event_ids);
  return inventory.decide_holds(ids, traces, (input->>'holdSeconds')::int);
end
$$;

-- Records that these orders were failed for their rejected hold, or have ended in another way. The caller has locked
-- the orders; this locks their reservations by order id. For orders.
create or replace function inventory.mark_orders_informed(order_ids text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with locked as materialized (
    select v.order_id, v.unheard from inventory.reservations v
    where v.order_id = any(order_ids) order by v.order_id for update
  )
  update inventory.reservations r set unheard = false
  where r.order_id = any(array(select l.order_id from locked l where l.unheard))
$$;

-- The cron, because a message can be lost. Decides holds that have been pending for `idleSeconds`, and returns the
-- orders whose hold was rejected but which were not failed in that time. Each tenant gets a share of `limit`. `input`:
-- {idleSeconds, holdSeconds, limit}. Returns {decided, tenants: [{tenant, skus, refused: [orderId]}]}; repeat until
-- decided is 0.
create or replace function inventory.decide_forgotten(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan set enable_seqscan = off set enable_sort = off as $$
declare
  share constant integer := greatest((input->>'limit')::int / 4, 1);
  idle_since timestamptz;
  excluded_ids text[];
  found_rows jsonb;
  tenant_rows jsonb;
  result jsonb;
  decided integer := 0;
  tenants jsonb := '[]';
begin
  perform platform.enter_as(call, '*');
  idle_since := platform.clock() - make_interval(secs => (input->>'idleSeconds')::int);
  -- A row that was set aside may have been decided in another way since.
  perform platform.clear_set_aside('decide-forgotten', array(
    select k from unnest(platform.keys_to_retry('decide-forgotten', 1000)) k
    where not exists (select from inventory.reservations r where r.order_id = k
      and (r.status = 'pending' or r.unheard))));
  excluded_ids := platform.keys_set_aside('decide-forgotten');
  select jsonb_agg(to_jsonb(g)) into found_rows from (
    select w.tenant_id as tenant, coalesce(array_agg(w.order_id) filter (where w.status = 'pending'), '{}') as pending,
      coalesce(array_agg(w.order_id) filter (where w.status = 'refused'), '{}') as refused
    from (
      select v.* from platform.tenants_with_rows('inventory.reservations', 'status = ''pending''') t(id)
        cross join lateral (
        select r.tenant_id, r.order_id, r.status from inventory.reservations r
        where r.tenant_id = t.id and r.status = 'pending' and r.created_at <= idle_since
          and r.order_id <> all(excluded_ids)
        order by r.created_at limit share) v
      union all
      select v.* from platform.tenants_with_rows('inventory.reservations', 'unheard') t(id) cross join lateral (
        select r.tenant_id, r.order_id, r.status from inventory.reservations r
        where r.tenant_id = t.id and r.unheard and r.created_at <= idle_since and r.order_id <> all(excluded_ids)
        order by r.created_at limit share) v
    ) w group by w.tenant_id order by w.tenant_id
  ) g;
  for tenant_rows in select jsonb_array_elements(found_rows) loop
    tenants := tenants || jsonb_build_object('tenant', tenant_rows->'tenant', 'skus', '[]'::jsonb,
      'refused', tenant_rows->'refused');
    for result in select jsonb_array_elements(platform.process_rows('decide-forgotten',
      'inventory.decide_forgotten_step', tenant_rows->>'tenant',
      array(select jsonb_array_elements_text(tenant_rows->'pending')), input))
    loop
      decided := decided + (result->>'decided')::int;
      tenants := tenants || jsonb_build_object('tenant', tenant_rows->'tenant', 'skus', result->'skus', 'refused',
        '[]'::jsonb);
    end loop;
  end loop;
  return jsonb_build_object('decided', decided, 'tenants', tenants);
end
$$;

-- The step of decide_forgotten for one tenant.
create or replace function inventory.decide_forgotten_step(order_ids text[], input jsonb) returns jsonb
language sql set search_path = pg_catalog, pg_temp as $$
  select inventory.decide_holds(order_ids, '{}', (input->>'holdSeconds')::int)
$$;

call platform.set_owner('inventory', 'fusion_inventory');

grant execute on function inventory.mark_orders_informed to fusion_orders;
grant execute on function inventory.reserve_orders, inventory.decide_forgotten to fusion_worker;
