-- requires: platform/access.sql, platform/idempotency.sql, shipping/shipments.sql, shipping/label-requests.sql
-- Shipments that a client requests: POST /v1/shipments.

-- What open_shipment returns while the label is not made: {busy}, or {task, remind}.
create or replace function shipping.unmade_answer(answer jsonb) returns jsonb
language sql stable as $$
  select jsonb_build_object('tenant', platform.tenant(), 'replayed', false, 'answer', answer)
$$;

-- POST /v1/shipments with items: another parcel, for these units. `address`: with a recipient name. A request whose
-- label is not made yet is continued: the one with the same idempotency key, or without keys the one with the same
-- units. The first part takes over from the request for all units, unless that one's label is made or is being made.
-- Input and result are those of open_shipment. The caller has locked the order.
create or replace function shipping.open_part(call jsonb, order_row orders.orders, address jsonb, input jsonb)
  returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  idempotency_key constant varchar := call->>'idempotencyKey';
  wanted constant integer[] := orders.units_of(order_row, input->'items');
  request shipping.label_requests;
  shipment shipping.shipments;
  rest shipping.label_requests; -- the request for all units
  unknown_line bigint;
  is_new boolean;
begin
  select n into unknown_line from jsonb_array_elements(input->'items') with ordinality e(i, n)
    where not exists (select from generate_series(1, jsonb_array_length(order_row.items)) p where p::text = i->>'lineId')
    order by n limit 1;
  if unknown_line is not null then
    return platform.leave(call, 'shipments.create', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', format('/items/%s/lineId', unknown_line - 1),
        'detail', 'The order has no such line.'))));
  end if;
  select * into request from shipping.label_requests x
    where x.order_id = order_row.id and x.is_part and x.request_key is not distinct from idempotency_key
      and (x.status = 'open' and (idempotency_key is not null or x.quantities = wanted)
        or x.status = 'made' and x.request_key is not null and x.created_at > platform.clock() - interval '24 hours'
          and exists (select from shipping.shipments s where s.id = x.shipment_id and s.cancelled_at is null))
    order by x.created_at limit 1;
  if request.request_key is not null and (request.address is distinct from address
    or exists (select from unnest(request.quantities, wanted, order_row.refunded_quantities) u(units, asked, refunded)
      where units <> asked and (units > asked or coalesce(refunded, 0) = 0))) then -- refunded units were taken out
    perform platform.fail('idempotency_key_reused');
  end if;
  if request.status = 'made' then -- by the queue, after this request had failed
    select * into shipment from shipping.shipments x where x.id = request.shipment_id;
    return platform.leave(call, 'shipments.create', shipping.shipment_json(shipment));
  end if;
  if order_row.status <> 'confirmed' then
    perform platform.fail('conflict',
      jsonb_build_object('reason', format('The order is %s, not confirmed.', order_row.status)));
  end if;
  is_new := request.order_id is null;
  if is_new then
    select * into rest from shipping.label_requests x where x.order_id = order_row.id and not x.is_part;
  end if;
  if coalesce(request.leased_until, case when rest.status = 'open' then rest.leased_until end) > platform.clock() then
    return shipping.unmade_answer('{"busy": true}');
  end if;
  if is_new then
    if orders.fulfil(order_row.id, wanted, case when rest.status = 'open' then rest.quantities end) is null then
      return platform.leave(call, 'shipments.create', jsonb_build_object('error', 'conflict',
        'detail', orders.shortage_of(order_row, wanted)));
    end if;
    if rest.status in ('open', 'refused') then
      if rest.status = 'open' then
        update shipping.label_requests x set quantities = null where x.shipment_id = rest.shipment_id;
        rest.quantities := null; -- given back above
      end if;
      perform shipping.end_request(rest);
    end if;
    insert into shipping.label_requests (order_id, tenant_id, shipment_id, status, address, is_part, quantities,
      request_key, tried_at, created_at)
    values (order_row.id, order_row.tenant_id, input->>'shipmentId', 'open', address, true, wanted,
      idempotency_key, platform.clock(), platform.clock())
    returning * into request;
  else
    update shipping.label_requests x set address = open_part.address
    where x.shipment_id = request.shipment_id returning * into request;
    request := shipping.take_units(request);
    if request.status = 'ended' then
      return platform.leave(call, 'shipments.create', jsonb_build_object('error', 'conflict',
        'detail', orders.shortage_of(order_row, wanted)));
    end if;
  end if;
  return shipping.unmade_answer(jsonb_build_object('task', shipping.lease_label(request, input), 'remind', is_new));
end
$$;

-- POST /v1/shipments. `input`: {orderId, items?: [{lineId, quantity}], address?, shipmentId, from, parcel, carrier,
-- seconds}. Without items the parcel has all units that are left: an order has one such shipment. The address is that
-- of the order, if none is given. Returns the shipment; or {task, remind}, and then the Worker calls the carrier and
-- ends with record_shipment or record_labels; or {busy} if another caller is making the label. `remind`: no queued
-- message would retry the label. If a failed refund has made an order `confirmed` again, it gets another label under
-- the new shipment id, because its first label was cancelled. Locks the order. Raises not_found, conflict (the order's
-- status), idempotency_key_reused. Returns the errors conflict (a label for another address, no such units left),
-- validation_failed (no address, no such line).
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
  wanted_address := coalesce(nullif(input->'address', 'null'), order_row.shipping_address);
  if wanted_address is null then
    return platform.leave(call, 'shipments.create', '{"error": "validation_failed", "errors": [{"pointer": "/address",
      "detail": "is required, because the order has no shipping address"}]}');
  end if;
  wanted_address := shipping.add_recipient_name(wanted_address, order_row.customer_id);
  if nullif(input->'items', 'null') is not null then
    return shipping.open_part(call, order_row, wanted_address, input);
  end if;
  select * into request from shipping.label_requests x where x.order_id = order_row.id and not x.is_part;
  select * into shipment from shipping.shipments x where x.id = request.shipment_id and x.cancelled_at is null;
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
    return shipping.unmade_answer('{"busy": true}');
  end if;
  is_closed := request.status in ('made', 'ended');
  needs_reminder := request.order_id is null or request.status = 'refused' or is_closed;
  if request.order_id is null then
    request := shipping.open_label_request(order_row, wanted_address, input->>'shipmentId');
  end if;
  update shipping.label_requests x
  set address = wanted_address, attempts = case when x.address = wanted_address and not is_closed then x.attempts
      else 0 end, shipment_id = case when is_closed then input->>'shipmentId' else x.shipment_id end,
      status = case when is_closed then 'open' else x.status end,
      quantities = case when is_closed then null else x.quantities end,
      last_error = case when is_closed then null else x.last_error end
  where x.shipment_id = request.shipment_id returning * into request;
  request := shipping.take_units(request);
  if request.status = 'ended' then
    return platform.leave(call, 'shipments.create', '{"error": "conflict",
      "detail": "Every unit of the order is in another parcel or was refunded."}');
  end if;
  return shipping.unmade_answer(
    jsonb_build_object('task', shipping.lease_label(request, input), 'remind', needs_reminder));
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
