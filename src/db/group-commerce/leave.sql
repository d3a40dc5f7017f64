-- requires: group-commerce/waiting.sql
-- Leaving a pool or its waiting list.

-- `input`: {campaignId, userId?}; a customer's session leaves as its customer. Allowed while the campaign collects
-- places. A user without a place leaves the waiting list; the answer is then {waiting}. A user who has left already
-- gets the same result. Raises not_found. Returns the errors campaign_not_open and conflict (the campaign has teams).
-- Emits campaign.left, payment.cancelled, inventory.released, place.offered.
create or replace function group_commerce.leave_campaign(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'campaigns:write', 'campaigns.leave', '{session}');
  campaign group_commerce.group_commerce_campaigns;
  participant group_commerce.participants;
  entry group_commerce.waiting_places;
  changed text[] := '{}';
begin
  if replay is not null then
    return replay;
  end if;
  if platform.shopper() is not null then
    input := group_commerce.as_customer(input);
  end if;
  campaign := group_commerce.lock_campaign(input->>'campaignId');
  if campaign.mode <> 'pool' then
    return platform.leave(call, 'campaigns.leave', jsonb_build_object('error', 'conflict', 'detail',
      'This campaign has teams: leave the team.'));
  end if;
  if campaign.max_per_customer is not null then
    perform 1 from group_commerce.campaign_customers n
      where n.campaign_id = campaign.id and n.user_id = input->>'userId' for update;
  end if;
  select * into participant from group_commerce.participants x
    where x.campaign_id = campaign.id and x.user_id = input->>'userId' and x.state <> 'released' for update;
  if not found then
    entry := group_commerce.leave_waiting_list(campaign.id, input->>'userId', 'left');
    if entry.id is not null then
      return platform.leave(call, 'campaigns.leave', group_commerce.waiting_answer(entry));
    end if;
    -- by idx_participants_released and idx_waiting_places_ended, whose conditions are these states
    select * into participant from group_commerce.participants x
      where x.campaign_id = campaign.id and x.user_id = input->>'userId' and x.state = 'released'
      order by x.id desc limit 1 for update;
    select * into entry from group_commerce.waiting_places w
      where w.campaign_id = campaign.id and w.user_id = input->>'userId'
        and w.state in ('taken', 'lapsed', 'left', 'ended') order by w.id desc limit 1;
    if entry.updated_at > coalesce(participant.updated_at, '-infinity') then
      return platform.leave(call, 'campaigns.leave', group_commerce.waiting_answer(entry));
    end if;
  end if;
  if participant.id is null then
    perform platform.fail('not_found');
  end if;
  if participant.state <> 'released' then
    if not group_commerce.is_collecting(campaign) then
      return platform.leave(call, 'campaigns.leave', jsonb_build_object('error', 'campaign_not_open',
        'detail', format('The campaign is %s.', campaign.status)));
    end if;
    changed := group_commerce.free_places(campaign.id, array[participant.id::text], 'left', 'cancelled');
    select * into participant from group_commerce.participants x where x.id = participant.id;
  end if;
  return platform.leave(call, 'campaigns.leave', group_commerce.participant_json(participant)
    || group_commerce.place_terms(campaign) || jsonb_build_object('changedSkus', changed));
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.leave_campaign to fusion_worker;
