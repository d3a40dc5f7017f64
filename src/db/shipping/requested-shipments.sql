-- requires: platform/access.sql, shipping/shipments.sql
-- Shipments that a client requests: POST /v1/shipments.

-- POST /v1/shipments. `input`: {orderId, address, shipmentId, from, parcel, carrier, seconds}. Returns the shipment; or
-- {task, remind}, and then the Worker calls the carrier and ends with record_shipment or record_labels; or {busy} if
-- another caller is making the label. `remind`: no queued message would retry the label. If a failed refund has made an
-- order `confirmed` again, it gets another label under the new shipment id, because its first label was cancelled.
-- Locks the order. Raises not_found, conflict (the order's status). Returns the error conflict (a label for another
-- address).
create or replace function shipping.open_shipment(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'shipping:write', 'shipments.create');
  order_row orders.orders;
  request shipping.label_requests;
  shipment shipping.shipments;
  wanted_address jsonb;
  needs_reminder boolean;
  is_closed boolean; -- the request's label was cancelled, or is no longer needed
begin
  if replay is not null then
    return replay;
  end if;
  order_row := orders.lock_order(input->>'orderId');
  if order_row.id is null then
    perform platform.fail('not_found');
  end if;
  wanted_address := shipping.add_recipient_name(input->'address', order_row.customer_id);
  select * into request from shipping.label_requests x where x.order_id = order_row.id;
  select * into shipment from shipping.shipments x
    where x.order_id = order_row.id and x.cancelled_at is null;
  if shipment.id is not null then
    return platform.leave(call, 'shipments.create', case when request.address = wanted_address
      then shipping.shipment_json(shipment)
      else '{"error": "conflict", "detail": "The order already has a label for another address."}' end);
  end if;
  if order_row.status <> 'confirmed' then
    perform platform.fail('conflict',
      jsonb_build_object('reason', format('The order is %s, not confirmed.', order_row.status)));
  end if;
  if request.leased_until > platform.clock() then
    return jsonb_build_object('tenant', platform.tenant(), 'replayed', false, 'answer', '{"busy": true}'::jsonb);
  end if;
  is_closed := request.status in ('made', 'ended');
  needs_reminder := request.order_id is null or request.status = 'refused' or is_closed;
  if request.order_id is null then
    request := shipping.open_label_request(order_row, input->'address', input->>'shipmentId');
  end if;
  update shipping.label_requests x
  set address = wanted_address, attempts = case when x.address = wanted_address and not is_closed then x.attempts
      else 0 end, shipment_id = case when is_closed then input->>'shipmentId' else x.shipment_id end,
      status = case when is_closed then 'open' else x.status end,
      last_error = case when is_closed then null else x.last_error end
  where x.order_id = order_row.id returning * into request;
  return jsonb_build_object('tenant', platform.tenant(), 'replayed', false,
    'answer', jsonb_build_object('task', shipping.lease_label(request, input), 'remind', needs_reminder));
end
$$;

-- Ends POST /v1/shipments with the label that the carrier has made; `input` as for save_label. Returns the error
-- conflict.
create or replace function shipping.record_shipment(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'shipping:write', 'shipments.create');
  shipment shipping.shipments;
begin
  if replay is not null then
    return replay;
  end if;
  shipment := shipping.save_label(input);
  return platform.leave(call, 'shipments.create', case when shipment.id is not null
    then shipping.shipment_json(shipment)
    else '{"error": "conflict", "detail": "The order was cancelled or refunded while its label was being made."}' end);
end
$$;

call platform.set_owner('shipping', 'fusion_shipping');

grant execute on function shipping.open_shipment, shipping.record_shipment to fusion_worker;
