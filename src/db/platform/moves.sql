-- requires: platform/access.sql
-- Tenants that are not served by this database: they have moved to another cell, or are on their way
-- (platform.tenant_moves, written by `npm run cells`). Nothing here costs a statement for a tenant that stays.

-- Ends the call of a tenant that is away. Raises `moved` with the cell that serves it ({cell}, absent: the default
-- cell), where the Worker repeats the call; or unavailable during the move. Until the switch nothing changes, so reads
-- go on.
create or replace function platform.refuse_away(tenant varchar, scope text default '') returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  move platform.tenant_moves;
begin
  select * into move from platform.tenant_moves m where m.id = tenant;
  if move.id is null or (move.state = 'moving' and scope like '%:read') then
    return;
  end if;
  if move.state = 'moved' then
    perform platform.fail('moved', jsonb_strip_nulls(jsonb_build_object('tenant', tenant,
      'cell', nullif(move.cell, 'default'))));
  end if;
  perform platform.fail('unavailable', jsonb_build_object('tenant', tenant, 'reason',
    'This tenant is being moved to another database. Repeat the request in a moment, with the same Idempotency-Key.'));
end
$$;

-- Whether another cell serves the tenant, or will. It stays so after the purge of its rows, which keeps its row in
-- platform.tenants.
create or replace function platform.is_away(tenant varchar) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select from platform.tenant_moves m where m.id = tenant)
$$;

-- The first statement of a call that names a row and not its tenant, such as a webhook. It sees the rows of every
-- tenant, also of those that are away. Returns those: once the row's tenant is known, call refuse_away if it is one.
create or replace function platform.enter_to_find(call jsonb) returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  away text[];
  ignored text;
begin
  perform platform.enter_as(call, '*');
  away := string_to_array(current_setting('app.away'), ' ');
  ignored := set_config('app.away', '', true);
  return away;
end
$$;

-- The cells to which tenants have moved whose rows are deleted here. Nothing here names such a tenant's rows any more,
-- so a call that names a row and not its tenant may have to look there too. An array of names.
create or replace function platform.cells_of_purged() returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(jsonb_agg(distinct m.cell), '[]') from platform.tenant_moves m
  where m.state = 'moved' and m.purged_at is not null
$$;

-- Keys and settings of a tenant that is away may be changed only where it lives: a copy of them would not change.
-- `npm run cells` itself sets app.copying.
create or replace function platform.reject_change_while_away() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  tenant constant varchar := coalesce(to_jsonb(new), to_jsonb(old))->>tg_argv[0];
  move platform.tenant_moves;
begin
  select * into move from platform.tenant_moves m where m.id = tenant;
  if found and current_setting('app.copying', true) is distinct from 'on' then
    raise exception 'the tenant % is not served by this cell (%: %)', tenant, move.state, move.cell
      using errcode = 'object_not_in_prerequisite_state', hint = case move.state
        when 'moved' then format('Make the change in the cell %1$s (npm run keys -- --cell %1$s …).', move.cell)
        else 'Finish the move first: npm run cells -- list' end;
  end if;
  return coalesce(new, old);
end
$$;

create or replace trigger reject_change_while_away before insert or update or delete on platform.api_keys
  for each row execute function platform.reject_change_while_away('tenant_id');
create or replace trigger reject_change_while_away before update or delete on platform.tenants
  for each row execute function platform.reject_change_while_away('id');

-- Jobs find rows of every tenant as '*' and skip the tenants that are away (app.away, set by platform.enter_as). The
-- tables below are not part of it: the relay delivers what a tenant left behind, a key is found by its hash, and
-- platform.purge has the condition itself.
do $$
declare
  rule record;
begin
  for rule in
    select p.polname as name, p.polrelid::regclass as on_table, pg_get_expr(p.polqual, p.polrelid) as condition
    from pg_policy p
    where p.polname like 'every\_tenant%' and p.polrelid <> all (array['platform.outbox', 'platform.events',
      'platform.api_keys', 'platform.idempotency', 'platform.inbox']::regclass[])
  loop
    -- Only if it is missing, because changing a policy locks its table.
    continue when rule.condition like '%app.away%';
    execute format('alter policy %I on %s using (%s and %s)', rule.name, rule.on_table, rule.condition,
      $sql$tenant_id <> all (string_to_array(concat(current_setting('app.away', true)), ' '))$sql$);
  end loop;
end
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.refuse_away, platform.enter_to_find
  to fusion_group_commerce, fusion_payments, fusion_shipping;
grant execute on function platform.is_away to fusion_payments;
grant execute on function platform.cells_of_purged to fusion_group_commerce;
