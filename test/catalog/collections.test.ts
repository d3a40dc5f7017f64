import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { collection as collectionSchema } from '../../src/domain/catalog/collections.ts';
import { addProduct, type Reply, type Store, startStore } from '../support/harness.ts';
import { sendTogether } from '../support/locks.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore({ keyLimit: 100_000 });
});
afterAll(() => store.close());

const outcome = (reply: Reply) => [reply.status, reply.body.code];
const pointers = (reply: Reply) => reply.body.errors.map((fault: { pointer: string }) => fault.pointer);
const create = (fields: Record<string, unknown> = {}) =>
  store.send('POST', '/v1/collections', { name: 'C', ...fields });
const collection = async (fields: Record<string, unknown> = {}): Promise<string> => {
  const { status, body } = await create(fields);
  if (status !== 201) throw new Error(JSON.stringify(body));
  return body.id;
};
const patch = (id: string, change: unknown, headers: Record<string, string> = {}) =>
  store.send('PATCH', `/v1/collections/${id}`, change, { headers });
const remove = (id: string, headers: Record<string, string> = {}) =>
  store.send('DELETE', `/v1/collections/${id}`, undefined, { headers });
const add = (id: string, productId: string) => store.send('PUT', `/v1/collections/${id}/products/${productId}`);
const takeOut = (id: string, productId: string) => store.send('DELETE', `/v1/collections/${id}/products/${productId}`);
const newProduct = async (): Promise<string> => (await addProduct(store, `C-${randomUUID().slice(0, 8)}`, 5)).id;
const readProduct = async (id: string) => (await store.send('GET', `/v1/products/${id}`)).body;
const countEvents = async (id: string, topic: string) =>
  (await store.database.query('select from platform.events where key = $1 and topic = $2', [id, topic])).length;

/** What differs between products.collections, the rows of collection_products and the products that these copy. */
const findDifferences = () =>
  store.database.query(
    `select p.id from catalog.products p
     where p.collections <> array(
       select m.collection_id from catalog.collection_products m where m.product_id = p.id order by 1)
     union all
     select m.product_id from catalog.collection_products m left join catalog.products p on p.id = m.product_id
     where (m.tenant_id, m.status, m.currency, m.price, m.name, m.group_id)
       is distinct from (p.tenant_id, p.status, p.currency, p.price, p.name, p.group_id)`,
  );

describe('a collection', () => {
  test('is returned with its Location, the same as every read', async () => {
    const parentId = await collection();
    const made = await create({ name: 'Summer', slug: 'summer', parentId });
    expect([made.status, made.headers.get('location')]).toEqual([201, `/v1/collections/${made.body.id}`]);
    expect(Object.keys(made.body)).toEqual(Object.keys(collectionSchema.shape));
    expect(made.body).toMatchObject({ name: 'Summer', slug: 'summer', parentId });
    const read = await store.send('GET', `/v1/collections/${made.body.id}`);
    expect([read.body, read.headers.get('etag')]).toEqual([made.body, made.headers.get('etag')]);
    const first = await store.send('GET', '/v1/collections?limit=1');
    expect(first.body.data).toEqual([made.body]);
    const next = await store.send('GET', `/v1/collections?limit=1&cursor=${first.body.nextCursor}`);
    expect(next.body.data).toMatchObject([{ id: parentId }]);
  });

  test('is changed and deleted only in the version that If-Match names', async () => {
    const made = await create({ slug: 'versioned' });
    const old = made.headers.get('etag') ?? '';
    const changed = await patch(made.body.id, { name: 'New', slug: null }, { 'if-match': old });
    expect(changed.body).toMatchObject({ name: 'New', slug: null });
    expect(outcome(await patch(made.body.id, { name: 'x' }, { 'if-match': old }))).toEqual([412, 'version_mismatch']);
    expect(outcome(await remove(made.body.id, { 'if-match': old }))).toEqual([412, 'version_mismatch']);
    expect((await remove(made.body.id, { 'if-match': changed.headers.get('etag') ?? '' })).status).toBe(204);
    expect(outcome(await remove(made.body.id))).toEqual([404, 'not_found']);
  });

  test('has a slug that no other collection has', async () => {
    await create({ slug: 'one-of-a-kind' });
    expect(outcome(await create({ slug: 'one-of-a-kind' }))).toEqual([409, 'slug_taken']);
    expect(outcome(await patch(await collection(), { slug: 'one-of-a-kind' }))).toEqual([409, 'slug_taken']);
  });

  test('is never below itself', async () => {
    const top = await collection();
    const middle = await collection({ parentId: top });
    const bottom = await collection({ parentId: middle });
    for (const parentId of [top, middle, bottom]) {
      const reply = await patch(top, { parentId });
      expect([...outcome(reply), pointers(reply)]).toEqual([422, 'validation_failed', ['/parentId']]);
    }
    expect(pointers(await patch(top, { parentId: randomUUID() }))).toEqual(['/parentId']);
    expect(pointers(await create({ parentId: randomUUID() }))).toEqual(['/parentId']);
    expect((await patch(bottom, { parentId: null })).body.parentId).toBeNull();
    expect((await patch(top, { parentId: bottom })).body.parentId).toBe(bottom);
  });

  test('is not moved into a cycle by two requests at the same time', async () => {
    for (let round = 0; round < 10; round++) {
      const [a, b] = [await collection(), await collection()];
      const replies = await sendTogether(
        store,
        'select from catalog.collections where id = any($1) order by id for update',
        [a, b],
        [() => patch(a, { parentId: b }), () => patch(b, { parentId: a })],
      );
      expect(replies.map(({ status }) => status).sort()).toEqual([200, 422]);
    }
  });

  test('has at most ten levels, with what is below it', async () => {
    const chain = [await collection()];
    while (chain.length < 10) chain.push(await collection({ parentId: chain.at(-1) }));
    expect(pointers(await create({ parentId: chain.at(-1) }))).toEqual(['/parentId']);
    const top = await collection();
    expect(pointers(await patch(chain[0] ?? '', { parentId: top }))).toEqual(['/parentId']);
    expect((await patch(chain[1] ?? '', { parentId: top })).status).toBe(200);
  });

  test('cannot be deleted while it has collections below it, also if one is added at the same time', async () => {
    for (let round = 0; round < 10; round++) {
      const parentId = await collection();
      const [added, removed] = await Promise.all([create({ parentId }), remove(parentId)]);
      if (added.status === 201) expect(outcome(removed)).toEqual([409, 'conflict']);
      else expect([removed.status, pointers(added)]).toEqual([204, ['/parentId']]);
    }
  });

  test('takes its products out of it when it is deleted, up to 1,000', async () => {
    const [kept, small, large] = [await collection(), await collection(), await collection()];
    const productId = await newProduct();
    for (const id of [kept, small]) await add(id, productId);
    expect((await remove(small)).status).toBe(204);
    expect((await readProduct(productId)).collections).toEqual([kept]);
    expect(await countEvents(productId, 'product.updated')).toBe(3);
    await store.database.query(
      `with product as (
         insert into catalog.products (id, sku, name, price, currency, tenant_id, collections)
         select gen_random_uuid(), 'LARGE-' || n, 'x', 1, 'USD', 'default', array[$1] from generate_series(1, 1001) n
         returning *
       )
       insert into catalog.collection_products (tenant_id, collection_id, product_id, status, currency, price, name)
       select p.tenant_id, $1, p.id, p.status, p.currency, p.price, p.name from product p`,
      [large],
    );
    expect(outcome(await remove(large))).toEqual([409, 'conflict']);
    const [any] = await store.database.query<{ id: string }>(`select id from catalog.products where sku = 'LARGE-1'`);
    expect((await takeOut(large, any?.id ?? '')).status).toBe(204);
    expect((await remove(large)).status).toBe(204);
    const [event] = await store.database.query<{ n: number }>(
      `select count(*)::int as n from platform.events
       where topic = 'product.updated' and payload->>'sku' like 'LARGE-%' and payload->'collections' = '[]'`,
    );
    expect(event?.n).toBe(1001);
    expect(await findDifferences()).toEqual([]);
  }, 60_000);

  test('of another tenant cannot be seen, changed or filled', async () => {
    const key = await store.database.key({ tenant: 'acme' });
    const [id, productId] = [await collection({ slug: 'private' }), await newProduct()];
    const { body: theirs } = await store.send('POST', '/v1/collections', { name: 'T', slug: 'private' }, { key });
    const requests: [string, string, unknown?][] = [
      ['GET', `/v1/collections/${id}`],
      ['PATCH', `/v1/collections/${id}`, { name: 'x' }],
      ['DELETE', `/v1/collections/${id}`],
      ['PUT', `/v1/collections/${id}/products/${productId}`],
      ['PUT', `/v1/collections/${theirs.id}/products/${productId}`],
      ['DELETE', `/v1/collections/${id}/products/${productId}`],
    ];
    for (const [method, path, body] of requests) {
      expect(outcome(await store.send(method, path, body, { key }))).toEqual([404, 'not_found']);
    }
    const below = await store.send('POST', '/v1/collections', { name: 'x', parentId: id }, { key });
    expect(pointers(below)).toEqual(['/parentId']);
    expect((await store.send('GET', '/v1/collections', undefined, { key })).body.data).toEqual([theirs]);
  });
});

describe('a product in collections', () => {
  test('shows their ids in order, and is added and taken out once', async () => {
    const ids = [await collection(), await collection(), await collection()];
    const productId = await newProduct();
    for (const id of [ids[2], ids[0], ids[1], ids[0]]) expect((await add(id ?? '', productId)).status).toBe(204);
    expect((await readProduct(productId)).collections).toEqual(ids.toSorted());
    expect(await countEvents(productId, 'product.updated')).toBe(3);
    for (let n = 0; n < 2; n++) expect((await takeOut(ids[0] ?? '', productId)).status).toBe(204);
    expect((await readProduct(productId)).collections).toEqual(ids.slice(1).toSorted());
    expect(await countEvents(productId, 'product.updated')).toBe(4);
    expect(outcome(await add(randomUUID(), productId))).toEqual([404, 'not_found']);
    expect(outcome(await add(ids[0] ?? '', randomUUID()))).toEqual([404, 'not_found']);
  });

  test('is in at most 100 of them, also if it is added to several at once', async () => {
    const productId = await newProduct();
    await store.database.query(
      `with added as (
         insert into catalog.collections (id, tenant_id, name, created_at, updated_at)
         select 'many-' || lpad(n::text, 3, '0'), 'default', 'x', now(), now() from generate_series(1, 98) n returning id
       ), product as (
         update catalog.products p set collections = (select array_agg(a.id order by a.id) from added a)
         where p.id = $1 returning *
       )
       insert into catalog.collection_products (tenant_id, collection_id, product_id, status, currency, price, name)
       select 'default', a.id, p.id, p.status, p.currency, p.price, p.name from added a, product p`,
      [productId],
    );
    const ids = await Promise.all([1, 2, 3, 4].map(() => collection()));
    const replies = await Promise.all(ids.map((id) => add(id, productId)));
    expect(replies.map(({ status }) => status).sort()).toEqual([204, 204, 409, 409]);
    expect(await findDifferences()).toEqual([]);
    await store.database.query(`update catalog.products set collections = '{}' where id = $1`, [productId]);
    await store.database.query('delete from catalog.collection_products where product_id = $1', [productId]);
  });

  test('has the same collections in its array and its rows, with equal copies, whatever happens at once', async () => {
    let seed = 20_261_130;
    const below = (limit: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
      return (seed >> 8) % limit;
    };
    const oneOf = <T>(all: T[]): T => all[below(all.length)] as T;
    const products = await Promise.all(
      [...Array(6).keys()].map((n) => addProduct(store, `MODEL-${n}`, 5, 10, { name: `Model ${n}` })),
    );
    const { body: group } = await store.send('POST', '/v1/product-groups', { name: 'G', options: ['Size'] });
    const ids = await Promise.all([...Array(5).keys()].map(() => collection()));
    const steps: (() => Promise<Reply>)[] = [
      () => add(oneOf(ids), oneOf(products).id),
      () => add(oneOf(ids), oneOf(products).id),
      () => takeOut(oneOf(ids), oneOf(products).id),
      () => store.send('PATCH', `/v1/products/${oneOf(products).id}`, { price: below(90), name: `Name ${below(90)}` }),
      () => store.send('DELETE', `/v1/products/${oneOf(products).id}`),
      () =>
        store.send('PATCH', `/v1/products/${oneOf(products).id}`, {
          status: 'active',
          currency: oneOf(['USD', 'EUR']),
        }),
      () =>
        store.send('PATCH', `/v1/products/${oneOf(products).id}`, {
          ...(below(2) ? { groupId: group.id, options: { Size: String(below(1_000_000)) } } : { groupId: null }),
        }),
      () =>
        store.send(
          'POST',
          '/v1/products/import',
          products
            .filter(() => below(2) === 0)
            .map(({ sku }) => JSON.stringify({ sku, price: below(90), status: oneOf(['active', 'archived']) }))
            .join('\n'),
          { headers: { 'content-type': 'application/x-ndjson' } },
        ),
      async () => {
        const place = below(ids.length);
        const reply = await remove(ids[place] ?? '');
        if (reply.status === 204) ids[place] = await collection();
        return reply;
      },
    ];
    for (let round = 0; round < 40; round++) {
      const replies = await Promise.all(Array.from({ length: 8 }, () => oneOf(steps)()));
      for (const { status } of replies) expect([200, 204, 404]).toContain(status);
      expect(await findDifferences()).toEqual([]);
    }
    const [last] = await store.database.query<{ n: number }>(
      `select count(*)::int as n from catalog.products p where p.sku like 'MODEL-%' and not exists (
         select from platform.events e where e.key = p.id and e.topic like 'product.%'
           and (e.payload->>'price')::numeric = p.price and e.payload->'collections' = to_jsonb(p.collections)
           and e.payload->>'status' = p.status and e.seq = (select max(seq) from platform.events l where l.key = p.id))`,
    );
    expect(last?.n).toBe(0);
    const [counted] = await store.database.query<{ n: number }>(
      'select deadlocks::int as n from pg_stat_database where datname = current_database()',
    );
    expect(counted?.n).toBe(0);
  }, 120_000);
});
