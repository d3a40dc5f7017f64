import type { Books, PaymentRow, RefundRow } from '../books.ts';
import { type Check, cents, dollars, groupBy, sum } from '../finding.ts';

const keepsMoney = new Set(['confirmed', 'shipped', 'delivered']);

/** The refunds of the payment's own intent: these make its sums. */
export const ownRefunds = (payment: PaymentRow, refunds: readonly RefundRow[]): RefundRow[] =>
  refunds.filter(({ intent }) => intent === payment.intent);

const stripe: Check = {
  name: 'money at Stripe is money in our books',
  run(books, find) {
    const intents = new Map(books.intents.map((row) => [row.id, row]));
    const differs = (about: string, part: string, has: number, says: number) => {
      if (has !== says) find(about, `${part} ${dollars(has)} at Stripe, ${dollars(says)} in our rows`);
    };
    const known = new Map(books.knownIntents.map((row) => [row.id, row]));
    const own = new Set<string>();
    for (const { order, intent, captured, done } of books.payments) {
      const theirs = intents.get(intent ?? '');
      own.add(intent ?? '');
      // Changed at Stripe: its money is not the payment's. Its outcome is checked.
      if ((known.get(intent ?? '')?.fault ?? null) !== null) continue;
      differs(order, 'captured', theirs?.captured ?? 0, cents(captured));
      differs(order, 'refunded', theirs?.refunded ?? 0, cents(done));
    }
    // Another intent of the payment: a 500 that acted, or an attempt under another key, has left it behind.
    const back = groupBy(
      books.refunds.filter(({ status }) => status === 'succeeded'),
      (row) => row.intent ?? '',
    );
    for (const { id, order, captured, refunded } of books.intents) {
      if (own.has(id) || captured === 0) continue;
      const row = known.get(id);
      if (row === undefined) find(order, `${dollars(captured)} were taken by ${id}, which no payment knows`);
      else differs(order, `captured by ${id}`, captured, cents(row.received));
      if (row?.fault !== null) continue;
      const returned = sum(back.get(id) ?? [], ({ amount }) => cents(amount));
      differs(order, `refunded of ${id}`, refunded, returned);
    }
  },
};

/** The orders that ended without goods: their money goes back, unless its refund failed at the bank. */
const calledOff = new Set(['cancelled', 'failed']);

/** What a payment may keep: its refunds that failed at the bank, if `payment.refund.failed` told the merchant. */
function failedRefunds(books: Books): (payment: PaymentRow) => number {
  const told = new Set(
    books.events.filter(({ topic }) => topic === 'payment.refund.failed').map(({ payload }) => payload.refundId),
  );
  const failed = groupBy(
    books.refunds.filter(({ id, status }) => status === 'failed' && told.has(id)),
    (row) => row.payment,
  );
  return (payment) => sum(ownRefunds(payment, failed.get(payment.id) ?? []), ({ amount }) => cents(amount));
}

const balance: Check = {
  name: "captured − refunded = the orders' money",
  run(books: Books, find) {
    const ours = groupBy(books.payments, (row) => row.order);
    const failedOf = failedRefunds(books);
    for (const order of books.orders) {
      const payments = ours.get(order.id) ?? [];
      const captured = sum(payments, (row) => cents(row.captured));
      const kept = captured - sum(payments, (row) => cents(row.done));
      const total = cents(order.total);
      const failed = sum(payments, failedOf);
      // Of a hold that was captured in part at Stripe, all goes back.
      const allowed = calledOff.has(order.status) ? failed : 0;
      if (captured !== 0 && captured !== total && (kept < 0 || kept > allowed)) {
        find(order.id, `${dollars(captured)} were taken for ${dollars(total)}`);
      }
      if (keepsMoney.has(order.status)) {
        if (captured !== total)
          find(order.id, `${order.status}, and ${dollars(captured)} of ${dollars(total)} are there`);
        if (kept <= 0 && total > 0) find(order.id, `${order.status}, and all of its money went back`);
      } else if (order.status === 'refunded' && kept > 0) {
        find(order.id, `refunded, and ${dollars(kept)} are still here`);
      } else if (kept > failed) {
        find(order.id, `${order.status}, and ${dollars(kept)} of the buyer's money are still here`);
      } else if (order.status === 'refunded' && captured === 0) find(order.id, 'refunded, and nothing was taken');
    }
    const known = new Set(books.orders.map((order) => order.id));
    for (const [order, payments] of ours) {
      const kept = sum(payments, (row) => cents(row.captured) - cents(row.done));
      if (!known.has(order) && kept > sum(payments, failedOf)) {
        find(order, `${dollars(kept)} taken for a place without an order`);
      }
    }
  },
};

const refunds: Check = {
  name: 'a refund is made once, and never more than was captured',
  run(books, find) {
    // One that was made at Stripe does not name ours: ours names it.
    const byStripe = new Map(books.refunds.map((row) => [row.stripe, row.id]));
    const theirs = groupBy(books.stripeRefunds, (row) => row.ours ?? byStripe.get(row.id) ?? row.id);
    const byPayment = groupBy(books.refunds, (row) => row.payment);
    for (const refund of books.refunds) {
      const made = (theirs.get(refund.id) ?? []).filter((row) => row.status !== 'failed' && row.status !== 'canceled');
      if (made.length > 1) find(refund.payment, `refund ${refund.id} was made ${made.length} times at Stripe`);
      if (refund.status === 'succeeded' && made.length === 0) {
        find(refund.payment, `refund ${refund.id} succeeded, and Stripe has made none`);
      }
      if (refund.status === 'failed' && made.length > 0) {
        find(refund.payment, `refund ${refund.id} failed, and Stripe has made it`);
      }
      if (made.some((row) => row.amount !== cents(refund.amount))) {
        find(refund.payment, `refund ${refund.id} is of another amount at Stripe`);
      }
    }
    for (const payment of books.payments) {
      const rows = ownRefunds(payment, byPayment.get(payment.id) ?? []);
      const [promised, done] = [
        sum(
          rows.filter((row) => row.status !== 'failed'),
          (row) => cents(row.amount),
        ),
        sum(
          rows.filter((row) => row.status === 'succeeded'),
          (row) => cents(row.amount),
        ),
      ];
      if (promised > cents(payment.captured)) find(payment.id, 'more is to be refunded than was captured');
      if (promised !== cents(payment.refunded) || done !== cents(payment.done)) {
        find(payment.id, "its sums of refunds are not those of its refunds' rows");
      }
    }
  },
};

const live: Check = {
  name: 'one live payment an order',
  run(books, find) {
    for (const [order, rows] of groupBy(books.payments, (row) => row.order)) {
      const alive = rows.filter((row) => row.status === 'pending' || row.status === 'succeeded');
      if (alive.length > 1) find(order, `${alive.length} live payments`);
    }
  },
};

export const moneyChecks: Check[] = [stripe, balance, refunds, live];
