-- An order whose refund failed is shipped with another label: its first one was cancelled. It has one live shipment at most.
create unique index shipments_one_live_an_order on shipping.shipments (order_id) where cancelled_at is null;
drop index shipping.shipments_one_an_order;
