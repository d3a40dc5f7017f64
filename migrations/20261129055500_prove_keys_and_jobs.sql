-- What the database needs to tell the Worker's work from that of somebody who only has its connection string.
-- One row. Only functions of fusion_platform read it, and no function returns the two keys.
create table platform.security (
  only_row boolean primary key default true constraint security_only_row check (only_row),
  -- They sign the proof that platform.authenticate leaves for the reads of its transaction.
  inner_key bytea not null constraint security_inner_key_length check (length(inner_key) = 64),
  outer_key bytea not null constraint security_outer_key_length check (length(outer_key) = 64),
  -- Sealed: jobs and consumers must show a job secret. A database that is in use is sealed by `npm run keys -- jobs seal`,
  -- after the Worker that shows one is deployed.
  sealed boolean not null,
  -- Whether a call may name the time. Only tests and the local platform switch it on.
  passed_clock boolean not null default false
);

-- SHA-256 of the secrets that jobs and consumers show. Two while one replaces the other.
create table platform.job_secrets (
  sha256 varchar primary key constraint job_secrets_sha256_form check (sha256 ~ '^[0-9a-f]{64}$'),
  name varchar not null,
  created_at timestamptz not null default now()
);

grant select on platform.security, platform.job_secrets to fusion_platform;

do $$
declare
  random_keys bytea[];
begin
  -- 64 bytes each, of 488 random bits.
  for i in 1..2 loop
    random_keys := random_keys ||
      (sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) ||
       sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));
  end loop;
  insert into platform.security (inner_key, outer_key, sealed)
  values (random_keys[1], random_keys[2], not exists (select from platform.tenants));
end
$$;
