import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { readWebhook } from '../../src/stripe/webhook.ts';
import { campaignFixture } from '../support/campaigns.ts';
import { addProduct, cronUntil, oneLine, type Store, startStore, until } from '../support/harness.ts';
import { eventsOf, type PaymentFixture, paymentFixture } from '../support/payments.ts';
import { jobSecret } from '../support/secrets.ts';

/** The tenant acme has the account `acct_acme`, the tenant third has `acct_third`, and default has none. */
const [ACME, THIRD, NEXT] = ['acct_acme', 'acct_third', 'acct_next'];
const connectSecret = 'whsec_dev_connect';

let store: Store;
let acme: Store;
let shop: PaymentFixture;
let platform: PaymentFixture;
let third: Store;
beforeAll(async () => {
  store = await startStore({ stripe: { connectedAccounts: [ACME, THIRD, NEXT] } });
  await store.database.query(`insert into platform.tenants (id, name) values ('third', 'Third')`);
  acme = await storeOf('acme');
  third = await storeOf('third');
  shop = paymentFixture(acme, ACME);
  platform = paymentFixture(store);
  await useAccount('acme', ACME);
  await useAccount('third', THIRD);
});
afterEach(async () => {
  await shop.clearFaults();
  await shop.webhooks({ lose: 0 });
  await useAccount('acme', ACME);
});
afterAll(() => store.close());

/** The store as a tenant uses it. */
async function storeOf(tenant: string): Promise<Store> {
  const key = await store.database.key({ tenant });
  return { ...store, key, send: (method, path, body, more = {}) => store.send(method, path, body, { key, ...more }) };
}

const useAccount = (tenant: string, account: string | null) =>
  store.database.query('update platform.tenants set stripe_account = $2 where id = $1', [tenant, account]);
const minutes = (count: number) => new Date(Date.now() + count * 60_000);
const skuOf = (name: string) => `${name}-${randomUUID().slice(0, 8)}`;

async function checkout(name: string) {
  const sku = skuOf(name);
  await addProduct(acme, sku, 5, 30);
  return { sku, ...(await shop.checkout(sku)) };
}

async function paid(name: string) {
  const made = await checkout(name);
  await shop.pay(made.intent);
  await until(async () => (await shop.orderOf(made.order.id)).status === 'confirmed');
  return made;
}

const lettersOf = async (of: Store): Promise<{ id: string; sink: string; reason: string; key: string }[]> =>
  (await of.send('GET', '/v1/dead-letters?limit=100')).body.data;
const intentAtStripe = async (id: string) => (await shop.state()).intents.find((intent) => intent.id === id);
const refundsAtStripe = async (intent: string) =>
  (await shop.state()).refunds.filter((refund) => refund.payment_intent === intent);
const rowOf = async (paymentId: string) =>
  (await store.database.query('select * from payments.payments where payment_id = $1', [paymentId]))[0];
/** Calls a function as the Worker does, of this or an earlier release. */
const run = async (name: string, input: object) =>
  (
    await store.database.query<{ result: Record<string, unknown> }>(`select ${name}($1, $2) as result`, [
      { jobSecret },
      input,
    ])
  )[0]?.result;

describe('an order of a tenant with its own account', () => {
  test('is paid and refunded there, and the platform’s account has nothing of it', async () => {
    const { order, payment, intent } = await paid('OWN');
    expect(payment.stripeAccount).toBe(ACME);
    const refund = await acme.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 10 });
    expect(refund.status).toBe(201);
    await until(async () => (await shop.state()).refunds.some((made) => made.payment_intent === intent));
    await shop.quiet();
    expect(await intentAtStripe(intent)).toMatchObject({ account: ACME, captured: 3_000, refunded: 1_000 });
    expect((await acme.send('GET', `/v1/payments/${payment.id}/refunds`)).body.data).toMatchObject([
      { status: 'succeeded', amount: 10 },
    ]);
    await expect(platform.stripe.paymentIntents.retrieve(intent)).rejects.toMatchObject({ statusCode: 404 });
    await acme.send('POST', `/v1/orders/${order.id}/cancel`, {});
    await shop.quiet();
    expect((await shop.orderOf(order.id)).payment).toMatchObject({ status: 'refunded', amountRefunded: 30 });
  });

  test('has its payment there with expand: ["payment"], in one database call', async () => {
    const sku = skuOf('EXPAND');
    await addProduct(acme, sku, 5);
    const placed = await acme.send('POST', '/v1/orders', oneLine(sku, 1, { expand: ['payment'] }));
    expect(placed.status).toBe(201);
    expect(placed.headers.get('server-timing')).toContain('"1 calls"');
    const { payment } = placed.body;
    expect(payment.stripeAccount).toBe(ACME);
    expect(await intentAtStripe(payment.stripePaymentIntentId)).toMatchObject({ account: ACME });
    await shop.pay(payment.stripePaymentIntentId);
    await until(async () => (await shop.orderOf(placed.body.id)).status === 'confirmed');
  });

  test('and one of a tenant without an account are paid on different accounts', async () => {
    const sku = skuOf('PLATFORM');
    await addProduct(store, sku, 5);
    const { order, payment, intent } = await platform.checkout(sku);
    expect(payment.stripeAccount).toBeNull();
    await platform.pay(intent);
    await until(async () => (await platform.orderOf(order.id)).status === 'confirmed');
    expect(await intentAtStripe(intent)).toMatchObject({ account: null });
  });

  test('that ends is closed there', async () => {
    const { order, intent } = await checkout('CLOSED');
    await acme.send('POST', `/v1/orders/${order.id}/cancel`, {});
    await shop.quiet();
    expect(await intentAtStripe(intent)).toMatchObject({ account: ACME, status: 'canceled' });
  });
});

describe('a tenant that changes its account', () => {
  const campaignEnds = { hold: undefined, card: new Date(Date.now() + 30 * 86_400_000).toISOString() };
  test.each(['hold', 'card'] as const)(
    'charges and refunds the %s of a place on the account of the place',
    async (mode) => {
      const before = campaignFixture(acme, ACME);
      const after = campaignFixture(acme, NEXT);
      const endTime = campaignEnds[mode];
      const campaign = await before.start(skuOf('MOVED'), 10, endTime ? { endTime } : {});
      const first = (await before.join(campaign.id, 'first')).body;
      const opened = await before.confirm(first.orderId);
      await shop.quiet();
      await useAccount('acme', NEXT);
      const second = (await after.join(campaign.id, 'second')).body;
      const next = await after.confirm(second.orderId);
      expect([opened.stripeAccount, next.stripeAccount]).toEqual([ACME, NEXT]);
      await until(async () => Object.values(await before.statesOf(campaign.id)).every((state) => state === 'charged'));
      const taken = (await shop.state()).intents
        .filter(({ metadata }) => [first.orderId, second.orderId].includes(metadata.orderId ?? ''))
        .map(({ account, captured }) => ({ account, captured }));
      expect(taken.sort((a, b) => (String(a.account) < String(b.account) ? -1 : 1))).toEqual([
        { account: ACME, captured: 2_000 },
        { account: NEXT, captured: 2_000 },
      ]);
      await acme.send('POST', `/v1/payments/${opened.id}/refunds`, {});
      await until(async () => (await rowOf(opened.id))?.status === 'refunded');
      const { intents } = await shop.state();
      expect(intents.find(({ metadata }) => metadata.paymentId === opened.id)).toMatchObject({
        account: ACME,
        refunded: 2_000,
      });
    },
  );

  test('gets the intent of a payment that was opened before on the account of the payment', async () => {
    const sku = skuOf('LATER');
    await addProduct(acme, sku, 5);
    await shop.fault({
      times: 100,
      method: 'POST',
      path: '/v1/payment_intents',
      action: 'status',
      status: 503,
      saved: false,
    });
    const { body: order } = await acme.send('POST', '/v1/orders', oneLine(sku));
    await acme.send('POST', '/v1/payments', { orderId: order.id });
    await shop.clearFaults();
    await useAccount('acme', NEXT);
    const { body: payment } = await acme.send('POST', '/v1/payments', { orderId: order.id });
    expect(payment.stripeAccount).toBe(ACME);
    expect(await intentAtStripe(payment.stripePaymentIntentId)).toMatchObject({ account: ACME });
  });
});

test('a payment keeps its account', async () => {
  const { payment } = await checkout('KEEPS');
  const change = store.database.query('update payments.payments set stripe_account = $2 where payment_id = $1', [
    payment.id,
    NEXT,
  ]);
  await expect(change).rejects.toMatchObject({ constraint: 'payments_keep_account' });
});

test('an account belongs to one tenant', async () => {
  await expect(useAccount('default', ACME)).rejects.toMatchObject({ constraint: 'tenants_stripe_account_unique' });
});

describe('nothing changes a payment but an update of its own account:', () => {
  const untouched = async (paymentId: string) => {
    expect(await rowOf(paymentId)).toMatchObject({ status: 'pending', captured: '0.00', dispute: null });
    const known = await store.database.query('select stripe_account from payments.intents where payment_id = $1', [
      paymentId,
    ]);
    expect(known).toEqual([{ stripe_account: ACME }]);
  };

  test('an intent of another merchant that names it is reported to that merchant alone', async () => {
    const { order, payment } = await checkout('FORGED');
    const metadata = { paymentId: payment.id, orderId: order.id, tenant: 'acme' };
    const paidElsewhere = { amount: 3_000, currency: 'usd', metadata, payment_method: 'pm_card_visa' };
    await shop.emulator('POST', 'dashboard/create', { account: THIRD, ...paidElsewhere });
    await until(async () => (await lettersOf(third)).some(({ key }) => key === payment.id));
    await shop.quiet();
    const [letter] = (await lettersOf(third)).filter(({ key }) => key === payment.id);
    expect(letter).toMatchObject({ sink: 'stripe', reason: expect.stringMatching(/^account_differs: /) });
    expect(JSON.stringify(letter)).not.toContain(order.id);
    expect((await lettersOf(acme)).filter(({ key }) => key === payment.id)).toEqual([]);
    await untouched(payment.id);
    expect((await shop.orderOf(order.id)).status).toBe('created');
    // The cron reads the same events from the list of the account.
    await store.cron();
    await untouched(payment.id);
  });

  test('an intent of the platform’s account that names it is reported to its tenant', async () => {
    const { order, payment } = await checkout('BY-PLATFORM');
    const metadata = { paymentId: payment.id, orderId: order.id, tenant: 'acme' };
    const created = { amount: 3_000, currency: 'usd', metadata, payment_method: 'pm_card_visa' };
    await shop.emulator('POST', 'dashboard/create', created);
    await until(async () => (await lettersOf(acme)).some(({ key }) => key === payment.id));
    await untouched(payment.id);
  });

  test.each([
    ['amount', { amount: 2_999, currency: 'usd' }],
    ['currency', { amount: 3_000, currency: 'eur' }],
  ])('an intent of its own account with another %s is reported to its tenant', async (what, money) => {
    const { order, payment } = await checkout('DIFFERS');
    const metadata = { paymentId: payment.id, orderId: order.id, tenant: 'acme' };
    await shop.emulator('POST', 'dashboard/create', {
      account: ACME,
      ...money,
      metadata,
      payment_method: 'pm_card_visa',
    });
    const isReported = ({ key, reason }: { key: string; reason: string }) =>
      key === payment.id && reason.startsWith(`${what}_differs`);
    await until(async () => (await lettersOf(acme)).some(isReported));
    await shop.quiet();
    expect(await rowOf(payment.id)).toMatchObject({ status: 'pending', captured: '0.00' });
    expect((await shop.orderOf(order.id)).status).toBe('created');
  });

  test('events of another account with the id of its intent', async () => {
    const { order, payment, intent } = await paid('SAME-ID');
    const names = { orderId: order.id, tenant: 'acme' };
    const events = eventsOf(payment.id, intent, 3_000, names);
    const before = [await rowOf(payment.id), await shop.rowsOfOrder(order.id)];
    const forged = [
      events.canceled(),
      events.failed(),
      events.chargeRefunded(3_000),
      events.refund('created', `re_${randomUUID()}`, 3_000, 'succeeded'),
      events.refund('failed', `re_${randomUUID()}`, 3_000, 'failed'),
      events.disputeCreated(),
      events.disputeClosed('lost'),
      events.event('setup_intent.canceled', {
        id: 'seti_1',
        object: 'setup_intent',
        status: 'canceled',
        metadata: { paymentId: payment.id },
      }),
    ];
    for (const account of [THIRD, null]) {
      for (const event of forged) {
        const payload = JSON.stringify({
          ...JSON.parse(event),
          id: `evt_${randomUUID()}`,
          ...(account && { account }),
        });
        const { status } = await shop.deliver(payload, { secret: account ? connectSecret : 'whsec_dev' });
        expect(status).toBe(200);
      }
    }
    expect([await rowOf(payment.id), await shop.rowsOfOrder(order.id)]).toEqual(before);
  });

  test('an event whose account the wrong secret has signed', async () => {
    const { order, payment, intent } = await checkout('WRONG-SECRET');
    const { succeeded } = eventsOf(payment.id, intent, 3_000, { orderId: order.id, tenant: 'acme' });
    const replies = [
      await shop.deliver(succeeded({ account: ACME }), { secret: 'whsec_dev' }),
      await shop.deliver(succeeded(), { secret: connectSecret }),
      await shop.deliver(succeeded({ account: 'acme' }), { secret: connectSecret }),
    ];
    expect(replies.map(({ status, body }) => [status, body.code])).toEqual(Array(3).fill([400, 'invalid_signature']));
    await untouched(payment.id);
    expect((await shop.deliver(succeeded({ account: ACME }), { secret: connectSecret })).status).toBe(200);
    expect(await rowOf(payment.id)).toMatchObject({ status: 'succeeded' });
  });

  test('a call of an earlier release, which knows the platform’s account only', async () => {
    const { order, payment, intent } = await checkout('EARLIER');
    const madeFor = { paymentId: payment.id, orderId: order.id, tenant: 'acme' };
    const success = { status: 'succeeded', received: '30.00', amount: '30.00', currency: 'USD', madeFor };
    expect(
      await run('payments.apply_stripe', { paymentId: payment.id, intentId: 'pi_platform', intent: success }),
    ).toMatchObject({
      outcome: 'set_aside',
      reason: 'account_differs',
    });
    const refund = { id: null, stripeId: 're_1', status: 'succeeded', amount: '30.00', failure: null };
    expect(await run('payments.apply_stripe', { intentId: intent, refund })).toEqual({ outcome: 'unknown' });
    const made = { id: payment.id, intentId: 'pi_platform', clientSecret: 'secret', status: 'requires_payment_method' };
    await run('payments.record_intents', { tenant: 'acme', intents: [made], refused: [], again: [] });
    await untouched(payment.id);
    expect((await rowOf(payment.id))?.stripe_payment_intent_id).toBe(intent);
  });
});

describe('lost webhooks of an account', () => {
  test('are read from its list of events by the cron', async () => {
    const { order, payment, intent } = await checkout('LOST');
    await shop.webhooks({ lose: 1 });
    await shop.pay(intent);
    expect((await shop.orderOf(order.id)).status).toBe('created');
    await cronUntil(store, new Date(), async () => (await shop.orderOf(order.id)).status === 'confirmed');
    await shop.emulator('POST', 'dashboard/refund', { payment_intent: intent });
    await cronUntil(store, minutes(70), async () => (await rowOf(payment.id))?.status === 'refunded');
  });

  test('of a dispute are read again by the hourly cron', async () => {
    const { payment, intent } = await paid('DISPUTED');
    await store.cron();
    await shop.webhooks({ lose: 1 });
    await shop.emulator('POST', 'dashboard/dispute', { payment_intent: intent });
    await until(async () => (await shop.state()).disputes.some((dispute) => dispute.payment_intent === intent));
    await store.cron('17 * * * *');
    expect((await shop.paymentOf(payment.id)).dispute).toBe('open');
  });

  test('that fail in the database are set aside, and retried on their account', async () => {
    const { order, intent } = await checkout('ASIDE');
    await shop.webhooks({ lose: 1 });
    await shop.pay(intent);
    await store.database.query(`create function public.fail() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
      create trigger fail before update on orders.orders for each row when (new.status = 'confirmed') execute function public.fail()`);
    await store.cron();
    const isAside = ({ sink, key }: { sink: string; key: string }) => sink === 'hear-accounts' && key !== '';
    expect((await lettersOf(acme)).filter(isAside)).toHaveLength(1);
    await store.database.query('drop function public.fail() cascade');
    await cronUntil(store, minutes(2), async () => (await shop.orderOf(order.id)).status === 'confirmed');
    await until(async () => {
      await store.cron('* * * * *', minutes(4));
      return (await lettersOf(acme)).filter(isAside).length === 0;
    });
  });

  test('keep a hold until the list of its account is read, whatever is known of the platform’s account', async () => {
    const sku = skuOf('PLATFORM-HOLD');
    await addProduct(store, sku, 5);
    const other = await platform.checkout(sku);
    const held = await checkout('HOLD');
    const late = await checkout('PAID-LATE');
    await shop.webhooks({ lose: 1 });
    await shop.pay(late.intent);
    await store.database.query(`insert into payments.stripe_reading (read_until) values ('2999-01-01')
      on conflict (one) do update set read_until = '2999-01-01'`);
    await store.database.query(`delete from payments.account_readings`);
    const away = { times: 1_000, method: 'GET', action: 'status', status: 429 };
    await shop.fault({ ...away, path: '/v1/events' });
    await shop.fault({ ...away, path: '/v1/payment_intents' });
    // The run fails, because the list of the platform’s own account cannot be read.
    for (const at of [16, 17, 18]) await expect(store.cron('* * * * *', minutes(at))).rejects.toThrow('the cron ended');
    expect((await platform.orderOf(other.order.id)).status).toBe('failed');
    expect((await shop.orderOf(held.order.id)).status).toBe('created');
    expect((await shop.orderOf(late.order.id)).status).toBe('created');
    await shop.clearFaults();
    await cronUntil(store, minutes(19), async () => (await shop.orderOf(held.order.id)).status === 'failed');
    await cronUntil(store, minutes(19), async () => (await shop.orderOf(late.order.id)).status === 'confirmed');
    await store.database.query('delete from payments.stripe_reading');
  });
});

const triedAt = async () =>
  (
    await store.database.query<{ tried_at: Date }>(
      'select tried_at from payments.account_readings where account = $1',
      [ACME],
    )
  )[0]?.tried_at.getTime();

test('an account whose list of events Stripe does not return waits for its next turn behind the others', async () => {
  await checkout('NO-LIST');
  await store.database.query('delete from payments.account_readings');
  await shop.fault({ times: 1_000, method: 'GET', path: '/v1/events', action: 'status', status: 503, saved: false });
  const at = minutes(1);
  await expect(store.cron('* * * * *', at)).rejects.toThrow('the cron ended');
  expect(await triedAt()).toBe(at.getTime());
});

describe('while a tenant gives no access to its account', () => {
  const withdraw = () => shop.emulator('POST', `accounts/${ACME}/deauthorize`, {});
  const restore = () => shop.emulator('POST', `accounts/${ACME}/authorize`, {});
  afterEach(restore);

  test('its list of events is asked for every ten minutes only, however many of its events wait to be retried', async () => {
    const unpaid = await checkout('MANY-ASIDE');
    await store.database.query(
      `insert into platform.dead_letters (id, tenant_id, sink, event_id, topic, key, message, reason, attempts, created_at, retry_at)
       select 'aside-' || n, 'acme', 'hear-accounts', $1 || ' evt_aside_' || n, '', 'none', '{}', 'test', 1, now(), now()
       from generate_series(1, 300) n`,
      [ACME],
    );
    await withdraw();
    const first = minutes(16);
    await store.cron('* * * * *', first);
    expect(await triedAt()).toBe(first.getTime());
    await cronUntil(store, minutes(17), async () => (await shop.orderOf(unpaid.order.id)).status === 'failed');
    expect(await triedAt()).toBe(first.getTime());
    const later = minutes(27);
    await store.cron('* * * * *', later);
    expect(await triedAt()).toBe(later.getTime());
    await store.database.query(`delete from platform.dead_letters where id like 'aside-%'`);
  });

  test('its orders cannot be paid, its holds end, and those of others go on', async () => {
    const unpaid = await checkout('UNPAID');
    await withdraw();
    await until(async () => (await lettersOf(acme)).some(({ key }) => key === ACME));
    const sku = skuOf('CLOSED');
    await addProduct(acme, sku, 5);
    const { body: order } = await acme.send('POST', '/v1/orders', oneLine(sku));
    const refused = await acme.send('POST', '/v1/payments', { orderId: order.id });
    expect(refused).toMatchObject({
      status: 409,
      body: { code: 'order_not_payable', detail: expect.stringContaining(ACME) },
    });
    const expanded = await acme.send('POST', '/v1/orders', oneLine(sku, 1, { expand: ['payment'] }));
    expect(expanded).toMatchObject({ status: 409, body: { code: 'order_not_payable' } });

    const other = skuOf('OTHER');
    await addProduct(store, other, 5);
    const made = await platform.checkout(other);
    await shop.webhooks({ lose: 1 });
    await platform.pay(made.intent);
    await cronUntil(store, new Date(), async () => (await platform.orderOf(made.order.id)).status === 'confirmed');
    await cronUntil(store, minutes(16), async () => (await shop.orderOf(unpaid.order.id)).status === 'failed');
    await shop.webhooks({ lose: 0 });
    // Its intent is closed when the access is back.
    await until(async () =>
      (await lettersOf(acme)).some(({ key, sink }) => key === unpaid.payment.id && sink === 'reconcile-payments'),
    );
    await restore();
    for (const { id, sink } of await lettersOf(acme))
      if (sink === 'reconcile-payments')
        expect((await acme.send('POST', `/v1/dead-letters/${id}/replay`, {})).status).toBe(202);
    await cronUntil(store, minutes(30), async () => (await intentAtStripe(unpaid.intent))?.status === 'canceled');
  });

  test('its refunds wait as dead letters, are not retried, and are made once when they are replayed', async () => {
    const { payment, intent } = await paid('REFUND');
    await withdraw();
    await acme.send('POST', `/v1/payments/${payment.id}/refunds`, { amount: 12 });
    const letters = async () =>
      (await lettersOf(acme)).filter(({ key, sink }) => key === payment.id && sink === 'reconcile-payments');
    await until(async () => (await letters()).length === 1);
    const requests = async () => (await shop.emulator('GET', 'requests')) as { requests: Record<string, number> };
    const asked = (await requests()).requests['POST /v1/refunds'];
    for (const at of [10, 120, 1_500]) await store.cron('* * * * *', minutes(at));
    expect((await requests()).requests['POST /v1/refunds']).toBe(asked);
    expect(await letters()).toMatchObject([{ reason: expect.stringContaining('account_invalid') }]);
    await restore();
    const [letter] = await letters();
    expect((await acme.send('POST', `/v1/dead-letters/${letter?.id}/replay`, {})).status).toBe(202);
    await cronUntil(store, minutes(30), async () => (await refundsAtStripe(intent)).length > 0);
    await until(async () => (await rowOf(payment.id))?.refund_done === '12.00');
    expect(await refundsAtStripe(intent)).toMatchObject([{ amount: 1_200, status: 'succeeded' }]);
    await until(async () => (await letters()).length === 0);
    expect((await shop.paymentOf(payment.id)).amountRefunded).toBe(12);
  });
});

describe('POST /v1/tenant/stripe-account', () => {
  const open = (of: Store, body: object = {}, idempotencyKey: string = randomUUID()) =>
    of.send('POST', '/v1/tenant/stripe-account', body, { idempotencyKey });
  const accountsOf = async (id: string) =>
    (await store.database.query('select stripe_account, stripe_pending from platform.tenants where id = $1', [id]))[0];
  async function newTenant() {
    const id = `t${randomUUID().slice(0, 8)}`;
    await store.database.query('insert into platform.tenants (id, name) values ($1, $1)', [id]);
    return { id, of: await storeOf(id) };
  }

  test('makes one account, however often it is called at once, and each call returns a link of it', async () => {
    const { id, of } = await newTenant();
    const replies = await Promise.all(Array.from({ length: 6 }, () => open(of)));
    expect(replies.map(({ status }) => status)).toEqual(Array(6).fill(201));
    const [account] = new Set(replies.map(({ body }) => body.account));
    expect(await accountsOf(id)).toEqual({ stripe_account: null, stripe_pending: account });
    expect(new Set(replies.map(({ body }) => body.url)).size).toBe(6);
    expect(replies[0]?.body).toEqual({
      account,
      url: expect.stringMatching(/^http/),
      expiresAt: expect.stringMatching(/Z$/),
    });
    const { accounts } = (await shop.state()) as unknown as { accounts: { id: string; shown: { metadata: object } }[] };
    expect(accounts.filter(({ shown }) => 'tenant' in shown.metadata && shown.metadata.tenant === id)).toHaveLength(1);
    const key = randomUUID();
    const [one, two] = [await open(of, {}, key), await open(of, {}, key)];
    expect([two.body, two.headers.get('idempotent-replayed')]).toEqual([one.body, 'true']);
  });

  test.each(['a webhook', 'the next call'])('lets the account take payments once Stripe says so in %s', async (how) => {
    const { id, of } = await newTenant();
    const own = paymentFixture(of);
    const sku = skuOf('ONBOARD');
    await addProduct(of, sku, 5);
    const earlier = await own.checkout(sku);
    const { body } = await open(of);
    const during = await own.checkout(sku);
    expect([earlier.payment.stripeAccount, during.payment.stripeAccount]).toEqual([null, null]);
    if (how !== 'a webhook') await shop.webhooks({ lose: 1 });
    const finished = { method: 'POST', redirect: 'manual' as const, body: JSON.stringify({ outcome: 'finish' }) };
    expect((await fetch(body.url, finished)).status).toBeLessThan(400);
    if (how !== 'a webhook') expect((await open(of)).body.account).toBe(body.account);
    await until(async () => (await accountsOf(id))?.stripe_account === body.account);
    expect(await accountsOf(id)).toEqual({ stripe_account: body.account, stripe_pending: null });
    expect((await own.checkout(sku)).payment.stripeAccount).toBe(body.account);
    await own.pay(earlier.intent);
    await cronUntil(store, new Date(), async () => (await own.orderOf(earlier.order.id)).status === 'confirmed');
  });

  test('of a tenant whose access was withdrawn is rejected', async () => {
    await shop.emulator('POST', `accounts/${THIRD}/deauthorize`, {});
    expect(await open(third)).toMatchObject({ status: 409, body: { code: 'conflict' } });
    await shop.emulator('POST', `accounts/${THIRD}/authorize`, {});
    expect((await open(third)).body.account).toBe(THIRD);
  });

  test('needs the scope tenant:write', async () => {
    const key = await store.database.key({ tenant: 'third', scopes: ['payments:write', 'tenant:read'] });
    expect((await store.send('POST', '/v1/tenant/stripe-account', {}, { key })).status).toBe(403);
  });
});

test('an event of test mode changes nothing where the platform is live', async () => {
  const events = eventsOf('payment', 'pi_1', 3_000, { orderId: 'order', tenant: 'acme' });
  const read = async (key: string, envelope: object) => {
    const payload = events.succeeded({ account: ACME, ...envelope });
    const header = shop.stripe.webhooks.generateTestHeaderString({ payload, secret: connectSecret });
    const secrets = { STRIPE_WEBHOOK_SECRET: 'whsec_dev', STRIPE_CONNECT_WEBHOOK_SECRET: connectSecret };
    const context = { settings: { ...secrets, STRIPE_SECRET_KEY: key }, now: () => new Date() };
    return readWebhook(context, async () => new TextEncoder().encode(payload), header);
  };
  expect(await read('sk_live_1', { livemode: false })).toEqual({});
  expect((await read('sk_live_1', { livemode: true })).update).toMatchObject({ account: ACME, paymentId: 'payment' });
  expect((await read('sk_test_1', { livemode: false })).update).toMatchObject({ account: ACME, paymentId: 'payment' });
});

test('after all these tests, every intent is on the account of its payment', async () => {
  const rows = await store.database.query<{ id: string; account: string | null; captured: string }>(
    `select i.stripe_id as id, i.stripe_account as account, i.received::text as captured from payments.intents i
     join payments.payments p using (payment_id) where i.stripe_account is distinct from p.stripe_account`,
  );
  expect(rows).toEqual([]);
});
