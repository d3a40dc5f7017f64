-- Whether buyers of this tenant may pay with methods that settle days later, such as bank debits.
alter table platform.tenants add column delayed_payments boolean not null default true;

-- Payments reads this setting with the task that it gives to the Worker.
grant select (id, delayed_payments) on platform.tenants to fusion_payments;
