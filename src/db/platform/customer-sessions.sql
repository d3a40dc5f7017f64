-- requires: platform/access.sql, platform/idempotency.sql
-- Sessions of customers. The database has the SHA-256 of a session's token, as it has for API keys.

-- Checks that the Worker itself vouches for a call that has a key: the call carries the job secret too. For what the
-- database cannot check, such as a signature. Raises invalid_authorization_specification, as platform.enter_as does.
create or replace function platform.check_vouched(call jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from platform.job_secrets j
      where j.sha256 = encode(sha256(convert_to(call->>'jobSecret', 'UTF8')), 'hex'))
    and (call->>'jobSecret' is not null or (select s.sealed from platform.security s)) then
    raise exception 'this call needs a job secret' using errcode = 'invalid_authorization_specification',
      hint = 'Set DATABASE_JOB_SECRET to a secret made by "npm run keys -- jobs make".';
  end if;
end
$$;

-- The OpenID provider of the caller's tenant: {issuer, audience}, or null. For POST /v1/customer-sessions, which checks
-- a token of that provider. The answer is {oidc}.
create or replace function platform.read_oidc(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'customers:write', '{publishable}');
begin
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', jsonb_build_object('oidc',
    (select t.oidc from platform.tenants t where t.id = api_key.tenant_id)));
end
$$;

-- Whether the tenant still trusts this issuer for this audience. For orders.
create or replace function platform.trusts_issuer(issuer varchar, audience varchar) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce((select t.oidc->>'issuer' = issuer and t.oidc->>'audience' = audience
    from platform.tenants t where t.id = platform.tenant()), false)
$$;

-- Opens a session of a customer of the transaction's tenant, for an hour or until the given time, whichever is earlier.
-- Returns when it ends. For orders.
create or replace function platform.open_session(token_hash varchar, customer_id varchar, until timestamptz)
returns timestamptz
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into platform.customer_sessions (token_hash, tenant_id, customer_id, created_at, expires_at)
  values (open_session.token_hash, platform.tenant(), open_session.customer_id, platform.clock(),
    least(platform.clock() + interval '1 hour', open_session.until)) -- `least` ignores a null
  returning expires_at
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.read_oidc to fusion_worker;
grant execute on function platform.check_vouched to fusion_orders, fusion_payments;
grant execute on function platform.trusts_issuer, platform.open_session to fusion_orders;
