import type { Books } from '../../dev/chaos/books.ts';
import type { ClientRequest } from '../../dev/chaos/journal.ts';
import type { AmountsRow, SaleBooks } from '../../dev/chaos/sale-books.ts';

/** A row of a list. */
export const element = <T>(list: T[], index = 0): T => {
  const found = list[index];
  if (found === undefined) throw new Error(`the list has no element ${index}`);
  return found;
};

const items = [{ sku: 'A', quantity: 2, price: 10 }];
const nothing = { refunded: null, refundedAmounts: null, restocked: null };
const discount = (amount: number) => [{ id: 'few', amount, allocations: [{ lineId: '1', amount }] }];

const taxLines = [0.6, 0.4].map((amount) => ({ rate: amount * 10, taxable: 10, amount }));

/** 20.00 − 2.00 + 1.00 shipping + 1.00 tax, and one of its two units was refunded. */
const paid: AmountsRow = {
  ...{ order: 'paid', cart: 'cart-1', items, total: '20.00', subtotal: '20.00', discount: '2.00', shipping: '1.00' },
  ...{ shippingTax: '0.05', tax: '1.00', included: false, taxLines },
  discounts: discount(2),
  lines: [{ id: '1', subtotal: 20, discount: 2, tax: 0.95, total: 18.95 }],
  ...{ refunded: [1], refundedAmounts: ['4.50'], restocked: [1] },
};
const failed: AmountsRow = {
  ...{ ...paid, ...nothing, order: 'short', cart: 'cart-2', shipping: '2.00', shippingTax: '0.00', tax: '0.00' },
  ...{ taxLines: [], lines: [{ id: '1', subtotal: 20, discount: 2, tax: 0, total: 18 }] },
};
const plain: AmountsRow = {
  ...{ ...failed, order: 'place', cart: null, subtotal: null, discount: null, shipping: null, shippingTax: null },
  ...{ tax: null, included: null, taxLines: null, discounts: null, lines: null },
};

/** Two carts: one with a paid order, and one that expired after its order had failed. Both used a limited discount. */
export const validSales = (): SaleBooks =>
  structuredClone({
    amounts: [paid, failed, plain],
    carts: [
      { id: 'cart-1', tenant: 'default', status: 'ordered', order: 'paid' },
      { id: 'cart-2', tenant: 'default', status: 'expired', order: 'short' },
    ],
    discounts: [{ id: 'few', limit: 2, customerLimit: 1, used: 1 }],
    customerUses: [{ discount: 'few', customer: 'c1', used: 1 }],
    uses: [
      { order: 'paid', discount: 'few', customer: 'c1', taken: true },
      { order: 'short', discount: 'few', customer: 'c2', taken: false },
    ],
    lineRefunds: [
      {
        ...{ id: 'r', order: 'paid', status: 'succeeded', amount: '5.00', shipping: '0.50' },
        items: [{ lineId: '1', quantity: 1, amount: 4.5, restocked: 1 }],
      },
    ],
    storedTokens: [],
  });

const request = (
  operation: string,
  path: string,
  status: number,
  body: unknown,
  sent: unknown = {},
): ClientRequest => ({
  ...{ n: 1, story: 's1', tenant: 'default', operation, method: 'POST', path, key: null, body: sent },
  attempts: [{ at: 0, tookMs: 1, outcome: status }],
  responses: [{ status, body, replayed: false }],
  abandoned: false,
});

const checkout = (cart: string, body: object, status = 201) =>
  request('carts.checkout', `/v1/carts/${cart}/checkout`, status, body, { expectedTotal: 20 });

/** The requests of the shoppers of both carts. */
export const saleRequests = (): ClientRequest[] => [
  checkout('cart-1', { order: { id: 'paid' }, payment: { id: 'p-paid' } }),
  checkout('cart-2', { order: { id: 'short' }, payment: { id: 'p-short' } }),
];

type Breakage = [check: string, title: string, change: (books: Books) => void];
const amounts = "an order's amounts, lines, tax lines and discounts agree";
const refunds = "refunds of lines add up to the order's refunded units, and none exceeds its line";
const counters = 'a limited discount counts the orders that use it, and never more than its limits';
const uses = 'an order has taken its uses of limited discounts, until it fails or is cancelled';
const oneOrder = 'a cart has at most one order at a time that has not ended';
const cartStatus = "a cart's status follows from its orders";
const privacy = 'no event has personal data, and no stored response a token of a cart or session';
const known = 'a shopper knows every order of a cart';
const responses = 'every response that a client got is true';
const lineOf = (b: Books) => element(element(b.amounts).lines ?? []);
const addResponse = (...fields: Parameters<typeof request>) => {
  return (b: Books) => b.requests.push(request(...fields));
};

/** Changes that break each promise about carts, discounts, taxes and refunds of lines. */
export const saleBreakages: Breakage[] = [
  [amounts, 'a total without its tax', (b) => (element(b.amounts).total = '19.00')],
  [amounts, 'a tax line of another amount', (b) => element(b.amounts).taxLines?.pop()],
  [amounts, 'a line that costs a cent more', (b) => (lineOf(b).total += 0.01)],
  [amounts, 'a line with a wrong subtotal', (b) => (element(b.amounts).items = [{ sku: 'A', quantity: 3, price: 10 }])],
  [amounts, 'a discount of no line', (b) => (element(b.amounts).discounts = [])],
  [amounts, 'a discount of more than its parts', (b) => (element(element(b.amounts).discounts ?? []).amount = 3)],
  [amounts, 'a missing line', (b) => (element(b.amounts).lines = [])],
  [refunds, 'a refund that the order does not count', (b) => (element(b.amounts).refunded = null)],
  [refunds, 'units that no refund has returned', (b) => (element(b.amounts).refunded = [2])],
  [refunds, 'an amount that no refund has returned', (b) => (element(b.amounts).refundedAmounts = ['18.95'])],
  [refunds, 'a refund of more than its lines and shipping', (b) => (element(b.lineRefunds).shipping = '0.00')],
  [
    'a unit that was refunded goes back into stock once',
    'a unit that went back twice',
    (b) => (element(b.reservations).restocked = [2]),
  ],
  [counters, 'a counter that is too high', (b) => (element(b.discounts).used = 2)],
  [counters, 'a missing counter', (b) => (element(b.discounts).used = null)],
  [
    counters,
    'more uses than the limit',
    (b) => {
      Object.assign(element(b.discounts), { limit: 1, used: 2 });
      element(b.uses, 1).taken = true;
    },
  ],
  [
    counters,
    'more uses of a customer than its limit',
    (b) => {
      Object.assign(element(b.uses, 1), { taken: true, customer: 'c1' });
      element(b.discounts).used = 2;
      element(b.customerUses).used = 2;
    },
  ],
  [counters, 'a wrong counter of a customer', (b) => b.customerUses.splice(0)],
  [uses, 'a use of a failed order', (b) => (element(b.uses, 1).taken = true)],
  [uses, 'a use that a paid order has lost', (b) => (element(b.uses).taken = false)],
  [uses, 'a use that was never recorded', (b) => b.uses.splice(0, 1)],
  [oneOrder, 'two paid orders', (b) => (element(b.amounts, 2).cart = 'cart-1')],
  [oneOrder, 'two open orders, one of which has failed since', (b) => (element(b.amounts, 1).cart = 'cart-1')],
  [cartStatus, 'a cart that expired without its event', (b) => (element(b.carts).status = 'expired')],
  [cartStatus, 'a completed cart whose order failed', (b) => (element(b.carts, 1).status = 'completed')],
  [
    cartStatus,
    'a cart that expired with a paid order',
    (b) => {
      element(b.carts).status = 'expired';
      element(b.events, 20).key = 'cart-1';
    },
  ],
  [cartStatus, 'a cart that names the order of another cart', (b) => (element(b.carts).order = 'short')],
  [
    cartStatus,
    'a cart that holds stock',
    (b) => b.reservations.push({ ...element(b.reservations), order: 'cart-1', status: 'held' }),
  ],
  [privacy, 'an event with an e-mail address', (b) => (element(b.events, 1).payload = { email: 'ada@example.com' })],
  [privacy, 'an event with a street', (b) => (element(b.events, 1).payload = { line1: '12 Harbour Street' })],
  [privacy, 'a stored token', (b) => b.storedTokens.push({ operation: 'carts.create', key: 'k' })],
  [known, 'an order that no shopper was shown', (b) => b.requests.splice(8, 1)],
  [responses, 'a checkout with another total', (b) => (element(b.requests, 8).body = { expectedTotal: 19 })],
  [
    responses,
    'a checkout with an order of another cart',
    (b) => (element(b.requests, 8).path = '/v1/carts/cart-2/checkout'),
  ],
  [
    responses,
    'a changed price that is the same',
    (b) => b.requests.push(checkout('cart-1', { code: 'price_changed', cart: { totals: { total: 20 } } }, 409)),
  ],
  [
    responses,
    'a cart that is not open because of an order that it never had',
    (b) => b.requests.push(checkout('cart-1', { code: 'cart_not_open', orderId: 'place' }, 409)),
  ],
  [
    responses,
    'a completed cart whose order was never confirmed',
    addResponse('carts.read', '/v1/carts/cart-2', 200, { status: 'completed', orderId: 'short' }),
  ],
  [responses, 'a cart of another shopper', addResponse('carts.read of another shopper', '/v1/carts/cart-1', 200, {})],
  [responses, 'a lost cart', addResponse('carts.read', '/v1/carts/cart-1', 404, {})],
  [
    responses,
    'a cart that was never paid and cannot be reopened',
    (b) => {
      element(b.carts, 1).status = 'open';
      addResponse('carts.reopen', '/v1/carts/cart-2/reopen', 409, { code: 'cart_not_open', orderId: 'short' })(b);
    },
  ],
  [responses, 'a cancelled cart that is not', addResponse('carts.cancel', '/v1/carts/cart-1/cancel', 200, {})],
  [responses, 'a new cart that does not exist', addResponse('carts.create', '/v1/carts', 201, { id: 'cart-3' })],
];
