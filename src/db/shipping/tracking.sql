-- requires: platform/access.sql, platform/events.sql, shipping/shipments.sql, shipping/voids.sql
-- Tracking: the status of parcels, as reported by their carriers.

-- The parcel of a cancelled label has left all the same: its units are shipped. If they are in other parcels by now,
-- those that have not moved are cancelled, because they would send the units again. The caller has locked the order.
create or replace function shipping.keep_cancelled(shipment shipping.shipments) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if shipment.quantities is not null and orders.fulfil(shipment.order_id, shipment.quantities) is null then
    perform shipping.end_shipment(shipment.order_id);
    perform orders.fulfil(shipment.order_id, shipment.quantities);
  end if;
end
$$;

-- Applies a carrier's tracking update, once for each event id. `input`: {carrier, eventId, trackingNumber, status,
-- occurredAt, detail?, undated?, tenant?}; with `tenant` only its shipments are searched, otherwise only those that
-- were made with the operator's account. Updates may arrive in any order; the most advanced status stays. `exception`
-- is recorded and emitted and changes no status. Returns {outcome, tenant}: applied, duplicate, or unknown (no shipment
-- of ours). Locks the order. Emits shipping.status.changed, shipping.cancelled.
create or replace function shipping.apply_tracking(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  -- The parcel of a cancelled shipment can still move: that is recorded and emitted, and its order stays cancelled.
  status_order constant text[] := array['created', 'cancelled', 'in_transit', 'delivered'];
  new_status constant varchar := input->>'status';
  away text[];
  shipment shipping.shipments;
  event_ids text[];
begin
  away := platform.enter_to_find(call);
  -- Carriers reuse a tracking number after months, so the latest shipment is meant.
  select * into shipment from shipping.shipments x
    where x.provider = input->>'carrier' and x.tracking_number = input->>'trackingNumber'
      and case when input ? 'tenant' then x.tenant_id = input->>'tenant' else not x.own_account end order by x.id desc limit 1;
  if not found then
    return jsonb_build_object('outcome', 'unknown');
  end if;
  if shipment.tenant_id = any(away) then
    perform platform.refuse_away(shipment.tenant_id);
  end if;
  perform platform.act_as(shipment.tenant_id);
  event_ids := array[concat_ws(' ', shipment.provider, shipment.tracking_number, input->>'eventId')];
  if cardinality(case when (input->>'undated')::boolean then platform.claim_undated_events('tracking', event_ids)
    else platform.claim_new_events('tracking', event_ids) end) = 0 then
    return jsonb_build_object('outcome', 'duplicate', 'tenant', shipment.tenant_id);
  end if;
  perform orders.lock_order(shipment.order_id);
  select * into shipment from shipping.shipments x where x.id = shipment.id;
  update shipping.shipments x
  set updated_at = platform.clock(), tracked_at = greatest(x.tracked_at, (input->>'occurredAt')::timestamptz),
      status = case when array_position(status_order, new_status) > array_position(status_order, x.status::text)
        then new_status else x.status end, exception = case when new_status = 'exception'
          then coalesce(input->>'detail', 'no details') else x.exception end
  where x.id = shipment.id;
  if new_status = 'exception' or array_position(status_order, new_status::text) > array_position(status_order,
    shipment.status::text) then
    perform platform.emit('shipping.status.changed', shipment.order_id, jsonb_build_object('orderId', shipment.order_id,
      'trackingNumber', shipment.tracking_number, 'status', new_status), false);
  end if;
  if new_status in ('in_transit', 'delivered') then
    if shipment.status = 'cancelled' then
      perform shipping.keep_cancelled(shipment);
    end if;
    perform orders.complete_shipping(shipment.order_id);
  end if;
  return jsonb_build_object('outcome', 'applied', 'tenant', shipment.tenant_id);
end
$$;

-- Finds the secret with which a tenant's own account at a carrier signs tracking updates. `input`: {tenant, carrier}.
-- Returns {secret}, encrypted; null if there is no such tenant or secret.
create or replace function shipping.find_webhook_secret(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, input->>'tenant');
  return jsonb_build_object('secret', (
    select t.carrier_credentials::jsonb #>> array[input->>'carrier', 'webhookSecret']
    from platform.tenants t where t.id = input->>'tenant'));
end
$$;

call platform.set_owner('shipping', 'fusion_shipping');

grant execute on function shipping.apply_tracking, shipping.find_webhook_secret to fusion_worker;
