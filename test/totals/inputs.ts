import fc from 'fast-check';
import { chargeable, decimalsOf } from '../../src/base/currencies.ts';
import type { Discount, Input, Line } from './model.ts';

/** Random carts for `orders.totals`, in every currency of the API. */

/** The largest price that is stored: `numeric(10,2)`. */
const maxUnits = 9_999_999_999;

/** A price in a currency, in all sizes. Few small prices, so that remainders tie. */
const priceIn = (currency: string): fc.Arbitrary<number> => {
  const [scale, most] = decimalsOf(currency) === 2 ? [100, maxUnits] : [1, 99_999_999];
  return fc
    .oneof(
      { arbitrary: fc.integer({ min: 0, max: 20 }), weight: 3 },
      { arbitrary: fc.integer({ min: 1, max: 50_000 }), weight: 4 },
      { arbitrary: fc.integer({ min: 1, max: 200 }).map((n) => n * 50), weight: 2 },
      { arbitrary: fc.integer({ min: most - 1000, max: most }), weight: 1 },
    )
    .map((units) => units / scale);
};

const quantity = fc.oneof(
  { arbitrary: fc.integer({ min: 1, max: 7 }), weight: 8 },
  { arbitrary: fc.integer({ min: 1, max: 1_000_000 }), weight: 1 },
  { arbitrary: fc.constant(1_000_000), weight: 1 },
);

/** Percent with at most four decimals. */
const percent = fc.oneof(
  fc.constantFrom(0, 7, 19, 20, 25, 100, 5.5, 8.875, 33.3333, 0.0001, 99.9999),
  fc.integer({ min: 0, max: 1_000_000 }).map((n) => n / 10_000),
);

const skus = ['A', 'a', 'B', 'Z', 'Ä', '\uffff', '😀', 'A-1', 'A 1', '10', '9', ''];

export type Sizes = { lines?: number; minLines?: number; discounts?: number; currency?: string };

/** An input. The SKU decides a line's rate and which discounts apply to it, as a product does. */
export const input = (sizes: Sizes = {}): fc.Arbitrary<Input> =>
  fc
    .record({
      currency: sizes.currency === undefined ? fc.constantFrom(...chargeable.keys()) : fc.constant(sizes.currency),
      rates: fc.array(fc.record({ name: fc.constantFrom('VAT', 'Reduced', 'Übergang'), rate: percent }), {
        maxLength: 4,
      }),
    })
    .chain(({ currency, rates }) => {
      const price = priceIn(currency);
      const place = fc.option(fc.nat(Math.max(0, rates.length - 1)), { freq: 4 });
      const tax = rates.length === 0 ? fc.constant(null) : place;
      const sizeOfLines = { minLength: sizes.minLines ?? 0, maxLength: sizes.lines ?? 9, size: 'max' } as const;
      const many = (sizes.lines ?? 0) > skus.length;
      const sku = many ? fc.integer({ min: 1, max: 5_000 }).map((n) => `SKU-${n}`) : fc.constantFrom(...skus);
      return fc.record({
        currency: fc.constant(currency),
        rates: fc.constant(rates),
        taxIncluded: fc.boolean(),
        reverseCharge: fc.integer({ min: 0, max: 4 }).map((n) => n === 0),
        lines: fc.array(fc.record({ sku, quantity, price }), sizeOfLines),
        taxOfSku: fc.array(tax, { minLength: 7, maxLength: 7 }),
        shipping: fc.oneof(
          fc.constant(undefined),
          fc.constant(null),
          fc.record({ price, tax }),
          fc.record({ price, tax }),
        ),
        discounts: fc.array(
          fc.record({
            type: fc.constantFrom('percentage', 'amount', 'free_shipping'),
            percent: fc.oneof(
              fc.constantFrom(0, 10, 50, 100),
              fc.integer({ min: 0, max: 10_000 }).map((n) => n / 100),
            ),
            price,
            combinable: fc.boolean(),
            code: fc.boolean(),
            among: fc.option(fc.nat(127), { freq: 2 }),
          }),
          { maxLength: sizes.discounts ?? 4, size: 'max' },
        ),
      });
    })
    .map(({ taxOfSku, lines: drawn, discounts, shipping, ...rest }): Input => {
      const bucket = (name: string): number => [...name].reduce((n, char) => n + (char.codePointAt(0) ?? 0), 0) % 7;
      const lines = drawn.map((line, index): Line => {
        return { id: String(index + 1), ...line, tax: taxOfSku[bucket(line.sku)] ?? null };
      });
      return {
        ...rest,
        lines,
        ...(shipping === undefined ? {} : { shipping }),
        discounts: discounts.map(({ type, percent, price, combinable, code, among }, index): Discount => {
          const value = type === 'percentage' ? percent : type === 'amount' ? price : 0;
          const some = lines.filter(({ sku }) => ((among ?? 0) >> bucket(sku)) & 1).map(({ id }) => id);
          return {
            ...{
              id: `d-${(index * 7) % 11}`,
              name: `Discount ${index}`,
              type: type as Discount['type'],
              value,
              combinable,
            },
            ...(code ? { code: `CODE-${index}` } : {}),
            ...(among === null ? {} : { lines: some }),
          };
        }),
      };
    });
