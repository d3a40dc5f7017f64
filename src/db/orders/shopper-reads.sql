-- requires: platform/access.sql, platform/events.sql, orders/shoppers.sql, orders/orders.sql, orders/customers.sql
-- What shoppers read. A secret key reads as fusion_reader, whose policies know tenants and scopes; these functions
-- check each row instead. A row that is not the caller's raises not_found.

-- One order. `input`: {id}.
create or replace function orders.show_order(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'orders:read', '{publishable,session}');
begin
  if not orders.may_reach_order_id(input->>'id') then
    perform platform.fail('not_found');
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', orders.read_order(input->>'id'));
end
$$;

-- A page of the orders of a session's customer, newest first. `input`: {customerId?, status?, organizationId?, before?,
-- limit}. Raises forbidden for another `customerId`. The answer is an array of orders.
create or replace function orders.show_orders(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'orders:read', '{session}');
  customer constant varchar := platform.shopper()->>'customer';
  answer jsonb;
begin
  if coalesce(input->>'customerId', customer) is distinct from customer or customer is null then
    perform platform.fail('forbidden', jsonb_build_object('reason',
      'A customer session lists the orders of its own customer: leave out customerId.'));
  end if;
  select coalesce(jsonb_agg(orders.order_json(c.row, orders.hold_json(r), p, s) order by c.id desc), '[]') into answer
  from (
    select o.id, o as row from orders.orders o
    where o.tenant_id = api_key.tenant_id and o.customer_id = customer
      and (input->>'status' is null or o.status = input->>'status')
      and (input->>'organizationId' is null or o.organization_id = input->>'organizationId')
      and (input->>'before' is null or o.id < input->>'before')
    order by o.id desc limit (input->>'limit')::int
  ) c
  left join inventory.reservations r on r.order_id = c.id
  left join lateral orders.payment_of(c.id) p on true
  left join lateral orders.shipment_of(c.id) s on true;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', answer);
end
$$;

-- A page of an order's history, oldest event first. `input`: {id, after?, limit}. The answer is [{event, seq}].
create or replace function orders.show_history(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'orders:read', '{publishable,session}');
begin
  if not orders.may_reach_order_id(input->>'id') then
    perform platform.fail('not_found');
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', platform.history_of(
    array(select input->>'id' union all select p.payment_id from payments.payments p where p.order_id = input->>'id'),
    (input->>'after')::bigint, (input->>'limit')::int));
end
$$;

-- The customer of a session. `input`: {id}. Without `metadata`, which is the merchant's.
create or replace function orders.show_customer(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'customers:read', '{session}');
  answer jsonb;
begin
  select orders.customer_json_for_caller(c) || jsonb_build_object('version', c.version) into answer
  from orders.customers c where c.id = input->>'id' and orders.may_reach_customer(c);
  if not found then
    perform platform.fail('not_found');
  end if;
  return jsonb_build_object('tenant', api_key.tenant_id, 'replayed', false, 'answer', answer);
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.show_order, orders.show_orders, orders.show_history, orders.show_customer
  to fusion_worker;
