-- Who computes the tax of a tenant's carts and orders: its own rates, or Stripe Tax. A cart keeps the latest answer.
alter table platform.tenants
  add column tax_provider varchar not null default 'table' constraint tenants_tax_provider check (tax_provider in ('table', 'stripe'));
alter table orders.carts
  add column tax_quote jsonb; -- {key, calculationId, expiresAt, lines: [{id, amount}], shipping, taxLines}
grant update (tax_provider) on platform.tenants to fusion_platform;
grant select (tax_provider, stripe_account) on platform.tenants to fusion_orders;
grant select (id, tax_provider) on platform.tenants to fusion_group_commerce;
