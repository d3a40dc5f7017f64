-- requires: platform/access.sql, platform/events.sql
-- The tables that the Worker may read, and the scopes for each. fusion_reader sees a row only if this transaction has
-- authenticated a key of the row's tenant for one of the scopes (platform.authenticate, platform.proven_tenant). To set
-- a tenant is not enough. Publishable keys are public, so tables with their scopes must hold nothing secret.

do $$
declare
  readable record;
  rule text;
begin
  for readable in
    select t.name::regclass as name, string_to_array(t.scopes, ' ') as scopes, case when t.is_listed_by_id
      then '((tenant_id)::text = ANY (ARRAY[current_setting(''app.tenant_id''::text, true)]))'
      else '((tenant_id)::text = current_setting(''app.tenant_id''::text, true))' end as named
    from (values
      ('catalog.products', true, 'catalog:read catalog:write'),
      ('catalog.product_groups', true, 'catalog:read catalog:write'),
      ('catalog.collections', true, 'catalog:read catalog:write'),
      ('catalog.collection_products', false, 'catalog:read catalog:write'),
      ('inventory.inventory', true, 'catalog:read catalog:write inventory:read inventory:write'),
      ('catalog.price_lists', true, 'catalog:write'), -- not for publishable keys: a list may belong to one organization
      ('catalog.prices', false, 'catalog:write'),
      ('orders.customers', true, 'customers:read customers:write'),
      ('orders.tax_rates', true, 'tax:read tax:write'),
      ('orders.shipping_options', true, 'shipping:read shipping:write'),
      ('orders.discounts', true, 'discounts:read discounts:write'),
      ('orders.discount_counters', false, 'discounts:read discounts:write'),
      ('inventory.reservations', false, 'inventory:read inventory:write orders:read orders:write'),
      ('group_commerce.group_commerce_campaigns', true, 'campaigns:read campaigns:write'),
      ('group_commerce.teams', true, 'campaigns:read campaigns:write'),
      ('group_commerce.participants', true, 'campaigns:write'),
      ('group_commerce.waiting_places', true, 'campaigns:write'),
      ('orders.orders', true, 'orders:read orders:write payments:read payments:write shipping:read shipping:write'),
      ('payments.payments', false, 'orders:read orders:write payments:read payments:write'),
      ('orders.returns', true, 'orders:read orders:write'),
      ('payments.refunds', false, 'orders:read orders:write payments:read payments:write'),
      ('shipping.shipments', false, 'orders:read orders:write shipping:read shipping:write'),
      ('shipping.label_requests', false, 'shipping:read shipping:write'),
      ('platform.events', false, 'orders:read events:read events:write'),
      ('platform.dead_letters', false, 'events:read events:write')
    ) t(name, is_listed_by_id, scopes)
  loop
    -- Two conditions. The first compares the tenant that is set, so the planner can use statistics and an index. With
    -- `= any` a list by id does not walk the primary key. The second checks once for each query (a sub-select) that it is
    -- the authenticated tenant. The planner takes `case … is not null` for nearly always true.
    rule := format('%s and case when tenant_id = (select platform.proven_tenant(variadic %L::text[])) then true end is not null',
      readable.named, readable.scopes);
    -- Only if the rule differs, because changing a policy locks its table.
    continue when exists (select from pg_policy p
      where p.polrelid = readable.name and p.polname = 'proven_tenant' and obj_description(p.oid, 'pg_policy') = rule);
    execute format('drop policy if exists proven_tenant on %s', readable.name);
    execute format('create policy proven_tenant on %s for select to fusion_reader using (%s)', readable.name, rule);
    execute format('comment on policy proven_tenant on %s is %L', readable.name, rule);
    -- The services set the tenant themselves. Nobody can log in as a service role or become one.
    execute format('alter policy tenant on %s to fusion_platform, fusion_catalog, fusion_inventory, fusion_orders,
      fusion_group_commerce, fusion_payments, fusion_shipping', readable.name);
  end loop;
end
$$;
