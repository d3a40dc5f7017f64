-- requires: platform.sql, events.sql
-- Payments: one live payment an order.

create or replace function payments.payment_json(p payments.payments) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', p.payment_id, 'orderId', p.order_id, 'amount', p.amount, 'currency', p.currency,
    'status', p.status, 'stripePaymentIntentId', p.stripe_payment_intent_id, 'clientSecret', null,
    'failureReason', p.failure_reason, 'createdAt', platform.iso(p.created_at))
$$;

call platform.hand_over('payments', 'fusion_payments');

grant execute on function payments.payment_json to fusion_reader, fusion_orders;
