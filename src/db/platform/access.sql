-- The functions that every other function begins with: API keys, the tenant and the clock. A
-- write is one function, `service.verb(call jsonb, input jsonb)`. `call` has the caller's credentials and idempotency
-- key. The result is {tenant, answer, replayed}. If the function raises an error, nothing is changed or stored. If it
-- returns, its answer is stored under the idempotency key, an error ({error: code, …}) included.

-- A function that runs as its owner sets its search_path. The small SQL functions run as their caller and name every
-- schema instead, so that Postgres can inline them.

create or replace function platform.clock() returns timestamptz
language sql stable as $$
  -- A caller can pass the time (a cron's scheduled time, a test's time); otherwise it is the transaction's time. In
  -- milliseconds like the API, so that a hold ends exactly at the time that the API shows. No `coalesce` or `nullif`:
  -- Postgres does not treat them as leakproof under row-level security, and a condition on time could not use an index.
  select case when current_setting('app.now', true) <> '' then current_setting('app.now', true)::timestamptz
    else date_trunc('milliseconds', now()) end
$$;

create or replace function platform.tenant() returns varchar
language sql stable as $$
  select current_setting('app.tenant_id', true)
$$;

create or replace function platform.iso(t timestamptz) returns text
language sql stable as $$
  select to_char(t at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- A UUIDv7 (RFC 9562): milliseconds, then random bits. PostgreSQL has its own from version 18; this runs on older
-- versions too.
create or replace function platform.uuid7() returns varchar
language sql volatile as $$
  select encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing
    substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1),
    'hex')::uuid::varchar
$$;

-- The next version. It restarts at 2 after the largest integer, which the stock of a popular SKU can reach in weeks.
create or replace function platform.next_version(version integer) returns integer
language sql immutable as $$
  select case when version < 2147483647 then version + 1 else 2 end
$$;

-- Ends the transaction with one of the API's error codes. SQLSTATE FC000 is used by this system only. The tenant, if it
-- is known by then, is for the log.
create or replace function platform.fail(code text, detail jsonb default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception using errcode = 'FC000', message = code, detail =
    (jsonb_strip_nulls(jsonb_build_object('tenant', nullif(nullif(platform.tenant(), ''), '*')))
      || coalesce(detail, '{}'))::text;
end
$$;

-- Lets a job or a consumer act as a tenant, or ('*') look for work of all tenants where a policy allows it.
create or replace function platform.act_as(tenant varchar) returns void
language sql as $$
  select set_config('app.tenant_id', tenant, true)
$$;

-- Sets the time, the trace and the shown key for the rest of the transaction, over any setting of the session, and
-- returns the key's hash. A call may pass the time only if platform.security allows it. A call that waits for a lock for
-- more than 4 s (plus `patienceMs` for a large order) fails with 55P03 and changes nothing. The Worker retries until its
-- own deadline, and uses no connection in between.
create or replace function platform.begin_call(call jsonb, shown_key_hash text) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
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
$$;

-- A session as an API key, with the scopes of a publishable key.
create or replace function platform.key_of_session(token_hash text) returns platform.api_keys
language sql stable as $$
  select jsonb_populate_record(null::platform.api_keys, jsonb_build_object('id', s.customer_id, 'tenant_id', s.tenant_id,
    'kind', 'session', 'scopes', array['catalog:read', 'campaigns:read'], 'expires_at', s.expires_at,
    'away', exists (select from platform.tenant_moves m where m.id = s.tenant_id)))
  from platform.customer_sessions s where s.token_hash = key_of_session.token_hash
$$;

-- Identifies the caller by the key's hash, by a customer's session (`session`: the key is its token), or by a token for
-- watching one campaign or team (`liveToken`, `campaign`: its id). The key's tenant is the tenant for the rest of the
-- transaction, and platform.shopper is the caller. `shoppers`: the kinds of key (`publishable`, `session`) that need no
-- scope, because the calling function checks that they may reach the row. Raises unauthenticated, forbidden; moved,
-- unavailable if the tenant is away (platform.refuse_away).
create or replace function platform.identify(call jsonb, scope text, shoppers text[] default '{}')
returns platform.api_keys
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;

-- The caller, if it is not a secret key: {kind, customer, cartHash}. `customer`: the customer of a session. `cartHash`:
-- the SHA-256 of the shown Cart-Token. Null for a secret key, which may reach every row of its tenant.
create or replace function platform.shopper() returns jsonb
language sql stable as $$
  select nullif(current_setting('app.shopper', true), '')::jsonb
$$;

-- What makes an idempotency key of a shopper different from the same key of another: empty for a secret key.
create or replace function platform.shopper_mark() returns text
language sql stable as $$
  select case when current_setting('app.shopper', true) <> '' then
    concat(' ', coalesce(platform.shopper()->>'customer', left(platform.shopper()->>'cartHash', 32), 'anyone')) end
$$;

-- Signs that this transaction has authenticated a key of this tenant for this scope. Only fusion_platform may call it.
-- Nested like HMAC: two keys of one block each, both random and independent.
create or replace function platform.sign(tenant text, scope text) returns text
language plpgsql stable as $$
declare
  secrets platform.security;
begin
  select * into secrets from platform.security;
  return encode(sha256(secrets.outer_key || sha256(secrets.inner_key || convert_to(
    concat_ws(' ', tenant, scope, pg_backend_pid(), extract(epoch from transaction_timestamp())), 'UTF8'))), 'hex');
end
$$;

-- The first statement of a read: identifies the key and stores a proof of its tenant and scope for the policies of
-- fusion_reader.
create or replace function platform.authenticate(call jsonb, scope text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  api_key constant platform.api_keys := platform.identify(call, scope);
begin
  perform set_config('app.proof', concat_ws(' ', api_key.tenant_id, scope, platform.sign(api_key.tenant_id, scope)),
    true);
  return jsonb_build_object('tenant', api_key.tenant_id, 'scopes', api_key.scopes,
    'expiresAt', platform.iso(api_key.expires_at));
end
$$;

-- Only checks a key, for a request that is rejected for another reason. `input`: {scope, shoppers}, see
-- platform.identify. Makes no proof, so nothing can be read with it. Returns {tenant}.
create or replace function platform.check_key(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  api_key constant platform.api_keys := platform.identify(call, input->>'scope',
    array(select jsonb_array_elements_text(input->'shoppers')));
begin
  return jsonb_build_object('tenant', api_key.tenant_id);
end
$$;

-- The tenant that this transaction has authenticated for one of these scopes; null if there is none. The policies of
-- fusion_reader call it once for each query (src/db/platform/reading.sql). Any session can change the setting, so only
-- the signature counts. Digests of the signatures are compared, so that the time taken reveals nothing about the valid
-- one.
create or replace function platform.proven_tenant(variadic scopes text[]) returns varchar
language plpgsql stable parallel restricted security definer set search_path = pg_catalog, pg_temp as $$
declare
  proof constant text[] := string_to_array(current_setting('app.proof', true), ' '); -- tenant, scope, signature
begin
  if proof[2] = any(scopes) and sha256(convert_to(proof[3], 'UTF8'))
    = sha256(convert_to(platform.sign(proof[1], proof[2]), 'UTF8')) then
    return proof[1];
  end if;
  return null;
end
$$;

-- Sets the trace of the events that follow. Each message of a batch has its own trace.
create or replace function platform.set_trace(traceparent text) returns void
language sql as $$
  select set_config('app.traceparent', coalesce(traceparent, ''), true)
$$;

-- The first statement for a message, a webhook or a job, which have no key: checks the job secret and acts as this
-- tenant ('*': all). The secret is not in the Worker's connection string; the database has its SHA-256
-- (platform.job_secrets). Raises invalid_authorization_specification, which the Worker treats as an outage: messages
-- wait and none is lost; moved, unavailable if the tenant is away (platform.refuse_away).
create or replace function platform.enter_as(call jsonb, tenant varchar) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
$$;
