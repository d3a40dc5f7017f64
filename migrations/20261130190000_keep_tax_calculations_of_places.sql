-- The calculation of Stripe Tax that a place's amounts come from. Its payment is opened before its order exists.
alter table payments.payments add column tax_calculation varchar;
