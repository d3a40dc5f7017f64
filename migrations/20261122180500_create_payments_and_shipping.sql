create table payments.payments (
  payment_id varchar primary key,
  order_id varchar not null,
  amount decimal(10,2) not null constraint payments_amount_not_negative check (amount >= 0),
  currency varchar(3) not null,
  status varchar not null
    constraint payments_status check (status in ('pending', 'succeeded', 'failed', 'cancelled', 'refunded')),
  stripe_payment_intent_id varchar,
  failure_reason text,
  created_at timestamptz default now(),
  tenant_id varchar not null default 'default'
);
create index idx_payments_order_id on payments.payments (order_id);
create index idx_payments_tenant_id on payments.payments (tenant_id, payment_id desc);

create table shipping.shipments (
  id varchar primary key,
  order_id varchar not null,
  tracking_number varchar not null,
  carrier varchar not null,
  label_url text not null,
  status varchar not null constraint shipments_status check (status in ('created', 'in_transit', 'delivered')),
  created_at timestamptz default now(),
  tenant_id varchar not null default 'default'
);
create index idx_shipments_order_id on shipping.shipments (order_id);
create index idx_shipments_tenant_id on shipping.shipments (tenant_id, id desc);

alter table payments.payments enable row level security;
alter table payments.payments force row level security;
create policy tenant on payments.payments
  using (tenant_id = current_setting('app.tenant_id', true))
  with check (tenant_id = current_setting('app.tenant_id', true));
alter table shipping.shipments enable row level security;
alter table shipping.shipments force row level security;
create policy tenant on shipping.shipments
  using (tenant_id = current_setting('app.tenant_id', true))
  with check (tenant_id = current_setting('app.tenant_id', true));

grant select, insert, update on payments.payments to fusion_payments;
grant select on payments.payments to fusion_reader, fusion_orders;
grant select, insert, update on shipping.shipments to fusion_shipping;
grant select on shipping.shipments to fusion_reader, fusion_orders;
