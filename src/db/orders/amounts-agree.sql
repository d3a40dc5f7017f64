-- requires: orders/totals.sql, orders/refund-amounts.sql
-- The constraint that holds an order's amounts to the cent, and the units and money that were refunded, restocked,
-- returned and sent within what the order has. It is one constraint, because each write of an order prepares every
-- constraint again.

create or replace function orders.amounts_agree(o orders.orders) returns boolean
language plpgsql immutable as $$
begin
  return coalesce((o.subtotal is null) = (o.lines is null)
    and (o.lines is null or o.total = o.subtotal - o.discount_total + o.shipping_total
        + case when o.tax_included then 0 else o.tax_total end
      and orders.lines_agree(o.lines, o.subtotal, o.discount_total, o.tax_total, o.shipping_tax, o.tax_included, o.tax_lines))
    and orders.refunds_within(o.items, o.lines, o.refunded_quantities, o.refunded_amounts, o.restocked_quantities,
      o.returned_quantities, o.shipping_refunded,
      o.shipping_total + case when o.tax_included then 0 else o.shipping_tax end)
    and 0 <= all (coalesce(o.fulfilled_quantities, '{}')), false);
end
$$;

do $$
begin
  if not exists (select from pg_constraint c where c.conname = 'orders_amounts_agree') then
    alter table orders.orders add constraint orders_amounts_agree check (num_nonnulls(subtotal, lines, refunded_quantities,
      refunded_amounts, restocked_quantities, returned_quantities, fulfilled_quantities, shipping_refunded) = 0
      or orders.amounts_agree(orders));
  end if;
end
$$;

call platform.set_owner('orders', 'fusion_orders');
