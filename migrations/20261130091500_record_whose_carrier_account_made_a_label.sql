-- Labels are made with the tenant's own account at a carrier, or else with the operator's.
alter table shipping.label_requests
  add column provider varchar, -- whose API was called last; null before the first attempt
  add column own_account boolean not null default false; -- with the tenant's own account
alter table shipping.shipments add column own_account boolean not null default false;
alter table shipping.label_voids add column own_account boolean not null default false;

-- carrier_credentials is JSON: {"shippo": {"apiKey": "…", "webhookSecret": "…"}}, each text encrypted by the Worker.
alter table platform.tenants
  add constraint tenants_carrier_has_key check (coalesce(carrier, 'manual') = 'manual'
    or carrier_credentials::jsonb -> carrier ->> 'apiKey' is not null),
  -- Such a carrier would take the operator's address, or the one that drawn labels show by default, for the sender.
  add constraint tenants_carrier_has_sender check (coalesce(carrier, 'manual') = 'manual' or ship_from is not null);

grant update (carrier, carrier_credentials) on platform.tenants to fusion_platform;
grant select (id, ship_from, parcel, carrier, carrier_credentials) on platform.tenants to fusion_shipping;
