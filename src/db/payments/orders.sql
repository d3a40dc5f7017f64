-- requires: payments/payments.sql
-- What a payment's money means for its order or its place in a campaign.

-- The money of a payment has come. Answers as orders.settle_paid. Somebody may have captured the hold of a place in Stripe's
-- dashboard before the campaign has succeeded: then the place is paid and waits for its order. A part of the price pays
-- for nothing: the order or the place ends, and the part is refunded. The caller has locked the place, the order and `p`.
create or replace function payments.settle_order(p payments.payments) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if p.captured < p.amount then
    perform payments.give_up(p, 'captured_in_part');
    return jsonb_build_object('confirmed', false, 'reason', 'captured_in_part', 'skus', '[]'::jsonb);
  end if;
  if p.campaign_id is not null and group_commerce.awaits_order(p.order_id) then
    perform group_commerce.mark_secured(p.order_id);
    return jsonb_build_object('confirmed', true, 'skus', '[]'::jsonb);
  end if;
  return orders.settle_paid(p.order_id);
end
$$;

-- The sum of a payment's refunds has changed. All of the money went back: its order is refunded, and the place goes with its
-- unit. A bank sent a refund back: the order is no longer refunded. Answers the SKUs whose stock has changed. The caller
-- has locked the place, the order and the payment.
create or replace function payments.tell_refunds(p payments.payments) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  skus text[];
begin
  if p.status = 'succeeded' then
    return orders.take_back_refunded(p.order_id);
  elsif p.status is distinct from 'refunded' then
    return '{}';
  end if;
  -- The latest refund that says whether the units go back into stock decides.
  skus := orders.mark_refunded(p.order_id, (select r.restock from payments.refunds r
    where r.payment_id = p.payment_id and r.restock is not null order by r.id desc limit 1));
  if p.campaign_id is not null then
    skus := skus || group_commerce.lose_refunded(p.order_id, cardinality(skus) > 0);
  end if;
  return skus;
end
$$;

-- The orders among these whose payment is there already. For group commerce.
create or replace function payments.paid_among(order_ids text[]) returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(array_agg(p.order_id::text order by p.order_id), '{}') from payments.payments p
  where p.tenant_id = platform.tenant() and p.order_id = any(order_ids) and p.status = 'succeeded'
$$;

call platform.hand_over('payments', 'fusion_payments');

grant execute on function payments.paid_among to fusion_group_commerce;
