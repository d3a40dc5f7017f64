import { exponentOf } from './currencies.ts';

/**
 * Converts a decimal amount (`"29.99"`) to Stripe's minor units of the currency. Works on the text, so nothing is
 * rounded.
 * @throws RangeError if it is not a decimal amount or has more decimals than the currency
 */
export function toMinor(amount: string, currency: string): number {
  const exponent = exponentOf(currency);
  const [, whole = '', fraction = ''] = /^(\d+)(?:\.(\d*))?$/.exec(amount) ?? [];
  const digits = fraction.padEnd(exponent, '0');
  if (whole === '' || /[1-9]/.test(digits.slice(exponent))) {
    throw new RangeError(`${amount} is not a valid amount in ${currency}`);
  }
  return Number(whole + digits.slice(0, exponent));
}

/** Converts Stripe's minor units to a decimal amount. */
export function fromMinor(minor: number, currency: string): string {
  const exponent = exponentOf(currency);
  if (exponent === 0) return String(minor);
  const digits = String(minor).padStart(exponent + 1, '0');
  return `${digits.slice(0, -exponent)}.${digits.slice(-exponent)}`;
}

/** A price times a quantity. Both are whole numbers of hundredths, so that no binary fraction is multiplied. */
export const productOf = (price: number, quantity: number): number => (Math.round(price * 100) * quantity) / 100;
