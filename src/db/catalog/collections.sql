-- requires: platform/access.sql, platform/events.sql, catalog/products.sql
-- Collections: a tree of lists of products. catalog.collection_products and products.collections say the same: each is
-- changed with the other, under the lock of the product.

create or replace function catalog.collection_json(c catalog.collections) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', c.id, 'name', c.name, 'slug', c.slug, 'parentId', c.parent_id,
    'createdAt', platform.iso(c.created_at), 'updatedAt', platform.iso(c.updated_at))
$$;

-- Changes of a tenant's tree happen one at a time: two moves could make a cycle that neither sees. It comes before the
-- locks of rows and ends with the transaction.
create or replace function catalog.lock_collection_tree() returns void
language sql as $$
  select pg_advisory_xact_lock(hashtextextended(platform.tenant() || ' collections', 0))
$$;

-- The fault of a collection at this place in the tree, as an error of the API; null if it may be there. Call it under
-- the lock of the tree. At most 10 levels.
create or replace function catalog.parent_error(collection_id varchar, new_parent varchar) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  above varchar[]; -- the new parent and the collections above it
  levels_below integer; -- with the collection itself
  fault text;
begin
  with recursive parent as (
    select c.id, c.parent_id from catalog.collections c where c.id = new_parent
    union
    select c.id, c.parent_id from parent p join catalog.collections c on c.id = p.parent_id
  )
  select array_agg(p.id) into above from parent p;
  with recursive child as (
    select collection_id as id, 1 as level
    union all
    select c.id, p.level + 1 from child p join catalog.collections c on c.parent_id = p.id
  )
  select max(c.level) into levels_below from child c;
  fault := case when above is null then 'There is no such collection.'
    when collection_id = any(above) then 'A collection cannot be below itself.'
    when cardinality(above) + levels_below > 10 then 'Collections can have at most 10 levels.' end;
  if fault is not null then
    return jsonb_build_object('error', 'validation_failed',
      'errors', jsonb_build_array(jsonb_build_object('pointer', '/parentId', 'detail', fault)));
  end if;
  return null;
end
$$;

-- `input`: {id, name, slug?, parentId?}. Returns the errors slug_taken (collections_slug_unique), validation_failed.
-- With a parent it locks the tree: the parent stays where it is, and is not deleted.
create or replace function catalog.create_collection(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'collections.create');
  collection catalog.collections;
  error jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  if input->>'parentId' is not null then
    perform catalog.lock_collection_tree();
    error := catalog.parent_error(input->>'id', input->>'parentId');
    if error is not null then
      return platform.leave(call, 'collections.create', error);
    end if;
  end if;
  insert into catalog.collections (id, tenant_id, name, slug, parent_id, created_at, updated_at)
  values (input->>'id', platform.tenant(), input->>'name', input->>'slug', input->>'parentId', platform.clock(),
    platform.clock())
  on conflict (tenant_id, slug) where slug is not null do nothing
  returning * into collection;
  if not found then
    return platform.leave(call, 'collections.create', jsonb_build_object('error', 'slug_taken'));
  end if;
  return platform.leave(call, 'collections.create',
    catalog.collection_json(collection) || jsonb_build_object('version', collection.version));
end
$$;

-- `input`: {id, ifMatch?: [version], change: {name?, slug?, parentId?}}. Raises not_found, version_mismatch. Returns
-- the errors slug_taken (collections_slug_unique), validation_failed. A change of the parent locks the tree, then the
-- collection is locked for the version check.
create or replace function catalog.update_collection(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'collections.update');
  change jsonb := input->'change';
  collection catalog.collections;
  error jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  if change ? 'parentId' then
    perform catalog.lock_collection_tree();
  end if;
  select * into collection from catalog.collections c where c.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not input->'ifMatch' @> to_jsonb(collection.version) then
    perform platform.fail('version_mismatch');
  end if;
  if change->>'parentId' is not null then
    error := catalog.parent_error(collection.id, change->>'parentId');
    if error is not null then
      return platform.leave(call, 'collections.update', error);
    end if;
  end if;
  begin
    update catalog.collections c
    set name = coalesce(change->>'name', c.name),
        slug = case when change ? 'slug' then change->>'slug' else c.slug end,
        parent_id = case when change ? 'parentId' then change->>'parentId' else c.parent_id end,
        version = platform.next_version(c.version), updated_at = platform.clock()
    where c.id = collection.id
    returning * into collection;
  exception when unique_violation then
    return platform.leave(call, 'collections.update', jsonb_build_object('error', 'slug_taken'));
  end;
  return platform.leave(call, 'collections.update',
    catalog.collection_json(collection) || jsonb_build_object('version', collection.version));
end
$$;

-- Adds a locked product to a collection, or takes it out of it, if that changes anything. Emits product.updated.
create or replace function catalog.set_membership(before catalog.products, collection varchar, is_member boolean)
  returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  product catalog.products;
begin
  if is_member = (collection = any(before.collections)) then
    return;
  end if;
  if is_member then
    insert into catalog.collection_products
      (tenant_id, collection_id, product_id, status, currency, price, name, group_id)
    values (before.tenant_id, collection, before.id, before.status, before.currency, before.price, before.name,
      before.group_id);
  else
    delete from catalog.collection_products m where m.collection_id = collection and m.product_id = before.id;
  end if;
  update catalog.products p
  set collections = case when is_member then array(select c from unnest(p.collections || collection) c order by c)
        else array_remove(p.collections, collection) end,
      version = platform.next_version(p.version), updated_at = platform.clock()
  where p.id = before.id returning * into product;
  perform catalog.emit_change(before, product);
end
$$;

-- `input`: {id, ifMatch?: [version]}. Takes its products out of the collection, and returns {skus} of these. Raises
-- not_found, version_mismatch, conflict (it has collections below it, or more than 1,000 products: each one costs an
-- event, and a call has 9 s). Locks the tree, so that no collection comes below it, the collection, so that no product
-- is added, and its products by id.
create or replace function catalog.delete_collection(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'collections.delete');
  collection catalog.collections;
  product catalog.products;
  skus varchar[] := '{}';
begin
  if replay is not null then
    return replay;
  end if;
  perform catalog.lock_collection_tree();
  select * into collection from catalog.collections c where c.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not input->'ifMatch' @> to_jsonb(collection.version) then
    perform platform.fail('version_mismatch');
  end if;
  if exists (select from catalog.collections c where c.parent_id = collection.id) then
    perform platform.fail('conflict', jsonb_build_object('reason',
      'The collection has collections below it. Delete or move them first.'));
  end if;
  if (select count(*) from (select from catalog.collection_products m where m.collection_id = collection.id
      limit 1001) c) > 1000 then
    perform platform.fail('conflict', jsonb_build_object('reason',
      'The collection has more than 1,000 products. Take products out first.'));
  end if;
  for product in select p.* from catalog.collection_products m join catalog.products p on p.id = m.product_id
    where m.collection_id = collection.id order by p.id for update of p
  loop
    perform catalog.set_membership(product, collection.id, false);
    skus := skus || product.sku;
  end loop;
  delete from catalog.collections c where c.id = collection.id;
  return platform.leave(call, 'collections.delete', jsonb_build_object('skus', to_jsonb(skus)));
end
$$;

-- `input`: {collectionId, productId, isMember}. Adds the product to the collection or takes it out. To do it again
-- changes nothing. Returns {skus: [sku]}. Raises not_found, conflict (the product is in 100 collections). Locks the
-- collection, so that it is not deleted, then the product.
create or replace function catalog.set_collection_product(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'collections.setProduct');
  is_member constant boolean := input->>'isMember';
  collection constant varchar := input->>'collectionId';
  product catalog.products;
begin
  if replay is not null then
    return replay;
  end if;
  perform 1 from catalog.collections c where c.id = collection for key share;
  if not found then
    perform platform.fail('not_found');
  end if;
  select * into product from catalog.products p where p.id = input->>'productId' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if is_member and not collection = any(product.collections) and cardinality(product.collections) >= 100 then
    perform platform.fail('conflict', jsonb_build_object('reason', 'A product can be in at most 100 collections.'));
  end if;
  perform catalog.set_membership(product, collection, is_member);
  return platform.leave(call, 'collections.setProduct', jsonb_build_object('skus', jsonb_build_array(product.sku)));
end
$$;

call platform.set_owner('catalog', 'fusion_catalog');

grant execute on function catalog.create_collection, catalog.update_collection, catalog.delete_collection,
  catalog.set_collection_product to fusion_worker;
grant execute on function catalog.collection_json to fusion_reader;
