-- requires: group-commerce/places.sql
-- Joining a pool. Lock order: the campaign, the customer's counter, then the rows that every order locks
-- (order, payment, reservation, stock). A join inserts its payment before that; no other transaction can wait for it.

-- Why this campaign takes no more places: campaign_not_open or campaign_full. Null if it takes another one.
create or replace function group_commerce.join_fault(c group_commerce.group_commerce_campaigns) returns jsonb
language sql stable as $$
  select case
    when c.mode <> 'pool' then jsonb_build_object('error', 'conflict', 'detail',
      'This campaign has teams: open a team, or join one.')
    when c.settled_price is not null then jsonb_build_object('error', 'campaign_not_open', 'detail',
      'The campaign has settled.')
    when c.status not in ('active', 'successful') then jsonb_build_object('error', 'campaign_not_open', 'detail',
      case c.status when 'failed' then 'The campaign was cancelled.' else 'The campaign has expired.' end)
    when platform.clock() < c.start_time then jsonb_build_object('error', 'campaign_not_open',
      'detail', format('The campaign starts at %s.', platform.iso(c.start_time)))
    when platform.clock() >= c.end_time then jsonb_build_object('error', 'campaign_not_open',
      'detail', format('The campaign ended at %s.', platform.iso(c.end_time)))
    when c.actual_participants + c.offered_places >= c.max_participants then jsonb_build_object('error',
      'campaign_full', 'detail', case when c.offered_places > 0 then
          format('All %s places are taken, or offered to the first of the waiting list.', c.max_participants)
        when c.max_participants = 1 then 'The only place is taken.'
        else format('All %s places are taken.', c.max_participants) end) end
$$;

-- Takes a place and its units of stock, or nothing. `input`: {campaignId, userId?, sku?, quantity?, invitedBy?,
-- shippingAddress?, billingAddress?, email?, metadata?, shippingOptionId?, participantId, orderId, paymentId,
-- secureSeconds, graceSeconds, holdWithinSeconds, taxQuote?, waitlist?}. The tenant's own `grace_seconds` replaces
-- `graceSeconds`. A customer's session joins as its customer. With taxes, a shipping option or several units, the place
-- freezes its amounts (orders.settle_place). A second join of a user returns the first one. A successful campaign
-- creates the order at once, unless its price can still fall. Raises not_found, forbidden. Returns the errors
-- campaign_not_open, campaign_full, conflict (the campaign has teams), customer_not_eligible, insufficient_inventory,
-- limit_per_customer, validation_failed (a SKU or an option that is not offered, a total that cannot be charged), and
-- unavailable with `taxQuestion` until `taxQuote` answers it. Emits campaign.joined, payment.created, at the minimum
-- campaign.successful. One statement a step: the key, its stored answer, the campaign with an earlier place, the
-- payment, the place, its units, the answer. With `waitlist`, a full campaign is no error: the user gets or keeps an
-- entry in the waiting list, and the answer is {waiting} (waiting.sql). Whether the campaign is full is then decided
-- with its row locked. A user with an offer takes the offered place.
create or replace function group_commerce.join_campaign(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  answer jsonb := platform.enter(call, 'campaigns:write', 'campaigns.join', '{session}'); -- the stored answer, if it is a replay
  -- A variable, because to the planner an expression costs the same in an index condition as in a filter. A plan made
  -- while the campaign had no places could later read all of them.
  joining_user varchar := input->>'userId';
  waits constant boolean := coalesce((input->>'waitlist')::boolean, false);
  is_locked boolean := false;
  is_full boolean;
  place_input jsonb;
  found_place record;
begin
  if answer is not null then
    return answer;
  end if;
  if platform.shopper() is not null then
    input := group_commerce.as_customer(input);
    joining_user := input->>'userId';
  end if;
  loop -- repeated with the campaign locked, if the campaign is full and the user wants to wait
    select c as campaign, product.status = 'archived' as is_archived, group_commerce.join_fault(c) as fault,
      exists (select from orders.tax_rates t where t.tenant_id = c.tenant_id) or tenant.tax_provider <> 'table' as has_tax,
      coalesce(tenant.grace_seconds, (input->>'graceSeconds')::int) as grace,
      (select p from group_commerce.participants p
        where p.campaign_id = c.id and p.user_id = joining_user and p.state <> 'released' and c.mode = 'pool') as place,
      w as entry, coalesce(w.state = 'offered', false) as has_offer
    into found_place
    from group_commerce.group_commerce_campaigns c
    join platform.tenants tenant on tenant.id = c.tenant_id
    left join catalog.products product on product.id = c.product_id
    left join group_commerce.waiting_places w on w.user_id = joining_user and w.campaign_id = c.id
      and w.state in ('waiting', 'offered') and (w.state = 'waiting' or w.offered_until > platform.clock())
    where c.id = input->>'campaignId';
    if not found then
      perform platform.fail('not_found');
    end if;
    if (found_place.place).id is not null then
      return platform.leave(call, 'campaigns.join',
        group_commerce.participant_json(found_place.place) || group_commerce.place_terms(found_place.campaign));
    end if;
    -- The campaign of an archived product continues: taken places stay valid, but no new ones are sold.
    if found_place.is_archived then
      return platform.leave(call, 'campaigns.join',
        jsonb_build_object('error', 'campaign_not_open', 'detail', 'The product of this campaign is archived.'));
    end if;
    is_full := coalesce(found_place.fault->>'error' = 'campaign_full', false) and not found_place.has_offer;
    if is_full and not waits or found_place.fault->>'error' <> 'campaign_full' then
      -- without a lock, so that the joins of a full campaign do not queue up
      return platform.leave(call, 'campaigns.join', found_place.fault);
    end if;
    found_place.fault := group_commerce.joiner_fault(found_place.campaign, joining_user);
    if found_place.fault is not null then
      return platform.leave(call, 'campaigns.join', found_place.fault);
    end if;
    place_input := group_commerce.prepare_place(found_place.campaign, found_place.has_tax and not is_full,
      case when is_full then input - 'shippingOptionId' else input end); -- the price of a place is not fixed by waiting
    if place_input ? 'error' then
      return platform.leave(call, 'campaigns.join', place_input);
    elsif is_full and (found_place.entry).id is not null then
      return platform.leave(call, 'campaigns.join', group_commerce.waiting_answer(found_place.entry));
    elsif is_full and is_locked then
      return platform.leave(call, 'campaigns.join',
        group_commerce.enter_waiting_list((found_place.campaign).id, joining_user));
    elsif not is_full and place_input ? 'taxQuestion' then -- not stored: the Worker asks, and calls again with `taxQuote`
      return jsonb_build_object('tenant', platform.tenant(), 'replayed', false,
        'answer', place_input || '{"error": "unavailable"}');
    elsif not is_full then
      begin
        answer := group_commerce.claim_place(found_place.campaign, found_place.grace, place_input, found_place.entry);
      exception when sqlstate 'FC001' then
        -- The contended rows (the campaign and the stock) are locked last. The writes before them are undone.
        answer := sqlerrm;
      end;
      exit when is_locked or not waits or answer->>'error' is distinct from 'campaign_full';
    end if;
    perform group_commerce.lock_campaign(input->>'campaignId');
    perform group_commerce.lapse_offers(input->>'campaignId');
    is_locked := true;
  end loop;
  return platform.leave(call, 'campaigns.join', answer);
end
$$;

-- Takes a place in the campaign, which was read as `c`. `w`: the user's entry in the waiting list, or null. An entry
-- with an offer takes the offered place. The place's payment is written first, because it needs no contended row. Then
-- one conditional update takes the place and decides success, and the same statement stores the participant
-- (participants_one_place_a_user) and campaign.joined. Then an entry in the waiting list ends, and a campaign with a
-- limit counts the customer's units. Raises FC001 with the answer if there is no place or no stock, or the customer has
-- too many units. Raises a serialization failure if the campaign became successful or the entry changed since they were
-- read, or if the same user joins at the same time: the Worker repeats the call, which then finds this.
create or replace function group_commerce.claim_place(c group_commerce.group_commerce_campaigns, grace_seconds integer,
  input jsonb, w group_commerce.waiting_places) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
  orders_now constant boolean := not group_commerce.is_collecting(c);
  total constant numeric := coalesce((input->'amounts'->>'total')::numeric, c.price);
  is_free constant boolean := total = 0;
  joining_user constant varchar := input->>'userId';
  units constant integer := (input->>'quantity')::integer;
  offers constant integer := coalesce(w.state = 'offered', false)::int;
  succeeds boolean;
  place record;
  participant group_commerce.participants;
  fault jsonb;
begin
  if not is_free then
    perform group_commerce.open_payment_of_place(c, input, total, c.end_time + make_interval(secs => grace_seconds),
      orders_now);
  end if;
  with taken as (
    update group_commerce.group_commerce_campaigns x
    set actual_participants = x.actual_participants + 1, offered_places = x.offered_places - offers,
        secured_participants = x.secured_participants + is_free::int,
        secured_units = x.secured_units + is_free::int * units,
        status = case when x.status = 'active' and x.min_participants <= case x.success_on
            when 'joined' then x.actual_participants + 1 else x.secured_participants + is_free::int end
          then 'successful' else x.status end,
        version = platform.next_version(x.version), updated_at = now_at
    where x.id = c.id and x.status = c.status and x.settled_price is null
      and x.offered_places >= offers and x.actual_participants + x.offered_places - offers < x.max_participants
    returning x as campaign
  ), joined as (
    insert into group_commerce.participants as p (id, tenant_id, campaign_id, user_id, order_id, payment_id,
      shipping_address, state, joined_at, secure_by, secured_at, updated_at, email, billing_address, metadata, amounts,
      sku, quantity, invited_by)
    select input->>'participantId', tenant, c.id, joining_user, input->>'orderId',
      case when not is_free then input->>'paymentId' end, nullif(input->'shippingAddress', 'null'),
      case when orders_now then 'ordered' when is_free then 'secured' else 'joined' end, now_at,
      case when not is_free then now_at + make_interval(secs => case when orders_now then grace_seconds
        else (input->>'secureSeconds')::int end) end,
      case when is_free then now_at end, now_at, input->>'email', nullif(input->'billingAddress', 'null'),
      nullif(input->'metadata', 'null'), input->'amounts', input->>'sku', units, input->>'invitedBy'
    from taken
    on conflict (user_id, campaign_id, (coalesce(team_id, ''))) where state <> 'released' do nothing
    returning p as participant
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'group-commerce.campaign.joined', c.id, jsonb_build_object(
      'campaign', group_commerce.campaign_json(t.campaign), 'userId', joining_user), platform.trace(), now_at
    from taken t, joined
    returning seq
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, c.id, platform.due_now() from event e, unnest(platform.sinks_of(not is_free)) s
  )
  select t.campaign, j.participant into place
  from (select 1) one left join taken t on true left join joined j on true;
  participant := place.participant;
  if participant.id is null then
    select case when place.campaign is null and not exists (select from group_commerce.participants p
        where p.campaign_id = x.id and p.user_id = joining_user and p.state <> 'released')
      then group_commerce.join_fault(x) end
    into fault from group_commerce.group_commerce_campaigns x where x.id = c.id;
    if fault is not null then
      raise exception using errcode = 'FC001', message = fault::text;
    end if;
    raise exception using errcode = 'serialization_failure',
      message = 'the campaign changed, or the user joins at the same time';
  end if;
  if w.id is not null or (place.campaign).offered_places > 0 then
    perform group_commerce.take_entry(c.id, joining_user, w);
  end if;
  if c.max_per_customer is not null then
    perform group_commerce.count_units(c, joining_user, units);
  end if;
  succeeds := c.status = 'active' and (place.campaign).status = 'successful';
  c := place.campaign;
  if orders_now then
    perform group_commerce.create_place_order(c, participant);
  end if;
  fault := inventory.hold_units(participant.order_id, participant.sku, units, case when orders_now and not is_free
    then participant.secure_by else 'infinity' end);
  if fault is not null then
    raise exception using errcode = 'FC001',
      message = jsonb_build_object('error', 'insufficient_inventory', 'shortages', fault)::text;
  end if;
  if orders_now then
    perform inventory.emit_reserved(array[participant.order_id::text]);
    participant := group_commerce.confirm_free_place(c, participant);
  elsif succeeds then
    perform group_commerce.emit_campaign(c, 'successful', true);
  end if;
  return group_commerce.participant_json(participant) || group_commerce.place_terms(c)
    || jsonb_build_object('changedSkus', jsonb_build_array(participant.sku));
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.join_campaign to fusion_worker;
