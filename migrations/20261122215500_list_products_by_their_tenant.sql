-- As the lists of orders: sorted by id under its own collation, so that no list walks the products of all tenants.
drop index catalog.idx_products_tenant_id;
create index idx_products_tenant_id on catalog.products (tenant_id, (id collate "C") desc);
