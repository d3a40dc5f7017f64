-- requires: platform/access.sql
-- What a customer's session may reach of group commerce.

-- Whether the place with this order is the caller's: a secret key reaches every place of its tenant, a session those of
-- its customer. For payments: a place has a payment before it has an order.
create or replace function group_commerce.may_reach_place(order_id varchar) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select platform.shopper() is null or exists (select from group_commerce.participants p
    where p.order_id = may_reach_place.order_id and p.user_id = platform.shopper()->>'customer')
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.may_reach_place to fusion_payments;
