-- requires: platform/access.sql, platform/events.sql, inventory/restocks.sql, orders/refund-amounts.sql, orders/states.sql, orders/fulfilment.sql, payments/refunds.sql
-- Refunds of units and shipping of an order. Lock order: order, payment, reservation, stock.

-- Records a refund of units. `amounts`: what orders.refund_amounts returns, and each of its items with `restocked`, the
-- units that go back into stock with it. `input`: {refundId, reason, returned}; `returned`: the units came back with a
-- return. Without anything to pay, no refund is made. Returns {refund, skus}: the refund or null, and the SKUs whose
-- stock changed; or the error refund_exceeds_payment, with nothing done. The caller has locked the order. Emits
-- shipping.cancelled if the other units have been sent.
create or replace function orders.record_refund(o orders.orders, amounts jsonb, input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  refunded_items constant jsonb := amounts->'items';
  line_count constant integer := jsonb_array_length(o.items);
  refund jsonb;
  back record;
begin
  if (amounts->>'amount')::numeric > 0 then
    refund := payments.refund_units(o.id, amounts || input);
    if refund ? 'error' then
      return refund;
    end if;
  end if;
  if refunded_items <> '[]' then
    update orders.orders x
    set refunded_quantities = orders.add_units(x.refunded_quantities, line_count, refunded_items, 'quantity', 1),
        refunded_amounts = orders.add_amounts(x.refunded_amounts, line_count, refunded_items, 1),
        restocked_quantities = orders.add_units(x.restocked_quantities, line_count, refunded_items, 'restocked', 1),
        returned_quantities = case when (input->>'returned')::boolean
          then orders.add_units(x.returned_quantities, line_count, orders.sent_units(o, refunded_items), 'quantity', 1)
          else x.returned_quantities end,
        updated_at = platform.clock()
    where x.id = o.id;
    perform orders.complete_shipping(o.id); -- the refunded units may be the last that were not sent
  end if;
  if (amounts->>'shipping')::numeric > 0 then
    update orders.orders x
    set shipping_refunded = coalesce(x.shipping_refunded, 0) + (amounts->>'shipping')::numeric,
        updated_at = platform.clock()
    where x.id = o.id;
  end if;
  select * into back from orders.units_by_sku(o, refunded_items, 'restocked');
  return jsonb_build_object('refund', refund, 'skus', to_jsonb(inventory.restock_units(o.id, back.skus, back.units)));
end
$$;

-- POST /v1/orders/{id}/refunds. `input`: {id, refundId, items, shipping?, reason?, restock?}. `restock`: whether the
-- units go back into stock, at once; by default only if the order has no label. Raises not_found. Returns the errors of
-- refund_amounts and payments.refund_units, and validation_failed if there is nothing to pay back.
create or replace function orders.refund_order(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'payments:write', 'orders.refund');
  order_row orders.orders;
  amounts jsonb;
  restocks boolean;
  recorded jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  select * into order_row from orders.orders o where o.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if order_row.status not in ('confirmed', 'shipped', 'delivered') or order_row.total = 0 then
    return platform.leave(call, 'orders.refund', jsonb_build_object('error', 'refund_exceeds_payment', 'detail',
      case when order_row.total = 0 then 'Nothing was paid for this order. Cancel it instead.'
        when order_row.status = 'created' then 'The order is not paid yet. Cancel it instead.'
        else format('The order is %s: all of its money was or will be refunded.', order_row.status) end));
  end if;
  amounts := orders.refund_amounts(order_row, input, orders.units_in_returns(order_row, null));
  if amounts ? 'error' then
    return platform.leave(call, 'orders.refund', amounts);
  elsif (amounts->>'amount')::numeric = 0 then
    return platform.leave(call, 'orders.refund', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/items', 'detail', 'Nothing was paid for these units.'))));
  end if;
  restocks := coalesce((input->>'restock')::boolean, order_row.status = 'confirmed'
    and not exists (select from shipping.shipments s where s.order_id = order_row.id));
  recorded := orders.record_refund(order_row, amounts || jsonb_build_object('items', (
      select coalesce(jsonb_agg(i || jsonb_build_object('restocked', case when restocks then i->'quantity' else '0' end)), '[]')
      from jsonb_array_elements(amounts->'items') i)),
    jsonb_build_object('refundId', input->'refundId', 'reason', input->'reason', 'returned', false));
  return platform.leave(call, 'orders.refund', case when recorded ? 'error' then recorded
    else recorded->'refund' || jsonb_build_object('freed', recorded->'skus') end);
end
$$;

-- A refund by lines failed at the bank: its units are not refunded any more. Units that went back into stock with it
-- are taken again; if they are gone, the units stay as they are, and the merchant owes the buyer the money (a refund of
-- an amount). The units of a return stay too: they came back, and receiving the return again refunds them again.
-- Returns the SKUs whose stock changed. The caller has locked the order and the payment. For payments.
create or replace function orders.undo_refund(order_id varchar, refund jsonb) returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  order_row orders.orders;
  failed_items jsonb := refund->'items';
  back record;
begin
  select * into order_row from orders.orders o where o.id = order_id;
  if not found or order_row.status not in ('confirmed', 'shipped', 'delivered', 'refunded')
    or exists (select from orders.returns r where r.refund_id = refund->>'id') then
    return '{}';
  end if;
  if order_row.status = 'refunded' then
    perform orders.lock_uses(array[order_row.id::text]); -- it may be reopened: uses are locked before stock
  end if;
  select * into back from orders.units_by_sku(order_row, failed_items, 'restocked');
  if not inventory.take_restocked(order_row.id, back.skus, back.units) then
    failed_items := '[]';
    back.skus := '{}';
  end if;
  update orders.orders o
  set refunded_quantities = orders.add_units(o.refunded_quantities, jsonb_array_length(o.items), failed_items, 'quantity', -1),
      refunded_amounts = orders.add_amounts(o.refunded_amounts, jsonb_array_length(o.items), failed_items, -1),
      restocked_quantities = orders.add_units(o.restocked_quantities, jsonb_array_length(o.items), failed_items, 'restocked', -1),
      shipping_refunded = o.shipping_refunded - (refund->>'shipping')::numeric, updated_at = platform.clock()
  where o.id = order_row.id;
  -- The refund may have completed the order. Now its units must be sent.
  update orders.orders o set status = 'confirmed'
  where o.id = order_row.id and o.status in ('shipped', 'delivered') and orders.shipping_status(o) = 'confirmed';
  return back.skus;
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.refund_order to fusion_worker;
grant execute on function orders.undo_refund to fusion_payments;
