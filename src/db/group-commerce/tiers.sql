-- requires: group-commerce/places.sql, platform/set-aside.sql
-- Prices of pools with tiers. Such a campaign is successful at its minimum, and stays successful if places are left
-- later. Its price is fixed once, by the secured places: in the statement that secures the last place of a full
-- campaign (count_secured), or at its end (price_campaigns). Both set `settled_price` only while it is null. The
-- campaign settles after that. A charge that fails later does not change the price.

-- The cron's job that fixes the price of successful campaigns with tiers that have ended. `input`: {limit}. Returns
-- {priced, tenants}; repeat until priced is 0. Emits campaign.priced, whose consumer settles the campaign.
create or replace function group_commerce.price_campaigns(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  priced integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('campaigns');
  for due in
    select d.tenant_id, array_agg(d.id::text order by d.id) as ids from (
      select x.id, x.tenant_id from group_commerce.group_commerce_campaigns x
      where x.status = 'successful' and x.tiers is not null and x.settled_price is null
        and x.end_time <= platform.clock() and x.id <> all(excluded_ids)
      order by x.end_time limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('campaigns', 'group_commerce.price_campaigns_step', due.tenant_id, due.ids, input))
    loop
      priced := priced + (result->>'priced')::int;
    end loop;
  end loop;
  return jsonb_build_object('priced', priced);
end
$$;

-- The step of price_campaigns for one tenant. Updates the campaigns by id, one after the other. A campaign that another
-- run or its last place has priced meanwhile is left as it is.
create or replace function group_commerce.price_campaigns_step(ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  campaign_id text;
  campaign group_commerce.group_commerce_campaigns;
  priced integer := 0;
begin
  foreach campaign_id in array ids loop
    update group_commerce.group_commerce_campaigns x
    set settled_price = group_commerce.tier_price(x.tiers, x.price, x.secured_participants, x.secured_units),
        version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = campaign_id and x.status = (select 'successful') and x.tiers is not null and x.settled_price is null
      and x.end_time <= platform.clock()
    returning * into campaign;
    if found then
      perform group_commerce.emit_campaign(campaign, 'priced', true);
      priced := priced + 1;
    end if;
  end loop;
  return jsonb_build_object('priced', priced);
end
$$;

-- What a place costs at the settled price of its campaign: the amounts that it froze, computed again with the same tax
-- rates and shipping. Null for a place without amounts: it costs the settled price.
create or replace function group_commerce.final_amounts(c group_commerce.group_commerce_campaigns,
  p group_commerce.participants) returns jsonb
language sql stable as $$
  select case when p.amounts is not null then orders.reprice_place(jsonb_build_object('amounts', p.amounts,
    'sku', coalesce(p.sku, c.sku), 'quantity', p.quantity, 'price', c.settled_price, 'currency', c.currency)) end
$$;

-- Why a new place of a campaign with tiers could not be charged at its lowest price, as a sentence. Null if it could,
-- or without tiers.
create or replace function group_commerce.lowest_price_fault(c group_commerce.group_commerce_campaigns, input jsonb)
returns text
language sql stable as $$
  select case when c.tiers is not null then platform.charge_fault((orders.reprice_place(input || jsonb_build_object(
    'price', c.tiers->-1->'price', 'currency', c.currency))->>'total')::numeric, c.currency) end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.price_campaigns to fusion_worker;
