import * as z from 'zod';

/** Text that Postgres can store and a client gets back unchanged: no NUL, no lone surrogate, no control characters. */
export const text = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .refine((value) => value.isWellFormed() && !/[\p{Cc}]/u.test(value.replace(/[\n\t\r]/g, '')), {
      error: 'must be text without control characters',
    });

/** One line of text that does not begin or end with a space. */
const word = (max: number) =>
  text(max).refine((value) => value.trim() === value && !/[\n\r\t]/.test(value), {
    error: 'must not begin or end with white space',
  });

/** A UUID of ours. */
export const id = z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);

/** A stock-keeping unit: case-sensitive, 1 to 64 characters. `.` and `..` are steps of a path: no URL could name them. */
export const sku = word(64)
  .refine((value) => !/^\.\.?$/.test(value), { error: 'must not be . or ..' })
  .meta({ description: 'Stock-keeping unit, case-sensitive', examples: ['TEE-BLACK-M'] });

/** What a client calls something of its own: a customer, a user, an organization. */
export const reference = word(255);

/**
 * Money as a JSON number: not negative, at most two decimals, below 100,000,000 (DECIMAL(10,2)). The shortest text that
 * JavaScript prints of it is the decimal that the client wrote (see json.ts for the ones where it is not).
 */
export const money = z
  .number()
  .nonnegative()
  .lt(100_000_000)
  .refine((value) => /^\d+(\.\d{1,2})?$/.test(String(value)), { error: 'must have at most two decimals' })
  .meta({ description: 'Decimal amount in the currency beside it, at most two decimals', examples: [29.99] });

const withoutDecimals = new Set('BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'.split(' '));

/** How many decimals an amount in this currency may have (ISO 4217; the API never takes more than two). */
export const decimalsOf = (currency: string): 0 | 2 => (withoutDecimals.has(currency) ? 0 : 2);

/** Whether an amount is one of this currency's. */
export const fitsCurrency = (amount: number, currency: string): boolean =>
  decimalsOf(currency) === 2 || Number.isInteger(amount);

export const currency = z
  .string()
  .regex(/^[A-Z]{3}$/, { error: 'must be a currency code of ISO 4217, like USD' })
  .refine((code) => Intl.supportedValuesOf('currency').includes(code), { error: 'is no currency of ISO 4217' })
  .meta({ description: 'ISO 4217', examples: ['USD'] });

/** The most units of one SKU, held ones included: far below the largest integer, so that sold units fit back. */
export const mostUnits = 1_000_000_000;

/** A count of units on stock. */
export const count = z.number().int().min(0).max(mostUnits);

/** Units that come to the stock, or go; never none. */
export const unitsMoved = z
  .number()
  .int()
  .min(-mostUnits)
  .max(mostUnits)
  .refine((delta) => delta !== 0, { error: 'must not be 0' });

export const time = z.iso.datetime().meta({ examples: ['2026-01-31T12:00:00.000Z'] });

export const address = z
  .object({
    name: text(200).optional(),
    company: text(200).optional(),
    line1: text(200),
    line2: text(200).optional(),
    city: text(200),
    state: text(200).optional(),
    postalCode: text(32).optional(),
    country: z.string().regex(/^[A-Z]{2}$/, { error: 'must be a country code of ISO 3166, like GB' }),
    phone: text(64).optional(),
    email: text(254).optional(),
  })
  .catchall(text(500))
  .meta({ id: 'Address' });

/** `?limit=`: how many rows a page has. */
export const limit = z.coerce.number().int().min(1).max(100).default(20);

/** `?limit=` and `?cursor=`; of a cursor's form, cursor.ts decides. */
export const page = { limit, cursor: z.string().optional() };
