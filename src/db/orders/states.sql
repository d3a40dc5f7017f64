-- requires: platform/access.sql, platform/events.sql, platform/set-aside.sql, inventory/restocks.sql, payments/payments.sql, shipping/shipments.sql, orders/orders.sql, orders/discount-uses.sql, orders/refund-amounts.sql, orders/fulfilment.sql
-- The states of an order after it was placed, and its lock.

-- created → failed. Returns whether the order was `created`. The caller has locked the order or has just inserted it.
-- An order of a campaign sends its event to the queue too, which frees the place.
create or replace function orders.fail_order(order_id varchar, reason varchar) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  campaign varchar;
begin
  update orders.orders o set status = 'failed', failure_reason = reason, updated_at = platform.clock(),
      place_open = o.campaign_id is not null
  where o.id = order_id and o.tenant_id = platform.tenant() and o.status = 'created'
  returning o.campaign_id into campaign;
  if not found then
    return false;
  end if;
  perform platform.emit('order.failed', order_id, jsonb_build_object('orderId', order_id, 'reason', reason),
    campaign is not null);
  return true;
end
$$;

-- created or confirmed → cancelled, with its payment, its shipments, its uses of discounts and its hold. The caller has
-- locked the order. Returns whether it has a label, and the SKUs that went back into stock. Locks the reservation, the
-- payment, counters of discounts, then stock. Emits order.cancelled, inventory.released, and the events of its payment
-- and shipments.
create or replace function orders.end_as_cancelled(order_row orders.orders, reason text, out has_label boolean,
  out freed text[])
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform inventory.lock_hold(order_row.id);
  update orders.orders c
  set status = 'cancelled', updated_at = platform.clock(), place_open = c.campaign_id is not null
  where c.id = order_row.id;
  perform platform.emit('order.cancelled', order_row.id, jsonb_strip_nulls(
    jsonb_build_object('orderId', order_row.id, 'reason', end_as_cancelled.reason)), order_row.campaign_id is not null);
  has_label := shipping.end_shipment(order_row.id);
  perform payments.end_for_orders(array[order_row.id::text], 'cancelled', 'order_cancelled');
  perform orders.return_uses(array[order_row.id::text]);
  freed := inventory.release(array[order_row.id::text], 'cancelled');
end
$$;

-- Cancels an order of which no parcel has moved, with its payment and shipments. `input`: {id, reason?, restock?}. Its
-- units go back into stock; if it has a label, only with `restock`, because the parcel may be packed. A repeat returns
-- the same result, and its `restock` puts back units that are still missing. A session cancels an order of its customer
-- while it is `created`, without `restock` (forbidden). Locks the order, its reservation, its
-- payment, then stock. Raises not_found. Returns the error order_not_cancellable. Emits order.cancelled,
-- inventory.released, and the events of its payment and shipment.
create or replace function orders.cancel_order(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'orders.cancel', '{session}');
  shopper constant jsonb := platform.shopper();
  order_row orders.orders;
  ended record;
  restocked_skus text[];
  has_label boolean := true;
begin
  if replay is not null then
    return replay;
  end if;
  if shopper is not null and input ? 'restock' then
    perform platform.fail('forbidden', jsonb_build_object('reason', 'Only a secret key may send restock.'));
  end if;
  select * into order_row from orders.orders c
  where c.id = input->>'id' and (shopper is null or c.customer_id = shopper->>'customer') for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if order_row.status not in ('created', 'confirmed', 'cancelled')
    or shopper is not null and order_row.status = 'confirmed' then
    return platform.leave(call, 'orders.cancel', jsonb_build_object('error', 'order_not_cancellable', 'detail',
      concat(format('The order is %s.', order_row.status), case when order_row.status = 'confirmed'
        then ' Ask the shop to cancel it.' end)));
  end if;
  if order_row.status = 'confirmed' and exists (select from shipping.shipments s
    where s.order_id = order_row.id and s.status in ('in_transit', 'delivered')) then
    return platform.leave(call, 'orders.cancel', jsonb_build_object('error', 'order_not_cancellable',
      'detail', 'A parcel of the order is on its way. Refund the units that have not been shipped.'));
  end if;
  if order_row.status <> 'cancelled' then
    ended := orders.end_as_cancelled(order_row, input->>'reason');
    restocked_skus := ended.freed;
    has_label := ended.has_label;
  end if;
  if coalesce((input->>'restock')::boolean, not has_label) then
    restocked_skus := coalesce(restocked_skus, '{}') || orders.restock_rest(order_row, 'cancelled');
  end if;
  return platform.leave(call, 'orders.cancel',
    orders.read_order(order_row.id) || jsonb_build_object('freed', to_jsonb(coalesce(restocked_skus, '{}'))));
end
$$;

-- Puts the remaining units of an ended order back into stock. Units that were refunded by line without going back stay
-- out. Returns the SKUs of all units that have gone back. The caller has locked the order.
create or replace function orders.restock_rest(o orders.orders, reason text) returns text[]
language sql set search_path = pg_catalog, pg_temp as $$
  select inventory.restock_rest(o.id, reason, k.skus, k.units)
  from orders.units_by_sku(o, (select jsonb_agg(jsonb_build_object('lineId', l.place, 'kept', l.refunded - l.restocked))
    from orders.lines_of(o) l), 'kept') k
$$;

-- Locks the order before any other row that belongs to it. Null if there is no such order. For payments and shipping.
create or replace function orders.lock_order(order_id varchar) returns orders.orders
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select * from orders.orders o where o.id = order_id for update
$$;

-- Fails an order that can no longer be paid, and releases its stock. Locks the order first. For payments.
create or replace function orders.fail_unpaid(order_id varchar, reason varchar) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform orders.lock_order(order_id);
  if orders.fail_order(order_id, 'payment_failed') then
    perform payments.end_for_orders(array[order_id::text], 'failed', reason);
    perform orders.return_uses(array[order_id::text]);
    perform inventory.release(array[order_id::text], 'payment_failed');
  end if;
end
$$;

-- All of the order's money was refunded: marks it and its shipment as ended, unless it was cancelled or has failed.
-- `restock` says whether its units go back into stock; null means only if it has no label. Returns the SKUs that went
-- back. The caller has locked the order. For payments. Emits order.refunded.
create or replace function orders.mark_refunded(order_id varchar, restock boolean default null) returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  order_row orders.orders;
  has_label boolean;
begin
  select * into order_row from orders.orders o where o.id = order_id;
  -- A place in a campaign has a payment before it has an order.
  if not found or order_row.status not in ('confirmed', 'shipped', 'delivered') then
    return '{}';
  end if;
  update orders.orders o set status = 'refunded', updated_at = platform.clock() where o.id = order_id;
  perform platform.emit('order.refunded', order_id, jsonb_build_object('orderId', order_id), false);
  has_label := shipping.end_shipment(order_id);
  return case when coalesce(restock, order_row.status = 'confirmed' and not has_label)
    then orders.restock_rest(order_row, 'refunded') else '{}' end;
end
$$;

-- A refund failed at the bank, so the order is no longer refunded and gets back its former status. Units that went back
-- into stock are taken again. If the units or the campaign place are gone, the order is cancelled with the reason
-- `refund_failed`, and the merchant owes the buyer the money. Nothing is shipped automatically. Returns the SKUs whose
-- stock changed. The caller has locked the order. For payments. Emits order.refund.failed or order.cancelled.
create or replace function orders.reopen_after_failed_refund(order_id varchar) returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  order_row orders.orders;
  is_committed boolean;
  restored_status varchar;
begin
  select * into order_row from orders.orders x
    where x.id = order_id and x.status = 'refunded';
  if not found then
    return '{}';
  end if;
  perform orders.lock_uses(array[order_id::text]);
  is_committed := coalesce((
    select r.status = 'committed' from inventory.reservations r where r.order_id = order_row.id), false);
  if not is_committed and (order_row.campaign_id is not null or not (
    select inventory.recommit(order_row.id, b.skus, b.units) from orders.units_by_sku(order_row,
      (select jsonb_agg(jsonb_build_object('lineId', l.place, 'back', l.restocked)) from orders.lines_of(order_row) l),
      'back') b)) then
    update orders.orders x set status = 'cancelled', failure_reason = 'refund_failed', updated_at = platform.clock(),
      place_open = x.campaign_id is not null
    where x.id = order_row.id;
    perform platform.emit('order.cancelled', order_row.id,
      jsonb_build_object('orderId', order_row.id, 'reason', 'refund_failed'), false);
    perform orders.return_uses(array[order_row.id::text]);
    return '{}';
  end if;
  restored_status := orders.shipping_status(order_row);
  update orders.orders x set status = restored_status, updated_at = platform.clock() where x.id = order_row.id;
  perform platform.emit('order.refund.failed', order_row.id,
    jsonb_build_object('orderId', order_row.id, 'status', restored_status), false);
  return case when is_committed then '{}' else array(select i->>'sku' from jsonb_array_elements(order_row.items) i) end;
end
$$;

-- For group commerce: the oldest campaign orders of all tenants that ended before `until` and still have their place.
create or replace function orders.find_ended_campaign_orders(until timestamptz, max_rows integer)
returns table (tenant varchar, order_id varchar, reason varchar)
language sql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
  select o.tenant_id, o.id,
    case o.status when 'failed' then coalesce(o.failure_reason, 'order_failed') else 'order_cancelled' end
  from orders.orders o
  where o.place_open and o.campaign_id is not null and o.updated_at <= until order by o.updated_at limit max_rows
$$;

-- Marks the places of these orders as freed. Locks the orders by id, after the places. For group commerce.
create or replace function orders.mark_places_freed(order_ids text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform 1 from orders.orders o
    where o.id = any(order_ids) order by o.id for update;
  update orders.orders o set place_open = false
  where o.id = any(order_ids) and o.place_open = (select true);
end
$$;

-- Locks orders by id, before any row that belongs to them. For functions of payments that end several orders.
create or replace function orders.lock_orders(order_ids text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select 1 from orders.orders o where o.id = any(order_ids) order by o.id for update
$$;

-- The consumer of inventory.insufficient: fails the orders. Locks them by id. `input`: {tenant, messages: [{eventId,
-- orderId, traceparent}]}. Returns {failed}.
create or replace function orders.fail_short_orders(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  new_event_ids text[];
  ids text[];
  failed_ids text[] := '{}';
  id text;
  traces jsonb;
begin
  perform platform.enter_as(call, input->>'tenant');
  new_event_ids := platform.claim_new_events('orders',
    array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  ids := array(select m->>'orderId' from jsonb_array_elements(input->'messages') m
    where m->>'eventId' = any(new_event_ids) order by 1);
  perform 1 from orders.orders o where o.id = any(ids) order by o.id for update;
  select coalesce(jsonb_object_agg(m->>'orderId', m->>'traceparent'), '{}') into traces
    from jsonb_array_elements(input->'messages') m where m->>'orderId' = any(ids);
  foreach id in array ids loop
    perform platform.set_trace(traces->>id);
    if orders.fail_order(id, 'insufficient_inventory') then
      failed_ids := failed_ids || id;
    end if;
  end loop;
  perform orders.return_uses(failed_ids);
  perform inventory.mark_orders_informed(ids);
  return jsonb_build_object('failed', cardinality(failed_ids));
end
$$;

-- The cron: fails orders whose hold is over and releases their stock, `limit` of them in one transaction. Returns
-- {expired, tenants: [{tenant, expired, skus}]}; repeat until expired is 0. An order that another transaction has
-- locked waits for the next run. One that cannot be processed is set aside.
create or replace function orders.expire_holds(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  tenant_holds jsonb;
  result jsonb;
  expired integer := 0;
  tenants jsonb := '[]';
begin
  perform platform.enter_as(call, '*');
  for tenant_holds in select jsonb_array_elements(inventory.due_holds((input->>'limit')::int)) loop
    for result in select jsonb_array_elements(platform.process_rows('expire-holds', 'orders.expire_holds_step',
      tenant_holds->>'tenant', array(select jsonb_array_elements_text(tenant_holds->'orders')), input))
    loop
      expired := expired + (result->>'expired')::int;
      tenants := tenants || result;
    end loop;
  end loop;
  return jsonb_build_object('expired', expired, 'tenants', tenants);
end
$$;

-- The step of expire_holds for one tenant. Locks the orders by id, then their reservations, payments and stock.
create or replace function orders.expire_holds_step(order_ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  ids text[];
  id text;
  expired integer := 0;
begin
  ids := array(
    select o.id from orders.orders o
    where o.id = any(order_ids) and o.status = 'created'
    order by o.id for update skip locked);
  -- Checked again under the locks: an order that was due may have been paid or extended since.
  ids := inventory.lock_due_holds(ids);
  foreach id in array ids loop
    expired := expired + orders.fail_order(id, 'reservation_expired')::int;
  end loop;
  perform payments.end_for_orders(ids, 'failed', 'reservation_expired');
  perform orders.return_uses(ids);
  return jsonb_build_object('tenant', platform.tenant(), 'expired', expired,
    'skus', to_jsonb(inventory.release(ids, 'expired')));
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.cancel_order, orders.fail_short_orders, orders.expire_holds to fusion_worker;
grant execute on function orders.lock_order to fusion_payments, fusion_shipping;
grant execute on function orders.lock_orders to fusion_payments;
grant execute on function orders.find_ended_campaign_orders, orders.mark_places_freed to fusion_group_commerce;
grant execute on function orders.fail_unpaid, orders.mark_refunded, orders.reopen_after_failed_refund
  to fusion_payments;
