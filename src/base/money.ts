import { exponentOf } from './currencies.ts';

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
