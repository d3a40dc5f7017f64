-- What price lists and customers are found by, in forms that an index serves under row-level security.

-- An order finds the lists of its audience, however many lists other audiences have.
create index idx_price_lists_audience on catalog.price_lists (tenant_id, audience, audience_id);

-- Counted, because a list of 100,000 prices is changed, shown and deleted in one short call each.
alter table catalog.price_lists
  add column price_count integer not null default 0 constraint price_lists_price_count check (price_count between 0 and 100000);

-- lower() is not leakproof, so a condition on lower(email) could not use its index. No Worker uses the table yet.
alter table orders.customers add column email_key varchar generated always as (lower(email)) stored;
drop index orders.customers_email_unique;
create unique index customers_email_unique on orders.customers (tenant_id, email_key);
