-- As one constant: see 20261202041000_check_states_of_orders.sql. The migration 20261202041500 validates it.
alter table group_commerce.teams
  drop constraint teams_status,
  add constraint teams_status check (status::text = any ('{forming,successful,expired,merged,cancelled}'::text[])) not valid;
