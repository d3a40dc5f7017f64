-- requires: platform/access.sql
-- What /readyz shows.

-- The data of /readyz: the age of the oldest undelivered event in seconds, how many there are, which sinks they wait
-- for, open dead letters, and whether jobs need a job secret. It needs no key, because /readyz is public.
create or replace function platform.health() returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set enable_seqscan = off set enable_sort = off as $$
declare
  answer jsonb;
begin
  perform platform.act_as('*'), set_config('app.away', coalesce((select string_agg(m.id, ' ')
    from platform.tenant_moves m where m.purged_at is null), ''), true);
  select jsonb_build_object(
    'outboxAgeSeconds', coalesce(max(w.age), 0),
    'outboxCount', (select count(*) from (select 1 from platform.outbox limit 10000) o),
    'sinks', coalesce(jsonb_agg(jsonb_build_object('sink', w.sink, 'ageSeconds', w.age, 'failures', w.failures,
      'pausedUntil', case when w.paused_until > now() then platform.iso(w.paused_until) end) order by w.sink), '[]'),
    'deadLetters', (select count(*) from (
      select 1 from platform.dead_letters where replayed_at is null limit 10000) d),
    'sealed', (select s.sealed from platform.security s)
  ) into answer
  from (
    select s.sink, s.failures, s.paused_until, extract(epoch from greatest(now() - e.time, interval '0'))::int as age
    from platform.sinks s
    cross join lateral (
      select o.tenant_id, o.seq from platform.outbox o where o.sink = s.sink order by o.seq limit 1
    ) o
    join platform.events e on e.tenant_id = o.tenant_id and e.seq = o.seq
  ) w;
  return answer;
end
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.health to fusion_worker;
