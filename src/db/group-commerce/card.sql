-- requires: platform/access.sql, platform/moves.sql, group-commerce/teams.sql

-- The public card of a team: the product, the price and the free places, and nobody's id. It needs the job secret, but
-- no key: the code is random enough that only people with the share link know it. The team may be of any tenant.
-- `input`: {code}; the code of a merged team shows the team that it was merged into. Returns {tenant, answer}. If no
-- team here has the code, returns {answer: null, cells}: the team may be in one of these cells, to which tenants have
-- moved whose rows are deleted here. Raises moved if another cell serves its tenant.
create or replace function group_commerce.show_card(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  away constant text[] := platform.enter_to_find(call);
  team constant group_commerce.teams := group_commerce.find_team(null, input->>'code');
  answer jsonb;
begin
  if team.id is null then
    return jsonb_build_object('answer', null, 'cells', platform.cells_of_purged());
  end if;
  if team.tenant_id = any(away) then
    perform platform.refuse_away(team.tenant_id, 'campaigns:read');
  end if;
  perform platform.act_as(team.tenant_id);
  select jsonb_build_object('title', p.name, 'description', left(p.description, 300), 'image', p.images->0,
    'status', team.status, 'size', team.size, 'joined', team.joined, 'price', c.price,
    'originalPrice', c.original_price, 'currency', c.currency, 'endTime', platform.iso(team.end_time),
    'teamId', team.id, 'campaignId', c.id, 'productId', p.id, 'open', p.status <> 'archived'
      and group_commerce.team_fault(team) is null and group_commerce.teams_fault(c) is null)
  into answer
  from group_commerce.group_commerce_campaigns c join catalog.products p on p.id = c.product_id
  where c.id = team.campaign_id;
  return jsonb_build_object('tenant', team.tenant_id, 'answer', answer);
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.show_card to fusion_worker;
