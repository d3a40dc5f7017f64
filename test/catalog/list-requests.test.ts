import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Reply, type Store, startStore } from '../support/harness.ts';

let store: Store;
let acme: string;
const collection = randomUUID();
const group = randomUUID();
let ids: string[];

const list = (query: string, key?: string): Promise<Reply> =>
  store.send('GET', `/v1/products${query && `?${query}`}`, undefined, key === undefined ? {} : { key });
const skusOf = ({ body }: Reply): string[] =>
  body.data.map((row: { sku?: string; product: { sku: string } }) => row.sku ?? row.product.sku);

beforeAll(async () => {
  store = await startStore();
  acme = await store.database.key({ tenant: 'acme' });
  const added = [
    await addProduct(store, 'A', 5, 10, { name: 'Lamp' }),
    await addProduct(store, 'B', 0, 30, { name: 'bottle' }),
    await addProduct(store, 'C', 2, 20.5, { name: 'Bottle' }),
    await addProduct(store, 'YEN', 2, 2000, { name: 'Sake', currency: 'JPY' }),
    await addProduct(store, 'OLD', 2, 1),
  ];
  ids = added.map(({ id }) => id);
  await store.send('DELETE', `/v1/products/${ids[4]}`);
  const { query } = store.database;
  await query(
    `insert into catalog.product_groups (id, tenant_id, name, slug, options, created_at, updated_at)
     values ($1, 'default', 'Bottles', 'bottles', '{Size}', now(), now())`,
    [group],
  );
  await query(
    `update catalog.products set group_id = $1, options = jsonb_build_object('Size', case sku when 'B' then 'L' else 'S' end)
     where sku in ('B', 'C')`,
    [group],
  );
  await query(
    `insert into catalog.collections (id, tenant_id, name, slug, created_at, updated_at)
     values ($1, 'default', 'Summer', 'summer', now(), now())`,
    [collection],
  );
  await query(
    `insert into catalog.collection_products (tenant_id, collection_id, product_id, status, currency, price, name, group_id)
     select tenant_id, $1, id, status, currency, price, name, group_id from catalog.products where sku in ('A', 'C', 'OLD')`,
    [collection],
  );
});
afterAll(() => store.close());

test.each([
  ['', ['YEN', 'C', 'B', 'A']],
  ['sort=newest', ['YEN', 'C', 'B', 'A']],
  ['sort=price', ['YEN', 'A', 'C', 'B']],
  ['sort=-price', ['B', 'C', 'A', 'YEN']],
  ['sort=name', ['B', 'C', 'A', 'YEN']],
  ['sort=price&currency=USD', ['A', 'C', 'B']],
  ['minPrice=20.5&maxPrice=30', ['C', 'B']],
  ['minPrice=31&sort=price', ['YEN']],
  ['inStock=true', ['YEN', 'C', 'A']],
  ['inStock=false', ['B']],
  ['collection=summer', ['C', 'A']],
  ['collection=winter', []],
  ['collection=summer&status=all', ['OLD', 'C', 'A']],
  ['status=archived', ['OLD']],
  ['q=bottle', ['C', 'B']],
  ['q=bottle&sort=price', ['C', 'B']],
  ['q=bottel&sort=price', ['C', 'B']],
  ['q=bottle&collection=summer&maxPrice=21', ['C']],
  ['view=groups', ['YEN', 'C', 'A']],
  ['view=groups&sort=-price', ['B', 'A', 'YEN']],
])('?%s lists %j', async (query, expected) => {
  const reply = await list(query);
  expect(reply.status).toBe(200);
  expect(skusOf(reply)).toEqual(expected);
  expect(reply.headers.get('server-timing')).toMatch(/desc="1 calls?"/);
});

test('a list of ids leaves out those that are unknown, archived or of another tenant', async () => {
  const query = `ids=${[ids[0], randomUUID(), ids[4], ids[2], ids[0]].join(',')}`;
  expect(skusOf(await list(query))).toEqual(['C', 'A']);
  expect(skusOf(await list(query, acme))).toEqual([]);
});

test('a row of a group has the prices, the stock and the first product of those that are listed', async () => {
  const { body } = await list('view=groups&sort=price&currency=USD');
  expect(body.data).toMatchObject([
    { group: null, product: { sku: 'A' }, variants: 1, minPrice: 10, maxPrice: 10, currency: 'USD', inStock: true },
    {
      group: { id: group, name: 'Bottles', slug: 'bottles', options: ['Size'] },
      ...{ product: { sku: 'C', inventory: 2 }, variants: 2, minPrice: 20.5, maxPrice: 30, inStock: true, images: [] },
    },
  ]);
});

describe('facets', () => {
  test('count the values of each option and the ranges of prices of the whole list', async () => {
    const { body } = await list('facets=options,price&limit=1');
    expect(body.data).toHaveLength(1);
    expect(body.facets).toEqual({
      complete: true,
      options: {
        Size: [
          { value: 'L', count: 1 },
          { value: 'S', count: 1 },
        ],
      },
      price: [
        { currency: 'JPY', min: 2000, max: 2000, count: 1, ranges: [{ from: 2000, to: 2001, count: 1 }] },
        {
          ...{ currency: 'USD', min: 10, max: 30, count: 3 },
          ranges: [
            { from: 10, to: 15, count: 1 },
            { from: 20, to: 25, count: 1 },
            { from: 30, to: 35, count: 1 },
          ],
        },
      ],
    });
  });

  test('count what the filters leave, but prices as if they were not filtered', async () => {
    const { body } = await list('facets=price,options&collection=summer&maxPrice=15&currency=USD');
    expect(body.facets.options).toEqual({});
    expect(body.facets.price).toMatchObject([{ min: 10, max: 20.5, count: 2 }]);
  });

  test('count a group once in a list of groups', async () => {
    const { body } = await list('facets=price&view=groups&currency=USD');
    expect(body.facets.price).toMatchObject([{ count: 2 }]);
    expect(body.facets).not.toHaveProperty('options');
  });

  test('are not needed on the next page, whose cursor stays valid', async () => {
    const first = await list('facets=price&limit=2');
    const next = await list(`limit=2&cursor=${first.body.nextCursor}`);
    expect(skusOf(next)).toEqual(['B', 'A']);
    expect(next.body).not.toHaveProperty('facets');
  });
});

describe('a cursor', () => {
  test.each(['newest', 'price', '-price', 'name'])('continues a list that is sorted by %s', async (sort) => {
    const all = skusOf(await list(`sort=${sort}`));
    const found: string[] = [];
    for (let path = `/v1/products?sort=${sort}&limit=1`; path !== ''; ) {
      const reply = await store.send('GET', path);
      found.push(...skusOf(reply));
      path = /^<(.*)>; rel="next"$/.exec(reply.headers.get('link') ?? '')?.[1] ?? '';
    }
    expect(found).toEqual(all);
  });

  test('is valid for no other order, filter or view', async () => {
    const { body } = await list('sort=price&limit=1');
    for (const query of ['sort=-price', 'sort=name', '', 'sort=price&inStock=true', 'sort=price&view=groups']) {
      const reply = await list(`${query}&limit=1&cursor=${body.nextCursor}`);
      expect(reply.status, query).toBe(400);
      expect(reply.body.code).toBe('invalid_cursor');
    }
  });

  test('is short enough to be used after a name of 500 characters', async () => {
    const key = await store.database.key({ tenant: 'acme' });
    for (const sku of ['LONG-1', 'LONG-2'])
      await store.send(
        'POST',
        '/v1/products',
        { sku, name: '漢'.repeat(500), price: 1, currency: 'USD', inventory: 0 },
        { key },
      );
    const first = await list('sort=name&limit=1', key);
    expect(skusOf(await list(`sort=name&limit=1&cursor=${first.body.nextCursor}`, key))).toEqual(['LONG-2']);
  });
});

test('another tenant sees nothing of a collection, whichever way it names it', async () => {
  for (const name of [collection, 'summer'])
    for (const more of ['', '&sort=price', '&status=all', '&view=groups', '&q=Lamp', '&facets=options,price']) {
      const { status, body } = await list(`collection=${name}${more}`, acme);
      expect(status).toBe(200);
      expect(body.data).toEqual([]);
      if (body.facets) expect(body.facets).toEqual({ complete: true, options: {}, price: [] });
    }
});

test('a publishable key lists active products only', async () => {
  const key = await store.database.key({ kind: 'publishable' });
  expect((await list('sort=name&facets=options', key)).status).toBe(200);
  for (const status of ['archived', 'all']) expect((await list(`status=${status}`, key)).status).toBe(403);
});

test.each([
  ['sort=cheapest', 'sort'],
  ['view=list', 'view'],
  ['status=gone', 'status'],
  ['inStock=yes', 'inStock'],
  ['minPrice=1.234', 'minPrice'],
  ['maxPrice=-1', 'maxPrice'],
  ['minPrice=2&maxPrice=1', 'maxPrice'],
  ['ids=x', 'ids'],
  ['ids=', 'ids'],
  [`ids=${Array.from({ length: 101 }, () => randomUUID()).join(',')}`, 'ids'],
  ['facets=colour', 'facets'],
  ['collection=', 'collection'],
])('?%.40s is rejected', async (query, pointer) => {
  const { status, body } = await list(query);
  expect(status).toBe(422);
  expect(body.errors).toMatchObject([{ pointer }]);
});
