-- As the lists of orders and products: sorted by id under its own collation, so that only their own index can serve them.
drop index group_commerce.idx_participants_tenant_id, group_commerce.idx_campaigns_tenant_id, group_commerce.idx_campaigns_status;
create index idx_participants_tenant_id on group_commerce.participants (tenant_id, campaign_id, (id collate "C") desc);
create index idx_campaigns_tenant_id on group_commerce.group_commerce_campaigns (tenant_id, (id collate "C") desc);
create index idx_campaigns_status on group_commerce.group_commerce_campaigns (tenant_id, status, (id collate "C") desc);
