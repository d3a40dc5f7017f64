-- requires: platform/customer-sessions.sql, orders/customers.sql
-- How a customer logs in: with a session that the merchant opens, or with an ID token of the merchant's OpenID
-- provider.

-- The customer of an ID token, whose signature the Worker has checked. `identity`: {issuer, subject, email?}; `email`
-- is an address that the provider has verified. Found by issuer and subject, or by the e-mail: then the customer is
-- bound to this issuer and subject from now on. Otherwise a customer with the e-mail is created under `new_id`. A
-- customer that is bound to another subject of this issuer stays bound to it. Two first log-ins of one person find the
-- same customer (customers_oidc_unique, customers_email_unique). Null: there is none, and none can be created.
create or replace function orders.customer_of_identity(identity jsonb, new_id varchar) returns varchar
language plpgsql set search_path = pg_catalog, pg_temp as $$
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
$$;

-- POST /v1/customer-sessions. `input`: {tokenHash, customerId} for a secret key, or {tokenHash, newId, until, identity:
-- {issuer, audience, subject, email?}} with the job secret in `call`: without it, a leaked login could name anybody.
-- Returns {customerId, expiresAt}; the token is never stored. Raises forbidden, not_found (no such customer).
create or replace function orders.create_session(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.create_session to fusion_worker;
