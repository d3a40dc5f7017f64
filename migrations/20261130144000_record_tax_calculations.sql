-- The calculation of Stripe Tax that an order's amounts come from. Its payment names it, so that Stripe reports the tax.
alter table orders.orders add column tax_calculation varchar;
