-- requires: platform/access.sql, platform/currencies.sql, platform/events.sql, inventory/stock.sql
-- The catalog's writes. Each is one call; see platform/access.sql for `call` and the result.

-- A product as the API and product.created show it. Writes add `version`, for the ETag.
create or replace function catalog.product_json(p catalog.products, quantity integer) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', p.id, 'sku', p.sku, 'name', p.name, 'description', p.description, 'price', p.price,
    'currency', p.currency, 'inventory', coalesce(quantity, 0), 'status', p.status, 'groupId', p.group_id,
    'options', p.options, 'slug', p.slug, 'images', p.images, 'weight', p.weight, 'taxCategory', p.tax_category,
    'compareAtPrice', p.compare_at_price, 'collections', p.collections, 'metadata', p.metadata,
    'createdAt', platform.iso(p.created_at), 'updatedAt', platform.iso(p.updated_at))
$$;

create or replace function catalog.fits_currency(price numeric, currency varchar) returns boolean
language sql stable as $$
  select scale(trim_scale(price)) <= platform.currency_decimals(currency)
$$;

-- `input`: {id, sku, name, description, price, currency, inventory}. Emits product.created. Returns the error sku_taken
-- (products_sku_unique).
create or replace function catalog.create_product(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'products.create');
  product catalog.products;
  answer jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  insert into catalog.products (id, sku, name, description, price, currency, tenant_id, created_at, updated_at)
  values (input->>'id', input->>'sku', input->>'name', input->>'description', (input->>'price')::numeric,
          input->>'currency', platform.tenant(), platform.clock(), platform.clock())
  on conflict on constraint products_sku_unique do nothing
  returning * into product;
  if not found then
    return platform.leave(call, 'products.create', jsonb_build_object('error', 'sku_taken'));
  end if;
  perform inventory.upsert_stock(array[product.sku], array[(input->>'inventory')::int]);
  answer := catalog.product_json(product, (input->>'inventory')::int);
  perform platform.emit('product.created', product.id, answer, false);
  return platform.leave(call, 'products.create', answer || jsonb_build_object('version', product.version));
end
$$;

-- `input`: {id, ifMatch?: [version], change: {name?, description?, price?, currency?, status?}}. Raises not_found,
-- version_mismatch. Returns the error validation_failed if the price has decimals that the currency lacks, or if Stripe
-- cannot charge the currency. Locks the product for the version check.
create or replace function catalog.update_product(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'products.update');
  change jsonb := input->'change';
  product catalog.products;
  quantity integer;
begin
  if replay is not null then
    return replay;
  end if;
  select * into product from catalog.products c
    where c.tenant_id = platform.tenant() and c.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not input->'ifMatch' @> to_jsonb(product.version) then
    perform platform.fail('version_mismatch');
  end if;
  product.name := coalesce(change->>'name', product.name);
  product.description := case when change ? 'description' then change->>'description' else product.description end;
  product.price := coalesce((change->>'price')::numeric, product.price);
  product.currency := coalesce(change->>'currency', product.currency);
  product.status := coalesce(change->>'status', product.status);
  if not catalog.fits_currency(product.price, product.currency) then
    return platform.leave(call, 'products.update', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/price', 'detail',
        format('%s has no decimals: %s does not fit', product.currency, product.price)))));
  end if;
  if (change ? 'price' or change ? 'currency') and platform.charge_limits(product.currency) is null then
    return platform.leave(call, 'products.update', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/currency',
        'detail', format('Stripe cannot charge %s.', product.currency)))));
  end if;
  update catalog.products c
  set name = product.name, description = product.description, price = product.price, currency = product.currency,
      status = product.status, version = platform.next_version(c.version), updated_at = platform.clock()
  where c.id = product.id
  returning * into product;
  select i.quantity into quantity from inventory.inventory i where i.tenant_id = product.tenant_id
    and i.sku = product.sku;
  return platform.leave(call, 'products.update',
    catalog.product_json(product, quantity) || jsonb_build_object('version', product.version));
end
$$;

-- One batch of an import. `input`: {rows: [{id, sku, name, description, price, currency, inventory, status}], run?,
-- key?, last?}, each SKU once; `last` ends the run. Returns {results: [{sku, outcome: created|updated|invalid, detail?,
-- repeated?}]} in order; emits product.created. An existing SKU is updated: fields that the row leaves out, and the archived
-- status, stay. A count is not set again if a run of the last 24 hours has set it for this SKU and was interrupted or
-- had the same idempotency key, even if a later run has set another count: units may have been sold since.
create or replace function catalog.import_products(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  results jsonb;
  run_id constant varchar := input->>'run';
  same_runs text[];
begin
  perform platform.identify(call, 'catalog:write');
  -- One import of a tenant at a time: two batches that write the same SKUs in different orders would deadlock. This
  -- lock comes first, then products by SKU, then stock by SKU.
  perform pg_advisory_xact_lock(hashtextextended(platform.tenant() || ' import', 0));
  insert into catalog.import_runs (id, tenant_id, key, created_at)
  select run_id, platform.tenant(), input->>'key', platform.clock() where run_id is not null
  on conflict (id) do nothing;
  same_runs := array(select r.id from catalog.import_runs r
    where r.tenant_id = platform.tenant() and r.created_at > platform.clock() - interval '24 hours'
      and run_id is not null and (r.ended_at is null or r.key = input->>'key'));
  with row as (
    select r.ord, r.item, r.item->>'sku' as sku from jsonb_array_elements(input->'rows') with ordinality r(item, ord)
  ), existing as (
    select p.* from (select row.sku from row order by row.sku) wanted
    cross join lateral ( -- `limit 1` keeps this a lookup by the unique index for each row
      select * from catalog.products c
      where c.tenant_id = (select platform.tenant()) and c.sku = wanted.sku limit 1 for update
    ) p
  ), merged as (
    select row.ord, row.sku, coalesce(k.id, row.item->>'id') as id, coalesce(row.item->>'name', k.name) as name,
      case when row.item ? 'description' then row.item->>'description' else k.description end as description,
      coalesce((row.item->>'price')::numeric, k.price) as price,
      coalesce(row.item->>'currency', k.currency) as currency, row.item ?| array['price', 'currency'] as priced,
      coalesce(row.item->>'status', k.status, 'active') as status,
      (row.item->>'inventory')::int as count, k.import_run, k.id is null as is_new,
      case when k.import_run = run_id then k.import_counts end as set_now,
      case when k.import_run = run_id then k.import_before
        when k.import_run = any(same_runs) then k.import_before || k.import_counts
        -- The last run set another count than the run before it, which broke off.
        when k.import_counts is not null and k.import_repeats = any(same_runs) then k.import_before end as set_before,
      case when k.import_run <> run_id and k.import_run = any(same_runs) then k.import_run
        else k.import_repeats end as repeats
    from row left join existing k on k.sku = row.sku
  ), counted as (
    select m.*, coalesce(m.count = any(m.set_before), false) as repeated from merged m
  ), validated as (
    select m.*, case when m.repeated then null when m.is_new then coalesce(m.count, 0) else m.count end as inventory,
      case
      when m.name is null or m.price is null or m.currency is null then 'A new product needs name, price and currency.'
      when not catalog.fits_currency(m.price, m.currency)
        then format('%s has no decimals: %s does not fit', m.currency, m.price)
      when m.priced and platform.charge_limits(m.currency) is null then format('Stripe cannot charge %s.', m.currency)
      when not m.repeated and not inventory.is_count_allowed(m.count, i.quantity, i.reserved)
        then format('The count, with the units that orders hold, must not exceed %s.', inventory.max_units())
      end as fault
    from counted m
    left join lateral (
      select s.quantity, s.reserved from inventory.inventory s
      where s.tenant_id = platform.tenant() and s.sku = m.sku limit 1
    ) i on true
  ), written as (
    insert into catalog.products as p
      (id, sku, name, description, price, currency, tenant_id, status, created_at, updated_at, import_run,
       import_counts, import_before, import_repeats)
    select j.id, j.sku, j.name, j.description, j.price, j.currency, platform.tenant(), j.status, platform.clock(),
      platform.clock(), case when j.count is not null then run_id end,
      case when j.repeated then j.set_now else j.set_now || j.count end, j.set_before,
      case when j.set_before is not null then j.repeats end
    from validated j where j.fault is null order by j.sku
    on conflict on constraint products_sku_unique do update
      set name = excluded.name, description = excluded.description, price = excluded.price,
          currency = excluded.currency, status = excluded.status,
          import_run = coalesce(excluded.import_run, p.import_run),
          import_counts = case when excluded.import_run is null then p.import_counts else excluded.import_counts end,
          import_before = case when excluded.import_run is null then p.import_before else excluded.import_before end,
          import_repeats = case when excluded.import_run is null then p.import_repeats else excluded.import_repeats end,
          version = platform.next_version(p.version), updated_at = excluded.updated_at
    returning p as product
  )
  select jsonb_agg(jsonb_build_object('sku', j.sku, 'fault', j.fault, 'inventory', j.inventory,
    'repeated', j.repeated or null, 'created', (w.product).version = 1,
    'product', case when (w.product).version = 1 then catalog.product_json(w.product, j.inventory) end) order by j.ord)
  into results
  from validated j left join written w on (w.product).sku = j.sku;
  perform inventory.upsert_stock(
    array(select r->>'sku' from jsonb_array_elements(results) r
          where r->'inventory' <> 'null' and r->'fault' = 'null' order by r->>'sku'),
    array(select (r->>'inventory')::int from jsonb_array_elements(results) r
          where r->'inventory' <> 'null' and r->'fault' = 'null' order by r->>'sku'));
  perform platform.emit('product.created', r->'product'->>'id', r->'product', false)
  from jsonb_array_elements(results) r where (r->>'created')::boolean;
  if (input->>'last')::boolean then
    update catalog.import_runs r set ended_at = platform.clock() where r.tenant_id = platform.tenant()
      and r.id = run_id;
    delete from catalog.import_runs r
    where r.tenant_id = platform.tenant() and r.created_at <= platform.clock() - interval '24 hours';
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'replayed', false, 'answer', jsonb_build_object('results', (
    select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('sku', r->>'sku', 'detail', r->>'fault',
      'repeated', r->'repeated', 'outcome',
      case when r->'fault' <> 'null' then 'invalid' when (r->>'created')::boolean then 'created' else 'updated' end)))
    from jsonb_array_elements(results) r)));
end
$$;

call platform.set_owner('catalog', 'fusion_catalog');

grant execute on function catalog.create_product, catalog.update_product, catalog.import_products to fusion_worker;
grant execute on function catalog.product_json to fusion_reader;
