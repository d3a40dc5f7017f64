import type { Books, EventRow } from '../books.ts';
import { type Check, cents, groupBy, type Report, sum } from '../finding.ts';
import { countedRefunds, refundsOfIntent } from './money.ts';

/** Counts the events by topic. */
const countTopics = (events: readonly EventRow[] | undefined): ((topic: string) => number) => {
  const counts = new Map<string, number>();
  for (const { topic } of events ?? []) counts.set(topic, (counts.get(topic) ?? 0) + 1);
  return (topic) => counts.get(topic) ?? 0;
};

/** Reports topics whose number of events differs from the expected one. */
function expectEvents(
  report: Report,
  id: string,
  events: readonly EventRow[] | undefined,
  expected: Record<string, number>,
): void {
  const count = countTopics(events);
  for (const [topic, times] of Object.entries(expected)) {
    if (count(topic) !== times) report(id, `it has ${count(topic)} events ${topic}, but its rows require ${times}`);
  }
}

const changes: Check = {
  name: 'every change has its event',
  run(books, report) {
    const byKey = groupBy(books.events, (event) => event.key);
    for (const product of books.products)
      expectEvents(report, product.id, byKey.get(product.id), { 'product.created': 1 });
    for (const order of books.orders) expectEvents(report, order.id, byKey.get(order.id), { 'order.created': 1 });
    for (const campaign of books.campaigns) {
      const prefix = 'group-commerce.campaign';
      const countIf = (status: string) => Number(campaign.status === status);
      expectEvents(report, campaign.id, byKey.get(campaign.id), {
        [`${prefix}.created`]: 1,
        [`${prefix}.successful`]: countIf('successful'),
        [`${prefix}.expired`]: countIf('expired'),
        [`${prefix}.failed`]: countIf('failed'),
      });
    }
    checkPayments(books, byKey, report);
  },
};

function checkPayments(books: Books, byKey: Map<string, EventRow[]>, report: Report): void {
  const refunds = groupBy(countedRefunds(books), (row) => row.payment);
  for (const payment of books.payments) {
    const events = byKey.get(payment.id);
    const itsRefunds = refunds.get(payment.id) ?? [];
    const refundIds = (topic: string) =>
      new Set(events?.filter((event) => event.topic === topic).map((event) => String(event.payload.refundId)));
    expectEvents(report, payment.id, events, {
      'payment.created': 1,
      'payment.succeeded': Number(cents(payment.captured) > 0),
      'payment.refund.requested': itsRefunds.filter((row) => row.reason !== 'made at Stripe').length,
      'payment.refund.failed': itsRefunds.filter((row) => row.status === 'failed').length,
    });
    const [refunded, failed] = [refundIds('payment.refunded'), refundIds('payment.refund.failed')];
    for (const refund of itsRefunds) {
      if (refund.status === 'succeeded' && !refunded.has(refund.id))
        report(payment.id, `refund ${refund.id} has no event payment.refunded`);
      if (refund.status !== 'succeeded' && refunded.has(refund.id) && !failed.has(refund.id)) {
        report(payment.id, `payment.refunded was emitted for ${refund.id}, which is ${refund.status}`);
      }
    }
    if (refunded.size !== countTopics(events)('payment.refunded'))
      report(payment.id, 'payment.refunded was emitted twice for a refund');
    const status = paymentStatus(events ?? [], cents(payment.captured), refundsOfIntent(payment, itsRefunds));
    if (status !== payment.status)
      report(payment.id, `the payment is ${payment.status}, but by its events it is ${status}`);
  }
}

/** Derives a payment's status from its events. */
function paymentStatus(events: readonly EventRow[], captured: number, refunds: { amount: string; status: string }[]) {
  let status = 'pending';
  for (const { topic } of events) {
    if (topic === 'payment.succeeded') status = 'succeeded';
    if (topic === 'payment.failed' && status === 'pending') status = 'failed';
    if (topic === 'payment.cancelled' && status === 'pending') status = 'cancelled';
  }
  const done = refunds.filter((row) => row.status === 'succeeded');
  const refundedSum = sum(done, (row) => cents(row.amount));
  return status === 'succeeded' && captured > 0 && refundedSum >= captured ? 'refunded' : status;
}

const origins: Check = {
  name: 'every event has its change',
  run(books, report) {
    const known: Record<string, Set<string>> = {
      order: new Set([...books.orders, ...books.participants.map(({ order }) => ({ id: order }))].map(({ id }) => id)),
      payment: new Set(books.payments.map(({ id }) => id)),
      product: new Set(books.products.map(({ id }) => id)),
      'group-commerce': new Set([...books.campaigns, ...books.teams].map(({ id }) => id)),
      cart: new Set(books.carts.map(({ id }) => id)),
    };
    known.inventory = known.order ?? new Set();
    known.shipping = known.order ?? new Set();
    const refunds = new Set(books.refunds.map(({ id }) => id));
    for (const { seq, topic, key, payload } of books.events) {
      if (!known[topic.split('.')[0] ?? '']?.has(key)) report(key, `event ${seq} (${topic}) has a key without a row`);
      const { refundId } = payload;
      if (typeof refundId === 'string' && !refunds.has(refundId))
        report(key, `event ${seq} (${topic}) names a refund that does not exist`);
    }
    for (const [id, same] of groupBy(books.events, (event) => event.id)) {
      if (same.length > 1) report(id, `${same.length} events have the same ce_id`);
    }
  },
};

const delivered: Check = {
  name: 'every event is delivered',
  run(books, report) {
    for (const { sink, topic, key } of books.undelivered) report(key, `${topic} was not delivered to ${sink}`);
    // The sink `stripe` reports payments that were changed at Stripe. outcomes.ts checks them.
    for (const { sink, topic, key, reason } of books.deadLetters)
      if (sink !== 'stripe') report(key, `${topic} is a dead letter of ${sink}: ${reason}`);
  },
};

const once: Check = {
  name: 'each consumer applies each ce_id once',
  run(books, report) {
    for (const [name, same] of groupBy(books.inbox, (row) => `${row.consumer} ${row.event}`)) {
      if (same.length > 1) report(name, `${same.length} rows in the inbox`);
    }
  },
};

const kafka: Check = {
  name: 'Kafka has every event, and the events of each key are in order',
  run(books, report) {
    const first = new Map<string, Books['records'][number]>();
    const known = new Set(books.events.map((event) => event.id));
    for (const record of books.records) {
      const position = `${record.topic}/${record.partition}@${record.offset}`;
      if (!known.has(record.id)) report(record.key, `${position} is not one of our events`);
      else if (!record.matchesEvent) report(record.key, `${position} differs from event ${record.id}`);
      const before = first.get(record.id);
      const isEarlier =
        !before ||
        record.timestamp < before.timestamp ||
        (before.topic === record.topic && record.partition === before.partition && record.offset < before.offset);
      if (isEarlier) first.set(record.id, record);
      if (before && before.partition !== record.partition)
        report(record.key, `${position}: the records of its event are in two partitions`);
    }
    for (const [key, events] of groupBy(books.events, (event) => event.key)) {
      let last: { seq: number; record: Books['records'][number] } | undefined;
      const lastOffsets = new Map<string, number>();
      for (const { id, seq, topic } of events) {
        const record = first.get(id);
        if (!record) {
          report(key, `event ${seq} (${topic}) is not in Kafka`);
          continue;
        }
        // Within a topic the offsets show the order, between topics the broker's timestamps.
        const before = lastOffsets.get(topic) ?? -1;
        if (record.offset <= before)
          report(key, `event ${seq} (${topic}) was published before an earlier event of its topic`);
        lastOffsets.set(topic, record.offset);
        if (last && record.timestamp < last.record.timestamp) {
          report(key, `event ${seq} (${topic}) was published before event ${last.seq} (${last.record.topic})`);
        }
        last = { seq, record };
      }
    }
  },
};

export const eventChecks: Check[] = [changes, origins, delivered, once, kafka];
