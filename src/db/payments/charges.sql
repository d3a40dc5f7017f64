-- requires: platform/access.sql, payments/payments.sql
-- Charges of saved payment methods: asked for by the Worker, and looked up at Stripe.

-- Records that the saved method of a place is about to be charged. `input`: {tenant, id}. Returns {ended: true} if the
-- payment must not be charged any more, otherwise {task, again}; `again`: a charge was requested before, so one may
-- exist. Locks the payment, so that the end of its order comes either before or after this call.
create or replace function payments.ask_charge(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  payment payments.payments;
  may_exist boolean;
begin
  perform platform.enter_as(call, input->>'tenant');
  select * into payment from payments.payments x
    where x.payment_id = input->>'id' for update;
  if not found or payment.status <> 'pending' or not payment.capture_asked then
    return jsonb_build_object('ended', true);
  end if;
  may_exist := payment.charge_asked_at is not null or payment.attempt > 1;
  update payments.payments x set charge_asked_at = platform.clock() where x.payment_id = payment.payment_id
    returning * into payment;
  return jsonb_build_object('task', payments.intent_task(payment), 'again', may_exist);
end
$$;

-- Records that all charges of these payments' customers were looked up and applied. `input`: {tenant, payments: [id]}.
create or replace function payments.note_charges(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, input->>'tenant');
  update payments.payments x set charges_looked_at = platform.clock()
  where x.payment_id = any(array(select jsonb_array_elements_text(input->'payments')));
  return '{}';
end
$$;

call platform.set_owner('payments', 'fusion_payments');

grant execute on function payments.ask_charge, payments.note_charges to fusion_worker;
