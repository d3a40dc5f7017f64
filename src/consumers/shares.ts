import type { Bindings } from '../env.ts';
import { describe, log } from '../log.ts';
import { type Lane, sendToQueue } from '../queues.ts';
import type { Delivery } from './message.ts';

/** How many messages of one tenant an isolate works on at a time. */
const share = 10;
/** When messages that are put off come again, in seconds: of a tenant that is busy, and of one that Stripe is slow for. */
const busySeconds = 1;
const slowSeconds = 5;
/** A tenant whose messages took longer (milliseconds) is slow. It rests as long as they took, at most `longestRestMs`. */
const shortMs = 1_500;
const longestRestMs = 10_000;

/** What this isolate does for one tenant of one queue: messages under way, since when, and until when the tenant rests. */
type Load = { underway: number; since: number; slow: boolean; restUntil: number };
const loads = new Map<string, Load>();

/** How many more messages the tenant may have under way. A slow tenant keeps one consumer at most. */
function roomOf({ underway, since, slow, restUntil }: Load, now: number): number {
  if (now < restUntil) return 0;
  if (underway > 0 && (slow || now - since > shortMs)) return 0;
  return Math.max(share - underway, 0);
}

/**
 * Works on a share of one tenant's messages and puts the others at the end of the queue. A tenant that Stripe answers at
 * once may use several consumers, with 10 messages in all. One that Stripe is slow for has one consumer, half of the time.
 * So a tenant with 10,000 messages does not delay another tenant, and one with a few messages never waits for itself.
 * A message that is put off is a new one: it does not count as a failed delivery.
 */
export async function inTurn(
  env: Bindings,
  lane: Lane,
  tenant: string,
  deliveries: Delivery[],
  work: (mine: Delivery[]) => Promise<void>,
): Promise<void> {
  const name = `${lane} ${tenant}`;
  const started = Date.now();
  const load = loads.get(name) ?? { underway: 0, since: started, slow: false, restUntil: 0 };
  const mine = deliveries.slice(0, roomOf(load, started));
  const later = putOff(env, lane, deliveries.slice(mine.length), load.slow ? slowSeconds : busySeconds);
  if (mine.length === 0) {
    await later;
    return;
  }
  if (load.underway === 0) load.since = started;
  load.underway += mine.length;
  loads.set(name, load);
  try {
    await Promise.all([later, work(mine)]);
  } finally {
    load.underway -= mine.length;
    const tookMs = Date.now() - started;
    load.slow = tookMs > shortMs;
    load.restUntil = load.slow ? Date.now() + Math.min(tookMs, longestRestMs) : 0;
    if (!load.slow && load.underway === 0) loads.delete(name);
  }
}

async function putOff(env: Bindings, lane: Lane, deliveries: Delivery[], delaySeconds: number): Promise<void> {
  if (deliveries.length === 0) return;
  try {
    await sendToQueue(
      env,
      lane,
      deliveries.map(({ body }) => body),
      delaySeconds,
    );
    for (const delivery of deliveries) delivery.ack();
  } catch (error) {
    for (const delivery of deliveries) delivery.retry({ delaySeconds });
    const facts = { ...describe(error), messages: deliveries.length, queue: lane };
    log({ kind: 'message', id: lane, tenant: null, outcome: 'not_put_off', durationMs: 0, dbCalls: 0, ...facts });
  }
}
