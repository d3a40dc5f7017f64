import type { Books, IntentRow } from '../books.ts';
import { type Check, cents, dollars, groupBy, sum } from '../finding.ts';
import { member, textOf } from '../journal.ts';
import { isFullCapture } from './money.ts';

// The audit from Stripe's side: it starts from every PaymentIntent there, known to us or not, and checks what its buyer
// got.

const paidStatuses = new Set(['confirmed', 'shipped', 'delivered']);
const payable = new Set(['requires_payment_method', 'requires_confirmation', 'requires_action']);

/** The outcome of a PaymentIntent. The last three are findings. */
export type Outcome =
  | 'goods'
  | 'refunded'
  | 'nothing was charged'
  | 'a refund failed at the bank, and the merchant was notified'
  | 'changed at Stripe, and reported to the merchant'
  | 'unpaid, hidden by a stored error, and no client has its secret'
  | 'money without goods'
  | 'undecided'
  | 'can still be paid';
const wrongOutcomes = new Set<Outcome>(['money without goods', 'undecided', 'can still be paid']);

/** The client secrets that clients got. A buyer can pay only with one of these. */
function findKnownSecrets(books: Books): Set<string> {
  const secrets = books.requests.flatMap(({ responses }) => responses.map(({ body }) => textOf(body, 'clientSecret')));
  return new Set(secrets.filter((secret) => secret !== ''));
}

/**
 * Whether the intent has this amount and currency. Where the price could fall, it may have the amount that was
 * authorized at first.
 */
const hasAmount = (intent: IntentRow, amount: string, currency: string, authorized?: string | null): boolean =>
  [cents(amount), cents(authorized ?? amount)].includes(intent.amount) && intent.currency === currency.toLowerCase();

/** Determines the outcome of every PaymentIntent at Stripe. */
export function outcomes(books: Books): Map<IntentRow, Outcome> {
  const orders = new Map(books.orders.map((order) => [order.id, order]));
  const paymentOf = new Map(books.payments.map((payment) => [payment.order, payment]));
  const failedRefunds = groupBy(
    books.stripeRefunds.filter(({ status }) => status === 'failed'),
    ({ intent }) => intent,
  );
  const reportedRefunds = new Set(
    books.events.filter(({ topic }) => topic === 'payment.refund.failed').map(({ payload }) => payload.refundId),
  );
  const refundIds = new Map(books.refunds.map((refund) => [refund.stripe, refund.id]));
  const failedByPayment = groupBy(
    books.refunds.filter(({ status }) => status === 'failed'),
    ({ payment }) => payment,
  );
  const reportedIntents = new Set(books.deadLetters.filter(({ sink }) => sink === 'stripe').map(({ event }) => event));
  const knownSecrets = findKnownSecrets(books);
  const ordersWithGoods = new Set<string>();

  function outcomeOf(intent: IntentRow): Outcome {
    const { id, status, captured, refunded } = intent;
    const order = orders.get(intent.order);
    const payment = paymentOf.get(intent.order);
    if (status === 'canceled') return 'nothing was charged';
    if (payable.has(status)) {
      if (payment?.intent !== id && intent.hidden && !knownSecrets.has(intent.secret)) {
        return 'unpaid, hidden by a stored error, and no client has its secret';
      }
      return 'can still be paid';
    }
    if (status !== 'succeeded') return 'undecided';
    const kept = captured - refunded;
    const returnedByBank = sum(
      (failedRefunds.get(id) ?? []).filter((refund) =>
        reportedRefunds.has(refund.refundId ?? refundIds.get(refund.id)),
      ),
      ({ amount }) => amount,
    );
    // Stripe rejects refunds of a disputed charge.
    const rejected =
      intent.dispute === null ? 0 : sum(failedByPayment.get(payment?.id ?? '') ?? [], ({ amount }) => cents(amount));
    const notRefunded = Math.max(returnedByBank, rejected);
    if (
      order !== undefined &&
      paidStatuses.has(order.status) &&
      hasAmount(intent, order.total, order.currency, payment?.authorized) &&
      isFullCapture(captured, order.total, payment?.authorized) &&
      kept <= cents(order.total) + notRefunded
    ) {
      if (kept > 0 && !ordersWithGoods.has(order.id)) {
        ordersWithGoods.add(order.id);
        return 'goods';
      }
    }
    if (kept === 0) return 'refunded';
    // A place in a campaign has a payment before it has an order.
    const changed =
      order === undefined
        ? payment !== undefined && !hasAmount(intent, payment.amount, payment.currency, payment.authorized)
        : !hasAmount(intent, order.total, order.currency, payment?.authorized);
    if (changed && reportedIntents.has(id)) return 'changed at Stripe, and reported to the merchant';
    if (kept <= notRefunded) return 'a refund failed at the bank, and the merchant was notified';
    return 'money without goods';
  }
  return new Map(books.intents.map((intent) => [intent, outcomeOf(intent)]));
}

const singleOutcome: Check = {
  name: 'every payment at Stripe has one outcome: goods or a refund',
  run(books, report) {
    for (const [intent, outcome] of outcomes(books)) {
      if (!wrongOutcomes.has(outcome)) continue;
      const { id, order, status, captured, refunded, currency } = intent;
      const money = `${dollars(captured)} ${currency.toUpperCase()} captured, ${dollars(refunded)} refunded`;
      const orderStatus = books.orders.find((row) => row.id === order)?.status ?? 'missing';
      report([order, id], `${id} (${status}; ${money}) has the outcome "${outcome}"; its order is ${orderStatus}`);
    }
  },
};

const exactAmount: Check = {
  name: 'an order is confirmed only by a payment of its exact total and currency',
  run(books, report) {
    const intents = groupBy(books.intents, ({ order }) => order);
    const authorized = new Map(books.payments.map((payment) => [payment.order, payment.authorized]));
    for (const order of books.orders) {
      if (!paidStatuses.has(order.status) || cents(order.total) === 0) continue;
      const paid = (intents.get(order.id) ?? []).some(
        (intent) =>
          intent.status === 'succeeded' &&
          hasAmount(intent, order.total, order.currency, authorized.get(order.id)) &&
          isFullCapture(intent.captured, order.total, authorized.get(order.id)),
      );
      if (!paid)
        report(order.id, `it is ${order.status}, but Stripe has no payment of ${order.total} ${order.currency}`);
    }
  },
};

const noDoublePayment: Check = {
  name: 'no order keeps the money of two payments',
  run(books, report) {
    const outcomeByIntent = outcomes(books);
    for (const [order, intents] of groupBy(books.intents, (intent) => intent.order)) {
      const keepingOutcomes = ['goods', 'money without goods'];
      const keeping = intents.filter((intent) => keepingOutcomes.includes(outcomeByIntent.get(intent) ?? ''));
      if (order !== '' && keeping.length > 1) {
        report(order, `${keeping.map(({ id }) => id).join(' and ')} both keep the buyer's money`);
      }
    }
  },
};

const secured: Check = {
  name: 'every secured place has a payment or a saved payment method',
  run(books, report) {
    const paid = new Set(books.intents.filter((intent) => intent.paid).map(({ order }) => order));
    for (const { order, status } of books.setups) if (status === 'succeeded') paid.add(order);
    const withTeams = new Set(books.teams.map(({ campaign }) => campaign));
    const byGroup = groupBy(books.participants, ({ campaign, team }) => team ?? campaign);
    for (const { key, topic, payload } of books.events) {
      const shown = { 'campaign.successful': payload, 'campaign.priced': payload, 'team.successful': payload.team };
      const counts: unknown = Reflect.get(shown, topic.replace('group-commerce.', ''));
      if (counts === undefined || withTeams.has(key)) continue;
      const backed = (byGroup.get(key) ?? []).filter(({ order, payment }) => payment === null || paid.has(order));
      const count = (name: string) => Number(member(counts, name) ?? 0);
      const counted = Math.max(count('secured'), count('securedParticipants'));
      const units = sum(backed, ({ quantity }) => quantity);
      if (counted > backed.length || count('securedUnits') > units)
        report(
          key,
          `${counted} places with ${count('securedUnits')} units counted as secured (${topic}), but only ` +
            `${backed.length} with ${units} have a payment or a saved payment method`,
        );
    }
    const orders = new Map(books.orders.map((order) => [order.id, order]));
    for (const { order: id, state } of books.participants) {
      const order = orders.get(id);
      if (state !== 'charged' || order === undefined || cents(order.total) === 0) continue;
      if (!books.intents.some((intent) => intent.order === id && intent.captured > 0)) {
        report(id, 'the place is charged, but no money was captured for it');
      }
    }
  },
};

const moved = new Set(['in_transit', 'delivered', 'exception']);

const labels: Check = {
  name: 'the label of an order that ended before its parcel moved cannot be printed',
  run(books, report) {
    const orders = new Map(books.orders.map((order) => [order.id, order]));
    for (const { order: id, status } of books.shipments) {
      const order = orders.get(id);
      if (order === undefined || !['cancelled', 'refunded'].includes(order.status)) continue;
      const events = books.events.filter(({ key, topic }) => key === id && topic === 'shipping.status.changed');
      const hasMoved = moved.has(status) || events.some(({ payload }) => moved.has(String(payload.status)));
      if (!hasMoved && status !== 'cancelled')
        report(id, `the order is ${order.status}, but its shipment is ${status}`);
    }
    for (const { operation, path, responses } of books.requests) {
      if (operation !== 'shipping.label of an ended order') continue;
      const shipment = books.shipments.find(({ id }) => path.includes(id));
      if (responses.some(({ status }) => status === 200)) {
        report(shipment?.order ?? path, 'its label was printed after the order had ended');
      }
    }
  },
};

export const outcomeChecks: Check[] = [singleOutcome, exactAmount, noDoublePayment, secured, labels];
