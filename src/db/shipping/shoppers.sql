-- requires: platform/access.sql, orders/shoppers.sql, shipping/shipments.sql
-- What shoppers read of shipments: see orders/shoppers.sql.

-- One shipment. `input`: {id}. Raises not_found, also for a shipment that is not the caller's.
create or replace function shipping.show_shipment(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'shipping:read', '{publishable,session}');
  shipment shipping.shipments;
begin
  select * into shipment from shipping.shipments s where s.id = input->>'id';
  if not found or not orders.may_reach_order_id(shipment.order_id) then
    perform platform.fail('not_found');
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', shipping.shipment_json(shipment));
end
$$;

call platform.set_owner('shipping', 'fusion_shipping');

grant execute on function shipping.show_shipment to fusion_worker;
