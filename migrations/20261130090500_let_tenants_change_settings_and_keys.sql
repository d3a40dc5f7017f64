-- The API changes a tenant's settings and keys. Services read the times that a tenant has set for itself.
grant update (name, country, currency, prices_include_tax, ship_from, parcel, delayed_payments, hold_seconds,
  cart_seconds, approval_seconds, grace_seconds, links, storefront_url, oidc, version, updated_at)
  on platform.tenants to fusion_platform;
grant insert, update on platform.api_keys to fusion_platform;
grant select (id, hold_seconds) on platform.tenants to fusion_orders, fusion_inventory;
grant select (id, grace_seconds) on platform.tenants to fusion_group_commerce;
grant select (hold_seconds, grace_seconds) on platform.tenants to fusion_payments;
