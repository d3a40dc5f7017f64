-- requires: platform/access.sql, platform/set-aside.sql, payments/stripe-events.sql, inventory/reservations.sql
-- Holds that are over: their time has passed, and they can end.

-- Locks the reservations of these orders by order id and returns the orders whose hold is still over. A payment, or a
-- debit that started in the meantime, may have moved its end. The caller has locked the orders. For orders.
create or replace function inventory.lock_due_holds(order_ids text[]) returns text[]
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with locked as materialized (
    select r.order_id, r.status, r.expires_at from inventory.reservations r
    where r.order_id = any(order_ids) order by r.order_id for update
  )
  select coalesce(array_agg(l.order_id::text order by l.order_id), '{}') from locked l
  where l.status = 'held' and l.expires_at <= platform.clock()
$$;

-- Finds up to `most` holds whose time is over, of each tenant in turn: [{tenant, orders}]. A hold whose payment may
-- have been paid does not end until the events of its account at Stripe are read past its end, or it was looked up.
-- `undecided` finds those holds instead.
create or replace function inventory.pick_holds(most integer, undecided boolean) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan set enable_seqscan = off as $$
declare
  due jsonb;
  excluded_ids text[];
begin
  perform platform.act_as('*');
  if not undecided then -- a row that was set aside may have ended in another way since
    perform platform.clear_set_aside('expire-holds', array(
      select k from unnest(platform.keys_to_retry('expire-holds', 1000)) k
      where not exists (select from inventory.reservations r where r.order_id = k and r.status = 'held')));
  end if;
  excluded_ids := case when undecided then '{}' else platform.keys_set_aside('expire-holds')
    || payments.orders_set_aside() end;
  select coalesce(jsonb_agg(jsonb_build_object('tenant', d.tenant_id, 'orders', d.orders) order by d.tenant_id), '[]')
  into due
  from (
    select r.tenant_id, array_agg(r.order_id order by r.order_id) as orders
    from (
      select h.tenant_id, h.order_id
      from platform.tenants_with_rows('inventory.reservations', 'status = ''held''') t(id)
      cross join lateral (
        select w.*, row_number() over (order by w.expires_at) as turn
        from (
          -- Bounded, because any number of holds can wait while Stripe is unavailable.
          select v.tenant_id, v.order_id, v.expires_at from inventory.reservations v
          where v.tenant_id = t.id and v.status = 'held' and v.expires_at <= platform.clock()
            and v.order_id <> all(excluded_ids)
          order by v.expires_at limit 10 * most
        ) w
        where undecided = payments.awaits_stripe(w.order_id, w.expires_at)
        limit most
      ) h
      order by h.turn, h.expires_at limit most
    ) r group by r.tenant_id
  ) d;
  return due;
end
$$;

-- Holds that end now. For the cron job of orders.
create or replace function inventory.due_holds(most integer) returns jsonb
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select inventory.pick_holds(most, false)
$$;

-- Holds that are over but wait until Stripe says whether they were paid. For payments, which looks them up.
create or replace function inventory.undecided_holds(most integer) returns jsonb
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select inventory.pick_holds(most, true)
$$;

call platform.set_owner('inventory', 'fusion_inventory');

grant execute on function inventory.lock_due_holds, inventory.due_holds to fusion_orders;
grant execute on function inventory.undecided_holds to fusion_payments;
