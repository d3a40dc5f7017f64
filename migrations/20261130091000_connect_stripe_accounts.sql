-- Tenants have their own account at Stripe. tenants.stripe_account is the one that can take payments.
alter table platform.tenants
  -- The account that was made for the tenant, while Stripe does not let it take payments.
  add column stripe_pending varchar constraint tenants_stripe_pending_unique unique;
grant update (stripe_account, stripe_pending, version, updated_at) on platform.tenants to fusion_platform;
grant select (stripe_account) on platform.tenants to fusion_payments;

-- How far the event list of each tenant's own account has been read. That of the platform's account has
-- payments.stripe_reading.
create table payments.account_readings (
  tenant_id varchar not null,
  account varchar not null,
  read_until timestamptz,                              -- null: never read
  tried_at timestamptz not null default '-infinity',   -- accounts are read in turn
  rechecked_at timestamptz not null default '-infinity',
  withdrawn_at timestamptz,                            -- since when Stripe gives us no access to it
  constraint account_readings_once primary key (tenant_id, account)
);
create index idx_account_readings_tried_at on payments.account_readings (tried_at);
create index idx_account_readings_rechecked_at on payments.account_readings (rechecked_at);

alter table payments.account_readings enable row level security;
alter table payments.account_readings force row level security;
-- In a form that no index serves: see look_rows_up_by_their_ids.
create policy tenant on payments.account_readings
  using (case when tenant_id = current_setting('app.tenant_id', true) then true end is not null)
  with check (tenant_id = current_setting('app.tenant_id', true));
-- The cron reads the accounts of every tenant, and holds of every tenant depend on it.
create policy every_tenant on payments.account_readings for select to fusion_payments
  using (current_setting('app.tenant_id', true) = '*');
grant select, insert, update on payments.account_readings to fusion_payments;

-- The accounts that have open payments, for the cron that reads their events.
create index idx_payments_account on payments.payments (tenant_id, stripe_account)
  where stripe_account is not null and (status = 'pending' or intent_open or refunds_told > refund_done);
