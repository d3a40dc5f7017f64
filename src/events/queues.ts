import type { Delivery, Leased } from '../db/platform/outbox.ts';
import type { Event } from '../domain/events.ts';
import type { Bindings } from '../env.ts';
import { type Service, topics } from './topics.ts';

/** Cloudflare takes 100 messages and 256 KB at a time, and 128 KB a message; some room is left for its own envelope. */
const mostMessages = 100;
const mostBytes = 240_000;
const mostMessageBytes = 120_000;

/** A queue by its name: each service has one, and charges have a second one, so that nothing waits behind a campaign's. */
export type Lane = Service | 'charges';

const laneOf = (service: Service, topic: string): Lane => (topic === 'payment.capture.requested' ? 'charges' : service);

/** The service that consumes a queue. */
export const serviceOf = (lane: string): string => (lane === 'charges' ? 'payments' : lane);

const queueOf = (env: Bindings, lane: Lane): Queue =>
  ({
    'group-commerce': env.GROUP_COMMERCE_QUEUE,
    charges: env.CHARGES_QUEUE,
    inventory: env.INVENTORY_QUEUE,
    orders: env.ORDERS_QUEUE,
    payments: env.PAYMENTS_QUEUE,
    shipping: env.SHIPPING_QUEUE,
  })[lane];

const toEvent = (event: Leased): Event => ({
  specversion: '1.0',
  id: event.id,
  type: event.topic,
  source: '/fusioncommerce',
  time: event.time,
  tenantid: event.tenant,
  subject: event.key,
  sequence: String(event.seq),
  ...(event.traceparent === null ? {} : { traceparent: event.traceparent }),
  data: event.payload,
});

/** An event too large for a message goes without its data: whoever needs those reads the event, `dataref` says which. */
function fitting(event: Event): { body: Event; bytes: number } {
  const bytes = new TextEncoder().encode(JSON.stringify(event)).length;
  if (bytes <= mostMessageBytes) return { body: event, bytes };
  const { data: _left, ...rest } = event;
  return { body: { ...rest, dataref: `/v1/events?key=${event.subject}#${event.id}` }, bytes: 1_000 };
}

/** Splits messages, in order, into batches that a queue takes. */
function inBatches(events: Event[]): Event[][] {
  const batches: Event[][] = [];
  let batch: Event[] = [];
  let size = 0;
  for (const { body, bytes } of events.map(fitting)) {
    if (batch.length === mostMessages || size + bytes > mostBytes) {
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
 * Sends events to the queues of the services that consume them; an event that nobody consumes counts as delivered. A
 * queue takes or refuses a batch as a whole. An event that one of its queues did not take goes to all of them again.
 */
export async function deliverToQueues(env: Bindings, leased: Leased[]): Promise<Delivery> {
  const failures = new Map<string, string>();
  const byLane = new Map<Lane, Event[]>();
  for (const event of leased.map(toEvent)) {
    for (const service of topics[event.type]?.consumers ?? []) {
      const lane = laneOf(service, event.type);
      const its = byLane.get(lane);
      if (its) its.push(event);
      else byLane.set(lane, [event]);
    }
  }
  const send = async (lane: Lane, events: Event[]) => {
    for (const batch of inBatches(events)) {
      try {
        await queueOf(env, lane).sendBatch(batch.map((body) => ({ body, contentType: 'json' as const })));
      } catch (error) {
        const reason = `${lane} queue: ${error instanceof Error ? error.name : 'error'}`;
        for (const { id } of batch) failures.set(id, reason);
      }
    }
  };
  await Promise.all([...byLane].map(([lane, events]) => send(lane, events)));
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
 * Sends events to one queue, in their order; `delayOf` says in how many seconds the event at this place is to be delivered.
 * @throws what the queue does; those before were accepted, and the same ones may be sent again
 */
export async function sendToQueue(
  env: Bindings,
  lane: Lane,
  events: Event[],
  delayOf: (place: number) => number = () => 0,
): Promise<void> {
  let sent = 0;
  for (const batch of inBatches(events)) {
    const messages = batch.map((body, n) => {
      const delaySeconds = delayOf(sent + n);
      return { body, contentType: 'json' as const, ...(delaySeconds > 0 && { delaySeconds }) };
    });
    await queueOf(env, lane).sendBatch(messages);
    sent += batch.length;
  }
}
