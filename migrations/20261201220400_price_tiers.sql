-- Pools with tiers whose price is not fixed yet, by their end.
create index idx_campaigns_unpriced on group_commerce.group_commerce_campaigns (end_time)
  where status = 'successful' and tiers is not null and settled_price is null;

-- Until when the buyer must confirm the charge of a saved card, because the bank asks for it. Null: the bank did not ask.
alter table payments.payments add column action_by timestamptz;
