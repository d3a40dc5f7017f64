-- requires: group-commerce.sql
-- What becomes of a campaign's places by money, by success and by its end. Batches are resumable: what is left to do
-- stands in the participants' state, so whoever comes next goes on.

-- Locks the places of these orders, and first their campaigns. For payments, before it locks anything.
create or replace function group_commerce.lock_places(order_ids text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform 1 from group_commerce.group_commerce_campaigns c
    where c.tenant_id = platform.tenant() and c.id in (
      select p.campaign_id from group_commerce.participants p
      where p.tenant_id = platform.tenant() and p.order_id = any(order_ids))
    order by c.id for update;
  perform 1 from group_commerce.participants p
    where p.tenant_id = platform.tenant() and p.order_id = any(order_ids) order by p.id for update;
end
$$;

-- The money of a place is secured: with `successOn: secured` it counts from now on, and this statement may decide success.
-- A place that has its order is charged. The caller has locked the place. For payments. Emits campaign.successful.
create or replace function group_commerce.mark_secured(of_order varchar) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  p group_commerce.participants;
  c group_commerce.group_commerce_campaigns;
  before varchar;
begin
  select x.status into before from group_commerce.group_commerce_campaigns x
    join group_commerce.participants y on y.campaign_id = x.id
    where y.tenant_id = platform.tenant() and y.order_id = of_order;
  if before not in ('active', 'successful') then
    return; -- its places are being released
  end if;
  update group_commerce.participants x
  set state = case x.state when 'joined' then 'secured' else x.state end, secured_at = platform.clock(),
      updated_at = platform.clock()
  where x.tenant_id = platform.tenant() and x.order_id = of_order and x.secured_at is null
    and x.state in ('joined', 'ordered')
  returning * into p;
  if not found then
    return;
  end if;
  update group_commerce.group_commerce_campaigns x
  set secured_participants = x.secured_participants + 1,
      status = case when x.status = 'active' and x.success_on = 'secured' and platform.clock() < x.end_time
        and x.secured_participants + 1 >= x.min_participants then 'successful' else x.status end,
      version = x.version + 1, updated_at = platform.clock()
  where x.tenant_id = platform.tenant() and x.id = p.campaign_id returning * into c;
  if before = 'active' and c.status = 'successful' then
    perform group_commerce.emit_campaign(c, 'successful', true);
  end if;
  if p.state = 'ordered' then
    perform payments.ask_captures(array[of_order::text]);
    perform inventory.keep_until(array[of_order::text], 'infinity');
  end if;
end
$$;

-- The order of a place is paid. The caller has locked the place. For payments.
create or replace function group_commerce.mark_charged(of_order varchar) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  p group_commerce.participants;
begin
  select * into p from group_commerce.participants x
    where x.tenant_id = platform.tenant() and x.order_id = of_order and x.state = 'ordered';
  if not found then
    return;
  end if;
  update group_commerce.participants x
  set state = 'charged', secured_at = coalesce(x.secured_at, platform.clock()), updated_at = platform.clock()
  where x.id = p.id;
  if p.secured_at is null then
    update group_commerce.group_commerce_campaigns x
    set secured_participants = x.secured_participants + 1, version = x.version + 1, updated_at = platform.clock()
    where x.tenant_id = platform.tenant() and x.id = p.campaign_id;
  end if;
end
$$;

-- A place whose money can never be had loses it before there is an order. The caller has locked the place. For payments.
create or replace function group_commerce.lose_place(of_order varchar, why text, ending text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  p group_commerce.participants;
begin
  select * into p from group_commerce.participants x
    where x.tenant_id = platform.tenant() and x.order_id = of_order and x.state in ('joined', 'secured');
  if found then
    perform group_commerce.free_places(p.campaign_id, array[p.id::text], why, ending);
  end if;
end
$$;

-- The consumer of order.failed and order.cancelled: the place goes with its order. `input`: {tenant, messages: [{eventId,
-- orderId, reason, traceparent}]}. Answers {freed}.
create or replace function group_commerce.lose_orders(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  fresh text[];
  ids text[];
  item record;
  freed integer := 0;
begin
  perform platform.enter_as(call, input->>'tenant');
  fresh := platform.take_new('group-commerce', array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  ids := array(select m->>'orderId' from jsonb_array_elements(input->'messages') m where m->>'eventId' = any(fresh));
  perform group_commerce.lock_places(ids);
  for item in
    select p.id, p.campaign_id, m->>'reason' as reason, m->>'traceparent' as trace
    from jsonb_array_elements(input->'messages') m
    join group_commerce.participants p on p.tenant_id = platform.tenant() and p.order_id = m->>'orderId'
    where m->>'eventId' = any(fresh) and p.state in ('ordered', 'charged') order by p.id
  loop
    perform platform.set_trace(item.trace);
    perform group_commerce.free_places(item.campaign_id, array[item.id::text], item.reason, null);
    freed := freed + 1;
  end loop;
  return jsonb_build_object('freed', freed);
end
$$;

-- One batch of a campaign that has succeeded: an order for each of `limit` participants. Those whose money is secured are
-- charged through the queue; the others have `graceSeconds` to secure it. `input`: {tenant?, campaignId?, limit,
-- graceSeconds}. Answers {done, more}; repeat while `more`. Emits order.created, inventory.reserved,
-- payment.capture.requested.
create or replace function group_commerce.settle_batch(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  c group_commerce.group_commerce_campaigns;
  p group_commerce.participants;
  ready text[] := '{}';
  waiting text[] := '{}';
  graced timestamptz;
begin
  c := group_commerce.next_unsettled(call, input, array['successful']);
  if c.id is null then
    return jsonb_build_object('done', 0, 'more', false);
  end if;
  graced := platform.clock() + make_interval(secs => (input->>'graceSeconds')::int);
  -- Without the campaign's lock, which joins and payments wait for: nothing here changes its row or takes it later.
  for p in
    select * from group_commerce.participants x
    where x.tenant_id = c.tenant_id and x.campaign_id = c.id and x.state in ('joined', 'secured')
    order by x.id limit (input->>'limit')::int for update
  loop
    update group_commerce.participants x
    set state = 'ordered', secure_by = case when x.secured_at is null then graced end, updated_at = platform.clock()
    where x.id = p.id;
    perform group_commerce.order_place(c, p);
    if p.secured_at is null then
      waiting := waiting || p.order_id::text;
    else
      ready := ready || p.order_id::text;
    end if;
  end loop;
  if cardinality(ready) + cardinality(waiting) = 0 then
    perform group_commerce.note_settled(c, array['joined', 'secured']);
    return jsonb_build_object('done', 0, 'more', true);
  end if;
  perform payments.ask_captures(ready);
  perform inventory.keep_until(waiting, graced);
  perform inventory.announce(ready || waiting);
  if c.price = 0 then
    perform group_commerce.settle_free(c, x) from group_commerce.participants x
      where x.tenant_id = c.tenant_id and x.order_id = any(ready) order by x.id;
  end if;
  return jsonb_build_object('done', cardinality(ready) + cardinality(waiting), 'more', true);
end
$$;

-- Finds a campaign of these statuses with work left, and goes on as its tenant.
create or replace function group_commerce.next_unsettled(call jsonb, input jsonb, statuses text[])
returns group_commerce.group_commerce_campaigns
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  c group_commerce.group_commerce_campaigns;
begin
  perform platform.enter_as(call, coalesce(input->>'tenant', '*'));
  select * into c from group_commerce.group_commerce_campaigns x
    where x.settled_at is null and x.status <> 'active' and x.status = any(statuses)
      and (input->>'campaignId' is null or x.id = input->>'campaignId')
    order by x.id limit 1;
  perform platform.act_as(c.tenant_id) where c.id is not null;
  return c;
end
$$;

-- Nothing is left to do, unless another run has rows locked that are still to be seen.
create or replace function group_commerce.note_settled(c group_commerce.group_commerce_campaigns, states text[])
returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update group_commerce.group_commerce_campaigns x
  set settled_at = platform.clock(), version = x.version + 1, updated_at = platform.clock()
  where x.tenant_id = c.tenant_id and x.id = c.id and x.settled_at is null and not exists (
    select from group_commerce.participants p
    where p.tenant_id = c.tenant_id and p.campaign_id = c.id and p.state = any(states))
$$;

-- One batch of a campaign that has expired or was cancelled: the money and the units of `limit` participants are released.
-- Its counts stay as they were at its end. `input`: {tenant?, campaignId?, limit}. Answers {done, more, tenant, sku}.
-- Emits payment.cancelled, inventory.released.
create or replace function group_commerce.release_batch(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  c group_commerce.group_commerce_campaigns;
  ids text[];
  orders text[];
begin
  c := group_commerce.next_unsettled(call, input, array['expired', 'failed']);
  if c.id is null then
    return jsonb_build_object('done', 0, 'more', false);
  end if;
  ids := array(
    select x.id from group_commerce.participants x
    where x.tenant_id = c.tenant_id and x.campaign_id = c.id and x.state <> 'released'
    order by x.id limit (input->>'limit')::int for update);
  if cardinality(ids) = 0 then
    perform group_commerce.note_settled(c, array['joined', 'secured', 'ordered', 'charged']);
    return jsonb_build_object('done', 0, 'more', true);
  end if;
  update group_commerce.participants x
  set state = 'released', reason = 'campaign_' || c.status, updated_at = platform.clock()
  where x.tenant_id = c.tenant_id and x.id = any(ids);
  orders := array(select x.order_id from group_commerce.participants x
    where x.tenant_id = c.tenant_id and x.id = any(ids) order by x.order_id);
  perform payments.end_for_orders(orders, 'cancelled', 'campaign_' || c.status);
  perform inventory.release(orders, 'campaign_' || c.status);
  return jsonb_build_object('done', cardinality(ids), 'more', true, 'tenant', c.tenant_id, 'sku', c.sku);
end
$$;

-- The cron: campaigns whose time is over without success. `input`: {limit}. Answers {expired}; repeat until it is 0.
-- Emits campaign.expired.
create or replace function group_commerce.expire_campaigns(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  due jsonb;
  item jsonb;
  c group_commerce.group_commerce_campaigns;
  expired integer := 0;
begin
  perform platform.enter_as(call, '*');
  select coalesce(jsonb_agg(jsonb_build_object('id', d.id, 'tenant', d.tenant_id) order by d.id), '[]') into due from (
    select x.id, x.tenant_id from group_commerce.group_commerce_campaigns x
    where x.status = 'active' and x.end_time <= platform.clock() order by x.end_time limit (input->>'limit')::int) d;
  for item in select jsonb_array_elements(due) loop
    perform platform.act_as(item->>'tenant');
    update group_commerce.group_commerce_campaigns x
    set status = 'expired', version = x.version + 1, updated_at = platform.clock()
    where x.tenant_id = platform.tenant() and x.id = item->>'id' and x.status = 'active' and x.end_time <= platform.clock()
    returning * into c;
    if found then
      perform group_commerce.emit_campaign(c, 'expired', true);
      expired := expired + 1;
    end if;
  end loop;
  return jsonb_build_object('expired', expired);
end
$$;

-- The cron: places of active campaigns whose money was not secured in time. `input`: {limit}. Answers {freed, tenants:
-- [{tenant, skus}]}; repeat until freed is 0. Emits campaign.left, payment.cancelled, inventory.released.
create or replace function group_commerce.free_unsecured(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  due jsonb;
  item jsonb;
  c group_commerce.group_commerce_campaigns;
  ids text[];
  freed integer := 0;
  tenants jsonb := '[]';
begin
  perform platform.enter_as(call, '*');
  select coalesce(jsonb_agg(jsonb_build_object('campaign', g.campaign_id, 'tenant', g.tenant_id, 'ids', g.ids)
    order by g.campaign_id), '[]') into due
  from (
    select d.tenant_id, d.campaign_id, array_agg(d.id order by d.id) as ids from (
      select p.tenant_id, p.campaign_id, p.id from group_commerce.participants p
      join group_commerce.group_commerce_campaigns x on x.id = p.campaign_id
      where p.state = 'joined' and p.secure_by <= platform.clock() and x.status = 'active'
      order by p.secure_by limit (input->>'limit')::int
    ) d group by d.tenant_id, d.campaign_id
  ) g;
  for item in select jsonb_array_elements(due) loop
    perform platform.act_as(item->>'tenant');
    c := group_commerce.lock_campaign(item->>'campaign');
    continue when c.status <> 'active';
    ids := array(
      select p.id from group_commerce.participants p
      where p.tenant_id = c.tenant_id and p.id = any(array(select jsonb_array_elements_text(item->'ids')))
        and p.state = 'joined' and p.secure_by <= platform.clock()
      order by p.id for update);
    tenants := tenants || jsonb_build_object('tenant', c.tenant_id,
      'skus', to_jsonb(group_commerce.free_places(c.id, ids, 'not_secured', 'cancelled')));
    freed := freed + cardinality(ids);
  end loop;
  return jsonb_build_object('freed', freed, 'tenants', tenants);
end
$$;

call platform.hand_over('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.lock_places, group_commerce.mark_secured, group_commerce.mark_charged,
  group_commerce.lose_place to fusion_payments;
grant execute on function group_commerce.lose_orders, group_commerce.settle_batch, group_commerce.release_batch,
  group_commerce.expire_campaigns, group_commerce.free_unsecured to fusion_worker;
