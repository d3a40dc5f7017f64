-- requires: platform/access.sql, platform/currencies.sql, platform/events.sql, payments/payments.sql
-- Refunds. A row records that money will be refunded, then Stripe refunds it. A payment's sums are computed from these
-- rows.

create or replace function payments.refund_json(r payments.refunds) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', r.id, 'paymentId', r.payment_id, 'amount', r.amount, 'currency', r.currency,
    'status', r.status, 'reason', r.reason, 'failureReason', r.failure_reason,
    'items', coalesce(r.items, '[]'), 'shipping', coalesce(r.shipping, 0), 'createdAt', platform.iso(r.created_at))
$$;

-- Records a refund; the consumer of payment.refund.requested makes it at Stripe. The caller has locked the
-- payment; payments_refunds_within_captured limits the sum.
create or replace function payments.add_refund(p payments.payments, new_id varchar, amount numeric, reason varchar)
returns payments.refunds
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  update payments.payments x set refunded = x.refunded + add_refund.amount, updated_at = platform.clock()
  where x.payment_id = p.payment_id;
  return payments.insert_refund(p, p.stripe_payment_intent_id, new_id, add_refund.amount, add_refund.reason, false);
end
$$;

-- Inserts a pending refund. The caller has locked the payment. Emits payment.refund.requested.
create or replace function payments.insert_refund(
  payment payments.payments, of_intent varchar, new_id varchar, amount numeric, reason varchar, automatic boolean
) returns payments.refunds
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  refund payments.refunds;
begin
  insert into payments.refunds (id, tenant_id, payment_id, amount, currency, status, reason, stripe_intent_id,
    automatic, checked_at, created_at)
  values (new_id, payment.tenant_id, payment.payment_id, insert_refund.amount, payment.currency,
    'pending', insert_refund.reason, of_intent, insert_refund.automatic, platform.clock(), platform.clock())
  returning * into refund;
  perform payments.emit_payment_event(payment, 'payment.refund.requested',
    jsonb_strip_nulls(jsonb_build_object('refundId', refund.id, 'amount', refund.amount, 'currency', refund.currency,
      'reason', refund.reason)), true);
  return refund;
end
$$;

-- Refunds money that the merchant must not keep: the payment of an ended order, or a second intent's capture for the
-- same payment. Does nothing if an automatic refund of the same or a smaller amount has failed at Stripe (a dispute, a
-- closed account): then the merchant must return the money. Each failure lowers that limit, so retries end. The caller
-- has locked the payment.
create or replace function payments.add_automatic_refund(payment payments.payments, of_intent varchar,
  refund_amount numeric, why varchar)
returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if refund_amount <= 0 or exists (select from payments.refunds r where r.payment_id = payment.payment_id
    and r.stripe_intent_id is not distinct from of_intent and r.automatic and r.status = 'failed'
    and r.amount <= refund_amount
    -- Unless it failed because of a refund made by hand, and that one has failed since.
    and not exists (select from payments.refunds h where h.payment_id = r.payment_id and not h.automatic
      and h.stripe_intent_id is not distinct from of_intent and h.status = 'failed' and h.stripe_refund_id is not null
      and h.checked_at > r.checked_at)) then
    return;
  end if;
  if of_intent is not distinct from payment.stripe_payment_intent_id then
    update payments.payments x set refunded = x.refunded + refund_amount, updated_at = platform.clock()
    where x.payment_id = payment.payment_id;
  end if;
  perform payments.insert_refund(payment, of_intent, platform.uuid7(), refund_amount, why, true);
end
$$;

-- Refunds the money that this intent captured although another intent had already paid the payment. The caller has
-- locked the payment.
create or replace function payments.refund_excess_intent(payment payments.payments, of_intent varchar) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform payments.add_automatic_refund(payment, i.stripe_id,
    i.received - coalesce((select sum(r.amount) from payments.refunds r
    where r.payment_id = payment.payment_id and r.stripe_intent_id = i.stripe_id and r.status <> 'failed'), 0),
      'paid_twice')
  from payments.intents i
  where i.stripe_id = of_intent and i.fault is null and i.status = 'succeeded';
end
$$;

-- POST /v1/payments/{id}/refunds. `input`: {id, refundId, amount?, reason?, restock?}; without an amount, the remaining
-- amount. `restock`: whether the units go back into stock once all money is refunded; by default only if there is no
-- label. Locks the payment, so that refunds never exceed what was captured. Raises not_found. Returns the errors
-- refund_exceeds_payment, validation_failed (decimals that the currency lacks).
create or replace function payments.request_refund(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'payments:write', 'payments.refund');
  payment payments.payments;
  refund payments.refunds;
  refund_amount numeric;
begin
  if replay is not null then
    return replay;
  end if;
  select * into payment from payments.payments x
    where x.payment_id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  refund_amount := coalesce((input->>'amount')::numeric, payment.captured - payment.refunded);
  if scale(trim_scale(refund_amount)) > platform.currency_decimals(payment.currency) then
    return platform.leave(call, 'payments.refund', jsonb_build_object('error', 'validation_failed', 'errors',
      jsonb_build_array(jsonb_build_object('pointer', '/amount',
        'detail', format('%s has no decimals.', payment.currency)))));
  end if;
  if refund_amount <= 0 or refund_amount > payment.captured - payment.refunded then
    return platform.leave(call, 'payments.refund', jsonb_build_object('error', 'refund_exceeds_payment', 'detail',
      format('At most %s %s can still be refunded.', payment.captured - payment.refunded, payment.currency)));
  end if;
  refund := payments.add_refund(payment, input->>'refundId', refund_amount, input->>'reason');
  update payments.refunds x set restock = (input->>'restock')::boolean where x.id = refund.id and input ? 'restock';
  return platform.leave(call, 'payments.refund', payments.refund_json(refund));
end
$$;

-- Records a refund of units and shipping of an order. `refunded`: {refundId, amount, reason, items, shipping}, as
-- orders.record_refund makes it. Returns the refund, or the error refund_exceeds_payment if the payment has less left:
-- refunds of amounts and refunds made by hand count too. The caller has locked the order; this locks the payment. For
-- orders.
create or replace function payments.refund_units(order_id varchar, refunded jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  payment payments.payments;
  refund payments.refunds;
begin
  select * into payment from payments.payments x
    where x.order_id = refund_units.order_id and x.status = 'succeeded' order by x.payment_id desc limit 1 for update;
  if not found or (refunded->>'amount')::numeric > payment.captured - payment.refunded then
    return jsonb_build_object('error', 'refund_exceeds_payment', 'detail', case when payment.payment_id is null
      then 'The order has no payment with money that can be refunded.' else format(
      'This refund is worth %s %s, and at most %s can still be refunded.', refunded->>'amount', payment.currency,
      payment.captured - payment.refunded) end,
      'errors', jsonb_build_array(jsonb_build_object('pointer', '/items', 'detail',
        format('At most %s can still be refunded.', coalesce(payment.captured - payment.refunded, 0)))));
  end if;
  refund := payments.add_refund(payment, refunded->>'refundId', (refunded->>'amount')::numeric, refunded->>'reason');
  update payments.refunds x set items = refunded->'items', shipping = (refunded->>'shipping')::numeric
  where x.id = refund.id returning * into refund;
  return payments.refund_json(refund);
end
$$;

-- Emits the end of a refund: payment.refunded or payment.refund.failed.
create or replace function payments.emit_refund_end(p payments.payments, r payments.refunds) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if r.status = 'succeeded' then
    perform payments.emit_payment_event(p, 'payment.refunded',
      jsonb_build_object('refundId', r.id, 'amount', r.amount, 'currency', r.currency), false);
  elsif r.status = 'failed' then
    perform payments.emit_payment_event(p, 'payment.refund.failed',
      jsonb_build_object('refundId', r.id, 'amount', r.amount, 'reason', coalesce(r.failure_reason, 'unknown')), false);
  end if;
end
$$;

-- Counts the refunds of a payment's own intent that ended before the update that its money was captured, and emits
-- their events. Returns the SKUs that went back into stock. The caller has locked the order and the payment.
create or replace function payments.apply_early_refunds(payment payments.payments) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  early payments.refunds;
begin
  for early in
    select * from payments.refunds r where r.payment_id = payment.payment_id
      and r.stripe_intent_id is not distinct from payment.stripe_payment_intent_id order by r.id
  loop
    perform payments.emit_refund_end(payment, early);
  end loop;
  return payments.update_refund_sums(payment.payment_id);
end
$$;

-- Applies an update of one refund, ours or made by hand at Stripe; `reported` has its intent's id. The result does not
-- depend on the order of updates. A failed refund stays failed: a bank can return money days after the refund
-- succeeded, and then the merchant has it again. A failure without `stripeId` says that Stripe rejected one of our
-- requests: it counts only while no other request has made the refund. The caller has locked the order and the payment;
-- this locks the refund.
create or replace function payments.apply_refund(payment payments.payments, reported jsonb) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  refund payments.refunds;
  previous_status varchar;
  is_paid boolean;
  skus text[];
begin
  select * into refund from payments.refunds x
    where x.payment_id = payment.payment_id and (x.id = reported->>'id' or x.stripe_refund_id = reported->>'stripeId')
      for update;
  if not found then
    if payment.mode = 'hold' and (reported->>'released')::boolean then
      return '{}'; -- the part of the authorization that was not captured
    end if;
    insert into payments.refunds (id, tenant_id, payment_id, amount, currency, status, reason, stripe_refund_id,
      stripe_intent_id, checked_at, created_at)
    values (platform.uuid7(), payment.tenant_id, payment.payment_id, (reported->>'amount')::numeric, payment.currency,
      'pending', 'made at Stripe', reported->>'stripeId',
        coalesce(reported->>'intentId', payment.stripe_payment_intent_id), platform.clock(),
      platform.clock())
    returning * into refund;
  end if;
  previous_status := refund.status;
  update payments.refunds x
  set stripe_refund_id = coalesce(x.stripe_refund_id, reported->>'stripeId'), checked_at = platform.clock(),
      status = case when x.status = 'pending' or reported->>'status' = 'failed' then reported->>'status'
        else x.status end, failure_reason = coalesce(reported->>'failure', x.failure_reason)
  where x.id = refund.id and (reported->>'stripeId' is not null or x.stripe_refund_id is null) returning * into refund;
  if not found then
    return '{}';
  end if;
  is_paid := payment.captured > 0 and (refund.stripe_intent_id is not distinct from payment.stripe_payment_intent_id
    or exists (select from payments.intents i where i.stripe_id = refund.stripe_intent_id and i.received > 0));
  if is_paid and refund.status is distinct from previous_status then
    perform payments.emit_refund_end(payment, refund);
  end if;
  if refund.stripe_intent_id is distinct from payment.stripe_payment_intent_id then
    if payment.captured > 0 then
      perform payments.refund_excess_intent(payment, refund.stripe_intent_id);
    end if;
    return '{}';
  end if;
  if refund.items is not null and refund.status = 'failed' and previous_status <> 'failed' then
    skus := orders.undo_refund(payment.order_id, to_jsonb(refund));
  end if;
  skus := coalesce(skus, '{}') || payments.update_refund_sums(payment.payment_id);
  perform payments.refund_remainder(payment.payment_id);
  if refund.status = 'failed' and not refund.automatic then -- a refund by hand that counted towards a price that fell
    perform payments.refund_difference(p) from payments.payments p
    where p.payment_id = payment.payment_id and p.status = 'succeeded';
  end if;
  return skus;
end
$$;

-- Sums the refunds of a payment's own intent. If all money was refunded, the order is refunded too. Returns the SKUs
-- that went back into stock. The sum stays within the captured amount: a refund made by hand may count in place of ours
-- until Stripe rejects ours. The caller has locked the order and the payment.
create or replace function payments.update_refund_sums(of_payment varchar) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  payment payments.payments;
begin
  update payments.payments x
  set refunded = least(x.captured, s.promised), refund_done = least(x.captured, s.done), updated_at = platform.clock(),
      status = case when x.captured > 0 and s.done >= x.captured then 'refunded'
        when x.status = 'refunded' then case when payments.is_excess_payment(x) then 'cancelled' else 'succeeded' end
        else x.status end
  from (
    select coalesce(sum(r.amount) filter (where r.status <> 'failed'), 0) as promised,
      coalesce(sum(r.amount) filter (where r.status = 'succeeded'), 0) as done
    from payments.refunds r join payments.payments y using (payment_id)
    where r.payment_id = of_payment and r.stripe_intent_id is not distinct from y.stripe_payment_intent_id
  ) s
  where x.payment_id = of_payment
  returning x.* into payment;
  return case when payments.is_excess_payment(payment) then '{}' else payments.update_order_after_refund(payment) end;
end
$$;

-- Records a refund of the rest of the money for an ended order, for a released place that never had an order, and for a
-- payment whose order another payment has paid. The rest exists if a refund made by hand returned a part of the money
-- and Stripe therefore rejected our full refund.
create or replace function payments.refund_remainder(of_payment varchar) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform payments.add_automatic_refund(p, p.stripe_payment_intent_id, p.captured - p.refunded, 'order_ended')
  from payments.payments p
  left join orders.orders o on o.id = p.order_id
  where p.payment_id = of_payment and case when o.id is null then not group_commerce.awaits_order(p.order_id)
    else o.status in ('cancelled', 'failed') or payments.is_excess_payment(p) end;
end
$$;

call platform.set_owner('payments', 'fusion_payments');

grant execute on function payments.refund_json to fusion_reader;
grant execute on function payments.refund_json, payments.refund_units to fusion_orders;
grant execute on function payments.request_refund to fusion_worker;
