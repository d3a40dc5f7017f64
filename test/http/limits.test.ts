import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unstable_readConfig } from 'wrangler';
import { ApiError } from '../../src/base/errors.ts';
import type { Bindings } from '../../src/env.ts';
import { addressLimit, keyLimit, networkOf, takeRequest, takeTrial } from '../../src/http/limits.ts';
import { addProduct, oneLine, type Reply, type Store, startStore } from '../support/harness.ts';

type RateLimit = { name: string; namespace_id: string; simple: object };

const outcomeOf = (reply: Reply) => [reply.status, reply.body.code];
const statusesOf = (replies: Reply[]) => [...new Set(replies.map((reply) => reply.status))].sort();
const headersFrom = (address: string) => ({ 'cf-connecting-ip': address });
const inventedKey = () => `sk_live_${randomBytes(16).toString('hex')}`;

/** Sends `count` requests, several at a time, and returns their responses. */
async function flood(count: number, request: () => Promise<Reply>): Promise<Reply[]> {
  const replies: Reply[] = [];
  const client = async () => {
    while (replies.length < count) replies.push(await request());
  };
  await Promise.all(Array.from({ length: concurrency }, client));
  return replies;
}

test('wrangler.toml has the limits that responses report, and limits the CPU time of an invocation', () => {
  const { ratelimits, limits } = unstable_readConfig({ config: 'wrangler.toml' }, { hideWarnings: true });
  const simple = ({ requests, seconds }: typeof keyLimit) => ({ limit: requests, period: seconds });
  expect(ratelimits.map((limit: RateLimit) => [limit.name, limit.simple])).toEqual([
    ['KEY_LIMIT', simple(keyLimit)],
    ['ADDRESS_LIMIT', simple(addressLimit)],
  ]);
  expect(new Set(ratelimits.map((limit: RateLimit) => limit.namespace_id)).size).toBe(2);
  expect(limits?.cpu_ms).toBe(30_000);
});

test('an IPv6 /64 counts as one address, and so does each IPv4 address', () => {
  expect(networkOf('192.0.2.7')).toBe('192.0.2.7');
  expect(networkOf('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2');
  expect(networkOf('2001:db8:1:2::9')).toBe('2001:db8:1:2');
  expect(networkOf('2001:db8::9')).toBe('2001:db8:0:0');
  expect(networkOf('::1')).toBe('0:0:0:0');
  expect(networkOf('2001:db8:1:2:3::')).toBe('2001:db8:1:2');
});

test('an address may have as many unfinished key trials as its limit, and a trial that succeeds does not count', () => {
  const env = { ADDRESS_LIMIT: { limit: async () => ({ success: true }) } } as unknown as Bindings;
  let now = Date.parse('2026-01-31T12:00:00Z');
  const take = () => takeTrial(env, '192.0.2.99', false, now);
  const trials = Array.from({ length: addressLimit.requests }, take);
  expect(take).toThrow(ApiError);
  trials[0]?.('bad');
  expect(take).toThrow('rate_limited');
  trials[1]?.('good');
  trials[2]?.('undecided');
  expect([take(), take()]).toHaveLength(2);
  expect(take).toThrow('rate_limited');
  now += 10_000; // the results of these trials were never reported
  expect(take).not.toThrow();
});

test('a key gets its requests evenly, at most half a second’s worth at once, and does not affect another key', () => {
  const start = Date.parse('2026-01-31T12:00:00Z');
  const take = (key: string, ms: number) => () => takeRequest(key, { requests: 100, seconds: 10 }, start + ms);
  for (let n = 0; n < 5; n++) take('busy', 0)();
  expect(take('busy', 0)).toThrow('rate_limited');
  take('quiet', 0)();
  take('busy', 100)();
  expect(take('busy', 199)).toThrow('rate_limited');
  take('busy', 200)();
  for (let n = 0; n < 5; n++) take('busy', 60_000)();
  expect(take('busy', 60_000)).toThrow('rate_limited');
});

test('failed key trials of an address are spread evenly: half a second’s worth at once, then more as time passes', () => {
  const env = { ADDRESS_LIMIT: { limit: async () => ({ success: true }) } } as unknown as Bindings;
  const start = Date.parse('2026-01-31T12:00:00Z');
  const take = (ms: number) => () => takeTrial(env, '192.0.2.97', false, start + ms);
  const perSecond = addressLimit.requests / addressLimit.seconds;
  for (let n = 0; n < perSecond / 2; n++) take(0)()('bad');
  expect(take(0)).toThrow('rate_limited');
  take(1000)()('good');
  for (let n = 0; n < perSecond / 2; n++) take(1000)()('bad');
  expect(take(1000)).toThrow('rate_limited');
});

test('webhooks of an address are limited only by forged ones, not by other webhooks in progress', () => {
  const env = { ADDRESS_LIMIT: { limit: async () => ({ success: true }) } } as unknown as Bindings;
  const take = () => takeTrial(env, '192.0.2.98', true);
  const trials = Array.from({ length: 3 * addressLimit.requests }, take);
  for (const report of trials.slice(0, 2 * addressLimit.requests)) report('good');
  for (const report of trials.slice(2 * addressLimit.requests)) report('bad');
  expect(take).toThrow('rate_limited');
});

/** The limit of bad requests per address in these tests. It is small, so that even a slow machine exceeds it. */
const badRequestLimit = 40;
/** The number of concurrent requests. */
const concurrency = 16;

describe('a flood of requests', () => {
  let store: Store;
  beforeAll(async () => {
    store = await startStore({ addressLimit: badRequestLimit });
  });
  afterAll(() => store.close());

  /** Counts the calls to the database that `work` makes. The relay calls only after writes, and there are none here. */
  async function callsOf<T>(work: () => Promise<T>): Promise<[T, number]> {
    const before = store.bridge.calls;
    const result = await work();
    return [result, store.bridge.calls - before];
  }

  test('with keys in another format makes no call to the database', async () => {
    const authorizations = [
      'Bearer x',
      `Basic ${inventedKey()}`,
      `Bearer ${'a'.repeat(300)}`,
      `Bearer sk_${'ä'.repeat(9)}`,
    ];
    const [replies, calls] = await callsOf(async () => {
      const all: Reply[] = [];
      for (const authorization of authorizations) {
        const headers = { ...headersFrom('192.0.2.1'), authorization: Buffer.from(authorization).toString('latin1') };
        all.push(...(await flood(50, () => store.send('GET', '/v1/orders', undefined, { key: null, headers }))));
      }
      return all;
    });
    expect([statusesOf(replies), calls]).toEqual([[401], 0]);
  });

  test('with one invalid key checks that key once in a while, not for each request', async () => {
    const key = inventedKey();
    const headers = headersFrom('192.0.2.2');
    await store.send('GET', '/v1/orders', undefined, { key, headers });
    const [replies, calls] = await callsOf(() =>
      flood(200, () => store.send('POST', '/v1/orders', oneLine('X'), { key, headers })),
    );
    expect([statusesOf(replies), calls]).toEqual([[401], 0]);
  });

  test('with invented keys makes no more calls than its address may, and gets the time to wait', async () => {
    const headers = headersFrom('2001:db8::1');
    const started = Date.now();
    const [replies, calls] = await callsOf(() =>
      flood(10 * badRequestLimit, () => store.send('GET', '/v1/orders', undefined, { key: inventedKey(), headers })),
    );
    // The requests in progress at the start of a period may exceed the limit. A slow machine needs several periods.
    const periods = Math.ceil((Date.now() - started) / (addressLimit.seconds * 1000)) + 1;
    expect(calls).toBeLessThanOrEqual(badRequestLimit + concurrency * periods);
    expect(calls).toBe(replies.filter((reply) => reply.status === 401).length);
    expect(statusesOf(replies)).toEqual([401, 429]);
    const rejected = replies.find((reply) => reply.status === 429);
    expect(rejected?.body.code).toBe('rate_limited');
    expect(Number(rejected?.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(rejected?.headers.get('ratelimit')).toMatch(/^"address";r=0;t=\d+$/);
    expect(rejected?.headers.get('ratelimit-policy')).toBe(`"address";q=${addressLimit.requests};w=10`);
  });

  test('does not block valid keys behind the same address, nor any other address', async () => {
    const headers = headersFrom('192.0.2.3');
    const [ours, theirs] = [store.key, await store.database.key({ tenant: 'acme' })];
    for (const key of [ours, theirs]) await store.send('GET', '/v1/orders', undefined, { key, headers });
    const sendInventedKey = () => store.send('GET', '/v1/orders', undefined, { key: inventedKey(), headers });
    expect(statusesOf(await flood(5 * badRequestLimit, sendInventedKey))).toContain(429);
    for (const key of [ours, theirs]) {
      expect((await store.send('GET', '/v1/orders', undefined, { key, headers })).status).toBe(200);
    }
    const elsewhere = { key: await store.database.key(), headers: headersFrom('192.0.2.4') };
    expect((await store.send('GET', '/v1/orders', undefined, elsewhere)).status).toBe(200);
  });

  test('with valid keys behind one address is limited only per key', async () => {
    const headers = headersFrom('192.0.2.5');
    const keys = await Promise.all(Array.from({ length: 5 * badRequestLimit }, () => store.database.key()));
    const replies = await flood(keys.length, () => {
      const key = keys.pop() ?? store.key;
      return store.send('GET', '/v1/orders', undefined, { key, headers });
    });
    expect(statusesOf(replies)).toEqual([200]);
  });

  test.each(['/webhooks/stripe', '/webhooks/shipping/manual'])(
    'with forged events at %s makes no call to the database',
    async (path) => {
      const body = { id: 'evt_1', object: 'event', type: 'payment_intent.succeeded', data: { object: {} } };
      const [replies, calls] = await callsOf(() =>
        flood(5 * badRequestLimit, () => {
          const signed = `t=${Math.floor(Date.now() / 1000)},v1=${randomBytes(32).toString('hex')}`;
          const headers = {
            ...headersFrom(`192.0.2.${path.length}`),
            'stripe-signature': signed,
            'x-signature': signed,
          };
          return store.send('POST', path, body, { key: null, headers });
        }),
      );
      expect([statusesOf(replies), calls]).toEqual([[400, 429], 0]);
      expect(outcomeOf(replies.find((reply) => reply.status === 400) as Reply)[1]).toBe('invalid_signature');
    },
  );

  test('with forged events for a tenant’s carrier calls the database no more often than its address may', async () => {
    const [replies, calls] = await callsOf(() =>
      flood(5 * badRequestLimit, () => {
        const signed = `t=${Math.floor(Date.now() / 1000)},v1=${randomBytes(32).toString('hex')}`;
        const headers = { ...headersFrom('192.0.2.7'), 'x-signature': signed };
        return store.send(
          'POST',
          `/webhooks/shipping/manual/shop${randomBytes(3).toString('hex')}`,
          {},
          { key: null, headers },
        );
      }),
    );
    expect(statusesOf(replies)).toEqual([400, 429]);
    expect(calls).toBe(replies.filter((reply) => reply.status === 400).length);
  });

  test('to /readyz calls the database no more often than its address may', async () => {
    const [replies, calls] = await callsOf(() =>
      flood(5 * badRequestLimit, () =>
        store.send('GET', '/readyz', undefined, { key: null, headers: headersFrom('192.0.2.6') }),
      ),
    );
    expect(statusesOf(replies)).toEqual([200, 429]);
    expect(calls).toBe(replies.filter((reply) => reply.status === 200).length);
  });
});

test('a shopper who sends too many requests does not lock out the other shoppers of the shop', async () => {
  const store = await startStore({ keyLimit: 20 });
  try {
    const key = await store.database.key({ kind: 'publishable' });
    const read = (address: string) =>
      store.send('GET', '/v1/products', undefined, { key, headers: headersFrom(address) });
    while (!statusesOf(await flood(40, () => read('192.0.2.8'))).includes(429));
    expect((await read('192.0.2.9')).status).toBe(200);
  } finally {
    await store.close();
  }
});

test('a tenant at its limit is rejected without a call, and does not affect another tenant’s orders', async () => {
  const store = await startStore({ keyLimit: 20 });
  try {
    const acme = await store.database.key({ tenant: 'acme' });
    const product = { sku: 'CALM', name: 'Calm', price: 5, currency: 'EUR', inventory: 100 };
    expect((await store.send('POST', '/v1/products', product, { key: acme })).status).toBe(201);
    await addProduct(store, 'LOUD', 100);
    await store.settled();
    const sendNoise = () => store.send('GET', '/v1/orders');
    while (!statusesOf(await flood(40, sendNoise)).includes(429));
    const before = store.bridge.calls;
    const [noise, orders] = await Promise.all([
      flood(300, sendNoise),
      (async () => {
        const all: Reply[] = [];
        for (let n = 0; n < 10; n++) {
          const options = { key: acme, idempotencyKey: randomUUID() };
          all.push(await store.send('POST', '/v1/orders', oneLine('CALM'), options));
        }
        return all;
      })(),
    ]);
    expect(orders.map((reply) => [reply.status, reply.headers.get('server-timing')?.slice(0, 17)])).toEqual(
      orders.map(() => [201, 'db;desc="1 calls"']),
    );
    const served = noise.filter((reply) => reply.status === 200).length;
    expect(statusesOf(noise)).toContain(429);
    const withDatabaseCall = noise.filter((reply) => reply.headers.has('server-timing')).length;
    expect([withDatabaseCall, before < store.bridge.calls]).toEqual([served, true]);
  } finally {
    await store.close();
  }
});
