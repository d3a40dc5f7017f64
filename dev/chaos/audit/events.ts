import type { Books, EventRow } from '../books.ts';
import { type Check, cents, groupBy, sum } from '../finding.ts';
import { ownRefunds } from './money.ts';

/** How often each topic is among the events of a key. */
const tally = (events: readonly EventRow[] | undefined): ((topic: string) => number) => {
  const counts = new Map<string, number>();
  for (const { topic } of events ?? []) counts.set(topic, (counts.get(topic) ?? 0) + 1);
  return (topic) => counts.get(topic) ?? 0;
};

/** Says so where a row has not the number of events that it must have. */
function expectEvents(
  find: (about: string, said: string) => void,
  id: string,
  events: readonly EventRow[] | undefined,
  expected: Record<string, number>,
): void {
  const count = tally(events);
  for (const [topic, times] of Object.entries(expected)) {
    if (count(topic) !== times) find(id, `${count(topic)} events ${topic}, where its rows say ${times}`);
  }
}

const changes: Check = {
  name: 'every change has its event',
  run(books, find) {
    const byKey = groupBy(books.events, (event) => event.key);
    for (const product of books.products)
      expectEvents(find, product.id, byKey.get(product.id), { 'product.created': 1 });
    for (const order of books.orders) expectEvents(find, order.id, byKey.get(order.id), { 'order.created': 1 });
    for (const campaign of books.campaigns) {
      const prefix = 'group-commerce.campaign';
      const is = (status: string) => Number(campaign.status === status);
      expectEvents(find, campaign.id, byKey.get(campaign.id), {
        [`${prefix}.created`]: 1,
        [`${prefix}.successful`]: is('successful'),
        [`${prefix}.expired`]: is('expired'),
        [`${prefix}.failed`]: is('failed'),
      });
    }
    payments(books, byKey, find);
  },
};

function payments(books: Books, byKey: Map<string, EventRow[]>, find: (about: string, said: string) => void): void {
  const refunds = groupBy(books.refunds, (row) => row.payment);
  for (const payment of books.payments) {
    const events = byKey.get(payment.id);
    const its = refunds.get(payment.id) ?? [];
    const told = (topic: string) =>
      new Set(events?.filter((event) => event.topic === topic).map((event) => String(event.payload.refundId)));
    expectEvents(find, payment.id, events, {
      'payment.created': 1,
      'payment.succeeded': Number(cents(payment.captured) > 0),
      'payment.refund.requested': its.filter((row) => row.reason !== 'made at Stripe').length,
      'payment.refund.failed': its.filter((row) => row.status === 'failed').length,
    });
    const [went, failed] = [told('payment.refunded'), told('payment.refund.failed')];
    for (const refund of its) {
      if (refund.status === 'succeeded' && !went.has(refund.id))
        find(payment.id, `refund ${refund.id} without its event`);
      if (refund.status !== 'succeeded' && went.has(refund.id) && !failed.has(refund.id)) {
        find(payment.id, `payment.refunded of ${refund.id}, which is ${refund.status}`);
      }
    }
    if (went.size !== tally(events)('payment.refunded')) find(payment.id, 'a refund was told twice');
    const status = paymentStatus(events ?? [], cents(payment.captured), ownRefunds(payment, its));
    if (status !== payment.status) find(payment.id, `the payment is ${payment.status}, its events say ${status}`);
  }
}

/** What a payment's events make of it. */
function paymentStatus(events: readonly EventRow[], captured: number, refunds: { amount: string; status: string }[]) {
  let status = 'pending';
  for (const { topic } of events) {
    if (topic === 'payment.succeeded') status = 'succeeded';
    if (topic === 'payment.failed' && status === 'pending') status = 'failed';
    if (topic === 'payment.cancelled' && status === 'pending') status = 'cancelled';
  }
  const done = refunds.filter((row) => row.status === 'succeeded');
  const back = sum(done, (row) => cents(row.amount));
  return status === 'succeeded' && captured > 0 && back >= captured ? 'refunded' : status;
}

const origins: Check = {
  name: 'every event has its change',
  run(books, find) {
    const known: Record<string, Set<string>> = {
      order: new Set([...books.orders, ...books.participants.map(({ order }) => ({ id: order }))].map(({ id }) => id)),
      payment: new Set(books.payments.map(({ id }) => id)),
      product: new Set(books.products.map(({ id }) => id)),
      'group-commerce': new Set(books.campaigns.map(({ id }) => id)),
    };
    known.inventory = known.order ?? new Set();
    known.shipping = known.order ?? new Set();
    const refunds = new Set(books.refunds.map(({ id }) => id));
    for (const { seq, topic, key, payload } of books.events) {
      if (!known[topic.split('.')[0] ?? '']?.has(key)) find(key, `event ${seq} (${topic}) of nothing that there is`);
      const { refundId } = payload;
      if (typeof refundId === 'string' && !refunds.has(refundId)) find(key, `event ${seq} (${topic}) of no refund`);
    }
    for (const [id, same] of groupBy(books.events, (event) => event.id)) {
      if (same.length > 1) find(id, `${same.length} events with one ce_id`);
    }
  },
};

const delivered: Check = {
  name: 'every event is delivered',
  run(books, find) {
    for (const { sink, topic, key } of books.undelivered) find(key, `${topic} was not delivered to ${sink}`);
    // A payment that was changed at Stripe is reported so; its outcome is checked.
    for (const { sink, topic, key, reason } of books.deadLetters)
      if (sink !== 'stripe') find(key, `${topic} is a dead letter of ${sink}: ${reason}`);
  },
};

const once: Check = {
  name: 'each ce_id is applied once',
  run(books, find) {
    for (const [name, same] of groupBy(books.inbox, (row) => `${row.consumer} ${row.event}`)) {
      if (same.length > 1) find(name, `${same.length} rows in the inbox`);
    }
  },
};

const kafka: Check = {
  name: "Kafka has every event, and each key's in order of its changes",
  run(books, find) {
    const first = new Map<string, Books['records'][number]>();
    const known = new Set(books.events.map((event) => event.id));
    for (const record of books.records) {
      const where = `${record.topic}/${record.partition}@${record.offset}`;
      if (!known.has(record.id)) find(record.key, `${where} is of no event of ours`);
      else if (!record.asTold) find(record.key, `${where} does not say what event ${record.id} says`);
      const before = first.get(record.id);
      const earlier =
        !before ||
        record.timestamp < before.timestamp ||
        (before.topic === record.topic && record.partition === before.partition && record.offset < before.offset);
      if (earlier) first.set(record.id, record);
      if (before && before.partition !== record.partition) find(record.key, `${where}: its key is in two partitions`);
    }
    for (const [key, events] of groupBy(books.events, (event) => event.key)) {
      let last: { seq: number; record: Books['records'][number] } | undefined;
      const inTopic = new Map<string, number>();
      for (const { id, seq, topic } of events) {
        const record = first.get(id);
        if (!record) {
          find(key, `event ${seq} (${topic}) is not in Kafka`);
          continue;
        }
        // Offsets tell the order within a topic; between topics the broker's clock does.
        const before = inTopic.get(topic) ?? -1;
        if (record.offset <= before) find(key, `event ${seq} (${topic}) came before an earlier one of its topic`);
        inTopic.set(topic, record.offset);
        if (last && record.timestamp < last.record.timestamp) {
          find(key, `event ${seq} (${topic}) came before event ${last.seq} (${last.record.topic})`);
        }
        last = { seq, record };
      }
    }
  },
};

export const eventChecks: Check[] = [changes, origins, delivered, once, kafka];
