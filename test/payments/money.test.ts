import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromMinor, toMinor } from '../../src/base/money.ts';

const seed = Number(process.env.SEED ?? 20261122);
const exponents = {
  USD: 2,
  EUR: 2,
  HUF: 2,
  TWD: 2,
  ISK: 2,
  UGX: 2,
  JPY: 0,
  KRW: 0,
  XAF: 0,
  MGA: 0,
  KWD: 3,
  TND: 3,
  BHD: 3,
};

describe('Stripe’s minor units', () => {
  test('have the decimals of the currency', () => {
    expect(toMinor('29.99', 'USD')).toBe(2999);
    expect(toMinor('0.1', 'EUR')).toBe(10);
    expect(toMinor('500', 'JPY')).toBe(500);
    expect(toMinor('500.00', 'JPY')).toBe(500);
    expect(toMinor('1.25', 'KWD')).toBe(1250);
    // These two have no decimals, but Stripe expects two.
    expect(toMinor('500', 'ISK')).toBe(50_000);
    expect(toMinor('500.00', 'UGX')).toBe(50_000);
    expect(toMinor('99999999.99', 'usd')).toBe(9_999_999_999);
  });

  test('are exact where binary floating point is not', () => {
    // Each of these is wrong when multiplied by 100 as a double.
    for (const [amount, minor] of [
      ['0.29', 29],
      ['1.15', 115],
      ['4.35', 435],
      ['8.41', 841],
      ['64.1', 6410],
      ['1110.7', 111_070],
      ['81234567.01', 8_123_456_701],
    ] as const) {
      expect(toMinor(amount, 'USD')).toBe(minor);
    }
    expect(toMinor('1.005', 'KWD')).toBe(1005);
    expect(fromMinor(435, 'USD')).toBe('4.35');
    expect(fromMinor(5, 'USD')).toBe('0.05');
    expect(fromMinor(0, 'KWD')).toBe('0.000');
    expect(fromMinor(7, 'JPY')).toBe('7');
  });

  test('convert back to the same amount, for any amount and currency', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...Object.entries(exponents)),
        fc.integer({ min: 0, max: 9_999_999_999 }),
        ([currency, exponent], minor) => {
          const amount = fromMinor(minor, currency);
          expect(amount).toMatch(exponent === 0 ? /^\d+$/ : new RegExp(`^\\d+\\.\\d{${exponent}}$`));
          expect(toMinor(amount, currency)).toBe(minor);
          // In the notation of numeric(10,2) in Postgres, and in that of a client.
          expect(toMinor(`${amount}${exponent === 0 ? '.' : ''}00`, currency)).toBe(minor);
          const short = exponent === 0 ? amount : amount.replace(/\.?0+$/, '');
          expect(toMinor(short, currency)).toBe(minor);
        },
      ),
      { seed, numRuns: 2_000 },
    );
  });

  test('of an amount with too many decimals are rejected, never rounded', () => {
    for (const [amount, currency] of [
      ['0.5', 'JPY'],
      ['10.01', 'MGA'],
      ['1.001', 'USD'],
      ['1.0001', 'KWD'],
      ['-1', 'USD'],
      ['1e3', 'USD'],
      ['NaN', 'USD'],
      ['', 'USD'],
      ['1.2.3', 'USD'],
      [' 1', 'USD'],
    ] as const) {
      expect(() => toMinor(amount, currency), `${amount} ${currency}`).toThrow(RangeError);
    }
  });
});
