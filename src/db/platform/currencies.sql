-- requires: platform/access.sql
-- The currencies that Stripe can charge. src/base/currencies.ts has the same table and its source; a test compares
-- them.

-- Decimals of an amount in this currency: none or two.
create or replace function platform.currency_decimals(currency varchar) returns integer
language sql immutable as $$
  select case when currency in ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'MGA', 'PYG', 'RWF', 'UGX', 'VND',
    'VUV', 'XAF', 'XOF', 'XPF') then 0 else 2 end
$$;

-- Whether Stripe can charge this currency. This function and the next two are single expressions, so that PostgreSQL
-- inlines them into charge_fault.
create or replace function platform.is_currency(currency varchar) returns boolean
language sql immutable as $$
  select currency = any(string_to_array(
    'AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CLP CNY COP '
    'CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD JOD JPY '
    'KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK '
    'NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS TND TOP '
    'TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW', ' '))
$$;

-- The smallest amount that Stripe charges in this currency.
create or replace function platform.least_charge(currency varchar) returns numeric
language sql immutable as $$
  select case when currency in ('AUD', 'BRL', 'CAD', 'CHF', 'EUR', 'INR', 'NZD', 'SGD', 'USD') then 0.5
    when currency in ('AED', 'MYR', 'PLN', 'RON') then 2 when currency in ('NOK', 'SEK') then 3
    when currency in ('MXN', 'THB') then 10 when currency = 'JPY' then 50 when currency = 'GBP' then 0.3
    when currency = 'BGN' then 1 when currency = 'DKK' then 2.5 when currency = 'HKD' then 4 when currency = 'CZK' then 15
    when currency = 'HUF' then 175 when platform.currency_decimals(currency) = 0 then 1 else 0.01 end
$$;

-- The largest amount that Stripe charges in this currency.
create or replace function platform.most_charge(currency varchar) returns numeric
language sql immutable as $$
  select case when currency in ('ISK', 'UGX') then 999999 when platform.currency_decimals(currency) = 0 then 99999999
    when currency in ('BHD', 'JOD', 'KWD', 'OMR', 'TND') then 99999.99 else 999999.99 end
$$;

-- The smallest and the largest amount that Stripe charges, {least, most}; null for a currency that it cannot charge.
create or replace function platform.charge_limits(currency varchar) returns jsonb
language sql immutable as $$
  select case when platform.is_currency(currency) then jsonb_build_object('least', platform.least_charge(currency),
    'most', platform.most_charge(currency)) end
$$;

-- Why an amount cannot be charged, as a sentence; null if it can be, or if there is nothing to charge.
create or replace function platform.charge_fault(amount numeric, currency varchar) returns text
language sql immutable as $$
  select case
    when amount = 0 then null
    when not platform.is_currency(currency) then format('Stripe cannot charge %s.', currency)
    when amount < platform.least_charge(currency) then
      format('%s %s is too little: Stripe charges %s %s or more.', round(amount, platform.currency_decimals(currency)),
        currency, round(platform.least_charge(currency), platform.currency_decimals(currency)), currency)
    when amount > platform.most_charge(currency) then
      format('%s %s is too much: Stripe charges %s %s at most.', round(amount, platform.currency_decimals(currency)),
        currency, round(platform.most_charge(currency), platform.currency_decimals(currency)), currency) end
$$;

-- Whether an amount can be charged. The first comparison is enough for most orders: these currencies have the lowest
-- minimum or a lower one.
create or replace function platform.is_chargeable(amount numeric, currency varchar) returns boolean
language sql immutable as $$
  select case when currency in ('USD', 'EUR', 'GBP', 'AUD', 'CAD', 'CHF') and amount between 0.5 and 999999.99 then true
    else platform.charge_fault(amount, currency) is null end
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.currency_decimals, platform.is_currency, platform.least_charge,
  platform.most_charge, platform.charge_limits, platform.charge_fault, platform.is_chargeable
  to fusion_catalog, fusion_orders, fusion_group_commerce, fusion_payments;
grant execute on function platform.currency_decimals to fusion_reader;
