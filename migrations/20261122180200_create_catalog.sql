create extension if not exists pg_trgm with schema public;
grant usage on schema public to fusion_search;

create table catalog.products (
  id varchar primary key,
  sku varchar not null,
  name varchar not null,
  description text,
  price decimal(10,2) not null constraint products_price_not_negative check (price >= 0),
  currency varchar(3) not null constraint products_currency_form check (currency ~ '^[A-Z]{3}$'),
  tenant_id varchar not null default 'default',
  status varchar not null default 'active' constraint products_status check (status in ('active', 'archived')),
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  search tsvector generated always as (
    to_tsvector('english', name || ' ' || coalesce(description, '')) || to_tsvector('simple', sku || ' ' || name)
  ) stored,
  constraint products_sku_unique unique (tenant_id, sku)
);
create index idx_products_tenant_id on catalog.products (tenant_id, id desc);
create index idx_products_search on catalog.products using gin (search);
create index idx_products_name_trgm on catalog.products using gin (name public.gin_trgm_ops);
create index idx_products_sku_trgm on catalog.products using gin (sku public.gin_trgm_ops);

alter table catalog.products enable row level security;
alter table catalog.products force row level security;
create policy tenant on catalog.products
  using (tenant_id = current_setting('app.tenant_id', true))
  with check (tenant_id = current_setting('app.tenant_id', true));
-- Under a policy that looks at rows, Postgres may not use an index for operators that could leak (full text, trigram).
-- Nobody can become fusion_search: it owns one function, which names the tenant itself and gives ids alone.
create policy search on catalog.products for select to fusion_search using (true);

grant select, insert, update on catalog.products to fusion_catalog;
grant select on catalog.products to fusion_reader, fusion_orders, fusion_group_commerce;
grant select (id, tenant_id, sku, name, status, currency, search) on catalog.products to fusion_search;
