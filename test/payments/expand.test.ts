import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { NeonBridgeOptions } from '../../dev/neon/bridge.ts';
import { mulberry32 } from '../../dev/stripe/webhooks.ts';
import { addProduct, oneLine, type Send, type Store, startStore, until } from '../support/harness.ts';
import { eventsOf, type PaymentFixture, paymentFixture } from '../support/payments.ts';

// `POST /v1/orders` with `expand: ["payment"]`: the order and its PaymentIntent in one request.

let store: Store;
let shop: PaymentFixture;
let neonFault: NonNullable<NeonBridgeOptions['fault']> | undefined;
beforeAll(async () => {
  store = await startStore({ neonFault: (call) => neonFault?.(call) });
  shop = paymentFixture(store);
});
afterEach(async () => {
  neonFault = undefined;
  await shop.clearFaults();
  await shop.webhooks({ lose: 0 });
});
afterAll(() => store.close());

const seed = Number(process.env.SEED ?? 20261203);
const minutes = (count: number) => new Date(Date.now() + count * 60_000);
const inMinutes = (count: number) => store.cron('* * * * *', minutes(count));

async function newSku(stock = 5, price = 30): Promise<string> {
  const sku = `EXPAND-${randomUUID()}`;
  await addProduct(store, sku, stock, price);
  return sku;
}

const place = (sku: string, options: Send = {}, more: Record<string, unknown> = {}) =>
  store.send('POST', '/v1/orders', oneLine(sku, 1, { expand: ['payment'], ...more }), options);

const intentsOf = async (orderId: string) =>
  (await shop.state()).intents.filter((intent) => intent.metadata.orderId === orderId);

const storedPayment = async (orderId: string) => {
  const [row] = await store.database.query<{ intent: string | null; secret: string | null; status: string }>(
    `select stripe_payment_intent_id as intent, client_secret as secret, status from payments.payments
     where order_id = $1`,
    [orderId],
  );
  return row;
};
const isRecorded = async (orderId: string) => (await storedPayment(orderId))?.intent !== null;

/** Loses every call that records PaymentIntents. The relay, whose turns record them, then dies too. */
const loseRecords = () => {
  neonFault = ({ statements }) =>
    statements.some(({ query }) => query.includes('payments.record_intents')) ? { kind: 'lose-request' } : undefined;
};
/** Ends the loss, and the leases of the relays that died. */
const endLoss = async () => {
  neonFault = undefined;
  await store.database.query('update platform.outbox set due_at = now()');
  await store.cron();
};

describe('an order with expand: ["payment"]', () => {
  test('has its payment with the client secret, in one database call, and the relay records the intent', async () => {
    const sku = await newSku();
    await store.settled();
    const placed = await place(sku);
    expect(placed.status).toBe(201);
    expect(placed.headers.get('server-timing')).toContain('1 calls');
    const { id, payment } = placed.body;
    expect(payment).toMatchObject({ orderId: id, amount: 30, currency: 'USD', status: 'pending', failureReason: null });
    expect(payment.clientSecret).toMatch(/^pi_\w+_secret_/);
    expect(Object.keys(payment).sort()).toEqual(Object.keys(await shop.paymentOf(payment.id)).sort());
    await until(() => isRecorded(id));
    expect(await storedPayment(id)).toEqual({
      intent: payment.stripePaymentIntentId,
      secret: payment.clientSecret,
      status: 'pending',
    });
    await store.settled();
    expect(await shop.historyOf(id)).toEqual(['order.created', 'inventory.reserved', 'payment.created']);
    expect((await store.send('GET', `/v1/events?key=${payment.id}`)).body.data[0]).toMatchObject({
      type: 'payment.created',
      data: { paymentId: payment.id, orderId: id, amount: 30, currency: 'USD', status: 'pending' },
    });
    expect(await intentsOf(id)).toHaveLength(1);
    await shop.pay(payment.stripePaymentIntentId);
    await until(async () => (await shop.orderOf(id)).status === 'confirmed');
    await shop.quiet();
    await shop.audit();
  });

  test('leaves the consumer of inventory.reserved nothing to do, unlike an order without expand', async () => {
    const sku = await newSku();
    await store.settled();
    const isAboutPayment = (line: Record<string, unknown>) =>
      line.service === 'payments' && line.topic === 'inventory.reserved';
    const before = store.logs().filter(isAboutPayment).length;
    await place(sku);
    await store.settled();
    await sleep(200);
    expect(store.logs().filter(isAboutPayment)).toHaveLength(before);
    await store.send('POST', '/v1/orders', oneLine(sku));
    await until(() => store.logs().filter(isAboutPayment).length === before + 1);
  });

  test('is rejected for another value, for a repeated one, and with Prefer: respond-async', async () => {
    const sku = await newSku();
    for (const expand of [['shipment'], ['payment', 'payment'], 'payment']) {
      const { status, body } = await place(sku, {}, { expand });
      expect([status, body.code]).toEqual([422, 'validation_failed']);
      expect(body.errors[0].pointer).toMatch(/^\/expand/);
    }
    const { status, body } = await place(sku, { headers: { prefer: 'respond-async' } });
    expect([status, body.errors[0].pointer]).toEqual([422, '/expand']);
    expect(await shop.stockOf(sku)).toEqual({ quantity: 5, reserved: 0 });
    const none = await place(sku, {}, { expand: [] });
    expect([none.status, none.body.payment]).toEqual([201, null]);
  });

  test('without stock opens no payment, and without a price is confirmed', async () => {
    const sold = await newSku(0);
    const short = await place(sold);
    expect([short.status, short.body.code]).toEqual([409, 'insufficient_inventory']);
    expect(await storedPayment(short.body.orderId)).toBeUndefined();
    const free = await place(await newSku(1, 0));
    expect([free.status, free.body.payment]).toEqual([201, null]);
    await until(async () => (await shop.orderOf(free.body.id)).status === 'confirmed');
    expect(await storedPayment(free.body.id)).toBeUndefined();
  });
});

describe('a repetition with the same Idempotency-Key', () => {
  test('returns the same payment and client secret, before and after it is paid, and stores no secret with it', async () => {
    const sku = await newSku();
    const ask = { idempotencyKey: randomUUID() };
    const first = await place(sku, ask);
    const second = await place(sku, ask);
    expect([second.status, second.body, second.headers.get('idempotent-replayed')]).toEqual([201, first.body, 'true']);
    await shop.pay(first.body.payment.stripePaymentIntentId);
    await until(async () => (await shop.orderOf(first.body.id)).status === 'confirmed');
    expect((await place(sku, ask)).body).toEqual(first.body);
    expect(await intentsOf(first.body.id)).toHaveLength(1);
    const stored = await store.database.query<{ answer: string }>(
      'select answer::text from platform.idempotency where key = $1',
      [ask.idempotencyKey],
    );
    expect(stored).toHaveLength(1);
    expect(stored[0]?.answer).toContain(first.body.payment.id);
    expect(stored[0]?.answer).not.toContain(first.body.payment.clientSecret);
    const other = await store.send('POST', '/v1/orders', oneLine(sku), ask);
    expect([other.status, other.body.code]).toEqual([422, 'idempotency_key_reused']);
  });

  test('sent many times at once places one order with one intent, and all get it in the end', async () => {
    const sku = await newSku();
    const ask = { idempotencyKey: randomUUID() };
    const attempt = async () => {
      for (;;) {
        const reply = await place(sku, ask);
        if (reply.body.code !== 'idempotency_in_progress') return reply;
        await sleep(10);
      }
    };
    const replies = await Promise.all(Array.from({ length: 8 }, attempt));
    expect(replies.map(({ status }) => status)).toEqual(replies.map(() => 201));
    expect(new Set(replies.map(({ body }) => JSON.stringify(body))).size).toBe(1);
    expect(await intentsOf(replies[0]?.body.id)).toHaveLength(1);
    expect(await shop.stockOf(sku)).toEqual({ quantity: 4, reserved: 1 });
  });
});

describe('the intent of an order that was placed with its payment', () => {
  test(`is the one that a concurrent POST /v1/payments gets (seed ${seed})`, async () => {
    const random = mulberry32(seed);
    const sku = await newSku(10);
    await Promise.all(
      Array.from({ length: 10 }, async (_, index) => {
        const customerId = `racer-${index}`;
        const placed = place(sku, {}, { customerId });
        const orderId = await (async () => {
          for (;;) {
            const { body } = await store.send('GET', `/v1/orders?customerId=${customerId}`);
            if (body.data.length > 0) return body.data[0].id as string;
          }
        })();
        await sleep(random() * 10);
        const [first, second] = await Promise.all([placed, store.send('POST', '/v1/payments', { orderId })]);
        expect([first.status, second.status]).toEqual([201, 201]);
        expect(second.body).toEqual(first.body.payment);
        expect(await intentsOf(orderId)).toHaveLength(1);
      }),
    );
    await shop.quiet();
    await shop.audit();
  });

  test('confirms the order if the webhook arrives before it is recorded', async () => {
    const sku = await newSku();
    loseRecords();
    const { body: order } = await place(sku);
    const { payment } = order;
    expect(await storedPayment(order.id)).toMatchObject({ intent: null, status: 'pending' });
    await shop.webhooks({ lose: 1 });
    await shop.pay(payment.stripePaymentIntentId);
    const events = eventsOf(payment.id, payment.stripePaymentIntentId, 3000, { orderId: order.id, tenant: 'default' });
    const succeeded = events.intent('succeeded', 'succeeded', { amount_received: 3000 });
    expect((await shop.deliver(succeeded)).status).toBe(200);
    expect((await shop.orderOf(order.id)).status).toBe('confirmed');
    expect(await shop.paymentOf(payment.id)).toMatchObject({
      status: 'succeeded',
      stripePaymentIntentId: payment.stripePaymentIntentId,
    });
    await endLoss();
    await shop.quiet();
    await shop.audit();
  });

  test('is applied once when the webhook and the record are concurrent', async () => {
    const sku = await newSku(8);
    const orders = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const { body: order } = await place(sku);
        const { id, stripePaymentIntentId: intent } = order.payment;
        const names = { orderId: order.id, tenant: 'default' };
        const paid = shop.pay(intent);
        const events = eventsOf(id, intent, 3000, names);
        await shop.deliver(events.intent('succeeded', 'succeeded', { amount_received: 3000 }));
        await paid;
        return order;
      }),
    );
    await shop.quiet();
    for (const { id } of orders) expect((await shop.orderOf(id)).status).toBe('confirmed');
    await shop.audit();
  });

  test('is recorded by the cron if the Worker ends before it has recorded it', async () => {
    const sku = await newSku();
    loseRecords();
    const { body: order } = await place(sku);
    await until(() => store.logs().some((line) => line.kind === 'relay' && line.outcome === 'failed'));
    expect(await isRecorded(order.id)).toBe(false);
    await endLoss();
    await inMinutes(6);
    expect(await storedPayment(order.id)).toMatchObject({
      intent: order.payment.stripePaymentIntentId,
      secret: order.payment.clientSecret,
    });
    expect(await intentsOf(order.id)).toHaveLength(1);
  });

  test('is closed if the order is cancelled before it is recorded', async () => {
    const sku = await newSku();
    loseRecords();
    const { body: order } = await place(sku);
    const cancelled = await store.send('POST', `/v1/orders/${order.id}/cancel`);
    expect(cancelled.body.status).toBe('cancelled');
    await endLoss();
    await until(async () => {
      await store.cron();
      return (await intentsOf(order.id))[0]?.status === 'canceled';
    });
    await shop.quiet();
    expect(await intentsOf(order.id)).toHaveLength(1);
    await shop.audit();
  });
});

describe('while Stripe is unavailable', () => {
  const ways = {
    'it returns 503': { action: 'status', status: 503, saved: false },
    'it returns 500, and repeats that for 24 hours': { action: 'status', status: 500, saved: true },
    'it drops the connection before it acts': { action: 'drop', acts: false },
    'it drops the connection after it has acted': { action: 'drop', acts: true },
    'it never responds': { action: 'hang' },
  };
  for (const [what, fault] of Object.entries(ways)) {
    test(`(${what}) the client gets 503, the order stands, and the same key continues with it`, async () => {
      const sku = await newSku();
      await shop.fault({ times: 1000, method: 'POST', path: '/v1/payment_intents', ...fault });
      const ask = { idempotencyKey: randomUUID() };
      const away = await place(sku, ask);
      expect([away.status, away.body.code, away.headers.get('retry-after')]).toEqual([503, 'unavailable', '1']);
      expect(await shop.stockOf(sku)).toEqual({ quantity: 4, reserved: 1 });
      await shop.clearFaults();
      const back = await place(sku, ask);
      expect([back.status, back.body.status]).toEqual([201, 'created']);
      expect(back.body.payment.clientSecret).toMatch(/^pi_\w+_secret_/);
      expect((await place(sku, ask)).body).toEqual(back.body);
      expect(await shop.stockOf(sku)).toEqual({ quantity: 4, reserved: 1 });
      await shop.pay(back.body.payment.stripePaymentIntentId);
      await until(async () => (await shop.orderOf(back.body.id)).status === 'confirmed');
      const intents = await intentsOf(back.body.id);
      expect(intents.filter(({ status }) => status === 'succeeded')).toHaveLength(1);
    });
  }

  test('the cron makes the intent later, and the same key returns it', async () => {
    const sku = await newSku();
    await shop.fault({ times: 1000, path: '/v1/payment_intents', action: 'status', status: 503, saved: false });
    const ask = { idempotencyKey: randomUUID() };
    expect((await place(sku, ask)).status).toBe(503);
    const { body: page } = await store.send('GET', '/v1/orders?limit=1');
    const [order] = page.data;
    await inMinutes(6);
    expect((await shop.orderOf(order.id)).payment.clientSecret).toBeNull();
    await shop.clearFaults();
    await inMinutes(12);
    expect((await shop.orderOf(order.id)).payment.clientSecret).toMatch(/^pi_\w+_secret_/);
    expect((await place(sku, ask)).body.payment).toEqual((await shop.orderOf(order.id)).payment);
  });
});

test('a payment that Stripe rejects permanently fails the order, and the same key gets the same error', async () => {
  await shop.removeChargeLimits();
  const sku = await newSku(5, 0.1);
  const ask = { idempotencyKey: randomUUID() };
  const refused = await place(sku, ask);
  expect([refused.status, refused.body.code]).toEqual([409, 'order_not_payable']);
  const { body: page } = await store.send('GET', '/v1/orders?limit=1');
  expect(page.data[0]).toMatchObject({ status: 'failed', payment: { status: 'failed' } });
  expect(await shop.stockOf(sku)).toEqual({ quantity: 5, reserved: 0 });
  const again = await place(sku, ask);
  expect([again.status, again.body.code]).toEqual([409, 'order_not_payable']);
});
