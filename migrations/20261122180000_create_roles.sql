-- One role a service, one that the Worker logs in as, one that it reads as, one for search.
-- Roles belong to the cluster, not to the database: another database may have made them already.
do $$
declare
  wanted text;
begin
  foreach wanted in array array[
    'fusion_platform', 'fusion_catalog', 'fusion_inventory', 'fusion_orders', 'fusion_group_commerce',
    'fusion_payments', 'fusion_shipping', 'fusion_reader', 'fusion_search', 'fusion_worker'
  ] loop
    if not exists (select from pg_roles where rolname = wanted) then
      begin
        execute format('create role %I nologin noinherit', wanted);
      exception when duplicate_object or unique_violation then null; -- another migration was faster
      end;
    end if;
    -- The migrating role (a database owner, no superuser) hands functions to these roles, so it must be able to be them.
    if not (select rolsuper from pg_roles where rolname = current_user) then
      execute format('grant %I to current_user with inherit true, set true', wanted);
    end if;
  end loop;
end
$$;

-- The Worker reads as fusion_reader and writes through the services' functions: it can become no service.
grant fusion_reader to fusion_worker with inherit false, set true;

create schema if not exists platform;
create schema catalog;
create schema inventory;
create schema orders;
create schema group_commerce;
create schema payments;
create schema shipping;

revoke all on schema public from public;
do $$
begin
  execute format('revoke temporary on database %I from public', current_database());
end
$$;

grant usage on schema platform, catalog, inventory, orders, group_commerce, payments, shipping
  to fusion_platform, fusion_catalog, fusion_inventory, fusion_orders, fusion_group_commerce, fusion_payments,
     fusion_shipping, fusion_reader, fusion_search, fusion_worker;

-- Makes a service's role the owner of every function in its schema (they run as their owner), callable by nobody yet.
-- An owner may create in its schema only while the hand-over lasts.
create procedure platform.hand_over(service name, owner name) language plpgsql as $$
declare
  f regprocedure;
begin
  execute format('grant create on schema %I to %I', service, owner);
  for f in
    select p.oid from pg_proc p
    where p.pronamespace = service::regnamespace and p.prokind = 'f' and p.proowner <> owner::regrole
  loop
    execute format('alter function %s owner to %I', f, owner);
    execute format('revoke all on function %s from public', f);
  end loop;
  execute format('revoke create on schema %I from %I', service, owner);
end
$$;
revoke all on procedure platform.hand_over from public;
