-- requires: group-commerce/campaigns.sql
-- How the payment and the order of a place change the place.

-- Locks the campaigns of these orders by id, then their places by id. Payments calls this before it locks anything
-- else, so that no transaction waits for a campaign while it has locked an order.
create or replace function group_commerce.lock_places(order_ids text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform 1 from group_commerce.group_commerce_campaigns c
    where c.id = any(array(
      select p.campaign_id from group_commerce.participants p where p.order_id = any(order_ids)))
    order by c.id for update;
  perform 1 from group_commerce.participants p
    where p.order_id = any(order_ids) order by p.id for update;
end
$$;

-- The money of a place is secured. With `successOn: secured` the place counts from now on, and this statement may
-- decide success. If the place has an order already, its payment is captured. The caller has locked the place. For
-- payments. Emits campaign.successful.
create or replace function group_commerce.mark_secured(of_order varchar) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  participant group_commerce.participants;
  campaign group_commerce.group_commerce_campaigns;
  previous_status varchar;
begin
  select x.status into previous_status from group_commerce.group_commerce_campaigns x
    where x.id = (select y.campaign_id from group_commerce.participants y where y.order_id = of_order);
  if previous_status is null or previous_status not in ('active', 'successful') then
    return; -- its places are being released
  end if;
  update group_commerce.participants x
  set state = case x.state when 'joined' then 'secured' else x.state end, secured_at = platform.clock(),
      updated_at = platform.clock()
  where x.order_id = of_order and x.secured_at is null
    and x.state in ('joined', 'ordered')
  returning * into participant;
  if not found then
    return;
  end if;
  update group_commerce.group_commerce_campaigns x
  set secured_participants = x.secured_participants + 1,
      status = case when x.status = 'active' and x.success_on = 'secured' and platform.clock() < x.end_time
        and x.secured_participants + 1 >= x.min_participants then 'successful' else x.status end,
      version = platform.next_version(x.version), updated_at = platform.clock()
  where x.id = participant.campaign_id returning * into campaign;
  if previous_status = 'active' and campaign.status = 'successful' then
    perform group_commerce.emit_campaign(campaign, 'successful', true);
  end if;
  if participant.state = 'ordered' then
    perform payments.request_captures(array[of_order::text]);
    perform inventory.keep_until(array[of_order::text], 'infinity');
  end if;
end
$$;

-- Keeps the unit of a place while Stripe decides its payment. If the payment then fails, the buyer has the usual time
-- to pay in another way. The caller has locked the place. For payments.
create or replace function group_commerce.update_secure_by(
  of_order varchar, is_decided boolean, secure_seconds integer, grace_seconds integer
) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  participant group_commerce.participants;
begin
  update group_commerce.participants x
  set updated_at = platform.clock(), secure_by = case when is_decided then platform.clock()
      + make_interval(secs => case x.state when 'joined' then secure_seconds else grace_seconds end) else 'infinity' end
  where x.order_id = of_order and x.secured_at is null
    and x.state in ('joined', 'ordered')
  returning * into participant;
  if participant.state = 'ordered' then
    perform inventory.keep_until(array[of_order::text], participant.secure_by);
  end if;
end
$$;

-- The order of a place is paid. The caller has locked the place. For payments.
create or replace function group_commerce.mark_charged(of_order varchar) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  participant group_commerce.participants;
begin
  select * into participant from group_commerce.participants x
    where x.order_id = of_order and x.state = 'ordered';
  if not found then
    return;
  end if;
  update group_commerce.participants x
  set state = 'charged', secured_at = coalesce(x.secured_at, platform.clock()), updated_at = platform.clock()
  where x.id = participant.id;
  if participant.secured_at is null then
    update group_commerce.group_commerce_campaigns x
    set secured_participants = x.secured_participants + 1, version = platform.next_version(x.version),
        updated_at = platform.clock()
    where x.id = participant.campaign_id;
  end if;
end
$$;

-- Frees a place that has no order yet and can no longer be paid. The caller has locked the place. For payments.
create or replace function group_commerce.free_unpaid_place(of_order varchar, why text, ending text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  participant group_commerce.participants;
begin
  select * into participant from group_commerce.participants x
    where x.order_id = of_order;
  if participant.state in ('joined', 'secured') then
    perform group_commerce.free_places(participant.campaign_id, array[participant.id::text], why, ending);
  end if;
end
$$;

-- Whether a place is taken and its order does not exist yet. For payments.
create or replace function group_commerce.awaits_order(of_order varchar) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce((
    select p.state in ('joined', 'secured') and (select c.status from group_commerce.group_commerce_campaigns c
      where c.id = p.campaign_id) in ('active', 'successful')
    from group_commerce.participants p where p.order_id = of_order), false)
$$;

-- Frees a place whose money was refunded in full: always if it has no order, and with an order only if its unit is back
-- in stock. Returns its SKUs. The caller has locked the place. For payments.
create or replace function group_commerce.free_refunded_place(of_order varchar, restocked boolean) returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  participant group_commerce.participants;
begin
  select * into participant from group_commerce.participants x where x.order_id = of_order
    and (x.state in ('joined', 'secured') or (restocked and x.state in ('ordered', 'charged')));
  if not found then
    return '{}';
  end if;
  return group_commerce.free_places(participant.campaign_id, array[participant.id::text], 'refunded',
    case when participant.state in ('joined', 'secured') then 'cancelled' end);
end
$$;

-- The consumer of order.failed and order.cancelled: frees the order's place. `input`: {tenant, messages: [{eventId,
-- orderId, reason, traceparent}]}. Returns {freed}.
create or replace function group_commerce.lose_orders(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  new_event_ids text[];
  ids text[];
  item record;
  freed integer := 0;
begin
  perform platform.enter_as(call, input->>'tenant');
  new_event_ids := platform.claim_new_events('group-commerce',
    array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  ids := array(select m->>'orderId' from jsonb_array_elements(input->'messages') m
    where m->>'eventId' = any(new_event_ids));
  perform group_commerce.lock_places(ids);
  for item in
    select p.id, p.campaign_id, m->>'reason' as reason, m->>'traceparent' as trace
    from jsonb_array_elements(input->'messages') m
    join group_commerce.participants p on p.order_id = m->>'orderId' and p.order_id = any(ids)
    where m->>'eventId' = any(new_event_ids) and p.state in ('ordered', 'charged') order by p.id
  loop
    perform platform.set_trace(item.trace);
    perform group_commerce.free_places(item.campaign_id, array[item.id::text], item.reason, null);
    freed := freed + 1;
  end loop;
  perform orders.mark_places_freed(ids);
  return jsonb_build_object('freed', freed);
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.lock_places, group_commerce.mark_secured, group_commerce.mark_charged,
  group_commerce.update_secure_by, group_commerce.awaits_order, group_commerce.free_refunded_place,
    group_commerce.free_unpaid_place to fusion_payments;
grant execute on function group_commerce.lose_orders to fusion_worker;
