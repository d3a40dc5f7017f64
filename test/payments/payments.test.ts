import Stripe from 'stripe';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';

let store: Store;
let stripe: Stripe;
beforeAll(async () => {
  store = await startStore();
  const { hostname, port } = new URL(store.stripe.url);
  stripe = new Stripe('sk_test_dev', { host: hostname, port, protocol: 'http', maxNetworkRetries: 0 });
});
afterAll(() => store.close());

const stockOf = async (sku: string) => {
  const [row] = await store.database.query<{ quantity: number; reserved: number }>(
    'select quantity, reserved from inventory.inventory where sku = $1',
    [sku],
  );
  return row;
};

const orderOf = async (id: string) => (await store.send('GET', `/v1/orders/${id}`)).body;
const paymentOf = async (id: string) => (await store.send('GET', `/v1/payments/${id}`)).body;
const historyOf = async (id: string): Promise<string[]> =>
  (await store.send('GET', `/v1/orders/${id}/events?limit=100`)).body.data.map((event: { type: string }) => event.type);

/** An order with its payment, before the buyer enters a card. */
async function checkout(sku: string, quantity = 1) {
  const { body: order } = await store.send('POST', '/v1/orders', oneLine(sku, quantity));
  const { status, body: payment } = await store.send('POST', '/v1/payments', { orderId: order.id });
  expect(status).toBe(201);
  return { order, payment, intent: payment.stripePaymentIntentId as string };
}

/** The buyer confirms the payment in the browser. */
async function pay(intent: string, card = 'pm_card_visa') {
  try {
    await stripe.paymentIntents.confirm(intent, { payment_method: card, return_url: 'https://shop.test' });
  } catch (error) {
    if (!(error instanceof Stripe.errors.StripeCardError)) throw error;
  }
}

describe('paying an order', () => {
  test('confirms it and commits its hold', async () => {
    await addProduct(store, 'PAID', 10, 29.99);
    const { order, payment, intent } = await checkout('PAID', 2);
    expect(payment).toMatchObject({ orderId: order.id, amount: 59.98, currency: 'USD', status: 'pending' });
    expect(payment.clientSecret).toMatch(/^pi_.*_secret_/);
    expect((await stripe.paymentIntents.retrieve(intent)).amount).toBe(5998);
    await pay(intent);
    await until(async () => (await orderOf(order.id)).status === 'confirmed');
    expect(await orderOf(order.id)).toMatchObject({
      reservation: { status: 'committed', expiresAt: null },
      payment: { id: payment.id, status: 'succeeded', clientSecret: null },
    });
    expect(await stockOf('PAID')).toEqual({ quantity: 8, reserved: 0 });
    expect((await historyOf(order.id)).slice(0, 5)).toEqual([
      'order.created',
      'inventory.reserved',
      'payment.created',
      'payment.succeeded',
      'order.confirmed',
    ]);
  });

  test('creates one payment and one intent, though the consumer and the API both create it', async () => {
    await addProduct(store, 'SAME', 50);
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('SAME'));
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => store.send('POST', '/v1/payments', { orderId: order.id })),
    );
    await store.settled();
    const intents = new Set(answers.map((answer) => answer.body.stripePaymentIntentId));
    expect(answers.map((answer) => answer.status)).toEqual(Array(10).fill(201));
    expect(intents.size).toBe(1);
    const { data } = await stripe.paymentIntents.list({ limit: 100 });
    expect(data.filter((intent) => intent.metadata.orderId === order.id)).toHaveLength(1);
  });

  test('is possible for an order without a request for its payment, because the queue creates one', async () => {
    await addProduct(store, 'QUEUED', 5);
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('QUEUED'));
    await until(async () => typeof (await orderOf(order.id)).payment?.clientSecret === 'string');
  });

  test('with a declined card leaves the order payable with another card', async () => {
    await addProduct(store, 'DECLINED', 5);
    const { order, payment, intent } = await checkout('DECLINED');
    await pay(intent, 'pm_card_chargeDeclinedInsufficientFunds');
    await until(async () => (await paymentOf(payment.id)).failureReason === 'insufficient_funds');
    expect((await paymentOf(payment.id)).status).toBe('pending');
    expect((await orderOf(order.id)).status).toBe('created');
    await pay(intent);
    await until(async () => (await orderOf(order.id)).status === 'confirmed');
    expect(await paymentOf(payment.id)).toMatchObject({ status: 'succeeded', failureReason: null });
    expect(await historyOf(order.id)).not.toContain('payment.failed');
  });

  test('in yen charges without decimals', async () => {
    await addProduct(store, 'YEN', 5, 1200, { currency: 'JPY' });
    const { intent } = await checkout('YEN', 3);
    const made = await stripe.paymentIntents.retrieve(intent);
    expect([made.amount, made.currency]).toEqual([3600, 'jpy']);
  });

  test('with a total of 0 needs no payment and confirms the order', async () => {
    await addProduct(store, 'FREE', 5, 0);
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('FREE'));
    await until(async () => (await orderOf(order.id)).status === 'confirmed');
    expect(await stockOf('FREE')).toEqual({ quantity: 4, reserved: 0 });
    const refused = await store.send('POST', '/v1/payments', { orderId: order.id });
    expect([refused.status, refused.body.code]).toEqual([409, 'order_not_payable']);
  });

  test('with an amount that Stripe rejects fails it at once and returns its stock', async () => {
    await addProduct(store, 'TINY', 5, 0.1);
    await paymentFixture(store).removeChargeLimits();
    const { body: order } = await store.send('POST', '/v1/orders', oneLine('TINY'));
    await until(async () => (await orderOf(order.id)).status === 'failed');
    expect(await orderOf(order.id)).toMatchObject({
      failureReason: 'payment_failed',
      payment: { status: 'failed', failureReason: 'amount_too_small' },
    });
    expect(await stockOf('TINY')).toEqual({ quantity: 5, reserved: 0 });
    const late = await store.send('POST', '/v1/payments', { orderId: order.id });
    expect([late.status, late.body.detail]).toEqual([409, 'The order is failed: amount_too_small.']);
  });
});

describe('after the hold has expired', () => {
  const expire = async (order: { reservation: { expiresAt: string } }) =>
    store.cron('* * * * *', new Date(order.reservation.expiresAt));

  test('the payment fails with its order and is cancelled at Stripe', async () => {
    await addProduct(store, 'LATE', 5);
    const { order, payment, intent } = await checkout('LATE');
    await pay(intent, 'pm_card_chargeDeclined');
    await until(async () => (await paymentOf(payment.id)).failureReason === 'generic_decline');
    await expire(order);
    expect(await paymentOf(payment.id)).toMatchObject({ status: 'failed', failureReason: 'generic_decline' });
    await until(async () => (await stripe.paymentIntents.retrieve(intent)).status === 'canceled');
    expect(await historyOf(order.id)).toContain('payment.failed');
  });

  /** The hold expires, the buyer pays before the intent is closed, and the webhook is lost. */
  async function paidTooLate(sku: string) {
    const { order, payment, intent } = await checkout(sku);
    const emulator = (method: string, path: string, body?: object) =>
      fetch(`${store.stripe.url}/_emulator/${path}`, { method, ...(body && { body: JSON.stringify(body) }) });
    await emulator('POST', 'webhooks', { lose: 1 });
    const path = `/v1/payment_intents/${intent}/cancel`;
    await emulator('POST', 'faults', { times: 1000, method: 'POST', path, action: 'drop', acts: false });
    await store.database.query(
      `update inventory.reservations set expires_at = now() - interval '1 second' where order_id = $1`,
      [order.id],
    );
    await store.cron();
    await pay(intent);
    await emulator('DELETE', 'faults');
    await emulator('POST', 'webhooks', { lose: 0 });
    return { order, payment, intent };
  }

  test('a late payment reserves the stock again if it is available', async () => {
    await addProduct(store, 'AGAIN', 1);
    const { order, payment } = await paidTooLate('AGAIN');
    // The consumer that closes the intent finds that it was paid.
    await until(async () => (await orderOf(order.id)).status === 'confirmed');
    expect(await paymentOf(payment.id)).toMatchObject({ status: 'succeeded' });
    expect(await stockOf('AGAIN')).toEqual({ quantity: 0, reserved: 0 });
    const history = await historyOf(order.id);
    expect(history.filter((type) => type === 'inventory.reserved')).toHaveLength(2);
    expect(history).toContain('order.failed');
    expect(history.at(-1)).toBe('order.confirmed');
  });

  test('a late payment without stock is refunded automatically, and no unit is sold twice', async () => {
    await addProduct(store, 'GONE', 1);
    const { body: first } = await store.send('POST', '/v1/orders', oneLine('GONE'));
    await store.send('POST', '/v1/payments', { orderId: first.id });
    await store.settled();
    const payment = (await orderOf(first.id)).payment;
    // Cancelled and sold to another buyer, so that the sequence is certain.
    await store.send('POST', `/v1/orders/${first.id}/cancel`);
    await store.database.query(
      `update orders.orders set status = 'failed', failure_reason = 'reservation_expired' where id = $1`,
      [first.id],
    );
    const { body: second } = await store.send('POST', '/v1/orders', oneLine('GONE'));
    expect(second.status).toBe('created');
    await until(
      async () => (await stripe.paymentIntents.retrieve(payment.stripePaymentIntentId)).status === 'canceled',
    );
    const event = stripe.webhooks.generateTestHeaderString;
    const payload = JSON.stringify({
      id: 'evt_late',
      object: 'event',
      type: 'payment_intent.succeeded',
      data: {
        object: {
          id: payment.stripePaymentIntentId,
          object: 'payment_intent',
          status: 'succeeded',
          amount: 1000,
          amount_received: 1000,
          currency: 'usd',
          client_secret: null,
          last_payment_error: null,
          metadata: { paymentId: payment.id },
        },
      },
    });
    const header = event({ payload, secret: 'whsec_dev' });
    const reply = await store.send('POST', '/webhooks/stripe', payload, { headers: { 'stripe-signature': header } });
    expect(reply.status).toBe(200);
    const history = await historyOf(first.id);
    expect(history).toContain('payment.succeeded');
    expect(history).toContain('payment.refund.requested');
    expect((await orderOf(first.id)).status).toBe('failed');
    expect(await stockOf('GONE')).toEqual({ quantity: 0, reserved: 1 });
  });
});

describe('returning money', () => {
  async function paid(sku: string, quantity = 1) {
    const made = await checkout(sku, quantity);
    await pay(made.intent);
    await until(async () => (await orderOf(made.order.id)).status === 'confirmed');
    return made;
  }

  test('by cancelling a paid order refunds it and returns its units', async () => {
    await addProduct(store, 'BACK', 5, 20);
    const { order, payment, intent } = await paid('BACK', 2);
    const cancelled = await store.send('POST', `/v1/orders/${order.id}/cancel`);
    expect(cancelled.body.status).toBe('cancelled');
    expect(await stockOf('BACK')).toEqual({ quantity: 5, reserved: 0 });
    await until(async () => (await paymentOf(payment.id)).status === 'refunded');
    const { data } = await stripe.refunds.list({ payment_intent: intent });
    expect(data.map((refund) => refund.amount)).toEqual([4000]);
    expect(await historyOf(order.id)).toContain('payment.refunded');
  });

  test('is not needed for an unpaid order: cancelling it cancels its payment, also at Stripe', async () => {
    await addProduct(store, 'UNPAID', 5);
    const { order, payment, intent } = await checkout('UNPAID');
    await store.send('POST', `/v1/orders/${order.id}/cancel`);
    expect((await paymentOf(payment.id)).status).toBe('cancelled');
    await until(async () => (await stripe.paymentIntents.retrieve(intent)).status === 'canceled');
  });

  test('by concurrent refunds never exceeds what was captured', async () => {
    await addProduct(store, 'RACE', 5, 30);
    const { order, payment, intent } = await paid('RACE');
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 12.5 })),
    );
    expect(answers.filter((answer) => answer.status === 201)).toHaveLength(2);
    expect(answers.filter((answer) => answer.body.code === 'refund_exceeds_payment')).toHaveLength(6);
    const rest = await store.send('POST', `/v1/payments/${payment.id}/refunds`, {});
    expect(rest.body).toMatchObject({ amount: 5, status: 'pending' });
    await until(async () => (await orderOf(order.id)).status === 'refunded');
    const { data } = await stripe.refunds.list({ payment_intent: intent });
    expect(data.reduce((sum, refund) => sum + refund.amount, 0)).toBe(3000);
    expect(await stockOf('RACE')).toEqual({ quantity: 5, reserved: 0 });
  });

  test('by a partial refund leaves the order unchanged', async () => {
    await addProduct(store, 'PART', 5, 30);
    const { order, payment } = await paid('PART');
    await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 10, reason: 'torn' });
    await until(async () => (await historyOf(order.id)).includes('payment.refunded'));
    expect((await orderOf(order.id)).status).toBe('confirmed');
    expect((await paymentOf(payment.id)).status).toBe('succeeded');
  });

  test('at Stripe directly is recorded, and later refunds cannot exceed the rest', async () => {
    await addProduct(store, 'HAND', 5, 30);
    const { payment, intent } = await paid('HAND');
    await stripe.refunds.create({ payment_intent: intent, amount: 2000 });
    await until(async () => {
      const refused = await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 20 });
      return refused.body.code === 'refund_exceeds_payment';
    });
    const left = await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 10 });
    expect(left.status).toBe(201);
    await until(async () => (await paymentOf(payment.id)).status === 'refunded');
  });
});
