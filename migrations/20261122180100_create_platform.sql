-- What every service stands on: tenants, keys, idempotency, events, outbox, inbox, dead letters.

create table platform.tenants (
  id varchar primary key constraint tenants_id_form check (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  name varchar not null,
  created_at timestamptz not null default now()
);

create table platform.api_keys (
  id varchar primary key,
  tenant_id varchar not null references platform.tenants (id),
  prefix varchar not null,
  key_hash varchar not null constraint api_keys_key_hash_unique unique
    constraint api_keys_key_hash_form check (key_hash ~ '^[0-9a-f]{64}$'),
  kind varchar not null constraint api_keys_kind check (kind in ('secret', 'publishable')),
  name varchar,
  scopes text[] not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz
);
create index idx_api_keys_tenant_id on platform.api_keys (tenant_id, id);

create table platform.idempotency (
  tenant_id varchar not null,
  operation varchar not null,
  key varchar not null,
  request_hash varchar not null,
  answer jsonb,              -- null while an operation of several calls is running
  locked_until timestamptz,  -- how long such an operation may still be believed to run
  created_at timestamptz not null,
  constraint idempotency_once primary key (tenant_id, operation, key)
);
create index idx_idempotency_created_at on platform.idempotency (created_at);

-- Every event ever published, as it was published. Rows are only ever added.
create table platform.events (
  tenant_id varchar not null,
  seq bigint generated always as identity,
  id uuid not null default gen_random_uuid(),
  topic varchar not null,
  key varchar not null,
  payload jsonb not null,
  traceparent varchar,
  time timestamptz not null,
  primary key (tenant_id, seq)
);
create index idx_events_key on platform.events (tenant_id, key, seq);
create index idx_events_topic on platform.events (tenant_id, topic, seq);

-- What is still to be delivered: one row for each event and sink, gone once delivered.
create table platform.outbox (
  sink varchar not null constraint outbox_sink check (sink in ('kafka', 'queue')),
  seq bigint not null,
  tenant_id varchar not null,
  key varchar not null,
  attempts integer not null default 0,
  due_at timestamptz not null,       -- not before this time: a lease that runs, or the wait after a failure
  lease varchar,
  last_error varchar,
  constraint outbox_once primary key (sink, seq)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
create index idx_outbox_key on platform.outbox (sink, key, seq);

-- A sink that is away as a whole is left alone for a while.
create table platform.sinks (
  sink varchar primary key,
  failures integer not null default 0,
  paused_until timestamptz not null default '-infinity'
);
insert into platform.sinks (sink) values ('kafka'), ('queue');

create table platform.inbox (
  tenant_id varchar not null,
  consumer varchar not null,
  event_id varchar not null,
  applied_at timestamptz not null,
  constraint inbox_once primary key (consumer, event_id)
);
create index idx_inbox_applied_at on platform.inbox (applied_at);

create table platform.dead_letters (
  id varchar primary key,
  tenant_id varchar not null,
  sink varchar not null,             -- kafka, or the consuming service
  event_id varchar not null,
  topic varchar not null,
  key varchar not null,
  seq bigint,                        -- of the event in platform.events; null where it came from elsewhere
  message jsonb not null,            -- the whole envelope
  reason text not null,
  attempts integer not null,
  created_at timestamptz not null,
  replayed_at timestamptz
);
create index idx_dead_letters_tenant_id on platform.dead_letters (tenant_id, id desc);
create unique index dead_letters_open_once on platform.dead_letters (sink, event_id) where replayed_at is null;

do $$
declare
  name text;
begin
  foreach name in array array['api_keys', 'idempotency', 'events', 'outbox', 'inbox', 'dead_letters'] loop
    execute format('alter table platform.%I enable row level security', name);
    execute format('alter table platform.%I force row level security', name);
    execute format($p$create policy tenant on platform.%I
      using (tenant_id = current_setting('app.tenant_id', true))
      with check (tenant_id = current_setting('app.tenant_id', true))$p$, name);
    -- The relay, the crons and the purge work for every tenant and must say so: '*' can be no tenant's id.
    execute format($p$create policy every_tenant on platform.%I to fusion_platform
      using (current_setting('app.tenant_id', true) = '*')
      with check (current_setting('app.tenant_id', true) = '*' and tenant_id <> '*')$p$, name);
  end loop;
end
$$;
-- A key is found before its tenant is known, by the hash of what the client showed and by nothing else.
create policy shown_key on platform.api_keys for select to fusion_platform
  using (key_hash = current_setting('app.key_hash', true));

grant select on platform.tenants, platform.api_keys to fusion_platform;
grant select, update on platform.sinks to fusion_platform;
grant select, insert, update, delete on platform.idempotency, platform.outbox, platform.inbox, platform.dead_letters
  to fusion_platform;
grant select, insert on platform.events to fusion_platform;
grant select on platform.events, platform.dead_letters to fusion_reader;
