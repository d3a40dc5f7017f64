-- As one constant: see 20261202041000_check_states_of_orders.sql. The migration 20261202041500 validates it.
alter table inventory.reservations
  drop constraint reservations_status,
  add constraint reservations_status check (status::text = any ('{pending,held,committed,released,refused}'::text[])) not valid;
