-- requires: platform/access.sql, platform/currencies.sql, orders/totals.sql
-- Taxes that a provider other than the tenant's own rates computes. The database asks (tax_question), the Worker gets
-- the answer (src/domain/tax/provider.ts), and orders.settle uses it as long as the question is the same.

-- What a provider must know to compute the tax: {key, provider, tenant, account, currency, included, address,
-- addressSource, vatNumber, lines: [{id, quantity, amount, category}], shipping: {amount, category} | null}. Amounts
-- are text, after discounts. `key` is a hash of all other fields: an answer is used for the same key only. `totals`:
-- orders.totals without taxes; `lines`: its lines with their category. Null if there is nothing to tax.
create or replace function orders.tax_question(totals jsonb, lines jsonb, shipping_category text, terms jsonb) returns jsonb
language sql immutable as $$
  select q.question || jsonb_build_object('key', encode(sha256(convert_to(q.question::text, 'UTF8')), 'hex'))
  from (
    select terms || jsonb_build_object('included', totals->'taxIncluded',
      'lines', (
        select coalesce(jsonb_agg(jsonb_build_object('id', a.line->'id', 'quantity', b.line->'quantity',
          'amount', a.line->>'total', 'category', nullif(b.line->>'category', '')) order by a.ord), '[]')
        from jsonb_array_elements(totals->'lines') with ordinality a(line, ord)
        join jsonb_array_elements(tax_question.lines) with ordinality b(line, ord) on b.ord = a.ord
        where (a.line->>'total')::numeric > 0),
      'shipping', case when (totals->>'shipping')::numeric > 0 then jsonb_build_object('amount', totals->>'shipping',
        'category', shipping_category) end) as question
  ) q
  where q.question->'lines' <> '[]' or q.question->'shipping' <> 'null'
$$;

-- Whether a quote answers this question now.
create or replace function orders.is_answer(quote jsonb, question jsonb) returns boolean
language sql stable as $$
  select coalesce(quote->>'key' = question->>'key' and (quote->>'expiresAt')::timestamptz > platform.clock(), false)
$$;

-- The totals with the taxes of a quote: {calculationId, lines: [{id, amount}], shipping, taxLines: [{name, rate,
-- taxable, amount}]}. The amounts of the lines count: tax lines that do not add up to them get their shares by largest
-- remainder, so that every sum agrees to the cent. `totals`: orders.totals without taxes.
create or replace function orders.apply_taxes(totals jsonb, quote jsonb, currency varchar) returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  decimals constant integer := platform.currency_decimals(currency);
  shipping_tax constant numeric := round(coalesce((quote->>'shipping')::numeric, 0), decimals);
  included constant boolean := (totals->>'taxIncluded')::boolean;
  named constant jsonb := coalesce(nullif(quote->'taxLines', '[]'), '[{"name": "Tax", "rate": 0, "taxable": 0, "amount": 0}]');
  lines jsonb;
  tax numeric;
  weights numeric[];
  shares numeric[];
begin
  select jsonb_agg(l.line || jsonb_build_object('tax', l.tax,
      'total', (l.line->>'total')::numeric + case when included then 0 else l.tax end) order by l.ord),
    shipping_tax + sum(l.tax)
  into lines, tax
  from (
    select a.line, a.ord, round(coalesce((q.answer->>'amount')::numeric, 0), decimals) as tax
    from jsonb_array_elements(totals->'lines') with ordinality a(line, ord)
    left join jsonb_array_elements(quote->'lines') q(answer) on q.answer->'id' = a.line->'id'
  ) l;
  weights := array(select (t->>'amount')::numeric from jsonb_array_elements(named) with ordinality e(t, ord) order by ord);
  if (select sum(w) from unnest(weights) w) = 0 then
    weights[1] := 1;
  end if;
  shares := orders.allocate(tax, weights, case decimals when 0 then 1 else 0.01 end);
  return totals || jsonb_build_object('lines', lines, 'tax', tax, 'shippingTax', shipping_tax,
    'total', (totals->>'total')::numeric + case when included then 0 else tax end,
    'taxCalculation', quote->'calculationId',
    'taxLines', (select coalesce(jsonb_agg(t || jsonb_build_object('rate', trim_scale((t->>'rate')::numeric),
        'taxable', round((t->>'taxable')::numeric, decimals), 'amount', shares[ord]) order by ord), '[]')
      from jsonb_array_elements(named) with ordinality e(t, ord)
      where quote->'taxLines' <> '[]' or shares[ord] > 0));
end
$$;

-- The totals without taxes, while they are not computed yet. The total is known only if the prices include the tax.
create or replace function orders.without_taxes(totals jsonb) returns jsonb
language sql immutable as $$
  select totals || '{"tax": null, "shippingTax": null, "taxLines": null}'
    || case when (totals->>'taxIncluded')::boolean then '{}'::jsonb else '{"total": null}' end
$$;

call platform.set_owner('orders', 'fusion_orders');
