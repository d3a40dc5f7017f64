-- As one constant: see 20261202041000_check_states_of_orders.sql. The migration 20261202041500 validates it.
alter table payments.payments
  drop constraint payments_status,
  add constraint payments_status check (status::text = any ('{pending,succeeded,failed,cancelled,refunded}'::text[])) not valid,
  drop constraint payments_mode,
  add constraint payments_mode check (mode::text = any ('{order,hold,card}'::text[])) not valid,
  drop constraint payments_dispute,
  add constraint payments_dispute check (dispute::text = any ('{open,won,lost}'::text[])) not valid;
