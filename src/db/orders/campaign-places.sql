-- requires: platform/access.sql, platform/events.sql, orders/shoppers.sql, orders/orders.sql
-- Places in campaigns: what one costs with tax and shipping, and its order. For group commerce, which holds the units
-- and the money of a place before its order exists.

-- The e-mail of a session's customer, who is not erased until the transaction ends (orders.keep_customer). The lock is
-- taken before the campaign's. Raises unauthenticated if the customer was erased meanwhile.
create or replace function orders.email_of(customer_id varchar) returns varchar
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform orders.keep_customer(customer_id);
  return (select c.email from orders.customers c where c.id = email_of.customer_id);
end
$$;

-- Whether a customer has an order that was confirmed and is not refunded or cancelled. `customer_id`: as the order has
-- it. Orders of guests do not count, because an e-mail address does not show who ordered. For group commerce.
create or replace function orders.has_bought(customer_id varchar) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select from orders.orders o
    where o.tenant_id = (select platform.tenant()) and o.customer_id = has_bought.customer_id
      and o.status = any((select '{confirmed,shipped,delivered}'::text[])::text[]))
$$;

-- The amounts that a place freezes. `input`: {userId, campaignId, sku, quantity, price, currency, email?,
-- shippingAddress?, billingAddress?, shippingOptionId?, taxQuote?}. Campaigns take no discounts. Returns {subtotal, discount, shipping,
-- shippingTax, tax, total, taxIncluded, taxLines, taxCalculation?, shippingOption, lines}; {taxQuestion} until
-- `taxQuote` answers the question of the tenant's tax provider; or the error validation_failed of settle_order.
create or replace function orders.settle_place(input jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  amounts jsonb := orders.settle_order(
    jsonb_build_array(jsonb_build_object('sku', input->'sku', 'quantity', input->'quantity', 'price', input->'price')),
    input || jsonb_build_object('customerId', input->'userId'));
begin
  if amounts #>> '{errors,0,pointer}' = '/items' then -- a join has none: the option or the address changes the total
    return jsonb_set(amounts, '{errors,0,pointer}', to_jsonb(case
      when (input->>'quantity')::integer > 1 then '/quantity'
      when input->>'shippingOptionId' is not null then '/shippingOptionId'
      when nullif(input->'shippingAddress', 'null') is not null then '/shippingAddress'
      when nullif(input->'billingAddress', 'null') is not null then '/billingAddress' else '' end));
  elsif amounts ? 'error' then
    return amounts;
  elsif amounts->>'taxQuestion' is not null then
    return jsonb_build_object('taxQuestion', amounts->'taxQuestion');
  end if;
  return (select jsonb_object_agg(a.name, a.value) from jsonb_each(amounts) a(name, value)
    where a.name = any('{subtotal,discount,shipping,shippingTax,tax,total,taxIncluded,taxLines,taxCalculation}'
      || '{shippingOption,lines}'::text[]));
end
$$;

-- Creates the order of a place in a campaign, whose units are already held. `input`: {id, customerId, sku, quantity,
-- price, currency, campaignId, shippingAddress?, billingAddress?, email?, metadata?, amounts?}. `amounts`: as settle_place
-- returned them when the place was taken; without them it has one unit at its price. Emits order.created.
create or replace function orders.place_campaign_order(input jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  amounts constant jsonb := nullif(input->'amounts', 'null');
begin
  with new_order as (
    insert into orders.orders (id, customer_id, items, total, currency, status, tenant_id, campaign_id, shipping_address,
      billing_address, email, metadata, subtotal, discount_total, shipping_total, shipping_tax, tax_total, tax_included,
      tax_lines, tax_calculation, discounts, shipping_option, lines, created_at, updated_at)
    values (input->>'id', input->>'customerId',
      jsonb_build_array(jsonb_build_object('sku', input->'sku', 'quantity', input->'quantity', 'price', input->'price')),
      coalesce((amounts->>'total')::numeric, (input->>'price')::numeric), input->>'currency', 'created',
      platform.tenant(), input->>'campaignId', nullif(input->'shippingAddress', 'null'),
      nullif(input->'billingAddress', 'null'), input->>'email', nullif(input->'metadata', 'null'),
      (amounts->>'subtotal')::numeric, (amounts->>'discount')::numeric, (amounts->>'shipping')::numeric,
      (amounts->>'shippingTax')::numeric, (amounts->>'tax')::numeric, (amounts->>'taxIncluded')::boolean,
      amounts->'taxLines', amounts->>'taxCalculation', case when amounts is not null then '[]'::jsonb end,
      nullif(amounts->'shippingOption', 'null'), amounts->'lines', platform.clock(), platform.clock())
    returning *
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select o.tenant_id, 'order.created', o.id, orders.created_json(o), platform.trace(), o.created_at from new_order o
    returning tenant_id, seq, key
  )
  insert into platform.outbox (tenant_id, sink, seq, key, due_at)
  select e.tenant_id, s, e.seq, e.key, platform.due_now() from event e, unnest(platform.sinks_of(false)) s;
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.email_of, orders.has_bought, orders.settle_place, orders.place_campaign_order
  to fusion_group_commerce;
