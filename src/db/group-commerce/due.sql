-- requires: group-commerce/settlement.sql, group-commerce/money.sql, platform/set-aside.sql, payments/stripe-events.sql
-- The cron's jobs for campaigns and places whose time is over or whose message was lost. Each call processes a batch of
-- all tenants. A row that cannot be processed is set aside, and the rest continues.

-- Ends pools that did not succeed in time. Campaigns with teams end by end_campaigns_of_teams. `input`: {limit}.
-- Returns {expired}; repeat until it is 0. Emits campaign.expired.
create or replace function group_commerce.expire_campaigns(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  expired integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('campaigns');
  for due in
    select d.tenant_id, array_agg(d.id::text order by d.id) as ids from (
      select x.id, x.tenant_id from group_commerce.group_commerce_campaigns x
      where x.status = 'active' and x.end_time <= platform.clock() and x.mode = 'pool' and x.id <> all(excluded_ids)
      order by x.end_time limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('campaigns', 'group_commerce.expire_campaigns_step', due.tenant_id, due.ids, input))
    loop
      expired := expired + (result->>'expired')::int;
    end loop;
  end loop;
  return jsonb_build_object('expired', expired);
end
$$;

-- The step of expire_campaigns for one tenant. Updates the campaigns by id, one after the other.
create or replace function group_commerce.expire_campaigns_step(ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  campaign_id text;
  campaign group_commerce.group_commerce_campaigns;
  expired integer := 0;
begin
  foreach campaign_id in array ids loop
    update group_commerce.group_commerce_campaigns x
    set status = 'expired', version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = campaign_id and x.status = (select 'active') and x.mode = 'pool'
      and x.end_time <= platform.clock()
    returning * into campaign;
    if found then
      perform group_commerce.emit_campaign(campaign, 'expired', true);
      expired := expired + 1;
    end if;
  end loop;
  return jsonb_build_object('expired', expired);
end
$$;

-- Whether a place is freed if its money is not secured in time: its pool still collects places, or its team is forming.
create or replace function group_commerce.awaits_money(p group_commerce.participants) returns boolean
language sql stable as $$
  select case when p.team_id is null
    then (select group_commerce.is_collecting(c) from group_commerce.group_commerce_campaigns c where c.id = p.campaign_id)
    else (select t.status = 'forming' from group_commerce.teams t where t.id = p.team_id) end
$$;

-- Frees places whose money was not secured in time, in pools that still collect places and in forming teams. A place
-- that may have been paid is kept until Stripe has said whether it was. `input`: {limit}. Returns {freed, tenants:
-- [{tenant, skus}]}; repeat until freed is 0. Emits campaign.left or team.left, payment.cancelled, inventory.released.
create or replace function group_commerce.free_unsecured(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  freed integer := 0;
  tenants jsonb := '[]';
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('campaigns') || payments.orders_set_aside();
  for due in
    select d.tenant_id, array_agg(d.order_id::text order by d.order_id) as orders from (
      -- No join, so that the planner starts from the due places and not from all places of running campaigns.
      select p.tenant_id, p.order_id from group_commerce.participants p
      where p.state = 'joined' and p.secure_by <= platform.clock() and p.order_id <> all(excluded_ids)
        and not payments.awaits_stripe(p.order_id, p.secure_by)
        and group_commerce.awaits_money(p)
      order by p.secure_by limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('campaigns', 'group_commerce.free_unsecured_step', due.tenant_id, due.orders, input))
    loop
      freed := freed + (result->>'freed')::int;
      tenants := tenants || result;
    end loop;
  end loop;
  return jsonb_build_object('freed', freed, 'tenants', tenants);
end
$$;

-- The step of free_unsecured for one tenant.
create or replace function group_commerce.free_unsecured_step(order_ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  place record;
  skus text[] := '{}';
  orders text[] := '{}';
begin
  -- Lock order: all campaigns and places of the tenant, then the payments and stock of all of them.
  perform group_commerce.lock_places(order_ids);
  for place in
    select p.campaign_id, array_agg(p.id::text order by p.id) as ids, array_agg(p.order_id::text) as orders
    from group_commerce.participants p
    where p.order_id = any(order_ids) and p.state = (select 'joined') and p.secure_by <= platform.clock()
      and group_commerce.awaits_money(p)
    group by p.campaign_id order by p.campaign_id
  loop
    skus := skus || group_commerce.free_places(place.campaign_id, place.ids, 'not_secured', null);
    orders := orders || place.orders;
  end loop;
  perform payments.end_for_orders(orders, 'cancelled', 'not_secured');
  perform inventory.release(orders, 'not_secured');
  return jsonb_build_object('freed', cardinality(orders), 'tenant', platform.tenant(), 'skus', to_jsonb(skus));
end
$$;

-- The orders of due places that are kept until Stripe has said whether they were paid. For payments, which looks them
-- up.
create or replace function group_commerce.undecided_places(most integer) returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.act_as('*');
  return array(
    select p.order_id::text from group_commerce.participants p
    where p.state = 'joined' and p.secure_by <= platform.clock()
      and payments.awaits_stripe(p.order_id, p.secure_by)
      and group_commerce.awaits_money(p)
    order by p.secure_by limit most);
end
$$;

-- Frees places whose order ended at least `idleSeconds` ago and whose message was lost. `input`: {idleSeconds, limit}.
-- Returns {freed, tenants: [{tenant, skus}]}; repeat until freed is 0. Emits campaign.left.
create or replace function group_commerce.free_lost_places(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  excluded_ids text[];
  lost record;
  result jsonb;
  freed integer := 0;
  tenants jsonb := '[]';
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('campaigns');
  for lost in
    select e.tenant, array_agg(e.order_id::text order by e.order_id) as orders,
      jsonb_object_agg(e.order_id, e.reason) as reasons
    from orders.find_ended_campaign_orders(platform.clock() - make_interval(secs => (input->>'idleSeconds')::int),
      (input->>'limit')::int + cardinality(excluded_ids)) e
    where e.order_id <> all(excluded_ids)
    group by e.tenant order by e.tenant
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('campaigns', 'group_commerce.free_lost_places_step', lost.tenant, lost.orders,
        lost.reasons))
    loop
      freed := freed + (result->>'freed')::int;
      tenants := tenants || result;
    end loop;
  end loop;
  return jsonb_build_object('freed', freed, 'tenants', tenants);
end
$$;

-- The step of free_lost_places for one tenant. `reasons`: why each of these orders ended.
create or replace function group_commerce.free_lost_places_step(order_ids text[], reasons jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  place record;
  skus text[] := '{}';
  freed integer := 0;
begin
  perform group_commerce.lock_places(order_ids);
  for place in
    select p.id, p.campaign_id, reasons->>p.order_id as reason from group_commerce.participants p
    where p.order_id = any(order_ids) and p.state in ('ordered', 'charged')
    order by p.id
  loop
    skus := skus || group_commerce.free_places(place.campaign_id, array[place.id::text], place.reason, null);
    freed := freed + 1;
  end loop;
  perform orders.mark_places_freed(order_ids);
  return jsonb_build_object('freed', freed, 'tenant', platform.tenant(), 'skus', to_jsonb(skus));
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.expire_campaigns, group_commerce.free_unsecured,
  group_commerce.free_lost_places
  to fusion_worker;
grant execute on function group_commerce.undecided_places to fusion_payments;
