-- requires: group-commerce/places.sql, group-commerce/teams.sql
-- How the payment and the order of a place change the place.

-- Counts a place as secured in its campaign or team, which may decide success: in a pool while it is active, in a team
-- while it forms, before its end. In a successful pool with tiers, the place that makes all places secured also fixes
-- the price, unless it is fixed already. The caller has locked the campaign or team and the place. Emits
-- campaign.successful, campaign.priced or team.successful.
create or replace function group_commerce.count_secured(participant group_commerce.participants) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  campaign group_commerce.group_commerce_campaigns;
  team group_commerce.teams;
  status_before varchar;
  price_before numeric;
begin
  select * into campaign from group_commerce.group_commerce_campaigns x where x.id = participant.campaign_id;
  if participant.team_id is not null then
    select x.status into status_before from group_commerce.teams x where x.id = participant.team_id;
    update group_commerce.teams x
    set secured = x.secured + 1,
        status = case when x.status = 'forming' and campaign.success_on = 'secured' and campaign.status = 'active'
          and platform.clock() < x.end_time and x.secured + 1 = x.size then 'successful' else x.status end,
        version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = participant.team_id returning * into team;
    if status_before = 'forming' and team.status = 'successful' then
      perform group_commerce.emit_team(team, 'successful', '{}', true);
    end if;
    return;
  end if;
  status_before := campaign.status;
  price_before := campaign.settled_price;
  update group_commerce.group_commerce_campaigns x
  set secured_participants = x.secured_participants + 1, secured_units = x.secured_units + participant.quantity,
      status = case when x.status = 'active' and x.success_on = 'secured' and platform.clock() < x.end_time
        and x.secured_participants + 1 >= x.min_participants then 'successful' else x.status end,
      settled_price = case when x.tiers is not null and x.settled_price is null
          and x.secured_participants + 1 = x.max_participants
          and (x.status = 'successful' or x.status = 'active' and x.success_on = 'secured' and platform.clock() < x.end_time)
        then group_commerce.tier_price(x.tiers, x.price, x.secured_participants + 1,
          x.secured_units + participant.quantity)
        else x.settled_price end,
      version = platform.next_version(x.version), updated_at = platform.clock()
  where x.id = participant.campaign_id returning * into campaign;
  if status_before = 'active' and campaign.status = 'successful' then
    perform group_commerce.emit_campaign(campaign, 'successful', true);
  end if;
  if price_before is null and campaign.settled_price is not null then
    perform group_commerce.emit_campaign(campaign, 'priced', true);
  end if;
end
$$;

-- The money of a place is secured. With `successOn: secured` the place counts from now on, and this statement may
-- decide success. If the place has an order already, its payment is captured. The caller has locked the place. For
-- payments. Emits campaign.successful, campaign.priced or team.successful.
create or replace function group_commerce.mark_secured(of_order varchar) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  participant group_commerce.participants;
begin
  if not group_commerce.place_is_kept(of_order) then
    return; -- it is being released
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
  perform group_commerce.count_secured(participant);
  if participant.state = 'ordered' then
    perform payments.request_captures(array[of_order::text]);
    perform inventory.keep_until(array[of_order::text], 'infinity');
  end if;
end
$$;

-- Whether the pool or team of this place is still forming or has succeeded.
create or replace function group_commerce.place_is_kept(of_order varchar) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce((
    select group_commerce.keeps_places(c, t) from group_commerce.participants p
    join group_commerce.group_commerce_campaigns c on c.id = p.campaign_id
    left join group_commerce.teams t on t.id = p.team_id
    where p.order_id = of_order), false)
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
    perform group_commerce.count_secured(participant);
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
  select coalesce((select p.state in ('joined', 'secured') from group_commerce.participants p
    where p.order_id = of_order), false) and group_commerce.place_is_kept(of_order)
$$;

-- Frees a place whose money was refunded in full: always if it has no order, and with an order only if its unit is back
-- in stock; otherwise the place stays, and no longer counts as a referral. Returns its SKUs. The caller has locked the
-- place. For payments.
create or replace function group_commerce.free_refunded_place(of_order varchar, restocked boolean) returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  participant group_commerce.participants;
begin
  update group_commerce.participants x set refunded = true
  where x.order_id = of_order and x.state = 'charged' and not x.refunded;
  select * into participant from group_commerce.participants x where x.order_id = of_order
    and (x.state in ('joined', 'secured') or (restocked and x.state in ('ordered', 'charged')));
  if not found then
    return '{}';
  end if;
  return group_commerce.free_places(participant.campaign_id, array[participant.id::text], 'refunded',
    case when participant.state in ('joined', 'secured') then 'cancelled' end);
end
$$;

-- The refund of a place has failed at the bank: the place counts as a referral again. The caller has locked the place.
-- For payments.
create or replace function group_commerce.undo_place_refund(of_order varchar) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update group_commerce.participants x set refunded = false where x.order_id = of_order and x.refunded
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

grant execute on function group_commerce.mark_secured, group_commerce.mark_charged,
  group_commerce.update_secure_by, group_commerce.awaits_order, group_commerce.free_refunded_place,
    group_commerce.free_unpaid_place, group_commerce.undo_place_refund to fusion_payments;
grant execute on function group_commerce.lose_orders to fusion_worker;
