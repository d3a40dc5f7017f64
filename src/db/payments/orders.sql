-- requires: payments/payments.sql
-- How captures and refunds of a payment change its order or its place in a campaign.

-- Applies captured money to the order; returns the result of orders.confirm_paid_order. A place that was captured in
-- Stripe's dashboard before the campaign succeeded is paid and waits for its order. A capture of only a part of
-- the price ends the order or place, and the caller refunds it. The caller has locked the place, the order and the
-- payment.
create or replace function payments.apply_capture(payment payments.payments) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if payment.captured < payment.amount then
    perform payments.fail_order_or_place(payment, 'captured_in_part');
    return jsonb_build_object('confirmed', false, 'reason', 'captured_in_part', 'skus', '[]'::jsonb);
  end if;
  if payment.campaign_id is not null and group_commerce.awaits_order(payment.order_id) then
    perform group_commerce.mark_secured(payment.order_id);
    return jsonb_build_object('confirmed', true, 'skus', '[]'::jsonb);
  end if;
  return orders.confirm_paid_order(payment.order_id);
end
$$;

-- Records that an intent has taken the money of its payment: the intent, the payment and payment.succeeded. `intent`:
-- as in apply_stripe, with its `id`. The caller has locked the order and the payment; this locks the intent.
create or replace function payments.record_capture(payment payments.payments, intent jsonb) returns payments.payments
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  tenant constant varchar := payment.tenant_id;
  now_at constant timestamptz := platform.clock();
begin
  with saved_intent as (
    insert into payments.intents as x (stripe_id, tenant_id, payment_id, stripe_account, amount, currency, status,
      received, created_at)
    values (intent->>'id', tenant, payment.payment_id, payment.stripe_account,
      coalesce((intent->>'amount')::numeric, payments.intent_amount(payment)),
      coalesce(intent->>'currency', payment.currency), 'succeeded', (intent->>'received')::numeric, now_at)
    on conflict (stripe_id) do update
    set amount = coalesce((intent->>'amount')::numeric, x.amount), currency = coalesce(intent->>'currency', x.currency),
        status = excluded.status, received = greatest(x.received, excluded.received)
  ), captured as (
    update payments.payments x
    set status = 'succeeded', stripe_payment_intent_id = intent->>'id', captured = (intent->>'received')::numeric,
        failure_reason = null, stripe_status = 'succeeded',
        intent_open = exists (select from payments.intents i where i.payment_id = x.payment_id
          and i.stripe_id <> intent->>'id' and i.fault is null and payments.is_intent_open(i.status)),
        checked_at = now_at, updated_at = now_at
    where x.payment_id = payment.payment_id
    returning x.*
  ), event as (
    insert into platform.events (tenant_id, topic, key, payload, traceparent, time)
    select tenant, 'payment.succeeded', c.payment_id,
      jsonb_build_object('paymentId', c.payment_id, 'orderId', c.order_id, 'amount', c.captured, 'currency', c.currency),
      platform.trace(), now_at
    from captured c
    returning seq, key
  ), waiting as (
    insert into platform.outbox (tenant_id, sink, seq, key, due_at)
    select tenant, s, e.seq, e.key, platform.due_now() from event e, unnest(platform.sinks_of(false)) s
  )
  select * into payment from captured;
  return payment;
end
$$;

-- The payment's own intent has taken its money: confirms the order, or refunds the money if the order cannot have it.
-- What was captured above the final amount of a place is refunded. `has_refunds`: updates of refunds arrived before the
-- update of the capture. Returns the SKUs whose stock changed.
-- The caller has locked the place, the order and the payment.
create or replace function payments.apply_success(payment payments.payments, intent jsonb, has_refunds boolean)
  returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  outcome jsonb;
  skus text[] := '{}';
begin
  payment := payments.record_capture(payment, intent);
  outcome := payments.apply_capture(payment);
  if outcome->'skus' <> '[]' then
    skus := array(select jsonb_array_elements_text(outcome->'skus'));
  end if;
  if has_refunds then
    skus := skus || payments.apply_early_refunds(payment);
  end if;
  if not (outcome->>'confirmed')::boolean then
    -- Read again: the end of the order may have requested its refund, and refunds that arrived early are summed.
    select * into payment from payments.payments x where x.payment_id = payment.payment_id;
    if payment.captured > payment.refunded then
      perform payments.add_automatic_refund(payment, payment.stripe_payment_intent_id,
        payment.captured - payment.refunded, outcome->>'reason');
    end if;
  elsif payment.campaign_id is not null then
    if payment.captured > payment.amount then
      select * into payment from payments.payments x where x.payment_id = payment.payment_id;
      perform payments.refund_difference(payment);
    end if;
    perform group_commerce.mark_charged(payment.order_id);
  end if;
  return skus;
end
$$;

-- Applies a changed sum of refunds to the order. After a full refund the order is refunded and its place is freed with
-- its unit. After a refund that failed at the bank, the order is no longer refunded. Returns the SKUs whose stock
-- changed. The caller has locked the place, the order and the payment.
create or replace function payments.update_order_after_refund(payment payments.payments) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  skus text[];
begin
  if payment.status = 'succeeded' then
    if payment.campaign_id is not null then
      perform group_commerce.undo_place_refund(payment.order_id);
    end if;
    return orders.reopen_after_failed_refund(payment.order_id);
  elsif payment.status is distinct from 'refunded' then
    return '{}';
  end if;
  -- The latest refund that says whether the units go back into stock decides.
  skus := orders.mark_refunded(payment.order_id, (select r.restock from payments.refunds r
    where r.payment_id = payment.payment_id and r.restock is not null order by r.id desc limit 1));
  if payment.campaign_id is not null then
    skus := skus || group_commerce.free_refunded_place(payment.order_id, cardinality(skus) > 0);
  end if;
  return skus;
end
$$;

-- The orders among these that are paid. For group commerce.
create or replace function payments.filter_paid_orders(order_ids text[]) returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(array_agg(p.order_id::text order by p.order_id), '{}') from payments.payments p
  where p.order_id = any(order_ids) and p.status = 'succeeded'
$$;

call platform.set_owner('payments', 'fusion_payments');

grant execute on function payments.filter_paid_orders to fusion_group_commerce;
