-- requires: platform/access.sql, platform/currencies.sql
-- The totals of a cart, an order, a place in a campaign or an invoice. The only code that adds money. Pure: the answer
-- follows from the arguments alone.

-- Splits an amount over weights in units of `unit` (0.01, or 1 for a currency without decimals), by largest remainder: the
-- parts add up to the amount, and none is more than its weight if the amount is not more than all of them. Of equal
-- remainders the earlier one is rounded up. Without weights every part is 0.
create or replace function orders.allocate(amount numeric, weights numeric[], unit numeric) returns numeric[]
language sql immutable as $$
  select coalesce(array_agg(s.base + case when s.place <= (amount - s.bases) / unit then unit else 0 end order by s.ord), '{}')
  from (
    select p.ord, p.base, sum(p.base) over () as bases, row_number() over (order by p.exact - p.base desc, p.ord) as place
    from (
      select e.ord, e.exact, trunc(e.exact / unit) * unit as base
      from (
        select w.ord, coalesce(amount * w.weight / nullif(sum(w.weight) over (), 0), 0) as exact
        from unnest(weights) with ordinality w(weight, ord)
      ) e
    ) p
  ) s
$$;

-- Applies discounts, one after the other, to what is left of the lines and of the shipping price. `discounts`: as in
-- orders.totals, in their order. Returns {saved, left, shipping, applied: [{id, code, name, amount, allocations}]}: what
-- they save, what is left of each line and of the shipping price, and the share of each line.
create or replace function orders.apply_discounts(discounts jsonb, ids text[], lefts numeric[], shipping numeric,
  unit numeric) returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  discount jsonb;
  weights numeric[];
  amount numeric;
  parts numeric[];
  saved numeric := 0;
  applied jsonb := '[]';
begin
  for discount in select d from jsonb_array_elements(discounts) d loop
    if discount->>'type' = 'free_shipping' then
      amount := shipping;
      shipping := 0;
      applied := applied || jsonb_build_array(discount - '{type,value,combinable,lines}'::text[] || jsonb_build_object(
        'amount', amount, 'allocations', case when amount > 0
          then jsonb_build_array(jsonb_build_object('lineId', 'shipping', 'amount', amount)) else '[]' end));
    else
      weights := case when discount->'lines' is null then lefts
        else array(select case when discount->'lines' ? w.id then w.n else 0 end
          from unnest(ids, lefts) with ordinality w(id, n, ord) order by w.ord) end;
      amount := (select coalesce(sum(w), 0) from unnest(weights) w);
      amount := case discount->>'type'
        when 'percentage' then round(amount * (discount->>'value')::numeric / 100 / unit) * unit
        else least((discount->>'value')::numeric, amount) end;
      parts := orders.allocate(amount, weights, unit);
      lefts := array(select p.n - p.part from unnest(lefts, parts) with ordinality p(n, part, ord) order by p.ord);
      applied := applied || jsonb_build_array(discount - '{type,value,combinable,lines}'::text[] || jsonb_build_object(
        'amount', amount, 'allocations', (select coalesce(jsonb_agg(jsonb_build_object('lineId', p.id, 'amount', p.part)
          order by p.ord) filter (where p.part > 0), '[]') from unnest(ids, parts) with ordinality p(id, part, ord))));
    end if;
    saved := saved + amount;
  end loop;
  return jsonb_build_object('saved', saved, 'left', to_jsonb(lefts), 'shipping', shipping, 'applied', applied);
end
$$;

-- The discounts that save most: all that can be combined together, or one of the others alone. Percentages come before
-- amounts, and those before free shipping. Returns what apply_discounts returns.
create or replace function orders.best_discounts(discounts jsonb, ids text[], lefts numeric[], shipping numeric,
  unit numeric) returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  best jsonb;
  candidate jsonb;
  alone jsonb;
begin
  select orders.apply_discounts(coalesce(jsonb_agg(d order by array_position('{percentage,amount,free_shipping}',
      d->>'type'), (d->>'value')::numeric desc, d->>'id') filter (where (d->>'combinable')::boolean), '[]'),
    ids, lefts, shipping, unit)
  into best from jsonb_array_elements(discounts) d;
  for alone in
    select d from jsonb_array_elements(discounts) d where not (d->>'combinable')::boolean order by d->>'id'
  loop
    candidate := orders.apply_discounts(jsonb_build_array(alone), ids, lefts, shipping, unit);
    if (candidate->>'saved')::numeric > (best->>'saved')::numeric then
      best := candidate;
    end if;
  end loop;
  return best;
end
$$;

-- The tax of amounts at one rate each (percent; null: no tax), on the sum of each rate, rounded half up and split by
-- largest remainder. `included`: the amounts contain it.
create or replace function orders.tax_parts(amounts numeric[], rates numeric[], places integer[], included boolean,
  unit numeric) returns numeric[]
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  taxes numeric[] := array_fill(0::numeric, array[cardinality(amounts)]);
  rate record;
  parts numeric[];
begin
  for rate in
    select p.place, min(p.rate) as percent, sum(p.amount) as taxable
    from unnest(amounts, rates, places) p(amount, rate, place) where p.place is not null group by p.place
  loop
    parts := orders.allocate(
      round(rate.taxable * rate.percent / (100 + case when included then rate.percent else 0 end) / unit) * unit,
      array(select case when p.place = rate.place then p.amount else 0 end
        from unnest(amounts, places) with ordinality p(amount, place, ord) order by p.ord), unit);
    taxes := array(select t.tax + t.part from unnest(taxes, parts) with ordinality t(tax, part, ord) order by t.ord);
  end loop;
  return taxes;
end
$$;

-- The totals of lines. `input`: {currency, taxIncluded, lines: [{id, sku, quantity, price, tax}], rates: [{name, rate}],
-- shipping: {price, tax} | null, discounts: [{id, code, name, type, value, combinable, lines?: [line id]}],
-- reverseCharge}. `tax`: the position of a line's rate in `rates`, or null. `lines` of a discount: the ones that it
-- applies to, otherwise all. With `reverseCharge` no tax is due: included tax is taken out of the prices first.
-- Returns {subtotal, discount, shipping, shippingTax, tax, total, taxIncluded, lines: [{id, subtotal, discount, tax,
-- total}], taxLines: [{name, rate, taxable, amount}], discounts: [{id, code, name, amount, allocations: [{lineId |
-- "shipping", amount}]}]}. total = subtotal − discount + shipping, + tax unless it is included; the same for each line.
-- `taxable` is without tax. No amount is negative, and the order of lines changes none.
create or replace function orders.totals(input jsonb) returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  unit constant numeric := case platform.currency_decimals(input->>'currency') when 0 then 1 else 0.01 end;
  is_reverse constant boolean := coalesce((input->>'reverseCharge')::boolean, false);
  included boolean := coalesce((input->>'taxIncluded')::boolean, false);
  ids text[];
  sums numeric[];
  places integer[];
  rates numeric[];
  shipping numeric := coalesce((input->'shipping'->>'price')::numeric, 0);
  discounted jsonb;
  lefts numeric[];
  taxes numeric[];
begin
  -- Lines in an order of their own, so that the request's order decides no cent. Shipping comes last.
  select array_agg(l.line->>'id' order by l.sku, l.sum, l.price),
    array_agg(l.sum order by l.sku, l.sum, l.price),
    array_append(array_agg((l.line->>'tax')::int order by l.sku, l.sum, l.price), (input->'shipping'->>'tax')::int)
  into ids, sums, places
  from (
    select e as line, e->>'sku' collate "C" as sku, (e->>'price')::numeric as price,
      (e->>'quantity')::numeric * (e->>'price')::numeric as sum
    from jsonb_array_elements(input->'lines') e
  ) l;
  ids := coalesce(ids, '{}'); -- an empty cart
  sums := coalesce(sums, '{}');
  rates := array(select (input->'rates'->p.place->>'rate')::numeric from unnest(places) with ordinality p(place, ord)
    order by p.ord);
  if is_reverse and included then
    taxes := orders.tax_parts(sums || shipping, rates, places, true, unit);
    sums := array(select s.sum - s.tax from unnest(sums, taxes[:cardinality(sums)]) with ordinality s(sum, tax, ord) order by s.ord);
    shipping := shipping - taxes[cardinality(taxes)];
  end if;
  included := included and not is_reverse;
  discounted := case when jsonb_array_length(coalesce(input->'discounts', '[]')) > 0
    then orders.best_discounts(input->'discounts', ids, sums, shipping, unit)
    else jsonb_build_object('left', to_jsonb(sums), 'shipping', shipping, 'applied', '[]'::jsonb) end;
  lefts := array(select n::numeric from jsonb_array_elements_text(discounted->'left') with ordinality e(n, ord) order by e.ord);
  shipping := discounted->>'shipping';
  taxes := case when is_reverse then array_fill(0::numeric, array[cardinality(places)])
    else orders.tax_parts(lefts || shipping, rates, places, included, unit) end;
  return (
    with line as (
      select l.*, l.kept + case when included then 0 else l.tax end as total
      from unnest(ids, sums, lefts, taxes, places) with ordinality l(id, sum, kept, tax, place, ord)
      where l.ord <= cardinality(ids)
    ), taxed as (
      select l.place, sum(l.kept) as base, sum(l.tax) as tax
      from (select kept, tax, place from line
        union all select shipping, taxes[cardinality(taxes)], places[cardinality(places)] where input->'shipping' <> 'null') l
      where l.place is not null group by l.place
    ), sums as (
      select coalesce(sum(l.sum), 0) as subtotal, coalesce(sum(l.sum - l.kept), 0) as discount,
        coalesce(sum(l.tax), 0) + taxes[cardinality(taxes)] as tax,
        jsonb_object_agg(l.id, jsonb_build_object('id', l.id, 'subtotal', l.sum, 'discount', l.sum - l.kept,
          'tax', l.tax, 'total', l.total)) as by_id
      from line l
    )
    select jsonb_build_object('subtotal', s.subtotal, 'discount', s.discount, 'shipping', shipping,
      'shippingTax', taxes[cardinality(taxes)], 'tax', s.tax,
      'total', s.subtotal - s.discount + shipping + case when included then 0 else s.tax end, 'taxIncluded', included,
      'lines', (select coalesce(jsonb_agg(s.by_id -> (e.line->>'id') order by e.ord), '[]')
        from jsonb_array_elements(input->'lines') with ordinality e(line, ord)),
      'taxLines', (select coalesce(jsonb_agg(jsonb_build_object('name', t.name, 'rate', t.rate,
          'taxable', t.taxable, 'amount', t.tax) order by t.name, t.rate), '[]')
        from (
          select case when is_reverse then 'Reverse charge' else input->'rates'->x.place->>'name' end as name,
            case when is_reverse then 0 else (input->'rates'->x.place->>'rate')::numeric end as rate,
            sum(x.base - case when included then x.tax else 0 end) as taxable, sum(x.tax) as tax
          from taxed x group by 1, 2
        ) t),
      'discounts', discounted->'applied')
    from sums s);
end
$$;

-- Whether the frozen amounts of an order's lines add up to those of the order (orders_lines_agree).
create or replace function orders.lines_agree(lines jsonb, subtotal numeric, discount numeric, tax numeric,
  shipping_tax numeric, tax_included boolean, tax_lines jsonb) returns boolean
language sql immutable as $$
  select coalesce(sum(l.subtotal) = lines_agree.subtotal and sum(l.discount) = lines_agree.discount
      and sum(l.tax) + shipping_tax = lines_agree.tax
      and bool_and(l.subtotal >= l.discount and l.discount >= 0 and l.tax >= 0
        and l.total = l.subtotal - l.discount + case when tax_included then 0 else l.tax end), false)
    and coalesce((select sum((t->>'amount')::numeric) from jsonb_array_elements(tax_lines) t), 0) = lines_agree.tax
  from jsonb_to_recordset(lines) l(subtotal numeric, discount numeric, tax numeric, total numeric)
$$;

do $$
begin
  if not exists (select from pg_constraint c where c.conname = 'orders_lines_agree') then
    alter table orders.orders add constraint orders_lines_agree check (lines is null or orders.lines_agree(lines,
      subtotal, discount_total, tax_total, shipping_tax, tax_included, tax_lines));
  end if;
end
$$;

call platform.set_owner('orders', 'fusion_orders');
