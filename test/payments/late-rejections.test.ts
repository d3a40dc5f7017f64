import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { NeonBridgeOptions, NeonCall } from '../../dev/neon/bridge.ts';
import { campaignFixture } from '../support/campaigns.ts';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { type PaymentFixture, paymentFixture } from '../support/payments.ts';
import { jobSecret } from '../support/secrets.ts';

// Two requests create the intent of one payment. Stripe accepts one and rejects the other, and the rejection is
// recorded last.

let store: Store;
let shop: PaymentFixture;
let fixture: ReturnType<typeof campaignFixture>;
let neonFault: NonNullable<NeonBridgeOptions['fault']> | undefined;
beforeAll(async () => {
  store = await startStore({ neonFault: (call) => neonFault?.(call) });
  shop = paymentFixture(store);
  fixture = campaignFixture(store);
});
afterEach(async () => {
  neonFault = undefined;
  await shop.clearFaults();
});
afterAll(() => store.close());

const calls = ({ statements }: NeonCall, name: string) => statements.some(({ query }) => query.includes(name));
const recordsRejection = (call: NeonCall) =>
  calls(call, 'payments.record_intents') && JSON.stringify(call.statements).includes('amount_too_large');
const isRejected = () => until(async () => ((await shop.emulator('GET', 'faults')) as unknown[]).length === 0);
const rejectOne = () =>
  shop.fault({ times: 1, method: 'POST', path: '/v1/payment_intents', action: 'status', status: 400 });
const place = async (sku: string) => (await store.send('POST', '/v1/orders', oneLine(sku))).body;
const paymentOf = async (orderId: string) =>
  (
    await store.database.query<{ id: string; intent: string | null; setup: string | null; status: string }>(
      `select payment_id as id, stripe_payment_intent_id as intent, setup_intent_id as setup, status
       from payments.payments where order_id = $1`,
      [orderId],
    )
  )[0];
const hasIntent = (orderId: string) => until(async () => typeof (await paymentOf(orderId))?.intent === 'string');

/** Records that Stripe has rejected the creation of the payment's intent. */
const recordRejection = async (orderId: string, objects: object) => {
  const payment = await paymentOf(orderId);
  const refused = [{ id: payment?.id, reason: 'amount_too_large', ...objects }];
  await store.database.query('select payments.record_intents($1, $2)', [
    { jobSecret },
    { tenant: 'default', intents: [], refused, again: [] },
  ]);
  expect(await paymentOf(orderId)).toEqual(payment);
};

describe('a payment whose intent was stored before a rejection', () => {
  test('of the queue is kept, and can be paid', async () => {
    await addProduct(store, 'QUEUE-LATE', 5);
    const stored = Promise.withResolvers<undefined>();
    neonFault = (call) => (recordsRejection(call) ? stored.promise : undefined);
    await rejectOne();
    const order = await place('QUEUE-LATE');
    await isRejected();
    const { status, body: payment } = await store.send('POST', '/v1/payments', { orderId: order.id });
    expect(status).toBe(201);
    stored.resolve(undefined);
    await store.settled();
    expect(await shop.orderOf(order.id)).toMatchObject({ status: 'created', payment: { status: 'pending' } });
    await shop.pay(payment.stripePaymentIntentId);
    await until(async () => (await shop.orderOf(order.id)).status === 'confirmed');
  });

  test('of the client is kept, and the client gets its client secret', async () => {
    await addProduct(store, 'CLIENT-LATE', 5);
    const rejected = Promise.withResolvers<undefined>();
    const stored = Promise.withResolvers<undefined>();
    neonFault = (call) => {
      if (calls(call, 'payments.open_payments')) return rejected.promise;
      return recordsRejection(call) ? stored.promise : undefined;
    };
    const order = await place('CLIENT-LATE');
    await until(async () => (await shop.orderOf(order.id)).reservation?.expiresAt !== undefined);
    await rejectOne();
    const reply = store.send('POST', '/v1/payments', { orderId: order.id });
    await isRejected();
    rejected.resolve(undefined);
    await hasIntent(order.id);
    stored.resolve(undefined);
    const { status, body } = await reply;
    expect([status, body.stripePaymentIntentId]).toEqual([201, (await paymentOf(order.id))?.intent]);
    expect(body.clientSecret).toContain(body.stripePaymentIntentId);
    expect((await shop.orderOf(order.id)).status).toBe('created');
  });

  test.each([
    ['this release', { intentId: null, setupId: null }],
    ['an earlier release', {}],
  ])('of a place is kept with the place (%s)', async (release, objects) => {
    const hold = await fixture.start(`HOLD-${release.length}`, 5);
    const card = await fixture.start(`CARD-${release.length}`, 5, {
      endTime: new Date(Date.now() + 30 * 86_400_000).toISOString(),
    });
    for (const campaign of [hold, card]) {
      const { body: joined } = await fixture.join(campaign.id, 'a');
      await fixture.confirm(joined.orderId);
      await until(async () => (await fixture.read(campaign.id)).securedParticipants === 1);
      await recordRejection(joined.orderId, objects);
      expect((await fixture.statesOf(campaign.id)).a).not.toBe('released');
    }
  });
});

test('a payment without an intent fails with the rejection', async () => {
  await addProduct(store, 'REJECTED', 5);
  await rejectOne();
  const order = await place('REJECTED');
  await until(async () => (await shop.orderOf(order.id)).status === 'failed');
  expect(await shop.orderOf(order.id)).toMatchObject({ payment: { failureReason: 'amount_too_large' } });
});

// Otherwise the client's request would ask Stripe again without end.
test('a payment that still lacks the intent that was rejected is not reported as kept', async () => {
  const campaign = await fixture.start('STILL-NONE', 5, {
    endTime: new Date(Date.now() + 30 * 86_400_000).toISOString(),
  });
  const { body: joined } = await fixture.join(campaign.id, 'a');
  await until(async () => typeof (await paymentOf(joined.orderId))?.setup === 'string');
  await store.settled();
  await store.database.query(
    `update payments.payments set setup_intent_id = null, stripe_payment_intent_id = 'pi_made_by_hand'
     where order_id = $1`,
    [joined.orderId],
  );
  const payment = await paymentOf(joined.orderId);
  const refused = [{ id: payment?.id, reason: 'amount_too_large', intentId: null, setupId: null }];
  const [recorded] = await store.database.query<{ answer: object }>(
    'select payments.record_intents($1, $2) as answer',
    [{ jobSecret }, { tenant: 'default', intents: [], refused, again: [] }],
  );
  expect(recorded?.answer).toEqual({ kept: [] });
  expect(await paymentOf(joined.orderId)).toEqual(payment);
});
