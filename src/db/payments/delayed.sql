-- requires: payments/payments.sql, inventory/campaign-holds.sql
-- Payments that settle later, such as bank debits. Stripe reports `processing` for days before it reports the result.

-- Keeps the units of a payment that is `processing` until Stripe has decided it. After a failure the buyer has the
-- usual time to pay in another way. `terms`: {holdSeconds, secureSeconds, graceSeconds}, for a tenant without its own;
-- a Worker of an earlier release sends none. The caller has locked the place, the order and the payment; `payment` is
-- its state before this update.
create or replace function payments.update_hold_end(payment payments.payments, new_status text, terms jsonb)
  returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  is_decided constant boolean := new_status is distinct from 'processing';
begin
  if is_decided and coalesce(payment.stripe_status, '') not in ('processing', 'setup_processing') then
    return;
  end if;
  if payment.action_by is not null then
    -- The buyer has confirmed the charge of a saved card, and the bank takes its time.
    perform inventory.keep_until(array[payment.order_id::text], case when is_decided
      then greatest(payment.action_by, platform.clock() + interval '15 minutes') else 'infinity' end);
  elsif payment.campaign_id is not null then
    perform group_commerce.update_secure_by(payment.order_id, is_decided, coalesce((terms->>'secureSeconds')::int, 600),
      coalesce((select t.grace_seconds from platform.tenants t where t.id = payment.tenant_id),
        (terms->>'graceSeconds')::int, 900));
  else
    perform inventory.keep_until(array[payment.order_id::text], case when is_decided
      then platform.clock() + make_interval(secs => coalesce(
        (select t.hold_seconds from platform.tenants t where t.id = payment.tenant_id), (terms->>'holdSeconds')::int, 900))
      else 'infinity' end);
  end if;
end
$$;

call platform.set_owner('payments', 'fusion_payments');
