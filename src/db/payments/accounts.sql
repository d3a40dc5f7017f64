-- requires: platform/access.sql, platform/moves.sql, platform/set-aside.sql, payments/payments.sql
-- Payments of tenants that have their own account at Stripe. An id of Stripe is unique within an account only.

-- A payment keeps the account on which it was opened. Costs nothing for a change that does not name the column.
create or replace function payments.keep_account() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'the payment % keeps the account % on which it was opened', old.payment_id, old.stripe_account
    using errcode = 'integrity_constraint_violation', constraint = 'payments_keep_account';
end
$$;

do $$
begin
  -- Only if it is missing, because creating a trigger locks its table.
  if not exists (select from pg_trigger t where t.tgname = 'payments_keep_account') then
    create trigger payments_keep_account before update of stripe_account on payments.payments
      for each row when (new.stripe_account is distinct from old.stripe_account)
      execute function payments.keep_account();
  end if;
end
$$;

-- An object of one account names a payment of another in its metadata, which anybody may write on an account of their
-- own. It changes nothing, and is reported to the tenant that has the account, never to the one that it names. The
-- operator's own account is trusted: its objects are reported to the payment's tenant.
create or replace function payments.report_other_account(payment payments.payments, of_account varchar, input jsonb)
  returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  object_id constant text := coalesce(input->>'intentId', input->>'setupId', payment.payment_id);
  sender varchar := payment.tenant_id;
begin
  if of_account is not null then
    select t.id into sender from platform.tenants t where t.stripe_account = of_account;
  end if;
  if sender is not null and not platform.is_away(sender) then
    perform platform.act_as(sender);
    perform platform.report_problem('stripe', concat_ws(' ', of_account, object_id),
      case when input ? 'setup' then 'setup_intent.' else 'payment_intent.' end
        || coalesce(coalesce(input->'intent', input->'setup')->>'status', 'unknown'), payment.payment_id,
      jsonb_strip_nulls(jsonb_build_object('stripeAccount', of_account, 'stripePaymentIntentId', input->'intentId',
        'stripeSetupIntentId', input->'setupId', 'paymentId', payment.payment_id,
        'amount', input->'intent'->'amount', 'currency', input->'intent'->'currency',
        'received', input->'intent'->'received')),
      'account_differs: the payment that this object names in its metadata is not of this Stripe account. Look at it in Stripe and refund it there if the money is not yours to keep.');
  end if;
  return jsonb_strip_nulls(jsonb_build_object('outcome', 'set_aside', 'tenant', sender, 'skus', '[]'::jsonb,
    'reason', 'account_differs'));
end
$$;

-- The accounts whose events the cron reads now, those first whose last turn was the longest ago: accounts with open
-- payments (every ten minutes only while Stripe gives no access), and each other account once an hour. `input`: {limit,
-- recheck}. `recheck`: the accounts whose last days are read again. Returns {accounts: [{tenant, account, readUntil}],
-- again: [{account, eventId}]}; `again`: events that failed before.
create or replace function payments.find_account_readings(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  most constant integer := (input->>'limit')::int;
  accounts jsonb;
begin
  perform platform.enter_as(call, '*');
  if (input->>'recheck')::boolean then
    return jsonb_build_object('accounts', (
      select coalesce(jsonb_agg(jsonb_build_object('tenant', d.tenant_id, 'account', d.account)), '[]')
      from (select r.tenant_id, r.account from payments.account_readings r order by r.rechecked_at limit most) d));
  end if;
  with recursive busy(tenant_id, account) as (
    (select p.tenant_id, p.stripe_account from payments.payments p
      where p.stripe_account is not null and (p.status = 'pending' or p.intent_open or p.refunds_told > p.refund_done)
      order by p.tenant_id, p.stripe_account limit 1)
    union all
    select n.tenant_id, n.stripe_account from busy b cross join lateral (
      select p.tenant_id, p.stripe_account from payments.payments p
      where p.stripe_account is not null and (p.status = 'pending' or p.intent_open or p.refunds_told > p.refund_done)
        and (p.tenant_id, p.stripe_account) > (b.tenant_id, b.account)
      order by p.tenant_id, p.stripe_account limit 1) n
  ), idle as (
    select r.tenant_id, r.account from payments.account_readings r
    where r.tried_at <= platform.clock() - interval '1 hour' order by r.tried_at limit most
  ), due as (
    select d.tenant_id, d.account, r.read_until
    from (select * from busy union select * from idle) d
    left join payments.account_readings r on r.tenant_id = d.tenant_id and r.account = d.account
    where r.withdrawn_at is null or r.tried_at <= platform.clock() - interval '10 minutes'
    order by r.tried_at nulls first, d.account limit most
  )
  select jsonb_agg(jsonb_build_object('tenant', d.tenant_id, 'account', d.account,
    'readUntil', platform.iso(d.read_until))) into accounts from due d;
  return jsonb_build_object('accounts', coalesce(accounts, '[]'), 'again', (
    select coalesce(jsonb_agg(jsonb_build_object('account', split_part(k, ' ', 1), 'eventId', split_part(k, ' ', 2))),
      '[]')
    from unnest(platform.keys_to_retry('hear-accounts', 1000)) k));
end
$$;

-- Records a turn of an account. `input`: {tenant, account, until?, recheck?, withdrawn?}. `until`: all events until
-- this time were read, and applied or set aside; the time never goes back. `withdrawn`: Stripe gives no access to it.
create or replace function payments.note_account_reading(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  now_at timestamptz;
  is_recheck constant boolean := coalesce((input->>'recheck')::boolean, false);
  is_withdrawn constant boolean := coalesce((input->>'withdrawn')::boolean, false);
begin
  perform platform.enter_as(call, input->>'tenant');
  now_at := platform.clock();
  insert into payments.account_readings as r (tenant_id, account, read_until, tried_at, withdrawn_at)
  values (input->>'tenant', input->>'account', (input->>'until')::timestamptz, now_at,
    case when is_withdrawn then now_at end)
  on conflict (tenant_id, account) do update
  set read_until = greatest(r.read_until, excluded.read_until),
      tried_at = case when is_recheck then r.tried_at else now_at end,
      rechecked_at = case when is_recheck then now_at else r.rechecked_at end,
      withdrawn_at = case when is_withdrawn then coalesce(r.withdrawn_at, now_at)
        when input ? 'until' then null else r.withdrawn_at end;
  return '{}';
end
$$;

call platform.set_owner('payments', 'fusion_payments');

grant execute on function payments.find_account_readings, payments.note_account_reading to fusion_worker;
