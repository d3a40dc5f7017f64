-- What administrators change: who, what, when, before, after. Triggers write it (src/db/audit/audit.sql), nobody else can: its
-- role owns their one function and may only add. No service has so much as a look at it.
do $$
begin
  if not exists (select from pg_roles where rolname = 'fusion_audit') then
    begin
      create role fusion_audit nologin noinherit;
    exception when duplicate_object or unique_violation then null; -- another migration was faster
    end;
  end if;
  if not (select rolsuper from pg_roles where rolname = current_user) then
    execute 'grant fusion_audit to current_user with inherit true, set true';
  end if;
end
$$;

create schema audit;

create table audit.log (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  tenant_id varchar not null,
  actor varchar not null,      -- `key sk_live_Ta21`, `system`, or whom an operator logged in as
  key_id varchar,
  operation varchar not null,  -- `product insert`, `stock insert`, …: what was changed, and how
  subject varchar,             -- which one: an id, a SKU
  before jsonb,
  after jsonb,
  traceparent varchar
);
create index idx_audit_log_tenant_id on audit.log (tenant_id, id desc);

alter table audit.log enable row level security;
alter table audit.log force row level security;
create policy tenant on audit.log
  using (tenant_id = current_setting('app.tenant_id', true))
  with check (tenant_id = current_setting('app.tenant_id', true));

create function audit.refuse_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'the audit log is only ever added to' using errcode = 'insufficient_privilege';
end
$$;
-- Of its owner too, who would have to take this trigger away first.
create trigger log_is_append_only before update or delete or truncate on audit.log
  for each statement execute function audit.refuse_change();

grant usage on schema platform, audit to fusion_audit;
grant insert on audit.log to fusion_audit;
-- Whose key it was: the one that this transaction showed, and no other.
grant select (id, prefix, key_hash) on platform.api_keys to fusion_audit;
create policy shown_key_to_audit on platform.api_keys for select to fusion_audit
  using (key_hash = current_setting('app.key_hash', true));

-- The count that an adjustment led to; null in rows of before.
alter table inventory.adjustments add column quantity integer;
