-- As one constant: see 20261202041000_check_states_of_orders.sql. The migration 20261202041500 validates it.
alter table orders.carts
  drop constraint carts_status,
  add constraint carts_status check (status::text = any ('{open,ordered,completed,cancelled,expired}'::text[])) not valid;
