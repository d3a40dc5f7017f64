-- requires: platform/access.sql, platform/events.sql, shipping/shipments.sql, shipping/voids.sql
-- Where parcels are, as their carriers tell.

-- What a carrier says of a parcel's way, once for each event id. `input`: {carrier, eventId, trackingNumber, status,
-- occurredAt, detail?, tenant?}; with `tenant` only its parcels are meant. Whatever the order of arrival, the status that is furthest stands; `exception` is kept and told,
-- and moves nothing. Answers {outcome, tenant}: applied, duplicate, unknown (no parcel of ours).
-- Emits shipping.status.changed, shipping.cancelled.
create or replace function shipping.apply_tracking(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  -- A parcel of a cancelled shipment can be on its way all the same: that is recorded and told, its order stays cancelled.
  way constant text[] := array['created', 'cancelled', 'in_transit', 'delivered'];
  reached constant varchar := input->>'status';
  s shipping.shipments;
  event text[];
begin
  perform platform.enter_as(call, '*');
  -- Carriers give a number to another parcel after months: the latest is meant.
  select * into s from shipping.shipments x
    where x.provider = input->>'carrier' and x.tracking_number = input->>'trackingNumber'
      and (not input ? 'tenant' or x.tenant_id = input->>'tenant') order by x.id desc limit 1;
  if not found then
    return jsonb_build_object('outcome', 'unknown');
  end if;
  perform platform.act_as(s.tenant_id);
  event := array[concat_ws(' ', s.provider, s.tracking_number, input->>'eventId')];
  if cardinality(case when (input->>'undated')::boolean then platform.take_for_good('tracking', event)
    else platform.take_new('tracking', event) end) = 0 then
    return jsonb_build_object('outcome', 'duplicate', 'tenant', s.tenant_id);
  end if;
  perform orders.lock_order(s.order_id);
  select * into s from shipping.shipments x where x.id = s.id;
  update shipping.shipments x
  set updated_at = platform.clock(), tracked_at = greatest(x.tracked_at, (input->>'occurredAt')::timestamptz),
      status = case when array_position(way, reached) > array_position(way, x.status::text) then reached else x.status end,
      exception = case when reached = 'exception' then coalesce(input->>'detail', 'no details') else x.exception end
  where x.id = s.id;
  if reached = 'exception' or array_position(way, reached::text) > array_position(way, s.status::text) then
    perform platform.emit('shipping.status.changed', s.order_id, jsonb_build_object('orderId', s.order_id,
      'trackingNumber', s.tracking_number, 'status', reached), false);
  end if;
  if reached in ('in_transit', 'delivered')
    and orders.mark_shipped(s.order_id, case reached when 'delivered' then 'delivered' else 'shipped' end)
    and s.cancelled_at is not null then
    -- The order's parcel left with a label that was cancelled: a later label would send a second parcel.
    perform shipping.end_shipment(s.order_id);
  end if;
  return jsonb_build_object('outcome', 'applied', 'tenant', s.tenant_id);
end
$$;

call platform.hand_over('shipping', 'fusion_shipping');

grant execute on function shipping.apply_tracking to fusion_worker;
