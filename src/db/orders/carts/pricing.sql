-- requires: platform/access.sql, platform/currencies.sql, orders/prices.sql, orders/terms.sql
-- What a cart shows: its lines, amounts and messages. None of it is stored, so each read and each checkout computes it.

-- The status of a cart now. Nothing writes a cart when its order changes, because a cart is locked before its order:
-- the status follows from the order's.
create or replace function orders.cart_status(cart orders.carts, order_status varchar) returns varchar
language sql immutable as $$
  select case when cart.status not in ('open', 'ordered') then cart.status
    when order_status = 'created' then 'ordered'
    when order_status in ('confirmed', 'shipped', 'delivered', 'refunded') then 'completed'
    else 'open' end
$$;

-- The lines of a cart as they can be sold now: [{id, sku, name, image, quantity, price, compareAtPrice, available,
-- fault?}]. A line that cannot be sold has a `fault` (unknown_sku, currency_mismatch) and no price. `ordered`: the
-- items of the cart's order, whose prices stand.
create or replace function orders.cart_lines(cart orders.carts, ordered jsonb) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  tenant constant varchar := platform.tenant();
  lists constant catalog.price_lists[] := orders.lists_for(cart.customer_id, cart.organization_id);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('id', i.id, 'sku', i.sku, 'name', p.name, 'image', p.images->0->'path',
      'quantity', i.quantity, 'price', f.price,
      'compareAtPrice', case when p.currency = cart.currency then p.compare_at_price end,
      'available', case when p.sku is not null then coalesce(s.quantity, 0) else 0 end) || case when f.price is not null then '{}'::jsonb
        else jsonb_build_object('fault', case when p.sku is null then 'unknown_sku' else 'currency_mismatch' end) end
      order by i.ord), '[]')
    from (
      select line->>'id' as id, line->>'sku' as sku, (line->>'quantity')::int as quantity, ord
      from jsonb_array_elements(cart.items) with ordinality e(line, ord)
    ) i
    left join lateral ( -- `limit 1` keeps this a lookup by the unique index for each line
      select c.sku, c.name, c.images, c.price, c.currency, c.compare_at_price, c.has_list_prices
      from catalog.products c
      where c.tenant_id = tenant and c.sku = i.sku and c.status = 'active' limit 1
    ) p on true
    left join lateral orders.list_price(lists, i.sku, i.quantity, cart.currency) l on p.has_list_prices
    left join lateral (
      select v.quantity from inventory.inventory v where v.tenant_id = tenant and v.sku = i.sku limit 1
    ) s on true
    cross join lateral (
      select case when ordered is not null then (ordered->(i.ord::int - 1)->>'price')::numeric
        else coalesce(l.price, case when p.currency = cart.currency then p.price end) end as price
    ) f);
end
$$;

-- The items of a cart's order in the form of cart items: the cart may have been changed after the order failed and
-- before the order was paid late. A SKU that is still in the cart keeps the id of its line.
create or replace function orders.ordered_items(cart_items jsonb, o orders.orders) returns jsonb
language sql stable as $$
  select jsonb_agg(jsonb_build_object('id', coalesce(
      (select c->>'id' from jsonb_array_elements(cart_items) c where c->>'sku' = i->>'sku'), md5(o.id || ord)::uuid::text),
    'sku', i->'sku', 'quantity', i->'quantity') order by ord)
  from jsonb_array_elements(o.items) with ordinality e(i, ord)
$$;

-- What an order has frozen, as orders.settle returns it.
create or replace function orders.frozen_amounts(o orders.orders) returns jsonb
language sql stable as $$
  select jsonb_build_object('subtotal', o.subtotal, 'discount', o.discount_total, 'shipping', o.shipping_total,
    'shippingTax', o.shipping_tax, 'tax', o.tax_total, 'total', o.total, 'taxIncluded', o.tax_included,
    'taxLines', o.tax_lines, 'discounts', o.discounts, 'lines', o.lines, 'shippingOptions', '[]'::jsonb)
$$;

-- One message of a cart: see orders.cart_messages.
create or replace function orders.cart_message(type text, severity text, code text, pointer text, detail text) returns jsonb
language sql immutable as $$
  select jsonb_strip_nulls(jsonb_build_object('type', type, 'severity', severity, 'code', code, 'pointer', pointer,
    'detail', detail))
$$;

-- The lines that cannot be sold as they are, as orders.cart_messages has them.
create or replace function orders.line_messages(lines jsonb, currency text) returns jsonb
language sql stable as $$
  select jsonb_agg(orders.cart_message('error', 'recoverable', l.fault,
      format('/items/%s/%s', l.ord - 1, case l.fault when 'insufficient_inventory' then 'quantity' else 'sku' end),
      case l.fault when 'unknown_sku' then format('No product with SKU "%s" is for sale.', l.sku)
        when 'currency_mismatch' then format('"%s" is not sold in %s.', l.sku, currency)
        else format('Only %s of "%s" can be sold now.', l.available, l.sku) end) order by l.ord)
  from (
    select e.ord, e.line->>'sku' as sku, e.line->>'available' as available, coalesce(e.line->>'fault',
      case when (e.line->>'quantity')::int > (e.line->>'available')::int then 'insufficient_inventory' end) as fault
    from jsonb_array_elements(lines) with ordinality e(line, ord)
  ) l where l.fault is not null
$$;

-- What is missing or wrong in an open cart, and where: [{type, severity?, code, pointer, detail}]. Every error except
-- insufficient_inventory keeps the cart from being ordered. `lines`: orders.cart_lines; `amounts`: orders.settle. Tests
-- each in turn without a query, because most carts have none.
create or replace function orders.cart_messages(cart orders.carts, lines jsonb, amounts jsonb) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  address constant jsonb := coalesce(cart.shipping_address, cart.billing_address);
  needs_shipping constant boolean := (amounts->>'needsShipping')::boolean;
  charge_fault constant text := orders.amounts_fault(amounts, cart.currency);
  messages jsonb := '[]';
begin
  if lines = '[]' then
    messages := messages || orders.cart_message('error', 'requires_buyer_input', 'cart_empty', '/items',
      'The cart has no items.');
  elsif jsonb_path_exists(lines, '$[*] ? (exists(@.fault) || @.quantity > @.available)') then
    messages := messages || orders.line_messages(lines, cart.currency);
  end if;
  if cart.email is null then
    messages := messages || orders.cart_message('error', 'requires_buyer_input', 'missing', '/email',
      'The e-mail address is missing.');
  end if;
  if needs_shipping and cart.shipping_address is null or (amounts->>'needsAddress')::boolean and address is null then
    messages := messages || orders.cart_message('error', 'requires_buyer_input', 'missing', '/shippingAddress',
      'The shipping address is missing.');
  end if;
  if needs_shipping and address is not null and amounts->'shippingOptions' = '[]' then
    messages := messages || orders.cart_message('error', 'requires_buyer_input', 'shipping_option_not_offered',
      '/shippingAddress', format('There is no shipping option for this country, %s and this weight.', cart.currency));
  elsif needs_shipping and cart.shipping_option_id is null then
    messages := messages || orders.cart_message('error', 'requires_buyer_input', 'missing', '/shippingOptionId',
      'The shipping option is missing.');
  elsif needs_shipping and address is not null and amounts->'shippingOption' = 'null' then
    messages := messages || orders.cart_message('error', 'requires_buyer_input', 'shipping_option_not_offered',
      '/shippingOptionId', 'This shipping option is not offered for this address, currency and weight.');
  end if;
  if lines <> '[]' and charge_fault is not null then
    messages := messages || orders.cart_message('error', 'recoverable', 'total_not_chargeable', '/items', charge_fault);
  end if;
  if amounts->'invalidDiscounts' <> '[]' then
    messages := messages || (
      select jsonb_agg(orders.cart_message('warning', null, 'discount_invalid', format('/discountCodes/%s', d->>'index'),
        d->>'detail') order by (d->>'index')::bigint)
      from jsonb_array_elements(amounts->'invalidDiscounts') d);
  end if;
  if amounts->'unusedDiscounts' <> '[]' then
    messages := messages || (
      select jsonb_agg(orders.cart_message('info', null, 'discount_not_used', format('/discountCodes/%s', u.ord - 1),
        format('The discount "%s" is not used, because other discounts save more.', u.code)) order by u.ord)
      from (
        select d.code, min(c.ord) as ord from jsonb_array_elements_text(amounts->'unusedDiscounts') d(code)
        join unnest(cart.discount_codes) with ordinality c(code, ord) on upper(c.code) = upper(d.code)
        group by d.code
      ) u);
  end if;
  if amounts->>'taxQuestion' is not null then
    messages := messages || orders.cart_message('error', 'recoverable', 'tax_not_calculated', '/shippingAddress',
      'The tax is not calculated yet. Read the cart again. If that does not help, check the address.');
  elsif amounts->>'tax' is null then
    messages := messages || orders.cart_message('info', null, 'tax_unknown', '/shippingAddress',
      'The tax is known once there is an address.');
  end if;
  return messages;
end
$$;

-- What a cart costs now: {status, lines, amounts, messages}: orders.cart_lines, orders.settle for the lines with a
-- price, and orders.cart_messages. A cart with an order shows what the order has frozen.
create or replace function orders.price_cart(cart orders.carts) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  order_row orders.orders;
  status varchar;
  lines jsonb;
  amounts jsonb;
begin
  if cart.order_id is not null then
    select * into order_row from orders.orders o where o.id = cart.order_id;
  end if;
  status := orders.cart_status(cart, order_row.status);
  if status in ('ordered', 'completed') and order_row.lines is not null then
    cart.items := orders.ordered_items(cart.items, order_row);
    return jsonb_build_object('status', status, 'lines', orders.cart_lines(cart, order_row.items),
      'amounts', orders.frozen_amounts(order_row), 'messages', '[]'::jsonb);
  end if;
  lines := orders.cart_lines(cart, null);
  amounts := orders.settle(lines,
    jsonb_build_object('currency', cart.currency, 'customerId', cart.customer_id, 'email', cart.email,
      'shippingAddress', cart.shipping_address, 'billingAddress', cart.billing_address,
      'shippingOptionId', cart.shipping_option_id, 'discountCodes', to_jsonb(cart.discount_codes),
      'taxQuote', cart.tax_quote));
  return jsonb_build_object('status', status, 'lines', lines, 'amounts', amounts,
    'messages', case when status = 'open' then orders.cart_messages(cart, lines, amounts) else '[]' end);
end
$$;

-- The lines as the API shows them, with the amounts of those that can be sold.
create or replace function orders.cart_items_json(lines jsonb, amounts jsonb) returns jsonb
language sql stable as $$
  select coalesce(jsonb_agg((l.line - 'fault') || jsonb_build_object('subtotal', a.line->'subtotal',
    'discount', a.line->'discount', 'tax', case when amounts->>'tax' is not null then a.line->'tax' end,
    'total', case when amounts->>'tax' is not null or (amounts->>'taxIncluded')::boolean then a.line->'total' end)
    order by l.ord), '[]')
  from (
    select e.line, e.ord, case when e.line->>'price' is not null then count(e.line->>'price') over (order by e.ord) end as place
    from jsonb_array_elements(lines) with ordinality e(line, ord)
  ) l
  left join jsonb_array_elements(amounts->'lines') with ordinality a(line, place) on a.place = l.place
$$;

-- The discounts as the API shows them: an allocation names a line by the id that it has in the cart.
create or replace function orders.cart_discounts_json(lines jsonb, amounts jsonb) returns jsonb
language sql stable as $$
  select coalesce(jsonb_agg(d.discount || jsonb_build_object('allocations', (
    select coalesce(jsonb_agg(a.part || case when a.part->>'lineId' = 'shipping' then '{}'::jsonb
      else jsonb_build_object('lineId', i.ids[(a.part->>'lineId')::int]) end order by a.ord), '[]')
    from jsonb_array_elements(d.discount->'allocations') with ordinality a(part, ord))) order by d.ord), '[]')
  from jsonb_array_elements(amounts->'discounts') with ordinality d(discount, ord)
  cross join (
    select array_agg(e.line->>'id' order by e.ord) as ids
    from jsonb_array_elements(lines) with ordinality e(line, ord) where e.line->>'price' is not null
  ) i
$$;

-- A cart as the API shows it, with `version` for the ETag, and with `taxQuestion` if the Worker has to ask the tenant's
-- tax provider. `priced`: orders.price_cart.
create or replace function orders.cart_json(cart orders.carts, priced jsonb) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', cart.id, 'status', priced->'status', 'currency', cart.currency,
    'customerId', cart.customer_id, 'email', cart.email, 'phone', cart.phone,
    'items', orders.cart_items_json(priced->'lines', priced->'amounts'), 'shippingAddress', cart.shipping_address,
    'billingAddress', cart.billing_address, 'shippingOptions', priced->'amounts'->'shippingOptions',
    'shippingOptionId', cart.shipping_option_id, 'discountCodes', to_jsonb(cart.discount_codes),
    'discounts', orders.cart_discounts_json(priced->'lines', priced->'amounts'),
    'taxLines', priced->'amounts'->'taxLines', 'taxIncluded', priced->'amounts'->'taxIncluded',
    'totals', jsonb_build_object('subtotal', priced->'amounts'->'subtotal', 'discount', priced->'amounts'->'discount',
      'shipping', priced->'amounts'->'shipping', 'tax', priced->'amounts'->'tax', 'total', priced->'amounts'->'total'),
    'messages', priced->'messages', 'organizationId', cart.organization_id,
    'purchaseOrderNumber', cart.purchase_order_number, 'metadata', cart.metadata, 'source', cart.source,
    'orderId', cart.order_id, 'expiresAt', platform.iso(cart.expires_at), 'createdAt', platform.iso(cart.created_at),
    'updatedAt', platform.iso(cart.updated_at), 'version', cart.version)
    || case when priced->>'status' = 'open' and priced->'amounts'->>'taxQuestion' is not null
      then jsonb_build_object('taxQuestion', priced->'amounts'->'taxQuestion') else '{}' end
$$;

call platform.set_owner('orders', 'fusion_orders');
