-- requires: platform.sql
-- Holds that have run out.

-- The orders among these whose hold has run out, with their reservations locked. A debit that began meanwhile, or a payment,
-- has moved the hold. The caller has locked the orders. For orders.
create or replace function inventory.still_due(order_ids text[]) returns text[]
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with due as (
    select r.order_id from inventory.reservations r
    where r.tenant_id = platform.tenant() and r.order_id = any(order_ids)
      and r.status = 'held' and r.expires_at <= platform.clock()
    order by r.order_id for update
  )
  select coalesce(array_agg(d.order_id::text order by d.order_id), '{}') from due d
$$;

call platform.hand_over('inventory', 'fusion_inventory');

grant execute on function inventory.still_due to fusion_orders;
