import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromCursor, toCursor } from '../../src/http/cursor.ts';

const list = '/v1/products?currency=USD';
const position = fc.string({ unit: 'grapheme', maxLength: 64 }).filter((text) => text.isWellFormed());
const code = (name: string, cursor: string) => {
  try {
    return fromCursor(name, cursor);
  } catch (error) {
    return { code: (error as { code: string }).code };
  }
};
const invalid = { code: 'invalid_cursor' };
const settings = { seed: 20260131, numRuns: 500 };

describe('a cursor', () => {
  test('returns the position it was made from, and needs no escaping in a URL', () => {
    fc.assert(
      fc.property(position, (at) => {
        const cursor = toCursor(list, at);
        expect(cursor).toMatch(/^[\w-]+$/);
        expect(fromCursor(list, cursor)).toBe(at);
      }),
      settings,
    );
    expect(fromCursor(list, undefined)).toBeUndefined();
  });

  test('with one character changed, added or removed is rejected', () => {
    fc.assert(
      fc.property(position, fc.nat(), fc.constantFrom(...'ABCxyz019-_=% '), (at, place, other) => {
        const cursor = toCursor(list, at);
        const n = place % cursor.length;
        fc.pre(cursor[n] !== other);
        expect(code(list, cursor.slice(0, n) + other + cursor.slice(n + 1))).toEqual(invalid);
        expect(code(list, cursor.slice(0, n) + cursor.slice(n + 1))).toEqual(invalid);
        expect(code(list, cursor.slice(0, n) + other + cursor.slice(n))).toEqual(invalid);
      }),
      settings,
    );
  });

  test('for another list or other filters is rejected', () => {
    fc.assert(
      fc.property(position, (at) => {
        for (const other of ['/v1/products?', '/v1/products?currency=EUR', '/v1/orders?currency=USD', '']) {
          expect(code(other, toCursor(list, at))).toEqual(invalid);
        }
      }),
      settings,
    );
  });

  test('made of random text is rejected without another error', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        expect(code(list, text)).toEqual(invalid);
      }),
      settings,
    );
    for (const text of ['', '=', 'AAAA', '\ud800', 'a'.repeat(100_000)]) expect(code(list, text)).toEqual(invalid);
  });
});
