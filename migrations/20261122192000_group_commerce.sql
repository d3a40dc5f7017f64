-- Campaigns with money and stock behind every place.
alter table group_commerce.group_commerce_campaigns
  add column sku varchar not null,
  add column currency varchar(3) not null,
  add column success_on varchar not null default 'joined'
    constraint campaigns_success_on check (success_on in ('joined', 'secured')),
  add column secured_participants integer not null default 0,
  add column version integer not null default 1,
  add column settled_at timestamptz, -- success: every participant has an order; end without it: all are released
  add column created_at timestamptz not null default now(),
  add column updated_at timestamptz not null default now(),
  add constraint campaigns_secured_have_places check (secured_participants between 0 and actual_participants);

create index idx_campaigns_status on group_commerce.group_commerce_campaigns (tenant_id, status, id desc);
-- What the cron ends, and what it settles or releases.
create index idx_campaigns_running on group_commerce.group_commerce_campaigns (end_time) where status = 'active';
create index idx_campaigns_unsettled on group_commerce.group_commerce_campaigns (id)
  where settled_at is null and status <> 'active';

-- A place in a campaign. `order_id` is allocated at the join: the unit and the money are held under it, and success makes
-- the order of that id.
create table group_commerce.participants (
  id varchar primary key,
  tenant_id varchar not null,
  campaign_id varchar not null references group_commerce.group_commerce_campaigns (id),
  user_id varchar not null,
  order_id varchar not null constraint participants_order_unique unique,
  payment_id varchar, -- null where there is nothing to pay
  shipping_address jsonb,
  state varchar not null
    constraint participants_state check (state in ('joined', 'secured', 'ordered', 'charged', 'released')),
  reason varchar constraint participants_released_why check (state <> 'released' or reason is not null),
  joined_at timestamptz not null,
  secure_by timestamptz, -- until when the money must be secured
  secured_at timestamptz,
  updated_at timestamptz not null
);
create unique index participants_one_place_a_user on group_commerce.participants (campaign_id, user_id)
  where state <> 'released';
create index idx_participants_tenant_id on group_commerce.participants (tenant_id, campaign_id, id desc);
create index idx_participants_due on group_commerce.participants (secure_by) where state = 'joined';
create index idx_participants_unsettled on group_commerce.participants (campaign_id, id) where state in ('joined', 'secured');

alter table group_commerce.participants enable row level security;
alter table group_commerce.participants force row level security;
create policy tenant on group_commerce.participants
  using (tenant_id = current_setting('app.tenant_id', true))
  with check (tenant_id = current_setting('app.tenant_id', true));
-- The cron looks for what is due in every tenant; what it then changes, it changes as that tenant.
create policy every_tenant on group_commerce.participants for select to fusion_group_commerce
  using (current_setting('app.tenant_id', true) = '*');
create policy every_tenant on group_commerce.group_commerce_campaigns for select to fusion_group_commerce
  using (current_setting('app.tenant_id', true) = '*');

grant select, insert, update on group_commerce.participants to fusion_group_commerce;
grant select on group_commerce.participants to fusion_reader;

-- How the money of a place is secured before its order is there.
alter table payments.payments
  add column mode varchar not null default 'order'
    constraint payments_mode check (mode in ('order', 'hold', 'card')), -- charged on confirmation; held; a card is saved
  add column campaign_id varchar,
  add column user_id varchar,
  add column setup_intent_id varchar,
  add column customer_id varchar,
  add column payment_method_id varchar,
  add column capture_asked boolean not null default false; -- the money is to be taken: the campaign has succeeded

create unique index payments_setup_unique on payments.payments (setup_intent_id) where setup_intent_id is not null;
create index idx_payments_campaign on payments.payments (campaign_id, user_id) where campaign_id is not null;
