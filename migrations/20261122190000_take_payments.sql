-- What a payment needs to be made once, told from its refunds, and found again at Stripe.
alter table payments.payments
  add column updated_at timestamptz not null default now(),
  add column client_secret varchar,
  add column captured decimal(10,2) not null default 0,     -- that Stripe has taken
  add column refunded decimal(10,2) not null default 0,     -- asked for, and not failed
  add column refund_done decimal(10,2) not null default 0,  -- that Stripe has given back
  add column stripe_status varchar,
  add column attempt integer not null default 1,            -- part of Stripe's idempotency key
  add column intent_open boolean not null default false,    -- Stripe may still take money for it
  add column checked_at timestamptz not null default now(), -- when Stripe was last asked about it
  add column dispute varchar constraint payments_dispute check (dispute in ('open', 'won', 'lost')),
  add constraint payments_refunds_within_captured check (0 <= refund_done and refund_done <= refunded and refunded <= captured);

create unique index payments_one_live_an_order on payments.payments (order_id) where status in ('pending', 'succeeded');
create unique index payments_intent_unique on payments.payments (stripe_payment_intent_id)
  where stripe_payment_intent_id is not null;
-- What the cron looks up at Stripe: what waits for an end, and what must be closed there.
create index idx_payments_open on payments.payments (checked_at) where status = 'pending' or intent_open;

create table payments.refunds (
  id varchar primary key,
  tenant_id varchar not null,
  payment_id varchar not null references payments.payments (payment_id),
  amount decimal(10,2) not null constraint refunds_amount_positive check (amount > 0),
  currency varchar(3) not null,
  status varchar not null constraint refunds_status check (status in ('pending', 'succeeded', 'failed')),
  reason varchar,
  failure_reason varchar,
  stripe_refund_id varchar constraint refunds_stripe_refund_unique unique,
  attempt integer not null default 1,
  checked_at timestamptz not null,
  created_at timestamptz not null
);
create index idx_refunds_tenant_id on payments.refunds (tenant_id, id desc);
create index idx_refunds_payment_id on payments.refunds (payment_id);
create index idx_refunds_open on payments.refunds (checked_at) where status = 'pending';

alter table payments.refunds enable row level security;
alter table payments.refunds force row level security;
create policy tenant on payments.refunds
  using (tenant_id = current_setting('app.tenant_id', true))
  with check (tenant_id = current_setting('app.tenant_id', true));
-- A webhook names a payment, not a tenant; the cron looks for what is open in every tenant. Both only read so.
create policy every_tenant on payments.payments for select to fusion_payments
  using (current_setting('app.tenant_id', true) = '*');
create policy every_tenant on payments.refunds for select to fusion_payments
  using (current_setting('app.tenant_id', true) = '*');

grant select, insert, update on payments.refunds to fusion_payments;
grant select on payments.refunds to fusion_reader;
