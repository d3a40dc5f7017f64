import { Decimal } from 'decimal.js';
import { decimalsOf } from '../../src/base/currencies.ts';

/**
 * The totals as docs/totals.md describes them, in exact decimals and in whole units of the currency. It shares no
 * code with `orders.totals`, so that a fault in one of them shows as a difference.
 */

export type Line = { id: string; sku: string; quantity: number; price: number; tax: number | null };
export type Rate = { name: string; rate: number };
export type Discount = {
  id: string;
  code?: string;
  name: string;
  type: 'percentage' | 'amount' | 'free_shipping';
  value: number;
  combinable: boolean;
  /** The ids of the lines that it applies to. All lines if not given. */
  lines?: string[];
};
export type Input = {
  currency: string;
  taxIncluded: boolean;
  reverseCharge: boolean;
  lines: Line[];
  rates: Rate[];
  shipping?: { price: number; tax: number | null } | null;
  discounts: Discount[];
};

/** Amounts are decimal text without trailing zeros, because a binary number cannot hold each of them. */
export type Totals = Record<'subtotal' | 'discount' | 'shipping' | 'shippingTax' | 'tax' | 'total', string> & {
  taxIncluded: boolean;
  lines: Record<'id' | 'subtotal' | 'discount' | 'tax' | 'total', string>[];
  taxLines: Record<'name' | 'rate' | 'taxable' | 'amount', string>[];
  discounts: {
    id: string;
    code?: string;
    name: string;
    amount: string;
    allocations: { lineId: string; amount: string }[];
  }[];
};

/** Enough digits that no product or whole quotient of amounts is ever rounded. */
export const Exact: typeof Decimal = Decimal.clone({ precision: 100, toExpNeg: -100, toExpPos: 100 });
const zero = new Exact(0);
export const sum = (amounts: readonly Decimal[]): Decimal =>
  amounts.reduce((total, amount) => total.plus(amount), zero);

/** numerator ÷ denominator as a whole number, rounded half up. */
export function roundHalfUp(numerator: Decimal, denominator: Decimal): Decimal {
  const whole = numerator.divToInt(denominator);
  return numerator.minus(whole.times(denominator)).times(2).gte(denominator) ? whole.plus(1) : whole;
}

/** Splits an amount over weights by largest remainder. Of equal remainders the earlier one is rounded up. */
export function split(amount: Decimal, weights: readonly Decimal[]): Decimal[] {
  const whole = sum(weights);
  if (whole.isZero()) return weights.map(() => zero);
  const shares = weights.map((weight, index) => {
    const product = amount.times(weight);
    return { index, part: product.divToInt(whole), remainder: product.mod(whole) };
  });
  const missing = amount.minus(sum(shares.map(({ part }) => part))).toNumber();
  const largest = shares.toSorted((a, b) => b.remainder.cmp(a.remainder) || a.index - b.index).slice(0, missing);
  const raised = new Set(largest.map(({ index }) => index));
  return shares.map(({ index, part }) => (raised.has(index) ? part.plus(1) : part));
}

/** What refunds of so many of `units` return, one after the other, of an amount that all of them cost. */
export function refundParts(amount: Decimal, units: number, refunds: readonly number[]): Decimal[] {
  const upTo = (count: number): Decimal => roundHalfUp(amount.times(count), new Exact(units));
  let before = 0;
  return refunds.map((count) => {
    const part = upTo(before + count).minus(upTo(before));
    before += count;
    return part;
  });
}

type State = { lines: Decimal[]; shipping: Decimal };
type Applied = { discount: Discount; amount: Decimal; shares: Decimal[]; shipping: Decimal };

/** Applies discounts one after the other. `scale`: units in 1 of the currency. */
function apply(discounts: Discount[], ids: string[], start: State, scale: number): State & { applied: Applied[] } {
  let { lines, shipping } = start;
  const applied: Applied[] = [];
  for (const discount of discounts) {
    if (discount.type === 'free_shipping') {
      applied.push({ discount, amount: shipping, shares: lines.map(() => zero), shipping });
      shipping = zero;
      continue;
    }
    const applies = discount.lines === undefined ? ids : discount.lines;
    const weights = lines.map((left, index) => (applies.includes(ids[index] as string) ? left : zero));
    const base = sum(weights);
    const amount =
      discount.type === 'percentage'
        ? roundHalfUp(base.times(discount.value), new Exact(100))
        : Decimal.min(new Exact(discount.value).times(scale), base);
    const shares = split(amount, weights);
    lines = lines.map((left, index) => left.minus(shares[index] as Decimal));
    applied.push({ discount, amount, shares, shipping: zero });
  }
  return { lines, shipping, applied };
}

const rank = { percentage: 0, amount: 1, free_shipping: 2 };
export const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** All discounts that can be combined, or one of the others if it saves more. */
function applyBest(discounts: Discount[], ids: string[], start: State, scale: number) {
  const combined = discounts
    .filter(({ combinable }) => combinable)
    .sort((a, b) => rank[a.type] - rank[b.type] || b.value - a.value || byBytes(a.id, b.id));
  const alone = discounts.filter(({ combinable }) => !combinable).sort((a, b) => byBytes(a.id, b.id));
  const choices = [combined, ...alone.map((discount) => [discount])].map((set) => apply(set, ids, start, scale));
  const savedBy = ({ applied }: { applied: Applied[] }): Decimal => sum(applied.map(({ amount }) => amount));
  return choices.reduce((best, choice) => (savedBy(choice).gt(savedBy(best)) ? choice : best));
}

type Taxed = { taxes: Decimal[]; bases: Map<number, { base: Decimal; tax: Decimal }> };

/** The tax of amounts, for each rate on its sum. `places`: the rate of each amount. */
function taxOf(amounts: Decimal[], places: (number | null)[], rates: Rate[], isIncluded: boolean): Taxed {
  let taxes = amounts.map(() => zero);
  const bases: Taxed['bases'] = new Map();
  for (const [place, { rate }] of rates.entries()) {
    if (!places.includes(place)) continue;
    const weights = amounts.map((amount, index) => (places[index] === place ? amount : zero));
    const base = sum(weights);
    const percent = new Exact(rate);
    const tax = roundHalfUp(base.times(percent), isIncluded ? percent.plus(100) : new Exact(100));
    const parts = split(tax, weights);
    taxes = taxes.map((before, index) => before.plus(parts[index] as Decimal));
    bases.set(place, { base, tax });
  }
  return { taxes, bases };
}

/** The totals of lines: what `orders.totals` must return. */
export function totalsOf(input: Input): Totals {
  const scale = 10 ** decimalsOf(input.currency);
  const text = (units: Decimal): string => units.div(scale).toFixed();
  const sumOf = ({ quantity, price }: Line): Decimal => new Exact(price).times(quantity).times(scale);
  // The order of the lines must decide nothing, so an order of their own decides who gets the odd unit.
  const sorted = input.lines.toSorted(
    (a, b) => byBytes(a.sku, b.sku) || sumOf(a).cmp(sumOf(b)) || new Exact(a.price).cmp(b.price),
  );
  const ids = sorted.map(({ id }) => id);
  const places = [...sorted.map(({ tax }) => tax), input.shipping?.tax ?? null];
  let sums = sorted.map(sumOf);
  let shippingPrice = new Exact(input.shipping?.price ?? 0).times(scale);
  if (input.reverseCharge && input.taxIncluded) {
    const { taxes } = taxOf([...sums, shippingPrice], places, input.rates, true);
    shippingPrice = shippingPrice.minus(taxes.at(-1) ?? zero);
    sums = sums.map((amount, index) => amount.minus(taxes[index] as Decimal));
  }
  const isIncluded = input.taxIncluded && !input.reverseCharge;
  const left = applyBest(input.discounts, ids, { lines: sums, shipping: shippingPrice }, scale);
  const rates = input.reverseCharge ? [{ name: 'Reverse charge', rate: 0 }] : input.rates;
  const taxPlaces = input.reverseCharge ? places.map((place) => (place === null ? null : 0)) : places;
  const { taxes, bases } = taxOf([...left.lines, left.shipping], taxPlaces, rates, isIncluded);
  const [subtotal, kept, tax] = [sum(sums), sum(left.lines), sum(taxes)];
  const lines = sorted.map(({ id }, index) => {
    const [full, net, own] = [sums[index], left.lines[index], taxes[index]] as [Decimal, Decimal, Decimal];
    const total = isIncluded ? net : net.plus(own);
    return { id, subtotal: text(full), discount: text(full.minus(net)), tax: text(own), total: text(total) };
  });
  const inTheirOrder = <T>(all: readonly T[], idOf: (one: T) => string): T[] =>
    input.lines.flatMap(({ id }) => all.filter((one) => idOf(one) === id));
  return {
    ...{ subtotal: text(subtotal), discount: text(subtotal.minus(kept)), shipping: text(left.shipping) },
    ...{ shippingTax: text(taxes.at(-1) ?? zero), tax: text(tax), taxIncluded: isIncluded },
    total: text(kept.plus(left.shipping).plus(isIncluded ? zero : tax)),
    lines: inTheirOrder(lines, ({ id }) => id),
    taxLines: [...bases]
      .map(([place, { base, tax }]) => ({
        ...(rates[place] as Rate),
        place,
        base: isIncluded ? base.minus(tax) : base,
        tax,
      }))
      .sort((a, b) => byBytes(a.name, b.name) || a.rate - b.rate || a.place - b.place)
      .map(({ name, rate, base, tax }) => {
        return { name, rate: new Exact(rate).toFixed(), taxable: text(base), amount: text(tax) };
      }),
    discounts: left.applied.map(({ discount: { id, code, name }, amount, shares, shipping }) => {
      const parts = shares.map((share, index) => ({ lineId: ids[index] as string, amount: share }));
      const shown = inTheirOrder(parts, ({ lineId }) => lineId);
      const allocations = [...shown, { lineId: 'shipping', amount: shipping }]
        .filter((part) => part.amount.gt(0))
        .map((part) => ({ lineId: part.lineId, amount: text(part.amount) }));
      return { id, ...(code === undefined ? {} : { code }), name, amount: text(amount), allocations };
    }),
  };
}
