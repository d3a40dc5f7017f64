-- requires: platform/access.sql, platform/events.sql, catalog/products.sql
-- Product groups: the variants of one article. A product of a group has one value for each of the group's options, and
-- only one active product has the same values (products_variant_unique).

create or replace function catalog.product_group_json(g catalog.product_groups) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', g.id, 'name', g.name, 'description', g.description, 'slug', g.slug,
    'options', to_jsonb(g.options), 'metadata', g.metadata, 'createdAt', platform.iso(g.created_at),
    'updatedAt', platform.iso(g.updated_at))
$$;

-- The products for sale of a group, oldest first. At most 250: see catalog.variant_faults.
create or replace function catalog.products_of_group(group_id varchar) returns jsonb
language sql stable as $$
  select coalesce(jsonb_agg(catalog.product_json(p, i.quantity) order by p.id), '[]')
  from catalog.products p
  left join inventory.inventory i on i.tenant_id = p.tenant_id and i.sku = p.sku
  -- A sub-select, so that no index of products for sale is read instead of the group's products.
  where p.group_id = products_of_group.group_id and p.status = (select 'active')
$$;

-- `input`: {id, name, description?, slug?, options: [name], metadata?}. Returns the error slug_taken
-- (product_groups_slug_unique).
create or replace function catalog.create_product_group(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'productGroups.create');
  product_group catalog.product_groups;
begin
  if replay is not null then
    return replay;
  end if;
  insert into catalog.product_groups (id, tenant_id, name, description, slug, options, metadata, created_at, updated_at)
  values (input->>'id', platform.tenant(), input->>'name', input->>'description', input->>'slug',
    array(select jsonb_array_elements_text(input->'options')), coalesce(input->'metadata', '{}'), platform.clock(),
    platform.clock())
  on conflict (tenant_id, slug) where slug is not null do nothing
  returning * into product_group;
  if not found then
    return platform.leave(call, 'productGroups.create', jsonb_build_object('error', 'slug_taken'));
  end if;
  return platform.leave(call, 'productGroups.create', catalog.product_group_json(product_group)
    || jsonb_build_object('products', '[]'::jsonb, 'version', product_group.version));
end
$$;

-- `input`: {id, ifMatch?: [version], change: {name?, description?, slug?, options?, metadata?}}. Raises not_found,
-- version_mismatch, conflict (other options while the group has products; another order of them is always allowed).
-- Returns the error slug_taken (product_groups_slug_unique). Locks the group: no product joins it meanwhile.
create or replace function catalog.update_product_group(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'productGroups.update');
  change jsonb := input->'change';
  product_group catalog.product_groups;
  new_options text[];
begin
  if replay is not null then
    return replay;
  end if;
  select * into product_group from catalog.product_groups g where g.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not input->'ifMatch' @> to_jsonb(product_group.version) then
    perform platform.fail('version_mismatch');
  end if;
  new_options := case when change ? 'options' then array(select jsonb_array_elements_text(change->'options'))
    else product_group.options end;
  if not (new_options @> product_group.options and new_options <@ product_group.options)
    and exists (select from catalog.products p where p.group_id = product_group.id) then
    perform platform.fail('conflict', jsonb_build_object('reason', 'The options of a group with products cannot be '
      'renamed, added or removed. Take its products out first, archived ones included (`groupId: null`).'));
  end if;
  begin
    update catalog.product_groups g
    set name = coalesce(change->>'name', g.name), options = new_options,
        description = case when change ? 'description' then change->>'description' else g.description end,
        slug = case when change ? 'slug' then change->>'slug' else g.slug end,
        metadata = coalesce(change->'metadata', g.metadata), version = platform.next_version(g.version),
        updated_at = platform.clock()
    where g.id = product_group.id
    returning * into product_group;
  exception when unique_violation then
    return platform.leave(call, 'productGroups.update', jsonb_build_object('error', 'slug_taken'));
  end;
  return platform.leave(call, 'productGroups.update', catalog.product_group_json(product_group)
    || jsonb_build_object('products', catalog.products_of_group(product_group.id), 'version', product_group.version));
end
$$;

-- `input`: {id, ifMatch?: [version]}. Takes archived products out of the group and emits product.updated for each.
-- Returns {skus} of these. Raises not_found, version_mismatch, conflict (the group has products for sale). Locks the
-- group, so that no product joins it, then its products by id.
create or replace function catalog.delete_product_group(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'productGroups.delete');
  product_group catalog.product_groups;
  before catalog.products;
  product catalog.products;
  ids varchar[] := '{}';
  skus varchar[] := '{}';
begin
  if replay is not null then
    return replay;
  end if;
  select * into product_group from catalog.product_groups g where g.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not input->'ifMatch' @> to_jsonb(product_group.version) then
    perform platform.fail('version_mismatch');
  end if;
  for before in select * from catalog.products p where p.group_id = product_group.id order by p.id for update loop
    if before.status = 'active' then
      perform platform.fail('conflict', jsonb_build_object('reason',
        'The group has products for sale. Archive them or take them out first (`groupId: null`).'));
    end if;
    update catalog.products p
    set group_id = null, options = '{}', version = platform.next_version(p.version), updated_at = platform.clock()
    where p.id = before.id returning * into product;
    perform catalog.emit_change(before, product);
    ids := ids || product.id;
    skus := skus || product.sku;
  end loop;
  perform catalog.copy_to_collections(ids);
  delete from catalog.product_groups g where g.id = product_group.id;
  return platform.leave(call, 'productGroups.delete', jsonb_build_object('skus', to_jsonb(skus)));
end
$$;

call platform.set_owner('catalog', 'fusion_catalog');

grant execute on function catalog.create_product_group, catalog.update_product_group, catalog.delete_product_group
  to fusion_worker;
grant execute on function catalog.product_group_json, catalog.products_of_group to fusion_reader;
