-- requires: platform/access.sql, platform/events.sql, orders/shoppers.sql, orders/carts/pricing.sql
-- Carts: made, read, changed and ended. Every change locks the cart first, and only then its order.

-- The items of a cart after a change: each SKU once, in the order of the request. A SKU that was in the cart keeps the
-- id of its line.
create or replace function orders.merge_items(before jsonb, wanted jsonb) returns jsonb
language sql volatile as $$
  select coalesce(jsonb_agg(jsonb_build_object('id', coalesce(b.id, platform.uuid7()), 'sku', w.sku,
    'quantity', w.quantity) order by w.ord) filter (where w.quantity > 0), '[]')
  from (
    select e.item->>'sku' as sku, sum((e.item->>'quantity')::int) as quantity, min(e.ord) as ord
    from jsonb_array_elements(wanted) with ordinality e(item, ord) group by 1
  ) w
  left join (select e->>'sku' as sku, e->>'id' as id from jsonb_array_elements(before) e) b on b.sku = w.sku
$$;

-- The error of a cart with too many lines; null if they fit. See the constraint carts_items.
create or replace function orders.items_error(items jsonb) returns jsonb
language sql immutable as $$
  select jsonb_build_object('error', 'validation_failed', 'errors', jsonb_build_array(jsonb_build_object(
    'pointer', '/items', 'detail', 'The cart would have more than 200 lines: order these first.')))
  where jsonb_array_length(items) > 200
$$;

-- Locks a cart that the caller may reach. `input`: {id, ifMatch?: [version]}. A customer's session that shows the token
-- of a cart without a customer becomes its customer. Raises not_found, version_mismatch.
create or replace function orders.lock_cart(input jsonb) returns orders.carts
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  customer constant varchar := platform.shopper()->>'customer';
  cart orders.carts;
begin
  if customer is not null then
    perform orders.keep_customer(customer);
  end if;
  select * into cart from orders.carts c where c.id = input->>'id' and orders.may_reach_cart(c) for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not input->'ifMatch' @> to_jsonb(cart.version) then
    perform platform.fail('version_mismatch');
  end if;
  if cart.customer_id is null and customer is not null then
    cart.customer_id := customer;
    cart.email := coalesce(cart.email, (select c.email from orders.customers c where c.id = customer));
  end if;
  return cart;
end
$$;

-- The caller has locked the cart. Raises cart_not_open with `orderId` unless the cart can be changed. Its
-- order is not locked: if a former order is paid late at this moment, that order counts and ends the cart.
create or replace function orders.require_open(cart orders.carts, order_status varchar) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  status constant varchar := orders.cart_status(cart, order_status);
begin
  if status <> 'open' then
    perform platform.fail('cart_not_open', jsonb_build_object(
      'reason', concat(format('The cart is %s.', status), case status
        when 'ordered' then ' `POST …/reopen` cancels its unpaid order and opens it again.'
        else ' Create another one.' end),
      'members', jsonb_strip_nulls(jsonb_build_object('orderId', cart.order_id))));
  end if;
end
$$;

-- Locks a cart for a change. Raises not_found, version_mismatch, cart_not_open.
create or replace function orders.lock_open_cart(input jsonb) returns orders.carts
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  cart constant orders.carts := orders.lock_cart(input);
begin
  perform orders.require_open(cart, case when cart.order_id is not null then
    (select o.status from orders.orders o where o.id = cart.order_id) end);
  return cart;
end
$$;

-- Locks the order of a locked cart. All null if the cart has none.
create or replace function orders.lock_order_of(cart orders.carts) returns orders.orders
language sql as $$
  select * from orders.orders o where o.id = cart.order_id for update
$$;

-- How long a cart is kept after its latest change: as its tenant has set it, otherwise `seconds`.
create or replace function orders.cart_end(seconds integer) returns timestamptz
language sql stable as $$
  select platform.clock() + make_interval(secs => coalesce(
    (select t.cart_seconds from platform.tenants t where t.id = platform.tenant()), seconds))
$$;

-- Writes a locked cart with a new version, and moves its end. `seconds`: see cart_end.
create or replace function orders.save_cart(cart orders.carts, seconds integer) returns orders.carts
language sql as $$
  update orders.carts c
  set status = cart.status, customer_id = cart.customer_id, items = cart.items, email = cart.email, phone = cart.phone,
      shipping_address = cart.shipping_address, billing_address = cart.billing_address,
      shipping_option_id = cart.shipping_option_id, discount_codes = cart.discount_codes,
      purchase_order_number = cart.purchase_order_number, metadata = cart.metadata, order_id = cart.order_id,
      tax_quote = cart.tax_quote,
      version = platform.next_version(c.version), expires_at = orders.cart_end(seconds), updated_at = platform.clock()
  where c.id = cart.id
  returning *
$$;

-- `input`: {id, tokenHash, currency?, items?, email?, organizationId?, source?, customerId?, cartSeconds}. The cart of
-- a session belongs to its customer. The currency is the tenant's, otherwise that of the first product. An idempotency
-- key of a publishable key without a session is ignored: it cannot tell two shoppers apart. Raises forbidden. Returns
-- the error validation_failed without a currency or with too many lines.
create or replace function orders.create_cart(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  replay jsonb := platform.enter(call - 'idempotencyKey', 'orders:write', 'carts.create', '{publishable,session}');
  customer constant varchar := coalesce(platform.shopper()->>'customer', input->>'customerId');
  items constant jsonb := orders.merge_items('[]', coalesce(nullif(input->'items', 'null'), '[]'));
  cart orders.carts;
begin
  if platform.shopper() is not null and input ?| array['customerId', 'organizationId'] then
    perform platform.fail('forbidden', jsonb_build_object('reason',
      'Only a secret key may set customerId and organizationId: leave them out.'));
  end if;
  if platform.shopper() is not null and customer is null then
    call := call - 'idempotencyKey';
  elsif call ? 'idempotencyKey' then
    replay := platform.enter(call, 'orders:write', 'carts.create', '{publishable,session}');
    if replay is not null then
      return replay;
    end if;
  end if;
  if platform.shopper()->>'customer' is not null then
    perform orders.keep_customer(customer);
  end if;
  if orders.items_error(items) is not null then
    return platform.leave(call, 'carts.create', orders.items_error(items));
  end if;
  cart.currency := coalesce(input->>'currency', (select t.currency from platform.tenants t where t.id = platform.tenant()),
    (select p.currency from catalog.products p where p.tenant_id = platform.tenant() and p.sku = items->0->>'sku'));
  if cart.currency is null then
    return platform.leave(call, 'carts.create', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/currency',
        'detail', 'is required: neither the shop nor the first item has a currency'))));
  end if;
  insert into orders.carts (id, tenant_id, token_hash, status, currency, customer_id, items, email, organization_id,
    source, expires_at, created_at, updated_at)
  values (input->>'id', platform.tenant(), input->>'tokenHash', 'open', cart.currency, customer, items,
    coalesce(input->>'email', (select c.email from orders.customers c where c.id = customer)), input->>'organizationId',
    nullif(input->'source', 'null'), orders.cart_end((input->>'cartSeconds')::int), platform.clock(), platform.clock())
  returning * into cart;
  return platform.leave(call, 'carts.create', orders.cart_json(cart, orders.price_cart(cart)));
end
$$;

-- `input`: {id}. Raises not_found.
create or replace function orders.read_cart(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  caller constant platform.api_keys := platform.identify(call, 'orders:read', '{publishable,session}');
  cart orders.carts;
begin
  select * into cart from orders.carts c where c.id = input->>'id' and orders.may_reach_cart(c);
  if not found then
    perform platform.fail('not_found', jsonb_build_object('tenant', caller.tenant_id));
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'answer', orders.cart_json(cart, orders.price_cart(cart)),
    'replayed', false);
end
$$;

-- Stores the answer of the tenant's tax provider with a cart, and shows the cart. If the cart has changed since the
-- question, its stored answer stays. `input`: {id, taxQuote, isRead}; `isRead`: the request reads the cart. Its version
-- stays, because what it shows is computed for each response anyway. Raises not_found.
create or replace function orders.quote_cart(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  caller constant platform.api_keys := platform.identify(call,
    case when (input->>'isRead')::boolean then 'orders:read' else 'orders:write' end, '{publishable,session}');
  cart orders.carts;
  quoted orders.carts;
  priced jsonb;
begin
  select * into cart from orders.carts c where c.id = input->>'id' and orders.may_reach_cart(c) for no key update;
  if not found then
    perform platform.fail('not_found', jsonb_build_object('tenant', caller.tenant_id));
  end if;
  quoted := cart;
  quoted.tax_quote := input->'taxQuote';
  priced := orders.price_cart(quoted);
  if priced->'amounts'->>'taxQuestion' is not null then
    priced := orders.price_cart(cart);
  elsif not coalesce(caller.away, false) then -- a tenant that moves to another cell is copied as it is
    update orders.carts c set tax_quote = quoted.tax_quote where c.id = cart.id;
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'answer', orders.cart_json(quoted, priced), 'replayed', false);
end
$$;

-- `input`: {id, ifMatch?: [version], change, cartSeconds}; `change`: {items?, email?, phone?, shippingAddress?,
-- billingAddress?, shippingOptionId?, discountCodes?, purchaseOrderNumber?, metadata?}. `items` replaces all of them.
-- Raises not_found, version_mismatch, cart_not_open. Returns the error validation_failed with too many lines.
create or replace function orders.update_cart(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'carts.update', '{publishable,session}');
  change constant jsonb := input->'change';
  cart orders.carts;
begin
  if replay is not null then
    return replay;
  end if;
  cart := orders.lock_open_cart(input);
  if change ? 'items' then
    cart.items := orders.merge_items(cart.items, change->'items');
    if orders.items_error(cart.items) is not null then
      return platform.leave(call, 'carts.update', orders.items_error(cart.items));
    end if;
  end if;
  cart := jsonb_populate_record(cart, (
    select coalesce(jsonb_object_agg(f.col, change->f.field), '{}') from (values ('email', 'email'), ('phone', 'phone'),
      ('shipping_address', 'shippingAddress'), ('billing_address', 'billingAddress'),
      ('shipping_option_id', 'shippingOptionId'), ('discount_codes', 'discountCodes'),
      ('purchase_order_number', 'purchaseOrderNumber'), ('metadata', 'metadata')) f(col, field)
    where change ? f.field));
  cart := orders.save_cart(cart, (input->>'cartSeconds')::int);
  return platform.leave(call, 'carts.update', orders.cart_json(cart, orders.price_cart(cart)));
end
$$;

-- Sets the quantity of one SKU; 0 removes its line. `input`: {id, ifMatch?: [version], sku, quantity, cartSeconds}.
-- Raises and returns what update_cart does.
create or replace function orders.set_cart_item(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'carts.setItem', '{publishable,session}');
  cart orders.carts;
begin
  if replay is not null then
    return replay;
  end if;
  cart := orders.lock_open_cart(input);
  cart.items := orders.merge_items(cart.items, (
    select coalesce(jsonb_agg(case when e.item->>'sku' = input->>'sku'
      then e.item || jsonb_build_object('quantity', input->'quantity') else e.item end order by e.ord), '[]')
    from jsonb_array_elements(cart.items) with ordinality e(item, ord))
    || case when cart.items @> jsonb_build_array(jsonb_build_object('sku', input->'sku')) then '[]'
      else jsonb_build_array(jsonb_build_object('sku', input->'sku', 'quantity', input->'quantity')) end);
  if orders.items_error(cart.items) is not null then
    return platform.leave(call, 'carts.setItem', orders.items_error(cart.items));
  end if;
  cart := orders.save_cart(cart, (input->>'cartSeconds')::int);
  return platform.leave(call, 'carts.setItem', orders.cart_json(cart, orders.price_cart(cart)));
end
$$;

-- Ends an open cart. A cart that is cancelled already stays as it is. `input`: {id, cartSeconds}. Locks the cart, then
-- its order. Raises not_found, cart_not_open.
create or replace function orders.cancel_cart(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'carts.cancel', '{publishable,session}');
  cart orders.carts;
  order_row orders.orders;
begin
  if replay is not null then
    return replay;
  end if;
  cart := orders.lock_cart(input);
  if cart.status <> 'cancelled' then
    order_row := orders.lock_order_of(cart);
    perform orders.require_open(cart, order_row.status);
    cart.status := 'cancelled';
    cart := orders.save_cart(cart, (input->>'cartSeconds')::int);
  end if;
  return platform.leave(call, 'carts.cancel', orders.cart_json(cart, orders.price_cart(cart)));
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.create_cart, orders.read_cart, orders.quote_cart, orders.update_cart, orders.set_cart_item,
  orders.cancel_cart to fusion_worker;
