import { parseOptions } from '../../dev/support/options.ts';

export const noises = ['bad-rows', 'flood', 'invalid-keys', 'import', 'campaign', 'queue'] as const;
export type Noise = (typeof noises)[number];

export type IsolationOptions = {
  rounds: number;
  seconds: number;
  rate: number;
  flood: number;
  seed: number;
  /** Requests per second that one key may make. */
  limit: number;
  noises: Noise[];
  write: boolean;
};

export const help = `npm run isolation -- [flags]

Measures whether one tenant can slow down another tenant's sales. It starts the same stack as the other benchmarks. The
tenant "calm" makes sales at a constant rate: order, payment, webhook, refund. The tenant "noisy" does this in every noisy
phase:

  bad-rows      rows with which the cron's jobs fail (holds, orders, payments, labels, voids), and events that Kafka
                rejects; the crons run every 10 s
  flood         more requests with one key than its rate limit allows
  invalid-keys  20 requests per second with invalid keys, from one address
  import        a catalog of 5,000 lines, imported repeatedly
  campaign      10 joins per second of one campaign
  queue         400 charges and 400 cancellations, each of which takes Stripe 2 s

Each round has a quiet and a noisy phase, in random order (--seed). The result compares the median p95 of the noisy phases
with the median p95 of the quiet phases. The exit code is 1 if the ratio is above 2.0 or if a sale of "calm" fails.

The limit per address is the one in wrangler.toml. The limit per key in wrangler.toml is meant for a whole data center, so a
lower one is used here. Three keys of the noisy tenant can use it up while this machine still has free CPU. Without free CPU
all requests wait for a core, and the result says nothing about tenants.

  --rounds 3         number of rounds
  --seconds 40       duration of each phase
  --rate 2           sales per second of the calm tenant, independent of response times
  --flood 20         requests per second of the flood
  --limit 4          requests per second that a key may make
  --noise a,b        only these kinds of noise
  --seed 1           seed for the order of the phases
  --write            write the table into docs/performance.md
  --help`;

const flags = { rounds: 3, seconds: 40, rate: 2, flood: 20, limit: 4, seed: 1 };

function readNumber(flag: keyof typeof flags, text: string | undefined): number {
  const number = text === undefined ? flags[flag] : Number(text);
  if (!(number > 0 && number <= 1_000)) throw new Error(`--${flag} ${text} is not a number above 0 and up to 1000`);
  return number;
}

function readNoises(text: string | undefined): Noise[] {
  if (text === undefined) return [...noises];
  return text.split(',').map((name) => {
    const noise = noises.find((known) => known === name);
    if (noise === undefined) throw new Error(`--noise ${name} is unknown: use ${noises.join(', ')}`);
    return noise;
  });
}

/** Parses the command line. Null for --help. Throws for an unknown flag or an invalid value. */
export function readIsolationOptions(args: string[]): IsolationOptions | null {
  const value = { type: 'string' } as const;
  const { values } = parseOptions('npm run isolation', {
    args,
    options: {
      ...{ rounds: value, seconds: value, rate: value, flood: value, limit: value, seed: value, noise: value },
      write: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) return null;
  return {
    rounds: Math.ceil(readNumber('rounds', values.rounds)),
    seconds: readNumber('seconds', values.seconds),
    rate: readNumber('rate', values.rate),
    flood: readNumber('flood', values.flood),
    limit: readNumber('limit', values.limit),
    seed: readNumber('seed', values.seed),
    noises: readNoises(values.noise),
    write: values.write ?? false,
  };
}
