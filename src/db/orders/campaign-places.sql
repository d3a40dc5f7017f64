-- requires: platform/access.sql, platform/events.sql, orders/shoppers.sql, orders/orders.sql, orders/tax-quotes.sql
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
-- shippingAddress?, billingAddress?, shippingOptionId?, taxQuote?, keepTerms?}. Campaigns take no discounts. Returns
-- {subtotal, discount, shipping, shippingTax, tax, total, taxIncluded, taxLines, taxCalculation?, shippingOption,
-- lines}, and with `keepTerms` the `terms` that reprice_place needs; {taxQuestion} until `taxQuote` answers the
-- question of the tenant's tax provider; or the error validation_failed of settle_order.
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
      || '{shippingOption,lines,terms}'::text[]));
end
$$;

-- The amounts of a place at a lower price, with the tax rates, the inclusion of the tax and the shipping that it froze.
-- Never more than before. `input`: {amounts, sku, quantity, price, currency}. `amounts`: as settle_place returned them
-- with `keepTerms`; with another price they are returned without `terms` and `taxCalculation`, because the calculation
-- is of the former price.
create or replace function orders.reprice_place(input jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  amounts constant jsonb := input->'amounts';
  currency constant varchar := input->>'currency';
  totals jsonb;
begin
  totals := orders.totals(amounts->'terms' || jsonb_build_object('currency', currency, 'lines', jsonb_build_array(
    jsonb_build_object('id', '1', 'sku', input->'sku', 'quantity', input->'quantity', 'price', input->'price',
      'tax', amounts->'terms'->'tax'))));
  if amounts->>'taxCalculation' is not null then
    totals := orders.apply_taxes(totals, orders.lower_taxes(amounts, totals, currency), currency);
  end if;
  return amounts - '{terms,taxCalculation}'::text[]
    || (select jsonb_object_agg(t.name, t.value) from jsonb_each(totals) t(name, value)
      where t.name = any('{subtotal,discount,shipping,shippingTax,tax,total,taxIncluded,taxLines}'::text[]))
    || jsonb_build_object('lines', jsonb_build_array(totals->'lines'->0
      || jsonb_build_object('name', amounts->'lines'->0->'name')));
end
$$;

-- The taxes of a place at a lower price, as the answer of a tax provider (apply_taxes), from the provider's answer for
-- the former price. The line is taxed with the sum of the rates. If they do not explain the line's tax, because a part
-- of it is exempt, the tax falls in proportion to the line. The tax of shipping stays.
create or replace function orders.lower_taxes(amounts jsonb, totals jsonb, currency varchar) returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  unit constant numeric := case platform.currency_decimals(currency) when 0 then 1 else 0.01 end;
  included constant boolean := (amounts->>'taxIncluded')::boolean;
  rate constant numeric := (select coalesce(sum((t->>'rate')::numeric), 0)
    from jsonb_array_elements(amounts->'taxLines') t);
  whole constant numeric := 100 + case when included then rate else 0 end;
  line constant numeric := amounts->>'subtotal';
  line_tax constant numeric := amounts->'lines'->0->>'tax';
  lower_line constant numeric := totals->>'subtotal';
  is_explained constant boolean := abs(orders.fraction(line, rate, whole, unit) - line_tax)
    <= unit * jsonb_array_length(amounts->'taxLines');
  lower_tax constant numeric := least(line_tax, case when is_explained then orders.fraction(lower_line, rate, whole, unit)
    else orders.fraction(line_tax, lower_line, line, unit) end);
  difference constant numeric := line - lower_line - case when included then line_tax - lower_tax else 0 end;
begin
  return jsonb_build_object('lines', jsonb_build_array(jsonb_build_object('id', '1', 'amount', lower_tax)),
    'shipping', amounts->'shippingTax', 'taxLines', (
      select coalesce(jsonb_agg(e.tax_line || jsonb_build_object('taxable', n.taxable,
        'amount', orders.fraction(n.taxable, (e.tax_line->>'rate')::numeric, 100, unit)) order by e.ord), '[]')
      from jsonb_array_elements(amounts->'taxLines') with ordinality e(tax_line, ord)
      cross join lateral (select case when is_explained
        then greatest(0, (e.tax_line->>'taxable')::numeric - difference)
        else orders.fraction((e.tax_line->>'taxable')::numeric, lower_line, line, unit) end as taxable) n));
end
$$;

-- Creates the order of a place in a campaign, whose units are already held. `input`: {id, customerId, sku, quantity,
-- price, currency, campaignId, shippingAddress?, billingAddress?, email?, metadata?, amounts?}. `amounts`: as
-- settle_place returned them when the place was taken; without them it has one unit at its price. Emits order.created.
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

grant execute on function orders.email_of, orders.has_bought, orders.settle_place, orders.reprice_place,
  orders.place_campaign_order
  to fusion_group_commerce;
