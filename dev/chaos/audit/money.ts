import type { Books, PaymentRow, RefundRow } from '../books.ts';
import { type Check, cents, dollars, groupBy, sum } from '../finding.ts';

const paidStatuses = new Set(['confirmed', 'shipped', 'delivered']);

/** The refunds of a payment's current PaymentIntent. Only these count in the payment's sums. */
export const refundsOfIntent = (payment: PaymentRow, refunds: readonly RefundRow[]): RefundRow[] =>
  refunds.filter(({ intent }) => intent === payment.intent);

/** The money and the refunds of an intent that was changed at Stripe do not count. The intent was reported. */
export function countedRefunds(books: Books): RefundRow[] {
  const changed = new Set(books.knownIntents.filter(({ fault }) => fault !== null).map(({ id }) => id));
  return books.refunds.filter(({ intent }) => intent === null || !changed.has(intent));
}

/**
 * Whether an order's price was captured. If the price of its campaign fell after the merchant had captured the hold in
 * Stripe's dashboard, more was captured, but not more than was authorized. The difference is then refunded.
 */
export const isFullCapture = (captured: number, total: string, authorized?: string | null): boolean =>
  captured === cents(total) || (captured > cents(total) && captured <= cents(authorized ?? total));

const amounts: Check = {
  name: 'Stripe and the database agree on all money',
  run(books, report) {
    const intents = new Map(books.intents.map((row) => [row.id, row]));
    const compare = (subject: string, part: string, atStripe: number, inDatabase: number) => {
      if (atStripe !== inDatabase) {
        report(subject, `${part} ${dollars(atStripe)} at Stripe, ${dollars(inDatabase)} in the database`);
      }
    };
    const known = new Map(books.knownIntents.map((row) => [row.id, row]));
    const currentIntents = new Set<string>();
    for (const { order, intent, captured, done } of books.payments) {
      const atStripe = intents.get(intent ?? '');
      currentIntents.add(intent ?? '');
      // The intent was changed at Stripe, so its money does not count for the payment. outcomes.ts checks it.
      if ((known.get(intent ?? '')?.fault ?? null) !== null) continue;
      compare(order, 'captured', atStripe?.captured ?? 0, cents(captured));
      compare(order, 'refunded', atStripe?.refunded ?? 0, cents(done));
    }
    // Other intents of a payment: left behind by a 500 after the request was executed, or by an attempt with another
    // key.
    const succeededRefunds = groupBy(
      books.refunds.filter(({ status }) => status === 'succeeded'),
      (row) => row.intent ?? '',
    );
    for (const { id, order, captured, refunded } of books.intents) {
      if (currentIntents.has(id) || captured === 0) continue;
      const row = known.get(id);
      if (row === undefined) report(order, `${id} captured ${dollars(captured)}, but no payment has this intent`);
      else compare(order, `captured by ${id}`, captured, cents(row.received));
      if (row?.fault !== null) continue;
      const returned = sum(succeededRefunds.get(id) ?? [], ({ amount }) => cents(amount));
      compare(order, `refunded of ${id}`, refunded, returned);
    }
  },
};

/** Orders that ended without goods. Their money is refunded, unless the refund failed at the bank. */
const endedWithoutGoods = new Set(['cancelled', 'failed']);

/**
 * The sum of a payment's refunds that failed at the bank and were reported by `payment.refund.failed`. The merchant
 * keeps it.
 */
function failedRefunds(books: Books): (payment: PaymentRow) => number {
  const reported = new Set(
    books.events.filter(({ topic }) => topic === 'payment.refund.failed').map(({ payload }) => payload.refundId),
  );
  const failed = groupBy(
    books.refunds.filter(({ id, status }) => status === 'failed' && reported.has(id)),
    (row) => row.payment,
  );
  return (payment) => sum(refundsOfIntent(payment, failed.get(payment.id) ?? []), ({ amount }) => cents(amount));
}

const balance: Check = {
  name: 'captured − refunded = the money that each order may keep',
  run(books: Books, report) {
    const byOrder = groupBy(books.payments, (row) => row.order);
    const failedOf = failedRefunds(books);
    for (const order of books.orders) {
      const payments = byOrder.get(order.id) ?? [];
      const captured = sum(payments, (row) => cents(row.captured));
      const kept = captured - sum(payments, (row) => cents(row.done));
      const total = cents(order.total);
      const failed = sum(payments, failedOf);
      // A hold that was captured in part at Stripe is refunded completely.
      const allowed = endedWithoutGoods.has(order.status) ? failed : 0;
      const isFull = isFullCapture(captured, order.total, payments[0]?.authorized) && kept <= total + failed;
      if (captured !== 0 && !isFull && (kept < 0 || kept > allowed)) {
        report(order.id, `${dollars(captured)} were captured for a total of ${dollars(total)}`);
      }
      if (paidStatuses.has(order.status)) {
        if (!isFull)
          report(order.id, `it is ${order.status}, but only ${dollars(captured)} of ${dollars(total)} were captured`);
        if (kept <= 0 && total > 0) report(order.id, `it is ${order.status}, but all of its money was refunded`);
      } else if (order.status === 'refunded' && kept > 0) {
        report(order.id, `it is refunded, but ${dollars(kept)} were not refunded`);
      } else if (kept > failed) {
        report(order.id, `it is ${order.status}, but ${dollars(kept)} were not refunded`);
      } else if (order.status === 'refunded' && captured === 0)
        report(order.id, 'it is refunded, but nothing was captured');
    }
    const known = new Set(books.orders.map((order) => order.id));
    for (const [order, payments] of byOrder) {
      const kept = sum(payments, (row) => cents(row.captured) - cents(row.done));
      if (!known.has(order) && kept > sum(payments, failedOf)) {
        report(order, `${dollars(kept)} were captured for a place without an order`);
      }
    }
  },
};

const refunds: Check = {
  name: 'every refund is made once, and refunds never exceed the captured amount',
  run(books, report) {
    // A refund that was made in the dashboard has no refund id of ours. Our row has Stripe's id.
    const byStripe = new Map(books.refunds.map((row) => [row.stripe, row.id]));
    const atStripe = groupBy(books.stripeRefunds, (row) => row.refundId ?? byStripe.get(row.id) ?? row.id);
    const byPayment = groupBy(countedRefunds(books), (row) => row.payment);
    for (const refund of books.refunds) {
      const made = (atStripe.get(refund.id) ?? []).filter(
        (row) => row.status !== 'failed' && row.status !== 'canceled',
      );
      if (made.length > 1) report(refund.payment, `refund ${refund.id} was made ${made.length} times at Stripe`);
      if (refund.status === 'succeeded' && made.length === 0) {
        report(refund.payment, `refund ${refund.id} succeeded, but Stripe has not made it`);
      }
      if (refund.status === 'failed' && made.length > 0) {
        report(refund.payment, `refund ${refund.id} failed, but Stripe has made it`);
      }
      if (made.some((row) => row.amount !== cents(refund.amount))) {
        report(refund.payment, `refund ${refund.id} has another amount at Stripe`);
      }
    }
    for (const payment of books.payments) {
      const rows = refundsOfIntent(payment, byPayment.get(payment.id) ?? []);
      const [requested, done] = [
        sum(
          rows.filter((row) => row.status !== 'failed'),
          (row) => cents(row.amount),
        ),
        sum(
          rows.filter((row) => row.status === 'succeeded'),
          (row) => cents(row.amount),
        ),
      ];
      if (requested > cents(payment.captured)) report(payment.id, 'the refunds exceed the captured amount');
      if (requested !== cents(payment.refunded) || done !== cents(payment.done)) {
        report(payment.id, 'its refund sums differ from the rows of its refunds');
      }
    }
  },
};

const livePayments: Check = {
  name: 'an order has at most one live payment',
  run(books, report) {
    for (const [order, rows] of groupBy(books.payments, (row) => row.order)) {
      const live = rows.filter((row) => row.status === 'pending' || row.status === 'succeeded');
      if (live.length > 1) report(order, `${live.length} live payments`);
    }
  },
};

export const moneyChecks: Check[] = [amounts, balance, refunds, livePayments];
