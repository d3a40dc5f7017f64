import { randomInt, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { productGroup, productGroupWithProducts } from '../../src/domain/catalog/product-groups.ts';
import { addProduct, oneLine, type Reply, type Store, startStore } from '../support/harness.ts';
import { sendTogether } from '../support/locks.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const outcome = (reply: Reply) => [reply.status, reply.body.code];
const pointers = (reply: Reply) => reply.body.errors.map((fault: { pointer: string }) => fault.pointer);
const group = async (more: Record<string, unknown> = {}): Promise<{ id: string }> => {
  const { status, body } = await store.send('POST', '/v1/product-groups', {
    ...{ name: 'T-shirt', options: ['Size', 'Colour'], ...more },
  });
  if (status !== 201) throw new Error(JSON.stringify(body));
  return body;
};
const newSku = () => `G-${randomUUID().slice(0, 8)}`;
const post = (groupId: string | undefined, options?: Record<string, string>, more: Record<string, unknown> = {}) =>
  store.send('POST', '/v1/products', {
    ...{ sku: newSku(), name: 'Shirt', price: 20, currency: 'USD', inventory: 5, groupId, options, ...more },
  });
const patch = (id: string, change: unknown, headers: Record<string, string> = {}) =>
  store.send('PATCH', `/v1/products/${id}`, change, { headers });
const readGroup = (id: string) => store.send('GET', `/v1/product-groups/${id}`);
const patchGroup = (id: string, change: unknown, headers: Record<string, string> = {}) =>
  store.send('PATCH', `/v1/product-groups/${id}`, change, { headers });
const archive = (id: string) => store.send('DELETE', `/v1/products/${id}`);
const topicsOf = async (id: string) =>
  (
    await store.database.query<{ topic: string }>('select topic from platform.events where key = $1 order by seq', [id])
  ).map(({ topic }) => topic);
/** Chinese characters, three bytes each, which no compression makes shorter. */
const randomCharacters = (length: number) =>
  Array.from({ length }, () => String.fromCharCode(0x4e00 + randomInt(20_000))).join('');
const black = (size: string) => ({ Size: size, Colour: 'Black' });

describe('a product group', () => {
  test('is returned with its Location, the same as every read', async () => {
    const input = { name: 'Mug', description: 'Stoneware', slug: 'mug', options: ['Glaze'], metadata: { shelf: '7' } };
    const made = await store.send('POST', '/v1/product-groups', input);
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({ ...input, products: [] });
    expect(Object.keys(made.body)).toEqual(Object.keys(productGroupWithProducts.shape));
    expect(made.headers.get('location')).toBe(`/v1/product-groups/${made.body.id}`);
    for (const path of [`/v1/product-groups/${made.body.id}`, '/v1/product-groups/by-slug/mug']) {
      const read = await store.send('GET', path);
      expect(read.body).toEqual(made.body);
      expect(read.headers.get('etag')).toBe(made.headers.get('etag'));
    }
    const [listed] = (await store.send('GET', '/v1/product-groups?limit=1')).body.data;
    const { products, ...withoutProducts } = made.body;
    expect([listed, Object.keys(listed)]).toEqual([withoutProducts, Object.keys(productGroup.shape)]);
  });

  test('shows its products for sale with price and stock, in one call to the database', async () => {
    const { id } = await group();
    const [medium, large] = [await post(id, black('M')), await post(id, black('L'))];
    const archived = await post(id, black('S'));
    await archive(archived.body.id);
    const read = await readGroup(id);
    expect(read.body.products).toEqual([medium.body, large.body]);
    expect(read.headers.get('server-timing')).toMatch(/desc="1 calls"/);
  });

  test('has another ETag after a change of a product or its stock', async () => {
    const { id } = await group();
    const { body: product } = await post(id, black('M'));
    let last = (await readGroup(id)).headers.get('etag');
    const changes = [
      () => patch(product.id, { price: 21 }),
      () => store.send('POST', '/v1/orders', oneLine(product.sku)),
      () => store.send('PUT', `/v1/inventory/${product.sku}`, { quantity: 50 }),
      () => archive(product.id),
    ];
    for (const change of changes) {
      const same = await store.send('GET', `/v1/product-groups/${id}`, undefined, {
        headers: { 'if-none-match': last ?? '' },
      });
      expect(same.status).toBe(304);
      await change();
      const { headers } = await readGroup(id);
      expect(headers.get('etag')).not.toBe(last);
      last = headers.get('etag');
    }
  });

  test('is changed and deleted only in the version that If-Match names', async () => {
    const { id } = await group();
    const old = (await readGroup(id)).headers.get('etag') ?? '';
    const changed = await patchGroup(id, { name: 'Tee', description: null, slug: null }, { 'if-match': old });
    expect(changed.body).toMatchObject({ name: 'Tee', description: null, slug: null });
    expect((await readGroup(id)).headers.get('etag')).toBe(changed.headers.get('etag'));
    expect(outcome(await patchGroup(id, { name: 'x' }, { 'if-match': old }))).toEqual([412, 'version_mismatch']);
    const remove = (tag: string) =>
      store.send('DELETE', `/v1/product-groups/${id}`, undefined, { headers: { 'if-match': tag } });
    expect(outcome(await remove(old))).toEqual([412, 'version_mismatch']);
    expect((await remove(changed.headers.get('etag') ?? '')).status).toBe(204);
    expect(outcome(await readGroup(id))).toEqual([404, 'not_found']);
  });

  test('has a slug that no other group has', async () => {
    await group({ slug: 'only-one' });
    const other = await group();
    const again = await store.send('POST', '/v1/product-groups', { name: 'x', options: ['A'], slug: 'only-one' });
    expect(outcome(again)).toEqual([409, 'slug_taken']);
    expect(outcome(await patchGroup(other.id, { slug: 'only-one' }))).toEqual([409, 'slug_taken']);
  });

  test('keeps its option names while it has products, but can order them anew', async () => {
    const { id } = await group();
    const { body: product } = await post(id, black('M'));
    expect((await patchGroup(id, { options: ['Colour', 'Size'] })).body.options).toEqual(['Colour', 'Size']);
    for (const options of [['Colour'], ['Colour', 'Size', 'Fit'], ['Color', 'Size']]) {
      expect(outcome(await patchGroup(id, { options }))).toEqual([409, 'conflict']);
    }
    await archive(product.id);
    expect(outcome(await patchGroup(id, { options: ['Colour'] }))).toEqual([409, 'conflict']);
    await patch(product.id, { groupId: null });
    expect((await patchGroup(id, { options: ['Fit'] })).body.options).toEqual(['Fit']);
  });

  test('cannot be deleted while it has products for sale, and leaves its archived ones behind', async () => {
    const { id } = await group();
    const { body: product } = await post(id, black('M'));
    const remove = () => store.send('DELETE', `/v1/product-groups/${id}`);
    expect(outcome(await remove())).toEqual([409, 'conflict']);
    await archive(product.id);
    expect((await remove()).status).toBe(204);
    const left = await store.send('GET', `/v1/products/${product.id}`);
    expect(left.body).toMatchObject({ groupId: null, options: {}, status: 'archived' });
    expect(await topicsOf(product.id)).toEqual(['product.created', 'product.archived', 'product.updated']);
  });

  test('has at most 250 products, also if many join at once', async () => {
    const { id } = await group({ options: ['Number'] });
    await store.database.query(
      `insert into catalog.products (id, sku, name, price, currency, tenant_id, group_id, options)
       select gen_random_uuid(), 'FULL-' || n, 'x', 1, 'USD', 'default', $1, jsonb_build_object('Number', n::text)
       from generate_series(1, 247) n`,
      [id],
    );
    const replies = await sendTogether(
      store,
      'select from catalog.product_groups where id = any($1) for update',
      [id],
      [...Array(8).keys()].map((n) => () => post(id, { Number: `new ${n}` })),
    );
    expect(replies.filter(({ status }) => status === 201)).toHaveLength(3);
    const full = replies.filter(({ status }) => status !== 201);
    for (const reply of full)
      expect([...outcome(reply), pointers(reply)]).toEqual([422, 'validation_failed', ['/groupId']]);
    expect((await readGroup(id)).body.products).toHaveLength(250);
  });

  test.each([
    ['no option', { name: 'x', options: [] }, ['/options']],
    ['an option twice', { name: 'x', options: ['A', 'A'] }, ['/options']],
    ['an empty option', { name: 'x', options: ['A', ''] }, ['/options/1']],
    ['no options', { name: 'x' }, ['/options']],
  ])('with %s is rejected', async (_, body, places) => {
    expect(pointers(await store.send('POST', '/v1/product-groups', body))).toEqual(places);
  });
});

describe('a product in a group', () => {
  test('has a value for each option of the group and no others', async () => {
    const { id } = await group();
    const faulty = [
      [await post(id, { Size: 'M' }), ['/options/Colour']],
      [await post(id), ['/options/Colour', '/options/Size']],
      [await post(id, { ...black('M'), Fit: 'slim' }), ['/options/Fit']],
      [await post(id, { Size: '', Colour: 'Black' }), ['/options/Size']],
      [await post(undefined, { Size: 'M' }), ['/options/Size']],
      [await post(randomUUID(), black('M')), ['/groupId']],
    ] as const;
    for (const [reply, places] of faulty) {
      expect([...outcome(reply), pointers(reply)]).toEqual([422, 'validation_failed', places]);
    }
    const made = await post(id, black('M'));
    expect([made.status, made.body.groupId, made.body.options]).toEqual([201, id, black('M')]);
    expect(pointers(await patch(made.body.id, { options: { Size: 'L' } }))).toEqual(['/options/Colour']);
    expect(pointers(await patch(made.body.id, { groupId: null, options: { Size: 'L' } }))).toEqual(['/options/Size']);
    expect((await patch(made.body.id, { options: black('L') })).body.options).toEqual(black('L'));
  });

  test('has options of at most 2,000 bytes in all, because they are in an index', async () => {
    const names = Array.from({ length: 10 }, (_, index) => `Option ${index}`);
    const { id } = await group({ options: names, slug: 'many-options' });
    const options = Object.fromEntries(names.map((name) => [name, randomCharacters(100)]));
    expect(pointers(await post(id, options))).toEqual(['/options']);
    const line = { sku: newSku(), name: 'x', price: 1, currency: 'USD', group: 'many-options', options };
    const headers = { 'content-type': 'application/x-ndjson' };
    const imported = await store.send('POST', '/v1/products/import', JSON.stringify(line), { headers });
    expect(imported.body.rejected[0].detail).toContain('options must have at most 2,000 bytes');
    const fitting = Object.fromEntries(names.map((name) => [name, randomCharacters(60)]));
    expect((await post(id, fitting)).status).toBe(201);
  });

  test('changes its group and leaves it', async () => {
    const [shirts, hoodies, mugs] = [await group(), await group(), await group({ options: ['Glaze'] })];
    const { body: product } = await post(shirts.id, black('M'));
    expect((await patch(product.id, { groupId: hoodies.id })).body).toMatchObject({
      groupId: hoodies.id,
      options: black('M'),
    });
    expect(pointers(await patch(product.id, { groupId: mugs.id }))).toEqual([
      ...['/options/Colour', '/options/Glaze', '/options/Size'],
    ]);
    const moved = await patch(product.id, { groupId: mugs.id, options: { Glaze: 'Blue' } });
    expect(moved.body).toMatchObject({ groupId: mugs.id, options: { Glaze: 'Blue' } });
    expect((await patch(product.id, { groupId: null })).body).toMatchObject({ groupId: null, options: {} });
    expect(await topicsOf(product.id)).toEqual([
      ...['product.created', 'product.updated', 'product.updated', 'product.updated'],
    ]);
  });

  test('has a combination of options that belongs to one active product', async () => {
    const { id } = await group();
    const { body: first } = await post(id, black('M'));
    expect(outcome(await post(id, black('M')))).toEqual([409, 'variant_taken']);
    const { body: second } = await post(id, black('L'));
    expect(outcome(await patch(second.id, { options: black('M') }))).toEqual([409, 'variant_taken']);
    await archive(first.id);
    expect((await patch(second.id, { options: black('M') })).status).toBe(200);
    expect(outcome(await patch(first.id, { status: 'active' }))).toEqual([409, 'variant_taken']);
    expect((await patch(first.id, { status: 'active', options: black('S') })).body.status).toBe('active');
  });

  test('is added once if two requests add its combination at the same time', async () => {
    const { id } = await group({ options: ['Round'] });
    for (let round = 0; round < 10; round++) {
      const options = { Round: String(round) };
      const replies = await Promise.all([post(id, options), post(id, options)]);
      expect(replies.map(outcome).sort()).toEqual([
        [201, undefined],
        [409, 'variant_taken'],
      ]);
    }
  });

  test('is restored by one of two requests at the same time that restore the same combination', async () => {
    const { id } = await group({ options: ['Round'] });
    for (let round = 0; round < 10; round++) {
      const ids: string[] = [];
      for (let n = 0; n < 2; n++) {
        const { body } = await post(id, { Round: String(round) });
        await archive(body.id);
        ids.push(body.id);
      }
      const replies = await sendTogether(
        store,
        'select from catalog.products where id = any($1) order by id for update',
        ids,
        ids.map((one) => () => patch(one, { status: 'active' })),
      );
      expect(replies.map(outcome).sort()).toEqual([
        [200, undefined],
        [409, 'variant_taken'],
      ]);
    }
  });

  test('is restored by an import only if its combination is free', async () => {
    const { id } = await group();
    const rows: { sku: string; status: string }[] = [];
    for (const size of ['M', 'M', 'L']) {
      const { body } = await post(id, black(size));
      await archive(body.id);
      rows.push({ sku: body.sku, status: 'active' });
    }
    await post(id, black('L'));
    const reply = await store.send('POST', '/v1/products/import', rows.map((row) => JSON.stringify(row)).join('\n'), {
      headers: { 'content-type': 'application/x-ndjson' },
    });
    expect(reply.body).toMatchObject({ updated: 1, rejected: [{ line: 2 }, { line: 3 }] });
    for (const { detail } of reply.body.rejected) expect(detail).toContain('same options');
  });

  test('is restored by an import or added by a request, but not both at the same time', async () => {
    const { id } = await group({ options: ['Round'] });
    for (let round = 0; round < 10; round++) {
      const options = { Round: String(round) };
      const { body: old } = await post(id, options);
      await archive(old.id);
      const restore = store.send('POST', '/v1/products/import', JSON.stringify({ sku: old.sku, status: 'active' }), {
        headers: { 'content-type': 'application/x-ndjson' },
      });
      const [imported, added] = await Promise.all([restore, post(id, options)]);
      expect(imported.status).toBe(200);
      expect(imported.body.updated + Number(added.status === 201)).toBe(1);
      expect(added.status === 201 || added.body.code === 'variant_taken').toBe(true);
    }
  });

  test('cannot join a group of another tenant, whose groups it cannot see', async () => {
    const key = await store.database.key({ tenant: 'acme' });
    const { id } = await group({ slug: 'hidden' });
    const body = { sku: 'THEIRS', name: 'x', price: 1, currency: 'USD', inventory: 1 };
    const joined = await store.send('POST', '/v1/products', { ...body, groupId: id, options: black('M') }, { key });
    expect(pointers(joined)).toEqual(['/groupId']);
    const { body: theirs } = await store.send('POST', '/v1/products', body, { key });
    const moved = await store.send('PATCH', `/v1/products/${theirs.id}`, { groupId: id, options: black('M') }, { key });
    expect(pointers(moved)).toEqual(['/groupId']);
    const requests: [string, string, unknown?][] = [
      ['GET', `/v1/product-groups/${id}`],
      ['GET', '/v1/product-groups/by-slug/hidden'],
      ['PATCH', `/v1/product-groups/${id}`, { name: 'x' }],
      ['DELETE', `/v1/product-groups/${id}`],
    ];
    for (const [method, path, change] of requests) {
      expect(outcome(await store.send(method, path, change, { key }))).toEqual([404, 'not_found']);
    }
    expect((await store.send('GET', '/v1/product-groups', undefined, { key })).body.data).toEqual([]);
    const same = await store.send('POST', '/v1/product-groups', { name: 'x', options: ['A'], slug: 'hidden' }, { key });
    expect(same.status).toBe(201);
  });

  test('moves between groups while it is ordered, and every order is complete and has its price', async () => {
    const groups = [await group({ options: ['Size'] }), await group({ options: ['Size'] })];
    const prices = [20, 30];
    const products = await Promise.all(
      ['S', 'M', 'L'].map(async (Size) => (await post(groups[0]?.id, { Size }, { inventory: 10_000 })).body),
    );
    let seed = 11;
    const below = (limit: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
      return (seed >> 8) % limit;
    };
    const placed: Promise<Reply>[] = [];
    const changed: Promise<Reply>[] = [];
    for (let n = 0; n < 120; n++) {
      const product = products[below(3)];
      if (below(2)) {
        const items = products.slice(0, 1 + below(3)).map(({ sku }) => ({ sku, quantity: 1 }));
        placed.push(store.send('POST', '/v1/orders', { customerId: 'c', items }));
      } else {
        const place = below(2);
        changed.push(patch(product.id, { groupId: groups[place]?.id, price: prices[place] }));
      }
      if (n % 12 === 0) await Promise.all([...placed, ...changed]);
    }
    const orders = await Promise.all(placed);
    for (const { status, body } of orders) {
      expect(status).toBe(201);
      for (const { price } of body.items) expect(prices).toContain(price);
      const total = body.items.reduce((sum: number, item: { price: number }) => sum + item.price, 0);
      expect(body.total).toBe(total);
    }
    expect((await Promise.all(changed)).map(({ status }) => status)).not.toContain(503);
    const units = orders.reduce((sum, { body }) => sum + body.items.length, 0);
    const [left] = await store.database.query<{ held: number }>(
      'select sum(reserved)::int as held from inventory.inventory where sku = any($1)',
      [products.map(({ sku }) => sku)],
    );
    expect(left?.held).toBe(units);
    const [counted] = await store.database.query<{ n: number }>(
      'select deadlocks::int as n from pg_stat_database where datname = current_database()',
    );
    expect(counted?.n).toBe(0);
  });
});

describe('the fields of a product', () => {
  test('are kept, changed alone, and set to null', async () => {
    const fields = {
      ...{ slug: 'kept-shirt', weight: 180, taxCategory: 'txcd_30011000', compareAtPrice: 34.99 },
      metadata: { season: 'summer' },
    };
    const { body: made } = await post(undefined, undefined, fields);
    expect(made).toMatchObject({ ...fields, images: [], collections: [], groupId: null, options: {} });
    expect((await patch(made.id, { weight: 200 })).body).toMatchObject({ ...fields, weight: 200 });
    const empty = { slug: null, weight: null, taxCategory: null, compareAtPrice: null };
    const emptied = await patch(made.id, { ...empty, metadata: {} });
    expect(emptied.body).toMatchObject({ ...empty, metadata: {} });
    expect((await store.send('GET', `/v1/products/${made.id}`)).body).toEqual(emptied.body);
  });

  test('are rejected where they do not fit', async () => {
    const { body: made } = await post(undefined, undefined, { compareAtPrice: 34.99, slug: 'first' });
    expect(pointers(await post(undefined, undefined, { currency: 'JPY', compareAtPrice: 1.5 }))).toEqual([
      '/compareAtPrice',
    ]);
    expect(pointers(await patch(made.id, { currency: 'JPY' }))).toEqual(['/compareAtPrice']);
    expect(pointers(await patch(made.id, { weight: -1 }))).toEqual(['/weight']);
    expect(pointers(await patch(made.id, { name: 'x', images: [] }))).toEqual(['/images']);
    expect(pointers(await patch(made.id, { name: 'x', collections: [] }))).toEqual(['/collections']);
    expect(pointers(await patch(made.id, { slug: 'Not A Slug' }))).toEqual(['/slug']);
    expect(outcome(await post(undefined, undefined, { slug: 'first' }))).toEqual([409, 'slug_taken']);
    const { body: other } = await post(undefined);
    expect(outcome(await patch(other.id, { slug: 'first' }))).toEqual([409, 'slug_taken']);
    const imported = await store.send(
      'POST',
      '/v1/products/import',
      JSON.stringify({ sku: made.sku, currency: 'JPY', price: 3 }),
      {
        headers: { 'content-type': 'application/x-ndjson' },
      },
    );
    expect(imported.body.rejected[0].detail).toContain('compareAtPrice 34.99 does not fit');
  });
});

describe('a change of a product', () => {
  const eventsOf = (id: string) =>
    store.database.query('select topic, payload from platform.events where key = $1 order by seq', [id]);

  test('emits product.updated or product.archived with the product, and nothing if nothing changed', async () => {
    const added = await addProduct(store, newSku(), 3);
    const made = await store.send('GET', `/v1/products/${added.id}`);
    const updated = await patch(added.id, { price: 12 });
    await patch(added.id, { price: 12 });
    await archive(added.id);
    const archived = await store.send('GET', `/v1/products/${added.id}`);
    await archive(added.id);
    const restored = await patch(added.id, { status: 'active' });
    expect(await eventsOf(added.id)).toMatchObject([
      { topic: 'product.created', payload: made.body },
      { topic: 'product.updated', payload: updated.body },
      { topic: 'product.archived', payload: { ...archived.body, updatedAt: expect.any(String) } },
      { topic: 'product.updated', payload: restored.body },
    ]);
  });

  test('by an import emits the same events', async () => {
    const added = await addProduct(store, newSku(), 3);
    for (const row of [{ price: 11 }, { price: 11, inventory: 9 }, { status: 'archived' }, { status: 'active' }]) {
      const reply = await store.send('POST', '/v1/products/import', JSON.stringify({ sku: added.sku, ...row }), {
        headers: { 'content-type': 'application/x-ndjson' },
      });
      expect(reply.body.updated).toBe(1);
    }
    expect(await eventsOf(added.id)).toMatchObject([
      { topic: 'product.created' },
      { topic: 'product.updated', payload: { price: 11, inventory: 3 } },
      { topic: 'product.archived', payload: { inventory: 9, status: 'archived' } },
      { topic: 'product.updated', payload: { status: 'active' } },
    ]);
  });
});
