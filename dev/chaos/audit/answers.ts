import { isDeepStrictEqual } from 'node:util';
import type { Books, Line } from '../books.ts';
import { type Check, cents, groupBy } from '../finding.ts';
import { type Asked, answerOf, type Heard, member, textOf } from '../journal.ts';
import { liveThrough } from './orders.ts';

type Find = (about: string | string[], said: string) => void;
type Judge = (asked: Asked, answer: Heard, find: Find) => void;

/** Units by SKU and price, in any order. */
const sameLines = (one: readonly Line[], other: readonly Line[]): boolean => {
  const form = (lines: readonly Line[]) => lines.map((line) => `${line.sku} ${line.quantity} ${line.price}`).sort();
  return isDeepStrictEqual(form(one), form(other));
};

const unitsOf = (items: unknown): Map<string, number> => {
  const units = new Map<string, number>();
  for (const item of Array.isArray(items) ? items : []) {
    const sku = textOf(item, 'sku');
    units.set(sku, (units.get(sku) ?? 0) + Number(member(item, 'quantity')));
  }
  return units;
};

function judges(books: Books): Record<string, Judge> {
  const orders = new Map(books.orders.map((row) => [row.id, row]));
  const byReference = groupBy(books.orders, (row) => row.reference ?? '');
  const byKey = groupBy(books.events, (event) => event.key);
  const payments = new Map(books.payments.map((row) => [row.id, row]));
  const refunds = groupBy(books.refunds, (row) => row.reason ?? '');
  const participants = new Map(books.participants.map((row) => [row.id, row]));
  const campaigns = new Map(books.campaigns.map((row) => [row.id, row]));
  const places = new Set(books.participants.map((row) => row.order));
  const products = new Map(books.products.map((row) => [row.id, row]));
  const topicsOf = (id: string) => new Set((byKey.get(id) ?? []).map((event) => event.topic));

  const placed: Judge = (asked, { status, body }, find) => {
    const reference = textOf(asked.body, 'purchaseOrderNumber');
    const made = byReference.get(reference) ?? [];
    const kept = status === 409 && textOf(body, 'code') === 'insufficient_inventory';
    const id = kept ? textOf(body, 'orderId') : textOf(body, 'id');
    if (status === 201 || status === 202 || kept) {
      const order = orders.get(id);
      if (!order || order.reference !== reference)
        find([reference, id], `answered ${status}, and there is no such order`);
      else if (!isDeepStrictEqual(unitsOf(order.items), unitsOf(member(asked.body, 'items')))) {
        find([reference, id], 'the order is of other lines than were asked for');
      } else if (!kept && !sameLines(order.items, (member(body, 'items') ?? []) as Line[])) {
        find([reference, id], 'the order is of other lines than were answered');
      }
      if (kept && order?.failure !== 'insufficient_inventory') find([reference, id], 'refused, and not kept as failed');
      const topics = topicsOf(id);
      if (status === 201 && !topics.has('inventory.reserved')) find([reference, id], 'answered as held, and never was');
    } else if (made.length > 0 && textOf(body, 'code') !== 'idempotency_key_reused') {
      find(reference, `refused with ${status}, and ${made.length} orders were made`);
    }
  };

  const cancelled: Judge = (asked, { status, body }, find) => {
    const id = asked.path.split('/')[3] ?? '';
    const topics = topicsOf(id);
    if (status === 200 && !topics.has('order.cancelled')) find(id, 'answered as cancelled, and never was');
    if (status === 404 && orders.get(id)?.tenant === asked.tenant && !places.has(id))
      find(id, 'answered as not there, and it is');
    if (status === 409 && textOf(body, 'code') === 'order_not_cancellable') {
      const ends = ['order.failed', 'order.refunded', 'shipping.status.changed'];
      if (!ends.some((topic) => topics.has(topic))) find(id, 'answered as ended, and it never had');
    }
  };

  const read: Judge = (asked, { status, body }, find) => {
    const id = asked.path.split('/')[3] ?? '';
    if (status !== 200) find(id, `an order that was placed was answered ${status}`);
    else if (!liveThrough(byKey.get(id) ?? [], places.has(id)).visited.has(textOf(body, 'status'))) {
      find(id, `shown as ${textOf(body, 'status')}, which it never was`);
    }
  };

  const paid: Judge = (asked, { status, body }, find) => {
    const order = textOf(asked.body, 'orderId');
    if (status !== 201) return;
    const row = payments.get(textOf(body, 'id'));
    if (row?.order !== order || cents(row.amount) !== cents(Number(member(body, 'amount')))) {
      find(order, 'answered with a payment that is not there');
    }
  };

  const refunded: Judge = (asked, { status, body }, find) => {
    const key = asked.key ?? '';
    const payment = asked.path.split('/')[3] ?? '';
    const made = refunds.get(key) ?? [];
    const expected = status === 201 ? 1 : 0;
    if (made.length !== expected) find([payment, key], `answered ${status}, and ${made.length} refunds were made`);
    if (status === 201 && cents(made[0]?.amount ?? 0) !== cents(Number(member(body, 'amount')))) {
      find([payment, key], 'a refund of another amount was made');
    }
  };

  const joined: Judge = (asked, { status, body }, find) => {
    const campaign = asked.path.split('/')[3] ?? '';
    const user = textOf(asked.body, 'userId');
    const row = participants.get(textOf(body, 'id'));
    if (status === 201 && (row?.user !== user || row.campaign !== campaign)) {
      find([campaign, user], 'answered with a place that is not there');
    }
    if (status === 409 && books.participants.some((one) => one.campaign === campaign && one.user === user)) {
      find([campaign, user], `refused with ${textOf(body, 'code')}, and has a place`);
    }
  };

  const left: Judge = (asked, { status, body }, find) => {
    const row = participants.get(textOf(body, 'id'));
    if (status === 200 && row?.state !== 'released')
      find(asked.path.split('/')[3] ?? '', 'left, and still has a place');
  };

  const stopped: Judge = (asked, { status }, find) => {
    const campaign = campaigns.get(asked.path.split('/')[3] ?? '');
    const ends = status === 200 ? ['failed'] : ['successful', 'expired'];
    if (campaign && !ends.includes(campaign.status)) {
      find(campaign.id, `a cancellation was answered ${status}, the campaign is ${campaign.status}`);
    }
  };

  const made: Judge = (asked, { status, body }, find) => {
    const sku = textOf(asked.body, 'sku');
    if (status === 201 && products.get(textOf(body, 'id'))?.sku !== sku) find(sku, 'answered as made, and not there');
    if (status !== 201) find(sku, `a new product was answered ${status}`);
  };

  const opened: Judge = (asked, { status, body }, find) => {
    if (status === 201 && !campaigns.has(textOf(body, 'id'))) find(asked.key ?? '', 'a campaign that is not there');
  };

  const forged: Judge = (asked, { status }, find) => {
    if (status !== 400) find(asked.story, `a forged webhook was answered ${status}`);
  };

  return {
    'orders.place': placed,
    'orders.cancel': cancelled,
    'orders.read': read,
    'payments.create': paid,
    'payments.refund': refunded,
    'campaigns.join': joined,
    'campaigns.leave': left,
    'campaigns.cancel': stopped,
    'campaigns.create': opened,
    'products.create': made,
    'webhooks.forged': forged,
  };
}

const true_: Check = {
  name: 'every answer that a client got is true',
  run(books, find) {
    const judge = judges(books);
    for (const asked of books.asked) {
      const answer = answerOf(asked);
      const about = asked.key ?? asked.path;
      if (asked.abandoned && !answer) find(about, `${asked.operation} was never answered`);
      for (const { heard, code } of asked.tries) {
        if (heard === 500) find(about, `${asked.operation} was answered 500 ${code ?? ''}`);
      }
      for (const each of asked.answers) {
        const passed = each !== answer && forgotten.has(textOf(each.body, 'code'));
        if (!passed) judge[asked.operation]?.(asked, each, find);
      }
    }
    const versions = new Map(books.products.map((row) => [row.id, row]));
    for (const [path, all] of groupBy(
      books.asked.filter(({ operation }) => operation === 'products.update'),
      ({ path }) => path,
    )) {
      const row = versions.get(path.split('/')[3] ?? '');
      const edits = all.filter((asked) => answerOf(asked)?.status === 200).length;
      if (row && row.version < 1 + edits)
        find(row.id, `${edits} edits were answered, and it is of version ${row.version}`);
    }
  },
};

/** Refusals that are not remembered: nothing was done, and what was missing may be there by the next attempt. */
const forgotten = new Set(['not_found', 'order_not_payable']);

const keys: Check = {
  name: 'no idempotency key has two effects',
  run(books, find) {
    for (const asked of books.asked) {
      const [first, ...more] = asked.answers.filter(({ body }) => !forgotten.has(textOf(body, 'code')));
      if (!first || asked.key === null) continue;
      // A payment's answer shows the moment in which it was read; the payment itself stays the same one.
      const essence = ({ status, body }: Heard) =>
        asked.operation === 'payments.create' ? [status, member(body, 'id')] : [status, withoutRequestId(body)];
      for (const other of more) {
        if (!isDeepStrictEqual(essence(first), essence(other))) {
          find(
            asked.key,
            `two answers to one key: ${JSON.stringify(essence(first))}, then ${JSON.stringify(essence(other))}`,
          );
        }
      }
    }
    for (const [reference, made] of groupBy(books.orders, (row) => row.reference ?? '')) {
      if (reference !== '' && made.length > 1) find(reference, `${made.length} orders of one key`);
    }
    for (const [reason, made] of groupBy(books.refunds, (row) => row.reason ?? '')) {
      if (/-refund-\d+$/.test(reason) && made.length > 1) find(reason, `${made.length} refunds of one key`);
    }
  },
};

function withoutRequestId(body: unknown): unknown {
  if (typeof body !== 'object' || body === null) return body;
  const { requestId: _one, ...rest } = body as Record<string, unknown>;
  return rest;
}

export const answerChecks: Check[] = [true_, keys];
