-- Tells an order to look at price lists, in the row that it reads anyway. Set with the first price and never reset:
-- another transaction may add a price meanwhile, and a look too many only costs time.
alter table catalog.products add column has_list_prices boolean not null default false;
