-- What orders hold must always fit back: a release that overflowed the count could never end, nor the cron behind it.
alter table inventory.inventory
  add constraint inventory_units_fit check (quantity::bigint + reserved <= 2147483647);
