-- Refunds of single lines, and returns.

-- Of a refund by lines: [{lineId, quantity, amount, restocked}] and the part of `amount` that is shipping. Null: a refund
-- of an amount. `restocked`: the units of the line that went back into stock with it.
alter table payments.refunds
  add column items jsonb,
  add column shipping numeric(10,2) constraint refunds_shipping_within check (shipping between 0 and amount);

-- The units of each SKU that are back in stock although the order was paid. Null: none of a committed reservation, all of
-- a released one.
alter table inventory.reservations add column restocked integer[];

-- Of each of `items`, beside `refunded_quantities`: the money that was refunded for these units, and those of them that
-- came back and were refunded with their return.
alter table orders.orders
  add column refunded_amounts numeric(10,2)[],
  add column returned_quantities integer[];

create table orders.returns (
  id varchar primary key,
  tenant_id varchar not null,
  order_id varchar not null references orders.orders (id),
  status varchar not null constraint returns_status check (status in ('requested', 'received', 'cancelled')),
  items jsonb not null,                       -- [{lineId, quantity, restock, received}]; `received`: null until it is received
  reason varchar,
  shipping jsonb,                             -- what to refund of the shipping: true (all that is left), an amount, or null
  refund_id varchar,                          -- its latest refund; null if there was nothing to refund
  created_at timestamptz not null,
  received_at timestamptz,
  updated_at timestamptz not null,
  constraint returns_received check ((status = 'received') = (received_at is not null)),
  constraint returns_refund check (refund_id is null or status = 'received')
);
create index idx_returns_tenant_id on orders.returns (tenant_id, id desc);
create index idx_returns_order_id on orders.returns (order_id);
create index idx_returns_refund_id on orders.returns (refund_id) where refund_id is not null;

alter table orders.returns enable row level security;
alter table orders.returns force row level security;
create policy tenant on orders.returns
  using (case when tenant_id = current_setting('app.tenant_id', true) then true end is not null)
  with check (tenant_id = current_setting('app.tenant_id', true));

grant select, insert, update on orders.returns to fusion_orders;
grant select on orders.returns to fusion_reader;
grant select on payments.refunds to fusion_orders;
