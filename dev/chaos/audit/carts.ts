import type { Books, EventRow } from '../books.ts';
import { type Check, groupBy } from '../finding.ts';
import { member, textOf } from '../journal.ts';
import { replayEvents } from './orders.ts';

const ended = new Set(['failed', 'cancelled']);

/** The orders of each cart. */
export const ordersByCart = ({ amounts }: Books): Map<string, string[]> =>
  new Map(
    [...groupBy(amounts, (row) => row.cart ?? '')]
      .filter(([cart]) => cart !== '')
      .map(([cart, rows]) => [cart, rows.map(({ order }) => order)]),
  );

/** How often an order was open: it was created or confirmed and had not ended. Each span: from one event to another. */
function spansOf(events: readonly EventRow[]): { from: number; to: number }[] {
  const spans: { from: number; to: number }[] = [];
  for (const { topic, seq } of events) {
    const last = spans.at(-1);
    const isOpen = last?.to === Number.POSITIVE_INFINITY;
    if ((topic === 'order.created' || topic === 'order.confirmed') && !isOpen)
      spans.push({ from: seq, to: Number.POSITIVE_INFINITY });
    if ((topic === 'order.failed' || topic === 'order.cancelled') && last && isOpen) last.to = seq;
  }
  return spans;
}

const orders: Check = {
  name: 'a cart has at most one order at a time that has not ended',
  run(books, report) {
    const byKey = groupBy(books.events, (event) => event.key);
    const statuses = new Map(books.orders.map((order) => [order.id, order.status]));
    for (const [cart, ids] of ordersByCart(books)) {
      const live = ids.filter((id) => !ended.has(statuses.get(id) ?? ''));
      if (live.length > 1) report([cart, ...live], `${live.length} of its orders have not ended`);
      const spans = ids
        .flatMap((id) => spansOf(byKey.get(id) ?? []).map((span) => ({ ...span, id })))
        .sort((a, b) => a.from - b.from);
      for (const [index, { id, from }] of spans.entries()) {
        const before = spans[index - 1];
        if (before && before.to > from) report([cart, before.id, id], 'two of its orders were open at the same time');
      }
    }
  },
};

const statuses: Check = {
  name: "a cart's status follows from its orders",
  run(books, report) {
    const byKey = groupBy(books.events, (event) => event.key);
    const byCart = ordersByCart(books);
    const orderIds = new Set(books.orders.map(({ id }) => id));
    const visited = (id: string) => replayEvents(byKey.get(id) ?? [], false).visited;
    for (const { id, status, order } of books.carts) {
      const ids = byCart.get(id) ?? [];
      if (order !== null && !ids.includes(order)) report([id, order], 'its order is the order of another cart');
      if (ids.length > 0 && order !== ids.at(-1)) report(id, 'its order is not the latest one');
      if (status === 'completed' && !(order !== null && visited(order).has('confirmed')))
        report(id, 'it is completed, but its order was never confirmed');
      const expired = byKey.get(id)?.filter(({ topic }) => topic === 'cart.expired') ?? [];
      if (expired.length !== Number(status === 'expired'))
        report(id, `it is ${status}, but it has ${expired.length} events cart.expired`);
      const [end] = expired;
      for (const each of end ? ids : []) {
        const before = (byKey.get(each) ?? []).filter(({ seq }) => seq < (end?.seq ?? 0));
        const last = replayEvents(before, false).status;
        if (!ended.has(last)) report([id, each], `it expired while its order was ${last}`);
      }
    }
    for (const { order: id } of books.reservations) {
      if (!orderIds.has(id) && books.carts.some((cart) => cart.id === id)) report(id, 'the cart holds stock');
    }
  },
};

/** What the clients of a run have as personal data. */
const personal = /@|Ada Example|Harbour Street|1100-001|\b(ct|cs)_[0-9A-Za-z]/;

const privacy: Check = {
  name: 'no event has personal data, and no stored response a token of a cart or session',
  run(books, report) {
    for (const { seq, topic, key, payload } of books.events) {
      const found = personal.exec(JSON.stringify(payload));
      if (found) report(key, `event ${seq} (${topic}) has personal data: ${found[0]}`);
    }
    for (const { operation, key } of books.storedTokens) report(key, `the stored response of ${operation} has a token`);
  },
};

/** Every order of a cart was shown to a shopper, unless its checkout never got a response. */
const checkouts: Check = {
  name: 'a shopper knows every order of a cart',
  run(books, report) {
    const byCart = groupBy(
      books.requests.filter(({ operation }) => operation === 'carts.checkout'),
      ({ path }) => path.split('/')[3] ?? '',
    );
    for (const [cart, ids] of ordersByCart(books)) {
      const requests = byCart.get(cart) ?? [];
      const responses = requests.flatMap((request) => request.responses);
      const shown = new Set(responses.map(({ body }) => textOf(member(body, 'order'), 'id')));
      const unknown = ids.filter((id) => !shown.has(id));
      const hidden = requests.filter(
        ({ abandoned, responses: own }) =>
          abandoned || own.some(({ body }) => textOf(body, 'code') === 'order_not_payable'),
      );
      if (unknown.length > hidden.length)
        report([cart, ...unknown], `no response showed ${unknown.length} of its orders`);
    }
  },
};

export const cartChecks: Check[] = [orders, statuses, privacy, checkouts];
