-- Payments of places are found through the places.
drop index payments.idx_payments_campaign;
