-- A shipment ends with its order, and its label is voided at the carrier.
alter table shipping.shipments
  drop constraint shipments_status,
  add constraint shipments_status check (status in ('created', 'in_transit', 'delivered', 'cancelled')),
  add column cancelled_at timestamptz; -- from then on its label is refused, also if the parcel leaves all the same

-- Labels to void: one row a shipment id, under which the label was asked for. `refused`: the carrier does not void it.
create table shipping.label_voids (
  shipment_id varchar primary key,
  tenant_id varchar not null,
  order_id varchar not null,
  provider varchar,        -- null, like the next three: it is not known whether the carrier made a label
  carrier varchar,
  tracking_number varchar,
  external_id varchar,
  status varchar not null constraint label_voids_status check (status in ('open', 'done', 'refused')),
  attempts integer not null default 0,
  due_at timestamptz not null, -- not before this time: somebody else asks the carrier, or the wait after a failure
  last_error text,
  created_at timestamptz not null
);
create index idx_label_voids_due on shipping.label_voids (due_at) where status = 'open';
create index idx_label_voids_tenant_id on shipping.label_voids (tenant_id, shipment_id);

alter table shipping.label_voids enable row level security;
alter table shipping.label_voids force row level security;
create policy tenant on shipping.label_voids
  using (tenant_id = current_setting('app.tenant_id', true))
  with check (tenant_id = current_setting('app.tenant_id', true));
-- The cron looks for what is due in every tenant; what it then changes, it changes as that tenant.
create policy every_tenant on shipping.label_voids for select to fusion_shipping
  using (current_setting('app.tenant_id', true) = '*');
grant select, insert, update on shipping.label_voids to fusion_shipping;

-- Whether the units of an order whose payment is refunded go back into stock; null: unless a label was made.
alter table payments.refunds add column restock boolean;
drop function if exists orders.mark_refunded(varchar);
