import { parseArgs } from 'node:util';

export const noises = ['bad-rows', 'flood', 'invalid-keys', 'import', 'campaign', 'queue'] as const;
export type Noise = (typeof noises)[number];

export type IsolationOptions = {
  rounds: number;
  seconds: number;
  rate: number;
  flood: number;
  seed: number;
  share: number;
  /** Orders a second; measured if undefined. */
  capacity: number | undefined;
  noises: Noise[];
  write: boolean;
};

export const help = `npm run isolation -- [flags]

Measures whether one tenant can delay another tenant's money. The platform starts as for the benchmarks. The tenant "calm"
makes sales at a constant rate: order, payment, webhook, refund. The tenant "noisy" does this in every noisy phase:

  bad-rows      rows that fail in the database in the jobs (holds, orders, payments, labels, voids), and events that
                Kafka refuses; the crons run every 10 s
  flood         requests with one of its keys, many more than the limit of a key
  invalid-keys  100 requests a second with invalid keys, from one address
  import        a catalog of 5,000 lines, imported again and again
  campaign      20 joins a second to one campaign
  queue         400 charges and 400 cancellations for which Stripe takes 2 s each

Each round has a quiet and a noisy phase, in an order that the seed decides. The result is the median of the p95s of all
quiet phases beside that of all noisy ones. At most 2.0 times is accepted; otherwise the exit code is 1.

The limit of a key (KEY_LIMIT) is that of a data center in wrangler.toml. Here it is a share of the orders that this machine
carries, measured first. The limit of an address is that of wrangler.toml.

  --rounds 3         rounds
  --seconds 10       how long each phase lasts
  --rate 5           sales a second of the calm tenant, whatever the answers take
  --flood 200        requests a second of the flood
  --share 0.1        the limit of a key as a share of the measured capacity
  --capacity 300     orders a second, in place of measuring them
  --noise a,b        only these kinds of noise
  --seed 1           of the order of the phases
  --write            puts the table into docs/performance.md
  --help`;

const flags = { rounds: 3, seconds: 10, rate: 5, flood: 200, share: 0.1, seed: 1, capacity: 300 };

function readNumber(flag: keyof typeof flags, text: string | undefined): number {
  const number = text === undefined ? flags[flag] : Number(text);
  if (!(number > 0 && number <= 1_000)) throw new Error(`--${flag} ${text} is not a number above 0 and up to 1000`);
  return number;
}

function readNoises(text: string | undefined): Noise[] {
  if (text === undefined) return [...noises];
  return text.split(',').map((name) => {
    const noise = noises.find((each) => each === name);
    if (noise === undefined) throw new Error(`--noise ${name} is unknown: use ${noises.join(', ')}`);
    return noise;
  });
}

/** The options of a command line; null if help was asked for. Throws for an unknown flag or value. */
export function readIsolationOptions(args: string[]): IsolationOptions | null {
  const value = { type: 'string' } as const;
  const { values } = parseArgs({
    args,
    options: {
      ...{ rounds: value, seconds: value, rate: value, flood: value, share: value, seed: value, noise: value },
      capacity: value,
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
    share: readNumber('share', values.share),
    seed: readNumber('seed', values.seed),
    capacity: values.capacity === undefined ? undefined : readNumber('capacity', values.capacity),
    noises: readNoises(values.noise),
    write: values.write ?? false,
  };
}
