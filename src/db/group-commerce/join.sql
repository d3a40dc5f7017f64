-- requires: group-commerce/campaigns.sql
-- Joining a campaign. Lock order: the campaign, then the rows that every order locks (order, payment, reservation,
-- stock).

-- Takes a place and a unit of stock, or nothing. `input`: {campaignId, userId, shippingAddress?, participantId,
-- orderId, paymentId, secureSeconds, graceSeconds, holdWithinSeconds}. A second join of a user returns the first one.
-- A successful campaign creates the order at once. Raises not_found. Returns the errors campaign_not_open,
-- campaign_full, insufficient_inventory. Emits campaign.joined, payment.created, at the minimum campaign.successful.
-- One statement a step: the key, its stored answer, an earlier place, the place, its payment, its unit, the answer.
create or replace function group_commerce.join_campaign(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  answer jsonb := platform.enter(call, 'campaigns:write', 'campaigns.join'); -- the stored answer, if it is a replay
  earlier_place jsonb;
  is_archived boolean;
  campaign_sku varchar;
begin
  if answer is not null then
    return answer;
  end if;
  select case when p.id is not null then group_commerce.participant_json(p) end, product.status = 'archived', c.sku
  into earlier_place, is_archived, campaign_sku
  from group_commerce.group_commerce_campaigns c
  left join group_commerce.participants p
    on p.campaign_id = c.id and p.user_id = input->>'userId' and p.state <> 'released'
  left join catalog.products product on product.id = c.product_id
  where c.tenant_id = platform.tenant() and c.id = input->>'campaignId';
  if not found then
    perform platform.fail('not_found');
  end if;
  if earlier_place is not null then
    return platform.leave(call, 'campaigns.join', earlier_place);
  end if;
  -- The campaign of an archived product continues: taken places stay valid, but no new ones are sold.
  if is_archived then
    return platform.leave(call, 'campaigns.join',
      jsonb_build_object('error', 'campaign_not_open', 'detail', 'The product of this campaign is archived.'));
  end if;
  begin
    answer := group_commerce.take_place(input);
  exception when sqlstate 'FC001' then
    -- The stock is the most contended row and is locked last, so a shortage shows after the other writes. Undo them.
    answer := jsonb_build_object('error', 'insufficient_inventory', 'shortages', sqlerrm::jsonb);
  end;
  return platform.leave(call, 'campaigns.join',
    answer || case when answer ? 'error' then '{}' else jsonb_build_object('sku', campaign_sku) end);
end
$$;

-- One conditional update takes the place and decides success, and the same statement stores the participant
-- (participants_one_place_a_user) and campaign.joined. Raises FC001 (the shortages) if there is no stock. If the same
-- user joins at the same time, raises a serialization failure: the Worker repeats the call, which finds that place.
create or replace function group_commerce.take_place(input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
  place record;
  c group_commerce.group_commerce_campaigns;
  participant group_commerce.participants;
  succeeded boolean;
  shortages jsonb;
begin
  with locked as ( -- The joins of a campaign run one after the other: its row decides, not a count that was read before.
    select * from group_commerce.group_commerce_campaigns x
    where x.tenant_id = tenant and x.id = input->>'campaignId' for update
  ), taken as (
    update group_commerce.group_commerce_campaigns x
    set actual_participants = x.actual_participants + 1,
        secured_participants = x.secured_participants + (x.price = 0)::int,
        status = case when x.status = 'active' and x.min_participants <= case x.success_on
            when 'joined' then x.actual_participants + 1 else x.secured_participants + (x.price = 0)::int end
          then 'successful' else x.status end,
        version = platform.next_version(x.version), updated_at = now_at
    from locked l
    where x.tenant_id = tenant and x.id = l.id and x.status in ('active', 'successful')
      and x.actual_participants < x.max_participants and x.start_time <= now_at and now_at < x.end_time
    returning x as campaign, l.status = 'successful' as succeeded, l.price = 0 as is_free
  ), joined as (
    insert into group_commerce.participants as p (id, tenant_id, campaign_id, user_id, order_id, payment_id,
      shipping_address, state, joined_at, secure_by, secured_at, updated_at)
    select input->>'participantId', tenant, (t.campaign).id, input->>'userId', input->>'orderId',
      case when not t.is_free then input->>'paymentId' end, nullif(input->'shippingAddress', 'null'),
      case when t.succeeded then 'ordered' when t.is_free then 'secured' else 'joined' end, now_at,
      case when not t.is_free then now_at + make_interval(secs =>
        (input->>case when t.succeeded then 'graceSeconds' else 'secureSeconds' end)::int) end,
      case when t.is_free then now_at end, now_at
    from taken t
    on conflict (campaign_id, user_id) where state <> 'released' do nothing
    returning p as participant
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'group-commerce.campaign.joined', (t.campaign).id, jsonb_build_object(
      'campaign', group_commerce.campaign_json(t.campaign), 'userId', input->>'userId'), platform.trace(), now_at
    from taken t, joined
    returning seq, key
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, e.key, platform.due_now() from event e, taken t, unnest(platform.sinks_of(not t.is_free)) s
  )
  select t.campaign, t.succeeded, j.participant, l.status as old_status, l.start_time, l.end_time, l.max_participants
  into place
  from locked l left join taken t on true left join joined j on true;
  c := place.campaign;
  if c.id is null then
    return case
      when place.old_status not in ('active', 'successful') then jsonb_build_object('error', 'campaign_not_open', 'detail',
        case place.old_status when 'failed' then 'The campaign was cancelled.' else 'The campaign has expired.' end)
      when now_at < place.start_time then jsonb_build_object('error', 'campaign_not_open',
        'detail', format('The campaign starts at %s.', platform.iso(place.start_time)))
      when now_at >= place.end_time then jsonb_build_object('error', 'campaign_not_open',
        'detail', format('The campaign ended at %s.', platform.iso(place.end_time)))
      else jsonb_build_object('error', 'campaign_full',
        'detail', format('All %s places are taken.', place.max_participants)) end;
  end if;
  participant := place.participant;
  if participant.id is null then
    raise exception using errcode = 'serialization_failure', message = 'the user joins at the same time';
  end if;
  succeeded := place.succeeded;
  if succeeded then
    perform group_commerce.create_place_order(c, participant);
  end if;
  if c.price > 0 then
    perform payments.open_place_payment(jsonb_build_object('id', participant.payment_id,
      'orderId', participant.order_id, 'campaignId', c.id, 'userId', participant.user_id, 'amount', c.price,
      'currency', c.currency, 'mode', case when succeeded then 'order'
        when c.end_time <= now_at + make_interval(secs => (input->>'holdWithinSeconds')::int) then 'hold'
        else 'card' end));
  end if;
  shortages := inventory.hold_unit(participant.order_id, c.sku, case when succeeded and c.price > 0
    then participant.secure_by else 'infinity' end);
  if shortages is not null then
    raise exception using errcode = 'FC001', message = shortages::text;
  end if;
  if succeeded then
    perform inventory.emit_reserved(array[participant.order_id::text]);
    participant := group_commerce.confirm_free_place(c, participant);
  elsif c.status = 'successful' then
    perform group_commerce.emit_campaign(c, 'successful', true);
  end if;
  return group_commerce.participant_json(participant);
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.join_campaign to fusion_worker;
