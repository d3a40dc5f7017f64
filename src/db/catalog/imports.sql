-- requires: platform/access.sql, platform/events.sql, platform/tenants.sql, inventory/stock.sql, catalog/products.sql, catalog/image-requests.sql, catalog/imported-groups.sql
-- The import of products: many in one call.

-- One batch of an import. `input`: {rows: [{id, sku, name, description, price, currency, inventory, status, slug,
-- weight, taxCategory, compareAtPrice, group, groupName, options, optionNames, collections, images: [{url, alt?}],
-- metadata, retried?}], run?, key?, last?, retries?}, each SKU once; `last` ends the run. Returns {results: [{sku,
-- outcome: created|updated|invalid|again, code?, detail?, repeated?}]} in order, without rows the tenant's {currency};
-- emits product.created, product.updated and product.archived. An existing SKU is updated: fields that the row leaves
-- out, and the archived status, stay. `again`, only with `retries`: the options or slug belong to another row of the
-- batch, which may have given them up: send the row once more with `retried`. A count is not set again if a run of the
-- last 24 hours has set it for this SKU and was interrupted or had the same idempotency key, even if a later run has
-- set another count: units may have been sold since.
create or replace function catalog.import_products(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  results jsonb;
  violated text;
  run_id constant varchar := input->>'run';
  same_runs text[];
  named_groups jsonb := '{"ids": {}, "locked": [], "created": []}';
  named_collections jsonb := '{"ids": {}, "created": []}';
begin
  perform platform.identify(call, 'catalog:write');
  if input->'rows' = '[]' then
    return jsonb_build_object('tenant', platform.tenant(), 'replayed', false, 'answer',
      jsonb_build_object('results', '[]'::jsonb, 'currency', platform.tenant_currency()));
  end if;
  -- One import of a tenant at a time: two batches that write the same SKUs in different orders would deadlock. This
  -- lock comes first, then groups, collections and products by id, then stock by SKU.
  perform pg_advisory_xact_lock(hashtextextended(platform.tenant() || ' import', 0));
  insert into catalog.import_runs (id, tenant_id, key, created_at)
  select run_id, platform.tenant(), input->>'key', platform.clock() where run_id is not null
  on conflict (id) do nothing;
  same_runs := array(select r.id from catalog.import_runs r
    where r.tenant_id = platform.tenant() and r.created_at > platform.clock() - interval '24 hours'
      and run_id is not null and (r.ended_at is null or r.key = input->>'key'));
  if jsonb_path_exists(input, '$.rows[*].group') or jsonb_path_exists(input, '$.rows[*].options') then
    named_groups := catalog.import_groups(input->'rows');
  end if;
  if jsonb_path_exists(input, '$.rows[*].collections') then
    named_collections := catalog.import_collections(input->'rows');
  end if;
  begin
    with row as (
      select r.ord, r.item, r.item->>'sku' as sku from jsonb_array_elements(input->'rows') with ordinality r(item, ord)
    ), existing as (
      select p.old, (p.old).* from (
        select c.id from row
        cross join lateral ( -- `limit 1` keeps this a lookup by the unique index for each row
          select c.id from catalog.products c
          where c.tenant_id = (select platform.tenant()) and c.sku = row.sku limit 1
        ) c order by c.id
      ) wanted
      cross join lateral (select c as old from catalog.products c where c.id = wanted.id limit 1 for update) p
    ), merged as (
      select row.ord, row.sku, row.item, coalesce(k.id, row.item->>'id') as id,
        coalesce(row.item->>'name', k.name) as name,
        case when row.item ? 'description' then row.item->>'description' else k.description end as description,
        coalesce((row.item->>'price')::numeric, k.price) as price,
        coalesce(row.item->>'currency', k.currency) as currency, row.item ?| array['price', 'currency'] as priced,
        coalesce(row.item->>'status', k.status, 'active') as status,
        row.item ?| array['group', 'options'] as regrouped,
        case when row.item ? 'group' then named_groups->'ids'->>(row.item->>'group') else k.group_id end as group_id,
        coalesce(row.item->'options', case when not (row.item ? 'group' and row.item->>'group' is null) then k.options end,
          '{}') as options,
        case when row.item ? 'slug' then row.item->>'slug' else k.slug end as slug,
        case when row.item ? 'weight' then (row.item->>'weight')::int else k.weight end as weight,
        case when row.item ? 'taxCategory' then row.item->>'taxCategory' else k.tax_category end as tax_category,
        case when row.item ? 'compareAtPrice' then (row.item->>'compareAtPrice')::numeric
          else k.compare_at_price end as compare_at_price,
        case when row.item ? 'collections' then array(select distinct named_collections->'ids'->>c
            from jsonb_array_elements_text(row.item->'collections') c order by 1)::varchar[]
          else coalesce(k.collections, '{}') end as collections,
        coalesce(row.item->'metadata', k.metadata, '{}') as metadata,
        (row.item->>'inventory')::int as count, k.import_run, k.id is null as is_new, k.old,
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
    ), checked as (
      select m.*, i.quantity as stock,
        case when m.repeated then null when m.is_new then coalesce(m.count, 0) else m.count end as inventory,
        case
        when m.name is null or m.price is null or m.currency is null then 'A new product needs name, price and currency.'
        when not catalog.fits_currency(m.price, m.currency)
          then format('%s has no decimals: %s does not fit', m.currency, m.price)
        when not catalog.fits_currency(m.compare_at_price, m.currency)
          then format('%s has no decimals: the compareAtPrice %s does not fit', m.currency, m.compare_at_price)
        when m.priced and platform.charge_limits(m.currency) is null then format('Stripe cannot charge %s.', m.currency)
        when not m.repeated and not inventory.is_count_allowed(m.count, i.quantity, i.reserved)
          then format('The count, with the units that orders hold, must not exceed %s.', inventory.max_units())
        when m.regrouped then catalog.option_fault(m.group_id, m.item->>'group', m.options)
        end as fault
      from counted m
      left join lateral (
        select s.quantity, s.reserved from inventory.inventory s
        where s.tenant_id = platform.tenant() and s.sku = m.sku limit 1
      ) i on true
    ), moved as ( -- rows that take options or a slug, or join a group
      select m.ord, m.sku, m.id, m.group_id, m.options, m.slug,
        m.group_id is not null and m.status = 'active' and (m.is_new or (m.old).status <> 'active'
          or (m.old).group_id is distinct from m.group_id or (m.old).options <> m.options) as takes_options,
        m.slug is not null and (m.is_new or (m.old).slug is distinct from m.slug) as takes_slug,
        m.group_id is not null and (m.is_new or (m.old).group_id is distinct from m.group_id) as joins
      from checked m where m.fault is null and (m.group_id is not null or m.slug is not null)
    ), holder as ( -- the products, or earlier rows, that have these already
      select m.ord, coalesce(o.sku, case when m.takes_options then nullif(first_value(m.sku)
          over (partition by m.takes_options, m.group_id, m.options order by m.ord), m.sku) end) as of_options,
        coalesce(s.sku, case when m.takes_slug then nullif(first_value(m.sku)
          over (partition by m.takes_slug, m.slug order by m.ord), m.sku) end) as of_slug,
        m.joins and 250 < count(*) filter (where m.joins) over (partition by m.group_id order by m.ord)
          + (select count(*) from catalog.products c where c.group_id = m.group_id) as is_full
      from moved m
      left join lateral (select o.sku from catalog.products o where m.takes_options and o.group_id = m.group_id
        and o.options = m.options and o.status = 'active' and o.id <> m.id limit 1) o on true
      left join lateral (select s.sku from catalog.products s where m.takes_slug
        and s.tenant_id = (select platform.tenant()) and s.slug = m.slug and s.id <> m.id limit 1) s on true
    ), validated as (
      select m.*, coalesce(m.fault, case
          when h.is_full then 'A product group has at most 250 products, archived ones included.'
          when h.of_options is not null then format('The product %s of this group has the same options.', h.of_options)
          when h.of_slug is not null then format('The product %s has the slug %s.', h.of_slug, m.slug) end) as reason,
        case when h.is_full then null when h.of_options is not null then 'variant_taken'
          when h.of_slug is not null then 'slug_taken' end as code,
        (input->>'retries')::boolean and not m.item ? 'retried'
          and exists (select from row r where r.sku in (h.of_options, h.of_slug)) as again
      from checked m
      left join holder h on h.ord = m.ord
    ), written as (
      insert into catalog.products as p
        (id, sku, name, description, price, currency, tenant_id, status, created_at, updated_at, group_id, options, slug,
         weight, tax_category, compare_at_price, collections, metadata, import_run, import_counts, import_before,
         import_repeats)
      select j.id, j.sku, j.name, j.description, j.price, j.currency, platform.tenant(), j.status, platform.clock(),
        platform.clock(), j.group_id, j.options, j.slug, j.weight, j.tax_category, j.compare_at_price, j.collections,
        j.metadata, case when j.count is not null then run_id end,
        case when j.repeated then j.set_now else j.set_now || j.count end, j.set_before,
        case when j.set_before is not null then j.repeats end
      from validated j where j.reason is null order by j.sku
      on conflict on constraint products_sku_unique do update
        set name = excluded.name, description = excluded.description, price = excluded.price,
            currency = excluded.currency, status = excluded.status, group_id = excluded.group_id,
            options = excluded.options, slug = excluded.slug, weight = excluded.weight,
            tax_category = excluded.tax_category, compare_at_price = excluded.compare_at_price,
            collections = excluded.collections, metadata = excluded.metadata,
            import_run = coalesce(excluded.import_run, p.import_run),
            import_counts = case when excluded.import_run is null then p.import_counts else excluded.import_counts end,
            import_before = case when excluded.import_run is null then p.import_before else excluded.import_before end,
            import_repeats = case when excluded.import_run is null then p.import_repeats
              else excluded.import_repeats end,
            version = platform.next_version(p.version), updated_at = excluded.updated_at
      returning p as product
    )
    select jsonb_agg(jsonb_build_object('sku', j.sku, 'id', j.id, 'fault', j.reason, 'code', j.code, 'again', j.again,
      'inventory', j.inventory, 'repeated', j.repeated or null, 'created', w.version = 1,
      'raced', j.is_new and w.version > 1
        or j.reason is null and j.regrouped and j.group_id is not null and not named_groups->'locked' ? j.group_id,
      'sorted', j.reason is null and j.item ? 'collections', 'collected', case when w.collections <> '{}' then w.id end,
      'images', case when j.reason is null then j.item->'images' end, 'event', w.event,
      'product', case when w.event is not null then catalog.product_json(w.product, coalesce(j.inventory, j.stock)) end)
      order by j.ord)
    into results
    from validated j
    left join lateral (
      select r.product, (r.product).id, (r.product).version, (r.product).collections,
        case when (r.product).version = 1 then 'product.created'
          else catalog.topic_of_change(j.old, r.product) end as event
      from written r where (r.product).sku = j.sku
    ) w on true;
  exception when unique_violation then
    get stacked diagnostics violated = constraint_name;
    if violated not in ('products_variant_unique', 'products_slug_unique') then
      raise;
    end if;
    -- A product took these options or this slug meanwhile. The Worker repeats the batch, which then rejects the line.
    raise exception using errcode = 'serialization_failure', message = 'what a row of this batch takes was taken meanwhile';
  end;
  if results @> '[{"raced": true}]' then
    -- Created, or moved to another group, since this call began: it was not locked or not validated. The Worker repeats
    -- the batch.
    raise exception using errcode = 'serialization_failure', message = 'a product of this batch was changed meanwhile';
  end if;
  if results @> '[{"sorted": true}]' then
    perform catalog.save_memberships(array(select r->>'id' from jsonb_array_elements(results) r
      where (r->>'sorted')::boolean));
  end if;
  perform catalog.copy_to_collections(array(select r->>'collected' from jsonb_array_elements(results) r
    where r->'collected' <> 'null'));
  perform inventory.upsert_stock(
    array(select r->>'sku' from jsonb_array_elements(results) r
          where r->'inventory' <> 'null' and r->'fault' = 'null' order by r->>'sku'),
    array(select (r->>'inventory')::int from jsonb_array_elements(results) r
          where r->'inventory' <> 'null' and r->'fault' = 'null' order by r->>'sku'));
  perform platform.emit(r->>'event', r->'product'->>'id', r->'product', false)
  from jsonb_array_elements(results) r where r->'event' <> 'null';
  if jsonb_path_exists(results, '$[*].images[*]') then
    perform catalog.request_images((select jsonb_agg(i.item || jsonb_build_object('productId', r.item->'id')
        order by r.ord, i.ord)
      from jsonb_array_elements(results) with ordinality r(item, ord)
      cross join lateral jsonb_array_elements(nullif(r.item->'images', 'null')) with ordinality i(item, ord)));
  end if;
  -- What was created for rejected rows alone goes again.
  if named_groups->'created' <> '[]' then
    delete from catalog.product_groups g where g.id = any(array(select jsonb_array_elements_text(named_groups->'created')))
      and not exists (select from catalog.products p where p.group_id = g.id);
  end if;
  if named_collections->'created' <> '[]' then
    delete from catalog.collections c where c.id = any(array(select jsonb_array_elements_text(named_collections->'created')))
      and not exists (select from catalog.collection_products m where m.collection_id = c.id);
  end if;
  if (input->>'last')::boolean then
    update catalog.import_runs r set ended_at = platform.clock() where r.tenant_id = platform.tenant()
      and r.id = run_id;
    delete from catalog.import_runs r
    where r.tenant_id = platform.tenant() and r.created_at <= platform.clock() - interval '24 hours';
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'replayed', false, 'answer', jsonb_build_object('results', (
    select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('sku', r->>'sku', 'detail', r->>'fault',
      'code', r->>'code', 'repeated', r->'repeated', 'outcome',
      case when (r->>'again')::boolean and r->'fault' <> 'null' then 'again' when r->'fault' <> 'null' then 'invalid'
        when (r->>'created')::boolean then 'created' else 'updated' end)))
    from jsonb_array_elements(results) r)));
end
$$;

call platform.set_owner('catalog', 'fusion_catalog');

grant execute on function catalog.import_products to fusion_worker;
