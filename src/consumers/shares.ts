import type { Bindings } from '../env.ts';
import { describe, log } from '../log.ts';
import { type Lane, sendToQueue } from '../queues.ts';
import type { Delivery } from './message.ts';

/** How many messages of one tenant a consumer takes at a time, and how much later (seconds) the others come again. */
const share = 10;
const laterSeconds = 5;
/** A tenant whose share took longer (milliseconds) rests as long as it took, at most so long. */
const shortMs = 500;
const longestRestMs = 10_000;

/** The tenants whose messages are under way in this isolate, by queue. */
const working = new Set<string>();
const restUntil = new Map<string, number>();

/**
 * Takes a share of one tenant's messages and puts the others at the end of the queue: at most one consumer of an isolate
 * works for a tenant, and at most half of the time where Stripe is slow for it. So a tenant with 10,000 messages does not
 * hold up another. A message that is put off is a new one: it counts as no failed delivery.
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
  const isBusy = working.has(name) || started < (restUntil.get(name) ?? 0);
  const mine = isBusy ? [] : deliveries.slice(0, share);
  const others = isBusy ? deliveries : deliveries.slice(share);
  if (!isBusy) working.add(name);
  try {
    await Promise.all([putOff(env, lane, others), work(mine)]);
  } finally {
    if (!isBusy) {
      working.delete(name);
      const tookMs = Date.now() - started;
      if (tookMs > shortMs) restUntil.set(name, Date.now() + Math.min(tookMs, longestRestMs));
      else restUntil.delete(name);
    }
  }
}

async function putOff(env: Bindings, lane: Lane, deliveries: Delivery[]): Promise<void> {
  if (deliveries.length === 0) return;
  try {
    await sendToQueue(
      env,
      lane,
      deliveries.map(({ body }) => body),
      laterSeconds,
    );
    for (const delivery of deliveries) delivery.ack();
  } catch (error) {
    for (const delivery of deliveries) delivery.retry({ delaySeconds: laterSeconds });
    const facts = { ...describe(error), messages: deliveries.length, queue: lane };
    log({ kind: 'message', id: lane, tenant: null, outcome: 'not_put_off', durationMs: 0, dbCalls: 0, ...facts });
  }
}
