-- What a shopper needs to buy from a page: carts, sessions of customers, taxes, shipping options and discounts, and the
-- amounts that an order froze.

create table platform.customer_sessions (
  token_hash varchar primary key constraint customer_sessions_token_hash_form check (token_hash ~ '^[0-9a-f]{64}$'),
  tenant_id varchar not null references platform.tenants (id),
  customer_id varchar not null,
  created_at timestamptz not null,
  expires_at timestamptz not null
);
create index idx_customer_sessions_customer_id on platform.customer_sessions (customer_id);
create index idx_customer_sessions_expires_at on platform.customer_sessions (expires_at);

-- An open cart holds no stock and no prices. Its row has what the shopper chose; every answer computes the rest.
create table orders.carts (
  id varchar primary key,
  tenant_id varchar not null,
  token_hash varchar not null constraint carts_token_hash_form check (token_hash ~ '^[0-9a-f]{64}$'),
  status varchar not null constraint carts_status check (status in ('open', 'ordered', 'completed', 'cancelled', 'expired')),
  currency varchar(3) not null,
  customer_id varchar,
  items jsonb not null default '[]',          -- [{id, sku, quantity}], each SKU once, 200 at most
  email varchar,
  phone varchar,
  shipping_address jsonb,
  billing_address jsonb,
  shipping_option_id varchar,
  discount_codes varchar[] not null default '{}',
  organization_id varchar,
  purchase_order_number varchar,
  metadata jsonb not null default '{}',
  source jsonb,                               -- {channel, id}
  order_id varchar,                           -- its latest order; not a foreign key, because the cart is locked before the order
  version integer not null default 1,
  expires_at timestamptz not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint carts_ordered check (status <> 'ordered' or order_id is not null),
  constraint carts_items check (jsonb_array_length(items) <= 200)
);
create index idx_carts_customer_id on orders.carts (tenant_id, customer_id, id desc) where customer_id is not null;
create index idx_carts_expires_at on orders.carts (expires_at) where status in ('open', 'ordered');
create index idx_carts_ended on orders.carts (updated_at) where status in ('completed', 'cancelled', 'expired');

create table orders.tax_rates (
  id varchar primary key,
  tenant_id varchar not null,
  name varchar not null,
  country varchar(2) not null,
  region varchar,                             -- ISO 3166-2 without the country, such as CA
  category varchar,                           -- as in catalog.products.tax_category
  rate numeric(7,4) not null constraint tax_rates_rate check (rate between 0 and 100), -- percent
  version integer not null default 1,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index idx_tax_rates_tenant_id on orders.tax_rates (tenant_id, id desc);
create unique index tax_rates_once on orders.tax_rates (tenant_id, country, region, category) nulls not distinct;

create table orders.shipping_options (
  id varchar primary key,
  tenant_id varchar not null,
  name varchar not null,
  countries varchar[] not null,
  currency varchar(3) not null,
  price numeric(10,2) not null constraint shipping_options_price_not_negative check (price >= 0),
  free_from numeric(10,2) constraint shipping_options_free_from_not_negative check (free_from >= 0),
  min_weight integer constraint shipping_options_min_weight_not_negative check (min_weight >= 0), -- grams
  max_weight integer constraint shipping_options_max_weight_not_negative check (max_weight >= 0),
  min_days integer constraint shipping_options_min_days_not_negative check (min_days >= 0),
  max_days integer constraint shipping_options_max_days_not_negative check (max_days >= 0),
  tax_category varchar,
  version integer not null default 1,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint shipping_options_weights check (max_weight >= min_weight),
  constraint shipping_options_days check (max_days >= min_days)
);
create index idx_shipping_options_tenant_id on orders.shipping_options (tenant_id, id desc);

create table orders.discounts (
  id varchar primary key,
  tenant_id varchar not null,
  code varchar,                               -- null: it applies by itself
  code_key varchar generated always as (upper(code)) stored,
  name varchar not null,
  type varchar not null constraint discounts_type check (type in ('percentage', 'amount', 'free_shipping')),
  value numeric(10,2) not null constraint discounts_value_not_negative check (value >= 0), -- percent, or an amount in `currency`
  currency varchar(3),
  starts_at timestamptz,
  ends_at timestamptz,
  usage_limit integer constraint discounts_usage_limit check (usage_limit >= 1),
  per_customer_limit integer constraint discounts_per_customer_limit check (per_customer_limit >= 1),
  min_subtotal numeric(10,2) constraint discounts_min_subtotal_not_negative check (min_subtotal >= 0),
  skus varchar[],                             -- null: every SKU
  collections varchar[],                      -- ids; null: every collection
  combinable boolean not null,
  deleted_at timestamptz,                     -- orders that used it count its uses still
  version integer not null default 1,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint discounts_percentage check (type <> 'percentage' or value <= 100),
  constraint discounts_currency check (currency is not null or type <> 'amount' and min_subtotal is null),
  constraint discounts_period check (ends_at > starts_at)
);
create index idx_discounts_tenant_id on orders.discounts (tenant_id, id desc);
create unique index discounts_code_unique on orders.discounts (tenant_id, code_key) where deleted_at is null and code is not null;
create index idx_discounts_automatic on orders.discounts (tenant_id) where code is null and deleted_at is null;

-- Only a discount with a usage limit has a counter, and only one with a limit for each customer has a row for each.
create table orders.discount_counters (
  discount_id varchar primary key,
  tenant_id varchar not null,
  used integer not null constraint discount_counters_used_not_negative check (used >= 0)
);
create table orders.discount_customers (
  discount_id varchar not null,
  customer_key varchar not null,              -- orders.customer_key: a hash
  tenant_id varchar not null,
  used integer not null constraint discount_customers_used_not_negative check (used >= 0),
  constraint discount_customers_once primary key (discount_id, customer_key)
);
-- The uses that an order counts in those rows. `is_taken`: false once the order has failed or was cancelled.
create table orders.discount_uses (
  order_id varchar not null,
  discount_id varchar not null,
  tenant_id varchar not null,
  customer_key varchar not null,
  is_taken boolean not null,
  constraint discount_uses_once primary key (order_id, discount_id)
);
create index idx_discount_uses_discount_id on orders.discount_uses (discount_id);

-- Null in all of these: an order without tax, shipping price and discounts, whose total is that of its items.
alter table orders.orders
  add column cart_id varchar,
  add column source jsonb,
  add column email varchar,
  add column metadata jsonb,
  add column billing_address jsonb,
  add column subtotal numeric(10,2),
  add column discount_total numeric(10,2),
  add column shipping_total numeric(10,2),
  add column shipping_tax numeric(10,2),
  add column tax_total numeric(10,2),
  add column tax_included boolean,
  add column tax_lines jsonb,                 -- [{name, rate, taxable, amount}]
  add column discounts jsonb,                 -- [{id, code, name, amount, allocations: [{lineId, amount}]}]
  add column shipping_option jsonb,           -- {id, name}
  add column lines jsonb,                     -- [{id, name, subtotal, discount, tax, total}], one for each of `items`, frozen
  -- What happened to each of `items` since, in their order; null: nothing.
  add column refunded_quantities integer[],
  add column fulfilled_quantities integer[],
  add column restocked_quantities integer[],
  add column shipping_refunded numeric(10,2);
create index idx_orders_cart_id on orders.orders (cart_id) where cart_id is not null;

alter table orders.customers
  add column oidc_issuer varchar,
  add column oidc_subject varchar,
  add column vat_number varchar,
  add column vat_status varchar constraint customers_vat_status check (vat_status in ('pending', 'valid', 'invalid')),
  add column vat_checked_at timestamptz,
  add constraint customers_vat check ((vat_number is null) = (vat_status is null));
create unique index customers_oidc_unique on orders.customers (tenant_id, oidc_issuer, oidc_subject)
  where oidc_subject is not null;

do $$
declare
  new_table regclass;
begin
  foreach new_table in array array['platform.customer_sessions', 'orders.carts', 'orders.tax_rates',
    'orders.shipping_options', 'orders.discounts', 'orders.discount_counters', 'orders.discount_customers',
    'orders.discount_uses']::regclass[] loop
    execute format('alter table %s enable row level security', new_table);
    execute format('alter table %s force row level security', new_table);
    execute format('create policy tenant on %s
      using (case when tenant_id = current_setting(''app.tenant_id'', true) then true end is not null)
      with check (tenant_id = current_setting(''app.tenant_id'', true))', new_table);
  end loop;
end
$$;
-- A session is found before its tenant is known, as an API key is.
create policy shown_session on platform.customer_sessions for select to fusion_platform
  using (token_hash = current_setting('app.key_hash', true));
-- Jobs look for work of all tenants.
create policy every_tenant on platform.customer_sessions to fusion_platform
  using (current_setting('app.tenant_id', true) = '*'
    and tenant_id <> all (string_to_array(concat(current_setting('app.away', true)), ' ')));
create policy every_tenant on orders.carts for select to fusion_orders
  using (current_setting('app.tenant_id', true) = '*'
    and tenant_id <> all (string_to_array(concat(current_setting('app.away', true)), ' ')));

grant select, insert, delete on platform.customer_sessions to fusion_platform;
grant select, insert, update, delete on orders.carts, orders.tax_rates, orders.shipping_options, orders.discounts,
  orders.discount_counters, orders.discount_customers, orders.discount_uses to fusion_orders;
grant delete on orders.customers to fusion_orders;
grant select on orders.tax_rates, orders.shipping_options, orders.discounts to fusion_reader;
grant select on orders.discount_counters to fusion_reader;
grant select (id, hold_seconds, cart_seconds, country, currency, prices_include_tax) on platform.tenants to fusion_orders;
grant select on inventory.inventory to fusion_orders;
