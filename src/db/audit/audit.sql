-- requires: platform/access.sql
-- The audit log. A change by an administrator adds a row in the same transaction. Changes by buyers and by the order
-- flow (orders, holds, payments, parcels) have their history in platform.events. They have no trigger here, so an order
-- costs nothing extra.

-- Trigger arguments: the kind of row, and the column that identifies it. `before` and `after` leave out secrets,
-- derived columns, and messages, which contain buyers' data.
create or replace function audit.record() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  hidden constant text[] := '{key_hash,token_hash,carrier_credentials,search,message,import_run,import_counts,import_before,import_repeats,image_sources,has_list_prices,code_key,lookup_key}';
  personal constant text[] := '{email,email_key,name,phone,addresses,metadata,vat_number,oidc_subject}';
  old_row jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) - hidden end;
  new_row jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) - hidden end;
  row_tenant varchar := coalesce(coalesce(new_row, old_row)->>'tenant_id', coalesce(new_row, old_row)->>'id');
  caller_tenant varchar := current_setting('app.tenant_id', true);
  api_key record;
begin
  -- `npm run cells` copies and deletes the rows of a tenant that moves, and copies its audit log too.
  if current_setting('app.copying', true) = 'on' and session_user <> 'fusion_worker' then
    return null;
  end if;
  if tg_argv[0] = 'customer' then
    old_row := old_row - personal;
    new_row := new_row - personal;
  elsif tg_argv[0] = 'stock' then
    old_row := jsonb_build_object('quantity', new.quantity::bigint - new.delta);
  end if;
  select a.id, a.prefix into api_key from platform.api_keys a where a.key_hash = current_setting('app.key_hash', true);
  -- The policy of audit.log needs a tenant. An operator may work without having set one.
  perform set_config('app.tenant_id', row_tenant, true);
  insert into audit.log (tenant_id, actor, key_id, operation, subject, before, after, traceparent)
  values (row_tenant,
    case when api_key.id is not null then 'key ' || api_key.prefix
      when session_user = 'fusion_worker' then 'system'
      else concat_ws(' ', session_user, nullif(current_setting('app.operator', true), '')) end,
    api_key.id, tg_argv[0] || ' ' || lower(tg_op), coalesce(new_row, old_row)->>tg_argv[1], old_row, new_row,
    nullif(current_setting('app.traceparent', true), ''));
  perform set_config('app.tenant_id', coalesce(caller_tenant, ''), true);
  return null;
end
$$;

create or replace trigger audit_tenants after insert or update or delete on platform.tenants
  for each row execute function audit.record('tenant', 'id');
create or replace trigger audit_keys after insert or update or delete on platform.api_keys
  for each row execute function audit.record('key', 'prefix');
create or replace trigger audit_replays after update of replayed_at on platform.dead_letters
  for each row when (old.replayed_at is null and new.replayed_at is not null)
  execute function audit.record('dead_letter', 'id');

create or replace trigger audit_products after insert or delete on catalog.products
  for each row execute function audit.record('product', 'sku');
-- Of what a merchant changes: that a price list has the SKU is no change of the product.
create or replace trigger audit_changes after update of name, description, price, currency, status, group_id, options,
  slug, images, weight, tax_category, compare_at_price, collections, metadata on catalog.products
  for each row when (old.* is distinct from new.*) execute function audit.record('product', 'sku');

create or replace trigger audit_product_groups after insert or update or delete on catalog.product_groups
  for each row execute function audit.record('product_group', 'id');
create or replace trigger audit_collections after insert or update or delete on catalog.collections
  for each row execute function audit.record('collection', 'id');

create or replace trigger audit_price_lists after insert or update or delete on catalog.price_lists
  for each row execute function audit.record('price_list', 'id');

create or replace trigger audit_tax_rates after insert or update or delete on orders.tax_rates
  for each row execute function audit.record('tax_rate', 'id');

-- The ids and the group alone: the log must hold no personal data, because it can never be erased.
create or replace trigger audit_customers after insert or update or delete on orders.customers
  for each row execute function audit.record('customer', 'id');

create or replace trigger audit_discounts after insert or update or delete on orders.discounts
  for each row execute function audit.record('discount', 'id');
create or replace trigger audit_shipping_options after insert or update or delete on orders.shipping_options
  for each row execute function audit.record('shipping_option', 'id');
-- Only a session that a secret key opens: a customer's own log-ins are not changes by an administrator.
create or replace trigger audit_sessions after insert on platform.customer_sessions
  for each row when (coalesce(current_setting('app.shopper', true), '') = '')
  execute function audit.record('customer_session', 'customer_id');

-- On the ledger, not on the stock: the stock changes with every order.
create or replace trigger audit_stock after insert on inventory.adjustments
  for each row execute function audit.record('stock', 'sku');

-- Inserts only: a join updates the campaign's counts and must not pay for an audit row.
create or replace trigger audit_campaigns after insert on group_commerce.group_commerce_campaigns
  for each row execute function audit.record('campaign', 'id');
create or replace trigger audit_cancellations after update of status on group_commerce.group_commerce_campaigns
  for each row when (old.status <> 'failed' and new.status = 'failed') execute function audit.record('campaign', 'id');
-- Only a team that an API key cancels: a team without members ends by itself, with nothing left to release.
create or replace trigger audit_team_cancellations after update of status on group_commerce.teams
  for each row when (old.status <> 'cancelled' and new.status = 'cancelled' and new.settled_at is null
    and coalesce(current_setting('app.key_hash', true), '') <> '') execute function audit.record('team', 'id');

create or replace trigger audit_refunds after insert on payments.refunds
  for each row execute function audit.record('refund', 'payment_id');

call platform.set_owner('audit', 'fusion_audit');
