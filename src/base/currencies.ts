/**
 * The currencies that Stripe can charge, and the amounts that it accepts. `platform.charge_limits` in
 * src/db/platform/currencies.sql has the same table; a test compares them. Source: Stripe, "Supported currencies"
 * (docs.stripe.com/currencies, 2026-11): presentment currencies, minor units, special cases, minimum and maximum charge
 * amounts.
 */

const words = (text: string): string[] => text.trim().split(/\s+/);

const presentment = words(`
  AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CLP CNY COP
  CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD JOD JPY
  KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
  NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS TND TOP
  TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW`);

const zeroDecimal = new Set(words('BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF'));
/** Our API accepts two decimals, because Stripe requires the third one to be 0. */
const threeDecimal = new Set(words('BHD JOD KWD OMR TND'));
/** Amounts are whole units, although Stripe counts them in hundredths. */
const wholeUnits = new Set(words('ISK UGX'));

/** Minimum charges in units of the currency. For other currencies Stripe converts the account currency's minimum. */
const minimums: Record<string, number> = {
  AED: 2,
  AUD: 0.5,
  BGN: 1,
  BRL: 0.5,
  CAD: 0.5,
  CHF: 0.5,
  CZK: 15,
  DKK: 2.5,
  EUR: 0.5,
  GBP: 0.3,
  HKD: 4,
  HUF: 175,
  INR: 0.5,
  JPY: 50,
  MXN: 10,
  MYR: 2,
  NOK: 3,
  NZD: 0.5,
  PLN: 2,
  RON: 2,
  SEK: 3,
  SGD: 0.5,
  THB: 10,
  USD: 0.5,
};

export type ChargeLimits = {
  /** Decimals of Stripe's minor unit: 2 means that Stripe counts in hundredths. */
  exponent: 0 | 2 | 3;
  /** Decimals that an amount in our API may have. */
  decimals: 0 | 2;
  /** The smallest and the largest charge, in units of the currency. Stripe allows at most eight digits. */
  least: number;
  most: number;
};

function limitsOf(currency: string): ChargeLimits {
  const exponent = zeroDecimal.has(currency) ? 0 : threeDecimal.has(currency) ? 3 : 2;
  const decimals = exponent === 0 || wholeUnits.has(currency) ? 0 : 2;
  const most = exponent === 0 ? 99_999_999 : exponent === 3 ? 99_999.99 : decimals === 0 ? 999_999 : 999_999.99;
  return { exponent, decimals, least: minimums[currency] ?? (decimals === 0 ? 1 : 0.01), most };
}

/** Every currency that Stripe can charge, by ISO 4217 code. */
export const chargeable: ReadonlyMap<string, ChargeLimits> = new Map(presentment.map((code) => [code, limitsOf(code)]));

/** The number of decimals that an amount in this currency may have. */
export const decimalsOf = (currency: string): 0 | 2 => limitsOf(currency).decimals;

/** Whether an amount has no more decimals than its currency allows. */
export const fitsCurrency = (amount: number, currency: string): boolean =>
  decimalsOf(currency) === 2 || Number.isInteger(amount);

/** The decimals of Stripe's minor unit for this currency. */
export const exponentOf = (currency: string): 0 | 2 | 3 => limitsOf(currency.toUpperCase()).exponent;
