-- requires: platform/access.sql, platform/events.sql, catalog/products.sql
-- The images of products, as jsonb in their product: [{id, path, alt, width, height}], in the order in which they are
-- shown. The files are in R2: the Worker stores a file before it names it here, and deletes it after its name is gone.
-- The lock of the product's row decides every change and the limit of images.

create or replace function catalog.max_images() returns integer
language sql immutable as $$ select 20 $$;

-- The key of a URL in products.image_sources.
create or replace function catalog.image_source(url text) returns text
language sql immutable as $$
  select encode(sha256(convert_to(url, 'UTF8')), 'hex')
$$;

-- Locks a product that the caller wants to change. Raises not_found, version_mismatch (`ifMatch`: the allowed
-- versions).
create or replace function catalog.lock_product(product_id text, if_match jsonb) returns catalog.products
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  product catalog.products;
begin
  select * into product from catalog.products c where c.id = product_id for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not if_match @> to_jsonb(product.version) then
    perform platform.fail('version_mismatch');
  end if;
  return product;
end
$$;

-- Stores the images of a locked product and emits product.updated. Returns the product with its version.
create or replace function catalog.save_images(product catalog.products) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  answer jsonb;
begin
  update catalog.products c
  set images = product.images, image_sources = product.image_sources, version = platform.next_version(c.version),
      updated_at = platform.clock()
  where c.id = product.id
  returning * into product;
  answer := catalog.product_json(product, catalog.quantity_of(product));
  perform platform.emit('product.updated', product.id, answer, false);
  return answer || jsonb_build_object('version', product.version);
end
$$;

-- Adds a stored image at the end. `input`: {productId, image: {id, path, alt, width, height}}. Returns {image, sku}.
-- Raises not_found. Returns the error conflict if the product has the maximum of images.
create or replace function catalog.add_image(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'products.images.add');
  product catalog.products;
begin
  if replay is not null then
    return replay;
  end if;
  product := catalog.lock_product(input->>'productId', null);
  if jsonb_array_length(product.images) >= catalog.max_images() then
    return platform.leave(call, 'products.images.add', jsonb_build_object('error', 'conflict', 'detail',
      format('A product has at most %s images. Delete one first.', catalog.max_images())));
  end if;
  product.images := product.images || jsonb_build_array(input->'image');
  perform catalog.save_images(product);
  return platform.leave(call, 'products.images.add',
    jsonb_build_object('image', input->'image', 'sku', product.sku));
end
$$;

-- Sets the order of a product's images, and alternative texts. `input`: {productId, images: [{id, alt?}], ifMatch?}.
-- Returns the product. Raises not_found, version_mismatch. Returns the error validation_failed unless `images` names
-- each image of the product once.
create or replace function catalog.arrange_images(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'products.images.arrange');
  product catalog.products;
  faults jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  product := catalog.lock_product(input->>'productId', input->'ifMatch');
  with given as (
    select g.item->>'id' as id, g.item, g.ord, row_number() over (partition by g.item->>'id' order by g.ord) as turn
    from jsonb_array_elements(input->'images') with ordinality g(item, ord)
  ), existing as (
    select e.item->>'id' as id, e.item, e.ord from jsonb_array_elements(product.images) with ordinality e(item, ord)
  ), fault(pointer, detail, ord) as (
    select format('/images/%s/id', g.ord - 1),
      case when e.id is null then 'is not an image of this product' else 'is given more than once' end, g.ord
    from given g left join existing e on e.id = g.id
    where e.id is null or g.turn > 1
    union all
    select '/images', 'must name every image of the product: ' || e.id || ' is missing', 1000 + e.ord
    from existing e where not exists (select from given g where g.id = e.id)
  )
  select (select jsonb_agg(jsonb_build_object('pointer', f.pointer, 'detail', f.detail) order by f.ord) from fault f),
    (select jsonb_agg(e.item || jsonb_build_object('alt', coalesce(g.item->'alt', e.item->'alt')) order by g.ord)
     from given g join existing e on e.id = g.id)
  into faults, product.images;
  if faults is not null then
    return platform.leave(call, 'products.images.arrange',
      jsonb_build_object('error', 'validation_failed', 'errors', faults));
  end if;
  product.images := coalesce(product.images, '[]');
  return platform.leave(call, 'products.images.arrange', catalog.save_images(product));
end
$$;

-- Removes an image. `input`: {productId, imageId, ifMatch?}. Returns {sku}. Emits product.image.deleted, whose consumer
-- deletes the file. Raises not_found, version_mismatch.
create or replace function catalog.remove_image(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'products.images.remove');
  product catalog.products;
  removed jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  product := catalog.lock_product(input->>'productId', input->'ifMatch');
  select e.item into removed from jsonb_array_elements(product.images) e(item) where e.item->>'id' = input->>'imageId';
  if not found then
    perform platform.fail('not_found');
  end if;
  select coalesce(jsonb_agg(e.item order by e.ord), '[]') into product.images
  from jsonb_array_elements(product.images) with ordinality e(item, ord) where e.item->>'id' <> input->>'imageId';
  -- A later import with this URL fetches the image again.
  select coalesce(jsonb_object_agg(s.key, s.value), '{}') into product.image_sources
  from jsonb_each(product.image_sources) s where s.value <> input->'imageId';
  perform catalog.save_images(product);
  perform platform.emit('product.image.deleted', product.id,
    jsonb_build_object('productId', product.id, 'imageId', removed->'id', 'path', removed->'path'), true);
  return platform.leave(call, 'products.images.remove', jsonb_build_object('sku', product.sku));
end
$$;

call platform.set_owner('catalog', 'fusion_catalog');

grant execute on function catalog.add_image, catalog.arrange_images, catalog.remove_image to fusion_worker;
