import fc from 'fast-check';

/** JSON numbers as text: outside the range of int4, int8 and double, and zeros in every notation. */
const numbers = [
  ...['0', '-0', '-0.0', '0e0', '-1', '1', '1.0', '1.5', '29.999', '0.1', '99999999.99', '100000000', '1E5', '1e-2'],
  ...['2147483647', '2147483648', '-2147483648', '-2147483649', '9007199254740993', '9223372036854775807'],
  ...['9223372036854775808', '-9223372036854775809', '123456789012345678901234567890', '1e308', '1e309', '1e400'],
  ...['-1e400', '5e-324', '1e-400', '3.00000000000000000001', '1e99999999999'],
];

const texts = [
  ...['', ' ', '\\u0000', 'a\\u0000b', '\\ud800', '\\udc00x', '\\udfff\\ud800', '\\uffff', '\\u202e', '\\u0001', '\\n'],
  ...['__proto__', 'constructor', "' or 1=1; --", '$1', '%s%n', '{{7*7}}', '../../x', '..', '.', '*', 'null', 'NaN'],
  ...['Infinity', '1', 'true', '[]', '2026-02-30T00:00:00Z', '0000-01-01T00:00:00Z', '9999-12-31T23:59:59.999Z'],
  ...['2026-01-01T00:00:00+99:99', '+275760-09-13T00:00:00Z', '-000001-01-01T00:00:00Z', '😀', 'İıſK', 'e\\u0301'],
  ...[
    '9999-12-31T23:59:59.9999999Z',
    '2030-01-01T00:00:00.9999999Z',
    '2030-01-01T00:00:01Z',
    '0001-01-01T00:00:00+14:00',
  ],
  ...[
    '2030-01-01T00:00:00+02:00',
    '2016-12-31T23:59:60Z',
    '9999-12-31T23:59:00-00:01',
    '\\u200b',
    '\\u3000',
    '\\u2800',
  ],
  ...['ZZ', 'UK', 'GB', 'BTC', '2030-01-01t00:00:00z'],
  ...['00000000-0000-0000-0000-000000000000', '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f', 'USD', 'XTS', 'usd', 'ZWL'],
  ...['x'.repeat(256), 'ß'.repeat(65), 'x'.repeat(70_000)],
].map((text) => `"${text}"`);

const names = [
  ...['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', '', 'a/b~c', '\\u0000', '\\ud800'],
  ...['id', 'tenantId', 'tenant_id', 'price', 'status', 'length', 'then', 'toJSON', '0', '-1'],
];

const text = fc.string({ unit: 'binary', maxLength: 20 }).map((value) => JSON.stringify(value));
const leaf = fc.oneof(
  fc.constantFrom(...numbers),
  fc.constantFrom(...texts),
  text,
  fc.constantFrom('true', 'false', 'null'),
);

/** Any JSON value as text. Objects may have duplicate names, or the name `__proto__`. */
export const json: fc.Arbitrary<string> = fc.letrec<{ any: string }>((tie) => ({
  any: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    { arbitrary: leaf, weight: 4 },
    { arbitrary: fc.array(tie('any'), { maxLength: 4 }).map((items) => `[${items.join(',')}]`), weight: 1 },
    {
      arbitrary: fc
        .array(fc.tuple(fc.constantFrom(...names), tie('any')), { maxLength: 4 })
        .map((members) => `{${members.map(([name, value]) => `"${name}":${value}`).join(',')}}`),
      weight: 1,
    },
  ),
})).any;

const big: Record<string, () => string> = {
  'an array 200,000 deep': () => '['.repeat(200_000) + ']'.repeat(200_000),
  'an object 100,000 deep': () => `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`,
  'an array 5,000 deep, of numbers to be checked': () => `${'['.repeat(5_000)}1e400${']'.repeat(5_000)}`,
  'an array of 300,000': () => `[${'0,'.repeat(299_999)}0]`,
  'an object of 60,000 members': () =>
    `{${Array.from({ length: 60_000 }, (_, n) => `"k${n}":0`).join(',')},"__proto__":{"a":1}}`,
  'a text of 900 KB': () => `"${'\\u0000'.repeat(150_000)}"`,
  'a number of 900 KB': () => '9'.repeat(900_000),
  'a number of 900 KB, of zeros': () => `[1${'0'.repeat(900_000)}1]`,
  'an exponent beside 500,000 numbers': () => `{"z":"1e5","a":[${'1,'.repeat(499_999)}1]}`,
  'an exponent beside 8,000 numbers': () => `{"z":1e5,"a":[${'1,'.repeat(7_999)}1]}`,
  'a text of 1 MB of white space': () => `{"name":"a${' '.repeat(1_000_000)}b"}`,
  '15,000 unknown members': () => `{${Array.from({ length: 15_000 }, (_, n) => `"k${n}":0`).join(',')}}`,
  '15,000 items': () => `{"items":[${'1,'.repeat(14_999)}1],"customerId":"c"}`,
  '1 MB of empty lines': () => '\n'.repeat(1_000_000),
  '1 MB of tiny lines': () => 'x\n'.repeat(500_000),
  '1 MB of open quotes': () => '"\n'.repeat(500_000),
  '1 MB of commas': () => `sku,name\n${','.repeat(1_000_000)}`,
  '1 MB of columns': () => Array.from({ length: 100_000 }, (_, n) => `c${n}`).join(','),
  'ten megabytes': () => `{"a":"${'x'.repeat(10_000_000)}"}`,
  'ten megabytes of spaces': () => ' '.repeat(10_000_000),
};

const broken = [
  ...['{', '}', '[1,]', '{"a":1,}', "{'a':1}", '{a:1}', 'undefined', 'NaN', '-Infinity', '01', '.5', '1.', '+1'],
  ...[
    '"\\x"',
    '"\\u12"',
    '"\t"',
    '/**/{}',
    '{}{}',
    '{}\u0000',
    '\u0000',
    'nul',
    '"',
    '\ufeff\ufeff{}',
    '<a/>',
    'a=b&c=d',
  ],
];

/** The bytes of any body, from random JSON to invalid JSON and random bytes, and a description of it. */
export const anyBody: fc.Arbitrary<{ description: string; bytes: Uint8Array }> = fc.oneof(
  { arbitrary: json.map((body) => ({ description: body.slice(0, 200), bytes: Buffer.from(body) })), weight: 6 },
  {
    arbitrary: fc
      .constantFrom(...broken)
      .map((body) => ({ description: JSON.stringify(body), bytes: Buffer.from(body) })),
    weight: 3,
  },
  {
    arbitrary: fc.uint8Array({ minLength: 1, maxLength: 40 }).map((bytes) => ({ description: `[${bytes}]`, bytes })),
    weight: 1,
  },
  {
    arbitrary: fc
      .constantFrom(...Object.keys(big))
      .map((name) => ({ description: name, bytes: Buffer.from(big[name]?.() ?? '') })),
    weight: 1,
  },
);

/** The value of a header: Latin-1 without control characters. */
export const headerValue = fc.oneof(
  fc.constantFrom(
    ...[
      '',
      '*',
      '"',
      '""',
      'W/"1"',
      '"1"',
      '"1", *',
      ',,,',
      ';',
      '=',
      'null',
      '-1',
      '1e9',
      'x'.repeat(300),
      'ÿ'.repeat(40),
    ],
    ...[
      'respond-async',
      'respond-async;wait=1e400',
      'Bearer',
      'Bearer x',
      'Bearer sk_test_',
      'Basic YTpi',
      '%00',
      '../..',
    ],
    ...['00-00000000000000000000000000000000-0000000000000000-00', `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`],
    ...['application/json', 'text/html', 'application/json; charset=utf-16', 'multipart/form-data', 'x/y;q=2', 'gzip'],
    ...[
      "' or 1=1; --",
      '"0-"',
      `"${'9'.repeat(400)}-x"`,
      '"99999999999999999999-00"',
      '"1-',
      't=0,v1=00',
      't=1e400,v1=',
    ],
  ),
  fc
    .string({
      unit: fc
        .integer({ min: 0x20, max: 0xff })
        .filter((c) => c !== 0x7f)
        .map((c) => String.fromCharCode(c)),
      maxLength: 60,
    })
    .map((value) => value.trim()),
);

export const headerName = fc.constantFrom(
  ...[
    'Idempotency-Key',
    'If-Match',
    'If-None-Match',
    'Prefer',
    'Authorization',
    'Accept',
    'Content-Type',
    'traceparent',
  ],
  ...['tracestate', 'X-Request-Id', 'Last-Event-ID', 'Range', 'Origin', 'Cookie', 'X-Forwarded-For', 'X-Tenant-Id'],
  ...[
    'X-HTTP-Method-Override',
    'Stripe-Signature',
    'X-Signature',
    'Content-Encoding',
    'Accept-Encoding',
    'Accept-Language',
  ],
);

/** A path segment, encoded as in the request line. */
export const segment = fc.oneof(
  fc.constantFrom(
    ...[
      '',
      '.',
      '..',
      '%2e%2e',
      '%2E',
      '%00',
      '%2F',
      '%5C',
      '\\',
      '%',
      '%zz',
      '%ff',
      '%ed%a0%80',
      '%E0%A4%A',
      '*',
      ':id',
      '{id}',
    ],
    ...[
      'by-sku',
      'import',
      'null',
      'undefined',
      '0',
      '-1',
      'a'.repeat(5_000),
      '%61'.repeat(500),
      ';a=b',
      '@',
      '~',
      "';--",
    ],
    ...[
      '00000000-0000-0000-0000-000000000000',
      '019AB3F1-0A4B-7C3D-8E5F-6A7B8C9D0E1F',
      '__proto__',
      'constructor',
      '%C3%BF',
      '+',
    ],
  ),
  fc.string({ unit: 'binary', maxLength: 12 }).map((value) => encodeURIComponent(value.toWellFormed())),
);

/** The value of a query parameter, encoded as in the request line. */
export const parameter = fc.oneof(
  segment,
  fc.constantFrom(
    ...[
      '1',
      '100',
      '101',
      '0',
      '-1',
      '1.5',
      '1e2',
      '1e400',
      '0x10',
      '%201',
      '1&limit=2',
      '9'.repeat(40),
      'true',
      'open',
      'all',
    ],
    ...[
      'eA',
      'AAAA',
      'e30=',
      '%F0%9F%98%80',
      'a=b=c',
      '%26',
      '[]',
      'x[]=1',
      '%D8%00',
      'created',
      'USD',
      'usd',
      'TEE%20%25_',
    ],
  ),
  fc.string({ minLength: 1, maxLength: 20 }).map((value) => encodeURIComponent(value)),
);
