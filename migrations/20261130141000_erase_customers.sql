-- Places are found by their user, for erasing a customer. The same two indexes, with the user first: a join pays nothing
-- for it.
create unique index participants_one_place_a_user_first on group_commerce.participants (user_id, campaign_id)
  where state <> 'released';
drop index group_commerce.participants_one_place_a_user;
alter index group_commerce.participants_one_place_a_user_first rename to participants_one_place_a_user;
create index idx_participants_released_user on group_commerce.participants (user_id, campaign_id) where state = 'released';
drop index group_commerce.idx_participants_released;
alter index group_commerce.idx_participants_released_user rename to idx_participants_released;
