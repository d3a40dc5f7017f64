-- requires: platform/access.sql, platform/events.sql, platform/customer-sessions.sql, payments/payments.sql
-- A payment that is opened together with its order: in the order's transaction, before Stripe is called. And the end of
-- POST /v1/payments, after Stripe was called.

-- Opens the payment of an order that this transaction has placed and whose stock it holds, in one statement. Returns it
-- as payment_json, with `delayed`: whether the tenant accepts payment methods that settle later. For orders. Emits
-- payment.created.
create or replace function payments.open_with_order(payment_id varchar, order_id varchar, amount numeric,
  currency varchar) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
  answer jsonb;
begin
  with opened as (
    insert into payments.payments as p (payment_id, order_id, amount, currency, status, tenant_id, stripe_account,
      created_at, updated_at, checked_at)
    select open_with_order.payment_id, open_with_order.order_id, open_with_order.amount, open_with_order.currency,
      'pending', t.id, t.stripe_account, now_at, now_at, now_at
    from platform.tenants t where t.id = tenant
    returning p as row
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'payment.created', open_with_order.payment_id, payments.created_json(o.row), platform.trace(), now_at
    from opened o
    returning seq, key
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, e.key, platform.due_now() from event e, unnest(platform.sinks_of(false)) s
  )
  select payments.payment_json(o.row) || jsonb_build_object('delayed',
    (select t.delayed_payments from platform.tenants t where t.id = tenant)) into answer
  from opened o;
  return answer;
end
$$;

-- For the repetition of a request that opened a payment with its order: the intent that was recorded since. `input`:
-- {tenant, id}. Returns {intentId, clientSecret, task, reason}. `task`: what to request from Stripe if there is no
-- intent yet; null if there is one or if the payment has ended, and then `reason` says why.
create or replace function payments.find_intent(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  answer jsonb;
begin
  perform platform.enter_as(call, input->>'tenant');
  select jsonb_build_object('intentId', p.stripe_payment_intent_id, 'clientSecret', p.client_secret,
    'task', case when payments.lacks_intent(p) then payments.intent_task(p) end, 'reason', p.failure_reason) into answer
  from payments.payments p where p.payment_id = input->>'id';
  return answer;
end
$$;

-- Ends POST /v1/payments with the intent that Stripe made. `input`: {id, intentId, clientSecret, status}, or for a
-- saved card {id, setupId, customerId, clientSecret, status}; both with the account of its task. For a shopper it needs
-- the job secret too: a leaked login and a public key must not attach an intent. Raises not_found for a shopper whose
-- payment it is not.
create or replace function payments.record_intent(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'payments:write', 'payments.create', '{publishable,session}');
begin
  if replay is not null then
    return replay;
  end if;
  if platform.shopper() is not null then
    perform platform.check_vouched(call);
    if not exists (select from payments.payments p where p.payment_id = input->>'id' and payments.may_reach(p)) then
      perform platform.fail('not_found');
    end if;
  end if;
  perform payments.attach_intents(jsonb_build_array(input), false);
  return platform.leave(call, 'payments.create', (
    select payments.payment_json(p) from payments.payments p
    where p.payment_id = input->>'id'));
end
$$;

call platform.set_owner('payments', 'fusion_payments');

grant execute on function payments.open_with_order to fusion_orders;
grant execute on function payments.find_intent, payments.record_intent to fusion_worker;
