import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Response as OutsideResponse } from 'miniflare';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';
import { jpeg, png, webp } from '../support/images.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

let store: Store;
/** A store that may not fetch from this machine. Its requests to other hosts are answered by `hosts`. */
let strict: Store;
let server: Server;
let origin: string;
const handlers = new Map<string, Handler>();
const asked: string[] = [];

/** The addresses of names, for DNS over HTTPS, and the responses of hosts. */
const addresses: Record<string, string[]> = {};
const hosts: Record<string, () => OutsideResponse> = {};
const askedOutside: string[] = [];

async function respondOutside(url: URL): Promise<OutsideResponse | undefined> {
  if (url.hostname === 'cloudflare-dns.com') {
    const isV6 = url.searchParams.get('type') === 'AAAA';
    const all = addresses[url.searchParams.get('name') ?? ''] ?? [];
    const found = all.filter((address) => address.includes(':') === isV6);
    const answer = found.map((data) => ({ name: 'x', type: isV6 ? 28 : 1, TTL: 1, data }));
    return OutsideResponse.json({ Status: 0, ...(answer.length > 0 && { Answer: answer }) });
  }
  if (url.protocol === 'http:') return undefined; // the database, Kafka and Stripe of the store
  askedOutside.push(url.href);
  return hosts[url.hostname]?.() ?? new OutsideResponse('no such host', { status: 404 });
}

beforeAll(async () => {
  server = createServer((request, response) => {
    asked.push(request.url ?? '');
    const handler = handlers.get(request.url ?? '');
    if (handler) handler(request, response);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  store = await startStore({ variables: { ALLOW_LOOPBACK_URLS: 'true' } });
  strict = await startStore({ outside: respondOutside });
});
afterAll(async () => {
  await store.close();
  await strict.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

/** Serves what the handler sends, at a new path. Returns the URL. */
function serve(handler: Handler, end = '.png'): string {
  const path = `/${randomUUID()}${end}`;
  handlers.set(path, handler);
  return origin + path;
}
const serveFile = (file: Uint8Array, type = 'image/png') =>
  serve((_, response) => response.writeHead(200, { 'content-type': type }).end(file));
const redirectTo = (location: string, status = 302) =>
  serve((_, response) => response.writeHead(status, { location }).end());

type Wanted = { url: string; alt?: string };

/** Emits requests for a product's images, as an import does. Returns how many. */
async function emitRequests(productId: string, wanted: Wanted[], at = store, tenant = 'default'): Promise<number> {
  const [row] = await at.database.query<{ n: number }>(
    `select catalog.request_images(case when t.tenant <> '' then $2::jsonb end)::int as n
     from (select set_config('app.tenant_id', $1, true) as tenant offset 0) t`,
    [tenant, JSON.stringify(wanted.map((each) => ({ productId, ...each })))],
  );
  return row?.n ?? 0;
}

/** The same, and lets the relay run. */
async function requestImages(productId: string, wanted: Wanted[], at = store, tenant = 'default'): Promise<number> {
  const count = await emitRequests(productId, wanted, at, tenant);
  await at.cron();
  return count;
}

const newProduct = (at = store) => addProduct(at, `FETCH-${randomUUID().slice(0, 8)}`, 5);
const imagesOf = async (productId: string, at = store, key = at.key) =>
  (await at.send('GET', `/v1/products/${productId}`, undefined, { key })).body.images;
const reasonsOf = async (productId: string, at = store): Promise<string[]> => {
  const { body } = await at.send('GET', '/v1/dead-letters?limit=100');
  return body.data
    .filter((letter: { key: string; sink: string }) => letter.key === productId && letter.sink === 'catalog')
    .map(({ reason }: { reason: string }) => reason);
};
const countOf = async (productId: string, count: number, at = store) =>
  until(async () => (await imagesOf(productId, at)).length === count);
const failedFor = async (productId: string, at = store, count = 1): Promise<string[]> => {
  await until(async () => (await reasonsOf(productId, at)).length === count);
  return reasonsOf(productId, at);
};
const filesOf = async () => {
  const bucket = (await store.miniflare.getR2Bucket('MEDIA')) as unknown as R2Bucket;
  return (await bucket.list()).objects.length;
};

describe('an image that an import names by its URL', () => {
  test('is fetched, stored and added to its product, in the order of the import', async () => {
    const { id } = await newProduct();
    const [first, second] = [serveFile(png(7, 5)), serveFile(jpeg(8, 6), 'text/plain')];
    expect(await requestImages(id, [{ url: first, alt: 'front' }, { url: second }])).toBe(2);
    await countOf(id, 2);
    const images = await imagesOf(id);
    expect(images).toEqual([
      { id: images[0].id, path: `/media/${images[0].id}.png`, alt: 'front', width: 7, height: 5 },
      { id: images[1].id, path: `/media/${images[1].id}.jpg`, alt: null, width: 8, height: 6 },
    ]);
    const served = await fetch(store.url + images[0].path);
    expect(Buffer.from(await served.arrayBuffer())).toEqual(png(7, 5));
    const { body } = await store.send('GET', `/v1/events?topic=product.updated&key=${id}`);
    expect(body.data[0].data.images).toEqual(images);
  });

  test('is requested once: not again once the product has it, nor for the URL of its own file in an export', async () => {
    const { id } = await newProduct();
    const url = serveFile(png());
    expect(await requestImages(id, [{ url }, { url, alt: 'again' }])).toBe(1);
    await countOf(id, 1);
    const [image] = await imagesOf(id);
    expect(await requestImages(id, [{ url }, { url: `https://shop.example${image.path}` }])).toBe(0);
    expect(await imagesOf(id)).toEqual([image]);
  });

  test('is added once if it is requested again before it is fetched, and if its message comes twice', async () => {
    const { id } = await newProduct();
    const url = serveFile(png());
    const before = await filesOf();
    await emitRequests(id, [{ url }]);
    await emitRequests(id, [{ url }]);
    await store.cron();
    await countOf(id, 1);
    const { body } = await store.send('GET', `/v1/events?topic=product.image.requested&key=${id}`);
    expect(body.data).toHaveLength(2);
    const queue = await store.miniflare.getQueueProducer('CATALOG_QUEUE');
    for (const event of [...body.data, ...body.data]) await queue.send(event, { contentType: 'json' });
    const marker = await newProduct();
    await requestImages(marker.id, [{ url: serveFile(webp()) }]);
    await countOf(marker.id, 1);
    const inbox = () =>
      store.database.query<{ n: number }>(
        `select count(*)::int as n from platform.inbox where consumer = 'catalog' and event_id = any($1)`,
        [body.data.map((event: { id: string }) => event.id)],
      );
    await until(async () => (await inbox())[0]?.n !== 0);
    await until(async () => (await filesOf()) === before + 2);
    expect(await imagesOf(id)).toHaveLength(1);
  });

  test('is fetched again after it was deleted', async () => {
    const { id } = await newProduct();
    const url = serveFile(png());
    await requestImages(id, [{ url }]);
    await countOf(id, 1);
    const [image] = await imagesOf(id);
    await store.send('DELETE', `/v1/products/${id}/images/${image.id}`);
    expect(await requestImages(id, [{ url }])).toBe(1);
    await countOf(id, 1);
    expect((await imagesOf(id))[0].id).not.toBe(image.id);
  });

  test('is tried again if its server fails for now', async () => {
    const { id } = await newProduct();
    let tries = 0;
    const url = serve((_, response) => {
      tries++;
      if (tries === 1) response.writeHead(503).end();
      else if (tries === 2) response.destroy();
      else response.writeHead(200).end(png());
    });
    await requestImages(id, [{ url }]);
    await countOf(id, 1);
    expect([tries, await reasonsOf(id)]).toEqual([3, []]);
  });

  test('of another tenant’s product is not added', async () => {
    const { id } = await newProduct();
    const event = {
      ...{ specversion: '1.0', id: randomUUID(), type: 'product.image.requested', source: '/fusioncommerce' },
      ...{ time: new Date().toISOString(), tenantid: 'acme', subject: id, sequence: '1' },
      data: { productId: id, url: serveFile(png()) },
    };
    const queue = await store.miniflare.getQueueProducer('CATALOG_QUEUE');
    await queue.send(event, { contentType: 'json' });
    const acme = await store.database.key({ tenant: 'acme' });
    const letters = async () => (await store.send('GET', '/v1/dead-letters', undefined, { key: acme })).body.data;
    await until(async () => (await letters()).length > 0);
    expect((await letters())[0]).toMatchObject({ sink: 'catalog', reason: 'The product does not exist.' });
    expect(await imagesOf(id)).toEqual([]);
  });

  test('that does not fit any more is a dead letter, which can be replayed after another image is deleted', async () => {
    const { id } = await newProduct();
    await store.database.query(
      `update catalog.products set images = (select jsonb_agg(jsonb_build_object('id', n::text, 'path', '/media/' || n,
         'alt', null, 'width', 1, 'height', 1)) from generate_series(1, 20) n) where id = $1`,
      [id],
    );
    await requestImages(id, [{ url: serveFile(png()) }]);
    expect(await failedFor(id)).toEqual(['A product has at most 20 images. Delete one, then replay this.']);
    await store.database.query(`update catalog.products set images = images - 0 where id = $1`, [id]);
    const { body } = await store.send('GET', '/v1/dead-letters?limit=100');
    const letter = body.data.find(({ key }: { key: string }) => key === id);
    expect((await store.send('POST', `/v1/dead-letters/${letter.id}/replay`)).status).toBe(202);
    await countOf(id, 20);
  });
});

describe('a permanent failure becomes a dead letter with its reason, and stops no other image', () => {
  const notAnImage =
    'The file is not a PNG, JPEG, WebP or AVIF image. Its content decides, not its Content-Type. SVG is not accepted.';
  const notPublic = 'The URL leads to an address that is not public.';

  test.each([
    ['missing', () => `${origin}/missing.png`, 'The server responded with status 404.'],
    ['forbidden', () => serve((_, response) => response.writeHead(403).end()), 'The server responded with status 403.'],
    ['HTML that says it is a PNG', () => serveFile(Buffer.from('<!doctype html>')), notAnImage],
    ['SVG named .png', () => serveFile(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>')), notAnImage],
    ['nothing', () => serveFile(Buffer.alloc(0)), notAnImage],
    [
      'of 100 megapixels',
      () => serveFile(png(10_000, 10_000)),
      'The image has 10000 × 10000 pixels. At most 50 megapixels are allowed, and 16384 pixels a side.',
    ],
    ['at a private address', () => 'https://10.0.0.1/a.png', notPublic],
    ['at the metadata service', () => 'https://169.254.169.254/latest/meta-data', notPublic],
    ['at a private address in hexadecimal', () => 'https://0xa000001/a.png', notPublic],
    ['at an IPv4 address in IPv6', () => 'https://[::ffff:10.0.0.1]/a.png', notPublic],
    ['at a local name', () => 'https://db.internal/a.png', notPublic],
    ['not at https', () => 'http://10.0.0.1/a.png', 'The URL must begin with https://.'],
    [
      'with a password in its URL',
      () => 'https://a:b@cdn.example.com/a.png',
      'The URL must not have a user or password.',
    ],
    ['redirected to a private address', () => redirectTo('https://192.168.1.1/a.png'), notPublic],
    [
      'redirected to the metadata service',
      () => redirectTo('http://169.254.169.254/'),
      'The URL must begin with https://.',
    ],
    ['redirected to another scheme', () => redirectTo('file:///etc/passwd'), 'The URL must begin with https://.'],
    [
      'redirected to nowhere',
      () => serve((_, response) => response.writeHead(302).end()),
      'The server redirects without saying where to.',
    ],
  ])('if the image is %s', async (_name, makeUrl, reason) => {
    const [{ id }, other] = [await newProduct(), await newProduct()];
    await requestImages(id, [{ url: makeUrl() }]);
    await requestImages(other.id, [{ url: serveFile(png()) }]);
    expect(await failedFor(id)).toEqual([reason]);
    await countOf(other.id, 1);
    expect(await imagesOf(id)).toEqual([]);
  });

  test('after more than three redirects, of which three are followed', async () => {
    const [{ id }, other] = [await newProduct(), await newProduct()];
    const third = redirectTo(redirectTo(redirectTo(serveFile(png()), 308), 301));
    await requestImages(other.id, [{ url: third }]);
    await countOf(other.id, 1);
    await requestImages(id, [{ url: redirectTo(third, 307) }]);
    expect(await failedFor(id)).toEqual(['The server redirects more than 3 times.']);
    const start = redirectTo('');
    handlers.set(new URL(start).pathname, (_, response) => response.writeHead(302, { location: start }).end());
    await requestImages(id, [{ url: start }]);
    expect(await failedFor(id, store, 2)).toEqual(Array(2).fill('The server redirects more than 3 times.'));
  });

  test('if the file is larger than 10 MB, also without a Content-Length: the rest is not read', async () => {
    const { id } = await newProduct();
    let sent = 0;
    const closed = Promise.withResolvers<void>();
    const endless = serve((_, response) => {
      response.writeHead(200, { 'content-type': 'image/png' });
      const block = Buffer.alloc(65_536, 1);
      const send = () => {
        while (!response.destroyed && sent < 1_000_000_000) {
          sent += block.length;
          if (!response.write(block)) return void response.once('drain', send);
        }
      };
      response.on('close', () => closed.resolve());
      send();
    });
    const declared = serve((_, response) => {
      response.writeHead(200, { 'content-length': '10485761' });
      response.write(png());
    });
    await requestImages(id, [{ url: endless }, { url: declared }]);
    expect(await failedFor(id, store, 2)).toEqual(Array(2).fill('An image may have at most 10 MB.'));
    await closed.promise;
    expect(sent).toBeLessThan(200_000_000);
  });

  test('if a stream of gzip unpacks to more than 10 MB', async () => {
    const { gzipSync } = await import('node:zlib');
    const { id } = await newProduct();
    const bomb = gzipSync(Buffer.alloc(50_000_000));
    const url = serve((_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb));
    await requestImages(id, [{ url }]);
    expect(await failedFor(id)).toEqual(['An image may have at most 10 MB.']);
  });
});

test('a server that does not respond delays no other tenant, and is given up after a while', async () => {
  const slow = await newProduct();
  const waiting: ServerResponse[] = [];
  const urls = Array.from({ length: 8 }, () => ({ url: serve((_, response) => void waiting.push(response)) }));
  // This one begins to respond and then stops.
  urls.push({ url: serve((_, response) => void response.writeHead(200).write(png().subarray(0, 40))) });
  await requestImages(slow.id, urls);
  await until(() => waiting.length > 0);
  const acme = await store.database.key({ tenant: 'acme' });
  const body = { sku: 'ACME-FAST', name: 'x', price: 1, currency: 'USD', inventory: 1 };
  const { body: fast } = await store.send('POST', '/v1/products', body, { key: acme });
  await requestImages(fast.id, [{ url: serveFile(png()) }], store, 'acme');
  await until(async () => (await imagesOf(fast.id, store, acme)).length === 1);
  expect(await imagesOf(slow.id)).toEqual([]);
  const late = () => store.logs().filter(({ message }) => message === 'The server did not respond within 15 s.');
  await until(() => late().length > 0);
  expect(late()[0]).toMatchObject({ kind: 'message', service: 'catalog', outcome: 'partly' });
  expect(await reasonsOf(slow.id)).toEqual([]); // it is tried again
  for (const response of waiting) response.end(png());
}, 120_000);

describe('a name in the URL of an image', () => {
  test('is fetched over https if all its addresses are public', async () => {
    const { id } = await newProduct(strict);
    addresses['cdn.example.com'] = ['93.184.216.34', '2606:4700::1'];
    hosts['cdn.example.com'] = () => new OutsideResponse(png(9, 9), { headers: { 'content-type': 'image/png' } });
    await requestImages(id, [{ url: 'https://cdn.example.com/a.png' }], strict);
    await countOf(id, 1, strict);
    expect(await imagesOf(id, strict)).toMatchObject([{ width: 9, height: 9 }]);
  });

  test.each([
    ['private', ['10.0.0.1']],
    ['loopback', ['127.0.0.1']],
    ['the metadata service', ['93.184.216.34', '169.254.169.254']],
    ['private, in IPv6', ['93.184.216.34', 'fd00::1']],
  ])('is not asked for if an address is %s', async (name, found) => {
    const { id } = await newProduct(strict);
    const host = `${name.replaceAll(/\W/g, '').toLowerCase()}.example.com`;
    addresses[host] = found;
    await requestImages(id, [{ url: `https://${host}/a.png` }], strict);
    expect(await failedFor(id, strict)).toEqual(['The name in the URL leads to an address that is not public.']);
    expect(askedOutside.filter((url) => url.includes(host))).toEqual([]);
  });

  test('is checked again after a redirect', async () => {
    const { id } = await newProduct(strict);
    addresses['moved.example.com'] = ['93.184.216.34'];
    addresses['inside.example.com'] = ['192.168.0.10'];
    hosts['moved.example.com'] = () =>
      new OutsideResponse(null, { status: 301, headers: { location: 'https://inside.example.com/a.png' } });
    await requestImages(id, [{ url: 'https://moved.example.com/a.png' }], strict);
    expect(await failedFor(id, strict)).toEqual(['The name in the URL leads to an address that is not public.']);
    expect(askedOutside.filter((url) => url.includes('inside'))).toEqual([]);
  });

  test('that DNS does not know is tried again', async () => {
    const { id } = await newProduct(strict);
    hosts['later.example.com'] = () => new OutsideResponse(png());
    await requestImages(id, [{ url: 'https://later.example.com/a.png' }], strict);
    const failed = () => strict.logs().some(({ message }) => message === 'The name in the URL was not found in DNS.');
    await until(failed);
    addresses['later.example.com'] = ['93.184.216.34'];
    await countOf(id, 1, strict);
  });

  test('and this machine are refused where loopback is not allowed', async () => {
    const { id } = await newProduct(strict);
    const before = asked.length;
    const urls = [serveFile(png()), serveFile(png()).replace('http:', 'https:')];
    await requestImages(
      id,
      urls.map((url) => ({ url })),
      strict,
    );
    expect((await failedFor(id, strict, 2)).toSorted()).toEqual([
      'The URL leads to an address that is not public.',
      'The URL must begin with https://.',
    ]);
    expect(asked.length).toBe(before);
  });
});
