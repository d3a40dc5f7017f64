create table group_commerce.group_commerce_campaigns (
  id varchar primary key,
  product_id varchar not null,
  min_participants integer not null constraint campaigns_min_positive check (min_participants > 0),
  max_participants integer not null constraint campaigns_max_at_least_min check (max_participants >= min_participants),
  actual_participants integer not null default 0
    constraint campaigns_not_overfull check (actual_participants between 0 and max_participants),
  price decimal(10,2) not null constraint campaigns_price_not_negative check (price >= 0),
  original_price decimal(10,2) not null constraint campaigns_price_not_above_original check (original_price >= price),
  start_time timestamptz not null,
  end_time timestamptz not null constraint campaigns_end_after_start check (end_time > start_time),
  status varchar not null constraint campaigns_status check (status in ('active', 'successful', 'failed', 'expired')),
  tenant_id varchar not null default 'default'
);
create index idx_campaigns_tenant_id on group_commerce.group_commerce_campaigns (tenant_id, id desc);

alter table group_commerce.group_commerce_campaigns enable row level security;
alter table group_commerce.group_commerce_campaigns force row level security;
create policy tenant on group_commerce.group_commerce_campaigns
  using (tenant_id = current_setting('app.tenant_id', true))
  with check (tenant_id = current_setting('app.tenant_id', true));

grant select, insert, update on group_commerce.group_commerce_campaigns to fusion_group_commerce;
grant select on group_commerce.group_commerce_campaigns to fusion_reader;
