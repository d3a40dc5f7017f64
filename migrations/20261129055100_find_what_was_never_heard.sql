-- The crons find a lost message at any age, by an index that holds only the rows whose message has not arrived.

-- Refused, and the order does not know it yet.
alter table inventory.reservations add column unheard boolean not null default false;
drop index inventory.idx_reservations_open;
create index idx_reservations_pending on inventory.reservations (created_at) where status = 'pending';
create index idx_reservations_unheard on inventory.reservations (created_at) where unheard;

-- Failed or cancelled, and the campaign has not freed its place yet.
alter table orders.orders add column place_open boolean not null default false;
drop index orders.idx_orders_ended_in_campaigns;
create index idx_orders_place_open on orders.orders (updated_at) where place_open;
drop function if exists orders.ended_in_campaigns(timestamptz, timestamptz);

-- Rows from before this migration whose message is still missing.
do $$
declare
  tenant varchar;
begin
  for tenant in select id from platform.tenants loop
    perform set_config('app.tenant_id', tenant, true);
    update inventory.reservations r set unheard = true
    where r.status = 'refused' and r.order_id in (
      select o.id from orders.orders o where o.tenant_id = tenant and o.status = 'created');
    update orders.orders o set place_open = true
    where o.tenant_id = tenant and o.status in ('failed', 'cancelled') and o.campaign_id is not null and exists (
      select from group_commerce.participants p where p.order_id = o.id and p.state in ('ordered', 'charged'));
  end loop;
  perform set_config('app.tenant_id', '', true);
end
$$;
