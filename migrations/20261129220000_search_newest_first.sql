-- One index for every kind of search. Its entries also have the keys of the product (catalog.search_product_keys in
-- src/db/catalog/search.sql), so that a search of a common word can begin with the newest products. A catalog may be
-- large: docs/deploy.md says how to build an index before. Each lookup reads the whole pending list, and a search makes
-- several: the list is short.
create index if not exists idx_products_search_newest on catalog.products using gin (
  search, name public.gin_trgm_ops, sku public.gin_trgm_ops,
  (array[hashtextextended('', hashtext(tenant_id)), hashtextextended(currency, hashtext(tenant_id)),
    hashtextextended(case when right(id, 3) = '000' then '*' else '' end, hashtext(tenant_id)),
    hashtextextended(case when right(id, 2) ~ '[02468ace]0' then '**' else '' end, hashtext(tenant_id)),
    hashtextextended(left(id, 3), hashtext(tenant_id)), hashtextextended(left(id, 4), hashtext(tenant_id)),
    hashtextextended(left(id, 5), hashtext(tenant_id)), hashtextextended(left(id, 6), hashtext(tenant_id)),
    hashtextextended(left(id, 7), hashtext(tenant_id)), hashtextextended(left(id, 8), hashtext(tenant_id))])
) with (gin_pending_list_limit = 256) where status = 'active';
drop index catalog.idx_products_search;
drop index catalog.idx_products_name_trgm;
drop index catalog.idx_products_sku_trgm;
