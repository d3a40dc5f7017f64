-- A charge can tell of more refunds than we have heard of: the cron then looks for them.
alter table payments.payments
  add column refunds_told decimal(10,2) not null default 0; -- the most that Stripe has told of this payment's charge

drop index payments.idx_payments_open;
create index idx_payments_open on payments.payments (checked_at)
  where status = 'pending' or intent_open or refunds_told > refund_done;
