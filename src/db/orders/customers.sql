-- requires: platform/access.sql, platform/events.sql
-- Customers: who they are, where they live and which group's prices they get.

-- A customer as the API shows it. Writes add `version`, for the ETag.
create or replace function orders.customer_json(c orders.customers) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', c.id, 'email', c.email, 'name', c.name, 'phone', c.phone, 'addresses', c.addresses,
    'group', c.customer_group, 'metadata', c.metadata, 'vatNumber', c.vat_number, 'vatStatus', c.vat_status, 'createdAt', platform.iso(c.created_at),
    'updatedAt', platform.iso(c.updated_at))
$$;

-- Asks VIES about the number of a customer. The event holds the id alone.
create or replace function orders.request_vat_check(c orders.customers) returns void
language sql as $$
  select platform.emit('customer.vat.requested', c.id, jsonb_build_object('customerId', c.id), true)
$$;

-- Whether the caller may reach the customer: a secret key reaches every one of its tenant, a session its own.
create or replace function orders.may_reach_customer(c orders.customers) returns boolean
language sql stable as $$
  select platform.shopper() is null or coalesce(c.id = platform.shopper()->>'customer', false)
$$;

-- A customer as the caller sees it: a session does not see `metadata`, which is the merchant's.
create or replace function orders.customer_json_for_caller(c orders.customers) returns jsonb
language sql stable as $$
  select orders.customer_json(c) || case when platform.shopper() is null then '{}' else '{"metadata": {}}'::jsonb end
$$;

-- `input`: {id, email, name?, phone?, addresses?, group?, metadata?, vatNumber?}. Returns the error email_taken
-- (customers_email_unique). With a VAT number, emits customer.vat.requested.
create or replace function orders.create_customer(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

-- `input`: {id, ifMatch?: [version], change: {email?, name?, phone?, addresses?, group?, metadata?, vatNumber?}}.
-- Raises not_found, version_mismatch; forbidden if a session changes more than name, phone and addresses. Returns the
-- error email_taken (customers_email_unique). A VAT number that changes is pending, and emits customer.vat.requested.
-- Locks the customer for the version check.
create or replace function orders.update_customer(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.create_customer, orders.update_customer to fusion_worker;
grant execute on function orders.customer_json to fusion_reader;
