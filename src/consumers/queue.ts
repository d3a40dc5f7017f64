import { cellAttribute, qualifyTenant } from '../base/cells.ts';
import { ApiError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { describeError, log } from '../base/log.ts';
import type { Context } from '../context.ts';
import type { Event } from '../domain/events.ts';
import { type Bindings, type Settings, settingsOf } from '../env.ts';
import { storeDeadLetters } from '../events/dead-letters.ts';
import {
  cellOf,
  contextFor,
  type Delivery,
  delaySeconds,
  isDatabaseAvailable,
  isEvent,
  isPaused,
} from '../events/message.ts';
import { type QueueName, serviceOf } from '../events/queues.ts';
import { hasUnleasedEvents, leaseWithLastJob, relaySoon } from '../events/relay.ts';
import type { Service } from '../events/topics.ts';
import { consumeForCatalog } from './catalog.ts';
import { consumeForGroupCommerce } from './group-commerce.ts';
import { consumeForInventory } from './inventory.ts';
import { consumeForOrders } from './orders.ts';
import { PartlyApplied } from './partly-applied.ts';
import { consumeForPayments } from './payments.ts';
import { consumeForShipping } from './shipping.ts';
import { workOnShare } from './slow-tenants.ts';

/** Applies the events of one tenant and one topic: all or none, unless it throws PartlyApplied. */
export type Consumer = (context: Context, tenant: string, topic: string, events: Event[]) => Promise<void>;

const consumers: Record<Service, Consumer> = {
  catalog: consumeForCatalog,
  'group-commerce': consumeForGroupCommerce,
  inventory: consumeForInventory,
  orders: consumeForOrders,
  payments: consumeForPayments,
  shipping: consumeForShipping,
};

/** The services whose messages call other systems: Stripe, and the servers of images. Each tenant has its share of them. */
const servicesWithShares: ReadonlySet<Service> = new Set(['catalog', 'payments']);
/** The topics of other services whose messages call other systems: VIES. */
const topicsWithShares: ReadonlySet<string> = new Set(['customer.vat.requested']);

/** `fusioncommerce-<queue>`, or its dead-letter queue `fusioncommerce-<queue>-dlq`. */
const queueName = /^fusioncommerce-([\w-]+?)(-dlq)?$/;

/**
 * A message that fails this often (within 14 minutes) becomes a dead letter with its reason. While the database is
 * unavailable a message is only retried, until the queue itself gives up and moves it to the dead-letter queue.
 */
const maxDeliveries = 10;

const isUnavailable = (error: unknown) => error instanceof ApiError && error.code === 'unavailable';

/** The reason that the tenant sees. It never holds the message of a database or library error. */
function reasonOf(error: unknown): string {
  const { error: name, code, constraint, message } = describeError(error);
  return [name, code, constraint, name === 'Error' ? message : undefined]
    .filter((part) => part !== undefined)
    .join(' ');
}

type Failure = { reason: string; permanent: boolean; isRequestedAgain?: boolean };

/** Handles a message that was not applied: delays it, stores it as a dead letter, or leaves it to the cron. */
async function retryOrStore(settings: Settings, service: Service, delivery: Delivery, failure: Failure): Promise<void> {
  const { attempts } = delivery;
  if (failure.permanent) await storeDeadLetters(settings, service, [delivery], failure.reason);
  else if (attempts < maxDeliveries) delivery.retry({ delaySeconds: delaySeconds(attempts) });
  else if (failure.isRequestedAgain) delivery.ack();
  else {
    const reason = `Not applied after ${attempts} deliveries from the queue: ${failure.reason}`;
    await storeDeadLetters(settings, service, [delivery], reason);
  }
}

/** One call of the queue entry point. */
type Batch = {
  settings: Settings;
  service: Service;
  openContext: (cell: string, event: Pick<Event, 'traceparent'>) => Context;
  /** The cells in which a message has stored events that no relay has leased. */
  needRelay: Set<string>;
};

/** Applies messages together. If that fails, applies each alone, so that a bad message stops no other. */
async function apply(batch: Batch, deliveries: Delivery[]): Promise<void> {
  const { settings, service } = batch;
  const started = Date.now();
  const [first] = deliveries;
  if (!first) return;
  const { tenantid: tenant, type: topic } = first.body;
  const cell = cellOf(first.body);
  const context = batch.openContext(cell, deliveries.length === 1 ? first.body : {});
  // A queue may deliver the same message twice at once.
  const events = [...new Map(deliveries.map(({ body }) => [body.id, body])).values()];
  const write = (outcome: string, details: Record<string, unknown> = {}) =>
    log({
      ...{ kind: 'message', id: first.body.id, tenant, cell: cellAttribute(cell), service, topic },
      messages: deliveries.length,
      ...{ outcome, durationMs: Date.now() - started, dbCalls: context.db.usage.calls },
      ...details,
    });
  const retryAll = () => {
    for (const delivery of deliveries) delivery.retry({ delaySeconds: delaySeconds(delivery.attempts) });
  };
  if (isPaused(first)) {
    retryAll();
    write('paused');
    return;
  }
  try {
    await consumers[service](context, tenant, topic, events);
    for (const delivery of deliveries) delivery.ack();
    write('ok');
  } catch (error) {
    const errorFacts = { attempts: first.attempts, ...describeError(error) };
    if (error instanceof PartlyApplied) {
      write('partly', { failed: error.failures.size, ...errorFacts });
      for (const delivery of deliveries) {
        const failure = error.failures.get(delivery.body.id);
        if (failure) await retryOrStore(settings, service, delivery, failure);
        else delivery.ack();
      }
    } else if (isUnavailable(error) && (deliveries.length === 1 || !(await isDatabaseAvailable(context)))) {
      write('retry', errorFacts);
      retryAll();
    } else if (deliveries.length > 1) {
      write('split', errorFacts);
      for (const delivery of deliveries) await apply(batch, [delivery]);
    } else {
      write('retry', errorFacts);
      await retryOrStore(settings, service, first, { reason: reasonOf(error), permanent: false });
    }
  } finally {
    if (hasUnleasedEvents(context) && !isPaused(first)) batch.needRelay.add(context.db.cell);
  }
}

/** Applies the messages of one cell, each tenant and topic in one database call. */
async function applyInCell(env: Bindings, queue: QueueName, batch: Batch, deliveries: Delivery[]): Promise<void> {
  const applyByTopic = async (ofTenant: Delivery[]) => {
    for (const group of Map.groupBy(ofTenant, ({ body }) => body.type).values()) await apply(batch, group);
  };
  const byTenant = [...Map.groupBy(deliveries, ({ body }) => body.tenantid).values()];
  const hasShare = ({ body }: Delivery) => servicesWithShares.has(batch.service) || topicsWithShares.has(body.type);
  // The messages with shares wait for another system, so tenants are processed in parallel, each within its share.
  const nameOf = ({ body }: Delivery) => qualifyTenant(body.tenantid, cellOf(body));
  const waiting = byTenant.map((ofTenant) => {
    const [first, ...others] = ofTenant.filter(hasShare);
    return first ? workOnShare(env, queue, nameOf(first), [first, ...others], applyByTopic) : undefined;
  });
  for (const ofTenant of byTenant) await applyByTopic(ofTenant.filter((delivery) => !hasShare(delivery)));
  await Promise.all(waiting);
}

/**
 * The Worker's queue entry point. Messages are grouped by cell, tenant and topic, and each group is applied in one
 * database call. Cells are processed in parallel, so that no cell waits for another one's database. A message is
 * acknowledged once its effect and its inbox row are committed. Otherwise it is delivered again, and after too many
 * failures it is stored as a dead letter.
 */
export async function consume(batch: MessageBatch<unknown>, env: Bindings, execution: ExecutionContext): Promise<void> {
  const settings = settingsOf(env);
  const [, queue = '', deadLetterSuffix] = queueName.exec(batch.queue) ?? [];
  const service = serviceOf(queue);
  if (!(service in consumers)) throw new Error(`the queue ${batch.queue} has no consumer`);
  if (deadLetterSuffix) {
    await storeDeadLetters(settings, service, batch.messages);
    return;
  }
  const cause = newId(new Date());
  const applied: Batch = {
    ...{ settings, service: service as Service, needRelay: new Set() },
    openContext(cell, event) {
      const context = contextFor(settings, cell, event);
      leaseWithLastJob(context, env, cause, (task) => execution.waitUntil(task));
      return context;
    },
  };
  const deliveries = batch.messages.filter((message): message is Delivery => isEvent(message.body));
  const byCell = Map.groupBy(deliveries, ({ body }) => cellOf(body)).values();
  await Promise.all([...byCell].map((ofCell) => applyInCell(env, queue as QueueName, applied, ofCell)));
  // A message that is not an event will never become one, so it is stored as a dead letter at once.
  await storeDeadLetters(
    settings,
    service,
    batch.messages.filter(({ body }) => !isEvent(body)),
  );
  // Not awaited: the queue registers acknowledgements only when this function returns.
  for (const cell of applied.needRelay) execution.waitUntil(relaySoon(env, cell, cause));
}
