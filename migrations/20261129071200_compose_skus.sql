-- Requests are read in NFC, the composed form of Unicode, so a SKU that was stored in another form cannot be reached. It is
-- composed here, unless that would make two SKUs of a tenant one: a warning names these. Orders and events stay as they were.
do $$
declare
  tenant varchar;
  stored text[];   -- SKUs of the tenant that are not composed
  composable text[];
  spelt text;
begin
  for tenant in select id from platform.tenants order by id loop
    perform set_config('app.tenant_id', tenant, true);
    continue when not exists (select from catalog.products p where p.tenant_id = tenant and p.sku is not nfc normalized)
      and not exists (select from inventory.inventory s where s.tenant_id = tenant and s.sku is not nfc normalized);
    -- Nobody may hold or release units by the old SKU meanwhile. The order is that of all locks.
    lock table group_commerce.group_commerce_campaigns, catalog.products, inventory.reservations, inventory.inventory
      in share row exclusive mode;
    with known as (
      select p.sku from catalog.products p where p.tenant_id = tenant
      union select s.sku from inventory.inventory s where s.tenant_id = tenant
    ), spellings as (
      select array_agg(k.sku::text order by k.sku) as skus from known k group by normalize(k.sku, nfc)
    )
    select array_agg(sku), coalesce(array_agg(sku) filter (where cardinality(skus) = 1), '{}') into stored, composable
    from spellings, unnest(skus) sku where sku is not nfc normalized;
    update group_commerce.group_commerce_campaigns c set sku = normalize(c.sku, nfc)
      where c.tenant_id = tenant and c.sku = any(composable);
    update catalog.products p set sku = normalize(p.sku, nfc) where p.tenant_id = tenant and p.sku = any(composable);
    update inventory.reservations r
      set skus = array(select case when sku = any(composable) then normalize(sku, nfc) else sku end
        from unnest(r.skus) with ordinality line(sku, at) order by at)
      where r.tenant_id = tenant and r.skus && composable;
    update inventory.inventory s set sku = normalize(s.sku, nfc) where s.tenant_id = tenant and s.sku = any(composable);
    update inventory.adjustments a set sku = normalize(a.sku, nfc) where a.tenant_id = tenant and a.sku = any(composable);
    foreach spelt in array stored loop
      continue when spelt = any(composable);
      raise warning 'tenant %: the SKU % cannot be reached, since its composed form % is another SKU. Read its product by id and archive it.',
        tenant, to_json(spelt), to_json(normalize(spelt, nfc));
    end loop;
  end loop;
  perform set_config('app.tenant_id', '', true);
end
$$;
