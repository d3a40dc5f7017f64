-- requires: platform/access.sql, platform/events.sql, platform/set-aside.sql
-- Stripe's list of events: how far it has been read, and which holds may end because of that.

-- Where to continue reading the platform's own account, and which of its failed events to retry. Returns {readUntil,
-- again: [eventId]}; readUntil is null before the first run. An event of a tenant's account is set aside under
-- `<account> <event>`: see find_account_readings.
create or replace function payments.find_reading(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, '*');
  return jsonb_build_object('readUntil', (select platform.iso(r.read_until) from payments.stripe_reading r),
    'again', platform.keys_to_retry('hear-stripe', 20));
end
$$;

-- A failed event was applied, or Stripe no longer has it (tenant '*'). `input`: {tenant, eventId}; `eventId`: as it was
-- set aside.
create or replace function payments.note_heard(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, input->>'tenant');
  perform platform.clear_set_aside(case when input->>'eventId' like '% %' then 'hear-accounts' else 'hear-stripe' end,
    array[input->>'eventId']);
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

-- The events among these that are about our payments and were not applied. `input`: {account, events: [{eventId,
-- paymentId?, intentId?, setupId?}]}. An event is about payments of its own account only (null: the platform's).
-- Returns {events: [{eventId, tenant, paymentId}]}. An event that failed and that a webhook has applied since is no
-- longer set aside.
create or replace function payments.find_unheard(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  new_event_ids text[];
  of_account constant varchar := input->>'account';
begin
  perform platform.enter_as(call, '*');
  new_event_ids := platform.find_unclaimed_events('stripe',
    array(select e->>'eventId' from jsonb_array_elements(input->'events') e));
  perform platform.clear_set_aside(case when of_account is null then 'hear-stripe' else 'hear-accounts' end,
    array(select concat_ws(' ', of_account, e->>'eventId') from jsonb_array_elements(input->'events') e
    where e->>'eventId' <> all(new_event_ids)));
  return jsonb_build_object('events', (
    select coalesce(jsonb_agg(jsonb_build_object('eventId', e->>'eventId', 'tenant', w.tenant_id,
      'paymentId', w.payment_id)), '[]')
    from jsonb_array_elements(input->'events') e
    cross join lateral (
      select p.tenant_id, p.payment_id from payments.payments p where p.payment_id = e->>'paymentId'
        and p.stripe_account is not distinct from of_account
      union all
      select i.tenant_id, i.payment_id from payments.intents i where i.stripe_id = e->>'intentId'
        and i.stripe_account is not distinct from of_account
      union all
      select p.tenant_id, p.payment_id from payments.payments p where p.stripe_payment_intent_id = e->>'intentId'
        and p.stripe_account is not distinct from of_account
      union all
      select p.tenant_id, p.payment_id from payments.payments p where p.setup_intent_id = e->>'setupId'
        and p.stripe_account is not distinct from of_account
      limit 1
    ) w
    where e->>'eventId' = any(new_event_ids)));
end
$$;

-- The time until which all events of the tenant's account are known (null: of the platform's own). An event can appear
-- in the list some seconds after its time. If Stripe gives no access to the account, nothing more will be known: money
-- that turns out to have arrived is then late money.
create or replace function payments.events_known_until(of_tenant varchar, of_account varchar) returns timestamptz
language sql stable as $$
  select coalesce(case when of_account is null
    then (select r.read_until - interval '1 minute' from payments.stripe_reading r)
    else (select case when r.withdrawn_at is not null then 'infinity' else r.read_until - interval '1 minute' end
      from payments.account_readings r where r.tenant_id = of_tenant and r.account = of_account) end, '-infinity')
$$;

-- Whether the order's payment may have been paid before `ended`: the events of its account are not known until then,
-- and it was not looked up at Stripe since. It cannot have been paid if the buyer never received an intent. For
-- inventory and group commerce, which end holds. The caller acts as '*'.
create or replace function payments.awaits_stripe(order_id varchar, ended timestamptz) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (
    select from payments.payments p
    where p.order_id = awaits_stripe.order_id and p.status = (select 'pending')
      and coalesce(p.stripe_payment_intent_id, p.setup_intent_id) is not null
      and (p.asked_at is null or p.asked_at < ended)
      and ended > payments.events_known_until(p.tenant_id, p.stripe_account))
$$;

-- Orders whose payment is set aside. An update from Stripe may be missing in our rows, so their holds do not end.
create or replace function payments.orders_set_aside() returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select array(select p.order_id::text from payments.payments p
    where p.payment_id = any(platform.subjects_set_aside(array['reconcile-payments', 'hear-stripe', 'hear-accounts']))
      and p.status = (select 'pending'))
$$;

call platform.set_owner('payments', 'fusion_payments');

grant execute on function payments.find_reading, payments.note_reading, payments.find_unheard,
  payments.note_heard to fusion_worker;
grant execute on function payments.awaits_stripe, payments.orders_set_aside
  to fusion_inventory, fusion_group_commerce;
