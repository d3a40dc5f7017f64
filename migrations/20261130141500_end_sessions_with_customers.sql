-- A session ends with its customer: the deletion of the one deletes the other in the same transaction.
alter table platform.customer_sessions add constraint customer_sessions_customer_id_fkey
  foreign key (customer_id) references orders.customers (id) on delete cascade;
-- The purge deletes expired sessions. Two purges at once skip each other's rows.
grant update on platform.customer_sessions to fusion_platform;
