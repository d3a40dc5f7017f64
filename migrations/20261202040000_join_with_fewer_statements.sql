-- Services append several events in one statement, and deliver each to the sinks of its topic.
grant select (topic) on platform.events
  to fusion_catalog, fusion_inventory, fusion_orders, fusion_group_commerce, fusion_payments, fusion_shipping;
-- Room for HOT updates: a team's row changes with each join.
alter table group_commerce.teams set (fillfactor = 70);
-- A place is stored by the statement that has just taken it in the team's row, and teams are never deleted: the look-up
-- of a foreign key would find nothing else. (Campaigns have none for the same reason.)
alter table group_commerce.participants drop constraint participants_team_id_fkey;
-- No query can use the first one, because states are passed to them. Payments of places are found through the places.
drop index group_commerce.idx_participants_unsettled, payments.idx_payments_campaign;
