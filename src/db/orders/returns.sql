-- requires: platform/access.sql, platform/events.sql, orders/refunds.sql, payments/refunds.sql
-- Returns: a buyer sends units back. requested → received → refunded, or cancelled. `refunded` is not stored: a
-- received return is refunded once its refund has succeeded, or if there was nothing to refund. Every write of a return
-- locks its order first.

-- A return as the API shows it, with its refund.
create or replace function orders.return_json(r orders.returns, refund jsonb) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', r.id, 'orderId', r.order_id, 'status', case when r.status = 'received'
      and (r.refund_id is null or refund->>'status' = 'succeeded') then 'refunded' else r.status end,
    'items', r.items, 'reason', r.reason, 'refund', refund, 'createdAt', platform.iso(r.created_at),
    'receivedAt', platform.iso(r.received_at), 'updatedAt', platform.iso(r.updated_at))
$$;

-- The refund of a return, as a set of at most one row: see orders.payment_of.
create or replace function orders.refund_of_return(r orders.returns) returns setof jsonb
language sql stable rows 1 as $$
  select payments.refund_json(f) from payments.refunds f where f.id = r.refund_id
$$;

-- The units of each line that open returns of the order have reserved, except the return `without_return`.
create or replace function orders.units_in_returns(o orders.orders, without_return varchar) returns integer[]
language sql stable as $$
  select orders.add_units(null, jsonb_array_length(o.items), coalesce(jsonb_agg(i), '[]'), 'quantity', 1)
  from orders.returns r, jsonb_array_elements(r.items) i
  where r.order_id = o.id and r.status = 'requested' and r.id is distinct from without_return
$$;

-- The payload of the events of returns: ids, and units of lines.
create or replace function orders.return_event(r orders.returns, items jsonb) returns jsonb
language sql stable as $$
  select jsonb_strip_nulls(jsonb_build_object('orderId', r.order_id, 'returnId', r.id, 'refundId', r.refund_id, 'items', items))
$$;

-- POST /v1/orders/{id}/returns. `input`: {id, returnId, items: [{lineId, quantity, restock}], reason?, shipping?}.
-- Reserves the units, so that no other return and no refund takes them. Raises not_found. Returns the errors conflict
-- (the order is not paid, or has ended), refund_exceeds_payment (more units than are left). Emits return.requested.
create or replace function orders.request_return(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'orders.return');
  order_row orders.orders;
  amounts jsonb;
  made orders.returns;
begin
  if replay is not null then
    return replay;
  end if;
  select * into order_row from orders.orders o where o.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if order_row.status not in ('confirmed', 'shipped', 'delivered') then
    return platform.leave(call, 'orders.return', jsonb_build_object('error', 'conflict', 'detail', format(
      'The order is %s. Only units of a confirmed, shipped or delivered order can be returned.', order_row.status)));
  end if;
  amounts := orders.refund_amounts(order_row, input, orders.units_in_returns(order_row, null));
  if amounts ? 'error' then
    return platform.leave(call, 'orders.return', amounts);
  end if;
  insert into orders.returns (id, tenant_id, order_id, status, items, reason, shipping, created_at, updated_at)
  values (input->>'returnId', order_row.tenant_id, order_row.id, 'requested', (
      select jsonb_agg(jsonb_build_object('lineId', i->'lineId', 'quantity', i->'quantity',
        'restock', coalesce(i->'restock', 'true'), 'received', null) order by place)
      from jsonb_array_elements(input->'items') with ordinality e(i, place)),
    input->>'reason', nullif(input->'shipping', 'null'), platform.clock(), platform.clock())
  returning * into made;
  perform platform.emit('return.requested', order_row.id, orders.return_event(made, (
    select jsonb_agg(i - 'received' - 'restock') from jsonb_array_elements(made.items) i)), false);
  return platform.leave(call, 'orders.return', orders.return_json(made, null));
end
$$;

-- POST /v1/returns/{id}/receive. `input`: {id, refundId, items?: [{lineId, quantity, restock?}], refund?}: what came;
-- by default everything. Its units go back into stock if `restock` says so, and are refunded, unless `refund` is false:
-- then the money went back in another way. Units that did not come are no longer reserved. If the refund of a received
-- return has failed, this refunds the same amount again, and `items` must be absent. Raises not_found. Returns the
-- errors conflict (cancelled, or received already), validation_failed, refund_exceeds_payment. Emits return.received.
create or replace function orders.receive_return(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'payments:write', 'orders.receive_return');
  order_row orders.orders;
  of_return orders.returns;
  failed payments.refunds;
  fault jsonb;
  came jsonb;
  amounts jsonb;
  recorded jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  select * into of_return from orders.returns r where r.id = input->>'id';
  if not found then
    perform platform.fail('not_found');
  end if;
  select * into order_row from orders.orders o where o.id = of_return.order_id for update;
  select * into of_return from orders.returns r where r.id = of_return.id; -- it changes only under the order's lock
  select * into failed from payments.refunds f where f.id = of_return.refund_id and f.status = 'failed';
  if of_return.status <> 'requested' and (failed.id is null or input ? 'items') then
    return platform.leave(call, 'orders.receive_return', jsonb_build_object('error', 'conflict', 'detail',
      case of_return.status when 'cancelled' then 'The return was cancelled.' else 'The return was received already.' end));
  end if;
  if failed.id is not null then
    recorded := payments.refund_units(order_row.id, jsonb_build_object('refundId', input->'refundId',
      'reason', failed.reason, 'amount', failed.amount, 'items', failed.items, 'shipping', failed.shipping));
    if recorded ? 'error' then
      return platform.leave(call, 'orders.receive_return', recorded);
    end if;
    update orders.returns r set refund_id = input->>'refundId', updated_at = platform.clock()
    where r.id = of_return.id returning * into of_return;
    return platform.leave(call, 'orders.receive_return',
      orders.return_json(of_return, recorded) || jsonb_build_object('freed', '[]'::jsonb));
  end if;
  select jsonb_agg(jsonb_build_object('pointer', format('/items/%s/quantity', i.place - 1),
      'detail', format('At most %s of this line were requested.', coalesce(l.item->>'quantity', '0')))
    order by i.place) filter (where (i.item->>'quantity')::int > coalesce((l.item->>'quantity')::int, 0))
  into fault
  from jsonb_array_elements(coalesce(input->'items', '[]')) with ordinality i(item, place)
  left join jsonb_array_elements(of_return.items) l(item) on l.item->>'lineId' = i.item->>'lineId';
  if fault is not null then
    return platform.leave(call, 'orders.receive_return', jsonb_build_object('error', 'validation_failed', 'errors', fault));
  end if;
  came := (
    select jsonb_agg(l.item || jsonb_build_object('received', case when input ? 'items'
        then coalesce((i.item->>'quantity')::int, 0) else (l.item->>'quantity')::int end,
      'restock', coalesce(i.item->'restock', l.item->'restock')) order by l.place)
    from jsonb_array_elements(of_return.items) with ordinality l(item, place)
    left join jsonb_array_elements(coalesce(input->'items', '[]')) i(item) on i.item->>'lineId' = l.item->>'lineId');
  amounts := orders.refund_amounts(order_row, jsonb_build_object('shipping', of_return.shipping, 'items', (
      select jsonb_agg(jsonb_build_object('lineId', i->'lineId', 'quantity', i->'received') order by place)
      from jsonb_array_elements(came) with ordinality e(i, place) where (i->>'received')::int > 0)),
    orders.units_in_returns(order_row, of_return.id));
  if not amounts ? 'error' then
    amounts := amounts || jsonb_build_object('items', (
      select jsonb_agg(a || jsonb_build_object('restocked', case when (i->>'restock')::boolean then i->'received' else '0' end))
      from jsonb_array_elements(amounts->'items') a join jsonb_array_elements(came) i on i->>'lineId' = a->>'lineId'))
      || case when (input->>'refund')::boolean is false then '{"amount": 0, "shipping": 0}' else '{}' end::jsonb;
    recorded := orders.record_refund(order_row, amounts, jsonb_build_object('refundId', input->'refundId',
      'reason', coalesce(of_return.reason, 'returned'), 'returned', true));
  end if;
  if coalesce(recorded, amounts) ? 'error' then
    return platform.leave(call, 'orders.receive_return', coalesce(recorded, amounts));
  end if;
  update orders.returns r
  set status = 'received', items = came, received_at = platform.clock(), updated_at = platform.clock(),
      refund_id = recorded->'refund'->>'id'
  where r.id = of_return.id returning * into of_return;
  perform platform.emit('return.received', order_row.id, orders.return_event(of_return, (
    select jsonb_agg(jsonb_build_object('lineId', i->'lineId', 'quantity', i->'received', 'restock', i->'restock'))
    from jsonb_array_elements(came) i where (i->>'received')::int > 0)), false);
  return platform.leave(call, 'orders.receive_return', orders.return_json(of_return, nullif(recorded->'refund', 'null'))
    || jsonb_build_object('freed', recorded->'skus'));
end
$$;

-- POST /v1/returns/{id}/cancel: releases the units of a return that was not received. A repeat returns the same result.
-- Raises not_found. Returns the error conflict (received already). Emits return.cancelled.
create or replace function orders.cancel_return(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'orders.cancel_return');
  of_return orders.returns;
begin
  if replay is not null then
    return replay;
  end if;
  select * into of_return from orders.returns r where r.id = input->>'id';
  if not found then
    perform platform.fail('not_found');
  end if;
  perform orders.lock_order(of_return.order_id);
  update orders.returns r set status = 'cancelled', updated_at = platform.clock()
  where r.id = of_return.id and r.status = 'requested';
  if found then
    perform platform.emit('return.cancelled', of_return.order_id, orders.return_event(of_return, null), false);
  end if;
  select * into of_return from orders.returns r where r.id = of_return.id;
  return platform.leave(call, 'orders.cancel_return', case when of_return.status = 'cancelled'
    then orders.return_json(of_return, null)
    else jsonb_build_object('error', 'conflict', 'detail', 'The return was received already.') end);
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.request_return, orders.receive_return, orders.cancel_return to fusion_worker;
grant execute on function orders.return_json, orders.refund_of_return to fusion_reader;
