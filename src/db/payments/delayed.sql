-- requires: payments/payments.sql, inventory/campaign-holds.sql
-- Payments that settle later, such as bank debits: Stripe reports `processing` for days before it reports the result.

-- Keeps the units of a payment that is `processing` until Stripe has decided it. After a failure the buyer has the usual
-- time again to pay in another way. `terms`: {holdSeconds, secureSeconds, graceSeconds}; an older Worker sends none.
-- The caller has locked the place, the order and the payment; `p` is the payment before this news.
create or replace function payments.follow_debit(p payments.payments, now_status text, terms jsonb) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  decided constant boolean := now_status is distinct from 'processing';
begin
  if decided and coalesce(p.stripe_status, '') not in ('processing', 'setup_processing') then
    return;
  end if;
  if p.campaign_id is not null then
    perform group_commerce.await_money(p.order_id, decided, coalesce((terms->>'secureSeconds')::int, 600),
      coalesce((terms->>'graceSeconds')::int, 900));
  else
    perform inventory.keep_until(array[p.order_id::text], case when decided
      then platform.clock() + make_interval(secs => coalesce((terms->>'holdSeconds')::int, 900)) else 'infinity' end);
  end if;
end
$$;

call platform.hand_over('payments', 'fusion_payments');
