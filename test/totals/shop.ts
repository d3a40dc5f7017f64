import fc from 'fast-check';
import { type Discount, Exact, type Input, sum } from './model.ts';

/** A tenant with tax rates, shipping options and discounts, and an order of its products. */
export type Shop = {
  country: string;
  pricesIncludeTax: boolean;
  products: { sku: string; taxCategory: string | null; weight: number | null; collections: string[] }[];
  taxRates: { name: string; country: string; region: string | null; category: string | null; rate: number }[];
  options: {
    countries: string[];
    currency: string;
    price: number;
    freeFrom: number | null;
    minWeight: number | null;
    maxWeight: number | null;
    taxCategory: string | null;
  }[];
  discounts: {
    code: string | null;
    type: Discount['type'];
    value: number;
    currency: string | null;
    startsAt: string | null;
    endsAt: string | null;
    minSubtotal: number | null;
    skus: string[] | null;
    collections: string[] | null;
    usageLimit: number | null;
    used: number;
    combinable: boolean;
  }[];
};
export type Order = {
  currency: string;
  lines: { sku: string; quantity: number; price: number }[];
  address: { country: string; state?: string } | null;
  option: number | null;
  codes: string[];
};

export const now = '2030-06-15T12:00:00.000Z';
const times = [null, null, '2030-06-15T11:59:59.999Z', now, '2030-06-15T12:00:00.001Z'];
const skus = ['A', 'B', 'C', 'D', 'no-product'];
const categories = [null, 'books', 'food'];
const countries = ['DE', 'FR', 'US'];
const currencies = ['EUR', 'JPY'];
const orNull = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(arbitrary, { freq: 2 });
/** Whole amounts fit every currency. */
const whole = fc.integer({ min: 0, max: 60 });
const grams = fc.constantFrom(100, 200, 300, 600);

const shop: fc.Arbitrary<Shop> = fc.record({
  country: fc.constantFrom(...countries),
  pricesIncludeTax: fc.boolean(),
  products: fc.tuple(
    ...skus.slice(0, 4).map((sku) =>
      fc.record({
        sku: fc.constant(sku),
        taxCategory: fc.constantFrom(...categories),
        weight: orNull(grams),
        collections: fc.subarray(['sale', 'new']),
      }),
    ),
  ),
  taxRates: fc.uniqueArray(
    fc.record({
      name: fc.constantFrom('VAT', 'Sales tax'),
      country: fc.constantFrom(...countries),
      region: fc.constantFrom(null, null, 'CA', 'NY'),
      category: fc.constantFrom(...categories),
      rate: fc.constantFrom(0, 7, 8.875, 19, 20),
    }),
    { maxLength: 20, size: 'max', selector: ({ country, region, category }) => `${country} ${region} ${category}` },
  ),
  options: fc.array(
    fc.record({
      countries: fc.subarray(countries, { minLength: 1 }),
      currency: fc.constantFrom(...currencies),
      price: whole,
      freeFrom: orNull(whole),
      minWeight: fc.constantFrom(null, null, 0, 200),
      maxWeight: fc.constantFrom(null, null, 600, 1_000),
      taxCategory: fc.constantFrom(...categories),
    }),
    { maxLength: 4 },
  ),
  discounts: fc
    .uniqueArray(
      fc.record({
        code: fc.constantFrom(null, null, 'Spring', 'TEN', 'vip', 'Ölfass'),
        type: fc.constantFrom('percentage', 'amount', 'free_shipping'),
        value: fc.constantFrom(5, 10, 33, 100),
        currency: fc.constantFrom(...currencies),
        startsAt: fc.constantFrom(...times),
        endsAt: fc.constantFrom(...times),
        minSubtotal: fc.option(whole, { freq: 2 }),
        skus: fc.option(fc.subarray(skus, { minLength: 1 }), { freq: 2 }),
        collections: fc.option(fc.constantFrom<string[][]>(['sale'], ['new'], ['other']), { freq: 2 }),
        usageLimit: fc.constantFrom(null, null, 1, 2),
        used: fc.nat(2),
        combinable: fc.boolean(),
      }),
      { maxLength: 5, selector: ({ code }) => code ?? Symbol('automatic') },
    )
    .map((all) =>
      all.map((one): Shop['discounts'][number] => {
        const isFree = one.type !== 'amount' && one.minSubtotal === null && one.value !== 10;
        const isPeriod = one.startsAt === null || one.endsAt === null || one.startsAt < one.endsAt;
        return {
          ...one,
          type: one.type as Discount['type'],
          currency: isFree ? null : one.currency,
          endsAt: isPeriod ? one.endsAt : null,
        };
      }),
    ),
});

const order: fc.Arbitrary<Order> = fc
  .record({
    currency: fc.constantFrom(...currencies),
    lines: fc.uniqueArray(
      fc.record({ sku: fc.constantFrom(...skus), quantity: fc.integer({ min: 1, max: 5 }), cents: fc.nat(3_000) }),
      { minLength: 1, selector: ({ sku }) => sku },
    ),
    address: fc.option(
      fc.record({
        country: fc.constantFrom(...countries, 'JP'),
        state: fc.constantFrom(undefined, 'CA', 'ca', 'US-NY', 'us-ny', 'TX'),
      }),
      { freq: 5 },
    ),
    option: orNull(fc.nat(3)),
    codes: fc.uniqueArray(fc.constantFrom('SPRING', 'ten', 'VIP', 'ölfass', 'unknown'), { minLength: 1, maxLength: 4 }),
  })
  .map(({ lines, address, currency, ...rest }) => ({
    ...{ ...rest, currency },
    lines: lines.map(({ cents, ...line }) => ({ ...line, price: currency === 'EUR' ? cents / 100 : cents })),
    address: address && (address.state === undefined ? { country: address.country } : (address as { country: string })),
  }));

export const sale: fc.Arbitrary<{ shop: Shop; order: Order }> = fc.record({ shop, order });

const subtotalOf = ({ lines }: Order) =>
  sum(lines.map(({ quantity, price }) => new Exact(price).times(quantity))).toNumber();

/** The most specific rate: region and category, then region, then category, then the country alone. */
function rateFor({ taxRates }: Shop, { address }: Order, category: string | null) {
  const region = address?.state?.toUpperCase().replace(new RegExp(`^${address.country}-`), '') ?? null;
  const levels = [
    [region, category],
    [region, null],
    [null, category],
    [null, null],
  ];
  for (const [place, kind] of levels) {
    const found = taxRates.find(
      (rate) => rate.country === address?.country && rate.region === place && rate.category === kind,
    );
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The shipping option of an order: it must be offered for the country, currency and weight. */
export function offered({ options, products }: Shop, order: Order) {
  const weight = order.lines.reduce((total, { sku, quantity }) => {
    return total + quantity * (products.find((product) => product.sku === sku)?.weight ?? 0);
  }, 0);
  return options.flatMap((option, index) => {
    const isOffered =
      order.address !== null &&
      option.countries.includes(order.address.country) &&
      option.currency === order.currency &&
      weight >= (option.minWeight ?? 0) &&
      weight <= (option.maxWeight ?? Number.POSITIVE_INFINITY);
    const isFree = option.freeFrom !== null && subtotalOf(order) >= option.freeFrom;
    return isOffered ? [{ ...option, index, price: isFree ? 0 : option.price }] : [];
  });
}

/** Why a discount does not apply; undefined if it does. */
function refusalOf(discount: Shop['discounts'][number], order: Order, lines: string[] | undefined): string | undefined {
  if (discount.startsAt !== null && discount.startsAt > now) return 'not_started';
  if (discount.endsAt !== null && discount.endsAt <= now) return 'ended';
  if (discount.currency !== null && discount.currency !== order.currency) return 'other_currency';
  if (discount.minSubtotal !== null && subtotalOf(order) < discount.minSubtotal) return 'subtotal_too_low';
  if (lines?.length === 0) return 'no_item';
  return discount.usageLimit !== null && discount.used >= discount.usageLimit ? 'used_up' : undefined;
}

/** What the shop's rows make of an order: the input of the totals, and the codes that do not apply. */
export function inputOf(shop: Shop, order: Order): { input: Input; invalid: string[] } {
  const rates: Input['rates'] = [];
  const placeOf = (category: string | null): number | null => {
    const found = rateFor(shop, order, category);
    if (found === undefined) return null;
    const { name, rate } = found;
    const known = rates.findIndex((one) => one.name === name && one.rate === rate);
    return known >= 0 ? known : rates.push({ name, rate }) - 1;
  };
  const productOf = (sku: string) => shop.products.find((product) => product.sku === sku);
  const lines = order.lines.map((line, index) => {
    return { id: String(index + 1), ...line, tax: placeOf(productOf(line.sku)?.taxCategory ?? null) };
  });
  const option = offered(shop, order).find(({ index }) => index === order.option);
  const invalid = new Map(order.codes.map((code) => [code.toUpperCase(), 'unknown']));
  const discounts = shop.discounts.flatMap((discount, index): Discount[] => {
    const key = discount.code?.toUpperCase();
    if (key !== undefined && !invalid.has(key)) return [];
    const isLimited = discount.skus !== null || discount.collections !== null;
    const some = lines.filter(
      ({ sku }) =>
        discount.skus?.includes(sku) ||
        discount.collections?.some((collection) => productOf(sku)?.collections.includes(collection)),
    );
    const ids = isLimited ? some.map(({ id }) => id) : undefined;
    const refusal = refusalOf(discount, order, ids);
    if (key !== undefined) {
      if (refusal === undefined) invalid.delete(key);
      else invalid.set(key, refusal);
    }
    const { code, type, value, combinable } = discount;
    const applied = { id: `d-${index}`, name: 'Discount', type, value, combinable };
    return refusal === undefined
      ? [{ ...applied, ...(code === null ? {} : { code }), ...(ids === undefined ? {} : { lines: ids }) }]
      : [];
  });
  const shipping = option && { price: option.price, tax: placeOf(option.taxCategory) };
  return {
    input: {
      ...{
        currency: order.currency,
        taxIncluded: shop.pricesIncludeTax,
        reverseCharge: false,
        lines,
        rates,
        discounts,
      },
      shipping: shipping ?? null,
    },
    invalid: [...invalid].map(([code, reason]) => `${code} ${reason}`).sort(),
  };
}
