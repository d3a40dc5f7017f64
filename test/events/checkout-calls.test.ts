import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { type PaymentFixture, paymentFixture } from '../support/payments.ts';
import { home } from '../support/shipping.ts';

let store: Store;
let shop: PaymentFixture;
/** The SQL functions of each database call. */
const calls: string[] = [];
beforeAll(async () => {
  store = await startStore({
    neonFault({ statements }) {
      const functions = statements.flatMap(({ query }) => query.match(/\b[a-z_]+\.[a-z_]+(?=\()/g) ?? []);
      calls.push(functions.join(' + '));
      return undefined;
    },
  });
  shop = paymentFixture(store);
});
afterAll(() => store.close());

/** Waits until no relay and no consumer calls the database any more. */
async function quiet(): Promise<void> {
  await store.settled();
  await until(async () => {
    const before = calls.length;
    await new Promise((resolve) => setTimeout(resolve, 500));
    return calls.length === before;
  });
}

/** Buys one unit with nothing else going on. Returns the database calls of the checkout, up to its label. */
async function checkout(): Promise<string[]> {
  await quiet();
  calls.length = 0;
  const order = oneLine('LONE', 1, { shippingAddress: home, expand: ['payment'] });
  const { body: placed } = await store.send('POST', '/v1/orders', order);
  await quiet();
  await shop.pay(placed.payment.stripePaymentIntentId);
  await until(async () => {
    const [row] = await store.database.query('select status from shipping.shipments where order_id = $1', [placed.id]);
    return row !== undefined;
  });
  await quiet();
  const made = [...calls];
  const { status, payment, shipment } = await shop.orderOf(placed.id);
  expect([status, payment.status, shipment.status]).toEqual(['confirmed', 'succeeded', 'created']);
  return made;
}

test('a lone checkout with its label takes at most 9 database calls, relay and consumers included', async () => {
  await addProduct(store, 'LONE', 5, 30);
  // A busy machine may split a turn of the relay in two, so the best of three counts.
  const [made = []] = [await checkout(), await checkout(), await checkout()].sort((a, b) => a.length - b.length);
  expect(made.length, made.join('\n')).toBeLessThanOrEqual(9);
  const services = made.flatMap((call) => call.split(' + ')).filter((name) => name !== 'platform.relay');
  expect(services).toEqual([
    'orders.place_order',
    'payments.record_intents',
    'payments.apply_stripe',
    'shipping.open_labels',
    'shipping.record_labels',
  ]);
});

describe('a job whose call also leases events', () => {
  test('is done alone if the relay fails in it, and its events are delivered later', async () => {
    await addProduct(store, 'ALONE', 5, 30);
    const { intent, order } = await shop.checkout('ALONE');
    await quiet();
    const [relay] = await store.database.query<{ definition: string }>(
      `select pg_get_functiondef('platform.relay'::regproc) as definition`,
    );
    await store.database.query(
      `create or replace function platform.relay(call jsonb, input jsonb) returns jsonb language plpgsql as
       $$ begin raise exception 'broken' using errcode = '22000'; end $$`,
    );
    try {
      await shop.pay(intent);
      await until(async () => (await shop.orderOf(order.id)).status === 'confirmed');
    } finally {
      await store.database.query(relay?.definition ?? '');
    }
    await until(async () => {
      await store.cron();
      return (await store.database.query('select 1 from platform.outbox')).length === 0;
    });
    expect(await shop.historyOf(order.id)).toContain('order.confirmed');
  });
});
