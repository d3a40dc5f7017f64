-- requires: platform/events.sql
-- Low stock: a SKU may have a threshold. A trigger on the stock sees every change, whoever made it, and its condition
-- costs an order almost nothing.

-- Emits inventory.low. The row of the stock is locked, so the order of the events is the order of the changes.
create or replace function inventory.report_low_stock() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.emit('inventory.low', new.sku, jsonb_build_object('sku', new.sku, 'quantity', new.quantity,
    'lowStockThreshold', new.low_threshold), false);
  return null;
end
$$;

-- Once when the quantity reaches the threshold, and again only after it has been above it.
create or replace trigger report_low_stock after update on inventory.inventory
  for each row when (new.quantity <= new.low_threshold and (old.quantity <= old.low_threshold) is not true)
  execute function inventory.report_low_stock();

call platform.set_owner('inventory', 'fusion_inventory');
