-- An order writes these tables several times: each check is parsed and each index is written by every one of its rows.

-- platform.emit alone adds rows, and names the sinks itself.
alter table platform.outbox drop constraint outbox_sink;

-- A reservation is found by its order; nothing looks for all those of a tenant.
drop index inventory.idx_reservations_tenant_id;
