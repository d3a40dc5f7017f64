import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addProduct, type Store, startStore } from '../support/harness.ts';
import { eventsOf, type PaymentFixture, paymentFixture } from '../support/payments.ts';

let store: Store;
let shop: PaymentFixture;
beforeAll(async () => {
  store = await startStore({ variables: { STRIPE_WEBHOOK_SECRET: 'whsec_dev, whsec_next' } });
  shop = paymentFixture(store);
});
afterAll(() => store.close());

const seed = Number(process.env.SEED ?? 20261122);

/** An order that waits for its payment, and builders of Stripe’s events about it. */
async function waiting(sku: string, price = 30) {
  await addProduct(store, sku, 5, price);
  const { order, payment, intent } = await shop.checkout(sku);
  await store.settled();
  return { order, payment, intent, payloads: eventsOf(payment.id, intent, price * 100) };
}

const countOf = async (paymentId: string, topic: string) =>
  (await store.database.query('select 1 from platform.events where key = $1 and topic = $2', [paymentId, topic]))
    .length;

/** Checks that `act` changed nothing: payments, refunds and the number of events stay the same. */
async function unchangedBy(act: () => Promise<void>) {
  const look = () =>
    store.database.query(`select (select jsonb_agg(p order by p.payment_id) from (
        select payment_id, status, captured, refunded, dispute, failure_reason from payments.payments) p) as payments,
      (select count(*) from platform.events) as events, (select count(*) from payments.refunds) as refunds`);
  await store.settled();
  const before = await look();
  await act();
  expect(await look()).toEqual(before);
}

describe('the signature of a webhook', () => {
  test('must be valid for the raw body, or else nothing is applied and the database is not called', async () => {
    const { payloads } = await waiting('SIGNED');
    const payload = payloads.succeeded();
    const now = Math.floor(Date.now() / 1000);
    const header = (more: object = {}) =>
      shop.stripe.webhooks.generateTestHeaderString({ payload, secret: 'whsec_dev', timestamp: now, ...more });
    const send = (body: string, signature?: string) =>
      store.send('POST', '/webhooks/stripe', body, {
        headers: signature === undefined ? {} : { 'stripe-signature': signature },
      });
    await unchangedBy(async () => {
      const answers = [
        await send(payload),
        await send(payload, ''),
        await send(payload, 'nonsense'),
        await send(payload, `t=${now},v1=`),
        await send(payload, header({ secret: 'whsec_other' })),
        await send(payload, header({ secret: 'whsec_dev, whsec_next' })),
        await send(payload, header({ timestamp: now - 310 })),
        await send(payload, header().replace('v1=', 'v0=')),
        await send(payload.replace('succeeded', 'Succeeded'), header()),
        // The same JSON in other bytes.
        await send(JSON.stringify(JSON.parse(payload), null, 1), header()),
      ];
      for (const answer of answers) {
        expect([answer.status, answer.body.code]).toEqual([400, 'invalid_signature']);
        expect(answer.headers.get('server-timing')).toBeNull();
      }
    });
  });

  test('may be 290 seconds old', async () => {
    const { payment, payloads } = await waiting('OLDISH');
    expect((await shop.deliver(payloads.succeeded(), { secondsAgo: 290 })).status).toBe(200);
    expect((await shop.paymentOf(payment.id)).status).toBe('succeeded');
  });

  test('may be by the old or the new secret during a rotation', async () => {
    const { payment, payloads } = await waiting('ROLLED');
    expect((await shop.deliver(payloads.processing(), { secret: 'whsec_dev' })).status).toBe(200);
    expect((await shop.deliver(payloads.succeeded(), { secret: 'whsec_next' })).status).toBe(200);
    expect((await shop.paymentOf(payment.id)).status).toBe('succeeded');
  });

  test('is valid for bytes of any script', async () => {
    const { payment, payloads } = await waiting('SCRIPTS');
    const payload = payloads.succeeded({ note: 'Zoë – 東京 – 🫖\r\n' });
    expect((await shop.deliver(payload)).status).toBe(200);
    expect((await shop.paymentOf(payment.id)).status).toBe('succeeded');
  });
});

describe('a Stripe event', () => {
  test('makes one database call, which updates the payment and its order', async () => {
    const { order, payloads } = await waiting('ONECALL');
    const reply = await shop.deliver(payloads.succeeded());
    expect([reply.status, reply.body]).toEqual([200, { received: true }]);
    expect(reply.headers.get('server-timing')).toMatch(/^db;desc="1 calls"/);
    expect((await shop.orderOf(order.id)).status).toBe('confirmed');
  });

  test('delivered twenty times at once takes effect once', async () => {
    const { order, payment, payloads } = await waiting('TWENTY');
    const paid = payloads.succeeded();
    const answers = await Promise.all(Array.from({ length: 20 }, () => shop.deliver(paid)));
    expect(answers.map((answer) => answer.status)).toEqual(Array(20).fill(200));
    const back = payloads.refund('updated', 're_twenty', 1000, 'succeeded');
    await Promise.all(Array.from({ length: 20 }, () => shop.deliver(back)));
    expect(await countOf(payment.id, 'payment.succeeded')).toBe(1);
    expect(await countOf(payment.id, 'payment.refunded')).toBe(1);
    expect(await shop.stockOf('TWENTY')).toEqual({ quantity: 4, reserved: 0 });
    expect((await shop.rowsOfOrder(order.id)).payments).toMatchObject([{ captured: '30.00', refund_done: '10.00' }]);
  });

  test('reported as twenty different events at once, a success takes effect once', async () => {
    const { order, payment, payloads } = await waiting('RETOLD');
    const answers = await Promise.all(Array.from({ length: 20 }, () => shop.deliver(payloads.succeeded())));
    expect(answers.map((answer) => answer.status)).toEqual(Array(20).fill(200));
    expect(await countOf(payment.id, 'payment.succeeded')).toBe(1);
    expect((await shop.orderOf(order.id)).status).toBe('confirmed');
    expect(await shop.stockOf('RETOLD')).toEqual({ quantity: 4, reserved: 0 });
  });

  test('with an unknown intent or type, or in an unreadable format, is accepted and changes nothing', async () => {
    const { payment, intent, payloads } = await waiting('STRANGE');
    const stranger = eventsOf('019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f', 'pi_of_another_shop', 3000);
    await unchangedBy(async () => {
      for (const payload of [
        stranger.succeeded(),
        stranger.chargeRefunded(3000),
        stranger.refund('updated', 're_stranger', 3000, 'succeeded'),
        stranger.disputeCreated(),
        // The intent of another shop is not ours, even if it contains the id of our payment.
        eventsOf(payment.id, 'pi_of_another_shop', 3000).succeeded(),
        payloads.event('customer.created', { id: 'cus_1', object: 'customer' }),
        payloads.event('payment_intent.invented_in_2031', {
          id: intent,
          object: 'payment_intent',
          status: 'succeeded',
        }),
        payloads.event('payment_intent.succeeded', { id: intent, object: 'payment_intent', state: 'paid' }),
        payloads.event('payment_intent.succeeded', {
          id: intent,
          object: 'payment_intent',
          status: 'succeeded',
          currency: 'usd',
        }),
        payloads.event('payment_intent.succeeded', null),
        payloads.event('refund.updated', { id: 're_1', object: 'refund', amount: '10', payment_intent: intent }),
        payloads.event('charge.refunded', { object: 'charge', payment_intent: intent, currency: 'usd' }),
        JSON.stringify({ id: 'evt_v2', object: 'event', type: 'v1.billing.meter.error_report_triggered' }),
        'null',
        '17',
        '[]',
        '{}',
      ]) {
        expect([payload, (await shop.deliver(payload)).status]).toEqual([payload, 200]);
      }
    });
  });

  test('of another API version, with additional members, has the same effect', async () => {
    const { payment, intent, payloads } = await waiting('VERSION');
    const old = payloads.event(
      'payment_intent.succeeded',
      {
        id: intent,
        object: 'payment_intent',
        status: 'succeeded',
        currency: 'usd',
        amount: 3000,
        amount_received: 3000,
        charges: { object: 'list', data: [{ id: 'ch_1', object: 'charge' }] },
        invented_member: { deeply: ['nested'] },
      },
      { api_version: '2019-05-16', context: 'acct_1' },
    );
    expect((await shop.deliver(old)).status).toBe(200);
    expect(await shop.paymentOf(payment.id)).toMatchObject({ status: 'succeeded' });
  });

  test('of 2 MB, or without valid JSON, is rejected even if its signature is valid', async () => {
    await unchangedBy(async () => {
      const large = await shop.deliver(JSON.stringify({ id: 'evt_large', filler: 'x'.repeat(2_097_152) }));
      expect([large.status, large.body.code]).toEqual([413, 'body_too_large']);
      for (const payload of ['{"id": "evt_torn', 'hello']) {
        const torn = await shop.deliver(payload);
        expect([torn.status, torn.body.code]).toEqual([400, 'malformed_json']);
        expect(torn.headers.get('server-timing')).toBeNull();
      }
    });
  });

  test('that releases an authorization without a capture is not a refund', async () => {
    const { order, intent, payloads } = await waiting('UNHELD');
    const given = {
      object: 'charge',
      payment_intent: intent,
      currency: 'usd',
      amount_captured: 0,
      amount_refunded: 3000,
    };
    expect((await shop.deliver(payloads.event('charge.refunded', given))).status).toBe(200);
    await shop.deliver(payloads.succeeded());
    expect((await shop.orderOf(order.id)).status).toBe('confirmed');
  });
});

describe('any order of arrival', () => {
  type Payloads = ReturnType<typeof eventsOf>;
  /** What happened at Stripe: the events that report it, and the expected state. */
  const outcomes = {
    paid: {
      events: (payloads: Payloads) => [payloads.succeeded()],
      order: 'confirmed',
      payment: 'succeeded',
      back: '0.00',
    },
    'refunded in part': {
      events: (payloads: Payloads) => [
        payloads.succeeded(),
        payloads.chargeRefunded(1000),
        payloads.refund('created', 're_a', 1000, 'pending'),
        payloads.refund('updated', 're_a', 1000, 'succeeded'),
      ],
      order: 'confirmed',
      payment: 'succeeded',
      back: '10.00',
    },
    'refunded in two parts': {
      events: (payloads: Payloads) => [
        payloads.succeeded(),
        payloads.chargeRefunded(1000),
        payloads.chargeRefunded(3000),
        payloads.refund('updated', 're_a', 1000, 'succeeded'),
        payloads.refund('created', 're_b', 2000, 'succeeded'),
      ],
      order: 'refunded',
      payment: 'refunded',
      back: '30.00',
    },
    'refunded in part, and disputed': {
      events: (payloads: Payloads) => [
        payloads.succeeded(),
        payloads.refund('updated', 're_a', 500, 'succeeded'),
        payloads.disputeCreated(),
        payloads.disputeClosed('lost'),
      ],
      order: 'confirmed',
      payment: 'succeeded',
      back: '5.00',
    },
    'refunded in part, which failed': {
      events: (payloads: Payloads) => [
        payloads.succeeded(),
        payloads.refund('created', 're_a', 1000, 'succeeded'),
        payloads.refund('failed', 're_a', 1000, 'failed'),
        payloads.refund('updated', 're_a', 1000, 'failed'),
      ],
      order: 'confirmed',
      payment: 'succeeded',
      back: '0.00',
    },
    declined: { events: () => [], order: 'created', payment: 'pending', back: '0.00' },
  } as const;

  const story = fc.record({
    outcome: fc.constantFrom(...(Object.keys(outcomes) as (keyof typeof outcomes)[])),
    before: fc.subarray(['processing', 'requiresAction', 'failed'] as const, { minLength: 1 }),
    shuffle: fc.array(fc.nat(1_000_000), { minLength: 24, maxLength: 24 }),
    twice: fc.array(fc.boolean(), { minLength: 12, maxLength: 12 }),
    together: fc.boolean(),
  });

  let made = 0;
  test('of duplicated and shuffled events ends in the same state', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(story, async ({ outcome, before, shuffle, twice, together }) => {
        const { events, ...expected } = outcomes[outcome];
        const sku = `SHUFFLED-${made++}`;
        const { order, payment, payloads: all } = await waiting(sku);
        // Refund ids are unique at Stripe, so each run has its own.
        const payloads = {
          ...all,
          refund: (...[type, id, of, status]: Parameters<Payloads['refund']>) =>
            all.refund(type, `${id}_${payment.id}`, of, status),
        };
        const reports = [...before.map((name) => payloads[name]()), ...events(payloads)];
        const sent = reports
          .flatMap((payload, index) => (twice[index] ? [payload, payload] : [payload]))
          .map((payload, index) => ({ payload, key: shuffle[index] ?? 0 }))
          .sort((a, b) => a.key - b.key);
        const answers = together
          ? await Promise.all(sent.map(({ payload }) => shop.deliver(payload)))
          : await sent.reduce<Promise<{ status: number }[]>>(
              async (done, { payload }) => [...(await done), await shop.deliver(payload)],
              Promise.resolve([]),
            );
        expect(answers.map((answer) => answer.status)).toEqual(sent.map(() => 200));
        const facts = await shop.rowsOfOrder(order.id);
        const back = outcome === 'refunded in two parts';
        expect(facts).toMatchObject({
          order: { status: expected.order, failure_reason: null },
          payments: [
            {
              status: expected.payment,
              captured: outcome === 'declined' ? '0.00' : '30.00',
              refunded: expected.back,
              refund_done: expected.back,
              dispute: outcome === 'refunded in part, and disputed' ? 'lost' : null,
              intent_open: outcome === 'declined',
            },
          ],
          hold: outcome === 'declined' ? 'held' : back ? 'released' : 'committed',
        });
        const sum = facts.refunds.filter((row) => row.status === 'succeeded').map((row) => Number(row.amount));
        expect(sum.reduce((total, amount) => total + amount, 0)).toBe(Number(expected.back));
        expect(await countOf(payment.id, 'payment.succeeded')).toBe(outcome === 'declined' ? 0 : 1);
        const failed = outcome === 'refunded in part, which failed' ? 1 : 0;
        expect(await countOf(payment.id, 'payment.refund.failed')).toBe(failed);
        expect(await shop.stockOf(sku)).toEqual({
          quantity: back ? 5 : 4,
          reserved: outcome === 'declined' ? 1 : 0,
        });
      }),
      { seed, numRuns: 40 },
    );
  });

  test('of a cancellation and earlier events leaves the payment cancelled', async () => {
    const { order, payment, payloads } = await waiting('ECHOED');
    await shop.deliver(payloads.canceled());
    for (const late of [payloads.processing(), payloads.requiresAction(), payloads.failed(), payloads.canceled()])
      await shop.deliver(late);
    expect(await shop.rowsOfOrder(order.id)).toMatchObject({ payments: [{ status: 'cancelled', intent_open: false }] });
    expect(await countOf(payment.id, 'payment.cancelled')).toBe(1);
  });
});
