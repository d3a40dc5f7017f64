-- When the check of a customer's VAT number was last asked for. A pending one whose message was lost is asked for again.

alter table orders.customers add column vat_requested_at timestamptz;
alter table orders.customers add constraint customers_vat_pending
  check (vat_status is distinct from 'pending' or vat_requested_at is not null);
create index idx_customers_vat_pending on orders.customers (tenant_id, vat_requested_at) where vat_status = 'pending';

create policy every_tenant on orders.customers for select to fusion_orders
  using (current_setting('app.tenant_id', true) = '*'
    and tenant_id <> all (string_to_array(concat(current_setting('app.away', true)), ' ')));
