-- requires: platform.sql, events.sql
-- Payments: one live payment an order, moved by what Stripe says and by the end of its order. Lock order: the order (by
-- orders.lock_order), the payment, then stock. No call to Stripe is made while anything is locked.

create or replace function payments.payment_json(p payments.payments) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', p.payment_id, 'orderId', p.order_id, 'amount', p.amount, 'currency', p.currency,
    'status', p.status, 'stripePaymentIntentId', p.stripe_payment_intent_id,
    'clientSecret', case when p.status = 'pending' then p.client_secret end,
    'failureReason', p.failure_reason, 'createdAt', platform.iso(p.created_at))
$$;

create or replace function payments.refund_json(r payments.refunds) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', r.id, 'paymentId', r.payment_id, 'amount', r.amount, 'currency', r.currency,
    'status', r.status, 'reason', r.reason, 'failureReason', r.failure_reason, 'createdAt', platform.iso(r.created_at))
$$;

-- What the Worker has to ask Stripe for: amounts as text, so that no binary number comes near them.
create or replace function payments.intent_task(p payments.payments) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', p.payment_id, 'tenant', p.tenant_id, 'orderId', p.order_id,
    'amount', p.amount::text, 'currency', p.currency, 'attempt', p.attempt, 'status', p.status,
    'intentId', p.stripe_payment_intent_id, 'intentOpen', p.intent_open, 'refundsUnseen', p.refunds_told > p.refund_done,
    'mode', p.mode, 'setupId', p.setup_intent_id, 'customerId', p.customer_id, 'methodId', p.payment_method_id,
    'userId', p.user_id, 'capture', p.capture_asked)
$$;

-- Whether Stripe is still to be asked for what the buyer confirms.
create or replace function payments.lacks_intent(p payments.payments) returns boolean
language sql stable as $$
  select p.status = 'pending' and case p.mode when 'card' then p.setup_intent_id else p.stripe_payment_intent_id end is null
$$;

create or replace function payments.emit_payment(p payments.payments, topic text, more jsonb, queue boolean) returns void
language sql as $$
  select platform.emit(topic, p.payment_id, jsonb_build_object('paymentId', p.payment_id, 'orderId', p.order_id) || more,
    queue)
$$;

-- The order's live payment, made if there is none yet (payments_one_live_an_order). The caller has locked the order.
-- Emits payment.created.
create or replace function payments.live_payment(o orders.orders, new_id varchar) returns payments.payments
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p payments.payments;
begin
  select * into p from payments.payments x
    where x.tenant_id = o.tenant_id and x.order_id = o.id and x.status in ('pending', 'succeeded');
  if not found and o.status = 'created' and o.total > 0 then
    insert into payments.payments (payment_id, order_id, amount, currency, status, tenant_id, created_at, updated_at,
      checked_at)
    values (new_id, o.id, o.total, o.currency, 'pending', o.tenant_id, platform.clock(), platform.clock(),
      platform.clock())
    returning * into p;
    perform payments.emit_payment(p, 'payment.created',
      jsonb_build_object('amount', p.amount, 'currency', p.currency, 'status', p.status), false);
  end if;
  return p;
end
$$;

-- POST /v1/payments. `input`: {orderId, id}. Answers the order's live payment; without `intentId` in `task` the Worker
-- asks Stripe and ends with record_intent. Raises not_found. Refuses: order_not_payable.
create or replace function payments.open_payment(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'payments:write', 'payments.create');
  o orders.orders;
  p payments.payments;
begin
  if replay is not null then
    return replay;
  end if;
  o := orders.lock_order(input->>'orderId');
  if o.id is null then
    -- A place in a campaign has its payment before it has its order.
    select * into p from payments.payments x
      where x.tenant_id = platform.tenant() and x.order_id = input->>'orderId' and x.campaign_id is not null;
    if not found then
      perform platform.fail('not_found');
    end if;
    if p.status <> 'pending' then
      return platform.leave(call, 'payments.create', jsonb_build_object('error', 'order_not_payable',
        'detail', 'The place in the campaign was released.'));
    end if;
    return payments.answer_open(call, p);
  end if;
  if o.status = 'created' and not inventory.holds(o.id) then
    perform platform.fail('order_not_payable', jsonb_build_object('reason', 'Its stock is not held yet. Try again soon.'));
  end if;
  p := payments.live_payment(o, input->>'id');
  if p.payment_id is null then
    return platform.leave(call, 'payments.create', jsonb_build_object('error', 'order_not_payable', 'detail',
      case when o.total = 0 then 'There is nothing to pay.' else format('The order is %s.', o.status) end));
  end if;
  return payments.answer_open(call, p);
end
$$;

create or replace function payments.answer_open(call jsonb, p payments.payments) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if payments.lacks_intent(p) then
    return jsonb_build_object('tenant', platform.tenant(), 'replayed', false,
      'answer', payments.payment_json(p) || jsonb_build_object('task', payments.intent_task(p)));
  end if;
  return platform.leave(call, 'payments.create', payments.payment_json(p));
end
$$;

-- Ends POST /v1/payments with what Stripe has made. `input`: {id, intentId, clientSecret, status}, for a saved card
-- {id, setupId, customerId, clientSecret, status}.
create or replace function payments.record_intent(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'payments:write', 'payments.create');
begin
  if replay is not null then
    return replay;
  end if;
  return platform.leave(call, 'payments.create', payments.payment_json(payments.keep_intent(input)));
end
$$;

-- The intent belongs to the payment's idempotency key at Stripe, so whoever asked for it was given the same one.
create or replace function payments.keep_intent(intent jsonb) returns payments.payments
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p payments.payments;
begin
  update payments.payments x
  set stripe_payment_intent_id = coalesce(x.stripe_payment_intent_id, intent->>'intentId'),
      setup_intent_id = coalesce(x.setup_intent_id, intent->>'setupId'),
      customer_id = coalesce(x.customer_id, intent->>'customerId'),
      client_secret = coalesce(x.client_secret, intent->>'clientSecret'),
      stripe_status = coalesce(x.stripe_status, intent->>'status'),
      intent_open = x.intent_open or coalesce(x.stripe_payment_intent_id, x.setup_intent_id) is null, updated_at = platform.clock()
  where x.tenant_id = platform.tenant() and x.payment_id = intent->>'id'
  returning * into p;
  return p;
end
$$;

-- The consumer of inventory.reserved. `input`: {tenant, messages: [{eventId, orderId, id, traceparent}]}. An order of total 0 is
-- confirmed. Answers {tasks}: the payments of these orders that Stripe is still to be asked for, also on a second
-- delivery, since the first may have died before it asked.
create or replace function payments.open_payments(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  item record;
  o orders.orders;
  p payments.payments;
  tasks jsonb := '[]';
begin
  perform platform.enter_as(call, input->>'tenant');
  perform platform.take_new('payments', array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  for item in
    select m->>'orderId' as order_id, min(m->>'id') as id, min(m->>'traceparent') as trace from jsonb_array_elements(input->'messages') m
    group by 1 order by 1
  loop
    perform platform.set_trace(item.trace);
    o := orders.lock_order(item.order_id);
    continue when o.id is null;
    if o.total = 0 then
      perform orders.settle_paid(o.id);
      continue;
    end if;
    p := payments.live_payment(o, item.id);
    if payments.lacks_intent(p) then
      tasks := tasks || payments.intent_task(p);
    end if;
  end loop;
  return jsonb_build_object('tasks', tasks);
end
$$;

-- What the consumer got from Stripe. `input`: {tenant, intents: [{id, intentId, clientSecret, status}], refused:
-- [{id, reason}], again: [id]}. `refused`: Stripe will never take this payment, so it and its order fail at once.
-- `again`: Stripe failed in a way that it would repeat for this idempotency key, so the next try takes another.
create or replace function payments.record_intents(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  item jsonb;
  p payments.payments;
begin
  perform platform.enter_as(call, input->>'tenant');
  perform group_commerce.lock_places(array(
    select x.order_id from payments.payments x where x.tenant_id = platform.tenant() and x.campaign_id is not null
      and x.payment_id in (select r->>'id' from jsonb_array_elements(input->'refused') r)));
  for item in select jsonb_array_elements(input->'refused') loop
    select * into p from payments.payments x
      where x.tenant_id = platform.tenant() and x.payment_id = item->>'id' and x.status = 'pending';
    if found then
      perform payments.give_up(p, item->>'reason');
    end if;
  end loop;
  for item in select jsonb_array_elements(input->'intents') loop
    perform payments.keep_intent(item);
  end loop;
  update payments.payments x set attempt = x.attempt + 1
  where x.tenant_id = platform.tenant()
    and x.payment_id = any(array(select jsonb_array_elements_text(input->'again')));
  return '{}';
end
$$;

-- Ends the payments of orders that have failed (`failed`) or were cancelled (`cancelled`): what is pending ends so and is
-- closed at Stripe by the consumer; what was captured is refunded. The caller has locked the orders, by id. For orders.
-- Emits payment.failed or payment.cancelled, payment.refund.requested.
create or replace function payments.end_for_orders(order_ids text[], ending text, reason text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  p payments.payments;
begin
  for p in
    select * from payments.payments x
    where x.tenant_id = platform.tenant() and x.order_id = any(order_ids) and x.status in ('pending', 'succeeded')
    order by x.payment_id for update
  loop
    if p.status = 'pending' then
      update payments.payments x
      set status = ending, failure_reason = coalesce(x.failure_reason, reason), updated_at = platform.clock()
      where x.payment_id = p.payment_id returning * into p;
      if ending = 'failed' then
        perform payments.emit_payment(p, 'payment.failed', jsonb_build_object('reason', p.failure_reason), true);
      else
        perform payments.emit_payment(p, 'payment.cancelled', '{}', true);
      end if;
    elsif p.captured > p.refunded then
      perform payments.add_refund(p, platform.uuid7(), p.captured - p.refunded, reason);
    end if;
  end loop;
end
$$;

-- Promises money back: the row is what is to be done, the consumer of payment.refund.requested does it.
-- The caller has locked the payment; payments_refunds_within_captured guards the sum.
create or replace function payments.add_refund(p payments.payments, new_id varchar, amount numeric, reason varchar)
returns payments.refunds
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  r payments.refunds;
begin
  update payments.payments x set refunded = x.refunded + add_refund.amount, updated_at = platform.clock()
  where x.payment_id = p.payment_id;
  insert into payments.refunds (id, tenant_id, payment_id, amount, currency, status, reason, checked_at, created_at)
  values (new_id, p.tenant_id, p.payment_id, add_refund.amount, p.currency, 'pending', add_refund.reason,
    platform.clock(), platform.clock())
  returning * into r;
  perform payments.emit_payment(p, 'payment.refund.requested', jsonb_strip_nulls(jsonb_build_object('refundId', r.id,
    'amount', r.amount, 'currency', r.currency, 'reason', r.reason)), true);
  return r;
end
$$;

-- POST /v1/payments/{id}/refunds. `input`: {id, refundId, amount?, reason?}; without an amount, all that is left.
-- Raises not_found. Refuses: refund_exceeds_payment, validation_failed (decimals of the currency).
create or replace function payments.request_refund(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'payments:write', 'payments.refund');
  p payments.payments;
  wanted numeric;
begin
  if replay is not null then
    return replay;
  end if;
  select * into p from payments.payments x
    where x.tenant_id = platform.tenant() and x.payment_id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  wanted := coalesce((input->>'amount')::numeric, p.captured - p.refunded);
  if scale(trim_scale(wanted)) > platform.currency_decimals(p.currency) then
    return platform.leave(call, 'payments.refund', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/amount', 'detail', format('%s has no decimals.', p.currency)))));
  end if;
  if wanted <= 0 or wanted > p.captured - p.refunded then
    return platform.leave(call, 'payments.refund', jsonb_build_object('error', 'refund_exceeds_payment', 'detail',
      format('%s %s of it can still be refunded.', p.captured - p.refunded, p.currency)));
  end if;
  return platform.leave(call, 'payments.refund',
    payments.refund_json(payments.add_refund(p, input->>'refundId', wanted, input->>'reason')));
end
$$;

-- What is to be done at Stripe, of these payments' rows or (cron) of any tenant's that nobody asked about for a while.
-- `input`: {tenant, paymentIds} or {idleSeconds, limit}. Answers {intents: [task], refunds: [{…}]}: payments without an
-- intent, pending ones to look up, ended ones to close, those whose charge tells of refunds that we have not seen; refunds
-- to make or look up. `mayExist`: an earlier try may have made it, and Stripe forgets an idempotency key after 24 hours.
create or replace function payments.open_work(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  ids constant text[] := array(select jsonb_array_elements_text(input->'paymentIds'));
  everywhere constant boolean := not input ? 'tenant';
  intents jsonb;
  refunds jsonb;
begin
  perform platform.enter_as(call, coalesce(input->>'tenant', '*'));
  select coalesce(jsonb_agg(payments.intent_task(w)), '[]') into intents from (
    select * from payments.payments p
    where (p.status = 'pending' or p.intent_open or p.refunds_told > p.refund_done)
      and case when everywhere then p.checked_at <= platform.clock() - make_interval(secs => (input->>'idleSeconds')::int)
          else p.payment_id = any(ids) end
    order by p.checked_at limit (input->>'limit')::int
  ) w;
  select coalesce(jsonb_agg(jsonb_build_object('id', w.id, 'tenant', w.tenant_id, 'paymentId', w.payment_id,
    'amount', w.amount::text, 'currency', w.currency, 'attempt', w.attempt, 'stripeRefundId', w.stripe_refund_id,
    'mayExist', w.attempt > 1 or w.created_at <= platform.clock() - interval '20 hours',
    'intentId', w.stripe_payment_intent_id)), '[]') into refunds from (
    select r.*, p.stripe_payment_intent_id from payments.refunds r join payments.payments p using (payment_id)
    where r.status = 'pending'
      and case when everywhere then r.checked_at <= platform.clock() - make_interval(secs => (input->>'idleSeconds')::int)
          else r.payment_id = any(ids) end
    order by r.checked_at limit (input->>'limit')::int
  ) w;
  return jsonb_build_object('intents', intents, 'refunds', refunds);
end
$$;

-- Notes that Stripe was asked and nothing has changed, so that the cron comes to the others first; `again` as in
-- record_intents, for refunds; `listed`: all of these payments' refunds at Stripe have been applied. `input`: {tenant,
-- payments: [id], listed: [id], refunds: [id], again: [refund id]}.
create or replace function payments.note_checked(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, input->>'tenant');
  update payments.payments p set checked_at = platform.clock()
  where p.tenant_id = platform.tenant() and p.payment_id = any(array(select jsonb_array_elements_text(input->'payments')));
  update payments.payments p set refunds_told = p.refund_done
  where p.tenant_id = platform.tenant() and p.payment_id = any(array(select jsonb_array_elements_text(input->'listed')));
  update payments.refunds r set checked_at = platform.clock()
  where r.tenant_id = platform.tenant() and r.id = any(array(select jsonb_array_elements_text(input->'refunds')));
  update payments.refunds r set attempt = r.attempt + 1
  where r.tenant_id = platform.tenant() and r.id = any(array(select jsonb_array_elements_text(input->'again')));
  return '{}';
end
$$;

-- What Stripe says, by a webhook (with `eventId`: applied once) or looked up (without). `input`: {eventId?, paymentId?,
-- intentId?, setupId?, intent?: {status, received, clientSecret?, failure?, final?}, setup?: {status, methodId?,
-- failure?}, refund?: {id?, stripeId, status, amount, failure?},
-- charge?: {refunded}, dispute?: {status}}. Whatever the order of arrival, the state that is furthest stands.
-- Answers {outcome, tenant, skus}: applied, duplicate, unknown (no payment of ours).
create or replace function payments.apply_stripe(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  p payments.payments;
  before varchar;
  skus text[] := '{}';
begin
  perform platform.enter_as(call, '*');
  -- The id that we gave the intent finds the payment even before we have heard the intent's own id.
  select * into p from payments.payments x
    where x.payment_id = input->>'paymentId' or x.stripe_payment_intent_id = input->>'intentId'
      or x.setup_intent_id = input->>'setupId' limit 1;
  if not found or p.stripe_payment_intent_id <> input->>'intentId' or p.setup_intent_id <> input->>'setupId' then
    return jsonb_build_object('outcome', 'unknown');
  end if;
  perform platform.act_as(p.tenant_id);
  if input ? 'eventId' and cardinality(platform.take_new('stripe', array[input->>'eventId'])) = 0 then
    return jsonb_build_object('outcome', 'duplicate', 'tenant', p.tenant_id);
  end if;
  if p.campaign_id is not null then
    perform group_commerce.lock_places(array[p.order_id::text]);
  end if;
  perform orders.lock_order(p.order_id);
  select x.dispute into before from payments.payments x where x.payment_id = p.payment_id for update;
  -- A charge tells a sum and no refund: the events of its refunds tell more, and where those are lost the cron looks.
  update payments.payments x
  set checked_at = platform.clock(), stripe_payment_intent_id = coalesce(x.stripe_payment_intent_id, input->>'intentId'),
      setup_intent_id = coalesce(x.setup_intent_id, input->>'setupId'),
      refunds_told = greatest(x.refunds_told, (input->'charge'->>'refunded')::numeric),
      dispute = case when x.dispute in ('won', 'lost') then x.dispute else coalesce(input->'dispute'->>'status', x.dispute) end
  where x.payment_id = p.payment_id returning * into p;
  if input ? 'intent' then
    skus := payments.move_intent(p, input->'intent');
  elsif input ? 'setup' then
    perform payments.move_setup(p, input->'setup');
  elsif input ? 'refund' then
    skus := payments.move_refund(p, input->'refund');
  elsif p.dispute is distinct from before then
    perform payments.emit_payment(p, 'payment.dispute.changed', jsonb_build_object('status', p.dispute), false);
  end if;
  return jsonb_build_object('outcome', 'applied', 'tenant', p.tenant_id, 'skus', to_jsonb(skus));
end
$$;

create or replace function payments.move_intent(p payments.payments, intent jsonb) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  settled jsonb;
  early payments.refunds;
  skus text[];
begin
  if intent->>'status' = 'succeeded' then
    if p.status in ('succeeded', 'refunded') then
      return '{}';
    end if;
    update payments.payments x
    set status = 'succeeded', captured = (intent->>'received')::numeric, failure_reason = null, intent_open = false,
        stripe_status = 'succeeded', updated_at = platform.clock()
    where x.payment_id = p.payment_id returning * into p;
    perform payments.emit_payment(p, 'payment.succeeded', '{}', false);
    settled := orders.settle_paid(p.order_id);
    skus := array(select jsonb_array_elements_text(settled->'skus'));
    -- We may have heard first that the money went back, and only now that it had come.
    for early in
      select * from payments.refunds r where r.payment_id = p.payment_id and r.status = 'succeeded' order by r.id
    loop
      perform payments.emit_refunded(p, early);
    end loop;
    skus := skus || payments.count_refunds(p.payment_id);
    select * into p from payments.payments x where x.payment_id = p.payment_id;
    if (settled->>'confirmed')::boolean then
      if p.campaign_id is not null then
        perform group_commerce.mark_charged(p.order_id);
      end if;
    elsif p.captured > p.refunded then
      perform payments.add_refund(p, platform.uuid7(), p.captured - p.refunded, settled->>'reason');
    end if;
    return skus;
  end if;
  if intent->>'status' = 'canceled' then
    if p.status = 'pending' and p.campaign_id is not null then
      perform payments.give_up(p, 'hold_ended'); -- nobody can pay for this place any more
    end if;
    update payments.payments x
    set intent_open = false, stripe_status = 'canceled', updated_at = platform.clock(),
        status = case when x.status = 'pending' then 'cancelled' else x.status end
    where x.payment_id = p.payment_id;
    if p.status = 'pending' and p.campaign_id is null then
      perform payments.emit_payment(p, 'payment.cancelled', '{}', false);
    end if;
    return '{}';
  end if;
  -- A declined attempt is not the end: another card may follow until the order's hold runs out.
  if p.status = 'pending' then
    update payments.payments x
    set stripe_status = intent->>'status', failure_reason = coalesce(intent->>'failure', x.failure_reason),
        client_secret = coalesce(x.client_secret, intent->>'clientSecret'), intent_open = true,
        updated_at = platform.clock()
    where x.payment_id = p.payment_id;
    if p.mode = 'hold' and intent->>'status' = 'requires_capture' then
      perform group_commerce.mark_secured(p.order_id);
    elsif (intent->>'final')::boolean then
      perform payments.give_up(p, intent->>'failure'); -- charged off-session: the buyer is not there to try another card
    end if;
  end if;
  return '{}';
end
$$;

create or replace function payments.emit_refunded(p payments.payments, r payments.refunds) returns void
language sql as $$
  select payments.emit_payment(p, 'payment.refunded',
    jsonb_build_object('refundId', r.id, 'amount', r.amount, 'currency', r.currency), false)
$$;

-- What Stripe tells of one refund, ours or made there by hand. Ends in one state whatever comes first; a refund that
-- failed stays so: a bank can send money back days after it had succeeded, and then it is with the merchant again.
create or replace function payments.move_refund(p payments.payments, told jsonb) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  r payments.refunds;
  was varchar;
begin
  select * into r from payments.refunds x
    where x.payment_id = p.payment_id and (x.id = told->>'id' or x.stripe_refund_id = told->>'stripeId') for update;
  if not found then
    insert into payments.refunds (id, tenant_id, payment_id, amount, currency, status, reason, stripe_refund_id,
      checked_at, created_at)
    values (platform.uuid7(), p.tenant_id, p.payment_id, (told->>'amount')::numeric, p.currency, 'pending',
      'made at Stripe', told->>'stripeId', platform.clock(), platform.clock())
    returning * into r;
  end if;
  was := r.status;
  update payments.refunds x
  set stripe_refund_id = coalesce(x.stripe_refund_id, told->>'stripeId'), checked_at = platform.clock(),
      status = case when x.status = 'pending' or told->>'status' = 'failed' then told->>'status' else x.status end,
      failure_reason = coalesce(told->>'failure', x.failure_reason)
  where x.id = r.id returning * into r;
  if p.captured > 0 and r.status <> was and r.status = 'succeeded' then
    perform payments.emit_refunded(p, r);
  elsif p.captured > 0 and r.status <> was then
    perform payments.emit_payment(p, 'payment.refund.failed',
      jsonb_build_object('refundId', r.id, 'amount', r.amount, 'reason', coalesce(r.failure_reason, 'unknown')), false);
  end if;
  return payments.count_refunds(p.payment_id);
end
$$;

-- Adds up a payment's refunds from their rows; where all the money went back, the order is refunded too. Answers the SKUs
-- that are stock again. Not above what was captured: until Stripe has refused ours, one made there by hand may be in its
-- place. The caller has locked the order and the payment.
create or replace function payments.count_refunds(of varchar) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p payments.payments;
  least_failed numeric;
begin
  update payments.payments x
  set refunded = least(x.captured, s.promised), refund_done = least(x.captured, s.done), updated_at = platform.clock(),
      status = case when x.captured > 0 and s.done >= x.captured then 'refunded'
        when x.status = 'refunded' then 'succeeded' else x.status end
  from (
    select coalesce(sum(r.amount) filter (where r.status <> 'failed'), 0) as promised,
      coalesce(sum(r.amount) filter (where r.status = 'succeeded'), 0) as done
    from payments.refunds r where r.payment_id = of
  ) s
  where x.payment_id = of
  returning x.* into p;
  -- Of an ended order all the money goes back. Stripe refuses ours when one made by hand has taken a part of it: then the
  -- rest is promised, unless as little as that has failed before (a dispute, a closed account), which is the merchant's.
  select min(r.amount) into least_failed from payments.refunds r where r.payment_id = of and r.status = 'failed';
  if p.captured > p.refunded and least_failed > p.captured - p.refunded
    and exists (select from orders.orders o where o.id = p.order_id and o.status in ('cancelled', 'failed')) then
    perform payments.add_refund(p, platform.uuid7(), p.captured - p.refunded, 'order_ended');
  end if;
  return case when p.status = 'refunded' then orders.mark_refunded(p.order_id) else '{}' end;
end
$$;

call platform.hand_over('payments', 'fusion_payments');

grant execute on function payments.payment_json to fusion_reader, fusion_orders;
grant execute on function payments.refund_json to fusion_reader;
grant execute on function payments.end_for_orders to fusion_orders;
grant execute on function payments.open_payment, payments.record_intent, payments.open_payments, payments.record_intents,
  payments.request_refund, payments.open_work, payments.note_checked, payments.apply_stripe to fusion_worker;
