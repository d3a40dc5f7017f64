-- The cron of group commerce looks for places whose order has ended and whose message was lost.

create index idx_orders_ended_in_campaigns on orders.orders (updated_at)
  where campaign_id is not null and status in ('failed', 'cancelled');

create policy every_tenant_in_campaigns on orders.orders for select to fusion_orders
  using (current_setting('app.tenant_id', true) = '*' and campaign_id is not null);
