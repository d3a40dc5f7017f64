-- requires: platform/access.sql
-- The currencies that Stripe can charge. src/base/currencies.ts has the same table and its source; a test compares
-- them.

-- Decimals of an amount in this currency: none or two.
create or replace function platform.currency_decimals(currency varchar) returns integer
language sql immutable as $$
  select case when currency in ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'MGA', 'PYG', 'RWF', 'UGX', 'VND',
    'VUV', 'XAF', 'XOF', 'XPF') then 0 else 2 end
$$;

-- The smallest and the largest amount that Stripe charges, {least, most}; null for a currency that it cannot charge.
create or replace function platform.charge_limits(currency varchar) returns jsonb
language sql immutable as $$
  select case when currency = any(string_to_array(
    'AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CLP CNY COP '
    'CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD JOD JPY '
    'KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK '
    'NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS TND TOP '
    'TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW', ' '))
  then jsonb_build_object(
    'least', coalesce(('{"AED": 2, "AUD": 0.5, "BGN": 1, "BRL": 0.5, "CAD": 0.5, "CHF": 0.5, "CZK": 15, "DKK": 2.5, "EUR": 0.5,
      "GBP": 0.3, "HKD": 4, "HUF": 175, "INR": 0.5, "JPY": 50, "MXN": 10, "MYR": 2, "NOK": 3, "NZD": 0.5, "PLN": 2, "RON": 2,
      "SEK": 3, "SGD": 0.5, "THB": 10, "USD": 0.5}'::jsonb->>currency)::numeric,
      case when platform.currency_decimals(currency) = 0 then 1 else 0.01 end),
    'most', case when currency in ('ISK', 'UGX') then 999999 when platform.currency_decimals(currency) = 0 then 99999999
      when currency in ('BHD', 'JOD', 'KWD', 'OMR', 'TND') then 99999.99 else 999999.99 end) end
$$;

-- Why an amount cannot be charged, as a sentence; null if it can be, or if there is nothing to charge.
create or replace function platform.charge_fault(amount numeric, currency varchar) returns text
language sql immutable as $$
  select case
    when amount = 0 then null
    when l.limits is null then format('Stripe cannot charge %s.', currency)
    when amount < (l.limits->>'least')::numeric then
      format('%s %s is too little: Stripe charges %s %s or more.', round(amount, l.decimals), currency,
        round((l.limits->>'least')::numeric, l.decimals), currency)
    when amount > (l.limits->>'most')::numeric then
      format('%s %s is too much: Stripe charges %s %s at most.', round(amount, l.decimals), currency,
        round((l.limits->>'most')::numeric, l.decimals), currency)
  end from (select platform.charge_limits(currency) as limits, platform.currency_decimals(currency) as decimals) l
$$;

-- Whether an amount can be charged. The first comparison is enough for most orders: these currencies have the lowest
-- minimum or a lower one.
create or replace function platform.is_chargeable(amount numeric, currency varchar) returns boolean
language sql immutable as $$
  select case when currency in ('USD', 'EUR', 'GBP', 'AUD', 'CAD', 'CHF') and amount between 0.5 and 999999.99 then true
    else platform.charge_fault(amount, currency) is null end
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.currency_decimals, platform.charge_limits, platform.charge_fault,
  platform.is_chargeable
  to fusion_catalog, fusion_orders, fusion_group_commerce, fusion_payments;
