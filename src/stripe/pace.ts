import type { Settings } from '../env.ts';

/**
 * At most two consumers of the charges queue (wrangler.toml) and the cron run at once. Each gets a third of the rate.
 */
const callers = 3;

let nextSlot = 0;

/** Waits for this isolate's next slot, so that all isolates together stay below STRIPE_REQUESTS_PER_SECOND. */
export async function pace({
  STRIPE_REQUESTS_PER_SECOND,
}: Pick<Settings, 'STRIPE_REQUESTS_PER_SECOND'>): Promise<void> {
  const now = Date.now();
  const slot = Math.max(nextSlot, now);
  nextSlot = slot + (1_000 * callers) / STRIPE_REQUESTS_PER_SECOND;
  if (slot > now) await new Promise((resolve) => setTimeout(resolve, slot - now));
}
