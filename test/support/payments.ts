import { randomBytes } from 'node:crypto';
import Stripe from 'stripe';
import { expect } from 'vitest';
import { toMinor } from '../../src/base/money.ts';
import { oneLine, type Store } from './harness.ts';

type Intent = {
  id: string;
  account: string | null;
  status: string;
  captured: number;
  refunded: number;
  metadata: Record<string, string>;
};
type State = { intents: Intent[]; refunds: Stripe.Refund[]; disputes: Stripe.Dispute[] };

/**
 * Helpers for tests of payments: the buyer’s actions, Stripe’s events, and an audit of the books. `stripeAccount`: the
 * tenant’s own account, if it has one.
 */
export function paymentFixture(store: Store, stripeAccount?: string) {
  const { hostname, port } = new URL(store.stripe.url);
  const stripe = new Stripe('sk_test_dev', {
    ...{ host: hostname, port, protocol: 'http', maxNetworkRetries: 0 },
    ...(stripeAccount === undefined ? {} : { stripeAccount }),
  });

  const emulator = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    const response = await fetch(`${store.stripe.url}/_emulator/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer: unknown = await response.json();
    if (!response.ok) throw new Error(JSON.stringify(answer));
    return answer;
  };

  /** The rows of an order that must not depend on the order of events. */
  const rowsOfOrder = async (orderId: string) => {
    const [order] = await store.database.query<{ status: string; failure_reason: string | null }>(
      'select status, failure_reason from orders.orders where id = $1',
      [orderId],
    );
    const payments = await store.database.query<Record<string, unknown>>(
      `select status, failure_reason, captured, refunded, refund_done, intent_open, dispute from payments.payments
       where order_id = $1`,
      [orderId],
    );
    const refunds = await store.database.query<Record<string, unknown>>(
      `select r.amount, r.status, r.stripe_refund_id from payments.refunds r join payments.payments p using (payment_id)
       where p.order_id = $1 order by r.amount, r.stripe_refund_id`,
      [orderId],
    );
    const [hold] = await store.database.query<{ status: string }>(
      'select status from inventory.reservations where order_id = $1',
      [orderId],
    );
    return { order, payments, refunds, hold: hold?.status };
  };

  return {
    stripe,
    emulator,
    rowsOfOrder,
    state: async () => (await emulator('GET', 'state')) as State,
    webhooks: (change: Record<string, unknown>) => emulator('POST', 'webhooks', change),
    fault: (fault: Record<string, unknown>) => emulator('POST', 'faults', fault),
    clearFaults: () => emulator('DELETE', 'faults'),
    orderOf: async (id: string) => (await store.send('GET', `/v1/orders/${id}`)).body,
    paymentOf: async (id: string) => (await store.send('GET', `/v1/payments/${id}`)).body,
    historyOf: async (id: string): Promise<string[]> =>
      (await store.send('GET', `/v1/orders/${id}/events?limit=100`)).body.data.map((of: { type: string }) => of.type),
    stockOf: async (sku: string) =>
      (await store.database.query('select quantity, reserved from inventory.inventory where sku = $1', [sku]))[0],

    /** Removes our limits for charges, as if Stripe’s limits had become stricter than our table of them. */
    removeChargeLimits: () =>
      store.database.query(
        `create or replace function platform.charge_fault(amount numeric, currency varchar) returns text
         language sql immutable as $$ select null::text $$`,
      ),

    /** Creates an order with its payment, before the buyer enters a card. */
    async checkout(sku: string, quantity = 1) {
      const { body: order } = await store.send('POST', '/v1/orders', oneLine(sku, quantity));
      const { status, body: payment } = await store.send('POST', '/v1/payments', { orderId: order.id });
      expect(status).toBe(201);
      return { order, payment, intent: payment.stripePaymentIntentId as string };
    },

    /** Confirms the payment as the buyer does. A declined card or a closed intent is no error of the test. */
    async pay(intent: string, card = 'pm_card_visa') {
      try {
        return await stripe.paymentIntents.confirm(intent, { payment_method: card, return_url: 'https://shop.test' });
      } catch (error) {
        const { StripeCardError, StripeInvalidRequestError } = Stripe.errors;
        if (!(error instanceof StripeCardError || error instanceof StripeInvalidRequestError)) throw error;
        return undefined;
      }
    },

    /** Sends an event as Stripe does, with a signature over the exact bytes. */
    deliver(payload: string, { secret = 'whsec_dev', secondsAgo = 0 } = {}) {
      const timestamp = Math.floor(Date.now() / 1000) - secondsAgo;
      const header = stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp });
      return store.send('POST', '/webhooks/stripe', payload, { headers: { 'stripe-signature': header } });
    },

    /** Waits for the queues, for pending webhooks, and for pending refunds and cancellations at Stripe. */
    async quiet() {
      for (let left = 1; left > 0; ) {
        await store.settled();
        const { pending } = (await emulator('GET', 'webhooks')) as { pending: number };
        const [open] = await store.database.query<{ n: number }>(
          `select (select count(*)::int from payments.refunds where status = 'pending')
             + (select count(*)::int from payments.payments where intent_open and status <> 'pending') as n`,
        );
        left = pending + (open?.n ?? 0);
      }
      await store.settled();
    },

    /** Compares every payment to Stripe’s records, every SKU to the ledger, and every order to its events. */
    async audit() {
      const { intents } = (await emulator('GET', 'state')) as State;
      // Every intent of every payment, not only the one that pays.
      const rows = await store.database.query<{ id: string; currency: string; received: string; done: string }>(
        `select i.stripe_id as id, i.currency, i.received::text,
           coalesce((select sum(r.amount) from payments.refunds r
             where r.stripe_intent_id = i.stripe_id and r.status = 'succeeded'), 0)::text as done
         from payments.intents i order by 1`,
      );
      const recorded = rows.map(({ id, currency, received, done }) => ({
        id,
        captured: toMinor(received, currency),
        refunded: toMinor(done, currency),
      }));
      const unequal = await store.database.query(
        `select p.payment_id, p.captured, p.refund_done, i.received from payments.payments p
         join payments.intents i on i.stripe_id = p.stripe_payment_intent_id
         where p.captured <> case when i.fault is null then i.received else 0 end`,
      );
      expect(unequal).toEqual([]);
      const known = new Set(recorded.map(({ id }) => id));
      const atStripe = intents
        .filter((intent) => known.has(intent.id) || intent.captured > 0)
        .map(({ id, captured, refunded }) => ({ id, captured, refunded }))
        .sort((a, b) => (a.id < b.id ? -1 : 1));
      expect(recorded.sort((a, b) => (a.id < b.id ? -1 : 1))).toEqual(atStripe);
      const unbalanced = await store.database.query(
        `with used as (
           select l.sku, coalesce(sum(l.n) filter (where r.status = 'held'), 0)::int as held,
             coalesce(sum(l.n - coalesce(l.back, 0)) filter (where r.status = 'committed'
               or r.status = 'released' and r.restocked is not null), 0)::int as committed
           from inventory.reservations r, unnest(r.skus, r.quantities, r.restocked) l(sku, n, back) group by l.sku
         )
         select i.sku, i.quantity, i.reserved, u.held, u.committed, sum(a.delta) as put_in
         from inventory.inventory i left join used u using (sku) left join inventory.adjustments a using (sku)
         group by i.sku, i.quantity, i.reserved, u.held, u.committed
         having i.quantity::bigint + i.reserved + coalesce(u.committed, 0) <> coalesce(sum(a.delta), 0)
           or i.reserved <> coalesce(u.held, 0)`,
      );
      expect(unbalanced).toEqual([]);
      // The status of an order must equal its last event and match its hold. A sold order must be paid.
      const unexplained = await store.database.query(
        `select o.id, o.status, r.status as hold, p.status as payment, e.topic from orders.orders o
         left join inventory.reservations r on r.order_id = o.id
         left join payments.payments p on p.order_id = o.id
         cross join lateral (
           select case x.topic when 'order.refund.failed' then 'order.' || (x.payload->>'status') else x.topic end as topic
           from platform.events x where x.key = o.id and x.topic like 'order.%' order by x.seq desc limit 1
         ) e
         where e.topic <> 'order.' || o.status
           or (o.status = 'created') <> (coalesce(r.status, 'held') = 'held')
           or (o.status = 'confirmed' and coalesce(r.status, '') <> 'committed')
           or (o.status <> 'confirmed' and r.status = 'committed'
             and not exists (select from shipping.shipments s where s.order_id = o.id))
           or (o.status = 'confirmed' and o.total > 0 and not exists (
             select from payments.payments s where s.order_id = o.id and s.status = 'succeeded'))
           or (o.status in ('failed', 'cancelled') and p.status in ('pending', 'succeeded'))`,
      );
      expect(unexplained).toEqual([]);
    },
  };
}

export type PaymentFixture = ReturnType<typeof paymentFixture>;

const eventId = () => `evt_${randomBytes(12).toString('hex')}`;

/** Builders of Stripe’s events about one payment, in the SDK’s API version. Amounts are in cents of USD. */
export function eventsOf(paymentId: string, intentId: string, amount: number, names: Record<string, string> = {}) {
  const event = (type: string, object: unknown, more: object = {}) =>
    JSON.stringify({
      id: eventId(),
      object: 'event',
      api_version: Stripe.API_VERSION,
      type,
      data: { object },
      ...more,
    });
  const base = {
    id: intentId,
    object: 'payment_intent',
    amount,
    currency: 'usd',
    client_secret: null,
    last_payment_error: null,
    amount_received: 0,
    metadata: { paymentId, ...names },
  };
  const intent = (type: string, status: string, more: object = {}, envelope: object = {}) =>
    event(`payment_intent.${type}`, { ...base, status, ...more }, envelope);
  const refundOf = (id: string, of: number, status: string) => ({
    id,
    object: 'refund',
    amount: of,
    currency: 'usd',
    payment_intent: intentId,
    status,
    metadata: {},
  });
  const dispute = (status: string) => ({
    id: `dp_${paymentId}`,
    object: 'dispute',
    amount,
    currency: 'usd',
    payment_intent: intentId,
    status,
  });
  return {
    event,
    intent,
    processing: () => intent('processing', 'processing'),
    requiresAction: () => intent('requires_action', 'requires_action'),
    failed: () =>
      intent('payment_failed', 'requires_payment_method', {
        last_payment_error: { code: 'card_declined', decline_code: 'generic_decline' },
      }),
    succeeded: (envelope: object = {}) => intent('succeeded', 'succeeded', { amount_received: amount }, envelope),
    canceled: () => intent('canceled', 'canceled'),
    chargeRefunded: (refunded: number) =>
      event('charge.refunded', {
        object: 'charge',
        id: `ch_${paymentId}`,
        currency: 'usd',
        payment_intent: intentId,
        amount_captured: amount,
        amount_refunded: refunded,
      }),
    refund: (type: 'created' | 'updated' | 'failed', id: string, of: number, status: string) =>
      event(`refund.${type}`, refundOf(id, of, status)),
    disputeCreated: () => event('charge.dispute.created', dispute('needs_response')),
    disputeClosed: (status: 'won' | 'lost') => event('charge.dispute.closed', dispute(status)),
  };
}
