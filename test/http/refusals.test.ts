import { createHmac, randomUUID } from 'node:crypto';
import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { toCursor } from '../../src/http/cursor.ts';
import { addProduct, oneLine, type Reply, type Store, startStore, until } from '../support/harness.ts';
import { secret } from '../support/shipping.ts';

const unknownId = '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f';

let store: Store;
beforeAll(async () => {
  const variables = {
    SHIPPING_WEBHOOK_SECRET: secret,
    KAFKA_WEBHOOK_SECRET: secret,
    KAFKA_CONSUME_TENANTS: 'default',
    SHIPPO_API_KEY: 'k',
    SHIPPO_WEBHOOK_SECRET: secret,
    EASYPOST_API_KEY: 'k',
    EASYPOST_WEBHOOK_SECRET: secret,
  };
  store = await startStore({ variables });
});
afterAll(() => store.close());

const get = (path: string) => store.send('GET', path);
const outcome = (reply: Reply) => [reply.status, reply.body?.code];
const pointers = (reply: Reply) => reply.body.errors?.map((fault: { pointer: string }) => fault.pointer);

/** Sends the headers of a request and withholds its body. A response then proves that the body was not awaited. */
function withoutBody(path: string, headers: Record<string, string>, length = 1_000_000): Promise<number> {
  const { hostname, port } = new URL(store.url);
  return new Promise((resolve, reject) => {
    const sent = request({ hostname, port, method: 'POST', path, agent: false, headers: { ...headers } }, (answer) => {
      resolve(answer.statusCode ?? 0);
      sent.destroy();
    });
    sent.on('error', reject);
    sent.setHeader('content-length', length);
    sent.setHeader('content-type', 'application/json');
    sent.flushHeaders();
  });
}

describe('without waiting for its body, a request is rejected', () => {
  test('with an unknown key', async () => {
    const headers = { authorization: 'Bearer sk_test_invented', 'idempotency-key': randomUUID() };
    expect(await withoutBody('/v1/orders', headers)).toBe(401);
    expect(await withoutBody('/v1/products/import', { authorization: 'Bearer sk_test_imported' })).toBe(401);
  });

  test('with a publishable key, for everything that it may not do', async () => {
    const key = await store.database.key({ kind: 'publishable' });
    const authorization = `Bearer ${key}`;
    for (const turn of ['unknown', 'known']) {
      const headers = { authorization, 'idempotency-key': randomUUID() };
      expect([turn, await withoutBody('/v1/orders', headers)]).toEqual([turn, 403]);
      expect((await store.send('GET', '/v1/products', undefined, { key })).status).toBe(200);
    }
    const before = store.bridge.calls;
    const write = await store.send('POST', '/v1/orders', oneLine('X'), { key });
    expect([write.status, write.body.detail]).toEqual([403, 'Publishable keys change carts only: use a secret key.']);
    const read = await store.send('GET', '/v1/inventory', undefined, { key });
    expect([read.status, read.body.detail]).toMatchObject([
      403,
      expect.stringMatching(/catalog, campaigns and carts only/),
    ]);
    expect(store.bridge.calls).toBe(before);
  });

  test('with a malformed signature', async () => {
    const now = Math.floor(Date.now() / 1000);
    const hex = 'a'.repeat(64);
    const claims = [
      ...['', 'x', `v1=${hex}`, `t=${now}`, `t=${now - 400},v1=${hex}`, `t=${now + 400},v1=${hex}`],
      ...[`t=NaN,v1=${hex}`, `t=-${now},v1=${hex}`, `t=1e400,v1=${hex}`, `t=${now}9999999,v1=${hex}`],
      ...[`t=${now},t=${now},v1=${hex}`, `t=${now},v1=${hex}0`, `t=${now},v1=`, `t=${now}.5,v1=${hex}`],
    ];
    for (const claim of claims) {
      const stripe = withoutBody('/webhooks/stripe', { 'stripe-signature': claim });
      const manual = withoutBody('/webhooks/shipping/manual', { 'x-signature': claim });
      const kafka = withoutBody('/webhooks/kafka', { 'x-signature': claim });
      expect([claim, await stripe, await manual, await kafka]).toEqual([claim, 400, 400, 400]);
    }
    expect(await withoutBody('/webhooks/kafka', { authorization: 'Bearer wrong' })).toBe(400);
    expect(await withoutBody('/webhooks/shipping/shippo?token=wrong', {})).toBe(400);
    expect(await withoutBody('/webhooks/shipping/easypost', { 'x-hmac-signature': 'none' })).toBe(400);
  });

  test('although a valid key’s first small order makes only one call to the database', async () => {
    await addProduct(store, 'FIRST', 10);
    const key = await store.database.key();
    const reply = await store.send('POST', '/v1/orders', oneLine('FIRST'), { key });
    expect([reply.status, reply.headers.get('server-timing')?.slice(0, 17)]).toEqual([201, 'db;desc="1 calls"']);
  });

  test('although a valid key’s first large body is read only after the key was checked', async () => {
    const key = await store.database.key();
    const body = JSON.stringify({ sku: 'LARGE', name: 'n', price: 1, currency: 'USD', inventory: 1 }).padEnd(20_000);
    const reply = await store.send('POST', '/v1/products', body, { key });
    expect([reply.status, reply.headers.get('server-timing')?.slice(0, 17)]).toEqual([201, 'db;desc="2 calls"']);
    const other = JSON.stringify({ sku: 'LARGE-2', name: 'n', price: 1, currency: 'USD', inventory: 1 }).padEnd(20_000);
    const next = await store.send('POST', '/v1/products', other, { key });
    expect([next.status, next.headers.get('server-timing')?.slice(0, 17)]).toEqual([201, 'db;desc="1 calls"']);
  });
});

describe('a forged cursor', () => {
  const lists = (campaign: string, order: string) => [
    ...['/v1/products?', '/v1/products?q=shirt', '/v1/products?currency=USD', '/v1/inventory?', '/v1/orders?'],
    ...['/v1/orders?status=created', '/v1/campaigns?', `/v1/campaigns/${campaign}/participants?`, '/v1/events?'],
    ...['/v1/events?topic=order.created', '/v1/dead-letters?', '/v1/dead-letters?status=all'],
    ...[`/v1/orders/${order}/events?`, `/v1/campaigns/${campaign}/teams?`],
    `/v1/campaigns/${campaign}/teams?status=forming`,
  ];
  const positions = [
    ...['', 'x', 'NaN', '-1', '1.5', '1e3', '0x10', ' 1', 'Infinity', '9'.repeat(15), '9'.repeat(16), '9'.repeat(400)],
    ...[
      'a\0b',
      '\0',
      '0',
      unknownId,
      unknownId.toUpperCase(),
      `${unknownId}0`,
      `{${unknownId}}`,
      '[]',
      'null',
      "' or 1=1; --",
    ],
    ...['x'.repeat(300), '2026-01-01T00:00:00.000Z', '😀', '\u202e'],
  ];

  test('with a valid checksum returns 400 or a page, in every list, at any position', async () => {
    const added = await addProduct(store, 'CURSORS', 10);
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('CURSORS'));
    const { body: campaign } = await store.send('POST', '/v1/campaigns', {
      ...{ productId: added.id, minParticipants: 2, maxParticipants: 3, price: 1 },
      ...{ startTime: new Date().toISOString(), endTime: new Date(Date.now() + 86_400_000).toISOString() },
    });
    await store.send('POST', `/v1/campaigns/${campaign.id}/join`, { userId: 'u' });
    const odd: unknown[] = [];
    let refused = 0;
    for (const list of lists(campaign.id, order.id)) {
      expect([list, (await get(list.replace(/\?$/, ''))).status]).toEqual([list, 200]);
      for (const position of positions) {
        const cursor = toCursor(list, position);
        const reply = await get(`${list}${list.endsWith('?') ? '' : '&'}cursor=${cursor}`);
        if (reply.status === 400 && reply.body.code === 'invalid_cursor') refused++;
        else if (reply.status !== 200 && reply.status !== 404) odd.push([list, position, outcome(reply)]);
      }
    }
    expect(odd).toEqual([]);
    expect(refused).toBeGreaterThan(200);
  });

  test.each(['NjFlYTI5ZjYyN2VlOThhNQA', 'ZTVjZTJlZmI3YTczMzYyZWFiYw', '', '%00', 'a'.repeat(5_000)])(
    'of another kind returns 400: %s',
    async (cursor) => {
      for (const list of ['/v1/products', '/v1/events', '/v1/inventory']) {
        expect(outcome(await get(`${list}?cursor=${cursor}`))).toEqual([400, 'invalid_cursor']);
      }
    },
  );
});

describe('a query', () => {
  test.each([
    ['/v1/orders?customer=ada', ['customer']],
    ['/v1/products?order=price&cheapest=3', ['order', 'cheapest']],
    ['/v1/products?limit=1&limit=2', ['limit']],
    ['/v1/products?Limit=1', ['Limit']],
    [`/v1/orders/${unknownId}?expand=1`, ['expand']],
    ['/v1/products?__proto__=1', ['__proto__']],
    ['/healthz?x=1', ['x']],
    ['/v1/events?topic=%00', ['topic']],
    ['/v1/events?key=a%00b', ['key']],
    ['/v1/orders?customerId=%00', ['customerId']],
    ['/v1/products?q=%00', ['q']],
  ])('%s is rejected, with the names of the parameters', async (path, names) => {
    const reply = await get(path);
    expect([...outcome(reply), pointers(reply)]).toEqual([422, 'validation_failed', names]);
  });

  test('that is rejected lists the known parameters', async () => {
    expect((await get('/v1/orders?customer=ada')).body.errors[0].detail).toBe(
      'Unknown parameter. This operation takes: limit, cursor, customerId, status, organizationId.',
    );
    const archived = await store.send('DELETE', `/v1/products/${unknownId}?force=1`);
    expect(archived.body.errors[0].detail).toBe('Unknown parameter. This operation takes none.');
  });
});

describe('a path', () => {
  test.each([
    ['PUT', '/v1/orders', 'GET, HEAD, OPTIONS, POST'],
    ['DELETE', `/v1/orders/${unknownId}`, 'GET, HEAD, OPTIONS'],
    ['POST', `/v1/products/${unknownId}`, 'DELETE, GET, HEAD, OPTIONS, PATCH'],
    ['POST', '/v1/products/by-sku/A', 'GET, HEAD, OPTIONS'],
    ['GET', '/webhooks/stripe', 'OPTIONS, POST'],
    ['POST', '/healthz', 'GET, HEAD, OPTIONS'],
  ])('rejects %s %s and lists its methods', async (method, path, allow) => {
    const reply = await store.send(method, path, method === 'GET' ? undefined : {}, { key: null });
    expect([...outcome(reply), reply.headers.get('allow')]).toEqual([405, 'method_not_allowed', allow]);
  });

  test('returns its methods to OPTIONS, and to HEAD the same as to GET without a body', async () => {
    const options = await store.send('OPTIONS', '/v1/orders', undefined, { key: null });
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'GET, HEAD, OPTIONS, POST']);
    const headers = { authorization: `Bearer ${store.key}` };
    const head = await fetch(`${store.url}/v1/products`, { method: 'HEAD', headers });
    expect([head.status, await head.text()]).toEqual([200, '']);
    expect((await fetch(`${store.url}/webhooks/stripe`, { method: 'HEAD' })).status).toBe(405);
  });

  test('with a trailing slash is not found, with advice to remove the slash', async () => {
    const reply = await get('/v1/orders/');
    expect(outcome(reply)).toEqual([404, 'not_found']);
    expect(reply.body.detail).toBe('There is nothing at this path. Remove the slash at its end.');
    expect((await get('/v1/nothing/')).body.detail).toBe(
      'There is no such path or resource, or it belongs to another tenant or shopper. Check the id, the key and, for ' +
        'carts and their orders, the `Cart-Token`.',
    );
  });

  test('of only a slash redirects to the documentation', async () => {
    const reply = await fetch(`${store.url}/`, { redirect: 'manual' });
    expect([reply.status, reply.headers.get('location')]).toEqual([302, '/docs']);
    expect(reply.headers.get('x-content-type-options')).toBe('nosniff');
  });
});

test('an unknown order in a body is a validation error of that body', async () => {
  const payment = await store.send('POST', '/v1/payments', { orderId: unknownId });
  expect([...outcome(payment), pointers(payment)]).toEqual([422, 'validation_failed', ['/orderId']]);
  const address = { name: 'A', line1: 'l', city: 'c', country: 'GB' };
  const shipment = await store.send('POST', '/v1/shipments', { orderId: unknownId, address });
  expect([...outcome(shipment), pointers(shipment)]).toEqual([422, 'validation_failed', ['/orderId']]);
});

test('the link to the next page contains no host', async () => {
  await addProduct(store, 'LINK-1', 1);
  await addProduct(store, 'LINK-2', 1);
  const { hostname, port } = new URL(store.url);
  const headers = { host: 'evil.example', authorization: `Bearer ${store.key}` };
  const link = await new Promise<string>((resolve, reject) => {
    request({ hostname, port, path: '/v1/products?limit=1&currency=USD', headers, agent: false }, (answer) => {
      answer.resume();
      resolve(String(answer.headers.link));
    })
      .on('error', reject)
      .end();
  });
  expect(link).toMatch(/^<\/v1\/products\?limit=1&currency=USD&cursor=[\w-]+>; rel="next"$/);
  const next = await get(link.slice(1, link.indexOf('>')));
  expect([next.status, next.body.data.length]).toEqual([200, 1]);
});

describe('a webhook', () => {
  const signatureOf = (body: string, seconds = Math.floor(Date.now() / 1000), by = secret) =>
    `t=${seconds},v1=${createHmac('sha256', by).update(`${seconds}.`).update(body).digest('hex')}`;
  const tracking = (more: object = {}) => ({
    ...{ eventId: randomUUID(), trackingNumber: 'FC0', status: 'in_transit' },
    ...{ occurredAt: new Date().toISOString(), ...more },
  });
  const json = { 'content-type': 'application/json' };
  const manual = (body: string, header = signatureOf(body)) =>
    store.send('POST', '/webhooks/shipping/manual', body, { key: null, headers: { ...json, 'x-signature': header } });
  const stripe = (body: string, header = signatureOf(body, undefined, 'whsec_dev')) =>
    store.send('POST', '/webhooks/stripe', body, { key: null, headers: { ...json, 'stripe-signature': header } });

  test('is verified over its bytes, including a byte order mark', async () => {
    const plain = JSON.stringify(tracking());
    expect((await manual(`\ufeff${plain}`, signatureOf(plain))).status).toBe(400);
    expect((await manual(`\ufeff${plain}`)).status).toBe(200);
    const event = '{"id":"evt_bom","object":"event","type":"unheard.of","data":{}}';
    expect((await stripe(`\ufeff${event}`, signatureOf(event, undefined, 'whsec_dev'))).status).toBe(400);
    expect((await stripe(`\ufeff${event}`)).status).toBe(200);
  });

  test.each([-100_000, -310, 310, 100_000])('with a timestamp %i seconds off is rejected', async (offset) => {
    const seconds = Math.floor(Date.now() / 1000) + offset;
    const event = '{"id":"evt_1","object":"event","type":"unheard.of","data":{}}';
    expect((await stripe(event, signatureOf(event, seconds, 'whsec_dev'))).status).toBe(400);
    const body = JSON.stringify(tracking());
    expect((await manual(body, signatureOf(body, seconds))).status).toBe(400);
  });

  test.each(['a\\u0000b', 'a\\ud800b', '\\udc00'])(
    'with %s in a string is rejected without an internal error',
    async (text) => {
      const bodyWith = (name: string) => JSON.stringify({ ...tracking(), [name]: 'HERE' }).replace('HERE', text);
      for (const name of ['eventId', 'trackingNumber', 'detail', 'status', 'occurredAt']) {
        const reply = await manual(bodyWith(name));
        expect([name, ...outcome(reply)]).toEqual([name, 422, 'validation_failed']);
      }
      for (const place of ['event', 'intent', 'payment', 'failure']) {
        const object: Record<string, unknown> = {
          ...{ object: 'payment_intent', id: 'pi_1', status: 'requires_payment_method', currency: 'usd' },
          ...{ amount: 1_000, amount_received: 0, client_secret: null, metadata: {} },
        };
        if (place === 'intent') object.id = 'HERE';
        if (place === 'payment') object.metadata = { paymentId: 'HERE' };
        if (place === 'failure') object.last_payment_error = { code: 'HERE' };
        const id = place === 'event' ? 'HERE' : `evt_${randomUUID()}`;
        const event = { id, object: 'event', type: 'payment_intent.payment_failed', data: { object } };
        const reply = await stripe(JSON.stringify(event).replaceAll('HERE', text));
        expect([place, ...outcome(reply)]).toEqual([place, 422, 'validation_failed']);
      }
    },
  );

  test('may have additional URL parameters', async () => {
    const body = JSON.stringify(tracking());
    const headers = { ...json, 'x-signature': signatureOf(body) };
    const reply = await store.send('POST', '/webhooks/shipping/manual?source=erp', body, { key: null, headers });
    expect(reply.status).toBe(200);
  });
});

test('a client that disconnects while sending a body is logged as client_closed', async () => {
  const { hostname, port } = new URL(store.url);
  const headers = { authorization: `Bearer ${store.key}`, 'content-type': 'application/json', 'content-length': 5_000 };
  const id = randomUUID();
  const sent = request({ hostname, port, method: 'POST', path: '/v1/products', agent: false }, () => undefined);
  for (const [name, value] of Object.entries({ ...headers, 'x-request-id': id })) sent.setHeader(name, value);
  sent.on('error', () => undefined);
  await new Promise<void>((resolve) => sent.write('{"sku":', () => setTimeout(resolve, 200)));
  sent.destroy();
  await until(async () => store.logs().some((line) => line.id === id));
  expect(store.logs().find((line) => line.id === id)).toMatchObject({ outcome: 'client_closed', status: 499 });
});

test('no request of this file failed, or left an invalid value to the database', () => {
  expect(store.logs().filter((line) => line.outcome === 'internal' || 'gap' in line)).toEqual([]);
});
