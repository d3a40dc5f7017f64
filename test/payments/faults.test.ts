import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { NeonBridgeOptions } from '../../dev/neon/bridge.ts';
import { campaignFixture } from '../support/campaigns.ts';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { type PaymentFixture, paymentFixture } from '../support/payments.ts';
import { jobSecret } from '../support/secrets.ts';

let store: Store;
let shop: PaymentFixture;
/** How far Stripe’s clock is ahead, in milliseconds. */
let ahead = 0;
let neonFault: NonNullable<NeonBridgeOptions['fault']> | undefined;
beforeAll(async () => {
  store = await startStore({ stripe: { now: () => Date.now() + ahead }, neonFault: (call) => neonFault?.(call) });
  shop = paymentFixture(store);
});
afterEach(async () => {
  neonFault = undefined;
  await shop.clearFaults();
  await shop.webhooks({ lose: 0 });
});
afterAll(() => store.close());

const minutes = (count: number) => new Date(Date.now() + count * 60_000);

const place = async (sku: string) => (await store.send('POST', '/v1/orders', oneLine(sku))).body;

const intentsOf = async (orderId: string) =>
  (await shop.state()).intents.filter((intent) => intent.metadata.orderId === orderId);

const refundsOf = async (intent: string) =>
  (await shop.state()).refunds.filter((refund) => refund.payment_intent === intent);

const openRefunds = async (paymentId: string) =>
  store.database.query<{ attempt: number }>(
    `select attempt from payments.refunds where payment_id = $1 and status = 'pending'`,
    [paymentId],
  );

/** A confirmed order with its successful payment. */
async function paid(sku: string, card = 'pm_card_visa', price = 30) {
  await addProduct(store, sku, 5, price);
  const made = await shop.checkout(sku);
  await shop.pay(made.intent, card);
  await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
  return made;
}

describe('while Stripe is unavailable', () => {
  const ways = {
    'it returns 503': { action: 'status', status: 503, saved: false },
    'it returns 500, and repeats that for 24 hours': { action: 'status', status: 500, saved: true },
    'it drops the connection before it acts': { action: 'drop', acts: false },
    'it drops the connection after it has acted': { action: 'drop', acts: true },
    'it returns 429': { action: 'status', status: 429 },
    'it never responds': { action: 'hang' },
  };
  for (const [what, fault] of Object.entries(ways)) {
    test(`(${what}) the client gets 503, and later the payment with the same key and one intent`, async () => {
      const sku = `AWAY-${randomUUID()}`;
      await addProduct(store, sku, 5);
      await shop.fault({ times: 1000, method: 'POST', path: '/v1/payment_intents', ...fault });
      const order = await place(sku);
      const ask = { idempotencyKey: randomUUID() };
      const away = await store.send('POST', '/v1/payments', { orderId: order.id }, ask);
      expect([away.status, away.body.code]).toEqual([503, 'unavailable']);
      expect(away.headers.get('retry-after')).toBe('1');
      expect((await shop.orderOf(order.id)).status).toBe('created');
      await shop.clearFaults();
      const back = await store.send('POST', '/v1/payments', { orderId: order.id }, ask);
      expect([back.status, back.body]).toEqual([201, expect.anything()]);
      const again = await store.send('POST', '/v1/payments', { orderId: order.id }, ask);
      expect([again.status, again.body]).toEqual([201, back.body]);
      expect(await intentsOf(order.id)).toMatchObject([{ id: back.body.stripePaymentIntentId }]);
      await shop.pay(back.body.stripePaymentIntentId);
      await until(async () => (await shop.orderOf(order.id)).status === 'confirmed');
    });
  }

  test('the queue delivers the order again until its payment has an intent', async () => {
    await addProduct(store, 'REQUEUED', 5);
    await shop.fault({ times: 1000, path: '/v1/payment_intents', action: 'status', status: 503, saved: false });
    const order = await place('REQUEUED');
    const retries = () => store.logs().filter((line) => line.outcome === 'retry' && line.service === 'payments');
    const before = retries().length;
    // A retry may be that of an earlier order, so the payment of this one must be there too.
    await until(async () => retries().length > before && (await shop.orderOf(order.id)).payment !== null);
    expect((await shop.orderOf(order.id)).payment.clientSecret).toBeNull();
    await shop.clearFaults();
    await until(async () => typeof (await shop.orderOf(order.id)).payment.clientSecret === 'string');
    expect(await intentsOf(order.id)).toHaveLength(1);
  });

  test('the cron creates the missing intents in a later turn', async () => {
    await addProduct(store, 'CRON', 5);
    await shop.fault({
      times: 1000,
      method: 'POST',
      path: '/v1/payment_intents',
      action: 'status',
      status: 503,
      saved: false,
    });
    const orders = await Promise.all([place('CRON'), place('CRON'), place('CRON')]);
    await until(async () =>
      (await Promise.all(orders.map(({ id }) => shop.orderOf(id)))).every((order) => order.payment),
    );
    await store.cron('* * * * *', minutes(6));
    const [turn] = store
      .logs()
      .filter((line) => String(line.id).startsWith('reconcile-payments'))
      .slice(-1);
    expect(turn).toMatchObject({ outcome: 'ok', failed: 3 });
    await shop.clearFaults();
    await store.cron('* * * * *', minutes(12));
    for (const { id } of orders) {
      expect((await shop.orderOf(id)).payment.clientSecret).toMatch(/^pi_/);
      expect(await intentsOf(id)).toHaveLength(1);
    }
  });

  test('an order can be cancelled, and its intent is closed later', async () => {
    await addProduct(store, 'CLOSING', 5);
    const { order, intent } = await shop.checkout('CLOSING');
    await shop.fault({ times: 4, path: `/v1/payment_intents/${intent}`, action: 'drop', acts: false });
    expect((await store.send('POST', `/v1/orders/${order.id}/cancel`)).body.status).toBe('cancelled');
    await until(async () => (await intentsOf(order.id))[0]?.status === 'canceled');
    await shop.quiet();
    expect(await shop.rowsOfOrder(order.id)).toMatchObject({ payments: [{ status: 'cancelled', intent_open: false }] });
  });
});

describe('an intent that the database does not know', () => {
  const loseAnswers = () => {
    neonFault = ({ statements }) =>
      statements.some(({ query }) => query.includes('payments.record_intent')) ? { kind: 'lose-request' } : undefined;
  };
  /** Stripe creates the intent of an order, and no response of Stripe reaches the database. */
  async function unknownIntent(sku: string) {
    await addProduct(store, sku, 5);
    loseAnswers();
    const order = await place(sku);
    await until(async () => (await intentsOf(order.id)).length === 1);
    return order;
  }
  async function isClosed(orderId: string) {
    const [payment] = (await shop.rowsOfOrder(orderId)).payments;
    expect(payment?.status).toMatch(/^(cancelled|failed)$/);
    neonFault = undefined;
    await store.cron('* * * * *', minutes(30));
    await store.cron('* * * * *', minutes(36));
    await shop.quiet();
    expect((await intentsOf(orderId)).map(({ status }) => status)).toEqual(['canceled']);
    expect((await shop.rowsOfOrder(orderId)).payments).toMatchObject([{ status: payment?.status, intent_open: false }]);
  }

  test('is cancelled after its order was cancelled', async () => {
    const order = await unknownIntent('UNKNOWN-CANCELLED');
    await store.send('POST', `/v1/orders/${order.id}/cancel`);
    await isClosed(order.id);
  });

  test('is cancelled after the hold of its order expired', async () => {
    const order = await unknownIntent('UNKNOWN-EXPIRED');
    await until(async () => (await shop.orderOf(order.id)).reservation?.expiresAt !== undefined);
    // The cron fails without the database’s responses, but still expires the holds.
    await expect(store.cron('* * * * *', minutes(20))).rejects.toThrow();
    await until(async () => (await shop.orderOf(order.id)).status === 'failed');
    await isClosed(order.id);
  });

  test('is cancelled after its place in a campaign was released', async () => {
    const fixture = campaignFixture(store);
    const campaign = await fixture.start('UNKNOWN-LEFT', 5, { minParticipants: 3 });
    loseAnswers();
    const { body: joined } = await fixture.join(campaign.id, 'user-1');
    await until(async () => (await intentsOf(joined.orderId)).length === 1);
    await fixture.leave(campaign.id, 'user-1');
    await isClosed(joined.orderId);
  });

  test('is no longer searched for once Stripe has refused to create it', async () => {
    await shop.removeChargeLimits();
    await addProduct(store, 'REFUSED-LATE', 5, 0.1);
    await shop.fault({ times: 1000, method: 'POST', path: '/v1/payment_intents', action: 'drop', acts: false });
    const order = await place('REFUSED-LATE');
    await until(async () => (await shop.orderOf(order.id)).payment);
    await store.send('POST', `/v1/orders/${order.id}/cancel`);
    expect((await shop.rowsOfOrder(order.id)).payments).toMatchObject([{ status: 'cancelled', intent_open: true }]);
    await shop.clearFaults();
    await store.cron('* * * * *', minutes(6));
    await shop.quiet();
    expect(await intentsOf(order.id)).toEqual([]);
    expect((await shop.rowsOfOrder(order.id)).payments).toMatchObject([{ status: 'cancelled', intent_open: false }]);
  });
});

describe('a refund whose response is lost', () => {
  const isRetry = (line: Record<string, unknown>) =>
    line.outcome === 'retry' && line.topic === 'payment.refund.requested';
  const ways = {
    'with a dropped connection': { action: 'drop', acts: true },
    'with an error that Stripe repeats': { action: 'status', status: 500, saved: true, acts: true },
    'with an error before it was made': { action: 'status', status: 500, saved: true, acts: false },
  };
  for (const [what, fault] of Object.entries(ways)) {
    test(`${what} is made once`, async () => {
      const { payment, intent } = await paid(`LOST-${randomUUID()}`);
      // Otherwise the webhook would report the refund.
      await shop.webhooks({ lose: 1 });
      await shop.fault({ times: 2, method: 'POST', path: '/v1/refunds', ...fault });
      await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 12.5 });
      await until(async () => (await openRefunds(payment.id)).length === 0);
      expect(await refundsOf(intent)).toMatchObject([{ amount: 1250 }]);
      expect((await store.send('GET', `/v1/payments/${payment.id}/refunds`)).body.data).toMatchObject([
        { amount: 12.5, status: 'succeeded' },
      ]);
    });
  }

  test('is not recorded as failed because a later try finds no money left', async () => {
    const { payment, intent } = await paid('LATE-EFFECT');
    await shop.webhooks({ lose: 1 });
    const before = store.logs().filter(isRetry).length;
    await shop.fault({ times: 1000, method: 'POST', path: '/v1/refunds', action: 'drop', acts: false });
    await store.send('POST', `/v1/payments/${payment.id}/refunds`);
    await until(() => store.logs().filter(isRetry).length > before);
    const [row] = await store.database.query<{ id: string }>(`select id from payments.refunds where payment_id = $1`, [
      payment.id,
    ]);
    // The effect of a try that has used another idempotency key. The store's next try comes a second later.
    await shop.clearFaults();
    const metadata = { refundId: row?.id ?? '', paymentId: payment.id };
    await shop.stripe.refunds.create({ payment_intent: intent, metadata });
    await until(async () => (await openRefunds(payment.id)).length === 0);
    expect((await store.send('GET', `/v1/payments/${payment.id}/refunds`)).body.data).toMatchObject([
      { id: row?.id, amount: 30, status: 'succeeded' },
    ]);
    // A rejection that arrives after the refund changes nothing.
    const refund = {
      id: row?.id,
      stripeId: null,
      status: 'failed',
      amount: '30.00',
      failure: 'charge_already_refunded',
    };
    await store.database.query('select payments.apply_stripe($1, $2)', [{ jobSecret }, { intentId: intent, refund }]);
    expect((await shop.paymentOf(payment.id)).status).toBe('refunded');
  });

  test('and that a bank returns later, with its webhooks also lost, is reported by the hourly cron', async () => {
    const { payment, intent } = await paid('SENT-BACK', 'pm_card_refundFail');
    await shop.webhooks({ lose: 1 });
    await store.send('POST', `/v1/payments/${payment.id}/refunds`);
    await until(async () => (await openRefunds(payment.id)).length === 0);
    await until(async () => (await refundsOf(intent))[0]?.status === 'failed');
    const read = async () => (await store.send('GET', `/v1/payments/${payment.id}/refunds`)).body.data;
    await store.cron('17 * * * *');
    await store.cron('17 * * * *');
    expect(await read()).toMatchObject([{ status: 'failed', failureReason: 'expired_or_canceled_card' }]);
    expect((await shop.paymentOf(payment.id)).status).toBe('succeeded');
    const topics = await store.database.query<{ topic: string }>(
      `select topic from platform.events where key = $1 and topic like 'payment.refund%' order by seq`,
      [payment.id],
    );
    expect(topics.map(({ topic }) => topic).filter((topic) => topic === 'payment.refund.failed')).toHaveLength(1);
  });

  test('is found again after Stripe has forgotten its idempotency key', async () => {
    const { payment, intent } = await paid('FORGOTTEN');
    await shop.webhooks({ lose: 1 });
    const before = store.logs().filter(isRetry).length;
    // The first attempt makes the refund, and no attempt gets a response.
    await shop.fault({ times: 2, method: 'POST', path: '/v1/refunds', action: 'drop', acts: true });
    await shop.fault({ times: 1000, method: 'POST', path: '/v1/refunds', action: 'drop', acts: false });
    await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 12.5 });
    await until(() => store.logs().filter(isRetry).length > before);
    expect(await refundsOf(intent)).toHaveLength(1);
    await store.database.query(
      `update payments.refunds set created_at = created_at - interval '25 hours' where payment_id = $1`,
      [payment.id],
    );
    ahead = 25 * 3_600_000;
    await shop.clearFaults();
    await until(async () => (await openRefunds(payment.id)).length === 0);
    ahead = 0;
    expect(await refundsOf(intent)).toHaveLength(1);
  });
});

describe('the rest of an ended order’s payment', () => {
  /**
   * A small refund of the merchant failed, another was made in the dashboard without a webhook, and the order was
   * cancelled.
   */
  async function cancelledWithRefunds(sku: string) {
    const made = await paid(sku);
    const refunds = `/v1/payments/${made.payment.id}/refunds`;
    await store.send('POST', refunds, { amount: 5 });
    await until(async () => (await refundsOf(made.intent))[0]?.status === 'succeeded');
    await shop.emulator('POST', 'dashboard/fail_refund', { refund: (await refundsOf(made.intent))[0]?.id });
    await until(async () => (await store.send('GET', refunds)).body.data[0].status === 'failed');
    await shop.webhooks({ lose: 1 });
    await shop.emulator('POST', 'dashboard/refund', { payment_intent: made.intent, amount: 1000 });
    await shop.webhooks({ lose: 0 });
    await store.send('POST', `/v1/orders/${made.order.id}/cancel`);
    await until(async () => (await openRefunds(made.payment.id)).length === 0);
    const [charge] = (await shop.stripe.charges.list({ payment_intent: made.intent })).data;
    const event = { id: `evt_${made.payment.id}`, object: 'event', type: 'charge.refunded', data: { object: charge } };
    await shop.deliver(JSON.stringify(event));
    await store.cron('* * * * *', minutes(6));
    return made;
  }
  const rowsOf = (paymentId: string) =>
    store.database.query<{ amount: string; status: string }>(
      'select amount, status from payments.refunds where payment_id = $1 order by amount',
      [paymentId],
    );

  test('is refunded again, although a smaller refund has failed before', async () => {
    const { intent, payment } = await cancelledWithRefunds('REST');
    await until(async () => (await shop.paymentOf(payment.id)).status === 'refunded');
    const stripes = await refundsOf(intent);
    expect(
      stripes
        .filter((refund) => refund.status === 'succeeded')
        .map((refund) => refund.amount)
        .sort(),
    ).toEqual([1000, 2000]);
  });

  test('is not retried endlessly: a failed refund of the same amount is the last', async () => {
    const { intent, payment } = await cancelledWithRefunds('NOREST');
    await until(async () => (await shop.paymentOf(payment.id)).status === 'refunded');
    const rest = (await refundsOf(intent)).find((refund) => refund.amount === 2000);
    await shop.emulator('POST', 'dashboard/fail_refund', { refund: rest?.id });
    await until(async () => (await rowsOf(payment.id)).filter(({ status }) => status === 'failed').length === 3);
    for (const turn of [12, 18, 24]) await store.cron('* * * * *', minutes(turn));
    await shop.quiet();
    expect((await rowsOf(payment.id)).map(({ amount, status }) => [amount, status])).toEqual([
      ['5.00', 'failed'],
      ['10.00', 'succeeded'],
      ['20.00', 'failed'],
      ['30.00', 'failed'],
    ]);
    // The merchant can still refund it.
    await store.send('POST', `/v1/payments/${payment.id}/refunds`);
    await until(async () => (await shop.paymentOf(payment.id)).status === 'refunded');
  });

  test('is refunded again when the refund in the dashboard has failed', async () => {
    const { intent, payment } = await cancelledWithRefunds('HANDFAILED');
    await until(async () => (await shop.paymentOf(payment.id)).status === 'refunded');
    const byHand = (await refundsOf(intent)).find((refund) => refund.amount === 1000);
    await shop.emulator('POST', 'dashboard/fail_refund', { refund: byHand?.id });
    await until(async () => {
      const done = (await refundsOf(intent)).filter((refund) => refund.status === 'succeeded');
      return (
        done
          .map((refund) => refund.amount)
          .sort()
          .join() === '1000,2000'
      );
    });
    await until(async () => (await shop.paymentOf(payment.id)).status === 'refunded');
  });
});

describe('a lost webhook', () => {
  test('of a success delays the confirmation until the cron', async () => {
    await addProduct(store, 'UNTOLD', 5);
    const { order, payment, intent } = await shop.checkout('UNTOLD');
    await shop.webhooks({ lose: 1 });
    await shop.pay(intent);
    await store.settled();
    expect((await shop.orderOf(order.id)).status).toBe('created');
    await store.cron();
    expect(await shop.orderOf(order.id)).toMatchObject({
      status: 'confirmed',
      payment: { id: payment.id, status: 'succeeded' },
    });
    expect(await shop.stockOf('UNTOLD')).toEqual({ quantity: 4, reserved: 0 });
  });

  test('of refunds in the dashboard delays them until the cron, once the charge shows their sum', async () => {
    const { order, payment, intent } = await paid('BYHAND');
    await shop.webhooks({ lose: 1 });
    await shop.stripe.refunds.create({ payment_intent: intent, amount: 700 });
    await shop.stripe.refunds.create({ payment_intent: intent, amount: 300 });
    const [charge] = (await shop.stripe.charges.list({ payment_intent: intent })).data;
    await shop.deliver(
      JSON.stringify({ id: `evt_${payment.id}`, object: 'event', type: 'charge.refunded', data: { object: charge } }),
    );
    expect((await shop.rowsOfOrder(order.id)).refunds).toEqual([]);
    await store.cron('* * * * *', minutes(6));
    const { body } = await store.send('GET', `/v1/payments/${payment.id}/refunds`);
    expect(body).toMatchObject({
      data: [{ status: 'succeeded', reason: 'made at Stripe' }, { status: 'succeeded' }],
      nextCursor: null,
    });
    expect(body.data.map((refund: { amount: number }) => refund.amount).sort()).toEqual([3, 7]);
    // What has been recorded is not searched for again.
    const [left] = await store.database.query<{ n: number }>(
      'select count(*)::int as n from payments.payments where payment_id = $1 and refunds_told > refund_done',
      [payment.id],
    );
    expect(left?.n).toBe(0);
  });
});

describe('a payment that needs its buyer', () => {
  test('waits for 3-D Secure, and succeeds after it', async () => {
    await addProduct(store, 'SECURE', 5);
    const { order, payment, intent } = await shop.checkout('SECURE');
    expect((await shop.pay(intent, 'pm_card_authenticationRequired'))?.status).toBe('requires_action');
    await shop.quiet();
    expect((await shop.paymentOf(payment.id)).status).toBe('pending');
    await shop.emulator('POST', `payment_intents/${intent}/authenticate`, { outcome: 'succeed' });
    await until(async () => (await shop.orderOf(order.id)).status === 'confirmed');
  });

  test('can be paid with another card after 3-D Secure failed', async () => {
    await addProduct(store, 'INSECURE', 5);
    const { order, payment, intent } = await shop.checkout('INSECURE');
    await shop.pay(intent, 'pm_card_authenticationRequired');
    await shop.emulator('POST', `payment_intents/${intent}/authenticate`, { outcome: 'fail' });
    await until(
      async () => (await shop.paymentOf(payment.id)).failureReason === 'payment_intent_authentication_failure',
    );
    expect(await shop.paymentOf(payment.id)).toMatchObject({ status: 'pending', clientSecret: expect.any(String) });
    await shop.pay(intent);
    await until(async () => (await shop.orderOf(order.id)).status === 'confirmed');
    expect((await shop.paymentOf(payment.id)).failureReason).toBeNull();
  });
});

describe('a payment that succeeds too late', () => {
  /** The buyer pays, but the webhook is lost and Stripe is unavailable for queries. */
  async function paidWithoutNotice(sku: string) {
    await addProduct(store, sku, 1, 30);
    const made = await shop.checkout(sku);
    await shop.quiet();
    await shop.webhooks({ lose: 1 });
    await shop.pay(made.intent);
    await shop.fault({ times: 1000, path: `/v1/payment_intents/${made.intent}`, action: 'drop', acts: false });
    return made;
  }
  const restoreStripe = async () => {
    await shop.clearFaults();
    await shop.webhooks({ lose: 0 });
  };

  test('is refunded automatically if its unit was sold to another buyer', async () => {
    await addProduct(store, 'RESOLD', 1, 30);
    const { order, payment, intent } = await shop.checkout('RESOLD');
    await shop.quiet();
    await shop.webhooks({ lose: 1 });
    const close = `/v1/payment_intents/${intent}/cancel`;
    await shop.fault({ times: 1000, method: 'POST', path: close, action: 'drop', acts: false });
    await store.cron('* * * * *', new Date(order.reservation.expiresAt));
    expect((await shop.orderOf(order.id)).status).toBe('failed');
    await shop.pay(intent);
    const second = await shop.checkout('RESOLD');
    await restoreStripe();
    await shop.pay(second.intent);
    await until(async () => (await shop.paymentOf(payment.id)).status === 'refunded');
    await shop.quiet();
    expect(await shop.orderOf(order.id)).toMatchObject({ status: 'failed', failureReason: 'reservation_expired' });
    expect((await shop.orderOf(second.order.id)).status).toBe('confirmed');
    expect(await shop.stockOf('RESOLD')).toEqual({ quantity: 0, reserved: 0 });
    expect(await refundsOf(intent)).toMatchObject([{ amount: 3000 }]);
    const history = await shop.historyOf(order.id);
    expect(history.filter((type) => type.startsWith('payment.'))).toEqual([
      'payment.created',
      'payment.failed',
      'payment.succeeded',
      'payment.refund.requested',
      'payment.refunded',
    ]);
    const { body } = await store.send('GET', `/v1/payments/${payment.id}/refunds`);
    expect(body.data).toMatchObject([{ amount: 30, status: 'succeeded', reason: 'stock_gone' }]);
  });

  test('is refunded automatically if its order was cancelled, and the order stays cancelled', async () => {
    const { order, payment, intent } = await paidWithoutNotice('TOOLATE');
    await store.send('POST', `/v1/orders/${order.id}/cancel`);
    expect((await shop.paymentOf(payment.id)).status).toBe('cancelled');
    await restoreStripe();
    await until(async () => (await shop.paymentOf(payment.id)).status === 'refunded');
    await shop.quiet();
    expect((await shop.orderOf(order.id)).status).toBe('cancelled');
    expect(await shop.stockOf('TOOLATE')).toEqual({ quantity: 1, reserved: 0 });
    expect(await refundsOf(intent)).toMatchObject([{ amount: 3000 }]);
    const history = await shop.historyOf(order.id);
    expect(history).not.toContain('order.confirmed');
    expect(history.slice(-3)).toEqual(['payment.succeeded', 'payment.refund.requested', 'payment.refunded']);
  });
});

describe('later decisions of a bank', () => {
  test('a dispute and its end are stored and emitted', async () => {
    const { order, payment, intent } = await paid('DISPUTED', 'pm_card_createDispute');
    const disputeOf = async () => (await shop.rowsOfOrder(order.id)).payments[0]?.dispute;
    await until(async () => (await disputeOf()) === 'open');
    const refused = await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 10 });
    expect(refused.status).toBe(201);
    const refunds = async () => (await store.send('GET', `/v1/payments/${payment.id}/refunds`)).body.data;
    await until(async () => (await refunds())[0].status === 'failed');
    expect(await refunds()).toMatchObject([{ failureReason: 'charge_disputed' }]);
    const dispute = (await shop.state()).disputes.find((of) => of.payment_intent === intent);
    await shop.emulator('POST', `disputes/${dispute?.id}/close`, { status: 'won' });
    await until(async () => (await disputeOf()) === 'won');
    const statuses = await store.database.query(
      `select payload->>'status' as status from platform.events where key = $1 and topic = 'payment.dispute.changed' order by seq`,
      [payment.id],
    );
    expect(statuses).toEqual([{ status: 'open' }, { status: 'won' }]);
    // After a dispute is won, the charge can be refunded.
    await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 10 });
    await until(async () => (await refunds())[0].status === 'succeeded');
  });

  test('a refund that fails after it succeeded can be made again', async () => {
    const { order, payment } = await paid('BOUNCED', 'pm_card_refundFail');
    await store.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 25 });
    await until(async () => (await shop.historyOf(order.id)).includes('payment.refund.failed'));
    await shop.quiet();
    expect(await shop.rowsOfOrder(order.id)).toMatchObject({
      order: { status: 'confirmed' },
      payments: [{ status: 'succeeded', captured: '30.00', refunded: '0.00', refund_done: '0.00' }],
      refunds: [{ status: 'failed' }],
    });
    const whole = await store.send('POST', `/v1/payments/${payment.id}/refunds`, {});
    expect(whole.body).toMatchObject({ amount: 30, status: 'pending' });
  });

  test('a refund that the bank delays is pending until the bank decides', async () => {
    const { order, payment } = await paid('SLOW', 'pm_card_pendingRefund');
    await store.send('POST', `/v1/payments/${payment.id}/refunds`, {});
    await until(async () => (await shop.orderOf(order.id)).status === 'refunded');
    expect(await shop.stockOf('SLOW')).toEqual({ quantity: 5, reserved: 0 });
  });
});

test('refunds are listed for the tenant of the payment only', async () => {
  const { payment } = await paid('LISTED');
  const path = `/v1/payments/${payment.id}/refunds`;
  expect((await store.send('GET', path)).body).toEqual({ data: [], nextCursor: null });
  const { body: first } = await store.send('POST', path, { amount: 1 });
  const { body: second } = await store.send('POST', path, { amount: 2, reason: 'torn' });
  const { body } = await store.send('GET', path);
  expect(body.data.map((refund: { id: string }) => refund.id)).toEqual([second.id, first.id]);
  const key = await store.database.key({ tenant: 'acme' });
  expect((await store.send('GET', path, undefined, { key })).status).toBe(404);
  expect((await store.send('GET', `/v1/payments/${randomUUID()}/refunds`)).status).toBe(404);
});

test('after all these tests, payments equal Stripe’s records, and the stock equals the ledger', async () => {
  await shop.quiet();
  await shop.audit();
});
