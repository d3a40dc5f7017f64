-- requires: platform/access.sql
-- Erasing a customer's personal data.

-- Erases the addresses of the labels of finished orders: their labels cannot be printed again. The caller has locked
-- the orders. For orders.
create or replace function shipping.erase_labels(order_ids text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update shipping.label_requests r set address = '{}', last_error = null,
    status = case when r.status in ('open', 'refused') then 'ended' else r.status end
  where r.order_id = any(order_ids);
  update shipping.label_voids v set last_error = null where v.order_id = any(order_ids);
  update shipping.shipments s set exception = null where s.order_id = any(order_ids);
$$;

-- The consumer of customer.erased: the shipments whose stored labels must be deleted. `input`: {tenant, customers:
-- [id]}. Returns {shipments: [id]}.
create or replace function shipping.find_erased_labels(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, input->>'tenant');
  return jsonb_build_object('shipments', (select coalesce(jsonb_agg(s.id), '[]')
    from orders.orders o join shipping.shipments s on s.order_id = o.id
    where o.tenant_id = platform.tenant()
      and o.customer_id = any(array(select jsonb_array_elements_text(input->'customers')))));
end
$$;

call platform.set_owner('shipping', 'fusion_shipping');

grant execute on function shipping.erase_labels to fusion_orders;
grant execute on function shipping.find_erased_labels to fusion_worker;
