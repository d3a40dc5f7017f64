-- Tenants are separate businesses: their settings, their Stripe account, their sender, parcel and carrier. A setting
-- that is null is that of the Worker's variables.
alter table platform.tenants
  add column country varchar(2),
  add column currency varchar(3),
  add column prices_include_tax boolean not null default false,
  add column ship_from jsonb,
  add column parcel jsonb,
  add column carrier varchar constraint tenants_carrier check (carrier in ('manual', 'shippo', 'easypost')),
  add column carrier_credentials varchar,   -- encrypted; only the Worker has the key
  add column hold_seconds integer constraint tenants_hold_seconds check (hold_seconds between 1 and 2592000),
  add column cart_seconds integer constraint tenants_cart_seconds check (cart_seconds between 1 and 31536000),
  add column approval_seconds integer constraint tenants_approval_seconds check (approval_seconds between 1 and 2592000),
  add column grace_seconds integer constraint tenants_grace_seconds check (grace_seconds between 1 and 2592000),
  add column links jsonb not null default '{}',
  add column storefront_url varchar,
  add column oidc jsonb,
  add column stripe_account varchar constraint tenants_stripe_account_unique unique,
  add column version integer not null default 1,
  add column updated_at timestamptz not null default now();

-- The account of the tenant when the payment was opened; null: the platform's own. It never changes.
alter table payments.payments add column stripe_account varchar;
alter table payments.intents add column stripe_account varchar;

-- Keys with every scope get those of the new resources, except `tenant:write` and `keys:write`, which the operator
-- grants.
do $$
declare
  tenant record;
begin
  for tenant in select id from platform.tenants loop
    perform set_config('app.tenant_id', tenant.id, true);
    update platform.api_keys k
    set scopes = k.scopes || array['customers:read', 'customers:write', 'discounts:read', 'discounts:write', 'tax:read',
      'tax:write', 'organizations:read', 'organizations:write', 'invoices:read', 'invoices:write', 'quotes:read',
      'quotes:write', 'webhooks:read', 'webhooks:write', 'tenant:read', 'keys:read']
    where k.tenant_id = tenant.id and k.kind = 'secret' and k.scopes @> array['catalog:read', 'catalog:write',
      'inventory:read', 'inventory:write', 'orders:read', 'orders:write', 'campaigns:read', 'campaigns:write',
      'payments:read', 'payments:write', 'shipping:read', 'shipping:write', 'events:read', 'events:write'];
  end loop;
  perform set_config('app.tenant_id', '', true);
end
$$;
