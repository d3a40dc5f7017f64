-- requires: platform/access.sql, platform/events.sql, catalog/products.sql
-- The product groups and collections that the lines of an import name.

-- The groups that an import names by slug or id.
create or replace function catalog.find_groups(names text[]) returns table (name text, id varchar)
language sql stable as $$
  select n.name, coalesce((select g.id from catalog.product_groups g where g.id = n.name),
    (select g.id from catalog.product_groups g where g.tenant_id = (select platform.tenant()) and g.slug = n.name))
  from unnest(names) n(name)
$$;

-- The product groups that the rows of an import name, and those of rows that only change the options. Creates missing
-- ones with the options of the first row that names options. Locks all of them, so that their options stay and their
-- products are counted. Returns {ids: {<slug or id>: id}, locked: [id], created: [id]}.
create or replace function catalog.import_groups(rows jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  named constant text[] := array(select distinct r->>'group' from jsonb_array_elements(rows) r where r->>'group' is not null);
  kept constant varchar[] := array(select p.group_id from jsonb_array_elements(rows) r
    cross join lateral (select c.group_id from catalog.products c
      where c.tenant_id = (select platform.tenant()) and c.sku = r->>'sku' limit 1) p
    where r ? 'options' and not r ? 'group' and p.group_id is not null);
  created varchar[];
  locked varchar[];
begin
  -- Before the inserts: who changes one of these groups may then wait for a slug that is inserted here.
  perform 1 from catalog.product_groups g
  where g.id = any(kept || array(select f.id from catalog.find_groups(named) f)) order by g.id for update;
  with first as (
    select distinct on (r.item->>'group') r.item->>'group' as slug, r.item->>'groupName' as name,
      array(select jsonb_array_elements_text(r.item->'optionNames')) as options
    from jsonb_array_elements(rows) with ordinality r(item, ord)
    where r.item->>'group' is not null and r.item ? 'optionNames' order by 1, r.ord
  ), added as (
    insert into catalog.product_groups (id, tenant_id, name, slug, options, created_at, updated_at)
    select platform.uuid7(), platform.tenant(), coalesce(f.name, f.slug), f.slug, f.options, platform.clock(),
      platform.clock()
    from first f join catalog.find_groups(named) n on n.name = f.slug where n.id is null order by f.slug
    on conflict (tenant_id, slug) where slug is not null do nothing
    returning id
  )
  select array(select a.id from added a) into created;
  locked := array(select g.id from catalog.product_groups g
    where g.id = any(kept || array(select f.id from catalog.find_groups(named) f)) order by g.id for update);
  return jsonb_build_object('locked', to_jsonb(locked), 'created', to_jsonb(created), 'ids', coalesce(
    (select jsonb_object_agg(f.name, f.id) from catalog.find_groups(named) f where f.id = any(locked)), '{}'));
end
$$;

-- The collections that an import names by slug or id.
create or replace function catalog.find_collections(names text[]) returns table (name text, id varchar)
language sql stable as $$
  select n.name, coalesce((select c.id from catalog.collections c where c.id = n.name),
    (select c.id from catalog.collections c where c.tenant_id = (select platform.tenant()) and c.slug = n.name))
  from unnest(names) n(name)
$$;

-- The collections that the rows of an import name. Creates missing ones, whose name is their slug. Locks all of them
-- against deletion. Returns {ids: {<slug or id>: id}, created: [id]}.
create or replace function catalog.import_collections(rows jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  named constant text[] := array(select distinct c from jsonb_array_elements(rows) r
    cross join lateral jsonb_array_elements_text(r->'collections') c);
  created varchar[];
  locked varchar[];
begin
  -- Before the inserts, as for groups.
  perform 1 from catalog.collections c
  where c.id = any(array(select f.id from catalog.find_collections(named) f)) order by c.id for key share;
  with added as (
    insert into catalog.collections (id, tenant_id, name, slug, created_at, updated_at)
    select platform.uuid7(), platform.tenant(), f.name, f.name, platform.clock(), platform.clock()
    from catalog.find_collections(named) f where f.id is null order by f.name
    on conflict (tenant_id, slug) where slug is not null do nothing
    returning id
  )
  select array(select a.id from added a) into created;
  locked := array(select c.id from catalog.collections c
    where c.id = any(array(select f.id from catalog.find_collections(named) f)) order by c.id for key share);
  if exists (select from catalog.find_collections(named) f where f.id = any(locked) is not true) then
    raise exception using errcode = 'serialization_failure', message = 'a collection was deleted meanwhile';
  end if;
  return jsonb_build_object('created', to_jsonb(created),
    'ids', coalesce((select jsonb_object_agg(f.name, f.id) from catalog.find_collections(named) f), '{}'));
end
$$;

-- Makes the rows of catalog.collection_products those of products.collections, for locked products.
create or replace function catalog.save_memberships(product_ids varchar[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
  delete from catalog.collection_products m using catalog.products p
  where m.product_id = any(product_ids) and p.id = m.product_id and m.collection_id <> all(p.collections);
  insert into catalog.collection_products
    (tenant_id, collection_id, product_id, status, currency, price, name, group_id)
  select p.tenant_id, c.id, p.id, p.status, p.currency, p.price, p.name, p.group_id
  from catalog.products p cross join lateral unnest(p.collections) c(id)
  where p.id = any(product_ids)
  on conflict on constraint collection_products_once do nothing;
end
$$;

-- What is wrong with the options of a product in its group; null if nothing is. `named`: the group as the row names it.
create or replace function catalog.option_fault(group_id varchar, named text, chosen jsonb) returns text
language sql stable as $$
  select case
    when group_id is null and named is not null
      then format('There is no product group %s, and a new one needs options.', named)
    when group_id is null then case when chosen <> '{}' then 'options needs a group.' end
    else (select case when not (chosen ?& g.options and (select count(*) from jsonb_object_keys(chosen))
          = cardinality(g.options))
        then format('The product group %s has the options %s, and the line has %s.', coalesce(g.slug, g.id),
          array_to_string(g.options, ', '),
          coalesce((select string_agg(o, ', ' order by o) from jsonb_object_keys(chosen) o), 'none')) end
      from catalog.product_groups g where g.id = option_fault.group_id) end
$$;

call platform.set_owner('catalog', 'fusion_catalog');
