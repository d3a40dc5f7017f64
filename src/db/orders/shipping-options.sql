-- requires: platform/access.sql, platform/currencies.sql, orders/terms.sql
-- Shipping options as a merchant manages them. orders.find_shipping_options chooses among them.

-- A shipping option as the API shows it. Writes add `version`, for the ETag.
create or replace function orders.shipping_option_json(o orders.shipping_options) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', o.id, 'name', o.name, 'countries', to_jsonb(o.countries), 'currency', o.currency,
    'price', o.price, 'freeFrom', o.free_from, 'minWeight', o.min_weight, 'maxWeight', o.max_weight,
    'minDays', o.min_days, 'maxDays', o.max_days, 'taxCategory', o.tax_category, 'createdAt', platform.iso(o.created_at),
    'updatedAt', platform.iso(o.updated_at))
$$;

-- The row with the fields of a request. Null clears a field; fields that the request does not name stay.
create or replace function orders.with_shipping_fields(o orders.shipping_options, change jsonb)
returns orders.shipping_options
language sql stable as $$
  select jsonb_populate_record(o, coalesce(jsonb_object_agg(f.column_name, change->f.name), '{}'))
  from (values ('name', 'name'), ('countries', 'countries'), ('currency', 'currency'), ('price', 'price'),
    ('freeFrom', 'free_from'), ('minWeight', 'min_weight'), ('maxWeight', 'max_weight'), ('minDays', 'min_days'),
    ('maxDays', 'max_days'), ('taxCategory', 'tax_category')) f(name, column_name)
  where change ? f.name
$$;

-- What is wrong with an option, as the error result validation_failed; null if nothing is.
create or replace function orders.shipping_option_faults(o orders.shipping_options) returns jsonb
language sql stable as $$
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
$$;

-- Locks an option for a change. Raises not_found, version_mismatch.
create or replace function orders.lock_shipping_option(option_id varchar, versions jsonb) returns orders.shipping_options
language plpgsql set search_path = pg_catalog, pg_temp as $$
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
$$;

-- `input`: {id, name, countries, currency, price, freeFrom?, minWeight?, maxWeight?, minDays?, maxDays?, taxCategory?}.
-- Returns the error validation_failed.
create or replace function orders.create_shipping_option(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

-- `input`: {id, ifMatch?: [version], change: {as in create_shipping_option, each optional}}. Raises not_found,
-- version_mismatch. Returns the error validation_failed.
create or replace function orders.update_shipping_option(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

-- Orders that were placed keep the option's id, name and price. `input`: {id, ifMatch?: [version]}. Raises not_found,
-- version_mismatch.
create or replace function orders.delete_shipping_option(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.create_shipping_option, orders.update_shipping_option, orders.delete_shipping_option
  to fusion_worker;
grant execute on function orders.shipping_option_json to fusion_reader;
