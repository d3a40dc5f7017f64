-- requires: platform/access.sql, orders/shoppers.sql, group-commerce/shoppers.sql, payments/payments.sql
-- What shoppers read of payments: see orders/shoppers.sql.

-- Whether the caller may reach the payment: by its order, or by its place in a campaign, which has no order at first.
create or replace function payments.may_reach(payment payments.payments) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return platform.shopper() is null or orders.may_reach_order_id(payment.order_id)
    or payment.campaign_id is not null and group_commerce.may_reach_place(payment.order_id);
end
$$;

-- One payment. `input`: {id}. Raises not_found, also for a payment that is not the caller's.
create or replace function payments.show_payment(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'payments:read', '{publishable,session}');
  payment payments.payments;
begin
  select * into payment from payments.payments p where p.payment_id = input->>'id';
  if not found or not payments.may_reach(payment) then
    perform platform.fail('not_found');
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', payments.payment_json(payment));
end
$$;

call platform.set_owner('payments', 'fusion_payments');

grant execute on function payments.show_payment to fusion_worker;
