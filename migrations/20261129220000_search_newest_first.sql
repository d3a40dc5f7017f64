-- One index for every kind of search. Its entries also have catalog.search_keys (in src/db/catalog/search.sql), so that
-- a search of a common word can begin with the newest products. A catalog may be large: docs/deploy.md says how to build
-- an index before. Each lookup reads the whole pending list, and a search makes several: the list is short.
create index if not exists idx_products_newest on catalog.products using gin (
  search, name public.gin_trgm_ops, sku public.gin_trgm_ops,
  (array[tenant_id::text, tenant_id || ' ' || currency,
    tenant_id || case when right(id, 3) = '000' then '*' else '' end,
    tenant_id || case when right(id, 2) ~ '[02468ace]0' then '**' else '' end,
    tenant_id || ' ' || left(id, 3), tenant_id || ' ' || left(id, 4), tenant_id || ' ' || left(id, 5),
    tenant_id || ' ' || left(id, 6), tenant_id || ' ' || left(id, 7), tenant_id || ' ' || left(id, 8)])
) with (gin_pending_list_limit = 256) where status = 'active';
drop index catalog.idx_products_search;
drop index catalog.idx_products_name_trgm;
drop index catalog.idx_products_sku_trgm;
