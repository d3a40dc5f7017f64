-- requires: group-commerce/teams.sql
-- How places of teams are taken and given up. Lock order: as in teams.sql.

-- Opens the team `t` (only its id and its end time are set) with its first place, or takes a place in it. The payment
-- is written first, because it needs no contended row. Then one statement takes the place in the team's row, which
-- decides success, and stores the participant (participants_one_place_a_user) and the events. A campaign with a limit
-- counts the customer's units next; nobody can wait for the new place, so it may be stored before. Raises FC001 with the
-- error if there is no place, no stock, or the customer has too many units. Raises a serialization failure if the same
-- user joins at the same time.
create or replace function group_commerce.claim_team_place(c group_commerce.group_commerce_campaigns,
  t group_commerce.teams, grace_seconds integer, input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
  opens constant boolean := t.code is null;
  total constant numeric := coalesce((input->'amounts'->>'total')::numeric, c.price);
  is_free constant boolean := total = 0;
  may_merge constant boolean := coalesce((input->>'merge')::boolean, false);
  joined_team constant varchar := t.id;
  joining_user constant varchar := input->>'userId';
  units constant integer := (input->>'quantity')::integer;
  place record;
  fault jsonb;
begin
  if not is_free then
    perform group_commerce.open_payment_of_place(c, input, total, make_interval(secs => grace_seconds)
      + case when may_merge and c.on_short = 'merge' then c.end_time else t.end_time end, false);
  end if;
  with opened as (
    insert into group_commerce.teams as x (id, tenant_id, campaign_id, code, leader, size, joined, secured, status, listed,
      merge_refusals, end_time, created_at, updated_at)
    select t.id, tenant, c.id, input->>'code', joining_user, c.team_size, 1, is_free::int, 'forming',
      coalesce((input->>'listed')::boolean, false), (not may_merge)::int, t.end_time, now_at, now_at
    where opens
    returning x as team
  ), filled as (
    update group_commerce.teams x
    set joined = x.joined + 1, secured = x.secured + is_free::int,
        merge_refusals = x.merge_refusals + (not may_merge)::int,
        status = case when x.size <= case c.success_on when 'joined' then x.joined + 1
          else x.secured + is_free::int end then 'successful' else x.status end,
        version = platform.next_version(x.version), updated_at = now_at
    -- A subquery as the status, so that the planner does not choose the index of teams whose time is over.
    where x.id = joined_team and not opens and x.status = (select 'forming') and x.joined < x.size
      and x.end_time > now_at
    returning x as team
  ), taken as (
    select o.team, group_commerce.team_json(o.team) as json from opened o
    union all
    select f.team, group_commerce.team_json(f.team) from filled f
  ), joined as (
    insert into group_commerce.participants as p (id, tenant_id, campaign_id, team_id, user_id, order_id, payment_id,
      shipping_address, state, joined_at, secure_by, secured_at, updated_at, email, billing_address, metadata, amounts,
      sku, quantity, merge, invited_by)
    select input->>'participantId', tenant, c.id, t.id, joining_user, input->>'orderId',
      case when not is_free then input->>'paymentId' end, nullif(input->'shippingAddress', 'null'),
      case when is_free then 'secured' else 'joined' end, now_at,
      case when not is_free then now_at + make_interval(secs => (input->>'secureSeconds')::int) end,
      case when is_free then now_at end, now_at, input->>'email', nullif(input->'billingAddress', 'null'),
      nullif(input->'metadata', 'null'), input->'amounts', input->>'sku', units, may_merge, input->>'invitedBy'
    from taken
    on conflict (user_id, campaign_id, (coalesce(team_id, ''))) where state <> 'released' do nothing
    returning p as participant
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, case when opens then 'group-commerce.team.created' else 'group-commerce.team.joined' end, t.id,
      jsonb_build_object('team', k.json, 'userId', joining_user), platform.trace(), now_at
    from taken k, joined
    union all
    select tenant, 'group-commerce.team.successful', t.id, jsonb_build_object('team', k.json), platform.trace(), now_at
    from taken k, joined where (k.team).status = 'successful'
    returning seq, topic
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, t.id, platform.due_now()
    from event e, unnest(platform.sinks_of(not is_free or e.topic = 'group-commerce.team.successful')) s
  )
  select k.team, k.json, j.participant into place
  from (select 1) one left join taken k on true left join joined j on true;
  if (place.participant).id is null then
    if place.team is null then
      select group_commerce.team_fault(x) into fault from group_commerce.teams x
      where x.id = t.id and (x.status <> 'merged' or t.status = 'merged');
    end if;
    -- A user who joins twice at the same time can fill the team with the first join. The second one is repeated, and
    -- then finds the first place.
    if fault is not null and (opens or not exists (select from group_commerce.participants p
      where p.user_id = joining_user and p.campaign_id = c.id and coalesce(p.team_id, '') = t.id
        and p.state <> 'released')) then
      raise exception using errcode = 'FC001', message = fault::text;
    end if;
    -- The call is repeated, and finds the place, or the team that this one was merged into.
    raise exception using errcode = 'serialization_failure',
      message = 'the user joins the team at the same time, or the team was merged meanwhile';
  end if;
  if c.max_per_customer is not null then
    perform group_commerce.count_units(c, joining_user, units);
  end if;
  fault := inventory.hold_units((place.participant).order_id, (place.participant).sku, units, 'infinity');
  if fault is not null then
    raise exception using errcode = 'FC001',
      message = jsonb_build_object('error', 'insufficient_inventory', 'shortages', fault)::text;
  end if;
  return group_commerce.place_answer(place.json, place.participant, c)
    || jsonb_build_object('changedSkus', jsonb_build_array((place.participant).sku));
end
$$;

-- Takes released places out of their teams' counts. If the leader is among them, the earliest member leads. A forming
-- team without members is cancelled. Emits team.left for each place, team.cancelled. The caller has locked the teams
-- and released the places.
create or replace function group_commerce.shrink_teams(team_ids text[], order_ids text[], why text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  left_team record;
  team group_commerce.teams;
begin
  for left_team in
    select p.team_id, count(*) as places, count(p.secured_at) as secured, count(*) filter (where not p.merge) as refusals,
      array_agg(p.user_id::text order by p.id) as users,
      (select m.user_id from group_commerce.participants m where m.team_id = p.team_id and m.state <> 'released'
        order by m.id limit 1) as next_leader
    from group_commerce.participants p
    where p.team_id = any(team_ids) and p.order_id = any(order_ids) and p.state = 'released'
    group by p.team_id order by p.team_id
  loop
    update group_commerce.teams x
    set joined = x.joined - left_team.places, secured = x.secured - left_team.secured,
        merge_refusals = x.merge_refusals - left_team.refusals,
        leader = case when x.leader = any(left_team.users) then coalesce(left_team.next_leader, x.leader)
          else x.leader end,
        status = case when x.status = 'forming' and x.joined = left_team.places then 'cancelled' else x.status end,
        settled_at = case when x.status = 'forming' and x.joined = left_team.places then platform.clock()
          else x.settled_at end,
        version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = left_team.team_id returning * into team;
    perform group_commerce.emit_team(team, 'left', jsonb_build_object('userId', u, 'reason', why), false)
    from unnest(left_team.users) u;
    if team.status = 'cancelled' then
      perform group_commerce.emit_team(team, 'cancelled', '{}', false);
    end if;
  end loop;
end
$$;

-- `input`: {teamId, userId?}; a customer's session leaves as its customer. Allowed while the team is forming. A place
-- that was moved by a merge is given up in the team where it is now. A user who has left already gets the same result.
-- Returns {team, participant}. Raises not_found. Returns the error team_not_open. Emits team.left, payment.cancelled,
-- inventory.released, for the last member team.cancelled.
create or replace function group_commerce.leave_team(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  replay jsonb := platform.enter(call, 'campaigns:write', 'teams.leave', '{session}');
  leaving_user varchar;
  team group_commerce.teams;
  campaign group_commerce.group_commerce_campaigns;
  participant group_commerce.participants;
  changed text[] := '{}';
begin
  if replay is not null then
    return replay;
  end if;
  if platform.shopper() is not null then
    input := group_commerce.as_customer(input);
  end if;
  leaving_user := input->>'userId';
  select c.* into campaign from group_commerce.find_team(input->>'teamId', null) t
  join group_commerce.group_commerce_campaigns c on c.id = t.campaign_id;
  -- One statement, so that the team and the place are read before a merge or after it.
  select (e.place).* into participant
  from group_commerce.find_team(input->>'teamId', null) t, group_commerce.find_team(null, t.code) present,
    lateral ( -- one look-up for each of the two indexes on the user
      select x as place from group_commerce.participants x
      where x.user_id = leaving_user and x.campaign_id = campaign.id and coalesce(x.team_id, '') in (t.id, present.id)
        and x.state <> 'released'
      union all
      select x as place from group_commerce.participants x
      where x.user_id = leaving_user and x.campaign_id = campaign.id and coalesce(x.team_id, '') in (t.id, present.id)
        and x.state = 'released'
    ) e
  order by (e.place).state = 'released', (e.place).team_id = present.id desc, (e.place).id desc limit 1;
  select * into team from group_commerce.teams t where t.id = participant.team_id;
  if participant.id is null then
    perform platform.fail('not_found');
  end if;
  if participant.state <> 'released' then
    perform group_commerce.lock_places(array[participant.order_id::text]);
    select * into participant from group_commerce.participants p where p.id = participant.id;
    select * into team from group_commerce.teams t where t.id = participant.team_id;
  end if;
  if participant.state <> 'released' then
    if team.status <> 'forming' then
      return platform.leave(call, 'teams.leave', jsonb_build_object('error', 'team_not_open', 'detail',
        case team.status when 'successful' then 'The team has succeeded. Cancel the order of the place instead.'
          else format('The team is %s. Its places are released; there is nothing to leave.', team.status) end));
    end if;
    changed := group_commerce.free_places(campaign.id, array[participant.id::text], 'left', 'cancelled');
    select * into team from group_commerce.teams t where t.id = team.id;
    select * into participant from group_commerce.participants p where p.id = participant.id;
  end if;
  return platform.leave(call, 'teams.leave', group_commerce.place_answer(group_commerce.team_json(team), participant,
      campaign)
    || jsonb_build_object('changedSkus', changed));
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.leave_team to fusion_worker;
