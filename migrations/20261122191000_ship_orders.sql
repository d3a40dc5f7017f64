-- What a label needs to be made once, printed again, and found by its tracking number.
alter table shipping.shipments
  add column provider varchar not null default 'manual', -- whose API made it; `carrier` is who carries the parcel
  add column external_id varchar,                        -- the provider's own id of the label
  add column exception text,                             -- what last went wrong on the way, in the carrier's words
  add column tracked_at timestamptz,                     -- the time that the carrier's last update tells
  add column updated_at timestamptz not null default now();

create unique index shipments_one_an_order on shipping.shipments (order_id);
create index idx_shipments_tracking_number on shipping.shipments (tracking_number);

-- What is to be done at the carrier: one row an order, made before the carrier is asked and kept after it, since an
-- embedded label is drawn from it again. `refused`: a dead letter or a 422 says why; `ended`: the order wants none.
create table shipping.label_requests (
  order_id varchar primary key,
  tenant_id varchar not null,
  shipment_id varchar not null constraint label_requests_shipment_unique unique, -- the carrier's idempotency key
  status varchar not null constraint label_requests_status check (status in ('open', 'made', 'refused', 'ended')),
  address jsonb not null,
  sender jsonb, -- and the parcel: as they were when the carrier was last asked
  parcel jsonb,
  attempts integer not null default 0, -- since it was opened, or opened again
  leased_until timestamptz,            -- somebody is asking the carrier: calls for one shipment must not overlap
  last_error text,
  tried_at timestamptz not null,
  created_at timestamptz not null
);
create index idx_label_requests_tenant_id on shipping.label_requests (tenant_id, order_id);
create index idx_label_requests_open on shipping.label_requests (tried_at) where status = 'open';

alter table shipping.label_requests enable row level security;
alter table shipping.label_requests force row level security;
create policy tenant on shipping.label_requests
  using (tenant_id = current_setting('app.tenant_id', true))
  with check (tenant_id = current_setting('app.tenant_id', true));
-- A carrier names a tracking number, not a tenant; the cron looks for what is open in every tenant. Both only read so.
create policy every_tenant on shipping.shipments for select to fusion_shipping
  using (current_setting('app.tenant_id', true) = '*');
create policy every_tenant on shipping.label_requests for select to fusion_shipping
  using (current_setting('app.tenant_id', true) = '*');

grant select, insert, update on shipping.label_requests to fusion_shipping;
grant select on shipping.label_requests to fusion_reader;
