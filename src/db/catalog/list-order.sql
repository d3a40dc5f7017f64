-- requires: platform/access.sql, catalog/search.sql
-- The orders of a list of products, and the walk along the index of one. A position in a list, which is also the
-- cursor, is the `key` of a row: its id in a list of the newest; [currency, price, id] by price; [name in lower case,
-- id] by name.

-- The columns that a list is sorted by, all of them ascending, or all descending (catalog.is_descending). Prices of
-- different currencies cannot be compared, so they are sorted by currency first.
create or replace function catalog.sort_columns(sort text, row_name text) returns text
language sql immutable as $$
  select format(case when sort = 'name' then 'lower(%1$s.name collate "C"), ' when sort in ('price', '-price')
    then '%1$s.currency, %1$s.price, ' else '' end || '%1$s.id collate "C"', row_name)
$$;

create or replace function catalog.is_descending(sort text) returns boolean
language sql immutable as $$ select sort in ('newest', '-price') $$;

create or replace function catalog.sort_order(sort text, row_name text) returns text
language sql immutable as $$
  select case when catalog.is_descending(sort) then replace(catalog.sort_columns(sort, row_name), ',', ' desc,') || ' desc'
    else catalog.sort_columns(sort, row_name) end
$$;

-- The key of a row, as JSON.
create or replace function catalog.sort_key(sort text, row_name text) returns text
language sql immutable as $$
  select format(case when sort in ('price', '-price') then 'jsonb_build_array(%1$s.currency, %1$s.price::text, %1$s.id)'
    else 'jsonb_build_array(' || catalog.sort_columns(sort, row_name) || ')' end, row_name)
$$;

-- The condition that a row comes after a key; true if there is no key.
create or replace function catalog.after_key(sort text, row_name text, key jsonb) returns text
language sql immutable as $$
  select case when key is null then 'true' else format('(%s) %s (%s)', catalog.sort_columns(sort, row_name),
    case when catalog.is_descending(sort) then '<' else '>' end,
    (select string_agg(case when sort in ('price', '-price') and n = 2 then format('%L::numeric', value)
      else quote_literal(value) end, ', ' order by n) from jsonb_array_elements_text(key) with ordinality e(value, n))) end
$$;

-- The next `most` products after `key`, of a collection or of the catalog, along an index. By price it reads only the
-- given range, and only one currency if it is given; other orders ignore both. `only_status` null: both, each from its
-- own part of the index. Runs as fusion_search (see the migration) and names the tenant itself.
create or replace function catalog.walk_products(in_collection varchar, sort text, only_status varchar,
  only_currency varchar, low numeric, high numeric, after_key jsonb, most integer)
returns table (id varchar, key jsonb)
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp set enable_sort = off
set enable_seqscan = off set enable_bitmapscan = off as $$
declare
  tenant constant varchar := platform.proven_tenant('catalog:read');
  by_price constant boolean := sort in ('price', '-price');
  descending constant boolean := catalog.is_descending(sort);
  -- Of one currency after the other, because a range of prices of all currencies is not one part of the index.
  each_currency constant boolean := by_price and only_currency is null and num_nonnulls(low, high) > 0;
  source constant text := case when in_collection is null
    then format('from (select p.id, p.status, p.currency, p.price, p.name from catalog.products p where p.tenant_id = %L) r',
      tenant)
    else format('from (select c.product_id as id, c.status, c.currency, c.price, c.name from catalog.collection_products c
      where c.collection_id = %L and c.tenant_id = %L) r', in_collection, tenant) end;
  statuses constant varchar[] := case when only_status is null then array['active', 'archived'] else array[only_status] end;
  in_range constant text := case when by_price and low is not null then format(' and r.price >= %s', low) else '' end
    || case when by_price and high is not null then format(' and r.price <= %s', high) else '' end;
  currency varchar := case when by_price then only_currency end;
  remaining integer := most;
  added integer;
begin
  loop
    if each_currency then
      execute format('select %s(n.currency) from unnest(%L::varchar[]) s(status), lateral (select r.currency %s
          where r.status = s.status and r.currency %s %L order by r.currency %s limit 1) n',
        case when descending then 'max' else 'min' end, statuses, source,
        case when descending then '<' else '>' end || case when currency is null then '=' else '' end,
        coalesce(currency, after_key->>0, case when descending then 'ZZZ' else '' end),
        case when descending then 'desc' else 'asc' end) into currency;
      exit when currency is null;
    end if;
    return query execute (select format('select r.id, %s from (%s) r order by %s limit %s', catalog.sort_key(sort, 'r'),
        string_agg(format('(select r.* %s where r.status = %L%s%s and %s order by %s limit %s)', source, s,
          case when currency is null then '' else format(' and r.currency = %L', currency) end, in_range, catalog.after_key(sort, 'r', after_key),
          catalog.sort_order(sort, 'r'), remaining), ' union all '), catalog.sort_order(sort, 'r'), remaining)
      from unnest(statuses) s);
    get diagnostics added = row_count;
    remaining := remaining - added;
    exit when remaining <= 0 or not each_currency;
  end loop;
end
$$;

call platform.set_owner('catalog', 'fusion_catalog');
grant create on schema catalog to fusion_search;
alter function catalog.walk_products owner to fusion_search;
revoke create on schema catalog from fusion_search;

grant execute on function catalog.sort_columns, catalog.is_descending, catalog.sort_order, catalog.sort_key,
  catalog.after_key to fusion_search, fusion_reader;
grant execute on function catalog.walk_products to fusion_reader;
