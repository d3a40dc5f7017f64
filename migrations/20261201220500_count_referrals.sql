-- A place whose order was refunded and whose units are not back in stock stays charged, but is no referral any more.
alter table group_commerce.participants add column refunded boolean not null default false;
