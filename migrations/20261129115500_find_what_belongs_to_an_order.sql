-- Each row is looked up by its order (a refund by its payment) and its tenant. With one index for both, the planner does not
-- read all rows of a tenant that has grown since it was last analyzed. These tables may be large: docs/deploy.md says how to
-- build their indexes before.
create index if not exists idx_payments_order on payments.payments (order_id, tenant_id);
drop index payments.idx_payments_order_id;
create index if not exists idx_refunds_payment on payments.refunds (payment_id, tenant_id);
drop index payments.idx_refunds_payment_id;
create index if not exists idx_shipments_order on shipping.shipments (order_id, tenant_id);
drop index shipping.idx_shipments_order_id;
