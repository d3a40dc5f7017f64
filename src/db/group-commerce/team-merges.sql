-- requires: group-commerce/teams.sql
-- Merging teams: which teams whose time is over move into which other teams, and the move itself. For
-- group_commerce.end_teams_step, which has locked all these teams by id.

-- The forming teams that have room for one of these teams, up to 100 for each campaign, oldest first. All their members
-- joined with `merge: true`. Empty unless the campaign merges teams and is active. Read without locks.
create or replace function group_commerce.find_merge_targets(ids text[], excluded jsonb) returns text[]
language sql stable set search_path = pg_catalog, pg_temp as $$
  select array(
    select f.id from (
      select x.campaign_id, min(x.joined) as fewest
      from group_commerce.teams x join group_commerce.group_commerce_campaigns c on c.id = x.campaign_id
      where x.id = any(ids) and x.status = (select 'forming') and x.merge_refusals = 0 and x.joined < x.size
        and c.on_short = 'merge' and c.status = 'active'
      group by x.campaign_id
    ) m cross join lateral (
      select t.id from group_commerce.teams t
      where t.campaign_id = m.campaign_id and t.status = 'forming' and t.merge_refusals = 0
        and t.size - t.joined >= m.fewest and not excluded ? t.id
      order by t.id limit 100
    ) f)
$$;

-- Decides which of the teams `ids`, whose time is over, move into which team of `target_ids`. A team moves with all its
-- members, if all of them joined with `merge: true`. Its target is a team of the same campaign that has room for all of
-- them and shares no member with it. The newest team moves first, into the oldest target whose time is not over. Only
-- if there is none, a team whose time is over as well is the target, and only if it is then full and succeeds:
-- otherwise it would expire. The caller has locked the teams. Returns two arrays of the same length: the teams that
-- move, and the target of each.
create or replace function group_commerce.plan_merges(ids text[], target_ids text[], out moved text[], out targets text[])
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  now_at constant timestamptz := platform.clock();
  campaign record; -- the teams that may move, and the possible targets, both oldest first
  rooms integer[];
  members jsonb; -- {team: [user]}
  users_of jsonb[]; -- the members of each target and of the teams that move into it
  -- Flags for the possible targets, then for the teams that may move: to search for their ids would take too long.
  have_moved boolean[];
  are_targets boolean[];
  movers text[];
  chosen_of integer[]; -- the position of each mover's target
  mover record;
  users text[];
  chosen integer; -- the position of the mover's target
begin
  moved := '{}';
  targets := '{}';
  select jsonb_object_agg(m.team_id, m.users) into members
  from (
    select p.team_id, jsonb_agg(p.user_id) as users from group_commerce.participants p
    where p.team_id = any(ids || target_ids) and p.state <> 'released' group by p.team_id
  ) m;
  -- One campaign after another: no team looks at the possible targets of the other campaigns.
  for campaign in
    with due as materialized (
      select t.campaign_id, array_agg(t.id::text order by t.id) as ids, array_agg(t.joined order by t.id) as joined,
        array_agg(c.success_on = 'joined' or t.secured = t.joined order by t.id) as may_complete
      from group_commerce.teams t join group_commerce.group_commerce_campaigns c on c.id = t.campaign_id
      where t.id = any(ids) and t.status = (select 'forming') and t.end_time <= now_at and t.merge_refusals = 0
        and t.joined < t.size and c.on_short = 'merge' and c.status = 'active'
      group by t.campaign_id
    ), possible as materialized (
      select t.campaign_id, array_agg(t.id::text order by t.id) as ids,
        array_agg(t.size - t.joined order by t.id) as rooms, array_agg(t.end_time > now_at order by t.id) as are_running
      from group_commerce.teams t join group_commerce.group_commerce_campaigns c on c.id = t.campaign_id
      where t.id = any(target_ids) and t.status = (select 'forming') and t.merge_refusals = 0
        -- In a team whose time is over, no further place can be secured.
        and (t.end_time > now_at or c.success_on = 'joined' or t.secured = t.joined)
      group by t.campaign_id
    )
    select due.ids as due_ids, due.joined as due_joined, due.may_complete as due_may_complete,
      possible.ids as team_ids, possible.rooms, possible.are_running
    from due join possible on possible.campaign_id = due.campaign_id
  loop
    rooms := campaign.rooms;
    have_moved := array_fill(false, array[cardinality(campaign.team_ids) + cardinality(campaign.due_ids)]);
    are_targets := have_moved;
    movers := '{}';
    chosen_of := '{}';
    users_of := array(
      select coalesce(members->u.id, '[]') from unnest(campaign.team_ids) with ordinality u(id, n) order by u.n);
    for mover in
      select d.id, d.joined, runs.is_running,
        coalesce(array_position(campaign.team_ids, d.id), cardinality(campaign.team_ids) + d.n::integer) as flag
      from unnest(campaign.due_ids, campaign.due_joined, campaign.due_may_complete) with ordinality
        d(id, joined, may_complete, n)
      cross join (values (true), (false)) runs(is_running)
      where runs.is_running or d.may_complete
      order by runs.is_running desc, d.n desc
    loop
      continue when have_moved[mover.flag] or are_targets[mover.flag];
      users := array(select jsonb_array_elements_text(members->mover.id));
      select o.n into chosen
      from unnest(rooms, campaign.are_running, users_of) with ordinality
        o(room, is_running, members, n)
      where o.is_running = mover.is_running and o.room >= mover.joined
        and o.n <> mover.flag and not have_moved[o.n::integer] and not o.members ?| users
      order by (not o.is_running and o.room = mover.joined) desc, o.n limit 1;
      if found then
        movers := movers || mover.id;
        chosen_of := chosen_of || chosen;
        have_moved[mover.flag] := true;
        are_targets[chosen] := true;
        rooms[chosen] := rooms[chosen] - mover.joined;
        users_of[chosen] := users_of[chosen] || coalesce(members->mover.id, '[]');
      end if;
    end loop;
    select moved || coalesce(array_agg(m.id order by m.n), '{}'),
      targets || coalesce(array_agg(campaign.team_ids[m.chosen] order by m.n), '{}')
    into moved, targets
    from unnest(movers, chosen_of) with ordinality m(id, chosen, n)
    where campaign.are_running[m.chosen] or rooms[m.chosen] = 0;
  end loop;
end
$$;

-- Moves the places of teams into other teams, as plan_merges decided. The target keeps its leader, code and end time. A
-- target that is then full (with `successOn: secured`: full of secured places) succeeds in the same statement. The
-- constraints teams_not_overfull and participants_one_place_a_user reject a wrong merge. The caller has locked all the
-- teams; this locks the places by id. Returns how many teams moved. Emits team.merged, team.successful.
create or replace function group_commerce.merge_teams(moved text[], targets text[]) returns integer
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  now_at constant timestamptz := platform.clock();
  pair record;
begin
  perform 1 from group_commerce.participants p
  where p.team_id = any(moved) and p.state <> (select 'released') order by p.id for update;
  update group_commerce.participants p set team_id = targets[array_position(moved, p.team_id::text)], updated_at = now_at
  where p.team_id = any(moved) and p.state <> (select 'released');
  update group_commerce.teams x
  set joined = x.joined + m.joined, secured = x.secured + m.secured,
      status = case when x.size = case c.success_on when 'joined' then x.joined + m.joined
        else x.secured + m.secured end then 'successful' else x.status end,
      version = platform.next_version(x.version), updated_at = now_at
  from (
    select o.target, sum(t.joined)::int as joined, sum(t.secured)::int as secured
    from unnest(moved, targets) o(id, target) join group_commerce.teams t on t.id = o.id group by o.target
  ) m, group_commerce.group_commerce_campaigns c
  where x.id = m.target and x.id = any(targets) and c.id = x.campaign_id;
  update group_commerce.teams x
  set status = 'merged', merged_into = targets[array_position(moved, x.id::text)],
      version = platform.next_version(x.version), updated_at = now_at
  where x.id = any(moved);
  for pair in
    select t as moved_team, target
    from unnest(moved, targets) o(id, target_id)
    join group_commerce.teams t on t.id = o.id join group_commerce.teams target on target.id = o.target_id
    order by t.id
  loop
    perform group_commerce.emit_team(pair.moved_team, 'merged',
      jsonb_build_object('into', group_commerce.team_json(pair.target)), false);
  end loop;
  perform group_commerce.emit_team(x, 'successful', '{}', true)
  from group_commerce.teams x where x.id = any(targets) and x.status = (select 'successful');
  return cardinality(moved);
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');
