-- requires: platform/access.sql, orders/terms.sql
-- Uses of discounts. Only a discount with a limit has counters: one row for `usageLimit`, and one a customer for
-- `perCustomerLimit`. An order's uses count from placing until it fails or is cancelled. Lock order: the order, then
-- counters by discount, then those of customers, then stock.

-- Locks the counters that these orders use, before any of them changes.
create or replace function orders.lock_uses(order_ids text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  uses orders.discount_uses[];
begin
  uses := array(select u from orders.discount_uses u where u.order_id = any(order_ids));
  if cardinality(uses) > 0 then
    perform 1 from orders.discount_counters c
      where c.discount_id = any(array(select u.discount_id from unnest(uses) u)) order by c.discount_id for update;
    perform 1 from orders.discount_customers c
      where (c.discount_id, c.customer_key) in (select u.discount_id, u.customer_key from unnest(uses) u)
      order by c.discount_id, c.customer_key for update;
  end if;
end
$$;

-- Takes the uses that an order's rows in discount_uses record, all or none of them as the transaction commits. Returns
-- the id of a discount that has no use left, or null. The conditions on `used` decide under the counters' locks.
create or replace function orders.count_uses(order_id varchar) returns varchar
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  item record;
begin
  for item in
    select u.discount_id, u.customer_key, d.usage_limit, d.per_customer_limit, u.tenant_id
    from orders.discount_uses u join orders.discounts d on d.id = u.discount_id
    where u.order_id = count_uses.order_id order by u.discount_id
  loop
    if item.usage_limit is not null then
      update orders.discount_counters c set used = c.used + 1
      where c.discount_id = item.discount_id and c.used < item.usage_limit;
      if not found then
        return item.discount_id;
      end if;
    end if;
  end loop;
  for item in
    select u.discount_id, u.customer_key, d.per_customer_limit, u.tenant_id
    from orders.discount_uses u join orders.discounts d on d.id = u.discount_id
    where u.order_id = count_uses.order_id and d.per_customer_limit is not null order by u.discount_id
  loop
    insert into orders.discount_customers as c (discount_id, customer_key, tenant_id, used)
    values (item.discount_id, item.customer_key, item.tenant_id, 1)
    on conflict on constraint discount_customers_once do update set used = c.used + 1
    where c.used < item.per_customer_limit;
    if not found then
      return item.discount_id;
    end if;
  end loop;
  return null;
end
$$;

-- Takes a use of each discount with a limit that has lowered the order's total. `discounts`: as an order freezes them.
-- Raises discount_invalid if another order has taken the last use meanwhile: then nothing of the order is kept.
create or replace function orders.take_uses(order_id varchar, discounts jsonb, customer_key varchar) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  exhausted varchar;
begin
  insert into orders.discount_uses (order_id, discount_id, tenant_id, customer_key, is_taken)
  select take_uses.order_id, d.id, d.tenant_id, take_uses.customer_key, true
  from orders.discounts d
  where d.id = any(array(select e->>'id' from jsonb_array_elements(discounts) e where (e->>'amount')::numeric > 0))
    and (d.usage_limit is not null or d.per_customer_limit is not null)
  for share; -- while the limits of a discount change, its uses are counted anew
  if found then
    exhausted := orders.count_uses(order_id);
    if exhausted is not null then
      perform platform.fail('discount_invalid', (select jsonb_build_object('reason',
        format('The discount "%s" has been used up.', coalesce(d.code, d.name)))
        from orders.discounts d where d.id = exhausted));
    end if;
  end if;
end
$$;

-- Takes the uses of an order again whose money arrived after it had failed. Returns false if one of them is gone; the
-- counters are then as before.
create or replace function orders.retake_uses(order_id varchar) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  update orders.discount_uses u set is_taken = true where u.order_id = retake_uses.order_id and not u.is_taken;
  if found and orders.count_uses(order_id) is not null then
    raise exception using errcode = 'check_violation', message = 'a discount has no use left';
  end if;
  return true;
exception when check_violation then -- undoes what this block has counted
  return false;
end
$$;

-- Gives the uses of ended orders back, those of all of them in one order of locks.
create or replace function orders.return_uses(order_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  uses orders.discount_uses[];
begin
  uses := array(select u from orders.discount_uses u where u.order_id = any(order_ids) and u.is_taken);
  if cardinality(uses) = 0 then
    return;
  end if;
  perform orders.lock_uses(order_ids);
  update orders.discount_uses u set is_taken = false where u.order_id = any(order_ids) and u.is_taken;
  update orders.discount_counters c set used = c.used - n.n
  from (select u.discount_id, count(*)::int as n from unnest(uses) u group by 1) n
  where c.discount_id = n.discount_id and c.used >= n.n;
  update orders.discount_customers c set used = c.used - n.n
  from (select u.discount_id, u.customer_key, count(*)::int as n from unnest(uses) u group by 1, 2) n
  where c.discount_id = n.discount_id and c.customer_key = n.customer_key and c.used >= n.n;
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.lock_uses to fusion_payments;
