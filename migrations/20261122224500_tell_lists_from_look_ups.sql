-- Ids under a collation of their own kept lists off the primary keys, but look-ups by id off the lists' indexes as well:
-- with statistics that know no order of a status yet, a look-up then read all orders of that status. So they are plain
-- again, and the tenant is not compared by `=` but by `= any`. For `=` the planner takes the order of the primary key for
-- that of (tenant, id), and walks all tenants' rows for a list of one; for `= any` it does not. Both look up as well.
drop index orders.idx_orders_tenant_id, orders.idx_orders_organization_id, orders.idx_orders_customer_id, orders.idx_orders_status;
create index idx_orders_tenant_id on orders.orders (tenant_id, id desc);
create index idx_orders_organization_id on orders.orders (organization_id, tenant_id, id desc) where organization_id is not null;
create index idx_orders_customer_id on orders.orders (tenant_id, customer_id, id desc);
create index idx_orders_status on orders.orders (tenant_id, status, id desc);
drop index catalog.idx_products_tenant_id;
create index idx_products_tenant_id on catalog.products (tenant_id, id desc);
drop index group_commerce.idx_participants_tenant_id, group_commerce.idx_campaigns_tenant_id, group_commerce.idx_campaigns_status;
create index idx_participants_tenant_id on group_commerce.participants (tenant_id, campaign_id, id desc);
create index idx_campaigns_tenant_id on group_commerce.group_commerce_campaigns (tenant_id, id desc);
create index idx_campaigns_status on group_commerce.group_commerce_campaigns (tenant_id, status, id desc);

do $$
declare
  listed text;
begin
  foreach listed in array array['orders.orders', 'catalog.products', 'inventory.inventory',
    'group_commerce.group_commerce_campaigns', 'group_commerce.participants'] loop
    execute format('alter policy tenant on %s using (tenant_id = any (array[current_setting(''app.tenant_id'', true)]))', listed);
  end loop;
end
$$;
