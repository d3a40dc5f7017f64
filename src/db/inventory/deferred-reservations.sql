-- requires: platform/access.sql, platform/events.sql, platform/set-aside.sql, inventory/reservations.sql
-- Holds that the queue decides, for orders placed with `Prefer: respond-async`.

-- Decides the pending holds of these orders (of the current tenant), in the order of their ids. `traces`: traceparent
-- by order. Returns {decided, skus}: the SKUs whose stock changed.
create or replace function inventory.decide_holds(order_ids text[], traces jsonb, hold_seconds integer) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  reservation inventory.reservations;
  pending_ids text[];
  changed_skus text[];
  shortages jsonb;
begin
  -- Lock order, as everywhere: reservations by order, then all stock of the batch by SKU.
  perform 1 from inventory.reservations v
    where v.tenant_id = platform.tenant() and v.order_id = any(order_ids) and v.status = 'pending'
    order by v.order_id for update;
  pending_ids := array(select v.order_id from inventory.reservations v
    where v.tenant_id = platform.tenant() and v.order_id = any(order_ids) and v.status = 'pending' order by v.order_id);
  changed_skus := array(select distinct s from inventory.reservations v, unnest(v.skus) s
    where v.order_id = any(pending_ids));
  perform 1 from inventory.inventory i where i.tenant_id = platform.tenant() and i.sku = any(changed_skus)
    order by i.sku for update;
  for reservation in select * from inventory.reservations v where v.order_id = any(pending_ids) order by v.order_id loop
    shortages := inventory.take(reservation.skus, reservation.quantities);
    update inventory.reservations v
    set status = case when shortages is null then 'held' else 'refused' end, unheard = shortages is not null,
        expires_at = case when shortages is null then platform.clock() + make_interval(secs => hold_seconds) end
    where v.order_id = reservation.order_id;
    perform platform.set_trace(traces->>reservation.order_id);
    perform inventory.emit_decision(reservation.order_id, shortages, true);
  end loop;
  return jsonb_build_object('decided', cardinality(pending_ids), 'skus', to_jsonb(changed_skus));
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
  update inventory.reservations r set unheard = false
  where r.unheard and r.order_id = any(array(
    select v.order_id from inventory.reservations v
    where v.tenant_id = platform.tenant() and v.order_id = any(order_ids) and v.unheard order by v.order_id for update))
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
