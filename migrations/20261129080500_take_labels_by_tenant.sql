-- The jobs that remind of labels and void them take the tenants in turn: one tenant's backlog delays no other.
create index idx_label_voids_open on shipping.label_voids (tenant_id, due_at) where status = 'open';
create index idx_label_requests_tenant_open on shipping.label_requests (tenant_id, tried_at) where status = 'open';
