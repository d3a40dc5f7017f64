-- requires: platform/access.sql, platform/events.sql, platform/set-aside.sql
-- The PaymentIntents of a payment. Usually there is one. A second exists if Stripe stored an error for a request that
-- it had carried out, or if a person made one by hand. Lock order: the payment, then its intents.

-- Whether Stripe can still take money with an intent of this status.
create or replace function payments.is_intent_open(status text) returns boolean
language sql immutable as $$
  select status not in ('succeeded', 'canceled')
$$;

-- How close an intent of this status is to a successful payment.
create or replace function payments.intent_progress(status text) returns integer
language sql immutable as $$
  select case status when 'succeeded' then 4 when 'requires_capture' then 3 when 'processing' then 2 when 'canceled' then 0
    else 1 end
$$;

-- Why an object at Stripe does not belong to this payment, by the ids in its metadata: {paymentId, orderId, tenant};
-- null if it does. A known object need not have all of them.
create or replace function payments.metadata_fault(payment payments.payments, is_known boolean, metadata jsonb)
  returns varchar
language sql stable as $$
  select case
    when metadata is null then null
    when coalesce(metadata->>'paymentId', case when is_known then payment.payment_id end)
      is distinct from payment.payment_id
      or coalesce(metadata->>'orderId', case when is_known then payment.order_id end) is distinct from payment.order_id
      or coalesce(metadata->>'tenant', case when is_known then payment.tenant_id end) is distinct from payment.tenant_id
      then 'made_for_another' end
$$;

-- The amount of the payment's PaymentIntent: what it authorizes, of which less may be captured.
create or replace function payments.intent_amount(payment payments.payments) returns numeric
language sql immutable as $$
  select coalesce(payment.authorized, payment.amount)
$$;

-- Why an intent cannot pay this payment; null if it can. `is_known`: we made it, or it was accepted before, so it need
-- not name the payment. A Worker of an earlier release sends neither the amount nor the metadata.
create or replace function payments.intent_fault(payment payments.payments, is_known boolean, intent jsonb)
  returns varchar
language sql stable as $$
  select case
    when not intent ? 'amount' then null
    when intent->>'currency' is distinct from payment.currency then 'currency_differs'
    when (intent->>'amount')::numeric is distinct from payments.intent_amount(payment) then 'amount_differs'
    else payments.metadata_fault(payment, is_known, intent->'madeFor') end
$$;

-- Whether an update reports what a payment waits for: its own intent has taken the amount, and the order can be
-- confirmed. A pending payment is the only live one of its order (payments_one_live_an_order). An intent that is not
-- known yet must name the payment in its metadata.
create or replace function payments.is_expected_success(payment payments.payments, order_row orders.orders, input jsonb)
  returns boolean
language sql stable as $$
  select input->'intent'->>'status' = 'succeeded' and payment.status = 'pending' and payment.campaign_id is null
    and order_row.status = 'created' and (input->'intent'->>'received')::numeric = payment.amount
    and input->>'intentId' = coalesce(payment.stripe_payment_intent_id, input->>'intentId')
    and payments.intent_fault(payment, payment.stripe_payment_intent_id is not null, input->'intent') is null
$$;

-- Saves an intent with its latest update. A final status stays, in whatever order updates arrive. An intent that cannot
-- pay its payment is reported to the tenant as a dead letter. Its money is not refunded automatically: somebody with
-- access to the Stripe account has changed it, perhaps on purpose. The caller has locked the payment; this locks the
-- intent.
create or replace function payments.save_intent(payment payments.payments, intent_id varchar, intent jsonb)
returns payments.intents
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  previous payments.intents;
  saved payments.intents;
begin
  select * into previous from payments.intents x where x.stripe_id = intent_id for update;
  insert into payments.intents as x (stripe_id, tenant_id, payment_id, stripe_account, amount, currency, status,
    received, fault, created_at)
  values (intent_id, payment.tenant_id, payment.payment_id, payment.stripe_account,
    coalesce((intent->>'amount')::numeric, payments.intent_amount(payment)),
    coalesce(intent->>'currency', payment.currency), coalesce(intent->>'status', 'requires_payment_method'),
    coalesce((intent->>'received')::numeric, 0),
    payments.intent_fault(payment, previous.fault is null
      and (previous.stripe_id is not null or payment.stripe_payment_intent_id is not distinct from intent_id),
      intent), platform.clock())
  on conflict (stripe_id) do update
  set amount = coalesce((intent->>'amount')::numeric, x.amount), currency = coalesce(intent->>'currency', x.currency),
      status = case when intent ? 'received' and (payments.is_intent_open(x.status) or excluded.status = 'succeeded')
        then excluded.status else x.status end,
      received = greatest(x.received, excluded.received),
      fault = case when intent ? 'amount' then excluded.fault else x.fault end
  returning * into saved;
  if saved.fault is not null
    and (previous.fault is distinct from saved.fault or previous.received is distinct from saved.received) then
    perform platform.report_problem('stripe', saved.stripe_id, 'payment_intent.' || saved.status, payment.payment_id,
      jsonb_build_object('stripePaymentIntentId', saved.stripe_id, 'paymentId', payment.payment_id,
        'orderId', payment.order_id, 'amount', saved.amount, 'currency', saved.currency, 'received', saved.received,
        'status', saved.status),
      format('%s: this PaymentIntent cannot pay the payment, which is %s %s. Look at it in Stripe and refund it there if the money is not yours to keep.',
        saved.fault, payments.intent_amount(payment), payment.currency));
  end if;
  return saved;
end
$$;

-- Attaches intents that Stripe has made to their payments. `made`: [{id, account, intentId, clientSecret, status}], or
-- for saved cards [{id, account, setupId, customerId, clientSecret, status}]. An intent of another account than the
-- payment's is left out. A Worker of an earlier release names none: it only knows the platform's account. Requests with
-- the payment's idempotency key at Stripe all get the same intent. If Stripe stored an error for an earlier key there
-- may be two: the first that comes with its client secret counts. `skip_locked`: leaves out payments that another
-- transaction has locked. It records the intent itself, or ends the payment, whose intent is then found at Stripe by
-- that key. Locks the payments by id.
create or replace function payments.attach_intents(made jsonb, skip_locked boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  ids text[] := array(select i->>'id' from jsonb_array_elements(made) i);
begin
  if skip_locked then
    ids := array(select x.payment_id from payments.payments x
      where x.payment_id = any(ids) order by x.payment_id for update skip locked);
  else
    perform 1 from payments.payments x
      where x.payment_id = any(ids) order by x.payment_id for update;
  end if;
  with attached as (
    update payments.payments x
    set stripe_payment_intent_id = coalesce(x.stripe_payment_intent_id, i->>'intentId'),
        setup_intent_id = coalesce(x.setup_intent_id, i->>'setupId'),
        customer_id = coalesce(x.customer_id, i->>'customerId'),
        client_secret = coalesce(x.client_secret, i->>'clientSecret'),
        stripe_status = coalesce(x.stripe_status, i->>'status'),
        intent_open = x.intent_open or coalesce(x.stripe_payment_intent_id, x.setup_intent_id) is null,
        updated_at = platform.clock()
    from jsonb_array_elements(made) i
    where x.payment_id = i->>'id' and x.payment_id = any(ids) and x.stripe_account is not distinct from i->>'account'
    returning x.payment_id, x.tenant_id, x.stripe_account, payments.intent_amount(x) as amount, x.currency,
      i->>'intentId' as intent_id,
      i->>'status' as status
  )
  insert into payments.intents (stripe_id, tenant_id, payment_id, stripe_account, amount, currency, status, created_at)
  select a.intent_id, a.tenant_id, a.payment_id, a.stripe_account, a.amount, a.currency,
    coalesce(a.status, 'requires_payment_method'), platform.clock()
  from attached a where a.intent_id is not null
  on conflict (stripe_id) do nothing; -- a webhook has told us already
end
$$;

-- Makes this intent the payment's own if it is closer to success than the current one. Until one is paid, the buyer
-- must be able to confirm the payment's own intent, so an intent without a client secret is not used. The caller has
-- locked the payment.
create or replace function payments.promote_intent(payment payments.payments, intent payments.intents,
  client_secret text) returns payments.payments
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  current_progress constant integer := coalesce(
    (select payments.intent_progress(x.status) from payments.intents x
      where x.stripe_id = payment.stripe_payment_intent_id and x.fault is null), 0);
begin
  if payment.captured > 0 or payment.stripe_payment_intent_id is not distinct from intent.stripe_id then
    return payment;
  end if;
  if payments.intent_progress(intent.status) > greatest(current_progress, 1)
    or (payment.stripe_payment_intent_id is null
    and payments.is_intent_open(intent.status) and (payment.mode = 'card' or client_secret is not null)) then
    update payments.payments x
    set stripe_payment_intent_id = intent.stripe_id, updated_at = platform.clock(),
        client_secret = case when x.mode = 'card' then x.client_secret else promote_intent.client_secret end
    where x.payment_id = payment.payment_id returning * into payment;
  end if;
  return payment;
end
$$;

-- The payment's own intent was cancelled or declined. Switches to another intent that is being paid, and returns
-- whether there is one. The caller has locked the payment.
create or replace function payments.switch_to_other_intent(payment payments.payments) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  other_intent_id varchar;
  other_status text;
begin
  select i.stripe_id, i.status into other_intent_id, other_status from payments.intents i
    where i.payment_id = payment.payment_id and i.fault is null and i.status in ('processing', 'requires_capture')
      and i.stripe_id is distinct from payment.stripe_payment_intent_id
    order by payments.intent_progress(i.status) desc, i.stripe_id limit 1;
  if not found then
    return false;
  end if;
  update payments.payments x set stripe_payment_intent_id = other_intent_id, stripe_status = other_status,
    failure_reason = null, updated_at = platform.clock()
  where x.payment_id = payment.payment_id;
  if other_status = 'processing' then
    -- the end of the former intent may have set an end to the hold
    perform payments.update_hold_end(payment, other_status, '{}');
  end if;
  return true;
end
$$;

-- A payment was paid after it had ended. If its order has a newer payment, the first one that is paid counts: a pending
-- newer payment is cancelled. Returns false if the other one is paid already, or was paid and is refunded. The caller
-- has locked the order and `payment`; this locks the other payment.
create or replace function payments.supersede_other_payment(payment payments.payments) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  other_payment payments.payments;
begin
  select * into other_payment from payments.payments x
    where x.order_id = payment.order_id and x.payment_id <> payment.payment_id
      and x.status in ('pending', 'succeeded') for update;
  if found and other_payment.status = 'pending' then
    update payments.payments x
    set status = 'cancelled', failure_reason = 'paid_otherwise', updated_at = platform.clock(),
        intent_open = payments.needs_closing(x)
    where x.payment_id = other_payment.payment_id returning * into other_payment;
    perform payments.emit_payment_event(other_payment, 'payment.cancelled', '{}', true);
  end if;
  return other_payment.status is distinct from 'succeeded' and not exists (select from orders.orders o
    where o.id = payment.order_id and o.status = 'refunded');
end
$$;

-- Records money for an order that another payment had paid already (payments_one_live_an_order), and refunds it.
create or replace function payments.record_excess_payment(payment payments.payments, received numeric) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  update payments.payments x
  set captured = received, intent_open = false, stripe_status = 'succeeded', updated_at = platform.clock()
  where x.payment_id = payment.payment_id returning * into payment;
  perform payments.emit_payment_event(payment, 'payment.succeeded',
    jsonb_build_object('amount', payment.captured, 'currency', payment.currency), false);
  perform payments.apply_early_refunds(payment);
  select * into payment from payments.payments x where x.payment_id = payment.payment_id;
  perform payments.add_automatic_refund(payment, payment.stripe_payment_intent_id, payment.captured - payment.refunded,
    'paid_twice');
end
$$;

-- Whether another payment has paid this order, or had paid it when this payment's money was captured.
create or replace function payments.is_excess_payment(payment payments.payments) returns boolean
language sql stable as $$
  select exists (select from payments.payments x where x.order_id = payment.order_id
    and x.payment_id <> payment.payment_id and x.status = 'succeeded')
    or exists (select from payments.refunds r where r.payment_id = payment.payment_id and r.automatic
      and r.reason = 'paid_twice'
      and r.stripe_intent_id is not distinct from payment.stripe_payment_intent_id)
$$;

-- Whether the charges of a saved payment method must still be looked up, because one may exist that was never reported
-- to us. A request can take effect minutes after it was sent, so only a lookup after that time counts. An earlier
-- release did not store the time of the request.
create or replace function payments.needs_charge_lookup(payment payments.payments) returns boolean
language sql stable as $$
  select payment.mode = 'card' and payment.capture_asked and payment.captured = 0
    and payment.stripe_payment_intent_id is null
    and (payment.charges_looked_at is null or payment.charges_looked_at < coalesce(payment.charge_asked_at,
      payment.created_at) + interval '15 minutes')
$$;

-- Intents to cancel at Stripe: those other than the payment's own, once it has one or the payment has ended.
create or replace function payments.intents_to_cancel(payment payments.payments) returns text[]
language sql stable as $$
  select array(
    select i.stripe_id from payments.intents i
    where i.payment_id = payment.payment_id and i.fault is null and payments.is_intent_open(i.status)
      and i.stripe_id is distinct from payment.stripe_payment_intent_id
      and (payment.status <> 'pending' or payment.stripe_payment_intent_id is not null)
    order by i.stripe_id)
$$;

-- Marks an ended payment as open while Stripe can still take money for it. A captured payment can be open only because
-- of other intents. For a payment that is not captured, this never marks its own intent as closed: the functions that
-- apply updates do.
create or replace function payments.update_intent_open(of_payment varchar) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update payments.payments x set intent_open = not x.intent_open
  from (
    select p.payment_id, payments.needs_charge_lookup(p) or cardinality(payments.intents_to_cancel(p)) > 0 or exists (
      select from payments.intents i where i.stripe_id = p.stripe_payment_intent_id
        and payments.is_intent_open(i.status)) as should_be_open
    from payments.payments p where p.payment_id = of_payment
  ) current
  where x.payment_id = current.payment_id and x.status <> 'pending'
    and x.intent_open is distinct from (current.should_be_open or (x.intent_open and x.captured = 0))
$$;

call platform.set_owner('payments', 'fusion_payments');
