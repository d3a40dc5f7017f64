-- A service writes its change, the event and the outbox rows in one statement. It may append events and outbox rows of its
-- tenant. Only fusion_platform reads, changes and deletes outbox rows.
grant insert (tenant_id, topic, key, payload, traceparent, time), select (seq, tenant_id, key) on platform.events
  to fusion_catalog, fusion_inventory, fusion_orders, fusion_group_commerce, fusion_payments, fusion_shipping;
grant insert (tenant_id, sink, seq, key, due_at) on platform.outbox
  to fusion_catalog, fusion_inventory, fusion_orders, fusion_group_commerce, fusion_payments, fusion_shipping;
