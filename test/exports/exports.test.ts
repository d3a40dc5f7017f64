import { parse } from 'csv-parse/sync';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { NeonBridgeOptions } from '../../dev/neon/bridge.ts';
import { pageSize, streamRows } from '../../src/domain/exports/format.ts';
import { addProduct, oneLine, type Store, startStore } from '../support/harness.ts';

let store: Store;
let acmeKey: string;
let fault: NonNullable<NeonBridgeOptions['fault']> | undefined;

/** Names that a careless CSV writer breaks. */
const names = ['Plain', 'Comma, and "quotes"', 'Two\nlines', 'ünïcödé 🍵', '  x'];
const count = 1_203;

beforeAll(async () => {
  store = await startStore({ neonFault: (call) => fault?.(call) });
  acmeKey = await store.database.key({ tenant: 'acme' });
  const lines = Array.from({ length: count }, (_, i) =>
    JSON.stringify({ sku: `E-${i}`, name: names[i % names.length], price: i / 100, currency: 'USD', inventory: i }),
  );
  const headers = { 'content-type': 'application/x-ndjson' };
  await store.send('POST', '/v1/products/import', lines.join('\n'), { headers });
});
afterEach(() => {
  fault = undefined;
});
afterAll(() => store.close());

const download = (path: string, key = store.key) =>
  fetch(store.url + path, { headers: { authorization: `Bearer ${key}` } });

describe('an export of products', () => {
  test('as CSV has every product once, of whatever number, with the texts as they are', async () => {
    const response = await download('/v1/products/export?format=csv');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/csv; charset=utf-8; header=present');
    expect(response.headers.get('content-disposition')).toMatch(
      /^attachment; filename="products-\d{4}-\d\d-\d\d\.csv"$/,
    );
    const rows: Record<string, string>[] = parse(await response.text(), { columns: true });
    expect(new Set(rows.map(({ sku }) => sku)).size).toBe(count);
    expect(rows).toHaveLength(count);
    for (const row of rows) {
      const i = Number(row.sku?.slice(2));
      expect([row.name, Number(row.price), row.inventory]).toEqual([
        names[i % names.length]?.trim(),
        i / 100,
        String(i),
      ]);
    }
  });

  test('as NDJSON is imported by another tenant as it is', async () => {
    const response = await download('/v1/products/export?format=ndjson');
    expect(response.headers.get('content-type')).toBe('application/x-ndjson');
    const text = await response.text();
    const lines = text.trimEnd().split('\n');
    expect(lines).toHaveLength(count);
    expect(JSON.parse(lines.find((line) => line.includes('"E-1"')) ?? '')).toMatchObject({ sku: 'E-1', price: 0.01 });
  });

  test('has archived products, and nothing of another tenant', async () => {
    const { id } = await addProduct(store, 'E-ARCHIVED', 1);
    await store.send('DELETE', `/v1/products/${id}`);
    const text = await (await download('/v1/products/export?format=ndjson')).text();
    expect(JSON.parse(text.split('\n')[0] ?? '')).toMatchObject({ sku: 'E-ARCHIVED', status: 'archived' });
    expect(await (await download('/v1/products/export?format=ndjson', acmeKey)).text()).toBe('');
    expect(await (await download('/v1/products/export', acmeKey)).text()).toMatch(/^sku,name,[\w,]+\r\n$/);
    await store.database.query(`delete from catalog.products where sku = 'E-ARCHIVED'`);
  });

  test('that the database interrupts breaks the connection off, and does not end like a complete one', async () => {
    let pages = 0;
    fault = () => (++pages > 2 ? { kind: 'lose-request' } : undefined);
    const response = await download('/v1/products/export?format=ndjson');
    expect(response.status).toBe(200);
    await expect(response.text()).rejects.toThrow();
  });

  test.each([
    ['?format=pdf', 422, 'validation_failed'],
    ['?page=2', 422, 'validation_failed'],
  ])('%s is rejected', async (query, status, code) => {
    const response = await download(`/v1/products/export${query}`);
    expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([status, code]);
  });

  test('as CSV is imported again if an option has the name of what every object of JavaScript has', async () => {
    const options = ['constructor'];
    const { body: group } = await store.send('POST', '/v1/product-groups', { name: 'Lego', slug: 'lego', options });
    const input = { sku: 'E-LEGO', name: 'Lego', price: 1, currency: 'USD', inventory: 0, groupId: group.id };
    await store.send('POST', '/v1/products', { ...input, options: { constructor: 'Ada' } });
    const text = await (await download('/v1/products/export')).text();
    const rows: Record<string, string>[] = parse(text, { columns: true });
    expect(new Set(rows.map((row) => row['option:constructor']))).toEqual(new Set(['Ada', '']));
    await store.database.query(`delete from catalog.products where sku = 'E-LEGO'`);
  });

  test('needs a secret key', async () => {
    const response = await download('/v1/products/export', await store.database.key({ kind: 'publishable' }));
    expect(response.status).toBe(403);
  });
});

describe('an export of orders', () => {
  test('as CSV has one line for each line of an order, and no text that a spreadsheet takes for a formula', async () => {
    await store.send('POST', '/v1/orders', {
      ...{ customerId: '=HYPERLINK("https://evil.example")', purchaseOrderNumber: '-1' },
      items: [
        { sku: 'E-100', quantity: 2 },
        { sku: 'E-200', quantity: 1 },
      ],
      shippingAddress: { name: '+1', line1: '@x', city: 'Berlin', postalCode: '10115', country: 'DE' },
    });
    const rows: Record<string, string>[] = parse(await (await download('/v1/orders/export')).text(), { columns: true });
    expect(rows).toMatchObject([
      { customerId: `'=HYPERLINK("https://evil.example")`, sku: 'E-100', quantity: '2', price: '1', total: '4' },
      { purchaseOrderNumber: "'-1", shippingName: "'+1", shippingLine1: "'@x", sku: 'E-200', shippingCountry: 'DE' },
    ]);
  });

  test('as NDJSON has the orders of the chosen customer and status as the API shows them, without a client secret', async () => {
    const { body: placed } = await store.send('POST', '/v1/orders', oneLine('E-300', 1, { customerId: 'chosen' }));
    const read = async (query: string) =>
      (await (await download(`/v1/orders/export?format=ndjson&${query}`)).text()).trimEnd().split('\n').filter(Boolean);
    await store.settled();
    const { body: shown } = await store.send('GET', `/v1/orders/${placed.id}`);
    expect((await read('customerId=chosen')).map((line) => JSON.parse(line))).toEqual([
      { ...shown, payment: { ...shown.payment, clientSecret: null } },
    ]);
    expect(shown.payment.clientSecret).not.toBeNull();
    expect(await read('customerId=chosen&status=cancelled')).toEqual([]);
    expect((await (await download('/v1/orders/export?format=ndjson', acmeKey)).text()).length).toBe(0);
  });

  test('has every order once, over several pages, while more are placed', async () => {
    await store.database.query(
      `insert into orders.orders (id, customer_id, items, total, currency, status, tenant_id, created_at, updated_at)
       select platform.uuid7(), 'many', '[]', 0, 'USD', 'confirmed', 'default', now(), now() from generate_series(1, 1300)`,
    );
    const reading = download('/v1/orders/export?format=ndjson&customerId=many').then((response) => response.text());
    await store.send('POST', '/v1/orders', oneLine('E-301', 1, { customerId: 'many' }));
    const ids = (await reading)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.length).toBeGreaterThanOrEqual(1_300);
  });
});

test('an export writes a page of long rows in small parts, and reads the next page only after it', async () => {
  const all = Array.from({ length: 250 }, (_, n) => ({ id: String(n) }));
  const read: (string | undefined)[] = [];
  const page = async (before: string | undefined) => {
    read.push(before);
    const from = before === undefined ? 0 : Number(before) + 1;
    return all.slice(from, from + pageSize);
  };
  const stream = await streamRows(page, '', ({ id }) => `${id} `.padEnd(400_000));
  const ids: string[] = [];
  for await (const part of stream) {
    expect(part.byteLength).toBeLessThan(1_000_000);
    ids.push(...(new TextDecoder().decode(part).match(/\d+/g) ?? []));
    expect(read.length).toBeLessThanOrEqual(1 + Math.ceil(ids.length / pageSize));
  }
  expect(ids).toEqual(all.map(({ id }) => id));
});
