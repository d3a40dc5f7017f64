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

-- Applies a changed sum of refunds to the order. After a full refund the order is refunded and its place is freed with
-- its unit. After a refund that failed at the bank, the order is no longer refunded. Returns the SKUs whose stock
-- changed. The caller has locked the place, the order and the payment.
create or replace function payments.update_order_after_refund(payment payments.payments) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  skus text[];
begin
  if payment.status = 'succeeded' then
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
  where p.tenant_id = platform.tenant() and p.order_id = any(order_ids) and p.status = 'succeeded'
$$;

call platform.set_owner('payments', 'fusion_payments');

grant execute on function payments.filter_paid_orders to fusion_group_commerce;
