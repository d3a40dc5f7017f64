-- Services append several events in one statement, and deliver each to the sinks of its topic.
grant select (topic) on platform.events
  to fusion_catalog, fusion_inventory, fusion_orders, fusion_group_commerce, fusion_payments, fusion_shipping;
-- Room for HOT updates: a team's row changes with each join.
alter table group_commerce.teams set (fillfactor = 70);
