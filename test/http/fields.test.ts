import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { countries } from '../../src/base/countries.ts';
import {
  address,
  currency,
  exact,
  id,
  instant,
  limit,
  money,
  reference,
  remark,
  sku,
  text,
  whole,
} from '../../src/base/fields.ts';

const messagesOf = (schema: z.ZodType, value: unknown): string[] =>
  schema.safeParse(value).error?.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`.trim()) ?? [];
const read = (schema: z.ZodType, value: unknown): unknown => {
  const result = schema.safeParse(value);
  return result.success ? result.data : 'refused';
};

describe('a timestamp in a request', () => {
  test.each([
    ['2026-01-31T12:00:00Z', '2026-01-31T12:00:00.000Z'],
    ['2026-01-31t12:00:00z', '2026-01-31T12:00:00.000Z'],
    ['2026-01-31T12:00:00+02:00', '2026-01-31T10:00:00.000Z'],
    ['2026-01-31T12:00:00.5-05:30', '2026-01-31T17:30:00.500Z'],
    ['2026-01-01T00:30:00+01:00', '2025-12-31T23:30:00.000Z'],
    ['2026-01-31T12:00:00.9999999Z', '2026-01-31T12:00:01.000Z'],
    ['2026-01-31T12:00:00.0004999999999Z', '2026-01-31T12:00:00.000Z'],
    ['2026-01-31T12:00:00-00:00', '2026-01-31T12:00:00.000Z'],
    ['2016-12-31T23:59:60Z', '2017-01-01T00:00:00.000Z'],
    ['2017-01-01T05:29:60.5+05:30', '2017-01-01T00:00:00.500Z'],
    ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00.000Z'],
    ['9999-12-31T23:59:59.9994Z', '9999-12-31T23:59:59.999Z'],
  ])('%s is read as %s', (written, expected) => expect(read(instant, written)).toBe(expected));

  test.each([
    ...[
      '0000-01-01T00:00:00Z',
      '0001-01-01T00:00:00+00:01',
      '9999-12-31T23:59:59.9999999Z',
      '9999-12-31T23:59:00-00:01',
    ],
    ...[
      '9999-12-31T23:59:60Z',
      '2026-02-29T00:00:00Z',
      '2026-13-01T00:00:00Z',
      '2026-00-01T00:00:00Z',
      '2026-01-00T00:00:00Z',
    ],
    ...[
      '2026-01-31T24:00:00Z',
      '2026-01-31T12:60:00Z',
      '2026-01-31T12:00:60Z',
      '2026-01-31T23:59:61Z',
      '2026-01-31T12:00:00',
    ],
    ...[
      '2026-01-31T12:00:00+24:00',
      '2026-01-31T12:00:00+02',
      '2026-01-31T12:00:00+0200',
      '2026-01-31T12:00Z',
      '2026-01-31',
    ],
    ...[
      '2026-01-31 12:00:00Z',
      '+002026-01-31T12:00:00Z',
      '-000001-01-01T00:00:00Z',
      ' 2026-01-31T12:00:00Z',
      '',
      'now',
    ],
    ...[
      '2026-01-31T12:00:00.Z',
      `2026-01-31T12:00:00.${'9'.repeat(100)}Z`,
      '20260131T120000Z',
      '1769860800',
      1769860800,
      null,
    ],
  ])('%s is rejected', (written) => expect(read(instant, written)).toBe('refused'));

  test('is read as the same moment that JavaScript parses, for every offset', () => {
    const parts = fc.record({
      at: fc.date({
        min: new Date('0002-01-01T00:00:00Z'),
        max: new Date('9998-12-31T00:00:00Z'),
        noInvalidDate: true,
      }),
      minutes: fc.integer({ min: -1_439, max: 1_439 }),
    });
    const twoDigits = (n: number) => String(n).padStart(2, '0');
    fc.assert(
      fc.property(parts, ({ at, minutes }) => {
        const local = new Date(at.getTime() + minutes * 60_000).toISOString().slice(0, -1);
        const offset = Math.abs(minutes);
        const written = `${local}${minutes < 0 ? '-' : '+'}${twoDigits(Math.floor(offset / 60))}:${twoDigits(offset % 60)}`;
        expect(read(instant, written)).toBe(at.toISOString());
      }),
      { seed: 20261129, numRuns: 500 },
    );
  });
});

describe('a string', () => {
  const blank = [
    ' ',
    '\t\n\r',
    '\u00a0',
    '\u2003',
    '\u3000',
    '\u200b',
    '\u200d',
    '\ufeff',
    '\u00ad',
    '\u2800',
    '\u3164',
    '\u200b \u2060',
  ];

  test.each(blank.map((characters) => [JSON.stringify(characters), characters]))('of %s is empty', (_, characters) => {
    expect(messagesOf(text(10), characters)).toEqual(['must not be empty']);
    expect(read(text(10), `${characters}a b${characters}`)).toBe('a b');
    expect(read(sku, characters)).toBe('refused');
    expect(read(reference, `a${characters}`)).toBe('refused');
    const home = { name: 'A', line1: 'l', city: 'c', country: 'GB' };
    for (const field of ['name', 'line1', 'city', 'postalCode', 'anything']) {
      expect(messagesOf(address, { ...home, [field]: characters })).toEqual([`${field} must not be empty`]);
    }
  });

  test.each(['\u202a', '\u2066\u2069', '\ufe0f', '\u{e0001}'])('of invisible characters is empty', (characters) => {
    expect(messagesOf(text(10), characters)).toEqual(['must not be empty']);
  });

  test.each(['a\0b', '\ud800', 'a\udc00', '\u0007', 'a\u0085b', '\u009fx'])(
    'that cannot be stored is rejected: %j',
    (value) => {
      for (const schema of [text(10), exact(10), sku, reference]) expect(read(schema, value)).toBe('refused');
      expect(read(remark(10), `x${value}`)).toMatch(/^x/);
    },
  );

  test('of 1 MB of white space is checked in linear time', () => {
    expect(messagesOf(text(10), `a${' '.repeat(1_000_000)}b`)).toEqual(['must have at most 10 characters']);
    expect(messagesOf(text(10), ' '.repeat(1_000_000))).toEqual(['must not be empty']);
  });
});

test('a country is one of ISO 3166-1 or Kosovo, and each has a name that a label can print', () => {
  expect(countries.size).toBe(250);
  const names = new Intl.DisplayNames('en', { type: 'region', fallback: 'none' });
  for (const code of countries) expect([code, names.of(code)]).toEqual([code, expect.stringMatching(/\w/)]);
  const home = { name: 'A', line1: 'l', city: 'c' };
  for (const country of ['ZZ', 'UK', 'CS', 'AA', 'EU', 'SU', 'YU', 'AN', 'gb', 'GBR', 'G', '', '826', 'constructor']) {
    expect(messagesOf(address, { ...home, country })).toEqual([
      'country must be a country code of ISO 3166-1 in upper case, such as GB',
    ]);
  }
  expect(read(address, { ...home, country: 'GB' })).toEqual({ ...home, country: 'GB' });
});

test('an error message says in plain words what a value must be', () => {
  const body = z.strictObject({
    ...{ name: text(5), price: money, count: whole.min(1).max(9), id, currency },
    ...{ status: z.enum(['active', 'archived']), items: z.array(z.string()).min(1).max(2), at: instant },
  });
  const scalars = { name: 'n', price: 1, count: 1, id: '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f', currency: 'USD' };
  const valid = { ...scalars, status: 'active', items: ['a'], at: '2026-01-31T12:00:00Z' };
  const messagesWith = (fields: object) => messagesOf(body, { ...valid, ...fields });
  expect(messagesWith({})).toEqual([]);
  expect(messagesOf(body, {})).toEqual(Object.keys(valid).map((name) => `${name} is required`));
  expect(messagesWith({ price: '19.99' })).toEqual(['price must be a number, such as 19.99']);
  expect(messagesWith({ price: null })).toEqual(['price must be a number, such as 19.99']);
  expect(messagesWith({ price: Number.POSITIVE_INFINITY })).toEqual([
    'price has more digits than can be kept, or is too large',
  ]);
  expect(messagesWith({ price: 1.234 })).toEqual(['price must have at most two decimals']);
  expect(messagesWith({ price: -1 })).toEqual(['price must be at least 0']);
  for (const count of [1.5, '2', 'two', null, [1]]) {
    expect(messagesWith({ count })).toEqual(['count must be a whole number, such as 3']);
  }
  expect(messagesWith({ count: 10 })).toEqual(['count must be at most 9']);
  expect(messagesWith({ status: 'gone' })).toEqual(['status must be one of: active, archived']);
  expect(messagesWith({ items: [] })).toEqual(['items must have at least 1 entry']);
  expect(messagesWith({ items: ['a', 'b', 'c'] })).toEqual(['items must have at most 2 entries']);
  expect(messagesWith({ items: {} })).toEqual(['items must be a list']);
  expect(messagesWith({ name: 'longer' })).toEqual(['name must have at most 5 characters']);
  expect(messagesWith({ name: 5 })).toEqual(['name must be text']);
  expect(messagesWith({ id: '5' })).toEqual(['id must be an id, such as 019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f']);
  expect(messagesWith({ currency: 'usd' })).toEqual(['currency must be a currency code of ISO 4217, such as USD']);
  expect(messagesWith({ at: 'soon' })).toEqual(['at must be a time, such as 2026-01-31T12:00:00Z']);
  expect(messagesOf(body, [])).toEqual(['must be an object']);
  expect(messagesOf(limit, 'many')).toEqual(['must be a whole number from 1 to 100']);
  expect(messagesOf(limit, '101')).toEqual(['must be a whole number from 1 to 100']);
});
