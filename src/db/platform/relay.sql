-- requires: platform/access.sql, platform/events.sql, platform/set-aside.sql, platform/deliverable-rows.sql
-- The relay: which outbox rows are delivered to a sink, and how the results are recorded.

-- One step of a relay run, for these rows. `step`: delivered, failed, returned (as `input` of platform.relay_sink names
-- them), or lease, which returns the events. Raises no_data_found if the event of a row is missing.
-- A failed row is locked before the later rows of its key are changed.
create or replace function platform.relay_step(of_sink varchar, step text, seqs bigint[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  item jsonb;
  outbox_row platform.outbox;
  events jsonb := '[]';
  found_events integer;
begin
  case step
  when 'delivered' then
    with delivered as (
      delete from platform.outbox o where o.sink = of_sink and o.seq = any(seqs) returning o.seq
    )
    update platform.sinks s set failures = 0, paused_until = '-infinity'
    where s.sink = of_sink and s.failures > 0 and exists (select from delivered);
  when 'failed' then
    for item in select x from jsonb_array_elements(input->'failed') x where (x->>'seq')::bigint = any(seqs) loop
      select * into outbox_row from platform.outbox o
      where o.sink = of_sink and o.seq = (item->>'seq')::bigint and o.lease = input->>'lease' for update;
      continue when not found; -- an earlier failure of its key changed it too, or its lease ended
      if (item->>'dead')::boolean then
        perform platform.add_dead_letter(outbox_row, item->>'error');
        delete from platform.outbox o where o.sink = of_sink and o.seq = outbox_row.seq;
      else
        -- All later rows of the key wait with it: 1, 2, 4 … 60 s.
        update platform.outbox o
        set attempts = o.attempts + (o.seq = outbox_row.seq)::int, last_error = item->>'error', lease = null,
            due_at = platform.clock() + make_interval(secs => least(power(2, least(outbox_row.attempts, 6)), 60))
        where o.sink = of_sink and o.key = outbox_row.key and o.seq >= outbox_row.seq;
      end if;
    end loop;
  when 'returned' then
    update platform.outbox o set lease = null, due_at = platform.clock()
    where o.sink = of_sink and o.seq = any(seqs) and o.lease = input->>'lease';
  when 'lease' then
    -- One lookup for each row, whatever the planner expects. A join could read all events.
    with sized as materialized (
      select e.*, sum(octet_length(e.payload::text)) over (order by e.seq) - octet_length(
        e.payload::text) as bytes_before
      from unnest(seqs) u(seq)
      cross join lateral (select o.tenant_id from platform.outbox o where o.sink = of_sink and o.seq = u.seq limit 1) o
      cross join lateral (
        select v.* from platform.events v where v.tenant_id = o.tenant_id and v.seq = u.seq limit 1
      ) e
    ), chosen as materialized (
      select * from sized z where z.bytes_before < (input->>'bytes')::bigint
    ), leased as (
      update platform.outbox o
      set lease = input->>'lease', due_at = platform.clock() + make_interval(secs => (input->>'seconds')::int)
      where o.sink = of_sink and o.seq = any(array(select c.seq from chosen c))
    )
    select coalesce(jsonb_agg(jsonb_build_object('seq', c.seq, 'id', c.id, 'topic', c.topic, 'key', c.key,
      'tenant', c.tenant_id, 'payload', c.payload, 'traceparent', c.traceparent, 'time', platform.iso(c.time))
      order by c.seq), '[]'), (select count(*) from sized) into events, found_events
    from chosen c;
    if found_events < cardinality(seqs) then
      raise exception using errcode = 'no_data_found', message = 'the event of an outbox row is missing';
    end if;
  end case;
  if step in ('delivered', 'failed') and exists (select from platform.dead_letters d
    where d.sink = 'relay' and d.replayed_at is null and d.retry_at <= platform.clock()) then
    perform platform.clear_set_aside('relay', array(select of_sink || ' ' || u from unnest(seqs) u));
  end if;
  return events;
end
$$;

-- Sets aside an outbox row that fails in the database, as a dead letter of the sink `relay`. It is retried later, and
-- later rows of its key wait for it. Returns false if even that fails; other rows are not affected.
create or replace function platform.set_outbox_row_aside(outbox_row platform.outbox, reason text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  error_state text;
begin
  begin
    perform platform.act_as(outbox_row.tenant_id);
    perform platform.set_aside('relay', array[outbox_row.sink || ' ' || outbox_row.seq], reason, outbox_row.key);
  exception when others then
    error_state := sqlstate;
  end;
  perform platform.act_as('*');
  if error_state in ('40001', '40P01', '55P03') then
    raise exception using errcode = error_state; -- the Worker repeats the whole call
  end if;
  return error_state is null;
end
$$;

-- Runs a step for these rows. If it fails, its changes are undone and each row is tried alone. A row that fails is set
-- aside, and no later row of its key is leased. Returns {events, aside}; `aside` is the number of failed rows.
create or replace function platform.process_relay_rows(of_sink varchar, step text, seqs bigint[], input jsonb)
  returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  outbox_row platform.outbox;
  failed_keys varchar[] := '{}';
  events jsonb := '[]';
  step_events jsonb;
  bytes_left bigint := (input->>'bytes')::bigint;
  error_state text;
  violated_constraint text;
begin
  begin
    return jsonb_build_object('events', platform.relay_step(of_sink, step, seqs, input), 'aside', 0);
  exception when others then
    if sqlstate in ('40001', '40P01', '55P03') then
      raise;
    end if;
  end;
  for outbox_row in select * from platform.outbox x where x.sink = of_sink and x.seq = any(seqs) order by x.seq loop
    continue when step = 'lease' and outbox_row.key = any(failed_keys);
    exit when bytes_left <= 0;
    begin
      step_events := platform.relay_step(of_sink, step, array[outbox_row.seq], input
        || jsonb_build_object('bytes', bytes_left));
      events := events || step_events;
      if step = 'lease' then
        bytes_left := bytes_left - octet_length(step_events->0->>'payload');
      end if;
    exception when others then
      get stacked diagnostics error_state = returned_sqlstate, violated_constraint = constraint_name;
      if error_state in ('40001', '40P01', '55P03') then
        raise;
      end if;
      failed_keys := failed_keys || outbox_row.key;
      perform platform.set_outbox_row_aside(outbox_row,
        btrim(format('SQLSTATE %s %s', error_state, violated_constraint)));
    end;
  end loop;
  return jsonb_build_object('events', events, 'aside', cardinality(failed_keys));
end
$$;

-- A relay's turn for one sink; see platform.relay. Returns {events, pausedMs, aside, areHeld}.
create or replace function platform.relay_sink(input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  of_sink constant varchar := input->>'sink';
  returned bigint[] := array(select jsonb_array_elements_text(input->'returned')::bigint);
  skipped_seqs bigint[];
  leasable bigint[] := '{}';
  are_held boolean := false;
  paused_ms numeric;
  failed_rows integer := 0;
  leased jsonb;
begin
  if jsonb_array_length(input->'delivered') > 0 then
    failed_rows := (platform.process_relay_rows(of_sink, 'delivered',
      array(select jsonb_array_elements_text(input->'delivered')::bigint), input)->>'aside')::int;
  end if;
  if jsonb_array_length(input->'failed') > 0 then
    failed_rows := failed_rows + (platform.process_relay_rows(of_sink, 'failed',
      array(select (x->>'seq')::bigint from jsonb_array_elements(input->'failed') x), input)->>'aside')::int;
  end if;
  -- Rows that this relay leased but does not report: the response with them was lost.
  if (input->>'lost')::boolean then
    returned := returned || array(select o.seq from platform.outbox o
      where o.sink = of_sink and o.due_at > platform.clock() and o.lease = input->>'lease');
  end if;
  if cardinality(returned) > 0 then
    failed_rows := failed_rows + (platform.process_relay_rows(of_sink, 'returned', returned, input)->>'aside')::int;
  end if;
  -- Relays that find the sink unavailable at the same time count as one failure.
  if (input->>'paused')::boolean then
    update platform.sinks s
    set failures = s.failures + 1,
        paused_until = platform.clock() + make_interval(secs => least(power(2, least(s.failures, 6)), 60))
    where s.sink = of_sink and s.paused_until <= platform.clock();
  end if;

  select coalesce((select extract(epoch from s.paused_until - platform.clock()) * 1000 from platform.sinks s
      where s.sink = of_sink and s.paused_until > platform.clock()), 0),
    array(select split_part(k, ' ', 2)::bigint from unnest(platform.keys_set_aside('relay')) k
      where split_part(k, ' ', 1) = of_sink)
  into paused_ms, skipped_seqs;
  if paused_ms = 0 and (input->>'limit')::int > 0 then
    select r.deliverable, r.are_held into leasable, are_held
    from platform.lock_rows_to_deliver(of_sink, (input->>'limit')::int, skipped_seqs) r;
  end if;
  if cardinality(leasable) = 0 then
    return jsonb_build_object('events', '[]'::jsonb, 'pausedMs', ceil(paused_ms), 'aside', failed_rows,
      'areHeld', are_held);
  end if;
  leased := platform.process_relay_rows(of_sink, 'lease', leasable, input);
  return jsonb_build_object('events', leased->'events', 'pausedMs', 0, 'aside', failed_rows + (leased->>'aside')::int,
    'areHeld', are_held);
end
$$;

-- One turn of a relay: records the results of the last turn's rows, then leases the next rows. `input`: {sinks, durable},
-- with one entry in `sinks` for each sink that takes part:
--   sink, lease   the sink, and the name of this relay
--   delivered     [seq]                  delivered: deletes the rows
--   failed        [{seq, error, dead}]   dead: can never be delivered, becomes a dead letter
--   returned      [seq]                  leased and not tried
--   paused        the whole sink is unavailable
--   lost          the response of an earlier turn was lost; the rows that it leased become free
--   limit, bytes  how many rows (0: none) and bytes of payload to lease     seconds  how long the lease lasts
-- Returns for each sink, by its name, {events: [{seq, id, topic, key, tenant, payload, traceparent, time}], pausedMs,
-- aside, areHeld}, oldest first; no events while the sink is paused, for pausedMs more milliseconds. `aside`: rows that
-- failed and were set aside. `areHeld`: other rows are due, but wait for rows that another relay delivers; look again
-- soon, because that relay may have looked for its next rows just before they were free. `durable`: the transaction has
-- another change, which a crash must not undo. A Worker of the previous release sends one such entry as `input`, and
-- gets its result alone.
-- Plans are generic, made once for each connection: planning again takes longer than a small turn.
create or replace function platform.relay(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  turn jsonb;
  answer jsonb := '{}';
begin
  -- No tenant is skipped: the rows of one that moves are copied once its events are delivered.
  perform platform.enter_as(call, '*'), set_config('app.away', '', true);
  -- If the database crashes, only the changes of this call can be lost. Its rows are then delivered again, as after the
  -- crash of a relay.
  if not coalesce((input->>'durable')::boolean, false) then
    perform set_config('synchronous_commit', 'off', true);
  end if;
  if input ? 'sink' then
    return platform.relay_sink(input);
  end if;
  for turn in select jsonb_array_elements(input->'sinks') loop
    answer := answer || jsonb_build_object(turn->>'sink', platform.relay_sink(turn));
  end loop;
  return answer;
end
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.relay to fusion_worker;
