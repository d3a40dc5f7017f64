-- What a shop needs to show its products: groups of variants, collections, images, price lists, customers with a group,
-- and thresholds of stock.

create table catalog.product_groups (
  id varchar primary key,
  tenant_id varchar not null,
  name varchar not null,
  description text,
  slug varchar,
  options text[] not null,    -- the names of its options, such as {Size,Colour}
  metadata jsonb not null default '{}',
  version integer not null default 1,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index idx_product_groups_tenant_id on catalog.product_groups (tenant_id, id desc);
create unique index product_groups_slug_unique on catalog.product_groups (tenant_id, slug) where slug is not null;

create table catalog.collections (
  id varchar primary key,
  tenant_id varchar not null,
  name varchar not null,
  slug varchar,
  parent_id varchar references catalog.collections (id),
  version integer not null default 1,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index idx_collections_tenant_id on catalog.collections (tenant_id, id desc);
create index idx_collections_parent_id on catalog.collections (parent_id) where parent_id is not null;
create unique index collections_slug_unique on catalog.collections (tenant_id, slug) where slug is not null;

alter table catalog.products
  add column group_id varchar references catalog.product_groups (id),
  add column options jsonb not null default '{}',        -- {"Size": "M"}, one value for each option of its group
  add column slug varchar,
  add column images jsonb not null default '[]',         -- [{id, path, alt, width, height}], in the order in which they are shown
  add column weight integer constraint products_weight_not_negative check (weight >= 0), -- grams
  add column tax_category varchar,
  add column compare_at_price decimal(10,2) constraint products_compare_at_price_not_negative check (compare_at_price >= 0),
  add column collections varchar[] not null default '{}', -- the ids in catalog.collection_products, for reads
  add column metadata jsonb not null default '{}';
create index idx_products_group_id on catalog.products (group_id) where group_id is not null;
-- An archived variant leaves its combination to another one.
create unique index products_variant_unique on catalog.products (group_id, options)
  where group_id is not null and status = 'active';
create unique index products_slug_unique on catalog.products (tenant_id, slug) where slug is not null;

-- The products of each collection, with a copy of what a list of the collection is sorted and filtered by.
create table catalog.collection_products (
  tenant_id varchar not null,
  collection_id varchar not null references catalog.collections (id),
  product_id varchar not null references catalog.products (id),
  status varchar not null,
  currency varchar(3) not null,
  price decimal(10,2) not null,
  name varchar not null,
  group_id varchar,
  constraint collection_products_once primary key (collection_id, product_id)
);
create index idx_collection_products_product_id on catalog.collection_products (product_id);

create table catalog.price_lists (
  id varchar primary key,
  tenant_id varchar not null,
  name varchar not null,
  currency varchar(3) not null,
  starts_at timestamptz,
  ends_at timestamptz,
  audience varchar not null constraint price_lists_audience check (audience in ('all', 'group', 'organization')),
  audience_id varchar,        -- the customer group or the organization
  version integer not null default 1,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint price_lists_audience_id check ((audience = 'all') = (audience_id is null)),
  constraint price_lists_period check (ends_at > starts_at)
);
create index idx_price_lists_tenant_id on catalog.price_lists (tenant_id, id desc);

create table catalog.prices (
  tenant_id varchar not null,
  list_id varchar not null references catalog.price_lists (id),
  sku varchar not null,
  min_quantity integer not null constraint prices_min_quantity check (min_quantity >= 1),
  price decimal(10,2) not null constraint prices_price_not_negative check (price >= 0),
  constraint prices_once primary key (list_id, sku, min_quantity)
);
create index idx_prices_sku on catalog.prices (tenant_id, sku, list_id);

create table orders.customers (
  id varchar primary key,
  tenant_id varchar not null,
  email varchar not null,
  name varchar,
  phone varchar,
  addresses jsonb not null default '[]',
  customer_group varchar,
  metadata jsonb not null default '{}',
  version integer not null default 1,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index idx_customers_tenant_id on orders.customers (tenant_id, id desc);
create unique index customers_email_unique on orders.customers (tenant_id, lower(email));

-- inventory.low is emitted when an order takes the quantity to this number or below it.
alter table inventory.inventory
  add column low_threshold integer constraint inventory_low_threshold_not_negative check (low_threshold >= 0);

do $$
declare
  new_table regclass;
begin
  foreach new_table in array array['catalog.product_groups', 'catalog.collections', 'catalog.collection_products',
    'catalog.price_lists', 'catalog.prices', 'orders.customers']::regclass[] loop
    execute format('alter table %s enable row level security', new_table);
    execute format('alter table %s force row level security', new_table);
    -- In a form that no index serves: see look_rows_up_by_their_ids.
    execute format('create policy tenant on %s
      using (case when tenant_id = current_setting(''app.tenant_id'', true) then true end is not null)
      with check (tenant_id = current_setting(''app.tenant_id'', true))', new_table);
  end loop;
end
$$;

grant select, insert, update, delete on catalog.product_groups, catalog.collections, catalog.collection_products,
  catalog.price_lists, catalog.prices to fusion_catalog;
grant select on catalog.price_lists, catalog.prices to fusion_orders, fusion_reader;
grant select on catalog.product_groups, catalog.collections, catalog.collection_products to fusion_reader;
grant select, insert, update on orders.customers to fusion_orders;
grant select on orders.customers to fusion_reader;
