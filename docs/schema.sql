-- The schema of a migrated database: roles, tables, functions, row-level security and triggers.
-- Generated from migrations/ and src/db/**/*.sql by "npm run schema". Do not edit it: change those files, then run that
-- command. "npm run verify" fails if this file is out of date.
--
-- The database's owner owns the schemas, the tables and every function that names no owner here.
-- fusion_worker logs in once "npm run migrate" has set its password; no other role can log in.
-- The file has no rows: those that migrations insert, such as the sinks in platform.sinks, are not included.

set check_function_bodies = off;

-- ==== Roles and schemas =============================================================================================

-- roles
create role fusion_audit noinherit;
create role fusion_catalog noinherit;
create role fusion_group_commerce noinherit;
create role fusion_inventory noinherit;
create role fusion_orders noinherit;
create role fusion_payments noinherit;
create role fusion_platform noinherit;
create role fusion_reader noinherit;
create role fusion_search noinherit;
create role fusion_shipping noinherit;
create role fusion_worker noinherit;
alter role fusion_worker set statement_timeout = '9s';
grant fusion_reader to fusion_worker with inherit false, set true;

-- schema: audit
create schema audit;
grant usage on schema audit to fusion_audit;

-- schema: catalog
create schema catalog;
grant usage on schema catalog to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_reader, fusion_search, fusion_shipping, fusion_worker;

-- schema: group_commerce
create schema group_commerce;
grant usage on schema group_commerce to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_reader, fusion_search, fusion_shipping, fusion_worker;

-- schema: inventory
create schema inventory;
grant usage on schema inventory to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_reader, fusion_search, fusion_shipping, fusion_worker;

-- schema: orders
create schema orders;
grant usage on schema orders to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_reader, fusion_search, fusion_shipping, fusion_worker;

-- schema: payments
create schema payments;
grant usage on schema payments to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_reader, fusion_search, fusion_shipping, fusion_worker;

-- schema: platform
create schema platform;
grant usage on schema platform to fusion_audit, fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_reader, fusion_search, fusion_shipping, fusion_worker;

-- schema: public
revoke all on schema public from public;
grant usage on schema public to fusion_search;
create extension if not exists pg_trgm with schema public;

-- schema: shipping
create schema shipping;
grant usage on schema shipping to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_reader, fusion_search, fusion_shipping, fusion_worker;

-- ==== Tables ========================================================================================================

-- table: audit.log
create table audit.log (
  id          bigint      not null generated always as identity,
  at          timestamptz not null default now(),
  tenant_id   varchar     not null,
  actor       varchar     not null,
  key_id      varchar,
  operation   varchar     not null,
  subject     varchar,
  before      jsonb,
  after       jsonb,
  traceparent varchar,
  constraint log_pkey PRIMARY KEY (tenant_id, id)
);
alter table audit.log enable row level security;
alter table audit.log force row level security;
grant insert on audit.log to fusion_audit;

-- table: catalog.collections
create table catalog.collections (
  id         varchar     not null,
  tenant_id  varchar     not null,
  name       varchar     not null,
  slug       varchar,
  parent_id  varchar,
  version    integer     not null default 1,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint collections_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX collections_slug_unique ON catalog.collections USING btree (tenant_id, slug) WHERE slug IS NOT NULL;
CREATE INDEX idx_collections_parent_id ON catalog.collections USING btree (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX idx_collections_tenant_id ON catalog.collections USING btree (tenant_id, id DESC);
alter table catalog.collections enable row level security;
alter table catalog.collections force row level security;
grant delete, insert, select, update on catalog.collections to fusion_catalog;
grant select on catalog.collections to fusion_reader;
grant select (id, tenant_id) on catalog.collections to fusion_orders;

-- table: catalog.product_groups
create table catalog.product_groups (
  id          varchar     not null,
  tenant_id   varchar     not null,
  name        varchar     not null,
  description text,
  slug        varchar,
  options     text[]      not null,
  metadata    jsonb       not null default '{}'::jsonb,
  version     integer     not null default 1,
  created_at  timestamptz not null,
  updated_at  timestamptz not null,
  constraint product_groups_pkey PRIMARY KEY (id)
);
CREATE INDEX idx_product_groups_tenant_id ON catalog.product_groups USING btree (tenant_id, id DESC);
CREATE UNIQUE INDEX product_groups_slug_unique ON catalog.product_groups USING btree (tenant_id, slug) WHERE slug IS NOT NULL;
alter table catalog.product_groups enable row level security;
alter table catalog.product_groups force row level security;
grant delete, insert, select, update on catalog.product_groups to fusion_catalog;
grant select on catalog.product_groups to fusion_reader;

-- table: catalog.products
create table catalog.products (
  id               varchar       not null,
  sku              varchar       not null,
  name             varchar       not null,
  description      text,
  price            numeric(10,2) not null,
  currency         varchar(3)    not null,
  tenant_id        varchar       not null default 'default',
  status           varchar       not null default 'active',
  version          integer       not null default 1,
  created_at       timestamptz   not null default now(),
  updated_at       timestamptz   not null default now(),
  search           tsvector      generated always as (to_tsvector('english'::regconfig, (name::text || ' ') || COALESCE(description, '')) || to_tsvector('simple'::regconfig, (sku::text || ' ') || name::text)) stored,
  import_run       varchar,
  import_counts    integer[],
  import_before    integer[],
  import_repeats   varchar,
  group_id         varchar,
  options          jsonb         not null default '{}'::jsonb,
  slug             varchar,
  images           jsonb         not null default '[]'::jsonb,
  weight           integer,
  tax_category     varchar,
  compare_at_price numeric(10,2),
  collections      varchar[]     not null default '{}'::character varying[],
  metadata         jsonb         not null default '{}'::jsonb,
  has_list_prices  boolean       not null default false,
  image_sources    jsonb         not null default '{}'::jsonb,
  constraint products_pkey PRIMARY KEY (id),
  constraint products_sku_unique UNIQUE (tenant_id, sku),
  constraint products_group_id_fkey FOREIGN KEY (group_id) REFERENCES catalog.product_groups(id),
  constraint products_compare_at_price_not_negative CHECK (compare_at_price >= 0::numeric),
  constraint products_currency_form CHECK (currency::text ~ '^[A-Z]{3}$'),
  constraint products_price_not_negative CHECK (price >= 0::numeric),
  constraint products_status CHECK (status in ('active', 'archived')),
  constraint products_weight_not_negative CHECK (weight >= 0)
);
CREATE INDEX idx_products_group_id ON catalog.products USING btree (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX idx_products_name ON catalog.products USING btree (tenant_id, status, lower(name::text COLLATE "C"), id COLLATE "C");
CREATE INDEX idx_products_newest ON catalog.products USING btree (tenant_id, status, id COLLATE "C");
CREATE INDEX idx_products_price ON catalog.products USING btree (tenant_id, status, currency, price, id COLLATE "C");
CREATE INDEX idx_products_search_newest ON catalog.products USING gin (search, name public.gin_trgm_ops, sku public.gin_trgm_ops, (ARRAY[hashtextextended('', hashtext(tenant_id::text)::bigint), hashtextextended(currency::text, hashtext(tenant_id::text)::bigint), hashtextextended(
CASE
    WHEN "right"(id::text, 3) = '000' THEN '*'
    ELSE ''
END, hashtext(tenant_id::text)::bigint), hashtextextended(
CASE
    WHEN "right"(id::text, 2) ~ '[02468ace]0' THEN '**'
    ELSE ''
END, hashtext(tenant_id::text)::bigint), hashtextextended("left"(id::text, 3), hashtext(tenant_id::text)::bigint), hashtextextended("left"(id::text, 4), hashtext(tenant_id::text)::bigint), hashtextextended("left"(id::text, 5), hashtext(tenant_id::text)::bigint), hashtextextended("left"(id::text, 6), hashtext(tenant_id::text)::bigint), hashtextextended("left"(id::text, 7), hashtext(tenant_id::text)::bigint), hashtextextended("left"(id::text, 8), hashtext(tenant_id::text)::bigint)])) WITH (gin_pending_list_limit='256') WHERE status::text = 'active';
CREATE INDEX idx_products_tenant_id ON catalog.products USING btree (tenant_id, id DESC);
CREATE UNIQUE INDEX products_slug_unique ON catalog.products USING btree (tenant_id, slug) WHERE slug IS NOT NULL;
CREATE UNIQUE INDEX products_variant_unique ON catalog.products USING btree (group_id, options) WHERE group_id IS NOT NULL AND status::text = 'active';
alter table catalog.products enable row level security;
alter table catalog.products force row level security;
grant insert, select, update on catalog.products to fusion_catalog;
grant select on catalog.products to fusion_group_commerce, fusion_orders, fusion_reader;
grant select (id, sku, name, price, currency, tenant_id, status, search) on catalog.products to fusion_search;

-- table: catalog.collection_products
create table catalog.collection_products (
  tenant_id     varchar       not null,
  collection_id varchar       not null,
  product_id    varchar       not null,
  status        varchar       not null,
  currency      varchar(3)    not null,
  price         numeric(10,2) not null,
  name          varchar       not null,
  group_id      varchar,
  constraint collection_products_once PRIMARY KEY (collection_id, product_id),
  constraint collection_products_collection_id_fkey FOREIGN KEY (collection_id) REFERENCES catalog.collections(id),
  constraint collection_products_product_id_fkey FOREIGN KEY (product_id) REFERENCES catalog.products(id)
);
CREATE INDEX idx_collection_products_name ON catalog.collection_products USING btree (collection_id, status, lower(name::text COLLATE "C"), product_id COLLATE "C");
CREATE INDEX idx_collection_products_newest ON catalog.collection_products USING btree (collection_id, status, product_id COLLATE "C");
CREATE INDEX idx_collection_products_price ON catalog.collection_products USING btree (collection_id, status, currency, price, product_id COLLATE "C");
CREATE INDEX idx_collection_products_product_id ON catalog.collection_products USING btree (product_id);
alter table catalog.collection_products enable row level security;
alter table catalog.collection_products force row level security;
grant delete, insert, select, update on catalog.collection_products to fusion_catalog;
grant select on catalog.collection_products to fusion_reader, fusion_search;

-- table: catalog.import_runs
create table catalog.import_runs (
  id         varchar     not null,
  tenant_id  varchar     not null,
  key        varchar,
  ended_at   timestamptz,
  created_at timestamptz not null,
  constraint import_runs_pkey PRIMARY KEY (id)
);
CREATE INDEX idx_import_runs_tenant_id ON catalog.import_runs USING btree (tenant_id, created_at);
alter table catalog.import_runs enable row level security;
alter table catalog.import_runs force row level security;
grant delete, insert, select, update on catalog.import_runs to fusion_catalog;

-- table: catalog.price_lists
create table catalog.price_lists (
  id          varchar     not null,
  tenant_id   varchar     not null,
  name        varchar     not null,
  currency    varchar(3)  not null,
  starts_at   timestamptz,
  ends_at     timestamptz,
  audience    varchar     not null,
  audience_id varchar,
  version     integer     not null default 1,
  created_at  timestamptz not null,
  updated_at  timestamptz not null,
  price_count integer     not null default 0,
  constraint price_lists_pkey PRIMARY KEY (id),
  constraint price_lists_audience CHECK (audience in ('all', 'group', 'organization')),
  constraint price_lists_audience_id CHECK ((audience::text = 'all') = (audience_id IS NULL)),
  constraint price_lists_period CHECK (ends_at > starts_at),
  constraint price_lists_price_count CHECK (price_count >= 0 AND price_count <= 100000)
);
CREATE INDEX idx_price_lists_audience ON catalog.price_lists USING btree (tenant_id, audience, audience_id);
CREATE INDEX idx_price_lists_tenant_id ON catalog.price_lists USING btree (tenant_id, id DESC);
alter table catalog.price_lists enable row level security;
alter table catalog.price_lists force row level security;
grant delete, insert, select, update on catalog.price_lists to fusion_catalog;
grant select on catalog.price_lists to fusion_orders, fusion_reader;

-- table: catalog.prices
create table catalog.prices (
  tenant_id    varchar       not null,
  list_id      varchar       not null,
  sku          varchar       not null,
  min_quantity integer       not null,
  price        numeric(10,2) not null,
  constraint prices_once PRIMARY KEY (list_id, sku, min_quantity),
  constraint prices_list_id_fkey FOREIGN KEY (list_id) REFERENCES catalog.price_lists(id),
  constraint prices_min_quantity CHECK (min_quantity >= 1),
  constraint prices_price_not_negative CHECK (price >= 0::numeric)
);
CREATE INDEX idx_prices_sku ON catalog.prices USING btree (tenant_id, sku, list_id);
alter table catalog.prices enable row level security;
alter table catalog.prices force row level security;
grant delete, insert, select, update on catalog.prices to fusion_catalog;
grant select on catalog.prices to fusion_orders, fusion_reader;

-- table: group_commerce.campaign_customers
create table group_commerce.campaign_customers (
  campaign_id varchar not null,
  user_id     varchar not null,
  tenant_id   varchar not null,
  units       integer not null,
  constraint campaign_customers_pkey PRIMARY KEY (campaign_id, user_id),
  constraint campaign_customers_units CHECK (units >= 0)
);
alter table group_commerce.campaign_customers enable row level security;
alter table group_commerce.campaign_customers force row level security;
grant insert, select, update on group_commerce.campaign_customers to fusion_group_commerce;

-- table: group_commerce.group_commerce_campaigns
create table group_commerce.group_commerce_campaigns (
  id                   varchar       not null,
  product_id           varchar       not null,
  min_participants     integer       not null,
  max_participants     integer       not null,
  actual_participants  integer       not null default 0,
  price                numeric(10,2) not null,
  original_price       numeric(10,2) not null,
  start_time           timestamptz   not null,
  end_time             timestamptz   not null,
  status               varchar       not null,
  tenant_id            varchar       not null default 'default',
  sku                  varchar       not null,
  currency             varchar(3)    not null,
  success_on           varchar       not null default 'joined',
  secured_participants integer       not null default 0,
  version              integer       not null default 1,
  settled_at           timestamptz,
  created_at           timestamptz   not null default now(),
  updated_at           timestamptz   not null default now(),
  mode                 varchar       not null default 'pool',
  team_size            integer,
  team_seconds         integer,
  on_short             varchar,
  tiers                jsonb,
  settled_price        numeric(10,2),
  skus                 varchar[],
  max_per_customer     integer,
  joiners              varchar       not null default 'all',
  secured_units        integer       not null default 0,
  offered_places       integer       not null default 0,
  constraint group_commerce_campaigns_pkey PRIMARY KEY (id),
  constraint campaigns_not_overfull CHECK (actual_participants >= 0 AND actual_participants <= max_participants),
  constraint campaigns_offers CHECK (offered_places >= 0 AND (actual_participants + offered_places) <= max_participants),
  constraint campaigns_secured_have_places CHECK (secured_participants >= 0 AND secured_participants <= actual_participants),
  constraint campaigns_secured_units CHECK (secured_units >= 0),
  constraint campaigns_status CHECK (status in ('active', 'successful', 'failed', 'expired'))
);
CREATE INDEX idx_campaigns_running ON group_commerce.group_commerce_campaigns USING btree (end_time) WHERE status::text = 'active';
CREATE INDEX idx_campaigns_status ON group_commerce.group_commerce_campaigns USING btree (tenant_id, status, id DESC);
CREATE INDEX idx_campaigns_tenant_id ON group_commerce.group_commerce_campaigns USING btree (tenant_id, id DESC);
CREATE INDEX idx_campaigns_unpriced ON group_commerce.group_commerce_campaigns USING btree (end_time) WHERE status::text = 'successful' AND tiers IS NOT NULL AND settled_price IS NULL;
CREATE INDEX idx_campaigns_unsettled ON group_commerce.group_commerce_campaigns USING btree (id) WHERE settled_at IS NULL AND status::text <> 'active';
alter table group_commerce.group_commerce_campaigns enable row level security;
alter table group_commerce.group_commerce_campaigns force row level security;
grant insert, select, update on group_commerce.group_commerce_campaigns to fusion_group_commerce;
grant select on group_commerce.group_commerce_campaigns to fusion_reader;

-- table: group_commerce.participants
create table group_commerce.participants (
  id               varchar     not null,
  tenant_id        varchar     not null,
  campaign_id      varchar     not null,
  user_id          varchar     not null,
  order_id         varchar     not null,
  payment_id       varchar,
  shipping_address jsonb,
  state            varchar     not null,
  reason           varchar,
  joined_at        timestamptz not null,
  secure_by        timestamptz,
  secured_at       timestamptz,
  updated_at       timestamptz not null,
  email            varchar,
  billing_address  jsonb,
  metadata         jsonb,
  amounts          jsonb,
  team_id          varchar,
  sku              varchar,
  quantity         integer     not null default 1,
  merge            boolean     not null default false,
  invited_by       varchar,
  refunded         boolean     not null default false,
  constraint participants_pkey PRIMARY KEY (id),
  constraint participants_order_unique UNIQUE (order_id),
  constraint participants_quantity CHECK (quantity > 0),
  constraint participants_released_why CHECK (state::text <> 'released' OR reason IS NOT NULL),
  constraint participants_state CHECK (state::text = ANY ('{joined,secured,ordered,charged,released}'::text[]))
);
CREATE INDEX idx_participants_due ON group_commerce.participants USING btree (secure_by) WHERE state::text = 'joined';
CREATE INDEX idx_participants_invited_by ON group_commerce.participants USING btree (campaign_id, invited_by) WHERE invited_by IS NOT NULL;
CREATE INDEX idx_participants_released ON group_commerce.participants USING btree (user_id, campaign_id) WHERE state::text = 'released';
CREATE INDEX idx_participants_team_id ON group_commerce.participants USING btree (team_id, id) WHERE team_id IS NOT NULL;
CREATE INDEX idx_participants_tenant_id ON group_commerce.participants USING btree (tenant_id, campaign_id, id DESC);
CREATE UNIQUE INDEX participants_one_place_a_user ON group_commerce.participants USING btree (user_id, campaign_id, COALESCE(team_id, '')) WHERE state::text <> 'released';
alter table group_commerce.participants enable row level security;
alter table group_commerce.participants force row level security;
grant insert, select, update on group_commerce.participants to fusion_group_commerce;
grant select on group_commerce.participants to fusion_reader;

-- table: group_commerce.teams
create table group_commerce.teams (
  id             varchar     not null,
  tenant_id      varchar     not null,
  campaign_id    varchar     not null,
  code           varchar     not null,
  leader         varchar     not null,
  size           integer     not null,
  joined         integer     not null default 0,
  secured        integer     not null default 0,
  status         varchar     not null,
  listed         boolean     not null default false,
  merge_refusals integer     not null default 0,
  end_time       timestamptz not null,
  merged_into    varchar,
  settled_at     timestamptz,
  version        integer     not null default 1,
  created_at     timestamptz not null,
  updated_at     timestamptz not null,
  constraint teams_pkey PRIMARY KEY (id),
  constraint teams_code_unique UNIQUE (code),
  constraint teams_merged_into_fkey FOREIGN KEY (merged_into) REFERENCES group_commerce.teams(id),
  constraint teams_merge_refusals CHECK (merge_refusals >= 0),
  constraint teams_merged_into_another CHECK ((status::text = 'merged') = (merged_into IS NOT NULL) AND merged_into::text <> id::text),
  constraint teams_not_overfull CHECK (joined >= 0 AND joined <= size),
  constraint teams_secured_have_places CHECK (secured >= 0 AND secured <= joined),
  constraint teams_status CHECK (status::text = ANY ('{forming,successful,expired,merged,cancelled}'::text[]))
) with (fillfactor=70);
CREATE INDEX idx_teams_campaign_id ON group_commerce.teams USING btree (campaign_id, id DESC);
CREATE INDEX idx_teams_due ON group_commerce.teams USING btree (tenant_id, end_time, id) WHERE status::text = 'forming';
CREATE INDEX idx_teams_forming ON group_commerce.teams USING btree (campaign_id, id) WHERE status::text = 'forming';
CREATE INDEX idx_teams_status ON group_commerce.teams USING btree (campaign_id, status, listed, id DESC);
CREATE INDEX idx_teams_to_release ON group_commerce.teams USING btree (tenant_id, id) WHERE settled_at IS NULL AND (status in ('expired', 'cancelled'));
CREATE INDEX idx_teams_to_settle ON group_commerce.teams USING btree (tenant_id, id) WHERE settled_at IS NULL AND status::text = 'successful';
alter table group_commerce.teams enable row level security;
alter table group_commerce.teams force row level security;
grant insert, select, update on group_commerce.teams to fusion_group_commerce;
grant select (id, tenant_id, campaign_id, size, joined, secured, status, listed, merge_refusals, end_time, merged_into, settled_at, version, created_at, updated_at) on group_commerce.teams to fusion_reader;

-- table: group_commerce.waiting_places
create table group_commerce.waiting_places (
  id            varchar     not null,
  tenant_id     varchar     not null,
  campaign_id   varchar     not null,
  user_id       varchar     not null,
  state         varchar     not null,
  offered_until timestamptz,
  created_at    timestamptz not null,
  updated_at    timestamptz not null,
  constraint waiting_places_pkey PRIMARY KEY (id),
  constraint waiting_places_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES group_commerce.group_commerce_campaigns(id),
  constraint waiting_places_offer CHECK ((state::text = 'offered') <= (offered_until IS NOT NULL)),
  constraint waiting_places_state CHECK (state in ('waiting', 'offered', 'taken', 'lapsed', 'left', 'ended'))
);
CREATE INDEX idx_waiting_places_ended ON group_commerce.waiting_places USING btree (user_id, campaign_id, id DESC) WHERE state in ('taken', 'lapsed', 'left', 'ended');
CREATE INDEX idx_waiting_places_line ON group_commerce.waiting_places USING btree (campaign_id, id) WHERE state in ('waiting', 'offered');
CREATE INDEX idx_waiting_places_offers ON group_commerce.waiting_places USING btree (offered_until) WHERE state::text = 'offered';
CREATE INDEX idx_waiting_places_tenant_id ON group_commerce.waiting_places USING btree (tenant_id, campaign_id, id DESC);
CREATE UNIQUE INDEX waiting_places_one_a_user ON group_commerce.waiting_places USING btree (user_id, campaign_id) WHERE state in ('waiting', 'offered');
alter table group_commerce.waiting_places enable row level security;
alter table group_commerce.waiting_places force row level security;
grant insert, select, update on group_commerce.waiting_places to fusion_group_commerce;
grant select on group_commerce.waiting_places to fusion_reader;

-- table: inventory.adjustments
create table inventory.adjustments (
  id         uuid        not null default gen_random_uuid(),
  tenant_id  varchar     not null,
  sku        varchar     not null,
  delta      integer     not null,
  reason     varchar     not null,
  created_at timestamptz not null,
  quantity   integer,
  constraint adjustments_pkey PRIMARY KEY (id)
);
CREATE INDEX idx_adjustments_tenant_id ON inventory.adjustments USING btree (tenant_id, sku);
alter table inventory.adjustments enable row level security;
alter table inventory.adjustments force row level security;
grant insert, select on inventory.adjustments to fusion_inventory;

-- table: inventory.inventory
create table inventory.inventory (
  sku           varchar     not null,
  tenant_id     varchar     not null default 'default',
  quantity      integer     not null,
  version       integer     not null default 0,
  reserved      integer     not null default 0,
  updated_at    timestamptz not null default now(),
  low_threshold integer,
  constraint inventory_pkey PRIMARY KEY (sku, tenant_id),
  constraint inventory_low_threshold_not_negative CHECK (low_threshold >= 0),
  constraint inventory_quantity_not_negative CHECK (quantity >= 0),
  constraint inventory_reserved_not_negative CHECK (reserved >= 0),
  constraint inventory_units_fit CHECK ((quantity::bigint + reserved) <= 2147483647)
) with (fillfactor=70);
CREATE INDEX idx_inventory_tenant_id ON inventory.inventory USING btree (tenant_id, sku);
alter table inventory.inventory enable row level security;
alter table inventory.inventory force row level security;
grant insert, select, update on inventory.inventory to fusion_inventory;
grant select on inventory.inventory to fusion_catalog, fusion_orders, fusion_reader;

-- table: inventory.reservations
create table inventory.reservations (
  order_id   varchar     not null,
  tenant_id  varchar     not null,
  skus       text[]      not null,
  quantities integer[]   not null,
  status     varchar     not null,
  expires_at timestamptz,
  created_at timestamptz not null,
  unheard    boolean     not null default false,
  restocked  integer[],
  constraint reservations_pkey PRIMARY KEY (order_id),
  constraint reservations_hold_ends CHECK (status::text <> 'held' OR expires_at IS NOT NULL),
  constraint reservations_lines_match CHECK (cardinality(skus) = cardinality(quantities)),
  constraint reservations_status CHECK (status::text = ANY ('{pending,held,committed,released,refused}'::text[]))
);
CREATE INDEX idx_reservations_due ON inventory.reservations USING btree (tenant_id, expires_at) WHERE status::text = 'held';
CREATE INDEX idx_reservations_pending ON inventory.reservations USING btree (tenant_id, created_at) WHERE status::text = 'pending';
CREATE INDEX idx_reservations_unheard ON inventory.reservations USING btree (tenant_id, created_at) WHERE unheard;
alter table inventory.reservations enable row level security;
alter table inventory.reservations force row level security;
grant insert, select, update on inventory.reservations to fusion_inventory;
grant select on inventory.reservations to fusion_orders, fusion_reader;

-- table: orders.carts
create table orders.carts (
  id                    varchar     not null,
  tenant_id             varchar     not null,
  token_hash            varchar     not null,
  status                varchar     not null,
  currency              varchar(3)  not null,
  customer_id           varchar,
  items                 jsonb       not null default '[]'::jsonb,
  email                 varchar,
  phone                 varchar,
  shipping_address      jsonb,
  billing_address       jsonb,
  shipping_option_id    varchar,
  discount_codes        varchar[]   not null default '{}'::character varying[],
  organization_id       varchar,
  purchase_order_number varchar,
  metadata              jsonb       not null default '{}'::jsonb,
  source                jsonb,
  order_id              varchar,
  version               integer     not null default 1,
  expires_at            timestamptz not null,
  created_at            timestamptz not null,
  updated_at            timestamptz not null,
  tax_quote             jsonb,
  constraint carts_pkey PRIMARY KEY (id),
  constraint carts_items CHECK (jsonb_array_length(items) <= 200),
  constraint carts_ordered CHECK (status::text <> 'ordered' OR order_id IS NOT NULL),
  constraint carts_status CHECK (status::text = ANY ('{open,ordered,completed,cancelled,expired}'::text[])),
  constraint carts_token_hash_form CHECK (token_hash::text ~ '^[0-9a-f]{64}$')
);
CREATE INDEX idx_carts_customer_id ON orders.carts USING btree (tenant_id, customer_id, id DESC) WHERE customer_id IS NOT NULL;
CREATE INDEX idx_carts_ended ON orders.carts USING btree (tenant_id, updated_at) WHERE status in ('completed', 'cancelled', 'expired');
CREATE INDEX idx_carts_expires_at ON orders.carts USING btree (tenant_id, expires_at) WHERE status in ('open', 'ordered');
alter table orders.carts enable row level security;
alter table orders.carts force row level security;
grant delete, insert, select, update on orders.carts to fusion_orders;

-- table: orders.customers
create table orders.customers (
  id               varchar     not null,
  tenant_id        varchar     not null,
  email            varchar     not null,
  name             varchar,
  phone            varchar,
  addresses        jsonb       not null default '[]'::jsonb,
  customer_group   varchar,
  metadata         jsonb       not null default '{}'::jsonb,
  version          integer     not null default 1,
  created_at       timestamptz not null,
  updated_at       timestamptz not null,
  email_key        varchar     generated always as (lower(email::text)) stored,
  oidc_issuer      varchar,
  oidc_subject     varchar,
  vat_number       varchar,
  vat_status       varchar,
  vat_checked_at   timestamptz,
  vat_requested_at timestamptz,
  constraint customers_pkey PRIMARY KEY (id),
  constraint customers_vat CHECK ((vat_number IS NULL) = (vat_status IS NULL)),
  constraint customers_vat_pending CHECK (vat_status::text IS DISTINCT FROM 'pending' OR vat_requested_at IS NOT NULL),
  constraint customers_vat_status CHECK (vat_status in ('pending', 'valid', 'invalid'))
);
CREATE UNIQUE INDEX customers_email_unique ON orders.customers USING btree (tenant_id, email_key);
CREATE UNIQUE INDEX customers_oidc_unique ON orders.customers USING btree (tenant_id, oidc_issuer, oidc_subject) WHERE oidc_subject IS NOT NULL;
CREATE INDEX idx_customers_tenant_id ON orders.customers USING btree (tenant_id, id DESC);
CREATE INDEX idx_customers_vat_pending ON orders.customers USING btree (tenant_id, vat_requested_at) WHERE vat_status::text = 'pending';
alter table orders.customers enable row level security;
alter table orders.customers force row level security;
grant delete, insert, select, update on orders.customers to fusion_orders;
grant select on orders.customers to fusion_reader;

-- table: orders.discount_counters
create table orders.discount_counters (
  discount_id varchar not null,
  tenant_id   varchar not null,
  used        integer not null,
  constraint discount_counters_pkey PRIMARY KEY (discount_id),
  constraint discount_counters_used_not_negative CHECK (used >= 0)
);
alter table orders.discount_counters enable row level security;
alter table orders.discount_counters force row level security;
grant delete, insert, select, update on orders.discount_counters to fusion_orders;
grant select on orders.discount_counters to fusion_reader;

-- table: orders.discount_customers
create table orders.discount_customers (
  discount_id  varchar not null,
  customer_key varchar not null,
  tenant_id    varchar not null,
  used         integer not null,
  constraint discount_customers_once PRIMARY KEY (discount_id, customer_key),
  constraint discount_customers_used_not_negative CHECK (used >= 0)
);
alter table orders.discount_customers enable row level security;
alter table orders.discount_customers force row level security;
grant delete, insert, select, update on orders.discount_customers to fusion_orders;

-- table: orders.discount_uses
create table orders.discount_uses (
  order_id     varchar not null,
  discount_id  varchar not null,
  tenant_id    varchar not null,
  customer_key varchar not null,
  is_taken     boolean not null,
  constraint discount_uses_once PRIMARY KEY (order_id, discount_id)
);
CREATE INDEX idx_discount_uses_discount_id ON orders.discount_uses USING btree (discount_id);
alter table orders.discount_uses enable row level security;
alter table orders.discount_uses force row level security;
grant delete, insert, select, update on orders.discount_uses to fusion_orders;

-- table: orders.discounts
create table orders.discounts (
  id                 varchar       not null,
  tenant_id          varchar       not null,
  code               varchar,
  code_key           varchar       generated always as (upper(code::text)) stored,
  name               varchar       not null,
  type               varchar       not null,
  value              numeric(10,2) not null,
  currency           varchar(3),
  starts_at          timestamptz,
  ends_at            timestamptz,
  usage_limit        integer,
  per_customer_limit integer,
  min_subtotal       numeric(10,2),
  skus               varchar[],
  collections        varchar[],
  combinable         boolean       not null,
  deleted_at         timestamptz,
  version            integer       not null default 1,
  created_at         timestamptz   not null,
  updated_at         timestamptz   not null,
  constraint discounts_pkey PRIMARY KEY (id),
  constraint discounts_currency CHECK (currency IS NOT NULL OR type::text <> 'amount' AND min_subtotal IS NULL),
  constraint discounts_min_subtotal_not_negative CHECK (min_subtotal >= 0::numeric),
  constraint discounts_per_customer_limit CHECK (per_customer_limit >= 1),
  constraint discounts_percentage CHECK (type::text <> 'percentage' OR value <= 100::numeric),
  constraint discounts_period CHECK (ends_at > starts_at),
  constraint discounts_type CHECK (type in ('percentage', 'amount', 'free_shipping')),
  constraint discounts_usage_limit CHECK (usage_limit >= 1),
  constraint discounts_value_not_negative CHECK (value >= 0::numeric)
);
CREATE UNIQUE INDEX discounts_code_unique ON orders.discounts USING btree (tenant_id, code_key) WHERE deleted_at IS NULL AND code IS NOT NULL;
CREATE INDEX idx_discounts_automatic ON orders.discounts USING btree (tenant_id) WHERE code IS NULL AND deleted_at IS NULL;
CREATE INDEX idx_discounts_tenant_id ON orders.discounts USING btree (tenant_id, id DESC);
alter table orders.discounts enable row level security;
alter table orders.discounts force row level security;
grant delete, insert, select, update on orders.discounts to fusion_orders;
grant select on orders.discounts to fusion_reader;

-- table: orders.orders
create table orders.orders (
  id                    varchar         not null,
  customer_id           varchar         not null,
  items                 jsonb           not null,
  total                 numeric(10,2)   not null,
  currency              varchar(3)      not null,
  status                varchar         not null,
  created_at            timestamptz     not null default now(),
  tenant_id             varchar         not null default 'default',
  organization_id       varchar,
  purchase_order_number varchar,
  shipping_address      jsonb,
  campaign_id           varchar,
  failure_reason        varchar,
  updated_at            timestamptz     not null default now(),
  place_open            boolean         not null default false,
  cart_id               varchar,
  source                jsonb,
  email                 varchar,
  metadata              jsonb,
  billing_address       jsonb,
  subtotal              numeric(10,2),
  discount_total        numeric(10,2),
  shipping_total        numeric(10,2),
  shipping_tax          numeric(10,2),
  tax_total             numeric(10,2),
  tax_included          boolean,
  tax_lines             jsonb,
  discounts             jsonb,
  shipping_option       jsonb,
  lines                 jsonb,
  refunded_quantities   integer[],
  fulfilled_quantities  integer[],
  restocked_quantities  integer[],
  shipping_refunded     numeric(10,2),
  refunded_amounts      numeric(10,2)[],
  returned_quantities   integer[],
  tax_calculation       varchar,
  constraint orders_pkey PRIMARY KEY (id),
  constraint orders_status CHECK (status::text = ANY ('{created,confirmed,shipped,delivered,failed,cancelled,refunded}'::text[])),
  constraint orders_total_not_negative CHECK (total >= 0::numeric)
);
CREATE INDEX idx_orders_cart_id ON orders.orders USING btree (cart_id) WHERE cart_id IS NOT NULL;
CREATE INDEX idx_orders_customer_id ON orders.orders USING btree (tenant_id, customer_id, id DESC);
CREATE INDEX idx_orders_organization_id ON orders.orders USING btree (organization_id, tenant_id, id DESC) WHERE organization_id IS NOT NULL;
CREATE INDEX idx_orders_place_open ON orders.orders USING btree (updated_at) WHERE place_open;
CREATE INDEX idx_orders_status ON orders.orders USING btree (tenant_id, status, id DESC);
CREATE INDEX idx_orders_tenant_id ON orders.orders USING btree (tenant_id, id DESC);
alter table orders.orders enable row level security;
alter table orders.orders force row level security;
grant insert, select, update on orders.orders to fusion_orders;
grant select on orders.orders to fusion_inventory, fusion_payments, fusion_reader, fusion_shipping;

-- table: orders.returns
create table orders.returns (
  id          varchar     not null,
  tenant_id   varchar     not null,
  order_id    varchar     not null,
  status      varchar     not null,
  items       jsonb       not null,
  reason      varchar,
  shipping    jsonb,
  refund_id   varchar,
  created_at  timestamptz not null,
  received_at timestamptz,
  updated_at  timestamptz not null,
  constraint returns_pkey PRIMARY KEY (id),
  constraint returns_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders.orders(id),
  constraint returns_received CHECK ((status::text = 'received') = (received_at IS NOT NULL)),
  constraint returns_refund CHECK (refund_id IS NULL OR status::text = 'received'),
  constraint returns_status CHECK (status in ('requested', 'received', 'cancelled'))
);
CREATE INDEX idx_returns_order_id ON orders.returns USING btree (order_id);
CREATE INDEX idx_returns_refund_id ON orders.returns USING btree (refund_id) WHERE refund_id IS NOT NULL;
CREATE INDEX idx_returns_tenant_id ON orders.returns USING btree (tenant_id, id DESC);
alter table orders.returns enable row level security;
alter table orders.returns force row level security;
grant insert, select, update on orders.returns to fusion_orders;
grant select on orders.returns to fusion_reader;

-- table: orders.shipping_options
create table orders.shipping_options (
  id           varchar       not null,
  tenant_id    varchar       not null,
  name         varchar       not null,
  countries    varchar[]     not null,
  currency     varchar(3)    not null,
  price        numeric(10,2) not null,
  free_from    numeric(10,2),
  min_weight   integer,
  max_weight   integer,
  min_days     integer,
  max_days     integer,
  tax_category varchar,
  version      integer       not null default 1,
  created_at   timestamptz   not null,
  updated_at   timestamptz   not null,
  constraint shipping_options_pkey PRIMARY KEY (id),
  constraint shipping_options_days CHECK (max_days >= min_days),
  constraint shipping_options_free_from_not_negative CHECK (free_from >= 0::numeric),
  constraint shipping_options_max_days_not_negative CHECK (max_days >= 0),
  constraint shipping_options_max_weight_not_negative CHECK (max_weight >= 0),
  constraint shipping_options_min_days_not_negative CHECK (min_days >= 0),
  constraint shipping_options_min_weight_not_negative CHECK (min_weight >= 0),
  constraint shipping_options_price_not_negative CHECK (price >= 0::numeric),
  constraint shipping_options_weights CHECK (max_weight >= min_weight)
);
CREATE INDEX idx_shipping_options_tenant_id ON orders.shipping_options USING btree (tenant_id, id DESC);
alter table orders.shipping_options enable row level security;
alter table orders.shipping_options force row level security;
grant delete, insert, select, update on orders.shipping_options to fusion_orders;
grant select on orders.shipping_options to fusion_reader;

-- table: orders.tax_rates
create table orders.tax_rates (
  id         varchar      not null,
  tenant_id  varchar      not null,
  name       varchar      not null,
  country    varchar(2)   not null,
  region     varchar,
  category   varchar,
  rate       numeric(7,4) not null,
  version    integer      not null default 1,
  created_at timestamptz  not null,
  updated_at timestamptz  not null,
  lookup_key varchar      generated always as (((((((tenant_id::text || ' ') || country::text) || ' ') || COALESCE(region, '')::text) || ' ') || COALESCE(category, '')::text)) stored,
  constraint tax_rates_pkey PRIMARY KEY (id),
  constraint tax_rates_rate CHECK (rate >= 0::numeric AND rate <= 100::numeric)
);
CREATE INDEX idx_tax_rates_tenant_id ON orders.tax_rates USING btree (tenant_id, id DESC);
CREATE UNIQUE INDEX tax_rates_once ON orders.tax_rates USING btree (lookup_key);
alter table orders.tax_rates enable row level security;
alter table orders.tax_rates force row level security;
grant delete, insert, select, update on orders.tax_rates to fusion_orders;
grant select on orders.tax_rates to fusion_group_commerce, fusion_reader;

-- table: payments.account_readings
create table payments.account_readings (
  tenant_id    varchar     not null,
  account      varchar     not null,
  read_until   timestamptz,
  tried_at     timestamptz not null default '-infinity'::timestamp with time zone,
  rechecked_at timestamptz not null default '-infinity'::timestamp with time zone,
  withdrawn_at timestamptz,
  constraint account_readings_once PRIMARY KEY (tenant_id, account)
);
CREATE INDEX idx_account_readings_rechecked_at ON payments.account_readings USING btree (rechecked_at);
CREATE INDEX idx_account_readings_tried_at ON payments.account_readings USING btree (tried_at);
alter table payments.account_readings enable row level security;
alter table payments.account_readings force row level security;
grant insert, select, update on payments.account_readings to fusion_payments;

-- table: payments.payments
create table payments.payments (
  payment_id               varchar       not null,
  order_id                 varchar       not null,
  amount                   numeric(10,2) not null,
  currency                 varchar(3)    not null,
  status                   varchar       not null,
  stripe_payment_intent_id varchar,
  failure_reason           text,
  created_at               timestamptz   default now(),
  tenant_id                varchar       not null default 'default',
  updated_at               timestamptz   not null default now(),
  client_secret            varchar,
  captured                 numeric(10,2) not null default 0,
  refunded                 numeric(10,2) not null default 0,
  refund_done              numeric(10,2) not null default 0,
  stripe_status            varchar,
  attempt                  integer       not null default 1,
  intent_open              boolean       not null default false,
  checked_at               timestamptz   not null default now(),
  dispute                  varchar,
  mode                     varchar       not null default 'order',
  campaign_id              varchar,
  user_id                  varchar,
  setup_intent_id          varchar,
  customer_id              varchar,
  payment_method_id        varchar,
  capture_asked            boolean       not null default false,
  refunds_told             numeric(10,2) not null default 0,
  charge_asked_at          timestamptz,
  charges_looked_at        timestamptz,
  asked_at                 timestamptz,
  stripe_account           varchar,
  tax_calculation          varchar,
  authorized               numeric(10,2),
  action_by                timestamptz,
  constraint payments_pkey PRIMARY KEY (payment_id),
  constraint payments_amount_not_negative CHECK (amount >= 0::numeric),
  constraint payments_captured_at_most_authorized CHECK (amount <= authorized),
  constraint payments_dispute CHECK (dispute::text = ANY ('{open,won,lost}'::text[])),
  constraint payments_mode CHECK (mode::text = ANY ('{order,hold,card}'::text[])),
  constraint payments_refunds_within_captured CHECK (0::numeric <= refund_done AND refund_done <= refunded AND refunded <= captured),
  constraint payments_status CHECK (status::text = ANY ('{pending,succeeded,failed,cancelled,refunded}'::text[]))
);
CREATE INDEX idx_payments_account ON payments.payments USING btree (tenant_id, stripe_account) WHERE stripe_account IS NOT NULL AND (status::text = 'pending' OR intent_open OR refunds_told > refund_done);
CREATE INDEX idx_payments_open ON payments.payments USING btree (tenant_id, checked_at) WHERE status::text = 'pending' OR intent_open OR refunds_told > refund_done;
CREATE INDEX idx_payments_order ON payments.payments USING btree (order_id, tenant_id);
CREATE INDEX idx_payments_tenant_id ON payments.payments USING btree (tenant_id, payment_id DESC);
CREATE UNIQUE INDEX payments_intent_unique ON payments.payments USING btree (stripe_payment_intent_id) WHERE stripe_payment_intent_id IS NOT NULL;
CREATE UNIQUE INDEX payments_one_live_an_order ON payments.payments USING btree (order_id) WHERE status in ('pending', 'succeeded');
CREATE UNIQUE INDEX payments_setup_unique ON payments.payments USING btree (setup_intent_id) WHERE setup_intent_id IS NOT NULL;
alter table payments.payments enable row level security;
alter table payments.payments force row level security;
grant insert, select, update on payments.payments to fusion_payments;
grant select on payments.payments to fusion_orders, fusion_reader;

-- table: payments.intents
create table payments.intents (
  stripe_id      varchar     not null,
  tenant_id      varchar     not null,
  payment_id     varchar     not null,
  amount         numeric     not null,
  currency       varchar     not null,
  status         varchar     not null,
  received       numeric     not null default 0,
  fault          varchar,
  created_at     timestamptz not null,
  stripe_account varchar,
  constraint intents_known_once PRIMARY KEY (stripe_id),
  constraint intents_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments.payments(payment_id)
);
CREATE INDEX idx_intents_payment_id ON payments.intents USING btree (payment_id);
CREATE INDEX idx_intents_tenant_id ON payments.intents USING btree (tenant_id, stripe_id DESC);
alter table payments.intents enable row level security;
alter table payments.intents force row level security;
grant insert, select, update on payments.intents to fusion_payments;

-- table: payments.refunds
create table payments.refunds (
  id               varchar       not null,
  tenant_id        varchar       not null,
  payment_id       varchar       not null,
  amount           numeric(10,2) not null,
  currency         varchar(3)    not null,
  status           varchar       not null,
  reason           varchar,
  failure_reason   varchar,
  stripe_refund_id varchar,
  attempt          integer       not null default 1,
  checked_at       timestamptz   not null,
  created_at       timestamptz   not null,
  stripe_intent_id varchar,
  automatic        boolean       not null default false,
  restock          boolean,
  items            jsonb,
  shipping         numeric(10,2),
  constraint refunds_pkey PRIMARY KEY (id),
  constraint refunds_stripe_refund_unique UNIQUE (stripe_refund_id),
  constraint refunds_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments.payments(payment_id),
  constraint refunds_amount_positive CHECK (amount > 0::numeric),
  constraint refunds_shipping_within CHECK (shipping >= 0::numeric AND shipping <= amount),
  constraint refunds_status CHECK (status in ('pending', 'succeeded', 'failed'))
);
CREATE INDEX idx_refunds_open ON payments.refunds USING btree (tenant_id, checked_at) WHERE status::text = 'pending';
CREATE INDEX idx_refunds_payment ON payments.refunds USING btree (payment_id, tenant_id);
CREATE INDEX idx_refunds_tenant_id ON payments.refunds USING btree (tenant_id, id DESC);
alter table payments.refunds enable row level security;
alter table payments.refunds force row level security;
grant insert, select, update on payments.refunds to fusion_payments;
grant select on payments.refunds to fusion_orders, fusion_reader;

-- table: payments.stripe_reading
create table payments.stripe_reading (
  one        boolean     not null default true,
  read_until timestamptz not null,
  constraint stripe_reading_pkey PRIMARY KEY (one),
  constraint stripe_reading_is_one CHECK (one)
);
grant insert, select, update on payments.stripe_reading to fusion_payments;

-- table: platform.tenants
create table platform.tenants (
  id                  varchar     not null,
  name                varchar     not null,
  created_at          timestamptz not null default now(),
  delayed_payments    boolean     not null default true,
  country             varchar(2),
  currency            varchar(3),
  prices_include_tax  boolean     not null default false,
  ship_from           jsonb,
  parcel              jsonb,
  carrier             varchar,
  carrier_credentials varchar,
  hold_seconds        integer,
  cart_seconds        integer,
  approval_seconds    integer,
  grace_seconds       integer,
  links               jsonb       not null default '{}'::jsonb,
  storefront_url      varchar,
  oidc                jsonb,
  stripe_account      varchar,
  version             integer     not null default 1,
  updated_at          timestamptz not null default now(),
  stripe_pending      varchar,
  automatic_labels    boolean     not null default true,
  tax_provider        varchar     not null default 'table',
  constraint tenants_pkey PRIMARY KEY (id),
  constraint tenants_stripe_account_unique UNIQUE (stripe_account),
  constraint tenants_stripe_pending_unique UNIQUE (stripe_pending),
  constraint tenants_approval_seconds CHECK (approval_seconds >= 1 AND approval_seconds <= 2592000),
  constraint tenants_carrier CHECK (carrier in ('manual', 'shippo', 'easypost')),
  constraint tenants_carrier_has_key CHECK (COALESCE(carrier, 'manual')::text = 'manual' OR ((carrier_credentials::jsonb -> carrier::text) ->> 'apiKey') IS NOT NULL),
  constraint tenants_carrier_has_sender CHECK (COALESCE(carrier, 'manual')::text = 'manual' OR ship_from IS NOT NULL),
  constraint tenants_cart_seconds CHECK (cart_seconds >= 1 AND cart_seconds <= 31536000),
  constraint tenants_grace_seconds CHECK (grace_seconds >= 1 AND grace_seconds <= 2592000),
  constraint tenants_hold_seconds CHECK (hold_seconds >= 1 AND hold_seconds <= 2592000),
  constraint tenants_id_form CHECK (id::text ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  constraint tenants_tax_provider CHECK (tax_provider in ('table', 'stripe'))
);
grant select on platform.tenants to fusion_platform;
grant select (id, country, currency, prices_include_tax, hold_seconds, cart_seconds, stripe_account, automatic_labels, tax_provider) on platform.tenants to fusion_orders;
grant select (id, delayed_payments, hold_seconds, grace_seconds, stripe_account) on platform.tenants to fusion_payments;
grant select (id, grace_seconds, tax_provider) on platform.tenants to fusion_group_commerce;
grant select (id, hold_seconds) on platform.tenants to fusion_inventory;
grant select (id, ship_from, parcel, carrier, carrier_credentials, automatic_labels) on platform.tenants to fusion_shipping;
grant update (name, delayed_payments, country, currency, prices_include_tax, ship_from, parcel, carrier, carrier_credentials, hold_seconds, cart_seconds, approval_seconds, grace_seconds, links, storefront_url, oidc, stripe_account, version, updated_at, stripe_pending, automatic_labels, tax_provider) on platform.tenants to fusion_platform;

-- table: platform.api_keys
create table platform.api_keys (
  id         varchar     not null,
  tenant_id  varchar     not null,
  prefix     varchar     not null,
  key_hash   varchar     not null,
  kind       varchar     not null,
  name       varchar,
  scopes     text[]      not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  origins    text[],
  away       boolean     not null default false,
  constraint api_keys_pkey PRIMARY KEY (id),
  constraint api_keys_key_hash_unique UNIQUE (key_hash),
  constraint api_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES platform.tenants(id),
  constraint api_keys_key_hash_form CHECK (key_hash::text ~ '^[0-9a-f]{64}$'),
  constraint api_keys_kind CHECK (kind in ('secret', 'publishable')),
  constraint api_keys_origins_of_publishable CHECK (origins IS NULL OR kind::text = 'publishable')
);
CREATE INDEX idx_api_keys_tenant_id ON platform.api_keys USING btree (tenant_id, id);
alter table platform.api_keys enable row level security;
alter table platform.api_keys force row level security;
grant insert, select, update on platform.api_keys to fusion_platform;
grant select (id, prefix, key_hash) on platform.api_keys to fusion_audit;

-- table: platform.customer_sessions
create table platform.customer_sessions (
  token_hash  varchar     not null,
  tenant_id   varchar     not null,
  customer_id varchar     not null,
  created_at  timestamptz not null,
  expires_at  timestamptz not null,
  constraint customer_sessions_pkey PRIMARY KEY (token_hash),
  constraint customer_sessions_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES orders.customers(id) ON DELETE CASCADE,
  constraint customer_sessions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES platform.tenants(id),
  constraint customer_sessions_token_hash_form CHECK (token_hash::text ~ '^[0-9a-f]{64}$')
);
CREATE INDEX idx_customer_sessions_customer_id ON platform.customer_sessions USING btree (customer_id);
CREATE INDEX idx_customer_sessions_expires_at ON platform.customer_sessions USING btree (expires_at);
alter table platform.customer_sessions enable row level security;
alter table platform.customer_sessions force row level security;
grant delete, insert, select, update on platform.customer_sessions to fusion_platform;

-- table: platform.dead_letters
create table platform.dead_letters (
  id          varchar     not null,
  tenant_id   varchar     not null,
  sink        varchar     not null,
  event_id    varchar     not null,
  topic       varchar     not null,
  key         varchar     not null,
  seq         bigint,
  message     jsonb       not null,
  reason      text        not null,
  attempts    integer     not null,
  created_at  timestamptz not null,
  replayed_at timestamptz,
  retry_at    timestamptz,
  constraint dead_letters_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX dead_letters_open_once ON platform.dead_letters USING btree (sink, event_id) WHERE replayed_at IS NULL;
CREATE INDEX idx_dead_letters_tenant_id ON platform.dead_letters USING btree (tenant_id, id DESC);
alter table platform.dead_letters enable row level security;
alter table platform.dead_letters force row level security;
grant delete, insert, select, update on platform.dead_letters to fusion_platform;
grant select on platform.dead_letters to fusion_reader;

-- table: platform.events
create table platform.events (
  tenant_id   varchar     not null,
  seq         bigint      not null generated always as identity,
  id          uuid        not null default gen_random_uuid(),
  topic       varchar     not null,
  key         varchar     not null,
  payload     jsonb       not null,
  traceparent varchar,
  "time"      timestamptz not null,
  constraint events_pkey PRIMARY KEY (tenant_id, seq)
);
CREATE INDEX idx_events_key ON platform.events USING btree (tenant_id, key, seq);
CREATE INDEX idx_events_topic ON platform.events USING btree (tenant_id, topic, seq);
alter table platform.events enable row level security;
alter table platform.events force row level security;
grant insert (tenant_id, topic, key, payload, traceparent, "time"), select (tenant_id, seq, topic, key) on platform.events to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_shipping;
grant insert, select on platform.events to fusion_platform;
grant select on platform.events to fusion_reader;

-- table: platform.idempotency
create table platform.idempotency (
  tenant_id    varchar     not null,
  operation    varchar     not null,
  key          varchar     not null,
  request_hash varchar     not null,
  answer       jsonb,
  locked_until timestamptz,
  created_at   timestamptz not null,
  constraint idempotency_once PRIMARY KEY (tenant_id, operation, key)
);
CREATE INDEX idx_idempotency_created_at ON platform.idempotency USING btree (created_at);
alter table platform.idempotency enable row level security;
alter table platform.idempotency force row level security;
grant delete, insert, select, update on platform.idempotency to fusion_platform;

-- table: platform.inbox
create table platform.inbox (
  tenant_id  varchar     not null,
  consumer   varchar     not null,
  event_id   varchar     not null,
  applied_at timestamptz not null,
  constraint inbox_once PRIMARY KEY (consumer, event_id)
);
CREATE INDEX idx_inbox_applied_at ON platform.inbox USING btree (applied_at);
alter table platform.inbox enable row level security;
alter table platform.inbox force row level security;
grant delete, insert, select, update on platform.inbox to fusion_platform;

-- table: platform.job_secrets
create table platform.job_secrets (
  sha256     varchar     not null,
  name       varchar     not null,
  created_at timestamptz not null default now(),
  constraint job_secrets_pkey PRIMARY KEY (sha256),
  constraint job_secrets_sha256_form CHECK (sha256::text ~ '^[0-9a-f]{64}$')
);
grant select on platform.job_secrets to fusion_platform;

-- table: platform.migrations
create table platform.migrations (
  name       varchar     not null,
  sha256     varchar     not null,
  applied_at timestamptz not null default now(),
  constraint migrations_pkey PRIMARY KEY (name)
);

-- table: platform.outbox
create table platform.outbox (
  sink       varchar     not null,
  seq        bigint      not null,
  tenant_id  varchar     not null,
  key        varchar     not null,
  attempts   integer     not null default 0,
  due_at     timestamptz not null,
  lease      varchar,
  last_error varchar,
  constraint outbox_once PRIMARY KEY (sink, seq)
) with (fillfactor=70, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=2000);
CREATE INDEX idx_outbox_due ON platform.outbox USING btree (sink, due_at, seq);
CREATE INDEX idx_outbox_key ON platform.outbox USING btree (sink, key, seq);
alter table platform.outbox enable row level security;
alter table platform.outbox force row level security;
grant delete, insert, select, update on platform.outbox to fusion_platform;
grant insert (sink, seq, tenant_id, key, due_at) on platform.outbox to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_shipping;

-- table: platform.security
create table platform.security (
  only_row     boolean not null default true,
  inner_key    bytea   not null,
  outer_key    bytea   not null,
  sealed       boolean not null,
  passed_clock boolean not null default false,
  constraint security_pkey PRIMARY KEY (only_row),
  constraint security_inner_key_length CHECK (length(inner_key) = 64),
  constraint security_only_row CHECK (only_row),
  constraint security_outer_key_length CHECK (length(outer_key) = 64)
);
grant select on platform.security to fusion_platform;

-- table: platform.sinks
create table platform.sinks (
  sink         varchar     not null,
  failures     integer     not null default 0,
  paused_until timestamptz not null default '-infinity'::timestamp with time zone,
  constraint sinks_pkey PRIMARY KEY (sink)
);
grant select, update on platform.sinks to fusion_platform;

-- table: platform.tenant_moves
create table platform.tenant_moves (
  id         varchar     not null,
  state      varchar     not null,
  cell       varchar     not null,
  move_id    uuid        not null,
  forwards   boolean     not null default false,
  steps      jsonb       not null default '{}'::jsonb,
  started_at timestamptz not null default now(),
  moved_at   timestamptz,
  purged_at  timestamptz,
  constraint tenant_moves_pkey PRIMARY KEY (id),
  constraint tenant_moves_id_fkey FOREIGN KEY (id) REFERENCES platform.tenants(id),
  constraint tenant_moves_state CHECK (state in ('moving', 'switching', 'moved', 'arriving', 'clearing'))
);
grant select on platform.tenant_moves to fusion_platform;

-- table: shipping.label_requests
create table shipping.label_requests (
  order_id     varchar     not null,
  tenant_id    varchar     not null,
  shipment_id  varchar     not null,
  status       varchar     not null,
  address      jsonb       not null,
  sender       jsonb,
  parcel       jsonb,
  attempts     integer     not null default 0,
  leased_until timestamptz,
  last_error   text,
  tried_at     timestamptz not null,
  created_at   timestamptz not null,
  provider     varchar,
  own_account  boolean     not null default false,
  is_part      boolean     not null default false,
  quantities   integer[],
  request_key  varchar,
  constraint label_requests_pkey PRIMARY KEY (shipment_id),
  constraint label_requests_status CHECK (status in ('open', 'made', 'refused', 'ended'))
);
CREATE INDEX idx_label_requests_open ON shipping.label_requests USING btree (tried_at) WHERE status::text = 'open';
CREATE INDEX idx_label_requests_order ON shipping.label_requests USING btree (order_id, tenant_id);
CREATE INDEX idx_label_requests_tenant_id ON shipping.label_requests USING btree (tenant_id, order_id);
CREATE INDEX idx_label_requests_tenant_open ON shipping.label_requests USING btree (tenant_id, tried_at) WHERE status::text = 'open';
CREATE UNIQUE INDEX label_requests_one_whole_an_order ON shipping.label_requests USING btree (order_id) WHERE NOT is_part;
alter table shipping.label_requests enable row level security;
alter table shipping.label_requests force row level security;
grant insert, select, update on shipping.label_requests to fusion_shipping;
grant select on shipping.label_requests to fusion_reader;

-- table: shipping.label_voids
create table shipping.label_voids (
  shipment_id     varchar     not null,
  tenant_id       varchar     not null,
  order_id        varchar     not null,
  provider        varchar,
  carrier         varchar,
  tracking_number varchar,
  external_id     varchar,
  status          varchar     not null,
  attempts        integer     not null default 0,
  due_at          timestamptz not null,
  last_error      text,
  created_at      timestamptz not null,
  own_account     boolean     not null default false,
  constraint label_voids_pkey PRIMARY KEY (shipment_id),
  constraint label_voids_status CHECK (status in ('open', 'done', 'refused'))
);
CREATE INDEX idx_label_voids_due ON shipping.label_voids USING btree (due_at) WHERE status::text = 'open';
CREATE INDEX idx_label_voids_open ON shipping.label_voids USING btree (tenant_id, due_at) WHERE status::text = 'open';
CREATE INDEX idx_label_voids_tenant_id ON shipping.label_voids USING btree (tenant_id, shipment_id);
alter table shipping.label_voids enable row level security;
alter table shipping.label_voids force row level security;
grant insert, select, update on shipping.label_voids to fusion_shipping;

-- table: shipping.shipments
create table shipping.shipments (
  id              varchar     not null,
  order_id        varchar     not null,
  tracking_number varchar     not null,
  carrier         varchar     not null,
  label_url       text        not null,
  status          varchar     not null,
  created_at      timestamptz default now(),
  tenant_id       varchar     not null default 'default',
  provider        varchar     not null default 'manual',
  external_id     varchar,
  exception       text,
  tracked_at      timestamptz,
  updated_at      timestamptz not null default now(),
  cancelled_at    timestamptz,
  own_account     boolean     not null default false,
  quantities      integer[],
  constraint shipments_pkey PRIMARY KEY (id),
  constraint shipments_status CHECK (status in ('created', 'in_transit', 'delivered', 'cancelled'))
);
CREATE INDEX idx_shipments_order ON shipping.shipments USING btree (order_id, tenant_id);
CREATE INDEX idx_shipments_tenant_id ON shipping.shipments USING btree (tenant_id, id DESC);
CREATE INDEX idx_shipments_tracking_number ON shipping.shipments USING btree (tracking_number);
alter table shipping.shipments enable row level security;
alter table shipping.shipments force row level security;
grant insert, select, update on shipping.shipments to fusion_shipping;
grant select on shipping.shipments to fusion_orders, fusion_reader;

-- ==== Functions =====================================================================================================

-- function: audit.record()
-- src/db/audit/audit.sql
CREATE OR REPLACE FUNCTION audit.record()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  hidden constant text[] := '{key_hash,token_hash,carrier_credentials,search,message,import_run,import_counts,import_before,import_repeats,image_sources,has_list_prices,code_key,lookup_key}';
  personal constant text[] := '{email,email_key,name,phone,addresses,metadata,vat_number,oidc_subject}';
  old_row jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) - hidden end;
  new_row jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) - hidden end;
  row_tenant varchar := coalesce(coalesce(new_row, old_row)->>'tenant_id', coalesce(new_row, old_row)->>'id');
  caller_tenant varchar := current_setting('app.tenant_id', true);
  api_key record;
begin
  -- `npm run cells` copies and deletes the rows of a tenant that moves, and copies its audit log too.
  if current_setting('app.copying', true) = 'on' and session_user <> 'fusion_worker' then
    return null;
  end if;
  if tg_argv[0] = 'customer' then
    old_row := old_row - personal;
    new_row := new_row - personal;
  elsif tg_argv[0] = 'stock' then
    old_row := jsonb_build_object('quantity', new.quantity::bigint - new.delta);
  end if;
  select a.id, a.prefix into api_key from platform.api_keys a where a.key_hash = current_setting('app.key_hash', true);
  -- The policy of audit.log needs a tenant. An operator may work without having set one.
  perform set_config('app.tenant_id', row_tenant, true);
  insert into audit.log (tenant_id, actor, key_id, operation, subject, before, after, traceparent)
  values (row_tenant,
    case when api_key.id is not null then 'key ' || api_key.prefix
      when session_user = 'fusion_worker' then 'system'
      else concat_ws(' ', session_user, nullif(current_setting('app.operator', true), '')) end,
    api_key.id, tg_argv[0] || ' ' || lower(tg_op), coalesce(new_row, old_row)->>tg_argv[1], old_row, new_row,
    nullif(current_setting('app.traceparent', true), ''));
  perform set_config('app.tenant_id', coalesce(caller_tenant, ''), true);
  return null;
end
$function$;
alter function audit.record() owner to fusion_audit;
revoke all on function audit.record() from public;

-- function: audit.refuse_change()
-- migrations/20261122213100_keep_an_audit_log.sql
CREATE OR REPLACE FUNCTION audit.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  raise exception 'the audit log is only ever added to' using errcode = 'insufficient_privilege';
end
$function$;
alter function audit.refuse_change() owner to fusion_audit;
revoke all on function audit.refuse_change() from public;

-- function: catalog.add_fetched_images(jsonb,jsonb)
-- src/db/catalog/image-requests.sql
CREATE OR REPLACE FUNCTION catalog.add_fetched_images(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
alter function catalog.add_fetched_images(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.add_fetched_images(jsonb,jsonb) from public;
grant execute on function catalog.add_fetched_images(jsonb,jsonb) to fusion_worker;

-- function: catalog.add_image(jsonb,jsonb)
-- src/db/catalog/images.sql
CREATE OR REPLACE FUNCTION catalog.add_image(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
alter function catalog.add_image(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.add_image(jsonb,jsonb) from public;
grant execute on function catalog.add_image(jsonb,jsonb) to fusion_worker;

-- function: catalog.after_key(text,text,jsonb)
-- src/db/catalog/list-order.sql
CREATE OR REPLACE FUNCTION catalog.after_key(sort text, row_name text, key jsonb)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when key is null then 'true' else format('(%s) %s (%s)', catalog.sort_columns(sort, row_name),
    case when catalog.is_descending(sort) then '<' else '>' end,
    (select string_agg(case when sort in ('price', '-price') and n = 2 then format('%L::numeric', value)
      else quote_literal(value) end, ', ' order by n) from jsonb_array_elements_text(key) with ordinality e(value, n))) end
$function$;
alter function catalog.after_key(text,text,jsonb) owner to fusion_catalog;
revoke all on function catalog.after_key(text,text,jsonb) from public;
grant execute on function catalog.after_key(text,text,jsonb) to fusion_reader, fusion_search;

-- function: catalog.arrange_images(jsonb,jsonb)
-- src/db/catalog/images.sql
CREATE OR REPLACE FUNCTION catalog.arrange_images(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
alter function catalog.arrange_images(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.arrange_images(jsonb,jsonb) from public;
grant execute on function catalog.arrange_images(jsonb,jsonb) to fusion_worker;

-- function: catalog.collection_json(catalog.collections)
-- src/db/catalog/collections.sql
CREATE OR REPLACE FUNCTION catalog.collection_json(c catalog.collections)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', c.id, 'name', c.name, 'slug', c.slug, 'parentId', c.parent_id,
    'createdAt', platform.iso(c.created_at), 'updatedAt', platform.iso(c.updated_at))
$function$;
alter function catalog.collection_json(catalog.collections) owner to fusion_catalog;
revoke all on function catalog.collection_json(catalog.collections) from public;
grant execute on function catalog.collection_json(catalog.collections) to fusion_reader;

-- function: catalog.copy_to_collections(character varying[])
-- src/db/catalog/products.sql
CREATE OR REPLACE FUNCTION catalog.copy_to_collections(product_ids character varying[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
begin
  update catalog.collection_products m
  set status = p.status, currency = p.currency, price = p.price, name = p.name, group_id = p.group_id
  from catalog.products p
  where m.product_id = any(product_ids) and p.id = m.product_id
    and (m.status, m.currency, m.price, m.name, m.group_id)
      is distinct from (p.status, p.currency, p.price, p.name, p.group_id);
end
$function$;
alter function catalog.copy_to_collections(character varying[]) owner to fusion_catalog;
revoke all on function catalog.copy_to_collections(character varying[]) from public;

-- function: catalog.create_collection(jsonb,jsonb)
-- src/db/catalog/collections.sql
CREATE OR REPLACE FUNCTION catalog.create_collection(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
alter function catalog.create_collection(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.create_collection(jsonb,jsonb) from public;
grant execute on function catalog.create_collection(jsonb,jsonb) to fusion_worker;

-- function: catalog.create_price_list(jsonb,jsonb)
-- src/db/catalog/price-lists.sql
CREATE OR REPLACE FUNCTION catalog.create_price_list(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'priceLists.create');
  list catalog.price_lists;
begin
  if replay is not null then
    return replay;
  end if;
  insert into catalog.price_lists (id, tenant_id, name, currency, starts_at, ends_at, audience, audience_id, created_at,
    updated_at)
  values (input->>'id', platform.tenant(), input->>'name', input->>'currency', (input->>'startsAt')::timestamptz,
    (input->>'endsAt')::timestamptz, input->>'audience', input->>'audienceId', platform.clock(), platform.clock())
  returning * into list;
  perform catalog.report_price_list(list, 'created', 0);
  return platform.leave(call, 'priceLists.create',
    catalog.price_list_json(list) || jsonb_build_object('version', list.version));
end
$function$;
alter function catalog.create_price_list(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.create_price_list(jsonb,jsonb) from public;
grant execute on function catalog.create_price_list(jsonb,jsonb) to fusion_worker;

-- function: catalog.create_product(jsonb,jsonb)
-- src/db/catalog/products.sql
CREATE OR REPLACE FUNCTION catalog.create_product(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'products.create');
  product catalog.products;
  violated text;
  answer jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  product.id := input->>'id';
  product.group_id := input->>'groupId';
  product.options := coalesce(input->'options', '{}');
  if product.group_id is not null or product.options <> '{}' then
    answer := catalog.variant_faults(product);
    if answer <> '[]' then
      return platform.leave(call, 'products.create',
        jsonb_build_object('error', 'validation_failed', 'errors', answer));
    end if;
  end if;
  begin
    insert into catalog.products (id, sku, name, description, price, currency, tenant_id, created_at, updated_at,
      group_id, options, slug, weight, tax_category, compare_at_price, metadata)
    values (product.id, input->>'sku', input->>'name', input->>'description', (input->>'price')::numeric,
      input->>'currency', platform.tenant(), platform.clock(), platform.clock(), product.group_id, product.options,
      input->>'slug', (input->>'weight')::int, input->>'taxCategory', (input->>'compareAtPrice')::numeric,
      coalesce(input->'metadata', '{}'))
    returning * into product;
  exception when unique_violation then
    get stacked diagnostics violated = constraint_name;
    answer := catalog.taken_error(violated);
    if answer is null then
      raise;
    end if;
    return platform.leave(call, 'products.create', answer);
  end;
  perform inventory.upsert_stock(array[product.sku], array[(input->>'inventory')::int]);
  answer := catalog.product_json(product, (input->>'inventory')::int);
  perform platform.emit('product.created', product.id, answer, false);
  return platform.leave(call, 'products.create', answer || jsonb_build_object('version', product.version));
end
$function$;
alter function catalog.create_product(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.create_product(jsonb,jsonb) from public;
grant execute on function catalog.create_product(jsonb,jsonb) to fusion_worker;

-- function: catalog.create_product_group(jsonb,jsonb)
-- src/db/catalog/product-groups.sql
CREATE OR REPLACE FUNCTION catalog.create_product_group(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
alter function catalog.create_product_group(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.create_product_group(jsonb,jsonb) from public;
grant execute on function catalog.create_product_group(jsonb,jsonb) to fusion_worker;

-- function: catalog.delete_collection(jsonb,jsonb)
-- src/db/catalog/collections.sql
CREATE OR REPLACE FUNCTION catalog.delete_collection(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
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
$function$;
alter function catalog.delete_collection(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.delete_collection(jsonb,jsonb) from public;
grant execute on function catalog.delete_collection(jsonb,jsonb) to fusion_worker;

-- function: catalog.delete_price_list(jsonb,jsonb)
-- src/db/catalog/price-lists.sql
CREATE OR REPLACE FUNCTION catalog.delete_price_list(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'priceLists.delete');
  list catalog.price_lists;
begin
  if replay is not null then
    return replay;
  end if;
  list := catalog.lock_price_list(input->>'id', input->'ifMatch');
  delete from catalog.prices p where p.list_id = list.id;
  delete from catalog.price_lists l where l.id = list.id;
  perform catalog.report_price_list(list, 'deleted', list.price_count);
  return platform.leave(call, 'priceLists.delete', jsonb_build_object('id', list.id));
end
$function$;
alter function catalog.delete_price_list(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.delete_price_list(jsonb,jsonb) from public;
grant execute on function catalog.delete_price_list(jsonb,jsonb) to fusion_worker;

-- function: catalog.delete_product_group(jsonb,jsonb)
-- src/db/catalog/product-groups.sql
CREATE OR REPLACE FUNCTION catalog.delete_product_group(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
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
$function$;
alter function catalog.delete_product_group(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.delete_product_group(jsonb,jsonb) from public;
grant execute on function catalog.delete_product_group(jsonb,jsonb) to fusion_worker;

-- function: catalog.emit_change(catalog.products,catalog.products)
-- src/db/catalog/products.sql
CREATE OR REPLACE FUNCTION catalog.emit_change(before catalog.products, after catalog.products)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  topic constant text := catalog.topic_of_change(before, after);
begin
  if topic = 'product.archived' then
    perform platform.emit('product.archived', after.id, catalog.product_json(after, catalog.quantity_of(after)), false);
  elsif topic = 'product.updated' then
    perform platform.emit('product.updated', after.id, catalog.product_json(after, catalog.quantity_of(after)), false);
  end if;
end
$function$;
alter function catalog.emit_change(catalog.products,catalog.products) owner to fusion_catalog;
revoke all on function catalog.emit_change(catalog.products,catalog.products) from public;

-- function: catalog.find_collections(text[])
-- src/db/catalog/imported-groups.sql
CREATE OR REPLACE FUNCTION catalog.find_collections(names text[])
 RETURNS TABLE(name text, id character varying)
 LANGUAGE sql
 STABLE
AS $function$
  select n.name, coalesce((select c.id from catalog.collections c where c.id = n.name),
    (select c.id from catalog.collections c where c.tenant_id = (select platform.tenant()) and c.slug = n.name))
  from unnest(names) n(name)
$function$;
alter function catalog.find_collections(text[]) owner to fusion_catalog;
revoke all on function catalog.find_collections(text[]) from public;

-- function: catalog.find_groups(text[])
-- src/db/catalog/imported-groups.sql
CREATE OR REPLACE FUNCTION catalog.find_groups(names text[])
 RETURNS TABLE(name text, id character varying)
 LANGUAGE sql
 STABLE
AS $function$
  select n.name, coalesce((select g.id from catalog.product_groups g where g.id = n.name),
    (select g.id from catalog.product_groups g where g.tenant_id = (select platform.tenant()) and g.slug = n.name))
  from unnest(names) n(name)
$function$;
alter function catalog.find_groups(text[]) owner to fusion_catalog;
revoke all on function catalog.find_groups(text[]) from public;

-- function: catalog.find_image_requests(jsonb,jsonb)
-- src/db/catalog/image-requests.sql
CREATE OR REPLACE FUNCTION catalog.find_image_requests(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
alter function catalog.find_image_requests(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.find_image_requests(jsonb,jsonb) from public;
grant execute on function catalog.find_image_requests(jsonb,jsonb) to fusion_worker;

-- function: catalog.find_products(jsonb,text,boolean,jsonb,integer,integer)
-- src/db/catalog/lists.sql
CREATE OR REPLACE FUNCTION catalog.find_products(filter jsonb, sort text, fold boolean, after jsonb, most integer, bound integer, OUT ids character varying[], OUT keys jsonb[], OUT stopped jsonb)
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  condition constant text := catalog.list_condition(filter, 'p');
  by_search constant boolean := filter ? 'q' and sort = 'newest' and filter->>'status' = 'active' and not filter ? 'collection';
  finds_words constant boolean := filter ? 'q' and filter->>'status' = 'active' and not by_search
    and (filter ? 'words' or filter->>'pattern' ~ '[[:alnum:]]{3}');
  finds_prices constant boolean := (filter ? 'low' or filter ? 'high') and sort not in ('price', '-price') and not by_search;
  is_first constant text := case when fold then format('(select true from catalog.products v
      where v.group_id = p.group_id and %s and (%s) %s (%s) limit 1) is null', catalog.list_condition(filter, 'v'),
    catalog.sort_columns(sort, 'v'), case when catalog.is_descending(sort) then '>' else '<' end,
    catalog.sort_columns(sort, 'p')) else 'true' end;
  chosen varchar[] := array(select distinct jsonb_array_elements_text(filter->'ids'));
  is_chosen boolean := filter ? 'ids';
  has_gathered boolean := false;
  size integer := most;
  examined integer := 0;
  part varchar[];
  part_keys jsonb[];
begin
  ids := '{}';
  keys := '{}';
  loop
    if is_chosen then
      part := chosen;
    elsif by_search then
      part := array(select catalog.search_products(filter->>'q', filter->>'currency', after->>0, size));
      part_keys := array(select jsonb_build_array(id) from unnest(part) id);
    else
      select coalesce(array_agg(w.id order by w.n), '{}'), array_agg(w.key order by w.n) into part, part_keys
      from catalog.walk_products(filter->>'collection', sort, filter->>'status', filter->>'currency',
        (filter->>'low')::numeric, (filter->>'high')::numeric, after, size) with ordinality w(id, key, n);
    end if;
    execute format('select $1 || coalesce(array_agg(f.id), ''{}''), $2 || coalesce(array_agg(f.key), ''{}'')
      from (select p.id, %s as key from unnest($3) c(id)
        cross join lateral (select x.* from catalog.products x where x.id = c.id limit 1) p
        where %s and %s and %s order by %s limit %s) f',
      catalog.sort_key(sort, 'p'), condition, catalog.after_key(sort, 'p', after), is_first, catalog.sort_order(sort, 'p'),
      most - cardinality(ids)) into ids, keys using ids, keys, part;
    exit when cardinality(ids) >= most or is_chosen or cardinality(part) < size;
    after := part_keys[size];
    examined := examined + size;
    if examined >= bound then
      stopped := after;
      exit;
    end if;
    if examined >= 400 and not has_gathered and (finds_words or finds_prices) then
      has_gathered := true;
      chosen := case when finds_words
        then array(select catalog.search_products(filter->>'q', filter->>'currency', null, bound + 1))
        else array(select w.id from catalog.walk_products(filter->>'collection', 'price', filter->>'status',
          filter->>'currency', (filter->>'low')::numeric, (filter->>'high')::numeric, null, bound + 1) w) end;
      is_chosen := cardinality(chosen) <= bound;
    end if;
    size := least(size * 4, 1000, bound - examined);
  end loop;
end
$function$;
alter function catalog.find_products(jsonb,text,boolean,jsonb,integer,integer) owner to fusion_catalog;
revoke all on function catalog.find_products(jsonb,text,boolean,jsonb,integer,integer) from public;
grant execute on function catalog.find_products(jsonb,text,boolean,jsonb,integer,integer) to fusion_reader;

-- function: catalog.fits_currency(numeric,character varying)
-- src/db/catalog/products.sql
CREATE OR REPLACE FUNCTION catalog.fits_currency(price numeric, currency character varying)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select scale(trim_scale(price)) <= platform.currency_decimals(currency)
$function$;
alter function catalog.fits_currency(numeric,character varying) owner to fusion_catalog;
revoke all on function catalog.fits_currency(numeric,character varying) from public;

-- function: catalog.has_image(jsonb,jsonb,text)
-- src/db/catalog/image-requests.sql
CREATE OR REPLACE FUNCTION catalog.has_image(images jsonb, sources jsonb, url text)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select sources ? catalog.image_source(url)
    or exists (select from jsonb_array_elements(images) e where right(url, length(e->>'path')) = e->>'path')
$function$;
alter function catalog.has_image(jsonb,jsonb,text) owner to fusion_catalog;
revoke all on function catalog.has_image(jsonb,jsonb,text) from public;

-- function: catalog.image_refusal(catalog.products,text)
-- src/db/catalog/image-requests.sql
CREATE OR REPLACE FUNCTION catalog.image_refusal(p catalog.products, url text)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select case
    when p.id is null then 'The product does not exist.'
    when catalog.has_image(p.images, p.image_sources, url) then 'done'
    when jsonb_array_length(p.images) >= catalog.max_images()
      then format('A product has at most %s images. Delete one, then replay this.', catalog.max_images()) end
$function$;
alter function catalog.image_refusal(catalog.products,text) owner to fusion_catalog;
revoke all on function catalog.image_refusal(catalog.products,text) from public;

-- function: catalog.image_source(text)
-- src/db/catalog/images.sql
CREATE OR REPLACE FUNCTION catalog.image_source(url text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select encode(sha256(convert_to(url, 'UTF8')), 'hex')
$function$;
alter function catalog.image_source(text) owner to fusion_catalog;
revoke all on function catalog.image_source(text) from public;

-- function: catalog.import_collections(jsonb)
-- src/db/catalog/imported-groups.sql
CREATE OR REPLACE FUNCTION catalog.import_collections(rows jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  named constant text[] := array(select distinct c from jsonb_array_elements(rows) r
    cross join lateral jsonb_array_elements_text(r->'collections') c);
  created varchar[];
  locked varchar[];
begin
  -- Before the inserts, as for groups.
  perform 1 from catalog.collections c
  where c.id = any(array(select f.id from catalog.find_collections(named) f)) order by c.id for key share;
  with added as (
    insert into catalog.collections (id, tenant_id, name, slug, created_at, updated_at)
    select platform.uuid7(), platform.tenant(), f.name, f.name, platform.clock(), platform.clock()
    from catalog.find_collections(named) f where f.id is null order by f.name
    on conflict (tenant_id, slug) where slug is not null do nothing
    returning id
  )
  select array(select a.id from added a) into created;
  locked := array(select c.id from catalog.collections c
    where c.id = any(array(select f.id from catalog.find_collections(named) f)) order by c.id for key share);
  if exists (select from catalog.find_collections(named) f where f.id = any(locked) is not true) then
    raise exception using errcode = 'serialization_failure', message = 'a collection was deleted meanwhile';
  end if;
  return jsonb_build_object('created', to_jsonb(created),
    'ids', coalesce((select jsonb_object_agg(f.name, f.id) from catalog.find_collections(named) f), '{}'));
end
$function$;
alter function catalog.import_collections(jsonb) owner to fusion_catalog;
revoke all on function catalog.import_collections(jsonb) from public;

-- function: catalog.import_groups(jsonb)
-- src/db/catalog/imported-groups.sql
CREATE OR REPLACE FUNCTION catalog.import_groups(rows jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  named constant text[] := array(select distinct r->>'group' from jsonb_array_elements(rows) r where r->>'group' is not null);
  kept constant varchar[] := array(select p.group_id from jsonb_array_elements(rows) r
    cross join lateral (select c.group_id from catalog.products c
      where c.tenant_id = (select platform.tenant()) and c.sku = r->>'sku' limit 1) p
    where r ? 'options' and not r ? 'group' and p.group_id is not null);
  created varchar[];
  locked varchar[];
begin
  -- Before the inserts: who changes one of these groups may then wait for a slug that is inserted here.
  perform 1 from catalog.product_groups g
  where g.id = any(kept || array(select f.id from catalog.find_groups(named) f)) order by g.id for update;
  with first as (
    select distinct on (r.item->>'group') r.item->>'group' as slug, r.item->>'groupName' as name,
      array(select jsonb_array_elements_text(r.item->'optionNames')) as options
    from jsonb_array_elements(rows) with ordinality r(item, ord)
    where r.item->>'group' is not null and r.item ? 'optionNames' order by 1, r.ord
  ), added as (
    insert into catalog.product_groups (id, tenant_id, name, slug, options, created_at, updated_at)
    select platform.uuid7(), platform.tenant(), coalesce(f.name, f.slug), f.slug, f.options, platform.clock(),
      platform.clock()
    from first f join catalog.find_groups(named) n on n.name = f.slug where n.id is null order by f.slug
    on conflict (tenant_id, slug) where slug is not null do nothing
    returning id
  )
  select array(select a.id from added a) into created;
  locked := array(select g.id from catalog.product_groups g
    where g.id = any(kept || array(select f.id from catalog.find_groups(named) f)) order by g.id for update);
  return jsonb_build_object('locked', to_jsonb(locked), 'created', to_jsonb(created), 'ids', coalesce(
    (select jsonb_object_agg(f.name, f.id) from catalog.find_groups(named) f where f.id = any(locked)), '{}'));
end
$function$;
alter function catalog.import_groups(jsonb) owner to fusion_catalog;
revoke all on function catalog.import_groups(jsonb) from public;

-- function: catalog.import_products(jsonb,jsonb)
-- src/db/catalog/imports.sql
CREATE OR REPLACE FUNCTION catalog.import_products(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  results jsonb;
  violated text;
  run_id constant varchar := input->>'run';
  same_runs text[];
  named_groups jsonb := '{"ids": {}, "locked": [], "created": []}';
  named_collections jsonb := '{"ids": {}, "created": []}';
begin
  perform platform.identify(call, 'catalog:write');
  if input->'rows' = '[]' then
    return jsonb_build_object('tenant', platform.tenant(), 'replayed', false, 'answer',
      jsonb_build_object('results', '[]'::jsonb, 'currency', platform.tenant_currency()));
  end if;
  -- One import of a tenant at a time: two batches that write the same SKUs in different orders would deadlock. This
  -- lock comes first, then groups, collections and products by id, then stock by SKU.
  perform pg_advisory_xact_lock(hashtextextended(platform.tenant() || ' import', 0));
  insert into catalog.import_runs (id, tenant_id, key, created_at)
  select run_id, platform.tenant(), input->>'key', platform.clock() where run_id is not null
  on conflict (id) do nothing;
  same_runs := array(select r.id from catalog.import_runs r
    where r.tenant_id = platform.tenant() and r.created_at > platform.clock() - interval '24 hours'
      and run_id is not null and (r.ended_at is null or r.key = input->>'key'));
  if jsonb_path_exists(input, '$.rows[*].group') or jsonb_path_exists(input, '$.rows[*].options') then
    named_groups := catalog.import_groups(input->'rows');
  end if;
  if jsonb_path_exists(input, '$.rows[*].collections') then
    named_collections := catalog.import_collections(input->'rows');
  end if;
  begin
    with row as (
      select r.ord, r.item, r.item->>'sku' as sku from jsonb_array_elements(input->'rows') with ordinality r(item, ord)
    ), existing as (
      select p.old, (p.old).* from (
        select c.id from row
        cross join lateral ( -- `limit 1` keeps this a lookup by the unique index for each row
          select c.id from catalog.products c
          where c.tenant_id = (select platform.tenant()) and c.sku = row.sku limit 1
        ) c order by c.id
      ) wanted
      cross join lateral (select c as old from catalog.products c where c.id = wanted.id limit 1 for update) p
    ), merged as (
      select row.ord, row.sku, row.item, coalesce(k.id, row.item->>'id') as id,
        coalesce(row.item->>'name', k.name) as name,
        case when row.item ? 'description' then row.item->>'description' else k.description end as description,
        coalesce((row.item->>'price')::numeric, k.price) as price,
        coalesce(row.item->>'currency', k.currency) as currency, row.item ?| array['price', 'currency'] as priced,
        coalesce(row.item->>'status', k.status, 'active') as status,
        row.item ?| array['group', 'options'] as regrouped,
        case when row.item ? 'group' then named_groups->'ids'->>(row.item->>'group') else k.group_id end as group_id,
        coalesce(row.item->'options', case when not (row.item ? 'group' and row.item->>'group' is null) then k.options end,
          '{}') as options,
        case when row.item ? 'slug' then row.item->>'slug' else k.slug end as slug,
        case when row.item ? 'weight' then (row.item->>'weight')::int else k.weight end as weight,
        case when row.item ? 'taxCategory' then row.item->>'taxCategory' else k.tax_category end as tax_category,
        case when row.item ? 'compareAtPrice' then (row.item->>'compareAtPrice')::numeric
          else k.compare_at_price end as compare_at_price,
        case when row.item ? 'collections' then array(select distinct named_collections->'ids'->>c
            from jsonb_array_elements_text(row.item->'collections') c order by 1)::varchar[]
          else coalesce(k.collections, '{}') end as collections,
        coalesce(row.item->'metadata', k.metadata, '{}') as metadata,
        (row.item->>'inventory')::int as count, k.import_run, k.id is null as is_new, k.old,
        case when k.import_run = run_id then k.import_counts end as set_now,
        case when k.import_run = run_id then k.import_before
          when k.import_run = any(same_runs) then k.import_before || k.import_counts
          -- The last run set another count than the run before it, which broke off.
          when k.import_counts is not null and k.import_repeats = any(same_runs) then k.import_before end as set_before,
        case when k.import_run <> run_id and k.import_run = any(same_runs) then k.import_run
          else k.import_repeats end as repeats
      from row left join existing k on k.sku = row.sku
    ), counted as (
      select m.*, coalesce(m.count = any(m.set_before), false) as repeated from merged m
    ), checked as (
      select m.*, i.quantity as stock,
        case when m.repeated then null when m.is_new then coalesce(m.count, 0) else m.count end as inventory,
        case
        when m.name is null or m.price is null or m.currency is null then 'A new product needs name, price and currency.'
        when not catalog.fits_currency(m.price, m.currency)
          then format('%s has no decimals: %s does not fit', m.currency, m.price)
        when not catalog.fits_currency(m.compare_at_price, m.currency)
          then format('%s has no decimals: the compareAtPrice %s does not fit', m.currency, m.compare_at_price)
        when m.priced and platform.charge_limits(m.currency) is null then format('Stripe cannot charge %s.', m.currency)
        when not m.repeated and not inventory.is_count_allowed(m.count, i.quantity, i.reserved)
          then format('The count, with the units that orders hold, must not exceed %s.', inventory.max_units())
        when m.regrouped then catalog.option_fault(m.group_id, m.item->>'group', m.options)
        end as fault
      from counted m
      left join lateral (
        select s.quantity, s.reserved from inventory.inventory s
        where s.tenant_id = platform.tenant() and s.sku = m.sku limit 1
      ) i on true
    ), moved as ( -- rows that take options or a slug, or join a group
      select m.ord, m.sku, m.id, m.group_id, m.options, m.slug,
        m.group_id is not null and m.status = 'active' and (m.is_new or (m.old).status <> 'active'
          or (m.old).group_id is distinct from m.group_id or (m.old).options <> m.options) as takes_options,
        m.slug is not null and (m.is_new or (m.old).slug is distinct from m.slug) as takes_slug,
        m.group_id is not null and (m.is_new or (m.old).group_id is distinct from m.group_id) as joins
      from checked m where m.fault is null and (m.group_id is not null or m.slug is not null)
    ), holder as ( -- the products, or earlier rows, that have these already
      select m.ord, coalesce(o.sku, case when m.takes_options then nullif(first_value(m.sku)
          over (partition by m.takes_options, m.group_id, m.options order by m.ord), m.sku) end) as of_options,
        coalesce(s.sku, case when m.takes_slug then nullif(first_value(m.sku)
          over (partition by m.takes_slug, m.slug order by m.ord), m.sku) end) as of_slug,
        m.joins and 250 < count(*) filter (where m.joins) over (partition by m.group_id order by m.ord)
          + (select count(*) from catalog.products c where c.group_id = m.group_id) as is_full
      from moved m
      left join lateral (select o.sku from catalog.products o where m.takes_options and o.group_id = m.group_id
        and o.options = m.options and o.status = 'active' and o.id <> m.id limit 1) o on true
      left join lateral (select s.sku from catalog.products s where m.takes_slug
        and s.tenant_id = (select platform.tenant()) and s.slug = m.slug and s.id <> m.id limit 1) s on true
    ), validated as (
      select m.*, coalesce(m.fault, case
          when h.is_full then 'A product group has at most 250 products, archived ones included.'
          when h.of_options is not null then format('The product %s of this group has the same options.', h.of_options)
          when h.of_slug is not null then format('The product %s has the slug %s.', h.of_slug, m.slug) end) as reason,
        case when h.is_full then null when h.of_options is not null then 'variant_taken'
          when h.of_slug is not null then 'slug_taken' end as code,
        (input->>'retries')::boolean and not m.item ? 'retried'
          and exists (select from row r where r.sku in (h.of_options, h.of_slug)) as again
      from checked m
      left join holder h on h.ord = m.ord
    ), written as (
      insert into catalog.products as p
        (id, sku, name, description, price, currency, tenant_id, status, created_at, updated_at, group_id, options, slug,
         weight, tax_category, compare_at_price, collections, metadata, import_run, import_counts, import_before,
         import_repeats)
      select j.id, j.sku, j.name, j.description, j.price, j.currency, platform.tenant(), j.status, platform.clock(),
        platform.clock(), j.group_id, j.options, j.slug, j.weight, j.tax_category, j.compare_at_price, j.collections,
        j.metadata, case when j.count is not null then run_id end,
        case when j.repeated then j.set_now else j.set_now || j.count end, j.set_before,
        case when j.set_before is not null then j.repeats end
      from validated j where j.reason is null order by j.sku
      on conflict on constraint products_sku_unique do update
        set name = excluded.name, description = excluded.description, price = excluded.price,
            currency = excluded.currency, status = excluded.status, group_id = excluded.group_id,
            options = excluded.options, slug = excluded.slug, weight = excluded.weight,
            tax_category = excluded.tax_category, compare_at_price = excluded.compare_at_price,
            collections = excluded.collections, metadata = excluded.metadata,
            import_run = coalesce(excluded.import_run, p.import_run),
            import_counts = case when excluded.import_run is null then p.import_counts else excluded.import_counts end,
            import_before = case when excluded.import_run is null then p.import_before else excluded.import_before end,
            import_repeats = case when excluded.import_run is null then p.import_repeats
              else excluded.import_repeats end,
            version = platform.next_version(p.version), updated_at = excluded.updated_at
      returning p as product
    )
    select jsonb_agg(jsonb_build_object('sku', j.sku, 'id', j.id, 'fault', j.reason, 'code', j.code, 'again', j.again,
      'inventory', j.inventory, 'repeated', j.repeated or null, 'created', w.version = 1,
      'raced', j.is_new and w.version > 1
        or j.reason is null and j.regrouped and j.group_id is not null and not named_groups->'locked' ? j.group_id,
      'sorted', j.reason is null and j.item ? 'collections', 'collected', case when w.collections <> '{}' then w.id end,
      'images', case when j.reason is null then j.item->'images' end, 'event', w.event,
      'product', case when w.event is not null then catalog.product_json(w.product, coalesce(j.inventory, j.stock)) end)
      order by j.ord)
    into results
    from validated j
    left join lateral (
      select r.product, (r.product).id, (r.product).version, (r.product).collections,
        case when (r.product).version = 1 then 'product.created'
          else catalog.topic_of_change(j.old, r.product) end as event
      from written r where (r.product).sku = j.sku
    ) w on true;
  exception when unique_violation then
    get stacked diagnostics violated = constraint_name;
    if violated not in ('products_variant_unique', 'products_slug_unique') then
      raise;
    end if;
    -- A product took these options or this slug meanwhile. The Worker repeats the batch, which then rejects the line.
    raise exception using errcode = 'serialization_failure', message = 'what a row of this batch takes was taken meanwhile';
  end;
  if results @> '[{"raced": true}]' then
    -- Created, or moved to another group, since this call began: it was not locked or not validated. The Worker repeats
    -- the batch.
    raise exception using errcode = 'serialization_failure', message = 'a product of this batch was changed meanwhile';
  end if;
  if results @> '[{"sorted": true}]' then
    perform catalog.save_memberships(array(select r->>'id' from jsonb_array_elements(results) r
      where (r->>'sorted')::boolean));
  end if;
  perform catalog.copy_to_collections(array(select r->>'collected' from jsonb_array_elements(results) r
    where r->'collected' <> 'null'));
  perform inventory.upsert_stock(
    array(select r->>'sku' from jsonb_array_elements(results) r
          where r->'inventory' <> 'null' and r->'fault' = 'null' order by r->>'sku'),
    array(select (r->>'inventory')::int from jsonb_array_elements(results) r
          where r->'inventory' <> 'null' and r->'fault' = 'null' order by r->>'sku'));
  perform platform.emit(r->>'event', r->'product'->>'id', r->'product', false)
  from jsonb_array_elements(results) r where r->'event' <> 'null';
  if jsonb_path_exists(results, '$[*].images[*]') then
    perform catalog.request_images((select jsonb_agg(i.item || jsonb_build_object('productId', r.item->'id')
        order by r.ord, i.ord)
      from jsonb_array_elements(results) with ordinality r(item, ord)
      cross join lateral jsonb_array_elements(nullif(r.item->'images', 'null')) with ordinality i(item, ord)));
  end if;
  -- What was created for rejected rows alone goes again.
  if named_groups->'created' <> '[]' then
    delete from catalog.product_groups g where g.id = any(array(select jsonb_array_elements_text(named_groups->'created')))
      and not exists (select from catalog.products p where p.group_id = g.id);
  end if;
  if named_collections->'created' <> '[]' then
    delete from catalog.collections c where c.id = any(array(select jsonb_array_elements_text(named_collections->'created')))
      and not exists (select from catalog.collection_products m where m.collection_id = c.id);
  end if;
  if (input->>'last')::boolean then
    update catalog.import_runs r set ended_at = platform.clock() where r.tenant_id = platform.tenant()
      and r.id = run_id;
    delete from catalog.import_runs r
    where r.tenant_id = platform.tenant() and r.created_at <= platform.clock() - interval '24 hours';
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'replayed', false, 'answer', jsonb_build_object('results', (
    select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('sku', r->>'sku', 'detail', r->>'fault',
      'code', r->>'code', 'repeated', r->'repeated', 'outcome',
      case when (r->>'again')::boolean and r->'fault' <> 'null' then 'again' when r->'fault' <> 'null' then 'invalid'
        when (r->>'created')::boolean then 'created' else 'updated' end)))
    from jsonb_array_elements(results) r)));
end
$function$;
alter function catalog.import_products(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.import_products(jsonb,jsonb) from public;
grant execute on function catalog.import_products(jsonb,jsonb) to fusion_worker;

-- function: catalog.is_descending(text)
-- src/db/catalog/list-order.sql
CREATE OR REPLACE FUNCTION catalog.is_descending(sort text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$ select sort in ('newest', '-price') $function$;
alter function catalog.is_descending(text) owner to fusion_catalog;
revoke all on function catalog.is_descending(text) from public;
grant execute on function catalog.is_descending(text) to fusion_reader, fusion_search;

-- function: catalog.list_bound()
-- src/db/catalog/lists.sql
CREATE OR REPLACE FUNCTION catalog.list_bound()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE
AS $function$ select 5000 $function$;
alter function catalog.list_bound() owner to fusion_catalog;
revoke all on function catalog.list_bound() from public;
grant execute on function catalog.list_bound() to fusion_reader;

-- function: catalog.list_condition(jsonb,text)
-- src/db/catalog/lists.sql
CREATE OR REPLACE FUNCTION catalog.list_condition(filter jsonb, row_name text)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select concat_ws(' and ', 'true',
    case when filter ? 'status' then format('%s.status = %L', row_name, filter->>'status') end,
    case when filter ? 'currency' then format('%s.currency = %L', row_name, filter->>'currency') end,
    case when filter ? 'low' then format('%s.price >= %s', row_name, (filter->>'low')::numeric) end,
    case when filter ? 'high' then format('%s.price <= %s', row_name, (filter->>'high')::numeric) end,
    case when filter ? 'ids' then format('%s.id = any(%L::varchar[])', row_name,
      array(select jsonb_array_elements_text(filter->'ids'))) end,
    case when filter ?| array['words', 'pattern'] then format('(coalesce(%1$s.search @@ %2$L, false) or coalesce(%1$s.name ilike %3$L, false)
      or coalesce(%1$s.sku ilike %3$L, false))', row_name, filter->>'words', filter->>'pattern') end,
    case when filter ? 'collection' then format('(select true from catalog.collection_products m
      where m.collection_id = %L and m.product_id = %s.id limit 1)', filter->>'collection', row_name) end,
    case when filter ? 'inStock' then format('coalesce((select i.quantity > 0 from inventory.inventory i
      where i.tenant_id = %1$s.tenant_id and i.sku = %1$s.sku limit 1), false) = %2$L', row_name, filter->>'inStock') end)
$function$;
alter function catalog.list_condition(jsonb,text) owner to fusion_catalog;
revoke all on function catalog.list_condition(jsonb,text) from public;
grant execute on function catalog.list_condition(jsonb,text) to fusion_reader;

-- function: catalog.list_facets(jsonb,boolean,jsonb)
-- src/db/catalog/facets.sql
CREATE OR REPLACE FUNCTION catalog.list_facets(filter jsonb, fold boolean, wanted jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  most constant integer := 10000;
  any_price constant jsonb := filter - array['low', 'high'];
  facets jsonb := jsonb_build_object('complete', true);
  found record;
begin
  if wanted ? 'options' then
    found := catalog.find_products(filter, case when filter = any_price then 'newest' else 'price' end, false, null, most + 1,
      2 * most);
    facets := jsonb_build_object('complete', found.stopped is null and cardinality(found.ids) <= most,
      'options', catalog.option_facets(found.ids[:most], fold));
  end if;
  if wanted ? 'price' then
    if not wanted ? 'options' or filter <> any_price then
      found := catalog.find_products(any_price, 'newest', false, null, most + 1, 2 * most);
    end if;
    facets := facets || jsonb_build_object('complete', (facets->>'complete')::boolean and found.stopped is null
      and cardinality(found.ids) <= most, 'price', catalog.price_facets(found.ids[:most], fold));
  end if;
  return case when wanted is not null then facets end;
end
$function$;
alter function catalog.list_facets(jsonb,boolean,jsonb) owner to fusion_catalog;
revoke all on function catalog.list_facets(jsonb,boolean,jsonb) from public;
grant execute on function catalog.list_facets(jsonb,boolean,jsonb) to fusion_reader;

-- function: catalog.list_filter(jsonb)
-- src/db/catalog/lists.sql
CREATE OR REPLACE FUNCTION catalog.list_filter(input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  filter jsonb := jsonb_strip_nulls(jsonb_build_object('status', nullif(input->>'status', 'all'),
    'currency', input->>'currency', 'low', input->>'minPrice', 'high', input->>'maxPrice', 'inStock', input->'inStock',
    'ids', input->'ids', 'q', input->>'q'));
  collection varchar;
  terms record;
  found_ids varchar[];
  is_exact boolean;
  is_plain constant boolean := input->>'sort' = 'newest' and input->>'view' = 'products' and input->>'status' = 'active'
    and num_nonnulls(input->>'collection', input->>'ids') = 0;
begin
  if input->>'collection' is not null then
    -- A slug may look like an id; the id counts.
    select c.id into collection from catalog.collections c where c.id = input->>'collection';
    if not found then
      select c.id into collection from catalog.collections c
      where c.tenant_id = platform.proven_tenant('catalog:read') and c.slug = input->>'collection';
    end if;
    if collection is null then
      return null;
    end if;
    filter := filter || jsonb_build_object('collection', collection);
  end if;
  if filter ? 'q' and not is_plain then
    terms := catalog.search_terms(filter->>'q');
    filter := filter || jsonb_strip_nulls(jsonb_build_object('words', terms.words, 'pattern',
      case when terms.words is null or terms.pattern ~ '[[:alnum:]]{3}' then terms.pattern end));
    if not filter ?| array['words', 'pattern'] then
      return null;
    end if;
    if filter->>'status' = 'active' then
      found_ids := array(select catalog.search_products(filter->>'q', filter->>'currency', null, 1));
      if found_ids = '{}' then
        return null;
      end if;
      execute format('select %s from catalog.products p where p.id = %L',
        catalog.list_condition(jsonb_build_object('words', filter->'words', 'pattern', filter->'pattern'), 'p'), found_ids[1]) into is_exact;
      if not is_exact then
        found_ids := array(select catalog.search_products(filter->>'q', filter->>'currency', null, 1000));
        filter := filter - array['q', 'words', 'pattern'] || jsonb_build_object('ids', to_jsonb(
          array(select f from unnest(found_ids) f where not filter ? 'ids' or filter->'ids' ? f)));
      end if;
    end if;
  end if;
  return filter;
end
$function$;
alter function catalog.list_filter(jsonb) owner to fusion_catalog;
revoke all on function catalog.list_filter(jsonb) from public;
grant execute on function catalog.list_filter(jsonb) to fusion_reader;

-- function: catalog.list_products(jsonb)
-- src/db/catalog/lists.sql
CREATE OR REPLACE FUNCTION catalog.list_products(input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  filter constant jsonb := coalesce(catalog.list_filter(input), '{"ids": []}');
  fold constant boolean := input->>'view' = 'groups';
  size constant integer := (input->>'limit')::int;
  page record;
  shown varchar[];
begin
  page := catalog.find_products(filter, input->>'sort', fold, nullif(input->'after', 'null'), size + 1,
    catalog.list_bound());
  shown := page.ids[:size];
  return jsonb_build_object(
    'rows', case when fold then catalog.listed_groups(filter, shown) else catalog.listed_products(shown) end,
    'next', case when cardinality(page.ids) > size then page.keys[size] else page.stopped end,
    'facets', catalog.list_facets(filter, fold, input->'facets'));
end
$function$;
alter function catalog.list_products(jsonb) owner to fusion_catalog;
revoke all on function catalog.list_products(jsonb) from public;
grant execute on function catalog.list_products(jsonb) to fusion_reader;

-- function: catalog.listed_groups(jsonb,character varying[])
-- src/db/catalog/lists.sql
CREATE OR REPLACE FUNCTION catalog.listed_groups(filter jsonb, ids character varying[])
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  listed jsonb;
begin
  execute format('select coalesce(jsonb_agg(jsonb_build_object(
      ''group'', (select jsonb_build_object(''id'', g.id, ''name'', g.name, ''slug'', g.slug, ''options'', g.options)
        from catalog.product_groups g where g.id = p.group_id limit 1),
      ''product'', catalog.product_json(p.product, s.quantity), ''variants'', a.variants, ''minPrice'', a.low,
      ''maxPrice'', a.high, ''currency'', p.currency, ''inStock'', a.in_stock, ''images'', coalesce(a.images, ''[]''))
      order by u.n), ''[]'')
    from unnest($1) with ordinality u(id, n)
    cross join lateral (select x as product, x.id, x.tenant_id, x.sku, x.currency, x.group_id
      from catalog.products x where x.id = u.id limit 1) p
    cross join lateral (
      select count(*) as variants, min(v.price) filter (where v.currency = p.currency) as low,
        max(v.price) filter (where v.currency = p.currency) as high, bool_or(coalesce(t.quantity > 0, false)) as in_stock,
        (array_agg(v.images order by v.id <> p.id, v.id) filter (where v.images <> ''[]''))[1] as images
      from (
        select v.* from catalog.products v where v.id = p.id and p.group_id is null
        union all select v.* from catalog.products v where v.group_id = p.group_id and %s offset 0
      ) v
      left join lateral (select i.quantity from inventory.inventory i
        where i.tenant_id = v.tenant_id and i.sku = v.sku limit 1) t on true
    ) a
    left join lateral (select i.quantity from inventory.inventory i
      where i.tenant_id = p.tenant_id and i.sku = p.sku limit 1) s on true',
    catalog.list_condition(filter, 'v')) into listed using ids;
  return listed;
end
$function$;
alter function catalog.listed_groups(jsonb,character varying[]) owner to fusion_catalog;
revoke all on function catalog.listed_groups(jsonb,character varying[]) from public;
grant execute on function catalog.listed_groups(jsonb,character varying[]) to fusion_reader;

-- function: catalog.listed_products(character varying[])
-- src/db/catalog/lists.sql
CREATE OR REPLACE FUNCTION catalog.listed_products(ids character varying[])
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(jsonb_agg(catalog.product_json(p.product, s.quantity) order by u.n), '[]')
  from unnest(ids) with ordinality u(id, n)
  cross join lateral (select x as product, x.tenant_id, x.sku from catalog.products x where x.id = u.id limit 1) p
  left join lateral (select i.quantity from inventory.inventory i where i.tenant_id = p.tenant_id and i.sku = p.sku limit 1) s
    on true
$function$;
alter function catalog.listed_products(character varying[]) owner to fusion_catalog;
revoke all on function catalog.listed_products(character varying[]) from public;
grant execute on function catalog.listed_products(character varying[]) to fusion_reader;

-- function: catalog.lock_collection_tree()
-- src/db/catalog/collections.sql
CREATE OR REPLACE FUNCTION catalog.lock_collection_tree()
 RETURNS void
 LANGUAGE sql
AS $function$
  select pg_advisory_xact_lock(hashtextextended(platform.tenant() || ' collections', 0))
$function$;
alter function catalog.lock_collection_tree() owner to fusion_catalog;
revoke all on function catalog.lock_collection_tree() from public;

-- function: catalog.lock_price_list(character varying,jsonb)
-- src/db/catalog/price-lists.sql
CREATE OR REPLACE FUNCTION catalog.lock_price_list(list_id character varying, versions jsonb)
 RETURNS catalog.price_lists
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  list catalog.price_lists;
begin
  select * into list from catalog.price_lists l where l.id = list_id for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not versions @> to_jsonb(list.version) then
    perform platform.fail('version_mismatch');
  end if;
  return list;
end
$function$;
alter function catalog.lock_price_list(character varying,jsonb) owner to fusion_catalog;
revoke all on function catalog.lock_price_list(character varying,jsonb) from public;

-- function: catalog.lock_product(text,jsonb)
-- src/db/catalog/images.sql
CREATE OR REPLACE FUNCTION catalog.lock_product(product_id text, if_match jsonb)
 RETURNS catalog.products
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
alter function catalog.lock_product(text,jsonb) owner to fusion_catalog;
revoke all on function catalog.lock_product(text,jsonb) from public;

-- function: catalog.max_images()
-- src/db/catalog/images.sql
CREATE OR REPLACE FUNCTION catalog.max_images()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE
AS $function$ select 20 $function$;
alter function catalog.max_images() owner to fusion_catalog;
revoke all on function catalog.max_images() from public;

-- function: catalog.note_list_prices(character varying,text[],numeric[])
-- src/db/catalog/price-lists.sql
CREATE OR REPLACE FUNCTION catalog.note_list_prices(tenant character varying, skus text[], prices numeric[])
 RETURNS void
 LANGUAGE sql
AS $function$
  update catalog.products p set has_list_prices = true
  where p.id = any(array(
    select l.id from (
      select c.id from (select distinct w.sku from unnest(skus, prices) w(sku, price) where w.price is not null) w
      cross join lateral ( -- `limit 1` keeps this a lookup by the unique index for each SKU
        select o.id from catalog.products o where o.tenant_id = tenant and o.sku = w.sku limit 1
      ) c order by c.id
    ) c
    cross join lateral (
      select o.id from catalog.products o where o.id = c.id and not o.has_list_prices limit 1 for no key update
    ) l))
$function$;
alter function catalog.note_list_prices(character varying,text[],numeric[]) owner to fusion_catalog;
revoke all on function catalog.note_list_prices(character varying,text[],numeric[]) from public;

-- function: catalog.option_facets(character varying[],boolean)
-- src/db/catalog/facets.sql
CREATE OR REPLACE FUNCTION catalog.option_facets(ids character varying[], fold boolean)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(jsonb_object_agg(o.name, o.values), '{}')
  from (
    select v.name, jsonb_agg(jsonb_build_object('value', v.value, 'count', v.count) order by v.count desc, v.value collate "C")
      as values
    from (
      select e.key as name, e.value, count(distinct case when fold then coalesce(p.group_id, p.id) else p.id end) as count,
        row_number() over (partition by e.key order by count(*) desc, e.value collate "C") as place
      from unnest(ids) u(id)
      cross join lateral (select x.* from catalog.products x where x.id = u.id limit 1) p
      cross join lateral jsonb_each_text(p.options) e(key, value)
      group by e.key, e.value
    ) v
    where v.place <= 100
    group by v.name
  ) o
$function$;
alter function catalog.option_facets(character varying[],boolean) owner to fusion_catalog;
revoke all on function catalog.option_facets(character varying[],boolean) from public;
grant execute on function catalog.option_facets(character varying[],boolean) to fusion_reader;

-- function: catalog.option_fault(character varying,text,jsonb)
-- src/db/catalog/imported-groups.sql
CREATE OR REPLACE FUNCTION catalog.option_fault(group_id character varying, named text, chosen jsonb)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select case
    when group_id is null and named is not null
      then format('There is no product group %s, and a new one needs options.', named)
    when group_id is null then case when chosen <> '{}' then 'options needs a group.' end
    else (select case when not (chosen ?& g.options and (select count(*) from jsonb_object_keys(chosen))
          = cardinality(g.options))
        then format('The product group %s has the options %s, and the line has %s.', coalesce(g.slug, g.id),
          array_to_string(g.options, ', '),
          coalesce((select string_agg(o, ', ' order by o) from jsonb_object_keys(chosen) o), 'none')) end
      from catalog.product_groups g where g.id = option_fault.group_id) end
$function$;
alter function catalog.option_fault(character varying,text,jsonb) owner to fusion_catalog;
revoke all on function catalog.option_fault(character varying,text,jsonb) from public;

-- function: catalog.parent_error(character varying,character varying)
-- src/db/catalog/collections.sql
CREATE OR REPLACE FUNCTION catalog.parent_error(collection_id character varying, new_parent character varying)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
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
$function$;
alter function catalog.parent_error(character varying,character varying) owner to fusion_catalog;
revoke all on function catalog.parent_error(character varying,character varying) from public;

-- function: catalog.price_facets(character varying[],boolean)
-- src/db/catalog/facets.sql
CREATE OR REPLACE FUNCTION catalog.price_facets(ids character varying[], fold boolean)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  with listed as materialized (
    select p.currency, p.price, case when fold then coalesce(p.group_id, p.id) else p.id end as id
    from unnest(ids) u(id)
    cross join lateral (select x.* from catalog.products x where x.id = u.id limit 1) p
  ), total as (
    select l.currency, min(l.price) as low, max(l.price) as high, count(distinct l.id) as count,
      trim_scale(catalog.range_width(min(l.price), max(l.price), l.currency)) as width
    from listed l group by l.currency
  ), range as (
    select t.currency, jsonb_agg(jsonb_build_object('from', r.number * t.width, 'to', (r.number + 1) * t.width, 'count', r.count)
      order by r.number) as ranges
    from total t
    cross join lateral (select floor(l.price / t.width) as number, count(distinct l.id) as count
      from listed l where l.currency = t.currency group by 1) r
    group by t.currency
  )
  select coalesce(jsonb_agg(jsonb_build_object('currency', t.currency, 'min', t.low, 'max', t.high, 'count', t.count,
    'ranges', r.ranges) order by t.currency), '[]')
  from total t join range r on r.currency = t.currency
$function$;
alter function catalog.price_facets(character varying[],boolean) owner to fusion_catalog;
revoke all on function catalog.price_facets(character varying[],boolean) from public;
grant execute on function catalog.price_facets(character varying[],boolean) to fusion_reader;

-- function: catalog.price_faults(catalog.price_lists,text[],numeric[])
-- src/db/catalog/price-lists.sql
CREATE OR REPLACE FUNCTION catalog.price_faults(list catalog.price_lists, skus text[], prices numeric[])
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  unknown jsonb;
  misfit jsonb;
begin
  select jsonb_agg(jsonb_build_object('pointer', format('/prices/%s/sku', w.ord - 1),
      'detail', format('There is no product with SKU "%s".', w.sku)) order by w.ord)
    filter (where p.found is null),
    jsonb_agg(jsonb_build_object('pointer', format('/prices/%s/price', w.ord - 1),
      'detail', format('%s has no decimals: %s does not fit.', list.currency, w.price)) order by w.ord)
    filter (where not catalog.fits_currency(w.price, list.currency))
  into unknown, misfit
  from unnest(skus, prices) with ordinality w(sku, price, ord)
  left join lateral ( -- `limit 1` keeps this a lookup by the unique index for each price
    select true as found from catalog.products c where c.tenant_id = list.tenant_id and c.sku = w.sku limit 1
  ) p on true
  where w.price is not null;
  return case when unknown is not null then jsonb_build_object('error', 'unknown_sku', 'errors', unknown)
    when misfit is not null then jsonb_build_object('error', 'validation_failed', 'errors', misfit) end;
end
$function$;
alter function catalog.price_faults(catalog.price_lists,text[],numeric[]) owner to fusion_catalog;
revoke all on function catalog.price_faults(catalog.price_lists,text[],numeric[]) from public;

-- function: catalog.price_faults(catalog.products,boolean)
-- src/db/catalog/price-lists.sql
CREATE OR REPLACE FUNCTION catalog.price_faults(p catalog.products, is_priced boolean)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(jsonb_agg(jsonb_build_object('pointer', f.pointer, 'detail', f.detail)), '[]')
  from (values
    ('/price', case when not catalog.fits_currency(p.price, p.currency)
      then format('%s has no decimals: %s does not fit', p.currency, p.price) end),
    ('/compareAtPrice', case when not catalog.fits_currency(p.compare_at_price, p.currency)
      then format('%s has no decimals: %s does not fit', p.currency, p.compare_at_price) end),
    ('/currency', case when is_priced and platform.charge_limits(p.currency) is null
      then format('Stripe cannot charge %s.', p.currency) end)
  ) f(pointer, detail) where f.detail is not null
$function$;
alter function catalog.price_faults(catalog.products,boolean) owner to fusion_catalog;
revoke all on function catalog.price_faults(catalog.products,boolean) from public;

-- function: catalog.price_list_json(catalog.price_lists)
-- src/db/catalog/price-lists.sql
CREATE OR REPLACE FUNCTION catalog.price_list_json(l catalog.price_lists)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', l.id, 'name', l.name, 'currency', l.currency, 'startsAt', platform.iso(l.starts_at),
    'endsAt', platform.iso(l.ends_at), 'audience', case l.audience when 'all' then to_jsonb('all'::text)
      when 'group' then jsonb_build_object('customerGroup', l.audience_id)
      else jsonb_build_object('organizationId', l.audience_id) end,
    'priceCount', l.price_count, 'createdAt', platform.iso(l.created_at), 'updatedAt', platform.iso(l.updated_at))
$function$;
alter function catalog.price_list_json(catalog.price_lists) owner to fusion_catalog;
revoke all on function catalog.price_list_json(catalog.price_lists) from public;
grant execute on function catalog.price_list_json(catalog.price_lists) to fusion_reader;

-- function: catalog.product_group_json(catalog.product_groups)
-- src/db/catalog/product-groups.sql
CREATE OR REPLACE FUNCTION catalog.product_group_json(g catalog.product_groups)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', g.id, 'name', g.name, 'description', g.description, 'slug', g.slug,
    'options', to_jsonb(g.options), 'metadata', g.metadata, 'createdAt', platform.iso(g.created_at),
    'updatedAt', platform.iso(g.updated_at))
$function$;
alter function catalog.product_group_json(catalog.product_groups) owner to fusion_catalog;
revoke all on function catalog.product_group_json(catalog.product_groups) from public;
grant execute on function catalog.product_group_json(catalog.product_groups) to fusion_reader;

-- function: catalog.product_json(catalog.products,integer)
-- src/db/catalog/products.sql
CREATE OR REPLACE FUNCTION catalog.product_json(p catalog.products, quantity integer)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', p.id, 'sku', p.sku, 'name', p.name, 'description', p.description, 'price', p.price,
    'currency', p.currency, 'inventory', coalesce(quantity, 0), 'status', p.status, 'groupId', p.group_id,
    'options', p.options, 'slug', p.slug, 'images', p.images, 'weight', p.weight, 'taxCategory', p.tax_category,
    'compareAtPrice', p.compare_at_price, 'collections', p.collections, 'metadata', p.metadata,
    'createdAt', platform.iso(p.created_at), 'updatedAt', platform.iso(p.updated_at))
$function$;
alter function catalog.product_json(catalog.products,integer) owner to fusion_catalog;
revoke all on function catalog.product_json(catalog.products,integer) from public;
grant execute on function catalog.product_json(catalog.products,integer) to fusion_reader;

-- function: catalog.products_of_group(character varying)
-- src/db/catalog/product-groups.sql
CREATE OR REPLACE FUNCTION catalog.products_of_group(group_id character varying)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(jsonb_agg(catalog.product_json(p, i.quantity) order by p.id), '[]')
  from catalog.products p
  left join inventory.inventory i on i.tenant_id = p.tenant_id and i.sku = p.sku
  -- A sub-select, so that no index of products for sale is read instead of the group's products.
  where p.group_id = products_of_group.group_id and p.status = (select 'active')
$function$;
alter function catalog.products_of_group(character varying) owner to fusion_catalog;
revoke all on function catalog.products_of_group(character varying) from public;
grant execute on function catalog.products_of_group(character varying) to fusion_reader;

-- function: catalog.quantity_of(catalog.products)
-- src/db/catalog/products.sql
CREATE OR REPLACE FUNCTION catalog.quantity_of(p catalog.products)
 RETURNS integer
 LANGUAGE sql
 STABLE
AS $function$
  select i.quantity from inventory.inventory i where i.tenant_id = p.tenant_id and i.sku = p.sku
$function$;
alter function catalog.quantity_of(catalog.products) owner to fusion_catalog;
revoke all on function catalog.quantity_of(catalog.products) from public;

-- function: catalog.range_width(numeric,numeric,character varying)
-- src/db/catalog/facets.sql
CREATE OR REPLACE FUNCTION catalog.range_width(low numeric, high numeric, currency character varying)
 RETURNS numeric
 LANGUAGE sql
 STABLE
AS $function$
  select min(w.width) from (
    select factor * power(10::numeric, exponent) as width
    from unnest(array[1, 2, 5]) factor, generate_series(-platform.currency_decimals(currency), 8) exponent
  ) w where w.width * 9 >= high - low
$function$;
alter function catalog.range_width(numeric,numeric,character varying) owner to fusion_catalog;
revoke all on function catalog.range_width(numeric,numeric,character varying) from public;
grant execute on function catalog.range_width(numeric,numeric,character varying) to fusion_reader;

-- function: catalog.remove_image(jsonb,jsonb)
-- src/db/catalog/images.sql
CREATE OR REPLACE FUNCTION catalog.remove_image(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
alter function catalog.remove_image(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.remove_image(jsonb,jsonb) from public;
grant execute on function catalog.remove_image(jsonb,jsonb) to fusion_worker;

-- function: catalog.report_price_list(catalog.price_lists,text,integer)
-- src/db/catalog/price-lists.sql
CREATE OR REPLACE FUNCTION catalog.report_price_list(l catalog.price_lists, change text, changed integer)
 RETURNS void
 LANGUAGE sql
AS $function$
  select platform.emit('price-list.updated', l.id,
    catalog.price_list_json(l) || jsonb_build_object('change', change, 'changedPrices', changed), false)
$function$;
alter function catalog.report_price_list(catalog.price_lists,text,integer) owner to fusion_catalog;
revoke all on function catalog.report_price_list(catalog.price_lists,text,integer) from public;

-- function: catalog.request_images(jsonb)
-- src/db/catalog/image-requests.sql
CREATE OR REPLACE FUNCTION catalog.request_images(requests jsonb)
 RETURNS bigint
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
alter function catalog.request_images(jsonb) owner to fusion_catalog;
revoke all on function catalog.request_images(jsonb) from public;

-- function: catalog.save_images(catalog.products)
-- src/db/catalog/images.sql
CREATE OR REPLACE FUNCTION catalog.save_images(product catalog.products)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
alter function catalog.save_images(catalog.products) owner to fusion_catalog;
revoke all on function catalog.save_images(catalog.products) from public;

-- function: catalog.save_memberships(character varying[])
-- src/db/catalog/imported-groups.sql
CREATE OR REPLACE FUNCTION catalog.save_memberships(product_ids character varying[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
begin
  delete from catalog.collection_products m using catalog.products p
  where m.product_id = any(product_ids) and p.id = m.product_id and m.collection_id <> all(p.collections);
  insert into catalog.collection_products
    (tenant_id, collection_id, product_id, status, currency, price, name, group_id)
  select p.tenant_id, c.id, p.id, p.status, p.currency, p.price, p.name, p.group_id
  from catalog.products p cross join lateral unnest(p.collections) c(id)
  where p.id = any(product_ids)
  on conflict on constraint collection_products_once do nothing;
end
$function$;
alter function catalog.save_memberships(character varying[]) owner to fusion_catalog;
revoke all on function catalog.save_memberships(character varying[]) from public;

-- function: catalog.search_key(character varying,text)
-- src/db/catalog/search.sql
CREATE OR REPLACE FUNCTION catalog.search_key(tenant character varying, name text)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE
AS $function$ select hashtextextended(name, hashtext(tenant)) $function$;
alter function catalog.search_key(character varying,text) owner to fusion_catalog;
revoke all on function catalog.search_key(character varying,text) from public;
grant execute on function catalog.search_key(character varying,text) to fusion_search;

-- function: catalog.search_matches(character varying,tsquery,text,text,text,bigint[],bigint[],character varying,character varying,integer)
-- src/db/catalog/search.sql
CREATE OR REPLACE FUNCTION catalog.search_matches(tenant character varying, words tsquery, pattern text, sku_part text, similar_name text, required bigint[], keys bigint[], low character varying, before character varying, most integer)
 RETURNS character varying[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
declare
  hits varchar[];
  candidates bigint;
begin
  select count(*), coalesce(array_agg(c.id order by c.id desc)
    filter (where c.is_match and c.tenant_id = tenant and c.id >= low and c.id < before), '{}')
  into candidates, hits
  from (
    select w.id, w.tenant_id, true as is_match from (select p.id, p.tenant_id from catalog.products p
      where p.status = 'active' and catalog.search_product_keys(p.tenant_id, p.id, p.currency) @> required
        and catalog.search_product_keys(p.tenant_id, p.id, p.currency) && keys and p.search @@ words offset 0) w
    union all
    select n.id, n.tenant_id, n.search @@ words is not true from (select p.id, p.tenant_id, p.search
      from catalog.products p
      where p.status = 'active' and catalog.search_product_keys(p.tenant_id, p.id, p.currency) @> required
        and catalog.search_product_keys(p.tenant_id, p.id, p.currency) && keys and p.name ilike pattern offset 0) n
    union all
    select s.id, s.tenant_id, s.sku ilike pattern and s.search @@ words is not true and s.name not ilike pattern
    from (select p.id, p.tenant_id, p.search, p.name, p.sku from catalog.products p
      where p.status = 'active' and catalog.search_product_keys(p.tenant_id, p.id, p.currency) @> required
        and catalog.search_product_keys(p.tenant_id, p.id, p.currency) && keys and p.sku ilike sku_part offset 0) s
    union all
    select a.id, a.tenant_id, true from (select p.id, p.tenant_id from catalog.products p
      where p.status = 'active' and catalog.search_product_keys(p.tenant_id, p.id, p.currency) @> required
        and catalog.search_product_keys(p.tenant_id, p.id, p.currency) && keys and p.name %> similar_name offset 0) a
    limit most
  ) c;
  return case when candidates < most or most is null then hits end;
end
$function$;
alter function catalog.search_matches(character varying,tsquery,text,text,text,bigint[],bigint[],character varying,character varying,integer) owner to fusion_catalog;
revoke all on function catalog.search_matches(character varying,tsquery,text,text,text,bigint[],bigint[],character varying,character varying,integer) from public;
grant execute on function catalog.search_matches(character varying,tsquery,text,text,text,bigint[],bigint[],character varying,character varying,integer) to fusion_search;

-- function: catalog.search_newest(tsquery,text,text,character varying,character varying,integer)
-- src/db/catalog/search.sql
CREATE OR REPLACE FUNCTION catalog.search_newest(words tsquery, pattern text, similar_name text, only_currency character varying, before character varying, most integer)
 RETURNS character varying[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
AS $function$
declare
  tenant constant varchar := platform.proven_tenant('catalog:read');
  indexed_pattern constant text := case when pattern ~ '[[:alnum:]]{3}' then pattern end;
  is_indexed constant boolean := pattern is null or indexed_pattern is not null;
  -- A long number is rare, more so than the letters before it in many SKUs.
  number constant text := '%' || substring(indexed_pattern from '[0-9]{5,}') || '%';
  window_size constant integer := case when is_indexed then catalog.search_window() else 1000 end;
  required constant bigint[] := case when only_currency is null then '{}'
    else array[catalog.search_key(tenant, only_currency)] end;
  newest varchar[]; -- the window, with its matches
  found_ids varchar[];
  sampled varchar[];
  wanted integer; -- matches of the sample: enough for a page at nearly all times
  position varchar; -- everything from here on has been searched
  high varchar;
  low varchar;
  bottom varchar;
  all_keys bigint[]; -- of all products from `bottom` on that the window has not
begin
  -- With `=` the planner would walk all tenants' products by primary key; with `between` it does not.
  select array_agg(w.id order by w.id desc), coalesce(array_agg(w.id order by w.id desc) filter (where w.matches), '{}')
  into newest, found_ids
  from (
    select p.id, p.status = 'active' and (only_currency is null or p.currency = only_currency)
      and (p.search @@ words or p.name ilike pattern or p.sku ilike pattern or p.name %> similar_name) as matches
    from catalog.products p
    where p.tenant_id between tenant and tenant and (before is null or p.id < before)
    order by p.tenant_id, p.id desc limit window_size
  ) w;
  if cardinality(found_ids) >= most or newest[window_size] is null
    or coalesce(words::text, indexed_pattern, similar_name) is null then
    return found_ids[:most];
  end if;

  position := newest[window_size];
  if is_indexed and before is not null then
    -- Continue from where a long range begins: fewer keys.
    for digits in 3..8 loop
      exit when length(position) <= 8;
      position := case when left(newest[window_size / 2], digits) > position then left(newest[window_size / 2], digits)
        else position end;
    end loop;
    found_ids := array(select f from unnest(found_ids) f where f >= position);
  end if;
  -- The newest product of all is in the window, if there is no `before`: no range has to end at `position`.
  high := case when before is null then left(newest[1], 3) || 'fffff-' else position end;
  bottom := left((select p.id from catalog.products p where p.tenant_id between tenant and tenant
    order by p.tenant_id desc, p.id limit 1), 3);
  all_keys := case when before is null then array[catalog.search_key(tenant, '')]
    else catalog.search_range_keys(tenant, bottom, high) end;
  -- All products that have a long number, unless they turn out to be many.
  sampled := case when number is not null then catalog.search_matches(tenant, words, indexed_pattern, number, null, required,
    all_keys, bottom, position, 300) end;
  while sampled is null loop
    low := bottom;
    -- One product in 4,096, then one in 32 of those newer than the newest match among them.
    for stage in 1..2 loop
      sampled := catalog.search_matches(tenant, words, indexed_pattern, indexed_pattern, similar_name,
        required || catalog.search_key(tenant, repeat('*', stage)),
        case stage when 1 then array[catalog.search_key(tenant, '*')] else catalog.search_range_keys(tenant, low, high) end,
        low, position, null);
      if stage = 1 and sampled = '{}' then
        -- A rare word: all that have it, unless the sample is wrong.
        sampled := catalog.search_matches(tenant, words, indexed_pattern, indexed_pattern, similar_name, required, all_keys,
          low, position, 300);
        if sampled is not null then
          return (found_ids || sampled)[:most];
        end if;
      end if;
      -- Down to where a long range begins, but past one more match of the sample at most.
      wanted := case stage when 1 then 1 else 2 + most / 16 end;
      for digits in 3..8 loop
        exit when sampled[wanted] is null;
        low := left(sampled[wanted], digits);
        exit when sampled[wanted + stage] is null or sampled[wanted + stage] < low;
      end loop;
    end loop;
    found_ids := found_ids || catalog.search_matches(tenant, words, indexed_pattern, indexed_pattern, similar_name, required,
      catalog.search_range_keys(tenant, low, high), low, position, null);
    if cardinality(found_ids) >= most or low <= bottom then
      return found_ids[:most];
    end if;
    position := low;
    high := low;
    sampled := null;
  end loop;
  return (found_ids || sampled)[:most];
end
$function$;
alter function catalog.search_newest(tsquery,text,text,character varying,character varying,integer) owner to fusion_catalog;
revoke all on function catalog.search_newest(tsquery,text,text,character varying,character varying,integer) from public;
grant execute on function catalog.search_newest(tsquery,text,text,character varying,character varying,integer) to fusion_search;

-- function: catalog.search_product_keys(character varying,character varying,character varying)
-- src/db/catalog/search.sql
CREATE OR REPLACE FUNCTION catalog.search_product_keys(tenant_id character varying, id character varying, currency character varying)
 RETURNS bigint[]
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select array[hashtextextended('', hashtext(tenant_id)), hashtextextended(currency, hashtext(tenant_id)),
    hashtextextended(case when right(id, 3) = '000' then '*' else '' end, hashtext(tenant_id)),
    hashtextextended(case when right(id, 2) ~ '[02468ace]0' then '**' else '' end, hashtext(tenant_id)),
    hashtextextended(left(id, 3), hashtext(tenant_id)), hashtextextended(left(id, 4), hashtext(tenant_id)),
    hashtextextended(left(id, 5), hashtext(tenant_id)), hashtextextended(left(id, 6), hashtext(tenant_id)),
    hashtextextended(left(id, 7), hashtext(tenant_id)), hashtextextended(left(id, 8), hashtext(tenant_id))]
$function$;
alter function catalog.search_product_keys(character varying,character varying,character varying) owner to fusion_catalog;
revoke all on function catalog.search_product_keys(character varying,character varying,character varying) from public;
grant execute on function catalog.search_product_keys(character varying,character varying,character varying) to fusion_search;

-- function: catalog.search_products(text,character varying,character varying,integer)
-- src/db/catalog/search.sql
CREATE OR REPLACE FUNCTION catalog.search_products(q text, only_currency character varying, before character varying, most integer)
 RETURNS SETOF character varying
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
declare
  terms constant record := catalog.search_terms(q);
  -- Not with websearch operators, which ask for exact words, and not without a word that could be misspelt.
  allow_similar constant boolean := q ~ '[[:alnum:]]{3}' and q !~ '"|(^|\s)-\S' and q !~* '\mor\M';
  found_ids varchar[] := catalog.search_newest(terms.words, terms.pattern, null, only_currency, before, most);
begin
  -- A later page must not switch to similar words if the earlier pages had exact matches.
  if found_ids = '{}' and allow_similar
    and (before is null or catalog.search_newest(terms.words, terms.pattern, null, only_currency, null, 1) = '{}') then
    -- One wrong letter removes a larger share of the trigrams from a short word than from several words.
    perform set_config('pg_trgm.word_similarity_threshold', case when q ~ '\s' then '0.6' else '0.4' end, true);
    found_ids := catalog.search_newest(null, null, q, only_currency, before, most);
  end if;
  return query select unnest(found_ids);
end
$function$;
alter function catalog.search_products(text,character varying,character varying,integer) owner to fusion_search;
revoke all on function catalog.search_products(text,character varying,character varying,integer) from public;
grant execute on function catalog.search_products(text,character varying,character varying,integer) to fusion_reader;

-- function: catalog.search_range_keys(character varying,character varying,character varying)
-- src/db/catalog/search.sql
CREATE OR REPLACE FUNCTION catalog.search_range_keys(tenant character varying, low character varying, high character varying)
 RETURNS bigint[]
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  keys bigint[] := '{}';
  first bigint;
  next bigint; -- the number of the range after the last one
  middle bigint;
begin
  if least(length(low), length(high)) < 3 or left(low, 8) || left(high, 8) !~ '^[0-9a-f]+$' then
    return array[catalog.search_key(tenant, '')];
  end if;
  first := ('x' || rpad(left(low, 8), 8, '0'))::bit(32)::bigint;
  next := ('x' || rpad(left(high, 8), 8, '0'))::bit(32)::bigint + (length(high) > 8)::int;
  -- From both ends: ranges of this length up to where a range of 16 times the length begins.
  for digits in reverse 8..3 loop
    middle := case when digits = 3 then next else least((first + 15) / 16 * 16, next) end;
    keys := keys || array(select catalog.search_key(tenant, lpad(to_hex(n), digits, '0'))
      from generate_series(first, middle - 1) n);
    first := middle;
    middle := greatest(next / 16 * 16, first);
    keys := keys || array(select catalog.search_key(tenant, lpad(to_hex(n), digits, '0'))
      from generate_series(middle, next - 1) n);
    exit when first >= middle;
    first := first / 16;
    next := middle / 16;
  end loop;
  return keys;
end
$function$;
alter function catalog.search_range_keys(character varying,character varying,character varying) owner to fusion_catalog;
revoke all on function catalog.search_range_keys(character varying,character varying,character varying) from public;
grant execute on function catalog.search_range_keys(character varying,character varying,character varying) to fusion_search;

-- function: catalog.search_terms(text)
-- src/db/catalog/search.sql
CREATE OR REPLACE FUNCTION catalog.search_terms(q text, OUT words tsquery, OUT pattern text)
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  parsed_query constant tsquery := websearch_to_tsquery('english', q) || websearch_to_tsquery('simple', q);
begin
  -- A query of exclusions alone ("-42") has no word to look up, so it is treated as a part of a SKU.
  words := case when querytree(parsed_query) not in ('', 'T') then parsed_query end;
  pattern := '%' || regexp_replace(nullif(btrim(q), ''), '([\\%_])', '\\\1', 'g') || '%';
end
$function$;
alter function catalog.search_terms(text) owner to fusion_catalog;
revoke all on function catalog.search_terms(text) from public;
grant execute on function catalog.search_terms(text) to fusion_reader, fusion_search;

-- function: catalog.search_window()
-- src/db/catalog/search.sql
CREATE OR REPLACE FUNCTION catalog.search_window()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE
AS $function$ select 250 $function$;
alter function catalog.search_window() owner to fusion_catalog;
revoke all on function catalog.search_window() from public;
grant execute on function catalog.search_window() to fusion_search;

-- function: catalog.set_collection_product(jsonb,jsonb)
-- src/db/catalog/collections.sql
CREATE OR REPLACE FUNCTION catalog.set_collection_product(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
alter function catalog.set_collection_product(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.set_collection_product(jsonb,jsonb) from public;
grant execute on function catalog.set_collection_product(jsonb,jsonb) to fusion_worker;

-- function: catalog.set_membership(catalog.products,character varying,boolean)
-- src/db/catalog/collections.sql
CREATE OR REPLACE FUNCTION catalog.set_membership(before catalog.products, collection character varying, is_member boolean)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
alter function catalog.set_membership(catalog.products,character varying,boolean) owner to fusion_catalog;
revoke all on function catalog.set_membership(catalog.products,character varying,boolean) from public;

-- function: catalog.set_prices(jsonb,jsonb)
-- src/db/catalog/price-lists.sql
CREATE OR REPLACE FUNCTION catalog.set_prices(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'priceLists.setPrices');
  skus constant text[] := array(select p->>'sku' from jsonb_array_elements(input->'prices') p);
  quantities constant integer[] := array(select (p->>'minQuantity')::int from jsonb_array_elements(input->'prices') p);
  prices constant numeric[] := array(select (p->>'price')::numeric from jsonb_array_elements(input->'prices') p);
  most constant integer := 100000;
  list catalog.price_lists;
  fault jsonb;
  added integer;
  changed integer;
begin
  if replay is not null then
    return replay;
  end if;
  list := catalog.lock_price_list(input->>'id', input->'ifMatch');
  fault := catalog.price_faults(list, skus, prices);
  if fault is not null then
    return platform.leave(call, 'priceLists.setPrices', fault);
  end if;
  select count(*) filter (where w.price is not null and p.price is null)
      - count(*) filter (where w.price is null and p.price is not null), count(*) filter (where w.price is distinct from p.price)
  into added, changed
  from unnest(skus, quantities, prices) w(sku, min_quantity, price)
  left join catalog.prices p on p.list_id = list.id and p.sku = w.sku and p.min_quantity = w.min_quantity;
  if list.price_count + added > most then
    return platform.leave(call, 'priceLists.setPrices', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/prices',
        'detail', format('The list would have %s prices: at most %s fit.', list.price_count + added, most)))));
  end if;
  if changed > 0 then
    delete from catalog.prices p using unnest(skus, quantities, prices) w(sku, min_quantity, price)
    where p.list_id = list.id and p.sku = w.sku and p.min_quantity = w.min_quantity and w.price is null;
    perform catalog.note_list_prices(list.tenant_id, skus, prices);
    insert into catalog.prices as p (tenant_id, list_id, sku, min_quantity, price)
    select list.tenant_id, list.id, w.sku, w.min_quantity, w.price
    from unnest(skus, quantities, prices) w(sku, min_quantity, price) where w.price is not null
    on conflict on constraint prices_once do update set price = excluded.price where p.price <> excluded.price;
    update catalog.price_lists l
    set price_count = l.price_count + added, version = platform.next_version(l.version), updated_at = platform.clock()
    where l.id = list.id
    returning * into list;
    perform catalog.report_price_list(list, 'prices', changed);
  end if;
  return platform.leave(call, 'priceLists.setPrices',
    catalog.price_list_json(list) || jsonb_build_object('version', list.version));
end
$function$;
alter function catalog.set_prices(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.set_prices(jsonb,jsonb) from public;
grant execute on function catalog.set_prices(jsonb,jsonb) to fusion_worker;

-- function: catalog.sort_columns(text,text)
-- src/db/catalog/list-order.sql
CREATE OR REPLACE FUNCTION catalog.sort_columns(sort text, row_name text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select format(case when sort = 'name' then 'lower(%1$s.name collate "C"), ' when sort in ('price', '-price')
    then '%1$s.currency, %1$s.price, ' else '' end || '%1$s.id collate "C"', row_name)
$function$;
alter function catalog.sort_columns(text,text) owner to fusion_catalog;
revoke all on function catalog.sort_columns(text,text) from public;
grant execute on function catalog.sort_columns(text,text) to fusion_reader, fusion_search;

-- function: catalog.sort_key(text,text)
-- src/db/catalog/list-order.sql
CREATE OR REPLACE FUNCTION catalog.sort_key(sort text, row_name text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select format(case when sort in ('price', '-price') then 'jsonb_build_array(%1$s.currency, %1$s.price::text, %1$s.id)'
    else 'jsonb_build_array(' || catalog.sort_columns(sort, row_name) || ')' end, row_name)
$function$;
alter function catalog.sort_key(text,text) owner to fusion_catalog;
revoke all on function catalog.sort_key(text,text) from public;
grant execute on function catalog.sort_key(text,text) to fusion_reader, fusion_search;

-- function: catalog.sort_order(text,text)
-- src/db/catalog/list-order.sql
CREATE OR REPLACE FUNCTION catalog.sort_order(sort text, row_name text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when catalog.is_descending(sort) then replace(catalog.sort_columns(sort, row_name), ',', ' desc,') || ' desc'
    else catalog.sort_columns(sort, row_name) end
$function$;
alter function catalog.sort_order(text,text) owner to fusion_catalog;
revoke all on function catalog.sort_order(text,text) from public;
grant execute on function catalog.sort_order(text,text) to fusion_reader, fusion_search;

-- function: catalog.taken_error(text)
-- src/db/catalog/products.sql
CREATE OR REPLACE FUNCTION catalog.taken_error(constraint_name text)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select jsonb_build_object('error', case constraint_name when 'products_sku_unique' then 'sku_taken'
      when 'products_variant_unique' then 'variant_taken' else 'slug_taken' end)
  where constraint_name in ('products_sku_unique', 'products_variant_unique', 'products_slug_unique',
    'product_groups_slug_unique', 'collections_slug_unique')
$function$;
alter function catalog.taken_error(text) owner to fusion_catalog;
revoke all on function catalog.taken_error(text) from public;

-- function: catalog.topic_of_change(catalog.products,catalog.products)
-- src/db/catalog/products.sql
CREATE OR REPLACE FUNCTION catalog.topic_of_change(before catalog.products, after catalog.products)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select case
    when catalog.product_json(before, 0) - 'updatedAt' = catalog.product_json(after, 0) - 'updatedAt' then null
    when after.status = 'archived' and before.status is distinct from 'archived' then 'product.archived'
    else 'product.updated' end
$function$;
alter function catalog.topic_of_change(catalog.products,catalog.products) owner to fusion_catalog;
revoke all on function catalog.topic_of_change(catalog.products,catalog.products) from public;

-- function: catalog.update_collection(jsonb,jsonb)
-- src/db/catalog/collections.sql
CREATE OR REPLACE FUNCTION catalog.update_collection(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
alter function catalog.update_collection(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.update_collection(jsonb,jsonb) from public;
grant execute on function catalog.update_collection(jsonb,jsonb) to fusion_worker;

-- function: catalog.update_price_list(jsonb,jsonb)
-- src/db/catalog/price-lists.sql
CREATE OR REPLACE FUNCTION catalog.update_price_list(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'priceLists.update');
  change jsonb := input->'change';
  list catalog.price_lists;
begin
  if replay is not null then
    return replay;
  end if;
  list := catalog.lock_price_list(input->>'id', input->'ifMatch');
  list.name := coalesce(change->>'name', list.name);
  if change ? 'startsAt' then
    list.starts_at := change->>'startsAt';
  end if;
  if change ? 'endsAt' then
    list.ends_at := change->>'endsAt';
  end if;
  if change ? 'audience' then
    list.audience := change->>'audience';
    list.audience_id := change->>'audienceId';
  end if;
  if list.ends_at <= list.starts_at then
    return platform.leave(call, 'priceLists.update', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/endsAt', 'detail', 'must be after startsAt'))));
  end if;
  update catalog.price_lists l
  set name = list.name, starts_at = list.starts_at, ends_at = list.ends_at, audience = list.audience,
      audience_id = list.audience_id, version = platform.next_version(l.version), updated_at = platform.clock()
  where l.id = list.id
  returning * into list;
  perform catalog.report_price_list(list, 'changed', 0);
  return platform.leave(call, 'priceLists.update',
    catalog.price_list_json(list) || jsonb_build_object('version', list.version));
end
$function$;
alter function catalog.update_price_list(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.update_price_list(jsonb,jsonb) from public;
grant execute on function catalog.update_price_list(jsonb,jsonb) to fusion_worker;

-- function: catalog.update_product(jsonb,jsonb)
-- src/db/catalog/products.sql
CREATE OR REPLACE FUNCTION catalog.update_product(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'catalog:write', 'products.update');
  change jsonb := input->'change';
  is_regrouped constant boolean := input->'change' ?| array['groupId', 'options'];
  new_group varchar := input->'change'->>'groupId';
  before catalog.products;
  product catalog.products;
  faults jsonb := '[]';
  violated text;
begin
  if replay is not null then
    return replay;
  end if;
  if is_regrouped then
    if not change ? 'groupId' then
      select c.group_id into new_group from catalog.products c where c.id = input->>'id';
    end if;
    perform 1 from catalog.product_groups g where g.id = new_group for update; -- groups come before products
  end if;
  select * into before from catalog.products c where c.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not input->'ifMatch' @> to_jsonb(before.version) then
    perform platform.fail('version_mismatch');
  end if;
  product := before;
  product.name := coalesce(change->>'name', product.name);
  product.description := case when change ? 'description' then change->>'description' else product.description end;
  product.price := coalesce((change->>'price')::numeric, product.price);
  product.currency := coalesce(change->>'currency', product.currency);
  product.status := coalesce(change->>'status', product.status);
  product.slug := case when change ? 'slug' then change->>'slug' else product.slug end;
  product.weight := case when change ? 'weight' then (change->>'weight')::int else product.weight end;
  product.tax_category := case when change ? 'taxCategory' then change->>'taxCategory' else product.tax_category end;
  product.compare_at_price := case when change ? 'compareAtPrice' then (change->>'compareAtPrice')::numeric
    else product.compare_at_price end;
  product.metadata := coalesce(change->'metadata', product.metadata);
  if is_regrouped then
    if not change ? 'groupId' and new_group is distinct from product.group_id then
      raise exception using errcode = 'serialization_failure', message = 'the product has joined another group';
    end if;
    product.group_id := new_group;
    product.options := coalesce(change->'options', case when new_group is null then '{}' else product.options end);
    faults := catalog.variant_faults(product);
  end if;
  faults := faults || catalog.price_faults(product, change ?| array['price', 'currency']);
  if faults <> '[]' then
    return platform.leave(call, 'products.update', jsonb_build_object('error', 'validation_failed', 'errors', faults));
  end if;
  begin
    update catalog.products c
    set name = product.name, description = product.description, price = product.price, currency = product.currency,
        status = product.status, group_id = product.group_id, options = product.options, slug = product.slug,
        weight = product.weight, tax_category = product.tax_category, compare_at_price = product.compare_at_price,
        metadata = product.metadata, version = platform.next_version(c.version), updated_at = platform.clock()
    where c.id = product.id
    returning * into product;
  exception when unique_violation then
    get stacked diagnostics violated = constraint_name;
    faults := catalog.taken_error(violated);
    if faults is null then
      raise;
    end if;
    return platform.leave(call, 'products.update', faults);
  end;
  if product.collections <> '{}' then
    perform catalog.copy_to_collections(array[product.id]);
  end if;
  perform catalog.emit_change(before, product);
  return platform.leave(call, 'products.update', catalog.product_json(product, catalog.quantity_of(product))
    || jsonb_build_object('version', product.version));
end
$function$;
alter function catalog.update_product(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.update_product(jsonb,jsonb) from public;
grant execute on function catalog.update_product(jsonb,jsonb) to fusion_worker;

-- function: catalog.update_product_group(jsonb,jsonb)
-- src/db/catalog/product-groups.sql
CREATE OR REPLACE FUNCTION catalog.update_product_group(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
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
$function$;
alter function catalog.update_product_group(jsonb,jsonb) owner to fusion_catalog;
revoke all on function catalog.update_product_group(jsonb,jsonb) from public;
grant execute on function catalog.update_product_group(jsonb,jsonb) to fusion_worker;

-- function: catalog.variant_faults(catalog.products)
-- src/db/catalog/products.sql
CREATE OR REPLACE FUNCTION catalog.variant_faults(p catalog.products)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  option_names text[] := '{}';
  fault text;
begin
  if p.group_id is not null then
    select g.options into option_names from catalog.product_groups g where g.id = p.group_id for update;
    if not found then
      fault := 'There is no such product group.';
    elsif (select count(*) from catalog.products c where c.group_id = p.group_id and c.id <> p.id) >= 250 then
      fault := 'A product group has at most 250 products, archived ones included.';
    end if;
    if fault is not null then
      return jsonb_build_array(jsonb_build_object('pointer', '/groupId', 'detail', fault));
    end if;
  end if;
  return (select coalesce(jsonb_agg(jsonb_build_object('pointer',
      '/options/' || replace(replace(f.name, '~', '~0'), '/', '~1'), 'detail', f.detail) order by f.name), '[]')
    from (
      select n as name, 'is required: the product group has this option' as detail
      from unnest(option_names) n where not p.options ? n
      union all
      select k, case when p.group_id is null then 'needs a product group'
        else 'is not an option of the product group' end
      from jsonb_object_keys(p.options) k where k <> all(option_names)
    ) f);
end
$function$;
alter function catalog.variant_faults(catalog.products) owner to fusion_catalog;
revoke all on function catalog.variant_faults(catalog.products) from public;

-- function: catalog.walk_products(character varying,text,character varying,character varying,numeric,numeric,jsonb,integer)
-- src/db/catalog/list-order.sql
CREATE OR REPLACE FUNCTION catalog.walk_products(in_collection character varying, sort text, only_status character varying, only_currency character varying, low numeric, high numeric, after_key jsonb, most integer)
 RETURNS TABLE(id character varying, key jsonb)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET enable_sort TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
AS $function$
declare
  tenant constant varchar := platform.proven_tenant('catalog:read');
  by_price constant boolean := sort in ('price', '-price');
  descending constant boolean := catalog.is_descending(sort);
  -- Of one currency after the other, because a range of prices of all currencies is not one part of the index.
  each_currency constant boolean := by_price and only_currency is null and num_nonnulls(low, high) > 0;
  source constant text := case when in_collection is null
    then format('from (select p.id, p.status, p.currency, p.price, p.name from catalog.products p where p.tenant_id = %L) r',
      tenant)
    else format('from (select c.product_id as id, c.status, c.currency, c.price, c.name from catalog.collection_products c
      where c.collection_id = %L and c.tenant_id = %L) r', in_collection, tenant) end;
  statuses constant varchar[] := case when only_status is null then array['active', 'archived'] else array[only_status] end;
  in_range constant text := case when by_price and low is not null then format(' and r.price >= %s', low) else '' end
    || case when by_price and high is not null then format(' and r.price <= %s', high) else '' end;
  currency varchar := case when by_price then only_currency end;
  remaining integer := most;
  added integer;
begin
  loop
    if each_currency then
      execute format('select %s(n.currency) from unnest(%L::varchar[]) s(status), lateral (select r.currency %s
          where r.status = s.status and r.currency %s %L order by r.currency %s limit 1) n',
        case when descending then 'max' else 'min' end, statuses, source,
        case when descending then '<' else '>' end || case when currency is null then '=' else '' end,
        coalesce(currency, after_key->>0, case when descending then 'ZZZ' else '' end),
        case when descending then 'desc' else 'asc' end) into currency;
      exit when currency is null;
    end if;
    return query execute (select format('select r.id, %s from (%s) r order by %s limit %s', catalog.sort_key(sort, 'r'),
        string_agg(format('(select r.* %s where r.status = %L%s%s and %s order by %s limit %s)', source, s,
          case when currency is null then '' else format(' and r.currency = %L', currency) end, in_range, catalog.after_key(sort, 'r', after_key),
          catalog.sort_order(sort, 'r'), remaining), ' union all '), catalog.sort_order(sort, 'r'), remaining)
      from unnest(statuses) s);
    get diagnostics added = row_count;
    remaining := remaining - added;
    exit when remaining <= 0 or not each_currency;
  end loop;
end
$function$;
alter function catalog.walk_products(character varying,text,character varying,character varying,numeric,numeric,jsonb,integer) owner to fusion_search;
revoke all on function catalog.walk_products(character varying,text,character varying,character varying,numeric,numeric,jsonb,integer) from public;
grant execute on function catalog.walk_products(character varying,text,character varying,character varying,numeric,numeric,jsonb,integer) to fusion_reader;

-- function: group_commerce.as_customer(jsonb)
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.as_customer(input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  customer constant varchar := platform.shopper()->>'customer';
begin
  if input->>'userId' <> customer then
    perform platform.fail('forbidden', jsonb_build_object('reason',
      'A customer session joins and leaves as its own customer: leave userId out.'));
  end if;
  return jsonb_build_object('email', orders.email_of(customer)) || input || jsonb_build_object('userId', customer);
end
$function$;
alter function group_commerce.as_customer(jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.as_customer(jsonb) from public;

-- function: group_commerce.awaits_money(group_commerce.participants)
-- src/db/group-commerce/due.sql
CREATE OR REPLACE FUNCTION group_commerce.awaits_money(p group_commerce.participants)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select case when p.team_id is null
    then (select group_commerce.is_collecting(c) from group_commerce.group_commerce_campaigns c where c.id = p.campaign_id)
    else (select t.status = 'forming' from group_commerce.teams t where t.id = p.team_id) end
$function$;
alter function group_commerce.awaits_money(group_commerce.participants) owner to fusion_group_commerce;
revoke all on function group_commerce.awaits_money(group_commerce.participants) from public;

-- function: group_commerce.awaits_order(character varying)
-- src/db/group-commerce/money.sql
CREATE OR REPLACE FUNCTION group_commerce.awaits_order(of_order character varying)
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select coalesce((select p.state in ('joined', 'secured') from group_commerce.participants p
    where p.order_id = of_order), false) and group_commerce.place_is_kept(of_order)
$function$;
alter function group_commerce.awaits_order(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.awaits_order(character varying) from public;
grant execute on function group_commerce.awaits_order(character varying) to fusion_payments;

-- function: group_commerce.campaign_faults(jsonb,catalog.products)
-- src/db/group-commerce/campaign-rules.sql
CREATE OR REPLACE FUNCTION group_commerce.campaign_faults(input jsonb, product catalog.products)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  with variants as (
    select s.ord - 1 as place, s.sku, v.id, v.group_id, v.currency, v.price
    from jsonb_array_elements_text(nullif(input->'skus', 'null')) with ordinality s(sku, ord)
    left join catalog.products v on v.tenant_id = (select platform.tenant()) and v.sku = s.sku and v.status = 'active'
  ), given as (
    select (input->>'price')::numeric as price, (input->>'originalPrice')::numeric as original
  ), faults as (
    select 0 as place, '/productId' as pointer, 'No such product is for sale.' as detail where product.id is null
    union all
    select 1, '/endTime', 'must be in the future' where (input->>'endTime')::timestamptz <= platform.clock()
    union all
    select 2, '/price', coalesce(
      case when g.price > coalesce(g.original, product.price) then
        format('must not be above the original price, %s', coalesce(g.original, product.price)) end,
      case when g.original is null then (
        select format('must not be above the price of %s, %s. For another comparison send originalPrice', v.sku, v.price)
        from variants v where v.price < g.price and v.currency = product.currency order by v.place limit 1) end,
      group_commerce.price_fault(g.price, product.currency))
    from given g where product.id is not null
    union all
    select 3, '/originalPrice', format('%s has no decimals.', product.currency)
    from given g where scale(trim_scale(g.original)) > platform.currency_decimals(product.currency)
    union all
    select 4, '/skus', format('must contain the SKU of the product, %s', product.sku)
    where product.id is not null and input->>'skus' is not null
      and not exists (select from variants v where v.sku = product.sku)
    union all
    select 5 + v.place, format('/skus/%s', v.place), case when v.id is null then 'No such product is for sale.'
        when v.group_id is distinct from product.group_id or v.group_id is null then
          format('must be a variant of the same product group as %s', product.sku)
        else format('is sold in %s, and %s in %s', v.currency, product.sku, product.currency) end
    from variants v
    where product.id is not null and v.sku <> product.sku and (v.id is null or v.group_id is null
      or v.group_id is distinct from product.group_id or v.currency <> product.currency)
    union all
    -- A tier costs something, so that every place has a payment.
    select 200 + t.ord, format('/tiers/%s/price', t.ord - 1),
      case when (t.tier->>'price')::numeric = 0 then 'must be above 0'
        else group_commerce.price_fault((t.tier->>'price')::numeric, product.currency) end
    from jsonb_array_elements(nullif(input->'tiers', 'null')) with ordinality t(tier, ord) where product.id is not null
  )
  select jsonb_agg(jsonb_build_object('pointer', f.pointer, 'detail', f.detail) order by f.place)
  from faults f where f.detail is not null
$function$;
alter function group_commerce.campaign_faults(jsonb,catalog.products) owner to fusion_group_commerce;
revoke all on function group_commerce.campaign_faults(jsonb,catalog.products) from public;

-- function: group_commerce.campaign_json(group_commerce.group_commerce_campaigns)
-- src/db/group-commerce/campaigns.sql
CREATE OR REPLACE FUNCTION group_commerce.campaign_json(c group_commerce.group_commerce_campaigns)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', c.id, 'productId', c.product_id, 'sku', c.sku,
      'skus', coalesce(to_jsonb(c.skus), jsonb_build_array(c.sku)), 'mode', c.mode,
      'minParticipants', c.min_participants, 'maxParticipants', c.max_participants,
      'actualParticipants', c.actual_participants, 'securedParticipants', c.secured_participants,
      'securedUnits', c.secured_units, 'maxPerCustomer', c.max_per_customer, 'joiners', c.joiners,
      'successOn', c.success_on, 'price', c.price, 'originalPrice', c.original_price, 'currency', c.currency,
      'tiers', coalesce(c.tiers, '[]'), 'settledPrice', c.settled_price, 'currentPrice', c.price, 'nextTier', null,
      'teamSize', c.team_size, 'teamSeconds', c.team_seconds, 'onShort', c.on_short, 'formingTeams', null,
      'successfulTeams', null, 'startTime', platform.iso(c.start_time), 'endTime', platform.iso(c.end_time),
      'status', c.status, 'createdAt', platform.iso(c.created_at))
    || case when c.mode = 'teams' then group_commerce.team_counts(c.id)
      when c.tiers is not null then group_commerce.tier_progress(c) else '{}' end
$function$;
alter function group_commerce.campaign_json(group_commerce.group_commerce_campaigns) owner to fusion_group_commerce;
revoke all on function group_commerce.campaign_json(group_commerce.group_commerce_campaigns) from public;
grant execute on function group_commerce.campaign_json(group_commerce.group_commerce_campaigns) to fusion_reader;

-- function: group_commerce.cancel_campaign(jsonb,jsonb)
-- src/db/group-commerce/settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.cancel_campaign(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'campaigns:write', 'campaigns.cancel');
  campaign group_commerce.group_commerce_campaigns;
begin
  if replay is not null then
    return replay;
  end if;
  campaign := group_commerce.lock_campaign(input->>'id');
  if campaign.status in ('successful', 'expired') then
    return platform.leave(call, 'campaigns.cancel',
      jsonb_build_object('error', 'conflict', 'detail', format('The campaign is %s.', campaign.status)));
  end if;
  if campaign.status = 'active' then
    update group_commerce.group_commerce_campaigns x
    set status = 'failed', version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = campaign.id returning * into campaign;
    perform group_commerce.emit_campaign(campaign, 'failed', true);
  end if;
  return platform.leave(call, 'campaigns.cancel', group_commerce.campaign_json(campaign));
end
$function$;
alter function group_commerce.cancel_campaign(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.cancel_campaign(jsonb,jsonb) from public;
grant execute on function group_commerce.cancel_campaign(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.cancel_team(jsonb,jsonb)
-- src/db/group-commerce/team-reads.sql
CREATE OR REPLACE FUNCTION group_commerce.cancel_team(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  replay constant jsonb := platform.enter(call, 'campaigns:write', 'teams.cancel');
  team group_commerce.teams;
begin
  if replay is not null then
    return replay;
  end if;
  update group_commerce.teams t
  set status = 'cancelled', version = platform.next_version(t.version), updated_at = platform.clock()
  where t.id = input->>'id' and t.status = (select 'forming')
  returning * into team;
  if found then
    perform group_commerce.emit_team(team, 'cancelled', '{}', true);
    return platform.leave(call, 'teams.cancel', group_commerce.team_json(team));
  end if;
  select * into team from group_commerce.teams t where t.id = input->>'id';
  if not found then
    perform platform.fail('not_found');
  end if;
  return platform.leave(call, 'teams.cancel', case team.status
    when 'cancelled' then group_commerce.team_json(team)
    when 'merged' then jsonb_build_object('error', 'conflict', 'detail', format(
      'The team was merged into the team %s. Cancel that team to end the places of both.', team.merged_into))
    when 'successful' then jsonb_build_object('error', 'conflict', 'detail',
      'The team has succeeded. Cancel or refund the orders of its members.')
    else jsonb_build_object('error', 'conflict', 'detail',
      'The time of the team is over, and its places are released. There is nothing to cancel.') end);
end
$function$;
alter function group_commerce.cancel_team(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.cancel_team(jsonb,jsonb) from public;
grant execute on function group_commerce.cancel_team(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.cancel_teams(jsonb,jsonb)
-- src/db/group-commerce/team-ends.sql
CREATE OR REPLACE FUNCTION group_commerce.cancel_teams(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  campaign group_commerce.group_commerce_campaigns;
  ids text[];
  result jsonb;
  cancelled integer := 0;
  is_old boolean;
begin
  perform platform.enter_as(call, coalesce(input->>'tenant', '*'));
  select * into campaign from group_commerce.group_commerce_campaigns x
  where x.settled_at is null and x.status <> 'active' and x.status = 'failed' and x.mode = 'teams'
    and (input->>'campaignId' is null or x.id = input->>'campaignId')
    and x.id <> all(platform.keys_set_aside('campaigns'))
    and (x.updated_at <= platform.clock() - make_interval(secs => (input->>'settleSeconds')::int)
      or exists (select from group_commerce.teams t where t.campaign_id = x.id and t.status = 'forming'))
  order by row_number() over (partition by x.tenant_id order by x.id), random() limit 1;
  if not found then
    return jsonb_build_object('done', 0, 'more', false);
  end if;
  perform platform.act_as(campaign.tenant_id);
  is_old := campaign.updated_at <= platform.clock() - make_interval(secs => (input->>'settleSeconds')::int);
  ids := array(select t.id from group_commerce.teams t
    where t.campaign_id = campaign.id and t.status = 'forming'
      and t.id <> all(platform.keys_set_aside('campaigns'))
    order by t.id limit (input->>'limit')::int);
  for result in select jsonb_array_elements(
    platform.process_rows('campaigns', 'group_commerce.cancel_teams_step', campaign.tenant_id, ids, input))
  loop
    cancelled := cancelled + (result->>'cancelled')::int;
  end loop;
  if cardinality(ids) = 0 then
    if exists (select from group_commerce.teams t where t.campaign_id = campaign.id and t.status = 'forming') then
      perform platform.set_aside('campaigns', array[campaign.id::text], 'teams of this campaign are set aside');
    elsif is_old then
      update group_commerce.group_commerce_campaigns x
      set settled_at = platform.clock(), version = platform.next_version(x.version), updated_at = platform.clock()
      where x.id = campaign.id and x.settled_at is null;
      perform platform.clear_set_aside('campaigns', array[campaign.id::text]);
    end if;
  end if;
  return jsonb_build_object('done', cancelled, 'more', true);
end
$function$;
alter function group_commerce.cancel_teams(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.cancel_teams(jsonb,jsonb) from public;
grant execute on function group_commerce.cancel_teams(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.cancel_teams_step(text[],jsonb)
-- src/db/group-commerce/team-ends.sql
CREATE OR REPLACE FUNCTION group_commerce.cancel_teams_step(ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  team group_commerce.teams;
  cancelled integer := 0;
begin
  perform 1 from group_commerce.teams t where t.id = any(ids) order by t.id for update;
  for team in
    update group_commerce.teams x
    set status = 'cancelled', version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = any(ids) and x.status = (select 'forming')
    returning *
  loop
    perform group_commerce.emit_team(team, 'cancelled', '{}', true);
    cancelled := cancelled + 1;
  end loop;
  return jsonb_build_object('cancelled', cancelled);
end
$function$;
alter function group_commerce.cancel_teams_step(text[],jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.cancel_teams_step(text[],jsonb) from public;

-- function: group_commerce.claim_place(group_commerce.group_commerce_campaigns,integer,jsonb,group_commerce.waiting_places)
-- src/db/group-commerce/join.sql
CREATE OR REPLACE FUNCTION group_commerce.claim_place(c group_commerce.group_commerce_campaigns, grace_seconds integer, input jsonb, w group_commerce.waiting_places)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
  orders_now constant boolean := not group_commerce.is_collecting(c);
  total constant numeric := coalesce((input->'amounts'->>'total')::numeric, c.price);
  is_free constant boolean := total = 0;
  joining_user constant varchar := input->>'userId';
  units constant integer := (input->>'quantity')::integer;
  offers constant integer := coalesce(w.state = 'offered', false)::int;
  succeeds boolean;
  place record;
  participant group_commerce.participants;
  fault jsonb;
begin
  if not is_free then
    perform group_commerce.open_payment_of_place(c, input, total, c.end_time + make_interval(secs => grace_seconds),
      orders_now);
  end if;
  with taken as (
    update group_commerce.group_commerce_campaigns x
    set actual_participants = x.actual_participants + 1, offered_places = x.offered_places - offers,
        secured_participants = x.secured_participants + is_free::int,
        secured_units = x.secured_units + is_free::int * units,
        status = case when x.status = 'active' and x.min_participants <= case x.success_on
            when 'joined' then x.actual_participants + 1 else x.secured_participants + is_free::int end
          then 'successful' else x.status end,
        version = platform.next_version(x.version), updated_at = now_at
    where x.id = c.id and x.status = c.status and x.settled_price is null
      and x.offered_places >= offers and x.actual_participants + x.offered_places - offers < x.max_participants
    returning x as campaign
  ), joined as (
    insert into group_commerce.participants as p (id, tenant_id, campaign_id, user_id, order_id, payment_id,
      shipping_address, state, joined_at, secure_by, secured_at, updated_at, email, billing_address, metadata, amounts,
      sku, quantity, invited_by)
    select input->>'participantId', tenant, c.id, joining_user, input->>'orderId',
      case when not is_free then input->>'paymentId' end, nullif(input->'shippingAddress', 'null'),
      case when orders_now then 'ordered' when is_free then 'secured' else 'joined' end, now_at,
      case when not is_free then now_at + make_interval(secs => case when orders_now then grace_seconds
        else (input->>'secureSeconds')::int end) end,
      case when is_free then now_at end, now_at, input->>'email', nullif(input->'billingAddress', 'null'),
      nullif(input->'metadata', 'null'), input->'amounts', input->>'sku', units, input->>'invitedBy'
    from taken
    on conflict (user_id, campaign_id, (coalesce(team_id, ''))) where state <> 'released' do nothing
    returning p as participant
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'group-commerce.campaign.joined', c.id, jsonb_build_object(
      'campaign', group_commerce.campaign_json(t.campaign), 'userId', joining_user), platform.trace(), now_at
    from taken t, joined
    returning seq
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, c.id, platform.due_now() from event e, unnest(platform.sinks_of(not is_free)) s
  )
  select t.campaign, j.participant into place
  from (select 1) one left join taken t on true left join joined j on true;
  participant := place.participant;
  if participant.id is null then
    select case when place.campaign is null and not exists (select from group_commerce.participants p
        where p.campaign_id = x.id and p.user_id = joining_user and p.state <> 'released')
      then group_commerce.join_fault(x) end
    into fault from group_commerce.group_commerce_campaigns x where x.id = c.id;
    if fault is not null then
      raise exception using errcode = 'FC001', message = fault::text;
    end if;
    raise exception using errcode = 'serialization_failure',
      message = 'the campaign changed, or the user joins at the same time';
  end if;
  if w.id is not null or (place.campaign).offered_places > 0 then
    perform group_commerce.take_entry(c.id, joining_user, w);
  end if;
  if c.max_per_customer is not null then
    perform group_commerce.count_units(c, joining_user, units);
  end if;
  succeeds := c.status = 'active' and (place.campaign).status = 'successful';
  c := place.campaign;
  if orders_now then
    perform group_commerce.create_place_order(c, participant);
  end if;
  fault := inventory.hold_units(participant.order_id, participant.sku, units, case when orders_now and not is_free
    then participant.secure_by else 'infinity' end);
  if fault is not null then
    raise exception using errcode = 'FC001',
      message = jsonb_build_object('error', 'insufficient_inventory', 'shortages', fault)::text;
  end if;
  if orders_now then
    perform inventory.emit_reserved(array[participant.order_id::text]);
    participant := group_commerce.confirm_free_place(c, participant);
  elsif succeeds then
    perform group_commerce.emit_campaign(c, 'successful', true);
  end if;
  return group_commerce.participant_json(participant) || group_commerce.place_terms(c)
    || jsonb_build_object('changedSkus', jsonb_build_array(participant.sku));
end
$function$;
alter function group_commerce.claim_place(group_commerce.group_commerce_campaigns,integer,jsonb,group_commerce.waiting_places) owner to fusion_group_commerce;
revoke all on function group_commerce.claim_place(group_commerce.group_commerce_campaigns,integer,jsonb,group_commerce.waiting_places) from public;

-- function: group_commerce.claim_team_place(group_commerce.group_commerce_campaigns,group_commerce.teams,integer,jsonb)
-- src/db/group-commerce/team-places.sql
CREATE OR REPLACE FUNCTION group_commerce.claim_team_place(c group_commerce.group_commerce_campaigns, t group_commerce.teams, grace_seconds integer, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
  opens constant boolean := t.code is null;
  total constant numeric := coalesce((input->'amounts'->>'total')::numeric, c.price);
  is_free constant boolean := total = 0;
  may_merge constant boolean := coalesce((input->>'merge')::boolean, false);
  joined_team constant varchar := t.id;
  joining_user constant varchar := input->>'userId';
  units constant integer := (input->>'quantity')::integer;
  place record;
  fault jsonb;
begin
  if not is_free then
    perform group_commerce.open_payment_of_place(c, input, total, make_interval(secs => grace_seconds)
      + case when may_merge and c.on_short = 'merge' then c.end_time else t.end_time end, false);
  end if;
  with opened as (
    insert into group_commerce.teams as x (id, tenant_id, campaign_id, code, leader, size, joined, secured, status, listed,
      merge_refusals, end_time, created_at, updated_at)
    select t.id, tenant, c.id, input->>'code', joining_user, c.team_size, 1, is_free::int, 'forming',
      coalesce((input->>'listed')::boolean, false), (not may_merge)::int, t.end_time, now_at, now_at
    where opens
    returning x as team
  ), filled as (
    update group_commerce.teams x
    set joined = x.joined + 1, secured = x.secured + is_free::int,
        merge_refusals = x.merge_refusals + (not may_merge)::int,
        status = case when x.size <= case c.success_on when 'joined' then x.joined + 1
          else x.secured + is_free::int end then 'successful' else x.status end,
        version = platform.next_version(x.version), updated_at = now_at
    -- A subquery as the status, so that the planner does not choose the index of teams whose time is over.
    where x.id = joined_team and not opens and x.status = (select 'forming') and x.joined < x.size
      and x.end_time > now_at
    returning x as team
  ), taken as (
    select o.team, group_commerce.team_json(o.team) as json from opened o
    union all
    select f.team, group_commerce.team_json(f.team) from filled f
  ), joined as (
    insert into group_commerce.participants as p (id, tenant_id, campaign_id, team_id, user_id, order_id, payment_id,
      shipping_address, state, joined_at, secure_by, secured_at, updated_at, email, billing_address, metadata, amounts,
      sku, quantity, merge, invited_by)
    select input->>'participantId', tenant, c.id, t.id, joining_user, input->>'orderId',
      case when not is_free then input->>'paymentId' end, nullif(input->'shippingAddress', 'null'),
      case when is_free then 'secured' else 'joined' end, now_at,
      case when not is_free then now_at + make_interval(secs => (input->>'secureSeconds')::int) end,
      case when is_free then now_at end, now_at, input->>'email', nullif(input->'billingAddress', 'null'),
      nullif(input->'metadata', 'null'), input->'amounts', input->>'sku', units, may_merge, input->>'invitedBy'
    from taken
    on conflict (user_id, campaign_id, (coalesce(team_id, ''))) where state <> 'released' do nothing
    returning p as participant
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, case when opens then 'group-commerce.team.created' else 'group-commerce.team.joined' end, t.id,
      jsonb_build_object('team', k.json, 'userId', joining_user), platform.trace(), now_at
    from taken k, joined
    union all
    select tenant, 'group-commerce.team.successful', t.id, jsonb_build_object('team', k.json), platform.trace(), now_at
    from taken k, joined where (k.team).status = 'successful'
    returning seq, topic
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, t.id, platform.due_now()
    from event e, unnest(platform.sinks_of(not is_free or e.topic = 'group-commerce.team.successful')) s
  )
  select k.team, k.json, j.participant into place
  from (select 1) one left join taken k on true left join joined j on true;
  if (place.participant).id is null then
    if place.team is null then
      select group_commerce.team_fault(x) into fault from group_commerce.teams x
      where x.id = t.id and (x.status <> 'merged' or t.status = 'merged');
    end if;
    -- A user who joins twice at the same time can fill the team with the first join. The second one is repeated, and
    -- then finds the first place.
    if fault is not null and (opens or not exists (select from group_commerce.participants p
      where p.user_id = joining_user and p.campaign_id = c.id and coalesce(p.team_id, '') = t.id
        and p.state <> 'released')) then
      raise exception using errcode = 'FC001', message = fault::text;
    end if;
    -- The call is repeated, and finds the place, or the team that this one was merged into.
    raise exception using errcode = 'serialization_failure',
      message = 'the user joins the team at the same time, or the team was merged meanwhile';
  end if;
  if c.max_per_customer is not null then
    perform group_commerce.count_units(c, joining_user, units);
  end if;
  fault := inventory.hold_units((place.participant).order_id, (place.participant).sku, units, 'infinity');
  if fault is not null then
    raise exception using errcode = 'FC001',
      message = jsonb_build_object('error', 'insufficient_inventory', 'shortages', fault)::text;
  end if;
  return group_commerce.place_answer(place.json, place.participant, c)
    || jsonb_build_object('changedSkus', jsonb_build_array((place.participant).sku));
end
$function$;
alter function group_commerce.claim_team_place(group_commerce.group_commerce_campaigns,group_commerce.teams,integer,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.claim_team_place(group_commerce.group_commerce_campaigns,group_commerce.teams,integer,jsonb) from public;

-- function: group_commerce.confirm_early_captures(text[])
-- src/db/group-commerce/settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.confirm_early_captures(order_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  paid_order_id text;
begin
  perform inventory.lock_holds(order_ids); -- lock order: all holds, before the stock of the first order
  foreach paid_order_id in array order_ids loop
    perform orders.confirm_paid_order(paid_order_id);
    update group_commerce.participants x set state = 'charged', updated_at = platform.clock()
    where x.order_id = paid_order_id;
  end loop;
end
$function$;
alter function group_commerce.confirm_early_captures(text[]) owner to fusion_group_commerce;
revoke all on function group_commerce.confirm_early_captures(text[]) from public;

-- function: group_commerce.confirm_free_place(group_commerce.group_commerce_campaigns,group_commerce.participants)
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.confirm_free_place(campaign group_commerce.group_commerce_campaigns, participant group_commerce.participants)
 RETURNS group_commerce.participants
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if participant.payment_id is null then
    perform orders.confirm_paid_order(participant.order_id);
    update group_commerce.participants x set state = 'charged' where x.id = participant.id returning * into participant;
  end if;
  return participant;
end
$function$;
alter function group_commerce.confirm_free_place(group_commerce.group_commerce_campaigns,group_commerce.participants) owner to fusion_group_commerce;
revoke all on function group_commerce.confirm_free_place(group_commerce.group_commerce_campaigns,group_commerce.participants) from public;

-- function: group_commerce.count_secured(group_commerce.participants)
-- src/db/group-commerce/money.sql
CREATE OR REPLACE FUNCTION group_commerce.count_secured(participant group_commerce.participants)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  campaign group_commerce.group_commerce_campaigns;
  team group_commerce.teams;
  status_before varchar;
  price_before numeric;
begin
  select * into campaign from group_commerce.group_commerce_campaigns x where x.id = participant.campaign_id;
  if participant.team_id is not null then
    select x.status into status_before from group_commerce.teams x where x.id = participant.team_id;
    update group_commerce.teams x
    set secured = x.secured + 1,
        status = case when x.status = 'forming' and campaign.success_on = 'secured' and campaign.status = 'active'
          and platform.clock() < x.end_time and x.secured + 1 = x.size then 'successful' else x.status end,
        version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = participant.team_id returning * into team;
    if status_before = 'forming' and team.status = 'successful' then
      perform group_commerce.emit_team(team, 'successful', '{}', true);
    end if;
    return;
  end if;
  status_before := campaign.status;
  price_before := campaign.settled_price;
  update group_commerce.group_commerce_campaigns x
  set secured_participants = x.secured_participants + 1, secured_units = x.secured_units + participant.quantity,
      status = case when x.status = 'active' and x.success_on = 'secured' and platform.clock() < x.end_time
        and x.secured_participants + 1 >= x.min_participants then 'successful' else x.status end,
      settled_price = case when x.tiers is not null and x.settled_price is null
          and x.secured_participants + 1 = x.max_participants
          and (x.status = 'successful' or x.status = 'active' and x.success_on = 'secured' and platform.clock() < x.end_time)
        then group_commerce.tier_price(x.tiers, x.price, x.secured_participants + 1,
          x.secured_units + participant.quantity)
        else x.settled_price end,
      version = platform.next_version(x.version), updated_at = platform.clock()
  where x.id = participant.campaign_id returning * into campaign;
  if status_before = 'active' and campaign.status = 'successful' then
    perform group_commerce.emit_campaign(campaign, 'successful', true);
  end if;
  if price_before is null and campaign.settled_price is not null then
    perform group_commerce.emit_campaign(campaign, 'priced', true);
  end if;
end
$function$;
alter function group_commerce.count_secured(group_commerce.participants) owner to fusion_group_commerce;
revoke all on function group_commerce.count_secured(group_commerce.participants) from public;

-- function: group_commerce.count_units(group_commerce.group_commerce_campaigns,character varying,integer)
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.count_units(c group_commerce.group_commerce_campaigns, of_user character varying, new_units integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  insert into group_commerce.campaign_customers as n (campaign_id, user_id, tenant_id, units)
  values (c.id, of_user, platform.tenant(), new_units)
  on conflict (campaign_id, user_id) do update set units = n.units + excluded.units
  where n.units + excluded.units <= c.max_per_customer;
  if not found then
    raise exception using errcode = 'FC001', message = group_commerce.limit_fault(c, of_user)::text;
  end if;
end
$function$;
alter function group_commerce.count_units(group_commerce.group_commerce_campaigns,character varying,integer) owner to fusion_group_commerce;
revoke all on function group_commerce.count_units(group_commerce.group_commerce_campaigns,character varying,integer) from public;

-- function: group_commerce.create_campaign(jsonb,jsonb)
-- src/db/group-commerce/campaigns.sql
CREATE OR REPLACE FUNCTION group_commerce.create_campaign(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'campaigns:write', 'campaigns.create');
  product catalog.products;
  campaign group_commerce.group_commerce_campaigns;
  faults jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  select * into product from catalog.products x
    where x.id = input->>'productId' and x.status = 'active';
  faults := group_commerce.campaign_faults(input, product);
  if faults is not null then
    return platform.leave(call, 'campaigns.create',
      jsonb_build_object('error', 'validation_failed', 'errors', faults));
  end if;
  insert into group_commerce.group_commerce_campaigns (id, tenant_id, product_id, sku, currency, min_participants,
    max_participants, actual_participants, price, original_price, start_time, end_time, status, success_on, mode,
    team_size, team_seconds, on_short, tiers, skus, max_per_customer, joiners, created_at, updated_at)
  values (input->>'id', platform.tenant(), product.id, product.sku, product.currency, (input->>'minParticipants')::int,
    (input->>'maxParticipants')::int, 0, (input->>'price')::numeric,
    coalesce((input->>'originalPrice')::numeric, product.price), (input->>'startTime')::timestamptz,
    (input->>'endTime')::timestamptz, 'active', input->>'successOn', coalesce(input->>'mode', 'pool'),
    (input->>'teamSize')::int, (input->>'teamSeconds')::int, input->>'onShort', nullif(input->'tiers', 'null'),
    -- Only the product: as without `skus`.
    (select array_agg(s order by ord) from jsonb_array_elements_text(input->'skus') with ordinality e(s, ord)
      having count(*) > 1), (input->>'maxPerCustomer')::int,
    coalesce(input->>'joiners', 'all'), platform.clock(), platform.clock())
  returning * into campaign;
  perform group_commerce.emit_campaign(campaign, 'created', false);
  return platform.leave(call, 'campaigns.create', group_commerce.campaign_json(campaign));
end
$function$;
alter function group_commerce.create_campaign(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.create_campaign(jsonb,jsonb) from public;
grant execute on function group_commerce.create_campaign(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.create_place_order(group_commerce.group_commerce_campaigns,group_commerce.participants)
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.create_place_order(campaign group_commerce.group_commerce_campaigns, participant group_commerce.participants)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select orders.place_campaign_order(jsonb_build_object('id', participant.order_id, 'customerId', participant.user_id,
    'sku', coalesce(participant.sku, campaign.sku), 'quantity', participant.quantity,
    'price', coalesce(campaign.settled_price, campaign.price), 'currency', campaign.currency, 'campaignId', campaign.id,
    'shippingAddress', participant.shipping_address, 'billingAddress', participant.billing_address,
    'email', participant.email, 'metadata', participant.metadata, 'amounts', participant.amounts))
$function$;
alter function group_commerce.create_place_order(group_commerce.group_commerce_campaigns,group_commerce.participants) owner to fusion_group_commerce;
revoke all on function group_commerce.create_place_order(group_commerce.group_commerce_campaigns,group_commerce.participants) from public;

-- function: group_commerce.emit_campaign(group_commerce.group_commerce_campaigns,text,boolean)
-- src/db/group-commerce/campaigns.sql
CREATE OR REPLACE FUNCTION group_commerce.emit_campaign(c group_commerce.group_commerce_campaigns, fact text, queue boolean)
 RETURNS void
 LANGUAGE sql
AS $function$
  select platform.emit('group-commerce.campaign.' || fact, c.id, group_commerce.campaign_json(c), queue)
$function$;
alter function group_commerce.emit_campaign(group_commerce.group_commerce_campaigns,text,boolean) owner to fusion_group_commerce;
revoke all on function group_commerce.emit_campaign(group_commerce.group_commerce_campaigns,text,boolean) from public;

-- function: group_commerce.emit_team(group_commerce.teams,text,jsonb,boolean)
-- src/db/group-commerce/teams.sql
CREATE OR REPLACE FUNCTION group_commerce.emit_team(t group_commerce.teams, fact text, more jsonb, queue boolean)
 RETURNS void
 LANGUAGE sql
AS $function$
  select platform.emit('group-commerce.team.' || fact, t.id,
    jsonb_build_object('team', group_commerce.team_json(t)) || more, queue)
$function$;
alter function group_commerce.emit_team(group_commerce.teams,text,jsonb,boolean) owner to fusion_group_commerce;
revoke all on function group_commerce.emit_team(group_commerce.teams,text,jsonb,boolean) from public;

-- function: group_commerce.end_campaigns_of_teams(jsonb,jsonb)
-- src/db/group-commerce/team-ends.sql
CREATE OR REPLACE FUNCTION group_commerce.end_campaigns_of_teams(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  ended integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('campaigns');
  for due in
    select d.tenant_id, array_agg(d.id::text order by d.id) as ids from (
      select x.id, x.tenant_id from group_commerce.group_commerce_campaigns x
      where x.status = 'active' and x.end_time <= platform.clock() and x.mode = 'teams' and x.id <> all(excluded_ids)
        and not exists (select from group_commerce.teams t where t.campaign_id = x.id and t.status = 'forming')
      order by x.end_time limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('campaigns', 'group_commerce.end_campaigns_of_teams_step', due.tenant_id, due.ids, input))
    loop
      ended := ended + (result->>'ended')::int;
    end loop;
  end loop;
  return jsonb_build_object('ended', ended);
end
$function$;
alter function group_commerce.end_campaigns_of_teams(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.end_campaigns_of_teams(jsonb,jsonb) from public;
grant execute on function group_commerce.end_campaigns_of_teams(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.end_campaigns_of_teams_step(text[],jsonb)
-- src/db/group-commerce/team-ends.sql
CREATE OR REPLACE FUNCTION group_commerce.end_campaigns_of_teams_step(ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  campaign_id text;
  campaign group_commerce.group_commerce_campaigns;
  ended integer := 0;
begin
  foreach campaign_id in array ids loop
    update group_commerce.group_commerce_campaigns x
    set status = case when exists (select from group_commerce.teams t
          where t.campaign_id = x.id and t.status = 'successful') then 'successful' else 'expired' end,
        settled_at = platform.clock(), version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = campaign_id and x.status = (select 'active') and x.end_time <= platform.clock()
      and not exists (select from group_commerce.teams t where t.campaign_id = x.id and t.status = 'forming')
    returning * into campaign;
    if found then
      perform group_commerce.emit_campaign(campaign, campaign.status, true);
      ended := ended + 1;
    end if;
  end loop;
  return jsonb_build_object('ended', ended);
end
$function$;
alter function group_commerce.end_campaigns_of_teams_step(text[],jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.end_campaigns_of_teams_step(text[],jsonb) from public;

-- function: group_commerce.end_teams(jsonb,jsonb)
-- src/db/group-commerce/team-ends.sql
CREATE OR REPLACE FUNCTION group_commerce.end_teams(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
AS $function$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  ended integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('campaigns');
  for due in
    select d.tenant_id, array_agg(d.id::text order by d.id) as ids from (
      select h.tenant_id, h.id, sum(h.places) over (order by h.turn, h.end_time, h.id) - h.places as places_before
      from platform.tenants_with_rows('group_commerce.teams', 'status = ''forming''') t(id)
      cross join lateral (
        select x.tenant_id, x.id, x.end_time, row_number() over (order by x.end_time, x.id) as turn,
          case x.merge_refusals when 0 then x.joined else 0 end as places
        from group_commerce.teams x
        where x.tenant_id = t.id and x.status = 'forming' and x.end_time <= platform.clock()
          and x.id <> all(excluded_ids)
        order by x.end_time, x.id limit (input->>'limit')::int
      ) h
      order by h.turn, h.end_time, h.id limit (input->>'limit')::int
    ) d where d.places_before < 3000 group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('campaigns', 'group_commerce.end_teams_step', due.tenant_id, due.ids,
        jsonb_build_object('excluded', excluded_ids)))
    loop
      ended := ended + (result->>'ended')::int;
    end loop;
  end loop;
  return jsonb_build_object('ended', ended);
end
$function$;
alter function group_commerce.end_teams(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.end_teams(jsonb,jsonb) from public;
grant execute on function group_commerce.end_teams(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.end_teams_step(text[],jsonb)
-- src/db/group-commerce/team-ends.sql
CREATE OR REPLACE FUNCTION group_commerce.end_teams_step(ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  target_ids text[];
  merges record;
  team group_commerce.teams;
  ended integer := 0;
begin
  target_ids := group_commerce.find_merge_targets(ids, input->'excluded');
  perform 1 from group_commerce.teams t where t.id = any(ids || target_ids) order by t.id for update;
  if cardinality(target_ids) > 0 then
    select * into merges from group_commerce.plan_merges(ids, target_ids);
    if cardinality(merges.moved) > 0 then
      ended := group_commerce.merge_teams(merges.moved, merges.targets);
    end if;
  end if;
  for team in
    update group_commerce.teams x
    set status = case c.status when 'failed' then 'cancelled' else 'expired' end,
        version = platform.next_version(x.version), updated_at = platform.clock()
    from group_commerce.group_commerce_campaigns c
    where x.id = any(ids) and x.status = (select 'forming') and x.end_time <= platform.clock() and c.id = x.campaign_id
    returning x.*
  loop
    if team.status = 'cancelled' then
      perform group_commerce.emit_team(team, 'cancelled', '{}', true);
    else
      perform group_commerce.emit_team(team, 'expired', '{}', true);
    end if;
    ended := ended + 1;
  end loop;
  return jsonb_build_object('ended', ended);
end
$function$;
alter function group_commerce.end_teams_step(text[],jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.end_teams_step(text[],jsonb) from public;

-- function: group_commerce.end_waiting_list(character varying,integer)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.end_waiting_list(of_campaign character varying, most integer)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  ended record;
begin
  with first as (
    select w.id, w.state from group_commerce.waiting_places w
    where w.campaign_id = of_campaign and w.state in ('waiting', 'offered') order by w.id limit most
  ), changed as (
    update group_commerce.waiting_places w set state = 'ended', updated_at = platform.clock()
    from first where w.id = first.id returning first.state
  )
  select count(*)::integer as entries, count(*) filter (where e.state = 'offered') as offers into ended from changed e;
  if ended.offers > 0 then
    update group_commerce.group_commerce_campaigns x
    set offered_places = x.offered_places - ended.offers, version = platform.next_version(x.version),
        updated_at = platform.clock()
    where x.id = of_campaign;
  end if;
  return ended.entries;
end
$function$;
alter function group_commerce.end_waiting_list(character varying,integer) owner to fusion_group_commerce;
revoke all on function group_commerce.end_waiting_list(character varying,integer) from public;

-- function: group_commerce.enter_team(jsonb,text,group_commerce.group_commerce_campaigns,group_commerce.teams,jsonb,jsonb,jsonb)
-- src/db/group-commerce/teams.sql
CREATE OR REPLACE FUNCTION group_commerce.enter_team(call jsonb, operation text, c group_commerce.group_commerce_campaigns, t group_commerce.teams, terms jsonb, fault jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  answer jsonb;
begin
  if fault is null and (terms->>'isArchived')::boolean then
    fault := jsonb_build_object('error', 'campaign_not_open', 'detail', 'The product of this campaign is archived.');
  end if;
  if fault is null and t.code is not null then -- anybody may open a team
    fault := group_commerce.joiner_fault(c, input->>'userId');
  end if;
  if fault is not null then
    return platform.leave(call, operation, fault);
  end if;
  input := group_commerce.prepare_place(c, (terms->>'hasTax')::boolean, input);
  if input ? 'error' then
    return platform.leave(call, operation, input);
  elsif input ? 'taxQuestion' then -- not stored: the Worker asks, and calls again with `taxQuote`
    return jsonb_build_object('tenant', platform.tenant(), 'replayed', false,
      'answer', input || '{"error": "unavailable"}');
  end if;
  begin
    answer := group_commerce.claim_team_place(c, t, (terms->>'grace')::int, input);
  exception when sqlstate 'FC001' then
    -- The contended rows (the team and the stock) are locked last. The writes before them are undone.
    answer := sqlerrm;
  end;
  return platform.leave(call, operation, answer);
end
$function$;
alter function group_commerce.enter_team(jsonb,text,group_commerce.group_commerce_campaigns,group_commerce.teams,jsonb,jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.enter_team(jsonb,text,group_commerce.group_commerce_campaigns,group_commerce.teams,jsonb,jsonb,jsonb) from public;

-- function: group_commerce.enter_waiting_list(character varying,character varying)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.enter_waiting_list(of_campaign character varying, waiting_user character varying)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  last_id constant varchar := (select w.id from group_commerce.waiting_places w
    where w.campaign_id = of_campaign and w.state in ('waiting', 'offered') order by w.id desc limit 1);
  entry group_commerce.waiting_places;
begin
  insert into group_commerce.waiting_places (id, tenant_id, campaign_id, user_id, state, created_at, updated_at)
  values (group_commerce.id_after(last_id), platform.tenant(), of_campaign, waiting_user, 'waiting', platform.clock(),
    platform.clock())
  returning * into entry;
  return group_commerce.waiting_answer(entry);
end
$function$;
alter function group_commerce.enter_waiting_list(character varying,character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.enter_waiting_list(character varying,character varying) from public;

-- function: group_commerce.erase_places(character varying)
-- src/db/group-commerce/erasure.sql
CREATE OR REPLACE FUNCTION group_commerce.erase_places(user_id character varying)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  ids text[];
  waiting_in text[]; -- campaigns
begin
  waiting_in := array(select w.campaign_id from group_commerce.waiting_places w
    where w.user_id = erase_places.user_id and w.state in ('waiting', 'offered') order by w.campaign_id);
  perform 1 from group_commerce.group_commerce_campaigns c where c.id = any(waiting_in) order by c.id for update;
  -- One look-up for each of the two indexes on the user.
  ids := array(
    select p.id from group_commerce.participants p where p.user_id = erase_places.user_id and p.state <> 'released'
    union all
    select p.id from group_commerce.participants p where p.user_id = erase_places.user_id and p.state = 'released');
  perform 1 from group_commerce.participants p where p.id = any(ids) order by p.id for update;
  if exists (select from group_commerce.participants p
    where p.id = any(ids) and p.state in ('joined', 'secured', 'ordered')) then
    return false;
  end if;
  update group_commerce.participants p
  set shipping_address = null, billing_address = null, email = null, metadata = null, updated_at = platform.clock()
  where p.id = any(ids);
  perform group_commerce.leave_waiting_list(c, erase_places.user_id, 'ended') from unnest(waiting_in) c;
  return true;
end
$function$;
alter function group_commerce.erase_places(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.erase_places(character varying) from public;
grant execute on function group_commerce.erase_places(character varying) to fusion_orders;

-- function: group_commerce.expire_campaigns(jsonb,jsonb)
-- src/db/group-commerce/due.sql
CREATE OR REPLACE FUNCTION group_commerce.expire_campaigns(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  expired integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('campaigns');
  for due in
    select d.tenant_id, array_agg(d.id::text order by d.id) as ids from (
      select x.id, x.tenant_id from group_commerce.group_commerce_campaigns x
      where x.status = 'active' and x.end_time <= platform.clock() and x.mode = 'pool' and x.id <> all(excluded_ids)
      order by x.end_time limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('campaigns', 'group_commerce.expire_campaigns_step', due.tenant_id, due.ids, input))
    loop
      expired := expired + (result->>'expired')::int;
    end loop;
  end loop;
  return jsonb_build_object('expired', expired);
end
$function$;
alter function group_commerce.expire_campaigns(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.expire_campaigns(jsonb,jsonb) from public;
grant execute on function group_commerce.expire_campaigns(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.expire_campaigns_step(text[],jsonb)
-- src/db/group-commerce/due.sql
CREATE OR REPLACE FUNCTION group_commerce.expire_campaigns_step(ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  campaign_id text;
  campaign group_commerce.group_commerce_campaigns;
  expired integer := 0;
begin
  foreach campaign_id in array ids loop
    update group_commerce.group_commerce_campaigns x
    set status = 'expired', version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = campaign_id and x.status = (select 'active') and x.mode = 'pool'
      and x.end_time <= platform.clock()
    returning * into campaign;
    if found then
      perform group_commerce.emit_campaign(campaign, 'expired', true);
      expired := expired + 1;
    end if;
  end loop;
  return jsonb_build_object('expired', expired);
end
$function$;
alter function group_commerce.expire_campaigns_step(text[],jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.expire_campaigns_step(text[],jsonb) from public;

-- function: group_commerce.export_places(character varying)
-- src/db/group-commerce/erasure.sql
CREATE OR REPLACE FUNCTION group_commerce.export_places(user_id character varying)
 RETURNS jsonb
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select coalesce(jsonb_agg(jsonb_build_object('id', p.id, 'campaignId', p.campaign_id, 'orderId', p.order_id,
    'teamId', p.team_id, 'sku', p.sku, 'quantity', p.quantity, 'invitedBy', p.invited_by, 'state', p.state,
    'email', p.email, 'shippingAddress', p.shipping_address, 'billingAddress', p.billing_address, 'metadata', p.metadata,
    'joinedAt', platform.iso(p.joined_at)) order by p.id desc), '[]')
  from (
    select x.* from group_commerce.participants x where x.user_id = export_places.user_id and x.state <> 'released'
    union all
    select x.* from group_commerce.participants x where x.user_id = export_places.user_id and x.state = 'released'
  ) p
$function$;
alter function group_commerce.export_places(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.export_places(character varying) from public;
grant execute on function group_commerce.export_places(character varying) to fusion_orders;

-- function: group_commerce.export_waiting(character varying)
-- src/db/group-commerce/erasure.sql
CREATE OR REPLACE FUNCTION group_commerce.export_waiting(user_id character varying)
 RETURNS jsonb
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select coalesce(jsonb_agg(jsonb_build_object('id', w.id, 'campaignId', w.campaign_id, 'state', w.state,
    'offeredUntil', platform.iso(w.offered_until), 'createdAt', platform.iso(w.created_at)) order by w.id desc), '[]')
  from ( -- one look-up for each of the two indexes on the user
    select x.* from group_commerce.waiting_places x
    where x.user_id = export_waiting.user_id and x.state in ('waiting', 'offered')
    union all
    select x.* from group_commerce.waiting_places x
    where x.user_id = export_waiting.user_id and x.state in ('taken', 'lapsed', 'left', 'ended')
  ) w
$function$;
alter function group_commerce.export_waiting(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.export_waiting(character varying) from public;
grant execute on function group_commerce.export_waiting(character varying) to fusion_orders;

-- function: group_commerce.final_amounts(group_commerce.group_commerce_campaigns,group_commerce.participants)
-- src/db/group-commerce/tiers.sql
CREATE OR REPLACE FUNCTION group_commerce.final_amounts(c group_commerce.group_commerce_campaigns, p group_commerce.participants)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select case when p.amounts is not null then orders.reprice_place(jsonb_build_object('amounts', p.amounts,
    'sku', coalesce(p.sku, c.sku), 'quantity', p.quantity, 'price', c.settled_price, 'currency', c.currency)) end
$function$;
alter function group_commerce.final_amounts(group_commerce.group_commerce_campaigns,group_commerce.participants) owner to fusion_group_commerce;
revoke all on function group_commerce.final_amounts(group_commerce.group_commerce_campaigns,group_commerce.participants) from public;

-- function: group_commerce.find_merge_targets(text[],jsonb)
-- src/db/group-commerce/team-merges.sql
CREATE OR REPLACE FUNCTION group_commerce.find_merge_targets(ids text[], excluded jsonb)
 RETURNS text[]
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select array(
    select f.id from (
      select x.campaign_id, min(x.joined) as fewest
      from group_commerce.teams x join group_commerce.group_commerce_campaigns c on c.id = x.campaign_id
      where x.id = any(ids) and x.status = (select 'forming') and x.merge_refusals = 0 and x.joined < x.size
        and c.on_short = 'merge' and c.status = 'active'
      group by x.campaign_id
    ) m cross join lateral (
      select t.id from group_commerce.teams t
      where t.campaign_id = m.campaign_id and t.status = 'forming' and t.merge_refusals = 0
        and t.size - t.joined >= m.fewest and not excluded ? t.id
      order by t.id limit 100
    ) f)
$function$;
alter function group_commerce.find_merge_targets(text[],jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.find_merge_targets(text[],jsonb) from public;

-- function: group_commerce.find_team(text,text)
-- src/db/group-commerce/teams.sql
CREATE OR REPLACE FUNCTION group_commerce.find_team(team_id text, team_code text)
 RETURNS SETOF group_commerce.teams
 LANGUAGE sql
 STABLE
AS $function$
  with recursive found as (
    (select t.* from group_commerce.teams t where t.id = team_id
    union all
    select t.* from group_commerce.teams t where t.code = team_code and team_id is null)
    union all
    select t.* from found f join group_commerce.teams t on t.id = f.merged_into where team_id is null
  )
  select f.* from found f where team_id is not null or f.merged_into is null
$function$;
alter function group_commerce.find_team(text,text) owner to fusion_group_commerce;
revoke all on function group_commerce.find_team(text,text) from public;

-- function: group_commerce.find_unsettled_campaign(jsonb,jsonb,text[])
-- src/db/group-commerce/settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.find_unsettled_campaign(call jsonb, input jsonb, statuses text[])
 RETURNS group_commerce.group_commerce_campaigns
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  campaign group_commerce.group_commerce_campaigns;
begin
  perform platform.enter_as(call, coalesce(input->>'tenant', '*'));
  select * into campaign from group_commerce.group_commerce_campaigns x
    where x.settled_at is null and x.status <> 'active' and x.status = any(statuses) and x.mode = 'pool'
      and (x.tiers is null or x.settled_price is not null or x.status <> 'successful')
      and (input->>'campaignId' is null or x.id = input->>'campaignId')
      and x.id <> all(platform.keys_set_aside('campaigns'))
    order by row_number() over (partition by x.tenant_id order by x.id), random() limit 1;
  perform platform.act_as(campaign.tenant_id) where campaign.id is not null;
  return campaign;
end
$function$;
alter function group_commerce.find_unsettled_campaign(jsonb,jsonb,text[]) owner to fusion_group_commerce;
revoke all on function group_commerce.find_unsettled_campaign(jsonb,jsonb,text[]) from public;

-- function: group_commerce.find_unsettled_teams(text,text,jsonb)
-- src/db/group-commerce/team-settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.find_unsettled_teams(condition text, same text, input jsonb, OUT tenant character varying, OUT ids text[], OUT common character varying)
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_sort TO 'off'
 SET enable_bitmapscan TO 'off'
AS $function$
declare
  excluded_ids constant text[] := platform.keys_set_aside('campaigns');
  until_time constant timestamptz := platform.clock() - make_interval(secs => coalesce((input->>'idleSeconds')::int, 0));
  wanted_ids constant text[] := case when input ? 'teamIds'
    then array(select jsonb_array_elements_text(input->'teamIds')) end;
begin
  tenant := input->>'tenant';
  if tenant is null then
    -- One team of each tenant is looked up. For `exists`, a plan may read all teams.
    execute format('select t.id from platform.tenants_with_rows(''group_commerce.teams'', %1$L) t(id)
      cross join lateral (
        select from group_commerce.teams x where x.tenant_id = t.id and (%1$s)
          and x.updated_at <= $1 and x.id <> all($2) limit 1
      ) has_work
      where t.id <> all(string_to_array(current_setting(''app.away'', true), '' ''))
      order by random() limit 1', condition) into tenant using until_time, excluded_ids;
  end if;
  execute format('select array_agg(u.id::text order by u.id), min(u.common)
    from (
      select x.id, x.%2$I as common, first_value(x.%2$I) over (order by x.id) as first
      from group_commerce.teams x
      where x.tenant_id = $1 and (%1$s) and ($2 is null or x.id = any($2)) and ($2 is not null or x.updated_at <= $3)
        and x.id <> all($4)
      order by x.id limit $5
    ) u where u.common = u.first', condition, same) into ids, common
  using tenant, wanted_ids, until_time, excluded_ids, (input->>'limit')::int;
end
$function$;
alter function group_commerce.find_unsettled_teams(text,text,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.find_unsettled_teams(text,text,jsonb) from public;

-- function: group_commerce.free_lost_places(jsonb,jsonb)
-- src/db/group-commerce/due.sql
CREATE OR REPLACE FUNCTION group_commerce.free_lost_places(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  excluded_ids text[];
  lost record;
  result jsonb;
  freed integer := 0;
  tenants jsonb := '[]';
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('campaigns');
  for lost in
    select e.tenant, array_agg(e.order_id::text order by e.order_id) as orders,
      jsonb_object_agg(e.order_id, e.reason) as reasons
    from orders.find_ended_campaign_orders(platform.clock() - make_interval(secs => (input->>'idleSeconds')::int),
      (input->>'limit')::int + cardinality(excluded_ids)) e
    where e.order_id <> all(excluded_ids)
    group by e.tenant order by e.tenant
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('campaigns', 'group_commerce.free_lost_places_step', lost.tenant, lost.orders,
        lost.reasons))
    loop
      freed := freed + (result->>'freed')::int;
      tenants := tenants || result;
    end loop;
  end loop;
  return jsonb_build_object('freed', freed, 'tenants', tenants);
end
$function$;
alter function group_commerce.free_lost_places(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.free_lost_places(jsonb,jsonb) from public;
grant execute on function group_commerce.free_lost_places(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.free_lost_places_step(text[],jsonb)
-- src/db/group-commerce/due.sql
CREATE OR REPLACE FUNCTION group_commerce.free_lost_places_step(order_ids text[], reasons jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  place record;
  skus text[] := '{}';
  freed integer := 0;
begin
  perform group_commerce.lock_places(order_ids);
  for place in
    select p.id, p.campaign_id, reasons->>p.order_id as reason from group_commerce.participants p
    where p.order_id = any(order_ids) and p.state in ('ordered', 'charged')
    order by p.id
  loop
    skus := skus || group_commerce.free_places(place.campaign_id, array[place.id::text], place.reason, null);
    freed := freed + 1;
  end loop;
  perform orders.mark_places_freed(order_ids);
  return jsonb_build_object('freed', freed, 'tenant', platform.tenant(), 'skus', to_jsonb(skus));
end
$function$;
alter function group_commerce.free_lost_places_step(text[],jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.free_lost_places_step(text[],jsonb) from public;

-- function: group_commerce.free_places(character varying,text[],text,text)
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.free_places(campaign character varying, ids text[], why text, ending text)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  freed record;
  campaign_row group_commerce.group_commerce_campaigns;
begin
  with released as (
    update group_commerce.participants p
    set state = 'released', reason = why, updated_at = platform.clock()
    where p.id = any(ids) and p.state <> (select 'released')
    returning p.user_id, p.order_id, p.secured_at, p.quantity, p.sku, p.team_id
  )
  select array_agg(g.user_id::text order by g.order_id) as users, array_agg(g.quantity order by g.order_id) as quantities,
    array_agg(g.order_id::text order by g.order_id) as orders, array_agg(distinct g.sku::text) as skus,
    count(*) as places, count(g.secured_at) as secured,
    coalesce(sum(g.quantity) filter (where g.secured_at is not null), 0) as secured_units,
    array_agg(distinct g.team_id::text) filter (where g.team_id is not null) as teams
  into freed from released g;
  if freed.places = 0 then
    return '{}';
  end if;
  if freed.teams is null then
    update group_commerce.group_commerce_campaigns x
    set actual_participants = x.actual_participants - freed.places,
        secured_participants = x.secured_participants - freed.secured,
        secured_units = x.secured_units - freed.secured_units, version = platform.next_version(x.version),
        updated_at = platform.clock()
    where x.id = campaign returning * into campaign_row;
    perform platform.emit('group-commerce.campaign.left', campaign_row.id,
      jsonb_build_object('campaign', group_commerce.campaign_json(campaign_row), 'userId', u, 'reason', why), false)
    from unnest(freed.users) u;
    perform group_commerce.offer_places(campaign);
  else
    select * into campaign_row from group_commerce.group_commerce_campaigns x where x.id = campaign;
    perform group_commerce.shrink_teams(freed.teams, freed.orders, why);
  end if;
  if campaign_row.max_per_customer is not null then
    perform group_commerce.give_units_back(campaign, freed.users, freed.quantities);
  end if;
  if ending is not null then
    perform payments.end_for_orders(freed.orders, ending, why);
    perform inventory.release(freed.orders, why);
  end if;
  return array(select distinct coalesce(s, campaign_row.sku) from unnest(freed.skus) s);
end
$function$;
alter function group_commerce.free_places(character varying,text[],text,text) owner to fusion_group_commerce;
revoke all on function group_commerce.free_places(character varying,text[],text,text) from public;

-- function: group_commerce.free_refunded_place(character varying,boolean)
-- src/db/group-commerce/money.sql
CREATE OR REPLACE FUNCTION group_commerce.free_refunded_place(of_order character varying, restocked boolean)
 RETURNS text[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  participant group_commerce.participants;
begin
  update group_commerce.participants x set refunded = true
  where x.order_id = of_order and x.state = 'charged' and not x.refunded;
  select * into participant from group_commerce.participants x where x.order_id = of_order
    and (x.state in ('joined', 'secured') or (restocked and x.state in ('ordered', 'charged')));
  if not found then
    return '{}';
  end if;
  return group_commerce.free_places(participant.campaign_id, array[participant.id::text], 'refunded',
    case when participant.state in ('joined', 'secured') then 'cancelled' end);
end
$function$;
alter function group_commerce.free_refunded_place(character varying,boolean) owner to fusion_group_commerce;
revoke all on function group_commerce.free_refunded_place(character varying,boolean) from public;
grant execute on function group_commerce.free_refunded_place(character varying,boolean) to fusion_payments;

-- function: group_commerce.free_unpaid_place(character varying,text,text)
-- src/db/group-commerce/money.sql
CREATE OR REPLACE FUNCTION group_commerce.free_unpaid_place(of_order character varying, why text, ending text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  participant group_commerce.participants;
begin
  select * into participant from group_commerce.participants x
    where x.order_id = of_order;
  if participant.state in ('joined', 'secured') then
    perform group_commerce.free_places(participant.campaign_id, array[participant.id::text], why, ending);
  end if;
end
$function$;
alter function group_commerce.free_unpaid_place(character varying,text,text) owner to fusion_group_commerce;
revoke all on function group_commerce.free_unpaid_place(character varying,text,text) from public;
grant execute on function group_commerce.free_unpaid_place(character varying,text,text) to fusion_payments;

-- function: group_commerce.free_unsecured(jsonb,jsonb)
-- src/db/group-commerce/due.sql
CREATE OR REPLACE FUNCTION group_commerce.free_unsecured(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  freed integer := 0;
  tenants jsonb := '[]';
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('campaigns') || payments.orders_set_aside();
  for due in
    select d.tenant_id, array_agg(d.order_id::text order by d.order_id) as orders from (
      -- No join, so that the planner starts from the due places and not from all places of running campaigns.
      select p.tenant_id, p.order_id from group_commerce.participants p
      where p.state = 'joined' and p.secure_by <= platform.clock() and p.order_id <> all(excluded_ids)
        and not payments.awaits_stripe(p.order_id, p.secure_by)
        and group_commerce.awaits_money(p)
      order by p.secure_by limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('campaigns', 'group_commerce.free_unsecured_step', due.tenant_id, due.orders, input))
    loop
      freed := freed + (result->>'freed')::int;
      tenants := tenants || result;
    end loop;
  end loop;
  return jsonb_build_object('freed', freed, 'tenants', tenants);
end
$function$;
alter function group_commerce.free_unsecured(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.free_unsecured(jsonb,jsonb) from public;
grant execute on function group_commerce.free_unsecured(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.free_unsecured_step(text[],jsonb)
-- src/db/group-commerce/due.sql
CREATE OR REPLACE FUNCTION group_commerce.free_unsecured_step(order_ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  place record;
  skus text[] := '{}';
  orders text[] := '{}';
begin
  -- Lock order: all campaigns and places of the tenant, then the payments and stock of all of them.
  perform group_commerce.lock_places(order_ids);
  for place in
    select p.campaign_id, array_agg(p.id::text order by p.id) as ids, array_agg(p.order_id::text) as orders
    from group_commerce.participants p
    where p.order_id = any(order_ids) and p.state = (select 'joined') and p.secure_by <= platform.clock()
      and group_commerce.awaits_money(p)
    group by p.campaign_id order by p.campaign_id
  loop
    skus := skus || group_commerce.free_places(place.campaign_id, place.ids, 'not_secured', null);
    orders := orders || place.orders;
  end loop;
  perform payments.end_for_orders(orders, 'cancelled', 'not_secured');
  perform inventory.release(orders, 'not_secured');
  return jsonb_build_object('freed', cardinality(orders), 'tenant', platform.tenant(), 'skus', to_jsonb(skus));
end
$function$;
alter function group_commerce.free_unsecured_step(text[],jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.free_unsecured_step(text[],jsonb) from public;

-- function: group_commerce.give_units_back(character varying,text[],integer[])
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.give_units_back(campaign character varying, users text[], quantities integer[])
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  update group_commerce.campaign_customers n set units = n.units - r.units
  from (select u.user_id, sum(u.quantity) as units from unnest(users, quantities) u(user_id, quantity) group by 1) r
  where n.campaign_id = campaign and n.user_id = r.user_id
$function$;
alter function group_commerce.give_units_back(character varying,text[],integer[]) owner to fusion_group_commerce;
revoke all on function group_commerce.give_units_back(character varying,text[],integer[]) from public;

-- function: group_commerce.id_after(character varying)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.id_after(id character varying)
 RETURNS character varying
 LANGUAGE sql
AS $function$
  select case when fresh > id_after.id collate "C" or id_after.id is null then fresh
    else overlay(fresh placing substr(next, 1, 8) || '-' || substr(next, 9, 4) from 1 for 13) end
  from (select platform.uuid7() as fresh,
    lpad(to_hex(('x0000' || translate(substr(id_after.id, 1, 13), '-', ''))::bit(64)::bigint + 1), 12, '0') as next) x
$function$;
alter function group_commerce.id_after(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.id_after(character varying) from public;

-- function: group_commerce.invite_faults(character varying,jsonb)
-- src/db/group-commerce/joiners.sql
CREATE OR REPLACE FUNCTION group_commerce.invite_faults(of_campaign character varying, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  inviter constant varchar := input->>'invitedBy';
begin
  if inviter = input->>'userId' then
    return jsonb_build_array(jsonb_build_object('pointer', '/invitedBy', 'detail', 'must be another user'));
  end if;
  return case
    when exists (select from group_commerce.participants p -- one look-up for each of the two indexes on the user
        where p.user_id = inviter and p.campaign_id = of_campaign and p.state <> 'released')
      or exists (select from group_commerce.participants p
        where p.user_id = inviter and p.campaign_id = of_campaign and p.state = 'released') then '[]'::jsonb
    else jsonb_build_array(jsonb_build_object('pointer', '/invitedBy', 'detail', 'has no place in this campaign')) end;
end
$function$;
alter function group_commerce.invite_faults(character varying,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.invite_faults(character varying,jsonb) from public;

-- function: group_commerce.is_collecting(group_commerce.group_commerce_campaigns)
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.is_collecting(c group_commerce.group_commerce_campaigns)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select c.status = 'active' or c.status = 'successful' and c.tiers is not null and c.settled_price is null
$function$;
alter function group_commerce.is_collecting(group_commerce.group_commerce_campaigns) owner to fusion_group_commerce;
revoke all on function group_commerce.is_collecting(group_commerce.group_commerce_campaigns) from public;

-- function: group_commerce.is_member(group_commerce.teams)
-- src/db/group-commerce/team-reads.sql
CREATE OR REPLACE FUNCTION group_commerce.is_member(t group_commerce.teams)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select platform.shopper()->>'customer' is not null and exists (select from group_commerce.participants p
    where p.user_id = platform.shopper()->>'customer' and p.campaign_id = t.campaign_id
      and coalesce(p.team_id, '') = t.id and p.state <> 'released')
$function$;
alter function group_commerce.is_member(group_commerce.teams) owner to fusion_group_commerce;
revoke all on function group_commerce.is_member(group_commerce.teams) from public;

-- function: group_commerce.is_waiting_list_over(group_commerce.group_commerce_campaigns)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.is_waiting_list_over(c group_commerce.group_commerce_campaigns)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select c.status not in ('active', 'successful') or c.settled_price is not null or platform.clock() >= c.end_time
$function$;
alter function group_commerce.is_waiting_list_over(group_commerce.group_commerce_campaigns) owner to fusion_group_commerce;
revoke all on function group_commerce.is_waiting_list_over(group_commerce.group_commerce_campaigns) from public;

-- function: group_commerce.join_campaign(jsonb,jsonb)
-- src/db/group-commerce/join.sql
CREATE OR REPLACE FUNCTION group_commerce.join_campaign(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  answer jsonb := platform.enter(call, 'campaigns:write', 'campaigns.join', '{session}'); -- the stored answer, if it is a replay
  -- A variable, because to the planner an expression costs the same in an index condition as in a filter. A plan made
  -- while the campaign had no places could later read all of them.
  joining_user varchar := input->>'userId';
  waits constant boolean := coalesce((input->>'waitlist')::boolean, false);
  is_locked boolean := false;
  is_full boolean;
  place_input jsonb;
  found_place record;
begin
  if answer is not null then
    return answer;
  end if;
  if platform.shopper() is not null then
    input := group_commerce.as_customer(input);
    joining_user := input->>'userId';
  end if;
  loop -- repeated with the campaign locked, if the campaign is full and the user wants to wait
    select c as campaign, product.status = 'archived' as is_archived, group_commerce.join_fault(c) as fault,
      exists (select from orders.tax_rates t where t.tenant_id = c.tenant_id) or tenant.tax_provider <> 'table' as has_tax,
      coalesce(tenant.grace_seconds, (input->>'graceSeconds')::int) as grace,
      (select p from group_commerce.participants p
        where p.campaign_id = c.id and p.user_id = joining_user and p.state <> 'released' and c.mode = 'pool') as place,
      w as entry, coalesce(w.state = 'offered', false) as has_offer
    into found_place
    from group_commerce.group_commerce_campaigns c
    join platform.tenants tenant on tenant.id = c.tenant_id
    left join catalog.products product on product.id = c.product_id
    left join group_commerce.waiting_places w on w.user_id = joining_user and w.campaign_id = c.id
      and w.state in ('waiting', 'offered') and (w.state = 'waiting' or w.offered_until > platform.clock())
    where c.id = input->>'campaignId';
    if not found then
      perform platform.fail('not_found');
    end if;
    if (found_place.place).id is not null then
      return platform.leave(call, 'campaigns.join',
        group_commerce.participant_json(found_place.place) || group_commerce.place_terms(found_place.campaign));
    end if;
    -- The campaign of an archived product continues: taken places stay valid, but no new ones are sold.
    if found_place.is_archived then
      return platform.leave(call, 'campaigns.join',
        jsonb_build_object('error', 'campaign_not_open', 'detail', 'The product of this campaign is archived.'));
    end if;
    is_full := coalesce(found_place.fault->>'error' = 'campaign_full', false) and not found_place.has_offer;
    if is_full and not waits or found_place.fault->>'error' <> 'campaign_full' then
      -- without a lock, so that the joins of a full campaign do not queue up
      return platform.leave(call, 'campaigns.join', found_place.fault);
    end if;
    found_place.fault := group_commerce.joiner_fault(found_place.campaign, joining_user);
    if found_place.fault is not null then
      return platform.leave(call, 'campaigns.join', found_place.fault);
    end if;
    place_input := group_commerce.prepare_place(found_place.campaign, found_place.has_tax and not is_full,
      case when is_full then input - 'shippingOptionId' else input end); -- the price of a place is not fixed by waiting
    if place_input ? 'error' then
      return platform.leave(call, 'campaigns.join', place_input);
    elsif is_full and (found_place.entry).id is not null then
      return platform.leave(call, 'campaigns.join', group_commerce.waiting_answer(found_place.entry));
    elsif is_full and is_locked then
      return platform.leave(call, 'campaigns.join',
        group_commerce.enter_waiting_list((found_place.campaign).id, joining_user));
    elsif not is_full and place_input ? 'taxQuestion' then -- not stored: the Worker asks, and calls again with `taxQuote`
      return jsonb_build_object('tenant', platform.tenant(), 'replayed', false,
        'answer', place_input || '{"error": "unavailable"}');
    elsif not is_full then
      begin
        answer := group_commerce.claim_place(found_place.campaign, found_place.grace, place_input, found_place.entry);
      exception when sqlstate 'FC001' then
        -- The contended rows (the campaign and the stock) are locked last. The writes before them are undone.
        answer := sqlerrm;
      end;
      exit when is_locked or not waits or answer->>'error' is distinct from 'campaign_full';
    end if;
    perform group_commerce.lock_campaign(input->>'campaignId');
    perform group_commerce.lapse_offers(input->>'campaignId');
    is_locked := true;
  end loop;
  return platform.leave(call, 'campaigns.join', answer);
end
$function$;
alter function group_commerce.join_campaign(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.join_campaign(jsonb,jsonb) from public;
grant execute on function group_commerce.join_campaign(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.join_fault(group_commerce.group_commerce_campaigns)
-- src/db/group-commerce/join.sql
CREATE OR REPLACE FUNCTION group_commerce.join_fault(c group_commerce.group_commerce_campaigns)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select case
    when c.mode <> 'pool' then jsonb_build_object('error', 'conflict', 'detail',
      'This campaign has teams: open a team, or join one.')
    when c.settled_price is not null then jsonb_build_object('error', 'campaign_not_open', 'detail',
      'The campaign has settled.')
    when c.status not in ('active', 'successful') then jsonb_build_object('error', 'campaign_not_open', 'detail',
      case c.status when 'failed' then 'The campaign was cancelled.' else 'The campaign has expired.' end)
    when platform.clock() < c.start_time then jsonb_build_object('error', 'campaign_not_open',
      'detail', format('The campaign starts at %s.', platform.iso(c.start_time)))
    when platform.clock() >= c.end_time then jsonb_build_object('error', 'campaign_not_open',
      'detail', format('The campaign ended at %s.', platform.iso(c.end_time)))
    when c.actual_participants + c.offered_places >= c.max_participants then jsonb_build_object('error',
      'campaign_full', 'detail', case when c.offered_places > 0 then
          format('All %s places are taken, or offered to the first of the waiting list.', c.max_participants)
        when c.max_participants = 1 then 'The only place is taken.'
        else format('All %s places are taken.', c.max_participants) end) end
$function$;
alter function group_commerce.join_fault(group_commerce.group_commerce_campaigns) owner to fusion_group_commerce;
revoke all on function group_commerce.join_fault(group_commerce.group_commerce_campaigns) from public;

-- function: group_commerce.join_team(jsonb,jsonb)
-- src/db/group-commerce/teams.sql
CREATE OR REPLACE FUNCTION group_commerce.join_team(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  answer jsonb := platform.enter(call, 'campaigns:write', 'teams.join', '{session}');
  joining_user varchar; -- a variable, for an index condition: see join_campaign
  joined_team varchar := input->>'teamId';
  found_team record;
begin
  if answer is not null then
    return answer;
  end if;
  if platform.shopper() is not null then
    input := group_commerce.as_customer(input);
  end if;
  joining_user := input->>'userId';
  if joined_team is null then
    select t.id into joined_team from group_commerce.find_team(null, input->>'code') t;
  end if;
  select t as team, c as campaign, terms,
    coalesce(group_commerce.team_fault(t), group_commerce.teams_fault(c)) as fault,
    (select p from group_commerce.participants p where p.user_id = joining_user and p.campaign_id = c.id
      and coalesce(p.team_id, '') = t.id and p.state <> 'released') as place
  into found_team
  from group_commerce.teams t
  join group_commerce.group_commerce_campaigns c on c.id = t.campaign_id,
    group_commerce.selling_terms(c, (input->>'graceSeconds')::int) terms
  where t.id = joined_team;
  if not found then
    perform platform.fail('not_found');
  end if;
  if (found_team.team).status = 'merged' and input->>'teamId' is null then
    raise exception using errcode = 'serialization_failure', message = 'the team was merged meanwhile';
  end if;
  if (found_team.place).id is not null then
    return platform.leave(call, 'teams.join',
      group_commerce.place_answer(group_commerce.team_json(found_team.team), found_team.place, found_team.campaign));
  end if;
  return group_commerce.enter_team(call, 'teams.join', found_team.campaign, found_team.team, found_team.terms,
    found_team.fault, input);
end
$function$;
alter function group_commerce.join_team(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.join_team(jsonb,jsonb) from public;
grant execute on function group_commerce.join_team(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.joiner_fault(group_commerce.group_commerce_campaigns,character varying)
-- src/db/group-commerce/joiners.sql
CREATE OR REPLACE FUNCTION group_commerce.joiner_fault(c group_commerce.group_commerce_campaigns, of_user character varying)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if c.joiners = 'new_customers' and orders.has_bought(of_user) then
    return jsonb_build_object('error', 'customer_not_eligible', 'detail', concat(
      'Only customers without a paid order may join this campaign, and this customer has one.',
      case c.mode when 'teams' then ' They may open a team.' end));
  end if;
  return null;
end
$function$;
alter function group_commerce.joiner_fault(group_commerce.group_commerce_campaigns,character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.joiner_fault(group_commerce.group_commerce_campaigns,character varying) from public;

-- function: group_commerce.keeps_places(group_commerce.group_commerce_campaigns,group_commerce.teams)
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.keeps_places(c group_commerce.group_commerce_campaigns, t group_commerce.teams)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when t.id is null then c.status in ('active', 'successful')
    else t.status = 'successful' or t.status = 'forming' and c.status = 'active' end
$function$;
alter function group_commerce.keeps_places(group_commerce.group_commerce_campaigns,group_commerce.teams) owner to fusion_group_commerce;
revoke all on function group_commerce.keeps_places(group_commerce.group_commerce_campaigns,group_commerce.teams) from public;

-- function: group_commerce.lapse_offers(character varying)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.lapse_offers(of_campaign character varying)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  lapsed integer;
begin
  update group_commerce.waiting_places w set state = 'lapsed', updated_at = platform.clock()
  where w.id = any(array( -- the entries with an offer are the first ones
    select x.id from group_commerce.waiting_places x
    where x.campaign_id = of_campaign and x.state in ('waiting', 'offered') order by x.id
    limit (select c.offered_places from group_commerce.group_commerce_campaigns c where c.id = of_campaign)))
    and w.state = 'offered' and w.offered_until <= platform.clock();
  get diagnostics lapsed = row_count;
  if lapsed > 0 then
    update group_commerce.group_commerce_campaigns x
    set offered_places = x.offered_places - lapsed, version = platform.next_version(x.version),
        updated_at = platform.clock()
    where x.id = of_campaign;
  end if;
  return lapsed + group_commerce.offer_places(of_campaign);
end
$function$;
alter function group_commerce.lapse_offers(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.lapse_offers(character varying) from public;

-- function: group_commerce.leave_campaign(jsonb,jsonb)
-- src/db/group-commerce/leave.sql
CREATE OR REPLACE FUNCTION group_commerce.leave_campaign(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'campaigns:write', 'campaigns.leave', '{session}');
  campaign group_commerce.group_commerce_campaigns;
  participant group_commerce.participants;
  entry group_commerce.waiting_places;
  changed text[] := '{}';
begin
  if replay is not null then
    return replay;
  end if;
  if platform.shopper() is not null then
    input := group_commerce.as_customer(input);
  end if;
  campaign := group_commerce.lock_campaign(input->>'campaignId');
  if campaign.mode <> 'pool' then
    return platform.leave(call, 'campaigns.leave', jsonb_build_object('error', 'conflict', 'detail',
      'This campaign has teams: leave the team.'));
  end if;
  if campaign.max_per_customer is not null then
    perform 1 from group_commerce.campaign_customers n
      where n.campaign_id = campaign.id and n.user_id = input->>'userId' for update;
  end if;
  select * into participant from group_commerce.participants x
    where x.campaign_id = campaign.id and x.user_id = input->>'userId' and x.state <> 'released' for update;
  if not found then
    entry := group_commerce.leave_waiting_list(campaign.id, input->>'userId', 'left');
    if entry.id is not null then
      return platform.leave(call, 'campaigns.leave', group_commerce.waiting_answer(entry));
    end if;
    -- by idx_participants_released and idx_waiting_places_ended, whose conditions are these states
    select * into participant from group_commerce.participants x
      where x.campaign_id = campaign.id and x.user_id = input->>'userId' and x.state = 'released'
      order by x.id desc limit 1 for update;
    select * into entry from group_commerce.waiting_places w
      where w.campaign_id = campaign.id and w.user_id = input->>'userId'
        and w.state in ('taken', 'lapsed', 'left', 'ended') order by w.id desc limit 1;
    if entry.updated_at > coalesce(participant.updated_at, '-infinity') then
      return platform.leave(call, 'campaigns.leave', group_commerce.waiting_answer(entry));
    end if;
  end if;
  if participant.id is null then
    perform platform.fail('not_found');
  end if;
  if participant.state <> 'released' then
    if not group_commerce.is_collecting(campaign) then
      return platform.leave(call, 'campaigns.leave', jsonb_build_object('error', 'campaign_not_open',
        'detail', format('The campaign is %s.', campaign.status)));
    end if;
    changed := group_commerce.free_places(campaign.id, array[participant.id::text], 'left', 'cancelled');
    select * into participant from group_commerce.participants x where x.id = participant.id;
  end if;
  return platform.leave(call, 'campaigns.leave', group_commerce.participant_json(participant)
    || group_commerce.place_terms(campaign) || jsonb_build_object('changedSkus', changed));
end
$function$;
alter function group_commerce.leave_campaign(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.leave_campaign(jsonb,jsonb) from public;
grant execute on function group_commerce.leave_campaign(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.leave_team(jsonb,jsonb)
-- src/db/group-commerce/team-places.sql
CREATE OR REPLACE FUNCTION group_commerce.leave_team(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  replay jsonb := platform.enter(call, 'campaigns:write', 'teams.leave', '{session}');
  leaving_user varchar;
  team group_commerce.teams;
  campaign group_commerce.group_commerce_campaigns;
  participant group_commerce.participants;
  changed text[] := '{}';
begin
  if replay is not null then
    return replay;
  end if;
  if platform.shopper() is not null then
    input := group_commerce.as_customer(input);
  end if;
  leaving_user := input->>'userId';
  select c.* into campaign from group_commerce.find_team(input->>'teamId', null) t
  join group_commerce.group_commerce_campaigns c on c.id = t.campaign_id;
  -- One statement, so that the team and the place are read before a merge or after it.
  select (e.place).* into participant
  from group_commerce.find_team(input->>'teamId', null) t, group_commerce.find_team(null, t.code) present,
    lateral ( -- one look-up for each of the two indexes on the user
      select x as place from group_commerce.participants x
      where x.user_id = leaving_user and x.campaign_id = campaign.id and coalesce(x.team_id, '') in (t.id, present.id)
        and x.state <> 'released'
      union all
      select x as place from group_commerce.participants x
      where x.user_id = leaving_user and x.campaign_id = campaign.id and coalesce(x.team_id, '') in (t.id, present.id)
        and x.state = 'released'
    ) e
  order by (e.place).state = 'released', (e.place).team_id = present.id desc, (e.place).id desc limit 1;
  select * into team from group_commerce.teams t where t.id = participant.team_id;
  if participant.id is null then
    perform platform.fail('not_found');
  end if;
  if participant.state <> 'released' then
    perform group_commerce.lock_places(array[participant.order_id::text]);
    select * into participant from group_commerce.participants p where p.id = participant.id;
    select * into team from group_commerce.teams t where t.id = participant.team_id;
  end if;
  if participant.state <> 'released' then
    if team.status <> 'forming' then
      return platform.leave(call, 'teams.leave', jsonb_build_object('error', 'team_not_open', 'detail',
        case team.status when 'successful' then 'The team has succeeded. Cancel the order of the place instead.'
          else format('The team is %s. Its places are released; there is nothing to leave.', team.status) end));
    end if;
    changed := group_commerce.free_places(campaign.id, array[participant.id::text], 'left', 'cancelled');
    select * into team from group_commerce.teams t where t.id = team.id;
    select * into participant from group_commerce.participants p where p.id = participant.id;
  end if;
  return platform.leave(call, 'teams.leave', group_commerce.place_answer(group_commerce.team_json(team), participant,
      campaign)
    || jsonb_build_object('changedSkus', changed));
end
$function$;
alter function group_commerce.leave_team(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.leave_team(jsonb,jsonb) from public;
grant execute on function group_commerce.leave_team(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.leave_waiting_list(character varying,character varying,character varying)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.leave_waiting_list(of_campaign character varying, leaving_user character varying, last_state character varying)
 RETURNS group_commerce.waiting_places
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  entry group_commerce.waiting_places;
  state_before varchar;
begin
  select * into entry from group_commerce.waiting_places w
    where w.user_id = leaving_user and w.campaign_id = of_campaign and w.state in ('waiting', 'offered');
  if not found then
    return null;
  end if;
  state_before := entry.state;
  update group_commerce.waiting_places w set state = last_state, updated_at = platform.clock()
  where w.id = entry.id returning * into entry;
  if state_before = 'offered' then
    update group_commerce.group_commerce_campaigns x
    set offered_places = x.offered_places - 1, version = platform.next_version(x.version),
        updated_at = platform.clock()
    where x.id = of_campaign;
    perform group_commerce.offer_places(of_campaign);
  end if;
  return entry;
end
$function$;
alter function group_commerce.leave_waiting_list(character varying,character varying,character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.leave_waiting_list(character varying,character varying,character varying) from public;

-- function: group_commerce.limit_fault(group_commerce.group_commerce_campaigns,character varying)
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.limit_fault(c group_commerce.group_commerce_campaigns, of_user character varying)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('error', 'limit_per_customer', 'detail', format(
    'A customer may have %s of this campaign%s. %s taken so far.',
    case c.max_per_customer when 1 then 'one unit' else c.max_per_customer || ' units' end,
    case c.mode when 'teams' then ', in all teams together' end,
    coalesce((select case n.units when 0 then 'None is' when 1 then 'One is' else n.units || ' are' end
      from group_commerce.campaign_customers n where n.campaign_id = c.id and n.user_id = of_user), 'None is')))
$function$;
alter function group_commerce.limit_fault(group_commerce.group_commerce_campaigns,character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.limit_fault(group_commerce.group_commerce_campaigns,character varying) from public;

-- function: group_commerce.lock_campaign(character varying)
-- src/db/group-commerce/campaigns.sql
CREATE OR REPLACE FUNCTION group_commerce.lock_campaign(campaign_id character varying)
 RETURNS group_commerce.group_commerce_campaigns
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  campaign group_commerce.group_commerce_campaigns;
begin
  select * into campaign from group_commerce.group_commerce_campaigns x
    where x.id = campaign_id for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  return campaign;
end
$function$;
alter function group_commerce.lock_campaign(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.lock_campaign(character varying) from public;

-- function: group_commerce.lock_counters(character varying,text[])
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.lock_counters(of_campaign character varying, ids text[])
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select 1 from group_commerce.campaign_customers n
  where n.campaign_id = of_campaign and n.user_id = any(array(
    select x.user_id from group_commerce.participants x where x.id = any(ids)))
  order by n.user_id for update
$function$;
alter function group_commerce.lock_counters(character varying,text[]) owner to fusion_group_commerce;
revoke all on function group_commerce.lock_counters(character varying,text[]) from public;

-- function: group_commerce.lock_places(text[])
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.lock_places(order_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  places record;
begin
  select array_agg(p.campaign_id) filter (where p.team_id is null) as pools,
    array_agg(p.team_id) filter (where p.team_id is not null) as teams,
    array_agg(p.campaign_id) as campaigns, array_agg(p.user_id) as users
  into places from group_commerce.participants p where p.order_id = any(order_ids);
  if places.campaigns is null then
    return;
  end if;
  if places.pools is not null then
    perform 1 from group_commerce.group_commerce_campaigns c where c.id = any(places.pools) order by c.id for update;
  end if;
  if places.teams is not null then
    perform 1 from group_commerce.teams t where t.id = any(places.teams) order by t.id for update;
  end if;
  perform 1 from group_commerce.campaign_customers n
    where (n.campaign_id, n.user_id) in (select * from unnest(places.campaigns, places.users))
    order by n.campaign_id, n.user_id for update;
  perform 1 from group_commerce.participants p
    where p.order_id = any(order_ids) order by p.id for update;
  if places.teams is not null and exists (select from group_commerce.participants p
    where p.order_id = any(order_ids) and p.team_id <> all(places.teams)) then
    raise exception using errcode = 'serialization_failure', message = 'a team was merged meanwhile';
  end if;
end
$function$;
alter function group_commerce.lock_places(text[]) owner to fusion_group_commerce;
revoke all on function group_commerce.lock_places(text[]) from public;
grant execute on function group_commerce.lock_places(text[]) to fusion_payments;

-- function: group_commerce.lose_orders(jsonb,jsonb)
-- src/db/group-commerce/money.sql
CREATE OR REPLACE FUNCTION group_commerce.lose_orders(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  new_event_ids text[];
  ids text[];
  item record;
  freed integer := 0;
begin
  perform platform.enter_as(call, input->>'tenant');
  new_event_ids := platform.claim_new_events('group-commerce',
    array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  ids := array(select m->>'orderId' from jsonb_array_elements(input->'messages') m
    where m->>'eventId' = any(new_event_ids));
  perform group_commerce.lock_places(ids);
  for item in
    select p.id, p.campaign_id, m->>'reason' as reason, m->>'traceparent' as trace
    from jsonb_array_elements(input->'messages') m
    join group_commerce.participants p on p.order_id = m->>'orderId' and p.order_id = any(ids)
    where m->>'eventId' = any(new_event_ids) and p.state in ('ordered', 'charged') order by p.id
  loop
    perform platform.set_trace(item.trace);
    perform group_commerce.free_places(item.campaign_id, array[item.id::text], item.reason, null);
    freed := freed + 1;
  end loop;
  perform orders.mark_places_freed(ids);
  return jsonb_build_object('freed', freed);
end
$function$;
alter function group_commerce.lose_orders(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.lose_orders(jsonb,jsonb) from public;
grant execute on function group_commerce.lose_orders(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.lowest_price_fault(group_commerce.group_commerce_campaigns,jsonb)
-- src/db/group-commerce/tiers.sql
CREATE OR REPLACE FUNCTION group_commerce.lowest_price_fault(c group_commerce.group_commerce_campaigns, input jsonb)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select case when c.tiers is not null then platform.charge_fault((orders.reprice_place(input || jsonb_build_object(
    'price', c.tiers->-1->'price', 'currency', c.currency))->>'total')::numeric, c.currency) end
$function$;
alter function group_commerce.lowest_price_fault(group_commerce.group_commerce_campaigns,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.lowest_price_fault(group_commerce.group_commerce_campaigns,jsonb) from public;

-- function: group_commerce.make_live_token(jsonb,jsonb)
-- src/db/group-commerce/live.sql
CREATE OR REPLACE FUNCTION group_commerce.make_live_token(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  operation constant text := case when input ? 'teamId' then 'teams.live-token' else 'campaigns.live-token' end;
  watched constant text := coalesce(input->>'teamId', input->>'campaignId');
  replay jsonb := platform.enter(call, 'campaigns:read', operation);
  token jsonb;
begin
  if replay is not null then
    return replay || jsonb_build_object('answer',
      platform.live_token(call, watched, (replay->'answer'->>'expiresAt')::timestamptz));
  end if;
  if not (case when input ? 'teamId' then exists (select from group_commerce.teams t where t.id = watched)
    else exists (select from group_commerce.group_commerce_campaigns c where c.id = watched) end) then
    perform platform.fail('not_found');
  end if;
  token := platform.live_token(call, watched, platform.clock() + make_interval(secs => (input->>'seconds')::int));
  return platform.leave(call, operation, token - 'token') || jsonb_build_object('answer', token);
end
$function$;
alter function group_commerce.make_live_token(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.make_live_token(jsonb,jsonb) from public;
grant execute on function group_commerce.make_live_token(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.mark_charged(character varying)
-- src/db/group-commerce/money.sql
CREATE OR REPLACE FUNCTION group_commerce.mark_charged(of_order character varying)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  participant group_commerce.participants;
begin
  select * into participant from group_commerce.participants x
    where x.order_id = of_order and x.state = 'ordered';
  if not found then
    return;
  end if;
  update group_commerce.participants x
  set state = 'charged', secured_at = coalesce(x.secured_at, platform.clock()), updated_at = platform.clock()
  where x.id = participant.id;
  if participant.secured_at is null then
    perform group_commerce.count_secured(participant);
  end if;
end
$function$;
alter function group_commerce.mark_charged(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.mark_charged(character varying) from public;
grant execute on function group_commerce.mark_charged(character varying) to fusion_payments;

-- function: group_commerce.mark_secured(character varying)
-- src/db/group-commerce/money.sql
CREATE OR REPLACE FUNCTION group_commerce.mark_secured(of_order character varying)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  participant group_commerce.participants;
begin
  if not group_commerce.place_is_kept(of_order) then
    return; -- it is being released
  end if;
  update group_commerce.participants x
  set state = case x.state when 'joined' then 'secured' else x.state end, secured_at = platform.clock(),
      updated_at = platform.clock()
  where x.order_id = of_order and x.secured_at is null
    and x.state in ('joined', 'ordered')
  returning * into participant;
  if not found then
    return;
  end if;
  perform group_commerce.count_secured(participant);
  if participant.state = 'ordered' then
    perform payments.request_captures(array[of_order::text]);
    perform inventory.keep_until(array[of_order::text], 'infinity');
  end if;
end
$function$;
alter function group_commerce.mark_secured(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.mark_secured(character varying) from public;
grant execute on function group_commerce.mark_secured(character varying) to fusion_payments;

-- function: group_commerce.mark_settled(group_commerce.group_commerce_campaigns,text[])
-- src/db/group-commerce/settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.mark_settled(campaign group_commerce.group_commerce_campaigns, states text[])
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  update group_commerce.group_commerce_campaigns x
  set settled_at = platform.clock(), version = platform.next_version(x.version), updated_at = platform.clock()
  where x.id = campaign.id and x.settled_at is null and not exists (
    select from group_commerce.participants p
    where p.tenant_id = campaign.tenant_id and p.campaign_id = campaign.id and p.state = any(states))
$function$;
alter function group_commerce.mark_settled(group_commerce.group_commerce_campaigns,text[]) owner to fusion_group_commerce;
revoke all on function group_commerce.mark_settled(group_commerce.group_commerce_campaigns,text[]) from public;

-- function: group_commerce.mark_teams_settled(text[],jsonb)
-- src/db/group-commerce/team-settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.mark_teams_settled(ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  states constant text[] := array(select jsonb_array_elements_text(input->'states'));
  finished text[];
begin
  finished := array(
    select t.id from group_commerce.teams t
    where t.id = any(ids) and t.settled_at is null and not exists (select from group_commerce.participants p
      where p.team_id = t.id and p.state = any(states))
    order by t.id for update of t skip locked);
  update group_commerce.teams t set settled_at = platform.clock() where t.id = any(finished);
  return jsonb_build_object('done', cardinality(finished));
end
$function$;
alter function group_commerce.mark_teams_settled(text[],jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.mark_teams_settled(text[],jsonb) from public;

-- function: group_commerce.may_reach_place(character varying)
-- src/db/group-commerce/shoppers.sql
CREATE OR REPLACE FUNCTION group_commerce.may_reach_place(order_id character varying)
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select platform.shopper() is null or exists (select from group_commerce.participants p
    where p.order_id = may_reach_place.order_id and p.user_id = platform.shopper()->>'customer')
$function$;
alter function group_commerce.may_reach_place(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.may_reach_place(character varying) from public;
grant execute on function group_commerce.may_reach_place(character varying) to fusion_payments;

-- function: group_commerce.merge_teams(text[],text[])
-- src/db/group-commerce/team-merges.sql
CREATE OR REPLACE FUNCTION group_commerce.merge_teams(moved text[], targets text[])
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  now_at constant timestamptz := platform.clock();
  pair record;
begin
  perform 1 from group_commerce.participants p
  where p.team_id = any(moved) and p.state <> (select 'released') order by p.id for update;
  update group_commerce.participants p set team_id = targets[array_position(moved, p.team_id::text)], updated_at = now_at
  where p.team_id = any(moved) and p.state <> (select 'released');
  update group_commerce.teams x
  set joined = x.joined + m.joined, secured = x.secured + m.secured,
      status = case when x.size = case c.success_on when 'joined' then x.joined + m.joined
        else x.secured + m.secured end then 'successful' else x.status end,
      version = platform.next_version(x.version), updated_at = now_at
  from (
    select o.target, sum(t.joined)::int as joined, sum(t.secured)::int as secured
    from unnest(moved, targets) o(id, target) join group_commerce.teams t on t.id = o.id group by o.target
  ) m, group_commerce.group_commerce_campaigns c
  where x.id = m.target and x.id = any(targets) and c.id = x.campaign_id;
  update group_commerce.teams x
  set status = 'merged', merged_into = targets[array_position(moved, x.id::text)],
      version = platform.next_version(x.version), updated_at = now_at
  where x.id = any(moved);
  for pair in
    select t as moved_team, target
    from unnest(moved, targets) o(id, target_id)
    join group_commerce.teams t on t.id = o.id join group_commerce.teams target on target.id = o.target_id
    order by t.id
  loop
    perform group_commerce.emit_team(pair.moved_team, 'merged',
      jsonb_build_object('into', group_commerce.team_json(pair.target)), false);
  end loop;
  perform group_commerce.emit_team(x, 'successful', '{}', true)
  from group_commerce.teams x where x.id = any(targets) and x.status = (select 'successful');
  return cardinality(moved);
end
$function$;
alter function group_commerce.merge_teams(text[],text[]) owner to fusion_group_commerce;
revoke all on function group_commerce.merge_teams(text[],text[]) from public;

-- function: group_commerce.offer_places(character varying)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.offer_places(of_campaign character varying)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  campaign group_commerce.group_commerce_campaigns;
  ids text[];
begin
  select * into campaign from group_commerce.group_commerce_campaigns c where c.id = of_campaign;
  if group_commerce.join_fault(campaign) is not null then
    return 0;
  end if;
  ids := array(
    select w.id from group_commerce.waiting_places w
    where w.campaign_id = of_campaign and w.state = 'waiting' and not exists (
      select from catalog.products p where p.id = campaign.product_id and p.status = 'archived')
    order by w.id
    limit least(500, campaign.max_participants - campaign.actual_participants - campaign.offered_places));
  if cardinality(ids) = 0 then
    return 0;
  end if;
  update group_commerce.waiting_places w
  set state = 'offered', offered_until = least(platform.clock() + interval '10 minutes', campaign.end_time),
      updated_at = platform.clock()
  where w.id = any(ids);
  update group_commerce.group_commerce_campaigns x
  set offered_places = x.offered_places + cardinality(ids), version = platform.next_version(x.version),
      updated_at = platform.clock()
  where x.id = of_campaign;
  perform platform.emit('group-commerce.place.offered', of_campaign, jsonb_build_object('campaignId', of_campaign,
    'userId', o.user_id, 'offeredUntil', platform.iso(o.offered_until)), false)
  from (select w.user_id, w.offered_until from group_commerce.waiting_places w
    where w.id = any(ids) order by w.id) o;
  return cardinality(ids);
end
$function$;
alter function group_commerce.offer_places(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.offer_places(character varying) from public;

-- function: group_commerce.open_payment_of_place(group_commerce.group_commerce_campaigns,jsonb,numeric,timestamp with time zone,boolean)
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.open_payment_of_place(c group_commerce.group_commerce_campaigns, input jsonb, total numeric, latest_end timestamp with time zone, is_charged_at_once boolean)
 RETURNS void
 LANGUAGE sql
AS $function$
  select payments.add_place_payment(input, c.id, total, c.currency, case when is_charged_at_once then 'order'
      when latest_end <= platform.clock() + make_interval(secs => (input->>'holdWithinSeconds')::int) then 'hold'
      else 'card' end, c.tiers is not null)
$function$;
alter function group_commerce.open_payment_of_place(group_commerce.group_commerce_campaigns,jsonb,numeric,timestamp with time zone,boolean) owner to fusion_group_commerce;
revoke all on function group_commerce.open_payment_of_place(group_commerce.group_commerce_campaigns,jsonb,numeric,timestamp with time zone,boolean) from public;

-- function: group_commerce.open_team(jsonb,jsonb)
-- src/db/group-commerce/teams.sql
CREATE OR REPLACE FUNCTION group_commerce.open_team(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  answer jsonb := platform.enter(call, 'campaigns:write', 'teams.open', '{session}');
  found_campaign record;
  new_team group_commerce.teams;
begin
  if answer is not null then
    return answer;
  end if;
  if platform.shopper() is not null then
    input := group_commerce.as_customer(input);
  end if;
  select c as campaign, terms, group_commerce.teams_fault(c) as fault into found_campaign
  from group_commerce.group_commerce_campaigns c,
    group_commerce.selling_terms(c, (input->>'graceSeconds')::int) terms
  where c.id = input->>'campaignId';
  if not found then
    perform platform.fail('not_found');
  end if;
  new_team.id := input->>'teamId';
  new_team.end_time := least(platform.clock() + make_interval(secs => (found_campaign.campaign).team_seconds),
    (found_campaign.campaign).end_time);
  return group_commerce.enter_team(call, 'teams.open', found_campaign.campaign, new_team, found_campaign.terms,
    found_campaign.fault, input);
end
$function$;
alter function group_commerce.open_team(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.open_team(jsonb,jsonb) from public;
grant execute on function group_commerce.open_team(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.participant_json(group_commerce.participants)
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.participant_json(p group_commerce.participants)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', p.id, 'campaignId', p.campaign_id, 'teamId', p.team_id, 'userId', p.user_id,
    'sku', p.sku, 'quantity', p.quantity, 'orderId', p.order_id,
    'paymentId', p.payment_id, 'shippingAddress', p.shipping_address, 'state', p.state, 'reason', p.reason,
    'secureBy', case when p.secured_at is null and p.state in ('joined', 'ordered') then platform.iso(p.secure_by) end,
    'merge', p.merge, 'invitedBy', p.invited_by,
    'joinedAt', platform.iso(p.joined_at), 'updatedAt', platform.iso(p.updated_at), 'email', p.email,
    'billingAddress', p.billing_address, 'metadata', p.metadata, 'amounts', p.amounts)
$function$;
alter function group_commerce.participant_json(group_commerce.participants) owner to fusion_group_commerce;
revoke all on function group_commerce.participant_json(group_commerce.participants) from public;
grant execute on function group_commerce.participant_json(group_commerce.participants) to fusion_reader;

-- function: group_commerce.payments_of_places(jsonb)
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.payments_of_places(joins jsonb)
 RETURNS text[]
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
  select coalesce(array_agg(p.payment_id::text), '{}')
  from unnest(array(select j->>'userId' from jsonb_array_elements(joins) j),
    array(select j->>'campaignId' from jsonb_array_elements(joins) j)) j(user_id, campaign_id)
  join group_commerce.participants p on p.user_id = j.user_id and p.campaign_id = j.campaign_id and p.state <> 'released'
$function$;
alter function group_commerce.payments_of_places(jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.payments_of_places(jsonb) from public;
grant execute on function group_commerce.payments_of_places(jsonb) to fusion_payments;

-- function: group_commerce.place_answer(jsonb,group_commerce.participants,group_commerce.group_commerce_campaigns)
-- src/db/group-commerce/teams.sql
CREATE OR REPLACE FUNCTION group_commerce.place_answer(team jsonb, p group_commerce.participants, c group_commerce.group_commerce_campaigns)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('team', case when team->>'leader' <> platform.shopper()->>'customer'
      then team || '{"leader": null}' else team end,
    'participant', group_commerce.participant_json(p) || group_commerce.place_terms(c))
$function$;
alter function group_commerce.place_answer(jsonb,group_commerce.participants,group_commerce.group_commerce_campaigns) owner to fusion_group_commerce;
revoke all on function group_commerce.place_answer(jsonb,group_commerce.participants,group_commerce.group_commerce_campaigns) from public;

-- function: group_commerce.place_is_kept(character varying)
-- src/db/group-commerce/money.sql
CREATE OR REPLACE FUNCTION group_commerce.place_is_kept(of_order character varying)
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select coalesce((
    select group_commerce.keeps_places(c, t) from group_commerce.participants p
    join group_commerce.group_commerce_campaigns c on c.id = p.campaign_id
    left join group_commerce.teams t on t.id = p.team_id
    where p.order_id = of_order), false)
$function$;
alter function group_commerce.place_is_kept(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.place_is_kept(character varying) from public;

-- function: group_commerce.place_terms(group_commerce.group_commerce_campaigns)
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.place_terms(c group_commerce.group_commerce_campaigns)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('price', coalesce(c.settled_price, c.price), 'currency', c.currency, 'campaignSku', c.sku)
$function$;
alter function group_commerce.place_terms(group_commerce.group_commerce_campaigns) owner to fusion_group_commerce;
revoke all on function group_commerce.place_terms(group_commerce.group_commerce_campaigns) from public;
grant execute on function group_commerce.place_terms(group_commerce.group_commerce_campaigns) to fusion_reader;

-- function: group_commerce.plan_merges(text[],text[])
-- src/db/group-commerce/team-merges.sql
CREATE OR REPLACE FUNCTION group_commerce.plan_merges(ids text[], target_ids text[], OUT moved text[], OUT targets text[])
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  now_at constant timestamptz := platform.clock();
  campaign record; -- the teams that may move, and the possible targets, both oldest first
  rooms integer[];
  members jsonb; -- {team: [user]}
  users_of jsonb[]; -- the members of each target and of the teams that move into it
  -- Flags for the possible targets, then for the teams that may move: to search for their ids would take too long.
  have_moved boolean[];
  are_targets boolean[];
  movers text[];
  chosen_of integer[]; -- the position of each mover's target
  mover record;
  users text[];
  chosen integer; -- the position of the mover's target
begin
  moved := '{}';
  targets := '{}';
  select jsonb_object_agg(m.team_id, m.users) into members
  from (
    select p.team_id, jsonb_agg(p.user_id) as users from group_commerce.participants p
    where p.team_id = any(ids || target_ids) and p.state <> 'released' group by p.team_id
  ) m;
  -- One campaign after another: no team looks at the possible targets of the other campaigns.
  for campaign in
    with due as materialized (
      select t.campaign_id, array_agg(t.id::text order by t.id) as ids, array_agg(t.joined order by t.id) as joined,
        array_agg(c.success_on = 'joined' or t.secured = t.joined order by t.id) as may_complete
      from group_commerce.teams t join group_commerce.group_commerce_campaigns c on c.id = t.campaign_id
      where t.id = any(ids) and t.status = (select 'forming') and t.end_time <= now_at and t.merge_refusals = 0
        and t.joined < t.size and c.on_short = 'merge' and c.status = 'active'
      group by t.campaign_id
    ), possible as materialized (
      select t.campaign_id, array_agg(t.id::text order by t.id) as ids,
        array_agg(t.size - t.joined order by t.id) as rooms, array_agg(t.end_time > now_at order by t.id) as are_running
      from group_commerce.teams t join group_commerce.group_commerce_campaigns c on c.id = t.campaign_id
      where t.id = any(target_ids) and t.status = (select 'forming') and t.merge_refusals = 0
        -- In a team whose time is over, no further place can be secured.
        and (t.end_time > now_at or c.success_on = 'joined' or t.secured = t.joined)
      group by t.campaign_id
    )
    select due.ids as due_ids, due.joined as due_joined, due.may_complete as due_may_complete,
      possible.ids as team_ids, possible.rooms, possible.are_running
    from due join possible on possible.campaign_id = due.campaign_id
  loop
    rooms := campaign.rooms;
    have_moved := array_fill(false, array[cardinality(campaign.team_ids) + cardinality(campaign.due_ids)]);
    are_targets := have_moved;
    movers := '{}';
    chosen_of := '{}';
    users_of := array(
      select coalesce(members->u.id, '[]') from unnest(campaign.team_ids) with ordinality u(id, n) order by u.n);
    for mover in
      select d.id, d.joined, runs.is_running,
        coalesce(array_position(campaign.team_ids, d.id), cardinality(campaign.team_ids) + d.n::integer) as flag
      from unnest(campaign.due_ids, campaign.due_joined, campaign.due_may_complete) with ordinality
        d(id, joined, may_complete, n)
      cross join (values (true), (false)) runs(is_running)
      where runs.is_running or d.may_complete
      order by runs.is_running desc, d.n desc
    loop
      continue when have_moved[mover.flag] or are_targets[mover.flag];
      users := array(select jsonb_array_elements_text(members->mover.id));
      select o.n into chosen
      from unnest(rooms, campaign.are_running, users_of) with ordinality
        o(room, is_running, members, n)
      where o.is_running = mover.is_running and o.room >= mover.joined
        and o.n <> mover.flag and not have_moved[o.n::integer] and not o.members ?| users
      order by (not o.is_running and o.room = mover.joined) desc, o.n limit 1;
      if found then
        movers := movers || mover.id;
        chosen_of := chosen_of || chosen;
        have_moved[mover.flag] := true;
        are_targets[chosen] := true;
        rooms[chosen] := rooms[chosen] - mover.joined;
        users_of[chosen] := users_of[chosen] || coalesce(members->mover.id, '[]');
      end if;
    end loop;
    select moved || coalesce(array_agg(m.id order by m.n), '{}'),
      targets || coalesce(array_agg(campaign.team_ids[m.chosen] order by m.n), '{}')
    into moved, targets
    from unnest(movers, chosen_of) with ordinality m(id, chosen, n)
    where campaign.are_running[m.chosen] or rooms[m.chosen] = 0;
  end loop;
end
$function$;
alter function group_commerce.plan_merges(text[],text[]) owner to fusion_group_commerce;
revoke all on function group_commerce.plan_merges(text[],text[]) from public;

-- function: group_commerce.prepare_place(group_commerce.group_commerce_campaigns,boolean,jsonb)
-- src/db/group-commerce/places.sql
CREATE OR REPLACE FUNCTION group_commerce.prepare_place(c group_commerce.group_commerce_campaigns, has_tax boolean, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  chosen_sku constant varchar := coalesce(input->>'sku', case when coalesce(cardinality(c.skus), 1) = 1 then c.sku end);
  quantity constant integer := coalesce((input->>'quantity')::integer, 1);
  faults jsonb := '[]';
  fault text;
  amounts jsonb;
begin
  if not has_tax and not input ?| '{sku,quantity,invitedBy,shippingOptionId}' and c.skus is null then
    return input || jsonb_build_object('sku', c.sku, 'quantity', 1); -- most places: one unit at the campaign's price
  end if;
  if input->>'invitedBy' is not null then
    faults := group_commerce.invite_faults(c.id, input);
  end if;
  if chosen_sku is null then
    fault := format('is required: one of %s', array_to_string(c.skus, ', '));
  elsif chosen_sku <> all(coalesce(c.skus, array[c.sku])) then
    fault := format('is not sold in this campaign: use one of %s', array_to_string(coalesce(c.skus, array[c.sku]), ', '));
  elsif chosen_sku <> c.sku then
    select 'is no longer for sale: use another SKU of this campaign' into fault where not exists (
      select from catalog.products p where p.tenant_id = c.tenant_id and p.sku = chosen_sku and p.status = 'active');
  end if;
  if fault is not null then
    faults := jsonb_build_array(jsonb_build_object('pointer', '/sku', 'detail', fault)) || faults;
  end if;
  if faults <> '[]' then
    return jsonb_build_object('error', 'validation_failed', 'errors', faults);
  elsif quantity > c.max_per_customer then
    return group_commerce.limit_fault(c, input->>'userId');
  end if;
  input := input || jsonb_build_object('sku', chosen_sku, 'quantity', quantity);
  if has_tax or quantity > 1 or input->>'shippingOptionId' is not null then
    amounts := orders.settle_place(input || jsonb_build_object('price', c.price, 'currency', c.currency)
      || case when c.tiers is not null then '{"keepTerms": true}'::jsonb else '{}' end);
    if amounts ?| '{error,taxQuestion}' then
      return amounts;
    end if;
    input := input || jsonb_build_object('amounts', amounts);
    fault := group_commerce.lowest_price_fault(c, input);
    if fault is not null then
      return jsonb_build_object('error', 'validation_failed', 'errors',
        jsonb_build_array(jsonb_build_object('pointer', '', 'detail', fault)));
    end if;
  end if;
  return input;
end
$function$;
alter function group_commerce.prepare_place(group_commerce.group_commerce_campaigns,boolean,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.prepare_place(group_commerce.group_commerce_campaigns,boolean,jsonb) from public;

-- function: group_commerce.price_campaigns(jsonb,jsonb)
-- src/db/group-commerce/tiers.sql
CREATE OR REPLACE FUNCTION group_commerce.price_campaigns(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  priced integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('campaigns');
  for due in
    select d.tenant_id, array_agg(d.id::text order by d.id) as ids from (
      select x.id, x.tenant_id from group_commerce.group_commerce_campaigns x
      where x.status = 'successful' and x.tiers is not null and x.settled_price is null
        and x.end_time <= platform.clock() and x.id <> all(excluded_ids)
      order by x.end_time limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('campaigns', 'group_commerce.price_campaigns_step', due.tenant_id, due.ids, input))
    loop
      priced := priced + (result->>'priced')::int;
    end loop;
  end loop;
  return jsonb_build_object('priced', priced);
end
$function$;
alter function group_commerce.price_campaigns(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.price_campaigns(jsonb,jsonb) from public;
grant execute on function group_commerce.price_campaigns(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.price_campaigns_step(text[],jsonb)
-- src/db/group-commerce/tiers.sql
CREATE OR REPLACE FUNCTION group_commerce.price_campaigns_step(ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  campaign_id text;
  campaign group_commerce.group_commerce_campaigns;
  priced integer := 0;
begin
  foreach campaign_id in array ids loop
    update group_commerce.group_commerce_campaigns x
    set settled_price = group_commerce.tier_price(x.tiers, x.price, x.secured_participants, x.secured_units),
        version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = campaign_id and x.status = (select 'successful') and x.tiers is not null and x.settled_price is null
      and x.end_time <= platform.clock()
    returning * into campaign;
    if found then
      perform group_commerce.emit_campaign(campaign, 'priced', true);
      priced := priced + 1;
    end if;
  end loop;
  return jsonb_build_object('priced', priced);
end
$function$;
alter function group_commerce.price_campaigns_step(text[],jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.price_campaigns_step(text[],jsonb) from public;

-- function: group_commerce.price_fault(numeric,character varying)
-- src/db/group-commerce/campaign-rules.sql
CREATE OR REPLACE FUNCTION group_commerce.price_fault(price numeric, currency character varying)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when scale(trim_scale(price)) > platform.currency_decimals(currency)
      then format('%s has no decimals.', currency)
    else platform.charge_fault(price, currency) end
$function$;
alter function group_commerce.price_fault(numeric,character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.price_fault(numeric,character varying) from public;

-- function: group_commerce.process_batch(group_commerce.group_commerce_campaigns,text[],text,jsonb)
-- src/db/group-commerce/settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.process_batch(campaign group_commerce.group_commerce_campaigns, states text[], step text, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  ids text[];
  result jsonb;
  processed integer := 0;
begin
  if campaign.id is null then
    return jsonb_build_object('done', 0, 'more', false);
  end if;
  ids := array(
    select x.id from group_commerce.participants x
    where x.tenant_id = campaign.tenant_id and x.campaign_id = campaign.id and x.state = any(states)
      and x.id <> all(platform.keys_set_aside('campaigns'))
    order by x.id limit (input->>'limit')::int);
  for result in select jsonb_array_elements(
    platform.process_rows('campaigns', step, campaign.tenant_id, ids, input
      || jsonb_build_object('campaign', campaign.id)))
  loop
    processed := processed + (result->>'done')::int;
  end loop;
  if cardinality(ids) = 0 then
    perform group_commerce.mark_settled(campaign, states);
    if exists (select from group_commerce.participants x
      where x.tenant_id = campaign.tenant_id and x.campaign_id = campaign.id and x.state = any(states)) then
      perform platform.set_aside('campaigns', array[campaign.id::text], 'places of this campaign are set aside');
    else
      perform platform.clear_set_aside('campaigns', array[campaign.id::text]);
    end if;
  end if;
  return jsonb_build_object('done', processed, 'more', true, 'tenant', campaign.tenant_id, 'sku', campaign.sku,
    'skus', coalesce(campaign.skus, array[campaign.sku]));
end
$function$;
alter function group_commerce.process_batch(group_commerce.group_commerce_campaigns,text[],text,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.process_batch(group_commerce.group_commerce_campaigns,text[],text,jsonb) from public;

-- function: group_commerce.process_teams(character varying,text[],text[],text,jsonb)
-- src/db/group-commerce/team-settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.process_teams(tenant character varying, team_ids text[], states text[], step text, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  excluded_ids text[];
  ids text[];
  result jsonb;
  skus jsonb := '[]';
  done integer := 0;
begin
  if team_ids is null then
    return jsonb_build_object('done', 0, 'more', false);
  end if;
  perform platform.act_as(tenant);
  excluded_ids := platform.keys_set_aside('campaigns');
  -- Each team is looked up by itself. Otherwise a plan may read the places by id, past all that are released already.
  ids := array(
    select p.id from unnest(team_ids) t(id) cross join lateral (
      select x.id from group_commerce.participants x
      where x.team_id = t.id and x.state = any(states) and x.id <> all(excluded_ids)
      order by x.team_id, x.id limit (input->>'limit')::int
    ) p
    order by p.id limit (input->>'limit')::int);
  for result in select jsonb_array_elements(platform.process_rows('campaigns', step, tenant, ids, input)) loop
    done := done + (result->>'done')::int;
    skus := skus || coalesce(result->'skus', '[]');
  end loop;
  for result in select jsonb_array_elements(platform.process_rows('campaigns', 'group_commerce.mark_teams_settled',
    tenant, team_ids, jsonb_build_object('states', states)))
  loop
    done := done + (result->>'done')::int;
  end loop;
  if cardinality(ids) = 0 then
    perform platform.set_aside('campaigns', array(select p.team_id::text from group_commerce.participants p
      where p.team_id = any(team_ids) and p.state = any(states) group by p.team_id
      having bool_and(p.id = any(excluded_ids))), 'places of this team are set aside');
  end if;
  return jsonb_build_object('done', done, 'tenant', tenant, 'skus', skus, 'more', not input ? 'teamIds'
    or exists (select from group_commerce.teams t where t.settled_at is null
      and t.id = any(array(select jsonb_array_elements_text(input->'teamIds')))));
end
$function$;
alter function group_commerce.process_teams(character varying,text[],text[],text,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.process_teams(character varying,text[],text[],text,jsonb) from public;

-- function: group_commerce.referrals_json(character varying,bigint,bigint)
-- src/db/group-commerce/joiners.sql
CREATE OR REPLACE FUNCTION group_commerce.referrals_json(user_id character varying, invited bigint, charged bigint)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select jsonb_build_object('userId', user_id, 'invited', invited, 'charged', charged)
$function$;
alter function group_commerce.referrals_json(character varying,bigint,bigint) owner to fusion_group_commerce;
revoke all on function group_commerce.referrals_json(character varying,bigint,bigint) from public;

-- function: group_commerce.release_batch(jsonb,jsonb)
-- src/db/group-commerce/settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.release_batch(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  campaign group_commerce.group_commerce_campaigns;
begin
  campaign := group_commerce.find_unsettled_campaign(call, input, array['expired', 'failed']);
  return group_commerce.process_batch(campaign, array['joined', 'secured', 'ordered', 'charged'],
    'group_commerce.release_places', input);
end
$function$;
alter function group_commerce.release_batch(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.release_batch(jsonb,jsonb) from public;
grant execute on function group_commerce.release_batch(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.release_places(text[],jsonb)
-- src/db/group-commerce/settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.release_places(ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  ending constant text := 'campaign_' || (select x.status from group_commerce.group_commerce_campaigns x
    where x.id = input->>'campaign');
  orders text[];
begin
  perform group_commerce.lock_counters(input->>'campaign', ids);
  orders := array(
    select x.order_id from group_commerce.participants x
    where x.id = any(ids) and x.state <> (select 'released') order by x.id for update);
  update group_commerce.participants x set state = 'released', reason = ending, updated_at = platform.clock()
  where x.order_id = any(orders);
  perform group_commerce.give_units_back(input->>'campaign', array_agg(x.user_id::text), array_agg(x.quantity))
  from group_commerce.participants x where x.order_id = any(orders);
  orders := array(select o from unnest(orders) o order by o);
  perform payments.end_for_orders(orders, 'cancelled', ending);
  perform inventory.release(orders, ending);
  return jsonb_build_object('done', cardinality(orders));
end
$function$;
alter function group_commerce.release_places(text[],jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.release_places(text[],jsonb) from public;

-- function: group_commerce.release_team_places(text[],jsonb)
-- src/db/group-commerce/team-settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.release_team_places(ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  ending constant text := input->>'reason';
  released record;
begin
  perform 1 from group_commerce.campaign_customers n
    where (n.campaign_id, n.user_id) in (
      select p.campaign_id, p.user_id from group_commerce.participants p where p.id = any(ids))
    order by n.campaign_id, n.user_id for update;
  perform 1 from group_commerce.participants p where p.id = any(ids) order by p.id for update;
  with freed as (
    update group_commerce.participants p set state = 'released', reason = ending, updated_at = platform.clock()
    where p.id = any(ids) and p.state <> (select 'released')
    returning p.campaign_id, p.user_id, p.order_id, p.sku, p.quantity
  ), given_back as (
    update group_commerce.campaign_customers n set units = n.units - f.units
    from (select campaign_id, user_id, sum(quantity) as units from freed group by campaign_id, user_id) f
    where n.campaign_id = f.campaign_id and n.user_id = f.user_id
  )
  select coalesce(array_agg(f.order_id::text order by f.order_id), '{}') as orders,
    coalesce(jsonb_agg(distinct coalesce(f.sku, c.sku)), '[]') as skus
  into released
  from freed f join group_commerce.group_commerce_campaigns c on c.id = f.campaign_id;
  perform payments.end_for_orders(released.orders, 'cancelled', ending);
  perform inventory.release(released.orders, ending);
  return jsonb_build_object('done', cardinality(released.orders), 'skus', released.skus);
end
$function$;
alter function group_commerce.release_team_places(text[],jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.release_team_places(text[],jsonb) from public;

-- function: group_commerce.release_teams(jsonb,jsonb)
-- src/db/group-commerce/team-settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.release_teams(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  teams record;
begin
  perform platform.enter_as(call, coalesce(input->>'tenant', '*'));
  select * into teams from group_commerce.find_unsettled_teams(
    'settled_at is null and status in (''expired'', ''cancelled'')',
    'status', input); -- one reason, so that all payments are locked in one order
  return group_commerce.process_teams(teams.tenant, teams.ids, array['joined', 'secured', 'ordered', 'charged'],
    'group_commerce.release_team_places', input || jsonb_build_object('reason', 'team_' || teams.common));
end
$function$;
alter function group_commerce.release_teams(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.release_teams(jsonb,jsonb) from public;
grant execute on function group_commerce.release_teams(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.selling_terms(group_commerce.group_commerce_campaigns,integer)
-- src/db/group-commerce/teams.sql
CREATE OR REPLACE FUNCTION group_commerce.selling_terms(c group_commerce.group_commerce_campaigns, grace_seconds integer)
 RETURNS SETOF jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object(
    'isArchived', (select p.status from catalog.products p where p.id = c.product_id) = 'archived',
    'hasTax', t.tax_provider <> 'table' or exists (select from orders.tax_rates r where r.tenant_id = c.tenant_id),
    'grace', coalesce(t.grace_seconds, selling_terms.grace_seconds))
  from platform.tenants t where t.id = c.tenant_id
$function$;
alter function group_commerce.selling_terms(group_commerce.group_commerce_campaigns,integer) owner to fusion_group_commerce;
revoke all on function group_commerce.selling_terms(group_commerce.group_commerce_campaigns,integer) from public;

-- function: group_commerce.settle_batch(jsonb,jsonb)
-- src/db/group-commerce/settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.settle_batch(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  campaign group_commerce.group_commerce_campaigns;
begin
  campaign := group_commerce.find_unsettled_campaign(call, input, array['successful']);
  return group_commerce.process_batch(campaign, array['joined', 'secured'], 'group_commerce.settle_places', input);
end
$function$;
alter function group_commerce.settle_batch(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.settle_batch(jsonb,jsonb) from public;
grant execute on function group_commerce.settle_batch(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.settle_places(text[],jsonb)
-- src/db/group-commerce/settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.settle_places(ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  campaign group_commerce.group_commerce_campaigns;
  participant group_commerce.participants;
  secured_ids text[] := '{}';
  unsecured_ids text[] := '{}';
  processing_ids text[] := '{}';
  free_ids text[] := '{}'; -- of the secured: there is nothing to pay
  lowered jsonb := '[]'; -- the payments whose amount has fallen
  grace_end timestamptz;
begin
  select * into campaign from group_commerce.group_commerce_campaigns x
    where x.id = input->>'campaign';
  select platform.clock() + make_interval(secs => coalesce(t.grace_seconds, (input->>'graceSeconds')::int))
  into grace_end from platform.tenants t where t.id = campaign.tenant_id;
  -- Locks the participants by id, but not the campaign, which joins and payments wait for: nothing here changes the
  -- campaign's row or locks it later.
  for participant in
    select * from group_commerce.participants x
    where x.id = any(ids) and x.state = any((select '{joined,secured}'::text[])::text[])
    order by x.id for update
  loop
    if campaign.settled_price < campaign.price then
      participant.amounts := group_commerce.final_amounts(campaign, participant);
      lowered := lowered || jsonb_build_object('orderId', participant.order_id,
        'amount', coalesce(participant.amounts->'total', to_jsonb(campaign.settled_price)));
    end if;
    update group_commerce.participants x
    set state = 'ordered', secure_by = case when x.secured_at is null then greatest(grace_end, x.secure_by) end,
        amounts = participant.amounts, updated_at = platform.clock()
    where x.id = participant.id;
    perform group_commerce.create_place_order(campaign, participant);
    if participant.secured_at is not null then
      secured_ids := secured_ids || participant.order_id::text;
      if participant.payment_id is null then
        free_ids := free_ids || participant.order_id::text;
      end if;
    elsif participant.secure_by = 'infinity' then
      -- Stripe is still deciding the payment, so the unit stays held.
      processing_ids := processing_ids || participant.order_id::text;
    else
      unsecured_ids := unsecured_ids || participant.order_id::text;
    end if;
  end loop;
  if lowered <> '[]' then
    perform payments.lower_amounts(lowered);
  end if;
  perform payments.request_captures(secured_ids);
  perform inventory.keep_until(unsecured_ids, grace_end);
  perform inventory.emit_reserved(secured_ids || unsecured_ids || processing_ids);
  perform group_commerce.confirm_early_captures(payments.filter_paid_orders(secured_ids));
  if cardinality(free_ids) > 0 then
    perform group_commerce.confirm_free_place(campaign, x) from group_commerce.participants x
      where x.order_id = any(free_ids) order by x.id;
  end if;
  return jsonb_build_object('done', cardinality(secured_ids || unsecured_ids || processing_ids));
end
$function$;
alter function group_commerce.settle_places(text[],jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.settle_places(text[],jsonb) from public;

-- function: group_commerce.settle_teams(jsonb,jsonb)
-- src/db/group-commerce/team-settlement.sql
CREATE OR REPLACE FUNCTION group_commerce.settle_teams(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  teams record;
begin
  perform platform.enter_as(call, coalesce(input->>'tenant', '*'));
  select * into teams from group_commerce.find_unsettled_teams('settled_at is null and status = ''successful''',
    'campaign_id', input); -- settle_places creates the orders of one campaign
  return group_commerce.process_teams(teams.tenant, teams.ids, array['joined', 'secured'],
    'group_commerce.settle_places', input || jsonb_build_object('campaign', teams.common));
end
$function$;
alter function group_commerce.settle_teams(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.settle_teams(jsonb,jsonb) from public;
grant execute on function group_commerce.settle_teams(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.show_card(jsonb,jsonb)
-- src/db/group-commerce/card.sql
CREATE OR REPLACE FUNCTION group_commerce.show_card(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  away constant text[] := platform.enter_to_find(call);
  team constant group_commerce.teams := group_commerce.find_team(null, input->>'code');
  answer jsonb;
begin
  if team.id is null then
    return jsonb_build_object('answer', null, 'cells', platform.cells_of_purged());
  end if;
  if team.tenant_id = any(away) then
    perform platform.refuse_away(team.tenant_id, 'campaigns:read');
  end if;
  perform platform.act_as(team.tenant_id);
  select jsonb_build_object('title', p.name, 'description', left(p.description, 300), 'image', p.images->0,
    'status', team.status, 'size', team.size, 'joined', team.joined, 'price', c.price,
    'originalPrice', c.original_price, 'currency', c.currency, 'endTime', platform.iso(team.end_time),
    'teamId', team.id, 'campaignId', c.id, 'productId', p.id, 'open', p.status <> 'archived'
      and group_commerce.team_fault(team) is null and group_commerce.teams_fault(c) is null)
  into answer
  from group_commerce.group_commerce_campaigns c join catalog.products p on p.id = c.product_id
  where c.id = team.campaign_id;
  return jsonb_build_object('tenant', team.tenant_id, 'answer', answer);
end
$function$;
alter function group_commerce.show_card(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.show_card(jsonb,jsonb) from public;
grant execute on function group_commerce.show_card(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.show_places(jsonb,jsonb)
-- src/db/group-commerce/shoppers.sql
CREATE OR REPLACE FUNCTION group_commerce.show_places(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'campaigns:write', '{session}');
  customer constant varchar := platform.shopper()->>'customer';
  campaign group_commerce.group_commerce_campaigns;
  answer jsonb;
begin
  select * into campaign from group_commerce.group_commerce_campaigns c where c.id = input->>'campaignId';
  if not found then
    perform platform.fail('not_found');
  end if;
  select coalesce(jsonb_agg(group_commerce.participant_json(p) || group_commerce.place_terms(campaign)
    order by p.id desc), '[]') into answer
  from group_commerce.participants p
  where p.id = any(array(
    select e.id
    from ( -- one look-up for each of the two indexes on the user
      select x.id, x.team_id from group_commerce.participants x
      where x.user_id = customer and x.campaign_id = campaign.id and x.state <> 'released'
      union all
      select x.id, x.team_id from group_commerce.participants x
      where x.user_id = customer and x.campaign_id = campaign.id and x.state = 'released'
    ) e
    where (input->>'teamId' is null or e.team_id = input->>'teamId')
      and (input->>'before' is null or e.id < input->>'before')
    order by e.id desc limit (input->>'limit')::int));
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', answer);
end
$function$;
alter function group_commerce.show_places(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.show_places(jsonb,jsonb) from public;
grant execute on function group_commerce.show_places(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.show_referrals(jsonb,jsonb)
-- src/db/group-commerce/joiners.sql
CREATE OR REPLACE FUNCTION group_commerce.show_referrals(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'campaigns:write', '{session}');
  customer constant varchar := platform.shopper()->>'customer';
  after constant varchar := coalesce(input->>'after', '');
  answer jsonb;
begin
  if not exists (select from group_commerce.group_commerce_campaigns c where c.id = input->>'campaignId') then
    perform platform.fail('not_found');
  end if;
  if customer is not null then
    select case count(*) when 0 then '[]' else jsonb_build_array(group_commerce.referrals_json(customer, count(*)
      filter (where p.state <> 'released'), count(*) filter (where p.state = 'charged' and not p.refunded))) end
    into answer from group_commerce.participants p
    where p.campaign_id = input->>'campaignId' and p.invited_by = customer and customer > after;
  else
    select coalesce(jsonb_agg(group_commerce.referrals_json(r.invited_by, r.invited, r.charged) order by r.invited_by), '[]')
    into answer
    from (
      select p.invited_by, count(*) filter (where p.state <> 'released') as invited,
        count(*) filter (where p.state = 'charged' and not p.refunded) as charged
      from group_commerce.participants p
      where p.campaign_id = input->>'campaignId' and p.invited_by > after and p.invited_by is not null
      group by p.invited_by order by p.invited_by limit (input->>'limit')::int
    ) r;
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', answer);
end
$function$;
alter function group_commerce.show_referrals(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.show_referrals(jsonb,jsonb) from public;
grant execute on function group_commerce.show_referrals(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.show_team(jsonb,jsonb)
-- src/db/group-commerce/team-reads.sql
CREATE OR REPLACE FUNCTION group_commerce.show_team(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'campaigns:read');
  answer jsonb;
begin
  select group_commerce.shown_team(t, 'campaigns:write' = any(api_key.scopes), input ? 'code') into answer
  from group_commerce.find_team(input->>'teamId', input->>'code') t;
  if not found then
    perform platform.fail('not_found');
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', answer);
end
$function$;
alter function group_commerce.show_team(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.show_team(jsonb,jsonb) from public;
grant execute on function group_commerce.show_team(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.show_teams(jsonb,jsonb)
-- src/db/group-commerce/team-reads.sql
CREATE OR REPLACE FUNCTION group_commerce.show_teams(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'campaigns:read');
  sees_all constant boolean := 'campaigns:write' = any(api_key.scopes);
  -- For each pair of these, the index idx_teams_status is in the order of the list. So a page reads at most `limit`
  -- teams of each pair, however many teams the campaign has.
  statuses constant text[] := case when input->>'status' is not null then array[input->>'status']
    else '{forming,successful,expired,merged,cancelled}' end;
  listings constant boolean[] := case when sees_all then '{true,false}' else '{true}' end;
  before_id constant varchar := coalesce(input->>'before', 'z'); -- an id has no letter after f
  most constant integer := (input->>'limit')::integer;
  answer jsonb;
begin
  perform 1 from group_commerce.group_commerce_campaigns c where c.id = input->>'campaignId';
  if not found then
    perform platform.fail('not_found');
  end if;
  select coalesce(jsonb_agg(group_commerce.shown_team(t, sees_all, false) order by t.id desc), '[]') into answer
  from group_commerce.teams t
  where t.id = any(array(
    select e.id
    from unnest(statuses) s, unnest(listings) l, lateral (
      select x.id from group_commerce.teams x
      where x.campaign_id = input->>'campaignId' and x.status = s and x.listed = l and x.id < before_id
      order by x.campaign_id, x.status, x.listed, x.id desc limit most
    ) e
    order by e.id desc limit most));
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', answer);
end
$function$;
alter function group_commerce.show_teams(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.show_teams(jsonb,jsonb) from public;
grant execute on function group_commerce.show_teams(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.show_waiting(jsonb,jsonb)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.show_waiting(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'campaigns:write', '{session}');
  customer constant varchar := platform.shopper()->>'customer';
  of_campaign constant varchar := input->>'campaignId';
  ids text[];
  before integer;
begin
  if not exists (select from group_commerce.group_commerce_campaigns c where c.id = of_campaign) then
    perform platform.fail('not_found');
  end if;
  if customer is null then
    ids := array(select w.id from group_commerce.waiting_places w
      where w.campaign_id = of_campaign and w.state in ('waiting', 'offered') and w.id > coalesce(input->>'after', '')
      order by w.id limit (input->>'limit')::int);
  else
    ids := array(select w.id from group_commerce.waiting_places w
      where w.user_id = customer and w.campaign_id = of_campaign and w.state in ('waiting', 'offered')
        and w.id > coalesce(input->>'after', ''));
  end if;
  before := group_commerce.waiting_position(of_campaign, ids[1]) - 1;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', (
    select coalesce(jsonb_agg(group_commerce.waiting_json(w, least(before + e.n::integer, 10001)) order by e.n), '[]')
    from unnest(ids) with ordinality e(id, n) join group_commerce.waiting_places w on w.id = e.id));
end
$function$;
alter function group_commerce.show_waiting(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.show_waiting(jsonb,jsonb) from public;
grant execute on function group_commerce.show_waiting(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.shown_team(group_commerce.teams,boolean,boolean)
-- src/db/group-commerce/team-reads.sql
CREATE OR REPLACE FUNCTION group_commerce.shown_team(t group_commerce.teams, sees_all boolean, has_code boolean)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select group_commerce.team_json(t) || case when sees_all then '{}' else jsonb_build_object(
    'leader', case when t.leader = platform.shopper()->>'customer' then t.leader end,
    'code', case when has_code or group_commerce.is_member(t) then t.code end) end
$function$;
alter function group_commerce.shown_team(group_commerce.teams,boolean,boolean) owner to fusion_group_commerce;
revoke all on function group_commerce.shown_team(group_commerce.teams,boolean,boolean) from public;

-- function: group_commerce.shrink_teams(text[],text[],text)
-- src/db/group-commerce/team-places.sql
CREATE OR REPLACE FUNCTION group_commerce.shrink_teams(team_ids text[], order_ids text[], why text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  left_team record;
  team group_commerce.teams;
begin
  for left_team in
    select p.team_id, count(*) as places, count(p.secured_at) as secured, count(*) filter (where not p.merge) as refusals,
      array_agg(p.user_id::text order by p.id) as users,
      (select m.user_id from group_commerce.participants m where m.team_id = p.team_id and m.state <> 'released'
        order by m.id limit 1) as next_leader
    from group_commerce.participants p
    where p.team_id = any(team_ids) and p.order_id = any(order_ids) and p.state = 'released'
    group by p.team_id order by p.team_id
  loop
    update group_commerce.teams x
    set joined = x.joined - left_team.places, secured = x.secured - left_team.secured,
        merge_refusals = x.merge_refusals - left_team.refusals,
        leader = case when x.leader = any(left_team.users) then coalesce(left_team.next_leader, x.leader)
          else x.leader end,
        status = case when x.status = 'forming' and x.joined = left_team.places then 'cancelled' else x.status end,
        settled_at = case when x.status = 'forming' and x.joined = left_team.places then platform.clock()
          else x.settled_at end,
        version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = left_team.team_id returning * into team;
    perform group_commerce.emit_team(team, 'left', jsonb_build_object('userId', u, 'reason', why), false)
    from unnest(left_team.users) u;
    if team.status = 'cancelled' then
      perform group_commerce.emit_team(team, 'cancelled', '{}', false);
    end if;
  end loop;
end
$function$;
alter function group_commerce.shrink_teams(text[],text[],text) owner to fusion_group_commerce;
revoke all on function group_commerce.shrink_teams(text[],text[],text) from public;

-- function: group_commerce.take_entry(character varying,character varying,group_commerce.waiting_places)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.take_entry(of_campaign character varying, joining_user character varying, w group_commerce.waiting_places)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if w.id is null then
    if not exists (select from group_commerce.waiting_places y where y.user_id = joining_user
        and y.campaign_id = of_campaign and y.state = 'offered' and y.offered_until > platform.clock()) then
      return;
    end if;
  else
    update group_commerce.waiting_places y set state = 'taken', updated_at = platform.clock()
    where y.id = w.id and y.state = w.state and (y.state = 'waiting' or y.offered_until > platform.clock());
    if found then
      return;
    end if;
  end if;
  raise exception using errcode = 'serialization_failure', message = 'the entry in the waiting list changed';
end
$function$;
alter function group_commerce.take_entry(character varying,character varying,group_commerce.waiting_places) owner to fusion_group_commerce;
revoke all on function group_commerce.take_entry(character varying,character varying,group_commerce.waiting_places) from public;

-- function: group_commerce.team_counts(character varying)
-- src/db/group-commerce/campaigns.sql
CREATE OR REPLACE FUNCTION group_commerce.team_counts(of_campaign character varying)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('actualParticipants', coalesce(sum(t.joined), 0),
    'securedParticipants', coalesce(sum(t.secured), 0),
    'formingTeams', count(*) filter (where t.status = 'forming'),
    'successfulTeams', count(*) filter (where t.status = 'successful'))
  from group_commerce.teams t
  where t.campaign_id = of_campaign and t.status in ('forming', 'successful')
$function$;
alter function group_commerce.team_counts(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.team_counts(character varying) from public;
grant execute on function group_commerce.team_counts(character varying) to fusion_reader;

-- function: group_commerce.team_fault(group_commerce.teams)
-- src/db/group-commerce/teams.sql
CREATE OR REPLACE FUNCTION group_commerce.team_fault(t group_commerce.teams)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select case
    when t.status in ('forming', 'successful') and t.joined >= t.size then jsonb_build_object('error', 'team_full',
      'detail', format('All %s places of the team are taken. Open a new team, or join another one.', t.size))
    when t.status = 'merged' then jsonb_build_object('error', 'team_not_open',
      'detail', format('The team was merged into the team %s. Join that one.', t.merged_into))
    when t.status <> 'forming' then jsonb_build_object('error', 'team_not_open', 'detail', case t.status
      when 'successful' then 'The team has succeeded.' when 'expired' then 'The time of the team is over.'
      else 'The team was cancelled.' end || ' Open a new team, or join another one.')
    when platform.clock() >= t.end_time then jsonb_build_object('error', 'team_not_open', 'detail', format(
      'The time of the team ended at %s. Open a new team, or join another one.', platform.iso(t.end_time))) end
$function$;
alter function group_commerce.team_fault(group_commerce.teams) owner to fusion_group_commerce;
revoke all on function group_commerce.team_fault(group_commerce.teams) from public;

-- function: group_commerce.team_json(group_commerce.teams)
-- src/db/group-commerce/teams.sql
CREATE OR REPLACE FUNCTION group_commerce.team_json(t group_commerce.teams)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', t.id, 'campaignId', t.campaign_id, 'code', t.code, 'leader', t.leader, 'size', t.size,
    'joined', t.joined, 'secured', t.secured, 'status', t.status, 'listed', t.listed,
    'mergedInto', t.merged_into, 'endTime', platform.iso(t.end_time), 'createdAt', platform.iso(t.created_at))
$function$;
alter function group_commerce.team_json(group_commerce.teams) owner to fusion_group_commerce;
revoke all on function group_commerce.team_json(group_commerce.teams) from public;

-- function: group_commerce.teams_fault(group_commerce.group_commerce_campaigns)
-- src/db/group-commerce/teams.sql
CREATE OR REPLACE FUNCTION group_commerce.teams_fault(c group_commerce.group_commerce_campaigns)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select case
    when c.mode <> 'teams' then jsonb_build_object('error', 'conflict', 'detail',
      'This campaign has no teams: join the campaign.')
    when c.status <> 'active' then jsonb_build_object('error', 'campaign_not_open', 'detail',
      case c.status when 'failed' then 'The campaign was cancelled.' else 'The campaign is over.' end)
    when platform.clock() < c.start_time then jsonb_build_object('error', 'campaign_not_open',
      'detail', format('The campaign starts at %s.', platform.iso(c.start_time)))
    when platform.clock() >= c.end_time then jsonb_build_object('error', 'campaign_not_open',
      'detail', format('The campaign ended at %s.', platform.iso(c.end_time))) end
$function$;
alter function group_commerce.teams_fault(group_commerce.group_commerce_campaigns) owner to fusion_group_commerce;
revoke all on function group_commerce.teams_fault(group_commerce.group_commerce_campaigns) from public;

-- function: group_commerce.terms_agree(group_commerce.group_commerce_campaigns)
-- src/db/group-commerce/campaign-terms.sql
CREATE OR REPLACE FUNCTION group_commerce.terms_agree(c group_commerce.group_commerce_campaigns)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
begin
  return coalesce(c.end_time > c.start_time and c.min_participants > 0 and c.max_participants >= c.min_participants
    and c.price >= 0 and c.original_price >= c.price
    and c.success_on in ('joined', 'secured') and c.joiners in ('all', 'new_customers')
    and coalesce(c.max_per_customer > 0, true)
    and case c.mode
      when 'pool' then num_nonnulls(c.team_size, c.team_seconds, c.on_short) = 0
      when 'teams' then c.team_size between 2 and 1000 and c.team_seconds > 0 and c.on_short in ('release', 'merge')
        and c.tiers is null
    end, false);
end
$function$;
alter function group_commerce.terms_agree(group_commerce.group_commerce_campaigns) owner to fusion_group_commerce;
revoke all on function group_commerce.terms_agree(group_commerce.group_commerce_campaigns) from public;

-- function: group_commerce.tier_price(jsonb,numeric,integer,integer)
-- src/db/group-commerce/campaigns.sql
CREATE OR REPLACE FUNCTION group_commerce.tier_price(tiers jsonb, entry_price numeric, participants integer, units integer)
 RETURNS numeric
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
declare
  tier jsonb;
  price numeric := entry_price;
begin
  for tier in select jsonb_array_elements(tiers) loop
    exit when coalesce((tier->>'participants')::integer > participants, (tier->>'units')::integer > units);
    price := (tier->>'price')::numeric;
  end loop;
  return price;
end
$function$;
alter function group_commerce.tier_price(jsonb,numeric,integer,integer) owner to fusion_group_commerce;
revoke all on function group_commerce.tier_price(jsonb,numeric,integer,integer) from public;
grant execute on function group_commerce.tier_price(jsonb,numeric,integer,integer) to fusion_reader;

-- function: group_commerce.tier_progress(group_commerce.group_commerce_campaigns)
-- src/db/group-commerce/campaigns.sql
CREATE OR REPLACE FUNCTION group_commerce.tier_progress(c group_commerce.group_commerce_campaigns)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object(
    'currentPrice', coalesce(c.settled_price,
      group_commerce.tier_price(c.tiers, c.price, c.secured_participants, c.secured_units)),
    'nextTier', case when c.settled_price is null then (
      select tier || jsonb_build_object('missing', coalesce((tier->>'participants')::integer - c.secured_participants,
        (tier->>'units')::integer - c.secured_units))
      from jsonb_array_elements(c.tiers) with ordinality e(tier, ord)
      where coalesce((tier->>'participants')::integer > c.secured_participants,
        (tier->>'units')::integer > c.secured_units)
      order by ord limit 1) end)
$function$;
alter function group_commerce.tier_progress(group_commerce.group_commerce_campaigns) owner to fusion_group_commerce;
revoke all on function group_commerce.tier_progress(group_commerce.group_commerce_campaigns) from public;
grant execute on function group_commerce.tier_progress(group_commerce.group_commerce_campaigns) to fusion_reader;

-- function: group_commerce.undecided_places(integer)
-- src/db/group-commerce/due.sql
CREATE OR REPLACE FUNCTION group_commerce.undecided_places(most integer)
 RETURNS text[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform platform.act_as('*');
  return array(
    select p.order_id::text from group_commerce.participants p
    where p.state = 'joined' and p.secure_by <= platform.clock()
      and payments.awaits_stripe(p.order_id, p.secure_by)
      and group_commerce.awaits_money(p)
    order by p.secure_by limit most);
end
$function$;
alter function group_commerce.undecided_places(integer) owner to fusion_group_commerce;
revoke all on function group_commerce.undecided_places(integer) from public;
grant execute on function group_commerce.undecided_places(integer) to fusion_payments;

-- function: group_commerce.undo_place_refund(character varying)
-- src/db/group-commerce/money.sql
CREATE OR REPLACE FUNCTION group_commerce.undo_place_refund(of_order character varying)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  update group_commerce.participants x set refunded = false where x.order_id = of_order and x.refunded
$function$;
alter function group_commerce.undo_place_refund(character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.undo_place_refund(character varying) from public;
grant execute on function group_commerce.undo_place_refund(character varying) to fusion_payments;

-- function: group_commerce.update_secure_by(character varying,boolean,integer,integer)
-- src/db/group-commerce/money.sql
CREATE OR REPLACE FUNCTION group_commerce.update_secure_by(of_order character varying, is_decided boolean, secure_seconds integer, grace_seconds integer)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  participant group_commerce.participants;
begin
  update group_commerce.participants x
  set updated_at = platform.clock(), secure_by = case when is_decided then platform.clock()
      + make_interval(secs => case x.state when 'joined' then secure_seconds else grace_seconds end) else 'infinity' end
  where x.order_id = of_order and x.secured_at is null
    and x.state in ('joined', 'ordered')
  returning * into participant;
  if participant.state = 'ordered' then
    perform inventory.keep_until(array[of_order::text], participant.secure_by);
  end if;
end
$function$;
alter function group_commerce.update_secure_by(character varying,boolean,integer,integer) owner to fusion_group_commerce;
revoke all on function group_commerce.update_secure_by(character varying,boolean,integer,integer) from public;
grant execute on function group_commerce.update_secure_by(character varying,boolean,integer,integer) to fusion_payments;

-- function: group_commerce.update_waiting(jsonb,jsonb)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.update_waiting(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  changed integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('waiting');
  for due in
    with recursive lists(id) as ( -- the campaigns with a waiting list: one index look-up for each
      (select w.campaign_id from group_commerce.waiting_places w where w.state in ('waiting', 'offered')
        order by w.campaign_id limit 1)
      union all
      select (select w.campaign_id from group_commerce.waiting_places w
        where w.state in ('waiting', 'offered') and w.campaign_id > l.id order by w.campaign_id limit 1)
      from lists l where l.id is not null
    ), found as (
      (select w.tenant_id, w.campaign_id as id from group_commerce.waiting_places w
        where w.state = 'offered' and w.offered_until <= platform.clock() and w.campaign_id <> all(excluded_ids)
        order by w.offered_until limit (input->>'limit')::int)
      union
      (select c.tenant_id, c.id from lists l join group_commerce.group_commerce_campaigns c on c.id = l.id
        where c.id <> all(excluded_ids)
          and (group_commerce.is_waiting_list_over(c) or group_commerce.join_fault(c) is null)
        order by random() limit (input->>'limit')::int)
    )
    select f.tenant_id, array_agg(f.id::text order by f.id) as ids from found f group by f.tenant_id order by f.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('waiting', 'group_commerce.update_waiting_step', due.tenant_id, due.ids, input))
    loop
      changed := changed + (result->>'changed')::int;
    end loop;
  end loop;
  return jsonb_build_object('changed', changed);
end
$function$;
alter function group_commerce.update_waiting(jsonb,jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.update_waiting(jsonb,jsonb) from public;
grant execute on function group_commerce.update_waiting(jsonb,jsonb) to fusion_worker;

-- function: group_commerce.update_waiting_step(text[],jsonb)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.update_waiting_step(ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  campaign group_commerce.group_commerce_campaigns;
  changed integer := 0;
begin
  for campaign in
    select * from group_commerce.group_commerce_campaigns c where c.id = any(ids) order by c.id for update
  loop
    changed := changed + case when group_commerce.is_waiting_list_over(campaign)
      then group_commerce.end_waiting_list(campaign.id, greatest(10, (input->>'limit')::int / cardinality(ids)))
      else group_commerce.lapse_offers(campaign.id) end;
  end loop;
  return jsonb_build_object('changed', changed);
end
$function$;
alter function group_commerce.update_waiting_step(text[],jsonb) owner to fusion_group_commerce;
revoke all on function group_commerce.update_waiting_step(text[],jsonb) from public;

-- function: group_commerce.waiting_answer(group_commerce.waiting_places)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.waiting_answer(w group_commerce.waiting_places)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('waiting',
    group_commerce.waiting_json(w, group_commerce.waiting_position(w.campaign_id, w.id)))
$function$;
alter function group_commerce.waiting_answer(group_commerce.waiting_places) owner to fusion_group_commerce;
revoke all on function group_commerce.waiting_answer(group_commerce.waiting_places) from public;

-- function: group_commerce.waiting_json(group_commerce.waiting_places,integer)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.waiting_json(w group_commerce.waiting_places, place_in_list integer)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', w.id, 'campaignId', w.campaign_id, 'userId', w.user_id, 'state', w.state,
    'position', case when w.state in ('waiting', 'offered') then place_in_list end,
    'offeredUntil', case when w.state = 'offered' then platform.iso(w.offered_until) end,
    'createdAt', platform.iso(w.created_at), 'updatedAt', platform.iso(w.updated_at))
$function$;
alter function group_commerce.waiting_json(group_commerce.waiting_places,integer) owner to fusion_group_commerce;
revoke all on function group_commerce.waiting_json(group_commerce.waiting_places,integer) from public;

-- function: group_commerce.waiting_position(character varying,character varying)
-- src/db/group-commerce/waiting.sql
CREATE OR REPLACE FUNCTION group_commerce.waiting_position(of_campaign character varying, entry character varying)
 RETURNS integer
 LANGUAGE sql
 STABLE
AS $function$
  select 1 + count(*)::integer from (
    select from group_commerce.waiting_places w
    where w.campaign_id = of_campaign and w.state in ('waiting', 'offered') and w.id < entry limit 10000) before
$function$;
alter function group_commerce.waiting_position(character varying,character varying) owner to fusion_group_commerce;
revoke all on function group_commerce.waiting_position(character varying,character varying) from public;

-- function: inventory.add_pending_hold(character varying,text[],integer[])
-- src/db/inventory/reservations.sql
CREATE OR REPLACE FUNCTION inventory.add_pending_hold(order_id character varying, skus text[], quantities integer[])
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, created_at)
  values (order_id, platform.tenant(), skus, quantities, 'pending', platform.clock())
$function$;
alter function inventory.add_pending_hold(character varying,text[],integer[]) owner to fusion_inventory;
revoke all on function inventory.add_pending_hold(character varying,text[],integer[]) from public;
grant execute on function inventory.add_pending_hold(character varying,text[],integer[]) to fusion_orders;

-- function: inventory.add_units(integer[],text[],text[],integer[])
-- src/db/inventory/restocks.sql
CREATE OR REPLACE FUNCTION inventory.add_units(counts integer[], all_skus text[], of_skus text[], units integer[])
 RETURNS integer[]
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select array_agg(coalesce(counts[a.n], 0) + coalesce(w.units, 0) order by a.n)
  from unnest(all_skus) with ordinality a(sku, n) left join unnest(of_skus, units) w(sku, units) on w.sku = a.sku
$function$;
alter function inventory.add_units(integer[],text[],text[],integer[]) owner to fusion_inventory;
revoke all on function inventory.add_units(integer[],text[],text[],integer[]) from public;

-- function: inventory.adjust_stock(jsonb,jsonb)
-- src/db/inventory/stock.sql
CREATE OR REPLACE FUNCTION inventory.adjust_stock(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'inventory:write', 'inventory.adjust');
  change integer := (input->>'delta')::int;
  stock inventory.inventory;
begin
  if replay is not null then
    return replay;
  end if;
  update inventory.inventory s
  set quantity = s.quantity + change, version = platform.next_version(s.version), updated_at = platform.clock()
  where s.tenant_id = platform.tenant() and s.sku = input->>'sku'
    and s.quantity::bigint + change >= 0 and inventory.is_count_allowed(s.quantity::bigint + change, s.quantity,
      s.reserved)
  returning * into stock;
  if not found then
    select * into stock from inventory.inventory s where s.tenant_id = platform.tenant() and s.sku = input->>'sku';
    if not found then
      perform platform.fail('not_found');
    end if;
    return platform.leave(call, 'inventory.adjust', case when change < 0
      then jsonb_build_object('error', 'insufficient_inventory', 'shortages', jsonb_build_array(
        jsonb_build_object('sku', stock.sku, 'requested', -change, 'available', stock.quantity)))
      else inventory.too_many_units_error('/delta') end);
  end if;
  insert into inventory.adjustments (tenant_id, sku, delta, quantity, reason, created_at)
  values (stock.tenant_id, stock.sku, change, stock.quantity, input->>'reason', platform.clock());
  return platform.leave(call, 'inventory.adjust', inventory.stock_json(stock));
end
$function$;
alter function inventory.adjust_stock(jsonb,jsonb) owner to fusion_inventory;
revoke all on function inventory.adjust_stock(jsonb,jsonb) from public;
grant execute on function inventory.adjust_stock(jsonb,jsonb) to fusion_worker;

-- function: inventory.apply_adjustments(jsonb,jsonb)
-- src/db/inventory/adjustments.sql
CREATE OR REPLACE FUNCTION inventory.apply_adjustments(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  message jsonb;
  change integer;
  new_quantity integer;
  refusal text;
  skus text[] := '{}';
  refused jsonb := '[]';
begin
  perform platform.enter_as(call, input->>'tenant');
  -- Lock order: all stock by SKU, before the first inbox row. Otherwise two batches that share a message would wait for
  -- each other.
  perform 1 from inventory.inventory s
    where s.tenant_id = platform.tenant()
      and s.sku = any(array(select x->>'sku' from jsonb_array_elements(input->'messages') x))
    order by s.sku for update;
  -- Additions before removals: the messages of a batch have no order.
  for message in
    select x from jsonb_array_elements(input->'messages') x
    order by x->>'sku', (x->>'delta')::numeric desc, x->>'eventId'
  loop
    change := (message->>'delta')::int;
    begin
      continue when cardinality(case when (message->>'undated')::boolean
        then platform.claim_undated_events('inventory', array[message->>'eventId'])
        else platform.claim_new_events('inventory', array[message->>'eventId']) end) = 0;
      update inventory.inventory s
      set quantity = s.quantity + change, version = platform.next_version(s.version), updated_at = platform.clock()
      where s.tenant_id = platform.tenant() and s.sku = message->>'sku'
        and s.quantity::bigint + change >= 0 and inventory.is_count_allowed(s.quantity::bigint + change, s.quantity,
          s.reserved)
      returning s.quantity into new_quantity;
      if not found then
        perform platform.fail(case
          when not exists (select from inventory.inventory s
            where s.tenant_id = platform.tenant() and s.sku = message->>'sku') then 'unknown_sku'
          when change < 0 then 'insufficient_inventory' else 'too_many' end);
      end if;
      insert into inventory.adjustments (tenant_id, sku, delta, quantity, reason, created_at)
      values (platform.tenant(), message->>'sku', change, new_quantity, message->>'reason', platform.clock());
      skus := skus || (message->>'sku');
    exception when sqlstate 'FC000' then -- undoes its inbox row too
      get stacked diagnostics refusal = message_text;
      refused := refused || jsonb_build_object('eventId', message->>'eventId', 'reason', refusal);
    end;
  end loop;
  return jsonb_build_object('skus', to_jsonb(skus), 'refused', refused);
end
$function$;
alter function inventory.apply_adjustments(jsonb,jsonb) owner to fusion_inventory;
revoke all on function inventory.apply_adjustments(jsonb,jsonb) from public;
grant execute on function inventory.apply_adjustments(jsonb,jsonb) to fusion_worker;

-- function: inventory.commit(character varying)
-- src/db/inventory/reservations.sql
CREATE OR REPLACE FUNCTION inventory.commit(order_id character varying)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
  reservation inventory.reservations;
begin
  with hold as (
    update inventory.reservations v set status = 'committed', expires_at = null
    where v.order_id = commit.order_id and v.status = (select 'held')
    returning v.skus, v.quantities
  ), locked as ( -- several SKUs are locked in their order, before the first of them is updated
    select from inventory.inventory i
    where i.tenant_id = tenant and i.sku = any((select h.skus from hold h where cardinality(h.skus) > 1)::text[])
    order by i.sku for update
  )
  -- No join, so that each SKU is looked up in the index, whatever row count the planner expects.
  update inventory.inventory i
  set reserved = i.reserved - (select h.quantities[array_position(h.skus, i.sku::text)] from hold h),
      version = platform.next_version(i.version), updated_at = now_at
  where i.tenant_id = tenant and i.sku = any((select h.skus from hold h)::text[]) and (select count(*) from locked) >= 0;
  if found then
    return true;
  end if;
  select * into reservation from inventory.reservations v
    where v.order_id = commit.order_id for update;
  if not found or reservation.status in ('pending', 'refused') then
    return false;
  end if;
  if reservation.status = 'committed' then
    return true;
  end if;
  if reservation.status = 'released' then
    if inventory.take(reservation.skus, reservation.quantities) is not null then
      return false;
    end if;
    update inventory.reservations v set status = 'held', expires_at = now_at where v.order_id = reservation.order_id;
    perform platform.emit('inventory.reserved', reservation.order_id, inventory.reserved_json(reservation.order_id), false);
  end if;
  return inventory.commit(order_id); -- it is held now, and locked
end
$function$;
alter function inventory.commit(character varying) owner to fusion_inventory;
revoke all on function inventory.commit(character varying) from public;
grant execute on function inventory.commit(character varying) to fusion_orders;

-- function: inventory.decide_forgotten(jsonb,jsonb)
-- src/db/inventory/deferred-reservations.sql
CREATE OR REPLACE FUNCTION inventory.decide_forgotten(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
declare
  share constant integer := greatest((input->>'limit')::int / 4, 1);
  idle_since timestamptz;
  excluded_ids text[];
  found_rows jsonb;
  tenant_rows jsonb;
  result jsonb;
  decided integer := 0;
  tenants jsonb := '[]';
begin
  perform platform.enter_as(call, '*');
  idle_since := platform.clock() - make_interval(secs => (input->>'idleSeconds')::int);
  -- A row that was set aside may have been decided in another way since.
  perform platform.clear_set_aside('decide-forgotten', array(
    select k from unnest(platform.keys_to_retry('decide-forgotten', 1000)) k
    where not exists (select from inventory.reservations r where r.order_id = k
      and (r.status = 'pending' or r.unheard))));
  excluded_ids := platform.keys_set_aside('decide-forgotten');
  select jsonb_agg(to_jsonb(g)) into found_rows from (
    select w.tenant_id as tenant, coalesce(array_agg(w.order_id) filter (where w.status = 'pending'), '{}') as pending,
      coalesce(array_agg(w.order_id) filter (where w.status = 'refused'), '{}') as refused
    from (
      select v.* from platform.tenants_with_rows('inventory.reservations', 'status = ''pending''') t(id)
        cross join lateral (
        select r.tenant_id, r.order_id, r.status from inventory.reservations r
        where r.tenant_id = t.id and r.status = 'pending' and r.created_at <= idle_since
          and r.order_id <> all(excluded_ids)
        order by r.created_at limit share) v
      union all
      select v.* from platform.tenants_with_rows('inventory.reservations', 'unheard') t(id) cross join lateral (
        select r.tenant_id, r.order_id, r.status from inventory.reservations r
        where r.tenant_id = t.id and r.unheard and r.created_at <= idle_since and r.order_id <> all(excluded_ids)
        order by r.created_at limit share) v
    ) w group by w.tenant_id order by w.tenant_id
  ) g;
  for tenant_rows in select jsonb_array_elements(found_rows) loop
    tenants := tenants || jsonb_build_object('tenant', tenant_rows->'tenant', 'skus', '[]'::jsonb,
      'refused', tenant_rows->'refused');
    for result in select jsonb_array_elements(platform.process_rows('decide-forgotten',
      'inventory.decide_forgotten_step', tenant_rows->>'tenant',
      array(select jsonb_array_elements_text(tenant_rows->'pending')), input))
    loop
      decided := decided + (result->>'decided')::int;
      tenants := tenants || jsonb_build_object('tenant', tenant_rows->'tenant', 'skus', result->'skus', 'refused',
        '[]'::jsonb);
    end loop;
  end loop;
  return jsonb_build_object('decided', decided, 'tenants', tenants);
end
$function$;
alter function inventory.decide_forgotten(jsonb,jsonb) owner to fusion_inventory;
revoke all on function inventory.decide_forgotten(jsonb,jsonb) from public;
grant execute on function inventory.decide_forgotten(jsonb,jsonb) to fusion_worker;

-- function: inventory.decide_forgotten_step(text[],jsonb)
-- src/db/inventory/deferred-reservations.sql
CREATE OR REPLACE FUNCTION inventory.decide_forgotten_step(order_ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select inventory.decide_holds(order_ids, '{}', (input->>'holdSeconds')::int)
$function$;
alter function inventory.decide_forgotten_step(text[],jsonb) owner to fusion_inventory;
revoke all on function inventory.decide_forgotten_step(text[],jsonb) from public;

-- function: inventory.decide_holds(text[],jsonb,integer)
-- src/db/inventory/deferred-reservations.sql
CREATE OR REPLACE FUNCTION inventory.decide_holds(order_ids text[], traces jsonb, hold_seconds integer)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  pending_ids text[];
  skus text[];
  units bigint[]; -- by SKU: what the batch needs, then what it gets
  refused jsonb; -- by order: the first SKU that is short
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
begin
  -- Lock order, as everywhere: reservations by order, then all stock of the batch by SKU.
  -- The status is read after the lock, not part of the search: with it, Postgres may read all pending holds.
  with locked as materialized (
    select v.order_id, v.skus, v.quantities, v.status from inventory.reservations v
    where v.order_id = any(order_ids) order by v.order_id for update
  ), pending as (
    select l.* from locked l where l.status = 'pending'
  ), needed as (
    select n.sku, sum(n.units) as units from pending p, unnest(p.skus, p.quantities) n(sku, units) group by n.sku
  )
  select array(select p.order_id from pending p order by p.order_id), array_agg(n.sku order by n.sku),
    array_agg(n.units order by n.sku)
  into pending_ids, skus, units from needed n;
  if cardinality(pending_ids) = 0 then
    return jsonb_build_object('decided', 0, 'skus', '[]'::jsonb);
  end if;

  select d.units, d.refused into units, refused from inventory.divide_stock(pending_ids, skus, units) d;
  update inventory.inventory i
  set quantity = i.quantity - t.units::int, reserved = i.reserved + t.units::int,
      version = platform.next_version(i.version), updated_at = now_at
  from unnest(skus, units) t(sku, units)
  where i.tenant_id = tenant and i.sku = any(skus) and i.sku = t.sku and t.units > 0;

  with decided as (
    update inventory.reservations v
    set status = case when refused ? v.order_id then 'refused' else 'held' end, unheard = refused ? v.order_id,
        expires_at = case when not refused ? v.order_id then now_at + make_interval(secs => coalesce(
          (select t.hold_seconds from platform.tenants t where t.id = tenant), decide_holds.hold_seconds)) end
    where v.order_id = any(pending_ids)
    returning v.order_id, refused->v.order_id as shortage
  ), new_events as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, case when d.shortage is null then 'inventory.reserved' else 'inventory.insufficient' end, d.order_id,
      case when d.shortage is null then inventory.reserved_json(d.order_id)
        else inventory.insufficient_json(d.order_id, d.shortage) end,
      traces->>d.order_id, now_at
    from decided d order by d.order_id
    returning seq, key
  )
  insert into platform.outbox (tenant_id, sink, seq, key, due_at)
  select tenant, s, e.seq, e.key, platform.due_now() from new_events e, unnest(platform.sinks_of(true)) s;
  return jsonb_build_object('decided', cardinality(pending_ids), 'skus',
    to_jsonb(array(select t.sku from unnest(skus, units) t(sku, units) where t.units > 0)));
end
$function$;
alter function inventory.decide_holds(text[],jsonb,integer) owner to fusion_inventory;
revoke all on function inventory.decide_holds(text[],jsonb,integer) from public;

-- function: inventory.divide_stock(text[],text[],bigint[])
-- src/db/inventory/deferred-reservations.sql
CREATE OR REPLACE FUNCTION inventory.divide_stock(order_ids text[], skus text[], needed bigint[], OUT units bigint[], OUT refused jsonb)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  available bigint[];
  reservation record;
  place integer;
  shortage jsonb;
begin
  with locked as materialized (
    select i.sku, i.quantity from inventory.inventory i
    where i.tenant_id = platform.tenant() and i.sku = any(divide_stock.skus) order by i.sku for update
  )
  select array_agg(coalesce(l.quantity, 0) order by s.place) into available
  from unnest(divide_stock.skus) with ordinality s(sku, place) left join locked l on l.sku = s.sku;
  units := needed;
  refused := '{}';
  if (select bool_and(n.needed <= n.available) from unnest(needed, available) n(needed, available)) then
    return;
  end if;
  -- Some order is short. A refused order takes nothing, so that a smaller one after it may get the units.
  units := array_fill(0::bigint, array[cardinality(skus)]);
  for reservation in
    select v.order_id, v.skus, v.quantities from inventory.reservations v
    where v.order_id = any(order_ids) order by v.order_id
  loop
    shortage := null;
    for line in 1..cardinality(reservation.skus) loop
      place := array_position(skus, reservation.skus[line]);
      if available[place] < reservation.quantities[line] then
        shortage := jsonb_build_object('sku', reservation.skus[line], 'requested', reservation.quantities[line],
          'available', available[place]);
        exit;
      end if;
    end loop;
    if shortage is not null then
      refused := refused || jsonb_build_object(reservation.order_id, shortage);
      continue;
    end if;
    for line in 1..cardinality(reservation.skus) loop
      place := array_position(skus, reservation.skus[line]);
      available[place] := available[place] - reservation.quantities[line];
      units[place] := units[place] + reservation.quantities[line];
    end loop;
  end loop;
end
$function$;
alter function inventory.divide_stock(text[],text[],bigint[]) owner to fusion_inventory;
revoke all on function inventory.divide_stock(text[],text[],bigint[]) from public;

-- function: inventory.due_holds(integer)
-- src/db/inventory/expired-holds.sql
CREATE OR REPLACE FUNCTION inventory.due_holds(most integer)
 RETURNS jsonb
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select inventory.pick_holds(most, false)
$function$;
alter function inventory.due_holds(integer) owner to fusion_inventory;
revoke all on function inventory.due_holds(integer) from public;
grant execute on function inventory.due_holds(integer) to fusion_orders;

-- function: inventory.emit_reserved(text[])
-- src/db/inventory/campaign-holds.sql
CREATE OR REPLACE FUNCTION inventory.emit_reserved(order_ids text[])
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select platform.emit('inventory.reserved', o, jsonb_build_object('orderId', o, 'status', 'reserved'), false)
  from unnest(order_ids) o order by o
$function$;
alter function inventory.emit_reserved(text[]) owner to fusion_inventory;
revoke all on function inventory.emit_reserved(text[]) from public;
grant execute on function inventory.emit_reserved(text[]) to fusion_group_commerce;

-- function: inventory.find_shortages(text[],integer[])
-- src/db/inventory/reservations.sql
CREATE OR REPLACE FUNCTION inventory.find_shortages(skus text[], quantities integer[])
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  shortages jsonb;
begin
  with locked as (
    select i.sku, i.quantity from inventory.inventory i
    where i.tenant_id = platform.tenant() and i.sku = any(skus) order by i.sku for update
  )
  select jsonb_agg(jsonb_build_object('sku', w.sku, 'requested', w.n, 'available', coalesce(l.quantity, 0))
    order by w.sku)
  into shortages
  from unnest(skus, quantities) w(sku, n) left join locked l on l.sku = w.sku
  where coalesce(l.quantity, 0) < w.n;
  return shortages;
end
$function$;
alter function inventory.find_shortages(text[],integer[]) owner to fusion_inventory;
revoke all on function inventory.find_shortages(text[],integer[]) from public;

-- function: inventory.hold_units(character varying,character varying,integer,timestamp with time zone)
-- src/db/inventory/campaign-holds.sql
CREATE OR REPLACE FUNCTION inventory.hold_units(order_id character varying, sku character varying, units integer, until timestamp with time zone)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
begin
  with taken as (
    update inventory.inventory i
    set quantity = i.quantity - units, reserved = i.reserved + units, version = platform.next_version(i.version),
        updated_at = now_at
    where i.tenant_id = tenant and i.sku = hold_units.sku and i.quantity >= units
    returning i.sku
  )
  insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
  select hold_units.order_id, tenant, array[t.sku], array[units], 'held', until, now_at from taken t;
  if found then
    return null;
  end if;
  -- Units that came back since are locked now, so the second attempt takes them.
  return coalesce(inventory.find_shortages(array[sku], array[units]), inventory.hold_units(order_id, sku, units, until));
end
$function$;
alter function inventory.hold_units(character varying,character varying,integer,timestamp with time zone) owner to fusion_inventory;
revoke all on function inventory.hold_units(character varying,character varying,integer,timestamp with time zone) from public;
grant execute on function inventory.hold_units(character varying,character varying,integer,timestamp with time zone) to fusion_group_commerce;

-- function: inventory.insufficient_json(character varying,jsonb)
-- src/db/inventory/reservations.sql
CREATE OR REPLACE FUNCTION inventory.insufficient_json(order_id character varying, shortage jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('orderId', order_id, 'status', 'insufficient', 'sku', shortage->'sku',
    'quantity', shortage->'requested')
$function$;
alter function inventory.insufficient_json(character varying,jsonb) owner to fusion_inventory;
revoke all on function inventory.insufficient_json(character varying,jsonb) from public;

-- function: inventory.is_count_allowed(bigint,integer,integer)
-- src/db/inventory/stock.sql
CREATE OR REPLACE FUNCTION inventory.is_count_allowed(new_count bigint, current_count integer, reserved integer)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select new_count <= coalesce(current_count, 0) or new_count + coalesce(reserved, 0) <= inventory.max_units()
$function$;
alter function inventory.is_count_allowed(bigint,integer,integer) owner to fusion_inventory;
revoke all on function inventory.is_count_allowed(bigint,integer,integer) from public;
grant execute on function inventory.is_count_allowed(bigint,integer,integer) to fusion_catalog;

-- function: inventory.is_held(character varying)
-- src/db/inventory/reservations.sql
CREATE OR REPLACE FUNCTION inventory.is_held(order_id character varying)
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select exists (select from inventory.reservations r
    where r.order_id = is_held.order_id and r.status = (select 'held'))
$function$;
alter function inventory.is_held(character varying) owner to fusion_inventory;
revoke all on function inventory.is_held(character varying) from public;
grant execute on function inventory.is_held(character varying) to fusion_payments;

-- function: inventory.keep_until(text[],timestamp with time zone)
-- src/db/inventory/campaign-holds.sql
CREATE OR REPLACE FUNCTION inventory.keep_until(order_ids text[], until timestamp with time zone)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  -- The status is read after the lock, not part of the search: with it, Postgres may read all holds of the tenant.
  with locked as materialized (
    select v.order_id, v.status from inventory.reservations v
    where v.order_id = any(order_ids) order by v.order_id for update
  )
  update inventory.reservations r set expires_at = until
  where r.order_id = any(array(select l.order_id from locked l where l.status = 'held'))
$function$;
alter function inventory.keep_until(text[],timestamp with time zone) owner to fusion_inventory;
revoke all on function inventory.keep_until(text[],timestamp with time zone) from public;
grant execute on function inventory.keep_until(text[],timestamp with time zone) to fusion_group_commerce, fusion_payments;

-- function: inventory.lock_due_holds(text[])
-- src/db/inventory/expired-holds.sql
CREATE OR REPLACE FUNCTION inventory.lock_due_holds(order_ids text[])
 RETURNS text[]
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  with locked as materialized (
    select r.order_id, r.status, r.expires_at from inventory.reservations r
    where r.order_id = any(order_ids) order by r.order_id for update
  )
  select coalesce(array_agg(l.order_id::text order by l.order_id), '{}') from locked l
  where l.status = 'held' and l.expires_at <= platform.clock()
$function$;
alter function inventory.lock_due_holds(text[]) owner to fusion_inventory;
revoke all on function inventory.lock_due_holds(text[]) from public;
grant execute on function inventory.lock_due_holds(text[]) to fusion_orders;

-- function: inventory.lock_hold(character varying)
-- src/db/inventory/stock.sql
CREATE OR REPLACE FUNCTION inventory.lock_hold(order_id character varying)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select 1 from inventory.reservations r
  where r.order_id = lock_hold.order_id for update
$function$;
alter function inventory.lock_hold(character varying) owner to fusion_inventory;
revoke all on function inventory.lock_hold(character varying) from public;
grant execute on function inventory.lock_hold(character varying) to fusion_orders;

-- function: inventory.lock_holds(text[])
-- src/db/inventory/stock.sql
CREATE OR REPLACE FUNCTION inventory.lock_holds(order_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if cardinality(order_ids) = 0 then
    return;
  end if;
  perform 1 from inventory.reservations r
    where r.order_id = any(order_ids) order by r.order_id for update;
  perform 1 from inventory.inventory i
    where i.tenant_id = platform.tenant() and i.sku = any(array(
      select distinct s from inventory.reservations r, unnest(r.skus) s
      where r.order_id = any(order_ids)))
    order by i.sku for update;
end
$function$;
alter function inventory.lock_holds(text[]) owner to fusion_inventory;
revoke all on function inventory.lock_holds(text[]) from public;
grant execute on function inventory.lock_holds(text[]) to fusion_group_commerce, fusion_payments;

-- function: inventory.mark_orders_informed(text[])
-- src/db/inventory/deferred-reservations.sql
CREATE OR REPLACE FUNCTION inventory.mark_orders_informed(order_ids text[])
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  with locked as materialized (
    select v.order_id, v.unheard from inventory.reservations v
    where v.order_id = any(order_ids) order by v.order_id for update
  )
  update inventory.reservations r set unheard = false
  where r.order_id = any(array(select l.order_id from locked l where l.unheard))
$function$;
alter function inventory.mark_orders_informed(text[]) owner to fusion_inventory;
revoke all on function inventory.mark_orders_informed(text[]) from public;
grant execute on function inventory.mark_orders_informed(text[]) to fusion_orders;

-- function: inventory.max_units()
-- src/db/inventory/stock.sql
CREATE OR REPLACE FUNCTION inventory.max_units()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE
AS $function$ select 1000000000 $function$;
alter function inventory.max_units() owner to fusion_inventory;
revoke all on function inventory.max_units() from public;
grant execute on function inventory.max_units() to fusion_catalog;

-- function: inventory.pick_holds(integer,boolean)
-- src/db/inventory/expired-holds.sql
CREATE OR REPLACE FUNCTION inventory.pick_holds(most integer, undecided boolean)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  due jsonb;
  excluded_ids text[];
begin
  perform platform.act_as('*');
  if not undecided then -- a row that was set aside may have ended in another way since
    perform platform.clear_set_aside('expire-holds', array(
      select k from unnest(platform.keys_to_retry('expire-holds', 1000)) k
      where not exists (select from inventory.reservations r where r.order_id = k and r.status = 'held')));
  end if;
  excluded_ids := case when undecided then '{}' else platform.keys_set_aside('expire-holds')
    || payments.orders_set_aside() end;
  select coalesce(jsonb_agg(jsonb_build_object('tenant', d.tenant_id, 'orders', d.orders) order by d.tenant_id), '[]')
  into due
  from (
    select r.tenant_id, array_agg(r.order_id order by r.order_id) as orders
    from (
      select h.tenant_id, h.order_id
      from platform.tenants_with_rows('inventory.reservations', 'status = ''held''') t(id)
      cross join lateral (
        select w.*, row_number() over (order by w.expires_at) as turn
        from (
          -- Bounded, because any number of holds can wait while Stripe is unavailable.
          select v.tenant_id, v.order_id, v.expires_at from inventory.reservations v
          where v.tenant_id = t.id and v.status = 'held' and v.expires_at <= platform.clock()
            and v.order_id <> all(excluded_ids)
          order by v.expires_at limit 10 * most
        ) w
        where undecided = payments.awaits_stripe(w.order_id, w.expires_at)
        limit most
      ) h
      order by h.turn, h.expires_at limit most
    ) r group by r.tenant_id
  ) d;
  return due;
end
$function$;
alter function inventory.pick_holds(integer,boolean) owner to fusion_inventory;
revoke all on function inventory.pick_holds(integer,boolean) from public;

-- function: inventory.put_back(text[],integer[])
-- src/db/inventory/restocks.sql
CREATE OR REPLACE FUNCTION inventory.put_back(of_skus text[], units integer[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform 1 from inventory.inventory i where i.tenant_id = platform.tenant() and i.sku = any(of_skus)
    order by i.sku for update;
  insert into inventory.adjustments (tenant_id, sku, delta, quantity, reason, created_at)
  select i.tenant_id, i.sku, (2147483647 - i.reserved - i.quantity::bigint - w.n)::int, 2147483647 - i.reserved,
    'returned above the largest count', platform.clock()
  from unnest(of_skus, units) w(sku, n)
  join inventory.inventory i on i.tenant_id = platform.tenant() and i.sku = any(of_skus) and i.sku = w.sku
  where i.quantity::bigint + i.reserved + w.n > 2147483647;
  update inventory.inventory i
  set quantity = least(i.quantity::bigint + w.n, 2147483647 - i.reserved),
      version = platform.next_version(i.version), updated_at = platform.clock()
  from unnest(of_skus, units) w(sku, n)
  where i.tenant_id = platform.tenant() and i.sku = any(of_skus) and i.sku = w.sku and w.n > 0;
end
$function$;
alter function inventory.put_back(text[],integer[]) owner to fusion_inventory;
revoke all on function inventory.put_back(text[],integer[]) from public;

-- function: inventory.recommit(character varying,text[],integer[])
-- src/db/inventory/restocks.sql
CREATE OR REPLACE FUNCTION inventory.recommit(order_id character varying, back_skus text[], back_units integer[])
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  reservation inventory.reservations;
  missing integer[];
begin
  select * into reservation from inventory.reservations v where v.order_id = recommit.order_id for update;
  if reservation.status is distinct from 'released' then
    return coalesce(reservation.status = 'committed', false);
  end if;
  reservation.restocked := coalesce(reservation.restocked, reservation.quantities);
  missing := inventory.add_units(reservation.restocked, reservation.skus, back_skus,
    array(select -u.n from unnest(back_units) with ordinality u(n, ord) order by u.ord));
  if inventory.find_shortages(reservation.skus, missing) is not null then
    return false;
  end if;
  update inventory.inventory i
  set quantity = i.quantity - w.n, version = platform.next_version(i.version), updated_at = platform.clock()
  from unnest(reservation.skus, missing) w(sku, n)
  where i.tenant_id = platform.tenant() and i.sku = any(reservation.skus) and i.sku = w.sku and w.n > 0;
  update inventory.reservations v
  set status = 'committed', expires_at = null,
      restocked = nullif(inventory.add_units(null, v.skus, back_skus, back_units), array_fill(0, array[cardinality(v.skus)]))
  where v.order_id = reservation.order_id;
  perform platform.emit('inventory.reserved', reservation.order_id, inventory.reserved_json(reservation.order_id), false);
  return true;
end
$function$;
alter function inventory.recommit(character varying,text[],integer[]) owner to fusion_inventory;
revoke all on function inventory.recommit(character varying,text[],integer[]) from public;
grant execute on function inventory.recommit(character varying,text[],integer[]) to fusion_orders;

-- function: inventory.release(text[],text)
-- src/db/inventory/reservations.sql
CREATE OR REPLACE FUNCTION inventory.release(order_ids text[], reason text)
 RETURNS text[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  skus text[];
  ended_ids text[];
  released_ids text[];
begin
  -- The status is read after the lock, not part of the search: with it, Postgres may read all holds of the tenant.
  with locked as materialized (
    select r.order_id, r.skus, r.status from inventory.reservations r
    where r.order_id = any(order_ids) order by r.order_id for update
  )
  select coalesce(array_agg(l.order_id) filter (where l.status in ('pending', 'held')), '{}'),
    coalesce(array_agg(l.order_id) filter (where l.status = 'held'), '{}'),
    array(select distinct s from locked h, unnest(h.skus) s where h.status = 'held')
  into ended_ids, released_ids, skus from locked l;
  update inventory.reservations r set status = 'released', expires_at = null where r.order_id = any(ended_ids);
  if cardinality(released_ids) = 0 then
    return skus;
  end if;
  perform 1 from inventory.inventory i where i.tenant_id = platform.tenant() and i.sku = any(skus)
    order by i.sku for update;
  update inventory.inventory i
  set quantity = i.quantity + w.n, reserved = i.reserved - w.n, version = platform.next_version(i.version),
      updated_at = platform.clock()
  from (
    select s.sku, sum(s.n)::int as n from inventory.reservations r, unnest(r.skus, r.quantities) s(sku, n)
    where r.order_id = any(released_ids) group by s.sku
  ) w
  where i.tenant_id = platform.tenant() and i.sku = any(skus) and i.sku = w.sku;
  perform platform.emit('inventory.released', o,
    jsonb_build_object('orderId', o, 'status', 'released', 'reason', reason),
    false) from unnest(released_ids) o order by o;
  return skus;
end
$function$;
alter function inventory.release(text[],text) owner to fusion_inventory;
revoke all on function inventory.release(text[],text) from public;
grant execute on function inventory.release(text[],text) to fusion_group_commerce, fusion_orders;

-- function: inventory.report_low_stock()
-- src/db/inventory/low-stock.sql
CREATE OR REPLACE FUNCTION inventory.report_low_stock()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform platform.emit('inventory.low', new.sku, jsonb_build_object('sku', new.sku, 'quantity', new.quantity,
    'lowStockThreshold', new.low_threshold), false);
  return null;
end
$function$;
alter function inventory.report_low_stock() owner to fusion_inventory;
revoke all on function inventory.report_low_stock() from public;

-- function: inventory.reserve(character varying,text[],integer[],timestamp with time zone,boolean)
-- src/db/inventory/reservations.sql
CREATE OR REPLACE FUNCTION inventory.reserve(order_id character varying, skus text[], quantities integer[], held_until timestamp with time zone, needs_payment boolean)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  shortages jsonb := case when cardinality(skus) > 1 then inventory.find_shortages(skus, quantities) end;
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
begin
  if shortages is null then
    with taken as (
      update inventory.inventory i
      set quantity = i.quantity - w.n, reserved = i.reserved + w.n, version = platform.next_version(i.version),
          updated_at = now_at
      from unnest(skus, quantities) w(sku, n)
      where i.tenant_id = tenant and i.sku = any(skus) and i.sku = w.sku and i.quantity >= w.n
      returning i.sku
    ), hold as (
      insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
      select reserve.order_id, tenant, reserve.skus, reserve.quantities, 'held', held_until, now_at from taken limit 1
    ), event as (
      insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
      select tenant, 'inventory.reserved', reserve.order_id, inventory.reserved_json(reserve.order_id), platform.trace(),
        now_at
      from taken limit 1
      returning seq
    )
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, reserve.order_id, platform.due_now() from event e, unnest(platform.sinks_of(needs_payment)) s;
    if found then
      return null;
    end if;
    shortages := inventory.find_shortages(skus, quantities);
    if shortages is null then -- units came back since, and are locked now
      return inventory.reserve(order_id, skus, quantities, held_until, needs_payment);
    end if;
  end if;
  insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, created_at)
  values (reserve.order_id, tenant, reserve.skus, reserve.quantities, 'refused', now_at);
  perform platform.emit('inventory.insufficient', order_id, inventory.insufficient_json(order_id, shortages->0), false);
  return shortages;
end
$function$;
alter function inventory.reserve(character varying,text[],integer[],timestamp with time zone,boolean) owner to fusion_inventory;
revoke all on function inventory.reserve(character varying,text[],integer[],timestamp with time zone,boolean) from public;
grant execute on function inventory.reserve(character varying,text[],integer[],timestamp with time zone,boolean) to fusion_orders;

-- function: inventory.reserve_orders(jsonb,jsonb)
-- src/db/inventory/deferred-reservations.sql
CREATE OR REPLACE FUNCTION inventory.reserve_orders(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  new_event_ids text[];
  ids text[];
  traces jsonb;
begin
  perform platform.enter_as(call, input->>'tenant');
  new_event_ids := platform.claim_new_events('inventory',
    array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  select coalesce(array_agg(m->>'orderId'), '{}'), coalesce(jsonb_object_agg(m->>'orderId', m->>'traceparent'), '{}')
  into ids, traces
  from jsonb_array_elements(input->'messages') m where m->>'eventId' = any(new_event_ids);
  return inventory.decide_holds(ids, traces, (input->>'holdSeconds')::int);
end
$function$;
alter function inventory.reserve_orders(jsonb,jsonb) owner to fusion_inventory;
revoke all on function inventory.reserve_orders(jsonb,jsonb) from public;
grant execute on function inventory.reserve_orders(jsonb,jsonb) to fusion_worker;

-- function: inventory.reserved_json(character varying)
-- src/db/inventory/reservations.sql
CREATE OR REPLACE FUNCTION inventory.reserved_json(order_id character varying)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('orderId', order_id, 'status', 'reserved')
$function$;
alter function inventory.reserved_json(character varying) owner to fusion_inventory;
revoke all on function inventory.reserved_json(character varying) from public;

-- function: inventory.restock_rest(character varying,text,text[],integer[])
-- src/db/inventory/restocks.sql
CREATE OR REPLACE FUNCTION inventory.restock_rest(order_id character varying, reason text, kept_skus text[] DEFAULT '{}'::text[], kept_units integer[] DEFAULT '{}'::integer[])
 RETURNS text[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  reservation inventory.reservations;
  wanted integer[];
begin
  select * into reservation from inventory.reservations v
    where v.order_id = restock_rest.order_id and v.status = 'committed' for update;
  if not found then
    return '{}';
  end if;
  wanted := inventory.add_units(reservation.quantities, reservation.skus, kept_skus,
    array(select -u.n from unnest(kept_units) with ordinality u(n, ord) order by u.ord));
  update inventory.reservations v set status = 'released', restocked = wanted where v.order_id = reservation.order_id;
  perform inventory.put_back(reservation.skus, array(
    select w.n - coalesce(reservation.restocked[w.place], 0) from unnest(wanted) with ordinality w(n, place) order by w.place));
  perform platform.emit('inventory.released', reservation.order_id,
    jsonb_build_object('orderId', reservation.order_id, 'status', 'released', 'reason', reason), false);
  return array(select w.sku from unnest(reservation.skus, wanted) w(sku, n) where w.n > 0);
end
$function$;
alter function inventory.restock_rest(character varying,text,text[],integer[]) owner to fusion_inventory;
revoke all on function inventory.restock_rest(character varying,text,text[],integer[]) from public;
grant execute on function inventory.restock_rest(character varying,text,text[],integer[]) to fusion_orders;

-- function: inventory.restock_units(character varying,text[],integer[])
-- src/db/inventory/restocks.sql
CREATE OR REPLACE FUNCTION inventory.restock_units(order_id character varying, of_skus text[], units integer[])
 RETURNS text[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  update inventory.reservations v
  set restocked = inventory.add_units(v.restocked, v.skus, of_skus, units)
  where v.order_id = restock_units.order_id and v.status = 'committed' and cardinality(of_skus) > 0;
  if not found then
    return '{}';
  end if;
  perform inventory.put_back(of_skus, units);
  return of_skus;
end
$function$;
alter function inventory.restock_units(character varying,text[],integer[]) owner to fusion_inventory;
revoke all on function inventory.restock_units(character varying,text[],integer[]) from public;
grant execute on function inventory.restock_units(character varying,text[],integer[]) to fusion_orders;

-- function: inventory.set_stock(jsonb,jsonb)
-- src/db/inventory/stock.sql
CREATE OR REPLACE FUNCTION inventory.set_stock(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'inventory:write', 'inventory.set');
  stock inventory.inventory;
  old_quantity integer;
begin
  if replay is not null then
    return replay;
  end if;
  select * into stock from inventory.inventory s
    where s.tenant_id = platform.tenant() and s.sku = input->>'sku' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not input->'ifMatch' @> to_jsonb(stock.version) then
    perform platform.fail('version_mismatch');
  end if;
  if not inventory.is_count_allowed((input->>'quantity')::bigint, stock.quantity, stock.reserved) then
    return platform.leave(call, 'inventory.set', inventory.too_many_units_error('/quantity'));
  end if;
  old_quantity := stock.quantity;
  update inventory.inventory s
  set quantity = coalesce((input->>'quantity')::int, s.quantity), version = platform.next_version(s.version),
      low_threshold = case when input ? 'lowStockThreshold' then (input->>'lowStockThreshold')::int
        else s.low_threshold end, updated_at = platform.clock()
  where s.tenant_id = stock.tenant_id and s.sku = stock.sku
  returning * into stock;
  insert into inventory.adjustments (tenant_id, sku, delta, quantity, reason, created_at)
  select stock.tenant_id, stock.sku, stock.quantity - old_quantity, stock.quantity, 'count', platform.clock()
    where stock.quantity <> old_quantity;
  return platform.leave(call, 'inventory.set', inventory.stock_json(stock));
end
$function$;
alter function inventory.set_stock(jsonb,jsonb) owner to fusion_inventory;
revoke all on function inventory.set_stock(jsonb,jsonb) from public;
grant execute on function inventory.set_stock(jsonb,jsonb) to fusion_worker;

-- function: inventory.stock_json(inventory.inventory)
-- src/db/inventory/stock.sql
CREATE OR REPLACE FUNCTION inventory.stock_json(i inventory.inventory)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('sku', i.sku, 'quantity', i.quantity, 'reserved', i.reserved, 'version', i.version,
    'lowStockThreshold', i.low_threshold, 'updatedAt', platform.iso(i.updated_at))
$function$;
alter function inventory.stock_json(inventory.inventory) owner to fusion_inventory;
revoke all on function inventory.stock_json(inventory.inventory) from public;
grant execute on function inventory.stock_json(inventory.inventory) to fusion_reader;

-- function: inventory.take(text[],integer[])
-- src/db/inventory/reservations.sql
CREATE OR REPLACE FUNCTION inventory.take(skus text[], quantities integer[])
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  shortages jsonb := case when cardinality(skus) > 1 then inventory.find_shortages(skus, quantities) end;
begin
  if shortages is null then
    update inventory.inventory i
    set quantity = i.quantity - w.n, reserved = i.reserved + w.n, version = platform.next_version(i.version),
        updated_at = platform.clock()
    from unnest(skus, quantities) w(sku, n)
    where i.tenant_id = platform.tenant() and i.sku = any(skus) and i.sku = w.sku and i.quantity >= w.n;
    if found then
      return null;
    end if;
    -- Units that came back since are locked now, so the second attempt takes them.
    return coalesce(inventory.find_shortages(skus, quantities), inventory.take(skus, quantities));
  end if;
  return shortages;
end
$function$;
alter function inventory.take(text[],integer[]) owner to fusion_inventory;
revoke all on function inventory.take(text[],integer[]) from public;

-- function: inventory.take_restocked(character varying,text[],integer[])
-- src/db/inventory/restocks.sql
CREATE OR REPLACE FUNCTION inventory.take_restocked(order_id character varying, of_skus text[], units integer[])
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  reservation inventory.reservations;
begin
  select * into reservation from inventory.reservations v where v.order_id = take_restocked.order_id for update;
  if reservation.status is distinct from 'committed' or cardinality(of_skus) = 0 then
    return true;
  end if;
  if inventory.find_shortages(of_skus, units) is not null then
    return false;
  end if;
  update inventory.inventory i
  set quantity = i.quantity - w.n, version = platform.next_version(i.version), updated_at = platform.clock()
  from unnest(of_skus, units) w(sku, n)
  where i.tenant_id = platform.tenant() and i.sku = any(of_skus) and i.sku = w.sku;
  update inventory.reservations v
  set restocked = inventory.add_units(v.restocked, v.skus, of_skus, array(select -u.n from unnest(units) with ordinality u(n, ord) order by u.ord))
  where v.order_id = reservation.order_id;
  return true;
end
$function$;
alter function inventory.take_restocked(character varying,text[],integer[]) owner to fusion_inventory;
revoke all on function inventory.take_restocked(character varying,text[],integer[]) from public;
grant execute on function inventory.take_restocked(character varying,text[],integer[]) to fusion_orders;

-- function: inventory.too_many_units_error(text)
-- src/db/inventory/stock.sql
CREATE OR REPLACE FUNCTION inventory.too_many_units_error(pointer text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('error', 'validation_failed',
    'errors', jsonb_build_array(jsonb_build_object('pointer', pointer,
    'detail', format('The count, with the units that orders hold, must not exceed %s.', inventory.max_units()))))
$function$;
alter function inventory.too_many_units_error(text) owner to fusion_inventory;
revoke all on function inventory.too_many_units_error(text) from public;

-- function: inventory.undecided_holds(integer)
-- src/db/inventory/expired-holds.sql
CREATE OR REPLACE FUNCTION inventory.undecided_holds(most integer)
 RETURNS jsonb
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select inventory.pick_holds(most, true)
$function$;
alter function inventory.undecided_holds(integer) owner to fusion_inventory;
revoke all on function inventory.undecided_holds(integer) from public;
grant execute on function inventory.undecided_holds(integer) to fusion_payments;

-- function: inventory.units_within(integer[],integer[])
-- src/db/inventory/restocks.sql
CREATE OR REPLACE FUNCTION inventory.units_within(counts integer[], limits integer[])
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
begin
  return cardinality(counts) = cardinality(limits)
    and not exists (select from unnest(counts, limits) u(n, most) where (u.n between 0 and u.most) is not true);
end
$function$;
alter function inventory.units_within(integer[],integer[]) owner to fusion_inventory;
revoke all on function inventory.units_within(integer[],integer[]) from public;

-- function: inventory.upsert_stock(text[],integer[])
-- src/db/inventory/stock.sql
CREATE OR REPLACE FUNCTION inventory.upsert_stock(skus text[], quantities integer[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform 1 from inventory.inventory i where i.tenant_id = platform.tenant() and i.sku = any(skus)
    order by i.sku for update;
  insert into inventory.adjustments (tenant_id, sku, delta, quantity, reason, created_at)
  select platform.tenant(), w.sku, w.quantity - coalesce(i.quantity, 0), w.quantity, 'opening', platform.clock()
  from unnest(skus, quantities) w(sku, quantity)
  left join inventory.inventory i on i.tenant_id = platform.tenant() and i.sku = any(skus) and i.sku = w.sku
  where w.quantity <> coalesce(i.quantity, 0);
  insert into inventory.inventory as i (sku, tenant_id, quantity, updated_at)
  select w.sku, platform.tenant(), w.quantity, platform.clock() from unnest(skus, quantities) w(sku, quantity)
  order by w.sku
  on conflict (sku, tenant_id) do update
    set quantity = excluded.quantity, version = platform.next_version(i.version), updated_at = excluded.updated_at
    where i.quantity <> excluded.quantity;
end
$function$;
alter function inventory.upsert_stock(text[],integer[]) owner to fusion_inventory;
revoke all on function inventory.upsert_stock(text[],integer[]) from public;
grant execute on function inventory.upsert_stock(text[],integer[]) to fusion_catalog;

-- function: orders.add_amounts(numeric[],integer,jsonb,integer)
-- src/db/orders/refund-amounts.sql
CREATE OR REPLACE FUNCTION orders.add_amounts(amounts numeric[], line_count integer, items jsonb, sign integer)
 RETURNS numeric[]
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select array_agg(coalesce(amounts[l.place], 0) + sign * coalesce(w.amount, 0) order by l.place)
  from generate_series(1, line_count) l(place) left join (
    select (i->>'lineId')::int as place, sum((i->>'amount')::numeric) as amount from jsonb_array_elements(items) i group by 1
  ) w on w.place = l.place
$function$;
alter function orders.add_amounts(numeric[],integer,jsonb,integer) owner to fusion_orders;
revoke all on function orders.add_amounts(numeric[],integer,jsonb,integer) from public;

-- function: orders.add_order(jsonb,jsonb,numeric,character varying,jsonb,boolean)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.add_order(input jsonb, items jsonb, total numeric, currency character varying, amounts jsonb, deferred boolean, OUT answer jsonb, OUT held_until timestamp with time zone)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
declare
  order_id constant varchar := input->>'id';
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
begin
  with new_order as (
    insert into orders.orders (id, customer_id, items, total, currency, status, tenant_id, organization_id,
      purchase_order_number, shipping_address, created_at, updated_at, email, metadata, billing_address, cart_id, source,
      subtotal, discount_total, shipping_total, shipping_tax, tax_total, tax_included, tax_lines, discounts,
      shipping_option, lines, tax_calculation)
    values (order_id, input->>'customerId', add_order.items, add_order.total, add_order.currency,
      'created', tenant, input->>'organizationId', input->>'purchaseOrderNumber',
      nullif(input->'shippingAddress', 'null'), now_at, now_at, input->>'email', nullif(input->'metadata', 'null'),
      nullif(input->'billingAddress', 'null'), input->>'cartId', nullif(input->'source', 'null'),
      (amounts->>'subtotal')::numeric, (amounts->>'discount')::numeric,
      (amounts->>'shipping')::numeric, (amounts->>'shippingTax')::numeric, (amounts->>'tax')::numeric,
      (amounts->>'taxIncluded')::boolean, amounts->'taxLines', amounts->'discounts',
      nullif(amounts->'shippingOption', 'null'), amounts->'lines', amounts->>'taxCalculation')
    returning *
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'order.created', order_id, orders.created_json(o), platform.trace(), now_at from new_order o
    returning seq
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, order_id, platform.due_now() from event e, unnest(platform.sinks_of(deferred)) s
  )
  select orders.order_json(o, case when not deferred then
    jsonb_build_object('status', 'held', 'expiresAt', platform.iso(hold.until)) end), hold.until
  into answer, held_until
  from new_order o, (select now_at + make_interval(secs => coalesce(
    (select t.hold_seconds from platform.tenants t where t.id = tenant), (input->>'holdSeconds')::int)) as until) hold;
end
$function$;
alter function orders.add_order(jsonb,jsonb,numeric,character varying,jsonb,boolean) owner to fusion_orders;
revoke all on function orders.add_order(jsonb,jsonb,numeric,character varying,jsonb,boolean) from public;

-- function: orders.add_taxes(numeric[],integer[],jsonb,boolean,numeric)
-- src/db/orders/totals.sql
CREATE OR REPLACE FUNCTION orders.add_taxes(amounts numeric[], places integer[], rates jsonb, included boolean, unit numeric, OUT taxes numeric[], OUT tax_lines jsonb)
 RETURNS record
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
declare
  parts numeric[];
  weights numeric[];
  taxable numeric;
  tax numeric;
  percent numeric;
begin
  taxes := array_fill(0 * unit, array[cardinality(amounts)]);
  tax_lines := '[]';
  for place in 0..jsonb_array_length(rates) - 1 loop
    continue when array_position(places, place) is null;
    weights := amounts;
    taxable := 0 * unit;
    for n in 1..cardinality(amounts) loop
      if places[n] = place then
        taxable := taxable + amounts[n];
      else
        weights[n] := 0;
      end if;
    end loop;
    percent := rates->place->>'rate';
    tax := orders.fraction(taxable, percent, 100 + case when included then percent else 0 end, unit);
    parts := orders.allocate(tax, weights, unit);
    for n in 1..cardinality(amounts) loop
      taxes[n] := taxes[n] + parts[n];
    end loop;
    tax_lines := tax_lines || jsonb_build_object('name', rates->place->'name', 'rate', trim_scale(percent),
      'taxable', taxable - case when included then tax else 0 end, 'amount', tax);
  end loop;
  if jsonb_array_length(tax_lines) > 1 then
    tax_lines := (select jsonb_agg(t.line order by t.line->>'name' collate "C", (t.line->>'rate')::numeric, t.n)
      from jsonb_array_elements(tax_lines) with ordinality t(line, n));
  end if;
end
$function$;
alter function orders.add_taxes(numeric[],integer[],jsonb,boolean,numeric) owner to fusion_orders;
revoke all on function orders.add_taxes(numeric[],integer[],jsonb,boolean,numeric) from public;

-- function: orders.add_unit_lists(integer[],integer[])
-- src/db/orders/fulfilment.sql
CREATE OR REPLACE FUNCTION orders.add_unit_lists(a integer[], b integer[])
 RETURNS integer[]
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select array(select coalesce(x, 0) + coalesce(y, 0) from unnest(a, b) with ordinality u(x, y, n) order by n)
$function$;
alter function orders.add_unit_lists(integer[],integer[]) owner to fusion_orders;
revoke all on function orders.add_unit_lists(integer[],integer[]) from public;

-- function: orders.add_units(integer[],integer,jsonb,text,integer)
-- src/db/orders/refund-amounts.sql
CREATE OR REPLACE FUNCTION orders.add_units(counts integer[], line_count integer, items jsonb, field text, sign integer)
 RETURNS integer[]
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select array_agg(coalesce(counts[l.place], 0) + sign * coalesce(w.units, 0) order by l.place)
  from generate_series(1, line_count) l(place) left join (
    select (i->>'lineId')::int as place, sum((i->>field)::int)::int as units from jsonb_array_elements(items) i group by 1
  ) w on w.place = l.place
$function$;
alter function orders.add_units(integer[],integer,jsonb,text,integer) owner to fusion_orders;
revoke all on function orders.add_units(integer[],integer,jsonb,text,integer) from public;

-- function: orders.allocate(numeric,numeric[],numeric)
-- src/db/orders/totals.sql
CREATE OR REPLACE FUNCTION orders.allocate(amount numeric, weights numeric[], unit numeric)
 RETURNS numeric[]
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
declare
  parts numeric[] := weights;
  remainders numeric[] := weights;
  whole numeric := 0;
  missing numeric := amount; -- what the parts do not have yet
  place integer;
begin
  for n in 1..cardinality(weights) loop
    whole := whole + weights[n];
  end loop;
  if whole = 0 or amount = 0 then
    return array_fill(0 * unit, array[cardinality(weights)]);
  end if;
  for n in 1..cardinality(weights) loop
    parts[n] := div(amount * weights[n], whole * unit) * unit;
    remainders[n] := amount * weights[n] - parts[n] * whole;
    missing := missing - parts[n];
  end loop;
  if missing > 0 then
    for place in
      select r.n from unnest(remainders) with ordinality r(remainder, n) order by r.remainder desc, r.n
      limit div(missing, unit)
    loop
      parts[place] := parts[place] + unit;
    end loop;
  end if;
  return parts;
end
$function$;
alter function orders.allocate(numeric,numeric[],numeric) owner to fusion_orders;
revoke all on function orders.allocate(numeric,numeric[],numeric) from public;

-- function: orders.amounts_agree(orders.orders)
-- src/db/orders/amounts-agree.sql
CREATE OR REPLACE FUNCTION orders.amounts_agree(o orders.orders)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
begin
  return coalesce((o.subtotal is null) = (o.lines is null)
    and (o.lines is null or o.total = o.subtotal - o.discount_total + o.shipping_total
        + case when o.tax_included then 0 else o.tax_total end
      and orders.lines_agree(o.lines, o.subtotal, o.discount_total, o.tax_total, o.shipping_tax, o.tax_included, o.tax_lines))
    and orders.refunds_within(o.items, o.lines, o.refunded_quantities, o.refunded_amounts, o.restocked_quantities,
      o.returned_quantities, o.shipping_refunded,
      o.shipping_total + case when o.tax_included then 0 else o.shipping_tax end)
    and 0 <= all (coalesce(o.fulfilled_quantities, '{}')), false);
end
$function$;
alter function orders.amounts_agree(orders.orders) owner to fusion_orders;
revoke all on function orders.amounts_agree(orders.orders) from public;

-- function: orders.amounts_fault(jsonb,character varying)
-- src/db/orders/totals.sql
CREATE OR REPLACE FUNCTION orders.amounts_fault(amounts jsonb, currency character varying)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select case
    when (amounts->>'subtotal')::numeric >= 100000000 then
      format('The subtotal of %s %s is too much: it must be below 100000000.', amounts->>'subtotal', currency)
    when not platform.is_chargeable((amounts->>'total')::numeric, currency) then
      platform.charge_fault((amounts->>'total')::numeric, currency) end
$function$;
alter function orders.amounts_fault(jsonb,character varying) owner to fusion_orders;
revoke all on function orders.amounts_fault(jsonb,character varying) from public;

-- function: orders.amounts_within(numeric[],jsonb,jsonb)
-- src/db/orders/refund-amounts.sql
CREATE OR REPLACE FUNCTION orders.amounts_within(amounts numeric[], items jsonb, lines jsonb)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
begin
  return cardinality(amounts) = jsonb_array_length(items) and not exists (
    select from jsonb_array_elements(items) with ordinality i(item, place)
    where (amounts[i.place] between 0 and coalesce((lines->(i.place::int - 1)->>'total')::numeric,
      (i.item->>'quantity')::numeric * (i.item->>'price')::numeric)) is not true);
end
$function$;
alter function orders.amounts_within(numeric[],jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.amounts_within(numeric[],jsonb,jsonb) from public;

-- function: orders.apply_taxes(jsonb,jsonb,character varying)
-- src/db/orders/tax-quotes.sql
CREATE OR REPLACE FUNCTION orders.apply_taxes(totals jsonb, quote jsonb, currency character varying)
 RETURNS jsonb
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  decimals constant integer := platform.currency_decimals(currency);
  shipping_tax constant numeric := round(coalesce((quote->>'shipping')::numeric, 0), decimals);
  included constant boolean := (totals->>'taxIncluded')::boolean;
  named constant jsonb := coalesce(nullif(quote->'taxLines', '[]'), '[{"name": "Tax", "rate": 0, "taxable": 0, "amount": 0}]');
  lines jsonb;
  tax numeric;
  weights numeric[];
  shares numeric[];
begin
  select jsonb_agg(l.line || jsonb_build_object('tax', l.tax,
      'total', (l.line->>'total')::numeric + case when included then 0 else l.tax end) order by l.ord),
    shipping_tax + sum(l.tax)
  into lines, tax
  from (
    select a.line, a.ord, round(coalesce((q.answer->>'amount')::numeric, 0), decimals) as tax
    from jsonb_array_elements(totals->'lines') with ordinality a(line, ord)
    left join jsonb_array_elements(quote->'lines') q(answer) on q.answer->'id' = a.line->'id'
  ) l;
  weights := array(select (t->>'amount')::numeric from jsonb_array_elements(named) with ordinality e(t, ord) order by ord);
  if (select sum(w) from unnest(weights) w) = 0 then
    weights[1] := 1;
  end if;
  shares := orders.allocate(tax, weights, case decimals when 0 then 1 else 0.01 end);
  return totals || jsonb_build_object('lines', lines, 'tax', tax, 'shippingTax', shipping_tax,
    'total', (totals->>'total')::numeric + case when included then 0 else tax end,
    'taxCalculation', quote->'calculationId',
    'taxLines', (select coalesce(jsonb_agg(t || jsonb_build_object('rate', trim_scale((t->>'rate')::numeric),
        'taxable', round((t->>'taxable')::numeric, decimals), 'amount', shares[ord]) order by ord), '[]')
      from jsonb_array_elements(named) with ordinality e(t, ord)
      where quote->'taxLines' <> '[]' or shares[ord] > 0));
end
$function$;
alter function orders.apply_taxes(jsonb,jsonb,character varying) owner to fusion_orders;
revoke all on function orders.apply_taxes(jsonb,jsonb,character varying) from public;

-- function: orders.cancel_cart(jsonb,jsonb)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.cancel_cart(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'carts.cancel', '{publishable,session}');
  cart orders.carts;
  order_row orders.orders;
begin
  if replay is not null then
    return replay;
  end if;
  cart := orders.lock_cart(input);
  if cart.status <> 'cancelled' then
    order_row := orders.lock_order_of(cart);
    perform orders.require_open(cart, order_row.status);
    cart.status := 'cancelled';
    cart := orders.save_cart(cart, (input->>'cartSeconds')::int);
  end if;
  return platform.leave(call, 'carts.cancel', orders.cart_json(cart, orders.price_cart(cart)));
end
$function$;
alter function orders.cancel_cart(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.cancel_cart(jsonb,jsonb) from public;
grant execute on function orders.cancel_cart(jsonb,jsonb) to fusion_worker;

-- function: orders.cancel_order(jsonb,jsonb)
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.cancel_order(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'orders.cancel', '{session}');
  shopper constant jsonb := platform.shopper();
  order_row orders.orders;
  ended record;
  restocked_skus text[];
  has_label boolean := true;
begin
  if replay is not null then
    return replay;
  end if;
  if shopper is not null and input ? 'restock' then
    perform platform.fail('forbidden', jsonb_build_object('reason', 'Only a secret key may send restock.'));
  end if;
  select * into order_row from orders.orders c
  where c.id = input->>'id' and (shopper is null or c.customer_id = shopper->>'customer') for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if order_row.status not in ('created', 'confirmed', 'cancelled')
    or shopper is not null and order_row.status = 'confirmed' then
    return platform.leave(call, 'orders.cancel', jsonb_build_object('error', 'order_not_cancellable', 'detail',
      concat(format('The order is %s.', order_row.status), case when order_row.status = 'confirmed'
        then ' Ask the shop to cancel it.' end)));
  end if;
  if order_row.status = 'confirmed' and exists (select from shipping.shipments s
    where s.order_id = order_row.id and s.status in ('in_transit', 'delivered')) then
    return platform.leave(call, 'orders.cancel', jsonb_build_object('error', 'order_not_cancellable',
      'detail', 'A parcel of the order is on its way. Refund the units that have not been shipped.'));
  end if;
  if order_row.status <> 'cancelled' then
    ended := orders.end_as_cancelled(order_row, input->>'reason');
    restocked_skus := ended.freed;
    has_label := ended.has_label;
  end if;
  if coalesce((input->>'restock')::boolean, not has_label) then
    restocked_skus := coalesce(restocked_skus, '{}') || orders.restock_rest(order_row, 'cancelled');
  end if;
  return platform.leave(call, 'orders.cancel',
    orders.read_order(order_row.id) || jsonb_build_object('freed', to_jsonb(coalesce(restocked_skus, '{}'))));
end
$function$;
alter function orders.cancel_order(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.cancel_order(jsonb,jsonb) from public;
grant execute on function orders.cancel_order(jsonb,jsonb) to fusion_worker;

-- function: orders.cancel_return(jsonb,jsonb)
-- src/db/orders/returns.sql
CREATE OR REPLACE FUNCTION orders.cancel_return(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'orders.cancel_return');
  of_return orders.returns;
begin
  if replay is not null then
    return replay;
  end if;
  select * into of_return from orders.returns r where r.id = input->>'id';
  if not found then
    perform platform.fail('not_found');
  end if;
  perform orders.lock_order(of_return.order_id);
  update orders.returns r set status = 'cancelled', updated_at = platform.clock()
  where r.id = of_return.id and r.status = 'requested';
  if found then
    perform platform.emit('return.cancelled', of_return.order_id, orders.return_event(of_return, null), false);
  end if;
  select * into of_return from orders.returns r where r.id = of_return.id;
  return platform.leave(call, 'orders.cancel_return', case when of_return.status = 'cancelled'
    then orders.return_json(of_return, null)
    else jsonb_build_object('error', 'conflict', 'detail', 'The return was received already.') end);
end
$function$;
alter function orders.cancel_return(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.cancel_return(jsonb,jsonb) from public;
grant execute on function orders.cancel_return(jsonb,jsonb) to fusion_worker;

-- function: orders.cart_discounts_json(jsonb,jsonb)
-- src/db/orders/carts/pricing.sql
CREATE OR REPLACE FUNCTION orders.cart_discounts_json(lines jsonb, amounts jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(jsonb_agg(d.discount || jsonb_build_object('allocations', (
    select coalesce(jsonb_agg(a.part || case when a.part->>'lineId' = 'shipping' then '{}'::jsonb
      else jsonb_build_object('lineId', i.ids[(a.part->>'lineId')::int]) end order by a.ord), '[]')
    from jsonb_array_elements(d.discount->'allocations') with ordinality a(part, ord))) order by d.ord), '[]')
  from jsonb_array_elements(amounts->'discounts') with ordinality d(discount, ord)
  cross join (
    select array_agg(e.line->>'id' order by e.ord) as ids
    from jsonb_array_elements(lines) with ordinality e(line, ord) where e.line->>'price' is not null
  ) i
$function$;
alter function orders.cart_discounts_json(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.cart_discounts_json(jsonb,jsonb) from public;

-- function: orders.cart_end(integer)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.cart_end(seconds integer)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE
AS $function$
  select platform.clock() + make_interval(secs => coalesce(
    (select t.cart_seconds from platform.tenants t where t.id = platform.tenant()), seconds))
$function$;
alter function orders.cart_end(integer) owner to fusion_orders;
revoke all on function orders.cart_end(integer) from public;

-- function: orders.cart_items_json(jsonb,jsonb)
-- src/db/orders/carts/pricing.sql
CREATE OR REPLACE FUNCTION orders.cart_items_json(lines jsonb, amounts jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(jsonb_agg((l.line - 'fault') || jsonb_build_object('subtotal', a.line->'subtotal',
    'discount', a.line->'discount', 'tax', case when amounts->>'tax' is not null then a.line->'tax' end,
    'total', case when amounts->>'tax' is not null or (amounts->>'taxIncluded')::boolean then a.line->'total' end)
    order by l.ord), '[]')
  from (
    select e.line, e.ord, case when e.line->>'price' is not null then count(e.line->>'price') over (order by e.ord) end as place
    from jsonb_array_elements(lines) with ordinality e(line, ord)
  ) l
  left join jsonb_array_elements(amounts->'lines') with ordinality a(line, place) on a.place = l.place
$function$;
alter function orders.cart_items_json(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.cart_items_json(jsonb,jsonb) from public;

-- function: orders.cart_json(orders.carts,jsonb)
-- src/db/orders/carts/pricing.sql
CREATE OR REPLACE FUNCTION orders.cart_json(cart orders.carts, priced jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', cart.id, 'status', priced->'status', 'currency', cart.currency,
    'customerId', cart.customer_id, 'email', cart.email, 'phone', cart.phone,
    'items', orders.cart_items_json(priced->'lines', priced->'amounts'), 'shippingAddress', cart.shipping_address,
    'billingAddress', cart.billing_address, 'shippingOptions', priced->'amounts'->'shippingOptions',
    'shippingOptionId', cart.shipping_option_id, 'discountCodes', to_jsonb(cart.discount_codes),
    'discounts', orders.cart_discounts_json(priced->'lines', priced->'amounts'),
    'taxLines', priced->'amounts'->'taxLines', 'taxIncluded', priced->'amounts'->'taxIncluded',
    'totals', jsonb_build_object('subtotal', priced->'amounts'->'subtotal', 'discount', priced->'amounts'->'discount',
      'shipping', priced->'amounts'->'shipping', 'tax', priced->'amounts'->'tax', 'total', priced->'amounts'->'total'),
    'messages', priced->'messages', 'organizationId', cart.organization_id,
    'purchaseOrderNumber', cart.purchase_order_number, 'metadata', cart.metadata, 'source', cart.source,
    'orderId', cart.order_id, 'expiresAt', platform.iso(cart.expires_at), 'createdAt', platform.iso(cart.created_at),
    'updatedAt', platform.iso(cart.updated_at), 'version', cart.version)
    || case when priced->>'status' = 'open' and priced->'amounts'->>'taxQuestion' is not null
      then jsonb_build_object('taxQuestion', priced->'amounts'->'taxQuestion') else '{}' end
$function$;
alter function orders.cart_json(orders.carts,jsonb) owner to fusion_orders;
revoke all on function orders.cart_json(orders.carts,jsonb) from public;

-- function: orders.cart_lines(orders.carts,jsonb)
-- src/db/orders/carts/pricing.sql
CREATE OR REPLACE FUNCTION orders.cart_lines(cart orders.carts, ordered jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant constant varchar := platform.tenant();
  lists constant catalog.price_lists[] := orders.lists_for(cart.customer_id, cart.organization_id);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('id', i.id, 'sku', i.sku, 'name', p.name, 'image', p.images->0->'path',
      'quantity', i.quantity, 'price', f.price,
      'compareAtPrice', case when p.currency = cart.currency then p.compare_at_price end,
      'available', case when p.sku is not null then coalesce(s.quantity, 0) else 0 end) || case when f.price is not null then '{}'::jsonb
        else jsonb_build_object('fault', case when p.sku is null then 'unknown_sku' else 'currency_mismatch' end) end
      order by i.ord), '[]')
    from (
      select line->>'id' as id, line->>'sku' as sku, (line->>'quantity')::int as quantity, ord
      from jsonb_array_elements(cart.items) with ordinality e(line, ord)
    ) i
    left join lateral ( -- `limit 1` keeps this a lookup by the unique index for each line
      select c.sku, c.name, c.images, c.price, c.currency, c.compare_at_price, c.has_list_prices
      from catalog.products c
      where c.tenant_id = tenant and c.sku = i.sku and c.status = 'active' limit 1
    ) p on true
    left join lateral orders.list_price(lists, i.sku, i.quantity, cart.currency) l on p.has_list_prices
    left join lateral (
      select v.quantity from inventory.inventory v where v.tenant_id = tenant and v.sku = i.sku limit 1
    ) s on true
    cross join lateral (
      select case when ordered is not null then (ordered->(i.ord::int - 1)->>'price')::numeric
        else coalesce(l.price, case when p.currency = cart.currency then p.price end) end as price
    ) f);
end
$function$;
alter function orders.cart_lines(orders.carts,jsonb) owner to fusion_orders;
revoke all on function orders.cart_lines(orders.carts,jsonb) from public;

-- function: orders.cart_message(text,text,text,text,text)
-- src/db/orders/carts/pricing.sql
CREATE OR REPLACE FUNCTION orders.cart_message(type text, severity text, code text, pointer text, detail text)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select jsonb_strip_nulls(jsonb_build_object('type', type, 'severity', severity, 'code', code, 'pointer', pointer,
    'detail', detail))
$function$;
alter function orders.cart_message(text,text,text,text,text) owner to fusion_orders;
revoke all on function orders.cart_message(text,text,text,text,text) from public;

-- function: orders.cart_messages(orders.carts,jsonb,jsonb)
-- src/db/orders/carts/pricing.sql
CREATE OR REPLACE FUNCTION orders.cart_messages(cart orders.carts, lines jsonb, amounts jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  address constant jsonb := coalesce(cart.shipping_address, cart.billing_address);
  needs_shipping constant boolean := (amounts->>'needsShipping')::boolean;
  charge_fault constant text := orders.amounts_fault(amounts, cart.currency);
  messages jsonb := '[]';
begin
  if lines = '[]' then
    messages := messages || orders.cart_message('error', 'requires_buyer_input', 'cart_empty', '/items',
      'The cart has no items.');
  elsif jsonb_path_exists(lines, '$[*] ? (exists(@.fault) || @.quantity > @.available)') then
    messages := messages || orders.line_messages(lines, cart.currency);
  end if;
  if cart.email is null then
    messages := messages || orders.cart_message('error', 'requires_buyer_input', 'missing', '/email',
      'The e-mail address is missing.');
  end if;
  if needs_shipping and cart.shipping_address is null or (amounts->>'needsAddress')::boolean and address is null then
    messages := messages || orders.cart_message('error', 'requires_buyer_input', 'missing', '/shippingAddress',
      'The shipping address is missing.');
  end if;
  if needs_shipping and address is not null and amounts->'shippingOptions' = '[]' then
    messages := messages || orders.cart_message('error', 'requires_buyer_input', 'shipping_option_not_offered',
      '/shippingAddress', format('There is no shipping option for this country, %s and this weight.', cart.currency));
  elsif needs_shipping and cart.shipping_option_id is null then
    messages := messages || orders.cart_message('error', 'requires_buyer_input', 'missing', '/shippingOptionId',
      'The shipping option is missing.');
  elsif needs_shipping and address is not null and amounts->'shippingOption' = 'null' then
    messages := messages || orders.cart_message('error', 'requires_buyer_input', 'shipping_option_not_offered',
      '/shippingOptionId', 'This shipping option is not offered for this address, currency and weight.');
  end if;
  if lines <> '[]' and charge_fault is not null then
    messages := messages || orders.cart_message('error', 'recoverable', 'total_not_chargeable', '/items', charge_fault);
  end if;
  if amounts->'invalidDiscounts' <> '[]' then
    messages := messages || (
      select jsonb_agg(orders.cart_message('warning', null, 'discount_invalid', format('/discountCodes/%s', d->>'index'),
        d->>'detail') order by (d->>'index')::bigint)
      from jsonb_array_elements(amounts->'invalidDiscounts') d);
  end if;
  if amounts->'unusedDiscounts' <> '[]' then
    messages := messages || (
      select jsonb_agg(orders.cart_message('info', null, 'discount_not_used', format('/discountCodes/%s', u.ord - 1),
        format('The discount "%s" is not used, because other discounts save more.', u.code)) order by u.ord)
      from (
        select d.code, min(c.ord) as ord from jsonb_array_elements_text(amounts->'unusedDiscounts') d(code)
        join unnest(cart.discount_codes) with ordinality c(code, ord) on upper(c.code) = upper(d.code)
        group by d.code
      ) u);
  end if;
  if amounts->>'taxQuestion' is not null then
    messages := messages || orders.cart_message('error', 'recoverable', 'tax_not_calculated', '/shippingAddress',
      'The tax is not calculated yet. Read the cart again. If that does not help, check the address.');
  elsif amounts->>'tax' is null then
    messages := messages || orders.cart_message('info', null, 'tax_unknown', '/shippingAddress',
      'The tax is known once there is an address.');
  end if;
  return messages;
end
$function$;
alter function orders.cart_messages(orders.carts,jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.cart_messages(orders.carts,jsonb,jsonb) from public;

-- function: orders.cart_status(orders.carts,character varying)
-- src/db/orders/carts/pricing.sql
CREATE OR REPLACE FUNCTION orders.cart_status(cart orders.carts, order_status character varying)
 RETURNS character varying
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when cart.status not in ('open', 'ordered') then cart.status
    when order_status = 'created' then 'ordered'
    when order_status in ('confirmed', 'shipped', 'delivered', 'refunded') then 'completed'
    else 'open' end
$function$;
alter function orders.cart_status(orders.carts,character varying) owner to fusion_orders;
revoke all on function orders.cart_status(orders.carts,character varying) from public;

-- function: orders.change_limits(orders.discounts,orders.discounts)
-- src/db/orders/discounts.sql
CREATE OR REPLACE FUNCTION orders.change_limits(before orders.discounts, after orders.discounts)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
begin
  if (before.usage_limit is null) = (after.usage_limit is null)
    and (before.per_customer_limit is null) = (after.per_customer_limit is null) then
    return;
  end if;
  perform 1 from orders.discounts d where d.id = after.id for update;
  if after.usage_limit is null then
    delete from orders.discount_counters c where c.discount_id = after.id;
  elsif before.usage_limit is null then
    insert into orders.discount_counters (discount_id, tenant_id, used)
    select after.id, after.tenant_id, count(*) from orders.discount_uses u
    where u.discount_id = after.id and u.is_taken;
  end if;
  if after.per_customer_limit is null then
    delete from orders.discount_customers c where c.discount_id = after.id;
  elsif before.per_customer_limit is null then
    -- Customers whose uses have all been given back get a row too, so that late money finds a row to lock.
    insert into orders.discount_customers (discount_id, customer_key, tenant_id, used)
    select after.id, u.customer_key, after.tenant_id, count(*) filter (where u.is_taken)
    from orders.discount_uses u where u.discount_id = after.id group by u.customer_key;
  end if;
end
$function$;
alter function orders.change_limits(orders.discounts,orders.discounts) owner to fusion_orders;
revoke all on function orders.change_limits(orders.discounts,orders.discounts) from public;

-- function: orders.checkout_cart(jsonb,jsonb)
-- src/db/orders/carts/checkout.sql
CREATE OR REPLACE FUNCTION orders.checkout_cart(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  answer jsonb := platform.enter(call, 'orders:write', 'carts.checkout', '{publishable,session}');
  order_id constant varchar := input->>'orderId';
  cart orders.carts;
  order_row orders.orders; -- the former one
  priced jsonb;
  amounts jsonb;
  total numeric;
  items record;
  added record;
  shortages jsonb;
begin
  if answer is not null then
    return answer;
  end if;
  if platform.shopper() is not null then
    perform platform.check_vouched(call);
  end if;
  cart := orders.lock_cart(input);
  if cart.order_id is not null then
    order_row := orders.lock_order_of(cart);
  end if;
  if orders.cart_status(cart, order_row.status) <> 'open' then
    perform orders.require_open(cart, order_row.status);
  end if;
  if input ? 'taxQuote' then
    cart.tax_quote := input->'taxQuote';
    update orders.carts c set tax_quote = cart.tax_quote where c.id = cart.id;
  end if;
  priced := orders.price_cart(cart);
  amounts := priced->'amounts';
  total := amounts->>'total';
  if jsonb_path_exists(priced->'messages', '$[*] ? (@.type == "error" && @.code != "insufficient_inventory")') then
    return orders.refuse_checkout(jsonb_build_object('error', 'cart_incomplete', 'messages', priced->'messages')
      || case when not jsonb_path_exists(priced->'messages',
          '$[*] ? (@.type == "error" && @.code != "insufficient_inventory" && @.code != "tax_not_calculated")')
        then jsonb_build_object('taxQuestion', amounts->'taxQuestion') else '{}' end);
  end if;
  if total is distinct from (input->>'expectedTotal')::numeric then
    return orders.refuse_checkout(orders.price_changed_error(cart, priced));
  end if;
  if amounts->'discounts' <> '[]' then
    begin
      perform orders.take_uses(order_id, amounts->'discounts', amounts->>'customerKey');
    exception when sqlstate 'FC000' then -- another buyer has taken the last use since: the cart costs more now
      return orders.refuse_checkout(orders.price_changed_error(cart, orders.price_cart(cart)));
    end;
  end if;
  select jsonb_agg(e.line - '{id,name,image,compareAtPrice,available}'::text[] order by e.ord) as lines,
    jsonb_agg(a.line || jsonb_build_object('name', e.line->'name') order by e.ord) as frozen,
    array_agg(e.line->>'sku' order by e.line->>'sku') as skus,
    array_agg((e.line->>'quantity')::int order by e.line->>'sku') as quantities
  into items
  from jsonb_array_elements(priced->'lines') with ordinality e(line, ord)
  join jsonb_array_elements(amounts->'lines') with ordinality a(line, ord) on a.ord = e.ord;
  added := orders.add_order(orders.order_of_cart(cart, input), items.lines, total, cart.currency,
    amounts || jsonb_build_object('lines', items.frozen), false);
  answer := added.answer;
  cart.status := 'ordered';
  cart.order_id := order_id;
  cart.tax_quote := null; -- a calculation is recorded with one payment: if the cart opens again, it gets another
  cart := orders.save_cart(cart, (input->>'cartSeconds')::int);
  -- The contended rows come last, so that a popular SKU is locked only for the rest of this call and the commit.
  shortages := inventory.reserve(order_id, items.skus, items.quantities, added.held_until, total = 0);
  if shortages is not null then
    perform platform.fail('insufficient_inventory', jsonb_build_object('members', jsonb_build_object('shortages', shortages)));
  end if;
  if total > 0 then
    answer := answer || jsonb_build_object('payment',
      payments.open_with_order(input->>'paymentId', order_id, total, cart.currency)
        || jsonb_build_object('taxCalculation', amounts->'taxCalculation'));
  end if;
  return platform.leave(call, 'carts.checkout', answer);
end
$function$;
alter function orders.checkout_cart(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.checkout_cart(jsonb,jsonb) from public;
grant execute on function orders.checkout_cart(jsonb,jsonb) to fusion_worker;

-- function: orders.choose_discounts(jsonb,text[],bigint[],numeric,numeric[],numeric)
-- src/db/orders/totals.sql
CREATE OR REPLACE FUNCTION orders.choose_discounts(discounts jsonb, ids text[], positions bigint[], unit numeric, INOUT lefts numeric[], INOUT shipping numeric, OUT saved numeric, OUT applied jsonb)
 RETURNS record
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
declare
  combined jsonb;
  singles jsonb;
  best record;
  candidate record;
begin
  if jsonb_array_length(discounts) = 1 then
    combined := case when (discounts->0->>'combinable')::boolean then discounts else '[]' end;
    singles := case when combined = '[]' then discounts else '[]' end;
  else
    select coalesce(jsonb_agg(d order by array_position('{percentage,amount,free_shipping}', d->>'type'),
        (d->>'value')::numeric desc, d->>'id' collate "C") filter (where (d->>'combinable')::boolean), '[]'),
      coalesce(jsonb_agg(d order by d->>'id' collate "C") filter (where not (d->>'combinable')::boolean), '[]')
    into combined, singles from jsonb_array_elements(discounts) d;
  end if;
  best := orders.subtract_discounts(combined, ids, positions, unit, lefts, shipping);
  for d in 0..jsonb_array_length(singles) - 1 loop
    candidate := orders.subtract_discounts(jsonb_build_array(singles->d), ids, positions, unit, lefts, shipping);
    if candidate.saved > best.saved then
      best := candidate;
    end if;
  end loop;
  lefts := best.lefts;
  shipping := best.shipping;
  saved := best.saved;
  applied := best.applied;
end
$function$;
alter function orders.choose_discounts(jsonb,text[],bigint[],numeric,numeric[],numeric) owner to fusion_orders;
revoke all on function orders.choose_discounts(jsonb,text[],bigint[],numeric,numeric[],numeric) from public;

-- function: orders.code_taken(character varying)
-- src/db/orders/discounts.sql
CREATE OR REPLACE FUNCTION orders.code_taken(code character varying)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select jsonb_build_object('error', 'conflict',
    'detail', format('Another discount has the code "%s". Codes ignore case.', code))
$function$;
alter function orders.code_taken(character varying) owner to fusion_orders;
revoke all on function orders.code_taken(character varying) from public;

-- function: orders.complete_shipping(character varying)
-- src/db/orders/fulfilment.sql
CREATE OR REPLACE FUNCTION orders.complete_shipping(order_id character varying)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  o orders.orders;
  reached varchar;
begin
  select * into o from orders.orders x where x.id = order_id;
  reached := orders.shipping_status(o);
  update orders.orders x set status = reached, updated_at = platform.clock()
  where x.id = order_id and reached <> 'confirmed'
    and (x.status = 'confirmed' or (x.status = 'shipped' and reached = 'delivered'));
  if found then
    if o.status = 'confirmed' then
      perform shipping.end_shipment(order_id);
    end if;
    return true;
  end if;
  if o.status = 'confirmed' and o.refunded_quantities = orders.quantities_of(o.items) then
    perform shipping.end_shipment(order_id); -- the buyer has paid for the shipping alone
  end if;
  return false;
end
$function$;
alter function orders.complete_shipping(character varying) owner to fusion_orders;
revoke all on function orders.complete_shipping(character varying) from public;
grant execute on function orders.complete_shipping(character varying) to fusion_payments, fusion_shipping;

-- function: orders.confirm_held_order(character varying)
-- src/db/orders/confirm.sql
CREATE OR REPLACE FUNCTION orders.confirm_held_order(order_id character varying)
 RETURNS orders.orders
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
  order_row orders.orders;
  request shipping.label_requests;
begin
  with confirmed as (
    update orders.orders o set status = 'confirmed', failure_reason = null, updated_at = now_at
    where o.id = order_id
      and (o.status = 'created' or o.status = 'failed' and o.campaign_id is null)
      and exists (select from inventory.reservations r
        where r.order_id = confirm_held_order.order_id and r.status in ('held', 'committed'))
    returning o.*
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'order.confirmed', c.id, jsonb_build_object('orderId', c.id), platform.trace(), now_at
    from confirmed c
    returning seq, key
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, e.key, platform.due_now() from event e, unnest(platform.sinks_of(true)) s
  )
  select * into order_row from confirmed;
  -- The label request is a row from now on, so the cron finds it if the message is lost.
  if order_row.shipping_address is not null
    and (select t.automatic_labels from platform.tenants t where t.id = tenant) then
    request := shipping.open_label_request(order_row, order_row.shipping_address, platform.uuid7());
  end if;
  return order_row;
end
$function$;
alter function orders.confirm_held_order(character varying) owner to fusion_orders;
revoke all on function orders.confirm_held_order(character varying) from public;

-- function: orders.confirm_paid_order(character varying)
-- src/db/orders/confirm.sql
CREATE OR REPLACE FUNCTION orders.confirm_paid_order(order_id character varying)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  order_row orders.orders := orders.confirm_held_order(order_id);
begin
  if order_row.id is not null then
    -- The contended rows come last. A hold ends only under the order's lock: an order without a hold must not commit.
    if not inventory.commit(order_id) then
      raise exception using errcode = 'serialization_failure', message = 'the hold has ended meanwhile';
    end if;
    return '{"confirmed": true, "skus": []}';
  end if;
  select * into order_row from orders.orders x where x.id = order_id;
  if order_row.status = 'cancelled' then
    return jsonb_build_object('confirmed', false, 'reason', 'order_cancelled', 'skus', '[]'::jsonb);
  end if;
  -- Another buyer may have the place already, so the money is refunded even if the unit is still there.
  if order_row.id is null or (order_row.status = 'failed' and order_row.campaign_id is not null) then
    return jsonb_build_object('confirmed', false, 'reason', 'place_lost', 'skus', '[]'::jsonb);
  end if;
  if order_row.status not in ('created', 'failed') then
    return jsonb_build_object('confirmed', true, 'skus', '[]'::jsonb);
  end if;
  -- Another order of its cart may have taken its place, and other buyers the last use of its discount or its stock.
  if exists (select from orders.carts c where c.id = order_row.cart_id and c.order_id <> order_row.id) then
    return jsonb_build_object('confirmed', false, 'reason', 'cart_ordered_again', 'skus', '[]'::jsonb);
  end if;
  if not orders.retake_uses(order_id) then
    return jsonb_build_object('confirmed', false, 'reason', 'discount_gone', 'skus', '[]'::jsonb);
  end if;
  if not inventory.commit(order_id) then
    if order_row.status = 'failed' then -- an order that is still `created` keeps its uses until it fails
      perform orders.return_uses(array[order_id::text]);
    end if;
    return jsonb_build_object('confirmed', false, 'reason', 'stock_gone', 'skus', '[]'::jsonb);
  end if;
  perform orders.confirm_held_order(order_id);
  return jsonb_build_object('confirmed', true, 'skus',
    case when order_row.status = 'created' then '[]'::jsonb
      else to_jsonb(array(select i->>'sku' from jsonb_array_elements(order_row.items) i)) end);
end
$function$;
alter function orders.confirm_paid_order(character varying) owner to fusion_orders;
revoke all on function orders.confirm_paid_order(character varying) from public;
grant execute on function orders.confirm_paid_order(character varying) to fusion_group_commerce, fusion_payments;

-- function: orders.count_taken_uses(character varying)
-- src/db/orders/discount-uses.sql
CREATE OR REPLACE FUNCTION orders.count_taken_uses(order_id character varying)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  item record;
begin
  for item in
    select u.discount_id, d.usage_limit from orders.discount_uses u join orders.discounts d on d.id = u.discount_id
    where u.order_id = count_taken_uses.order_id and d.usage_limit is not null order by u.discount_id
  loop
    update orders.discount_counters c set used = c.used + 1
    where c.discount_id = item.discount_id and c.used < item.usage_limit;
    if not found then
      return jsonb_build_object('discount', item.discount_id, 'fault', 'used_up');
    end if;
  end loop;
  for item in
    select u.discount_id, u.customer_key, d.per_customer_limit, u.tenant_id
    from orders.discount_uses u join orders.discounts d on d.id = u.discount_id
    where u.order_id = count_taken_uses.order_id and d.per_customer_limit is not null order by u.discount_id
  loop
    insert into orders.discount_customers as c (discount_id, customer_key, tenant_id, used)
    values (item.discount_id, item.customer_key, item.tenant_id, 1)
    on conflict on constraint discount_customers_once do update set used = c.used + 1
    where c.used < item.per_customer_limit;
    if not found then
      return jsonb_build_object('discount', item.discount_id, 'fault', 'used_by_customer');
    end if;
  end loop;
  return null;
end
$function$;
alter function orders.count_taken_uses(character varying) owner to fusion_orders;
revoke all on function orders.count_taken_uses(character varying) from public;

-- function: orders.counts_within(integer[],integer[])
-- src/db/orders/refund-amounts.sql
CREATE OR REPLACE FUNCTION orders.counts_within(counts integer[], limits integer[])
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
begin
  return limits is not null and cardinality(counts) = cardinality(limits)
    and not exists (select from unnest(counts, limits) u(n, most) where (u.n between 0 and u.most) is not true);
end
$function$;
alter function orders.counts_within(integer[],integer[]) owner to fusion_orders;
revoke all on function orders.counts_within(integer[],integer[]) from public;

-- function: orders.create_cart(jsonb,jsonb)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.create_cart(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  replay jsonb := platform.enter(call - 'idempotencyKey', 'orders:write', 'carts.create', '{publishable,session}');
  customer constant varchar := coalesce(platform.shopper()->>'customer', input->>'customerId');
  items constant jsonb := orders.merge_items('[]', coalesce(nullif(input->'items', 'null'), '[]'));
  cart orders.carts;
begin
  if platform.shopper() is not null and input ?| array['customerId', 'organizationId'] then
    perform platform.fail('forbidden', jsonb_build_object('reason',
      'Only a secret key may set customerId and organizationId: leave them out.'));
  end if;
  if platform.shopper() is not null and customer is null then
    call := call - 'idempotencyKey';
  elsif call ? 'idempotencyKey' then
    replay := platform.enter(call, 'orders:write', 'carts.create', '{publishable,session}');
    if replay is not null then
      return replay;
    end if;
  end if;
  if platform.shopper()->>'customer' is not null then
    perform orders.keep_customer(customer);
  end if;
  if orders.items_error(items) is not null then
    return platform.leave(call, 'carts.create', orders.items_error(items));
  end if;
  cart.currency := coalesce(input->>'currency', (select t.currency from platform.tenants t where t.id = platform.tenant()),
    (select p.currency from catalog.products p where p.tenant_id = platform.tenant() and p.sku = items->0->>'sku'));
  if cart.currency is null then
    return platform.leave(call, 'carts.create', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/currency',
        'detail', 'is required: neither the shop nor the first item has a currency'))));
  end if;
  insert into orders.carts (id, tenant_id, token_hash, status, currency, customer_id, items, email, organization_id,
    source, expires_at, created_at, updated_at)
  values (input->>'id', platform.tenant(), input->>'tokenHash', 'open', cart.currency, customer, items,
    coalesce(input->>'email', (select c.email from orders.customers c where c.id = customer)), input->>'organizationId',
    nullif(input->'source', 'null'), orders.cart_end((input->>'cartSeconds')::int), platform.clock(), platform.clock())
  returning * into cart;
  return platform.leave(call, 'carts.create', orders.cart_json(cart, orders.price_cart(cart)));
end
$function$;
alter function orders.create_cart(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.create_cart(jsonb,jsonb) from public;
grant execute on function orders.create_cart(jsonb,jsonb) to fusion_worker;

-- function: orders.create_customer(jsonb,jsonb)
-- src/db/orders/customers.sql
CREATE OR REPLACE FUNCTION orders.create_customer(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'customers:write', 'customers.create');
  customer orders.customers;
begin
  if replay is not null then
    return replay;
  end if;
  insert into orders.customers (id, tenant_id, email, name, phone, addresses, customer_group, metadata, vat_number,
    vat_status, vat_requested_at, created_at, updated_at)
  values (input->>'id', platform.tenant(), input->>'email', input->>'name', input->>'phone',
    coalesce(nullif(input->'addresses', 'null'), '[]'), input->>'group', coalesce(nullif(input->'metadata', 'null'), '{}'),
    input->>'vatNumber', case when input->>'vatNumber' is not null then 'pending' end,
    case when input->>'vatNumber' is not null then platform.clock() end, platform.clock(), platform.clock())
  on conflict (tenant_id, email_key) do nothing
  returning * into customer;
  if not found then
    return platform.leave(call, 'customers.create', jsonb_build_object('error', 'email_taken'));
  end if;
  if customer.vat_number is not null then
    perform orders.request_vat_check(customer);
  end if;
  return platform.leave(call, 'customers.create',
    orders.customer_json(customer) || jsonb_build_object('version', customer.version));
end
$function$;
alter function orders.create_customer(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.create_customer(jsonb,jsonb) from public;
grant execute on function orders.create_customer(jsonb,jsonb) to fusion_worker;

-- function: orders.create_discount(jsonb,jsonb)
-- src/db/orders/discounts.sql
CREATE OR REPLACE FUNCTION orders.create_discount(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'discounts:write', 'discounts.create');
  discount orders.discounts;
  fault jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  discount := orders.with_discount_fields(null, input);
  fault := orders.discount_faults(discount, input);
  if fault is not null then
    return platform.leave(call, 'discounts.create', fault);
  end if;
  insert into orders.discounts (id, tenant_id, code, name, type, value, currency, starts_at, ends_at, usage_limit,
    per_customer_limit, min_subtotal, skus, collections, combinable, created_at, updated_at)
  values (input->>'id', platform.tenant(), discount.code, discount.name, discount.type, coalesce(discount.value, 0),
    discount.currency, discount.starts_at, discount.ends_at, discount.usage_limit, discount.per_customer_limit,
    discount.min_subtotal, discount.skus, discount.collections, discount.combinable, platform.clock(), platform.clock())
  on conflict (tenant_id, code_key) where deleted_at is null and code is not null do nothing
  returning * into discount;
  if not found then
    return platform.leave(call, 'discounts.create', orders.code_taken(input->>'code'));
  end if;
  if discount.usage_limit is not null then
    insert into orders.discount_counters (discount_id, tenant_id, used) values (discount.id, discount.tenant_id, 0);
  end if;
  return platform.leave(call, 'discounts.create', orders.written_discount(discount));
end
$function$;
alter function orders.create_discount(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.create_discount(jsonb,jsonb) from public;
grant execute on function orders.create_discount(jsonb,jsonb) to fusion_worker;

-- function: orders.create_session(jsonb,jsonb)
-- src/db/orders/sessions.sql
CREATE OR REPLACE FUNCTION orders.create_session(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  identity constant jsonb := input->'identity';
  -- Shoppers share a publishable key: each person's idempotency keys are kept apart.
  operation constant text := concat('sessions.create', case when identity is not null then ' ' || left(encode(sha256(
    convert_to(concat_ws(' ', identity->>'issuer', identity->>'subject'), 'UTF8')), 'hex'), 32) end);
  replay jsonb := platform.enter(call, 'customers:write', operation, '{publishable}');
  customer_id varchar;
begin
  if replay is not null then
    return replay;
  end if;
  if identity is null then
    if platform.shopper() is not null then
      perform platform.fail('forbidden', jsonb_build_object('reason',
        'Only a secret key can open a session for any customer. With a publishable key, send an idToken.'));
    end if;
    select c.id into customer_id from orders.customers c where c.id = input->>'customerId';
    if not found then
      perform platform.fail('not_found');
    end if;
  else
    perform platform.check_vouched(call);
    if not platform.trusts_issuer(identity->>'issuer', identity->>'audience') then
      perform platform.fail('forbidden', jsonb_build_object('reason',
        'The shop has just changed its OpenID provider. Log in there again.'));
    end if;
    customer_id := orders.customer_of_identity(identity, input->>'newId');
    if customer_id is null then
      perform platform.fail('forbidden', jsonb_build_object('reason', case when identity->>'email' is null
        then 'This person is not a customer yet, and the ID token has no verified e-mail address to create one.'
        else 'The customer with this e-mail address logs in with another account of the OpenID provider.' end));
    end if;
  end if;
  return platform.leave(call, operation, jsonb_build_object('customerId', customer_id, 'expiresAt',
    platform.iso(platform.open_session(input->>'tokenHash', customer_id, (input->>'until')::timestamptz))));
end
$function$;
alter function orders.create_session(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.create_session(jsonb,jsonb) from public;
grant execute on function orders.create_session(jsonb,jsonb) to fusion_worker;

-- function: orders.create_shipping_option(jsonb,jsonb)
-- src/db/orders/shipping-options.sql
CREATE OR REPLACE FUNCTION orders.create_shipping_option(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'shipping:write', 'shippingOptions.create');
  option orders.shipping_options;
  fault jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  option := orders.with_shipping_fields(null, input);
  fault := orders.shipping_option_faults(option);
  if fault is not null then
    return platform.leave(call, 'shippingOptions.create', fault);
  end if;
  insert into orders.shipping_options (id, tenant_id, name, countries, currency, price, free_from, min_weight, max_weight,
    min_days, max_days, tax_category, created_at, updated_at)
  values (input->>'id', platform.tenant(), option.name, option.countries, option.currency, option.price,
    option.free_from, option.min_weight, option.max_weight, option.min_days, option.max_days, option.tax_category,
    platform.clock(), platform.clock())
  returning * into option;
  return platform.leave(call, 'shippingOptions.create',
    orders.shipping_option_json(option) || jsonb_build_object('version', option.version));
end
$function$;
alter function orders.create_shipping_option(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.create_shipping_option(jsonb,jsonb) from public;
grant execute on function orders.create_shipping_option(jsonb,jsonb) to fusion_worker;

-- function: orders.create_tax_rate(jsonb,jsonb)
-- src/db/orders/tax-rates.sql
CREATE OR REPLACE FUNCTION orders.create_tax_rate(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'tax:write', 'taxRates.create');
  tax_rate orders.tax_rates;
  fault jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  tax_rate.id := input->>'id';
  tax_rate.tenant_id := platform.tenant();
  tax_rate.name := input->>'name';
  tax_rate.country := input->>'country';
  tax_rate.region := orders.region_code(input->>'region', tax_rate.country);
  tax_rate.category := input->>'category';
  tax_rate.rate := input->>'rate';
  fault := orders.region_fault(tax_rate.region, tax_rate.country);
  if fault is not null then
    return platform.leave(call, 'taxRates.create', fault);
  end if;
  insert into orders.tax_rates (id, tenant_id, name, country, region, category, rate, created_at, updated_at)
  values (tax_rate.id, tax_rate.tenant_id, tax_rate.name, tax_rate.country, tax_rate.region, tax_rate.category,
    tax_rate.rate, platform.clock(), platform.clock())
  on conflict (lookup_key) do nothing
  returning * into tax_rate;
  if not found then
    tax_rate.country := input->>'country';
    tax_rate.region := orders.region_code(input->>'region', tax_rate.country);
    tax_rate.category := input->>'category';
    return platform.leave(call, 'taxRates.create', orders.tax_rate_conflict(tax_rate));
  end if;
  return platform.leave(call, 'taxRates.create',
    orders.tax_rate_json(tax_rate) || jsonb_build_object('version', tax_rate.version));
end
$function$;
alter function orders.create_tax_rate(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.create_tax_rate(jsonb,jsonb) from public;
grant execute on function orders.create_tax_rate(jsonb,jsonb) to fusion_worker;

-- function: orders.created_json(orders.orders)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.created_json(o orders.orders)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('orderId', o.id, 'customerId', o.customer_id, 'total', o.total, 'currency', o.currency,
    'items', o.items)
$function$;
alter function orders.created_json(orders.orders) owner to fusion_orders;
revoke all on function orders.created_json(orders.orders) from public;

-- function: orders.customer_json(orders.customers)
-- src/db/orders/customers.sql
CREATE OR REPLACE FUNCTION orders.customer_json(c orders.customers)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', c.id, 'email', c.email, 'name', c.name, 'phone', c.phone, 'addresses', c.addresses,
    'group', c.customer_group, 'metadata', c.metadata, 'vatNumber', c.vat_number, 'vatStatus', c.vat_status, 'createdAt', platform.iso(c.created_at),
    'updatedAt', platform.iso(c.updated_at))
$function$;
alter function orders.customer_json(orders.customers) owner to fusion_orders;
revoke all on function orders.customer_json(orders.customers) from public;
grant execute on function orders.customer_json(orders.customers) to fusion_reader;

-- function: orders.customer_json_for_caller(orders.customers)
-- src/db/orders/customers.sql
CREATE OR REPLACE FUNCTION orders.customer_json_for_caller(c orders.customers)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select orders.customer_json(c) || case when platform.shopper() is null then '{}' else '{"metadata": {}}'::jsonb end
$function$;
alter function orders.customer_json_for_caller(orders.customers) owner to fusion_orders;
revoke all on function orders.customer_json_for_caller(orders.customers) from public;

-- function: orders.customer_key(text,text)
-- src/db/orders/terms.sql
CREATE OR REPLACE FUNCTION orders.customer_key(email text, customer_id text)
 RETURNS character varying
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select encode(sha256(convert_to(coalesce('email ' || lower(email), 'id ' || customer_id), 'UTF8')), 'hex')
$function$;
alter function orders.customer_key(text,text) owner to fusion_orders;
revoke all on function orders.customer_key(text,text) from public;

-- function: orders.customer_of_identity(jsonb,character varying)
-- src/db/orders/sessions.sql
CREATE OR REPLACE FUNCTION orders.customer_of_identity(identity jsonb, new_id character varying)
 RETURNS character varying
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant constant varchar := platform.tenant();
  bound_id varchar;
begin
  select c.id into bound_id from orders.customers c
  where c.tenant_id = tenant and c.oidc_issuer = identity->>'issuer' and c.oidc_subject = identity->>'subject';
  if found or identity->>'email' is null then
    return bound_id;
  end if;
  insert into orders.customers (id, tenant_id, email, oidc_issuer, oidc_subject, created_at, updated_at)
  values (new_id, tenant, identity->>'email', identity->>'issuer', identity->>'subject', platform.clock(),
    platform.clock())
  on conflict do nothing;
  begin
    update orders.customers c
    set oidc_issuer = identity->>'issuer', oidc_subject = identity->>'subject',
        version = platform.next_version(c.version), updated_at = platform.clock()
    where c.tenant_id = tenant and c.email_key = lower(identity->>'email')
      and c.oidc_issuer is distinct from identity->>'issuer';
  exception when unique_violation then
    null; -- the same person has just logged in with another e-mail, so the next statement finds that customer
  end;
  select c.id into bound_id from orders.customers c
  where c.tenant_id = tenant and c.oidc_issuer = identity->>'issuer' and c.oidc_subject = identity->>'subject';
  return bound_id;
end
$function$;
alter function orders.customer_of_identity(jsonb,character varying) owner to fusion_orders;
revoke all on function orders.customer_of_identity(jsonb,character varying) from public;

-- function: orders.delete_discount(jsonb,jsonb)
-- src/db/orders/discounts.sql
CREATE OR REPLACE FUNCTION orders.delete_discount(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'discounts:write', 'discounts.delete');
  discount orders.discounts;
begin
  if replay is not null then
    return replay;
  end if;
  discount := orders.lock_discount(input->>'id', input->'ifMatch');
  update orders.discounts d
  set deleted_at = platform.clock(), version = platform.next_version(d.version), updated_at = platform.clock()
  where d.id = discount.id;
  return platform.leave(call, 'discounts.delete', jsonb_build_object('id', discount.id));
end
$function$;
alter function orders.delete_discount(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.delete_discount(jsonb,jsonb) from public;
grant execute on function orders.delete_discount(jsonb,jsonb) to fusion_worker;

-- function: orders.delete_shipping_option(jsonb,jsonb)
-- src/db/orders/shipping-options.sql
CREATE OR REPLACE FUNCTION orders.delete_shipping_option(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'shipping:write', 'shippingOptions.delete');
  option orders.shipping_options;
begin
  if replay is not null then
    return replay;
  end if;
  option := orders.lock_shipping_option(input->>'id', input->'ifMatch');
  delete from orders.shipping_options o where o.id = option.id;
  return platform.leave(call, 'shippingOptions.delete', jsonb_build_object('id', option.id));
end
$function$;
alter function orders.delete_shipping_option(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.delete_shipping_option(jsonb,jsonb) from public;
grant execute on function orders.delete_shipping_option(jsonb,jsonb) to fusion_worker;

-- function: orders.delete_tax_rate(jsonb,jsonb)
-- src/db/orders/tax-rates.sql
CREATE OR REPLACE FUNCTION orders.delete_tax_rate(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'tax:write', 'taxRates.delete');
  tax_rate orders.tax_rates;
begin
  if replay is not null then
    return replay;
  end if;
  tax_rate := orders.lock_tax_rate(input->>'id', input->'ifMatch');
  delete from orders.tax_rates r where r.id = tax_rate.id;
  return platform.leave(call, 'taxRates.delete', jsonb_build_object('id', tax_rate.id));
end
$function$;
alter function orders.delete_tax_rate(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.delete_tax_rate(jsonb,jsonb) from public;
grant execute on function orders.delete_tax_rate(jsonb,jsonb) to fusion_worker;

-- function: orders.details_json(orders.orders)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.details_json(o orders.orders)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('cartId', o.cart_id, 'source', o.source, 'email', o.email, 'metadata', o.metadata,
    'billingAddress', o.billing_address, 'subtotal', o.subtotal, 'discountTotal', o.discount_total,
    'shippingTotal', o.shipping_total, 'shippingTax', o.shipping_tax, 'taxTotal', o.tax_total,
    'taxIncluded', o.tax_included, 'taxLines', o.tax_lines, 'discounts', o.discounts,
    'shippingOption', o.shipping_option, 'lines', o.lines, 'refundedQuantities', to_jsonb(o.refunded_quantities),
    'fulfilledQuantities', to_jsonb(o.fulfilled_quantities))
$function$;
alter function orders.details_json(orders.orders) owner to fusion_orders;
revoke all on function orders.details_json(orders.orders) from public;
grant execute on function orders.details_json(orders.orders) to fusion_reader;

-- function: orders.discount_faults(orders.discounts,jsonb)
-- src/db/orders/discounts.sql
CREATE OR REPLACE FUNCTION orders.discount_faults(d orders.discounts, change jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('error', 'validation_failed', 'errors',
    jsonb_agg(jsonb_build_object('pointer', f.pointer, 'detail', f.detail) order by f.pointer))
  from (
    values
      ('/value', case
        when d.type = 'free_shipping' then
          case when d.value <> 0 then 'must be 0 or left out: free shipping has no value' end
        when d.value is null then 'is required'
        when d.type = 'percentage' and not (d.value > 0 and d.value <= 100) then 'must be above 0 and at most 100'
        when d.type = 'amount' and d.value = 0 then 'must be above 0'
        when d.type = 'amount' and not orders.fits_currency(d.value, d.currency)
          then format('%s has no decimals: %s does not fit.', d.currency, trim_scale(d.value)) end),
      ('/currency', case when d.currency is null and d.type = 'amount' then 'is required for an amount'
        when d.currency is null and d.min_subtotal is not null then 'is required with minSubtotal' end),
      ('/minSubtotal', case when not orders.fits_currency(d.min_subtotal, d.currency)
        then format('%s has no decimals: %s does not fit.', d.currency, trim_scale(d.min_subtotal)) end),
      ('/endsAt', case when d.ends_at <= d.starts_at then 'must be after startsAt' end)
    union all
    select format('/collections/%s', e.ord - 1), format('There is no collection with the id %s.', e.id)
    from unnest(case when change ? 'collections' then d.collections end) with ordinality e(id, ord)
    where not exists (select from catalog.collections c where c.id = e.id)
  ) f(pointer, detail)
  where f.detail is not null having count(*) > 0
$function$;
alter function orders.discount_faults(orders.discounts,jsonb) owner to fusion_orders;
revoke all on function orders.discount_faults(orders.discounts,jsonb) from public;

-- function: orders.discount_json(orders.discounts,integer)
-- src/db/orders/discounts.sql
CREATE OR REPLACE FUNCTION orders.discount_json(d orders.discounts, used integer)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', d.id, 'code', d.code, 'name', d.name, 'type', d.type, 'value', d.value,
    'currency', d.currency, 'startsAt', platform.iso(d.starts_at), 'endsAt', platform.iso(d.ends_at),
    'usageLimit', d.usage_limit, 'used', case when d.usage_limit is not null then used end,
    'perCustomerLimit', d.per_customer_limit, 'minSubtotal', d.min_subtotal, 'skus', to_jsonb(d.skus),
    'collections', to_jsonb(d.collections), 'combinable', d.combinable, 'createdAt', platform.iso(d.created_at),
    'updatedAt', platform.iso(d.updated_at))
$function$;
alter function orders.discount_json(orders.discounts,integer) owner to fusion_orders;
revoke all on function orders.discount_json(orders.discounts,integer) from public;
grant execute on function orders.discount_json(orders.discounts,integer) to fusion_reader;

-- function: orders.discount_refusal(text,text,orders.discounts)
-- src/db/orders/terms.sql
CREATE OR REPLACE FUNCTION orders.discount_refusal(fault text, code text, d orders.discounts)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case fault
    when 'unknown' then format('There is no discount with the code "%s".', code)
    when 'not_started' then format('The discount "%s" has not started yet.', code)
    when 'ended' then format('The discount "%s" has ended.', code)
    when 'other_currency' then format('The discount "%s" is for orders in %s.', code, d.currency)
    when 'subtotal_too_low' then format('The discount "%s" needs items for %s %s or more.', code,
      round(d.min_subtotal, platform.currency_decimals(d.currency)), d.currency)
    when 'no_item' then format('The discount "%s" applies to none of these items.', code)
    when 'used_up' then format('The discount "%s" has been used up.', code)
    when 'used_by_customer' then format('You have used the discount "%s" already.', code) end
$function$;
alter function orders.discount_refusal(text,text,orders.discounts) owner to fusion_orders;
revoke all on function orders.discount_refusal(text,text,orders.discounts) from public;

-- function: orders.drop_refunded(character varying,integer[])
-- src/db/orders/fulfilment.sql
CREATE OR REPLACE FUNCTION orders.drop_refunded(order_id character varying, held integer[])
 RETURNS integer[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  o orders.orders;
  kept integer[];
begin
  select * into o from orders.orders x where x.id = order_id;
  o.fulfilled_quantities := orders.add_unit_lists(o.fulfilled_quantities, array(select -u from unnest(held) u));
  kept := array(select least(h, free) from unnest(held, orders.units_left(o)) with ordinality u(h, free, n) order by n);
  update orders.orders x set fulfilled_quantities = orders.add_unit_lists(o.fulfilled_quantities, kept)
  where x.id = order_id and kept <> held;
  return case when 0 < any (kept) then kept end;
end
$function$;
alter function orders.drop_refunded(character varying,integer[]) owner to fusion_orders;
revoke all on function orders.drop_refunded(character varying,integer[]) from public;
grant execute on function orders.drop_refunded(character varying,integer[]) to fusion_shipping;

-- function: orders.due_carts(integer)
-- src/db/orders/carts/expiry.sql
CREATE OR REPLACE FUNCTION orders.due_carts(most integer)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  excluded_ids constant text[] := platform.keys_set_aside('expire-carts');
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('tenant', d.tenant_id, 'carts', d.ids) order by d.tenant_id), '[]')
    from (
      select r.tenant_id, array_agg(r.id order by r.id) as ids
      from (
        select h.tenant_id, h.id
        from platform.tenants_with_rows('orders.carts', 'status in (''open'', ''ordered'')') t(id)
        cross join lateral (
          select v.tenant_id, v.id, v.expires_at, row_number() over (order by v.expires_at) as turn
          from orders.carts v
          where v.tenant_id = t.id and v.status in ('open', 'ordered') and v.expires_at <= platform.clock()
            and v.id <> all(excluded_ids)
          order by v.expires_at limit most
        ) h
        order by h.turn, h.expires_at limit most
      ) r group by r.tenant_id
    ) d);
end
$function$;
alter function orders.due_carts(integer) owner to fusion_orders;
revoke all on function orders.due_carts(integer) from public;

-- function: orders.email_of(character varying)
-- src/db/orders/campaign-places.sql
CREATE OR REPLACE FUNCTION orders.email_of(customer_id character varying)
 RETURNS character varying
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform orders.keep_customer(customer_id);
  return (select c.email from orders.customers c where c.id = email_of.customer_id);
end
$function$;
alter function orders.email_of(character varying) owner to fusion_orders;
revoke all on function orders.email_of(character varying) from public;
grant execute on function orders.email_of(character varying) to fusion_group_commerce;

-- function: orders.end_as_cancelled(orders.orders,text)
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.end_as_cancelled(order_row orders.orders, reason text, OUT has_label boolean, OUT freed text[])
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform inventory.lock_hold(order_row.id);
  update orders.orders c
  set status = 'cancelled', updated_at = platform.clock(), place_open = c.campaign_id is not null
  where c.id = order_row.id;
  perform platform.emit('order.cancelled', order_row.id, jsonb_strip_nulls(
    jsonb_build_object('orderId', order_row.id, 'reason', end_as_cancelled.reason)), order_row.campaign_id is not null);
  has_label := shipping.end_shipment(order_row.id);
  perform payments.end_for_orders(array[order_row.id::text], 'cancelled', 'order_cancelled');
  perform orders.return_uses(array[order_row.id::text]);
  freed := inventory.release(array[order_row.id::text], 'cancelled');
end
$function$;
alter function orders.end_as_cancelled(orders.orders,text) owner to fusion_orders;
revoke all on function orders.end_as_cancelled(orders.orders,text) from public;

-- function: orders.erase_customer(jsonb,jsonb)
-- src/db/orders/erasure.sql
CREATE OR REPLACE FUNCTION orders.erase_customer(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'customers:write', 'customers.erase');
  customer orders.customers;
  cart_ids text[];
  order_ids text[];
  unfinished varchar;
begin
  if replay is not null then
    return replay;
  end if;
  select * into customer from orders.customers c where c.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  cart_ids := array(select c.id from orders.carts c
    where c.tenant_id = customer.tenant_id and c.customer_id = customer.id order by c.id for update);
  if not group_commerce.erase_places(customer.id) then
    perform platform.fail('conflict', jsonb_build_object('reason',
      'The customer has a place in a campaign that is not finished. Leave the campaign or wait for its end.'));
  end if;
  order_ids := array(select o.id from orders.orders o
    where o.tenant_id = customer.tenant_id and (o.customer_id = customer.id or o.cart_id = any(cart_ids))
    order by o.id for update);
  select o.id into unfinished from orders.orders o
  where o.id = any(order_ids) and o.status in ('created', 'confirmed') limit 1;
  if found then
    perform platform.fail('conflict', jsonb_build_object('reason',
      format('The order %s is not finished. Ship or cancel it first.', unfinished)));
  end if;
  update orders.orders o
  set customer_id = customer.id, email = null, metadata = null, shipping_address = null, billing_address = null, updated_at = platform.clock()
  where o.id = any(order_ids);
  update orders.carts c
  set email = null, phone = null, metadata = '{}', shipping_address = null, billing_address = null,
      status = case orders.cart_status(c, (select o.status from orders.orders o where o.id = c.order_id))
        when 'open' then 'cancelled' else c.status end,
      version = platform.next_version(c.version), updated_at = platform.clock()
  where c.id = any(cart_ids);
  update orders.returns r set reason = null where r.order_id = any(order_ids);
  perform orders.forget_customer_key(orders.customer_key(customer.email, null));
  perform shipping.erase_labels(order_ids);
  perform platform.erase_answers(cart_ids || customer.id::text);
  delete from orders.customers c where c.id = customer.id; -- with its sessions (customer_sessions_customer_id_fkey)
  perform platform.emit('customer.erased', customer.id, jsonb_build_object('customerId', customer.id), true);
  return platform.leave(call, 'customers.erase', jsonb_build_object('id', customer.id));
end
$function$;
alter function orders.erase_customer(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.erase_customer(jsonb,jsonb) from public;
grant execute on function orders.erase_customer(jsonb,jsonb) to fusion_worker;

-- function: orders.expire_carts(jsonb,jsonb)
-- src/db/orders/carts/expiry.sql
CREATE OR REPLACE FUNCTION orders.expire_carts(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  due jsonb;
  result jsonb;
  expired integer := 0;
  checked integer := 0;
begin
  perform platform.enter_as(call, '*');
  -- A row that was set aside may have ended in another way since.
  perform platform.clear_set_aside('expire-carts', array(
    select k from unnest(platform.keys_to_retry('expire-carts', 1000)) k
    where not exists (select from orders.carts c where c.id = k and c.status in ('open', 'ordered'))));
  for due in select jsonb_array_elements(orders.due_carts((input->>'limit')::int)) loop
    for result in select jsonb_array_elements(platform.process_rows('expire-carts', 'orders.expire_carts_step',
      due->>'tenant', array(select jsonb_array_elements_text(due->'carts')), input))
    loop
      expired := expired + (result->>'expired')::int;
      checked := checked + (result->>'checked')::int;
    end loop;
  end loop;
  return jsonb_build_object('expired', expired, 'checked', checked);
end
$function$;
alter function orders.expire_carts(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.expire_carts(jsonb,jsonb) from public;
grant execute on function orders.expire_carts(jsonb,jsonb) to fusion_worker;

-- function: orders.expire_carts_step(text[],jsonb)
-- src/db/orders/carts/expiry.sql
CREATE OR REPLACE FUNCTION orders.expire_carts_step(cart_ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  now_at constant timestamptz := platform.clock();
  carts orders.carts[];
  cart orders.carts;
  expired integer := 0;
  checked integer := 0;
  status_now varchar;
begin
  -- The time is checked again under the lock: a shopper may have changed the cart since.
  carts := array(select c from orders.carts c
    where c.id = any(cart_ids) and c.status in ('open', 'ordered') and c.expires_at <= now_at
    order by c.id for update skip locked);
  perform 1 from orders.orders o
    where o.id = any(array(select c.order_id from unnest(carts) c)) order by o.id for share;
  foreach cart in array carts loop
    checked := checked + 1;
    status_now := orders.cart_status(cart, (select o.status from orders.orders o where o.id = cart.order_id));
    if status_now = 'ordered' then
      update orders.carts c set expires_at = now_at + interval '1 hour' where c.id = cart.id;
    else
      status_now := case status_now when 'open' then 'expired' else status_now end;
      update orders.carts c set status = status_now, version = platform.next_version(c.version),
        updated_at = now_at where c.id = cart.id;
      if status_now = 'expired' then
        expired := expired + 1;
        perform platform.emit('cart.expired', cart.id,
          jsonb_build_object('cartId', cart.id, 'customerId', cart.customer_id), false);
      end if;
    end if;
  end loop;
  return jsonb_build_object('expired', expired, 'checked', checked);
end
$function$;
alter function orders.expire_carts_step(text[],jsonb) owner to fusion_orders;
revoke all on function orders.expire_carts_step(text[],jsonb) from public;

-- function: orders.expire_holds(jsonb,jsonb)
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.expire_holds(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant_holds jsonb;
  result jsonb;
  expired integer := 0;
  tenants jsonb := '[]';
begin
  perform platform.enter_as(call, '*');
  for tenant_holds in select jsonb_array_elements(inventory.due_holds((input->>'limit')::int)) loop
    for result in select jsonb_array_elements(platform.process_rows('expire-holds', 'orders.expire_holds_step',
      tenant_holds->>'tenant', array(select jsonb_array_elements_text(tenant_holds->'orders')), input))
    loop
      expired := expired + (result->>'expired')::int;
      tenants := tenants || result;
    end loop;
  end loop;
  return jsonb_build_object('expired', expired, 'tenants', tenants);
end
$function$;
alter function orders.expire_holds(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.expire_holds(jsonb,jsonb) from public;
grant execute on function orders.expire_holds(jsonb,jsonb) to fusion_worker;

-- function: orders.expire_holds_step(text[],jsonb)
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.expire_holds_step(order_ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  ids text[];
  id text;
  expired integer := 0;
begin
  ids := array(
    select o.id from orders.orders o
    where o.id = any(order_ids) and o.status = 'created'
    order by o.id for update skip locked);
  -- Checked again under the locks: an order that was due may have been paid or extended since.
  ids := inventory.lock_due_holds(ids);
  foreach id in array ids loop
    expired := expired + orders.fail_order(id, 'reservation_expired')::int;
  end loop;
  perform payments.end_for_orders(ids, 'failed', 'reservation_expired');
  perform orders.return_uses(ids);
  return jsonb_build_object('tenant', platform.tenant(), 'expired', expired,
    'skus', to_jsonb(inventory.release(ids, 'expired')));
end
$function$;
alter function orders.expire_holds_step(text[],jsonb) owner to fusion_orders;
revoke all on function orders.expire_holds_step(text[],jsonb) from public;

-- function: orders.export_customer(jsonb,jsonb)
-- src/db/orders/erasure.sql
CREATE OR REPLACE FUNCTION orders.export_customer(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'customers:read');
  customer orders.customers;
  cart_ids text[];
  answer jsonb;
begin
  select * into customer from orders.customers c where c.id = input->>'id';
  if not found then
    perform platform.fail('not_found');
  end if;
  cart_ids := array(select c.id from orders.carts c
    where c.tenant_id = customer.tenant_id and c.customer_id = customer.id);
  answer := jsonb_build_object('orders', (
    select coalesce(jsonb_agg(orders.read_order(x.id) order by x.id desc), '[]')
    from (
      select o.id from orders.orders o where o.tenant_id = customer.tenant_id and o.customer_id = customer.id
        and (input->>'before' is null or o.id < input->>'before')
      union
      select o.id from orders.orders o where o.cart_id = any(cart_ids) and (input->>'before' is null or o.id < input->>'before')
      order by 1 desc limit (input->>'limit')::int
    ) x));
  if input->>'before' is null then
    answer := answer || jsonb_build_object('customer', orders.customer_json(customer),
      'carts', (select coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'status', c.status, 'currency', c.currency,
          'items', c.items, 'email', c.email, 'phone', c.phone, 'shippingAddress', c.shipping_address,
          'billingAddress', c.billing_address, 'discountCodes', to_jsonb(c.discount_codes), 'metadata', c.metadata,
          'orderId', c.order_id, 'createdAt', platform.iso(c.created_at), 'updatedAt', platform.iso(c.updated_at))
          order by c.id desc), '[]') from orders.carts c where c.id = any(cart_ids)),
      'places', group_commerce.export_places(customer.id), 'waiting', group_commerce.export_waiting(customer.id));
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'answer', answer, 'replayed', false);
end
$function$;
alter function orders.export_customer(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.export_customer(jsonb,jsonb) from public;
grant execute on function orders.export_customer(jsonb,jsonb) to fusion_worker;

-- function: orders.fail_order(character varying,character varying)
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.fail_order(order_id character varying, reason character varying)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  campaign varchar;
begin
  update orders.orders o set status = 'failed', failure_reason = reason, updated_at = platform.clock(),
      place_open = o.campaign_id is not null
  where o.id = order_id and o.tenant_id = platform.tenant() and o.status = 'created'
  returning o.campaign_id into campaign;
  if not found then
    return false;
  end if;
  perform platform.emit('order.failed', order_id, jsonb_build_object('orderId', order_id, 'reason', reason),
    campaign is not null);
  return true;
end
$function$;
alter function orders.fail_order(character varying,character varying) owner to fusion_orders;
revoke all on function orders.fail_order(character varying,character varying) from public;

-- function: orders.fail_short_orders(jsonb,jsonb)
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.fail_short_orders(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  new_event_ids text[];
  ids text[];
  failed_ids text[] := '{}';
  id text;
  traces jsonb;
begin
  perform platform.enter_as(call, input->>'tenant');
  new_event_ids := platform.claim_new_events('orders',
    array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  ids := array(select m->>'orderId' from jsonb_array_elements(input->'messages') m
    where m->>'eventId' = any(new_event_ids) order by 1);
  perform 1 from orders.orders o where o.id = any(ids) order by o.id for update;
  select coalesce(jsonb_object_agg(m->>'orderId', m->>'traceparent'), '{}') into traces
    from jsonb_array_elements(input->'messages') m where m->>'orderId' = any(ids);
  foreach id in array ids loop
    perform platform.set_trace(traces->>id);
    if orders.fail_order(id, 'insufficient_inventory') then
      failed_ids := failed_ids || id;
    end if;
  end loop;
  perform orders.return_uses(failed_ids);
  perform inventory.mark_orders_informed(ids);
  return jsonb_build_object('failed', cardinality(failed_ids));
end
$function$;
alter function orders.fail_short_orders(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.fail_short_orders(jsonb,jsonb) from public;
grant execute on function orders.fail_short_orders(jsonb,jsonb) to fusion_worker;

-- function: orders.fail_unpaid(character varying,character varying)
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.fail_unpaid(order_id character varying, reason character varying)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform orders.lock_order(order_id);
  if orders.fail_order(order_id, 'payment_failed') then
    perform payments.end_for_orders(array[order_id::text], 'failed', reason);
    perform orders.return_uses(array[order_id::text]);
    perform inventory.release(array[order_id::text], 'payment_failed');
  end if;
end
$function$;
alter function orders.fail_unpaid(character varying,character varying) owner to fusion_orders;
revoke all on function orders.fail_unpaid(character varying,character varying) from public;
grant execute on function orders.fail_unpaid(character varying,character varying) to fusion_payments;

-- function: orders.find_discounts(text[],jsonb,text,numeric,text)
-- src/db/orders/terms.sql
CREATE OR REPLACE FUNCTION orders.find_discounts(codes text[], lines jsonb, currency text, subtotal numeric, customer_key text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  with wanted as (
    select upper(c.code) as key, min(c.code) as code, min(c.ord) as ord
    from unnest(codes) with ordinality c(code, ord) group by upper(c.code)
  ), candidate as (
    select a as discount, null as key from orders.discounts a
    where a.tenant_id = (select platform.tenant()) and a.code is null and a.deleted_at is null
    union all
    select b.discount, w.key from wanted w
    cross join lateral ( -- `limit 1` keeps this a lookup by the unique index for each code
      select c as discount from orders.discounts c
      where c.tenant_id = (select platform.tenant()) and c.code_key = w.key and c.code is not null
        and c.deleted_at is null limit 1
    ) b
  ), found as (
    select c.discount as d, c.key, e.lines,
      case
        when (c.discount).starts_at > platform.clock() then 'not_started'
        when (c.discount).ends_at <= platform.clock() then 'ended'
        when (c.discount).currency <> find_discounts.currency then 'other_currency'
        when (c.discount).min_subtotal > find_discounts.subtotal then 'subtotal_too_low'
        when ((c.discount).skus is not null or (c.discount).collections is not null) and e.lines is null then 'no_item'
        when (c.discount).usage_limit <= (select n.used from orders.discount_counters n
          where n.discount_id = (c.discount).id) then 'used_up'
        when (c.discount).per_customer_limit <= (select n.used from orders.discount_customers n
          where n.discount_id = (c.discount).id and n.customer_key = find_discounts.customer_key) then 'used_by_customer'
      end as fault
    from candidate c
    left join lateral (
      select jsonb_agg(l->>'id') as lines from jsonb_array_elements(find_discounts.lines) l
      where (c.discount).skus is not null and l->>'sku' = any((c.discount).skus)
        or (c.discount).collections is not null
          and array(select jsonb_array_elements_text(l->'collections'))::varchar[] && (c.discount).collections
    ) e on (c.discount).skus is not null or (c.discount).collections is not null
  )
  select jsonb_build_object(
    'discounts', coalesce((select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('id', (f.d).id, 'code', (f.d).code,
        'name', (f.d).name, 'type', (f.d).type, 'value', (f.d).value, 'combinable', (f.d).combinable,
        'lines', f.lines)) order by (f.d).id)
      from found f where f.fault is null), '[]'),
    'invalid', coalesce((select jsonb_agg(jsonb_build_object('code', w.code, 'index', w.ord - 1,
        'reason', coalesce(f.fault, 'unknown'),
        'detail', orders.discount_refusal(coalesce(f.fault, 'unknown'), w.code, f.d)) order by w.ord)
      from wanted w left join found f on f.key = w.key where f.key is null or f.fault is not null), '[]'))
$function$;
alter function orders.find_discounts(text[],jsonb,text,numeric,text) owner to fusion_orders;
revoke all on function orders.find_discounts(text[],jsonb,text,numeric,text) from public;

-- function: orders.find_ended_campaign_orders(timestamp with time zone,integer)
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.find_ended_campaign_orders(until timestamp with time zone, max_rows integer)
 RETURNS TABLE(tenant character varying, order_id character varying, reason character varying)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
  select o.tenant_id, o.id,
    case o.status when 'failed' then coalesce(o.failure_reason, 'order_failed') else 'order_cancelled' end
  from orders.orders o
  where o.place_open and o.campaign_id is not null and o.updated_at <= until order by o.updated_at limit max_rows
$function$;
alter function orders.find_ended_campaign_orders(timestamp with time zone,integer) owner to fusion_orders;
revoke all on function orders.find_ended_campaign_orders(timestamp with time zone,integer) from public;
grant execute on function orders.find_ended_campaign_orders(timestamp with time zone,integer) to fusion_group_commerce;

-- function: orders.find_price(jsonb,jsonb)
-- src/db/orders/prices.sql
CREATE OR REPLACE FUNCTION orders.find_price(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'catalog:read');
  buyer constant varchar := coalesce(platform.shopper()->>'customer', input->>'customerId');
  wanted varchar := input->>'currency';
  product catalog.products;
  lists catalog.price_lists[];
  answer jsonb;
begin
  if api_key.kind = 'session' and (input ? 'organizationId' or coalesce(input->>'customerId', buyer) <> buyer) then
    perform platform.fail('forbidden', jsonb_build_object('reason',
      'A customer session shows the prices of its own customer: leave out customerId and organizationId.'));
  end if;
  if api_key.kind = 'publishable' and input ?| array['customerId', 'organizationId'] then
    perform platform.fail('forbidden', jsonb_build_object('reason',
      'A publishable key shows the prices for everyone: use a secret key, or leave out customerId and organizationId.'));
  end if;
  select * into product from catalog.products c where c.id = input->>'productId';
  if product.status is distinct from 'active' then
    perform platform.fail('not_found', jsonb_build_object('reason', 'There is no such product for sale.'));
  end if;
  wanted := coalesce(wanted, product.currency);
  lists := orders.lists_for(buyer, input->>'organizationId');
  with tier as (
    select 1 as quantity
    union
    select c.min_quantity from unnest(lists) l
    cross join lateral (
      select p.min_quantity from catalog.prices p where p.list_id = l.id and p.sku = product.sku
      order by p.min_quantity limit 100
    ) c where l.currency = wanted
    union
    select (input->>'quantity')::int
  ), priced as (
    select t.quantity, coalesce(p.price, case when wanted = product.currency then product.price end) as price,
      coalesce(p.min_quantity, 1) as min_quantity, p.list_id, p.list_name, coalesce(p.audience, 'catalog') as level
    from tier t left join lateral orders.list_price(lists, product.sku, t.quantity, wanted) p on true
  ), changed as (
    select p.quantity, p.price from (select *, lag(price) over (order by quantity) as previous from priced) p
    where p.price is not null and p.price is distinct from p.previous order by p.quantity limit 100
  )
  select jsonb_build_object('sku', product.sku, 'quantity', p.quantity, 'currency', wanted, 'price', p.price,
    'minQuantity', p.min_quantity, 'source', jsonb_build_object('level', p.level, 'list',
      case when p.list_id is not null then jsonb_build_object('id', p.list_id, 'name', p.list_name) end),
    'breaks', (select jsonb_agg(jsonb_build_object('minQuantity', c.quantity, 'price', c.price) order by c.quantity)
      from changed c))
  into answer
  from priced p where p.quantity = (input->>'quantity')::int and p.price is not null;
  if answer is null then
    answer := jsonb_build_object('error', 'currency_mismatch', 'detail',
      format('This product has no price in %s for this quantity.', wanted));
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'answer', answer, 'replayed', false);
end
$function$;
alter function orders.find_price(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.find_price(jsonb,jsonb) from public;
grant execute on function orders.find_price(jsonb,jsonb) to fusion_worker;

-- function: orders.find_rates(jsonb,text[])
-- src/db/orders/terms.sql
CREATE OR REPLACE FUNCTION orders.find_rates(address jsonb, categories text[])
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  with best as (
    select c.category, r.id, r.name, r.rate
    from (select distinct coalesce(e, '') from unnest(categories) e) c(category)
    cross join (select platform.tenant() || ' ' || (address->>'country') || ' ' as start,
      substring(orders.region_code(address->>'state', address->>'country') from '^[A-Z0-9]{1,3}$') as region) k
    cross join lateral (
      select t.id, t.name, t.rate from orders.tax_rates t
      where t.lookup_key = any(array[k.start || k.region || ' ' || c.category, k.start || k.region || ' ',
        k.start || ' ' || c.category, k.start || ' '])
      order by t.region is null, t.category is null limit 1
    ) r
  ), numbered as (
    select b.*, dense_rank() over (order by b.name, b.rate) - 1 as place from best b -- one sum for each rate
  )
  select jsonb_build_object(
    'rates', coalesce((select jsonb_agg(jsonb_build_object('name', n.name, 'rate', n.rate) order by n.place)
      from (select distinct place, name, rate from numbered) n), '[]'),
    'places', coalesce((select jsonb_object_agg(n.category, n.place) from numbered n), '{}'))
$function$;
alter function orders.find_rates(jsonb,text[]) owner to fusion_orders;
revoke all on function orders.find_rates(jsonb,text[]) from public;

-- function: orders.find_shipping_options(text,text,numeric,numeric)
-- src/db/orders/terms.sql
CREATE OR REPLACE FUNCTION orders.find_shipping_options(country text, currency text, subtotal numeric, weight numeric)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(jsonb_agg(jsonb_build_object('id', o.id, 'name', o.name, 'price', o.price, 'minDays', o.min_days,
    'maxDays', o.max_days, 'taxCategory', o.tax_category) order by o.price, o.id), '[]')
  from (
    select s.id, s.name, case when find_shipping_options.subtotal >= s.free_from then 0 else s.price end as price,
      s.min_days, s.max_days, s.tax_category
    from orders.shipping_options s
    where s.tenant_id = (select platform.tenant()) and find_shipping_options.country = any(s.countries)
      and s.currency = find_shipping_options.currency
      and find_shipping_options.weight between coalesce(s.min_weight, 0) and coalesce(s.max_weight, 'infinity'::numeric)
  ) o
$function$;
alter function orders.find_shipping_options(text,text,numeric,numeric) owner to fusion_orders;
revoke all on function orders.find_shipping_options(text,text,numeric,numeric) from public;

-- function: orders.find_vat_checks(jsonb,jsonb)
-- src/db/orders/vat.sql
CREATE OR REPLACE FUNCTION orders.find_vat_checks(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  unclaimed text[];
begin
  perform platform.enter_as(call, input->>'tenant');
  unclaimed := platform.find_unclaimed_events('orders',
    array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  return (
    select jsonb_build_object('checks', coalesce(jsonb_agg(jsonb_build_object('eventId', m->'eventId',
      'customerId', m->'customerId', 'number', c.vat_number)), '[]'))
    from jsonb_array_elements(input->'messages') m
    cross join lateral (
      select x.vat_number, x.vat_status from orders.customers x where x.id = m->>'customerId' limit 1
    ) c
    where m->>'eventId' = any(unclaimed) and c.vat_status = (select 'pending'));
end
$function$;
alter function orders.find_vat_checks(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.find_vat_checks(jsonb,jsonb) from public;
grant execute on function orders.find_vat_checks(jsonb,jsonb) to fusion_worker;

-- function: orders.fits_currency(numeric,character varying)
-- src/db/orders/terms.sql
CREATE OR REPLACE FUNCTION orders.fits_currency(amount numeric, currency character varying)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select scale(trim_scale(amount)) <= platform.currency_decimals(currency)
$function$;
alter function orders.fits_currency(numeric,character varying) owner to fusion_orders;
revoke all on function orders.fits_currency(numeric,character varying) from public;

-- function: orders.forget_customer_key(character varying)
-- src/db/orders/erasure.sql
CREATE OR REPLACE FUNCTION orders.forget_customer_key(old_key character varying)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  new_key constant varchar := encode(sha256(uuid_send(gen_random_uuid())), 'hex');
begin
  update orders.discount_uses u set customer_key = new_key
  where u.tenant_id = platform.tenant() and u.customer_key = old_key;
  update orders.discount_customers c set customer_key = new_key
  where c.tenant_id = platform.tenant() and c.customer_key = old_key;
end
$function$;
alter function orders.forget_customer_key(character varying) owner to fusion_orders;
revoke all on function orders.forget_customer_key(character varying) from public;

-- function: orders.fraction(numeric,numeric,numeric,numeric)
-- src/db/orders/totals.sql
CREATE OR REPLACE FUNCTION orders.fraction(amount numeric, share numeric, whole numeric, unit numeric)
 RETURNS numeric
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select div(2 * amount * share + whole * unit, 2 * whole * unit) * unit
$function$;
alter function orders.fraction(numeric,numeric,numeric,numeric) owner to fusion_orders;
revoke all on function orders.fraction(numeric,numeric,numeric,numeric) from public;

-- function: orders.frozen_amounts(orders.orders)
-- src/db/orders/carts/pricing.sql
CREATE OR REPLACE FUNCTION orders.frozen_amounts(o orders.orders)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('subtotal', o.subtotal, 'discount', o.discount_total, 'shipping', o.shipping_total,
    'shippingTax', o.shipping_tax, 'tax', o.tax_total, 'total', o.total, 'taxIncluded', o.tax_included,
    'taxLines', o.tax_lines, 'discounts', o.discounts, 'lines', o.lines, 'shippingOptions', '[]'::jsonb)
$function$;
alter function orders.frozen_amounts(orders.orders) owner to fusion_orders;
revoke all on function orders.frozen_amounts(orders.orders) from public;

-- function: orders.fulfil(character varying,integer[],integer[])
-- src/db/orders/fulfilment.sql
CREATE OR REPLACE FUNCTION orders.fulfil(order_id character varying, wanted integer[], former integer[] DEFAULT NULL::integer[])
 RETURNS integer[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  o orders.orders;
  taken integer[];
begin
  select * into o from orders.orders x where x.id = order_id;
  o.fulfilled_quantities := orders.add_unit_lists(o.fulfilled_quantities, array(select -u from unnest(former) u));
  taken := coalesce(wanted, orders.units_left(o));
  if exists (select from unnest(taken, orders.units_left(o)) u(asked, free) where asked > coalesce(free, 0)) then
    return null;
  end if;
  update orders.orders x set fulfilled_quantities = orders.add_unit_lists(o.fulfilled_quantities, taken)
  where x.id = order_id and (former is null and 0 < any (taken) or taken <> former);
  return case when 0 < any (taken) then taken end;
end
$function$;
alter function orders.fulfil(character varying,integer[],integer[]) owner to fusion_orders;
revoke all on function orders.fulfil(character varying,integer[],integer[]) from public;
grant execute on function orders.fulfil(character varying,integer[],integer[]) to fusion_shipping;

-- function: orders.full_order_json(orders.orders,inventory.reservations)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.full_order_json(o orders.orders, r inventory.reservations)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select orders.order_json(o, orders.hold_json(r), (select orders.payment_of(o.id)), (select orders.shipment_of(o.id)))
$function$;
alter function orders.full_order_json(orders.orders,inventory.reservations) owner to fusion_orders;
revoke all on function orders.full_order_json(orders.orders,inventory.reservations) from public;
grant execute on function orders.full_order_json(orders.orders,inventory.reservations) to fusion_reader;

-- function: orders.has_bought(character varying)
-- src/db/orders/campaign-places.sql
CREATE OR REPLACE FUNCTION orders.has_bought(customer_id character varying)
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select exists (select from orders.orders o
    where o.tenant_id = (select platform.tenant()) and o.customer_id = has_bought.customer_id
      and o.status = any((select '{confirmed,shipped,delivered}'::text[])::text[]))
$function$;
alter function orders.has_bought(character varying) owner to fusion_orders;
revoke all on function orders.has_bought(character varying) from public;
grant execute on function orders.has_bought(character varying) to fusion_group_commerce;

-- function: orders.has_details(orders.orders)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.has_details(o orders.orders)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select o.lines is not null or o.cart_id is not null or o.email is not null or o.metadata is not null
    or o.billing_address is not null or o.refunded_quantities is not null or o.fulfilled_quantities is not null
    or o.shipping_refunded is not null
$function$;
alter function orders.has_details(orders.orders) owner to fusion_orders;
revoke all on function orders.has_details(orders.orders) from public;
grant execute on function orders.has_details(orders.orders) to fusion_reader;

-- function: orders.hold_json(inventory.reservations)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.hold_json(r inventory.reservations)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select case when r.status in ('held', 'committed', 'released') then
    jsonb_build_object('status', r.status, 'expiresAt', platform.iso(r.expires_at)) end
$function$;
alter function orders.hold_json(inventory.reservations) owner to fusion_orders;
revoke all on function orders.hold_json(inventory.reservations) from public;
grant execute on function orders.hold_json(inventory.reservations) to fusion_reader;

-- function: orders.is_answer(jsonb,jsonb)
-- src/db/orders/tax-quotes.sql
CREATE OR REPLACE FUNCTION orders.is_answer(quote jsonb, question jsonb)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(quote->>'key' = question->>'key' and (quote->>'expiresAt')::timestamptz > platform.clock(), false)
$function$;
alter function orders.is_answer(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.is_answer(jsonb,jsonb) from public;

-- function: orders.is_in_eu(text)
-- src/db/orders/terms.sql
CREATE OR REPLACE FUNCTION orders.is_in_eu(country text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select country = any(string_to_array(
    'AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK', ' '))
$function$;
alter function orders.is_in_eu(text) owner to fusion_orders;
revoke all on function orders.is_in_eu(text) from public;

-- function: orders.is_reverse_charge(text,jsonb,text,text)
-- src/db/orders/terms.sql
CREATE OR REPLACE FUNCTION orders.is_reverse_charge(seller text, address jsonb, number text, status text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select coalesce(status = 'valid' and orders.is_in_eu(seller) and address->>'country' <> seller
    and case left(number, 2) when 'EL' then 'GR' else left(number, 2) end <> seller
    and (orders.is_in_eu(address->>'country') or address->>'country' = 'GB'
      and (coalesce(orders.region_code(address->>'state', 'GB') = 'NIR', false)
        or coalesce(address->>'postalCode' ~* '^BT *[0-9]', false))), false)
$function$;
alter function orders.is_reverse_charge(text,jsonb,text,text) owner to fusion_orders;
revoke all on function orders.is_reverse_charge(text,jsonb,text,text) from public;

-- function: orders.items_error(jsonb)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.items_error(items jsonb)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select jsonb_build_object('error', 'validation_failed', 'errors', jsonb_build_array(jsonb_build_object(
    'pointer', '/items', 'detail', 'The cart would have more than 200 lines: order these first.')))
  where jsonb_array_length(items) > 200
$function$;
alter function orders.items_error(jsonb) owner to fusion_orders;
revoke all on function orders.items_error(jsonb) from public;

-- function: orders.keep_customer(character varying)
-- src/db/orders/shoppers.sql
CREATE OR REPLACE FUNCTION orders.keep_customer(customer character varying)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform 1 from orders.customers c where c.id = customer for key share;
  if not found then
    perform platform.fail('unauthenticated');
  end if;
end
$function$;
alter function orders.keep_customer(character varying) owner to fusion_orders;
revoke all on function orders.keep_customer(character varying) from public;

-- function: orders.line_messages(jsonb,text)
-- src/db/orders/carts/pricing.sql
CREATE OR REPLACE FUNCTION orders.line_messages(lines jsonb, currency text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_agg(orders.cart_message('error', 'recoverable', l.fault,
      format('/items/%s/%s', l.ord - 1, case l.fault when 'insufficient_inventory' then 'quantity' else 'sku' end),
      case l.fault when 'unknown_sku' then format('No product with SKU "%s" is for sale.', l.sku)
        when 'currency_mismatch' then format('"%s" is not sold in %s.', l.sku, currency)
        else format('Only %s of "%s" can be sold now.', l.available, l.sku) end) order by l.ord)
  from (
    select e.ord, e.line->>'sku' as sku, e.line->>'available' as available, coalesce(e.line->>'fault',
      case when (e.line->>'quantity')::int > (e.line->>'available')::int then 'insufficient_inventory' end) as fault
    from jsonb_array_elements(lines) with ordinality e(line, ord)
  ) l where l.fault is not null
$function$;
alter function orders.line_messages(jsonb,text) owner to fusion_orders;
revoke all on function orders.line_messages(jsonb,text) from public;

-- function: orders.lines_agree(jsonb,numeric,numeric,numeric,numeric,boolean,jsonb)
-- src/db/orders/totals.sql
CREATE OR REPLACE FUNCTION orders.lines_agree(lines jsonb, subtotal numeric, discount numeric, tax numeric, shipping_tax numeric, tax_included boolean, tax_lines jsonb)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
begin
  return (select coalesce(sum(l.subtotal) = lines_agree.subtotal and sum(l.discount) = lines_agree.discount
      and sum(l.tax) + shipping_tax = lines_agree.tax
      and bool_and(coalesce(l.subtotal >= l.discount and l.discount >= 0 and l.tax >= 0
        and l.total = l.subtotal - l.discount + case when tax_included then 0 else l.tax end, false)), false)
    and coalesce((select sum((t->>'amount')::numeric) from jsonb_array_elements(tax_lines) t), 0) = lines_agree.tax
  from jsonb_to_recordset(lines) l(subtotal numeric, discount numeric, tax numeric, total numeric));
end
$function$;
alter function orders.lines_agree(jsonb,numeric,numeric,numeric,numeric,boolean,jsonb) owner to fusion_orders;
revoke all on function orders.lines_agree(jsonb,numeric,numeric,numeric,numeric,boolean,jsonb) from public;

-- function: orders.lines_of(orders.orders)
-- src/db/orders/refund-amounts.sql
CREATE OR REPLACE FUNCTION orders.lines_of(o orders.orders)
 RETURNS TABLE(place integer, sku text, quantity integer, total numeric, refunded integer, refunded_amount numeric, restocked integer, returned integer, fulfilled integer)
 LANGUAGE sql
 STABLE
AS $function$
  select i.place::int, i.item->>'sku', (i.item->>'quantity')::int,
    coalesce((o.lines->(i.place::int - 1)->>'total')::numeric,
      (i.item->>'quantity')::numeric * (i.item->>'price')::numeric),
    coalesce(o.refunded_quantities[i.place], 0), coalesce(o.refunded_amounts[i.place], 0), coalesce(o.restocked_quantities[i.place], 0),
    coalesce(o.returned_quantities[i.place], 0), coalesce(o.fulfilled_quantities[i.place],
      case when o.status in ('shipped', 'delivered') then (i.item->>'quantity')::int else 0 end)
  from jsonb_array_elements(o.items) with ordinality i(item, place)
$function$;
alter function orders.lines_of(orders.orders) owner to fusion_orders;
revoke all on function orders.lines_of(orders.orders) from public;

-- function: orders.list_price(catalog.price_lists[],character varying,bigint,character varying)
-- src/db/orders/prices.sql
CREATE OR REPLACE FUNCTION orders.list_price(lists catalog.price_lists[], sku character varying, quantity bigint, currency character varying)
 RETURNS TABLE(price numeric, min_quantity integer, list_id character varying, list_name character varying, audience character varying)
 LANGUAGE sql
 STABLE ROWS 1
AS $function$
  select p.price, p.min_quantity, l.id, l.name, l.audience
  from unnest(list_price.lists) l
  cross join lateral ( -- `limit 1` keeps this a lookup by the primary key for each list
    select c.price, c.min_quantity from catalog.prices c
    where c.list_id = l.id and c.sku = list_price.sku and c.min_quantity <= list_price.quantity
    order by c.min_quantity desc limit 1
  ) p
  where l.currency = list_price.currency
  order by case l.audience when 'organization' then 1 when 'group' then 2 else 3 end, p.price, l.id limit 1
$function$;
alter function orders.list_price(catalog.price_lists[],character varying,bigint,character varying) owner to fusion_orders;
revoke all on function orders.list_price(catalog.price_lists[],character varying,bigint,character varying) from public;

-- function: orders.lists_for(character varying,character varying)
-- src/db/orders/prices.sql
CREATE OR REPLACE FUNCTION orders.lists_for(customer_id character varying, organization_id character varying)
 RETURNS catalog.price_lists[]
 LANGUAGE sql
 STABLE
AS $function$
  select array(
    select l from (
      select o from catalog.price_lists o
      where o.tenant_id = (select platform.tenant()) and o.audience = 'all'
      union all
      select o from (values ('organization', organization_id),
        ('group', (select c.customer_group from orders.customers c where c.id = lists_for.customer_id))) a(kind, id)
      join catalog.price_lists o
        on o.tenant_id = (select platform.tenant()) and o.audience = a.kind and o.audience_id = a.id
    ) found(l)
    where ((l).starts_at is null or (l).starts_at <= platform.clock())
      and ((l).ends_at is null or (l).ends_at > platform.clock()))
$function$;
alter function orders.lists_for(character varying,character varying) owner to fusion_orders;
revoke all on function orders.lists_for(character varying,character varying) from public;

-- function: orders.lock_cart(jsonb)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.lock_cart(input jsonb)
 RETURNS orders.carts
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  customer constant varchar := platform.shopper()->>'customer';
  cart orders.carts;
begin
  if customer is not null then
    perform orders.keep_customer(customer);
  end if;
  select * into cart from orders.carts c where c.id = input->>'id' and orders.may_reach_cart(c) for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not input->'ifMatch' @> to_jsonb(cart.version) then
    perform platform.fail('version_mismatch');
  end if;
  if cart.customer_id is null and customer is not null then
    cart.customer_id := customer;
    cart.email := coalesce(cart.email, (select c.email from orders.customers c where c.id = customer));
  end if;
  return cart;
end
$function$;
alter function orders.lock_cart(jsonb) owner to fusion_orders;
revoke all on function orders.lock_cart(jsonb) from public;

-- function: orders.lock_discount(character varying,jsonb)
-- src/db/orders/discounts.sql
CREATE OR REPLACE FUNCTION orders.lock_discount(discount_id character varying, versions jsonb)
 RETURNS orders.discounts
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  discount orders.discounts;
begin
  select * into discount from orders.discounts d where d.id = discount_id for no key update;
  if not found or discount.deleted_at is not null then
    perform platform.fail('not_found');
  end if;
  if not versions @> to_jsonb(discount.version) then
    perform platform.fail('version_mismatch');
  end if;
  return discount;
end
$function$;
alter function orders.lock_discount(character varying,jsonb) owner to fusion_orders;
revoke all on function orders.lock_discount(character varying,jsonb) from public;

-- function: orders.lock_open_cart(jsonb)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.lock_open_cart(input jsonb)
 RETURNS orders.carts
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  cart constant orders.carts := orders.lock_cart(input);
begin
  perform orders.require_open(cart, case when cart.order_id is not null then
    (select o.status from orders.orders o where o.id = cart.order_id) end);
  return cart;
end
$function$;
alter function orders.lock_open_cart(jsonb) owner to fusion_orders;
revoke all on function orders.lock_open_cart(jsonb) from public;

-- function: orders.lock_order(character varying)
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.lock_order(order_id character varying)
 RETURNS orders.orders
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select * from orders.orders o where o.id = order_id for update
$function$;
alter function orders.lock_order(character varying) owner to fusion_orders;
revoke all on function orders.lock_order(character varying) from public;
grant execute on function orders.lock_order(character varying) to fusion_payments, fusion_shipping;

-- function: orders.lock_order_of(orders.carts)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.lock_order_of(cart orders.carts)
 RETURNS orders.orders
 LANGUAGE sql
AS $function$
  select * from orders.orders o where o.id = cart.order_id for update
$function$;
alter function orders.lock_order_of(orders.carts) owner to fusion_orders;
revoke all on function orders.lock_order_of(orders.carts) from public;

-- function: orders.lock_orders(text[])
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.lock_orders(order_ids text[])
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select 1 from orders.orders o where o.id = any(order_ids) order by o.id for update
$function$;
alter function orders.lock_orders(text[]) owner to fusion_orders;
revoke all on function orders.lock_orders(text[]) from public;
grant execute on function orders.lock_orders(text[]) to fusion_payments;

-- function: orders.lock_shipping_option(character varying,jsonb)
-- src/db/orders/shipping-options.sql
CREATE OR REPLACE FUNCTION orders.lock_shipping_option(option_id character varying, versions jsonb)
 RETURNS orders.shipping_options
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  option orders.shipping_options;
begin
  select * into option from orders.shipping_options o where o.id = option_id for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not versions @> to_jsonb(option.version) then
    perform platform.fail('version_mismatch');
  end if;
  return option;
end
$function$;
alter function orders.lock_shipping_option(character varying,jsonb) owner to fusion_orders;
revoke all on function orders.lock_shipping_option(character varying,jsonb) from public;

-- function: orders.lock_tax_rate(character varying,jsonb)
-- src/db/orders/tax-rates.sql
CREATE OR REPLACE FUNCTION orders.lock_tax_rate(rate_id character varying, versions jsonb)
 RETURNS orders.tax_rates
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tax_rate orders.tax_rates;
begin
  select * into tax_rate from orders.tax_rates r where r.id = rate_id for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not versions @> to_jsonb(tax_rate.version) then
    perform platform.fail('version_mismatch');
  end if;
  return tax_rate;
end
$function$;
alter function orders.lock_tax_rate(character varying,jsonb) owner to fusion_orders;
revoke all on function orders.lock_tax_rate(character varying,jsonb) from public;

-- function: orders.lock_uses(text[])
-- src/db/orders/discount-uses.sql
CREATE OR REPLACE FUNCTION orders.lock_uses(order_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
declare
  uses orders.discount_uses[];
begin
  uses := array(select u from orders.discount_uses u where u.order_id = any(order_ids));
  if cardinality(uses) = 0 then
    return;
  end if;
  perform 1 from orders.discounts d
    where d.id = any(array(select u.discount_id from unnest(uses) u)) order by d.id for key share;
  perform 1 from orders.discount_counters c
    where c.discount_id = any(array(select u.discount_id from unnest(uses) u)) order by c.discount_id for no key update;
  perform 1 from (select distinct u.discount_id, u.customer_key from unnest(uses) u order by 1, 2) u
    cross join lateral (
      select 1 from orders.discount_customers c
      where c.discount_id = u.discount_id and c.customer_key = u.customer_key limit 1 for no key update
    ) c;
end
$function$;
alter function orders.lock_uses(text[]) owner to fusion_orders;
revoke all on function orders.lock_uses(text[]) from public;
grant execute on function orders.lock_uses(text[]) to fusion_payments;

-- function: orders.lower_taxes(jsonb,jsonb,character varying)
-- src/db/orders/campaign-places.sql
CREATE OR REPLACE FUNCTION orders.lower_taxes(amounts jsonb, totals jsonb, currency character varying)
 RETURNS jsonb
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  unit constant numeric := case platform.currency_decimals(currency) when 0 then 1 else 0.01 end;
  included constant boolean := (amounts->>'taxIncluded')::boolean;
  rate constant numeric := (select coalesce(sum((t->>'rate')::numeric), 0)
    from jsonb_array_elements(amounts->'taxLines') t);
  whole constant numeric := 100 + case when included then rate else 0 end;
  line constant numeric := amounts->>'subtotal';
  line_tax constant numeric := amounts->'lines'->0->>'tax';
  lower_line constant numeric := totals->>'subtotal';
  is_explained constant boolean := abs(orders.fraction(line, rate, whole, unit) - line_tax)
    <= unit * jsonb_array_length(amounts->'taxLines');
  lower_tax constant numeric := least(line_tax, case when is_explained then orders.fraction(lower_line, rate, whole, unit)
    else orders.fraction(line_tax, lower_line, line, unit) end);
  difference constant numeric := line - lower_line - case when included then line_tax - lower_tax else 0 end;
begin
  return jsonb_build_object('lines', jsonb_build_array(jsonb_build_object('id', '1', 'amount', lower_tax)),
    'shipping', amounts->'shippingTax', 'taxLines', (
      select coalesce(jsonb_agg(e.tax_line || jsonb_build_object('taxable', n.taxable,
        'amount', orders.fraction(n.taxable, (e.tax_line->>'rate')::numeric, 100, unit)) order by e.ord), '[]')
      from jsonb_array_elements(amounts->'taxLines') with ordinality e(tax_line, ord)
      cross join lateral (select case when is_explained
        then greatest(0, (e.tax_line->>'taxable')::numeric - difference)
        else orders.fraction((e.tax_line->>'taxable')::numeric, lower_line, line, unit) end as taxable) n));
end
$function$;
alter function orders.lower_taxes(jsonb,jsonb,character varying) owner to fusion_orders;
revoke all on function orders.lower_taxes(jsonb,jsonb,character varying) from public;

-- function: orders.mark_places_freed(text[])
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.mark_places_freed(order_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform 1 from orders.orders o
    where o.id = any(order_ids) order by o.id for update;
  update orders.orders o set place_open = false
  where o.id = any(order_ids) and o.place_open = (select true);
end
$function$;
alter function orders.mark_places_freed(text[]) owner to fusion_orders;
revoke all on function orders.mark_places_freed(text[]) from public;
grant execute on function orders.mark_places_freed(text[]) to fusion_group_commerce;

-- function: orders.mark_refunded(character varying,boolean)
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.mark_refunded(order_id character varying, restock boolean DEFAULT NULL::boolean)
 RETURNS text[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  order_row orders.orders;
  has_label boolean;
begin
  select * into order_row from orders.orders o where o.id = order_id;
  -- A place in a campaign has a payment before it has an order.
  if not found or order_row.status not in ('confirmed', 'shipped', 'delivered') then
    return '{}';
  end if;
  update orders.orders o set status = 'refunded', updated_at = platform.clock() where o.id = order_id;
  perform platform.emit('order.refunded', order_id, jsonb_build_object('orderId', order_id), false);
  has_label := shipping.end_shipment(order_id);
  return case when coalesce(restock, order_row.status = 'confirmed' and not has_label)
    then orders.restock_rest(order_row, 'refunded') else '{}' end;
end
$function$;
alter function orders.mark_refunded(character varying,boolean) owner to fusion_orders;
revoke all on function orders.mark_refunded(character varying,boolean) from public;
grant execute on function orders.mark_refunded(character varying,boolean) to fusion_payments;

-- function: orders.may_reach_cart(orders.carts)
-- src/db/orders/shoppers.sql
CREATE OR REPLACE FUNCTION orders.may_reach_cart(cart orders.carts)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select platform.shopper() is null or coalesce(cart.token_hash = platform.shopper()->>'cartHash', false)
    or coalesce(cart.customer_id = platform.shopper()->>'customer', false)
$function$;
alter function orders.may_reach_cart(orders.carts) owner to fusion_orders;
revoke all on function orders.may_reach_cart(orders.carts) from public;

-- function: orders.may_reach_customer(orders.customers)
-- src/db/orders/customers.sql
CREATE OR REPLACE FUNCTION orders.may_reach_customer(c orders.customers)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select platform.shopper() is null or coalesce(c.id = platform.shopper()->>'customer', false)
$function$;
alter function orders.may_reach_customer(orders.customers) owner to fusion_orders;
revoke all on function orders.may_reach_customer(orders.customers) from public;

-- function: orders.may_reach_order(orders.orders)
-- src/db/orders/shoppers.sql
CREATE OR REPLACE FUNCTION orders.may_reach_order(o orders.orders)
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select platform.shopper() is null or coalesce(o.customer_id = platform.shopper()->>'customer', false)
    or exists (select from orders.carts c where c.id = o.cart_id and c.token_hash = platform.shopper()->>'cartHash')
$function$;
alter function orders.may_reach_order(orders.orders) owner to fusion_orders;
revoke all on function orders.may_reach_order(orders.orders) from public;
grant execute on function orders.may_reach_order(orders.orders) to fusion_payments;

-- function: orders.may_reach_order_id(character varying)
-- src/db/orders/shoppers.sql
CREATE OR REPLACE FUNCTION orders.may_reach_order_id(order_id character varying)
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select coalesce((select orders.may_reach_order(o) from orders.orders o where o.id = may_reach_order_id.order_id), false)
$function$;
alter function orders.may_reach_order_id(character varying) owner to fusion_orders;
revoke all on function orders.may_reach_order_id(character varying) from public;
grant execute on function orders.may_reach_order_id(character varying) to fusion_payments, fusion_shipping;

-- function: orders.merge_items(jsonb,jsonb)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.merge_items(before jsonb, wanted jsonb)
 RETURNS jsonb
 LANGUAGE sql
AS $function$
  select coalesce(jsonb_agg(jsonb_build_object('id', coalesce(b.id, platform.uuid7()), 'sku', w.sku,
    'quantity', w.quantity) order by w.ord) filter (where w.quantity > 0), '[]')
  from (
    select e.item->>'sku' as sku, sum((e.item->>'quantity')::int) as quantity, min(e.ord) as ord
    from jsonb_array_elements(wanted) with ordinality e(item, ord) group by 1
  ) w
  left join (select e->>'sku' as sku, e->>'id' as id from jsonb_array_elements(before) e) b on b.sku = w.sku
$function$;
alter function orders.merge_items(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.merge_items(jsonb,jsonb) from public;

-- function: orders.order_json(orders.orders,jsonb,jsonb,jsonb)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.order_json(o orders.orders, hold jsonb, payment jsonb DEFAULT NULL::jsonb, shipment jsonb DEFAULT NULL::jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', o.id, 'customerId', o.customer_id, 'items', o.items, 'total', o.total,
    'currency', o.currency, 'status', o.status, 'failureReason', o.failure_reason,
    'organizationId', o.organization_id, 'purchaseOrderNumber', o.purchase_order_number,
    'shippingAddress', o.shipping_address, 'campaignId', o.campaign_id, 'reservation', hold, 'payment', payment,
    'shipment', shipment, 'createdAt', platform.iso(o.created_at), 'updatedAt', platform.iso(o.updated_at))
    || case when orders.has_details(o) then orders.details_json(o) else '{}' end
$function$;
alter function orders.order_json(orders.orders,jsonb,jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.order_json(orders.orders,jsonb,jsonb,jsonb) from public;
grant execute on function orders.order_json(orders.orders,jsonb,jsonb,jsonb) to fusion_reader;

-- function: orders.order_of_cart(orders.carts,jsonb)
-- src/db/orders/carts/checkout.sql
CREATE OR REPLACE FUNCTION orders.order_of_cart(cart orders.carts, input jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', input->'orderId', 'holdSeconds', input->'holdSeconds', 'cartId', cart.id,
    'customerId', coalesce(cart.customer_id, cart.id), 'organizationId', cart.organization_id,
    'purchaseOrderNumber', cart.purchase_order_number, 'email', cart.email, 'metadata', cart.metadata,
    'source', cart.source, 'billingAddress', cart.billing_address,
    'shippingAddress', case when cart.phone is null then cart.shipping_address
      else jsonb_build_object('phone', cart.phone) || cart.shipping_address end)
$function$;
alter function orders.order_of_cart(orders.carts,jsonb) owner to fusion_orders;
revoke all on function orders.order_of_cart(orders.carts,jsonb) from public;

-- function: orders.ordered_items(jsonb,orders.orders)
-- src/db/orders/carts/pricing.sql
CREATE OR REPLACE FUNCTION orders.ordered_items(cart_items jsonb, o orders.orders)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_agg(jsonb_build_object('id', coalesce(
      (select c->>'id' from jsonb_array_elements(cart_items) c where c->>'sku' = i->>'sku'), md5(o.id || ord)::uuid::text),
    'sku', i->'sku', 'quantity', i->'quantity') order by ord)
  from jsonb_array_elements(o.items) with ordinality e(i, ord)
$function$;
alter function orders.ordered_items(jsonb,orders.orders) owner to fusion_orders;
revoke all on function orders.ordered_items(jsonb,orders.orders) from public;

-- function: orders.payment_of(character varying)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.payment_of(order_id character varying)
 RETURNS SETOF jsonb
 LANGUAGE sql
 STABLE ROWS 1
AS $function$
  select payments.payment_json(p) from payments.payments p
  where p.order_id = payment_of.order_id order by p.status in ('pending', 'succeeded') desc, p.payment_id desc limit 1
$function$;
alter function orders.payment_of(character varying) owner to fusion_orders;
revoke all on function orders.payment_of(character varying) from public;
grant execute on function orders.payment_of(character varying) to fusion_reader;

-- function: orders.place_campaign_order(jsonb)
-- src/db/orders/campaign-places.sql
CREATE OR REPLACE FUNCTION orders.place_campaign_order(input jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  amounts constant jsonb := nullif(input->'amounts', 'null');
begin
  with new_order as (
    insert into orders.orders (id, customer_id, items, total, currency, status, tenant_id, campaign_id, shipping_address,
      billing_address, email, metadata, subtotal, discount_total, shipping_total, shipping_tax, tax_total, tax_included,
      tax_lines, tax_calculation, discounts, shipping_option, lines, created_at, updated_at)
    values (input->>'id', input->>'customerId',
      jsonb_build_array(jsonb_build_object('sku', input->'sku', 'quantity', input->'quantity', 'price', input->'price')),
      coalesce((amounts->>'total')::numeric, (input->>'price')::numeric), input->>'currency', 'created',
      platform.tenant(), input->>'campaignId', nullif(input->'shippingAddress', 'null'),
      nullif(input->'billingAddress', 'null'), input->>'email', nullif(input->'metadata', 'null'),
      (amounts->>'subtotal')::numeric, (amounts->>'discount')::numeric, (amounts->>'shipping')::numeric,
      (amounts->>'shippingTax')::numeric, (amounts->>'tax')::numeric, (amounts->>'taxIncluded')::boolean,
      amounts->'taxLines', amounts->>'taxCalculation', case when amounts is not null then '[]'::jsonb end,
      nullif(amounts->'shippingOption', 'null'), amounts->'lines', platform.clock(), platform.clock())
    returning *
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select o.tenant_id, 'order.created', o.id, orders.created_json(o), platform.trace(), o.created_at from new_order o
    returning tenant_id, seq, key
  )
  insert into platform.outbox (tenant_id, sink, seq, key, due_at)
  select e.tenant_id, s, e.seq, e.key, platform.due_now() from event e, unnest(platform.sinks_of(false)) s;
end
$function$;
alter function orders.place_campaign_order(jsonb) owner to fusion_orders;
revoke all on function orders.place_campaign_order(jsonb) from public;
grant execute on function orders.place_campaign_order(jsonb) to fusion_group_commerce;

-- function: orders.place_order(jsonb,jsonb)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.place_order(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  answer jsonb := platform.enter(call, 'orders:write', 'orders.place'); -- the stored answer, if it is a replay
  order_id constant varchar := input->>'id';
  deferred constant boolean := (input->>'async')::boolean;
  priced record;
  added record;
  opens_payment boolean;
  shortages jsonb;
  amounts jsonb; -- what orders.settle_order returns; null for an order that has only its items
begin
  if answer is not null then
    return answer;
  end if;
  priced := orders.price_items(input);
  if priced.refusal is not null then
    return platform.leave(call, 'orders.place', priced.refusal);
  end if;
  if priced.has_terms then
    amounts := orders.settle_order(priced.items, input || jsonb_build_object('currency', priced.currency));
    if amounts ? 'error' then
      return platform.leave(call, 'orders.place', amounts);
    elsif amounts->>'taxQuestion' is not null then -- not stored: the Worker asks, and calls again with `taxQuote`
      return jsonb_build_object('tenant', platform.tenant(), 'replayed', false, 'answer',
        jsonb_build_object('error', 'unavailable', 'taxQuestion', amounts->'taxQuestion'));
    end if;
    priced.total := amounts->>'total';
  end if;
  added := orders.add_order(input, priced.items, priced.total, priced.currency, amounts, deferred);
  answer := added.answer;
  if amounts->'discounts' <> '[]' then
    perform orders.take_uses(order_id, amounts->'discounts', amounts->>'customerKey');
  end if;
  if deferred then
    perform inventory.add_pending_hold(order_id, priced.skus, priced.quantities);
    return platform.leave(call, 'orders.place', answer);
  end if;
  opens_payment := input ? 'paymentId' and priced.total > 0;
  -- The contended rows come last, so that a popular SKU is locked only for the rest of this call and the commit.
  shortages := inventory.reserve(order_id, priced.skus, priced.quantities, added.held_until, not opens_payment);
  if shortages is not null then
    perform orders.fail_order(order_id, 'insufficient_inventory');
    perform orders.return_uses(array[order_id::text]);
    answer := jsonb_build_object('error', 'insufficient_inventory', 'orderId', order_id, 'shortages', shortages);
  elsif opens_payment then
    answer := answer || jsonb_build_object('payment',
      payments.open_with_order(input->>'paymentId', order_id, priced.total, priced.currency)
        || jsonb_build_object('taxCalculation', amounts->'taxCalculation'));
  end if;
  return platform.leave(call, 'orders.place', answer);
end
$function$;
alter function orders.place_order(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.place_order(jsonb,jsonb) from public;
grant execute on function orders.place_order(jsonb,jsonb) to fusion_worker;

-- function: orders.price_cart(orders.carts)
-- src/db/orders/carts/pricing.sql
CREATE OR REPLACE FUNCTION orders.price_cart(cart orders.carts)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  order_row orders.orders;
  status varchar;
  lines jsonb;
  amounts jsonb;
begin
  if cart.order_id is not null then
    select * into order_row from orders.orders o where o.id = cart.order_id;
  end if;
  status := orders.cart_status(cart, order_row.status);
  if status in ('ordered', 'completed') and order_row.lines is not null then
    cart.items := orders.ordered_items(cart.items, order_row);
    return jsonb_build_object('status', status, 'lines', orders.cart_lines(cart, order_row.items),
      'amounts', orders.frozen_amounts(order_row), 'messages', '[]'::jsonb);
  end if;
  lines := orders.cart_lines(cart, null);
  amounts := orders.settle(lines,
    jsonb_build_object('currency', cart.currency, 'customerId', cart.customer_id, 'email', cart.email,
      'shippingAddress', cart.shipping_address, 'billingAddress', cart.billing_address,
      'shippingOptionId', cart.shipping_option_id, 'discountCodes', to_jsonb(cart.discount_codes),
      'taxQuote', cart.tax_quote));
  return jsonb_build_object('status', status, 'lines', lines, 'amounts', amounts,
    'messages', case when status = 'open' then orders.cart_messages(cart, lines, amounts) else '[]' end);
end
$function$;
alter function orders.price_cart(orders.carts) owner to fusion_orders;
revoke all on function orders.price_cart(orders.carts) from public;

-- function: orders.price_changed_error(orders.carts,jsonb)
-- src/db/orders/carts/checkout.sql
CREATE OR REPLACE FUNCTION orders.price_changed_error(cart orders.carts, priced jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('error', 'price_changed', 'detail',
    'The total of the cart has changed. Nothing was ordered: show the shopper the new `cart`.',
    'cart', orders.cart_json(cart, priced))
$function$;
alter function orders.price_changed_error(orders.carts,jsonb) owner to fusion_orders;
revoke all on function orders.price_changed_error(orders.carts,jsonb) from public;

-- function: orders.price_items(jsonb)
-- src/db/orders/prices.sql
CREATE OR REPLACE FUNCTION orders.price_items(input jsonb, OUT items jsonb, OUT total numeric, OUT currency character varying, OUT skus text[], OUT quantities integer[], OUT refusal jsonb, OUT has_terms boolean)
 RETURNS record
 LANGUAGE plpgsql
 STABLE
AS $function$
declare
  quoted constant boolean := coalesce(input->>'pricing', '') = 'quoted';
  expected_currency constant varchar := input->>'currency';
  line constant jsonb := input->'items'->0;
  tenant constant varchar := platform.tenant();
  wants_terms constant boolean := input ?| array['discountCodes', 'shippingOptionId'];
  is_simple boolean;
  priced jsonb;
begin
  if jsonb_array_length(input->'items') = 1 then
    skus := array[line->>'sku'];
    quantities := array[(line->>'quantity')::int];
    select jsonb_build_array(jsonb_build_object('sku', c.sku, 'quantity', quantities[1], 'price', p.price)),
      quantities[1] * p.price, c.currency,
      p.price = coalesce((line->>'price')::numeric, p.price) and c.currency = coalesce(expected_currency, c.currency)
        and p.price = trunc(p.price, platform.currency_decimals(c.currency))
        and not c.has_list_prices,
      wants_terms or exists (select from orders.tax_rates t where t.tenant_id = tenant)
        or exists (select from orders.discounts d where d.tenant_id = tenant and d.code is null and d.deleted_at is null)
        or exists (select from platform.tenants t where t.id = tenant and t.tax_provider <> 'table')
    into items, total, currency, is_simple, has_terms
    from catalog.products c
    cross join lateral (select case when quoted then coalesce((line->>'price')::numeric, c.price) else c.price end) p(price)
    where c.tenant_id = tenant and c.sku = skus[1] and c.status = 'active' limit 1;
  else
    select jsonb_agg(jsonb_build_object('sku', m.sku, 'quantity', m.quantity, 'price', m.price) order by m.ord),
      sum(m.quantity * m.price), min(m.currency), array_agg(m.sku order by m.sku),
      array_agg(least(m.quantity, 2147483647)::int order by m.sku),
      bool_and(m.is_simple) and min(m.currency) = max(m.currency)
        and min(m.currency) = coalesce(expected_currency, min(m.currency))
        and max(m.quantity) <= 2147483647 and count(*) = count(distinct m.sku),
      wants_terms or exists (select from orders.tax_rates t where t.tenant_id = tenant)
        or exists (select from orders.discounts d where d.tenant_id = tenant and d.code is null and d.deleted_at is null)
        or exists (select from platform.tenants t where t.id = tenant and t.tax_provider <> 'table')
    into items, total, currency, skus, quantities, is_simple, has_terms
    from (
      select min(l.ord) as ord, l.sku, sum(l.quantity) as quantity, l.price, min(l.currency) as currency,
        bool_and(l.currency is not null and not l.has_list_prices and (quoted or l.stated is null or l.stated = l.listed)
          and l.price = trunc(l.price, platform.currency_decimals(l.currency))) as is_simple
      from (
        select g.ord, g.sku, g.quantity, g.stated, p.price as listed, p.currency, p.has_list_prices,
          case when quoted then coalesce(g.stated, p.price) else p.price end as price
        from (
          select ord, item->>'sku' as sku, (item->>'quantity')::int as quantity, (item->>'price')::numeric as stated
          from jsonb_array_elements(input->'items') with ordinality e(item, ord)
        ) g
        left join lateral ( -- `limit 1` keeps this a lookup by the unique index for each line
          select c.price, c.currency, c.has_list_prices from catalog.products c
          where c.tenant_id = tenant and c.sku = g.sku and c.status = 'active' limit 1
        ) p on true
      ) l group by l.sku, l.price
    ) m;
  end if;
  if is_simple and (has_terms or platform.is_chargeable(total, currency)) then
    return;
  end if;
  priced := orders.price_lines(input || jsonb_build_object('hasTerms', has_terms));
  if priced ? 'error' then
    refusal := priced;
    return;
  end if;
  items := priced->'items';
  total := priced->>'total';
  currency := priced->>'currency';
  skus := array(select jsonb_array_elements_text(priced->'skus'));
  quantities := array(select jsonb_array_elements_text(priced->'quantities')::int);
end
$function$;
alter function orders.price_items(jsonb) owner to fusion_orders;
revoke all on function orders.price_items(jsonb) from public;

-- function: orders.price_lines(jsonb)
-- src/db/orders/prices.sql
CREATE OR REPLACE FUNCTION orders.price_lines(input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  quoted constant boolean := coalesce(input->>'pricing', '') = 'quoted';
  lists constant catalog.price_lists[] := orders.lists_for(input->>'customerId', input->>'organizationId');
  priced jsonb;
  fault text;
begin
  with line as (
    -- `limit 1` keeps this a lookup by the unique index for each line, whatever row count the planner expects.
    select l.ord, l.item->>'sku' as sku, (l.item->>'quantity')::int as quantity, (l.item->>'price')::numeric as stated,
      sum((l.item->>'quantity')::int) over (partition by l.item->>'sku') as sku_quantity,
      p.price as catalog_price, p.currency as catalog_currency, coalesce(input->>'currency', p.currency) as wanted
    from jsonb_array_elements(input->'items') with ordinality l(item, ord)
    left join lateral (
      select c.price, c.currency from catalog.products c
      where c.tenant_id = (select platform.tenant()) and c.sku = l.item->>'sku' and c.status = 'active' limit 1
    ) p on true
  ), listed as (
    select l.ord, l.sku, l.quantity, l.stated, coalesce(p.price, l.catalog_price) as listed,
      case when l.catalog_currency is not null and p.price is not null then l.wanted else l.catalog_currency end
        as currency
    from line l left join lateral orders.list_price(lists, l.sku, l.sku_quantity, l.wanted) p on true
  ), final as (
    select l.*, case when quoted then coalesce(l.stated, l.listed) else l.listed end as price from listed l
  ), merged as (
    select min(f.ord) as ord, f.sku, sum(f.quantity) as quantity, f.price from final f group by f.sku, f.price
  ), needed as (
    select m.sku, sum(m.quantity) as quantity from merged m group by m.sku
  )
  select jsonb_build_object(
    'unknown', (select jsonb_agg(jsonb_build_object('pointer', format('/items/%s/sku', f.ord - 1),
      'detail', format('No product with SKU "%s" is for sale.', f.sku)) order by f.ord) from final f
        where f.currency is null),
    'currencies', (select jsonb_agg(distinct f.currency) from final f where f.currency is not null),
    'changed', (select jsonb_agg(jsonb_build_object('pointer', format('/items/%s/price', f.ord - 1),
      'detail', format('The price of "%s" is %s, not %s.', f.sku, f.listed, f.stated)) order by f.ord)
      from final f where not quoted and f.stated <> f.listed),
    'misfit', (select jsonb_agg(jsonb_build_object('pointer', format('/items/%s/price', f.ord - 1),
      'detail', format('%s has no decimals: %s does not fit.', f.currency, f.price)) order by f.ord)
      from final f where scale(trim_scale(f.price)) > platform.currency_decimals(f.currency)),
    'items', (select jsonb_agg(jsonb_build_object('sku', m.sku, 'quantity', m.quantity, 'price', m.price)
      order by m.ord)
      from merged m),
    'total', (select sum(m.quantity * m.price) from merged m),
    'most', (select max(n.quantity) from needed n),
    'skus', (select jsonb_agg(n.sku order by n.sku) from needed n),
    'quantities', (select jsonb_agg(n.quantity order by n.sku) from needed n)
  ) into priced;

  if priced->'unknown' <> 'null' then
    return jsonb_build_object('error', 'unknown_sku', 'errors', priced->'unknown');
  end if;
  if jsonb_array_length(priced->'currencies') > 1 or priced->'currencies'->>0 <> input->>'currency' then
    return jsonb_build_object('error', 'currency_mismatch', 'detail', format('The products are sold in %s.',
      (select string_agg(c, ', ') from jsonb_array_elements_text(priced->'currencies') c)));
  end if;
  if priced->'changed' <> 'null' then
    return jsonb_build_object('error', 'price_changed', 'errors', priced->'changed');
  end if;
  if priced->'misfit' <> 'null' then
    return jsonb_build_object('error', 'validation_failed', 'errors', priced->'misfit');
  end if;
  if (priced->>'most')::numeric > 2147483647 then
    return jsonb_build_object('error', 'validation_failed', 'errors', jsonb_build_array(jsonb_build_object(
      'pointer', '/items', 'detail', 'The order has more than 2147483647 units of one SKU.')));
  end if;
  fault := case when not coalesce((input->>'hasTerms')::boolean, false) then platform.charge_fault((priced->>'total')::numeric,
    priced->'currencies'->>0) end;
  if fault is not null then
    return jsonb_build_object('error', 'validation_failed', 'errors', jsonb_build_array(jsonb_build_object(
      'pointer', '/items', 'detail', fault)));
  end if;
  return jsonb_build_object('items', priced->'items', 'total', priced->'total', 'currency', priced->'currencies'->0,
    'skus', priced->'skus', 'quantities', priced->'quantities');
end
$function$;
alter function orders.price_lines(jsonb) owner to fusion_orders;
revoke all on function orders.price_lines(jsonb) from public;

-- function: orders.purge_carts(jsonb,jsonb)
-- src/db/orders/carts/expiry.sql
CREATE OR REPLACE FUNCTION orders.purge_carts(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  tenants text[];
  tenant varchar;
  result jsonb;
  purged bigint := 0;
begin
  perform platform.enter_as(call, '*');
  tenants := array(
    select t.id from platform.tenants_with_rows('orders.carts',
      'status in (''completed'', ''cancelled'', ''expired'')') t(id)
    where t.id <> all(platform.keys_set_aside('purge-carts')));
  foreach tenant in array tenants loop
    for result in select jsonb_array_elements(platform.process_rows('purge-carts', 'orders.purge_carts_step', tenant,
      array[tenant::text], input))
    loop
      purged := purged + (result->>'purged')::int;
    end loop;
  end loop;
  return jsonb_build_object('purged', purged);
end
$function$;
alter function orders.purge_carts(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.purge_carts(jsonb,jsonb) from public;
grant execute on function orders.purge_carts(jsonb,jsonb) to fusion_worker;

-- function: orders.purge_carts_step(text[],jsonb)
-- src/db/orders/carts/expiry.sql
CREATE OR REPLACE FUNCTION orders.purge_carts_step(tenants text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  purged bigint;
begin
  delete from orders.carts where id = any(array(
    select c.id from orders.carts c
    where c.tenant_id = platform.tenant() and c.status in ('completed', 'cancelled', 'expired')
      and c.updated_at <= platform.clock() - interval '30 days'
    order by c.updated_at limit (input->>'limit')::int for update skip locked));
  get diagnostics purged = row_count;
  return jsonb_build_object('purged', purged);
end
$function$;
alter function orders.purge_carts_step(text[],jsonb) owner to fusion_orders;
revoke all on function orders.purge_carts_step(text[],jsonb) from public;

-- function: orders.quantities_of(jsonb)
-- src/db/orders/refund-amounts.sql
CREATE OR REPLACE FUNCTION orders.quantities_of(items jsonb)
 RETURNS integer[]
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
begin
  return array(select (i.item->>'quantity')::int from jsonb_array_elements(items) with ordinality i(item, place)
    order by i.place);
end
$function$;
alter function orders.quantities_of(jsonb) owner to fusion_orders;
revoke all on function orders.quantities_of(jsonb) from public;

-- function: orders.quote_cart(jsonb,jsonb)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.quote_cart(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  caller constant platform.api_keys := platform.identify(call,
    case when (input->>'isRead')::boolean then 'orders:read' else 'orders:write' end, '{publishable,session}');
  cart orders.carts;
  quoted orders.carts;
  priced jsonb;
begin
  select * into cart from orders.carts c where c.id = input->>'id' and orders.may_reach_cart(c) for no key update;
  if not found then
    perform platform.fail('not_found', jsonb_build_object('tenant', caller.tenant_id));
  end if;
  quoted := cart;
  quoted.tax_quote := input->'taxQuote';
  priced := orders.price_cart(quoted);
  if priced->'amounts'->>'taxQuestion' is not null then
    priced := orders.price_cart(cart);
  elsif not coalesce(caller.away, false) then -- a tenant that moves to another cell is copied as it is
    update orders.carts c set tax_quote = quoted.tax_quote where c.id = cart.id;
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'answer', orders.cart_json(quoted, priced), 'replayed', false);
end
$function$;
alter function orders.quote_cart(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.quote_cart(jsonb,jsonb) from public;
grant execute on function orders.quote_cart(jsonb,jsonb) to fusion_worker;

-- function: orders.read_cart(jsonb,jsonb)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.read_cart(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  caller constant platform.api_keys := platform.identify(call, 'orders:read', '{publishable,session}');
  cart orders.carts;
begin
  select * into cart from orders.carts c where c.id = input->>'id' and orders.may_reach_cart(c);
  if not found then
    perform platform.fail('not_found', jsonb_build_object('tenant', caller.tenant_id));
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'answer', orders.cart_json(cart, orders.price_cart(cart)),
    'replayed', false);
end
$function$;
alter function orders.read_cart(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.read_cart(jsonb,jsonb) from public;
grant execute on function orders.read_cart(jsonb,jsonb) to fusion_worker;

-- function: orders.read_order(character varying)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.read_order(order_id character varying)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select orders.order_json(o, orders.hold_json(r), p, s.latest) || jsonb_build_object('shipments', s.every)
    || coalesce(f, '{}')
  from orders.orders o
  left join inventory.reservations r on r.order_id = o.id
  left join lateral orders.payment_of(o.id) p on true
  left join lateral orders.shipments_of(o.id) s on true
  left join lateral orders.refunds_of(o.id) f on true
  where o.id = read_order.order_id
$function$;
alter function orders.read_order(character varying) owner to fusion_orders;
revoke all on function orders.read_order(character varying) from public;

-- function: orders.receive_return(jsonb,jsonb)
-- src/db/orders/returns.sql
CREATE OR REPLACE FUNCTION orders.receive_return(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'payments:write', 'orders.receive_return');
  order_row orders.orders;
  of_return orders.returns;
  failed payments.refunds;
  fault jsonb;
  came jsonb;
  amounts jsonb;
  recorded jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  select * into of_return from orders.returns r where r.id = input->>'id';
  if not found then
    perform platform.fail('not_found');
  end if;
  select * into order_row from orders.orders o where o.id = of_return.order_id for update;
  select * into of_return from orders.returns r where r.id = of_return.id; -- it changes only under the order's lock
  select * into failed from payments.refunds f where f.id = of_return.refund_id and f.status = 'failed';
  if of_return.status <> 'requested' and (failed.id is null or input ? 'items') then
    return platform.leave(call, 'orders.receive_return', jsonb_build_object('error', 'conflict', 'detail',
      case of_return.status when 'cancelled' then 'The return was cancelled.' else 'The return was received already.' end));
  end if;
  if failed.id is not null then
    recorded := payments.refund_units(order_row.id, jsonb_build_object('refundId', input->'refundId',
      'reason', failed.reason, 'amount', failed.amount, 'items', failed.items, 'shipping', failed.shipping));
    if recorded ? 'error' then
      return platform.leave(call, 'orders.receive_return', recorded);
    end if;
    update orders.returns r set refund_id = input->>'refundId', updated_at = platform.clock()
    where r.id = of_return.id returning * into of_return;
    return platform.leave(call, 'orders.receive_return',
      orders.return_json(of_return, recorded) || jsonb_build_object('freed', '[]'::jsonb));
  end if;
  select jsonb_agg(jsonb_build_object('pointer', format('/items/%s/quantity', i.place - 1),
      'detail', format('At most %s of this line were requested.', coalesce(l.item->>'quantity', '0')))
    order by i.place) filter (where (i.item->>'quantity')::int > coalesce((l.item->>'quantity')::int, 0))
  into fault
  from jsonb_array_elements(coalesce(input->'items', '[]')) with ordinality i(item, place)
  left join jsonb_array_elements(of_return.items) l(item) on l.item->>'lineId' = i.item->>'lineId';
  if fault is not null then
    return platform.leave(call, 'orders.receive_return', jsonb_build_object('error', 'validation_failed', 'errors', fault));
  end if;
  came := (
    select jsonb_agg(l.item || jsonb_build_object('received', case when input ? 'items'
        then coalesce((i.item->>'quantity')::int, 0) else (l.item->>'quantity')::int end,
      'restock', coalesce(i.item->'restock', l.item->'restock')) order by l.place)
    from jsonb_array_elements(of_return.items) with ordinality l(item, place)
    left join jsonb_array_elements(coalesce(input->'items', '[]')) i(item) on i.item->>'lineId' = l.item->>'lineId');
  amounts := orders.refund_amounts(order_row, jsonb_build_object('shipping', of_return.shipping, 'items', (
      select jsonb_agg(jsonb_build_object('lineId', i->'lineId', 'quantity', i->'received') order by place)
      from jsonb_array_elements(came) with ordinality e(i, place) where (i->>'received')::int > 0)),
    orders.units_in_returns(order_row, of_return.id));
  if not amounts ? 'error' then
    amounts := amounts || jsonb_build_object('items', (
      select jsonb_agg(a || jsonb_build_object('restocked', case when (i->>'restock')::boolean then i->'received' else '0' end))
      from jsonb_array_elements(amounts->'items') a join jsonb_array_elements(came) i on i->>'lineId' = a->>'lineId'))
      || case when (input->>'refund')::boolean is false then '{"amount": 0, "shipping": 0}' else '{}' end::jsonb;
    recorded := orders.record_refund(order_row, amounts, jsonb_build_object('refundId', input->'refundId',
      'reason', coalesce(of_return.reason, 'returned'), 'returned', true));
  end if;
  if coalesce(recorded, amounts) ? 'error' then
    return platform.leave(call, 'orders.receive_return', coalesce(recorded, amounts));
  end if;
  update orders.returns r
  set status = 'received', items = came, received_at = platform.clock(), updated_at = platform.clock(),
      refund_id = recorded->'refund'->>'id'
  where r.id = of_return.id returning * into of_return;
  perform platform.emit('return.received', order_row.id, orders.return_event(of_return, (
    select jsonb_agg(jsonb_build_object('lineId', i->'lineId', 'quantity', i->'received', 'restock', i->'restock'))
    from jsonb_array_elements(came) i where (i->>'received')::int > 0)), false);
  return platform.leave(call, 'orders.receive_return', orders.return_json(of_return, nullif(recorded->'refund', 'null'))
    || jsonb_build_object('freed', recorded->'skus'));
end
$function$;
alter function orders.receive_return(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.receive_return(jsonb,jsonb) from public;
grant execute on function orders.receive_return(jsonb,jsonb) to fusion_worker;

-- function: orders.record_refund(orders.orders,jsonb,jsonb)
-- src/db/orders/refunds.sql
CREATE OR REPLACE FUNCTION orders.record_refund(o orders.orders, amounts jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  refunded_items constant jsonb := amounts->'items';
  line_count constant integer := jsonb_array_length(o.items);
  refund jsonb;
  back record;
begin
  if (amounts->>'amount')::numeric > 0 then
    refund := payments.refund_units(o.id, amounts || input);
    if refund ? 'error' then
      return refund;
    end if;
  end if;
  if refunded_items <> '[]' then
    update orders.orders x
    set refunded_quantities = orders.add_units(x.refunded_quantities, line_count, refunded_items, 'quantity', 1),
        refunded_amounts = orders.add_amounts(x.refunded_amounts, line_count, refunded_items, 1),
        restocked_quantities = orders.add_units(x.restocked_quantities, line_count, refunded_items, 'restocked', 1),
        returned_quantities = case when (input->>'returned')::boolean
          then orders.add_units(x.returned_quantities, line_count, orders.sent_units(o, refunded_items), 'quantity', 1)
          else x.returned_quantities end,
        updated_at = platform.clock()
    where x.id = o.id;
    perform orders.complete_shipping(o.id); -- the refunded units may be the last that were not sent
  end if;
  if (amounts->>'shipping')::numeric > 0 then
    update orders.orders x
    set shipping_refunded = coalesce(x.shipping_refunded, 0) + (amounts->>'shipping')::numeric,
        updated_at = platform.clock()
    where x.id = o.id;
  end if;
  select * into back from orders.units_by_sku(o, refunded_items, 'restocked');
  return jsonb_build_object('refund', refund, 'skus', to_jsonb(inventory.restock_units(o.id, back.skus, back.units)));
end
$function$;
alter function orders.record_refund(orders.orders,jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.record_refund(orders.orders,jsonb,jsonb) from public;

-- function: orders.record_vat_checks(jsonb,jsonb)
-- src/db/orders/vat.sql
CREATE OR REPLACE FUNCTION orders.record_vat_checks(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  claimed text[];
  recorded jsonb;
begin
  perform platform.enter_as(call, input->>'tenant');
  perform from orders.customers c
  where c.id = any(array(select r->>'customerId' from jsonb_array_elements(input->'results') r)) order by c.id for update;
  claimed := platform.claim_new_events('orders',
    array(select r->>'eventId' from jsonb_array_elements(input->'results') r));
  with decided as (
    update orders.customers c
    set vat_status = case when (r->>'valid')::boolean then 'valid' else 'invalid' end, vat_checked_at = platform.clock(),
        updated_at = platform.clock()
    from jsonb_array_elements(input->'results') r
    -- The list makes the ids an index condition, whatever row count the planner expects.
    where c.id = any(array(select e->>'customerId' from jsonb_array_elements(input->'results') e))
      and c.id = r->>'customerId' and r->>'eventId' = any(claimed)
      and c.vat_status = (select 'pending') and c.vat_number = r->>'number'
    returning r->'eventId' as event_id
  )
  select coalesce(jsonb_agg(d.event_id), '[]') into recorded from decided d;
  return jsonb_build_object('recorded', recorded);
end
$function$;
alter function orders.record_vat_checks(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.record_vat_checks(jsonb,jsonb) from public;
grant execute on function orders.record_vat_checks(jsonb,jsonb) to fusion_worker;

-- function: orders.refund_amounts(orders.orders,jsonb,integer[])
-- src/db/orders/refund-amounts.sql
CREATE OR REPLACE FUNCTION orders.refund_amounts(o orders.orders, input jsonb, reserved integer[])
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  unit constant numeric := case platform.currency_decimals(o.currency) when 0 then 1 else 0.01 end;
  shipping_left constant numeric := orders.refundable_shipping(o);
  shipping constant numeric := case jsonb_typeof(input->'shipping') when 'number' then (input->>'shipping')::numeric
    when 'boolean' then case when (input->>'shipping')::boolean then shipping_left else 0 end else 0 end;
  unknown jsonb;
  exceeding jsonb;
  items jsonb;
  amount numeric;
begin
  with wanted as (
    select w.ord - 1 as at, w.item->>'lineId' as line_id, (w.item->>'quantity')::int as units
    from jsonb_array_elements(coalesce(input->'items', '[]')) with ordinality w(item, ord)
  ), priced as (
    select w.*, l.place, l.quantity - l.refunded - coalesce(reserved[l.place], 0) as units_left,
      coalesce(reserved[l.place], 0) as in_returns,
      greatest(0, orders.fraction(l.total, l.refunded + w.units, l.quantity, unit) - l.refunded_amount) as worth
    from wanted w left join orders.lines_of(o) l on l.place::text = w.line_id
  )
  select jsonb_agg(jsonb_build_object('pointer', format('/items/%s/lineId', p.at), 'detail', 'The order has no such line.')
      order by p.at) filter (where p.place is null),
    jsonb_agg(jsonb_build_object('pointer', format('/items/%s/quantity', p.at), 'detail', concat(
      format('At most %s of this line can still be refunded.', p.units_left), case when p.in_returns > 0
        then format(' %s more are in an open return.', p.in_returns) end)) order by p.at)
      filter (where p.units > p.units_left),
    coalesce(jsonb_agg(jsonb_build_object('lineId', p.line_id, 'quantity', p.units, 'amount', p.worth) order by p.at), '[]'),
    coalesce(sum(p.worth), 0) + shipping
  into unknown, exceeding, items, amount from priced p;
  if shipping > shipping_left then
    exceeding := coalesce(exceeding, '[]') || jsonb_build_object('pointer', '/shipping', 'detail',
      format('At most %s %s of the shipping can still be refunded.', shipping_left, o.currency));
  end if;
  if scale(trim_scale(shipping)) > 0 and unit = 1 then
    unknown := coalesce(unknown, '[]') || jsonb_build_object('pointer', '/shipping', 'detail',
      format('%s has no decimals.', o.currency));
  end if;
  if unknown is not null then
    return jsonb_build_object('error', 'validation_failed', 'errors', unknown);
  elsif exceeding is not null then
    return jsonb_build_object('error', 'refund_exceeds_payment', 'detail', exceeding->0->>'detail', 'errors', exceeding);
  end if;
  return jsonb_build_object('items', items, 'shipping', shipping, 'amount', amount);
end
$function$;
alter function orders.refund_amounts(orders.orders,jsonb,integer[]) owner to fusion_orders;
revoke all on function orders.refund_amounts(orders.orders,jsonb,integer[]) from public;

-- function: orders.refund_of_return(orders.returns)
-- src/db/orders/returns.sql
CREATE OR REPLACE FUNCTION orders.refund_of_return(r orders.returns)
 RETURNS SETOF jsonb
 LANGUAGE sql
 STABLE ROWS 1
AS $function$
  select payments.refund_json(f) from payments.refunds f where f.id = r.refund_id
$function$;
alter function orders.refund_of_return(orders.returns) owner to fusion_orders;
revoke all on function orders.refund_of_return(orders.returns) from public;
grant execute on function orders.refund_of_return(orders.returns) to fusion_reader;

-- function: orders.refund_order(jsonb,jsonb)
-- src/db/orders/refunds.sql
CREATE OR REPLACE FUNCTION orders.refund_order(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'payments:write', 'orders.refund');
  order_row orders.orders;
  amounts jsonb;
  restocks boolean;
  recorded jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  select * into order_row from orders.orders o where o.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if order_row.status not in ('confirmed', 'shipped', 'delivered') or order_row.total = 0 then
    return platform.leave(call, 'orders.refund', jsonb_build_object('error', 'refund_exceeds_payment', 'detail',
      case when order_row.total = 0 then 'Nothing was paid for this order. Cancel it instead.'
        when order_row.status = 'created' then 'The order is not paid yet. Cancel it instead.'
        else format('The order is %s: all of its money was or will be refunded.', order_row.status) end));
  end if;
  amounts := orders.refund_amounts(order_row, input, orders.units_in_returns(order_row, null));
  if amounts ? 'error' then
    return platform.leave(call, 'orders.refund', amounts);
  elsif (amounts->>'amount')::numeric = 0 then
    return platform.leave(call, 'orders.refund', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/items', 'detail', 'Nothing was paid for these units.'))));
  end if;
  restocks := coalesce((input->>'restock')::boolean, order_row.status = 'confirmed'
    and not exists (select from shipping.shipments s where s.order_id = order_row.id));
  recorded := orders.record_refund(order_row, amounts || jsonb_build_object('items', (
      select coalesce(jsonb_agg(i || jsonb_build_object('restocked', case when restocks then i->'quantity' else '0' end)), '[]')
      from jsonb_array_elements(amounts->'items') i)),
    jsonb_build_object('refundId', input->'refundId', 'reason', input->'reason', 'returned', false));
  return platform.leave(call, 'orders.refund', case when recorded ? 'error' then recorded
    else recorded->'refund' || jsonb_build_object('freed', recorded->'skus') end);
end
$function$;
alter function orders.refund_order(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.refund_order(jsonb,jsonb) from public;
grant execute on function orders.refund_order(jsonb,jsonb) to fusion_worker;

-- function: orders.refundable_shipping(orders.orders)
-- src/db/orders/refund-amounts.sql
CREATE OR REPLACE FUNCTION orders.refundable_shipping(o orders.orders)
 RETURNS numeric
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(o.shipping_total + case when o.tax_included then 0 else o.shipping_tax end, 0)
    - coalesce(o.shipping_refunded, 0)
$function$;
alter function orders.refundable_shipping(orders.orders) owner to fusion_orders;
revoke all on function orders.refundable_shipping(orders.orders) from public;

-- function: orders.refunds_of(character varying)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.refunds_of(order_id character varying)
 RETURNS SETOF jsonb
 LANGUAGE sql
 STABLE ROWS 1
AS $function$
  select jsonb_build_object('refunds', jsonb_agg(payments.refund_json(r.row) order by (r.row).id))
  from payments.payments p
  -- `offset 0` keeps Postgres from a merge join, which would walk all payments of the tenant.
  cross join lateral (select x as row from payments.refunds x where x.payment_id = p.payment_id offset 0) r
  where p.order_id = refunds_of.order_id having count(*) > 0
$function$;
alter function orders.refunds_of(character varying) owner to fusion_orders;
revoke all on function orders.refunds_of(character varying) from public;
grant execute on function orders.refunds_of(character varying) to fusion_reader;

-- function: orders.refunds_within(jsonb,jsonb,integer[],numeric[],integer[],integer[],numeric,numeric)
-- src/db/orders/refund-amounts.sql
CREATE OR REPLACE FUNCTION orders.refunds_within(items jsonb, lines jsonb, refunded integer[], amounts numeric[], restocked integer[], returned integer[], shipping_refunded numeric, shipping_paid numeric)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
begin
  return (refunded is null or orders.counts_within(refunded, orders.quantities_of(items)))
    and (amounts is null or orders.amounts_within(amounts, items, lines))
    and (restocked is null or orders.counts_within(restocked, refunded))
    and (returned is null or orders.counts_within(returned, refunded))
    and (shipping_refunded between 0 and shipping_paid) is not false;
end
$function$;
alter function orders.refunds_within(jsonb,jsonb,integer[],numeric[],integer[],integer[],numeric,numeric) owner to fusion_orders;
revoke all on function orders.refunds_within(jsonb,jsonb,integer[],numeric[],integer[],integer[],numeric,numeric) from public;

-- function: orders.refuse_checkout(jsonb)
-- src/db/orders/carts/checkout.sql
CREATE OR REPLACE FUNCTION orders.refuse_checkout(answer jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('tenant', platform.tenant(), 'answer', answer, 'replayed', false)
$function$;
alter function orders.refuse_checkout(jsonb) owner to fusion_orders;
revoke all on function orders.refuse_checkout(jsonb) from public;

-- function: orders.region_code(text,text)
-- src/db/orders/terms.sql
CREATE OR REPLACE FUNCTION orders.region_code(region text, country text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select upper(regexp_replace(region, '^' || country || '-', '', 'i'))
$function$;
alter function orders.region_code(text,text) owner to fusion_orders;
revoke all on function orders.region_code(text,text) from public;

-- function: orders.region_fault(text,text)
-- src/db/orders/tax-rates.sql
CREATE OR REPLACE FUNCTION orders.region_fault(region text, country text)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when region like '%-%' then jsonb_build_object('error', 'validation_failed', 'errors',
    jsonb_build_array(jsonb_build_object('pointer', '/region',
      'detail', format('is not a region of %s: give its code in ISO 3166-2, with or without "%s-"', country, country)))) end
$function$;
alter function orders.region_fault(text,text) owner to fusion_orders;
revoke all on function orders.region_fault(text,text) from public;

-- function: orders.reopen_after_failed_refund(character varying)
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.reopen_after_failed_refund(order_id character varying)
 RETURNS text[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  order_row orders.orders;
  is_committed boolean;
  restored_status varchar;
begin
  select * into order_row from orders.orders x
    where x.id = order_id and x.status = 'refunded';
  if not found then
    return '{}';
  end if;
  perform orders.lock_uses(array[order_id::text]);
  is_committed := coalesce((
    select r.status = 'committed' from inventory.reservations r where r.order_id = order_row.id), false);
  if not is_committed and (order_row.campaign_id is not null or not (
    select inventory.recommit(order_row.id, b.skus, b.units) from orders.units_by_sku(order_row,
      (select jsonb_agg(jsonb_build_object('lineId', l.place, 'back', l.restocked)) from orders.lines_of(order_row) l),
      'back') b)) then
    update orders.orders x set status = 'cancelled', failure_reason = 'refund_failed', updated_at = platform.clock(),
      place_open = x.campaign_id is not null
    where x.id = order_row.id;
    perform platform.emit('order.cancelled', order_row.id,
      jsonb_build_object('orderId', order_row.id, 'reason', 'refund_failed'), false);
    perform orders.return_uses(array[order_row.id::text]);
    return '{}';
  end if;
  restored_status := orders.shipping_status(order_row);
  update orders.orders x set status = restored_status, updated_at = platform.clock() where x.id = order_row.id;
  perform platform.emit('order.refund.failed', order_row.id,
    jsonb_build_object('orderId', order_row.id, 'status', restored_status), false);
  return case when is_committed then '{}' else array(select i->>'sku' from jsonb_array_elements(order_row.items) i) end;
end
$function$;
alter function orders.reopen_after_failed_refund(character varying) owner to fusion_orders;
revoke all on function orders.reopen_after_failed_refund(character varying) from public;
grant execute on function orders.reopen_after_failed_refund(character varying) to fusion_payments;

-- function: orders.reopen_cart(jsonb,jsonb)
-- src/db/orders/carts/checkout.sql
CREATE OR REPLACE FUNCTION orders.reopen_cart(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'carts.reopen', '{publishable,session}');
  cart orders.carts;
  order_row orders.orders;
  ended record;
  freed text[] := '{}';
begin
  if replay is not null then
    return replay;
  end if;
  cart := orders.lock_cart(input);
  order_row := orders.lock_order_of(cart);
  if orders.cart_status(cart, order_row.status) = 'ordered' then
    ended := orders.end_as_cancelled(order_row, 'cart_reopened');
    freed := ended.freed;
    order_row.status := 'cancelled';
  end if;
  perform orders.require_open(cart, order_row.status);
  cart.status := 'open';
  cart := orders.save_cart(cart, (input->>'cartSeconds')::int);
  return platform.leave(call, 'carts.reopen',
    orders.cart_json(cart, orders.price_cart(cart)) || jsonb_build_object('freed', freed));
end
$function$;
alter function orders.reopen_cart(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.reopen_cart(jsonb,jsonb) from public;
grant execute on function orders.reopen_cart(jsonb,jsonb) to fusion_worker;

-- function: orders.reprice_place(jsonb)
-- src/db/orders/campaign-places.sql
CREATE OR REPLACE FUNCTION orders.reprice_place(input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  amounts constant jsonb := input->'amounts';
  currency constant varchar := input->>'currency';
  totals jsonb;
begin
  totals := orders.totals(amounts->'terms' || jsonb_build_object('currency', currency, 'lines', jsonb_build_array(
    jsonb_build_object('id', '1', 'sku', input->'sku', 'quantity', input->'quantity', 'price', input->'price',
      'tax', amounts->'terms'->'tax'))));
  if amounts->>'taxCalculation' is not null then
    totals := orders.apply_taxes(totals, orders.lower_taxes(amounts, totals, currency), currency);
  end if;
  return amounts - '{terms,taxCalculation}'::text[]
    || (select jsonb_object_agg(t.name, t.value) from jsonb_each(totals) t(name, value)
      where t.name = any('{subtotal,discount,shipping,shippingTax,tax,total,taxIncluded,taxLines}'::text[]))
    || jsonb_build_object('lines', jsonb_build_array(totals->'lines'->0
      || jsonb_build_object('name', amounts->'lines'->0->'name')));
end
$function$;
alter function orders.reprice_place(jsonb) owner to fusion_orders;
revoke all on function orders.reprice_place(jsonb) from public;
grant execute on function orders.reprice_place(jsonb) to fusion_group_commerce;

-- function: orders.request_lost_vat_checks(jsonb,jsonb)
-- src/db/orders/vat.sql
CREATE OR REPLACE FUNCTION orders.request_lost_vat_checks(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  excluded_ids text[];
  lost record;
  result jsonb;
  requested integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('check-vat');
  for lost in
    select d.tenant_id, array_agg(d.id::text order by d.id) as customers from (
      select w.tenant_id, w.id
      from platform.tenants_with_rows('orders.customers', 'vat_status = ''pending''') t(id)
      cross join lateral ( -- of each tenant in turn
        select c.tenant_id, c.id, c.vat_requested_at, row_number() over (order by c.vat_requested_at) as turn
        from orders.customers c
        where c.tenant_id = t.id and c.vat_status = 'pending'
          and c.vat_requested_at <= platform.clock() - make_interval(secs => (input->>'idleSeconds')::int)
          and c.id <> all(excluded_ids)
        order by c.vat_requested_at limit (input->>'limit')::int
      ) w
      order by w.turn, w.vat_requested_at limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('check-vat', 'orders.request_vat_checks_step', lost.tenant_id, lost.customers, input))
    loop
      requested := requested + (result->>'requested')::int;
    end loop;
  end loop;
  return jsonb_build_object('requested', requested);
end
$function$;
alter function orders.request_lost_vat_checks(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.request_lost_vat_checks(jsonb,jsonb) from public;
grant execute on function orders.request_lost_vat_checks(jsonb,jsonb) to fusion_worker;

-- function: orders.request_return(jsonb,jsonb)
-- src/db/orders/returns.sql
CREATE OR REPLACE FUNCTION orders.request_return(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'orders.return');
  order_row orders.orders;
  amounts jsonb;
  made orders.returns;
begin
  if replay is not null then
    return replay;
  end if;
  select * into order_row from orders.orders o where o.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if order_row.status not in ('confirmed', 'shipped', 'delivered') then
    return platform.leave(call, 'orders.return', jsonb_build_object('error', 'conflict', 'detail', format(
      'The order is %s. Only units of a confirmed, shipped or delivered order can be returned.', order_row.status)));
  end if;
  amounts := orders.refund_amounts(order_row, input, orders.units_in_returns(order_row, null));
  if amounts ? 'error' then
    return platform.leave(call, 'orders.return', amounts);
  end if;
  insert into orders.returns (id, tenant_id, order_id, status, items, reason, shipping, created_at, updated_at)
  values (input->>'returnId', order_row.tenant_id, order_row.id, 'requested', (
      select jsonb_agg(jsonb_build_object('lineId', i->'lineId', 'quantity', i->'quantity',
        'restock', coalesce(i->'restock', 'true'), 'received', null) order by place)
      from jsonb_array_elements(input->'items') with ordinality e(i, place)),
    input->>'reason', nullif(input->'shipping', 'null'), platform.clock(), platform.clock())
  returning * into made;
  perform platform.emit('return.requested', order_row.id, orders.return_event(made, (
    select jsonb_agg(i - 'received' - 'restock') from jsonb_array_elements(made.items) i)), false);
  return platform.leave(call, 'orders.return', orders.return_json(made, null));
end
$function$;
alter function orders.request_return(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.request_return(jsonb,jsonb) from public;
grant execute on function orders.request_return(jsonb,jsonb) to fusion_worker;

-- function: orders.request_vat_check(orders.customers)
-- src/db/orders/customers.sql
CREATE OR REPLACE FUNCTION orders.request_vat_check(c orders.customers)
 RETURNS void
 LANGUAGE sql
AS $function$
  select platform.emit('customer.vat.requested', c.id, jsonb_build_object('customerId', c.id), true)
$function$;
alter function orders.request_vat_check(orders.customers) owner to fusion_orders;
revoke all on function orders.request_vat_check(orders.customers) from public;

-- function: orders.request_vat_checks_step(text[],jsonb)
-- src/db/orders/vat.sql
CREATE OR REPLACE FUNCTION orders.request_vat_checks_step(customer_ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  customer text;
  requested integer := 0;
begin
  foreach customer in array customer_ids loop
    update orders.customers c set vat_requested_at = platform.clock()
    where c.id = customer and c.vat_status = (select 'pending')
      and c.vat_requested_at <= platform.clock() - make_interval(secs => (input->>'idleSeconds')::int);
    if found then
      perform platform.emit('customer.vat.requested', customer, jsonb_build_object('customerId', customer), true);
      requested := requested + 1;
    end if;
  end loop;
  return jsonb_build_object('requested', requested);
end
$function$;
alter function orders.request_vat_checks_step(text[],jsonb) owner to fusion_orders;
revoke all on function orders.request_vat_checks_step(text[],jsonb) from public;

-- function: orders.require_open(orders.carts,character varying)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.require_open(cart orders.carts, order_status character varying)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  status constant varchar := orders.cart_status(cart, order_status);
begin
  if status <> 'open' then
    perform platform.fail('cart_not_open', jsonb_build_object(
      'reason', concat(format('The cart is %s.', status), case status
        when 'ordered' then ' `POST …/reopen` cancels its unpaid order and opens it again.'
        else ' Create another one.' end),
      'members', jsonb_strip_nulls(jsonb_build_object('orderId', cart.order_id))));
  end if;
end
$function$;
alter function orders.require_open(orders.carts,character varying) owner to fusion_orders;
revoke all on function orders.require_open(orders.carts,character varying) from public;

-- function: orders.restock_rest(orders.orders,text)
-- src/db/orders/states.sql
CREATE OR REPLACE FUNCTION orders.restock_rest(o orders.orders, reason text)
 RETURNS text[]
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select inventory.restock_rest(o.id, reason, k.skus, k.units)
  from orders.units_by_sku(o, (select jsonb_agg(jsonb_build_object('lineId', l.place, 'kept', l.refunded - l.restocked))
    from orders.lines_of(o) l), 'kept') k
$function$;
alter function orders.restock_rest(orders.orders,text) owner to fusion_orders;
revoke all on function orders.restock_rest(orders.orders,text) from public;

-- function: orders.retake_uses(character varying)
-- src/db/orders/discount-uses.sql
CREATE OR REPLACE FUNCTION orders.retake_uses(order_id character varying)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if not exists (select from orders.discount_uses u where u.order_id = retake_uses.order_id and not u.is_taken) then
    return true;
  end if;
  perform orders.lock_uses(array[order_id::text]);
  if exists (
    select from orders.discount_uses u join orders.discounts d on d.id = u.discount_id
    left join orders.discount_counters c on c.discount_id = u.discount_id
    left join orders.discount_customers p on p.discount_id = u.discount_id and p.customer_key = u.customer_key
    where u.order_id = retake_uses.order_id and (c.used >= d.usage_limit or p.used >= d.per_customer_limit)) then
    return false;
  end if;
  update orders.discount_uses u set is_taken = true where u.order_id = retake_uses.order_id;
  perform orders.count_taken_uses(order_id);
  return true;
end
$function$;
alter function orders.retake_uses(character varying) owner to fusion_orders;
revoke all on function orders.retake_uses(character varying) from public;

-- function: orders.return_event(orders.returns,jsonb)
-- src/db/orders/returns.sql
CREATE OR REPLACE FUNCTION orders.return_event(r orders.returns, items jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_strip_nulls(jsonb_build_object('orderId', r.order_id, 'returnId', r.id, 'refundId', r.refund_id, 'items', items))
$function$;
alter function orders.return_event(orders.returns,jsonb) owner to fusion_orders;
revoke all on function orders.return_event(orders.returns,jsonb) from public;

-- function: orders.return_json(orders.returns,jsonb)
-- src/db/orders/returns.sql
CREATE OR REPLACE FUNCTION orders.return_json(r orders.returns, refund jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', r.id, 'orderId', r.order_id, 'status', case when r.status = 'received'
      and (r.refund_id is null or refund->>'status' = 'succeeded') then 'refunded' else r.status end,
    'items', r.items, 'reason', r.reason, 'refund', refund, 'createdAt', platform.iso(r.created_at),
    'receivedAt', platform.iso(r.received_at), 'updatedAt', platform.iso(r.updated_at))
$function$;
alter function orders.return_json(orders.returns,jsonb) owner to fusion_orders;
revoke all on function orders.return_json(orders.returns,jsonb) from public;
grant execute on function orders.return_json(orders.returns,jsonb) to fusion_reader;

-- function: orders.return_uses(text[])
-- src/db/orders/discount-uses.sql
CREATE OR REPLACE FUNCTION orders.return_uses(order_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
begin
  if not exists (select from orders.discount_uses u where u.order_id = any(order_ids) and u.is_taken) then
    return;
  end if;
  perform orders.lock_uses(order_ids);
  with returned as (
    update orders.discount_uses u set is_taken = false where u.order_id = any(order_ids) and u.is_taken
    returning u.discount_id, u.customer_key
  ), counters as (
    update orders.discount_counters c set used = c.used - n.n
    from (select r.discount_id, count(*)::int as n from returned r group by 1) n where c.discount_id = n.discount_id
  )
  update orders.discount_customers c set used = c.used - n.n
  from (select r.discount_id, r.customer_key, count(*)::int as n from returned r group by 1, 2) n
  where c.discount_id = n.discount_id and c.customer_key = n.customer_key;
end
$function$;
alter function orders.return_uses(text[]) owner to fusion_orders;
revoke all on function orders.return_uses(text[]) from public;

-- function: orders.save_cart(orders.carts,integer)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.save_cart(cart orders.carts, seconds integer)
 RETURNS orders.carts
 LANGUAGE sql
AS $function$
  update orders.carts c
  set status = cart.status, customer_id = cart.customer_id, items = cart.items, email = cart.email, phone = cart.phone,
      shipping_address = cart.shipping_address, billing_address = cart.billing_address,
      shipping_option_id = cart.shipping_option_id, discount_codes = cart.discount_codes,
      purchase_order_number = cart.purchase_order_number, metadata = cart.metadata, order_id = cart.order_id,
      tax_quote = cart.tax_quote,
      version = platform.next_version(c.version), expires_at = orders.cart_end(seconds), updated_at = platform.clock()
  where c.id = cart.id
  returning *
$function$;
alter function orders.save_cart(orders.carts,integer) owner to fusion_orders;
revoke all on function orders.save_cart(orders.carts,integer) from public;

-- function: orders.sent_units(orders.orders,jsonb)
-- src/db/orders/refund-amounts.sql
CREATE OR REPLACE FUNCTION orders.sent_units(o orders.orders, items jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(jsonb_agg(jsonb_build_object('lineId', l.place::text,
    'quantity', least((i->>'quantity')::int, greatest(0, l.fulfilled - l.returned)))), '[]')
  from jsonb_array_elements(items) i join orders.lines_of(o) l on l.place::text = i->>'lineId'
$function$;
alter function orders.sent_units(orders.orders,jsonb) owner to fusion_orders;
revoke all on function orders.sent_units(orders.orders,jsonb) from public;

-- function: orders.set_cart_item(jsonb,jsonb)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.set_cart_item(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'carts.setItem', '{publishable,session}');
  cart orders.carts;
begin
  if replay is not null then
    return replay;
  end if;
  cart := orders.lock_open_cart(input);
  cart.items := orders.merge_items(cart.items, (
    select coalesce(jsonb_agg(case when e.item->>'sku' = input->>'sku'
      then e.item || jsonb_build_object('quantity', input->'quantity') else e.item end order by e.ord), '[]')
    from jsonb_array_elements(cart.items) with ordinality e(item, ord))
    || case when cart.items @> jsonb_build_array(jsonb_build_object('sku', input->'sku')) then '[]'
      else jsonb_build_array(jsonb_build_object('sku', input->'sku', 'quantity', input->'quantity')) end);
  if orders.items_error(cart.items) is not null then
    return platform.leave(call, 'carts.setItem', orders.items_error(cart.items));
  end if;
  cart := orders.save_cart(cart, (input->>'cartSeconds')::int);
  return platform.leave(call, 'carts.setItem', orders.cart_json(cart, orders.price_cart(cart)));
end
$function$;
alter function orders.set_cart_item(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.set_cart_item(jsonb,jsonb) from public;
grant execute on function orders.set_cart_item(jsonb,jsonb) to fusion_worker;

-- function: orders.settle(jsonb,jsonb)
-- src/db/orders/terms.sql
CREATE OR REPLACE FUNCTION orders.settle(lines jsonb, terms jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  tenant constant varchar := platform.tenant();
  address constant jsonb := coalesce(nullif(terms->'shippingAddress', 'null'), nullif(terms->'billingAddress', 'null'));
  currency constant text := terms->>'currency';
  known record;
  options jsonb := '[]';
  option jsonb;
  taxes jsonb := '{"rates": [], "places": {}}';
  found jsonb := '{"discounts": [], "invalid": []}';
  unused jsonb := '[]';
  taxed jsonb;
  totals jsonb;
  question jsonb; -- to the tax provider
begin
  select t.prices_include_tax, t.tax_provider = 'table' as has_table, t.tax_provider <> 'table'
      or exists (select from orders.tax_rates r where r.tenant_id = tenant) as has_tax,
    exists (select from orders.shipping_options s where s.tenant_id = tenant) as has_shipping,
    exists (select from orders.discounts d where d.tenant_id = tenant and d.code is null and d.deleted_at is null)
      as has_automatic,
    t.tax_provider = 'table' and orders.is_reverse_charge(t.country, address, c.vat_number, c.vat_status) as is_reverse,
    jsonb_build_object('provider', t.tax_provider, 'tenant', tenant, 'account', t.stripe_account,
      'vatNumber', case when c.vat_status = 'valid' then c.vat_number end) as seller,
    orders.customer_key(coalesce(terms->>'email', c.email), terms->>'customerId') as customer_key,
    array(select jsonb_array_elements_text(coalesce(nullif(terms->'discountCodes', 'null'), '[]'))) as codes, items.*
  into known
  from (
    select coalesce(jsonb_agg(jsonb_build_object('id', l.place::text, 'sku', l.line->'sku', 'price', l.line->'price',
        'quantity', l.line->'quantity', 'category', coalesce(p.tax_category, ''),
        'collections', coalesce(p.collections, '{}')) order by l.place), '[]') as lines,
      array_agg(distinct p.tax_category) as categories,
      coalesce(jsonb_object_agg(l.line->>'sku', p.name), '{}') as names,
      coalesce(sum((l.line->>'quantity')::numeric * (l.line->>'price')::numeric), 0) as subtotal,
      coalesce(sum((l.line->>'quantity')::numeric * coalesce(p.weight, 0)), 0) as weight
    from (
      select e.line, row_number() over (order by e.ord) as place
      from jsonb_array_elements(settle.lines) with ordinality e(line, ord) where e.line->>'price' is not null
    ) l
    left join lateral ( -- one look-up by the unique index for each line
      select c.tax_category, c.collections, c.name, c.weight from catalog.products c
      where c.tenant_id = tenant and c.sku = l.line->>'sku' limit 1
    ) p on true
  ) items
  left join platform.tenants t on t.id = tenant
  left join orders.customers c on c.id = terms->>'customerId';
  if known.has_shipping and address is not null then
    options := orders.find_shipping_options(address->>'country', currency, known.subtotal, known.weight);
    option := jsonb_path_query_first(options, '$[*] ? (@.id == $id)', jsonb_build_object('id', terms->'shippingOptionId'));
  end if;
  taxed := known.lines;
  if known.has_tax and known.has_table and address is not null then
    taxes := orders.find_rates(address, array_append(known.categories, option->>'taxCategory'));
    taxed := (select coalesce(jsonb_agg(l || jsonb_build_object('tax', taxes->'places'->(l->>'category')) order by ord),
      '[]') from jsonb_array_elements(known.lines) with ordinality e(l, ord));
  end if;
  if (known.has_automatic or known.codes <> '{}') and not coalesce((terms->>'noDiscounts')::boolean, false) then
    found := orders.find_discounts(known.codes, known.lines, currency, known.subtotal, known.customer_key);
  end if;
  totals := orders.totals(jsonb_build_object('currency', currency, 'taxIncluded', known.prices_include_tax,
    'reverseCharge', known.is_reverse, 'rates', taxes->'rates', 'discounts', found->'discounts', 'lines', taxed,
    'shipping', case when option is not null then jsonb_build_object('price', option->'price',
      'tax', taxes->'places'->coalesce(option->>'taxCategory', '')) end));
  if jsonb_array_length(totals->'discounts') < jsonb_array_length(found->'discounts') then
    unused := (select coalesce(jsonb_agg(d->'code'), '[]') from jsonb_array_elements(found->'discounts') d
      where d ? 'code' and not totals->'discounts' @> jsonb_build_array(jsonb_build_object('id', d->'id')));
  end if;
  if not known.has_table and address is not null then
    question := orders.tax_question(totals, known.lines, option->>'taxCategory', known.seller
      || jsonb_build_object('currency', currency, 'address', address - '{name,company,phone,email}'::text[],
        'addressSource', case when nullif(terms->'shippingAddress', 'null') is null then 'billing' else 'shipping' end));
    if orders.is_answer(terms->'taxQuote', question) then
      totals := orders.apply_taxes(totals, terms->'taxQuote', currency);
      question := null;
    end if;
  end if;
  if question is not null or known.has_tax and address is null then
    totals := orders.without_taxes(totals);
  end if;
  if known.has_shipping and option is null and not coalesce((terms->>'shippingOptional')::boolean, false) then
    totals := totals || '{"shipping": null, "shippingTax": null, "total": null}';
  end if;
  return totals || jsonb_build_object('shippingOptions', options,
    'shippingOption', option - '{price,minDays,maxDays,taxCategory}'::text[], 'taxQuestion', question,
    'needsShipping', known.has_shipping, 'needsAddress', known.has_shipping or known.has_tax,
    'invalidDiscounts', found->'invalid', 'customerKey', known.customer_key, 'names', known.names,
    'unusedDiscounts', unused)
    || case when terms ? 'keepTerms' then jsonb_build_object('terms', jsonb_build_object(
      'taxIncluded', known.prices_include_tax, 'reverseCharge', known.is_reverse, 'rates', taxes->'rates',
      'tax', taxed->0->'tax', 'shipping', case when option is not null then jsonb_build_object('price', option->'price',
        'tax', taxes->'places'->coalesce(option->>'taxCategory', '')) end)) else '{}' end;
end
$function$;
alter function orders.settle(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.settle(jsonb,jsonb) from public;

-- function: orders.settle_order(jsonb,jsonb)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.settle_order(items jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  amounts jsonb;
  fault text;
begin
  if input->>'pricing' = 'quoted' and jsonb_array_length(coalesce(nullif(input->'discountCodes', 'null'), '[]')) > 0 then
    return jsonb_build_object('error', 'discount_invalid', 'detail', 'Quoted prices take no discount.', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/discountCodes', 'detail', 'must be left out: quoted prices take no discount')));
  end if;
  if coalesce(nullif(input->'shippingAddress', 'null'), nullif(input->'billingAddress', 'null')) is null then
    input := input || jsonb_build_object('shippingAddress', jsonb_build_object('country',
      (select t.country from platform.tenants t where t.id = platform.tenant())));
  end if;
  amounts := orders.settle(items, input || jsonb_build_object('shippingOptional', true,
    'noDiscounts', input->>'pricing' is not distinct from 'quoted' or input ? 'campaignId'));
  if amounts->'invalidDiscounts' <> '[]' then
    return jsonb_build_object('error', 'discount_invalid', 'detail', amounts->'invalidDiscounts'->0->>'detail', 'errors',
      (select jsonb_agg(jsonb_build_object('pointer', format('/discountCodes/%s', d->>'index'), 'detail', d->>'detail'))
        from jsonb_array_elements(amounts->'invalidDiscounts') d));
  end if;
  if input->>'shippingOptionId' is not null and amounts->'shippingOption' = 'null' then
    return jsonb_build_object('error', 'validation_failed', 'errors', jsonb_build_array(jsonb_build_object(
      'pointer', '/shippingOptionId', 'detail', 'is not offered for this address, currency and weight')));
  end if;
  fault := orders.amounts_fault(amounts, input->>'currency');
  if fault is not null then
    return jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/items', 'detail', fault)));
  end if;
  return amounts || jsonb_build_object('lines', (
    select jsonb_agg(l || jsonb_build_object('name', amounts->'names'->(i->>'sku')) order by ord)
    from jsonb_array_elements(amounts->'lines') with ordinality e(l, ord)
    join jsonb_array_elements(items) with ordinality f(i, item_ord) on item_ord = ord));
end
$function$;
alter function orders.settle_order(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.settle_order(jsonb,jsonb) from public;

-- function: orders.settle_place(jsonb)
-- src/db/orders/campaign-places.sql
CREATE OR REPLACE FUNCTION orders.settle_place(input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  amounts jsonb := orders.settle_order(
    jsonb_build_array(jsonb_build_object('sku', input->'sku', 'quantity', input->'quantity', 'price', input->'price')),
    input || jsonb_build_object('customerId', input->'userId'));
begin
  if amounts #>> '{errors,0,pointer}' = '/items' then -- a join has none: the option or the address changes the total
    return jsonb_set(amounts, '{errors,0,pointer}', to_jsonb(case
      when (input->>'quantity')::integer > 1 then '/quantity'
      when input->>'shippingOptionId' is not null then '/shippingOptionId'
      when nullif(input->'shippingAddress', 'null') is not null then '/shippingAddress'
      when nullif(input->'billingAddress', 'null') is not null then '/billingAddress' else '' end));
  elsif amounts ? 'error' then
    return amounts;
  elsif amounts->>'taxQuestion' is not null then
    return jsonb_build_object('taxQuestion', amounts->'taxQuestion');
  end if;
  return (select jsonb_object_agg(a.name, a.value) from jsonb_each(amounts) a(name, value)
    where a.name = any('{subtotal,discount,shipping,shippingTax,tax,total,taxIncluded,taxLines,taxCalculation}'
      || '{shippingOption,lines,terms}'::text[]));
end
$function$;
alter function orders.settle_place(jsonb) owner to fusion_orders;
revoke all on function orders.settle_place(jsonb) from public;
grant execute on function orders.settle_place(jsonb) to fusion_group_commerce;

-- function: orders.shipment_of(character varying)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.shipment_of(order_id character varying)
 RETURNS SETOF jsonb
 LANGUAGE sql
 STABLE ROWS 1
AS $function$
  select shipping.shipment_json(s) from shipping.shipments s
  where s.order_id = shipment_of.order_id order by s.status in ('in_transit', 'delivered') desc, s.id desc limit 1
$function$;
alter function orders.shipment_of(character varying) owner to fusion_orders;
revoke all on function orders.shipment_of(character varying) from public;
grant execute on function orders.shipment_of(character varying) to fusion_reader;

-- function: orders.shipments_of(character varying)
-- src/db/orders/orders.sql
CREATE OR REPLACE FUNCTION orders.shipments_of(order_id character varying)
 RETURNS TABLE(latest jsonb, every jsonb)
 LANGUAGE sql
 STABLE ROWS 1
AS $function$
  select jsonb_agg(shipping.shipment_json(s) order by s.status in ('in_transit', 'delivered') desc, s.id desc)->0,
    coalesce(jsonb_agg(shipping.shipment_json(s) order by s.id), '[]')
  from shipping.shipments s where s.order_id = shipments_of.order_id
$function$;
alter function orders.shipments_of(character varying) owner to fusion_orders;
revoke all on function orders.shipments_of(character varying) from public;
grant execute on function orders.shipments_of(character varying) to fusion_reader;

-- function: orders.shipping_option_faults(orders.shipping_options)
-- src/db/orders/shipping-options.sql
CREATE OR REPLACE FUNCTION orders.shipping_option_faults(o orders.shipping_options)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('error', 'validation_failed', 'errors',
    jsonb_agg(jsonb_build_object('pointer', f.pointer, 'detail', f.detail) order by f.pointer))
  from (values
    ('/price', case when not orders.fits_currency(o.price, o.currency)
      then format('%s has no decimals: %s does not fit.', o.currency, trim_scale(o.price)) end),
    ('/freeFrom', case when not orders.fits_currency(o.free_from, o.currency)
      then format('%s has no decimals: %s does not fit.', o.currency, trim_scale(o.free_from)) end),
    ('/maxWeight', case when o.max_weight < o.min_weight then 'must not be below minWeight' end),
    ('/maxDays', case when o.max_days < o.min_days then 'must not be below minDays' end)) f(pointer, detail)
  where f.detail is not null having count(*) > 0
$function$;
alter function orders.shipping_option_faults(orders.shipping_options) owner to fusion_orders;
revoke all on function orders.shipping_option_faults(orders.shipping_options) from public;

-- function: orders.shipping_option_json(orders.shipping_options)
-- src/db/orders/shipping-options.sql
CREATE OR REPLACE FUNCTION orders.shipping_option_json(o orders.shipping_options)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', o.id, 'name', o.name, 'countries', to_jsonb(o.countries), 'currency', o.currency,
    'price', o.price, 'freeFrom', o.free_from, 'minWeight', o.min_weight, 'maxWeight', o.max_weight,
    'minDays', o.min_days, 'maxDays', o.max_days, 'taxCategory', o.tax_category, 'createdAt', platform.iso(o.created_at),
    'updatedAt', platform.iso(o.updated_at))
$function$;
alter function orders.shipping_option_json(orders.shipping_options) owner to fusion_orders;
revoke all on function orders.shipping_option_json(orders.shipping_options) from public;
grant execute on function orders.shipping_option_json(orders.shipping_options) to fusion_reader;

-- function: orders.shipping_status(orders.orders)
-- src/db/orders/fulfilment.sql
CREATE OR REPLACE FUNCTION orders.shipping_status(o orders.orders)
 RETURNS character varying
 LANGUAGE sql
 STABLE
AS $function$
  with parcel as (
    select s.status, s.quantities from shipping.shipments s
    where s.order_id = o.id and s.status in ('in_transit', 'delivered')
  )
  select case when count(*) = 0 or exists (
      select from jsonb_array_elements(o.items) with ordinality e(i, n)
      where (i->>'quantity')::int > coalesce(o.refunded_quantities[n::int], 0) - coalesce(o.returned_quantities[n::int], 0)
        + (select coalesce(sum(coalesce(p.quantities[n::int], (i->>'quantity')::int)), 0) from parcel p)
    ) then 'confirmed' when bool_and(parcel.status = 'delivered') then 'delivered' else 'shipped' end
  from parcel
$function$;
alter function orders.shipping_status(orders.orders) owner to fusion_orders;
revoke all on function orders.shipping_status(orders.orders) from public;

-- function: orders.shortage_of(orders.orders,integer[])
-- src/db/orders/fulfilment.sql
CREATE OR REPLACE FUNCTION orders.shortage_of(o orders.orders, wanted integer[])
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select format('Line %s has %s %s left to ship, not %s. The others are in a parcel or were refunded.', n, free,
    case free when 1 then 'unit' else 'units' end, asked)
  from unnest(orders.units_left(o), wanted) with ordinality u(free, asked, n) where asked > free order by n limit 1
$function$;
alter function orders.shortage_of(orders.orders,integer[]) owner to fusion_orders;
revoke all on function orders.shortage_of(orders.orders,integer[]) from public;
grant execute on function orders.shortage_of(orders.orders,integer[]) to fusion_shipping;

-- function: orders.show_customer(jsonb,jsonb)
-- src/db/orders/shopper-reads.sql
CREATE OR REPLACE FUNCTION orders.show_customer(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'customers:read', '{session}');
  answer jsonb;
begin
  select orders.customer_json_for_caller(c) || jsonb_build_object('version', c.version) into answer
  from orders.customers c where c.id = input->>'id' and orders.may_reach_customer(c);
  if not found then
    perform platform.fail('not_found');
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', answer);
end
$function$;
alter function orders.show_customer(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.show_customer(jsonb,jsonb) from public;
grant execute on function orders.show_customer(jsonb,jsonb) to fusion_worker;

-- function: orders.show_history(jsonb,jsonb)
-- src/db/orders/shopper-reads.sql
CREATE OR REPLACE FUNCTION orders.show_history(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'orders:read', '{publishable,session}');
begin
  if not orders.may_reach_order_id(input->>'id') then
    perform platform.fail('not_found');
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', platform.history_of(
    array(select input->>'id' union all select p.payment_id from payments.payments p where p.order_id = input->>'id'),
    (input->>'after')::bigint, (input->>'limit')::int));
end
$function$;
alter function orders.show_history(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.show_history(jsonb,jsonb) from public;
grant execute on function orders.show_history(jsonb,jsonb) to fusion_worker;

-- function: orders.show_order(jsonb,jsonb)
-- src/db/orders/shopper-reads.sql
CREATE OR REPLACE FUNCTION orders.show_order(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'orders:read', '{publishable,session}');
begin
  if not orders.may_reach_order_id(input->>'id') then
    perform platform.fail('not_found');
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', orders.read_order(input->>'id'));
end
$function$;
alter function orders.show_order(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.show_order(jsonb,jsonb) from public;
grant execute on function orders.show_order(jsonb,jsonb) to fusion_worker;

-- function: orders.show_orders(jsonb,jsonb)
-- src/db/orders/shopper-reads.sql
CREATE OR REPLACE FUNCTION orders.show_orders(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'orders:read', '{session}');
  customer constant varchar := platform.shopper()->>'customer';
  answer jsonb;
begin
  if coalesce(input->>'customerId', customer) is distinct from customer or customer is null then
    perform platform.fail('forbidden', jsonb_build_object('reason',
      'A customer session lists the orders of its own customer: leave out customerId.'));
  end if;
  select coalesce(jsonb_agg(orders.order_json(c.row, orders.hold_json(r), p, s) order by c.id desc), '[]') into answer
  from (
    select o.id, o as row from orders.orders o
    where o.tenant_id = api_key.tenant_id and o.customer_id = customer
      and (input->>'status' is null or o.status = input->>'status')
      and (input->>'organizationId' is null or o.organization_id = input->>'organizationId')
      and (input->>'before' is null or o.id < input->>'before')
    order by o.id desc limit (input->>'limit')::int
  ) c
  left join inventory.reservations r on r.order_id = c.id
  left join lateral orders.payment_of(c.id) p on true
  left join lateral orders.shipment_of(c.id) s on true;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', answer);
end
$function$;
alter function orders.show_orders(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.show_orders(jsonb,jsonb) from public;
grant execute on function orders.show_orders(jsonb,jsonb) to fusion_worker;

-- function: orders.subtract_discounts(jsonb,text[],bigint[],numeric,numeric[],numeric)
-- src/db/orders/totals.sql
CREATE OR REPLACE FUNCTION orders.subtract_discounts(discounts jsonb, ids text[], positions bigint[], unit numeric, INOUT lefts numeric[], INOUT shipping numeric, OUT saved numeric, OUT applied jsonb)
 RETURNS record
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
declare
  discount jsonb;
  weights numeric[];
  amount numeric;
  parts numeric[];
  allocations jsonb[];
begin
  saved := 0;
  applied := '[]';
  for d in 0..jsonb_array_length(discounts) - 1 loop
    discount := discounts->d;
    if discount->>'type' = 'free_shipping' then
      amount := shipping;
      shipping := 0 * unit;
      allocations := case when amount > 0
        then array[jsonb_build_object('lineId', 'shipping', 'amount', amount)] else '{}' end;
    else
      weights := lefts;
      if discount ? 'lines' then
        weights := array(select case when w.id in (select jsonb_array_elements_text(discount->'lines'))
            then w.kept else 0 end
          from unnest(ids, lefts) with ordinality w(id, kept, n) order by w.n);
      end if;
      amount := 0 * unit;
      for n in 1..cardinality(weights) loop
        amount := amount + weights[n];
      end loop;
      amount := case discount->>'type'
        when 'percentage' then orders.fraction(amount, (discount->>'value')::numeric, 100, unit)
        else least(div((discount->>'value')::numeric, unit) * unit, amount) end;
      parts := orders.allocate(amount, weights, unit);
      allocations := array_fill(null::jsonb, array[cardinality(lefts)]);
      for n in 1..cardinality(lefts) loop
        if parts[n] > 0 then
          lefts[n] := lefts[n] - parts[n];
          allocations[positions[n]] := jsonb_build_object('lineId', ids[n], 'amount', parts[n]);
        end if;
      end loop;
      allocations := array_remove(allocations, null);
    end if;
    saved := saved + amount;
    applied := applied || jsonb_build_array(discount - '{type,value,combinable,lines}'::text[]
      || jsonb_build_object('amount', amount, 'allocations', to_jsonb(allocations)));
  end loop;
end
$function$;
alter function orders.subtract_discounts(jsonb,text[],bigint[],numeric,numeric[],numeric) owner to fusion_orders;
revoke all on function orders.subtract_discounts(jsonb,text[],bigint[],numeric,numeric[],numeric) from public;

-- function: orders.take_uses(character varying,jsonb,character varying)
-- src/db/orders/discount-uses.sql
CREATE OR REPLACE FUNCTION orders.take_uses(order_id character varying, discounts jsonb, customer_key character varying)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  gone jsonb;
  discount orders.discounts;
begin
  with counted as (
    select d.id, d.tenant_id from orders.discounts d
    where d.id = any(array(select e->>'id' from jsonb_array_elements(discounts) e where (e->>'amount')::numeric > 0))
      and (d.usage_limit is not null or d.per_customer_limit is not null)
    order by d.id for key share -- no limit is added or removed meanwhile
  )
  insert into orders.discount_uses (order_id, discount_id, tenant_id, customer_key, is_taken)
  select take_uses.order_id, c.id, c.tenant_id, take_uses.customer_key, true from counted c;
  if not found then
    return;
  end if;
  gone := orders.count_taken_uses(order_id);
  if gone is null then
    return;
  end if;
  select * into discount from orders.discounts d where d.id = gone->>'discount';
  if discount.code is null then
    raise exception using errcode = 'serialization_failure', message = 'the last use of a discount was taken meanwhile';
  end if;
  perform platform.fail('discount_invalid', jsonb_build_object('reason',
    orders.discount_refusal(gone->>'fault', discount.code, discount)));
end
$function$;
alter function orders.take_uses(character varying,jsonb,character varying) owner to fusion_orders;
revoke all on function orders.take_uses(character varying,jsonb,character varying) from public;

-- function: orders.tax_question(jsonb,jsonb,text,jsonb)
-- src/db/orders/tax-quotes.sql
CREATE OR REPLACE FUNCTION orders.tax_question(totals jsonb, lines jsonb, shipping_category text, terms jsonb)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select q.question || jsonb_build_object('key', encode(sha256(convert_to(q.question::text, 'UTF8')), 'hex'))
  from (
    select terms || jsonb_build_object('included', totals->'taxIncluded',
      'lines', (
        select coalesce(jsonb_agg(jsonb_build_object('id', a.line->'id', 'quantity', b.line->'quantity',
          'amount', a.line->>'total', 'category', nullif(b.line->>'category', '')) order by a.ord), '[]')
        from jsonb_array_elements(totals->'lines') with ordinality a(line, ord)
        join jsonb_array_elements(tax_question.lines) with ordinality b(line, ord) on b.ord = a.ord
        where (a.line->>'total')::numeric > 0),
      'shipping', case when (totals->>'shipping')::numeric > 0 then jsonb_build_object('amount', totals->>'shipping',
        'category', shipping_category) end) as question
  ) q
  where q.question->'lines' <> '[]' or q.question->'shipping' <> 'null'
$function$;
alter function orders.tax_question(jsonb,jsonb,text,jsonb) owner to fusion_orders;
revoke all on function orders.tax_question(jsonb,jsonb,text,jsonb) from public;

-- function: orders.tax_rate_conflict(orders.tax_rates)
-- src/db/orders/tax-rates.sql
CREATE OR REPLACE FUNCTION orders.tax_rate_conflict(r orders.tax_rates)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('error', 'conflict', 'detail', format('There is a tax rate for %s and %s already. Change that one.',
    coalesce(r.country || '-' || r.region, r.country),
    coalesce('the category "' || r.category || '"', 'products without a rate for their category')))
$function$;
alter function orders.tax_rate_conflict(orders.tax_rates) owner to fusion_orders;
revoke all on function orders.tax_rate_conflict(orders.tax_rates) from public;

-- function: orders.tax_rate_json(orders.tax_rates)
-- src/db/orders/tax-rates.sql
CREATE OR REPLACE FUNCTION orders.tax_rate_json(r orders.tax_rates)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', r.id, 'name', r.name, 'country', r.country, 'region', r.region, 'category', r.category,
    'rate', r.rate, 'createdAt', platform.iso(r.created_at), 'updatedAt', platform.iso(r.updated_at))
$function$;
alter function orders.tax_rate_json(orders.tax_rates) owner to fusion_orders;
revoke all on function orders.tax_rate_json(orders.tax_rates) from public;
grant execute on function orders.tax_rate_json(orders.tax_rates) to fusion_reader;

-- function: orders.totals(jsonb)
-- src/db/orders/totals.sql
CREATE OR REPLACE FUNCTION orders.totals(input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  decimals constant integer := platform.currency_decimals(input->>'currency');
  unit constant numeric := case decimals when 0 then 1 else 0.01 end;
  is_reverse constant boolean := coalesce((input->>'reverseCharge')::boolean, false);
  included boolean := coalesce((input->>'taxIncluded')::boolean, false);
  rates jsonb := coalesce(input->'rates', '[]');
  discounts constant jsonb := coalesce(input->'discounts', '[]');
  ids text[];
  positions bigint[];
  sums numeric[];
  places integer[];
  shipping numeric := round(coalesce((input->'shipping'->>'price')::numeric, 0), decimals);
  lefts numeric[];
  taxes numeric[];
  taxed record;
  applied jsonb := '[]';
  chosen record;
  lines jsonb[];
  subtotal numeric := 0 * unit;
  kept numeric := 0 * unit; -- what is left of the subtotal
  tax numeric;
begin
  -- Lines are sorted by SKU, so that the request's order decides no cent. Shipping comes last.
  select coalesce(array_agg(l.id), '{}'), coalesce(array_agg(l.position), '{}'), coalesce(array_agg(l.sum), '{}'),
    array_append(array_agg(l.place), (input->'shipping'->>'tax')::integer)
  into ids, positions, sums, places
  from (
    select e.id, e.position, e.tax as place, round(e.quantity * e.price, decimals) as sum
    from rows from (jsonb_to_recordset(nullif(input->'lines', 'null'))
        as (id text, sku text, quantity numeric, price numeric, tax integer))
      with ordinality e(id, sku, quantity, price, tax, position)
    order by e.sku collate "C", 4, e.price, e.position
  ) l;
  if is_reverse then
    if included then
      taxes := (orders.add_taxes(sums || shipping, places, rates, true, unit)).taxes;
      for n in 1..cardinality(sums) loop
        sums[n] := sums[n] - taxes[n];
      end loop;
      shipping := shipping - taxes[cardinality(taxes)];
      included := false;
    end if;
    rates := '[{"name": "Reverse charge", "rate": 0}]';
    places := array(select 0 * p.place from unnest(places) with ordinality p(place, n) order by p.n);
  end if;
  lefts := sums;
  if discounts <> '[]' then
    chosen := orders.choose_discounts(discounts, ids, positions, unit, lefts, shipping);
    lefts := chosen.lefts;
    shipping := chosen.shipping;
    applied := chosen.applied;
  end if;
  taxed := orders.add_taxes(lefts || shipping, places, rates, included, unit);
  taxes := taxed.taxes;
  tax := taxes[cardinality(taxes)];
  lines := array_fill(null::jsonb, array[cardinality(ids)]);
  for n in 1..cardinality(ids) loop
    subtotal := subtotal + sums[n];
    kept := kept + lefts[n];
    tax := tax + taxes[n];
    lines[positions[n]] := jsonb_build_object('id', ids[n], 'subtotal', sums[n], 'discount', sums[n] - lefts[n],
      'tax', taxes[n], 'total', lefts[n] + case when included then 0 else taxes[n] end);
  end loop;
  return jsonb_build_object('subtotal', subtotal, 'discount', subtotal - kept, 'shipping', shipping,
    'shippingTax', taxes[cardinality(taxes)], 'tax', tax,
    'total', kept + shipping + case when included then 0 else tax end,
    'taxIncluded', included, 'lines', to_jsonb(lines), 'taxLines', taxed.tax_lines, 'discounts', applied);
end
$function$;
alter function orders.totals(jsonb) owner to fusion_orders;
revoke all on function orders.totals(jsonb) from public;

-- function: orders.undo_refund(character varying,jsonb)
-- src/db/orders/refunds.sql
CREATE OR REPLACE FUNCTION orders.undo_refund(order_id character varying, refund jsonb)
 RETURNS text[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  order_row orders.orders;
  failed_items jsonb := refund->'items';
  back record;
begin
  select * into order_row from orders.orders o where o.id = order_id;
  if not found or order_row.status not in ('confirmed', 'shipped', 'delivered', 'refunded')
    or exists (select from orders.returns r where r.refund_id = refund->>'id') then
    return '{}';
  end if;
  if order_row.status = 'refunded' then
    perform orders.lock_uses(array[order_row.id::text]); -- it may be reopened: uses are locked before stock
  end if;
  select * into back from orders.units_by_sku(order_row, failed_items, 'restocked');
  if not inventory.take_restocked(order_row.id, back.skus, back.units) then
    failed_items := '[]';
    back.skus := '{}';
  end if;
  update orders.orders o
  set refunded_quantities = orders.add_units(o.refunded_quantities, jsonb_array_length(o.items), failed_items, 'quantity', -1),
      refunded_amounts = orders.add_amounts(o.refunded_amounts, jsonb_array_length(o.items), failed_items, -1),
      restocked_quantities = orders.add_units(o.restocked_quantities, jsonb_array_length(o.items), failed_items, 'restocked', -1),
      shipping_refunded = o.shipping_refunded - (refund->>'shipping')::numeric, updated_at = platform.clock()
  where o.id = order_row.id;
  -- The refund may have completed the order. Now its units must be sent.
  update orders.orders o set status = 'confirmed'
  where o.id = order_row.id and o.status in ('shipped', 'delivered') and orders.shipping_status(o) = 'confirmed';
  return back.skus;
end
$function$;
alter function orders.undo_refund(character varying,jsonb) owner to fusion_orders;
revoke all on function orders.undo_refund(character varying,jsonb) from public;
grant execute on function orders.undo_refund(character varying,jsonb) to fusion_payments;

-- function: orders.unfulfil(character varying,integer[])
-- src/db/orders/fulfilment.sql
CREATE OR REPLACE FUNCTION orders.unfulfil(order_id character varying, units integer[])
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  update orders.orders o set fulfilled_quantities = case when units is not null
    then orders.add_unit_lists(o.fulfilled_quantities, array(select -u from unnest(units) u)) end
  where o.id = order_id and o.fulfilled_quantities is not null
$function$;
alter function orders.unfulfil(character varying,integer[]) owner to fusion_orders;
revoke all on function orders.unfulfil(character varying,integer[]) from public;
grant execute on function orders.unfulfil(character varying,integer[]) to fusion_shipping;

-- function: orders.units_by_sku(orders.orders,jsonb,text)
-- src/db/orders/refund-amounts.sql
CREATE OR REPLACE FUNCTION orders.units_by_sku(o orders.orders, items jsonb, field text, OUT skus text[], OUT units integer[])
 RETURNS record
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(array_agg(w.sku order by w.sku), '{}'), coalesce(array_agg(w.units order by w.sku), '{}')
  from (
    select o.items->((i->>'lineId')::int - 1)->>'sku' as sku, sum((i->>field)::int)::int as units
    from jsonb_array_elements(items) i group by 1 having sum((i->>field)::int) > 0
  ) w
$function$;
alter function orders.units_by_sku(orders.orders,jsonb,text) owner to fusion_orders;
revoke all on function orders.units_by_sku(orders.orders,jsonb,text) from public;

-- function: orders.units_in_returns(orders.orders,character varying)
-- src/db/orders/returns.sql
CREATE OR REPLACE FUNCTION orders.units_in_returns(o orders.orders, without_return character varying)
 RETURNS integer[]
 LANGUAGE sql
 STABLE
AS $function$
  select orders.add_units(null, jsonb_array_length(o.items), coalesce(jsonb_agg(i), '[]'), 'quantity', 1)
  from orders.returns r, jsonb_array_elements(r.items) i
  where r.order_id = o.id and r.status = 'requested' and r.id is distinct from without_return
$function$;
alter function orders.units_in_returns(orders.orders,character varying) owner to fusion_orders;
revoke all on function orders.units_in_returns(orders.orders,character varying) from public;

-- function: orders.units_left(orders.orders)
-- src/db/orders/fulfilment.sql
CREATE OR REPLACE FUNCTION orders.units_left(o orders.orders)
 RETURNS integer[]
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select array(
    select greatest((i->>'quantity')::int - coalesce(o.refunded_quantities[n::int], 0)
      + coalesce(o.returned_quantities[n::int], 0) - coalesce(o.fulfilled_quantities[n::int], 0), 0)
    from jsonb_array_elements(o.items) with ordinality e(i, n) order by n)
$function$;
alter function orders.units_left(orders.orders) owner to fusion_orders;
revoke all on function orders.units_left(orders.orders) from public;
grant execute on function orders.units_left(orders.orders) to fusion_shipping;

-- function: orders.units_of(orders.orders,jsonb)
-- src/db/orders/fulfilment.sql
CREATE OR REPLACE FUNCTION orders.units_of(o orders.orders, items jsonb)
 RETURNS integer[]
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select array(
    select coalesce((select sum((i->>'quantity')::int)::int from jsonb_array_elements(items) i where i->>'lineId' = n::text), 0)
    from generate_series(1, jsonb_array_length(o.items)) n order by n)
$function$;
alter function orders.units_of(orders.orders,jsonb) owner to fusion_orders;
revoke all on function orders.units_of(orders.orders,jsonb) from public;
grant execute on function orders.units_of(orders.orders,jsonb) to fusion_shipping;

-- function: orders.update_cart(jsonb,jsonb)
-- src/db/orders/carts/carts.sql
CREATE OR REPLACE FUNCTION orders.update_cart(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  replay jsonb := platform.enter(call, 'orders:write', 'carts.update', '{publishable,session}');
  change constant jsonb := input->'change';
  cart orders.carts;
begin
  if replay is not null then
    return replay;
  end if;
  cart := orders.lock_open_cart(input);
  if change ? 'items' then
    cart.items := orders.merge_items(cart.items, change->'items');
    if orders.items_error(cart.items) is not null then
      return platform.leave(call, 'carts.update', orders.items_error(cart.items));
    end if;
  end if;
  cart := jsonb_populate_record(cart, (
    select coalesce(jsonb_object_agg(f.col, change->f.field), '{}') from (values ('email', 'email'), ('phone', 'phone'),
      ('shipping_address', 'shippingAddress'), ('billing_address', 'billingAddress'),
      ('shipping_option_id', 'shippingOptionId'), ('discount_codes', 'discountCodes'),
      ('purchase_order_number', 'purchaseOrderNumber'), ('metadata', 'metadata')) f(col, field)
    where change ? f.field));
  cart := orders.save_cart(cart, (input->>'cartSeconds')::int);
  return platform.leave(call, 'carts.update', orders.cart_json(cart, orders.price_cart(cart)));
end
$function$;
alter function orders.update_cart(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.update_cart(jsonb,jsonb) from public;
grant execute on function orders.update_cart(jsonb,jsonb) to fusion_worker;

-- function: orders.update_customer(jsonb,jsonb)
-- src/db/orders/customers.sql
CREATE OR REPLACE FUNCTION orders.update_customer(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'customers:write', 'customers.update', '{session}');
  change jsonb := input->'change';
  customer orders.customers;
  new_number boolean;
begin
  if replay is not null then
    return replay;
  end if;
  if platform.shopper() is not null and change - '{name,phone,addresses}'::text[] <> '{}' then
    perform platform.fail('forbidden', jsonb_build_object('reason',
      'A customer session can change name, phone and addresses only.'));
  end if;
  select * into customer from orders.customers c
  where c.id = input->>'id' and orders.may_reach_customer(c) for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if not input->'ifMatch' @> to_jsonb(customer.version) then
    perform platform.fail('version_mismatch');
  end if;
  new_number := change ? 'vatNumber' and change->>'vatNumber' is distinct from customer.vat_number;
  update orders.customers c
  set email = coalesce(change->>'email', c.email),
      name = case when change ? 'name' then change->>'name' else c.name end,
      phone = case when change ? 'phone' then change->>'phone' else c.phone end,
      addresses = coalesce(change->'addresses', c.addresses),
      customer_group = case when change ? 'group' then change->>'group' else c.customer_group end,
      metadata = coalesce(change->'metadata', c.metadata),
      vat_number = case when new_number then change->>'vatNumber' else c.vat_number end,
      vat_status = case when not new_number then c.vat_status when change->>'vatNumber' is not null then 'pending' end,
      vat_requested_at = case when not new_number then c.vat_requested_at
        when change->>'vatNumber' is not null then platform.clock() end,
      vat_checked_at = case when not new_number then c.vat_checked_at end,
      version = platform.next_version(c.version), updated_at = platform.clock()
  where c.id = customer.id
  returning * into customer;
  if new_number and customer.vat_number is not null then
    perform orders.request_vat_check(customer);
  end if;
  return platform.leave(call, 'customers.update',
    orders.customer_json_for_caller(customer) || jsonb_build_object('version', customer.version));
exception when unique_violation then -- another customer has the e-mail, or takes it at the same time
  return platform.leave(call, 'customers.update', jsonb_build_object('error', 'email_taken'));
end
$function$;
alter function orders.update_customer(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.update_customer(jsonb,jsonb) from public;
grant execute on function orders.update_customer(jsonb,jsonb) to fusion_worker;

-- function: orders.update_discount(jsonb,jsonb)
-- src/db/orders/discounts.sql
CREATE OR REPLACE FUNCTION orders.update_discount(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'discounts:write', 'discounts.update');
  before orders.discounts;
  after orders.discounts;
  fault jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  before := orders.lock_discount(input->>'id', input->'ifMatch');
  after := orders.with_discount_fields(before, input->'change');
  fault := orders.discount_faults(after, input->'change');
  if fault is not null then
    return platform.leave(call, 'discounts.update', fault);
  end if;
  begin
    update orders.discounts d
    set code = after.code, name = after.name, type = after.type, value = coalesce(after.value, 0),
        currency = after.currency, starts_at = after.starts_at, ends_at = after.ends_at, usage_limit = after.usage_limit,
        per_customer_limit = after.per_customer_limit, min_subtotal = after.min_subtotal, skus = after.skus,
        collections = after.collections, combinable = after.combinable, version = platform.next_version(d.version),
        updated_at = platform.clock()
    where d.id = before.id
    returning * into after;
  exception when unique_violation then -- another discount has the code, or takes it at the same time
    return platform.leave(call, 'discounts.update', orders.code_taken(after.code));
  end;
  perform orders.change_limits(before, after);
  return platform.leave(call, 'discounts.update', orders.written_discount(after));
end
$function$;
alter function orders.update_discount(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.update_discount(jsonb,jsonb) from public;
grant execute on function orders.update_discount(jsonb,jsonb) to fusion_worker;

-- function: orders.update_shipping_option(jsonb,jsonb)
-- src/db/orders/shipping-options.sql
CREATE OR REPLACE FUNCTION orders.update_shipping_option(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'shipping:write', 'shippingOptions.update');
  option orders.shipping_options;
  fault jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  option := orders.with_shipping_fields(
    orders.lock_shipping_option(input->>'id', input->'ifMatch'), input->'change');
  fault := orders.shipping_option_faults(option);
  if fault is not null then
    return platform.leave(call, 'shippingOptions.update', fault);
  end if;
  update orders.shipping_options o
  set name = option.name, countries = option.countries, currency = option.currency, price = option.price,
      free_from = option.free_from, min_weight = option.min_weight, max_weight = option.max_weight,
      min_days = option.min_days, max_days = option.max_days, tax_category = option.tax_category,
      version = platform.next_version(o.version), updated_at = platform.clock()
  where o.id = option.id
  returning * into option;
  return platform.leave(call, 'shippingOptions.update',
    orders.shipping_option_json(option) || jsonb_build_object('version', option.version));
end
$function$;
alter function orders.update_shipping_option(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.update_shipping_option(jsonb,jsonb) from public;
grant execute on function orders.update_shipping_option(jsonb,jsonb) to fusion_worker;

-- function: orders.update_tax_rate(jsonb,jsonb)
-- src/db/orders/tax-rates.sql
CREATE OR REPLACE FUNCTION orders.update_tax_rate(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'tax:write', 'taxRates.update');
  change jsonb := input->'change';
  tax_rate orders.tax_rates;
  fault jsonb;
begin
  if replay is not null then
    return replay;
  end if;
  tax_rate := orders.lock_tax_rate(input->>'id', input->'ifMatch');
  if change->>'country' <> tax_rate.country and tax_rate.region is not null and not change ? 'region' then
    return platform.leave(call, 'taxRates.update', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/region', 'detail', format(
        'is required, because %s is a region of %s: give one of %s, or null', tax_rate.region, tax_rate.country,
        change->>'country')))));
  end if;
  tax_rate.name := coalesce(change->>'name', tax_rate.name);
  tax_rate.country := coalesce(change->>'country', tax_rate.country);
  tax_rate.rate := coalesce(change->>'rate', tax_rate.rate::text);
  if change ? 'region' then
    tax_rate.region := orders.region_code(change->>'region', tax_rate.country);
  end if;
  if change ? 'category' then
    tax_rate.category := change->>'category';
  end if;
  fault := orders.region_fault(tax_rate.region, tax_rate.country);
  if fault is not null then
    return platform.leave(call, 'taxRates.update', fault);
  end if;
  update orders.tax_rates r
  set name = tax_rate.name, country = tax_rate.country, region = tax_rate.region, category = tax_rate.category,
      rate = tax_rate.rate, version = platform.next_version(r.version), updated_at = platform.clock()
  where r.id = tax_rate.id
  returning * into tax_rate;
  return platform.leave(call, 'taxRates.update',
    orders.tax_rate_json(tax_rate) || jsonb_build_object('version', tax_rate.version));
exception when unique_violation then -- another rate is for the same, or becomes so at the same time
  return platform.leave(call, 'taxRates.update', orders.tax_rate_conflict(tax_rate));
end
$function$;
alter function orders.update_tax_rate(jsonb,jsonb) owner to fusion_orders;
revoke all on function orders.update_tax_rate(jsonb,jsonb) from public;
grant execute on function orders.update_tax_rate(jsonb,jsonb) to fusion_worker;

-- function: orders.with_discount_fields(orders.discounts,jsonb)
-- src/db/orders/discounts.sql
CREATE OR REPLACE FUNCTION orders.with_discount_fields(d orders.discounts, change jsonb)
 RETURNS orders.discounts
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_populate_record(d, coalesce(jsonb_object_agg(f.column_name, change->f.name), '{}'))
  from (values ('code', 'code'), ('name', 'name'), ('type', 'type'), ('value', 'value'), ('currency', 'currency'),
    ('startsAt', 'starts_at'), ('endsAt', 'ends_at'), ('usageLimit', 'usage_limit'),
    ('perCustomerLimit', 'per_customer_limit'), ('minSubtotal', 'min_subtotal'), ('skus', 'skus'),
    ('collections', 'collections'), ('combinable', 'combinable')) f(name, column_name)
  where change ? f.name
$function$;
alter function orders.with_discount_fields(orders.discounts,jsonb) owner to fusion_orders;
revoke all on function orders.with_discount_fields(orders.discounts,jsonb) from public;

-- function: orders.with_shipping_fields(orders.shipping_options,jsonb)
-- src/db/orders/shipping-options.sql
CREATE OR REPLACE FUNCTION orders.with_shipping_fields(o orders.shipping_options, change jsonb)
 RETURNS orders.shipping_options
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_populate_record(o, coalesce(jsonb_object_agg(f.column_name, change->f.name), '{}'))
  from (values ('name', 'name'), ('countries', 'countries'), ('currency', 'currency'), ('price', 'price'),
    ('freeFrom', 'free_from'), ('minWeight', 'min_weight'), ('maxWeight', 'max_weight'), ('minDays', 'min_days'),
    ('maxDays', 'max_days'), ('taxCategory', 'tax_category')) f(name, column_name)
  where change ? f.name
$function$;
alter function orders.with_shipping_fields(orders.shipping_options,jsonb) owner to fusion_orders;
revoke all on function orders.with_shipping_fields(orders.shipping_options,jsonb) from public;

-- function: orders.without_taxes(jsonb)
-- src/db/orders/tax-quotes.sql
CREATE OR REPLACE FUNCTION orders.without_taxes(totals jsonb)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select totals || '{"tax": null, "shippingTax": null, "taxLines": null}'
    || case when (totals->>'taxIncluded')::boolean then '{}'::jsonb else '{"total": null}' end
$function$;
alter function orders.without_taxes(jsonb) owner to fusion_orders;
revoke all on function orders.without_taxes(jsonb) from public;

-- function: orders.written_discount(orders.discounts)
-- src/db/orders/discounts.sql
CREATE OR REPLACE FUNCTION orders.written_discount(d orders.discounts)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select orders.discount_json(d, (select c.used from orders.discount_counters c where c.discount_id = d.id))
    || jsonb_build_object('version', d.version)
$function$;
alter function orders.written_discount(orders.discounts) owner to fusion_orders;
revoke all on function orders.written_discount(orders.discounts) from public;

-- function: payments.add_automatic_refund(payments.payments,character varying,numeric,character varying)
-- src/db/payments/refunds.sql
CREATE OR REPLACE FUNCTION payments.add_automatic_refund(payment payments.payments, of_intent character varying, refund_amount numeric, why character varying)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if refund_amount <= 0 or exists (select from payments.refunds r where r.payment_id = payment.payment_id
    and r.stripe_intent_id is not distinct from of_intent and r.automatic and r.status = 'failed'
    and r.amount <= refund_amount
    -- Unless it failed because of a refund made by hand, and that one has failed since.
    and not exists (select from payments.refunds h where h.payment_id = r.payment_id and not h.automatic
      and h.stripe_intent_id is not distinct from of_intent and h.status = 'failed' and h.stripe_refund_id is not null
      and h.checked_at > r.checked_at)) then
    return;
  end if;
  if of_intent is not distinct from payment.stripe_payment_intent_id then
    update payments.payments x set refunded = x.refunded + refund_amount, updated_at = platform.clock()
    where x.payment_id = payment.payment_id;
  end if;
  perform payments.insert_refund(payment, of_intent, platform.uuid7(), refund_amount, why, true);
end
$function$;
alter function payments.add_automatic_refund(payments.payments,character varying,numeric,character varying) owner to fusion_payments;
revoke all on function payments.add_automatic_refund(payments.payments,character varying,numeric,character varying) from public;

-- function: payments.add_place_payment(jsonb,character varying,numeric,character varying,character varying,boolean)
-- src/db/payments/campaign-places.sql
CREATE OR REPLACE FUNCTION payments.add_place_payment(place jsonb, campaign character varying, amount numeric, currency character varying, mode character varying, can_fall boolean)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
begin
  with payment as (
    insert into payments.payments as p (payment_id, order_id, amount, currency, status, tenant_id, mode, campaign_id,
      user_id, tax_calculation, authorized, stripe_account, created_at, updated_at, checked_at)
    select place->>'paymentId', place->>'orderId', add_place_payment.amount, add_place_payment.currency,
      'pending', tenant, add_place_payment.mode, campaign, place->>'userId', place->'amounts'->>'taxCalculation',
      case when can_fall and add_place_payment.mode = 'hold' then add_place_payment.amount end,
      t.stripe_account, now_at, now_at, now_at
    from platform.tenants t where t.id = tenant
    returning p as created
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'payment.created', (p.created).payment_id, payments.created_json(p.created), platform.trace(), now_at
    from payment p
    returning seq, key
  )
  insert into platform.outbox (tenant_id, sink, seq, key, due_at)
  select tenant, s, e.seq, e.key, platform.due_now() from event e, unnest(platform.sinks_of(false)) s;
end
$function$;
alter function payments.add_place_payment(jsonb,character varying,numeric,character varying,character varying,boolean) owner to fusion_payments;
revoke all on function payments.add_place_payment(jsonb,character varying,numeric,character varying,character varying,boolean) from public;
grant execute on function payments.add_place_payment(jsonb,character varying,numeric,character varying,character varying,boolean) to fusion_group_commerce;

-- function: payments.add_refund(payments.payments,character varying,numeric,character varying)
-- src/db/payments/refunds.sql
CREATE OR REPLACE FUNCTION payments.add_refund(p payments.payments, new_id character varying, amount numeric, reason character varying)
 RETURNS payments.refunds
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  update payments.payments x set refunded = x.refunded + add_refund.amount, updated_at = platform.clock()
  where x.payment_id = p.payment_id;
  return payments.insert_refund(p, p.stripe_payment_intent_id, new_id, add_refund.amount, add_refund.reason, false);
end
$function$;
alter function payments.add_refund(payments.payments,character varying,numeric,character varying) owner to fusion_payments;
revoke all on function payments.add_refund(payments.payments,character varying,numeric,character varying) from public;

-- function: payments.apply_capture(payments.payments)
-- src/db/payments/orders.sql
CREATE OR REPLACE FUNCTION payments.apply_capture(payment payments.payments)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if payment.captured < payment.amount then
    perform payments.fail_order_or_place(payment, 'captured_in_part');
    return jsonb_build_object('confirmed', false, 'reason', 'captured_in_part', 'skus', '[]'::jsonb);
  end if;
  if payment.campaign_id is not null and group_commerce.awaits_order(payment.order_id) then
    perform group_commerce.mark_secured(payment.order_id);
    return jsonb_build_object('confirmed', true, 'skus', '[]'::jsonb);
  end if;
  return orders.confirm_paid_order(payment.order_id);
end
$function$;
alter function payments.apply_capture(payments.payments) owner to fusion_payments;
revoke all on function payments.apply_capture(payments.payments) from public;

-- function: payments.apply_early_refunds(payments.payments)
-- src/db/payments/refunds.sql
CREATE OR REPLACE FUNCTION payments.apply_early_refunds(payment payments.payments)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  early payments.refunds;
begin
  for early in
    select * from payments.refunds r where r.payment_id = payment.payment_id
      and r.stripe_intent_id is not distinct from payment.stripe_payment_intent_id order by r.id
  loop
    perform payments.emit_refund_end(payment, early);
  end loop;
  return payments.update_refund_sums(payment.payment_id);
end
$function$;
alter function payments.apply_early_refunds(payments.payments) owner to fusion_payments;
revoke all on function payments.apply_early_refunds(payments.payments) from public;

-- function: payments.apply_intent(payments.payments,jsonb,boolean)
-- src/db/payments/reconcile.sql
CREATE OR REPLACE FUNCTION payments.apply_intent(payment payments.payments, intent jsonb, has_refunds boolean)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if intent->>'id' is distinct from payment.stripe_payment_intent_id then
    if payment.captured > 0 then
      perform payments.refund_excess_intent(payment, intent->>'id');
    end if;
    return '{}';
  end if;
  if intent->>'status' = 'succeeded' then
    if payment.captured > 0 then
      return '{}';
    end if;
    if not payments.supersede_other_payment(payment) then
      perform payments.record_excess_payment(payment, (intent->>'received')::numeric);
      return '{}';
    end if;
    return payments.apply_success(payment, intent, has_refunds);
  end if;
  if intent->>'status' = 'canceled' then
    if payment.status = 'pending' and payments.switch_to_other_intent(payment) then
      return '{}';
    end if;
    if payment.status = 'pending' and payment.campaign_id is not null then
      perform payments.fail_order_or_place(payment, 'hold_ended'); -- nobody can pay for this place any more
    end if;
    update payments.payments x
    set intent_open = false, stripe_status = 'canceled', updated_at = platform.clock(),
        status = case when x.status = 'pending' then 'cancelled' else x.status end
    where x.payment_id = payment.payment_id;
    if payment.status = 'pending' and payment.campaign_id is null then
      perform payments.emit_payment_event(payment, 'payment.cancelled', '{}', false);
    end if;
    return '{}';
  end if;
  -- A declined attempt is not the end: the buyer may try another card until the order's hold is over.
  if payment.status = 'pending' then
    update payments.payments x
    set stripe_status = intent->>'status', failure_reason = coalesce(intent->>'failure', x.failure_reason),
        client_secret = coalesce(x.client_secret, intent->>'clientSecret'), intent_open = true,
        updated_at = platform.clock()
    where x.payment_id = payment.payment_id;
    if payment.mode = 'hold' and intent->>'status' = 'requires_capture' then
      perform group_commerce.mark_secured(payment.order_id);
    elsif payment.mode = 'card' and intent->>'status' = 'requires_payment_method' and intent->>'failure' is not null
      and not payments.switch_to_other_intent(payment) then
      -- Charged off-session: the buyer is not present to try another card, unless the bank has asked for the buyer.
      if intent->>'failure' = 'authentication_required' and payment.capture_asked and payment.action_by is null then
        perform payments.require_action(payment, intent);
      elsif payment.action_by is null then
        perform payments.fail_order_or_place(payment, intent->>'failure');
      end if;
    end if;
  end if;
  return '{}';
end
$function$;
alter function payments.apply_intent(payments.payments,jsonb,boolean) owner to fusion_payments;
revoke all on function payments.apply_intent(payments.payments,jsonb,boolean) from public;

-- function: payments.apply_refund(payments.payments,jsonb)
-- src/db/payments/refunds.sql
CREATE OR REPLACE FUNCTION payments.apply_refund(payment payments.payments, reported jsonb)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  refund payments.refunds;
  previous_status varchar;
  is_paid boolean;
  skus text[];
begin
  select * into refund from payments.refunds x
    where x.payment_id = payment.payment_id and (x.id = reported->>'id' or x.stripe_refund_id = reported->>'stripeId')
      for update;
  if not found then
    if payment.mode = 'hold' and (reported->>'released')::boolean then
      return '{}'; -- the part of the authorization that was not captured
    end if;
    insert into payments.refunds (id, tenant_id, payment_id, amount, currency, status, reason, stripe_refund_id,
      stripe_intent_id, checked_at, created_at)
    values (platform.uuid7(), payment.tenant_id, payment.payment_id, (reported->>'amount')::numeric, payment.currency,
      'pending', 'made at Stripe', reported->>'stripeId',
        coalesce(reported->>'intentId', payment.stripe_payment_intent_id), platform.clock(),
      platform.clock())
    returning * into refund;
  end if;
  previous_status := refund.status;
  update payments.refunds x
  set stripe_refund_id = coalesce(x.stripe_refund_id, reported->>'stripeId'), checked_at = platform.clock(),
      status = case when x.status = 'pending' or reported->>'status' = 'failed' then reported->>'status'
        else x.status end, failure_reason = coalesce(reported->>'failure', x.failure_reason)
  where x.id = refund.id and (reported->>'stripeId' is not null or x.stripe_refund_id is null) returning * into refund;
  if not found then
    return '{}';
  end if;
  is_paid := payment.captured > 0 and (refund.stripe_intent_id is not distinct from payment.stripe_payment_intent_id
    or exists (select from payments.intents i where i.stripe_id = refund.stripe_intent_id and i.received > 0));
  if is_paid and refund.status is distinct from previous_status then
    perform payments.emit_refund_end(payment, refund);
  end if;
  if refund.stripe_intent_id is distinct from payment.stripe_payment_intent_id then
    if payment.captured > 0 then
      perform payments.refund_excess_intent(payment, refund.stripe_intent_id);
    end if;
    return '{}';
  end if;
  if refund.items is not null and refund.status = 'failed' and previous_status <> 'failed' then
    skus := orders.undo_refund(payment.order_id, to_jsonb(refund));
  end if;
  skus := coalesce(skus, '{}') || payments.update_refund_sums(payment.payment_id);
  perform payments.refund_remainder(payment.payment_id);
  if refund.status = 'failed' and not refund.automatic then -- a refund by hand that counted towards a price that fell
    perform payments.refund_difference(p) from payments.payments p
    where p.payment_id = payment.payment_id and p.status = 'succeeded';
  end if;
  return skus;
end
$function$;
alter function payments.apply_refund(payments.payments,jsonb) owner to fusion_payments;
revoke all on function payments.apply_refund(payments.payments,jsonb) from public;

-- function: payments.apply_setup(payments.payments,jsonb)
-- src/db/payments/campaign-places.sql
CREATE OR REPLACE FUNCTION payments.apply_setup(payment payments.payments, setup jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  update payments.payments x
  set stripe_status = 'setup_' || (setup->>'status'), updated_at = platform.clock(),
      payment_method_id = coalesce(setup->>'methodId', x.payment_method_id),
      failure_reason = case when setup->>'status' = 'succeeded' then null
        else coalesce(setup->>'failure', x.failure_reason) end,
      -- Stripe takes no money with a card that was saved for a payment that ended.
      intent_open = x.status = 'pending' and setup->>'status' <> 'canceled'
  where x.payment_id = payment.payment_id and x.stripe_payment_intent_id is null
    and (x.status = 'pending' or setup->>'status' in ('succeeded', 'canceled'));
  if payment.status = 'pending' and setup->>'status' = 'succeeded' then
    perform group_commerce.mark_secured(payment.order_id);
  elsif payment.status = 'pending' and setup->>'status' = 'canceled' then
    perform payments.fail_order_or_place(payment, 'setup_ended');
  end if;
end
$function$;
alter function payments.apply_setup(payments.payments,jsonb) owner to fusion_payments;
revoke all on function payments.apply_setup(payments.payments,jsonb) from public;

-- function: payments.apply_stripe(jsonb,jsonb)
-- src/db/payments/reconcile.sql
CREATE OR REPLACE FUNCTION payments.apply_stripe(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  away text[];
  of_account constant varchar := input->>'account';
  payment payments.payments;
  order_row orders.orders;
  tenant text;
  current_state record;
  saved_intent payments.intents;
  previous_dispute varchar;
  fault varchar;
  skus text[] := '{}';
begin
  away := platform.enter_to_find(call);
  -- The payment id in the intent's metadata finds the payment before we know the intent's id.
  select * into payment from payments.payments x where x.payment_id = (
    select y.payment_id from payments.intents y where y.stripe_id = input->>'intentId'
      and y.stripe_account is not distinct from of_account
    union all
    select y.payment_id from payments.payments y where y.stripe_payment_intent_id = input->>'intentId'
      and y.stripe_account is not distinct from of_account
    union all
    select y.payment_id from payments.payments y where y.setup_intent_id = input->>'setupId'
      and y.stripe_account is not distinct from of_account
    union all
    select input->>'paymentId'
    limit 1);
  if not found then
    -- Its tenant may have moved, and its rows may be gone from here.
    perform platform.refuse_away(coalesce(input->'intent', input->'setup')->'madeFor'->>'tenant');
    return jsonb_build_object('outcome', 'unknown');
  end if;
  if payment.tenant_id = any(away) then
    perform platform.refuse_away(payment.tenant_id);
  end if;
  -- Before anything is written for the payment's tenant.
  if payment.stripe_account is distinct from of_account then
    return payments.report_other_account(payment, of_account, input);
  end if;
  tenant := set_config('app.tenant_id', payment.tenant_id, true);
  if input ? 'eventId' and not platform.claim_event('stripe', input->>'eventId') then
    return jsonb_build_object('outcome', 'duplicate', 'tenant', tenant);
  end if;
  if payment.campaign_id is not null then
    perform group_commerce.lock_places(array[payment.order_id::text]);
  end if;
  order_row := orders.lock_order(payment.order_id);
  -- Faults and refunds of a payment without money change only under the order's lock.
  select x as payment, exists (select from payments.refunds r where r.payment_id = x.payment_id) as has_refunds,
    exists (select from payments.intents y where y.stripe_id = input->>'intentId' and y.fault is not null) as had_fault
  into current_state from payments.payments x where x.payment_id = payment.payment_id for update of x;
  payment := current_state.payment;
  if payments.is_expected_success(payment, order_row, input) and not current_state.had_fault then
    return jsonb_build_object('outcome', 'applied', 'tenant', tenant, 'skus', to_jsonb(payments.apply_success(payment,
      input->'intent' || jsonb_build_object('id', input->'intentId'), current_state.has_refunds)));
  end if;
  previous_dispute := payment.dispute;
  if input ? 'intent' then
    saved_intent := payments.save_intent(payment, input->>'intentId', input->'intent');
    fault := saved_intent.fault;
    if fault is null then
      payment := payments.promote_intent(payment, saved_intent, input->'intent'->>'clientSecret');
    end if;
  elsif input ? 'setup' then
    fault := payments.setup_fault(payment, input->>'setupId', input->'setup'->'madeFor');
  elsif input ? 'intentId' then
    select * into saved_intent from payments.intents x where x.stripe_id = input->>'intentId';
    fault := saved_intent.fault;
  end if;
  if fault is not null then
    -- An intent with a fault must not keep units held. If they were held for its debit, the usual hold time starts now.
    if payment.status = 'pending' and payment.stripe_status = 'processing'
      and payment.stripe_payment_intent_id is not distinct from saved_intent.stripe_id then
      perform payments.update_hold_end(payment, 'set_aside', input->'terms');
      update payments.payments x set stripe_status = 'set_aside' where x.payment_id = payment.payment_id;
    end if;
    update payments.payments x
    set checked_at = platform.clock(), asked_at = case when input ? 'eventId'
        or input->>'intentId' is distinct from x.stripe_payment_intent_id then x.asked_at else platform.clock() end,
      intent_open = x.intent_open
      and not (x.stripe_payment_intent_id is not distinct from saved_intent.stripe_id
        and not coalesce(payments.is_intent_open(saved_intent.status), true))
    where x.payment_id = payment.payment_id;
    if input ? 'setup' and fault = 'made_for_another' then
      perform platform.report_problem('stripe', input->>'setupId', 'setup_intent.' || (input->'setup'->>'status'),
        payment.payment_id, jsonb_build_object('stripeSetupIntentId', input->'setupId',
          'paymentId', payment.payment_id, 'orderId', payment.order_id),
        'made_for_another: this SetupIntent was not made for the payment that its metadata names.');
    end if;
    return jsonb_build_object('outcome', 'set_aside', 'tenant', payment.tenant_id, 'skus', '[]'::jsonb,
      'reason', fault);
  end if;
  -- A charge reports only the sum of its refunds. Each refund has its own event; if that is lost, the cron looks the
  -- refund up.
  update payments.payments x
  set checked_at = platform.clock(), setup_intent_id = coalesce(x.setup_intent_id, input->>'setupId'),
      asked_at = case when input ? 'eventId' or input->>'intentId' is distinct from x.stripe_payment_intent_id
        then x.asked_at
        else platform.clock() end,
      refunds_told = case when x.stripe_payment_intent_id is distinct from input->>'intentId' then x.refunds_told
        else greatest(x.refunds_told, (input->'charge'->>'refunded')::numeric) end,
      dispute = case when x.dispute in ('won', 'lost') then x.dispute
        else coalesce(input->'dispute'->>'status', x.dispute) end
  where x.payment_id = payment.payment_id returning * into payment;
  if payment.status = 'pending' and coalesce(input->'intent', input->'setup')->>'status' <> 'succeeded'
    and (input ? 'setup' or saved_intent.stripe_id is not distinct from payment.stripe_payment_intent_id) then
    perform payments.update_hold_end(payment, coalesce(input->'intent', input->'setup')->>'status', input->'terms');
  end if;
  if input ? 'intent' then
    skus := payments.apply_intent(payment, input->'intent' || jsonb_build_object('id', saved_intent.stripe_id,
      'terms', input->'terms'), current_state.has_refunds);
  elsif input ? 'setup' then
    perform payments.apply_setup(payment, input->'setup');
  elsif input ? 'refund' then
    skus := payments.apply_refund(payment, input->'refund' || jsonb_build_object('intentId', input->'intentId'));
  elsif payment.dispute is distinct from previous_dispute then
    perform payments.emit_payment_event(payment, 'payment.dispute.changed',
      jsonb_build_object('status', payment.dispute), false);
  end if;
  perform payments.update_intent_open(payment.payment_id);
  return jsonb_build_object('outcome', 'applied', 'tenant', payment.tenant_id, 'skus', to_jsonb(skus));
end
$function$;
alter function payments.apply_stripe(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.apply_stripe(jsonb,jsonb) from public;
grant execute on function payments.apply_stripe(jsonb,jsonb) to fusion_worker;

-- function: payments.apply_success(payments.payments,jsonb,boolean)
-- src/db/payments/orders.sql
CREATE OR REPLACE FUNCTION payments.apply_success(payment payments.payments, intent jsonb, has_refunds boolean)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  outcome jsonb;
  skus text[] := '{}';
begin
  payment := payments.record_capture(payment, intent);
  outcome := payments.apply_capture(payment);
  if outcome->'skus' <> '[]' then
    skus := array(select jsonb_array_elements_text(outcome->'skus'));
  end if;
  if has_refunds then
    skus := skus || payments.apply_early_refunds(payment);
  end if;
  if not (outcome->>'confirmed')::boolean then
    -- Read again: the end of the order may have requested its refund, and refunds that arrived early are summed.
    select * into payment from payments.payments x where x.payment_id = payment.payment_id;
    if payment.captured > payment.refunded then
      perform payments.add_automatic_refund(payment, payment.stripe_payment_intent_id,
        payment.captured - payment.refunded, outcome->>'reason');
    end if;
  elsif payment.campaign_id is not null then
    if payment.captured > payment.amount then
      select * into payment from payments.payments x where x.payment_id = payment.payment_id;
      perform payments.refund_difference(payment);
    end if;
    perform group_commerce.mark_charged(payment.order_id);
  end if;
  return skus;
end
$function$;
alter function payments.apply_success(payments.payments,jsonb,boolean) owner to fusion_payments;
revoke all on function payments.apply_success(payments.payments,jsonb,boolean) from public;

-- function: payments.ask_charge(jsonb,jsonb)
-- src/db/payments/charges.sql
CREATE OR REPLACE FUNCTION payments.ask_charge(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  payment payments.payments;
  may_exist boolean;
begin
  perform platform.enter_as(call, input->>'tenant');
  select * into payment from payments.payments x
    where x.payment_id = input->>'id' for update;
  if not found or payment.status <> 'pending' or not payment.capture_asked then
    return jsonb_build_object('ended', true);
  end if;
  may_exist := payment.charge_asked_at is not null or payment.attempt > 1;
  update payments.payments x set charge_asked_at = platform.clock() where x.payment_id = payment.payment_id
    returning * into payment;
  return jsonb_build_object('task', payments.intent_task(payment), 'again', may_exist);
end
$function$;
alter function payments.ask_charge(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.ask_charge(jsonb,jsonb) from public;
grant execute on function payments.ask_charge(jsonb,jsonb) to fusion_worker;

-- function: payments.attach_intents(jsonb,boolean)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.attach_intents(made jsonb, skip_locked boolean)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  ids text[] := array(select i->>'id' from jsonb_array_elements(made) i);
begin
  if skip_locked then
    ids := array(select x.payment_id from payments.payments x
      where x.payment_id = any(ids) order by x.payment_id for update skip locked);
  else
    perform 1 from payments.payments x
      where x.payment_id = any(ids) order by x.payment_id for update;
  end if;
  with attached as (
    update payments.payments x
    set stripe_payment_intent_id = coalesce(x.stripe_payment_intent_id, i->>'intentId'),
        setup_intent_id = coalesce(x.setup_intent_id, i->>'setupId'),
        customer_id = coalesce(x.customer_id, i->>'customerId'),
        client_secret = coalesce(x.client_secret, i->>'clientSecret'),
        stripe_status = coalesce(x.stripe_status, i->>'status'),
        intent_open = x.intent_open or coalesce(x.stripe_payment_intent_id, x.setup_intent_id) is null,
        updated_at = platform.clock()
    from jsonb_array_elements(made) i
    where x.payment_id = i->>'id' and x.payment_id = any(ids) and x.stripe_account is not distinct from i->>'account'
    returning x.payment_id, x.tenant_id, x.stripe_account, payments.intent_amount(x) as amount, x.currency,
      i->>'intentId' as intent_id,
      i->>'status' as status
  )
  insert into payments.intents (stripe_id, tenant_id, payment_id, stripe_account, amount, currency, status, created_at)
  select a.intent_id, a.tenant_id, a.payment_id, a.stripe_account, a.amount, a.currency,
    coalesce(a.status, 'requires_payment_method'), platform.clock()
  from attached a where a.intent_id is not null
  on conflict (stripe_id) do nothing; -- a webhook has told us already
end
$function$;
alter function payments.attach_intents(jsonb,boolean) owner to fusion_payments;
revoke all on function payments.attach_intents(jsonb,boolean) from public;

-- function: payments.awaits_stripe(character varying,timestamp with time zone)
-- src/db/payments/stripe-events.sql
CREATE OR REPLACE FUNCTION payments.awaits_stripe(order_id character varying, ended timestamp with time zone)
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select exists (
    select from payments.payments p
    where p.order_id = awaits_stripe.order_id and p.status = (select 'pending')
      and coalesce(p.stripe_payment_intent_id, p.setup_intent_id) is not null
      and (p.asked_at is null or p.asked_at < ended)
      and ended > payments.events_known_until(p.tenant_id, p.stripe_account))
$function$;
alter function payments.awaits_stripe(character varying,timestamp with time zone) owner to fusion_payments;
revoke all on function payments.awaits_stripe(character varying,timestamp with time zone) from public;
grant execute on function payments.awaits_stripe(character varying,timestamp with time zone) to fusion_group_commerce, fusion_inventory;

-- function: payments.created_json(payments.payments)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.created_json(p payments.payments)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('paymentId', p.payment_id, 'orderId', p.order_id, 'amount', p.amount,
    'currency', p.currency, 'status', p.status)
$function$;
alter function payments.created_json(payments.payments) owner to fusion_payments;
revoke all on function payments.created_json(payments.payments) from public;

-- function: payments.emit_payment_event(payments.payments,text,jsonb,boolean)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.emit_payment_event(payment payments.payments, topic text, data jsonb, queue boolean)
 RETURNS void
 LANGUAGE sql
AS $function$
  select platform.emit(topic, payment.payment_id,
    jsonb_build_object('paymentId', payment.payment_id, 'orderId', payment.order_id) || data, queue)
$function$;
alter function payments.emit_payment_event(payments.payments,text,jsonb,boolean) owner to fusion_payments;
revoke all on function payments.emit_payment_event(payments.payments,text,jsonb,boolean) from public;

-- function: payments.emit_refund_end(payments.payments,payments.refunds)
-- src/db/payments/refunds.sql
CREATE OR REPLACE FUNCTION payments.emit_refund_end(p payments.payments, r payments.refunds)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if r.status = 'succeeded' then
    perform payments.emit_payment_event(p, 'payment.refunded',
      jsonb_build_object('refundId', r.id, 'amount', r.amount, 'currency', r.currency), false);
  elsif r.status = 'failed' then
    perform payments.emit_payment_event(p, 'payment.refund.failed',
      jsonb_build_object('refundId', r.id, 'amount', r.amount, 'reason', coalesce(r.failure_reason, 'unknown')), false);
  end if;
end
$function$;
alter function payments.emit_refund_end(payments.payments,payments.refunds) owner to fusion_payments;
revoke all on function payments.emit_refund_end(payments.payments,payments.refunds) from public;

-- function: payments.end_for_orders(text[],text,text)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.end_for_orders(order_ids text[], ending text, reason text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  payment payments.payments;
begin
  for payment in
    select * from payments.payments x
    where x.order_id = any(order_ids) and x.status in ('pending', 'succeeded')
    order by x.payment_id for update
  loop
    if payment.status = 'pending' then
      update payments.payments x
      set status = ending, failure_reason = coalesce(x.failure_reason, reason), updated_at = platform.clock(),
          intent_open = payments.needs_closing(x)
      where x.payment_id = payment.payment_id returning * into payment;
      if ending = 'failed' then
        perform payments.emit_payment_event(payment, 'payment.failed',
          jsonb_build_object('reason', payment.failure_reason), true);
      else
        perform payments.emit_payment_event(payment, 'payment.cancelled', '{}', true);
      end if;
    elsif payment.captured > payment.refunded then
      perform payments.add_automatic_refund(payment, payment.stripe_payment_intent_id,
        payment.captured - payment.refunded, reason);
    end if;
  end loop;
end
$function$;
alter function payments.end_for_orders(text[],text,text) owner to fusion_payments;
revoke all on function payments.end_for_orders(text[],text,text) from public;
grant execute on function payments.end_for_orders(text[],text,text) to fusion_group_commerce, fusion_orders;

-- function: payments.ensure_live_payment(orders.orders,character varying)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.ensure_live_payment(order_row orders.orders, new_id character varying)
 RETURNS payments.payments
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  payment payments.payments;
begin
  select * into payment from payments.payments x
    where x.order_id = order_row.id and x.status in ('pending', 'succeeded');
  if not found and order_row.status = 'created' and order_row.total > 0 then
    insert into payments.payments (payment_id, order_id, amount, currency, status, tenant_id, stripe_account,
      created_at, updated_at, checked_at)
    select new_id, order_row.id, order_row.total, order_row.currency, 'pending', t.id, t.stripe_account, c, c, c
    from platform.clock() c, platform.tenants t where t.id = order_row.tenant_id returning * into payment;
    perform platform.emit('payment.created', payment.payment_id, payments.created_json(payment), false);
  end if;
  return payment;
end
$function$;
alter function payments.ensure_live_payment(orders.orders,character varying) owner to fusion_payments;
revoke all on function payments.ensure_live_payment(orders.orders,character varying) from public;

-- function: payments.events_known_until(character varying,character varying)
-- src/db/payments/stripe-events.sql
CREATE OR REPLACE FUNCTION payments.events_known_until(of_tenant character varying, of_account character varying)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(case when of_account is null
    then (select r.read_until - interval '1 minute' from payments.stripe_reading r)
    else (select case when r.withdrawn_at is not null then 'infinity' else r.read_until - interval '1 minute' end
      from payments.account_readings r where r.tenant_id = of_tenant and r.account = of_account) end, '-infinity')
$function$;
alter function payments.events_known_until(character varying,character varying) owner to fusion_payments;
revoke all on function payments.events_known_until(character varying,character varying) from public;

-- function: payments.fail_order_or_place(payments.payments,text)
-- src/db/payments/campaign-places.sql
CREATE OR REPLACE FUNCTION payments.fail_order_or_place(payment payments.payments, reason text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform orders.fail_unpaid(payment.order_id, coalesce(reason, 'payment_failed'));
  if payment.campaign_id is not null then
    perform group_commerce.free_unpaid_place(payment.order_id, coalesce(reason, 'payment_failed'), 'failed');
  end if;
end
$function$;
alter function payments.fail_order_or_place(payments.payments,text) owner to fusion_payments;
revoke all on function payments.fail_order_or_place(payments.payments,text) from public;

-- function: payments.filter_paid_orders(text[])
-- src/db/payments/orders.sql
CREATE OR REPLACE FUNCTION payments.filter_paid_orders(order_ids text[])
 RETURNS text[]
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select coalesce(array_agg(p.order_id::text order by p.order_id), '{}') from payments.payments p
  where p.order_id = any(order_ids) and p.status = 'succeeded'
$function$;
alter function payments.filter_paid_orders(text[]) owner to fusion_payments;
revoke all on function payments.filter_paid_orders(text[]) from public;
grant execute on function payments.filter_paid_orders(text[]) to fusion_group_commerce;

-- function: payments.find_account_readings(jsonb,jsonb)
-- src/db/payments/accounts.sql
CREATE OR REPLACE FUNCTION payments.find_account_readings(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  most constant integer := (input->>'limit')::int;
  accounts jsonb;
begin
  perform platform.enter_as(call, '*');
  if (input->>'recheck')::boolean then
    return jsonb_build_object('accounts', (
      select coalesce(jsonb_agg(jsonb_build_object('tenant', d.tenant_id, 'account', d.account)), '[]')
      from (select r.tenant_id, r.account from payments.account_readings r order by r.rechecked_at limit most) d));
  end if;
  with recursive busy(tenant_id, account) as (
    (select p.tenant_id, p.stripe_account from payments.payments p
      where p.stripe_account is not null and (p.status = 'pending' or p.intent_open or p.refunds_told > p.refund_done)
      order by p.tenant_id, p.stripe_account limit 1)
    union all
    select n.tenant_id, n.stripe_account from busy b cross join lateral (
      select p.tenant_id, p.stripe_account from payments.payments p
      where p.stripe_account is not null and (p.status = 'pending' or p.intent_open or p.refunds_told > p.refund_done)
        and (p.tenant_id, p.stripe_account) > (b.tenant_id, b.account)
      order by p.tenant_id, p.stripe_account limit 1) n
  ), idle as (
    select r.tenant_id, r.account from payments.account_readings r
    where r.tried_at <= platform.clock() - interval '1 hour' order by r.tried_at limit most
  ), due as (
    select d.tenant_id, d.account, r.read_until
    from (select * from busy union select * from idle) d
    left join payments.account_readings r on r.tenant_id = d.tenant_id and r.account = d.account
    where r.withdrawn_at is null or r.tried_at <= platform.clock() - interval '10 minutes'
    order by r.tried_at nulls first, d.account limit most
  )
  select jsonb_agg(jsonb_build_object('tenant', d.tenant_id, 'account', d.account,
    'readUntil', platform.iso(d.read_until))) into accounts from due d;
  return jsonb_build_object('accounts', coalesce(accounts, '[]'), 'again', (
    select coalesce(jsonb_agg(jsonb_build_object('account', split_part(k, ' ', 1), 'eventId', split_part(k, ' ', 2))),
      '[]')
    from unnest(platform.keys_to_retry('hear-accounts', 1000)) k));
end
$function$;
alter function payments.find_account_readings(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.find_account_readings(jsonb,jsonb) from public;
grant execute on function payments.find_account_readings(jsonb,jsonb) to fusion_worker;

-- function: payments.find_intent(jsonb,jsonb)
-- src/db/payments/checkout.sql
CREATE OR REPLACE FUNCTION payments.find_intent(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  answer jsonb;
begin
  perform platform.enter_as(call, input->>'tenant');
  select jsonb_build_object('intentId', p.stripe_payment_intent_id, 'clientSecret', p.client_secret,
    'task', case when payments.lacks_intent(p) then payments.intent_task(p) end, 'reason', p.failure_reason) into answer
  from payments.payments p where p.payment_id = input->>'id';
  return answer;
end
$function$;
alter function payments.find_intent(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.find_intent(jsonb,jsonb) from public;
grant execute on function payments.find_intent(jsonb,jsonb) to fusion_worker;

-- function: payments.find_reading(jsonb,jsonb)
-- src/db/payments/stripe-events.sql
CREATE OR REPLACE FUNCTION payments.find_reading(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform platform.enter_as(call, '*');
  return jsonb_build_object('readUntil', (select platform.iso(r.read_until) from payments.stripe_reading r),
    'again', platform.keys_to_retry('hear-stripe', 20));
end
$function$;
alter function payments.find_reading(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.find_reading(jsonb,jsonb) from public;
grant execute on function payments.find_reading(jsonb,jsonb) to fusion_worker;

-- function: payments.find_unheard(jsonb,jsonb)
-- src/db/payments/stripe-events.sql
CREATE OR REPLACE FUNCTION payments.find_unheard(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  new_event_ids text[];
  of_account constant varchar := input->>'account';
begin
  perform platform.enter_as(call, '*');
  new_event_ids := platform.find_unclaimed_events('stripe',
    array(select e->>'eventId' from jsonb_array_elements(input->'events') e));
  perform platform.clear_set_aside(case when of_account is null then 'hear-stripe' else 'hear-accounts' end,
    array(select concat_ws(' ', of_account, e->>'eventId') from jsonb_array_elements(input->'events') e
    where e->>'eventId' <> all(new_event_ids)));
  return jsonb_build_object('events', (
    select coalesce(jsonb_agg(jsonb_build_object('eventId', e->>'eventId', 'tenant', w.tenant_id,
      'paymentId', w.payment_id)), '[]')
    from jsonb_array_elements(input->'events') e
    cross join lateral (
      select p.tenant_id, p.payment_id from payments.payments p where p.payment_id = e->>'paymentId'
        and p.stripe_account is not distinct from of_account
      union all
      select i.tenant_id, i.payment_id from payments.intents i where i.stripe_id = e->>'intentId'
        and i.stripe_account is not distinct from of_account
      union all
      select p.tenant_id, p.payment_id from payments.payments p where p.stripe_payment_intent_id = e->>'intentId'
        and p.stripe_account is not distinct from of_account
      union all
      select p.tenant_id, p.payment_id from payments.payments p where p.setup_intent_id = e->>'setupId'
        and p.stripe_account is not distinct from of_account
      limit 1
    ) w
    where e->>'eventId' = any(new_event_ids)));
end
$function$;
alter function payments.find_unheard(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.find_unheard(jsonb,jsonb) from public;
grant execute on function payments.find_unheard(jsonb,jsonb) to fusion_worker;

-- function: payments.finish_open_payment(jsonb,payments.payments)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.finish_open_payment(call jsonb, payment payments.payments)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if payments.lacks_intent(payment) then
    return jsonb_build_object('tenant', platform.tenant(), 'replayed', false,
      'answer', payments.payment_json(payment) || jsonb_build_object('task', payments.intent_task(payment)));
  end if;
  return platform.leave(call, 'payments.create', payments.payment_json(payment));
end
$function$;
alter function payments.finish_open_payment(jsonb,payments.payments) owner to fusion_payments;
revoke all on function payments.finish_open_payment(jsonb,payments.payments) from public;

-- function: payments.insert_refund(payments.payments,character varying,character varying,numeric,character varying,boolean)
-- src/db/payments/refunds.sql
CREATE OR REPLACE FUNCTION payments.insert_refund(payment payments.payments, of_intent character varying, new_id character varying, amount numeric, reason character varying, automatic boolean)
 RETURNS payments.refunds
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  refund payments.refunds;
begin
  insert into payments.refunds (id, tenant_id, payment_id, amount, currency, status, reason, stripe_intent_id,
    automatic, checked_at, created_at)
  values (new_id, payment.tenant_id, payment.payment_id, insert_refund.amount, payment.currency,
    'pending', insert_refund.reason, of_intent, insert_refund.automatic, platform.clock(), platform.clock())
  returning * into refund;
  perform payments.emit_payment_event(payment, 'payment.refund.requested',
    jsonb_strip_nulls(jsonb_build_object('refundId', refund.id, 'amount', refund.amount, 'currency', refund.currency,
      'reason', refund.reason)), true);
  return refund;
end
$function$;
alter function payments.insert_refund(payments.payments,character varying,character varying,numeric,character varying,boolean) owner to fusion_payments;
revoke all on function payments.insert_refund(payments.payments,character varying,character varying,numeric,character varying,boolean) from public;

-- function: payments.intent_amount(payments.payments)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.intent_amount(payment payments.payments)
 RETURNS numeric
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select coalesce(payment.authorized, payment.amount)
$function$;
alter function payments.intent_amount(payments.payments) owner to fusion_payments;
revoke all on function payments.intent_amount(payments.payments) from public;

-- function: payments.intent_fault(payments.payments,boolean,jsonb)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.intent_fault(payment payments.payments, is_known boolean, intent jsonb)
 RETURNS character varying
 LANGUAGE sql
 STABLE
AS $function$
  select case
    when not intent ? 'amount' then null
    when intent->>'currency' is distinct from payment.currency then 'currency_differs'
    when (intent->>'amount')::numeric is distinct from payments.intent_amount(payment) then 'amount_differs'
    else payments.metadata_fault(payment, is_known, intent->'madeFor') end
$function$;
alter function payments.intent_fault(payments.payments,boolean,jsonb) owner to fusion_payments;
revoke all on function payments.intent_fault(payments.payments,boolean,jsonb) from public;

-- function: payments.intent_progress(text)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.intent_progress(status text)
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case status when 'succeeded' then 4 when 'requires_capture' then 3 when 'processing' then 2 when 'canceled' then 0
    else 1 end
$function$;
alter function payments.intent_progress(text) owner to fusion_payments;
revoke all on function payments.intent_progress(text) from public;

-- function: payments.intent_task(payments.payments)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.intent_task(p payments.payments)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', p.payment_id, 'tenant', p.tenant_id, 'orderId', p.order_id,
    'account', p.stripe_account, 'amount', p.amount::text,
    'authorized', p.authorized::text, 'currency', p.currency, 'attempt', p.attempt,
    'status', p.status,
    'intentId', p.stripe_payment_intent_id, 'intentOpen', p.intent_open,
    'refundsUnseen', p.refunds_told > p.refund_done,
    'mode', p.mode, 'setupId', p.setup_intent_id, 'customerId', p.customer_id, 'methodId', p.payment_method_id,
    'userId', p.user_id, 'capture', p.capture_asked, 'strays', to_jsonb(payments.intents_to_cancel(p)),
    'chargesUnseen', payments.needs_charge_lookup(p),
    'taxCalculation', case when p.created_at > platform.clock() - interval '89 days' then coalesce(p.tax_calculation,
      (select o.tax_calculation from orders.orders o where o.id = p.order_id)) end,
    'delayed', (select t.delayed_payments from platform.tenants t where t.id = p.tenant_id))
$function$;
alter function payments.intent_task(payments.payments) owner to fusion_payments;
revoke all on function payments.intent_task(payments.payments) from public;

-- function: payments.intents_to_cancel(payments.payments)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.intents_to_cancel(payment payments.payments)
 RETURNS text[]
 LANGUAGE sql
 STABLE
AS $function$
  select array(
    select i.stripe_id from payments.intents i
    where i.payment_id = payment.payment_id and i.fault is null and payments.is_intent_open(i.status)
      and i.stripe_id is distinct from payment.stripe_payment_intent_id
      and (payment.status <> 'pending' or payment.stripe_payment_intent_id is not null)
    order by i.stripe_id)
$function$;
alter function payments.intents_to_cancel(payments.payments) owner to fusion_payments;
revoke all on function payments.intents_to_cancel(payments.payments) from public;

-- function: payments.is_excess_payment(payments.payments)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.is_excess_payment(payment payments.payments)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select exists (select from payments.payments x where x.order_id = payment.order_id
    and x.payment_id <> payment.payment_id and x.status = 'succeeded')
    or exists (select from payments.refunds r where r.payment_id = payment.payment_id and r.automatic
      and r.reason = 'paid_twice'
      and r.stripe_intent_id is not distinct from payment.stripe_payment_intent_id)
$function$;
alter function payments.is_excess_payment(payments.payments) owner to fusion_payments;
revoke all on function payments.is_excess_payment(payments.payments) from public;

-- function: payments.is_expected_success(payments.payments,orders.orders,jsonb)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.is_expected_success(payment payments.payments, order_row orders.orders, input jsonb)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select input->'intent'->>'status' = 'succeeded' and payment.status = 'pending' and payment.campaign_id is null
    and order_row.status = 'created' and (input->'intent'->>'received')::numeric = payment.amount
    and input->>'intentId' = coalesce(payment.stripe_payment_intent_id, input->>'intentId')
    and payments.intent_fault(payment, payment.stripe_payment_intent_id is not null, input->'intent') is null
$function$;
alter function payments.is_expected_success(payments.payments,orders.orders,jsonb) owner to fusion_payments;
revoke all on function payments.is_expected_success(payments.payments,orders.orders,jsonb) from public;

-- function: payments.is_intent_open(text)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.is_intent_open(status text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select status not in ('succeeded', 'canceled')
$function$;
alter function payments.is_intent_open(text) owner to fusion_payments;
revoke all on function payments.is_intent_open(text) from public;

-- function: payments.is_rejection_current(payments.payments,jsonb)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.is_rejection_current(p payments.payments, rejection jsonb)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select p.status = 'pending' and p.stripe_payment_intent_id is not distinct from rejection->>'intentId'
    and (p.setup_intent_id is not distinct from rejection->>'setupId'
      or not rejection ? 'setupId' and p.capture_asked)
$function$;
alter function payments.is_rejection_current(payments.payments,jsonb) owner to fusion_payments;
revoke all on function payments.is_rejection_current(payments.payments,jsonb) from public;

-- function: payments.keep_account()
-- src/db/payments/accounts.sql
CREATE OR REPLACE FUNCTION payments.keep_account()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  raise exception 'the payment % keeps the account % on which it was opened', old.payment_id, old.stripe_account
    using errcode = 'integrity_constraint_violation', constraint = 'payments_keep_account';
end
$function$;
alter function payments.keep_account() owner to fusion_payments;
revoke all on function payments.keep_account() from public;

-- function: payments.lacks_intent(payments.payments)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.lacks_intent(p payments.payments)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select p.status = 'pending' and case p.mode when 'card' then p.setup_intent_id
    else p.stripe_payment_intent_id end is null
$function$;
alter function payments.lacks_intent(payments.payments) owner to fusion_payments;
revoke all on function payments.lacks_intent(payments.payments) from public;

-- function: payments.lower_amounts(jsonb)
-- src/db/payments/campaign-places.sql
CREATE OR REPLACE FUNCTION payments.lower_amounts(lowered jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  final_amounts constant jsonb := (select jsonb_object_agg(l->>'orderId', l->'amount') from jsonb_array_elements(lowered) l);
  payment payments.payments;
  final_amount numeric;
begin
  for payment in
    select * from payments.payments x
    where x.order_id = any(array(select jsonb_object_keys(final_amounts))) and x.status in ('pending', 'succeeded')
    order by x.payment_id for update
  loop
    final_amount := (final_amounts->>payment.order_id)::numeric;
    continue when payment.amount = final_amount;
    -- What was captured already stays known as the amount of its PaymentIntent.
    update payments.payments x
    set amount = final_amount, tax_calculation = null, updated_at = platform.clock(),
        authorized = coalesce(x.authorized, case when x.captured > 0 then x.amount end)
    where x.payment_id = payment.payment_id and not x.capture_asked and x.amount > final_amount
    returning * into payment;
    if not found then
      raise exception 'the payment % cannot be changed to %: its amount may only fall, before its capture is requested',
        payment.payment_id, final_amount;
    end if;
    perform payments.refund_difference(payment);
  end loop;
end
$function$;
alter function payments.lower_amounts(jsonb) owner to fusion_payments;
revoke all on function payments.lower_amounts(jsonb) from public;
grant execute on function payments.lower_amounts(jsonb) to fusion_group_commerce;

-- function: payments.may_reach(payments.payments)
-- src/db/payments/shoppers.sql
CREATE OR REPLACE FUNCTION payments.may_reach(payment payments.payments)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  return platform.shopper() is null or orders.may_reach_order_id(payment.order_id)
    or payment.campaign_id is not null and group_commerce.may_reach_place(payment.order_id);
end
$function$;
alter function payments.may_reach(payments.payments) owner to fusion_payments;
revoke all on function payments.may_reach(payments.payments) from public;

-- function: payments.metadata_fault(payments.payments,boolean,jsonb)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.metadata_fault(payment payments.payments, is_known boolean, metadata jsonb)
 RETURNS character varying
 LANGUAGE sql
 STABLE
AS $function$
  select case
    when metadata is null then null
    when coalesce(metadata->>'paymentId', case when is_known then payment.payment_id end)
      is distinct from payment.payment_id
      or coalesce(metadata->>'orderId', case when is_known then payment.order_id end) is distinct from payment.order_id
      or coalesce(metadata->>'tenant', case when is_known then payment.tenant_id end) is distinct from payment.tenant_id
      then 'made_for_another' end
$function$;
alter function payments.metadata_fault(payments.payments,boolean,jsonb) owner to fusion_payments;
revoke all on function payments.metadata_fault(payments.payments,boolean,jsonb) from public;

-- function: payments.needs_charge_lookup(payments.payments)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.needs_charge_lookup(payment payments.payments)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select payment.mode = 'card' and payment.capture_asked and payment.captured = 0
    and payment.stripe_payment_intent_id is null
    and (payment.charges_looked_at is null or payment.charges_looked_at < coalesce(payment.charge_asked_at,
      payment.created_at) + interval '15 minutes')
$function$;
alter function payments.needs_charge_lookup(payments.payments) owner to fusion_payments;
revoke all on function payments.needs_charge_lookup(payments.payments) from public;

-- function: payments.needs_closing(payments.payments)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.needs_closing(payment payments.payments)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select payment.intent_open or payment.mode <> 'card' and payment.stripe_payment_intent_id is null
$function$;
alter function payments.needs_closing(payments.payments) owner to fusion_payments;
revoke all on function payments.needs_closing(payments.payments) from public;

-- function: payments.note_account_reading(jsonb,jsonb)
-- src/db/payments/accounts.sql
CREATE OR REPLACE FUNCTION payments.note_account_reading(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  now_at timestamptz;
  is_recheck constant boolean := coalesce((input->>'recheck')::boolean, false);
  is_withdrawn constant boolean := coalesce((input->>'withdrawn')::boolean, false);
begin
  perform platform.enter_as(call, input->>'tenant');
  now_at := platform.clock();
  insert into payments.account_readings as r (tenant_id, account, read_until, tried_at, withdrawn_at)
  values (input->>'tenant', input->>'account', (input->>'until')::timestamptz, now_at,
    case when is_withdrawn then now_at end)
  on conflict (tenant_id, account) do update
  set read_until = greatest(r.read_until, excluded.read_until),
      tried_at = case when is_recheck then r.tried_at else now_at end,
      rechecked_at = case when is_recheck then now_at else r.rechecked_at end,
      withdrawn_at = case when is_withdrawn then coalesce(r.withdrawn_at, now_at)
        when input ? 'until' then null else r.withdrawn_at end;
  return '{}';
end
$function$;
alter function payments.note_account_reading(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.note_account_reading(jsonb,jsonb) from public;
grant execute on function payments.note_account_reading(jsonb,jsonb) to fusion_worker;

-- function: payments.note_charges(jsonb,jsonb)
-- src/db/payments/charges.sql
CREATE OR REPLACE FUNCTION payments.note_charges(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform platform.enter_as(call, input->>'tenant');
  update payments.payments x set charges_looked_at = platform.clock()
  where x.payment_id = any(array(select jsonb_array_elements_text(input->'payments')));
  return '{}';
end
$function$;
alter function payments.note_charges(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.note_charges(jsonb,jsonb) from public;
grant execute on function payments.note_charges(jsonb,jsonb) to fusion_worker;

-- function: payments.note_checked(jsonb,jsonb)
-- src/db/payments/work.sql
CREATE OR REPLACE FUNCTION payments.note_checked(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform platform.enter_as(call, input->>'tenant');
  perform 1 from payments.payments p
    where p.payment_id = any(array(
      select jsonb_array_elements_text(coalesce(input->'payments', '[]') || coalesce(input->'listed', '[]'))))
    order by p.payment_id for update;
  perform 1 from payments.refunds r
    where r.id = any(array(
      select jsonb_array_elements_text(coalesce(input->'refunds', '[]'))
      union select x->>'id' from jsonb_array_elements(coalesce(input->'again', '[]')) x))
    order by r.id for update;
  update payments.payments p set checked_at = platform.clock()
  where p.payment_id = any(array(select jsonb_array_elements_text(input->'payments')));
  update payments.payments p set refunds_told = p.refund_done
  where p.payment_id = any(array(select jsonb_array_elements_text(input->'listed')));
  update payments.refunds r set checked_at = platform.clock()
  where r.id = any(array(select jsonb_array_elements_text(input->'refunds')));
  update payments.refunds r set attempt = r.attempt + 1
  where r.id = any(array(select retry->>'id' from jsonb_array_elements(input->'again') retry))
    and input->'again' @> jsonb_build_array(jsonb_build_object('id', r.id, 'attempt', r.attempt));
  perform platform.clear_set_aside('reconcile-payments', array(select jsonb_array_elements_text(input->'done')));
  return '{}';
end
$function$;
alter function payments.note_checked(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.note_checked(jsonb,jsonb) from public;
grant execute on function payments.note_checked(jsonb,jsonb) to fusion_worker;

-- function: payments.note_heard(jsonb,jsonb)
-- src/db/payments/stripe-events.sql
CREATE OR REPLACE FUNCTION payments.note_heard(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform platform.enter_as(call, input->>'tenant');
  perform platform.clear_set_aside(case when input->>'eventId' like '% %' then 'hear-accounts' else 'hear-stripe' end,
    array[input->>'eventId']);
  return '{}';
end
$function$;
alter function payments.note_heard(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.note_heard(jsonb,jsonb) from public;
grant execute on function payments.note_heard(jsonb,jsonb) to fusion_worker;

-- function: payments.note_reading(jsonb,jsonb)
-- src/db/payments/stripe-events.sql
CREATE OR REPLACE FUNCTION payments.note_reading(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform platform.enter_as(call, '*');
  insert into payments.stripe_reading as r (read_until) values ((input->>'until')::timestamptz)
  on conflict (one) do update set read_until = greatest(r.read_until, excluded.read_until);
  return '{}';
end
$function$;
alter function payments.note_reading(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.note_reading(jsonb,jsonb) from public;
grant execute on function payments.note_reading(jsonb,jsonb) to fusion_worker;

-- function: payments.open_payment(jsonb,jsonb)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.open_payment(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'payments:write', 'payments.create', '{publishable,session}');
  order_row orders.orders;
  payment payments.payments;
begin
  if replay is not null then
    return replay;
  end if;
  -- Checked before the lock: a shopper must not wait for a row of another.
  if platform.shopper() is null or orders.may_reach_order_id(input->>'orderId') then
    order_row := orders.lock_order(input->>'orderId');
  end if;
  if order_row.id is null then
    -- A place in a campaign has a payment before it has an order.
    select * into payment from payments.payments x
      where x.order_id = input->>'orderId' and x.campaign_id is not null;
    if not found or not payments.may_reach(payment) then
      perform platform.fail('not_found');
    end if;
    if payment.status not in ('pending', 'succeeded') then
      return platform.leave(call, 'payments.create', jsonb_build_object('error', 'order_not_payable',
        'detail', 'The place in the campaign was released.'));
    end if;
    return payments.finish_open_payment(call, payment);
  end if;
  if order_row.status = 'created' and not inventory.is_held(order_row.id) then
    perform platform.fail('order_not_payable',
      jsonb_build_object('reason', 'The stock of the order is not held yet. Try again in a few seconds.'));
  end if;
  payment := payments.ensure_live_payment(order_row, input->>'id');
  if payment.payment_id is null then
    return platform.leave(call, 'payments.create', jsonb_build_object('error', 'order_not_payable', 'detail',
      case when order_row.total = 0 then 'There is nothing to pay.'
        else concat_ws(': ', format('The order is %s', order_row.status), nullif(payments.why_ended(order_row), 'order_cancelled')) || '.' end));
  end if;
  return payments.finish_open_payment(call, payment);
end
$function$;
alter function payments.open_payment(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.open_payment(jsonb,jsonb) from public;
grant execute on function payments.open_payment(jsonb,jsonb) to fusion_worker;

-- function: payments.open_payments(jsonb,jsonb)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.open_payments(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  item record;
  order_row orders.orders;
  payment payments.payments;
  ids text[];
  tasks jsonb := '[]';
begin
  perform platform.enter_as(call, input->>'tenant');
  perform platform.claim_new_events('payments',
    array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  ids := array(select m->>'orderId' from jsonb_array_elements(input->'messages') m);
  perform orders.lock_orders(ids);
  perform orders.lock_uses(ids); -- lock order: all orders, then uses of discounts, holds and stock, before the loop
  perform inventory.lock_holds(array(select x.id from orders.orders x
    where x.id = any(ids) and x.total = 0));
  for item in
    select m->>'orderId' as order_id, min(m->>'id') as id, min(m->>'traceparent') as trace
      from jsonb_array_elements(input->'messages') m
    group by 1 order by 1
  loop
    perform platform.set_trace(item.trace);
    order_row := orders.lock_order(item.order_id);
    continue when order_row.id is null;
    if order_row.total = 0 then
      perform orders.confirm_paid_order(order_row.id);
      continue;
    end if;
    payment := payments.ensure_live_payment(order_row, item.id);
    if payments.lacks_intent(payment) then
      tasks := tasks || payments.intent_task(payment);
    end if;
  end loop;
  return jsonb_build_object('tasks', tasks);
end
$function$;
alter function payments.open_payments(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.open_payments(jsonb,jsonb) from public;
grant execute on function payments.open_payments(jsonb,jsonb) to fusion_worker;

-- function: payments.open_places(jsonb,jsonb)
-- src/db/payments/campaign-places.sql
CREATE OR REPLACE FUNCTION payments.open_places(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform platform.enter_as(call, input->>'tenant');
  return jsonb_build_object('tasks', (
    select coalesce(jsonb_agg(distinct payments.intent_task(p)), '[]')
    from payments.payments p
    where p.payment_id = any((select group_commerce.payments_of_places(input->'joins'))::text[])
      and payments.lacks_intent(p)));
end
$function$;
alter function payments.open_places(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.open_places(jsonb,jsonb) from public;
grant execute on function payments.open_places(jsonb,jsonb) to fusion_worker;

-- function: payments.open_with_order(character varying,character varying,numeric,character varying)
-- src/db/payments/checkout.sql
CREATE OR REPLACE FUNCTION payments.open_with_order(payment_id character varying, order_id character varying, amount numeric, currency character varying)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
  answer jsonb;
begin
  with opened as (
    insert into payments.payments as p (payment_id, order_id, amount, currency, status, tenant_id, stripe_account,
      created_at, updated_at, checked_at)
    select open_with_order.payment_id, open_with_order.order_id, open_with_order.amount, open_with_order.currency,
      'pending', t.id, t.stripe_account, now_at, now_at, now_at
    from platform.tenants t where t.id = tenant
    returning p as row
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'payment.created', open_with_order.payment_id, payments.created_json(o.row), platform.trace(), now_at
    from opened o
    returning seq, key
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, e.key, platform.due_now() from event e, unnest(platform.sinks_of(false)) s
  )
  select payments.payment_json(o.row) || jsonb_build_object('delayed',
    (select t.delayed_payments from platform.tenants t where t.id = tenant)) into answer
  from opened o;
  return answer;
end
$function$;
alter function payments.open_with_order(character varying,character varying,numeric,character varying) owner to fusion_payments;
revoke all on function payments.open_with_order(character varying,character varying,numeric,character varying) from public;
grant execute on function payments.open_with_order(character varying,character varying,numeric,character varying) to fusion_orders;

-- function: payments.open_work(jsonb,jsonb)
-- src/db/payments/work.sql
CREATE OR REPLACE FUNCTION payments.open_work(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  ids text[] := array(select jsonb_array_elements_text(input->'paymentIds'));
  refund_ids text[];
  all_tenants constant boolean := not input ? 'tenant';
  max_rows constant integer := (input->>'limit')::int;
  idle_since timestamptz;
  urgent_order_ids text[] := '{}';
  excluded_ids text[] := '{}';
  intents jsonb;
  refunds jsonb;
begin
  perform platform.enter_as(call, coalesce(input->>'tenant', '*'));
  idle_since := platform.clock() - make_interval(secs => (input->>'idleSeconds')::int);
  if all_tenants then
    -- A webhook may have ended a row since it was set aside.
    perform platform.clear_set_aside('reconcile-payments', array(
      select k from unnest(platform.keys_to_retry('reconcile-payments', 1000)) k
      where not exists (select from payments.payments p where p.payment_id = k
          and (p.status = 'pending' or p.intent_open or p.refunds_told > p.refund_done))
        and not exists (select from payments.refunds r where r.id = k and r.status = 'pending')));
    excluded_ids := platform.keys_set_aside('reconcile-payments');
    urgent_order_ids := array(select jsonb_array_elements_text(d->'orders')
      from jsonb_array_elements(inventory.undecided_holds(max_rows)) d)
      || group_commerce.undecided_places(max_rows);
    ids := array(
      select p.payment_id::text from unnest(urgent_order_ids) o(id) join payments.payments p on p.order_id = o.id
      where p.status = (select 'pending') and p.payment_id <> all(excluded_ids))
      || array(
      select w.payment_id::text
      from platform.tenants_with_rows('payments.payments',
        'status = ''pending'' or intent_open or refunds_told > refund_done') t(id)
      cross join lateral (
        select p.payment_id, row_number() over (order by p.checked_at) as turn from payments.payments p
        where p.tenant_id = t.id and p.checked_at <= idle_since and p.payment_id <> all(excluded_ids)
          and (p.status = 'pending' or p.intent_open or p.refunds_told > p.refund_done)
        order by p.checked_at limit max_rows
      ) w order by w.turn, w.payment_id limit max_rows);
    refund_ids := array(
      select w.id::text from platform.tenants_with_rows('payments.refunds', 'status = ''pending''') t(id)
      cross join lateral (
        select r.id, row_number() over (order by r.checked_at) as turn from payments.refunds r
        where r.tenant_id = t.id and r.checked_at <= idle_since and r.status = 'pending' and r.id <> all(excluded_ids)
        order by r.checked_at limit max_rows
      ) w order by w.turn, w.id limit max_rows);
  else
    refund_ids := array(select r.id::text from payments.refunds r where r.payment_id = any(ids)
      and r.status = (select 'pending'));
  end if;
  select coalesce(jsonb_agg(payments.intent_task(p) order by u.place), '[]') into intents
  from (select distinct on (x.id) x.id, x.place from unnest(ids) with ordinality x(id, place) order by x.id, x.place) u
  join payments.payments p on p.payment_id = u.id
    and (p.status = 'pending' or p.intent_open or p.refunds_told > p.refund_done);
  select coalesce(jsonb_agg(jsonb_build_object('id', w.id, 'tenant', w.tenant_id, 'paymentId', w.payment_id,
    'amount', w.amount::text, 'currency', w.currency, 'attempt', w.attempt, 'stripeRefundId', w.stripe_refund_id,
    'mayExist', w.attempt > 1 or w.created_at <= platform.clock() - interval '20 hours',
    'account', p.stripe_account, 'intentId', coalesce(w.stripe_intent_id, p.stripe_payment_intent_id))), '[]')
  into refunds from payments.refunds w join payments.payments p on p.payment_id = w.payment_id
  where cardinality(refund_ids) > 0 and w.id = any(refund_ids) and w.status = (select 'pending');
  return jsonb_build_object('intents', intents, 'refunds', refunds);
end
$function$;
alter function payments.open_work(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.open_work(jsonb,jsonb) from public;
grant execute on function payments.open_work(jsonb,jsonb) to fusion_worker;

-- function: payments.orders_set_aside()
-- src/db/payments/stripe-events.sql
CREATE OR REPLACE FUNCTION payments.orders_set_aside()
 RETURNS text[]
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select array(select p.order_id::text from payments.payments p
    where p.payment_id = any(platform.subjects_set_aside(array['reconcile-payments', 'hear-stripe', 'hear-accounts']))
      and p.status = (select 'pending'))
$function$;
alter function payments.orders_set_aside() owner to fusion_payments;
revoke all on function payments.orders_set_aside() from public;
grant execute on function payments.orders_set_aside() to fusion_group_commerce, fusion_inventory;

-- function: payments.payment_json(payments.payments)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.payment_json(p payments.payments)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', p.payment_id, 'orderId', p.order_id, 'amount', greatest(p.amount, p.captured), 'currency', p.currency,
    'status', p.status, 'amountRefunded', p.refunded, 'dispute', p.dispute,
    'stripePaymentIntentId', p.stripe_payment_intent_id,
    'clientSecret', case when p.status = 'pending' then p.client_secret end, 'stripeAccount', p.stripe_account,
    'failureReason', p.failure_reason, 'createdAt', platform.iso(p.created_at))
$function$;
alter function payments.payment_json(payments.payments) owner to fusion_payments;
revoke all on function payments.payment_json(payments.payments) from public;
grant execute on function payments.payment_json(payments.payments) to fusion_orders, fusion_reader;

-- function: payments.promote_intent(payments.payments,payments.intents,text)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.promote_intent(payment payments.payments, intent payments.intents, client_secret text)
 RETURNS payments.payments
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  current_progress constant integer := coalesce(
    (select payments.intent_progress(x.status) from payments.intents x
      where x.stripe_id = payment.stripe_payment_intent_id and x.fault is null), 0);
begin
  if payment.captured > 0 or payment.stripe_payment_intent_id is not distinct from intent.stripe_id then
    return payment;
  end if;
  if payments.intent_progress(intent.status) > greatest(current_progress, 1)
    or (payment.stripe_payment_intent_id is null
    and payments.is_intent_open(intent.status) and (payment.mode = 'card' or client_secret is not null)) then
    update payments.payments x
    set stripe_payment_intent_id = intent.stripe_id, updated_at = platform.clock(),
        client_secret = case when x.mode = 'card' then x.client_secret else promote_intent.client_secret end
    where x.payment_id = payment.payment_id returning * into payment;
  end if;
  return payment;
end
$function$;
alter function payments.promote_intent(payments.payments,payments.intents,text) owner to fusion_payments;
revoke all on function payments.promote_intent(payments.payments,payments.intents,text) from public;

-- function: payments.record_capture(payments.payments,jsonb)
-- src/db/payments/orders.sql
CREATE OR REPLACE FUNCTION payments.record_capture(payment payments.payments, intent jsonb)
 RETURNS payments.payments
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant constant varchar := payment.tenant_id;
  now_at constant timestamptz := platform.clock();
begin
  with saved_intent as (
    insert into payments.intents as x (stripe_id, tenant_id, payment_id, stripe_account, amount, currency, status,
      received, created_at)
    values (intent->>'id', tenant, payment.payment_id, payment.stripe_account,
      coalesce((intent->>'amount')::numeric, payments.intent_amount(payment)),
      coalesce(intent->>'currency', payment.currency), 'succeeded', (intent->>'received')::numeric, now_at)
    on conflict (stripe_id) do update
    set amount = coalesce((intent->>'amount')::numeric, x.amount), currency = coalesce(intent->>'currency', x.currency),
        status = excluded.status, received = greatest(x.received, excluded.received)
  ), captured as (
    update payments.payments x
    set status = 'succeeded', stripe_payment_intent_id = intent->>'id', captured = (intent->>'received')::numeric,
        failure_reason = null, stripe_status = 'succeeded',
        intent_open = exists (select from payments.intents i where i.payment_id = x.payment_id
          and i.stripe_id <> intent->>'id' and i.fault is null and payments.is_intent_open(i.status)),
        checked_at = now_at, updated_at = now_at
    where x.payment_id = payment.payment_id
    returning x.*
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'payment.succeeded', c.payment_id,
      jsonb_build_object('paymentId', c.payment_id, 'orderId', c.order_id, 'amount', c.captured, 'currency', c.currency),
      platform.trace(), now_at
    from captured c
    returning seq, key
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, e.key, platform.due_now() from event e, unnest(platform.sinks_of(false)) s
  )
  select * into payment from captured;
  return payment;
end
$function$;
alter function payments.record_capture(payments.payments,jsonb) owner to fusion_payments;
revoke all on function payments.record_capture(payments.payments,jsonb) from public;

-- function: payments.record_excess_payment(payments.payments,numeric)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.record_excess_payment(payment payments.payments, received numeric)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  update payments.payments x
  set captured = received, intent_open = false, stripe_status = 'succeeded', updated_at = platform.clock()
  where x.payment_id = payment.payment_id returning * into payment;
  perform payments.emit_payment_event(payment, 'payment.succeeded',
    jsonb_build_object('amount', payment.captured, 'currency', payment.currency), false);
  perform payments.apply_early_refunds(payment);
  select * into payment from payments.payments x where x.payment_id = payment.payment_id;
  perform payments.add_automatic_refund(payment, payment.stripe_payment_intent_id, payment.captured - payment.refunded,
    'paid_twice');
end
$function$;
alter function payments.record_excess_payment(payments.payments,numeric) owner to fusion_payments;
revoke all on function payments.record_excess_payment(payments.payments,numeric) from public;

-- function: payments.record_intent(jsonb,jsonb)
-- src/db/payments/checkout.sql
CREATE OR REPLACE FUNCTION payments.record_intent(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'payments:write', 'payments.create', '{publishable,session}');
begin
  if replay is not null then
    return replay;
  end if;
  if platform.shopper() is not null then
    perform platform.check_vouched(call);
    if not exists (select from payments.payments p where p.payment_id = input->>'id' and payments.may_reach(p)) then
      perform platform.fail('not_found');
    end if;
  end if;
  perform payments.attach_intents(jsonb_build_array(input), false);
  return platform.leave(call, 'payments.create', (
    select payments.payment_json(p) from payments.payments p
    where p.payment_id = input->>'id'));
end
$function$;
alter function payments.record_intent(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.record_intent(jsonb,jsonb) from public;
grant execute on function payments.record_intent(jsonb,jsonb) to fusion_worker;

-- function: payments.record_intents(jsonb,jsonb)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.record_intents(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  item jsonb;
  payment payments.payments;
  ids text[];
  kept jsonb := '[]';
begin
  perform platform.enter_as(call, input->>'tenant');
  if jsonb_array_length(input->'refused') = 0 and jsonb_array_length(input->'again') = 0 then
    perform payments.attach_intents(input->'intents', coalesce((input->>'skipLocked')::boolean, false));
    return '{}';
  end if;
  -- Every row of the batch is locked before the first change, one kind after the other: places, orders, payments,
  -- holds, stock. Two batches then never wait for each other in a circle.
  ids := array(select x.order_id from payments.payments x
    where x.payment_id = any(array(select r->>'id' from jsonb_array_elements(input->'refused') r)));
  if cardinality(ids) > 0 then
    perform group_commerce.lock_places(ids);
    perform orders.lock_orders(ids);
  end if;
  perform 1 from payments.payments x
    where x.payment_id = any(array(
      select r->>'id' from jsonb_array_elements(
        coalesce(input->'refused', '[]') || coalesce(input->'intents', '[]') || coalesce(input->'again', '[]')) r))
    order by x.payment_id for update;
  perform orders.lock_uses(ids);
  perform inventory.lock_holds(ids);
  for item in select jsonb_array_elements(input->'refused') loop
    select * into payment from payments.payments x
      where x.payment_id = item->>'id';
    continue when not found or payment.status not in ('pending', 'succeeded');
    if payments.is_rejection_current(payment, item) then
      perform payments.fail_order_or_place(payment, item->>'reason');
    elsif not payments.lacks_intent(payment) then
      kept := kept || to_jsonb(payment.payment_id);
    end if;
  end loop;
  -- If Stripe rejects the creation of an intent, there is no intent to close.
  update payments.payments x set intent_open = false
  where x.payment_id = any(array(select r->>'id' from jsonb_array_elements(input->'refused') r))
    and x.status <> 'pending' and x.mode <> 'card' and x.stripe_payment_intent_id is null
    and cardinality(payments.intents_to_cancel(x)) = 0;
  perform payments.attach_intents(input->'intents', false);
  update payments.payments x set attempt = x.attempt + 1
  where x.payment_id = any(array(select retry->>'id' from jsonb_array_elements(input->'again') retry))
    and input->'again' @> jsonb_build_array(jsonb_build_object('id', x.payment_id, 'attempt', x.attempt));
  return jsonb_build_object('kept', kept);
end
$function$;
alter function payments.record_intents(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.record_intents(jsonb,jsonb) from public;
grant execute on function payments.record_intents(jsonb,jsonb) to fusion_worker;

-- function: payments.refund_difference(payments.payments)
-- src/db/payments/campaign-places.sql
CREATE OR REPLACE FUNCTION payments.refund_difference(payment payments.payments)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if payment.captured > payment.amount then
    perform payments.add_automatic_refund(payment, payment.stripe_payment_intent_id,
      payment.captured - payment.amount - payment.refunded, 'price_fell');
  end if;
end
$function$;
alter function payments.refund_difference(payments.payments) owner to fusion_payments;
revoke all on function payments.refund_difference(payments.payments) from public;

-- function: payments.refund_excess_intent(payments.payments,character varying)
-- src/db/payments/refunds.sql
CREATE OR REPLACE FUNCTION payments.refund_excess_intent(payment payments.payments, of_intent character varying)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform payments.add_automatic_refund(payment, i.stripe_id,
    i.received - coalesce((select sum(r.amount) from payments.refunds r
    where r.payment_id = payment.payment_id and r.stripe_intent_id = i.stripe_id and r.status <> 'failed'), 0),
      'paid_twice')
  from payments.intents i
  where i.stripe_id = of_intent and i.fault is null and i.status = 'succeeded';
end
$function$;
alter function payments.refund_excess_intent(payments.payments,character varying) owner to fusion_payments;
revoke all on function payments.refund_excess_intent(payments.payments,character varying) from public;

-- function: payments.refund_json(payments.refunds)
-- src/db/payments/refunds.sql
CREATE OR REPLACE FUNCTION payments.refund_json(r payments.refunds)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', r.id, 'paymentId', r.payment_id, 'amount', r.amount, 'currency', r.currency,
    'status', r.status, 'reason', r.reason, 'failureReason', r.failure_reason,
    'items', coalesce(r.items, '[]'), 'shipping', coalesce(r.shipping, 0), 'createdAt', platform.iso(r.created_at))
$function$;
alter function payments.refund_json(payments.refunds) owner to fusion_payments;
revoke all on function payments.refund_json(payments.refunds) from public;
grant execute on function payments.refund_json(payments.refunds) to fusion_orders, fusion_reader;

-- function: payments.refund_remainder(character varying)
-- src/db/payments/refunds.sql
CREATE OR REPLACE FUNCTION payments.refund_remainder(of_payment character varying)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform payments.add_automatic_refund(p, p.stripe_payment_intent_id, p.captured - p.refunded, 'order_ended')
  from payments.payments p
  left join orders.orders o on o.id = p.order_id
  where p.payment_id = of_payment and case when o.id is null then not group_commerce.awaits_order(p.order_id)
    else o.status in ('cancelled', 'failed') or payments.is_excess_payment(p) end;
end
$function$;
alter function payments.refund_remainder(character varying) owner to fusion_payments;
revoke all on function payments.refund_remainder(character varying) from public;

-- function: payments.refund_units(character varying,jsonb)
-- src/db/payments/refunds.sql
CREATE OR REPLACE FUNCTION payments.refund_units(order_id character varying, refunded jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  payment payments.payments;
  refund payments.refunds;
begin
  select * into payment from payments.payments x
    where x.order_id = refund_units.order_id and x.status = 'succeeded' order by x.payment_id desc limit 1 for update;
  if not found or (refunded->>'amount')::numeric > payment.captured - payment.refunded then
    return jsonb_build_object('error', 'refund_exceeds_payment', 'detail', case when payment.payment_id is null
      then 'The order has no payment with money that can be refunded.' else format(
      'This refund is worth %s %s, and at most %s can still be refunded.', refunded->>'amount', payment.currency,
      payment.captured - payment.refunded) end,
      'errors', jsonb_build_array(jsonb_build_object('pointer', '/items', 'detail',
        format('At most %s can still be refunded.', coalesce(payment.captured - payment.refunded, 0)))));
  end if;
  refund := payments.add_refund(payment, refunded->>'refundId', (refunded->>'amount')::numeric, refunded->>'reason');
  update payments.refunds x set items = refunded->'items', shipping = (refunded->>'shipping')::numeric
  where x.id = refund.id returning * into refund;
  return payments.refund_json(refund);
end
$function$;
alter function payments.refund_units(character varying,jsonb) owner to fusion_payments;
revoke all on function payments.refund_units(character varying,jsonb) from public;
grant execute on function payments.refund_units(character varying,jsonb) to fusion_orders;

-- function: payments.report_other_account(payments.payments,character varying,jsonb)
-- src/db/payments/accounts.sql
CREATE OR REPLACE FUNCTION payments.report_other_account(payment payments.payments, of_account character varying, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  object_id constant text := coalesce(input->>'intentId', input->>'setupId', payment.payment_id);
  sender varchar := payment.tenant_id;
begin
  if of_account is not null then
    select t.id into sender from platform.tenants t where t.stripe_account = of_account;
  end if;
  if sender is not null and not platform.is_away(sender) then
    perform platform.act_as(sender);
    perform platform.report_problem('stripe', concat_ws(' ', of_account, object_id),
      case when input ? 'setup' then 'setup_intent.' else 'payment_intent.' end
        || coalesce(coalesce(input->'intent', input->'setup')->>'status', 'unknown'), payment.payment_id,
      jsonb_strip_nulls(jsonb_build_object('stripeAccount', of_account, 'stripePaymentIntentId', input->'intentId',
        'stripeSetupIntentId', input->'setupId', 'paymentId', payment.payment_id,
        'amount', input->'intent'->'amount', 'currency', input->'intent'->'currency',
        'received', input->'intent'->'received')),
      'account_differs: the payment that this object names in its metadata is not of this Stripe account. Look at it in Stripe and refund it there if the money is not yours to keep.');
  end if;
  return jsonb_strip_nulls(jsonb_build_object('outcome', 'set_aside', 'tenant', sender, 'skus', '[]'::jsonb,
    'reason', 'account_differs'));
end
$function$;
alter function payments.report_other_account(payments.payments,character varying,jsonb) owner to fusion_payments;
revoke all on function payments.report_other_account(payments.payments,character varying,jsonb) from public;

-- function: payments.request_captures(text[])
-- src/db/payments/campaign-places.sql
CREATE OR REPLACE FUNCTION payments.request_captures(order_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  payment payments.payments;
begin
  for payment in
    select * from payments.payments x
    where x.order_id = any(order_ids) and x.status = (select 'pending')
      and x.mode <> 'order' and not x.capture_asked
    order by x.payment_id for update
  loop
    update payments.payments x set capture_asked = true, updated_at = platform.clock()
    where x.payment_id = payment.payment_id;
    perform payments.emit_payment_event(payment, 'payment.capture.requested', '{}', true);
  end loop;
end
$function$;
alter function payments.request_captures(text[]) owner to fusion_payments;
revoke all on function payments.request_captures(text[]) from public;
grant execute on function payments.request_captures(text[]) to fusion_group_commerce;

-- function: payments.request_refund(jsonb,jsonb)
-- src/db/payments/refunds.sql
CREATE OR REPLACE FUNCTION payments.request_refund(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'payments:write', 'payments.refund');
  payment payments.payments;
  refund payments.refunds;
  refund_amount numeric;
begin
  if replay is not null then
    return replay;
  end if;
  select * into payment from payments.payments x
    where x.payment_id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  refund_amount := coalesce((input->>'amount')::numeric, payment.captured - payment.refunded);
  if scale(trim_scale(refund_amount)) > platform.currency_decimals(payment.currency) then
    return platform.leave(call, 'payments.refund', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/amount',
        'detail', format('%s has no decimals.', payment.currency)))));
  end if;
  if refund_amount <= 0 or refund_amount > payment.captured - payment.refunded then
    return platform.leave(call, 'payments.refund', jsonb_build_object('error', 'refund_exceeds_payment', 'detail',
      format('At most %s %s can still be refunded.', payment.captured - payment.refunded, payment.currency)));
  end if;
  refund := payments.add_refund(payment, input->>'refundId', refund_amount, input->>'reason');
  update payments.refunds x set restock = (input->>'restock')::boolean where x.id = refund.id and input ? 'restock';
  return platform.leave(call, 'payments.refund', payments.refund_json(refund));
end
$function$;
alter function payments.request_refund(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.request_refund(jsonb,jsonb) from public;
grant execute on function payments.request_refund(jsonb,jsonb) to fusion_worker;

-- function: payments.require_action(payments.payments,jsonb)
-- src/db/payments/reconcile.sql
CREATE OR REPLACE FUNCTION payments.require_action(payment payments.payments, intent jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  deadline constant timestamptz := platform.clock() + make_interval(secs => coalesce(
    (select t.grace_seconds from platform.tenants t where t.id = payment.tenant_id),
    (intent->'terms'->>'actionSeconds')::int, 86400));
begin
  update payments.payments x
  set action_by = deadline, client_secret = coalesce(intent->>'clientSecret', x.client_secret)
  where x.payment_id = payment.payment_id and x.action_by is null;
  if found then
    perform inventory.keep_until(array[payment.order_id::text], deadline);
    perform payments.emit_payment_event(payment, 'payment.action.required', '{}', false);
  end if;
end
$function$;
alter function payments.require_action(payments.payments,jsonb) owner to fusion_payments;
revoke all on function payments.require_action(payments.payments,jsonb) from public;

-- function: payments.save_intent(payments.payments,character varying,jsonb)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.save_intent(payment payments.payments, intent_id character varying, intent jsonb)
 RETURNS payments.intents
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  previous payments.intents;
  saved payments.intents;
begin
  select * into previous from payments.intents x where x.stripe_id = intent_id for update;
  insert into payments.intents as x (stripe_id, tenant_id, payment_id, stripe_account, amount, currency, status,
    received, fault, created_at)
  values (intent_id, payment.tenant_id, payment.payment_id, payment.stripe_account,
    coalesce((intent->>'amount')::numeric, payments.intent_amount(payment)),
    coalesce(intent->>'currency', payment.currency), coalesce(intent->>'status', 'requires_payment_method'),
    coalesce((intent->>'received')::numeric, 0),
    payments.intent_fault(payment, previous.fault is null
      and (previous.stripe_id is not null or payment.stripe_payment_intent_id is not distinct from intent_id),
      intent), platform.clock())
  on conflict (stripe_id) do update
  set amount = coalesce((intent->>'amount')::numeric, x.amount), currency = coalesce(intent->>'currency', x.currency),
      status = case when intent ? 'received' and (payments.is_intent_open(x.status) or excluded.status = 'succeeded')
        then excluded.status else x.status end,
      received = greatest(x.received, excluded.received),
      fault = case when intent ? 'amount' then excluded.fault else x.fault end
  returning * into saved;
  if saved.fault is not null
    and (previous.fault is distinct from saved.fault or previous.received is distinct from saved.received) then
    perform platform.report_problem('stripe', saved.stripe_id, 'payment_intent.' || saved.status, payment.payment_id,
      jsonb_build_object('stripePaymentIntentId', saved.stripe_id, 'paymentId', payment.payment_id,
        'orderId', payment.order_id, 'amount', saved.amount, 'currency', saved.currency, 'received', saved.received,
        'status', saved.status),
      format('%s: this PaymentIntent cannot pay the payment, which is %s %s. Look at it in Stripe and refund it there if the money is not yours to keep.',
        saved.fault, payments.intent_amount(payment), payment.currency));
  end if;
  return saved;
end
$function$;
alter function payments.save_intent(payments.payments,character varying,jsonb) owner to fusion_payments;
revoke all on function payments.save_intent(payments.payments,character varying,jsonb) from public;

-- function: payments.setup_fault(payments.payments,character varying,jsonb)
-- src/db/payments/campaign-places.sql
CREATE OR REPLACE FUNCTION payments.setup_fault(p payments.payments, setup_id character varying, made_for jsonb)
 RETURNS character varying
 LANGUAGE sql
 STABLE
AS $function$
  select case when p.setup_intent_id is not null and p.setup_intent_id is distinct from setup_id then 'setup_replaced'
    when p.mode <> 'card' then 'made_for_another'
    else payments.metadata_fault(p, p.setup_intent_id is not null, made_for) end
$function$;
alter function payments.setup_fault(payments.payments,character varying,jsonb) owner to fusion_payments;
revoke all on function payments.setup_fault(payments.payments,character varying,jsonb) from public;

-- function: payments.show_payment(jsonb,jsonb)
-- src/db/payments/shoppers.sql
CREATE OR REPLACE FUNCTION payments.show_payment(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'payments:read', '{publishable,session}');
  payment payments.payments;
begin
  select * into payment from payments.payments p where p.payment_id = input->>'id';
  if not found or not payments.may_reach(payment) then
    perform platform.fail('not_found');
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', payments.payment_json(payment));
end
$function$;
alter function payments.show_payment(jsonb,jsonb) owner to fusion_payments;
revoke all on function payments.show_payment(jsonb,jsonb) from public;
grant execute on function payments.show_payment(jsonb,jsonb) to fusion_worker;

-- function: payments.supersede_other_payment(payments.payments)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.supersede_other_payment(payment payments.payments)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  other_payment payments.payments;
begin
  select * into other_payment from payments.payments x
    where x.order_id = payment.order_id and x.payment_id <> payment.payment_id
      and x.status in ('pending', 'succeeded') for update;
  if found and other_payment.status = 'pending' then
    update payments.payments x
    set status = 'cancelled', failure_reason = 'paid_otherwise', updated_at = platform.clock(),
        intent_open = payments.needs_closing(x)
    where x.payment_id = other_payment.payment_id returning * into other_payment;
    perform payments.emit_payment_event(other_payment, 'payment.cancelled', '{}', true);
  end if;
  return other_payment.status is distinct from 'succeeded' and not exists (select from orders.orders o
    where o.id = payment.order_id and o.status = 'refunded');
end
$function$;
alter function payments.supersede_other_payment(payments.payments) owner to fusion_payments;
revoke all on function payments.supersede_other_payment(payments.payments) from public;

-- function: payments.switch_to_other_intent(payments.payments)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.switch_to_other_intent(payment payments.payments)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  other_intent_id varchar;
  other_status text;
begin
  select i.stripe_id, i.status into other_intent_id, other_status from payments.intents i
    where i.payment_id = payment.payment_id and i.fault is null and i.status in ('processing', 'requires_capture')
      and i.stripe_id is distinct from payment.stripe_payment_intent_id
    order by payments.intent_progress(i.status) desc, i.stripe_id limit 1;
  if not found then
    return false;
  end if;
  update payments.payments x set stripe_payment_intent_id = other_intent_id, stripe_status = other_status,
    failure_reason = null, updated_at = platform.clock()
  where x.payment_id = payment.payment_id;
  if other_status = 'processing' then
    -- the end of the former intent may have set an end to the hold
    perform payments.update_hold_end(payment, other_status, '{}');
  end if;
  return true;
end
$function$;
alter function payments.switch_to_other_intent(payments.payments) owner to fusion_payments;
revoke all on function payments.switch_to_other_intent(payments.payments) from public;

-- function: payments.update_hold_end(payments.payments,text,jsonb)
-- src/db/payments/delayed.sql
CREATE OR REPLACE FUNCTION payments.update_hold_end(payment payments.payments, new_status text, terms jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  is_decided constant boolean := new_status is distinct from 'processing';
begin
  if is_decided and coalesce(payment.stripe_status, '') not in ('processing', 'setup_processing') then
    return;
  end if;
  if payment.action_by is not null then
    -- The buyer has confirmed the charge of a saved card, and the bank takes its time.
    perform inventory.keep_until(array[payment.order_id::text], case when is_decided
      then greatest(payment.action_by, platform.clock() + interval '15 minutes') else 'infinity' end);
  elsif payment.campaign_id is not null then
    perform group_commerce.update_secure_by(payment.order_id, is_decided, coalesce((terms->>'secureSeconds')::int, 600),
      coalesce((select t.grace_seconds from platform.tenants t where t.id = payment.tenant_id),
        (terms->>'graceSeconds')::int, 900));
  else
    perform inventory.keep_until(array[payment.order_id::text], case when is_decided
      then platform.clock() + make_interval(secs => coalesce(
        (select t.hold_seconds from platform.tenants t where t.id = payment.tenant_id), (terms->>'holdSeconds')::int, 900))
      else 'infinity' end);
  end if;
end
$function$;
alter function payments.update_hold_end(payments.payments,text,jsonb) owner to fusion_payments;
revoke all on function payments.update_hold_end(payments.payments,text,jsonb) from public;

-- function: payments.update_intent_open(character varying)
-- src/db/payments/intents.sql
CREATE OR REPLACE FUNCTION payments.update_intent_open(of_payment character varying)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  update payments.payments x set intent_open = not x.intent_open
  from (
    select p.payment_id, payments.needs_charge_lookup(p) or cardinality(payments.intents_to_cancel(p)) > 0 or exists (
      select from payments.intents i where i.stripe_id = p.stripe_payment_intent_id
        and payments.is_intent_open(i.status)) as should_be_open
    from payments.payments p where p.payment_id = of_payment
  ) current
  where x.payment_id = current.payment_id and x.status <> 'pending'
    and x.intent_open is distinct from (current.should_be_open or (x.intent_open and x.captured = 0))
$function$;
alter function payments.update_intent_open(character varying) owner to fusion_payments;
revoke all on function payments.update_intent_open(character varying) from public;

-- function: payments.update_order_after_refund(payments.payments)
-- src/db/payments/orders.sql
CREATE OR REPLACE FUNCTION payments.update_order_after_refund(payment payments.payments)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  skus text[];
begin
  if payment.status = 'succeeded' then
    if payment.campaign_id is not null then
      perform group_commerce.undo_place_refund(payment.order_id);
    end if;
    return orders.reopen_after_failed_refund(payment.order_id);
  elsif payment.status is distinct from 'refunded' then
    return '{}';
  end if;
  -- The latest refund that says whether the units go back into stock decides.
  skus := orders.mark_refunded(payment.order_id, (select r.restock from payments.refunds r
    where r.payment_id = payment.payment_id and r.restock is not null order by r.id desc limit 1));
  if payment.campaign_id is not null then
    skus := skus || group_commerce.free_refunded_place(payment.order_id, cardinality(skus) > 0);
  end if;
  return skus;
end
$function$;
alter function payments.update_order_after_refund(payments.payments) owner to fusion_payments;
revoke all on function payments.update_order_after_refund(payments.payments) from public;

-- function: payments.update_refund_sums(character varying)
-- src/db/payments/refunds.sql
CREATE OR REPLACE FUNCTION payments.update_refund_sums(of_payment character varying)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  payment payments.payments;
begin
  update payments.payments x
  set refunded = least(x.captured, s.promised), refund_done = least(x.captured, s.done), updated_at = platform.clock(),
      status = case when x.captured > 0 and s.done >= x.captured then 'refunded'
        when x.status = 'refunded' then case when payments.is_excess_payment(x) then 'cancelled' else 'succeeded' end
        else x.status end
  from (
    select coalesce(sum(r.amount) filter (where r.status <> 'failed'), 0) as promised,
      coalesce(sum(r.amount) filter (where r.status = 'succeeded'), 0) as done
    from payments.refunds r join payments.payments y using (payment_id)
    where r.payment_id = of_payment and r.stripe_intent_id is not distinct from y.stripe_payment_intent_id
  ) s
  where x.payment_id = of_payment
  returning x.* into payment;
  return case when payments.is_excess_payment(payment) then '{}' else payments.update_order_after_refund(payment) end;
end
$function$;
alter function payments.update_refund_sums(character varying) owner to fusion_payments;
revoke all on function payments.update_refund_sums(character varying) from public;

-- function: payments.why_ended(orders.orders)
-- src/db/payments/payments.sql
CREATE OR REPLACE FUNCTION payments.why_ended(o orders.orders)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce((select p.failure_reason from payments.payments p
    where p.order_id = o.id order by p.payment_id desc limit 1), o.failure_reason)
$function$;
alter function payments.why_ended(orders.orders) owner to fusion_payments;
revoke all on function payments.why_ended(orders.orders) from public;

-- function: platform.act_as(character varying)
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.act_as(tenant character varying)
 RETURNS void
 LANGUAGE sql
AS $function$
  select set_config('app.tenant_id', tenant, true)
$function$;
alter function platform.act_as(character varying) owner to fusion_platform;
revoke all on function platform.act_as(character varying) from public;
grant execute on function platform.act_as(character varying) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.add_dead_letter(platform.outbox,text)
-- src/db/platform/events.sql
CREATE OR REPLACE FUNCTION platform.add_dead_letter(outbox_row platform.outbox, reason text)
 RETURNS void
 LANGUAGE sql
AS $function$
  insert into platform.dead_letters
    (id, tenant_id, sink, event_id, topic, key, seq, message, reason, attempts, created_at)
  select platform.uuid7(), e.tenant_id, outbox_row.sink, e.id::text, e.topic, e.key, e.seq,
    platform.envelope(e), reason, outbox_row.attempts + 1, platform.clock()
  from platform.events e
  where e.tenant_id = outbox_row.tenant_id and e.seq = outbox_row.seq
  on conflict (sink, event_id) where replayed_at is null do nothing
$function$;
alter function platform.add_dead_letter(platform.outbox,text) owner to fusion_platform;
revoke all on function platform.add_dead_letter(platform.outbox,text) from public;

-- function: platform.apply_stripe_account(jsonb,jsonb)
-- src/db/platform/stripe-accounts.sql
CREATE OR REPLACE FUNCTION platform.apply_stripe_account(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  account constant varchar := input->>'account';
  tenant varchar;
begin
  perform platform.enter_to_find(call);
  select t.id into tenant from platform.tenants t where t.stripe_account = account or t.stripe_pending = account;
  if tenant is null or tenant <> coalesce(input->>'tenant', tenant) then
    return jsonb_build_object('outcome', 'unknown');
  end if;
  perform platform.refuse_away(tenant); -- also after the purge of its rows, because its row in this table stays
  perform platform.act_as(tenant);
  if (input->>'isEnabled')::boolean then
    perform platform.keep_stripe_account(tenant, account, true);
  end if;
  if (input->>'isWithdrawn')::boolean then
    perform platform.report_problem('stripe', account, 'account.application.deauthorized', account,
      jsonb_build_object('stripeAccount', account),
      'Stripe gives no access to this account any more. Orders cannot be paid, and refunds wait. Connect the account again, then replay the dead letters of its refunds.');
  end if;
  return jsonb_build_object('outcome', 'applied', 'tenant', tenant);
end
$function$;
alter function platform.apply_stripe_account(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.apply_stripe_account(jsonb,jsonb) from public;
grant execute on function platform.apply_stripe_account(jsonb,jsonb) to fusion_worker;

-- function: platform.authenticate(jsonb,text)
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.authenticate(call jsonb, scope text)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, scope);
begin
  perform set_config('app.proof', concat_ws(' ', api_key.tenant_id, scope, platform.sign(api_key.tenant_id, scope)),
    true);
  return jsonb_build_object('tenant', api_key.tenant_id, 'scopes', api_key.scopes,
    'expiresAt', platform.iso(api_key.expires_at));
end
$function$;
alter function platform.authenticate(jsonb,text) owner to fusion_platform;
revoke all on function platform.authenticate(jsonb,text) from public;
grant execute on function platform.authenticate(jsonb,text) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping, fusion_worker;

-- function: platform.begin_call(jsonb,text)
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.begin_call(call jsonb, shown_key_hash text)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  -- Initial values without a query cost no statement.
  trace constant text := set_config('app.traceparent', coalesce(call->>'traceparent', ''), true);
  lock_wait constant text := set_config('lock_timeout',
    (4000 + coalesce((call->>'patienceMs')::numeric, 0)::int)::text, true);
  passed_time text := set_config('app.now', '', true);
begin
  if call->>'now' is not null then
    select set_config('app.now', call->>'now', true) into passed_time from platform.security s where s.passed_clock;
  end if;
  return set_config('app.key_hash', shown_key_hash, true);
end
$function$;
alter function platform.begin_call(jsonb,text) owner to fusion_platform;
revoke all on function platform.begin_call(jsonb,text) from public;

-- function: platform.begin_operation(jsonb,jsonb)
-- src/db/platform/idempotency.sql
CREATE OR REPLACE FUNCTION platform.begin_operation(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, input->>'scope', input->>'operation');
begin
  if replay is not null then
    return replay;
  end if;
  insert into platform.idempotency (tenant_id, operation, key, request_hash, locked_until, created_at)
  values (platform.tenant(), concat(input->>'operation', platform.shopper_mark()), call->>'idempotencyKey', call->>'requestHash',
          platform.clock() + make_interval(secs => (input->>'seconds')::int), platform.clock());
  return jsonb_build_object('tenant', platform.tenant(), 'answer', null, 'replayed', false);
end
$function$;
alter function platform.begin_operation(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.begin_operation(jsonb,jsonb) from public;
grant execute on function platform.begin_operation(jsonb,jsonb) to fusion_worker;

-- function: platform.carrier_json(character varying,character varying)
-- src/db/platform/tenants.sql
CREATE OR REPLACE FUNCTION platform.carrier_json(name character varying, credentials character varying)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select case when name is not null then jsonb_build_object('name', name,
    'hasApiKey', credentials::jsonb #>> array[name, 'apiKey'] is not null,
    'hasWebhookSecret', credentials::jsonb #>> array[name, 'webhookSecret'] is not null) end
$function$;
alter function platform.carrier_json(character varying,character varying) owner to fusion_platform;
revoke all on function platform.carrier_json(character varying,character varying) from public;

-- function: platform.cells_of_purged()
-- src/db/platform/moves.sql
CREATE OR REPLACE FUNCTION platform.cells_of_purged()
 RETURNS jsonb
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select coalesce(jsonb_agg(distinct m.cell), '[]') from platform.tenant_moves m
  where m.state = 'moved' and m.purged_at is not null
$function$;
alter function platform.cells_of_purged() owner to fusion_platform;
revoke all on function platform.cells_of_purged() from public;
grant execute on function platform.cells_of_purged() to fusion_group_commerce;

-- function: platform.change_credentials(character varying,jsonb)
-- src/db/platform/tenants.sql
CREATE OR REPLACE FUNCTION platform.change_credentials(credentials character varying, carrier jsonb)
 RETURNS character varying
 LANGUAGE sql
 STABLE
AS $function$
  select case when carrier <> 'null' then (coalesce(credentials::jsonb, '{}') || jsonb_build_object(carrier->>'name',
    jsonb_strip_nulls(coalesce(credentials::jsonb -> (carrier->>'name'), '{}') || carrier - 'name')))::text end
$function$;
alter function platform.change_credentials(character varying,jsonb) owner to fusion_platform;
revoke all on function platform.change_credentials(character varying,jsonb) from public;

-- function: platform.charge_fault(numeric,character varying)
-- src/db/platform/currencies.sql
CREATE OR REPLACE FUNCTION platform.charge_fault(amount numeric, currency character varying)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case
    when amount = 0 then null
    when not platform.is_currency(currency) then format('Stripe cannot charge %s.', currency)
    when amount < platform.least_charge(currency) then
      format('%s %s is too little: Stripe charges %s %s or more.', round(amount, platform.currency_decimals(currency)),
        currency, round(platform.least_charge(currency), platform.currency_decimals(currency)), currency)
    when amount > platform.most_charge(currency) then
      format('%s %s is too much: Stripe charges %s %s at most.', round(amount, platform.currency_decimals(currency)),
        currency, round(platform.most_charge(currency), platform.currency_decimals(currency)), currency) end
$function$;
alter function platform.charge_fault(numeric,character varying) owner to fusion_platform;
revoke all on function platform.charge_fault(numeric,character varying) from public;
grant execute on function platform.charge_fault(numeric,character varying) to fusion_catalog, fusion_group_commerce, fusion_orders, fusion_payments;

-- function: platform.charge_limits(character varying)
-- src/db/platform/currencies.sql
CREATE OR REPLACE FUNCTION platform.charge_limits(currency character varying)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when platform.is_currency(currency) then jsonb_build_object('least', platform.least_charge(currency),
    'most', platform.most_charge(currency)) end
$function$;
alter function platform.charge_limits(character varying) owner to fusion_platform;
revoke all on function platform.charge_limits(character varying) from public;
grant execute on function platform.charge_limits(character varying) to fusion_catalog, fusion_group_commerce, fusion_orders, fusion_payments;

-- function: platform.check_key(jsonb,jsonb)
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.check_key(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, input->>'scope',
    array(select jsonb_array_elements_text(input->'shoppers')));
begin
  return jsonb_build_object('tenant', api_key.tenant_id);
end
$function$;
alter function platform.check_key(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.check_key(jsonb,jsonb) from public;
grant execute on function platform.check_key(jsonb,jsonb) to fusion_worker;

-- function: platform.check_vouched(jsonb)
-- src/db/platform/customer-sessions.sql
CREATE OR REPLACE FUNCTION platform.check_vouched(call jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if not exists (select from platform.job_secrets j
      where j.sha256 = encode(sha256(convert_to(call->>'jobSecret', 'UTF8')), 'hex'))
    and (call->>'jobSecret' is not null or (select s.sealed from platform.security s)) then
    raise exception 'this call needs a job secret' using errcode = 'invalid_authorization_specification',
      hint = 'Set DATABASE_JOB_SECRET to a secret made by "npm run keys -- jobs make".';
  end if;
end
$function$;
alter function platform.check_vouched(jsonb) owner to fusion_platform;
revoke all on function platform.check_vouched(jsonb) from public;
grant execute on function platform.check_vouched(jsonb) to fusion_orders, fusion_payments;

-- function: platform.claim_event(text,text)
-- src/db/platform/events.sql
CREATE OR REPLACE FUNCTION platform.claim_event(consumer text, event_id text)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  insert into platform.inbox (tenant_id, consumer, event_id, applied_at)
  values (platform.tenant(), claim_event.consumer, claim_event.event_id, platform.clock())
  on conflict on constraint inbox_once do nothing;
  return found;
end
$function$;
alter function platform.claim_event(text,text) owner to fusion_platform;
revoke all on function platform.claim_event(text,text) from public;
grant execute on function platform.claim_event(text,text) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.claim_new_events(text,text[])
-- src/db/platform/events.sql
CREATE OR REPLACE FUNCTION platform.claim_new_events(consumer text, event_ids text[])
 RETURNS text[]
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  with claimed as (
    insert into platform.inbox (tenant_id, consumer, event_id, applied_at)
    select platform.tenant(), consumer, id, platform.clock() from unnest(event_ids) id order by id
    on conflict on constraint inbox_once do nothing
    returning event_id
  )
  select coalesce(array_agg(event_id), '{}') from claimed
$function$;
alter function platform.claim_new_events(text,text[]) owner to fusion_platform;
revoke all on function platform.claim_new_events(text,text[]) from public;
grant execute on function platform.claim_new_events(text,text[]) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.claim_undated_events(text,text[])
-- src/db/platform/inbox.sql
CREATE OR REPLACE FUNCTION platform.claim_undated_events(consumer text, event_ids text[])
 RETURNS text[]
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  with claimed as (
    insert into platform.inbox (tenant_id, consumer, event_id, applied_at)
    select platform.tenant(), consumer, id, 'infinity' from unnest(event_ids) id order by id
    on conflict on constraint inbox_once do nothing
    returning event_id
  )
  select coalesce(array_agg(event_id), '{}') from claimed
$function$;
alter function platform.claim_undated_events(text,text[]) owner to fusion_platform;
revoke all on function platform.claim_undated_events(text,text[]) from public;
grant execute on function platform.claim_undated_events(text,text[]) to fusion_inventory, fusion_shipping;

-- function: platform.clear_set_aside(character varying,text[])
-- src/db/platform/set-aside.sql
CREATE OR REPLACE FUNCTION platform.clear_set_aside(job character varying, keys text[])
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  update platform.dead_letters d set replayed_at = platform.clock()
  where d.sink = job and d.event_id = any(keys) and d.replayed_at is null and d.retry_at is not null
    and platform.tenant() in (d.tenant_id, '*')
$function$;
alter function platform.clear_set_aside(character varying,text[]) owner to fusion_platform;
revoke all on function platform.clear_set_aside(character varying,text[]) from public;
grant execute on function platform.clear_set_aside(character varying,text[]) to fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_shipping;

-- function: platform.clock()
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.clock()
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE
AS $function$
  -- A caller can pass the time (a cron's scheduled time, a test's time); otherwise it is the transaction's time. In
  -- milliseconds like the API, so that a hold ends exactly at the time that the API shows. No `coalesce` or `nullif`:
  -- Postgres does not treat them as leakproof under row-level security, and a condition on time could not use an index.
  select case when current_setting('app.now', true) <> '' then current_setting('app.now', true)::timestamptz
    else date_trunc('milliseconds', now()) end
$function$;
alter function platform.clock() owner to fusion_platform;
revoke all on function platform.clock() from public;
grant execute on function platform.clock() to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.create_key(jsonb,jsonb)
-- src/db/platform/api-keys.sql
CREATE OR REPLACE FUNCTION platform.create_key(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'keys:write', 'keys.create');
  caller platform.api_keys;
  wanted text[];
  lacking text[];
  api_key platform.api_keys;
begin
  if replay is not null then
    return replay;
  end if;
  select * into caller from platform.api_keys k
    where k.key_hash = call->>'keyHash' and k.revoked_at is null for share;
  if not found then
    perform platform.fail('unauthenticated');
  end if;
  wanted := case when jsonb_typeof(input->'scopes') = 'array' then array(select jsonb_array_elements_text(input->'scopes'))
    else caller.scopes end;
  lacking := array(select s from unnest(wanted) s where not s = any(caller.scopes));
  if cardinality(lacking) > 0 then
    perform platform.fail('forbidden', jsonb_build_object('reason',
      format('A key can grant only scopes that it has. This key lacks %s.', array_to_string(lacking, ', '))));
  end if;
  if (input->>'expiresAt')::timestamptz <= platform.clock() then
    return platform.leave(call, 'keys.create', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/expiresAt', 'detail', 'must be in the future'))));
  end if;
  insert into platform.api_keys (id, tenant_id, prefix, key_hash, kind, name, scopes, origins, created_at, expires_at)
  values (input->>'id', platform.tenant(), input->>'prefix', input->>'keyHash', input->>'kind', input->>'name', wanted,
    case when jsonb_typeof(input->'origins') = 'array' then array(select jsonb_array_elements_text(input->'origins')) end,
    platform.clock(), (input->>'expiresAt')::timestamptz)
  returning * into api_key;
  return platform.leave(call, 'keys.create', platform.key_json(api_key));
end
$function$;
alter function platform.create_key(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.create_key(jsonb,jsonb) from public;
grant execute on function platform.create_key(jsonb,jsonb) to fusion_worker;

-- function: platform.currency_decimals(character varying)
-- src/db/platform/currencies.sql
CREATE OR REPLACE FUNCTION platform.currency_decimals(currency character varying)
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when currency in ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'MGA', 'PYG', 'RWF', 'UGX', 'VND',
    'VUV', 'XAF', 'XOF', 'XPF') then 0 else 2 end
$function$;
alter function platform.currency_decimals(character varying) owner to fusion_platform;
revoke all on function platform.currency_decimals(character varying) from public;
grant execute on function platform.currency_decimals(character varying) to fusion_catalog, fusion_group_commerce, fusion_orders, fusion_payments, fusion_reader;

-- function: platform.due_now()
-- src/db/platform/events.sql
CREATE OR REPLACE FUNCTION platform.due_now()
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE
AS $function$
  select date_trunc('milliseconds', now())
$function$;
alter function platform.due_now() owner to fusion_platform;
revoke all on function platform.due_now() from public;
grant execute on function platform.due_now() to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.emit(text,text,jsonb,boolean)
-- src/db/platform/events.sql
CREATE OR REPLACE FUNCTION platform.emit(topic text, key text, payload jsonb, queue boolean)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant constant varchar := platform.tenant();
begin
  with event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    values (tenant, emit.topic, emit.key, emit.payload, platform.trace(), platform.clock()) returning seq
  )
  insert into platform.outbox (tenant_id, sink, seq, key, due_at)
  select tenant, s, e.seq, emit.key, platform.due_now() from event e, unnest(platform.sinks_of(queue)) s;
end
$function$;
alter function platform.emit(text,text,jsonb,boolean) owner to fusion_platform;
revoke all on function platform.emit(text,text,jsonb,boolean) from public;
grant execute on function platform.emit(text,text,jsonb,boolean) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.end_operation(jsonb,jsonb)
-- src/db/platform/idempotency.sql
CREATE OR REPLACE FUNCTION platform.end_operation(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform platform.identify(call, input->>'scope');
  update platform.idempotency i
  set answer = nullif(input->'answer', 'null'), locked_until = null,
      request_hash = coalesce(input->>'requestHash', i.request_hash)
  where i.tenant_id = platform.tenant() and i.operation = concat(input->>'operation', platform.shopper_mark())
    and i.key = call->>'idempotencyKey';
  return jsonb_build_object('tenant', platform.tenant(), 'answer', input->'answer', 'replayed', false);
end
$function$;
alter function platform.end_operation(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.end_operation(jsonb,jsonb) from public;
grant execute on function platform.end_operation(jsonb,jsonb) to fusion_worker;

-- function: platform.enter(jsonb,text,text,text[])
-- src/db/platform/idempotency.sql
CREATE OR REPLACE FUNCTION platform.enter(call jsonb, scope text, operation text, shoppers text[] DEFAULT '{}'::text[])
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, scope, shoppers);
  idempotency_key constant varchar := call->>'idempotencyKey';
  stored_as constant text := concat(operation, platform.shopper_mark());
  stored platform.idempotency;
begin
  if idempotency_key is null then
    return null;
  end if;
  if not pg_try_advisory_xact_lock(hashtextextended(api_key.tenant_id || ' ' || stored_as || ' ' || idempotency_key,
    0)) then
    perform platform.fail('idempotency_in_progress');
  end if;
  select * into stored from platform.idempotency i
    where i.tenant_id = api_key.tenant_id and i.operation = stored_as and i.key = idempotency_key;
  if not found then
    return null;
  end if;
  if stored.created_at <= platform.clock() - interval '24 hours' then
    perform platform.forget_answer(stored);
    return null;
  end if;
  if stored.request_hash <> call->>'requestHash' then
    perform platform.fail('idempotency_key_reused');
  end if;
  if stored.answer is null then
    if stored.locked_until > platform.clock() then
      perform platform.fail('idempotency_in_progress');
    end if;
    perform platform.forget_answer(stored);
    return null;
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'answer', stored.answer, 'replayed', true);
end
$function$;
alter function platform.enter(jsonb,text,text,text[]) owner to fusion_platform;
revoke all on function platform.enter(jsonb,text,text,text[]) from public;
grant execute on function platform.enter(jsonb,text,text,text[]) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_shipping;

-- function: platform.enter_as(jsonb,character varying)
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.enter_as(call jsonb, tenant character varying)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  -- Initial values without a query cost no statement. If the secret is wrong, these settings end with the transaction.
  key_hash constant text := platform.begin_call(call, '');
  acting_as constant text := set_config('app.tenant_id', coalesce(tenant, ''), true);
  away text;
begin
  -- app.away: the tenants that jobs skip, because another cell serves them or will; of one tenant, whether it is one.
  select coalesce(case tenant
      when '*' then (select string_agg(m.id, ' ') from platform.tenant_moves m where m.purged_at is null)
      else (select m.id from platform.tenant_moves m where m.id = tenant) end, '')
  into away
  where exists (select from platform.job_secrets j
      where j.sha256 = encode(sha256(convert_to(call->>'jobSecret', 'UTF8')), 'hex'))
    or call->>'jobSecret' is null and not (select s.sealed from platform.security s);
  if not found then
    raise exception 'this call needs a job secret' using errcode = 'invalid_authorization_specification',
      hint = 'Set DATABASE_JOB_SECRET to a secret made by "npm run keys -- jobs make".';
  end if;
  away := set_config('app.away', away, true);
  if tenant <> '*' and away <> '' then
    perform platform.refuse_away(tenant);
  end if;
end
$function$;
alter function platform.enter_as(jsonb,character varying) owner to fusion_platform;
revoke all on function platform.enter_as(jsonb,character varying) from public;
grant execute on function platform.enter_as(jsonb,character varying) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.enter_to_find(jsonb)
-- src/db/platform/moves.sql
CREATE OR REPLACE FUNCTION platform.enter_to_find(call jsonb)
 RETURNS text[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  away text[];
  ignored text;
begin
  perform platform.enter_as(call, '*');
  away := string_to_array(current_setting('app.away'), ' ');
  ignored := set_config('app.away', '', true);
  return away;
end
$function$;
alter function platform.enter_to_find(jsonb) owner to fusion_platform;
revoke all on function platform.enter_to_find(jsonb) from public;
grant execute on function platform.enter_to_find(jsonb) to fusion_group_commerce, fusion_payments, fusion_shipping;

-- function: platform.envelope(platform.events)
-- src/db/platform/events.sql
CREATE OR REPLACE FUNCTION platform.envelope(e platform.events)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_strip_nulls(jsonb_build_object(
    'specversion', '1.0', 'id', e.id, 'type', e.topic, 'source', '/fusioncommerce', 'time', platform.iso(e.time),
    'tenantid', e.tenant_id, 'subject', e.key, 'sequence', e.seq::text, 'traceparent', e.traceparent)) ||
    jsonb_build_object('data', e.payload)
$function$;
alter function platform.envelope(platform.events) owner to fusion_platform;
revoke all on function platform.envelope(platform.events) from public;
grant execute on function platform.envelope(platform.events) to fusion_reader;

-- function: platform.erase_answers(text[])
-- src/db/platform/erasure.sql
CREATE OR REPLACE FUNCTION platform.erase_answers(ids text[])
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  update platform.idempotency i
  set answer = '{"error": "not_found", "detail": "The customer was erased."}'
  where i.tenant_id = platform.tenant() and i.answer is not null
    and exists (select from unnest(ids) e(id) where strpos(i.answer::text, e.id) > 0)
$function$;
alter function platform.erase_answers(text[]) owner to fusion_platform;
revoke all on function platform.erase_answers(text[]) from public;
grant execute on function platform.erase_answers(text[]) to fusion_orders;

-- function: platform.fail(text,jsonb)
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.fail(code text, detail jsonb DEFAULT NULL::jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  raise exception using errcode = 'FC000', message = code, detail =
    (jsonb_strip_nulls(jsonb_build_object('tenant', nullif(nullif(platform.tenant(), ''), '*')))
      || coalesce(detail, '{}'))::text;
end
$function$;
alter function platform.fail(text,jsonb) owner to fusion_platform;
revoke all on function platform.fail(text,jsonb) from public;
grant execute on function platform.fail(text,jsonb) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.find_unclaimed_events(text,text[])
-- src/db/platform/events.sql
CREATE OR REPLACE FUNCTION platform.find_unclaimed_events(consumer text, event_ids text[])
 RETURNS text[]
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select array(select id from unnest(event_ids) id where not exists (
    select from platform.inbox i where i.consumer = find_unclaimed_events.consumer and i.event_id = id))
$function$;
alter function platform.find_unclaimed_events(text,text[]) owner to fusion_platform;
revoke all on function platform.find_unclaimed_events(text,text[]) from public;
grant execute on function platform.find_unclaimed_events(text,text[]) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.forget_answer(platform.idempotency)
-- src/db/platform/idempotency.sql
CREATE OR REPLACE FUNCTION platform.forget_answer(stored platform.idempotency)
 RETURNS void
 LANGUAGE sql
AS $function$
  delete from platform.idempotency i
  where i.tenant_id = stored.tenant_id and i.operation = stored.operation and i.key = stored.key
$function$;
alter function platform.forget_answer(platform.idempotency) owner to fusion_platform;
revoke all on function platform.forget_answer(platform.idempotency) from public;

-- function: platform.health()
-- src/db/platform/health.sql
CREATE OR REPLACE FUNCTION platform.health()
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
declare
  answer jsonb;
begin
  perform platform.act_as('*'), set_config('app.away', coalesce((select string_agg(m.id, ' ')
    from platform.tenant_moves m where m.purged_at is null), ''), true);
  select jsonb_build_object(
    'outboxAgeSeconds', coalesce(max(w.age), 0),
    'outboxCount', (select count(*) from (select 1 from platform.outbox limit 10000) o),
    'sinks', coalesce(jsonb_agg(jsonb_build_object('sink', w.sink, 'ageSeconds', w.age, 'failures', w.failures,
      'pausedUntil', case when w.paused_until > now() then platform.iso(w.paused_until) end) order by w.sink), '[]'),
    'deadLetters', (select count(*) from (
      select 1 from platform.dead_letters where replayed_at is null limit 10000) d),
    'sealed', (select s.sealed from platform.security s)
  ) into answer
  from (
    select s.sink, s.failures, s.paused_until, extract(epoch from greatest(now() - e.time, interval '0'))::int as age
    from platform.sinks s
    cross join lateral (
      select o.tenant_id, o.seq from platform.outbox o where o.sink = s.sink order by o.seq limit 1
    ) o
    join platform.events e on e.tenant_id = o.tenant_id and e.seq = o.seq
  ) w;
  return answer;
end
$function$;
alter function platform.health() owner to fusion_platform;
revoke all on function platform.health() from public;
grant execute on function platform.health() to fusion_worker;

-- function: platform.history_of(text[],bigint,integer)
-- src/db/platform/events.sql
CREATE OR REPLACE FUNCTION platform.history_of(keys text[], after bigint, most integer)
 RETURNS jsonb
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select coalesce(jsonb_agg(jsonb_build_object('event', platform.envelope(e.row), 'seq', e.seq) order by e.seq), '[]')
  from (
    select x as row, x.seq from platform.events x
    where x.tenant_id = (select platform.tenant()) and x.key = any(keys) and (after is null or x.seq > after)
    order by x.tenant_id, x.seq limit most
  ) e
$function$;
alter function platform.history_of(text[],bigint,integer) owner to fusion_platform;
revoke all on function platform.history_of(text[],bigint,integer) from public;
grant execute on function platform.history_of(text[],bigint,integer) to fusion_orders;

-- function: platform.identify(jsonb,text,text[])
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.identify(call jsonb, scope text, shoppers text[] DEFAULT '{}'::text[])
 RETURNS platform.api_keys
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  shown_key_hash constant text := platform.begin_call(call, coalesce(call->>'keyHash', ''));
  api_key platform.api_keys;
  setting text;
begin
  if call ? 'session' then
    api_key := platform.key_of_session(shown_key_hash);
  elsif call ? 'liveToken' and scope = 'campaigns:read' then
    api_key := platform.key_of_live_token(call->>'liveToken', call->>'campaign');
  else
    select * into api_key from platform.api_keys k where k.key_hash = shown_key_hash;
  end if;
  if api_key.id is null or api_key.revoked_at <= platform.clock() or api_key.expires_at <= platform.clock() then
    perform platform.fail('unauthenticated', jsonb_strip_nulls(jsonb_build_object('tenant', api_key.tenant_id)));
  end if;
  if api_key.away then -- moved to another cell, or on its way
    perform platform.refuse_away(api_key.tenant_id, scope);
  end if;
  if not scope = any(api_key.scopes) and not api_key.kind = any(shoppers) then
    perform platform.fail('forbidden', jsonb_build_object('tenant', api_key.tenant_id,
      'reason', case api_key.kind when 'session' then 'A customer session cannot do this: use a secret key.'
        else format('This key lacks the scope %s.', scope) end));
  end if;
  -- A key without origins is valid on every page. Clients other than browsers can forge the header, so this
  -- restricts browsers only.
  if call ? 'origin' and api_key.kind = 'publishable' and not call->>'origin' = any(api_key.origins) then
    perform platform.fail('forbidden', jsonb_build_object('tenant', api_key.tenant_id,
      'reason', 'This key does not allow requests from this origin.'));
  end if;
  setting := set_config('app.tenant_id', api_key.tenant_id, true);
  -- Clears what an earlier transaction of this connection may have set.
  if api_key.kind <> 'secret' then
    setting := set_config('app.shopper', jsonb_build_object('kind', api_key.kind,
      'customer', case when api_key.kind = 'session' then api_key.id end, 'cartHash', call->>'cartHash')::text, true);
  elsif current_setting('app.shopper', true) <> '' then
    setting := set_config('app.shopper', '', true);
  end if;
  return api_key;
end
$function$;
alter function platform.identify(jsonb,text,text[]) owner to fusion_platform;
revoke all on function platform.identify(jsonb,text,text[]) from public;
grant execute on function platform.identify(jsonb,text,text[]) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.is_away(character varying)
-- src/db/platform/moves.sql
CREATE OR REPLACE FUNCTION platform.is_away(tenant character varying)
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select exists (select from platform.tenant_moves m where m.id = tenant)
$function$;
alter function platform.is_away(character varying) owner to fusion_platform;
revoke all on function platform.is_away(character varying) from public;
grant execute on function platform.is_away(character varying) to fusion_payments;

-- function: platform.is_chargeable(numeric,character varying)
-- src/db/platform/currencies.sql
CREATE OR REPLACE FUNCTION platform.is_chargeable(amount numeric, currency character varying)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when currency in ('USD', 'EUR', 'GBP', 'AUD', 'CAD', 'CHF') and amount between 0.5 and 999999.99 then true
    else platform.charge_fault(amount, currency) is null end
$function$;
alter function platform.is_chargeable(numeric,character varying) owner to fusion_platform;
revoke all on function platform.is_chargeable(numeric,character varying) from public;
grant execute on function platform.is_chargeable(numeric,character varying) to fusion_catalog, fusion_group_commerce, fusion_orders, fusion_payments;

-- function: platform.is_currency(character varying)
-- src/db/platform/currencies.sql
CREATE OR REPLACE FUNCTION platform.is_currency(currency character varying)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select currency = any(string_to_array(
    'AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CLP CNY COP '
    'CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD JOD JPY '
    'KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK '
    'NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS TND TOP '
    'TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW', ' '))
$function$;
alter function platform.is_currency(character varying) owner to fusion_platform;
revoke all on function platform.is_currency(character varying) from public;
grant execute on function platform.is_currency(character varying) to fusion_catalog, fusion_group_commerce, fusion_orders, fusion_payments;

-- function: platform.iso(timestamp with time zone)
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.iso(t timestamp with time zone)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select to_char(t at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$function$;
alter function platform.iso(timestamp with time zone) owner to fusion_platform;
revoke all on function platform.iso(timestamp with time zone) from public;
grant execute on function platform.iso(timestamp with time zone) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_reader, fusion_search, fusion_shipping;

-- function: platform.keep_dead_letters(jsonb,jsonb)
-- src/db/platform/events.sql
CREATE OR REPLACE FUNCTION platform.keep_dead_letters(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenants text[];
begin
  perform platform.enter_as(call, '*');
  if exists (select from jsonb_array_elements(input->'messages') m
    join platform.tenant_moves v on v.id = m->>'tenant') then
    tenants := array(select distinct m->>'tenant' from jsonb_array_elements(input->'messages') m);
    if cardinality(tenants) > 1 then
      perform platform.fail('unavailable'); -- the Worker then stores each message alone
    end if;
    perform platform.refuse_away(tenants[1]);
  end if;
  insert into platform.dead_letters
    (id, tenant_id, sink, event_id, topic, key, seq, message, reason, attempts, created_at)
  select m->>'id', m->>'tenant', m->>'sink', m->>'eventId', m->>'topic', m->>'key', (m->>'seq')::bigint,
    m->'message', m->>'reason', (m->>'attempts')::int, platform.clock()
  from jsonb_array_elements(input->'messages') m
  on conflict (sink, event_id) where replayed_at is null do nothing;
  return jsonb_build_object('kept', jsonb_array_length(input->'messages'));
end
$function$;
alter function platform.keep_dead_letters(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.keep_dead_letters(jsonb,jsonb) from public;
grant execute on function platform.keep_dead_letters(jsonb,jsonb) to fusion_worker;

-- function: platform.keep_stripe_account(character varying,character varying,boolean)
-- src/db/platform/stripe-accounts.sql
CREATE OR REPLACE FUNCTION platform.keep_stripe_account(tenant character varying, account character varying, is_enabled boolean)
 RETURNS character varying
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  update platform.tenants t
  set stripe_account = case when is_enabled then account end, stripe_pending = case when not is_enabled then account end,
      version = platform.next_version(t.version), updated_at = platform.clock()
  where t.id = tenant and t.stripe_account is null and coalesce(t.stripe_pending, account) = account
    and (t.stripe_pending is null or is_enabled);
  return (select coalesce(t.stripe_account, t.stripe_pending) from platform.tenants t where t.id = tenant);
end
$function$;
alter function platform.keep_stripe_account(character varying,character varying,boolean) owner to fusion_platform;
revoke all on function platform.keep_stripe_account(character varying,character varying,boolean) from public;

-- function: platform.key_json(platform.api_keys)
-- src/db/platform/api-keys.sql
CREATE OR REPLACE FUNCTION platform.key_json(k platform.api_keys)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', k.id, 'prefix', k.prefix, 'kind', k.kind, 'name', k.name, 'scopes', k.scopes,
    'origins', k.origins, 'createdAt', platform.iso(k.created_at), 'expiresAt', platform.iso(k.expires_at),
    'revokedAt', platform.iso(k.revoked_at))
$function$;
alter function platform.key_json(platform.api_keys) owner to fusion_platform;
revoke all on function platform.key_json(platform.api_keys) from public;

-- function: platform.key_of_live_token(text,text)
-- src/db/platform/live-tokens.sql
CREATE OR REPLACE FUNCTION platform.key_of_live_token(token text, campaign text)
 RETURNS platform.api_keys
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  parts constant text[] := string_to_array(token, '_'); -- lt, key, expiry, signature
  api_key platform.api_keys;
begin
  if parts[3] ~ '^[0-9]{10}$' and sha256(convert_to(parts[4], 'UTF8'))
    = sha256(convert_to(platform.sign_live_token(parts[2], campaign, parts[3]), 'UTF8')) then
    perform set_config('app.live_key', parts[2], true); -- read by the policy key_of_live_token
    select * into api_key from platform.api_keys where id = parts[2]
      and to_timestamp(parts[3]::bigint) > platform.clock();
  end if;
  return api_key;
end
$function$;
alter function platform.key_of_live_token(text,text) owner to fusion_platform;
revoke all on function platform.key_of_live_token(text,text) from public;

-- function: platform.key_of_session(text)
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.key_of_session(token_hash text)
 RETURNS platform.api_keys
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_populate_record(null::platform.api_keys, jsonb_build_object('id', s.customer_id, 'tenant_id', s.tenant_id,
    'kind', 'session', 'scopes', array['catalog:read', 'campaigns:read'], 'expires_at', s.expires_at,
    'away', exists (select from platform.tenant_moves m where m.id = s.tenant_id)))
  from platform.customer_sessions s where s.token_hash = key_of_session.token_hash
$function$;
alter function platform.key_of_session(text) owner to fusion_platform;
revoke all on function platform.key_of_session(text) from public;

-- function: platform.key_page(character varying,integer)
-- src/db/platform/api-keys.sql
CREATE OR REPLACE FUNCTION platform.key_page(before character varying, most integer)
 RETURNS SETOF jsonb
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select platform.key_json(k) from platform.api_keys k
  where k.tenant_id = (select platform.proven_tenant('keys:read')) and (before is null or k.id < before)
  order by k.tenant_id, k.id desc limit most
$function$;
alter function platform.key_page(character varying,integer) owner to fusion_platform;
revoke all on function platform.key_page(character varying,integer) from public;
grant execute on function platform.key_page(character varying,integer) to fusion_reader;

-- function: platform.keys_set_aside(character varying)
-- src/db/platform/set-aside.sql
CREATE OR REPLACE FUNCTION platform.keys_set_aside(job character varying)
 RETURNS text[]
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select array(
    select d.event_id::text from platform.dead_letters d
    where d.sink = job and d.replayed_at is null and d.retry_at > platform.clock() limit 10000)
$function$;
alter function platform.keys_set_aside(character varying) owner to fusion_platform;
revoke all on function platform.keys_set_aside(character varying) from public;
grant execute on function platform.keys_set_aside(character varying) to fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_shipping;

-- function: platform.keys_to_retry(character varying,integer)
-- src/db/platform/set-aside.sql
CREATE OR REPLACE FUNCTION platform.keys_to_retry(job character varying, max_keys integer)
 RETURNS text[]
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select array(
    select d.event_id::text from platform.dead_letters d
    where d.sink = job and d.replayed_at is null and d.retry_at <= platform.clock() order by d.retry_at limit max_keys)
$function$;
alter function platform.keys_to_retry(character varying,integer) owner to fusion_platform;
revoke all on function platform.keys_to_retry(character varying,integer) from public;
grant execute on function platform.keys_to_retry(character varying,integer) to fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_shipping;

-- function: platform.least_charge(character varying)
-- src/db/platform/currencies.sql
CREATE OR REPLACE FUNCTION platform.least_charge(currency character varying)
 RETURNS numeric
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when currency in ('AUD', 'BRL', 'CAD', 'CHF', 'EUR', 'INR', 'NZD', 'SGD', 'USD') then 0.5
    when currency in ('AED', 'MYR', 'PLN', 'RON') then 2 when currency in ('NOK', 'SEK') then 3
    when currency in ('MXN', 'THB') then 10 when currency = 'JPY' then 50 when currency = 'GBP' then 0.3
    when currency = 'BGN' then 1 when currency = 'DKK' then 2.5 when currency = 'HKD' then 4 when currency = 'CZK' then 15
    when currency = 'HUF' then 175 when platform.currency_decimals(currency) = 0 then 1 else 0.01 end
$function$;
alter function platform.least_charge(character varying) owner to fusion_platform;
revoke all on function platform.least_charge(character varying) from public;
grant execute on function platform.least_charge(character varying) to fusion_catalog, fusion_group_commerce, fusion_orders, fusion_payments;

-- function: platform.leave(jsonb,text,jsonb)
-- src/db/platform/idempotency.sql
CREATE OR REPLACE FUNCTION platform.leave(call jsonb, operation text, answer jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if call ? 'idempotencyKey' then
    insert into platform.idempotency (tenant_id, operation, key, request_hash, answer, created_at)
    values (platform.tenant(), concat(operation, platform.shopper_mark()), call->>'idempotencyKey',
      call->>'requestHash', answer, platform.clock());
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'answer', answer, 'replayed', false);
end
$function$;
alter function platform.leave(jsonb,text,jsonb) owner to fusion_platform;
revoke all on function platform.leave(jsonb,text,jsonb) from public;
grant execute on function platform.leave(jsonb,text,jsonb) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_shipping;

-- function: platform.letter_json(platform.dead_letters)
-- src/db/platform/events.sql
CREATE OR REPLACE FUNCTION platform.letter_json(d platform.dead_letters)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', d.id, 'sink', d.sink, 'eventId', d.event_id, 'topic', d.topic, 'key', d.key,
    'message', d.message, 'reason', d.reason, 'attempts', d.attempts, 'createdAt', platform.iso(d.created_at),
    'replayedAt', platform.iso(d.replayed_at))
$function$;
alter function platform.letter_json(platform.dead_letters) owner to fusion_platform;
revoke all on function platform.letter_json(platform.dead_letters) from public;
grant execute on function platform.letter_json(platform.dead_letters) to fusion_reader;

-- function: platform.live_token(jsonb,text,timestamp with time zone)
-- src/db/platform/live-tokens.sql
CREATE OR REPLACE FUNCTION platform.live_token(call jsonb, campaign text, until timestamp with time zone)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'campaigns:read');
  expires constant bigint := floor(extract(epoch from least(until, api_key.expires_at)));
begin
  return jsonb_build_object('expiresAt', platform.iso(to_timestamp(expires)),
    'token', concat_ws('_', 'lt', api_key.id, expires, platform.sign_live_token(api_key.id, campaign, expires::text)));
end
$function$;
alter function platform.live_token(jsonb,text,timestamp with time zone) owner to fusion_platform;
revoke all on function platform.live_token(jsonb,text,timestamp with time zone) from public;
grant execute on function platform.live_token(jsonb,text,timestamp with time zone) to fusion_group_commerce;

-- function: platform.lock_rows_to_deliver(character varying,integer,bigint[])
-- src/db/platform/deliverable-rows.sql
CREATE OR REPLACE FUNCTION platform.lock_rows_to_deliver(of_sink character varying, max_rows integer, skipped_seqs bigint[], OUT deliverable bigint[], OUT are_held boolean)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
declare
  now_at constant timestamptz := platform.clock();
  seqs bigint[];
  keys varchar[];
  blocked_keys varchar[];
  blocker_seqs bigint[];
  last_due timestamptz := '-infinity';
  last_seq bigint := 0;
  window_size integer := max_rows;
  blocker record;
begin
  deliverable := '{}';
  are_held := false;
  -- Blocked rows can fill a window. The next window may have rows of other keys.
  for attempt in 1..20 loop
    select array_agg(w.seq order by w.due_at, w.seq), array_agg(w.key order by w.due_at, w.seq), max(w.due_at)
    into seqs, keys, last_due
    from (
      select o.seq, o.key, o.due_at from platform.outbox o
      where o.sink = of_sink and o.due_at <= now_at and (o.due_at, o.seq) > (last_due, last_seq)
        and o.seq <> all(skipped_seqs)
      order by o.due_at, o.seq limit window_size for update skip locked
    ) w;
    exit when seqs is null;
    last_seq := seqs[cardinality(seqs)];
    blocked_keys := '{}';
    blocker_seqs := '{}';
    -- A separate statement: it sees everything that was committed until now, so that no new blocker is missed.
    for blocker in
      select k.key, e.seq, e.due_at, e.lease
      from (select u.key, max(u.seq) as last from unnest(seqs, keys) u(seq, key) group by u.key) k
      cross join lateral (
        select o.seq, o.due_at, o.lease from platform.outbox o
        where o.sink = of_sink and o.key = k.key and o.seq < k.last and o.seq <> all(seqs) and o.seq <> all(deliverable)
        order by o.seq limit 1
      ) e
    loop
      blocked_keys := blocked_keys || blocker.key;
      blocker_seqs := blocker_seqs || blocker.seq;
      -- Rows behind a failed row wait as long as that row. Otherwise each run would read them in vain.
      if blocker.lease is null and blocker.due_at > now_at then
        begin
          update platform.outbox o set due_at = blocker.due_at
          where o.sink = of_sink
            and o.seq = any(array(select u.seq from unnest(seqs, keys) u(seq, key) where u.key = blocker.key
              and u.seq > blocker.seq));
        exception when others then
          -- A row that cannot be updated is read again in each run.
          if sqlstate in ('40001', '40P01', '55P03') then
            raise;
          end if;
        end;
      elsif blocker.seq <> all(skipped_seqs) then
        are_held := true;
      end if;
    end loop;
    if cardinality(blocked_keys) > 0 then
      seqs := array(
        select u.seq from unnest(seqs, keys) u(seq, key)
        where not exists (select from unnest(blocked_keys, blocker_seqs) x(key, seq) where x.key = u.key
          and x.seq < u.seq));
    end if;
    deliverable := deliverable || seqs;
    exit when cardinality(keys) < window_size or cardinality(deliverable) >= max_rows;
    window_size := max_rows - cardinality(deliverable);
  end loop;
end
$function$;
alter function platform.lock_rows_to_deliver(character varying,integer,bigint[]) owner to fusion_platform;
revoke all on function platform.lock_rows_to_deliver(character varying,integer,bigint[]) from public;

-- function: platform.most_charge(character varying)
-- src/db/platform/currencies.sql
CREATE OR REPLACE FUNCTION platform.most_charge(currency character varying)
 RETURNS numeric
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when currency in ('ISK', 'UGX') then 999999 when platform.currency_decimals(currency) = 0 then 99999999
    when currency in ('BHD', 'JOD', 'KWD', 'OMR', 'TND') then 99999.99 else 999999.99 end
$function$;
alter function platform.most_charge(character varying) owner to fusion_platform;
revoke all on function platform.most_charge(character varying) from public;
grant execute on function platform.most_charge(character varying) to fusion_catalog, fusion_group_commerce, fusion_orders, fusion_payments;

-- function: platform.next_version(integer)
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.next_version(version integer)
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when version < 2147483647 then version + 1 else 2 end
$function$;
alter function platform.next_version(integer) owner to fusion_platform;
revoke all on function platform.next_version(integer) from public;
grant execute on function platform.next_version(integer) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.note_failed_row(jsonb,jsonb)
-- src/db/platform/set-aside.sql
CREATE OR REPLACE FUNCTION platform.note_failed_row(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform platform.enter_as(call, input->>'tenant');
  perform platform.set_aside(input->>'job', array[input->>'key'], input->>'reason', input->>'subject');
  if (input->>'untilReplayed')::boolean then
    update platform.dead_letters d set retry_at = 'infinity'
    where d.sink = input->>'job' and d.event_id = input->>'key' and d.replayed_at is null;
  end if;
  return '{}';
end
$function$;
alter function platform.note_failed_row(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.note_failed_row(jsonb,jsonb) from public;
grant execute on function platform.note_failed_row(jsonb,jsonb) to fusion_worker;

-- function: platform.open_session(character varying,character varying,timestamp with time zone)
-- src/db/platform/customer-sessions.sql
CREATE OR REPLACE FUNCTION platform.open_session(token_hash character varying, customer_id character varying, until timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  insert into platform.customer_sessions (token_hash, tenant_id, customer_id, created_at, expires_at)
  values (open_session.token_hash, platform.tenant(), open_session.customer_id, platform.clock(),
    least(platform.clock() + interval '1 hour', open_session.until)) -- `least` ignores a null
  returning expires_at
$function$;
alter function platform.open_session(character varying,character varying,timestamp with time zone) owner to fusion_platform;
revoke all on function platform.open_session(character varying,character varying,timestamp with time zone) from public;
grant execute on function platform.open_session(character varying,character varying,timestamp with time zone) to fusion_orders;

-- function: platform.open_stripe_account(jsonb,jsonb)
-- src/db/platform/stripe-accounts.sql
CREATE OR REPLACE FUNCTION platform.open_stripe_account(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'tenant:write', 'tenant.stripeAccount');
begin
  if replay is not null then
    return replay;
  end if;
  return (select jsonb_build_object('tenant', t.id, 'replayed', false, 'answer', jsonb_build_object(
      'account', coalesce(t.stripe_account, t.stripe_pending), 'storefrontUrl', t.storefront_url, 'country', t.country))
    from platform.tenants t where t.id = platform.tenant());
end
$function$;
alter function platform.open_stripe_account(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.open_stripe_account(jsonb,jsonb) from public;
grant execute on function platform.open_stripe_account(jsonb,jsonb) to fusion_worker;

-- function: platform.process_relay_rows(character varying,text,bigint[],jsonb)
-- src/db/platform/relay.sql
CREATE OR REPLACE FUNCTION platform.process_relay_rows(of_sink character varying, step text, seqs bigint[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  outbox_row platform.outbox;
  failed_keys varchar[] := '{}';
  events jsonb := '[]';
  step_events jsonb;
  bytes_left bigint := (input->>'bytes')::bigint;
  error_state text;
  violated_constraint text;
begin
  begin
    return jsonb_build_object('events', platform.relay_step(of_sink, step, seqs, input), 'aside', 0);
  exception when others then
    if sqlstate in ('40001', '40P01', '55P03') then
      raise;
    end if;
  end;
  for outbox_row in select * from platform.outbox x where x.sink = of_sink and x.seq = any(seqs) order by x.seq loop
    continue when step = 'lease' and outbox_row.key = any(failed_keys);
    exit when bytes_left <= 0;
    begin
      step_events := platform.relay_step(of_sink, step, array[outbox_row.seq], input
        || jsonb_build_object('bytes', bytes_left));
      events := events || step_events;
      if step = 'lease' then
        bytes_left := bytes_left - octet_length(step_events->0->>'payload');
      end if;
    exception when others then
      get stacked diagnostics error_state = returned_sqlstate, violated_constraint = constraint_name;
      if error_state in ('40001', '40P01', '55P03') then
        raise;
      end if;
      failed_keys := failed_keys || outbox_row.key;
      perform platform.set_outbox_row_aside(outbox_row,
        btrim(format('SQLSTATE %s %s', error_state, violated_constraint)));
    end;
  end loop;
  return jsonb_build_object('events', events, 'aside', cardinality(failed_keys));
end
$function$;
alter function platform.process_relay_rows(character varying,text,bigint[],jsonb) owner to fusion_platform;
revoke all on function platform.process_relay_rows(character varying,text,bigint[],jsonb) from public;

-- function: platform.process_rows(character varying,text,character varying,text[],jsonb)
-- src/db/platform/set-aside.sql
CREATE OR REPLACE FUNCTION platform.process_rows(job character varying, step text, tenant character varying, keys text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  result jsonb;
  error_state text;
  violated_constraint text;
  lock_timeouts constant integer := coalesce(nullif(current_setting('app.locked', true), ''), '0')::int;
  half integer;
begin
  if cardinality(keys) = 0 or lock_timeouts > 5
    or tenant = any(string_to_array(current_setting('app.away', true), ' ')) then -- the tenant is on its way
    return '[]';
  end if;
  begin
    perform platform.act_as(tenant), set_config('lock_timeout', '500ms', true);
    execute format('select %s($1, $2)', step) into result using keys, input;
    set constraints all immediate;
    perform platform.clear_set_aside(job, keys);
    return jsonb_build_array(result);
  exception when others then
    get stacked diagnostics error_state = returned_sqlstate, violated_constraint = constraint_name;
    if error_state in ('40001', '40P01') then
      raise; -- the Worker repeats the whole call
    end if;
  end;
  perform platform.act_as(tenant);
  if error_state = '55P03' then
    perform set_config('app.locked', (lock_timeouts + 1)::text, true);
  end if;
  if cardinality(keys) = 1 then
    if error_state <> '55P03' then
      perform platform.set_aside(job, keys, btrim(format('SQLSTATE %s %s', error_state, violated_constraint)));
    end if;
    return '[]';
  end if;
  half := cardinality(keys) / 2;
  return platform.process_rows(job, step, tenant, keys[1:half], input)
    || platform.process_rows(job, step, tenant, keys[half + 1:], input);
end
$function$;
alter function platform.process_rows(character varying,text,character varying,text[],jsonb) owner to fusion_platform;
revoke all on function platform.process_rows(character varying,text,character varying,text[],jsonb) from public;
grant execute on function platform.process_rows(character varying,text,character varying,text[],jsonb) to fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_shipping;

-- function: platform.proven_tenant(text[])
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.proven_tenant(VARIADIC scopes text[])
 RETURNS character varying
 LANGUAGE plpgsql
 STABLE PARALLEL RESTRICTED SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  proof constant text[] := string_to_array(current_setting('app.proof', true), ' '); -- tenant, scope, signature
begin
  if proof[2] = any(scopes) and sha256(convert_to(proof[3], 'UTF8'))
    = sha256(convert_to(platform.sign(proof[1], proof[2]), 'UTF8')) then
    return proof[1];
  end if;
  return null;
end
$function$;
alter function platform.proven_tenant(text[]) owner to fusion_platform;
revoke all on function platform.proven_tenant(text[]) from public;
grant execute on function platform.proven_tenant(text[]) to fusion_reader, fusion_search, fusion_shipping;

-- function: platform.purge(jsonb,jsonb)
-- src/db/platform/set-aside.sql
CREATE OR REPLACE FUNCTION platform.purge(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
declare
  tenant varchar;
  failed_tenants text[];
  violated_constraint text;
  purged bigint := 0;
begin
  perform platform.enter_as(call, '*');
  failed_tenants := platform.keys_set_aside('purge') || platform.keys_to_retry('purge', 1000);
  begin
    purged := platform.purge_rows((input->>'limit')::int);
    perform platform.clear_set_aside('purge', failed_tenants);
    return jsonb_build_object('purged', purged);
  exception when others then
    if sqlstate in ('40001', '40P01') then
      raise;
    end if;
  end;
  -- A row of one tenant cannot be deleted. Each tenant is tried alone, so that the others' rows are deleted.
  failed_tenants := platform.keys_set_aside('purge');
  for tenant in select t.id from platform.tenants t
    where t.id <> all(failed_tenants) and t.id <> all(string_to_array(current_setting('app.away'), ' ')) order by t.id
  loop
    begin
      perform platform.act_as(tenant);
      purged := purged + platform.purge_rows((input->>'limit')::int);
      perform platform.clear_set_aside('purge', array[tenant::text]);
    exception when others then
      get stacked diagnostics violated_constraint = constraint_name;
      perform platform.act_as(tenant);
      perform platform.set_aside('purge', array[tenant::text],
        btrim(format('SQLSTATE %s %s', sqlstate, violated_constraint)));
    end;
  end loop;
  return jsonb_build_object('purged', purged);
end
$function$;
alter function platform.purge(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.purge(jsonb,jsonb) from public;
grant execute on function platform.purge(jsonb,jsonb) to fusion_worker;

-- function: platform.purge_rows(integer)
-- src/db/platform/set-aside.sql
CREATE OR REPLACE FUNCTION platform.purge_rows(most integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
declare
  idempotency_rows bigint;
  inbox_rows bigint;
  session_rows bigint;
begin
  delete from platform.idempotency where ctid = any(array(
    select ctid from platform.idempotency where created_at <= platform.clock() - interval '24 hours'
      and tenant_id <> all(string_to_array(current_setting('app.away'), ' '))
    order by created_at limit most for update skip locked));
  get diagnostics idempotency_rows = row_count;
  delete from platform.inbox where ctid = any(array(
    select ctid from platform.inbox where applied_at <= platform.clock() - interval '30 days'
      and tenant_id <> all(string_to_array(current_setting('app.away'), ' '))
    order by applied_at limit most for update skip locked));
  get diagnostics inbox_rows = row_count;
  delete from platform.customer_sessions where ctid = any(array(
    select ctid from platform.customer_sessions where expires_at <= platform.clock()
      and tenant_id <> all(string_to_array(current_setting('app.away'), ' '))
    order by expires_at limit most for update skip locked));
  get diagnostics session_rows = row_count;
  return idempotency_rows + inbox_rows + session_rows;
end
$function$;
alter function platform.purge_rows(integer) owner to fusion_platform;
revoke all on function platform.purge_rows(integer) from public;

-- function: platform.read_oidc(jsonb,jsonb)
-- src/db/platform/customer-sessions.sql
CREATE OR REPLACE FUNCTION platform.read_oidc(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'customers:write', '{publishable}');
begin
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', jsonb_build_object('oidc',
    (select t.oidc from platform.tenants t where t.id = api_key.tenant_id)));
end
$function$;
alter function platform.read_oidc(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.read_oidc(jsonb,jsonb) from public;
grant execute on function platform.read_oidc(jsonb,jsonb) to fusion_worker;

-- function: platform.read_storefront()
-- src/db/platform/tenants.sql
CREATE OR REPLACE FUNCTION platform.read_storefront()
 RETURNS jsonb
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select jsonb_build_object('name', t.name, 'country', t.country, 'currency', t.currency,
    'pricesIncludeTax', t.prices_include_tax, 'links', t.links, 'stripeAccount', t.stripe_account)
  from platform.tenants t where t.id = platform.proven_tenant('catalog:read')
$function$;
alter function platform.read_storefront() owner to fusion_platform;
revoke all on function platform.read_storefront() from public;
grant execute on function platform.read_storefront() to fusion_reader;

-- function: platform.read_tenant()
-- src/db/platform/tenants.sql
CREATE OR REPLACE FUNCTION platform.read_tenant()
 RETURNS jsonb
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select platform.tenant_json(t) from platform.tenants t where t.id = platform.proven_tenant('tenant:read')
$function$;
alter function platform.read_tenant() owner to fusion_platform;
revoke all on function platform.read_tenant() from public;
grant execute on function platform.read_tenant() to fusion_reader;

-- function: platform.record_stripe_account(jsonb,jsonb)
-- src/db/platform/stripe-accounts.sql
CREATE OR REPLACE FUNCTION platform.record_stripe_account(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'tenant:write', 'tenant.stripeAccount');
  account varchar;
begin
  if replay is not null then
    return replay;
  end if;
  account := platform.keep_stripe_account(platform.tenant(), input->>'account', (input->>'isEnabled')::boolean);
  if account <> input->>'account' then
    return jsonb_build_object('tenant', platform.tenant(), 'replayed', false,
      'answer', jsonb_build_object('account', account));
  end if;
  return platform.leave(call, 'tenant.stripeAccount', jsonb_build_object('account', account, 'url', input->'url',
    'expiresAt', input->'expiresAt'));
end
$function$;
alter function platform.record_stripe_account(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.record_stripe_account(jsonb,jsonb) from public;
grant execute on function platform.record_stripe_account(jsonb,jsonb) to fusion_worker;

-- function: platform.refuse_away(character varying,text)
-- src/db/platform/moves.sql
CREATE OR REPLACE FUNCTION platform.refuse_away(tenant character varying, scope text DEFAULT ''::text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  move platform.tenant_moves;
begin
  select * into move from platform.tenant_moves m where m.id = tenant;
  if move.id is null or (move.state = 'moving' and scope like '%:read') then
    return;
  end if;
  if move.state = 'moved' then
    perform platform.fail('moved', jsonb_strip_nulls(jsonb_build_object('tenant', tenant,
      'cell', nullif(move.cell, 'default'))));
  end if;
  perform platform.fail('unavailable', jsonb_build_object('tenant', tenant, 'reason',
    'This tenant is being moved to another database. Repeat the request in a moment, with the same Idempotency-Key.'));
end
$function$;
alter function platform.refuse_away(character varying,text) owner to fusion_platform;
revoke all on function platform.refuse_away(character varying,text) from public;
grant execute on function platform.refuse_away(character varying,text) to fusion_group_commerce, fusion_payments, fusion_shipping;

-- function: platform.reject_change_while_away()
-- src/db/platform/moves.sql
CREATE OR REPLACE FUNCTION platform.reject_change_while_away()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant constant varchar := coalesce(to_jsonb(new), to_jsonb(old))->>tg_argv[0];
  move platform.tenant_moves;
begin
  select * into move from platform.tenant_moves m where m.id = tenant;
  if found and current_setting('app.copying', true) is distinct from 'on' then
    raise exception 'the tenant % is not served by this cell (%: %)', tenant, move.state, move.cell
      using errcode = 'object_not_in_prerequisite_state', hint = case move.state
        when 'moved' then format('Make the change in the cell %1$s (npm run keys -- --cell %1$s …).', move.cell)
        else 'Finish the move first: npm run cells -- list' end;
  end if;
  return coalesce(new, old);
end
$function$;
alter function platform.reject_change_while_away() owner to fusion_platform;
revoke all on function platform.reject_change_while_away() from public;

-- function: platform.relay(jsonb,jsonb)
-- src/db/platform/relay.sql
CREATE OR REPLACE FUNCTION platform.relay(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  turn jsonb;
  answer jsonb := '{}';
begin
  -- No tenant is skipped: the rows of one that moves are copied once its events are delivered.
  perform platform.enter_as(call, '*'), set_config('app.away', '', true);
  -- If the database crashes, only the changes of this call can be lost. Its rows are then delivered again, as after the
  -- crash of a relay.
  if not coalesce((input->>'durable')::boolean, false) then
    perform set_config('synchronous_commit', 'off', true);
  end if;
  if input ? 'sink' then
    return platform.relay_sink(input);
  end if;
  for turn in select jsonb_array_elements(input->'sinks') loop
    answer := answer || jsonb_build_object(turn->>'sink', platform.relay_sink(turn));
  end loop;
  return answer;
end
$function$;
alter function platform.relay(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.relay(jsonb,jsonb) from public;
grant execute on function platform.relay(jsonb,jsonb) to fusion_worker;

-- function: platform.relay_sink(jsonb)
-- src/db/platform/relay.sql
CREATE OR REPLACE FUNCTION platform.relay_sink(input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  of_sink constant varchar := input->>'sink';
  returned bigint[] := array(select jsonb_array_elements_text(input->'returned')::bigint);
  skipped_seqs bigint[];
  leasable bigint[] := '{}';
  are_held boolean := false;
  paused_ms numeric;
  failed_rows integer := 0;
  leased jsonb;
begin
  if jsonb_array_length(input->'delivered') > 0 then
    failed_rows := (platform.process_relay_rows(of_sink, 'delivered',
      array(select jsonb_array_elements_text(input->'delivered')::bigint), input)->>'aside')::int;
  end if;
  if jsonb_array_length(input->'failed') > 0 then
    failed_rows := failed_rows + (platform.process_relay_rows(of_sink, 'failed',
      array(select (x->>'seq')::bigint from jsonb_array_elements(input->'failed') x), input)->>'aside')::int;
  end if;
  -- Rows that this relay leased but does not report: the response with them was lost.
  if (input->>'lost')::boolean then
    returned := returned || array(select o.seq from platform.outbox o
      where o.sink = of_sink and o.due_at > platform.clock() and o.lease = input->>'lease');
  end if;
  if cardinality(returned) > 0 then
    failed_rows := failed_rows + (platform.process_relay_rows(of_sink, 'returned', returned, input)->>'aside')::int;
  end if;
  -- Relays that find the sink unavailable at the same time count as one failure.
  if (input->>'paused')::boolean then
    update platform.sinks s
    set failures = s.failures + 1,
        paused_until = platform.clock() + make_interval(secs => least(power(2, least(s.failures, 6)), 60))
    where s.sink = of_sink and s.paused_until <= platform.clock();
  end if;

  select coalesce((select extract(epoch from s.paused_until - platform.clock()) * 1000 from platform.sinks s
      where s.sink = of_sink and s.paused_until > platform.clock()), 0),
    array(select split_part(k, ' ', 2)::bigint from unnest(platform.keys_set_aside('relay')) k
      where split_part(k, ' ', 1) = of_sink)
  into paused_ms, skipped_seqs;
  if paused_ms = 0 and (input->>'limit')::int > 0 then
    select r.deliverable, r.are_held into leasable, are_held
    from platform.lock_rows_to_deliver(of_sink, (input->>'limit')::int, skipped_seqs) r;
  end if;
  if cardinality(leasable) = 0 then
    return jsonb_build_object('events', '[]'::jsonb, 'pausedMs', ceil(paused_ms), 'aside', failed_rows,
      'areHeld', are_held);
  end if;
  leased := platform.process_relay_rows(of_sink, 'lease', leasable, input);
  return jsonb_build_object('events', leased->'events', 'pausedMs', 0, 'aside', failed_rows + (leased->>'aside')::int,
    'areHeld', are_held);
end
$function$;
alter function platform.relay_sink(jsonb) owner to fusion_platform;
revoke all on function platform.relay_sink(jsonb) from public;

-- function: platform.relay_step(character varying,text,bigint[],jsonb)
-- src/db/platform/relay.sql
CREATE OR REPLACE FUNCTION platform.relay_step(of_sink character varying, step text, seqs bigint[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  item jsonb;
  outbox_row platform.outbox;
  events jsonb := '[]';
  found_events integer;
begin
  case step
  when 'delivered' then
    with delivered as (
      delete from platform.outbox o where o.sink = of_sink and o.seq = any(seqs) returning o.seq
    )
    update platform.sinks s set failures = 0, paused_until = '-infinity'
    where s.sink = of_sink and s.failures > 0 and exists (select from delivered);
  when 'failed' then
    for item in select x from jsonb_array_elements(input->'failed') x where (x->>'seq')::bigint = any(seqs) loop
      select * into outbox_row from platform.outbox o
      where o.sink = of_sink and o.seq = (item->>'seq')::bigint and o.lease = input->>'lease' for update;
      continue when not found; -- an earlier failure of its key changed it too, or its lease ended
      if (item->>'dead')::boolean then
        perform platform.add_dead_letter(outbox_row, item->>'error');
        delete from platform.outbox o where o.sink = of_sink and o.seq = outbox_row.seq;
      else
        -- All later rows of the key wait with it: 1, 2, 4 … 60 s.
        update platform.outbox o
        set attempts = o.attempts + (o.seq = outbox_row.seq)::int, last_error = item->>'error', lease = null,
            due_at = platform.clock() + make_interval(secs => least(power(2, least(outbox_row.attempts, 6)), 60))
        where o.sink = of_sink and o.key = outbox_row.key and o.seq >= outbox_row.seq;
      end if;
    end loop;
  when 'returned' then
    update platform.outbox o set lease = null, due_at = platform.clock()
    where o.sink = of_sink and o.seq = any(seqs) and o.lease = input->>'lease';
  when 'lease' then
    -- One lookup for each row, whatever the planner expects. A join could read all events.
    with sized as materialized (
      select e.*, sum(octet_length(e.payload::text)) over (order by e.seq) - octet_length(
        e.payload::text) as bytes_before
      from unnest(seqs) u(seq)
      cross join lateral (select o.tenant_id from platform.outbox o where o.sink = of_sink and o.seq = u.seq limit 1) o
      cross join lateral (
        select v.* from platform.events v where v.tenant_id = o.tenant_id and v.seq = u.seq limit 1
      ) e
    ), chosen as materialized (
      select * from sized z where z.bytes_before < (input->>'bytes')::bigint
    ), leased as (
      update platform.outbox o
      set lease = input->>'lease', due_at = platform.clock() + make_interval(secs => (input->>'seconds')::int)
      where o.sink = of_sink and o.seq = any(array(select c.seq from chosen c))
    )
    select coalesce(jsonb_agg(jsonb_build_object('seq', c.seq, 'id', c.id, 'topic', c.topic, 'key', c.key,
      'tenant', c.tenant_id, 'payload', c.payload, 'traceparent', c.traceparent, 'time', platform.iso(c.time))
      order by c.seq), '[]'), (select count(*) from sized) into events, found_events
    from chosen c;
    if found_events < cardinality(seqs) then
      raise exception using errcode = 'no_data_found', message = 'the event of an outbox row is missing';
    end if;
  end case;
  if step in ('delivered', 'failed') and exists (select from platform.dead_letters d
    where d.sink = 'relay' and d.replayed_at is null and d.retry_at <= platform.clock()) then
    perform platform.clear_set_aside('relay', array(select of_sink || ' ' || u from unnest(seqs) u));
  end if;
  return events;
end
$function$;
alter function platform.relay_step(character varying,text,bigint[],jsonb) owner to fusion_platform;
revoke all on function platform.relay_step(character varying,text,bigint[],jsonb) from public;

-- function: platform.replay_dead_letter(jsonb,jsonb)
-- src/db/platform/events.sql
CREATE OR REPLACE FUNCTION platform.replay_dead_letter(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'events:write', 'deadLetters.replay');
  dead_letter platform.dead_letters;
begin
  if replay is not null then
    return replay;
  end if;
  select * into dead_letter from platform.dead_letters d
    where d.tenant_id = platform.tenant() and d.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if dead_letter.retry_at is not null then
    if dead_letter.replayed_at is null then
      update platform.dead_letters d set retry_at = platform.clock() where d.id = dead_letter.id;
    end if;
    return platform.leave(call, 'deadLetters.replay', platform.letter_json(dead_letter));
  end if;
  if not exists (select from platform.events e
    where e.tenant_id = dead_letter.tenant_id and e.seq = dead_letter.seq and e.id::text = dead_letter.event_id) then
    perform platform.fail('conflict', jsonb_build_object('reason', 'This message is not an event of this system, so it cannot be replayed.'));
  end if;
  if dead_letter.replayed_at is null then
    insert into platform.outbox (sink, seq, tenant_id, key, due_at)
    values (case when dead_letter.sink = 'kafka' then 'kafka' else 'queue' end, dead_letter.seq, dead_letter.tenant_id,
      dead_letter.key, date_trunc('milliseconds', now()))
    on conflict on constraint outbox_once do nothing;
    -- Another tenant may have an event with this number that waits, if one of the two came from another cell.
    if not found and not exists (select from platform.outbox o where o.tenant_id = dead_letter.tenant_id
      and o.seq = dead_letter.seq) then
      perform platform.fail('unavailable');
    end if;
    update platform.dead_letters d set replayed_at = platform.clock() where d.id = dead_letter.id
      returning * into dead_letter;
  end if;
  return platform.leave(call, 'deadLetters.replay', platform.letter_json(dead_letter));
end
$function$;
alter function platform.replay_dead_letter(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.replay_dead_letter(jsonb,jsonb) from public;
grant execute on function platform.replay_dead_letter(jsonb,jsonb) to fusion_worker;

-- function: platform.report_problem(text,text,text,text,jsonb,text)
-- src/db/platform/set-aside.sql
CREATE OR REPLACE FUNCTION platform.report_problem(source text, id text, topic text, key text, message jsonb, reason text)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  insert into platform.dead_letters (id, tenant_id, sink, event_id, topic, key, message, reason, attempts, created_at)
  values (platform.uuid7(), platform.tenant(), source, report_problem.id, report_problem.topic, report_problem.key,
    report_problem.message, report_problem.reason, 1, platform.clock())
  on conflict (sink, event_id) where replayed_at is null do update
    set topic = excluded.topic, message = excluded.message, reason = excluded.reason
$function$;
alter function platform.report_problem(text,text,text,text,jsonb,text) owner to fusion_platform;
revoke all on function platform.report_problem(text,text,text,text,jsonb,text) from public;
grant execute on function platform.report_problem(text,text,text,text,jsonb,text) to fusion_payments;

-- function: platform.revoke_key(jsonb,jsonb)
-- src/db/platform/api-keys.sql
CREATE OR REPLACE FUNCTION platform.revoke_key(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'keys:write', 'keys.revoke');
  now_at constant timestamptz := platform.clock();
  checked record;
begin
  if replay is not null then
    return replay;
  end if;
  with locked as materialized (
    select k.id, k.key_hash, k.scopes, k.revoked_at, k.expires_at from platform.api_keys k
    where k.tenant_id = platform.tenant() and (k.id = input->>'id' or 'keys:write' = any(k.scopes))
    order by k.id for update
  ), administrators as (
    select l.id from locked l where 'keys:write' = any(l.scopes) and l.revoked_at is null
      and (l.expires_at is null or l.expires_at > now_at)
  )
  select (select a.revoked_at is not null from locked a where a.key_hash = call->>'keyHash') as is_caller_revoked,
    exists (select from locked l where l.id = input->>'id') as is_found,
    array(select a.id from administrators a) = array[(input->>'id')::varchar] as is_last
  into checked;
  if checked.is_caller_revoked then
    perform platform.fail('unauthenticated');
  end if;
  if not checked.is_found then
    perform platform.fail('not_found');
  end if;
  if checked.is_last then
    return platform.leave(call, 'keys.revoke', jsonb_build_object('error', 'conflict', 'detail',
      'This is the last valid key with the scope keys:write. Create another one first.'));
  end if;
  update platform.api_keys k set revoked_at = now_at where k.id = input->>'id' and k.revoked_at is null;
  return platform.leave(call, 'keys.revoke', '{}');
end
$function$;
alter function platform.revoke_key(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.revoke_key(jsonb,jsonb) from public;
grant execute on function platform.revoke_key(jsonb,jsonb) to fusion_worker;

-- function: platform.set_aside(character varying,text[],text,text)
-- src/db/platform/set-aside.sql
CREATE OR REPLACE FUNCTION platform.set_aside(job character varying, keys text[], reason text, subject text DEFAULT NULL::text)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  insert into platform.dead_letters as d
    (id, tenant_id, sink, event_id, topic, key, seq, message, reason, attempts, created_at, retry_at)
  select platform.uuid7(), platform.tenant(), job, k, '', coalesce(subject, k), null, '{}', set_aside.reason, 1,
    platform.clock(), platform.clock() + interval '1 minute'
  from (select distinct u from unnest(keys) u order by u) each(k)
  on conflict (sink, event_id) where replayed_at is null do update
    set attempts = d.attempts + 1, reason = excluded.reason,
        retry_at = platform.clock() + make_interval(mins => least(power(2, least(d.attempts, 6)), 60)::int)
$function$;
alter function platform.set_aside(character varying,text[],text,text) owner to fusion_platform;
revoke all on function platform.set_aside(character varying,text[],text,text) from public;
grant execute on function platform.set_aside(character varying,text[],text,text) to fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_shipping;

-- function: platform.set_outbox_row_aside(platform.outbox,text)
-- src/db/platform/relay.sql
CREATE OR REPLACE FUNCTION platform.set_outbox_row_aside(outbox_row platform.outbox, reason text)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  error_state text;
begin
  begin
    perform platform.act_as(outbox_row.tenant_id);
    perform platform.set_aside('relay', array[outbox_row.sink || ' ' || outbox_row.seq], reason, outbox_row.key);
  exception when others then
    error_state := sqlstate;
  end;
  perform platform.act_as('*');
  if error_state in ('40001', '40P01', '55P03') then
    raise exception using errcode = error_state; -- the Worker repeats the whole call
  end if;
  return error_state is null;
end
$function$;
alter function platform.set_outbox_row_aside(platform.outbox,text) owner to fusion_platform;
revoke all on function platform.set_outbox_row_aside(platform.outbox,text) from public;

-- procedure: platform.set_owner(name,name)
-- migrations/20261130092500_sort_lists_of_products.sql
CREATE OR REPLACE PROCEDURE platform.set_owner(IN service name, IN owner name)
 LANGUAGE plpgsql
AS $procedure$
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
$procedure$;
revoke all on procedure platform.set_owner(name,name) from public;

-- function: platform.set_trace(text)
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.set_trace(traceparent text)
 RETURNS void
 LANGUAGE sql
AS $function$
  select set_config('app.traceparent', coalesce(traceparent, ''), true)
$function$;
alter function platform.set_trace(text) owner to fusion_platform;
revoke all on function platform.set_trace(text) from public;
grant execute on function platform.set_trace(text) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.shopper()
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.shopper()
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select nullif(current_setting('app.shopper', true), '')::jsonb
$function$;
alter function platform.shopper() owner to fusion_platform;
revoke all on function platform.shopper() from public;
grant execute on function platform.shopper() to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.shopper_mark()
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.shopper_mark()
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select case when current_setting('app.shopper', true) <> '' then
    concat(' ', coalesce(platform.shopper()->>'customer', left(platform.shopper()->>'cartHash', 32), 'anyone')) end
$function$;
alter function platform.shopper_mark() owner to fusion_platform;
revoke all on function platform.shopper_mark() from public;

-- function: platform.sign(text,text)
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.sign(tenant text, scope text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
AS $function$
declare
  secrets platform.security;
begin
  select * into secrets from platform.security;
  return encode(sha256(secrets.outer_key || sha256(secrets.inner_key || convert_to(
    concat_ws(' ', tenant, scope, pg_backend_pid(), extract(epoch from transaction_timestamp())), 'UTF8'))), 'hex');
end
$function$;
alter function platform.sign(text,text) owner to fusion_platform;
revoke all on function platform.sign(text,text) from public;

-- function: platform.sign_live_token(text,text,text)
-- src/db/platform/live-tokens.sql
CREATE OR REPLACE FUNCTION platform.sign_live_token(key_id text, campaign text, expires text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select encode(sha256(s.outer_key || sha256(s.inner_key || convert_to(
    concat_ws(' ', 'live-token:', key_id, campaign, expires), 'UTF8'))), 'hex')
  from platform.security s
$function$;
alter function platform.sign_live_token(text,text,text) owner to fusion_platform;
revoke all on function platform.sign_live_token(text,text,text) from public;

-- function: platform.sinks_of(boolean)
-- src/db/platform/events.sql
CREATE OR REPLACE FUNCTION platform.sinks_of(queue boolean)
 RETURNS character varying[]
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when queue then '{kafka,queue}'::varchar[] else '{kafka}' end
$function$;
alter function platform.sinks_of(boolean) owner to fusion_platform;
revoke all on function platform.sinks_of(boolean) from public;
grant execute on function platform.sinks_of(boolean) to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.subjects_set_aside(text[])
-- src/db/platform/set-aside.sql
CREATE OR REPLACE FUNCTION platform.subjects_set_aside(jobs text[])
 RETURNS text[]
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select array(
    select distinct d.key::text from platform.dead_letters d
    where d.sink = any(jobs) and d.replayed_at is null and d.retry_at is not null limit 10000)
$function$;
alter function platform.subjects_set_aside(text[]) owner to fusion_platform;
revoke all on function platform.subjects_set_aside(text[]) from public;
grant execute on function platform.subjects_set_aside(text[]) to fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_shipping;

-- function: platform.tenant()
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.tenant()
 RETURNS character varying
 LANGUAGE sql
 STABLE
AS $function$
  select current_setting('app.tenant_id', true)
$function$;
alter function platform.tenant() owner to fusion_platform;
revoke all on function platform.tenant() from public;
grant execute on function platform.tenant() to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.tenant_currency()
-- src/db/platform/tenants.sql
CREATE OR REPLACE FUNCTION platform.tenant_currency()
 RETURNS character varying
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select t.currency from platform.tenants t where t.id = platform.tenant()
$function$;
alter function platform.tenant_currency() owner to fusion_platform;
revoke all on function platform.tenant_currency() from public;
grant execute on function platform.tenant_currency() to fusion_catalog;

-- function: platform.tenant_json(platform.tenants)
-- src/db/platform/tenants.sql
CREATE OR REPLACE FUNCTION platform.tenant_json(t platform.tenants)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', t.id, 'name', t.name, 'country', t.country, 'currency', t.currency,
    'pricesIncludeTax', t.prices_include_tax, 'taxProvider', t.tax_provider, 'shipFrom', t.ship_from,
    'parcel', t.parcel,
    'carrier', platform.carrier_json(t.carrier, t.carrier_credentials),
    'delayedPayments', t.delayed_payments, 'automaticLabels', t.automatic_labels, 'holdSeconds', t.hold_seconds, 'cartSeconds', t.cart_seconds,
    'approvalSeconds', t.approval_seconds, 'graceSeconds', t.grace_seconds, 'links', t.links,
    'storefrontUrl', t.storefront_url, 'oidc', t.oidc, 'stripeAccount', t.stripe_account, 'version', t.version)
$function$;
alter function platform.tenant_json(platform.tenants) owner to fusion_platform;
revoke all on function platform.tenant_json(platform.tenants) from public;

-- function: platform.tenants_with_rows(regclass,text)
-- src/db/platform/set-aside.sql
CREATE OR REPLACE FUNCTION platform.tenants_with_rows(source_table regclass, condition text)
 RETURNS SETOF character varying
 LANGUAGE plpgsql
 STABLE ROWS 100
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_sort TO 'off'
 SET enable_bitmapscan TO 'off'
AS $function$
begin
  return query execute format(
    'with recursive t(id) as (
      (select x.tenant_id from %1$s x where (%2$s) order by x.tenant_id limit 1)
      union all
      select (select x.tenant_id from %1$s x where (%2$s) and x.tenant_id > t.id order by x.tenant_id limit 1)
      from t where t.id is not null)
    select t.id from t where t.id is not null', source_table, condition);
end
$function$;
alter function platform.tenants_with_rows(regclass,text) owner to fusion_platform;
revoke all on function platform.tenants_with_rows(regclass,text) from public;
grant execute on function platform.tenants_with_rows(regclass,text) to fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_shipping;

-- function: platform.trace()
-- src/db/platform/events.sql
CREATE OR REPLACE FUNCTION platform.trace()
 RETURNS character varying
 LANGUAGE sql
 STABLE
AS $function$
  select nullif(current_setting('app.traceparent', true), '')
$function$;
alter function platform.trace() owner to fusion_platform;
revoke all on function platform.trace() from public;
grant execute on function platform.trace() to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: platform.trusts_issuer(character varying,character varying)
-- src/db/platform/customer-sessions.sql
CREATE OR REPLACE FUNCTION platform.trusts_issuer(issuer character varying, audience character varying)
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select coalesce((select t.oidc->>'issuer' = issuer and t.oidc->>'audience' = audience
    from platform.tenants t where t.id = platform.tenant()), false)
$function$;
alter function platform.trusts_issuer(character varying,character varying) owner to fusion_platform;
revoke all on function platform.trusts_issuer(character varying,character varying) from public;
grant execute on function platform.trusts_issuer(character varying,character varying) to fusion_orders;

-- function: platform.update_tenant(jsonb,jsonb)
-- src/db/platform/tenants.sql
CREATE OR REPLACE FUNCTION platform.update_tenant(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'tenant:write', 'tenant.update');
  change constant jsonb := input->'change';
  changed constant text[] := array(select jsonb_object_keys(change));
  tenant platform.tenants;
begin
  if replay is not null then
    return replay;
  end if;
  select * into tenant from platform.tenants t where t.id = platform.tenant() for no key update;
  if not input->'ifMatch' @> to_jsonb(tenant.version) then
    perform platform.fail('version_mismatch');
  end if;
  if 'shipFrom' = any(changed) then
    tenant.ship_from := nullif(change->'shipFrom', 'null');
  end if;
  if 'carrier' = any(changed) then
    tenant.carrier := change->'carrier'->>'name';
    tenant.carrier_credentials := platform.change_credentials(tenant.carrier_credentials, change->'carrier');
  end if;
  if tenant.carrier <> 'manual' and tenant.carrier_credentials::jsonb #>> array[tenant.carrier, 'apiKey'] is null then
    return platform.leave(call, 'tenant.update', '{"error": "validation_failed", "errors": [{"pointer":
      "/carrier/apiKey", "detail": "This carrier needs your API key"}]}');
  end if;
  if tenant.carrier <> 'manual' and tenant.ship_from is null then
    return platform.leave(call, 'tenant.update', '{"error": "validation_failed", "errors": [{"pointer": "/shipFrom",
      "detail": "This carrier needs the address of your sender"}]}');
  end if;
  update platform.tenants t
  set name = coalesce(change->>'name', t.name),
      country = case when 'country' = any(changed) then change->>'country' else t.country end,
      currency = case when 'currency' = any(changed) then change->>'currency' else t.currency end,
      prices_include_tax = coalesce((change->>'pricesIncludeTax')::boolean, t.prices_include_tax),
      tax_provider = coalesce(change->>'taxProvider', t.tax_provider),
      ship_from = tenant.ship_from, carrier = tenant.carrier, carrier_credentials = tenant.carrier_credentials,
      parcel = case when 'parcel' = any(changed) then nullif(change->'parcel', 'null') else t.parcel end,
      delayed_payments = coalesce((change->>'delayedPayments')::boolean, t.delayed_payments),
      automatic_labels = coalesce((change->>'automaticLabels')::boolean, t.automatic_labels),
      hold_seconds = case when 'holdSeconds' = any(changed) then (change->>'holdSeconds')::int else t.hold_seconds end,
      cart_seconds = case when 'cartSeconds' = any(changed) then (change->>'cartSeconds')::int else t.cart_seconds end,
      approval_seconds = case when 'approvalSeconds' = any(changed) then (change->>'approvalSeconds')::int
        else t.approval_seconds end,
      grace_seconds = case when 'graceSeconds' = any(changed) then (change->>'graceSeconds')::int
        else t.grace_seconds end,
      links = jsonb_strip_nulls(t.links || coalesce(change->'links', '{}')),
      storefront_url = case when 'storefrontUrl' = any(changed) then change->>'storefrontUrl' else t.storefront_url end,
      oidc = case when 'oidc' = any(changed) then nullif(change->'oidc', 'null') else t.oidc end,
      version = platform.next_version(t.version), updated_at = platform.clock()
  where t.id = tenant.id
  returning * into tenant;
  return platform.leave(call, 'tenant.update', platform.tenant_json(tenant));
end
$function$;
alter function platform.update_tenant(jsonb,jsonb) owner to fusion_platform;
revoke all on function platform.update_tenant(jsonb,jsonb) from public;
grant execute on function platform.update_tenant(jsonb,jsonb) to fusion_worker;

-- function: platform.uuid7()
-- src/db/platform/access.sql
CREATE OR REPLACE FUNCTION platform.uuid7()
 RETURNS character varying
 LANGUAGE sql
AS $function$
  select encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing
    substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1),
    'hex')::uuid::varchar
$function$;
alter function platform.uuid7() owner to fusion_platform;
revoke all on function platform.uuid7() from public;
grant execute on function platform.uuid7() to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_search, fusion_shipping;

-- function: shipping.account_json(character varying,boolean,character varying)
-- src/db/shipping/shipments.sql
CREATE OR REPLACE FUNCTION shipping.account_json(provider character varying, own_account boolean, tenant character varying)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('provider', provider, 'isOwn', own_account, 'credentials', case when own_account then
    (select t.carrier_credentials::jsonb -> provider::text from platform.tenants t where t.id = tenant) end)
$function$;
alter function shipping.account_json(character varying,boolean,character varying) owner to fusion_shipping;
revoke all on function shipping.account_json(character varying,boolean,character varying) from public;

-- function: shipping.add_recipient_name(jsonb,character varying)
-- src/db/shipping/shipments.sql
CREATE OR REPLACE FUNCTION shipping.add_recipient_name(address jsonb, customer_id character varying)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select case
    when address ? 'name' then address
    when address ? 'company' then (address - 'company') || jsonb_build_object('name', address->'company')
    else address || jsonb_build_object('name', customer_id) end
$function$;
alter function shipping.add_recipient_name(jsonb,character varying) owner to fusion_shipping;
revoke all on function shipping.add_recipient_name(jsonb,character varying) from public;

-- function: shipping.apply_tracking(jsonb,jsonb)
-- src/db/shipping/tracking.sql
CREATE OR REPLACE FUNCTION shipping.apply_tracking(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  -- The parcel of a cancelled shipment can still move: that is recorded and emitted, and its order stays cancelled.
  status_order constant text[] := array['created', 'cancelled', 'in_transit', 'delivered'];
  new_status constant varchar := input->>'status';
  away text[];
  shipment shipping.shipments;
  event_ids text[];
begin
  away := platform.enter_to_find(call);
  -- Carriers reuse a tracking number after months, so the latest shipment is meant.
  select * into shipment from shipping.shipments x
    where x.provider = input->>'carrier' and x.tracking_number = input->>'trackingNumber'
      and case when input ? 'tenant' then x.tenant_id = input->>'tenant' else not x.own_account end order by x.id desc limit 1;
  if not found then
    return jsonb_build_object('outcome', 'unknown');
  end if;
  if shipment.tenant_id = any(away) then
    perform platform.refuse_away(shipment.tenant_id);
  end if;
  perform platform.act_as(shipment.tenant_id);
  event_ids := array[concat_ws(' ', shipment.provider, shipment.tracking_number, input->>'eventId')];
  if cardinality(case when (input->>'undated')::boolean then platform.claim_undated_events('tracking', event_ids)
    else platform.claim_new_events('tracking', event_ids) end) = 0 then
    return jsonb_build_object('outcome', 'duplicate', 'tenant', shipment.tenant_id);
  end if;
  perform orders.lock_order(shipment.order_id);
  select * into shipment from shipping.shipments x where x.id = shipment.id;
  update shipping.shipments x
  set updated_at = platform.clock(), tracked_at = greatest(x.tracked_at, (input->>'occurredAt')::timestamptz),
      status = case when array_position(status_order, new_status) > array_position(status_order, x.status::text)
        then new_status else x.status end, exception = case when new_status = 'exception'
          then coalesce(input->>'detail', 'no details') else x.exception end
  where x.id = shipment.id;
  if new_status = 'exception' or array_position(status_order, new_status::text) > array_position(status_order,
    shipment.status::text) then
    perform platform.emit('shipping.status.changed', shipment.order_id, jsonb_build_object('orderId', shipment.order_id,
      'trackingNumber', shipment.tracking_number, 'status', new_status), false);
  end if;
  if new_status in ('in_transit', 'delivered') then
    if shipment.status = 'cancelled' then
      perform shipping.keep_cancelled(shipment);
    end if;
    perform orders.complete_shipping(shipment.order_id);
  end if;
  return jsonb_build_object('outcome', 'applied', 'tenant', shipment.tenant_id);
end
$function$;
alter function shipping.apply_tracking(jsonb,jsonb) owner to fusion_shipping;
revoke all on function shipping.apply_tracking(jsonb,jsonb) from public;
grant execute on function shipping.apply_tracking(jsonb,jsonb) to fusion_worker;

-- function: shipping.drop_refunded(shipping.label_requests)
-- src/db/shipping/label-requests.sql
CREATE OR REPLACE FUNCTION shipping.drop_refunded(r shipping.label_requests)
 RETURNS shipping.label_requests
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  r.quantities := orders.drop_refunded(r.order_id, r.quantities);
  if r.quantities is null then
    return shipping.end_empty_request(r);
  end if;
  update shipping.label_requests x set quantities = r.quantities
  where x.shipment_id = r.shipment_id and x.quantities <> r.quantities;
  return r;
end
$function$;
alter function shipping.drop_refunded(shipping.label_requests) owner to fusion_shipping;
revoke all on function shipping.drop_refunded(shipping.label_requests) from public;

-- function: shipping.end_empty_request(shipping.label_requests)
-- src/db/shipping/label-requests.sql
CREATE OR REPLACE FUNCTION shipping.end_empty_request(r shipping.label_requests)
 RETURNS shipping.label_requests
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if r.status = 'open' and r.attempts > 0 then
    perform shipping.request_void(r, null);
  end if;
  r.status := 'ended';
  update shipping.label_requests x set status = r.status, quantities = case when x.is_part then x.quantities end
  where x.shipment_id = r.shipment_id;
  return r;
end
$function$;
alter function shipping.end_empty_request(shipping.label_requests) owner to fusion_shipping;
revoke all on function shipping.end_empty_request(shipping.label_requests) from public;

-- function: shipping.end_request(shipping.label_requests)
-- src/db/shipping/label-requests.sql
CREATE OR REPLACE FUNCTION shipping.end_request(r shipping.label_requests)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if r.status = 'open' and r.attempts > 0 then
    perform shipping.request_void(r, null);
  end if;
  if r.status = 'open' and r.quantities is not null then
    perform orders.unfulfil(r.order_id, r.quantities);
  end if;
  update shipping.label_requests x set status = 'ended', quantities = case when x.is_part then x.quantities end
  where x.shipment_id = r.shipment_id;
end
$function$;
alter function shipping.end_request(shipping.label_requests) owner to fusion_shipping;
revoke all on function shipping.end_request(shipping.label_requests) from public;

-- function: shipping.end_shipment(character varying)
-- src/db/shipping/voids.sql
CREATE OR REPLACE FUNCTION shipping.end_shipment(of_order character varying)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  request shipping.label_requests;
  shipment shipping.shipments;
begin
  for shipment in
    update shipping.shipments x
    set status = 'cancelled', cancelled_at = platform.clock(), updated_at = platform.clock()
    where x.order_id = of_order and x.cancelled_at is null and x.status = (select 'created') returning *
  loop
    request.shipment_id := shipment.id;
    request.tenant_id := shipment.tenant_id;
    request.order_id := of_order;
    perform shipping.request_void(request, jsonb_build_object('provider', shipment.provider,
      'ownAccount', shipment.own_account, 'carrier', shipment.carrier, 'trackingNumber', shipment.tracking_number,
      'externalId', shipment.external_id));
    perform orders.unfulfil(of_order, shipment.quantities);
    perform platform.emit('shipping.cancelled', of_order,
      jsonb_build_object('orderId', of_order, 'trackingNumber', shipment.tracking_number), false);
  end loop;
  for request in select * from shipping.label_requests x
    where x.order_id = of_order and x.status in ('open', 'refused')
  loop
    perform shipping.end_request(request);
  end loop;
  return exists (select from shipping.shipments x where x.order_id = of_order);
end
$function$;
alter function shipping.end_shipment(character varying) owner to fusion_shipping;
revoke all on function shipping.end_shipment(character varying) from public;
grant execute on function shipping.end_shipment(character varying) to fusion_orders;

-- function: shipping.erase_labels(text[])
-- src/db/shipping/erasure.sql
CREATE OR REPLACE FUNCTION shipping.erase_labels(order_ids text[])
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  update shipping.label_requests r set address = '{}', last_error = null,
    status = case when r.status in ('open', 'refused') then 'ended' else r.status end
  where r.order_id = any(order_ids);
  update shipping.label_voids v set last_error = null where v.order_id = any(order_ids);
  update shipping.shipments s set exception = null where s.order_id = any(order_ids);
$function$;
alter function shipping.erase_labels(text[]) owner to fusion_shipping;
revoke all on function shipping.erase_labels(text[]) from public;
grant execute on function shipping.erase_labels(text[]) to fusion_orders;

-- function: shipping.find_erased_labels(jsonb,jsonb)
-- src/db/shipping/erasure.sql
CREATE OR REPLACE FUNCTION shipping.find_erased_labels(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform platform.enter_as(call, input->>'tenant');
  return jsonb_build_object('shipments', (select coalesce(jsonb_agg(s.id), '[]')
    from orders.orders o join shipping.shipments s on s.order_id = o.id
    where o.tenant_id = platform.tenant()
      and o.customer_id = any(array(select jsonb_array_elements_text(input->'customers')))));
end
$function$;
alter function shipping.find_erased_labels(jsonb,jsonb) owner to fusion_shipping;
revoke all on function shipping.find_erased_labels(jsonb,jsonb) from public;
grant execute on function shipping.find_erased_labels(jsonb,jsonb) to fusion_worker;

-- function: shipping.find_webhook_secret(jsonb,jsonb)
-- src/db/shipping/tracking.sql
CREATE OR REPLACE FUNCTION shipping.find_webhook_secret(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform platform.enter_as(call, input->>'tenant');
  return jsonb_build_object('secret', (
    select t.carrier_credentials::jsonb #>> array[input->>'carrier', 'webhookSecret']
    from platform.tenants t where t.id = input->>'tenant'));
end
$function$;
alter function shipping.find_webhook_secret(jsonb,jsonb) owner to fusion_shipping;
revoke all on function shipping.find_webhook_secret(jsonb,jsonb) from public;
grant execute on function shipping.find_webhook_secret(jsonb,jsonb) to fusion_worker;

-- function: shipping.items_json(integer[])
-- src/db/shipping/shipments.sql
CREATE OR REPLACE FUNCTION shipping.items_json(quantities integer[])
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select coalesce(jsonb_agg(jsonb_build_object('lineId', n::text, 'quantity', q) order by n) filter (where q > 0), '[]')
  from unnest(quantities) with ordinality u(q, n)
$function$;
alter function shipping.items_json(integer[]) owner to fusion_shipping;
revoke all on function shipping.items_json(integer[]) from public;
grant execute on function shipping.items_json(integer[]) to fusion_orders, fusion_reader;

-- function: shipping.keep_cancelled(shipping.shipments)
-- src/db/shipping/tracking.sql
CREATE OR REPLACE FUNCTION shipping.keep_cancelled(shipment shipping.shipments)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if shipment.quantities is not null and orders.fulfil(shipment.order_id, shipment.quantities) is null then
    perform shipping.end_shipment(shipment.order_id);
    perform orders.fulfil(shipment.order_id, shipment.quantities);
  end if;
end
$function$;
alter function shipping.keep_cancelled(shipping.shipments) owner to fusion_shipping;
revoke all on function shipping.keep_cancelled(shipping.shipments) from public;

-- function: shipping.label_task(shipping.label_requests)
-- src/db/shipping/shipments.sql
CREATE OR REPLACE FUNCTION shipping.label_task(r shipping.label_requests)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('orderId', r.order_id, 'shipmentId', r.shipment_id, 'to', r.address, 'from', r.sender,
    'parcel', r.parcel)
$function$;
alter function shipping.label_task(shipping.label_requests) owner to fusion_shipping;
revoke all on function shipping.label_task(shipping.label_requests) from public;
grant execute on function shipping.label_task(shipping.label_requests) to fusion_reader;

-- function: shipping.lease_label(shipping.label_requests,jsonb)
-- src/db/shipping/label-requests.sql
CREATE OR REPLACE FUNCTION shipping.lease_label(r shipping.label_requests, terms jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  task jsonb;
begin
  update shipping.label_requests x
  set status = 'open', attempts = case when x.status = 'open' then x.attempts else 0 end + 1,
      quantities = r.quantities, sender = coalesce(t.ship_from, terms->'from'), parcel = coalesce(t.parcel, terms->'parcel'),
      provider = coalesce(t.carrier, terms->>'carrier'), own_account = t.carrier is not null,
      shipment_id = case when x.provider <> 'manual'
        and (x.provider, x.own_account) <> (coalesce(t.carrier, terms->>'carrier'), t.carrier is not null)
        then platform.uuid7() else x.shipment_id end, tried_at = platform.clock(),
      leased_until = platform.clock() + make_interval(secs => (terms->>'seconds')::int)
  from platform.tenants t
  where x.shipment_id = r.shipment_id and t.id = r.tenant_id and x.status in ('open', 'refused')
    and coalesce(x.leased_until <= platform.clock(), true)
  returning shipping.label_task(x) || jsonb_build_object('lease', x.leased_until,
    'account', shipping.account_json(x.provider, x.own_account, x.tenant_id)) into task;
  if task->>'shipmentId' <> r.shipment_id then
    perform shipping.request_void(r, null);
  end if;
  return task;
end
$function$;
alter function shipping.lease_label(shipping.label_requests,jsonb) owner to fusion_shipping;
revoke all on function shipping.lease_label(shipping.label_requests,jsonb) from public;

-- function: shipping.lease_voids(jsonb,jsonb)
-- src/db/shipping/voids.sql
CREATE OR REPLACE FUNCTION shipping.lease_voids(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  excluded_ids text[];
  due record;
  result jsonb;
  tasks jsonb := '[]';
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('void-labels') || platform.keys_set_aside('lease-voids');
  for due in
    select d.tenant_id, array_agg(d.shipment_id::text order by d.shipment_id) as shipments from (
      select w.tenant_id, w.shipment_id
      from platform.tenants_with_rows('shipping.label_voids', 'status = ''open''') t(id)
      cross join lateral ( -- of each tenant in turn
        select x.tenant_id, x.shipment_id, x.due_at, row_number() over (order by x.due_at) as turn
        from shipping.label_voids x
        where x.tenant_id = t.id and x.status = 'open' and x.due_at <= platform.clock()
          and x.shipment_id <> all(excluded_ids)
        order by x.due_at limit (input->>'limit')::int
      ) w
      order by w.turn, w.due_at limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('lease-voids', 'shipping.lease_voids_step', due.tenant_id, due.shipments, input))
    loop
      tasks := tasks || result;
    end loop;
  end loop;
  return jsonb_build_object('tasks', tasks);
end
$function$;
alter function shipping.lease_voids(jsonb,jsonb) owner to fusion_shipping;
revoke all on function shipping.lease_voids(jsonb,jsonb) from public;
grant execute on function shipping.lease_voids(jsonb,jsonb) to fusion_worker;

-- function: shipping.lease_voids_step(text[],jsonb)
-- src/db/shipping/voids.sql
CREATE OR REPLACE FUNCTION shipping.lease_voids_step(shipments text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  id text;
  label_void shipping.label_voids;
  tasks jsonb := '[]';
begin
  foreach id in array shipments loop
    update shipping.label_voids x
    set attempts = x.attempts + 1, due_at = platform.clock() + make_interval(secs => (input->>'seconds')::int)
    where x.shipment_id = id and x.status = (select 'open') and x.due_at <= platform.clock()
    returning * into label_void;
    continue when not found;
    tasks := tasks || (
      -- The request may be for a later shipment by now. Then any other of the order has its address.
      select shipping.label_task(r) || jsonb_strip_nulls(jsonb_build_object('tenant', label_void.tenant_id,
        'shipmentId', label_void.shipment_id, 'provider', label_void.provider, 'carrier', label_void.carrier,
        'trackingNumber', label_void.tracking_number, 'externalId', label_void.external_id,
        'account', shipping.account_json(label_void.provider, label_void.own_account, label_void.tenant_id)))
      from shipping.label_requests r where r.order_id = label_void.order_id
      order by r.shipment_id = label_void.shipment_id desc, r.is_part limit 1);
  end loop;
  return tasks;
end
$function$;
alter function shipping.lease_voids_step(text[],jsonb) owner to fusion_shipping;
revoke all on function shipping.lease_voids_step(text[],jsonb) from public;

-- function: shipping.open_label_request(orders.orders,jsonb,character varying)
-- src/db/shipping/label-requests.sql
CREATE OR REPLACE FUNCTION shipping.open_label_request(order_row orders.orders, address jsonb, shipment_id character varying)
 RETURNS shipping.label_requests
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  now_at constant timestamptz := platform.clock();
  request shipping.label_requests;
begin
  insert into shipping.label_requests (order_id, tenant_id, shipment_id, status, address, tried_at, created_at)
  values (order_row.id, order_row.tenant_id, shipment_id, 'open',
    shipping.add_recipient_name(address, order_row.customer_id), now_at, now_at)
  on conflict (order_id) where not is_part do nothing returning * into request;
  return request;
end
$function$;
alter function shipping.open_label_request(orders.orders,jsonb,character varying) owner to fusion_shipping;
revoke all on function shipping.open_label_request(orders.orders,jsonb,character varying) from public;
grant execute on function shipping.open_label_request(orders.orders,jsonb,character varying) to fusion_orders;

-- function: shipping.open_labels(jsonb,jsonb)
-- src/db/shipping/shipments.sql
CREATE OR REPLACE FUNCTION shipping.open_labels(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  item record;
  order_row orders.orders;
  request shipping.label_requests;
  is_automatic boolean;
  tasks jsonb := '[]';
  busy jsonb := '[]';
begin
  perform platform.enter_as(call, input->>'tenant');
  perform platform.claim_new_events('shipping',
    array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  is_automatic := (select t.automatic_labels from platform.tenants t where t.id = platform.tenant());
  for item in
    select m->>'orderId' as order_id, min(m->>'shipmentId') as shipment_id, min(m->>'traceparent') as trace
    from jsonb_array_elements(input->'messages') m group by 1 order by 1
  loop
    order_row := orders.lock_order(item.order_id);
    continue when order_row.id is null;
    if order_row.status <> 'confirmed' then
      update shipping.label_requests x set status = 'ended'
      where x.order_id = order_row.id and x.status in ('open', 'refused');
      continue;
    end if;
    if is_automatic and order_row.shipping_address is not null
      and not exists (select from shipping.label_requests x where x.order_id = order_row.id) then
      perform shipping.open_label_request(order_row, order_row.shipping_address, item.shipment_id);
    end if;
    -- `ended`: a refund of this order failed at the bank, or the merchant ships it in parts. Only the merchant can
    -- request its next label.
    for request in select * from shipping.label_requests x
      where x.order_id = order_row.id and x.status in ('open', 'refused') order by x.created_at, x.shipment_id
    loop
      if request.leased_until > platform.clock() then
        busy := busy || to_jsonb(order_row.id);
        continue;
      end if;
      request := shipping.take_units(request);
      continue when request.status = 'ended';
      tasks := tasks || (shipping.lease_label(request, input) || jsonb_build_object('traceparent', item.trace));
    end loop;
  end loop;
  return jsonb_build_object('tasks', tasks, 'busy', busy);
end
$function$;
alter function shipping.open_labels(jsonb,jsonb) owner to fusion_shipping;
revoke all on function shipping.open_labels(jsonb,jsonb) from public;
grant execute on function shipping.open_labels(jsonb,jsonb) to fusion_worker;

-- function: shipping.open_part(jsonb,orders.orders,jsonb,jsonb)
-- src/db/shipping/requested-shipments.sql
CREATE OR REPLACE FUNCTION shipping.open_part(call jsonb, order_row orders.orders, address jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  idempotency_key constant varchar := call->>'idempotencyKey';
  wanted constant integer[] := orders.units_of(order_row, input->'items');
  request shipping.label_requests;
  shipment shipping.shipments;
  rest shipping.label_requests; -- the request for all units
  unknown_line bigint;
  is_new boolean;
begin
  select n into unknown_line from jsonb_array_elements(input->'items') with ordinality e(i, n)
    where not exists (select from generate_series(1, jsonb_array_length(order_row.items)) p where p::text = i->>'lineId')
    order by n limit 1;
  if unknown_line is not null then
    return platform.leave(call, 'shipments.create', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', format('/items/%s/lineId', unknown_line - 1),
        'detail', 'The order has no such line.'))));
  end if;
  select * into request from shipping.label_requests x
    where x.order_id = order_row.id and x.is_part and x.request_key is not distinct from idempotency_key
      and (x.status = 'open' and (idempotency_key is not null or x.quantities = wanted)
        or x.status = 'made' and x.request_key is not null and x.created_at > platform.clock() - interval '24 hours'
          and exists (select from shipping.shipments s where s.id = x.shipment_id and s.cancelled_at is null))
    order by x.created_at limit 1;
  if request.request_key is not null and (request.address is distinct from address
    or exists (select from unnest(request.quantities, wanted, order_row.refunded_quantities) u(units, asked, refunded)
      where units <> asked and (units > asked or coalesce(refunded, 0) = 0))) then -- refunded units were taken out
    perform platform.fail('idempotency_key_reused');
  end if;
  if request.status = 'made' then -- by the queue, after this request had failed
    select * into shipment from shipping.shipments x where x.id = request.shipment_id;
    return platform.leave(call, 'shipments.create', shipping.shipment_json(shipment));
  end if;
  if order_row.status <> 'confirmed' then
    perform platform.fail('conflict',
      jsonb_build_object('reason', format('The order is %s, not confirmed.', order_row.status)));
  end if;
  is_new := request.order_id is null;
  if is_new then
    select * into rest from shipping.label_requests x where x.order_id = order_row.id and not x.is_part;
  end if;
  if coalesce(request.leased_until, case when rest.status = 'open' then rest.leased_until end) > platform.clock() then
    return shipping.unmade_answer('{"busy": true}');
  end if;
  if is_new then
    if orders.fulfil(order_row.id, wanted, case when rest.status = 'open' then rest.quantities end) is null then
      return platform.leave(call, 'shipments.create', jsonb_build_object('error', 'conflict',
        'detail', orders.shortage_of(order_row, wanted)));
    end if;
    if rest.status in ('open', 'refused') then
      if rest.status = 'open' then
        update shipping.label_requests x set quantities = null where x.shipment_id = rest.shipment_id;
        rest.quantities := null; -- given back above
      end if;
      perform shipping.end_request(rest);
    end if;
    insert into shipping.label_requests (order_id, tenant_id, shipment_id, status, address, is_part, quantities,
      request_key, tried_at, created_at)
    values (order_row.id, order_row.tenant_id, input->>'shipmentId', 'open', address, true, wanted,
      idempotency_key, platform.clock(), platform.clock())
    returning * into request;
  else
    update shipping.label_requests x set address = open_part.address
    where x.shipment_id = request.shipment_id returning * into request;
    request := shipping.take_units(request);
    if request.status = 'ended' then
      return platform.leave(call, 'shipments.create', jsonb_build_object('error', 'conflict',
        'detail', orders.shortage_of(order_row, wanted)));
    end if;
  end if;
  return shipping.unmade_answer(jsonb_build_object('task', shipping.lease_label(request, input), 'remind', is_new));
end
$function$;
alter function shipping.open_part(jsonb,orders.orders,jsonb,jsonb) owner to fusion_shipping;
revoke all on function shipping.open_part(jsonb,orders.orders,jsonb,jsonb) from public;

-- function: shipping.open_shipment(jsonb,jsonb)
-- src/db/shipping/requested-shipments.sql
CREATE OR REPLACE FUNCTION shipping.open_shipment(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'shipping:write', 'shipments.create');
  order_row orders.orders;
  request shipping.label_requests;
  shipment shipping.shipments;
  wanted_address jsonb;
  needs_reminder boolean;
  is_closed boolean; -- the request's label was cancelled, or is no longer needed
begin
  if replay is not null then
    return replay;
  end if;
  order_row := orders.lock_order(input->>'orderId');
  if order_row.id is null then
    perform platform.fail('not_found');
  end if;
  wanted_address := coalesce(nullif(input->'address', 'null'), order_row.shipping_address);
  if wanted_address is null then
    return platform.leave(call, 'shipments.create', '{"error": "validation_failed", "errors": [{"pointer": "/address",
      "detail": "is required, because the order has no shipping address"}]}');
  end if;
  wanted_address := shipping.add_recipient_name(wanted_address, order_row.customer_id);
  if nullif(input->'items', 'null') is not null then
    return shipping.open_part(call, order_row, wanted_address, input);
  end if;
  select * into request from shipping.label_requests x where x.order_id = order_row.id and not x.is_part;
  select * into shipment from shipping.shipments x where x.id = request.shipment_id and x.cancelled_at is null;
  if shipment.id is not null then
    return platform.leave(call, 'shipments.create', case when request.address = wanted_address
      then shipping.shipment_json(shipment)
      else '{"error": "conflict", "detail": "The order already has a label for another address."}' end);
  end if;
  if order_row.status <> 'confirmed' then
    perform platform.fail('conflict',
      jsonb_build_object('reason', format('The order is %s, not confirmed.', order_row.status)));
  end if;
  if request.leased_until > platform.clock() then
    return shipping.unmade_answer('{"busy": true}');
  end if;
  is_closed := request.status in ('made', 'ended');
  needs_reminder := request.order_id is null or request.status = 'refused' or is_closed;
  if request.order_id is null then
    request := shipping.open_label_request(order_row, wanted_address, input->>'shipmentId');
  end if;
  update shipping.label_requests x
  set address = wanted_address, attempts = case when x.address = wanted_address and not is_closed then x.attempts
      else 0 end, shipment_id = case when is_closed then input->>'shipmentId' else x.shipment_id end,
      status = case when is_closed then 'open' else x.status end,
      quantities = case when is_closed then null else x.quantities end,
      last_error = case when is_closed then null else x.last_error end
  where x.shipment_id = request.shipment_id returning * into request;
  request := shipping.take_units(request);
  if request.status = 'ended' then
    return platform.leave(call, 'shipments.create', '{"error": "conflict",
      "detail": "Every unit of the order is in another parcel or was refunded."}');
  end if;
  return shipping.unmade_answer(
    jsonb_build_object('task', shipping.lease_label(request, input), 'remind', needs_reminder));
end
$function$;
alter function shipping.open_shipment(jsonb,jsonb) owner to fusion_shipping;
revoke all on function shipping.open_shipment(jsonb,jsonb) from public;
grant execute on function shipping.open_shipment(jsonb,jsonb) to fusion_worker;

-- function: shipping.read_account(character varying,boolean)
-- src/db/shipping/shipments.sql
CREATE OR REPLACE FUNCTION shipping.read_account(provider character varying, own_account boolean)
 RETURNS jsonb
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select shipping.account_json(provider, own_account, platform.proven_tenant('shipping:read', 'shipping:write'))
$function$;
alter function shipping.read_account(character varying,boolean) owner to fusion_shipping;
revoke all on function shipping.read_account(character varying,boolean) from public;
grant execute on function shipping.read_account(character varying,boolean) to fusion_reader;

-- function: shipping.record_labels(jsonb,jsonb)
-- src/db/shipping/shipments.sql
CREATE OR REPLACE FUNCTION shipping.record_labels(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  item jsonb;
  shipment shipping.shipments;
  request shipping.label_requests;
  new_status varchar;
  answer jsonb := '{"made": [], "refused": [], "open": [], "shipments": {}}';
begin
  perform platform.enter_as(call, input->>'tenant');
  for item in select x from jsonb_array_elements(input->'results') x order by x->>'orderId' loop
    if item ? 'trackingNumber' then
      shipment := shipping.save_label(item);
      new_status := case when shipment.id is not null then 'made' end;
    else
      perform orders.lock_order(item->>'orderId');
      update shipping.label_requests x
      set leased_until = null, last_error = item->>'reason',
          status = case when (item->>'permanent')::boolean or x.attempts >= (input->>'most')::int then 'refused'
            else 'open' end
      where x.order_id = item->>'orderId' and x.status = (select 'open')
        and case when item ? 'shipmentId' then x.shipment_id = item->>'shipmentId' else not x.is_part end
        and x.leased_until is not distinct from coalesce((item->>'lease')::timestamptz, x.leased_until)
      returning * into request;
      new_status := request.status;
      if new_status = 'refused' then
        if request.quantities is not null then
          perform orders.unfulfil(request.order_id, request.quantities);
        end if;
        if request.is_part and not (item->>'permanent')::boolean then
          perform shipping.request_void(request, null);
        end if;
        update shipping.label_requests x set status = case when x.is_part then 'ended' else x.status end,
          quantities = case when x.is_part then x.quantities end
        where x.shipment_id = request.shipment_id;
      end if;
      if request.order_id is null then
        select x.status into new_status from shipping.label_requests x
        where x.order_id = item->>'orderId' and x.status in ('open', 'refused')
          and case when item ? 'shipmentId' then x.shipment_id = item->>'shipmentId' else not x.is_part end;
      elsif new_status = 'open' and (item->>'remind')::boolean then
        perform platform.emit('shipping.label.requested', item->>'orderId',
          jsonb_build_object('orderId', item->>'orderId'), true);
      end if;
    end if;
    if new_status is not null then
      answer := jsonb_insert(answer, array[new_status, '0']::text[], item->'orderId')
        || jsonb_build_object('shipments', answer->'shipments'
          || jsonb_build_object(coalesce(item->>'shipmentId', ''), new_status));
    end if;
  end loop;
  return answer;
end
$function$;
alter function shipping.record_labels(jsonb,jsonb) owner to fusion_shipping;
revoke all on function shipping.record_labels(jsonb,jsonb) from public;
grant execute on function shipping.record_labels(jsonb,jsonb) to fusion_worker;

-- function: shipping.record_shipment(jsonb,jsonb)
-- src/db/shipping/requested-shipments.sql
CREATE OR REPLACE FUNCTION shipping.record_shipment(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  replay jsonb := platform.enter(call, 'shipping:write', 'shipments.create');
  shipment shipping.shipments;
begin
  if replay is not null then
    return replay;
  end if;
  shipment := shipping.save_label(input);
  return platform.leave(call, 'shipments.create', case when shipment.id is not null
    then shipping.shipment_json(shipment)
    else '{"error": "conflict", "detail": "The order was cancelled or refunded while its label was being made."}' end);
end
$function$;
alter function shipping.record_shipment(jsonb,jsonb) owner to fusion_shipping;
revoke all on function shipping.record_shipment(jsonb,jsonb) from public;
grant execute on function shipping.record_shipment(jsonb,jsonb) to fusion_worker;

-- function: shipping.record_voids(jsonb,jsonb)
-- src/db/shipping/voids.sql
CREATE OR REPLACE FUNCTION shipping.record_voids(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  tenant_results record;
  result jsonb;
  recorded integer := 0;
begin
  perform platform.enter_as(call, '*');
  for tenant_results in
    select x->>'tenant' as tenant, array_agg(x->>'shipmentId' order by x->>'orderId') as shipments
    from jsonb_array_elements(input->'results') x group by 1 order by 1
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('void-labels', 'shipping.record_voids_step', tenant_results.tenant,
        tenant_results.shipments, input))
    loop
      recorded := recorded + (result->>'recorded')::int;
    end loop;
  end loop;
  return jsonb_build_object('setAside', jsonb_array_length(input->'results') - recorded);
end
$function$;
alter function shipping.record_voids(jsonb,jsonb) owner to fusion_shipping;
revoke all on function shipping.record_voids(jsonb,jsonb) from public;
grant execute on function shipping.record_voids(jsonb,jsonb) to fusion_worker;

-- function: shipping.record_voids_step(text[],jsonb)
-- src/db/shipping/voids.sql
CREATE OR REPLACE FUNCTION shipping.record_voids_step(shipments text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  item jsonb;
  label_void shipping.label_voids;
begin
  for item in select x from jsonb_array_elements(input->'results') x
    where x->>'shipmentId' = any(shipments) and x->>'tenant' = platform.tenant() order by x->>'orderId'
  loop
    perform orders.lock_order(item->>'orderId');
    update shipping.label_voids x
    set last_error = item->>'reason',
        status = case when item->>'outcome' = 'voided' then 'done' when item->>'outcome' = 'refused'
          or x.created_at <= platform.clock() - interval '30 days' then 'refused' else 'open' end,
        due_at = platform.clock() + make_interval(mins => least(power(2, least(x.attempts, 11)), 1440)::int)
    where x.shipment_id = item->>'shipmentId' and x.status = (select 'open')
    returning * into label_void;
    continue when not found or label_void.status <> 'refused';
    update shipping.shipments x
    set exception = 'The carrier did not void the label: ' || coalesce(label_void.last_error, 'no reason given'),
        updated_at = platform.clock()
    where x.id = label_void.shipment_id;
    if label_void.tracking_number is not null then
      perform platform.emit('shipping.status.changed', label_void.order_id,
        jsonb_build_object('orderId', label_void.order_id,
        'trackingNumber', label_void.tracking_number, 'status', 'exception'), false);
    end if;
  end loop;
  return jsonb_build_object('recorded', cardinality(shipments));
end
$function$;
alter function shipping.record_voids_step(text[],jsonb) owner to fusion_shipping;
revoke all on function shipping.record_voids_step(text[],jsonb) from public;

-- function: shipping.remind_labels(jsonb,jsonb)
-- src/db/shipping/label-reminders.sql
CREATE OR REPLACE FUNCTION shipping.remind_labels(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  excluded_ids text[];
  lost record;
  result jsonb;
  reminded integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('remind-labels');
  for lost in
    select d.tenant_id, array_agg(distinct d.order_id::text) as orders from (
      select w.tenant_id, w.order_id
      from platform.tenants_with_rows('shipping.label_requests', 'status = ''open''') t(id)
      cross join lateral ( -- of each tenant in turn
        select r.tenant_id, r.order_id, r.tried_at, row_number() over (order by r.tried_at) as turn
        from shipping.label_requests r
        where r.tenant_id = t.id and r.status = 'open'
          and r.tried_at <= platform.clock() - make_interval(secs => (input->>'idleSeconds')::int)
          and coalesce(r.leased_until <= platform.clock(), true) and r.attempts < (input->>'most')::int
          and r.order_id <> all(excluded_ids)
        order by r.tried_at limit (input->>'limit')::int
      ) w
      order by w.turn, w.tried_at limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('remind-labels', 'shipping.remind_labels_step', lost.tenant_id, lost.orders, input))
    loop
      reminded := reminded + (result->>'reminded')::int;
    end loop;
  end loop;
  return jsonb_build_object('reminded', reminded);
end
$function$;
alter function shipping.remind_labels(jsonb,jsonb) owner to fusion_shipping;
revoke all on function shipping.remind_labels(jsonb,jsonb) from public;
grant execute on function shipping.remind_labels(jsonb,jsonb) to fusion_worker;

-- function: shipping.remind_labels_step(text[],jsonb)
-- src/db/shipping/label-reminders.sql
CREATE OR REPLACE FUNCTION shipping.remind_labels_step(order_ids text[], input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  id text;
  reminded integer := 0;
begin
  foreach id in array order_ids loop
    perform orders.lock_order(id);
    update shipping.label_requests x set tried_at = platform.clock()
    where x.order_id = id and x.status = (select 'open')
      and x.tried_at <= platform.clock() - make_interval(secs => (input->>'idleSeconds')::int);
    if found then
      perform platform.emit('shipping.label.requested', id, jsonb_build_object('orderId', id), true);
      reminded := reminded + 1;
    end if;
  end loop;
  return jsonb_build_object('reminded', reminded);
end
$function$;
alter function shipping.remind_labels_step(text[],jsonb) owner to fusion_shipping;
revoke all on function shipping.remind_labels_step(text[],jsonb) from public;

-- function: shipping.request_void(shipping.label_requests,jsonb)
-- src/db/shipping/voids.sql
CREATE OR REPLACE FUNCTION shipping.request_void(request shipping.label_requests, label jsonb)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  insert into shipping.label_voids as v (shipment_id, tenant_id, order_id, provider, own_account, carrier,
    tracking_number, external_id, status, due_at, created_at)
  values (request.shipment_id, request.tenant_id, request.order_id, coalesce(label->>'provider', request.provider),
    coalesce((label->>'ownAccount')::boolean, label is null and request.own_account), label->>'carrier',
    label->>'trackingNumber', label->>'externalId', 'open',
    -- The carrier may still be making an unknown label for the caller that has the lease.
    case when label is null then greatest(request.leased_until, platform.clock()) + interval '1 minute'
      else platform.clock() end, platform.clock())
  on conflict (shipment_id) do update
    set provider = excluded.provider, own_account = excluded.own_account, carrier = excluded.carrier,
        tracking_number = excluded.tracking_number, external_id = excluded.external_id, status = 'open', due_at = excluded.due_at
    where v.tracking_number is null and excluded.tracking_number is not null
$function$;
alter function shipping.request_void(shipping.label_requests,jsonb) owner to fusion_shipping;
revoke all on function shipping.request_void(shipping.label_requests,jsonb) from public;

-- function: shipping.save_label(jsonb)
-- src/db/shipping/shipments.sql
CREATE OR REPLACE FUNCTION shipping.save_label(label jsonb)
 RETURNS shipping.shipments
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  order_row orders.orders := orders.lock_order(label->>'orderId');
  request shipping.label_requests;
  shipment shipping.shipments;
begin
  select * into request from shipping.label_requests x
    where x.order_id = order_row.id
      and case when label ? 'shipmentId' then x.shipment_id = label->>'shipmentId' else not x.is_part end;
  if not found then
    request.shipment_id := label->>'shipmentId';
    request.tenant_id := order_row.tenant_id;
    request.order_id := order_row.id;
    perform shipping.request_void(request, label);
    return null;
  end if;
  select * into shipment from shipping.shipments x where x.id = request.shipment_id;
  if found then
    return shipment;
  end if;
  -- A request may have ended or been given up while its label was made. Then its units may be in another parcel. Units
  -- may have been refunded since.
  if order_row.status = 'confirmed' and request.status in ('open', 'refused') then
    request := case when request.status = 'open' and request.quantities is not null
      then shipping.drop_refunded(request) else shipping.take_units(request) end;
  end if;
  if order_row.status <> 'confirmed' or request.status = 'ended' then
    update shipping.label_requests x
    set status = 'ended', leased_until = null, last_error = format('%s while its label was made: %s %s.',
      case order_row.status when 'confirmed' then 'The request ended' else 'The order was ' || order_row.status end,
      label->>'carrier', label->>'trackingNumber')
    where x.shipment_id = request.shipment_id;
    perform shipping.request_void(request, label);
    return null;
  end if;
  insert into shipping.shipments (id, order_id, tracking_number, carrier, label_url, status, tenant_id, provider,
    own_account, external_id, quantities, created_at, updated_at)
  values (request.shipment_id, order_row.id, label->>'trackingNumber', label->>'carrier', label->>'labelUrl',
    'created', order_row.tenant_id, label->>'provider',
    coalesce((label->>'ownAccount')::boolean, false), label->>'externalId', request.quantities, platform.clock(),
    platform.clock())
  returning * into shipment;
  update shipping.label_requests x
  set status = 'made', leased_until = null, last_error = null, quantities = request.quantities
  where x.shipment_id = request.shipment_id;
  if label ? 'traceparent' then
    perform platform.set_trace(label->>'traceparent');
  end if;
  perform platform.emit('shipping.label.created', order_row.id, jsonb_build_object('orderId', order_row.id,
    'trackingNumber', shipment.tracking_number, 'carrier', shipment.carrier, 'labelUrl', shipment.label_url), false);
  return shipment;
end
$function$;
alter function shipping.save_label(jsonb) owner to fusion_shipping;
revoke all on function shipping.save_label(jsonb) from public;

-- function: shipping.shipment_json(shipping.shipments)
-- src/db/shipping/shipments.sql
CREATE OR REPLACE FUNCTION shipping.shipment_json(s shipping.shipments)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('id', s.id, 'orderId', s.order_id, 'trackingNumber', s.tracking_number,
    'carrier', s.carrier, 'labelUrl', s.label_url, 'status', s.status, 'createdAt', platform.iso(s.created_at),
    'items', shipping.items_json(s.quantities))
$function$;
alter function shipping.shipment_json(shipping.shipments) owner to fusion_shipping;
revoke all on function shipping.shipment_json(shipping.shipments) from public;
grant execute on function shipping.shipment_json(shipping.shipments) to fusion_orders, fusion_reader;

-- function: shipping.show_shipment(jsonb,jsonb)
-- src/db/shipping/shoppers.sql
CREATE OR REPLACE FUNCTION shipping.show_shipment(call jsonb, input jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  api_key constant platform.api_keys := platform.identify(call, 'shipping:read', '{publishable,session}');
  shipment shipping.shipments;
begin
  select * into shipment from shipping.shipments s where s.id = input->>'id';
  if not found or not orders.may_reach_order_id(shipment.order_id) then
    perform platform.fail('not_found');
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', shipping.shipment_json(shipment));
end
$function$;
alter function shipping.show_shipment(jsonb,jsonb) owner to fusion_shipping;
revoke all on function shipping.show_shipment(jsonb,jsonb) from public;
grant execute on function shipping.show_shipment(jsonb,jsonb) to fusion_worker;

-- function: shipping.take_units(shipping.label_requests)
-- src/db/shipping/label-requests.sql
CREATE OR REPLACE FUNCTION shipping.take_units(r shipping.label_requests)
 RETURNS shipping.label_requests
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if r.is_part then
    return shipping.drop_refunded(r);
  end if;
  r.quantities := orders.fulfil(r.order_id, null, case when r.status = 'open' then r.quantities end);
  return case when r.quantities is null then shipping.end_empty_request(r) else r end;
end
$function$;
alter function shipping.take_units(shipping.label_requests) owner to fusion_shipping;
revoke all on function shipping.take_units(shipping.label_requests) from public;

-- function: shipping.unmade_answer(jsonb)
-- src/db/shipping/requested-shipments.sql
CREATE OR REPLACE FUNCTION shipping.unmade_answer(answer jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('tenant', platform.tenant(), 'replayed', false, 'answer', answer)
$function$;
alter function shipping.unmade_answer(jsonb) owner to fusion_shipping;
revoke all on function shipping.unmade_answer(jsonb) from public;

-- ==== Row-level security policies, triggers, and checks that call functions =========================================

-- policies and triggers: audit.log
create policy tenant on audit.log to public
  using (tenant_id::text = current_setting('app.tenant_id', true))
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER log_is_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON audit.log FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- policies and triggers: catalog.collection_products
create policy proven_tenant on catalog.collection_products for select to fusion_reader
  using (tenant_id::text = current_setting('app.tenant_id', true) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{catalog:read,catalog:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy search on catalog.collection_products for select to fusion_search
  using (true);
create policy tenant on catalog.collection_products to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: catalog.collections
create policy proven_tenant on catalog.collections for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{catalog:read,catalog:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on catalog.collections to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_collections AFTER INSERT OR DELETE OR UPDATE ON catalog.collections FOR EACH ROW EXECUTE FUNCTION audit.record('collection', 'id');

-- policies and triggers: catalog.import_runs
create policy tenant on catalog.import_runs to public
  using (tenant_id::text = current_setting('app.tenant_id', true))
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: catalog.price_lists
create policy proven_tenant on catalog.price_lists for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{catalog:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on catalog.price_lists to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_price_lists AFTER INSERT OR DELETE OR UPDATE ON catalog.price_lists FOR EACH ROW EXECUTE FUNCTION audit.record('price_list', 'id');

-- policies and triggers: catalog.prices
create policy proven_tenant on catalog.prices for select to fusion_reader
  using (tenant_id::text = current_setting('app.tenant_id', true) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{catalog:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on catalog.prices to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: catalog.product_groups
create policy proven_tenant on catalog.product_groups for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{catalog:read,catalog:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on catalog.product_groups to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_product_groups AFTER INSERT OR DELETE OR UPDATE ON catalog.product_groups FOR EACH ROW EXECUTE FUNCTION audit.record('product_group', 'id');

-- policies and triggers: catalog.products
create policy proven_tenant on catalog.products for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{catalog:read,catalog:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy search on catalog.products for select to fusion_search
  using (true);
create policy tenant on catalog.products to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_changes AFTER UPDATE OF name, description, price, currency, status, group_id, options, slug, images, weight, tax_category, compare_at_price, collections, metadata ON catalog.products FOR EACH ROW WHEN (old.* IS DISTINCT FROM new.*) EXECUTE FUNCTION audit.record('product', 'sku');
CREATE TRIGGER audit_products AFTER INSERT OR DELETE ON catalog.products FOR EACH ROW EXECUTE FUNCTION audit.record('product', 'sku');

-- policies and triggers: group_commerce.campaign_customers
create policy every_tenant on group_commerce.campaign_customers for select to fusion_group_commerce
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy tenant on group_commerce.campaign_customers to fusion_group_commerce
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: group_commerce.group_commerce_campaigns
create policy every_tenant on group_commerce.group_commerce_campaigns for select to fusion_group_commerce
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy proven_tenant on group_commerce.group_commerce_campaigns for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{campaigns:read,campaigns:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on group_commerce.group_commerce_campaigns to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_campaigns AFTER INSERT ON group_commerce.group_commerce_campaigns FOR EACH ROW EXECUTE FUNCTION audit.record('campaign', 'id');
CREATE TRIGGER audit_cancellations AFTER UPDATE OF status ON group_commerce.group_commerce_campaigns FOR EACH ROW WHEN (old.status::text <> 'failed' AND new.status::text = 'failed') EXECUTE FUNCTION audit.record('campaign', 'id');
alter table group_commerce.group_commerce_campaigns add constraint campaigns_terms CHECK (group_commerce.terms_agree(group_commerce_campaigns.*));

-- policies and triggers: group_commerce.participants
create policy every_tenant on group_commerce.participants for select to fusion_group_commerce
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy proven_tenant on group_commerce.participants for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{campaigns:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on group_commerce.participants to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: group_commerce.teams
create policy every_tenant on group_commerce.teams for select to fusion_group_commerce
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy proven_tenant on group_commerce.teams for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{campaigns:read,campaigns:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on group_commerce.teams to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_team_cancellations AFTER UPDATE OF status ON group_commerce.teams FOR EACH ROW WHEN (old.status::text <> 'cancelled' AND new.status::text = 'cancelled' AND new.settled_at IS NULL AND COALESCE(current_setting('app.key_hash', true), '') <> '') EXECUTE FUNCTION audit.record('team', 'id');

-- policies and triggers: group_commerce.waiting_places
create policy every_tenant on group_commerce.waiting_places for select to fusion_group_commerce
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy proven_tenant on group_commerce.waiting_places for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{campaigns:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on group_commerce.waiting_places to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: inventory.adjustments
create policy tenant on inventory.adjustments to public
  using (tenant_id::text = current_setting('app.tenant_id', true))
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_stock AFTER INSERT ON inventory.adjustments FOR EACH ROW EXECUTE FUNCTION audit.record('stock', 'sku');

-- policies and triggers: inventory.inventory
create policy proven_tenant on inventory.inventory for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{catalog:read,catalog:write,inventory:read,inventory:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on inventory.inventory to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using (tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)]))
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER report_low_stock AFTER UPDATE ON inventory.inventory FOR EACH ROW WHEN (new.quantity <= new.low_threshold AND (old.quantity <= old.low_threshold) IS NOT TRUE) EXECUTE FUNCTION inventory.report_low_stock();

-- policies and triggers: inventory.reservations
create policy every_tenant on inventory.reservations for select to fusion_inventory
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy proven_tenant on inventory.reservations for select to fusion_reader
  using (tenant_id::text = current_setting('app.tenant_id', true) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{inventory:read,inventory:write,orders:read,orders:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on inventory.reservations to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
alter table inventory.reservations add constraint reservations_restocked_within CHECK (restocked IS NULL OR inventory.units_within(restocked, quantities));

-- policies and triggers: orders.carts
create policy every_tenant on orders.carts for select to fusion_orders
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy tenant on orders.carts to public
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: orders.customers
create policy every_tenant on orders.customers for select to fusion_orders
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy proven_tenant on orders.customers for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{customers:read,customers:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on orders.customers to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_customers AFTER INSERT OR DELETE OR UPDATE ON orders.customers FOR EACH ROW EXECUTE FUNCTION audit.record('customer', 'id');

-- policies and triggers: orders.discount_counters
create policy proven_tenant on orders.discount_counters for select to fusion_reader
  using (tenant_id::text = current_setting('app.tenant_id', true) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{discounts:read,discounts:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on orders.discount_counters to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: orders.discount_customers
create policy tenant on orders.discount_customers to public
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: orders.discount_uses
create policy tenant on orders.discount_uses to public
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: orders.discounts
create policy proven_tenant on orders.discounts for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{discounts:read,discounts:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on orders.discounts to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_discounts AFTER INSERT OR DELETE OR UPDATE ON orders.discounts FOR EACH ROW EXECUTE FUNCTION audit.record('discount', 'id');

-- policies and triggers: orders.orders
create policy every_tenant on orders.orders for select to fusion_inventory
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy every_tenant_in_campaigns on orders.orders for select to fusion_orders
  using (current_setting('app.tenant_id', true) = '*' AND campaign_id IS NOT NULL AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy proven_tenant on orders.orders for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{orders:read,orders:write,payments:read,payments:write,shipping:read,shipping:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on orders.orders to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
alter table orders.orders add constraint orders_amounts_agree CHECK (num_nonnulls(subtotal, lines, refunded_quantities, refunded_amounts, restocked_quantities, returned_quantities, fulfilled_quantities, shipping_refunded) = 0 OR orders.amounts_agree(orders.*));

-- policies and triggers: orders.returns
create policy proven_tenant on orders.returns for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{orders:read,orders:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on orders.returns to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: orders.shipping_options
create policy proven_tenant on orders.shipping_options for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{shipping:read,shipping:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on orders.shipping_options to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_shipping_options AFTER INSERT OR DELETE OR UPDATE ON orders.shipping_options FOR EACH ROW EXECUTE FUNCTION audit.record('shipping_option', 'id');

-- policies and triggers: orders.tax_rates
create policy proven_tenant on orders.tax_rates for select to fusion_reader
  using ((tenant_id::text = ANY (ARRAY[current_setting('app.tenant_id', true)])) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{tax:read,tax:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on orders.tax_rates to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_tax_rates AFTER INSERT OR DELETE OR UPDATE ON orders.tax_rates FOR EACH ROW EXECUTE FUNCTION audit.record('tax_rate', 'id');

-- policies and triggers: payments.account_readings
create policy every_tenant on payments.account_readings for select to fusion_payments
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy tenant on payments.account_readings to public
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: payments.intents
create policy every_tenant on payments.intents for select to fusion_payments
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy tenant on payments.intents to public
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: payments.payments
create policy every_tenant on payments.payments for select to fusion_payments
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy proven_tenant on payments.payments for select to fusion_reader
  using (tenant_id::text = current_setting('app.tenant_id', true) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{orders:read,orders:write,payments:read,payments:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on payments.payments to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER payments_keep_account BEFORE UPDATE OF stripe_account ON payments.payments FOR EACH ROW WHEN (new.stripe_account::text IS DISTINCT FROM old.stripe_account::text) EXECUTE FUNCTION payments.keep_account();

-- policies and triggers: payments.refunds
create policy every_tenant on payments.refunds for select to fusion_payments
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy proven_tenant on payments.refunds for select to fusion_reader
  using (tenant_id::text = current_setting('app.tenant_id', true) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{orders:read,orders:write,payments:read,payments:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on payments.refunds to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_refunds AFTER INSERT ON payments.refunds FOR EACH ROW EXECUTE FUNCTION audit.record('refund', 'payment_id');

-- policies and triggers: platform.api_keys
create policy every_tenant on platform.api_keys to fusion_platform
  using (current_setting('app.tenant_id', true) = '*')
  with check (current_setting('app.tenant_id', true) = '*' AND tenant_id::text <> '*');
create policy key_of_live_token on platform.api_keys for select to fusion_platform
  using (id::text = current_setting('app.live_key', true));
create policy shown_key on platform.api_keys for select to fusion_platform
  using (key_hash::text = current_setting('app.key_hash', true));
create policy shown_key_to_audit on platform.api_keys for select to fusion_audit
  using (key_hash::text = current_setting('app.key_hash', true));
create policy tenant on platform.api_keys to public
  using (tenant_id::text = current_setting('app.tenant_id', true))
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_keys AFTER INSERT OR DELETE OR UPDATE ON platform.api_keys FOR EACH ROW EXECUTE FUNCTION audit.record('key', 'prefix');
CREATE TRIGGER reject_change_while_away BEFORE INSERT OR DELETE OR UPDATE ON platform.api_keys FOR EACH ROW EXECUTE FUNCTION platform.reject_change_while_away('tenant_id');

-- policies and triggers: platform.customer_sessions
create policy every_tenant on platform.customer_sessions to fusion_platform
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy shown_session on platform.customer_sessions for select to fusion_platform
  using (token_hash::text = current_setting('app.key_hash', true));
create policy tenant on platform.customer_sessions to public
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_sessions AFTER INSERT ON platform.customer_sessions FOR EACH ROW WHEN (COALESCE(current_setting('app.shopper', true), '') = '') EXECUTE FUNCTION audit.record('customer_session', 'customer_id');

-- policies and triggers: platform.dead_letters
create policy every_tenant on platform.dead_letters to fusion_platform
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))))
  with check (current_setting('app.tenant_id', true) = '*' AND tenant_id::text <> '*');
create policy proven_tenant on platform.dead_letters for select to fusion_reader
  using (tenant_id::text = current_setting('app.tenant_id', true) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{events:read,events:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on platform.dead_letters to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using (tenant_id::text = current_setting('app.tenant_id', true))
  with check (tenant_id::text = current_setting('app.tenant_id', true));
CREATE TRIGGER audit_replays AFTER UPDATE OF replayed_at ON platform.dead_letters FOR EACH ROW WHEN (old.replayed_at IS NULL AND new.replayed_at IS NOT NULL) EXECUTE FUNCTION audit.record('dead_letter', 'id');

-- policies and triggers: platform.events
create policy every_tenant on platform.events to fusion_platform
  using (current_setting('app.tenant_id', true) = '*')
  with check (current_setting('app.tenant_id', true) = '*' AND tenant_id::text <> '*');
create policy proven_tenant on platform.events for select to fusion_reader
  using (tenant_id::text = current_setting('app.tenant_id', true) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{orders:read,events:read,events:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on platform.events to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using (tenant_id::text = current_setting('app.tenant_id', true))
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: platform.idempotency
create policy every_tenant on platform.idempotency to fusion_platform
  using (current_setting('app.tenant_id', true) = '*')
  with check (current_setting('app.tenant_id', true) = '*' AND tenant_id::text <> '*');
create policy tenant on platform.idempotency to public
  using (tenant_id::text = current_setting('app.tenant_id', true))
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: platform.inbox
create policy every_tenant on platform.inbox to fusion_platform
  using (current_setting('app.tenant_id', true) = '*')
  with check (current_setting('app.tenant_id', true) = '*' AND tenant_id::text <> '*');
create policy tenant on platform.inbox to public
  using (tenant_id::text = current_setting('app.tenant_id', true))
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: platform.outbox
create policy every_tenant on platform.outbox to fusion_platform
  using (current_setting('app.tenant_id', true) = '*')
  with check (current_setting('app.tenant_id', true) = '*' AND tenant_id::text <> '*');
create policy tenant on platform.outbox to public
  using (tenant_id::text = current_setting('app.tenant_id', true))
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: platform.tenants
CREATE TRIGGER audit_tenants AFTER INSERT OR DELETE OR UPDATE ON platform.tenants FOR EACH ROW EXECUTE FUNCTION audit.record('tenant', 'id');
CREATE TRIGGER reject_change_while_away BEFORE DELETE OR UPDATE ON platform.tenants FOR EACH ROW EXECUTE FUNCTION platform.reject_change_while_away('id');

-- policies and triggers: shipping.label_requests
create policy every_tenant on shipping.label_requests for select to fusion_shipping
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy proven_tenant on shipping.label_requests for select to fusion_reader
  using (tenant_id::text = current_setting('app.tenant_id', true) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{shipping:read,shipping:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on shipping.label_requests to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: shipping.label_voids
create policy every_tenant on shipping.label_voids for select to fusion_shipping
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy tenant on shipping.label_voids to public
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));

-- policies and triggers: shipping.shipments
create policy every_tenant on shipping.shipments for select to fusion_shipping
  using (current_setting('app.tenant_id', true) = '*' AND (tenant_id::text <> ALL (string_to_array(concat(current_setting('app.away', true)), ' '))));
create policy proven_tenant on shipping.shipments for select to fusion_reader
  using (tenant_id::text = current_setting('app.tenant_id', true) AND CASE WHEN tenant_id::text = ((( SELECT platform.proven_tenant(VARIADIC '{orders:read,orders:write,shipping:read,shipping:write}'::text[]) AS proven_tenant))::text) THEN true ELSE NULL::boolean END IS NOT NULL);
create policy tenant on shipping.shipments to fusion_catalog, fusion_group_commerce, fusion_inventory, fusion_orders, fusion_payments, fusion_platform, fusion_shipping
  using ( CASE WHEN tenant_id::text = current_setting('app.tenant_id', true) THEN true ELSE NULL::boolean END IS NOT NULL)
  with check (tenant_id::text = current_setting('app.tenant_id', true));
