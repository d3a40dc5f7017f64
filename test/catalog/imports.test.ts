import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { NeonBridgeOptions } from '../../dev/neon/bridge.ts';
import { type Reply, type Send, type Store, startStore, until } from '../support/harness.ts';

let store: Store;
let fault: NonNullable<NeonBridgeOptions['fault']> | undefined;

beforeAll(async () => {
  store = await startStore({ neonFault: (call) => fault?.(call) });
});
afterEach(() => {
  fault = undefined;
});
afterAll(() => store.close());

const path = '/v1/products/import';

const send = (type: string, body: string | Uint8Array, options: Send = {}): Promise<Reply> =>
  store.send('POST', path, body, { ...options, headers: { 'content-type': type } });
const ndjson = (rows: object[], options?: Send) =>
  send('application/x-ndjson', rows.map((row) => JSON.stringify(row)).join('\n'), options);

const row = (sku: string, fields: object = {}) => ({
  sku,
  name: `Name of ${sku}`,
  price: 2.5,
  currency: 'USD',
  inventory: 7,
  ...fields,
});

const readBySku = async (sku: string, key?: string) =>
  (await store.send('GET', `/v1/products/by-sku/${encodeURIComponent(sku)}`, undefined, key ? { key } : {})).body;

const countProducts = async (prefix: string): Promise<number> => {
  const [found] = await store.database.query<{ n: number }>(
    'select count(*)::int as n from catalog.products where starts_with(sku, $1)',
    [prefix],
  );
  return found?.n ?? 0;
};

/** An import whose body the test writes chunk by chunk. */
function openImport(key: string) {
  const { readable, writable } = new TransformStream<Uint8Array>();
  const writer = writable.getWriter();
  const abort = new AbortController();
  const response = fetch(store.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${store.key}`, 'content-type': 'application/x-ndjson', 'idempotency-key': key },
    body: readable,
    duplex: 'half',
    signal: abort.signal,
  } as RequestInit);
  const write = (rows: object[]) =>
    writer.write(new TextEncoder().encode(rows.map((item) => `${JSON.stringify(item)}\n`).join('')));
  return { response, write, end: () => writer.close(), abort: () => abort.abort() };
}

test('NDJSON creates new products with their stock and event, and updates existing ones', async () => {
  const first = await ndjson([row('N-1'), row('N-2', { description: 'Zwei' })]);
  expect(first.status).toBe(200);
  expect(first.body).toEqual({ created: 2, updated: 0, rejected: [] });
  const second = await ndjson([row('N-2', { price: 3, inventory: 1 }), row('N-3')]);
  expect(second.body).toEqual({ created: 1, updated: 1, rejected: [] });
  expect(await readBySku('N-2')).toMatchObject({ price: 3, inventory: 1, description: 'Zwei', status: 'active' });
  const emitted = await store.database.query<{ sku: string }>(
    `select payload->>'sku' as sku from platform.events
     where topic = 'product.created' and payload->>'sku' like 'N-%' order by 1`,
  );
  expect(emitted.map((event) => event.sku)).toEqual(['N-1', 'N-2', 'N-3']);
});

test('CSV is read with quotes, line breaks inside quotes, and columns in any order', async () => {
  const csv =
    'price,sku,name,currency,inventory,description\r\n1.10,"C,1","A ""good"" one",EUR,3,"two\r\nlines"\r\n900,C-2,b,JPY,,\r\n';
  const { body } = await send('text/csv; charset=utf-8', csv);
  expect(body).toEqual({ created: 2, updated: 0, rejected: [] });
  expect(await readBySku('C,1')).toMatchObject({
    name: 'A "good" one',
    price: 1.1,
    inventory: 3,
    description: 'two\r\nlines',
  });
  expect(await readBySku('C-2')).toMatchObject({ price: 900, currency: 'JPY', inventory: 0, description: null });
});

test('a field that a line omits stays unchanged', async () => {
  await ndjson([row('P-1', { description: 'Kept' }), row('P-2')]);
  const { body } = await send('text/csv', 'sku,price,description\nP-1,9.99,\nP-2,,New\n');
  expect(body).toEqual({ created: 0, updated: 2, rejected: [] });
  expect(await readBySku('P-1')).toMatchObject({ name: 'Name of P-1', price: 9.99, description: 'Kept', inventory: 7 });
  expect(await readBySku('P-2')).toMatchObject({ price: 2.5, description: 'New', inventory: 7 });
});

test('an archived product stays archived unless its line sets the status', async () => {
  await ndjson([row('ARCH-1'), row('ARCH-2')]);
  for (const sku of ['ARCH-1', 'ARCH-2']) await store.send('DELETE', `/v1/products/${(await readBySku(sku)).id}`);
  await send('text/csv', 'sku,inventory,status\nARCH-1,5,\nARCH-2,5,active\n');
  expect(await readBySku('ARCH-1')).toMatchObject({ status: 'archived', inventory: 5 });
  expect(await readBySku('ARCH-2')).toMatchObject({ status: 'active', inventory: 5 });
});

test('in CSV, a count with a decimal point and a price with three decimals are rejected', async () => {
  const lines = ['2.5,10.000', '2.5,2.0', '2.5,-0', '2.500,10', '2.50,10', '2.5,10'];
  const csv = ['sku,name,currency,price,inventory', ...lines.map((numbers, n) => `NUM-${n},n,USD,${numbers}`)].join(
    '\n',
  );
  const { body } = await send('text/csv', csv);
  expect(body.rejected.map((rejection: { line: number }) => rejection.line).slice(0, 2)).toEqual([2, 3]);
  expect(body.rejected.map((rejection: { line: number }) => rejection.line)).toContain(5);
  expect(await readBySku('NUM-4')).toMatchObject({ price: 2.5, inventory: 10 });
  expect((await store.send('GET', '/v1/products/by-sku/NUM-3')).status).toBe(404);
});

test('in JSON, trailing zeros of a price are ignored, and no price is rounded', async () => {
  const line = (sku: string, price: string) => `{"sku":"${sku}","name":"n","currency":"USD","price":${price}}`;
  const prices = ['2.500', '2.5000000', '25e-1', '2.505', '2.5001'];
  const lines = prices.map((price, n) => line(`ZERO-${n}`, price)).join('\n');
  const { body } = await send('application/x-ndjson', lines);
  expect(body.created).toBe(3);
  expect(body.rejected.map((rejection: { line: number }) => rejection.line)).toEqual([4, 5]);
  for (const n of [0, 1, 2]) expect((await readBySku(`ZERO-${n}`)).price).toBe(2.5);
  expect(
    (await store.send('POST', '/v1/products', `${line('ZERO-5', '2.500').slice(0, -1)},"inventory":1}`)).status,
  ).toBe(201);
  const rejected = await store.send('POST', '/v1/products', `${line('ZERO-6', '2.501').slice(0, -1)},"inventory":1}`);
  expect([rejected.status, rejected.body.code]).toEqual([422, 'validation_failed']);
});

test('SKUs that differ only in Unicode composition are one product in every operation', async () => {
  const [composed, decomposed] = ['CAFÉ-1', 'CAFE\u0301-1'];
  expect((await ndjson([row(decomposed)])).body.created).toBe(1);
  expect((await ndjson([row(composed, { inventory: 9 })])).body.updated).toBe(1);
  const taken = await store.send('POST', '/v1/products', row(decomposed));
  expect(taken.body.code).toBe('sku_taken');
  expect((await readBySku(decomposed)).sku).toBe(composed);
  const order = { customerId: 'Zoe\u0308', items: [composed, decomposed].map((sku) => ({ sku, quantity: 2 })) };
  const { body: placed } = await store.send('POST', '/v1/orders', order);
  expect(placed).toMatchObject({ customerId: 'Zoë', items: [{ sku: composed, quantity: 4 }] });
  expect((await store.send('GET', `/v1/orders?customerId=${encodeURIComponent('Zoe\u0308')}`)).body.data).toHaveLength(
    1,
  );
  const path = `/v1/inventory/${encodeURIComponent(decomposed)}`;
  expect((await store.send('POST', `${path}/adjustments`, { delta: 1, reason: 'found' })).body.quantity).toBe(6);
  expect((await store.send('GET', path)).body).toMatchObject({ sku: composed, quantity: 6 });
});

test('an invalid line makes only that line fail, for every kind of error', async () => {
  const lines = [
    JSON.stringify(row('B-1')),
    '{"sku": "B-2",',
    JSON.stringify(row('B-3', { price: 1.001 })),
    '',
    JSON.stringify(row('B-5', { colour: 'red' })),
    '["B-6"]',
    JSON.stringify({ sku: 'B-7', price: 1 }),
    JSON.stringify(row('B-8', { currency: 'JPY', price: 1.5 })),
    `{"sku":"B-9","name":"b","price":0.3000000000000000001,"currency":"USD","inventory":1}`,
    JSON.stringify({ ...row('B-10'), sku: undefined }),
    JSON.stringify(row('B-11', { description: 'x'.repeat(1_100_000) })),
    JSON.stringify(row('B-12')),
  ];
  const { status, body } = await send('application/jsonl', lines.join('\n'));
  expect(status).toBe(200);
  expect(body).toMatchObject({ created: 2, updated: 0 });
  expect(body.rejected.map((rejection: { line: number; code: string }) => [rejection.line, rejection.code])).toEqual([
    [2, 'malformed_json'],
    [3, 'validation_failed'],
    [5, 'validation_failed'],
    [6, 'validation_failed'],
    [7, 'validation_failed'],
    [8, 'validation_failed'],
    [9, 'validation_failed'],
    [10, 'validation_failed'],
    [11, 'body_too_large'],
  ]);
  expect(body.rejected[1].detail).toBe('"B-3": price must have at most two decimals, and not 1.001');
  expect(body.rejected[3].detail).toBe('The line must be an object');
  expect(body.rejected[7].detail).toBe('sku is required');
  expect(body.rejected[2].detail).toContain('colour');
  expect(body.rejected[4].detail).toBe('A new product needs name, price and currency.');
  expect(await countProducts('B-')).toBe(2);
});

test('a CSV line is rejected if a number in it is not a plain decimal', async () => {
  const numbers = [
    '1e2',
    '0x10',
    '1,000.00',
    ' 5',
    '+5',
    '5.',
    '.5',
    'NaN',
    '-1',
    '99999999999',
    '0.30000000000000001',
  ];
  const csv = ['sku,name,price,currency,inventory', ...numbers.map((value, n) => `D-${n},d,"${value}",USD,1`)].join(
    '\n',
  );
  const { body } = await send('text/csv', csv);
  expect(body.created).toBe(0);
  expect(body.rejected.map((rejection: { line: number }) => rejection.line)).toEqual(numbers.map((_, n) => n + 2));
});

test('a SKU that occurs twice in a file ends with the values of its last line', async () => {
  const { body } = await ndjson([row('T-1', { price: 1 }), row('T-2'), row('T-1', { price: 2 })]);
  expect(body).toEqual({ created: 2, updated: 1, rejected: [] });
  expect((await readBySku('T-1')).price).toBe(2);
});

test('lines are stored in batches of 250, with one database call per batch', async () => {
  const reply = await ndjson(Array.from({ length: 501 }, (_, n) => row(`M-${n}`)));
  expect(reply.body).toEqual({ created: 501, updated: 0, rejected: [] });
  // Three batches, plus one call to claim the idempotency key and one to store its response.
  expect(reply.headers.get('server-timing')).toContain('5 calls');
});

test('after 10,000 invalid lines the import stops, keeps the imported lines, and reports where it stopped', async () => {
  const [first, last] = [row('L-1'), row('L-2')].map((product) => `${JSON.stringify(product)}\n`);
  const text = `${first}\n\n${'{\n'.repeat(10_005)}${last}`;
  const key = randomUUID();
  const { body } = await send('application/x-ndjson', text, { idempotencyKey: key });
  expect(body).toMatchObject({ created: 1, updated: 0, stoppedAt: 10_003 });
  expect(body.rejected).toHaveLength(10_000);
  expect(body.rejected.at(-1).line).toBe(10_003);
  expect(await countProducts('L-')).toBe(1);
  // The digest covers the whole body, including the lines that were not imported.
  expect((await send('application/x-ndjson', text, { idempotencyKey: key })).body).toEqual(body);
  const other = await send('application/x-ndjson', `${text}\n`, { idempotencyKey: key });
  expect(other.body.code).toBe('idempotency_key_reused');
});

test('a body of many megabytes is accepted', async () => {
  const long = 'x'.repeat(9_000);
  const reply = await ndjson(Array.from({ length: 1_200 }, (_, n) => row(`H-${n}`, { description: long })));
  expect(reply.body).toEqual({ created: 1_200, updated: 0, rejected: [] });
});

test('an import needs a valid key with the right scope, and a body of NDJSON or CSV', async () => {
  const publishable = await store.database.key({ kind: 'publishable' });
  for (const idempotencyKey of [null, randomUUID()]) {
    expect((await ndjson([row('X-1')], { key: null, idempotencyKey })).body.code).toBe('unauthenticated');
    expect((await ndjson([], { key: 'sk_unknown_key', idempotencyKey })).body.code).toBe('unauthenticated');
    expect((await ndjson([], { key: publishable, idempotencyKey })).body.code).toBe('forbidden');
    const json = await send('application/json', JSON.stringify(row('X-1')), { idempotencyKey });
    expect([json.status, json.body.code]).toEqual([415, 'unsupported_media_type']);
  }
  expect(await countProducts('X-')).toBe(0);
});

test('another tenant’s product with the same SKU stays unchanged', async () => {
  const acme = await store.database.key({ tenant: 'acme' });
  await ndjson([row('S-1', { price: 1 })]);
  const other = await ndjson([row('S-1', { price: 2 })], { key: acme });
  expect(other.body).toEqual({ created: 1, updated: 0, rejected: [] });
  expect((await readBySku('S-1')).price).toBe(1);
  expect((await readBySku('S-1', acme)).price).toBe(2);
});

test('an empty body imports nothing', async () => {
  for (const idempotencyKey of [null, randomUUID()]) {
    expect((await send('text/csv', '', { idempotencyKey })).body).toEqual({ created: 0, updated: 0, rejected: [] });
  }
});

test('a CSV file with an invalid header line is rejected as a whole', async () => {
  for (const header of ['name,price', 'sku,colour', 'sku,name,sku', 'sku;name', '"sku']) {
    const { status, body } = await send('text/csv', `${header}\nF-1,f,f\n`);
    expect([status, body.code]).toEqual([422, 'validation_failed']);
    expect(body.errors[0].detail).toMatch(/column/);
  }
  expect(await countProducts('F-')).toBe(0);
});

test('a product that was in the edge cache is read with its new values after an import', async () => {
  await ndjson([row('E-1')]);
  await readBySku('E-1');
  await until(async () => {
    const reply = await store.send('GET', '/v1/products/by-sku/E-1');
    return reply.headers.get('cache-status')?.includes('hit') ?? false;
  });
  await ndjson([row('E-1', { price: 5 })]);
  expect((await readBySku('E-1')).price).toBe(5);
});

test('the same key and body return the first response again, and import nothing', async () => {
  const idempotencyKey = randomUUID();
  const first = await ndjson([row('I-1'), { sku: 5 }], { idempotencyKey });
  await ndjson([row('I-1', { price: 8 })]);
  const again = await ndjson([row('I-1'), { sku: 5 }], { idempotencyKey });
  expect(again.body).toEqual(first.body);
  expect([first.headers.get('idempotent-replayed'), again.headers.get('idempotent-replayed')]).toEqual([null, 'true']);
  expect((await readBySku('I-1')).price).toBe(8);
});

test('the same key with another body is rejected, even if only the last byte or the content type differs', async () => {
  const idempotencyKey = randomUUID();
  const lines = `${JSON.stringify(row('J-1'))}\n`;
  await send('application/x-ndjson', lines, { idempotencyKey });
  for (const [type, body] of [
    ['application/x-ndjson', `${lines}\n`],
    ['text/csv', lines],
    ['application/x-ndjson', ''],
  ] as const) {
    const reply = await send(type, body, { idempotencyKey });
    expect([reply.status, reply.body.code]).toEqual([422, 'idempotency_key_reused']);
  }
});

test('a second request with the key of a running import gets 409, and its stored batches are visible already', async () => {
  const key = randomUUID();
  const running = openImport(key);
  await running.write([...Array.from({ length: 250 }, (_, n) => row(`R-${n}`)), row('R-last')]);
  await until(async () => (await countProducts('R-')) === 250);
  const second = await ndjson([row('R-0')], { idempotencyKey: key });
  expect([second.status, second.body.code]).toEqual([409, 'idempotency_in_progress']);
  await running.end();
  expect(await (await running.response).json()).toEqual({ created: 251, updated: 0, rejected: [] });
});

test('when the client disconnects, the stored batches stay, and a retry with the same key imports the rest', async () => {
  const key = randomUUID();
  const rows = [...Array.from({ length: 250 }, (_, n) => row(`A-${n}`)), row('A-last')];
  const disconnected = openImport(key);
  await disconnected.write(rows);
  await until(async () => (await countProducts('A-')) === 250);
  disconnected.abort();
  await expect(disconnected.response).rejects.toThrow();
  let again: Reply | undefined;
  await until(async () => {
    again = await ndjson(rows, { idempotencyKey: key });
    return again.status !== 409;
  });
  expect(again?.body).toEqual({ created: 1, updated: 250, repeated: 250, rejected: [] });
});

test('when the database fails during an import, a retry with the same key imports every product once', async () => {
  const idempotencyKey = randomUUID();
  const rows = Array.from({ length: 350 }, (_, n) => row(`K-${n}`));
  let batches = 0;
  fault = ({ statements }) =>
    statements.some(({ query }) => query.includes('import_products')) && ++batches === 2
      ? { kind: 'lose-response' }
      : undefined;
  const failed = await ndjson(rows, { idempotencyKey });
  expect([failed.status, failed.body.code]).toEqual([503, 'unavailable']);
  fault = undefined;
  const again = await ndjson(rows, { idempotencyKey });
  expect(again.body).toEqual({ created: 0, updated: 350, repeated: 350, rejected: [] });
  expect(again.headers.get('idempotent-replayed')).toBeNull();
  const [emitted] = await store.database.query<{ n: number }>(
    `select count(*)::int as n from platform.events where topic = 'product.created' and payload->>'sku' like 'K-%'`,
  );
  expect(emitted?.n).toBe(350);
});

/** Makes the import of these rows fail after its first batch, as when the database becomes unavailable. */
async function failAfterFirstBatch(rows: object[], options: Send) {
  let batches = 0;
  fault = ({ statements }) =>
    statements.some(
      ({ query, params }) => query.includes('import_products') && JSON.stringify(params).includes('last'),
    ) && ++batches === 2
      ? { kind: 'lose-request' }
      : undefined;
  expect((await ndjson(rows, options)).status).toBe(503);
  fault = undefined;
}
const buy = (sku: string, quantity: number) =>
  store.send('POST', '/v1/orders', { customerId: 'buyer', items: [{ sku, quantity }] });

test('retrying a failed import never restores sold units, with the same key, another key or none', async () => {
  for (const [prefix, first, second] of [
    ['S1', 'same', 'same'],
    ['S2', 'one', 'other'],
    ['S3', null, null],
  ] as const) {
    const withKey = (name: string | null) => ({ idempotencyKey: name && `${prefix}-${name}` });
    const rows = Array.from({ length: 350 }, (_, n) => row(`${prefix}-${n}`, { inventory: 3 }));
    await failAfterFirstBatch(rows, withKey(first));
    expect(await countProducts(`${prefix}-`)).toBe(250);
    expect((await buy(`${prefix}-7`, 3)).status).toBe(201);
    // The corrected file: one line has another name, another line a new count.
    rows[8] = row(`${prefix}-8`, { inventory: 3, name: 'Mended' });
    rows[9] = row(`${prefix}-9`, { inventory: 4 });
    const { body } = await ndjson(rows, withKey(second));
    expect(body).toEqual({ created: 100, updated: 250, repeated: 249, rejected: [] });
    expect((await buy(`${prefix}-7`, 1)).body.code).toBe('insufficient_inventory');
    expect(await readBySku(`${prefix}-8`)).toMatchObject({ name: 'Mended', inventory: 3 });
    expect((await readBySku(`${prefix}-9`)).inventory).toBe(4);
  }
});

test('retrying a failed import never overwrites a count that a later import has set, with the same key, another key or none', async () => {
  for (const [prefix, first, second] of [
    ['L1', 'same', 'same'],
    ['L2', 'one', 'other'],
    ['L3', null, null],
  ] as const) {
    const withKey = (name: string | null) => ({ idempotencyKey: name && `${prefix}-${name}` });
    const rows = Array.from({ length: 350 }, (_, n) => row(`${prefix}-${n}`, { inventory: 3 }));
    await failAfterFirstBatch(rows, withKey(first));
    for (const inventory of [4, 5]) {
      const { body } = await ndjson([row(`${prefix}-7`, { inventory })]);
      expect(body).toEqual({ created: 0, updated: 1, rejected: [] });
    }
    await buy(`${prefix}-7`, 1);
    const again = await ndjson(rows, withKey(second));
    expect(again.body).toEqual({ created: 100, updated: 250, repeated: 250, rejected: [] });
    expect((await readBySku(`${prefix}-7`)).inventory).toBe(4);
    // The file is now completely imported. Importing one of its counts again is no longer a retry, so it is set.
    expect((await ndjson([row(`${prefix}-7`, { inventory: 3 })])).body.repeated).toBeUndefined();
    expect((await readBySku(`${prefix}-7`)).inventory).toBe(3);
  }
});

test('a count that a retried import skipped can be set by the next import', async () => {
  const rows = Array.from({ length: 350 }, (_, n) => row(`NEXT-${n}`, { inventory: 3 }));
  await failAfterFirstBatch(rows, {});
  expect((await ndjson(rows)).body.repeated).toBe(250);
  await buy('NEXT-7', 2);
  expect((await ndjson([row('NEXT-7', { inventory: 3 })])).body.repeated).toBeUndefined();
  expect((await readBySku('NEXT-7')).inventory).toBe(3);
});

test('after a completed import the same file with another key sets its counts again, even if it names a SKU twice', async () => {
  const rows = [row('OVER-1', { inventory: 5 }), row('OVER-1', { inventory: 7 }), row('OVER-1', { inventory: 5 })];
  expect((await ndjson(rows)).body).toMatchObject({ created: 1, updated: 2 });
  await buy('OVER-1', 5);
  expect((await ndjson(rows)).body).toEqual({ created: 0, updated: 3, rejected: [] });
  expect((await readBySku('OVER-1')).inventory).toBe(5);
});

test('retrying a failed file that names a SKU twice keeps the units that were sold meanwhile', async () => {
  const counts = [5, 7, 5];
  const rows = [
    ...counts.map((inventory) => row('W-1', { inventory })),
    ...Array.from({ length: 350 }, (_, n) => row(`W-${n + 2}`)),
  ];
  let batches = 0;
  fault = ({ statements }) =>
    statements.some(
      ({ query, params }) => query.includes('import_products') && JSON.stringify(params).includes('last'),
    ) && ++batches === 4
      ? { kind: 'lose-request' }
      : undefined;
  expect((await ndjson(rows)).status).toBe(503);
  fault = undefined;
  await buy('W-1', 4);
  expect((await ndjson(rows)).body.repeated).toBeGreaterThan(3);
  expect((await readBySku('W-1')).inventory).toBe(1);
});
