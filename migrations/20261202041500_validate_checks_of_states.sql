-- Reads the tables without blocking their writers.
alter table orders.orders validate constraint orders_status;
alter table orders.carts validate constraint carts_status;
alter table inventory.reservations validate constraint reservations_status;
alter table payments.payments validate constraint payments_status, validate constraint payments_mode,
  validate constraint payments_dispute;
alter table group_commerce.participants validate constraint participants_state;
alter table group_commerce.teams validate constraint teams_status;
