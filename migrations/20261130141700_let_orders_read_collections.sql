-- A discount names collections, and orders checks that they exist.
grant select (id, tenant_id) on catalog.collections to fusion_orders;
