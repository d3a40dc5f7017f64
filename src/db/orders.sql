-- requires: platform.sql, events.sql, inventory.sql, payments.sql, shipping.sql
-- Orders: placing, cancelling, and what becomes of one whose hold runs out. See platform.sql for `call` and the answer.

-- An order as the API shows it. `hold` is null while a reservation is undecided or was refused.
create or replace function orders.order_json(
  o orders.orders, hold jsonb, payment jsonb default null, shipment jsonb default null
) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', o.id, 'customerId', o.customer_id, 'items', o.items, 'total', o.total,
    'currency', o.currency, 'status', o.status, 'failureReason', o.failure_reason,
    'organizationId', o.organization_id, 'purchaseOrderNumber', o.purchase_order_number,
    'shippingAddress', o.shipping_address, 'campaignId', o.campaign_id, 'reservation', hold, 'payment', payment,
    'shipment', shipment, 'createdAt', platform.iso(o.created_at), 'updatedAt', platform.iso(o.updated_at))
$$;

-- The same for a read, with what the other services say of the order.
create or replace function orders.full_order_json(o orders.orders, r inventory.reservations) returns jsonb
language sql stable as $$
  select orders.order_json(o,
    case when r.status in ('held', 'committed', 'released') then
      jsonb_build_object('status', r.status, 'expiresAt', platform.iso(r.expires_at)) end,
    (select payments.payment_json(p) from payments.payments p
      where p.order_id = o.id order by p.payment_id desc limit 1),
    (select shipping.shipment_json(s) from shipping.shipments s
      where s.order_id = o.id order by s.id desc limit 1))
$$;

-- The lines of a request with their prices, or why they have none. `input`: {items: [{sku, quantity, price?}], currency?,
-- pricing?}. Answers {items, total, currency, skus, quantities}, or {error, …}: unknown_sku, currency_mismatch,
-- price_changed, validation_failed. Lines of one SKU and one price are merged, in the order in which they came.
create or replace function orders.price_lines(input jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  quoted constant boolean := coalesce(input->>'pricing', '') = 'quoted';
  priced jsonb;
begin
  with line as (
    -- `limit 1` keeps this a lookup by the unique index for each line, whatever the planner thinks of their number.
    select l.ord, l.item->>'sku' as sku, (l.item->>'quantity')::int as quantity, (l.item->>'price')::numeric as stated,
      p.price as listed, p.currency
    from jsonb_array_elements(input->'items') with ordinality l(item, ord)
    left join lateral (
      select c.price, c.currency from catalog.products c
      where c.tenant_id = platform.tenant() and c.sku = l.item->>'sku' and c.status = 'active' limit 1
    ) p on true
  ), final as (
    select l.*, case when quoted then coalesce(l.stated, l.listed) else l.listed end as price from line l
  ), merged as (
    select min(f.ord) as ord, f.sku, sum(f.quantity) as quantity, f.price from final f group by f.sku, f.price
  ), needed as (
    select m.sku, sum(m.quantity) as quantity from merged m group by m.sku
  )
  select jsonb_build_object(
    'unknown', (select jsonb_agg(jsonb_build_object('pointer', format('/items/%s/sku', f.ord - 1),
      'detail', format('No product with SKU "%s" is for sale.', f.sku)) order by f.ord) from final f where f.currency is null),
    'currencies', (select jsonb_agg(distinct f.currency) from final f where f.currency is not null),
    'changed', (select jsonb_agg(jsonb_build_object('pointer', format('/items/%s/price', f.ord - 1),
      'detail', format('The price of "%s" is %s, not %s.', f.sku, f.listed, f.stated)) order by f.ord)
      from final f where not quoted and f.stated <> f.listed),
    'misfit', (select jsonb_agg(jsonb_build_object('pointer', format('/items/%s/price', f.ord - 1),
      'detail', format('%s has no decimals: %s does not fit.', f.currency, f.price)) order by f.ord)
      from final f where scale(trim_scale(f.price)) > platform.currency_decimals(f.currency)),
    'items', (select jsonb_agg(jsonb_build_object('sku', m.sku, 'quantity', m.quantity, 'price', m.price) order by m.ord)
      from merged m),
    'total', (select sum(m.quantity * m.price) from merged m),
    'most', (select max(n.quantity) from needed n),
    'skus', (select jsonb_agg(n.sku order by n.sku) from needed n),
    'quantities', (select jsonb_agg(n.quantity order by n.sku) from needed n)
  ) into priced;

  if priced->'unknown' <> 'null' then
    return jsonb_build_object('error', 'unknown_sku', 'errors', priced->'unknown');
  end if;
  if jsonb_array_length(priced->'currencies') > 1 or priced->'currencies'->>0 <> input->>'currency' then
    return jsonb_build_object('error', 'currency_mismatch', 'detail', format('The products are sold in %s.',
      (select string_agg(c, ', ') from jsonb_array_elements_text(priced->'currencies') c)));
  end if;
  if priced->'changed' <> 'null' then
    return jsonb_build_object('error', 'price_changed', 'errors', priced->'changed');
  end if;
  if priced->'misfit' <> 'null' then
    return jsonb_build_object('error', 'validation_failed', 'errors', priced->'misfit');
  end if;
  if (priced->>'total')::numeric >= 100000000 or (priced->>'most')::numeric > 2147483647 then
    return jsonb_build_object('error', 'validation_failed', 'errors', jsonb_build_array(jsonb_build_object(
      'pointer', '/items', 'detail', 'The order is too large: a total must stay below 100000000.00.')));
  end if;
  return jsonb_build_object('items', priced->'items', 'total', priced->'total', 'currency', priced->'currencies'->0,
    'skus', priced->'skus', 'quantities', priced->'quantities');
end
$$;

-- Places an order: the order, the hold on every line and the events, or none of them. `input`: {id, customerId, items,
-- currency?, pricing?, organizationId?, purchaseOrderNumber?, shippingAddress?, holdSeconds, async}.
-- With `async` the hold is left to the consumer of order.created. Not enough stock: the order is kept as failed, holds
-- nothing, and the answer is {error: insufficient_inventory, orderId, shortages}.
-- Refuses: what price_lines refuses. Emits order.created, and inventory.reserved, or inventory.insufficient and order.failed.
create or replace function orders.place_order(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'orders.place');
  priced jsonb;
  o orders.orders;
  shortages jsonb;
  skus text[];
  quantities integer[];
  deferred constant boolean := (input->>'async')::boolean;
begin
  if replay is not null then
    return replay;
  end if;
  priced := orders.price_lines(input);
  if priced ? 'error' then
    return platform.leave(call, 'orders.place', priced);
  end if;
  insert into orders.orders (id, customer_id, items, total, currency, status, tenant_id, organization_id,
    purchase_order_number, shipping_address, created_at, updated_at)
  values (input->>'id', input->>'customerId', priced->'items', (priced->>'total')::numeric, priced->>'currency',
    'created', platform.tenant(), input->>'organizationId', input->>'purchaseOrderNumber',
    nullif(input->'shippingAddress', 'null'), platform.clock(), platform.clock())
  returning * into o;
  perform platform.emit('order.created', o.id, jsonb_build_object('orderId', o.id, 'customerId', o.customer_id,
    'total', o.total, 'currency', o.currency, 'items', o.items), deferred);
  skus := array(select jsonb_array_elements_text(priced->'skus'));
  quantities := array(select jsonb_array_elements_text(priced->'quantities')::int);
  if deferred then
    perform inventory.plan(o.id, skus, quantities);
    return platform.leave(call, 'orders.place', orders.order_json(o, null));
  end if;
  -- The contended rows come last: a hot SKU is locked for the rest of this call and the commit, nothing else.
  shortages := inventory.reserve(o.id, skus, quantities, (input->>'holdSeconds')::int);
  if shortages is not null then
    perform orders.fail_order(o.id, 'insufficient_inventory');
    return platform.leave(call, 'orders.place',
      jsonb_build_object('error', 'insufficient_inventory', 'orderId', o.id, 'shortages', shortages));
  end if;
  return platform.leave(call, 'orders.place', orders.order_json(o, jsonb_build_object('status', 'held',
    'expiresAt', platform.iso(platform.clock() + make_interval(secs => (input->>'holdSeconds')::int)))));
end
$$;

-- The order of a place in a campaign; its unit is held already. `input`: {id, customerId, sku, price, currency, campaignId,
-- shippingAddress}. For group commerce. Emits order.created.
create or replace function orders.place_joined(input jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  o orders.orders;
begin
  insert into orders.orders (id, customer_id, items, total, currency, status, tenant_id, campaign_id, shipping_address,
    created_at, updated_at)
  values (input->>'id', input->>'customerId',
    jsonb_build_array(jsonb_build_object('sku', input->'sku', 'quantity', 1, 'price', input->'price')),
    (input->>'price')::numeric, input->>'currency', 'created', platform.tenant(), input->>'campaignId',
    nullif(input->'shippingAddress', 'null'), platform.clock(), platform.clock())
  returning * into o;
  perform platform.emit('order.created', o.id, jsonb_build_object('orderId', o.id, 'customerId', o.customer_id,
    'total', o.total, 'currency', o.currency, 'items', o.items), false);
end
$$;

-- created → failed; true if it was so. The caller has locked the order or has just made it. A campaign hears of it.
create or replace function orders.fail_order(order_id varchar, reason varchar) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  campaign varchar;
begin
  update orders.orders o set status = 'failed', failure_reason = reason, updated_at = platform.clock()
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

-- Cancels an order that has not been shipped: its stock goes back, its payment is cancelled or refunded. `input`: {id,
-- reason?}. Cancelled already: the same answer. Raises not_found. Refuses: order_not_cancellable. Emits order.cancelled,
-- inventory.released if it had any stock, and what ends its payment.
create or replace function orders.cancel_order(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'orders.cancel');
  o orders.orders;
  freed text[];
begin
  if replay is not null then
    return replay;
  end if;
  select * into o from orders.orders c where c.tenant_id = platform.tenant() and c.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if o.status not in ('created', 'confirmed', 'cancelled') then
    return platform.leave(call, 'orders.cancel',
      jsonb_build_object('error', 'order_not_cancellable', 'detail', format('The order is %s.', o.status)));
  end if;
  if o.status <> 'cancelled' then
    perform inventory.lock_hold(o.id);
    update orders.orders c set status = 'cancelled', updated_at = platform.clock()
    where c.id = o.id returning * into o;
    perform platform.emit('order.cancelled', o.id, jsonb_strip_nulls(
      jsonb_build_object('orderId', o.id, 'reason', input->>'reason')), o.campaign_id is not null);
    perform payments.end_for_orders(array[o.id::text], 'cancelled', 'order_cancelled');
    freed := inventory.release(array[o.id::text], 'cancelled') || inventory.restock(o.id, 'cancelled');
  end if;
  return platform.leave(call, 'orders.cancel',
    orders.shown(o.id) || jsonb_build_object('freed', to_jsonb(coalesce(freed, '{}'))));
end
$$;

-- An order with all that the other services say of it, as a read shows it.
create or replace function orders.shown(order_id varchar) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
  select orders.full_order_json(o, r) from orders.orders o left join inventory.reservations r on r.order_id = o.id
  where o.id = shown.order_id
$$;

-- The order's row, locked before any other row of its saga. Null if it is not there. For payments and shipping.
create or replace function orders.lock_order(order_id varchar) returns orders.orders
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select * from orders.orders o where o.tenant_id = platform.tenant() and o.id = order_id for update
$$;

-- The order's money is there (or it needs none): it is confirmed, and its hold becomes final. If its hold was released
-- meanwhile, its stock is taken again; answers {confirmed, reason, skus}, false if there is none or it was cancelled, and
-- then the money goes back. The caller has locked the order. For payments. Emits order.confirmed.
create or replace function orders.settle_paid(order_id varchar) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  o orders.orders;
begin
  select * into o from orders.orders x where x.tenant_id = platform.tenant() and x.id = order_id;
  if o.status = 'cancelled' then
    return jsonb_build_object('confirmed', false, 'reason', 'order_cancelled', 'skus', '[]'::jsonb);
  end if;
  -- A place that was lost may be another's already, so its money goes back even where its unit is still there.
  if o.id is null or (o.status = 'failed' and o.campaign_id is not null) then
    return jsonb_build_object('confirmed', false, 'reason', 'place_lost', 'skus', '[]'::jsonb);
  end if;
  if o.status not in ('created', 'failed') then
    return jsonb_build_object('confirmed', true, 'skus', '[]'::jsonb);
  end if;
  if not inventory.commit(o.id) then
    return jsonb_build_object('confirmed', false, 'reason', 'stock_gone', 'skus', '[]'::jsonb);
  end if;
  update orders.orders x set status = 'confirmed', failure_reason = null, updated_at = platform.clock() where x.id = o.id;
  perform platform.emit('order.confirmed', o.id, jsonb_build_object('orderId', o.id), true);
  return jsonb_build_object('confirmed', true, 'skus',
    case when o.status = 'created' then '[]'::jsonb else to_jsonb(array(select i->>'sku' from jsonb_array_elements(o.items) i)) end);
end
$$;

-- The order can never be paid: it fails, and its stock goes back. For payments.
create or replace function orders.fail_unpaid(order_id varchar, reason varchar) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform orders.lock_order(order_id);
  if orders.fail_order(order_id, 'payment_failed') then
    perform payments.end_for_orders(array[order_id::text], 'failed', reason);
    perform inventory.release(array[order_id::text], 'payment_failed');
  end if;
end
$$;

-- All of the order's money went back: it is refunded, unless it was cancelled or has failed. What has not been shipped is
-- stock again; answers its SKUs. The caller has locked the order. For payments. Emits order.refunded.
create or replace function orders.mark_refunded(order_id varchar) returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  before varchar;
begin
  select o.status into before from orders.orders o where o.tenant_id = platform.tenant() and o.id = order_id;
  if before not in ('confirmed', 'shipped', 'delivered') then
    return '{}';
  end if;
  update orders.orders o set status = 'refunded', updated_at = platform.clock() where o.id = order_id;
  perform platform.emit('order.refunded', order_id, jsonb_build_object('orderId', order_id), false);
  return case when before = 'confirmed' then inventory.restock(order_id, 'refunded') else '{}' end;
end
$$;

-- The parcel is on its way (`shipped`) or there (`delivered`): the order only ever goes forward, and one that was
-- cancelled or refunded stays so. True if it moved. The caller has locked the order. For shipping.
create or replace function orders.mark_shipped(order_id varchar, reached varchar) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update orders.orders o set status = reached, updated_at = platform.clock()
  where o.tenant_id = platform.tenant() and o.id = order_id
    and (o.status = 'confirmed' or (o.status = 'shipped' and reached = 'delivered'));
  return found;
end
$$;

-- The consumer of inventory.insufficient. `input`: {tenant, messages: [{eventId, orderId, traceparent}]}. Answers {failed}.
create or replace function orders.fail_short_orders(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  fresh text[];
  ids text[];
  failed integer := 0;
  id text;
  traces jsonb;
begin
  perform platform.enter_as(call, input->>'tenant');
  fresh := platform.take_new('orders', array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  ids := array(select m->>'orderId' from jsonb_array_elements(input->'messages') m
    where m->>'eventId' = any(fresh) order by 1);
  perform 1 from orders.orders o where o.tenant_id = platform.tenant() and o.id = any(ids) order by o.id for update;
  select coalesce(jsonb_object_agg(m->>'orderId', m->>'traceparent'), '{}') into traces
    from jsonb_array_elements(input->'messages') m where m->>'orderId' = any(ids);
  foreach id in array ids loop
    perform platform.set_trace(traces->>id);
    failed := failed + orders.fail_order(id, 'insufficient_inventory')::int;
  end loop;
  return jsonb_build_object('failed', failed);
end
$$;

-- The cron: orders whose hold has run out fail, and their stock goes back, in one transaction for `limit` of them.
-- Answers {expired, tenants: [{tenant, skus}]}; repeat until expired is 0. An order that another transaction has locked
-- is left for the next turn.
create or replace function orders.expire_holds(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  due jsonb;
  ids text[];
  id text;
  expired integer := 0;
  tenants jsonb := '[]';
begin
  perform platform.enter_as(call, '*');
  for due in select jsonb_array_elements(inventory.due_holds((input->>'limit')::int)) loop
    perform platform.act_as(due->>'tenant');
    ids := array(
      select o.id from orders.orders o
      where o.tenant_id = platform.tenant() and o.status = 'created'
        and o.id = any(array(select jsonb_array_elements_text(due->'orders')))
      order by o.id for update skip locked);
    foreach id in array ids loop
      expired := expired + orders.fail_order(id, 'reservation_expired')::int;
    end loop;
    perform payments.end_for_orders(ids, 'failed', 'reservation_expired');
    tenants := tenants || jsonb_build_object('tenant', due->>'tenant',
      'skus', to_jsonb(inventory.release(ids, 'expired')));
  end loop;
  return jsonb_build_object('expired', expired, 'tenants', tenants);
end
$$;

call platform.hand_over('orders', 'fusion_orders');

grant execute on function orders.place_order, orders.cancel_order, orders.fail_short_orders, orders.expire_holds
  to fusion_worker;
grant execute on function orders.lock_order to fusion_payments, fusion_shipping;
grant execute on function orders.place_joined, orders.settle_paid to fusion_group_commerce;
grant execute on function orders.settle_paid, orders.fail_unpaid, orders.mark_refunded to fusion_payments;
grant execute on function orders.mark_shipped to fusion_shipping;
grant execute on function orders.order_json, orders.full_order_json to fusion_reader;
