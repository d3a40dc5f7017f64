-- requires: platform/access.sql, platform/events.sql, payments/intents.sql
-- Payments: an order has one live payment, which changes with updates from Stripe and with the end of its order. Lock
-- order: the order (by orders.lock_order), the payment, then stock. No call to Stripe is made while a row is locked.

-- `amount`: what is or will be captured, so that `amount` less `amountRefunded` is what the order costs, also if more
-- was captured than the final price of a place.
create or replace function payments.payment_json(p payments.payments) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', p.payment_id, 'orderId', p.order_id, 'amount', greatest(p.amount, p.captured), 'currency', p.currency,
    'status', p.status, 'amountRefunded', p.refunded, 'dispute', p.dispute,
    'stripePaymentIntentId', p.stripe_payment_intent_id,
    'clientSecret', case when p.status = 'pending' then p.client_secret end, 'stripeAccount', p.stripe_account,
    'failureReason', p.failure_reason, 'createdAt', platform.iso(p.created_at))
$$;

-- The payload of payment.created.
create or replace function payments.created_json(p payments.payments) returns jsonb
language sql stable as $$
  select jsonb_build_object('paymentId', p.payment_id, 'orderId', p.order_id, 'amount', p.amount,
    'currency', p.currency, 'status', p.status)
$$;

-- The payment as a task for the Worker, which calls Stripe. Amounts are text, so that they never become binary
-- floating-point numbers. `amount`: what is captured or charged. `authorized`: the amount of the PaymentIntent of a
-- hold, if it may be more. `taxCalculation`: the calculation of Stripe Tax that the payment names, so that Stripe
-- reports the tax. Stripe keeps it for 90 days; a place that is charged later is charged without it.
create or replace function payments.intent_task(p payments.payments) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', p.payment_id, 'tenant', p.tenant_id, 'orderId', p.order_id,
    'account', p.stripe_account, 'amount', p.amount::text,
    'authorized', p.authorized::text, 'currency', p.currency, 'attempt', p.attempt,
    'status', p.status,
    'intentId', p.stripe_payment_intent_id, 'intentOpen', p.intent_open,
    'refundsUnseen', p.refunds_told > p.refund_done,
    'mode', p.mode, 'setupId', p.setup_intent_id, 'customerId', p.customer_id, 'methodId', p.payment_method_id,
    'userId', p.user_id, 'capture', p.capture_asked, 'strays', to_jsonb(payments.intents_to_cancel(p)),
    'chargesUnseen', payments.needs_charge_lookup(p),
    'taxCalculation', case when p.created_at > platform.clock() - interval '89 days' then coalesce(p.tax_calculation,
      (select o.tax_calculation from orders.orders o where o.id = p.order_id)) end,
    'delayed', (select t.delayed_payments from platform.tenants t where t.id = p.tenant_id))
$$;

-- Whether the payment still needs the intent that the buyer confirms.
create or replace function payments.lacks_intent(p payments.payments) returns boolean
language sql stable as $$
  select p.status = 'pending' and case p.mode when 'card' then p.setup_intent_id
    else p.stripe_payment_intent_id end is null
$$;

-- Whether the payment must be closed at Stripe when it ends. If no intent is known, Stripe may have made one whose
-- response was lost: the Worker requests it once more, to close it.
create or replace function payments.needs_closing(payment payments.payments) returns boolean
language sql stable as $$
  select payment.intent_open or payment.mode <> 'card' and payment.stripe_payment_intent_id is null
$$;

-- Whether Stripe's rejection of a request still counts. `rejection`: {intentId, setupId}, the objects that the payment
-- had when the request was sent. If another request has made an intent or a charge since, the payment goes on with that
-- one. A Worker of an earlier release sends neither: its rejection counts while there is no intent. A charge's
-- rejection also counts while only the SetupIntent exists that saved the card. The caller has locked the payment.
create or replace function payments.is_rejection_current(p payments.payments, rejection jsonb) returns boolean
language sql stable as $$
  select p.status = 'pending' and p.stripe_payment_intent_id is not distinct from rejection->>'intentId'
    and (p.setup_intent_id is not distinct from rejection->>'setupId'
      or not rejection ? 'setupId' and p.capture_asked)
$$;

create or replace function payments.emit_payment_event(payment payments.payments, topic text, data jsonb, queue boolean)
  returns void language sql as $$
  select platform.emit(topic, payment.payment_id,
    jsonb_build_object('paymentId', payment.payment_id, 'orderId', payment.order_id) || data, queue)
$$;

-- The order's live payment, inserted if there is none (payments_one_live_an_order). The caller has locked the order.
-- Emits payment.created.
create or replace function payments.ensure_live_payment(order_row orders.orders, new_id varchar)
  returns payments.payments
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  payment payments.payments;
begin
  select * into payment from payments.payments x
    where x.order_id = order_row.id and x.status in ('pending', 'succeeded');
  if not found and order_row.status = 'created' and order_row.total > 0 then
    insert into payments.payments (payment_id, order_id, amount, currency, status, tenant_id, stripe_account,
      created_at, updated_at, checked_at)
    select new_id, order_row.id, order_row.total, order_row.currency, 'pending', t.id, t.stripe_account, c, c, c
    from platform.clock() c, platform.tenants t where t.id = order_row.tenant_id returning * into payment;
    perform platform.emit('payment.created', payment.payment_id, payments.created_json(payment), false);
  end if;
  return payment;
end
$$;

-- Why an order is no longer payable: the reason of its last payment, or its own. Null if neither has one.
create or replace function payments.why_ended(o orders.orders) returns text
language sql stable as $$
  select coalesce((select p.failure_reason from payments.payments p
    where p.order_id = o.id order by p.payment_id desc limit 1), o.failure_reason)
$$;

-- POST /v1/payments. `input`: {orderId, id}. Returns the order's live payment. If it has a `task`, the Worker requests
-- the intent from Stripe and ends with record_intent. Locks the order, so that an order has one live payment. Raises
-- not_found (also for an order that is not a shopper's), order_not_payable. Returns the error order_not_payable.
create or replace function payments.open_payment(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'payments:write', 'payments.create', '{publishable,session}');
  order_row orders.orders;
  payment payments.payments;
begin
  if replay is not null then
    return replay;
  end if;
  -- Checked before the lock: a shopper must not wait for a row of another.
  if platform.shopper() is null or orders.may_reach_order_id(input->>'orderId') then
    order_row := orders.lock_order(input->>'orderId');
  end if;
  if order_row.id is null then
    -- A place in a campaign has a payment before it has an order.
    select * into payment from payments.payments x
      where x.order_id = input->>'orderId' and x.campaign_id is not null;
    if not found or not payments.may_reach(payment) then
      perform platform.fail('not_found');
    end if;
    if payment.status not in ('pending', 'succeeded') then
      return platform.leave(call, 'payments.create', jsonb_build_object('error', 'order_not_payable',
        'detail', 'The place in the campaign was released.'));
    end if;
    return payments.finish_open_payment(call, payment);
  end if;
  if order_row.status = 'created' and not inventory.is_held(order_row.id) then
    perform platform.fail('order_not_payable',
      jsonb_build_object('reason', 'The stock of the order is not held yet. Try again in a few seconds.'));
  end if;
  payment := payments.ensure_live_payment(order_row, input->>'id');
  if payment.payment_id is null then
    return platform.leave(call, 'payments.create', jsonb_build_object('error', 'order_not_payable', 'detail',
      case when order_row.total = 0 then 'There is nothing to pay.'
        else concat_ws(': ', format('The order is %s', order_row.status), nullif(payments.why_ended(order_row), 'order_cancelled')) || '.' end));
  end if;
  return payments.finish_open_payment(call, payment);
end
$$;

-- Ends open_payment: with a task while the payment needs an intent, otherwise with its answer.
create or replace function payments.finish_open_payment(call jsonb, payment payments.payments) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if payments.lacks_intent(payment) then
    return jsonb_build_object('tenant', platform.tenant(), 'replayed', false,
      'answer', payments.payment_json(payment) || jsonb_build_object('task', payments.intent_task(payment)));
  end if;
  return platform.leave(call, 'payments.create', payments.payment_json(payment));
end
$$;

-- The consumer of inventory.reserved. `input`: {tenant, messages: [{eventId, orderId, id, traceparent}]}. Confirms
-- orders with total 0. Returns {tasks}: the payments of these orders that still need an intent, also on a second
-- delivery, because the first may have failed before its request to Stripe.
create or replace function payments.open_payments(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  item record;
  order_row orders.orders;
  payment payments.payments;
  ids text[];
  tasks jsonb := '[]';
begin
  perform platform.enter_as(call, input->>'tenant');
  perform platform.claim_new_events('payments',
    array(select m->>'eventId' from jsonb_array_elements(input->'messages') m));
  ids := array(select m->>'orderId' from jsonb_array_elements(input->'messages') m);
  perform orders.lock_orders(ids);
  perform orders.lock_uses(ids); -- lock order: all orders, then uses of discounts, holds and stock, before the loop
  perform inventory.lock_holds(array(select x.id from orders.orders x
    where x.id = any(ids) and x.total = 0));
  for item in
    select m->>'orderId' as order_id, min(m->>'id') as id, min(m->>'traceparent') as trace
      from jsonb_array_elements(input->'messages') m
    group by 1 order by 1
  loop
    perform platform.set_trace(item.trace);
    order_row := orders.lock_order(item.order_id);
    continue when order_row.id is null;
    if order_row.total = 0 then
      perform orders.confirm_paid_order(order_row.id);
      continue;
    end if;
    payment := payments.ensure_live_payment(order_row, item.id);
    if payments.lacks_intent(payment) then
      tasks := tasks || payments.intent_task(payment);
    end if;
  end loop;
  return jsonb_build_object('tasks', tasks);
end
$$;

-- Records the results of the Worker's calls to Stripe. `input`: {tenant, intents: [{id, intentId, clientSecret,
-- status}], refused: [{id, reason, intentId, setupId}], again: [{id, attempt}], skipLocked}. `refused`: Stripe will
-- never accept this payment, so it fails with its order, unless another request has succeeded (is_rejection_current);
-- one that had ended before is closed. `again`: Stripe stored a failure under this attempt's idempotency key, so the
-- next attempt needs another key; counted once, whoever reports it first. `skipLocked`: as in attach_intents, and there
-- are only intents. Returns {kept}: the rejected payments that another request has given an intent.
create or replace function payments.record_intents(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  item jsonb;
  payment payments.payments;
  ids text[];
  kept jsonb := '[]';
begin
  perform platform.enter_as(call, input->>'tenant');
  if jsonb_array_length(input->'refused') = 0 and jsonb_array_length(input->'again') = 0 then
    perform payments.attach_intents(input->'intents', coalesce((input->>'skipLocked')::boolean, false));
    return '{}';
  end if;
  -- Every row of the batch is locked before the first change, one kind after the other: places, orders, payments,
  -- holds, stock. Two batches then never wait for each other in a circle.
  ids := array(select x.order_id from payments.payments x
    where x.payment_id = any(array(select r->>'id' from jsonb_array_elements(input->'refused') r)));
  if cardinality(ids) > 0 then
    perform group_commerce.lock_places(ids);
    perform orders.lock_orders(ids);
  end if;
  perform 1 from payments.payments x
    where x.payment_id = any(array(
      select r->>'id' from jsonb_array_elements(
        coalesce(input->'refused', '[]') || coalesce(input->'intents', '[]') || coalesce(input->'again', '[]')) r))
    order by x.payment_id for update;
  perform orders.lock_uses(ids);
  perform inventory.lock_holds(ids);
  for item in select jsonb_array_elements(input->'refused') loop
    select * into payment from payments.payments x
      where x.payment_id = item->>'id';
    continue when not found or payment.status not in ('pending', 'succeeded');
    if payments.is_rejection_current(payment, item) then
      perform payments.fail_order_or_place(payment, item->>'reason');
    elsif not payments.lacks_intent(payment) then
      kept := kept || to_jsonb(payment.payment_id);
    end if;
  end loop;
  -- If Stripe rejects the creation of an intent, there is no intent to close.
  update payments.payments x set intent_open = false
  where x.payment_id = any(array(select r->>'id' from jsonb_array_elements(input->'refused') r))
    and x.status <> 'pending' and x.mode <> 'card' and x.stripe_payment_intent_id is null
    and cardinality(payments.intents_to_cancel(x)) = 0;
  perform payments.attach_intents(input->'intents', false);
  update payments.payments x set attempt = x.attempt + 1
  where x.payment_id = any(array(select retry->>'id' from jsonb_array_elements(input->'again') retry))
    and input->'again' @> jsonb_build_array(jsonb_build_object('id', x.payment_id, 'attempt', x.attempt));
  return jsonb_build_object('kept', kept);
end
$$;

-- Ends the payments of orders that have failed (`failed`) or were cancelled (`cancelled`). Pending payments end, and
-- the consumer closes them at Stripe; captured money is refunded. The caller has locked the orders by id; this locks
-- the payments by id. For orders. Emits payment.failed or payment.cancelled, payment.refund.requested.
create or replace function payments.end_for_orders(order_ids text[], ending text, reason text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  payment payments.payments;
begin
  for payment in
    select * from payments.payments x
    where x.order_id = any(order_ids) and x.status in ('pending', 'succeeded')
    order by x.payment_id for update
  loop
    if payment.status = 'pending' then
      update payments.payments x
      set status = ending, failure_reason = coalesce(x.failure_reason, reason), updated_at = platform.clock(),
          intent_open = payments.needs_closing(x)
      where x.payment_id = payment.payment_id returning * into payment;
      if ending = 'failed' then
        perform payments.emit_payment_event(payment, 'payment.failed',
          jsonb_build_object('reason', payment.failure_reason), true);
      else
        perform payments.emit_payment_event(payment, 'payment.cancelled', '{}', true);
      end if;
    elsif payment.captured > payment.refunded then
      perform payments.add_automatic_refund(payment, payment.stripe_payment_intent_id,
        payment.captured - payment.refunded, reason);
    end if;
  end loop;
end
$$;

call platform.set_owner('payments', 'fusion_payments');

grant execute on function payments.payment_json to fusion_reader, fusion_orders;
grant execute on function payments.end_for_orders to fusion_orders;
grant execute on function payments.open_payment, payments.open_payments, payments.record_intents
  to fusion_worker;
