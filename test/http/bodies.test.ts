import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Reply, type Send, type Store, startStore } from '../support/harness.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const product = (sku: string, fields: Record<string, unknown> = {}) => ({
  sku,
  name: `Product ${sku}`,
  price: 10,
  currency: 'USD',
  inventory: 5,
  ...fields,
});
const post = (body: unknown, options?: Send) => store.send('POST', '/v1/products', body, options);
const outcomeOf = (reply: Reply) => [reply.status, reply.body.code];
const pointersOf = (reply: Reply) => reply.body.errors?.map((fault: { pointer: string }) => fault.pointer);

describe('a price', () => {
  const postPrice = (sku: string, price: string, currency = 'USD') =>
    post(`{"sku":"${sku}","name":"n","price":${price},"currency":"${currency}","inventory":1}`);

  test.each([
    ['0', '0.00'],
    ['29.99', '29.99'],
    ['29.990', '29.99'],
    ['2999e-2', '29.99'],
    ['1E2', '100.00'],
    ['0.1', '0.10'],
    ['0.07', '0.07'],
    ['4.35', '4.35'],
    ['99999999.99', '99999999.99'],
    ['0.10000000000000000000', '0.10'],
  ])('of %s is stored as %s', async (written, stored) => {
    const sku = `PAID ${written}`;
    const reply = await postPrice(sku, written);
    expect(reply.status).toBe(201);
    expect(reply.body.price).toBe(Number(stored));
    const rows = await store.database.query('select price::text from catalog.products where sku = $1', [sku]);
    expect(rows).toEqual([{ price: stored }]);
    expect((await store.send('GET', `/v1/products/${reply.body.id}`)).body.price).toBe(Number(stored));
  });

  test.each([
    '0.30000000000000004', // 0.1 + 0.2
    '1e-7',
    '0.001',
    '29.990000000000000001',
    '29.9900000000000001',
    '-1',
    '-0.01',
    '99999999.999',
    '99999999.994',
    '100000000',
    '1e8',
    '1e400',
    '"29.99"',
    'null',
    '[1]',
    'true',
  ])('of %s is rejected and never rounded', async (written) => {
    const reply = await postPrice('REFUSED', written);
    expect(outcomeOf(reply)).toEqual([422, 'validation_failed']);
    expect(pointersOf(reply)).toEqual(['/price']);
    expect(await store.database.query(`select 1 from catalog.products where sku = 'REFUSED'`)).toEqual([]);
  });

  test('has no more decimals than its currency', async () => {
    expect(outcomeOf(await postPrice('YEN', '1.5', 'JPY'))).toEqual([422, 'validation_failed']);
    expect(outcomeOf(await postPrice('YEN', '100.10', 'KRW'))).toEqual([422, 'validation_failed']);
    const yen = await postPrice('YEN', '100.00', 'JPY');
    expect(yen.body.price).toBe(100);
    const changed = await store.send('PATCH', `/v1/products/${yen.body.id}`, { price: 100.5 });
    expect(outcomeOf(changed)).toEqual([422, 'validation_failed']);
    const cents = await addProduct(store, 'CENTS', 1, 9.5);
    const toYen = await store.send('PATCH', `/v1/products/${cents.id}`, { currency: 'JPY' });
    expect(outcomeOf(toYen)).toEqual([422, 'validation_failed']);
    expect((await store.send('GET', `/v1/products/${cents.id}`)).body).toMatchObject({ price: 9.5, currency: 'USD' });
  });

  test('needs an existing currency', async () => {
    for (const currency of ['usd', 'US', 'USDX', 'QQQ', '', null, 840]) {
      expect(outcomeOf(await post(product('COIN', { currency })))).toEqual([422, 'validation_failed']);
    }
  });
});

describe('a request body', () => {
  const json = { 'content-type': 'application/json' };
  const postStream = (bytes: Uint8Array) =>
    fetch(`${store.url}/v1/products`, {
      method: 'POST',
      headers: { ...json, authorization: `Bearer ${store.key}` },
      body: new Blob([bytes]).stream(),
      duplex: 'half',
    } as RequestInit & { duplex: 'half' });
  const bodyOfLength = (sku: string, length: number) => JSON.stringify(product(sku)).padEnd(length, ' ');

  test('of 1 MB is accepted, and one byte more is rejected, with or without Content-Length', async () => {
    expect((await post(bodyOfLength('BIG-1', 1_048_576))).status).toBe(201);
    expect(outcomeOf(await post(bodyOfLength('BIG-2', 1_048_577)))).toEqual([413, 'body_too_large']);
    const streamed = await postStream(new TextEncoder().encode(bodyOfLength('BIG-2', 1_048_577)));
    expect([streamed.status, await streamed.json()]).toMatchObject([413, { code: 'body_too_large' }]);
    const accepted = await postStream(new TextEncoder().encode(bodyOfLength('BIG-3', 1_048_576)));
    expect(accepted.status).toBe(201);
  });

  test('must have a JSON content type', async () => {
    const text = JSON.stringify(product('TYPE'));
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp', 'json', 'text/json']) {
      expect(outcomeOf(await post(text, { headers: { 'content-type': type } }))).toEqual([
        415,
        'unsupported_media_type',
      ]);
    }
    for (const [index, type] of [
      'application/json',
      'Application/JSON; charset=UTF-8',
      'application/merge-patch+json',
    ].entries()) {
      const reply = await post(JSON.stringify(product(`TYPE-${index}`)), { headers: { 'content-type': type } });
      expect(reply.status).toBe(201);
    }
  });

  test.each([
    ['not JSON', 'sku=A'],
    ['half a document', '{"sku":"A",'],
    ['two documents', '{}{}'],
    ['a trailing comma', '{"sku":"A",}'],
    ['NaN', '{"price":NaN}'],
    ['single quotes', "{'sku':'A'}"],
    ['a control character in a string', '{"sku":"a\u0001b"}'],
    ['only white space', '   '],
    ['brackets without end', '['.repeat(100_000)],
    ['too deep a nesting', `${'['.repeat(400_000)}1e1${']'.repeat(400_000)}`],
    ['too deep a nesting of members', `{"sku":${'{"a":'.repeat(1_000)}1${'}'.repeat(1_000)}}`],
  ])('with malformed JSON (%s) is rejected', async (_, text) => {
    expect(outcomeOf(await post(text))).toEqual([400, 'malformed_json']);
  });

  test('that is not UTF-8 is malformed, and a byte order mark is ignored', async () => {
    const bytes = new TextEncoder().encode(JSON.stringify(product('BYTES-x')));
    const invalid = bytes.map((byte) => (byte === 0x78 ? 0xff : byte));
    expect(outcomeOf(await post(invalid, { headers: json }))).toEqual([400, 'malformed_json']);
    expect((await post(`\ufeff${JSON.stringify(product('BOM'))}`)).status).toBe(201);
  });

  test.each([
    ['null', 'null'],
    ['an array', '[{"sku":"A"}]'],
    ['a string', '"sku"'],
    ['a number', '5'],
    ['nothing at all', ''],
    ['a deep nesting', `${'['.repeat(100)}${']'.repeat(100)}`],
    ['a deep member', `{"sku":${'{"a":'.repeat(100)}1${'}'.repeat(100)}}`],
  ])('that is %s is rejected as invalid', async (_, text) => {
    expect(outcomeOf(await post(text))).toEqual([422, 'validation_failed']);
  });

  test.each(['colour', 'tenantId', 'tenant_id', 'id', '__proto__', 'constructor', 'toString', ''])(
    'with the unknown field "%s" is rejected',
    async (name) => {
      const text = JSON.stringify(product('UNKNOWN')).replace('{', `{${JSON.stringify(name)}:{"price":1},`);
      const reply = await post(text);
      expect(outcomeOf(reply)).toEqual([422, 'validation_failed']);
      expect(pointersOf(reply)).toEqual([`/${name}`]);
    },
  );

  test.each([
    ['a NUL', 'a\\u0000b'],
    ['a lone high surrogate', 'a\\ud800b'],
    ['a lone low surrogate', '\\udc00'],
    ['a bell', '\\u0007'],
    ['a C1 control', '\\u0085x'],
  ])('with %s in a string is rejected in every field', async (_, text) => {
    const productWith = (field: string) => `{"name":"n","price":1,"currency":"USD","inventory":1,"sku":"T"${field}}`;
    expect(pointersOf(await post(productWith(`,"name":"${text}"`)))).toEqual(['/name']);
    expect(pointersOf(await post(productWith(`,"description":"${text}"`)))).toEqual(['/description']);
    expect(pointersOf(await post(productWith(`,"sku":"${text}"`)))).toEqual(['/sku']);
    const address = `"line1":"l","city":"c","country":"GB"`;
    const orderWith = (field: string) =>
      `{"customerId":"c","items":[{"sku":"T","quantity":1}],"shippingAddress":{${address}${field}}}`;
    for (const [field, pointer] of [
      [`,"city":"${text}"`, '/shippingAddress/city'],
      [`,"more":"${text}"`, '/shippingAddress/more'],
    ] as const) {
      const reply = await store.send('POST', '/v1/orders', orderWith(field));
      expect([...outcomeOf(reply), pointersOf(reply)]).toEqual([422, 'validation_failed', [pointer]]);
    }
  });

  test.each(['a\\u0000b', 'a\\ud800b', '\\udc00'])('with a member named %s is rejected', async (name) => {
    const address = `{"line1":"l","city":"c","country":"GB","${name}":"more"}`;
    const reply = await store.send('POST', '/v1/orders', `{"customerId":"c","items":[],"shippingAddress":${address}}`);
    expect([...outcomeOf(reply), pointersOf(reply)]).toEqual([422, 'validation_failed', ['/shippingAddress']]);
    expect(outcomeOf(await post(`{"${name}":1}`))).toEqual([422, 'validation_failed']);
  });

  test('may contain any Unicode text, which is stored unchanged except for composition', async () => {
    const name = 'Zoë 日本語 👩‍👩‍👧 \u202Ertl\u202C ﷽ \u00A0 e\u0301\n\ttwo';
    const reply = await post(product('TEXT', { name, description: name }));
    const composed = name.normalize('NFC');
    expect(reply.body).toMatchObject({ name: composed, description: composed });
    expect((await store.send('GET', `/v1/products/${reply.body.id}`)).body).toEqual(reply.body);
  });
});
