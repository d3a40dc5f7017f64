-- requires: platform/access.sql, platform/set-aside.sql, payments/payments.sql
-- Work to be done at Stripe: the payments and refunds that need a request, and what was looked up.

-- Finds work to do at Stripe. `input`: {tenant, paymentIds}, or from the cron {idleSeconds, limit}, which takes each
-- tenant in turn. Returns {intents: [task], refunds: [{…}]}. `intents`: payments that have no intent, are pending, must
-- be closed after their end (their intent may be unknown), or have refunds at Stripe that we have not seen. `refunds`:
-- refunds to make or look up; with `mayExist` an earlier attempt may have made it, and Stripe forgets an idempotency
-- key after 24 hours. The cron first gets payments whose hold is over but cannot end until Stripe says whether they
-- were paid, then those whose last lookup is the oldest.
create or replace function payments.open_work(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan set enable_seqscan = off as $$
declare
  ids text[] := array(select jsonb_array_elements_text(input->'paymentIds'));
  refund_ids text[];
  all_tenants constant boolean := not input ? 'tenant';
  max_rows constant integer := (input->>'limit')::int;
  idle_since timestamptz;
  urgent_order_ids text[] := '{}';
  excluded_ids text[] := '{}';
  intents jsonb;
  refunds jsonb;
begin
  perform platform.enter_as(call, coalesce(input->>'tenant', '*'));
  idle_since := platform.clock() - make_interval(secs => (input->>'idleSeconds')::int);
  if all_tenants then
    -- A webhook may have ended a row since it was set aside.
    perform platform.clear_set_aside('reconcile-payments', array(
      select k from unnest(platform.keys_to_retry('reconcile-payments', 1000)) k
      where not exists (select from payments.payments p where p.payment_id = k
          and (p.status = 'pending' or p.intent_open or p.refunds_told > p.refund_done))
        and not exists (select from payments.refunds r where r.id = k and r.status = 'pending')));
    excluded_ids := platform.keys_set_aside('reconcile-payments');
    urgent_order_ids := array(select jsonb_array_elements_text(d->'orders')
      from jsonb_array_elements(inventory.undecided_holds(max_rows)) d)
      || group_commerce.undecided_places(max_rows);
    ids := array(
      select p.payment_id::text from unnest(urgent_order_ids) o(id) join payments.payments p on p.order_id = o.id
      where p.status = (select 'pending') and p.payment_id <> all(excluded_ids))
      || array(
      select w.payment_id::text
      from platform.tenants_with_rows('payments.payments',
        'status = ''pending'' or intent_open or refunds_told > refund_done') t(id)
      cross join lateral (
        select p.payment_id, row_number() over (order by p.checked_at) as turn from payments.payments p
        where p.tenant_id = t.id and p.checked_at <= idle_since and p.payment_id <> all(excluded_ids)
          and (p.status = 'pending' or p.intent_open or p.refunds_told > p.refund_done)
        order by p.checked_at limit max_rows
      ) w order by w.turn, w.payment_id limit max_rows);
    refund_ids := array(
      select w.id::text from platform.tenants_with_rows('payments.refunds', 'status = ''pending''') t(id)
      cross join lateral (
        select r.id, row_number() over (order by r.checked_at) as turn from payments.refunds r
        where r.tenant_id = t.id and r.checked_at <= idle_since and r.status = 'pending' and r.id <> all(excluded_ids)
        order by r.checked_at limit max_rows
      ) w order by w.turn, w.id limit max_rows);
  else
    refund_ids := array(select r.id::text from payments.refunds r where r.payment_id = any(ids)
      and r.status = (select 'pending'));
  end if;
  select coalesce(jsonb_agg(payments.intent_task(p) order by u.place), '[]') into intents
  from (select distinct on (x.id) x.id, x.place from unnest(ids) with ordinality x(id, place) order by x.id, x.place) u
  join payments.payments p on p.payment_id = u.id
    and (p.status = 'pending' or p.intent_open or p.refunds_told > p.refund_done);
  select coalesce(jsonb_agg(jsonb_build_object('id', w.id, 'tenant', w.tenant_id, 'paymentId', w.payment_id,
    'amount', w.amount::text, 'currency', w.currency, 'attempt', w.attempt, 'stripeRefundId', w.stripe_refund_id,
    'mayExist', w.attempt > 1 or w.created_at <= platform.clock() - interval '20 hours',
    'account', p.stripe_account, 'intentId', coalesce(w.stripe_intent_id, p.stripe_payment_intent_id))), '[]')
  into refunds from payments.refunds w join payments.payments p on p.payment_id = w.payment_id
  where cardinality(refund_ids) > 0 and w.id = any(refund_ids) and w.status = (select 'pending');
  return jsonb_build_object('intents', intents, 'refunds', refunds);
end
$$;

-- Records that these rows were looked up at Stripe and nothing changed, so that the cron looks up other rows first.
-- `input`: {tenant, payments: [id], listed: [id], refunds: [id], again: [{id, attempt}], done: [id]}. `listed`: all
-- refunds of these payments at Stripe have been applied; `again`: as in record_intents, for refunds; `done`: rows that
-- were processed and are no longer set aside. Lock order: payments by id, then refunds by id.
create or replace function payments.note_checked(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform platform.enter_as(call, input->>'tenant');
  perform 1 from payments.payments p
    where p.payment_id = any(array(
      select jsonb_array_elements_text(coalesce(input->'payments', '[]') || coalesce(input->'listed', '[]'))))
    order by p.payment_id for update;
  perform 1 from payments.refunds r
    where r.id = any(array(
      select jsonb_array_elements_text(coalesce(input->'refunds', '[]'))
      union select x->>'id' from jsonb_array_elements(coalesce(input->'again', '[]')) x))
    order by r.id for update;
  update payments.payments p set checked_at = platform.clock()
  where p.payment_id = any(array(select jsonb_array_elements_text(input->'payments')));
  update payments.payments p set refunds_told = p.refund_done
  where p.payment_id = any(array(select jsonb_array_elements_text(input->'listed')));
  update payments.refunds r set checked_at = platform.clock()
  where r.id = any(array(select jsonb_array_elements_text(input->'refunds')));
  update payments.refunds r set attempt = r.attempt + 1
  where r.id = any(array(select retry->>'id' from jsonb_array_elements(input->'again') retry))
    and input->'again' @> jsonb_build_array(jsonb_build_object('id', r.id, 'attempt', r.attempt));
  perform platform.clear_set_aside('reconcile-payments', array(select jsonb_array_elements_text(input->'done')));
  return '{}';
end
$$;

call platform.set_owner('payments', 'fusion_payments');

grant execute on function payments.open_work, payments.note_checked to fusion_worker;
