-- requires: group-commerce/settlement.sql, group-commerce/teams.sql, platform/set-aside.sql
-- What happens to the places of teams that have ended: a successful team gets orders, the places of an expired or
-- cancelled team are released. Each place's state shows whether it is still to be processed, so any later run
-- continues. Lock order: campaign customers, places by id, payments, holds, stock. A team's row is marked as settled
-- last, and only if nobody has locked it, so that no run waits for a team while it has locked places.

-- Creates orders for up to `limit` places of successful teams of one campaign, as settle_batch does for a pool.
-- `input`: {tenant?, teamIds?, idleSeconds?, limit, graceSeconds}; without teams, some of any tenant that ended at
-- least `idleSeconds` ago. Returns {done, more, tenant}; repeat while `more`. Emits order.created, inventory.reserved,
-- payment.capture.requested.
create or replace function group_commerce.settle_teams(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  teams record;
begin
  perform platform.enter_as(call, coalesce(input->>'tenant', '*'));
  select * into teams from group_commerce.find_unsettled_teams('settled_at is null and status = ''successful''',
    'campaign_id', input); -- settle_places creates the orders of one campaign
  return group_commerce.process_teams(teams.tenant, teams.ids, array['joined', 'secured'],
    'group_commerce.settle_places', input || jsonb_build_object('campaign', teams.common));
end
$$;

-- Releases the payments and units of up to `limit` places of expired or cancelled teams, of any number of campaigns.
-- The counts of the teams stay as they were at their end. `input`: {tenant?, teamIds?, idleSeconds?, limit}, as in
-- settle_teams. Returns {done, more, tenant, skus}; repeat while `more`. Emits payment.cancelled, inventory.released.
create or replace function group_commerce.release_teams(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  teams record;
begin
  perform platform.enter_as(call, coalesce(input->>'tenant', '*'));
  select * into teams from group_commerce.find_unsettled_teams(
    'settled_at is null and status in (''expired'', ''cancelled'')',
    'status', input); -- one reason, so that all payments are locked in one order
  return group_commerce.process_teams(teams.tenant, teams.ids, array['joined', 'secured', 'ordered', 'charged'],
    'group_commerce.release_team_places', input || jsonb_build_object('reason', 'team_' || teams.common));
end
$$;

-- The oldest teams with this condition of one tenant that have the same value in the column `same`, up to `limit`.
-- `condition` must be that of a partial index which begins with the tenant. Without `tenant` a random tenant is picked,
-- so that no tenant waits until all teams of another one are settled. `condition` and `same` become part of a query:
-- they come from the functions above, never from a request. The settings keep the plan on that index, in its order: the
-- table changes faster than its statistics when many teams end at once.
create or replace function group_commerce.find_unsettled_teams(condition text, same text, input jsonb,
  out tenant varchar, out ids text[], out common varchar)
language plpgsql stable set search_path = pg_catalog, pg_temp
  set enable_sort = off set enable_bitmapscan = off as $$
declare
  excluded_ids constant text[] := platform.keys_set_aside('campaigns');
  until_time constant timestamptz := platform.clock() - make_interval(secs => coalesce((input->>'idleSeconds')::int, 0));
  wanted_ids constant text[] := case when input ? 'teamIds'
    then array(select jsonb_array_elements_text(input->'teamIds')) end;
begin
  tenant := input->>'tenant';
  if tenant is null then
    -- One team of each tenant is looked up. For `exists`, a plan may read all teams.
    execute format('select t.id from platform.tenants_with_rows(''group_commerce.teams'', %1$L) t(id)
      cross join lateral (
        select from group_commerce.teams x where x.tenant_id = t.id and (%1$s)
          and x.updated_at <= $1 and x.id <> all($2) limit 1
      ) has_work
      where t.id <> all(string_to_array(current_setting(''app.away'', true), '' ''))
      order by random() limit 1', condition) into tenant using until_time, excluded_ids;
  end if;
  execute format('select array_agg(u.id::text order by u.id), min(u.common)
    from (
      select x.id, x.%2$I as common, first_value(x.%2$I) over (order by x.id) as first
      from group_commerce.teams x
      where x.tenant_id = $1 and (%1$s) and ($2 is null or x.id = any($2)) and ($2 is not null or x.updated_at <= $3)
        and x.id <> all($4)
      order by x.id limit $5
    ) u where u.common = u.first', condition, same) into ids, common
  using tenant, wanted_ids, until_time, excluded_ids, (input->>'limit')::int;
end
$$;

-- Processes `limit` places in these states of these teams with `step`, then marks the teams without such places as
-- settled. A place that cannot be processed is set aside. If only such places are left, the team is set aside too,
-- until a place is retried. Returns {done, more, tenant, skus}: `done` counts places and settled teams.
create or replace function group_commerce.process_teams(tenant varchar, team_ids text[], states text[], step text,
  input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  excluded_ids text[];
  ids text[];
  result jsonb;
  skus jsonb := '[]';
  done integer := 0;
begin
  if team_ids is null then
    return jsonb_build_object('done', 0, 'more', false);
  end if;
  perform platform.act_as(tenant);
  excluded_ids := platform.keys_set_aside('campaigns');
  -- Each team is looked up by itself. Otherwise a plan may read the places by id, past all that are released already.
  ids := array(
    select p.id from unnest(team_ids) t(id) cross join lateral (
      select x.id from group_commerce.participants x
      where x.team_id = t.id and x.state = any(states) and x.id <> all(excluded_ids)
      order by x.team_id, x.id limit (input->>'limit')::int
    ) p
    order by p.id limit (input->>'limit')::int);
  for result in select jsonb_array_elements(platform.process_rows('campaigns', step, tenant, ids, input)) loop
    done := done + (result->>'done')::int;
    skus := skus || coalesce(result->'skus', '[]');
  end loop;
  for result in select jsonb_array_elements(platform.process_rows('campaigns', 'group_commerce.mark_teams_settled',
    tenant, team_ids, jsonb_build_object('states', states)))
  loop
    done := done + (result->>'done')::int;
  end loop;
  if cardinality(ids) = 0 then
    perform platform.set_aside('campaigns', array(select p.team_id::text from group_commerce.participants p
      where p.team_id = any(team_ids) and p.state = any(states) group by p.team_id
      having bool_and(p.id = any(excluded_ids))), 'places of this team are set aside');
  end if;
  return jsonb_build_object('done', done, 'tenant', tenant, 'skus', skus, 'more', not input ? 'teamIds'
    or exists (select from group_commerce.teams t where t.settled_at is null
      and t.id = any(array(select jsonb_array_elements_text(input->'teamIds')))));
end
$$;

-- Marks those of these teams as settled that have no place left in `states`. No place can come back into these states:
-- a team that has ended takes no places. A team that is locked is left to the next run.
create or replace function group_commerce.mark_teams_settled(ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  states constant text[] := array(select jsonb_array_elements_text(input->'states'));
  finished text[];
begin
  finished := array(
    select t.id from group_commerce.teams t
    where t.id = any(ids) and t.settled_at is null and not exists (select from group_commerce.participants p
      where p.team_id = t.id and p.state = any(states))
    order by t.id for update of t skip locked);
  update group_commerce.teams t set settled_at = platform.clock() where t.id = any(finished);
  return jsonb_build_object('done', cardinality(finished));
end
$$;

-- Releases these places of teams that have ended without success. Their units are given back to the customers' counters
-- before the stock is locked. Lock order: the customers' counters, then the places by id.
create or replace function group_commerce.release_team_places(ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  ending constant text := input->>'reason';
  released record;
begin
  perform 1 from group_commerce.campaign_customers n
    where (n.campaign_id, n.user_id) in (
      select p.campaign_id, p.user_id from group_commerce.participants p where p.id = any(ids))
    order by n.campaign_id, n.user_id for update;
  perform 1 from group_commerce.participants p where p.id = any(ids) order by p.id for update;
  with freed as (
    update group_commerce.participants p set state = 'released', reason = ending, updated_at = platform.clock()
    where p.id = any(ids) and p.state <> (select 'released')
    returning p.campaign_id, p.user_id, p.order_id, p.sku, p.quantity
  ), given_back as (
    update group_commerce.campaign_customers n set units = n.units - f.units
    from (select campaign_id, user_id, sum(quantity) as units from freed group by campaign_id, user_id) f
    where n.campaign_id = f.campaign_id and n.user_id = f.user_id
  )
  select coalesce(array_agg(f.order_id::text order by f.order_id), '{}') as orders,
    coalesce(jsonb_agg(distinct coalesce(f.sku, c.sku)), '[]') as skus
  into released
  from freed f join group_commerce.group_commerce_campaigns c on c.id = f.campaign_id;
  perform payments.end_for_orders(released.orders, 'cancelled', ending);
  perform inventory.release(released.orders, ending);
  return jsonb_build_object('done', cardinality(released.orders), 'skus', released.skus);
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.settle_teams, group_commerce.release_teams to fusion_worker;
