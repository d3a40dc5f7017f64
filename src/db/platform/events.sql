-- requires: platform/access.sql, platform/idempotency.sql
-- Events: stored with the change that they report, leased and delivered by the relay, applied once through the inbox.

-- The sinks of an event: Kafka, and the queues if a consumer of ours handles it.
create or replace function platform.sinks_of(queue boolean) returns varchar[]
language sql immutable as $$
  select case when queue then '{kafka,queue}'::varchar[] else '{kafka}' end
$$;

-- When a new outbox row is due: now by the real clock, even if a time was passed in.
create or replace function platform.due_now() returns timestamptz
language sql stable as $$
  select date_trunc('milliseconds', now())
$$;

-- The trace of the call, or of the message that a consumer is applying.
create or replace function platform.trace() returns varchar
language sql stable as $$
  select nullif(current_setting('app.traceparent', true), '')
$$;

-- Adds an event to the transaction. Call it after locking the row that changed: that lock makes the order of `seq` the
-- order of the changes for one key. A statement that writes the change itself may add its event in the same way, as
-- orders.place_order does.
create or replace function platform.emit(topic text, key text, payload jsonb, queue boolean) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  tenant constant varchar := platform.tenant();
begin
  with event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    values (tenant, emit.topic, emit.key, emit.payload, platform.trace(), platform.clock()) returning seq
  )
  insert into platform.outbox (tenant_id, sink, seq, key, due_at)
  select tenant, s, e.seq, emit.key, platform.due_now() from event e, unnest(platform.sinks_of(queue)) s;
end
$$;

-- Claims the ids among these that this consumer has not applied, and returns them. They count as applied if the
-- transaction commits (inbox_once). Inserted in the order of the ids, so that two batches do not deadlock.
create or replace function platform.claim_new_events(consumer text, event_ids text[]) returns text[]
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with claimed as (
    insert into platform.inbox (tenant_id, consumer, event_id, applied_at)
    select platform.tenant(), consumer, id, platform.clock() from unnest(event_ids) id order by id
    on conflict on constraint inbox_once do nothing
    returning event_id
  )
  select coalesce(array_agg(event_id), '{}') from claimed
$$;

-- Claims one event, like claim_new_events. Returns false if this consumer has applied it.
create or replace function platform.claim_event(consumer text, event_id text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into platform.inbox (tenant_id, consumer, event_id, applied_at)
  values (platform.tenant(), claim_event.consumer, claim_event.event_id, platform.clock())
  on conflict on constraint inbox_once do nothing;
  return found;
end
$$;

-- The ids among these that this consumer has not applied, without claiming them.
create or replace function platform.find_unclaimed_events(consumer text, event_ids text[]) returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select array(select id from unnest(event_ids) id where not exists (
    select from platform.inbox i where i.consumer = find_unclaimed_events.consumer and i.event_id = id))
$$;

-- CloudEvents 1.0, structured: the content of a queue message and of a dead letter.
create or replace function platform.envelope(e platform.events) returns jsonb
language sql stable as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'specversion', '1.0', 'id', e.id, 'type', e.topic, 'source', '/fusioncommerce', 'time', platform.iso(e.time),
    'tenantid', e.tenant_id, 'subject', e.key, 'sequence', e.seq::text, 'traceparent', e.traceparent)) ||
    jsonb_build_object('data', e.payload)
$$;

-- Adds a dead letter for an event that its sink will never accept.
create or replace function platform.add_dead_letter(outbox_row platform.outbox, reason text) returns void
language sql as $$
  insert into platform.dead_letters
    (id, tenant_id, sink, event_id, topic, key, seq, message, reason, attempts, created_at)
  select platform.uuid7(), e.tenant_id, outbox_row.sink, e.id::text, e.topic, e.key, e.seq,
    platform.envelope(e), reason, outbox_row.attempts + 1, platform.clock()
  from platform.events e
  where e.tenant_id = outbox_row.tenant_id and e.seq = outbox_row.seq
  on conflict (sink, event_id) where replayed_at is null do nothing
$$;

-- Stores messages that a consumer could not apply. `input`: {messages: [{id, tenant, sink, eventId, topic, key, seq,
-- message, reason, attempts}]}. A message is stored once (dead_letters_open_once). Raises unavailable if a tenant is
-- away, or moved if it is the only one.
create or replace function platform.keep_dead_letters(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  tenants text[];
begin
  perform platform.enter_as(call, '*');
  if exists (select from jsonb_array_elements(input->'messages') m
    join platform.tenant_moves v on v.id = m->>'tenant') then
    tenants := array(select distinct m->>'tenant' from jsonb_array_elements(input->'messages') m);
    if cardinality(tenants) > 1 then
      perform platform.fail('unavailable'); -- the Worker then stores each message alone
    end if;
    perform platform.refuse_away(tenants[1]);
  end if;
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

-- Delivers a dead letter again through the outbox; a row that a job has set aside is retried at the job's next run.
-- Idempotent: replaying a dead letter twice gives the same result. `input`: {id}. Locks the dead letter, so that
-- it is replayed once. Raises not_found, and conflict for a message that is not an event of ours (it has no row to
-- deliver).
create or replace function platform.replay_dead_letter(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'events:write', 'deadLetters.replay');
  dead_letter platform.dead_letters;
begin
  if replay is not null then
    return replay;
  end if;
  select * into dead_letter from platform.dead_letters d
    where d.tenant_id = platform.tenant() and d.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  if dead_letter.retry_at is not null then
    if dead_letter.replayed_at is null then
      update platform.dead_letters d set retry_at = platform.clock() where d.id = dead_letter.id;
    end if;
    return platform.leave(call, 'deadLetters.replay', platform.letter_json(dead_letter));
  end if;
  if not exists (select from platform.events e
    where e.tenant_id = dead_letter.tenant_id and e.seq = dead_letter.seq and e.id::text = dead_letter.event_id) then
    perform platform.fail('conflict', jsonb_build_object('reason', 'This message is not an event of this system, so it cannot be replayed.'));
  end if;
  if dead_letter.replayed_at is null then
    insert into platform.outbox (sink, seq, tenant_id, key, due_at)
    values (case when dead_letter.sink = 'kafka' then 'kafka' else 'queue' end, dead_letter.seq, dead_letter.tenant_id,
      dead_letter.key, date_trunc('milliseconds', now()))
    on conflict on constraint outbox_once do nothing;
    -- Another tenant may have an event with this number that waits, if one of the two came from another cell.
    if not found and not exists (select from platform.outbox o where o.tenant_id = dead_letter.tenant_id
      and o.seq = dead_letter.seq) then
      perform platform.fail('unavailable');
    end if;
    update platform.dead_letters d set replayed_at = platform.clock() where d.id = dead_letter.id
      returning * into dead_letter;
  end if;
  return platform.leave(call, 'deadLetters.replay', platform.letter_json(dead_letter));
end
$$;

-- A page of the events under these keys, oldest first, after the sequence number `after`: [{event, seq}]. For orders,
-- whose caller has checked that they are the shopper's.
create or replace function platform.history_of(keys text[], after bigint, most integer) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(jsonb_agg(jsonb_build_object('event', platform.envelope(e.row), 'seq', e.seq) order by e.seq), '[]')
  from (
    select x as row, x.seq from platform.events x
    where x.tenant_id = (select platform.tenant()) and x.key = any(keys) and (after is null or x.seq > after)
    order by x.tenant_id, x.seq limit most
  ) e
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.clock, platform.tenant, platform.iso, platform.uuid7, platform.fail,
  platform.next_version, platform.shopper,
  platform.act_as, platform.set_trace, platform.identify(jsonb, text, text[]), platform.authenticate,
  platform.enter_as, platform.sinks_of, platform.due_now, platform.trace, platform.emit, platform.claim_event, platform.claim_new_events, platform.find_unclaimed_events
  to fusion_catalog, fusion_inventory, fusion_orders, fusion_group_commerce, fusion_payments, fusion_shipping,
     fusion_search;
grant execute on function platform.proven_tenant to fusion_reader, fusion_search, fusion_shipping;
grant execute on function platform.iso, platform.envelope, platform.letter_json to fusion_reader;
grant execute on function platform.authenticate, platform.check_key, platform.keep_dead_letters, platform.replay_dead_letter to fusion_worker;
grant execute on function platform.history_of to fusion_orders;
