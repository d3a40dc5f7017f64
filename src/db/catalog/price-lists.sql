-- requires: platform/access.sql, platform/currencies.sql, platform/events.sql, catalog/products.sql
-- Price lists and their prices. orders/prices.sql chooses among them. Every write locks its list first.

-- A price list as the API shows it. Writes add `version`, for the ETag.
create or replace function catalog.price_list_json(l catalog.price_lists) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', l.id, 'name', l.name, 'currency', l.currency, 'startsAt', platform.iso(l.starts_at),
    'endsAt', platform.iso(l.ends_at), 'audience', case l.audience when 'all' then to_jsonb('all'::text)
      when 'group' then jsonb_build_object('customerGroup', l.audience_id)
      else jsonb_build_object('organizationId', l.audience_id) end,
    'priceCount', l.price_count, 'createdAt', platform.iso(l.created_at), 'updatedAt', platform.iso(l.updated_at))
$$;

-- Emits price-list.updated. `change`: created, changed, prices or deleted.
create or replace function catalog.report_price_list(l catalog.price_lists, change text, changed integer) returns void
language sql as $$
  select platform.emit('price-list.updated', l.id,
    catalog.price_list_json(l) || jsonb_build_object('change', change, 'changedPrices', changed), false)
$$;

-- Locks a list for a change. Raises not_found, version_mismatch.
create or replace function catalog.lock_price_list(list_id varchar, versions jsonb) returns catalog.price_lists
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  list catalog.price_lists;
begin
  select * into list from catalog.price_lists l where l.id = list_id for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not versions @> to_jsonb(list.version) then
    perform platform.fail('version_mismatch');
  end if;
  return list;
end
$$;

-- `input`: {id, name, currency, startsAt?, endsAt?, audience: all|group|organization, audienceId?}. Emits
-- price-list.updated.
create or replace function catalog.create_price_list(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'priceLists.create');
  list catalog.price_lists;
begin
  if replay is not null then
    return replay;
  end if;
  insert into catalog.price_lists (id, tenant_id, name, currency, starts_at, ends_at, audience, audience_id, created_at,
    updated_at)
  values (input->>'id', platform.tenant(), input->>'name', input->>'currency', (input->>'startsAt')::timestamptz,
    (input->>'endsAt')::timestamptz, input->>'audience', input->>'audienceId', platform.clock(), platform.clock())
  returning * into list;
  perform catalog.report_price_list(list, 'created', 0);
  return platform.leave(call, 'priceLists.create',
    catalog.price_list_json(list) || jsonb_build_object('version', list.version));
end
$$;

-- `input`: {id, ifMatch?: [version], change: {name?, startsAt?, endsAt?, audience?, audienceId?}}; `audience` comes
-- with its `audienceId`. Raises not_found, version_mismatch. Returns the error validation_failed if the list would end
-- before it starts. Emits price-list.updated.
create or replace function catalog.update_price_list(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'priceLists.update');
  change jsonb := input->'change';
  list catalog.price_lists;
begin
  if replay is not null then
    return replay;
  end if;
  list := catalog.lock_price_list(input->>'id', input->'ifMatch');
  list.name := coalesce(change->>'name', list.name);
  if change ? 'startsAt' then
    list.starts_at := change->>'startsAt';
  end if;
  if change ? 'endsAt' then
    list.ends_at := change->>'endsAt';
  end if;
  if change ? 'audience' then
    list.audience := change->>'audience';
    list.audience_id := change->>'audienceId';
  end if;
  if list.ends_at <= list.starts_at then
    return platform.leave(call, 'priceLists.update', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/endsAt', 'detail', 'must be after startsAt'))));
  end if;
  update catalog.price_lists l
  set name = list.name, starts_at = list.starts_at, ends_at = list.ends_at, audience = list.audience,
      audience_id = list.audience_id, version = platform.next_version(l.version), updated_at = platform.clock()
  where l.id = list.id
  returning * into list;
  perform catalog.report_price_list(list, 'changed', 0);
  return platform.leave(call, 'priceLists.update',
    catalog.price_list_json(list) || jsonb_build_object('version', list.version));
end
$$;

-- Why prices cannot be stored in a list, as an error result; null if they can be. An archived product may have prices.
create or replace function catalog.price_faults(list catalog.price_lists, skus text[], prices numeric[]) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  unknown jsonb;
  misfit jsonb;
begin
  select jsonb_agg(jsonb_build_object('pointer', format('/prices/%s/sku', w.ord - 1),
      'detail', format('There is no product with SKU "%s".', w.sku)) order by w.ord)
    filter (where p.found is null),
    jsonb_agg(jsonb_build_object('pointer', format('/prices/%s/price', w.ord - 1),
      'detail', format('%s has no decimals: %s does not fit.', list.currency, w.price)) order by w.ord)
    filter (where not catalog.fits_currency(w.price, list.currency))
  into unknown, misfit
  from unnest(skus, prices) with ordinality w(sku, price, ord)
  left join lateral ( -- `limit 1` keeps this a lookup by the unique index for each price
    select true as found from catalog.products c where c.tenant_id = list.tenant_id and c.sku = w.sku limit 1
  ) p on true
  where w.price is not null;
  return case when unknown is not null then jsonb_build_object('error', 'unknown_sku', 'errors', unknown)
    when misfit is not null then jsonb_build_object('error', 'validation_failed', 'errors', misfit) end;
end
$$;

-- Tells orders that these SKUs have prices in a list. Locks the products by id.
create or replace function catalog.note_list_prices(tenant varchar, skus text[], prices numeric[]) returns void
language sql as $$
  update catalog.products p set has_list_prices = true
  where p.id = any(array(
    select l.id from (
      select c.id from (select distinct w.sku from unnest(skus, prices) w(sku, price) where w.price is not null) w
      cross join lateral ( -- `limit 1` keeps this a lookup by the unique index for each SKU
        select o.id from catalog.products o where o.tenant_id = tenant and o.sku = w.sku limit 1
      ) c order by c.id
    ) c
    cross join lateral (
      select o.id from catalog.products o where o.id = c.id and not o.has_list_prices limit 1 for no key update
    ) l))
$$;

-- Sets and removes prices of a list. `input`: {id, ifMatch?: [version], prices: [{sku, minQuantity, price}]}, each SKU
-- and minQuantity once; a null price removes. Raises not_found, version_mismatch. Returns the errors unknown_sku,
-- validation_failed (decimals; more than 100,000 prices: price_lists_price_count). Emits price-list.updated if a price
-- changes. No hash or merge joins, so that each price is looked up, however many the list has.
create or replace function catalog.set_prices(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'priceLists.setPrices');
  skus constant text[] := array(select p->>'sku' from jsonb_array_elements(input->'prices') p);
  quantities constant integer[] := array(select (p->>'minQuantity')::int from jsonb_array_elements(input->'prices') p);
  prices constant numeric[] := array(select (p->>'price')::numeric from jsonb_array_elements(input->'prices') p);
  most constant integer := 100000;
  list catalog.price_lists;
  fault jsonb;
  added integer;
  changed integer;
begin
  if replay is not null then
    return replay;
  end if;
  list := catalog.lock_price_list(input->>'id', input->'ifMatch');
  fault := catalog.price_faults(list, skus, prices);
  if fault is not null then
    return platform.leave(call, 'priceLists.setPrices', fault);
  end if;
  select count(*) filter (where w.price is not null and p.price is null)
      - count(*) filter (where w.price is null and p.price is not null), count(*) filter (where w.price is distinct from p.price)
  into added, changed
  from unnest(skus, quantities, prices) w(sku, min_quantity, price)
  left join catalog.prices p on p.list_id = list.id and p.sku = w.sku and p.min_quantity = w.min_quantity;
  if list.price_count + added > most then
    return platform.leave(call, 'priceLists.setPrices', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/prices',
        'detail', format('The list would have %s prices: at most %s fit.', list.price_count + added, most)))));
  end if;
  if changed > 0 then
    delete from catalog.prices p using unnest(skus, quantities, prices) w(sku, min_quantity, price)
    where p.list_id = list.id and p.sku = w.sku and p.min_quantity = w.min_quantity and w.price is null;
    perform catalog.note_list_prices(list.tenant_id, skus, prices);
    insert into catalog.prices as p (tenant_id, list_id, sku, min_quantity, price)
    select list.tenant_id, list.id, w.sku, w.min_quantity, w.price
    from unnest(skus, quantities, prices) w(sku, min_quantity, price) where w.price is not null
    on conflict on constraint prices_once do update set price = excluded.price where p.price <> excluded.price;
    update catalog.price_lists l
    set price_count = l.price_count + added, version = platform.next_version(l.version), updated_at = platform.clock()
    where l.id = list.id
    returning * into list;
    perform catalog.report_price_list(list, 'prices', changed);
  end if;
  return platform.leave(call, 'priceLists.setPrices',
    catalog.price_list_json(list) || jsonb_build_object('version', list.version));
end
$$;

-- Deletes a list with its prices, 100,000 at most. `input`: {id, ifMatch?: [version]}. Raises not_found,
-- version_mismatch. Emits price-list.updated.
create or replace function catalog.delete_price_list(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'priceLists.delete');
  list catalog.price_lists;
begin
  if replay is not null then
    return replay;
  end if;
  list := catalog.lock_price_list(input->>'id', input->'ifMatch');
  delete from catalog.prices p where p.list_id = list.id;
  delete from catalog.price_lists l where l.id = list.id;
  perform catalog.report_price_list(list, 'deleted', list.price_count);
  return platform.leave(call, 'priceLists.delete', jsonb_build_object('id', list.id));
end
$$;

call platform.set_owner('catalog', 'fusion_catalog');

grant execute on function catalog.create_price_list, catalog.update_price_list, catalog.set_prices,
  catalog.delete_price_list to fusion_worker;
grant execute on function catalog.price_list_json to fusion_reader;
