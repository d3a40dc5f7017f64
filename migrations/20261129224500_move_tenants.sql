-- Where the tenants are that another cell serves, or that are on their way (dev/cells). No row: this cell serves the
-- tenant. The cell of a move's origin has the record of its steps.
create table platform.tenant_moves (
  id varchar primary key references platform.tenants (id), -- the tenant; its rows are those of one cell, not of one tenant
  -- moving: rows are being copied from here, and only reads are served. switching: nothing is served. moved: `cell`
  -- serves the tenant. arriving: rows are being copied to here. clearing: they are being deleted again.
  state varchar not null constraint tenant_moves_state
    check (state in ('moving', 'switching', 'moved', 'arriving', 'clearing')),
  cell varchar not null,            -- the other cell: where the tenant goes, or where it comes from
  move_id uuid not null,            -- one move, in both of its cells
  forwards boolean not null default false, -- of an arrival: the tenant was here before, so its keys are known here
  steps jsonb not null default '{}',       -- the finished steps, and how far each table is copied
  started_at timestamptz not null default now(),
  moved_at timestamptz,
  purged_at timestamptz             -- the tenant's rows are no longer here
);
grant select on platform.tenant_moves to fusion_platform;

-- On the key too, because each request reads its key and must not read another row.
alter table platform.api_keys add column away boolean not null default false;

-- Ids are those of a cell. With the tenant in the key, the rows of a tenant keep their ids in another cell.
alter table audit.log drop constraint log_pkey, add constraint log_pkey primary key (tenant_id, id);
drop index audit.idx_audit_log_tenant_id; -- the same columns
