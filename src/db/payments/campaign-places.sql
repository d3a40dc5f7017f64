-- requires: payments/payments.sql, payments/intents.sql
-- Payments of places in campaigns. After a join, the buyer secures the payment (authorizes it, or saves a card). When
-- the campaign succeeds, it is captured or charged.

-- The payment of a place, before its order exists. `place`: {paymentId, orderId, userId, amounts?}. `can_fall`: a hold
-- authorizes the amount, and less may be captured (lower_amounts). For group commerce. Emits payment.created.
create or replace function payments.add_place_payment(place jsonb, campaign varchar, amount numeric, currency varchar,
  mode varchar, can_fall boolean) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  tenant constant varchar := platform.tenant();
  now_at constant timestamptz := platform.clock();
begin
  with payment as (
    insert into payments.payments as p (payment_id, order_id, amount, currency, status, tenant_id, mode, campaign_id,
      user_id, tax_calculation, authorized, stripe_account, created_at, updated_at, checked_at)
    select place->>'paymentId', place->>'orderId', add_place_payment.amount, add_place_payment.currency,
      'pending', tenant, add_place_payment.mode, campaign, place->>'userId', place->'amounts'->>'taxCalculation',
      case when can_fall and add_place_payment.mode = 'hold' then add_place_payment.amount end,
      t.stripe_account, now_at, now_at, now_at
    from platform.tenants t where t.id = tenant
    returning p as created
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'payment.created', (p.created).payment_id, payments.created_json(p.created), platform.trace(), now_at
    from payment p
    returning seq, key
  )
  insert into platform.outbox (tenant_id, sink, seq, key, due_at)
  select tenant, s, e.seq, e.key, platform.due_now() from event e, unnest(platform.sinks_of(false)) s;
end
$$;

-- The consumer of campaign.joined. `input`: {tenant, joins: [{campaignId, userId}]}. Returns {tasks}: the payments of
-- these places that still need an intent at Stripe.
create or replace function payments.open_places(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, input->>'tenant');
  return jsonb_build_object('tasks', (
    select coalesce(jsonb_agg(distinct payments.intent_task(p)), '[]')
    from payments.payments p
    where p.payment_id = any((select group_commerce.payments_of_places(input->'joins'))::text[])
      and payments.lacks_intent(p)));
end
$$;

-- Lowers the payments of places to their final amounts. `lowered`: [{orderId, amount}]. An amount never rises, and it
-- stays once its capture is requested: the update's own condition. Money that was captured in Stripe's dashboard before
-- is refunded down to the final amount. The caller has locked the places; this locks the payments by id. For group
-- commerce. Emits payment.refund.requested.
create or replace function payments.lower_amounts(lowered jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  final_amounts constant jsonb := (select jsonb_object_agg(l->>'orderId', l->'amount') from jsonb_array_elements(lowered) l);
  payment payments.payments;
  final_amount numeric;
begin
  for payment in
    select * from payments.payments x
    where x.order_id = any(array(select jsonb_object_keys(final_amounts))) and x.status in ('pending', 'succeeded')
    order by x.payment_id for update
  loop
    final_amount := (final_amounts->>payment.order_id)::numeric;
    continue when payment.amount = final_amount;
    -- What was captured already stays known as the amount of its PaymentIntent.
    update payments.payments x
    set amount = final_amount, tax_calculation = null, updated_at = platform.clock(),
        authorized = coalesce(x.authorized, case when x.captured > 0 then x.amount end)
    where x.payment_id = payment.payment_id and not x.capture_asked and x.amount > final_amount
    returning * into payment;
    if not found then
      raise exception 'the payment % cannot be changed to %: its amount may only fall, before its capture is requested',
        payment.payment_id, final_amount;
    end if;
    perform payments.refund_difference(payment);
  end loop;
end
$$;

-- Refunds what was captured above the amount of a payment, for example because somebody captured the whole
-- authorization in Stripe's dashboard. Refunds made by hand count. The caller has locked the payment.
create or replace function payments.refund_difference(payment payments.payments) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if payment.captured > payment.amount then
    perform payments.add_automatic_refund(payment, payment.stripe_payment_intent_id,
      payment.captured - payment.amount - payment.refunded, 'price_fell');
  end if;
end
$$;

-- Requests the capture of these orders' payments, which are secured. Requested once; the row keeps the request until
-- the payment is captured. The caller has locked the places; this locks the payments by id. For group commerce.
-- Emits payment.capture.requested.
create or replace function payments.request_captures(order_ids text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  payment payments.payments;
begin
  for payment in
    select * from payments.payments x
    where x.order_id = any(order_ids) and x.status = (select 'pending')
      and x.mode <> 'order' and not x.capture_asked
    order by x.payment_id for update
  loop
    update payments.payments x set capture_asked = true, updated_at = platform.clock()
    where x.payment_id = payment.payment_id;
    perform payments.emit_payment_event(payment, 'payment.capture.requested', '{}', true);
  end loop;
end
$$;

-- Why an update of a SetupIntent cannot be about this payment; null if it can. A SetupIntent other than the payment's
-- own takes no money, and nobody received its client secret.
create or replace function payments.setup_fault(p payments.payments, setup_id varchar, made_for jsonb) returns varchar
language sql stable as $$
  select case when p.setup_intent_id is not null and p.setup_intent_id is distinct from setup_id then 'setup_replaced'
    when p.mode <> 'card' then 'made_for_another'
    else payments.metadata_fault(p, p.setup_intent_id is not null, made_for) end
$$;

-- Applies an update of a SetupIntent, which saves a card. The caller has locked the place, the order and the payment.
create or replace function payments.apply_setup(payment payments.payments, setup jsonb) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  update payments.payments x
  set stripe_status = 'setup_' || (setup->>'status'), updated_at = platform.clock(),
      payment_method_id = coalesce(setup->>'methodId', x.payment_method_id),
      failure_reason = case when setup->>'status' = 'succeeded' then null
        else coalesce(setup->>'failure', x.failure_reason) end,
      -- Stripe takes no money with a card that was saved for a payment that ended.
      intent_open = x.status = 'pending' and setup->>'status' <> 'canceled'
  where x.payment_id = payment.payment_id and x.stripe_payment_intent_id is null
    and (x.status = 'pending' or setup->>'status' in ('succeeded', 'canceled'));
  if payment.status = 'pending' and setup->>'status' = 'succeeded' then
    perform group_commerce.mark_secured(payment.order_id);
  elsif payment.status = 'pending' and setup->>'status' = 'canceled' then
    perform payments.fail_order_or_place(payment, 'setup_ended');
  end if;
end
$$;

-- The payment can never succeed: fails its order, or frees its place if there is no order yet. The caller has locked
-- the place.
create or replace function payments.fail_order_or_place(payment payments.payments, reason text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform orders.fail_unpaid(payment.order_id, coalesce(reason, 'payment_failed'));
  if payment.campaign_id is not null then
    perform group_commerce.free_unpaid_place(payment.order_id, coalesce(reason, 'payment_failed'), 'failed');
  end if;
end
$$;

call platform.set_owner('payments', 'fusion_payments');

grant execute on function payments.add_place_payment, payments.lower_amounts, payments.request_captures,
  payments.end_for_orders to fusion_group_commerce;
grant execute on function payments.open_places to fusion_worker;
