-- requires: group-commerce.sql
-- How campaigns end, and what becomes of their places then. Batches are resumable: what is left to do stands in the
-- participants' state, so whoever comes next goes on.

-- `input`: {id}. active → failed; its places are released by the consumer of campaign.failed. Cancelled already: the same
-- answer. Raises not_found. Refuses: conflict, once it has succeeded or expired.
create or replace function group_commerce.cancel_campaign(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'campaigns:write', 'campaigns.cancel');
  c group_commerce.group_commerce_campaigns;
begin
  if replay is not null then
    return replay;
  end if;
  c := group_commerce.lock_campaign(input->>'id');
  if c.status in ('successful', 'expired') then
    return platform.leave(call, 'campaigns.cancel',
      jsonb_build_object('error', 'conflict', 'detail', format('The campaign is %s.', c.status)));
  end if;
  if c.status = 'active' then
    update group_commerce.group_commerce_campaigns x
    set status = 'failed', version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = c.id returning * into c;
    perform group_commerce.emit_campaign(c, 'failed', true);
  end if;
  return platform.leave(call, 'campaigns.cancel', group_commerce.campaign_json(c));
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
  deciding text[] := '{}';
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
    set state = 'ordered', secure_by = case when x.secured_at is null then greatest(graced, x.secure_by) end,
        updated_at = platform.clock()
    where x.id = p.id;
    perform group_commerce.order_place(c, p);
    if p.secured_at is not null then
      ready := ready || p.order_id::text;
    elsif p.secure_by = 'infinity' then
      deciding := deciding || p.order_id::text; -- Stripe is deciding the payment: the unit stays held until then
    else
      waiting := waiting || p.order_id::text;
    end if;
  end loop;
  if cardinality(ready || waiting || deciding) = 0 then
    perform group_commerce.note_settled(c, array['joined', 'secured']);
    return jsonb_build_object('done', 0, 'more', true);
  end if;
  perform payments.ask_captures(ready);
  perform inventory.keep_until(waiting, graced);
  perform inventory.announce(ready || waiting || deciding);
  perform group_commerce.settle_early(payments.paid_among(ready));
  if c.price = 0 then
    perform group_commerce.settle_free(c, x) from group_commerce.participants x
      where x.tenant_id = c.tenant_id and x.order_id = any(ready) order by x.id;
  end if;
  return jsonb_build_object('done', cardinality(ready || waiting || deciding), 'more', true);
end
$$;

-- Confirms the orders of places whose hold somebody captured in Stripe's dashboard before the campaign had succeeded.
create or replace function group_commerce.settle_early(order_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  paid text;
begin
  perform inventory.lock_holds(order_ids); -- all of them, before the first one's stock
  foreach paid in array order_ids loop
    perform orders.settle_paid(paid);
    update group_commerce.participants x set state = 'charged', updated_at = platform.clock()
    where x.tenant_id = platform.tenant() and x.order_id = paid;
  end loop;
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
  set settled_at = platform.clock(), version = platform.next_version(x.version), updated_at = platform.clock()
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
    set status = 'expired', version = platform.next_version(x.version), updated_at = platform.clock()
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
  place record;
  skus text[];
  orders text[];
  freed integer := 0;
  tenants jsonb := '[]';
begin
  perform platform.enter_as(call, '*');
  select coalesce(jsonb_agg(jsonb_build_object('tenant', g.tenant_id, 'orders', g.orders) order by g.tenant_id), '[]')
  into due
  from (
    select d.tenant_id, array_agg(d.order_id) as orders from (
      -- No join: by what is due, and not by the places of every campaign that runs.
      select p.tenant_id, p.order_id from group_commerce.participants p
      where p.state = 'joined' and p.secure_by <= platform.clock()
        and (select x.status from group_commerce.group_commerce_campaigns x where x.id = p.campaign_id) = 'active'
      order by p.secure_by limit (input->>'limit')::int
    ) d group by d.tenant_id
  ) g;
  for item in select jsonb_array_elements(due) loop
    perform platform.act_as(item->>'tenant');
    -- All campaigns and places of the tenant first; money and stock of all of them after that.
    perform group_commerce.lock_places(array(select jsonb_array_elements_text(item->'orders')));
    skus := '{}';
    orders := '{}';
    for place in
      select p.campaign_id, array_agg(p.id::text order by p.id) as ids, array_agg(p.order_id::text) as orders
      from group_commerce.participants p
      join group_commerce.group_commerce_campaigns x on x.id = p.campaign_id and x.status = 'active'
      where p.tenant_id = platform.tenant() and p.state = 'joined' and p.secure_by <= platform.clock()
        and p.order_id = any(array(select jsonb_array_elements_text(item->'orders')))
      group by p.campaign_id order by p.campaign_id
    loop
      skus := skus || group_commerce.free_places(place.campaign_id, place.ids, 'not_secured', null);
      orders := orders || place.orders;
    end loop;
    perform payments.end_for_orders(orders, 'cancelled', 'not_secured');
    perform inventory.release(orders, 'not_secured');
    tenants := tenants || jsonb_build_object('tenant', platform.tenant(), 'skus', to_jsonb(skus));
    freed := freed + cardinality(orders);
  end loop;
  return jsonb_build_object('freed', freed, 'tenants', tenants);
end
$$;

call platform.hand_over('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.cancel_campaign, group_commerce.settle_batch, group_commerce.release_batch,
  group_commerce.expire_campaigns, group_commerce.free_unsecured to fusion_worker;
