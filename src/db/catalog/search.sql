-- requires: platform/access.sql, catalog/products.sql
-- The product search. It returns the newest matches first, and a GIN index has no order: reading all matches of a
-- common word and sorting them takes longer as the catalog grows. So each entry of idx_products_search_newest also says
-- when the product was created and whether it is in a sample. The matches in the sample show how far back to read.

-- What the index knows about a product beside its words: its tenant, its currency, the samples that it is in, and when
-- it was created, in ranges from 2 years (3 digits of the UUIDv7) to 65 seconds (8 digits). Hashes, because they are
-- computed for each product that is read. This is the expression of the index: to change it, build another one first.
create or replace function catalog.search_product_keys(tenant_id varchar, id varchar, currency varchar) returns bigint[]
language sql immutable as $$
  select array[hashtextextended('', hashtext(tenant_id)), hashtextextended(currency, hashtext(tenant_id)),
    hashtextextended(case when right(id, 3) = '000' then '*' else '' end, hashtext(tenant_id)),
    hashtextextended(case when right(id, 2) ~ '[02468ace]0' then '**' else '' end, hashtext(tenant_id)),
    hashtextextended(left(id, 3), hashtext(tenant_id)), hashtextextended(left(id, 4), hashtext(tenant_id)),
    hashtextextended(left(id, 5), hashtext(tenant_id)), hashtextextended(left(id, 6), hashtext(tenant_id)),
    hashtextextended(left(id, 7), hashtext(tenant_id)), hashtextextended(left(id, 8), hashtext(tenant_id))]
$$;

-- The key of a currency, a sample or a range.
create or replace function catalog.search_key(tenant varchar, name text) returns bigint
language sql immutable as $$ select hashtextextended(name, hashtext(tenant)) $$;

-- The keys of the ranges of time that cover the ids from `low` (included) to `high`, few and long ones where possible.
-- Both may be prefixes of ids. The range of 65 seconds in which a whole id lies is included. An id that does not begin
-- with hexadecimal digits has no ranges.
create or replace function catalog.search_range_keys(tenant varchar, low varchar, high varchar) returns bigint[]
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  keys bigint[] := '{}';
  first bigint;
  next bigint; -- the number of the range after the last one
  middle bigint;
begin
  if least(length(low), length(high)) < 3 or left(low, 8) || left(high, 8) !~ '^[0-9a-f]+$' then
    return array[catalog.search_key(tenant, '')];
  end if;
  first := ('x' || rpad(left(low, 8), 8, '0'))::bit(32)::bigint;
  next := ('x' || rpad(left(high, 8), 8, '0'))::bit(32)::bigint + (length(high) > 8)::int;
  -- From both ends: ranges of this length up to where a range of 16 times the length begins.
  for digits in reverse 8..3 loop
    middle := case when digits = 3 then next else least((first + 15) / 16 * 16, next) end;
    keys := keys || array(select catalog.search_key(tenant, lpad(to_hex(n), digits, '0'))
      from generate_series(first, middle - 1) n);
    first := middle;
    middle := greatest(next / 16 * 16, first);
    keys := keys || array(select catalog.search_key(tenant, lpad(to_hex(n), digits, '0'))
      from generate_series(middle, next - 1) n);
    exit when first >= middle;
    first := first / 16;
    next := middle / 16;
  end loop;
  return keys;
end
$$;

-- Ids of products for sale with all of `required` and one of `keys`, from `low` (included) to `before`, that match the
-- words, `pattern` in name or SKU, or `similar_name`; whatever is null matches nothing. Newest first. The index finds a
-- SKU by `sku_part`. Null if `most` products were read, which may not be all. Each kind of match is a query of its own:
-- for an `or` the planner may read every product with the keys, and PostgreSQL checks the keys of each product again.
create or replace function catalog.search_matches(tenant varchar, words tsquery, pattern text, sku_part text,
  similar_name text, required bigint[], keys bigint[], low varchar, before varchar, most integer)
returns varchar[]
language plpgsql stable set search_path = pg_catalog, public, pg_temp set enable_seqscan = off
set plan_cache_mode = force_generic_plan as $$
declare
  hits varchar[];
  candidates bigint;
begin
  select count(*), coalesce(array_agg(c.id order by c.id desc)
    filter (where c.is_match and c.tenant_id = tenant and c.id >= low and c.id < before), '{}')
  into candidates, hits
  from (
    select w.id, w.tenant_id, true as is_match from (select p.id, p.tenant_id from catalog.products p
      where p.status = 'active' and catalog.search_product_keys(p.tenant_id, p.id, p.currency) @> required
        and catalog.search_product_keys(p.tenant_id, p.id, p.currency) && keys and p.search @@ words offset 0) w
    union all
    select n.id, n.tenant_id, n.search @@ words is not true from (select p.id, p.tenant_id, p.search
      from catalog.products p
      where p.status = 'active' and catalog.search_product_keys(p.tenant_id, p.id, p.currency) @> required
        and catalog.search_product_keys(p.tenant_id, p.id, p.currency) && keys and p.name ilike pattern offset 0) n
    union all
    select s.id, s.tenant_id, s.sku ilike pattern and s.search @@ words is not true and s.name not ilike pattern
    from (select p.id, p.tenant_id, p.search, p.name, p.sku from catalog.products p
      where p.status = 'active' and catalog.search_product_keys(p.tenant_id, p.id, p.currency) @> required
        and catalog.search_product_keys(p.tenant_id, p.id, p.currency) && keys and p.sku ilike sku_part offset 0) s
    union all
    select a.id, a.tenant_id, true from (select p.id, p.tenant_id from catalog.products p
      where p.status = 'active' and catalog.search_product_keys(p.tenant_id, p.id, p.currency) @> required
        and catalog.search_product_keys(p.tenant_id, p.id, p.currency) && keys and p.name %> similar_name offset 0) a
    limit most
  ) c;
  return case when candidates < most or most is null then hits end;
end
$$;

-- How many of the newest products are read without the GIN index. They are enough for a page of a common word.
create or replace function catalog.search_window() returns integer language sql immutable as $$ select 250 $$;

-- Ids of this tenant's products for sale, newest first, below `before`, that match as in search_matches. A pattern
-- without three letters in a row, which no index covers, is searched in the newest 1,000 only.
create or replace function catalog.search_newest(words tsquery, pattern text, similar_name text, only_currency varchar,
  before varchar, most integer)
returns varchar[]
language plpgsql stable set search_path = pg_catalog, public, pg_temp set plan_cache_mode = force_custom_plan as $$
declare
  tenant constant varchar := platform.proven_tenant('catalog:read');
  indexed_pattern constant text := case when pattern ~ '[[:alnum:]]{3}' then pattern end;
  is_indexed constant boolean := pattern is null or indexed_pattern is not null;
  -- A long number is rare, more so than the letters before it in many SKUs.
  number constant text := '%' || substring(indexed_pattern from '[0-9]{5,}') || '%';
  window_size constant integer := case when is_indexed then catalog.search_window() else 1000 end;
  required constant bigint[] := case when only_currency is null then '{}'
    else array[catalog.search_key(tenant, only_currency)] end;
  newest varchar[]; -- the window, with its matches
  found_ids varchar[];
  sampled varchar[];
  wanted integer; -- matches of the sample: enough for a page at nearly all times
  position varchar; -- everything from here on has been searched
  high varchar;
  low varchar;
  bottom varchar;
  all_keys bigint[]; -- of all products from `bottom` on that the window has not
begin
  -- With `=` the planner would walk all tenants' products by primary key; with `between` it does not.
  select array_agg(w.id order by w.id desc), coalesce(array_agg(w.id order by w.id desc) filter (where w.matches), '{}')
  into newest, found_ids
  from (
    select p.id, p.status = 'active' and (only_currency is null or p.currency = only_currency)
      and (p.search @@ words or p.name ilike pattern or p.sku ilike pattern or p.name %> similar_name) as matches
    from catalog.products p
    where p.tenant_id between tenant and tenant and (before is null or p.id < before)
    order by p.tenant_id, p.id desc limit window_size
  ) w;
  if cardinality(found_ids) >= most or newest[window_size] is null
    or coalesce(words::text, indexed_pattern, similar_name) is null then
    return found_ids[:most];
  end if;

  position := newest[window_size];
  if is_indexed and before is not null then
    -- Continue from where a long range begins: fewer keys.
    for digits in 3..8 loop
      exit when length(position) <= 8;
      position := case when left(newest[window_size / 2], digits) > position then left(newest[window_size / 2], digits)
        else position end;
    end loop;
    found_ids := array(select f from unnest(found_ids) f where f >= position);
  end if;
  -- The newest product of all is in the window, if there is no `before`: no range has to end at `position`.
  high := case when before is null then left(newest[1], 3) || 'fffff-' else position end;
  bottom := left((select p.id from catalog.products p where p.tenant_id between tenant and tenant
    order by p.tenant_id desc, p.id limit 1), 3);
  all_keys := case when before is null then array[catalog.search_key(tenant, '')]
    else catalog.search_range_keys(tenant, bottom, high) end;
  -- All products that have a long number, unless they turn out to be many.
  sampled := case when number is not null then catalog.search_matches(tenant, words, indexed_pattern, number, null, required,
    all_keys, bottom, position, 300) end;
  while sampled is null loop
    low := bottom;
    -- One product in 4,096, then one in 32 of those newer than the newest match among them.
    for stage in 1..2 loop
      sampled := catalog.search_matches(tenant, words, indexed_pattern, indexed_pattern, similar_name,
        required || catalog.search_key(tenant, repeat('*', stage)),
        case stage when 1 then array[catalog.search_key(tenant, '*')] else catalog.search_range_keys(tenant, low, high) end,
        low, position, null);
      if stage = 1 and sampled = '{}' then
        -- A rare word: all that have it, unless the sample is wrong.
        sampled := catalog.search_matches(tenant, words, indexed_pattern, indexed_pattern, similar_name, required, all_keys,
          low, position, 300);
        if sampled is not null then
          return (found_ids || sampled)[:most];
        end if;
      end if;
      -- Down to where a long range begins, but past one more match of the sample at most.
      wanted := case stage when 1 then 1 else 2 + most / 16 end;
      for digits in 3..8 loop
        exit when sampled[wanted] is null;
        low := left(sampled[wanted], digits);
        exit when sampled[wanted + stage] is null or sampled[wanted + stage] < low;
      end loop;
    end loop;
    found_ids := found_ids || catalog.search_matches(tenant, words, indexed_pattern, indexed_pattern, similar_name, required,
      catalog.search_range_keys(tenant, low, high), low, position, null);
    if cardinality(found_ids) >= most or low <= bottom then
      return found_ids[:most];
    end if;
    position := low;
    high := low;
    sampled := null;
  end loop;
  return (found_ids || sampled)[:most];
end
$$;

-- What `q` asks for: words for the full text (null if it has none), and a pattern for a part of a name or SKU.
create or replace function catalog.search_terms(q text, out words tsquery, out pattern text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  parsed_query constant tsquery := websearch_to_tsquery('english', q) || websearch_to_tsquery('simple', q);
begin
  -- A query of exclusions alone ("-42") has no word to look up, so it is treated as a part of a SKU.
  words := case when querytree(parsed_query) not in ('', 'T') then parsed_query end;
  pattern := '%' || regexp_replace(nullif(btrim(q), ''), '([\\%_])', '\\\1', 'g') || '%';
end
$$;

-- Ids of products for sale that match `q`, newest first, below `before`: by full text on name, description and SKU
-- (with websearch operators), or by a part of name or SKU. If nothing matches, by names with a similar word. Runs as
-- fusion_search (see the migration) and sets the tenant itself.
create or replace function catalog.search_products(q text, only_currency varchar, before varchar, most integer)
returns setof varchar
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  terms constant record := catalog.search_terms(q);
  -- Not with websearch operators, which ask for exact words, and not without a word that could be misspelt.
  allow_similar constant boolean := q ~ '[[:alnum:]]{3}' and q !~ '"|(^|\s)-\S' and q !~* '\mor\M';
  found_ids varchar[] := catalog.search_newest(terms.words, terms.pattern, null, only_currency, before, most);
begin
  -- A later page must not switch to similar words if the earlier pages had exact matches.
  if found_ids = '{}' and allow_similar
    and (before is null or catalog.search_newest(terms.words, terms.pattern, null, only_currency, null, 1) = '{}') then
    -- One wrong letter removes a larger share of the trigrams from a short word than from several words.
    perform set_config('pg_trgm.word_similarity_threshold', case when q ~ '\s' then '0.6' else '0.4' end, true);
    found_ids := catalog.search_newest(null, null, q, only_currency, before, most);
  end if;
  return query select unnest(found_ids);
end
$$;

call platform.set_owner('catalog', 'fusion_catalog');
grant create on schema catalog to fusion_search;
alter function catalog.search_products owner to fusion_search;
revoke create on schema catalog from fusion_search;

grant execute on function catalog.search_product_keys, catalog.search_key, catalog.search_range_keys,
  catalog.search_matches, catalog.search_window, catalog.search_newest, catalog.search_terms to fusion_search;
grant execute on function catalog.search_products, catalog.search_terms to fusion_reader;
