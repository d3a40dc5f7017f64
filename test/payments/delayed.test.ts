import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { addProduct, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { eventsOf, type PaymentFixture, paymentFixture } from '../support/payments.ts';
import { jobSecret } from '../support/secrets.ts';

const debit = 'pm_usBankAccount_processing';
const day = 86_400_000;

let store: Store;
let shop: PaymentFixture;
let fixture: ReturnType<typeof campaignFixture>;
beforeAll(async () => {
  store = await startStore();
  shop = paymentFixture(store);
  fixture = campaignFixture(store);
});
afterAll(() => store.close());

const later = (ms: number) => new Date(Date.now() + ms);

const holdOf = async (orderId: string) =>
  (
    await store.database.query<{ status: string; expires: string | null; seconds: number | null }>(
      `select status, expires_at::text as expires,
         case when isfinite(expires_at) then round(extract(epoch from expires_at - now()))::int end as seconds
       from inventory.reservations where order_id = $1`,
      [orderId],
    )
  )[0];

/** Makes the bank decide the debit. */
const settle = (intent: string, outcome: 'succeed' | 'fail') =>
  shop.emulator('POST', `payment_intents/${intent}/settle`, { outcome });

/** An order whose buyer has confirmed a bank debit that the bank has not decided yet. */
async function debited(sku: string, stock = 1) {
  await addProduct(store, sku, stock, 29);
  const made = await shop.checkout(sku);
  await shop.pay(made.intent, debit);
  await until(async () => (await holdOf(made.order.id))?.expires === 'infinity');
  return made;
}

describe('an order whose debit is processing', () => {
  test('keeps its unit long after its hold would expire, and is confirmed by the payment', async () => {
    const { order, payment, intent } = await debited('SLOW-DEBIT');
    for (const days of [1, 4, 9]) await store.cron('* * * * *', later(days * day));
    expect(await shop.orderOf(order.id)).toMatchObject({
      status: 'created',
      reservation: { status: 'held', expiresAt: null },
      payment: { status: 'pending' },
    });
    const other = await store.send('POST', '/v1/orders', {
      customerId: 'b',
      items: [{ sku: 'SLOW-DEBIT', quantity: 1 }],
    });
    expect(other).toMatchObject({ status: 409, body: { code: 'insufficient_inventory' } });
    await settle(intent, 'succeed');
    await until(async () => (await shop.orderOf(order.id)).status === 'confirmed');
    expect(await shop.paymentOf(payment.id)).toMatchObject({ status: 'succeeded', amountRefunded: 0 });
  });

  test('gives the buyer the usual time to pay again after the debit fails, and then fails', async () => {
    await addProduct(store, 'RETURNED', 1, 29);
    const { order, payment, intent } = await shop.checkout('RETURNED');
    // Most of the first hold has passed when the bank decides.
    await store.database.query(
      `update inventory.reservations set expires_at = now() + interval '60 seconds' where order_id = $1`,
      [order.id],
    );
    await shop.pay(intent, 'pm_usBankAccount_insufficientFunds');
    await until(async () => (await shop.paymentOf(payment.id)).failureReason === 'insufficient_funds');
    const hold = await holdOf(order.id);
    expect(hold?.seconds).toBeGreaterThan(60);
    expect(hold?.seconds).toBeLessThanOrEqual(900);
    expect(await shop.orderOf(order.id)).toMatchObject({
      status: 'created',
      payment: { status: 'pending', clientSecret: expect.any(String) },
    });
    await store.cron('* * * * *', later(day));
    expect(await shop.orderOf(order.id)).toMatchObject({ status: 'failed', failureReason: 'reservation_expired' });
    expect(await shop.stockOf('RETURNED')).toEqual({ quantity: 1, reserved: 0 });
  });

  test('fails in time if the webhook of the failed debit was lost and the amount was changed at Stripe', async () => {
    const { order, intent } = await debited('CHANGED-AFTER');
    await shop.webhooks({ lose: 1 });
    await settle(intent, 'fail');
    await shop.emulator('POST', 'dashboard/change', { payment_intent: intent, amount: 100 });
    await shop.webhooks({ lose: 0 });
    await until(async () => {
      await store.cron('* * * * *', later(day));
      return (await holdOf(order.id))?.expires !== 'infinity';
    });
    await until(async () => {
      await store.cron('* * * * *', later(3 * day));
      return (await shop.orderOf(order.id)).status === 'failed';
    });
    expect(await shop.stockOf('CHANGED-AFTER')).toEqual({ quantity: 1, reserved: 0 });
    await until(async () => (await shop.stripe.paymentIntents.retrieve(intent)).status === 'canceled');
  });

  test('can be paid again after the debit was cancelled at Stripe', async () => {
    const { order, payment, intent } = await debited('CALLED-OFF');
    await shop.stripe.paymentIntents.cancel(intent);
    await until(async () => (await shop.paymentOf(payment.id)).status === 'cancelled');
    expect((await holdOf(order.id))?.seconds).toBeGreaterThan(880);
    const again = await store.send('POST', '/v1/payments', { orderId: order.id });
    expect(again).toMatchObject({ status: 201, body: { status: 'pending' } });
    expect(again.body.id).not.toBe(payment.id);
  });

  test('keeps its unit if its debit is cancelled while another debit of the same payment is processing', async () => {
    const { order, payment, intent } = await debited('TWO-DEBITS');
    const names = { orderId: order.id, tenant: 'default' };
    const [own, other] = [intent, 'pi_other_debit'].map((id) => eventsOf(payment.id, id, 2900, names));
    await shop.deliver(other?.processing() ?? '');
    await shop.deliver(own?.canceled() ?? '');
    expect((await shop.paymentOf(payment.id)).stripePaymentIntentId).toBe('pi_other_debit');
    expect((await holdOf(order.id))?.expires).toBe('infinity');
    await shop.deliver(other?.failed() ?? '');
    expect((await holdOf(order.id))?.seconds).toBeGreaterThan(880);
  });

  test('is cancelled by the merchant at once, and the payment is refunded when it arrives', async () => {
    const { order, payment, intent } = await debited('REGRETTED');
    // Stripe cannot cancel a debit that a bank is deciding.
    await shop.fault({
      times: 1_000,
      method: 'POST',
      path: `/v1/payment_intents/${intent}/cancel`,
      action: 'status',
      status: 500,
    });
    const cancelled = await store.send('POST', `/v1/orders/${order.id}/cancel`, {});
    expect(cancelled).toMatchObject({
      status: 200,
      body: { status: 'cancelled', reservation: { status: 'released' } },
    });
    expect(await shop.stockOf('REGRETTED')).toEqual({ quantity: 1, reserved: 0 });
    await settle(intent, 'succeed');
    await shop.clearFaults();
    await until(async () => (await shop.paymentOf(payment.id)).status === 'refunded');
    expect(await shop.orderOf(order.id)).toMatchObject({ status: 'cancelled', payment: { amountRefunded: 29 } });
    const history = await shop.historyOf(order.id);
    expect(history).toContain('payment.refund.requested');
    expect(history).not.toContain('order.confirmed');
    expect(await shop.stockOf('REGRETTED')).toEqual({ quantity: 1, reserved: 0 });
  });

  test('is not failed by a cron that had selected its hold as expired before the debit began', async () => {
    await addProduct(store, 'AT-THE-BELL', 1, 29);
    const key = await store.database.key({ tenant: 'acme' });
    const product = { sku: 'BLOCKER', name: 'Blocker', price: 5, currency: 'USD', inventory: 1 };
    await store.send('POST', '/v1/products', product, { key });
    const { body: blocker } = await store.send('POST', '/v1/orders', oneLine('BLOCKER'), { key });
    const { order, payment, intent } = await shop.checkout('AT-THE-BELL');
    await store.settled();
    const cron = new pg.Client(store.database.url);
    await cron.connect();
    // Stripe’s events are read, and the job lists the expired holds of all tenants. It is then slow with the order of
    // acme.
    await store.database.query(`insert into payments.stripe_reading (read_until) values ('2999-01-01')
      on conflict (one) do update set read_until = excluded.read_until`);
    await store.database.query(`create function public.slow() returns trigger language plpgsql as $$
      begin perform pg_sleep(3); return new; end $$`);
    await store.database.query(`create trigger slow before update on orders.orders for each row
      when (old.id = '${blocker.id}') execute function public.slow()`);
    const expiring = cron.query('select orders.expire_holds($1, $2)', [
      JSON.stringify({ jobSecret, now: later(day).toISOString() }),
      JSON.stringify({ limit: 200 }),
    ]);
    await until(async () => {
      const [row] = await store.database.query<{ n: number }>(
        `select count(*)::int as n from pg_stat_activity where wait_event = 'PgSleep' and query like '%expire_holds%'
         and datname = current_database()`,
      );
      return row?.n === 1;
    });
    await shop.deliver(eventsOf(payment.id, intent, 2900).processing());
    await expiring;
    await cron.end();
    await store.database.query('drop function public.slow cascade; delete from payments.stripe_reading');
    expect((await store.send('GET', `/v1/orders/${blocker.id}`, undefined, { key })).body.status).toBe('failed');
    expect(await shop.orderOf(order.id)).toMatchObject({ status: 'created', payment: { status: 'pending' } });
    expect(await holdOf(order.id)).toMatchObject({ status: 'held', expires: 'infinity' });
  });
});

describe('a place whose debit is processing', () => {
  test('is kept while the campaign waits for it, and gives the buyer the usual time to pay again after it fails', async () => {
    const campaign = await fixture.start('PLACE-DEBIT', 5, { minParticipants: 3 });
    const { body: place } = await fixture.join(campaign.id, 'ada');
    const { body: payment } = await store.send('POST', '/v1/payments', { orderId: place.orderId });
    const payloads = eventsOf(payment.id, payment.stripePaymentIntentId, 2000);
    await shop.deliver(payloads.processing());
    const [kept] = (await store.send('GET', `/v1/campaigns/${campaign.id}/participants`)).body.data;
    expect(kept).toMatchObject({ state: 'joined', secureBy: null });
    await store.cron('* * * * *', later(3_600_000));
    expect(await fixture.statesOf(campaign.id)).toEqual({ ada: 'joined' });
    await shop.deliver(payloads.processing());
    await shop.deliver(payloads.failed());
    const [again] = (await store.send('GET', `/v1/campaigns/${campaign.id}/participants`)).body.data;
    expect(Date.parse(again.secureBy)).toBeGreaterThan(Date.now() + 500_000);
    await store.cron('* * * * *', later(3_600_000));
    expect(await fixture.statesOf(campaign.id)).toEqual({ ada: 'released' });
    expect(await shop.stockOf('PLACE-DEBIT')).toEqual({ quantity: 5, reserved: 0 });
    await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
  });

  test('becomes an order that keeps its unit beyond the grace period, and is confirmed by the payment', async () => {
    const campaign = await fixture.start('GRACE-DEBIT', 5);
    const places = [];
    for (const user of ['ada', 'ben']) {
      const { body: place } = await fixture.join(campaign.id, user);
      const { body: payment } = await store.send('POST', '/v1/payments', { orderId: place.orderId });
      const payloads = eventsOf(payment.id, payment.stripePaymentIntentId, 2000);
      await shop.deliver(payloads.processing());
      places.push({ place, payloads });
    }
    await store.settled();
    expect(await fixture.statesOf(campaign.id)).toEqual({ ada: 'ordered', ben: 'ordered' });
    await store.database.query(`update payments.payments set checked_at = 'infinity' where campaign_id = $1`, [
      campaign.id,
    ]);
    await store.cron('* * * * *', later(20 * day));
    expect(await fixture.statesOf(campaign.id)).toEqual({ ada: 'ordered', ben: 'ordered' });
    await shop.deliver(places[0]?.payloads.succeeded() ?? '');
    await shop.deliver(places[1]?.payloads.failed() ?? '');
    expect(await fixture.statesOf(campaign.id)).toEqual({ ada: 'charged', ben: 'ordered' });
    expect(await shop.orderOf(places[0]?.place.orderId)).toMatchObject({ status: 'confirmed' });
    const { reservation } = await shop.orderOf(places[1]?.place.orderId);
    expect(Date.parse(reservation.expiresAt)).toBeGreaterThan(Date.now() + 800_000);
    await store.cron('* * * * *', later(day));
    await store.settled();
    expect(await fixture.statesOf(campaign.id)).toEqual({ ada: 'charged', ben: 'released' });
    expect(await shop.stockOf('GRACE-DEBIT')).toEqual({ quantity: 4, reserved: 0 });
  });

  test('and was charged without the buyer is released when the bank rejects the debit days later', async () => {
    const campaign = await fixture.start('SAVED-DEBIT', 5, { endTime: later(20 * day).toISOString() });
    const orders: string[] = [];
    for (const user of ['ada', 'ben', 'cyd']) {
      const { body: place } = await fixture.join(campaign.id, user);
      const { body: payment } = await store.send('POST', '/v1/payments', { orderId: place.orderId });
      if (payment.clientSecret !== null) await fixture.confirmSecret(payment.clientSecret, debit);
      orders.push(place.orderId);
      if (user === 'ada') await until(async () => (await fixture.statesOf(campaign.id)).ada === 'secured');
    }
    const charges = async () =>
      (await fixture.intentsOf(orders)).filter(({ status }) => status === 'processing').map(({ id }) => id);
    await until(async () => (await charges()).length >= 2);
    for (const days of [1, 3, 9]) await store.cron('* * * * *', later(days * day));
    const debits = await charges();
    expect(new Set((await fixture.intentsOf(orders)).map(({ metadata }) => metadata.orderId)).size).toBe(
      (await fixture.intentsOf(orders)).length,
    );
    const ofOrder = async (id: string) => (await fixture.intentsOf([id]))[0]?.id ?? '';
    const [ada = '', ben = ''] = orders;
    expect(debits).toContain(await ofOrder(ada));
    await settle(await ofOrder(ada), 'fail');
    await settle(await ofOrder(ben), 'succeed');
    await until(async () => (await shop.orderOf(ben)).status === 'confirmed');
    await until(async () => (await fixture.statesOf(campaign.id)).ada === 'released');
    expect(await shop.orderOf(ada)).toMatchObject({ status: 'failed', payment: { status: 'failed' } });
    expect((await fixture.statesOf(campaign.id)).ben).toBe('charged');
  });
});

describe('a tenant with delayed payment methods switched off', () => {
  const allow = (allowed: boolean) =>
    store.database.query(`update platform.tenants set delayed_payments = $1 where id = 'default'`, [allowed]);

  test('offers none to its buyers, for orders and places, until it is switched on again', async () => {
    await allow(false);
    await addProduct(store, 'AT-ONCE', 5, 29);
    const { order, intent } = await shop.checkout('AT-ONCE');
    expect((await shop.stripe.paymentIntents.retrieve(intent)).payment_method_types).toEqual(['card']);
    expect(await shop.pay(intent, debit)).toBeUndefined();
    const campaign = await fixture.start('AT-ONCE-PLACE', 5, { endTime: later(20 * day).toISOString() });
    const { body: place } = await fixture.join(campaign.id, 'ada');
    const { body: saving } = await store.send('POST', '/v1/payments', { orderId: place.orderId });
    const setup = await shop.stripe.setupIntents.retrieve(saving.clientSecret.split('_secret_')[0]);
    expect(setup.payment_method_types).toEqual(['card']);
    await shop.pay(intent);
    await until(async () => (await shop.orderOf(order.id)).status === 'confirmed');
    await allow(true);
    const again = await shop.checkout('AT-ONCE');
    expect((await shop.stripe.paymentIntents.retrieve(again.intent)).payment_method_types).toContain('us_bank_account');
  });
});
