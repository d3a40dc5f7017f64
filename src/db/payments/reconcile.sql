-- requires: platform/access.sql, platform/events.sql, payments/accounts.sql, payments/payments.sql, payments/intents.sql
-- Updates from Stripe: by webhook, or looked up because a webhook can be lost.

-- Applies an update from Stripe, sent by webhook (with `eventId`: applied once) or looked up (without). `input`:
-- {eventId?, account, paymentId?, intentId?, setupId?, intent?: {status, received, amount, currency, madeFor:
-- {paymentId, orderId, tenant}, clientSecret?, failure?, final?}, setup?: {status, madeFor, methodId?, failure?},
-- refund?: {id?, stripeId, status, amount, failure?, released?}, charge?: {refunded}, dispute?: {status}, terms?: of
-- update_hold_end and require_action}. `account`: the account at Stripe that it comes from; null, or absent in an
-- earlier release: the platform's own. Only an update of the payment's own account counts. Updates may arrive in any
-- order; the most advanced state stays. Returns {outcome, tenant, skus, reason}: applied, duplicate, unknown (no
-- payment of ours), or set_aside (it names one of our payments but does not belong to it; `reason` says why). Lock
-- order: the campaign and the place, the order, the payment, its intent, then stock.
create or replace function payments.apply_stripe(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  away text[];
  of_account constant varchar := input->>'account';
  payment payments.payments;
  order_row orders.orders;
  tenant text;
  current_state record;
  saved_intent payments.intents;
  previous_dispute varchar;
  fault varchar;
  skus text[] := '{}';
begin
  away := platform.enter_to_find(call);
  -- The payment id in the intent's metadata finds the payment before we know the intent's id.
  select * into payment from payments.payments x where x.payment_id = (
    select y.payment_id from payments.intents y where y.stripe_id = input->>'intentId'
      and y.stripe_account is not distinct from of_account
    union all
    select y.payment_id from payments.payments y where y.stripe_payment_intent_id = input->>'intentId'
      and y.stripe_account is not distinct from of_account
    union all
    select y.payment_id from payments.payments y where y.setup_intent_id = input->>'setupId'
      and y.stripe_account is not distinct from of_account
    union all
    select input->>'paymentId'
    limit 1);
  if not found then
    -- Its tenant may have moved, and its rows may be gone from here.
    perform platform.refuse_away(coalesce(input->'intent', input->'setup')->'madeFor'->>'tenant');
    return jsonb_build_object('outcome', 'unknown');
  end if;
  if payment.tenant_id = any(away) then
    perform platform.refuse_away(payment.tenant_id);
  end if;
  -- Before anything is written for the payment's tenant.
  if payment.stripe_account is distinct from of_account then
    return payments.report_other_account(payment, of_account, input);
  end if;
  tenant := set_config('app.tenant_id', payment.tenant_id, true);
  if input ? 'eventId' and not platform.claim_event('stripe', input->>'eventId') then
    return jsonb_build_object('outcome', 'duplicate', 'tenant', tenant);
  end if;
  if payment.campaign_id is not null then
    perform group_commerce.lock_places(array[payment.order_id::text]);
  end if;
  order_row := orders.lock_order(payment.order_id);
  -- Faults and refunds of a payment without money change only under the order's lock.
  select x as payment, exists (select from payments.refunds r where r.payment_id = x.payment_id) as has_refunds,
    exists (select from payments.intents y where y.stripe_id = input->>'intentId' and y.fault is not null) as had_fault
  into current_state from payments.payments x where x.payment_id = payment.payment_id for update of x;
  payment := current_state.payment;
  if payments.is_expected_success(payment, order_row, input) and not current_state.had_fault then
    return jsonb_build_object('outcome', 'applied', 'tenant', tenant, 'skus', to_jsonb(payments.apply_success(payment,
      input->'intent' || jsonb_build_object('id', input->'intentId'), current_state.has_refunds)));
  end if;
  previous_dispute := payment.dispute;
  if input ? 'intent' then
    saved_intent := payments.save_intent(payment, input->>'intentId', input->'intent');
    fault := saved_intent.fault;
    if fault is null then
      payment := payments.promote_intent(payment, saved_intent, input->'intent'->>'clientSecret');
    end if;
  elsif input ? 'setup' then
    fault := payments.setup_fault(payment, input->>'setupId', input->'setup'->'madeFor');
  elsif input ? 'intentId' then
    select * into saved_intent from payments.intents x where x.stripe_id = input->>'intentId';
    fault := saved_intent.fault;
  end if;
  if fault is not null then
    -- An intent with a fault must not keep units held. If they were held for its debit, the usual hold time starts now.
    if payment.status = 'pending' and payment.stripe_status = 'processing'
      and payment.stripe_payment_intent_id is not distinct from saved_intent.stripe_id then
      perform payments.update_hold_end(payment, 'set_aside', input->'terms');
      update payments.payments x set stripe_status = 'set_aside' where x.payment_id = payment.payment_id;
    end if;
    update payments.payments x
    set checked_at = platform.clock(), asked_at = case when input ? 'eventId'
        or input->>'intentId' is distinct from x.stripe_payment_intent_id then x.asked_at else platform.clock() end,
      intent_open = x.intent_open
      and not (x.stripe_payment_intent_id is not distinct from saved_intent.stripe_id
        and not coalesce(payments.is_intent_open(saved_intent.status), true))
    where x.payment_id = payment.payment_id;
    if input ? 'setup' and fault = 'made_for_another' then
      perform platform.report_problem('stripe', input->>'setupId', 'setup_intent.' || (input->'setup'->>'status'),
        payment.payment_id, jsonb_build_object('stripeSetupIntentId', input->'setupId',
          'paymentId', payment.payment_id, 'orderId', payment.order_id),
        'made_for_another: this SetupIntent was not made for the payment that its metadata names.');
    end if;
    return jsonb_build_object('outcome', 'set_aside', 'tenant', payment.tenant_id, 'skus', '[]'::jsonb,
      'reason', fault);
  end if;
  -- A charge reports only the sum of its refunds. Each refund has its own event; if that is lost, the cron looks the
  -- refund up.
  update payments.payments x
  set checked_at = platform.clock(), setup_intent_id = coalesce(x.setup_intent_id, input->>'setupId'),
      asked_at = case when input ? 'eventId' or input->>'intentId' is distinct from x.stripe_payment_intent_id
        then x.asked_at
        else platform.clock() end,
      refunds_told = case when x.stripe_payment_intent_id is distinct from input->>'intentId' then x.refunds_told
        else greatest(x.refunds_told, (input->'charge'->>'refunded')::numeric) end,
      dispute = case when x.dispute in ('won', 'lost') then x.dispute
        else coalesce(input->'dispute'->>'status', x.dispute) end
  where x.payment_id = payment.payment_id returning * into payment;
  if payment.status = 'pending' and coalesce(input->'intent', input->'setup')->>'status' <> 'succeeded'
    and (input ? 'setup' or saved_intent.stripe_id is not distinct from payment.stripe_payment_intent_id) then
    perform payments.update_hold_end(payment, coalesce(input->'intent', input->'setup')->>'status', input->'terms');
  end if;
  if input ? 'intent' then
    skus := payments.apply_intent(payment, input->'intent' || jsonb_build_object('id', saved_intent.stripe_id,
      'terms', input->'terms'), current_state.has_refunds);
  elsif input ? 'setup' then
    perform payments.apply_setup(payment, input->'setup');
  elsif input ? 'refund' then
    skus := payments.apply_refund(payment, input->'refund' || jsonb_build_object('intentId', input->'intentId'));
  elsif payment.dispute is distinct from previous_dispute then
    perform payments.emit_payment_event(payment, 'payment.dispute.changed',
      jsonb_build_object('status', payment.dispute), false);
  end if;
  perform payments.update_intent_open(payment.payment_id);
  return jsonb_build_object('outcome', 'applied', 'tenant', payment.tenant_id, 'skus', to_jsonb(skus));
end
$$;

-- Applies an update of a PaymentIntent. `intent`: as in apply_stripe, with its `id` and the `terms`. `has_refunds`: as
-- in apply_success. The caller has locked the place, the order and the payment.
create or replace function payments.apply_intent(payment payments.payments, intent jsonb, has_refunds boolean)
  returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if intent->>'id' is distinct from payment.stripe_payment_intent_id then
    if payment.captured > 0 then
      perform payments.refund_excess_intent(payment, intent->>'id');
    end if;
    return '{}';
  end if;
  if intent->>'status' = 'succeeded' then
    if payment.captured > 0 then
      return '{}';
    end if;
    if not payments.supersede_other_payment(payment) then
      perform payments.record_excess_payment(payment, (intent->>'received')::numeric);
      return '{}';
    end if;
    return payments.apply_success(payment, intent, has_refunds);
  end if;
  if intent->>'status' = 'canceled' then
    if payment.status = 'pending' and payments.switch_to_other_intent(payment) then
      return '{}';
    end if;
    if payment.status = 'pending' and payment.campaign_id is not null then
      perform payments.fail_order_or_place(payment, 'hold_ended'); -- nobody can pay for this place any more
    end if;
    update payments.payments x
    set intent_open = false, stripe_status = 'canceled', updated_at = platform.clock(),
        status = case when x.status = 'pending' then 'cancelled' else x.status end
    where x.payment_id = payment.payment_id;
    if payment.status = 'pending' and payment.campaign_id is null then
      perform payments.emit_payment_event(payment, 'payment.cancelled', '{}', false);
    end if;
    return '{}';
  end if;
  -- A declined attempt is not the end: the buyer may try another card until the order's hold is over.
  if payment.status = 'pending' then
    update payments.payments x
    set stripe_status = intent->>'status', failure_reason = coalesce(intent->>'failure', x.failure_reason),
        client_secret = coalesce(x.client_secret, intent->>'clientSecret'), intent_open = true,
        updated_at = platform.clock()
    where x.payment_id = payment.payment_id;
    if payment.mode = 'hold' and intent->>'status' = 'requires_capture' then
      perform group_commerce.mark_secured(payment.order_id);
    elsif payment.mode = 'card' and intent->>'status' = 'requires_payment_method' and intent->>'failure' is not null
      and not payments.switch_to_other_intent(payment) then
      -- Charged off-session: the buyer is not present to try another card, unless the bank has asked for the buyer.
      if intent->>'failure' = 'authentication_required' and payment.capture_asked and payment.action_by is null then
        perform payments.require_action(payment, intent);
      elsif payment.action_by is null then
        perform payments.fail_order_or_place(payment, intent->>'failure');
      end if;
    end if;
  end if;
  return '{}';
end
$$;

-- The bank asks for the buyer of a saved card. The buyer gets the client secret of the charge and the tenant's
-- `grace_seconds` to confirm it, or `actionSeconds` of the terms. The units of the order are kept until then. After
-- that the order fails like any order that is not paid in time. Asked for once: the update's own condition. The caller
-- has locked the place, the order and the payment. Emits payment.action.required.
create or replace function payments.require_action(payment payments.payments, intent jsonb) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  deadline constant timestamptz := platform.clock() + make_interval(secs => coalesce(
    (select t.grace_seconds from platform.tenants t where t.id = payment.tenant_id),
    (intent->'terms'->>'actionSeconds')::int, 86400));
begin
  update payments.payments x
  set action_by = deadline, client_secret = coalesce(intent->>'clientSecret', x.client_secret)
  where x.payment_id = payment.payment_id and x.action_by is null;
  if found then
    perform inventory.keep_until(array[payment.order_id::text], deadline);
    perform payments.emit_payment_event(payment, 'payment.action.required', '{}', false);
  end if;
end
$$;

call platform.set_owner('payments', 'fusion_payments');

grant execute on function payments.apply_stripe to fusion_worker;
