import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { mulberry32 } from '../../dev/stripe/webhooks.ts';
import { addProduct, type Reply, type Store, startStore, until } from '../support/harness.ts';
import { type PaymentFixture, paymentFixture } from '../support/payments.ts';

let store: Store;
let shop: PaymentFixture;
beforeAll(async () => {
  store = await startStore();
  shop = paymentFixture(store);
});
afterAll(() => store.close());

const seed = Number(process.env.SEED ?? 20261122);
const rounds = 8;
const statuses: number[] = [];

/** Runs two actions concurrently on each of several payments, with random delays of a few milliseconds from a seed. */
function race(
  title: string,
  ready: 'paid' | 'unpaid',
  run: (made: Made, pause: () => Promise<void>) => Promise<unknown>,
) {
  test(`${title} (seed ${seed})`, async () => {
    const random = mulberry32(seed);
    const sku = title.toUpperCase().replaceAll(/\W+/g, '-').slice(0, 60);
    await addProduct(store, sku, rounds, 30);
    const made = await Promise.all(Array.from({ length: rounds }, () => shop.checkout(sku)));
    if (ready === 'paid') {
      for (const { intent } of made) await shop.pay(intent);
      for (const { order } of made) await until(async () => (await shop.orderOf(order.id)).status === 'confirmed');
    }
    await Promise.all(made.map((one) => run(one, () => sleep(random() * 25))));
    await shop.quiet();
    expect(statuses.splice(0).filter((status) => status >= 500)).toEqual([]);
    await shop.audit();
  });
}

type Made = Awaited<ReturnType<PaymentFixture['checkout']>>;

async function post(path: string, body: unknown = {}): Promise<Reply> {
  const reply = await store.send('POST', path, body);
  statuses.push(reply.status);
  return reply;
}

const cancel = (of: Made) => post(`/v1/orders/${of.order.id}/cancel`);
const refund = (of: Made, amount?: number) =>
  post(`/v1/payments/${of.payment.id}/refunds`, amount === undefined ? {} : { amount });
const expire = (of: Made) => store.cron('* * * * *', new Date(of.order.reservation.expiresAt));

race('a concurrent cancellation and payment end in a consistent state', 'unpaid', async (of, pause) => {
  await Promise.all([pause().then(() => shop.pay(of.intent)), pause().then(() => cancel(of))]);
});

race('a concurrent expiry of the hold and payment end in a consistent state', 'unpaid', async (of, pause) => {
  await Promise.all([pause().then(() => shop.pay(of.intent)), pause().then(() => expire(of))]);
});

race(
  'a concurrent expiry of the hold, cancellation and payment end in a consistent state',
  'unpaid',
  async (of, pause) => {
    await Promise.all([
      pause().then(() => shop.pay(of.intent)),
      pause().then(() => expire(of)),
      pause().then(() => cancel(of)),
    ]);
  },
);

race('a concurrent refund and cancellation end in a consistent state', 'paid', async (of, pause) => {
  const [refunded] = await Promise.all([pause().then(() => refund(of, 12.5)), pause().then(() => cancel(of))]);
  expect([201, 422]).toContain(refunded.status);
});

race('of two concurrent refunds of more than half, one is rejected', 'paid', async (of, pause) => {
  const both = await Promise.all([pause().then(() => refund(of, 20)), pause().then(() => refund(of, 20))]);
  expect(both.map((reply) => reply.status).sort()).toEqual([201, 422]);
});

race(
  'concurrent full, partial and dashboard refunds and a cancellation end in a consistent state',
  'paid',
  async (of, pause) => {
    await Promise.all([
      pause().then(() => refund(of)),
      pause().then(() => refund(of, 7)),
      pause().then(() => shop.stripe.refunds.create({ payment_intent: of.intent, amount: 500 }).catch(() => undefined)),
      pause().then(() => cancel(of)),
    ]);
  },
);

race(
  'concurrent requests for a payment and a cancellation of its order end in a consistent state',
  'unpaid',
  async (of, pause) => {
    await Promise.all([
      pause().then(() => post('/v1/payments', { orderId: of.order.id })),
      pause().then(() => cancel(of)),
      pause().then(() => post('/v1/payments', { orderId: of.order.id })),
    ]);
  },
);
