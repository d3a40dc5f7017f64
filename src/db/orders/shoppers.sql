-- requires: platform/access.sql
-- What a caller from a browser may reach: the row of its Cart-Token, and the rows of its session's customer. A secret
-- key reaches every row of its tenant. A function that takes `shoppers` (platform.enter) calls one of these, and raises
-- not_found if it is false, as for a row that does not exist.

create or replace function orders.may_reach_cart(cart orders.carts) returns boolean
language sql stable as $$
  select platform.shopper() is null or coalesce(cart.token_hash = platform.shopper()->>'cartHash', false)
    or coalesce(cart.customer_id = platform.shopper()->>'customer', false)
$$;

create or replace function orders.may_reach_order(o orders.orders) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select platform.shopper() is null or coalesce(o.customer_id = platform.shopper()->>'customer', false)
    or exists (select from orders.carts c where c.id = o.cart_id and c.token_hash = platform.shopper()->>'cartHash')
$$;

-- The same for an order that is named by its id. False if there is no such order.
create or replace function orders.may_reach_order_id(order_id varchar) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce((select orders.may_reach_order(o) from orders.orders o where o.id = may_reach_order_id.order_id), false)
$$;

-- Keeps the customer of a session from being erased until the transaction ends, so that its erasure finds what this
-- transaction writes. The lock is taken before the cart's. Raises unauthenticated if the customer was erased meanwhile.
create or replace function orders.keep_customer(customer varchar) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform 1 from orders.customers c where c.id = customer for key share;
  if not found then
    perform platform.fail('unauthenticated');
  end if;
end
$$;

call platform.set_owner('orders', 'fusion_orders');

grant execute on function orders.may_reach_order, orders.may_reach_order_id to fusion_payments;
grant execute on function orders.may_reach_order_id to fusion_shipping;
