-- requires: platform/access.sql, platform/events.sql, payments/intents.sql
-- Payments: one live payment an order, moved by what Stripe says and by the end of its order. Lock order: the order (by
-- orders.lock_order), the payment, then stock. No call to Stripe is made while anything is locked.

create or replace function payments.payment_json(p payments.payments) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', p.payment_id, 'orderId', p.order_id, 'amount', p.amount, 'currency', p.currency,
    'status', p.status, 'amountRefunded', p.refunded, 'dispute', p.dispute, 'stripePaymentIntentId', p.stripe_payment_intent_id,
    'clientSecret', case when p.status = 'pending' then p.client_secret end,
    'failureReason', p.failure_reason, 'createdAt', platform.iso(p.created_at))
$$;

-- What the Worker has to ask Stripe for: amounts as text, so that no binary number comes near them.
create or replace function payments.intent_task(p payments.payments) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', p.payment_id, 'tenant', p.tenant_id, 'orderId', p.order_id,
    'amount', p.amount::text, 'currency', p.currency, 'attempt', p.attempt, 'status', p.status,
    'intentId', p.stripe_payment_intent_id, 'intentOpen', p.intent_open, 'refundsUnseen', p.refunds_told > p.refund_done,
    'mode', p.mode, 'setupId', p.setup_intent_id, 'customerId', p.customer_id, 'methodId', p.payment_method_id,
    'userId', p.user_id, 'capture', p.capture_asked, 'strays', to_jsonb(payments.strays(p)),
    'chargesUnseen', payments.charges_unseen(p),
    'delayed', (select t.delayed_payments from platform.tenants t where t.id = p.tenant_id))
$$;

-- Whether Stripe is still to be asked for what the buyer confirms.
create or replace function payments.lacks_intent(p payments.payments) returns boolean
language sql stable as $$
  select p.status = 'pending' and case p.mode when 'card' then p.setup_intent_id else p.stripe_payment_intent_id end is null
$$;

-- Whether something is to be closed at Stripe when this payment ends. Stripe may have made an intent whose answer was lost
-- on the way to us, so an unknown one is asked for once more.
create or replace function payments.open_at_end(p payments.payments) returns boolean
language sql stable as $$
  select p.intent_open or p.mode <> 'card' and p.stripe_payment_intent_id is null
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

-- Why an order is not payable any more: its last payment's reason, or its own. Null if neither has one.
create or replace function payments.why_ended(o orders.orders) returns text
language sql stable as $$
  select coalesce((select p.failure_reason from payments.payments p
    where p.tenant_id = o.tenant_id and p.order_id = o.id order by p.payment_id desc limit 1), o.failure_reason)
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
    if p.status not in ('pending', 'succeeded') then
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
      case when o.total = 0 then 'There is nothing to pay.'
        else concat_ws(': ', format('The order is %s', o.status), payments.why_ended(o)) || '.' end));
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

-- The intent belongs to the payment's idempotency key at Stripe, so whoever asked for it was given the same one. When Stripe
-- kept an error for an earlier key, there may be two: the first that comes with its client secret counts.
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
  if intent->>'intentId' is not null then
    perform payments.remember_intent(p, intent->>'intentId', intent);
  end if;
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
  ids text[];
  tasks jsonb := '[]';
begin
  perform platform.enter_as(call, input->>'tenant');
  perform platform.take_new('payments', array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  ids := array(select m->>'orderId' from jsonb_array_elements(input->'messages') m);
  perform orders.lock_orders(ids);
  -- An order of total 0 reaches its stock in the loop, so all stock is locked before it.
  perform inventory.lock_holds(array(select x.id from orders.orders x
    where x.tenant_id = platform.tenant() and x.id = any(ids) and x.total = 0));
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
-- [{id, reason}], again: [{id, attempt}]}. `refused`: Stripe will never take this payment, so it and its order fail at once.
-- One that had ended before is closed.
-- `again`: Stripe has kept a failure for this try's idempotency key, so the next takes another, by whomever it was noted first.
create or replace function payments.record_intents(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  item jsonb;
  p payments.payments;
  ids text[];
begin
  perform platform.enter_as(call, input->>'tenant');
  -- Every row of the batch is locked before the first is changed, kind by kind: places, orders, payments, holds, stock.
  ids := array(select x.order_id from payments.payments x where x.tenant_id = platform.tenant()
    and x.payment_id in (select r->>'id' from jsonb_array_elements(input->'refused') r));
  perform group_commerce.lock_places(ids);
  perform orders.lock_orders(ids);
  perform 1 from payments.payments x
    where x.tenant_id = platform.tenant() and x.payment_id in (
      select r->>'id' from jsonb_array_elements(
        coalesce(input->'refused', '[]') || coalesce(input->'intents', '[]') || coalesce(input->'again', '[]')) r)
    order by x.payment_id for update;
  perform inventory.lock_holds(ids);
  for item in select jsonb_array_elements(input->'refused') loop
    select * into p from payments.payments x
      where x.tenant_id = platform.tenant() and x.payment_id = item->>'id' and x.status = 'pending';
    if found then
      perform payments.give_up(p, item->>'reason');
    end if;
  end loop;
  -- An intent that Stripe refuses to make need not be closed.
  update payments.payments x set intent_open = false
  where x.tenant_id = platform.tenant() and x.payment_id = any(array(select r->>'id' from jsonb_array_elements(input->'refused') r))
    and x.status <> 'pending' and x.mode <> 'card' and x.stripe_payment_intent_id is null
    and cardinality(payments.strays(x)) = 0;
  for item in select jsonb_array_elements(input->'intents') loop
    perform payments.keep_intent(item);
  end loop;
  update payments.payments x set attempt = x.attempt + 1
  where x.tenant_id = platform.tenant()
    and x.payment_id = any(array(select spent->>'id' from jsonb_array_elements(input->'again') spent))
    and input->'again' @> jsonb_build_array(jsonb_build_object('id', x.payment_id, 'attempt', x.attempt));
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
      set status = ending, failure_reason = coalesce(x.failure_reason, reason), updated_at = platform.clock(),
          intent_open = payments.open_at_end(x)
      where x.payment_id = p.payment_id returning * into p;
      if ending = 'failed' then
        perform payments.emit_payment(p, 'payment.failed', jsonb_build_object('reason', p.failure_reason), true);
      else
        perform payments.emit_payment(p, 'payment.cancelled', '{}', true);
      end if;
    elsif p.captured > p.refunded then
      perform payments.return_money(p, p.stripe_payment_intent_id, p.captured - p.refunded, reason);
    end if;
  end loop;
end
$$;

call platform.hand_over('payments', 'fusion_payments');

grant execute on function payments.payment_json to fusion_reader, fusion_orders;
grant execute on function payments.end_for_orders to fusion_orders;
grant execute on function payments.open_payment, payments.record_intent, payments.open_payments, payments.record_intents
  to fusion_worker;
