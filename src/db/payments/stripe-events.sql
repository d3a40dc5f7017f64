-- requires: platform/access.sql, platform/events.sql, platform/set-aside.sql
-- Stripe's list of events: how far it has been read, and which holds may end because of that.

-- Where to continue reading, and which failed events to retry. Returns {readUntil, again: [eventId]}; readUntil is null
-- before the first run.
create or replace function payments.find_reading(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, '*');
  return jsonb_build_object('readUntil', (select platform.iso(r.read_until) from payments.stripe_reading r),
    'again', platform.keys_to_retry('hear-stripe', 20));
end
$$;

-- A failed event was applied, or Stripe no longer has it (tenant '*'). `input`: {tenant, eventId}.
create or replace function payments.note_heard(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, input->>'tenant');
  perform platform.clear_set_aside('hear-stripe', array[input->>'eventId']);
  return '{}';
end
$$;

-- All events until this time were read, and applied or set aside. The time never goes back. `input`: {until}.
create or replace function payments.note_reading(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, '*');
  insert into payments.stripe_reading as r (read_until) values ((input->>'until')::timestamptz)
  on conflict (one) do update set read_until = greatest(r.read_until, excluded.read_until);
  return '{}';
end
$$;

-- The events among these that are about our payments and were not applied. `input`: {events: [{eventId, paymentId?,
-- intentId?, setupId?}]}. Returns {events: [{eventId, tenant, paymentId}]}. An event that failed and that a webhook has
-- applied since is no longer set aside.
create or replace function payments.find_unheard(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  new_event_ids text[];
begin
  perform platform.enter_as(call, '*');
  new_event_ids := platform.find_unclaimed_events('stripe',
    array(select e->>'eventId' from jsonb_array_elements(input->'events') e));
  perform platform.clear_set_aside('hear-stripe',
    array(select e->>'eventId' from jsonb_array_elements(input->'events') e
    where e->>'eventId' <> all(new_event_ids)));
  return jsonb_build_object('events', (
    select coalesce(jsonb_agg(jsonb_build_object('eventId', e->>'eventId', 'tenant', w.tenant_id,
      'paymentId', w.payment_id)), '[]')
    from jsonb_array_elements(input->'events') e
    cross join lateral (
      select p.tenant_id, p.payment_id from payments.payments p where p.payment_id = e->>'paymentId'
      union all
      select i.tenant_id, i.payment_id from payments.intents i where i.stripe_id = e->>'intentId'
      union all
      select p.tenant_id, p.payment_id from payments.payments p where p.stripe_payment_intent_id = e->>'intentId'
      union all
      select p.tenant_id, p.payment_id from payments.payments p where p.setup_intent_id = e->>'setupId'
      limit 1
    ) w
    where e->>'eventId' = any(new_event_ids)));
end
$$;

-- The time until which all of Stripe's events are known. An event can appear in the list some seconds after its time.
-- For inventory and group commerce, which end holds.
create or replace function payments.events_known_until() returns timestamptz
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce((select r.read_until - interval '1 minute' from payments.stripe_reading r), '-infinity')
$$;

-- Whether the order's payment may have been paid before `ended`, because it was not looked up at Stripe since then. It
-- cannot have been paid if the buyer never received an intent. The caller acts as '*'.
create or replace function payments.awaits_stripe(order_id varchar, ended timestamptz) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (
    select from payments.payments p
    where p.order_id = awaits_stripe.order_id and p.status = (select 'pending')
      and coalesce(p.stripe_payment_intent_id, p.setup_intent_id) is not null
      and (p.asked_at is null or p.asked_at < ended))
$$;

-- Orders whose payment is set aside. An update from Stripe may be missing in our rows, so their holds do not end.
create or replace function payments.orders_set_aside() returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select array(select p.order_id::text from payments.payments p
    where p.payment_id = any(platform.subjects_set_aside(array['reconcile-payments', 'hear-stripe']))
      and p.status = (select 'pending'))
$$;

call platform.set_owner('payments', 'fusion_payments');

grant execute on function payments.find_reading, payments.note_reading, payments.find_unheard,
  payments.note_heard to fusion_worker;
grant execute on function payments.events_known_until, payments.awaits_stripe, payments.orders_set_aside
  to fusion_inventory, fusion_group_commerce;
