-- requires: platform/access.sql, platform/currencies.sql, orders/totals.sql, orders/tax-quotes.sql
-- What a tenant adds to the prices of lines: taxes, shipping options and discounts. This looks them up; orders.totals
-- computes.

-- The member states of the European Union, by the country code of an address.
create or replace function orders.is_in_eu(country text) returns boolean
language sql immutable as $$
  select country = any(string_to_array(
    'AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK', ' '))
$$;

-- A region as a rate names it: the part of ISO 3166-2 after the country (CA of US-CA, us-ca or ca).
create or replace function orders.region_code(region text, country text) returns text
language sql immutable as $$
  select upper(regexp_replace(region, '^' || country || '-', '', 'i'))
$$;

-- Whether an order is a business's purchase in another member state than the seller's, with a number that VIES has
-- confirmed: no tax is due there (Article 138 of Directive 2006/112/EC; "Reverse charge"). Northern Ireland (XI) counts
-- as a member state for goods: its addresses are British, with a postcode of BT or the region NIR. Greece's numbers
-- begin with EL.
create or replace function orders.is_reverse_charge(seller text, address jsonb, number text, status text) returns boolean
language sql immutable as $$
  select coalesce(status = 'valid' and orders.is_in_eu(seller) and address->>'country' <> seller
    and case left(number, 2) when 'EL' then 'GR' else left(number, 2) end <> seller
    and (orders.is_in_eu(address->>'country') or address->>'country' = 'GB'
      and (coalesce(orders.region_code(address->>'state', 'GB') = 'NIR', false)
        or coalesce(address->>'postalCode' ~* '^BT *[0-9]', false))), false)
$$;

-- The tax rates for an address, {rates: [{name, rate}], places: {category: position}}: the most specific rate of each
-- category. The empty category is for products and shipping options without a category. From most to least specific:
-- country, region and category; country and region; country and category; country.
create or replace function orders.find_rates(address jsonb, categories text[]) returns jsonb
language sql stable as $$
  with best as (
    select c.category, r.id, r.name, r.rate
    from (select distinct coalesce(e, '') from unnest(categories) e) c(category)
    cross join (select platform.tenant() || ' ' || (address->>'country') || ' ' as start,
      substring(orders.region_code(address->>'state', address->>'country') from '^[A-Z0-9]{1,3}$') as region) k
    cross join lateral (
      select t.id, t.name, t.rate from orders.tax_rates t
      where t.lookup_key = any(array[k.start || k.region || ' ' || c.category, k.start || k.region || ' ',
        k.start || ' ' || c.category, k.start || ' '])
      order by t.region is null, t.category is null limit 1
    ) r
  ), numbered as (
    select b.*, dense_rank() over (order by b.name, b.rate) - 1 as place from best b -- one sum for each rate
  )
  select jsonb_build_object(
    'rates', coalesce((select jsonb_agg(jsonb_build_object('name', n.name, 'rate', n.rate) order by n.place)
      from (select distinct place, name, rate from numbered) n), '[]'),
    'places', coalesce((select jsonb_object_agg(n.category, n.place) from numbered n), '{}'))
$$;

-- The shipping options for an address, a currency and a weight in grams, cheapest first: [{id, name, price, minDays,
-- maxDays, taxCategory}]. `subtotal` decides whether one is free.
create or replace function orders.find_shipping_options(country text, currency text, subtotal numeric, weight numeric)
returns jsonb
language sql stable as $$
  select coalesce(jsonb_agg(jsonb_build_object('id', o.id, 'name', o.name, 'price', o.price, 'minDays', o.min_days,
    'maxDays', o.max_days, 'taxCategory', o.tax_category) order by o.price, o.id), '[]')
  from (
    select s.id, s.name, case when find_shipping_options.subtotal >= s.free_from then 0 else s.price end as price,
      s.min_days, s.max_days, s.tax_category
    from orders.shipping_options s
    where s.tenant_id = (select platform.tenant()) and find_shipping_options.country = any(s.countries)
      and s.currency = find_shipping_options.currency
      and find_shipping_options.weight between coalesce(s.min_weight, 0) and coalesce(s.max_weight, 'infinity'::numeric)
  ) o
$$;

-- How a customer is counted for `perCustomerLimit`: by the e-mail in any case, or without one by the client's own id. A
-- hash, so that the counters hold no personal data. Null: not known yet.
create or replace function orders.customer_key(email text, customer_id text) returns varchar
language sql immutable as $$
  select encode(sha256(convert_to(coalesce('email ' || lower(email), 'id ' || customer_id), 'UTF8')), 'hex')
$$;

-- Whether an amount has no more decimals than its currency. Null if there is no amount or no currency.
create or replace function orders.fits_currency(amount numeric, currency varchar) returns boolean
language sql immutable as $$
  select scale(trim_scale(amount)) <= platform.currency_decimals(currency)
$$;

-- Why a discount does not apply, as a sentence. `code`: as the buyer wrote it.
create or replace function orders.discount_refusal(fault text, code text, d orders.discounts) returns text
language sql immutable as $$
  select case fault
    when 'unknown' then format('There is no discount with the code "%s".', code)
    when 'not_started' then format('The discount "%s" has not started yet.', code)
    when 'ended' then format('The discount "%s" has ended.', code)
    when 'other_currency' then format('The discount "%s" is for orders in %s.', code, d.currency)
    when 'subtotal_too_low' then format('The discount "%s" needs items for %s %s or more.', code,
      round(d.min_subtotal, platform.currency_decimals(d.currency)), d.currency)
    when 'no_item' then format('The discount "%s" applies to none of these items.', code)
    when 'used_up' then format('The discount "%s" has been used up.', code)
    when 'used_by_customer' then format('You have used the discount "%s" already.', code) end
$$;

-- The discounts that apply to these lines now, and the codes that do not: {discounts: [as in orders.totals], invalid:
-- [{code, index, reason, detail}]}. `lines`: [{id, sku, collections}]. `customer_key`: null while it is not known. A
-- use is counted when the order is placed (orders.take_uses), so this only says what would be refused now.
create or replace function orders.find_discounts(codes text[], lines jsonb, currency text, subtotal numeric,
  customer_key text) returns jsonb
language sql stable as $$
  with wanted as (
    select upper(c.code) as key, min(c.code) as code, min(c.ord) as ord
    from unnest(codes) with ordinality c(code, ord) group by upper(c.code)
  ), candidate as (
    select a as discount, null as key from orders.discounts a
    where a.tenant_id = (select platform.tenant()) and a.code is null and a.deleted_at is null
    union all
    select b.discount, w.key from wanted w
    cross join lateral ( -- `limit 1` keeps this a lookup by the unique index for each code
      select c as discount from orders.discounts c
      where c.tenant_id = (select platform.tenant()) and c.code_key = w.key and c.code is not null
        and c.deleted_at is null limit 1
    ) b
  ), found as (
    select c.discount as d, c.key, e.lines,
      case
        when (c.discount).starts_at > platform.clock() then 'not_started'
        when (c.discount).ends_at <= platform.clock() then 'ended'
        when (c.discount).currency <> find_discounts.currency then 'other_currency'
        when (c.discount).min_subtotal > find_discounts.subtotal then 'subtotal_too_low'
        when ((c.discount).skus is not null or (c.discount).collections is not null) and e.lines is null then 'no_item'
        when (c.discount).usage_limit <= (select n.used from orders.discount_counters n
          where n.discount_id = (c.discount).id) then 'used_up'
        when (c.discount).per_customer_limit <= (select n.used from orders.discount_customers n
          where n.discount_id = (c.discount).id and n.customer_key = find_discounts.customer_key) then 'used_by_customer'
      end as fault
    from candidate c
    left join lateral (
      select jsonb_agg(l->>'id') as lines from jsonb_array_elements(find_discounts.lines) l
      where (c.discount).skus is not null and l->>'sku' = any((c.discount).skus)
        or (c.discount).collections is not null
          and array(select jsonb_array_elements_text(l->'collections'))::varchar[] && (c.discount).collections
    ) e on (c.discount).skus is not null or (c.discount).collections is not null
  )
  select jsonb_build_object(
    'discounts', coalesce((select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('id', (f.d).id, 'code', (f.d).code,
        'name', (f.d).name, 'type', (f.d).type, 'value', (f.d).value, 'combinable', (f.d).combinable,
        'lines', f.lines)) order by (f.d).id)
      from found f where f.fault is null), '[]'),
    'invalid', coalesce((select jsonb_agg(jsonb_build_object('code', w.code, 'index', w.ord - 1,
        'reason', coalesce(f.fault, 'unknown'),
        'detail', orders.discount_refusal(coalesce(f.fault, 'unknown'), w.code, f.d)) order by w.ord)
      from wanted w left join found f on f.key = w.key where f.key is null or f.fault is not null), '[]'))
$$;

-- The totals of lines with the tenant's taxes, shipping options and discounts. `lines`: [{sku, quantity, price}]; a
-- line without a price is left out, and the id of a line is its position among the others. `terms`: {currency,
-- customerId?, email?, shippingAddress?, billingAddress?, shippingOptionId?, discountCodes?, noDiscounts?,
-- shippingOptional?, taxQuote?}; `noDiscounts`: for quoted prices and campaigns. `shippingOptional`: without an option,
-- shipping costs nothing. Returns what orders.totals returns, with {shippingOptions, shippingOption: {id, name} | null,
-- needsShipping, needsAddress, invalidDiscounts, unusedDiscounts, customerKey, names: {sku: name}, taxQuestion}.
-- Without an address, tax, shippingTax, taxLines and total are null; without a shipping option, shipping, shippingTax
-- and total. If the tenant has a tax provider and `taxQuote` does not answer its question, the taxes are null too, and
-- `taxQuestion` (orders.tax_question) is the question.
-- A query costs more than the rows that it reads, so one query reads what every order needs.
create or replace function orders.settle(lines jsonb, terms jsonb) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  tenant constant varchar := platform.tenant();
  address constant jsonb := coalesce(nullif(terms->'shippingAddress', 'null'), nullif(terms->'billingAddress', 'null'));
  currency constant text := terms->>'currency';
  known record;
  options jsonb := '[]';
  option jsonb;
  taxes jsonb := '{"rates": [], "places": {}}';
  found jsonb := '{"discounts": [], "invalid": []}';
  unused jsonb := '[]';
  taxed jsonb;
  totals jsonb;
  question jsonb; -- to the tax provider
begin
  select t.prices_include_tax, t.tax_provider = 'table' as has_table, t.tax_provider <> 'table'
      or exists (select from orders.tax_rates r where r.tenant_id = tenant) as has_tax,
    exists (select from orders.shipping_options s where s.tenant_id = tenant) as has_shipping,
    exists (select from orders.discounts d where d.tenant_id = tenant and d.code is null and d.deleted_at is null)
      as has_automatic,
    t.tax_provider = 'table' and orders.is_reverse_charge(t.country, address, c.vat_number, c.vat_status) as is_reverse,
    jsonb_build_object('provider', t.tax_provider, 'tenant', tenant, 'account', t.stripe_account,
      'vatNumber', case when c.vat_status = 'valid' then c.vat_number end) as seller,
    orders.customer_key(coalesce(terms->>'email', c.email), terms->>'customerId') as customer_key,
    array(select jsonb_array_elements_text(coalesce(nullif(terms->'discountCodes', 'null'), '[]'))) as codes, items.*
  into known
  from (
    select coalesce(jsonb_agg(jsonb_build_object('id', l.place::text, 'sku', l.line->'sku', 'price', l.line->'price',
        'quantity', l.line->'quantity', 'category', coalesce(p.tax_category, ''),
        'collections', coalesce(p.collections, '{}')) order by l.place), '[]') as lines,
      array_agg(distinct p.tax_category) as categories,
      coalesce(jsonb_object_agg(l.line->>'sku', p.name), '{}') as names,
      coalesce(sum((l.line->>'quantity')::numeric * (l.line->>'price')::numeric), 0) as subtotal,
      coalesce(sum((l.line->>'quantity')::numeric * coalesce(p.weight, 0)), 0) as weight
    from (
      select e.line, row_number() over (order by e.ord) as place
      from jsonb_array_elements(settle.lines) with ordinality e(line, ord) where e.line->>'price' is not null
    ) l
    left join lateral ( -- one look-up by the unique index for each line
      select c.tax_category, c.collections, c.name, c.weight from catalog.products c
      where c.tenant_id = tenant and c.sku = l.line->>'sku' limit 1
    ) p on true
  ) items
  left join platform.tenants t on t.id = tenant
  left join orders.customers c on c.id = terms->>'customerId';
  if known.has_shipping and address is not null then
    options := orders.find_shipping_options(address->>'country', currency, known.subtotal, known.weight);
    option := jsonb_path_query_first(options, '$[*] ? (@.id == $id)', jsonb_build_object('id', terms->'shippingOptionId'));
  end if;
  taxed := known.lines;
  if known.has_tax and known.has_table and address is not null then
    taxes := orders.find_rates(address, array_append(known.categories, option->>'taxCategory'));
    taxed := (select coalesce(jsonb_agg(l || jsonb_build_object('tax', taxes->'places'->(l->>'category')) order by ord),
      '[]') from jsonb_array_elements(known.lines) with ordinality e(l, ord));
  end if;
  if (known.has_automatic or known.codes <> '{}') and not coalesce((terms->>'noDiscounts')::boolean, false) then
    found := orders.find_discounts(known.codes, known.lines, currency, known.subtotal, known.customer_key);
  end if;
  totals := orders.totals(jsonb_build_object('currency', currency, 'taxIncluded', known.prices_include_tax,
    'reverseCharge', known.is_reverse, 'rates', taxes->'rates', 'discounts', found->'discounts', 'lines', taxed,
    'shipping', case when option is not null then jsonb_build_object('price', option->'price',
      'tax', taxes->'places'->coalesce(option->>'taxCategory', '')) end));
  if jsonb_array_length(totals->'discounts') < jsonb_array_length(found->'discounts') then
    unused := (select coalesce(jsonb_agg(d->'code'), '[]') from jsonb_array_elements(found->'discounts') d
      where d ? 'code' and not totals->'discounts' @> jsonb_build_array(jsonb_build_object('id', d->'id')));
  end if;
  if not known.has_table and address is not null then
    question := orders.tax_question(totals, known.lines, option->>'taxCategory', known.seller
      || jsonb_build_object('currency', currency, 'address', address - '{name,company,phone,email}'::text[],
        'addressSource', case when nullif(terms->'shippingAddress', 'null') is null then 'billing' else 'shipping' end));
    if orders.is_answer(terms->'taxQuote', question) then
      totals := orders.apply_taxes(totals, terms->'taxQuote', currency);
      question := null;
    end if;
  end if;
  if question is not null or known.has_tax and address is null then
    totals := orders.without_taxes(totals);
  end if;
  if known.has_shipping and option is null and not coalesce((terms->>'shippingOptional')::boolean, false) then
    totals := totals || '{"shipping": null, "shippingTax": null, "total": null}';
  end if;
  return totals || jsonb_build_object('shippingOptions', options,
    'shippingOption', option - '{price,minDays,maxDays,taxCategory}'::text[], 'taxQuestion', question,
    'needsShipping', known.has_shipping, 'needsAddress', known.has_shipping or known.has_tax,
    'invalidDiscounts', found->'invalid', 'customerKey', known.customer_key, 'names', known.names,
    'unusedDiscounts', unused)
    || case when terms ? 'keepTerms' then jsonb_build_object('terms', jsonb_build_object(
      'taxIncluded', known.prices_include_tax, 'reverseCharge', known.is_reverse, 'rates', taxes->'rates',
      'tax', taxed->0->'tax', 'shipping', case when option is not null then jsonb_build_object('price', option->'price',
        'tax', taxes->'places'->coalesce(option->>'taxCategory', '')) end)) else '{}' end;
end
$$;

call platform.set_owner('orders', 'fusion_orders');
