import { createHash, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Reply, type Send, type Store, startStore, until } from '../support/harness.ts';
import { avif, jpeg, png, webp } from '../support/images.ts';

let store: Store;
let acme: string;

beforeAll(async () => {
  store = await startStore();
  acme = await store.database.key({ tenant: 'acme' });
});
afterAll(() => store.close());

const newProduct = () => addProduct(store, `IMG-${randomUUID().slice(0, 8)}`, 5);
const upload = (productId: string, file: Uint8Array, options: Send & { query?: string } = {}, at = store) =>
  at.send('POST', `/v1/products/${productId}/images${options.query ?? ''}`, file, {
    ...options,
    headers: { 'content-type': 'image/png', ...options.headers },
  });
const imagesOf = async (productId: string) => (await store.send('GET', `/v1/products/${productId}`)).body.images;
const idsOf = async (productId: string) => (await imagesOf(productId)).map(({ id }: { id: string }) => id);
const arrange = (productId: string, images: unknown[], options: Send = {}) =>
  store.send('PUT', `/v1/products/${productId}/images`, { images }, options);
const outcome = ({ status, body }: Reply) => [status, body.code];
const read = (path: string, init: RequestInit = {}) => fetch(store.url + path, init);
const bucket = async () => (await store.miniflare.getR2Bucket('MEDIA')) as unknown as R2Bucket;
const storedKeys = async () => (await (await bucket()).list()).objects.map(({ key }) => key).toSorted();
/** What changes in the bucket while `act` runs: the names of new files. */
async function newFiles(act: () => Promise<unknown>): Promise<string[]> {
  const before = await storedKeys();
  await act();
  return (await storedKeys()).filter((key) => !before.includes(key));
}

describe('an uploaded image', () => {
  test.each([
    ['PNG', png(7, 5), 'png', 'image/png'],
    ['JPEG', jpeg(7, 5), 'jpg', 'image/jpeg'],
    ['WebP', webp(7, 5), 'webp', 'image/webp'],
    ['AVIF', avif(7, 5), 'avif', 'image/avif'],
  ])('may be a %s: its content decides, whatever its Content-Type says', async (_name, file, extension, type) => {
    const { id } = await newProduct();
    const headers = { 'content-type': 'text/html' };
    const reply = await upload(id, file, { query: '?alt=A%20black%20T-shirt', headers });
    expect(reply.status).toBe(201);
    const { id: imageId } = reply.body;
    const path = `/media/${imageId}.${extension}`;
    expect(reply.body).toEqual({ id: imageId, path, alt: 'A black T-shirt', width: 7, height: 5 });
    expect(reply.headers.get('location')).toBe(path);
    expect(await imagesOf(id)).toEqual([reply.body]);
    const served = await read(path);
    expect([served.status, served.headers.get('content-type')]).toEqual([200, type]);
    expect(Buffer.from(await served.arrayBuffer())).toEqual(Buffer.from(file));
  });

  test('changes the product: a new version, at once also for a reader of the edge cache, and product.updated', async () => {
    const { id } = await newProduct();
    const before = await store.send('GET', `/v1/products/${id}`);
    await store.send('GET', `/v1/products/${id}`);
    const { body: image } = await upload(id, png());
    const after = await store.send('GET', `/v1/products/${id}`);
    expect(after.body).toMatchObject({ images: [image] });
    expect(after.headers.get('etag')).toMatch(/^"2-/);
    expect(before.headers.get('etag')).toMatch(/^"1-/);
    const { body: events } = await store.send('GET', `/v1/events?topic=product.updated&key=${id}`);
    expect(events.data.map(({ data }: { data: { images: unknown } }) => data.images)).toEqual([[image]]);
  });

  test.each([
    ['HTML that says it is a PNG', Buffer.from('<!doctype html><script>alert(1)</script>')],
    ['SVG', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>')],
    ['GIF', Buffer.from('GIF89a\u0001\0\u0001\0;')],
    ['empty', Buffer.alloc(0)],
    ['a cut off PNG', png().subarray(0, 20)],
  ])('is refused and not stored if it is %s', async (_name, file) => {
    const { id } = await newProduct();
    const stored = await newFiles(async () => {
      const reply = await upload(id, file);
      expect(outcome(reply)).toEqual([415, 'unsupported_media_type']);
      expect(reply.body.detail).toContain('not a PNG, JPEG, WebP or AVIF image');
    });
    expect([stored, await imagesOf(id)]).toEqual([[], []]);
  });

  test('of 100 megapixels is refused without being decoded', async () => {
    const { id } = await newProduct();
    const reply = await upload(id, png(10_000, 10_000));
    expect(outcome(reply)).toEqual([422, 'validation_failed']);
    expect(reply.body.detail).toContain('10000 × 10000 pixels');
  });

  test('that is HTML too is served as an image only', async () => {
    const { id } = await newProduct();
    const page = '<!doctype html><script>alert(1)</script>';
    const { status, body } = await upload(id, jpeg(4, 4, page));
    expect(status).toBe(201);
    const served = await read(body.path);
    expect(await served.text()).toContain(page);
    expect(Object.fromEntries(served.headers)).toMatchObject({
      'content-type': 'image/jpeg',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; sandbox",
      'content-disposition': 'inline',
    });
  });

  test('may have 10 MB, and one byte more is 413, with and without a declared length', async () => {
    const { id } = await newProduct();
    const start = png();
    const largest = Buffer.concat([start, Buffer.alloc(10_485_760 - start.length)]);
    expect((await upload(id, largest)).status).toBe(201);
    const larger = Buffer.concat([largest, Buffer.alloc(1)]);
    const refused = await upload(id, larger);
    expect(outcome(refused)).toEqual([413, 'body_too_large']);
    expect(refused.body.detail).toBe('An image may have at most 10 MB.');
    for (const [file, status] of [
      [largest, 201],
      [larger, 413],
    ] as const) {
      const response = await fetch(`${store.url}/v1/products/${id}/images`, {
        ...{ method: 'POST', headers: { authorization: `Bearer ${store.key}` }, duplex: 'half' },
        body: new Blob([file]).stream(),
      } as RequestInit);
      expect(response.status).toBe(status);
      await response.arrayBuffer();
    }
  });

  test('is not stored for an invalid key, a key that may not write, an unknown product or another tenant', async () => {
    const { id } = await newProduct();
    const reader = await store.database.key({ scopes: ['catalog:read'] });
    const publishable = await store.database.key({ kind: 'publishable' });
    const stored = await newFiles(async () => {
      expect(outcome(await upload(id, png(), { key: null }))).toEqual([401, 'unauthenticated']);
      expect(outcome(await upload(id, png(), { key: 'sk_test_unknown' }))).toEqual([401, 'unauthenticated']);
      for (let turn = 0; turn < 2; turn++) {
        expect(outcome(await upload(id, png(), { key: reader }))).toEqual([403, 'forbidden']);
        expect(outcome(await upload(id, png(), { key: publishable }))).toEqual([403, 'forbidden']);
        expect(outcome(await upload(id, png(), { key: acme }))).toEqual([404, 'not_found']);
        expect(outcome(await upload(randomUUID(), png()))).toEqual([404, 'not_found']);
        expect(outcome(await upload('not-an-id', png()))).toEqual([404, 'not_found']);
      }
    });
    expect([stored, await imagesOf(id)]).toEqual([[], []]);
  });

  test('needs an alternative text of 1 to 500 characters, if it has one', async () => {
    const { id } = await newProduct();
    for (const query of ['?alt=', `?alt=${'x'.repeat(501)}`, '?alt=%00', '?title=x', '?alt=a&alt=b']) {
      expect(outcome(await upload(id, png(), { query }))).toEqual([422, 'validation_failed']);
    }
    expect((await upload(id, png())).body.alt).toBeNull();
  });

  test('is the last of at most 20, also if many are sent at once', async () => {
    const { id } = await newProduct();
    for (let turn = 0; turn < 18; turn++) expect((await upload(id, png(3, 2, turn))).status).toBe(201);
    const before = await idsOf(id);
    const stored = await newFiles(async () => {
      const replies = await Promise.all(Array.from({ length: 6 }, (_, turn) => upload(id, png(3, 2, 100 + turn))));
      expect(replies.map(({ status }) => status).toSorted()).toEqual([201, 201, 409, 409, 409, 409]);
      const refused = replies.find(({ status }) => status === 409);
      expect([refused?.body.code, refused?.body.detail]).toEqual([
        'conflict',
        'A product has at most 20 images. Delete one first.',
      ]);
    });
    const after = await idsOf(id);
    expect([after.length, after.slice(0, 18), stored.length]).toEqual([20, before, 2]);
  });
});

describe('an upload with an Idempotency-Key', () => {
  test('adds one image however often it is sent, and its other files are deleted', async () => {
    const { id } = await newProduct();
    const stored = await newFiles(async () => {
      const options = { idempotencyKey: 'same', query: '?alt=x' };
      const first = await upload(id, png(), options);
      const again = await upload(id, png(), options);
      expect([again.status, again.body, again.headers.get('idempotent-replayed')]).toEqual([201, first.body, 'true']);
    });
    expect(stored).toEqual([expect.stringContaining((await idsOf(id))[0])]);
  });

  test('adds one image if it is sent many times at once', async () => {
    const { id } = await newProduct();
    const stored = await newFiles(async () => {
      const replies = await Promise.all(Array.from({ length: 6 }, () => upload(id, png(), { idempotencyKey: 'race' })));
      for (const reply of replies) expect([201, 409]).toContain(reply.status);
      expect(new Set(replies.filter(({ status }) => status === 201).map(({ body }) => body.id)).size).toBe(1);
    });
    expect([stored.length, (await idsOf(id)).length]).toEqual([1, 1]);
  });

  test('is rejected for another file, another text or another product', async () => {
    const [{ id }, other] = [await newProduct(), await newProduct()];
    const idempotencyKey = randomUUID();
    expect((await upload(id, png(3, 2, 1), { idempotencyKey })).status).toBe(201);
    const stored = await newFiles(async () => {
      for (const reply of [
        await upload(id, png(3, 2, 2), { idempotencyKey }),
        await upload(id, png(3, 2, 1), { idempotencyKey, query: '?alt=x' }),
        await upload(other.id, png(3, 2, 1), { idempotencyKey }),
      ])
        expect(outcome(reply)).toEqual([422, 'idempotency_key_reused']);
    });
    expect(stored).toEqual([]);
  });
});

describe('the order of images', () => {
  /** A product with three images, and their ids. */
  async function threeImages() {
    const { id } = await newProduct();
    const ids: string[] = [];
    for (const alt of ['a', 'b', 'c']) ids.push((await upload(id, png(), { query: `?alt=${alt}` })).body.id);
    const [a = '', b = '', c = ''] = ids;
    return { id, a, b, c };
  }

  test('is the order in the request, and a text changes where one is given', async () => {
    const { id, a, b, c } = await threeImages();
    const reply = await arrange(id, [{ id: c }, { id: a, alt: 'new' }, { id: b, alt: null }]);
    expect(reply.status).toBe(200);
    const order = reply.body.images.map((image: { id: string; alt: string | null }) => [image.id, image.alt]);
    expect(order).toEqual([
      [c, 'c'],
      [a, 'new'],
      [b, null],
    ]);
    expect(await imagesOf(id)).toEqual(reply.body.images);
    expect(reply.body.images[0].path).toBe(`/media/${c}.png`);
  });

  test('must name every image of the product once, and no other', async () => {
    const { id, a, b, c } = await threeImages();
    const other = (await threeImages()).a;
    const cases: [string[], [string, string][]][] = [
      [[a, b], [['/images', `must name every image of the product: ${c} is missing`]]],
      [[a, b, c, other], [['/images/3/id', 'is not an image of this product']]],
      [[a, b, a, c], [['/images/2/id', 'is given more than once']]],
      [
        [a, other, other],
        [
          ['/images/1/id', 'is not an image of this product'],
          ['/images/2/id', 'is not an image of this product'],
          ['/images', `must name every image of the product: ${b} is missing`],
          ['/images', `must name every image of the product: ${c} is missing`],
        ],
      ],
    ];
    for (const [ids, errors] of cases) {
      const reply = await arrange(
        id,
        ids.map((each) => ({ id: each })),
      );
      expect(outcome(reply)).toEqual([422, 'validation_failed']);
      expect(reply.body.errors).toEqual(errors.map(([pointer, detail]) => ({ pointer, detail })));
    }
    expect(outcome(await arrange(id, [{ id: a, path: '/media/x.png' }]))).toEqual([422, 'validation_failed']);
    expect(await idsOf(id)).toEqual([a, b, c]);
  });

  test('of a product without images is an empty list', async () => {
    const { id } = await newProduct();
    expect((await arrange(id, [])).body.images).toEqual([]);
  });

  test('is not changed for another tenant, or after If-Match has become old', async () => {
    const { id, a, b, c } = await threeImages();
    const reversed = [{ id: c }, { id: b }, { id: a }];
    expect(outcome(await arrange(id, reversed, { key: acme }))).toEqual([404, 'not_found']);
    const etag = (await store.send('GET', `/v1/products/${id}`)).headers.get('etag') ?? '';
    const current = await arrange(id, reversed, { headers: { 'if-match': etag } });
    expect([current.status, current.headers.get('etag')]).toEqual([200, expect.stringMatching(/^"5-/)]);
    expect(outcome(await arrange(id, reversed, { headers: { 'if-match': etag } }))).toEqual([412, 'version_mismatch']);
    expect(await idsOf(id)).toEqual([c, b, a]);
  });

  test('and an upload at once lose no image', async () => {
    const { id, a, b, c } = await threeImages();
    const [arranged, added] = await Promise.all([arrange(id, [{ id: c }, { id: b }, { id: a }]), upload(id, png())]);
    expect(added.status).toBe(201);
    expect([200, 422]).toContain(arranged.status); // 422: the new image was there first
    expect((await idsOf(id)).toSorted()).toEqual([a, b, c, added.body.id].toSorted());
  });
});

describe('a deleted image', () => {
  const remove = (productId: string, imageId: string, options: Send = {}) =>
    store.send('DELETE', `/v1/products/${productId}/images/${imageId}`, undefined, options);

  test('is gone from its product at once, and its file shortly after', async () => {
    const { id } = await newProduct();
    const [first, second] = [(await upload(id, png())).body, (await upload(id, webp())).body];
    expect((await remove(id, first.id)).status).toBe(204);
    expect(await imagesOf(id)).toEqual([second]);
    await until(async () => (await read(first.path)).status === 404);
    expect((await read(second.path)).status).toBe(200);
    expect(outcome(await remove(id, first.id))).toEqual([404, 'not_found']);
  });

  test('stays for another tenant, for another product and for an old If-Match', async () => {
    const [{ id }, other] = [await newProduct(), await newProduct()];
    const { body: image } = await upload(id, png());
    expect(outcome(await remove(id, image.id, { key: acme }))).toEqual([404, 'not_found']);
    expect(outcome(await remove(other.id, image.id))).toEqual([404, 'not_found']);
    const old = { headers: { 'if-match': `"1-${'0'.repeat(24)}"` } };
    expect(outcome(await remove(id, image.id, old))).toEqual([412, 'version_mismatch']);
    expect(await imagesOf(id)).toEqual([image]);
  });

  test('is deleted once if it is deleted twice at once', async () => {
    const { id } = await newProduct();
    const { body: image } = await upload(id, png());
    const replies = await Promise.all([remove(id, image.id), remove(id, image.id)]);
    expect(replies.map(({ status }) => status).toSorted()).toEqual([204, 404]);
  });
});

describe('the file of an image', () => {
  const file = png(20, 10, 3);
  let path: string;
  let etag: string;
  beforeAll(async () => {
    const { id } = await newProduct();
    path = (await upload(id, file)).body.path;
    etag = `"${createHash('md5').update(file).digest('hex')}"`;
  });

  test('is read without a key, by pages of every origin, and may be cached for a year', async () => {
    const served = await read(path, { headers: { origin: 'https://shop.example' } });
    expect(Object.fromEntries(served.headers)).toMatchObject({
      etag,
      'content-length': String(file.length),
      'cache-control': 'public, max-age=31536000, immutable',
      'access-control-allow-origin': '*',
      'cross-origin-resource-policy': 'cross-origin',
      'accept-ranges': 'bytes',
    });
    expect(served.headers.has('server-timing')).toBe(false);
  });

  test('has the same headers for HEAD, without the content', async () => {
    const [head, get] = [await read(path, { method: 'HEAD' }), await read(path)];
    for (const name of ['content-type', 'content-length', 'etag', 'cache-control', 'content-security-policy']) {
      expect(head.headers.get(name)).toBe(get.headers.get(name));
    }
    expect([head.status, await head.text()]).toEqual([200, '']);
    const unchanged = await read(path, { method: 'HEAD', headers: { 'if-none-match': etag } });
    expect(unchanged.status).toBe(304);
  });

  test.each([
    ['if-none-match', () => etag, 304],
    ['if-none-match', () => `"other", ${etag}`, 304],
    ['if-none-match', () => '*', 304],
    ['if-none-match', () => '"other"', 200],
    ['if-modified-since', () => new Date(Date.now() + 60_000).toUTCString(), 304],
    ['if-modified-since', () => new Date(0).toUTCString(), 200],
    ['if-match', () => '"other"', 412],
    ['if-match', () => etag, 200],
  ])('is conditional: %s', async (name, value, status) => {
    const served = await read(path, { headers: { [name]: value() } });
    expect(served.status).toBe(status);
    expect((await served.arrayBuffer()).byteLength).toBe(status === 200 ? file.length : 0);
  });

  test.each([
    ['bytes=0-9', 0, 9],
    ['bytes=5-', 5, -1],
    ['bytes=-4', -4, -1],
    ['bytes=10-99999', 10, -1],
    ['bytes=-99999', 0, -1],
    ['bytes=89-89', 89, 89],
  ])('is sent in part for %s', async (range, from, to) => {
    const served = await read(path, { headers: { range } });
    const first = from < 0 ? file.length + from : from;
    const last = to < 0 ? file.length + to : to;
    expect([served.status, served.headers.get('content-range')]).toEqual([
      206,
      `bytes ${first}-${last}/${file.length}`,
    ]);
    expect(Buffer.from(await served.arrayBuffer())).toEqual(file.subarray(first, last + 1));
  });

  test('is sent whole for a range that is not valid, for several ranges and for If-Range', async () => {
    for (const headers of [
      { range: 'bytes=a-b' },
      { range: 'lines=1-2' },
      { range: 'bytes=0-1,4-5' },
      { range: 'bytes=5-4' },
      { range: 'bytes=-' },
      { range: 'bytes=0-1', 'if-range': '"other"' },
    ]) {
      const served = await read(path, { headers: headers as Record<string, string> });
      expect([headers, served.status, (await served.arrayBuffer()).byteLength]).toEqual([headers, 200, file.length]);
    }
  });

  test('is 416 for a range after its end', async () => {
    for (const range of ['bytes=99999-', `bytes=${file.length}-`, 'bytes=-0']) {
      const served = await read(path, { headers: { range } });
      expect([served.status, served.headers.get('content-range')]).toEqual([416, `bytes */${file.length}`]);
    }
  });

  test.each([
    () => `/media/${randomUUID()}.png`,
    () => path.replace('.png', '.svg'),
    () => path.replace('.png', ''),
    () => path.replace('.png', '.jpg'),
    () => '/media/..%2f..%2fsecret.png',
    () => '/media/',
  ])('is 404 at any other path (%#)', async (other) => {
    const served = await read(other());
    expect([served.status, served.headers.get('cache-control')]).toEqual([404, 'no-store']);
  });
});

test('a server without a bucket says so, and the rest of the catalog works', async () => {
  const without = await startStore({ withoutMedia: true });
  try {
    const { id } = await addProduct(without, 'NO-BUCKET', 1);
    const reply = await upload(id, png(), {}, without);
    expect([...outcome(reply), reply.body.detail]).toEqual([
      ...[503, 'unavailable'],
      'This server stores no images: its operator has bound no R2 bucket as MEDIA.',
    ]);
    expect((await fetch(`${without.url}/media/${randomUUID()}.png`)).status).toBe(503);
  } finally {
    await without.close();
  }
});
