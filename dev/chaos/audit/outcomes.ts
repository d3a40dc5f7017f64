import type { Books, IntentRow } from '../books.ts';
import { type Check, cents, dollars, groupBy, sum } from '../finding.ts';
import { textOf } from '../journal.ts';

// The audit from Stripe's side: it begins with every PaymentIntent there, known to us or not, and asks what its buyer has.

const keepsMoney = new Set(['confirmed', 'shipped', 'delivered']);
const payable = new Set(['requires_payment_method', 'requires_confirmation', 'requires_action']);

/** What became of an intent. All but the last three are right without more. */
export type Outcome =
  | 'goods'
  | 'money back'
  | 'nothing was taken'
  | 'a refund failed at the bank, and the merchant was told'
  | 'changed at Stripe, and reported to the merchant'
  | 'unpaid, hidden by a kept error, and its client secret was never handed out'
  | 'money without goods'
  | 'not decided'
  | 'can still be paid';
const wrong = new Set<Outcome>(['money without goods', 'not decided', 'can still be paid']);

/** The client secrets that somebody was told: only with one of these can a buyer pay. */
function handedOut(books: Books): Set<string> {
  const secrets = books.asked.flatMap(({ answers }) => answers.map(({ body }) => textOf(body, 'clientSecret')));
  return new Set(secrets.filter((secret) => secret !== ''));
}

/** Whether the intent is of this amount in this currency. */
const agrees = (intent: IntentRow, amount: string, currency: string): boolean =>
  intent.amount === cents(amount) && intent.currency === currency.toLowerCase();

/** The outcome of every intent at Stripe. */
export function outcomes(books: Books): Map<IntentRow, Outcome> {
  const orders = new Map(books.orders.map((order) => [order.id, order]));
  const paymentOf = new Map(books.payments.map((payment) => [payment.order, payment]));
  const failed = groupBy(
    books.stripeRefunds.filter(({ status }) => status === 'failed'),
    ({ intent }) => intent,
  );
  const told = new Set(
    books.events.filter(({ topic }) => topic === 'payment.refund.failed').map(({ payload }) => payload.refundId),
  );
  const ours = new Map(books.refunds.map((refund) => [refund.stripe, refund.id]));
  const refusedDisputed = groupBy(
    books.refunds.filter(({ status }) => status === 'failed'),
    ({ payment }) => payment,
  );
  const reported = new Set(books.deadLetters.filter(({ sink }) => sink === 'stripe').map(({ event }) => event));
  const secrets = handedOut(books);
  const served = new Set<string>();

  function outcomeOf(intent: IntentRow): Outcome {
    const { id, status, captured, refunded } = intent;
    const order = orders.get(intent.order);
    const payment = paymentOf.get(intent.order);
    if (status === 'canceled') return 'nothing was taken';
    if (payable.has(status)) {
      if (payment?.intent !== id && intent.hidden && !secrets.has(intent.secret)) {
        return 'unpaid, hidden by a kept error, and its client secret was never handed out';
      }
      return 'can still be paid';
    }
    if (status !== 'succeeded') return 'not decided';
    const kept = captured - refunded;
    if (
      order !== undefined &&
      keepsMoney.has(order.status) &&
      agrees(intent, order.total, order.currency) &&
      captured === intent.amount
    ) {
      if (kept > 0 && !served.has(order.id)) {
        served.add(order.id);
        return 'goods';
      }
    }
    if (kept === 0) return 'money back';
    // A place in a campaign has a payment before it has an order.
    const changed =
      order === undefined
        ? payment !== undefined && !agrees(intent, payment.amount, payment.currency)
        : !agrees(intent, order.total, order.currency);
    if (changed && reported.has(id)) return 'changed at Stripe, and reported to the merchant';
    const sentBack = sum(
      (failed.get(id) ?? []).filter((refund) => told.has(refund.ours ?? ours.get(refund.id))),
      ({ amount }) => amount,
    );
    // Stripe refuses to refund what a bank has charged back.
    const refused =
      intent.dispute === null ? 0 : sum(refusedDisputed.get(payment?.id ?? '') ?? [], ({ amount }) => cents(amount));
    if (kept <= Math.max(sentBack, refused)) return 'a refund failed at the bank, and the merchant was told';
    return 'money without goods';
  }
  return new Map(books.intents.map((intent) => [intent, outcomeOf(intent)]));
}

const one: Check = {
  name: 'every payment at Stripe has one outcome: goods, or the money back',
  run(books, find) {
    for (const [intent, outcome] of outcomes(books)) {
      if (!wrong.has(outcome)) continue;
      const { id, order, status, captured, refunded, currency } = intent;
      const money = `${dollars(captured)} ${currency.toUpperCase()} taken, ${dollars(refunded)} back`;
      const its = books.orders.find((row) => row.id === order)?.status ?? 'not there';
      find([order, id], `${id} (${status}; ${money}) has the outcome "${outcome}"; its order is ${its}`);
    }
  },
};

const exact: Check = {
  name: 'an order is confirmed only by its own total in its own currency',
  run(books, find) {
    const intents = groupBy(books.intents, ({ order }) => order);
    for (const order of books.orders) {
      if (!keepsMoney.has(order.status) || cents(order.total) === 0) continue;
      const paid = (intents.get(order.id) ?? []).some(
        (intent) =>
          intent.status === 'succeeded' &&
          agrees(intent, order.total, order.currency) &&
          intent.captured === intent.amount,
      );
      if (!paid) find(order.id, `${order.status}, and no payment of ${order.total} ${order.currency} is at Stripe`);
    }
  },
};

const twice: Check = {
  name: 'no order keeps the money of two payments',
  run(books, find) {
    const money = outcomes(books);
    for (const [order, intents] of groupBy(books.intents, (intent) => intent.order)) {
      const unexplained = ['goods', 'money without goods'];
      const keeping = intents.filter((intent) => unexplained.includes(money.get(intent) ?? ''));
      if (order !== '' && keeping.length > 1) {
        find(order, `${keeping.map(({ id }) => id).join(' and ')} both keep the buyer's money`);
      }
    }
  },
};

const secured: Check = {
  name: 'a place that counts as secured has money behind it',
  run(books, find) {
    const paid = new Set(books.intents.filter((intent) => intent.paid).map(({ order }) => order));
    for (const { order, status } of books.setups) if (status === 'succeeded') paid.add(order);
    const byCampaign = groupBy(books.participants, ({ campaign }) => campaign);
    for (const { key, topic, payload } of books.events) {
      if (topic !== 'group-commerce.campaign.successful' || payload.securedParticipants === undefined) continue;
      const places = byCampaign.get(key) ?? [];
      const backed = places.filter(({ order, payment }) => payment === null || paid.has(order));
      const counted = Number(payload.securedParticipants);
      if (counted > backed.length)
        find(key, `${counted} places counted as secured, ${backed.length} have money behind them`);
    }
    const orders = new Map(books.orders.map((order) => [order.id, order]));
    for (const { order: id, state } of books.participants) {
      const order = orders.get(id);
      if (state !== 'charged' || order === undefined || cents(order.total) === 0) continue;
      if (!books.intents.some((intent) => intent.order === id && intent.captured > 0)) {
        find(id, 'the place is charged, and no money was taken for it');
      }
    }
  },
};

const moved = new Set(['in_transit', 'delivered', 'exception']);

const labels: Check = {
  name: 'a label of an order that was called off cannot be printed',
  run(books, find) {
    const orders = new Map(books.orders.map((order) => [order.id, order]));
    for (const { order: id, status } of books.shipments) {
      const order = orders.get(id);
      if (order === undefined || !['cancelled', 'refunded'].includes(order.status)) continue;
      const events = books.events.filter(({ key, topic }) => key === id && topic === 'shipping.status.changed');
      const hasMoved = moved.has(status) || events.some(({ payload }) => moved.has(String(payload.status)));
      if (!hasMoved && status !== 'cancelled') find(id, `the order is ${order.status}, its shipment is ${status}`);
    }
    for (const { operation, path, answers } of books.asked) {
      if (operation !== 'shipping.label of an ended order') continue;
      const shipment = books.shipments.find(({ id }) => path.includes(id));
      if (answers.some(({ status }) => status === 200)) {
        find(shipment?.order ?? path, 'its label was given out after the order had ended');
      }
    }
  },
};

export const outcomeChecks: Check[] = [one, exact, twice, secured, labels];
