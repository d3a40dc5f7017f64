-- requires: platform/access.sql, group-commerce/teams.sql
-- Reading teams, and cancelling one.

-- Whether a session's customer has a place in this team.
create or replace function group_commerce.is_member(t group_commerce.teams) returns boolean
language sql stable as $$
  select platform.shopper()->>'customer' is not null and exists (select from group_commerce.participants p
    where p.user_id = platform.shopper()->>'customer' and p.campaign_id = t.campaign_id
      and coalesce(p.team_id, '') = t.id and p.state <> 'released')
$$;

-- A team as this caller may see it. `sees_all`: with its leader and code. Otherwise `leader` is null, except for the
-- leader's own session. `code` is null, except for members and for a request that named the code (`has_code`).
create or replace function group_commerce.shown_team(t group_commerce.teams, sees_all boolean, has_code boolean)
returns jsonb
language sql stable as $$
  select group_commerce.team_json(t) || case when sees_all then '{}' else jsonb_build_object(
    'leader', case when t.leader = platform.shopper()->>'customer' then t.leader end,
    'code', case when has_code or group_commerce.is_member(t) then t.code end) end
$$;

-- A team. `input`: {teamId} or {code}; the code of a merged team shows the team that it was merged into. Keys with the
-- scope campaigns:write see all fields, as they see the participants. A publishable key never has that scope. Raises
-- not_found.
create or replace function group_commerce.show_team(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'campaigns:read');
  answer jsonb;
begin
  select group_commerce.shown_team(t, 'campaigns:write' = any(api_key.scopes), input ? 'code') into answer
  from group_commerce.find_team(input->>'teamId', input->>'code') t;
  if not found then
    perform platform.fail('not_found');
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', answer);
end
$$;

-- A page of a campaign's teams, newest first: all of them for keys with the scope campaigns:write, otherwise the listed
-- ones. `input`: {campaignId, status?, before?, limit}. Raises not_found (no such campaign). The answer is an array.
create or replace function group_commerce.show_teams(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'campaigns:read');
  sees_all constant boolean := 'campaigns:write' = any(api_key.scopes);
  -- For each pair of these, the index idx_teams_status is in the order of the list. So a page reads at most `limit`
  -- teams of each pair, however many teams the campaign has.
  statuses constant text[] := case when input->>'status' is not null then array[input->>'status']
    else '{forming,successful,expired,merged,cancelled}' end;
  listings constant boolean[] := case when sees_all then '{true,false}' else '{true}' end;
  before_id constant varchar := coalesce(input->>'before', 'z'); -- an id has no letter after f
  most constant integer := (input->>'limit')::integer;
  answer jsonb;
begin
  perform 1 from group_commerce.group_commerce_campaigns c where c.id = input->>'campaignId';
  if not found then
    perform platform.fail('not_found');
  end if;
  select coalesce(jsonb_agg(group_commerce.shown_team(t, sees_all, false) order by t.id desc), '[]') into answer
  from group_commerce.teams t
  where t.id = any(array(
    select e.id
    from unnest(statuses) s, unnest(listings) l, lateral (
      select x.id from group_commerce.teams x
      where x.campaign_id = input->>'campaignId' and x.status = s and x.listed = l and x.id < before_id
      order by x.campaign_id, x.status, x.listed, x.id desc limit most
    ) e
    order by e.id desc limit most));
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', answer);
end
$$;

-- `input`: {id}. forming → cancelled; the consumer of team.cancelled releases its places. A team that is cancelled
-- already returns the same result. The update is the only write: it waits for joins, leaves and merges of the team, and
-- finds the team as they left it. Raises not_found. Returns the error conflict if the team is successful, expired or
-- merged. Emits team.cancelled.
create or replace function group_commerce.cancel_team(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  replay constant jsonb := platform.enter(call, 'campaigns:write', 'teams.cancel');
  team group_commerce.teams;
begin
  if replay is not null then
    return replay;
  end if;
  update group_commerce.teams t
  set status = 'cancelled', version = platform.next_version(t.version), updated_at = platform.clock()
  where t.id = input->>'id' and t.status = (select 'forming')
  returning * into team;
  if found then
    perform group_commerce.emit_team(team, 'cancelled', '{}', true);
    return platform.leave(call, 'teams.cancel', group_commerce.team_json(team));
  end if;
  select * into team from group_commerce.teams t where t.id = input->>'id';
  if not found then
    perform platform.fail('not_found');
  end if;
  return platform.leave(call, 'teams.cancel', case team.status
    when 'cancelled' then group_commerce.team_json(team)
    when 'merged' then jsonb_build_object('error', 'conflict', 'detail', format(
      'The team was merged into the team %s. Cancel that team to end the places of both.', team.merged_into))
    when 'successful' then jsonb_build_object('error', 'conflict', 'detail',
      'The team has succeeded. Cancel or refund the orders of its members.')
    else jsonb_build_object('error', 'conflict', 'detail',
      'The time of the team is over, and its places are released. There is nothing to cancel.') end);
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.show_team, group_commerce.show_teams, group_commerce.cancel_team
  to fusion_worker;
