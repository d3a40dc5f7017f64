import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Store, startStore, until } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';

let store: Store;
let shop: ReturnType<typeof paymentFixture>;
beforeAll(async () => {
  store = await startStore();
  shop = paymentFixture(store);
});
afterEach(() => shop.clearFaults());
afterAll(() => store.close());

const many = 300;

/** Adds many payments of acme, and puts the events that request work on each into the outbox. */
async function fillQueue(name: string, topic: string, columns: Record<string, string>): Promise<void> {
  const names = Object.keys(columns);
  await store.database.query(
    `insert into payments.payments (payment_id, order_id, amount, currency, tenant_id, checked_at, ${names.join(', ')})
     select '${name}-' || n, '${name}-order-' || n, 10, 'USD', 'acme', now(), ${Object.values(columns).join(', ')}
     from generate_series(1, ${many}) n`,
  );
  await store.database.query(
    `with entered as materialized (select platform.act_as('acme')),
       emitted as materialized (
         select platform.emit($1, $2 || '-' || n, jsonb_build_object('paymentId', $2 || '-' || n, 'orderId', $2), true)
         from entered, generate_series(1, ${many}) n)
     select count(*) from emitted`,
    [topic, name],
  );
}

/** A paid order of the tenant default, with functions to request its refund and to check it. */
async function refund(sku: string) {
  await addProduct(store, sku, 1);
  const { order, payment, intent } = await shop.checkout(sku);
  await shop.pay(intent);
  await until(async () => (await shop.orderOf(order.id)).status === 'confirmed');
  return {
    ask: async () => expect((await store.send('POST', `/v1/payments/${payment.id}/refunds`, {})).status).toBe(201),
    done: async () => (await shop.paymentOf(payment.id)).status === 'refunded',
  };
}

describe('a tenant with a full queue, for which Stripe is slow,', () => {
  test('does not delay another tenant’s refund with 300 charges', async () => {
    const other = await refund('BEHIND-CHARGES');
    await store.settled();
    await shop.fault({ times: 10_000, path: '/v1/payment_intents', action: 'delay', ms: 1_000 });
    await fillQueue('charge', 'payment.capture.requested', {
      status: `'pending'`,
      mode: `'card'`,
      capture_asked: 'true',
      setup_intent_id: `'seti_acme_' || n`,
      customer_id: `'cus_acme'`,
      payment_method_id: `'pm_acme'`,
      campaign_id: `'campaign'`,
      user_id: `'user-' || n`,
    });
    await store.cron();
    await other.ask();
    await until(other.done);
    const [left] = await store.database.query<{ n: number }>(
      `select count(*)::int as n from payments.payments where payment_id like 'charge-%' and status = 'pending'`,
    );
    expect(left?.n).toBeGreaterThan(many / 2);
    await store.database.query(`update payments.payments set status = 'failed' where payment_id like 'charge-%'`);
  });

  test('does not delay another tenant’s refund with 300 intents to close', async () => {
    const other = await refund('BEHIND-CLOSES');
    await shop.fault({ times: 10_000, path: '/v1/payment_intents/pi_acme', action: 'delay', ms: 1_000 });
    await fillQueue('close', 'payment.cancelled', {
      status: `'cancelled'`,
      intent_open: 'true',
      stripe_payment_intent_id: `'pi_acme_' || n`,
    });
    await store.cron();
    await other.ask();
    await until(other.done);
    const lines = store.logs().filter((line) => line.topic === 'payment.cancelled' && line.tenant === 'acme');
    expect(lines.reduce((sum, line) => sum + Number(line.messages), 0)).toBeLessThan(many / 2);
  });
});
