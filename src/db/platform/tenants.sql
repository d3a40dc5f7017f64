-- requires: platform/access.sql
-- A tenant's settings. A setting that is null is that of the Worker's variables. The credentials of its carrier are not
-- among them: no function here returns them.

-- A tenant's own carrier as the API shows it.
create or replace function platform.carrier_json(name varchar, credentials varchar) returns jsonb
language sql stable as $$
  select case when name is not null then jsonb_build_object('name', name,
    'hasApiKey', credentials::jsonb #>> array[name, 'apiKey'] is not null,
    'hasWebhookSecret', credentials::jsonb #>> array[name, 'webhookSecret'] is not null) end
$$;

-- The credentials of a tenant after a change of its carrier: {name, apiKey?, webhookSecret?}, encrypted; null removes
-- one. Those for its earlier carriers stay, for the labels that they made. Without a carrier of its own it has none.
create or replace function platform.change_credentials(credentials varchar, carrier jsonb) returns varchar
language sql stable as $$
  select case when carrier <> 'null' then (coalesce(credentials::jsonb, '{}') || jsonb_build_object(carrier->>'name',
    jsonb_strip_nulls(coalesce(credentials::jsonb -> (carrier->>'name'), '{}') || carrier - 'name')))::text end
$$;

-- A tenant as the API shows it. `version` is for the ETag.
create or replace function platform.tenant_json(t platform.tenants) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', t.id, 'name', t.name, 'country', t.country, 'currency', t.currency,
    'pricesIncludeTax', t.prices_include_tax, 'taxProvider', t.tax_provider, 'shipFrom', t.ship_from,
    'parcel', t.parcel,
    'carrier', platform.carrier_json(t.carrier, t.carrier_credentials),
    'delayedPayments', t.delayed_payments, 'automaticLabels', t.automatic_labels, 'holdSeconds', t.hold_seconds, 'cartSeconds', t.cart_seconds,
    'approvalSeconds', t.approval_seconds, 'graceSeconds', t.grace_seconds, 'links', t.links,
    'storefrontUrl', t.storefront_url, 'oidc', t.oidc, 'stripeAccount', t.stripe_account, 'version', t.version)
$$;

-- The settings of the tenant whose key this transaction has authenticated for tenant:read; null without such a key. The
-- reader has no access to the table, so a publishable key cannot prove its way to more than read_storefront shows.
create or replace function platform.read_tenant() returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select platform.tenant_json(t) from platform.tenants t where t.id = platform.proven_tenant('tenant:read')
$$;

-- What a storefront shows of its tenant, for keys with catalog:read.
create or replace function platform.read_storefront() returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select jsonb_build_object('name', t.name, 'country', t.country, 'currency', t.currency,
    'pricesIncludeTax', t.prices_include_tax, 'links', t.links, 'stripeAccount', t.stripe_account)
  from platform.tenants t where t.id = platform.proven_tenant('catalog:read')
$$;

-- `input`: {ifMatch?: [version], change: {name?, country?, currency?, pricesIncludeTax?, taxProvider?, shipFrom?,
-- parcel?, delayedPayments?, automaticLabels?, holdSeconds?, cartSeconds?, approvalSeconds?, graceSeconds?, links?,
-- storefrontUrl?, oidc?, carrier? (see change_credentials)}}. A field that is left out stays as it is, and so does a
-- link. Null: the Worker's setting, or no link. Raises version_mismatch. Returns the error validation_failed: a carrier
-- without a key or sender (tenants_carrier_has_key, tenants_carrier_has_sender). Locks the tenant for the version
-- check.
create or replace function platform.update_tenant(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

-- The currency of the transaction's tenant, for services that have authenticated it; null if it has none.
create or replace function platform.tenant_currency() returns varchar
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select t.currency from platform.tenants t where t.id = platform.tenant()
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.read_tenant, platform.read_storefront to fusion_reader;
grant execute on function platform.update_tenant to fusion_worker;
grant execute on function platform.tenant_currency to fusion_catalog;
