import { isDeepStrictEqual } from 'node:util';
import type { Books, Line } from '../books.ts';
import { type Check, cents, groupBy } from '../finding.ts';
import { type ClientResponse, finalResponse, member, textOf } from '../journal.ts';
import { cartResponseChecks } from './cart-answers.ts';
import { parcelsOf, replayEvents } from './orders.ts';
import { placeResponseChecks, type ResponseCheck } from './place-answers.ts';

/** Whether two orders have the same units of each SKU and price, in any order. */
const sameLines = (one: readonly Line[], other: readonly Line[]): boolean => {
  const normalize = (lines: readonly Line[]) =>
    lines.map((line) => `${line.sku} ${line.quantity} ${line.price}`).sort();
  return isDeepStrictEqual(normalize(one), normalize(other));
};

const unitsOf = (items: unknown): Map<string, number> => {
  const units = new Map<string, number>();
  for (const item of Array.isArray(items) ? items : []) {
    const sku = textOf(item, 'sku');
    units.set(sku, (units.get(sku) ?? 0) + Number(member(item, 'quantity')));
  }
  return units;
};

function checksOf(books: Books): Record<string, ResponseCheck> {
  const orders = new Map(books.orders.map((row) => [row.id, row]));
  const byReference = groupBy(books.orders, (row) => row.reference ?? '');
  const byKey = groupBy(books.events, (event) => event.key);
  const payments = new Map(books.payments.map((row) => [row.id, row]));
  const refunds = groupBy(books.refunds, (row) => row.reason ?? '');
  const campaigns = new Map(books.campaigns.map((row) => [row.id, row]));
  const places = new Set(books.participants.map((row) => row.order));
  const parcels = parcelsOf(books);
  const products = new Map(books.products.map((row) => [row.id, row]));
  const topicsOf = (id: string) => new Set((byKey.get(id) ?? []).map((event) => event.topic));

  const placed: ResponseCheck = (request, { status, body }, report) => {
    const reference = textOf(request.body, 'purchaseOrderNumber');
    const createdOrders = byReference.get(reference) ?? [];
    const failedForStock = status === 409 && textOf(body, 'code') === 'insufficient_inventory';
    const id = failedForStock ? textOf(body, 'orderId') : textOf(body, 'id');
    if (status === 201 || status === 202 || failedForStock) {
      const order = orders.get(id);
      if (!order || order.reference !== reference)
        report([reference, id], `the response was ${status}, but there is no such order`);
      else if (!isDeepStrictEqual(unitsOf(order.items), unitsOf(member(request.body, 'items')))) {
        report([reference, id], 'the order has other lines than the request');
      } else if (!failedForStock && !sameLines(order.items, (member(body, 'items') ?? []) as Line[])) {
        report([reference, id], 'the order has other lines than the response');
      }
      if (failedForStock && order?.failure !== 'insufficient_inventory')
        report([reference, id], 'the response says insufficient_inventory, but the order has not failed for it');
      const payment = member(body, 'payment');
      if (status === 201 && payment && payments.get(textOf(payment, 'id'))?.order !== id)
        report([reference, id], 'the payment in the response does not exist');
      const topics = topicsOf(id);
      if (status === 201 && !topics.has('inventory.reserved'))
        report([reference, id], 'the response says that the stock is held, but it never was');
    } else if (textOf(body, 'code') === 'order_not_payable') {
      // The order was placed with its payment, which has ended before Stripe had an intent for it.
      const isEnded = ({ status: last }: { status: string }) => last === 'failed' || last === 'cancelled';
      if (!createdOrders.every(isEnded))
        report(reference, 'the response says that the order is not payable, but it is');
    } else if (createdOrders.length > 0 && textOf(body, 'code') !== 'idempotency_key_reused') {
      report(reference, `the response was ${status}, but ${createdOrders.length} orders were created`);
    }
  };

  const cancelled: ResponseCheck = (request, { status, body }, report) => {
    const id = request.path.split('/')[3] ?? '';
    const topics = topicsOf(id);
    if (status === 200 && !topics.has('order.cancelled'))
      report(id, 'the response says that it is cancelled, but it never was');
    if (status === 404 && orders.get(id)?.tenant === request.tenant && !places.has(id))
      report(id, 'the response was 404, but the order exists');
    if (status === 409 && textOf(body, 'code') === 'order_not_cancellable') {
      const endTopics = ['order.failed', 'order.refunded', 'shipping.status.changed'];
      if (!endTopics.some((topic) => topics.has(topic)))
        report(id, 'the response says that it cannot be cancelled, but it never ended');
    }
  };

  const read: ResponseCheck = (request, { status, body }, report) => {
    const id = request.path.split('/')[3] ?? '';
    if (status !== 200) report(id, `the order exists, but the response was ${status}`);
    else if (!replayEvents(byKey.get(id) ?? [], places.has(id), parcels.get(id)).visited.has(textOf(body, 'status'))) {
      report(id, `the response shows the status ${textOf(body, 'status')}, which it never had`);
    }
  };

  const paid: ResponseCheck = (request, { status, body }, report) => {
    const order = textOf(request.body, 'orderId');
    if (status !== 201) return;
    const row = payments.get(textOf(body, 'id'));
    // The price of a place with tiers can fall later.
    const created = byKey.get(row?.id ?? '')?.find(({ topic }) => topic === 'payment.created')?.payload.amount;
    const amounts = [cents(row?.amount ?? 0), cents(Number(created ?? row?.amount))];
    if (row?.order !== order || !amounts.includes(cents(Number(member(body, 'amount'))))) {
      report(order, 'the payment in the response does not exist');
    }
  };

  const refunded: ResponseCheck = (request, { status, body }, report) => {
    const key = request.key ?? '';
    const subject = request.path.split('/')[3] ?? ''; // the payment, or the order of a refund of lines
    const madeRefunds = refunds.get(key) ?? [];
    const expected = status === 201 ? 1 : 0;
    if (madeRefunds.length !== expected) {
      report([subject, key], `the response was ${status}, but ${madeRefunds.length} refunds were made`);
    }
    if (status === 201 && cents(madeRefunds[0]?.amount ?? 0) !== cents(Number(member(body, 'amount')))) {
      report([subject, key], 'the refund has another amount than the response');
    }
  };

  const stopped: ResponseCheck = (request, { status }, report) => {
    const campaign = campaigns.get(request.path.split('/')[3] ?? '');
    const endStatuses = status === 200 ? ['failed'] : ['successful', 'expired'];
    if (campaign && !endStatuses.includes(campaign.status)) {
      report(campaign.id, `the response to a cancellation was ${status}, but the campaign is ${campaign.status}`);
    }
  };

  const productCreated: ResponseCheck = (request, { status, body }, report) => {
    const sku = textOf(request.body, 'sku');
    if (status === 201 && products.get(textOf(body, 'id'))?.sku !== sku)
      report(sku, 'the product in the response does not exist');
    if (status !== 201) report(sku, `the response for a new product was ${status}`);
  };

  const opened: ResponseCheck = (request, { status, body }, report) => {
    if (status === 201 && !campaigns.has(textOf(body, 'id')))
      report(request.key ?? '', 'the campaign in the response does not exist');
  };

  const forged: ResponseCheck = (request, { status }, report) => {
    if (status !== 400) report(request.story, `the response to a forged webhook was ${status}, not 400`);
  };

  return {
    ...cartResponseChecks(books),
    ...placeResponseChecks(books),
    'orders.place': placed,
    'orders.cancel': cancelled,
    'orders.read': read,
    'payments.create': paid,
    'payments.refund': refunded,
    'orders.refund': refunded,
    'campaigns.cancel': stopped,
    'campaigns.create': opened,
    'products.create': productCreated,
    'webhooks.forged': forged,
  };
}

const trueResponses: Check = {
  name: 'every response that a client got is true',
  run(books, report) {
    const checkByOperation = checksOf(books);
    for (const request of books.requests) {
      const final = finalResponse(request);
      const subject = request.key ?? request.path;
      if (request.abandoned && !final) report(subject, `${request.operation} never got a response`);
      for (const { outcome, code } of request.attempts) {
        if (outcome === 500) report(subject, `${request.operation} got 500 ${code ?? ''}`);
      }
      for (const response of request.responses) {
        const isOutdated = response !== final && notRemembered.has(textOf(response.body, 'code'));
        if (!isOutdated) checkByOperation[request.operation]?.(request, response, report);
      }
    }
    const products = new Map(books.products.map((row) => [row.id, row]));
    for (const [path, updates] of groupBy(
      books.requests.filter(({ operation }) => operation === 'products.update'),
      ({ path }) => path,
    )) {
      const row = products.get(path.split('/')[3] ?? '');
      const edits = updates.filter((request) => finalResponse(request)?.status === 200).length;
      if (row && row.version < 1 + edits) report(row.id, `${edits} updates got 200, but its version is ${row.version}`);
    }
  },
};

/** Errors that the API does not store for the idempotency key. The next attempt may succeed. */
const notRemembered = new Set([
  ...['not_found', 'order_not_payable', 'cart_not_open', 'cart_incomplete', 'price_changed'],
]);

const idempotencyKeys: Check = {
  name: 'no idempotency key has two effects',
  run(books, report) {
    for (const request of books.requests) {
      const isCheckout = request.operation === 'carts.checkout';
      const [first, ...repeats] = request.responses.filter(({ status, body }) =>
        isCheckout ? status === 201 : !notRemembered.has(textOf(body, 'code')),
      );
      if (!first || request.key === null) continue;
      // The response for a payment shows its current state, so only the payment's id must be the same.
      const comparable = ({ status, body }: ClientResponse) => {
        if (request.operation === 'payments.create') return [status, member(body, 'id')];
        if (isCheckout) return [status, member(member(body, 'order'), 'id')];
        const shown = withoutRequestId(body);
        const payment = member(shown, 'payment');
        return [status, payment ? { ...(shown as object), payment: member(payment, 'id') } : shown];
      };
      for (const repeat of repeats) {
        if (!isDeepStrictEqual(comparable(first), comparable(repeat))) {
          report(
            request.key,
            `two responses for one key: ${JSON.stringify(comparable(first))}, then ${JSON.stringify(comparable(repeat))}`,
          );
        }
      }
    }
    for (const [reference, orders] of groupBy(books.orders, (row) => row.reference ?? '')) {
      if (reference !== '' && orders.length > 1) report(reference, `${orders.length} orders of one key`);
    }
    for (const [reason, refunds] of groupBy(books.refunds, (row) => row.reason ?? '')) {
      if (/-refund-\d+$/.test(reason) && refunds.length > 1) report(reason, `${refunds.length} refunds of one key`);
    }
  },
};

function withoutRequestId(body: unknown): unknown {
  if (typeof body !== 'object' || body === null) return body;
  const { requestId: _, ...rest } = body as Record<string, unknown>;
  return rest;
}

export const responseChecks: Check[] = [trueResponses, idempotencyKeys];
