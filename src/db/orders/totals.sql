-- requires: platform/access.sql, platform/currencies.sql
-- The totals of a cart, an order, a place in a campaign or an invoice. The only code that adds money. Pure: the answer
-- follows from the arguments alone. docs/totals.md explains it with examples. An amount is a whole number of units:
-- 0.01, or 1 for a currency without decimals. The parts of orders.totals use the search_path that it sets: to set it
-- again in each of them would cost more than some of their work.

-- amount × share ÷ whole, rounded half up to a unit. Exact for an amount of any size, because div() does not round as
-- the operator / does.
create or replace function orders.fraction(amount numeric, share numeric, whole numeric, unit numeric) returns numeric
language sql immutable as $$
  select div(2 * amount * share + whole * unit, 2 * whole * unit) * unit
$$;

-- Splits an amount over weights by largest remainder: the parts add up to the amount, each differs from its exact share
-- by less than a unit, and none is more than its weight if the amount is not more than all of them. Of equal remainders
-- the earlier one is rounded up. Without weights every part is 0. Loops, because a query costs more than a few lines.
create or replace function orders.allocate(amount numeric, weights numeric[], unit numeric) returns numeric[]
language plpgsql immutable as $$
declare
  parts numeric[] := weights;
  remainders numeric[] := weights;
  whole numeric := 0;
  missing numeric := amount; -- what the parts do not have yet
  place integer;
begin
  for n in 1..cardinality(weights) loop
    whole := whole + weights[n];
  end loop;
  if whole = 0 or amount = 0 then
    return array_fill(0 * unit, array[cardinality(weights)]);
  end if;
  for n in 1..cardinality(weights) loop
    parts[n] := div(amount * weights[n], whole * unit) * unit;
    remainders[n] := amount * weights[n] - parts[n] * whole;
    missing := missing - parts[n];
  end loop;
  if missing > 0 then
    for place in
      select r.n from unnest(remainders) with ordinality r(remainder, n) order by r.remainder desc, r.n
      limit div(missing, unit)
    loop
      parts[place] := parts[place] + unit;
    end loop;
  end if;
  return parts;
end
$$;

-- Applies discounts, one after the other, to what is left of the lines and of the shipping price. `discounts`: as in
-- orders.totals, in their order. Returns what they save, what is left of each line and of the shipping price, and
-- {id, code, name, amount, allocations} of each. `positions`: the request's order of the lines.
create or replace function orders.subtract_discounts(discounts jsonb, ids text[], positions bigint[], unit numeric,
  inout lefts numeric[], inout shipping numeric, out saved numeric, out applied jsonb)
language plpgsql immutable as $$
declare
  discount jsonb;
  weights numeric[];
  amount numeric;
  parts numeric[];
  allocations jsonb[];
begin
  saved := 0;
  applied := '[]';
  for d in 0..jsonb_array_length(discounts) - 1 loop
    discount := discounts->d;
    if discount->>'type' = 'free_shipping' then
      amount := shipping;
      shipping := 0 * unit;
      allocations := case when amount > 0
        then array[jsonb_build_object('lineId', 'shipping', 'amount', amount)] else '{}' end;
    else
      weights := lefts;
      if discount ? 'lines' then
        weights := array(select case when w.id in (select jsonb_array_elements_text(discount->'lines'))
            then w.kept else 0 end
          from unnest(ids, lefts) with ordinality w(id, kept, n) order by w.n);
      end if;
      amount := 0 * unit;
      for n in 1..cardinality(weights) loop
        amount := amount + weights[n];
      end loop;
      amount := case discount->>'type'
        when 'percentage' then orders.fraction(amount, (discount->>'value')::numeric, 100, unit)
        else least(div((discount->>'value')::numeric, unit) * unit, amount) end;
      parts := orders.allocate(amount, weights, unit);
      allocations := array_fill(null::jsonb, array[cardinality(lefts)]);
      for n in 1..cardinality(lefts) loop
        if parts[n] > 0 then
          lefts[n] := lefts[n] - parts[n];
          allocations[positions[n]] := jsonb_build_object('lineId', ids[n], 'amount', parts[n]);
        end if;
      end loop;
      allocations := array_remove(allocations, null);
    end if;
    saved := saved + amount;
    applied := applied || jsonb_build_array(discount - '{type,value,combinable,lines}'::text[]
      || jsonb_build_object('amount', amount, 'allocations', to_jsonb(allocations)));
  end loop;
end
$$;

-- Applies the discounts that save most: all that can be combined together, or one of the others alone. Percentages come
-- first, then amounts, then free shipping; within a kind the larger comes first, then the lower id. If choices save the
-- same, the combination wins, then the lowest id. Arguments and result as in subtract_discounts.
create or replace function orders.choose_discounts(discounts jsonb, ids text[], positions bigint[], unit numeric,
  inout lefts numeric[], inout shipping numeric, out saved numeric, out applied jsonb)
language plpgsql immutable as $$
declare
  combined jsonb;
  singles jsonb;
  best record;
  candidate record;
begin
  if jsonb_array_length(discounts) = 1 then
    combined := case when (discounts->0->>'combinable')::boolean then discounts else '[]' end;
    singles := case when combined = '[]' then discounts else '[]' end;
  else
    select coalesce(jsonb_agg(d order by array_position('{percentage,amount,free_shipping}', d->>'type'),
        (d->>'value')::numeric desc, d->>'id' collate "C") filter (where (d->>'combinable')::boolean), '[]'),
      coalesce(jsonb_agg(d order by d->>'id' collate "C") filter (where not (d->>'combinable')::boolean), '[]')
    into combined, singles from jsonb_array_elements(discounts) d;
  end if;
  best := orders.subtract_discounts(combined, ids, positions, unit, lefts, shipping);
  for d in 0..jsonb_array_length(singles) - 1 loop
    candidate := orders.subtract_discounts(jsonb_build_array(singles->d), ids, positions, unit, lefts, shipping);
    if candidate.saved > best.saved then
      best := candidate;
    end if;
  end loop;
  lefts := best.lefts;
  shipping := best.shipping;
  saved := best.saved;
  applied := best.applied;
end
$$;

-- The tax of amounts: of each rate on the sum of its amounts, rounded half up and split by largest remainder. `places`:
-- the position of an amount's rate in `rates`, null for no tax. `included`: the amounts contain the tax. `tax_lines`:
-- {name, rate, taxable, amount} of each rate that an amount has, in the order of name and rate.
create or replace function orders.add_taxes(amounts numeric[], places integer[], rates jsonb, included boolean,
  unit numeric, out taxes numeric[], out tax_lines jsonb)
language plpgsql immutable as $$
declare
  parts numeric[];
  weights numeric[];
  taxable numeric;
  tax numeric;
  percent numeric;
begin
  taxes := array_fill(0 * unit, array[cardinality(amounts)]);
  tax_lines := '[]';
  for place in 0..jsonb_array_length(rates) - 1 loop
    continue when array_position(places, place) is null;
    weights := amounts;
    taxable := 0 * unit;
    for n in 1..cardinality(amounts) loop
      if places[n] = place then
        taxable := taxable + amounts[n];
      else
        weights[n] := 0;
      end if;
    end loop;
    percent := rates->place->>'rate';
    tax := orders.fraction(taxable, percent, 100 + case when included then percent else 0 end, unit);
    parts := orders.allocate(tax, weights, unit);
    for n in 1..cardinality(amounts) loop
      taxes[n] := taxes[n] + parts[n];
    end loop;
    tax_lines := tax_lines || jsonb_build_object('name', rates->place->'name', 'rate', trim_scale(percent),
      'taxable', taxable - case when included then tax else 0 end, 'amount', tax);
  end loop;
  if jsonb_array_length(tax_lines) > 1 then
    tax_lines := (select jsonb_agg(t.line order by t.line->>'name' collate "C", (t.line->>'rate')::numeric, t.n)
      from jsonb_array_elements(tax_lines) with ordinality t(line, n));
  end if;
end
$$;

-- The totals of lines. `input`: {currency, taxIncluded, lines: [{id, sku, quantity, price, tax}], rates: [{name,
-- rate}], shipping: {price, tax} | null, discounts: [{id, code, name, type, value, combinable, lines?: [line id]}],
-- reverseCharge}. `tax`: the position of a line's rate in `rates`, or null. `lines` of a discount: the ones that it
-- applies to, otherwise all. With `reverseCharge` no tax is due: included tax is taken out of the prices first. Returns
-- {subtotal, discount, shipping, shippingTax, tax, total, taxIncluded, lines: [{id, subtotal, discount, tax, total}],
-- taxLines: [{name, rate, taxable, amount}], discounts: [{id, code, name, amount, allocations: [{lineId | "shipping",
-- amount}]}]}. total = subtotal − discount + shipping, + tax unless it is included; the same for each line. `taxable`
-- is without tax. No amount is negative, and the order of lines changes none.
create or replace function orders.totals(input jsonb) returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  decimals constant integer := platform.currency_decimals(input->>'currency');
  unit constant numeric := case decimals when 0 then 1 else 0.01 end;
  is_reverse constant boolean := coalesce((input->>'reverseCharge')::boolean, false);
  included boolean := coalesce((input->>'taxIncluded')::boolean, false);
  rates jsonb := coalesce(input->'rates', '[]');
  discounts constant jsonb := coalesce(input->'discounts', '[]');
  ids text[];
  positions bigint[];
  sums numeric[];
  places integer[];
  shipping numeric := round(coalesce((input->'shipping'->>'price')::numeric, 0), decimals);
  lefts numeric[];
  taxes numeric[];
  taxed record;
  applied jsonb := '[]';
  chosen record;
  lines jsonb[];
  subtotal numeric := 0 * unit;
  kept numeric := 0 * unit; -- what is left of the subtotal
  tax numeric;
begin
  -- Lines are sorted by SKU, so that the request's order decides no cent. Shipping comes last.
  select coalesce(array_agg(l.id), '{}'), coalesce(array_agg(l.position), '{}'), coalesce(array_agg(l.sum), '{}'),
    array_append(array_agg(l.place), (input->'shipping'->>'tax')::integer)
  into ids, positions, sums, places
  from (
    select e.id, e.position, e.tax as place, round(e.quantity * e.price, decimals) as sum
    from rows from (jsonb_to_recordset(nullif(input->'lines', 'null'))
        as (id text, sku text, quantity numeric, price numeric, tax integer))
      with ordinality e(id, sku, quantity, price, tax, position)
    order by e.sku collate "C", 4, e.price, e.position
  ) l;
  if is_reverse then
    if included then
      taxes := (orders.add_taxes(sums || shipping, places, rates, true, unit)).taxes;
      for n in 1..cardinality(sums) loop
        sums[n] := sums[n] - taxes[n];
      end loop;
      shipping := shipping - taxes[cardinality(taxes)];
      included := false;
    end if;
    rates := '[{"name": "Reverse charge", "rate": 0}]';
    places := array(select 0 * p.place from unnest(places) with ordinality p(place, n) order by p.n);
  end if;
  lefts := sums;
  if discounts <> '[]' then
    chosen := orders.choose_discounts(discounts, ids, positions, unit, lefts, shipping);
    lefts := chosen.lefts;
    shipping := chosen.shipping;
    applied := chosen.applied;
  end if;
  taxed := orders.add_taxes(lefts || shipping, places, rates, included, unit);
  taxes := taxed.taxes;
  tax := taxes[cardinality(taxes)];
  lines := array_fill(null::jsonb, array[cardinality(ids)]);
  for n in 1..cardinality(ids) loop
    subtotal := subtotal + sums[n];
    kept := kept + lefts[n];
    tax := tax + taxes[n];
    lines[positions[n]] := jsonb_build_object('id', ids[n], 'subtotal', sums[n], 'discount', sums[n] - lefts[n],
      'tax', taxes[n], 'total', lefts[n] + case when included then 0 else taxes[n] end);
  end loop;
  return jsonb_build_object('subtotal', subtotal, 'discount', subtotal - kept, 'shipping', shipping,
    'shippingTax', taxes[cardinality(taxes)], 'tax', tax,
    'total', kept + shipping + case when included then 0 else tax end,
    'taxIncluded', included, 'lines', to_jsonb(lines), 'taxLines', taxed.tax_lines, 'discounts', applied);
end
$$;

-- Why an order cannot have these amounts, as a sentence; null if it can. Discounts can make a total small whose
-- subtotal fits into no column.
create or replace function orders.amounts_fault(amounts jsonb, currency varchar) returns text
language sql stable as $$
  select case
    when (amounts->>'subtotal')::numeric >= 100000000 then
      format('The subtotal of %s %s is too much: it must be below 100000000.', amounts->>'subtotal', currency)
    when not platform.is_chargeable((amounts->>'total')::numeric, currency) then
      platform.charge_fault((amounts->>'total')::numeric, currency) end
$$;

-- Whether the frozen amounts of an order's lines are complete and add up to those of the order (orders_amounts_agree).
-- The functions of CHECK constraints are in PL/pgSQL, because each write prepares its constraints again, and would
-- parse the text of a SQL function to inline it.
create or replace function orders.lines_agree(lines jsonb, subtotal numeric, discount numeric, tax numeric,
  shipping_tax numeric, tax_included boolean, tax_lines jsonb) returns boolean
language plpgsql immutable as $$
begin
  return (select coalesce(sum(l.subtotal) = lines_agree.subtotal and sum(l.discount) = lines_agree.discount
      and sum(l.tax) + shipping_tax = lines_agree.tax
      and bool_and(coalesce(l.subtotal >= l.discount and l.discount >= 0 and l.tax >= 0
        and l.total = l.subtotal - l.discount + case when tax_included then 0 else l.tax end, false)), false)
    and coalesce((select sum((t->>'amount')::numeric) from jsonb_array_elements(tax_lines) t), 0) = lines_agree.tax
  from jsonb_to_recordset(lines) l(subtotal numeric, discount numeric, tax numeric, total numeric));
end
$$;

call platform.set_owner('orders', 'fusion_orders');
