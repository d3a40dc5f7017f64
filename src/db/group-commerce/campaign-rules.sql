-- requires: platform/access.sql, platform/currencies.sql
-- Rules for a new campaign that need the database: the product, its variants and the currency.

-- Why a price cannot be used in this currency, as a sentence. Null if it can.
create or replace function group_commerce.price_fault(price numeric, currency varchar) returns text
language sql immutable as $$
  select case when scale(trim_scale(price)) > platform.currency_decimals(currency)
      then format('%s has no decimals.', currency)
    else platform.charge_fault(price, currency) end
$$;

-- The faults of a new campaign, [{pointer, detail}], at most one for each field; null if there are none. `input`: as in
-- create_campaign. `product`: the product of `productId` if it is for sale, otherwise null. The price may be above the
-- price of a product only if `originalPrice` is given: it is then what the price is compared with.
create or replace function group_commerce.campaign_faults(input jsonb, product catalog.products) returns jsonb
language sql stable as $$
  with variants as (
    select s.ord - 1 as place, s.sku, v.id, v.group_id, v.currency, v.price
    from jsonb_array_elements_text(nullif(input->'skus', 'null')) with ordinality s(sku, ord)
    left join catalog.products v on v.tenant_id = (select platform.tenant()) and v.sku = s.sku and v.status = 'active'
  ), given as (
    select (input->>'price')::numeric as price, (input->>'originalPrice')::numeric as original
  ), faults as (
    select 0 as place, '/productId' as pointer, 'No such product is for sale.' as detail where product.id is null
    union all
    select 1, '/endTime', 'must be in the future' where (input->>'endTime')::timestamptz <= platform.clock()
    union all
    select 2, '/price', coalesce(
      case when g.price > coalesce(g.original, product.price) then
        format('must not be above the original price, %s', coalesce(g.original, product.price)) end,
      case when g.original is null then (
        select format('must not be above the price of %s, %s. For another comparison send originalPrice', v.sku, v.price)
        from variants v where v.price < g.price and v.currency = product.currency order by v.place limit 1) end,
      group_commerce.price_fault(g.price, product.currency))
    from given g where product.id is not null
    union all
    select 3, '/originalPrice', format('%s has no decimals.', product.currency)
    from given g where scale(trim_scale(g.original)) > platform.currency_decimals(product.currency)
    union all
    select 4, '/skus', format('must contain the SKU of the product, %s', product.sku)
    where product.id is not null and input->>'skus' is not null
      and not exists (select from variants v where v.sku = product.sku)
    union all
    select 5 + v.place, format('/skus/%s', v.place), case when v.id is null then 'No such product is for sale.'
        when v.group_id is distinct from product.group_id or v.group_id is null then
          format('must be a variant of the same product group as %s', product.sku)
        else format('is sold in %s, and %s in %s', v.currency, product.sku, product.currency) end
    from variants v
    where product.id is not null and v.sku <> product.sku and (v.id is null or v.group_id is null
      or v.group_id is distinct from product.group_id or v.currency <> product.currency)
    union all
    -- A tier costs something, so that every place has a payment.
    select 200 + t.ord, format('/tiers/%s/price', t.ord - 1),
      case when (t.tier->>'price')::numeric = 0 then 'must be above 0'
        else group_commerce.price_fault((t.tier->>'price')::numeric, product.currency) end
    from jsonb_array_elements(nullif(input->'tiers', 'null')) with ordinality t(tier, ord) where product.id is not null
  )
  select jsonb_agg(jsonb_build_object('pointer', f.pointer, 'detail', f.detail) order by f.place)
  from faults f where f.detail is not null
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');
