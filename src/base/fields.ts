import * as z from 'zod';
import { countries } from './countries.ts';
import { chargeable } from './currencies.ts';
import { isPlain, isVisible, trimmed } from './text.ts';
import { momentOf, toUtc } from './time.ts';
import './validation-messages.ts';

const notPlain = 'must not have control characters';

/** Text for people. It is trimmed and must not be empty then. Inner white space and line breaks stay. */
export const text = (max: number) =>
  z
    .string()
    .overwrite((value) => trimmed(value.normalize('NFC')))
    .min(1)
    .max(max, { abort: true })
    .refine(isPlain, { error: notPlain })
    .refine((value) => value === '' || isVisible(value), { error: 'must not be empty' });

/** An identifier from an external system. It is stored unchanged, because it is compared with later messages. */
export const exact = (max: number) => z.string().min(1).max(max, { abort: true }).refine(isPlain, { error: notPlain });

/** A free-text remark from an external system. It is cut to `max` and loses the characters that cannot be stored. */
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

/** One line of text that begins and ends with a visible character. */
export const word = (max: number) =>
  z
    .string()
    // A letter can be written as several code points. Normalized, names that look the same are equal.
    .overwrite((value) => value.normalize('NFC'))
    .min(1)
    .max(max, { abort: true })
    .refine(isPlain, { error: notPlain })
    .refine((value) => trimmed(value) === value, { error: 'must not begin or end with white space' })
    .refine((value) => !/[\n\r\t]/.test(value), { error: 'must be one line' });

/** An id that this system made: a UUID. */
export const id = z
  .string()
  .regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, { error: (issue) => idMessage(issue.input) });

const idMessage = (input: unknown): string =>
  input === undefined ? 'is required' : 'must be an id, such as 019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f';

/**
 * A stock-keeping unit: case-sensitive, 1 to 64 characters. `.` and `..` are rejected, since URLs resolve them away.
 */
export const sku = word(64)
  .refine((value) => !/^\.\.?$/.test(value), { error: 'must not be . or ..' })
  .meta({ description: 'Stock-keeping unit, case-sensitive', examples: ['TEE-BLACK-M'] });

/** An e-mail address. What stands before and after the `@` is the mail server's business. */
export const email = word(254).refine((value) => /^[^\s@]+@[^\s@]+$/.test(value), {
  error: 'must be an e-mail address, such as ada@example.com',
});

/** The client's own identifier for a customer, a user or an organization. */
export const reference = word(255);

/**
 * Money as a JSON number: not negative, at most two decimals, below 100,000,000 (DECIMAL(10,2)). JavaScript prints such
 * a number as the decimal that the client wrote. json.ts rejects the numbers for which that is not true.
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

/** A merchant's own strings about a resource. */
export const metadata = z
  .record(word(40), z.string().max(500, { abort: true }).refine(isPlain, { error: notPlain }))
  .refine((strings) => Object.keys(strings).length <= 50, { error: 'must have at most 50 entries' })
  .meta({ description: 'Your own strings: at most 50, with names of 40 and values of 500 characters' });

/** The part of a shop's URL that names a resource. */
export const slug = z
  .string()
  .max(200, { abort: true })
  .regex(/^[\p{Ll}\p{Lo}\p{M}\p{N}]+(-[\p{Ll}\p{Lo}\p{M}\p{N}]+)*$/u, {
    error: 'must be lower-case letters and digits with single hyphens between them, such as black-t-shirt',
  })
  .meta({ examples: ['black-t-shirt'] });

/** The largest stock of one SKU, held units included. Far below the largest integer, so sold units can be put back. */
export const maxUnits = 1_000_000_000;

/** A whole number in a request. */
export const whole = z
  .number({
    error: ({ input }) =>
      input === undefined || typeof input === 'number' ? undefined : 'must be a whole number, such as 3',
  })
  .int();

/** A number of units in stock. */
export const count = whole.min(0).max(maxUnits);

/** Units added to the stock (positive) or taken from it (negative). Never 0. */
export const unitsMoved = whole
  .min(-maxUnits)
  .max(maxUnits)
  .refine((delta) => delta !== 0, { error: 'must not be 0' });

const examples = ['2026-01-31T12:00:00.000Z'];

/** A time in a response: UTC, to the millisecond. */
export const time = z.iso.datetime().meta({ examples });

/** A time in a request: RFC 3339 with any offset. It is converted to UTC, to the nearest millisecond. */
export const instant = z
  .string()
  .max(80, { abort: true })
  .refine((value) => momentOf(value) !== undefined, {
    error: 'must be a time, such as 2026-01-31T12:00:00Z',
    abort: true,
  })
  .overwrite(toUtc)
  .meta({ format: 'date-time', examples });

export const country = z
  .string()
  .refine((code) => countries.has(code), { error: 'must be a country code of ISO 3166-1 in upper case, such as GB' })
  .meta({ description: 'ISO 3166-1 alpha-2, or XK for Kosovo', examples: ['GB'] });

export const address = z
  .object({
    name: text(200).optional(),
    company: text(200).optional(),
    line1: text(200),
    line2: text(200).optional(),
    city: text(200),
    state: text(200).optional(),
    postalCode: text(32).optional(),
    country,
    phone: text(64).optional(),
    email: text(254).optional(),
  })
  .catchall(text(500))
  .meta({ id: 'Address' });

const maxAddressText = 10_000;

/** An address that a shopper may send. Anybody can make carts, so they must not become a store of large texts. */
export const newAddress = address
  .refine((value) => JSON.stringify(value).length <= maxAddressText, {
    error: `must have at most ${maxAddressText} characters in all, as JSON`,
  })
  .meta({ id: 'NewAddress' });

/** The sender of a parcel. */
export const sender = address.extend({ name: text(200) }).meta({ id: 'Sender' });

const millimetres = whole.min(1).max(10_000);

/** The weight and size of a parcel. */
export const parcel = z
  .strictObject({
    weightGrams: whole.min(1).max(100_000),
    lengthMm: millimetres,
    widthMm: millimetres,
    heightMm: millimetres,
  })
  .meta({ id: 'Parcel' });

const isWebUrl = (value: string, scheme: RegExp): boolean =>
  scheme.test(value) && !/[\s\\]/.test(value) && URL.canParse(value) && new URL(value).username === '';

/** The address of a public web page. It is stored unchanged. */
export const webUrl = exact(2_000)
  .refine((value) => isWebUrl(value, /^https:\/\/[^/]/), { error: 'must be a URL that begins with https://' })
  .meta({ format: 'uri', examples: ['https://shop.example/terms'] });

/** The address of a part of the tenant's own site. During development it may be on the developer's machine. */
export const siteUrl = exact(2_000)
  .refine((value) => isWebUrl(value, /^(https:\/\/[^/]|http:\/\/(localhost|127\.0\.0\.1)(:\d+)?(\/|$))/), {
    error: 'must be a URL that begins with https://, or with http://localhost during development',
    abort: true,
  })
  .refine((value) => !/[?#]/.test(value), { error: 'must not have a query or a fragment' })
  .meta({ format: 'uri', examples: ['https://shop.example'] });

export const defaultLimit = 20;

/** `?limit=`: the page size. Only decimal digits, since `Number` also accepts `0x10`, `1e1`, `+5` and ` 5`. */
export const limit = z
  .string()
  .refine((written) => /^0*([1-9]\d?|100)$/.test(written), { error: 'must be a whole number from 1 to 100' })
  .transform(Number)
  .default(defaultLimit)
  .meta({ type: 'integer', minimum: 1, maximum: 100 });

/** `?limit=` and `?cursor=`. src/http/cursor.ts checks the format of a cursor. */
export const page = { limit, cursor: z.string().optional() };
