import type { QualifiedTenant } from '../base/cells.ts';
import { describeError, log } from '../base/log.ts';
import type { Bindings } from '../env.ts';
import type { Delivery } from '../events/message.ts';
import { type QueueName, sendToQueue } from '../events/queues.ts';

/** How many messages of one tenant an isolate processes at a time. */
const shareSize = 10;
/** The delay of postponed messages, in seconds. */
const busyDelaySeconds = 1;
/**
 * The delay for a slow tenant: 10 messages after 5 s, the next 10 after 10 s, and so on, since only one share is
 * processed at a time.
 */
const slowDelaySeconds = (position: number): number => 5 * (1 + Math.floor(position / shareSize));
/**
 * A tenant whose messages take longer is slow. It then pauses for as long as they took, at most `maxRestMs`. In
 * milliseconds.
 */
const slowAfterMs = 1_500;
const maxRestMs = 10_000;

/**
 * What this isolate does for one tenant of one queue: messages in progress, since when, and until when the tenant
 * pauses.
 */
type Load = { inProgress: number; since: number; slow: boolean; restUntil: number };
const loads = new Map<string, Load>();

const isSlow = ({ inProgress, since, slow }: Load, now: number): boolean =>
  slow || (inProgress > 0 && now - since > slowAfterMs);

/** How many more messages of the tenant may start. A slow tenant uses at most one consumer. */
function capacityOf(load: Load, now: number): number {
  if (now < load.restUntil) return 0;
  if (load.inProgress > 0 && isSlow(load, now)) return 0;
  return Math.max(shareSize - load.inProgress, 0);
}

/**
 * Processes a share of one tenant's messages and puts the rest at the end of the queue. While Stripe responds quickly,
 * a tenant may use several consumers, with 10 messages in progress. If Stripe is slow for a tenant, it gets one
 * consumer, half of the time. So a tenant with 10,000 messages does not delay another tenant, and a tenant with few
 * messages never waits for its own. A postponed message is sent as a new one, so it does not count as a failed
 * delivery.
 */
export async function workOnShare(
  env: Bindings,
  queue: QueueName,
  tenant: QualifiedTenant,
  deliveries: Delivery[],
  work: (share: Delivery[]) => Promise<void>,
): Promise<void> {
  const loadKey = `${queue} ${tenant}`;
  const started = Date.now();
  const load = loads.get(loadKey) ?? { inProgress: 0, since: started, slow: false, restUntil: 0 };
  const share = deliveries.slice(0, capacityOf(load, started));
  const postponed = postpone(
    env,
    queue,
    deliveries.slice(share.length),
    isSlow(load, started) ? slowDelaySeconds : () => busyDelaySeconds,
  );
  if (share.length === 0) {
    await postponed;
    return;
  }
  if (load.inProgress === 0) load.since = started;
  load.inProgress += share.length;
  loads.set(loadKey, load);
  try {
    await Promise.all([postponed, work(share)]);
  } finally {
    load.inProgress -= share.length;
    const durationMs = Date.now() - started;
    load.slow = durationMs > slowAfterMs;
    load.restUntil = load.slow ? Date.now() + Math.min(durationMs, maxRestMs) : 0;
    if (!load.slow && load.inProgress === 0) loads.delete(loadKey);
  }
}

async function postpone(
  env: Bindings,
  queue: QueueName,
  deliveries: Delivery[],
  delayOf: (position: number) => number,
): Promise<void> {
  if (deliveries.length === 0) return;
  const events = deliveries.map(({ body }) => body);
  try {
    await sendToQueue(env, queue, events, delayOf);
    for (const delivery of deliveries) delivery.ack();
  } catch (error) {
    for (const [position, delivery] of deliveries.entries()) delivery.retry({ delaySeconds: delayOf(position) });
    const details = { ...describeError(error), messages: deliveries.length, queue };
    log({ kind: 'message', id: queue, tenant: null, outcome: 'not_put_off', durationMs: 0, dbCalls: 0, ...details });
  }
}
