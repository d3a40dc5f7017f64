-- requires: platform/access.sql, platform/currencies.sql, platform/events.sql
-- Prices: which price list gives a product its price, and the prices of an order. The only place with that rule.

-- The price lists that apply now to this customer or organization, in any currency. A customer id that is no customer's
-- has no group.
create or replace function orders.lists_for(customer_id varchar, organization_id varchar)
returns catalog.price_lists[]
language sql stable as $$
  select array(
    select l from (
      select o from catalog.price_lists o
      where o.tenant_id = (select platform.tenant()) and o.audience = 'all'
      union all
      select o from (values ('organization', organization_id),
        ('group', (select c.customer_group from orders.customers c where c.id = lists_for.customer_id))) a(kind, id)
      join catalog.price_lists o
        on o.tenant_id = (select platform.tenant()) and o.audience = a.kind and o.audience_id = a.id
    ) found(l)
    where ((l).starts_at is null or (l).starts_at <= platform.clock())
      and ((l).ends_at is null or (l).ends_at > platform.clock()))
$$;

-- The price of one SKU in these lists; no row if none has one for this quantity. A list's price is that of the highest
-- minQuantity that the quantity reaches. An organization's list comes before a group's, and that before one for
-- everyone; of two lists of one level the lower price. `quantity`: the units of all lines of this SKU together.
create or replace function orders.list_price(lists catalog.price_lists[], sku varchar, quantity bigint, currency varchar)
returns table (price numeric, min_quantity integer, list_id varchar, list_name varchar, audience varchar)
language sql stable rows 1 as $$
  select p.price, p.min_quantity, l.id, l.name, l.audience
  from unnest(list_price.lists) l
  cross join lateral ( -- `limit 1` keeps this a lookup by the primary key for each list
    select c.price, c.min_quantity from catalog.prices c
    where c.list_id = l.id and c.sku = list_price.sku and c.min_quantity <= list_price.quantity
    order by c.min_quantity desc limit 1
  ) p
  where l.currency = list_price.currency
  order by case l.audience when 'organization' then 1 when 'group' then 2 else 3 end, p.price, l.id limit 1
$$;

-- Prices every line of a request. Slow path for orders with price lists, merged lines, another currency or errors.
-- `input`: {items: [{sku, quantity, price?}], currency?, pricing?, customerId?, organizationId?, hasTerms?}. Returns
-- {items, total, currency, skus, quantities}, or {error, …}: unknown_sku, currency_mismatch, price_changed,
-- validation_failed. Lines with the same SKU and price are merged, in the order in which they came.
create or replace function orders.price_lines(input jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  quoted constant boolean := coalesce(input->>'pricing', '') = 'quoted';
  lists constant catalog.price_lists[] := orders.lists_for(input->>'customerId', input->>'organizationId');
  priced jsonb;
  fault text;
begin
  with line as (
    -- `limit 1` keeps this a lookup by the unique index for each line, whatever row count the planner expects.
    select l.ord, l.item->>'sku' as sku, (l.item->>'quantity')::int as quantity, (l.item->>'price')::numeric as stated,
      sum((l.item->>'quantity')::int) over (partition by l.item->>'sku') as sku_quantity,
      p.price as catalog_price, p.currency as catalog_currency, coalesce(input->>'currency', p.currency) as wanted
    from jsonb_array_elements(input->'items') with ordinality l(item, ord)
    left join lateral (
      select c.price, c.currency from catalog.products c
      where c.tenant_id = (select platform.tenant()) and c.sku = l.item->>'sku' and c.status = 'active' limit 1
    ) p on true
  ), listed as (
    select l.ord, l.sku, l.quantity, l.stated, coalesce(p.price, l.catalog_price) as listed,
      case when l.catalog_currency is not null and p.price is not null then l.wanted else l.catalog_currency end
        as currency
    from line l left join lateral orders.list_price(lists, l.sku, l.sku_quantity, l.wanted) p on true
  ), final as (
    select l.*, case when quoted then coalesce(l.stated, l.listed) else l.listed end as price from listed l
  ), merged as (
    select min(f.ord) as ord, f.sku, sum(f.quantity) as quantity, f.price from final f group by f.sku, f.price
  ), needed as (
    select m.sku, sum(m.quantity) as quantity from merged m group by m.sku
  )
  select jsonb_build_object(
    'unknown', (select jsonb_agg(jsonb_build_object('pointer', format('/items/%s/sku', f.ord - 1),
      'detail', format('No product with SKU "%s" is for sale.', f.sku)) order by f.ord) from final f
        where f.currency is null),
    'currencies', (select jsonb_agg(distinct f.currency) from final f where f.currency is not null),
    'changed', (select jsonb_agg(jsonb_build_object('pointer', format('/items/%s/price', f.ord - 1),
      'detail', format('The price of "%s" is %s, not %s.', f.sku, f.listed, f.stated)) order by f.ord)
      from final f where not quoted and f.stated <> f.listed),
    'misfit', (select jsonb_agg(jsonb_build_object('pointer', format('/items/%s/price', f.ord - 1),
      'detail', format('%s has no decimals: %s does not fit.', f.currency, f.price)) order by f.ord)
      from final f where scale(trim_scale(f.price)) > platform.currency_decimals(f.currency)),
    'items', (select jsonb_agg(jsonb_build_object('sku', m.sku, 'quantity', m.quantity, 'price', m.price)
      order by m.ord)
      from merged m),
    'total', (select sum(m.quantity * m.price) from merged m),
    'most', (select max(n.quantity) from needed n),
    'skus', (select jsonb_agg(n.sku order by n.sku) from needed n),
    'quantities', (select jsonb_agg(n.quantity order by n.sku) from needed n)
  ) into priced;

  if priced->'unknown' <> 'null' then
    return jsonb_build_object('error', 'unknown_sku', 'errors', priced->'unknown');
  end if;
  if jsonb_array_length(priced->'currencies') > 1 or priced->'currencies'->>0 <> input->>'currency' then
    return jsonb_build_object('error', 'currency_mismatch', 'detail', format('The products are sold in %s.',
      (select string_agg(c, ', ') from jsonb_array_elements_text(priced->'currencies') c)));
  end if;
  if priced->'changed' <> 'null' then
    return jsonb_build_object('error', 'price_changed', 'errors', priced->'changed');
  end if;
  if priced->'misfit' <> 'null' then
    return jsonb_build_object('error', 'validation_failed', 'errors', priced->'misfit');
  end if;
  if (priced->>'most')::numeric > 2147483647 then
    return jsonb_build_object('error', 'validation_failed', 'errors', jsonb_build_array(jsonb_build_object(
      'pointer', '/items', 'detail', 'The order has more than 2147483647 units of one SKU.')));
  end if;
  fault := case when not coalesce((input->>'hasTerms')::boolean, false) then platform.charge_fault((priced->>'total')::numeric,
    priced->'currencies'->>0) end;
  if fault is not null then
    return jsonb_build_object('error', 'validation_failed', 'errors', jsonb_build_array(jsonb_build_object(
      'pointer', '/items', 'detail', fault)));
  end if;
  return jsonb_build_object('items', priced->'items', 'total', priced->'total', 'currency', priced->'currencies'->0,
    'skus', priced->'skus', 'quantities', priced->'quantities');
end
$$;

-- Prices the lines of a request. `has_terms`: taxes, shipping or discounts may change the total (settle_order). Fast
-- paths: one line; and one aggregate, if each SKU has one price, none in a price list, and nothing is wrong. Otherwise
-- price_lines, which may return an error in `refusal`. Lines are merged; `skus` is sorted, each once.
create or replace function orders.price_items(input jsonb, out items jsonb, out total numeric, out currency varchar,
  out skus text[], out quantities integer[], out refusal jsonb, out has_terms boolean)
language plpgsql stable as $$
declare
  quoted constant boolean := coalesce(input->>'pricing', '') = 'quoted';
  expected_currency constant varchar := input->>'currency';
  line constant jsonb := input->'items'->0;
  tenant constant varchar := platform.tenant();
  wants_terms constant boolean := input ?| array['discountCodes', 'shippingOptionId'];
  is_simple boolean;
  priced jsonb;
begin
  if jsonb_array_length(input->'items') = 1 then
    skus := array[line->>'sku'];
    quantities := array[(line->>'quantity')::int];
    select jsonb_build_array(jsonb_build_object('sku', c.sku, 'quantity', quantities[1], 'price', p.price)),
      quantities[1] * p.price, c.currency,
      p.price = coalesce((line->>'price')::numeric, p.price) and c.currency = coalesce(expected_currency, c.currency)
        and p.price = trunc(p.price, platform.currency_decimals(c.currency))
        and not c.has_list_prices,
      wants_terms or exists (select from orders.tax_rates t where t.tenant_id = tenant)
        or exists (select from orders.discounts d where d.tenant_id = tenant and d.code is null and d.deleted_at is null)
        or exists (select from platform.tenants t where t.id = tenant and t.tax_provider <> 'table')
    into items, total, currency, is_simple, has_terms
    from catalog.products c
    cross join lateral (select case when quoted then coalesce((line->>'price')::numeric, c.price) else c.price end) p(price)
    where c.tenant_id = tenant and c.sku = skus[1] and c.status = 'active' limit 1;
  else
    select jsonb_agg(jsonb_build_object('sku', m.sku, 'quantity', m.quantity, 'price', m.price) order by m.ord),
      sum(m.quantity * m.price), min(m.currency), array_agg(m.sku order by m.sku),
      array_agg(least(m.quantity, 2147483647)::int order by m.sku),
      bool_and(m.is_simple) and min(m.currency) = max(m.currency)
        and min(m.currency) = coalesce(expected_currency, min(m.currency))
        and max(m.quantity) <= 2147483647 and count(*) = count(distinct m.sku),
      wants_terms or exists (select from orders.tax_rates t where t.tenant_id = tenant)
        or exists (select from orders.discounts d where d.tenant_id = tenant and d.code is null and d.deleted_at is null)
        or exists (select from platform.tenants t where t.id = tenant and t.tax_provider <> 'table')
    into items, total, currency, skus, quantities, is_simple, has_terms
    from (
      select min(l.ord) as ord, l.sku, sum(l.quantity) as quantity, l.price, min(l.currency) as currency,
        bool_and(l.currency is not null and not l.has_list_prices and (quoted or l.stated is null or l.stated = l.listed)
          and l.price = trunc(l.price, platform.currency_decimals(l.currency))) as is_simple
      from (
        select g.ord, g.sku, g.quantity, g.stated, p.price as listed, p.currency, p.has_list_prices,
          case when quoted then coalesce(g.stated, p.price) else p.price end as price
        from (
          select ord, item->>'sku' as sku, (item->>'quantity')::int as quantity, (item->>'price')::numeric as stated
          from jsonb_array_elements(input->'items') with ordinality e(item, ord)
        ) g
        left join lateral ( -- `limit 1` keeps this a lookup by the unique index for each line
          select c.price, c.currency, c.has_list_prices from catalog.products c
          where c.tenant_id = tenant and c.sku = g.sku and c.status = 'active' limit 1
        ) p on true
      ) l group by l.sku, l.price
    ) m;
  end if;
  if is_simple and (has_terms or platform.is_chargeable(total, currency)) then
    return;
  end if;
  priced := orders.price_lines(input || jsonb_build_object('hasTerms', has_terms));
  if priced ? 'error' then
    refusal := priced;
    return;
  end if;
  items := priced->'items';
  total := priced->>'total';
  currency := priced->>'currency';
  skus := array(select jsonb_array_elements_text(priced->'skus'));
  quantities := array(select jsonb_array_elements_text(priced->'quantities')::int);
end
$$;

-- The price that an order would get, for a read. `input`: {productId, quantity, currency?, customerId?,
-- organizationId?}. `breaks`: the quantities from which a unit costs another price, 100 at most. Raises not_found;
-- forbidden if a publishable key or a session asks for the price of another customer or an organization. A session gets
-- the prices of its customer. Returns the error currency_mismatch.
create or replace function orders.find_price(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'catalog:read');
  buyer constant varchar := coalesce(platform.shopper()->>'customer', input->>'customerId');
  wanted varchar := input->>'currency';
  product catalog.products;
  lists catalog.price_lists[];
  answer jsonb;
begin
  if api_key.kind = 'session' and (input ? 'organizationId' or coalesce(input->>'customerId', buyer) <> buyer) then
    perform platform.fail('forbidden', jsonb_build_object('reason',
      'A customer session shows the prices of its own customer: leave out customerId and organizationId.'));
  end if;
  if api_key.kind = 'publishable' and input ?| array['customerId', 'organizationId'] then
    perform platform.fail('forbidden', jsonb_build_object('reason',
      'A publishable key shows the prices for everyone: use a secret key, or leave out customerId and organizationId.'));
  end if;
  select * into product from catalog.products c where c.id = input->>'productId';
  if product.status is distinct from 'active' then
    perform platform.fail('not_found', jsonb_build_object('reason', 'There is no such product for sale.'));
  end if;
  wanted := coalesce(wanted, product.currency);
  lists := orders.lists_for(buyer, input->>'organizationId');
  with tier as (
    select 1 as quantity
    union
    select c.min_quantity from unnest(lists) l
    cross join lateral (
      select p.min_quantity from catalog.prices p where p.list_id = l.id and p.sku = product.sku
      order by p.min_quantity limit 100
    ) c where l.currency = wanted
    union
    select (input->>'quantity')::int
  ), priced as (
    select t.quantity, coalesce(p.price, case when wanted = product.currency then product.price end) as price,
      coalesce(p.min_quantity, 1) as min_quantity, p.list_id, p.list_name, coalesce(p.audience, 'catalog') as level
    from tier t left join lateral orders.list_price(lists, product.sku, t.quantity, wanted) p on true
  ), changed as (
    select p.quantity, p.price from (select *, lag(price) over (order by quantity) as previous from priced) p
    where p.price is not null and p.price is distinct from p.previous order by p.quantity limit 100
  )
  select jsonb_build_object('sku', product.sku, 'quantity', p.quantity, 'currency', wanted, 'price', p.price,
    'minQuantity', p.min_quantity, 'source', jsonb_build_object('level', p.level, 'list',
      case when p.list_id is not null then jsonb_build_object('id', p.list_id, 'name', p.list_name) end),
    'breaks', (select jsonb_agg(jsonb_build_object('minQuantity', c.quantity, 'price', c.price) order by c.quantity)
      from changed c))
  into answer
  from priced p where p.quantity = (input->>'quantity')::int and p.price is not null;
  if answer is null then
    answer := jsonb_build_object('error', 'currency_mismatch', 'detail',
      format('This product has no price in %s for this quantity.', wanted));
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'answer', answer, 'replayed', false);
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.find_price to fusion_worker;
