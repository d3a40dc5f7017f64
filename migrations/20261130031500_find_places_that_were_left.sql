-- A user who leaves a campaign again, or never joined it, has no other place there. Without this index such a call reads all
-- places of the campaign.
create index if not exists idx_participants_released on group_commerce.participants (campaign_id, user_id)
  where state = 'released';
