-- requires: group-commerce/places.sql, group-commerce/tiers.sql, platform/set-aside.sql
-- How campaigns end, and what happens to their places then. Batches can be resumed: each participant's state shows
-- whether it is still to be processed, so any later run continues.

-- `input`: {id}. active → failed; the consumer of campaign.failed releases its places. A campaign that is cancelled
-- already returns the same result. Raises not_found. Returns the error conflict if it has succeeded or expired.
create or replace function group_commerce.cancel_campaign(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'campaigns:write', 'campaigns.cancel');
  campaign group_commerce.group_commerce_campaigns;
begin
  if replay is not null then
    return replay;
  end if;
  campaign := group_commerce.lock_campaign(input->>'id');
  if campaign.status in ('successful', 'expired') then
    return platform.leave(call, 'campaigns.cancel',
      jsonb_build_object('error', 'conflict', 'detail', format('The campaign is %s.', campaign.status)));
  end if;
  if campaign.status = 'active' then
    update group_commerce.group_commerce_campaigns x
    set status = 'failed', version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = campaign.id returning * into campaign;
    perform group_commerce.emit_campaign(campaign, 'failed', true);
  end if;
  return platform.leave(call, 'campaigns.cancel', group_commerce.campaign_json(campaign));
end
$$;

-- Creates orders for one batch of `limit` participants of a successful campaign. Secured participants are charged
-- through the queue; the others have `graceSeconds` to pay, or the tenant's own `grace_seconds`. `input`: {tenant?,
-- campaignId?, limit, graceSeconds}. Returns {done, more}; repeat while `more`. Emits order.created,
-- inventory.reserved, payment.capture.requested.
create or replace function group_commerce.settle_batch(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  campaign group_commerce.group_commerce_campaigns;
begin
  campaign := group_commerce.find_unsettled_campaign(call, input, array['successful']);
  return group_commerce.process_batch(campaign, array['joined', 'secured'], 'group_commerce.settle_places', input);
end
$$;

-- Processes `limit` places of a campaign in these states with `step`. A place that cannot be processed is set aside. If
-- only such places are left, the campaign is set aside too, until a place is retried. Returns {done, more, tenant,
-- skus}, and `sku` for Workers of the previous release.
create or replace function group_commerce.process_batch(
  campaign group_commerce.group_commerce_campaigns, states text[], step text, input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  ids text[];
  result jsonb;
  processed integer := 0;
begin
  if campaign.id is null then
    return jsonb_build_object('done', 0, 'more', false);
  end if;
  ids := array(
    select x.id from group_commerce.participants x
    where x.tenant_id = campaign.tenant_id and x.campaign_id = campaign.id and x.state = any(states)
      and x.id <> all(platform.keys_set_aside('campaigns'))
    order by x.id limit (input->>'limit')::int);
  for result in select jsonb_array_elements(
    platform.process_rows('campaigns', step, campaign.tenant_id, ids, input
      || jsonb_build_object('campaign', campaign.id)))
  loop
    processed := processed + (result->>'done')::int;
  end loop;
  if cardinality(ids) = 0 then
    perform group_commerce.mark_settled(campaign, states);
    if exists (select from group_commerce.participants x
      where x.tenant_id = campaign.tenant_id and x.campaign_id = campaign.id and x.state = any(states)) then
      perform platform.set_aside('campaigns', array[campaign.id::text], 'places of this campaign are set aside');
    else
      perform platform.clear_set_aside('campaigns', array[campaign.id::text]);
    end if;
  end if;
  return jsonb_build_object('done', processed, 'more', true, 'tenant', campaign.tenant_id, 'sku', campaign.sku,
    'skus', coalesce(campaign.skus, array[campaign.sku]));
end
$$;

-- Creates the orders of these places of a successful campaign. If its price has fallen, the final amounts are written
-- to the places and their payments first, before a capture is requested.
create or replace function group_commerce.settle_places(ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  campaign group_commerce.group_commerce_campaigns;
  participant group_commerce.participants;
  secured_ids text[] := '{}';
  unsecured_ids text[] := '{}';
  processing_ids text[] := '{}';
  free_ids text[] := '{}'; -- of the secured: there is nothing to pay
  lowered jsonb := '[]'; -- the payments whose amount has fallen
  grace_end timestamptz;
begin
  select * into campaign from group_commerce.group_commerce_campaigns x
    where x.id = input->>'campaign';
  select platform.clock() + make_interval(secs => coalesce(t.grace_seconds, (input->>'graceSeconds')::int))
  into grace_end from platform.tenants t where t.id = campaign.tenant_id;
  -- Locks the participants by id, but not the campaign, which joins and payments wait for: nothing here changes the
  -- campaign's row or locks it later.
  for participant in
    select * from group_commerce.participants x
    where x.id = any(ids) and x.state = any((select '{joined,secured}'::text[])::text[])
    order by x.id for update
  loop
    if campaign.settled_price < campaign.price then
      participant.amounts := group_commerce.final_amounts(campaign, participant);
      lowered := lowered || jsonb_build_object('orderId', participant.order_id,
        'amount', coalesce(participant.amounts->'total', to_jsonb(campaign.settled_price)));
    end if;
    update group_commerce.participants x
    set state = 'ordered', secure_by = case when x.secured_at is null then greatest(grace_end, x.secure_by) end,
        amounts = participant.amounts, updated_at = platform.clock()
    where x.id = participant.id;
    perform group_commerce.create_place_order(campaign, participant);
    if participant.secured_at is not null then
      secured_ids := secured_ids || participant.order_id::text;
      if participant.payment_id is null then
        free_ids := free_ids || participant.order_id::text;
      end if;
    elsif participant.secure_by = 'infinity' then
      -- Stripe is still deciding the payment, so the unit stays held.
      processing_ids := processing_ids || participant.order_id::text;
    else
      unsecured_ids := unsecured_ids || participant.order_id::text;
    end if;
  end loop;
  if lowered <> '[]' then
    perform payments.lower_amounts(lowered);
  end if;
  perform payments.request_captures(secured_ids);
  perform inventory.keep_until(unsecured_ids, grace_end);
  perform inventory.emit_reserved(secured_ids || unsecured_ids || processing_ids);
  perform group_commerce.confirm_early_captures(payments.filter_paid_orders(secured_ids));
  if cardinality(free_ids) > 0 then
    perform group_commerce.confirm_free_place(campaign, x) from group_commerce.participants x
      where x.order_id = any(free_ids) order by x.id;
  end if;
  return jsonb_build_object('done', cardinality(secured_ids || unsecured_ids || processing_ids));
end
$$;

-- Confirms the orders of places that were captured in Stripe's dashboard before the campaign succeeded.
create or replace function group_commerce.confirm_early_captures(order_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  paid_order_id text;
begin
  perform inventory.lock_holds(order_ids); -- lock order: all holds, before the stock of the first order
  foreach paid_order_id in array order_ids loop
    perform orders.confirm_paid_order(paid_order_id);
    update group_commerce.participants x set state = 'charged', updated_at = platform.clock()
    where x.order_id = paid_order_id;
  end loop;
end
$$;

-- Finds a pool of these statuses that is not settled, and whose price is fixed if it succeeded. Places of teams are
-- settled by team. Sets its tenant for the rest of the transaction. It picks
-- a random tenant, so that no tenant waits until another tenant's campaigns are all settled.
create or replace function group_commerce.find_unsettled_campaign(call jsonb, input jsonb, statuses text[])
returns group_commerce.group_commerce_campaigns
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  campaign group_commerce.group_commerce_campaigns;
begin
  perform platform.enter_as(call, coalesce(input->>'tenant', '*'));
  select * into campaign from group_commerce.group_commerce_campaigns x
    where x.settled_at is null and x.status <> 'active' and x.status = any(statuses) and x.mode = 'pool'
      and (x.tiers is null or x.settled_price is not null or x.status <> 'successful')
      and (input->>'campaignId' is null or x.id = input->>'campaignId')
      and x.id <> all(platform.keys_set_aside('campaigns'))
    order by row_number() over (partition by x.tenant_id order by x.id), random() limit 1;
  perform platform.act_as(campaign.tenant_id) where campaign.id is not null;
  return campaign;
end
$$;

-- Marks a campaign as settled, unless participants in these states remain, for example because another run has locked
-- them.
create or replace function group_commerce.mark_settled(campaign group_commerce.group_commerce_campaigns, states text[])
returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update group_commerce.group_commerce_campaigns x
  set settled_at = platform.clock(), version = platform.next_version(x.version), updated_at = platform.clock()
  where x.id = campaign.id and x.settled_at is null and not exists (
    select from group_commerce.participants p
    where p.tenant_id = campaign.tenant_id and p.campaign_id = campaign.id and p.state = any(states))
$$;

-- Releases the payments and units of one batch of `limit` participants of an expired or cancelled campaign. Its counts
-- stay as they were at its end. `input`: {tenant?, campaignId?, limit}. Returns {done, more, tenant, skus}. Emits
-- payment.cancelled, inventory.released.
create or replace function group_commerce.release_batch(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  campaign group_commerce.group_commerce_campaigns;
begin
  campaign := group_commerce.find_unsettled_campaign(call, input, array['expired', 'failed']);
  return group_commerce.process_batch(campaign, array['joined', 'secured', 'ordered', 'charged'],
    'group_commerce.release_places', input);
end
$$;

-- Releases these places of a campaign that has ended. Lock order: the customers' counters, the participants by id, then
-- payments and stock.
create or replace function group_commerce.release_places(ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  ending constant text := 'campaign_' || (select x.status from group_commerce.group_commerce_campaigns x
    where x.id = input->>'campaign');
  orders text[];
begin
  perform group_commerce.lock_counters(input->>'campaign', ids);
  orders := array(
    select x.order_id from group_commerce.participants x
    where x.id = any(ids) and x.state <> (select 'released') order by x.id for update);
  update group_commerce.participants x set state = 'released', reason = ending, updated_at = platform.clock()
  where x.order_id = any(orders);
  perform group_commerce.give_units_back(input->>'campaign', array_agg(x.user_id::text), array_agg(x.quantity))
  from group_commerce.participants x where x.order_id = any(orders);
  orders := array(select o from unnest(orders) o order by o);
  perform payments.end_for_orders(orders, 'cancelled', ending);
  perform inventory.release(orders, ending);
  return jsonb_build_object('done', cardinality(orders));
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.cancel_campaign, group_commerce.settle_batch, group_commerce.release_batch
  to fusion_worker;
