-- requires: orders/customers.sql, orders/orders.sql, platform/access.sql, platform/idempotency.sql, platform/erasure.sql, platform/events.sql, orders/terms.sql, orders/carts/pricing.sql, group-commerce/erasure.sql, shipping/erasure.sql
-- Erasing and exporting what is stored about a customer.

-- Erases a customer: the customer itself and its sessions, and the e-mail, names, addresses and metadata in its orders,
-- carts, places and labels, and in the answers that are stored for idempotency keys. Ids, amounts and events stay. The
-- customer's orders have its id or belong to its carts. `input`: {id}. Raises not_found; conflict while an order is
-- not finished or a place in a campaign is open. Locks the customer, its carts, places and orders by id. Emits
-- customer.erased.
create or replace function orders.erase_customer(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'customers:write', 'customers.erase');
  customer orders.customers;
  cart_ids text[];
  order_ids text[];
  unfinished varchar;
begin
  if replay is not null then
    return replay;
  end if;
  select * into customer from orders.customers c where c.id = input->>'id' for update;
  if not found then
    perform platform.fail('not_found');
  end if;
  cart_ids := array(select c.id from orders.carts c
    where c.tenant_id = customer.tenant_id and c.customer_id = customer.id order by c.id for update);
  if not group_commerce.erase_places(customer.id) then
    perform platform.fail('conflict', jsonb_build_object('reason',
      'The customer has a place in a campaign that is not finished. Leave the campaign or wait for its end.'));
  end if;
  order_ids := array(select o.id from orders.orders o
    where o.tenant_id = customer.tenant_id and (o.customer_id = customer.id or o.cart_id = any(cart_ids))
    order by o.id for update);
  select o.id into unfinished from orders.orders o
  where o.id = any(order_ids) and o.status in ('created', 'confirmed') limit 1;
  if found then
    perform platform.fail('conflict', jsonb_build_object('reason',
      format('The order %s is not finished. Ship or cancel it first.', unfinished)));
  end if;
  update orders.orders o
  set customer_id = customer.id, email = null, metadata = null, shipping_address = null, billing_address = null, updated_at = platform.clock()
  where o.id = any(order_ids);
  update orders.carts c
  set email = null, phone = null, metadata = '{}', shipping_address = null, billing_address = null,
      status = case orders.cart_status(c, (select o.status from orders.orders o where o.id = c.order_id))
        when 'open' then 'cancelled' else c.status end,
      version = platform.next_version(c.version), updated_at = platform.clock()
  where c.id = any(cart_ids);
  update orders.returns r set reason = null where r.order_id = any(order_ids);
  perform orders.forget_customer_key(orders.customer_key(customer.email, null));
  perform shipping.erase_labels(order_ids);
  perform platform.erase_answers(cart_ids || customer.id::text);
  delete from orders.customers c where c.id = customer.id; -- with its sessions (customer_sessions_customer_id_fkey)
  perform platform.emit('customer.erased', customer.id, jsonb_build_object('customerId', customer.id), true);
  return platform.leave(call, 'customers.erase', jsonb_build_object('id', customer.id));
end
$$;

-- Replaces the hash of a customer in the counters of discounts with a random one: the uses still count, and the e-mail
-- cannot be guessed from the hash.
create or replace function orders.forget_customer_key(old_key varchar) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  new_key constant varchar := encode(sha256(uuid_send(gen_random_uuid())), 'hex');
begin
  update orders.discount_uses u set customer_key = new_key
  where u.tenant_id = platform.tenant() and u.customer_key = old_key;
  update orders.discount_customers c set customer_key = new_key
  where c.tenant_id = platform.tenant() and c.customer_key = old_key;
end
$$;

-- Everything that is stored about a customer, for an export. `input`: {id, before?, limit}. Returns {customer, carts,
-- places, waiting, orders}: the orders newest first, `limit` of them below the id `before`; the others only without
-- `before`. Raises not_found.
create or replace function orders.export_customer(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'customers:read');
  customer orders.customers;
  cart_ids text[];
  answer jsonb;
begin
  select * into customer from orders.customers c where c.id = input->>'id';
  if not found then
    perform platform.fail('not_found');
  end if;
  cart_ids := array(select c.id from orders.carts c
    where c.tenant_id = customer.tenant_id and c.customer_id = customer.id);
  answer := jsonb_build_object('orders', (
    select coalesce(jsonb_agg(orders.read_order(x.id) order by x.id desc), '[]')
    from (
      select o.id from orders.orders o where o.tenant_id = customer.tenant_id and o.customer_id = customer.id
        and (input->>'before' is null or o.id < input->>'before')
      union
      select o.id from orders.orders o where o.cart_id = any(cart_ids) and (input->>'before' is null or o.id < input->>'before')
      order by 1 desc limit (input->>'limit')::int
    ) x));
  if input->>'before' is null then
    answer := answer || jsonb_build_object('customer', orders.customer_json(customer),
      'carts', (select coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'status', c.status, 'currency', c.currency,
          'items', c.items, 'email', c.email, 'phone', c.phone, 'shippingAddress', c.shipping_address,
          'billingAddress', c.billing_address, 'discountCodes', to_jsonb(c.discount_codes), 'metadata', c.metadata,
          'orderId', c.order_id, 'createdAt', platform.iso(c.created_at), 'updatedAt', platform.iso(c.updated_at))
          order by c.id desc), '[]') from orders.carts c where c.id = any(cart_ids)),
      'places', group_commerce.export_places(customer.id), 'waiting', group_commerce.export_waiting(customer.id));
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'answer', answer, 'replayed', false);
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.erase_customer, orders.export_customer to fusion_worker;
