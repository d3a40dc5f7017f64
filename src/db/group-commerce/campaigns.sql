-- requires: platform/access.sql, platform/currencies.sql, platform/events.sql, inventory/campaign-holds.sql, orders/campaign-places.sql, payments/payments.sql, payments/campaign-places.sql
-- Campaigns and their places. Lock order: the campaign, its participants by id, then the rows that every order locks
-- (order, payment, reservation, stock). The campaign's locked row decides, never a count that was read before.

create or replace function group_commerce.campaign_json(c group_commerce.group_commerce_campaigns) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', c.id, 'productId', c.product_id, 'sku', c.sku, 'minParticipants', c.min_participants,
    'maxParticipants', c.max_participants, 'actualParticipants', c.actual_participants,
    'securedParticipants', c.secured_participants, 'successOn', c.success_on, 'price', c.price,
    'originalPrice', c.original_price, 'currency', c.currency, 'startTime', platform.iso(c.start_time),
    'endTime', platform.iso(c.end_time), 'status', c.status, 'createdAt', platform.iso(c.created_at))
$$;

create or replace function group_commerce.participant_json(p group_commerce.participants) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', p.id, 'campaignId', p.campaign_id, 'userId', p.user_id, 'orderId', p.order_id,
    'paymentId', p.payment_id, 'shippingAddress', p.shipping_address, 'state', p.state, 'reason', p.reason,
    'secureBy', case when p.secured_at is null and p.state in ('joined', 'ordered') then platform.iso(p.secure_by) end,
    'joinedAt', platform.iso(p.joined_at), 'updatedAt', platform.iso(p.updated_at), 'email', p.email,
    'billingAddress', p.billing_address, 'metadata', p.metadata, 'amounts', p.amounts)
$$;

-- What an answer about a place needs of its campaign: the price of a place without amounts, and the SKU whose stock
-- changed.
create or replace function group_commerce.place_terms(c group_commerce.group_commerce_campaigns) returns jsonb
language sql stable as $$
  select jsonb_build_object('price', c.price, 'currency', c.currency, 'sku', c.sku)
$$;

-- The input of a join or leave by a customer's session, as that customer: their id is `userId`, their e-mail is `email`
-- unless one is given. Locks the customer against its erasure. Raises forbidden if the session names another user.
create or replace function group_commerce.as_customer(input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  customer constant varchar := platform.shopper()->>'customer';
begin
  if input->>'userId' <> customer then
    perform platform.fail('forbidden', jsonb_build_object('reason',
      'A customer session joins and leaves as its own customer: leave userId out.'));
  end if;
  return jsonb_build_object('email', orders.email_of(customer)) || input || jsonb_build_object('userId', customer);
end
$$;

create or replace function group_commerce.emit_campaign(c group_commerce.group_commerce_campaigns, fact text,
  queue boolean) returns void
language sql as $$
  select platform.emit('group-commerce.campaign.' || fact, c.id, group_commerce.campaign_json(c), queue)
$$;

-- `input`: {id, productId, minParticipants, maxParticipants, price, originalPrice?, startTime, endTime, successOn}.
-- Returns the error validation_failed (see `fault` below). Emits campaign.created.
create or replace function group_commerce.create_campaign(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'campaigns:write', 'campaigns.create');
  product catalog.products;
  campaign group_commerce.group_commerce_campaigns;
  campaign_price constant numeric := (input->>'price')::numeric;
  original numeric;
  fault jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  select * into product from catalog.products x
    where x.id = input->>'productId' and x.status = 'active';
  original := coalesce((input->>'originalPrice')::numeric, product.price);
  fault := case
    when product.id is null then jsonb_build_object('pointer', '/productId', 'detail', 'No such product is for sale.')
    when (input->>'endTime')::timestamptz <= platform.clock() then
      jsonb_build_object('pointer', '/endTime', 'detail', 'must be in the future')
    when campaign_price > original then jsonb_build_object('pointer', '/price', 'detail',
      format('must not be above the original price, %s', original))
    when scale(trim_scale(campaign_price)) > platform.currency_decimals(product.currency) then
      jsonb_build_object('pointer', '/price', 'detail', format('%s has no decimals.', product.currency))
    when scale(trim_scale(original)) > platform.currency_decimals(product.currency) then
      jsonb_build_object('pointer', '/originalPrice', 'detail', format('%s has no decimals.', product.currency))
    when platform.charge_fault(campaign_price, product.currency) is not null then -- a place is one unit
      jsonb_build_object('pointer', '/price', 'detail', platform.charge_fault(campaign_price, product.currency))
  end;
  if fault is not null then
    return platform.leave(call, 'campaigns.create',
      jsonb_build_object('error', 'validation_failed', 'errors', jsonb_build_array(fault)));
  end if;
  insert into group_commerce.group_commerce_campaigns (id, tenant_id, product_id, sku, currency, min_participants,
    max_participants, actual_participants, price, original_price, start_time, end_time, status, success_on,
    created_at, updated_at)
  values (input->>'id', platform.tenant(), product.id, product.sku, product.currency, (input->>'minParticipants')::int,
    (input->>'maxParticipants')::int, 0, campaign_price, original, (input->>'startTime')::timestamptz,
    (input->>'endTime')::timestamptz, 'active', input->>'successOn', platform.clock(), platform.clock())
  returning * into campaign;
  perform group_commerce.emit_campaign(campaign, 'created', false);
  return platform.leave(call, 'campaigns.create', group_commerce.campaign_json(campaign));
end
$$;

-- Locks the campaign before any row of its places, so that its joins run one after the other. Raises not_found.
create or replace function group_commerce.lock_campaign(campaign_id varchar)
returns group_commerce.group_commerce_campaigns
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  campaign group_commerce.group_commerce_campaigns;
begin
  select * into campaign from group_commerce.group_commerce_campaigns x
    where x.id = campaign_id for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  return campaign;
end
$$;

-- Creates the order of a place, at the campaign's price and with the amounts that the place froze. The place already
-- holds its unit.
create or replace function group_commerce.create_place_order(campaign group_commerce.group_commerce_campaigns,
  participant group_commerce.participants) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  select orders.place_campaign_order(jsonb_build_object('id', participant.order_id, 'customerId', participant.user_id,
    'sku', campaign.sku, 'price', campaign.price, 'currency', campaign.currency, 'campaignId', campaign.id,
    'shippingAddress', participant.shipping_address, 'billingAddress', participant.billing_address,
    'email', participant.email, 'metadata', participant.metadata, 'amounts', participant.amounts))
$$;

-- Confirms the order of a place that costs nothing: it has no payment.
create or replace function group_commerce.confirm_free_place(campaign group_commerce.group_commerce_campaigns,
  participant group_commerce.participants) returns group_commerce.participants
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if participant.payment_id is null then
    perform orders.confirm_paid_order(participant.order_id);
    update group_commerce.participants x set state = 'charged' where x.id = participant.id returning * into participant;
  end if;
  return participant;
end
$$;

-- Frees places of one campaign and returns their SKUs. If `ending` is not null, also ends their payments with that
-- status and releases their units; for a place whose order has ended, the orders service has already done that. The
-- caller has locked the campaign and these participants. Emits campaign.left for each.
create or replace function group_commerce.free_places(campaign varchar, ids text[], why text, ending text)
returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  users text[];
  orders text[];
  secured integer;
  campaign_row group_commerce.group_commerce_campaigns;
begin
  with released as (
    update group_commerce.participants p
    set state = 'released', reason = why, updated_at = platform.clock()
    where p.id = any(ids) and p.state <> (select 'released')
    returning p.user_id, p.order_id, p.secured_at
  )
  select coalesce(array_agg(g.user_id order by g.order_id), '{}'),
    coalesce(array_agg(g.order_id::text order by g.order_id), '{}'), count(g.secured_at)
  into users, orders, secured from released g;
  if cardinality(users) = 0 then
    return '{}';
  end if;
  update group_commerce.group_commerce_campaigns x
  set actual_participants = x.actual_participants - cardinality(users),
      secured_participants = x.secured_participants - secured, version = platform.next_version(x.version),
      updated_at = platform.clock()
  where x.id = campaign returning * into campaign_row;
  if ending is not null then
    perform payments.end_for_orders(orders, ending, why);
    perform inventory.release(orders, why);
  end if;
  perform platform.emit('group-commerce.campaign.left', campaign_row.id,
    jsonb_build_object('campaign', group_commerce.campaign_json(campaign_row), 'userId', u, 'reason', why), false)
  from unnest(users) u;
  return array[campaign_row.sku::text];
end
$$;

-- `input`: {campaignId, userId?}; a customer's session leaves as its customer. Allowed while the campaign is active. A
-- user who has left already gets the same result. Raises not_found. Returns the error campaign_not_open. Emits
-- campaign.left, payment.cancelled, inventory.released. Locks the campaign, then the participant.
create or replace function group_commerce.leave_campaign(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'campaigns:write', 'campaigns.leave', '{session}');
  campaign group_commerce.group_commerce_campaigns;
  participant group_commerce.participants;
begin
  if replay is not null then
    return replay;
  end if;
  if platform.shopper() is not null then
    input := group_commerce.as_customer(input);
  end if;
  campaign := group_commerce.lock_campaign(input->>'campaignId');
  select * into participant from group_commerce.participants x
    where x.campaign_id = campaign.id and x.user_id = input->>'userId' and x.state <> 'released' for update;
  if not found then -- by idx_participants_released, whose condition is this status
    select * into participant from group_commerce.participants x
      where x.campaign_id = campaign.id and x.user_id = input->>'userId' and x.state = 'released'
      order by x.id desc limit 1 for update;
  end if;
  if participant.id is null then
    perform platform.fail('not_found');
  end if;
  if participant.state <> 'released' then
    if campaign.status <> 'active' then
      return platform.leave(call, 'campaigns.leave', jsonb_build_object('error', 'campaign_not_open',
        'detail', format('The campaign is %s.', campaign.status)));
    end if;
    perform group_commerce.free_places(campaign.id, array[participant.id::text], 'left', 'cancelled');
    select * into participant from group_commerce.participants x where x.id = participant.id;
  end if;
  return platform.leave(call, 'campaigns.leave',
    group_commerce.participant_json(participant) || group_commerce.place_terms(campaign));
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.campaign_json, group_commerce.participant_json, group_commerce.place_terms
  to fusion_reader;
grant execute on function group_commerce.create_campaign, group_commerce.leave_campaign to fusion_worker;
