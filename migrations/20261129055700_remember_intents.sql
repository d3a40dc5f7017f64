-- Every PaymentIntent that was ever made for a payment. payments.stripe_payment_intent_id is the one that counts.
create table payments.intents (
  stripe_id varchar constraint intents_known_once primary key,
  tenant_id varchar not null,
  payment_id varchar not null references payments.payments (payment_id),
  amount numeric not null,             -- as Stripe says, also where it is not the payment's
  currency varchar not null,
  status varchar not null,             -- Stripe's
  received numeric not null default 0, -- the money that it has taken
  fault varchar,                       -- why it cannot pay the payment; null: it can
  created_at timestamptz not null
);
create index idx_intents_tenant_id on payments.intents (tenant_id, stripe_id desc);
create index idx_intents_payment_id on payments.intents (payment_id);

alter table payments.intents enable row level security;
alter table payments.intents force row level security;
create policy tenant on payments.intents
  using (tenant_id = current_setting('app.tenant_id', true))
  with check (tenant_id = current_setting('app.tenant_id', true));
-- A webhook names an intent, not a tenant.
create policy every_tenant on payments.intents for select to fusion_payments
  using (current_setting('app.tenant_id', true) = '*');
grant select, insert, update on payments.intents to fusion_payments;

insert into payments.intents (stripe_id, tenant_id, payment_id, amount, currency, status, received, created_at)
select p.stripe_payment_intent_id, p.tenant_id, p.payment_id, p.amount, p.currency,
  case when p.captured > 0 then 'succeeded' when p.status <> 'pending' and not p.intent_open then 'canceled'
    when p.stripe_status is null or p.stripe_status like 'setup%' then 'requires_payment_method' else p.stripe_status end,
  p.captured, coalesce(p.created_at, now())
from payments.payments p where p.stripe_payment_intent_id is not null;

alter table payments.refunds
  add column stripe_intent_id varchar,                  -- the intent whose money goes back; null: the payment's own
  add column automatic boolean not null default false;  -- promised by us, because nobody may keep the money
update payments.refunds r set stripe_intent_id = p.stripe_payment_intent_id
from payments.payments p where p.payment_id = r.payment_id;
update payments.refunds r set automatic = true
where r.reason in ('order_cancelled', 'order_ended', 'place_lost', 'reservation_expired', 'stock_gone')
  or r.reason in ('campaign_expired', 'campaign_failed');

alter table payments.payments
  add column charge_asked_at timestamptz,   -- when Stripe was last asked to charge the saved method
  add column charges_looked_at timestamptz; -- when the customer's charges were last looked up after that

-- Charges that an earlier release asked for and may never have heard of.
update payments.payments set charge_asked_at = updated_at where mode = 'card' and capture_asked;
update payments.payments set intent_open = true
where mode = 'card' and capture_asked and captured = 0 and status in ('failed', 'cancelled');
