-- requires: platform/access.sql, catalog/products.sql, catalog/search.sql, catalog/list-order.sql
-- The list of products, with filters, in four orders, as products or folded into groups. These functions run as their
-- caller, fusion_reader, under row-level security. `filter`, from catalog.list_filter: {status, currency, low, high,
-- inStock, ids, collection, q, words, pattern}, without those that are not used.

-- How many products a page reads at most, and up to how many are sorted in memory.
create or replace function catalog.list_bound() returns integer language sql immutable as $$ select 5000 $$;

-- The condition that a row of catalog.products is in the list.
create or replace function catalog.list_condition(filter jsonb, row_name text) returns text
language sql stable as $$
  select concat_ws(' and ', 'true',
    case when filter ? 'status' then format('%s.status = %L', row_name, filter->>'status') end,
    case when filter ? 'currency' then format('%s.currency = %L', row_name, filter->>'currency') end,
    case when filter ? 'low' then format('%s.price >= %s', row_name, (filter->>'low')::numeric) end,
    case when filter ? 'high' then format('%s.price <= %s', row_name, (filter->>'high')::numeric) end,
    case when filter ? 'ids' then format('%s.id = any(%L::varchar[])', row_name,
      array(select jsonb_array_elements_text(filter->'ids'))) end,
    case when filter ?| array['words', 'pattern'] then format('(coalesce(%1$s.search @@ %2$L, false) or coalesce(%1$s.name ilike %3$L, false)
      or coalesce(%1$s.sku ilike %3$L, false))', row_name, filter->>'words', filter->>'pattern') end,
    case when filter ? 'collection' then format('(select true from catalog.collection_products m
      where m.collection_id = %L and m.product_id = %s.id limit 1)', filter->>'collection', row_name) end,
    case when filter ? 'inStock' then format('coalesce((select i.quantity > 0 from inventory.inventory i
      where i.tenant_id = %1$s.tenant_id and i.sku = %1$s.sku limit 1), false) = %2$L', row_name, filter->>'inStock') end)
$$;

-- The filter of a request; null if no product can match. A plain search (newest first, as products, by currency at
-- most) leaves the words to search_products. Otherwise words that match nothing are replaced by the newest products
-- with a similar name, and a pattern without three letters in a row, which no index covers, counts only if there are no
-- words.
create or replace function catalog.list_filter(input jsonb) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  filter jsonb := jsonb_strip_nulls(jsonb_build_object('status', nullif(input->>'status', 'all'),
    'currency', input->>'currency', 'low', input->>'minPrice', 'high', input->>'maxPrice', 'inStock', input->'inStock',
    'ids', input->'ids', 'q', input->>'q'));
  collection varchar;
  terms record;
  found_ids varchar[];
  is_exact boolean;
  is_plain constant boolean := input->>'sort' = 'newest' and input->>'view' = 'products' and input->>'status' = 'active'
    and num_nonnulls(input->>'collection', input->>'ids') = 0;
begin
  if input->>'collection' is not null then
    -- A slug may look like an id; the id counts.
    select c.id into collection from catalog.collections c where c.id = input->>'collection';
    if not found then
      select c.id into collection from catalog.collections c
      where c.tenant_id = platform.proven_tenant('catalog:read') and c.slug = input->>'collection';
    end if;
    if collection is null then
      return null;
    end if;
    filter := filter || jsonb_build_object('collection', collection);
  end if;
  if filter ? 'q' and not is_plain then
    terms := catalog.search_terms(filter->>'q');
    filter := filter || jsonb_strip_nulls(jsonb_build_object('words', terms.words, 'pattern',
      case when terms.words is null or terms.pattern ~ '[[:alnum:]]{3}' then terms.pattern end));
    if not filter ?| array['words', 'pattern'] then
      return null;
    end if;
    if filter->>'status' = 'active' then
      found_ids := array(select catalog.search_products(filter->>'q', filter->>'currency', null, 1));
      if found_ids = '{}' then
        return null;
      end if;
      execute format('select %s from catalog.products p where p.id = %L',
        catalog.list_condition(jsonb_build_object('words', filter->'words', 'pattern', filter->'pattern'), 'p'), found_ids[1]) into is_exact;
      if not is_exact then
        found_ids := array(select catalog.search_products(filter->>'q', filter->>'currency', null, 1000));
        filter := filter - array['q', 'words', 'pattern'] || jsonb_build_object('ids', to_jsonb(
          array(select f from unnest(found_ids) f where not filter ? 'ids' or filter->'ids' ? f)));
      end if;
    end if;
  end if;
  return filter;
end
$$;

-- The next `most` products of a list after `after`, with their keys, in one of three ways:
--  - given ids are looked up and sorted;
--  - otherwise the list's index, or the search if it is sorted by newest, is read in parts, which are filtered;
--  - if few of its products match, those that `q` or the prices find are looked up and sorted instead, if these are few.
-- Ends after `bound` products at the latest; then `stopped` is the key of the last one. `fold`: only the first product
-- of each group.
create or replace function catalog.find_products(filter jsonb, sort text, fold boolean, after jsonb, most integer,
  bound integer, out ids varchar[], out keys jsonb[], out stopped jsonb)
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  condition constant text := catalog.list_condition(filter, 'p');
  by_search constant boolean := filter ? 'q' and sort = 'newest' and filter->>'status' = 'active' and not filter ? 'collection';
  finds_words constant boolean := filter ? 'q' and filter->>'status' = 'active' and not by_search
    and (filter ? 'words' or filter->>'pattern' ~ '[[:alnum:]]{3}');
  finds_prices constant boolean := (filter ? 'low' or filter ? 'high') and sort not in ('price', '-price') and not by_search;
  is_first constant text := case when fold then format('(select true from catalog.products v
      where v.group_id = p.group_id and %s and (%s) %s (%s) limit 1) is null', catalog.list_condition(filter, 'v'),
    catalog.sort_columns(sort, 'v'), case when catalog.is_descending(sort) then '>' else '<' end,
    catalog.sort_columns(sort, 'p')) else 'true' end;
  chosen varchar[] := array(select distinct jsonb_array_elements_text(filter->'ids'));
  is_chosen boolean := filter ? 'ids';
  has_gathered boolean := false;
  size integer := most;
  examined integer := 0;
  part varchar[];
  part_keys jsonb[];
begin
  ids := '{}';
  keys := '{}';
  loop
    if is_chosen then
      part := chosen;
    elsif by_search then
      part := array(select catalog.search_products(filter->>'q', filter->>'currency', after->>0, size));
      part_keys := array(select jsonb_build_array(id) from unnest(part) id);
    else
      select coalesce(array_agg(w.id order by w.n), '{}'), array_agg(w.key order by w.n) into part, part_keys
      from catalog.walk_products(filter->>'collection', sort, filter->>'status', filter->>'currency',
        (filter->>'low')::numeric, (filter->>'high')::numeric, after, size) with ordinality w(id, key, n);
    end if;
    execute format('select $1 || coalesce(array_agg(f.id), ''{}''), $2 || coalesce(array_agg(f.key), ''{}'')
      from (select p.id, %s as key from unnest($3) c(id)
        cross join lateral (select x.* from catalog.products x where x.id = c.id limit 1) p
        where %s and %s and %s order by %s limit %s) f',
      catalog.sort_key(sort, 'p'), condition, catalog.after_key(sort, 'p', after), is_first, catalog.sort_order(sort, 'p'),
      most - cardinality(ids)) into ids, keys using ids, keys, part;
    exit when cardinality(ids) >= most or is_chosen or cardinality(part) < size;
    after := part_keys[size];
    examined := examined + size;
    if examined >= bound then
      stopped := after;
      exit;
    end if;
    if examined >= 400 and not has_gathered and (finds_words or finds_prices) then
      has_gathered := true;
      chosen := case when finds_words
        then array(select catalog.search_products(filter->>'q', filter->>'currency', null, bound + 1))
        else array(select w.id from catalog.walk_products(filter->>'collection', 'price', filter->>'status',
          filter->>'currency', (filter->>'low')::numeric, (filter->>'high')::numeric, null, bound + 1) w) end;
      is_chosen := cardinality(chosen) <= bound;
    end if;
    size := least(size * 4, 1000, bound - examined);
  end loop;
end
$$;

-- Products as the list shows them, in the order of `ids`.
create or replace function catalog.listed_products(ids varchar[]) returns jsonb
language sql stable as $$
  select coalesce(jsonb_agg(catalog.product_json(p.product, s.quantity) order by u.n), '[]')
  from unnest(ids) with ordinality u(id, n)
  cross join lateral (select x as product, x.tenant_id, x.sku from catalog.products x where x.id = u.id limit 1) p
  left join lateral (select i.quantity from inventory.inventory i where i.tenant_id = p.tenant_id and i.sku = p.sku limit 1) s
    on true
$$;

-- For each of these products, which are the first of their groups: the group, and what the products of the group that
-- match the filter have in common. The prices are those in the currency of the first product.
create or replace function catalog.listed_groups(filter jsonb, ids varchar[]) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  listed jsonb;
begin
  execute format('select coalesce(jsonb_agg(jsonb_build_object(
      ''group'', (select jsonb_build_object(''id'', g.id, ''name'', g.name, ''slug'', g.slug, ''options'', g.options)
        from catalog.product_groups g where g.id = p.group_id limit 1),
      ''product'', catalog.product_json(p.product, s.quantity), ''variants'', a.variants, ''minPrice'', a.low,
      ''maxPrice'', a.high, ''currency'', p.currency, ''inStock'', a.in_stock, ''images'', coalesce(a.images, ''[]''))
      order by u.n), ''[]'')
    from unnest($1) with ordinality u(id, n)
    cross join lateral (select x as product, x.id, x.tenant_id, x.sku, x.currency, x.group_id
      from catalog.products x where x.id = u.id limit 1) p
    cross join lateral (
      select count(*) as variants, min(v.price) filter (where v.currency = p.currency) as low,
        max(v.price) filter (where v.currency = p.currency) as high, bool_or(coalesce(t.quantity > 0, false)) as in_stock,
        (array_agg(v.images order by v.id <> p.id, v.id) filter (where v.images <> ''[]''))[1] as images
      from (
        select v.* from catalog.products v where v.id = p.id and p.group_id is null
        union all select v.* from catalog.products v where v.group_id = p.group_id and %s offset 0
      ) v
      left join lateral (select i.quantity from inventory.inventory i
        where i.tenant_id = v.tenant_id and i.sku = v.sku limit 1) t on true
    ) a
    left join lateral (select i.quantity from inventory.inventory i
      where i.tenant_id = p.tenant_id and i.sku = p.sku limit 1) s on true',
    catalog.list_condition(filter, 'v')) into listed using ids;
  return listed;
end
$$;

-- A page of the list: {rows, next, facets?}. `input`: {q?, collection?, status, inStock?, minPrice?, maxPrice?,
-- currency?, ids?, view, sort, after?, limit, facets?}. `next`: the key to continue after, if there may be more. A page
-- may have less than `limit` rows and still a `next`.
create or replace function catalog.list_products(input jsonb) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  filter constant jsonb := coalesce(catalog.list_filter(input), '{"ids": []}');
  fold constant boolean := input->>'view' = 'groups';
  size constant integer := (input->>'limit')::int;
  page record;
  shown varchar[];
begin
  page := catalog.find_products(filter, input->>'sort', fold, nullif(input->'after', 'null'), size + 1,
    catalog.list_bound());
  shown := page.ids[:size];
  return jsonb_build_object(
    'rows', case when fold then catalog.listed_groups(filter, shown) else catalog.listed_products(shown) end,
    'next', case when cardinality(page.ids) > size then page.keys[size] else page.stopped end,
    'facets', catalog.list_facets(filter, fold, input->'facets'));
end
$$;

call platform.set_owner('catalog', 'fusion_catalog');

grant execute on function catalog.list_bound, catalog.list_condition, catalog.list_filter, catalog.find_products,
  catalog.listed_products, catalog.listed_groups, catalog.list_products to fusion_reader;
