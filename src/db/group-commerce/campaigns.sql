-- requires: platform/access.sql, platform/currencies.sql, platform/events.sql, group-commerce/campaign-rules.sql
-- Campaigns. The locked row of a pool decides about its places, never a count that was read before. A campaign with
-- teams is decided by the rows of its teams, and nothing that a team does writes the campaign's row.

-- The counts of a campaign's teams that are forming or have succeeded, in place of the counts of a pool.
create or replace function group_commerce.team_counts(of_campaign varchar) returns jsonb
language sql stable as $$
  select jsonb_build_object('actualParticipants', coalesce(sum(t.joined), 0),
    'securedParticipants', coalesce(sum(t.secured), 0),
    'formingTeams', count(*) filter (where t.status = 'forming'),
    'successfulTeams', count(*) filter (where t.status = 'successful'))
  from group_commerce.teams t
  where t.campaign_id = of_campaign and t.status in ('forming', 'successful')
$$;

-- The price at these counts of secured places and units: that of the last tier that is reached, or the entry price.
create or replace function group_commerce.tier_price(tiers jsonb, entry_price numeric, participants integer,
  units integer) returns numeric
language plpgsql immutable as $$
declare
  tier jsonb;
  price numeric := entry_price;
begin
  for tier in select jsonb_array_elements(tiers) loop
    exit when coalesce((tier->>'participants')::integer > participants, (tier->>'units')::integer > units);
    price := (tier->>'price')::numeric;
  end loop;
  return price;
end
$$;

-- The price that the secured places have reached, and the next tier: {currentPrice, nextTier: {participants | units,
-- price, missing} | null}.
create or replace function group_commerce.tier_progress(c group_commerce.group_commerce_campaigns) returns jsonb
language sql stable as $$
  select jsonb_build_object(
    'currentPrice', coalesce(c.settled_price,
      group_commerce.tier_price(c.tiers, c.price, c.secured_participants, c.secured_units)),
    'nextTier', case when c.settled_price is null then (
      select tier || jsonb_build_object('missing', coalesce((tier->>'participants')::integer - c.secured_participants,
        (tier->>'units')::integer - c.secured_units))
      from jsonb_array_elements(c.tiers) with ordinality e(tier, ord)
      where coalesce((tier->>'participants')::integer > c.secured_participants,
        (tier->>'units')::integer > c.secured_units)
      order by ord limit 1) end)
$$;

create or replace function group_commerce.campaign_json(c group_commerce.group_commerce_campaigns) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', c.id, 'productId', c.product_id, 'sku', c.sku,
      'skus', coalesce(to_jsonb(c.skus), jsonb_build_array(c.sku)), 'mode', c.mode,
      'minParticipants', c.min_participants, 'maxParticipants', c.max_participants,
      'actualParticipants', c.actual_participants, 'securedParticipants', c.secured_participants,
      'securedUnits', c.secured_units, 'maxPerCustomer', c.max_per_customer, 'joiners', c.joiners,
      'successOn', c.success_on, 'price', c.price, 'originalPrice', c.original_price, 'currency', c.currency,
      'tiers', coalesce(c.tiers, '[]'), 'settledPrice', c.settled_price, 'currentPrice', c.price, 'nextTier', null,
      'teamSize', c.team_size, 'teamSeconds', c.team_seconds, 'onShort', c.on_short, 'formingTeams', null,
      'successfulTeams', null, 'startTime', platform.iso(c.start_time), 'endTime', platform.iso(c.end_time),
      'status', c.status, 'createdAt', platform.iso(c.created_at))
    || case when c.mode = 'teams' then group_commerce.team_counts(c.id)
      when c.tiers is not null then group_commerce.tier_progress(c) else '{}' end
$$;

create or replace function group_commerce.emit_campaign(c group_commerce.group_commerce_campaigns, fact text,
  queue boolean) returns void
language sql as $$
  select platform.emit('group-commerce.campaign.' || fact, c.id, group_commerce.campaign_json(c), queue)
$$;

-- `input`: {id, productId, minParticipants, maxParticipants, price, originalPrice?, startTime, endTime, successOn,
-- mode?, teamSize?, teamSeconds?, onShort?, tiers?, skus?, maxPerCustomer?, joiners?}. Returns the error
-- validation_failed (campaign_faults). Emits campaign.created.
create or replace function group_commerce.create_campaign(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'campaigns:write', 'campaigns.create');
  product catalog.products;
  campaign group_commerce.group_commerce_campaigns;
  faults jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  select * into product from catalog.products x
    where x.id = input->>'productId' and x.status = 'active';
  faults := group_commerce.campaign_faults(input, product);
  if faults is not null then
    return platform.leave(call, 'campaigns.create',
      jsonb_build_object('error', 'validation_failed', 'errors', faults));
  end if;
  insert into group_commerce.group_commerce_campaigns (id, tenant_id, product_id, sku, currency, min_participants,
    max_participants, actual_participants, price, original_price, start_time, end_time, status, success_on, mode,
    team_size, team_seconds, on_short, tiers, skus, max_per_customer, joiners, created_at, updated_at)
  values (input->>'id', platform.tenant(), product.id, product.sku, product.currency, (input->>'minParticipants')::int,
    (input->>'maxParticipants')::int, 0, (input->>'price')::numeric,
    coalesce((input->>'originalPrice')::numeric, product.price), (input->>'startTime')::timestamptz,
    (input->>'endTime')::timestamptz, 'active', input->>'successOn', coalesce(input->>'mode', 'pool'),
    (input->>'teamSize')::int, (input->>'teamSeconds')::int, input->>'onShort', nullif(input->'tiers', 'null'),
    -- Only the product: as without `skus`.
    (select array_agg(s order by ord) from jsonb_array_elements_text(input->'skus') with ordinality e(s, ord)
      having count(*) > 1), (input->>'maxPerCustomer')::int,
    coalesce(input->>'joiners', 'all'), platform.clock(), platform.clock())
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

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.campaign_json, group_commerce.team_counts, group_commerce.tier_price,
  group_commerce.tier_progress to fusion_reader;
grant execute on function group_commerce.create_campaign to fusion_worker;
