-- An import that broke off can be repeated: a count that it has set already is not set again, since units were sold since.
create table catalog.import_runs (
  id varchar primary key,
  tenant_id varchar not null,
  key varchar,             -- the Idempotency-Key that it was sent with
  ended_at timestamptz,    -- null: it broke off, or still runs
  created_at timestamptz not null
);
create index idx_import_runs_tenant_id on catalog.import_runs (tenant_id, created_at);

alter table catalog.import_runs enable row level security;
alter table catalog.import_runs force row level security;
create policy tenant on catalog.import_runs
  using (tenant_id = current_setting('app.tenant_id', true))
  with check (tenant_id = current_setting('app.tenant_id', true));
grant select, insert, update, delete on catalog.import_runs to fusion_catalog;

alter table catalog.products
  add column import_run varchar,        -- the last import that set its stock, or found it set
  add column import_counts integer[],   -- the counts that this import has set
  add column import_before integer[];   -- the counts that the imports which it repeats have set
