-- requires: platform.sql
-- Events: written with the change that they report, leased and delivered by the relay, applied once by the inbox.

-- Adds an event to the transaction. Call it after locking the row that changed: that lock is what makes the order of
-- `seq` the order of the changes for one key. `queue`: our own consumers have something to do.
create or replace function platform.emit(topic text, key text, payload jsonb, queue boolean) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with e as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    values (platform.tenant(), topic, key, payload, nullif(current_setting('app.traceparent', true), ''),
            platform.clock())
    returning seq
  )
  insert into platform.outbox (sink, seq, tenant_id, key, due_at)
  select s, e.seq, platform.tenant(), key, date_trunc('milliseconds', now()) -- the real clock, whatever time was passed in
  from e, unnest(case when queue then array['kafka', 'queue'] else array['kafka'] end) s
$$;

-- The ids among these that this consumer has not applied yet; they count as applied from here on, if the transaction
-- commits (inbox_once).
create or replace function platform.take_new(consumer text, event_ids text[]) returns text[]
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with taken as (
    insert into platform.inbox (tenant_id, consumer, event_id, applied_at)
    select platform.tenant(), consumer, id, platform.clock() from unnest(event_ids) id order by id
    on conflict on constraint inbox_once do nothing
    returning event_id
  )
  select coalesce(array_agg(event_id), '{}') from taken
$$;

-- One turn of a relay: settles what it has just tried to deliver, leases what comes next. `input`:
--   lease      this relay's own name
--   delivered  [{sink, seqs}]
--   failed     [{sink, seq, error, dead}]   dead: will never be taken; goes to the dead letters
--   paused     [{sink}]                     the sink is away as a whole
--   limit      how many rows of each sink to lease (0: none)      seconds  how long the lease lasts
-- Answers {events: [{seq, id, topic, key, tenant, payload, traceparent, time, sinks, attempts}]}, oldest first.
create or replace function platform.relay(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  item jsonb;
  leased jsonb := '[]';
  failed_row platform.outbox;
begin
  perform platform.enter_as(call, '*');

  for item in select jsonb_array_elements(input->'delivered') loop
    delete from platform.outbox o
    where o.sink = item->>'sink' and o.seq = any(array(select jsonb_array_elements_text(item->'seqs')::bigint));
    update platform.sinks s set failures = 0, paused_until = '-infinity'
    where s.sink = item->>'sink' and s.failures > 0;
  end loop;

  for item in select jsonb_array_elements(input->'failed') loop
    if (item->>'dead')::boolean then
      delete from platform.outbox o
      where o.sink = item->>'sink' and o.seq = (item->>'seq')::bigint
      returning * into failed_row;
      if found then
        perform platform.bury(failed_row, item->>'error');
      end if;
    else
      -- The key waits with its row, or the rows behind it would be looked at in vain at every turn.
      update platform.outbox o
      set attempts = o.attempts + (o.seq = f.seq)::int, last_error = item->>'error', lease = null,
          due_at = platform.clock() + make_interval(secs => least(power(2, least(f.attempts, 6)), 60))
      from platform.outbox f
      where f.sink = item->>'sink' and f.seq = (item->>'seq')::bigint
        and o.sink = f.sink and o.key = f.key and o.seq >= f.seq;
    end if;
  end loop;

  for item in select jsonb_array_elements(input->'paused') loop
    update platform.sinks s
    set failures = s.failures + 1, paused_until = platform.clock() + make_interval(secs => least(power(2, least(s.failures, 6)), 60))
    where s.sink = item->>'sink' and s.paused_until <= platform.clock();
  end loop;

  -- What was leased and is neither delivered nor failed goes back.
  if input->'leased' is not null then
    update platform.outbox o set lease = null, due_at = platform.clock()
    where (o.sink, o.seq) in (
      select r->>'sink', (r->>'seq')::bigint from jsonb_array_elements(input->'leased') r
    ) and o.lease = input->>'lease';
  end if;

  if (input->>'limit')::int > 0 then
    -- Two relays at once: rows that the other has locked are skipped, and a row whose earlier sibling (same key) is not
    -- among those locked here stays behind, whoever has the sibling and in whatever state it is.
    with locked as (
      select o.sink, o.seq, o.key
      from platform.sinks s
      cross join lateral (
        select w.sink, w.seq, w.key from platform.outbox w
        where w.sink = s.sink and w.due_at <= platform.clock()
        order by w.seq
        limit (input->>'limit')::int
        for update skip locked
      ) o
      where s.paused_until <= platform.clock()
    ), free as (
      select l.sink, l.seq from locked l
      where not exists (
        select from platform.outbox e
        where e.sink = l.sink and e.key = l.key and e.seq < l.seq
          and not exists (select from locked m where m.sink = e.sink and m.seq = e.seq)
      )
    ), taken as (
      update platform.outbox o
      set lease = input->>'lease', due_at = platform.clock() + make_interval(secs => (input->>'seconds')::int)
      from free f where o.sink = f.sink and o.seq = f.seq
      returning o.sink, o.seq, o.tenant_id, o.attempts
    ), grouped as (
      select t.tenant_id, t.seq, array_agg(t.sink order by t.sink) as sinks, max(t.attempts) as attempts
      from taken t group by t.tenant_id, t.seq
    )
    select coalesce(jsonb_agg(jsonb_build_object(
      'seq', e.seq, 'id', e.id, 'topic', e.topic, 'key', e.key, 'tenant', e.tenant_id, 'payload', e.payload,
      'traceparent', e.traceparent, 'time', platform.iso(e.time), 'sinks', g.sinks, 'attempts', g.attempts
    ) order by e.seq), '[]') into leased
    from grouped g join platform.events e on e.tenant_id = g.tenant_id and e.seq = g.seq;
  end if;

  return jsonb_build_object('events', leased);
end
$$;

-- CloudEvents 1.0, structured: what a queue carries and a dead letter keeps.
create or replace function platform.envelope(e platform.events) returns jsonb
language sql stable as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'specversion', '1.0', 'id', e.id, 'type', e.topic, 'source', '/fusioncommerce', 'time', platform.iso(e.time),
    'tenantid', e.tenant_id, 'subject', e.key, 'sequence', e.seq::text, 'traceparent', e.traceparent)) ||
    jsonb_build_object('data', e.payload)
$$;

-- Puts an event that its sink will never take among the dead letters.
create or replace function platform.bury(undelivered platform.outbox, reason text) returns void
language sql as $$
  insert into platform.dead_letters
    (id, tenant_id, sink, event_id, topic, key, seq, message, reason, attempts, created_at)
  select platform.uuid7(), e.tenant_id, undelivered.sink, e.id::text, e.topic, e.key, e.seq,
    platform.envelope(e), reason, undelivered.attempts + 1, platform.clock()
  from platform.events e
  where e.tenant_id = undelivered.tenant_id and e.seq = undelivered.seq
  on conflict (sink, event_id) where replayed_at is null do nothing
$$;

-- Keeps messages that a consumer could not apply. `input`: {messages: [{id, tenant, sink, eventId, topic, key, seq,
-- message, reason, attempts}]}. A message that is kept already is not kept twice (dead_letters_open_once).
create or replace function platform.keep_dead_letters(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, '*');
  insert into platform.dead_letters
    (id, tenant_id, sink, event_id, topic, key, seq, message, reason, attempts, created_at)
  select m->>'id', m->>'tenant', m->>'sink', m->>'eventId', m->>'topic', m->>'key', (m->>'seq')::bigint,
    m->'message', m->>'reason', (m->>'attempts')::int, platform.clock()
  from jsonb_array_elements(input->'messages') m
  on conflict (sink, event_id) where replayed_at is null do nothing;
  return jsonb_build_object('kept', jsonb_array_length(input->'messages'));
end
$$;

create or replace function platform.letter_json(d platform.dead_letters) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', d.id, 'sink', d.sink, 'eventId', d.event_id, 'topic', d.topic, 'key', d.key,
    'message', d.message, 'reason', d.reason, 'attempts', d.attempts, 'createdAt', platform.iso(d.created_at),
    'replayedAt', platform.iso(d.replayed_at))
$$;

-- Delivers a dead letter again, by the outbox. Idempotent: replayed already, it answers the same. `input`: {id}.
-- Refuses with conflict what is no event of ours (it has no row to be delivered from).
create or replace function platform.replay_dead_letter(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'events:write', 'deadLetters.replay');
  letter platform.dead_letters;
begin
  if replay is not null then
    return replay;
  end if;
  select * into letter from platform.dead_letters d
    where d.tenant_id = platform.tenant() and d.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if letter.seq is null then
    perform platform.fail('conflict', jsonb_build_object('reason', 'This message is no event of this system.'));
  end if;
  if letter.replayed_at is null then
    insert into platform.outbox (sink, seq, tenant_id, key, due_at)
    values (case when letter.sink = 'kafka' then 'kafka' else 'queue' end, letter.seq, letter.tenant_id, letter.key,
            date_trunc('milliseconds', now()))
    on conflict on constraint outbox_once do nothing;
    update platform.dead_letters d set replayed_at = platform.clock() where d.id = letter.id returning * into letter;
  end if;
  return platform.leave(call, 'deadLetters.replay', platform.letter_json(letter));
end
$$;

call platform.hand_over('platform', 'fusion_platform');

grant execute on function platform.clock, platform.tenant, platform.iso, platform.uuid7, platform.currency_decimals, platform.fail,
  platform.act_as, platform.set_cause, platform.set_trace, platform.enter, platform.leave, platform.enter_as, platform.emit,
  platform.take_new, platform.authenticate
  to fusion_catalog, fusion_inventory, fusion_orders, fusion_group_commerce, fusion_payments, fusion_shipping,
     fusion_search;
grant execute on function platform.iso, platform.envelope, platform.letter_json to fusion_reader;
grant execute on function platform.authenticate, platform.begin_operation, platform.end_operation, platform.purge,
  platform.health, platform.relay, platform.keep_dead_letters, platform.replay_dead_letter to fusion_worker;
