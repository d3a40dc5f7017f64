import { randomUUID } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mulberry32 } from '../../dev/stripe/webhooks.ts';
import { type Reply, type Send, type Store, startStore, until } from '../support/harness.ts';
import { png } from '../support/images.ts';

let store: Store;
let acme: string;
let server: Server;
let origin: string;

beforeAll(async () => {
  store = await startStore({ variables: { ALLOW_LOOPBACK_URLS: 'true' } });
  acme = await store.database.key({ tenant: 'acme' });
  server = createServer((request, response) => {
    const seed = [...(request.url ?? '')].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 65_521, 7);
    response.setHeader('content-type', 'image/png').end(png(3, 2, seed));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  await store.close();
  server.closeAllConnections();
  server.close();
});

const path = '/v1/products/import';
const send = (type: string, body: string, options: Send = {}): Promise<Reply> =>
  store.send('POST', path, body, { ...options, headers: { 'content-type': type } });
const csv = (body: string, options?: Send) => send('text/csv', body, options);
const ndjson = (rows: object[], options?: Send) =>
  send('application/x-ndjson', rows.map((row) => JSON.stringify(row)).join('\n'), options);
const row = (sku: string, fields: object = {}) => ({
  ...{ sku, name: `Name of ${sku}`, price: 2.5, currency: 'USD', inventory: 7 },
  ...fields,
});
const bySku = async (sku: string, key = store.key) =>
  (await store.send('GET', `/v1/products/by-sku/${sku}`, undefined, { key })).body;
const groupBySlug = (slug: string, key = store.key) =>
  store.send('GET', `/v1/product-groups/by-slug/${slug}`, undefined, { key });
const collectionsOf = async (sku: string): Promise<string[]> => {
  const found = await store.database.query<{ slug: string }>(
    `select c.slug from catalog.products p
     join catalog.collection_products m on m.product_id = p.id and m.collection_id = any(p.collections)
       and (m.status, m.price, m.name, m.currency) = (p.status, p.price, p.name, p.currency)
       and m.group_id is not distinct from p.group_id
     join catalog.collections c on c.id = m.collection_id
     where p.sku = $1 and cardinality(p.collections) =
       (select count(*) from catalog.collection_products a where a.product_id = p.id)
     order by c.slug`,
    [sku],
  );
  return found.map(({ slug }) => slug);
};
const eventsOf = async (id: string) =>
  store.database.query<{ topic: string; payload: Record<string, unknown> }>(
    `select topic, payload from platform.events where key = $1 and topic like 'product.%' order by seq`,
    [id],
  );
const count = async (table: string): Promise<number> =>
  (await store.database.query<{ n: number }>(`select count(*)::int as n from ${table}`))[0]?.n ?? 0;

describe('a line of an import', () => {
  test('sets every field of a product, in CSV as in NDJSON', async () => {
    const fields = {
      ...{ slug: 'full-csv', weight: 180, taxCategory: 'books', compareAtPrice: 9.99, metadata: { 'a,b': '"c"' } },
    };
    const line =
      'FULL-CSV,Full,2.50,USD,3,full-csv,180,books,9.99,full,Full of it,M,"Rosé, dark"," spring  summer ","{""a,b"":""\\""c\\""""}"';
    const header =
      'sku,name,price,currency,inventory,slug,weight,taxCategory,compareAtPrice,group,groupName,option:Size,option:Colour,collections,metadata';
    expect((await csv(`${header}\n${line}\n`)).body).toEqual({ created: 1, updated: 0, rejected: [] });
    const rest = { group: 'full', options: { Size: 'L', Colour: 'Rosé, dark' }, collections: ['summer', 'spring'] };
    const second = row('FULL-JSON', { ...fields, ...rest, slug: 'full-json', groupName: 'Not used' });
    expect((await ndjson([second])).body).toEqual({ created: 1, updated: 0, rejected: [] });
    const [first, other] = [await bySku('FULL-CSV'), await bySku('FULL-JSON')];
    expect(first).toMatchObject({ ...fields, options: { Size: 'M', Colour: 'Rosé, dark' } });
    expect(other).toMatchObject({ ...fields, slug: 'full-json', options: rest.options, groupId: first.groupId });
    for (const sku of ['FULL-CSV', 'FULL-JSON']) expect(await collectionsOf(sku)).toEqual(['spring', 'summer']);
    const group = await groupBySlug('full');
    expect(group.body).toMatchObject({ id: first.groupId, name: 'Full of it', options: ['Size', 'Colour'] });
    expect(group.body.products).toHaveLength(2);
  });

  test('leaves what it omits as it is, and null takes a field away', async () => {
    const full = { slug: 'kept', weight: 5, taxCategory: 'x', compareAtPrice: 3, metadata: { a: 'b' } };
    const more = { group: 'kept', options: { Size: 'M' }, collections: ['kept'] };
    await ndjson([row('KEPT', { ...full, ...more })]);
    const before = await bySku('KEPT');
    expect((await csv('sku,name,slug,weight,collections,metadata,option:Size\nKEPT,New,,,,,\n')).body.updated).toBe(1);
    const { version: _, updatedAt, ...kept } = await bySku('KEPT');
    expect({ ...kept, updatedAt: before.updatedAt }).toEqual({ ...before, name: 'New' });
    expect(updatedAt >= before.updatedAt).toBe(true);
    const none = { slug: null, weight: null, taxCategory: null, compareAtPrice: null, group: null };
    expect((await ndjson([{ sku: 'KEPT', ...none, collections: [], metadata: {} }])).body.rejected).toEqual([]);
    expect(await bySku('KEPT')).toMatchObject({
      ...{ slug: null, weight: null, taxCategory: null, compareAtPrice: null, groupId: null },
      ...{ options: {}, collections: [], metadata: {} },
    });
    expect(await collectionsOf('KEPT')).toEqual([]);
  });

  test('may name 100 collections: fewer such lines go to the database at a time, so that a call ends in time', async () => {
    const callsOf = ({ headers }: Reply) => Number(/desc="(\d+)/.exec(headers.get('server-timing') ?? '')?.[1]);
    const lines = [...Array(30).keys()];
    const few = await ndjson(lines.map((line) => row(`WIDE-${line}`)));
    const names = (line: number) => [...Array(100).keys()].map((n) => `wide-${line}-${n}`);
    const many = await ndjson(lines.map((line) => row(`WIDE-${line}`, { collections: names(line) })));
    expect(many.body).toEqual({ created: 0, updated: 30, rejected: [] });
    expect(await collectionsOf('WIDE-29')).toHaveLength(100);
    expect(callsOf(many)).toBe(callsOf(few) + 1);
  });

  test('replaces the collections, and what a collection is sorted by follows the product', async () => {
    await ndjson([row('COLL', { collections: ['c-1', 'c-2'] }), row('COLL-2', { collections: ['c-2'] })]);
    await ndjson([{ sku: 'COLL', collections: ['c-2', 'c-3', 'c-3'], price: 9, name: 'Other' }]);
    expect(await collectionsOf('COLL')).toEqual(['c-2', 'c-3']);
    await ndjson([{ sku: 'COLL', price: 10, status: 'archived' }]);
    expect(await collectionsOf('COLL')).toEqual(['c-2', 'c-3']);
    expect(await collectionsOf('COLL-2')).toEqual(['c-2']);
  });

  test('names groups and collections by their ids too', async () => {
    const { body: group } = await store.send('POST', '/v1/product-groups', { name: 'By id', options: ['Size'] });
    const { body: collection } = await store.send('POST', '/v1/collections', { name: 'By id' });
    const line = row('BY-ID', { group: group.id, options: { Size: 'M' }, collections: [collection.id] });
    expect((await ndjson([line])).body).toEqual({ created: 1, updated: 0, rejected: [] });
    expect(await bySku('BY-ID')).toMatchObject({ groupId: group.id, collections: [collection.id] });
  });

  test('of another tenant’s group or collection makes one of its own, and shows nothing of the other', async () => {
    await ndjson([row('OURS', { group: 'ours', options: { Size: 'M' }, collections: ['ours'] })]);
    const ours = await bySku('OURS');
    const theirs = row('THEIRS', { group: ours.groupId, options: { Taste: 'sweet' }, collections: ours.collections });
    expect((await ndjson([theirs], { key: acme })).body).toEqual({ created: 1, updated: 0, rejected: [] });
    const product = await bySku('THEIRS', acme);
    expect(product.groupId).not.toBe(ours.groupId);
    expect(product.collections).not.toEqual(ours.collections);
    expect((await groupBySlug('ours')).body.products).toHaveLength(1);
  });

  test('is rejected alone, with the reason, if its group, options, slug or image does not fit', async () => {
    await ndjson([row('FIT', { group: 'fit', options: { Size: 'M', Colour: 'Red' }, slug: 'fit' })]);
    const cases: [object, string, RegExp | string][] = [
      [
        { group: 'fit', options: { Size: 'L' } },
        'validation_failed',
        'The product group fit has the options Size, Colour, and the line has Size.',
      ],
      [{ group: 'fit', options: { Size: 'L', Taste: 'x' } }, 'validation_failed', /the line has Size, Taste/],
      [{ group: 'fit' }, 'validation_failed', /the line has none/],
      [{ options: { Size: 'L' } }, 'validation_failed', 'options needs a group.'],
      [{ group: 'nothing' }, 'validation_failed', 'There is no product group nothing, and a new one needs options.'],
      [
        { group: 'fit', options: { Size: 'M', Colour: 'Red' } },
        'variant_taken',
        'The product FIT of this group has the same options.',
      ],
      [{ slug: 'fit' }, 'slug_taken', 'The product FIT has the slug fit.'],
      [{ slug: 'Not a slug' }, 'validation_failed', /slug must be lower-case/],
      [{ weight: -1 }, 'validation_failed', /weight must/],
      [{ compareAtPrice: 1.5, currency: 'JPY', price: 1 }, 'validation_failed', /compareAtPrice 1.5/],
      [{ image: ['http://shop.example/a.png'] }, 'validation_failed', /image "http:\/\/shop.*must begin with https/],
      [{ image: ['https://10.0.0.1/a.png'] }, 'validation_failed', /not public/],
      [{ image: ['https://169.254.169.254/latest'] }, 'validation_failed', /not public/],
      [{ image: Array.from({ length: 21 }, () => 'https://shop.example/a') }, 'validation_failed', /image must/],
      [{ collections: ['A b'] }, 'validation_failed', /collections.0 must/],
      [{ metadata: { a: 1 } }, 'validation_failed', /metadata.a must/],
      [
        { options: Object.fromEntries(Array.from({ length: 11 }, (_, n) => [`o${n}`, 'x'])), group: 'many' },
        'validation_failed',
        /at most 10/,
      ],
    ];
    const lines = [row('FINE-1'), ...cases.map(([fields], n) => row(`UNFIT-${n}`, fields)), row('FINE-2')];
    const { body } = await ndjson(lines);
    expect([body.created, body.updated]).toEqual([2, 0]);
    expect(body.rejected).toEqual(
      cases.map(([, code, detail], n) => ({
        ...{ line: n + 2, code },
        detail: typeof detail === 'string' ? detail : expect.stringMatching(detail),
      })),
    );
  });

  test('that is rejected leaves no group and no collection behind', async () => {
    const before = [await count('catalog.product_groups'), await count('catalog.collections')];
    const { body } = await ndjson([
      row('LEFT-1', { price: 1.5, currency: 'JPY', group: 'left', options: { Size: 'M' }, collections: ['left'] }),
    ]);
    expect(body.rejected).toHaveLength(1);
    expect([await count('catalog.product_groups'), await count('catalog.collections')]).toEqual(before);
  });

  test('can take the options or the slug that another line of the file gives up, in any order and batch', async () => {
    const variant = (sku: string, size: string, fields: object = {}) =>
      row(sku, { group: 'swap', options: { Size: size }, ...fields });
    await ndjson([variant('SWAP-A', 'M', { slug: 'swap-a' }), variant('SWAP-B', 'L'), variant('SWAP-C', 'XL')]);
    const { body } = await ndjson([
      variant('SWAP-NEW', 'L', { slug: 'swap-a' }),
      variant('SWAP-A', 'S', { slug: 'swap-old' }),
      variant('SWAP-B', 'XXL'),
      { sku: 'SWAP-C', status: 'archived' },
      variant('SWAP-D', 'XL'),
      variant('SWAP-E', 'XL'),
    ]);
    expect(body).toEqual({
      ...{ created: 2, updated: 3 },
      rejected: [{ line: 6, code: 'variant_taken', detail: 'The product SWAP-D of this group has the same options.' }],
    });
    expect(await bySku('SWAP-NEW')).toMatchObject({ options: { Size: 'L' }, slug: 'swap-a', inventory: 7 });
  });

  test('is rejected if its group has 250 products', async () => {
    const variant = (n: number) => row(`MANY-${n}`, { group: 'many', options: { Number: String(n) } });
    const { body } = await ndjson(Array.from({ length: 253 }, (_, n) => variant(n)));
    expect([body.created, body.rejected.map(({ line }: { line: number }) => line)]).toEqual([250, [251, 252, 253]]);
    expect(body.rejected[0].detail).toBe('A product group has at most 250 products, archived ones included.');
    expect((await ndjson([variant(3)])).body.updated).toBe(1);
  });
});

describe('the events of an import', () => {
  test('are one product.created that is complete, and one product.updated if something but the stock changed', async () => {
    const fields = { group: 'events', options: { Size: 'M' }, collections: ['events'], slug: 'events', weight: 3 };
    await ndjson([row('EVENTS', fields)]);
    const created = await bySku('EVENTS');
    await ndjson([row('EVENTS', { ...fields, inventory: 99 })]);
    await ndjson([{ sku: 'EVENTS', weight: 4, collections: [] }]);
    await ndjson([{ sku: 'EVENTS', status: 'archived' }]);
    const events = await eventsOf(created.id);
    expect(events.map(({ topic }) => topic)).toEqual(['product.created', 'product.updated', 'product.archived']);
    expect(events[0]?.payload).toEqual(created);
    expect(events[1]?.payload).toMatchObject({ weight: 4, collections: [], groupId: created.groupId, inventory: 99 });
  });
});

describe('a write at the same time', () => {
  /** Runs `act` while a transaction has done `statement`, and commits once something waits for it. */
  async function whileOpen<T>(statement: string, values: unknown[], act: () => Promise<T>): Promise<T> {
    const client = new pg.Client(store.database.url);
    await client.connect();
    try {
      await client.query('begin');
      await client.query(statement, values);
      const acted = act();
      await until(async () => {
        const [waiting] = await store.database.query<{ n: number }>(
          `select count(*)::int as n from pg_stat_activity
           where datname = current_database() and wait_event_type = 'Lock'`,
        );
        return (waiting?.n ?? 0) > 0;
      });
      await client.query('commit');
      return await acted;
    } finally {
      await client.end();
    }
  }
  const insert = `insert into catalog.products
    (id, sku, name, price, currency, tenant_id, created_at, updated_at, slug, group_id, options)
    values ($1, $2, 'n', 1, 'USD', 'default', now(), now(), $3, $4, $5)`;

  test('that takes the slug of a line rejects that line, and the rest of the batch is imported', async () => {
    const values = [randomUUID(), 'RACE-SLUG', 'race', null, {}];
    const { status, body } = await whileOpen(insert, values, () =>
      ndjson([row('RACE-1', { slug: 'race' }), row('RACE-2')]),
    );
    expect([status, body]).toEqual([
      200,
      {
        created: 1,
        updated: 0,
        rejected: [{ line: 1, code: 'slug_taken', detail: 'The product RACE-SLUG has the slug race.' }],
      },
    ]);
  });

  test('that takes the options of a line rejects that line, and the rest of the batch is imported', async () => {
    await ndjson([row('RACE-V-1', { group: 'race-v', options: { Size: 'S' } })]);
    const { groupId } = await bySku('RACE-V-1');
    const line = row('RACE-V-2', { group: 'race-v', options: { Size: 'M' } });
    const { status, body } = await whileOpen(insert, [randomUUID(), 'RACE-V', null, groupId, { Size: 'M' }], () =>
      ndjson([line, row('RACE-V-3')]),
    );
    expect([status, body.created, body.rejected]).toEqual([
      ...[200, 1],
      [{ line: 1, code: 'variant_taken', detail: 'The product RACE-V of this group has the same options.' }],
    ]);
  });

  test('that creates the group or collection of a line is used by it', async () => {
    const group = `insert into catalog.product_groups (id, tenant_id, name, slug, options, created_at, updated_at)
      values ($1, 'default', 'Theirs', 'race-g', '{Size}', now(), now())`;
    const id = randomUUID();
    const { body } = await whileOpen(group, [id], () =>
      ndjson([row('RACE-G', { group: 'race-g', options: { Size: 'M' } })]),
    );
    expect(body.created).toBe(1);
    expect((await bySku('RACE-G')).groupId).toBe(id);
    const collection = `insert into catalog.collections (id, tenant_id, name, slug, created_at, updated_at)
      values ($1, 'default', 'Theirs', 'race-c', now(), now())`;
    await whileOpen(collection, [id], () => ndjson([row('RACE-C', { collections: ['race-c'] })]));
    expect((await bySku('RACE-C')).collections).toEqual([id]);
  });

  test('that deletes the collection of a line makes the import create it again', async () => {
    await ndjson([row('RACE-D-1', { collections: ['race-d'] })]);
    await ndjson([{ sku: 'RACE-D-1', collections: [] }]);
    const { body } = await whileOpen(`delete from catalog.collections where slug = $1`, ['race-d'], () =>
      ndjson([row('RACE-D-2', { collections: ['race-d'] })]),
    );
    expect(body.created).toBe(1);
    expect(await collectionsOf('RACE-D-2')).toEqual(['race-d']);
  });
});

describe('images', () => {
  test('are fetched in their order, and a URL that the product has is not fetched again', async () => {
    const urls = ['a', 'b', 'c'].map((name) => `${origin}/order-${name}.png`);
    expect(
      (await csv(`sku,name,price,currency,image\nIMAGES,n,1,USD,${urls.slice(0, 2).join(' ')}\n`)).body.created,
    ).toBe(1);
    await until(async () => (await bySku('IMAGES')).images.length === 2);
    await ndjson([{ sku: 'IMAGES', image: urls }]);
    await until(async () => (await bySku('IMAGES')).images.length === 3);
    const { id, images } = await bySku('IMAGES');
    const own = images.map((each: { path: string }) => store.url + each.path);
    await ndjson([{ sku: 'IMAGES', image: [...own, ...urls] }]);
    await store.settled();
    const requests = (await eventsOf(id)).filter(({ topic }) => topic === 'product.image.requested');
    expect(requests.map(({ payload }) => [payload.url, payload.position])).toEqual(urls.map((url, n) => [url, n + 1]));
    const { rows } = {
      rows: await store.database.query<{ image_sources: Record<string, string> }>(
        'select image_sources from catalog.products where id = $1',
        [id],
      ),
    };
    expect(Object.keys(rows[0]?.image_sources ?? {})).toHaveLength(3);
  });
});

describe('a file that was exported', () => {
  type Line = Record<string, unknown>;
  const download = async (format: string, key: string) =>
    (
      await fetch(`${store.url}/v1/products/export?format=${format}`, { headers: { authorization: `Bearer ${key}` } })
    ).text();
  /** The lines of an export by SKU, without the paths of images, which each tenant has its own of. */
  const linesOf = async (key: string) =>
    new Map(
      (await download('ndjson', key))
        .trimEnd()
        .split('\n')
        .map((line): [unknown, Line] => {
          const { image, ...rest } = JSON.parse(line);
          return [rest.sku, { ...rest, image: image.length }];
        }),
    );

  test.each(['csv', 'ndjson'])('as %s is imported by another tenant without loss', async (format) => {
    await store.database.query(`insert into platform.tenants (id, name) values ($1, $1), ($2, $2)`, [
      `from-${format}`,
      `to-${format}`,
    ]);
    const [from, to] = [
      await store.database.key({ tenant: `from-${format}` }),
      await store.database.key({ tenant: `to-${format}` }),
    ];
    const { body: unnamed } = await store.send(
      'POST',
      '/v1/product-groups',
      { name: 'No slug', options: ['Taste'] },
      { key: from },
    );
    const { body: collection } = await store.send('POST', '/v1/collections', { name: 'No slug' }, { key: from });
    const shirt = (size: string, colour: string, more: object = {}) =>
      row(`R-${size}-${colour}`, {
        group: 'shirt',
        groupName: 'T-Shirt, "organic"',
        options: { Size: size, Colour: colour },
        ...more,
      });
    const rows = [
      row('R-PLAIN', { name: '  Comma, "quote"', description: 'Two\r\nlines, ünïcödé 🍵\n', inventory: 0 }),
      row('R-FULL', {
        slug: 'r-full',
        weight: 0,
        taxCategory: 'a b',
        compareAtPrice: 0.1,
        price: 99_999_999.99,
        metadata: { 'k"1': 'a,b\n', __proto__x: '' },
      }),
      row('R-COLL', { collections: ['autumn', 'spring', collection.id], currency: 'JPY', price: 900 }),
      shirt('M', 'Black', { image: [`${origin}/r-1.png`, `${origin}/r-2.png`], collections: ['spring'] }),
      shirt('L', 'Black', { status: 'archived' }),
      { ...shirt('L', 'Black'), sku: 'R-L-BLACK-2' },
      row('R-SWEET', { group: unnamed.id, options: { Taste: 'sweet, mild' } }),
      row('R-ARCHIVED', { status: 'archived', collections: ['spring'] }),
      ...Array.from({ length: 300 }, (_, n) => row(`R-${n}`, { price: n / 100, inventory: n })),
    ];
    const imported = await ndjson(rows, { key: from });
    expect(imported.body).toEqual({ created: rows.length, updated: 0, rejected: [] });
    await until(async () => (await bySku('R-M-Black', from)).images.length === 2);
    const file = await download(format, from);
    const type = format === 'csv' ? 'text/csv' : 'application/x-ndjson';
    expect((await send(type, file, { key: to })).body).toEqual({ created: rows.length, updated: 0, rejected: [] });
    await until(async () => (await bySku('R-M-Black', to)).images.length === 2);
    const [before, after] = [await linesOf(from), await linesOf(to)];
    expect(after).toEqual(before);
    expect(before.size).toBe(rows.length);
    expect((await groupBySlug('shirt', to)).body).toMatchObject({
      name: 'T-Shirt, "organic"',
      options: ['Size', 'Colour'],
    });
    // The same file again changes nothing.
    const events = await count('platform.events');
    expect((await send(type, await download(format, to), { key: to })).body).toMatchObject({
      created: 0,
      updated: rows.length,
      rejected: [],
    });
    expect(await linesOf(to)).toEqual(after);
    expect(await count('platform.events')).toBe(events);
  });
});

test('no line makes an import fail as a whole, whatever its fields have', async () => {
  const nasty: unknown[] = [
    ...[
      '',
      ' ',
      '\0',
      '\ud800',
      '💶',
      'é'.repeat(300),
      '__proto__',
      '..',
      '-',
      'a b',
      "'; drop table x;--",
      '{}',
      '[]',
    ],
    ...[null, true, 0, -0, -1, 1.5, 1e300, 2 ** 53, [], {}, [null], [[]], { a: { b: 1 } }, ['x', 1], { '': '' }],
    ...[
      'https://shop.example/\0',
      'https://[::1]/',
      'https://user:pass@shop.example/',
      'javascript:alert(1)',
      'https://',
    ],
    ...[
      { Size: 'M' },
      { Size: '\0' },
      { '\ud800': 'x' },
      ['fuzz-1'],
      ['fuzz-1', 'fuzz-2'],
      'fuzz-1',
      'fuzz-2',
      { constructor: 'x' },
    ],
  ];
  const fields = [
    'name',
    'price',
    'currency',
    'inventory',
    'status',
    'slug',
    'weight',
    'taxCategory',
    'compareAtPrice',
  ];
  fields.push(
    'group',
    'groupName',
    'options',
    'collections',
    'image',
    'metadata',
    'optionNames',
    'images',
    'retried',
    'id',
  );
  const random = mulberry32(20261130);
  const oneOf = <T>(values: T[]): T => values[Math.floor(random() * values.length)] as T;
  const lines = Array.from({ length: 600 }, (_, n) => {
    const changed = Array.from({ length: 1 + Math.floor(random() * 3) }, () => [oneOf(fields), oneOf(nasty)]);
    return row(`FUZZ-${n % 250}`, Object.fromEntries(changed));
  });
  const { status, body } = await ndjson(lines);
  expect([status, body.created + body.updated + body.rejected.length]).toEqual([200, lines.length]);
  expect(body.created).toBeGreaterThan(10);
  const text = (value: unknown) =>
    `"${(typeof value === 'string' ? value : JSON.stringify(value)).replaceAll('"', '""')}"`;
  const table = lines.map((_, n) =>
    [`FUZZ-${n % 250}`, ...fields.slice(0, 15).map(() => (random() < 0.8 ? '' : text(oneOf(nasty))))].join(','),
  );
  const header = ['sku', ...fields.slice(0, 15)]
    .map((field) => (field === 'options' ? 'option:Size' : field))
    .join(',');
  const fromCsv = await csv([header, ...table].join('\n'));
  const { created, updated, rejected } = fromCsv.body;
  expect([fromCsv.status, created + updated + rejected.length]).toEqual([200, lines.length]);
});

test('the header of CSV may name any option, and a column that is unknown or twice rejects the file', async () => {
  for (const header of [
    'sku,option:',
    'sku,option',
    'sku,options',
    'sku,option:Size,option:Size',
    'sku,images',
    `sku,option:${'x'.repeat(41)}`,
  ]) {
    const { status, body } = await csv(`${header}\nA,b\n`);
    expect([status, body.code, body.errors[0].pointer]).toEqual([422, 'validation_failed', '/1']);
  }
});
