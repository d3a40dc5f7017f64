-- requires: group-commerce/campaigns.sql, inventory/campaign-holds.sql, group-commerce/joiners.sql, orders/campaign-places.sql, payments/payments.sql, payments/campaign-places.sql
-- Places in pools and teams. Lock order: campaigns (of pools), teams, campaign customers, participants by id, then the
-- rows that every order locks (order, payment, reservation, stock). Several of one kind by id.

create or replace function group_commerce.participant_json(p group_commerce.participants) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', p.id, 'campaignId', p.campaign_id, 'teamId', p.team_id, 'userId', p.user_id,
    'sku', p.sku, 'quantity', p.quantity, 'orderId', p.order_id,
    'paymentId', p.payment_id, 'shippingAddress', p.shipping_address, 'state', p.state, 'reason', p.reason,
    'secureBy', case when p.secured_at is null and p.state in ('joined', 'ordered') then platform.iso(p.secure_by) end,
    'merge', p.merge, 'invitedBy', p.invited_by,
    'joinedAt', platform.iso(p.joined_at), 'updatedAt', platform.iso(p.updated_at), 'email', p.email,
    'billingAddress', p.billing_address, 'metadata', p.metadata, 'amounts', p.amounts)
$$;

-- The fields of the campaign that an answer about a place needs: the price, for a place without amounts, and the SKU,
-- for a place that an earlier release stored.
create or replace function group_commerce.place_terms(c group_commerce.group_commerce_campaigns) returns jsonb
language sql stable as $$
  select jsonb_build_object('price', coalesce(c.settled_price, c.price), 'currency', c.currency, 'campaignSku', c.sku)
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

-- Whether the places of a pool (`t` is null) or team are kept: it may still succeed, or has.
create or replace function group_commerce.keeps_places(c group_commerce.group_commerce_campaigns,
  t group_commerce.teams) returns boolean
language sql immutable as $$
  select case when t.id is null then c.status in ('active', 'successful')
    else t.status = 'successful' or t.status = 'forming' and c.status = 'active' end
$$;

-- Whether a pool takes places that wait for the campaign's end: until it succeeds or, if its price can still fall,
-- until it settles.
create or replace function group_commerce.is_collecting(c group_commerce.group_commerce_campaigns) returns boolean
language sql immutable as $$
  select c.status = 'active' or c.status = 'successful' and c.tiers is not null and c.settled_price is null
$$;

-- Checks what a new place asks for and fixes its amounts. `input`: as in join_campaign. Returns it with `sku`,
-- `quantity` and, for more than one unit or with taxes or a shipping option, `amounts`; {taxQuestion} until `taxQuote`
-- answers it; or an error (validation_failed, limit_per_customer).
create or replace function group_commerce.prepare_place(c group_commerce.group_commerce_campaigns, has_tax boolean,
  input jsonb) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  chosen_sku constant varchar := coalesce(input->>'sku', case when coalesce(cardinality(c.skus), 1) = 1 then c.sku end);
  quantity constant integer := coalesce((input->>'quantity')::integer, 1);
  faults jsonb := '[]';
  fault text;
  amounts jsonb;
begin
  if not has_tax and not input ?| '{sku,quantity,invitedBy,shippingOptionId}' and c.skus is null then
    return input || jsonb_build_object('sku', c.sku, 'quantity', 1); -- most places: one unit at the campaign's price
  end if;
  if input->>'invitedBy' is not null then
    faults := group_commerce.invite_faults(c.id, input);
  end if;
  if chosen_sku is null then
    fault := format('is required: one of %s', array_to_string(c.skus, ', '));
  elsif chosen_sku <> all(coalesce(c.skus, array[c.sku])) then
    fault := format('is not sold in this campaign: use one of %s', array_to_string(coalesce(c.skus, array[c.sku]), ', '));
  elsif chosen_sku <> c.sku then
    select 'is no longer for sale: use another SKU of this campaign' into fault where not exists (
      select from catalog.products p where p.tenant_id = c.tenant_id and p.sku = chosen_sku and p.status = 'active');
  end if;
  if fault is not null then
    faults := jsonb_build_array(jsonb_build_object('pointer', '/sku', 'detail', fault)) || faults;
  end if;
  if faults <> '[]' then
    return jsonb_build_object('error', 'validation_failed', 'errors', faults);
  elsif quantity > c.max_per_customer then
    return group_commerce.limit_fault(c, input->>'userId');
  end if;
  input := input || jsonb_build_object('sku', chosen_sku, 'quantity', quantity);
  if has_tax or quantity > 1 or input->>'shippingOptionId' is not null then
    amounts := orders.settle_place(input || jsonb_build_object('price', c.price, 'currency', c.currency)
      || case when c.tiers is not null then '{"keepTerms": true}'::jsonb else '{}' end);
    if amounts ?| '{error,taxQuestion}' then
      return amounts;
    end if;
    input := input || jsonb_build_object('amounts', amounts);
    fault := group_commerce.lowest_price_fault(c, input);
    if fault is not null then
      return jsonb_build_object('error', 'validation_failed', 'errors',
        jsonb_build_array(jsonb_build_object('pointer', '', 'detail', fault)));
    end if;
  end if;
  return input;
end
$$;

-- The error limit_per_customer, with the units that the customer has already.
create or replace function group_commerce.limit_fault(c group_commerce.group_commerce_campaigns, of_user varchar)
returns jsonb
language sql stable as $$
  select jsonb_build_object('error', 'limit_per_customer', 'detail', format(
    'A customer may have %s of this campaign%s. %s taken so far.',
    case c.max_per_customer when 1 then 'one unit' else c.max_per_customer || ' units' end,
    case c.mode when 'teams' then ', in all teams together' end,
    coalesce((select case n.units when 0 then 'None is' when 1 then 'One is' else n.units || ' are' end
      from group_commerce.campaign_customers n where n.campaign_id = c.id and n.user_id = of_user), 'None is')))
$$;

-- Counts the units of a new place for its customer (campaign_customers), up to the campaign's `maxPerCustomer`. Raises
-- FC001 with limit_per_customer. The caller has taken the place in the campaign or team.
create or replace function group_commerce.count_units(c group_commerce.group_commerce_campaigns, of_user varchar,
  new_units integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  insert into group_commerce.campaign_customers as n (campaign_id, user_id, tenant_id, units)
  values (c.id, of_user, platform.tenant(), new_units)
  on conflict (campaign_id, user_id) do update set units = n.units + excluded.units
  where n.units + excluded.units <= c.max_per_customer;
  if not found then
    raise exception using errcode = 'FC001', message = group_commerce.limit_fault(c, of_user)::text;
  end if;
end
$$;

-- Opens the payment of a new place. It is held if the latest possible end of the campaign or team, with the time for
-- late payers, is near enough for an authorization. Otherwise the card is saved. If the price can still fall, the hold
-- authorizes the entry price, and less may be captured. Nothing to do for a free place. With the search_path of its
-- callers, so that PostgreSQL inlines it.
create or replace function group_commerce.open_payment_of_place(c group_commerce.group_commerce_campaigns, input jsonb,
  total numeric, latest_end timestamptz, is_charged_at_once boolean) returns void
language sql as $$
  select payments.add_place_payment(input, c.id, total, c.currency, case when is_charged_at_once then 'order'
      when latest_end <= platform.clock() + make_interval(secs => (input->>'holdWithinSeconds')::int) then 'hold'
      else 'card' end, c.tiers is not null)
$$;

-- Locks the campaigns of these orders if they are pools, their teams, their customers' counters and their places, each
-- by id. Payments calls this before it locks anything else, so that no transaction waits for a campaign or team while
-- it has locked an order. Raises a serialization failure if a team was merged meanwhile: the Worker repeats the call.
create or replace function group_commerce.lock_places(order_ids text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  places record;
begin
  select array_agg(p.campaign_id) filter (where p.team_id is null) as pools,
    array_agg(p.team_id) filter (where p.team_id is not null) as teams,
    array_agg(p.campaign_id) as campaigns, array_agg(p.user_id) as users
  into places from group_commerce.participants p where p.order_id = any(order_ids);
  if places.campaigns is null then
    return;
  end if;
  if places.pools is not null then
    perform 1 from group_commerce.group_commerce_campaigns c where c.id = any(places.pools) order by c.id for update;
  end if;
  if places.teams is not null then
    perform 1 from group_commerce.teams t where t.id = any(places.teams) order by t.id for update;
  end if;
  perform 1 from group_commerce.campaign_customers n
    where (n.campaign_id, n.user_id) in (select * from unnest(places.campaigns, places.users))
    order by n.campaign_id, n.user_id for update;
  perform 1 from group_commerce.participants p
    where p.order_id = any(order_ids) order by p.id for update;
  if places.teams is not null and exists (select from group_commerce.participants p
    where p.order_id = any(order_ids) and p.team_id <> all(places.teams)) then
    raise exception using errcode = 'serialization_failure', message = 'a team was merged meanwhile';
  end if;
end
$$;

-- The payments of these users' places. `joins`: [{campaignId, userId}]. For payments.
create or replace function group_commerce.payments_of_places(joins jsonb) returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
  select coalesce(array_agg(p.payment_id::text), '{}')
  from unnest(array(select j->>'userId' from jsonb_array_elements(joins) j),
    array(select j->>'campaignId' from jsonb_array_elements(joins) j)) j(user_id, campaign_id)
  join group_commerce.participants p on p.user_id = j.user_id and p.campaign_id = j.campaign_id and p.state <> 'released'
$$;

-- Creates the order of a place, at the campaign's price and with the amounts that the place froze. The place already
-- holds its units.
create or replace function group_commerce.create_place_order(campaign group_commerce.group_commerce_campaigns,
  participant group_commerce.participants) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  select orders.place_campaign_order(jsonb_build_object('id', participant.order_id, 'customerId', participant.user_id,
    'sku', coalesce(participant.sku, campaign.sku), 'quantity', participant.quantity,
    'price', coalesce(campaign.settled_price, campaign.price), 'currency', campaign.currency, 'campaignId', campaign.id,
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

-- Locks the counters of the customers of these places, in a campaign with a limit, before the places are locked.
create or replace function group_commerce.lock_counters(of_campaign varchar, ids text[]) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  select 1 from group_commerce.campaign_customers n
  where n.campaign_id = of_campaign and n.user_id = any(array(
    select x.user_id from group_commerce.participants x where x.id = any(ids)))
  order by n.user_id for update
$$;

-- Gives the units of released places back to their customers, in a campaign with a limit. The caller has locked the
-- customers' counters.
create or replace function group_commerce.give_units_back(campaign varchar, users text[], quantities integer[])
returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update group_commerce.campaign_customers n set units = n.units - r.units
  from (select u.user_id, sum(u.quantity) as units from unnest(users, quantities) u(user_id, quantity) group by 1) r
  where n.campaign_id = campaign and n.user_id = r.user_id
$$;

-- Frees places of one campaign and returns the SKUs whose stock changes. If `ending` is not null, also ends their
-- payments with that status and releases their units; for a place whose order has ended, the orders service has already
-- done that. The caller has locked the places (lock_places). If the leader of a team is among them, the earliest member
-- leads; a forming team without members is cancelled. The places of a pool are offered to its waiting list. Emits
-- campaign.left or team.left for each, team.cancelled, place.offered.
create or replace function group_commerce.free_places(campaign varchar, ids text[], why text, ending text)
returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  freed record;
  campaign_row group_commerce.group_commerce_campaigns;
begin
  with released as (
    update group_commerce.participants p
    set state = 'released', reason = why, updated_at = platform.clock()
    where p.id = any(ids) and p.state <> (select 'released')
    returning p.user_id, p.order_id, p.secured_at, p.quantity, p.sku, p.team_id
  )
  select array_agg(g.user_id::text order by g.order_id) as users, array_agg(g.quantity order by g.order_id) as quantities,
    array_agg(g.order_id::text order by g.order_id) as orders, array_agg(distinct g.sku::text) as skus,
    count(*) as places, count(g.secured_at) as secured,
    coalesce(sum(g.quantity) filter (where g.secured_at is not null), 0) as secured_units,
    array_agg(distinct g.team_id::text) filter (where g.team_id is not null) as teams
  into freed from released g;
  if freed.places = 0 then
    return '{}';
  end if;
  if freed.teams is null then
    update group_commerce.group_commerce_campaigns x
    set actual_participants = x.actual_participants - freed.places,
        secured_participants = x.secured_participants - freed.secured,
        secured_units = x.secured_units - freed.secured_units, version = platform.next_version(x.version),
        updated_at = platform.clock()
    where x.id = campaign returning * into campaign_row;
    perform platform.emit('group-commerce.campaign.left', campaign_row.id,
      jsonb_build_object('campaign', group_commerce.campaign_json(campaign_row), 'userId', u, 'reason', why), false)
    from unnest(freed.users) u;
    perform group_commerce.offer_places(campaign);
  else
    select * into campaign_row from group_commerce.group_commerce_campaigns x where x.id = campaign;
    perform group_commerce.shrink_teams(freed.teams, freed.orders, why);
  end if;
  if campaign_row.max_per_customer is not null then
    perform group_commerce.give_units_back(campaign, freed.users, freed.quantities);
  end if;
  if ending is not null then
    perform payments.end_for_orders(freed.orders, ending, why);
    perform inventory.release(freed.orders, why);
  end if;
  return array(select distinct coalesce(s, campaign_row.sku) from unnest(freed.skus) s);
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.participant_json, group_commerce.place_terms to fusion_reader;
grant execute on function group_commerce.lock_places, group_commerce.payments_of_places to fusion_payments;
