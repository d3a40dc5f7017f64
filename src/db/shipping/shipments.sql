-- requires: platform/access.sql, platform/events.sql
-- Shipments: parcels of an order, each with a label request. One request of an order is for all units that are left
-- (label_requests_one_whole_an_order), for its latest such shipment; the others are parts, whose units a client named.
-- No two live requests or shipments have the same unit (orders.fulfil). A cancelled label is not used again: the next
-- one has another shipment id. Lock order: the order (by orders.lock_order); its requests and shipments change only
-- under that lock. No carrier is called while a row is locked: a lease prevents two callers from making the same label.

-- Units for each line of an order as the API shows them: [{lineId, quantity}].
create or replace function shipping.items_json(quantities integer[]) returns jsonb
language sql immutable as $$
  select coalesce(jsonb_agg(jsonb_build_object('lineId', n::text, 'quantity', q) order by n) filter (where q > 0), '[]')
  from unnest(quantities) with ordinality u(q, n)
$$;

create or replace function shipping.shipment_json(s shipping.shipments) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', s.id, 'orderId', s.order_id, 'trackingNumber', s.tracking_number,
    'carrier', s.carrier, 'labelUrl', s.label_url, 'status', s.status, 'createdAt', platform.iso(s.created_at),
    'items', shipping.items_json(s.quantities))
$$;

-- A label request as a task for the Worker, which calls the carrier.
create or replace function shipping.label_task(r shipping.label_requests) returns jsonb
language sql stable as $$
  select jsonb_build_object('orderId', r.order_id, 'shipmentId', r.shipment_id, 'to', r.address, 'from', r.sender,
    'parcel', r.parcel)
$$;

-- An address with a recipient name, which carriers need and a buyer may have left out.
create or replace function shipping.add_recipient_name(address jsonb, customer_id varchar) returns jsonb
language sql stable as $$
  select case
    when address ? 'name' then address
    when address ? 'company' then (address - 'company') || jsonb_build_object('name', address->'company')
    else address || jsonb_build_object('name', customer_id) end
$$;

-- The account at a carrier that makes, prints or voids a label: {provider, isOwn, credentials}. `isOwn`: the tenant's
-- own account, with its present credentials for that provider, encrypted; otherwise the operator's.
create or replace function shipping.account_json(provider varchar, own_account boolean, tenant varchar) returns jsonb
language sql stable as $$
  select jsonb_build_object('provider', provider, 'isOwn', own_account, 'credentials', case when own_account then
    (select t.carrier_credentials::jsonb -> provider::text from platform.tenants t where t.id = tenant) end)
$$;

-- The same for a reader, of the tenant that it has authenticated.
create or replace function shipping.read_account(provider varchar, own_account boolean) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select shipping.account_json(provider, own_account, platform.proven_tenant('shipping:read', 'shipping:write'))
$$;

-- The consumer of order.confirmed and shipping.label.requested. `input`: {tenant, messages: [{eventId, orderId,
-- shipmentId, traceparent}], from, parcel, carrier, seconds}. Returns {tasks, busy}. `tasks`: labels that this caller
-- makes now, also after a redelivery, because the first delivery may have failed. `busy`: orders of which another
-- caller makes a label. An order without an address waits for one; a cancelled or refunded order gets no label. If the
-- tenant requests its labels itself, this only repeats those that it has requested. Locks the orders by id, one after
-- the other.
create or replace function shipping.open_labels(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  item record;
  order_row orders.orders;
  request shipping.label_requests;
  is_automatic boolean;
  tasks jsonb := '[]';
  busy jsonb := '[]';
begin
  perform platform.enter_as(call, input->>'tenant');
  perform platform.claim_new_events('shipping',
    array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  is_automatic := (select t.automatic_labels from platform.tenants t where t.id = platform.tenant());
  for item in
    select m->>'orderId' as order_id, min(m->>'shipmentId') as shipment_id, min(m->>'traceparent') as trace
    from jsonb_array_elements(input->'messages') m group by 1 order by 1
  loop
    order_row := orders.lock_order(item.order_id);
    continue when order_row.id is null;
    if order_row.status <> 'confirmed' then
      update shipping.label_requests x set status = 'ended'
      where x.order_id = order_row.id and x.status in ('open', 'refused');
      continue;
    end if;
    if is_automatic and order_row.shipping_address is not null
      and not exists (select from shipping.label_requests x where x.order_id = order_row.id) then
      perform shipping.open_label_request(order_row, order_row.shipping_address, item.shipment_id);
    end if;
    -- `ended`: a refund of this order failed at the bank, or the merchant ships it in parts. Only the merchant can
    -- request its next label.
    for request in select * from shipping.label_requests x
      where x.order_id = order_row.id and x.status in ('open', 'refused') order by x.created_at, x.shipment_id
    loop
      if request.leased_until > platform.clock() then
        busy := busy || to_jsonb(order_row.id);
        continue;
      end if;
      request := shipping.take_units(request);
      continue when request.status = 'ended';
      tasks := tasks || (shipping.lease_label(request, input) || jsonb_build_object('traceparent', item.trace));
    end loop;
  end loop;
  return jsonb_build_object('tasks', tasks, 'busy', busy);
end
$$;

-- Saves a label that a carrier has made: {orderId, shipmentId (earlier Workers sent none), trackingNumber, carrier,
-- provider, ownAccount?, externalId?, labelUrl, traceparent?}. The carrier gives one label for each shipment id, so all
-- callers have the same one. Returns null if the order or the request has ended in the meantime; then the request
-- records the label, and it is voided. A label of an earlier shipment id is voided too. Locks the order. Emits
-- shipping.label.created.
create or replace function shipping.save_label(label jsonb) returns shipping.shipments
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  order_row orders.orders := orders.lock_order(label->>'orderId');
  request shipping.label_requests;
  shipment shipping.shipments;
begin
  select * into request from shipping.label_requests x
    where x.order_id = order_row.id
      and case when label ? 'shipmentId' then x.shipment_id = label->>'shipmentId' else not x.is_part end;
  if not found then
    request.shipment_id := label->>'shipmentId';
    request.tenant_id := order_row.tenant_id;
    request.order_id := order_row.id;
    perform shipping.request_void(request, label);
    return null;
  end if;
  select * into shipment from shipping.shipments x where x.id = request.shipment_id;
  if found then
    return shipment;
  end if;
  -- A request may have ended or been given up while its label was made. Then its units may be in another parcel. Units
  -- may have been refunded since.
  if order_row.status = 'confirmed' and request.status in ('open', 'refused') then
    request := case when request.status = 'open' and request.quantities is not null
      then shipping.drop_refunded(request) else shipping.take_units(request) end;
  end if;
  if order_row.status <> 'confirmed' or request.status = 'ended' then
    update shipping.label_requests x
    set status = 'ended', leased_until = null, last_error = format('%s while its label was made: %s %s.',
      case order_row.status when 'confirmed' then 'The request ended' else 'The order was ' || order_row.status end,
      label->>'carrier', label->>'trackingNumber')
    where x.shipment_id = request.shipment_id;
    perform shipping.request_void(request, label);
    return null;
  end if;
  insert into shipping.shipments (id, order_id, tracking_number, carrier, label_url, status, tenant_id, provider,
    own_account, external_id, quantities, created_at, updated_at)
  values (request.shipment_id, order_row.id, label->>'trackingNumber', label->>'carrier', label->>'labelUrl',
    'created', order_row.tenant_id, label->>'provider',
    coalesce((label->>'ownAccount')::boolean, false), label->>'externalId', request.quantities, platform.clock(),
    platform.clock())
  returning * into shipment;
  update shipping.label_requests x
  set status = 'made', leased_until = null, last_error = null, quantities = request.quantities
  where x.shipment_id = request.shipment_id;
  if label ? 'traceparent' then
    perform platform.set_trace(label->>'traceparent');
  end if;
  perform platform.emit('shipping.label.created', order_row.id, jsonb_build_object('orderId', order_row.id,
    'trackingNumber', shipment.tracking_number, 'carrier', shipment.carrier, 'labelUrl', shipment.label_url), false);
  return shipment;
end
$$;

-- Records the carrier's results. `input`: {tenant, results, most?}; a result is a label (see save_label) or {orderId,
-- shipmentId, lease?, reason, permanent, remind?}. A request is given up (`refused`) if its failure is permanent or the
-- `most`th in a row, and its units can be shipped in another parcel; a part then ends. With `remind` the queue retries
-- it. A failure counts only while its caller has the lease: another caller may be making the label by now. Returns
-- {made, refused, open}, each a list of order ids, and {shipments}: the same by shipment id. An order in none of them
-- needs no label any more. Locks the orders by id, one after the other. Emits shipping.label.requested.
create or replace function shipping.record_labels(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  item jsonb;
  shipment shipping.shipments;
  request shipping.label_requests;
  new_status varchar;
  answer jsonb := '{"made": [], "refused": [], "open": [], "shipments": {}}';
begin
  perform platform.enter_as(call, input->>'tenant');
  for item in select x from jsonb_array_elements(input->'results') x order by x->>'orderId' loop
    if item ? 'trackingNumber' then
      shipment := shipping.save_label(item);
      new_status := case when shipment.id is not null then 'made' end;
    else
      perform orders.lock_order(item->>'orderId');
      update shipping.label_requests x
      set leased_until = null, last_error = item->>'reason',
          status = case when (item->>'permanent')::boolean or x.attempts >= (input->>'most')::int then 'refused'
            else 'open' end
      where x.order_id = item->>'orderId' and x.status = (select 'open')
        and case when item ? 'shipmentId' then x.shipment_id = item->>'shipmentId' else not x.is_part end
        and x.leased_until is not distinct from coalesce((item->>'lease')::timestamptz, x.leased_until)
      returning * into request;
      new_status := request.status;
      if new_status = 'refused' then
        if request.quantities is not null then
          perform orders.unfulfil(request.order_id, request.quantities);
        end if;
        if request.is_part and not (item->>'permanent')::boolean then
          perform shipping.request_void(request, null);
        end if;
        update shipping.label_requests x set status = case when x.is_part then 'ended' else x.status end,
          quantities = case when x.is_part then x.quantities end
        where x.shipment_id = request.shipment_id;
      end if;
      if request.order_id is null then
        select x.status into new_status from shipping.label_requests x
        where x.order_id = item->>'orderId' and x.status in ('open', 'refused')
          and case when item ? 'shipmentId' then x.shipment_id = item->>'shipmentId' else not x.is_part end;
      elsif new_status = 'open' and (item->>'remind')::boolean then
        perform platform.emit('shipping.label.requested', item->>'orderId',
          jsonb_build_object('orderId', item->>'orderId'), true);
      end if;
    end if;
    if new_status is not null then
      answer := jsonb_insert(answer, array[new_status, '0']::text[], item->'orderId')
        || jsonb_build_object('shipments', answer->'shipments'
          || jsonb_build_object(coalesce(item->>'shipmentId', ''), new_status));
    end if;
  end loop;
  return answer;
end
$$;

call platform.set_owner('shipping', 'fusion_shipping');

grant execute on function shipping.shipment_json, shipping.items_json to fusion_reader, fusion_orders;
grant execute on function shipping.label_task, shipping.read_account to fusion_reader;
grant execute on function shipping.open_labels, shipping.record_labels to fusion_worker;
