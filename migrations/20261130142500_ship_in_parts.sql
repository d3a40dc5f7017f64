-- A merchant may send an order in several parcels, each with a label request and a shipment of its own.

-- `is_part`: POST /v1/shipments has named its units. An order has one other request at most, for all units that are left.
-- `quantities`: the units of each of the order's items, in their order, which the request or shipment holds; null in an
-- open request: not taken yet; null in a shipment: all units. `request_key`: the idempotency key of its POST.
alter table shipping.label_requests
  add column is_part boolean not null default false,
  add column quantities integer[],
  add column request_key varchar,
  drop constraint label_requests_pkey,
  drop constraint label_requests_shipment_unique,
  add constraint label_requests_pkey primary key (shipment_id);
create unique index label_requests_one_whole_an_order on shipping.label_requests (order_id) where not is_part;
create index idx_label_requests_order on shipping.label_requests (order_id, tenant_id);

-- The units guard the parcels now: orders.fulfil gives a unit to one of them.
alter table shipping.shipments add column quantities integer[];
drop index shipping.shipments_one_live_an_order;

alter table platform.tenants add column automatic_labels boolean not null default true;
grant update (automatic_labels) on platform.tenants to fusion_platform;
grant select (automatic_labels) on platform.tenants to fusion_orders, fusion_shipping;

-- Until now a shipment had all units of its order.
do $$
declare
  tenant record;
begin
  for tenant in select id from platform.tenants loop
    perform set_config('app.tenant_id', tenant.id, true);
    with sent as (
      select s.id, s.order_id, s.cancelled_at is null or s.status in ('in_transit', 'delivered') as is_live,
        array(select (i->>'quantity')::int from jsonb_array_elements(o.items) with ordinality e(i, n) order by n) as units
      from shipping.shipments s join orders.orders o on o.id = s.order_id
      where s.tenant_id = tenant.id and o.tenant_id = tenant.id
    ), shipment as (
      update shipping.shipments s set quantities = sent.units from sent where s.id = sent.id
    )
    update orders.orders o set fulfilled_quantities = sent.units from sent where o.id = sent.order_id and sent.is_live;
  end loop;
  perform set_config('app.tenant_id', '', true);
end
$$;
