-- requires: platform/access.sql, platform/customer-sessions.sql, orders/orders.sql, orders/states.sql, orders/discount-uses.sql, inventory/reservations.sql, payments/checkout.sql, orders/carts/carts.sql
-- From a cart to an order, and back. Lock order: the cart, its former order, counters of discounts, then stock.

-- A result that is not stored under the idempotency key, because nothing was changed.
create or replace function orders.refuse_checkout(answer jsonb) returns jsonb
language sql stable as $$
  select jsonb_build_object('tenant', platform.tenant(), 'answer', answer, 'replayed', false)
$$;

-- The cart has another total than the shopper has seen.
create or replace function orders.price_changed_error(cart orders.carts, priced jsonb) returns jsonb
language sql stable as $$
  select jsonb_build_object('error', 'price_changed', 'detail',
    'The total of the cart has changed. Nothing was ordered: show the shopper the new `cart`.',
    'cart', orders.cart_json(cart, priced))
$$;

-- The order of a cart as orders.add_order takes it. `input`: {orderId, holdSeconds}. The phone number goes with the
-- address, because carriers ask for it.
create or replace function orders.order_of_cart(cart orders.carts, input jsonb) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', input->'orderId', 'holdSeconds', input->'holdSeconds', 'cartId', cart.id,
    'customerId', coalesce(cart.customer_id, cart.id), 'organizationId', cart.organization_id,
    'purchaseOrderNumber', cart.purchase_order_number, 'email', cart.email, 'metadata', cart.metadata,
    'source', cart.source, 'billingAddress', cart.billing_address,
    'shippingAddress', case when cart.phone is null then cart.shipping_address
      else jsonb_build_object('phone', cart.phone) || cart.shipping_address end)
$$;

-- Makes the order of a cart: prices, discounts, tax, shipping, the order, its hold, its payment and the events, or
-- nothing. `input`: {id, expectedTotal, orderId, paymentId, holdSeconds, cartSeconds, taxQuote?}. The total is computed
-- here, under the cart's lock. Returns the order, with `payment` unless there is nothing to pay. Returns the errors
-- cart_incomplete (`messages`; `taxQuestion` if only the answer of the tax provider is missing: `taxQuote`) and
-- price_changed (`cart`); raises not_found, cart_not_open and insufficient_inventory. None of these errors is stored,
-- so the same key may try again. A shopper's call needs the job secret too, so that a leaked login with a public key
-- cannot hold stock for as long as it likes. Emits what orders.place_order does.
create or replace function orders.checkout_cart(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  answer jsonb := platform.enter(call, 'orders:write', 'carts.checkout', '{publishable,session}');
  order_id constant varchar := input->>'orderId';
  cart orders.carts;
  order_row orders.orders; -- the former one
  priced jsonb;
  amounts jsonb;
  total numeric;
  items record;
  added record;
  shortages jsonb;
begin
  if answer is not null then
    return answer;
  end if;
  if platform.shopper() is not null then
    perform platform.check_vouched(call);
  end if;
  cart := orders.lock_cart(input);
  if cart.order_id is not null then
    order_row := orders.lock_order_of(cart);
  end if;
  if orders.cart_status(cart, order_row.status) <> 'open' then
    perform orders.require_open(cart, order_row.status);
  end if;
  if input ? 'taxQuote' then
    cart.tax_quote := input->'taxQuote';
    update orders.carts c set tax_quote = cart.tax_quote where c.id = cart.id;
  end if;
  priced := orders.price_cart(cart);
  amounts := priced->'amounts';
  total := amounts->>'total';
  if jsonb_path_exists(priced->'messages', '$[*] ? (@.type == "error" && @.code != "insufficient_inventory")') then
    return orders.refuse_checkout(jsonb_build_object('error', 'cart_incomplete', 'messages', priced->'messages')
      || case when not jsonb_path_exists(priced->'messages',
          '$[*] ? (@.type == "error" && @.code != "insufficient_inventory" && @.code != "tax_not_calculated")')
        then jsonb_build_object('taxQuestion', amounts->'taxQuestion') else '{}' end);
  end if;
  if total is distinct from (input->>'expectedTotal')::numeric then
    return orders.refuse_checkout(orders.price_changed_error(cart, priced));
  end if;
  if amounts->'discounts' <> '[]' then
    begin
      perform orders.take_uses(order_id, amounts->'discounts', amounts->>'customerKey');
    exception when sqlstate 'FC000' then -- another buyer has taken the last use since: the cart costs more now
      return orders.refuse_checkout(orders.price_changed_error(cart, orders.price_cart(cart)));
    end;
  end if;
  select jsonb_agg(e.line - '{id,name,image,compareAtPrice,available}'::text[] order by e.ord) as lines,
    jsonb_agg(a.line || jsonb_build_object('name', e.line->'name') order by e.ord) as frozen,
    array_agg(e.line->>'sku' order by e.line->>'sku') as skus,
    array_agg((e.line->>'quantity')::int order by e.line->>'sku') as quantities
  into items
  from jsonb_array_elements(priced->'lines') with ordinality e(line, ord)
  join jsonb_array_elements(amounts->'lines') with ordinality a(line, ord) on a.ord = e.ord;
  added := orders.add_order(orders.order_of_cart(cart, input), items.lines, total, cart.currency,
    amounts || jsonb_build_object('lines', items.frozen), false);
  answer := added.answer;
  cart.status := 'ordered';
  cart.order_id := order_id;
  cart.tax_quote := null; -- a calculation is recorded with one payment: if the cart opens again, it gets another
  cart := orders.save_cart(cart, (input->>'cartSeconds')::int);
  -- The contended rows come last, so that a popular SKU is locked only for the rest of this call and the commit.
  shortages := inventory.reserve(order_id, items.skus, items.quantities, added.held_until, total = 0);
  if shortages is not null then
    perform platform.fail('insufficient_inventory', jsonb_build_object('members', jsonb_build_object('shortages', shortages)));
  end if;
  if total > 0 then
    answer := answer || jsonb_build_object('payment',
      payments.open_with_order(input->>'paymentId', order_id, total, cart.currency)
        || jsonb_build_object('taxCalculation', amounts->'taxCalculation'));
  end if;
  return platform.leave(call, 'carts.checkout', answer);
end
$$;

-- Cancels the unpaid order of a cart and opens the cart again. An open cart stays as it is. `input`: {id, cartSeconds}.
-- Returns the cart, with `freed`: the SKUs that went back into stock. Locks the cart, its order, then what
-- orders.end_as_cancelled locks. Raises not_found, cart_not_open. Emits what orders.cancel_order does.
create or replace function orders.reopen_cart(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'carts.reopen', '{publishable,session}');
  cart orders.carts;
  order_row orders.orders;
  ended record;
  freed text[] := '{}';
begin
  if replay is not null then
    return replay;
  end if;
  cart := orders.lock_cart(input);
  order_row := orders.lock_order_of(cart);
  if orders.cart_status(cart, order_row.status) = 'ordered' then
    ended := orders.end_as_cancelled(order_row, 'cart_reopened');
    freed := ended.freed;
    order_row.status := 'cancelled';
  end if;
  perform orders.require_open(cart, order_row.status);
  cart.status := 'open';
  cart := orders.save_cart(cart, (input->>'cartSeconds')::int);
  return platform.leave(call, 'carts.reopen',
    orders.cart_json(cart, orders.price_cart(cart)) || jsonb_build_object('freed', freed));
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.checkout_cart, orders.reopen_cart to fusion_worker;
