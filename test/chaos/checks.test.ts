import { describe, expect, test } from 'vitest';
import { audit, checks } from '../../dev/chaos/audit/audit.ts';
import { type Outcome, outcomes } from '../../dev/chaos/audit/outcomes.ts';
import type { Books, EventRow } from '../../dev/chaos/books.ts';
import type { ClientRequest, ClientResponse } from '../../dev/chaos/journal.ts';
import { addGroupSales, groupBreakages, groupEvents, type NewEvent, validGroups } from './groups.ts';
import { element, saleBreakages, saleRequests, validSales } from './sales.ts';

const time = new Date('2026-11-22T12:00:00Z');

/** Events in the order in which their transactions would have written them. */
function createEvents(list: NewEvent[]): EventRow[] {
  return list.map(([topic, key, payload = {}], index) => ({
    seq: index + 1,
    id: `event-${index + 1}`,
    tenant: 'default',
    topic,
    key,
    payload,
    time,
  }));
}

const request = (fields: Partial<ClientRequest> & { operation: string }, response: ClientResponse): ClientRequest => ({
  n: 1,
  story: 's0',
  tenant: 'default',
  method: 'POST',
  path: '/',
  key: null,
  body: null,
  attempts: [{ at: time.getTime(), tookMs: 1, outcome: response.status }],
  responses: [response],
  abandoned: false,
  ...fields,
});

const respond = (status: number, body: unknown): ClientResponse => ({ status, body, replayed: false });

/**
 * Books without findings: a paid order with a refund and a label, an order without stock, a successful campaign, and
 * the carts of the two orders.
 */
function validBooks(): Books {
  const items = [{ sku: 'A', quantity: 2, price: 10 }];
  const order = {
    tenant: 'default',
    customer: 'c',
    items,
    total: '20.00',
    extra: '0',
    currency: 'USD',
    failure: null,
    address: false,
  };
  const campaign = 'group-commerce.campaign';
  const events = createEvents([
    ['product.created', 'product'],
    ['order.created', 'paid'],
    ['inventory.reserved', 'paid'],
    ['payment.created', 'p-paid'],
    ['payment.succeeded', 'p-paid'],
    ['order.confirmed', 'paid'],
    ['shipping.label.created', 'paid'],
    ['payment.refund.requested', 'p-paid', { refundId: 'r' }],
    ['payment.refunded', 'p-paid', { refundId: 'r' }],
    ['order.created', 'short'],
    ['inventory.insufficient', 'short'],
    ['order.failed', 'short'],
    [`${campaign}.created`, 'campaign'],
    ['payment.created', 'p-place'],
    [`${campaign}.joined`, 'campaign'],
    [`${campaign}.successful`, 'campaign', { actualParticipants: 1 }],
    ['order.created', 'place'],
    ['inventory.reserved', 'place'],
    ['payment.succeeded', 'p-place'],
    ['order.confirmed', 'place'],
    ['cart.expired', 'cart-2'],
    ['payment.created', 'p-short'],
    ['payment.failed', 'p-short'],
    ...groupEvents,
  ]);
  const payment = {
    tenant: 'default',
    authorized: null,
    amount: '20.00',
    currency: 'USD',
    captured: '20.00',
    mode: 'order',
  };
  const intent = { status: 'succeeded', amount: 2_000, currency: 'usd', paid: true, hidden: false, dispute: null };
  return addGroupSales({
    ...validSales(),
    ...validGroups(),
    orders: [
      { ...order, id: 'paid', reference: 's0-order-1', status: 'confirmed', campaign: null, address: true },
      {
        ...order,
        id: 'short',
        reference: 's0-order-2',
        status: 'failed',
        failure: 'insufficient_inventory',
        campaign: null,
      },
      { ...order, id: 'place', reference: null, status: 'confirmed', campaign: 'campaign' },
    ],
    reservations: [
      {
        order: 'paid',
        tenant: 'default',
        skus: ['A'],
        quantities: [2],
        status: 'committed',
        expires: null,
        restocked: [1],
      },
      {
        order: 'short',
        tenant: 'default',
        skus: ['A'],
        quantities: [2],
        status: 'refused',
        expires: null,
        restocked: null,
      },
      {
        order: 'place',
        tenant: 'default',
        skus: ['A'],
        quantities: [2],
        status: 'committed',
        expires: null,
        restocked: null,
      },
    ],
    stock: [{ tenant: 'default', sku: 'A', quantity: 2, reserved: 0 }],
    adjustments: [
      { tenant: 'default', sku: 'A', delta: 3, reason: 'opening' },
      { tenant: 'default', sku: 'A', delta: 2, reason: 's0-adjustment-1' },
    ],
    products: [{ id: 'product', tenant: 'default', sku: 'A', name: 'A', version: 1 }],
    payments: [
      { ...payment, id: 'p-paid', order: 'paid', status: 'succeeded', intent: 'pi_1', refunded: '5.00', done: '5.00' },
      {
        ...payment,
        authorized: '24.00',
        id: 'p-place',
        order: 'place',
        status: 'succeeded',
        intent: 'pi_2',
        refunded: '0',
        done: '0',
      },
      {
        ...payment,
        ...{ id: 'p-short', order: 'short', status: 'failed', intent: null, captured: '0', refunded: '0', done: '0' },
      },
    ],
    refunds: [
      {
        id: 'r',
        payment: 'p-paid',
        amount: '5.00',
        status: 'succeeded',
        reason: 's0-refund-1',
        stripe: 're_1',
        intent: 'pi_1',
      },
    ],
    knownIntents: [
      { id: 'pi_1', payment: 'p-paid', received: '20.00', fault: null },
      { id: 'pi_2', payment: 'p-place', received: '20.00', fault: null },
    ],
    shipments: [{ id: 'shipment', order: 'paid', status: 'created', tracking: 'T', quantities: [2] }],
    labels: [{ order: 'paid', status: 'made' }],
    events,
    undelivered: [],
    deadLetters: [],
    inbox: [{ consumer: 'payments', event: 'event-3' }],
    records: events.map(({ id, topic, key, seq }) => {
      return { topic, partition: 0, offset: seq, timestamp: 1_000 + seq, key, id, matchesEvent: true };
    }),
    intents: [
      { ...intent, id: 'pi_1', order: 'paid', captured: 2_000, refunded: 500, secret: 'pi_1_secret_a' },
      { ...intent, id: 'pi_2', order: 'place', amount: 2_400, captured: 2_000, refunded: 0, secret: 'pi_2_secret_a' },
      // Left behind by a 5xx after the request was executed. No client has its secret, so no buyer can pay it.
      {
        ...intent,
        id: 'pi_3',
        order: 'paid',
        status: 'requires_payment_method',
        captured: 0,
        refunded: 0,
        paid: false,
        hidden: true,
        secret: 'pi_3_secret_a',
      },
    ],
    setups: [],
    stripeRefunds: [{ id: 're_1', intent: 'pi_1', amount: 500, status: 'succeeded', refundId: 'r' }],
    requests: [
      request(
        { operation: 'orders.place', key: 's0-order-1', body: { purchaseOrderNumber: 's0-order-1', items } },
        respond(201, { id: 'paid', items }),
      ),
      request(
        { operation: 'orders.place', key: 's0-order-2', body: { purchaseOrderNumber: 's0-order-2', items } },
        respond(409, { code: 'insufficient_inventory', orderId: 'short' }),
      ),
      request(
        { operation: 'orders.read', method: 'GET', path: '/v1/orders/paid' },
        respond(200, { status: 'created' }),
      ),
      request(
        {
          operation: 'inventory.adjust',
          path: '/v1/inventory/A/adjustments',
          key: 's0-adjustment-1',
          body: { delta: 2 },
        },
        respond(201, {}),
      ),
      request(
        { operation: 'products.create', key: 's0-product-1', body: { sku: 'A', inventory: 3 } },
        respond(201, { id: 'product' }),
      ),
      request(
        { operation: 'payments.refund', path: '/v1/payments/p-paid/refunds', key: 's0-refund-1', body: {} },
        respond(201, { id: 'r', amount: 5 }),
      ),
      request(
        { operation: 'payments.create', path: '/v1/payments', key: 's0-payment-1', body: { orderId: 'paid' } },
        respond(201, { id: 'p-paid', orderId: 'paid', amount: 20, clientSecret: 'told' }),
      ),
      request(
        { operation: 'campaigns.join', path: '/v1/campaigns/campaign/join', key: 's0-join-1', body: { userId: 'u' } },
        respond(201, { id: 'seat', sku: 'A', quantity: 2 }),
      ),
      ...saleRequests(),
    ],
    clock: time.getTime(),
  });
}

const singleOutcome = 'every payment at Stripe has one outcome: goods or a refund';
const exactAmount = 'an order is confirmed only by a payment of its exact total and currency';
const noDoublePayment = 'no order keeps the money of two payments';
const oneLabelAUnit = 'every unit of a paid order with an address has one label';
const unprintableLabel = 'the label of an order that ended before its parcel moved cannot be printed';
const paid = { status: 'succeeded', captured: 2_000, paid: true };
const printedLabel = request(
  { operation: 'shipping.label of an ended order', method: 'GET', path: '/v1/shipments/shipment/label' },
  respond(200, ''),
);

/** Changes that break the promise of each check. One change may break other promises too. */
const breakages: [check: string, title: string, change: (books: Books) => void][] = [
  ...saleBreakages,
  ...groupBreakages,
  ['stock added = free + held + committed', 'a missing unit', (b) => element(b.stock).quantity--],
  ['stock added = free + held + committed', 'a held unit without an order', (b) => element(b.stock).reserved++],
  [
    'the stock ledger has each adjustment of a client once',
    'an adjustment that was applied twice',
    (b) => b.adjustments.push(element(b.adjustments, 1)),
  ],
  [
    'the stock ledger has each adjustment of a client once',
    'an adjustment that no client requested',
    (b) => (element(b.adjustments, 1).reason = 'x'),
  ],
  [
    'the stock added to each SKU is the sum of the units in successful responses',
    'a wrong opening stock',
    (b) => element(b.adjustments).delta++,
  ],
  [
    'no hold outlives its expiry',
    'a hold that expired a second ago',
    (b) => Object.assign(element(b.reservations), { status: 'held', expires: new Date(b.clock - 1_000) }),
  ],
  ['no hold outlives its expiry', 'a hold that was never decided', (b) => (element(b.reservations).status = 'pending')],
  ["every order's state follows from its events", 'a wrong status', (b) => (element(b.orders).status = 'cancelled')],
  ["every order's state follows from its events", 'a lost event', (b) => b.events.splice(5, 1)],
  [
    "every order's state follows from its events",
    'stock that was released',
    (b) => (element(b.reservations).status = 'released'),
  ],
  ["an order's hold and total match its lines", 'a wrong total', (b) => (element(b.orders).total = '20.01')],
  [
    "an order's hold and total match its lines",
    'a reservation of other units',
    (b) => (element(b.reservations).quantities = [3]),
  ],
  [oneLabelAUnit, 'two labels', (b) => b.shipments.push(element(b.shipments))],
  [oneLabelAUnit, 'no label', (b) => b.shipments.splice(0)],
  [oneLabelAUnit, 'a label for less than what was not refunded', (b) => (element(b.shipments).quantities = [0])],
  ["an order's hold and total match its lines", 'a tax that is not paid', (b) => (element(b.orders).extra = '3.80')],
  [
    'a place, its payment and its order have the same amount',
    'a place that costs more than its payment',
    (b) => (element(b.participants).total = '23.80'),
  ],
  [
    'a place, its payment and its order have the same amount',
    'a place that costs something, without a payment',
    (b) => (element(b.participants).payment = null),
  ],
  [
    'Stripe and the database agree on all money',
    'an amount that only Stripe has',
    (b) => (element(b.intents).captured += 1),
  ],
  [
    'Stripe and the database agree on all money',
    'an unknown intent that was paid',
    (b) => (element(b.intents, 2).captured = 1),
  ],
  [
    'Stripe and the database agree on all money',
    'a second payment that is refunded in the database but not at Stripe',
    (b) => {
      element(b.intents, 2).captured = 2_000;
      b.knownIntents.push({ id: 'pi_3', payment: 'p-paid', received: '20.00', fault: null });
      b.refunds.push({ ...element(b.refunds), id: 'r3', intent: 'pi_3', amount: '20.00' });
    },
  ],
  [singleOutcome, 'an unknown intent that was paid', (b) => Object.assign(element(b.intents, 2), paid)],
  [
    singleOutcome,
    'a card hold that never ends',
    (b) => Object.assign(element(b.intents, 2), { status: 'requires_capture' }),
  ],
  [singleOutcome, 'an undecided bank debit', (b) => Object.assign(element(b.intents, 2), { status: 'processing' })],
  [singleOutcome, 'an unpaid intent without a stored error', (b) => (element(b.intents, 2).hidden = false)],
  [singleOutcome, 'an unpaid intent whose secret a client has', (b) => (element(b.intents, 2).secret = 'told')],
  [singleOutcome, 'money of a cancelled order', (b) => (element(b.orders).status = 'cancelled')],
  [singleOutcome, 'money of a changed intent that was not reported', (b) => (element(b.orders, 2).total = '30.00')],
  [
    exactAmount,
    'an order that was confirmed by a smaller amount',
    (b) => Object.assign(element(b.intents), { amount: 100, captured: 100 }),
  ],
  [exactAmount, 'an order that was confirmed in another currency', (b) => (element(b.intents).currency = 'eur')],
  [exactAmount, 'an order that was confirmed by a partly captured hold', (b) => (element(b.intents).captured = 1_999)],
  [noDoublePayment, 'a payment that was captured twice', (b) => b.intents.push({ ...element(b.intents), id: 'pi_4' })],
  [
    'every secured place has a payment or a saved payment method',
    'a secured place without a payment',
    (b) => Object.assign(element(b.events, 15).payload, { securedParticipants: 2 }),
  ],
  [
    'every secured place has a payment or a saved payment method',
    'a charged place without a payment',
    (b) => (element(b.intents, 1).captured = 0),
  ],
  [
    unprintableLabel,
    'a label of a cancelled order that is still valid',
    (b) => (element(b.orders).status = 'cancelled'),
  ],
  [unprintableLabel, 'a label that was printed after the order had ended', (b) => b.requests.push(printedLabel)],
  [
    'captured − refunded = the money that each order may keep',
    'a captured amount below the total',
    (b) => (element(b.payments).captured = '19.00'),
  ],
  [
    'captured − refunded = the money that each order may keep',
    'a cancelled order that keeps its money',
    (b) => (element(b.orders).status = 'cancelled'),
  ],
  [
    'every refund is made once, and refunds never exceed the captured amount',
    'a refund that was made twice at Stripe',
    (b) => b.stripeRefunds.push(element(b.stripeRefunds)),
  ],
  [
    'every refund is made once, and refunds never exceed the captured amount',
    'a refund that Stripe never made',
    (b) => b.stripeRefunds.splice(0),
  ],
  [
    'an order has at most one live payment',
    'two live payments',
    (b) => b.payments.push({ ...element(b.payments), id: 'p-other' }),
  ],
  ['every change has its event', 'a payment without its event', (b) => b.events.splice(3, 1)],
  ['every change has its event', 'a refund without its event', (b) => b.events.splice(8, 1)],
  ['every event has its change', 'an event without its order', (b) => b.orders.splice(1, 1)],
  [
    'every event is delivered',
    'a dead letter',
    (b) => b.deadLetters.push({ sink: 'kafka', topic: 't', key: 'k', reason: '', event: '' }),
  ],
  [
    'every event is delivered',
    'an event that was not delivered',
    (b) => b.undelivered.push({ sink: 'kafka', topic: 't', key: 'k' }),
  ],
  ['each consumer applies each ce_id once', 'a second row in the inbox', (b) => b.inbox.push(element(b.inbox))],
  [
    'Kafka has every event, and the events of each key are in order',
    'a missing record in Kafka',
    (b) => b.records.splice(4, 1),
  ],
  [
    'Kafka has every event, and the events of each key are in order',
    'records in the wrong order',
    (b) => (element(b.records, 5).timestamp = 1),
  ],
  [
    'Kafka has every event, and the events of each key are in order',
    'a record with another payload',
    (b) => (element(b.records).matchesEvent = false),
  ],
  ["a campaign's counts match its participants", 'a wrong number of places', (b) => element(b.campaigns).actual++],
  ["a campaign's counts match its participants", 'a success below the minimum', (b) => (element(b.campaigns).min = 2)],
  [
    'a charged place has a paid order, and a released place has neither an order nor stock',
    'a released place with a paid order',
    (b) => Object.assign(element(b.participants), { state: 'released', reason: 'left' }),
  ],
  [
    'every response that a client got is true',
    'a response with an order that does not exist',
    (b) => b.orders.splice(0, 1),
  ],
  [
    'every response that a client got is true',
    'a response with a status that the order never had',
    (b) => (element(b.requests, 2).responses = [respond(200, { status: 'shipped' })]),
  ],
  [
    'every response that a client got is true',
    'an error response although the order was placed',
    (b) => (element(b.requests).responses = [respond(422, { code: 'unknown_sku' })]),
  ],
  [
    'every response that a client got is true',
    'a response with 500',
    (b) => element(b.requests).attempts.push({ at: 0, tookMs: 1, outcome: 500 }),
  ],
  [
    'no idempotency key has two effects',
    'two responses for one key',
    (b) => element(b.requests).responses.push(respond(201, { id: 'other' })),
  ],
  [
    'no idempotency key has two effects',
    'two orders for one key',
    (b) => b.orders.push({ ...element(b.orders), id: 'again' }),
  ],
];

test('valid books have no findings, even with a duplicate in Kafka and an unpaid intent left by an error', () => {
  const books = validBooks();
  books.records.push({ ...element(books.records, 2), offset: 99, timestamp: 2_000 });
  expect(audit(books)).toEqual([]);
});

/** The merchant captured 24.00 of the place. Then its price fell to 20.00. */
function capturedBeforePriceFell(refunded: number): Books {
  const books = validBooks();
  const id = 'r4';
  const amount = (refunded / 100).toFixed(2);
  Object.assign(element(books.intents, 1), { captured: 2_400, refunded });
  Object.assign(element(books.payments, 1), { captured: '24.00', refunded: amount, done: amount });
  element(books.knownIntents, 1).received = '24.00';
  const refund = { id, payment: 'p-place', amount, status: 'succeeded', reason: 'price_fell', intent: 'pi_2' };
  books.refunds.push({ ...refund, stripe: 're_4' });
  books.stripeRefunds.push({ id: 're_4', intent: 'pi_2', amount: refunded, status: 'succeeded', refundId: id });
  for (const topic of ['payment.refund.requested', 'payment.refunded'])
    books.events.push({ ...element(books.events), id: topic, topic, key: 'p-place', payload: { refundId: id } });
  return books;
}

test('an order whose price fell after the capture keeps its money if the difference was refunded', () => {
  const checksOf = (books: Books) => audit(books).map((finding) => finding.check);
  const about = /^(captured|every payment at Stripe|an order is confirmed only)/;
  expect(checksOf(capturedBeforePriceFell(400)).filter((name) => about.test(name))).toEqual([]);
  expect(checksOf(capturedBeforePriceFell(399))).toContain(balance);
  expect(checksOf(capturedBeforePriceFell(399))).toContain(singleOutcome);
});

test('a refund in the dashboard of an intent that was changed at Stripe does not count', () => {
  const books = validBooks();
  books.knownIntents.push({ id: 'pi_3', payment: 'p-short', received: '0.50', fault: 'amount' });
  Object.assign(element(books.intents, 2), { status: 'succeeded', captured: 50, refunded: 50, paid: true });
  element(books.payments, 2).intent = 'pi_3';
  const refund = { payment: 'p-short', amount: '0.50', status: 'succeeded', reason: 'made at Stripe', intent: 'pi_3' };
  books.refunds.push({ ...refund, id: 'r3', stripe: 're_3' });
  books.stripeRefunds.push({ id: 're_3', intent: 'pi_3', amount: 50, status: 'succeeded', refundId: null });
  const messages = (changed: Books) => audit(changed).map(({ message }) => message);
  expect(messages(books)).not.toContain('the refunds exceed the captured amount');
  expect(messages(books)).not.toContain('refund r3 has no event payment.refunded');
  element(books.knownIntents, 2).fault = null;
  expect(messages(books)).toContain('the refunds exceed the captured amount');
});

/** Changes that lead to each outcome of the second order's payment. */
const outcomeChanges: [outcome: Outcome, change: (books: Books) => void][] = [
  ['goods', () => undefined],
  ['refunded', (b) => (element(b.intents, 1).refunded = 2_000)],
  ['nothing was charged', (b) => Object.assign(element(b.intents, 1), { status: 'canceled', captured: 0 })],
  [
    'a refund failed at the bank, and the merchant was notified',
    (b) => {
      element(b.orders, 2).status = 'cancelled';
      b.stripeRefunds.push({ id: 're_2', intent: 'pi_2', amount: 2_000, status: 'failed', refundId: 'r2' });
      b.events.push({
        ...element(b.events),
        topic: 'payment.refund.failed',
        key: 'p-place',
        payload: { refundId: 'r2' },
      });
    },
  ],
  [
    'changed at Stripe, and reported to the merchant',
    (b) => {
      Object.assign(element(b.intents, 1), { amount: 100, captured: 100 });
      element(b.orders, 2).status = 'failed';
      b.deadLetters.push({ sink: 'stripe', topic: 't', key: 'p-place', reason: '', event: 'pi_2' });
    },
  ],
  [
    'changed at Stripe, and reported to the merchant',
    (b) => {
      element(b.intents, 1).currency = 'eur';
      b.orders.splice(2, 1); // a place whose campaign ended without orders
      b.deadLetters.push({ sink: 'stripe', topic: 't', key: 'p-place', reason: '', event: 'pi_2' });
    },
  ],
  [
    'unpaid, hidden by a stored error, and no client has its secret',
    (b) => {
      Object.assign(element(b.intents, 1), { status: 'requires_payment_method', captured: 0, hidden: true });
      element(b.payments, 1).intent = null;
    },
  ],
];

/** The second order failed: 12.17 of its 20.00 were captured, and the refund failed at the bank. */
function refundFailedAtBank(): Books {
  const books = validBooks();
  const refund = { id: 'r2', payment: 'p-place', amount: '12.17', reason: 'captured_in_part' };
  element(books.orders, 2).status = 'failed';
  element(books.payments, 1).captured = '12.17';
  books.refunds.push({ ...refund, status: 'failed', stripe: 're_2', intent: 'pi_2' });
  const payload = { refundId: 'r2' };
  books.events.push({ ...element(books.events), topic: 'payment.refund.failed', key: 'p-place', payload });
  return books;
}

const balance = 'captured − refunded = the money that each order may keep';
const balanceMessages = (books: Books): string[] =>
  audit(books).flatMap(({ check, message }) => (check === balance ? [message] : []));

test('a failed order may keep a partly captured amount whose refund failed at the bank', () => {
  expect(balanceMessages(refundFailedAtBank())).toEqual([]);
});

const unexplainedAmounts: [title: string, change: (books: Books) => void][] = [
  ['the merchant was not notified', (b) => b.events.pop()],
  ['the failed refund is smaller', (b) => (element(b.refunds, 1).amount = '12.16')],
  ['the refund belongs to another intent', (b) => (element(b.refunds, 1).intent = 'pi_3')],
  ['the refund has not failed', (b) => (element(b.refunds, 1).status = 'pending')],
  ['the order is confirmed', (b) => (element(b.orders, 2).status = 'confirmed')],
];

test.each(unexplainedAmounts)('an order may not keep a partly captured amount if %s', (_, change) => {
  const books = refundFailedAtBank();
  change(books);
  expect(balanceMessages(books)).toContain('12.17 were captured for a total of 20.00');
});

test.each(outcomeChanges)('the audit recognises the outcome of a payment at Stripe: %s', (outcome, change) => {
  const books = validBooks();
  change(books);
  expect(outcomes(books).get(element(books.intents, 1))).toBe(outcome);
});

test.each(outcomeChanges.slice(3))('an outcome without its stored explanation is a finding: %s', (_, change) => {
  const books = validBooks();
  change(books);
  books.events = books.events.filter(({ topic }) => topic !== 'payment.refund.failed');
  books.deadLetters = [];
  element(books.requests, 6).responses = [respond(201, { clientSecret: 'pi_2_secret_a' })];
  expect(outcomes(books).get(element(books.intents, 1))).toMatch(/money without goods|can still be paid/);
});

describe('the audit of a chaos run finds', () => {
  for (const [check, title, change] of breakages) {
    test(`${title}: ${check}`, () => {
      const books = validBooks();
      change(books);
      expect(audit(books).map((finding) => finding.check)).toContain(check);
    });
  }

  test('a broken promise for each of its checks: every check has a test above', () => {
    const tested = new Set(breakages.map(([check]) => check));
    expect(checks.map(({ name }) => name).filter((name) => !tested.has(name))).toEqual([]);
  });
});
