-- The index of the search again, with hashes for its keys (catalog.search_product_keys in src/db/catalog/search.sql): a search
-- computes the keys of each product that it reads, and hashes take a fraction of the time. docs/deploy.md says how to
-- build the index of a large catalog before.
create index if not exists idx_products_search_newest on catalog.products using gin (
  search, name public.gin_trgm_ops, sku public.gin_trgm_ops,
  (array[hashtextextended('', hashtext(tenant_id)), hashtextextended(currency, hashtext(tenant_id)),
    hashtextextended(case when right(id, 3) = '000' then '*' else '' end, hashtext(tenant_id)),
    hashtextextended(case when right(id, 2) ~ '[02468ace]0' then '**' else '' end, hashtext(tenant_id)),
    hashtextextended(left(id, 3), hashtext(tenant_id)), hashtextextended(left(id, 4), hashtext(tenant_id)),
    hashtextextended(left(id, 5), hashtext(tenant_id)), hashtextextended(left(id, 6), hashtext(tenant_id)),
    hashtextextended(left(id, 7), hashtext(tenant_id)), hashtextextended(left(id, 8), hashtext(tenant_id))])
) with (gin_pending_list_limit = 256) where status = 'active';
drop index catalog.idx_products_newest;
