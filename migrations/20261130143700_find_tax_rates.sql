-- What a tax rate is found by. With `tenant_id` in a condition, a plan for a small table would read all rates of the
-- tenant, because the index of the list begins with it too.

alter table orders.tax_rates add column lookup_key varchar generated always as
  (tenant_id || ' ' || country || ' ' || coalesce(region, '') || ' ' || coalesce(category, '')) stored;
drop index orders.tax_rates_once;
create unique index tax_rates_once on orders.tax_rates (lookup_key);
