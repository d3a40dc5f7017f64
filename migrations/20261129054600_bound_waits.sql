-- The Worker waits 10 s for an answer of the database. A statement that runs for longer holds a connection and its locks
-- for nobody. Set on the role: a pooler applies it to each connection, and no call has to. (Lock waits: platform.set_cause.)
do $$
begin
  if not exists (
    select from pg_db_role_setting s
    where s.setdatabase = 0 and s.setrole = 'fusion_worker'::regrole and 'statement_timeout=9s' = any(s.setconfig)
  ) then
    alter role fusion_worker set statement_timeout = '9s';
  end if;
exception when internal_error then null; -- the migration of another database of this cluster sets it just now
end
$$;
