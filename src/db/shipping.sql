-- requires: platform.sql, events.sql
-- Shipments: one an order.

create or replace function shipping.shipment_json(s shipping.shipments) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', s.id, 'orderId', s.order_id, 'trackingNumber', s.tracking_number,
    'carrier', s.carrier, 'labelUrl', s.label_url, 'status', s.status, 'createdAt', platform.iso(s.created_at))
$$;

call platform.hand_over('shipping', 'fusion_shipping');

grant execute on function shipping.shipment_json to fusion_reader, fusion_orders;
