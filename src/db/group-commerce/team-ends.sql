-- requires: group-commerce/team-merges.sql, platform/set-aside.sql
-- How teams and campaigns with teams end. A team whose time is over is merged into another team, or expires. Lock
-- order: teams by id, places by id. Nothing here locks a campaign's row together with a team.

-- Ends the teams whose time is over. `input`: {limit}. Returns {ended}; repeat until it is 0. The tenants take turns.
-- A call takes no further team once its teams have 3000 places that may move, because it must end before its timeout.
-- Emits team.merged, team.successful, team.expired, team.cancelled (its campaign was cancelled).
create or replace function group_commerce.end_teams(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan as $$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  ended integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('campaigns');
  for due in
    select d.tenant_id, array_agg(d.id::text order by d.id) as ids from (
      select h.tenant_id, h.id, sum(h.places) over (order by h.turn, h.end_time, h.id) - h.places as places_before
      from platform.tenants_with_rows('group_commerce.teams', 'status = ''forming''') t(id)
      cross join lateral (
        select x.tenant_id, x.id, x.end_time, row_number() over (order by x.end_time, x.id) as turn,
          case x.merge_refusals when 0 then x.joined else 0 end as places
        from group_commerce.teams x
        where x.tenant_id = t.id and x.status = 'forming' and x.end_time <= platform.clock()
          and x.id <> all(excluded_ids)
        order by x.end_time, x.id limit (input->>'limit')::int
      ) h
      order by h.turn, h.end_time, h.id limit (input->>'limit')::int
    ) d where d.places_before < 3000 group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('campaigns', 'group_commerce.end_teams_step', due.tenant_id, due.ids,
        jsonb_build_object('excluded', excluded_ids)))
    loop
      ended := ended + (result->>'ended')::int;
    end loop;
  end loop;
  return jsonb_build_object('ended', ended);
end
$$;

-- The step of end_teams for one tenant. Locks these teams and the teams that they may be merged into in one statement,
-- by id, and decides from the locked rows. Joins, leaves, payments and other runs of this function wait for these
-- locks, and then read the new state of a team.
create or replace function group_commerce.end_teams_step(ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  target_ids text[];
  merges record;
  team group_commerce.teams;
  ended integer := 0;
begin
  target_ids := group_commerce.find_merge_targets(ids, input->'excluded');
  perform 1 from group_commerce.teams t where t.id = any(ids || target_ids) order by t.id for update;
  if cardinality(target_ids) > 0 then
    select * into merges from group_commerce.plan_merges(ids, target_ids);
    if cardinality(merges.moved) > 0 then
      ended := group_commerce.merge_teams(merges.moved, merges.targets);
    end if;
  end if;
  for team in
    update group_commerce.teams x
    set status = case c.status when 'failed' then 'cancelled' else 'expired' end,
        version = platform.next_version(x.version), updated_at = platform.clock()
    from group_commerce.group_commerce_campaigns c
    where x.id = any(ids) and x.status = (select 'forming') and x.end_time <= platform.clock() and c.id = x.campaign_id
    returning x.*
  loop
    if team.status = 'cancelled' then
      perform group_commerce.emit_team(team, 'cancelled', '{}', true);
    else
      perform group_commerce.emit_team(team, 'expired', '{}', true);
    end if;
    ended := ended + 1;
  end loop;
  return jsonb_build_object('ended', ended);
end
$$;

-- Ends active campaigns with teams whose time is over and of which no team is forming: as successful if one of its
-- teams has succeeded, otherwise as expired. It marks them as settled, because the places are settled by team. `input`:
-- {limit}. Returns {ended}; repeat until it is 0. Emits campaign.successful or campaign.expired.
create or replace function group_commerce.end_campaigns_of_teams(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  ended integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('campaigns');
  for due in
    select d.tenant_id, array_agg(d.id::text order by d.id) as ids from (
      select x.id, x.tenant_id from group_commerce.group_commerce_campaigns x
      where x.status = 'active' and x.end_time <= platform.clock() and x.mode = 'teams' and x.id <> all(excluded_ids)
        and not exists (select from group_commerce.teams t where t.campaign_id = x.id and t.status = 'forming')
      order by x.end_time limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('campaigns', 'group_commerce.end_campaigns_of_teams_step', due.tenant_id, due.ids, input))
    loop
      ended := ended + (result->>'ended')::int;
    end loop;
  end loop;
  return jsonb_build_object('ended', ended);
end
$$;

-- The step of end_campaigns_of_teams for one tenant. Updates the campaigns by id, one after the other.
create or replace function group_commerce.end_campaigns_of_teams_step(ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  campaign_id text;
  campaign group_commerce.group_commerce_campaigns;
  ended integer := 0;
begin
  foreach campaign_id in array ids loop
    update group_commerce.group_commerce_campaigns x
    set status = case when exists (select from group_commerce.teams t
          where t.campaign_id = x.id and t.status = 'successful') then 'successful' else 'expired' end,
        settled_at = platform.clock(), version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = campaign_id and x.status = (select 'active') and x.end_time <= platform.clock()
      and not exists (select from group_commerce.teams t where t.campaign_id = x.id and t.status = 'forming')
    returning * into campaign;
    if found then
      perform group_commerce.emit_campaign(campaign, campaign.status, true);
      ended := ended + 1;
    end if;
  end loop;
  return jsonb_build_object('ended', ended);
end
$$;

-- Cancels up to `limit` forming teams of a cancelled campaign; the consumer of team.cancelled releases their places.
-- Teams that have succeeded keep their places. A team that was being opened while the campaign was cancelled may appear
-- a moment later, so the campaign is marked as settled only `settleSeconds` after it was cancelled. `input`: {tenant?,
-- campaignId?, limit, settleSeconds}; without a campaign, one of any tenant that has work left. Returns {done, more};
-- repeat while `more`. Emits team.cancelled.
create or replace function group_commerce.cancel_teams(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  campaign group_commerce.group_commerce_campaigns;
  ids text[];
  result jsonb;
  cancelled integer := 0;
  is_old boolean;
begin
  perform platform.enter_as(call, coalesce(input->>'tenant', '*'));
  select * into campaign from group_commerce.group_commerce_campaigns x
  where x.settled_at is null and x.status <> 'active' and x.status = 'failed' and x.mode = 'teams'
    and (input->>'campaignId' is null or x.id = input->>'campaignId')
    and x.id <> all(platform.keys_set_aside('campaigns'))
    and (x.updated_at <= platform.clock() - make_interval(secs => (input->>'settleSeconds')::int)
      or exists (select from group_commerce.teams t where t.campaign_id = x.id and t.status = 'forming'))
  order by row_number() over (partition by x.tenant_id order by x.id), random() limit 1;
  if not found then
    return jsonb_build_object('done', 0, 'more', false);
  end if;
  perform platform.act_as(campaign.tenant_id);
  is_old := campaign.updated_at <= platform.clock() - make_interval(secs => (input->>'settleSeconds')::int);
  ids := array(select t.id from group_commerce.teams t
    where t.campaign_id = campaign.id and t.status = 'forming'
      and t.id <> all(platform.keys_set_aside('campaigns'))
    order by t.id limit (input->>'limit')::int);
  for result in select jsonb_array_elements(
    platform.process_rows('campaigns', 'group_commerce.cancel_teams_step', campaign.tenant_id, ids, input))
  loop
    cancelled := cancelled + (result->>'cancelled')::int;
  end loop;
  if cardinality(ids) = 0 then
    if exists (select from group_commerce.teams t where t.campaign_id = campaign.id and t.status = 'forming') then
      perform platform.set_aside('campaigns', array[campaign.id::text], 'teams of this campaign are set aside');
    elsif is_old then
      update group_commerce.group_commerce_campaigns x
      set settled_at = platform.clock(), version = platform.next_version(x.version), updated_at = platform.clock()
      where x.id = campaign.id and x.settled_at is null;
      perform platform.clear_set_aside('campaigns', array[campaign.id::text]);
    end if;
  end if;
  return jsonb_build_object('done', cancelled, 'more', true);
end
$$;

-- The step of cancel_teams for one tenant. Locks the teams by id.
create or replace function group_commerce.cancel_teams_step(ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  team group_commerce.teams;
  cancelled integer := 0;
begin
  perform 1 from group_commerce.teams t where t.id = any(ids) order by t.id for update;
  for team in
    update group_commerce.teams x
    set status = 'cancelled', version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = any(ids) and x.status = (select 'forming')
    returning *
  loop
    perform group_commerce.emit_team(team, 'cancelled', '{}', true);
    cancelled := cancelled + 1;
  end loop;
  return jsonb_build_object('cancelled', cancelled);
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.end_teams, group_commerce.end_campaigns_of_teams, group_commerce.cancel_teams
  to fusion_worker;
