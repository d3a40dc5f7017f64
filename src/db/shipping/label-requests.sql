-- requires: platform/access.sql, shipping/shipments.sql, shipping/voids.sql
-- Label requests: their units, and the lease of a caller that makes the label.

-- Adds the label request for all units of an order that has none. The caller has locked the order. Also called by
-- orders.
create or replace function shipping.open_label_request(order_row orders.orders, address jsonb, shipment_id varchar)
  returns shipping.label_requests
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  now_at constant timestamptz := platform.clock();
  request shipping.label_requests;
begin
  insert into shipping.label_requests (order_id, tenant_id, shipment_id, status, address, tried_at, created_at)
  values (order_row.id, order_row.tenant_id, shipment_id, 'open',
    shipping.add_recipient_name(address, order_row.customer_id), now_at, now_at)
  on conflict (order_id) where not is_part do nothing returning * into request;
  return request;
end
$$;

-- Takes the units of a request that is about to be leased: a part has its units already, the other request gets all
-- that are left. Units that were refunded since an earlier attempt are not shipped. If none are left, the request ends.
-- The caller has locked the order and seen that nobody has the lease.
create or replace function shipping.take_units(r shipping.label_requests) returns shipping.label_requests
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if r.is_part then
    return shipping.drop_refunded(r);
  end if;
  r.quantities := orders.fulfil(r.order_id, null, case when r.status = 'open' then r.quantities end);
  return case when r.quantities is null then shipping.end_empty_request(r) else r end;
end
$$;

-- Takes units that were refunded since out of an open request. If none are left, it ends. The caller has locked the
-- order.
create or replace function shipping.drop_refunded(r shipping.label_requests) returns shipping.label_requests
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  r.quantities := orders.drop_refunded(r.order_id, r.quantities);
  if r.quantities is null then
    return shipping.end_empty_request(r);
  end if;
  update shipping.label_requests x set quantities = r.quantities
  where x.shipment_id = r.shipment_id and x.quantities <> r.quantities;
  return r;
end
$$;

-- Ends a request that has no units left. If a carrier was asked, its label is voided. The caller has locked the order.
create or replace function shipping.end_empty_request(r shipping.label_requests) returns shipping.label_requests
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if r.status = 'open' and r.attempts > 0 then
    perform shipping.request_void(r, null);
  end if;
  r.status := 'ended';
  update shipping.label_requests x set status = r.status, quantities = case when x.is_part then x.quantities end
  where x.shipment_id = r.shipment_id;
  return r;
end
$$;

-- Ends a request without a label, and gives its units back to be shipped in another parcel. If a carrier was asked, its
-- label is voided. The caller has locked the order.
create or replace function shipping.end_request(r shipping.label_requests) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if r.status = 'open' and r.attempts > 0 then
    perform shipping.request_void(r, null);
  end if;
  if r.status = 'open' and r.quantities is not null then
    perform orders.unfulfil(r.order_id, r.quantities);
  end if;
  update shipping.label_requests x set status = 'ended', quantities = case when x.is_part then x.quantities end
  where x.shipment_id = r.shipment_id;
end
$$;

-- Takes the lease of a label request, which has its units. A request that was given up starts to count its attempts
-- again. `terms`: {from, parcel, carrier, seconds}: the operator's sender, parcel and carrier, for a tenant that has
-- set none, and how long the lease lasts. If another carrier or account was asked before, it may have made a label:
-- that one is voided, and the request gets a new shipment id. Returns the task with its `account` and `lease`, by which
-- record_labels recognizes the caller; null if another caller has the lease. The caller has locked the order.
create or replace function shipping.lease_label(r shipping.label_requests, terms jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  task jsonb;
begin
  update shipping.label_requests x
  set status = 'open', attempts = case when x.status = 'open' then x.attempts else 0 end + 1,
      quantities = r.quantities, sender = coalesce(t.ship_from, terms->'from'), parcel = coalesce(t.parcel, terms->'parcel'),
      provider = coalesce(t.carrier, terms->>'carrier'), own_account = t.carrier is not null,
      shipment_id = case when x.provider <> 'manual'
        and (x.provider, x.own_account) <> (coalesce(t.carrier, terms->>'carrier'), t.carrier is not null)
        then platform.uuid7() else x.shipment_id end, tried_at = platform.clock(),
      leased_until = platform.clock() + make_interval(secs => (terms->>'seconds')::int)
  from platform.tenants t
  where x.shipment_id = r.shipment_id and t.id = r.tenant_id and x.status in ('open', 'refused')
    and coalesce(x.leased_until <= platform.clock(), true)
  returning shipping.label_task(x) || jsonb_build_object('lease', x.leased_until,
    'account', shipping.account_json(x.provider, x.own_account, x.tenant_id)) into task;
  if task->>'shipmentId' <> r.shipment_id then
    perform shipping.request_void(r, null);
  end if;
  return task;
end
$$;

call platform.set_owner('shipping', 'fusion_shipping');

grant execute on function shipping.open_label_request to fusion_orders;
