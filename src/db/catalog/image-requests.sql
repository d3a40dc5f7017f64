-- requires: platform/access.sql, platform/events.sql, catalog/images.sql
-- Images that a product takes from URLs. A request is an event (product.image.requested). Its consumer fetches the file
-- between two calls, so no row is locked meanwhile. products.image_sources remembers the URLs of a product's images, so
-- a URL adds one image, however often it is requested.

-- Whether a product has the image of a URL: it was fetched from there, or the URL leads to the product's own image, as
-- in the file of an export.
create or replace function catalog.has_image(images jsonb, sources jsonb, url text) returns boolean
language sql stable as $$
  select sources ? catalog.image_source(url)
    or exists (select from jsonb_array_elements(images) e where right(url, length(e->>'path')) = e->>'path')
$$;

-- Requests images for products of the caller's transaction: [{productId, url, alt?}], in the order in which they are to
-- be shown. An image that the product already has from this URL is not requested again. Returns the number of requests.
-- Internal: the caller has authenticated, and has checked that each URL is https.
create or replace function catalog.request_images(requests jsonb) returns bigint
language sql set search_path = pg_catalog, pg_temp as $$
  with given as (
    select r.item->>'productId' as product_id, r.item->>'url' as url, (array_agg(r.item->'alt' order by r.ord))[1] as alt,
      min(r.ord) as ord
    from jsonb_array_elements(requests) with ordinality r(item, ord) group by 1, 2
  ), wanted as (
    select g.product_id, g.url, g.alt, g.ord,
      jsonb_array_length(p.images) + row_number() over (partition by g.product_id order by g.ord) as position
    from given g
    cross join lateral (select c.images, c.image_sources from catalog.products c where c.id = g.product_id limit 1) p
    where not catalog.has_image(p.images, p.image_sources, g.url)
  ), emitted as (
    select platform.emit('product.image.requested', w.product_id, jsonb_strip_nulls(jsonb_build_object(
      'productId', w.product_id, 'url', w.url, 'alt', w.alt, 'position', w.position)), true)
    from (select * from wanted order by ord) w
  )
  select count(*) from emitted
$$;

-- Why a product does not take an image from this URL: `done` if it has it, otherwise the reason. Null if it takes it.
create or replace function catalog.image_refusal(p catalog.products, url text) returns text
language sql stable as $$
  select case
    when p.id is null then 'The product does not exist.'
    when catalog.has_image(p.images, p.image_sources, url) then 'done'
    when jsonb_array_length(p.images) >= catalog.max_images()
      then format('A product has at most %s images. Delete one, then replay this.', catalog.max_images()) end
$$;

-- The consumer's first call. `input`: {tenant, requests: [{eventId, productId, url}]}. Returns {open, refused}: the ids
-- of the events whose image is to be fetched, and of those that cannot succeed, with the reason. The others are done.
create or replace function catalog.find_image_requests(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  unclaimed text[];
begin
  perform platform.enter_as(call, input->>'tenant');
  unclaimed := platform.find_unclaimed_events('catalog',
    array(select r->>'eventId' from jsonb_array_elements(input->'requests') r));
  return (
    select jsonb_build_object(
      'open', coalesce(jsonb_agg(r->'eventId') filter (where o.outcome is null), '[]'),
      'refused', coalesce(jsonb_object_agg(r->>'eventId', o.outcome) filter (where o.outcome <> 'done'), '{}'))
    from jsonb_array_elements(input->'requests') r
    left join lateral (select c as product from catalog.products c where c.id = r->>'productId' limit 1) p on true
    cross join lateral (select catalog.image_refusal(p.product, r->>'url') as outcome) o
    where r->>'eventId' = any(unclaimed));
end
$$;

-- The consumer's second call. `input`: {tenant, images: [{eventId, productId, url, position?, traceparent?, image}]},
-- whose files are stored. Returns {added, refused, changed}: the ids of the events whose image was added, those that
-- cannot succeed with the reason, and the SKUs of the changed products. The caller deletes the files that were not
-- added. Locks the products by id, as an import does.
create or replace function catalog.add_fetched_images(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  claimed text[];
  item jsonb;
  product catalog.products;
  refusal text;
  added jsonb := '[]';
  refused jsonb := '{}';
  changed jsonb := '[]';
begin
  perform platform.enter_as(call, input->>'tenant');
  perform from catalog.products c
  where c.id = any(array(select i->>'productId' from jsonb_array_elements(input->'images') i)) order by c.id for update;
  -- A refused event stays unclaimed, so that its dead letter can be replayed.
  claimed := platform.find_unclaimed_events('catalog',
    array(select i->>'eventId' from jsonb_array_elements(input->'images') i));
  for item in
    select i from jsonb_array_elements(input->'images') i where i->>'eventId' = any(claimed)
    order by i->>'productId', (i->>'position')::int, i->>'eventId'
  loop
    select * into product from catalog.products c where c.id = item->>'productId';
    refusal := catalog.image_refusal(product, item->>'url');
    if refusal is null then
      perform platform.set_trace(item->>'traceparent');
      product.images := jsonb_insert(product.images, array[least(coalesce((item->>'position')::int - 1,
        jsonb_array_length(product.images)), jsonb_array_length(product.images))::text], item->'image');
      product.image_sources := product.image_sources
        || jsonb_build_object(catalog.image_source(item->>'url'), item->'image'->'id');
      perform catalog.save_images(product);
      added := added || jsonb_build_array(item->'eventId');
      changed := changed || to_jsonb(product.sku);
    elsif refusal <> 'done' then
      refused := refused || jsonb_build_object(item->>'eventId', refusal);
      continue;
    end if;
    perform platform.claim_event('catalog', item->>'eventId');
  end loop;
  return jsonb_build_object('added', added, 'refused', refused, 'changed', changed);
end
$$;

call platform.set_owner('catalog', 'fusion_catalog');

grant execute on function catalog.find_image_requests, catalog.add_fetched_images to fusion_worker;
