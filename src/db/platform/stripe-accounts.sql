-- requires: platform/access.sql, platform/moves.sql, platform/set-aside.sql
-- The tenant's own account at Stripe: it is made once, waits in `stripe_pending` until Stripe lets it take payments,
-- and is then the tenant's `stripe_account`. Another account replaces it only by hand.

-- Begins POST /v1/tenant/stripe-account. Returns {account, storefrontUrl, country}; account is null until one was made.
create or replace function platform.open_stripe_account(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'tenant:write', 'tenant.stripeAccount');
begin
  if replay is not null then
    return replay;
  end if;
  return (select jsonb_build_object('tenant', t.id, 'replayed', false, 'answer', jsonb_build_object(
      'account', coalesce(t.stripe_account, t.stripe_pending), 'storefrontUrl', t.storefront_url, 'country', t.country))
    from platform.tenants t where t.id = platform.tenant());
end
$$;

-- Stores the account of a tenant that has none, and lets it take payments once Stripe does. A tenant keeps its first
-- account: a concurrent call that made another one changes nothing. Returns the account of the tenant.
create or replace function platform.keep_stripe_account(tenant varchar, account varchar, is_enabled boolean)
  returns varchar
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  update platform.tenants t
  set stripe_account = case when is_enabled then account end, stripe_pending = case when not is_enabled then account end,
      version = platform.next_version(t.version), updated_at = platform.clock()
  where t.id = tenant and t.stripe_account is null and coalesce(t.stripe_pending, account) = account
    and (t.stripe_pending is null or is_enabled);
  return (select coalesce(t.stripe_account, t.stripe_pending) from platform.tenants t where t.id = tenant);
end
$$;

-- Ends POST /v1/tenant/stripe-account. `input`: {account, isEnabled, url, expiresAt}. If the tenant has another
-- account, returns {account} alone: the Worker then asks Stripe for a link of that one.
create or replace function platform.record_stripe_account(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'tenant:write', 'tenant.stripeAccount');
  account varchar;
begin
  if replay is not null then
    return replay;
  end if;
  account := platform.keep_stripe_account(platform.tenant(), input->>'account', (input->>'isEnabled')::boolean);
  if account <> input->>'account' then
    return jsonb_build_object('tenant', platform.tenant(), 'replayed', false,
      'answer', jsonb_build_object('account', account));
  end if;
  return platform.leave(call, 'tenant.stripeAccount', jsonb_build_object('account', account, 'url', input->'url',
    'expiresAt', input->'expiresAt'));
end
$$;

-- Applies Stripe's event about an account, in the cell that has its tenant. `input`: {account, tenant, isEnabled?,
-- isWithdrawn?}. `tenant`: the one in the account's metadata, null for an account that we did not make. Returns
-- {outcome, tenant}: applied, or unknown if no tenant of this cell has the account.
create or replace function platform.apply_stripe_account(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  account constant varchar := input->>'account';
  tenant varchar;
begin
  perform platform.enter_to_find(call);
  select t.id into tenant from platform.tenants t where t.stripe_account = account or t.stripe_pending = account;
  if tenant is null or tenant <> coalesce(input->>'tenant', tenant) then
    return jsonb_build_object('outcome', 'unknown');
  end if;
  perform platform.refuse_away(tenant); -- also after the purge of its rows, because its row in this table stays
  perform platform.act_as(tenant);
  if (input->>'isEnabled')::boolean then
    perform platform.keep_stripe_account(tenant, account, true);
  end if;
  if (input->>'isWithdrawn')::boolean then
    perform platform.report_problem('stripe', account, 'account.application.deauthorized', account,
      jsonb_build_object('stripeAccount', account),
      'Stripe gives no access to this account any more. Orders cannot be paid, and refunds wait. Connect the account again, then replay the dead letters of its refunds.');
  end if;
  return jsonb_build_object('outcome', 'applied', 'tenant', tenant);
end
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.open_stripe_account, platform.record_stripe_account, platform.apply_stripe_account
  to fusion_worker;
