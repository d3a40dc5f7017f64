-- Jobs look at each tenant in turn, so their indexes begin with the tenant.
drop index orders.idx_carts_expires_at;
drop index orders.idx_carts_ended;
create index idx_carts_expires_at on orders.carts (tenant_id, expires_at) where status in ('open', 'ordered');
create index idx_carts_ended on orders.carts (tenant_id, updated_at) where status in ('completed', 'cancelled', 'expired');
