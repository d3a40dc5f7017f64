-- requires: group-commerce/campaigns.sql, orders/campaign-places.sql
-- Who may take a place, and who invited them.

-- Why this user may not join a campaign (`joiners`): customer_not_eligible. Null if they may. An order that is paid
-- later does not undo the place, so no lock is needed.
create or replace function group_commerce.joiner_fault(c group_commerce.group_commerce_campaigns, of_user varchar)
returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if c.joiners = 'new_customers' and orders.has_bought(of_user) then
    return jsonb_build_object('error', 'customer_not_eligible', 'detail', concat(
      'Only customers without a paid order may join this campaign, and this customer has one.',
      case c.mode when 'teams' then ' They may open a team.' end));
  end if;
  return null;
end
$$;

-- The faults of `invitedBy` of a new place, [{pointer, detail}]. The inviter is another user who has or had a place in
-- the campaign. Places are never deleted, so no lock is needed. `input`: {userId, invitedBy}.
create or replace function group_commerce.invite_faults(of_campaign varchar, input jsonb) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  inviter constant varchar := input->>'invitedBy';
begin
  if inviter = input->>'userId' then
    return jsonb_build_array(jsonb_build_object('pointer', '/invitedBy', 'detail', 'must be another user'));
  end if;
  return case
    when exists (select from group_commerce.participants p -- one look-up for each of the two indexes on the user
        where p.user_id = inviter and p.campaign_id = of_campaign and p.state <> 'released')
      or exists (select from group_commerce.participants p
        where p.user_id = inviter and p.campaign_id = of_campaign and p.state = 'released') then '[]'::jsonb
    else jsonb_build_array(jsonb_build_object('pointer', '/invitedBy', 'detail', 'has no place in this campaign')) end;
end
$$;

-- A page of a campaign's inviters, by id. `input`: {campaignId, after?, limit}. Returns [{userId, invited, charged}].
-- `invited`: the places that users whom they invited have now. `charged`: those that are charged and not refunded. A
-- session gets only its customer. Raises not_found.
create or replace function group_commerce.show_referrals(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'campaigns:write', '{session}');
  customer constant varchar := platform.shopper()->>'customer';
  after constant varchar := coalesce(input->>'after', '');
  answer jsonb;
begin
  if not exists (select from group_commerce.group_commerce_campaigns c where c.id = input->>'campaignId') then
    perform platform.fail('not_found');
  end if;
  if customer is not null then
    select case count(*) when 0 then '[]' else jsonb_build_array(group_commerce.referrals_json(customer, count(*)
      filter (where p.state <> 'released'), count(*) filter (where p.state = 'charged' and not p.refunded))) end
    into answer from group_commerce.participants p
    where p.campaign_id = input->>'campaignId' and p.invited_by = customer and customer > after;
  else
    select coalesce(jsonb_agg(group_commerce.referrals_json(r.invited_by, r.invited, r.charged) order by r.invited_by), '[]')
    into answer
    from (
      select p.invited_by, count(*) filter (where p.state <> 'released') as invited,
        count(*) filter (where p.state = 'charged' and not p.refunded) as charged
      from group_commerce.participants p
      where p.campaign_id = input->>'campaignId' and p.invited_by > after and p.invited_by is not null
      group by p.invited_by order by p.invited_by limit (input->>'limit')::int
    ) r;
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', answer);
end
$$;

create or replace function group_commerce.referrals_json(user_id varchar, invited bigint, charged bigint) returns jsonb
language sql immutable as $$
  select jsonb_build_object('userId', user_id, 'invited', invited, 'charged', charged)
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.show_referrals to fusion_worker;
