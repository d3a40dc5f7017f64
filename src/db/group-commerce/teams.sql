-- requires: group-commerce/places.sql
-- Teams of a campaign, and the operations that open and join one. A team's own row decides about its places and its
-- success. Lock order: teams by id, campaign customers, participants by id, then the rows that every order locks.

create or replace function group_commerce.team_json(t group_commerce.teams) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', t.id, 'campaignId', t.campaign_id, 'code', t.code, 'leader', t.leader, 'size', t.size,
    'joined', t.joined, 'secured', t.secured, 'status', t.status, 'listed', t.listed,
    'mergedInto', t.merged_into, 'endTime', platform.iso(t.end_time), 'createdAt', platform.iso(t.created_at))
$$;

-- The payload of an event of a team is {team} and more. The key is the team's id.
create or replace function group_commerce.emit_team(t group_commerce.teams, fact text, more jsonb, queue boolean)
returns void
language sql as $$
  select platform.emit('group-commerce.team.' || fact, t.id,
    jsonb_build_object('team', group_commerce.team_json(t)) || more, queue)
$$;

-- A team by its id or by its code. The code of a merged team finds the team that it was merged into. No row if there is
-- none. `setof`, so that Postgres can inline it.
create or replace function group_commerce.find_team(team_id text, team_code text) returns setof group_commerce.teams
language sql stable as $$
  with recursive found as (
    (select t.* from group_commerce.teams t where t.id = team_id
    union all
    select t.* from group_commerce.teams t where t.code = team_code and team_id is null)
    union all
    select t.* from found f join group_commerce.teams t on t.id = f.merged_into where team_id is null
  )
  select f.* from found f where team_id is not null or f.merged_into is null
$$;

-- Why this campaign opens no more teams, or its teams take no more places. Null if they do.
create or replace function group_commerce.teams_fault(c group_commerce.group_commerce_campaigns) returns jsonb
language sql stable as $$
  select case
    when c.mode <> 'teams' then jsonb_build_object('error', 'conflict', 'detail',
      'This campaign has no teams: join the campaign.')
    when c.status <> 'active' then jsonb_build_object('error', 'campaign_not_open', 'detail',
      case c.status when 'failed' then 'The campaign was cancelled.' else 'The campaign is over.' end)
    when platform.clock() < c.start_time then jsonb_build_object('error', 'campaign_not_open',
      'detail', format('The campaign starts at %s.', platform.iso(c.start_time)))
    when platform.clock() >= c.end_time then jsonb_build_object('error', 'campaign_not_open',
      'detail', format('The campaign ended at %s.', platform.iso(c.end_time))) end
$$;

-- Why this team takes no more places. Null if it takes another one.
create or replace function group_commerce.team_fault(t group_commerce.teams) returns jsonb
language sql stable as $$
  select case
    when t.status in ('forming', 'successful') and t.joined >= t.size then jsonb_build_object('error', 'team_full',
      'detail', format('All %s places of the team are taken. Open a new team, or join another one.', t.size))
    when t.status = 'merged' then jsonb_build_object('error', 'team_not_open',
      'detail', format('The team was merged into the team %s. Join that one.', t.merged_into))
    when t.status <> 'forming' then jsonb_build_object('error', 'team_not_open', 'detail', case t.status
      when 'successful' then 'The team has succeeded.' when 'expired' then 'The time of the team is over.'
      else 'The team was cancelled.' end || ' Open a new team, or join another one.')
    when platform.clock() >= t.end_time then jsonb_build_object('error', 'team_not_open', 'detail', format(
      'The time of the team ended at %s. Open a new team, or join another one.', platform.iso(t.end_time))) end
$$;

-- What open_team and join_team need besides the campaign's row: {isArchived, hasTax, grace}. `grace`: seconds.
-- `setof`, so that Postgres can inline it.
create or replace function group_commerce.selling_terms(c group_commerce.group_commerce_campaigns, grace_seconds integer)
returns setof jsonb
language sql stable as $$
  select jsonb_build_object(
    'isArchived', (select p.status from catalog.products p where p.id = c.product_id) = 'archived',
    'hasTax', t.tax_provider <> 'table' or exists (select from orders.tax_rates r where r.tenant_id = c.tenant_id),
    'grace', coalesce(t.grace_seconds, selling_terms.grace_seconds))
  from platform.tenants t where t.id = c.tenant_id
$$;

-- Opens a team with the leader's place, or nothing. `input`: {campaignId, teamId, code, listed?, merge?} and the fields
-- of a place as in join_campaign. The team's time ends after the campaign's `teamSeconds`, or with the campaign.
-- Returns {team, participant}. Raises not_found, forbidden. Returns the errors conflict (the campaign has no teams),
-- campaign_not_open, insufficient_inventory, limit_per_customer, validation_failed, and unavailable with `taxQuestion`
-- until `taxQuote` answers it. Emits team.created, payment.created.
create or replace function group_commerce.open_team(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  answer jsonb := platform.enter(call, 'campaigns:write', 'teams.open', '{session}');
  found_campaign record;
  new_team group_commerce.teams;
begin
  if answer is not null then
    return answer;
  end if;
  if platform.shopper() is not null then
    input := group_commerce.as_customer(input);
  end if;
  select c as campaign, terms, group_commerce.teams_fault(c) as fault into found_campaign
  from group_commerce.group_commerce_campaigns c,
    group_commerce.selling_terms(c, (input->>'graceSeconds')::int) terms
  where c.id = input->>'campaignId';
  if not found then
    perform platform.fail('not_found');
  end if;
  new_team.id := input->>'teamId';
  new_team.end_time := least(platform.clock() + make_interval(secs => (found_campaign.campaign).team_seconds),
    (found_campaign.campaign).end_time);
  return group_commerce.enter_team(call, 'teams.open', found_campaign.campaign, new_team, found_campaign.terms,
    found_campaign.fault, input);
end
$$;

-- Takes a place in a team, or nothing. `input`: {teamId} or {code}, and the fields of a place as in open_team. A second
-- join of a user returns the first one. Returns {team, participant}. Raises not_found, forbidden. Returns the errors
-- team_full, team_not_open, customer_not_eligible and those of open_team. Emits team.joined, payment.created, and with
-- the last place team.successful. One statement a step: the key, its stored answer, the team with its campaign and an
-- earlier place, the payment, the place, its units, the answer.
create or replace function group_commerce.join_team(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  answer jsonb := platform.enter(call, 'campaigns:write', 'teams.join', '{session}');
  joining_user varchar; -- a variable, for an index condition: see join_campaign
  joined_team varchar := input->>'teamId';
  found_team record;
begin
  if answer is not null then
    return answer;
  end if;
  if platform.shopper() is not null then
    input := group_commerce.as_customer(input);
  end if;
  joining_user := input->>'userId';
  if joined_team is null then
    select t.id into joined_team from group_commerce.find_team(null, input->>'code') t;
  end if;
  select t as team, c as campaign, terms,
    coalesce(group_commerce.team_fault(t), group_commerce.teams_fault(c)) as fault,
    (select p from group_commerce.participants p where p.user_id = joining_user and p.campaign_id = c.id
      and coalesce(p.team_id, '') = t.id and p.state <> 'released') as place
  into found_team
  from group_commerce.teams t
  join group_commerce.group_commerce_campaigns c on c.id = t.campaign_id,
    group_commerce.selling_terms(c, (input->>'graceSeconds')::int) terms
  where t.id = joined_team;
  if not found then
    perform platform.fail('not_found');
  end if;
  if (found_team.team).status = 'merged' and input->>'teamId' is null then
    raise exception using errcode = 'serialization_failure', message = 'the team was merged meanwhile';
  end if;
  if (found_team.place).id is not null then
    return platform.leave(call, 'teams.join',
      group_commerce.place_answer(group_commerce.team_json(found_team.team), found_team.place, found_team.campaign));
  end if;
  return group_commerce.enter_team(call, 'teams.join', found_team.campaign, found_team.team, found_team.terms,
    found_team.fault, input);
end
$$;

-- {team, participant} of an answer. A session sees no other customer's id, so `leader` is null unless it leads.
create or replace function group_commerce.place_answer(team jsonb, p group_commerce.participants,
  c group_commerce.group_commerce_campaigns) returns jsonb
language sql stable as $$
  select jsonb_build_object('team', case when team->>'leader' <> platform.shopper()->>'customer'
      then team || '{"leader": null}' else team end,
    'participant', group_commerce.participant_json(p) || group_commerce.place_terms(c))
$$;

-- The common part of open_team and join_team: checks the place, takes it and stores the answer.
create or replace function group_commerce.enter_team(call jsonb, operation text,
  c group_commerce.group_commerce_campaigns, t group_commerce.teams, terms jsonb, fault jsonb, input jsonb)
returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  answer jsonb;
begin
  if fault is null and (terms->>'isArchived')::boolean then
    fault := jsonb_build_object('error', 'campaign_not_open', 'detail', 'The product of this campaign is archived.');
  end if;
  if fault is null and t.code is not null then -- anybody may open a team
    fault := group_commerce.joiner_fault(c, input->>'userId');
  end if;
  if fault is not null then
    return platform.leave(call, operation, fault);
  end if;
  input := group_commerce.prepare_place(c, (terms->>'hasTax')::boolean, input);
  if input ? 'error' then
    return platform.leave(call, operation, input);
  elsif input ? 'taxQuestion' then -- not stored: the Worker asks, and calls again with `taxQuote`
    return jsonb_build_object('tenant', platform.tenant(), 'replayed', false,
      'answer', input || '{"error": "unavailable"}');
  end if;
  begin
    answer := group_commerce.claim_team_place(c, t, (terms->>'grace')::int, input);
  exception when sqlstate 'FC001' then
    -- The contended rows (the team and the stock) are locked last. The writes before them are undone.
    answer := sqlerrm;
  end;
  return platform.leave(call, operation, answer);
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.open_team, group_commerce.join_team to fusion_worker;
