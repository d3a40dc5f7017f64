-- requires: platform/access.sql, platform/currencies.sql, orders/totals.sql
-- What the units of an order are worth when they are refunded. The amounts were frozen when the order was placed, so
-- what is refunded of one line never changes what another line is worth.

-- The lines of an order with what happened to each of them. `total`: what was paid for it.
create or replace function orders.lines_of(o orders.orders)
returns table (place integer, sku text, quantity integer, total numeric, refunded integer, refunded_amount numeric,
  restocked integer, returned integer, fulfilled integer)
language sql stable as $$
  select i.place::int, i.item->>'sku', (i.item->>'quantity')::int,
    coalesce((o.lines->(i.place::int - 1)->>'total')::numeric,
      (i.item->>'quantity')::numeric * (i.item->>'price')::numeric),
    coalesce(o.refunded_quantities[i.place], 0), coalesce(o.refunded_amounts[i.place], 0), coalesce(o.restocked_quantities[i.place], 0),
    coalesce(o.returned_quantities[i.place], 0), coalesce(o.fulfilled_quantities[i.place],
      case when o.status in ('shipped', 'delivered') then (i.item->>'quantity')::int else 0 end)
  from jsonb_array_elements(o.items) with ordinality i(item, place)
$$;

-- The units of these items that were sent, as far as can be known: not more than are in parcels and have not come back.
-- A return of units that were never sent is like a refund of them: they must not be sent any more.
create or replace function orders.sent_units(o orders.orders, items jsonb) returns jsonb
language sql stable as $$
  select coalesce(jsonb_agg(jsonb_build_object('lineId', l.place::text,
    'quantity', least((i->>'quantity')::int, greatest(0, l.fulfilled - l.returned)))), '[]')
  from jsonb_array_elements(items) i join orders.lines_of(o) l on l.place::text = i->>'lineId'
$$;

-- What is left to refund of the order's shipping, with its tax.
create or replace function orders.refundable_shipping(o orders.orders) returns numeric
language sql stable as $$
  select coalesce(o.shipping_total + case when o.tax_included then 0 else o.shipping_tax end, 0)
    - coalesce(o.shipping_refunded, 0)
$$;

-- What a refund of units is worth: the worth of these units and the refunded units of the line together, less the money
-- refunded for the line. The first k of n units are worth k ÷ n of the line's total, rounded, so usually a refund is
-- the difference of two such sums. After a refund of other units has failed, it can be a cent more or less, so that all
-- refunds add up again. `input`: {items: [{lineId, quantity}], shipping?: true (all that is left) or an amount}.
-- `reserved`: units of each line that something else may refund (open returns). Returns {items: [{lineId, quantity,
-- amount}], shipping, amount}, or the errors validation_failed, refund_exceeds_payment.
create or replace function orders.refund_amounts(o orders.orders, input jsonb, reserved integer[]) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  unit constant numeric := case platform.currency_decimals(o.currency) when 0 then 1 else 0.01 end;
  shipping_left constant numeric := orders.refundable_shipping(o);
  shipping constant numeric := case jsonb_typeof(input->'shipping') when 'number' then (input->>'shipping')::numeric
    when 'boolean' then case when (input->>'shipping')::boolean then shipping_left else 0 end else 0 end;
  unknown jsonb;
  exceeding jsonb;
  items jsonb;
  amount numeric;
begin
  with wanted as (
    select w.ord - 1 as at, w.item->>'lineId' as line_id, (w.item->>'quantity')::int as units
    from jsonb_array_elements(coalesce(input->'items', '[]')) with ordinality w(item, ord)
  ), priced as (
    select w.*, l.place, l.quantity - l.refunded - coalesce(reserved[l.place], 0) as units_left,
      coalesce(reserved[l.place], 0) as in_returns,
      greatest(0, orders.fraction(l.total, l.refunded + w.units, l.quantity, unit) - l.refunded_amount) as worth
    from wanted w left join orders.lines_of(o) l on l.place::text = w.line_id
  )
  select jsonb_agg(jsonb_build_object('pointer', format('/items/%s/lineId', p.at), 'detail', 'The order has no such line.')
      order by p.at) filter (where p.place is null),
    jsonb_agg(jsonb_build_object('pointer', format('/items/%s/quantity', p.at), 'detail', concat(
      format('At most %s of this line can still be refunded.', p.units_left), case when p.in_returns > 0
        then format(' %s more are in an open return.', p.in_returns) end)) order by p.at)
      filter (where p.units > p.units_left),
    coalesce(jsonb_agg(jsonb_build_object('lineId', p.line_id, 'quantity', p.units, 'amount', p.worth) order by p.at), '[]'),
    coalesce(sum(p.worth), 0) + shipping
  into unknown, exceeding, items, amount from priced p;
  if shipping > shipping_left then
    exceeding := coalesce(exceeding, '[]') || jsonb_build_object('pointer', '/shipping', 'detail',
      format('At most %s %s of the shipping can still be refunded.', shipping_left, o.currency));
  end if;
  if scale(trim_scale(shipping)) > 0 and unit = 1 then
    unknown := coalesce(unknown, '[]') || jsonb_build_object('pointer', '/shipping', 'detail',
      format('%s has no decimals.', o.currency));
  end if;
  if unknown is not null then
    return jsonb_build_object('error', 'validation_failed', 'errors', unknown);
  elsif exceeding is not null then
    return jsonb_build_object('error', 'refund_exceeds_payment', 'detail', exceeding->0->>'detail', 'errors', exceeding);
  end if;
  return jsonb_build_object('items', items, 'shipping', shipping, 'amount', amount);
end
$$;

-- `counts` of an order's lines with `sign` times a field of these items added; null stands for zeros.
create or replace function orders.add_units(counts integer[], line_count integer, items jsonb, field text, sign integer)
returns integer[]
language sql immutable as $$
  select array_agg(coalesce(counts[l.place], 0) + sign * coalesce(w.units, 0) order by l.place)
  from generate_series(1, line_count) l(place) left join (
    select (i->>'lineId')::int as place, sum((i->>field)::int)::int as units from jsonb_array_elements(items) i group by 1
  ) w on w.place = l.place
$$;

-- As add_units, for the amounts of these items.
create or replace function orders.add_amounts(amounts numeric[], line_count integer, items jsonb, sign integer)
returns numeric[]
language sql immutable as $$
  select array_agg(coalesce(amounts[l.place], 0) + sign * coalesce(w.amount, 0) order by l.place)
  from generate_series(1, line_count) l(place) left join (
    select (i->>'lineId')::int as place, sum((i->>'amount')::numeric) as amount from jsonb_array_elements(items) i group by 1
  ) w on w.place = l.place
$$;

-- Sums a field of these items by SKU (sorted, each once), without zeros, in the form that inventory takes.
create or replace function orders.units_by_sku(o orders.orders, items jsonb, field text, out skus text[], out units integer[])
language sql stable as $$
  select coalesce(array_agg(w.sku order by w.sku), '{}'), coalesce(array_agg(w.units order by w.sku), '{}')
  from (
    select o.items->((i->>'lineId')::int - 1)->>'sku' as sku, sum((i->>field)::int)::int as units
    from jsonb_array_elements(items) i group by 1 having sum((i->>field)::int) > 0
  ) w
$$;

-- Whether every count is from 0 to its limit; null stands for zeros (orders.refunds_within).
create or replace function orders.counts_within(counts integer[], limits integer[]) returns boolean
language plpgsql immutable as $$
begin
  return limits is not null and cardinality(counts) = cardinality(limits)
    and not exists (select from unnest(counts, limits) u(n, most) where (u.n between 0 and u.most) is not true);
end
$$;

-- Whether no line has more money refunded than was paid for it (orders.refunds_within).
create or replace function orders.amounts_within(amounts numeric[], items jsonb, lines jsonb) returns boolean
language plpgsql immutable as $$
begin
  return cardinality(amounts) = jsonb_array_length(items) and not exists (
    select from jsonb_array_elements(items) with ordinality i(item, place)
    where (amounts[i.place] between 0 and coalesce((lines->(i.place::int - 1)->>'total')::numeric,
      (i.item->>'quantity')::numeric * (i.item->>'price')::numeric)) is not true);
end
$$;

-- The quantities of an order's items.
create or replace function orders.quantities_of(items jsonb) returns integer[]
language plpgsql immutable as $$
begin
  return array(select (i.item->>'quantity')::int from jsonb_array_elements(items) with ordinality i(item, place)
    order by i.place);
end
$$;

-- Whether what was refunded, restocked and returned of an order is within what it has (orders_amounts_agree).
create or replace function orders.refunds_within(items jsonb, lines jsonb, refunded integer[], amounts numeric[],
  restocked integer[], returned integer[], shipping_refunded numeric, shipping_paid numeric) returns boolean
language plpgsql immutable as $$
begin
  return (refunded is null or orders.counts_within(refunded, orders.quantities_of(items)))
    and (amounts is null or orders.amounts_within(amounts, items, lines))
    and (restocked is null or orders.counts_within(restocked, refunded))
    and (returned is null or orders.counts_within(returned, refunded))
    and (shipping_refunded between 0 and shipping_paid) is not false;
end
$$;

call platform.set_owner('orders', 'fusion_orders');
