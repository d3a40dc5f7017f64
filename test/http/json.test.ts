import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chunksOf, readBytes } from '../../src/base/body.ts';
import { parseJson, readJson } from '../../src/base/json.ts';
import { scanJson } from '../../src/base/json-scan.ts';

const request = (
  body: BodyInit | null,
  type: string | null = 'application/json',
  headers: Record<string, string> = {},
) => {
  const created = new Request('http://test/', {
    method: 'POST',
    body,
    headers,
    ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
  } as RequestInit);
  if (type === null) created.headers.delete('content-type');
  else created.headers.set('content-type', type);
  return created;
};
const outcomeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'read',
    (error: { code: string }) => error.code,
  );

describe('a number in JSON', () => {
  test('is accepted if a double represents it exactly, and becomes infinite if not', () => {
    const decimal = fc
      .tuple(fc.boolean(), fc.nat(), fc.stringMatching(/^\d{0,18}$/), fc.option(fc.integer({ min: -12, max: 12 })))
      .map(([negative, whole, fraction, exponent]) => {
        const sign = negative ? '-' : '';
        const power = exponent === null ? '' : `e${exponent}`;
        return {
          written: `${sign}${whole}${fraction && `.${fraction}`}${power}`,
          whole,
          fraction,
          exponent: exponent ?? 0,
        };
      });
    fc.assert(
      fc.property(decimal, ({ written, whole, fraction, exponent }) => {
        const [parsed] = parseJson(`[${written}]`) as [number];
        // Compare as integers of 10^-40, which represent every generated number exactly.
        const exact = BigInt(`${whole}${fraction}`) * 10n ** BigInt(40 + exponent - fraction.length);
        const printed = /^-?(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(Number(written)));
        const [, digits = '', decimals = '', power = '0'] = printed ?? [];
        const parsedExact = BigInt(digits + decimals) * 10n ** BigInt(40 + Number(power) - decimals.length);
        if (parsedExact === exact) expect(parsed).toBe(Number(written));
        else expect(parsed).toBe(Number(written) < 0 || written.startsWith('-') ? -Infinity : Infinity);
      }),
      { seed: 20260131, numRuns: 2_000 },
    );
  });

  test.each([
    ['29.99', 29.99],
    ['2999e-2', 29.99],
    ['-2999E-2', -29.99],
    ['1e2', 100],
    ['0.10000000000000000000', 0.1],
    ['100000000000000000000', 1e20],
    ['-0', -0],
    ['0e5', 0],
    ['0.000', 0],
  ])('%s is parsed exactly', (written, value) => {
    expect(parseJson(`{"a":[${written}]}`)).toEqual({ a: [value] });
  });

  test.each([
    '29.990000000000000001',
    '0.30000000000000000004',
    '9007199254740993',
    '1e400',
    '1e-400',
    '123456789012345678',
  ])('%s is never rounded silently', (written) => {
    expect(parseJson(`{"a":[${written}]}`)).toEqual({ a: [Number.POSITIVE_INFINITY] });
  });

  test.each([
    '1.2.34567890123456789',
    '1-12345678901234567',
    '1e5e5',
    '01234567890123456789',
    '1.',
    '1e',
    '12345678901234567.',
  ])('%s is not JSON and is not parsed as a number', (written) => {
    expect(() => parseJson(`[${written}]`)).toThrow(SyntaxError);
  });

  test('inside a string is not changed', () => {
    const text = '{"a":"29.990000000000000001","1e5":"9007199254740993 1e400"}';
    expect(parseJson(text)).toEqual(JSON.parse(text));
  });
});

test('a text of 1 MB is scanned in linear time, whatever it contains', () => {
  const size = 1_000_000;
  const fill = (unit: string) => unit.repeat(Math.ceil(size / unit.length)).slice(0, size);
  // If the scanner looked ahead or back at every character, each of these texts would take hours.
  for (const text of [
    `[1${fill('0')}1]`,
    `[0.${fill('0')}1]`,
    `["${fill('\\\\')}"]`,
    `["${fill('\\"')}"]`,
    `["${fill('\\"')}`,
    fill('1e5,'),
    fill('1e'),
    fill('"'),
    fill('-'),
    `[${fill('123456789012345678,')}1]`,
  ]) {
    const scan = scanJson(text);
    expect(scan.levels).toBeLessThanOrEqual(1);
  }
});

test('everything else is parsed as by JSON.parse', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = JSON.stringify(value);
      expect(parseJson(text)).toEqual(JSON.parse(text));
    }),
    { seed: 20260131 },
  );
  const parsed = parseJson('{"__proto__":{"price":1},"n":1e1}') as object;
  expect(Object.getPrototypeOf(parsed)).toBe(Object.prototype);
  expect(Object.keys(parsed)).toEqual(['__proto__', 'n']);
});

describe('a body', () => {
  /** A stream of bytes, as workerd's bodies are. `next` returns undefined at the end. */
  const streamOf = (next: () => Uint8Array | undefined) =>
    new ReadableStream({
      type: 'bytes',
      pull(controller) {
        const chunk = next();
        if (chunk) return controller.enqueue(chunk);
        controller.close();
        controller.byobRequest?.respond(0); // ends a read that waits with its own buffer
      },
    });
  const blankStream = (chunks: number, size: number) => {
    let pulled = 0;
    const blank = () => new TextEncoder().encode(' '.repeat(size));
    return { stream: streamOf(() => (pulled++ < chunks ? blank() : undefined)), pulled: () => pulled };
  };

  test('is not read beyond its maximum length', async () => {
    const { stream, pulled } = blankStream(1_000, 65_536);
    expect(await outcomeOf(readJson(request(stream)))).toBe('body_too_large');
    expect(pulled()).toBeLessThan(25);
  });

  test('that comes byte by byte takes no more memory than its bytes', async () => {
    const sizes = new Set<number>();
    for await (const chunk of chunksOf(request(blankStream(5_000, 1).stream))) sizes.add(chunk.buffer.byteLength);
    expect([...sizes]).toEqual([1]);
  });

  test.each([1, 7, 65_536, 400_000])('that comes in pieces of %i bytes is read whole, in order', async (size) => {
    const length = Math.min(size * 200, 1_000_000);
    const bytes = Uint8Array.from({ length }, (_, n) => n % 251);
    const pieces = Array.from({ length: Math.ceil(length / size) }, (_, n) => bytes.slice(n * size, (n + 1) * size));
    const stream = streamOf(() => pieces.shift());
    expect(Buffer.from(await readBytes(request(stream))).equals(bytes)).toBe(true);
  });

  test('with a Content-Length above the maximum is not read at all', async () => {
    const { stream, pulled } = blankStream(2, 10);
    expect(await outcomeOf(readJson(request(stream, 'application/json', { 'content-length': '1048577' })))).toBe(
      'body_too_large',
    );
    expect(pulled()).toBeLessThanOrEqual(1);
  });

  test('that is missing is an empty object, with any content type', async () => {
    expect(await readJson(request(null))).toEqual({});
    expect(await readJson(request(null, null))).toEqual({});
  });

  test.each([
    ['application/json', 'read'],
    ['application/JSON;charset=utf-8', 'read'],
    ['application/problem+json', 'read'],
    ['text/plain', 'unsupported_media_type'],
    ['application/json-seq', 'unsupported_media_type'],
    ['xapplication/json', 'unsupported_media_type'],
    [null, 'unsupported_media_type'],
  ])('of type %s gives: %s', async (type, outcome) => {
    expect(await outcomeOf(readJson(request('{}', type)))).toBe(outcome);
  });

  test.each([
    ['{', 'malformed_json'],
    [new Uint8Array([0x22, 0xff, 0x22]), 'malformed_json'],
    [new Uint8Array([0x22, 0xed, 0xa0, 0x80, 0x22]), 'malformed_json'],
    [`${'['.repeat(200_000)}1e1${']'.repeat(200_000)}`, 'malformed_json'],
    [`${'['.repeat(128)}${']'.repeat(128)}`, 'read'],
    [`${'['.repeat(129)}${']'.repeat(129)}`, 'malformed_json'],
    [`{"a":${'{"a":'.repeat(128)}1${'}'.repeat(129)}`, 'malformed_json'],
    [`[${'1,'.repeat(19_999)}1]`, 'read'],
    [`[${'1,'.repeat(20_000)}1]`, 'body_too_large'],
    [`{"z":"1e5","a":[${'1,'.repeat(400_000)}1]}`, 'body_too_large'],
    ['{"a":{"\\u0000":1}}', 'validation_failed'],
    ['{"a":[{"\\uDC00":1}]}', 'validation_failed'],
    ['{"a":"\\ud83d\\ude00"}', 'read'],
    ['{"\\ud83d\\ude00":1}', 'read'],
  ])('%s gives: %s', async (body, outcome) => {
    expect(await outcomeOf(readJson(request(body)))).toBe(outcome);
  });
});
