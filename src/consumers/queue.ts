import type { Context } from '../context.ts';
import { openDatabase } from '../db/client.ts';
import { type Bindings, type Settings, settingsOf } from '../env.ts';
import type { Event, Service } from '../events.ts';
import { newId } from '../ids.ts';
import { describe, log } from '../log.ts';
import { relaySoon } from '../relay.ts';
import { keepDeadLetters } from './dead-letters.ts';
import { consumeForGroupCommerce } from './group-commerce.ts';
import { consumeForInventory } from './inventory.ts';
import { consumeForOrders } from './orders.ts';
import { PartlyApplied } from './partly-applied.ts';
import { consumeForPayments } from './payments.ts';
import { consumeForShipping } from './shipping.ts';

/** Applies the events of one tenant and one topic: all of them or none, unless it throws PartlyApplied. */
export type Consumer = (context: Context, tenant: string, topic: string, events: Event[]) => Promise<void>;

const consumers: Record<Service, Consumer> = {
  'group-commerce': consumeForGroupCommerce,
  inventory: consumeForInventory,
  orders: consumeForOrders,
  payments: consumeForPayments,
  shipping: consumeForShipping,
};

/** `fusioncommerce-<service>`, or its dead-letter queue `fusioncommerce-<service>-dlq`. */
const queueName = /^fusioncommerce-([\w-]+?)(-dlq)?$/;

const isEvent = (body: unknown): body is Event =>
  typeof body === 'object' &&
  body !== null &&
  (['id', 'type', 'subject', 'tenantid'] as const).every(
    (name) => name in body && typeof Reflect.get(body, name) === 'string',
  );

/** Growing waits between deliveries: 2, 4, 8 … 300 s. */
const delaySeconds = (attempts: number) => Math.min(2 ** attempts, 300);

export function contextFor(settings: Settings, event: Pick<Event, 'traceparent'> = {}): Context {
  const call = event.traceparent === undefined ? {} : { traceparent: event.traceparent };
  return { db: openDatabase(settings), settings, call, now: () => new Date() };
}

type Delivery = Message<unknown> & { body: Event };

/** Ends each message of a batch of which a part was not applied: done, to come again, or a dead letter at once. */
async function endEach(settings: Settings, service: Service, deliveries: Delivery[], { failures }: PartlyApplied) {
  for (const delivery of deliveries) {
    const failure = failures.get(delivery.body.id);
    if (!failure) delivery.ack();
    else if (failure.permanent) await keepDeadLetters(settings, service, { messages: [delivery] }, failure.reason);
    else delivery.retry({ delaySeconds: delaySeconds(delivery.attempts) });
  }
}

/** Applies messages together; if that fails, each alone, so that one that cannot be applied stops no other. */
async function apply(settings: Settings, service: Service, deliveries: Delivery[]): Promise<void> {
  const started = Date.now();
  const [first] = deliveries;
  if (!first) return;
  const { tenantid: tenant, type: topic } = first.body;
  const context = contextFor(settings, deliveries.length === 1 ? first.body : {});
  const line = { kind: 'message' as const, id: first.body.id, tenant, service, topic, messages: deliveries.length };
  try {
    await consumers[service](
      context,
      tenant,
      topic,
      deliveries.map((delivery) => delivery.body),
    );
    for (const delivery of deliveries) delivery.ack();
    log({ ...line, outcome: 'ok', durationMs: Date.now() - started, dbCalls: context.db.spent.calls });
  } catch (error) {
    const spent = { durationMs: Date.now() - started, dbCalls: context.db.spent.calls };
    if (error instanceof PartlyApplied) {
      await endEach(settings, service, deliveries, error);
      log({
        ...line,
        outcome: 'partly',
        failed: error.failures.size,
        attempts: first.attempts,
        ...spent,
        ...describe(error),
      });
      return;
    }
    if (deliveries.length > 1) {
      log({ ...line, outcome: 'split', ...spent, ...describe(error) });
      for (const delivery of deliveries) await apply(settings, service, [delivery]);
      return;
    }
    first.retry({ delaySeconds: delaySeconds(first.attempts) });
    log({ ...line, outcome: 'retry', attempts: first.attempts, ...spent, ...describe(error) });
  }
}

/**
 * The Worker's queue entry. Messages are applied by tenant and topic, a group in one database call; each is acknowledged
 * once its effect and its inbox row are committed, or delivered again later, and in the end to the dead-letter queue.
 */
export async function consume(batch: MessageBatch<unknown>, env: Bindings): Promise<void> {
  const settings = settingsOf(env);
  const [, service, dead] = queueName.exec(batch.queue) ?? [];
  if (service === undefined || !(service in consumers)) throw new Error(`no consumer for the queue ${batch.queue}`);
  if (dead) {
    await keepDeadLetters(settings, service, batch);
    return;
  }
  const groups = new Map<string, Delivery[]>();
  const strange: Message<unknown>[] = [];
  for (const message of batch.messages) {
    if (!isEvent(message.body)) {
      strange.push(message);
      continue;
    }
    const group = `${message.body.tenantid} ${message.body.type}`;
    groups.set(group, [...(groups.get(group) ?? []), message as Delivery]);
  }
  for (const deliveries of groups.values()) await apply(settings, service as Service, deliveries);
  // What is no event never will be one: it goes to the dead letters without waiting.
  if (strange.length > 0) await keepDeadLetters(settings, service, { messages: strange });
  await relaySoon(env, newId(new Date()));
}

export { isEvent };
