import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { mulberry32 } from '../../dev/stripe/webhooks.ts';
import { addDiscount, clearTerms, openCart, type Shopper } from '../support/carts.ts';
import { addProduct, cronUntil, type Reply, type Store, startStore } from '../support/harness.ts';
import { sendTogether } from '../support/locks.ts';
import { eventsOf, type PaymentFixture, paymentFixture } from '../support/payments.ts';

let store: Store;
let shop: PaymentFixture;
let publishable: string;
beforeAll(async () => {
  store = await startStore();
  shop = paymentFixture(store);
  publishable = await store.database.key({ kind: 'publishable' });
});
afterEach(() => clearTerms(store));
afterAll(() => store.close());

const seed = Number(process.env.SEED ?? 20261204);
const inMinutes = (count: number) => new Date(Date.now() + count * 60_000);
const newSku = async (inventory = 100) => {
  const { sku } = await addProduct(store, `R-${randomUUID().slice(0, 8)}`, inventory, 10);
  return sku;
};
const fill = (sku: string) =>
  openCart(store, { items: [{ sku, quantity: 1 }], email: `${randomUUID()}@example.com` }, publishable);
const outcome = ({ status, body }: Reply) => `${status} ${body.code ?? body.order?.status ?? body.status}`;
const statusOf = async (orderId: string) => (await shop.orderOf(orderId)).status;

/** Stripe's event that the payment of a checkout has succeeded. */
const paidEvent = ({ order, payment }: Reply['body']) =>
  eventsOf(payment.id, payment.stripePaymentIntentId, Math.round(payment.amount * 100), {
    ...{ orderId: order.id, tenant: 'default' },
  }).succeeded();

const refundsOf = (paymentId: string) =>
  store.database.query<{ amount: string }>('select amount::text from payments.refunds where payment_id = $1', [
    paymentId,
  ]);

/** Lets the hold of an order end. Its cart is open again. */
const expireHold = (orderId: string) =>
  cronUntil(store, inMinutes(20), async () => (await statusOf(orderId)) === 'failed');

/** Every counter of a discount equals the uses that its orders have taken, and none is above its limit. */
async function checkCounters(discountId: string): Promise<void> {
  const [row] = await store.database.query<{ used: number; limit: number; taken: number; live: number }>(
    `select c.used, d.usage_limit as limit,
       (select count(*)::int from orders.discount_uses u where u.discount_id = d.id and u.is_taken) as taken,
       (select count(*)::int from orders.orders o join orders.discount_uses u on u.order_id = o.id
        where u.discount_id = d.id and o.status not in ('failed', 'cancelled')) as live
     from orders.discounts d join orders.discount_counters c on c.discount_id = d.id where d.id = $1`,
    [discountId],
  );
  expect(row?.used).toBe(row?.taken);
  expect(row?.used).toBe(row?.live);
  expect(row?.used).toBeLessThanOrEqual(row?.limit ?? 0);
}

test('two tabs that check out one cart make one order', async () => {
  const cart = await fill(await newSku());
  const replies = await sendTogether(
    store,
    'select from orders.carts where id = any($1) for update',
    [cart.id],
    [() => cart.checkout(10), () => cart.checkout(10), () => cart.checkout(10)],
  );
  expect(replies.map(outcome).sort()).toEqual(['201 created', '409 cart_not_open', '409 cart_not_open']);
  const placed = replies.find(({ status }) => status === 201);
  for (const { body } of replies.filter(({ status }) => status === 409))
    expect(body.orderId).toBe(placed?.body.order.id);
});

test('a change and a checkout at the same moment: the order has what the shopper has seen', async () => {
  const sku = await newSku();
  const cart = await fill(sku);
  const [changed, placed] = await sendTogether(
    store,
    'select from orders.carts where id = any($1) for update',
    [cart.id],
    [() => cart.send('PUT', `/items/${sku}`, { quantity: 2 }), () => cart.checkout(10)],
  );
  const outcomes = [changed, placed].map((reply) => reply && outcome(reply));
  expect([
    ['200 open', '409 price_changed'],
    ['409 cart_not_open', '201 created'],
  ]).toContainEqual(outcomes);
});

test('20 shoppers with a code of 10 uses: 10 get it, and the others see the cart without it', async () => {
  const sku = await newSku();
  const discountId = await addDiscount(store, 'TEN', 10, { usageLimit: 10 });
  const carts = await Promise.all(Array.from({ length: 20 }, () => fill(sku)));
  for (const cart of carts) await cart.send('PATCH', '', { discountCodes: ['TEN'] });
  const replies = await sendTogether(
    store,
    'select from orders.discount_counters where discount_id = any($1) for update',
    [discountId],
    carts.slice(0, 4).map((cart) => () => cart.checkout(9)),
  );
  replies.push(...(await Promise.all(carts.slice(4).map((cart) => cart.checkout(9)))));
  expect(replies.filter(({ status }) => status === 201)).toHaveLength(10);
  const refused = replies.filter(({ status }) => status !== 201);
  for (const reply of refused) {
    expect(outcome(reply)).toBe('409 price_changed');
    expect(reply.body.cart).toMatchObject({
      totals: { discount: 0, total: 10 },
      messages: [{ code: 'discount_invalid' }],
    });
  }
  await checkCounters(discountId);
});

test('money that arrives late for the former order of a cart is refunded once the cart has another order', async () => {
  const sku = await newSku();
  const cart = await fill(sku);
  const first = await cart.checkout();
  await expireHold(first.body.order.id);
  expect((await cart.send('GET', '')).body.status).toBe('open');
  const second = await cart.checkout();
  expect(second.status).toBe(201);
  expect((await shop.deliver(paidEvent(first.body))).status).toBe(200);
  expect(await refundsOf(first.body.payment.id)).toEqual([{ amount: '10.00' }]);
  expect([await statusOf(first.body.order.id), await statusOf(second.body.order.id)]).toEqual(['failed', 'created']);
  expect((await cart.send('GET', '')).body).toMatchObject({ status: 'ordered', orderId: second.body.order.id });
  await shop.deliver(paidEvent(second.body));
  expect(await statusOf(second.body.order.id)).toBe('confirmed');
  expect(await shop.stockOf(sku)).toEqual({ quantity: 99, reserved: 0 });
});

test('late money and a second checkout at the same moment: the cart is paid once', async () => {
  for (let turn = 0; turn < 4; turn++) {
    const cart = await fill(await newSku());
    const first = await cart.checkout();
    await expireHold(first.body.order.id);
    const requests = [() => shop.deliver(paidEvent(first.body)), () => cart.checkout(10)];
    const lock = 'select from orders.orders where id = any($1) for update';
    const replies = await sendTogether(store, lock, [first.body.order.id], turn % 2 ? requests : requests.toReversed());
    const checkout = replies[turn % 2 ? 1 : 0];
    const refunds = await refundsOf(first.body.payment.id);
    const found = [checkout && outcome(checkout), await statusOf(first.body.order.id), refunds.length];
    expect([
      ['201 created', 'failed', 1],
      ['409 cart_not_open', 'confirmed', 0],
    ]).toContainEqual(found);
  }
});

test(`the last use of a code counts once, whatever ends, is paid late or is reopened (seed ${seed})`, async () => {
  const random = mulberry32(seed);
  const sku = await newSku(1_000);
  const discountId = await addDiscount(store, 'LAST', 10, { usageLimit: 2 });
  const carts = await Promise.all(
    Array.from({ length: 6 }, async () => {
      const cart = await fill(sku);
      await cart.send('PATCH', '', { discountCodes: ['LAST'] });
      return cart;
    }),
  );
  const placed: Reply['body'][] = [];
  const steps: ((cart: Shopper) => Promise<unknown>)[] = [
    async (cart) => {
      const reply = await cart.checkout(9);
      if (reply.status === 201) placed.push(reply.body);
      expect(['201 created', '409 price_changed', '409 cart_not_open']).toContain(outcome(reply));
    },
    async (cart) => {
      const reply = await cart.send('POST', '/reopen');
      expect(['200 open', '409 cart_not_open']).toContain(outcome(reply));
    },
    async () => {
      const latest = placed[Math.floor(random() * placed.length)];
      if (latest) await store.send('POST', `/v1/orders/${latest.order.id}/cancel`, {});
    },
    async () => {
      const latest = placed[Math.floor(random() * placed.length)];
      if (latest) expect((await shop.deliver(paidEvent(latest))).status).toBe(200);
    },
    () => store.cron('* * * * *', inMinutes(20)),
  ];
  for (let turn = 0; turn < 12; turn++) {
    await Promise.all(carts.map((cart) => steps[Math.floor(random() * steps.length)]?.(cart)));
    await checkCounters(discountId);
  }
  expect(placed.length).toBeGreaterThan(2);
});
