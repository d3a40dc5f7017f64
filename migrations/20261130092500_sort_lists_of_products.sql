-- A list of products has an index for each order, of the whole catalog and of a collection. Equal keys are sorted by
-- id. The collation "C" is the same on every machine and in every version. A catalog may be large: docs/deploy.md says
-- how to build an index before. No order writes these tables.
create index if not exists idx_products_newest on catalog.products (tenant_id, status, (id collate "C"));
create index if not exists idx_products_price on catalog.products (tenant_id, status, currency, price, (id collate "C"));
create index if not exists idx_products_name on catalog.products
  (tenant_id, status, lower(name collate "C"), (id collate "C"));
create index idx_collection_products_newest on catalog.collection_products
  (collection_id, status, (product_id collate "C"));
create index idx_collection_products_price on catalog.collection_products
  (collection_id, status, currency, price, (product_id collate "C"));
create index idx_collection_products_name on catalog.collection_products
  (collection_id, status, lower(name collate "C"), (product_id collate "C"));

-- A condition on a price cannot use an index under a policy that looks at rows. fusion_search has no such policy; its
-- functions name the tenant themselves and return ids and what these are sorted by.
create policy search on catalog.collection_products for select to fusion_search using (true);
grant select (price) on catalog.products to fusion_search;
grant select on catalog.collection_products to fusion_search;

-- A file of functions that is installed later leaves the functions of fusion_search to it.
create or replace procedure platform.set_owner(service name, owner name) language plpgsql as $$
declare
  f regprocedure;
begin
  execute format('grant create on schema %I to %I', service, owner);
  for f in
    select p.oid from pg_proc p
    where p.pronamespace = service::regnamespace and p.prokind = 'f'
      and p.proowner not in (owner::regrole, 'fusion_search'::regrole)
  loop
    execute format('alter function %s owner to %I', f, owner);
    execute format('revoke all on function %s from public', f);
  end loop;
  execute format('revoke create on schema %I from %I', service, owner);
end
$$;
