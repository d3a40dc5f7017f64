-- requires: platform/access.sql, platform/events.sql, platform/set-aside.sql
-- The PaymentIntents of a payment. Usually there is one. A second exists when Stripe kept an error for a request that it
-- had carried out, or when somebody made one by hand. The payment's row is locked before its intents.

-- Whether Stripe may still take money by an intent of this status.
create or replace function payments.is_open(status text) returns boolean
language sql immutable as $$
  select status not in ('succeeded', 'canceled')
$$;

-- How near an intent of this status is to the money.
create or replace function payments.nearness(status text) returns integer
language sql immutable as $$
  select case status when 'succeeded' then 4 when 'requires_capture' then 3 when 'processing' then 2 when 'canceled' then 0
    else 1 end
$$;

-- Why something at Stripe was not made for this payment, by the names in its metadata: {paymentId, orderId, tenant}.
create or replace function payments.made_for_fault(p payments.payments, known boolean, made_for jsonb) returns varchar
language sql stable as $$
  select case
    when made_for is null then null
    when coalesce(made_for->>'paymentId', case when known then p.payment_id end) is distinct from p.payment_id
      or coalesce(made_for->>'orderId', case when known then p.order_id end) is distinct from p.order_id
      or coalesce(made_for->>'tenant', case when known then p.tenant_id end) is distinct from p.tenant_id
      then 'made_for_another' end
$$;

-- Why an intent cannot pay this payment; null: it can. `known`: it was made by us, or was accepted before, so it need not
-- name the payment. A Worker of the previous release sends neither the amount nor the names.
create or replace function payments.fault_of(p payments.payments, known boolean, intent jsonb) returns varchar
language sql stable as $$
  select case
    when not intent ? 'amount' then null
    when intent->>'currency' is distinct from p.currency then 'currency_differs'
    when (intent->>'amount')::numeric is distinct from p.amount then 'amount_differs'
    else payments.made_for_fault(p, known, intent->'madeFor') end
$$;

-- Remembers an intent and the latest news of it. Its end is final, whatever the order in which news comes. An intent that cannot
-- pay its payment is reported to the tenant as a dead letter. Its money is not refunded automatically: somebody with
-- access to the Stripe account has changed it and may have meant to. The caller has locked the payment.
create or replace function payments.remember_intent(p payments.payments, intent_id varchar, intent jsonb)
returns payments.intents
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  before payments.intents;
  i payments.intents;
begin
  select * into before from payments.intents x where x.stripe_id = intent_id for update;
  insert into payments.intents as x (stripe_id, tenant_id, payment_id, amount, currency, status, received, fault, created_at)
  values (intent_id, p.tenant_id, p.payment_id, coalesce((intent->>'amount')::numeric, p.amount),
    coalesce(intent->>'currency', p.currency), coalesce(intent->>'status', 'requires_payment_method'),
    coalesce((intent->>'received')::numeric, 0),
    payments.fault_of(p, before.fault is null and (before.stripe_id is not null or p.stripe_payment_intent_id is not distinct from intent_id),
      intent), platform.clock())
  on conflict (stripe_id) do update
  set amount = coalesce((intent->>'amount')::numeric, x.amount), currency = coalesce(intent->>'currency', x.currency),
      status = case when intent ? 'received' and (payments.is_open(x.status) or excluded.status = 'succeeded')
        then excluded.status else x.status end,
      received = greatest(x.received, excluded.received),
      fault = case when intent ? 'amount' then excluded.fault else x.fault end
  returning * into i;
  if i.fault is not null and (before.fault is distinct from i.fault or before.received is distinct from i.received) then
    perform platform.report('stripe', i.stripe_id, 'payment_intent.' || i.status, p.payment_id,
      jsonb_build_object('stripePaymentIntentId', i.stripe_id, 'paymentId', p.payment_id, 'orderId', p.order_id,
        'amount', i.amount, 'currency', i.currency, 'received', i.received, 'status', i.status),
      format('%s: this PaymentIntent cannot pay the payment, which is %s %s. Look at it in Stripe and refund it there if the money is not yours to keep.',
        i.fault, p.amount, p.currency));
  end if;
  return i;
end
$$;

-- Makes an intent the one that counts, if it is nearer to the money than the one that has counted so far. While nobody has
-- paid, the buyer must be able to confirm it, so without a client secret an idle intent does not count.
create or replace function payments.lead(p payments.payments, i payments.intents, client_secret text) returns payments.payments
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  nearest constant integer := coalesce(
    (select payments.nearness(x.status) from payments.intents x
      where x.stripe_id = p.stripe_payment_intent_id and x.fault is null), 0);
begin
  if p.captured > 0 or p.stripe_payment_intent_id is not distinct from i.stripe_id then
    return p;
  end if;
  if payments.nearness(i.status) > greatest(nearest, 1) or (p.stripe_payment_intent_id is null
    and payments.is_open(i.status) and (p.mode = 'card' or client_secret is not null)) then
    update payments.payments x
    set stripe_payment_intent_id = i.stripe_id, updated_at = platform.clock(),
        client_secret = case when x.mode = 'card' then x.client_secret else lead.client_secret end
    where x.payment_id = p.payment_id returning * into p;
  end if;
  return p;
end
$$;

-- The payment's own intent has come to nothing. True if another is on its way to the money: that one counts from now on.
create or replace function payments.follow_other(p payments.payments) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  other varchar;
  now_status text;
begin
  select i.stripe_id, i.status into other, now_status from payments.intents i
    where i.payment_id = p.payment_id and i.fault is null and i.status in ('processing', 'requires_capture')
      and i.stripe_id is distinct from p.stripe_payment_intent_id
    order by payments.nearness(i.status) desc, i.stripe_id limit 1;
  if not found then
    return false;
  end if;
  update payments.payments x set stripe_payment_intent_id = other, stripe_status = now_status, failure_reason = null,
    updated_at = platform.clock()
  where x.payment_id = p.payment_id;
  if now_status = 'processing' then
    perform payments.follow_debit(p, now_status, '{}'); -- the end of the other one may have set an end to the hold
  end if;
  return true;
end
$$;

-- A payment that had ended is paid after all. If its order has a newer payment by now, the one that is paid first counts: a
-- pending one is cancelled. False if that one is paid already, or was and is refunded. The caller has locked the order and `p`.
create or replace function payments.take_over(p payments.payments) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  other payments.payments;
begin
  select * into other from payments.payments x
    where x.tenant_id = p.tenant_id and x.order_id = p.order_id and x.payment_id <> p.payment_id
      and x.status in ('pending', 'succeeded') for update;
  if found and other.status = 'pending' then
    update payments.payments x
    set status = 'cancelled', failure_reason = 'paid_otherwise', updated_at = platform.clock(),
        intent_open = payments.open_at_end(x)
    where x.payment_id = other.payment_id returning * into other;
    perform payments.emit_payment(other, 'payment.cancelled', '{}', true);
  end if;
  return other.status is distinct from 'succeeded' and not exists (select from orders.orders o
    where o.tenant_id = p.tenant_id and o.id = p.order_id and o.status = 'refunded');
end
$$;

-- The order was paid by another payment (payments_one_live_an_order), so the money of this one goes back.
create or replace function payments.take_excess(p payments.payments, received numeric) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  update payments.payments x
  set captured = received, intent_open = false, stripe_status = 'succeeded', updated_at = platform.clock()
  where x.payment_id = p.payment_id returning * into p;
  perform payments.emit_payment(p, 'payment.succeeded', '{}', false);
  perform payments.hear_early_refunds(p);
  select * into p from payments.payments x where x.payment_id = p.payment_id;
  perform payments.return_money(p, p.stripe_payment_intent_id, p.captured - p.refunded, 'paid_twice');
end
$$;

-- Whether the order of this payment is paid by another one, or was when this one's money came.
create or replace function payments.is_excess(p payments.payments) returns boolean
language sql stable as $$
  select exists (select from payments.payments x where x.tenant_id = p.tenant_id and x.order_id = p.order_id
    and x.payment_id <> p.payment_id and x.status = 'succeeded')
    or exists (select from payments.refunds r where r.payment_id = p.payment_id and r.automatic and r.reason = 'paid_twice'
      and r.stripe_intent_id is not distinct from p.stripe_payment_intent_id)
$$;

-- Whether the charges of a saved method are still to be looked up, since one may have been made that we never heard of. A
-- request may act some minutes after it was sent, so a look counts only after that time. An earlier release noted no time.
create or replace function payments.charges_unseen(p payments.payments) returns boolean
language sql stable as $$
  select p.mode = 'card' and p.capture_asked and p.captured = 0 and p.stripe_payment_intent_id is null
    and (p.charges_looked_at is null or p.charges_looked_at < coalesce(p.charge_asked_at, p.created_at) + interval '15 minutes')
$$;

-- Intents to be cancelled at Stripe: those that do not count, once another does or the payment has ended.
create or replace function payments.strays(p payments.payments) returns text[]
language sql stable as $$
  select array(
    select i.stripe_id from payments.intents i
    where i.payment_id = p.payment_id and i.fault is null and payments.is_open(i.status)
      and i.stripe_id is distinct from p.stripe_payment_intent_id
      and (p.status <> 'pending' or p.stripe_payment_intent_id is not null)
    order by i.stripe_id)
$$;

-- Keeps an ended payment open as long as Stripe may still take money for it. One that has its money is open only because of
-- other intents; of one that has none, the functions that apply the news say when its own intent is closed.
create or replace function payments.keep_open(of varchar) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update payments.payments x set intent_open = not x.intent_open
  from (
    select p.payment_id, payments.charges_unseen(p) or cardinality(payments.strays(p)) > 0 or exists (
      select from payments.intents i where i.stripe_id = p.stripe_payment_intent_id and payments.is_open(i.status)) as open
    from payments.payments p where p.payment_id = of
  ) now
  where x.payment_id = now.payment_id and x.status <> 'pending'
    and x.intent_open is distinct from (now.open or (x.intent_open and x.captured = 0))
$$;

-- Before the saved method of a place is charged: notes that it will be. `input`: {tenant, id}. Answers {ended: true} if the
-- payment is not to be charged any more; else {task, again}. `again`: it was asked for before, so a charge may exist.
create or replace function payments.ask_charge(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  p payments.payments;
  again boolean;
begin
  perform platform.enter_as(call, input->>'tenant');
  select * into p from payments.payments x
    where x.tenant_id = platform.tenant() and x.payment_id = input->>'id' for update;
  if not found or p.status <> 'pending' or not p.capture_asked then
    return jsonb_build_object('ended', true);
  end if;
  again := p.charge_asked_at is not null or p.attempt > 1;
  update payments.payments x set charge_asked_at = platform.clock() where x.payment_id = p.payment_id returning * into p;
  return jsonb_build_object('task', payments.intent_task(p), 'again', again);
end
$$;

-- All the charges of these payments' customers were looked up and applied. `input`: {tenant, payments: [id]}.
create or replace function payments.note_charges(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, input->>'tenant');
  update payments.payments x set charges_looked_at = platform.clock()
  where x.tenant_id = platform.tenant() and x.payment_id = any(array(select jsonb_array_elements_text(input->'payments')));
  return '{}';
end
$$;

call platform.hand_over('payments', 'fusion_payments');

grant execute on function payments.ask_charge, payments.note_charges to fusion_worker;
