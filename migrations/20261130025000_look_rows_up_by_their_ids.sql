-- The policies of the services compare the tenant in a form that no index can serve. A function that lists a tenant's rows
-- names the tenant itself. A function that looks a row up by an id does not, so that the id is the only index condition.
-- Before, a plan that was made while a tenant had almost no rows could read all rows of that tenant, by its index, and
-- connections kept that plan when the tenant had grown. The planner takes `case … is not null` for nearly always true.
do $$
declare
  found_by_id text;
begin
  foreach found_by_id in array array['catalog.products', 'orders.orders', 'inventory.reservations', 'payments.payments', 'payments.intents',
    'payments.refunds', 'shipping.shipments', 'shipping.label_requests', 'shipping.label_voids',
    'group_commerce.group_commerce_campaigns', 'group_commerce.participants'] loop
    execute format('alter policy tenant on %s using
      (case when tenant_id = current_setting(''app.tenant_id'', true) then true end is not null)', found_by_id);
  end loop;
end
$$;
