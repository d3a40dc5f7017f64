-- requires: platform/access.sql, platform/events.sql, platform/set-aside.sql
-- VAT numbers of customers. Their form is checked before they are stored, and VIES says whether they exist. A request
-- to VIES is an event (customer.vat.requested), which holds no number. Its consumer asks between two calls, so no row
-- is locked meanwhile.

-- The numbers to check. `input`: {tenant, messages: [{eventId, customerId}]}. Returns {checks: [{eventId, customerId,
-- number}]} for the events that were not applied yet and whose customer's number is still pending.
create or replace function orders.find_vat_checks(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  unclaimed text[];
begin
  perform platform.enter_as(call, input->>'tenant');
  unclaimed := platform.find_unclaimed_events('orders',
    array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  return (
    select jsonb_build_object('checks', coalesce(jsonb_agg(jsonb_build_object('eventId', m->'eventId',
      'customerId', m->'customerId', 'number', c.vat_number)), '[]'))
    from jsonb_array_elements(input->'messages') m
    cross join lateral (
      select x.vat_number, x.vat_status from orders.customers x where x.id = m->>'customerId' limit 1
    ) c
    where m->>'eventId' = any(unclaimed) and c.vat_status = (select 'pending'));
end
$$;

-- Records what VIES said. `input`: {tenant, results: [{eventId, customerId, number, valid}]}. A result counts only
-- while the customer has this number and it is pending: a number that was changed meanwhile gets another check. The
-- version stays, because the status does not conflict with a client's change. Returns {recorded: [event id]}. Locks the
-- customers by id.
create or replace function orders.record_vat_checks(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  claimed text[];
  recorded jsonb;
begin
  perform platform.enter_as(call, input->>'tenant');
  perform from orders.customers c
  where c.id = any(array(select r->>'customerId' from jsonb_array_elements(input->'results') r)) order by c.id for update;
  claimed := platform.claim_new_events('orders',
    array(select r->>'eventId' from jsonb_array_elements(input->'results') r));
  with decided as (
    update orders.customers c
    set vat_status = case when (r->>'valid')::boolean then 'valid' else 'invalid' end, vat_checked_at = platform.clock(),
        updated_at = platform.clock()
    from jsonb_array_elements(input->'results') r
    -- The list makes the ids an index condition, whatever row count the planner expects.
    where c.id = any(array(select e->>'customerId' from jsonb_array_elements(input->'results') e))
      and c.id = r->>'customerId' and r->>'eventId' = any(claimed)
      and c.vat_status = (select 'pending') and c.vat_number = r->>'number'
    returning r->'eventId' as event_id
  )
  select coalesce(jsonb_agg(d.event_id), '[]') into recorded from decided d;
  return jsonb_build_object('recorded', recorded);
end
$$;

-- The cron: asks again about numbers that have been pending for `idleSeconds`. The queue never waits that long, so
-- their message is lost, or was given up because VIES was unavailable. `input`: {idleSeconds, limit}. Returns
-- {requested}. Emits customer.vat.requested.
create or replace function orders.request_lost_vat_checks(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  excluded_ids text[];
  lost record;
  result jsonb;
  requested integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('check-vat');
  for lost in
    select d.tenant_id, array_agg(d.id::text order by d.id) as customers from (
      select w.tenant_id, w.id
      from platform.tenants_with_rows('orders.customers', 'vat_status = ''pending''') t(id)
      cross join lateral ( -- of each tenant in turn
        select c.tenant_id, c.id, c.vat_requested_at, row_number() over (order by c.vat_requested_at) as turn
        from orders.customers c
        where c.tenant_id = t.id and c.vat_status = 'pending'
          and c.vat_requested_at <= platform.clock() - make_interval(secs => (input->>'idleSeconds')::int)
          and c.id <> all(excluded_ids)
        order by c.vat_requested_at limit (input->>'limit')::int
      ) w
      order by w.turn, w.vat_requested_at limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('check-vat', 'orders.request_vat_checks_step', lost.tenant_id, lost.customers, input))
    loop
      requested := requested + (result->>'requested')::int;
    end loop;
  end loop;
  return jsonb_build_object('requested', requested);
end
$$;

-- The step of request_lost_vat_checks for one tenant. Locks the customers by id, one after the other.
create or replace function orders.request_vat_checks_step(customer_ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  customer text;
  requested integer := 0;
begin
  foreach customer in array customer_ids loop
    update orders.customers c set vat_requested_at = platform.clock()
    where c.id = customer and c.vat_status = (select 'pending')
      and c.vat_requested_at <= platform.clock() - make_interval(secs => (input->>'idleSeconds')::int);
    if found then
      perform platform.emit('customer.vat.requested', customer, jsonb_build_object('customerId', customer), true);
      requested := requested + 1;
    end if;
  end loop;
  return jsonb_build_object('requested', requested);
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.find_vat_checks, orders.record_vat_checks, orders.request_lost_vat_checks to fusion_worker;
