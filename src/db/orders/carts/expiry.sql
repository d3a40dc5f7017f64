-- requires: platform/access.sql, platform/events.sql, platform/set-aside.sql, orders/carts/carts.sql
-- The end of carts that nobody uses any more, and their deletion. For the cron.

-- Expired carts, of each tenant in turn: [{tenant, carts}]. The caller acts as '*'.
create or replace function orders.due_carts(most integer) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan set enable_seqscan = off as $$
declare
  excluded_ids constant text[] := platform.keys_set_aside('expire-carts');
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('tenant', d.tenant_id, 'carts', d.ids) order by d.tenant_id), '[]')
    from (
      select r.tenant_id, array_agg(r.id order by r.id) as ids
      from (
        select h.tenant_id, h.id
        from platform.tenants_with_rows('orders.carts', 'status in (''open'', ''ordered'')') t(id)
        cross join lateral (
          select v.tenant_id, v.id, v.expires_at, row_number() over (order by v.expires_at) as turn
          from orders.carts v
          where v.tenant_id = t.id and v.status in ('open', 'ordered') and v.expires_at <= platform.clock()
            and v.id <> all(excluded_ids)
          order by v.expires_at limit most
        ) h
        order by h.turn, h.expires_at limit most
      ) r group by r.tenant_id
    ) d);
end
$$;

-- The cron: ends expired carts, `limit` of them in one transaction. Returns {expired, checked}; repeat until `checked`
-- is 0. A cart that another transaction has locked waits for the next run. One that cannot be processed is set aside.
create or replace function orders.expire_carts(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  due jsonb;
  result jsonb;
  expired integer := 0;
  checked integer := 0;
begin
  perform platform.enter_as(call, '*');
  -- A row that was set aside may have ended in another way since.
  perform platform.clear_set_aside('expire-carts', array(
    select k from unnest(platform.keys_to_retry('expire-carts', 1000)) k
    where not exists (select from orders.carts c where c.id = k and c.status in ('open', 'ordered'))));
  for due in select jsonb_array_elements(orders.due_carts((input->>'limit')::int)) loop
    for result in select jsonb_array_elements(platform.process_rows('expire-carts', 'orders.expire_carts_step',
      due->>'tenant', array(select jsonb_array_elements_text(due->'carts')), input))
    loop
      expired := expired + (result->>'expired')::int;
      checked := checked + (result->>'checked')::int;
    end loop;
  end loop;
  return jsonb_build_object('expired', expired, 'checked', checked);
end
$$;

-- The step of expire_carts for one tenant. Locks the carts by id, then their orders by id, so that an order that is
-- paid at this moment is seen. A cart whose order waits for its payment is looked at again in an hour; one whose order
-- was confirmed is completed. Emits cart.expired for the others.
create or replace function orders.expire_carts_step(cart_ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  now_at constant timestamptz := platform.clock();
  carts orders.carts[];
  cart orders.carts;
  expired integer := 0;
  checked integer := 0;
  status_now varchar;
begin
  -- The time is checked again under the lock: a shopper may have changed the cart since.
  carts := array(select c from orders.carts c
    where c.id = any(cart_ids) and c.status in ('open', 'ordered') and c.expires_at <= now_at
    order by c.id for update skip locked);
  perform 1 from orders.orders o
    where o.id = any(array(select c.order_id from unnest(carts) c)) order by o.id for share;
  foreach cart in array carts loop
    checked := checked + 1;
    status_now := orders.cart_status(cart, (select o.status from orders.orders o where o.id = cart.order_id));
    if status_now = 'ordered' then
      update orders.carts c set expires_at = now_at + interval '1 hour' where c.id = cart.id;
    else
      status_now := case status_now when 'open' then 'expired' else status_now end;
      update orders.carts c set status = status_now, version = platform.next_version(c.version),
        updated_at = now_at where c.id = cart.id;
      if status_now = 'expired' then
        expired := expired + 1;
        perform platform.emit('cart.expired', cart.id,
          jsonb_build_object('cartId', cart.id, 'customerId', cart.customer_id), false);
      end if;
    end if;
  end loop;
  return jsonb_build_object('expired', expired, 'checked', checked);
end
$$;

-- The cron: deletes carts that ended 30 days ago, at most `limit` of each tenant. Their orders stay. Returns {purged};
-- repeat until it is 0.
create or replace function orders.purge_carts(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  tenants text[];
  tenant varchar;
  result jsonb;
  purged bigint := 0;
begin
  perform platform.enter_as(call, '*');
  tenants := array(
    select t.id from platform.tenants_with_rows('orders.carts',
      'status in (''completed'', ''cancelled'', ''expired'')') t(id)
    where t.id <> all(platform.keys_set_aside('purge-carts')));
  foreach tenant in array tenants loop
    for result in select jsonb_array_elements(platform.process_rows('purge-carts', 'orders.purge_carts_step', tenant,
      array[tenant::text], input))
    loop
      purged := purged + (result->>'purged')::int;
    end loop;
  end loop;
  return jsonb_build_object('purged', purged);
end
$$;

-- The step of purge_carts for one tenant. `skip locked`: a cart in use waits for the next run.
create or replace function orders.purge_carts_step(tenants text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  purged bigint;
begin
  delete from orders.carts where id = any(array(
    select c.id from orders.carts c
    where c.tenant_id = platform.tenant() and c.status in ('completed', 'cancelled', 'expired')
      and c.updated_at <= platform.clock() - interval '30 days'
    order by c.updated_at limit (input->>'limit')::int for update skip locked));
  get diagnostics purged = row_count;
  return jsonb_build_object('purged', purged);
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.expire_carts, orders.purge_carts to fusion_worker;
