-- requires: platform/currencies.sql, catalog/lists.sql
-- How many products of a list have each value of an option, and which prices. They run as fusion_reader.

-- The width of a range of prices: 1, 2 or 5 times a power of ten, so that there are ten ranges at most.
create or replace function catalog.range_width(low numeric, high numeric, currency varchar) returns numeric
language sql stable as $$
  select min(w.width) from (
    select factor * power(10::numeric, exponent) as width
    from unnest(array[1, 2, 5]) factor, generate_series(-platform.currency_decimals(currency), 8) exponent
  ) w where w.width * 9 >= high - low
$$;

create or replace function catalog.option_facets(ids varchar[], fold boolean) returns jsonb
language sql stable as $$
  select coalesce(jsonb_object_agg(o.name, o.values), '{}')
  from (
    select v.name, jsonb_agg(jsonb_build_object('value', v.value, 'count', v.count) order by v.count desc, v.value collate "C")
      as values
    from (
      select e.key as name, e.value, count(distinct case when fold then coalesce(p.group_id, p.id) else p.id end) as count,
        row_number() over (partition by e.key order by count(*) desc, e.value collate "C") as place
      from unnest(ids) u(id)
      cross join lateral (select x.* from catalog.products x where x.id = u.id limit 1) p
      cross join lateral jsonb_each_text(p.options) e(key, value)
      group by e.key, e.value
    ) v
    where v.place <= 100
    group by v.name
  ) o
$$;

create or replace function catalog.price_facets(ids varchar[], fold boolean) returns jsonb
language sql stable as $$
  with listed as materialized (
    select p.currency, p.price, case when fold then coalesce(p.group_id, p.id) else p.id end as id
    from unnest(ids) u(id)
    cross join lateral (select x.* from catalog.products x where x.id = u.id limit 1) p
  ), total as (
    select l.currency, min(l.price) as low, max(l.price) as high, count(distinct l.id) as count,
      trim_scale(catalog.range_width(min(l.price), max(l.price), l.currency)) as width
    from listed l group by l.currency
  ), range as (
    select t.currency, jsonb_agg(jsonb_build_object('from', r.number * t.width, 'to', (r.number + 1) * t.width, 'count', r.count)
      order by r.number) as ranges
    from total t
    cross join lateral (select floor(l.price / t.width) as number, count(distinct l.id) as count
      from listed l where l.currency = t.currency group by 1) r
    group by t.currency
  )
  select coalesce(jsonb_agg(jsonb_build_object('currency', t.currency, 'min', t.low, 'max', t.high, 'count', t.count,
    'ranges', r.ranges) order by t.currency), '[]')
  from total t join range r on r.currency = t.currency
$$;

-- {complete, options?: {name: [{value, count}]}, price?: [{currency, min, max, count, ranges: [{from, to, count}]}]};
-- null if `wanted` is. The prices ignore a filter by price. With `fold` a group counts once. At most 10,000 products
-- are counted, of at most 20,000 that are read; `complete`: whether these are all. The 100 most frequent values of each
-- option.
create or replace function catalog.list_facets(filter jsonb, fold boolean, wanted jsonb) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  most constant integer := 10000;
  any_price constant jsonb := filter - array['low', 'high'];
  facets jsonb := jsonb_build_object('complete', true);
  found record;
begin
  if wanted ? 'options' then
    found := catalog.find_products(filter, case when filter = any_price then 'newest' else 'price' end, false, null, most + 1,
      2 * most);
    facets := jsonb_build_object('complete', found.stopped is null and cardinality(found.ids) <= most,
      'options', catalog.option_facets(found.ids[:most], fold));
  end if;
  if wanted ? 'price' then
    if not wanted ? 'options' or filter <> any_price then
      found := catalog.find_products(any_price, 'newest', false, null, most + 1, 2 * most);
    end if;
    facets := facets || jsonb_build_object('complete', (facets->>'complete')::boolean and found.stopped is null
      and cardinality(found.ids) <= most, 'price', catalog.price_facets(found.ids[:most], fold));
  end if;
  return case when wanted is not null then facets end;
end
$$;

call platform.set_owner('catalog', 'fusion_catalog');

grant execute on function catalog.range_width, catalog.option_facets, catalog.price_facets, catalog.list_facets
  to fusion_reader;
