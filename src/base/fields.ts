import * as z from 'zod';
import { countries } from './countries.ts';
import { chargeable } from './currencies.ts';
import { isPlain, isVisible, trimmed } from './text.ts';
import { momentOf, toUtc } from './time.ts';
import './validation-messages.ts';

const notPlain = 'must not have control characters';

/** Text for people: trimmed, and not empty after that. White space within it stays, new lines too. */
export const text = (max: number) =>
  z
    .string()
    .overwrite((value) => trimmed(value.normalize('NFC')))
    .min(1)
    .max(max, { abort: true })
    .refine(isPlain, { error: notPlain })
    .refine((value) => value === '' || isVisible(value), { error: 'must not be empty' });

/** Text that others have made up and that is compared with what they say elsewhere: it is kept as it is. */
export const exact = (max: number) => z.string().min(1).max(max, { abort: true }).refine(isPlain, { error: notPlain });

/** A remark of others, for people to read: cut where it is too long, without the characters that cannot be stored. */
export const remark = (max: number) =>
  z.string().transform(
    (value) =>
      trimmed(
        value
          .slice(0, max)
          .toWellFormed()
          .replaceAll(/\p{Cc}/gu, ' '),
      ) || undefined,
  );

/** One line of text that begins and ends with a character that can be seen. */
const word = (max: number) =>
  z
    .string()
    // One letter can be written as several code points: names that look the same are the same.
    .overwrite((value) => value.normalize('NFC'))
    .min(1)
    .max(max, { abort: true })
    .refine(isPlain, { error: notPlain })
    .refine((value) => trimmed(value) === value, { error: 'must not begin or end with white space' })
    .refine((value) => !/[\n\r\t]/.test(value), { error: 'must be one line' });

/** A UUID of ours. */
export const id = z
  .string()
  .regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, { error: (issue) => idWords(issue.input) });

const idWords = (input: unknown): string =>
  input === undefined ? 'is required' : 'must be an id, such as 019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f';

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
  .nonnegative({ abort: true })
  .lt(100_000_000, { abort: true })
  .refine((value) => /^\d+(\.\d{1,2})?$/.test(String(value)), { error: 'must have at most two decimals' })
  .meta({ description: 'Decimal amount in the currency beside it, at most two decimals', examples: [29.99] });

export const currency = z
  .string()
  .regex(/^[A-Z]{3}$/, { error: 'must be a currency code of ISO 4217, such as USD', abort: true })
  .refine((code) => chargeable.has(code), { error: 'must be a currency that Stripe can charge, such as USD' })
  .meta({ description: 'ISO 4217; a currency that Stripe can charge', examples: ['USD'] });

/** The most units of one SKU, held ones included: far below the largest integer, so that sold units fit back. */
export const maxUnits = 1_000_000_000;

/** A whole number of a request. Anything else in its place is told so. */
export const whole = z
  .number({
    error: ({ input }) =>
      input === undefined || typeof input === 'number' ? undefined : 'must be a whole number, such as 3',
  })
  .int();

/** A count of units on stock. */
export const count = whole.min(0).max(maxUnits);

/** Units that come to the stock, or go; never none. */
export const unitsMoved = whole
  .min(-maxUnits)
  .max(maxUnits)
  .refine((delta) => delta !== 0, { error: 'must not be 0' });

const examples = ['2026-01-31T12:00:00.000Z'];

/** A time in an answer: UTC, to the millisecond. */
export const time = z.iso.datetime().meta({ examples });

/** A time in a request, of RFC 3339 with any offset; read as UTC, to the nearest millisecond. */
export const instant = z
  .string()
  .max(80, { abort: true })
  .refine((value) => momentOf(value) !== undefined, {
    error: 'must be a time, such as 2026-01-31T12:00:00Z',
    abort: true,
  })
  .overwrite(toUtc)
  .meta({ format: 'date-time', examples });

export const address = z
  .object({
    name: text(200).optional(),
    company: text(200).optional(),
    line1: text(200),
    line2: text(200).optional(),
    city: text(200),
    state: text(200).optional(),
    postalCode: text(32).optional(),
    country: z
      .string()
      .refine((code) => countries.has(code), { error: 'must be a country code of ISO 3166-1, such as GB' })
      .meta({ description: 'ISO 3166-1 alpha-2, or XK for Kosovo', examples: ['GB'] }),
    phone: text(64).optional(),
    email: text(254).optional(),
  })
  .catchall(text(500))
  .meta({ id: 'Address' });

export const defaultLimit = 20;

/** `?limit=`: how many rows a page has. Decimal digits alone: `Number` would also read `0x10`, `1e1`, `+5` and ` 5`. */
export const limit = z
  .string()
  .refine((written) => /^0*([1-9]\d?|100)$/.test(written), { error: 'must be a whole number from 1 to 100' })
  .transform(Number)
  .default(defaultLimit)
  .meta({ type: 'integer', minimum: 1, maximum: 100 });

/** `?limit=` and `?cursor=`; of a cursor's form, cursor.ts decides. */
export const page = { limit, cursor: z.string().optional() };
