import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, oneLine, type Reply, type Send, type Store, startStore } from '../support/harness.ts';

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
const pointersOf = (reply: Reply) => reply.body.errors?.map((error: { pointer: string }) => error.pointer);

describe('an error response', () => {
  test('is a problem document with a code, a detail, the path and the request id', async () => {
    const path = '/v1/products/by-sku/not%20here%2F%C3%A4';
    const reply = await store.send('GET', path);
    expect(reply.status).toBe(404);
    expect(reply.headers.get('content-type')).toBe('application/problem+json');
    expect(reply.body).toEqual({
      type: '/docs#not_found',
      title: 'Not found',
      status: 404,
      detail: expect.any(String),
      instance: path,
      code: 'not_found',
      requestId: reply.headers.get('x-request-id'),
    });
  });

  test('to an invalid body lists every invalid field', async () => {
    const reply = await post({ sku: '', name: 5, price: 'ten', currency: 'usd', 'a/b~c': 1 });
    expect(outcomeOf(reply)).toEqual([422, 'validation_failed']);
    expect(pointersOf(reply).toSorted()).toEqual(['/a~1b~0c', '/currency', '/inventory', '/name', '/price', '/sku']);
    for (const fault of reply.body.errors) expect(fault.detail).toMatch(/\w/);
  });

  test('to an invalid query or header names the parameter or header', async () => {
    expect(pointersOf(await store.send('GET', '/v1/products?limit=0&currency=usd'))).toEqual(['limit', 'currency']);
    expect(pointersOf(await post(product('H'), { idempotencyKey: 'x'.repeat(256) }))).toEqual(['Idempotency-Key']);
  });

  test('names a `limit` that is not 1 to 100 in decimal digits', async () => {
    const invalid = [
      '0x10',
      '1e1',
      '%2B5',
      '%205',
      '5%20',
      '5%0A',
      '5.0',
      '-5',
      '',
      '%D9%A5',
      'Infinity',
      '0',
      '101',
      '0b1',
    ];
    for (const written of invalid) {
      for (const path of ['/v1/products', '/v1/orders', '/v1/events', '/v1/dead-letters', '/v1/inventory']) {
        const reply = await store.send('GET', `${path}?limit=${written}`);
        expect([path, written, reply.status, pointersOf(reply)]).toEqual([path, written, 422, ['limit']]);
      }
    }
    for (const written of ['1', '20', '100']) {
      expect((await store.send('GET', `/v1/products?limit=${written}`)).status).toBe(200);
    }
  });

  test('lists at most a hundred invalid fields', async () => {
    const unknown = Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`m${n}`, n]));
    expect((await post({ ...product('MANY'), ...unknown })).body.errors).toHaveLength(100);
  });
});

describe('a path', () => {
  test('that does not exist is a 404 problem document, with or without a key', async () => {
    for (const path of ['/v1', '/v1/nothing', '/v1/products/', '/v2/products', '/V1/products', '//v1/products']) {
      for (const key of [store.key, null]) {
        expect(outcomeOf(await store.send('GET', path, undefined, { key }))).toEqual([404, 'not_found']);
      }
    }
  });

  test('with an id in another format is not found', async () => {
    const { id } = await addProduct(store, 'ID', 1);
    for (const wrong of ['1', 'undefined', `${id}0`, id.replaceAll('-', ''), `${id}%00`, "'; drop table x;--", '%ff']) {
      expect(outcomeOf(await store.send('GET', `/v1/products/${wrong}`))).toEqual([404, 'not_found']);
      expect(outcomeOf(await store.send('GET', `/v1/orders/${wrong}`))).toEqual([404, 'not_found']);
      expect(outcomeOf(await store.send('PATCH', `/v1/products/${wrong}`, { price: 1 }))).toEqual([404, 'not_found']);
    }
  });

  test.each([
    'a/b',
    '/',
    'a//b/',
    'a b',
    '100%',
    '%2F',
    '%',
    'a?b#c',
    'a+b',
    'ä ö 日本 👍',
    `"it's"`,
    'back\\slash',
    ';,=@&$!*()',
    '...',
    'by-sku',
    '__proto__',
  ])('can contain the SKU %s', async (sku) => {
    const encoded = encodeURIComponent(sku);
    const added = await addProduct(store, sku, 3);
    const read = await store.send('GET', `/v1/products/by-sku/${encoded}`);
    expect(read.body).toMatchObject({ id: added.id, sku });
    expect((await store.send('GET', `/v1/inventory/${encoded}`)).body).toMatchObject({ sku, quantity: 3 });
    const adjusted = await store.send('POST', `/v1/inventory/${encoded}/adjustments`, { delta: 1, reason: 'r' });
    expect(adjusted.body).toMatchObject({ sku, quantity: 4 });
  });

  test('with invalid characters is not found, and never fails', async () => {
    for (const part of ['%00', '%ff', 'x%', '%zz', '%E0%A4%A', '%ed%a0%80', 'a'.repeat(5_000), "';--"]) {
      expect(outcomeOf(await store.send('GET', `/v1/products/by-sku/${part}`))).toEqual([404, 'not_found']);
      expect(outcomeOf(await store.send('GET', `/v1/inventory/${part}`))).toEqual([404, 'not_found']);
      const listed = await store.send('GET', `/v1/products?q=${part}`);
      expect([200, 422]).toContain(listed.status);
    }
    // A URL cannot contain these SKUs, because they are relative path segments.
    for (const sku of ['.', '..']) expect(pointersOf(await post(product(sku)))).toEqual(['/sku']);
  });

  test('returns the same headers to HEAD as to GET, without a body', async () => {
    const { id } = await addProduct(store, 'HEAD', 1);
    for (const path of [`/v1/products/${id}`, '/v1/products', '/healthz', '/v1/products/none']) {
      const headers = { authorization: `Bearer ${store.key}` };
      const [get, head] = [
        await fetch(store.url + path, { headers }),
        await fetch(store.url + path, { method: 'HEAD', headers }),
      ];
      expect([path, head.status, head.headers.get('etag')]).toEqual([path, get.status, get.headers.get('etag')]);
      expect(head.headers.get('content-type')).toBe(get.headers.get('content-type'));
      expect(await head.text()).toBe('');
    }
  });
});

describe('a list', () => {
  test('has 1 to 100 rows per page, 20 by default', async () => {
    const rows = Array.from({ length: 25 }, (_, n) => JSON.stringify(product(`LIST-${n}`)));
    await store.send('POST', '/v1/products/import', rows.join('\n'), {
      headers: { 'content-type': 'application/x-ndjson' },
    });
    for (const limit of ['0', '101', '-1', '1.5', 'ten', '', '1e9', 'NaN', '99999999999999999999']) {
      const reply = await store.send('GET', `/v1/products?limit=${limit}`);
      expect([limit, ...outcomeOf(reply), pointersOf(reply)]).toEqual([limit, 422, 'validation_failed', ['limit']]);
    }
    for (const [limit, length] of [
      ['limit=1', 1],
      ['limit=25', 25],
      ['', 20],
    ] as const) {
      const { body } = await store.send('GET', `/v1/products?${limit}`);
      expect(body.data).toHaveLength(length);
    }
    expect((await store.send('GET', '/v1/products?limit=100')).status).toBe(200);
  });

  test('continues at its Link where the page ended, newest first, and shows each row once', async () => {
    const seen: string[] = [];
    let next: string | null | undefined = '/v1/products?limit=7&currency=USD';
    while (next) {
      const reply: Reply = await store.send('GET', next);
      seen.push(...reply.body.data.map((row: { id: string }) => row.id));
      next = /^<([^>]+)>; rel="next"$/.exec(reply.headers.get('link') ?? '')?.[1];
      expect(next ? new URL(next, store.url).searchParams.get('cursor') : null).toBe(reply.body.nextCursor);
    }
    const all = await store.database.query<{ id: string }>(
      `select id from catalog.products where tenant_id = 'default' and currency = 'USD' order by id desc`,
    );
    expect(seen).toEqual(all.map((row) => row.id));
  });

  test('rejects every cursor except the one that it returned for the same filters', async () => {
    const { body } = await store.send('GET', '/v1/products?limit=1&currency=USD');
    const cursor: string = body.nextCursor;
    const wrong = ['', 'x', 'a'.repeat(5_000), `${cursor}A`, cursor.slice(0, -1), `${cursor}=`, '%00', 'MQ', ' '];
    for (let index = 0; index < cursor.length; index += 3) {
      wrong.push(cursor.slice(0, index) + (cursor[index] === 'A' ? 'B' : 'A') + cursor.slice(index + 1));
    }
    for (const invalid of wrong) {
      const reply = await store.send('GET', `/v1/products?limit=1&currency=USD&cursor=${invalid}`);
      expect([invalid, ...outcomeOf(reply)]).toEqual([invalid, 400, 'invalid_cursor']);
    }
    for (const other of [
      '/v1/products',
      '/v1/products?currency=EUR',
      '/v1/inventory',
      '/v1/products?q=a&currency=USD',
    ]) {
      const reply = await store.send('GET', `${other}${other.includes('?') ? '&' : '?'}cursor=${cursor}`);
      expect(outcomeOf(reply)).toEqual([400, 'invalid_cursor']);
    }
    expect((await store.send('GET', `/v1/products?currency=USD&limit=5&cursor=${cursor}`)).body.data).toHaveLength(5);
  });
});

describe('a request', () => {
  test('keeps its X-Request-Id or gets a new one, with every response status', async () => {
    for (const path of ['/healthz', '/v1/products', '/v1/products/none', '/nowhere']) {
      const given = await store.send('GET', path, undefined, { headers: { 'x-request-id': 'req-42/ü'.slice(0, 7) } });
      expect(given.headers.get('x-request-id')).toBe('req-42/');
      for (const bad of [undefined, 'with space', 'x'.repeat(256)]) {
        const headers: Record<string, string> = bad === undefined ? {} : { 'x-request-id': bad };
        const created = (await store.send('GET', path, undefined, { headers })).headers.get('x-request-id');
        expect(created).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      }
    }
    expect(store.logs().filter((line) => line.id === 'req-42/').length).toBe(4);
  });

  test('passes a valid traceparent to every event that it causes', async () => {
    await addProduct(store, 'TRACE', 50);
    const good = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const bad = [
      '00-0-0-01',
      good.toUpperCase(),
      good.replace('00-', 'ff-'),
      `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
    ];
    for (const traceparent of [good, ...bad]) {
      const { body } = await store.send('POST', '/v1/orders', oneLine('TRACE'), { headers: { traceparent } });
      const events = await store.database.query<{ traceparent: string | null }>(
        'select traceparent from platform.events where key = $1',
        [body.id],
      );
      expect(events.length).toBeGreaterThanOrEqual(2);
      for (const event of events) expect(event.traceparent).toBe(traceparent === good ? good : null);
    }
  });
});
