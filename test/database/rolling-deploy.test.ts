import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';
import { home, secret, shop, sign } from '../support/shipping.ts';

/**
 * The previous Worker, which still runs after the new schema is installed. `node dev/release/keep-worker.ts` stores it.
 */
const storedWorker = join(import.meta.dirname, '..', 'fixtures', 'worker-previous.js.gz');

let dir: string;
let bundle: string;
let store: Store;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-previous-'));
  bundle = gunzipSync(await readFile(storedWorker)).toString();
  await writeFile(join(dir, 'index.js'), bundle);
  store = await startStore({ worker: join(dir, 'index.js'), variables: { SHIPPING_WEBHOOK_SECRET: secret } });
  // A database that was in use before this schema does not require the job secret yet.
  await store.database.query('update platform.security set sealed = false');
});
afterAll(async () => {
  await store.close();
  await rm(dir, { recursive: true });
});

describe('the previous version of the Worker, on the new schema,', () => {
  test('runs, is small enough to store, and differs from the Worker of this checkout', async () => {
    expect((await readFile(storedWorker)).length).toBeLessThan(250 * 1024);
    expect((await store.send('GET', '/healthz')).status).toBe(200);
    expect(await readFile(join(inject('bundle'), 'index.js'), 'utf8')).not.toBe(bundle);
  });

  test('finds every SQL function that it calls', async () => {
    const schemas = 'platform|catalog|inventory|orders|group_commerce|payments|shipping';
    const called = [...bundle.matchAll(new RegExp(`[\`"'](?:select )?((?:${schemas})\\.[a-z_0-9]+)[("'\` ]`, 'g'))];
    const names = [...new Set(called.map((match) => match[1] ?? ''))];
    expect(names.length).toBeGreaterThan(25);
    const existing = await store.database.query<{ name: string }>(
      `select n.nspname || '.' || p.proname as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
       union select table_schema || '.' || table_name from information_schema.tables`,
    );
    const known = new Set(existing.map(({ name }) => name));
    // Log spans and operation names look like function names. Keep only the names that the bundle uses as functions.
    const functions = names.filter((name) => new RegExp(`${name.replace('.', '\\.')}(?:\\(|["'\`],)`).test(bundle));
    expect(functions.filter((name) => !known.has(name))).toEqual([]);
  });

  test('places an order, takes its payment, and ships it until it is delivered', async () => {
    const payments = paymentFixture(store);
    await addProduct(store, 'ROLLED', 5);
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('ROLLED', 2, { shippingAddress: home }));
    const { body: payment } = await store.send('POST', '/v1/payments', { orderId: order.id });
    await payments.pay(payment.stripePaymentIntentId);
    const { trackingNumber } = await shop(() => store).shipped(order.id);
    for (const status of ['in_transit', 'delivered']) {
      const body = JSON.stringify({ eventId: status, trackingNumber, status, occurredAt: new Date().toISOString() });
      const headers = { 'x-signature': sign(body) };
      expect((await store.send('POST', '/webhooks/shipping/manual', body, { key: null, headers })).status).toBe(200);
    }
    expect(await payments.orderOf(order.id)).toMatchObject({
      status: 'delivered',
      payment: { status: 'succeeded' },
      shipment: { status: 'delivered' },
      reservation: { status: 'committed' },
    });
    const { body: refund } = await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 5 });
    await until(
      async () => (await store.send('GET', `/v1/payments/${payment.id}/refunds`)).body.data[0]?.status === 'succeeded',
    );
    expect(refund.amount).toBe(5);
    const { quantity, reserved } = (await store.send('GET', '/v1/inventory/ROLLED')).body;
    expect([quantity, reserved]).toEqual([3, 0]);
  });

  test('places asynchronous orders, returns stock, and expires holds', async () => {
    await addProduct(store, 'QUEUED', 3);
    const headers = { prefer: 'respond-async' };
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('QUEUED', 2), { headers });
    await store.settled();
    const { body: short } = await store.send('POST', '/v1/orders', oneLine('QUEUED', 2));
    expect(short).toMatchObject({ code: 'insufficient_inventory', shortages: [{ sku: 'QUEUED', available: 1 }] });
    expect((await store.send('POST', `/v1/orders/${order.id}/cancel`)).body.status).toBe('cancelled');
    const { body: late } = await store.send('POST', '/v1/orders', oneLine('QUEUED', 3));
    // A run of the cron looks for expired holds before it queries Stripe about payments. So these expire one run later.
    for (let hours = 1; (await store.send('GET', `/v1/orders/${late.id}`)).body.status !== 'failed'; hours++) {
      await store.cron('* * * * *', new Date(Date.now() + hours * 3_600_000));
    }
    expect((await store.send('GET', '/v1/inventory/QUEUED')).body).toMatchObject({ quantity: 3, reserved: 0 });
  });

  test('fills a campaign and charges its participants', async () => {
    const fixture = campaignFixture(store);
    const campaign = await fixture.start('TOGETHER', 5);
    for (const user of ['ada', 'bob']) {
      const { status, body } = await fixture.join(campaign.id, user);
      expect(status).toBe(201);
      await fixture.confirm(body.orderId);
    }
    await until(async () => {
      await store.cron();
      return (await fixture.participants(campaign.id)).every((place) => place.state === 'charged');
    });
    expect((await fixture.read(campaign.id)).status).toBe('successful');
    expect((await fixture.participants(campaign.id)).map((place) => place.user_id)).toEqual(['ada', 'bob']);
  });

  test('changes the catalog and the stock, reads every list, and reports its health', async () => {
    const { id } = await addProduct(store, 'LISTED', 5);
    expect((await store.send('PATCH', `/v1/products/${id}`, { price: 3 })).body.price).toBe(3);
    expect((await store.send('PUT', '/v1/inventory/LISTED', { quantity: 9 })).body.quantity).toBe(9);
    const lines = JSON.stringify({ sku: 'LISTED', price: 4 });
    const imported = { headers: { 'content-type': 'application/x-ndjson' } };
    expect((await store.send('POST', '/v1/products/import', lines, imported)).body.updated).toBe(1);
    expect((await store.send('DELETE', `/v1/products/${id}`)).status).toBeLessThan(300);
    for (const path of ['products?q=rolled', 'inventory', 'orders', 'campaigns', 'events', 'dead-letters']) {
      expect([path, (await store.send('GET', `/v1/${path}`)).status]).toEqual([path, 200]);
    }
    expect((await store.send('GET', '/readyz')).body.status).toBe('ok');
    const failed = store.logs().filter((line) => line.outcome === 'internal' || line.outcome === 'failed');
    expect(failed).toEqual([]);
  });
});
