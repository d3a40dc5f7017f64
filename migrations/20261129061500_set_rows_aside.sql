-- A row that a job cannot process is kept as a dead letter of that job, and is tried again at `retry_at`.
alter table platform.dead_letters add column retry_at timestamptz;

-- Jobs take the rows of each tenant in turn, so each index begins with the tenant.
drop index inventory.idx_reservations_due;
create index idx_reservations_due on inventory.reservations (tenant_id, expires_at) where status = 'held';
drop index inventory.idx_reservations_pending, inventory.idx_reservations_unheard;
create index idx_reservations_pending on inventory.reservations (tenant_id, created_at) where status = 'pending';
create index idx_reservations_unheard on inventory.reservations (tenant_id, created_at) where unheard;
drop index payments.idx_payments_open;
create index idx_payments_open on payments.payments (tenant_id, checked_at)
  where status = 'pending' or intent_open or refunds_told > refund_done;
drop index payments.idx_refunds_open;
create index idx_refunds_open on payments.refunds (tenant_id, checked_at) where status = 'pending';

-- When Stripe last answered about this payment itself; an event that it sent is older news.
alter table payments.payments add column asked_at timestamptz;

-- How far Stripe's list of events has been read: one row, since there is one account.
create table payments.stripe_reading (
  one boolean primary key default true constraint stripe_reading_is_one check (one),
  read_until timestamptz not null
);
grant select, insert, update on payments.stripe_reading to fusion_payments;
