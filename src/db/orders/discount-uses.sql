-- requires: platform/access.sql, orders/terms.sql
-- Uses of discounts. Only a discount with a limit has counters: one row for `usageLimit`, and one a customer for
-- `perCustomerLimit`. An order's uses count from placing until it fails or is cancelled. A counter is always the number
-- of its rows in discount_uses that are taken. Lock order: the order, then its discounts, their counters, the
-- customers' counters, each by id, then stock. Orders share the lock on a discount: it only keeps limits from being
-- added or removed meanwhile (orders.change_limits).

-- Locks the counters of these orders' uses before any of them changes. A function that works on several orders calls
-- this before it locks the stock of the first one. No hash or merge joins, so that each counter is looked up.
create or replace function orders.lock_uses(order_ids text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  uses orders.discount_uses[];
begin
  uses := array(select u from orders.discount_uses u where u.order_id = any(order_ids));
  if cardinality(uses) = 0 then
    return;
  end if;
  perform 1 from orders.discounts d
    where d.id = any(array(select u.discount_id from unnest(uses) u)) order by d.id for key share;
  perform 1 from orders.discount_counters c
    where c.discount_id = any(array(select u.discount_id from unnest(uses) u)) order by c.discount_id for no key update;
  perform 1 from (select distinct u.discount_id, u.customer_key from unnest(uses) u order by 1, 2) u
    cross join lateral (
      select 1 from orders.discount_customers c
      where c.discount_id = u.discount_id and c.customer_key = u.customer_key limit 1 for no key update
    ) c;
end
$$;

-- Counts the uses that an order's rows in discount_uses record. If a limit is reached, returns {discount, fault}, and
-- the caller undoes the others; otherwise null. The conditions on `used` decide under the counters' locks.
create or replace function orders.count_taken_uses(order_id varchar) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  item record;
begin
  for item in
    select u.discount_id, d.usage_limit from orders.discount_uses u join orders.discounts d on d.id = u.discount_id
    where u.order_id = count_taken_uses.order_id and d.usage_limit is not null order by u.discount_id
  loop
    update orders.discount_counters c set used = c.used + 1
    where c.discount_id = item.discount_id and c.used < item.usage_limit;
    if not found then
      return jsonb_build_object('discount', item.discount_id, 'fault', 'used_up');
    end if;
  end loop;
  for item in
    select u.discount_id, u.customer_key, d.per_customer_limit, u.tenant_id
    from orders.discount_uses u join orders.discounts d on d.id = u.discount_id
    where u.order_id = count_taken_uses.order_id and d.per_customer_limit is not null order by u.discount_id
  loop
    insert into orders.discount_customers as c (discount_id, customer_key, tenant_id, used)
    values (item.discount_id, item.customer_key, item.tenant_id, 1)
    on conflict on constraint discount_customers_once do update set used = c.used + 1
    where c.used < item.per_customer_limit;
    if not found then
      return jsonb_build_object('discount', item.discount_id, 'fault', 'used_by_customer');
    end if;
  end loop;
  return null;
end
$$;

-- Takes a use of each discount with a limit that has lowered the order's total. `discounts`: as an order freezes them.
-- If another order has taken the last use since the discounts were found, nothing of this order is kept: raises
-- discount_invalid for a code, and otherwise a serialization failure, so that the call runs again without the discount.
create or replace function orders.take_uses(order_id varchar, discounts jsonb, customer_key varchar) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  gone jsonb;
  discount orders.discounts;
begin
  with counted as (
    select d.id, d.tenant_id from orders.discounts d
    where d.id = any(array(select e->>'id' from jsonb_array_elements(discounts) e where (e->>'amount')::numeric > 0))
      and (d.usage_limit is not null or d.per_customer_limit is not null)
    order by d.id for key share -- no limit is added or removed meanwhile
  )
  insert into orders.discount_uses (order_id, discount_id, tenant_id, customer_key, is_taken)
  select take_uses.order_id, c.id, c.tenant_id, take_uses.customer_key, true from counted c;
  if not found then
    return;
  end if;
  gone := orders.count_taken_uses(order_id);
  if gone is null then
    return;
  end if;
  select * into discount from orders.discounts d where d.id = gone->>'discount';
  if discount.code is null then
    raise exception using errcode = 'serialization_failure', message = 'the last use of a discount was taken meanwhile';
  end if;
  perform platform.fail('discount_invalid', jsonb_build_object('reason',
    orders.discount_refusal(gone->>'fault', discount.code, discount)));
end
$$;

-- Takes the uses of an order again if its money arrived after it had failed, also the uses of a discount that was
-- deleted in the meantime. Returns false, and takes none, if one of them is gone.
create or replace function orders.retake_uses(order_id varchar) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from orders.discount_uses u where u.order_id = retake_uses.order_id and not u.is_taken) then
    return true;
  end if;
  perform orders.lock_uses(array[order_id::text]);
  if exists (
    select from orders.discount_uses u join orders.discounts d on d.id = u.discount_id
    left join orders.discount_counters c on c.discount_id = u.discount_id
    left join orders.discount_customers p on p.discount_id = u.discount_id and p.customer_key = u.customer_key
    where u.order_id = retake_uses.order_id and (c.used >= d.usage_limit or p.used >= d.per_customer_limit)) then
    return false;
  end if;
  update orders.discount_uses u set is_taken = true where u.order_id = retake_uses.order_id;
  perform orders.count_taken_uses(order_id);
  return true;
end
$$;

-- Gives back the uses of ended orders. Locks the counters of all of them together. The caller has locked the orders.
create or replace function orders.return_uses(order_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
begin
  if not exists (select from orders.discount_uses u where u.order_id = any(order_ids) and u.is_taken) then
    return;
  end if;
  perform orders.lock_uses(order_ids);
  with returned as (
    update orders.discount_uses u set is_taken = false where u.order_id = any(order_ids) and u.is_taken
    returning u.discount_id, u.customer_key
  ), counters as (
    update orders.discount_counters c set used = c.used - n.n
    from (select r.discount_id, count(*)::int as n from returned r group by 1) n where c.discount_id = n.discount_id
  )
  update orders.discount_customers c set used = c.used - n.n
  from (select r.discount_id, r.customer_key, count(*)::int as n from returned r group by 1, 2) n
  where c.discount_id = n.discount_id and c.customer_key = n.customer_key;
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.lock_uses to fusion_payments;
