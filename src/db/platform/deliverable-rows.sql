-- requires: platform/access.sql
-- Which outbox rows a relay may deliver now.

-- Locks up to `max_rows` rows that may be delivered to the sink now: `deliverable`. A row may be delivered if it is due
-- and every earlier undelivered row of its key is in the result too, so that each key stays in order. Rows are locked in
-- due order with `skip locked`, so that relays never wait for each other. `skipped_seqs`: rows that are set aside.
-- `are_held`: a row was found that waits for an earlier row of another relay. That relay may have looked for the next
-- rows while this call had them locked, and not look again. So the caller has to.
-- The plan must never read or sort the whole table: because of the tenant policy the planner expects almost no rows, and
-- a plan that was made for an empty outbox is used for a full one (see platform.relay).
create or replace function platform.lock_rows_to_deliver(of_sink varchar, max_rows integer, skipped_seqs bigint[],
  out deliverable bigint[], out are_held boolean)
language plpgsql set search_path = pg_catalog, pg_temp
  set enable_seqscan = off set enable_sort = off as $$
declare
  now_at constant timestamptz := platform.clock();
  seqs bigint[];
  keys varchar[];
  blocked_keys varchar[];
  blocker_seqs bigint[];
  last_due timestamptz := '-infinity';
  last_seq bigint := 0;
  window_size integer := max_rows;
  blocker record;
begin
  deliverable := '{}';
  are_held := false;
  -- Blocked rows can fill a window. The next window may have rows of other keys.
  for attempt in 1..20 loop
    select array_agg(w.seq order by w.due_at, w.seq), array_agg(w.key order by w.due_at, w.seq), max(w.due_at)
    into seqs, keys, last_due
    from (
      select o.seq, o.key, o.due_at from platform.outbox o
      where o.sink = of_sink and o.due_at <= now_at and (o.due_at, o.seq) > (last_due, last_seq)
        and o.seq <> all(skipped_seqs)
      order by o.due_at, o.seq limit window_size for update skip locked
    ) w;
    exit when seqs is null;
    last_seq := seqs[cardinality(seqs)];
    blocked_keys := '{}';
    blocker_seqs := '{}';
    -- A separate statement: it sees everything that was committed until now, so that no new blocker is missed.
    for blocker in
      select k.key, e.seq, e.due_at, e.lease
      from (select u.key, max(u.seq) as last from unnest(seqs, keys) u(seq, key) group by u.key) k
      cross join lateral (
        select o.seq, o.due_at, o.lease from platform.outbox o
        where o.sink = of_sink and o.key = k.key and o.seq < k.last and o.seq <> all(seqs) and o.seq <> all(deliverable)
        order by o.seq limit 1
      ) e
    loop
      blocked_keys := blocked_keys || blocker.key;
      blocker_seqs := blocker_seqs || blocker.seq;
      -- Rows behind a failed row wait as long as that row. Otherwise each run would read them in vain.
      if blocker.lease is null and blocker.due_at > now_at then
        begin
          update platform.outbox o set due_at = blocker.due_at
          where o.sink = of_sink
            and o.seq = any(array(select u.seq from unnest(seqs, keys) u(seq, key) where u.key = blocker.key
              and u.seq > blocker.seq));
        exception when others then
          -- A row that cannot be updated is read again in each run.
          if sqlstate in ('40001', '40P01', '55P03') then
            raise;
          end if;
        end;
      elsif blocker.seq <> all(skipped_seqs) then
        are_held := true;
      end if;
    end loop;
    if cardinality(blocked_keys) > 0 then
      seqs := array(
        select u.seq from unnest(seqs, keys) u(seq, key)
        where not exists (select from unnest(blocked_keys, blocker_seqs) x(key, seq) where x.key = u.key
          and x.seq < u.seq));
    end if;
    deliverable := deliverable || seqs;
    exit when cardinality(keys) < window_size or cardinality(deliverable) >= max_rows;
    window_size := max_rows - cardinality(deliverable);
  end loop;
end
$$;

call platform.set_owner('platform', 'fusion_platform');
