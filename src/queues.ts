import type { Bindings } from './env.ts';
import { type Event, type Service, topics } from './events.ts';

/** Cloudflare takes 100 messages and 256 KB at a time, and 128 KB a message; some room is left for its own envelope. */
const mostMessages = 100;
const mostBytes = 240_000;
const mostMessageBytes = 120_000;

const queueOf = (env: Bindings, service: Service): Queue =>
  ({
    inventory: env.INVENTORY_QUEUE,
    orders: env.ORDERS_QUEUE,
    payments: env.PAYMENTS_QUEUE,
    shipping: env.SHIPPING_QUEUE,
  })[service];

/** An event too large for a message goes without its data: whoever needs those reads the event, `dataref` says which. */
function fitting(event: Event): { body: Event; bytes: number } {
  const bytes = JSON.stringify(event).length * 2;
  if (bytes <= mostMessageBytes) return { body: event, bytes };
  const { data: _left, ...rest } = event;
  return { body: { ...rest, dataref: `/v1/events?key=${event.subject}#${event.id}` }, bytes: 1_000 };
}

/**
 * Sends events to the queues of the services that consume them. A batch is taken or refused as a whole.
 * @returns why, for the ids of the events that at least one of their queues did not take
 */
export async function sendToQueues(env: Bindings, events: Event[]): Promise<Map<string, string>> {
  const failures = new Map<string, string>();
  const byService = new Map<Service, Event[]>();
  for (const event of events) {
    for (const service of topics[event.type]?.consumers ?? []) {
      byService.set(service, [...(byService.get(service) ?? []), event]);
    }
  }
  const send = async (service: Service, batch: Event[]) => {
    try {
      await queueOf(env, service).sendBatch(batch.map((body) => ({ body, contentType: 'json' as const })));
    } catch (error) {
      for (const event of batch)
        failures.set(event.id, `${service} queue: ${error instanceof Error ? error.name : 'error'}`);
    }
  };
  for (const [service, its] of byService) {
    let batch: Event[] = [];
    let size = 0;
    for (const { body, bytes } of its.map(fitting)) {
      if (batch.length === mostMessages || size + bytes > mostBytes) {
        await send(service, batch);
        batch = [];
        size = 0;
      }
      batch.push(body);
      size += bytes;
    }
    if (batch.length > 0) await send(service, batch);
  }
  return failures;
}
