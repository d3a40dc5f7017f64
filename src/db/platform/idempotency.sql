-- requires: platform/access.sql
-- Idempotency keys: how every write begins and ends. See platform/access.sql for `call` and the result.

-- Frees an idempotency key whose answer has expired, or whose operation of several calls did not end in time.
create or replace function platform.forget_answer(stored platform.idempotency) returns void
language sql as $$
  delete from platform.idempotency i
  where i.tenant_id = stored.tenant_id and i.operation = stored.operation and i.key = stored.key
$$;

-- The first statement of every write. Returns null to continue, or the stored answer of this idempotency key. The
-- advisory lock is on the key, taken before any row: a second request with the same key fails instead of running twice.
-- It ends with the transaction, so a caller that died blocks no other. Later requests find the stored answer
-- (idempotency_once). `shoppers`: see platform.identify; two shoppers may use one idempotency key. Raises
-- unauthenticated, forbidden, idempotency_in_progress, idempotency_key_reused.
create or replace function platform.enter(call jsonb, scope text, operation text, shoppers text[] default '{}')
returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  api_key constant platform.api_keys := platform.identify(call, scope, shoppers);
  idempotency_key constant varchar := call->>'idempotencyKey';
  stored_as constant text := concat(operation, platform.shopper_mark());
  stored platform.idempotency;
begin
  if idempotency_key is null then
    return null;
  end if;
  if not pg_try_advisory_xact_lock(hashtextextended(api_key.tenant_id || ' ' || stored_as || ' ' || idempotency_key,
    0)) then
    perform platform.fail('idempotency_in_progress');
  end if;
  select * into stored from platform.idempotency i
    where i.tenant_id = api_key.tenant_id and i.operation = stored_as and i.key = idempotency_key;
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

-- The last statement of every write: stores the answer for 24 hours under the idempotency key, if there is one. The
-- caller removes secrets that are shown once from the answer before.
create or replace function platform.leave(call jsonb, operation text, answer jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if call ? 'idempotencyKey' then
    insert into platform.idempotency (tenant_id, operation, key, request_hash, answer, created_at)
    values (platform.tenant(), concat(operation, platform.shopper_mark()), call->>'idempotencyKey',
      call->>'requestHash', answer, platform.clock());
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
  values (platform.tenant(), concat(input->>'operation', platform.shopper_mark()), call->>'idempotencyKey', call->>'requestHash',
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
  where i.tenant_id = platform.tenant() and i.operation = concat(input->>'operation', platform.shopper_mark())
    and i.key = call->>'idempotencyKey';
  return jsonb_build_object('tenant', platform.tenant(), 'answer', input->'answer', 'replayed', false);
end
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.enter(jsonb, text, text, text[]), platform.leave
  to fusion_catalog, fusion_inventory, fusion_orders, fusion_group_commerce, fusion_payments, fusion_shipping;
grant execute on function platform.begin_operation, platform.end_operation to fusion_worker;
