-- requires: platform/access.sql, platform/currencies.sql, orders/discount-uses.sql
-- Discounts as a merchant manages them. orders.find_discounts chooses among them, and discount-uses.sql counts.

-- A discount as the API shows it. `used`: null without a usage limit. Writes add `version`, for the ETag.
create or replace function orders.discount_json(d orders.discounts, used integer) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', d.id, 'code', d.code, 'name', d.name, 'type', d.type, 'value', d.value,
    'currency', d.currency, 'startsAt', platform.iso(d.starts_at), 'endsAt', platform.iso(d.ends_at),
    'usageLimit', d.usage_limit, 'used', case when d.usage_limit is not null then used end,
    'perCustomerLimit', d.per_customer_limit, 'minSubtotal', d.min_subtotal, 'skus', to_jsonb(d.skus),
    'collections', to_jsonb(d.collections), 'combinable', d.combinable, 'createdAt', platform.iso(d.created_at),
    'updatedAt', platform.iso(d.updated_at))
$$;

-- The row with the fields of a request. Null clears a field; fields that the request does not name stay.
create or replace function orders.with_discount_fields(d orders.discounts, change jsonb) returns orders.discounts
language sql stable as $$
  select jsonb_populate_record(d, coalesce(jsonb_object_agg(f.column_name, change->f.name), '{}'))
  from (values ('code', 'code'), ('name', 'name'), ('type', 'type'), ('value', 'value'), ('currency', 'currency'),
    ('startsAt', 'starts_at'), ('endsAt', 'ends_at'), ('usageLimit', 'usage_limit'),
    ('perCustomerLimit', 'per_customer_limit'), ('minSubtotal', 'min_subtotal'), ('skus', 'skus'),
    ('collections', 'collections'), ('combinable', 'combinable')) f(name, column_name)
  where change ? f.name
$$;

-- What is wrong with a discount, as the error result validation_failed; null if nothing is. `change`: the fields that
-- the request names. Only collections that it names must exist, because one may be deleted later.
create or replace function orders.discount_faults(d orders.discounts, change jsonb) returns jsonb
language sql stable as $$
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
$$;

create or replace function orders.code_taken(code varchar) returns jsonb
language sql immutable as $$
  select jsonb_build_object('error', 'conflict',
    'detail', format('Another discount has the code "%s". Codes ignore case.', code))
$$;

-- Locks a discount for a change. Orders may still take uses meanwhile. Raises not_found, version_mismatch.
create or replace function orders.lock_discount(discount_id varchar, versions jsonb) returns orders.discounts
language plpgsql set search_path = pg_catalog, pg_temp as $$
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
$$;

-- Starts or stops counting when a limit was added or removed. A new counter starts from the uses that are recorded as
-- taken. Every function that changes a use locks its discount `for key share` first. So this waits for them, and the
-- next statement sees their uses. If only the number of a limit changes, no lock is needed.
create or replace function orders.change_limits(before orders.discounts, after orders.discounts) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
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
$$;

-- A discount with its version and its uses, as a write returns it.
create or replace function orders.written_discount(d orders.discounts) returns jsonb
language sql stable as $$
  select orders.discount_json(d, (select c.used from orders.discount_counters c where c.discount_id = d.id))
    || jsonb_build_object('version', d.version)
$$;

-- `input`: {id, code?, name, type, value?, currency?, startsAt?, endsAt?, usageLimit?, perCustomerLimit?, minSubtotal?,
-- skus?, collections?, combinable}. Returns the errors validation_failed, conflict (discounts_code_unique).
create or replace function orders.create_discount(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

-- `input`: {id, ifMatch?: [version], change: {as in create_discount, each optional}}. Raises not_found,
-- version_mismatch. Returns the errors validation_failed, conflict (discounts_code_unique).
create or replace function orders.update_discount(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

-- Ends a discount and frees its code. Orders that have used it keep it, and their uses still count, because late money
-- may take one again. `input`: {id, ifMatch?: [version]}. Raises not_found, version_mismatch.
create or replace function orders.delete_discount(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.create_discount, orders.update_discount, orders.delete_discount to fusion_worker;
grant execute on function orders.discount_json to fusion_reader;
