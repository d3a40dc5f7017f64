-- requires: platform/access.sql, platform/events.sql
-- Rows that a job cannot process are set aside: each is recorded with its reason and retried later, while the job
-- continues with the others. The record is an open dead letter whose sink is the job, so the tenant sees it and /readyz
-- counts it.

-- The tenants that have rows of this table with this condition, for jobs that process each tenant in turn. A partial
-- index with the same condition must begin with the tenant. Then each tenant with rows costs one index lookup, and a
-- tenant without rows costs nothing. Runs with the rights of the calling service, which acts as '*'.
create or replace function platform.tenants_with_rows(source_table regclass, condition text) returns setof varchar
language plpgsql stable set search_path = pg_catalog, pg_temp
  set enable_seqscan = off set enable_sort = off set enable_bitmapscan = off rows 100 as $$
begin
  return query execute format(
    'with recursive t(id) as (
      (select x.tenant_id from %1$s x where (%2$s) order by x.tenant_id limit 1)
      union all
      select (select x.tenant_id from %1$s x where (%2$s) and x.tenant_id > t.id order by x.tenant_id limit 1)
      from t where t.id is not null)
    select t.id from t where t.id is not null', source_table, condition);
end
$$;

-- Sets aside rows of the current tenant that a job failed on. They wait for 1, 2, 4 … 60 minutes. `subject`: the key of
-- the row's owner, if that is not the row itself (the payment of an event). Inserted in the order of the keys, so that
-- two jobs do not deadlock.
create or replace function platform.set_aside(job varchar, keys text[], reason text, subject text default null)
  returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into platform.dead_letters as d
    (id, tenant_id, sink, event_id, topic, key, seq, message, reason, attempts, created_at, retry_at)
  select platform.uuid7(), platform.tenant(), job, k, '', coalesce(subject, k), null, '{}', set_aside.reason, 1,
    platform.clock(), platform.clock() + interval '1 minute'
  from (select distinct u from unnest(keys) u order by u) each(k)
  on conflict (sink, event_id) where replayed_at is null do update
    set attempts = d.attempts + 1, reason = excluded.reason,
        retry_at = platform.clock() + make_interval(mins => least(power(2, least(d.attempts, 6)), 60)::int)
$$;

-- Closes the dead letters of these rows, because they were processed: of the current tenant, or of all as '*'.
create or replace function platform.clear_set_aside(job varchar, keys text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update platform.dead_letters d set replayed_at = platform.clock()
  where d.sink = job and d.event_id = any(keys) and d.replayed_at is null and d.retry_at is not null
    and platform.tenant() in (d.tenant_id, '*')
$$;

-- The rows that a job skips for now. The caller acts as '*'.
create or replace function platform.keys_set_aside(job varchar) returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select array(
    select d.event_id::text from platform.dead_letters d
    where d.sink = job and d.replayed_at is null and d.retry_at > platform.clock() limit 10000)
$$;

-- The rows that are due for a retry. The caller acts as '*'.
create or replace function platform.keys_to_retry(job varchar, max_keys integer) returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select array(
    select d.event_id::text from platform.dead_letters d
    where d.sink = job and d.replayed_at is null and d.retry_at <= platform.clock() order by d.retry_at limit max_keys)
$$;

-- The owners of the rows that these jobs have set aside, due or not. The caller acts as '*'.
create or replace function platform.subjects_set_aside(jobs text[]) returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select array(
    select distinct d.key::text from platform.dead_letters d
    where d.sink = any(jobs) and d.replayed_at is null and d.retry_at is not null limit 10000)
$$;

-- Runs `step(keys text[], input jsonb) returns jsonb` for rows of one tenant and returns [its result]. If it fails, its
-- changes are undone and both halves are tried, down to the single row that fails, which is set aside. A row that
-- another transaction has locked for 500 ms waits for the next run. Runs with the rights of the calling service.
create or replace function platform.process_rows(job varchar, step text, tenant varchar, keys text[], input jsonb)
returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  result jsonb;
  error_state text;
  violated_constraint text;
  lock_timeouts constant integer := coalesce(nullif(current_setting('app.locked', true), ''), '0')::int;
  half integer;
begin
  if cardinality(keys) = 0 or lock_timeouts > 5
    or tenant = any(string_to_array(current_setting('app.away', true), ' ')) then -- the tenant is on its way
    return '[]';
  end if;
  begin
    perform platform.act_as(tenant), set_config('lock_timeout', '500ms', true);
    execute format('select %s($1, $2)', step) into result using keys, input;
    set constraints all immediate;
    perform platform.clear_set_aside(job, keys);
    return jsonb_build_array(result);
  exception when others then
    get stacked diagnostics error_state = returned_sqlstate, violated_constraint = constraint_name;
    if error_state in ('40001', '40P01') then
      raise; -- the Worker repeats the whole call
    end if;
  end;
  perform platform.act_as(tenant);
  if error_state = '55P03' then
    perform set_config('app.locked', (lock_timeouts + 1)::text, true);
  end if;
  if cardinality(keys) = 1 then
    if error_state <> '55P03' then
      perform platform.set_aside(job, keys, btrim(format('SQLSTATE %s %s', error_state, violated_constraint)));
    end if;
    return '[]';
  end if;
  half := cardinality(keys) / 2;
  return platform.process_rows(job, step, tenant, keys[1:half], input)
    || platform.process_rows(job, step, tenant, keys[half + 1:], input);
end
$$;

-- Sets aside a row that failed in a separate call. The Worker reports it. `input`: {tenant, job, key, subject?, reason,
-- untilReplayed?}. `untilReplayed`: the job does not try it again before somebody replays its dead letter.
create or replace function platform.note_failed_row(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, input->>'tenant');
  perform platform.set_aside(input->>'job', array[input->>'key'], input->>'reason', input->>'subject');
  if (input->>'untilReplayed')::boolean then
    update platform.dead_letters d set retry_at = 'infinity'
    where d.sink = input->>'job' and d.event_id = input->>'key' and d.replayed_at is null;
  end if;
  return '{}';
end
$$;

-- Reports to the tenant a problem that a person must solve, as a dead letter that cannot be delivered again. Reported
-- once for each `id` until it is marked as replayed.
create or replace function platform.report_problem(source text, id text, topic text, key text, message jsonb,
  reason text)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into platform.dead_letters (id, tenant_id, sink, event_id, topic, key, message, reason, attempts, created_at)
  values (platform.uuid7(), platform.tenant(), source, report_problem.id, report_problem.topic, report_problem.key,
    report_problem.message, report_problem.reason, 1, platform.clock())
  on conflict (sink, event_id) where replayed_at is null do update
    set topic = excluded.topic, message = excluded.message, reason = excluded.reason
$$;

-- Deletes a batch of old rows: idempotency keys after 24 hours, inbox rows after 30 days (longer than any queue or
-- topic of ours redelivers), and expired sessions of customers. Returns how many rows were deleted. Uses indexes only:
-- the planner cannot know that almost no rows are old, and would read them all.
create or replace function platform.purge(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set enable_seqscan = off set enable_sort = off as $$
declare
  tenant varchar;
  failed_tenants text[];
  violated_constraint text;
  purged bigint := 0;
begin
  perform platform.enter_as(call, '*');
  failed_tenants := platform.keys_set_aside('purge') || platform.keys_to_retry('purge', 1000);
  begin
    purged := platform.purge_rows((input->>'limit')::int);
    perform platform.clear_set_aside('purge', failed_tenants);
    return jsonb_build_object('purged', purged);
  exception when others then
    if sqlstate in ('40001', '40P01') then
      raise;
    end if;
  end;
  -- A row of one tenant cannot be deleted. Each tenant is tried alone, so that the others' rows are deleted.
  failed_tenants := platform.keys_set_aside('purge');
  for tenant in select t.id from platform.tenants t
    where t.id <> all(failed_tenants) and t.id <> all(string_to_array(current_setting('app.away'), ' ')) order by t.id
  loop
    begin
      perform platform.act_as(tenant);
      purged := purged + platform.purge_rows((input->>'limit')::int);
      perform platform.clear_set_aside('purge', array[tenant::text]);
    exception when others then
      get stacked diagnostics violated_constraint = constraint_name;
      perform platform.act_as(tenant);
      perform platform.set_aside('purge', array[tenant::text],
        btrim(format('SQLSTATE %s %s', sqlstate, violated_constraint)));
    end;
  end loop;
  return jsonb_build_object('purged', purged);
end
$$;

-- Deletes a batch of old rows of the current tenant (or '*'). `skip locked`: rows in use wait for the next run.
create or replace function platform.purge_rows(most integer) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_sort = off as $$
declare
  idempotency_rows bigint;
  inbox_rows bigint;
  session_rows bigint;
begin
  delete from platform.idempotency where ctid = any(array(
    select ctid from platform.idempotency where created_at <= platform.clock() - interval '24 hours'
      and tenant_id <> all(string_to_array(current_setting('app.away'), ' '))
    order by created_at limit most for update skip locked));
  get diagnostics idempotency_rows = row_count;
  delete from platform.inbox where ctid = any(array(
    select ctid from platform.inbox where applied_at <= platform.clock() - interval '30 days'
      and tenant_id <> all(string_to_array(current_setting('app.away'), ' '))
    order by applied_at limit most for update skip locked));
  get diagnostics inbox_rows = row_count;
  delete from platform.customer_sessions where ctid = any(array(
    select ctid from platform.customer_sessions where expires_at <= platform.clock()
      and tenant_id <> all(string_to_array(current_setting('app.away'), ' '))
    order by expires_at limit most for update skip locked));
  get diagnostics session_rows = row_count;
  return idempotency_rows + inbox_rows + session_rows;
end
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.tenants_with_rows, platform.set_aside, platform.clear_set_aside,
  platform.keys_set_aside, platform.keys_to_retry, platform.subjects_set_aside, platform.process_rows
  to fusion_inventory, fusion_orders, fusion_group_commerce, fusion_payments, fusion_shipping;
grant execute on function platform.report_problem to fusion_payments;
grant execute on function platform.note_failed_row, platform.purge to fusion_worker;
