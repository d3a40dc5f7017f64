-- requires: platform/access.sql, orders/terms.sql
-- Tax rates. orders.find_rates chooses among them. Every write locks its rate alone.

-- A tax rate as the API shows it. Writes add `version`, for the ETag.
create or replace function orders.tax_rate_json(r orders.tax_rates) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', r.id, 'name', r.name, 'country', r.country, 'region', r.region, 'category', r.category,
    'rate', r.rate, 'createdAt', platform.iso(r.created_at), 'updatedAt', platform.iso(r.updated_at))
$$;

-- The error if there is a rate for the same place and category already (tax_rates_once).
create or replace function orders.tax_rate_conflict(r orders.tax_rates) returns jsonb
language sql stable as $$
  select jsonb_build_object('error', 'conflict', 'detail', format('There is a tax rate for %s and %s already. Change that one.',
    coalesce(r.country || '-' || r.region, r.country),
    coalesce('the category "' || r.category || '"', 'products without a rate for their category')))
$$;

-- The error of a region of another country than the rate's; null if the region fits.
create or replace function orders.region_fault(region text, country text) returns jsonb
language sql immutable as $$
  select case when region like '%-%' then jsonb_build_object('error', 'validation_failed', 'errors',
    jsonb_build_array(jsonb_build_object('pointer', '/region',
      'detail', format('is not a region of %s: give its code in ISO 3166-2, with or without "%s-"', country, country)))) end
$$;

-- `input`: {id, name, country, region?, category?, rate}. Returns the errors conflict (tax_rates_once),
-- validation_failed (a region of another country).
create or replace function orders.create_tax_rate(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

-- Locks a rate for a change. Raises not_found, version_mismatch.
create or replace function orders.lock_tax_rate(rate_id varchar, versions jsonb) returns orders.tax_rates
language plpgsql set search_path = pg_catalog, pg_temp as $$
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
$$;

-- `input`: {id, ifMatch?: [version], change: {name?, country?, region?, category?, rate?}}. Raises not_found,
-- version_mismatch. Returns the errors conflict (tax_rates_once), validation_failed (a region of another country, or
-- one that stays while the country changes).
create or replace function orders.update_tax_rate(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

-- `input`: {id, ifMatch?: [version]}. Raises not_found, version_mismatch. Orders that were placed keep their tax.
create or replace function orders.delete_tax_rate(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.create_tax_rate, orders.update_tax_rate, orders.delete_tax_rate to fusion_worker;
grant execute on function orders.tax_rate_json to fusion_reader;
