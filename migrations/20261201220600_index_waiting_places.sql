-- The entries of a user that no longer wait: the last one is the answer to a repeated leave.
create index idx_waiting_places_ended on group_commerce.waiting_places (user_id, campaign_id, id desc)
  where state in ('taken', 'lapsed', 'left', 'ended');
