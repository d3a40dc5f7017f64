import { parseArgs } from 'node:util';

export type ReconcileScaleOptions = { payments: number; tenants: number; turns: number; every: number };

export const help = `npm run reconcile-scale -- [flags]

Measures how lost webhooks are made up for while many payments wait for their buyers. The platform is started as for the
benchmarks. The first tenant has 90 % of the waiting payments. A buyer of each tenant pays, and a second one of the first
tenant, and Stripe's webhook of each is lost; some of their holds end before the next cron. Another buyer tries to get each
of these units after every turn. The crons run by the minute, in real time.

It prints for each lost webhook in which turn it was made up for, relative to the end of its hold, and for each turn the calls
to the database and the requests to Stripe. The exit code is 1 if a promise fails:

  - each lost webhook is made up for by the first cron after the payment, and no hold ends before that
  - reading Stripe's events costs as much as has changed, however many payments wait
  - no job spends more database calls than its budget, and none fails
  - no unit is sold twice, and stock, holds and orders agree

  --payments 100000   how many payments wait
  --tenants 10        how many tenants share them, at least 2
  --turns 4           how many turns of the crons
  --every 60          seconds between two turns
  --help`;

function readCount(flag: string, text: string | undefined, usual: number, least: number, most: number): number {
  const count = text === undefined ? usual : Number(text);
  if (!(Number.isInteger(count) && count >= least && count <= most)) {
    throw new Error(`--${flag} ${text} is not a whole number from ${least} to ${most}`);
  }
  return count;
}

/** The options of a command line; null: help was asked for. Throws for a flag that it does not know. */
export function readReconcileScaleOptions(args: string[]): ReconcileScaleOptions | null {
  const text = { type: 'string' } as const;
  const options = { payments: text, tenants: text, turns: text, every: text, help: { type: 'boolean' } } as const;
  const { values } = parseArgs({ args, options });
  if (values.help) return null;
  return {
    payments: readCount('payments', values.payments, 100_000, 100, 10_000_000),
    tenants: readCount('tenants', values.tenants, 10, 2, 50),
    turns: readCount('turns', values.turns, 4, 2, 60),
    every: readCount('every', values.every, 60, 1, 600),
  };
}
