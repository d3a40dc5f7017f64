-- requires: platform/access.sql, group-commerce/places.sql
-- What a customer's session may reach of group commerce.

-- Whether the place with this order is the caller's: a secret key reaches every place of its tenant, a session those of
-- its customer. For payments: a place has a payment before it has an order.
create or replace function group_commerce.may_reach_place(order_id varchar) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select platform.shopper() is null or exists (select from group_commerce.participants p
    where p.order_id = may_reach_place.order_id and p.user_id = platform.shopper()->>'customer')
$$;

-- A page of the places that a session's customer has and had in a campaign, newest first. `input`: {campaignId,
-- teamId?, before?, limit}. Raises not_found (no such campaign). The answer is an array of places.
create or replace function group_commerce.show_places(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'campaigns:write', '{session}');
  customer constant varchar := platform.shopper()->>'customer';
  campaign group_commerce.group_commerce_campaigns;
  answer jsonb;
begin
  select * into campaign from group_commerce.group_commerce_campaigns c where c.id = input->>'campaignId';
  if not found then
    perform platform.fail('not_found');
  end if;
  select coalesce(jsonb_agg(group_commerce.participant_json(p) || group_commerce.place_terms(campaign)
    order by p.id desc), '[]') into answer
  from group_commerce.participants p
  where p.id = any(array(
    select e.id
    from ( -- one look-up for each of the two indexes on the user
      select x.id, x.team_id from group_commerce.participants x
      where x.user_id = customer and x.campaign_id = campaign.id and x.state <> 'released'
      union all
      select x.id, x.team_id from group_commerce.participants x
      where x.user_id = customer and x.campaign_id = campaign.id and x.state = 'released'
    ) e
    where (input->>'teamId' is null or e.team_id = input->>'teamId')
      and (input->>'before' is null or e.id < input->>'before')
    order by e.id desc limit (input->>'limit')::int));
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', answer);
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.may_reach_place to fusion_payments;
grant execute on function group_commerce.show_places to fusion_worker;
