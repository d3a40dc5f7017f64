import { randomBytes } from 'node:crypto';
import Stripe from 'stripe';
import { expect } from 'vitest';
import { toMinor } from '../../src/base/money.ts';
import { oneLine, type Store } from './harness.ts';

type Intent = { id: string; status: string; captured: number; refunded: number; metadata: Record<string, string> };
type State = { intents: Intent[]; refunds: Stripe.Refund[]; disputes: Stripe.Dispute[] };

/** What a shop's tests of money do to a store: the buyer, Stripe's events, and the auditor. */
export function payingAt(store: Store) {
  const { hostname, port } = new URL(store.stripe.url);
  const stripe = new Stripe('sk_test_dev', { host: hostname, port, protocol: 'http', maxNetworkRetries: 0 });

  const emulator = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    const response = await fetch(`${store.stripe.url}/_emulator/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer: unknown = await response.json();
    if (!response.ok) throw new Error(JSON.stringify(answer));
    return answer;
  };

  /** Which of the store's rows belong to an order: what the order of arrival must not change. */
  const factsOf = async (orderId: string) => {
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
    factsOf,
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

    /** As if Stripe's limits had changed before our table of them did: nothing is refused by it any more. */
    forgetLimits: () =>
      store.database.query(
        `create or replace function platform.charge_fault(amount numeric, currency varchar) returns text
         language sql immutable as $$ select null::text $$`,
      ),

    /** An order with its payment, as a shop has it when the buyer is asked for a card. */
    async checkout(sku: string, quantity = 1) {
      const { body: order } = await store.send('POST', '/v1/orders', oneLine(sku, quantity));
      const { status, body: payment } = await store.send('POST', '/v1/payments', { orderId: order.id });
      expect(status).toBe(201);
      return { order, payment, intent: payment.stripePaymentIntentId as string };
    },

    /** What the buyer does in the browser; a declined card or an intent that was closed is the buyer's to see. */
    async pay(intent: string, card = 'pm_card_visa') {
      try {
        return await stripe.paymentIntents.confirm(intent, { payment_method: card, return_url: 'https://shop.test' });
      } catch (error) {
        const { StripeCardError, StripeInvalidRequestError } = Stripe.errors;
        if (!(error instanceof StripeCardError || error instanceof StripeInvalidRequestError)) throw error;
        return undefined;
      }
    },

    /** Sends an event as Stripe does: signed by its SDK over the very bytes. */
    deliver(payload: string, { secret = 'whsec_dev', secondsAgo = 0 } = {}) {
      const timestamp = Math.floor(Date.now() / 1000) - secondsAgo;
      const header = stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp });
      return store.send('POST', '/webhooks/stripe', payload, { headers: { 'stripe-signature': header } });
    },

    /** Waits for the queues, for webhooks that are still to be sent, and for what the rows say is to be done at Stripe. */
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

    /** Every payment against Stripe's own books, every unit of stock against the ledger, every order against its history. */
    async audit() {
      const { intents } = (await emulator('GET', 'state')) as State;
      // Every intent of every payment, not only the one that counts.
      const rows = await store.database.query<{ id: string; currency: string; received: string; done: string }>(
        `select i.stripe_id as id, i.currency, i.received::text,
           coalesce((select sum(r.amount) from payments.refunds r
             where r.stripe_intent_id = i.stripe_id and r.status = 'succeeded'), 0)::text as done
         from payments.intents i order by 1`,
      );
      const ours = rows.map(({ id, currency, received, done }) => ({
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
      const known = new Set(ours.map(({ id }) => id));
      const theirs = intents
        .filter((intent) => known.has(intent.id) || intent.captured > 0)
        .map(({ id, captured, refunded }) => ({ id, captured, refunded }))
        .sort((a, b) => (a.id < b.id ? -1 : 1));
      expect(ours.sort((a, b) => (a.id < b.id ? -1 : 1))).toEqual(theirs);
      const astray = await store.database.query(
        `with used as (
           select l.sku, coalesce(sum(l.n) filter (where r.status = 'held'), 0)::int as held,
             coalesce(sum(l.n) filter (where r.status = 'committed'), 0)::int as committed
           from inventory.reservations r, unnest(r.skus, r.quantities) l(sku, n) group by l.sku
         )
         select i.sku, i.quantity, i.reserved, u.held, u.committed, sum(a.delta) as put_in
         from inventory.inventory i left join used u using (sku) left join inventory.adjustments a using (sku)
         group by i.sku, i.quantity, i.reserved, u.held, u.committed
         having i.quantity::bigint + i.reserved + coalesce(u.committed, 0) <> coalesce(sum(a.delta), 0)
           or i.reserved <> coalesce(u.held, 0)`,
      );
      expect(astray).toEqual([]);
      // An order is what its last event says, its hold fits that, and a sold one has its money.
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

export type Paying = ReturnType<typeof payingAt>;

const eventId = () => `evt_${randomBytes(12).toString('hex')}`;

/** Stripe's events of one payment, as the SDK's API version has them. Amounts in minor units of USD. */
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
