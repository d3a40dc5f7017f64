import { randomUUID } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Send, type Store, startStore, until } from '../support/harness.ts';
import { png } from '../support/images.ts';
import { type Cells, generateShopify, shopifyCsv } from '../support/shopify.ts';

let store: Store;
let server: Server;
let origin: string;

beforeAll(async () => {
  store = await startStore({ variables: { ALLOW_LOOPBACK_URLS: 'true' } });
  const file = png();
  server = createServer((_, response) => {
    response.setHeader('content-type', 'image/png').end(file);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  await store.close();
  server.closeAllConnections();
  server.close();
});

const upload = (body: string, query = '&currency=EUR', options: Send = {}) =>
  store.send('POST', `/v1/products/import?format=shopify${query}`, body, {
    ...options,
    headers: { 'content-type': 'text/csv' },
  });
const bySku = async (sku: string) => (await store.send('GET', `/v1/products/by-sku/${sku}`)).body;
const numberOf = async (query: string): Promise<number> =>
  (await store.database.query<{ n: number }>(query))[0]?.n ?? 0;
const mug = (more: Cells = {}): Cells => ({
  Handle: 'mug',
  Title: 'Mug',
  'Variant SKU': 'MUG',
  'Variant Price': '9.50',
  ...more,
});

test('a Shopify file of 2,000 products is imported with its groups, variants, stock and images, and its lines can be again', async () => {
  const { rows, products } = generateShopify(2_000, 2026, origin);
  const variants = products.reduce((sum, each) => sum + each.variants, 0);
  const images = products.reduce((sum, each) => sum + each.images.length, 0);
  const { status, body } = await upload(shopifyCsv(rows));
  expect([status, body]).toEqual([200, { created: variants, updated: 0, rejected: [] }]);
  expect(await numberOf('select count(*)::int as n from catalog.product_groups')).toBe(
    products.filter(
      (each) => each.variants > 1 || rows.some((row) => row.Handle === each.handle && row['Option1 Name'] === 'Size'),
    ).length,
  );
  expect(
    await numberOf(
      `select count(distinct coalesce(group_id, id))::int as n from catalog.products where status = 'archived'`,
    ),
  ).toBe(products.filter(({ isArchived }) => isArchived).length);
  const stored = 'select coalesce(sum(jsonb_array_length(images)), 0)::int as n from catalog.products';
  await until(async () => {
    // The cron continues with the events that the relay of the request has left.
    await store.cron();
    for (let turn = 0; turn < 5; turn++) {
      if ((await numberOf(stored)) === images) return true;
      await sleep(1_000);
    }
    return false;
  });
  const bucket = (await store.miniflare.getR2Bucket('MEDIA')) as unknown as R2Bucket;
  let files = 0;
  for (let cursor: string | undefined, more = true; more; ) {
    const part = await bucket.list(cursor === undefined ? {} : { cursor });
    files += part.objects.length;
    more = part.truncated;
    cursor = part.truncated ? part.cursor : undefined;
  }
  expect(files).toBe(images);
  const several = products.find((each) => each.images.length === 2 && each.variants > 1);
  const { body: group } = await store.send('GET', `/v1/product-groups/by-slug/${several?.handle}`);
  expect(group.options).toEqual(['Size', 'Colour']);
  expect(group.products).toHaveLength(several?.isArchived ? 0 : (several?.variants ?? 0));
  const first = group.products.find((each: { images: unknown[] }) => each.images.length > 0);
  expect(first.images.map(({ alt }: { alt: string }) => alt)).toEqual([1, 2].map((n) => `${group.name}, №${n}`));
  expect((await fetch(store.url + first.images[0].path)).status).toBe(200);

  const requests = `select count(*)::int as n from platform.events where topic = 'product.image.requested'`;
  const before = await numberOf(requests);
  const part = rows.slice(0, 400);
  const again = await upload(shopifyCsv(part, 'current'));
  expect(again.body).toMatchObject({ created: 0, rejected: [] });
  expect(again.body.updated).toBe(part.filter((row) => row['Variant Price'] !== undefined).length);
  expect(await numberOf(requests)).toBe(before);
}, 900_000);

test('the currency of the prices is that of the request, or the tenant’s, and without both nothing is imported', async () => {
  const refused = await upload(shopifyCsv([mug()]), '');
  expect([refused.status, refused.body.code, refused.body.errors]).toEqual([
    ...[422, 'validation_failed'],
    [
      {
        pointer: 'currency',
        detail: "Name the currency of the file's prices in ?currency=, or set the tenant's currency.",
      },
    ],
  ]);
  expect((await upload(shopifyCsv([mug()]), '', { idempotencyKey: null })).status).toBe(422);
  expect((await upload(shopifyCsv([mug()]), '&currency=GBP')).body.created).toBe(1);
  expect(await bySku('MUG')).toMatchObject({ price: 9.5, currency: 'GBP', slug: 'mug', groupId: null });
  await store.database.query(`update platform.tenants set currency = 'JPY' where id = 'default'`);
  for (const idempotencyKey of [randomUUID(), null]) {
    const { body } = await upload(
      shopifyCsv([mug({ 'Variant Price': '900.00' }), mug({ Handle: 'cup', 'Variant SKU': 'CUP' })]),
      '',
      { idempotencyKey },
    );
    expect(body).toEqual({
      ...{ created: 0, updated: 1 },
      rejected: [{ line: 3, code: 'validation_failed', detail: 'JPY has no decimals: 9.5 does not fit' }],
    });
  }
  expect(await bySku('MUG')).toMatchObject({ price: 900, currency: 'JPY' });
});

test('the report names the line of the file whose variant or slug is taken', async () => {
  const hat = (size: string, sku: string): Cells => ({
    Handle: 'hat',
    'Option1 Value': size,
    'Variant SKU': sku,
    'Variant Price': '5',
  });
  const rows = [
    { ...hat('M', 'HAT-1'), Title: 'Hat', 'Option1 Name': 'Size' },
    { Handle: 'hat', 'Image Src': `${origin}/hat.png` },
    hat('M', 'HAT-2'),
    hat('L', 'HAT-3'),
    mug({ Handle: 'Cap', Title: 'Cap', 'Variant SKU': 'CAP' }),
    mug({ Handle: 'cap', Title: 'Cap', 'Variant SKU': 'CAP-2' }),
  ];
  expect((await upload(shopifyCsv(rows))).body).toEqual({
    ...{ created: 3, updated: 0 },
    rejected: [
      { line: 4, code: 'variant_taken', detail: 'The product HAT-1 of this group has the same options.' },
      { line: 7, code: 'slug_taken', detail: 'The product CAP has the slug cap.' },
    ],
  });
});

test('a body, a format or a currency that does not fit is rejected as a whole', async () => {
  const csv = shopifyCsv([mug()]);
  const send = (query: string, type: string, body = csv) =>
    store.send('POST', `/v1/products/import${query}`, body, { headers: { 'content-type': type } });
  for (const [query, type, status] of [
    ['?format=shopify&currency=EUR', 'application/x-ndjson', 415],
    ['?format=shopify&currency=EUR', 'text/tab-separated-values', 415],
    ['?format=shopify&currency=EUR0', 'text/csv', 422],
    ['?format=csv', 'text/csv', 422],
    ['?currency=EUR', 'text/csv', 422],
  ] as const)
    expect((await send(query, type)).status).toBe(status);
  const { status, body } = await send('?format=shopify&currency=EUR', 'text/csv', 'sku,name\nA,b\n');
  expect([status, body.errors]).toEqual([
    ...[
      422,
      [{ pointer: '/1', detail: "It must be the first line of Shopify's product file, with Handle and Title." }],
    ],
  ]);
});

test('the same key with another currency is rejected, and with the same one returns the first report', async () => {
  const idempotencyKey = randomUUID();
  const csv = shopifyCsv([mug({ Handle: 'pot', 'Variant SKU': 'POT' })]);
  expect((await upload(csv, '&currency=EUR', { idempotencyKey })).body.created).toBe(1);
  const replayed = await upload(csv, '&currency=EUR', { idempotencyKey });
  expect([replayed.body.created, replayed.headers.get('idempotent-replayed')]).toEqual([1, 'true']);
  const reused = await upload(csv, '&currency=GBP', { idempotencyKey });
  expect([reused.status, reused.body.code]).toEqual([422, 'idempotency_key_reused']);
});
