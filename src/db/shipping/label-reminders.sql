-- requires: platform/access.sql, platform/events.sql, platform/set-aside.sql, shipping/shipments.sql
-- Label requests whose message was lost. Lock order: the order; its requests change only under the order's lock.

-- The cron: emits a new message for label requests that were not tried for `idleSeconds`. The queue never waits that
-- long, so their message must be lost. `input`: {idleSeconds, limit, most}. Returns {reminded}. Emits
-- shipping.label.requested.
create or replace function shipping.remind_labels(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  excluded_ids text[];
  lost record;
  result jsonb;
  reminded integer := 0;
begin
  perform platform.enter_as(call, '*');
  excluded_ids := platform.keys_set_aside('remind-labels');
  for lost in
    select d.tenant_id, array_agg(distinct d.order_id::text) as orders from (
      select w.tenant_id, w.order_id
      from platform.tenants_with_rows('shipping.label_requests', 'status = ''open''') t(id)
      cross join lateral ( -- of each tenant in turn
        select r.tenant_id, r.order_id, r.tried_at, row_number() over (order by r.tried_at) as turn
        from shipping.label_requests r
        where r.tenant_id = t.id and r.status = 'open'
          and r.tried_at <= platform.clock() - make_interval(secs => (input->>'idleSeconds')::int)
          and coalesce(r.leased_until <= platform.clock(), true) and r.attempts < (input->>'most')::int
          and r.order_id <> all(excluded_ids)
        order by r.tried_at limit (input->>'limit')::int
      ) w
      order by w.turn, w.tried_at limit (input->>'limit')::int
    ) d group by d.tenant_id order by d.tenant_id
  loop
    for result in select jsonb_array_elements(
      platform.process_rows('remind-labels', 'shipping.remind_labels_step', lost.tenant_id, lost.orders, input))
    loop
      reminded := reminded + (result->>'reminded')::int;
    end loop;
  end loop;
  return jsonb_build_object('reminded', reminded);
end
$$;

-- The step of remind_labels for one tenant. Locks the orders by id, one after the other.
create or replace function shipping.remind_labels_step(order_ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  id text;
  reminded integer := 0;
begin
  foreach id in array order_ids loop
    perform orders.lock_order(id);
    update shipping.label_requests x set tried_at = platform.clock()
    where x.order_id = id and x.status = (select 'open')
      and x.tried_at <= platform.clock() - make_interval(secs => (input->>'idleSeconds')::int);
    if found then
      perform platform.emit('shipping.label.requested', id, jsonb_build_object('orderId', id), true);
      reminded := reminded + 1;
    end if;
  end loop;
  return jsonb_build_object('reminded', reminded);
end
$$;

call platform.set_owner('shipping', 'fusion_shipping');

grant execute on function shipping.remind_labels to fusion_worker;
