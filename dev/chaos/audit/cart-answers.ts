import type { Books } from '../books.ts';
import { cents, groupBy, type Report } from '../finding.ts';
import { type ClientRequest, type ClientResponse, member, textOf } from '../journal.ts';
import { ordersByCart } from './carts.ts';
import { replayEvents } from './orders.ts';

type ResponseCheck = (request: ClientRequest, response: ClientResponse, report: Report) => void;

const cartOf = ({ path }: ClientRequest): string => path.split('/')[3] ?? '';

/** Checks whether the responses to shoppers agree with the books. */
export function cartResponseChecks(books: Books): Record<string, ResponseCheck> {
  const carts = new Map(books.carts.map((row) => [row.id, row]));
  const orders = new Map(books.orders.map((row) => [row.id, row]));
  const payments = new Map(books.payments.map((row) => [row.id, row]));
  const byKey = groupBy(books.events, (event) => event.key);
  const byCart = ordersByCart(books);
  const visited = (id: string) => replayEvents(byKey.get(id) ?? [], false).visited;
  const ordersOf = (cart: string) => byCart.get(cart) ?? [];
  const wasOneOf = (cart: string, ...statuses: string[]) =>
    ordersOf(cart).some((id) => statuses.some((status) => visited(id).has(status)));

  /** A response that shows the cart. */
  const shown: ResponseCheck = (request, { status, body }, report) => {
    const id = cartOf(request);
    const order = textOf(body, 'orderId');
    if (status === 404) report(id, 'the response was 404, but the cart exists');
    if (status !== 200) return;
    if (order !== '' && !ordersOf(id).includes(order))
      report(id, `the response shows ${order}, which is not its order`);
    const now = textOf(body, 'status');
    if (now === 'completed' && !visited(order).has('confirmed'))
      report([id, order], 'the response shows a completed cart, but its order was never confirmed');
    if (now === 'ordered' && !visited(order).has('created'))
      report([id, order], 'the response shows an ordered cart without an order');
    if ((now === 'cancelled' || now === 'expired') && carts.get(id)?.status !== now)
      report(id, `the response shows a cart that is ${now}, but it is ${carts.get(id)?.status}`);
  };

  /** The error of a cart that cannot be changed names its order, or the cart has ended. */
  const notOpen: ResponseCheck = (request, { body }, report) => {
    if (textOf(body, 'code') !== 'cart_not_open') return;
    const id = cartOf(request);
    const order = textOf(body, 'orderId');
    if (order !== '' && !ordersOf(id).includes(order))
      report(id, `the response names the order ${order}, which the cart never had`);
    if (order === '' && !['cancelled', 'expired'].includes(carts.get(id)?.status ?? ''))
      report(id, 'the response says that the cart is not open, but names no order');
  };

  const changed: ResponseCheck = (...all) => {
    shown(...all);
    notOpen(...all);
  };

  const checkedOut: ResponseCheck = (request, response, report) => {
    const { status, body } = response;
    const id = cartOf(request);
    const expected = cents(Number(member(request.body, 'expectedTotal')));
    notOpen(request, response, report);
    if (textOf(body, 'code') === 'price_changed') {
      const totals = member(member(body, 'cart'), 'totals');
      if (cents(Number(member(totals, 'total'))) === expected)
        report(id, 'the response says that the price has changed, but shows the same total');
    }
    if (status !== 201) return;
    const order = textOf(member(body, 'order'), 'id');
    if (!ordersOf(id).includes(order)) report([id, order], 'the response shows an order that does not exist');
    if (cents(orders.get(order)?.total ?? -1) !== expected)
      report([id, order], 'the order has another total than the shopper has accepted');
    const payment = member(body, 'payment');
    if (payment && payments.get(textOf(payment, 'id'))?.order !== order)
      report([id, order], 'the payment in the response does not exist');
    if (!payment && expected > 0) report([id, order], 'the response has no payment, but the order costs something');
  };

  const reopened: ResponseCheck = (request, response, report) => {
    changed(request, response, report);
    const id = cartOf(request);
    const now = textOf(response.body, 'status');
    if (response.status === 200 && now !== 'open') report(id, `the response shows a reopened cart that is ${now}`);
    if (textOf(response.body, 'code') === 'cart_not_open' && carts.get(id)?.status !== 'cancelled') {
      if (carts.get(id)?.status !== 'expired' && !wasOneOf(id, 'confirmed'))
        report(id, 'the response says that the cart cannot be reopened, but it was never paid');
    }
  };

  const cancelled: ResponseCheck = (request, response, report) => {
    changed(request, response, report);
    if (response.status === 200 && carts.get(cartOf(request))?.status !== 'cancelled')
      report(cartOf(request), 'the response says that the cart is cancelled, but it is not');
  };

  const foreign: ResponseCheck = (request, { status }, report) => {
    if (status !== 404) report(cartOf(request), `another shopper got ${status}, not 404`);
  };

  const created: ResponseCheck = (request, { status, body }, report) => {
    if (status !== 201 || !carts.has(textOf(body, 'id')))
      report(request.story, `the response for a new cart was ${status}, or the cart does not exist`);
  };

  return {
    'carts.create': created,
    'carts.read': shown,
    'carts.read of another shopper': foreign,
    'carts.change': changed,
    'carts.checkout': checkedOut,
    'carts.reopen': reopened,
    'carts.cancel': cancelled,
  };
}
