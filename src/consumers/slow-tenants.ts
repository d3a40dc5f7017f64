import { describeError, log } from '../base/log.ts';
import type { Bindings } from '../env.ts';
import type { Delivery } from '../events/message.ts';
import { type QueueName, sendToQueue } from '../events/queues.ts';

/** How many messages of one tenant an isolate works on at a time. */
const shareSize = 10;
/** When messages that are put off come again, in seconds. */
const busySeconds = 1;
/** Of a tenant that Stripe is slow for, a shareSize after 5 s, the next after 10 s and so on: more could not be worked on. */
const slowSeconds = (position: number): number => 5 * (1 + Math.floor(position / shareSize));
/** A tenant whose messages took longer (milliseconds) is slow. It rests as long as they took, at most `longestRestMs`. */
const shortMs = 1_500;
const longestRestMs = 10_000;

/** What this isolate does for one tenant of one queue: messages under way, since when, and until when the tenant rests. */
type Load = { underway: number; since: number; slow: boolean; restUntil: number };
const loads = new Map<string, Load>();

const isSlow = ({ underway, since, slow }: Load, now: number): boolean =>
  slow || (underway > 0 && now - since > shortMs);

/** How many more messages the tenant may have under way. A slow tenant keeps one consumer at most. */
function capacityOf(load: Load, now: number): number {
  if (now < load.restUntil) return 0;
  if (load.underway > 0 && isSlow(load, now)) return 0;
  return Math.max(shareSize - load.underway, 0);
}

/**
 * Works on a shareSize of one tenant's messages and puts the others at the end of the queue. A tenant that Stripe answers at
 * once may use several consumers, with 10 messages in all. One that Stripe is slow for has one consumer, half of the time.
 * So a tenant with 10,000 messages does not delay another tenant, and one with a few messages never waits for itself.
 * A message that is put off is a new one: it does not count as a failed delivery.
 */
export async function workOnShare(
  env: Bindings,
  queue: QueueName,
  tenant: string,
  deliveries: Delivery[],
  work: (share: Delivery[]) => Promise<void>,
): Promise<void> {
  const name = `${queue} ${tenant}`;
  const started = Date.now();
  const load = loads.get(name) ?? { underway: 0, since: started, slow: false, restUntil: 0 };
  const share = deliveries.slice(0, capacityOf(load, started));
  const later = postpone(
    env,
    queue,
    deliveries.slice(share.length),
    isSlow(load, started) ? slowSeconds : () => busySeconds,
  );
  if (share.length === 0) {
    await later;
    return;
  }
  if (load.underway === 0) load.since = started;
  load.underway += share.length;
  loads.set(name, load);
  try {
    await Promise.all([later, work(share)]);
  } finally {
    load.underway -= share.length;
    const tookMs = Date.now() - started;
    load.slow = tookMs > shortMs;
    load.restUntil = load.slow ? Date.now() + Math.min(tookMs, longestRestMs) : 0;
    if (!load.slow && load.underway === 0) loads.delete(name);
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
    const facts = { ...describeError(error), messages: deliveries.length, queue };
    log({ kind: 'message', id: queue, tenant: null, outcome: 'not_put_off', durationMs: 0, dbCalls: 0, ...facts });
  }
}
