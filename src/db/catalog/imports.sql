-- requires: platform/access.sql, platform/events.sql, inventory/stock.sql, catalog/products.sql
-- The import of products: many in one call.

-- One batch of an import. `input`: {rows: [{id, sku, name, description, price, currency, inventory, status}], run?,
-- key?, last?}, each SKU once; `last` ends the run. Returns {results: [{sku, outcome: created|updated|invalid, detail?,
-- repeated?}]} in order; emits product.created, product.updated and product.archived. An existing SKU is updated:
-- fields that the row leaves out, and the archived status, stay. A count is not set again if a run of the last 24 hours
-- has set it for this SKU and was interrupted or had the same idempotency key, even if a later run has set another
-- count: units may have been sold since.
create or replace function catalog.import_products(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  results jsonb;
  violated text;
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
  begin
    with row as (
      select r.ord, r.item, r.item->>'sku' as sku from jsonb_array_elements(input->'rows') with ordinality r(item, ord)
    ), existing as (
      select p.old, (p.old).* from (select row.sku from row order by row.sku) wanted
      cross join lateral ( -- `limit 1` keeps this a lookup by the unique index for each row
        select c as old from catalog.products c
        where c.tenant_id = (select platform.tenant()) and c.sku = wanted.sku limit 1 for update
      ) p
    ), merged as (
      select row.ord, row.sku, coalesce(k.id, row.item->>'id') as id, coalesce(row.item->>'name', k.name) as name,
        case when row.item ? 'description' then row.item->>'description' else k.description end as description,
        coalesce((row.item->>'price')::numeric, k.price) as price,
        coalesce(row.item->>'currency', k.currency) as currency, row.item ?| array['price', 'currency'] as priced,
        coalesce(row.item->>'status', k.status, 'active') as status,
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
    ), restored as ( -- an archived variant comes back, unless another one has its options by now
      select m.sku, row_number() over (partition by (m.old).group_id, (m.old).options order by m.ord) > 1
        or exists (select from catalog.products o where o.group_id = (m.old).group_id and o.options = (m.old).options
          and o.status = 'active') as is_taken
      from counted m where (m.old).group_id is not null and (m.old).status = 'archived' and m.status = 'active'
    ), validated as (
      select m.*, i.quantity as stock,
        case when m.repeated then null when m.is_new then coalesce(m.count, 0) else m.count end as inventory,
        case
        when m.name is null or m.price is null or m.currency is null then 'A new product needs name, price and currency.'
        when not catalog.fits_currency(m.price, m.currency)
          then format('%s has no decimals: %s does not fit', m.currency, m.price)
        when not catalog.fits_currency((m.old).compare_at_price, m.currency)
          then format('%s has no decimals: the compareAtPrice %s does not fit', m.currency, (m.old).compare_at_price)
        when (select r.is_taken from restored r where r.sku = m.sku)
          then 'Another product of its group has the same options.'
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
            import_repeats = case when excluded.import_run is null then p.import_repeats
              else excluded.import_repeats end,
            version = platform.next_version(p.version), updated_at = excluded.updated_at
      returning p as product
    )
    select jsonb_agg(jsonb_build_object('sku', j.sku, 'fault', j.fault, 'inventory', j.inventory,
      'repeated', j.repeated or null, 'created', w.version = 1, 'raced', j.is_new and w.version > 1,
      'collected', case when w.collections <> '{}' then w.id end, 'event', w.event,
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
    if violated <> 'products_variant_unique' then
      raise;
    end if;
    -- A variant with these options was added meanwhile. The Worker repeats the batch, which then rejects the line.
    raise exception using errcode = 'serialization_failure', message = 'a variant of this batch was added meanwhile';
  end;
  if results @> '[{"raced": true}]' then
    -- Created since this statement began, so it was neither locked nor validated. The Worker repeats the batch.
    raise exception using errcode = 'serialization_failure', message = 'a product of this batch was created meanwhile';
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

grant execute on function catalog.import_products to fusion_worker;
