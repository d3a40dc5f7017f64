-- requires: platform/access.sql, platform/events.sql, inventory/reservations.sql, shipping/shipments.sql, shipping/label-requests.sql, orders/states.sql, orders/discount-uses.sql
-- Confirming an order that is paid.

-- created or failed → confirmed, if the units are held: the order, order.confirmed and the label request, unless the
-- tenant requests its labels itself. Returns null if they are not held, or if the order is in another state or has lost
-- its place. The caller has locked the order.
create or replace function orders.confirm_held_order(order_id varchar) returns orders.orders
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
  order_row orders.orders;
  request shipping.label_requests;
begin
  with confirmed as (
    update orders.orders o set status = 'confirmed', failure_reason = null, updated_at = now_at
    where o.id = order_id
      and (o.status = 'created' or o.status = 'failed' and o.campaign_id is null)
      and exists (select from inventory.reservations r
        where r.order_id = confirm_held_order.order_id and r.status in ('held', 'committed'))
    returning o.*
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'order.confirmed', c.id, jsonb_build_object('orderId', c.id), platform.trace(), now_at
    from confirmed c
    returning seq, key
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, e.key, platform.due_now() from event e, unnest(platform.sinks_of(true)) s
  )
  select * into order_row from confirmed;
  -- The label request is a row from now on, so the cron finds it if the message is lost.
  if order_row.shipping_address is not null
    and (select t.automatic_labels from platform.tenants t where t.id = tenant) then
    request := shipping.open_label_request(order_row, order_row.shipping_address, platform.uuid7());
  end if;
  return order_row;
end
$$;

-- The order is paid (or costs nothing): confirms it and commits its hold. A hold that was released is taken again.
-- Returns {confirmed, reason, skus}; confirmed is false if the stock is gone or the order was cancelled, and then the
-- caller refunds the money. Uses of discounts are taken again too. The caller has locked the order. For payments. Emits
-- order.confirmed.
create or replace function orders.confirm_paid_order(order_id varchar) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  order_row orders.orders := orders.confirm_held_order(order_id);
begin
  if order_row.id is not null then
    -- The contended rows come last. A hold ends only under the order's lock: an order without a hold must not commit.
    if not inventory.commit(order_id) then
      raise exception using errcode = 'serialization_failure', message = 'the hold has ended meanwhile';
    end if;
    return '{"confirmed": true, "skus": []}';
  end if;
  select * into order_row from orders.orders x where x.id = order_id;
  if order_row.status = 'cancelled' then
    return jsonb_build_object('confirmed', false, 'reason', 'order_cancelled', 'skus', '[]'::jsonb);
  end if;
  -- Another buyer may have the place already, so the money is refunded even if the unit is still there.
  if order_row.id is null or (order_row.status = 'failed' and order_row.campaign_id is not null) then
    return jsonb_build_object('confirmed', false, 'reason', 'place_lost', 'skus', '[]'::jsonb);
  end if;
  if order_row.status not in ('created', 'failed') then
    return jsonb_build_object('confirmed', true, 'skus', '[]'::jsonb);
  end if;
  -- Another order of its cart may have taken its place, and other buyers the last use of its discount or its stock.
  if exists (select from orders.carts c where c.id = order_row.cart_id and c.order_id <> order_row.id) then
    return jsonb_build_object('confirmed', false, 'reason', 'cart_ordered_again', 'skus', '[]'::jsonb);
  end if;
  if not orders.retake_uses(order_id) then
    return jsonb_build_object('confirmed', false, 'reason', 'discount_gone', 'skus', '[]'::jsonb);
  end if;
  if not inventory.commit(order_id) then
    if order_row.status = 'failed' then -- an order that is still `created` keeps its uses until it fails
      perform orders.return_uses(array[order_id::text]);
    end if;
    return jsonb_build_object('confirmed', false, 'reason', 'stock_gone', 'skus', '[]'::jsonb);
  end if;
  perform orders.confirm_held_order(order_id);
  return jsonb_build_object('confirmed', true, 'skus',
    case when order_row.status = 'created' then '[]'::jsonb
      else to_jsonb(array(select i->>'sku' from jsonb_array_elements(order_row.items) i)) end);
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.confirm_paid_order to fusion_payments, fusion_group_commerce;
