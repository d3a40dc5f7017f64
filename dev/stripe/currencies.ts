import { invalid, StripeFailure } from './wire.ts';

// docs.stripe.com/currencies: presentment currencies.
const CURRENCIES = new Set(
  `usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp
  cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr isk
  jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn
  nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std
  szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar zmw`.split(/\s+/),
);

const ZERO_DECIMAL = new Set('bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf'.split(' '));
const THREE_DECIMAL = new Set('bhd jod kwd omr tnd'.split(' '));
// Only whole units are valid, but Stripe keeps two decimals "for backwards compatibility": 5 UGX is 500.
const WHOLE_UNITS = new Set('isk ugx'.split(' '));

// The documented minimum per settlement currency, in minor units. Other currencies have no minimum here.
const MINIMUM: Record<string, number> = {
  usd: 50,
  aed: 200,
  aud: 50,
  bgn: 100,
  brl: 50,
  cad: 50,
  chf: 50,
  czk: 1500,
  dkk: 250,
  eur: 50,
  gbp: 30,
  hkd: 400,
  huf: 17500,
  inr: 50,
  jpy: 50,
  mxn: 1000,
  myr: 200,
  nok: 300,
  nzd: 50,
  pln: 200,
  ron: 200,
  sek: 300,
  sgd: 50,
  thb: 1000,
};

const SYMBOLS: Record<string, string> = { usd: '$', eur: '€', gbp: '£', jpy: '¥' };

/** Formats minor units as Stripe's messages do: `$10.00`, `¥50`, `10.00 chf`. */
export function formatAmount(amount: number, currency: string): string {
  const decimals = ZERO_DECIMAL.has(currency) ? 0 : THREE_DECIMAL.has(currency) ? 3 : 2;
  const whole = (amount / 10 ** decimals).toLocaleString('en-US', {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
  const symbol = SYMBOLS[currency];
  return symbol === undefined ? `${whole} ${currency}` : `${symbol}${whole}`;
}

/** Returns the currency in lower case. Throws Stripe's error for an unsupported currency. */
export function readCurrency(value: string): string {
  const currency = value.toLowerCase();
  if (CURRENCIES.has(currency)) return currency;
  const known = [...CURRENCIES].join(', ');
  throw invalid(`Invalid currency: ${currency}. Stripe currently supports these currencies: ${known}`, 'currency');
}

/** Throws if Stripe rejects the amount (minor units) in this currency. Rules: docs.stripe.com/currencies. */
export function checkAmount(amount: number, currency: string): void {
  const amountError = (code: string | undefined, message: string) =>
    new StripeFailure(
      400,
      { type: 'invalid_request_error', message, param: 'amount', ...(code === undefined ? {} : { code }) },
      { saved: false },
    );
  const minimum = MINIMUM[currency] ?? 1;
  if (amount < minimum) {
    const suffix = SYMBOLS[currency] === undefined ? '' : ` ${currency}`;
    throw amountError('amount_too_small', `Amount must be at least ${formatAmount(minimum, currency)}${suffix}`);
  }
  if (amount > 99_999_999) {
    throw amountError('amount_too_large', `Amount must be no more than ${formatAmount(99_999_999, currency)}`);
  }
  if (WHOLE_UNITS.has(currency) && amount % 100 !== 0) {
    throw amountError(undefined, `Invalid amount: ${currency} amounts must be evenly divisible by 100.`);
  }
  if (THREE_DECIMAL.has(currency) && amount % 10 !== 0) {
    throw amountError(undefined, `Invalid amount: ${currency} amounts must be rounded to the nearest ten.`);
  }
}
