/**
 * Decimals of the amounts that Stripe takes, where they are not two. Source: Stripe, "Supported currencies", zero-decimal
 * and three-decimal currencies; ISK and UGX are sent with two decimals though they have none.
 */
const exponents: Record<string, 0 | 3> = {
  BIF: 0,
  CLP: 0,
  DJF: 0,
  GNF: 0,
  JPY: 0,
  KMF: 0,
  KRW: 0,
  MGA: 0,
  PYG: 0,
  RWF: 0,
  VND: 0,
  VUV: 0,
  XAF: 0,
  XOF: 0,
  XPF: 0,
  BHD: 3,
  JOD: 3,
  KWD: 3,
  OMR: 3,
  TND: 3,
};

const exponentOf = (currency: string): number => exponents[currency.toUpperCase()] ?? 2;

/**
 * A decimal amount (`"29.99"`) in the currency's minor units as Stripe counts them, by moving the point in its text.
 * @throws RangeError if it has more decimals than the currency
 */
export function toMinor(amount: string, currency: string): number {
  const exponent = exponentOf(currency);
  const [, whole = '', fraction = ''] = /^(\d+)(?:\.(\d*))?$/.exec(amount) ?? [];
  const kept = fraction.padEnd(exponent, '0');
  if (whole === '' || /[1-9]/.test(kept.slice(exponent))) {
    throw new RangeError(`${amount} is no amount of ${currency}`);
  }
  return Number(whole + kept.slice(0, exponent));
}

/** Minor units as Stripe counts them, as a decimal amount. */
export function fromMinor(minor: number, currency: string): string {
  const exponent = exponentOf(currency);
  if (exponent === 0) return String(minor);
  const digits = String(minor).padStart(exponent + 1, '0');
  return `${digits.slice(0, -exponent)}.${digits.slice(-exponent)}`;
}
