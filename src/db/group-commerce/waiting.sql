-- requires: group-commerce/join.sql, platform/set-aside.sql
-- The waiting list of a full pool. Its entries are ordered by their ids. A place that becomes free is offered to the
-- first entry that waits, so the entries with an offer are always the first ones. The campaign's row counts the offers
-- (`offered_places`), and claim_place takes no place that is offered to somebody else. Only a transaction that has
-- locked the campaign writes entries, so the entries need no lock order.

-- The number of entries before this one, + 1. At most 10000 are counted, which limits how long a join of a long waiting
-- list keeps its campaign locked.
create or replace function group_commerce.waiting_position(of_campaign varchar, entry varchar) returns integer
language sql stable as $$
  select 1 + count(*)::integer from (
    select from group_commerce.waiting_places w
    where w.campaign_id = of_campaign and w.state in ('waiting', 'offered') and w.id < entry limit 10000) before
$$;

create or replace function group_commerce.waiting_json(w group_commerce.waiting_places, place_in_list integer)
returns jsonb
language sql stable as $$
  select jsonb_build_object('id', w.id, 'campaignId', w.campaign_id, 'userId', w.user_id, 'state', w.state,
    'position', case when w.state in ('waiting', 'offered') then place_in_list end,
    'offeredUntil', case when w.state = 'offered' then platform.iso(w.offered_until) end,
    'createdAt', platform.iso(w.created_at), 'updatedAt', platform.iso(w.updated_at))
$$;

-- What joining and leaving answer about an entry: {waiting}.
create or replace function group_commerce.waiting_answer(w group_commerce.waiting_places) returns jsonb
language sql stable as $$
  select jsonb_build_object('waiting',
    group_commerce.waiting_json(w, group_commerce.waiting_position(w.campaign_id, w.id)))
$$;

-- Whether a campaign takes no more places, so that nobody can wait for one.
create or replace function group_commerce.is_waiting_list_over(c group_commerce.group_commerce_campaigns) returns boolean
language sql stable as $$
  select c.status not in ('active', 'successful') or c.settled_price is not null or platform.clock() >= c.end_time
$$;

-- Offers the free places of a campaign to the first of its waiting list, for ten minutes or until it ends. At most 500
-- at once, so that a call ends before its timeout; the cron's next call offers the others. Nothing is
-- offered after the end, or while the product is archived, because the offer could not be taken. The caller has locked
-- the campaign. Returns the number of offers. Emits place.offered.
create or replace function group_commerce.offer_places(of_campaign varchar) returns integer
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  campaign group_commerce.group_commerce_campaigns;
  ids text[];
begin
  select * into campaign from group_commerce.group_commerce_campaigns c where c.id = of_campaign;
  if group_commerce.join_fault(campaign) is not null then
    return 0;
  end if;
  ids := array(
    select w.id from group_commerce.waiting_places w
    where w.campaign_id = of_campaign and w.state = 'waiting' and not exists (
      select from catalog.products p where p.id = campaign.product_id and p.status = 'archived')
    order by w.id
    limit least(500, campaign.max_participants - campaign.actual_participants - campaign.offered_places));
  if cardinality(ids) = 0 then
    return 0;
  end if;
  update group_commerce.waiting_places w
  set state = 'offered', offered_until = least(platform.clock() + interval '10 minutes', campaign.end_time),
      updated_at = platform.clock()
  where w.id = any(ids);
  update group_commerce.group_commerce_campaigns x
  set offered_places = x.offered_places + cardinality(ids), version = platform.next_version(x.version),
      updated_at = platform.clock()
  where x.id = of_campaign;
  perform platform.emit('group-commerce.place.offered', of_campaign, jsonb_build_object('campaignId', of_campaign,
    'userId', o.user_id, 'offeredUntil', platform.iso(o.offered_until)), false)
  from (select w.user_id, w.offered_until from group_commerce.waiting_places w
    where w.id = any(ids) order by w.id) o;
  return cardinality(ids);
end
$$;

-- Ends the offers of a campaign whose time is over, and offers their places to the next entries. The caller has locked
-- the campaign. Returns the number of entries that changed.
create or replace function group_commerce.lapse_offers(of_campaign varchar) returns integer
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  lapsed integer;
begin
  update group_commerce.waiting_places w set state = 'lapsed', updated_at = platform.clock()
  where w.id = any(array( -- the entries with an offer are the first ones
    select x.id from group_commerce.waiting_places x
    where x.campaign_id = of_campaign and x.state in ('waiting', 'offered') order by x.id
    limit (select c.offered_places from group_commerce.group_commerce_campaigns c where c.id = of_campaign)))
    and w.state = 'offered' and w.offered_until <= platform.clock();
  get diagnostics lapsed = row_count;
  if lapsed > 0 then
    update group_commerce.group_commerce_campaigns x
    set offered_places = x.offered_places - lapsed, version = platform.next_version(x.version),
        updated_at = platform.clock()
    where x.id = of_campaign;
  end if;
  return lapsed + group_commerce.offer_places(of_campaign);
end
$$;

-- Adds an entry at the end of the waiting list of a full campaign. The caller has locked the campaign and found that
-- the user has neither a place nor an entry (waiting_places_one_a_user). The id sorts after that of the last entry,
-- also if the clocks of servers differ.
create or replace function group_commerce.enter_waiting_list(of_campaign varchar, waiting_user varchar) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  last_id constant varchar := (select w.id from group_commerce.waiting_places w
    where w.campaign_id = of_campaign and w.state in ('waiting', 'offered') order by w.id desc limit 1);
  entry group_commerce.waiting_places;
begin
  insert into group_commerce.waiting_places (id, tenant_id, campaign_id, user_id, state, created_at, updated_at)
  values (group_commerce.id_after(last_id), platform.tenant(), of_campaign, waiting_user, 'waiting', platform.clock(),
    platform.clock())
  returning * into entry;
  return group_commerce.waiting_answer(entry);
end
$$;

-- A UUIDv7 that sorts after this one (null: any).
create or replace function group_commerce.id_after(id varchar) returns varchar
language sql volatile as $$
  select case when fresh > id_after.id collate "C" or id_after.id is null then fresh
    else overlay(fresh placing substr(next, 1, 8) || '-' || substr(next, 9, 4) from 1 for 13) end
  from (select platform.uuid7() as fresh,
    lpad(to_hex(('x0000' || translate(substr(id_after.id, 1, 13), '-', ''))::bit(64)::bigint + 1), 12, '0') as next) x
$$;

-- Takes a user out of the waiting list of a campaign, with this state. An offered place passes to the next entry. The
-- caller has locked the campaign. Returns the entry, or null if the user has none.
create or replace function group_commerce.leave_waiting_list(of_campaign varchar, leaving_user varchar, last_state varchar)
returns group_commerce.waiting_places
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  entry group_commerce.waiting_places;
  state_before varchar;
begin
  select * into entry from group_commerce.waiting_places w
    where w.user_id = leaving_user and w.campaign_id = of_campaign and w.state in ('waiting', 'offered');
  if not found then
    return null;
  end if;
  state_before := entry.state;
  update group_commerce.waiting_places w set state = last_state, updated_at = platform.clock()
  where w.id = entry.id returning * into entry;
  if state_before = 'offered' then
    update group_commerce.group_commerce_campaigns x
    set offered_places = x.offered_places - 1, version = platform.next_version(x.version),
        updated_at = platform.clock()
    where x.id = of_campaign;
    perform group_commerce.offer_places(of_campaign);
  end if;
  return entry;
end
$$;

-- Ends the entry of a user who took a place. `w`: the entry as it was read, or null. The caller has taken the place in
-- the campaign. Raises a serialization failure if the entry changed, or the user got an offer, since it was read: the
-- Worker repeats the call.
create or replace function group_commerce.take_entry(of_campaign varchar, joining_user varchar,
  w group_commerce.waiting_places) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if w.id is null then
    if not exists (select from group_commerce.waiting_places y where y.user_id = joining_user
        and y.campaign_id = of_campaign and y.state = 'offered' and y.offered_until > platform.clock()) then
      return;
    end if;
  else
    update group_commerce.waiting_places y set state = 'taken', updated_at = platform.clock()
    where y.id = w.id and y.state = w.state and (y.state = 'waiting' or y.offered_until > platform.clock());
    if found then
      return;
    end if;
  end if;
  raise exception using errcode = 'serialization_failure', message = 'the entry in the waiting list changed';
end
$$;

-- Ends `most` entries of a campaign that takes no more places, and their offers. The caller has locked the campaign.
-- Returns how many were ended.
create or replace function group_commerce.end_waiting_list(of_campaign varchar, most integer) returns integer
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  ended record;
begin
  with first as (
    select w.id, w.state from group_commerce.waiting_places w
    where w.campaign_id = of_campaign and w.state in ('waiting', 'offered') order by w.id limit most
  ), changed as (
    update group_commerce.waiting_places w set state = 'ended', updated_at = platform.clock()
    from first where w.id = first.id returning first.state
  )
  select count(*)::integer as entries, count(*) filter (where e.state = 'offered') as offers into ended from changed e;
  if ended.offers > 0 then
    update group_commerce.group_commerce_campaigns x
    set offered_places = x.offered_places - ended.offers, version = platform.next_version(x.version),
        updated_at = platform.clock()
    where x.id = of_campaign;
  end if;
  return ended.entries;
end
$$;

-- The cron's job for waiting lists. It passes offers whose time is over to the next entry, and ends the waiting lists
-- of campaigns that take no more places. It also offers places that are free although somebody waits, which happens
-- when an archived product is for sale again. `input`: {limit}. Returns {changed}; repeat until it is 0. Emits
-- place.offered.
create or replace function group_commerce.update_waiting(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  changed integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('waiting');
  for due in
    with recursive lists(id) as ( -- the campaigns with a waiting list: one index look-up for each
      (select w.campaign_id from group_commerce.waiting_places w where w.state in ('waiting', 'offered')
        order by w.campaign_id limit 1)
      union all
      select (select w.campaign_id from group_commerce.waiting_places w
        where w.state in ('waiting', 'offered') and w.campaign_id > l.id order by w.campaign_id limit 1)
      from lists l where l.id is not null
    ), found as (
      (select w.tenant_id, w.campaign_id as id from group_commerce.waiting_places w
        where w.state = 'offered' and w.offered_until <= platform.clock() and w.campaign_id <> all(excluded_ids)
        order by w.offered_until limit (input->>'limit')::int)
      union
      (select c.tenant_id, c.id from lists l join group_commerce.group_commerce_campaigns c on c.id = l.id
        where c.id <> all(excluded_ids)
          and (group_commerce.is_waiting_list_over(c) or group_commerce.join_fault(c) is null)
        order by random() limit (input->>'limit')::int)
    )
    select f.tenant_id, array_agg(f.id::text order by f.id) as ids from found f group by f.tenant_id order by f.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('waiting', 'group_commerce.update_waiting_step', due.tenant_id, due.ids, input))
    loop
      changed := changed + (result->>'changed')::int;
    end loop;
  end loop;
  return jsonb_build_object('changed', changed);
end
$$;

-- The step of update_waiting for one tenant: these campaigns, which it locks by id. However many they are, it ends about
-- `limit` entries.
create or replace function group_commerce.update_waiting_step(ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  campaign group_commerce.group_commerce_campaigns;
  changed integer := 0;
begin
  for campaign in
    select * from group_commerce.group_commerce_campaigns c where c.id = any(ids) order by c.id for update
  loop
    changed := changed + case when group_commerce.is_waiting_list_over(campaign)
      then group_commerce.end_waiting_list(campaign.id, greatest(10, (input->>'limit')::int / cardinality(ids)))
      else group_commerce.lapse_offers(campaign.id) end;
  end loop;
  return jsonb_build_object('changed', changed);
end
$$;

-- A page of a campaign's waiting list, the first in line first. A customer's session sees its own entry only. `input`:
-- {campaignId, after?, limit}. Raises not_found (no such campaign). The answer is an array of entries.
create or replace function group_commerce.show_waiting(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'campaigns:write', '{session}');
  customer constant varchar := platform.shopper()->>'customer';
  of_campaign constant varchar := input->>'campaignId';
  ids text[];
  before integer;
begin
  if not exists (select from group_commerce.group_commerce_campaigns c where c.id = of_campaign) then
    perform platform.fail('not_found');
  end if;
  if customer is null then
    ids := array(select w.id from group_commerce.waiting_places w
      where w.campaign_id = of_campaign and w.state in ('waiting', 'offered') and w.id > coalesce(input->>'after', '')
      order by w.id limit (input->>'limit')::int);
  else
    ids := array(select w.id from group_commerce.waiting_places w
      where w.user_id = customer and w.campaign_id = of_campaign and w.state in ('waiting', 'offered')
        and w.id > coalesce(input->>'after', ''));
  end if;
  before := group_commerce.waiting_position(of_campaign, ids[1]) - 1;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', (
    select coalesce(jsonb_agg(group_commerce.waiting_json(w, least(before + e.n::integer, 10001)) order by e.n), '[]')
    from unnest(ids) with ordinality e(id, n) join group_commerce.waiting_places w on w.id = e.id));
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.update_waiting, group_commerce.show_waiting to fusion_worker;
