-- requires: platform/access.sql
-- A tenant's API keys. The Worker makes the random key and sends only its SHA-256, so the key itself is in no row, no
-- stored answer and no statement.

-- A key as the API shows it: without its hash.
create or replace function platform.key_json(k platform.api_keys) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', k.id, 'prefix', k.prefix, 'kind', k.kind, 'name', k.name, 'scopes', k.scopes,
    'origins', k.origins, 'createdAt', platform.iso(k.created_at), 'expiresAt', platform.iso(k.expires_at),
    'revokedAt', platform.iso(k.revoked_at))
$$;

-- A page of the keys of the tenant whose key this transaction has authenticated for keys:read, newest first: `most`
-- keys below the id `before`. No row without such a key. A function, because the reader must not see the hashes.
create or replace function platform.key_page(before varchar, most integer) returns setof jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select platform.key_json(k) from platform.api_keys k
  where k.tenant_id = (select platform.proven_tenant('keys:read')) and (before is null or k.id < before)
  order by k.tenant_id, k.id desc limit most
$$;

-- `input`: {id, keyHash, prefix, kind, name?, scopes?, origins?, expiresAt?}. Without scopes the new key gets those of
-- the caller. Raises forbidden if the caller lacks one of them. Returns the error validation_failed if the key would
-- have expired. The caller's key is locked, so that a key which is being revoked leaves no other one behind.
create or replace function platform.create_key(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'keys:write', 'keys.create');
  caller platform.api_keys;
  wanted text[];
  lacking text[];
  api_key platform.api_keys;
begin
  if replay is not null then
    return replay;
  end if;
  select * into caller from platform.api_keys k
    where k.key_hash = call->>'keyHash' and k.revoked_at is null for share;
  if not found then
    perform platform.fail('unauthenticated');
  end if;
  wanted := case when jsonb_typeof(input->'scopes') = 'array' then array(select jsonb_array_elements_text(input->'scopes'))
    else caller.scopes end;
  lacking := array(select s from unnest(wanted) s where not s = any(caller.scopes));
  if cardinality(lacking) > 0 then
    perform platform.fail('forbidden', jsonb_build_object('reason',
      format('A key can grant only scopes that it has. This key lacks %s.', array_to_string(lacking, ', '))));
  end if;
  if (input->>'expiresAt')::timestamptz <= platform.clock() then
    return platform.leave(call, 'keys.create', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/expiresAt', 'detail', 'must be in the future'))));
  end if;
  insert into platform.api_keys (id, tenant_id, prefix, key_hash, kind, name, scopes, origins, created_at, expires_at)
  values (input->>'id', platform.tenant(), input->>'prefix', input->>'keyHash', input->>'kind', input->>'name', wanted,
    case when jsonb_typeof(input->'origins') = 'array' then array(select jsonb_array_elements_text(input->'origins')) end,
    platform.clock(), (input->>'expiresAt')::timestamptz)
  returning * into api_key;
  return platform.leave(call, 'keys.create', platform.key_json(api_key));
end
$$;

-- Revokes a key at once. `input`: {id}. A key that is revoked already keeps its time. Raises not_found. Returns the
-- error conflict for the last valid key with keys:write. All keys with that scope are locked by id, so that two keys
-- cannot revoke each other: the second call waits, and then finds only one left.
create or replace function platform.revoke_key(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'keys:write', 'keys.revoke');
  now_at constant timestamptz := platform.clock();
  checked record;
begin
  if replay is not null then
    return replay;
  end if;
  with locked as materialized (
    select k.id, k.key_hash, k.scopes, k.revoked_at, k.expires_at from platform.api_keys k
    where k.tenant_id = platform.tenant() and (k.id = input->>'id' or 'keys:write' = any(k.scopes))
    order by k.id for update
  ), administrators as (
    select l.id from locked l where 'keys:write' = any(l.scopes) and l.revoked_at is null
      and (l.expires_at is null or l.expires_at > now_at)
  )
  select (select a.revoked_at is not null from locked a where a.key_hash = call->>'keyHash') as is_caller_revoked,
    exists (select from locked l where l.id = input->>'id') as is_found,
    array(select a.id from administrators a) = array[(input->>'id')::varchar] as is_last
  into checked;
  if checked.is_caller_revoked then
    perform platform.fail('unauthenticated');
  end if;
  if not checked.is_found then
    perform platform.fail('not_found');
  end if;
  if checked.is_last then
    return platform.leave(call, 'keys.revoke', jsonb_build_object('error', 'conflict', 'detail',
      'This is the last valid key with the scope keys:write. Create another one first.'));
  end if;
  update platform.api_keys k set revoked_at = now_at where k.id = input->>'id' and k.revoked_at is null;
  return platform.leave(call, 'keys.revoke', '{}');
end
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.key_page to fusion_reader;
grant execute on function platform.create_key, platform.revoke_key to fusion_worker;
