import { parseOptions } from '../../dev/support/options.ts';

export type ReconcileScaleOptions = { payments: number; tenants: number; turns: number; every: number };

export const help = `npm run reconcile-scale -- [flags]

Measures how lost webhooks are repaired while many payments wait for their buyers. It starts the same stack as the other
benchmarks. The first tenant has 90 % of the waiting payments. One buyer of each tenant pays, and a second buyer of the
first tenant. Stripe's webhooks for these payments are lost, and some of the holds expire before the next cron. After every
turn another buyer tries to order each of these units. A turn is one run of the crons, in real time.

For each lost webhook it prints the turn that repaired it, and how long before or after the end of the hold. For each turn it
prints the calls to the database and the requests to Stripe. The exit code is 1 if a guarantee is broken:

  - the first cron after a payment repairs its lost webhook, and its hold is not released before
  - the cost of reading Stripe's events depends on the number of changes, not on the number of waiting payments
  - no job makes more database calls than its budget, and none fails
  - no unit is sold twice, and stock, holds and orders match

  --payments 100000   number of waiting payments
  --tenants 10        number of tenants that share them, at least 2
  --turns 4           number of turns
  --every 60          seconds between two turns
  --help`;

function readCount(flag: string, text: string | undefined, defaultValue: number, min: number, max: number): number {
  const count = text === undefined ? defaultValue : Number(text);
  if (!(Number.isInteger(count) && count >= min && count <= max)) {
    throw new Error(`--${flag} ${text} is not a whole number from ${min} to ${max}`);
  }
  return count;
}

/** Parses the command line. Null for --help. Throws for an unknown flag or an invalid value. */
export function readReconcileScaleOptions(args: string[]): ReconcileScaleOptions | null {
  const text = { type: 'string' } as const;
  const options = { payments: text, tenants: text, turns: text, every: text, help: { type: 'boolean' } } as const;
  const { values } = parseOptions('npm run reconcile-scale', { args, options });
  if (values.help) return null;
  return {
    payments: readCount('payments', values.payments, 100_000, 100, 10_000_000),
    tenants: readCount('tenants', values.tenants, 10, 2, 50),
    turns: readCount('turns', values.turns, 4, 2, 60),
    every: readCount('every', values.every, 60, 1, 600),
  };
}
