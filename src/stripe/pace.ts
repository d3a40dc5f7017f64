import type { Settings } from '../env.ts';

/** The queue of charges runs two consumers at most (wrangler.toml), and the cron may run beside them: each takes its third. */
const consumers = 3;

let next = 0;

/** Waits for this isolate's next turn at Stripe, so that all together keep to STRIPE_REQUESTS_PER_SECOND. */
export async function pace({
  STRIPE_REQUESTS_PER_SECOND,
}: Pick<Settings, 'STRIPE_REQUESTS_PER_SECOND'>): Promise<void> {
  const now = Date.now();
  const turn = Math.max(next, now);
  next = turn + (1_000 * consumers) / STRIPE_REQUESTS_PER_SECOND;
  if (turn > now) await new Promise((resolve) => setTimeout(resolve, turn - now));
}
