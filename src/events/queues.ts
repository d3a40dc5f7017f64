import { cellAttribute } from '../base/cells.ts';
import type { DeliveryReport, LeasedEvent } from '../db/platform/outbox.ts';
import type { Bindings } from '../env.ts';
import type { QueueEvent } from './message.ts';
import { type Service, topics } from './topics.ts';

/**
 * Cloudflare accepts 100 messages and 256 KB at a time, and 128 KB a message. The limits leave room for its envelope.
 */
const maxMessages = 100;
const maxBatchBytes = 240_000;
const maxMessageBytes = 120_000;

/**
 * The name of a queue. Each service has one. Charges have a second one, so that no payment waits behind a campaign's.
 */
export type QueueName = Service | 'charges';

const queueNameOf = (service: Service, topic: string): QueueName =>
  topic === 'payment.capture.requested' ? 'charges' : service;

/** The service that consumes a queue. */
export const serviceOf = (queue: string): string => (queue === 'charges' ? 'payments' : queue);

const bindingOf = (env: Bindings, queue: QueueName): Queue =>
  ({
    'group-commerce': env.GROUP_COMMERCE_QUEUE,
    charges: env.CHARGES_QUEUE,
    catalog: env.CATALOG_QUEUE,
    inventory: env.INVENTORY_QUEUE,
    orders: env.ORDERS_QUEUE,
    payments: env.PAYMENTS_QUEUE,
    shipping: env.SHIPPING_QUEUE,
  })[queue];

const toEvent = (event: LeasedEvent): QueueEvent => ({
  specversion: '1.0',
  id: event.id,
  type: event.topic,
  source: '/fusioncommerce',
  time: event.time,
  tenantid: event.tenant,
  cell: cellAttribute(event.cell),
  subject: event.key,
  sequence: String(event.seq),
  ...(event.traceparent === null ? {} : { traceparent: event.traceparent }),
  data: event.payload,
});

/**
 * Drops the data of an event that is too large for a message. A consumer that needs it reads the event that `dataref`
 * names.
 */
function fitMessage(event: QueueEvent): { body: QueueEvent; bytes: number } {
  const bytes = new TextEncoder().encode(JSON.stringify(event)).length;
  if (bytes <= maxMessageBytes) return { body: event, bytes };
  const { data: _data, ...rest } = event;
  return { body: { ...rest, dataref: `/v1/events?key=${event.subject}#${event.id}` }, bytes: 1_000 };
}

/** Splits messages, in order, into batches within Cloudflare's limits. */
function splitIntoBatches(events: QueueEvent[]): QueueEvent[][] {
  const batches: QueueEvent[][] = [];
  let batch: QueueEvent[] = [];
  let size = 0;
  for (const { body, bytes } of events.map(fitMessage)) {
    if (batch.length === maxMessages || size + bytes > maxBatchBytes) {
      batches.push(batch);
      batch = [];
      size = 0;
    }
    batch.push(body);
    size += bytes;
  }
  return batch.length > 0 ? [...batches, batch] : batches;
}

/**
 * Sends events to the queues of the services that consume them. An event without consumers counts as delivered. A queue
 * accepts or rejects a whole batch. An event that one of its queues rejected is sent to all of them again.
 */
export async function deliverToQueues(env: Bindings, leased: LeasedEvent[]): Promise<DeliveryReport> {
  const failures = new Map<string, string>();
  const byQueue = new Map<QueueName, QueueEvent[]>();
  for (const event of leased.map(toEvent)) {
    for (const service of topics[event.type]?.consumers ?? []) {
      const queue = queueNameOf(service, event.type);
      const list = byQueue.get(queue);
      if (list) list.push(event);
      else byQueue.set(queue, [event]);
    }
  }
  const send = async (queue: QueueName, events: QueueEvent[]) => {
    for (const batch of splitIntoBatches(events)) {
      try {
        await bindingOf(env, queue).sendBatch(batch.map((body) => ({ body, contentType: 'json' as const })));
      } catch (error) {
        const reason = `${queue} queue: ${error instanceof Error ? error.name : 'error'}`;
        for (const { id } of batch) failures.set(id, reason);
      }
    }
  };
  await Promise.all([...byQueue].map(([queue, events]) => send(queue, events)));
  return {
    delivered: leased.filter(({ id }) => !failures.has(id)).map(({ seq }) => seq),
    failed: leased.flatMap(({ id, seq }) => {
      const error = failures.get(id);
      return error === undefined ? [] : [{ seq, error, dead: false }];
    }),
    returned: [],
  };
}

/**
 * Sends events to one queue, in order. `delayOf`: the delivery delay in seconds for the event at a position.
 * @throws the queue's error. Earlier batches were accepted, and the same events may be sent again
 */
export async function sendToQueue(
  env: Bindings,
  queue: QueueName,
  events: QueueEvent[],
  delayOf: (position: number) => number = () => 0,
): Promise<void> {
  let sent = 0;
  for (const batch of splitIntoBatches(events)) {
    const messages = batch.map((body, index) => {
      const delaySeconds = delayOf(sent + index);
      return { body, contentType: 'json' as const, ...(delaySeconds > 0 && { delaySeconds }) };
    });
    await bindingOf(env, queue).sendBatch(messages);
    sent += batch.length;
  }
}
