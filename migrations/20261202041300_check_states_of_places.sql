-- As one constant: see 20261202041000_check_states_of_orders.sql. The migration 20261202041500 validates it.
alter table group_commerce.participants
  drop constraint participants_state,
  add constraint participants_state check (state::text = any ('{joined,secured,ordered,charged,released}'::text[])) not valid;
