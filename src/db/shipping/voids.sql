-- requires: platform/access.sql, platform/events.sql, platform/set-aside.sql, shipping/shipments.sql
-- Labels of cancelled or refunded orders, which the cron voids at the carrier. The rows change only under the order's
-- lock.

-- Requests that a label be voided. `label`: {provider, ownAccount?, carrier, trackingNumber, externalId?}, or null if
-- only the carrier that was asked last knows whether it made one. If the label becomes known later, it is due again.
-- The caller has locked the order.
create or replace function shipping.request_void(request shipping.label_requests, label jsonb) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  insert into shipping.label_voids as v (shipment_id, tenant_id, order_id, provider, own_account, carrier,
    tracking_number, external_id, status, due_at, created_at)
  values (request.shipment_id, request.tenant_id, request.order_id, coalesce(label->>'provider', request.provider),
    coalesce((label->>'ownAccount')::boolean, label is null and request.own_account), label->>'carrier',
    label->>'trackingNumber', label->>'externalId', 'open',
    -- The carrier may still be making an unknown label for the caller that has the lease.
    case when label is null then greatest(request.leased_until, platform.clock()) + interval '1 minute'
      else platform.clock() end, platform.clock())
  on conflict (shipment_id) do update
    set provider = excluded.provider, own_account = excluded.own_account, carrier = excluded.carrier,
        tracking_number = excluded.tracking_number, external_id = excluded.external_id, status = 'open', due_at = excluded.due_at
    where v.tracking_number is null and excluded.tracking_number is not null
$$;

-- The order is cancelled, refunded or completely shipped: cancels its shipments that have not moved, and prevents
-- further labels. Returns whether it has or had a label. The caller has locked the order. For orders. Emits
-- shipping.cancelled.
create or replace function shipping.end_shipment(of_order varchar) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  request shipping.label_requests;
  shipment shipping.shipments;
begin
  for shipment in
    update shipping.shipments x
    set status = 'cancelled', cancelled_at = platform.clock(), updated_at = platform.clock()
    where x.order_id = of_order and x.cancelled_at is null and x.status = (select 'created') returning *
  loop
    request.shipment_id := shipment.id;
    request.tenant_id := shipment.tenant_id;
    request.order_id := of_order;
    perform shipping.request_void(request, jsonb_build_object('provider', shipment.provider,
      'ownAccount', shipment.own_account, 'carrier', shipment.carrier, 'trackingNumber', shipment.tracking_number,
      'externalId', shipment.external_id));
    perform orders.unfulfil(of_order, shipment.quantities);
    perform platform.emit('shipping.cancelled', of_order,
      jsonb_build_object('orderId', of_order, 'trackingNumber', shipment.tracking_number), false);
  end loop;
  for request in select * from shipping.label_requests x
    where x.order_id = of_order and x.status in ('open', 'refused')
  loop
    perform shipping.end_request(request);
  end loop;
  return exists (select from shipping.shipments x where x.order_id = of_order);
end
$$;

-- The cron: leases up to `limit` labels that are due to be voided, for `seconds`. Returns {tasks}: the Worker calls the
-- carriers and ends with record_voids. A row that cannot be leased is set aside.
create or replace function shipping.lease_voids(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  tasks jsonb := '[]';
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('void-labels') || platform.keys_set_aside('lease-voids');
  for due in
    select d.tenant_id, array_agg(d.shipment_id::text order by d.shipment_id) as shipments from (
      select w.tenant_id, w.shipment_id
      from platform.tenants_with_rows('shipping.label_voids', 'status = ''open''') t(id)
      cross join lateral ( -- of each tenant in turn
        select x.tenant_id, x.shipment_id, x.due_at, row_number() over (order by x.due_at) as turn
        from shipping.label_voids x
        where x.tenant_id = t.id and x.status = 'open' and x.due_at <= platform.clock()
          and x.shipment_id <> all(excluded_ids)
        order by x.due_at limit (input->>'limit')::int
      ) w
      order by w.turn, w.due_at limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('lease-voids', 'shipping.lease_voids_step', due.tenant_id, due.shipments, input))
    loop
      tasks := tasks || result;
    end loop;
  end loop;
  return jsonb_build_object('tasks', tasks);
end
$$;

-- The step of lease_voids for one tenant. Updates the rows by shipment id, one after the other.
create or replace function shipping.lease_voids_step(shipments text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  id text;
  label_void shipping.label_voids;
  tasks jsonb := '[]';
begin
  foreach id in array shipments loop
    update shipping.label_voids x
    set attempts = x.attempts + 1, due_at = platform.clock() + make_interval(secs => (input->>'seconds')::int)
    where x.shipment_id = id and x.status = (select 'open') and x.due_at <= platform.clock()
    returning * into label_void;
    continue when not found;
    tasks := tasks || (
      -- The request may be for a later shipment by now. Then any other of the order has its address.
      select shipping.label_task(r) || jsonb_strip_nulls(jsonb_build_object('tenant', label_void.tenant_id,
        'shipmentId', label_void.shipment_id, 'provider', label_void.provider, 'carrier', label_void.carrier,
        'trackingNumber', label_void.tracking_number, 'externalId', label_void.external_id,
        'account', shipping.account_json(label_void.provider, label_void.own_account, label_void.tenant_id)))
      from shipping.label_requests r where r.order_id = label_void.order_id
      order by r.shipment_id = label_void.shipment_id desc, r.is_part limit 1);
  end loop;
  return tasks;
end
$$;

-- Records the carriers' results. `input`: {results: [{tenant, orderId, shipmentId, outcome, reason?}]}. `voided`: the
-- label is void, or was never made. `refused`: the carrier does not void it, and the merchant sees an exception on the
-- shipment. `failed`: retried after 2, 4, 8 … minutes, a day at most, and counted as refused after 30 days. A row that
-- fails here is set aside, and its label is voided again later. Returns {setAside}. Emits
-- shipping.status.changed.
create or replace function shipping.record_voids(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  tenant_results record;
  result jsonb;
  recorded integer := 0;
begin
  perform platform.enter_as(call, '*');
  for tenant_results in
    select x->>'tenant' as tenant, array_agg(x->>'shipmentId' order by x->>'orderId') as shipments
    from jsonb_array_elements(input->'results') x group by 1 order by 1
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('void-labels', 'shipping.record_voids_step', tenant_results.tenant,
        tenant_results.shipments, input))
    loop
      recorded := recorded + (result->>'recorded')::int;
    end loop;
  end loop;
  return jsonb_build_object('setAside', jsonb_array_length(input->'results') - recorded);
end
$$;

-- The step of record_voids for one tenant. Locks the orders by id, one after the other.
create or replace function shipping.record_voids_step(shipments text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  item jsonb;
  label_void shipping.label_voids;
begin
  for item in select x from jsonb_array_elements(input->'results') x
    where x->>'shipmentId' = any(shipments) and x->>'tenant' = platform.tenant() order by x->>'orderId'
  loop
    perform orders.lock_order(item->>'orderId');
    update shipping.label_voids x
    set last_error = item->>'reason',
        status = case when item->>'outcome' = 'voided' then 'done' when item->>'outcome' = 'refused'
          or x.created_at <= platform.clock() - interval '30 days' then 'refused' else 'open' end,
        due_at = platform.clock() + make_interval(mins => least(power(2, least(x.attempts, 11)), 1440)::int)
    where x.shipment_id = item->>'shipmentId' and x.status = (select 'open')
    returning * into label_void;
    continue when not found or label_void.status <> 'refused';
    update shipping.shipments x
    set exception = 'The carrier did not void the label: ' || coalesce(label_void.last_error, 'no reason given'),
        updated_at = platform.clock()
    where x.id = label_void.shipment_id;
    if label_void.tracking_number is not null then
      perform platform.emit('shipping.status.changed', label_void.order_id,
        jsonb_build_object('orderId', label_void.order_id,
        'trackingNumber', label_void.tracking_number, 'status', 'exception'), false);
    end if;
  end loop;
  return jsonb_build_object('recorded', cardinality(shipments));
end
$$;

call platform.set_owner('shipping', 'fusion_shipping');

grant execute on function shipping.end_shipment to fusion_orders;
grant execute on function shipping.lease_voids, shipping.record_voids to fusion_worker;
