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

-- The faults of a price with decimals that the currency lacks or, if the price or currency is new (`is_priced`), of a
-- currency that Stripe cannot charge.
create or replace function catalog.price_faults(p catalog.products, is_priced boolean) returns jsonb
language sql stable as $$
  select coalesce(jsonb_agg(jsonb_build_object('pointer', f.pointer, 'detail', f.detail)), '[]')
  from (values
    ('/price', case when not catalog.fits_currency(p.price, p.currency)
      then format('%s has no decimals: %s does not fit', p.currency, p.price) end),
    ('/compareAtPrice', case when not catalog.fits_currency(p.compare_at_price, p.currency)
      then format('%s has no decimals: %s does not fit', p.currency, p.compare_at_price) end),
    ('/currency', case when is_priced and platform.charge_limits(p.currency) is null
      then format('Stripe cannot charge %s.', p.currency) end)
  ) f(pointer, detail) where f.detail is not null
$$;

-- The faults of a product in its group: it has one value for each option of the group, or no options without a group.
-- Locks the group: its options stay as they are, and products join it one at a time, so that the limit holds.
create or replace function catalog.variant_faults(p catalog.products) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  option_names text[] := '{}';
  fault text;
begin
  if p.group_id is not null then
    select g.options into option_names from catalog.product_groups g where g.id = p.group_id for update;
    if not found then
      fault := 'There is no such product group.';
    elsif (select count(*) from catalog.products c where c.group_id = p.group_id and c.id <> p.id) >= 250 then
      fault := 'A product group has at most 250 products, archived ones included.';
    end if;
    if fault is not null then
      return jsonb_build_array(jsonb_build_object('pointer', '/groupId', 'detail', fault));
    end if;
  end if;
  return (select coalesce(jsonb_agg(jsonb_build_object('pointer',
      '/options/' || replace(replace(f.name, '~', '~0'), '/', '~1'), 'detail', f.detail) order by f.name), '[]')
    from (
      select n as name, 'is required: the product group has this option' as detail
      from unnest(option_names) n where not p.options ? n
      union all
      select k, case when p.group_id is null then 'needs a product group'
        else 'is not an option of the product group' end
      from jsonb_object_keys(p.options) k where k <> all(option_names)
    ) f);
end
$$;

-- The API's error for a constraint that a write has violated; null for constraints that no client can violate.
create or replace function catalog.taken_error(constraint_name text) returns jsonb
language sql immutable as $$
  select jsonb_build_object('error', case constraint_name when 'products_sku_unique' then 'sku_taken'
      when 'products_variant_unique' then 'variant_taken' else 'slug_taken' end)
  where constraint_name in ('products_sku_unique', 'products_variant_unique', 'products_slug_unique',
    'product_groups_slug_unique', 'collections_slug_unique')
$$;

-- The units of a product that can still be sold.
create or replace function catalog.quantity_of(p catalog.products) returns integer
language sql stable as $$
  select i.quantity from inventory.inventory i where i.tenant_id = p.tenant_id and i.sku = p.sku
$$;

-- The topic of the event about a change of a product; null if nothing has changed that the event would show.
create or replace function catalog.topic_of_change(before catalog.products, after catalog.products) returns text
language sql stable as $$
  select case
    when catalog.product_json(before, 0) - 'updatedAt' = catalog.product_json(after, 0) - 'updatedAt' then null
    when after.status = 'archived' and before.status is distinct from 'archived' then 'product.archived'
    else 'product.updated' end
$$;

-- Emits product.archived or product.updated. Call it after the product was locked and changed.
create or replace function catalog.emit_change(before catalog.products, after catalog.products) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  topic constant text := catalog.topic_of_change(before, after);
begin
  if topic = 'product.archived' then
    perform platform.emit('product.archived', after.id, catalog.product_json(after, catalog.quantity_of(after)), false);
  elsif topic = 'product.updated' then
    perform platform.emit('product.updated', after.id, catalog.product_json(after, catalog.quantity_of(after)), false);
  end if;
end
$$;

-- Copies what lists of collections are sorted and filtered by to the products' rows there. Call it for locked products
-- and in a statement of its own: it then sees every collection to which they were added before the lock.
create or replace function catalog.copy_to_collections(product_ids varchar[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
  update catalog.collection_products m
  set status = p.status, currency = p.currency, price = p.price, name = p.name, group_id = p.group_id
  from catalog.products p
  where m.product_id = any(product_ids) and p.id = m.product_id
    and (m.status, m.currency, m.price, m.name, m.group_id)
      is distinct from (p.status, p.currency, p.price, p.name, p.group_id);
end
$$;

-- `input`: {id, sku, name, description, price, currency, inventory, groupId?, options?, slug?, weight?, taxCategory?,
-- compareAtPrice?, metadata?}. Emits product.created. Returns the errors sku_taken (products_sku_unique), slug_taken
-- (products_slug_unique), variant_taken (products_variant_unique) and validation_failed. Locks the group.
create or replace function catalog.create_product(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'products.create');
  product catalog.products;
  violated text;
  answer jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  product.id := input->>'id';
  product.group_id := input->>'groupId';
  product.options := coalesce(input->'options', '{}');
  if product.group_id is not null or product.options <> '{}' then
    answer := catalog.variant_faults(product);
    if answer <> '[]' then
      return platform.leave(call, 'products.create',
        jsonb_build_object('error', 'validation_failed', 'errors', answer));
    end if;
  end if;
  begin
    insert into catalog.products (id, sku, name, description, price, currency, tenant_id, created_at, updated_at,
      group_id, options, slug, weight, tax_category, compare_at_price, metadata)
    values (product.id, input->>'sku', input->>'name', input->>'description', (input->>'price')::numeric,
      input->>'currency', platform.tenant(), platform.clock(), platform.clock(), product.group_id, product.options,
      input->>'slug', (input->>'weight')::int, input->>'taxCategory', (input->>'compareAtPrice')::numeric,
      coalesce(input->'metadata', '{}'))
    returning * into product;
  exception when unique_violation then
    get stacked diagnostics violated = constraint_name;
    answer := catalog.taken_error(violated);
    if answer is null then
      raise;
    end if;
    return platform.leave(call, 'products.create', answer);
  end;
  perform inventory.upsert_stock(array[product.sku], array[(input->>'inventory')::int]);
  answer := catalog.product_json(product, (input->>'inventory')::int);
  perform platform.emit('product.created', product.id, answer, false);
  return platform.leave(call, 'products.create', answer || jsonb_build_object('version', product.version));
end
$$;

-- `input`: {id, ifMatch?: [version], change: {name?, description?, price?, currency?, status?, groupId?, options?,
-- slug?, weight?, taxCategory?, compareAtPrice?, metadata?}}. Emits product.updated or product.archived. Raises
-- not_found, version_mismatch. Returns the errors validation_failed, slug_taken (products_slug_unique) and
-- variant_taken (products_variant_unique). Locks the group that the product joins or is in, then the product for the
-- version check.
create or replace function catalog.update_product(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'products.update');
  change jsonb := input->'change';
  is_regrouped constant boolean := input->'change' ?| array['groupId', 'options'];
  new_group varchar := input->'change'->>'groupId';
  before catalog.products;
  product catalog.products;
  faults jsonb := '[]';
  violated text;
begin
  if replay is not null then
    return replay;
  end if;
  if is_regrouped then
    if not change ? 'groupId' then
      select c.group_id into new_group from catalog.products c where c.id = input->>'id';
    end if;
    perform 1 from catalog.product_groups g where g.id = new_group for update; -- groups come before products
  end if;
  select * into before from catalog.products c where c.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not input->'ifMatch' @> to_jsonb(before.version) then
    perform platform.fail('version_mismatch');
  end if;
  product := before;
  product.name := coalesce(change->>'name', product.name);
  product.description := case when change ? 'description' then change->>'description' else product.description end;
  product.price := coalesce((change->>'price')::numeric, product.price);
  product.currency := coalesce(change->>'currency', product.currency);
  product.status := coalesce(change->>'status', product.status);
  product.slug := case when change ? 'slug' then change->>'slug' else product.slug end;
  product.weight := case when change ? 'weight' then (change->>'weight')::int else product.weight end;
  product.tax_category := case when change ? 'taxCategory' then change->>'taxCategory' else product.tax_category end;
  product.compare_at_price := case when change ? 'compareAtPrice' then (change->>'compareAtPrice')::numeric
    else product.compare_at_price end;
  product.metadata := coalesce(change->'metadata', product.metadata);
  if is_regrouped then
    if not change ? 'groupId' and new_group is distinct from product.group_id then
      raise exception using errcode = 'serialization_failure', message = 'the product has joined another group';
    end if;
    product.group_id := new_group;
    product.options := coalesce(change->'options', case when new_group is null then '{}' else product.options end);
    faults := catalog.variant_faults(product);
  end if;
  faults := faults || catalog.price_faults(product, change ?| array['price', 'currency']);
  if faults <> '[]' then
    return platform.leave(call, 'products.update', jsonb_build_object('error', 'validation_failed', 'errors', faults));
  end if;
  begin
    update catalog.products c
    set name = product.name, description = product.description, price = product.price, currency = product.currency,
        status = product.status, group_id = product.group_id, options = product.options, slug = product.slug,
        weight = product.weight, tax_category = product.tax_category, compare_at_price = product.compare_at_price,
        metadata = product.metadata, version = platform.next_version(c.version), updated_at = platform.clock()
    where c.id = product.id
    returning * into product;
  exception when unique_violation then
    get stacked diagnostics violated = constraint_name;
    faults := catalog.taken_error(violated);
    if faults is null then
      raise;
    end if;
    return platform.leave(call, 'products.update', faults);
  end;
  if product.collections <> '{}' then
    perform catalog.copy_to_collections(array[product.id]);
  end if;
  perform catalog.emit_change(before, product);
  return platform.leave(call, 'products.update', catalog.product_json(product, catalog.quantity_of(product))
    || jsonb_build_object('version', product.version));
end
$$;

call platform.set_owner('catalog', 'fusion_catalog');

grant execute on function catalog.create_product, catalog.update_product to fusion_worker;
grant execute on function catalog.product_json to fusion_reader;
