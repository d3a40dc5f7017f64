import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Fault } from '../../dev/neon/bridge.ts';
import { workerRoutes as routes } from '../../dev/openapi/routes.ts';
import { type Store, startStore, until } from '../support/harness.ts';
import { rejectSecrets, secretsIn } from '../support/secrets.ts';

/** A text that the requests contain and that must never appear in the log. */
const planted = 'PLANTED';
let store: Store;
let fault: Fault | undefined;
beforeAll(async () => {
  store = await startStore({ neonFault: () => fault, variables: { SHIPPING_WEBHOOK_SECRET: `${planted}-shipping` } });
});
afterAll(() => store.close());

/** The log, one entry per line. */
const logText = () =>
  store
    .logs()
    .map((line) => JSON.stringify(line))
    .join('\n');

/** The content of all log files that the check at the end of the suite reads. */
async function readLogFiles(): Promise<string> {
  const names = await readdir(inject('logs'));
  const files = await Promise.all(names.map((name) => readFile(join(inject('logs'), name), 'utf8')));
  return files.join('');
}

const address = {
  name: `${planted} Person`,
  line1: `1 ${planted} Street`,
  city: planted,
  postalCode: planted,
  country: 'DE',
};

/** Bodies in which every free text contains the planted text. Rejected ones are logged too. */
const bodies: unknown[] = [
  { sku: `${planted}-1`, name: planted, description: planted, price: 5, currency: 'EUR', inventory: 50 },
  { customerId: planted, items: [{ sku: `${planted}-1`, quantity: 1 }], shippingAddress: address },
  { customerId: planted, items: [{ sku: `${planted}-none`, quantity: 1 }], purchaseOrderNumber: planted },
  { delta: 1, reason: planted },
  { userId: planted, shippingAddress: address },
  { amount: 1, reason: planted },
  { orderId: planted, address },
  { [planted]: planted },
  `{"${planted}`,
];

describe('the log', () => {
  test('contains no key, no body and no personal data, whatever is sent to any operation', async () => {
    const id = randomUUID();
    for (const { method, path } of routes) {
      for (const body of method === 'get' || method === 'delete' ? [undefined] : bodies) {
        const query = `?q=${planted}&cursor=${planted}&customerId=${planted}`;
        const headers = {
          'stripe-signature': `t=1,v1=${planted}`,
          'x-signature': planted,
          'x-request-id': id,
          cookie: planted,
          origin: `https://${planted}.example`,
          'if-match': `"${planted}"`,
        };
        // A path may contain a SKU. A key in a path must not be logged.
        const requestPath = path
          .replace('{carrier}', 'manual')
          .replace('{sku}', 'SHELF-1')
          .replaceAll(/\{\w+\}/g, `sk_live_${planted}${planted}`);
        if (path.endsWith('/live')) continue;
        await store.send(method.toUpperCase(), requestPath + query, body, {
          headers,
          idempotencyKey: `${planted}-${path}`,
        });
        await store.send(method.toUpperCase(), requestPath, body, { key: `sk_live_${planted}${planted}` });
      }
    }
    await until(() => store.logs().filter((line) => line.id === id).length > routes.length / 2);
    expect(secretsIn(logText())).toEqual([]);
  });

  test('contains codes of internal errors, but never statements, parameters or rows', async () => {
    for (const kind of ['lose-response', 'cut-response', 'lose-request'] as const) {
      fault = { kind };
      await store.send('POST', '/v1/orders', { customerId: planted, items: [{ sku: planted, quantity: 1 }] });
      fault = undefined;
    }
    await store.database.query(`create function public.burst() returns trigger language plpgsql as $$
      begin raise exception 'it is % of ${planted}', new.name; end $$`);
    await store.database.query(
      'create trigger burst before insert on catalog.products for each row execute function public.burst()',
    );
    const product = { sku: 'BURST', name: planted, price: 5, currency: 'EUR', inventory: 1 };
    expect((await store.send('POST', '/v1/products', product)).status).toBe(500);
    await store.database.query('drop trigger burst on catalog.products');
    await until(() => store.logs().some((line) => line.outcome === 'internal'));
    expect(store.logs().some((line) => line.outcome === 'unavailable')).toBe(true);
    expect(secretsIn(logText())).toEqual([]);
  });

  test('of every store of the suite is in the files that are checked for secrets at the end', async () => {
    const id = randomUUID();
    await store.send('GET', '/healthz', undefined, { headers: { 'x-request-id': id } });
    await until(async () => (await readLogFiles()).includes(id));
  });
});

describe('the check of the logs for secrets', () => {
  const lines: [string, string][] = [
    ['a key', '{"message":"no sk_live_0123456789abcdef"}'],
    ['a key', 'pk_test_00000000'],
    ['a key', 'the session cs_live_0123456789abcdef'],
    ['the hash of a key', 'f'.repeat(64)],
    ['the password of the database', 'planted-database-password'],
    ['a connection string', 'postgres://fusion_worker:x@ep-1.neon.tech/db'],
    ['the credentials of Kafka', 'Authorization: Basic ZGV2OmRldg=='],
    ['the secret key of Stripe', 'Invalid API Key provided: sk_test_dev'],
    ['the secret of a webhook', 'whsec_dev'],
    ['the client secret of a payment', 'pi_3_secret_abcdefgh'],
    ['a header with credentials', '"authorization":"Bearer abcdefgh"'],
    ['a signature', 't=1,v1=0123456789abcdef0'],
    ['SQL or its parameters', 'select orders.place_order($1, $2)'],
    ['what was planted', '{"name":"Planted Person"}'],
  ];

  test.each(lines)('detects %s, and fails the run', async (kind, line) => {
    const dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-log-'));
    try {
      await writeFile(join(dir, 'a.log'), '{"kind":"request","id":"1","outcome":"ok"}\n');
      await rejectSecrets(dir);
      await writeFile(join(dir, 'b.log'), `{"kind":"request"}\n${line}\n`);
      await expect(rejectSecrets(dir)).rejects.toThrow(kind);
    } finally {
      await rm(dir, { recursive: true });
    }
  });
});
