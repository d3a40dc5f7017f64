-- The functions that every other function begins and ends with: API keys, the tenant, the clock and idempotency. A
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

-- Identifies the caller by the key's hash, or by a token for watching one campaign (`liveToken`, `campaign`).
-- The key's tenant is the tenant for the rest of the transaction. Raises unauthenticated, forbidden; moved, unavailable
-- if the tenant is away (platform.refuse_away).
create or replace function platform.identify(call jsonb, scope text) returns platform.api_keys
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  shown_key_hash constant text := platform.begin_call(call, coalesce(call->>'keyHash', ''));
  api_key platform.api_keys;
  tenant text;
begin
  if call ? 'liveToken' and scope = 'campaigns:read' then
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
  if not scope = any(api_key.scopes) then
    perform platform.fail('forbidden', jsonb_build_object('tenant', api_key.tenant_id,
      'reason', format('This key lacks the scope %s.', scope)));
  end if;
  -- A key without origins is valid on every page. Clients other than browsers can forge the header, so this
  -- restricts browsers only.
  if call ? 'origin' and api_key.kind = 'publishable' and not call->>'origin' = any(api_key.origins) then
    perform platform.fail('forbidden', jsonb_build_object('tenant', api_key.tenant_id,
      'reason', 'This key does not allow requests from this origin.'));
  end if;
  tenant := set_config('app.tenant_id', api_key.tenant_id, true);
  return api_key;
end
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

-- Frees an idempotency key whose answer has expired, or whose operation of several calls did not end in time.
create or replace function platform.forget_answer(stored platform.idempotency) returns void
language sql as $$
  delete from platform.idempotency i
  where i.tenant_id = stored.tenant_id and i.operation = stored.operation and i.key = stored.key
$$;

-- The first statement of every write. Returns null to continue, or the stored answer of this idempotency key. The
-- advisory lock is on the key, taken before any row: a second request with the same key fails instead of running twice.
-- It ends with the transaction, so a caller that died blocks no other. Later requests find the stored answer
-- (idempotency_once). Raises unauthenticated, forbidden, idempotency_in_progress, idempotency_key_reused.
create or replace function platform.enter(call jsonb, scope text, operation text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  api_key constant platform.api_keys := platform.identify(call, scope);
  idempotency_key constant varchar := call->>'idempotencyKey';
  stored platform.idempotency;
begin
  if idempotency_key is null then
    return null;
  end if;
  if not pg_try_advisory_xact_lock(hashtextextended(api_key.tenant_id || ' ' || operation || ' ' || idempotency_key,
    0)) then
    perform platform.fail('idempotency_in_progress');
  end if;
  select * into stored from platform.idempotency i
    where i.tenant_id = api_key.tenant_id and i.operation = enter.operation and i.key = idempotency_key;
  if not found then
    return null;
  end if;
  if stored.created_at <= platform.clock() - interval '24 hours' then
    perform platform.forget_answer(stored);
    return null;
  end if;
  if stored.request_hash <> call->>'requestHash' then
    perform platform.fail('idempotency_key_reused');
  end if;
  if stored.answer is null then
    if stored.locked_until > platform.clock() then
      perform platform.fail('idempotency_in_progress');
    end if;
    perform platform.forget_answer(stored);
    return null;
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'answer', stored.answer, 'replayed', true);
end
$$;

-- The last statement of every write: stores the answer for 24 hours under the idempotency key, if there is one.
create or replace function platform.leave(call jsonb, operation text, answer jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if call ? 'idempotencyKey' then
    insert into platform.idempotency (tenant_id, operation, key, request_hash, answer, created_at)
    values (platform.tenant(), operation, call->>'idempotencyKey', call->>'requestHash', answer, platform.clock());
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'answer', answer, 'replayed', false);
end
$$;

-- For an operation of several calls, with requests to a provider in between: reserves the key before the work is done.
-- Returns the same as enter(). If the answer is null, the caller runs the operation now, for at most `seconds`.
create or replace function platform.begin_operation(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, input->>'scope', input->>'operation');
begin
  if replay is not null then
    return replay;
  end if;
  insert into platform.idempotency (tenant_id, operation, key, request_hash, locked_until, created_at)
  values (platform.tenant(), input->>'operation', call->>'idempotencyKey', call->>'requestHash',
          platform.clock() + make_interval(secs => (input->>'seconds')::int), platform.clock());
  return jsonb_build_object('tenant', platform.tenant(), 'answer', null, 'replayed', false);
end
$$;

-- Ends an operation that begin_operation began: stores its answer, or frees the key if the answer is null.
create or replace function platform.end_operation(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.identify(call, input->>'scope');
  update platform.idempotency i
  set answer = nullif(input->'answer', 'null'), locked_until = null,
      request_hash = coalesce(input->>'requestHash', i.request_hash)
  where i.tenant_id = platform.tenant() and i.operation = input->>'operation' and i.key = call->>'idempotencyKey';
  return jsonb_build_object('tenant', platform.tenant(), 'answer', input->'answer', 'replayed', false);
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
