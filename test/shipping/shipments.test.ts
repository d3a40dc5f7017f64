import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import Stripe from 'stripe';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { defaultCell } from '../../src/base/cells.ts';
import { openDatabase } from '../../src/db/client.ts';
import { deleteLabels, readLabel } from '../../src/domain/labels.ts';
import { requestShipment } from '../../src/domain/shipping.ts';
import { type Bindings, settingsOf } from '../../src/env.ts';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { scanLabel } from '../support/label-scanner.ts';
import { jobSecret } from '../support/secrets.ts';
import { address, home, shop, unprintable } from '../support/shipping.ts';

let store: Store;
const { orderOf, free, reaches, confirmed, shipped, ship, historyOf, deadLettersOf, requestOf } = shop(() => store);
beforeAll(async () => {
  store = await startStore();
  await addProduct(store, 'GIFT', 1_000, 0);
});
afterAll(() => store.close());

const labelOf = async (id: string, key = store.key) => {
  const reply = await fetch(`${store.url}/v1/shipments/${id}/label`, { headers: { authorization: `Bearer ${key}` } });
  return { status: reply.status, headers: reply.headers, bytes: new Uint8Array(await reply.arrayBuffer()) };
};

describe('a label', () => {
  test('is created automatically for a paid order with an address, with the tracking number as its barcode', async () => {
    await addProduct(store, 'PAID', 5, 29.99);
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('PAID', 1, { shippingAddress: home }));
    const { body: payment } = await store.send('POST', '/v1/payments', { orderId: order.id });
    const { hostname, port } = new URL(store.stripe.url);
    const stripe = new Stripe('sk_test_dev', { host: hostname, port, protocol: 'http' });
    await stripe.paymentIntents.confirm(payment.stripePaymentIntentId, {
      payment_method: 'pm_card_visa',
      return_url: 'https://shop.test',
    });
    const shipment = await shipped(order.id);
    expect(shipment).toMatchObject({ orderId: order.id, carrier: 'manual', status: 'created' });
    expect((await store.send('GET', `/v1/shipments/${shipment.id}`)).body).toEqual(shipment);
    expect(shipment.labelUrl).toBe(`/v1/shipments/${shipment.id}/label`);
    const { headers, bytes } = await labelOf(shipment.id);
    expect(headers.get('content-type')).toBe('application/pdf');
    expect(headers.get('server-timing')).toContain('1 calls');
    expect(await scanLabel(bytes)).toEqual([{ format: 'Code128', text: shipment.trackingNumber }]);
    expect((await historyOf(order.id)).slice(-2)).toEqual(['order.confirmed', 'shipping.label.created']);
    const { body: events } = await store.send('GET', `/v1/events?topic=shipping.label.created&key=${order.id}`);
    expect(events.data.map((event: { data: unknown }) => event.data)).toEqual([
      {
        orderId: order.id,
        trackingNumber: shipment.trackingNumber,
        carrier: 'manual',
        labelUrl: shipment.labelUrl,
      },
    ]);
  });

  test('is created for an order that needs no payment, with the customer’s id if the address has no name', async () => {
    const id = await free(address);
    const { bytes } = await labelOf((await shipped(id)).id);
    expect(new TextDecoder('latin1').decode(bytes)).toContain('customer-1');
  });

  test('has events with the traceparent of the request that placed its order', async () => {
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const order = oneLine('GIFT', 1, { shippingAddress: home });
    const { body } = await store.send('POST', '/v1/orders', order, { headers: { traceparent } });
    await shipped(body.id);
    const { body: events } = await store.send('GET', `/v1/events?topic=shipping.label.created&key=${body.id}`);
    expect(events.data[0].traceparent).toBe(traceparent);
  });

  test('waits for the address of an order that was paid without one', async () => {
    const id = await confirmed();
    expect(await orderOf(id)).toMatchObject({ status: 'confirmed', shipment: null });
    const made = await ship(id);
    expect([made.status, made.headers.get('location')]).toEqual([201, `/v1/shipments/${made.body.id}`]);
    expect((await orderOf(id)).shipment).toEqual(made.body);
    await store.settled();
    expect(await historyOf(id)).toEqual([
      'order.created',
      'inventory.reserved',
      'order.confirmed',
      'shipping.label.created',
    ]);
  });

  test('is created once, however many requests and the queue create it at once', async () => {
    const id = await free(home);
    await reaches(id, 'confirmed');
    const answers = await Promise.all(Array.from({ length: 10 }, () => ship(id)));
    expect(answers.map((answer) => answer.status)).toEqual(Array(10).fill(201));
    expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1);
    await store.settled();
    const history = await historyOf(id);
    expect(history.filter((type) => type === 'shipping.label.created')).toHaveLength(1);
  });

  test('is returned again for the same key or the same address, and another address is rejected', async () => {
    const id = await confirmed();
    const first = await ship(id, home, 'once');
    const second = await ship(id, home, 'once');
    expect([second.status, second.body]).toEqual([201, first.body]);
    expect(second.headers.get('idempotent-replayed')).toBe('true');
    expect((await ship(id)).body).toEqual(first.body);
    const other = await ship(id, { ...home, line1: 'Elsewhere 1' });
    expect([other.status, other.body.code]).toEqual([409, 'conflict']);
  });

  test('is not created for an order that is unpaid, cancelled or unknown', async () => {
    await addProduct(store, 'DEAR', 5, 10);
    const unpaid = await free(undefined, 'DEAR');
    const early = await ship(unpaid);
    expect([early.status, early.body.code, early.body.detail]).toEqual([
      409,
      'conflict',
      'The order is created, not confirmed.',
    ]);
    const cancelled = await confirmed();
    await store.send('POST', `/v1/orders/${cancelled}/cancel`);
    expect((await ship(cancelled)).body.detail).toBe('The order is cancelled, not confirmed.');
    expect((await ship('019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f')).body.errors[0].pointer).toBe('/orderId');
  });

  test('that cannot be printed is rejected with the field of the address, and created once the address is corrected', async () => {
    const id = await confirmed();
    const refused = await ship(id, unprintable);
    expect([refused.status, refused.body.code]).toEqual([422, 'validation_failed']);
    expect(refused.body.errors).toEqual([
      { pointer: '/address/line1', detail: expect.stringContaining('no Latin letters are known') },
    ]);
    await store.settled();
    expect(await deadLettersOf(id)).toEqual([]);
    expect((await ship(id)).status).toBe(201);
  });

  test('rejected permanently becomes a dead letter at once; a corrected address creates it, and the replay changes nothing', async () => {
    const id = await free(unprintable);
    await until(async () => (await deadLettersOf(id)).length > 0);
    const [deadLetter] = await deadLettersOf(id);
    expect(deadLetter).toMatchObject({
      topic: 'order.confirmed',
      reason: expect.stringMatching(/^manual: to\.line1: no Latin letters/),
    });
    expect(await orderOf(id)).toMatchObject({ status: 'confirmed', shipment: null });
    const { body: shipment } = await ship(id);
    expect((await store.send('POST', `/v1/dead-letters/${deadLetter?.id}/replay`)).status).toBe(202);
    await until(() => store.logs().some((line) => line.id === deadLetter?.eventId && line.outcome === 'ok'));
    expect(await deadLettersOf(id)).toEqual([]);
    expect((await orderOf(id)).shipment).toEqual(shipment);
    expect((await historyOf(id)).filter((type) => type === 'shipping.label.created')).toHaveLength(1);
  });

  test('rejected permanently and replayed without a correction becomes a dead letter again', async () => {
    const id = await free(unprintable);
    await until(async () => (await deadLettersOf(id)).length > 0);
    const [deadLetter] = await deadLettersOf(id);
    await store.send('POST', `/v1/dead-letters/${deadLetter?.id}/replay`);
    await until(async () => (await deadLettersOf(id, 'all')).length === 2);
    expect(await deadLettersOf(id)).toHaveLength(1);
  });

  test('whose message was lost is created after the cron has noticed it', async () => {
    const id = await confirmed();
    await store.database.query(
      `insert into shipping.label_requests (order_id, tenant_id, shipment_id, status, address, attempts, leased_until,
         tried_at, created_at)
       values ($1, 'default', '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f', 'open', $2, 1, now() - interval '14 minutes',
         now() - interval '15 minutes', now() - interval '1 hour')`,
      [id, JSON.stringify(home)],
    );
    await store.cron();
    expect(await shipped(id)).toMatchObject({ id: '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f' });
    expect(await historyOf(id)).toContain('shipping.label.requested');
    await store.cron('* * * * *', new Date(Date.now() + 3_600_000));
    expect((await historyOf(id)).filter((type) => type === 'shipping.label.requested')).toHaveLength(1);
  });

  test('is not visible to another tenant', async () => {
    const { id } = await shipped(await free(home));
    const key = await store.database.key({ tenant: 'acme' });
    expect((await store.send('GET', `/v1/shipments/${id}`, undefined, { key })).status).toBe(404);
    expect((await labelOf(id, key)).status).toBe(404);
    const order = await confirmed();
    const foreign = await store.send('POST', '/v1/shipments', { orderId: order, address: home }, { key });
    expect([foreign.status, foreign.body.errors?.[0]?.pointer]).toEqual([422, '/orderId']);
    expect(await requestOf(order)).toBeUndefined();
    const readOnly = await store.database.key({ scopes: ['shipping:read'] });
    const forbidden = await store.send('POST', '/v1/shipments', { orderId: order, address: home }, { key: readOnly });
    expect(forbidden.body.code).toBe('forbidden');
    const publishable = await store.database.key({ kind: 'publishable' });
    expect((await labelOf(id, publishable)).status).toBe(403);
  });

  test('is stored in the bucket if one is bound, and read from there', async () => {
    const runtime = new Miniflare(
      convertV4MiniflareOptions({ modules: true, script: 'export default {}', r2Buckets: ['LABELS'] }),
    );
    try {
      const bucket = (await runtime.getR2Bucket('LABELS')) as unknown as R2Bucket;
      const settings = settingsOf({
        DATABASE_URL: store.database.workerUrl,
        DATABASE_JOB_SECRET: jobSecret,
        NEON_HTTP_URL: store.bridge.url,
        KAFKA_REST_URL: store.kafka.url,
        KAFKA_REST_USERNAME: 'dev',
        KAFKA_REST_PASSWORD: 'dev',
        STRIPE_SECRET_KEY: 'sk_test_dev',
        STRIPE_WEBHOOK_SECRET: 'whsec_dev',
        PUBLIC_URL: 'https://shop.test/',
        LABELS: bucket,
      } as unknown as Bindings);
      const keyHash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(store.key));
      const call = { keyHash: Buffer.from(keyHash).toString('hex') };
      const context = { db: openDatabase(settings.cells, defaultCell), settings, call, now: () => new Date() };
      const { shipment } = await requestShipment(context, { orderId: await confirmed(), address: home });
      expect(shipment.labelUrl).toBe(`https://shop.test/v1/shipments/${shipment.id}/label`);
      const file = `default/${shipment.id}.pdf`;
      expect(await (await bucket.get(file))?.bytes()).toEqual((await labelOf(shipment.id)).bytes);
      await bucket.put(file, 'as it was stored');
      expect(new TextDecoder().decode((await readLabel(context, shipment.id)).pdf)).toBe('as it was stored');
      await bucket.delete(file);
      const { pdf } = await readLabel(context, shipment.id);
      expect(pdf).toEqual((await labelOf(shipment.id)).bytes);
      expect(await (await bucket.get(file))?.bytes()).toEqual(pdf);
      const { customerId } = await orderOf(shipment.orderId);
      await deleteLabels({ ...context, call: {} }, 'default', [customerId]); // as the consumer of customer.erased does
      expect(await bucket.get(file)).toBeNull();
    } finally {
      await runtime.dispose();
    }
  });
});

describe('the shipping settings', () => {
  const base = {
    DATABASE_URL: 'postgres://x',
    DATABASE_JOB_SECRET: jobSecret,
    KAFKA_REST_URL: 'http://x',
    KAFKA_REST_USERNAME: 'x',
    KAFKA_REST_PASSWORD: 'x',
    STRIPE_SECRET_KEY: 'x',
    STRIPE_WEBHOOK_SECRET: 'x',
  };
  const read = (more: object) => settingsOf({ ...base, ...more } as unknown as Bindings);

  test('need the variables of their carrier, and a sender for a real carrier', () => {
    expect(read({})).toMatchObject({ CARRIER: 'manual', SHIP_PARCEL: { weightGrams: 500 } });
    expect(() => read({ CARRIER: 'shippo' })).toThrow('SHIP_FROM');
    const SHIP_FROM = JSON.stringify(home);
    expect(() => read({ CARRIER: 'shippo', SHIP_FROM })).toThrow('needs the variable SHIPPO_API_KEY');
    const keys = { SHIPPO_API_KEY: 'a', SHIPPO_WEBHOOK_SECRET: 'b' };
    expect(read({ CARRIER: 'shippo', SHIP_FROM, ...keys }).SHIP_FROM).toEqual(home);
    for (const wrong of ['{', '{}', '[]']) expect(() => read({ SHIP_FROM: wrong })).toThrow('SHIP_FROM');
    expect(() => read({ SHIP_PARCEL: '{"weightGrams":0}' })).toThrow('SHIP_PARCEL');
  });
});
