-- requires: group-commerce/campaigns.sql
-- Joining a campaign. Lock order: the campaign, then the rows that every order locks (order, payment, reservation,
-- stock). A join inserts its payment before that; no other transaction can wait for it.

-- Why this campaign takes no more places: campaign_not_open or campaign_full. Null if it takes another one.
create or replace function group_commerce.join_fault(c group_commerce.group_commerce_campaigns) returns jsonb
language sql stable as $$
  select case
    when c.status not in ('active', 'successful') then jsonb_build_object('error', 'campaign_not_open', 'detail',
      case c.status when 'failed' then 'The campaign was cancelled.' else 'The campaign has expired.' end)
    when platform.clock() < c.start_time then jsonb_build_object('error', 'campaign_not_open',
      'detail', format('The campaign starts at %s.', platform.iso(c.start_time)))
    when platform.clock() >= c.end_time then jsonb_build_object('error', 'campaign_not_open',
      'detail', format('The campaign ended at %s.', platform.iso(c.end_time)))
    when c.actual_participants >= c.max_participants then jsonb_build_object('error', 'campaign_full',
      'detail', case c.max_participants when 1 then 'The only place is taken.'
        else format('All %s places are taken.', c.max_participants) end) end
$$;

-- Takes a place and a unit of stock, or nothing. `input`: {campaignId, userId?, shippingAddress?, billingAddress?,
-- email?, metadata?, shippingOptionId?, participantId, orderId, paymentId, secureSeconds, graceSeconds,
-- holdWithinSeconds, taxQuote?}. The tenant's own `grace_seconds` replaces `graceSeconds`. A customer's session joins
-- as its customer. With taxes or a shipping option the place freezes its amounts (orders.settle_place). A second join of
-- a user returns the first one. A successful campaign creates the order at once.
-- Raises not_found, forbidden. Returns the errors campaign_not_open, campaign_full, insufficient_inventory,
-- validation_failed (an option that is not offered, a total that cannot be charged), and unavailable with `taxQuestion`
-- until `taxQuote` answers it. Emits campaign.joined, payment.created, at the minimum campaign.successful.
-- One statement a step: the key, its stored answer, the campaign with an earlier place, the payment, the place, its
-- unit, the answer.
create or replace function group_commerce.join_campaign(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  answer jsonb := platform.enter(call, 'campaigns:write', 'campaigns.join', '{session}'); -- the stored answer, if it is a replay
  -- A variable, because to the planner an expression costs the same in an index condition as in a filter. A plan made
  -- while the campaign had no places could later read all of them.
  joining_user varchar := input->>'userId';
  found_place record;
  amounts jsonb; -- of a place that costs more or less than the campaign's price
begin
  if answer is not null then
    return answer;
  end if;
  if platform.shopper() is not null then
    input := group_commerce.as_customer(input);
    joining_user := input->>'userId';
  end if;
  select c as campaign, product.status = 'archived' as is_archived, group_commerce.join_fault(c) as fault,
    exists (select from orders.tax_rates t where t.tenant_id = c.tenant_id)
      or exists (select from platform.tenants t where t.id = c.tenant_id and t.tax_provider <> 'table') as has_tax,
    (select group_commerce.participant_json(p) from group_commerce.participants p
      where p.campaign_id = c.id and p.user_id = joining_user and p.state <> 'released') as place
  into found_place
  from group_commerce.group_commerce_campaigns c
  left join catalog.products product on product.id = c.product_id
  where c.id = input->>'campaignId';
  if not found then
    perform platform.fail('not_found');
  end if;
  if found_place.place is not null then
    return platform.leave(call, 'campaigns.join',
      group_commerce.place_terms(found_place.campaign) - 'sku' || found_place.place);
  end if;
  -- The campaign of an archived product continues: taken places stay valid, but no new ones are sold.
  if found_place.is_archived then
    return platform.leave(call, 'campaigns.join',
      jsonb_build_object('error', 'campaign_not_open', 'detail', 'The product of this campaign is archived.'));
  end if;
  if found_place.fault is not null then -- without a lock, so that the joins of a full campaign do not queue up
    return platform.leave(call, 'campaigns.join', found_place.fault);
  end if;
  if found_place.has_tax or input->>'shippingOptionId' is not null then
    amounts := orders.settle_place(input || group_commerce.place_terms(found_place.campaign));
    if amounts ? 'error' then
      return platform.leave(call, 'campaigns.join', amounts);
    elsif amounts ? 'taxQuestion' then -- not stored: the Worker asks, and calls again with `taxQuote`
      return jsonb_build_object('tenant', platform.tenant(), 'replayed', false,
        'answer', amounts || '{"error": "unavailable"}');
    end if;
    input := input || jsonb_build_object('amounts', amounts);
  end if;
  begin
    answer := group_commerce.claim_place(found_place.campaign, input);
  exception when sqlstate 'FC001' then
    -- The contended rows, campaign and stock, are locked last, so this shows after the other writes. They are undone.
    answer := sqlerrm;
  end;
  return platform.leave(call, 'campaigns.join', answer);
end
$$;

-- Takes a place in the campaign, which was read as `c`. Its payment is written first, because it needs no contended
-- row. Then one conditional update takes the place and decides success, and the same statement stores the participant
-- (participants_one_place_a_user) and campaign.joined. Raises FC001 with the answer if there is no place or no stock.
-- Raises a serialization failure if the campaign became successful since it was read, or if the same user joins at the
-- same time: the Worker repeats the call, which then finds this.
create or replace function group_commerce.claim_place(c group_commerce.group_commerce_campaigns, input jsonb)
returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
  succeeded constant boolean := c.status = 'successful';
  amount constant numeric := coalesce((input->'amounts'->>'total')::numeric, c.price);
  is_free constant boolean := amount = 0;
  joining_user constant varchar := input->>'userId';
  place record;
  participant group_commerce.participants;
  fault jsonb;
begin
  if not is_free then
    perform payments.open_place_payment(jsonb_build_object('id', input->'paymentId', 'orderId', input->'orderId',
      'campaignId', c.id, 'userId', input->'userId', 'amount', amount, 'currency', c.currency,
      'taxCalculation', input->'amounts'->'taxCalculation', 'mode', case when succeeded then 'order'
        when c.end_time <= now_at + make_interval(secs => (input->>'holdWithinSeconds')::int) then 'hold'
        else 'card' end));
  end if;
  with taken as (
    update group_commerce.group_commerce_campaigns x
    set actual_participants = x.actual_participants + 1,
        secured_participants = x.secured_participants + is_free::int,
        status = case when x.status = 'active' and x.min_participants <= case x.success_on
            when 'joined' then x.actual_participants + 1 else x.secured_participants + is_free::int end
          then 'successful' else x.status end,
        version = platform.next_version(x.version), updated_at = now_at
    where x.id = c.id and x.status = c.status and x.actual_participants < x.max_participants
    returning x as campaign
  ), joined as (
    insert into group_commerce.participants as p (id, tenant_id, campaign_id, user_id, order_id, payment_id,
      shipping_address, state, joined_at, secure_by, secured_at, updated_at, email, billing_address, metadata, amounts)
    select input->>'participantId', tenant, c.id, joining_user, input->>'orderId',
      case when not is_free then input->>'paymentId' end, nullif(input->'shippingAddress', 'null'),
      case when succeeded then 'ordered' when is_free then 'secured' else 'joined' end, now_at,
      case when not is_free then now_at + make_interval(secs => case when succeeded then coalesce(
          (select t.grace_seconds from platform.tenants t where t.id = tenant), (input->>'graceSeconds')::int)
        else (input->>'secureSeconds')::int end) end,
      case when is_free then now_at end, now_at, input->>'email', nullif(input->'billingAddress', 'null'),
      nullif(input->'metadata', 'null'), input->'amounts'
    from taken
    on conflict (campaign_id, user_id) where state <> 'released' do nothing
    returning p as participant
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'group-commerce.campaign.joined', c.id, jsonb_build_object(
      'campaign', group_commerce.campaign_json(t.campaign), 'userId', input->>'userId'), platform.trace(), now_at
    from taken t, joined
    returning seq
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, c.id, platform.due_now() from event e, unnest(platform.sinks_of(not is_free)) s
  )
  select t.campaign, j.participant into place from taken t left join joined j on true;
  participant := place.participant;
  if participant.id is null then
    select case when not exists (select from group_commerce.participants p
        where p.campaign_id = x.id and p.user_id = joining_user and p.state <> 'released')
      then group_commerce.join_fault(x) end
    into fault from group_commerce.group_commerce_campaigns x where x.id = c.id;
    if fault is not null then
      raise exception using errcode = 'FC001', message = fault::text;
    end if;
    raise exception using errcode = 'serialization_failure',
      message = 'the campaign became successful, or the user joins at the same time';
  end if;
  c := place.campaign;
  if succeeded then
    perform group_commerce.create_place_order(c, participant);
  end if;
  fault := inventory.hold_unit(participant.order_id, c.sku, case when succeeded and not is_free
    then participant.secure_by else 'infinity' end);
  if fault is not null then
    raise exception using errcode = 'FC001',
      message = jsonb_build_object('error', 'insufficient_inventory', 'shortages', fault)::text;
  end if;
  if succeeded then
    perform inventory.emit_reserved(array[participant.order_id::text]);
    participant := group_commerce.confirm_free_place(c, participant);
  elsif c.status = 'successful' then
    perform group_commerce.emit_campaign(c, 'successful', true);
  end if;
  return group_commerce.participant_json(participant) || group_commerce.place_terms(c);
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.join_campaign to fusion_worker;
