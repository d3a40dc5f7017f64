-- What a buyer pays for a place, with tax and shipping, as it was when the place was taken.
alter table group_commerce.participants
  add column email varchar,
  add column billing_address jsonb,
  add column metadata jsonb,
  add column amounts jsonb; -- as orders.settle_place returns them; null: the campaign's price is all

-- A join asks whether the tenant has tax rates at all.
grant select on orders.tax_rates to fusion_group_commerce;
