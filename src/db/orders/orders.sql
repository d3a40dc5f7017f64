-- requires: platform/access.sql, platform/currencies.sql, platform/events.sql, orders/prices.sql, orders/terms.sql, orders/discount-uses.sql, inventory/stock.sql, payments/payments.sql, payments/refunds.sql, payments/checkout.sql, shipping/shipments.sql
-- Orders: placing, and how an order is shown. See platform/access.sql for `call` and the result.

-- Whether an order has more than its items: amounts, a cart, a buyer's details, or units that were refunded or sent.
create or replace function orders.has_details(o orders.orders) returns boolean
language sql immutable as $$
  select o.lines is not null or o.cart_id is not null or o.email is not null or o.metadata is not null
    or o.billing_address is not null or o.refunded_quantities is not null or o.fulfilled_quantities is not null
    or o.shipping_refunded is not null
$$;

create or replace function orders.details_json(o orders.orders) returns jsonb
language sql stable as $$
  select jsonb_build_object('cartId', o.cart_id, 'source', o.source, 'email', o.email, 'metadata', o.metadata,
    'billingAddress', o.billing_address, 'subtotal', o.subtotal, 'discountTotal', o.discount_total,
    'shippingTotal', o.shipping_total, 'shippingTax', o.shipping_tax, 'taxTotal', o.tax_total,
    'taxIncluded', o.tax_included, 'taxLines', o.tax_lines, 'discounts', o.discounts,
    'shippingOption', o.shipping_option, 'lines', o.lines, 'refundedQuantities', to_jsonb(o.refunded_quantities),
    'fulfilledQuantities', to_jsonb(o.fulfilled_quantities))
$$;

-- An order as the API shows it. `hold` is null while the reservation is pending or if it was rejected.
create or replace function orders.order_json(
  o orders.orders, hold jsonb, payment jsonb default null, shipment jsonb default null
) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', o.id, 'customerId', o.customer_id, 'items', o.items, 'total', o.total,
    'currency', o.currency, 'status', o.status, 'failureReason', o.failure_reason,
    'organizationId', o.organization_id, 'purchaseOrderNumber', o.purchase_order_number,
    'shippingAddress', o.shipping_address, 'campaignId', o.campaign_id, 'reservation', hold, 'payment', payment,
    'shipment', shipment, 'createdAt', platform.iso(o.created_at), 'updatedAt', platform.iso(o.updated_at))
    || case when orders.has_details(o) then orders.details_json(o) else '{}' end
$$;

-- The payload of order.created.
create or replace function orders.created_json(o orders.orders) returns jsonb
language sql stable as $$
  select jsonb_build_object('orderId', o.id, 'customerId', o.customer_id, 'total', o.total, 'currency', o.currency,
    'items', o.items)
$$;

-- The order's payment. payment_of and shipment_of return sets of at most one row so that Postgres can inline them into
-- a query. A scalar function with a query would run for each row and check the reader's proof each time.
create or replace function orders.payment_of(order_id varchar) returns setof jsonb
language sql stable rows 1 as $$
  select payments.payment_json(p) from payments.payments p
  where p.order_id = payment_of.order_id order by p.status in ('pending', 'succeeded') desc, p.payment_id desc limit 1
$$;

-- The refunds of an order's payments, oldest first: {refunds: […]}. Empty if there are none.
create or replace function orders.refunds_of(order_id varchar) returns setof jsonb
language sql stable rows 1 as $$
  select jsonb_build_object('refunds', jsonb_agg(payments.refund_json(r.row) order by (r.row).id))
  from payments.payments p
  -- `offset 0` keeps Postgres from a merge join, which would walk all payments of the tenant.
  cross join lateral (select x as row from payments.refunds x where x.payment_id = p.payment_id offset 0) r
  where p.order_id = refunds_of.order_id having count(*) > 0
$$;

-- The shipment that moved, otherwise the latest label: a cancelled label may have a successor. Called by Workers of the
-- previous release.
create or replace function orders.shipment_of(order_id varchar) returns setof jsonb
language sql stable rows 1 as $$
  select shipping.shipment_json(s) from shipping.shipments s
  where s.order_id = shipment_of.order_id order by s.status in ('in_transit', 'delivered') desc, s.id desc limit 1
$$;

-- The order's shipments: `latest`, the latest that moved, otherwise the latest label; and `every` one, oldest first.
create or replace function orders.shipments_of(order_id varchar) returns table (latest jsonb, every jsonb)
language sql stable rows 1 as $$
  select jsonb_agg(shipping.shipment_json(s) order by s.status in ('in_transit', 'delivered') desc, s.id desc)->0,
    coalesce(jsonb_agg(shipping.shipment_json(s) order by s.id), '[]')
  from shipping.shipments s where s.order_id = shipments_of.order_id
$$;

-- The hold of an order's units. Null while the reservation is pending or if it was rejected.
create or replace function orders.hold_json(r inventory.reservations) returns jsonb
language sql stable as $$
  select case when r.status in ('held', 'committed', 'released') then
    jsonb_build_object('status', r.status, 'expiresAt', platform.iso(r.expires_at)) end
$$;

-- Called by Workers of the previous release, which may still be running.
create or replace function orders.full_order_json(o orders.orders, r inventory.reservations) returns jsonb
language sql stable as $$
  select orders.order_json(o, orders.hold_json(r), (select orders.payment_of(o.id)), (select orders.shipment_of(o.id)))
$$;

-- The amounts of an order with its tenant's taxes, shipping options and discounts: what orders.settle returns, with
-- `lines` as the order freezes them: [{id, name, subtotal, discount, tax, total}]. A line's id is its position. Without
-- an address the order is taxed in the tenant's country. Returns the errors discount_invalid, validation_failed (an
-- option that is not offered, a total that cannot be charged).
create or replace function orders.settle_order(items jsonb, input jsonb) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  amounts jsonb;
  fault text;
begin
  if input->>'pricing' = 'quoted' and jsonb_array_length(coalesce(nullif(input->'discountCodes', 'null'), '[]')) > 0 then
    return jsonb_build_object('error', 'discount_invalid', 'detail', 'Quoted prices take no discount.', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/discountCodes', 'detail', 'must be left out: quoted prices take no discount')));
  end if;
  if coalesce(nullif(input->'shippingAddress', 'null'), nullif(input->'billingAddress', 'null')) is null then
    input := input || jsonb_build_object('shippingAddress', jsonb_build_object('country',
      (select t.country from platform.tenants t where t.id = platform.tenant())));
  end if;
  amounts := orders.settle(items, input || jsonb_build_object('shippingOptional', true,
    'noDiscounts', input->>'pricing' is not distinct from 'quoted' or input ? 'campaignId'));
  if amounts->'invalidDiscounts' <> '[]' then
    return jsonb_build_object('error', 'discount_invalid', 'detail', amounts->'invalidDiscounts'->0->>'detail', 'errors',
      (select jsonb_agg(jsonb_build_object('pointer', format('/discountCodes/%s', d->>'index'), 'detail', d->>'detail'))
        from jsonb_array_elements(amounts->'invalidDiscounts') d));
  end if;
  if input->>'shippingOptionId' is not null and amounts->'shippingOption' = 'null' then
    return jsonb_build_object('error', 'validation_failed', 'errors', jsonb_build_array(jsonb_build_object(
      'pointer', '/shippingOptionId', 'detail', 'is not offered for this address, currency and weight')));
  end if;
  fault := orders.amounts_fault(amounts, input->>'currency');
  if fault is not null then
    return jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/items', 'detail', fault)));
  end if;
  return amounts || jsonb_build_object('lines', (
    select jsonb_agg(l || jsonb_build_object('name', amounts->'names'->(i->>'sku')) order by ord)
    from jsonb_array_elements(amounts->'lines') with ordinality e(l, ord)
    join jsonb_array_elements(items) with ordinality f(i, item_ord) on item_ord = ord));
end
$$;

-- Adds an order with status `created`, and order.created, which the inventory consumer gets only if it decides the hold
-- (`deferred`). One statement. `input`: {id, customerId, organizationId?, purchaseOrderNumber?, shippingAddress?,
-- billingAddress?, email?, metadata?, cartId?, source?, holdSeconds}; `amounts`: as orders.settle_order returns them,
-- or null. Returns the order as it is shown, and when its hold ends. With the search_path of its callers, because
-- setting it again would cost as much as a row.
create or replace function orders.add_order(input jsonb, items jsonb, total numeric, currency varchar, amounts jsonb,
  deferred boolean, out answer jsonb, out held_until timestamptz)
language plpgsql as $$
declare
  order_id constant varchar := input->>'id';
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
begin
  with new_order as (
    insert into orders.orders (id, customer_id, items, total, currency, status, tenant_id, organization_id,
      purchase_order_number, shipping_address, created_at, updated_at, email, metadata, billing_address, cart_id, source,
      subtotal, discount_total, shipping_total, shipping_tax, tax_total, tax_included, tax_lines, discounts,
      shipping_option, lines, tax_calculation)
    values (order_id, input->>'customerId', add_order.items, add_order.total, add_order.currency,
      'created', tenant, input->>'organizationId', input->>'purchaseOrderNumber',
      nullif(input->'shippingAddress', 'null'), now_at, now_at, input->>'email', nullif(input->'metadata', 'null'),
      nullif(input->'billingAddress', 'null'), input->>'cartId', nullif(input->'source', 'null'),
      (amounts->>'subtotal')::numeric, (amounts->>'discount')::numeric,
      (amounts->>'shipping')::numeric, (amounts->>'shippingTax')::numeric, (amounts->>'tax')::numeric,
      (amounts->>'taxIncluded')::boolean, amounts->'taxLines', amounts->'discounts',
      nullif(amounts->'shippingOption', 'null'), amounts->'lines', amounts->>'taxCalculation')
    returning *
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'order.created', order_id, orders.created_json(o), platform.trace(), now_at from new_order o
    returning seq
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, order_id, platform.due_now() from event e, unnest(platform.sinks_of(deferred)) s
  )
  select orders.order_json(o, case when not deferred then
    jsonb_build_object('status', 'held', 'expiresAt', platform.iso(hold.until)) end), hold.until
  into answer, held_until
  from new_order o, (select now_at + make_interval(secs => coalesce(
    (select t.hold_seconds from platform.tenants t where t.id = tenant), (input->>'holdSeconds')::int)) as until) hold;
end
$$;

-- Places an order: the order, the hold on every line and the events, or nothing. `input`: {id, customerId, items,
-- currency?, pricing?, organizationId?, purchaseOrderNumber?, shippingAddress?, billingAddress?, email?, metadata?,
-- discountCodes?, shippingOptionId?, holdSeconds, async, paymentId?, taxQuote?}. The tenant's own `hold_seconds`
-- replaces `holdSeconds`. With `async` the consumer of order.created decides the hold. With `paymentId` this opens the
-- payment under that id too, unless the order costs nothing; the consumer of inventory.reserved opens it otherwise.
-- Without enough stock, the order is stored as failed, holds nothing, and the result is {error: insufficient_inventory,
-- orderId, shortages}. Returns the errors of price_lines and settle_order, and unavailable with `taxQuestion` until
-- `taxQuote` answers it. Raises discount_invalid (take_uses).
-- Emits order.created, and inventory.reserved (and payment.created), or inventory.insufficient and order.failed.
-- One statement a step: the key, its stored answer, prices, the order, its hold, the answer. Each further statement
-- would cost more than the rows that it writes.
-- Generic plans: a new connection plans each statement once, not five times. No sequential scans: a plan that was made
-- for an empty table must be good for a full one.
create or replace function orders.place_order(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  answer jsonb := platform.enter(call, 'orders:write', 'orders.place'); -- the stored answer, if it is a replay
  order_id constant varchar := input->>'id';
  deferred constant boolean := (input->>'async')::boolean;
  priced record;
  added record;
  opens_payment boolean;
  shortages jsonb;
  amounts jsonb; -- what orders.settle_order returns; null for an order that has only its items
begin
  if answer is not null then
    return answer;
  end if;
  priced := orders.price_items(input);
  if priced.refusal is not null then
    return platform.leave(call, 'orders.place', priced.refusal);
  end if;
  if priced.has_terms then
    amounts := orders.settle_order(priced.items, input || jsonb_build_object('currency', priced.currency));
    if amounts ? 'error' then
      return platform.leave(call, 'orders.place', amounts);
    elsif amounts->>'taxQuestion' is not null then -- not stored: the Worker asks, and calls again with `taxQuote`
      return jsonb_build_object('tenant', platform.tenant(), 'replayed', false, 'answer',
        jsonb_build_object('error', 'unavailable', 'taxQuestion', amounts->'taxQuestion'));
    end if;
    priced.total := amounts->>'total';
  end if;
  added := orders.add_order(input, priced.items, priced.total, priced.currency, amounts, deferred);
  answer := added.answer;
  if amounts->'discounts' <> '[]' then
    perform orders.take_uses(order_id, amounts->'discounts', amounts->>'customerKey');
  end if;
  if deferred then
    perform inventory.add_pending_hold(order_id, priced.skus, priced.quantities);
    return platform.leave(call, 'orders.place', answer);
  end if;
  opens_payment := input ? 'paymentId' and priced.total > 0;
  -- The contended rows come last, so that a popular SKU is locked only for the rest of this call and the commit.
  shortages := inventory.reserve(order_id, priced.skus, priced.quantities, added.held_until, not opens_payment);
  if shortages is not null then
    perform orders.fail_order(order_id, 'insufficient_inventory');
    perform orders.return_uses(array[order_id::text]);
    answer := jsonb_build_object('error', 'insufficient_inventory', 'orderId', order_id, 'shortages', shortages);
  elsif opens_payment then
    answer := answer || jsonb_build_object('payment',
      payments.open_with_order(input->>'paymentId', order_id, priced.total, priced.currency)
        || jsonb_build_object('taxCalculation', amounts->'taxCalculation'));
  end if;
  return platform.leave(call, 'orders.place', answer);
end
$$;

-- An order with its hold, payment and shipments, as a read shows it.
create or replace function orders.read_order(order_id varchar) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
  select orders.order_json(o, orders.hold_json(r), p, s.latest) || jsonb_build_object('shipments', s.every)
    || coalesce(f, '{}')
  from orders.orders o
  left join inventory.reservations r on r.order_id = o.id
  left join lateral orders.payment_of(o.id) p on true
  left join lateral orders.shipments_of(o.id) s on true
  left join lateral orders.refunds_of(o.id) f on true
  where o.id = read_order.order_id
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.place_order to fusion_worker;
grant execute on function orders.order_json, orders.has_details, orders.details_json, orders.full_order_json, orders.hold_json, orders.payment_of,
  orders.refunds_of, orders.shipment_of, orders.shipments_of to fusion_reader;
