import { parseArgs } from 'node:util';

export type IsolationOptions = { seconds: number; rate: number };

export const help = `npm run isolation -- [flags]

Measures whether one tenant can delay another's money. The platform is started as for the benchmarks. The tenant "calm"
orders, pays, hears of webhooks and refunds: first alone, then while the tenant "noisy" does all of this at once:

  bad rows    rows that raise in the database in each job, crons every 10 s
  flood       requests with its own key and with invalid keys
  import      a catalog of 5,000 lines, again and again
  campaign    joins to one campaign
  queue       1,000 charges and closings for which Stripe takes 2 s each

The last column is the p95 beside the noise, as a multiple of the quiet one: 2.0 is the most that is accepted.

  --minutes 1    how long each of the two phases lasts
  --rate 60      requests a second of the noisy tenant, invalid keys included
  --help`;

function readNumber(flag: string, text: string | undefined, usual: number): number {
  const number = text === undefined ? usual : Number(text);
  if (!(number > 0 && number <= 1_000)) throw new Error(`--${flag} ${text} is not a number above 0 and up to 1000`);
  return number;
}

/** The options of a command line; null: help was asked for. Throws for a flag that it does not know. */
export function readIsolationOptions(args: string[]): IsolationOptions | null {
  const { values } = parseArgs({
    args,
    options: { minutes: { type: 'string' }, rate: { type: 'string' }, help: { type: 'boolean' } },
  });
  if (values.help) return null;
  return { seconds: readNumber('minutes', values.minutes, 1) * 60, rate: readNumber('rate', values.rate, 60) };
}
